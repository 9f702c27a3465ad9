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

/* Settled: at least one entry is present, every other word is zero, and no walk will set a bit any more: every present entry is
 * accessed, and dirty or not writable. `bytes`: a page, aligned to 8. */
bool table_settled(const uint8_t *bytes);

/* Reads what the guest's page tables hold. */
struct tables {
	/* The bytes of the page at a guest physical address, or NULL: not RAM, or this node has no valid copy. */
	const uint8_t *(*bytes)(const struct tables *tables, gpa_t gpa);
};

/* True if the page at `gpa` is a table of the tree whose root is `root` (CR3's address bits) with `levels` levels, 4 or 5. Subtrees
 * that cannot be read are left out, so false may be wrong; true is right for the bytes as they were read. */
bool table_is_in(const struct tables *tables, gpa_t root, unsigned levels, gpa_t gpa);

#endif
