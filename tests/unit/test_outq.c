/* SPDX-License-Identifier: Apache-2.0 */
/* Two queues to a peer: what is urgent goes first, and what is said about a page stays in order (O1 to O3 of net/outq.h). */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "net/outq.h"
#include "tests/unit/check_main.h"

#define QUEUE_BYTES ((size_t)1 << 20)
#define PAGES       64u /* in four blocks, so that BLOCK is about 16 of them */
#define ROUNDS      60000u

/* The bytes that left, and what was in them. Each message has its number, which counts them as they were put, in seq. */
struct line {
	uint8_t bytes[QUEUE_BYTES];
	size_t used;
	uint32_t messages;
	uint32_t last_of[PAGES]; /* seq of the last message of the page, + 1 */
	bool disorder, wrong;
	uint32_t overtaken; /* messages that came after one that was put later */
	uint32_t highest;
};

static rpn_t page_of(uint32_t i)
{
	return i / 16 * BLOCK_PAGES + i % 16;
}

static struct wire_hdr message(uint8_t type, uint32_t page, uint32_t seq)
{
	struct wire_hdr hdr = {.type = type, .arg = page_of(page), .seq = seq};

	if (type == WIRE_DATA)
		hdr.flags = seq % 2 ? WIRE_F_AHEAD : WIRE_F_PUSH;
	if (type == WIRE_DATA || type == WIRE_LEND)
		hdr.len = PAGE_BYTES;
	if (type == WIRE_RUN_REQ || type == WIRE_RUN_DATA) {
		hdr.flags = WIRE_F_AHEAD;
		hdr.acks = 2;
	}
	if (type == WIRE_RUN_DATA)
		hdr.len = 2 * (PAGE_BYTES + sizeof(uint32_t));
	return hdr;
}

static bool put(struct outq *q, const struct wire_hdr *hdr)
{
	uint8_t payload[2 * (PAGE_BYTES + sizeof(uint32_t))];

	memset(payload, (uint8_t)hdr->seq, sizeof(payload));
	return outq_put(q, hdr, payload);
}

static void look(struct line *line, const struct wire_hdr *hdr, const uint8_t *payload)
{
	for (uint32_t i = 0; i < hdr->len; i += 97)
		line->wrong |= payload[i] != (uint8_t)hdr->seq;
	for (uint32_t i = 0; i < PAGES; i++) {
		rpn_t first = hdr->type == WIRE_BLOCK ? hdr->arg / BLOCK_PAGES * BLOCK_PAGES : hdr->arg;
		rpn_t pages = hdr->type == WIRE_BLOCK ? BLOCK_PAGES : MAX(hdr->acks, 1u);

		if (page_of(i) - first >= pages)
			continue;
		line->disorder |= hdr->seq < line->last_of[i];
		line->last_of[i] = hdr->seq + 1;
	}
	line->overtaken += hdr->seq < line->highest;
	line->highest = MAX(line->highest, hdr->seq);
	line->messages++;
}

/* Sends at most n bytes, as a socket that takes no more does. Returns how many. */
static size_t take(struct outq *q, size_t bulk_max, size_t n, struct line *line)
{
	struct iovec piece[OUTQ_PIECES];
	int pieces = outq_peek(q, bulk_max, piece);
	size_t sent = 0;

	for (int i = 0; i < pieces && sent < n; i++) {
		size_t part = MIN(n - sent, piece[i].iov_len);

		memcpy(line->bytes + line->used, piece[i].iov_base, part);
		line->used += part;
		sent += part;
	}
	outq_take(q, sent);
	size_t at = 0;
	for (struct wire_hdr hdr; line->used - at >= WIRE_HDR_BYTES; at += WIRE_HDR_BYTES + hdr.len) {
		ck_assert_int_eq(wire_hdr_decode(line->bytes + at, WIRE_LANE_DSM, &hdr), 0); /* O2 */
		if (line->used - at < WIRE_HDR_BYTES + hdr.len)
			break;
		look(line, &hdr, line->bytes + at + WIRE_HDR_BYTES);
	}
	line->used -= at;
	memmove(line->bytes, line->bytes + at, line->used);
	return sent;
}

