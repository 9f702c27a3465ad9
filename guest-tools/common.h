/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every guest program shares: options, clock, result line, run-time bound.
 *
 * The programs run in the guest's initramfs, each one static file. Options are given as
 * `name=value`, `--name=value` or `--name value`; an unknown one is an error, so that a test that
 * misspells an option fails instead of testing something else. Sizes take K, M, G.
 *
 * Exit status: 0 passed, 1 failed, 2 bad option, 77 this guest cannot run it (one CPU, say).
 * A program says why on one line that starts with its name. Every program is bounded: after
 * `limit` seconds a signal ends it with status 1, wherever it hangs.
 *
 * Everything is static inline, so that a program stays one .c file. No thread starts here.
 */
#ifndef GUEST_TOOLS_COMMON_H
#define GUEST_TOOLS_COMMON_H

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIP  77
#define PAGE_BYTES 4096u
#define KIB        UINT64_C(1024)
#define MIB        (KIB * KIB)

/* One option: a number (with an optional K, M or G) or, when `text` is set, a string. */
struct option_def {
	const char *name;
	uint64_t *number;
	const char **text;
};

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* lfence keeps the reading after every load before it, as the vendors ask for timing. */
static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* Console output is lost when the machine stops before the UART has sent it. */
static inline void drain_output(void)
{
	fflush(stdout);
	fflush(stderr);
	(void)tcdrain(STDOUT_FILENO); /* fails when it is a pipe: nothing to wait for then */
}

__attribute__((noreturn, format(printf, 2, 3))) static inline void finish(int status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	drain_output();
	_exit(status);
}

/* Parses "12", "512M", "1G"; false if it is anything else or does not fit. */
static inline bool parse_size(const char *s, uint64_t *out)
{
	char *end;
	unsigned shift = 0;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 0);
	switch (*end) {
	case 'G':
		shift += 10;
		__attribute__((fallthrough));
	case 'M':
		shift += 10;
		__attribute__((fallthrough));
	case 'K':
		shift += 10;
		end++;
		break;
	default:
		break;
	}
	if (errno || *end || (shift && v >> (64 - shift)))
		return false;
	*out = v << shift;
	return true;
}

static inline void parse_options(int argc, char **argv, const char *program, const struct option_def *defs, size_t n)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		bool dashed = !strncmp(name, "--", 2);
		if (dashed)
			name += 2;
		const char *value = strchr(name, '=');
		size_t len = value ? (size_t)(value - name) : strlen(name);
		if (value)
			value++;
		else if (dashed && i + 1 < argc)
			value = argv[++i];
		const struct option_def *def = NULL;
		for (size_t j = 0; j < n; j++)
			if (strlen(defs[j].name) == len && !strncmp(defs[j].name, name, len))
				def = &defs[j];
		if (!def)
			finish(2, "%s: unknown option '%s'", program, argv[i]);
		if (!value || !*value)
			finish(2, "%s: option '%s' needs a value", program, def->name);
		if (def->text)
			*def->text = value;
		else if (!parse_size(value, def->number))
			finish(2, "%s: option '%s': '%s' is not a number", program, def->name, value);
	}
}

#define PARSE_OPTIONS(argc, argv, program, defs) parse_options(argc, argv, program, defs, sizeof(defs) / sizeof((defs)[0]))

static inline void on_limit(int sig)
{
	static const char text[] = "\nguest-tools: time limit reached, giving up\n";

	(void)sig;
	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

/* Ends the program with status 1 after so many seconds. 0 means no limit. */
static inline void set_limit(uint64_t seconds)
{
	struct sigaction act = {.sa_handler = on_limit};

	sigaction(SIGALRM, &act, NULL);
	alarm((unsigned)seconds);
}

static inline int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static inline void sort_u64(uint64_t *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare_u64);
}

/* The p-th percentile of a sorted array, nearest rank; 0 for an empty one. */
static inline uint64_t percentile(const uint64_t *sorted, size_t n, unsigned p)
{
	if (!n)
		return 0;
	size_t rank = (n * p + 99) / 100;
	return sorted[rank ? rank - 1 : 0];
}

#endif
