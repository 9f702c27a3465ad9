/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of the machine as people and programs are shown them: address, home, and what the guest's symbols say of them.
 *
 * Looking for the symbols takes a while, so it is done when asked for (hotpages_look), by a thread that no fault waits for; it
 * reads what this node has of guest RAM by dsm_peek, and moves no page. The kernel is loaded on node 0 and its tables are only
 * read, so node 0 has them; another node has the pages of them that it happened to use, and may find nothing. One thread uses a
 * struct hotpages.
 */
#ifndef VMM_HOTPAGES_H
#define VMM_HOTPAGES_H

#include <jansson.h>

#include "vmm/guestsyms.h"
#include "vmm/vm.h"

#define HOTPAGES_TEXT (GUESTSYMS_TEXT + 96u)

struct hotpages {
	struct guestsyms_ram ram;
	const struct vm *vm;
	const struct symbols *symbols; /* of a file, or NULL */
	struct guestsyms *gs;
	int err;              /* why there is none; 0: not looked yet */
	_Atomic bool give_up; /* by another thread: a look that goes on is to end */
};

/* --symbols. -errno of the file, -EBADMSG; logged. The caller frees it. */
CHECKED int hotpages_read_symbols(const char *path, struct symbols **out);

/* Knows addresses and homes; `symbols` (may be NULL) is borrowed. */
void hotpages_init(struct hotpages *hot, const struct vm *vm, const struct symbols *symbols);
void hotpages_destroy(struct hotpages *hot);
/* Looks for the symbols, anew if there were any: up to GUESTSYMS_SEARCH_NS. */
void hotpages_look(struct hotpages *hot);

/* Where the names come from, or why there are none. */
const char *hotpages_source(const struct hotpages *hot);
/* "gpa 0x2a07000, home node 0: jiffies=jiffies_64, ...". buf of HOTPAGES_TEXT bytes; returns buf. */
const char *hotpages_text(const struct hotpages *hot, const struct dsm_hot *page, char *buf);
json_t *hotpages_json(const struct hotpages *hot, const struct dsm_hot *page);

#endif
