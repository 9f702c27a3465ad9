/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/polling.h"

#define FIRST_NS (10 * NS_PER_US)

void polling_init(struct polling *p, uint64_t min_ns, uint64_t max_ns)
{
	*p = (struct polling){.max_ns = MAX(min_ns, max_ns), .min_ns = min_ns, .ns = min_ns};
}

bool polling_goes_on(const struct polling *p, uint64_t now)
{
	return now - p->worked_ns < p->ns;
}

void polling_sleeps(struct polling *p, uint64_t now)
{
	if (!p->asleep_ns)
		p->asleep_ns = now;
}

/* Polling for less than FIRST_NS saves nobody anything. */
static void adapt(struct polling *p, uint64_t slept_ns)
{
	uint64_t ns = slept_ns <= p->max_ns ? MAX(2 * p->ns, FIRST_NS) : p->ns / 2;

	if (slept_ns > p->max_ns && ns < FIRST_NS)
		ns = 0;
	p->ns = MIN(MAX(ns, p->min_ns), p->max_ns);
}

void polling_worked(struct polling *p, uint64_t woke, uint64_t now)
{
	if (p->asleep_ns)
		adapt(p, woke - p->asleep_ns);
	p->asleep_ns = 0;
	p->worked_ns = now;
}
