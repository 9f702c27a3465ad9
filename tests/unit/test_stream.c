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
	expect(stream_fault(&s, 230, false), 231, 1, 128);
	expect(stream_fault(&s, 359, false), 360, 1, STREAM_WINDOW);
	expect(stream_fault(&s, 360 + STREAM_WINDOW, false), 361 + STREAM_WINDOW, 1, STREAM_WINDOW);
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

/* A stream from `page` on whose window is STREAM_LATE; its last fault was on the page that is returned. */
static rpn_t grown(rpn_t page, int64_t stride, bool write)
{
	struct stream_ahead a = {0};

	for (unsigned i = 0; a.n == 0; i++, page += (rpn_t)stride)
		a = stream_fault(&s, page, write);
	page -= (rpn_t)stride;
	while (a.n < STREAM_LATE) {
		page = a.first + (rpn_t)(stride * (int64_t)a.n);
		a = stream_fault(&s, page, write);
	}
	ck_assert_uint_eq(a.n, STREAM_LATE);
	return page;
}

START_TEST(fault_on_a_page_to_come_asks_for_more_from_the_middle_on)
{
	rpn_t at = grown(100, 1, false), half = STREAM_LATE / 2, asked = at + STREAM_LATE;

	expect(stream_late(&s, at, false), 0, 0, 0);
	expect(stream_late(&s, at + half - 1, false), 0, 0, 0);
	struct stream_ahead a = stream_late(&s, at + half, false);
	expect(a, asked + 1, 1, 2 * STREAM_LATE - (uint32_t)half);
	ck_assert_uint_eq(a.used, half);
	expect(stream_late(&s, at + half, false), 0, 0, 0);
	asked += a.n;
	a = stream_late(&s, asked, false); /* the last */
	expect(a, asked + 1, 1, STREAM_WINDOW);
	ck_assert_uint_eq(a.used, 2 * STREAM_LATE);
	expect(stream_fault(&s, asked + STREAM_WINDOW + 1, false), asked + STREAM_WINDOW + 2, 1, STREAM_WINDOW);
}
END_TEST

START_TEST(fault_on_a_page_to_come_says_nothing_of_a_short_stream)
{
	for (rpn_t p = 100; p < 120; p++)
		expect(stream_late(&s, p, false), 0, 0, 0);
	expect(stream_fault(&s, 120, false), 0, 0, 0);
	expect(stream_fault(&s, 121, false), 122, 1, STREAM_FIRST);
	expect(stream_late(&s, 125, false), 0, 0, 0);
	expect(stream_fault(&s, 126, false), 127, 1, 8);
}
END_TEST

START_TEST(a_late_fault_goes_backwards_and_by_strides)
{
	rpn_t at = grown(90000, -1, true);

	expect(stream_late(&s, at - STREAM_LATE / 2, false), 0, 0, 0);
	expect(stream_late(&s, at - STREAM_LATE / 2, true), at - STREAM_LATE - 1, -1, STREAM_LATE / 2 * 3);
	at = grown(1000, 16, false);
	expect(stream_late(&s, at + 16 * STREAM_LATE / 2 + 1, false), 0, 0, 0);
	expect(stream_late(&s, at + 16 * STREAM_LATE / 2, false), at + 16 * (STREAM_LATE + 1), 16, STREAM_LATE / 2 * 3);
}
END_TEST

/* Each page asked for is used once, wasted once, or in a window still. */
START_TEST(what_was_asked_for_is_used_or_wasted_once)
{
	uint64_t x = 88172645463325252u, asked = 0, over = 0, open = 0;
	rpn_t page = 5000;

	for (unsigned i = 0; i < 200000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page += x % 7 ? x % 3 : x % 50000;
		struct stream_ahead a = x >> 60 & 1 ? stream_late(&s, page, x >> 61 & 1) : stream_fault(&s, page, x >> 61 & 1);
		asked += a.n;
		over += a.used + a.wasted;
		ck_assert_uint_le(a.n, STREAM_WINDOW);
	}
	for (unsigned i = 0; i < STREAMS; i++)
		open += s.stream[i].live ? s.stream[i].window : 0;
	ck_assert_uint_gt(over, 1000);
	ck_assert_uint_eq(asked, over + open);
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
	tcase_add_test(tc, fault_on_a_page_to_come_asks_for_more_from_the_middle_on);
	tcase_add_test(tc, fault_on_a_page_to_come_says_nothing_of_a_short_stream);
	tcase_add_test(tc, a_late_fault_goes_backwards_and_by_strides);
	tcase_add_test(tc, what_was_asked_for_is_used_or_wasted_once);
	tcase_add_test(tc, wasted_windows_shrink_and_used_ones_grow_them_again);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
