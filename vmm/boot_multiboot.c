/* SPDX-License-Identifier: Apache-2.0 */
/* Multiboot Specification 0.6.96: 3.1 "OS image format", 3.2 "Machine state", 3.3 "Boot information format". */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/boot_loader.h"

#define SEARCH_BYTES 8192u
#define HEADER_MAGIC 0x1badb002u
#define LOADER_MAGIC 0x2badb002u
#define LOADER_NAME  "pangea"

/* 3.1.1 and 3.1.2. Bits 0 to 15 a loader must know or refuse. Page-aligned modules and memory information are always given; a
 * video mode (bit 2) is a wish, and information flag 11, which would grant it, stays clear. */
enum header_flag {
	HEADER_PAGE_ALIGN = 1u << 0,
	HEADER_MEMORY = 1u << 1,
	HEADER_VIDEO = 1u << 2,
	HEADER_ADDRESSES = 1u << 16, /* the five addresses are valid and used instead of the file's format */
};
#define HEADER_REQUIRED 0xffffu
#define HEADER_KNOWN    (HEADER_PAGE_ALIGN | HEADER_MEMORY | HEADER_VIDEO)

struct header {
	uint32_t magic, flags, checksum;
	uint32_t header, load, load_end, bss_end, entry; /* addresses, with HEADER_ADDRESSES */
};
#define HEADER_SHORT offsetof(struct header, header)
static_assert(sizeof(struct header) == 32, "3.1");

/* 3.3. What is not given is zero and its flag clear. */
enum info_flag { INFO_MEMORY = 1u << 0, INFO_CMDLINE = 1u << 2, INFO_MODULES = 1u << 3, INFO_MAP = 1u << 6, INFO_LOADER = 1u << 9 };
struct info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
	uint32_t boot_device, cmdline, modules, module_list;
	uint32_t symbols[4];
	uint32_t map_bytes, map;
	uint32_t drives_bytes, drives, config_table, loader_name, apm_table;
	uint8_t video[16 + 28];
};
static_assert(offsetof(struct info, map_bytes) == 44 && offsetof(struct info, loader_name) == 64 && sizeof(struct info) == 116,
	      "3.3");

struct module {
	uint32_t start, end, string, reserved;
};
struct __attribute__((packed)) map_entry {
	uint32_t size; /* of the rest */
	uint64_t address, bytes;
	uint32_t type;
};
static_assert(sizeof(struct map_entry) == 24, "3.3");

/* The header is 4-byte aligned and wholly inside the first 8 KiB; its first three words add up to 0. */
static bool find_header(const struct boot_file *kernel, struct header *header, uint64_t *offset)
{
	size_t end = MIN(kernel->len, SEARCH_BYTES);

	for (size_t at = 0; at + HEADER_SHORT <= end; at += 4) {
		struct header h = {0};

		memcpy(&h, kernel->bytes + at, HEADER_SHORT);
		if (h.magic != HEADER_MAGIC || h.magic + h.flags + h.checksum != 0)
			continue;
		if (h.flags & HEADER_ADDRESSES) {
			if (end - at < sizeof(h))
				continue;
			memcpy(&h, kernel->bytes + at, sizeof(h));
		}
		*header = h;
		*offset = at;
		return true;
	}
	return false;
}

bool multiboot_probe(const struct boot_file *kernel)
{
	struct header h;
	uint64_t offset;

	return find_header(kernel, &h, &offset);
}

/* 3.1.3: the file is one piece; [load, load_end) comes from it, [load_end, bss_end) is zeroed. */
static int load_flat(const struct boot_loader *loader, const struct header *h, uint64_t header_offset)
{
	const struct boot_file *k = &loader->request->kernel;
	struct boot_entry *entry = loader->entry;
	uint64_t offset, bytes, total;
	int rc;

	if (h->header < h->load || h->header - h->load > header_offset)
		return boot_fail(loader, k, ENOEXEC,
				 "is a damaged multiboot kernel: its header's address %#x does not match its load address %#x",
				 h->header, h->load);
	offset = header_offset - (h->header - h->load);
	bytes = k->len - offset;
	if (h->load_end) {
		if (h->load_end < h->load)
			return boot_fail(loader, k, ENOEXEC, "is a damaged multiboot kernel: it ends at %#x, before its start %#x",
					 h->load_end, h->load);
		if (h->load_end - h->load > bytes)
			return boot_fail(
				loader, k, ENOEXEC,
				"is a multiboot kernel, but truncated: %u bytes are to be loaded, it has %llu; copy it again",
				h->load_end - h->load, (unsigned long long)bytes);
		bytes = h->load_end - h->load;
	}
	total = bytes;
	if (h->bss_end) {
		if (h->bss_end < h->load + bytes)
			return boot_fail(loader, k, ENOEXEC,
					 "is a damaged multiboot kernel: its bss ends at %#x, inside what is loaded", h->bss_end);
		total = h->bss_end - h->load;
	}
	rc = boot_room(loader, "image", h->load, total);
	if (!rc)
		rc = boot_write(loader, h->load, k->bytes + offset, bytes);
	if (!rc)
		rc = boot_zero(loader, h->load + bytes, total - bytes);
	entry->kernel = h->load;
	entry->kernel_end = h->load + total;
	entry->rip = h->entry;
	return rc;
}

