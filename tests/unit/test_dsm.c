/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsm as it ships, several nodes in one process: real userfaultfd, real shards, over the loop transport (which delays by a seed, in
 * order between each two nodes) and over TCP. Threads stand for vCPUs. A test prints its seed; PANGEA_SEED=N runs it again.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "dsm/steps.h"
#include "net/loop.h"
#include "net/tcp.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dsm_help.h"

#define NODE_BLOCKS 2
#define NODE_PAGES  (NODE_BLOCKS * BLOCK_PAGES)

/* One TCP connection between each pair, for one lane. */
static void tcp_pairs(unsigned nodes, int fds[NODES][NODES])
{
	char peer[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;
	int listener;

	memset(fds, -1, sizeof(int) * NODES * NODES);
	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listener, &port, &why), 0);
	for (unsigned i = 0; i < nodes; i++)
		for (unsigned j = i + 1; j < nodes; j++) {
			ck_assert_int_eq(tcp_connect("127.0.0.1", port, 1000, &fds[i][j], &why), 0);
			ck_assert_int_eq(tcp_accept(listener, 1000, &fds[j][i], peer, &why), 0);
		}
	close(listener);
}

static void start_with(struct cluster *c, unsigned nodes, unsigned shards, bool tcp, bool counted, uint64_t s)
{
	struct loop_options options = {.seed = s, .max_delay_ns = 200 * NS_PER_US, .fifo = true, .look = s & 4};
	rpn_t first[NODES + 1];
	int fds[SHARDS_MAX][NODES][NODES];

	*c = (struct cluster){.nodes = nodes, .shards = shards, .counted = counted, .sink = {.failed = on_failed, .lost = on_lost}};
	for (unsigned n = 0; n <= nodes; n++)
		first[n] = n * NODE_PAGES;
	if (!tcp)
		ck_assert_int_eq(loop_new(nodes, 1 + shards, &options, &c->loop), 0);
	for (unsigned l = 0; tcp && l < shards; l++)
		tcp_pairs(nodes, fds[l]);
	for (unsigned n = 0; n < nodes; n++) {
		struct net_lane *lane[SHARDS_MAX];

		for (unsigned l = 0; l < shards; l++) {
			if (tcp)
				ck_assert_int_eq(tcp_lane_new(n, nodes, l + 1, fds[l][n], TCP_EPOLL, &lane[l]), 0);
			else
				lane[l] = loop_lane(c->loop, n, l + 1);
		}
		cluster_node(c, n, first, lane, (s & 1 ? DSM_WITHOUT(DAMPING) : 0) | (s & 2 ? DSM_WITHOUT(MIGRATION) : 0), 0);
	}
}

static void start(struct cluster *c, unsigned nodes, unsigned shards, bool tcp, uint64_t s)
{
	start_with(c, nodes, shards, tcp, false, s);
}

/* ---- what one node writes, another reads ---- */

static void written_is_read(bool tcp)
{
	struct cluster c;

	start(&c, NODES, 1, tcp, seed());
	for (rpn_t p = 0; p < NODES * NODE_PAGES; p += 7)
		*word(&c, (unsigned)(p % NODES), p, 3) = p + 1;
	for (unsigned n = 0; n < NODES; n++)
		for (rpn_t p = 0; p < NODES * NODE_PAGES; p += 7)
			ck_assert_uint_eq(*word(&c, n, p, 3), p + 1);
	cluster_stop(&c);
}

START_TEST(loop_written_is_read)
{
	written_is_read(false);
}
END_TEST

START_TEST(tcp_written_is_read)
{
	written_is_read(true);
}
END_TEST

START_TEST(a_private_block_keeps_its_bytes_when_it_is_split)
{
	struct cluster c;

	start(&c, 2, 1, false, seed());
	for (rpn_t p = 0; p < NODE_PAGES; p++)
		*word(&c, 0, p, 0) = p * 3 + 1;
	for (rpn_t p = 0; p < NODE_PAGES; p++)
		ck_assert_uint_eq(*word(&c, 1, p, 0), p * 3 + 1);
	cluster_stop(&c);
}
END_TEST

