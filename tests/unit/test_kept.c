/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept copies (kept.h): dsm as it ships against a peer that the test plays, message by message, and two nodes that pass pages to
 * and fro. Real userfaultfd; threads stand for vCPUs.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/kept.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dsm_peer.h"

#define THEIRS (PEER_PAGES + 5) /* a page whose home the peer is */
#define SEQ    100u             /* a page that has changed hands often */

/* ---- two nodes ---- */

/* Both nodes in turn write a word of each page and look at those that the other wrote. */
static void pass(struct cluster *c, unsigned pages, unsigned rounds)
{
	for (unsigned i = 1; i <= rounds; i++)
		for (rpn_t p = 0; p < pages; p++) {
			volatile uint64_t *at = word(c, i % 2, p, 0);

			at[(i * 37 + p) % 512] = i * 1000 + p;
			for (unsigned j = 1; j < i; j++)
				if ((j * 37 + p) % 512 != (i * 37 + p) % 512)
					ck_assert_uint_eq(at[(j * 37 + p) % 512], j * 1000 + p);
		}
}

START_TEST(a_page_that_goes_round_is_sent_as_what_changed)
{
	struct cluster c;

	peer_start(&c, 2, 0);
	pass(&c, 3, 40);
	struct dsm_stats sum = stats_of_all(&c);
	ck_assert_uint_ge(sum.delta_sent, 3 * 25);
	ck_assert_uint_le(sum.delta_sent, sum.pages_out);
	ck_assert_uint_ge(sum.delta_bytes_saved, sum.delta_sent * (PAGE_BYTES - 16 - 12));
	ck_assert_uint_le(sum.bytes_out, sum.pages_out * PAGE_BYTES - sum.delta_bytes_saved + sum.messages_out * 28);
	cluster_stop(&c);
}
END_TEST

START_TEST(without_it_pages_are_sent_whole)
{
	struct cluster c;

	peer_start(&c, 2, DSM_WITHOUT(DELTA));
	pass(&c, 3, 40);
	struct dsm_stats sum = stats_of_all(&c);
	ck_assert_uint_eq(sum.delta_sent, 0);
	ck_assert_uint_eq(sum.delta_bytes_saved, 0);
	cluster_stop(&c);
}
END_TEST

START_TEST(more_pages_go_round_than_are_kept)
{
	struct cluster c;

	peer_start(&c, 2, 0);
	pass(&c, KEPT_PAGES + 50, 14);
	pass(&c, 1, 6);
	struct dsm_stats sum = stats_of_all(&c);
	ck_assert_uint_gt(sum.delta_sent, 0);
	cluster_stop(&c);
}
END_TEST

START_TEST(after_a_reset_nothing_is_kept)
{
	struct cluster c;

	peer_start(&c, 2, 0);
	pass(&c, 3, 20);
	struct dsm_stats before = stats_of_all(&c);
	ck_assert_uint_gt(before.delta_sent, 0);
	cluster_reset(&c);
	pass(&c, 3, KEPT_MIN_SEQ); /* the same numbers of transactions */
	struct dsm_stats after = stats_of_all(&c);
	ck_assert_uint_eq(after.delta_sent, before.delta_sent);
	pass(&c, 3, 20);
	cluster_stop(&c);
}
END_TEST

/* ---- a node and a peer of the test's ---- */

struct writer {
	struct cluster *c;
	uint64_t value;
	uint64_t before; /* what was in the page's word 3 */
};

static void *write_theirs(void *arg)
{
	struct writer *w = arg;

	*word(w->c, 0, THEIRS, 0) = w->value;
	w->before = *word(w->c, 0, THEIRS, 3);
	return NULL;
}

static void named(const struct peer_got *got, uint32_t seq)
{
	uint32_t base;

	ck_assert_uint_eq(got->hdr.len, sizeof(base));
	memcpy(&base, got->payload, sizeof(base));
	ck_assert_uint_eq(base, seq);
}

/* The node asks for the page, gets it whole in transaction SEQ, and gives it up in the next: as the difference to `base`, or whole.
 */
static void get_and_give(struct peer *p, struct writer *w, pthread_t *thread, uint32_t base, bool is_short)
{
	struct wire_hdr data = {.type = WIRE_DATA, .flags = WIRE_F_WRITE, .len = PAGE_BYTES, .seq = SEQ},
			fwd = {.type = WIRE_FWD_WRITE, .seq = SEQ + 1, .node = 1, .len = sizeof(base)};
	uint64_t page[PAGE_BYTES / 8] = {[3] = 33};
	struct peer_got got;

	ck_assert_int_eq(pthread_create(thread, NULL, write_theirs, w), 0);
	peer_expect(p, WIRE_REQ_WRITE, &got);
	ck_assert_uint_eq(got.hdr.len, 0); /* it has kept nothing yet */
	peer_tell(p, THEIRS, data, page);
	pthread_join(*thread, NULL);
	ck_assert_uint_eq(w->before, 33);
	peer_tell(p, THEIRS, fwd, &base);
	peer_expect(p, WIRE_DATA, &got);
	ck_assert_uint_eq(got.hdr.flags, WIRE_F_WRITE | (is_short ? WIRE_F_DELTA : 0));
	ck_assert_uint_eq(got.hdr.len, is_short ? 4 + 4 + 8 : PAGE_BYTES);
	if (is_short) {
		const uint16_t run[] = {0, 1};

		named(&(struct peer_got){.hdr = {.len = 4},
					 .payload = {got.payload[0], got.payload[1], got.payload[2], got.payload[3]}},
		      SEQ);
		ck_assert_mem_eq(got.payload + 4, run, sizeof(run));
		ck_assert_mem_eq(got.payload + 8, &w->value, sizeof(w->value));
	}
	/* It wants the page again, and names what it sent. */
	ck_assert_int_eq(pthread_create(thread, NULL, write_theirs, w), 0);
	peer_expect(p, WIRE_REQ_WRITE, &got);
	named(&got, SEQ + 1);
}

