/* SPDX-License-Identifier: Apache-2.0 */
/* One test a row of the tables C in dsm/PROTOCOL.md, named for it. */
#include "tests/unit/proto_bench.h"

/* ---- The cache ---- */

START_TEST(c1_fault_with_the_right_there_maps_and_wakes)
{
	struct bench b = bench_at(0);

	cache_event(&b, PROTO_EV_FAULT_WRITE, 0);
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_MAP);
	ck_assert_uint_eq(b.out.action[0].right, PROTO_WRITE);
	expect_action(&b, 1, PROTO_WAKE);
	ck_assert(proto_cache_idle(&b.cache));
}
END_TEST

START_TEST(c2_fault_on_a_lost_page_fails)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);

	b.cache.lost = true;
	cache_event(&b, PROTO_EV_FAULT_WRITE, 0);
	expect(&b, PROTO_GONE, 1);
	expect_action(&b, 0, PROTO_FAIL);
	cache_event(&b, PROTO_EV_FAULT_READ, 0); /* what is here can still be read */
	expect(&b, PROTO_OK, 2);
}
END_TEST

START_TEST(c3_second_fault_waits_with_the_first)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ);

	cache_event(&b, PROTO_EV_FAULT_READ, 0);
	expect(&b, PROTO_OK, 0);
	cache_event(&b, PROTO_EV_FAULT_WRITE, 0);
	expect(&b, PROTO_OK, 0);
	ck_assert_uint_eq(b.cache.pending, PROTO_READ);
}
END_TEST

START_TEST(c4_fault_asks_the_home)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_NONE);

	cache_event(&b, PROTO_EV_FAULT_READ, 0);
	expect(&b, PROTO_OK, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_REQ_READ, BIT(0))->requester, 1);
	ck_assert_uint_eq(b.cache.pending, PROTO_READ);
	b = cache_with(1, PROTO_READ, PROTO_NONE);
	cache_event(&b, PROTO_EV_FAULT_WRITE, 0);
	expect_send(&b, 0, PROTO_REQ_WRITE, BIT(0));
}
END_TEST

START_TEST(c5_owner_forwards_a_read_write_protected_first)
{
	struct bench b = cache_with(1, PROTO_WRITE, PROTO_NONE);
	const struct proto_msg *msg;

	cache_send(&b, FROM_HOME(PROTO_FWD_READ, 4, 3));
	expect(&b, PROTO_OK, 3);
	expect_action(&b, 0, PROTO_PROTECT);
	expect_action(&b, 1, PROTO_LOAD);
	msg = expect_send(&b, 2, PROTO_DATA, BIT(3));
	ck_assert(msg->right == PROTO_READ && msg->seq == 4 && msg->requester == 3 && b.out.action[2].with_data);
	ck_assert_uint_eq(b.cache.right, PROTO_READ);
}
END_TEST

START_TEST(c6_sharer_forwards_a_read_and_keeps_its_copy)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE); /* while its own request waits at the home */

	cache_send(&b, FROM_HOME(PROTO_FWD_READ, 4, 3));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_LOAD);
	expect_send(&b, 1, PROTO_DATA, BIT(3));
	ck_assert(b.cache.right == PROTO_READ && b.cache.pending == PROTO_WRITE);
}
END_TEST

START_TEST(c7_owner_forwards_a_write_and_has_dropped_the_page_before_it_sends)
{
	struct bench b = cache_with(1, PROTO_WRITE, PROTO_NONE);
	const struct proto_msg *msg;

	cache_send(&b, FROM_HOME(PROTO_FWD_WRITE, 4, 3));
	expect(&b, PROTO_OK, 4);
	expect_action(&b, 0, PROTO_PROTECT);
	expect_action(&b, 1, PROTO_LOAD);
	expect_action(&b, 2, PROTO_UNMAP);
	msg = expect_send(&b, 3, PROTO_DATA, BIT(3));
	ck_assert(msg->right == PROTO_WRITE && msg->acks == 0);
	ck_assert_uint_eq(b.cache.right, PROTO_NONE);
}
END_TEST

