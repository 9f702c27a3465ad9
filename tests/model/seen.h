/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of states that a walk has seen, in the order of their discovery, each with the one it was reached from. A state is its
 * key: two bytes of length, then so many bytes. One thread; grows; ends the program if there is no memory.
 */
#ifndef TESTS_MODEL_SEEN_H
#define TESTS_MODEL_SEEN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 1024

struct seen_one {
	uint64_t key; /* offset in the arena: length (2 bytes), bytes */
	uint32_t parent;
	uint32_t depth;
};

struct seen {
	uint32_t n, room;
	struct seen_one *one;
	uint32_t slots; /* power of two */
	uint32_t *slot; /* hash table of index + 1 */
	uint8_t *arena;
	uint64_t used, arena_room;
};

static inline void *must(void *ptr)
{
	if (!ptr) {
		fputs("model: out of memory\n", stderr);
		exit(1);
	}
	return ptr;
}

static inline uint32_t *seen_slot(const struct seen *seen, uint32_t *slot, uint32_t slots, const uint8_t *key)
{
	uint64_t h = 0;
	uint16_t len;
	uint32_t s;

	memcpy(&len, key, 2);
	for (size_t i = 0; i < len + 2u; i++)
		h = (h ^ key[i]) * 0x100000001b3ull;
	h ^= h >> 32;
	for (s = (uint32_t)h & (slots - 1); slot[s]; s = (s + 1) & (slots - 1))
		if (!memcmp(seen->arena + seen->one[slot[s] - 1].key, key, len + 2u))
			break;
	return &slot[s];
}

static inline void seen_grow(struct seen *seen)
{
	uint32_t slots = seen->slots ? seen->slots * 2 : 1u << 14;
	uint32_t *slot = must(calloc(slots, sizeof(*slot)));

	for (uint32_t i = 0; i < seen->n; i++)
		*seen_slot(seen, slot, slots, seen->arena + seen->one[i].key) = i + 1;
	free(seen->slot);
	seen->slot = slot;
	seen->slots = slots;
}

/* Adds the state unless it is there; whether it was new. */
static inline bool seen_put(struct seen *seen, const uint8_t *key, uint32_t parent)
{
	uint32_t *slot;
	uint16_t len;

	memcpy(&len, key, 2);
	if (seen->n * 2 >= seen->slots)
		seen_grow(seen);
	slot = seen_slot(seen, seen->slot, seen->slots, key);
	if (*slot)
		return false;
	if (seen->n == seen->room) {
		seen->room = seen->room ? seen->room * 2 : 1024;
		seen->one = must(realloc(seen->one, seen->room * sizeof(*seen->one)));
	}
	if (seen->used + KEY_BYTES > seen->arena_room) {
		seen->arena_room = seen->arena_room ? seen->arena_room * 2 : 1 << 20;
		seen->arena = must(realloc(seen->arena, seen->arena_room));
	}
	memcpy(seen->arena + seen->used, key, len + 2u);
	seen->one[seen->n] = (struct seen_one){.key = seen->used, .parent = parent};
	seen->one[seen->n].depth = seen->n ? seen->one[parent].depth + 1 : 0;
	seen->used += len + 2u;
	*slot = ++seen->n;
	return true;
}

static inline const uint8_t *seen_key(const struct seen *seen, uint32_t index)
{
	return seen->arena + seen->one[index].key;
}

static inline void seen_free(struct seen *seen)
{
	free(seen->one);
	free(seen->slot);
	free(seen->arena);
}

#endif
