/* SPDX-License-Identifier: Apache-2.0 */
/* The in-process fabric: nothing is lost or doubled, order as promised, one seed one run. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "tests/unit/check_main.h"

#define MESSAGES 300

struct inbox {
	struct net_sink sink;
	size_t n;
	uint32_t seq[NODES_MAX][MESSAGES]; /* by sender, in order of arrival */
	size_t from[NODES_MAX];
	uint64_t lost;
	bool bad_payload;
};

static void take(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	if (hdr->len && (payload[0] != (uint8_t)hdr->seq || payload[hdr->len - 1] != (uint8_t)hdr->seq))
		in->bad_payload = true;
	in->seq[from][in->from[from]++] = hdr->seq;
	in->n++;
}

static void take_loss(struct net_sink *sink, node_t peer, int err, const char *why)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	ck_assert_int_lt(err, 0);
	ck_assert_ptr_nonnull(strstr(why, "node"));
	ck_assert(!(in->lost >> peer & 1));
	in->lost |= UINT64_C(1) << peer;
}

static struct inbox inbox(void)
{
	return (struct inbox){.sink = {take, take_loss}};
}

static int send_page(struct net_lane *lane, node_t to, uint32_t seq)
{
	struct wire_hdr hdr = {.type = WIRE_DATA, .len = PAGE_BYTES, .seq = seq};
	uint8_t page[PAGE_BYTES];

	memset(page, (uint8_t)seq, sizeof(page));
	return net_send(lane, to, &hdr, page);
}

/* Ten messages from each of two nodes to the third, step by step; the order of arrival as text. */
static void stepped_run(uint64_t seed, bool fifo, char *text, size_t size)
{
	struct loop_options options = {.seed = seed, .step = true, .fifo = fifo};
	struct loop_net *net;
	struct inbox in = inbox();
	node_t node;
	unsigned lane;

	ck_assert_int_eq(loop_new(3, 2, &options, &net), 0);
	for (uint32_t i = 0; i < 10; i++)
		for (node_t from = 0; from < 2; from++)
			ck_assert_int_eq(send_page(loop_lane(net, from, 1), 2, i), 0);
	ck_assert_uint_eq(loop_in_flight(net), 20);
	*text = 0;
	while (loop_step(net, &node, &lane)) {
		size_t before[2] = {in.from[0], in.from[1]};

		ck_assert_uint_eq(node, 2);
		ck_assert_uint_eq(lane, 1);
		ck_assert_int_eq(net_poll(loop_lane(net, 2, 1), &in.sink), 1);
		node_t from = in.from[0] == before[0];
		snprintf(text + strlen(text), size - strlen(text), "%u:%u ", from, in.seq[from][before[from]]);
	}
	ck_assert_uint_eq(loop_in_flight(net), 0);
	ck_assert_uint_eq(in.n, 20);
	ck_assert(!in.bad_payload);
	loop_free(net);
}

START_TEST(one_seed_gives_one_run_and_another_seed_another)
{
	char a[256], b[256], c[256];

	stepped_run(1, false, a, sizeof(a));
	stepped_run(1, false, b, sizeof(b));
	stepped_run(2, false, c, sizeof(c));
	ck_assert_str_eq(a, b);
	ck_assert_str_ne(a, c);
}
END_TEST

static bool in_order(const char *text, char from)
{
	int last = -1;

	for (const char *at = text; *at; at = strchr(at, ' ') + 1) {
		if (at[0] != from)
			continue;
		if (atoi(at + 2) < last)
			return false;
		last = atoi(at + 2);
	}
	return true;
}

START_TEST(fifo_keeps_the_order_of_a_pair_and_its_absence_does_not)
{
	char text[256];

	stepped_run(1, true, text, sizeof(text));
	ck_assert(in_order(text, '0') && in_order(text, '1'));
	stepped_run(1, false, text, sizeof(text));
	ck_assert(!in_order(text, '0') || !in_order(text, '1'));
}
END_TEST

START_TEST(nothing_arrives_before_it_is_stepped)
{
	struct loop_options options = {.step = true};
	struct loop_net *net;
	struct inbox in = inbox();

	ck_assert_int_eq(loop_new(2, 2, &options, &net), 0);
	ck_assert_int_eq(send_page(loop_lane(net, 0, 1), 1, 5), 0);
	struct pollfd pfd = {.fd = net_fd(loop_lane(net, 1, 1)), .events = POLLIN};
	ck_assert_int_eq(poll(&pfd, 1, 0), 0);
	ck_assert_int_eq(net_poll(loop_lane(net, 1, 1), &in.sink), 0);
	node_t node;
	unsigned lane;
	ck_assert(loop_step(net, &node, &lane));
	ck_assert_int_eq(poll(&pfd, 1, 100), 1);
	ck_assert_int_eq(net_poll(loop_lane(net, 1, 1), &in.sink), 1);
	ck_assert_int_eq(poll(&pfd, 1, 0), 0);
	ck_assert(!loop_step(net, &node, &lane));
	loop_free(net);
}
END_TEST

struct node_thread {
	struct loop_net *net;
	struct inbox in;
	pthread_t thread;
	node_t self;
	bool timed_out;
};

