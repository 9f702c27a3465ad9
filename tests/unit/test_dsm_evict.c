/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes with a budget of frames (dsm/evict.h), several in one process, over the loop transport, which delays by a seed, in order
 * between each two nodes. How many frames a node really has is asked of the kernel (the blocks of its file), not of the node. A
 * test prints its seed; PANGEA_SEED=N runs it again.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "dsm/evict.h"
#include "net/loop.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dsm_help.h"

#define NODE_PAGES (4 * BLOCK_PAGES)
#define PAGES      (NODES * NODE_PAGES)

/* The file of guest RAM that a node has just made: a descriptor of that size that none of the others has. */
static int find_file(const struct cluster *c, unsigned node)
{
	for (int fd = 3; fd < 256; fd++) {
		struct stat st;
		bool other = false;

		for (unsigned n = 0; n < node; n++)
			other |= c->file[n] == fd;
		if (!other && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == PAGES * PAGE_BYTES)
			return fd;
	}
	return -1;
}

/* Frames that the kernel holds for a node's guest RAM. */
static uint64_t resident(const struct cluster *c, unsigned node)
{
	struct stat st;

	ck_assert_int_eq(fstat(c->file[node], &st), 0);
	return (uint64_t)st.st_blocks / (PAGE_BYTES / 512);
}

static void *sample(void *arg)
{
	struct cluster *c = arg;

	while (!atomic_load(&c->ending)) {
		for (unsigned n = 0; n < NODES; n++) {
			uint64_t now = resident(c, n);

			if (now > atomic_load(&c->peak[n]))
				atomic_store(&c->peak[n], now);
		}
		usleep(1000);
	}
	return NULL;
}

static int make_node(struct cluster *c, unsigned node, uint64_t budget, uint64_t s)
{
	rpn_t first[NODES + 1];
	struct net_lane *lane[SHARDS_MAX];
	struct dsm_config config = {.self = node,
				    .nodes = NODES,
				    .node_first = first,
				    .shards = c->shards,
				    .lane = lane,
				    .without = (s & 1 ? DSM_WITHOUT(DAMPING) : 0) | (s & 2 ? DSM_WITHOUT(AHEAD) : 0),
				    .budget_bytes = budget,
				    .sink = &c->sink};

	for (unsigned n = 0; n <= NODES; n++)
		first[n] = n * NODE_PAGES;
	for (unsigned l = 0; l < c->shards; l++)
		lane[l] = loop_lane(c->loop, node, l + 1);
	return dsm_new(&config, &c->dsm[node]);
}

static void start_slow(struct cluster *c, unsigned shards, uint64_t s, uint64_t max_delay_ns)
{
	struct loop_options options = {.seed = s, .max_delay_ns = max_delay_ns, .fifo = true};

	*c = (struct cluster){.nodes = NODES, .shards = shards, .sink = {.failed = on_failed, .lost = on_lost}};
	c->frames = NODE_PAGES + shards * EVICT_ROOM_MIN;
	ck_assert_int_eq(loop_new(NODES, 1 + shards, &options, &c->loop), 0);
	for (unsigned n = 0; n < NODES; n++) {
		ck_assert_int_eq(make_node(c, n, dsm_budget_min(NODE_PAGES, PAGES, shards), s), 0);
		c->file[n] = find_file(c, n);
		ck_assert_int_ge(c->file[n], 0);
	}
	for (unsigned n = 0; n < NODES; n++)
		ck_assert_int_eq(dsm_start(c->dsm[n]), 0);
	ck_assert_int_eq(pthread_create(&c->sampler, NULL, sample, c), 0);
}

static void start(struct cluster *c, unsigned shards, uint64_t s)
{
	start_slow(c, shards, s, 30 * NS_PER_US);
}

static void stop(struct cluster *c)
{
	atomic_store(&c->ending, true);
	pthread_join(c->sampler, NULL);
	cluster_halt(c);
	for (unsigned n = 0; n < NODES; n++) {
		/* A page of its own that is elsewhere is a frame it may use, so the bound is of all its frames. */
		ck_assert_uint_le(atomic_load(&c->peak[n]), c->frames);
		ck_assert_uint_le(resident(c, n), c->frames);
	}
	cluster_free(c);
}

/* ---- nothing is lost, nobody has too much ---- */

