/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One clock: whatever the delays and rates, the true difference is within the bound, the bound is half of the shortest round trip
 * and little more, and counters that are held by it never show a message that arrives before it was sent, nor go back.
 */
#include <check.h>
#include <stdlib.h>

#include "tests/unit/check_main.h"
#include "vcpu/oneclock.h"

#define KHZ 2000000ull /* 2 GHz: 2 cycles a ns */
#define US  (KHZ / 1000)
#define MS  KHZ
#define SEC (1000 * KHZ)

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % below;
}

/* A node's raw counter at true time t (cycles of an ideal clock): its start and its rate. */
struct host {
	uint64_t start;
	int64_t ppb;
};

static uint64_t raw_of(const struct host *h, uint64_t t)
{
	return h->start + t + (uint64_t)(int64_t)((__int128)(int64_t)t * h->ppb / 1000000000);
}

/* A delay of at least `least`, mostly little more, now and then much. */
static uint64_t delay(uint64_t least)
{
	uint64_t d = least + rnd(least / 4 + 1);

	if (rnd(4) == 0)
		d += rnd(20 * least);
	if (rnd(50) == 0)
		d += rnd(5 * MS);
	return d;
}

struct world {
	struct host zero, other;
	uint64_t there, back; /* least delays */
	uint64_t t;
};

static void question(struct world *w, struct clock_fit *fit)
{
	struct clock_exchange e = {.sent = raw_of(&w->other, w->t)};

	w->t += delay(w->there);
	e.received = raw_of(&w->zero, w->t);
	w->t += rnd(5 * US);
	e.replied = raw_of(&w->zero, w->t);
	w->t += delay(w->back);
	e.got = raw_of(&w->other, w->t);
	ck_assert(clock_fit_add(fit, &e));
}

static int64_t error_of(const struct world *w, const struct clock_estimate *est)
{
	uint64_t truth = raw_of(&w->zero, w->t) - raw_of(&w->other, w->t);

	return (int64_t)(est->theta - truth);
}

static struct world world_of(uint64_t s)
{
	seed = s * 2654435761u + 1;
	struct world w = {
		.zero = {.start = rnd(1u << 30) << 34, .ppb = (int64_t)rnd(400001) - 200000},
		.other = {.start = rnd(1u << 30) << 34, .ppb = (int64_t)rnd(400001) - 200000},
		.there = (1 + rnd(100)) * US,
		.back = (1 + rnd(100)) * US,
		.t = SEC,
	};

	for (int i = 0; i < 10; i++)
		rnd(2);
	return w;
}

/* 200 ppm each, delays from 1 to 100 us that differ between the two ways: at every moment, also long after the last question. */
START_TEST(truth_is_within_the_bound)
{
	struct world w = world_of((uint64_t)_i);
	struct clock_estimate est;
	struct clock_fit fit;

	clock_fit_init(&fit, 10 * MS, SEC);
	ck_assert(!clock_fit_at(&fit, 0, &est));
	for (int i = 0; i < 1500; i++) {
		question(&w, &fit);
		if (rnd(3) == 0)
			w.t += rnd(i < 200 ? 10 * MS : 300 * MS);
		if (i % 100 == 0)
			w.t += rnd(3 * SEC);
		ck_assert(clock_fit_at(&fit, raw_of(&w.other, w.t), &est));
		int64_t error = error_of(&w, &est);
		ck_assert_int_le(llabs(error), (int64_t)est.error + 2);
		int64_t ppb = w.zero.ppb - w.other.ppb; /* to the first order; the second is below 0.1 ppm */
		ck_assert_int_le(llabs(ppb - est.ppb), (int64_t)est.ppb_error + 100);
	}
	ck_assert_uint_eq(fit.breaks, 0);
	ck_assert_uint_eq(fit.refused, 0);
}
END_TEST

