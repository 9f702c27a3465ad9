/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits to be sent to one peer: two queues of whole messages, of which the urgent one goes first. Bulk are pages that nobody
 * waits for, as far as anybody knows: DATA with WIRE_F_AHEAD or WIRE_F_PUSH. One thread at a time, no lock, no I/O.
 *
 *   outq_put --> urgent |###|##|###|          outq_peek: 1. what is left of a message of bulk that has begun
 *            \                                           2. urgent
 *             -> bulk   |######|######|                  3. bulk
 *
 * O1 Messages about one page leave in the order in which they were put (P3 of dsm/PROTOCOL.md). A message is put into
 *    bulk if it is bulk, or if anything of its page waits there; a BLOCK or a run is taken for one about each page of its block.
 * Let a and b be of one page, a put before b. Both in one queue: that is a queue. a in bulk, b in urgent: then a had left when b
 * was put. a in urgent, b in bulk: no message of bulk begins before all of urgent has left that was there when it was put (3 comes
 * after 2, and O2). O2 A message that has begun is ended before another begins. O3 Bulk does not wait for ever: when
 * OUTQ_PASS_BYTES of urgent messages have gone past it, what is put goes into bulk, whatever it is, until all that was there has
 * left.
 *
 * "Anything of its page" is by a hash, so a message may be taken for one of a page that waits: it is later then.
 */
#ifndef NET_OUTQ_H
#define NET_OUTQ_H

#include "net/ring.h"
#include "net/wire.h"

#define OUTQ_CLASSES    1024u
#define OUTQ_PIECES     5
#define OUTQ_PASS_BYTES ((size_t)1 << 20)

/* How many messages in bulk are of a page, of a block, of this class, and of the latter for all its pages. */
struct outq_wait {
	uint32_t page, block, whole;
};

struct outq {
	struct ring urgent, bulk;
	struct outq_wait *waits; /* [OUTQ_CLASSES]; NULL: no bulk */
	size_t begun;            /* bytes left of the message at bulk's front that has begun; 0: none has */
	struct wire_hdr begun_of;
	size_t passed;      /* bytes of urgent that left while bulk waited */
	bool even;          /* O3: all into bulk */
	size_t peeked_rest; /* the first two parts of the last outq_peek */
	size_t peeked_urgent;
};

/* Each queue of `bytes`; without `bulk` there is only the urgent one. -ENOMEM: outq_destroy all the same. */
CHECKED int outq_init(size_t bytes, bool bulk, struct outq *q);
/* One that was never filled in but zeroed is fine. */
void outq_destroy(struct outq *q);

static inline size_t outq_used(const struct outq *q)
{
	return q->urgent.used + q->bulk.used;
}

/* Where the payload of this message, hdr->len bytes, may be written for an outq_put that then copies nothing. What the header says
 * of type, flags, page and length must be what outq_put will be given, and nothing else put before. NULL: no room. */
uint8_t *outq_reserve(struct outq *q, const struct wire_hdr *hdr);

/* False: no room, nothing changed. */
CHECKED bool outq_put(struct outq *q, const struct wire_hdr *hdr, const void *payload);

/* The rest of a message whose beginning has left already; the queues must be empty (asserted). False: no room. */
CHECKED bool outq_put_rest(struct outq *q, const struct iovec *piece, int n, size_t skip);

/* What is to be sent next, in that order: how many pieces. Of bulk at most the rest of what has begun and bulk_max bytes more. The
 * pieces stay valid until they are taken, whatever is put meanwhile. */
int outq_peek(struct outq *q, size_t bulk_max, struct iovec piece[OUTQ_PIECES]);
/* The first n bytes of the last outq_peek have left. */
void outq_take(struct outq *q, size_t n);

#endif
