/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that answer a request and go without a frame of their own (rdma_frame.h). */
#include "rdma_help.h"
#include "tests/unit/check_main.h"

static struct wire_hdr answer(const struct wire_hdr *req)
{
	struct wire_hdr hdr = *req;

	hdr.type = WIRE_DATA;
	hdr.flags = WIRE_F_WRITE;
	hdr.len = PAGE_BYTES;
	hdr.acks = 3;
	hdr.seq += 5; /* other transactions of that page */
	return hdr;
}

/* a asks, b has the request. */
static struct wire_hdr ask(struct rdma_flow *a, struct rdma_flow *b, uint64_t page_number, uint32_t seq)
{
	struct wire_hdr req = {.type = WIRE_REQ_WRITE, .epoch = 2, .arg = page_number, .seq = seq, .node = 1};

	ck_assert_int_eq(take(b, make(a, &req, 1)), 1);
	return req;
}

static bool is_brief(struct rdma_flow *from, const struct wire_hdr *hdr, size_t n, uint32_t *imm)
{
	struct rdma_writer w;

	rdma_writer_begin(&w, frame);
	for (size_t i = 0; i < n; i++)
		ck_assert(rdma_writer_add(&w, from, &hdr[i], payload));
	return rdma_writer_is_brief(&w, from, imm);
}

START_TEST(an_answer_comes_out_of_its_request)
{
	struct rdma_flow a = flow(32, 32), b = flow(32, 32);
	struct wire_hdr req[3];
	struct rdma_record record;
	struct rdma_reader r;
	uint32_t imm;

	for (uint32_t i = 0; i < 3; i++)
		req[i] = ask(&a, &b, 100 + i, 7 * i);
	for (uint32_t i = 0; i < 3; i++) {
		struct wire_hdr hdr = answer(&req[2 - i]); /* in any order */

		ck_assert(is_brief(&b, &hdr, 1, &imm));
		rdma_writer_end_brief(&b);
		ck_assert(rdma_imm_is_brief(imm));
		ck_assert_int_eq(rdma_brief_make(imm, PAGE_BYTES, &a, frame), 0);
		ck_assert_int_eq(rdma_reader_begin(&r, &a, frame, RDMA_BRIEF_BYTES), 0);
		ck_assert_int_eq(rdma_reader_next(&r, &a, WIRE_LANE_DSM, &record), 1);
		ck_assert_mem_eq(&record.hdr, &hdr, sizeof(hdr));
		ck_assert_uint_eq(record.slot, i);
		ck_assert_int_eq(rdma_reader_next(&r, &a, WIRE_LANE_DSM, &record), 0);
		rdma_reader_end(&a);
	}
	ck_assert_uint_eq(a.sent_acked, 0); /* they acknowledged nothing */
	ck_assert_uint_eq(b.got_told, 0);
}
END_TEST

START_TEST(what_does_not_follow_from_a_request_is_not_brief)
{
	for (int i = 0; i < 10; i++) {
		struct rdma_flow a = flow(32, 32), b = flow(32, 32);
		struct wire_hdr req = ask(&a, &b, 100, 7), hdr[2] = {answer(&req), request(1)};
		uint32_t imm;

		hdr[0].arg += i == 1;
		hdr[0].seq -= i == 2 ? 6 : 0; /* before the request */
		hdr[0].epoch += i == 3;
		hdr[0].node += i == 4;
		if (i == 5)
			hdr[0] = page(7);
		if (i == 9)
			hdr[0].seq += 1 << 14; /* much later */
		if (i == 6)                    /* acknowledgements are due */
			for (int k = 0; k < 7; k++)
				ask(&a, &b, k, 1);
		if (i == 7) /* the request was too long ago */
			for (unsigned k = 0; k < RDMA_ASKED; k++) {
				ask(&a, &b, k, 1);
				rdma_flow_done(&a, a.sent, a.slots_sent);
				ck_assert_int_eq(take(&a, make(&b, NULL, 0)), 0);
				rdma_flow_done(&b, b.sent, b.slots_sent);
			}
		ck_assert_int_eq(is_brief(&b, hdr, i == 8 ? 2 : 1, &imm), i == 0);
	}
}
END_TEST

START_TEST(brief_frames_that_lie_are_refused)
{
	struct rdma_flow a = flow(8, 8), b = flow(8, 8);
	uint8_t bytes[RDMA_BRIEF_BYTES];
	struct wire_hdr req = ask(&a, &b, 100, 7), hdr = answer(&req);
	uint32_t imm;

	ck_assert(is_brief(&b, &hdr, 1, &imm));
	for (uint32_t len = 0; len < 2 * PAGE_BYTES; len++)
		ck_assert_int_eq(rdma_brief_make(imm, len, &a, bytes), len == PAGE_BYTES ? 0 : -EMSGSIZE);
	for (uint32_t at = 1; at < RDMA_ASKED; at++) /* one was asked for */
		ck_assert_int_eq(rdma_brief_make(imm | at << 25, PAGE_BYTES, &a, bytes), -EBADMSG);
	ck_assert_int_eq(rdma_brief_make(imm, PAGE_BYTES, &b, bytes), -EBADMSG); /* b has asked for nothing */
	/* What the wire does not allow is found by whoever reads the frame. */
	ck_assert_int_eq(rdma_brief_make(imm | 0x7f << 18, PAGE_BYTES, &a, frame), 0);
	ck_assert_int_eq(take(&a, RDMA_BRIEF_BYTES), -EBADMSG);
	for (uint32_t slot = 0; slot < RDMA_DEPTH_MAX; slot++)
		ck_assert(!rdma_imm_is_brief(rdma_imm_make(slot, RDMA_FRAME_BYTES)));
}
END_TEST

