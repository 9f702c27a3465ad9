/* SPDX-License-Identifier: Apache-2.0 */
/* The engine that all kernels have: sockets in an epoll, one call of the kernel for what a socket takes or gives. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "net/tcp_priv.h"

#define READS_A_POLL  8 /* of one peer, so that it cannot keep the others waiting */
#define DIRECT_PEERS  2 /* up to so many sockets are read without asking epoll first */
#define EVENTS_A_POLL 64

static int watch_locked(struct tcp_lane *t, struct tcp_peer *p, int op, bool queued)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | (queued ? EPOLLOUT : 0u), .data.u32 = p->node};

	if (epoll_ctl(t->epoll, op, p->fd, &ev))
		return -errno;
	atomic_store_explicit(&p->queued, queued, memory_order_relaxed);
	return 0;
}

/* One send. How many bytes the socket took, which may be 0, or -errno with the peer broken. */
static ssize_t push_locked(struct tcp_peer *p, struct iovec *piece, size_t n)
{
	struct msghdr msg = {.msg_iov = piece, .msg_iovlen = n};

	for (;;) {
		/* One piece is less for the kernel to look at. */
		ssize_t sent = n == 1 ? send(p->fd, piece->iov_base, piece->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
				      : sendmsg(p->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		int err = errno;

		if (sent >= 0)
			return sent;
		if (err == EINTR)
			continue;
		if (err == EAGAIN)
			return 0;
		tcp_break_by_errno_locked(p, err);
		return -err;
	}
}

/* Something waits now: the socket says by EPOLLOUT when it takes it. */
static int await_room_locked(struct tcp_lane *t, struct tcp_peer *p)
{
	int err = 0;

	if (!atomic_load_explicit(&p->queued, memory_order_relaxed))
		err = watch_locked(t, p, EPOLL_CTL_MOD, true);
	if (err)
		tcp_break_by_errno_locked(p, -err);
	return err;
}

static int send_locked(struct tcp_lane *t, struct tcp_peer *p, const struct wire_hdr *hdr, const void *payload)
{
	uint8_t head[WIRE_HDR_BYTES];
	struct iovec piece[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)payload, hdr->len}};
	int pieces = hdr->len ? 2 : 1;
	ssize_t done;

	if (!tcp_is_up(p))
		return -ENOTCONN;
	if (outq_used(&p->out))
		return outq_put(&p->out, hdr, payload) ? await_room_locked(t, p) : tcp_break_by_room_locked(p);
	wire_hdr_encode(hdr, head);
	done = push_locked(p, piece, (size_t)pieces);
	if (done < 0)
		return (int)done;
	if ((size_t)done == sizeof(head) + hdr->len)
		return 0;
	return outq_put_rest(&p->out, piece, pieces, (size_t)done) ? await_room_locked(t, p) : tcp_break_by_room_locked(p);
}

static int epoll_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct tcp_lane *t = tcp_of(lane);
	int err;

	tcp_lock(t);
	err = send_locked(t, &t->peer[to], hdr, payload);
	tcp_unlock(t);
	return err;
}

/* What the socket takes of the queue; EPOLLOUT is on afterwards if it did not take all, and off if it did. */
static void flush(struct tcp_lane *t, struct tcp_peer *p)
{
	struct iovec piece[OUTQ_PIECES];
	ssize_t sent = 1;

	tcp_lock(t);
	while (!tcp_is_broken(p) && outq_used(&p->out) && sent > 0) {
		sent = push_locked(p, piece, (size_t)outq_peek(&p->out, SIZE_MAX, piece));
		if (sent > 0)
			outq_take(&p->out, (size_t)sent);
	}
	bool rest = outq_used(&p->out) != 0;
	if (!tcp_is_broken(p) && rest != atomic_load_explicit(&p->queued, memory_order_relaxed)) {
		int err = watch_locked(t, p, EPOLL_CTL_MOD, rest);

		if (err)
			tcp_break_by_errno_locked(p, -err);
	}
	tcp_unlock(t);
}

