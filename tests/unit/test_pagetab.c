/* SPDX-License-Identifier: Apache-2.0 */
/* The table of pages in motion: small cases by hand, then many random ones beside a plain array. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "dsm/pagetab.h"
#include "tests/unit/check_main.h"

#define SLOTS 16u

static struct pagetab tab;

static void setup(void)
{
	ck_assert_int_eq(pagetab_init(&tab, SLOTS), 0);
}

static void teardown(void)
{
	pagetab_destroy(&tab);
}

START_TEST(empty_table_has_no_page)
{
	uint32_t cursor = 0;
	rpn_t page;

	ck_assert_uint_eq(pagetab_find(&tab, 0), PAGETAB_NONE);
	ck_assert_uint_eq(pagetab_find(&tab, UINT64_MAX), PAGETAB_NONE);
	ck_assert_uint_eq(pagetab_next(&tab, &cursor, &page), PAGETAB_NONE);
}
END_TEST

START_TEST(page_is_found_in_its_slot_until_it_is_removed)
{
	uint32_t slot = pagetab_add(&tab, 0); /* page 0 is a page as any other */

	ck_assert_uint_lt(slot, SLOTS);
	ck_assert_uint_eq(pagetab_find(&tab, 0), slot);
	ck_assert_uint_eq(pagetab_find(&tab, 1), PAGETAB_NONE);
	pagetab_remove(&tab, 0);
	ck_assert_uint_eq(pagetab_find(&tab, 0), PAGETAB_NONE);
}
END_TEST

START_TEST(every_page_has_a_slot_of_its_own)
{
	uint64_t seen = 0;

	for (rpn_t p = 0; p < SLOTS; p++) {
		uint32_t slot = pagetab_add(&tab, p << 40 | p);

		ck_assert_uint_lt(slot, SLOTS);
		ck_assert(!(seen >> slot & 1));
		seen |= 1ull << slot;
	}
}
END_TEST

START_TEST(full_table_takes_no_page_until_one_leaves)
{
	for (rpn_t p = 0; p < SLOTS; p++)
		ck_assert_uint_ne(pagetab_add(&tab, p), PAGETAB_NONE);
	ck_assert_uint_eq(pagetab_add(&tab, SLOTS), PAGETAB_NONE);
	ck_assert_uint_eq(pagetab_find(&tab, SLOTS), PAGETAB_NONE);
	uint32_t slot = pagetab_find(&tab, 7);
	pagetab_remove(&tab, 7);
	ck_assert_uint_eq(pagetab_add(&tab, SLOTS), slot);
}
END_TEST

START_TEST(walk_shows_each_page_once_with_its_slot)
{
	uint32_t cursor = 0, slot, n = 0;
	rpn_t page, sum = 0;

	for (rpn_t p = 100; p < 100 + SLOTS; p++)
		ck_assert_uint_ne(pagetab_add(&tab, p), PAGETAB_NONE);
	pagetab_remove(&tab, 103);
	while ((slot = pagetab_next(&tab, &cursor, &page)) != PAGETAB_NONE) {
		ck_assert_uint_eq(pagetab_find(&tab, page), slot);
		sum += page;
		n++;
	}
	ck_assert_uint_eq(n, SLOTS - 1);
	ck_assert_uint_eq(sum, SLOTS * 100 + SLOTS * (SLOTS - 1) / 2 - 103);
}
END_TEST

START_TEST(cleared_table_is_as_new)
{
	for (rpn_t p = 0; p < SLOTS; p++)
		ck_assert_uint_ne(pagetab_add(&tab, p), PAGETAB_NONE);
	pagetab_clear(&tab);
	for (rpn_t p = 0; p < SLOTS; p++)
		ck_assert_uint_eq(pagetab_find(&tab, p), PAGETAB_NONE);
	for (rpn_t p = 0; p < SLOTS; p++)
		ck_assert_uint_ne(pagetab_add(&tab, 2 * p), PAGETAB_NONE);
}
END_TEST

/* What a linear-probing hash gets wrong is the removal from the middle of a run. */
START_TEST(random_adds_and_removes_agree_with_an_array)
{
	enum { PAGES = 64 };
	unsigned seed = (unsigned)time(NULL);
	uint32_t slot_of[PAGES];
	uint32_t used = 0;

	for (unsigned p = 0; p < PAGES; p++)
		slot_of[p] = PAGETAB_NONE;
	for (unsigned i = 0; i < 200000; i++) {
		unsigned p = (unsigned)rand_r(&seed) % PAGES;

		if (slot_of[p] == PAGETAB_NONE) {
			slot_of[p] = pagetab_add(&tab, p);
			ck_assert_msg((slot_of[p] == PAGETAB_NONE) == (used == SLOTS), "round %u of seed %u", i, seed);
			used += slot_of[p] != PAGETAB_NONE;
		} else {
			pagetab_remove(&tab, p);
			slot_of[p] = PAGETAB_NONE;
			used--;
		}
		p = (unsigned)rand_r(&seed) % PAGES;
		ck_assert_msg(pagetab_find(&tab, p) == slot_of[p], "round %u, page %u, seed %u", i, p, seed);
	}
	ck_assert_uint_eq(tab.used, used);
}
END_TEST

/* Our bugs, not anyone's input: the asserts that catch them stay in release builds. */
START_TEST(page_is_not_added_twice)
{
	if (pagetab_add(&tab, 5) == PAGETAB_NONE)
		return;
	(void)pagetab_add(&tab, 5);
}
END_TEST

START_TEST(page_that_is_not_there_is_not_removed)
{
	pagetab_remove(&tab, 5);
}
END_TEST

START_TEST(slots_are_a_power_of_two)
{
	struct pagetab other;

	if (pagetab_init(&other, 12))
		return;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pagetab");
	TCase *t = tcase_create("pagetab");

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, empty_table_has_no_page);
	tcase_add_test(t, page_is_found_in_its_slot_until_it_is_removed);
	tcase_add_test(t, every_page_has_a_slot_of_its_own);
	tcase_add_test(t, full_table_takes_no_page_until_one_leaves);
	tcase_add_test(t, walk_shows_each_page_once_with_its_slot);
	tcase_add_test(t, cleared_table_is_as_new);
	tcase_add_test(t, random_adds_and_removes_agree_with_an_array);
	tcase_add_test_raise_signal(t, page_is_not_added_twice, SIGABRT);
	tcase_add_test_raise_signal(t, page_that_is_not_there_is_not_removed, SIGABRT);
	tcase_add_test_raise_signal(t, slots_are_a_power_of_two, SIGABRT);
	return check_main(s);
}
