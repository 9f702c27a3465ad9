/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An RDMA lane: completions in, events of its three sources, and its life.
 *
 * The lane's epoll watches: completion channels (armed when nothing is to be done), the channel of librdmacm, the tcp lane, and
 * wake_fd. While completions are polled (spin_ns after the last one) wake_fd is readable, so that the owner's wait on net_fd
 * returns at once and calls net_poll, which needs no system call for them.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/rdma_priv.h"
#include "net/tcp.h"

#define COMPLETIONS   16  /* taken from the queue at once */
#define ROUNDS_A_POLL 16  /* of these, in one net_poll */
#define LOOK_EVERY    64u /* polls with completions, or between two of them, after which the other sources are looked at */
#define LAST_NS       (300 * NS_PER_MS)
#define EVENTS        8

/* What the epoll tells of. */
enum source {
	SOURCE_COMPLETION,
	SOURCE_WAKE,
	SOURCE_CM,
	SOURCE_TCP,
};

static struct rdma_lane *lane_of(struct net_lane *lane)
{
	return container_of(lane, struct rdma_lane, lane);
}

static int rdma_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct rdma_lane *l = lane_of(lane);
	int err;

	if (!l->peer[to].rdma)
		return l->tcp->ops->send(l->tcp, to, hdr, payload); /* traced already */
	rdma_lock(l);
	err = rdma_send_locked(l, &l->peer[to], hdr, payload);
	rdma_unlock(l);
	return err;
}

static int rdma_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct rdma_lane *l = lane_of(lane);
	int err;

	if (!l->peer[to].rdma)
		return l->tcp->ops->queue(l->tcp, to, hdr, payload);
	rdma_lock(l);
	bool deferring = l->deferring;
	l->deferring = true;
	err = rdma_send_locked(l, &l->peer[to], hdr, payload);
	l->deferring = deferring;
	rdma_unlock(l);
	return err;
}

/* Frames that were deferred go out. */
static void settle_locked(struct rdma_lane *l)
{
	for (; l->dirty; l->dirty &= l->dirty - 1)
		rdma_settle_locked(l, &l->peer[__builtin_ctzll(l->dirty)]);
}

static void rdma_flush(struct net_lane *lane)
{
	struct rdma_lane *l = lane_of(lane);

	rdma_lock(l);
	settle_locked(l);
	rdma_unlock(l);
	if (l->has_tcp_peers)
		l->tcp->ops->flush(l->tcp);
}

/* ---- completions ---- */

static void break_by_status(struct rdma_lane *l, struct rdma_peer *p, enum ibv_wc_status status)
{
	rdma_lock(l);
	if (status == IBV_WC_RETRY_EXC_ERR)
		rdma_break_locked(l, p, -ETIMEDOUT,
				  "node %u has not answered over RDMA for some %d s: its host, its device or the network is down",
				  p->node, TCP_TIMEOUT_MS / 1000);
	else
		rdma_break_locked(l, p, -EIO, "the RDMA connection to node %u failed: %s", p->node, ibv_wc_status_str(status));
	rdma_unlock(l);
}

/* Hands over the messages of the frame in a receive buffer. Returns how many. */
static int take_frame(struct rdma_lane *l, struct rdma_peer *p, uint32_t buffer, uint32_t len)
{
	struct rdma_record record = {0};
	struct rdma_reader reader;
	int handled = 0, rc;

	rdma_lock(l);
	l->deferring = true;
	rc = rdma_reader_begin(&reader, &p->flow, p->conn.receives + (size_t)buffer * RDMA_FRAME_BYTES, len);
	if (rc == 0)
		rc = rdma_reader_next(&reader, &p->flow, wire_lane_kind(l->lane.lane), &record);
	while (rc > 0 && !rdma_is_broken(p)) {
		rdma_unlock(l);
		const uint8_t *payload = record.payload;
		if (!payload) {
			payload = p->conn.slots_in + rdma_slot_at(l->lane.lane, record.slot, record.hdr.len);
			if (l->scratch)
				payload = memcpy(l->scratch, payload, record.hdr.len);
		}
		l->sink->recv(l->sink, p->node, &record.hdr, payload);
		handled++;
		rdma_lock(l);
		rc = rdma_reader_next(&reader, &p->flow, wire_lane_kind(l->lane.lane), &record);
	}
	if (rc < 0)
		rdma_break_locked(l, p, -EPROTO, "node %u sent %s (over RDMA, lane %u)", p->node, wire_error(rc), l->lane.lane);
	if (rc == 0) {
		rc = rdma_conn_post_recv(&p->conn, p->node, buffer);
		if (rc)
			rdma_break_locked(l, p, rc, "the RDMA device takes no receive from node %u: %s", p->node, strerror(-rc));
		else
			rdma_reader_end(&p->flow);
	}
	l->deferring = false;
	l->dirty |= (uint64_t)1 << p->node;
	settle_locked(l);
	rdma_unlock(l);
	return handled;
}