static void epoll_flush(struct net_lane *lane)
{
	struct tcp_lane *t = tcp_of(lane);

	for (; t->kept; t->kept &= t->kept - 1) {
		struct tcp_peer *p = &t->peer[__builtin_ctzll(t->kept)];

		/* A socket that is full says by EPOLLOUT when it is not. */
		if (tcp_is_up(p) && !atomic_load_explicit(&p->queued, memory_order_relaxed))
			flush(t, p);
	}
}

static int epoll_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct tcp_lane *t = tcp_of(lane);
	struct tcp_peer *p = &t->peer[to];

	if (!tcp_is_up(p))
		return -ENOTCONN;
	tcp_lock(t);
	bool put = outq_put(&p->out, hdr, payload);
	bool many = outq_used(&p->out) > KEPT_BYTES;
	tcp_unlock(t);
	if (!put)
		return epoll_send(lane, to, hdr, payload); /* which says why not */
	t->kept |= (uint64_t)1 << to;
	if (many && !atomic_load_explicit(&p->queued, memory_order_relaxed))
		flush(t, p);
	return tcp_is_broken(p) ? -ENOTCONN : 0;
}

/* Where the next bytes go. What is left of a message is moved to the front only where it might not fit else. */
static size_t room_for_input(const struct tcp_lane *t, struct tcp_peer *p)
{
	if (t->in_bytes - p->in_at < MESSAGE_MAX) {
		p->in_used -= p->in_at;
		memmove(p->in, p->in + p->in_at, p->in_used);
		p->in_at = 0;
	}
	return t->in_bytes - p->in_used; /* never 0: a whole message has always been taken out */
}

/* Reads what is there. Returns how many messages it handed over. */
static int receive(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink)
{
	int handled = 0;

	for (int i = 0; i < READS_A_POLL && !tcp_is_broken(p); i++) {
		size_t room = room_for_input(t, p);
		ssize_t got = recv(p->fd, p->in + p->in_used, room, MSG_DONTWAIT);

		if (got > 0) {
			p->in_used += (size_t)got;
			p->in_at += tcp_parse(t, p, sink, p->in + p->in_at, p->in_used - p->in_at, &handled);
			if (p->in_at == p->in_used)
				p->in_at = p->in_used = 0;
			if ((size_t)got < room)
				break;
			continue;
		}
		int err = errno;

		if (got < 0 && err == EINTR)
			continue;
		if (got < 0 && err == EAGAIN)
			break;
		tcp_lock(t);
		if (got < 0)
			tcp_break_by_errno_locked(p, err);
		else
			tcp_break_by_end_locked(p);
		tcp_unlock(t);
	}
	return handled;
}

static int serve(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink)
{
	int handled;

	if (p->fd < 0)
		return 0;
	if (atomic_load_explicit(&p->queued, memory_order_relaxed))
		flush(t, p);
	handled = receive(t, p, sink);
	if (tcp_is_broken(p)) {
		tcp_drop(t, p, sink);
		handled++;
	}
	return handled;
}

static int epoll_poll(struct net_lane *lane, struct net_sink *sink)
{
	struct tcp_lane *t = tcp_of(lane);
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

static int epoll_fd(struct net_lane *lane)
{
	return tcp_of(lane)->epoll;
}

static void epoll_free(struct net_lane *lane)
{
	tcp_destroy(tcp_of(lane), true);
}

const struct net_ops tcp_epoll_ops = {
	.name = "tcp",
	.send = epoll_send,
	.queue = epoll_queue,
	.flush = epoll_flush,
	.reserve = tcp_reserve,
	.payload_max = WIRE_RUN_PAYLOAD_MAX,
	.poll = epoll_poll,
	.fd = epoll_fd,
	.free = epoll_free,
};

int tcp_epoll_start(struct tcp_lane *t)
{
	int err = 0;

	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0)
		return -errno;
	for (node_t i = 0; i < t->lane.nodes && !err; i++)
		if (t->peer[i].fd >= 0)
			err = watch_locked(t, &t->peer[i], EPOLL_CTL_ADD, false);
	return err;
}