static void drain(struct outq *q, struct line *line)
{
	while (take(q, SIZE_MAX, 10000, line))
		;
	ck_assert_uint_eq(outq_used(q), 0);
	ck_assert_uint_eq(line->used, 0);
}

START_TEST(whatever_is_put_messages_of_a_page_leave_in_order)
{
	static const uint8_t types[] = {WIRE_REQ_READ, WIRE_INV,  WIRE_ACK,   WIRE_DATA,    WIRE_DATA,
					WIRE_DATA,     WIRE_LEND, WIRE_BLOCK, WIRE_RUN_REQ, WIRE_RUN_DATA};
	static struct line line;
	uint32_t seq = 0, refused = 0;
	struct outq q = {0};

	srand((unsigned)_i + 1);
	ck_assert_int_eq(outq_init(QUEUE_BYTES, true, &q), 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		bool filling = round / 2048 % 2; /* at some times more is put, at others more leaves */

		if (rand() % 8 < (filling ? 6 : 3)) {
			struct wire_hdr hdr = message(types[(size_t)rand() % ARRAY_SIZE(types)], (uint32_t)rand() % PAGES, seq);
			bool reserves = hdr.len && rand() % 2;
			uint8_t *at = reserves ? outq_reserve(&q, &hdr) : NULL;

			if (at)
				memset(at, (uint8_t)seq, hdr.len);
			if (at ? outq_put(&q, &hdr, at) : put(&q, &hdr))
				seq++;
			else
				refused++;
		} else {
			size_t most = filling || rand() % 2 ? 100 : 20000;

			(void)take(&q, rand() % 2 ? (size_t)rand() % 9000 : SIZE_MAX, (size_t)rand() % most, &line);
		}
	}
	drain(&q, &line);
	ck_assert(!line.disorder && !line.wrong);
	ck_assert_uint_eq(line.messages, seq);
	ck_assert_uint_gt(line.overtaken, seq / 100); /* the two queues did something */
	ck_assert_uint_gt(refused, 10);
	outq_destroy(&q);
}
END_TEST

/* What was peeked is under way, as in io_uring, while more is put. */
START_TEST(what_is_under_way_stays_while_more_is_put)
{
	static struct line line;
	struct iovec piece[OUTQ_PIECES];
	struct outq q = {0};
	uint32_t seq = 0;

	ck_assert_int_eq(outq_init(QUEUE_BYTES, true, &q), 0);
	for (uint32_t round = 0; round < 3000; round++) {
		struct wire_hdr bulk = message(WIRE_DATA, seq % PAGES, seq), urgent = message(WIRE_INV, (seq + 1) % PAGES, seq + 1);
		int n;

		ck_assert(put(&q, &bulk) && put(&q, &urgent));
		seq += 2;
		n = outq_peek(&q, 8000, piece);
		ck_assert_int_gt(n, 0);
		size_t sent = MIN(piece[0].iov_len, (size_t)5000);
		urgent = message(WIRE_ACK, (seq + 2) % PAGES, seq);
		ck_assert(put(&q, &urgent));
		seq++;
		memcpy(line.bytes + line.used, piece[0].iov_base, sent);
		line.used += sent;
		outq_take(&q, sent);
		(void)take(&q, 8000, 5000, &line);
	}
	drain(&q, &line);
	ck_assert(!line.disorder && !line.wrong);
	ck_assert_uint_eq(line.messages, seq);
	outq_destroy(&q);
}
END_TEST

START_TEST(urgent_messages_pass_pages_that_nobody_waits_for)
{
	static struct line line;
	struct outq q = {0};
	struct wire_hdr hdr;

	ck_assert_int_eq(outq_init(QUEUE_BYTES, true, &q), 0);
	for (uint32_t i = 0; i < 3; i++) {
		hdr = message(WIRE_DATA, i, i);
		ck_assert(put(&q, &hdr));
	}
	ck_assert_uint_eq(take(&q, SIZE_MAX, 1000, &line), 1000); /* the first has begun: it goes on */
	hdr = message(WIRE_INV, 10, 3);
	ck_assert(put(&q, &hdr));
	hdr = message(WIRE_INV, 2, 4); /* behind the page that it is about */
	ck_assert(put(&q, &hdr));
	(void)take(&q, SIZE_MAX, PAGE_BYTES - 1000 + 2 * WIRE_HDR_BYTES, &line);
	ck_assert_uint_eq(line.messages, 2);
	ck_assert_uint_eq(line.highest, 3);
	(void)take(&q, SIZE_MAX, 2 * (WIRE_HDR_BYTES + PAGE_BYTES), &line);
	ck_assert_uint_eq(line.highest, 3);
	drain(&q, &line);
	ck_assert_uint_eq(line.highest, 4);
	ck_assert(!line.disorder);
	outq_destroy(&q);
}
END_TEST

