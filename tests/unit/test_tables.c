/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages are page tables in use, and settled: dsm/tables.h. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/tables.h"
#include "tests/unit/check_main.h"

#define PAGES 16u
#define KERN  UINT64_C(0x63) /* present, writable, accessed, dirty */

struct memory {
	struct tables tables;
	uint64_t page[PAGES][TABLE_ENTRIES];
	uint32_t unreadable; /* bit n: page n */
	unsigned reads;
};

static const uint8_t *bytes(const struct tables *tables, gpa_t gpa)
{
	struct memory *m = container_of((struct tables *)(uintptr_t)tables, struct memory, tables);
	uint64_t n = gpa >> PAGE_SHIFT;

	m->reads++;
	return n >= PAGES || m->unreadable >> n & 1 ? NULL : (const uint8_t *)m->page[n];
}

static struct memory *memory_new(void)
{
	struct memory *m = aligned_alloc(PAGE_BYTES, (sizeof(*m) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1));

	ck_assert_ptr_nonnull(m);
	memset(m, 0, sizeof(*m));
	m->tables.bytes = bytes;
	return m;
}

static uint64_t to(uint64_t page)
{
	return page << PAGE_SHIFT | KERN;
}

/* 1 -> 2 -> 3 -> 4 by entries 511, 1, 0; 4 maps page 9. */
static struct memory *tree(void)
{
	struct memory *m = memory_new();

	m->page[1][511] = to(2) | UINT64_C(1) << 58; /* a bit that is software's */
	m->page[2][1] = to(3);
	m->page[3][0] = to(4);
	m->page[4][7] = to(9);
	return m;
}

START_TEST(every_table_of_the_tree_is_found)
{
	struct memory *m = tree();

	for (uint64_t p = 1; p <= 4; p++)
		ck_assert(table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, p << PAGE_SHIFT));
	free(m);
}
END_TEST

START_TEST(a_page_that_is_only_mapped_is_no_table)
{
	struct memory *m = tree();

	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 9 << PAGE_SHIFT));
	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 5 << PAGE_SHIFT));
	free(m);
}
END_TEST

START_TEST(with_five_levels_the_mapped_page_is_a_table)
{
	struct memory *m = tree();

	ck_assert(table_is_in(&m->tables, 1 << PAGE_SHIFT, 5, 9 << PAGE_SHIFT));
	free(m);
}
END_TEST

START_TEST(a_large_page_is_no_table)
{
	struct memory *m = tree();

	m->page[3][0] |= 0x80;
	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 4 << PAGE_SHIFT));
	free(m);
}
END_TEST

START_TEST(an_entry_that_is_not_present_leads_nowhere)
{
	struct memory *m = tree();

	m->page[2][1] &= ~UINT64_C(1);
	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 3 << PAGE_SHIFT));
	free(m);
}
END_TEST

/* CR3 of a process that is gone; its page is another's lowest table by now, which maps data. */
START_TEST(data_that_an_old_root_maps_is_no_table)
{
	static const uint64_t data[] = {0x8000000000000067, 0x25, 0x47, 0x66}; /* data; text; not used yet; swapped out */
	struct memory *m = memory_new();

	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		m->page[1][20 + i] = (uint64_t)(2 + i) << PAGE_SHIFT | data[i];
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, (gpa_t)(2 + i) << PAGE_SHIFT));
	m->page[1][20] &= ~(UINT64_C(1) << 63);
	ck_assert(table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 2 << PAGE_SHIFT));
	free(m);
}
END_TEST

START_TEST(a_page_of_small_numbers_maps_nothing)
{
	struct memory *m = memory_new();

	ck_assert(!table_maps((const uint8_t *)m->page[1]));
	for (unsigned i = 0; i < TABLE_ENTRIES; i++)
		m->page[1][i] = 4 * (i % 16) + 0x21;
	m->page[1][9] = UINT64_C(0x00007f0000000000); /* not present */
	ck_assert(!table_maps((const uint8_t *)m->page[1]));
	m->page[1][500] = to(9);
	ck_assert(table_maps((const uint8_t *)m->page[1]));
	free(m);
}
END_TEST

START_TEST(what_cannot_be_read_is_left_out)
{
	struct memory *m = tree();

	m->unreadable = 1 << 2;
	ck_assert(table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 2 << PAGE_SHIFT));
	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 3 << PAGE_SHIFT));
	m->page[1][3] = UINT64_C(0x000ffffffffff000) | KERN; /* beyond all RAM */
	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 4, 3 << PAGE_SHIFT));
	free(m);
}
END_TEST

/* A guest can make a tree that is wide, or that has itself as its branches. */
START_TEST(a_search_ends)
{
	struct memory *m = memory_new();

	for (unsigned i = 0; i < TABLE_ENTRIES; i++)
		m->page[1][i] = to(1);
	ck_assert(!table_is_in(&m->tables, 1 << PAGE_SHIFT, 5, 2 << PAGE_SHIFT));
	ck_assert_uint_le(m->reads, TABLES_VISITED_MAX + 1);
	free(m);
}
END_TEST

static const struct {
	uint64_t entry;
	bool settled;
} entries[] = {
	{0x63, true},               /* present, writable, accessed, dirty */
	{0x8000000000000063, true}, /* not executable */
	{0x21, true},               /* read-only, clean: no walk makes it dirty */
	{0xe3, true},               /* large */
	{0x43, false},              /* not accessed */
	{0x23, false},              /* writable, clean */
	{0x62, false},              /* not present, not zero: a swap entry */
	{0x7fffffffffffffff & ~1ull, false},
	{0, false}, /* nothing at all */
};

START_TEST(settled_is_what_no_walk_changes)
{
	struct memory *m = memory_new();

	m->page[1][300] = entries[_i].entry;
	ck_assert_int_eq(table_settled((const uint8_t *)m->page[1]), entries[_i].settled);
	m->page[1][2] = 0x63;
	ck_assert_int_eq(table_settled((const uint8_t *)m->page[1]), entries[_i].settled || !entries[_i].entry);
	free(m);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tables");
	TCase *tc = tcase_create("tables");

	tcase_add_test(tc, every_table_of_the_tree_is_found);
	tcase_add_test(tc, a_page_that_is_only_mapped_is_no_table);
	tcase_add_test(tc, with_five_levels_the_mapped_page_is_a_table);
	tcase_add_test(tc, a_large_page_is_no_table);
	tcase_add_test(tc, an_entry_that_is_not_present_leads_nowhere);
	tcase_add_test(tc, data_that_an_old_root_maps_is_no_table);
	tcase_add_test(tc, a_page_of_small_numbers_maps_nothing);
	tcase_add_test(tc, what_cannot_be_read_is_left_out);
	tcase_add_test(tc, a_search_ends);
	tcase_add_loop_test(tc, settled_is_what_no_walk_changes, 0, ARRAY_SIZE(entries));
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
