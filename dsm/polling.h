/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread that has had work looks for more before it sleeps. To wake a thread costs some microseconds, which an answer
 * over RDMA takes as well; but a thread that looks for what does not come takes a processor from others. So the time follows what
 * sleeping was like: it grows while sleeps are shorter than the most that may be polled, as polling would have saved them, and
 * shrinks to nothing with long ones. Pure; one thread.
 */
#ifndef DSM_POLLING_H
#define DSM_POLLING_H

#include "base/types.h"

struct polling {
	uint64_t max_ns, min_ns; /* 0, 0: never */
	uint64_t ns;             /* now */
	uint64_t worked_ns;      /* the end of the last work */
	uint64_t asleep_ns;      /* since when it sleeps, 0: it does not */
};

/* From now on never less than min_ns and never more than max_ns or, if that is more, min_ns. */
void polling_init(struct polling *p, uint64_t min_ns, uint64_t max_ns);
/* Whether to look once more rather than sleep. */
bool polling_goes_on(const struct polling *p, uint64_t now);
/* It goes to sleep, or sleeps on after it woke for nothing. */
void polling_sleeps(struct polling *p, uint64_t now);
/* Work came at `woke`, and is done. */
void polling_worked(struct polling *p, uint64_t woke, uint64_t now);

#endif
