/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages are pushed to whom (dsm/readers.h). */
#include <check.h>

#include "dsm/readers.h"
#include "tests/unit/check_main.h"

#define BIT(n) ((uint64_t)1 << (n))

static struct readers r;

static void clean(void)
{
	r = (struct readers){0};
}

START_TEST(the_same_readers_twice_are_pushed_to)
{
	uint64_t nodes = BIT(1) | BIT(2) | BIT(63);

	ck_assert_uint_eq(readers_push(&r, 7), 0);
	readers_written(&r, 7, nodes);
	ck_assert_uint_eq(readers_push(&r, 7), 0);
	readers_written(&r, 7, nodes);
	ck_assert_uint_eq(readers_push(&r, 7), nodes);
	ck_assert_uint_eq(readers_push(&r, 8), 0);
}
END_TEST

START_TEST(one_reader_is_not_many)
{
	for (int i = 0; i < 10; i++)
		readers_written(&r, 7, BIT(1));
	ck_assert_uint_eq(readers_push(&r, 7), 0);
}
END_TEST

START_TEST(other_readers_each_time_are_not_pushed_to)
{
	for (unsigned i = 0; i < 10; i++) {
		readers_written(&r, 7, BIT(4 * i) | BIT(4 * i + 1));
		ck_assert_uint_eq(readers_push(&r, 7), 0);
	}
}
END_TEST

START_TEST(a_reader_that_comes_or_goes_is_followed)
{
	readers_written(&r, 7, BIT(1) | BIT(2) | BIT(3));
	readers_written(&r, 7, BIT(1) | BIT(2) | BIT(3) | BIT(4));
	ck_assert_uint_eq(readers_push(&r, 7), BIT(1) | BIT(2) | BIT(3) | BIT(4));
	readers_written(&r, 7, BIT(2) | BIT(3) | BIT(4));
	ck_assert_uint_eq(readers_push(&r, 7), BIT(2) | BIT(3) | BIT(4));
	readers_written(&r, 7, BIT(2));
	ck_assert_uint_eq(readers_push(&r, 7), 0);
}
END_TEST

START_TEST(now_and_then_it_is_left_to_them_to_ask)
{
	unsigned none = 0;

	readers_written(&r, 7, BIT(1) | BIT(2));
	for (unsigned i = 0; i < 4 * READERS_PROBE; i++) {
		readers_written(&r, 7, BIT(1) | BIT(2));
		none += readers_push(&r, 7) == 0;
	}
	ck_assert_uint_eq(none, 4);
}
END_TEST

static bool remembers(const struct readers *of, rpn_t page)
{
	for (unsigned i = 0; i < READERS_PAGES; i++)
		if (of->slot[i].nodes && of->slot[i].page == page)
			return true;
	return false;
}

/* All pages hash to some slot; one that is sure outlasts a few strangers, not any number. */
START_TEST(a_page_in_use_is_not_displaced_at_once)
{
	struct readers copy;
	rpn_t other = 7;

	for (unsigned i = 0; i < 5; i++)
		readers_written(&r, 7, BIT(1) | BIT(2));
	do { /* one of the same slot: any other is remembered at once */
		copy = r;
		readers_written(&copy, ++other, BIT(4) | BIT(5));
	} while (remembers(&copy, other) && other < 1000000);
	ck_assert_uint_lt(other, 1000000);
	for (unsigned i = 0; i < READERS_SURE; i++) {
		readers_written(&r, other, BIT(4) | BIT(5));
		ck_assert_uint_eq(readers_push(&r, other), 0);
		ck_assert(remembers(&r, 7) && !remembers(&r, other));
	}
	for (unsigned i = 0; i < 3; i++)
		readers_written(&r, other, BIT(4) | BIT(5));
	ck_assert_uint_eq(readers_push(&r, other), BIT(4) | BIT(5));
	ck_assert_uint_eq(readers_push(&r, 7), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("readers");
	TCase *tc = tcase_create("readers");

	tcase_add_checked_fixture(tc, clean, NULL);
	tcase_add_test(tc, the_same_readers_twice_are_pushed_to);
	tcase_add_test(tc, one_reader_is_not_many);
	tcase_add_test(tc, other_readers_each_time_are_not_pushed_to);
	tcase_add_test(tc, a_reader_that_comes_or_goes_is_followed);
	tcase_add_test(tc, now_and_then_it_is_left_to_them_to_ask);
	tcase_add_test(tc, a_page_in_use_is_not_displaced_at_once);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
