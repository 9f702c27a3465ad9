/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into RDMA, without a device: frames, credits and slots of both ends, and every way in which a peer can lie about them.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdma_help.h"
#include "tests/unit/check_main.h"

START_TEST(messages_come_out_as_they_went_in)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr sent[] = {request(1), page(2), request(3), page(4)};
	struct rdma_record record;
	struct rdma_reader r;

	uint32_t len = make(&a, sent, ARRAY_SIZE(sent));
	ck_assert_int_eq(rdma_reader_begin(&r, &b, frame, len), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(sent); i++) {
		ck_assert_int_eq(rdma_reader_next(&r, &b, WIRE_LANE_DSM, &record), 1);
		ck_assert_mem_eq(&record.hdr, &sent[i], sizeof(sent[i]));
		if (record.hdr.len) {
			ck_assert_ptr_null(record.payload);
			ck_assert_uint_eq(record.slot, i / 2);
		}
	}
	ck_assert_int_eq(rdma_reader_next(&r, &b, WIRE_LANE_DSM, &record), 0);
}
END_TEST

START_TEST(a_short_payload_is_in_the_frame)
{
	struct rdma_hello ours, theirs;
	struct wire_hdr stop = {.type = WIRE_STOP, .len = sizeof(struct wire_stop)};
	struct rdma_record record;
	struct rdma_flow a, b;
	struct rdma_reader r;

	rdma_hello_make(0, 0, NULL, &ours);
	ours.depth = 8, ours.slots = 2;
	theirs = ours;
	rdma_flow_init(&a, &ours, &theirs);
	b = a;
	for (size_t i = 0; i < stop.len; i++)
		payload[i] = (uint8_t)(i * 3);
	uint32_t len = make(&a, &stop, 1);
	ck_assert_int_eq(rdma_reader_begin(&r, &b, frame, len), 0);
	ck_assert_int_eq(rdma_reader_next(&r, &b, WIRE_LANE_CONTROL, &record), 1);
	ck_assert_ptr_nonnull(record.payload);
	ck_assert_mem_eq(record.payload, payload, stop.len);
	ck_assert_uint_eq(a.slots_sent, 0);
}
END_TEST

START_TEST(no_more_frames_than_the_other_end_has_receives)
{
	struct rdma_flow a = flow(8, 8);
	struct wire_hdr hdr = request(0);
	unsigned n = 0;

	while (rdma_flow_may_send(&a, true)) {
		make(&a, &hdr, 1);
		rdma_flow_done(&a, a.sent, a.slots_sent);
		n++;
	}
	ck_assert_uint_eq(n, 7);
	ck_assert(rdma_flow_may_send(&a, false)); /* the last is for acknowledgements */
	make(&a, NULL, 0);
	ck_assert(!rdma_flow_may_send(&a, false));
}
END_TEST

START_TEST(a_buffer_waits_for_its_completion_too)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr hdr = page(0);

	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(take(&b, make(&a, &hdr, 1)), 1);
	ck_assert_int_eq(take(&a, make(&b, NULL, 0)), 0); /* all acknowledged, */
	make(&a, &hdr, 1);
	ck_assert(!rdma_flow_may_send(&a, true)); /* none completed */
	ck_assert(!rdma_flow_has_slot(&a));
	rdma_flow_done(&a, 4, 4);
	ck_assert(rdma_flow_may_send(&a, true));
	ck_assert(rdma_flow_has_slot(&a));
}
END_TEST

START_TEST(slots_run_out_and_come_back)
{
	struct rdma_flow a = flow(32, 4), b = flow(32, 4);
	struct rdma_writer w;
	struct wire_hdr hdr = page(0);

	rdma_writer_begin(&w, frame);
	for (int i = 0; i < 4; i++)
		ck_assert(rdma_writer_add(&w, &a, &hdr, payload));
	ck_assert(!rdma_writer_add(&w, &a, &hdr, payload));
	uint32_t len = rdma_writer_end(&w, &a);
	rdma_flow_done(&a, a.sent, a.slots_sent);
	ck_assert(!rdma_flow_has_slot(&a));
	ck_assert_int_eq(take(&b, len), 4);
	ck_assert(rdma_flow_owes(&b));
	ck_assert_int_eq(take(&a, make(&b, NULL, 0)), 0);
	ck_assert(!rdma_flow_owes(&b));
	ck_assert(rdma_flow_has_slot(&a));
}
END_TEST

