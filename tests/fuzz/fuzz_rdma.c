/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what comes over RDMA: the private data of a connection, and frames, one after another, to an end that sends as well.
 * Never a fault; a record's payload lies in the frame or its slot is one of those there are; and the bookkeeping stays within its
 * limits.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "net/rdma_frame.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

static void check(const struct rdma_flow *f)
{
	REQUIRE(f->sent - f->sent_acked <= f->depth && f->sent - f->sent_done <= f->depth);
	REQUIRE(f->slots_sent - f->slots_acked <= f->slots);
	REQUIRE(f->got - f->got_told <= f->got && f->slots_got - f->slots_told <= f->slots_got);
}

static void send_frame(struct rdma_flow *f, bool slot)
{
	static const uint8_t page[PAGE_BYTES];
	struct wire_hdr hdr = {.type = slot ? WIRE_LEND : f->sent % 2 ? WIRE_REQ_READ : WIRE_INV, .len = slot ? PAGE_BYTES : 0};
	uint8_t bytes[RDMA_FRAME_BYTES];
	struct rdma_writer w;

	if (!rdma_flow_may_send(f, true))
		return;
	rdma_writer_begin(&w, bytes);
	if (!rdma_writer_add(&w, f, &hdr, page))
		return;
	REQUIRE(rdma_writer_end(&w, f) <= RDMA_FRAME_BYTES);
	rdma_flow_done(f, f->sent, f->slots_sent);
}

/* False: the peer would be lost. */
static bool receive(struct rdma_flow *f, const uint8_t *bytes, uint32_t len, enum wire_lane lane)
{
	struct rdma_record record;
	struct rdma_reader r;
	int rc = rdma_reader_begin(&r, f, bytes, len);

	while (!rc && (rc = rdma_reader_next(&r, f, lane, &record)) == 1) {
		if (record.payload)
			REQUIRE(record.payload >= bytes && record.payload + record.hdr.len <= bytes + len);
		else
			REQUIRE(record.slot < f->slots && record.hdr.len <= rdma_slot_bytes(lane == WIRE_LANE_CONTROL ? 0 : 1));
		rc = 0;
	}
	if (rc == 0)
		rdma_reader_end(f);
	return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct rdma_hello ours, theirs;
	struct rdma_flow flow;

	if (rdma_hello_parse(data, size, 2, &theirs) == 0)
		REQUIRE(theirs.lane < 2 && theirs.from < NODES_MAX && theirs.slot_bytes == rdma_slot_bytes(theirs.lane));
	rdma_hello_make(1, 1, NULL, &ours);
	if (size >= 8) {
		uint32_t imm, written, slot, bytes;

		memcpy(&imm, data, sizeof(imm));
		memcpy(&written, data + 4, sizeof(written));
		for (unsigned lane = 0; lane < 2; lane++) {
			struct rdma_flow f = {.depth = 8, .slots = 5};

			if (rdma_imm_parse(imm, written, &f, lane, &slot, &bytes) == 0)
				REQUIRE(slot < 5 && bytes <= RDMA_FRAME_BYTES &&
					rdma_slot_at(lane, slot, written - bytes) + written <= 5 * (size_t)rdma_slot_stride(lane));
		}
	}
	ours.depth = (uint16_t)(RDMA_DEPTH_MIN + fuzz_u8(&in) % 8);
	ours.slots = (uint16_t)(1 + fuzz_u8(&in) % 8);
	theirs = ours;
	rdma_flow_init(&flow, &ours, &theirs);
	while (in.left) {
		uint8_t what = fuzz_u8(&in), bytes[RDMA_FRAME_BYTES];
		uint16_t len;

		if (what & 1) {
			send_frame(&flow, what & 2);
			check(&flow);
			continue;
		}
		if (what & 16) { /* a brief frame, for its own sake and for what reads it */
			uint32_t imm = 1u << 31, written = what & 32 ? fuzz_u8(&in) * 64u : PAGE_BYTES;

			fuzz_take(&in, &imm, 3);
			if (!rdma_imm_is_brief(imm) || rdma_brief_make(imm, written, &flow, bytes) ||
			    !receive(&flow, bytes, RDMA_BRIEF_BYTES, WIRE_LANE_DSM))
				break;
			check(&flow);
			continue;
		}
		memset(bytes, 0, sizeof(bytes));
		fuzz_take(&in, bytes, RDMA_FRAME_HEAD_BYTES);
		memcpy(&len, bytes + 10, sizeof(len)); /* most frames tell their own length */
		if (what & 4)
			len = (uint16_t)(fuzz_u8(&in) * 9u);
		fuzz_take(&in, bytes + RDMA_FRAME_HEAD_BYTES,
			  MIN((size_t)len, sizeof(bytes)) - MIN((size_t)len, (size_t)RDMA_FRAME_HEAD_BYTES));
		if (!receive(&flow, bytes, len, what & 8 ? WIRE_LANE_CONTROL : WIRE_LANE_DSM))
			break;
		check(&flow);
	}
	return 0;
}