/* Sends MESSAGES to each other node in between receiving as many from each. */
static void *node_main(void *arg)
{
	struct node_thread *t = arg;
	struct net_lane *lane = loop_lane(t->net, t->self, 1);
	uint32_t sent = 0;

	while (t->in.n < 2 * MESSAGES || sent < MESSAGES) {
		struct pollfd pfd = {.fd = net_fd(lane), .events = POLLIN};

		if (sent < MESSAGES) {
			for (node_t to = 0; to < 3; to++)
				if (to != t->self && send_page(lane, to, sent))
					abort();
			sent++;
		} else if (poll(&pfd, 1, 5000) == 0) {
			t->timed_out = true;
			return NULL;
		}
		if (net_poll(lane, &t->in.sink) < 0)
			abort();
	}
	return NULL;
}

static void threaded_run(bool fifo)
{
	struct loop_options options = {.seed = 42, .max_delay_ns = 2 * NS_PER_MS, .fifo = fifo};
	struct node_thread *t = calloc(3, sizeof(*t));
	struct loop_net *net;
	bool ordered = true;

	ck_assert_int_eq(loop_new(3, 2, &options, &net), 0);
	for (node_t i = 0; i < 3; i++) {
		t[i].net = net;
		t[i].self = i;
		t[i].in.sink = (struct net_sink){take, take_loss};
		ck_assert_int_eq(pthread_create(&t[i].thread, NULL, node_main, &t[i]), 0);
	}
	for (node_t i = 0; i < 3; i++)
		pthread_join(t[i].thread, NULL);
	for (node_t i = 0; i < 3; i++) {
		ck_assert(!t[i].timed_out && !t[i].in.bad_payload);
		for (node_t from = 0; from < 3; from++) {
			bool seen[MESSAGES] = {0};

			for (size_t k = 0; k < t[i].in.from[from]; k++) {
				ck_assert(!seen[t[i].in.seq[from][k]]); /* not twice */
				seen[t[i].in.seq[from][k]] = true;
				ordered = ordered && t[i].in.seq[from][k] == k;
			}
			ck_assert_uint_eq(t[i].in.from[from], from == i ? 0 : MESSAGES);
		}
	}
	ck_assert_int_eq(ordered, fifo);
	loop_free(net);
	free(t);
}

START_TEST(threads_exchange_everything_once_in_any_order)
{
	threaded_run(false);
}
END_TEST

START_TEST(threads_exchange_everything_in_order_with_fifo)
{
	threaded_run(true);
}
END_TEST

START_TEST(a_lost_node_is_told_once_to_every_other_on_every_lane)
{
	struct loop_options options = {.step = true};
	struct loop_net *net;
	node_t node;
	unsigned lane;

	ck_assert_int_eq(loop_new(3, 2, &options, &net), 0);
	ck_assert_int_eq(send_page(loop_lane(net, 1, 1), 0, 1), 0);
	ck_assert_int_eq(send_page(loop_lane(net, 0, 1), 1, 1), 0);
	loop_lose(net, 1);
	loop_lose(net, 1);
	ck_assert(!loop_step(net, &node, &lane));
	for (node_t i = 0; i < 3; i += 2)
		for (unsigned j = 0; j < 2; j++) {
			struct inbox in = inbox();
			struct pollfd pfd = {.fd = net_fd(loop_lane(net, i, j)), .events = POLLIN};

			ck_assert_int_eq(poll(&pfd, 1, 100), 1);
			ck_assert_int_eq(net_poll(loop_lane(net, i, j), &in.sink), 1);
			ck_assert_uint_eq(in.lost, 2);
			ck_assert_int_eq(net_poll(loop_lane(net, i, j), &in.sink), 0);
		}
	ck_assert_int_eq(send_page(loop_lane(net, 0, 1), 1, 1), -ENOTCONN);
	ck_assert_int_eq(send_page(loop_lane(net, 1, 1), 0, 1), -ENOTCONN);
	ck_assert_int_eq(send_page(loop_lane(net, 0, 1), 2, 1), 0);
	loop_free(net);
}
END_TEST

START_TEST(freeing_a_lane_ends_that_lane_only)
{
	struct loop_options options = {.step = true};
	struct loop_net *net;

	ck_assert_int_eq(loop_new(2, 3, &options, &net), 0);
	net_free(loop_lane(net, 1, 1));
	ck_assert_int_eq(send_page(loop_lane(net, 0, 1), 1, 1), -ENOTCONN);
	ck_assert_int_eq(send_page(loop_lane(net, 0, 2), 1, 1), 0);
	loop_free(net);
}
END_TEST

START_TEST(sizes_out_of_range_are_refused)
{
	struct loop_options options = {0};
	struct loop_net *net;

	ck_assert_int_eq(loop_new(0, 1, &options, &net), -EINVAL);
	ck_assert_int_eq(loop_new(65, 1, &options, &net), -EINVAL);
	ck_assert_int_eq(loop_new(1, 0, &options, &net), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop");
	TCase *tc = tcase_create("loop");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, one_seed_gives_one_run_and_another_seed_another);
	tcase_add_test(tc, fifo_keeps_the_order_of_a_pair_and_its_absence_does_not);
	tcase_add_test(tc, nothing_arrives_before_it_is_stepped);
	tcase_add_test(tc, threads_exchange_everything_once_in_any_order);
	tcase_add_test(tc, threads_exchange_everything_in_order_with_fifo);
	tcase_add_test(tc, a_lost_node_is_told_once_to_every_other_on_every_lane);
	tcase_add_test(tc, freeing_a_lane_ends_that_lane_only);
	tcase_add_test(tc, sizes_out_of_range_are_refused);
	suite_add_tcase(s, tc);
	return check_main(s);
}
