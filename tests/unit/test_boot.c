/* SPDX-License-Identifier: Apache-2.0 */
/* Synthetic kernels of the three formats, whole and damaged. Real ones boot in the tests with guests. */
#include <asm/bootparam.h>
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/boot.h"
#include "vmm/boot_loader.h"

#define FILE_MAX (64 * 1024)

struct bench {
	struct memmap map;
	struct guestmem mem;
	uint8_t *ram;
	uint8_t file[FILE_MAX];
	struct boot_request request;
	struct boot_entry entry;
	struct boot_why why;
};

/* Two nodes, RAM dirty as after a reset. */
static struct bench *bench_new(uint64_t node0, uint64_t node1)
{
	struct bench *b = calloc(1, sizeof(*b));

	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(memmap_build((struct memmap_spec[]){{1, node0}, {1, node1}}, 2, &b->map), 0);
	b->ram = malloc(node0 + node1);
	ck_assert_ptr_nonnull(b->ram);
	memset(b->ram, 0xa5, node0 + node1);
	memmap_guestmem(&b->map, b->ram, &b->mem);
	b->request = (struct boot_request){
		.kernel = {.name = "kernel", .bytes = b->file, .len = FILE_MAX}, .cmdline = "console=ttyS0", .rsdp = 0xe0000};
	return b;
}

static void bench_free(struct bench *b)
{
	free(b->ram);
	free(b);
}

static int load(struct bench *b)
{
	return boot_try(&b->request, &b->map, &b->mem, &b->entry, &b->why);
}

/* Refused with this error and a reason that says `text`; the entry is untouched. */
static void refused(struct bench *b, int error, const char *text)
{
	b->entry.rip = 42;
	ck_assert_int_eq(load(b), -error);
	ck_assert_msg(strstr(b->why.text, text), "\"%s\" lacks \"%s\"", b->why.text, text);
	ck_assert_uint_eq(b->entry.rip, 42);
}

/* ---- bzImage ---- */

#define SETUP_SECTS 3
#define SETUP_BYTES ((SETUP_SECTS + 1) * 512)
#define BZ_AT       (16 * MIB)
#define BZ_NEED     (8 * MIB)

static struct setup_header *bz_header(struct bench *b)
{
	return (struct setup_header *)(b->file + 0x1f1);
}

static struct bench *bzimage_new(uint64_t node0, uint64_t node1)
{
	struct bench *b = bench_new(node0, node1);
	struct setup_header *h = bz_header(b);

	for (size_t i = 0; i < FILE_MAX; i++)
		b->file[i] = (uint8_t)(i * 7);
	memset(h, 0, sizeof(*h));
	h->setup_sects = SETUP_SECTS;
	h->boot_flag = 0xaa55;
	h->jump = 0x6aeb;
	h->header = 0x53726448;
	h->version = 0x020f;
	h->loadflags = LOADED_HIGH | CAN_USE_HEAP;
	h->xloadflags = XLF_KERNEL_64;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 2 * MIB;
	h->relocatable_kernel = 1;
	h->cmdline_size = 2047;
	h->pref_address = BZ_AT;
	h->init_size = BZ_NEED;
	h->syssize = (FILE_MAX - SETUP_BYTES) / 16;
	return b;
}

START_TEST(bzimage_is_put_at_its_preferred_address)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	ck_assert_int_eq(load(b), 0);
	ck_assert_int_eq(b->entry.mode, BOOT_LONG64);
	ck_assert_uint_eq(b->entry.rip, BZ_AT + 0x200);
	ck_assert_uint_eq(b->entry.rsi, 0x7000);
	ck_assert_mem_eq(b->ram + BZ_AT, b->file + SETUP_BYTES, FILE_MAX - SETUP_BYTES);
	bench_free(b);
}
END_TEST

START_TEST(bzimage_gets_a_zero_page)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	const struct boot_params *z = (const struct boot_params *)(b->ram + 0x7000);

	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(z->hdr.header, 0x53726448);
	ck_assert_uint_eq(z->hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(z->hdr.loadflags, LOADED_HIGH);
	ck_assert_uint_eq(z->acpi_rsdp_addr, 0xe0000);
	ck_assert_uint_eq(z->hdr.setup_data, 0);
	ck_assert_uint_eq(z->hdr.ramdisk_size, 0);
	ck_assert_uint_eq(z->sentinel, 0);
	ck_assert_str_eq((const char *)b->ram + z->hdr.cmd_line_ptr, "console=ttyS0");
	ck_assert_uint_eq(z->e820_entries, 4);
	ck_assert(z->e820_table[0].addr == 0 && z->e820_table[0].size == 0x9fc00 && z->e820_table[0].type == 1);
	ck_assert(z->e820_table[1].type == 2);
	ck_assert(z->e820_table[2].addr == 1 * MIB && z->e820_table[2].size == 63 * MIB && z->e820_table[2].type == 1);
	bench_free(b);
}
END_TEST

