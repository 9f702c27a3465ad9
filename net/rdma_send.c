/* SPDX-License-Identifier: Apache-2.0 */
/* The way out of an RDMA lane: messages into frames and slots, frames to the device. All under the lane's mutex. */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/rdma_priv.h"
#include "net/tcp.h"

/* The poller looks again: at completions that it did not wait for, or at a peer that is broken. */
static void wake(struct rdma_lane *l)
{
	uint64_t one = 1;
	ssize_t n = write(l->wake_fd, &one, sizeof(one));
	(void)n; /* an eventfd takes it unless it is about to overflow, and then it is readable */
}

void rdma_break_locked(struct rdma_lane *l, struct rdma_peer *p, int err, const char *fmt, ...)
{
	va_list ap;

	if (rdma_is_broken(p))
		return;
	p->err = err;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	atomic_store_explicit(&p->broken, true, memory_order_release);
	wake(l);
}

/* F1, F3: the caller has asked rdma_flow_may_send. */
static void begin(struct rdma_peer *p)
{
	rdma_writer_begin(&p->open, p->conn.frames + (size_t)(p->flow.sent % p->flow.depth) * RDMA_FRAME_BYTES);
	p->has_open = true;
}

/* Whether the completion of the frame just ended is asked for: of one in a few, but so that buffers and slots never all wait for
 * one that was not. */
static bool tells(struct rdma_peer *p)
{
	if (++p->unsignalled < p->flow.depth / 4 && p->flow.slots_sent - p->slots_signalled < MAX(p->flow.slots / 4, 1) &&
	    !p->out.used)
		return false;
	p->unsignalled = 0;
	p->slots_signalled = p->flow.slots_sent;
	return true;
}

/* The open frame to the device, rdma_frame.h: the WRITEs of its payloads, the last with the frame behind it; or a SEND of it. */
static int post_open(struct rdma_lane *l, struct rdma_peer *p)
{
	struct ibv_send_wr wr[RDMA_FRAME_SLOTS_MAX], *last, *bad;
	struct ibv_sge sge[RDMA_FRAME_SLOTS_MAX + 1];
	struct rdma_conn *conn = &p->conn;
	unsigned lane = l->lane.lane;
	uint32_t buffer = p->flow.sent % p->flow.depth, i, imm, len = 0;
	bool brief = rdma_writer_is_brief(&p->open, &p->flow, &imm);

	if (brief)
		rdma_writer_end_brief(&p->flow);
	else
		len = rdma_writer_end(&p->open, &p->flow);
	bool tell = tells(p);

	p->has_open = false;
	p->slots_at[buffer] = p->flow.slots_sent;
	for (i = 0; i < p->open.slots; i++) {
		uint32_t slot = p->open.write[i].slot, bytes = p->open.write[i].len;

		sge[i] = (struct ibv_sge){.addr = (uintptr_t)conn->slots_out + (size_t)slot * conn->ours.slot_bytes,
					  .length = bytes,
					  .lkey = conn->rest_mr->lkey};
		wr[i] = (struct ibv_send_wr){
			.wr_id = rdma_wr_id(p->node, false, p->flow.sent),
			.next = &wr[i + 1],
			.sg_list = &sge[i],
			.num_sge = 1,
			.opcode = IBV_WR_RDMA_WRITE,
			.wr.rdma = {.remote_addr = conn->theirs.slots_addr + rdma_slot_at(lane, slot, bytes),
				    .rkey = conn->theirs.slots_key},
		};
	}
	sge[i] = (struct ibv_sge){.addr = (uintptr_t)p->open.bytes, .length = len, .lkey = conn->rest_mr->lkey};
	if (i) {
		last = &wr[i - 1];
		last->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
		last->imm_data = htobe32(brief ? imm : rdma_imm_make(p->open.write[i - 1].slot, len));
		last->num_sge = brief ? 1 : 2; /* and sge[i] */
	} else {
		last = &wr[0];
		*last = (struct ibv_send_wr){
			.wr_id = rdma_wr_id(p->node, false, p->flow.sent), .sg_list = sge, .num_sge = 1, .opcode = IBV_WR_SEND};
		last->send_flags = len <= conn->inline_max ? IBV_SEND_INLINE : 0u;
	}
	last->next = NULL;
	last->send_flags |= IBV_SEND_SOLICITED | (tell ? IBV_SEND_SIGNALED : 0u);
	int err = ibv_post_send(conn->id->qp, wr, &bad);
	if (err)
		rdma_break_locked(l, p, -err, "the RDMA device does not take what is sent to node %u: %s", p->node, strerror(err));
	return -err;
}

