/* SPDX-License-Identifier: Apache-2.0 */
/* One test a row of dsm/PROTOCOL.md that is about pages which were not asked for: H18..H20, C25, C26, and what M1 says of them. */
#include "tests/unit/proto_bench.h"

#define PUSHED(grant, sender) \
	MSG(.type = PROTO_DATA, .flags = PROTO_HAS_DATA | PROTO_PUSH, .right = (grant), .seq = 9, .from = (sender), .requester = 1)

START_TEST(h18_copy_is_pushed_by_a_home_that_has_one)
{
	struct bench b = bench_at(0);

	dir_event(&b, PROTO_EV_PUSH, 2);
	expect(&b, PROTO_OK, 1);
	const struct proto_msg *msg = expect_send(&b, 0, PROTO_FWD_READ, BIT(0));
	ck_assert_uint_eq(msg->flags, PROTO_PUSH);
	ck_assert_uint_eq(msg->requester, 2);
	ck_assert(b.dir.busy && b.dir.mode == PROTO_SHARED && b.dir.copyset == (BIT(0) | BIT(2)));
	dir_close(&b, 2, 1);
	expect(&b, PROTO_OK, 0);
	ck_assert(proto_dir_idle(&b.dir));
}
END_TEST

START_TEST(h18_what_does_not_fit_is_not_pushed)
{
	struct bench busy = bench_at(0), owned = bench_at(0), has = shared_by(BIT(0) | BIT(2)), lost = bench_at(0);

	dir_send(&busy, PROTO_REQ_READ, 1, 0);
	owned.dir.copyset = BIT(1);
	lost.dir.lost = true;
	struct bench *all[] = {&busy, &owned, &has, &lost};
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct proto_dir before = all[i]->dir;

		dir_event(all[i], PROTO_EV_PUSH, 2);
		expect(all[i], PROTO_OK, 0);
		dir_event(all[i], PROTO_EV_GIVE, 2);
		expect(all[i], PROTO_OK, 0);
		ck_assert_mem_eq(&before, &all[i]->dir, sizeof(before));
	}
}
END_TEST

START_TEST(h18_with_a_read_that_others_supply_copies_are_pushed_too)
{
	struct bench b = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG, .push = BIT(0) | BIT(1) | BIT(2) | BIT(3)};

	b.dir.copyset = BIT(1);
	ev.msg = MSG(.type = PROTO_REQ_READ, .epoch = EPOCH, .from = 3, .requester = 3);
	b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_OK, 3); /* to node 3, who asked, and nodes 0 and 2, who did not; node 1 has it */
	for (uint32_t i = 0; i < 3; i++) {
		const struct proto_msg *msg = expect_send(&b, i, PROTO_FWD_READ, BIT(1));

		ck_assert_uint_eq(msg->flags, msg->requester == 3 ? 0 : PROTO_PUSH);
	}
	ck_assert_uint_eq(b.dir.reading, BIT(0) | BIT(2) | BIT(3));
	ck_assert_uint_eq(b.dir.copyset, BIT(0) | BIT(1) | BIT(2) | BIT(3));
	dir_send(&b, PROTO_REQ_READ, 2, 0); /* crosses with what is pushed to it */
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_DONE, 0, 1);
	dir_send(&b, PROTO_DONE, 3, 1);
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_DONE, 2, 1);
	expect(&b, PROTO_OK, 1);
	expect_send(&b, 0, PROTO_VOID, BIT(2));
	ck_assert(proto_dir_idle(&b.dir) && !b.dir.wait_read);
}
END_TEST

START_TEST(h18_copy_is_pushed_while_a_read_runs_that_others_supply)
{
	struct bench b = bench_at(0);

	b.dir.copyset = BIT(1);
	dir_send(&b, PROTO_REQ_READ, 3, 0);
	dir_event(&b, PROTO_EV_PUSH, 2);
	expect(&b, PROTO_OK, 1);
	const struct proto_msg *msg = expect_send(&b, 0, PROTO_FWD_READ, BIT(1));
	ck_assert(msg->requester == 2 && msg->flags == PROTO_PUSH && msg->seq == 1);
	ck_assert_uint_eq(b.dir.reading, BIT(2) | BIT(3));
	dir_event(&b, PROTO_EV_PUSH, 2);
	expect(&b, PROTO_OK, 0);
	dir_send(&b, PROTO_REQ_WRITE, 1, 0);
	b.dir.copyset &= ~BIT(2);
	dir_event(&b, PROTO_EV_PUSH, 2); /* no reader overtakes a writer who waits */
	expect(&b, PROTO_OK, 0);
}
END_TEST