START_TEST(bzimage_header_is_copied_only_as_far_as_it_says)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	const struct boot_params *z = (const struct boot_params *)(b->ram + 0x7000);

	bz_header(b)->jump = 0x00eb + ((0x264 - 0x202) << 8); /* ends before handover_offset */
	bz_header(b)->handover_offset = 0x12345678;
	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(z->hdr.handover_offset, 0);
	ck_assert_uint_eq(z->hdr.init_size, BZ_NEED);
	bench_free(b);
}
END_TEST

START_TEST(bzimage_gets_page_tables_of_4_gib)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	ck_assert_int_eq(load(b), 0);
	for (uint64_t address = 0; address < 4 * GIB; address += 2 * MIB) {
		uint64_t table = b->entry.cr3, e;

		for (int shift = 39; shift > 21; shift -= 9) {
			memcpy(&e, b->ram + table + (address >> shift & 511) * 8, 8);
			ck_assert_uint_eq(e & 0xfff, 3);
			table = e & ~0xfffull;
		}
		memcpy(&e, b->ram + table + (address >> 21 & 511) * 8, 8);
		ck_assert_uint_eq(e, address | 0x83);
	}
	bench_free(b);
}
END_TEST

START_TEST(initrd_is_high_in_node_0)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	const struct boot_params *z = (const struct boot_params *)(b->ram + 0x7000);
	static const uint8_t initrd[5000] = {1, 2, 3};

	b->request.initrd = (struct boot_file){"initrd", initrd, sizeof(initrd)};
	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(z->hdr.ramdisk_image, 32 * MIB - 8192);
	ck_assert_uint_eq(z->hdr.ramdisk_size, sizeof(initrd));
	ck_assert_mem_eq(b->ram + z->hdr.ramdisk_image, initrd, sizeof(initrd));
	bench_free(b);
}
END_TEST

START_TEST(initrd_that_does_not_fit_node_0_goes_on)
{
	struct bench *b = bzimage_new(24 * MIB, 40 * MIB); /* the kernel ends where node 0 does */
	static const uint8_t initrd[5000];

	b->request.initrd = (struct boot_file){"initrd", initrd, sizeof(initrd)};
	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(b->entry.initrd, 64 * MIB - 8192);
	bench_free(b);
}
END_TEST

START_TEST(initrd_stays_below_initrd_addr_max)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	static const uint8_t initrd[4096];

	bz_header(b)->initrd_addr_max = 28 * MIB - 1;
	b->request.initrd = (struct boot_file){"initrd", initrd, sizeof(initrd)};
	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(b->entry.initrd_end, 28 * MIB);
	bench_free(b);
}
END_TEST

START_TEST(initrd_too_large_is_refused_with_its_size)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	uint8_t *initrd = calloc(1, 41 * MIB);

	b->request.initrd = (struct boot_file){"initrd", initrd, 41 * MIB}; /* 40 MiB are free above the kernel */
	refused(b, ENOSPC, "initrd (--initrd) of 41 MiB does not fit between the kernel, which ends at 24 MiB, and 64 MiB");
	free(initrd);
	bench_free(b);
}
END_TEST

START_TEST(empty_initrd_is_refused)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	b->request.initrd = (struct boot_file){"initrd", b->file, 0};
	refused(b, ENOEXEC, "initrd (--initrd) is empty");
	bench_free(b);
}
END_TEST

START_TEST(empty_kernel_is_refused)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	b->request.kernel.len = 0;
	refused(b, ENOEXEC, "kernel is empty");
	bench_free(b);
}
END_TEST

