/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/clocksync.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "vcpu/oneclock.h"

#define SENT_KEPT 32u /* questions that may be under way */

static_assert(WIRE_CLOCK_PPB_MAX == 2 * ONECLOCK_RATE_MAX_PPB, "a line may be as fast as clock_steer makes it");

/* What node 0 knows of another node. */
struct peer {
	struct wire_clock_req last;
	uint64_t own_off; /* the most that node 0's own counter was off the line since `last` */
	struct clock_figures figures;
};

struct clocksync {
	struct vcpus *vcpus;
	struct net_lane *lane;
	node_t self;
	bool correct;
	bool set; /* the guest's counter is what it is to be; on node 0 from the start */
	struct tsc tsc;
	uint64_t started_ns, asked_ns;
	uint64_t due_ns; /* nothing to do for clocksync_tick before */
	struct clock_line line;
	struct clock_fit fit; /* follower */
	bool has_line;
	uint32_t seq;
	uint64_t sent[SENT_KEPT];
	uint64_t off; /* the most that the counter was off the line since the last question, cycles */
	uint64_t steps, moved;

	pthread_mutex_t lock;
	struct peer peer[NODES_MAX]; /* node 0; figures under lock */
};

static uint64_t raw_now(const struct clocksync *s)
{
	return tsc_raw(&s->tsc, clock_tsc());
}

static uint64_t cycles_of(const struct clocksync *s, uint64_t ns)
{
	return ns * s->tsc.guest_khz / 1000000;
}

