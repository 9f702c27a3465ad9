/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/stats.h"

#include <string.h>

uint64_t dsm_percentile(const uint64_t histogram[DSM_HISTOGRAM], double percent)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < DSM_HISTOGRAM; i++)
		all += histogram[i];
	for (unsigned i = 0; i < DSM_HISTOGRAM; i++) {
		seen += histogram[i];
		if (all && (double)seen >= (double)all * percent / 100)
			return (uint64_t)2 << i;
	}
	return 0;
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
	for (unsigned i = 0; i < DSM_HISTOGRAM; i++) {
		a->read_ns[i] += b->read_ns[i];
		a->write_ns[i] += b->write_ns[i];
	}
	for (unsigned i = 0; i < DSM_HOTTEST && b->hot[i].transactions; i++)
		enter(a, &b->hot[i]);
}