/* Into the open frame, or a new one. 0; -EAGAIN: there is no receive, slot or buffer for it now; -errno. */
static int append(struct rdma_lane *l, struct rdma_peer *p, const struct wire_hdr *hdr, const void *payload)
{
	for (;;) {
		int err;

		if (!p->has_open) {
			if (!rdma_flow_may_send(&p->flow, true))
				return -EAGAIN;
			begin(p);
		}
		uint16_t slots = p->open.slots;
		if (rdma_writer_add(&p->open, &p->flow, hdr, payload)) {
			if (p->open.slots > slots)
				memcpy(p->conn.slots_out + (size_t)p->open.write[slots].slot * p->conn.ours.slot_bytes, payload,
				       hdr->len);
			return 0;
		}
		if (p->open.records == 0) { /* it would fit: so there is no slot */
			p->has_open = false;
			return -EAGAIN;
		}
		err = post_open(l, p);
		if (err)
			return err;
	}
}

static int queue(struct rdma_lane *l, struct rdma_peer *p, const struct wire_hdr *hdr, const void *payload)
{
	uint8_t *at = ring_reserve(&p->out, WIRE_HDR_BYTES + hdr->len);

	if (!at) {
		rdma_break_locked(l, p, -ENOBUFS, "node %u does not read: %zu MiB wait for it", p->node, TCP_OUT_BYTES >> 20);
		return -ENOBUFS;
	}
	wire_hdr_encode(hdr, at);
	if (hdr->len)
		memcpy(at + WIRE_HDR_BYTES, payload, hdr->len);
	ring_commit(&p->out, WIRE_HDR_BYTES + hdr->len);
	wake(l); /* it may be waiting for receives only */
	return 0;
}

int rdma_send_locked(struct rdma_lane *l, struct rdma_peer *p, const struct wire_hdr *hdr, const void *payload)
{
	int err;

	if (p->gone || rdma_is_broken(p))
		return -ENOTCONN;
	err = p->out.used ? -EAGAIN : append(l, p, hdr, payload);
	if (err == -EAGAIN)
		return queue(l, p, hdr, payload);
	if (err)
		return err;
	if (!l->deferring)
		return p->has_open ? post_open(l, p) : 0;
	l->dirty |= (uint64_t)1 << p->node;
	return 0;
}

static void flush(struct rdma_lane *l, struct rdma_peer *p)
{
	while (p->out.used && !rdma_is_broken(p)) {
		const uint8_t *front = ring_front(&p->out);
		struct wire_hdr hdr;

		memcpy(&hdr, front, sizeof(hdr)); /* ours: queue() wrote it */
		if (append(l, p, &hdr, front + WIRE_HDR_BYTES))
			break;
		ring_take(&p->out, WIRE_HDR_BYTES + hdr.len);
	}
}

void rdma_settle_locked(struct rdma_lane *l, struct rdma_peer *p)
{
	if (p->gone || rdma_is_broken(p))
		return;
	flush(l, p);
	if (!p->has_open && rdma_flow_owes(&p->flow) && rdma_flow_may_send(&p->flow, false))
		begin(p);
	if (p->has_open && !rdma_is_broken(p) && post_open(l, p))
		return; /* it is broken */
}

bool rdma_waits_locked(const struct rdma_peer *p)
{
	return !p->gone && (p->out.used || rdma_flow_owes(&p->flow));
}

bool rdma_post_last_locked(struct rdma_peer *p)
{
	struct ibv_send_wr *bad, wr = {
					 .wr_id = RDMA_WR_LAST | rdma_wr_id(p->node, false, 0),
					 .opcode = IBV_WR_RDMA_WRITE,
					 .send_flags = IBV_SEND_SIGNALED,
					 .wr.rdma = {.remote_addr = p->conn.theirs.slots_addr, .rkey = p->conn.theirs.slots_key},
				 };

	return ibv_post_send(p->conn.id->qp, &wr, &bad) == 0;
}
