/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/evict.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/trace.h"
#include "dsm/shard.h"
#include "dsm/steps.h"

#define OFFERS_A_LOOK 64u
#define BLOCKS_A_LOOK 256u
#define ROUND_NS      (10 * NS_PER_MS)  /* without progress: offers were ignored */
#define LAP_NS        NS_PER_MS         /* the hand rests so long between two rounds */
#define TRIM_EVERY_NS (100 * NS_PER_MS) /* what the service view maps counts as resident memory twice */

int evict_init(struct evict *e, uint64_t home, uint64_t room, uint64_t pages)
{
	*e = (struct evict){.home = home, .limit = UINT64_MAX, .soft = UINT64_MAX, .high = UINT64_MAX};
	if (room) {
		uint64_t reserve = MIN(MAX(room / 32, 32u), 256u), headroom = MIN(MAX(room / 16, 32u), 512u);

		assert(room >= EVICT_ROOM_MIN);
		e->limit = home + room;
		e->soft = e->limit - reserve;
		e->high = e->soft - headroom;
		e->mark_bytes = pages;
		e->mark = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		e->waiting = calloc(EVICT_WAITING, sizeof(*e->waiting));
		if (e->mark == MAP_FAILED)
			e->mark = NULL;
		if (!e->mark || !e->waiting)
			return -ENOMEM;
	}
	evict_reset(e);
	return 0;
}

void evict_destroy(struct evict *e)
{
	if (e->mark)
		munmap(e->mark, e->mark_bytes);
	free(e->waiting);
	e->mark = NULL;
	e->waiting = NULL;
}

void evict_reset(struct evict *e)
{
	e->taken = e->home;
	e->offered = e->looked = e->barren = e->progress_ns = 0;
	e->sleep_ns = UINT64_MAX;
	e->hand = e->lap_ns = 0;
	e->lap_over = false;
	e->round = 1;
	e->first = e->count = 0;
	if (e->mark)
		madvise(e->mark, e->mark_bytes, MADV_DONTNEED); /* zeroes; if not, some pages are offered a round later */
}

/* A page has gone that this node had offered. */
static void evicted(struct shard *shard, rpn_t page, const struct proto_event *ev)
{
	bool home = ev->msg.type == PROTO_FWD_WRITE && ev->msg.requester == ev->msg.from;

	if (ev->type != PROTO_EV_MSG || (!home && ev->msg.type != PROTO_DROP))
		return; /* somebody else took it */
	shard_count(home ? &shard->stats.evicted_home : &shard->stats.evicted_copies, 1);
	TRACE_EVICTION(page, home);
}

static void set_taken(struct shard *shard, uint64_t frames)
{
	shard->evict.taken = frames;
	__atomic_store_n(&shard->stats.frames, frames, __ATOMIC_RELAXED);
}

void evict_changed(struct shard *shard, rpn_t page, bool held, const struct proto_event *ev)
{
	struct evict *e = &shard->evict;

	set_taken(shard, held ? e->taken + 1 : e->taken - 1);
	if (held || !e->mark || !e->mark[page])
		return;
	if (e->mark[page] == e->round && e->offered) {
		e->offered--;
		e->progress_ns = clock_ns();
	}
	e->mark[page] = 0;
	evicted(shard, page, ev);
}

void evict_lent(struct shard *shard)
{
	set_taken(shard, shard->evict.taken - 1);
}

bool evict_has_room(const struct evict *e)
{
	return !e->count && e->taken < e->high + (e->soft - e->high) / 2;
}

bool evict_has_block(const struct evict *e, uint32_t requests)
{
	return e->limit == UINT64_MAX || e->taken + (requests + 1) * (uint64_t)BLOCK_PAGES < e->high;
}

bool evict_may_adopt(const struct evict *e)
{
	return e->taken < e->limit;
}

/* ---- faults that wait ---- */

bool evict_holds_back(struct shard *shard, const struct view_fault *fault)
{
	struct evict *e = &shard->evict;

	if (e->taken < e->soft && !e->count)
		return false;
	if (steps_holds(shard, fault->page))
		return false;
	if (e->count == EVICT_WAITING) {
		shard_fail(shard, "more page faults wait for a frame than this node has room for");
		return true;
	}
	shard_count(&shard->stats.frame_waits, 1);
	e->waiting[(e->first + e->count++) % EVICT_WAITING] = (struct evict_waiting){.fault = *fault, .since_ns = clock_ns()};
	return true;
}

static void serve_waiting(struct shard *shard)
{
	struct evict *e = &shard->evict;

	while (e->count && e->taken < e->soft && !shard->failed) {
		struct view_fault fault = e->waiting[e->first].fault;

		e->first = (e->first + 1) % EVICT_WAITING;
		e->count--;
		shard_fault(shard, &fault);
	}
}

bool evict_overdue(const struct evict *e, uint64_t now, uint64_t ns)
{
	return e->count && now > e->waiting[e->first].since_ns && now - e->waiting[e->first].since_ns > ns;
}

