/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damping: a page that two nodes want all the time is worth nothing to either if it is taken away before the thread that waited for
 * it has run. So a page that came back soon after it was lost is kept for a short time, DAMPING_FAULTS times what a fault takes
 * here if nobody holds the page back. The protocol allows any delay of an order to give a page up (PROTOCOL.md), and this one is
 * bounded by HOLD_MAX_NS.
 *
 * Remembers the last comings and goings of some pages, by page number; two pages of one place forget each other, which costs no
 * more than a page not kept. One thread; no allocation after damping_init.
 */
#ifndef DSM_DAMPING_H
#define DSM_DAMPING_H

#include "base/types.h"

#define DAMPING_FAULTS 1u
#define DAMPING_PAGES  1024u /* a power of two */
#define HOLD_MIN_NS    (20 * NS_PER_US)
#define HOLD_MAX_NS    (8 * NS_PER_MS)

struct damping_page {
	rpn_t page;
	uint64_t gained_ns, lost_ns; /* 0: not yet */
};

struct damping {
	struct damping_page *page; /* [DAMPING_PAGES] */
	uint64_t fault_ns; /* the quickest remote fault of late: an average would grow with what others hold, and holds with it */
};

CHECKED int damping_init(struct damping *damping); /* -ENOMEM */
void damping_destroy(struct damping *damping);
/* The page came, `fault_ns` after it was asked for (0: no other node was); the page was taken. */
void damping_gained(struct damping *damping, rpn_t page, uint64_t now, uint64_t fault_ns);
void damping_lost(struct damping *damping, rpn_t page, uint64_t now);
/* When an order to give the page up may be obeyed; 0: now. */
uint64_t damping_until(struct damping *damping, rpn_t page, uint64_t now);

#endif
