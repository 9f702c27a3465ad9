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

static inline struct timespec clock_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
}

/* What is left until then as poll(2) wants it: ms, rounded up, 0 when it is over. */
static inline int clock_ms_left(uint64_t deadline_ns)
{
	uint64_t now = clock_ns();

	return now >= deadline_ns ? 0 : (int)MIN((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS, 1u << 30);
}

static inline uint64_t clock_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
