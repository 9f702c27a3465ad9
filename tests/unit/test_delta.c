/* SPDX-License-Identifier: Apache-2.0 */
/* The difference between two pages. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/delta.h"
#include "tests/unit/check_main.h"

static uint8_t old[PAGE_BYTES], new[PAGE_BYTES], out[2 * PAGE_BYTES];
static size_t len;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

START_TEST(equal_pages_differ_by_nothing)
{
	ck_assert(delta_encode(old, new, out, 0, &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(delta_apply(out, 0, old), 0);
}
END_TEST

START_TEST(one_byte_costs_its_word_and_a_head)
{
	new[4095] = 7;
	ck_assert(delta_encode(old, new, out, sizeof(out), &len));
	ck_assert_uint_eq(len, 12);
	ck_assert_uint_eq(out[0] + 256u * out[1], 511);
	ck_assert_uint_eq(out[2] + 256u * out[3], 1);
	ck_assert_uint_eq(out[11], 7);
}
END_TEST

START_TEST(neighbouring_words_are_one_run)
{
	memset(new + 56, 1, 24); /* over the end of what is compared at once */
	new[800] = 1;
	ck_assert(delta_encode(old, new, out, sizeof(out), &len));
	ck_assert_uint_eq(len, 4 + 24 + 4 + 8);
}
END_TEST

START_TEST(what_would_be_too_long_is_given_up)
{
	memset(new, 1, PAGE_BYTES);
	ck_assert(delta_encode(old, new, out, PAGE_BYTES + 4, &len));
	ck_assert_uint_eq(len, PAGE_BYTES + 4);
	out[PAGE_BYTES + 3] = 0x55;
	ck_assert(!delta_encode(old, new, out, PAGE_BYTES + 3, &len));
	ck_assert_uint_eq(out[PAGE_BYTES + 3], 0x55);
	ck_assert(!delta_encode(old, new, out, 0, &len));
}
END_TEST

START_TEST(any_two_pages_come_back)
{
	uint64_t random = (uint64_t)_i * 2654435761u + 1;

	for (unsigned round = 0; round < 200; round++) {
		uint64_t changes = next(&random) % (round % 2 ? 600 : 20);
		uint8_t page[PAGE_BYTES];

		for (size_t i = 0; i < PAGE_BYTES; i++)
			old[i] = (uint8_t)(next(&random) % 3);
		memcpy(new, old, PAGE_BYTES);
		for (uint64_t i = 0; i < changes; i++)
			new[next(&random) % PAGE_BYTES] = (uint8_t)next(&random);
		memcpy(page, old, PAGE_BYTES);
		ck_assert(delta_encode(old, new, out, sizeof(out), &len));
		ck_assert_int_eq(delta_apply(out, len, page), 0);
		ck_assert_mem_eq(page, new, PAGE_BYTES);
		if (len) {
			ck_assert(!delta_encode(old, new, out, len - 1, &len));
			ck_assert(delta_encode(old, new, out, len, &len));
		}
	}
}
END_TEST

static int apply(const uint16_t *heads, size_t bytes)
{
	uint8_t page[PAGE_BYTES] = {0}, zero[PAGE_BYTES] = {0};
	int err = delta_apply((const uint8_t *)heads, bytes, page);

	if (err) /* untouched */
		ck_assert_mem_eq(page, zero, PAGE_BYTES);
	return err;
}

START_TEST(runs_that_no_encoder_writes_are_refused)
{
	const uint16_t good[] = {1, 1, 9, 9, 9, 9, 2, 1, 9, 9, 9, 9}, empty[] = {1, 0}, beyond[] = {512, 1, 9, 9, 9, 9},
		       across[] = {511, 2, 9, 9, 9, 9, 9, 9, 9, 9}, far[] = {65535, 65535, 9, 9, 9, 9},
		       again[] = {5, 1, 9, 9, 9, 9, 5, 1, 9, 9, 9, 9}, back[] = {5, 1, 9, 9, 9, 9, 3, 1, 9, 9, 9, 9};

	ck_assert_int_eq(apply(good, sizeof(good)), 0);
	ck_assert_int_eq(apply(empty, sizeof(empty)), -EBADMSG);
	ck_assert_int_eq(apply(beyond, sizeof(beyond)), -EBADMSG);
	ck_assert_int_eq(apply(across, sizeof(across)), -EBADMSG);
	ck_assert_int_eq(apply(far, sizeof(far)), -EBADMSG);
	ck_assert_int_eq(apply(again, sizeof(again)), -EBADMSG);
	ck_assert_int_eq(apply(back, sizeof(back)), -EBADMSG);
}
END_TEST

START_TEST(a_delta_that_ends_early_is_refused)
{
	const uint16_t good[] = {1, 1, 9, 9, 9, 9, 2, 1, 9, 9, 9, 9};

	for (size_t bytes = 1; bytes < sizeof(good); bytes++)
		ck_assert_int_eq(apply(good, bytes), bytes == 12 ? 0 : -EMSGSIZE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("delta");
	TCase *tc = tcase_create("delta");

	tcase_add_test(tc, equal_pages_differ_by_nothing);
	tcase_add_test(tc, one_byte_costs_its_word_and_a_head);
	tcase_add_test(tc, neighbouring_words_are_one_run);
	tcase_add_test(tc, what_would_be_too_long_is_given_up);
	tcase_add_loop_test(tc, any_two_pages_come_back, 0, 10);
	tcase_add_test(tc, runs_that_no_encoder_writes_are_refused);
	tcase_add_test(tc, a_delta_that_ends_early_is_refused);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
