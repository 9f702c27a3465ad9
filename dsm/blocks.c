/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/blocks.h"

#undef NDEBUG /* our own bugs stop the node in release builds too */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "dsm/hold.h"
#include "dsm/steps.h"

#define BLOCKS_A_LOOK 256u
#define MERGES_A_LOOK 4u /* each may copy 2 MiB */

static rpn_t first_of(rpn_t page)
{
	return page & ~(rpn_t)(BLOCK_PAGES - 1);
}

static struct block *block_of(struct dsm *dsm, rpn_t page)
{
	return &dsm->block[page / BLOCK_PAGES];
}

static uint8_t packed_right(enum proto_right right)
{
	struct proto_cache cache = {.right = (uint8_t)right};

	return proto_cache_pack(&cache);
}

/* *empty: the block was whole and all zero, and is holes now. */
static int split(struct shard *shard, rpn_t page, bool *empty)
{
	struct dsm *dsm = shard->dsm;
	struct block *block = block_of(dsm, page);

	*empty = false;
	block->tick = shard->tick;
	if (!block->whole)
		return 0;
	block->whole = false;
	if (!__atomic_exchange_n(&block->shared, true, __ATOMIC_RELAXED) && steps_home(dsm, page) == dsm->config.self)
		shard_count(&shard->stats.metadata_bytes, BLOCK_PAGES * (sizeof(struct proto_dir_packed) + 2));
	shard_count(&shard->stats.splits, 1);
	memset(dsm->cache + first_of(page), packed_right(PROTO_WRITE), BLOCK_PAGES);
	return view_split(dsm->view, first_of(page), empty);
}

int block_split(struct shard *shard, rpn_t page)
{
	bool empty;

	return split(shard, page, &empty);
}

/* ---- giving ---- */

/* Rows H19, C7, C23 and H8 in one go: the block is all holes, so nothing has to be protected, read or unmapped. */
static void give_page(struct shard *shard, node_t to, rpn_t page)
{
	struct dsm *dsm = shard->dsm;
	struct proto_ctx ctx = steps_ctx(dsm, page);
	struct proto_dir_packed *packed = steps_packed(dsm, page);
	struct proto_event ev = {.type = PROTO_EV_GIVE, .peer = to};
	struct proto_actions out;
	struct proto_cache cache;
	struct proto_dir dir;

	proto_dir_unpack(*packed, &ctx, &dir);
	proto_cache_unpack(dsm->cache[page], &cache);
	enum proto_verdict verdict = proto_dir_step(&dir, &ctx, &ev, &out);
	assert(verdict == PROTO_OK && out.n == 1 && out.action[0].msg.type == PROTO_FWD_WRITE);
	ev = (struct proto_event){.type = PROTO_EV_MSG, .msg = out.action[0].msg};
	ev.msg.from = ctx.self;
	verdict = proto_cache_step(&cache, &ctx, &ev, &out);
	assert(verdict == PROTO_OK && out.n == 5 && out.action[3].msg.type == PROTO_DATA && out.action[3].msg.seq == 1);
	dsm->cache[page] = proto_cache_pack(&cache);
	evict_changed(shard, page, false, &ev);
	ev.msg = out.action[4].msg;
	ev.msg.from = ctx.self;
	verdict = proto_dir_step(&dir, &ctx, &ev, &out);
	assert(verdict == PROTO_OK && out.n == 0);
	steps_pack(packed, &dir);
}

static void give(struct shard *shard, node_t to, rpn_t asked)
{
	rpn_t first = first_of(asked);
	struct wire_hdr hdr = {.type = WIRE_BLOCK, .epoch = shard->dsm->epoch, .arg = asked, .seq = 1, .node = (uint16_t)to};

	for (rpn_t p = first; p < first + BLOCK_PAGES; p++)
		if (p != asked)
			give_page(shard, to, p);
	shard_count(&shard->stats.blocks_given, 1);
	shard_post(shard, to, &hdr, NULL);
}

int block_asked(struct shard *shard, node_t from, rpn_t page)
{
	struct dsm *dsm = shard->dsm;
	bool fresh = !block_of(dsm, page)->shared, empty;
	int rc = split(shard, page, &empty);

	/* It is registered now: a hole stays one until a fault of ours comes to this thread. */
	if (!rc && fresh && empty && from != dsm->config.self && dsm_with(dsm, DSM_WITHOUT(BLOCKS)) && shard_has_room(shard, from))
		give(shard, from, page);
	return rc;
}

/* ---- merging ---- */

