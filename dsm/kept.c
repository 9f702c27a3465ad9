/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/kept.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "dsm/delta.h"
#include "dsm/shard.h"

#define NO_SEQ UINT32_MAX /* no transaction has this number */

int kept_init(struct kept *k)
{
	k->page = calloc(KEPT_PAGES, sizeof(*k->page));
	k->hint = calloc(KEPT_HINTS, sizeof(*k->hint));
	k->bytes = mmap(NULL, KEPT_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (k->bytes == MAP_FAILED)
		k->bytes = NULL;
	return k->page && k->hint && k->bytes ? pagetab_init(&k->tab, KEPT_PAGES) : -ENOMEM;
}

void kept_destroy(struct kept *k)
{
	pagetab_destroy(&k->tab);
	free(k->page);
	free(k->hint);
	if (k->bytes)
		munmap(k->bytes, KEPT_PAGES * PAGE_BYTES);
}

void kept_reset(struct kept *k)
{
	pagetab_clear(&k->tab);
	memset(k->hint, 0, KEPT_HINTS * sizeof(*k->hint));
	k->hand = 0;
}

/* ---- what requests said ---- */

static struct kept_hint *hint_of(const struct kept *k, rpn_t page, node_t node)
{
	return &k->hint[(page * NODES_MAX + node) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (KEPT_HINTS - 1)];
}

static void remember(struct kept *k, rpn_t page, node_t node, uint32_t seq)
{
	struct kept_hint *h = hint_of(k, page, node);

	if (seq != NO_SEQ)
		*h = (struct kept_hint){.page = page, .node = node, .seq = seq, .set = true};
	else if (h->page == page && h->node == node)
		h->set = false;
}

/* NO_SEQ if there is none; there is none afterwards. */
static uint32_t take(struct kept *k, rpn_t page, node_t node)
{
	struct kept_hint *h = hint_of(k, page, node);

	if (!h->set || h->page != page || h->node != node)
		return NO_SEQ;
	h->set = false;
	return h->seq;
}

/* ---- the entries ---- */

static uint8_t *bytes_of(const struct kept *k, uint32_t slot)
{
	return k->bytes + slot * PAGE_BYTES;
}

/* K3 */
static bool is_promised(const struct shard *shard, uint32_t slot)
{
	const struct kept *k = &shard->kept;

	return k->page[slot].promised && pagetab_find(&shard->pending_tab, k->tab.page[slot]) != PAGETAB_NONE;
}

/* One that may be used now (K2). */
static uint32_t find(const struct kept *k, rpn_t page, uint64_t now)
{
	uint32_t slot = pagetab_find(&k->tab, page);

	return slot != PAGETAB_NONE && now - k->page[slot].since_ns < KEPT_NS ? slot : PAGETAB_NONE;
}

/* Second chance. False: all are promised. */
static bool make_room(struct shard *shard)
{
	struct kept *k = &shard->kept;

	for (uint32_t i = 0; i < 2 * KEPT_PAGES; i++) {
		uint32_t slot = k->hand++ % KEPT_PAGES;

		if (is_promised(shard, slot))
			continue;
		if (!k->page[slot].used) {
			pagetab_remove(&k->tab, k->tab.page[slot]);
			return true;
		}
		k->page[slot].used = false;
	}
	return false;
}

/* The page's entry, or a new one. */
static uint32_t place(struct shard *shard, rpn_t page)
{
	struct kept *k = &shard->kept;
	uint32_t slot = pagetab_find(&k->tab, page);

	if (slot != PAGETAB_NONE) {
		k->page[slot].used = true;
		return slot;
	}
	if (k->tab.used == KEPT_PAGES && !make_room(shard))
		return PAGETAB_NONE;
	slot = pagetab_add(&k->tab, page);
	k->page[slot] = (struct kept_page){.seq = NO_SEQ};
	if (slot >= k->touched) { /* slots are given out in turn */
		k->touched = slot + 1;
		shard_count(&shard->stats.metadata_bytes, PAGE_BYTES);
	}
	return slot;
}

static void holds(struct kept *k, uint32_t slot, uint32_t seq, uint64_t now)
{
	k->page[slot].seq = seq;
	k->page[slot].since_ns = now;
	k->page[slot].promised = false;
}

/* ---- messages out ---- */

/* K3: what this node may say that it has. */
static uint32_t promise(struct shard *shard, rpn_t page)
{
	struct kept *k = &shard->kept;
	uint32_t slot = k->tab.used ? find(k, page, clock_ns()) : PAGETAB_NONE;

	if (slot == PAGETAB_NONE)
		return NO_SEQ;
	k->page[slot].promised = true;
	return k->page[slot].seq;
}

static const uint8_t *shorten(struct shard *shard, struct wire_hdr *hdr, const uint8_t *bytes, uint8_t *small)
{
	struct kept *k = &shard->kept;
	uint32_t base = hdr->flags & WIRE_F_PUSH ? NO_SEQ : take(k, hdr->arg, hdr->node);

	if (hdr->seq < KEPT_MIN_SEQ)
		return bytes;
	uint64_t now = clock_ns();
	uint32_t slot = find(k, hdr->arg, now);
	size_t len;
	bool is_short = slot != PAGETAB_NONE && base != NO_SEQ && k->page[slot].seq == base &&
			delta_encode(bytes_of(k, slot), bytes, small + sizeof(base), WIRE_DELTA_MAX - sizeof(base), &len);

	if (is_short) {
		memcpy(small, &base, sizeof(base));
		hdr->flags |= WIRE_F_DELTA;
		hdr->len = (uint32_t)(sizeof(base) + len);
		shard_count(&shard->stats.delta_sent, 1);
		shard_count(&shard->stats.delta_bytes_saved, PAGE_BYTES - hdr->len);
	}
	slot = place(shard, hdr->arg);
	/* A reader of the same transaction got the same bytes. */
	if (slot != PAGETAB_NONE && k->page[slot].seq != hdr->seq && !is_promised(shard, slot)) {
		if (!is_short)
			memcpy(bytes_of(k, slot), bytes, PAGE_BYTES);
		else if (delta_apply(small + sizeof(base), len, bytes_of(k, slot)))
			assert(!"what was encoded just now");
		holds(k, slot, hdr->seq, now);
	}
	return is_short ? small : bytes;
}

const uint8_t *kept_outgoing(struct shard *shard, struct wire_hdr *hdr, const uint8_t *bytes, uint8_t small[WIRE_DELTA_MAX])
{
	uint32_t base;

	if (!dsm_with(shard->dsm, DSM_WITHOUT(DELTA)))
		return bytes;
	switch (hdr->type) {
	case WIRE_REQ_READ:
	case WIRE_REQ_WRITE:
		base = promise(shard, hdr->arg);
		break;
	case WIRE_FWD_READ:
	case WIRE_FWD_WRITE:
		base = hdr->flags & WIRE_F_PUSH ? NO_SEQ : take(&shard->kept, hdr->arg, hdr->node);
		break;
	case WIRE_DATA:
		return bytes ? shorten(shard, hdr, bytes, small) : NULL;
	default:
		return bytes;
	}
	if (base == NO_SEQ)
		return NULL;
	memcpy(small, &base, sizeof(base));
	hdr->len = sizeof(base);
	return small;
}

void kept_own_request(struct shard *shard, rpn_t page)
{
	if (dsm_with(shard->dsm, DSM_WITHOUT(DELTA)))
		remember(&shard->kept, page, shard->dsm->config.self, promise(shard, page));
}

/* ---- messages in ---- */

void kept_incoming(struct shard *shard, const struct wire_hdr *hdr, const uint8_t *payload)
{
	uint32_t base = NO_SEQ;

	if (!dsm_with(shard->dsm, DSM_WITHOUT(DELTA)) || hdr->epoch != (uint16_t)shard->dsm->epoch || hdr->flags & WIRE_F_PUSH)
		return;
	if (hdr->type != WIRE_REQ_READ && hdr->type != WIRE_REQ_WRITE && hdr->type != WIRE_FWD_READ && hdr->type != WIRE_FWD_WRITE)
		return;
	if (hdr->len == sizeof(base))
		memcpy(&base, payload, sizeof(base));
	remember(&shard->kept, hdr->arg, hdr->node, base);
}

static int refuse(struct shard *shard, node_t from, rpn_t page)
{
	char why[160];

	snprintf(why, sizeof(why),
		 "it sent a difference for page %llu that does not decode, or to bytes that this node has not named",
		 (unsigned long long)page);
	__atomic_store_n(&shard->failed, true, __ATOMIC_RELAXED);
	shard->dsm->config.sink->lost(shard->dsm->config.sink, from, why);
	return -EPROTO;
}

int kept_received(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload, const uint8_t **bytes)
{
	struct kept *k = &shard->kept;
	uint32_t slot, base;

	if (hdr->flags & WIRE_F_DELTA) {
		slot = pagetab_find(&k->tab, hdr->arg);
		memcpy(&base, payload, sizeof(base));
		if (slot == PAGETAB_NONE || !is_promised(shard, slot) || k->page[slot].seq != base ||
		    delta_apply(payload + sizeof(base), hdr->len - sizeof(base), bytes_of(k, slot)))
			return refuse(shard, from, hdr->arg);
		holds(k, slot, hdr->seq, clock_ns());
		*bytes = bytes_of(k, slot);
		return 0;
	}
	*bytes = payload;
	if (!dsm_with(shard->dsm, DSM_WITHOUT(DELTA)) || hdr->seq < KEPT_MIN_SEQ)
		return 0;
	slot = place(shard, hdr->arg);
	if (slot == PAGETAB_NONE || (hdr->flags & WIRE_F_PUSH && is_promised(shard, slot)))
		return 0;
	memcpy(bytes_of(k, slot), payload, PAGE_BYTES);
	holds(k, slot, hdr->seq, clock_ns());
	return 0;
}
