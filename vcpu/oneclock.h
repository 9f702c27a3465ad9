/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One clock for the machine: how a node knows the time of node 0, and what it does with it. Pure arithmetic, no clock, no I/O.
 *
 * Each node has a raw counter (its host's, scaled to the guest's rate); raw counters start anywhere and run at rates of their own.
 * Node 0 publishes the machine's clock as a line over its raw counter. Every other node measures theta = (raw of node 0) - (own
 * raw) by questions on the control lane, and holds its guest counter at line(raw + theta) by adding to KVM's offset.
 *
 *     node 0   ------ received, replied -------      request:  theta <= received - sent
 *                    /              \                reply:    theta >= replied - got
 *     node i   -- sent -------------- got -----
 *
 * Both bounds always hold, whatever the delays: a message is not received before it is sent. So theta is in [replied - got,
 * received - sent], as wide as the round trip; of many questions the intervals are cut with each other. In between the rate, known
 * from intervals that lie apart, carries them on. The estimate is the middle and is off by at most half the width that is left:
 * half of the shortest round trip, which is the one-way latency, plus what the clocks can have parted since.
 *
 * Why that is enough: a guest compares two nodes' counters only by what travels between them. If node i's counter is within the
 * interval, no message that takes as long as the quickest question did can arrive before its time stamp, in either direction,
 * however unequal the two ways are. The middle has the most room to both sides.
 *
 * No counter ever goes back. So nobody can wait for a slower one: the machine's clock runs at the rate of the fastest host, as
 * steered by node 0 from what the others tell of theirs, and slower hosts' counters are stepped forward, each step a fraction
 * (SLACK) of the one-way latency. A change of the line's rate is announced before it begins, so that all nodes have the same line
 * when it does. Scaling by hardware cannot take the steps' place: KVM takes rates within 250 ppm of the host's for the host's, and
 * does not scale.
 *
 * Assumed, and found out if it is wrong (`breaks`): a rate differs from node 0's by at most ONECLOCK_RATE_MAX_PPB, and changes by
 * at most ONECLOCK_WANDER_PPB within the window of 32 slots, which is half a minute. Bounds are between a node and node 0; those
 * between two others are the sum of theirs.
 *
 * All times are cycles of the guest's counter, which wraps. Values of a peer may be anything: what makes no sense is refused.
 */
#ifndef VCPU_ONECLOCK_H
#define VCPU_ONECLOCK_H

#include "base/types.h"

#define ONECLOCK_SLOTS        32
#define ONECLOCK_RECENT       63
#define ONECLOCK_RATE_MAX_PPB 1000000
#define ONECLOCK_WANDER_PPB   500
#define ONECLOCK_SPAN_MAX     ((int64_t)1 << 55) /* no theta moves, and no round trip lasts, that long */
#define ONECLOCK_SLACK        8                  /* a counter is stepped when it is this part of the one-way latency behind */

/* ---- theta ---- */

struct clock_exchange {
	uint64_t sent, got;         /* own raw counter: request out, reply in */
	uint64_t received, replied; /* node 0's */
};

/* The best exchange of a stretch of time. lo, hi: theta - base at `at`. */
struct clock_slot {
	uint64_t begin, at;
	int64_t lo, hi;
};

struct clock_fit {
	uint64_t slot_cycles, slot_max_cycles; /* how long a slot is now; doubled when all are full, until it is the longest */
	uint64_t base;
	unsigned n;
	struct clock_slot slot[ONECLOCK_SLOTS]; /* [n], oldest first */
	int64_t rate_lo, rate_hi;               /* of theta, ppb; wander is in it */
	uint64_t line_at;
	int64_t line, line_ppb;           /* the estimate: theta - base at line_at, and its rate */
	uint64_t recent[ONECLOCK_RECENT]; /* round trips */
	uint64_t samples, refused, breaks;
};

struct clock_estimate {
	uint64_t theta; /* modulo 2^64 */
	uint64_t error; /* theta is off by at most that */
	int32_t ppb;    /* of theta: how much faster node 0's counter is */
	uint32_t ppb_error;
};

/* Slots are of `first` cycles at the beginning and of `longest` in the end; 0 < first <= longest. */
void clock_fit_init(struct clock_fit *fit, uint64_t first, uint64_t longest);
/* False: the exchange makes no sense (a reply before its request, times out of all range) and was refused. */
bool clock_fit_add(struct clock_fit *fit, const struct clock_exchange *e);
/* Theta at own raw counter `at`, not before the last exchange. False: no exchange yet. */
CHECKED bool clock_fit_at(const struct clock_fit *fit, uint64_t at, struct clock_estimate *out);
/* Half of the shortest round trip among the slots, and of the median one of the last; 0 without any. */
uint64_t clock_fit_least(const struct clock_fit *fit);
uint64_t clock_fit_median(const struct clock_fit *fit);

/* ---- the machine's clock ---- */

/* Over node 0's raw counter: `at` at `from`, `ppb` faster than it; from `next_from` on, if that is later than `from`, `next_ppb`.
 */
struct clock_line {
	uint64_t from, at, next_from;
	int32_t ppb, next_ppb; /* [0, 2 * ONECLOCK_RATE_MAX_PPB] */
};

uint64_t clock_line_at(const struct clock_line *line, uint64_t raw0);
/* The rate at that time. */
int32_t clock_line_ppb(const struct clock_line *line, uint64_t raw0);
/* Node 0: another rate from now + delay on. False, nothing changed: a change is announced and has not begun. */
bool clock_line_turn(struct clock_line *line, uint64_t now, uint64_t delay, int32_t ppb);

/* The rate that the line would need for a node whose raw counter is `ppb` faster than node 0's and whose guest counter is `ahead`
 * of the line, for them to meet within `horizon`. The line takes the largest of all nodes', and 0 for node 0 itself. */
int32_t clock_steer(int32_t ppb, int64_t ahead, uint64_t horizon);

/* How far to step a guest counter that is `ahead` (negative: behind) of the line; 0: not yet. */
uint64_t clock_step(int64_t ahead, uint64_t slack);
/* Cycles until a step is due for a counter that falls behind at `ppb`; UINT64_MAX: it does not. */
uint64_t clock_step_due(int64_t ahead, uint64_t slack, int64_t ppb);

#endif
