/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of dsm as it ships (dsm/blocks.h): given whole, split, merged; and copies that are pushed. Several nodes in one process
 * over the loop transport, real userfaultfd. A test prints its seed; PANGEA_SEED=N runs it again.
 */
#include <sched.h>
#include <string.h>

#include "tests/unit/check_main.h"
#include "tests/unit/dsm_help.h"

#define NODE_BLOCKS 8u
#define NODE_PAGES  ((rpn_t)NODE_BLOCKS * BLOCK_PAGES)
#define TICK_NS     (20 * NS_PER_MS)

static void start(struct cluster *c, unsigned nodes, unsigned shards, unsigned without, uint64_t s)
{
	struct loop_options options = {.seed = s, .max_delay_ns = 200 * NS_PER_US, .fifo = true};
	rpn_t first[NODES + 1];

	*c = (struct cluster){.nodes = nodes, .shards = shards, .sink = {.failed = on_failed, .lost = on_lost}};
	for (unsigned n = 0; n <= nodes; n++)
		first[n] = n * NODE_PAGES;
	ck_assert_int_eq(loop_new(nodes, 1 + shards, &options, &c->loop), 0);
	for (unsigned n = 0; n < nodes; n++) {
		struct net_lane *lane[SHARDS_MAX];

		for (unsigned l = 0; l < shards; l++)
			lane[l] = loop_lane(c->loop, n, l + 1);
		cluster_node(c, n, first, lane, without, TICK_NS);
	}
}

/* Until the node has counted so many, or ten seconds are over. */
#define WAIT_FOR(c, node, counter, least)                                         \
	do {                                                                      \
		uint64_t until = clock_ns() + 10 * NS_PER_SEC;                    \
		while (stats_of(c, node).counter < (least) && clock_ns() < until) \
			sched_yield();                                            \
		ck_assert_uint_ge(stats_of(c, node).counter, least);              \
	} while (0)

START_TEST(a_block_that_nobody_touched_is_given_whole)
{
	struct cluster c;

	start(&c, 2, 1, 0, seed());
	*word(&c, 1, 5, 0) = 1;
	WAIT_FOR(&c, 1, blocks_taken, 1);
	for (rpn_t p = 0; p < BLOCK_PAGES; p++)
		*word(&c, 1, p, 1) = p + 1;
	struct dsm_stats stats = stats_of(&c, 1);
	ck_assert_uint_eq(stats.requests, 1);
	ck_assert_uint_eq(stats.faults_write + stats.faults_read, 1); /* the rest is native */
	ck_assert_uint_eq(stats_of(&c, 0).blocks_given, 1);
	for (rpn_t p = 0; p < BLOCK_PAGES; p++)
		ck_assert_uint_eq(*word(&c, 0, p, 1), p + 1);
	ck_assert_uint_eq(*word(&c, 0, 5, 0), 1);
	ck_assert_uint_eq(stats_of(&c, 1).splits, 1);
	for (rpn_t p = 0; p < BLOCK_PAGES; p++)
		ck_assert_uint_eq(*word(&c, 1, p, 1), p + 1);
	cluster_stop(&c);
}
END_TEST

START_TEST(a_block_with_bytes_is_not_given)
{
	struct cluster c;

	start(&c, 2, 1, 0, seed());
	*word(&c, 0, 17, 0) = 3;
	*word(&c, 1, 5, 0) = 1;
	ck_assert_uint_eq(*word(&c, 1, 17, 0), 3);
	ck_assert_uint_eq(stats_of(&c, 0).blocks_given, 0);
	cluster_stop(&c);
}
END_TEST

START_TEST(without_blocks_none_is_given)
{
	struct cluster c;

	start(&c, 2, 1, DSM_WITHOUT(BLOCKS), seed());
	*word(&c, 1, 5, 0) = 1;
	*word(&c, 1, 400, 0) = 1;
	ck_assert_uint_eq(stats_of(&c, 0).blocks_given, 0);
	ck_assert_uint_eq(stats_of(&c, 1).requests, 2);
	cluster_stop(&c);
}
END_TEST

