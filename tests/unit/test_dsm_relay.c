/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsm as it ships, three nodes in one process: copies whose holders pass the order to give them up on (RELAYS), from two copies on.
 * The loop transport delays each message by itself, so that orders overtake what the home sends. A test prints its seed;
 * PANGEA_SEED=N runs it again.
 */
#include "tests/unit/check_main.h"
#include "tests/unit/dsm_help.h"

#define PAGES 2u

static void start(struct cluster *c, unsigned shards, unsigned without, uint64_t s)
{
	static const rpn_t first[NODES + 1] = {0, 2 * BLOCK_PAGES, 4 * BLOCK_PAGES, 6 * BLOCK_PAGES};
	struct loop_options options = {.seed = s, .max_delay_ns = 300 * NS_PER_US, .fifo = true, .look = s & 4};

	*c = (struct cluster){.nodes = NODES, .shards = shards, .relays_from = 1, .sink = {.failed = on_failed, .lost = on_lost}};
	ck_assert_int_eq(loop_new(NODES, 1 + shards, &options, &c->loop), 0);
	for (unsigned n = 0; n < NODES; n++) {
		struct net_lane *lane[SHARDS_MAX];

		for (unsigned l = 0; l < shards; l++)
			lane[l] = loop_lane(c->loop, n, l + 1);
		cluster_node(c, n, first, lane, without | (s & 1 ? DSM_WITHOUT(DAMPING) : 0) | (s & 2 ? DSM_WITHOUT(PUSHES) : 0),
			     0);
	}
	for (unsigned p = 0; p < NODES; p++) /* or a block is given away */
		*word(c, p, p * 2 * BLOCK_PAGES + PAGES, 0) = 1;
}

static rpn_t page_of(uint64_t random)
{
	return random % NODES * 2 * BLOCK_PAGES + random / NODES % PAGES;
}

/* Adds to words of pages that all read, mostly of its own, and sees none of them run back. Of three nodes only a home that writes
 * has two copies to call back. */
static void *add_and_read(void *arg)
{
	struct racer *r = arg;
	uint64_t last[NODES * PAGES] = {0};

	for (unsigned i = 0; i < r->rounds; i++) {
		uint64_t x = next_random(&r->random);
		_Atomic uint64_t *at = (_Atomic uint64_t *)(uintptr_t)word(r->c, r->node, page_of(x), 0);
		uint64_t *before = &last[x % NODES * PAGES + x / NODES % PAGES], seen;

		if (x >> 60 == 0 || (x % NODES == r->node && x >> 62 == 0)) {
			seen = atomic_fetch_add(at, 1) + 1;
			r->added++;
		} else {
			seen = atomic_load(at);
		}
		if (seen < *before) {
			fprintf(stderr, "node %u: page %llu ran back from %llu to %llu\n", r->node, (unsigned long long)page_of(x),
				(unsigned long long)*before, (unsigned long long)seen);
			_exit(1);
		}
		*before = seen;
	}
	return NULL;
}

static void nothing_is_lost(unsigned shards)
{
	struct racer racer[2 * NODES];
	uint64_t s = seed(), added = 0, sum = 0;
	struct cluster c;

	start(&c, shards, 0, s);
	for (unsigned i = 0; i < ARRAY_SIZE(racer); i++)
		racer[i] = (struct racer){.c = &c, .node = i % NODES, .rounds = 4000, .random = s * (i + 1) | 1};
	run_racers(racer, ARRAY_SIZE(racer), add_and_read);
	for (unsigned i = 0; i < ARRAY_SIZE(racer); i++)
		added += racer[i].added;
	for (unsigned i = 0; i < NODES * PAGES; i++)
		sum += *word(&c, i % NODES, page_of(i), 0);
	ck_assert_uint_eq(sum, added);
	struct dsm_stats all = stats_of_all(&c);
	printf("%llu orders passed on, %llu came before their copy\n", (unsigned long long)all.relayed,
	       (unsigned long long)all.early);
	ck_assert_uint_gt(all.relayed, 0);
	cluster_stop(&c);
}

START_TEST(orders_that_are_passed_on_lose_nothing)
{
	nothing_is_lost(1);
}
END_TEST

START_TEST(orders_that_are_passed_on_over_shards_lose_nothing)
{
	nothing_is_lost(2);
}
END_TEST

/* Home 0 writes what 1 and 2 have: one of them tells the other. */
static void home_writes(unsigned without, uint64_t relayed)
{
	struct cluster c;

	start(&c, 1, without | DSM_WITHOUT(PUSHES), seed() | 3);
	for (uint64_t round = 1; round <= 20; round++) {
		*word(&c, 0, 7, 1) = round;
		for (unsigned n = 1; n < NODES; n++)
			ck_assert_uint_eq(*word(&c, n, 7, 1), round);
	}
	*word(&c, 0, 7, 1) = 0;
	ck_assert_uint_eq(stats_of(&c, 1).relayed, relayed);
	ck_assert_uint_eq(stats_of(&c, 2).relayed, 0);
	cluster_stop(&c);
}

