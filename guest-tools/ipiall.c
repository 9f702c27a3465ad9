/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipiall: inter-processor interrupts from every CPU to every other.
 *
 *   membarrier  in turn each CPU calls membarrier(PRIVATE_EXPEDITED) while a thread spins on every other one:
 *               the kernel sends each of them an IPI and waits for its answer. Then all CPUs at the same time.
 *   futex       a token goes over every ordered pair of CPUs; its receiver sleeps until it is woken
 *   migrate     one thread is moved over all CPUs; the target's kernel must be told each time
 *
 * Afterwards /proc/interrupts must show that each CPU's CAL (function call) count grew with each sender's
 * turn, and that CAL+RES grew over the futex part. A lost IPI hangs membarrier (the limit ends that) or a
 * futex wait (10 s). Options: rounds (of each part), seconds (of each part, then it stops early), limit.
 */
#include "sync.h"
#include <linux/membarrier.h>

struct shared {
	uint64_t rounds, part_ns;
	int cpus;
	struct spin_barrier *barrier;
	_Atomic uint32_t *sending; /* the spinners leave when it becomes 0 */
	const int *path;           /* thread numbers in the token's order */
	uint32_t steps, lap_steps; /* of all laps, of one */
	uint32_t steps_done;
	struct worker *workers;
	uint64_t turn_deadline_ns, deadline_ns; /* written by one thread before a barrier */
	uint64_t weakest;                       /* the fewest IPIs that any CPU took in any sender's turn */
	uint64_t calls, moves;
	_Atomic uint32_t failed;
};

struct worker {
	struct shared *shared;
	int index, cpu;
	pthread_t thread;
	_Atomic uint32_t *step; /* the futex: the token's step, when it is this thread's */
};

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

/* Adds the counts of one line of /proc/interrupts, per online CPU in order. */
static void add_counts(const char *text, const char *label, uint64_t *counts, int cpus)
{
	const char *s = strstr(text, label);

	if (!s)
		finish(1, "ipiall: /proc/interrupts has no line %s", label);
	s += strlen(label);
	for (int i = 0; i < cpus; i++) {
		char *end;
		counts[i] += strtoull(s, &end, 10);
		s = end;
	}
}

static void read_counts(uint64_t *counts, int cpus, bool with_resched)
{
	static const size_t size = 1024 * 1024;
	char *text = malloc(size);

	if (!text || !read_text("/proc/interrupts", text, size))
		finish(1, "ipiall: cannot read /proc/interrupts");
	memset(counts, 0, (size_t)cpus * sizeof(*counts));
	add_counts(text, "CAL:", counts, cpus);
	if (with_resched)
		add_counts(text, "RES:", counts, cpus);
	free(text);
}

/* The smallest growth of any CPU but the sender. */
static uint64_t fewest(const uint64_t *before, const uint64_t *after, int cpus, int sender)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < cpus; i++)
		if (i != sender && after[i] - before[i] < least)
			least = after[i] - before[i];
	return least;
}

/* One sender's turn; thread `sender` calls, the others spin. */
static void membarrier_turn(struct shared *s, const struct worker *me, int sender)
{
	uint64_t before[MAX_CPUS], after[MAX_CPUS];

	if (me->index == sender) {
		read_counts(before, s->cpus, false);
		s->turn_deadline_ns = now_ns() + s->part_ns / (uint64_t)s->cpus;
		atomic_store_explicit(s->sending, 1, memory_order_release);
	}
	spin_barrier_wait(s->barrier);
	if (me->index != sender) {
		while (atomic_load_explicit(s->sending, memory_order_acquire))
			cpu_relax();
	} else {
		/* A spinner that something else has pushed off its CPU gets no IPI then: give all of them a chance. */
		do {
			for (uint64_t i = 0; i < s->rounds && now_ns() < s->turn_deadline_ns; i++, s->calls++)
				if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
					finish(1, "ipiall: membarrier on CPU %d: %s", me->cpu, strerror(errno));
			read_counts(after, s->cpus, false);
		} while (fewest(before, after, s->cpus, sender) == 0 && now_ns() < s->turn_deadline_ns);
		atomic_store_explicit(s->sending, 0, memory_order_release);
		uint64_t least = fewest(before, after, s->cpus, sender);
		if (least < s->weakest)
			s->weakest = least;
		for (int i = 0; i < s->cpus; i++) {
			uint64_t got = after[i] - before[i];
			if (i == sender)
				continue;
			if (!got) {
				printf("ipiall: CPU %d took no IPI while CPU %d sent\n", s->workers[i].cpu, me->cpu);
				atomic_store(&s->failed, 1);
			}
		}
	}
	spin_barrier_wait(s->barrier);
}

static void membarrier_all(struct shared *s)
{
	for (uint64_t i = 0; i < s->rounds && (i % 8 || now_ns() < s->deadline_ns); i++)
		if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
			finish(1, "ipiall: membarrier: %s", strerror(errno));
}