/* The same of a frame that lies behind a payload, or is brief: into the receive buffer that it took, as its sender could still
 * change it. */
static int take_frame_of_slot(struct rdma_lane *l, struct rdma_peer *p, uint32_t buffer, const struct ibv_wc *wc)
{
	uint8_t *bytes = p->conn.receives + (size_t)buffer * RDMA_FRAME_BYTES;
	uint32_t imm = be32toh(wc->imm_data), slot, len = RDMA_BRIEF_BYTES;
	int rc = -EBADMSG;

	rdma_lock(l);
	if (wc->wc_flags & IBV_WC_WITH_IMM && rdma_imm_is_brief(imm)) {
		rc = rdma_brief_make(imm, wc->byte_len, &p->flow, bytes);
	} else if (wc->wc_flags & IBV_WC_WITH_IMM) {
		rc = rdma_imm_parse(imm, wc->byte_len, &p->flow, l->lane.lane, &slot, &len);
		if (!rc)
			memcpy(bytes, p->conn.slots_in + rdma_slot_at(l->lane.lane, slot, 0), len);
	}
	if (rc)
		rdma_break_locked(l, p, -EPROTO, "node %u sent %s (written over RDMA, lane %u)", p->node, wire_error(rc),
				  l->lane.lane);
	rdma_unlock(l);
	return rc ? 0 : take_frame(l, p, buffer, len);
}

static int take_completion(struct rdma_lane *l, const struct ibv_wc *wc)
{
	node_t node = (node_t)(wc->wr_id >> 33 & (NODES_MAX - 1));
	struct rdma_peer *p = &l->peer[node];

	if (p->gone || !p->rdma || rdma_is_broken(p))
		return 0;
	if (wc->status != IBV_WC_SUCCESS) {
		break_by_status(l, p, wc->status);
		return 0;
	}
	if (wc->wr_id & RDMA_WR_RECV) {
		if (wc->opcode == IBV_WC_RECV)
			return take_frame(l, p, (uint32_t)wc->wr_id, wc->byte_len);
		if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM)
			return take_frame_of_slot(l, p, (uint32_t)wc->wr_id, wc);
		rdma_lock(l);
		rdma_break_locked(l, p, -EPROTO, "node %u sent something else than a frame over RDMA, lane %u", node, l->lane.lane);
		rdma_unlock(l);
		return 0;
	}
	uint32_t frames = (uint32_t)wc->wr_id;
	rdma_lock(l);
	rdma_flow_done(&p->flow, frames, p->slots_at[(frames - 1) % p->flow.depth]);
	rdma_settle_locked(l, p);
	rdma_unlock(l);
	return 0;
}

/* What the devices have completed. Returns how many completions that were, and adds to *handled; -errno. */
static int take_completions(struct rdma_lane *l, int *handled)
{
	struct ibv_wc wc[COMPLETIONS];
	int taken = 0;

	for (unsigned i = 0; i < l->ports.n; i++) {
		int n = COMPLETIONS;

		for (int round = 0; round < ROUNDS_A_POLL && n == COMPLETIONS; round++) {
			n = ibv_poll_cq(l->ports.port[i].cq, COMPLETIONS, wc);
			if (n < 0)
				return -EIO;
			for (int k = 0; k < n; k++)
				*handled += take_completion(l, &wc[k]);
			taken += n;
		}
	}
	return taken;
}

/* Takes the news of a completion off a channel, if there is some. */
static void hear(struct rdma_port *port)
{
	struct ibv_cq *cq;
	void *context;

	if (port->armed == RDMA_UNARMED || ibv_get_cq_event(port->channel, &cq, &context))
		return;
	ibv_ack_cq_events(cq, 1);
	port->armed = RDMA_UNARMED;
}

