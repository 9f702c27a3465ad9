/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that nobody waits for are said to be such on their way, and those that somebody waits for are not (WIRE_F_AHEAD). */
#include <check.h>

#include "dsm/kept.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dsm_peer.h"

#define PAGES 300u

/* A lane that counts what it is given. */
struct tap {
	struct net_lane lane;
	struct net_lane *inner;
	_Atomic uint32_t requests, requests_ahead, pages, pages_ahead;
	_Atomic uint32_t runs_asked, runs, pages_in_runs;
};

static struct net_lane *inner_of(struct net_lane *lane)
{
	return container_of(lane, struct tap, lane)->inner;
}

static int tap_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct tap *t = container_of(lane, struct tap, lane);
	bool ahead = hdr->flags & WIRE_F_AHEAD;

	if (hdr->type == WIRE_REQ_READ || hdr->type == WIRE_REQ_WRITE)
		atomic_fetch_add(ahead ? &t->requests_ahead : &t->requests, 1);
	else if (hdr->type == WIRE_DATA)
		atomic_fetch_add(ahead ? &t->pages_ahead : &t->pages, 1);
	if (hdr->type == WIRE_RUN_REQ) {
		atomic_fetch_add(&t->runs_asked, 1);
		atomic_fetch_add(&t->requests_ahead, hdr->acks);
	} else if (hdr->type == WIRE_RUN_DATA) {
		atomic_fetch_add(&t->runs, 1);
		atomic_fetch_add(&t->pages_in_runs, hdr->acks);
		atomic_fetch_add(&t->pages_ahead, hdr->acks);
	}
	return t->inner->ops->queue(t->inner, to, hdr, payload);
}

static void tap_flush(struct net_lane *lane)
{
	net_flush(inner_of(lane));
}

static void *tap_reserve(struct net_lane *lane, node_t to, const struct wire_hdr *hdr)
{
	return net_reserve(inner_of(lane), to, hdr);
}

static int tap_poll(struct net_lane *lane, struct net_sink *sink)
{
	return net_poll(inner_of(lane), sink);
}

static int tap_fd(struct net_lane *lane)
{
	return net_fd(inner_of(lane));
}

static void tap_free(struct net_lane *lane)
{
	net_free(inner_of(lane));
}

/* [1]: of a transport that carries a page a message. */
#define TAP                                                                                                               \
	.name = "tap", .send = tap_send, .queue = tap_send, .flush = tap_flush, .reserve = tap_reserve, .poll = tap_poll, \
	.fd = tap_fd, .free = tap_free
static const struct net_ops tap_ops[] = {{TAP, .payload_max = WIRE_RUN_PAYLOAD_MAX}, {TAP}};

/* Until the node has all that it has asked for, also what nobody waits for. */
static void settle(const struct cluster *c, unsigned node)
{
	struct dsm_stats stats = stats_of(c, node);

	for (unsigned i = 0; stats.pages_in + stats.pages_in_zero < stats.requests && i < 5000; i++) {
		usleep(1000);
		stats = stats_of(c, node);
	}
}

/* Node 0 reads pages in order whose home is node 1, as of those after them, and which node `owner` has written. */
static void read_in_order(unsigned owner, unsigned without, bool short_payloads, struct tap tap[NODES])
{
	struct loop_options options = {.seed = 1, .max_delay_ns = 20 * NS_PER_US, .fifo = true};
	rpn_t first[NODES + 1] = {0, BLOCK_PAGES, 3 * BLOCK_PAGES, 4 * BLOCK_PAGES};
	struct cluster c = {.nodes = NODES, .shards = 1, .sink = {.failed = on_failed, .lost = on_lost}};

	ck_assert_int_eq(loop_new(NODES, 2, &options, &c.loop), 0);
	for (unsigned n = 0; n < NODES; n++) {
		struct net_lane *lane = &tap[n].lane;

		tap[n].inner = loop_lane(c.loop, n, 1);
		tap[n].lane = *tap[n].inner;
		tap[n].lane.ops = &tap_ops[short_payloads];
		cluster_node(&c, n, first, &lane, without | DSM_WITHOUT(BLOCKS) | DSM_WITHOUT(MIGRATION) | DSM_WITHOUT(DAMPING), 0);
	}
	for (rpn_t p = 0; p < PAGES; p++)
		*word(&c, owner, BLOCK_PAGES + p, 1) = p + 1;
	settle(&c, owner);
	for (unsigned n = 0; n < NODES; n++)
		tap[n].requests = tap[n].requests_ahead = tap[n].pages = tap[n].pages_ahead = 0;
	for (rpn_t p = 0; p < PAGES; p++)
		ck_assert_uint_eq(*word(&c, 0, BLOCK_PAGES + p, 1), p + 1);
	settle(&c, 0);
	cluster_stop(&c);
}