START_TEST(c8_sharer_forwards_a_write_with_the_number_of_acks)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_NONE);

	cache_send(&b, MSG(.type = PROTO_FWD_WRITE, .seq = 4, .acks = 2, .from = 0, .requester = 3));
	expect(&b, PROTO_OK, 3);
	expect_action(&b, 0, PROTO_LOAD);
	expect_action(&b, 1, PROTO_UNMAP);
	ck_assert_uint_eq(expect_send(&b, 2, PROTO_DATA, BIT(3))->acks, 2);
	ck_assert_uint_eq(b.cache.right, PROTO_NONE);
}
END_TEST

START_TEST(c9_invalidation_is_obeyed_at_once_whatever_is_pending)
{
	for (unsigned pending = PROTO_NONE; pending <= PROTO_WRITE; pending += 2) {
		struct bench b = cache_with(1, PROTO_READ, pending ? PROTO_WRITE : PROTO_NONE);

		cache_send(&b, FROM_HOME(PROTO_INV, 4, 3));
		expect(&b, PROTO_OK, 2);
		expect_action(&b, 0, PROTO_UNMAP);
		ck_assert_uint_eq(expect_send(&b, 1, PROTO_ACK, BIT(3))->seq, 4);
		ck_assert(b.cache.right == PROTO_NONE && b.cache.pending == pending);
	}
}
END_TEST

START_TEST(c10_data_completes_a_read)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ);

	cache_send(&b, DATA(PROTO_READ, 0));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_INSTALL);
	ck_assert(b.out.action[0].right == PROTO_READ && b.out.action[0].wake && !b.out.action[0].zero);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_DONE, BIT(0))->seq, 9);
	ck_assert(b.cache.right == PROTO_READ && proto_cache_idle(&b.cache) && !b.cache.started);
}
END_TEST

START_TEST(c10_data_after_the_last_ack_completes_a_write)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_WRITE);

	cache_send(&b, ACK(3));
	expect(&b, PROTO_OK, 0);
	cache_send(&b, DATA(PROTO_WRITE, 1));
	expect(&b, PROTO_OK, 2);
	ck_assert(b.out.action[0].type == PROTO_INSTALL && b.out.action[0].right == PROTO_WRITE && b.out.action[0].wake);
	expect_send(&b, 1, PROTO_DONE, BIT(0));
	ck_assert(b.cache.right == PROTO_WRITE && proto_cache_idle(&b.cache));
}
END_TEST

START_TEST(c10_read_may_be_granted_as_a_write)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ);
	struct proto_msg zero = DATA(PROTO_WRITE, 0);

	zero.flags = PROTO_ZERO;
	cache_send(&b, zero);
	expect(&b, PROTO_OK, 2);
	ck_assert(b.out.action[0].zero && b.out.action[0].right == PROTO_WRITE && b.cache.right == PROTO_WRITE);
}
END_TEST

START_TEST(c11_data_before_the_last_ack_is_read_only_and_wakes_nobody)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_WRITE);

	cache_send(&b, DATA(PROTO_WRITE, 1));
	expect(&b, PROTO_OK, 1);
	expect_action(&b, 0, PROTO_INSTALL);
	ck_assert(b.out.action[0].right == PROTO_READ && !b.out.action[0].wake);
	ck_assert(b.cache.right == PROTO_READ && b.cache.pending == PROTO_WRITE);
}
END_TEST

START_TEST(c12_grant_after_the_last_ack_upgrades)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&b, ACK(2));
	cache_send(&b, GRANT(1));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_UPGRADE);
	expect_send(&b, 1, PROTO_DONE, BIT(0));
	ck_assert(b.cache.right == PROTO_WRITE && proto_cache_idle(&b.cache));
}
END_TEST

START_TEST(c13_grant_before_the_acks_waits)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&b, GRANT(2));
	expect(&b, PROTO_OK, 0);
	cache_send(&b, ACK(2));
	expect(&b, PROTO_OK, 0);
	ck_assert_uint_eq(b.cache.right, PROTO_READ);
}
END_TEST

