/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's timer, SDM vol. 3A 10.5.4. One-shot and periodic are kept as the time of the next expiry; the current count is
 * computed from it when somebody reads it. A change of the divider keeps the count, a change between one-shot and periodic keeps
 * the expiry, a change to or from TSC-deadline disarms (10.5.4.1).
 */
#include "vcpu/lapic_private.h"

#include <assert.h>

/* A guest that asks for a shorter period gets its ticks coalesced: the vCPU's thread must get round to running it. */
#define PERIOD_MIN_NS (50 * NS_PER_US)

static uint32_t timer_mode(const struct lapic *l)
{
	return l->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

/* Divide configuration, figure 10-10: bits 3, 1, 0 are log2 - 1; 111 is 1. */
static uint64_t divisor(const struct lapic *l)
{
	uint32_t code = (l->timer_divide & 3) | (l->timer_divide & 8) >> 1;

	return 1ull << ((code + 1) & 7);
}

static uint64_t period_ns(const struct lapic *l)
{
	return l->timer_initial * divisor(l);
}

/* Nanoseconds until the count is next 0, in (0, period]; 0 when it has stopped there. */
static uint64_t remaining_ns(const struct lapic *l, uint64_t now_ns)
{
	uint64_t period = period_ns(l);

	if (!l->timer_armed || !period)
		return 0;
	if (timer_mode(l) != TIMER_PERIODIC)
		return l->expires_ns > now_ns ? l->expires_ns - now_ns : 0;
	if (l->expires_ns > now_ns)
		return (l->expires_ns - now_ns - 1) % period + 1;
	return period - (now_ns - l->expires_ns) % period;
}

uint32_t lapic_timer_current(const struct lapic *l, const struct lapic_now *now)
{
	uint64_t div = divisor(l);

	return (uint32_t)((remaining_ns(l, now->ns) + div - 1) / div);
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count, const struct lapic_now *now)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		return;           /* 10.5.4.1: ignored */
	lapic_timer_tick(l, now); /* the count that this one replaces may have run out */
	l->timer_initial = count;
	l->timer_armed = count != 0;
	l->expires_ns = now->ns + period_ns(l);
}

void lapic_timer_set_divide(struct lapic *l, uint32_t divide, const struct lapic_now *now)
{
	uint32_t count;

	lapic_timer_tick(l, now);
	count = lapic_timer_current(l, now);
	l->timer_divide = divide;
	if (l->timer_armed)
		l->expires_ns = now->ns + count * divisor(l);
}

void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt, const struct lapic_now *now)
{
	uint32_t old = timer_mode(l);

	/* What ran out before belongs to the old entry, also when that was masked: it must not fire when unmasked. */
	lapic_timer_tick(l, now);
	l->lvt[LVT_TIMER] = lvt;
	if ((old == TIMER_DEADLINE) != (timer_mode(l) == TIMER_DEADLINE)) {
		l->timer_armed = false;
		l->timer_initial = 0;
		l->deadline_tsc = 0;
	}
}

void lapic_set_tsc_deadline(struct lapic *l, uint64_t value, const struct lapic_now *now, struct lapic_effects *effects)
{
	lapic_no_effects(effects);
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	lapic_timer_tick(l, now); /* the deadline that this one replaces may be due */
	l->deadline_tsc = value;
	effects->timer_changed = true;
}

uint64_t lapic_tsc_deadline(const struct lapic *l, const struct lapic_now *now)
{
	return l->deadline_tsc > now->tsc ? l->deadline_tsc : 0; /* cleared when it fires */
}

bool lapic_timer_next(const struct lapic *l, const struct lapic_now *now, uint64_t tsc_khz, uint64_t *ns_from_now)
{
	unsigned __int128 ns;

	assert(tsc_khz);
	if (l->lvt[LVT_TIMER] & LVT_MASKED)
		return false;
	if (timer_mode(l) != TIMER_DEADLINE) {
		if (!l->timer_armed)
			return false;
		*ns_from_now = l->expires_ns > now->ns ? l->expires_ns - now->ns : 0;
		return true;
	}
	if (!l->deadline_tsc)
		return false;
	if (l->deadline_tsc <= now->tsc) {
		*ns_from_now = 0;
		return true;
	}
	ns = ((unsigned __int128)(l->deadline_tsc - now->tsc) * 1000000 + tsc_khz - 1) / tsc_khz;
	*ns_from_now = ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
	return true;
}

/* True if something ran out; leaves the timer as it is after that. */
static bool expire(struct lapic *l, const struct lapic_now *now)
{
	uint64_t period = period_ns(l);

	if (timer_mode(l) == TIMER_DEADLINE) {
		if (!l->deadline_tsc || l->deadline_tsc > now->tsc)
			return false;
		l->deadline_tsc = 0;
		return true;
	}
	if (!l->timer_armed || l->expires_ns > now->ns)
		return false;
	if (timer_mode(l) == TIMER_PERIODIC) {
		uint64_t from = now->ns + (period < PERIOD_MIN_NS ? PERIOD_MIN_NS : 0);

		l->expires_ns += ((from - l->expires_ns) / period + 1) * period;
	} else {
		l->timer_armed = false;
	}
	return true;
}

bool lapic_timer_tick(struct lapic *l, const struct lapic_now *now)
{
	uint32_t lvt = l->lvt[LVT_TIMER];

	if (!expire(l, now) || (lvt & LVT_MASKED))
		return false;
	return lapic_deliver(l, APIC_FIXED, lvt & LVT_VECTOR, false);
}

void lapic_timer_rebase(struct lapic *l, int64_t delta_ns)
{
	l->expires_ns += (uint64_t)delta_ns;
}