/* ---- the hand ---- */

static void offer(struct shard *shard, rpn_t page)
{
	struct evict *e = &shard->evict;
	struct wire_hdr hdr = {
		.type = WIRE_OFFER,
		.epoch = shard->dsm->epoch,
		.arg = page,
		.node = (uint16_t)shard->dsm->config.self,
	};

	e->mark[page] = e->round;
	e->offered++;
	e->looked = 0;
	shard_count(&shard->stats.offers, 1);
	shard_post(shard, steps_home(shard->dsm, page), &hdr, NULL);
}

/* Here, at rest, and not lent to us. */
static bool is_candidate(const struct shard *shard, rpn_t page)
{
	const struct evict *e = &shard->evict;

	return (shard->dsm->cache[page] & 3) != PROTO_NONE && e->mark[page] != e->round &&
	       pagetab_find(&shard->pending_tab, page) == PAGETAB_NONE && !replica_borrows(&shard->replicas, page);
}

/* The hand passes the rest of its block, or as much as it takes to find *want pages that were not used. */
static int pass_block(struct shard *shard, uint64_t *want)
{
	struct evict *e = &shard->evict;
	struct view *view = shard->dsm->view;
	rpn_t end = (e->hand | (BLOCK_PAGES - 1)) + 1, unmap = 0;
	uint64_t used[BLOCK_PAGES / 64], run = 0;
	bool known = false;
	int rc = 0;

	for (; *want && !rc && e->hand < end; e->hand++) {
		rpn_t page = e->hand;

		if (!is_candidate(shard, page))
			continue;
		if (!known)
			rc = view_used(view, end - BLOCK_PAGES, used);
		known = true;
		e->looked++;
		e->barren = 0;
		/* If everything is in use all the time, something has to go all the same. */
		if (!rc && used[page % BLOCK_PAGES / 64] >> page % 64 & 1 && e->looked <= 2 * e->taken) {
			if (run && unmap + run != page) {
				rc = view_rest(view, unmap, run);
				run = 0;
			}
			unmap = run ? unmap : page;
			run++;
		} else if (!rc) {
			offer(shard, page);
			--*want;
		}
	}
	return rc || !run ? rc : view_rest(view, unmap, run);
}

/* The hand moves to the next block of this shard and another home, or stays in the one it is in. False: it is where it was. */
static bool next_block(struct shard *shard)
{
	const struct dsm *dsm = shard->dsm;
	rpn_t mine = dsm->node_first[dsm->config.self], after = dsm->node_first[dsm->config.self + 1];
	rpn_t pages = dsm->node_first[dsm->config.nodes], *hand = &shard->evict.hand;

	for (uint64_t i = 0; i <= pages / BLOCK_PAGES + 2; i++) {
		if (*hand >= pages) {
			*hand = 0;
			shard->evict.lap_over = true;
		} else if (*hand >= mine && *hand < after) {
			*hand = after;
		} else if (view_shard(dsm->view, *hand) == shard->index) {
			return true;
		} else {
			*hand = (*hand | (BLOCK_PAGES - 1)) + 1;
		}
	}
	return false;
}

int evict_look(struct shard *shard, uint64_t now)
{
	struct evict *e = &shard->evict;
	int rc = 0;

	e->sleep_ns = UINT64_MAX;
	if (e->limit == UINT64_MAX)
		return 0;
	if (now >= e->trim_ns) {
		e->trim_ns = now + TRIM_EVERY_NS;
		if (shard->index == 0) /* of the whole node */
			view_trim(shard->dsm->view);
	}
	serve_waiting(shard);
	if (e->taken <= e->high)
		return 0;
	if (e->offered && now > e->progress_ns && now - e->progress_ns > ROUND_NS) {
		e->offered = 0;
		e->round = e->round == UINT8_MAX ? 1 : e->round + 1;
	}
	uint64_t over = e->taken - e->high, want = over > e->offered ? MIN(over - e->offered, OFFERS_A_LOOK) : 0;
	if (want && !e->offered)
		e->progress_ns = now;
	for (unsigned i = 0; want && !rc && i < BLOCKS_A_LOOK && next_block(shard); i++, e->barren++) {
		if (e->lap_over && !e->lap_ns)
			e->lap_ns = now;
		if (e->lap_over && now - e->lap_ns < LAP_NS) { /* who uses a page must have had the time to do so */
			e->sleep_ns = LAP_NS;
			return 0;
		}
		e->lap_over = false;
		e->lap_ns = 0;
		rc = pass_block(shard, &want);
	}
	/* Nothing to offer in all of RAM: everything is on its way already. */
	bool barren = e->barren > shard->dsm->node_first[shard->dsm->config.nodes] / BLOCK_PAGES + BLOCKS_A_LOOK;
	e->sleep_ns = want && !barren ? 0 : ROUND_NS;
	return rc;
}
