/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to net/rdma*.c: a connection, what its lane shares on a device, and the lane. Connections are made by rdma_cm.c and
 * rdma_conn.c on the way to a machine, taken over by the lane (rdma.c; rdma_send.c sends), ended by either with rdma_conn_close.
 */
#ifndef NET_RDMA_PRIV_H
#define NET_RDMA_PRIV_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>

#include "base/log.h"
#include "net/rdma.h"
#include "net/rdma_frame.h"
#include "net/ring.h"

#define RDMA_PORTS_MAX 4u /* devices that one lane uses */
#define RDMA_LANES_MAX (1 + WIRE_SHARDS_MAX)

/* Which completion makes the channel readable next. */
enum rdma_armed {
	RDMA_UNARMED,
	RDMA_ARMED_RECEIVES, /* a frame that came, or an error */
	RDMA_ARMED_ALL,      /* also one of ours that was completed */
};

/* One device as a lane uses it: the completions of all connections over it. */
struct rdma_port {
	struct ibv_context *verbs; /* librdmacm's */
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	enum rdma_armed armed;
};

struct rdma_ports {
	unsigned n;
	struct rdma_port port[RDMA_PORTS_MAX];
};

/* work requests carry this in wr_id: the peer, whether a receive, the buffer */
#define RDMA_WR_RECV ((uint64_t)1 << 32)
static inline uint64_t rdma_wr_id(node_t peer, bool recv, uint32_t buffer)
{
	return (uint64_t)peer << 33 | (recv ? RDMA_WR_RECV : 0) | buffer;
}

/*
 * A connection: one lane to one peer. Its memory is one mapping of two registrations, so that the peer's key opens its slots and
 * nothing else:
 *
 *   slots in (the peer writes) | receives | frames out | slots out
 */
struct rdma_conn {
	struct rdma_cm_id *id; /* NULL: there is none */
	struct rdma_port *port;
	struct rdma_hello ours, theirs; /* ours: depth and slots of all arrays here */
	uint8_t *memory;
	size_t memory_bytes;
	struct ibv_mr *slots_mr, *rest_mr;
	uint8_t *slots_in, *receives, *frames, *slots_out;
	uint32_t inline_max; /* a SEND up to this may be inline; 0: the device has none */
	bool up;             /* both ends are connected */
};

/* How many receives and slots a connection has, for so many nodes. */
void rdma_sizes(node_t nodes, unsigned lane, uint16_t *depth, uint16_t *slots);
/* Makes memory, queue pair and posted receives for conn->id, which has a device. -errno and *why; conn stays to be closed. */
CHECKED int rdma_conn_prepare(struct rdma_conn *conn, struct rdma_ports *ports, node_t self, node_t peer, node_t nodes,
			      unsigned lane, struct net_why *why);
int rdma_conn_post_recv(struct rdma_conn *conn, node_t peer, uint32_t buffer);
/* Everything of it; its id's events must have been acknowledged. */
void rdma_conn_close(struct rdma_conn *conn);
void rdma_ports_close(struct rdma_ports *ports);

/* For connections that the kernel may not give back now (rdma_hold.c): this process can end, and leaves them to another that waits.
 * Nothing of them may be destroyed before or after this. Where there cannot be another process, the end waits as ever. */
void rdma_hold(const struct rdma_ports *ports, const struct rdma_event_channel *cm);

/* What rdma_lane_new takes over. */
struct rdma_links {
	node_t self, nodes;
	unsigned lanes;
	struct rdma_here here;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	struct rdma_ports ports[RDMA_LANES_MAX];
	struct rdma_conn *conn[RDMA_LANES_MAX]; /* [nodes] each */
	char route[RDMA_ROUTE_BYTES];
	struct log_limit turned_away;
};

/*
 * Another node, as one lane sees it. Life, as in tcp.c: connected --> broken (by a sender or by poll; the first reason stays) -->
 * gone (by poll, which tells sink->lost). Only the polling thread closes.
 */
struct rdma_peer {
	node_t node;
	bool rdma;           /* false: over its socket; nothing below is used but fd */
	bool gone;           /* the polling thread's */
	int fd;              /* the tcp lane's socket; -1: closed, or there is none */
	_Atomic bool broken; /* set under the mutex, once */
	int err;             /* why */
	char why[160];

	/* under the mutex */
	struct rdma_conn conn;
	struct rdma_flow flow;
	struct rdma_writer open;           /* a frame that is not yet posted, */
	bool has_open;                     /* if there is one */
	uint32_t unsignalled;              /* frames since the last one whose completion is told, */
	uint32_t slots_signalled;          /* and flow.slots_sent with that one */
	uint32_t slots_at[RDMA_DEPTH_MAX]; /* [flow.depth] flow.slots_sent when the frame in that buffer was posted */
	struct ring out;                   /* messages that wait for receives, slots or buffers */
};

struct rdma_lane {
	struct net_lane lane;
	struct net_lane *tcp;
	struct net_sink tcp_sink;
	struct net_sink *sink; /* while it is polled */
	bool shared_sender;    /* lane 0 */
	bool has_tcp_peers;
	int epoll, wake_fd;
	struct rdma_event_channel *cm;
	struct rdma_ports ports;
	uint64_t spin_ns, last_ns;
	bool spinning; /* wake_fd is readable for it */
	unsigned polls;
	uint8_t *scratch; /* WIRE_PAYLOAD_MAX: a message out of a slot of lane 0, which its sender could still change */
	pthread_mutex_t mutex;
	/* under the mutex */
	bool deferring;          /* what is sent now goes out together: when a frame has been handled, or with net_flush */
	uint64_t dirty;          /* peers with a frame that was deferred */
	struct rdma_peer peer[]; /* lane.nodes */
};

static inline void rdma_lock(struct rdma_lane *l)
{
	if (l->shared_sender)
		pthread_mutex_lock(&l->mutex);
}

static inline void rdma_unlock(struct rdma_lane *l)
{
	if (l->shared_sender)
		pthread_mutex_unlock(&l->mutex);
}

/* Acquire pairs with rdma_break_locked's release: who sees `broken` sees err and why. */
static inline bool rdma_is_broken(const struct rdma_peer *p)
{
	return atomic_load_explicit(&p->broken, memory_order_acquire);
}

void rdma_break_locked(struct rdma_lane *l, struct rdma_peer *p, int err, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* rdma_send.c */
int rdma_send_locked(struct rdma_lane *l, struct rdma_peer *p, const struct wire_hdr *hdr, const void *payload);
/* Posts what can go out: the open frame, what waits in the ring, acknowledgements that are owed. */
void rdma_settle_locked(struct rdma_lane *l, struct rdma_peer *p);
/* Whether p waits for completions of its own. */
bool rdma_waits_locked(const struct rdma_peer *p);
/* After all that was posted: a request whose completion tells that the peer's device has it all. False: it cannot be posted. */
bool rdma_post_last_locked(struct rdma_peer *p);
#define RDMA_WR_LAST ((uint64_t)1 << 62)

#endif