/* The home supplies what it has, and sends on what another has. */
START_TEST(pages_asked_for_ahead_are_sent_as_such)
{
	unsigned owner = _i == 1 ? 2 : 1;
	bool page_by_page = _i == 2, without = _i == 3;
	struct tap tap[NODES] = {0};

	read_in_order(owner, without ? DSM_WITHOUT(RUNS) : 0, page_by_page, tap);
	ck_assert_uint_gt(tap[0].requests, 0);
	ck_assert_uint_gt(tap[0].requests_ahead, PAGES / 2);
	ck_assert_uint_gt(tap[owner].pages_ahead, PAGES / 2);
	/* Of the pages behind the last the home is the owner. */
	ck_assert_uint_eq(tap[1].pages_ahead + tap[2].pages_ahead, tap[0].requests_ahead);
	ck_assert_uint_eq(tap[1].pages + tap[2].pages, tap[0].requests);
	if (without)
		ck_assert_uint_eq(tap[0].runs_asked, 0);
	else
		ck_assert(tap[0].runs_asked > 0 && tap[0].runs_asked <= PAGES / 4);
	/* What the home has comes as it was asked for, but for pages behind the last that were never touched. */
	ck_assert_uint_le(tap[1].runs, tap[0].runs_asked);
	if (_i == 0)
		ck_assert_uint_gt(tap[1].pages_in_runs, PAGES / 2);
	else
		ck_assert_uint_eq(tap[1].runs, 0);
}
END_TEST

START_TEST(pages_that_are_waited_for_are_not)
{
	struct tap tap[NODES] = {0};

	read_in_order(1, DSM_WITHOUT(AHEAD), false, tap);
	ck_assert_uint_eq(tap[0].requests, PAGES);
	ck_assert_uint_eq(tap[0].requests_ahead, 0);
	ck_assert_uint_eq(tap[1].pages, PAGES);
	ck_assert_uint_eq(tap[1].pages_ahead, 0);
}
END_TEST

struct writer {
	struct cluster *c;
	_Atomic bool stop;
	uint64_t rounds;
};

