/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rdma_frame.h"

#include <errno.h>
#include <string.h>

#define MAGIC 0x32524750u /* "PGR2" */

/* At the begin of each frame. */
struct head {
	uint32_t frames_ack, slots_ack;
	uint16_t records;
	uint16_t bytes; /* of the whole frame */
	uint32_t reserved;
};
static_assert(sizeof(struct head) == RDMA_FRAME_HEAD_BYTES, "head");

/* Before each message. */
struct record_head {
	uint16_t slot; /* or RDMA_SLOT_NONE: the payload follows the header */
	uint16_t reserved[3];
};
static_assert(sizeof(struct record_head) == RDMA_RECORD_BYTES, "record_head");
static_assert(RDMA_FRAME_BYTES >= RDMA_FRAME_HEAD_BYTES + RDMA_RECORD_BYTES + WIRE_HDR_BYTES + RDMA_INLINE_MAX,
	      "any message must fit an empty frame");
static_assert(RDMA_DEPTH_MAX < RDMA_SLOT_NONE, "slots");
/* A difference is checked and then used: its sender must not be able to change it in between. */
static_assert(RDMA_INLINE_MAX >= WIRE_DELTA_MAX, "a difference must not lie in a slot");

uint32_t rdma_slot_bytes(unsigned lane)
{
	return wire_lane_kind(lane) == WIRE_LANE_CONTROL ? WIRE_PAYLOAD_MAX : WIRE_DSM_PAYLOAD_MAX;
}

uint32_t rdma_slot_stride(unsigned lane)
{
	return rdma_slot_bytes(lane) + RDMA_FRAME_BYTES;
}

size_t rdma_slot_at(unsigned lane, uint32_t slot, uint32_t len)
{
	assert(len <= rdma_slot_bytes(lane));
	return (size_t)slot * rdma_slot_stride(lane) + rdma_slot_bytes(lane) - len;
}

uint32_t rdma_imm_make(uint32_t slot, uint32_t frame_bytes)
{
	return slot << 16 | frame_bytes;
}

int rdma_imm_parse(uint32_t imm, uint32_t written, const struct rdma_flow *flow, unsigned lane, uint32_t *slot,
		   uint32_t *frame_bytes)
{
	uint32_t in_slot = imm >> 16, bytes = imm & 0xffff;

	if (in_slot >= flow->slots)
		return -EBADMSG;
	if (bytes < RDMA_FRAME_HEAD_BYTES || bytes > RDMA_FRAME_BYTES || written <= bytes ||
	    written - bytes > rdma_slot_bytes(lane))
		return -EMSGSIZE;
	*slot = in_slot;
	*frame_bytes = bytes;
	return 0;
}

void rdma_hello_make(node_t from, unsigned lane, const uint8_t *token, struct rdma_hello *hello)
{
	*hello = (struct rdma_hello){
		.magic = MAGIC, .from = (uint16_t)from, .lane = (uint16_t)lane, .slot_bytes = rdma_slot_bytes(lane)};
	if (token)
		memcpy(hello->token, token, sizeof(hello->token));
}

int rdma_hello_parse(const uint8_t *bytes, size_t len, unsigned lanes, struct rdma_hello *hello)
{
	struct rdma_hello in;

	if (!bytes || len < sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.magic != MAGIC)
		return -EPROTO;
	if (in.from >= NODES_MAX || in.lane >= lanes || in.slots == 0 || in.slots > RDMA_DEPTH_MAX || in.depth < RDMA_DEPTH_MIN ||
	    in.depth > RDMA_DEPTH_MAX || in.slot_bytes != rdma_slot_bytes(in.lane) || in.reserved)
		return -EBADMSG;
	*hello = in;
	return 0;
}

bool rdma_token_equal(const uint8_t *a, const uint8_t *b)
{
	unsigned differ = 0;

	for (size_t i = 0; i < WIRE_RDMA_TOKEN_BYTES; i++)
		differ |= (unsigned)a[i] ^ b[i];
	return differ == 0;
}

/* ---- bookkeeping ---- */

void rdma_flow_init(struct rdma_flow *flow, const struct rdma_hello *ours, const struct rdma_hello *theirs)
{
	*flow = (struct rdma_flow){.depth = MIN(ours->depth, theirs->depth), .slots = MIN(ours->slots, theirs->slots)};
}

bool rdma_flow_may_send(const struct rdma_flow *flow, bool records)
{
	uint32_t limit = records ? flow->depth - 1 : flow->depth;

	return flow->sent - flow->sent_acked < limit && flow->sent - flow->sent_done < flow->depth;
}

bool rdma_flow_has_slot(const struct rdma_flow *flow)
{
	return flow->slots_sent - flow->slots_acked < flow->slots && flow->slots_sent - flow->slots_done < flow->slots;
}

bool rdma_flow_owes(const struct rdma_flow *flow)
{
	return flow->got - flow->got_told >= flow->depth / 2 || flow->slots_got - flow->slots_told >= (flow->slots + 1) / 2;
}

