/* SPDX-License-Identifier: Apache-2.0 */
/* One test a row of the tables M and H in dsm/PROTOCOL.md, named for it; packing. */
#include "tests/unit/proto_bench.h"

/* ---- Messages in general ---- */

START_TEST(m1_malformed_is_a_peer_fault)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_WRITE);
	struct proto_msg bad[] = {
		MSG(.type = 0, .requester = 1),
		MSG(.type = PROTO_MSG_END, .requester = 1),
		MSG(.type = 255, .requester = 1),
		MSG(.type = PROTO_ACK, .from = 2, .requester = 4),
		MSG(.type = PROTO_ACK, .from = 2, .requester = NODE_NONE),
		MSG(.type = PROTO_ACK, .from = 2, .requester = 1, .seq = PROTO_SEQ_MASK + 1),
		MSG(.type = PROTO_ACK, .from = 2, .requester = 1, .acks = 1),
		MSG(.type = PROTO_ACK, .from = 2, .requester = 1, .flags = PROTO_ZERO),
		MSG(.type = PROTO_ACK, .from = 2, .requester = 1, .right = PROTO_READ),
		MSG(.type = PROTO_DATA, .from = 2, .requester = 1, .right = PROTO_WRITE),
		MSG(.type = PROTO_DATA, .from = 2, .requester = 1, .right = PROTO_WRITE, .flags = 3),
		MSG(.type = PROTO_DATA, .from = 2, .requester = 1, .right = PROTO_WRITE, .flags = 1, .acks = 4),
		MSG(.type = PROTO_DATA, .from = 2, .requester = 1, .right = PROTO_READ, .flags = 1, .acks = 1),
		MSG(.type = PROTO_DATA, .from = 2, .requester = 1, .right = PROTO_NONE, .flags = 1),
		MSG(.type = PROTO_DATA, .from = 2, .requester = 1, .right = 3, .flags = 1),
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_FAULT(b, cache_send(&b, bad[i]));
}
END_TEST

START_TEST(m1_message_from_who_may_not_send_it_is_a_peer_fault)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE), home = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG};

	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_FWD_READ, .from = 2, .requester = 3)));
	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_GRANT, .from = 2, .requester = 1)));
	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_LOST, .from = 2)));
	EXPECT_FAULT(b, cache_send(&b, FROM_HOME(PROTO_INV, 1, 1)));
	EXPECT_FAULT(b, cache_send(&b, FROM_HOME(PROTO_DROP, 1, 2)));
	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_DROP, .from = 2, .requester = 1)));
	EXPECT_FAULT(b, cache_send(&b, FROM_HOME(PROTO_GRANT, 1, 2)));
	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_ACK, .from = 1, .requester = 1)));
	EXPECT_FAULT(b, dir_send(&b, PROTO_REQ_READ, 2, 0)); /* we are not its home */
	EXPECT_FAULT(home, dir_send(&home, PROTO_REQ_READ, 2, 1));
	ev.msg = MSG(.type = PROTO_REQ_READ, .epoch = EPOCH, .from = 2, .requester = 3);
	EXPECT_FAULT(home, home.verdict = proto_dir_step(&home.dir, &home.ctx, &ev, &home.out));
}
END_TEST

START_TEST(m1_message_of_a_later_epoch_is_a_peer_fault)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = FROM_HOME(PROTO_INV, 1, 2)};

	ev.msg.epoch = EPOCH + 1;
	EXPECT_FAULT(b, b.verdict = proto_cache_step(&b.cache, &b.ctx, &ev, &b.out));
}
END_TEST

START_TEST(m2_invalidation_of_an_old_epoch_is_answered_not_obeyed)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = MSG(.type = PROTO_INV, .from = 3, .requester = 2, .seq = 8)};

	ev.msg.epoch = EPOCH - 1; /* of when node 3 was home */
	b.verdict = proto_cache_step(&b.cache, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_STALE, 1);
	ck_assert_uint_eq(b.out.action[0].msg.type, PROTO_ACK);
	ck_assert_uint_eq(b.out.action[0].msg.epoch, EPOCH - 1);
	ck_assert_uint_eq(b.out.action[0].msg.seq, 8);
	ck_assert_uint_eq(b.out.action[0].to, BIT(2));
	ck_assert_uint_eq(b.cache.right, PROTO_READ);
}
END_TEST

