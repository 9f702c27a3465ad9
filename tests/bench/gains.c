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
 *      merging     to add to a word anywhere in blocks that another node had pages of, all home again: 1000 words, of processor
 * time ahead       to read a page that the other node wrote, one after the other migration   to read and then write a page, the
 * nodes taking turns damping     to add to a word of a page that both nodes write all the time: 1000 additions
 *
 * Exit: 0; 1 something failed, in one line on stderr; 2 usage. Ended by SIGALRM after SECONDS.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "net/loop.h"
#include "tests/bench/bench.h"

#define DELAY_NS (40 * NS_PER_US)
#define BLOCKS   24u
#define PAGES    ((rpn_t)BLOCKS * BLOCK_PAGES) /* of each node */
#define ADDS     2000000u
#define TURNS    2000u
#define HAMMER   (500 * NS_PER_MS)

struct bench {
	struct dsm_sink sink;
	struct loop_net *loop;
	struct dsm *dsm[2];
};

struct hammer {
	struct bench *b;
	node_t node;
	_Atomic bool *stop;
	uint64_t added;
	pthread_t thread;
};

__attribute__((noreturn)) static void fail(const char *why)
{
	fprintf(stderr, "gains: %s\n", why);
	_exit(1); /* threads may sleep in faults */
}

static void on_failed(struct dsm_sink *sink, const char *why)
{
	(void)sink;
	fail(why);
}

static void on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	(void)sink;
	(void)peer;
	fail(why);
}

static void start(struct bench *b, unsigned without)
{
	struct loop_options options = {.seed = 1, .max_delay_ns = DELAY_NS, .fifo = true};
	const rpn_t first[3] = {0, PAGES, 2 * PAGES};

	b->sink = (struct dsm_sink){.failed = on_failed, .lost = on_lost};
	if (loop_new(2, 2, &options, &b->loop))
		fail("no loop transport");
	for (node_t n = 0; n < 2; n++) {
		struct net_lane *lane = loop_lane(b->loop, n, 1);
		struct dsm_config config = {.self = n,
					    .nodes = 2,
					    .node_first = first,
					    .shards = 1,
					    .lane = &lane,
					    .without = without,
					    .sink = &b->sink};

		if (dsm_new(&config, &b->dsm[n]) || dsm_start(b->dsm[n]))
			fail("dsm cannot start");
	}
}

static void stop(struct bench *b)
{
	for (node_t n = 0; n < 2; n++)
		dsm_stop(b->dsm[n]);
	for (node_t n = 0; n < 2; n++)
		dsm_free(b->dsm[n]);
	loop_free(b->loop);
}

static volatile uint64_t *word(const struct bench *b, node_t node, rpn_t page, unsigned index)
{
	return (volatile uint64_t *)(uintptr_t)(dsm_ram(b->dsm[node]) + page * PAGE_BYTES) + index;
}

static struct dsm_stats stats_of(const struct bench *b, node_t node)
{
	struct dsm_stats stats;

	dsm_stats(b->dsm[node], &stats);
	return stats;
}

/* ---- what is measured, with what `without` leaves out left out ---- */

static uint64_t blocks(struct bench *b)
{
	uint64_t begin = clock_ns();

	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		*word(b, 0, p, 0) = p;
	return (clock_ns() - begin) / PAGES;
}

static uint64_t ahead(struct bench *b)
{
	uint64_t wrong = 0;

	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		*word(b, 1, p, 0) = p;
	uint64_t begin = clock_ns();
	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		wrong += *word(b, 0, p, 0) != p;
	if (wrong)
		fail("a page was read with other bytes than were written");
	return (clock_ns() - begin) / PAGES;
}

static uint64_t migration(struct bench *b)
{
	rpn_t page = PAGES + 7;

	*word(b, 1, page, 0) = 0;
	uint64_t begin = clock_ns();
	for (uint64_t i = 0; i < TURNS; i++) {
		if (*word(b, i & 1, page, 0) != i)
			fail("a turn was lost");
		*word(b, i & 1, page, 0) = i + 1;
	}
	return (clock_ns() - begin) / TURNS;
}

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	for (; !atomic_load_explicit(h->stop, memory_order_relaxed); h->added++)
		++*word(h->b, h->node, PAGES + 7, h->node);
	return NULL;
}

static uint64_t damping(struct bench *b)
{
	_Atomic bool over = false;
	struct hammer h[2];
	uint64_t begin = clock_ns(), added = 0;

	*word(b, 1, PAGES + 7, 9) = 1; /* or the block is given away */
	for (node_t n = 0; n < 2; n++) {
		h[n] = (struct hammer){.b = b, .node = n, .stop = &over};
		if (pthread_create(&h[n].thread, NULL, hammer, &h[n]))
			fail("a thread cannot be made");
	}
	while (clock_ns() - begin < HAMMER)
		usleep(1000);
	atomic_store(&over, true);
	for (node_t n = 0; n < 2; n++)
		pthread_join(h[n].thread, NULL);
	for (node_t n = 0; n < 2; n++) {
		if (*word(b, 0, PAGES + 7, n) != h[n].added)
			fail("an addition was lost");
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

static uint64_t merging(struct bench *b)
{
	uint64_t random = 88172645463325252u, merges = stats_of(b, 1).merges;

	for (rpn_t p = PAGES; p < 2 * PAGES; p++)
		*word(b, 1, p, 0) = p;
	for (rpn_t p = PAGES; p < 2 * PAGES; p += BLOCK_PAGES)
		if (*word(b, 0, p, 0) != p)
			fail("a page was read with other bytes than were written");
	for (rpn_t p = PAGES; p < 2 * PAGES; p += BLOCK_PAGES)
		++*word(b, 1, p, 0);
	uint64_t patience = clock_ns() + 4 * NS_PER_SEC; /* in vain where nothing is merged */
	while (stats_of(b, 1).merges < merges + BLOCKS && clock_ns() < patience)
		usleep(10000);
	uint64_t begin = cpu_ns();
	for (unsigned i = 0; i < ADDS; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		++*word(b, 1, PAGES + random % PAGES, (unsigned)(random >> 32) % 512);
	}
	return (cpu_ns() - begin) / (ADDS / 1000);
}

struct gain {
	const char *name;
	unsigned bit;
	uint64_t (*measure)(struct bench *b);
};

int main(int argc, char **argv)
{
	static const struct gain gains[] = {
		{"blocks", DSM_WITHOUT(BLOCKS), blocks},    {"merging", DSM_WITHOUT(MERGING), merging},
		{"ahead", DSM_WITHOUT(AHEAD), ahead},       {"migration", DSM_WITHOUT(MIGRATION), migration},
		{"damping", DSM_WITHOUT(DAMPING), damping},
	};
	struct bench b;

	if (argc != 2) {
		fprintf(stderr, "Usage: gains SECONDS\n");
		return 2;
	}
	alarm((unsigned)number("gains", argv[1], 1, 3600));
	for (size_t i = 0; i < ARRAY_SIZE(gains); i++) {
		uint64_t ns[2];

		for (unsigned off = 0; off < 2; off++) {
			start(&b, off ? gains[i].bit : 0);
			ns[off] = gains[i].measure(&b);
			stop(&b);
		}
		printf("gains %s with=%llu without=%llu\n", gains[i].name, (unsigned long long)ns[0], (unsigned long long)ns[1]);
		fflush(stdout);
	}
	return 0;
}