START_TEST(what_one_node_uses_alone_costs_no_message)
{
	struct cluster c;
	struct dsm_stats stats;

	start(&c, 2, 1, false, seed());
	memset(dsm_ram(c.dsm[0]), 0x5a, NODE_PAGES * PAGE_BYTES);
	dsm_stats(c.dsm[0], &stats);
	ck_assert_uint_eq(stats.messages_out, 0);
	ck_assert_uint_eq(stats.faults_write + stats.faults_read, 0);
	ck_assert_uint_eq(stats.splits, 0);
	cluster_stop(&c);
}
END_TEST

START_TEST(a_zero_page_travels_without_data)
{
	struct cluster c;
	struct dsm_stats stats;

	start(&c, 2, 1, false, seed());
	ck_assert_uint_eq(*word(&c, 1, 5, 0), 0);
	dsm_stats(c.dsm[1], &stats);
	ck_assert_uint_eq(stats.pages_in_zero, 1);
	ck_assert_uint_eq(stats.pages_in, 0);
	cluster_stop(&c);
}
END_TEST

START_TEST(a_peek_moves_no_page)
{
	struct cluster c;
	struct dsm_stats before, after;
	uint64_t value[2 * PAGE_BYTES / 8];

	start(&c, 2, 1, false, seed());
	*word(&c, 0, 5, 0) = 41;
	*word(&c, 0, 6, 0) = 42;
	ck_assert_uint_eq(*word(&c, 1, 5, 0), 41);
	dsm_stats(c.dsm[1], &before);
	ck_assert_int_eq(dsm_peek(c.dsm[1], 5 * PAGE_BYTES, value, sizeof(value)), 0);
	ck_assert_uint_eq(value[0], 41);             /* a copy is here */
	ck_assert_uint_eq(value[PAGE_BYTES / 8], 0); /* and nothing of the next */
	ck_assert_int_eq(dsm_peek(c.dsm[0], 5 * PAGE_BYTES, value, sizeof(value)), 0);
	ck_assert_uint_eq(value[PAGE_BYTES / 8], 42);
	ck_assert_int_eq(dsm_peek(c.dsm[0], 2 * NODE_PAGES * PAGE_BYTES - 8, value, 16), -ERANGE);
	ck_assert_int_eq(dsm_peek(c.dsm[0], UINT64_MAX, value, 16), -ERANGE);
	ck_assert_uint_eq(dsm_next(c.dsm[1], 0), 5);
	ck_assert_uint_ge(dsm_next(c.dsm[1], 6), 7); /* the page that it has not */
	ck_assert_uint_eq(dsm_next(c.dsm[1], 2 * NODE_PAGES), 2 * NODE_PAGES);
	dsm_stats(c.dsm[1], &after);
	ck_assert_uint_eq(after.messages_in, before.messages_in);
	ck_assert_uint_eq(*word(&c, 1, 6, 0), 42); /* the hole that was read is still one */
	cluster_stop(&c);
}
END_TEST

/* ---- many threads, few pages: increments are never lost, and no word runs back ---- */

#define RACE_PAGES 4
#define RACE_WORDS 4

static rpn_t race_page(uint64_t r)
{
	return (r % RACE_PAGES) * NODE_PAGES * NODES / RACE_PAGES; /* spread over homes */
}

static void *race(void *arg)
{
	struct racer *r = arg;
	uint64_t last[RACE_PAGES][RACE_WORDS] = {0};

	for (unsigned i = 0; i < r->rounds; i++) {
		uint64_t x = next_random(&r->random);
		unsigned page = (unsigned)(x % RACE_PAGES), w = (unsigned)(x / RACE_PAGES % RACE_WORDS);
		_Atomic uint64_t *at = (_Atomic uint64_t *)(uintptr_t)word(r->c, r->node, race_page(page), w);
		uint64_t seen;

		if (x >> 60 & 1) {
			seen = atomic_fetch_add(at, 1) + 1;
			r->added++;
		} else {
			seen = atomic_load(at);
		}
		if (seen < last[page][w]) {
			fprintf(stderr, "node %u: word %u of page %u ran back from %llu to %llu\n", r->node, w, page,
				(unsigned long long)last[page][w], (unsigned long long)seen);
			_exit(1);
		}
		last[page][w] = seen;
	}
	return NULL;
}