START_TEST(text_file_is_refused_with_its_first_bytes)
{
	struct bench *b = bench_new(32 * MIB, 32 * MIB);

	memcpy(b->file, "#!/bin/sh", 9);
	b->request.kernel.len = 9;
	refused(b, ENOEXEC, "begins with bytes 23 21 2f 62 69 6e 2f 73; give the vmlinuz");
	b->request.kernel.len = 2;
	refused(b, ENOEXEC, "begins with bytes 23 21;");
	bench_free(b);
}
END_TEST

START_TEST(bzimage_cut_anywhere_is_refused)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	for (size_t len = 0; len < FILE_MAX; len += len < 2 * SETUP_BYTES ? 1 : 511) {
		b->request.kernel.len = len;
		refused(b, ENOEXEC, "kernel is");
	}
	b->request.kernel.len = FILE_MAX - 1;
	refused(b, ENOEXEC, "is a bzImage, but truncated: it has 64.0 KiB (65535 bytes) of 64 KiB");
	bench_free(b);
}
END_TEST

START_TEST(old_kernel_is_refused)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	bz_header(b)->version = 0x020a;
	refused(b, ENOEXEC, "boot protocol 2.10");
	bench_free(b);
}
END_TEST

START_TEST(kernel_of_32_bits_is_refused)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	bz_header(b)->xloadflags = 0;
	refused(b, ENOEXEC, "32-bit kernel");
	bench_free(b);
}
END_TEST

START_TEST(bzimage_larger_than_ram_is_refused_with_sizes)
{
	struct bench *b = bzimage_new(8 * MIB, 8 * MIB);

	refused(b, ENOSPC, "needs 8 MiB from 16 MiB on, RAM below 3 GiB ends at 16 MiB");
	bench_free(b);
}
END_TEST

START_TEST(preferred_addresses_of_a_damaged_header_are_refused)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);

	bz_header(b)->pref_address = 0;
	refused(b, ENOSPC, "above 1 MiB");
	bz_header(b)->pref_address = UINT64_MAX - 4095;
	refused(b, ENOSPC, "does not fit");
	bz_header(b)->pref_address = BZ_AT + 4096;
	refused(b, ENOEXEC, "not a multiple of its alignment");
	bz_header(b)->kernel_alignment = 0;
	refused(b, ENOEXEC, "not a multiple of its alignment");
	bench_free(b);
}
END_TEST

START_TEST(command_line_as_long_as_the_kernel_takes)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	char *text = calloc(1, 100);

	memset(text, 'x', 20);
	b->request.cmdline = text;
	bz_header(b)->cmdline_size = 20;
	ck_assert_int_eq(load(b), 0);
	bz_header(b)->cmdline_size = 19;
	refused(b, E2BIG, "at most 19 bytes, --append has 20");
	free(text);
	bench_free(b);
}
END_TEST

/* ---- ELF, PVH ---- */

#define ELF_AT    (2 * MIB)
#define ELF_VIRT  0xffffffff80000000u
#define NOTE_AT   0x200
#define TEXT_AT   0x1000
#define TEXT_LEN  0x800
#define TEXT_MEM  0x3000
#define PVH_ENTRY (ELF_AT + 0x10)

static void put_note(struct bench *b, size_t at, uint32_t type, const char *name, uint32_t desc_bytes, uint64_t desc)
{
	Elf64_Nhdr n = {.n_namesz = (uint32_t)strlen(name) + 1, .n_descsz = desc_bytes, .n_type = type};

	memcpy(b->file + at, &n, sizeof(n));
	memcpy(b->file + at + 12, name, n.n_namesz);
	memcpy(b->file + at + 12 + (n.n_namesz + 3) / 4 * 4, &desc, desc_bytes);
}

static Elf64_Ehdr *elf_header(struct bench *b)
{
	return (Elf64_Ehdr *)b->file;
}

static Elf64_Phdr *elf_segments(struct bench *b)
{
	return (Elf64_Phdr *)(b->file + sizeof(Elf64_Ehdr));
}

/* A 64-bit ELF, one PT_LOAD, one PT_NOTE with another note and then the PVH one. */
static struct bench *elf_new(void)
{
	struct bench *b = bench_new(32 * MIB, 32 * MIB);
	Elf64_Phdr *p = elf_segments(b);

