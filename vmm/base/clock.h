/* SPDX-License-Identifier: Apache-2.0 */
/* This host's clocks. CLOCK_MONOTONIC in nanoseconds, and the raw time-stamp counter. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <time.h>

#include "base/types.h"

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
