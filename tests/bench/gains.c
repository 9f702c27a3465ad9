/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gains: what each optimisation of dsm that can be left out is worth, where it should be, without a guest kernel.
 *
 *      gains SECONDS
 *
 * Two nodes in one process, dsm as it ships over the loop transport, on which a message takes up to DELAY_NS. For each a line
 * `gains NAME with=.. without=..`, in nanoseconds:
 *
 *      blocks      to write to a page of fresh blocks of the other node, one after the other
 *
 *      merging     to add to a word anywhere in blocks that another node had pages of, all home again: 1000 words, processor time
 *
 *      ahead       to read a page that the other node wrote, one after the other
 *
 *      runs        the same, with pages asked for ahead either way
 *
 *      migration   to read and then write a page, the nodes taking turns
 *
 *      damping     to add to a word of a page that both nodes write all the time: 1000 additions
 *
 * Exit: 0; 1 something failed, in one line on stderr; 2 usage. Ended by SIGALRM after SECONDS.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bench/nodes.h"

#define DELAY_NS (40 * NS_PER_US)
#define BLOCKS   24u
#define PAGES    ((rpn_t)BLOCKS * BLOCK_PAGES) /* of each node */
#define ADDS     2000000u
#define TURNS    2000u
#define HAMMER   (500 * NS_PER_MS)

struct hammer {
	struct nodes *b;
	node_t node;
	_Atomic bool *stop;
	uint64_t added;
	pthread_t thread;
};

static struct dsm_stats stats_of(const struct nodes *b, node_t node)
{
	struct dsm_stats stats;

	dsm_stats(b->dsm[node], &stats);
	return stats;
}

/* ---- what is measured, with what `without` leaves out left out ---- */

static uint64_t blocks(struct nodes *b)
{
	uint64_t begin = clock_ns();

	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		*nodes_word(b, 0, p, 0) = p;
	return (clock_ns() - begin) / PAGES;
}

static uint64_t ahead(struct nodes *b)
{
	uint64_t wrong = 0;

	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		*nodes_word(b, 1, p, 0) = p;
	uint64_t begin = clock_ns();
	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		wrong += *nodes_word(b, 0, p, 0) != p;
	if (wrong)
		fail("a page was read with other bytes than were written", 0);
	return (clock_ns() - begin) / PAGES;
}

static uint64_t migration(struct nodes *b)
{
	rpn_t page = PAGES + 7;

	*nodes_word(b, 1, page, 0) = 0;
	uint64_t begin = clock_ns();
	for (uint64_t i = 0; i < TURNS; i++) {
		if (*nodes_word(b, i & 1, page, 0) != i)
			fail("a turn was lost", 0);
		*nodes_word(b, i & 1, page, 0) = i + 1;
	}
	return (clock_ns() - begin) / TURNS;
}

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	for (; !atomic_load_explicit(h->stop, memory_order_relaxed); h->added++)
		++*nodes_word(h->b, h->node, PAGES + 7, h->node);
	return NULL;
}

static uint64_t damping(struct nodes *b)
{
	_Atomic bool over = false;
	struct hammer h[2];
	uint64_t begin = clock_ns(), added = 0;

	*nodes_word(b, 1, PAGES + 7, 9) = 1; /* or the block is given away */
	for (node_t n = 0; n < 2; n++) {
		h[n] = (struct hammer){.b = b, .node = n, .stop = &over};
		if (pthread_create(&h[n].thread, NULL, hammer, &h[n]))
			fail("a thread cannot be made", 0);
	}
	while (clock_ns() - begin < HAMMER)
		usleep(1000);
	atomic_store(&over, true);
	for (node_t n = 0; n < 2; n++)
		pthread_join(h[n].thread, NULL);
	for (node_t n = 0; n < 2; n++) {
		if (*nodes_word(b, 0, PAGES + 7, n) != h[n].added)
			fail("an addition was lost", 0);
		added += h[n].added;
	}
	return (clock_ns() - begin) * 1000 / MAX(added, 1u);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static uint64_t merging(struct nodes *b)
{
	uint64_t random = 88172645463325252u, merges = stats_of(b, 1).merges;

	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		*nodes_word(b, 1, p, 0) = p;
	for (rpn_t p = PAGES; p < 2 * PAGES; p += BLOCK_PAGES)
		if (*nodes_word(b, 0, p, 0) != p)
			fail("a page was read with other bytes than were written", 0);
	for (rpn_t p = PAGES; p < 2 * PAGES; p += BLOCK_PAGES)
		++*nodes_word(b, 1, p, 0);
	uint64_t patience = clock_ns() + 4 * NS_PER_SEC; /* in vain where nothing is merged */
	while (stats_of(b, 1).merges < merges + BLOCKS && clock_ns() < patience)
		usleep(10000);
	uint64_t begin = cpu_ns();
	for (unsigned i = 0; i < ADDS; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		++*nodes_word(b, 1, PAGES + random % PAGES, (unsigned)(random >> 32) % 512);
	}
	return (cpu_ns() - begin) / (ADDS / 1000);
}

struct gain {
	const char *name;
	unsigned bit;
	uint64_t (*measure)(struct nodes *b);
};

int main(int argc, char **argv)
{
	static const struct gain gains[] = {
		{"blocks", DSM_WITHOUT(BLOCKS), blocks},    {"merging", DSM_WITHOUT(MERGING), merging},
		{"ahead", DSM_WITHOUT(AHEAD), ahead},       {"migration", DSM_WITHOUT(MIGRATION), migration},
		{"damping", DSM_WITHOUT(DAMPING), damping}, {"runs", DSM_WITHOUT(RUNS), ahead},
	};
	const struct loop_options options = {.seed = 1, .max_delay_ns = DELAY_NS, .fifo = true};
	struct nodes b;

	if (argc != 2) {
		fprintf(stderr, "Usage: gains SECONDS\n");
		return 2;
	}
	alarm((unsigned)number(argv[1], 1, 3600));
	for (size_t i = 0; i < ARRAY_SIZE(gains); i++) {
		uint64_t ns[2];

		for (unsigned off = 0; off < 2; off++) {
			nodes_start(&b, 2, PAGES, &options, off ? gains[i].bit : 0);
			ns[off] = gains[i].measure(&b);
			nodes_stop(&b);
		}
		printf("gains %s with=%llu without=%llu\n", gains[i].name, (unsigned long long)ns[0], (unsigned long long)ns[1]);
		fflush(stdout);
	}
	return 0;
}