START_TEST(a_slot_is_not_given_back_while_it_is_read)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr hdr[] = {page(1), page(2)};
	struct rdma_record record;
	struct rdma_reader r;

	uint32_t len = make(&a, hdr, 2);
	ck_assert_int_eq(rdma_reader_begin(&r, &b, frame, len), 0);
	ck_assert_int_eq(rdma_reader_next(&r, &b, WIRE_LANE_DSM, &record), 1);
	ck_assert_uint_eq(b.slots_got, 0);
	ck_assert_int_eq(rdma_reader_next(&r, &b, WIRE_LANE_DSM, &record), 1);
	ck_assert_uint_eq(b.slots_got, 1);
	ck_assert_int_eq(rdma_reader_next(&r, &b, WIRE_LANE_DSM, &record), 0);
	ck_assert_uint_eq(b.slots_got, 2);
	ck_assert_uint_eq(b.got, 0); /* its receive is not posted again yet */
	rdma_reader_end(&b);
	ck_assert_uint_eq(b.got, 1);
}
END_TEST

START_TEST(a_frame_takes_only_what_fits)
{
	struct rdma_flow a = flow(32, 32);
	struct wire_hdr hdr = request(0), big = page(0);
	struct rdma_writer w;
	unsigned n = 0;

	rdma_writer_begin(&w, frame);
	while (rdma_writer_add(&w, &a, &hdr, NULL))
		n++;
	ck_assert_uint_eq(n, (RDMA_FRAME_BYTES - RDMA_FRAME_HEAD_BYTES) / (RDMA_RECORD_BYTES + WIRE_HDR_BYTES));
	rdma_writer_end(&w, &a);
	rdma_writer_begin(&w, frame);
	for (n = 0; rdma_writer_add(&w, &a, &big, payload); n++)
		;
	ck_assert_uint_eq(n, RDMA_FRAME_SLOTS_MAX);
	ck_assert_uint_eq(a.slots_sent, n); /* the refused one took none */
}
END_TEST

/* One byte of a good frame is changed at a time: it is refused, or it is still a frame of messages that the wire allows. */
START_TEST(a_frame_with_any_byte_changed_does_no_harm)
{
	struct rdma_flow a = flow(8, 8);
	struct wire_hdr hdr[] = {request(1), page(2), request(3)};
	uint8_t good[RDMA_FRAME_BYTES];
	uint32_t len = make(&a, hdr, ARRAY_SIZE(hdr));

	memcpy(good, frame, sizeof(good));
	for (uint32_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct rdma_flow b = flow(8, 8);

			memcpy(frame, good, sizeof(good));
			frame[i] ^= (uint8_t)(1u << bit);
			int n = take(&b, len);
			ck_assert_int_le(n, 3);
			ck_assert_uint_le(b.slots_got, 3);
			if (n >= 0)
				ck_assert_int_eq(n, 3);
		}
}
END_TEST

/* A slot holds a page: what the wire allows over TCP would reach out of it. */
START_TEST(a_run_of_pages_is_refused)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr hdr = page(2), run = {.type = WIRE_RUN_DATA, .acks = 2, .len = 2 * (PAGE_BYTES + sizeof(uint32_t))};
	uint32_t len = make(&a, &hdr, 1);

	wire_hdr_encode(&run, frame + RDMA_FRAME_HEAD_BYTES + RDMA_RECORD_BYTES);
	ck_assert_int_eq(take(&b, len), -EMSGSIZE);
}
END_TEST