	for (size_t i = TEXT_AT; i < TEXT_AT + TEXT_LEN; i++)
		b->file[i] = (uint8_t)(i * 13);
	memcpy(b->file, ELFMAG, SELFMAG);
	b->file[EI_CLASS] = ELFCLASS64;
	b->file[EI_DATA] = ELFDATA2LSB;
	elf_header(b)->e_machine = EM_X86_64;
	elf_header(b)->e_phoff = sizeof(Elf64_Ehdr);
	elf_header(b)->e_phentsize = sizeof(Elf64_Phdr);
	elf_header(b)->e_phnum = 2;
	elf_header(b)->e_entry = ELF_VIRT + 0x20;
	p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
			    .p_offset = TEXT_AT,
			    .p_vaddr = ELF_VIRT,
			    .p_paddr = ELF_AT,
			    .p_filesz = TEXT_LEN,
			    .p_memsz = TEXT_MEM};
	p[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = 24 + 24, .p_align = 4};
	put_note(b, NOTE_AT, 1, "Linux", 4, 7);
	put_note(b, NOTE_AT + 24, 18, "Xen", 8, PVH_ENTRY);
	b->request.kernel.len = TEXT_AT + TEXT_LEN;
	return b;
}

START_TEST(pvh_segments_are_loaded_and_zeroed)
{
	struct bench *b = elf_new();

	ck_assert_int_eq(load(b), 0);
	ck_assert_int_eq(b->entry.mode, BOOT_PROT32);
	ck_assert_uint_eq(b->entry.rip, PVH_ENTRY);
	ck_assert_mem_eq(b->ram + ELF_AT, b->file + TEXT_AT, TEXT_LEN);
	for (size_t i = TEXT_LEN; i < TEXT_MEM; i++)
		ck_assert_uint_eq(b->ram[ELF_AT + i], 0);
	ck_assert_uint_eq(b->ram[ELF_AT + TEXT_MEM], 0xa5);
	bench_free(b);
}
END_TEST

START_TEST(pvh_gets_a_start_info)
{
	struct bench *b = elf_new();
	static const uint8_t initrd[100] = {9, 8, 7};
	uint32_t w[14];
	uint64_t q[7], module[4], e820[3];

	b->request.initrd = (struct boot_file){"initrd", initrd, sizeof(initrd)};
	ck_assert_int_eq(load(b), 0);
	memcpy(w, b->ram + b->entry.rbx, sizeof(w));
	memcpy(q, b->ram + b->entry.rbx, sizeof(q));
	ck_assert_uint_eq(w[0], 0x336ec578);
	ck_assert_uint_eq(w[1], 1);
	ck_assert_uint_eq(w[3], 1);
	ck_assert_str_eq((const char *)b->ram + q[3], "console=ttyS0");
	ck_assert_uint_eq(q[4], 0xe0000);
	memcpy(module, b->ram + q[2], sizeof(module));
	ck_assert_uint_eq(module[0], 32 * MIB - 4096);
	ck_assert_uint_eq(module[1], sizeof(initrd));
	ck_assert_mem_eq(b->ram + module[0], initrd, sizeof(initrd));
	ck_assert_uint_eq(w[12], 4);
	memcpy(e820, b->ram + q[5] + 2 * 24, sizeof(e820));
	ck_assert(e820[0] == 1 * MIB && e820[1] == 63 * MIB && e820[2] == 1);
	bench_free(b);
}
END_TEST

START_TEST(pvh_without_initrd_has_no_module)
{
	struct bench *b = elf_new();
	uint32_t w[14];

	ck_assert_int_eq(load(b), 0);
	memcpy(w, b->ram + b->entry.rbx, sizeof(w));
	ck_assert_uint_eq(w[3], 0);
	bench_free(b);
}
END_TEST

START_TEST(elf_without_note_is_refused)
{
	struct bench *b = elf_new();

	put_note(b, NOTE_AT + 24, 17, "Xen", 8, PVH_ENTRY);
	refused(b, ENOEXEC, "is an ELF without either, and begins with bytes 7f 45 4c 46");
	put_note(b, NOTE_AT + 24, 18, "Xem", 8, PVH_ENTRY);
	refused(b, ENOEXEC, "is an ELF without either");
	bench_free(b);
}
END_TEST

START_TEST(elf_with_damaged_notes_is_refused)
{
	struct bench *b = elf_new();
	Elf64_Nhdr n = {.n_namesz = UINT32_MAX, .n_descsz = UINT32_MAX, .n_type = 18};

	memcpy(b->file + NOTE_AT, &n, sizeof(n));
	refused(b, ENOEXEC, "is an ELF without either");
	elf_segments(b)[1].p_offset = UINT64_MAX - 3;
	refused(b, ENOEXEC, "is an ELF without either");
	bench_free(b);
}
END_TEST

