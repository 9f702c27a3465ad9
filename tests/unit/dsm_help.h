/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of dsm as it ships share: several nodes in one process, threads that stand for vCPUs, and a seed, which each test
 * prints. If dsm fails or a peer is lost the test ends at once with a line on stderr: threads sleep in faults that nobody will
 * serve.
 */
#ifndef UNIT_DSM_HELP_H
#define UNIT_DSM_HELP_H

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "net/loop.h"

#define NODES 3u

struct cluster {
	struct dsm_sink sink;
	unsigned nodes, shards;
	unsigned relays_from;  /* as in dsm_config */
	struct loop_net *loop; /* NULL: TCP */
	struct dsm *dsm[NODES];
	bool counted; /* what stands for vCPUs says when it runs, in: */
	struct activity_count passes[NODES];
	struct guest_activity activity[NODES];
	_Atomic bool ending; /* a lost peer is no news: connections end in some order */
	/* test_dsm_evict.c's */
	int file[NODES]; /* of guest RAM */
	uint64_t frames; /* that a node may have */
	pthread_t sampler;
	_Atomic uint64_t peak[NODES];
};

struct racer {
	struct cluster *c;
	unsigned node, rounds;
	uint64_t random, added;
	pthread_t thread;
};

/* $PANGEA_SEED, or another each time. Printed before anything can fail, in whichever thread. */
static inline uint64_t seed_of(const char *test)
{
	const char *text = getenv("PANGEA_SEED");
	uint64_t s = text ? strtoull(text, NULL, 0) : clock_tsc();

	printf("%s: seed %llu\n", test, (unsigned long long)s);
	fflush(stdout);
	return s;
}
#define seed() seed_of(__func__)

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void on_failed(struct dsm_sink *sink, const char *why)
{
	(void)sink;
	fprintf(stderr, "dsm failed: %s\n", why);
	_exit(1);
}

static inline void on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	if (atomic_load(&container_of(sink, struct cluster, sink)->ending))
		return;
	fprintf(stderr, "node %u lost: %s\n", peer, why);
	_exit(1);
}

/* Node n, over its lanes (taken over): the first[]s are the pages of the nodes. */
static inline void cluster_node(struct cluster *c, unsigned n, const rpn_t *first, struct net_lane **lane, unsigned without,
				uint64_t tick_ns)
{
	struct dsm_config config = {.self = n,
				    .nodes = c->nodes,
				    .node_first = first,
				    .shards = c->shards,
				    .lane = lane,
				    .without = without,
				    .relays_from = c->relays_from,
				    .tick_ns = tick_ns,
				    .activity = c->counted ? &c->activity[n] : NULL,
				    .sink = &c->sink};

	c->activity[n] = (struct guest_activity){.n = 1, .vcpu = &c->passes[n]};
	ck_assert_int_eq(dsm_new(&config, &c->dsm[n]), 0);
	ck_assert_int_eq(dsm_start(c->dsm[n]), 0);
}

/* All nodes stop; what they have counted and their memory are still there. */
static inline void cluster_halt(struct cluster *c)
{
	atomic_store(&c->ending, true);
	for (unsigned n = 0; n < c->nodes; n++)
		dsm_stop(c->dsm[n]);
}

static inline void cluster_free(struct cluster *c)
{
	for (unsigned n = 0; n < c->nodes; n++)
		dsm_free(c->dsm[n]);
	loop_free(c->loop);
}

static inline void cluster_stop(struct cluster *c)
{
	cluster_halt(c);
	cluster_free(c);
}

/* As a machine's reset does: all nodes stop, forget, and start in epoch 2. */
static inline void cluster_reset(struct cluster *c)
{
	for (unsigned n = 0; n < c->nodes; n++)
		dsm_stop(c->dsm[n]);
	for (unsigned n = 0; n < c->nodes; n++)
		ck_assert_int_eq(dsm_reset(c->dsm[n], 2), 0);
	for (unsigned n = 0; n < c->nodes; n++)
		ck_assert_int_eq(dsm_start(c->dsm[n]), 0);
}

/* What one node has counted. */
static inline struct dsm_stats stats_of(const struct cluster *c, unsigned node)
{
	struct dsm_stats stats;

	dsm_stats(c->dsm[node], &stats);
	return stats;
}

/* What all of them have. */
static inline struct dsm_stats stats_of_all(const struct cluster *c)
{
	struct dsm_stats all = {0};

	for (unsigned n = 0; n < c->nodes; n++) {
		struct dsm_stats one = stats_of(c, n);

		dsm_stats_add(&all, &one);
	}
	return all;
}

/* A thread a node runs `program`; the racers' rounds and random numbers are set. Returns when all are through. */
static inline void run_racers(struct racer *racer, unsigned n, void *(*program)(void *))
{
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&racer[i].thread, NULL, program, &racer[i]), 0);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(pthread_join(racer[i].thread, NULL), 0);
}

static inline volatile uint64_t *word(struct cluster *c, unsigned node, rpn_t page, unsigned index)
{
	return (volatile uint64_t *)(dsm_ram(c->dsm[node]) + page * PAGE_BYTES) + index;
}

#endif
