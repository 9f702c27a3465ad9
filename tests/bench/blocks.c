/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks: what memory costs that a node was given whole, and that became whole again (dsm/blocks.h), without a guest kernel.
 *
 *      blocks BLOCKS SECONDS
 *
 * Two nodes in one process, dsm as it ships over the loop transport. Prints, in nanoseconds,
 *
 *      blocks first-touch own=.. given=.. pages=..    to write to each page of BLOCKS fresh blocks, a page: of the node's own memory;
 *                                                     of another node's; of another node's where none is given
 *      blocks access whole=.. split=.. merged=..      to add to a word anywhere in BLOCKS of a node's own blocks, a word: before another
 *                                                     node asked for a page of each; after it, with every page home again; merged
 *
 * Exit: 0; 1 something failed, in one line on stderr; 2 usage. Ended by SIGALRM after SECONDS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "net/loop.h"
#include "tests/bench/bench.h"

#define BLOCKS_MAX 512ul
#define ADDS       2000000u

struct bench {
	struct dsm_sink sink;
	struct loop_net *loop;
	struct dsm *dsm[2];
	rpn_t pages; /* of each node: two halves, each for one measurement */
};

__attribute__((noreturn)) static void fail(const char *why)
{
	fprintf(stderr, "blocks: %s\n", why);
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
	struct loop_options options = {.seed = 1, .fifo = true};
	rpn_t first[3] = {0, b->pages, 2 * b->pages};

	b->sink = (struct dsm_sink){.failed = on_failed, .lost = on_lost};
	if (loop_new(2, 2, &options, &b->loop))
		fail("no loop transport");
	for (node_t n = 0; n < 2; n++) {
		struct net_lane *lane = loop_lane(b->loop, n, 1);
		struct dsm_config config = {
			.self = n, .nodes = 2, .node_first = first, .shards = 1, .lane = &lane, .without = without, .sink = &b->sink};

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

/* Half h of node 1's memory, as node `by` touches it first. */
static uint64_t first_touch(const struct bench *b, node_t by, unsigned h)
{
	rpn_t first = b->pages + h * (b->pages / 2), n = b->pages / 2;
	uint64_t begin = clock_ns();

	for (rpn_t p = 0; p < n; p++)
		*word(b, by, first + p, 0) = p;
	return (clock_ns() - begin) / n;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* Anywhere in half 0 of node 1's memory, by node 1: a thousand words. */
static uint64_t add(const struct bench *b)
{
	uint64_t random = 88172645463325252u, begin = cpu_ns();

	for (unsigned i = 0; i < ADDS; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		++*word(b, 1, b->pages + random % (b->pages / 2), (unsigned)(random >> 32) % 512);
	}
	return (cpu_ns() - begin) / (ADDS / 1000);
}

static struct dsm_stats stats_of(const struct bench *b, node_t node)
{
	struct dsm_stats stats;

	dsm_stats(b->dsm[node], &stats);
	return stats;
}

int main(int argc, char **argv)
{
	struct bench b = {.pages = 0};

	if (argc != 3) {
		fprintf(stderr, "Usage: blocks BLOCKS SECONDS\n");
		return 2;
	}
	uint64_t blocks = number("blocks", argv[1], 1, BLOCKS_MAX);
	alarm((unsigned)number("blocks", argv[2], 1, 3600));
	b.pages = 2 * blocks * BLOCK_PAGES;

	start(&b, DSM_WITHOUT(BLOCKS));
	uint64_t pages = first_touch(&b, 0, 1);
	stop(&b);
	start(&b, 0);
	uint64_t own = first_touch(&b, 1, 0), given = first_touch(&b, 0, 1);
	if (stats_of(&b, 1).blocks_given != blocks)
		fail("not every block was given whole");
	printf("blocks first-touch own=%llu given=%llu pages=%llu\n", (unsigned long long)own, (unsigned long long)given,
	       (unsigned long long)pages);

	uint64_t whole = add(&b);
	for (rpn_t p = b.pages; p < b.pages + b.pages / 2; p += BLOCK_PAGES)
		if (*word(&b, 0, p, 0) > ADDS + b.pages)
			fail("a word that nobody wrote");
	for (rpn_t p = b.pages; p < b.pages + b.pages / 2; p += BLOCK_PAGES)
		++*word(&b, 1, p, 0);
	uint64_t split = add(&b), merges = stats_of(&b, 1).merges;
	if (merges)
		fail("blocks were merged before they were measured: fewer of them, or a quicker machine");
	while (stats_of(&b, 1).merges < blocks)
		usleep(10000);
	printf("blocks access whole=%llu split=%llu merged=%llu\n", (unsigned long long)whole, (unsigned long long)split,
	       (unsigned long long)add(&b));
	fflush(stdout);
	stop(&b);
	return 0;
}
