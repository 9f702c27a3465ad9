/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes over real sockets on 127.0.0.1: order and content, a reader that does not read, peers that close, send garbage
 * or send half a message; and the helpers that make the sockets. */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tcp.h"

#define WAIT_MS 10000

struct inbox {
	struct net_sink sink;
	struct net_lane *lane;
	size_t n;
	uint32_t next_seq[NODES_MAX];
	bool disorder, bad_payload, echo;
	size_t lost;
	node_t lost_node;
	int lost_err;
	char lost_why[200];
};

static void take(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	in->n++;
	if (hdr->seq != in->next_seq[from]++)
		in->disorder = true;
	for (uint32_t i = 0; i < hdr->len; i++)
		if (payload[i] != (uint8_t)(hdr->seq + i))
			in->bad_payload = true;
	if (in->echo && net_send(in->lane, from, hdr, payload))
		abort();
}

static void take_loss(struct net_sink *sink, node_t peer, int err, const char *why)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	in->lost++;
	in->lost_node = peer;
	in->lost_err = err;
	snprintf(in->lost_why, sizeof(in->lost_why), "%s", why);
}

static struct inbox inbox(struct net_lane *lane)
{
	return (struct inbox){.sink = {take, take_loss}, .lane = lane};
}

static void socket_pair(int fd[2])
{
	char peer[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;
	int listener;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listener, &port, &why), 0);
	ck_assert_int_eq(tcp_connect("127.0.0.1", port, 2000, &fd[0], &why), 0);
	ck_assert_int_eq(tcp_accept(listener, 2000, &fd[1], peer, &why), 0);
	ck_assert_int_eq(strncmp(peer, "127.0.0.1:", 10), 0);
	close(listener);
}

static struct net_lane *lane_of(node_t self, node_t nodes, unsigned number, const int *fds)
{
	struct net_lane *lane;

	ck_assert_int_eq(tcp_lane_new(self, nodes, number, fds, &lane), 0);
	return lane;
}

/* Nodes 0 and 1 with lane `number` between them. */
static void lane_pair(unsigned number, struct net_lane *lane[2])
{
	int fd[2];

	socket_pair(fd);
	lane[0] = lane_of(0, 2, number, (int[]){-1, fd[0]});
	lane[1] = lane_of(1, 2, number, (int[]){fd[1], -1});
}

/* Node 0's lane, and the bare socket of what would be node 1. */
static struct net_lane *lane_and_socket(unsigned number, int *raw)
{
	int fd[2];

	socket_pair(fd);
	*raw = fd[1];
	return lane_of(0, 2, number, (int[]){-1, fd[0]});
}

static struct wire_hdr message(unsigned number, uint32_t seq, uint32_t len)
{
	if (number == 0)
		return (struct wire_hdr){.type = WIRE_STATS, .seq = seq, .len = len};
	return (struct wire_hdr){.type = len ? WIRE_DATA : WIRE_INV, .seq = seq, .len = len};
}

