/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers: what a message costs a shard that has many peers, by each engine of a TCP lane.
 *
 *      peers PEERS CHUNKS [CPU PEERS-CPU]
 *
 * A lane with PEERS real connections over loopback, whose other ends another process answers. A round is an invalidation: a message
 * of 24 bytes to each peer, all of them flushed at once, and the answers awaited, asleep. Chunks of 20 rounds, of one engine and
 * the other in turn, so that a slow moment hits both.
 *
 * Prints a line an engine, medians of the chunks, ns of the processor (user and system, of the thread), a message: `send` from
 * net_queue to the end of net_flush, `recv` the rest of the round, with its wakes; `wall` of the clock; `wakes` how often a round
 * slept. What this host's kernel does for the other ends in the sending thread is in it: over loopback a message is received where
 * it is sent. Exit: 0; 1 something failed, in one line on stderr; 2 usage.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tcp.h"
#include "tests/bench/bench.h"

#define ROUNDS     20u
#define CHUNKS_MAX 10000ul
#define ENGINES    2u

struct node {
	struct net_sink sink;
	struct net_lane *lane;
	uint32_t answers;
};

/* Of a chunk. */
struct cost {
	uint64_t send, recv, wall, wakes;
};

static void on_recv(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	(void)from, (void)hdr, (void)payload;
	container_of(sink, struct node, sink)->answers++;
}

static void on_lost(struct net_sink *sink, node_t peer, int err, const char *why)
{
	(void)sink, (void)peer, (void)err;
	fail(why, 0);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* The other ends: what comes goes back. */
__attribute__((noreturn)) static void answer(const int *fd, unsigned n)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev[NODES_MAX];
	char bytes[4096];

	for (unsigned i = 0; i < n; i++) {
		ev[0] = (struct epoll_event){.events = EPOLLIN, .data.fd = fd[i]};
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], ev))
			_exit(1);
	}
	for (;;) {
		int ready = epoll_wait(epoll, ev, NODES_MAX, -1);
		for (int i = 0; i < ready; i++) {
			ssize_t got = recv(ev[i].data.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
			if (got == 0 || (got > 0 && send(ev[i].data.fd, bytes, (size_t)got, MSG_NOSIGNAL) != got))
				_exit(0);
		}
	}
}

static void connect_all(unsigned n, int *near, int *far)
{
	char address[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;
	int listener;

	if (tcp_listen("127.0.0.1:0", &listener, &port, &why))
		fail(why.text, 0);
	for (unsigned i = 0; i < n; i++)
		if (tcp_connect("127.0.0.1", port, 1000, &near[i], &why) || tcp_accept(listener, 1000, &far[i], address, &why))
			fail(why.text, 0);
	close(listener);
}

static void round_trips(struct node *node, node_t peers, struct cost *cost)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = {.events = EPOLLIN};

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, net_fd(node->lane), &ev))
		fail("epoll", errno);
	*cost = (struct cost){.wall = clock_ns()};
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct wire_hdr hdr = {.type = WIRE_INV, .seq = round};
		uint64_t begin = cpu_ns();

		node->answers = 0;
		for (node_t n = 1; n <= peers; n++)
			if (net_queue(node->lane, n, &hdr, NULL))
				fail("a peer is lost", 0);
		net_flush(node->lane);
		uint64_t sent = cpu_ns();
		while (node->answers < peers) {
			if (epoll_wait(epoll, &ev, 1, -1) > 0)
				cost->wakes++;
			if (net_poll(node->lane, &node->sink) < 0)
				fail("the lane cannot be polled", 0);
		}
		cost->send += sent - begin;
		cost->recv += cpu_ns() - sent;
	}
	cost->wall = clock_ns() - cost->wall;
	close(epoll);
}

static double median(const struct cost *costs, size_t n, size_t member, double per)
{
	static uint64_t value[CHUNKS_MAX];

	for (size_t i = 0; i < n; i++)
		value[i] = *(const uint64_t *)(const void *)((const char *)&costs[i] + member);
	sort_ns(value, n);
	return (double)percentile(value, n, 50) / per;
}

int main(int argc, char **argv)
{
	static const char *const name[ENGINES] = {[TCP_EPOLL] = "epoll", [TCP_URING] = "uring"};
	static struct cost cost[ENGINES][CHUNKS_MAX];
	static struct node node[ENGINES];
	int fd[ENGINES][NODES_MAX], far[ENGINES * NODES_MAX];
	struct net_why why;

	if (argc != 3 && argc != 5) {
		fprintf(stderr, "Usage: peers PEERS CHUNKS [CPU PEERS-CPU]\n");
		return 2;
	}
	node_t peers = (node_t)number(argv[1], 1, NODES_MAX - 1);
	size_t chunks = number(argv[2], 1, CHUNKS_MAX);
	unsigned engines = tcp_uring_probe(&why) ? 1 : ENGINES;
	for (unsigned e = 0; e < engines; e++) {
		fd[e][0] = -1;
		connect_all(peers, &fd[e][1], &far[e * peers]);
	}
	pid_t other = fork();
	if (other < 0)
		fail("fork", errno);
	if (!other) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(argc == 5 ? (int)number(argv[4], 0, CPU_SETSIZE - 1) : -1);
		answer(far, engines * peers);
	}
	pin(argc == 5 ? (int)number(argv[3], 0, CPU_SETSIZE - 1) : -1);
	for (unsigned e = 0; e < engines; e++) {
		node[e].sink = (struct net_sink){.recv = on_recv, .lost = on_lost};
		int rc = tcp_lane_new(0, peers + 1, 1, fd[e], (enum tcp_engine)e, &node[e].lane);
		if (rc)
			fail("a lane cannot be made", rc);
		round_trips(&node[e], peers, &cost[e][0]); /* not counted */
	}
	for (size_t i = 0; i < chunks; i++)
		for (unsigned e = 0; e < engines; e++)
			round_trips(&node[e], peers, &cost[e][i]);
	for (unsigned e = 0; e < engines; e++) {
		double messages = (double)ROUNDS * peers;

		printf("peers-%s peers=%u send=%.0f recv=%.0f wall=%.0f wakes=%.1f\n", name[e], peers,
		       median(cost[e], chunks, offsetof(struct cost, send), messages),
		       median(cost[e], chunks, offsetof(struct cost, recv), messages),
		       median(cost[e], chunks, offsetof(struct cost, wall), messages),
		       median(cost[e], chunks, offsetof(struct cost, wakes), ROUNDS));
	}
	if (engines == 1)
		printf("peers-uring none: %s\n", why.text);
	fflush(stdout);
	kill(other, SIGKILL);
	return 0;
}
