/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pingpong: two threads write one page in turn; prints the time of a turn.
 *
 * Runs for the first CPUs of each two nodes, and for two CPUs of one node as a reference. A turn is:
 * see the other's write, write. A waiting thread reads until it sees its turn (as a lock's waiter
 * does), or, with mode=write, tries a compare-and-swap, so that the page always moves for writing.
 * Each turn also checks a second word of the page that the other wrote.
 * Options: rounds (turns of each thread), seconds (a pair), mode (read|write), limit.
 */
#include "sync.h"

struct page {
	_Atomic uint64_t turn; /* even: a's */
	uint64_t last;         /* written with the turn: must equal it */
};

struct player {
	struct page *page;
	struct spin_barrier *start;
	int cpu;
	uint64_t parity, rounds, deadline_ns, played, wrong;
	bool by_write;
	uint64_t begin_ns, end_ns;
};

#define STOP (UINT64_C(1) << 63)

static bool await_turn(struct player *p, uint64_t want)
{
	unsigned spins = 0;

	for (;;) {
		uint64_t seen = want;
		if (p->by_write)
			atomic_compare_exchange_strong_explicit(&p->page->turn, &seen, want, memory_order_acquire,
								memory_order_acquire);
		else
			seen = atomic_load_explicit(&p->page->turn, memory_order_acquire);
		if (seen & STOP)
			return false;
		if (seen == want)
			return true;
		spin_wait(&spins);
	}
}

static void *play(void *arg)
{
	struct player *p = arg;

	pin_to_cpu(p->cpu);
	spin_barrier_wait(p->start);
	p->begin_ns = now_ns();
	for (uint64_t i = 0; i < p->rounds; i++) {
		uint64_t turn = 2 * i + p->parity;
		if (!await_turn(p, turn))
			return NULL;
		p->wrong += p->page->last != turn;
		p->page->last = turn + 1;
		bool late = p->parity == 0 && i && i % 16 == 0 && now_ns() >= p->deadline_ns;
		atomic_store_explicit(&p->page->turn, late ? STOP : turn + 1, memory_order_release);
		p->played++;
		p->end_ns = now_ns();
		if (late)
			return NULL;
	}
	return NULL;
}

static bool run_pair(const struct topo *t, const struct cpu_pair *pair, uint64_t rounds, uint64_t seconds, bool by_write)
{
	struct player p[2];
	struct page *page = alloc_on_node(PAGE_BYTES, topo_node_of(t, pair->a));
	struct spin_barrier *start = spin_barrier_new(2);
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		p[i] = (struct player){.page = page,
				       .start = start,
				       .cpu = i ? pair->b : pair->a,
				       .parity = (uint64_t)i,
				       .rounds = rounds,
				       .deadline_ns = now_ns() + seconds * 1000000000u,
				       .by_write = by_write};
		threads[i] = start_thread(play, &p[i]);
	}
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	uint64_t ns = p[0].end_ns - p[0].begin_ns, turns = p[0].played + p[1].played, wrong = p[0].wrong + p[1].wrong;
	printf("pingpong %s cpus=%d,%d nodes=%d,%d mode=%s turns=%" PRIu64 " ns-per-turn=%" PRIu64 " wrong=%" PRIu64 "\n",
	       pair->remote ? "remote" : "local", pair->a, pair->b, topo_node_of(t, pair->a), topo_node_of(t, pair->b),
	       by_write ? "write" : "read", turns, turns ? ns / turns : 0, wrong);
	fflush(stdout);
	munmap(page, PAGE_BYTES);
	munmap(start, PAGE_BYTES);
	return turns && !wrong;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 1000, seconds = 20, limit = 300;
	const char *mode = "read";
	const struct option_def defs[] = {
		{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"mode", NULL, &mode}, {"limit", &limit, NULL}};
	struct cpu_pair pairs[MAX_NODES];
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "pingpong", defs);
	if (strcmp(mode, "read") != 0 && strcmp(mode, "write") != 0)
		finish(2, "pingpong: mode is read or write, not '%s'", mode);
	set_limit(limit);
	const struct topo *t = topo_read();
	int n = topo_pairs(t, pairs, MAX_NODES);
	if (!n)
		finish(EXIT_SKIP, "pingpong: one CPU");
	for (int i = 0; i < n; i++)
		ok = run_pair(t, &pairs[i], rounds, seconds, !strcmp(mode, "write")) && ok;
	finish(ok ? 0 : 1, "pingpong: pairs=%d %s", n, ok ? "ok" : "WRONG: a turn was seen without the write before it");
}
