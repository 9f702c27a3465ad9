/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's counter as the processor computes it: KVM's ratio, the offset modulo 2^64. */
#include <check.h>

#include "tests/unit/check_main.h"
#include "vcpu/tsc.h"

START_TEST(rates_within_kvms_tolerance_are_not_scaled)
{
	struct tsc tsc = {.offset = 5};

	ck_assert(!tsc_needs_scaling(2000000, 2000000));
	ck_assert(!tsc_needs_scaling(2000500, 2000000)); /* 250 ppm */
	ck_assert(tsc_needs_scaling(2000501, 2000000));
	ck_assert(tsc_needs_scaling(1999499, 2000000));
	tsc_set_rates(&tsc, 2000500, 2000000, true);
	ck_assert_uint_eq(tsc_raw(&tsc, 123), 123);
	ck_assert_uint_eq(tsc_guest(&tsc, 123), 128);
	ck_assert_uint_eq(tsc_guest(&tsc, UINT64_MAX), 4);
}
END_TEST

/* KVM: ratio = mul_u64_u32_div(1 << bits, guest, host); counter = mul_u64_u64_shr(host's, ratio, bits). */
START_TEST(scaling_is_that_of_the_processor)
{
	const uint64_t week = 7ull * 86400 * 2600000000; /* of cycles: 2^50 */
	struct tsc amd = {0}, intel = {0};

	tsc_set_rates(&amd, 2600000, 2100000, false);
	tsc_set_rates(&intel, 2600000, 2100000, true);
	ck_assert(amd.scaled && intel.scaled);
	ck_assert_uint_eq(amd.ratio, (2100000ull << 32) / 2600000);
	ck_assert_uint_eq(intel.ratio, (uint64_t)(((unsigned __int128)2100000 << 48) / 2600000));
	uint64_t exact = (uint64_t)((unsigned __int128)week * 21 / 26);
	ck_assert_uint_eq(tsc_raw(&amd, week), (uint64_t)(((unsigned __int128)week * amd.ratio) >> 32));
	/* What a plain quotient would have been off by, in cycles of 0.5 ns. */
	ck_assert_uint_gt(exact - tsc_raw(&amd, week), 100000);
	ck_assert_uint_lt(exact - tsc_raw(&intel, week), 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tsc");
	TCase *tc = tcase_create("tsc");

	tcase_add_test(tc, rates_within_kvms_tolerance_are_not_scaled);
	tcase_add_test(tc, scaling_is_that_of_the_processor);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