START_TEST(c14_last_ack_upgrades)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&b, GRANT(1));
	cache_send(&b, ACK(3));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_UPGRADE);
	expect_send(&b, 1, PROTO_DONE, BIT(0));
}
END_TEST

START_TEST(c15_lost_fails_the_waiters)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&b, FROM_HOME(PROTO_LOST, 3, 0));
	expect(&b, PROTO_GONE, 1);
	expect_action(&b, 0, PROTO_FAIL);
	ck_assert(b.cache.lost && proto_cache_idle(&b.cache) && b.cache.right == PROTO_READ);
	cache_send(&b, FROM_HOME(PROTO_LOST, 3, 0));
	expect(&b, PROTO_GONE, 0);
}
END_TEST

START_TEST(c16_loss_of_the_home_fails_the_waiters)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ), calm = cache_with(1, PROTO_WRITE, PROTO_NONE);

	cache_event(&b, PROTO_EV_PEER_LOST, 0);
	expect(&b, PROTO_GONE, 1);
	expect_action(&b, 0, PROTO_FAIL);
	cache_event(&calm, PROTO_EV_PEER_LOST, 0);
	expect(&calm, PROTO_GONE, 0);
	ck_assert(calm.cache.lost && calm.cache.right == PROTO_WRITE);
}
END_TEST

START_TEST(c17_what_cannot_be_is_a_peer_fault)
{
	struct bench none = cache_with(1, PROTO_NONE, PROTO_NONE), owner = cache_with(1, PROTO_WRITE, PROTO_NONE);
	struct bench read = cache_with(1, PROTO_NONE, PROTO_READ), write = cache_with(1, PROTO_NONE, PROTO_WRITE);
	struct bench upgrade = cache_with(1, PROTO_READ, PROTO_WRITE);

	EXPECT_FAULT(none, cache_send(&none, DATA(PROTO_READ, 0)));
	EXPECT_FAULT(none, cache_send(&none, GRANT(0)));
	EXPECT_FAULT(none, cache_send(&none, ACK(2)));
	EXPECT_FAULT(none, cache_send(&none, FROM_HOME(PROTO_INV, 1, 2)));
	EXPECT_FAULT(none, cache_send(&none, FROM_HOME(PROTO_FWD_READ, 1, 2)));
	EXPECT_FAULT(none, cache_send(&none, FROM_HOME(PROTO_FWD_WRITE, 1, 2)));
	EXPECT_FAULT(owner, cache_send(&owner, FROM_HOME(PROTO_INV, 1, 2)));
	EXPECT_FAULT(read, cache_send(&read, ACK(2)));
	EXPECT_FAULT(read, cache_send(&read, GRANT(0)));
	EXPECT_FAULT(read, cache_send(&read, DATA(PROTO_WRITE, 1)));
	EXPECT_FAULT(write, cache_send(&write, DATA(PROTO_READ, 0)));
	EXPECT_FAULT(write, cache_send(&write, GRANT(0)));
	EXPECT_FAULT(upgrade, cache_send(&upgrade, DATA(PROTO_WRITE, 0)));
}
END_TEST

START_TEST(c17_too_many_answers_are_a_peer_fault)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&b, ACK(2));
	EXPECT_FAULT(b, cache_send(&b, ACK(2)));
	EXPECT_FAULT(b, cache_send(&b, GRANT(0)));
	cache_send(&b, GRANT(3));
	EXPECT_FAULT(b, cache_send(&b, GRANT(3)));
	EXPECT_FAULT(b, cache_send(&b, FROM_HOME(PROTO_INV, 9, 2))); /* our transaction runs */
	EXPECT_FAULT(b, cache_send(&b, FROM_HOME(PROTO_FWD_WRITE, 10, 2)));
	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1)));
}
END_TEST

