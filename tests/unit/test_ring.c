/* SPDX-License-Identifier: Apache-2.0 */
/* A ring gives back what it was given, in order, each message in one piece, however it wraps. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "net/ring.h"
#include "tests/unit/check_main.h"

#define SIZE   4096u
#define LONG   700u
#define ROUNDS 100000u

/* A message: its length in two bytes, then bytes that follow from its number. */
static void make(uint8_t *to, uint32_t number, uint16_t len)
{
	memcpy(to, &len, sizeof(len));
	for (uint32_t i = sizeof(len); i < len; i++)
		to[i] = (uint8_t)(number * 7 + i);
}

static bool put_bytes(struct ring *ring, const void *bytes, size_t len)
{
	uint8_t *at = ring_reserve(ring, len);

	if (!at)
		return false;
	memcpy(at, bytes, len);
	ring_commit(ring, len);
	return true;
}

START_TEST(messages_come_back_whole_and_in_order)
{
	uint32_t put = 0, taken = 0, wrapped = 0, refused = 0;
	uint8_t want[LONG];
	struct ring ring;

	srand((unsigned)_i + 1);
	ck_assert_int_eq(ring_init(SIZE, &ring), 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint16_t len = (uint16_t)(2 + (uint32_t)rand() % (LONG - 2));
		uint8_t *at = ring_reserve(&ring, len);
		size_t before = ring.used;

		if (rand() % 2) {
			if (!at) {
				refused++;
				ck_assert_uint_gt(ring.used + 2 * LONG, SIZE); /* it was nearly full */
				continue;
			}
			ck_assert(at >= ring.bytes && at + len <= ring.bytes + SIZE);
			make(at, put++, len);
			ck_assert_uint_eq(ring.used, before); /* reserving changes nothing */
			ring_commit(&ring, len);
			ck_assert_uint_eq(ring.used, before + len);
		} else if (ring.used) {
			struct iovec piece[2];
			int n = ring_peek(&ring, piece);

			wrapped += n == 2;
			ck_assert_uint_eq(piece[0].iov_len + (n == 2 ? piece[1].iov_len : 0), ring.used);
			ck_assert_ptr_eq(piece[0].iov_base, ring_front(&ring));
			memcpy(&len, ring_front(&ring), sizeof(len));
			make(want, taken++, len);
			ck_assert_mem_eq(ring_front(&ring), want, len);
			ring_take(&ring, len);
		}
	}
	ck_assert_uint_gt(wrapped, 100);
	ck_assert_uint_gt(refused, 100);
	ring_destroy(&ring);
}
END_TEST

START_TEST(any_number_of_bytes_may_be_taken)
{
	uint8_t in = 0, out = 0, bytes[LONG];
	uint64_t wrong = 0;
	struct ring ring;

	srand((unsigned)_i + 1);
	ck_assert_int_eq(ring_init(SIZE, &ring), 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		size_t len = 1 + (size_t)rand() % (LONG - 1);
		uint8_t first = in;

		for (size_t i = 0; i < len; i++)
			bytes[i] = in++;
		if (!put_bytes(&ring, bytes, len))
			in = first;
		struct iovec piece[2];
		int n = ring_peek(&ring, piece);
		size_t take = (size_t)rand() % (ring.used + 1), left = take;
		for (int i = 0; i < n && left; i++)
			for (size_t k = 0; k < piece[i].iov_len && left; k++, left--)
				wrong += ((uint8_t *)piece[i].iov_base)[k] != out++;
		ck_assert_uint_eq(left, 0);
		ring_take(&ring, take);
	}
	ck_assert_uint_eq(wrong, 0);
	ring_destroy(&ring);
}
END_TEST

START_TEST(a_ring_can_be_filled_to_the_last_byte)
{
	uint8_t bytes[SIZE] = {0};
	struct ring ring;

	ck_assert_int_eq(ring_init(SIZE, &ring), 0);
	ck_assert(put_bytes(&ring, bytes, SIZE));
	ck_assert_ptr_null(ring_reserve(&ring, 1));
	ring_take(&ring, 100);
	ck_assert(put_bytes(&ring, bytes, 100));
	ck_assert_ptr_null(ring_reserve(&ring, 1));
	ck_assert_uint_eq(ring.used, SIZE);
	ring_take(&ring, SIZE);
	ck_assert_uint_eq(ring.used, 0);
	ck_assert_ptr_eq(ring_reserve(&ring, SIZE), ring.bytes);
	ring_destroy(&ring);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ring");
	TCase *tc = tcase_create("ring");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, messages_come_back_whole_and_in_order, 0, 4);
	tcase_add_loop_test(tc, any_number_of_bytes_may_be_taken, 0, 4);
	tcase_add_test(tc, a_ring_can_be_filled_to_the_last_byte);
	suite_add_tcase(s, tc);
	return check_main(s);
}