/* At the home of the pages, and the only one to write them. */
static void *write_rounds(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stop)) {
		w->rounds++;
		for (rpn_t p = 0; p < PAGES; p++)
			__atomic_store_n(word(w->c, 1, BLOCK_PAGES + p, 3), w->rounds, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void read_round(struct cluster *c, uint64_t last[PAGES])
{
	for (rpn_t p = 0; p < PAGES; p++) {
		uint64_t seen = __atomic_load_n(word(c, 0, BLOCK_PAGES + p, 3), __ATOMIC_RELAXED);

		ck_assert_uint_ge(seen, last[p]);
		last[p] = seen;
	}
}

/* What a stream asks for is protected many pages a call, before the requests for all of them have come: whoever goes on writing
 * to those writes to the page that is read. */
START_TEST(pages_that_are_protected_ahead_can_be_written)
{
	rpn_t first[NODES + 1] = {0, BLOCK_PAGES, 2 * BLOCK_PAGES, 3 * BLOCK_PAGES};
	struct loop_options options = {.seed = seed(), .max_delay_ns = 20 * NS_PER_US, .fifo = true};
	struct cluster c = {.nodes = NODES, .shards = 1, .sink = {.failed = on_failed, .lost = on_lost}};
	struct writer writer = {.c = &c};
	uint64_t last[PAGES] = {0};
	pthread_t thread;

	ck_assert_int_eq(loop_new(NODES, 2, &options, &c.loop), 0);
	for (unsigned n = 0; n < NODES; n++) {
		struct net_lane *lane = loop_lane(c.loop, n, 1);

		cluster_node(&c, n, first, &lane, _i ? DSM_WITHOUT(DAMPING) : 0, 0);
	}
	*word(&c, 1, BLOCK_PAGES, 0) = 1; /* touched: not given whole */
	ck_assert_int_eq(pthread_create(&thread, NULL, write_rounds, &writer), 0);
	for (unsigned i = 0; i < 40 || !stats_of(&c, 1).faults_upgrade; i++)
		read_round(&c, last);
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	read_round(&c, last);
	for (rpn_t p = 0; p < PAGES; p++)
		ck_assert_uint_eq(last[p], writer.rounds);
	ck_assert_uint_gt(stats_of(&c, 0).ahead, 0);
	cluster_stop(&c);
}
END_TEST

/* What kind of page this is, in no order: nothing about it hints at its neighbour's. */
static unsigned kind_of(rpn_t page, uint64_t random)
{
	uint64_t state = (random ^ page * UINT64_C(0x9e3779b97f4a7c15)) | 1;

	next_random(&state);
	return (next_random(&state) >> 20) % 8;
}

/* A run is made of what is left of it by pages that were never touched, are zero, are another node's, go round or are here already.
 */
START_TEST(a_run_leaves_out_what_goes_another_way)
{
	rpn_t first[NODES + 1] = {0, BLOCK_PAGES, 2 * BLOCK_PAGES, 3 * BLOCK_PAGES};
	uint64_t random = seed();
	struct loop_options options = {.seed = random, .max_delay_ns = 20 * NS_PER_US, .fifo = true};
	struct cluster c = {.nodes = NODES, .shards = 1, .sink = {.failed = on_failed, .lost = on_lost}};

	ck_assert_int_eq(loop_new(NODES, 2, &options, &c.loop), 0);
	for (unsigned n = 0; n < NODES; n++) {
		struct net_lane *lane = loop_lane(c.loop, n, 1);

		cluster_node(&c, n, first, &lane, DSM_WITHOUT(BLOCKS) | DSM_WITHOUT(DAMPING), 0);
	}
	for (rpn_t p = 0; p < PAGES; p++) {
		rpn_t page = BLOCK_PAGES + p;

		switch (kind_of(p, random)) {
		case 0: /* a hole */
			break;
		case 1: /* zero, but written */
			*word(&c, 1, page, 1) = 0;
			break;
		case 2: /* another's */
			*word(&c, 2, page, 1) = p + 1;
			break;
		case 3: /* has gone round */
			for (unsigned i = 0; i < KEPT_MIN_SEQ; i++)
				*word(&c, i % 2, page, 1) = p + 1;
			*word(&c, 1, page, 1) = p + 1;
			break;
		case 4: /* a copy is here */
			*word(&c, 1, page, 1) = p + 1;
			ck_assert_uint_eq(*word(&c, 0, page, 1), p + 1);
			break;
		default: /* its home's */
			*word(&c, 1, page, 1) = p + 1;
		}
	}
	for (rpn_t p = 0; p < PAGES; p++)
		ck_assert_uint_eq(*word(&c, 0, BLOCK_PAGES + p, 1), kind_of(p, random) < 2 ? 0 : p + 1);
	ck_assert_uint_gt(stats_of(&c, 1).pages_out_run, 0);
	/* All may be written afterwards, by whom they went to and by who gave them. */
	for (unsigned n = 0; n < NODES; n++)
		for (rpn_t p = 0; p < PAGES; p++)
			*word(&c, n, BLOCK_PAGES + p, 2 + n) = p;
	for (unsigned n = 0; n < NODES; n++)
		for (rpn_t p = 0; p < PAGES; p++)
			for (unsigned k = 0; k < NODES; k++)
				ck_assert_uint_eq(*word(&c, n, BLOCK_PAGES + p, 2 + k), p);
	cluster_stop(&c);
}
END_TEST

struct bad_run {
	rpn_t page;
	struct wire_hdr hdr;
	const char *why;
};

START_TEST(a_run_that_cannot_be_is_the_peers_fault)
{
	static const struct bad_run bad[] = {
		{PEER_PAGES + 3, {.type = WIRE_RUN_REQ, .acks = 4, .node = 1}, "REQ_READ for page 515"}, /* not its home */
		{PEER_PAGES + 3, {.type = WIRE_RUN_DATA, .acks = 4, .node = 0, .len = 4 * (PAGE_BYTES + 4)}, "DATA for page 515"},
		{2 * PEER_PAGES, {.type = WIRE_RUN_REQ, .acks = 2, .node = 1}, "page 1024, which is not one of this shard's"},
	};
	static uint8_t payload[WIRE_RUN_PAYLOAD_MAX];
	uint64_t end = clock_ns() + 5 * NS_PER_SEC;
	static struct peer p;

	peer_start(&p.c, 1, 0);
	p.c.sink.lost = peer_on_lost;
	peer_tell(&p, bad[_i].page, bad[_i].hdr, payload);
	while (!atomic_load(&p.lost) && clock_ns() < end)
		usleep(1000);
	ck_assert(atomic_load(&p.lost));
	ck_assert_ptr_nonnull(strstr(p.why, bad[_i].why));
}
END_TEST

/* Of another epoch: not obeyed. */
START_TEST(an_old_run_is_stale)
{
	struct wire_hdr hdr = {.type = WIRE_RUN_DATA, .epoch = 0, .arg = PEER_PAGES, .acks = 2, .len = 2 * (PAGE_BYTES + 4)};
	static uint8_t payload[WIRE_RUN_PAYLOAD_MAX];
	uint64_t end = clock_ns() + 5 * NS_PER_SEC;
	static struct peer p;

	peer_start(&p.c, 1, 0);
	ck_assert_int_eq(net_send(loop_lane(p.c.loop, 1, 1), 0, &hdr, payload), 0);
	while (stats_of(&p.c, 0).stale < 2 && clock_ns() < end)
		usleep(1000);
	ck_assert_uint_eq(stats_of(&p.c, 0).stale, 2);
	atomic_store(&p.c.ending, true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dsm_ahead");
	TCase *tc = tcase_create("ahead");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, pages_asked_for_ahead_are_sent_as_such, 0, 4);
	tcase_add_test(tc, pages_that_are_waited_for_are_not);
	tcase_add_loop_test(tc, pages_that_are_protected_ahead_can_be_written, 0, 2);
	tcase_add_loop_test(tc, a_run_leaves_out_what_goes_another_way, 0, 3);
	tcase_add_loop_test(tc, a_run_that_cannot_be_is_the_peers_fault, 0, 3);
	tcase_add_test(tc, an_old_run_is_stale);
	suite_add_tcase(s, tc);
	return check_main(s);
}
