/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in a page of a guest: a small kernel's tables, image and per-CPU areas in made memory. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "kallsyms_help.h"
#include "tests/unit/check_main.h"
#include "vmm/guestsyms.h"

#define RAM_BYTES   (64 * MIB)
#define MAP         UINT64_C(0xffffffff80000000)
#define DIRECT      UINT64_C(0xffff888000000000)
#define TABLES_AT   0x300000u /* in the image, from its start */
#define FILLERS     100u
#define CPU_AREA(n) (0x2000000u + 0x100000u * (n))

struct fake {
	struct guestsyms_ram ram;
	uint8_t *bytes;
};

static struct fake fake;
static struct guestsyms *gs;
static struct guestsyms_page page;
static char text[GUESTSYMS_TEXT];

static bool read_fake(const struct guestsyms_ram *ram, gpa_t gpa, void *buf, size_t len)
{
	const struct fake *f = container_of(ram, const struct fake, ram);

	ck_assert_uint_le((gpa & (BLOCK_BYTES - 1)) + len, BLOCK_BYTES);
	if (gpa >= RAM_BYTES || len > RAM_BYTES - gpa)
		return false;
	memcpy(buf, f->bytes + gpa, len);
	return true;
}

/* The first block of 64 KiB that is not zero, so that much is left out. */
static gpa_t next_fake(const struct guestsyms_ram *ram, gpa_t gpa)
{
	const struct fake *f = container_of(ram, const struct fake, ram);
	static const uint8_t zeros[64 * 1024];

	for (gpa_t at = gpa & ~(gpa_t)(sizeof(zeros) - 1); at < RAM_BYTES; at += sizeof(zeros))
		if (memcmp(f->bytes + at, zeros, sizeof(zeros)) != 0)
			return MAX(at, gpa);
	return RAM_BYTES;
}

/* Ascending, as the tables are. Offsets are from MADE_BASE. */
static const struct made_symbol objects[] = {
	{0x0, 'A', "__per_cpu_start"},
	{0x1000, 'A', "current_task"},
	{0x1980, 'A', "runqueues"},
	{0x2800, 'A', "__per_cpu_end"},
	{MADE_BASE, 'T', "_text"},
	{MADE_BASE + 0x10100, 'R', "linux_banner"},
	{MADE_BASE + 0x400000, 'D', "big_table"},
	{MADE_BASE + 0x403080, 'D', "jiffies"},
	{MADE_BASE + 0x403080, 'D', "jiffies_64"},
	{MADE_BASE + 0x4030c0, 'd', "tk_core"},
	{MADE_BASE + 0x403200, 'D', "_edata"},
	{MADE_BASE + 0x405000, 'D', "__per_cpu_offset"},
	{MADE_BASE + 0x406000, 'D', "page_offset_base"},
	{MADE_BASE + 0x406008, 'D', "pcpu_unit_size"},
	{MADE_BASE + 0x500000, 'T', "__init_begin"},
	{MADE_BASE + 0x500000, 'T', "start_kernel"},
	{MADE_BASE + 0x502000, 'T', "__init_end"},
	{MADE_BASE + 0x600000, 'B', "_end"},
};

static void put64(gpa_t at, uint64_t value)
{
	memcpy(fake.bytes + at, &value, sizeof(value));
}

/* The kernel at `load`, whose addresses are those it was linked for. */
static void make_guest(gpa_t load)
{
	static struct made m;
	static struct made_symbol list[ARRAY_SIZE(objects) + FILLERS];
	static char names[FILLERS][32];
	uint32_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		list[n++] = objects[i];
		for (uint32_t k = 0; k < FILLERS && strcmp(objects[i].name, "_text") == 0; k++) { /* or it is no kernel */
			snprintf(names[k], sizeof(names[k]), "function_%u", k);
			list[n++] = (struct made_symbol){.addr = MADE_BASE + 16 * (k + 1), .type = 't', .name = names[k]};
		}
	}
	made_tables(&m, MADE_61, list, n, 512);
	memcpy(fake.bytes + load + TABLES_AT, m.bytes, m.len);
	strcpy((char *)fake.bytes + load + 0x10100, "Linux version 6.1.0-test (someone@somewhere) #1\n");
	put64(load + 0x405000, DIRECT + CPU_AREA(0));
	put64(load + 0x405008, DIRECT + CPU_AREA(1));
	put64(load + 0x406000, DIRECT);
	put64(load + 0x406008, 0x8000);
}

