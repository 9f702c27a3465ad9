/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/oneclock.h"

#include <assert.h>
#include <string.h>

#define BILLION        1000000000
#define FIT_SPAN       ((int64_t)1 << 40) /* of what takes part in the line: some minutes */
#define RATE_USUAL_PPB 100000

/* Rounded down, as shifts of bounds downwards must be. */
static __int128 floor_div(__int128 a, __int128 b)
{
	__int128 q = a / b;

	return q - (a % b != 0 && (a < 0) != (b < 0));
}

static __int128 ceil_div(__int128 a, __int128 b)
{
	return -floor_div(-a, b);
}

/* ---- theta ---- */

void clock_fit_init(struct clock_fit *fit, uint64_t first, uint64_t longest)
{
	assert(first && first <= longest);
	memset(fit, 0, sizeof(*fit));
	fit->slot_cycles = first;
	fit->slot_max_cycles = longest;
	fit->rate_lo = -ONECLOCK_RATE_MAX_PPB;
	fit->rate_hi = ONECLOCK_RATE_MAX_PPB;
}

static int64_t width(const struct clock_slot *s)
{
	return s->hi - s->lo;
}

static int64_t middle_of(const struct clock_slot *s)
{
	return s->lo + width(s) / 2;
}

/*
 * The average rate between two slots is at most that of the line from the lower end of the first to the upper end of the second,
 * and at least that of the other diagonal. Wander twice: the averages of two stretches differ from each other by that much.
 */
static void find_rate(struct clock_fit *fit)
{
	const __int128 wander = 2 * ONECLOCK_WANDER_PPB;
	__int128 lo = -ONECLOCK_RATE_MAX_PPB, hi = ONECLOCK_RATE_MAX_PPB;

	for (unsigned k = 1; k < fit->n; k++)
		for (unsigned j = 0; j < k; j++) {
			const struct clock_slot *a = &fit->slot[j], *b = &fit->slot[k];
			int64_t dt = (int64_t)(b->at - a->at);

			if (dt <= 0)
				continue;
			hi = MIN(hi, ceil_div((__int128)(b->hi - a->lo) * BILLION, dt) + wander);
			lo = MAX(lo, floor_div((__int128)(b->lo - a->hi) * BILLION, dt) - wander);
		}
	/* Out of all range: said by lo > hi. */
	fit->rate_lo = (int64_t)MIN(lo, ONECLOCK_RATE_MAX_PPB);
	fit->rate_hi = (int64_t)MAX(hi, -ONECLOCK_RATE_MAX_PPB);
}

/* Cuts all slots' intervals, carried on to `at`. */
static void cut(const struct clock_fit *fit, uint64_t at, __int128 *lo, __int128 *hi)
{
	*lo = -(__int128)ONECLOCK_SPAN_MAX * 4;
	*hi = (__int128)ONECLOCK_SPAN_MAX * 4;
	for (unsigned k = 0; k < fit->n; k++) {
		const struct clock_slot *s = &fit->slot[k];
		int64_t dt = MAX((int64_t)(at - s->at), 0);

		*hi = MIN(*hi, s->hi + ceil_div((__int128)fit->rate_hi * dt, BILLION));
		*lo = MAX(*lo, s->lo + floor_div((__int128)fit->rate_lo * dt, BILLION));
	}
}

static bool consistent(const struct clock_fit *fit)
{
	__int128 lo, hi;

	cut(fit, fit->slot[fit->n - 1].at, &lo, &hi);
	return fit->rate_lo <= fit->rate_hi && lo <= hi;
}

static void drop_oldest(struct clock_fit *fit)
{
	memmove(&fit->slot[0], &fit->slot[1], (fit->n - 1) * sizeof(fit->slot[0]));
	fit->n--;
}

/* Makes room for a slot: of each two the narrower one stays, or the oldest goes. */
static void make_room(struct clock_fit *fit)
{
	if (fit->slot_cycles > fit->slot_max_cycles / 2) {
		drop_oldest(fit);
		return;
	}
	for (unsigned i = 0; i < ONECLOCK_SLOTS / 2; i++) {
		struct clock_slot a = fit->slot[2 * i], b = fit->slot[2 * i + 1];

		fit->slot[i] = width(&a) < width(&b) ? a : b;
		fit->slot[i].begin = a.begin;
	}
	fit->n = ONECLOCK_SLOTS / 2;
	fit->slot_cycles *= 2;
}

