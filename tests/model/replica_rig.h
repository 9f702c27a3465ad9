/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of the walk over replicas: what surrounds dsm is replaced, so that the walk decides what happens. The clock
 * stands still (-Wl,--wrap=clock_gettime), a fault and a message are there when the walk says so, what is sent goes to rig->flight.
 * With tests/sim/view.c, whose callbacks are here. For model_replica.c alone, which includes it once: it defines functions.
 */
#ifndef TESTS_MODEL_REPLICA_RIG_H
#define TESTS_MODEL_REPLICA_RIG_H

#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "tests/model/replica_world.h"

struct sim *sim_now;

/* ---- what is replaced: view.c's and the lane's surroundings ---- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	*ts = (struct timespec){.tv_sec = 1};
	return 0;
}

static inline struct rig *rig_of(const struct sim *sim)
{
	return (struct rig *)(uintptr_t)container_of(sim, struct rig, sim);
}

static inline void broken(struct rig *rig, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void broken(struct rig *rig, const char *fmt, ...)
{
	va_list ap;

	if (rig->broken[0])
		return;
	va_start(ap, fmt);
	vsnprintf(rig->broken, sizeof(rig->broken), fmt, ap);
	va_end(ap);
}

void sim_fail(const struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	(void)sim;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void *sim_alloc(size_t n, size_t size)
{
	return must(calloc(n, size));
}

uint8_t *sim_lazy(size_t bytes)
{
	return must(calloc(1, bytes));
}

void sim_lazy_free(uint8_t *zeroes, size_t bytes)
{
	(void)bytes;
	free(zeroes);
}

void sim_wake(struct sim *sim, node_t node, rpn_t page)
{
	for (unsigned p = 0; p < PAGES; p++)
		if (rig_of(sim)->page[p] == page)
			rig_of(sim)->asleep[node][p] = PROTO_NONE;
}

bool sim_next_fault(struct sim *sim, node_t node, unsigned shard, struct view_fault *fault)
{
	struct rig *rig = rig_of(sim);

	(void)node;
	(void)shard;
	if (!rig->has_fault)
		return false;
	rig->has_fault = false;
	*fault = rig->fault;
	return true;
}

static inline int lane_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct rig *rig = container_of(lane, struct rig_lane, lane)->rig;
	struct flight f = {.from = lane->self, .to = to, .hdr = *hdr};

	if (rig->drop && hdr->type == rig->drop)
		return 0;
	if (rig->flights == FLIGHTS) {
		broken(rig, "more messages in flight than there can be");
		return 0;
	}
	if (hdr->len)
		f.words = words_of(rig, hdr->arg == rig->page[PAGE_FLAG] ? PAGE_FLAG : PAGE_TABLE, payload);
	if (hdr->type == WIRE_GIVE_BACK && rig->old_bytes)
		f.words = (struct words){{0}};
	rig->flight[rig->flights++] = f;
	return 0;
}

static inline int lane_poll(struct net_lane *lane, struct net_sink *sink)
{
	struct rig *rig = container_of(lane, struct rig_lane, lane)->rig;
	const struct flight *f = rig->incoming;
	uint8_t payload[PAGE_BYTES];

	if (!f)
		return 0;
	rig->incoming = NULL;
	if (f->hdr.len)
		fill(rig, f->hdr.arg == rig->page[PAGE_FLAG] ? PAGE_FLAG : PAGE_TABLE, payload, &f->words);
	sink->recv(sink, f->from, &f->hdr, payload);
	return 1;
}

static inline int lane_fd(struct net_lane *lane)
{
	(void)lane;
	return eventfd(0, EFD_CLOEXEC);
}

static inline void lane_free(struct net_lane *lane)
{
	(void)lane;
}

static const struct net_ops lane_ops = {.name = "model", .send = lane_send, .poll = lane_poll, .fd = lane_fd, .free = lane_free};

static inline void on_failed(struct dsm_sink *sink, const char *why)
{
	broken(rig_of(container_of(sink, struct sim, sink)), "dsm fails: %s", why);
}

static inline void on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	broken(rig_of(container_of(sink, struct sim, sink)), "honest node %u is refused: %s", peer, why);
}

/* ---- the rig ---- */