START_TEST(pages_that_nobody_waits_for_do_not_wait_for_ever)
{
	static struct line line;
	struct wire_hdr hdr = message(WIRE_DATA, 0, 0);
	struct outq q = {0};
	uint32_t seq = 1;

	ck_assert_int_eq(outq_init(QUEUE_BYTES, true, &q), 0);
	ck_assert(put(&q, &hdr));
	/* The line takes no more than is urgent. */
	while (!line.last_of[0]) {
		hdr = message(WIRE_LEND, 1 + seq % (PAGES - 1), seq);
		ck_assert(put(&q, &hdr));
		seq++;
		(void)take(&q, SIZE_MAX, WIRE_HDR_BYTES + PAGE_BYTES, &line);
		ck_assert_uint_lt((size_t)seq * PAGE_BYTES, OUTQ_PASS_BYTES + 8 * PAGE_BYTES);
	}
	ck_assert_uint_gt((size_t)seq * PAGE_BYTES, OUTQ_PASS_BYTES);
	drain(&q, &line);
	ck_assert(!line.disorder && !q.even);
	outq_destroy(&q);
}
END_TEST

START_TEST(a_page_may_be_written_where_it_is_sent_from)
{
	struct wire_hdr hdr = message(WIRE_DATA, 5, 0);
	struct iovec piece[OUTQ_PIECES];
	struct outq q = {0};

	ck_assert_int_eq(outq_init(QUEUE_BYTES, true, &q), 0);
	uint8_t *at = outq_reserve(&q, &hdr);
	ck_assert_ptr_nonnull(at);
	ck_assert_uint_eq(outq_used(&q), 0);
	memset(at, 7, PAGE_BYTES);
	ck_assert(outq_put(&q, &hdr, at));
	ck_assert_int_eq(outq_peek(&q, SIZE_MAX, piece), 1);
	ck_assert_ptr_eq((uint8_t *)piece[0].iov_base + WIRE_HDR_BYTES, at);
	/* Reserved, but the page was zero. */
	hdr.seq = 1;
	ck_assert_ptr_nonnull(outq_reserve(&q, &hdr));
	hdr.len = 0;
	ck_assert(outq_put(&q, &hdr, NULL));
	ck_assert_uint_eq(outq_used(&q), 2 * WIRE_HDR_BYTES + PAGE_BYTES);
	outq_destroy(&q);
}
END_TEST

START_TEST(without_bulk_there_is_one_queue)
{
	static struct line line;
	struct outq q = {0};

	ck_assert_int_eq(outq_init(QUEUE_BYTES, false, &q), 0);
	for (uint32_t i = 0; i < 20; i++) {
		struct wire_hdr hdr = message(i % 2 ? WIRE_INV : WIRE_DATA, i, i);

		ck_assert(put(&q, &hdr));
	}
	drain(&q, &line);
	ck_assert_uint_eq(line.overtaken, 0);
	outq_destroy(&q);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("outq");
	TCase *tc = tcase_create("outq");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, whatever_is_put_messages_of_a_page_leave_in_order, 0, 6);
	tcase_add_test(tc, what_is_under_way_stays_while_more_is_put);
	tcase_add_test(tc, urgent_messages_pass_pages_that_nobody_waits_for);
	tcase_add_test(tc, pages_that_nobody_waits_for_do_not_wait_for_ever);
	tcase_add_test(tc, a_page_may_be_written_where_it_is_sent_from);
	tcase_add_test(tc, without_bulk_there_is_one_queue);
	suite_add_tcase(s, tc);
	return check_main(s);
}