static void hear_all(struct rdma_lane *l)
{
	for (unsigned i = 0; i < l->ports.n; i++)
		hear(&l->ports.port[i]);
}

static int arm(struct rdma_lane *l)
{
	enum rdma_armed want = RDMA_ARMED_RECEIVES;

	rdma_lock(l);
	for (node_t n = 0; n < l->lane.nodes; n++)
		if (l->peer[n].rdma && rdma_waits_locked(&l->peer[n]))
			want = RDMA_ARMED_ALL;
	rdma_unlock(l);
	for (unsigned i = 0; i < l->ports.n; i++) {
		struct rdma_port *port = &l->ports.port[i];

		if (port->armed >= want)
			continue;
		if (ibv_req_notify_cq(port->cq, want == RDMA_ARMED_RECEIVES))
			return -EIO;
		port->armed = want;
	}
	return 0;
}

/* ---- the other sources ---- */

static void cm_events(struct rdma_lane *l, int *handled)
{
	struct rdma_cm_event *ev;

	while (rdma_get_cm_event(l->cm, &ev) == 0) {
		struct rdma_peer *p = ev->id->context;
		enum rdma_cm_event_type type = ev->event;

		rdma_ack_cm_event(ev);
		if (type != RDMA_CM_EVENT_DISCONNECTED && type != RDMA_CM_EVENT_DEVICE_REMOVAL)
			continue;
		if (take_completions(l, handled) < 0) /* what came before it is handed over first */
			continue;
		rdma_lock(l);
		if (type == RDMA_CM_EVENT_DISCONNECTED)
			rdma_break_locked(l, p, -ECONNRESET, "node %u ended the RDMA connection", p->node);
		else
			rdma_break_locked(l, p, -ENODEV, "the RDMA device of this host that leads to node %u was removed", p->node);
		rdma_unlock(l);
	}
}

static void tcp_recv(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct rdma_lane *l = container_of(sink, struct rdma_lane, tcp_sink);
	struct rdma_peer *p = &l->peer[from];

	if (!p->rdma) {
		l->sink->recv(l->sink, from, hdr, payload);
		return;
	}
	rdma_lock(l);
	rdma_break_locked(l, p, -EPROTO, "node %u sent %s over TCP although RDMA was agreed on", from, wire_type_name(hdr->type));
	rdma_unlock(l);
}

static void tcp_lost(struct net_sink *sink, node_t from, int err, const char *why)
{
	struct rdma_lane *l = container_of(sink, struct rdma_lane, tcp_sink);
	struct rdma_peer *p = &l->peer[from];
	int handled = 0;

	p->fd = -1; /* the tcp lane has closed it */
	if (!p->rdma) {
		l->sink->lost(l->sink, from, err, why);
		return;
	}
	if (take_completions(l, &handled) < 0)
		return; /* poll tells */
	rdma_lock(l);
	rdma_break_locked(l, p, err, "%s", why);
	rdma_unlock(l);
}

/* Ends the spinning, or the news that a sender had: what it is about is looked at after this. */
static void unwake(struct rdma_lane *l)
{
	uint64_t count;
	ssize_t n = read(l->wake_fd, &count, sizeof(count));

	(void)n; /* nothing to take is fine */
	l->spinning = false;
}

/* Everything but completions. */
static int look(struct rdma_lane *l, int *handled)
{
	struct epoll_event ev[EVENTS];
	int rc = 0, n = epoll_wait(l->epoll, ev, EVENTS, 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n && rc >= 0; i++)
		switch ((enum source)ev[i].data.u32) {
		case SOURCE_WAKE:
			unwake(l);
			break;
		case SOURCE_CM:
			cm_events(l, handled);
			break;
		case SOURCE_TCP:
			rc = net_poll(l->tcp, &l->tcp_sink);
			if (rc > 0 && l->has_tcp_peers)
				*handled += rc;
			break;
		case SOURCE_COMPLETION:
			hear_all(l);
			break;
		}
	return MIN(rc, 0);
}

/* Broken peers are told of and closed. */
static int bury(struct rdma_lane *l)
{
	int told = 0;

	for (node_t n = 0; n < l->lane.nodes; n++) {
		struct rdma_peer *p = &l->peer[n];

		if (!p->rdma || p->gone || !rdma_is_broken(p))
			continue;
		if (p->fd >= 0)
			shutdown(p->fd, SHUT_RDWR); /* the other end is to know, and our tcp lane closes it */
		rdma_lock(l);
		p->gone = true;
		rdma_disconnect(p->conn.id); /* not closed: that may not return before the link is back (rdma_hold.c) */
		ring_destroy(&p->out);
		rdma_unlock(l);
		l->sink->lost(l->sink, n, p->err, p->why);
		told++;
	}
	return told;
}