/* Both ask and answer, frames of either kind wait on their way: each answer is the one to its request, and credits never run out.
 */
struct asker {
	struct rdma_flow flow;
	struct wire_hdr asked[256], owed[256]; /* requests under way, requests to answer: rings */
	uint32_t n_asked, n_got, n_owed, n_answered;
	uint8_t frames[64][RDMA_FRAME_BYTES]; /* on their way to the other */
	uint32_t len[64], imm[64], first, n;
};

static void put_frame(struct asker *e, const struct wire_hdr *hdr, size_t n)
{
	uint32_t at = (e->first + e->n++) % ARRAY_SIZE(e->frames);
	struct rdma_writer w;

	rdma_writer_begin(&w, e->frames[at]);
	for (size_t i = 0; i < n; i++)
		ck_assert(rdma_writer_add(&w, &e->flow, &hdr[i], payload));
	e->imm[at] = 0;
	if (rdma_writer_is_brief(&w, &e->flow, &e->imm[at]))
		rdma_writer_end_brief(&e->flow);
	else
		e->len[at] = rdma_writer_end(&w, &e->flow);
}

static void ask_some(struct asker *e)
{
	struct wire_hdr hdr[4];
	size_t n = 1 + (size_t)rand() % ARRAY_SIZE(hdr);

	for (size_t i = 0; i < n; i++) {
		hdr[i] = (struct wire_hdr){.type = rand() % 2 ? WIRE_REQ_READ : WIRE_REQ_WRITE,
					   .arg = (uint64_t)rand() % 50,
					   .seq = (uint32_t)rand() % 4};
		e->asked[e->n_asked++ % 256] = hdr[i];
	}
	put_frame(e, hdr, n);
}

static void take_asked(struct asker *from, struct asker *to, unsigned *briefs)
{
	uint32_t at = from->first, len = from->len[at];
	struct rdma_record record;
	struct rdma_reader r;

	if (from->imm[at]) {
		len = RDMA_BRIEF_BYTES;
		++*briefs;
		ck_assert_int_eq(rdma_brief_make(from->imm[at], PAGE_BYTES, &to->flow, from->frames[at]), 0);
	}
	ck_assert_int_eq(rdma_reader_begin(&r, &to->flow, from->frames[at], len), 0);
	while (rdma_reader_next(&r, &to->flow, WIRE_LANE_DSM, &record) == 1) {
		if (record.hdr.type == WIRE_DATA) {
			struct wire_hdr want = answer(&to->asked[to->n_got++ % 256]);

			ck_assert_mem_eq(&record.hdr, &want, sizeof(want));
		} else {
			to->owed[to->n_owed++ % 256] = record.hdr;
		}
	}
	rdma_reader_end(&to->flow);
	from->first = (from->first + 1) % ARRAY_SIZE(from->frames);
	from->n--;
}

START_TEST(requests_and_answers_go_on_for_ever)
{
	static struct asker e[2];
	unsigned briefs = 0;

	for (unsigned seed = 0; seed < 20; seed++) {
		srand(seed);
		memset(e, 0, sizeof(e));
		e[0].flow = flow((uint16_t)(4 + 2 * seed), (uint16_t)(1 + seed));
		e[1].flow = e[0].flow;
		for (int i = 0; i < 20000; i++) {
			struct asker *a = &e[rand() % 2], *b = a == e ? &e[1] : e;
			struct wire_hdr hdr;

			switch (rand() % 4) {
			case 0:
				if (a->n_asked - a->n_got > 200 || !rdma_flow_may_send(&a->flow, true))
					break;
				ask_some(a);
				break;
			case 1:
				if (a->n_owed == a->n_answered || !rdma_flow_may_send(&a->flow, true) ||
				    !rdma_flow_has_slot(&a->flow))
					break;
				hdr = answer(&a->owed[a->n_answered++ % 256]);
				put_frame(a, &hdr, 1);
				break;
			case 2:
				if (a->n)
					take_asked(a, b, &briefs);
				break;
			default:
				rdma_flow_done(&a->flow, a->flow.sent, a->flow.slots_sent);
			}
			if (rdma_flow_owes(&a->flow) && rdma_flow_may_send(&a->flow, false))
				put_frame(a, NULL, 0);
		}
		ck_assert_uint_gt(e[0].n_got, 500);
		ck_assert_uint_gt(e[1].n_got, 500);
	}
	ck_assert_uint_gt(briefs, 10000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_brief");
	TCase *tc = tcase_create("rdma_brief");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_answer_comes_out_of_its_request);
	tcase_add_test(tc, what_does_not_follow_from_a_request_is_not_brief);
	tcase_add_test(tc, brief_frames_that_lie_are_refused);
	tcase_add_test(tc, requests_and_answers_go_on_for_ever);
	suite_add_tcase(s, tc);
	return check_main(s);
}
