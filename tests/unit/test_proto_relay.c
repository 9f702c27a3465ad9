/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INVs that sharers pass on: the rows H21, C27, C28 of dsm/PROTOCOL.md, and what they change of M1, M2, C18 and C26. One test a
 * row.
 */
#include "tests/unit/proto_bench.h"

static void dir_relay(struct bench *b, enum proto_msg_type type, node_t from)
{
	struct proto_event ev = {.type = PROTO_EV_MSG, .relay = true};

	ev.msg = (struct proto_msg){.type = (uint8_t)type, .epoch = EPOCH, .from = from, .requester = from};
	b->verdict = proto_dir_step(&b->dir, &b->ctx, &ev, &b->out);
}

START_TEST(h21_one_of_two_sharers_passes_the_order_on)
{
	struct bench b = shared_by(BIT(0) | BIT(2) | BIT(3));

	dir_relay(&b, PROTO_REQ_WRITE, 1);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(0))->acks, 2);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_INV, BIT(2))->pass, BIT(3));
	ck_assert(b.dir.involved == (BIT(0) | BIT(1) | BIT(2) | BIT(3)) && b.dir.copyset == BIT(1));
}
END_TEST

START_TEST(h21_a_single_sharer_has_nobody_to_pass_it_on_to)
{
	struct bench b = shared_by(BIT(0) | BIT(2));

	dir_relay(&b, PROTO_REQ_WRITE, 1);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_INV, BIT(2))->pass, 0);
	b = shared_by(BIT(0) | BIT(1) | BIT(2));
	dir_relay(&b, PROTO_REQ_WRITE, 1);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_INV, BIT(2))->pass, 0);
}
END_TEST

/* However many there are: each gets it once, and a node that passes it on is nobody's second. */
START_TEST(h21_each_sharer_is_told_once)
{
	for (node_t n = 3; n <= 64; n++) {
		uint64_t all = ~(uint64_t)0 >> (64 - n), told = 0;
		struct bench b = shared_by(all);
		unsigned passing = 0;

		b.ctx.nodes = n;
		dir_relay(&b, PROTO_REQ_WRITE, 0);
		ck_assert_uint_eq(expect_send(&b, 0, PROTO_GRANT, BIT(0))->acks, n - 1u);
		for (uint32_t i = 1; i < b.out.n; i++) {
			const struct proto_action *a = &b.out.action[i];

			ck_assert_uint_eq(a->msg.type, PROTO_INV);
			ck_assert_uint_eq(a->msg.acks, 0);
			ck_assert_uint_eq(told & (a->to | a->msg.pass), 0);
			ck_assert_uint_eq(a->to & a->msg.pass, 0);
			ck_assert(!a->msg.pass || !(a->to & (a->to - 1)));
			passing += a->msg.pass != 0;
			told |= a->to | a->msg.pass;
		}
		ck_assert_uint_eq(told, all & ~BIT(0));
		ck_assert_uint_gt(passing, 0);
		ck_assert_uint_le(passing, 6);
	}
}
END_TEST

START_TEST(c27_order_is_passed_on_and_obeyed)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);
	struct proto_msg inv = FROM_HOME(PROTO_INV, 4, 3);

	inv.pass = BIT(2);
	cache_send(&b, inv);
	expect(&b, PROTO_OK, 3);
	expect_action(&b, 0, PROTO_UNMAP);
	const struct proto_msg *on = expect_send(&b, 1, PROTO_INV, BIT(2));
	ck_assert(on->seq == 4 && on->requester == 3 && !on->pass);
	ck_assert_uint_eq(expect_send(&b, 2, PROTO_ACK, BIT(3))->seq, 4);
	ck_assert(b.cache.right == PROTO_NONE && b.cache.pending == PROTO_WRITE);
}
END_TEST

START_TEST(c27_order_of_a_sharer_is_obeyed)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);

	cache_send(&b, MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_UNMAP);
	expect_send(&b, 1, PROTO_ACK, BIT(3));
}
END_TEST

START_TEST(c28_order_before_its_copy_waits_for_it)
{
	static const struct {
		enum proto_right pending;
		uint8_t flags;
	} cases[] = {{PROTO_READ, 0}, {PROTO_NONE, PROTO_PUSH}, {PROTO_WRITE, PROTO_PUSH}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench b = cache_with(1, PROTO_NONE, cases[i].pending);
		const struct proto_msg inv = MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3);
		struct proto_cache before = b.cache;

		cache_send(&b, inv);
		expect(&b, PROTO_EARLY, 0);
		ck_assert_mem_eq(&before, &b.cache, sizeof(before));
		cache_send(&b, MSG(.type = PROTO_DATA, .flags = (uint8_t)(PROTO_ZERO | cases[i].flags), .right = PROTO_READ,
				   .seq = 3, .requester = 1));
		expect(&b, PROTO_OK, 1);
		cache_send(&b, inv);
		expect(&b, PROTO_OK, 2);
		expect_send(&b, 1, PROTO_ACK, BIT(3));
		ck_assert(b.cache.right == PROTO_NONE && b.cache.pending == (cases[i].flags ? cases[i].pending : PROTO_NONE));
	}
}
END_TEST

