/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's own: registered memory, queue pair, receives. Every limit is asked of the device. */
#include "net/rdma_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define DEPTH_FEW   32u /* up to FEW_NODES nodes; with more, what is pinned would grow with their square in the cluster */
#define DEPTH_MANY  16u
#define FEW_NODES   8u
#define SLOTS_WIDE  2u /* of the control lane: its slots are long and its long messages rare */
#define SPARE_WR    2u
#define INLINE_WANT 256u

void rdma_sizes(node_t nodes, unsigned lane, uint16_t *depth, uint16_t *slots)
{
	*depth = nodes <= FEW_NODES ? DEPTH_FEW : DEPTH_MANY;
	*slots = lane == 0 ? SLOTS_WIDE : *depth;
}

/* Work requests of one connection to send: frames, the WRITEs before them, and the last one (rdma.c). */
static uint32_t send_wr(const struct rdma_hello *ours)
{
	return (uint32_t)ours->depth + ours->slots + SPARE_WR;
}

/* Halves what is wanted until the device can. */
static int fit(struct ibv_context *verbs, node_t nodes, unsigned lane, struct rdma_hello *ours, int *entries, struct net_why *why)
{
	struct ibv_device_attr device;
	int err = ibv_query_device(verbs, &device);

	if (err)
		return net_fail(why, -err, "the RDMA device %s does not tell its limits: %s", ibv_get_device_name(verbs->device),
				strerror(err));
	rdma_sizes(nodes, lane, &ours->depth, &ours->slots);
	for (;;) {
		uint64_t need = (uint64_t)(nodes - 1) * (send_wr(ours) + ours->depth);

		if (send_wr(ours) <= (uint32_t)device.max_qp_wr && need <= (uint64_t)device.max_cqe) {
			*entries = (int)need;
			return 0;
		}
		ours->depth /= 2;
		ours->slots = (uint16_t)MAX(ours->slots / 2, 1);
		if (ours->depth < RDMA_DEPTH_MIN)
			return net_fail(why, -E2BIG,
					"the RDMA device %s is too small for %u nodes: %d work requests, %d completions",
					ibv_get_device_name(verbs->device), nodes, device.max_qp_wr, device.max_cqe);
	}
}

static int out_of(struct net_why *why, const struct ibv_context *verbs, const char *what, int err)
{
	return net_fail(why, -err, "the RDMA device %s gives no more %s: %s", ibv_get_device_name(verbs->device), what,
			strerror(err));
}

static int port_of(struct rdma_ports *ports, struct ibv_context *verbs, int entries, struct rdma_port **out, struct net_why *why)
{
	struct rdma_port *port = &ports->port[ports->n];

	for (unsigned i = 0; i < ports->n; i++)
		if (ports->port[i].verbs == verbs) {
			*out = &ports->port[i];
			return 0;
		}
	if (ports->n == RDMA_PORTS_MAX)
		return net_fail(why, -E2BIG, "the other nodes are reached by more than %u RDMA devices", RDMA_PORTS_MAX);
	ports->n++; /* what there is of it is closed by rdma_ports_close */
	*port = (struct rdma_port){.verbs = verbs};
	port->pd = ibv_alloc_pd(verbs);
	if (!port->pd)
		return out_of(why, verbs, "protection domains", errno);
	port->channel = ibv_create_comp_channel(verbs);
	if (!port->channel)
		return out_of(why, verbs, "completion channels", errno);
	port->cq = ibv_create_cq(verbs, entries, NULL, port->channel, 0);
	if (!port->cq)
		return out_of(why, verbs, "completion queues", errno);
	*out = port;
	return 0;
}

void rdma_ports_close(struct rdma_ports *ports)
{
	for (unsigned i = 0; i < ports->n; i++) {
		struct rdma_port *port = &ports->port[i];

		if (port->cq)
			ibv_destroy_cq(port->cq);
		if (port->channel)
			ibv_destroy_comp_channel(port->channel);
		if (port->pd)
			ibv_dealloc_pd(port->pd);
	}
	ports->n = 0;
}

static int memory_error(struct net_why *why, int err)
{
	struct rlimit lock = {0};

	getrlimit(RLIMIT_MEMLOCK, &lock);
	if (err == ENOMEM || err == EAGAIN)
		return net_fail(
			why, -err,
			"memory cannot be locked for RDMA (the limit here is %llu KiB; raise it: ulimit -l unlimited, for good in "
			"/etc/security/limits.conf)",
			(unsigned long long)lock.rlim_cur >> 10);
	return net_fail(why, -err, "memory cannot be registered for RDMA: %s", strerror(err));
}

