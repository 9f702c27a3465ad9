/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of rdmalane.c begin with: two nodes in this process, joined by RDMA over this host's own address, and what comes
 * in, which is checked. Whatever is not as it should be ends the program with a line on stderr.
 */
#ifndef CLUSTER_RDMA_WORLD_H
#define CLUSTER_RDMA_WORLD_H

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/rdma_priv.h"
#include "net/tcp.h"

#define LANES   2u
#define WAIT_NS (20 * NS_PER_SEC)

#define REQUIRE(x)                                                                                  \
	do {                                                                                        \
		if (!(x)) {                                                                         \
			fprintf(stderr, "rdmalane: %s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
			exit(1);                                                                    \
		}                                                                                   \
	} while (0)

struct inbox {
	struct net_sink sink;
	uint32_t due;
	unsigned lost;
	int err;
	char why[200];
};

struct world {
	struct rdma_links *links[2];
	struct wire_rdma offer; /* node 1's */
	int socket[LANES][2];
	struct net_lane *lane[LANES][2];
	struct inbox in[LANES][2];
};

/* ---- what every test needs ---- */

static inline uint8_t byte_of(uint32_t seq, uint32_t i)
{
	return (uint8_t)(seq * 7 + i);
}

static inline void take(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	(void)from;
	REQUIRE(hdr->seq == in->due);
	in->due++;
	for (uint32_t i = 0; i < hdr->len; i++)
		REQUIRE(payload[i] == byte_of(hdr->seq, i));
}

static inline void take_loss(struct net_sink *sink, node_t peer, int err, const char *why)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	(void)peer;
	in->lost++;
	in->err = err;
	snprintf(in->why, sizeof(in->why), "%s", why);
}

/* Two ends of a TCP connection. */
static inline void make_sockets(int fd[2])
{
	char peer[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;
	int listener;

	REQUIRE(tcp_listen("127.0.0.1:0", &listener, &port, &why) == 0);
	REQUIRE(tcp_connect("127.0.0.1", port, 5000, &fd[0], &why) == 0);
	REQUIRE(tcp_accept(listener, 5000, &fd[1], peer, &why) == 0);
	close(listener);
}

static inline void open_links(struct world *w)
{
	struct rdma_here here;
	struct net_why why;

	memset(w, 0, sizeof(*w));
	if (rdma_probe(&here, &why)) {
		fprintf(stderr, "rdmalane: %s\n", why.text);
		exit(1);
	}
	for (node_t n = 0; n < 2; n++)
		REQUIRE(rdma_links_new(n, 2, LANES, &here, &w->links[n], &why) == 0);
	REQUIRE(rdma_links_offer(w->links[1], &w->offer, &why) == 0);
	for (unsigned l = 0; l < LANES; l++)
		make_sockets(w->socket[l]);
}

struct answer {
	struct world *w;
	int rc;
	struct net_why why;
};

static inline void *answer(void *arg)
{
	struct answer *a = arg;

	a->rc = rdma_links_answer(a->w->links[1], 0, &a->w->offer, -1, clock_ns() + WAIT_NS, &a->why);
	return NULL;
}

static inline void connect_links(struct world *w)
{
	struct answer a = {.w = w};
	struct net_why why;
	pthread_t thread;

	REQUIRE(pthread_create(&thread, NULL, answer, &a) == 0);
	int rc = rdma_links_dial(w->links[0], 1, &w->offer, clock_ns() + WAIT_NS, &why);
	if (rc)
		fprintf(stderr, "rdmalane: %s\n", why.text);
	REQUIRE(rc == 0);
	pthread_join(thread, NULL);
	REQUIRE(a.rc == 0);
}

static inline void make_lanes(struct world *w)
{
	for (unsigned l = 0; l < LANES; l++)
		for (node_t n = 0; n < 2; n++) {
			int fds[2] = {-1, -1};

			fds[!n] = w->socket[l][n];
			REQUIRE(rdma_lane_new(w->links[n], l, fds, &w->lane[l][n]) == 0);
			w->in[l][n].sink = (struct net_sink){take, take_loss};
		}
	rdma_links_free(w->links[0]);
	rdma_links_free(w->links[1]);
}

static inline void set_up(struct world *w)
{
	open_links(w);
	connect_links(w);
	make_lanes(w);
}

static inline void tear_down(struct world *w)
{
	for (unsigned l = 0; l < LANES; l++)
		for (node_t n = 0; n < 2; n++)
			net_free(w->lane[l][n]);
}

static inline void poll_end(struct world *w, unsigned l, node_t n)
{
	REQUIRE(net_poll(w->lane[l][n], &w->in[l][n].sink) >= 0);
}

/* Polls one end as an owner does, asleep on its descriptor, until it has lost its peer. */
static inline void await_loss(struct world *w, unsigned l, node_t n)
{
	uint64_t deadline = clock_ns() + WAIT_NS;

	while (!w->in[l][n].lost) {
		struct pollfd p = {.fd = net_fd(w->lane[l][n]), .events = POLLIN};

		REQUIRE(clock_ns() < deadline);
		REQUIRE(poll(&p, 1, 1000) >= 0);
		poll_end(w, l, n);
	}
}

/* Any length that the lane has: mostly pages and short ones, on lane 0 also payloads longer than a page. */
static inline struct wire_hdr message(unsigned lane, uint32_t seq)
{
	if (lane)
		return seq % 3 ? (struct wire_hdr){.type = WIRE_REQ_READ, .seq = seq}
			       : (struct wire_hdr){.type = WIRE_LEND, .len = PAGE_BYTES, .seq = seq};
	uint32_t len = seq % 5 == 0 ? seq * 8 % (WIRE_PAYLOAD_MAX + 8) : seq * 8 % 512;
	return (struct wire_hdr){.type = WIRE_STATS, .len = len & ~7u, .seq = seq};
}

static inline struct rdma_peer *peer_of(struct world *w, node_t self)
{
	return &container_of(w->lane[1][self], struct rdma_lane, lane)->peer[!self];
}

static inline int send_one(struct world *w, unsigned l, node_t from, uint32_t seq)
{
	static uint8_t payload[WIRE_PAYLOAD_MAX];
	struct wire_hdr hdr = message(l, seq);

	for (uint32_t i = 0; i < hdr.len; i++)
		payload[i] = byte_of(seq, i);
	return net_send(w->lane[l][from], !from, &hdr, payload);
}

#endif