START_TEST(a_difference_is_to_the_bytes_of_the_transaction_named)
{
	struct peer p = {.n = 0};
	struct writer w = {.c = &p.c, .value = 77};
	struct wire_hdr data = {.type = WIRE_DATA, .flags = WIRE_F_WRITE | WIRE_F_DELTA, .len = 16, .seq = SEQ + 2};
	struct {
		uint32_t base;
		uint16_t first, words;
		uint64_t bytes;
	} delta = {.base = SEQ + 1, .first = 3, .words = 1, .bytes = 44};
	pthread_t thread;

	peer_start(&p.c, 1, 0);
	get_and_give(&p, &w, &thread, SEQ, true);
	peer_tell(&p, THEIRS, data, &delta);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(w.before, 44);
	ck_assert_uint_eq(*word(&p.c, 0, THEIRS, 0), 77);
}
END_TEST

START_TEST(bytes_of_another_transaction_are_no_base)
{
	struct peer p = {.n = 0};
	struct writer w = {.c = &p.c, .value = 77};
	pthread_t thread;

	peer_start(&p.c, 1, 0);
	get_and_give(&p, &w, &thread, SEQ - 1, false);
}
END_TEST

/* A push crosses with the request: it brings other bytes than those that the request has named, and takes them away from nobody. */
START_TEST(a_page_that_was_not_asked_for_replaces_nothing_that_was_named)
{
	struct peer p = {.n = 0};
	struct writer w = {.c = &p.c, .value = 77};
	struct wire_hdr push = {.type = WIRE_DATA, .flags = WIRE_F_PUSH, .len = PAGE_BYTES, .seq = SEQ + 2},
			inv = {.type = WIRE_INV, .seq = SEQ + 3, .node = 1},
			data = {.type = WIRE_DATA, .flags = WIRE_F_WRITE | WIRE_F_DELTA, .len = 16, .seq = SEQ + 4};
	struct {
		uint32_t base;
		uint16_t first, words;
		uint64_t bytes;
	} delta = {.base = SEQ + 1, .first = 4, .words = 1, .bytes = 44};
	uint64_t page[PAGE_BYTES / 8] = {[3] = 55};
	pthread_t thread;
	struct peer_got got;

	peer_start(&p.c, 1, 0);
	get_and_give(&p, &w, &thread, SEQ, true);
	peer_tell(&p, THEIRS, push, page);
	peer_tell(&p, THEIRS, inv, NULL);
	peer_expect(&p, WIRE_ACK, &got);
	peer_tell(&p, THEIRS, data, &delta);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(w.before, 33); /* as when it was given up, not 55 */
	ck_assert_uint_eq(*word(&p.c, 0, THEIRS, 4), 44);
}
END_TEST

/* 0: a difference to bytes not named; 1: that ends early; 2: of a word beyond the page; 3: to a page that was never here. */
START_TEST(a_difference_that_cannot_be_is_the_peers_fault)
{
	struct peer p = {.n = 0};
	struct writer w = {.c = &p.c, .value = 77};
	struct wire_hdr data = {.type = WIRE_DATA, .flags = WIRE_F_WRITE | WIRE_F_DELTA, .len = _i == 1 ? 15 : 16, .seq = SEQ + 2};
	struct {
		uint32_t base;
		uint16_t first, words;
		uint64_t bytes;
	} delta = {.base = _i == 0 ? SEQ : SEQ + 1, .first = _i == 2 ? 512 : 3, .words = 1, .bytes = 44};
	uint64_t end = clock_ns() + 5 * NS_PER_SEC;
	pthread_t thread;
	struct peer_got got;

	peer_start(&p.c, 1, 0);
	p.c.sink.lost = peer_on_lost;
	if (_i < 3) {
		get_and_give(&p, &w, &thread, SEQ, true);
	} else {
		ck_assert_int_eq(pthread_create(&thread, NULL, write_theirs, &w), 0);
		peer_expect(&p, WIRE_REQ_WRITE, &got);
	}
	peer_tell(&p, THEIRS, data, &delta);
	while (!atomic_load(&p.lost) && clock_ns() < end)
		usleep(1000);
	ck_assert(atomic_load(&p.lost));
	ck_assert_ptr_nonnull(strstr(p.why, "a difference for page 517 "));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kept");
	TCase *tc = tcase_create("kept");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_page_that_goes_round_is_sent_as_what_changed);
	tcase_add_test(tc, without_it_pages_are_sent_whole);
	tcase_add_test(tc, more_pages_go_round_than_are_kept);
	tcase_add_test(tc, after_a_reset_nothing_is_kept);
	tcase_add_test(tc, a_difference_is_to_the_bytes_of_the_transaction_named);
	tcase_add_test(tc, bytes_of_another_transaction_are_no_base);
	tcase_add_test(tc, a_page_that_was_not_asked_for_replaces_nothing_that_was_named);
	tcase_add_loop_test(tc, a_difference_that_cannot_be_is_the_peers_fault, 0, 4);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
