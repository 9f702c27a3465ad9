/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmark's programs share: a clock, percentiles, numbers of a command line, a CPU to stay on, how to give up. Inline
 * functions that need the C library only, so that programs which stand alone still do. Any thread may call them; fail(), number()
 * and pin() end the program.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* Into another order, always the same, that nothing can foresee. */
static inline void shuffle(uint64_t *v, size_t n)
{
	uint64_t random = 88172645463325252u;

	for (size_t i = n; i > 1; i--) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		size_t j = random % i;
		uint64_t other = v[i - 1];

		v[i - 1] = v[j];
		v[j] = other;
	}
}

/* Says on stderr what failed, and the words of err (errno or -errno) unless it is 0. Ends the program at once, as threads may sleep
 * in faults. */
__attribute__((noreturn)) static inline void fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, err ? ": " : "", err ? strerror(abs(err)) : "");
	_exit(1);
}

/* This process stays on that CPU; -1: where it likes. */
static inline void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("cannot run on that CPU", errno);
}

/* A decimal number from min to max; anything else is said on stderr, and the exit code is 2. */
static inline unsigned long number(const char *text, unsigned long min, unsigned long max)
{
	char *end;

	errno = 0;
	unsigned long v = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v < min || v > max) {
		fprintf(stderr, "%s: '%s' is not a number from %lu to %lu\n", program_invocation_short_name, text, min, max);
		exit(2);
	}
	return v;
}

#endif
