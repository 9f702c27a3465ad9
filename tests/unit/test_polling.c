/* SPDX-License-Identifier: Apache-2.0 */
/* How long a shard polls: as long as that pays, and no longer. */
#include <check.h>

#include "dsm/polling.h"
#include "tests/unit/check_main.h"

#define US NS_PER_US

static void slept(struct polling *p, uint64_t ns)
{
	polling_sleeps(p, NS_PER_SEC);
	polling_worked(p, NS_PER_SEC + ns, NS_PER_SEC + ns);
}

START_TEST(short_sleeps_lengthen_it_up_to_the_most)
{
	struct polling p;
	uint64_t before = 0;

	polling_init(&p, 0, 200 * US);
	ck_assert(!polling_goes_on(&p, 0));
	for (int i = 0; i < 10; i++) {
		slept(&p, 50 * US);
		ck_assert_uint_ge(p.ns, before);
		before = p.ns;
	}
	ck_assert_uint_eq(p.ns, 200 * US);
	polling_worked(&p, 900 * US, 1000 * US);
	ck_assert(polling_goes_on(&p, 1199 * US));
	ck_assert(!polling_goes_on(&p, 1200 * US));
}
END_TEST

START_TEST(long_sleeps_end_it)
{
	struct polling p;
	int i = 0;

	polling_init(&p, 0, 200 * US);
	while (p.ns < 200 * US)
		slept(&p, 200 * US);
	for (; p.ns && i < 20; i++)
		slept(&p, 201 * US);
	ck_assert_uint_eq(p.ns, 0);
	ck_assert_int_lt(i, 8);
	polling_worked(&p, 5, 5);
	ck_assert(!polling_goes_on(&p, 5));
}
END_TEST

/* A sleeper that wakes for nothing and sleeps on has slept all the time; work found while polling teaches nothing. */
START_TEST(only_sleeps_that_end_in_work_count)
{
	struct polling p;

	polling_init(&p, 0, 200 * US);
	polling_sleeps(&p, 1000 * US);
	for (unsigned i = 1; i < 100; i++)
		polling_sleeps(&p, (1000 + i) * US);
	polling_worked(&p, 1201 * US, 1202 * US);
	ck_assert_uint_eq(p.ns, 0);
	slept(&p, 100 * US);
	uint64_t ns = p.ns;
	ck_assert_uint_gt(ns, 0);
	for (int i = 0; i < 10; i++)
		polling_worked(&p, NS_PER_SEC, NS_PER_SEC);
	ck_assert_uint_eq(p.ns, ns);
}
END_TEST

START_TEST(what_was_asked_for_is_kept)
{
	struct polling p;

	polling_init(&p, 50 * US, 20 * US);
	for (int i = 0; i < 20; i++)
		slept(&p, NS_PER_SEC);
	ck_assert_uint_eq(p.ns, 50 * US);
	for (int i = 0; i < 20; i++)
		slept(&p, 1);
	ck_assert_uint_eq(p.ns, 50 * US);
	polling_init(&p, 0, 0);
	for (int i = 0; i < 20; i++)
		slept(&p, 0);
	ck_assert_uint_eq(p.ns, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("polling");
	TCase *tc = tcase_create("polling");

	tcase_add_test(tc, short_sleeps_lengthen_it_up_to_the_most);
	tcase_add_test(tc, long_sleeps_end_it);
	tcase_add_test(tc, only_sleeps_that_end_in_work_count);
	tcase_add_test(tc, what_was_asked_for_is_kept);
	suite_add_tcase(s, tc);
	return check_main(s);
}