/* The bound: half of the shortest round trip, and what rates not yet known make of the age of the best exchanges. */
START_TEST(bound_is_half_the_shortest_round_trip)
{
	struct world w = world_of((uint64_t)_i + 1000);
	struct clock_estimate est;
	struct clock_fit fit;

	clock_fit_init(&fit, 10 * MS, SEC);
	for (int i = 0; i < 3000; i++) {
		question(&w, &fit);
		w.t += 20 * MS;
	}
	ck_assert(clock_fit_at(&fit, raw_of(&w.other, w.t), &est));
	uint64_t half = (w.there + w.back) / 2;
	ck_assert_uint_le(est.error, half + half / 4 + 2 * US);
	ck_assert_uint_ge(clock_fit_least(&fit), half);
	ck_assert_uint_le(clock_fit_least(&fit), half + half / 4 + US);
	ck_assert_uint_ge(clock_fit_median(&fit), clock_fit_least(&fit));
	ck_assert_uint_le(est.ppb_error, 10000 + 3 * (uint32_t)(half * 1000 / (20 * MS)) * 1000);
}
END_TEST

/* Nothing comes from node 0 before the estimate says it was sent, nor the other way. */
START_TEST(unequal_ways_do_not_make_messages_arrive_early)
{
	struct world w = world_of((uint64_t)_i + 2000);
	struct clock_estimate est;
	struct clock_fit fit;

	w.there = US;
	w.back = 100 * US; /* the middle is off by 50 us: more than the quick way takes */
	clock_fit_init(&fit, 10 * MS, SEC);
	for (int i = 0; i < 500; i++) {
		question(&w, &fit);
		w.t += 5 * MS;
	}
	ck_assert(clock_fit_at(&fit, raw_of(&w.other, w.t), &est));
	int64_t error = error_of(&w, &est); /* the other's idea of node 0's counter is ahead by so much */
	ck_assert_int_lt(error, (int64_t)w.there);
	ck_assert_int_gt(error, -(int64_t)w.back);
}
END_TEST

START_TEST(rate_that_changes_is_found_out)
{
	struct world w = world_of(7);
	struct clock_estimate est;
	struct clock_fit fit;

	w.there = w.back = 10 * US;
	clock_fit_init(&fit, 10 * MS, SEC);
	for (int i = 0; i < 1000; i++) {
		question(&w, &fit);
		w.t += 20 * MS;
	}
	ck_assert_uint_eq(fit.breaks, 0);
	/* From here on 100 ppm faster. */
	uint64_t raw = raw_of(&w.other, w.t);
	w.other.ppb += 100000;
	w.other.start += raw - raw_of(&w.other, w.t);
	for (int i = 0; i < 1000; i++) {
		question(&w, &fit);
		w.t += 20 * MS;
	}
	ck_assert_uint_gt(fit.breaks, 0);
	ck_assert(clock_fit_at(&fit, raw_of(&w.other, w.t), &est));
	ck_assert_int_le(llabs(error_of(&w, &est)), (int64_t)est.error + 2);
	ck_assert_uint_le(est.error, 20 * US);
}
END_TEST

START_TEST(exchange_that_makes_no_sense_is_refused)
{
	const struct clock_exchange good = {.sent = 100, .got = 200, .received = 5000, .replied = 5010};
	struct clock_exchange e = good;
	struct clock_estimate est;
	struct clock_fit fit;

	clock_fit_init(&fit, MS, SEC);
	e.got = 99; /* before it was asked */
	ck_assert(!clock_fit_add(&fit, &e));
	e = good;
	e.replied = e.received - 1;
	ck_assert(!clock_fit_add(&fit, &e));
	e = good;
	e.replied = e.received + 101; /* busy for longer than the round trip took */
	ck_assert(!clock_fit_add(&fit, &e));
	e = good;
	e.received = e.replied = UINT64_MAX / 2 + 1; /* any counter is fine at first */
	ck_assert(clock_fit_add(&fit, &e));
	e.received = e.replied = 0; /* not that jump */
	ck_assert(!clock_fit_add(&fit, &e));
	ck_assert_uint_eq(fit.refused, 4);
	ck_assert(clock_fit_at(&fit, 200, &est));
}
END_TEST

/* A peer may answer anything: no fault, and an estimate is still one. */
START_TEST(any_exchange_is_survived)
{
	struct clock_estimate est;
	struct clock_fit fit;

	seed = 99;
	clock_fit_init(&fit, 10, 1000);
	for (int i = 0; i < 100000; i++) {
		struct clock_exchange e;
		uint64_t *v = (uint64_t *)&e;

		for (size_t k = 0; k < sizeof(e) / sizeof(*v); k++)
			v[k] = rnd(1u << 31) << rnd(34) ^ (rnd(2) ? 0 - rnd(1000) : rnd(1000));
		if (rnd(2))
			e.got = e.sent + rnd(1u << 30), e.replied = e.received + rnd(1000);
		(void)clock_fit_add(&fit, &e);
		if (clock_fit_at(&fit, e.got, &est))
			ck_assert_int_le(llabs((long long)est.ppb), ONECLOCK_RATE_MAX_PPB);
	}
	ck_assert_uint_gt(fit.samples, 0);
}
END_TEST

