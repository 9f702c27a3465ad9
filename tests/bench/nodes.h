/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes of dsm as it ships, all in this process, over the loop transport, a shard each. If dsm fails or a node is lost the program
 * ends.
 */
#ifndef BENCH_NODES_H
#define BENCH_NODES_H

#include "dsm/dsm.h"
#include "net/loop.h"
#include "tests/bench/bench.h"

struct nodes {
	struct dsm_sink sink;
	node_t n;
	struct loop_net *loop;
	struct dsm *dsm[NODES_MAX];
};

static inline void nodes_on_failed(struct dsm_sink *sink, const char *why)
{
	(void)sink;
	fail(why, 0);
}

static inline void nodes_on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	(void)sink;
	(void)peer;
	fail(why, 0);
}

/* n nodes, home of so many pages each; a message takes as long as `options` says. */
static inline void nodes_start(struct nodes *nodes, node_t n, rpn_t pages, const struct loop_options *options, unsigned without)
{
	rpn_t first[NODES_MAX + 1];
	int rc;

	*nodes = (struct nodes){.sink = {.failed = nodes_on_failed, .lost = nodes_on_lost}, .n = n};
	rc = loop_new(n, 2, options, &nodes->loop);
	if (rc)
		fail("the loop transport cannot be made", rc);
	for (node_t i = 0; i <= n; i++)
		first[i] = i * pages;
	for (node_t i = 0; i < n; i++) {
		struct net_lane *lane = loop_lane(nodes->loop, i, 1);
		struct dsm_config config = {.self = i,
					    .nodes = n,
					    .node_first = first,
					    .shards = 1,
					    .lane = &lane,
					    .without = without,
					    .sink = &nodes->sink};

		rc = dsm_new(&config, &nodes->dsm[i]);
		if (!rc)
			rc = dsm_start(nodes->dsm[i]);
		if (rc)
			fail("dsm cannot be started", rc);
	}
}

static inline void nodes_stop(struct nodes *nodes)
{
	for (node_t i = 0; i < nodes->n; i++)
		dsm_stop(nodes->dsm[i]);
	for (node_t i = 0; i < nodes->n; i++)
		dsm_free(nodes->dsm[i]);
	loop_free(nodes->loop);
}

/* A word of a page as that node sees it. */
static inline volatile uint64_t *nodes_word(const struct nodes *nodes, node_t node, rpn_t page, unsigned index)
{
	return (volatile uint64_t *)(uintptr_t)(dsm_ram(nodes->dsm[node]) + page * PAGE_BYTES) + index;
}

#endif