START_TEST(lengths_that_no_frame_has_are_refused)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr hdr = request(1);
	uint32_t len = make(&a, &hdr, 1);

	for (uint32_t i = 0; i < RDMA_FRAME_BYTES + 8; i++)
		if (i != len)
			ck_assert_int_eq(take(&b, i), -EMSGSIZE);
	ck_assert_int_eq(take(&b, UINT32_MAX), -EMSGSIZE);
	ck_assert_uint_eq(b.got, 0);
	ck_assert_int_eq(take(&b, len), 1);
}
END_TEST

/* ---- a frame behind the payload of a slot ---- */

START_TEST(a_written_frame_says_where_it_is)
{
	struct rdma_flow f = flow(8, 8);
	uint32_t slot = 99, bytes = 0;

	for (unsigned lane = 0; lane < 2; lane++)
		for (uint32_t i = 0; i < 8; i++) {
			uint32_t len = RDMA_FRAME_HEAD_BYTES + RDMA_RECORD_BYTES + WIRE_HDR_BYTES;

			ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(i, len), len + PAGE_BYTES, &f, lane, &slot, &bytes), 0);
			ck_assert_uint_eq(slot, i);
			ck_assert_uint_eq(bytes, len);
		}
}
END_TEST

START_TEST(immediate_data_that_lie_are_refused)
{
	struct rdma_flow f = flow(8, 5);
	uint32_t slot, bytes, good = RDMA_FRAME_HEAD_BYTES + 32;

	for (uint32_t i = 5; i <= UINT16_MAX; i++)
		ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(i, good), good + PAGE_BYTES, &f, 1, &slot, &bytes), -EBADMSG);
	for (uint32_t len = 0; len <= UINT16_MAX; len++) {
		bool fits = len >= RDMA_FRAME_HEAD_BYTES && len <= RDMA_FRAME_BYTES;

		ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(4, len), len + 1, &f, 1, &slot, &bytes), fits ? 0 : -EMSGSIZE);
	}
	/* Less than a frame, no payload, more than a slot has, more than was possible. */
	ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(0, good), 0, &f, 1, &slot, &bytes), -EMSGSIZE);
	ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(0, good), good, &f, 1, &slot, &bytes), -EMSGSIZE);
	ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(0, good), good + PAGE_BYTES + 1, &f, 1, &slot, &bytes), -EMSGSIZE);
	ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(0, good), UINT32_MAX, &f, 1, &slot, &bytes), -EMSGSIZE);
	ck_assert_int_eq(rdma_imm_parse(rdma_imm_make(0, good), good + PAGE_BYTES + 1, &f, 0, &slot, &bytes), 0);
}
END_TEST

/* Payloads of any length end where the frame begins, and no slot reaches into another. */
START_TEST(slots_do_not_overlap)
{
	for (unsigned lane = 0; lane < 2; lane++)
		for (uint32_t slot = 0; slot < 4; slot++)
			for (uint32_t len = 0; len <= rdma_slot_bytes(lane); len += 8) {
				size_t at = rdma_slot_at(lane, slot, len);

				ck_assert_uint_ge(at, (size_t)slot * rdma_slot_stride(lane));
				ck_assert_uint_eq(at + len, rdma_slot_at(lane, slot, 0));
				ck_assert_uint_le(at + len + RDMA_FRAME_BYTES, (size_t)(slot + 1) * rdma_slot_stride(lane));
			}
}
END_TEST

static void put32(size_t at, uint32_t v)
{
	memcpy(frame + at, &v, sizeof(v));
}

START_TEST(acknowledging_what_was_not_sent_is_refused)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr hdr = page(1);
	uint32_t len;

	ck_assert_int_eq(take(&b, make(&a, &hdr, 1)), 1);
	len = make(&b, NULL, 0);
	put32(0, 2); /* one was sent */
	ck_assert_int_eq(take(&a, len), -EBADMSG);
	put32(0, UINT32_MAX); /* back in time */
	ck_assert_int_eq(take(&a, len), -EBADMSG);
	put32(0, 1);
	put32(4, 2);
	ck_assert_int_eq(take(&a, len), -EBADMSG);
	ck_assert_uint_eq(a.sent_acked, 0);
	put32(4, 1);
	ck_assert_int_eq(take(&a, len), 0);
	ck_assert_uint_eq(a.sent_acked, 1);
}
END_TEST

