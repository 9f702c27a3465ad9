/* SPDX-License-Identifier: Apache-2.0 */
#include "net/outq.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int outq_init(size_t bytes, bool bulk, struct outq *q)
{
	int err = ring_init(bytes, &q->urgent);

	if (err || !bulk)
		return err;
	q->waits = calloc(OUTQ_CLASSES, sizeof(*q->waits));
	return q->waits ? ring_init(bytes, &q->bulk) : -ENOMEM;
}

void outq_destroy(struct outq *q)
{
	ring_destroy(&q->urgent);
	ring_destroy(&q->bulk);
	free(q->waits);
	*q = (struct outq){0};
}

static struct outq_wait *class_of(const struct outq *q, uint64_t number)
{
	return &q->waits[(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) % OUTQ_CLASSES];
}

/* About more pages of its block than the one that it names. */
static bool is_wide(const struct wire_hdr *hdr)
{
	return hdr->type == WIRE_BLOCK || hdr->type == WIRE_RUN_REQ || hdr->type == WIRE_RUN_DATA;
}

/* The message is in bulk (by = 1), or has left it (by = UINT32_MAX, which is -1). */
static void count(struct outq *q, const struct wire_hdr *hdr, uint32_t by)
{
	struct outq_wait *block = class_of(q, hdr->arg / BLOCK_PAGES);

	class_of(q, hdr->arg)->page += by;
	block->block += by;
	block->whole += is_wide(hdr) ? by : 0;
}

/* Something of its page is in bulk. */
static bool waits(const struct outq *q, const struct wire_hdr *hdr)
{
	const struct outq_wait *block = class_of(q, hdr->arg / BLOCK_PAGES);

	return class_of(q, hdr->arg)->page || block->whole || (is_wide(hdr) && block->block);
}

/* Where the message goes: O1, O3. */
static struct ring *queue_of(struct outq *q, const struct wire_hdr *hdr)
{
	bool bulk = (hdr->type == WIRE_DATA || hdr->type == WIRE_RUN_DATA) && hdr->len && hdr->flags & (WIRE_F_AHEAD | WIRE_F_PUSH);

	return q->waits && (bulk || q->even || waits(q, hdr)) ? &q->bulk : &q->urgent;
}

uint8_t *outq_reserve(struct outq *q, const struct wire_hdr *hdr)
{
	uint8_t *at = ring_reserve(queue_of(q, hdr), WIRE_HDR_BYTES + hdr->len);

	return at ? at + WIRE_HDR_BYTES : NULL;
}

static bool is_inside(const struct ring *ring, const uint8_t *at)
{
	return at >= ring->bytes && at < ring->bytes + ring->size;
}

bool outq_put(struct outq *q, const struct wire_hdr *hdr, const void *payload)
{
	struct ring *ring = queue_of(q, hdr);
	uint8_t *at = ring_reserve(ring, WIRE_HDR_BYTES + hdr->len);

	if (!at)
		return false;
	if (hdr->len && payload != at + WIRE_HDR_BYTES) {
		/* Reserved, and not put next: something may lie there by now. */
		assert(!is_inside(&q->urgent, payload) && !is_inside(&q->bulk, payload));
		memcpy(at + WIRE_HDR_BYTES, payload, hdr->len);
	}
	wire_hdr_encode(hdr, at);
	ring_commit(ring, WIRE_HDR_BYTES + hdr->len);
	if (ring == &q->bulk)
		count(q, hdr, 1);
	return true;
}

bool outq_put_rest(struct outq *q, const struct iovec *piece, int n, size_t skip)
{
	size_t left = 0;

	assert(outq_used(q) == 0);
	for (int i = 0; i < n; i++)
		left += piece[i].iov_len;
	left -= skip;
	uint8_t *at = ring_reserve(&q->urgent, left);
	if (!at)
		return false;
	for (int i = 0; i < n; i++) {
		size_t over = MIN(skip, piece[i].iov_len);

		if (piece[i].iov_len > over)
			at = mempcpy(at, (const uint8_t *)piece[i].iov_base + over, piece[i].iov_len - over);
		skip -= over;
	}
	ring_commit(&q->urgent, left);
	return true;
}

int outq_peek(struct outq *q, size_t bulk_max, struct iovec piece[OUTQ_PIECES])
{
	struct iovec bulk[2];
	int in_bulk = ring_peek(&q->bulk, bulk), n = 0;

	q->peeked_rest = q->begun;
	q->peeked_urgent = q->urgent.used;
	if (q->begun) { /* a message is in one piece */
		piece[n++] = (struct iovec){.iov_base = bulk[0].iov_base, .iov_len = q->begun};
		bulk[0].iov_base = (uint8_t *)bulk[0].iov_base + q->begun;
		bulk[0].iov_len -= q->begun;
	}
	n += ring_peek(&q->urgent, &piece[n]);
	for (int i = 0; i < in_bulk; i++) {
		bulk[i].iov_len = MIN(bulk[i].iov_len, bulk_max);
		bulk_max -= bulk[i].iov_len;
		if (bulk[i].iov_len)
			piece[n++] = bulk[i];
	}
	return n;
}

static void take_bulk(struct outq *q, size_t n)
{
	while (n) {
		if (!q->begun) {
			memcpy(&q->begun_of, ring_front(&q->bulk), sizeof(q->begun_of)); /* ours: outq_put wrote it */
			q->begun = WIRE_HDR_BYTES + q->begun_of.len;
		}
		size_t part = MIN(n, q->begun);

		ring_take(&q->bulk, part);
		n -= part;
		q->begun -= part;
		if (!q->begun)
			count(q, &q->begun_of, UINT32_MAX);
	}
}

void outq_take(struct outq *q, size_t n)
{
	size_t rest = MIN(n, q->peeked_rest), urgent = MIN(n - rest, q->peeked_urgent), bulk = n - rest - urgent;

	take_bulk(q, rest);
	ring_take(&q->urgent, urgent);
	take_bulk(q, bulk);
	q->peeked_rest -= rest;
	q->peeked_urgent -= urgent;
	if (!q->bulk.used) {
		q->passed = 0;
		q->even = false;
	} else if (rest || bulk) {
		q->passed = urgent;
	} else {
		q->passed += urgent;
		q->even |= q->passed >= OUTQ_PASS_BYTES;
	}
}
