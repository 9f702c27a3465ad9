/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending and the state of a peer are under the mutex on lane 0 (shared_sender); on other lanes there is one thread
 * and no lock is taken. Input belongs to the polling thread alone.
 *
 * Life of a peer, T1 to T4:
 *
 *   connected --broken (by a sender or by poll)--> broken --poll: close, sink->lost--> gone (fd = -1)
 *
 * T1 broken is set once, with the reason; the first reason stays. T2 a broken peer takes and gives no more messages.
 * T3 only the polling thread closes, so a descriptor number is never reused under a sender. T4 the socket of a broken
 * peer is shut down, so the epoll reports it and poll comes to close it.
 */
#include "net/tcp.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/ring.h"

#define IN_BYTES      ((size_t)128 << 10) /* a read; holds any message */
#define READS_A_POLL  8                   /* of one peer, so that it cannot keep the others waiting */
#define DIRECT_PEERS  2                   /* up to so many sockets are read without asking epoll first */
#define EVENTS_A_POLL 64
#define KEPT_BYTES    ((size_t)32 << 10) /* of a peer: more does not wait for net_flush */

static_assert(IN_BYTES >= WIRE_HDR_BYTES + WIRE_PAYLOAD_MAX, "a message must fit the input buffer");
static_assert(TCP_OUT_BYTES >= WIRE_HDR_BYTES + WIRE_PAYLOAD_MAX, "a message must fit the empty ring");

struct peer {
	node_t node;
	int fd;              /* -1: gone */
	_Atomic bool broken; /* T1 */
	_Atomic bool queued; /* the ring is not empty and EPOLLOUT is on */
	int err;             /* why it is broken */
	char why[160];
	struct ring out;
	uint8_t *in; /* IN_BYTES */
	size_t in_used;
};

struct tcp_lane {
	struct net_lane lane;
	bool shared_sender;
	int epoll;
	node_t connected; /* peers with fd >= 0; the polling thread's */
	uint64_t kept;    /* peers whose ring has messages of net_queue; the polling thread's */
	pthread_mutex_t mutex;
	struct peer peer[]; /* lane.nodes */
};

static void lock(struct tcp_lane *t)
{
	if (t->shared_sender)
		pthread_mutex_lock(&t->mutex);
}

static void unlock(struct tcp_lane *t)
{
	if (t->shared_sender)
		pthread_mutex_unlock(&t->mutex);
}

/* Acquire pairs with break_locked's release: who sees `broken` sees err and why. */
static bool is_broken(const struct peer *p)
{
	return atomic_load_explicit(&p->broken, memory_order_acquire);
}

PRINTF_LIKE(3, 4)
static void break_locked(struct peer *p, int err, const char *fmt, ...)
{
	va_list ap;

	if (is_broken(p))
		return; /* T1 */
	p->err = err;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	atomic_store_explicit(&p->broken, true, memory_order_release);
	shutdown(p->fd, SHUT_RDWR); /* T4 */
}

static void break_by_errno_locked(struct peer *p, int err)
{
	char text[64];

	if (err == ETIMEDOUT)
		break_locked(p, -err, "node %u has not answered for %d s: its host or the network is down", p->node,
			     TCP_TIMEOUT_MS / 1000);
	else
		break_locked(p, -err, "the connection to node %u failed: %s", p->node, strerror_r(err, text, sizeof(text)));
}

static int watch_locked(struct tcp_lane *t, struct peer *p, int op, bool queued)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | (queued ? EPOLLOUT : 0u), .data.u32 = p->node};

	if (epoll_ctl(t->epoll, op, p->fd, &ev))
		return -errno;
	atomic_store_explicit(&p->queued, queued, memory_order_relaxed);
	return 0;
}

/* One sendmsg. How many bytes the socket took, which may be 0, or -errno with the peer broken. */
static ssize_t push_locked(struct peer *p, struct iovec *piece, size_t n)
{
	struct msghdr msg = {.msg_iov = piece, .msg_iovlen = n};

	for (;;) {
		ssize_t sent = sendmsg(p->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		int err = errno;

		if (sent >= 0)
			return sent;
		if (err == EINTR)
			continue;
		if (err == EAGAIN)
			return 0;
		break_by_errno_locked(p, err);
		return -err;
	}
}

/* Queues what is left of a message after its first `done` bytes went out. */
static int queue_locked(struct tcp_lane *t, struct peer *p, const struct iovec *piece, size_t done)
{
	size_t left = piece[0].iov_len + piece[1].iov_len - done;
	uint8_t *at = ring_reserve(&p->out, left);
	int err = 0;

	if (!at) {
		break_locked(p, -ENOBUFS, "node %u does not read: %zu MiB wait for it", p->node, TCP_OUT_BYTES >> 20);
		return -ENOBUFS;
	}
	for (int i = 0; i < 2; i++) {
		size_t skip = MIN(done, piece[i].iov_len);

		if (piece[i].iov_len > skip)
			at = mempcpy(at, (const uint8_t *)piece[i].iov_base + skip, piece[i].iov_len - skip);
		done -= skip;
	}
	ring_commit(&p->out, left);
	if (!atomic_load_explicit(&p->queued, memory_order_relaxed))
		err = watch_locked(t, p, EPOLL_CTL_MOD, true);
	if (err)
		break_by_errno_locked(p, -err);
	return err;
}

static int send_locked(struct tcp_lane *t, struct peer *p, const struct wire_hdr *hdr, const void *payload)
{
	uint8_t head[WIRE_HDR_BYTES];
	struct iovec piece[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)payload, hdr->len}};
	ssize_t done = 0;

	if (p->fd < 0 || is_broken(p))
		return -ENOTCONN;
	wire_hdr_encode(hdr, head);
	if (p->out.used == 0)
		done = push_locked(p, piece, hdr->len ? 2 : 1);
	if (done < 0)
		return (int)done;
	if ((size_t)done == sizeof(head) + hdr->len)
		return 0;
	return queue_locked(t, p, piece, (size_t)done);
}