void rdma_flow_done(struct rdma_flow *flow, uint32_t frames, uint32_t slots)
{
	flow->sent_done = frames;
	flow->slots_done = slots;
}

/* ---- brief frames ---- */

/*
 * Bit:  31   30..25            24..18                     17..14   13..0
 *       1    which request     acknowledgements to await  flags    sequence number, from that of the request on
 */
#define BRIEF            (UINT32_C(1) << 31) /* no slot has that bit */
#define BRIEF_ASK_SHIFT  25
#define BRIEF_ACKS_SHIFT 18
#define BRIEF_FLAG_SHIFT 14
#define BRIEF_FLAGS      16u
#define BRIEF_SEQS       (UINT32_C(1) << BRIEF_FLAG_SHIFT)
static_assert((RDMA_DEPTH_MAX << 16 & BRIEF) == 0 && RDMA_ASKED == 1 << (31 - BRIEF_ASK_SHIFT) &&
		      NODES_MAX < 1 << (BRIEF_ASK_SHIFT - BRIEF_ACKS_SHIFT) &&
		      BRIEF_FLAGS == 1 << (BRIEF_ACKS_SHIFT - BRIEF_FLAG_SHIFT),
	      "brief");

/* Of a frame that had a request before or not. */
static void note(struct rdma_asked *asked, const struct wire_hdr *hdr, bool *asks)
{
	if (*asks || (hdr->type != WIRE_REQ_READ && hdr->type != WIRE_REQ_WRITE))
		return;
	asked->hdr[asked->n++ % RDMA_ASKED] = *hdr;
	*asks = true;
}

/* The answer to a request, if it is a page. */
static struct wire_hdr answer_to(const struct wire_hdr *request, uint8_t flags, uint16_t acks, uint32_t later)
{
	return (struct wire_hdr){.type = WIRE_DATA,
				 .flags = flags,
				 .epoch = request->epoch,
				 .len = PAGE_BYTES,
				 .arg = request->arg,
				 .seq = request->seq + later,
				 .acks = acks,
				 .node = request->node};
}

bool rdma_writer_is_brief(const struct rdma_writer *w, const struct rdma_flow *flow, uint32_t *imm)
{
	uint32_t known = MIN(flow->asked_us.n, RDMA_ASKED - MIN(flow->depth, RDMA_ASKED)); /* F5 */
	struct wire_hdr hdr, want;

	if (w->records != 1 || w->slots != 1 || flow->got - flow->got_told >= flow->depth / 4 ||
	    flow->slots_got - flow->slots_told >= MAX(flow->slots / 4, 1))
		return false;
	memcpy(&hdr, w->bytes + RDMA_FRAME_HEAD_BYTES + RDMA_RECORD_BYTES, sizeof(hdr)); /* ours: wire_hdr_encode wrote it */
	uint8_t flags = hdr.flags & ~WIRE_F_AHEAD & 0xff;                                /* which is for who sends */
	for (uint32_t back = 1; back <= known && flags < BRIEF_FLAGS; back++) {
		uint32_t at = (flow->asked_us.n - back) % RDMA_ASKED;
		uint32_t later = hdr.seq - flow->asked_us.hdr[at].seq;

		want = answer_to(&flow->asked_us.hdr[at], hdr.flags, hdr.acks, later);
		if (later >= BRIEF_SEQS || memcmp(&hdr, &want, sizeof(hdr)) != 0)
			continue;
		*imm = BRIEF | at << BRIEF_ASK_SHIFT | (uint32_t)hdr.acks << BRIEF_ACKS_SHIFT |
		       (uint32_t)flags << BRIEF_FLAG_SHIFT | later;
		return true;
	}
	return false;
}

void rdma_writer_end_brief(struct rdma_flow *flow)
{
	assert(rdma_flow_may_send(flow, true)); /* F1 */
	flow->sent++;
}

bool rdma_imm_is_brief(uint32_t imm)
{
	return imm & BRIEF;
}

int rdma_brief_make(uint32_t imm, uint32_t written, const struct rdma_flow *flow, uint8_t bytes[RDMA_BRIEF_BYTES])
{
	struct head head = {
		.frames_ack = flow->sent_acked, .slots_ack = flow->slots_acked, .records = 1, .bytes = RDMA_BRIEF_BYTES};
	struct record_head record = {.slot = (uint16_t)(flow->slots_got % flow->slots)};
	uint32_t at = (imm & ~BRIEF) >> BRIEF_ASK_SHIFT;
	struct wire_hdr hdr;

	if (written != PAGE_BYTES)
		return -EMSGSIZE;
	if (at >= MIN(flow->asked.n, RDMA_ASKED))
		return -EBADMSG;
	hdr = answer_to(&flow->asked.hdr[at], imm >> BRIEF_FLAG_SHIFT & (BRIEF_FLAGS - 1), imm >> BRIEF_ACKS_SHIFT & 0x7f,
			imm & (BRIEF_SEQS - 1));
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &record, sizeof(record));
	wire_hdr_encode(&hdr, bytes + sizeof(head) + sizeof(record));
	return 0;
}