/* This node owns all of it, and nothing goes on. Pages lent or borrowed look like its own, and are not. */
static bool may_be_whole(const struct shard *shard, rpn_t first)
{
	const struct dsm *dsm = shard->dsm;

	for (rpn_t p = first; p < first + BLOCK_PAGES; p++)
		if (dsm->cache[p] != packed_right(PROTO_WRITE))
			return false;
	for (rpn_t p = first; p < first + BLOCK_PAGES; p++)
		if (pagetab_find(&shard->pending_tab, p) != PAGETAB_NONE || pagetab_find(&shard->busy_tab, p) != PAGETAB_NONE)
			return false;
	return !replica_within(&shard->replicas, first, BLOCK_PAGES) && !hold_has(shard, first, BLOCK_PAGES);
}

static void merge(struct shard *shard, rpn_t first)
{
	struct block *block = block_of(shard->dsm, first);

	block->tick = shard->tick;
	if (view_merge(shard->dsm->view, first)) /* it stays in pages: said there, and nothing is lost by it */
		return;
	block->whole = true;
	shard_count(&shard->stats.blocks_taken, block->taken); /* not before: who sees it may count on no more faults */
	block->taken = false;
	block->quiet = (uint8_t)MIN(block->quiet ? block->quiet * 2u : 1u, BLOCK_QUIET_MAX);
}

void block_settled(struct shard *shard, rpn_t page)
{
	if (block_of(shard->dsm, page)->taken && may_be_whole(shard, first_of(page)))
		merge(shard, first_of(page));
}

int block_look(struct shard *shard, uint64_t now)
{
	struct dsm *dsm = shard->dsm;
	rpn_t pages = dsm->node_first[dsm->config.nodes];
	unsigned merges = 0;

	if (now < shard->next_blocks_ns)
		return 0;
	shard->next_blocks_ns = now + dsm->config.tick_ns / 4;
	shard->tick = (uint32_t)(now / dsm->config.tick_ns);
	if (!dsm_with(dsm, DSM_WITHOUT(MERGING)))
		return 0;
	for (unsigned i = 0; i < BLOCKS_A_LOOK && merges < MERGES_A_LOOK; i++, shard->block_hand += BLOCK_PAGES) {
		if (shard->block_hand >= pages)
			shard->block_hand = 0;
		if (view_shard(dsm->view, shard->block_hand) != shard->index)
			continue;
		const struct block *block = block_of(dsm, shard->block_hand);

		if (block->whole || !block->shared || shard->tick - block->tick <= MAX(block->quiet, 1u) ||
		    !may_be_whole(shard, shard->block_hand))
			continue;
		merge(shard, shard->block_hand);
		shard_count(&shard->stats.merges, 1);
		merges++;
	}
	return 0;
}

/* ---- taking ---- */

/* Row C25. Only where a request of ours is under way somebody may wait, and has to be woken. */
static int take_page(struct shard *shard, const struct proto_event *ev, rpn_t page)
{
	struct dsm *dsm = shard->dsm;
	struct proto_ctx ctx = steps_ctx(dsm, page);
	struct proto_actions out;
	struct proto_cache cache;

	if (pagetab_find(&shard->pending_tab, page) != PAGETAB_NONE)
		return steps_cache(shard, ev, &(struct work){.page = page});
	proto_cache_unpack(dsm->cache[page], &cache);
	enum proto_verdict verdict = proto_cache_step(&cache, &ctx, ev, &out);
	if (verdict != PROTO_OK)
		return verdict == PROTO_PEER_FAULT ? -EPROTO : 0;
	dsm->cache[page] = proto_cache_pack(&cache);
	evict_changed(shard, page, true, ev);
	return 0;
}

int block_take(struct shard *shard, node_t from, const struct wire_hdr *hdr)
{
	struct dsm *dsm = shard->dsm;
	rpn_t first = first_of(hdr->arg);
	struct proto_event ev = {
		.type = PROTO_EV_MSG,
		.msg = {.type = PROTO_DATA,
			.flags = PROTO_ZERO | PROTO_PUSH,
			.right = PROTO_WRITE,
			.epoch = hdr->epoch,
			.seq = hdr->seq,
			.from = from,
			.requester = hdr->node},
	};
	int rc = 0;

	if (block_is_whole(dsm, hdr->arg))
		return -EPROTO;
	block_of(dsm, first)->tick = shard->tick;
	__atomic_store_n(&block_of(dsm, first)->shared, true, __ATOMIC_RELAXED);
	for (rpn_t p = first; !rc && p < first + BLOCK_PAGES; p++)
		if (p != hdr->arg)
			rc = take_page(shard, &ev, p);
	if (rc)
		return rc;
	block_of(dsm, first)->taken =
		true; /* whole with the end of the last request for a page of it, mostly the one that `arg` is */
	block_settled(shard, first);
	return 0;
}