static uint64_t ns_of(const struct clocksync *s, uint64_t cycles)
{
	unsigned __int128 ns = (unsigned __int128)cycles * 1000000 / s->tsc.guest_khz;

	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

/* How often followers ask; each node goes by its own start (a follower's: the first reply), which is about the same for all. */
static uint64_t interval_ns(const struct clocksync *s, uint64_t now_ns)
{
	uint64_t age = now_ns - s->started_ns;

	if (!s->set || age < 2 * NS_PER_SEC)
		return CLOCKSYNC_FAST_NS;
	return age < 10 * NS_PER_SEC ? CLOCKSYNC_USUAL_NS : CLOCKSYNC_SLOW_NS;
}

static uint64_t magnitude(int64_t v)
{
	return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

static int64_t in_span(int64_t v)
{
	const int64_t span = (int64_t)WIRE_CLOCK_SPAN_MAX;

	return v < -span ? -span : MIN(v, span);
}

/* ---- the counter here against the machine's clock ---- */

/* Now: theta, and how far the guest's counter is ahead of the line. False: not known yet. */
static bool look(const struct clocksync *s, struct clock_estimate *est, int64_t *ahead, uint64_t *raw0)
{
	uint64_t raw = raw_now(s);

	*est = (struct clock_estimate){0};
	if (s->self != 0 && (!s->has_line || !clock_fit_at(&s->fit, raw, est)))
		return false;
	*raw0 = raw + est->theta;
	*ahead = (int64_t)(raw + s->tsc.offset - clock_line_at(&s->line, *raw0));
	return true;
}

/* How far behind the line a counter may be before it is stepped. */
static uint64_t slack_of(const struct clocksync *s)
{
	uint64_t least = clock_fit_least(&s->fit);

	for (node_t n = 1; s->self == 0 && n < s->lane->nodes; n++)
		if (n == 1 || s->peer[n].last.least < least)
			least = s->peer[n].last.least;
	return MAX(least / ONECLOCK_SLACK, 64);
}

static void note_off(struct clocksync *s, int64_t ahead)
{
	uint64_t off = magnitude(ahead);

	s->off = MAX(s->off, off);
	for (node_t n = 1; s->self == 0 && n < s->lane->nodes; n++)
		s->peer[n].own_off = MAX(s->peer[n].own_off, off);
}

/* Node 0's own line in the report. */
static void publish(struct clocksync *s)
{
	pthread_mutex_lock(&s->lock);
	s->peer[0].figures =
		(struct clock_figures){.set = true, .offset = s->tsc.offset, .ppb = 0, .steps = s->steps, .moved_cycles = s->moved};
	pthread_mutex_unlock(&s->lock);
}

/* Steps if it is time to. Returns when to look again, in ns from now. */
static uint64_t follow(struct clocksync *s)
{
	struct clock_estimate est;
	uint64_t raw0, slack = slack_of(s);
	int64_t ahead;

	if (!s->set || !look(s, &est, &ahead, &raw0))
		return UINT64_MAX;
	note_off(s, ahead);
	if (!s->correct)
		return UINT64_MAX;
	uint64_t step = clock_step(ahead, slack);
	if (step) {
		vcpus_step_tsc(s->vcpus, step);
		s->tsc.offset += step;
		s->steps++;
		s->moved += step;
		ahead = 0;
		if (s->self == 0)
			publish(s);
	}
	uint64_t due = clock_step_due(ahead, slack, (int64_t)clock_line_ppb(&s->line, raw0) + est.ppb);
	return MAX(ns_of(s, due), NS_PER_MS);
}

/* ---- a follower's questions ---- */

static void ask(struct clocksync *s, uint64_t now_ns)
{
	struct clock_estimate est;
	int64_t ahead = 0;
	uint64_t raw0;
	struct wire_clock_req req = {
		.least = MIN(clock_fit_least(&s->fit), WIRE_CLOCK_SPAN_MAX),
		.median = MIN(clock_fit_median(&s->fit), WIRE_CLOCK_SPAN_MAX),
		.offset = s->tsc.offset,
		.steps = s->steps,
		.moved = s->moved,
		.flags = s->set ? WIRE_CLOCK_SET : 0,
	};
	struct wire_hdr hdr = {.type = WIRE_CLOCK_REQ, .len = sizeof(req), .seq = ++s->seq};

	if (s->set && look(s, &est, &ahead, &raw0)) {
		note_off(s, ahead);
		req.ahead = in_span(ahead);
		req.ppb = -est.ppb;
		req.bound = MIN(est.error + s->off, WIRE_CLOCK_SPAN_MAX);
		s->off = magnitude(ahead);
	}
	s->asked_ns = now_ns;
	s->sent[s->seq % SENT_KEPT] = req.sent = raw_now(s);
	net_post(s->lane, 0, &hdr, &req);
}

/* The first time: to where the line is, whatever that takes, as nobody looks yet. */
static int set_counter(struct clocksync *s)
{
	struct clock_estimate est;
	int64_t ahead;
	uint64_t raw0;

	if (!look(s, &est, &ahead, &raw0))
		return 0;
	s->tsc.offset -= (uint64_t)ahead;
	int rc = vcpus_set_tsc(s->vcpus, &s->tsc);
	s->set = !rc;
	return rc;
}

int clocksync_reply(struct clocksync *s, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct clock_exchange e = {.got = raw_now(s)};
	struct wire_clock_reply reply;

	if (from != 0 || s->self == 0 || wire_clock_reply_decode(payload, hdr->len, &reply))
		return -EBADMSG;
	if (s->seq - hdr->seq >= SENT_KEPT || reply.sent != s->sent[hdr->seq % SENT_KEPT])
		return 0; /* of a question that was given up */
	e.sent = reply.sent;
	e.received = reply.received;
	e.replied = reply.replied;
	if (!clock_fit_add(&s->fit, &e))
		return 0; /* its times cannot be: node 0's thread was stopped in between, say */
	s->line = (struct clock_line){
		.from = reply.from, .at = reply.at, .next_from = reply.next_from, .ppb = reply.ppb, .next_ppb = reply.next_ppb};
	if (!s->has_line)
		s->started_ns = clock_ns();
	s->has_line = true;
	if (s->set) {
		s->due_ns = 0; /* the tick after this message looks */
		return 0;
	}
	if (s->fit.samples < CLOCKSYNC_SET_EXCHANGES || clock_ns() - s->started_ns < CLOCKSYNC_SET_NS)
		return 0;
	int rc = set_counter(s);
	ask(s, clock_ns()); /* tells it */
	return rc;
}

/* ---- node 0 ---- */

int clocksync_request(struct clocksync *s, node_t from, const struct wire_hdr *hdr, const uint8_t *payload, bool *set)
{
	uint64_t received = raw_now(s), raw0;
	struct clock_estimate est;
	struct wire_clock_req req;
	int64_t ahead;

	if (s->self != 0 || wire_clock_req_decode(payload, hdr->len, &req))
		return -EBADMSG;
	struct wire_clock_reply reply = {
		.sent = req.sent,
		.received = received,
		.from = s->line.from,
		.at = s->line.at,
		.next_from = s->line.next_from,
		.ppb = s->line.ppb,
		.next_ppb = s->line.next_ppb,
	};
	struct wire_hdr answer = {.type = WIRE_CLOCK_REPLY, .len = sizeof(reply), .seq = hdr->seq};

	reply.replied = raw_now(s);
	net_post(s->lane, from, &answer, &reply);
	if (look(s, &est, &ahead, &raw0))
		note_off(s, ahead);
	struct peer *p = &s->peer[from];
	struct clock_figures f = {
		.set = req.flags & WIRE_CLOCK_SET,
		.offset = req.offset,
		.ppb = req.ppb,
		.bound_ns = ns_of(s, req.bound + p->own_off),
		.least_ns = ns_of(s, req.least),
		.median_ns = ns_of(s, req.median),
		.steps = req.steps,
		.moved_cycles = req.moved,
	};
	f.worst_ns = MAX(p->figures.worst_ns, f.set ? f.bound_ns : 0);
	p->last = req;
	p->own_off = 0;
	pthread_mutex_lock(&s->lock);
	p->figures = f;
	pthread_mutex_unlock(&s->lock);
	*set = f.set;
	return 0;
}

/* The line's rate is what the fastest host needs; the horizon is long against the time it takes to be told and to begin. */
static void steer(struct clocksync *s, uint64_t now_ns)
{
	uint64_t interval = interval_ns(s, now_ns);
	uint64_t horizon = cycles_of(s, MAX(16 * interval, 250 * NS_PER_MS));
	int32_t ppb = 0;

	for (node_t n = 1; n < s->lane->nodes; n++) {
		const struct peer *p = &s->peer[n];

		if (p->last.flags & WIRE_CLOCK_SET)
			ppb = MAX(ppb, clock_steer(p->last.ppb, p->last.ahead, horizon));
	}
	/* False: a change is announced already, and the next is for later. */
	(void)clock_line_turn(&s->line, raw_now(s), cycles_of(s, 3 * interval), ppb);
}

/* ---- both ---- */

uint64_t clocksync_tick(struct clocksync *s)
{
	uint64_t now_ns = clock_ns(), interval = interval_ns(s, now_ns);

	if (now_ns < s->due_ns)
		return s->due_ns - now_ns;
	if (s->self == 0 && s->correct)
		steer(s, now_ns);
	if (s->self != 0 && now_ns - s->asked_ns >= interval)
		ask(s, now_ns);
	uint64_t left = s->self == 0 ? interval : interval - MIN(now_ns - s->asked_ns, interval);
	uint64_t look_ns = follow(s);
	uint64_t next_ns = MAX(MIN(left, look_ns), NS_PER_MS / 2);
	s->due_ns = now_ns + next_ns;
	return next_ns;
}

int clocksync_new(struct vcpus *vcpus, struct net_lane *lane, bool correct, struct clocksync **out)
{
	struct clocksync *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->vcpus = vcpus;
	s->lane = lane;
	s->self = lane->self;
	s->correct = correct;
	s->tsc = vcpus->config.tsc;
	s->started_ns = clock_ns();
	clock_fit_init(&s->fit, cycles_of(s, 10 * NS_PER_MS), cycles_of(s, NS_PER_SEC));
	if (s->self == 0) {
		uint64_t raw = raw_now(s);

		s->set = true;
		s->line = (struct clock_line){.from = raw, .at = raw + s->tsc.offset, .next_from = raw};
	}
	pthread_mutex_init(&s->lock, NULL);
	publish(s);
	*out = s;
	return 0;
}

void clocksync_free(struct clocksync *s)
{
	free(s);
}

void clocksync_figures(struct clocksync *s, node_t node, struct clock_figures *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->peer[node].figures;
	pthread_mutex_unlock(&s->lock);
}
