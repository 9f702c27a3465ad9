/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine that sends to all peers, and receives from all, in one call of the kernel: io_uring. One receive a peer stays armed
 * (multishot) and fills buffers that all share; one send a peer is under way at a time.
 *
 *   net_queue --> outq of the peer --net_flush: a send each, one io_uring_enter--> sockets
 *   sockets --> buffers of the lane --> completions --net_poll--> sink->recv, in place; the buffer goes back
 *
 * U1 A receive is armed by the thread that polls, and what it does in the kernel that thread does, when it is there
 *    anyway or asleep there (COOP_TASKRUN): a call that sleeps may end with EINTR. When that thread ends, the kernel
 *    cancels what it had armed and not done (-ECANCELED), and the next who polls arms it anew: no byte is lost or sent
 *    twice.
 * U2 net_fd is the ring, readable while there are completions. net_flush takes those of sends only, up to the first of
 *    a receive, which is net_poll's.
 * U3 A peer has a send and a receive under way at most, so the queues of entries and completions have room for all.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/tcp_priv.h"

#define SQ_ENTRIES   256u /* a receive and a send of each peer */
#define CQ_ENTRIES   1024u
#define BUFFERS      128u /* a power of two: an answer of each of 63 peers, twice */
#define BUFFER_BYTES 8192u
#define GROUP        0
#define BULK_BYTES   ((size_t)64 << 10) /* under way to a peer: what is urgent waits for it */
#define FINISH_NS    (200 * NS_PER_MS)
#define FINISH_TRIES 100

/* user_data: a send's is the number of the peer */
#define IS_RECEIVE ((uint64_t)1 << 32) /* and the peer's */
#define IS_FIRST   ((uint64_t)2 << 32) /* made the ring readable, so that the polling thread comes and arms receives */

static_assert(SQ_ENTRIES > 2 * NODES_MAX, "U3");
static_assert(CQ_ENTRIES > BUFFERS + 2 * NODES_MAX, "U3: a receive has a completion a buffer, and its last");

struct tcp_uring {
	struct io_uring ring;
	bool open;
	bool unsent;                       /* there are entries that were not submitted */
	uint64_t again;                    /* peers of whose send nothing came: with the next net_flush */
	struct io_uring_buf_ring *entries; /* of free buffers, shared with the kernel */
	uint8_t *buffers;                  /* BUFFERS of BUFFER_BYTES */
};

#define ENTRIES_BYTES (BUFFERS * sizeof(struct io_uring_buf))

/* ---- life ---- */

/* A ring as this engine needs it. -errno, as io_uring_setup and io_uring_register. */
static int make_ring(struct io_uring *ring, struct io_uring_buf_ring *entries)
{
	struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
						  IORING_SETUP_CQSIZE,
					 .cq_entries = CQ_ENTRIES};
	struct io_uring_buf_reg group = {.ring_addr = (uintptr_t)entries, .ring_entries = BUFFERS, .bgid = GROUP};
	int err = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);

	if (err)
		return err;
	io_uring_ring_dontfork(ring);
	err = io_uring_register_buf_ring(ring, &group, 0);
	if (err)
		io_uring_queue_exit(ring);
	return err;
}

