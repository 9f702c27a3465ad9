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
#include "dsm/pagetab.h"
#include "dsm/proto.h"

#define SHARD_PENDING  1024u /* faults of this node under way; its threads that can fault are fewer */
#define SHARD_BUSY     4096u /* pages homed here in transactions */
#define SHARD_LOOPBACK 64u
#define SHARD_HELD     256u

/* What all shards of a node share; written before they start, each page's entries by its shard only. */
struct dsm {
	struct dsm_config config;
	rpn_t node_first[NODES_MAX + 1];
	uint16_t epoch;
	struct view *view;
	uint8_t *cache;                  /* [pages] proto_cache_pack */
	struct proto_dir_packed *dir;    /* [pages of this home] */
	uint8_t *split;                  /* [blocks of this home] */
	uint64_t cache_bytes, dir_bytes; /* of the arrays */
	unsigned shards;
	struct shard *shard;
};

struct shard_pending {
	struct proto_cache cache;
	uint64_t since_ns;
	bool write;
};

struct shard_busy {
	struct proto_dir dir;
	uint64_t since_ns;
};

/* An order to give a page up that waits a moment (damping.h). */
struct shard_held {
	uint64_t due_ns;
	rpn_t page;
	struct proto_msg msg;
};

struct shard_self {
	rpn_t page;
	struct proto_msg msg;
};

struct shard {
	struct net_sink sink;
	struct dsm *dsm;
	unsigned index;
	struct net_lane *lane;
	pthread_t thread;
	bool running;
	bool failed; /* told the machine; serves no more */
	int epoll_fd;
	int stop_fd; /* eventfd: leave */
	uint64_t next_check_ns;

	struct pagetab pending_tab, busy_tab;
	struct shard_pending *pending;
	struct shard_busy *busy;
	struct shard_self self[SHARD_LOOPBACK]; /* messages to this node itself, in order */
	uint32_t self_first, self_count;
	struct damping damping;
	struct shard_held held[SHARD_HELD];
	uint32_t held_count;
	uint8_t *loaded; /* one page: between LOAD and SEND */
	bool loaded_zero;
	struct dsm_stats stats; /* written by this thread, read by any: relaxed atomics */
};

/* -errno, logged. Takes the lane over, also when it fails. */
CHECKED int shard_init(struct shard *shard, struct dsm *dsm, unsigned index, struct net_lane *lane);
void shard_destroy(struct shard *shard);
CHECKED int shard_start(struct shard *shard);
void shard_stop(struct shard *shard);
void shard_reset(struct shard *shard);

#endif