/* ---- frames out ---- */

void rdma_writer_begin(struct rdma_writer *w, uint8_t *bytes)
{
	w->bytes = bytes;
	w->used = RDMA_FRAME_HEAD_BYTES;
	w->records = 0;
	w->slots = 0;
	w->asks = false;
}

bool rdma_writer_add(struct rdma_writer *w, struct rdma_flow *flow, const struct wire_hdr *hdr, const void *payload)
{
	bool in_slot = hdr->len > RDMA_INLINE_MAX;
	uint32_t need = RDMA_RECORD_BYTES + WIRE_HDR_BYTES + (in_slot ? 0 : hdr->len);
	struct record_head head = {.slot = RDMA_SLOT_NONE};

	if (need > RDMA_FRAME_BYTES - w->used)
		return false;
	if (in_slot) {
		if (w->slots == RDMA_FRAME_SLOTS_MAX || !rdma_flow_has_slot(flow))
			return false;
		head.slot = (uint16_t)(flow->slots_sent++ % flow->slots); /* F2 */
		w->write[w->slots].slot = head.slot;
		w->write[w->slots++].len = hdr->len;
	}
	memcpy(w->bytes + w->used, &head, sizeof(head));
	wire_hdr_encode(hdr, w->bytes + w->used + RDMA_RECORD_BYTES);
	if (!in_slot && hdr->len)
		memcpy(w->bytes + w->used + RDMA_RECORD_BYTES + WIRE_HDR_BYTES, payload, hdr->len);
	w->used += need;
	w->records++;
	note(&flow->asked, hdr, &w->asks);
	return true;
}

uint32_t rdma_writer_end(struct rdma_writer *w, struct rdma_flow *flow)
{
	struct head head = {
		.frames_ack = flow->got, .slots_ack = flow->slots_got, .records = w->records, .bytes = (uint16_t)w->used};

	assert(rdma_flow_may_send(flow, w->records != 0)); /* F1 */
	memcpy(w->bytes, &head, sizeof(head));
	flow->got_told = flow->got;
	flow->slots_told = flow->slots_got;
	flow->sent++;
	return w->used;
}

/* ---- frames in ---- */

int rdma_reader_begin(struct rdma_reader *r, struct rdma_flow *flow, const uint8_t *bytes, uint32_t len)
{
	struct head head;

	if (len < sizeof(head) || len > RDMA_FRAME_BYTES)
		return -EMSGSIZE;
	memcpy(&head, bytes, sizeof(head));
	if (head.bytes != len)
		return -EMSGSIZE;
	if (head.reserved || head.frames_ack - flow->sent_acked > flow->sent - flow->sent_acked ||
	    head.slots_ack - flow->slots_acked > flow->slots_sent - flow->slots_acked)
		return -EBADMSG;
	flow->sent_acked = head.frames_ack;
	flow->slots_acked = head.slots_ack;
	*r = (struct rdma_reader){.bytes = bytes, .len = len, .at = sizeof(head), .left = head.records};
	return 0;
}

int rdma_reader_next(struct rdma_reader *r, struct rdma_flow *flow, enum wire_lane lane, struct rdma_record *record)
{
	struct record_head head;
	int err;

	if (r->in_slot)
		flow->slots_got++;
	r->in_slot = false;
	if (r->left == 0)
		return r->at == r->len ? 0 : -EMSGSIZE;
	if (r->len - r->at < RDMA_RECORD_BYTES + WIRE_HDR_BYTES)
		return -EMSGSIZE;
	memcpy(&head, r->bytes + r->at, sizeof(head));
	if (head.reserved[0] || head.reserved[1] || head.reserved[2])
		return -EBADMSG;
	err = wire_hdr_decode(r->bytes + r->at + RDMA_RECORD_BYTES, lane, &record->hdr);
	if (err)
		return err;
	r->at += RDMA_RECORD_BYTES + WIRE_HDR_BYTES;
	record->slot = head.slot;
	record->payload = NULL;
	if (record->hdr.len > (lane == WIRE_LANE_CONTROL ? WIRE_PAYLOAD_MAX : WIRE_DSM_PAYLOAD_MAX)) /* a run is for TCP */
		return -EMSGSIZE;
	if (record->hdr.len > RDMA_INLINE_MAX) {
		if (head.slot != flow->slots_got % flow->slots) /* F2 */
			return -EBADMSG;
		r->in_slot = true;
	} else {
		if (head.slot != RDMA_SLOT_NONE)
			return -EBADMSG;
		if (r->len - r->at < record->hdr.len)
			return -EMSGSIZE;
		record->payload = r->bytes + r->at;
		r->at += record->hdr.len;
	}
	r->left--;
	note(&flow->asked_us, &record->hdr, &r->asks);
	return 1;
}

void rdma_reader_end(struct rdma_flow *flow)
{
	flow->got++;
}
