/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages a node is about to want: streams of faults at a constant distance, forwards, backwards or with a stride.
 *
 * Two faults next to each other, or three at one distance of up to STREAM_STRIDE pages, make a stream. A stream asks for a window
 * of pages ahead, which doubles each time that the window was used up:
 *
 *      faults     p, p+1             p+6               p+15
 *      asked for         p+2 .. p+5       p+7 .. p+14       p+16 .. p+31
 *
 * A page that came ahead says nothing when it is touched. So the evidence that a window was used is the fault on the page right
 * after it. A stream that ends otherwise has wasted its last window, and the largest window that any stream of this node may have
 * is halved; each window used doubles it again, up to STREAM_WINDOW.
 *
 * Who reads faster than pages come is seen before that: its faults are on pages of the window that are still to come, or came
 * while the fault was on its way. From the middle of a window of STREAM_LATE pages or more on such a fault asks for what comes
 * after it, so that the other node need not wait until this one has used up all that it was sent.
 *
 * Pure; one thread.
 */
#ifndef DSM_STREAM_H
#define DSM_STREAM_H

#include "base/types.h"

#define STREAMS       8u
#define STREAM_STRIDE 64   /* pages */
#define STREAM_FIRST  4u   /* pages of a stream's first window */
#define STREAM_LATE   64u  /* pages of the least window that does not wait until it is used up */
#define STREAM_WINDOW 256u /* pages of its largest */

struct stream {
	rpn_t last;     /* the last fault */
	int64_t stride; /* pages between faults; 0: one fault seen */
	uint32_t window;
	uint64_t used; /* when, in faults of this node */
	bool write;
	bool live;
};

struct streams {
	struct stream stream[STREAMS];
	uint64_t faults;
	uint32_t limit; /* the largest window now; 0: not set yet */
};

/* What to ask for: pages first, first + stride, ... n of them; they may be there, or beyond RAM. used, wasted: pages of windows
 * that turned out so by this fault. */
struct stream_ahead {
	rpn_t first;
	int64_t stride;
	uint32_t n;
	uint32_t used, wasted;
};

/* A fault of this node that had to be asked for. */
struct stream_ahead stream_fault(struct streams *s, rpn_t page, bool write);
/* A fault that was not asked for, as its page was already, or has come since. */
struct stream_ahead stream_late(struct streams *s, rpn_t page, bool write);

#endif
