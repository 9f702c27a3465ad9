/* SPDX-License-Identifier: Apache-2.0 */
/*
 * primes: work that is all computing: a thread a CPU, each tries its share of the numbers below `below` for divisors; after every
 * `steps`-th part of them all wait for each other and one adds up. Prints the time of it all, ns.
 *
 * Numbers are dealt out 64 at a time, so that the shares weigh the same, and each thread counts on a page of its own node: nothing
 * is shared but the barrier and, read by one thread a step, the counts. The sum is checked against a sieve.
 * Options: below, steps, limit.
 */
#include "sync.h"

#define DEAL      64u
#define BELOW_MAX (256u * 1024 * 1024)

struct share {
	int cpu;
	unsigned index;
	uint64_t found; /* up to the last barrier */
};

struct test {
	uint64_t below, steps;
	unsigned threads;
	pthread_barrier_t *barrier;
	struct share *share[MAX_CPUS];
	uint64_t begin, end;
	uint64_t sums; /* how often the counts were added up, and grew */
};

struct worker {
	struct test *test;
	struct share *mine;
};

static bool is_prime(uint32_t n)
{
	if (n < 4)
		return n > 1;
	if (n % 2 == 0)
		return false;
	for (uint32_t d = 3; d * d <= n; d += 2)
		if (n % d == 0)
			return false;
	return true;
}

static uint64_t sum(const struct test *t)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < t->threads; i++)
		all += t->share[i]->found;
	return all;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct test *t = w->test;
	struct share *mine = w->mine;
	uint64_t before = 0;

	pin_to_cpu(mine->cpu);
	pthread_barrier_wait(t->barrier);
	if (!mine->index)
		t->begin = now_ns();
	for (uint64_t step = 0; step < t->steps; step++) {
		uint64_t from = t->below * step / t->steps / DEAL, to = t->below * (step + 1) / t->steps / DEAL, found = 0;
		for (uint64_t deal = from; deal < to; deal++)
			if (deal % t->threads == mine->index)
				for (uint32_t i = 0; i < DEAL; i++)
					found += is_prime((uint32_t)(deal * DEAL) + i);
		mine->found += found;
		pthread_barrier_wait(t->barrier);
		if (!mine->index) {
			uint64_t now = sum(t);
			t->sums += now > before;
			before = now;
		}
		pthread_barrier_wait(t->barrier);
	}
	if (!mine->index)
		t->end = now_ns();
	return NULL;
}

/* Of odd numbers only: [i] is 2 * i + 1. */
static uint64_t sieve(uint64_t below)
{
	uint8_t *composite = calloc(below / 2, 1);
	uint64_t n = 1; /* 2 */

	if (!composite)
		finish(1, "primes: no memory");
	for (uint64_t i = 1; i < below / 2; i++) {
		uint64_t prime = 2 * i + 1;
		n += !composite[i];
		for (uint64_t j = prime * prime / 2; !composite[i] && j < below / 2; j += prime)
			composite[j] = 1;
	}
	free(composite);
	return n;
}

int main(int argc, char **argv)
{
	static struct test t = {.below = 200 * KIB, .steps = 8};
	static struct worker w[MAX_CPUS];
	static pthread_t thread[MAX_CPUS];
	uint64_t limit = 300;
	const struct option_def defs[] = {{"below", &t.below, NULL}, {"steps", &t.steps, NULL}, {"limit", &limit, NULL}};

	PARSE_OPTIONS(argc, argv, "primes", defs);
	if (t.below < DEAL || t.below > BELOW_MAX || t.below % DEAL || !t.steps || t.steps > t.below / DEAL)
		finish(2, "primes: below is a multiple of %u up to 256M, and has a multiple of %u for each of the steps", DEAL,
		       DEAL);
	set_limit(limit);
	const struct topo *topo = topo_read();
	t.threads = (unsigned)topo->cpu_count;
	t.barrier = alloc_on_node(PAGE_BYTES, -1);
	if (pthread_barrier_init(t.barrier, NULL, t.threads))
		finish(1, "primes: no barrier");
	for (unsigned i = 0; i < t.threads; i++) {
		t.share[i] = alloc_on_node(PAGE_BYTES, topo_node_of(topo, topo->cpu[i]));
		*t.share[i] = (struct share){.cpu = topo->cpu[i], .index = i};
		w[i] = (struct worker){.test = &t, .mine = t.share[i]};
	}
	for (unsigned i = 0; i < t.threads; i++)
		thread[i] = start_thread_on(t.share[i]->cpu, work, &w[i]);
	for (unsigned i = 0; i < t.threads; i++)
		pthread_join(thread[i], NULL);
	uint64_t expected = sieve(t.below), found = sum(&t);
	bool ok = found == expected && t.sums == t.steps;
	finish(ok ? 0 : 1,
	       "primes threads=%u nodes=%d below=%" PRIu64 " steps=%" PRIu64 " found=%" PRIu64 " expected=%" PRIu64 " ns=%" PRIu64
	       " %s",
	       t.threads, topo->cpu_node_count, t.below, t.steps, found, expected, t.end - t.begin, ok ? "ok" : "WRONG");
}
