/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes over real sockets on 127.0.0.1, by each engine: order and content, a reader that does not read, peers that close, send
 * garbage or send half a message. */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tcp.h"
#include "tests/unit/check_main.h"

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

static struct net_lane *lane_of(int engine, node_t self, node_t nodes, unsigned number, const int *fds)
{
	struct net_lane *lane;

	ck_assert_int_eq(tcp_lane_new(self, nodes, number, fds, (enum tcp_engine)engine, &lane), 0);
	return lane;
}

/* Nodes 0 and 1 with lane `number` between them. */
static void lane_pair(int engine, unsigned number, struct net_lane *lane[2])
{
	int fd[2];

	socket_pair(fd);
	lane[0] = lane_of(engine, 0, 2, number, (int[]){-1, fd[0]});
	lane[1] = lane_of(engine, 1, 2, number, (int[]){fd[1], -1});
}

/* Node 0's lane, and the bare socket of what would be node 1. */
static struct net_lane *lane_and_socket(int engine, unsigned number, int *raw)
{
	int fd[2];

	socket_pair(fd);
	*raw = fd[1];
	return lane_of(engine, 0, 2, number, (int[]){-1, fd[0]});
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

	lane_pair(_i, 0, lane);
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

	lane_pair(_i, 1, lane);
	r.in = inbox(lane[1]);
	r.in.echo = true;
	ck_assert_int_eq(pthread_create(&r.thread, NULL, receiver_main, &r), 0);
	struct inbox own = inbox(lane[0]);
	for (uint32_t i = 0; i < 3000; i++) {
		ck_assert_int_eq(send_one(lane[0], 1, i, i % 3 ? 4096 : 0), 0);
		ck_assert(await(&own, i > 64 ? i - 64 : 0, 0)); /* a bounded number under way, as a shard has */
	}
	while (pthread_tryjoin_np(r.thread, NULL)) { /* what the socket did not take goes out by a poll */
		ck_assert_int_ge(net_poll(lane[0], &own.sink), 0);
		usleep(100);
	}
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

	lane_pair(_i, 0, lane);
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
	struct net_lane *lane = lane_and_socket(_i, 1, &raw);
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
	struct net_lane *lane = lane_and_socket(_i, 1, &raw);
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

	lane_pair(_i, 1, lane);
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
	struct net_lane *lane = lane_and_socket(_i, 1, &raw);
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
	struct net_lane *lane = lane_and_socket(_i, 1, &raw);
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
	struct net_lane *lane = lane_and_socket(_i, 1, &raw);
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
	struct net_lane *lane = lane_and_socket(_i, 1, &raw);
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
		lane[i] = lane_of(_i, i, N, 1, fd[i]);
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