static void all_ram_through_one_node(unsigned shards)
{
	struct cluster c;

	start(&c, shards, seed());
	for (uint64_t pass = 1; pass <= 2; pass++) {
		for (rpn_t p = 0; p < PAGES; p++)
			*word(&c, 0, p, p % 512) = p * 7 + pass;
		for (rpn_t p = 0; p < PAGES; p++)
			ck_assert_uint_eq(*word(&c, 1, p, p % 512), p * 7 + pass);
		for (rpn_t p = 0; p < PAGES; p++)
			ck_assert_uint_eq(*word(&c, 0, p, p % 512), p * 7 + pass);
	}
	ck_assert_uint_gt(stats_of(&c, 0).evicted_home, NODE_PAGES / 2);
	ck_assert_uint_gt(stats_of(&c, 1).evicted_copies + stats_of(&c, 1).evicted_home, NODE_PAGES / 2);
	stop(&c);
}

START_TEST(one_node_fills_and_checks_the_ram_of_all)
{
	all_ram_through_one_node(1);
}
END_TEST

START_TEST(one_node_fills_and_checks_the_ram_of_all_over_shards)
{
	all_ram_through_one_node(3);
}
END_TEST

static void *race(void *arg)
{
	struct racer *r = arg;
	static _Thread_local uint64_t last[PAGES];

	memset(last, 0, sizeof(last));
	for (unsigned i = 0; i < r->rounds; i++) {
		uint64_t x = next_random(&r->random) >> 8, seen;
		/* Some pages all the time, the others now and then. */
		rpn_t page = x & 3 ? (x >> 2) % PAGES : (x >> 2) % 64 * (PAGES / 64);
		_Atomic uint64_t *at = (_Atomic uint64_t *)(uintptr_t)word(r->c, r->node, page, 0);

		if ((r->random >> 60 & 7) == 0) { /* mostly read, so that there are copies */
			seen = atomic_fetch_add(at, 1) + 1;
			r->added++;
		} else {
			seen = atomic_load(at);
		}
		if (seen < last[page]) {
			fprintf(stderr, "node %u: page %llu ran back from %llu to %llu\n", r->node, (unsigned long long)page,
				(unsigned long long)last[page], (unsigned long long)seen);
			_exit(1);
		}
		last[page] = seen;
	}
	return NULL;
}