static int make_memory(struct rdma_conn *conn, struct net_why *why)
{
	size_t slots_in = (size_t)conn->ours.slots * rdma_slot_stride(conn->ours.lane);
	size_t slots_out = (size_t)conn->ours.slots * conn->ours.slot_bytes;
	size_t frames = (size_t)conn->ours.depth * RDMA_FRAME_BYTES;
	void *memory;

	conn->memory_bytes = slots_in + slots_out + 2 * frames;
	memory = mmap(NULL, conn->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return memory_error(why, errno);
	conn->memory = memory;
	conn->slots_in = conn->memory;
	conn->receives = conn->slots_in + slots_in;
	conn->frames = conn->receives + frames;
	conn->slots_out = conn->frames + frames;
	conn->slots_mr = ibv_reg_mr(conn->port->pd, conn->slots_in, slots_in, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!conn->slots_mr)
		return memory_error(why, errno);
	conn->rest_mr = ibv_reg_mr(conn->port->pd, conn->receives, slots_out + 2 * frames, IBV_ACCESS_LOCAL_WRITE);
	if (!conn->rest_mr)
		return memory_error(why, errno);
	conn->ours.slots_addr = (uintptr_t)conn->slots_in;
	conn->ours.slots_key = conn->slots_mr->rkey;
	return 0;
}

static int make_qp(struct rdma_conn *conn, struct net_why *why)
{
	int err = 0;

	for (uint32_t want = INLINE_WANT;; want = 0) { /* a device without inline data may refuse to be asked for it */
		struct ibv_qp_init_attr attr = {
			.send_cq = conn->port->cq,
			.recv_cq = conn->port->cq,
			.qp_type = IBV_QPT_RC,
			.cap = {.max_send_wr = send_wr(&conn->ours),
				.max_recv_wr = conn->ours.depth,
				.max_send_sge = 2, /* a payload, its frame */
				.max_recv_sge = 1,
				.max_inline_data = want},
		};

		if (rdma_create_qp(conn->id, conn->port->pd, &attr) == 0) {
			conn->inline_max = attr.cap.max_inline_data;
			return 0;
		}
		err = errno;
		if (want == 0)
			return out_of(why, conn->id->verbs, "queue pairs", err);
	}
}

int rdma_conn_post_recv(struct rdma_conn *conn, node_t peer, uint32_t buffer)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)conn->receives + (size_t)buffer * RDMA_FRAME_BYTES,
		.length = RDMA_FRAME_BYTES,
		.lkey = conn->rest_mr->lkey,
	};
	struct ibv_recv_wr *bad, wr = {.wr_id = rdma_wr_id(peer, true, buffer), .sg_list = &sge, .num_sge = 1};

	return -ibv_post_recv(conn->id->qp, &wr, &bad);
}

int rdma_conn_prepare(struct rdma_conn *conn, struct rdma_ports *ports, node_t self, node_t peer, node_t nodes, unsigned lane,
		      struct net_why *why)
{
	int rc, entries = 0;

	rdma_hello_make(self, lane, NULL, &conn->ours);
	rc = fit(conn->id->verbs, nodes, lane, &conn->ours, &entries, why);
	if (!rc)
		rc = port_of(ports, conn->id->verbs, entries, &conn->port, why);
	if (!rc)
		rc = make_memory(conn, why);
	if (!rc)
		rc = make_qp(conn, why);
	for (uint32_t i = 0; i < conn->ours.depth && !rc; i++) {
		rc = rdma_conn_post_recv(conn, peer, i);
		if (rc)
			net_fail(why, rc, "a receive cannot be posted: %s", strerror(-rc));
	}
	return rc;
}

void rdma_conn_close(struct rdma_conn *conn)
{
	if (conn->id) {
		if (conn->up)
			rdma_disconnect(conn->id);
		if (conn->id->qp)
			rdma_destroy_qp(conn->id);
	}
	if (conn->slots_mr)
		ibv_dereg_mr(conn->slots_mr);
	if (conn->rest_mr)
		ibv_dereg_mr(conn->rest_mr);
	if (conn->memory)
		munmap(conn->memory, conn->memory_bytes);
	if (conn->id)
		rdma_destroy_id(conn->id);
	*conn = (struct rdma_conn){0};
}