START_TEST(pvh_entry_outside_is_refused)
{
	struct bench *b = elf_new();

	put_note(b, NOTE_AT + 24, 18, "Xen", 8, ELF_AT + TEXT_MEM);
	refused(b, ENOEXEC, "PVH entry 0x203000 is in no segment");
	bench_free(b);
}
END_TEST

START_TEST(elf_cut_anywhere_is_refused)
{
	struct bench *b = elf_new();

	for (size_t len = 0; len < TEXT_AT + TEXT_LEN; len++) {
		b->request.kernel.len = len;
		refused(b, ENOEXEC, "kernel is");
	}
	bench_free(b);
}
END_TEST

START_TEST(elf_segment_that_does_not_fit_is_refused)
{
	struct bench *b = elf_new();
	Elf64_Phdr *p = elf_segments(b);

	p->p_memsz = 63 * MIB;
	refused(b, ENOSPC, "segments needs 63 MiB from 2 MiB on, RAM below 3 GiB ends at 64 MiB");
	p->p_memsz = UINT64_MAX - 4095;
	refused(b, ENOSPC, "does not fit");
	p->p_memsz = TEXT_LEN;
	p->p_paddr = 0x7000;
	refused(b, ENOSPC, "above 1 MiB");
	p->p_paddr = ELF_AT;
	p->p_memsz = TEXT_LEN - 1;
	refused(b, ENOEXEC, "larger in the file than in memory");
	bench_free(b);
}
END_TEST

START_TEST(elf_of_another_processor_is_refused)
{
	struct bench *b = elf_new();

	elf_header(b)->e_machine = EM_AARCH64;
	refused(b, ENOEXEC, "for another processor (machine 183)");
	bench_free(b);
}
END_TEST

START_TEST(elf_object_file_is_refused)
{
	struct bench *b = elf_new();

	elf_header(b)->e_phnum = 0;
	refused(b, ENOEXEC, "without program headers");
	elf_header(b)->e_phnum = UINT16_MAX;
	refused(b, ENOEXEC, "damaged ELF: it says 65535 program headers");
	bench_free(b);
}
END_TEST

START_TEST(elf_of_32_bits_is_loaded)
{
	struct bench *b = bench_new(32 * MIB, 32 * MIB);
	Elf32_Ehdr *h = (Elf32_Ehdr *)b->file;
	Elf32_Phdr *p = (Elf32_Phdr *)(b->file + sizeof(*h));

	memcpy(b->file, ELFMAG, SELFMAG);
	b->file[EI_CLASS] = ELFCLASS32;
	b->file[EI_DATA] = ELFDATA2LSB;
	h->e_machine = EM_386;
	h->e_phoff = sizeof(*h);
	h->e_phentsize = sizeof(*p);
	h->e_phnum = 2;
	p[0] = (Elf32_Phdr){.p_type = PT_LOAD, .p_offset = TEXT_AT, .p_paddr = ELF_AT, .p_filesz = TEXT_LEN, .p_memsz = TEXT_LEN};
	p[1] = (Elf32_Phdr){.p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = 20, .p_align = 4};
	put_note(b, NOTE_AT, 18, "Xen", 4, ELF_AT);
	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(b->entry.rip, ELF_AT);
	bench_free(b);
}
END_TEST

/* ---- multiboot ---- */

#define MB_HEADER_AT 0x100

static void put_multiboot(struct bench *b, size_t at, uint32_t flags, uint32_t header, uint32_t start, uint32_t end, uint32_t bss,
			  uint32_t entry)
{
	uint32_t w[8] = {0x1badb002, flags, 0u - 0x1badb002 - flags, header, start, end, bss, entry};

	memcpy(b->file + at, w, flags & 1u << 16 ? sizeof(w) : 12);
}

/* A flat image whose header says where it goes: the file from 0x80 on at 1 MiB. */
static struct bench *flat_new(void)
{
	struct bench *b = bench_new(32 * MIB, 32 * MIB);

	for (size_t i = 0; i < FILE_MAX; i++)
		b->file[i] = (uint8_t)(i * 7);
	put_multiboot(b, MB_HEADER_AT, 1u << 16 | 3, 0x100080, 0x100000, 0x101000, 0x103000, 0x100010);
	b->request.kernel.len = 0x2000;
	return b;
}