static int send_one(struct net_lane *lane, node_t to, uint32_t seq, uint32_t len)
{
	struct wire_hdr hdr = message(lane->lane, seq, len);
	static _Thread_local uint8_t payload[WIRE_PAYLOAD_MAX];

	for (uint32_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(seq + i);
	return net_send(lane, to, &hdr, payload);
}

/* Polls until so many messages and losses came; false after WAIT_MS. */
static bool await(struct inbox *in, size_t n, size_t lost)
{
	uint64_t end = clock_ns() + WAIT_MS * NS_PER_MS;

	while (in->n < n || in->lost < lost) {
		struct pollfd pfd = {.fd = net_fd(in->lane), .events = POLLIN};

		if (clock_ns() > end || poll(&pfd, 1, WAIT_MS) == 0)
			return false;
		if (net_poll(in->lane, &in->sink) < 0)
			abort();
	}
	return true;
}

/* The same for two lanes that one thread polls in turn, each flushing what it has queued. */
static bool await_both(struct inbox *a, size_t n_a, struct inbox *b, size_t n_b)
{
	uint64_t end = clock_ns() + WAIT_MS * NS_PER_MS;

	while (a->n < n_a || b->n < n_b) {
		if (clock_ns() > end)
			return false;
		if (net_poll(a->lane, &a->sink) < 0 || net_poll(b->lane, &b->sink) < 0)
			abort();
	}
	return true;
}

START_TEST(messages_of_all_sizes_arrive_whole_and_in_order)
{
	static const uint32_t sizes[] = {0, 8, 4096, 65536, 1024, 65528};
	struct net_lane *lane[2];

	lane_pair(0, lane);
	struct inbox in = inbox(lane[1]);
	for (uint32_t i = 0; i < 60; i++)
		ck_assert_int_eq(send_one(lane[0], 1, i, sizes[i % ARRAY_SIZE(sizes)]), 0);
	/* More than a socket takes at once: the rest is queued and needs the sender's poll. */
	struct inbox own = inbox(lane[0]);
	ck_assert(await_both(&own, 0, &in, 60));
	ck_assert(!in.disorder && !in.bad_payload && in.lost == 0 && own.lost == 0);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

struct receiver {
	pthread_t thread;
	struct inbox in;
	size_t n;
	bool done;
};

static void *receiver_main(void *arg)
{
	struct receiver *r = arg;

	r->done = await(&r->in, r->n, 0);
	return NULL;
}

START_TEST(two_threads_exchange_pages_both_ways)
{
	struct net_lane *lane[2];
	struct receiver r = {.n = 3000};

	lane_pair(1, lane);
	r.in = inbox(lane[1]);
	r.in.echo = true;
	ck_assert_int_eq(pthread_create(&r.thread, NULL, receiver_main, &r), 0);
	struct inbox own = inbox(lane[0]);
	for (uint32_t i = 0; i < 3000; i++) {
		ck_assert_int_eq(send_one(lane[0], 1, i, i % 3 ? 4096 : 0), 0);
		ck_assert(await(&own, i > 64 ? i - 64 : 0, 0)); /* a bounded number under way, as a shard has */
	}
	pthread_join(r.thread, NULL);
	/* The receiver polls no more: what it still has queued goes out from here. */
	ck_assert(r.done && await_both(&r.in, 3000, &own, 3000));
	ck_assert(!r.in.disorder && !r.in.bad_payload && !own.disorder && !own.bad_payload);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

struct sender {
	pthread_t thread;
	struct net_lane *lane;
};

static void *sender_main(void *arg)
{
	struct sender *s = arg;

	for (uint32_t i = 0; i < 2000; i++)
		if (send_one(s->lane, 1, 0, 8 * (i % 100)))
			abort();
	return NULL;
}

START_TEST(any_thread_may_send_on_the_control_lane)
{
	struct net_lane *lane[2];
	struct sender s[3];

	lane_pair(0, lane);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		s[i].lane = lane[0];
		ck_assert_int_eq(pthread_create(&s[i].thread, NULL, sender_main, &s[i]), 0);
	}
	struct receiver r = {.in = inbox(lane[1]), .n = 6000};
	ck_assert_int_eq(pthread_create(&r.thread, NULL, receiver_main, &r), 0);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		pthread_join(s[i].thread, NULL);
	struct inbox own = inbox(lane[0]);
	for (int i = 0; i < 2000; i++) {
		ck_assert_int_ge(net_poll(lane[0], &own.sink), 0); /* flushes */
		usleep(100);
	}
	pthread_join(r.thread, NULL);
	ck_assert(r.done && !r.in.bad_payload && own.lost == 0);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

START_TEST(a_message_in_pieces_is_handed_over_once_whole)
{
	struct wire_hdr hdr = message(1, 0, 4096);
	uint8_t bytes[WIRE_HDR_BYTES + 4096];
	int raw;
	struct net_lane *lane = lane_and_socket(1, &raw);
	struct inbox in = inbox(lane);

	wire_hdr_encode(&hdr, bytes);
	for (size_t i = 0; i < 4096; i++)
		bytes[WIRE_HDR_BYTES + i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(bytes); i += 103) {
		ck_assert_uint_eq(in.n, 0);
		ck_assert_int_gt((int)send(raw, bytes + i, MIN((size_t)103, sizeof(bytes) - i), 0), 0);
		ck_assert_int_ge(net_poll(lane, &in.sink), 0);
	}
	ck_assert(await(&in, 1, 0));
	ck_assert(!in.bad_payload && in.lost == 0);
	close(raw);
	net_free(lane);
}
END_TEST

START_TEST(a_peer_that_does_not_read_is_lost_and_nobody_hangs)
{
	int raw, err = 0;
	struct net_lane *lane = lane_and_socket(1, &raw);
	struct inbox in = inbox(lane);
	uint64_t start = clock_ns();
	uint32_t i;

	for (i = 0; i < 100000 && !err; i++)
		err = send_one(lane, 1, i, 4096);
	ck_assert_int_eq(err, -ENOBUFS);
	ck_assert_uint_gt((uint64_t)i * 4096, TCP_OUT_BYTES); /* the bound was used */
	ck_assert_uint_eq(in.lost, 0);                        /* told by poll, not by send */
	ck_assert_int_eq(send_one(lane, 1, i, 0), -ENOTCONN);
	ck_assert(await(&in, 0, 1));
	ck_assert_int_eq(in.lost_err, -ENOBUFS);
	ck_assert_ptr_nonnull(strstr(in.lost_why, "node 1 does not read"));
	ck_assert_uint_lt(clock_ns() - start, 5 * NS_PER_SEC);
	close(raw);
	net_free(lane);
}
END_TEST

START_TEST(a_peer_that_closes_is_lost_once_and_what_it_sent_is_delivered)
{
	struct net_lane *lane[2];

	lane_pair(1, lane);
	struct inbox in = inbox(lane[0]);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(send_one(lane[1], 0, i, 4096), 0);
	net_free(lane[1]);
	ck_assert(await(&in, 3, 1));
	ck_assert_uint_eq(in.lost_node, 1);
	ck_assert_str_eq(in.lost_why, "node 1 closed the connection");
	ck_assert_int_eq(net_poll(lane[0], &in.sink), 0);
	ck_assert_uint_eq(in.lost, 1);
	ck_assert_int_eq(send_one(lane[0], 1, 0, 0), -ENOTCONN);
	net_free(lane[0]);
}
END_TEST

START_TEST(a_peer_that_closes_in_the_middle_of_a_message_is_lost)
{
	struct wire_hdr hdr = message(1, 0, 4096);
	uint8_t bytes[1000] = {0};
	int raw;
	struct net_lane *lane = lane_and_socket(1, &raw);
	struct inbox in = inbox(lane);

	wire_hdr_encode(&hdr, bytes);
	ck_assert_int_eq((int)send(raw, bytes, sizeof(bytes), 0), 1000);
	close(raw);
	ck_assert(await(&in, 0, 1));
	ck_assert_uint_eq(in.n, 0);
	ck_assert_ptr_nonnull(strstr(in.lost_why, "in the middle of a message"));
	net_free(lane);
}
END_TEST

START_TEST(a_peer_that_resets_is_lost)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	int raw;
	struct net_lane *lane = lane_and_socket(1, &raw);
	struct inbox in = inbox(lane);

	ck_assert_int_eq(setsockopt(raw, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(raw);
	ck_assert(await(&in, 0, 1));
	ck_assert_int_eq(in.lost_err, -ECONNRESET);
	ck_assert_ptr_nonnull(strstr(in.lost_why, "the connection to node 1 failed: "));
	net_free(lane);
}
END_TEST

START_TEST(a_peer_that_sends_garbage_is_lost_with_the_reason)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
	int raw;
	struct net_lane *lane = lane_and_socket(1, &raw);
	struct inbox in = inbox(lane);

	ck_assert_int_gt((int)send(raw, garbage, sizeof(garbage), 0), 0);
	ck_assert(await(&in, 0, 1));
	ck_assert_uint_eq(in.n, 0);
	ck_assert_int_eq(in.lost_err, -EPROTO);
	ck_assert_str_eq(in.lost_why, "node 1 sent a message of unknown type (type 71, lane 1)");
	close(raw);
	net_free(lane);
}
END_TEST

START_TEST(a_control_message_on_a_dsm_lane_loses_the_peer)
{
	struct wire_hdr hdr = {.type = WIRE_START};
	uint8_t bytes[WIRE_HDR_BYTES];
	int raw;
	struct net_lane *lane = lane_and_socket(1, &raw);
	struct inbox in = inbox(lane);

	wire_hdr_encode(&hdr, bytes);
	ck_assert_int_eq((int)send(raw, bytes, sizeof(bytes), 0), WIRE_HDR_BYTES);
	ck_assert(await(&in, 0, 1));
	ck_assert_ptr_nonnull(strstr(in.lost_why, "on a lane where it does not belong"));
	close(raw);
	net_free(lane);
}
END_TEST

START_TEST(one_lost_peer_does_not_touch_the_others)
{
	enum { N = 5 };
	struct net_lane *lane[N];
	int fd[N][N];

	for (int i = 0; i < N; i++) {
		fd[i][i] = -1;
		for (int j = 0; j < i; j++) {
			int pair[2];

			socket_pair(pair);
			fd[i][j] = pair[0];
			fd[j][i] = pair[1];
		}
	}
	for (node_t i = 0; i < N; i++)
		lane[i] = lane_of(i, N, 1, fd[i]);
	struct inbox in = inbox(lane[0]);
	for (node_t i = 1; i < N; i++)
		ck_assert_int_eq(send_one(lane[i], 0, 0, 4096), 0);
	net_free(lane[2]);
	ck_assert(await(&in, N - 1, 1));
	ck_assert_uint_eq(in.lost_node, 2);
	for (node_t i = 1; i < N; i++)
		if (i != 2)
			ck_assert_int_eq(send_one(lane[i], 0, 1, 0), 0);
	ck_assert(await(&in, N - 1 + N - 2, 1));
	ck_assert_uint_eq(in.lost, 1);
	ck_assert(!in.disorder && !in.bad_payload);
	for (node_t i = 0; i < N; i++)
		if (i != 2)
			net_free(lane[i]);
}
END_TEST

START_TEST(a_small_message_does_not_wait_for_more)
{
	struct net_lane *lane[2];

	lane_pair(1, lane);
	struct inbox far = inbox(lane[1]), own = inbox(lane[0]);
	far.echo = true;
	uint64_t start = clock_ns();
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_int_eq(send_one(lane[0], 1, i, 0), 0);
		ck_assert(await(&far, i + 1, 0));
		ck_assert(await(&own, i + 1, 0));
	}
	/* Nagle against delayed acknowledgements would be 40 ms each: 8 s. */
	ck_assert_uint_lt(clock_ns() - start, 2 * NS_PER_SEC);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

START_TEST(a_lane_with_a_connection_to_itself_is_refused)
{
	struct net_lane *lane;

	ck_assert_int_eq(tcp_lane_new(0, 2, 1, (int[]){0, -1}, &lane), -EINVAL);
	ck_assert_int_eq(tcp_lane_new(2, 2, 1, (int[]){-1, -1}, &lane), -EINVAL);
}
END_TEST

START_TEST(addresses_parse)
{
	char host[WIRE_HOST_BYTES];
	uint16_t port;

	ck_assert_int_eq(tcp_parse_address("host2:7700", host, &port), 0);
	ck_assert_str_eq(host, "host2");
	ck_assert_uint_eq(port, 7700);
	ck_assert_int_eq(tcp_parse_address("[::1]:65535", host, &port), 0);
	ck_assert_str_eq(host, "::1");
	ck_assert_uint_eq(port, 65535);
}
END_TEST

START_TEST(addresses_that_are_none_are_refused)
{
	static const char *const bad[] = {"",           "host",
					  ":7700",      "host:",
					  "host:65536", "host:-1",
					  "host:x",     "::1:5",
					  "[::1]",      "[]:1",
					  "[::1:1",     "[:1",
					  "a:b:1",      "a23456789012345678901234567890123456789012345678901234567890abcdefgh:1"};
	char host[WIRE_HOST_BYTES];
	uint16_t port;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(tcp_parse_address(bad[i], host, &port) == -EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(a_port_in_use_is_named)
{
	char again[32];
	struct net_why why;
	uint16_t port, other;
	int fd, second;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &fd, &port, &why), 0);
	snprintf(again, sizeof(again), "127.0.0.1:%u", port);
	ck_assert_int_eq(tcp_listen(again, &second, &other, &why), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why.text, again + 10));
	ck_assert_ptr_nonnull(strstr(why.text, "is in use by another program"));
	close(fd);
}
END_TEST

START_TEST(an_address_of_another_host_cannot_be_listened_on)
{
	struct net_why why;
	uint16_t port;
	int fd;

	ck_assert_int_eq(tcp_listen("192.0.2.1:0", &fd, &port, &why), -EADDRNOTAVAIL); /* TEST-NET-1, RFC 5737 */
	ck_assert_ptr_nonnull(strstr(why.text, "is not an address of this host"));
	ck_assert_int_eq(tcp_listen("7700", &fd, &port, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "is not ADDRESS:PORT"));
}
END_TEST

START_TEST(a_wrong_port_is_told_from_a_host_that_is_down)
{
	struct net_why why;
	uint16_t port;
	int fd, closed;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &closed, &port, &why), 0);
	close(closed);
	ck_assert_int_eq(tcp_connect("127.0.0.1", port, 1000, &fd, &why), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(why.text, "nothing listens on its port"));
}
END_TEST

