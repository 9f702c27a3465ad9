/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the protocol walker checks in each world, in each step, and where nothing moves any more; and what a walk is. For
 * model_proto.c alone; one thread. A check that fails says so with broken(), the first time, and the walk ends.
 */
#ifndef TESTS_MODEL_PROTO_CHECKS_H
#define TESTS_MODEL_PROTO_CHECKS_H

#include <stdarg.h>

#include "tests/model/proto_world.h"

enum mutation {
	MUT_NONE,
	MUT_DROP_INV,
	MUT_DROP_DONE,
	MUT_SKIP_PROTECT,
	MUT_SKIP_UNMAP,
	MUT_LOAD_FIRST,
	MUT_SEND_FIRST,
	MUT_WRITE_EARLY,
	MUT_ACKS_SHORT,
	MUT_DATA_TWICE,
	MUT_OLD_BYTES,
	MUT_NO_WAKE,
	MUT_HOME_NOT_TOLD,
	MUT_OVERTAKE,
	MUT_DROP_DROP,
	MUT_SILENT_DROP,
	MUT_LAST_DROPPED,
	MUT_DROP_VOID,
	MUT_SILENT_PUSH,
	MUT_RELAY_FORGETS,
	MUT_EARLY_OBEYED,
	MUT_EARLY_DROPPED,
	MUT_END
};

static const char *const mutation_names[MUT_END] = {
	[MUT_DROP_INV] = "an INV vanishes",
	[MUT_DROP_DONE] = "a DONE vanishes",
	[MUT_SKIP_PROTECT] = "PROTECT is skipped",
	[MUT_SKIP_UNMAP] = "UNMAP is skipped",
	[MUT_LOAD_FIRST] = "LOAD before PROTECT",
	[MUT_SEND_FIRST] = "SEND before UNMAP",
	[MUT_WRITE_EARLY] = "writable before the last ACK",
	[MUT_ACKS_SHORT] = "one ACK too few is asked for",
	[MUT_DATA_TWICE] = "DATA is doubled",
	[MUT_OLD_BYTES] = "DATA carries old bytes",
	[MUT_NO_WAKE] = "the end of a request wakes nobody",
	[MUT_HOME_NOT_TOLD] = "the home never hears of a lost node",
	[MUT_OVERTAKE] = "messages overtake each other",
	[MUT_DROP_DROP] = "a DROP vanishes",
	[MUT_SILENT_DROP] = "a copy is dropped without a word",
	[MUT_LAST_DROPPED] = "the last copy is dropped, not adopted",
	[MUT_DROP_VOID] = "a VOID vanishes",
	[MUT_SILENT_PUSH] = "a copy is pushed without the directory",
	[MUT_RELAY_FORGETS] = "an INV is not passed on",
	[MUT_EARLY_OBEYED] = "an early INV is answered at once",
	[MUT_EARLY_DROPPED] = "an early INV is dropped",
};

struct run {
	const char *name;
	node_t nodes;
	uint32_t pages;
	uint32_t faults; /* 0: any number */
	bool loss;
	bool push;  /* the home pushes and gives, at any time, to anyone */
	bool relay; /* INVs may be passed on */
	enum mutation mutation;
};

struct walk {
	const struct run *run;
	struct seen seen;
	uint64_t transitions;
	uint32_t now; /* the world being expanded */
	char broken[160];
};