START_TEST(multiboot_flat_image_is_loaded_and_zeroed)
{
	struct bench *b = flat_new();

	ck_assert_int_eq(load(b), 0);
	ck_assert_int_eq(b->entry.mode, BOOT_PROT32);
	ck_assert_uint_eq(b->entry.rip, 0x100010);
	ck_assert_uint_eq(b->entry.rax, 0x2badb002);
	ck_assert_mem_eq(b->ram + 0x100000, b->file + 0x80, 0x1000);
	for (size_t i = 0x1000; i < 0x3000; i++)
		ck_assert_uint_eq(b->ram[0x100000 + i], 0);
	ck_assert_uint_eq(b->ram[0x103000], 0xa5);
	bench_free(b);
}
END_TEST

START_TEST(multiboot_without_an_end_takes_the_whole_file)
{
	struct bench *b = flat_new();

	put_multiboot(b, MB_HEADER_AT, 1u << 16, 0x100080, 0x100000, 0, 0, 0x100010);
	ck_assert_int_eq(load(b), 0);
	ck_assert_uint_eq(b->entry.kernel_end, 0x100000 + 0x2000 - 0x80);
	bench_free(b);
}
END_TEST

START_TEST(multiboot_elf_is_entered_at_its_physical_address)
{
	struct bench *b = elf_new();

	put_note(b, NOTE_AT + 24, 17, "Xen", 8, PVH_ENTRY);
	put_multiboot(b, 0x400, 3, 0, 0, 0, 0, 0);
	ck_assert_int_eq(load(b), 0);
	ck_assert_str_eq(b->entry.format, "multiboot");
	ck_assert_uint_eq(b->entry.rip, ELF_AT + 0x20);
	bench_free(b);
}
END_TEST

START_TEST(multiboot_gets_its_information)
{
	struct bench *b = flat_new();
	static const uint8_t initrd[100] = {9, 8, 7};
	uint32_t w[29], module[4], size;
	uint64_t address, bytes;

	b->request.initrd = (struct boot_file){"initrd", initrd, sizeof(initrd)};
	ck_assert_int_eq(load(b), 0);
	memcpy(w, b->ram + b->entry.rbx, sizeof(w));
	ck_assert_uint_eq(w[0], 1u << 0 | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 9);
	ck_assert_uint_eq(w[1], 639);
	ck_assert_uint_eq(w[2], 63 * 1024);
	ck_assert_str_eq((const char *)b->ram + w[4], "console=ttyS0");
	ck_assert_uint_eq(w[5], 1);
	memcpy(module, b->ram + w[6], sizeof(module));
	ck_assert_uint_eq(module[1] - module[0], sizeof(initrd));
	ck_assert_mem_eq(b->ram + module[0], initrd, sizeof(initrd));
	ck_assert_str_eq((const char *)b->ram + module[2], "");
	ck_assert_str_eq((const char *)b->ram + w[16], "pangea");
	ck_assert_uint_eq(w[11], 4 * 24);
	memcpy(&size, b->ram + w[12] + 2 * 24, 4);
	memcpy(&address, b->ram + w[12] + 2 * 24 + 4, 8);
	memcpy(&bytes, b->ram + w[12] + 2 * 24 + 12, 8);
	ck_assert(size == 20 && address == 1 * MIB && bytes == 63 * MIB);
	bench_free(b);
}
END_TEST

START_TEST(multiboot_header_after_8_kib_is_none)
{
	struct bench *b = bench_new(32 * MIB, 32 * MIB);

	put_multiboot(b, 8192 - 8, 0, 0, 0, 0, 0, 0); /* begins inside, ends outside */
	refused(b, ENOEXEC, "is not a bzImage");
	put_multiboot(b, 8192 - 12, 0, 0, 0, 0, 0, 0);
	refused(b, ENOEXEC, "no ELF and has no load addresses");
	bench_free(b);
}
END_TEST

START_TEST(multiboot_with_a_wrong_checksum_is_none)
{
	struct bench *b = flat_new();

	b->file[MB_HEADER_AT + 8]++;
	refused(b, ENOEXEC, "is not a bzImage");
	bench_free(b);
}
END_TEST

