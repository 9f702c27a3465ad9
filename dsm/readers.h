/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that many read and one writes now and then. When such a page has been written, each of its readers would fault, ask and
 * wait again. So once the first of them has asked, the home has it pushed to the others too (PROTOCOL.md, Pushes).
 *
 * The evidence is who had a copy when the page was written: if it is mostly the same nodes as the time before, two or more of them,
 * they will read it the next time as well. A copy that was pushed says nothing about whether it was read, so every READERS_PROBE-th
 * time nothing is pushed, and who then asks is who reads. A table of READERS_PAGES remembers the pages of this home that are
 * written so; a page that is not in it has no history, and who comes in its place has to come twice.
 *
 * A hint for the protocol, so a wrong one costs time only. Pure; one thread.
 */
#ifndef DSM_READERS_H
#define DSM_READERS_H

#include "base/types.h"

#define READERS_PAGES 1024u
#define READERS_PROBE 8u
#define READERS_SURE  3u /* the most that evidence counts */

struct readers_page {
	rpn_t page;
	uint64_t nodes; /* who had a copy when it was last written; 0: an empty slot */
	uint8_t score;  /* how often in a row they were mostly the same */
	uint8_t turn;   /* reads that began a round */
};

struct readers {
	struct readers_page slot[READERS_PAGES];
};

/* The page is being written, which takes the copies of `nodes`. */
void readers_written(struct readers *r, rpn_t page, uint64_t nodes);
/* One of them has asked for the page that only its writer has: who had better have a copy as well. */
uint64_t readers_push(struct readers *r, rpn_t page);

#endif