START_TEST(m3_message_of_an_old_epoch_is_dropped)
{
	struct bench b = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = MSG(.type = PROTO_REQ_READ, .from = 2, .requester = 2)};

	ev.msg.epoch = EPOCH - 1;
	b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_STALE, 0);
	ck_assert(!b.dir.busy);
}
END_TEST

START_TEST(m4_message_for_the_other_machine_is_a_peer_fault)
{
	struct bench b = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG,
				 .msg = MSG(.type = PROTO_REQ_READ, .epoch = EPOCH, .from = 2, .requester = 2)};

	EXPECT_FAULT(b, b.verdict = proto_cache_step(&b.cache, &b.ctx, &ev, &b.out));
	ev.msg = MSG(.type = PROTO_ACK, .epoch = EPOCH, .from = 2, .requester = 0);
	EXPECT_FAULT(b, b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out));
	ck_assert(proto_msg_for_dir(PROTO_DONE) && proto_msg_for_dir(PROTO_REQ_WRITE));
	ck_assert(!proto_msg_for_dir(PROTO_ACK) && !proto_msg_for_dir(0) && !proto_msg_for_dir(255));
}
END_TEST

/* ---- The directory ---- */

START_TEST(h1_read_of_an_owned_page_is_forwarded_and_shares_it)
{
	struct bench b = bench_at(0);
	const struct proto_msg *msg;

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	expect(&b, PROTO_OK, 1);
	msg = expect_send(&b, 0, PROTO_FWD_READ, BIT(3));
	ck_assert_uint_eq(msg->requester, 1);
	ck_assert_uint_eq(msg->seq, 1);
	ck_assert_uint_eq(b.dir.copyset, BIT(3) | BIT(1));
	ck_assert_uint_eq(b.dir.mode, PROTO_SHARED);
	ck_assert(b.dir.busy && b.dir.requester == 1 && b.dir.involved == (BIT(1) | BIT(3)));
}
END_TEST

START_TEST(h1_read_of_a_shared_page_asks_the_home_first_then_the_next_sharer)
{
	struct bench b = shared_by(BIT(0) | BIT(3));

	dir_send(&b, PROTO_REQ_READ, 1, 0);
	expect_send(&b, 0, PROTO_FWD_READ, BIT(0));
	ck_assert_uint_eq(proto_supplier(BIT(1) | BIT(3), 0, 2), 3);
	ck_assert_uint_eq(proto_supplier(BIT(1) | BIT(2), 0, 3), 1);
	ck_assert_uint_eq(proto_supplier(BIT(63) | BIT(5), 0, 62), 63);
	ck_assert_uint_eq(proto_supplier(BIT(7), 0, 63), 7);
}
END_TEST

START_TEST(h2_read_of_an_owned_page_with_the_hint_is_served_as_a_write)
{
	struct bench b = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG, .exclusive = true};

	ev.msg = MSG(.type = PROTO_REQ_READ, .epoch = EPOCH, .from = 1, .requester = 1);
	b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_OK, 1);
	expect_send(&b, 0, PROTO_FWD_WRITE, BIT(0));
	ck_assert(b.dir.mode == PROTO_EXCL && b.dir.copyset == BIT(1));
}
END_TEST

START_TEST(h2_hint_is_ignored_for_a_shared_page)
{
	struct bench b = shared_by(BIT(2) | BIT(3));
	struct proto_event ev = {.type = PROTO_EV_MSG, .exclusive = true};

	ev.msg = MSG(.type = PROTO_REQ_READ, .epoch = EPOCH, .from = 1, .requester = 1);
	b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out);
	expect_send(&b, 0, PROTO_FWD_READ, BIT(2));
}
END_TEST

START_TEST(h2_hint_with_a_done_is_for_the_next_reader)
{
	struct bench b = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG, .exclusive = true};

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	ev.msg = MSG(.type = PROTO_DONE, .epoch = EPOCH, .from = 1, .requester = 1, .seq = 1);
	b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_OK, 1);
	expect_send(&b, 0, PROTO_FWD_WRITE, BIT(1));
	ck_assert(b.dir.mode == PROTO_EXCL && b.dir.copyset == BIT(2));
}
END_TEST