START_TEST(c18_message_of_an_old_transaction_is_dropped_and_an_invalidation_answered)
{
	struct bench b = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&b, GRANT(2));
	cache_send(&b, MSG(.type = PROTO_ACK, .seq = 8, .from = 3, .requester = 1));
	expect(&b, PROTO_STALE, 0);
	cache_send(&b, FROM_HOME(PROTO_FWD_READ, 8, 2));
	expect(&b, PROTO_STALE, 0);
	cache_send(&b, FROM_HOME(PROTO_INV, 8, 2));
	expect(&b, PROTO_STALE, 1);
	expect_send(&b, 0, PROTO_ACK, BIT(2));
	ck_assert(b.cache.right == PROTO_READ && b.cache.pending == PROTO_WRITE && !b.cache.acked);
}
END_TEST

START_TEST(c19_late_answers_for_a_lost_page_are_dropped)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_NONE);

	b.cache.lost = true;
	cache_send(&b, DATA(PROTO_WRITE, 0));
	expect(&b, PROTO_GONE, 0);
	cache_send(&b, ACK(2));
	expect(&b, PROTO_GONE, 0);
	ck_assert_uint_eq(b.cache.right, PROTO_NONE);
}
END_TEST

START_TEST(c20_timeout_tells_whether_a_request_is_pending)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ), calm = bench_at(1);

	cache_event(&b, PROTO_EV_TIMEOUT, 0);
	expect(&b, PROTO_TIMED_OUT, 0);
	cache_event(&calm, PROTO_EV_TIMEOUT, 0);
	expect(&calm, PROTO_OK, 0);
}
END_TEST

START_TEST(c21_loss_of_another_node_is_the_homes_to_judge)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ);

	cache_event(&b, PROTO_EV_PEER_LOST, 2);
	expect(&b, PROTO_OK, 0);
	ck_assert_uint_eq(b.cache.pending, PROTO_READ);
}
END_TEST

START_TEST(c22_homes_copy_is_dropped_for_the_grant_that_it_passes_on)
{
	struct bench b = cache_with(0, PROTO_READ, PROTO_NONE);

	cache_send(&b, MSG(.type = PROTO_FWD_GRANT, .seq = 4, .acks = 1, .from = 0, .requester = 3));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_UNMAP);
	ck_assert_uint_eq(expect_send(&b, 1, PROTO_GRANT, BIT(3))->acks, 1);
	ck_assert_uint_eq(b.cache.right, PROTO_NONE);
	b = cache_with(0, PROTO_READ, PROTO_NONE);
	cache_send(&b, MSG(.type = PROTO_FWD_GRANT, .seq = 4, .from = 0, .requester = 3));
	expect(&b, PROTO_OK, 3);
	ck_assert_uint_eq(expect_send(&b, 2, PROTO_DONE, BIT(0))->requester, 3);
}
END_TEST

START_TEST(c23_home_closes_what_it_alone_supplies)
{
	struct bench b = cache_with(0, PROTO_WRITE, PROTO_NONE);

	cache_send(&b, FROM_HOME(PROTO_FWD_READ, 4, 3));
	expect(&b, PROTO_OK, 4); /* PROTECT, LOAD, DATA */
	ck_assert_uint_eq(expect_send(&b, 3, PROTO_DONE, BIT(0))->seq, 4);
	b = cache_with(0, PROTO_READ, PROTO_NONE);
	cache_send(&b, MSG(.type = PROTO_FWD_WRITE, .seq = 4, .acks = 1, .from = 0, .requester = 3));
	expect(&b, PROTO_OK, 3); /* LOAD, UNMAP, DATA: the requester knows when the last ACK is there */
}
END_TEST