static void setup(void)
{
	fake.ram = (struct guestsyms_ram){.read = read_fake, .next = next_fake, .end = RAM_BYTES};
	fake.bytes = calloc(1, RAM_BYTES);
	gs = NULL;
}

static void teardown(void)
{
	guestsyms_free(gs);
	free(fake.bytes);
}

static const char *text_of(gpa_t gpa)
{
	guestsyms_page(gs, gpa, &page);
	return guestsyms_text(&page, text);
}

static void look(void)
{
	ck_assert_int_eq(guestsyms_new(&fake.ram, 3, NULL, &gs), 0);
	ck_assert_str_eq(guestsyms_kernel(gs), "Linux version 6.1.0-test");
}

/* Where it is without KASLR, and elsewhere. */
static const gpa_t loads[] = {16 * MIB, 24 * MIB, 2 * MIB};

START_TEST(objects_of_the_image_are_named)
{
	gpa_t load = loads[_i];

	make_guest(load);
	look();
	ck_assert_str_eq(text_of(load + 0x403000), "big_table, jiffies=jiffies_64, tk_core");
	ck_assert_int_eq(page.kind, GUESTSYMS_OBJECTS);
	ck_assert_uint_eq(page.cpu, VCPU_NONE);
	ck_assert_str_eq(text_of(load + 0x401000), "big_table");
	ck_assert_str_eq(text_of(load + 0x406000), "page_offset_base, pcpu_unit_size");
}
END_TEST

START_TEST(largest_objects_are_named_in_order)
{
	make_guest(16 * MIB);
	look();
	guestsyms_page(gs, 16 * MIB, &page);
	ck_assert_uint_eq(page.n, GUESTSYMS_NAMES);
	ck_assert_uint_eq(page.total, FILLERS + 1);
	ck_assert_str_eq(page.name[0], "_text");
	ck_assert_str_eq(page.name[GUESTSYMS_NAMES - 1], "function_99"); /* up to the banner: the largest */
	ck_assert_ptr_nonnull(strstr(guestsyms_text(&page, text), " and 93 more"));
}
END_TEST

START_TEST(percpu_objects_are_named_with_their_cpu)
{
	make_guest(16 * MIB);
	look();
	ck_assert(!guestsyms_complete(gs)); /* of three CPUs, two have an area */
	ck_assert_str_eq(text_of(CPU_AREA(0) + 0x1000), "current_task, runqueues (CPU 0)");
	ck_assert_str_eq(text_of(CPU_AREA(1) + 0x2000), "runqueues (CPU 1)");
	ck_assert_uint_eq(page.cpu, 1);
	ck_assert_str_eq(text_of(CPU_AREA(1) + 0x7000), "per-CPU memory allocated at run time (CPU 1)");
	ck_assert_str_eq(text_of(CPU_AREA(1) + 0x8000), "no symbol: dynamic memory");
}
END_TEST

START_TEST(pages_without_symbols_say_what_is_known)
{
	make_guest(16 * MIB);
	look();
	ck_assert_str_eq(text_of(16 * MIB + 0x501000), "no symbol: dynamic memory, where the kernel's code for its start was");
	ck_assert_str_eq(text_of(0x9000), "no symbol: below 1 MiB, real-mode code and firmware tables");
	ck_assert_str_eq(text_of(40 * MIB), "no symbol: dynamic memory");
	ck_assert_str_eq(text_of(60 * GIB), "no symbol: dynamic memory");
}
END_TEST

START_TEST(end_of_a_part_is_no_object)
{
	make_guest(16 * MIB);
	look();
	ck_assert_str_eq(text_of(16 * MIB + 0x404000), "no symbol: dynamic memory"); /* behind _edata */
}
END_TEST

START_TEST(memory_without_a_kernel_has_no_symbols)
{
	ck_assert_int_eq(guestsyms_new(&fake.ram, 1, NULL, &gs), -ENOENT);
	guestsyms_page(NULL, 0x1000, &page);
	ck_assert_int_eq(page.kind, GUESTSYMS_UNKNOWN);
	ck_assert_str_eq(guestsyms_text(&page, text), "");
}
END_TEST