START_TEST(h3_write_of_a_sharer_is_granted_and_the_others_invalidated)
{
	struct bench b = shared_by(BIT(0) | BIT(1) | BIT(2));

	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_GRANT, BIT(0))->acks, 1);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_INV, BIT(2))->acks, 0);
	ck_assert(b.dir.mode == PROTO_EXCL && b.dir.copyset == BIT(1) && b.dir.busy);
	b = shared_by(BIT(1) | BIT(2));
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_GRANT, BIT(1))->acks, 1);
	expect_send(&b, 1, PROTO_INV, BIT(2));
}
END_TEST

START_TEST(h14_write_of_the_last_sharer_is_over_with_its_grant)
{
	struct bench b = shared_by(BIT(2));

	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	expect(&b, PROTO_OK, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_GRANT, BIT(2))->acks, 0);
	ck_assert(b.dir.mode == PROTO_EXCL && proto_dir_idle(&b.dir) && !b.dir.involved && !b.dir.requester);
}
END_TEST

START_TEST(h4_write_of_a_stranger_takes_the_page_from_one_holder_and_invalidates_the_others)
{
	struct bench b = shared_by(BIT(1) | BIT(2));

	dir_send(&b, PROTO_REQ_WRITE, 3, 0);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(1))->acks, 1);
	expect_send(&b, 1, PROTO_INV, BIT(2));
	ck_assert(b.dir.mode == PROTO_EXCL && b.dir.copyset == BIT(3));
}
END_TEST

START_TEST(h4_64_nodes_need_no_more_actions_than_two)
{
	struct bench b = shared_by(~BIT(63));

	b.ctx.nodes = 64;
	dir_send(&b, PROTO_REQ_WRITE, 63, 0);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(0))->acks, 62);
	expect_send(&b, 1, PROTO_INV, ~BIT(63) & ~BIT(0));
}
END_TEST

START_TEST(h5_request_for_a_lost_page_is_told_so)
{
	struct bench b = bench_at(0);

	b.dir.lost = true;
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	expect(&b, PROTO_GONE, 1);
	expect_send(&b, 0, PROTO_LOST, BIT(2));
	dir_send(&b, PROTO_DONE, 2, 0);
	expect(&b, PROTO_GONE, 0);
}
END_TEST

START_TEST(h6_request_while_busy_waits)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_REQ_READ, 3, 0);
	expect(&b, PROTO_OK, 0);
	ck_assert(b.dir.wait_write == BIT(2) && b.dir.wait_read == BIT(3));
}
END_TEST

START_TEST(h6_a_reader_joins_a_running_read)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	expect(&b, PROTO_OK, 1);
	const struct proto_msg *fwd = expect_send(&b, 0, PROTO_FWD_READ, BIT(3)); /* not 1, which may not have it yet */
	ck_assert(fwd->requester == 2 && fwd->seq == 1);
	dir_send(&b, PROTO_DONE, 2, 1);
	expect(&b, PROTO_OK, 0);
	ck_assert(!proto_dir_idle(&b.dir));
	dir_send(&b, PROTO_DONE, 1, 1);
	ck_assert(proto_dir_idle(&b.dir) && b.dir.copyset == (BIT(1) | BIT(2) | BIT(3)) && b.dir.mode == PROTO_SHARED);
}
END_TEST

/* It would end the READ by itself. */
START_TEST(h6_the_home_that_read_does_not_supply_the_next_reader_of_the_same_read)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 0, 0);
	dir_send(&b, PROTO_DONE, 0, 1);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	expect_send(&b, 0, PROTO_FWD_READ, BIT(3));
}
END_TEST

START_TEST(h6_no_reader_overtakes_a_writer_who_waits)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(1);
	dir_send(&b, PROTO_REQ_READ, 0, 0);
	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	dir_send(&b, PROTO_REQ_READ, 3, 0);
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_DONE, 0, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(0))->requester, 2);
}
END_TEST

START_TEST(h6_requesters_next_write_may_overtake_the_end_of_its_read)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	expect(&b, PROTO_OK, 0);
	dir_close(&b, 1, 1);
	expect(&b, PROTO_OK, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_GRANT, BIT(0))->acks, 0);
}
END_TEST

START_TEST(h7_asking_twice_is_a_peer_fault)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	EXPECT_FAULT(b, dir_send(&b, PROTO_REQ_READ, 2, 0));
	EXPECT_FAULT(b, dir_send(&b, PROTO_REQ_WRITE, 2, 0));
}
END_TEST

