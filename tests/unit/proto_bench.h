/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bench for one page of the protocol: both machines of one of four nodes, of which node 0 is the home.
 * Sends events in, keeps what came out, and says what was expected. For tests/unit/test_proto*.c.
 */
#ifndef TESTS_UNIT_PROTO_BENCH_H
#define TESTS_UNIT_PROTO_BENCH_H

#include <check.h>
#include <signal.h>

#include "dsm/proto.h"
#include "tests/unit/check_main.h"

#define EPOCH  5u
#define BIT(n) ((uint64_t)1 << (n))

struct bench {
	struct proto_ctx ctx;
	struct proto_dir dir;
	struct proto_cache cache;
	struct proto_actions out;
	enum proto_verdict verdict;
};

static inline struct bench bench_at(node_t self)
{
	struct bench b = {.ctx = {.self = self, .home = 0, .nodes = 4, .epoch = EPOCH}};

	proto_dir_init(&b.dir, &b.ctx);
	proto_cache_init(&b.cache, &b.ctx);
	return b;
}

static inline void dir_send(struct bench *b, enum proto_msg_type type, node_t from, uint32_t seq)
{
	struct proto_event ev = {.type = PROTO_EV_MSG};

	ev.msg = (struct proto_msg){.type = (uint8_t)type, .epoch = EPOCH, .seq = seq, .from = from, .requester = from};
	b->verdict = proto_dir_step(&b->dir, &b->ctx, &ev, &b->out);
}

static inline void cache_send(struct bench *b, struct proto_msg msg)
{
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = msg};

	ev.msg.epoch = EPOCH;
	b->verdict = proto_cache_step(&b->cache, &b->ctx, &ev, &b->out);
}

static inline void cache_event(struct bench *b, enum proto_event_type type, node_t peer)
{
	struct proto_event ev = {.type = (uint8_t)type, .peer = peer};

	b->verdict = proto_cache_step(&b->cache, &b->ctx, &ev, &b->out);
}

static inline void dir_event(struct bench *b, enum proto_event_type type, node_t peer)
{
	struct proto_event ev = {.type = (uint8_t)type, .peer = peer};

	b->verdict = proto_dir_step(&b->dir, &b->ctx, &ev, &b->out);
}

/* The home's cache has supplied `requester`, without anyone else to wait for. */
static inline void dir_close(struct bench *b, node_t requester, uint32_t seq)
{
	struct proto_event ev = {.type = PROTO_EV_MSG};

	ev.msg = (struct proto_msg){.type = PROTO_DONE, .epoch = EPOCH, .seq = seq, .from = b->ctx.home, .requester = requester};
	b->verdict = proto_dir_step(&b->dir, &b->ctx, &ev, &b->out);
}

/* A page that the nodes of `set` share, idle. */
static inline struct bench shared_by(uint64_t set)
{
	struct bench b = bench_at(0);

	b.dir.copyset = set;
	b.dir.mode = PROTO_SHARED;
	return b;
}

/* Node `self` with this right, waiting for `pending`. */
static inline struct bench cache_with(node_t self, enum proto_right right, enum proto_right pending)
{
	struct bench b = bench_at(self);

	b.cache = (struct proto_cache){.right = (uint8_t)right, .pending = (uint8_t)pending};
	return b;
}

static inline void expect(const struct bench *b, enum proto_verdict verdict, uint32_t actions)
{
	ck_assert_str_eq(proto_verdict_name(b->verdict), proto_verdict_name(verdict));
	ck_assert_uint_eq(b->out.n, actions);
}

static inline void expect_action(const struct bench *b, uint32_t i, enum proto_action_type type)
{
	ck_assert_uint_lt(i, b->out.n);
	ck_assert_uint_eq(b->out.action[i].type, type);
}

static inline const struct proto_msg *expect_send(const struct bench *b, uint32_t i, enum proto_msg_type type, uint64_t to)
{
	expect_action(b, i, PROTO_SEND);
	ck_assert_str_eq(proto_msg_name(b->out.action[i].msg.type), proto_msg_name((uint8_t)type));
	ck_assert_uint_eq(b->out.action[i].to, to);
	ck_assert_uint_eq(b->out.action[i].msg.epoch, EPOCH);
	return &b->out.action[i].msg;
}

/* A peer's fault leaves everything as it was. */
#define EXPECT_FAULT(b, step)                                        \
	do {                                                         \
		struct proto_dir dir = (b).dir;                      \
		struct proto_cache cache = (b).cache;                \
		step;                                                \
		expect(&(b), PROTO_PEER_FAULT, 0);                   \
		ck_assert_mem_eq(&dir, &(b).dir, sizeof(dir));       \
		ck_assert_mem_eq(&cache, &(b).cache, sizeof(cache)); \
	} while (0)

#define MSG(...) ((struct proto_msg){__VA_ARGS__})
#define DATA(grant, n) \
	MSG(.type = PROTO_DATA, .flags = PROTO_HAS_DATA, .right = (grant), .acks = (n), .seq = 9, .from = 2, .requester = 1)
#define GRANT(n)           MSG(.type = PROTO_GRANT, .acks = (n), .seq = 9, .from = 0, .requester = 1)
#define ACK(sharer)        MSG(.type = PROTO_ACK, .seq = 9, .from = (sharer), .requester = 1)
#define FROM_HOME(t, s, r) MSG(.type = (t), .seq = (s), .from = 0, .requester = (r))

/* Runs the tests and returns main's result. abort_row, if any, must end in an assert. */
static inline int bench_run(const char *name, const TTest *const *rows, size_t n, const TTest *abort_row)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create("rows");

	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, rows[i]);
	if (abort_row)
		tcase_add_test_raise_signal(tc, abort_row, SIGABRT);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}

#endif
