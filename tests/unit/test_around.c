/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbours that come along with a read fault (dsm/around.h): two nodes as they ship, node 0 reads here and there in blocks of
 * node 1, which are written already.
 */
#include "dsm/around.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dsm_peer.h"

static void start(struct cluster *c, unsigned without)
{
	static const rpn_t first[] = {0, PEER_PAGES, 3 * PEER_PAGES};
	struct loop_options options = {.fifo = true};

	*c = (struct cluster){.nodes = 2, .shards = 1, .sink = {.failed = on_failed, .lost = on_lost}};
	ck_assert_int_eq(loop_new(2, 2, &options, &c->loop), 0);
	for (unsigned n = 0; n < 2; n++) {
		struct net_lane *lane = loop_lane(c->loop, n, 1);

		cluster_node(c, n, first, &lane, without | DSM_WITHOUT(DAMPING) | DSM_WITHOUT(MIGRATION), 0);
	}
	*word(c, 0, PEER_PAGES, 1) = 0; /* in pages from here on, and not given away */
	for (rpn_t p = 0; p < 2 * PEER_PAGES; p++)
		*word(c, 1, PEER_PAGES + p, 0) = p;
}

/* The page of the n-th read of 64: two of each AROUND_PAGES, in an order in which few look like a stream. */
static rpn_t scattered(unsigned n)
{
	return AROUND_PAGES * ((n * n + n) / 2 * 7 % 32) + 3 + n / 32 * 6;
}

static void read_page(struct cluster *c, rpn_t page)
{
	ck_assert_uint_eq(*word(c, 0, PEER_PAGES + page, 0), page);
}

static void read_some(struct cluster *c, unsigned reads)
{
	for (unsigned n = 0; n < reads; n++)
		read_page(c, scattered(n));
}

static uint64_t neighbours(struct cluster *c)
{
	return stats_of(c, 0).around;
}

START_TEST(neighbours_come_along_once_a_block_is_read_here_and_there)
{
	unsigned n = AROUND_READS - 1;
	struct cluster c;

	start(&c, 0);
	read_some(&c, n);
	ck_assert_uint_eq(neighbours(&c), 0);
	for (; n < 64 && !neighbours(&c); n++) /* a few may look like a stream, and do not count */
		read_page(&c, scattered(n));
	ck_assert_uint_lt(n, 64);
	uint64_t first = neighbours(&c), asked = stats_of(&c, 0).requests;
	ck_assert_uint_ge(first, AROUND_PAGES / 2); /* of 14: a stream may have brought some */
	for (rpn_t p = 0; p < AROUND_PAGES; p++)
		read_page(&c, (scattered(n - 1) & ~(rpn_t)(AROUND_PAGES - 1)) + p);
	ck_assert_uint_eq(neighbours(&c), first);
	ck_assert_uint_eq(stats_of(&c, 0).requests, asked);
	read_page(&c, PEER_PAGES + 3); /* another block */
	ck_assert_uint_eq(neighbours(&c), first);
	cluster_stop(&c);
}
END_TEST

START_TEST(no_neighbours_come_of_a_block_that_is_written)
{
	struct cluster c;

	start(&c, 0);
	read_some(&c, AROUND_READS - 1);
	*word(&c, 1, PEER_PAGES + scattered(0), 1) = 1;
	for (unsigned n = AROUND_READS - 1; n < AROUND_READS + 4; n++)
		read_page(&c, scattered(n));
	ck_assert_uint_eq(neighbours(&c), 0);
	cluster_stop(&c);
}
END_TEST

START_TEST(without_around_none_come)
{
	struct cluster c;

	start(&c, DSM_WITHOUT(AROUND));
	read_some(&c, 64);
	for (rpn_t p = 0; p < PEER_PAGES; p++)
		read_page(&c, p);
	ck_assert_uint_eq(neighbours(&c), 0);
	cluster_stop(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("around");
	TCase *tc = tcase_create("around");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, neighbours_come_along_once_a_block_is_read_here_and_there);
	tcase_add_test(tc, no_neighbours_come_of_a_block_that_is_written);
	tcase_add_test(tc, without_around_none_come);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