/* The block is shared from the start: block_split of blocks.c, without the request. */
static inline void split(struct rig *rig, node_t home)
{
	rpn_t first = home * SIM_HOME_PAGES;
	struct proto_cache cache = {.right = PROTO_WRITE};
	bool empty;

	rig->dsm[home]->block[first / BLOCK_PAGES] = (struct block){.shared = true};
	for (rpn_t p = first; p < first + BLOCK_PAGES; p++)
		rig->dsm[home]->cache[p] = proto_cache_pack(&cache);
	if (view_split(rig->sim.view[home], first, &empty))
		sim_fail(&rig->sim, "model_replica: cannot split");
}

static inline void write_table_page(struct rig *rig, rpn_t page)
{
	*(uint64_t *)(void *)simview_at(rig->sim.view[0], page) = (uint64_t)(page + 1) << PAGE_SHIFT | TABLE_ENTRY;
}

static inline struct rig *rig_new(node_t nodes, node_t flag_home)
{
	struct rig *rig = must(calloc(1, sizeof(*rig)));
	rpn_t first[NODES_MAX + 1];
	struct words none = {{0}};

	rig->nodes = nodes;
	rig->page[PAGE_TABLE] = TABLE;
	rig->page[PAGE_FLAG] = flag_home * SIM_HOME_PAGES + 40;
	for (unsigned p = 0; p < PAGES; p++) {
		rig->base[p] = must(calloc(1, PAGE_BYTES));
		*(uint64_t *)(void *)rig->base[p] = p == PAGE_TABLE ? (TABLE + 1) << PAGE_SHIFT | TABLE_ENTRY : 1;
	}
	rig->sim.sink = (struct dsm_sink){.failed = on_failed, .lost = on_lost};
	rig->sim.options.nodes = nodes;
	rig->sim.now = 1;
	sim_now = &rig->sim;
	for (node_t n = 0; n <= nodes; n++)
		first[n] = n * SIM_HOME_PAGES;
	for (node_t n = 0; n < nodes; n++) {
		struct net_lane *lane = &rig->lane[n].lane;
		struct dsm_config config = {.self = n,
					    .nodes = nodes,
					    .node_first = first,
					    .shards = 1,
					    .lane = &lane,
					    .low_pages = first[nodes],
					    .without = DSM_WITHOUT(DAMPING) | DSM_WITHOUT(AHEAD) | DSM_WITHOUT(BLOCKS) |
						       DSM_WITHOUT(MERGING) | DSM_WITHOUT(PUSHES) | DSM_WITHOUT(DELTA),
					    .sink = &rig->sim.sink};

		rig->lane[n] = (struct rig_lane){.lane = {.ops = &lane_ops, .self = n, .nodes = nodes, .lane = 1}, .rig = rig};
		rig->sim.made = n;
		if (dsm_new(&config, &rig->dsm[n]))
			sim_fail(&rig->sim, "model_replica: cannot make node %u", n);
		dsm_root(rig->dsm[n], 1 << PAGE_SHIFT, false);
		shard_at(rig, n)->replicas.gen = GEN_BASE;
		shard_at(rig, n)->evict.taken = BLOCK_PAGES;
	}
	for (rpn_t p = 1; p < TABLE; p++)
		write_table_page(rig, p);
	for (unsigned p = 0; p < PAGES; p++)
		fill(rig, p, simview_at(rig->sim.view[home_of(rig, p)], rig->page[p]), &none);
	split(rig, 0);
	if (flag_home)
		split(rig, flag_home);
	for (unsigned p = 0; p < PAGES; p++) {
		struct proto_dir dir = {.copyset = 1u << home_of(rig, p), .mode = PROTO_EXCL, .seq = SEQ_BASE};

		*packed_dir(rig, p) = proto_dir_pack(&dir);
	}
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	for (node_t n = 0; n < rig->nodes; n++)
		dsm_free(rig->dsm[n]);
	for (unsigned p = 0; p < PAGES; p++)
		free(rig->base[p]);
	free(rig);
}

#endif
