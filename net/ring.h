/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of bytes of fixed size: what a socket did not take yet. One thread at a time, no lock. The memory is
 * reserved at once and becomes resident only as far as it was ever filled.
 *
 *   bytes:  |....#########......|      # = [head, head + used), modulo size
 */
#ifndef NET_RING_H
#define NET_RING_H

#include <sys/uio.h>

#include "base/types.h"

struct ring {
	uint8_t *bytes;
	size_t size; /* a power of two */
	size_t head; /* offset of the oldest byte */
	size_t used;
};

/* size: a power of two, at least a page. -ENOMEM. */
CHECKED int ring_init(size_t size, struct ring *ring);

/* A ring that was never filled in but zeroed is fine. */
void ring_destroy(struct ring *ring);

/* How many bytes ring_put would take. */
static inline size_t ring_room(const struct ring *ring)
{
	return ring->size - ring->used;
}

/* Appends [data, data+len); len must not exceed ring_room (asserted). */
void ring_put(struct ring *ring, const void *data, size_t len);

/* The queued bytes, oldest first, as up to two pieces; returns how many. They stay valid until ring_take or ring_put. */
int ring_peek(const struct ring *ring, struct iovec piece[2]);

/* Drops the oldest n bytes; n must not exceed `used` (asserted). */
void ring_take(struct ring *ring, size_t n);

#endif