/* Passes the token on each time it comes; the last step's receiver ends everybody with step 0xffffffff. */
static void futex_ring(struct shared *s, const struct worker *me)
{
	const uint32_t end = UINT32_MAX;
	uint32_t seen = 0;

	for (;;) {
		uint32_t step;
		while ((step = atomic_load_explicit(me->step, memory_order_acquire)) == seen) {
			/* Idle for long is no loss: the token may be far away. A token that came without waking is. */
			if (!futex_wait(me->step, seen) && atomic_load_explicit(me->step, memory_order_acquire) != seen) {
				printf("ipiall: CPU %d slept although it was woken\n", me->cpu);
				atomic_store(&s->failed, 1);
			}
		}
		if (step == end)
			return;
		seen = step;
		bool late = step > s->lap_steps && now_ns() > s->deadline_ns;
		if (step == s->steps || late) {
			s->steps_done = step;
			for (int i = 0; i < s->cpus; i++) {
				atomic_store_explicit(s->workers[i].step, end, memory_order_release);
				futex_wake(s->workers[i].step);
			}
			continue;
		}
		struct worker *next = &s->workers[s->path[step]];
		atomic_store_explicit(next->step, step + 1, memory_order_release);
		futex_wake(next->step);
	}
}

static void *worker_main(void *arg)
{
	struct worker *me = arg;
	struct shared *s = me->shared;

	pin_to_cpu(me->cpu);
	spin_barrier_wait(s->barrier);
	for (int sender = 0; sender < s->cpus; sender++)
		membarrier_turn(s, me, sender);
	if (me->index == 0)
		s->deadline_ns = now_ns() + s->part_ns;
	spin_barrier_wait(s->barrier);
	membarrier_all(s);
	spin_barrier_wait(s->barrier);
	if (me->index == 0)
		s->deadline_ns = now_ns() + s->part_ns;
	spin_barrier_wait(s->barrier);
	futex_ring(s, me);
	return NULL;
}

/* Every ordered pair once, `laps` times: i to j and back for each j > i, then on to i + 1. Starts at thread 0. */
static int *make_path(int cpus, uint64_t laps, uint32_t *steps, uint32_t *lap_steps)
{
	size_t max = (size_t)laps * ((size_t)cpus * (size_t)cpus + 2 * (size_t)cpus + 2), n = 0;
	int *path = calloc(max, sizeof(*path));

	if (!path)
		finish(1, "ipiall: out of memory");
	for (uint64_t lap = 0; lap < laps; lap++) {
		for (int i = 0; i < cpus; i++) {
			for (int j = i + 1; j < cpus; j++) {
				path[n++] = j;
				path[n++] = i;
			}
			path[n++] = (i + 1) % cpus;
		}
	}
	*steps = (uint32_t)n;
	*lap_steps = (uint32_t)(n / laps);
	return path;
}

static void migrate(struct shared *s, const struct topo *t)
{
	uint64_t deadline = now_ns() + s->part_ns;

	for (uint64_t round = 0; round < s->rounds && now_ns() < deadline; round++)
		for (int i = 0; i < t->cpu_count; i++, s->moves++) {
			pin_to_cpu(t->cpu[i]);
			int at = sched_getcpu();
			if (at != t->cpu[i])
				finish(1, "ipiall: moved to CPU %d but running on %d", t->cpu[i], at);
		}
}

int main(int argc, char **argv)
{
	uint64_t rounds = 100, seconds = 20, limit = 300;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"limit", &limit, NULL}};
	uint64_t before[MAX_CPUS], after[MAX_CPUS];
	struct shared s = {.weakest = UINT64_MAX};

	PARSE_OPTIONS(argc, argv, "ipiall", defs);
	set_limit(limit);
	const struct topo *t = topo_read();
	if (t->cpu_count < 2)
		finish(EXIT_SKIP, "ipiall: one CPU: nothing to send to");
	if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
		finish(1, "ipiall: membarrier is not there: %s", strerror(errno));
	s.rounds = rounds;
	s.part_ns = seconds * 1000000000u;
	s.cpus = t->cpu_count;
	s.barrier = spin_barrier_new((uint32_t)t->cpu_count);
	s.sending = alloc_on_node(PAGE_BYTES, -1);
	s.path = make_path(t->cpu_count, rounds / 10 + 1, &s.steps, &s.lap_steps);
	s.workers = calloc((size_t)t->cpu_count, sizeof(*s.workers));
	if (!s.workers)
		finish(1, "ipiall: out of memory");
	for (int i = 0; i < t->cpu_count; i++)
		s.workers[i] = (struct worker){.shared = &s, .index = i, .cpu = t->cpu[i], .step = alloc_on_node(PAGE_BYTES, -1)};
	read_counts(before, s.cpus, true);
	/* The token starts at thread 0, at step 1, when that thread comes to it. */
	s.workers[0].step[0] = 1;
	for (int i = 0; i < s.cpus; i++)
		s.workers[i].thread = start_thread(worker_main, &s.workers[i]);
	for (int i = 0; i < s.cpus; i++)
		pthread_join(s.workers[i].thread, NULL);
	migrate(&s, t);
	read_counts(after, s.cpus, true);
	for (int i = 0; i < s.cpus; i++)
		if (after[i] == before[i]) {
			printf("ipiall: CPU %d: no CAL and no RES interrupt at all\n", t->cpu[i]);
			s.failed = 1;
		}
	finish(s.failed ? 1 : 0,
	       "ipiall: cpus=%d nodes=%d membarriers=%" PRIu64 " fewest-IPIs-of-a-pair=%" PRIu64
	       " futex-steps=%u migrations=%" PRIu64 " %s",
	       s.cpus, t->cpu_node_count, s.calls, s.weakest, s.steps_done, s.moves, s.failed ? "LOST" : "ok");
}
