/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>

#include "base/units.h"
#include "tests/unit/check_main.h"

static void bytes_are(const char *text, uint64_t want)
{
	uint64_t bytes = 0;

	ck_assert_int_eq(units_parse_bytes(text, &bytes), 0);
	ck_assert_uint_eq(bytes, want);
}

static void bytes_fail(const char *text, int want)
{
	uint64_t bytes = 42;

	ck_assert_int_eq(units_parse_bytes(text, &bytes), want);
	ck_assert_uint_eq(bytes, 42);
}

START_TEST(number_without_suffix_is_bytes)
{
	bytes_are("0", 0);
	bytes_are("4096", 4096);
	bytes_are("007", 7);
}
END_TEST

START_TEST(suffixes_are_powers_of_1024_in_either_case)
{
	bytes_are("1K", 1024);
	bytes_are("1k", 1024);
	bytes_are("512M", 512 * MIB);
	bytes_are("512m", 512 * MIB);
	bytes_are("3G", 3 * GIB);
	bytes_are("2T", 2048 * GIB);
}
END_TEST

START_TEST(text_that_is_no_size_is_refused)
{
	static const char *const bad[] = {"", "M", "-1", "+1", " 1", "1 ", "1MB", "1X", "1.5G", "0x10", "1KK", "M1"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bytes_fail(bad[i], -EINVAL);
}
END_TEST

START_TEST(largest_size_is_taken_and_the_next_is_out_of_range)
{
	bytes_are("9223372036854775807", INT64_MAX);
	bytes_fail("9223372036854775808", -ERANGE);
	bytes_fail("18446744073709551616", -ERANGE);
	bytes_are("8388607T", 8388607ull << 40);
	bytes_fail("8388608T", -ERANGE);
	bytes_fail("99999999999999999999999999M", -ERANGE);
}
END_TEST

START_TEST(number_up_to_its_maximum_is_taken)
{
	uint32_t value = 0;

	ck_assert_int_eq(units_parse_u32("64", 64, &value), 0);
	ck_assert_uint_eq(value, 64);
	ck_assert_int_eq(units_parse_u32("4294967295", UINT32_MAX, &value), 0);
	ck_assert_uint_eq(value, UINT32_MAX);
}
END_TEST

START_TEST(number_over_its_maximum_is_out_of_range)
{
	uint32_t value = 42;

	ck_assert_int_eq(units_parse_u32("65", 64, &value), -ERANGE);
	ck_assert_int_eq(units_parse_u32("4294967296", UINT32_MAX, &value), -ERANGE);
	ck_assert_uint_eq(value, 42);
}
END_TEST

START_TEST(text_that_is_no_number_is_refused)
{
	static const char *const bad[] = {"", "-1", "1K", "one", " 1", "1 "};
	uint32_t value = 42;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(units_parse_u32(bad[i], 64, &value), -EINVAL);
	ck_assert_uint_eq(value, 42);
}
END_TEST

START_TEST(sizes_are_formatted_in_the_largest_unit_that_fits)
{
	char buf[UNITS_TEXT];

	ck_assert_str_eq(units_format_bytes(0, buf), "0 B");
	ck_assert_str_eq(units_format_bytes(1023, buf), "1023 B");
	ck_assert_str_eq(units_format_bytes(512 * MIB, buf), "512 MiB");
	ck_assert_str_eq(units_format_bytes(GIB + GIB / 2, buf), "1.5 GiB");
	ck_assert_str_eq(units_format_bytes(UINT64_MAX, buf), "16 EiB");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("units");
	TCase *tc = tcase_create("units");

	suite_add_tcase(s, tc);
	tcase_add_test(tc, number_without_suffix_is_bytes);
	tcase_add_test(tc, suffixes_are_powers_of_1024_in_either_case);
	tcase_add_test(tc, text_that_is_no_size_is_refused);
	tcase_add_test(tc, largest_size_is_taken_and_the_next_is_out_of_range);
	tcase_add_test(tc, number_up_to_its_maximum_is_taken);
	tcase_add_test(tc, number_over_its_maximum_is_out_of_range);
	tcase_add_test(tc, text_that_is_no_number_is_refused);
	tcase_add_test(tc, sizes_are_formatted_in_the_largest_unit_that_fits);
	return check_main(s);
}