/* The home's own memory, split: one fault fills several pages, and none over a page that somebody has. */
START_TEST(holes_of_a_split_block_are_filled_together)
{
	struct cluster c;

	start(&c, 2, 1, DSM_WITHOUT(AHEAD), seed());
	*word(&c, 0, 0, 0) = 1;
	for (rpn_t p = 0; p < 3; p++) /* the block is split, page 2 is node 1's */
		ck_assert_uint_eq(*word(&c, 1, p, 0), p == 0);
	*word(&c, 1, 100, 0) = 5;
	for (rpn_t p = 64; p < 128; p++)
		if (p != 100)
			*word(&c, 0, p, 1) = p;
	ck_assert_uint_le(stats_of(&c, 0).faults_local, 64 / VIEW_AROUND + 2);
	ck_assert_uint_eq(*word(&c, 0, 100, 0), 5);
	for (rpn_t p = 64; p < 128; p++)
		ck_assert_uint_eq(*word(&c, 1, p, 1), p == 100 ? 0 : p);
	cluster_stop(&c);
}
END_TEST

/* Each node's own word of every page, pages in an order of its own: requests cross with blocks that are given. */
static void *own_words(void *arg)
{
	struct racer *r = arg;
	rpn_t pages = r->c->nodes * NODE_PAGES, step = (next_random(&r->random) % (pages / 2)) | 1,
	      p = next_random(&r->random) % pages;

	for (unsigned round = 0; round < r->rounds; round++)
		for (rpn_t i = 0; i < pages; i += 3, p = (p + 3 * step) % pages) {
			ck_assert_uint_le(*word(r->c, r->node, p, r->node), r->rounds);
			++*word(r->c, r->node, p, r->node);
			r->added++;
			if (next_random(&r->random) % 512 == 0)
				usleep(next_random(&r->random) % 3000);
		}
	return NULL;
}

/* A node's racers, `rounds` each; every node's sum of its words of the first `pages` pages is what it added. */
static void race(struct cluster *c, uint64_t s, void *(*program)(void *), const unsigned rounds[NODES], rpn_t pages)
{
	struct racer racer[NODES];

	for (unsigned n = 0; n < NODES; n++)
		racer[n] = (struct racer){.c = c, .node = n, .rounds = rounds[n], .random = s * 2654435761u + n + 1};
	run_racers(racer, NODES, program);
	for (unsigned n = 0; n < NODES; n++) {
		uint64_t sum = 0;

		for (rpn_t p = 0; p < pages; p++)
			sum += *word(c, (unsigned)(p % NODES), p, n);
		ck_assert_uint_eq(sum, racer[n].added);
	}
}

static void words_are_kept(unsigned shards)
{
	static const unsigned rounds[NODES] = {2, 2, 2};
	uint64_t s = seed();
	struct cluster c;

	start(&c, NODES, shards, 0, s);
	race(&c, s, own_words, rounds, NODES * NODE_PAGES);
	ck_assert_uint_gt(stats_of_all(&c).blocks_given, 0);
	cluster_stop(&c);
}

START_TEST(blocks_that_are_given_lose_nothing)
{
	words_are_kept(1);
}
END_TEST

START_TEST(blocks_that_are_given_over_shards_lose_nothing)
{
	words_are_kept(2);
}
END_TEST

START_TEST(a_block_that_came_home_is_merged)
{
	struct cluster c;

	start(&c, 2, 1, DSM_WITHOUT(AHEAD), seed()); /* or the next block is asked for, too */
	for (rpn_t p = 0; p < BLOCK_PAGES; p++)
		*word(&c, 0, p, 0) = p + 1;
	for (unsigned round = 1; round <= 3; round++) {
		for (rpn_t p = 0; p < BLOCK_PAGES; p++)
			ck_assert_uint_eq(*word(&c, 1, p, 0), p + round);
		ck_assert_uint_eq(stats_of(&c, 0).splits, round);
		for (rpn_t p = 0; p < BLOCK_PAGES; p++)
			++*word(&c, 0, p, 0);
		WAIT_FOR(&c, 0, merges, round);
		uint64_t faults = stats_of(&c, 0).faults_write;
		for (rpn_t p = 0; p < BLOCK_PAGES; p++)
			*word(&c, 0, p, 1) = round;
		ck_assert_uint_eq(stats_of(&c, 0).faults_write, faults);
	}
	cluster_stop(&c);
}
END_TEST

START_TEST(a_block_of_which_a_page_is_away_is_not_merged)
{
	struct cluster c;

	start(&c, 2, 1, 0, seed());
	*word(&c, 0, 7, 0) = 1;
	ck_assert_uint_eq(*word(&c, 1, 7, 0), 1); /* a copy: the home may only read */
	usleep(10 * TICK_NS / 1000);
	ck_assert_uint_eq(stats_of(&c, 0).merges, 0);
	cluster_stop(&c);
}
END_TEST