/* Goes on polling for a while, or has the next completion told by net_fd. */
static int rest(struct rdma_lane *l, int *handled)
{
	uint64_t one = 1, now = l->spin_ns ? clock_ns() : 0;
	int rc;

	if (l->spin_ns && *handled)
		l->last_ns = now;
	if (l->spin_ns && now - l->last_ns < l->spin_ns) {
		ssize_t n = l->spinning ? 0 : write(l->wake_fd, &one, sizeof(one));
		(void)n;
		l->spinning = true;
		return 0;
	}
	if (l->spinning)
		unwake(l);
	rc = arm(l);
	if (!rc) /* what came before that */
		rc = MIN(take_completions(l, handled), 0);
	return rc;
}

static int rdma_poll(struct net_lane *lane, struct net_sink *sink)
{
	struct rdma_lane *l = lane_of(lane);
	int handled = 0, rc;

	l->sink = sink;
	rc = take_completions(l, &handled);
	if ((rc == 0 && !l->spinning) || l->has_tcp_peers || ++l->polls % LOOK_EVERY == 0)
		rc = look(l, &handled);
	else
		hear_all(l);
	if (rc >= 0)
		rc = rest(l, &handled);
	handled += bury(l);
	l->sink = NULL;
	return rc < 0 ? rc : handled;
}

/* A completion that is seen here was announced by the channel as well: the next poll takes that off, and arms it again. */
static int rdma_look(struct net_lane *lane, struct net_sink *sink)
{
	struct rdma_lane *l = lane_of(lane);
	int handled = 0, rc;

	l->sink = sink;
	rc = take_completions(l, &handled);
	if (rc > 0)
		handled += bury(l);
	l->sink = NULL;
	return rc < 0 ? rc : handled;
}

static int rdma_fd(struct net_lane *lane)
{
	return lane_of(lane)->epoll;
}

/* ---- life ---- */

/* What was posted last, such as the order to stop, is to reach the others although this process may end now. False: not all
 * connections are well, or their last request would have been completed. */
static bool wait_for_last(struct rdma_lane *l)
{
	uint64_t deadline = clock_ns() + LAST_NS, waiting = 0;
	bool well = true;
	struct ibv_wc wc;

	for (node_t n = 0; n < l->lane.nodes; n++) {
		struct rdma_peer *p = &l->peer[n];

		if (p->rdma && !p->gone && !rdma_is_broken(p) && rdma_post_last_locked(p))
			waiting |= (uint64_t)1 << n;
		else
			well &= !p->rdma;
	}
	while (waiting && clock_ns() < deadline) {
		for (unsigned i = 0; i < l->ports.n; i++)
			while (ibv_poll_cq(l->ports.port[i].cq, 1, &wc) > 0)
				if (wc.status != IBV_WC_SUCCESS || wc.wr_id & RDMA_WR_LAST) {
					waiting &= ~((uint64_t)1 << (wc.wr_id >> 33 & (NODES_MAX - 1)));
					well &= wc.status == IBV_WC_SUCCESS;
				}
		usleep(1000);
	}
	return well && !waiting;
}

static void close_all(struct rdma_lane *l)
{
	for (node_t n = 0; n < l->lane.nodes; n++)
		rdma_conn_close(&l->peer[n].conn);
	rdma_ports_close(&l->ports);
	if (l->cm)
		rdma_destroy_event_channel(l->cm);
}

/* The others are told that it is over, and the connections left as they are, to the end of the process. */
static void leave_all(struct rdma_lane *l)
{
	for (node_t n = 0; n < l->lane.nodes; n++)
		if (l->peer[n].rdma && !l->peer[n].gone)
			rdma_disconnect(l->peer[n].conn.id);
	rdma_hold(&l->ports, l->cm);
}

/* All but the connections. */
static void destroy(struct rdma_lane *l)
{
	for (node_t n = 0; n < l->lane.nodes; n++)
		ring_destroy(&l->peer[n].out);
	net_free(l->tcp);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	if (l->epoll >= 0)
		close(l->epoll);
	pthread_mutex_destroy(&l->mutex);
	free(l->scratch);
	free(l);
}

