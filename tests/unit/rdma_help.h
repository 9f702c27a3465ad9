/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of RDMA's frames share (test_rdma_frame.c, test_rdma_brief.c): ends, messages, and a frame on its way. */
#ifndef UNIT_RDMA_HELP_H
#define UNIT_RDMA_HELP_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/rdma_frame.h"

static uint8_t frame[RDMA_FRAME_BYTES];
static uint8_t payload[WIRE_PAYLOAD_MAX];

static inline struct rdma_hello hello(uint16_t depth, uint16_t slots)
{
	struct rdma_hello h;

	rdma_hello_make(1, 1, NULL, &h);
	h.depth = depth;
	h.slots = slots;
	return h;
}

static inline struct rdma_flow flow(uint16_t depth, uint16_t slots)
{
	struct rdma_hello ours = hello(depth, slots), theirs = ours;
	struct rdma_flow f;

	rdma_flow_init(&f, &ours, &theirs);
	return f;
}

static inline struct wire_hdr page(uint32_t seq)
{
	return (struct wire_hdr){.type = WIRE_LEND, .len = PAGE_BYTES, .arg = 7, .seq = seq};
}

static inline struct wire_hdr request(uint32_t seq)
{
	return (struct wire_hdr){.type = WIRE_REQ_READ, .arg = 9, .seq = seq};
}

/* A frame with these messages, as *from sends it; its length. */
static inline uint32_t make(struct rdma_flow *from, const struct wire_hdr *hdr, size_t n)
{
	struct rdma_writer w;

	rdma_writer_begin(&w, frame);
	for (size_t i = 0; i < n; i++)
		ck_assert(rdma_writer_add(&w, from, &hdr[i], payload));
	return rdma_writer_end(&w, from);
}

/* Reads the frame; how many messages, or the error. */
static inline int take(struct rdma_flow *to, uint32_t len)
{
	struct rdma_record record;
	struct rdma_reader r;
	int n = 0, rc = rdma_reader_begin(&r, to, frame, len);

	if (rc)
		return rc;
	while ((rc = rdma_reader_next(&r, to, WIRE_LANE_DSM, &record)) > 0)
		n++;
	if (rc)
		return rc;
	rdma_reader_end(to);
	return n;
}

#endif
