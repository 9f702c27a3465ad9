/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>

#include "base/vcpuset.h"
#include "tests/unit/check_main.h"

static struct vcpuset set;

static void setup(void)
{
	vcpuset_clear(&set);
}

START_TEST(cleared_set_is_empty)
{
	memset(&set, 0xff, sizeof(set));
	vcpuset_clear(&set);
	ck_assert(vcpuset_empty(&set));
	ck_assert_uint_eq(vcpuset_next(&set, 0), VCPU_NONE);
}
END_TEST

START_TEST(added_member_is_there_and_its_neighbours_are_not)
{
	static const vcpu_t some[] = {0, 1, 63, 64, 65, 511, 512, VCPUS_MAX - 1};

	for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
		vcpuset_clear(&set);
		vcpuset_add(&set, some[i]);
		for (vcpu_t v = 0; v < VCPUS_MAX; v++)
			ck_assert(vcpuset_has(&set, v) == (v == some[i]));
		ck_assert(!vcpuset_empty(&set));
	}
}
END_TEST

START_TEST(removed_member_is_gone_and_the_others_stay)
{
	vcpuset_add(&set, 63);
	vcpuset_add(&set, 64);
	vcpuset_remove(&set, 63);
	ck_assert(!vcpuset_has(&set, 63));
	ck_assert(vcpuset_has(&set, 64));
	vcpuset_remove(&set, 64);
	ck_assert(vcpuset_empty(&set));
}
END_TEST

START_TEST(removing_what_is_not_there_changes_nothing)
{
	vcpuset_add(&set, 5);
	vcpuset_remove(&set, 6);
	ck_assert(vcpuset_has(&set, 5));
	ck_assert_uint_eq(vcpuset_next(&set, 0), 5);
}
END_TEST

START_TEST(members_come_in_order)
{
	static const vcpu_t some[] = {0, 3, 62, 63, 64, 200, 640, VCPUS_MAX - 1};
	vcpu_t v = 0;

	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		vcpuset_add(&set, some[i]);
	for (size_t i = 0; i < ARRAY_SIZE(some); i++, v++) {
		v = vcpuset_next(&set, v);
		ck_assert_uint_eq(v, some[i]);
	}
	ck_assert_uint_eq(vcpuset_next(&set, v), VCPU_NONE);
}
END_TEST

START_TEST(next_starts_at_the_given_member_and_not_before)
{
	vcpuset_add(&set, 10);
	vcpuset_add(&set, 100);
	ck_assert_uint_eq(vcpuset_next(&set, 10), 10);
	ck_assert_uint_eq(vcpuset_next(&set, 11), 100);
	ck_assert_uint_eq(vcpuset_next(&set, 64), 100);
	ck_assert_uint_eq(vcpuset_next(&set, 101), VCPU_NONE);
	ck_assert_uint_eq(vcpuset_next(&set, VCPUS_MAX), VCPU_NONE);
}
END_TEST

START_TEST(every_member_of_a_full_set_is_found_from_everywhere)
{
	for (vcpu_t v = 0; v < VCPUS_MAX; v++)
		vcpuset_add(&set, v);
	for (vcpu_t v = 0; v < VCPUS_MAX; v++)
		ck_assert_uint_eq(vcpuset_next(&set, v), v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vcpuset");
	TCase *tc = tcase_create("vcpuset");

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, cleared_set_is_empty);
	tcase_add_test(tc, added_member_is_there_and_its_neighbours_are_not);
	tcase_add_test(tc, removed_member_is_gone_and_the_others_stay);
	tcase_add_test(tc, removing_what_is_not_there_changes_nothing);
	tcase_add_test(tc, members_come_in_order);
	tcase_add_test(tc, next_starts_at_the_given_member_and_not_before);
	tcase_add_test(tc, every_member_of_a_full_set_is_found_from_everywhere);
	return check_main(s);
}
