/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fabric between nodes. A struct net_lane is one thread's endpoint: one ordered, reliable connection to each peer.
 * Transports: tcp.h, rdma.h, and loop.h for tests.
 *
 * Threads: a lane is polled, and freed, by one thread only. net_send is called by that thread as well; on lane 0 of a
 * transport, the control lane, any thread may call it (each of them says so: one mutex inside, a leaf: nothing is
 * called with it held). net_send may be called from inside a sink's functions; net_poll and net_free may not.
 *
 * A peer is lost once and for all when its connection ends or fails, when it sends bytes that do not decode, or when it
 * does not take what is sent to it and the queue of TCP_OUT_BYTES is full. net_poll says so once, by sink->lost, with
 * a sentence that names the node; whoever owns the machine decides what follows. Nothing here logs, blocks or, after
 * its lane was made, allocates.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "net/wire.h"

struct net_lane;

/* Who gets what a lane receives: embed it, container_of back. Both run on the thread that polls. */
struct net_sink {
	/* A message of `from`; the header was checked, the payload [payload, payload + hdr->len) was not (wire_..._decode).
	 * hdr and payload are valid until the function returns; payload is not aligned. */
	void (*recv)(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload);
	/* `peer` is gone, err is a -errno, why a sentence such as "node 2 closed the connection". Called once a peer. */
	void (*lost)(struct net_sink *sink, node_t peer, int err, const char *why);
};

struct net_ops {
	const char *name; /* "tcp" */
	int (*send)(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload);
	/* Optional, both or neither. */
	int (*queue)(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload);
	void (*flush)(struct net_lane *lane);
	void *(*reserve)(struct net_lane *lane, node_t to, const struct wire_hdr *hdr); /* optional */
	uint32_t payload_max; /* of a dsm lane: net_payload_max; 0: a page */
	int (*poll)(struct net_lane *lane, struct net_sink *sink);
	int (*look)(struct net_lane *lane, struct net_sink *sink); /* optional: net_look */
	int (*fd)(struct net_lane *lane);
	void (*free)(struct net_lane *lane);
};

/* The head of every transport's lane. Read-only once made. */
struct net_lane {
	const struct net_ops *ops;
	node_t self;
	node_t nodes;  /* peers are [0, nodes) without self */
	unsigned lane; /* 0: control */
};

/* Sends a header and its hdr->len bytes of payload (NULL if 0) to another node, in order with what was sent to it
 * before; both are copied or on their way when it returns. Never blocks: what the transport does not take at once is
 * queued and goes out in net_poll. The header must be one that the peer will accept (asserted).
 * -ENOTCONN: the peer is lost already; -ENOBUFS: the queue was full, the peer is lost by this; any other: the
 * connection failed. Whatever it is, sink->lost tells it too, so a caller may ignore the result. */
CHECKED int net_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload);

/* net_send where a failure changes nothing for the caller: the lane tells it by sink->lost, and that ends the machine. */
static inline void net_post(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	if (net_send(lane, to, hdr, payload))
		return;
}

/* net_send, but the message may wait for net_flush, so that many cost one call of the kernel. For the thread that polls the
 * lane. In order with net_send; but of a dsm lane's messages only those about one page (hdr->arg) are sure to stay in order, as
 * pages that nobody waits for (WIRE_F_AHEAD) may be overtaken. */
CHECKED int net_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload);
/* Where the lane would have the payload of this message, hdr->len bytes, so that net_queue, given that place, copies nothing. The
 * header as it will be queued, as far as type, flags, arg and len go; queued next on this lane, or not at all. NULL: the transport
 * has no such place, or no room. For the thread that polls the lane. */
void *net_reserve(struct net_lane *lane, node_t to, const struct wire_hdr *hdr);
/* The longest payload that a dsm lane carries: of a run (net/wire.h), or a page. */
uint32_t net_payload_max(const struct net_lane *lane);
/* What net_queue kept goes out. */
void net_flush(struct net_lane *lane);

/* Handles what is there now, does not block: calls sink->recv and sink->lost, sends what was queued.
 * Returns how many messages and losses it handled, or -errno if this host failed. */
CHECKED int net_poll(struct net_lane *lane, struct net_sink *sink);
/* net_poll for who looks often, between two calls of net_poll: only what can be seen without a call of the kernel, losses only if
 * that shows them. net_fd may stay readable although there is nothing new. Which transports have such a thing: net_can_look. */
CHECKED int net_look(struct net_lane *lane, struct net_sink *sink);
bool net_can_look(const struct net_lane *lane);
/* For who has a message in hand: the tracepoint (base/trace.h), at one place for all lanes. */
void net_trace_received(node_t from, const struct wire_hdr *hdr);

/* A descriptor that polls readable when net_poll has something to do. The lane's own. */
int net_fd(struct net_lane *lane);

/* Closes every connection. NULL is fine. What is queued and was not taken by the transport is dropped. */
void net_free(struct net_lane *lane);

/* A sentence for a person: what failed, where, why, what to do next. Written by the functions that fail on their way
 * to a machine (tcp.h, auth.h, key.h), only on failure; their callers know whether to log or to show it. */
#define NET_WHY_BYTES 320
struct net_why {
	char text[NET_WHY_BYTES];
};
/* Writes *why (unless NULL) and returns err, for `return net_fail(why, -EINVAL, "...", ...)`. */
int net_fail(struct net_why *why, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