static void rdma_free(struct net_lane *lane)
{
	struct rdma_lane *l = lane_of(lane);

	if (wait_for_last(l))
		close_all(l);
	else
		leave_all(l);
	destroy(l);
}

static const struct net_ops rdma_ops = {
	.name = "rdma",
	.send = rdma_send,
	.queue = rdma_queue,
	.flush = rdma_flush,
	.poll = rdma_poll,
	.look = rdma_look,
	.fd = rdma_fd,
	.free = rdma_free,
};

static int watch(struct rdma_lane *l, int fd, enum source source)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = source};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int take_over(struct rdma_lane *l, struct rdma_links *links, struct rdma_peer *p)
{
	struct rdma_conn *conn = &links->conn[l->lane.lane][p->node];

	if (!conn->id || !conn->up) {
		l->has_tcp_peers |= p->fd >= 0;
		return 0;
	}
	if (rdma_migrate_id(conn->id, l->cm))
		return -errno;
	p->conn = *conn;
	*conn = (struct rdma_conn){0};
	p->conn.id->context = p;
	p->conn.port = &l->ports.port[p->conn.port - links->ports[l->lane.lane].port];
	p->rdma = true;
	rdma_flow_init(&p->flow, &p->conn.ours, &p->conn.theirs);
	return ring_init(TCP_OUT_BYTES, &p->out);
}

static int make_sources(struct rdma_lane *l)
{
	int err = 0;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* readable: the first poll arms */
	if (l->epoll < 0 || l->wake_fd < 0)
		return -errno;
	l->cm = rdma_create_event_channel();
	if (!l->cm || fcntl(l->cm->fd, F_SETFL, O_NONBLOCK))
		return -errno;
	for (unsigned i = 0; i < l->ports.n && !err; i++) {
		int fd = l->ports.port[i].channel->fd;

		err = fcntl(fd, F_SETFL, O_NONBLOCK) ? -errno : watch(l, fd, SOURCE_COMPLETION);
	}
	if (!err)
		err = watch(l, l->wake_fd, SOURCE_WAKE);
	return err ? err : watch(l, l->cm->fd, SOURCE_CM);
}

int rdma_lane_new(struct rdma_links *links, unsigned lane, const int *fds, struct net_lane **out)
{
	struct rdma_lane *l = calloc(1, sizeof(*l) + links->nodes * sizeof(l->peer[0]));
	int err;

	if (!l) {
		for (node_t n = 0; n < links->nodes; n++)
			if (fds[n] >= 0)
				close(fds[n]);
		return -ENOMEM;
	}
	l->lane = (struct net_lane){.ops = &rdma_ops, .self = links->self, .nodes = links->nodes, .lane = lane};
	l->tcp_sink = (struct net_sink){.recv = tcp_recv, .lost = tcp_lost};
	l->shared_sender = lane == 0;
	l->spin_ns = lane == 0 && sysconf(_SC_NPROCESSORS_ONLN) > 1 ? RDMA_SPIN_NS : 0; /* the owner of another looks */
	l->epoll = l->wake_fd = -1;
	pthread_mutex_init(&l->mutex, NULL);
	l->ports = links->ports[lane];
	links->ports[lane].n = 0;
	l->scratch = lane == 0 ? malloc(WIRE_PAYLOAD_MAX) : NULL;
	err = (lane || l->scratch) ? make_sources(l) : -ENOMEM;
	for (node_t n = 0; n < links->nodes && !err; n++) {
		l->peer[n].node = n;
		l->peer[n].fd = fds[n];
		err = take_over(l, links, &l->peer[n]);
	}
	if (!err)
		err = tcp_lane_new(links->self, links->nodes, lane, fds, TCP_EPOLL, &l->tcp);
	for (node_t n = 0; n < links->nodes && !l->tcp; n++)
		if (fds[n] >= 0)
			close(fds[n]);
	if (!err)
		err = watch(l, net_fd(l->tcp), SOURCE_TCP);
	for (node_t n = 0; n < links->nodes && err; n++)
		rdma_conn_close(&links->conn[lane][n]); /* before what they share */
	if (err) {
		close_all(l);
		destroy(l);
	} else {
		*out = &l->lane;
	}
	return err;
}