START_TEST(multiboot_with_unknown_requirements_is_refused)
{
	struct bench *b = flat_new();

	put_multiboot(b, MB_HEADER_AT, 1u << 16 | 1u << 5, 0x100080, 0x100000, 0x101000, 0x103000, 0x100010);
	refused(b, ENOEXEC, "features unknown here");
	bench_free(b);
}
END_TEST

START_TEST(multiboot_with_damaged_addresses_is_refused)
{
	struct bench *b = flat_new();
	const uint32_t flags = 1u << 16;

	put_multiboot(b, MB_HEADER_AT, flags, 0x100000, 0x100080, 0, 0, 0x100080); /* header below the start */
	refused(b, ENOEXEC, "does not match");
	put_multiboot(b, MB_HEADER_AT, flags, 0x110000, 0x100000, 0, 0, 0x100000); /* begins before the file */
	refused(b, ENOEXEC, "does not match");
	put_multiboot(b, MB_HEADER_AT, flags, 0x100080, 0x100000, 0xfffff, 0, 0x100000);
	refused(b, ENOEXEC, "before its start");
	put_multiboot(b, MB_HEADER_AT, flags, 0x100080, 0x100000, 0x110000, 0, 0x100000);
	refused(b, ENOEXEC, "truncated: 65536 bytes");
	put_multiboot(b, MB_HEADER_AT, flags, 0x100080, 0x100000, 0x101000, 0x100800, 0x100000);
	refused(b, ENOEXEC, "inside what is loaded");
	put_multiboot(b, MB_HEADER_AT, flags, 0x100080, 0x100000, 0x101000, UINT32_MAX, 0x100000);
	refused(b, ENOSPC, "does not fit");
	put_multiboot(b, MB_HEADER_AT, flags, 0x100080, 0x100000, 0x101000, 0, 0x101000);
	refused(b, ENOEXEC, "its entry 0x101000 is not in what it loads");
	put_multiboot(b, MB_HEADER_AT, flags, 0x7080, 0x7000, 0x8000, 0, 0x7000);
	refused(b, ENOSPC, "above 1 MiB");
	bench_free(b);
}
END_TEST

/* ---- registers ---- */

START_TEST(registers_of_the_64_bit_entry)
{
	struct bench *b = bzimage_new(32 * MIB, 32 * MIB);
	struct kvm_sregs s = {.apic_base = 0xfee00900};
	struct kvm_regs r;
	uint64_t code;

	ck_assert_int_eq(load(b), 0);
	boot_regs(&b->entry, &s, &r);
	ck_assert(s.cs.selector == 0x10 && s.cs.l == 1 && s.cs.db == 0 && s.cs.s == 1 && s.cs.present == 1);
	ck_assert(s.ds.selector == 0x18 && s.ss.selector == 0x18 && s.es.selector == 0x18);
	ck_assert_uint_eq(s.cr0, 0x80000011);
	ck_assert_uint_eq(s.cr4, 0x20);
	ck_assert_uint_eq(s.efer, 0x500);
	ck_assert_uint_eq(s.cr3, 0x9000);
	ck_assert_uint_eq(s.apic_base, 0xfee00900);
	ck_assert_uint_eq(r.rsi, 0x7000);
	ck_assert_uint_eq(r.rip, BZ_AT + 0x200);
	ck_assert_uint_eq(r.rflags, 2);
	/* What the selectors name in the GDT is what the registers have. */
	ck_assert_uint_eq(s.gdt.base, 0x5000);
	ck_assert_uint_ge(s.gdt.limit, 0x20 + 7);
	memcpy(&code, b->ram + 0x5000 + 0x10, 8);
	ck_assert_uint_eq(code, 0x00af9b000000ffff);
	bench_free(b);
}
END_TEST

START_TEST(registers_of_a_32_bit_entry)
{
	struct bench *b = flat_new();
	struct kvm_sregs s = {0};
	struct kvm_regs r;
	uint64_t code;

	ck_assert_int_eq(load(b), 0);
	boot_regs(&b->entry, &s, &r);
	ck_assert(s.cs.l == 0 && s.cs.db == 1 && s.cs.base == 0 && s.cs.limit == UINT32_MAX && s.cs.g == 1);
	ck_assert(s.ds.base == 0 && s.ds.limit == UINT32_MAX && s.ds.type == 3 && s.gs.db == 1);
	ck_assert(s.tr.base == 0 && s.tr.limit == 0x67 && s.tr.type == 0xb && s.tr.s == 0);
	ck_assert_uint_eq(s.cr0, 0x11);
	ck_assert_uint_eq(s.cr4, 0);
	ck_assert_uint_eq(s.efer, 0);
	ck_assert_uint_eq(r.rax, 0x2badb002);
	ck_assert_uint_eq(r.rbx, 0x6000);
	ck_assert_uint_eq(r.rflags, 2);
	memcpy(&code, b->ram + 0x5000 + 0x10, 8);
	ck_assert_uint_eq(code, 0x00cf9b000000ffff);
	bench_free(b);
}
END_TEST