static inline void broken(struct walk *walk, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void broken(struct walk *walk, const char *fmt, ...)
{
	va_list ap;

	if (walk->broken[0])
		return;
	va_start(ap, fmt);
	vsnprintf(walk->broken, sizeof(walk->broken), fmt, ap);
	va_end(ap);
}

static inline struct proto_ctx ctx_of(const struct walk *walk, uint32_t page, node_t self)
{
	return (struct proto_ctx){.self = self, .home = page, .nodes = walk->run->nodes, .epoch = EPOCH};
}

static inline void print_trace(const struct walk *walk, uint32_t index)
{
	struct world world;

	if (walk->seen.one[index].depth)
		print_trace(walk, walk->seen.one[index].parent);
	seen_get(&walk->seen, index, walk->run->nodes, walk->run->pages, &world);
	printf("  %u:\n", walk->seen.one[index].depth);
	world_print(&world, walk->run->nodes, walk->run->pages);
}

/* ---- What is checked ---- */

/* On the critical path: at most three. */
static inline int hop(uint8_t type)
{
	switch (type) {
	case PROTO_REQ_READ:
	case PROTO_REQ_WRITE:
	case PROTO_OFFER:
	case PROTO_DONE: /* of the transaction before: stands for the request it lets in */
		return 1;
	case PROTO_FWD_READ:
	case PROTO_FWD_WRITE:
	case PROTO_FWD_GRANT:
	case PROTO_INV:
	case PROTO_GRANT:
	case PROTO_DROP:
	case PROTO_VOID:
		return 2;
	case PROTO_DATA:
	case PROTO_ACK:
		return 3;
	default:
		return 0;
	}
}

/* The home's cache passes a GRANT on: the same hop as the ACK that it stands for. An INV that is passed on is the one that takes a
 * hop more. */
static inline bool hop_follows(uint8_t type, int before)
{
	return hop(type) == before + 1 || ((type == PROTO_GRANT || type == PROTO_INV) && before == 2);
}

static inline void check_hops(struct walk *walk, const struct proto_event *cause, const struct proto_actions *out)
{
	int before = cause->type == PROTO_EV_MSG ? hop(cause->msg.type) : 0;

	if (cause->type == PROTO_EV_PUSH || cause->type == PROTO_EV_GIVE)
		before = 1; /* stands for the request that it spares */

	for (uint32_t i = 0; i < out->n; i++) {
		uint8_t type = out->action[i].msg.type;

		if (out->action[i].type == PROTO_SEND && type != PROTO_DONE && type != PROTO_LOST && !hop_follows(type, before))
			broken(walk, "three hops: %s makes %s", proto_msg_name(cause->msg.type), proto_msg_name(type));
	}
}

static inline bool wakes(const struct proto_actions *out)
{
	for (uint32_t i = 0; i < out->n; i++)
		if (out->action[i].type == PROTO_UPGRADE || out->action[i].type == PROTO_FAIL ||
		    out->action[i].type == PROTO_WAKE || (out->action[i].type == PROTO_INSTALL && out->action[i].wake))
			return true;
	return false;
}

/* The home's last word of a transaction: it is over for the home, not yet for the requester. */
static inline bool is_last_word(const struct proto_msg *msg, node_t home)
{
	return (msg->type == PROTO_DATA || msg->type == PROTO_GRANT) && msg->from == home && !msg->acks;
}

/* The right that a node has when it has heard the last word that is under way to it. */
static uint8_t right_to_be(const struct page *page, node_t home, node_t n)
{
	uint8_t right = page->at[n].cache.right;

	for (uint32_t f = 0; f < page->flights; f++) /* of several the last counts */
		if (page->flight[f].to == n && is_last_word(&page->flight[f].msg, home))
			right = page->flight[f].msg.type == PROTO_GRANT ? PROTO_WRITE : page->flight[f].msg.right;
	return right;
}

static inline void check_world(struct walk *walk, const struct world *world)
{
	for (uint32_t i = 0; i < walk->run->pages; i++) {
		const struct page *page = &world->page[i];
		unsigned writers = 0, readers = 0, holders = 0, owners = 0;

		for (node_t n = 0; n < walk->run->nodes; n++) {
			const struct place *p = &page->at[n];

			writers += p->view == PROTO_WRITE;
			readers += p->view == PROTO_READ;
			holders |= (unsigned)(right_to_be(page, i, n) != PROTO_NONE) << n;
			owners += right_to_be(page, i, n) == PROTO_WRITE;
			if (p->view != PROTO_NONE && p->bytes != BYTES_LAST)
				broken(walk, "D2: node %u can read bytes that are not the last writer's", n);
			if (!p->todos && p->view != p->cache.right)
				broken(walk, "the view of node %u does not show its right", n);
		}
		if (writers > 1 || (writers && readers))
			broken(walk, "D1: %u writable and %u read-only copies", writers, readers);
		if (world->dead || page->dir.busy)
			continue;
		if (page->dir.copyset != holders || (page->dir.mode == PROTO_EXCL) != (owners == 1))
			broken(walk, "a directory at rest is wrong about who holds the page");
	}
}

/* D7: a message of an old epoch changes nothing; an INV is answered. */
static inline void check_stale(struct walk *walk, const struct world *world)
{
	for (node_t n = 0; n < walk->run->nodes; n++) {
		struct proto_ctx ctx = ctx_of(walk, 0, n);
		struct proto_event ev = {.type = PROTO_EV_MSG, .msg = {.epoch = EPOCH - 1, .from = (n + 1) % walk->run->nodes}};
		struct proto_dir dir = world->page[0].dir;
		struct proto_cache cache = world->page[0].at[n].cache;
		struct proto_actions out;

		for (ev.msg.type = PROTO_REQ_READ; ev.msg.type < PROTO_MSG_END; ev.msg.type++) {
			bool data = ev.msg.type == PROTO_DATA, inv = ev.msg.type == PROTO_INV;

			ev.msg.right = data ? PROTO_WRITE : 0;
			ev.msg.flags = data ? PROTO_ZERO : 0;
			if (proto_cache_step(&cache, &ctx, &ev, &out) != PROTO_STALE || out.n != inv)
				broken(walk, "D7: an old %s at the cache", proto_msg_name(ev.msg.type));
			if (n == 0 && (proto_dir_step(&dir, &ctx, &ev, &out) != PROTO_STALE || out.n != inv))
				broken(walk, "D7: an old %s at the directory", proto_msg_name(ev.msg.type));
		}
		if (memcmp(&dir, &world->page[0].dir, sizeof(dir)) || memcmp(&cache, &world->page[0].at[n].cache, sizeof(cache)))
			broken(walk, "D7: an old message changed the state");
	}
}

/* One that is passed on is as much again for each who gets it. */
static uint32_t rank_of(const uint8_t *of_msg, const struct proto_msg *msg)
{
	return of_msg[msg->type] + 8u * (uint32_t)__builtin_popcountll(msg->pass);
}

/* Falls with each delivery and each action. The faults, guest writes and deaths that raise it are the environment's. */
static uint32_t rank(const struct walk *walk, const struct world *world)
{
	static const uint8_t of_msg[PROTO_MSG_END] = {
		[PROTO_REQ_READ] = 64, [PROTO_REQ_WRITE] = 64, [PROTO_FWD_READ] = 12, [PROTO_FWD_WRITE] = 12, [PROTO_INV] = 6,
		[PROTO_ACK] = 2,       [PROTO_DATA] = 4,       [PROTO_GRANT] = 3,     [PROTO_DONE] = 1,       [PROTO_LOST] = 2,
		[PROTO_FWD_GRANT] = 9, [PROTO_OFFER] = 92,     [PROTO_DROP] = 6,      [PROTO_VOID] = 2,
	};
	uint32_t sum = 0;

	for (uint32_t i = 0; i < walk->run->pages; i++) {
		const struct page *page = &world->page[i];

		sum += 60u * (uint32_t)__builtin_popcountll(page->dir.wait_read | page->dir.wait_write);
		for (uint32_t f = 0; f < page->flights; f++)
			sum += rank_of(of_msg, &page->flight[f].msg);
		for (node_t n = 0; n < walk->run->nodes; n++) {
			const struct place *p = &page->at[n];

			sum += p->cache.pending ? 8 : 0;
			for (uint32_t t = 0; t < p->todos; t++) {
				const struct proto_action *a = &p->todo[t].action;

				sum += 1u + (a->type == PROTO_SEND
						     ? rank_of(of_msg, &a->msg) * (uint32_t)__builtin_popcountll(a->to)
						     : 0);
			}
		}
	}
	if (world->dead)
		sum += 100u * (walk->run->nodes - 1 - (uint32_t)__builtin_popcount(world->told));
	return sum;
}

static inline void check_end(struct walk *walk, const struct world *world)
{
	for (uint32_t i = 0; i < walk->run->pages; i++) {
		const struct page *page = &world->page[i];

		if (page->flights)
			broken(walk, "deadlock: an early INV whose copy nobody will send");
		if (page->dir.busy || page->dir.wait_read || page->dir.wait_write)
			broken(walk, "deadlock: the directory waits for a message that nobody will send");
		for (node_t n = 0; n < walk->run->nodes; n++)
			if (page->at[n].cache.pending)
				broken(walk, "deadlock: node %u waits for an answer that nobody will send", n);
	}
}

#endif