START_TEST(h18_nothing_is_pushed_to_who_waits_to_write)
{
	struct bench b = bench_at(0);
	struct proto_event ev = {.type = PROTO_EV_MSG, .push = BIT(2)};

	b.dir.copyset = BIT(1);
	dir_send(&b, PROTO_REQ_WRITE, 3, 0);
	dir_send(&b, PROTO_REQ_READ, 0, 0);
	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	ev.msg = MSG(.type = PROTO_DONE, .epoch = EPOCH, .from = 3, .requester = 3, .seq = 1);
	b.verdict = proto_dir_step(&b.dir, &b.ctx, &ev, &b.out);
	expect(&b, PROTO_OK, 1);
	ck_assert_uint_eq(expect_send(&b, 0, PROTO_FWD_READ, BIT(3))->requester, 0);
	ck_assert_uint_eq(b.dir.copyset, BIT(0) | BIT(3));
}
END_TEST

START_TEST(h19_page_of_the_home_alone_is_given)
{
	struct bench b = bench_at(0);

	dir_event(&b, PROTO_EV_GIVE, 2);
	expect(&b, PROTO_OK, 1);
	const struct proto_msg *msg = expect_send(&b, 0, PROTO_FWD_WRITE, BIT(0));
	ck_assert_uint_eq(msg->flags, PROTO_PUSH);
	ck_assert_uint_eq(msg->acks, 0);
	dir_send(&b, PROTO_REQ_WRITE, 2, 0);
	expect(&b, PROTO_OK, 0);
	dir_close(&b, 2, 1);
	expect(&b, PROTO_OK, 1);
	expect_send(&b, 0, PROTO_VOID, BIT(2));
	ck_assert(proto_dir_idle(&b.dir) && b.dir.mode == PROTO_EXCL && b.dir.copyset == BIT(2) && !b.dir.wait_write);
}
END_TEST

START_TEST(h19_page_that_others_share_is_not_given)
{
	struct bench b = shared_by(BIT(0) | BIT(1));

	dir_event(&b, PROTO_EV_GIVE, 2);
	expect(&b, PROTO_OK, 0);
}
END_TEST

START_TEST(h20_asking_for_what_one_has_is_answered)
{
	struct bench owned = bench_at(0), shared = shared_by(BIT(1) | BIT(2));

	owned.dir.copyset = BIT(1);
	dir_send(&owned, PROTO_REQ_READ, 1, 0);
	expect(&owned, PROTO_OK, 1);
	ck_assert_uint_eq(expect_send(&owned, 0, PROTO_VOID, BIT(1))->seq, 0);
	dir_send(&owned, PROTO_REQ_WRITE, 1, 0);
	expect_send(&owned, 0, PROTO_VOID, BIT(1));
	dir_send(&shared, PROTO_REQ_READ, 2, 0);
	expect_send(&shared, 0, PROTO_VOID, BIT(2));
	ck_assert(proto_dir_idle(&owned.dir) && proto_dir_idle(&shared.dir));
}
END_TEST

START_TEST(c5_c7_what_was_not_asked_for_says_so)
{
	struct bench read = bench_at(0), write = bench_at(0);

	cache_send(&read, MSG(.type = PROTO_FWD_READ, .flags = PROTO_PUSH, .seq = 4, .requester = 2));
	expect(&read, PROTO_OK, 4); /* PROTECT, LOAD, DATA, DONE to itself */
	ck_assert_uint_eq(expect_send(&read, 2, PROTO_DATA, BIT(2))->flags, PROTO_PUSH);
	expect_send(&read, 3, PROTO_DONE, BIT(0));
	cache_send(&write, MSG(.type = PROTO_FWD_WRITE, .flags = PROTO_PUSH, .seq = 4, .requester = 2));
	expect(&write, PROTO_OK, 5);
	ck_assert_uint_eq(expect_send(&write, 3, PROTO_DATA, BIT(2))->flags, PROTO_PUSH);
}
END_TEST

START_TEST(c25_pushed_copy_is_installed)
{
	struct bench home = cache_with(1, PROTO_NONE, PROTO_NONE), other = home;

	cache_send(&home, PUSHED(PROTO_READ, 0));
	expect(&home, PROTO_OK, 1); /* the home has closed it */
	expect_action(&home, 0, PROTO_INSTALL);
	ck_assert(home.out.action[0].wake && !home.out.action[0].zero && home.out.action[0].right == PROTO_READ);
	cache_send(&other, PUSHED(PROTO_READ, 2));
	expect(&other, PROTO_OK, 2);
	ck_assert_uint_eq(expect_send(&other, 1, PROTO_DONE, BIT(0))->seq, 9);
	ck_assert(other.cache.right == PROTO_READ && proto_cache_idle(&other.cache));
}
END_TEST

START_TEST(c25_request_under_way_goes_on)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_WRITE);

	cache_send(&b, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1)); /* of ours, quicker than what was pushed */
	cache_send(&b, PUSHED(PROTO_READ, 0));
	expect(&b, PROTO_OK, 1);
	ck_assert(b.cache.pending == PROTO_WRITE && b.cache.right == PROTO_READ && b.cache.acked == BIT(3));
	cache_send(&b, MSG(.type = PROTO_GRANT, .seq = 10, .acks = 1, .from = 0, .requester = 1));
	expect(&b, PROTO_OK, 2);
	expect_action(&b, 0, PROTO_UPGRADE);
}
END_TEST

