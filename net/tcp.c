/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/tcp_priv.h"

#define IN_BYTES ((size_t)256 << 10) /* a read of the epoll engine; holds any message */

/* What a socket takes before it is sent: what is urgent waits behind no more than that (and one buffer of the kernel's, 64 KiB). */
#define UNSENT_BYTES (64 << 10)

static_assert(IN_BYTES >= MESSAGE_MAX, "a message must fit the input buffer");
static_assert(TCP_OUT_BYTES >= MESSAGE_MAX, "a message must fit the empty ring");

void tcp_break_locked(struct tcp_peer *p, int err, const char *fmt, ...)
{
	va_list ap;

	if (tcp_is_broken(p))
		return; /* T1 */
	p->err = err;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	atomic_store_explicit(&p->broken, true, memory_order_release);
	shutdown(p->fd, SHUT_RDWR); /* T4 */
}

void tcp_break_by_errno_locked(struct tcp_peer *p, int err)
{
	char text[64];

	if (err == ETIMEDOUT)
		tcp_break_locked(p, -err, "node %u has not answered for %d s: its host or the network is down", p->node,
				 TCP_TIMEOUT_MS / 1000);
	else
		tcp_break_locked(p, -err, "the connection to node %u failed: %s", p->node, strerror_r(err, text, sizeof(text)));
}

void tcp_break_by_end_locked(struct tcp_peer *p)
{
	tcp_break_locked(p, -ECONNRESET, "node %u closed the connection%s", p->node,
			 p->in_used ? " in the middle of a message" : "");
}

int tcp_break_by_room_locked(struct tcp_peer *p)
{
	tcp_break_locked(p, -ENOBUFS, "node %u does not read: %zu MiB wait for it", p->node, TCP_OUT_BYTES >> 20);
	return -ENOBUFS;
}

size_t tcp_parse(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink, const uint8_t *bytes, size_t len, int *handled)
{
	struct wire_hdr hdr;
	size_t pos = 0;

	while (!tcp_is_broken(p) && len - pos >= WIRE_HDR_BYTES) {
		const uint8_t *at = bytes + pos;
		int err = wire_hdr_decode(at, wire_lane_kind(t->lane.lane), &hdr);

		if (err) {
			tcp_lock(t);
			tcp_break_locked(p, -EPROTO, "node %u sent %s (type %u, lane %u)", p->node, wire_error(err), at[0],
					 t->lane.lane);
			tcp_unlock(t);
			break;
		}
		if (len - pos - WIRE_HDR_BYTES < hdr.len)
			break;
		sink->recv(sink, p->node, &hdr, at + WIRE_HDR_BYTES);
		(*handled)++;
		pos += WIRE_HDR_BYTES + hdr.len;
	}
	return pos;
}

void tcp_drop(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink)
{
	tcp_lock(t);
	close(p->fd); /* leaves the epoll by that */
	p->fd = -1;
	outq_destroy(&p->out);
	atomic_store_explicit(&p->queued, false, memory_order_relaxed);
	tcp_unlock(t);
	free(p->in);
	p->in = NULL;
	t->connected--;
	sink->lost(sink, p->node, p->err, p->why);
}

void *tcp_reserve(struct net_lane *lane, node_t to, const struct wire_hdr *hdr)
{
	struct tcp_lane *t = tcp_of(lane);

	if (t->shared_sender || !tcp_is_up(&t->peer[to])) /* another thread may queue something before */
		return NULL;
	return outq_reserve(&t->peer[to].out, hdr);
}

void tcp_destroy(struct tcp_lane *t, bool close_sockets)
{
	tcp_uring_stop(t);
	for (node_t i = 0; i < t->lane.nodes; i++) {
		struct tcp_peer *p = &t->peer[i];

		if (close_sockets && p->fd >= 0)
			close(p->fd);
		outq_destroy(&p->out);
		free(p->in);
	}
	if (t->epoll >= 0)
		close(t->epoll);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

static int peer_init(struct tcp_lane *t, struct tcp_peer *p)
{
	int unsent = UNSENT_BYTES, err = tcp_set_options(p->fd);

	if (err)
		return err;
	if (t->lane.lane && setsockopt(p->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent)))
		return -errno;
	p->in = malloc(t->in_bytes);
	if (!p->in)
		return -ENOMEM;
	t->connected++;
	return outq_init(TCP_OUT_BYTES, t->lane.lane != 0, &p->out);
}

int tcp_lane_new(node_t self, node_t nodes, unsigned lane, const int *fds, enum tcp_engine engine, struct net_lane **out)
{
	bool uring = engine == TCP_URING && lane != 0;
	struct tcp_lane *t;
	int err = 0;

	if (nodes == 0 || nodes > NODES_MAX || self >= nodes || fds[self] >= 0)
		return -EINVAL;
	t = calloc(1, sizeof(*t) + nodes * sizeof(t->peer[0]));
	if (!t)
		return -ENOMEM;
	t->lane = (struct net_lane){.ops = uring ? &tcp_uring_ops : &tcp_epoll_ops, .self = self, .nodes = nodes, .lane = lane};
	t->shared_sender = lane == 0;
	t->in_bytes = uring ? WIRE_HDR_BYTES + WIRE_RUN_PAYLOAD_MAX : IN_BYTES;
	pthread_mutex_init(&t->mutex, NULL);
	for (node_t i = 0; i < nodes; i++) {
		t->peer[i].node = i;
		t->peer[i].fd = fds[i];
	}
	t->epoll = -1;
	for (node_t i = 0; i < nodes && !err; i++)
		if (fds[i] >= 0)
			err = peer_init(t, &t->peer[i]);
	if (!err)
		err = uring ? tcp_uring_start(t) : tcp_epoll_start(t);
	if (err) {
		tcp_destroy(t, false);
		return err;
	}
	*out = &t->lane;
	return 0;
}
