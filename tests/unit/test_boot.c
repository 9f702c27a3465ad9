/* SPDX-License-Identifier: Apache-2.0 */
/* A synthetic bzImage, whole and damaged, its initrd and command line. Real kernels boot in the tests with guests. */
#include <asm/bootparam.h>

#include "boot_help.h"
#include "tests/unit/check_main.h"
#include "vmm/boot_loader.h"

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
	tcase_add_test(t, registers_of_the_64_bit_entry);
	tcase_add_test(t, low_memory_layout_does_not_overlap);
	return check_main(s);
}
