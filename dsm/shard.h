/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shard: the thread that serves the faults and messages of its blocks. Private to dsm; see dsm.h.
 *
 * What a shard keeps of a page: a byte for the local right, twelve for the directory entry where this node is home, both
 * packed while nothing goes on (in arrays that cost memory only where they are used), and a full state machine in a pool
 * while something does.
 */
#ifndef DSM_SHARD_H
#define DSM_SHARD_H

#include <pthread.h>

#include "dsm/damping.h"
#include "dsm/dsm.h"
#include "dsm/evict.h"
#include "dsm/kept.h"
#include "dsm/loading.h"
#include "dsm/pagetab.h"
#include "dsm/polling.h"
#include "dsm/proto.h"
#include "dsm/push.h"
#include "dsm/replica.h"
#include "dsm/run.h"
#include "dsm/stream.h"

#define SHARD_PENDING  1024u /* faults of this node under way; its threads that can fault are fewer */
#define SHARD_BUSY_MIN 4096u /* room for pages homed here in transactions, at least; shard_busy says how much */
#define SHARD_LOOPBACK 128u  /* a FWD_READ for each other node, and what else a step sends */
#define SHARD_HELD     512u
#define SHARD_DAMPED   256u /* of the held ones: those that may wait, and not must */

/* What a node knows of a block (blocks.h), also of one of another home. Its shard's. */
struct block {
	bool whole;    /* not registered, every page is this node's */
	bool shared;   /* it was in pages once; read by dsm_stats, too */
	bool taken;    /* it was given to this node and is not whole yet */
	uint8_t quiet; /* ticks without a message after which it is merged; 0: it never was */
	uint32_t tick; /* of the last message */
};

/* What all shards of a node share; written before they start, each page's entries by its shard only. */
struct dsm {
	struct dsm_config config;
	rpn_t node_first[NODES_MAX + 1];
	uint16_t epoch;
	struct view *view;
	uint64_t room;                   /* frames beside those of this home's pages; 0: no budget */
	uint8_t *cache;                  /* [pages] proto_cache_pack */
	struct proto_dir_packed *dir;    /* [pages of this home] */
	uint8_t *history;                /* [pages of this home] history.h */
	struct block *block;             /* [blocks] */
	uint64_t cache_bytes, dir_bytes; /* of the arrays */
	unsigned shards;
	struct shard *shard;
};

/* A home's transactions: what all nodes may ask for at once, and as many again that they are done with, or offer. A power of two.
 */
static inline uint32_t shard_busy(node_t nodes)
{
	uint32_t n = SHARD_BUSY_MIN;

	while (n < 2 * nodes * SHARD_PENDING)
		n *= 2;
	return n;
}

static inline bool dsm_with(const struct dsm *dsm, unsigned without)
{
	return !(dsm->config.without & without);
}

struct shard_pending {
	struct proto_cache cache;
	uint64_t asked_ns; /* when the home was asked */
	uint64_t since_ns; /* since when a thread waits, as far as we know */
	bool write;
	bool ahead; /* no thread waits for it, as far as we know */
};

/* An order to give a page up that waits a moment (damping.h), or for the copy that it is about (PROTO_EARLY). */
struct shard_held {
	uint64_t due_ns; /* HOLD_EARLY (hold.h): after the page's next message */
	rpn_t page;
	struct proto_msg msg;
};

struct shard_self {
	rpn_t page;
	bool ahead; /* struct work */
	struct proto_msg msg;
};

struct shard {
	struct net_sink sink;
	struct dsm *dsm;
	unsigned index;
	uint32_t looks; /* while it polls, */
	struct net_lane *lane;
	pthread_t thread;
	bool running;
	bool failed; /* told the machine; serves no more */
	int epoll_fd;
	int stop_fd; /* eventfd: leave */
	int tick_fd; /* timerfd, every tick_fd_ns: look at what has no descriptor */
	uint64_t tick_fd_ns;
	uint64_t next_check_ns;
	struct polling polling;

	struct pagetab pending_tab, busy_tab;
	struct shard_pending *pending;
	struct proto_dir *busy;
	struct shard_self self[SHARD_LOOPBACK]; /* messages to this node itself, in order */
	uint32_t self_first, self_count;
	struct damping damping;
	struct streams streams;
	struct pushes pushes;
	struct evict evict;
	struct kept kept;
	struct shard_runs runs;
	uint64_t with_room; /* nodes whose last request said that they have frames to spare */
	rpn_t block_hand;   /* where block_look goes on */
	uint64_t next_blocks_ns;
	uint32_t tick; /* of the monotonic clock, dsm_config.tick_ns each, when block_look last looked */
	struct shard_held held[SHARD_HELD];
	uint32_t held_count, held_early;
	struct loading loading;
	struct replicas replicas;
	uint8_t *replica_bytes; /* one page: of a replica on its way back */
	struct dsm_stats stats; /* written by this thread, read by any: relaxed atomics */
};

/* -errno, logged. Takes the lane over, also when it fails. */
CHECKED int shard_init(struct shard *shard, struct dsm *dsm, unsigned index, struct net_lane *lane);
/* A fault that has its frame. */
void shard_fault(struct shard *shard, const struct view_fault *fault);
/* One message of one page that is the shard's, for run.h. */
void shard_message(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload);
void shard_destroy(struct shard *shard);
CHECKED int shard_start(struct shard *shard);
void shard_stop(struct shard *shard);
void shard_reset(struct shard *shard);
/* The faults, the messages that are there now; whether there was one. What the shard's thread does when it wakes; also for the
 * simulator (tests/sim), which has no threads. What they send goes out in shard_flush, which must follow. */
void shard_flush(struct shard *shard);
bool shard_serve_faults(struct shard *shard);
bool shard_serve_messages(struct shard *shard);
/* Does what has waited for its moment. Returns when the next is, or 0. */
uint64_t shard_release(struct shard *shard);

/* ---- for replica.c, on the shard's thread ---- */

void shard_fail(struct shard *shard, const char *why);
void shard_count(uint64_t *counter, uint64_t n);
/* Sends now, or, if R1 says so, later. */
void shard_post(struct shard *shard, node_t to, const struct wire_hdr *hdr, const uint8_t *payload);
void shard_post_now(struct shard *shard, node_t to, const struct wire_hdr *hdr, const uint8_t *payload);
node_t shard_home(const struct shard *shard, rpn_t page);
gpa_t shard_gpa(const struct shard *shard, rpn_t page);
/* The node's last request said so. */
static inline bool shard_has_room(const struct shard *shard, node_t node)
{
	return shard->with_room >> node & 1;
}
/* True if the address is RAM, its page is this shard's and this node has its valid bytes. */
bool shard_readable(const struct shard *shard, gpa_t gpa, rpn_t *page);
/* A request that waited for the end of a recall. */
CHECKED int shard_request(struct shard *shard, node_t from, rpn_t page, bool write);
/* Borrower: the page that was asked for came as a replica. -EPROTO: it was not asked for. */
CHECKED int shard_borrow(struct shard *shard, rpn_t page, const uint8_t *bytes);
void shard_returned(struct shard *shard, rpn_t page);

#endif