START_TEST(h8_done_ends_the_transaction)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(2);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	dir_send(&b, PROTO_DONE, 1, 1);
	expect(&b, PROTO_OK, 0);
	ck_assert(proto_dir_idle(&b.dir) && b.dir.copyset == BIT(1) && !b.dir.involved && !b.dir.requester);
}
END_TEST

START_TEST(h8_what_the_home_alone_supplies_its_own_cache_ends)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	EXPECT_FAULT(b, dir_send(&b, PROTO_DONE, 1, 1)); /* not the requester's to say */
	dir_close(&b, 1, 1);
	expect(&b, PROTO_OK, 0);
	ck_assert(proto_dir_idle(&b.dir) && b.dir.copyset == BIT(1) && !b.dir.involved && !b.dir.requester);
}
END_TEST

START_TEST(h9_waiters_are_served_round_robin_from_the_last)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 3, 0);
	dir_close(&b, 2, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_READ, BIT(2))->requester, 3);
	dir_send(&b, PROTO_REQ_WRITE, 2, 0); /* came last, is served last */
	dir_send(&b, PROTO_DONE, 3, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(2))->requester, 1);
	expect_send(&b, 1, PROTO_INV, BIT(3));
	dir_send(&b, PROTO_DONE, 1, 3);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(1))->requester, 2);
}
END_TEST

START_TEST(h9_all_who_wait_to_read_are_served_at_once)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	dir_send(&b, PROTO_REQ_READ, 0, 0);
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_WRITE, 3, 0);
	dir_close(&b, 2, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_WRITE, BIT(2))->requester, 3);
	dir_send(&b, PROTO_DONE, 3, 2);
	expect(&b, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_READ, BIT(3))->requester, 0);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_FWD_READ, BIT(3))->requester, 1);
	ck_assert(!b.dir.wait_read && b.dir.reading == (BIT(0) | BIT(1)));
}
END_TEST

START_TEST(h9_64_nodes_that_wait_to_read_are_served_in_one_step)
{
	struct bench b = bench_at(0);

	b.ctx.nodes = 64;
	dir_send(&b, PROTO_REQ_WRITE, 5, 0);
	for (node_t n = 0; n < 64; n++)
		if (n != 5)
			dir_send(&b, PROTO_REQ_READ, n, 0);
	dir_close(&b, 5, 1);
	expect(&b, PROTO_OK, 63);
	ck_assert(b.dir.copyset == UINT64_MAX);
}
END_TEST

START_TEST(h10_done_twice_is_a_peer_fault)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	dir_send(&b, PROTO_DONE, 1, 1);
	EXPECT_FAULT(b, dir_send(&b, PROTO_DONE, 1, 1));
	EXPECT_FAULT(b, dir_close(&b, 2, 1)); /* nor is it the home's to say */
}
END_TEST

START_TEST(h10_done_of_an_old_transaction_is_dropped)
{
	struct bench b = bench_at(0);

	b.dir.seq = PROTO_SEQ_MASK;
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	ck_assert_uint_eq(b.dir.seq, 0);
	dir_send(&b, PROTO_DONE, 1, PROTO_SEQ_MASK);
	expect(&b, PROTO_STALE, 0);
	ck_assert(b.dir.busy);
}
END_TEST

START_TEST(h10_done_of_someone_else_is_a_peer_fault)
{
	struct bench b = bench_at(0);

	EXPECT_FAULT(b, dir_send(&b, PROTO_DONE, 1, 0));
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	EXPECT_FAULT(b, dir_send(&b, PROTO_DONE, 2, 1));
	EXPECT_FAULT(b, dir_send(&b, PROTO_DONE, 1, 2));
}
END_TEST

START_TEST(h11_loss_of_one_sharer_of_several_is_survived)
{
	struct bench b = shared_by(BIT(0) | BIT(1) | BIT(2));

	dir_event(&b, PROTO_EV_PEER_LOST, 2);
	expect(&b, PROTO_OK, 0);
	ck_assert(b.dir.copyset == (BIT(0) | BIT(1)) && !b.dir.lost);
}
END_TEST