static int tcp_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct tcp_lane *t = container_of(lane, struct tcp_lane, lane);
	int err;

	lock(t);
	err = send_locked(t, &t->peer[to], hdr, payload);
	unlock(t);
	return err;
}

/* What the socket takes of the ring; EPOLLOUT is on afterwards if it did not take all, and off if it did. */
static void flush(struct tcp_lane *t, struct peer *p)
{
	struct iovec piece[2];
	ssize_t sent = 1;

	lock(t);
	while (!is_broken(p) && p->out.used && sent > 0) {
		sent = push_locked(p, piece, (size_t)ring_peek(&p->out, piece));
		if (sent > 0)
			ring_take(&p->out, (size_t)sent);
	}
	bool rest = p->out.used != 0;
	if (!is_broken(p) && rest != atomic_load_explicit(&p->queued, memory_order_relaxed)) {
		int err = watch_locked(t, p, EPOLL_CTL_MOD, rest);

		if (err)
			break_by_errno_locked(p, -err);
	}
	unlock(t);
}

static void tcp_flush(struct net_lane *lane)
{
	struct tcp_lane *t = container_of(lane, struct tcp_lane, lane);

	for (; t->kept; t->kept &= t->kept - 1) {
		struct peer *p = &t->peer[__builtin_ctzll(t->kept)];

		/* A socket that is full says by EPOLLOUT when it is not. */
		if (p->fd >= 0 && !is_broken(p) && !atomic_load_explicit(&p->queued, memory_order_relaxed))
			flush(t, p);
	}
}

static int tcp_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct tcp_lane *t = container_of(lane, struct tcp_lane, lane);
	struct peer *p = &t->peer[to];
	size_t total = WIRE_HDR_BYTES + hdr->len;

	if (p->fd < 0 || is_broken(p))
		return -ENOTCONN;
	lock(t);
	uint8_t *at = ring_reserve(&p->out, total);
	if (at) {
		wire_hdr_encode(hdr, at);
		if (hdr->len)
			memcpy(at + WIRE_HDR_BYTES, payload, hdr->len);
		ring_commit(&p->out, total);
	}
	bool many = p->out.used > KEPT_BYTES;
	unlock(t);
	if (!at)
		return tcp_send(lane, to, hdr, payload); /* which says why not */
	t->kept |= (uint64_t)1 << to;
	if (many && !atomic_load_explicit(&p->queued, memory_order_relaxed))
		flush(t, p);
	return is_broken(p) ? -ENOTCONN : 0;
}

/* Hands over every whole message in the input buffer and keeps the rest. Returns how many. */
static int parse(struct tcp_lane *t, struct peer *p, struct net_sink *sink)
{
	struct wire_hdr hdr;
	size_t pos = 0;
	int handled = 0;

	while (!is_broken(p) && p->in_used - pos >= WIRE_HDR_BYTES) {
		const uint8_t *at = p->in + pos;
		int err = wire_hdr_decode(at, wire_lane_kind(t->lane.lane), &hdr);

		if (err) {
			lock(t);
			break_locked(p, -EPROTO, "node %u sent %s (type %u, lane %u)", p->node, wire_error(err), at[0],
				     t->lane.lane);
			unlock(t);
			break;
		}
		if (p->in_used - pos - WIRE_HDR_BYTES < hdr.len)
			break;
		sink->recv(sink, p->node, &hdr, at + WIRE_HDR_BYTES);
		handled++;
		pos += WIRE_HDR_BYTES + hdr.len;
	}
	p->in_used -= pos;
	if (pos && p->in_used)
		memmove(p->in, p->in + pos, p->in_used);
	return handled;
}

