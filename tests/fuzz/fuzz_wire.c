/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a header or a payload: never a fault, and what is accepted is in its documented range and encodes to
 * the same bytes again. The first byte of the input chooses what the rest is decoded as.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "net/wire.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

static void header(const uint8_t *data, size_t size)
{
	uint8_t bytes[WIRE_HDR_BYTES], again[WIRE_HDR_BYTES];
	struct wire_hdr hdr;

	if (size < sizeof(bytes))
		return;
	memcpy(bytes, data, sizeof(bytes));
	for (int lane = 0; lane < 2; lane++) {
		if (wire_hdr_decode(bytes, (enum wire_lane)lane, &hdr))
			continue;
		bool run = hdr.type == WIRE_RUN_REQ || hdr.type == WIRE_RUN_DATA;
		uint32_t dsm_max = hdr.type == WIRE_RUN_DATA ? WIRE_RUN_PAYLOAD_MAX : WIRE_DSM_PAYLOAD_MAX;
		REQUIRE(hdr.len <= (lane == WIRE_LANE_DSM ? dsm_max : WIRE_PAYLOAD_MAX));
		REQUIRE(!run || (hdr.acks > 1 && hdr.arg / BLOCK_PAGES == (hdr.arg + hdr.acks - 1) / BLOCK_PAGES));
		REQUIRE(hdr.node < NODES_MAX && hdr.acks <= NODES_MAX);
		REQUIRE(strcmp(wire_type_name(hdr.type), "?") != 0);
		wire_hdr_encode(&hdr, again);
		REQUIRE(memcmp(bytes, again, sizeof(bytes)) == 0);
	}
}

static void text(const char *at, size_t size)
{
	REQUIRE(memchr(at, 0, size));
	for (; *at; at++)
		REQUIRE(*at >= ' ' && *at <= '~');
}

/* A machine is longer than the inputs that libFuzzer makes of its own: the input is its beginning, the rest zero, and
 * the length, unless the input is that long, the one that the number of entries asks for. */
static void machine(const uint8_t *data, size_t size)
{
	const size_t fixed = offsetof(struct wire_machine, cpuid);
	struct wire_machine sent = {0}, m;
	uint64_t vcpus = 0;

	memcpy(&sent, data, MIN(size, sizeof(sent)));
	if (size < fixed)
		size = fixed + MIN(sent.n_cpuid, WIRE_CPUID_MAX) * sizeof(struct wire_cpuid);
	if (size > sizeof(sent) || wire_machine_decode((const uint8_t *)&sent, size, &m))
		return;
	REQUIRE(wire_machine_bytes(&m) == size && memcmp(&m, &sent, size) == 0);
	REQUIRE(m.n_nodes >= 1 && m.n_nodes <= NODES_MAX && m.self < m.n_nodes && m.n_cpuid <= WIRE_CPUID_MAX);
	for (node_t i = 0; i < m.n_nodes; i++) {
		vcpus += m.node[i].vcpus;
		text(m.node[i].host, sizeof(m.node[i].host));
	}
	REQUIRE(vcpus >= 1 && vcpus <= VCPUS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_facts facts;
	struct wire_ipi ipi;
	struct wire_route route;
	struct wire_io io;
	struct wire_entry entry;
	struct wire_clock_req req;
	struct wire_clock_reply reply;
	struct wire_stop stop;
	struct wire_rdma rdma;
	uint64_t counters[8];
	size_t n;

	if (size == 0)
		return 0;
	size--;
	switch (*data++ % 12) {
	case 0:
		header(data, size);
		break;
	case 1:
		if (wire_ipi_decode(data, size, &ipi) == 0)
			REQUIRE(ipi.mode <= 7);
		break;
	case 2:
		if (wire_route_decode(data, size, &route) == 0)
			REQUIRE(route.vcpu < VCPUS_MAX);
		break;
	case 3:
		if (wire_io_decode(data, size, &io) == 0)
			REQUIRE(io.len <= 8 && io.addr + (io.len - 1) >= io.addr && (io.mmio || io.addr <= 0xffff));
		break;
	case 4:
		if (wire_clock_req_decode(data, size, &req) == 0)
			REQUIRE(size == sizeof(req) && req.bound <= WIRE_CLOCK_SPAN_MAX &&
				llabs(req.ahead) <= (int64_t)WIRE_CLOCK_SPAN_MAX && abs(req.ppb) <= WIRE_CLOCK_PPB_MAX &&
				req.flags <= WIRE_CLOCK_SET);
		break;
	case 5:
		if (wire_clock_reply_decode(data, size, &reply) == 0)
			REQUIRE(reply.ppb >= 0 && reply.ppb <= WIRE_CLOCK_PPB_MAX && reply.next_ppb >= 0 &&
				reply.next_ppb <= WIRE_CLOCK_PPB_MAX);
		break;
	case 6:
		if (wire_stop_decode(data, size, &stop) == 0)
			text(stop.text, sizeof(stop.text));
		break;
	case 7:
		if (wire_facts_decode(data, size, &facts) == 0)
			REQUIRE(wire_facts_bytes(&facts) == size && memcmp(&facts, data, size) == 0);
		break;
	case 8:
		machine(data, size);
		break;
	case 9:
		if (wire_stats_decode(data, size, counters, 8, &n) == 0)
			REQUIRE(n == size / 8);
		break;
	case 10:
		if (wire_entry_decode(data, size, &entry) == 0)
			REQUIRE(entry.mode <= 1 && memcmp(&entry, data, size) == 0);
		break;
	case 11:
		if (wire_rdma_decode(data, size, &rdma) == 0) {
			REQUIRE(rdma.addrs <= WIRE_RDMA_ADDRS_MAX && rdma.ok <= 1);
			text(rdma.why, sizeof(rdma.why));
		}
		break;
	}
	return 0;
}
