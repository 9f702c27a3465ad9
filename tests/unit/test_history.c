/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages migrate. */
#include <check.h>

#include "dsm/history.h"
#include "tests/unit/check_main.h"

#define BIT(n) ((uint64_t)1 << (n))

START_TEST(who_upgrades_what_it_read_last_makes_a_page_migrate)
{
	uint8_t h = 0;

	ck_assert(!history_request(&h, 1, false, BIT(0), 1));
	history_request(&h, 1, true, BIT(0) | BIT(1), 2);
	ck_assert(history_migrates(h));
	ck_assert(history_request(&h, 2, false, BIT(1), HISTORY_PROBE + 1));
	ck_assert(history_request(&h, 63, false, BIT(2), HISTORY_PROBE + 2));
}
END_TEST

START_TEST(producer_that_writes_again_what_others_read_does_not)
{
	uint8_t h = 0;

	history_request(&h, 1, false, BIT(0), 1);
	history_request(&h, 0, true, BIT(0) | BIT(1), 2);
	ck_assert(!history_request(&h, 1, false, BIT(0), HISTORY_PROBE + 1));
}
END_TEST

START_TEST(page_of_three_sharers_does_not)
{
	uint8_t h = 0;

	history_request(&h, 1, false, BIT(0), 1);
	history_request(&h, 2, false, BIT(0) | BIT(1), 2);
	history_request(&h, 2, true, BIT(0) | BIT(1) | BIT(2), 3);
	ck_assert(!history_migrates(h));
}
END_TEST

START_TEST(upgrade_of_the_other_holder_ends_it)
{
	uint8_t h = 0;

	history_request(&h, 1, false, BIT(0), 1);
	history_request(&h, 1, true, BIT(0) | BIT(1), 2);
	history_request(&h, 0, false, BIT(1), HISTORY_PROBE); /* a copy, this time */
	history_request(&h, 1, true, BIT(0) | BIT(1), HISTORY_PROBE + 1);
	ck_assert(!history_migrates(h));
}
END_TEST

START_TEST(probe_has_to_be_passed_again)
{
	uint8_t h = 0;

	history_request(&h, 1, false, BIT(0), 1);
	history_request(&h, 1, true, BIT(0) | BIT(1), 2);
	ck_assert(!history_request(&h, 0, false, BIT(1), 2 * HISTORY_PROBE));
	ck_assert(!history_migrates(h));
	history_request(&h, 0, true, BIT(0) | BIT(1), 2 * HISTORY_PROBE + 1);
	ck_assert(history_migrates(h));
}
END_TEST

START_TEST(write_without_a_copy_says_nothing)
{
	uint8_t h = 0;

	history_request(&h, 1, false, BIT(0), 1);
	history_request(&h, 1, true, BIT(0) | BIT(1), 2);
	ck_assert(history_request(&h, 2, true, BIT(1), 3));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("history");
	TCase *tc = tcase_create("history");

	tcase_add_test(tc, who_upgrades_what_it_read_last_makes_a_page_migrate);
	tcase_add_test(tc, producer_that_writes_again_what_others_read_does_not);
	tcase_add_test(tc, page_of_three_sharers_does_not);
	tcase_add_test(tc, upgrade_of_the_other_holder_ends_it);
	tcase_add_test(tc, probe_has_to_be_passed_again);
	tcase_add_test(tc, write_without_a_copy_says_nothing);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
