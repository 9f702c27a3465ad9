/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages are asked for ahead. */
#include <check.h>

#include "dsm/stream.h"
#include "tests/unit/check_main.h"

static struct streams s;

static void fresh(void)
{
	s = (struct streams){0};
}

static void expect(struct stream_ahead a, rpn_t first, int64_t stride, uint32_t n)
{
	ck_assert_uint_eq(a.n, n);
	if (n) {
		ck_assert_uint_eq(a.first, first);
		ck_assert_int_eq(a.stride, stride);
	}
}

START_TEST(two_neighbours_begin_a_stream_and_windows_double)
{
	expect(stream_fault(&s, 100, false), 0, 0, 0);
	expect(stream_fault(&s, 101, false), 102, 1, STREAM_FIRST);
	expect(stream_fault(&s, 106, false), 107, 1, 8);
	expect(stream_fault(&s, 115, false), 116, 1, 16);
	expect(stream_fault(&s, 132, false), 133, 1, 32);
	expect(stream_fault(&s, 165, false), 166, 1, 64);
	expect(stream_fault(&s, 230, false), 231, 1, STREAM_WINDOW);
	expect(stream_fault(&s, 231 + STREAM_WINDOW, false), 232 + STREAM_WINDOW, 1, STREAM_WINDOW);
}
END_TEST

START_TEST(backwards_too)
{
	stream_fault(&s, 100, true);
	expect(stream_fault(&s, 99, true), 98, -1, STREAM_FIRST);
	expect(stream_fault(&s, 94, true), 93, -1, 8);
}
END_TEST

START_TEST(stride_needs_three_faults)
{
	stream_fault(&s, 100, false);
	expect(stream_fault(&s, 116, false), 0, 0, 0);
	expect(stream_fault(&s, 132, false), 148, 16, STREAM_FIRST);
	expect(stream_fault(&s, 212, false), 228, 16, 8);
}
END_TEST

START_TEST(far_apart_is_no_stream)
{
	stream_fault(&s, 100, false);
	for (rpn_t p = 1000; p < 100000; p += 1000)
		expect(stream_fault(&s, p, false), 0, 0, 0);
}
END_TEST

START_TEST(reads_and_writes_are_streams_of_their_own)
{
	stream_fault(&s, 100, false);
	expect(stream_fault(&s, 101, true), 0, 0, 0);
	expect(stream_fault(&s, 101, false), 102, 1, STREAM_FIRST);
}
END_TEST

START_TEST(interleaved_streams_are_told_apart)
{
	stream_fault(&s, 1000, false);
	stream_fault(&s, 9000, false);
	expect(stream_fault(&s, 1001, false), 1002, 1, STREAM_FIRST);
	expect(stream_fault(&s, 9001, false), 9002, 1, STREAM_FIRST);
	expect(stream_fault(&s, 1006, false), 1007, 1, 8);
	expect(stream_fault(&s, 9006, false), 9007, 1, 8);
}
END_TEST

START_TEST(fault_inside_a_window_asks_for_nothing)
{
	stream_fault(&s, 100, false);
	stream_fault(&s, 101, false);
	expect(stream_fault(&s, 103, false), 0, 0, 0);
	expect(stream_fault(&s, 106, false), 107, 1, 8);
}
END_TEST

/* Streams that break off after their first window, one after the other. */
static uint32_t waste(unsigned streams, uint32_t *pages)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < streams; i++) {
		*pages += stream_fault(&s, 10000u * (i + 1), false).wasted;
		n = stream_fault(&s, 10000u * (i + 1) + 1, false).n;
	}
	return n;
}

START_TEST(wasted_windows_shrink_and_used_ones_grow_them_again)
{
	uint32_t wasted = 0;

	ck_assert_uint_eq(waste(60, &wasted), 0); /* neighbours are not enough any more */
	ck_assert_uint_ge(wasted, STREAM_FIRST);
	stream_fault(&s, 5000000, false);
	stream_fault(&s, 5000001, false);
	expect(stream_fault(&s, 5000002, false), 5000003, 1, 1); /* three in a row are */
	for (rpn_t p = 5000004, n = 1; n < STREAM_WINDOW; p += n + 1) {
		struct stream_ahead a = stream_fault(&s, p, false);

		ck_assert_uint_eq(a.used, n);
		ck_assert_uint_ge(a.n, n);
		n = a.n;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stream");
	TCase *tc = tcase_create("stream");

	tcase_add_checked_fixture(tc, fresh, NULL);
	tcase_add_test(tc, two_neighbours_begin_a_stream_and_windows_double);
	tcase_add_test(tc, backwards_too);
	tcase_add_test(tc, stride_needs_three_faults);
	tcase_add_test(tc, far_apart_is_no_stream);
	tcase_add_test(tc, reads_and_writes_are_streams_of_their_own);
	tcase_add_test(tc, interleaved_streams_are_told_apart);
	tcase_add_test(tc, fault_inside_a_window_asks_for_nothing);
	tcase_add_test(tc, wasted_windows_shrink_and_used_ones_grow_them_again);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