/* One block: its home writes all of it over and over, others take pages of it now and then, so that it is merged and split while
 * it is written. */
static void *visit(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < r->rounds; i++) {
		if (r->node == 0) {
			for (rpn_t p = 0; p < BLOCK_PAGES; p++, r->added++)
				++*word(r->c, 0, p, 0);
			if (i % 4 == 0)
				usleep(2000);
			continue;
		}
		++*word(r->c, r->node, next_random(&r->random) % BLOCK_PAGES, r->node);
		r->added++;
		usleep((unsigned)(next_random(&r->random) % (8 * TICK_NS / 1000)));
	}
	return NULL;
}

START_TEST(a_block_that_is_merged_while_it_is_written_loses_nothing)
{
	static const unsigned rounds[NODES] = {2000, 20, 20};
	uint64_t s = seed();
	struct cluster c;

	start(&c, NODES, 1, 0, s);
	race(&c, s, visit, rounds, BLOCK_PAGES);
	ck_assert_uint_gt(stats_of(&c, 0).merges, 0);
	cluster_stop(&c);
}
END_TEST

/* Node `writer` writes a page of node 0, the others read it a while apart, and again. */
static void copies_are_pushed(unsigned writer)
{
	struct cluster c;

	start(&c, NODES, 1, 0, seed());
	*word(&c, 0, 9, 0) = 1;              /* or the block is given away */
	for (unsigned n = 0; n < NODES; n++) /* who never asked has not said that it has room */
		ck_assert_uint_eq(*word(&c, n, 9, 0), 1);
	for (uint64_t round = 1; round <= 40; round++) {
		*word(&c, writer, 9, 1) = round;
		for (unsigned n = 0; n < NODES; n++) {
			if (n == writer)
				continue;
			ck_assert_uint_eq(*word(&c, n, 9, 1), round);
			usleep(5000);
		}
	}
	struct dsm_stats all = stats_of_all(&c);
	ck_assert_uint_gt(all.pushed, 20);
	ck_assert_uint_ge(all.pushed_in + NODES, all.pushed);
	ck_assert_uint_lt(all.faults_read, 40 * 2 - 15);
	cluster_stop(&c);
}

START_TEST(what_its_home_writes_is_pushed)
{
	copies_are_pushed(0);
}
END_TEST

START_TEST(what_another_node_writes_is_pushed)
{
	copies_are_pushed(2);
}
END_TEST

/* Writers and readers of few pages, all at once: what is pushed crosses with requests for it. */
static void *read_mostly(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < r->rounds; i++) {
		rpn_t page = next_random(&r->random) % 4;

		if (next_random(&r->random) % 8 == 0) {
			++*word(r->c, r->node, page, r->node);
			r->added++;
		} else {
			ck_assert_uint_le(*word(r->c, r->node, page, (r->node + 1) % NODES), r->rounds);
		}
		if (i % 4 == 0)
			usleep((unsigned)(next_random(&r->random) % 400));
	}
	return NULL;
}

START_TEST(pushes_that_cross_with_requests_lose_nothing)
{
	static const unsigned rounds[NODES] = {6000, 6000, 6000};
	uint64_t s = seed();
	struct cluster c;

	start(&c, NODES, 1, 0, s);
	*word(&c, 0, 5, 0) = 1; /* or the block is given away */
	race(&c, s, read_mostly, rounds, 4);
	ck_assert_uint_gt(stats_of_all(&c).pushed, 0);
	cluster_stop(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dsm blocks");
	TCase *tc = tcase_create("blocks");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_block_that_nobody_touched_is_given_whole);
	tcase_add_test(tc, a_block_with_bytes_is_not_given);
	tcase_add_test(tc, without_blocks_none_is_given);
	tcase_add_test(tc, holes_of_a_split_block_are_filled_together);
	tcase_add_test(tc, blocks_that_are_given_lose_nothing);
	tcase_add_test(tc, blocks_that_are_given_over_shards_lose_nothing);
	tcase_add_test(tc, a_block_that_came_home_is_merged);
	tcase_add_test(tc, a_block_of_which_a_page_is_away_is_not_merged);
	tcase_add_test(tc, a_block_that_is_merged_while_it_is_written_loses_nothing);
	tcase_add_test(tc, what_its_home_writes_is_pushed);
	tcase_add_test(tc, what_another_node_writes_is_pushed);
	tcase_add_test(tc, pushes_that_cross_with_requests_lose_nothing);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