START_TEST(a_host_that_does_not_answer_is_given_up_in_time)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	struct net_why why;
	int filler[8], fd, err = 0, listener = socket(AF_INET, SOCK_STREAM, 0);

	/* A listener whose queue is full drops what comes: silence without leaving this host. */
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	uint64_t start = clock_ns();
	size_t n = 0;
	while (!err && n < ARRAY_SIZE(filler)) {
		err = tcp_connect("127.0.0.1", ntohs(addr.sin_port), 300, &fd, &why);
		if (!err)
			filler[n++] = fd;
	}
	ck_assert_int_eq(err, -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(why.text, "does not answer within 1 s"));
	ck_assert_uint_lt(clock_ns() - start, 3 * NS_PER_SEC);
	while (n)
		close(filler[--n]);
	close(listener);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_named)
{
	struct net_why why;
	int fd;

	ck_assert_int_eq(tcp_connect("no-such-host.invalid", 7700, 1000, &fd, &why), -ENOENT); /* RFC 6761 */
	ck_assert_ptr_nonnull(strstr(why.text, "no-such-host.invalid cannot be looked up"));
}
END_TEST

START_TEST(accept_gives_up_in_time)
{
	char peer[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;
	int listener, fd;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listener, &port, &why), 0);
	ck_assert_int_eq(tcp_accept(listener, 50, &fd, peer, &why), -ETIMEDOUT);
	close(listener);
}
END_TEST

