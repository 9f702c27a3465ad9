/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmark's programs share: a clock, percentiles, numbers of a command line. Inline functions that need the C library
 * only, so that programs which stand alone still do. Any thread may call them; number() ends the program.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static inline void sort_ns(uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), ascending);
}

/* The p-th percentile of n > 0 sorted values, nearest rank, as the guest's programs have it. */
static inline uint64_t percentile(const uint64_t *sorted, size_t n, size_t p)
{
	size_t rank = (n * p + 99) / 100;

	return sorted[rank ? rank - 1 : 0];
}

/* A decimal number from min to max; anything else is said on stderr, and the exit code is 2. */
static inline unsigned long number(const char *program, const char *text, unsigned long min, unsigned long max)
{
	char *end;

	errno = 0;
	unsigned long v = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v < min || v > max) {
		fprintf(stderr, "%s: '%s' is not a number from %lu to %lu\n", program, text, min, max);
		exit(2);
	}
	return v;
}

#endif
