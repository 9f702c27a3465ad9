/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of a shard that are in motion: a hash from page number to a slot in a fixed pool.
 *
 * Almost every page is idle and is kept packed in a few bytes; the full state machine of one that is not lives
 * here, for as long as its transaction lasts. The pool is allocated once, so that a fault allocates nothing; of a pool that is
 * larger than it ever needs to be only what was used takes memory. One thread uses a table; no locks. The value type is the
 * including file's: a slot is an index.
 */
#ifndef DSM_PAGETAB_H
#define DSM_PAGETAB_H

#include "base/types.h"

#define PAGETAB_NONE UINT32_MAX

struct pagetab {
	uint32_t buckets; /* power of two, twice the slots */
	uint32_t used;
	uint32_t slots;
	uint32_t *bucket; /* slot + 1, or 0 */
	rpn_t *page;      /* of a slot */
	uint32_t touched; /* slots that have been given out, [0, touched) */
	uint32_t *free;   /* stack of those of them that are free: touched - used */
};

CHECKED int pagetab_init(struct pagetab *tab, uint32_t slots); /* a power of two. -ENOMEM */
void pagetab_destroy(struct pagetab *tab);
/* The slot of a page, or PAGETAB_NONE. */
uint32_t pagetab_find(const struct pagetab *tab, rpn_t page);
/* A new slot for a page that has none. PAGETAB_NONE: the pool is exhausted. */
uint32_t pagetab_add(struct pagetab *tab, rpn_t page);
void pagetab_remove(struct pagetab *tab, rpn_t page);
void pagetab_clear(struct pagetab *tab);

/* Walks the used slots: start with 0; PAGETAB_NONE at the end. The page of the slot in *page. */
uint32_t pagetab_next(const struct pagetab *tab, uint32_t *cursor, rpn_t *page);

#endif
