/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two nodes put into RDMA: the private data of a connection, its frames, and the bookkeeping of both ends.
 * Pure: no I/O, no clock, no verbs; bytes of the peer are hostile.
 *
 * A connection carries one lane between two nodes. Each end has posted `depth` receives of RDMA_FRAME_BYTES and registered
 * `slots` staging slots, into which the other end alone may write.
 *
 *      sender                                                   receiver
 *      frame of short messages          == SEND ==>             receive buffer: messages in order, each with its payload
 *      payloads but the last, if more   == WRITE ==>            slots k, k + 1 ...
 *      last payload, frame behind it    == WRITE with imm. ==>  slot n; takes a receive, whose completion tells of the frame
 *      acks                 <== in any frame back ===           `frames_ack`, `slots_ack`: how many it has consumed so far
 *
 *      a slot:  |   (unused)   | payload | frame   |      the payload ends at rdma_slot_bytes; a record names its slot
 *
 * So a page with all that belongs to it is one work request, one completion and one acknowledgement of the device. A slot is
 * the peer's to write at any time: a frame is copied out of it before it is read.
 *
 * A page is a packet of the largest size that RDMA has, and any frame behind it another packet. Most pages answer a request that
 * came over the same connection, whose header tells all of theirs but the flags, the number of acknowledgements and how much later
 * the sequence number is: both ends remember the last RDMA_ASKED requests, and the immediate data of such an answer name one of
 * them and these three instead of a frame (a brief frame). The receiver makes the frame from that, which is then read like any
 * other. It acknowledges nothing, so not all are brief.
 *
 * F1 A frame is sent only when the other end has a receive for it: at most `depth` are unacknowledged, and the last one is kept for
 * a frame without records (so acknowledgements cannot wait for each other). A receiver is never not ready. F2 Slots are used in
 * turn: the n-th payload is in slot n % slots, and a record that names another is refused. F3 A buffer of ours is written again
 * only when the other end has acknowledged it and the device has completed it. F4 Whoever has consumed half of its receives or
 * slots without saying so sends a frame for that alone. Counters are of 32 bits and wrap.
 */
#ifndef NET_RDMA_FRAME_H
#define NET_RDMA_FRAME_H

#include "net/wire.h"

#define RDMA_FRAME_BYTES      2048u
#define RDMA_FRAME_HEAD_BYTES 16u
#define RDMA_RECORD_BYTES     8u    /* before the header of each message */
#define RDMA_INLINE_MAX       1024u /* a payload up to this is in the frame, a longer one in a slot */
#define RDMA_FRAME_SLOTS_MAX  8u    /* records with a slot, in a frame */
#define RDMA_HELLO_BYTES      56u   /* what librdmacm lets a connection request carry, RDMA_PS_TCP */
#define RDMA_DEPTH_MIN        4u
#define RDMA_DEPTH_MAX        1024u
#define RDMA_SLOT_NONE        0xffffu
#define RDMA_ASKED            64u
#define RDMA_BRIEF_BYTES      (RDMA_FRAME_HEAD_BYTES + RDMA_RECORD_BYTES + WIRE_HDR_BYTES) /* what a brief frame becomes */

/* The private data of a request and of its acceptance. The layout is the wire's: little-endian. */
struct rdma_hello {
	uint32_t magic;
	uint16_t from; /* the sender's node */
	uint16_t lane;
	uint8_t token[WIRE_RDMA_TOKEN_BYTES]; /* of the offer that this answers (wire_rdma); zero in an acceptance */
	uint64_t slots_addr;                  /* where the slots are, for a WRITE */
	uint32_t slots_key;
	uint16_t slots; /* [1, RDMA_DEPTH_MAX] */
	uint16_t depth; /* [RDMA_DEPTH_MIN, RDMA_DEPTH_MAX] */
	uint32_t slot_bytes;
	uint32_t reserved;
};
static_assert(sizeof(struct rdma_hello) == RDMA_HELLO_BYTES && offsetof(struct rdma_hello, token) == 8 &&
		      offsetof(struct rdma_hello, slots_addr) == 32 && offsetof(struct rdma_hello, slot_bytes) == 48,
	      "rdma_hello");

/* A longest payload of the lane. */
uint32_t rdma_slot_bytes(unsigned lane);
/* From one slot to the next. */
uint32_t rdma_slot_stride(unsigned lane);
/* Where the bytes that are written into slot `slot` begin, from the first slot on, if their payload has `len`. */
size_t rdma_slot_at(unsigned lane, uint32_t slot, uint32_t len);
/* The immediate data of a frame in a slot. */
uint32_t rdma_imm_make(uint32_t slot, uint32_t frame_bytes);

void rdma_hello_make(node_t from, unsigned lane, const uint8_t *token, struct rdma_hello *hello);
/* [bytes, bytes+len) may be longer: the device pads. -EMSGSIZE: shorter; -EPROTO: not the magic; -EBADMSG: a field out of its
 * range, another length of slots than this lane's. */
CHECKED int rdma_hello_parse(const uint8_t *bytes, size_t len, unsigned lanes, struct rdma_hello *hello);
/* In constant time. */
bool rdma_token_equal(const uint8_t *a, const uint8_t *b);

