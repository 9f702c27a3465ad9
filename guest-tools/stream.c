/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: what memory gives when all CPUs use their own: STREAM's four loops, a thread a CPU, its arrays on its CPU's node.
 *
 *      copy  c = a        scale  b = s * c        add  c = a + b        triad  a = b + s * c
 *
 * All threads begin a loop together, do it `passes` times, and it lasts until the last one is through. Printed: bytes that the
 * loops read and wrote by that time, MB/s (10^6), the median over rounds. Every element is checked at the end. The loops are plain
 * ones of doubles, compiled into this program: the C library would choose by CPUID, and two hypervisors are to run the same code.
 * Options: bytes (of each of a thread's three arrays), rounds, passes, limit.
 */
#include "sync.h"

enum kind { COPY, SCALE, ADD, TRIAD, KINDS };
static const char *const names[KINDS] = {"copy", "scale", "add", "triad"};
static const unsigned arrays_touched[KINDS] = {2, 2, 3, 3};

#define ROUNDS_MAX 200u /* the numbers grow with each */
#define FACTOR     3.0

struct test {
	uint64_t bytes, rounds, passes;
	pthread_barrier_t *barrier;
};

struct worker {
	const struct test *test;
	int cpu, node;
	uint64_t wrong;
	struct {
		uint64_t begin, end;
	} at[KINDS][ROUNDS_MAX];
};

/* Keeps the compiler from making a call of memcpy out of a loop. */
static inline void each(void)
{
	__asm__ volatile("" : : : "memory");
}

static void run(enum kind kind, double *a, double *b, double *c, size_t n)
{
	switch (kind) {
	case COPY:
		for (size_t i = 0; i < n; i++, each())
			c[i] = a[i];
		break;
	case SCALE:
		for (size_t i = 0; i < n; i++, each())
			b[i] = FACTOR * c[i];
		break;
	case ADD:
		for (size_t i = 0; i < n; i++, each())
			c[i] = a[i] + b[i];
		break;
	default:
		for (size_t i = 0; i < n; i++, each())
			a[i] = b[i] + FACTOR * c[i];
		break;
	}
}

/* Every element has been through the same. */
static void check(struct worker *w, const double *a, const double *b, const double *c, size_t n)
{
	double x = 1, y = 2, z = 0;

	for (uint64_t i = 0; i < w->test->rounds; i++)
		for (enum kind k = COPY; k < KINDS; k++)
			run(k, &x, &y, &z, 1);
	for (size_t i = 0; i < n; i++)
		w->wrong += a[i] != x || b[i] != y || c[i] != z;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	const struct test *t = w->test;
	size_t n = t->bytes / sizeof(double);

	pin_to_cpu(w->cpu);
	double *a = alloc_on_node(t->bytes, w->node), *b = alloc_on_node(t->bytes, w->node), *c = alloc_on_node(t->bytes, w->node);
	for (size_t i = 0; i < n; i++) {
		a[i] = 1;
		b[i] = 2;
		c[i] = 0;
	}
	for (uint64_t i = 0; i < t->rounds; i++)
		for (enum kind k = COPY; k < KINDS; k++) {
			pthread_barrier_wait(t->barrier);
			w->at[k][i].begin = now_ns();
			for (uint64_t pass = 0; pass < t->passes; pass++) /* each writes the same */
				run(k, a, b, c, n);
			w->at[k][i].end = now_ns();
		}
	check(w, a, b, c, n);
	return NULL;
}

static uint64_t rate(struct worker *const *w, int workers, enum kind kind, const struct test *t)
{
	uint64_t *v = calloc(t->rounds, sizeof(*v));

	if (!v)
		finish(1, "stream: no memory");
	for (uint64_t i = 0; i < t->rounds; i++) {
		uint64_t begin = UINT64_MAX, end = 0;
		for (int k = 0; k < workers; k++) {
			if (w[k]->at[kind][i].begin < begin)
				begin = w[k]->at[kind][i].begin;
			if (w[k]->at[kind][i].end > end)
				end = w[k]->at[kind][i].end;
		}
		v[i] = end > begin ? arrays_touched[kind] * t->bytes * t->passes * (uint64_t)workers * 1000 / (end - begin) : 0;
	}
	sort_u64(v, t->rounds);
	uint64_t median = percentile(v, t->rounds, 50);
	free(v);
	return median;
}

int main(int argc, char **argv)
{
	static struct worker *w[MAX_CPUS];
	static pthread_t thread[MAX_CPUS];
	uint64_t limit = 300, wrong = 0;
	struct test t = {.bytes = 4 * MIB, .rounds = 10, .passes = 1};
	const struct option_def defs[] = {
		{"bytes", &t.bytes, NULL}, {"rounds", &t.rounds, NULL}, {"passes", &t.passes, NULL}, {"limit", &limit, NULL}};

	PARSE_OPTIONS(argc, argv, "stream", defs);
	if (!t.rounds || t.rounds > ROUNDS_MAX || t.bytes < PAGE_BYTES || t.bytes > 1024 * MIB || t.bytes % PAGE_BYTES ||
	    !t.passes || t.passes > 1000)
		finish(2, "stream: rounds from 1 to %u, bytes in pages, at most 1G, passes from 1 to 1000", ROUNDS_MAX);
	set_limit(limit);
	const struct topo *topo = topo_read();
	t.barrier = alloc_on_node(PAGE_BYTES, -1);
	if (pthread_barrier_init(t.barrier, NULL, (unsigned)topo->cpu_count))
		finish(1, "stream: no barrier");
	for (int i = 0; i < topo->cpu_count; i++) {
		int cpu = topo->cpu[i], node = topo_node_of(topo, cpu);
		w[i] = alloc_on_node(sizeof(*w[i]), node);
		*w[i] = (struct worker){.test = &t, .cpu = cpu, .node = node};
	}
	for (int i = 0; i < topo->cpu_count; i++)
		thread[i] = start_thread_on(w[i]->cpu, work, w[i]);
	for (int i = 0; i < topo->cpu_count; i++) {
		pthread_join(thread[i], NULL);
		wrong += w[i]->wrong;
	}
	printf("stream threads=%d nodes=%d bytes=%" PRIu64, topo->cpu_count, topo->cpu_node_count, t.bytes);
	for (enum kind k = COPY; k < KINDS; k++)
		printf(" %s=%" PRIu64, names[k], rate(w, topo->cpu_count, k, &t));
	finish(wrong ? 1 : 0, " MB/s%s", wrong ? " WRONG DATA" : "");
}
