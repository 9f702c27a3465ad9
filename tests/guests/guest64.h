/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the 64-bit freestanding guests share: output, time, the words of a command line, sorting. Included once by each, after
 * which everything here is its own. Works at CPL 0 and, with boot64.S, at CPL 3.
 */
#ifndef TESTS_GUESTS_GUEST64_H
#define TESTS_GUESTS_GUEST64_H

#include "guest.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MULTIBOOT 0x2badb002u

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

/* The compiler may call these for any assignment. */
void *memcpy(void *to, const void *from, size_t n)
{
	uint8_t *d = to;
	const uint8_t *s = from;

	while (n--) {
		*d++ = *s++;
		__asm__ volatile("" : : : "memory");
	}
	return to;
}

void *memset(void *to, int value, size_t n)
{
	uint8_t *d = to;

	while (n--) {
		*d++ = (uint8_t)value;
		__asm__ volatile("" : : : "memory");
	}
	return to;
}

static void put(const char *s)
{
	/* Exactly the instruction that the #GP handler knows. */
	for (; *s; s++)
		__asm__ volatile("out %%al, (%%dx)" : : "a"(*s), "d"(PORT_SERIAL));
}

static void put_number(uint64_t v, unsigned base)
{
	char text[24], *p = text + sizeof(text) - 1;

	*p = 0;
	do {
		*--p = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	put(p);
}

__attribute__((noreturn)) static void quit(uint32_t code)
{
	__asm__ volatile("out %%eax, (%%dx)" : : "a"(code), "d"(PORT_EXIT));
	for (;;)
		__asm__ volatile("pause");
}

static uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static bool read_size(const char *s, uint64_t *out)
{
	uint64_t v = 0;
	unsigned base = 10, digits = 0;

	if (s[0] == '0' && s[1] == 'x') {
		base = 16;
		s += 2;
	}
	for (;; s++, digits++) {
		unsigned d;
		if (*s >= '0' && *s <= '9')
			d = (unsigned)(*s - '0');
		else if (base == 16 && *s >= 'a' && *s <= 'f')
			d = (unsigned)(*s - 'a') + 10;
		else
			break;
		if (v >> 48)
			return false;
		v = v * base + d;
	}
	if (*s == 'K' || *s == 'M' || *s == 'G') {
		v <<= *s == 'K' ? 10 : *s == 'M' ? 20 : 30;
		s++;
	}
	*out = v;
	return digits && (!*s || *s == ' ');
}

/* "name=" at s: what follows it, else NULL. */
static const char *value_of(const char *s, const char *name)
{
	while (*name)
		if (*s++ != *name++)
			return NULL;
	return *s == '=' ? s + 1 : NULL;
}

/* Heap sort: no recursion, no more memory. */
static void sift(uint64_t *v, uint64_t at, uint64_t n)
{
	for (uint64_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && v[child + 1] > v[child])
			child++;
		if (v[at] >= v[child])
			return;
		uint64_t tmp = v[at];
		v[at] = v[child];
		v[child] = tmp;
	}
}

static void sort(uint64_t *v, uint64_t n)
{
	for (uint64_t i = n / 2; i-- > 0;)
		sift(v, i, n);
	for (uint64_t end = n; end-- > 1;) {
		uint64_t tmp = v[0];
		v[0] = v[end];
		v[end] = tmp;
		sift(v, 0, end);
	}
}

static uint64_t rank(uint64_t percent, uint64_t n)
{
	uint64_t r = (n * percent + 99) / 100;

	return r ? r - 1 : 0;
}

/* Cycles as nanoseconds if the TSC's rate is known, after a label. */
static void put_time(const char *label, uint64_t cycles, uint64_t khz)
{
	put(label);
	put_number(khz ? cycles * 1000 / khz * 1000 + cycles * 1000 % khz * 1000 / khz : cycles, 10);
}

/* Sorts samples[0, n), and prints "p50=.. p99=.. min=.. max=.. n=.. ns|cycles". */
static void put_samples(uint64_t *samples, uint64_t n, uint64_t khz)
{
	sort(samples, n);
	put_time(" p50=", samples[rank(50, n)], khz);
	put_time(" p99=", samples[rank(99, n)], khz);
	put_time(" min=", samples[0], khz);
	put_time(" max=", samples[n - 1], khz);
	put(" n=");
	put_number(n, 10);
	put(khz ? " ns\n" : " cycles\n");
}

/* The kernel command line that the loader left, or NULL. `info`, `magic`: as it entered. */
static const char *command_line(uint32_t info, uint32_t magic)
{
	const uint32_t *mbi = (const uint32_t *)(uintptr_t)info;
	const uint64_t *pvh = (const uint64_t *)(uintptr_t)(info + 24); /* hvm_start_info.cmdline_paddr */

	if (magic != MULTIBOOT)
		return (const char *)(uintptr_t)pvh[0];
	return mbi[0] & 4 ? (const char *)(uintptr_t)mbi[4] : NULL;
}

#endif
