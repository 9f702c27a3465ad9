/* SPDX-License-Identifier: Apache-2.0 */
/* A set of vCPUs, VCPUS_MAX bits, by value. Not atomic. */
#ifndef BASE_VCPUSET_H
#define BASE_VCPUSET_H

#include <string.h>

#include "base/types.h"

struct vcpuset {
	uint64_t word[VCPUS_MAX / 64];
};

static inline void vcpuset_clear(struct vcpuset *set)
{
	memset(set, 0, sizeof(*set));
}

static inline void vcpuset_add(struct vcpuset *set, vcpu_t vcpu)
{
	set->word[vcpu / 64] |= (uint64_t)1 << (vcpu % 64);
}

static inline void vcpuset_remove(struct vcpuset *set, vcpu_t vcpu)
{
	set->word[vcpu / 64] &= ~((uint64_t)1 << (vcpu % 64));
}

static inline bool vcpuset_has(const struct vcpuset *set, vcpu_t vcpu)
{
	return set->word[vcpu / 64] >> (vcpu % 64) & 1;
}

static inline bool vcpuset_empty(const struct vcpuset *set)
{
	for (size_t i = 0; i < ARRAY_SIZE(set->word); i++)
		if (set->word[i])
			return false;
	return true;
}

/* The lowest member at or above `from`, or VCPU_NONE. */
static inline vcpu_t vcpuset_next(const struct vcpuset *set, vcpu_t from)
{
	for (vcpu_t i = from; i < VCPUS_MAX; i++) {
		uint64_t rest = set->word[i / 64] >> (i % 64);

		if (rest)
			return i + (vcpu_t)__builtin_ctzll(rest);
		i |= 63;
	}
	return VCPU_NONE;
}

#endif
