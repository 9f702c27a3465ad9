/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int ring_init(size_t size, struct ring *ring)
{
	void *bytes;

	assert(size >= PAGE_BYTES && (size & (size - 1)) == 0);
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED)
		return -ENOMEM;
	*ring = (struct ring){.bytes = bytes, .size = size};
	return 0;
}

void ring_destroy(struct ring *ring)
{
	if (ring->bytes)
		munmap(ring->bytes, ring->size);
	*ring = (struct ring){0};
}

uint8_t *ring_reserve(const struct ring *ring, size_t len)
{
	if (ring->end)
		return ring->head - ring->tail >= len ? ring->bytes + ring->tail : NULL;
	if (ring->size - ring->tail >= len)
		return ring->bytes + ring->tail;
	return ring->head >= len ? ring->bytes : NULL;
}

void ring_commit(struct ring *ring, size_t len)
{
	assert(ring_reserve(ring, len));
	if (!ring->end && ring->size - ring->tail < len) {
		ring->end = ring->tail;
		ring->tail = 0;
	}
	ring->tail += len;
	ring->used += len;
}

const uint8_t *ring_front(const struct ring *ring)
{
	assert(ring->used);
	return ring->bytes + ring->head;
}

int ring_peek(const struct ring *ring, struct iovec piece[2])
{
	size_t first = (ring->end ? ring->end : ring->tail) - ring->head;

	piece[0] = (struct iovec){.iov_base = ring->bytes + ring->head, .iov_len = first};
	piece[1] = (struct iovec){.iov_base = ring->bytes, .iov_len = ring->used - first};
	return (ring->used > 0) + (ring->used > first);
}

void ring_take(struct ring *ring, size_t n)
{
	assert(n <= ring->used);
	ring->used -= n;
	ring->head += n;
	if (ring->end && ring->head >= ring->end) {
		ring->head -= ring->end;
		ring->end = 0;
	}
	/* An empty ring starts over, so that a short queue keeps to the pages it has touched. */
	if (!ring->used)
		ring->head = ring->tail = 0;
}
