/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/stats.h"

#include <string.h>

unsigned dsm_latency_step(uint64_t ns)
{
	uint64_t us = ns / NS_PER_US;

	if (us < 4)
		return (unsigned)us;
	unsigned octave = 63u - (unsigned)__builtin_clzll(us); /* from 2 on */
	unsigned step = 4 * (octave - 1) + (us >> (octave - 2) & 3);
	return MIN(step, DSM_LATENCY - 1u);
}

/* The first microsecond that is above the step. */
static uint64_t end_of(unsigned step)
{
	return step < 4 ? step + 1 : (uint64_t)(step % 4 + 5) << (step / 4 - 1);
}

uint64_t dsm_percentile(const uint64_t latency[DSM_LATENCY], double percent)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < DSM_LATENCY; i++)
		all += latency[i];
	for (unsigned i = 0; i < DSM_LATENCY; i++) {
		seen += latency[i];
		if (all && (double)seen >= (double)all * percent / 100)
			return end_of(i);
	}
	return 0;
}

void dsm_histogram(const uint64_t latency[DSM_LATENCY], uint64_t histogram[DSM_HISTOGRAM])
{
	unsigned bucket = 0;

	memset(histogram, 0, DSM_HISTOGRAM * sizeof(*histogram));
	for (unsigned i = 0; i < DSM_LATENCY; i++) {
		while (end_of(i) > (uint64_t)1 << bucket)
			bucket++;
		histogram[bucket] += latency[i];
	}
}

static void enter(struct dsm_stats *stats, const struct dsm_hot *hot)
{
	size_t at = DSM_HOTTEST;

	while (at > 0 && stats->hot[at - 1].transactions < hot->transactions)
		at--;
	if (at == DSM_HOTTEST)
		return;
	memmove(&stats->hot[at + 1], &stats->hot[at], (DSM_HOTTEST - 1 - at) * sizeof(stats->hot[0]));
	stats->hot[at] = *hot;
}

void dsm_stats_hot(struct dsm_stats *stats, uint64_t page, uint64_t transactions)
{
	struct dsm_hot hot = {.page = page, .transactions = transactions};

	enter(stats, &hot);
}

void dsm_stats_add(struct dsm_stats *a, const struct dsm_stats *b)
{
#define ADD(name, text) a->name += b->name;
	DSM_COUNTERS(ADD)
#undef ADD
	for (unsigned i = 0; i < DSM_LATENCY; i++) {
		a->read_us[i] += b->read_us[i];
		a->write_us[i] += b->write_us[i];
	}
	for (unsigned i = 0; i < DSM_HOTTEST && b->hot[i].transactions; i++)
		enter(a, &b->hot[i]);
}
