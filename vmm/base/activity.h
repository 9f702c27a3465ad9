/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a vCPU of this node can have written guest memory since somebody last looked. Vcpu counts, dsm asks (replica.h); any
 * threads.
 *
 *   vCPU: activity_enter | KVM_RUN | activity_leave          dsm: activity_quiet, look ... activity_quiet again, the same number
 *
 * `inside` goes up before `entries`, and activity_quiet reads them the other way round. So if it is true with a number, whoever
 * has been counted in that number has left, and what it wrote is seen; and while the number stays nobody has entered.
 */
#ifndef BASE_ACTIVITY_H
#define BASE_ACTIVITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct guest_activity {
	_Atomic uint64_t entries;
	_Atomic uint32_t inside;
};

static inline void activity_enter(struct guest_activity *a)
{
	atomic_fetch_add(&a->inside, 1);
	atomic_fetch_add(&a->entries, 1);
}

static inline void activity_leave(struct guest_activity *a)
{
	atomic_fetch_sub(&a->inside, 1);
}

/* False: a vCPU is in the guest, or nothing is known (NULL). */
static inline bool activity_quiet(const struct guest_activity *a, uint64_t *entries)
{
	if (!a)
		return false;
	*entries = atomic_load(&a->entries);
	return atomic_load(&a->inside) == 0;
}

#endif