START_TEST(line_turns_where_it_was_announced)
{
	struct clock_line line = {.from = 1000, .at = 50, .next_from = 1000};

	ck_assert_uint_eq(clock_line_at(&line, 1000), 50);
	ck_assert_uint_eq(clock_line_at(&line, 900), 50 - 100);
	ck_assert(clock_line_turn(&line, 2000, 3000000, 100000)); /* 100 ppm, from 3 002 000 on */
	ck_assert_uint_eq(clock_line_at(&line, 3002000), 50 + 3001000);
	ck_assert_int_eq(clock_line_ppb(&line, 3002000), 0);
	ck_assert_int_eq(clock_line_ppb(&line, 3002001), 100000);
	ck_assert_uint_eq(clock_line_at(&line, 13002000), 50 + 13001000 + 1000);
	ck_assert(!clock_line_turn(&line, 3001000, 10, 7)); /* that change has not begun */
	struct clock_line old = line;
	ck_assert(clock_line_turn(&line, 13002000, 10, 7));
	ck_assert_uint_eq(clock_line_at(&line, 13002010), clock_line_at(&old, 13002010)); /* no jump */
	ck_assert_int_eq(clock_line_ppb(&line, 13002011), 7);
}
END_TEST

START_TEST(steps_are_forward_and_in_time)
{
	ck_assert_uint_eq(clock_step(5, 10), 0);
	ck_assert_uint_eq(clock_step(-10, 10), 0);
	ck_assert_uint_eq(clock_step(-11, 10), 11);
	ck_assert_uint_eq(clock_step(INT64_MIN, 10), (uint64_t)1 << 63);
	ck_assert_uint_eq(clock_step_due(0, 10, 0), UINT64_MAX);
	ck_assert_uint_eq(clock_step_due(0, 10, -5), UINT64_MAX);
	ck_assert_uint_eq(clock_step_due(0, 10, 1000), 10000000);
	ck_assert_uint_eq(clock_step_due(-10, 10, 1000), 0);
	ck_assert_uint_eq(clock_step_due(INT64_MAX, UINT64_MAX, 1), UINT64_MAX);
	ck_assert_int_eq(clock_steer(5000, 0, SEC), 5000);
	ck_assert_int_eq(clock_steer(-5000, 0, SEC), 0);
	ck_assert_int_eq(clock_steer(0, (int64_t)US, SEC), 1000);
	ck_assert_int_eq(clock_steer(5000, -(int64_t)US, SEC), 4000);
	ck_assert_int_eq(clock_steer(INT32_MAX, INT64_MAX, 1), 2 * ONECLOCK_RATE_MAX_PPB);
}
END_TEST

/* ---- the whole of it: three nodes, held together as vmm/clocksync.c does ---- */

#define NODES 3

struct node {
	struct host host;
	struct clock_fit fit;
	struct clock_line line;
	uint64_t offset, asked, reply_due, last_guest;
	struct clock_exchange e;
	struct clock_line told;
	bool asking;
	int32_t ppb;
	int64_t ahead;
	uint64_t steps;
};

static void hold(struct node *n, uint64_t t, uint64_t slack, bool zero)
{
	struct clock_estimate est = {0};
	uint64_t raw = raw_of(&n->host, t);

	if (!zero && !clock_fit_at(&n->fit, raw, &est))
		return;
	n->ahead = (int64_t)(raw + n->offset - clock_line_at(&n->line, raw + est.theta));
	n->ppb = -est.ppb;
	uint64_t step = clock_step(n->ahead, slack);
	n->offset += step;
	n->steps += step != 0;
}

/* Three minutes at 200 ppm apart: guest counters stay within the one-way latency and never go back; the fastest host is the pace.
 */