START_TEST(c23_requester_does_not_close_what_the_home_has_closed)
{
	struct bench read = cache_with(1, PROTO_NONE, PROTO_READ), write = cache_with(1, PROTO_READ, PROTO_WRITE);

	cache_send(&read, MSG(.type = PROTO_DATA, .flags = PROTO_ZERO, .right = PROTO_READ, .seq = 9, .from = 0, .requester = 1));
	expect(&read, PROTO_OK, 1);
	expect_action(&read, 0, PROTO_INSTALL);
	cache_send(&write, GRANT(0));
	expect(&write, PROTO_OK, 1);
	expect_action(&write, 0, PROTO_UPGRADE);
	ck_assert(proto_cache_idle(&read.cache) && proto_cache_idle(&write.cache) && write.cache.right == PROTO_WRITE);
}
END_TEST

START_TEST(c24_offered_copy_is_dropped_when_the_home_says_so)
{
	for (uint8_t pending = PROTO_NONE; pending <= PROTO_WRITE; pending += PROTO_WRITE) {
		struct bench b = cache_with(1, PROTO_READ, pending);

		cache_send(&b, FROM_HOME(PROTO_DROP, 7, 1));
		expect(&b, PROTO_OK, 2);
		expect_action(&b, 0, PROTO_UNMAP);
		ck_assert_uint_eq(expect_send(&b, 1, PROTO_DONE, BIT(0))->seq, 7);
		ck_assert_uint_eq(b.out.action[1].msg.requester, 1);
		ck_assert_uint_eq(b.cache.right, PROTO_NONE);
		ck_assert_uint_eq(b.cache.pending, pending);
	}
}
END_TEST

START_TEST(c17_drop_of_what_is_not_a_copy_is_a_peer_fault)
{
	struct bench owner = cache_with(1, PROTO_WRITE, PROTO_NONE), none = cache_with(1, PROTO_NONE, PROTO_NONE);
	struct bench runs = cache_with(1, PROTO_READ, PROTO_WRITE);

	EXPECT_FAULT(owner, cache_send(&owner, FROM_HOME(PROTO_DROP, 7, 1)));
	EXPECT_FAULT(none, cache_send(&none, FROM_HOME(PROTO_DROP, 7, 1)));
	cache_send(&runs, ACK(3));
	EXPECT_FAULT(runs, cache_send(&runs, FROM_HOME(PROTO_DROP, 9, 1)));
}
END_TEST

int main(void)
{
	const TTest *rows[] = {
		c1_fault_with_the_right_there_maps_and_wakes,
		c2_fault_on_a_lost_page_fails,
		c3_second_fault_waits_with_the_first,
		c4_fault_asks_the_home,
		c5_owner_forwards_a_read_write_protected_first,
		c6_sharer_forwards_a_read_and_keeps_its_copy,
		c7_owner_forwards_a_write_and_has_dropped_the_page_before_it_sends,
		c8_sharer_forwards_a_write_with_the_number_of_acks,
		c9_invalidation_is_obeyed_at_once_whatever_is_pending,
		c10_data_completes_a_read,
		c10_data_after_the_last_ack_completes_a_write,
		c10_read_may_be_granted_as_a_write,
		c11_data_before_the_last_ack_is_read_only_and_wakes_nobody,
		c12_grant_after_the_last_ack_upgrades,
		c13_grant_before_the_acks_waits,
		c14_last_ack_upgrades,
		c15_lost_fails_the_waiters,
		c16_loss_of_the_home_fails_the_waiters,
		c17_what_cannot_be_is_a_peer_fault,
		c17_too_many_answers_are_a_peer_fault,
		c18_message_of_an_old_transaction_is_dropped_and_an_invalidation_answered,
		c19_late_answers_for_a_lost_page_are_dropped,
		c20_timeout_tells_whether_a_request_is_pending,
		c21_loss_of_another_node_is_the_homes_to_judge,
		c22_homes_copy_is_dropped_for_the_grant_that_it_passes_on,
		c23_home_closes_what_it_alone_supplies,
		c23_requester_does_not_close_what_the_home_has_closed,
		c24_offered_copy_is_dropped_when_the_home_says_so,
		c17_drop_of_what_is_not_a_copy_is_a_peer_fault,
	};

	return bench_run("proto cache", rows, ARRAY_SIZE(rows), NULL);
}