START_TEST(tables_of_a_kernel_that_is_not_there_are_refused)
{
	make_guest(16 * MIB);
	memset(fake.bytes + 16 * MIB + 0x10100, 0, 64); /* no banner */
	ck_assert_int_eq(guestsyms_new(&fake.ram, 1, NULL, &gs), -ESRCH);
	ck_assert(strlen(guestsyms_missing(-ESRCH)) > 0 && strlen(guestsyms_missing(-ENOENT)) > 0);
}
END_TEST

START_TEST(percpu_offsets_of_a_hostile_guest_name_nothing)
{
	make_guest(16 * MIB);
	put64(16 * MIB + 0x405000, UINT64_MAX);
	put64(16 * MIB + 0x405008, DIRECT + RAM_BYTES - 0x1000);
	put64(16 * MIB + 0x405010, 0);
	put64(16 * MIB + 0x406008, UINT64_MAX);
	look();
	ck_assert_str_eq(text_of(CPU_AREA(0) + 0x1000), "no symbol: dynamic memory");
	ck_assert_str_eq(text_of(RAM_BYTES - 0x1000), "no symbol: dynamic memory");
}
END_TEST

START_TEST(symbols_of_a_file_name_pages)
{
	static const char file[] = "0000000000000000 A __per_cpu_start\n0000000000001980 A runqueues\n"
				   "0000000000002800 A __per_cpu_end\nffffffff81000000 T _text\n"
				   "ffffffff81010100 R linux_banner\nffffffff81403080 D jiffies\n"
				   "ffffffff81405000 D __per_cpu_offset\nffffffff81600000 B _end\n";
	struct symbols *s;

	make_guest(loads[_i]);
	memset(fake.bytes + loads[_i] + TABLES_AT, 0, MADE_BYTES);
	ck_assert_int_eq(symbols_parse(file, strlen(file), &s), 0);
	ck_assert_int_eq(guestsyms_new(&fake.ram, 2, s, &gs), 0);
	ck_assert_str_eq(text_of(loads[_i] + 0x403000), "linux_banner, jiffies");
	ck_assert_str_eq(text_of(CPU_AREA(1) + 0x2000), "runqueues (CPU 1)");
	symbols_free(s);
}
END_TEST

START_TEST(long_names_and_many_aliases_fit)
{
	static char file[8 * SYMBOL_NAME_MAX];
	struct symbols *s;
	size_t used = (size_t)sprintf(file, "ffffffff81000000 T _text\nffffffff81010100 R linux_banner\n");

	for (int i = 0; i < 5; i++) {
		used += (size_t)sprintf(file + used, "ffffffff81403000 D ");
		memset(file + used, 'a' + i, i ? 60 : SYMBOL_NAME_MAX - 1);
		used += i ? 60 : SYMBOL_NAME_MAX - 1;
		file[used++] = '\n';
	}
	used += (size_t)sprintf(file + used, "ffffffff81600000 B _end\n");
	make_guest(16 * MIB);
	ck_assert_int_eq(symbols_parse(file, used, &s), 0);
	ck_assert_int_eq(guestsyms_new(&fake.ram, 2, s, &gs), 0);
	text_of(16 * MIB + 0x403000);
	ck_assert_uint_eq(page.n, 1);
	ck_assert_uint_eq(strlen(page.name[0]), GUESTSYMS_NAME - 1);
	symbols_free(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guestsyms");
	TCase *t = tcase_create("guestsyms");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, objects_of_the_image_are_named, 0, ARRAY_SIZE(loads));
	tcase_add_test(t, largest_objects_are_named_in_order);
	tcase_add_test(t, percpu_objects_are_named_with_their_cpu);
	tcase_add_test(t, pages_without_symbols_say_what_is_known);
	tcase_add_test(t, end_of_a_part_is_no_object);
	tcase_add_test(t, memory_without_a_kernel_has_no_symbols);
	tcase_add_test(t, tables_of_a_kernel_that_is_not_there_are_refused);
	tcase_add_test(t, percpu_offsets_of_a_hostile_guest_name_nothing);
	tcase_add_loop_test(t, symbols_of_a_file_name_pages, 0, ARRAY_SIZE(loads));
	tcase_add_test(t, long_names_and_many_aliases_fit);
	suite_add_tcase(suite, t);
	return check_main(suite);
}
