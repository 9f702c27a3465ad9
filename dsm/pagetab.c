/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/pagetab.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Fibonacci hashing: neighbouring pages, the common case, land far apart. */
static uint32_t home_bucket(const struct pagetab *tab, rpn_t page)
{
	return (uint32_t)((page * 0x9e3779b97f4a7c15ull) >> 32) & (tab->buckets - 1);
}

int pagetab_init(struct pagetab *tab, uint32_t slots)
{
	assert((slots & (slots - 1)) == 0);
	memset(tab, 0, sizeof(*tab));
	tab->slots = slots;
	tab->buckets = 2 * slots;
	tab->bucket = calloc(tab->buckets, sizeof(*tab->bucket));
	tab->page = calloc(slots, sizeof(*tab->page));
	tab->free = calloc(slots, sizeof(*tab->free));
	if (!tab->bucket || !tab->page || !tab->free) {
		pagetab_destroy(tab);
		return -ENOMEM;
	}
	pagetab_clear(tab);
	return 0;
}

void pagetab_destroy(struct pagetab *tab)
{
	free(tab->bucket);
	free(tab->page);
	free(tab->free);
	memset(tab, 0, sizeof(*tab));
}

void pagetab_clear(struct pagetab *tab)
{
	memset(tab->bucket, 0, tab->buckets * sizeof(*tab->bucket));
	tab->used = tab->touched = 0;
}

/* The bucket that holds the page, or the empty one where it would go. */
static uint32_t probe(const struct pagetab *tab, rpn_t page)
{
	uint32_t b = home_bucket(tab, page);

	while (tab->bucket[b] && tab->page[tab->bucket[b] - 1] != page)
		b = (b + 1) & (tab->buckets - 1);
	return b;
}

uint32_t pagetab_find(const struct pagetab *tab, rpn_t page)
{
	uint32_t slot = tab->bucket[probe(tab, page)];

	return slot ? slot - 1 : PAGETAB_NONE;
}

uint32_t pagetab_add(struct pagetab *tab, rpn_t page)
{
	uint32_t b = probe(tab, page);

	assert(!tab->bucket[b]);
	if (tab->used == tab->slots)
		return PAGETAB_NONE;
	uint32_t slot = tab->used < tab->touched ? tab->free[tab->touched - tab->used - 1] : tab->touched++;
	tab->used++;
	tab->page[slot] = page;
	tab->bucket[b] = slot + 1;
	return slot;
}

/* Linear probing without tombstones: what follows in the run and could not be found past the gap moves into it. */
void pagetab_remove(struct pagetab *tab, rpn_t page)
{
	uint32_t gap = probe(tab, page);
	uint32_t mask = tab->buckets - 1;

	assert(tab->bucket[gap]);
	tab->free[tab->touched - tab->used--] = tab->bucket[gap] - 1;
	tab->bucket[gap] = 0;
	for (uint32_t b = (gap + 1) & mask; tab->bucket[b]; b = (b + 1) & mask) {
		uint32_t home = home_bucket(tab, tab->page[tab->bucket[b] - 1]);

		if (((b - home) & mask) < ((b - gap) & mask))
			continue;
		tab->bucket[gap] = tab->bucket[b];
		tab->bucket[b] = 0;
		gap = b;
	}
}

uint32_t pagetab_next(const struct pagetab *tab, uint32_t *cursor, rpn_t *page)
{
	while (*cursor < tab->buckets) {
		uint32_t slot = tab->bucket[(*cursor)++];

		if (slot) {
			*page = tab->page[slot - 1];
			return slot - 1;
		}
	}
	return PAGETAB_NONE;
}
