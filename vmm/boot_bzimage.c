/* SPDX-License-Identifier: Apache-2.0 */
/* Linux Documentation/arch/x86/boot.rst: "The Real-Mode Kernel Header", "64-bit Boot Protocol"; zero-page.rst. */
#include <asm/bootparam.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/units.h"
#include "vmm/boot_loader.h"

#define SECTOR_BYTES    512u
#define HEADER_AT       0x1f1u /* in the file and in the zero page */
#define HEADER_END      0x202u /* + the byte at 0x201, the jump's distance */
#define ENTRY64         0x200u /* of the protected-mode kernel */
#define BOOT_FLAG       0xaa55u
#define HDRS            0x53726448u /* "HdrS" */
#define PROTOCOL_MIN    0x020cu     /* 2.12, Linux 3.8: the first with xloadflags */
#define LOADER_UNKNOWN  0xffu
#define PARAGRAPH_BYTES 16u

static_assert(sizeof(struct boot_params) == PAGE_BYTES, "the zero page");
static_assert(offsetof(struct boot_params, hdr) == HEADER_AT, "the zero page");
static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "the zero page");
static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "the zero page");

/* From the header to its furthest possible end; a short file gives zeros, which no check takes for a kernel. */
static void read_header(const struct boot_file *kernel, struct setup_header *h)
{
	memset(h, 0, sizeof(*h));
	if (kernel->len > HEADER_AT)
		memcpy(h, kernel->bytes + HEADER_AT, MIN(sizeof(*h), kernel->len - HEADER_AT));
}

bool bzimage_probe(const struct boot_file *kernel)
{
	struct setup_header h;

	read_header(kernel, &h);
	return h.boot_flag == BOOT_FLAG && h.header == HDRS;
}

static int check(const struct boot_loader *loader, const struct setup_header *h)
{
	const struct boot_file *k = &loader->request->kernel;

	if (h->version < PROTOCOL_MIN)
		return boot_fail(
			loader, k, ENOEXEC,
			"is a kernel too old: it has boot protocol %u.%02u, the 64-bit entry needs 2.12 (Linux 3.8) or later",
			h->version >> 8, h->version & 0xffu);
	if (!(h->xloadflags & XLF_KERNEL_64))
		return boot_fail(loader, k, ENOEXEC, "is a 32-bit kernel: give a 64-bit (amd64) one");
	return 0;
}

static int put_zero_page(const struct boot_loader *loader, const struct setup_header *h)
{
	const uint8_t *jump = (const uint8_t *)&h->jump;
	size_t header_bytes = MIN(HEADER_END - HEADER_AT + jump[1], sizeof(*h));
	struct memmap_e820 e820[MEMMAP_E820_MAX];
	struct boot_params zero_page;
	size_t n = memmap_e820(loader->map, e820);

	memset(&zero_page, 0, sizeof(zero_page));
	memcpy(&zero_page.hdr, h, header_bytes);
	zero_page.hdr.type_of_loader = LOADER_UNKNOWN;
	zero_page.hdr.loadflags &= (uint8_t)~CAN_USE_HEAP; /* of the 16-bit code, which does not run */
	zero_page.hdr.vid_mode = 0xffff;                   /* "normal" */
	zero_page.hdr.cmd_line_ptr = BOOT_CMDLINE;
	zero_page.hdr.setup_data = 0;
	zero_page.hdr.ramdisk_image = (uint32_t)loader->entry->initrd;
	zero_page.hdr.ramdisk_size = (uint32_t)(loader->entry->initrd_end - loader->entry->initrd);
	zero_page.hdr.code32_start = (uint32_t)loader->entry->kernel;
	zero_page.acpi_rsdp_addr = loader->request->rsdp;
	zero_page.e820_entries = (uint8_t)n;
	for (size_t i = 0; i < n; i++)
		zero_page.e820_table[i] =
			(struct boot_e820_entry){.addr = e820[i].gpa, .size = e820[i].len, .type = (uint32_t)e820[i].kind};
	return boot_write(loader, BOOT_ZERO_PAGE, &zero_page, sizeof(zero_page));
}

int bzimage_load(const struct boot_loader *loader)
{
	const struct boot_file *k = &loader->request->kernel;
	struct boot_entry *entry = loader->entry;
	struct setup_header h;
	uint64_t setup_bytes, need;
	int rc;

	read_header(k, &h);
	/* The flags are at 0x236, the last field used here ends at 0x264; a shorter file is also shorter than its setup sectors. */
	setup_bytes = (uint64_t)((h.setup_sects ? h.setup_sects : 4) + 1) * SECTOR_BYTES;
	need = setup_bytes + (uint64_t)h.syssize * PARAGRAPH_BYTES;
	if (k->len < need || k->len <= setup_bytes + ENTRY64) {
		char have_text[UNITS_TEXT], need_text[UNITS_TEXT];

		return boot_fail(loader, k, ENOEXEC, "is a bzImage, but truncated: it has %s (%zu bytes) of %s; copy it again",
				 units_format_bytes(k->len, have_text), k->len,
				 units_format_bytes(MAX(need, setup_bytes + ENTRY64 + 1), need_text));
	}
	rc = check(loader, &h);
	if (rc)
		return rc;

	/* At its preferred address a relocatable kernel need not move itself first, and another kernel can be nowhere else. */
	entry->kernel = h.pref_address;
	need = MAX((uint64_t)h.init_size, k->len - setup_bytes);
	rc = boot_room(loader, "image and work space", entry->kernel, need);
	if (rc)
		return rc;
	entry->kernel_end = entry->kernel + need;
	if (h.relocatable_kernel && (h.kernel_alignment == 0 || entry->kernel % h.kernel_alignment))
		return boot_fail(loader, k, ENOEXEC,
				 "is a damaged bzImage: its preferred address %#llx is not a multiple of its alignment %#x",
				 (unsigned long long)entry->kernel, h.kernel_alignment);

	rc = boot_put_cmdline(loader, h.cmdline_size);
	if (!rc)
		rc = boot_put_initrd(loader, (gpa_t)h.initrd_addr_max + 1);
	if (!rc)
		rc = boot_write(loader, entry->kernel, k->bytes + setup_bytes, k->len - setup_bytes);
	if (!rc)
		rc = put_zero_page(loader, &h);
	entry->mode = BOOT_LONG64;
	entry->format = "bzImage";
	entry->rip = entry->kernel + ENTRY64;
	entry->rsi = BOOT_ZERO_PAGE;
	return rc;
}