static int load_elf(const struct boot_loader *loader)
{
	struct elf_image image;
	int rc;

	if (!elf_probe(&loader->request->kernel))
		return boot_fail(loader, &loader->request->kernel, ENOEXEC,
				 "is a multiboot kernel that is no ELF and has no load addresses (flag 16) in its header");
	rc = elf_open(loader, &image);
	if (!rc)
		rc = elf_load_segments(loader, &image);
	if (!rc)
		loader->entry->rip = elf_physical(&image, image.entry);
	return rc;
}

static int put_info(const struct boot_loader *loader)
{
	struct {
		struct info info;
		struct module module;
		struct map_entry map[MEMMAP_E820_MAX];
		char loader_name[sizeof(LOADER_NAME)];
	} b;
	struct memmap_e820 e820[MEMMAP_E820_MAX];
	const struct boot_entry *entry = loader->entry;
	size_t n = memmap_e820(loader->map, e820);

	static_assert(sizeof(b) <= PAGE_BYTES, "BOOT_INFO is a page");
	memset(&b, 0, sizeof(b));
	b.info.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER;
	b.info.mem_lower = MEMMAP_BASE_END / 1024;
	b.info.mem_upper = (uint32_t)((loader->low_end - BOOT_KERNEL_MIN) / 1024);
	b.info.cmdline = BOOT_CMDLINE;
	b.info.map = (uint32_t)(BOOT_INFO + ((uint8_t *)b.map - (uint8_t *)&b));
	b.info.map_bytes = (uint32_t)(n * sizeof(b.map[0]));
	for (size_t i = 0; i < n; i++)
		b.map[i] = (struct map_entry){.size = sizeof(b.map[0]) - sizeof(b.map[0].size),
					      .address = e820[i].gpa,
					      .bytes = e820[i].len,
					      .type = (uint32_t)e820[i].kind};
	b.info.loader_name = (uint32_t)(BOOT_INFO + ((uint8_t *)b.loader_name - (uint8_t *)&b));
	memcpy(b.loader_name, LOADER_NAME, sizeof(b.loader_name));
	if (entry->initrd_end) {
		b.info.modules = 1;
		b.info.module_list = (uint32_t)(BOOT_INFO + ((uint8_t *)&b.module - (uint8_t *)&b));
		/* A module's string may not be missing: it is the empty end of the loader's name. */
		b.module = (struct module){.start = (uint32_t)entry->initrd,
					   .end = (uint32_t)entry->initrd_end,
					   .string = b.info.loader_name + (uint32_t)sizeof(LOADER_NAME) - 1};
	}
	return boot_write(loader, BOOT_INFO, &b, sizeof(b));
}

int multiboot_load(const struct boot_loader *loader)
{
	const struct boot_file *k = &loader->request->kernel;
	struct boot_entry *entry = loader->entry;
	struct header h;
	uint64_t offset;
	int rc;

	if (!find_header(k, &h, &offset))
		return boot_fail(loader, k, ENOEXEC, "has no multiboot header");
	if (h.flags & HEADER_REQUIRED & ~(uint32_t)HEADER_KNOWN)
		return boot_fail(loader, k, ENOEXEC, "is a multiboot kernel that asks for features unknown here (flags %#x)",
				 h.flags);
	rc = h.flags & HEADER_ADDRESSES ? load_flat(loader, &h, offset) : load_elf(loader);
	if (rc)
		return rc;
	if (entry->rip < entry->kernel || entry->rip >= entry->kernel_end)
		return boot_fail(loader, k, ENOEXEC, "is a damaged multiboot kernel: its entry %#llx is not in what it loads",
				 (unsigned long long)entry->rip);
	rc = boot_put_cmdline(loader, UINT64_MAX);
	if (!rc)
		rc = boot_put_initrd(loader, loader->low_end);
	if (!rc)
		rc = put_info(loader);
	entry->mode = BOOT_PROT32;
	entry->format = "multiboot";
	entry->rax = LOADER_MAGIC;
	entry->rbx = BOOT_INFO;
	return rc;
}
