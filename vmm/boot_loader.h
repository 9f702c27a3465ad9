/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three loaders share. Private to vmm/boot*.c. A loader works on a struct boot_loader that boot_try fills;
 * every function here that can fail has put its reason into loader->why when it returns -errno.
 */
#ifndef VMM_BOOT_LOADER_H
#define VMM_BOOT_LOADER_H

#include "vmm/boot.h"

#define BOOT_GDT         0x5000u
#define BOOT_INFO        0x6000u /* one page */
#define BOOT_ZERO_PAGE   0x7000u
#define BOOT_STACK_TOP   0x9000u
#define BOOT_PML4        0x9000u
#define BOOT_PDPT        0xa000u
#define BOOT_PD          0xb000u /* 4 pages */
#define BOOT_CMDLINE     0x20000u
#define BOOT_CMDLINE_MAX 0x10000u /* with its NUL */
#define BOOT_KERNEL_MIN  0x100000u

struct boot_loader {
	const struct boot_request *request;
	const struct memmap *map;
	const struct guestmem *mem;
	gpa_t low_end; /* end of RAM below the hole: nothing is loaded above */
	struct boot_entry *entry;
	struct boot_why *why;
};

/* Writes the reason, prefixed with the file's name, and returns -error. */
int boot_fail(const struct boot_loader *loader, const struct boot_file *file, int error, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* [at, at + need) lies between 1 MiB and the end of low RAM, or -ENOSPC. */
CHECKED int boot_room(const struct boot_loader *loader, const char *what, uint64_t at, uint64_t need);

/* Copies to and zeroes guest RAM that boot_room or the layout says is there. */
CHECKED int boot_write(const struct boot_loader *loader, gpa_t gpa, const void *bytes, uint64_t len);
CHECKED int boot_zero(const struct boot_loader *loader, gpa_t gpa, uint64_t len);

/* The command line to BOOT_CMDLINE. -E2BIG: over max bytes without its NUL, or over our own room. */
CHECKED int boot_put_cmdline(const struct boot_loader *loader, uint64_t max);

/* The initrd, if there is one, below `limit` and not below entry->kernel_end; sets entry->initrd and initrd_end (both 0 if none).
 */
CHECKED int boot_put_initrd(const struct boot_loader *loader, gpa_t limit);

/* The loaders. Each sets what it knows of *loader->entry; boot_try adds GDT, stack and page tables. `probe`: is it this format?
 * It does not fail: a damaged file is refused by the load. */
bool bzimage_probe(const struct boot_file *kernel);
CHECKED int bzimage_load(const struct boot_loader *loader);

/* An ELF for x86, 32 or 64 bit, its program headers inside the file and copied field by field when asked for. */
struct elf_image {
	const struct boot_file *file;
	bool is64;
	uint64_t phoff;
	unsigned phnum;
	uint64_t entry; /* a virtual address */
};
bool elf_probe(const struct boot_file *kernel);
CHECKED int elf_open(const struct boot_loader *loader, struct elf_image *image);
/* Loads every PT_LOAD at its physical address; sets entry->kernel and kernel_end. */
CHECKED int elf_load_segments(const struct boot_loader *loader, const struct elf_image *image);
/* The physical address of a virtual one, by the PT_LOAD that has it; the address itself if none has. */
uint64_t elf_physical(const struct elf_image *image, uint64_t address);

/* A segment of any type lies behind the end of the file: its number. What tells the format may have been in it. */
bool elf_cut_short(const struct elf_image *image, unsigned *which);

/* The note XEN_ELFNOTE_PHYS32_ENTRY; false if there is none. */
bool pvh_entry(const struct elf_image *image, uint64_t *entry);
CHECKED int pvh_load(const struct boot_loader *loader, const struct elf_image *image, uint64_t entry);

bool multiboot_probe(const struct boot_file *kernel);
CHECKED int multiboot_load(const struct boot_loader *loader);

#endif