	lane_pair(_i, 1, lane);
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

/* ---- messages of many pages, of which bulk may be overtaken (net/outq.h) ---- */

#define PAGES 40u

struct reader {
	struct net_sink sink;
	uint32_t n, overtaken, highest, last_of[PAGES]; /* seq + 1 */
	bool disorder, wrong;
};

static void read_one(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct reader *r = container_of(sink, struct reader, sink);

	(void)from;
	r->n++;
	r->disorder |= hdr->seq < r->last_of[hdr->arg];
	r->last_of[hdr->arg] = hdr->seq + 1;
	r->overtaken += hdr->seq < r->highest;
	r->highest = MAX(r->highest, hdr->seq);
	for (uint32_t i = 0; i < hdr->len; i += 5)
		r->wrong |= payload[i] != (uint8_t)(hdr->seq + i);
}

static void no_loss(struct net_sink *sink, node_t peer, int err, const char *why)
{
	(void)sink, (void)peer, (void)err;
	fprintf(stderr, "%s\n", why);
	abort();
}

/* A page is written where the lane wants it, if it does. */
static int queue_one(struct net_lane *lane, uint8_t type, rpn_t page, uint32_t seq, uint32_t len)
{
	struct wire_hdr hdr = {.type = type, .flags = type == WIRE_DATA ? WIRE_F_AHEAD : 0, .arg = page, .seq = seq, .len = len};
	uint8_t own[PAGE_BYTES], *payload = seq % 2 ? net_reserve(lane, 1, &hdr) : NULL;

	if (!payload)
		payload = own;
	for (uint32_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(seq + i);
	return net_queue(lane, 1, &hdr, payload);
}

/* Both poll until so many have come; false after WAIT_MS. */
static bool read_until(struct net_lane *lane[2], struct reader *own, struct reader *far, uint32_t n)
{
	uint64_t end = clock_ns() + WAIT_MS * NS_PER_MS;

	do {
		if (net_poll(lane[0], &own->sink) < 0 || net_poll(lane[1], &far->sink) < 0)
			abort();
	} while (far->n < n && clock_ns() < end);
	return far->n >= n;
}

START_TEST(what_is_said_of_a_page_stays_in_order)
{
	struct reader far = {.sink = {read_one, no_loss}}, own = far;
	struct net_lane *lane[2];
	uint32_t seq = 0;

	srand(7);
	lane_pair(_i, 1, lane);
	for (unsigned round = 0; round < 3000; round++) {
		for (int n = rand() % 30; n; n--) {
			static const uint8_t types[] = {WIRE_DATA, WIRE_DATA, WIRE_INV, WIRE_LEND};
			uint8_t type = types[rand() % 4];

			ck_assert_int_eq(queue_one(lane[0], type, (rpn_t)rand() % PAGES, seq++, type == WIRE_INV ? 0 : PAGE_BYTES),
					 0);
		}
		net_flush(lane[0]);
		/* At times nobody reads, so that the socket is full and both queues fill. */
		if (round % 100 < 20)
			continue;
		ck_assert(read_until(lane, &own, &far, seq - MIN(seq, 600u)));
	}
	ck_assert(read_until(lane, &own, &far, seq));
	ck_assert_uint_eq(far.n, seq);
	ck_assert(!far.disorder && !far.wrong);
	ck_assert_uint_gt(far.overtaken, 100);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

START_TEST(what_somebody_waits_for_passes_what_nobody_does)
{
	struct reader far = {.sink = {read_one, no_loss}}, own = far;
	struct net_lane *lane[2];
	uint32_t seq = 0, before = 0;

	lane_pair(_i, 1, lane);
	for (; seq < 1500; seq++) { /* 6 MiB: much more than the sockets take */
		ck_assert_int_eq(queue_one(lane[0], WIRE_DATA, seq % (PAGES - 1), seq, PAGE_BYTES), 0);
		net_flush(lane[0]);
	}
	ck_assert_int_eq(queue_one(lane[0], WIRE_INV, PAGES - 1, seq, 0), 0);
	net_flush(lane[0]);
	for (uint64_t end = clock_ns() + WAIT_MS * NS_PER_MS; far.n <= seq && clock_ns() < end;) {
		ck_assert_int_ge(net_poll(lane[0], &own.sink), 0);
		ck_assert_int_ge(net_poll(lane[1], &far.sink), 0);
		if (!far.last_of[PAGES - 1])
			before = far.n;
	}
	ck_assert_uint_eq(far.n, seq + 1);
	ck_assert(!far.disorder && !far.wrong);
	ck_assert_uint_gt(far.last_of[PAGES - 1], 0);
	ck_assert_msg(far.n - before > 20, "%u of %u pages came before it", before, seq);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

struct turn {
	struct inbox *in;
	size_t n;
	bool done;
};

static void *turn_main(void *arg)
{
	struct turn *t = arg;

	t->done = await(t->in, t->n, 0);
	return NULL;
}

/* As a shard's thread does when its machine is reset: it ends, and another goes on. */
START_TEST(a_lane_outlives_the_thread_that_polls_it)
{
	struct net_lane *lane[2];

	lane_pair(_i, 1, lane);
	struct inbox far = inbox(lane[1]), own = inbox(lane[0]);
	far.echo = true;
	for (uint32_t i = 0; i < 60; i++) {
		struct turn t = {.in = &far, .n = i + 1};
		pthread_t thread;

		ck_assert_int_eq(pthread_create(&thread, NULL, turn_main, &t), 0);
		ck_assert_int_eq(send_one(lane[0], 1, i, i % 2 ? 4096 : 0), 0);
		pthread_join(thread, NULL);
		ck_assert(t.done);
		ck_assert(await(&own, i + 1, 0));
	}
	ck_assert(!far.disorder && !far.bad_payload && !own.disorder && !own.bad_payload);
	net_free(lane[0]);
	net_free(lane[1]);
}
END_TEST

/* As a container's filter does: io_uring_setup fails. */
static int forbid(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

START_TEST(a_host_without_io_uring_says_so)
{
	static const struct {
		int err;
		const char *why;
	} cases[] = {{EPERM, "io_uring is forbidden here"}, {ENOSYS, "io_uring is not there"}};
	struct net_lane *lane;
	struct net_why why;

	ck_assert_int_eq(forbid(cases[_i].err), 0);
	if (tcp_uring_probe(&why) == -EOPNOTSUPP) /* not built in */
		return;
	ck_assert_int_eq(tcp_uring_probe(&why), -cases[_i].err);
	ck_assert_msg(strstr(why.text, cases[_i].why), "%s", why.text);
	ck_assert_int_eq(tcp_lane_new(0, 2, 1, (int[]){-1, -1}, TCP_URING, &lane), -cases[_i].err);
}
END_TEST

START_TEST(a_lane_with_a_connection_to_itself_is_refused)
{
	struct net_lane *lane;

	ck_assert_int_eq(tcp_lane_new(0, 2, 1, (int[]){0, -1}, TCP_EPOLL, &lane), -EINVAL);
	ck_assert_int_eq(tcp_lane_new(2, 2, 1, (int[]){-1, -1}, TCP_EPOLL, &lane), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp");
	TCase *tc = tcase_create("tcp");
	struct net_why why;
	int engines = 1 + TCP_URING - (tcp_uring_probe(&why) != 0); /* a test of a dsm lane is run with each */

	if (engines == 1)
		printf("without io_uring: %s\n", why.text);

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, messages_of_all_sizes_arrive_whole_and_in_order);
	tcase_add_loop_test(tc, two_threads_exchange_pages_both_ways, 0, engines);
	tcase_add_test(tc, any_thread_may_send_on_the_control_lane);
	tcase_add_loop_test(tc, a_message_in_pieces_is_handed_over_once_whole, 0, engines);
	tcase_add_loop_test(tc, a_peer_that_does_not_read_is_lost_and_nobody_hangs, 0, engines);
	tcase_add_loop_test(tc, a_peer_that_closes_is_lost_once_and_what_it_sent_is_delivered, 0, engines);
	tcase_add_loop_test(tc, a_peer_that_closes_in_the_middle_of_a_message_is_lost, 0, engines);
	tcase_add_loop_test(tc, a_peer_that_resets_is_lost, 0, engines);
	tcase_add_loop_test(tc, a_peer_that_sends_garbage_is_lost_with_the_reason, 0, engines);
	tcase_add_loop_test(tc, a_control_message_on_a_dsm_lane_loses_the_peer, 0, engines);
	tcase_add_loop_test(tc, one_lost_peer_does_not_touch_the_others, 0, engines);
	tcase_add_loop_test(tc, a_small_message_does_not_wait_for_more, 0, engines);
	tcase_add_loop_test(tc, what_is_said_of_a_page_stays_in_order, 0, engines);
	tcase_add_loop_test(tc, what_somebody_waits_for_passes_what_nobody_does, 0, engines);
	tcase_add_loop_test(tc, a_lane_outlives_the_thread_that_polls_it, 0, engines);
	tcase_add_loop_test(tc, a_host_without_io_uring_says_so, 0, 2);
	tcase_add_test(tc, a_lane_with_a_connection_to_itself_is_refused);
	suite_add_tcase(s, tc);
	return check_main(s);
}
