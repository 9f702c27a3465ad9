/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "vmm/boot_loader.h"

int boot_fail(const struct boot_loader *loader, const struct boot_file *file, int error, const char *fmt, ...)
{
	char text[sizeof(loader->why->text) / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(loader->why->text, sizeof(loader->why->text), "%.200s %s", file->name, text);
	return -error;
}

int boot_room(const struct boot_loader *loader, const char *what, uint64_t at, uint64_t need)
{
	char need_text[UNITS_TEXT], have_text[UNITS_TEXT], at_text[UNITS_TEXT];

	if (at < BOOT_KERNEL_MIN)
		return boot_fail(loader, &loader->request->kernel, ENOSPC,
				 "wants its %s at %#llx, but the kernel must lie above 1 MiB: below are the boot and ACPI tables",
				 what, (unsigned long long)at);
	if (at > loader->low_end || need > loader->low_end - at)
		return boot_fail(loader, &loader->request->kernel, ENOSPC,
				 "does not fit the guest's RAM: its %s needs %s from %s on, RAM below 3 GiB ends at %s; give the "
				 "nodes more mem=",
				 what, units_format_bytes(need, need_text), units_format_bytes(at, at_text),
				 units_format_bytes(loader->low_end, have_text));
	return 0;
}

int boot_write(const struct boot_loader *loader, gpa_t gpa, const void *bytes, uint64_t len)
{
	int rc = guestmem_write(loader->mem, gpa, bytes, len);

	if (rc)
		return boot_fail(loader, &loader->request->kernel, ENOSPC, "needs guest memory [%#llx, %#llx), which is not RAM",
				 (unsigned long long)gpa, (unsigned long long)(gpa + len));
	return 0;
}

int boot_zero(const struct boot_loader *loader, gpa_t gpa, uint64_t len)
{
	uint8_t *p = guestmem_ptr(loader->mem, gpa, len);

	if (len == 0)
		return 0;
	if (!p)
		return boot_fail(loader, &loader->request->kernel, ENOSPC, "needs guest memory [%#llx, %#llx), which is not RAM",
				 (unsigned long long)gpa, (unsigned long long)(gpa + len));
	memset(p, 0, len);
	return 0;
}

int boot_put_cmdline(const struct boot_loader *loader, uint64_t max)
{
	size_t len = strlen(loader->request->cmdline);

	max = MIN(max, BOOT_CMDLINE_MAX - 1);
	if (len > max)
		return boot_fail(loader, &loader->request->kernel, E2BIG,
				 "takes a command line of at most %llu bytes, --append has %zu: shorten it",
				 (unsigned long long)max, len);
	return boot_write(loader, BOOT_CMDLINE, loader->request->cmdline, len + 1);
}

/* The highest page-aligned place for len bytes in [from, end), or 0. */
static gpa_t highest(gpa_t from, gpa_t end, uint64_t len)
{
	gpa_t at;

	if (len > end)
		return 0;
	at = (end - len) & ~(gpa_t)(PAGE_BYTES - 1);
	return at >= from ? at : 0;
}

int boot_put_initrd(const struct boot_loader *loader, gpa_t limit)
{
	const struct boot_file *initrd = &loader->request->initrd;
	struct boot_entry *entry = loader->entry;
	char initrd_text[UNITS_TEXT], end_text[UNITS_TEXT], limit_text[UNITS_TEXT];
	gpa_t at;

	entry->initrd = entry->initrd_end = 0;
	if (!initrd->name)
		return 0;
	if (initrd->len == 0)
		return boot_fail(loader, initrd, ENOEXEC, "(--initrd) is empty");
	limit = MIN(limit, loader->low_end);
	at = highest(entry->kernel_end, MIN(limit, loader->map->node[0].bytes), initrd->len);
	if (!at)
		at = highest(entry->kernel_end, limit, initrd->len);
	if (!at)
		return boot_fail(
			loader, initrd, ENOSPC,
			"(--initrd) of %s does not fit between the kernel, which ends at %s, and %s: give the nodes more mem=",
			units_format_bytes(initrd->len, initrd_text), units_format_bytes(entry->kernel_end, end_text),
			units_format_bytes(limit, limit_text));
	entry->initrd = at;
	entry->initrd_end = at + initrd->len;
	return boot_write(loader, at, initrd->bytes, initrd->len);
}

/* Intel SDM vol. 3A, 3.4.5 "Segment Descriptors": base 0, limit 4 GiB, present, accessed. CS is the 64-bit one (L) or the 32-bit
 * one (D) by mode. The TSS is 32-bit and busy, base 0, limit 0x67; nothing loads it, it only matches what TR says. */
static int put_gdt(const struct boot_loader *loader)
{
	const uint64_t gdt[BOOT_GDT_ENTRIES] = {
		[BOOT_CS / 8] = loader->entry->mode == BOOT_LONG64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
		[BOOT_DS / 8] = 0x00cf93000000ffff,
		[BOOT_TSS / 8] = 0x00008b0000000067,
	};

	loader->entry->gdt = BOOT_GDT;
	return boot_write(loader, BOOT_GDT, gdt, sizeof(gdt));
}

/* SDM vol. 3A, 4.5: 4 GiB one to one with 2 MiB pages, which every 64-bit processor has. */
static int put_page_tables(const struct boot_loader *loader)
{
	enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80, ENTRIES = 512, DIRECTORIES = 4 };
	uint64_t table[ENTRIES] = {BOOT_PDPT | PRESENT | WRITABLE};
	int rc = boot_write(loader, BOOT_PML4, table, sizeof(table));

	for (unsigned i = 0; i < DIRECTORIES; i++)
		table[i] = (BOOT_PD + i * PAGE_BYTES) | PRESENT | WRITABLE;
	if (!rc)
		rc = boot_write(loader, BOOT_PDPT, table, sizeof(table));
	for (uint64_t i = 0; i < DIRECTORIES && !rc; i++) {
		for (uint64_t j = 0; j < ENTRIES; j++)
			table[j] = (i * ENTRIES + j) << BLOCK_SHIFT | PRESENT | WRITABLE | LARGE;
		rc = boot_write(loader, BOOT_PD + i * PAGE_BYTES, table, sizeof(table));
	}
	loader->entry->cr3 = BOOT_PML4;
	return rc;
}

