/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus: the x86-TSO memory-ordering tests over vCPUs of different nodes.
 *
 * Each test is a few loads and stores by two or four threads, on locations X and Y of a slot. What
 * TSO forbids (Intel SDM vol. 3A section 9.2.2 and 9.2.3, AMD APM vol. 2 section 7.2) must never be
 * seen; what it allows is counted. A shared memory that orders pages too weakly fails here.
 *
 *   SB       X=1; r0=Y   | Y=1; r1=X               r0=0 r1=0 allowed (store buffer)
 *   SB+mfence, SB+xchg   the same, fenced          r0=0 r1=0 forbidden
 *   MP       X=1; Y=1    | r0=Y; r1=X              r0=1 r1=0 forbidden
 *   LB       r0=X; Y=1   | r1=Y; X=1               r0=1 r1=1 forbidden
 *   CoRR     X=1; X=2    | r0=X; r1=X              r1 older than r0 forbidden
 *   2+2W     X=1; Y=2    | Y=1; X=2                X=1 Y=1 at the end forbidden
 *   IRIW     X=1 | Y=1 | r0=X; r1=Y | r2=Y; r3=X   1,0,1,0 forbidden
 *   CoWW     X=1 | X=2 | r0=X; r1=X | r2=X; r3=X   readers who disagree on the order forbidden
 *
 * Perpetual style: one pass runs every slot once, all threads in the same order, with a rendezvous
 * every `sync` slots only, so that most rounds cost no synchronisation. Slots are not cleared:
 * a pass writes values that contain its number, and a value of any other pass but the one before is
 * an error too: a lost or resurrected write. Slots of one pass go across the pages (each round
 * another page) or along them (rounds of one page in a row) by turns. Layouts: X and Y on different
 * pages, bound to the nodes of threads 0 and 1, or on one page.
 *
 * Options: rounds (of each test and layout), seconds (for each, then it stops early), sync, pages (of each
 * location), min (fewer rounds done is a failure), only (one test's name), limit.
 */
#include "sync.h"

#define MAX_THREADS    4
#define LINE_BYTES     64
#define LINES_PER_PAGE (PAGE_BYTES / LINE_BYTES)
#define MAX_SLOTS      (64 * LINES_PER_PAGE)
#define OLD            0 /* what a load found: the value of the pass before, */
#define BAD            3 /* or of no pass that it could be; 1 and 2 are this pass's values */

struct job;

struct thread {
	struct job *job;
	int index, cpu;
	pthread_t handle;
	uint8_t *seen; /* a slot: the first load in bits 0-1, the second in bits 2-3 */
};

struct slot_view {
	volatile uint64_t *x, *y;
	uint64_t one, two, pass;
};

struct test {
	const char *name;
	int threads;
	uint8_t (*run)(const struct slot_view *s, int thread);
	bool (*forbidden)(const uint8_t *r, uint8_t final_x, uint8_t final_y);
	bool finals; /* the outcome is the locations' final values */
	bool no_y;   /* Y is never written */
};

struct job {
	const struct test *test;
	bool same_page;
	uint64_t rounds, sync, deadline_ns;
	size_t pages, slots;
	uint8_t *x_base, *y_base;
	struct spin_barrier *barrier;
	struct thread thread[MAX_THREADS];
	_Atomic uint32_t stop; /* written by thread 0 between two barriers */
	/* thread 0's */
	uint64_t done, bad, broken;
	uint64_t outcomes[4096];
};

static uint8_t decode(uint64_t value, uint64_t pass)
{
	uint64_t of = value >> 2;

	if (of == pass)
		return (uint8_t)(value & 3);
	return of + 1 == pass ? OLD : BAD;
}

static uint8_t two_loads(const struct slot_view *s, uint64_t first, uint64_t second)
{
	return (uint8_t)(decode(first, s->pass) | decode(second, s->pass) << 2);
}

static uint8_t run_sb(const struct slot_view *s, int thread)
{
	volatile uint64_t *mine = thread ? s->y : s->x, *theirs = thread ? s->x : s->y;

	*mine = s->one;
	return decode(*theirs, s->pass);
}

static uint8_t run_sb_mfence(const struct slot_view *s, int thread)
{
	volatile uint64_t *mine = thread ? s->y : s->x, *theirs = thread ? s->x : s->y;

	*mine = s->one;
	__asm__ volatile("mfence" : : : "memory");
	return decode(*theirs, s->pass);
}

static uint8_t run_sb_xchg(const struct slot_view *s, int thread)
{
	volatile uint64_t *mine = thread ? s->y : s->x, *theirs = thread ? s->x : s->y;
	uint64_t value = s->one;

	__asm__ volatile("xchg %0, %1" : "+r"(value), "+m"(*mine) : : "memory");
	return decode(*theirs, s->pass);
}

static bool bad_sb(const uint8_t *r, uint8_t x, uint8_t y)
{
	(void)x, (void)y;
	return r[0] == OLD && r[1] == OLD;
}

static uint8_t run_mp(const struct slot_view *s, int thread)
{
	if (thread == 0) {
		*s->x = s->one;
		*s->y = s->one;
		return 0;
	}
	uint64_t flag = *s->y, data = *s->x;
	return two_loads(s, flag, data);
}

static bool bad_mp(const uint8_t *r, uint8_t x, uint8_t y)
{
	(void)x, (void)y;
	return r[1] == 1; /* flag new, data old */
}

static uint8_t run_lb(const struct slot_view *s, int thread)
{
	volatile uint64_t *in = thread ? s->y : s->x, *out = thread ? s->x : s->y;
	uint64_t value = *in;

	*out = s->one;
	return decode(value, s->pass);
}

static bool bad_lb(const uint8_t *r, uint8_t x, uint8_t y)
{
	(void)x, (void)y;
	return r[0] == 1 && r[1] == 1;
}

static uint8_t run_corr(const struct slot_view *s, int thread)
{
	if (thread == 0) {
		*s->x = s->one;
		*s->x = s->two;
		return 0;
	}
	uint64_t first = *s->x, second = *s->x;
	return two_loads(s, first, second);
}

static bool bad_corr(const uint8_t *r, uint8_t x, uint8_t y)
{
	(void)y;
	return (r[1] >> 2) < (r[1] & 3) || x != 2;
}

static uint8_t run_22w(const struct slot_view *s, int thread)
{
	volatile uint64_t *first = thread ? s->y : s->x, *second = thread ? s->x : s->y;

	*first = s->one;
	*second = s->two;
	return 0;
}

static bool bad_22w(const uint8_t *r, uint8_t x, uint8_t y)
{
	(void)r;
	return x == 1 && y == 1;
}

static uint8_t run_iriw(const struct slot_view *s, int thread)
{
	if (thread < 2) {
		*(thread ? s->y : s->x) = s->one;
		return 0;
	}
	volatile uint64_t *a = thread == 2 ? s->x : s->y, *b = thread == 2 ? s->y : s->x;
	uint64_t first = *a, second = *b;
	return two_loads(s, first, second);
}

static bool bad_iriw(const uint8_t *r, uint8_t x, uint8_t y)
{
	(void)x, (void)y;
	return r[2] == 1 && r[3] == 1; /* each saw its first store and not the other's */
}

static uint8_t run_coww(const struct slot_view *s, int thread)
{
	if (thread < 2) {
		*s->x = thread ? s->two : s->one;
		return 0;
	}
	uint64_t first = *s->x, second = *s->x;
	return two_loads(s, first, second);
}

static bool bad_coww(const uint8_t *r, uint8_t x, uint8_t y)
{
	const uint8_t one_two = 1 | 2 << 2, two_one = 2 | 1 << 2;

	(void)y;
	if ((r[2] == one_two && r[3] == two_one) || (r[2] == two_one && r[3] == one_two))
		return true;
	for (int i = 2; i < 4; i++) {
		if ((r[i] & 3) != OLD && r[i] >> 2 == OLD)
			return true; /* back to the value before */
		if ((r[i] == one_two && x == 1) || (r[i] == two_one && x == 2))
			return true; /* the end contradicts the order seen */
	}
	return false;
}

static const struct test tests[] = {
	{"SB", 2, run_sb, NULL, false, false},
	{"SB+mfence", 2, run_sb_mfence, bad_sb, false, false},
	{"SB+xchg", 2, run_sb_xchg, bad_sb, false, false},
	{"MP", 2, run_mp, bad_mp, false, false},
	{"LB", 2, run_lb, bad_lb, false, false},
	{"CoRR", 2, run_corr, bad_corr, false, true},
	{"2+2W", 2, run_22w, bad_22w, true, false},
	{"IRIW", 4, run_iriw, bad_iriw, false, false},
	{"CoWW", 4, run_coww, bad_coww, false, true},
};

/* On one page X takes the even cache lines and Y the odd ones. */
static struct slot_view slot_at(const struct job *j, size_t slot, uint64_t pass, bool across)
{
	size_t lines = j->same_page ? LINES_PER_PAGE / 2 : LINES_PER_PAGE;
	size_t page = across ? slot % j->pages : slot / lines, line = across ? slot / j->pages : slot % lines;
	size_t at = page * PAGE_BYTES + line * LINE_BYTES * (j->same_page ? 2 : 1);

	return (struct slot_view){(volatile uint64_t *)(j->x_base + at),
				  (volatile uint64_t *)(j->y_base + at + (j->same_page ? LINE_BYTES : 0)), pass << 2 | 1,
				  pass << 2 | 2, pass};
}

/* Counts a pass's outcomes; in the order of loads, two bits each. */
static void gather(struct job *j, uint64_t pass, bool across)
{
	for (size_t i = 0; i < j->slots; i++) {
		struct slot_view s = slot_at(j, i, pass, across);
		uint8_t r[MAX_THREADS], x = decode(*s.x, pass), y = decode(*s.y, pass);
		unsigned key = 0;
		bool broken = x == BAD || (y == BAD && !j->test->no_y);
		for (int t = 0; t < j->test->threads; t++) {
			r[t] = j->thread[t].seen[i];
			broken = broken || (r[t] & 3) == BAD || r[t] >> 2 == BAD;
		}
		if (j->test->threads == 2)
			key = (unsigned)r[0] | (unsigned)r[1] << 4;
		else
			key = (unsigned)r[2] | (unsigned)r[3] << 4;
		if (j->test->finals)
			key = (unsigned)x << 8 | (unsigned)y << 10;
		j->outcomes[key]++;
		j->broken += broken;
		j->bad += !broken && j->test->forbidden && j->test->forbidden(r, x, y);
	}
	j->done += j->slots;
}

static void *thread_main(void *arg)
{
	struct thread *me = arg;
	struct job *j = me->job;

	pin_to_cpu(me->cpu);
	for (uint64_t pass = 1;; pass++) {
		bool across = pass % 2;
		spin_barrier_wait(j->barrier);
		if (atomic_load_explicit(&j->stop, memory_order_relaxed))
			return NULL;
		for (size_t i = 0; i < j->slots; i++) {
			struct slot_view s = slot_at(j, i, pass, across);
			if (i && i % j->sync == 0)
				spin_barrier_wait(j->barrier);
			me->seen[i] = j->test->run(&s, me->index);
		}
		spin_barrier_wait(j->barrier);
		if (me->index == 0) {
			gather(j, pass, across);
			if (j->done >= j->rounds || now_ns() >= j->deadline_ns)
				atomic_store_explicit(&j->stop, 1, memory_order_relaxed);
		}
	}
}

static void print_outcomes(const struct job *j)
{
	int shown = 0;

	for (unsigned key = 0; key < 4096; key++) {
		if (!j->outcomes[key] || ++shown > 24)
			continue;
		if (j->test->finals)
			printf(" x%uy%u:%" PRIu64, key >> 8 & 3, key >> 10 & 3, j->outcomes[key]);
		else if (j->test->run == run_mp || j->test->run == run_corr)
			printf(" %u%u:%" PRIu64, key >> 4 & 3, key >> 6 & 3, j->outcomes[key]);
		else if (j->test->threads == 2)
			printf(" %u%u:%" PRIu64, key & 3, key >> 4 & 3, j->outcomes[key]);
		else
			printf(" %u%u%u%u:%" PRIu64, key & 3, key >> 2 & 3, key >> 4 & 3, key >> 6 & 3, j->outcomes[key]);
	}
}

/* Runs one test in one layout; false if it failed. */
static bool run_test(const struct topo *t, struct job *j, uint64_t min)
{
	size_t bytes = j->pages * PAGE_BYTES;

	j->slots = j->pages * (j->same_page ? LINES_PER_PAGE / 2 : LINES_PER_PAGE);
	j->barrier = spin_barrier_new((uint32_t)j->test->threads);
	j->x_base = alloc_on_node(bytes, topo_node_of(t, topo_spread_cpu(t, 0)));
	j->y_base = j->same_page ? j->x_base : alloc_on_node(bytes, topo_node_of(t, topo_spread_cpu(t, 1)));
	for (int i = 0; i < j->test->threads; i++) {
		struct thread *th = &j->thread[i];
		*th = (struct thread){.job = j, .index = i, .cpu = topo_spread_cpu(t, i)};
		th->seen = alloc_on_node(MAX_SLOTS, topo_node_of(t, th->cpu));
	}
	for (int i = 0; i < j->test->threads; i++)
		j->thread[i].handle = start_thread(thread_main, &j->thread[i]);
	for (int i = 0; i < j->test->threads; i++)
		pthread_join(j->thread[i].handle, NULL);

	bool ok = !j->bad && !j->broken && j->done >= min;
	printf("litmus %s %s rounds=%" PRIu64, j->test->name, j->same_page ? "same-page" : "two-pages", j->done);
	print_outcomes(j);
	if (j->test->forbidden)
		printf(" forbidden=%" PRIu64, j->bad);
	printf(" corrupt=%" PRIu64 " %s\n", j->broken, ok ? "ok" : j->done < min ? "TOO FEW ROUNDS" : "FORBIDDEN OUTCOME");
	fflush(stdout);
	munmap(j->barrier, PAGE_BYTES);
	munmap(j->x_base, bytes);
	if (!j->same_page)
		munmap(j->y_base, bytes);
	for (int i = 0; i < j->test->threads; i++)
		munmap(j->thread[i].seen, MAX_SLOTS);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 10000, seconds = 10, sync = 64, pages = 8, min = 1, limit = 900;
	const char *only = NULL;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"sync", &sync, NULL},
					  {"pages", &pages, NULL},   {"min", &min, NULL},         {"only", NULL, &only},
					  {"limit", &limit, NULL}};
	uint64_t ran = 0, failed = 0, total = 0;

	PARSE_OPTIONS(argc, argv, "litmus", defs);
	if (!sync || !pages || pages > MAX_SLOTS / LINES_PER_PAGE)
		finish(2, "litmus: sync must be at least 1, pages from 1 to %u", MAX_SLOTS / LINES_PER_PAGE);
	set_limit(limit);
	const struct topo *t = topo_read();
	printf("litmus cpus=%d nodes=%d threads on CPUs %d,%d,%d,%d\n", t->cpu_count, t->cpu_node_count, topo_spread_cpu(t, 0),
	       topo_spread_cpu(t, 1), topo_spread_cpu(t, 2), topo_spread_cpu(t, 3));
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		for (int same = 0; same < 2; same++) {
			if (only && strcmp(only, tests[i].name) != 0)
				continue;
			struct job *j = calloc(1, sizeof(*j));
			if (!j)
				finish(1, "litmus: out of memory");
			j->test = &tests[i];
			j->same_page = same;
			j->rounds = rounds;
			j->sync = sync;
			j->pages = pages;
			j->deadline_ns = now_ns() + seconds * 1000000000u;
			ran++;
			failed += !run_test(t, j, min);
			total += j->done;
			free(j);
		}
	finish(failed || !ran ? 1 : 0, "litmus: tests=%" PRIu64 " rounds=%" PRIu64 " failed=%" PRIu64, ran, total, failed);
}
