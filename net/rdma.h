/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fabric over RDMA: reliable connections by librdmacm, one a lane and peer, beside the TCP connections of the mesh.
 *
 * Payloads above RDMA_INLINE_MAX go by one-sided WRITE into staging slots that the receiver has registered for this sender alone,
 * with what is to be known of them behind; smaller messages go by SEND, several in one when they come together (rdma_frame.h).
 * Guest RAM is never registered. Completions of lane 0 are polled for RDMA_SPIN_NS after the last one, where this host has more
 * than one CPU, and then waited for; those of the others for as long as the lane's owner likes (net_look).
 *
 * The sockets stay open: a peer that is gone or does not answer is noticed by them, besides by the device's own errors, and the way
 * to a lane is agreed on over them (wire_rdma). A node that RDMA does not reach is served over its socket.
 * A device or connection that fails is a lost peer (net.h); what had arrived before is handed over first.
 *
 * Set-up (struct rdma_links; one thread; blocking with deadlines):
 *
 *   rdma_probe            which addresses of this host an RDMA device has, or why none
 *   rdma_links_new        listens; rdma_links_offer is what the other end has to know
 *   rdma_links_dial       connects all lanes to a peer that made an offer       | one side of each pair
 *   rdma_links_answer     takes the connections of a peer that has our offer    | the other
 *   rdma_links_drop       both have not agreed: that peer stays with TCP
 *   rdma_lane_new         makes lanes, as tcp_lane_new does, of what is connected
 *
 * Without librdmacm at build time rdma_probe is -EOPNOTSUPP and the rest is not to be called (rdma_none.c).
 * Threads of a lane: as net.h and tcp.h.
 */
#ifndef NET_RDMA_H
#define NET_RDMA_H

#include "net/net.h"

#define RDMA_SPIN_NS    (20 * NS_PER_US)
#define RDMA_NAME_BYTES 32

/* What this host has: `n` addresses, each of an active port of the device of that name. */
struct rdma_here {
	unsigned n;
	struct {
		uint8_t addr[16]; /* as in wire_rdma */
		char device[RDMA_NAME_BYTES];
	} at[WIRE_RDMA_ADDRS_MAX];
};

/* -EOPNOTSUPP: not built in; -ENODEV: no device; -ENETDOWN: no active port; -EADDRNOTAVAIL: no address; or why rdma_cm cannot be
 * used. *why is a half sentence such as "this host has no RDMA device". */
CHECKED int rdma_probe(struct rdma_here *here, struct net_why *why);

struct rdma_links;

/* Also raises the soft limit of locked memory to the hard one. -errno, *why as above. */
CHECKED int rdma_links_new(node_t self, node_t nodes, unsigned lanes, const struct rdma_here *here, struct rdma_links **out,
			   struct net_why *why);
/* Closes what no lane has taken. NULL is fine. */
void rdma_links_free(struct rdma_links *links);
/* With a fresh token, for one pair. -errno. */
CHECKED int rdma_links_offer(const struct rdma_links *links, struct wire_rdma *offer, struct net_why *why);
CHECKED int rdma_links_dial(struct rdma_links *links, node_t peer, const struct wire_rdma *offer, uint64_t deadline_ns,
			    struct net_why *why);
/* Returns when all lanes are connected, or when `fd`, the socket over which the peer will tell how it went, is readable before:
 * -ECANCELED. Who presents another token is turned away, logged, and waited on is the right one. */
CHECKED int rdma_links_answer(struct rdma_links *links, node_t peer, const struct wire_rdma *offer, int fd, uint64_t deadline_ns,
			      struct net_why *why);
void rdma_links_drop(struct rdma_links *links, node_t peer);
/* The device and address by which the first connected peer is reached: "rxe0, 10.77.0.1"; buf of RDMA_ROUTE_BYTES. */
#define RDMA_ROUTE_BYTES 96
const char *rdma_links_route(const struct rdma_links *links, char *buf);

/* As tcp_lane_new, but takes sockets and the lane's connections over whatever it returns. `links` may be freed after the last lane.
 * Each lane once. */
CHECKED int rdma_lane_new(struct rdma_links *links, unsigned lane, const int *fds, struct net_lane **out);

#endif
