/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is this page of guest RAM a page table of the guest that is in use, and has it settled? Pure: reads bytes, has no state.
 *
 * Long mode, 4 KiB tables of 512 entries of 8 bytes, 4 or 5 levels: Intel SDM volume 3A, 4.5; AMD APM volume 2, 5.3.
 */
#ifndef DSM_TABLES_H
#define DSM_TABLES_H

#include "base/types.h"

#define TABLE_ENTRIES      512u
#define TABLES_VISITED_MAX 4096u /* a search gives up after as many tables */

/* Some entry maps, or leads to, another page than page 0: what a page of small numbers does not. */
bool table_maps(const uint8_t *bytes);

/* Settled: at least one entry is present, every other word is zero, and no walk will set a bit any more: every present entry is
 * accessed, and dirty or not writable. `bytes`: a page, aligned to 8. */
bool table_settled(const uint8_t *bytes);

/* Reads what the guest's page tables hold. */
struct tables {
	/* The bytes of the page at a guest physical address, or NULL: not RAM, or this node has no valid copy. */
	const uint8_t *(*bytes)(const struct tables *tables, gpa_t gpa);
};

/* True if the page at `gpa` is a table of the tree whose root is `root` (CR3's address bits) with `levels` levels, 4 or 5. Subtrees
 * that cannot be read are left out, and so is what an entry leads to that no walk has used, or that forbids writes or execution in
 * all of it: kernels do that for pages, not for tables. A root may be one of some time ago, whose page is a table of another level
 * by now; by this rule the data that it maps are not taken for tables. So false may be wrong. */
bool table_is_in(const struct tables *tables, gpa_t root, unsigned levels, gpa_t gpa);

#endif