START_TEST(c28_order_for_a_lost_page_is_dropped)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_NONE);

	b.cache.lost = true;
	cache_send(&b, MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3));
	expect(&b, PROTO_GONE, 0);
}
END_TEST

START_TEST(c17_order_that_cannot_be_is_a_peer_fault)
{
	struct bench none = cache_with(1, PROTO_NONE, PROTO_NONE), owner = cache_with(1, PROTO_WRITE, PROTO_NONE);
	struct bench begun = cache_with(1, PROTO_NONE, PROTO_WRITE), home = bench_at(0);

	EXPECT_FAULT(none, cache_send(&none, FROM_HOME(PROTO_INV, 1, 2))); /* the home's own comes after its copy */
	EXPECT_FAULT(owner, cache_send(&owner, MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3)));
	EXPECT_FAULT(home, cache_send(&home, MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3)));
	cache_send(&begun, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1));
	EXPECT_FAULT(begun, cache_send(&begun, MSG(.type = PROTO_INV, .seq = 10, .from = 2, .requester = 3)));
}
END_TEST

START_TEST(c18_old_order_is_passed_on_and_answered)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_WRITE);
	struct proto_msg inv = FROM_HOME(PROTO_INV, 9, 3);

	cache_send(&b, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1));
	inv.pass = BIT(2);
	cache_send(&b, inv);
	expect(&b, PROTO_STALE, 2);
	expect_send(&b, 0, PROTO_INV, BIT(2));
	expect_send(&b, 1, PROTO_ACK, BIT(3));
}
END_TEST

START_TEST(c26_copy_may_be_gone_before_the_void)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_READ); /* pushed, and its request is on its way */

	cache_send(&b, MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3));
	expect(&b, PROTO_OK, 2);
	cache_send(&b, FROM_HOME(PROTO_VOID, 0, 1));
	expect(&b, PROTO_OK, 1);
	expect_action(&b, 0, PROTO_WAKE);
	ck_assert(proto_cache_idle(&b.cache) && b.cache.right == PROTO_NONE);
}
END_TEST

START_TEST(m1_order_to_be_passed_on_to_whom_it_must_not_is_a_peer_fault)
{
	static const uint64_t wrong[] = {BIT(0), BIT(1), BIT(3), BIT(4), BIT(63), ~(uint64_t)0};
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);
	struct proto_msg inv = FROM_HOME(PROTO_INV, 4, 3);

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		inv.pass = wrong[i];
		EXPECT_FAULT(b, cache_send(&b, inv));
	}
	inv.pass = BIT(2);
	inv.type = PROTO_FWD_READ;
	EXPECT_FAULT(b, cache_send(&b, inv));
	b.ctx.nodes = 5;
	EXPECT_FAULT(b,
		     cache_send(&b, MSG(.type = PROTO_INV, .seq = 4, .from = 2, .requester = 3, .pass = BIT(4)))); /* only once */
}
END_TEST

START_TEST(m2_order_of_an_old_epoch_is_passed_on_and_answered)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = FROM_HOME(PROTO_INV, 8, 3)};

	ev.msg.epoch = EPOCH - 1;
	ev.msg.pass = BIT(2);
	b.verdict = proto_cache_step(&b.cache, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_STALE, 2);
	ck_assert(b.out.action[0].msg.type == PROTO_INV && b.out.action[0].msg.epoch == EPOCH - 1 && b.out.action[0].to == BIT(2));
	ck_assert(b.out.action[1].msg.type == PROTO_ACK && b.out.action[1].to == BIT(3));
	ck_assert_uint_eq(b.cache.right, PROTO_READ);
}
END_TEST

int main(void)
{
	const TTest *const rows[] = {
		h21_one_of_two_sharers_passes_the_order_on,
		h21_a_single_sharer_has_nobody_to_pass_it_on_to,
		h21_each_sharer_is_told_once,
		c27_order_is_passed_on_and_obeyed,
		c27_order_of_a_sharer_is_obeyed,
		c28_order_before_its_copy_waits_for_it,
		c28_order_for_a_lost_page_is_dropped,
		c17_order_that_cannot_be_is_a_peer_fault,
		c18_old_order_is_passed_on_and_answered,
		c26_copy_may_be_gone_before_the_void,
		m1_order_to_be_passed_on_to_whom_it_must_not_is_a_peer_fault,
		m2_order_of_an_old_epoch_is_passed_on_and_answered,
	};

	return bench_run("proto relay", rows, ARRAY_SIZE(rows), NULL);
}
