/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timebounce: one clock for all nodes, over many thousand bounces.
 *
 * Two threads on CPUs of two nodes bounce a stamp of both clocks, rdtsc and CLOCK_MONOTONIC. Who receives it reads its own clocks
 * after it, and neither may be before the stamp, nor before its own last reading. clockmono does one clock after the other and is
 * short; this one goes on, so that clocks of different rates part while it runs. The smallest steps in the two directions are
 * printed: half their difference is the skew, half their sum the least one-way latency that the guest has seen.
 * Options: rounds (there and back), seconds (a pair), clocksource (what the name of the kernel's must begin with at
 * the end), limit.
 */
#include "sync.h"

#define CLOCKS 2

static const char *const clock_name[CLOCKS] = {"tsc-cycles", "monotonic-ns"};

/* `number` is written last: who sees it sees the clocks. One writer. */
struct stamp {
	_Atomic uint64_t number;
	uint64_t clock[CLOCKS];
};

struct side {
	struct stamp *inbox, *outbox;
	struct spin_barrier *start;
	int cpu;
	bool first;
	uint64_t rounds, deadline_ns;
	uint64_t last[CLOCKS];
	uint64_t received, back[CLOCKS], own_back[CLOCKS], worst[CLOCKS];
	int64_t smallest[CLOCKS];
};

/* After every load before it: read_tsc fences, and now_ns is fenced here. */
static void read_clocks(struct side *s, uint64_t now[CLOCKS])
{
	now[0] = read_tsc();
	__asm__ volatile("lfence" : : : "memory");
	now[1] = now_ns();
	for (int c = 0; c < CLOCKS; c++) {
		s->own_back[c] += now[c] < s->last[c];
		s->last[c] = now[c];
	}
}

static void check(struct side *s, const uint64_t theirs[CLOCKS])
{
	uint64_t mine[CLOCKS];

	read_clocks(s, mine);
	for (int c = 0; c < CLOCKS; c++) {
		int64_t step = (int64_t)(mine[c] - theirs[c]);

		if (step < s->smallest[c])
			s->smallest[c] = step;
		if (step >= 0)
			continue;
		s->back[c]++;
		if ((uint64_t)-step > s->worst[c])
			s->worst[c] = (uint64_t)-step;
	}
	s->received++;
}

static void send_stamp(struct side *s, uint64_t number)
{
	read_clocks(s, s->outbox->clock);
	atomic_store_explicit(&s->outbox->number, number, memory_order_release);
}

/* The first sends 1, 2, ... and gets each back; a stamp of number 0 does not exist, UINT64_MAX ends it. */
static void *bounce(void *arg)
{
	struct side *s = arg;

	pin_to_cpu(s->cpu);
	spin_barrier_wait(s->start);
	for (uint64_t n = 1;; n++) {
		unsigned spins = 0;
		uint64_t seen;

		if (s->first) {
			bool end = n > s->rounds || now_ns() > s->deadline_ns;

			send_stamp(s, end ? UINT64_MAX : n);
			if (end)
				return NULL;
		}
		while ((seen = atomic_load_explicit(&s->inbox->number, memory_order_acquire)) < n)
			spin_wait(&spins);
		check(s, s->inbox->clock);
		if (seen == UINT64_MAX)
			return NULL;
		if (!s->first)
			send_stamp(s, n);
	}
}

static bool say(const struct cpu_pair *pair, const struct side side[2], int c)
{
	const struct side *a = &side[0], *b = &side[1];
	uint64_t back = a->back[c] + b->back[c], own = a->own_back[c] + b->own_back[c];
	bool ok = !back && !own && a->received && b->received;

	printf("timebounce %s cpus=%d,%d %s n=%" PRIu64 " smallest=%" PRId64 ",%" PRId64 " skew=%" PRId64 " one-way=%" PRId64
	       " backwards=%" PRIu64 " own=%" PRIu64 " worst=%" PRIu64 " %s\n",
	       pair->remote ? "remote" : "local", pair->a, pair->b, clock_name[c], a->received + b->received, b->smallest[c],
	       a->smallest[c], (b->smallest[c] - a->smallest[c]) / 2, (b->smallest[c] + a->smallest[c]) / 2, back, own,
	       a->worst[c] > b->worst[c] ? a->worst[c] : b->worst[c], ok ? "ok" : "BACKWARDS");
	fflush(stdout);
	return ok;
}

static bool run_pair(const struct cpu_pair *pair, uint64_t rounds, uint64_t seconds)
{
	struct stamp *box[2] = {alloc_on_node(PAGE_BYTES, -1), alloc_on_node(PAGE_BYTES, -1)};
	struct spin_barrier *start = spin_barrier_new(2);
	struct side side[2];
	pthread_t threads[2];
	bool ok = true;

	for (int i = 0; i < 2; i++) {
		side[i] = (struct side){.inbox = box[i],
					.outbox = box[!i],
					.start = start,
					.cpu = i ? pair->b : pair->a,
					.first = !i,
					.rounds = rounds,
					.smallest = {INT64_MAX, INT64_MAX},
					.deadline_ns = now_ns() + seconds * 1000000000u};
		threads[i] = start_thread(bounce, &side[i]);
	}
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	for (int c = 0; c < CLOCKS; c++)
		ok = say(pair, side, c) && ok;
	munmap(box[0], PAGE_BYTES);
	munmap(box[1], PAGE_BYTES);
	munmap(start, PAGE_BYTES);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 5000, seconds = 20, limit = 300;
	const char *clocksource = NULL;
	char current[64] = "";
	const struct option_def defs[] = {{"rounds", &rounds, NULL},
					  {"seconds", &seconds, NULL},
					  {"clocksource", NULL, &clocksource},
					  {"limit", &limit, NULL}};
	struct cpu_pair pairs[MAX_NODES];
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "timebounce", defs);
	set_limit(limit);
	int n = topo_pairs(topo_read(), pairs, MAX_NODES);
	if (!n)
		finish(EXIT_SKIP, "timebounce: one CPU");
	for (int i = 0; i < n; i++)
		ok = run_pair(&pairs[i], rounds, seconds) && ok;
	(void)read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource", current, sizeof(current));
	current[strcspn(current, "\n")] = 0;
	if (clocksource &&
	    strncmp(current, clocksource, strlen(clocksource)) != 0) /* tsc-early is the same counter, not yet calibrated */
		finish(1, "timebounce: the kernel's clocksource is '%s', not '%s'", current, clocksource);
	finish(ok ? 0 : 1, "timebounce: pairs=%d %s", n, ok ? "ok" : "time ran backwards");
}