START_TEST(a_slot_out_of_turn_is_refused)
{
	struct wire_hdr hdr = page(1);
	size_t at = RDMA_FRAME_HEAD_BYTES;

	for (unsigned slot = 0; slot <= UINT16_MAX; slot++) {
		struct rdma_flow a = flow(8, 8), b = flow(8, 8);
		uint32_t len = make(&a, &hdr, 1);

		frame[at] = (uint8_t)slot;
		frame[at + 1] = (uint8_t)(slot >> 8);
		ck_assert_int_eq(take(&b, len), slot == 0 ? 1 : -EBADMSG);
	}
}
END_TEST

START_TEST(counters_wrap)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	struct wire_hdr hdr = page(0);

	a.sent = a.sent_acked = a.sent_done = a.slots_sent = a.slots_acked = a.slots_done = UINT32_MAX - 2;
	b.got = b.got_told = b.slots_got = b.slots_told = UINT32_MAX - 2;
	for (int i = 0; i < 50; i++) {
		ck_assert(rdma_flow_may_send(&a, true));
		ck_assert_int_eq(take(&b, make(&a, &hdr, 1)), 1);
		rdma_flow_done(&a, a.sent, a.slots_sent);
		if (rdma_flow_owes(&b)) {
			ck_assert(rdma_flow_may_send(&b, false));
			ck_assert_int_eq(take(&a, make(&b, NULL, 0)), 0);
			rdma_flow_done(&b, b.sent, b.slots_sent);
		}
	}
}
END_TEST

/* Two ends that send as much as they may, whose frames wait in queues of their own: nobody is ever not ready, and it goes on for
 * ever. */
struct end {
	struct rdma_flow flow;
	uint8_t frames[64][RDMA_FRAME_BYTES]; /* on their way to the other */
	uint32_t len[64], first, n;
	uint32_t next_seq, due_seq;
};

static void send_some(struct end *e, bool records)
{
	struct rdma_writer w;

	if (e->n == ARRAY_SIZE(e->frames) || !rdma_flow_may_send(&e->flow, records))
		return;
	uint32_t at = (e->first + e->n) % ARRAY_SIZE(e->frames);
	rdma_writer_begin(&w, e->frames[at]);
	for (int i = rand() % 12; records && i >= 0; i--) {
		struct wire_hdr hdr = rand() % 2 ? page(e->next_seq) : request(e->next_seq);

		if (!rdma_writer_add(&w, &e->flow, &hdr, payload))
			break;
		e->next_seq++;
	}
	if (records && w.records == 0)
		return; /* no slot */
	e->len[at] = rdma_writer_end(&w, &e->flow);
	e->n++;
}

static void deliver(struct end *from, struct end *to)
{
	struct rdma_record record;
	struct rdma_reader r;

	if (from->n == 0)
		return;
	ck_assert_uint_le(from->n, to->flow.depth); /* F1: each has a receive */
	ck_assert_int_eq(rdma_reader_begin(&r, &to->flow, from->frames[from->first], from->len[from->first]), 0);
	while (rdma_reader_next(&r, &to->flow, WIRE_LANE_DSM, &record) == 1)
		ck_assert_uint_eq(record.hdr.seq, to->due_seq++);
	rdma_reader_end(&to->flow);
	from->first = (from->first + 1) % ARRAY_SIZE(from->frames);
	from->n--;
	if (rdma_flow_owes(&to->flow))
		send_some(to, false);
}

START_TEST(both_ends_go_on_for_ever)
{
	static struct end e[2];

	for (unsigned seed = 0; seed < 20; seed++) {
		srand(seed);
		memset(e, 0, sizeof(e));
		e[0].flow = flow((uint16_t)(4 + seed), (uint16_t)(1 + seed % 5));
		e[1].flow = e[0].flow;
		for (int i = 0; i < 20000; i++) {
			int who = rand() % 2;

			if (rand() % 2)
				send_some(&e[who], true);
			else
				deliver(&e[who], &e[!who]);
			if (rand() % 4 == 0)
				rdma_flow_done(&e[who].flow, e[who].flow.sent, e[who].flow.slots_sent);
			if (rdma_flow_owes(&e[who].flow))
				send_some(&e[who], false);
		}
		ck_assert_uint_gt(e[0].due_seq, 2000);
		ck_assert_uint_gt(e[1].due_seq, 2000);
	}
}
END_TEST