static void counters_add_up(unsigned shards)
{
	struct racer racer[2 * NODES];
	struct cluster c;
	uint64_t s = seed(), added = 0, sum = 0;

	start(&c, shards, s);
	for (unsigned n = 0; n < NODES; n++) /* more than a node may have */
		for (rpn_t p = 0; p < PAGES; p++)
			ck_assert_uint_eq(*word(&c, n, p, 0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(racer); i++) {
		racer[i] = (struct racer){.c = &c, .node = i % NODES, .rounds = 12000, .random = s * (i + 1) | 1};
		ck_assert_int_eq(pthread_create(&racer[i].thread, NULL, race, &racer[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(racer); i++) {
		pthread_join(racer[i].thread, NULL);
		added += racer[i].added;
	}
	for (rpn_t p = 0; p < PAGES; p++)
		sum += *word(&c, p % NODES, p, 0);
	ck_assert_uint_eq(sum, added);
	for (unsigned n = 0; n < NODES; n++)
		ck_assert_uint_gt(stats_of(&c, n).evicted_copies + stats_of(&c, n).evicted_home, 0);
	stop(&c);
}

START_TEST(counters_of_all_nodes_add_up)
{
	counters_add_up(1);
}
END_TEST

START_TEST(counters_of_all_nodes_add_up_over_shards)
{
	counters_add_up(2);
}
END_TEST

/* Each node fills what is the next one's home: all are full of each other's pages, and each page must go home through a full one.
 */
#define CROWD 200u

static void *fill_next(void *arg)
{
	struct racer *r = arg;
	rpn_t first = (r->node + 1) % NODES * NODE_PAGES;

	for (unsigned pass = 0; pass < 2; pass++)
		for (rpn_t p = r->rounds; p < NODE_PAGES; p += CROWD)
			*word(r->c, r->node, first + p, 1) = first + p + 1;
	return NULL;
}

START_TEST(nodes_full_of_each_others_pages_do_not_wait_for_ever)
{
	static struct racer racer[NODES][CROWD];
	struct cluster c;

	start(&c, 1, seed());
	for (unsigned n = 0; n < NODES; n++) /* their own frames are taken as well */
		memset(dsm_ram(c.dsm[n]) + n * NODE_PAGES * PAGE_BYTES, 0x11, NODE_PAGES * PAGE_BYTES);
	for (unsigned i = 0; i < CROWD; i++) /* many at once */
		for (unsigned n = 0; n < NODES; n++) {
			racer[n][i] = (struct racer){.c = &c, .node = n, .rounds = i};
			ck_assert_int_eq(pthread_create(&racer[n][i].thread, NULL, fill_next, &racer[n][i]), 0);
		}
	for (unsigned i = 0; i < CROWD; i++)
		for (unsigned n = 0; n < NODES; n++)
			pthread_join(racer[n][i].thread, NULL);
	for (rpn_t p = 0; p < PAGES; p++)
		ck_assert_uint_eq(*word(&c, (unsigned)(p % NODES), p, 1), p + 1);
	stop(&c);
}
END_TEST

static void *touch(void *arg)
{
	struct racer *r = arg;

	for (rpn_t p = r->rounds; p < 2 * NODE_PAGES; p += CROWD)
		r->added += *word(r->c, 0, NODE_PAGES + p, 0);
	return NULL;
}

START_TEST(a_crowd_of_faults_waits_for_frames_and_goes_on)
{
	struct racer racer[CROWD];
	struct cluster c;

	start_slow(&c, 1, seed(), 10 * NS_PER_MS); /* the crowd is there before the first offer is answered */
	for (rpn_t p = 0; p < 2 * NODE_PAGES; p++)
		*word(&c, 1 + (unsigned)(p / NODE_PAGES), NODE_PAGES + p, 0) = 1;
	for (unsigned i = 0; i < CROWD; i++) {
		racer[i] = (struct racer){.c = &c, .rounds = i};
		ck_assert_int_eq(pthread_create(&racer[i].thread, NULL, touch, &racer[i]), 0);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		pthread_join(racer[i].thread, NULL);
		ck_assert_uint_eq(racer[i].added, (2 * NODE_PAGES - i + CROWD - 1) / CROWD);
	}
	ck_assert_uint_gt(stats_of(&c, 0).frame_waits, 0);
	stop(&c);
}
END_TEST

/* ---- second chance ---- */

START_TEST(a_page_in_use_outlives_a_stream)
{
	enum { HOT = 64 };
	struct cluster c;
	struct dsm_stats before, after;

	start(&c, 1, seed() | 2);                  /* what is asked for ahead would be counted */
	for (rpn_t p = 0; p < 2 * NODE_PAGES; p++) /* not zero, or the first reader would own them */
		*word(&c, 1 + (unsigned)(p / NODE_PAGES), NODE_PAGES + p, 0) = 1;
	for (unsigned h = 0; h < HOT; h++)
		ck_assert_uint_eq(*word(&c, 0, NODE_PAGES + h * 3, 0), 1);
	before = stats_of(&c, 0);
	for (rpn_t p = NODE_PAGES / 2; p < 2 * NODE_PAGES; p++) {
		ck_assert_uint_eq(*word(&c, 0, NODE_PAGES + p, 0), 1);
		for (unsigned h = 0; h < HOT; h++)
			ck_assert_uint_eq(*word(&c, 0, NODE_PAGES + h * 3, 0), 1);
	}
	after = stats_of(&c, 0);
	ck_assert_uint_gt(after.evicted_copies, before.evicted_copies + EVICT_ROOM_MIN);
	/* The stream alone is one page each; a hot page may be offered in the moment between two uses. */
	ck_assert_uint_le(after.pages_in - before.pages_in, NODE_PAGES * 3 / 2 + 2 * HOT);
	stop(&c);
}
END_TEST

static void *write_byte(void *arg)
{
	__atomic_store_n((uint8_t *)arg, 9, __ATOMIC_RELAXED);
	return NULL;
}

/* What is unmapped by the hand and comes back by itself is still write-protected. */
START_TEST(a_copy_that_was_rested_is_still_read_only)
{
	struct view *view;
	struct view_fault fault[VIEW_FAULTS];
	uint8_t bytes[PAGE_BYTES] = {7};
	uint64_t used[BLOCK_PAGES / 64];

	ck_assert_int_eq(view_new(BLOCK_PAGES, 1, &view), 0);
	ck_assert_int_eq(view_register(view, 0, BLOCK_PAGES), 0);
	for (rpn_t p = 0; p < 3; p++)
		ck_assert_int_eq(view_install(view, p, 1, bytes, p == 1, false), 0);
	ck_assert_int_eq(view_used(view, 0, used), 0);
	ck_assert_uint_eq(used[0], 7);
	ck_assert_int_eq(view_rest(view, 0, 3), 0);
	ck_assert_int_eq(view_used(view, 0, used), 0);
	ck_assert_uint_eq(used[0], 0);
	volatile uint8_t *ram = view_guest(view);
	ck_assert_uint_eq(ram[0], 7);
	ram[PAGE_BYTES] = 8; /* no fault for us: its right is WRITE */
	ck_assert_uint_eq(view_faults(view, 0, fault), 0);
	ck_assert_int_eq(view_used(view, 0, used), 0);
	ck_assert_uint_eq(used[0], 3);
	for (rpn_t p = 0; p < 3; p += 2) { /* mapped again, and not */
		pthread_t writer;

		ck_assert_int_eq(pthread_create(&writer, NULL, write_byte, (void *)(uintptr_t)(ram + p * PAGE_BYTES)), 0);
		while (view_faults(view, 0, fault) == 0)
			usleep(100);
		ck_assert_uint_eq(fault[0].page, p);
		ck_assert(fault[0].protected_page);
		ck_assert_uint_eq(__atomic_load_n(&ram[p * PAGE_BYTES], __ATOMIC_RELAXED), 7);
		ck_assert_int_eq(view_unprotect(view, p), 0);
		pthread_join(writer, NULL);
		ck_assert_uint_eq(ram[p * PAGE_BYTES], 9);
	}
	view_free(view);
}
END_TEST

/* ---- edges ---- */

START_TEST(a_budget_below_the_minimum_is_refused)
{
	struct loop_options options = {.seed = 1};
	struct cluster c = {.shards = 1};

	ck_assert_int_eq(loop_new(NODES, 2, &options, &c.loop), 0);
	ck_assert_int_eq(make_node(&c, 0, dsm_budget_min(NODE_PAGES, PAGES, 1) - 1, 0), -EINVAL);
	ck_assert_int_eq(make_node(&c, 1, PAGE_BYTES, 0), -EINVAL);
	loop_free(c.loop);
}
END_TEST

START_TEST(after_a_reset_the_frames_are_free)
{
	struct cluster c;

	start(&c, 1, seed());
	for (rpn_t p = 0; p < PAGES; p++)
		*word(&c, 0, p, 0) = p;
	for (unsigned n = 0; n < NODES; n++)
		dsm_stop(c.dsm[n]);
	for (unsigned n = 0; n < NODES; n++)
		ck_assert_int_eq(dsm_reset(c.dsm[n], 2), 0);
	for (unsigned n = 0; n < NODES; n++) {
		ck_assert_uint_eq(resident(&c, n), 0);
		ck_assert_int_eq(dsm_start(c.dsm[n]), 0);
	}
	for (rpn_t p = 0; p < PAGES; p++)
		*word(&c, 2, p, 0) += p;
	for (rpn_t p = 0; p < PAGES; p++)
		ck_assert_uint_eq(*word(&c, 1, p, 0), p);
	stop(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dsm evict");
	TCase *tc = tcase_create("dsm evict");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, one_node_fills_and_checks_the_ram_of_all);
	tcase_add_test(tc, one_node_fills_and_checks_the_ram_of_all_over_shards);
	tcase_add_test(tc, counters_of_all_nodes_add_up);
	tcase_add_test(tc, counters_of_all_nodes_add_up_over_shards);
	tcase_add_test(tc, nodes_full_of_each_others_pages_do_not_wait_for_ever);
	tcase_add_test(tc, a_crowd_of_faults_waits_for_frames_and_goes_on);
	tcase_add_test(tc, a_page_in_use_outlives_a_stream);
	tcase_add_test(tc, a_copy_that_was_rested_is_still_read_only);
	tcase_add_test(tc, a_budget_below_the_minimum_is_refused);
	tcase_add_test(tc, after_a_reset_the_frames_are_free);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
