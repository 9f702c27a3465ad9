/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engines of a TCP lane share: tcp_epoll.c, where each socket costs a call of the kernel, and tcp_uring.c, where all cost
 * one. Private to net/tcp*.c.
 *
 * Sending and the state of a peer are under the mutex on lane 0 (shared_sender), which is always epoll's; on other lanes there is
 * one thread and no lock is taken. Input belongs to the polling thread alone.
 *
 * Life of a peer, T1 to T5:
 *
 *   connected --broken (by a sender or by poll)--> broken --poll: close, sink->lost--> gone (fd = -1)
 *
 * T1 broken is set once, with the reason; the first reason stays. T2 a broken peer takes and gives no more messages. T3 only the
 * polling thread closes, so a descriptor number is never reused under a sender. T4 the socket of a broken peer is shut down, so the
 * kernel reports it and poll comes to close it. T5 nothing of a peer is freed while the kernel may still read or write it.
 */
#ifndef NET_TCP_PRIV_H
#define NET_TCP_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "net/outq.h"
#include "net/tcp.h"

struct tcp_peer {
	node_t node;
	int fd;              /* -1: gone */
	_Atomic bool broken; /* T1 */
	int err;             /* why it is broken */
	char why[160];
	struct outq out;
	uint8_t *in;    /* in_bytes of the lane: what has come of a message that is not whole */
	size_t in_used; /* of them, up to here; */
	size_t in_at;   /* epoll: from here on, what was handed over is before it */

	_Atomic bool queued; /* epoll: `out` is not empty and EPOLLOUT is on */

	bool receiving, sending; /* uring: that is under way in the kernel */
	struct msghdr msg;       /* of the latter */
	struct iovec piece[OUTQ_PIECES];
};

struct tcp_uring;

struct tcp_lane {
	struct net_lane lane;
	bool shared_sender;
	int epoll;
	node_t connected; /* peers with fd >= 0; the polling thread's */
	uint64_t kept;    /* peers for whom there are messages of net_queue; the polling thread's */
	size_t in_bytes;
	struct tcp_uring *uring; /* NULL: epoll's */
	pthread_mutex_t mutex;
	struct tcp_peer peer[]; /* lane.nodes */
};

#define MESSAGE_MAX ((size_t)WIRE_HDR_BYTES + MAX(WIRE_PAYLOAD_MAX, WIRE_RUN_PAYLOAD_MAX))

#define KEPT_BYTES ((size_t)32 << 10) /* for a peer: more does not wait for net_flush */

static inline struct tcp_lane *tcp_of(struct net_lane *lane)
{
	return container_of(lane, struct tcp_lane, lane);
}

static inline void tcp_lock(struct tcp_lane *t)
{
	if (t->shared_sender)
		pthread_mutex_lock(&t->mutex);
}

static inline void tcp_unlock(struct tcp_lane *t)
{
	if (t->shared_sender)
		pthread_mutex_unlock(&t->mutex);
}

/* Acquire pairs with tcp_break_locked's release: who sees `broken` sees err and why. */
static inline bool tcp_is_broken(const struct tcp_peer *p)
{
	return atomic_load_explicit(&p->broken, memory_order_acquire);
}

static inline bool tcp_is_up(const struct tcp_peer *p)
{
	return p->fd >= 0 && !tcp_is_broken(p);
}

void tcp_break_locked(struct tcp_peer *p, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* By an error of the socket, errno > 0. */
void tcp_break_by_errno_locked(struct tcp_peer *p, int err);
/* The other end closed it. */
void tcp_break_by_end_locked(struct tcp_peer *p);
/* Its queue is full. -ENOBUFS. */
CHECKED int tcp_break_by_room_locked(struct tcp_peer *p);

/* Hands over every whole message in [bytes, bytes+len), adds how many to *handled; returns how many bytes they were. */
size_t tcp_parse(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink, const uint8_t *bytes, size_t len, int *handled);

/* A broken peer, of which the kernel has nothing any more (T5): closes it, frees its buffers, tells the sink. */
void tcp_drop(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink);

/* ops->reserve */
void *tcp_reserve(struct net_lane *lane, node_t to, const struct wire_hdr *hdr);

/* The engines. ..._start: each peer is set up but for what is the engine's own; -errno. */
extern const struct net_ops tcp_epoll_ops, tcp_uring_ops;
CHECKED int tcp_epoll_start(struct tcp_lane *t);
CHECKED int tcp_uring_start(struct tcp_lane *t);
/* Ends what the kernel does with the lane's memory; before that is freed. t->uring may be NULL. */
void tcp_uring_stop(struct tcp_lane *t);
/* Closes the lane, for ops->free; not the sockets if they are not the lane's yet. */
void tcp_destroy(struct tcp_lane *t, bool close_sockets);

#endif