START_TEST(counters_stay_together)
{
	const uint64_t least = 20 * US, slack = least / ONECLOCK_SLACK, tick = MS;
	struct node node[NODES] = {0};
	uint64_t worst = 0, t = SEC;

	seed = (uint64_t)_i + 5;
	for (int i = 0; i < NODES; i++) {
		node[i].host = (struct host){.start = rnd(1u << 30) << 30, .ppb = (int64_t)rnd(400001) - 200000};
		clock_fit_init(&node[i].fit, 10 * MS, SEC);
	}
	uint64_t raw0 = raw_of(&node[0].host, t);
	node[0].line = (struct clock_line){.from = raw0, .at = 12345, .next_from = raw0};
	node[0].offset = 12345 - raw0;
	for (int i = 1; i < NODES; i++) { /* before vCPUs run: set */
		struct world w = {node[0].host, node[i].host, least, least, t};
		struct clock_estimate est;

		for (int k = 0; k < 40; k++) {
			question(&w, &node[i].fit);
			w.t += k < 10 ? 0 : 10 * MS;
		}
		t = w.t;
		node[i].line = node[0].line;
		ck_assert(clock_fit_at(&node[i].fit, raw_of(&node[i].host, t), &est));
		node[i].offset = clock_line_at(&node[0].line, raw_of(&node[i].host, t) + est.theta) - raw_of(&node[i].host, t);
	}
	uint64_t begin = t, line_began = clock_line_at(&node[0].line, raw_of(&node[0].host, t));
	for (; t < begin + 180 * SEC; t += tick) {
		uint64_t age = t - begin, interval = age < 2 * SEC ? 10 * MS : age < 10 * SEC ? 50 * MS : 200 * MS;
		int32_t ppb = 0;

		for (int i = 1; i < NODES; i++) {
			struct node *n = &node[i];

			if (!n->asking && t - n->asked >= interval) {
				uint64_t there = delay(least);

				n->e = (struct clock_exchange){.sent = raw_of(&n->host, t),
							       .received = raw_of(&node[0].host, t + there)};
				n->e.replied = n->e.received;
				n->reply_due = t + there + delay(least);
				n->told = node[0].line;
				n->asked = t;
				n->asking = true;
			}
			if (n->asking && t >= n->reply_due) {
				n->e.got = raw_of(&n->host, n->reply_due);
				ck_assert(clock_fit_add(&n->fit, &n->e));
				n->line = n->told;
				n->asking = false;
			}
			hold(n, t, slack, false);
			ppb = MAX(ppb, clock_steer(n->ppb, n->ahead, MAX(16 * interval, 250 * MS)));
		}
		clock_line_turn(&node[0].line, raw_of(&node[0].host, t), 3 * interval, ppb);
		hold(&node[0], t, slack, true);
		uint64_t zero = raw_of(&node[0].host, t) + node[0].offset;
		for (int i = 0; i < NODES; i++) {
			uint64_t guest = raw_of(&node[i].host, t) + node[i].offset;
			int64_t skew = (int64_t)(guest - zero);

			ck_assert_uint_gt(guest, node[i].last_guest);
			node[i].last_guest = guest;
			worst = MAX(worst, (uint64_t)llabs(skew));
		}
	}
	ck_assert_uint_lt(worst, least);
	/* The machine's clock has gone at the rate of the fastest host, and that host has been left alone. */
	int fastest = 0;
	for (int i = 1; i < NODES; i++)
		if (node[i].host.ppb > node[fastest].host.ppb)
			fastest = i;
	uint64_t ideal = raw_of(&node[fastest].host, t) - raw_of(&node[fastest].host, begin);
	uint64_t went = clock_line_at(&node[0].line, raw_of(&node[0].host, t)) - line_began;
	ck_assert_int_lt(llabs((int64_t)(went - ideal)), (int64_t)(180 * SEC / 200000)); /* 5 ppm */
	ck_assert_uint_lt(node[fastest].steps, 200);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("oneclock");
	TCase *tc = tcase_create("oneclock");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, truth_is_within_the_bound, 0, 40);
	tcase_add_loop_test(tc, bound_is_half_the_shortest_round_trip, 0, 10);
	tcase_add_loop_test(tc, unequal_ways_do_not_make_messages_arrive_early, 0, 10);
	tcase_add_test(tc, rate_that_changes_is_found_out);
	tcase_add_test(tc, exchange_that_makes_no_sense_is_refused);
	tcase_add_test(tc, any_exchange_is_survived);
	tcase_add_test(tc, line_turns_where_it_was_announced);
	tcase_add_test(tc, steps_are_forward_and_in_time);
	tcase_add_loop_test(tc, counters_stay_together, 0, 12);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
