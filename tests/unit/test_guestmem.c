/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/guestmem.h"
#include "tests/unit/check_main.h"

#define LOW_PAGES  4
#define HIGH_PAGES 2
#define HIGH_GPA   (4 * GIB)

/* Two ranges with a hole between them, as there is around [3 GiB, 4 GiB). */
static uint8_t low[LOW_PAGES * 4096];
static uint8_t high[HIGH_PAGES * 4096];
static struct guestmem mem;

static void setup(void)
{
	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	mem = (struct guestmem){
		.n = 2,
		.range = {{.gpa = 0x1000, .len = sizeof(low), .host = low, .first = 0},
			  {.gpa = HIGH_GPA, .len = sizeof(high), .host = high, .first = LOW_PAGES}},
	};
}

START_TEST(address_in_a_range_is_found)
{
	ck_assert_ptr_eq(guestmem_ptr(&mem, 0x1000, 1), low);
	ck_assert_ptr_eq(guestmem_ptr(&mem, 0x1000 + 5, 7), low + 5);
	ck_assert_ptr_eq(guestmem_ptr(&mem, HIGH_GPA + 4096, 4096), high + 4096);
	ck_assert_ptr_eq(guestmem_ptr(&mem, 0x1000, sizeof(low)), low);
}
END_TEST

START_TEST(address_outside_all_ranges_is_not_found)
{
	ck_assert_ptr_null(guestmem_ptr(&mem, 0, 1));
	ck_assert_ptr_null(guestmem_ptr(&mem, 0xfff, 1));
	ck_assert_ptr_null(guestmem_ptr(&mem, 0x1000 + sizeof(low), 1));
	ck_assert_ptr_null(guestmem_ptr(&mem, HIGH_GPA - 1, 1));
	ck_assert_ptr_null(guestmem_ptr(&mem, HIGH_GPA + sizeof(high), 1));
	ck_assert_ptr_null(guestmem_ptr(&mem, UINT64_MAX, 1));
}
END_TEST

START_TEST(length_past_the_end_is_refused)
{
	ck_assert_ptr_null(guestmem_ptr(&mem, 0x1000, sizeof(low) + 1));
	ck_assert_ptr_null(guestmem_ptr(&mem, 0x1000 + sizeof(low) - 1, 2));
	ck_assert_ptr_null(guestmem_ptr(&mem, HIGH_GPA, sizeof(high) + 1));
}
END_TEST

START_TEST(length_that_wraps_around_is_refused)
{
	ck_assert_ptr_null(guestmem_ptr(&mem, 0x1001, UINT64_MAX));
	ck_assert_ptr_null(guestmem_ptr(&mem, HIGH_GPA + 1, UINT64_MAX - HIGH_GPA));
}
END_TEST

START_TEST(map_without_ranges_holds_nothing)
{
	struct guestmem none = {0};
	gpa_t gpa = 42;

	ck_assert_ptr_null(guestmem_ptr(&none, 0, 1));
	ck_assert(!guestmem_gpa(&none, 0, &gpa));
	ck_assert_uint_eq(gpa, 42);
}
END_TEST

START_TEST(what_is_written_is_read)
{
	char buf[6] = "";

	ck_assert_int_eq(guestmem_write(&mem, HIGH_GPA + 4094, "hello", 6), 0);
	ck_assert_mem_eq(high + 4094, "hello", 6);
	ck_assert_int_eq(guestmem_read(&mem, HIGH_GPA + 4094, buf, 6), 0);
	ck_assert_str_eq(buf, "hello");
}
END_TEST

START_TEST(refused_write_changes_nothing)
{
	static const uint8_t zero[sizeof(low)];

	ck_assert_int_eq(guestmem_write(&mem, 0x1000 + sizeof(low) - 3, "hello", 6), -EFAULT);
	ck_assert_mem_eq(low, zero, sizeof(low));
}
END_TEST

START_TEST(refused_read_changes_nothing)
{
	char buf[6] = "canar";

	ck_assert_int_eq(guestmem_read(&mem, 0x1000 + sizeof(low) - 3, buf, 6), -EFAULT);
	ck_assert_str_eq(buf, "canar");
}
END_TEST

START_TEST(ram_pages_have_their_addresses)
{
	gpa_t gpa = 0;

	ck_assert(guestmem_gpa(&mem, 0, &gpa));
	ck_assert_uint_eq(gpa, 0x1000);
	ck_assert(guestmem_gpa(&mem, LOW_PAGES - 1, &gpa));
	ck_assert_uint_eq(gpa, 0x1000 + (LOW_PAGES - 1) * 4096);
	ck_assert(guestmem_gpa(&mem, LOW_PAGES, &gpa));
	ck_assert_uint_eq(gpa, HIGH_GPA);
}
END_TEST

START_TEST(page_that_is_none_has_no_address)
{
	gpa_t gpa = 42;

	ck_assert(!guestmem_gpa(&mem, LOW_PAGES + HIGH_PAGES, &gpa));
	ck_assert(!guestmem_gpa(&mem, UINT64_MAX, &gpa));
	ck_assert_uint_eq(gpa, 42);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guestmem");
	TCase *tc = tcase_create("guestmem");

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, address_in_a_range_is_found);
	tcase_add_test(tc, address_outside_all_ranges_is_not_found);
	tcase_add_test(tc, length_past_the_end_is_refused);
	tcase_add_test(tc, length_that_wraps_around_is_refused);
	tcase_add_test(tc, map_without_ranges_holds_nothing);
	tcase_add_test(tc, what_is_written_is_read);
	tcase_add_test(tc, refused_write_changes_nothing);
	tcase_add_test(tc, refused_read_changes_nothing);
	tcase_add_test(tc, ram_pages_have_their_addresses);
	tcase_add_test(tc, page_that_is_none_has_no_address);
	return check_main(s);
}