static void enter(struct clock_fit *fit, struct clock_slot s)
{
	struct clock_slot *last = fit->n ? &fit->slot[fit->n - 1] : NULL;

	if (last && s.at - last->begin < fit->slot_cycles) {
		if (width(&s) < width(last)) {
			s.begin = last->begin;
			*last = s;
		}
		return;
	}
	if (fit->n == ONECLOCK_SLOTS)
		make_room(fit);
	fit->slot[fit->n++] = s;
}

/*
 * The straight line through the middles of the slots by least squares, a slot weighing the less the wider it is. It is what moves
 * least from one exchange to the next; where the bounds know better, they have the last word.
 */
static void find_line(struct clock_fit *fit)
{
	const struct clock_slot *last = &fit->slot[fit->n - 1];
	int64_t least = (int64_t)clock_fit_least(fit) * 2 + 1, origin = middle_of(last);
	__int128 w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;

	for (unsigned k = 0; k < fit->n; k++) {
		const struct clock_slot *s = &fit->slot[k];
		__int128 part = (__int128)least * 16 / (width(s) + 1);
		int64_t x = (int64_t)(s->at - last->at), y = middle_of(s) - origin, weight = (int64_t)MAX(part * part, 1);

		if (x < -FIT_SPAN || y < -FIT_SPAN || y > FIT_SPAN)
			continue;
		w += weight;
		wx += (__int128)weight * x;
		wy += (__int128)weight * y;
		wxx += (__int128)weight * x * x;
		wxy += (__int128)weight * x * y;
	}
	/* As if it was known that rates are about RATE_USUAL apart, and middles some eighth of the narrowest slot off: while the
	 * slots are close together their slope is mostly noise, and would be carried on as a rate of any size. */
	__int128 usual = (__int128)MIN(least, 1 << 30) * (BILLION / 8 / RATE_USUAL_PPB);
	/* Weights are below 2^9 and slots 2^5, so these are below 2^110. */
	__int128 det = w * wxx - wx * wx + w * 256 * usual * usual;
	__int128 slope = det / BILLION ? (w * wxy - wx * wy) / (det / BILLION) : 0;
	assert(w > 0); /* the last slot takes part: it is where x and y are 0 */
	fit->line_ppb = (int64_t)MIN(MAX(slope, fit->rate_lo), fit->rate_hi);
	fit->line_at = last->at;
	fit->line = origin + (int64_t)((wy - (__int128)fit->line_ppb * wx / BILLION) / w);
}

bool clock_fit_add(struct clock_fit *fit, const struct clock_exchange *e)
{
	int64_t there = (int64_t)(e->got - e->sent), busy = (int64_t)(e->replied - e->received);

	if (there < 0 || there > ONECLOCK_SPAN_MAX || busy < 0 || busy > there) {
		fit->refused++;
		return false;
	}
	if (!fit->n)
		fit->base = e->replied - e->got;
	int64_t lo = (int64_t)(e->replied - e->got - fit->base), hi = (int64_t)(e->received - e->sent - fit->base);
	bool old = fit->n && (int64_t)(e->got - fit->slot[fit->n - 1].at) < 0;

	if (old || lo < -ONECLOCK_SPAN_MAX || hi > ONECLOCK_SPAN_MAX || lo > hi) {
		fit->refused++;
		return false;
	}
	/* The bounds are of moments within the round trip; all are taken to be of its end. */
	int64_t slack = there / (BILLION / ONECLOCK_RATE_MAX_PPB) + 1;
	struct clock_slot s = {.begin = e->got, .at = e->got, .lo = lo - slack, .hi = hi + slack};

	fit->recent[fit->samples++ % ONECLOCK_RECENT] = (uint64_t)(there - busy);
	enter(fit, s);
	find_rate(fit);
	bool broken = false;
	while (fit->n > 1 && !consistent(fit)) { /* what was assumed of rates did not hold: the past tells nothing */
		broken = true;
		drop_oldest(fit);
		find_rate(fit);
	}
	find_line(fit);
	fit->breaks += broken;
	return true;
}