START_TEST(one_of_two_passes_the_order_on)
{
	home_writes(0, 20);
}
END_TEST

START_TEST(without_relays_none_is_passed_on)
{
	home_writes(DSM_WITHOUT(RELAYS), 0);
}
END_TEST

/* ---- node 1 as it ships; the test plays its home, node 0, and a sharer, node 2 ---- */

struct script {
	struct cluster c;
	struct net_sink sink;
	struct wire_hdr got[4];
	unsigned n;
};

static void on_got(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct script *s = container_of(sink, struct script, sink);

	(void)payload;
	ck_assert_uint_eq(from, 1);
	ck_assert_uint_lt(s->n, ARRAY_SIZE(s->got));
	s->got[s->n++] = *hdr;
}

/* What node 0 has got within so long. */
static unsigned wait_for(struct script *s, unsigned n, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	while (s->n < n && clock_ns() < end)
		ck_assert_int_ge(net_poll(loop_lane(s->c.loop, 0, 1), &s->sink), 0);
	return s->n;
}

static void tell(struct script *s, node_t from, rpn_t page, struct wire_hdr hdr)
{
	hdr.epoch = 1;
	hdr.arg = page;
	ck_assert_int_eq(net_send(loop_lane(s->c.loop, from, 1), 1, &hdr, NULL), 0);
}

static void *read_word(void *arg)
{
	struct racer *r = arg;

	r->added = *word(r->c, r->node, 3, 0);
	return NULL;
}

START_TEST(an_order_that_comes_before_its_copy_waits_for_it)
{
	static const rpn_t first[NODES + 1] = {0, BLOCK_PAGES, 2 * BLOCK_PAGES, 3 * BLOCK_PAGES};
	const struct wire_hdr zero = {.type = WIRE_DATA, .flags = WIRE_F_ZERO, .seq = 4, .node = 1};
	struct loop_options options = {.fifo = true};
	struct script s = {.c = {.nodes = NODES, .shards = 1, .sink = {.failed = on_failed, .lost = on_lost}},
			   .sink = {.recv = on_got}};
	struct racer reader = {.c = &s.c, .node = 1};

	ck_assert_int_eq(loop_new(NODES, 2, &options, &s.c.loop), 0);
	struct net_lane *lane = loop_lane(s.c.loop, 1, 1);
	cluster_node(&s.c, 1, first, &lane, DSM_WITHOUT(AHEAD) | DSM_WITHOUT(DAMPING), 0);
	reader.added = 1;
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_word, &reader), 0);
	ck_assert_uint_eq(wait_for(&s, 1, 5 * NS_PER_SEC), 1);
	ck_assert_uint_eq(s.got[0].type, WIRE_REQ_READ);
	tell(&s, 2, 3, (struct wire_hdr){.type = WIRE_INV, .seq = 5, .node = 0});
	while (stats_of(&s.c, 1).early == 0)
		ck_assert_uint_eq(wait_for(&s, 2, NS_PER_MS), 1);
	ck_assert_uint_eq(wait_for(&s, 2, 20 * NS_PER_MS), 1); /* there is nothing to answer yet */
	tell(&s, 0, 3, zero);
	ck_assert_uint_ge(wait_for(&s, 2, 5 * NS_PER_SEC), 2);
	ck_assert(s.got[1].type == WIRE_ACK && s.got[1].seq == 5);
	/* Who read may have been late: then it asks again, as the page is gone. */
	if (wait_for(&s, 3, 20 * NS_PER_MS) == 3) {
		ck_assert_uint_eq(s.got[2].type, WIRE_REQ_READ);
		tell(&s, 0, 3, (struct wire_hdr){.type = WIRE_DATA, .flags = WIRE_F_ZERO, .seq = 6, .node = 1});
	}
	ck_assert_int_eq(pthread_join(reader.thread, NULL), 0);
	ck_assert_uint_eq(reader.added, 0);
	ck_assert_uint_eq(stats_of(&s.c, 1).invalidations, 1);
	atomic_store(&s.c.ending, true);
	dsm_stop(s.c.dsm[1]);
	dsm_free(s.c.dsm[1]);
	loop_free(s.c.loop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dsm relay");
	TCase *tc = tcase_create("relay");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, one_of_two_passes_the_order_on);
	tcase_add_test(tc, without_relays_none_is_passed_on);
	tcase_add_test(tc, an_order_that_comes_before_its_copy_waits_for_it);
	tcase_add_test(tc, orders_that_are_passed_on_lose_nothing);
	tcase_add_test(tc, orders_that_are_passed_on_over_shards_lose_nothing);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
