/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clockmono: time must not run backwards between vCPUs, wherever they are.
 *
 * Two threads bounce a timestamp: each reads what the other wrote, then the clock, and the clock must
 * not be before it. Done with CLOCK_MONOTONIC and with rdtsc, for the first CPUs of each two nodes
 * and two of one node. The smallest step in each direction is printed: half their difference is
 * the skew of the two clocks, half their sum the one-way latency.
 * Options: rounds, seconds (a pair and clock), tsc (0: leave rdtsc out), limit.
 */
#include "sync.h"

#define STOP UINT64_MAX

struct side {
	_Atomic uint64_t *inbox, *outbox;
	struct spin_barrier *start;
	int cpu;
	bool first, tsc;
	uint64_t rounds, deadline_ns;
	uint64_t steps, back, worst_back;
	int64_t smallest;
};

static uint64_t clock_now(bool tsc)
{
	/* An lfence before: the reading may not move before the load of the other's stamp. */
	if (tsc)
		return read_tsc();
	__asm__ volatile("lfence" : : : "memory");
	return now_ns();
}

static void *bounce(void *arg)
{
	struct side *s = arg;
	uint64_t last = 0;

	pin_to_cpu(s->cpu);
	spin_barrier_wait(s->start);
	if (s->first)
		atomic_store_explicit(s->outbox, clock_now(s->tsc), memory_order_release);
	for (uint64_t i = 0; i < s->rounds; i++) {
		uint64_t theirs, mine;
		unsigned spins = 0;
		while ((theirs = atomic_load_explicit(s->inbox, memory_order_acquire)) == last)
			spin_wait(&spins);
		if (theirs == STOP)
			return NULL;
		last = theirs;
		mine = clock_now(s->tsc);
		int64_t step = (int64_t)(mine - theirs);
		if (step < s->smallest)
			s->smallest = step;
		if (step < 0) {
			s->back++;
			if ((uint64_t)-step > s->worst_back)
				s->worst_back = (uint64_t)-step;
		}
		s->steps++;
		bool end = s->first && (i + 1 == s->rounds || now_ns() > s->deadline_ns);
		atomic_store_explicit(s->outbox, end ? STOP : clock_now(s->tsc), memory_order_release);
		if (end)
			return NULL;
	}
	return NULL;
}

static bool run_pair(const struct cpu_pair *pair, bool tsc, uint64_t rounds, uint64_t seconds)
{
	_Atomic uint64_t *box[2] = {alloc_on_node(PAGE_BYTES, -1), alloc_on_node(PAGE_BYTES, -1)};
	struct spin_barrier *start = spin_barrier_new(2);
	struct side side[2];
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		side[i] = (struct side){.inbox = box[i],
					.outbox = box[!i],
					.start = start,
					.cpu = i ? pair->b : pair->a,
					.first = !i,
					.tsc = tsc,
					.rounds = rounds + (uint64_t)i,
					.smallest = INT64_MAX,
					.deadline_ns = now_ns() + seconds * 1000000000u};
		threads[i] = start_thread(bounce, &side[i]);
	}
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	bool ok = !side[0].back && !side[1].back && side[0].steps;
	printf("clockmono %s cpus=%d,%d %s smallest=%" PRId64 ",%" PRId64 " backwards=%" PRIu64 " worst=%" PRIu64 " n=%" PRIu64
	       " %s\n",
	       pair->remote ? "remote" : "local", pair->a, pair->b, tsc ? "tsc-cycles" : "monotonic-ns", side[1].smallest,
	       side[0].smallest, side[0].back + side[1].back,
	       side[0].worst_back > side[1].worst_back ? side[0].worst_back : side[1].worst_back, side[0].steps + side[1].steps,
	       ok ? "ok" : "BACKWARDS");
	fflush(stdout);
	munmap((void *)box[0], PAGE_BYTES);
	munmap((void *)box[1], PAGE_BYTES);
	munmap(start, PAGE_BYTES);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 2000, seconds = 10, tsc = 1, limit = 300;
	const struct option_def defs[] = {
		{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"tsc", &tsc, NULL}, {"limit", &limit, NULL}};
	struct cpu_pair pairs[MAX_NODES];
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "clockmono", defs);
	set_limit(limit);
	const struct topo *t = topo_read();
	int n = topo_pairs(t, pairs, MAX_NODES);
	if (!n)
		finish(EXIT_SKIP, "clockmono: one CPU");
	for (int i = 0; i < n; i++) {
		ok = run_pair(&pairs[i], false, rounds, seconds) && ok;
		if (tsc)
			ok = run_pair(&pairs[i], true, rounds, seconds) && ok;
	}
	finish(ok ? 0 : 1, "clockmono: pairs=%d %s", n, ok ? "ok" : "time ran backwards");
}
