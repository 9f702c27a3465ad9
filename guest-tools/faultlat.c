/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultlat: how long a CPU of node B waits for a page of node A, touching pages one by one.
 *
 *   fault-read     A's CPU wrote the page last; B's CPU reads it
 *   fault-upgrade  B's CPU, which has read it, writes it
 *   fault-write    A's CPU wrote the page last; B's CPU writes it, without reading first
 *
 * Pages lie on node A (MPOL_BIND) in guest pages of 4 KiB and are touched in a random order, which no
 * prefetcher foresees (order=seq: ascending). A first touch of each 2 MiB block and of each
 * page table is made before, on a page that is not measured, since it also splits the block.
 * Each read is checked. The timer's own cost is subtracted nowhere: it is printed.
 * Options: pages, seconds (each part stops early then), order (random|seq), home (index of node A), from
 * (index of node B; among the nodes that have CPUs), limit.
 */
#include "sync.h"

#define BLOCK_PAGES 512

struct test {
	volatile uint64_t *buffer;
	uint32_t *order; /* of the measured pages: page numbers */
	size_t pages, total;
	uint64_t *ns;
	uint64_t seconds, wrong;
};

/* In the middle of the page: no other page's neighbour. */
static volatile uint64_t *word_of(const struct test *t, size_t page)
{
	return t->buffer + page * (PAGE_BYTES / sizeof(uint64_t)) + 128;
}

/* A page a block is kept for the first touch. */
static bool is_warmer(size_t page)
{
	return page % BLOCK_PAGES == 0;
}

static void write_all(struct test *t, int cpu, uint64_t tag)
{
	pin_to_cpu(cpu);
	for (size_t i = 0; i < t->total; i++)
		*word_of(t, i) = tag + i;
}

static void warm(struct test *t, int cpu)
{
	pin_to_cpu(cpu);
	for (size_t i = 0; i < t->total; i += BLOCK_PAGES)
		*word_of(t, i) = *word_of(t, i) + 1;
}

static void measure(struct test *t, int cpu, const char *name, bool write, uint64_t tag, bool check)
{
	uint64_t deadline;
	size_t n = 0;

	pin_to_cpu(cpu);
	deadline = now_ns() + t->seconds * 1000000000u;
	for (; n < t->pages; n++) {
		size_t page = t->order[n];
		volatile uint64_t *w = word_of(t, page);
		uint64_t begin = now_ns(), value = 0;
		if (write)
			*w = tag + page;
		else
			value = *w;
		uint64_t end = now_ns();
		t->ns[n] = end - begin;
		t->wrong += check && value != tag + page;
		if (end > deadline) {
			n++;
			break;
		}
	}
	sort_u64(t->ns, n);
	printf("%s p50=%" PRIu64 " p99=%" PRIu64 " min=%" PRIu64 " max=%" PRIu64 " n=%zu\n", name, percentile(t->ns, n, 50),
	       percentile(t->ns, n, 99), n ? t->ns[0] : 0, n ? t->ns[n - 1] : 0, n);
	fflush(stdout);
}

static uint64_t timer_cost(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t a = now_ns(), b = now_ns();
		if (b - a < best)
			best = b - a;
	}
	return best;
}

static void make_order(struct test *t, bool shuffled)
{
	uint64_t seed = 88172645463325252u;
	size_t n = 0;

	for (size_t i = 0; i < t->total; i++)
		if (!is_warmer(i))
			t->order[n++] = (uint32_t)i;
	for (size_t i = n; shuffled && i > 1; i--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		size_t j = seed % i;
		uint32_t tmp = t->order[i - 1];
		t->order[i - 1] = t->order[j];
		t->order[j] = tmp;
	}
}

int main(int argc, char **argv)
{
	uint64_t pages = 1000, seconds = 20, limit = 300, home = 0, from = UINT64_MAX;
	const char *order = "random";
	const struct option_def defs[] = {{"pages", &pages, NULL}, {"seconds", &seconds, NULL}, {"order", NULL, &order},
					  {"home", &home, NULL},   {"from", &from, NULL},       {"limit", &limit, NULL}};
	struct test t = {0};

	PARSE_OPTIONS(argc, argv, "faultlat", defs);
	if (!pages || pages > MIB)
		finish(2, "faultlat: pages from 1 to 1M");
	set_limit(limit);
	const struct topo *topo = topo_read();
	uint64_t nodes = (uint64_t)topo->cpu_node_count;
	if (from == UINT64_MAX)
		from = nodes > 1 ? 1 : 0;
	if (home >= nodes || from >= nodes)
		finish(2, "faultlat: only %" PRIu64 " nodes have CPUs", nodes);
	const struct topo_node *a = &topo->node[topo->cpu_node[home]], *b = &topo->node[topo->cpu_node[from]];
	t.pages = pages;
	t.total = pages + (pages + BLOCK_PAGES - 2) / (BLOCK_PAGES - 1);
	t.seconds = seconds;
	/* Own blocks, so that nothing else of this program shares a 2 MiB block with the pages. */
	size_t bytes = (t.total + 2 * BLOCK_PAGES) * PAGE_BYTES;
	uintptr_t base = (uintptr_t)alloc_on_node(bytes, a->id);
	t.buffer = (volatile uint64_t *)((base + BLOCK_PAGES * PAGE_BYTES - 1) & ~(uintptr_t)(BLOCK_PAGES * PAGE_BYTES - 1));
	t.order = alloc_on_node(t.total * sizeof(*t.order), b->id);
	t.ns = alloc_on_node(pages * sizeof(*t.ns), b->id);
	pin_to_cpu(b->cpu[0]);
	make_order(&t, strcmp(order, "seq") != 0);
	memset(t.ns, 1, pages * sizeof(*t.ns));

	printf("faultlat home=%d (CPU %d) from=%d (CPU %d) pages=%" PRIu64 " timer=%" PRIu64 " ns\n", a->id, a->cpu[0], b->id,
	       b->cpu[0], pages, timer_cost());
	write_all(&t, a->cpu[0], 1000);
	warm(&t, b->cpu[0]);
	measure(&t, b->cpu[0], "fault-read", false, 1000, true);
	measure(&t, b->cpu[0], "fault-upgrade", true, 2000, false);
	write_all(&t, a->cpu[0], 3000);
	warm(&t, b->cpu[0]);
	measure(&t, b->cpu[0], "fault-write", true, 4000, false);
	measure(&t, b->cpu[0], "hit-read", false, 4000, false);
	finish(t.wrong ? 1 : 0, "faultlat: wrong=%" PRIu64 " %s", t.wrong,
	       a == b ? "(one node: these are no remote faults)" : "ok");
}