/* Boot structures that lie in one another would only show as a kernel that crashes. */
START_TEST(low_memory_layout_does_not_overlap)
{
	ck_assert_uint_le(BOOT_GDT + BOOT_GDT_ENTRIES * 8, BOOT_INFO);
	ck_assert_uint_le(BOOT_INFO + PAGE_BYTES, BOOT_ZERO_PAGE);
	ck_assert_uint_le(BOOT_ZERO_PAGE + PAGE_BYTES, BOOT_STACK_TOP - PAGE_BYTES);
	ck_assert_uint_le(BOOT_STACK_TOP, BOOT_PML4);
	ck_assert_uint_le(BOOT_PD + 4 * PAGE_BYTES, BOOT_CMDLINE);
	ck_assert_uint_le(BOOT_CMDLINE + BOOT_CMDLINE_MAX, MEMMAP_BASE_END);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("boot");
	TCase *t = tcase_create("boot");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, bzimage_is_put_at_its_preferred_address);
	tcase_add_test(t, bzimage_gets_a_zero_page);
	tcase_add_test(t, bzimage_header_is_copied_only_as_far_as_it_says);
	tcase_add_test(t, bzimage_gets_page_tables_of_4_gib);
	tcase_add_test(t, initrd_is_high_in_node_0);
	tcase_add_test(t, initrd_that_does_not_fit_node_0_goes_on);
	tcase_add_test(t, initrd_stays_below_initrd_addr_max);
	tcase_add_test(t, initrd_too_large_is_refused_with_its_size);
	tcase_add_test(t, empty_initrd_is_refused);
	tcase_add_test(t, empty_kernel_is_refused);
	tcase_add_test(t, text_file_is_refused_with_its_first_bytes);
	tcase_add_test(t, bzimage_cut_anywhere_is_refused);
	tcase_add_test(t, old_kernel_is_refused);
	tcase_add_test(t, kernel_of_32_bits_is_refused);
	tcase_add_test(t, bzimage_larger_than_ram_is_refused_with_sizes);
	tcase_add_test(t, preferred_addresses_of_a_damaged_header_are_refused);
	tcase_add_test(t, command_line_as_long_as_the_kernel_takes);
	tcase_add_test(t, pvh_segments_are_loaded_and_zeroed);
	tcase_add_test(t, pvh_gets_a_start_info);
	tcase_add_test(t, pvh_without_initrd_has_no_module);
	tcase_add_test(t, elf_without_note_is_refused);
	tcase_add_test(t, elf_with_damaged_notes_is_refused);
	tcase_add_test(t, pvh_entry_outside_is_refused);
	tcase_add_test(t, elf_cut_anywhere_is_refused);
	tcase_add_test(t, elf_segment_that_does_not_fit_is_refused);
	tcase_add_test(t, elf_of_another_processor_is_refused);
	tcase_add_test(t, elf_object_file_is_refused);
	tcase_add_test(t, elf_of_32_bits_is_loaded);
	tcase_add_test(t, multiboot_flat_image_is_loaded_and_zeroed);
	tcase_add_test(t, multiboot_without_an_end_takes_the_whole_file);
	tcase_add_test(t, multiboot_elf_is_entered_at_its_physical_address);
	tcase_add_test(t, multiboot_gets_its_information);
	tcase_add_test(t, multiboot_header_after_8_kib_is_none);
	tcase_add_test(t, multiboot_with_a_wrong_checksum_is_none);
	tcase_add_test(t, multiboot_with_unknown_requirements_is_refused);
	tcase_add_test(t, multiboot_with_damaged_addresses_is_refused);
	tcase_add_test(t, registers_of_the_64_bit_entry);
	tcase_add_test(t, registers_of_a_32_bit_entry);
	tcase_add_test(t, low_memory_layout_does_not_overlap);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
