/* SPDX-License-Identifier: Apache-2.0 */
/* Synthetic kernels with a PVH note or a multiboot header, whole and damaged. Real kernels boot in the tests with guests. */
#include <elf.h>

#include "boot_help.h"
#include "tests/unit/check_main.h"
#include "vmm/boot_loader.h"

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
	refused(b, ENOEXEC, "is an ELF, but truncated: segment 1 is behind its end");
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

int main(void)
{
	Suite *s = suite_create("boot_elf");
	TCase *t = tcase_create("boot_elf");

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
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
	tcase_add_test(t, registers_of_a_32_bit_entry);
	return check_main(s);
}
