/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipiping: the round trip of an inter-processor interrupt between two CPUs.
 *
 *   membarrier  one CPU calls membarrier(PRIVATE_EXPEDITED) while the other spins: an IPI there, and
 *               the answer through memory
 *   futex       one CPU wakes a sleeper on the other, which wakes it back: an IPI each way out of idle
 *
 * For the first CPUs of each two nodes, and for two CPUs of one node as a reference.
 * Options: rounds, seconds (each part of a pair), limit.
 */
#include "sync.h"
#include <linux/membarrier.h>

struct ping {
	struct spin_barrier *start;
	_Atomic uint32_t *ball; /* even: the caller's; counts half trips */
	_Atomic uint32_t *stop;
	int cpu;
	uint64_t rounds, deadline_ns;
	bool by_futex, lost;
	uint64_t *ns; /* of each round trip */
	size_t n;
};

#define BALL_STOP UINT32_MAX

static bool wait_ball(struct ping *p, uint32_t from, uint32_t *out)
{
	uint32_t now;
	int tries = 0;

	while ((now = atomic_load_explicit(p->ball, memory_order_acquire)) == from)
		if (!futex_wait(p->ball, from) && ++tries == 3) {
			p->lost = true;
			return false;
		}
	*out = now;
	return true;
}

static void send_ball(struct ping *p, uint32_t value)
{
	atomic_store_explicit(p->ball, value, memory_order_release);
	futex_wake(p->ball);
}

static void *target_main(void *arg)
{
	struct ping *p = arg;
	uint32_t ball = 0;

	pin_to_cpu(p->cpu);
	spin_barrier_wait(p->start);
	if (!p->by_futex) {
		/* Answers each even ball: an interrupt goes only to a CPU on which the target runs. */
		while (!atomic_load_explicit(p->stop, memory_order_acquire)) {
			uint32_t now = atomic_load_explicit(p->ball, memory_order_acquire);

			if (now && !(now & 1))
				atomic_store_explicit(p->ball, now + 1, memory_order_release);
			cpu_relax();
		}
		return NULL;
	}
	while (wait_ball(p, ball, &ball) && ball != BALL_STOP)
		send_ball(p, ++ball);
	return NULL;
}

static void *caller_main(void *arg)
{
	struct ping *p = arg;
	uint32_t ball = 0;

	pin_to_cpu(p->cpu);
	spin_barrier_wait(p->start);
	for (uint64_t i = 0; i < p->rounds && now_ns() < p->deadline_ns; i++) {
		if (!p->by_futex) {
			uint32_t ask = 2 * (uint32_t)(i + 1);

			atomic_store_explicit(p->ball, ask, memory_order_release);
			while (atomic_load_explicit(p->ball, memory_order_acquire) == ask && now_ns() < p->deadline_ns)
				cpu_relax();
		}
		uint64_t begin = now_ns();
		if (p->by_futex) {
			send_ball(p, ++ball);
			if (!wait_ball(p, ball, &ball))
				break;
		} else if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)) {
			finish(1, "ipiping: membarrier: %s", strerror(errno));
		}
		p->ns[p->n++] = now_ns() - begin;
	}
	atomic_store_explicit(p->stop, 1, memory_order_release);
	send_ball(p, BALL_STOP);
	return NULL;
}

static bool run_pair(const struct topo *t, const struct cpu_pair *pair, uint64_t rounds, uint64_t seconds, bool by_futex)
{
	struct ping caller = {.cpu = pair->a, .rounds = rounds, .by_futex = by_futex};

	caller.start = spin_barrier_new(2);
	caller.ball = alloc_on_node(PAGE_BYTES, topo_node_of(t, pair->a));
	caller.stop = alloc_on_node(PAGE_BYTES, topo_node_of(t, pair->a));
	caller.deadline_ns = now_ns() + seconds * 1000000000u;
	caller.ns = calloc(rounds + 1, sizeof(*caller.ns));
	if (!caller.ns)
		finish(1, "ipiping: out of memory");
	struct ping target = caller;
	target.cpu = pair->b;
	pthread_t a = start_thread(caller_main, &caller), b = start_thread(target_main, &target);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	sort_u64(caller.ns, caller.n);
	printf("ipiping %s cpus=%d,%d %s p50=%" PRIu64 " p99=%" PRIu64 " n=%zu\n", pair->remote ? "remote" : "local", pair->a,
	       pair->b, by_futex ? "futex" : "membarrier", percentile(caller.ns, caller.n, 50), percentile(caller.ns, caller.n, 99),
	       caller.n);
	fflush(stdout);
	bool ok = caller.n && !caller.lost && !target.lost;
	free(caller.ns);
	munmap(caller.ball, PAGE_BYTES);
	munmap(caller.stop, PAGE_BYTES);
	munmap(caller.start, PAGE_BYTES);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 1000, seconds = 10, limit = 300;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"limit", &limit, NULL}};
	struct cpu_pair pairs[MAX_NODES];
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "ipiping", defs);
	if (rounds > MIB)
		finish(2, "ipiping: at most 1M rounds");
	set_limit(limit);
	const struct topo *t = topo_read();
	int n = topo_pairs(t, pairs, MAX_NODES);
	if (!n)
		finish(EXIT_SKIP, "ipiping: one CPU");
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		finish(1, "ipiping: membarrier is not there: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		ok = run_pair(t, &pairs[i], rounds, seconds, false) && ok;
		ok = run_pair(t, &pairs[i], rounds, seconds, true) && ok;
	}
	finish(ok ? 0 : 1, "ipiping: pairs=%d %s", n, ok ? "ok" : "LOST: a wake-up did not come");
}