START_TEST(h11_loss_of_a_waiter_is_survived)
{
	struct bench b = bench_at(0);

	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	dir_event(&b, PROTO_EV_PEER_LOST, 2);
	expect(&b, PROTO_OK, 0);
	dir_close(&b, 1, 1);
	expect(&b, PROTO_OK, 0);
	ck_assert(proto_dir_idle(&b.dir) && !b.dir.wait_read);
}
END_TEST

START_TEST(h12_loss_of_the_owner_loses_the_page)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(2);
	dir_event(&b, PROTO_EV_PEER_LOST, 2);
	expect(&b, PROTO_GONE, 0);
	ck_assert(b.dir.lost);
	dir_event(&b, PROTO_EV_PEER_LOST, 3);
	expect(&b, PROTO_OK, 0);
}
END_TEST

START_TEST(h12_loss_of_an_involved_node_is_told_to_requester_and_waiters)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	dir_event(&b, PROTO_EV_PEER_LOST, 3);
	expect(&b, PROTO_GONE, 1);
	expect_send(&b, 0, PROTO_LOST, BIT(1) | BIT(2));
	ck_assert(b.dir.lost && proto_dir_idle(&b.dir) && !b.dir.wait_read);
}
END_TEST

START_TEST(h12_loss_of_a_supplier_is_told_to_all_readers)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(3);
	dir_send(&b, PROTO_REQ_READ, 1, 0);
	dir_send(&b, PROTO_REQ_READ, 2, 0);
	dir_event(&b, PROTO_EV_PEER_LOST, 3);
	expect(&b, PROTO_GONE, 1);
	expect_send(&b, 0, PROTO_LOST, BIT(1) | BIT(2));
	ck_assert(b.dir.lost && proto_dir_idle(&b.dir) && !b.dir.reading);
}
END_TEST

START_TEST(h13_timeout_tells_whether_a_transaction_runs)
{
	struct bench b = bench_at(0);

	dir_event(&b, PROTO_EV_TIMEOUT, 0);
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	dir_event(&b, PROTO_EV_TIMEOUT, 0);
	expect(&b, PROTO_TIMED_OUT, 0);
}
END_TEST

/* ---- Packing ---- */

START_TEST(h15_offer_of_one_copy_of_several_is_taken)
{
	struct bench b = shared_by(BIT(1) | BIT(2));

	dir_send(&b, PROTO_OFFER, 1, 0);
	expect(&b, PROTO_OK, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_DROP, BIT(1))->seq, 1);
	ck_assert(b.dir.busy && b.dir.mode == PROTO_SHARED);
	ck_assert_uint_eq(b.dir.copyset, BIT(2));
	ck_assert_uint_eq(b.dir.involved, BIT(1) | BIT(2));
	dir_send(&b, PROTO_REQ_READ, 1, 0); /* it may overtake the DONE */
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_DONE, 1, 1);
	expect(&b, PROTO_OK, 1);
	expect_send(&b, 0, PROTO_FWD_READ, BIT(2));
}
END_TEST

START_TEST(h16_offer_of_the_only_bytes_brings_them_home)
{
	struct bench owned = bench_at(0), copy = shared_by(BIT(3));

	owned.dir.copyset = BIT(2);
	dir_send(&owned, PROTO_OFFER, 2, 0);
	expect(&owned, PROTO_OK, 1);
	expect_action(&owned, 0, PROTO_ADOPT);
	ck_assert(!owned.dir.busy);
	ck_assert_uint_eq(owned.dir.copyset, BIT(2));
	dir_send(&copy, PROTO_OFFER, 3, 0);
	expect(&copy, PROTO_OK, 1);
	expect_action(&copy, 0, PROTO_ADOPT);
}
END_TEST

START_TEST(h17_offer_that_comes_too_late_is_ignored)
{
	struct bench b = shared_by(BIT(0) | BIT(1) | BIT(2));
	struct proto_dir before;

	dir_send(&b, PROTO_OFFER, 3, 0); /* it has been invalidated meanwhile */
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_REQ_READ, 3, 0);
	before = b.dir;
	dir_send(&b, PROTO_OFFER, 1, 0); /* busy: it will be offered again */
	expect(&b, PROTO_OK, 0);
	ck_assert_mem_eq(&before, &b.dir, sizeof(before));
	b = shared_by(BIT(1) | BIT(2));
	b.dir.lost = true;
	dir_send(&b, PROTO_OFFER, 1, 0);
	expect(&b, PROTO_OK, 0);
	EXPECT_FAULT(b, dir_send(&b, PROTO_OFFER, 0, 0)); /* the home's own: nothing to offer to */
}
END_TEST