START_TEST(addresses_of_both_ends_are_numeric_without_port)
{
	char buf[WIRE_HOST_BYTES];
	int fd[2];

	socket_pair(fd);
	ck_assert_int_eq(tcp_local_address(fd[0], buf), 0);
	ck_assert_str_eq(buf, "127.0.0.1");
	ck_assert_int_eq(tcp_peer_address(fd[1], buf), 0);
	ck_assert_str_eq(buf, "127.0.0.1");
	close(fd[0]);
	ck_assert_int_eq(tcp_local_address(fd[0], buf), -EBADF);
	close(fd[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp");
	TCase *tc = tcase_create("tcp");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, messages_of_all_sizes_arrive_whole_and_in_order);
	tcase_add_test(tc, two_threads_exchange_pages_both_ways);
	tcase_add_test(tc, any_thread_may_send_on_the_control_lane);
	tcase_add_test(tc, a_message_in_pieces_is_handed_over_once_whole);
	tcase_add_test(tc, a_peer_that_does_not_read_is_lost_and_nobody_hangs);
	tcase_add_test(tc, a_peer_that_closes_is_lost_once_and_what_it_sent_is_delivered);
	tcase_add_test(tc, a_peer_that_closes_in_the_middle_of_a_message_is_lost);
	tcase_add_test(tc, a_peer_that_resets_is_lost);
	tcase_add_test(tc, a_peer_that_sends_garbage_is_lost_with_the_reason);
	tcase_add_test(tc, a_control_message_on_a_dsm_lane_loses_the_peer);
	tcase_add_test(tc, one_lost_peer_does_not_touch_the_others);
	tcase_add_test(tc, a_small_message_does_not_wait_for_more);
	tcase_add_test(tc, a_lane_with_a_connection_to_itself_is_refused);
	tcase_add_test(tc, addresses_parse);
	tcase_add_test(tc, addresses_that_are_none_are_refused);
	tcase_add_test(tc, a_port_in_use_is_named);
	tcase_add_test(tc, an_address_of_another_host_cannot_be_listened_on);
	tcase_add_test(tc, a_wrong_port_is_told_from_a_host_that_is_down);
	tcase_add_test(tc, a_host_that_does_not_answer_is_given_up_in_time);
	tcase_add_test(tc, a_name_that_does_not_exist_is_named);
	tcase_add_test(tc, accept_gives_up_in_time);
	tcase_add_test(tc, addresses_of_both_ends_are_numeric_without_port);
	suite_add_tcase(s, tc);

	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
