/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a vCPU of this node can have written guest memory since somebody last looked. Vcpu counts, dsm asks (replica.h); any
 * threads. A vCPU has a counter of its own, in a cache line of its own, which is odd while it is in the guest.
 *
 *   vCPU: activity_enter | KVM_RUN | activity_leave          dsm: activity_quiet, look ... activity_quiet again, the same number
 *
 * Quiet with a number: each was seen outside, and what it had written is seen. The number is the sum of counters that only grow, so
 * while it stays nobody has entered.
 */
#ifndef BASE_ACTIVITY_H
#define BASE_ACTIVITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

#define CACHE_LINE_BYTES 64

struct activity_count {
	_Atomic uint64_t passes; /* in and out */
} __attribute__((aligned(CACHE_LINE_BYTES)));

struct guest_activity {
	vcpu_t n;
	struct activity_count *vcpu; /* [n] */
};

/* Sequentially consistent: what the guest writes comes after it. By the vCPU's thread, as its reverse. */
static inline void activity_enter(struct activity_count *count)
{
	atomic_store(&count->passes, atomic_load_explicit(&count->passes, memory_order_relaxed) + 1);
}

static inline void activity_leave(struct activity_count *count)
{
	atomic_store_explicit(&count->passes, atomic_load_explicit(&count->passes, memory_order_relaxed) + 1, memory_order_release);
}

/* False: a vCPU is in the guest, or nothing is known (NULL); then the number means nothing. */
static inline bool activity_quiet(const struct guest_activity *a, uint64_t *number)
{
	*number = 0;
	for (vcpu_t i = 0; a && i < a->n; i++) {
		uint64_t passes = atomic_load_explicit(&a->vcpu[i].passes, memory_order_acquire);

		if (passes & 1)
			return false; /* mostly the first that is looked at, of a node that is busy */
		*number += passes;
	}
	return a;
}

#endif