START_TEST(hello_comes_back_as_sent)
{
	uint8_t token[WIRE_RDMA_TOKEN_BYTES] = "abcdefghijklmnopqrstuvw";
	uint8_t bytes[196] = {0}; /* what a device hands over may be padded */
	struct rdma_hello sent, got;

	rdma_hello_make(3, 1, token, &sent);
	sent.depth = 16;
	sent.slots = 16;
	memcpy(bytes, &sent, sizeof(sent));
	ck_assert_int_eq(rdma_hello_parse(bytes, sizeof(bytes), 2, &got), 0);
	ck_assert_mem_eq(&got, &sent, sizeof(sent));
	ck_assert(rdma_token_equal(got.token, token));
	token[23] ^= 1;
	ck_assert(!rdma_token_equal(got.token, token));
}
END_TEST

static int parse_changed(size_t at, uint32_t value, size_t bytes)
{
	struct rdma_hello h = hello(16, 16), got;
	uint8_t raw[RDMA_HELLO_BYTES];

	memcpy(raw, &h, sizeof(raw));
	memcpy(raw + at, &value, bytes);
	return rdma_hello_parse(raw, sizeof(raw), 2, &got);
}

START_TEST(hello_out_of_range_is_refused)
{
	struct rdma_hello got, h = hello(16, 16);

	for (size_t len = 0; len < RDMA_HELLO_BYTES; len++)
		ck_assert_int_eq(rdma_hello_parse((const uint8_t *)&h, len, 2, &got), -EMSGSIZE);
	ck_assert_int_eq(rdma_hello_parse(NULL, 0, 2, &got), -EMSGSIZE);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, magic), 0, 4), -EPROTO);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, from), NODES_MAX, 2), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, lane), 2, 2), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, slots), 0, 2), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, slots), RDMA_DEPTH_MAX + 1, 2), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, depth), RDMA_DEPTH_MIN - 1, 2), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, depth), RDMA_DEPTH_MAX + 1, 2), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, slot_bytes), 1 << 20, 4), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, reserved), 1, 4), -EBADMSG);
	ck_assert_int_eq(parse_changed(offsetof(struct rdma_hello, depth), 16, 2), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_frame");
	TCase *tc = tcase_create("rdma_frame");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, messages_come_out_as_they_went_in);
	tcase_add_test(tc, a_short_payload_is_in_the_frame);
	tcase_add_test(tc, no_more_frames_than_the_other_end_has_receives);
	tcase_add_test(tc, a_buffer_waits_for_its_completion_too);
	tcase_add_test(tc, slots_run_out_and_come_back);
	tcase_add_test(tc, a_slot_is_not_given_back_while_it_is_read);
	tcase_add_test(tc, a_frame_takes_only_what_fits);
	tcase_add_test(tc, a_frame_with_any_byte_changed_does_no_harm);
	tcase_add_test(tc, a_run_of_pages_is_refused);
	tcase_add_test(tc, lengths_that_no_frame_has_are_refused);
	tcase_add_test(tc, a_written_frame_says_where_it_is);
	tcase_add_test(tc, immediate_data_that_lie_are_refused);
	tcase_add_test(tc, slots_do_not_overlap);
	tcase_add_test(tc, acknowledging_what_was_not_sent_is_refused);
	tcase_add_test(tc, a_slot_out_of_turn_is_refused);
	tcase_add_test(tc, counters_wrap);
	tcase_add_test(tc, both_ends_go_on_for_ever);
	tcase_add_test(tc, hello_comes_back_as_sent);
	tcase_add_test(tc, hello_out_of_range_is_refused);
	suite_add_tcase(s, tc);
	return check_main(s);
}