/* Reads what is there. Returns how many messages it handed over. */
static int receive(struct tcp_lane *t, struct peer *p, struct net_sink *sink)
{
	int handled = 0;

	for (int i = 0; i < READS_A_POLL && !is_broken(p); i++) {
		size_t room = IN_BYTES - p->in_used; /* never 0: a whole message has always been taken out */
		ssize_t got = recv(p->fd, p->in + p->in_used, room, MSG_DONTWAIT);

		if (got > 0) {
			p->in_used += (size_t)got;
			handled += parse(t, p, sink);
			if ((size_t)got < room)
				break;
			continue;
		}
		int err = errno;

		if (got < 0 && err == EINTR)
			continue;
		if (got < 0 && err == EAGAIN)
			break;
		lock(t);
		if (got < 0)
			break_by_errno_locked(p, err);
		else
			break_locked(p, -ECONNRESET, "node %u closed the connection%s", p->node,
				     p->in_used ? " in the middle of a message" : "");
		unlock(t);
	}
	return handled;
}

/* Closes a broken peer's socket and frees its buffers. */
static void drop(struct tcp_lane *t, struct peer *p)
{
	lock(t);
	close(p->fd); /* leaves the epoll by that */
	p->fd = -1;
	ring_destroy(&p->out);
	atomic_store_explicit(&p->queued, false, memory_order_relaxed);
	unlock(t);
	free(p->in);
	p->in = NULL;
	t->connected--;
}

static int serve(struct tcp_lane *t, struct peer *p, struct net_sink *sink)
{
	int handled;

	if (p->fd < 0)
		return 0;
	if (atomic_load_explicit(&p->queued, memory_order_relaxed))
		flush(t, p);
	handled = receive(t, p, sink);
	if (is_broken(p)) {
		drop(t, p);
		sink->lost(sink, p->node, p->err, p->why);
		handled++;
	}
	return handled;
}

static int tcp_poll(struct net_lane *lane, struct net_sink *sink)
{
	struct tcp_lane *t = container_of(lane, struct tcp_lane, lane);
	struct epoll_event ev[EVENTS_A_POLL];
	int handled = 0, n;

	if (t->connected <= DIRECT_PEERS) {
		for (node_t i = 0; i < lane->nodes; i++)
			handled += serve(t, &t->peer[i], sink);
		return handled;
	}
	n = epoll_wait(t->epoll, ev, EVENTS_A_POLL, 0);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		handled += serve(t, &t->peer[ev[i].data.u32], sink);
	return handled;
}

static int tcp_fd(struct net_lane *lane)
{
	return container_of(lane, struct tcp_lane, lane)->epoll;
}

/* Frees everything; closes the sockets only if they are ours by now. */
static void destroy(struct tcp_lane *t, bool close_sockets)
{
	for (node_t i = 0; i < t->lane.nodes; i++) {
		struct peer *p = &t->peer[i];

		if (close_sockets && p->fd >= 0)
			close(p->fd);
		ring_destroy(&p->out);
		free(p->in);
	}
	if (t->epoll >= 0)
		close(t->epoll);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

static void tcp_free(struct net_lane *lane)
{
	destroy(container_of(lane, struct tcp_lane, lane), true);
}

static const struct net_ops tcp_ops = {
	.name = "tcp",
	.send = tcp_send,
	.queue = tcp_queue,
	.flush = tcp_flush,
	.poll = tcp_poll,
	.fd = tcp_fd,
	.free = tcp_free,
};

static int peer_init(struct tcp_lane *t, struct peer *p)
{
	int err = tcp_set_options(p->fd);

	if (err)
		return err;
	p->in = malloc(IN_BYTES);
	if (!p->in)
		return -ENOMEM;
	err = ring_init(TCP_OUT_BYTES, &p->out);
	if (err)
		return err;
	t->connected++;
	return watch_locked(t, p, EPOLL_CTL_ADD, false);
}

int tcp_lane_new(node_t self, node_t nodes, unsigned lane, const int *fds, struct net_lane **out)
{
	struct tcp_lane *t;
	int err = 0;

	if (nodes == 0 || nodes > NODES_MAX || self >= nodes || fds[self] >= 0)
		return -EINVAL;
	t = calloc(1, sizeof(*t) + nodes * sizeof(t->peer[0]));
	if (!t)
		return -ENOMEM;
	t->lane = (struct net_lane){.ops = &tcp_ops, .self = self, .nodes = nodes, .lane = lane};
	t->shared_sender = lane == 0;
	pthread_mutex_init(&t->mutex, NULL);
	for (node_t i = 0; i < nodes; i++) {
		t->peer[i].node = i;
		t->peer[i].fd = fds[i];
	}
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0)
		err = -errno;
	for (node_t i = 0; i < nodes && !err; i++)
		if (fds[i] >= 0)
			err = peer_init(t, &t->peer[i]);
	if (err) {
		destroy(t, false);
		return err;
	}
	*out = &t->lane;
	return 0;
}