static void *map(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

int tcp_uring_probe(struct net_why *why)
{
	struct io_uring_buf_ring *entries = map(ENTRIES_BYTES);
	struct io_uring ring;
	int err = entries ? make_ring(&ring, entries) : -ENOMEM;

	if (!err)
		io_uring_queue_exit(&ring);
	if (entries)
		munmap(entries, ENTRIES_BYTES);
	if (err == -EPERM || err == -EACCES)
		return net_fail(why, err, "io_uring is forbidden here: sysctl kernel.io_uring_disabled, or a seccomp filter");
	if (err == -ENOSYS || err == -EINVAL)
		return net_fail(why, err, "this kernel's io_uring is not there or older than Linux 6.1's");
	return err ? net_fail(why, err, "io_uring cannot be set up: %s", strerror(-err)) : 0;
}

static void recycle(struct tcp_uring *u, uint32_t buffer)
{
	io_uring_buf_ring_add(u->entries, u->buffers + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES, (unsigned short)buffer,
			      io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(u->entries, 1);
}

int tcp_uring_start(struct tcp_lane *t)
{
	struct tcp_uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	t->uring = u;
	u->entries = map(ENTRIES_BYTES);
	u->buffers = map((size_t)BUFFERS * BUFFER_BYTES);
	if (!u->entries || !u->buffers)
		return -ENOMEM;
	io_uring_buf_ring_init(u->entries);
	err = make_ring(&u->ring, u->entries);
	if (err)
		return err;
	u->open = true;
	for (uint32_t i = 0; i < BUFFERS; i++)
		recycle(u, i);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	io_uring_prep_nop(sqe);
	sqe->user_data = IS_FIRST;
	int n = io_uring_submit(&u->ring);
	return n < 0 ? n : 0;
}

/* The first completion, or NULL. */
static struct io_uring_cqe *first(struct tcp_uring *u)
{
	struct io_uring_cqe *cqe;

	return io_uring_cq_ready(&u->ring) && io_uring_peek_cqe(&u->ring, &cqe) == 0 ? cqe : NULL;
}

/* ---- out ---- */

static struct io_uring_sqe *get(struct tcp_uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	assert(sqe); /* U3 */
	u->unsent = true;
	return sqe;
}

static void arm_send(struct tcp_lane *t, struct tcp_peer *p)
{
	struct io_uring_sqe *sqe;

	if (!tcp_is_up(p) || p->sending || !outq_used(&p->out))
		return;
	int pieces = outq_peek(&p->out, BULK_BYTES, p->piece);
	sqe = get(t->uring);
	if (pieces == 1) { /* less for the kernel to look at */
		io_uring_prep_send(sqe, p->fd, p->piece[0].iov_base, p->piece[0].iov_len, MSG_NOSIGNAL);
	} else {
		p->msg = (struct msghdr){.msg_iov = p->piece, .msg_iovlen = (size_t)pieces};
		io_uring_prep_sendmsg(sqe, p->fd, &p->msg, MSG_NOSIGNAL);
	}
	sqe->user_data = p->node;
	p->sending = true;
}

static void arm_receive(struct tcp_lane *t, struct tcp_peer *p)
{
	struct io_uring_sqe *sqe = get(t->uring);

	io_uring_prep_recv_multishot(sqe, p->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	sqe->user_data = IS_RECEIVE | p->node;
	p->receiving = true;
}

static void arm_receives(struct tcp_lane *t)
{
	for (node_t i = 0; i < t->lane.nodes; i++)
		if (tcp_is_up(&t->peer[i]) && !t->peer[i].receiving)
			arm_receive(t, &t->peer[i]);
}

/* No error of the connection. */
static bool is_passing(int res)
{
	return res == -EAGAIN || res == -EINTR || res == -ECANCELED || res == -ENOBUFS;
}

static void sent(struct tcp_lane *t, struct tcp_peer *p, int res)
{
	p->sending = false;
	if (p->fd < 0)
		return;
	if (res > 0) {
		outq_take(&p->out, (size_t)res);
		if (outq_used(&p->out))
			t->kept |= (uint64_t)1 << p->node;
	} else if (res == 0 || is_passing(res)) {
		t->uring->again |= (uint64_t)1 << p->node;
	} else {
		tcp_break_by_errno_locked(p, -res);
	}
}

/* Whoever got rid of a part goes on with the rest, which the kernel keeps when the socket takes no more. */
static void uring_flush(struct net_lane *lane)
{
	struct tcp_lane *t = tcp_of(lane);
	struct tcp_uring *u = t->uring;
	struct io_uring_cqe *cqe;

	t->kept |= u->again;
	u->again = 0;
	while (t->kept || u->unsent) {
		for (; t->kept; t->kept &= t->kept - 1)
			arm_send(t, &t->peer[__builtin_ctzll(t->kept)]);
		if (u->unsent && io_uring_submit(&u->ring) < 0)
			return; /* the kernel is short of something: with the next */
		u->unsent = false;
		while ((cqe = first(u)) && !(cqe->user_data & IS_RECEIVE)) { /* U2 */
			if (cqe->user_data & IS_FIRST)
				arm_receives(t);
			else
				sent(t, &t->peer[cqe->user_data], cqe->res);
			io_uring_cqe_seen(&u->ring, cqe);
		}
	}
}

static int uring_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct tcp_lane *t = tcp_of(lane);
	struct tcp_peer *p = &t->peer[to];

	if (!tcp_is_up(p))
		return -ENOTCONN;
	if (!outq_put(&p->out, hdr, payload))
		return tcp_break_by_room_locked(p);
	t->kept |= (uint64_t)1 << to;
	if (!p->sending && outq_used(&p->out) > KEPT_BYTES)
		uring_flush(lane);
	return tcp_is_broken(p) ? -ENOTCONN : 0;
}

static int uring_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	int err = uring_queue(lane, to, hdr, payload);

	uring_flush(lane);
	return !err && tcp_is_broken(&tcp_of(lane)->peer[to]) ? -ENOTCONN : err;
}

/* ---- in ---- */

/* How many bytes more the message in p->in needs: its header, or what that says. */
static size_t missing(const struct tcp_lane *t, const struct tcp_peer *p)
{
	struct wire_hdr hdr = {0};

	if (p->in_used < WIRE_HDR_BYTES)
		return WIRE_HDR_BYTES - p->in_used;
	if (wire_hdr_decode(p->in, wire_lane_kind(t->lane.lane), &hdr))
		return 0; /* tcp_parse refuses it */
	return WIRE_HDR_BYTES + hdr.len - p->in_used;
}

/* Bytes of a peer, in a buffer: what is whole is handed over from there, and only a message in two buffers is put together. */
static void take_bytes(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink, const uint8_t *bytes, size_t len,
		       int *handled)
{
	while (p->in_used && len && !tcp_is_broken(p)) {
		size_t part = MIN(missing(t, p), len);

		memcpy(p->in + p->in_used, bytes, part);
		p->in_used += part;
		bytes += part;
		len -= part;
		p->in_used -= tcp_parse(t, p, sink, p->in, p->in_used, handled);
	}
	if (tcp_is_broken(p))
		return;
	size_t taken = tcp_parse(t, p, sink, bytes, len, handled);
	if (tcp_is_broken(p))
		return;
	memcpy(p->in, bytes + taken, len - taken); /* less than a message */
	p->in_used += len - taken;
}

static void received(struct tcp_lane *t, struct tcp_peer *p, struct net_sink *sink, const struct io_uring_cqe *cqe, int *handled)
{
	uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	if (!(cqe->flags & IORING_CQE_F_MORE))
		p->receiving = false;
	if (cqe->res > 0 && tcp_is_up(p))
		take_bytes(t, p, sink, t->uring->buffers + (size_t)buffer * BUFFER_BYTES, (size_t)cqe->res, handled);
	else if (cqe->res == 0 && tcp_is_up(p))
		tcp_break_by_end_locked(p);
	else if (cqe->res < 0 && !is_passing(cqe->res) && tcp_is_up(p))
		tcp_break_by_errno_locked(p, -cqe->res);
	if (cqe->flags & IORING_CQE_F_BUFFER)
		recycle(t->uring, buffer);
}

static int take_completions(struct tcp_lane *t, struct net_sink *sink)
{
	struct tcp_uring *u = t->uring;
	struct io_uring_cqe *cqe;
	int handled = 0;

	/* What comes meanwhile is for the next poll, or one that answers quickly might keep all others waiting. */
	for (unsigned n = io_uring_cq_ready(&u->ring); n && (cqe = first(u)); n--) {
		struct tcp_peer *p = &t->peer[(uint32_t)cqe->user_data];

		if (cqe->user_data & IS_RECEIVE)
			received(t, p, sink, cqe, &handled);
		else if (!(cqe->user_data & IS_FIRST))
			sent(t, p, cqe->res);
		io_uring_cqe_seen(&u->ring, cqe);
	}
	return handled;
}

/* Who is broken and has nothing under way is closed (T5). */
static int drop_broken(struct tcp_lane *t, struct net_sink *sink)
{
	int handled = 0;

	for (node_t i = 0; i < t->lane.nodes; i++) {
		struct tcp_peer *p = &t->peer[i];

		if (p->fd < 0 || !tcp_is_broken(p) || p->receiving || p->sending)
			continue;
		tcp_drop(t, p, sink);
		handled++;
	}
	return handled;
}

static int uring_poll(struct net_lane *lane, struct net_sink *sink)
{
	struct tcp_lane *t = tcp_of(lane);
	struct tcp_uring *u = t->uring;
	int handled, rc = 0;

	if (__atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		rc = io_uring_get_events(&u->ring);
	if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
		return rc;
	handled = take_completions(t, sink);
	handled += drop_broken(t, sink);
	arm_receives(t);
	uring_flush(lane);
	return handled;
}

static int uring_fd(struct net_lane *lane)
{
	return tcp_of(lane)->uring->ring.ring_fd;
}

/* ---- end ---- */

static bool is_under_way(const struct tcp_lane *t)
{
	for (node_t i = 0; i < t->lane.nodes; i++)
		if (t->peer[i].receiving || t->peer[i].sending)
			return true;
	return false;
}

/* Ends all that is under way, for T5. False: the kernel has not let go of it in time. */
static bool finish(struct tcp_lane *t)
{
	struct __kernel_timespec a_while = {.tv_nsec = (long)(FINISH_NS / FINISH_TRIES)};
	struct tcp_uring *u = t->uring;
	struct io_uring_cqe *cqe;

	for (node_t i = 0; i < t->lane.nodes; i++)
		if (t->peer[i].fd >= 0 && (t->peer[i].receiving || t->peer[i].sending))
			shutdown(t->peer[i].fd, SHUT_RDWR);
	for (int i = 0; i < FINISH_TRIES && is_under_way(t); i++) {
		(void)io_uring_wait_cqe_timeout(&u->ring, &cqe, &a_while);
		while ((cqe = first(u))) {
			struct tcp_peer *p = &t->peer[(uint32_t)cqe->user_data];

			if (!(cqe->user_data & IS_RECEIVE))
				p->sending = false;
			else if (!(cqe->flags & IORING_CQE_F_MORE))
				p->receiving = false;
			io_uring_cqe_seen(&u->ring, cqe);
		}
	}
	return !is_under_way(t);
}

void tcp_uring_stop(struct tcp_lane *t)
{
	struct tcp_uring *u = t->uring;
	bool finished = true;

	if (!u)
		return;
	if (u->open) {
		finished = finish(t);
		io_uring_queue_exit(&u->ring);
	}
	if (u->entries)
		munmap(u->entries, ENTRIES_BYTES);
	if (u->buffers && finished) /* better some memory lost than some overwritten */
		munmap(u->buffers, (size_t)BUFFERS * BUFFER_BYTES);
	free(u);
	t->uring = NULL;
}

static void uring_free(struct net_lane *lane)
{
	tcp_destroy(tcp_of(lane), true);
}

const struct net_ops tcp_uring_ops = {
	.name = "tcp-uring",
	.send = uring_send,
	.queue = uring_queue,
	.flush = uring_flush,
	.reserve = tcp_reserve,
	.payload_max = WIRE_RUN_PAYLOAD_MAX,
	.poll = uring_poll,
	.fd = uring_fd,
	.free = uring_free,
};
