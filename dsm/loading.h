/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a page are between LOAD and SEND: where they will wait for the end of the round if R1 has them wait
 * (replica_slot), else where the lane sends them from if it has such a place (net_reserve), so that they are copied once less;
 * otherwise in a buffer of the shard's. Private to dsm; the shard's thread.
 *
 * Such a place is good until something else is queued or waits: then the bytes move to the buffer before.
 *
 *   LOAD: loading_begin --> view_load --> SEND: shard_post --> what waits (R1), or net_queue
 *                                    something else first: loading_before
 */
#ifndef DSM_LOADING_H
#define DSM_LOADING_H

#include <string.h>

#include "net/net.h"

struct loading {
	uint8_t *buffer; /* one page */
	uint8_t *place;  /* in the lane or among what waits, and in use; or NULL */
	uint8_t *moved;  /* the place that they left for the buffer; or NULL */
	bool zero;       /* of view_load */
};

/* Where the bytes go that will be sent to `to` with this header; `to` is the node itself if nobody is known to get them. `slot`:
 * where they will wait, or NULL. */
static inline uint8_t *loading_begin(struct loading *l, struct net_lane *lane, node_t to, const struct wire_hdr *hdr, uint8_t *slot)
{
	l->moved = NULL;
	l->place = NULL;
	if (to != lane->self)
		l->place = slot ? slot : net_reserve(lane, to, hdr);
	return l->place ? l->place : l->buffer;
}

/* They are not needed any more, or were queued. */
static inline void loading_end(struct loading *l)
{
	l->place = l->moved = NULL;
}

/* A message with this payload is about to be queued. */
static inline void loading_before(struct loading *l, const uint8_t *payload)
{
	if (!l->place || payload == l->place)
		return;
	memcpy(l->buffer, l->place, PAGE_BYTES);
	l->moved = l->place;
	l->place = NULL;
}

/* Where a payload is now. */
static inline const uint8_t *loading_at(const struct loading *l, const uint8_t *payload)
{
	return l->moved && payload == l->moved ? l->buffer : payload;
}

#endif
