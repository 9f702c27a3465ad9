/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distributed shared memory of one node: guest RAM of the whole machine as this node sees it.
 *
 *      vCPU faults --> userfaultfd --> shard thread --> proto step --> messages to home, owner, sharers
 *                                          ^                                |
 *                  page installed, woken --+---------- DATA, GRANT, ACK <---+
 *
 * A shard is one thread, one userfaultfd and one lane of the fabric; every 2 MiB block belongs to one shard, so the state of a
 * page is touched by one thread only and needs no lock. A shard thread never touches the guest view (D5), never waits for
 * another node, allocates nothing.
 *
 * dsm does not know vCPUs: who faults is only a thread asleep. With one node there are no shards: plain memory.
 *
 * dsm_new .. dsm_start .. dsm_stop .. [dsm_reset .. dsm_start ..] dsm_free, all by the thread that controls the machine.
 */
#ifndef DSM_DSM_H
#define DSM_DSM_H

#include "base/activity.h"
#include "dsm/stats.h"
#include "dsm/view.h"
#include "net/net.h"

#define DSM_REQUEST_TIMEOUT_NS (10 * NS_PER_SEC)
#define DSM_TICK_NS            NS_PER_SEC
/* In the simulator relays are slower with 20 copies and quicker with 24 (costs of TCP), or slower with 24 and quicker with 32
 * (RDMA). */
#define DSM_RELAYS_FROM 24u

/* Optimisations that can be switched off, to see what each is worth. Name for people, and what it is, for who reads this. The order
 * is the wire's. */
#define DSM_OPTIMISATIONS(X)                                                                            \
	X(REPLICAS, "replicas", "page tables that go round are lent to all nodes; only with one shard") \
	X(DAMPING, "damping", "a page that several nodes want is kept for a moment")                    \
	X(MIGRATION, "migration", "who reads a page that migrates gets it writable at once")            \
	X(AHEAD, "ahead", "pages that a stream of faults will want are asked for ahead")                \
	X(BLOCKS, "blocks", "who asks first for a page of a block that nobody used gets all of it")     \
	X(MERGING, "merging", "a block that is one node's again becomes a huge page again")             \
	X(PUSHES, "pushes", "a page that many read goes to all of them once one has asked again")       \
	X(DELTA, "delta", "of a page that goes round only what has changed is sent")                    \
	X(RUNS, "runs", "neighbours that are asked for ahead go together")                              \
	X(RELAYS, "relays", "of many copies some pass the order to give them up on to others")

enum dsm_optimisation {
#define BIT(id, name, text) DSM_BIT_##id,
	DSM_OPTIMISATIONS(BIT)
#undef BIT
		DSM_OPTIMISATION_END
};
#define DSM_WITHOUT(id) (1u << DSM_BIT_##id)

/* "replicas"; NULL from DSM_OPTIMISATION_END on. */
const char *dsm_optimisation_name(unsigned bit);

/* What the machine must know of; called once, by a shard thread; returns at once. The shard stops serving: so must the VM. */
struct dsm_sink {
	void (*failed)(struct dsm_sink *sink, const char *why);
	void (*lost)(struct dsm_sink *sink, node_t peer, const char *why);
};

struct dsm_config {
	node_t self, nodes;
	const rpn_t *node_first; /* node n is home of [node_first[n], node_first[n+1]): nodes + 1 entries, copied; whole blocks */
	unsigned shards;         /* [1, SHARDS_MAX]; ignored with one node */
	struct net_lane **lane;  /* [shards], taken over by dsm_new whatever it returns; ignored with one node */
	rpn_t low_pages;         /* the guest sees page p < low_pages at p << 12, */
	gpa_t high_gpa;          /* and the others from here on */
	unsigned without;        /* DSM_WITHOUT bits: optimisations that are off; the same on all nodes */
	uint64_t budget_bytes;   /* what this node's process may have resident (evict.h); 0: no bound */
	uint64_t files_bytes; /* of the budget: what the process keeps resident beside guest RAM and dsm, such as a kernel image */
	unsigned relays_from; /* of how many copies some pass the order to give them up on (proto.h); 0: DSM_RELAYS_FROM */
	uint64_t poll_ns;     /* how long a shard polls before it sleeps */
	uint64_t tick_ns;     /* how long at least a block has to be quiet before it is merged; 0: DSM_TICK_NS */
	const struct guest_activity *activity; /* of this node's vCPUs; NULL: they may have run at any time */
	struct dsm_sink *sink;
};

struct dsm;

/* The least budget of a node that is home of `home` of the `pages` of a machine: its own pages, what the program needs, and some
 * room for others' pages. */
uint64_t dsm_budget_min(uint64_t home, uint64_t pages, unsigned shards);
/* -errno, logged. -EINVAL: a budget below that. */
CHECKED int dsm_new(const struct dsm_config *config, struct dsm **out);
void dsm_free(struct dsm *dsm);

CHECKED int dsm_start(struct dsm *dsm);
void dsm_stop(struct dsm *dsm); /* joins the threads; faults wait until dsm_start */
/* All RAM becomes zero and goes home. Stopped; no vCPU of any node runs. Messages of older epochs are dropped from now on. */
CHECKED int dsm_reset(struct dsm *dsm, uint16_t epoch);

/* The guest view: page p at dsm_ram() + p * PAGE_BYTES. */
uint8_t *dsm_ram(const struct dsm *dsm);

/* A vCPU here walks the page tables at this CR3. Any thread. A hint, from time to time. */
void dsm_root(struct dsm *dsm, uint64_t cr3, bool five_levels);
/* Before anything leaves by another lane by which a node could learn of what this thread has written (R1 in replica.h): an
 * interrupt, an access to a device. Waits for other nodes' shards only. -ETIMEDOUT. */
CHECKED int dsm_release(struct dsm *dsm);

/* Copies [at, at+len) of RAM, counted in its pages one after the other, as this node has it now: zeros where it has nothing, and
 * older bytes nowhere, as what others write is not here. For looking from outside only. Asks no other node and never waits for
 * one; any thread. -ERANGE: beyond RAM; -errno. */
CHECKED int dsm_peek(const struct dsm *dsm, uint64_t at, void *buf, size_t len);
/* The first page at or after `page` of which this node has anything; the number of all pages if there is none. As dsm_peek. */
rpn_t dsm_next(const struct dsm *dsm, rpn_t page);

/* Any thread; counters are of slightly different moments. */
void dsm_stats(const struct dsm *dsm, struct dsm_stats *out);

#endif
