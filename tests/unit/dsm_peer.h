/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node of dsm as it ships, node 0, against a peer that the test plays, message by message (node 1); or both nodes as they ship.
 * Home of the first PEER_PAGES pages is node 0, of the next as many node 1. What makes the order of messages hard to foretell is
 * off.
 */
#ifndef UNIT_DSM_PEER_H
#define UNIT_DSM_PEER_H

#include <check.h>
#include <string.h>

#include "tests/unit/dsm_help.h"

#define PEER_PAGES BLOCK_PAGES

/* `here`: 1 or 2 nodes. */
static inline void peer_start(struct cluster *c, unsigned here, unsigned without)
{
	static const rpn_t first[] = {0, PEER_PAGES, 2 * PEER_PAGES};
	struct loop_options options = {.fifo = true};

	*c = (struct cluster){.nodes = 2, .shards = 1, .sink = {.failed = on_failed, .lost = on_lost}};
	ck_assert_int_eq(loop_new(2, 2, &options, &c->loop), 0);
	for (unsigned n = 0; n < here; n++) {
		struct net_lane *lane = loop_lane(c->loop, n, 1);

		cluster_node(c, n, first, &lane, without | DSM_WITHOUT(AHEAD) | DSM_WITHOUT(MIGRATION) | DSM_WITHOUT(DAMPING), 0);
	}
}

struct peer_got {
	struct wire_hdr hdr;
	uint8_t payload[WIRE_RUN_PAYLOAD_MAX];
};

struct peer {
	struct cluster c;
	struct net_sink sink;
	unsigned n; /* messages of the node that the test has not looked at */
	struct peer_got got[8];
	char why[200]; /* that the peer is lost to the node */
	_Atomic bool lost;
};

static inline void peer_on_got(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct peer *p = container_of(sink, struct peer, sink);

	ck_assert_uint_eq(from, 0);
	ck_assert_uint_lt(p->n, ARRAY_SIZE(p->got));
	p->got[p->n].hdr = *hdr;
	if (hdr->len)
		memcpy(p->got[p->n].payload, payload, hdr->len);
	p->n++;
}

/* How many messages there are within so long. */
static inline unsigned peer_wait(struct peer *p, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	p->sink.recv = peer_on_got;
	while (!p->n && clock_ns() < end)
		ck_assert_int_ge(net_poll(loop_lane(p->c.loop, 1, 1), &p->sink), 0);
	return p->n;
}

/* The next message of the node; it must come. */
static inline void peer_next(struct peer *p, struct peer_got *got)
{
	ck_assert_uint_ne(peer_wait(p, 5 * NS_PER_SEC), 0);
	*got = p->got[0];
	memmove(&p->got[0], &p->got[1], --p->n * sizeof(p->got[0]));
}

/* ... and be of that type. */
static inline void peer_expect(struct peer *p, uint8_t type, struct peer_got *got)
{
	peer_next(p, got);
	ck_assert_str_eq(wire_type_name(got->hdr.type), wire_type_name(type));
}

static inline void peer_tell(struct peer *p, rpn_t page, struct wire_hdr hdr, const void *payload)
{
	hdr.epoch = 1;
	hdr.arg = page;
	ck_assert_int_eq(net_send(loop_lane(p->c.loop, 1, 1), 0, &hdr, payload), 0);
}

static inline void peer_on_lost(struct dsm_sink *sink, node_t node, const char *why)
{
	struct peer *p = container_of(sink, struct peer, c.sink);

	ck_assert_uint_eq(node, 1);
	snprintf(p->why, sizeof(p->why), "%s", why);
	atomic_store(&p->lost, true);
}

#endif
