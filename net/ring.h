/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of bytes of fixed size: what a connection did not take yet. One thread at a time, no lock. The memory is
 * reserved at once and becomes resident only as far as it was ever filled.
 *
 * What is put in at once lies in one piece, so that it can be written where it is sent from. What does not fit before the
 * end goes to the beginning, and the rest of the end is left empty:
 *
 *   bytes:  |....#########......|      # = [head, tail)
 *   or:     |######....#######..|      # = [head, end), then [0, tail)
 */
#ifndef NET_RING_H
#define NET_RING_H

#include <sys/uio.h>

#include "base/types.h"

struct ring {
	uint8_t *bytes;
	size_t size;
	size_t head; /* offset of the oldest byte */
	size_t tail; /* offset after the youngest */
	size_t end;  /* 0: not wrapped */
	size_t used;
};

/* size: a power of two, at least a page. -ENOMEM. */
CHECKED int ring_init(size_t size, struct ring *ring);

/* A ring that was never filled in but zeroed is fine. */
void ring_destroy(struct ring *ring);

/* Where the next `len` bytes go, for the caller to write; NULL: there is no room. They are queued by ring_commit with the same
 * len, or not at all: nothing changes before, and until the ring is written or taken from the place stays the same. */
uint8_t *ring_reserve(const struct ring *ring, size_t len);
void ring_commit(struct ring *ring, size_t len);

/* The oldest byte; what was committed with it lies behind it. The ring must not be empty (asserted). */
const uint8_t *ring_front(const struct ring *ring);

/* The queued bytes, oldest first, as up to two pieces; returns how many. They stay valid until they are taken. */
int ring_peek(const struct ring *ring, struct iovec piece[2]);

/* Drops the oldest n bytes; n must not exceed `used` (asserted). */
void ring_take(struct ring *ring, size_t n);

#endif