START_TEST(c25_what_cannot_be_pushed_is_a_peer_fault)
{
	struct bench has = cache_with(1, PROTO_READ, PROTO_NONE), none = cache_with(1, PROTO_NONE, PROTO_NONE);
	struct bench begun = cache_with(1, PROTO_NONE, PROTO_WRITE), home = bench_at(0);

	EXPECT_FAULT(has, cache_send(&has, PUSHED(PROTO_READ, 0)));
	EXPECT_FAULT(none, cache_send(&none, PUSHED(PROTO_WRITE, 2))); /* only the home gives a page away */
	cache_send(&begun, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1));
	EXPECT_FAULT(begun, cache_send(&begun, PUSHED(PROTO_WRITE, 0)));
	home.cache.right = PROTO_READ;
	EXPECT_FAULT(home, cache_send(&home, MSG(.type = PROTO_INV, .flags = PROTO_PUSH, .seq = 4, .requester = 2)));
	EXPECT_FAULT(home,
		     cache_send(&home, MSG(.type = PROTO_FWD_WRITE, .flags = PROTO_PUSH, .acks = 1, .seq = 4, .requester = 2)));
	has.ctx.self = 3; /* a node that is not the home is told to give a page to who did not ask */
	EXPECT_FAULT(has, cache_send(&has, MSG(.type = PROTO_FWD_WRITE, .flags = PROTO_PUSH, .seq = 4, .requester = 2)));
}
END_TEST

START_TEST(c17_ack_for_a_page_that_was_given_meanwhile_is_a_peer_fault)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_WRITE);

	cache_send(&b, PUSHED(PROTO_WRITE, 0));
	expect(&b, PROTO_OK, 1);
	EXPECT_FAULT(b, cache_send(&b, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1)));
}
END_TEST

START_TEST(c26_void_ends_the_request)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_READ);

	cache_send(&b, PUSHED(PROTO_READ, 0));
	ck_assert_uint_eq(b.cache.pending, PROTO_READ);
	cache_send(&b, FROM_HOME(PROTO_VOID, 0, 1));
	expect(&b, PROTO_OK, 1);
	expect_action(&b, 0, PROTO_WAKE);
	ck_assert(proto_cache_idle(&b.cache) && b.cache.right == PROTO_READ);
}
END_TEST

START_TEST(c26_void_without_what_was_asked_for_is_a_peer_fault)
{
	struct bench idle = cache_with(1, PROTO_READ, PROTO_NONE), lacks = cache_with(1, PROTO_READ, PROTO_WRITE);
	struct bench begun = cache_with(1, PROTO_NONE, PROTO_WRITE);

	EXPECT_FAULT(idle, cache_send(&idle, FROM_HOME(PROTO_VOID, 0, 1)));
	EXPECT_FAULT(lacks, cache_send(&lacks, FROM_HOME(PROTO_VOID, 0, 1)));
	cache_send(&begun, MSG(.type = PROTO_ACK, .seq = 10, .from = 3, .requester = 1));
	EXPECT_FAULT(begun, cache_send(&begun, FROM_HOME(PROTO_VOID, 0, 1)));
	EXPECT_FAULT(lacks, cache_send(&lacks, FROM_HOME(PROTO_VOID, 3, 1))); /* it has no number */
	EXPECT_FAULT(lacks, cache_send(&lacks, FROM_HOME(PROTO_VOID, 0, 2)));
}
END_TEST

START_TEST(c19_late_pushes_of_a_lost_page_are_dropped)
{
	struct bench b = cache_with(1, PROTO_NONE, PROTO_NONE);

	b.cache.lost = true;
	cache_send(&b, PUSHED(PROTO_READ, 0));
	expect(&b, PROTO_GONE, 0);
	cache_send(&b, FROM_HOME(PROTO_VOID, 0, 1));
	expect(&b, PROTO_GONE, 0);
}
END_TEST

int main(void)
{
	const TTest *const rows[] = {
		h18_copy_is_pushed_by_a_home_that_has_one,
		h18_what_does_not_fit_is_not_pushed,
		h18_with_a_read_that_others_supply_copies_are_pushed_too,
		h18_copy_is_pushed_while_a_read_runs_that_others_supply,
		h18_nothing_is_pushed_to_who_waits_to_write,
		h19_page_of_the_home_alone_is_given,
		h19_page_that_others_share_is_not_given,
		h20_asking_for_what_one_has_is_answered,
		c5_c7_what_was_not_asked_for_says_so,
		c25_pushed_copy_is_installed,
		c25_request_under_way_goes_on,
		c25_what_cannot_be_pushed_is_a_peer_fault,
		c17_ack_for_a_page_that_was_given_meanwhile_is_a_peer_fault,
		c26_void_ends_the_request,
		c26_void_without_what_was_asked_for_is_a_peer_fault,
		c19_late_pushes_of_a_lost_page_are_dropped,
	};

	return bench_run("proto push", rows, ARRAY_SIZE(rows), NULL);
}