static int refuse(const struct boot_loader *loader, const char *kind)
{
	const struct boot_file *k = &loader->request->kernel;
	char hex[3 * 8 + 1] = "";

	for (size_t i = 0; i < MIN(k->len, 8u); i++)
		snprintf(hex + 3 * i, sizeof(hex) - 3 * i, " %02x", k->bytes[i]);
	return boot_fail(
		loader, k, ENOEXEC,
		"is not a bzImage, an ELF with a PVH note or a multiboot kernel: it %sbegins with bytes%s; give the vmlinuz of "
		"your distribution",
		kind, hex);
}

static int load_any(const struct boot_loader *loader)
{
	const struct boot_file *kernel = &loader->request->kernel;
	struct elf_image image;
	uint64_t entry;
	unsigned which;
	int rc;

	if (kernel->len == 0)
		return boot_fail(loader, kernel, ENOEXEC, "is empty: give the vmlinuz of your distribution");
	if (bzimage_probe(kernel))
		return bzimage_load(loader);
	if (elf_probe(kernel)) {
		rc = elf_open(loader, &image);
		if (rc)
			return rc;
		if (pvh_entry(&image, &entry))
			return pvh_load(loader, &image, entry);
	}
	if (multiboot_probe(kernel))
		return multiboot_load(loader);
	if (elf_probe(kernel) && elf_cut_short(&image, &which))
		return boot_fail(loader, kernel, ENOEXEC, "is an ELF, but truncated: segment %u is behind its end; copy it again",
				 which);
	return refuse(loader, elf_probe(kernel) ? "is an ELF without either, and " : "");
}

int boot_try(const struct boot_request *request, const struct memmap *map, const struct guestmem *mem, struct boot_entry *entry,
	     struct boot_why *why)
{
	struct boot_entry e = {.rsp = BOOT_STACK_TOP};
	const struct boot_loader loader = {
		.request = request, .map = map, .mem = mem, .low_end = memmap_low_end(map), .entry = &e, .why = why};
	int rc = load_any(&loader);

	if (!rc)
		rc = put_gdt(&loader);
	if (!rc && e.mode == BOOT_LONG64)
		rc = put_page_tables(&loader);
	if (!rc)
		*entry = e;
	return rc;
}

int boot_load(const struct boot_request *request, const struct memmap *map, const struct guestmem *mem, struct boot_entry *entry)
{
	struct boot_why why;
	int rc = boot_try(request, map, mem, entry, &why);

	if (rc)
		log_error("%s", why.text);
	return rc;
}