static void counters_add_up(bool tcp, unsigned shards, unsigned rounds)
{
	struct racer racer[2 * NODES];
	struct cluster c;
	uint64_t s = seed(), added = 0, sum = 0;

	start(&c, NODES, shards, tcp, s);
	for (unsigned i = 0; i < ARRAY_SIZE(racer); i++) {
		racer[i] = (struct racer){.c = &c, .node = i % NODES, .rounds = rounds, .random = s * (i + 1) | 1};
		ck_assert_int_eq(pthread_create(&racer[i].thread, NULL, race, &racer[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(racer); i++) {
		pthread_join(racer[i].thread, NULL);
		added += racer[i].added;
	}
	for (unsigned p = 0; p < RACE_PAGES; p++)
		for (unsigned w = 0; w < RACE_WORDS; w++)
			sum += *word(&c, p % NODES, race_page(p), w);
	ck_assert_uint_eq(sum, added);
	cluster_stop(&c);
}

START_TEST(loop_counters_add_up)
{
	counters_add_up(false, 1, 3000);
}
END_TEST

START_TEST(loop_counters_add_up_over_shards)
{
	counters_add_up(false, 3, 3000);
}
END_TEST

START_TEST(tcp_counters_add_up)
{
	counters_add_up(true, 2, 20000);
}
END_TEST

START_TEST(after_a_reset_all_is_zero_and_private)
{
	struct cluster c;
	struct dsm_stats before, after;

	start(&c, 2, 1, false, seed());
	for (rpn_t p = 0; p < 2 * NODE_PAGES; p += 3)
		*word(&c, (unsigned)(p & 1), p, 0) = 7;
	cluster_reset(&c);
	dsm_stats(c.dsm[0], &before);
	for (rpn_t p = 0; p < NODE_PAGES; p += 3)
		ck_assert_uint_eq(*word(&c, 0, p, 0), 0);
	dsm_stats(c.dsm[0], &after);
	ck_assert_uint_eq(before.messages_out, after.messages_out);
	for (rpn_t p = 0; p < 2 * NODE_PAGES; p += 3) {
		ck_assert_uint_eq(*word(&c, 1, p, 0), 0);
		*word(&c, 1, p, 0) = p;
		ck_assert_uint_eq(*word(&c, 0, p, 0), p);
	}
	cluster_stop(&c);
}
END_TEST

/* ---- replicas: a page table that several nodes walk as writers ---- */

#define TABLE_ROOT 1u /* page numbers: a tree of four levels */
#define TABLE_LEAF 4u
#define TABLE_FLAG 40u /* an ordinary page */
#define ENTRY      0x63u

/* Node 0's program makes the tree; the leaf maps pages from 1 on. */
static void make_tables(struct cluster *c)
{
	for (rpn_t p = TABLE_ROOT; p < TABLE_LEAF; p++)
		*word(c, 0, p, 0) = (p + 1) << PAGE_SHIFT | ENTRY;
	for (unsigned i = 0; i < 16; i++)
		*word(c, 0, TABLE_LEAF, i) = (uint64_t)(i + 1) << PAGE_SHIFT | ENTRY;
	for (unsigned n = 0; n < c->nodes; n++)
		dsm_root(c->dsm[n], TABLE_ROOT << PAGE_SHIFT, false);
}

/* As a processor does that walks: an access as a writer that changes nothing. */
static void walk(struct cluster *c, unsigned node)
{
	atomic_fetch_or((_Atomic uint64_t *)(uintptr_t)word(c, node, TABLE_LEAF, 0), 0);
}

static uint64_t lent(struct cluster *c)
{
	return stats_of(c, 0).replicas_lent;
}

static void walk_until_lent(struct cluster *c)
{
	uint64_t before = lent(c);

	for (unsigned i = 0; i < 2000 && lent(c) < before + c->nodes - 1; i++)
		walk(c, i % c->nodes);
	ck_assert_uint_ge(lent(c), before + c->nodes - 1);
}

static void walk_all(struct cluster *c)
{
	for (unsigned n = 0; n < c->nodes; n++)
		walk(c, n);
}

START_TEST(a_table_that_goes_round_is_lent_and_then_costs_nothing)
{
	struct dsm_stats before, after;
	struct cluster c;

	start(&c, NODES, 1, false, seed());
	make_tables(&c);
	walk_until_lent(&c);
	dsm_stats(c.dsm[0], &before);
	for (unsigned i = 0; i < 3000; i++)
		walk(&c, i % NODES);
	dsm_stats(c.dsm[0], &after);
	ck_assert_uint_eq(before.messages_out, after.messages_out);
	cluster_stop(&c);
}
END_TEST

START_TEST(what_is_written_to_a_replica_is_read_after_a_message)
{
	struct cluster c;

	start(&c, NODES, 1, false, seed());
	make_tables(&c);
	walk_until_lent(&c);
	for (unsigned i = 1; i < 30; i++) {
		unsigned writer = i % NODES, reader = (i + 1) % NODES;
		uint64_t entry = (uint64_t)(i + 100) << PAGE_SHIFT | ENTRY;

		walk_all(&c);
		*word(&c, writer, TABLE_LEAF, 5) = entry;
		*word(&c, writer, TABLE_FLAG, 0) = i;
		ck_assert_uint_eq(*word(&c, reader, TABLE_FLAG, 0), i);
		ck_assert_uint_eq(*word(&c, reader, TABLE_LEAF, 5), entry);
	}
	cluster_stop(&c);
}
END_TEST

START_TEST(a_release_makes_it_known_without_a_message)
{
	struct dsm_stats stats;
	struct cluster c;

	start(&c, NODES, 1, false, seed());
	make_tables(&c);
	walk_until_lent(&c);
	for (unsigned i = 1; i < 30; i++) {
		uint64_t entry = (uint64_t)(i + 100) << PAGE_SHIFT | ENTRY;

		walk_all(&c);
		*word(&c, i % NODES, TABLE_LEAF, 6) = entry;
		ck_assert_int_eq(dsm_release(c.dsm[i % NODES]), 0);
		for (unsigned n = 0; n < NODES; n++)
			ck_assert_uint_eq(*word(&c, n, TABLE_LEAF, 6), entry);
	}
	dsm_stats(c.dsm[0], &stats);
	ck_assert_uint_ge(stats.replicas_recalled, 29);
	cluster_stop(&c);
}
END_TEST

START_TEST(what_is_written_to_a_replica_is_known_in_the_end)
{
	struct cluster c;

	start(&c, 2, 1, false, seed());
	make_tables(&c);
	walk_until_lent(&c);
	*word(&c, 1, TABLE_LEAF, 7) = (uint64_t)99 << PAGE_SHIFT | ENTRY;
	for (unsigned i = 0; i < 500 && *word(&c, 0, TABLE_LEAF, 7) >> PAGE_SHIFT != 99; i++)
		usleep(10000);
	ck_assert_uint_eq(*word(&c, 0, TABLE_LEAF, 7) >> PAGE_SHIFT, 99);
	cluster_stop(&c);
}
END_TEST

START_TEST(an_ordinary_page_is_never_lent)
{
	struct cluster c;

	start(&c, NODES, 1, false, seed());
	make_tables(&c);
	for (unsigned i = 0; i < 300; i++) /* it looks like a table, and no tree has it */
		*word(&c, i % NODES, TABLE_FLAG, i % 4) = (uint64_t)(i + 1) << PAGE_SHIFT | ENTRY;
	ck_assert_uint_eq(lent(&c), 0);
	cluster_stop(&c);
}
END_TEST

/* A push waits some time after the read that it belongs to; the page may be lent by then, and is the home's for the directory. */
START_TEST(a_page_that_is_lent_is_not_pushed)
{
	struct proto_dir_packed before;
	struct dsm_stats stats;
	struct cluster c;

	start(&c, NODES, 1, false, seed());
	make_tables(&c);
	walk_until_lent(&c);
	for (unsigned n = 0; n < NODES; n++)
		dsm_stop(c.dsm[n]);
	before = *steps_packed(c.dsm[0], TABLE_LEAF);
	for (node_t n = 1; n < NODES; n++)
		ck_assert_int_eq(steps_push(&c.dsm[0]->shard[0], TABLE_LEAF, n), 0);
	ck_assert_int_eq(memcmp(&before, steps_packed(c.dsm[0], TABLE_LEAF), sizeof(before)), 0);
	ck_assert_uint_eq(c.dsm[0]->shard[0].self_count, 0);
	dsm_stats(c.dsm[0], &stats);
	ck_assert_uint_eq(stats.pushed, 0);
	cluster_stop(&c);
}
END_TEST

/* The page of a root that is gone is the lowest table of another tree by now, and maps data that looks settled: lent, it would be
 * writable on two nodes at once. */
START_TEST(data_that_an_old_root_maps_is_never_lent)
{
	struct cluster c;

	start(&c, NODES, 1, false, seed());
	make_tables(&c);
	*word(&c, 0, TABLE_LEAF, 5) = (uint64_t)TABLE_FLAG << PAGE_SHIFT | UINT64_C(0x8000000000000067);
	for (unsigned n = 0; n < NODES; n++)
		dsm_root(c.dsm[n], TABLE_LEAF << PAGE_SHIFT, false);
	for (unsigned i = 0; i < 300; i++)
		*word(&c, i % NODES, TABLE_FLAG, i % 4) = i % 2 ? 0x21 + 4 * (i % 7) : (uint64_t)(i + 1) << PAGE_SHIFT | ENTRY;
	ck_assert_uint_eq(lent(&c), 0);
	for (unsigned i = 0; i < 300; i++)
		*word(&c, i % NODES, TABLE_FLAG, i % 4) = 0x21 + 4 * (i % 7);
	ck_assert_uint_eq(lent(&c), 0);
	cluster_stop(&c);
}
END_TEST

/* A page of node 0 that node 1 has not read yet, and not the neighbour of the last one, which it would have asked for ahead. */
static void read_another(struct cluster *c, unsigned *at)
{
	*at = (*at * 5 + 3) % 256;
	ck_assert_uint_eq(*word(c, 1, 64 + *at, 0), 0);
}

/* What a vCPU writes in the guest between two of node 0's messages, however short it was there, is compared and known. */
START_TEST(nothing_is_compared_while_no_vcpu_runs)
{
	unsigned at = 0;
	struct cluster c;

	start_with(&c, NODES, 1, false, true, seed());
	make_tables(&c);
	walk_until_lent(&c);
	for (unsigned round = 1; round <= 10; round++) {
		uint64_t entry = (uint64_t)(round + 100) << PAGE_SHIFT | ENTRY;

		walk_all(&c);
		uint64_t before = stats_of(&c, 0).replica_checks;
		for (unsigned i = 0; i < 20; i++)
			read_another(&c, &at);
		ck_assert_uint_le(stats_of(&c, 0).replica_checks, before + 1);
		activity_enter(&c.passes[0]);
		*word(&c, 0, TABLE_LEAF, 5) = entry;
		activity_leave(&c.passes[0]);
		read_another(&c, &at);
		ck_assert_uint_eq(*word(&c, 1, TABLE_LEAF, 5), entry);
	}
	cluster_stop(&c);
}
END_TEST

/* Every node counts in a word of its own of the table, then in one of an ordinary page: who reads the second must find the first.
 */
struct publisher {
	struct cluster *c;
	unsigned node, rounds;
	atomic_uint *ready, *running;
	pthread_t thread;
};

static void *publish(void *arg)
{
	struct publisher *p = arg;

	atomic_fetch_add(p->ready, 1);
	while (atomic_load(p->ready) < NODES)
		sched_yield();
	struct activity_count *passes = &p->c->passes[p->node];

	activity_enter(passes);
	for (unsigned i = 1; i <= p->rounds; i++) {
		*word(p->c, p->node, TABLE_LEAF, 8 + p->node) = (uint64_t)i << PAGE_SHIFT | ENTRY;
		atomic_thread_fence(memory_order_seq_cst);
		*word(p->c, p->node, TABLE_FLAG + p->node, 0) = i;
		for (unsigned w = 0; w < 40; w++)
			walk(p->c, p->node);
		activity_leave(passes);
		usleep(200); /* or a node would do all its rounds while it has the pages */
		activity_enter(passes);
		for (unsigned n = 0; n < NODES; n++) {
			uint64_t said = *word(p->c, p->node, TABLE_FLAG + n, 0);
			atomic_thread_fence(memory_order_seq_cst);
			uint64_t entry = *word(p->c, p->node, TABLE_LEAF, 8 + n) >> PAGE_SHIFT;

			if (entry < said) {
				fprintf(stderr, "node %u: node %u said %llu, its entry is still %llu\n", p->node, n,
					(unsigned long long)said, (unsigned long long)entry);
				_exit(1);
			}
		}
	}
	atomic_fetch_sub(p->running, 1);
	while (atomic_load(p->running)) /* the others still need this node's walks, or nothing is lent any more */
		walk(p->c, p->node);
	activity_leave(passes);
	return NULL;
}

START_TEST(no_node_learns_of_a_table_late)
{
	struct publisher publisher[NODES];
	atomic_uint ready = 0, running = NODES;
	struct cluster c;

	start_with(&c, NODES, 1, false, _i, seed());
	make_tables(&c);
	for (unsigned n = 0; n < NODES; n++)
		*word(&c, 0, TABLE_LEAF, 8 + n) = ENTRY;
	for (unsigned n = 0; n < NODES; n++) {
		publisher[n] = (struct publisher){.c = &c, .node = n, .rounds = 300, .ready = &ready, .running = &running};
		ck_assert_int_eq(pthread_create(&publisher[n].thread, NULL, publish, &publisher[n]), 0);
	}
	for (unsigned n = 0; n < NODES; n++)
		pthread_join(publisher[n].thread, NULL);
	ck_assert_uint_gt(lent(&c), 0);
	for (unsigned n = 0; n < NODES; n++) {
		ck_assert_uint_eq(*word(&c, 0, TABLE_FLAG + n, 0), 300);
		ck_assert_uint_eq(*word(&c, 0, TABLE_LEAF, 8 + n) >> PAGE_SHIFT, 300);
	}
	cluster_stop(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dsm");
	TCase *tc = tcase_create("dsm");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, loop_written_is_read);
	tcase_add_test(tc, tcp_written_is_read);
	tcase_add_test(tc, a_private_block_keeps_its_bytes_when_it_is_split);
	tcase_add_test(tc, what_one_node_uses_alone_costs_no_message);
	tcase_add_test(tc, a_zero_page_travels_without_data);
	tcase_add_test(tc, a_peek_moves_no_page);
	tcase_add_test(tc, loop_counters_add_up);
	tcase_add_test(tc, loop_counters_add_up_over_shards);
	tcase_add_test(tc, tcp_counters_add_up);
	tcase_add_test(tc, after_a_reset_all_is_zero_and_private);
	tcase_add_test(tc, a_table_that_goes_round_is_lent_and_then_costs_nothing);
	tcase_add_test(tc, what_is_written_to_a_replica_is_read_after_a_message);
	tcase_add_test(tc, a_release_makes_it_known_without_a_message);
	tcase_add_test(tc, what_is_written_to_a_replica_is_known_in_the_end);
	tcase_add_test(tc, an_ordinary_page_is_never_lent);
	tcase_add_test(tc, data_that_an_old_root_maps_is_never_lent);
	tcase_add_test(tc, a_page_that_is_lent_is_not_pushed);
	tcase_add_test(tc, nothing_is_compared_while_no_vcpu_runs);
	tcase_add_loop_test(tc, no_node_learns_of_a_table_late, 0, 2);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