/*
 * Requests for pages that went one way, the first of each frame, counted in the order of the frames, which both ends see alike.
 * F5 An answer names none but the last RDMA_ASKED - depth that its sender has received: who asked has sent at most `depth` frames
 * more (F1), so the one that is named is still here.
 */
struct rdma_asked {
	struct wire_hdr hdr[RDMA_ASKED]; /* the n-th is at n % RDMA_ASKED */
	uint32_t n;
};

/* The bookkeeping of one end. */
struct rdma_flow {
	struct rdma_asked asked, asked_us;             /* by this end, by the peer */
	uint32_t depth, slots;                         /* the smaller of both ends' */
	uint32_t sent, sent_acked, sent_done;          /* frames of ours: sent, consumed by the peer, completed by the device */
	uint32_t slots_sent, slots_acked, slots_done;  /* slots of the peer that we wrote, likewise */
	uint32_t got, got_told, slots_got, slots_told; /* the peer's frames and slots that we consumed, and what we told of it */
};

void rdma_flow_init(struct rdma_flow *flow, const struct rdma_hello *ours, const struct rdma_hello *theirs);
/* F1, F3: whether a frame may be begun; with records or for acknowledgements alone. */
bool rdma_flow_may_send(const struct rdma_flow *flow, bool records);
bool rdma_flow_has_slot(const struct rdma_flow *flow);
/* F4 */
bool rdma_flow_owes(const struct rdma_flow *flow);
/* The device has completed the first `frames` frames and `slots` slots since the beginning. */
void rdma_flow_done(struct rdma_flow *flow, uint32_t frames, uint32_t slots);

/* The peer has written `written` bytes with these immediate data: which slot the frame, of *frame_bytes, is in. -EBADMSG: not one
 * of the slots; -EMSGSIZE: a length that no frame has, or no payload of this lane before it. */
CHECKED int rdma_imm_parse(uint32_t imm, uint32_t written, const struct rdma_flow *flow, unsigned lane, uint32_t *slot,
			   uint32_t *frame_bytes);

/* A frame being written into bytes[RDMA_FRAME_BYTES]. */
struct rdma_writer {
	uint8_t *bytes;
	uint32_t used;
	uint16_t records;
	uint16_t slots; /* of these, how many name a slot */
	bool asks;      /* it has a request */
	struct {
		uint32_t slot, len;
	} write[RDMA_FRAME_SLOTS_MAX];
};

void rdma_writer_begin(struct rdma_writer *w, uint8_t *bytes);
/* Appends a message; a payload above RDMA_INLINE_MAX takes the next slot of *flow, which the caller fills and writes
 * (w->write[w->slots - 1]). False: it does not fit, or there is no slot; nothing has changed. */
CHECKED bool rdma_writer_add(struct rdma_writer *w, struct rdma_flow *flow, const struct wire_hdr *hdr, const void *payload);
/* Completes the frame and counts it as sent; returns its length. */
uint32_t rdma_writer_end(struct rdma_writer *w, struct rdma_flow *flow);

/* If all of the frame follows from a request of the peer, and no acknowledgement is due: its immediate data, and the frame is not
 * to be ended but by rdma_writer_end_brief, and not to be sent. */
bool rdma_writer_is_brief(const struct rdma_writer *w, const struct rdma_flow *flow, uint32_t *imm);
void rdma_writer_end_brief(struct rdma_flow *flow);

/* Whether the immediate data are of a brief frame; else rdma_imm_parse. */
bool rdma_imm_is_brief(uint32_t imm);
/* Makes the frame, of RDMA_BRIEF_BYTES. -EMSGSIZE: not a page was written; -EBADMSG: no such request of ours. */
CHECKED int rdma_brief_make(uint32_t imm, uint32_t written, const struct rdma_flow *flow, uint8_t bytes[RDMA_BRIEF_BYTES]);

/* A frame being read. */
struct rdma_reader {
	const uint8_t *bytes;
	uint32_t len, at;
	uint32_t left; /* records */
	bool in_slot;  /* the last one is: it is consumed when the next is asked for */
	bool asks;     /* there was a request */
};

struct rdma_record {
	struct wire_hdr hdr;
	const uint8_t *payload; /* in the frame; NULL: in `slot` */
	uint32_t slot;
};

/* Takes the acknowledgements. -EMSGSIZE: a length that no frame has; -EBADMSG: it acknowledges what was not sent, or a reserved
 * field. */
CHECKED int rdma_reader_begin(struct rdma_reader *r, struct rdma_flow *flow, const uint8_t *bytes, uint32_t len);
/* 1: *record is the next, and the one before it, with its slot, consumed; 0: there is no more; -errno: as wire_hdr_decode,
 * -EMSGSIZE: it does not fit, -EBADMSG: not the slot that is due. */
CHECKED int rdma_reader_next(struct rdma_reader *r, struct rdma_flow *flow, enum wire_lane lane, struct rdma_record *record);
/* The frame is consumed, and its receive posted again. */
void rdma_reader_end(struct rdma_flow *flow);

#endif