START_TEST(packed_directory_comes_back)
{
	struct bench b = bench_at(0);
	struct proto_dir dir = {.copyset = BIT(63) | BIT(31) | 1, .mode = PROTO_SHARED, .seq = PROTO_SEQ_MASK, .lost = true}, back;

	proto_dir_unpack(proto_dir_pack(&dir), &b.ctx, &back);
	ck_assert_mem_eq(&dir, &back, sizeof(dir));
	b.ctx.home = 2;
	proto_dir_unpack((struct proto_dir_packed){{0, 0}, 0}, &b.ctx, &back);
	ck_assert(back.copyset == BIT(2) && back.mode == PROTO_EXCL && !back.lost && back.seq == 0);
}
END_TEST

START_TEST(packed_cache_comes_back)
{
	for (uint8_t right = PROTO_NONE; right <= PROTO_WRITE; right++) {
		struct proto_cache cache = {.right = right, .lost = right == PROTO_READ}, back;

		proto_cache_unpack(proto_cache_pack(&cache), &back);
		ck_assert_mem_eq(&cache, &back, sizeof(cache));
	}
	ck_assert_uint_eq(proto_cache_pack(&(struct proto_cache){0}), 0);
}
END_TEST

START_TEST(packing_what_is_not_at_rest_is_our_bug)
{
	struct proto_dir dir = {.copyset = 1, .busy = true};

	proto_dir_pack(&dir);
}
END_TEST

int main(void)
{
	const TTest *rows[] = {
		m1_malformed_is_a_peer_fault,
		m1_message_from_who_may_not_send_it_is_a_peer_fault,
		m1_message_of_a_later_epoch_is_a_peer_fault,
		m2_invalidation_of_an_old_epoch_is_answered_not_obeyed,
		m3_message_of_an_old_epoch_is_dropped,
		m4_message_for_the_other_machine_is_a_peer_fault,
		h1_read_of_an_owned_page_is_forwarded_and_shares_it,
		h1_read_of_a_shared_page_asks_the_home_first_then_the_next_sharer,
		h2_read_of_an_owned_page_with_the_hint_is_served_as_a_write,
		h2_hint_is_ignored_for_a_shared_page,
		h2_hint_with_a_done_is_for_the_next_reader,
		h3_write_of_a_sharer_is_granted_and_the_others_invalidated,
		h4_write_of_a_stranger_takes_the_page_from_one_holder_and_invalidates_the_others,
		h4_64_nodes_need_no_more_actions_than_two,
		h5_request_for_a_lost_page_is_told_so,
		h6_request_while_busy_waits,
		h6_a_reader_joins_a_running_read,
		h6_the_home_that_read_does_not_supply_the_next_reader_of_the_same_read,
		h6_no_reader_overtakes_a_writer_who_waits,
		h6_requesters_next_write_may_overtake_the_end_of_its_read,
		h7_asking_twice_is_a_peer_fault,
		h8_done_ends_the_transaction,
		h8_what_the_home_alone_supplies_its_own_cache_ends,
		h9_waiters_are_served_round_robin_from_the_last,
		h9_all_who_wait_to_read_are_served_at_once,
		h9_64_nodes_that_wait_to_read_are_served_in_one_step,
		h10_done_twice_is_a_peer_fault,
		h10_done_of_an_old_transaction_is_dropped,
		h10_done_of_someone_else_is_a_peer_fault,
		h11_loss_of_one_sharer_of_several_is_survived,
		h11_loss_of_a_waiter_is_survived,
		h12_loss_of_the_owner_loses_the_page,
		h12_loss_of_an_involved_node_is_told_to_requester_and_waiters,
		h12_loss_of_a_supplier_is_told_to_all_readers,
		h13_timeout_tells_whether_a_transaction_runs,
		h14_write_of_the_last_sharer_is_over_with_its_grant,
		h15_offer_of_one_copy_of_several_is_taken,
		h16_offer_of_the_only_bytes_brings_them_home,
		h17_offer_that_comes_too_late_is_ignored,
		packed_directory_comes_back,
		packed_cache_comes_back,
	};

	return bench_run("proto", rows, ARRAY_SIZE(rows), packing_what_is_not_at_rest_is_our_bug);
}