bool clock_fit_at(const struct clock_fit *fit, uint64_t at, struct clock_estimate *out)
{
	__int128 lo, hi;

	if (!fit->n)
		return false;
	cut(fit, at, &lo, &hi);
	__int128 theta = fit->line + floor_div((__int128)fit->line_ppb * (int64_t)(at - fit->line_at), BILLION);
	theta = MIN(MAX(theta, lo), hi);
	out->theta = fit->base + (uint64_t)theta;
	out->error = (uint64_t)MAX(hi - theta, theta - lo);
	out->ppb = (int32_t)fit->line_ppb;
	out->ppb_error = (uint32_t)MAX(fit->rate_hi - fit->line_ppb, fit->line_ppb - fit->rate_lo);
	return true;
}

uint64_t clock_fit_least(const struct clock_fit *fit)
{
	int64_t least = 0;

	for (unsigned k = 0; k < fit->n; k++)
		if (k == 0 || width(&fit->slot[k]) < least)
			least = width(&fit->slot[k]);
	return (uint64_t)least / 2;
}

uint64_t clock_fit_median(const struct clock_fit *fit)
{
	uint64_t v[ONECLOCK_RECENT] = {0};
	size_t n = MIN(fit->samples, ONECLOCK_RECENT);

	for (size_t i = 0; i < n; i++) {
		size_t k = i;

		for (; k > 0 && v[k - 1] > fit->recent[i]; k--)
			v[k] = v[k - 1];
		v[k] = fit->recent[i];
	}
	return n ? v[n / 2] / 2 : 0;
}

/* ---- the machine's clock ---- */

static uint64_t faster(int64_t cycles, int32_t ppb)
{
	return (uint64_t)cycles + (uint64_t)floor_div((__int128)cycles * ppb, BILLION);
}

static bool turned(const struct clock_line *line, uint64_t raw0)
{
	return (int64_t)(line->next_from - line->from) > 0 && (int64_t)(raw0 - line->next_from) > 0;
}

uint64_t clock_line_at(const struct clock_line *line, uint64_t raw0)
{
	if (!turned(line, raw0))
		return line->at + faster((int64_t)(raw0 - line->from), line->ppb);
	return line->at + faster((int64_t)(line->next_from - line->from), line->ppb) +
	       faster((int64_t)(raw0 - line->next_from), line->next_ppb);
}

int32_t clock_line_ppb(const struct clock_line *line, uint64_t raw0)
{
	return turned(line, raw0) ? line->next_ppb : line->ppb;
}

bool clock_line_turn(struct clock_line *line, uint64_t now, uint64_t delay, int32_t ppb)
{
	if ((int64_t)(line->next_from - line->from) > 0) {
		if (!turned(line, now))
			return false;
		*line = (struct clock_line){
			.from = line->next_from, .at = clock_line_at(line, line->next_from), .ppb = line->next_ppb};
		line->next_from = line->from;
	}
	line->next_from = now + delay;
	line->next_ppb = ppb;
	return true;
}

int32_t clock_steer(int32_t ppb, int64_t ahead, uint64_t horizon)
{
	__int128 need = ppb + (__int128)ahead * BILLION / (__int128)horizon;

	return (int32_t)MIN(MAX(need, 0), 2 * ONECLOCK_RATE_MAX_PPB);
}

uint64_t clock_step(int64_t ahead, uint64_t slack)
{
	uint64_t behind = ahead < 0 ? 0 - (uint64_t)ahead : 0;

	return behind > slack ? behind : 0;
}

uint64_t clock_step_due(int64_t ahead, uint64_t slack, int64_t ppb)
{
	__int128 left = (__int128)ahead + slack;

	if (ppb <= 0)
		return UINT64_MAX;
	if (left <= 0)
		return 0;
	__int128 due = left * BILLION / ppb;
	return due > INT64_MAX ? UINT64_MAX : (uint64_t)due;
}
