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

void ring_put(struct ring *ring, const void *data, size_t len)
{
	size_t tail = (ring->head + ring->used) & (ring->size - 1);
	size_t first = MIN(len, ring->size - tail);

	assert(len <= ring_room(ring));
	if (len == 0)
		return;
	memcpy(ring->bytes + tail, data, first);
	memcpy(ring->bytes, (const uint8_t *)data + first, len - first);
	ring->used += len;
}

int ring_peek(const struct ring *ring, struct iovec piece[2])
{
	size_t first = MIN(ring->used, ring->size - ring->head);

	piece[0] = (struct iovec){.iov_base = ring->bytes + ring->head, .iov_len = first};
	piece[1] = (struct iovec){.iov_base = ring->bytes, .iov_len = ring->used - first};
	return (first > 0) + (ring->used > first);
}

void ring_take(struct ring *ring, size_t n)
{
	assert(n <= ring->used);
	ring->used -= n;
	/* An empty ring starts over, so that a short queue keeps to the pages it has touched. */
	ring->head = ring->used ? (ring->head + n) & (ring->size - 1) : 0;
}
