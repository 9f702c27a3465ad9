/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format: what is encoded decodes to the same, and everything else is refused. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/wire.h"
#include "tests/unit/check_main.h"

static struct wire_hdr header(uint8_t type, uint8_t flags, uint32_t len)
{
	return (struct wire_hdr){.type = type, .flags = flags, .len = len};
}

static int decode(const struct wire_hdr *hdr, enum wire_lane lane, struct wire_hdr *out)
{
	uint8_t bytes[WIRE_HDR_BYTES];

	wire_hdr_encode(hdr, bytes);
	return wire_hdr_decode(bytes, lane, out);
}

START_TEST(header_is_little_endian_at_the_documented_offsets)
{
	struct wire_hdr hdr = {.type = WIRE_DATA,
			       .flags = WIRE_F_WRITE,
			       .epoch = 0x0102,
			       .len = 4096,
			       .arg = UINT64_C(0x1112131415161718),
			       .seq = 0x21222324,
			       .acks = 0x3,
			       .node = 0x2a};
	static const uint8_t expected[WIRE_HDR_BYTES] = {WIRE_DATA, 2,    2,    1,    0,    0x10, 0,    0,
							 0x18,      0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
							 0x24,      0x23, 0x22, 0x21, 3,    0,    0x2a, 0};
	uint8_t bytes[WIRE_HDR_BYTES];
	struct wire_hdr back;

	wire_hdr_encode(&hdr, bytes);
	ck_assert_mem_eq(bytes, expected, sizeof(bytes));
	ck_assert_int_eq(wire_hdr_decode(bytes, WIRE_LANE_DSM, &back), 0);
	ck_assert_mem_eq(&back, &hdr, sizeof(hdr));
}
END_TEST

START_TEST(every_type_is_named_and_on_one_lane_only)
{
	int known = 0;

	for (unsigned type = 0; type < 256; type++) {
		int right = 0;

		for (uint32_t len = 0; len <= WIRE_PAYLOAD_MAX; len++)
			for (int lane = 0; lane < 2; lane++) {
				struct wire_hdr hdr = header((uint8_t)type, 0, len);

				if (type == WIRE_RUN_REQ || type == WIRE_RUN_DATA)
					hdr.acks = 2;
				if (wire_hdr_check(&hdr, (enum wire_lane)lane) == 0)
					right |= 1 << lane;
			}
		ck_assert_msg(right != 3, "type %u is on both lanes", type);
		ck_assert_int_eq(right != 0, strcmp(wire_type_name((uint8_t)type), "?") != 0);
		known += right != 0;
	}
	ck_assert_int_eq(known, 9 + 4 + 2 + 2 + 2 + 6 + 16 + 2);
}
END_TEST

START_TEST(a_replica_travels_whole_or_not_at_all)
{
	static const struct {
		uint8_t type;
		uint32_t len;
		int err;
	} cases[] = {
		{WIRE_LEND, PAGE_BYTES, 0},
		{WIRE_LEND, 0, -EMSGSIZE},
		{WIRE_GIVE_BACK, PAGE_BYTES, 0},
		{WIRE_GIVE_BACK, 0, 0},
		{WIRE_RECALL, 0, 0},
		{WIRE_RECALL, 8, -EMSGSIZE},
		{WIRE_GIVE_BACK, 8, -EMSGSIZE},
		{WIRE_RELEASED, 0, 0},
		{WIRE_LEND, 8, -EMSGSIZE},
		{WIRE_LEND, 2 * PAGE_BYTES, -EMSGSIZE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wire_hdr hdr = header(cases[i].type, 0, cases[i].len);

		ck_assert_int_eq(wire_hdr_check(&hdr, WIRE_LANE_DSM), cases[i].err);
	}
}
END_TEST

START_TEST(a_run_is_of_two_to_sixteen_pages_of_one_block)
{
	static const struct {
		uint8_t type, flags;
		rpn_t first;
		uint16_t pages;
		uint32_t len;
		int err;
	} cases[] = {
		{WIRE_RUN_REQ, WIRE_F_AHEAD, 0, 2, 0, 0},
		{WIRE_RUN_REQ, WIRE_F_AHEAD | WIRE_F_ROOM, 3, 16, 0, 0},
		{WIRE_RUN_REQ, 0, 0, 1, 0, -EMSGSIZE},
		{WIRE_RUN_REQ, 0, 0, 0, 0, -EMSGSIZE},
		{WIRE_RUN_REQ, 0, 0, 17, 0, -EMSGSIZE},
		{WIRE_RUN_REQ, 0, BLOCK_PAGES - 2, 2, 0, 0},
		{WIRE_RUN_REQ, 0, BLOCK_PAGES - 1, 2, 0, -EMSGSIZE},
		{WIRE_RUN_REQ, 0, UINT64_MAX, 2, 0, -EMSGSIZE},
		{WIRE_RUN_REQ, 0, 0, 2, 4, -EMSGSIZE},
		{WIRE_RUN_REQ, WIRE_F_PUSH, 0, 2, 0, -EBADMSG},
		{WIRE_RUN_DATA, WIRE_F_AHEAD, 0, 2, 2 * 4100, 0},
		{WIRE_RUN_DATA, 0, 7, 16, 16 * 4100, 0},
		{WIRE_RUN_DATA, 0, 7, 17, 17 * 4100, -EMSGSIZE},
		{WIRE_RUN_DATA, 0, 7, 1, 4100, -EMSGSIZE},
		{WIRE_RUN_DATA, 0, 7, 2, 2 * 4096, -EMSGSIZE},
		{WIRE_RUN_DATA, 0, 7, 3, 2 * 4100, -EMSGSIZE},
		{WIRE_RUN_DATA, 0, 7, 0, 0, -EMSGSIZE},
		{WIRE_RUN_DATA, 0, BLOCK_PAGES - 8, 9, 9 * 4100, -EMSGSIZE},
		{WIRE_RUN_DATA, WIRE_F_WRITE, 7, 2, 2 * 4100, -EBADMSG},
		{WIRE_RUN_DATA, WIRE_F_ZERO, 7, 2, 2 * 4100, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wire_hdr hdr = header(cases[i].type, cases[i].flags, cases[i].len);

		hdr.arg = cases[i].first;
		hdr.acks = cases[i].pages;
		ck_assert_msg(wire_hdr_check(&hdr, WIRE_LANE_DSM) == cases[i].err, "case %zu", i);
	}
}
END_TEST

START_TEST(header_of_unknown_type_is_refused)
{
	struct wire_hdr out = {.seq = 7};
	static const uint8_t types[] = {0, 22, 31, WIRE_ENTRY + 1, 255};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct wire_hdr hdr = header(types[i], 0, 0);

		ck_assert_int_eq(decode(&hdr, WIRE_LANE_CONTROL, &out), -ENOMSG);
		ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -ENOMSG);
	}
	ck_assert_uint_eq(out.seq, 7); /* untouched */
}
END_TEST

START_TEST(header_on_the_wrong_lane_is_refused)
{
	struct wire_hdr ipi = header(WIRE_IPI, 0, sizeof(struct wire_ipi)), inv = header(WIRE_INV, 0, 0), out;

	ck_assert_int_eq(decode(&ipi, WIRE_LANE_DSM, &out), -EPROTOTYPE);
	ck_assert_int_eq(decode(&inv, WIRE_LANE_CONTROL, &out), -EPROTOTYPE);
}
END_TEST

START_TEST(page_is_whole_or_announced_as_zero_or_as_a_difference)
{
	static const struct {
		uint8_t flags;
		uint32_t len;
		int err;
	} cases[] = {
		{0, 4096, 0},
		{WIRE_F_WRITE, 4096, 0},
		{WIRE_F_ZERO, 0, 0},
		{WIRE_F_ZERO | WIRE_F_WRITE, 0, 0},
		{0, 0, -EMSGSIZE},
		{WIRE_F_WRITE, 0, -EMSGSIZE},
		{WIRE_F_ZERO, 4096, -EMSGSIZE},
		{WIRE_F_DELTA, 4, 0},
		{WIRE_F_DELTA | WIRE_F_WRITE, WIRE_DELTA_MAX, 0},
		{WIRE_F_DELTA, 3, -EMSGSIZE},
		{WIRE_F_DELTA, 0, -EMSGSIZE},
		{WIRE_F_DELTA, WIRE_DELTA_MAX + 1, -EMSGSIZE},
		{WIRE_F_DELTA, 4096, -EMSGSIZE},
		{WIRE_F_DELTA | WIRE_F_ZERO, 0, -EMSGSIZE},
		{WIRE_F_DELTA | WIRE_F_ZERO, 4, -EMSGSIZE},
		{WIRE_F_DELTA | WIRE_F_PUSH, 4, -EBADMSG},
		{WIRE_F_AHEAD | WIRE_F_WRITE, 4096, 0},
		{WIRE_F_AHEAD | WIRE_F_ZERO, 0, 0},
		{64, 4096, -EBADMSG},
		{64, 0, -EMSGSIZE},
		{0, 4095, -EMSGSIZE},
		{0, 4097, -EMSGSIZE},
		{0, UINT32_MAX, -EMSGSIZE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wire_hdr hdr = header(WIRE_DATA, cases[i].flags, cases[i].len), out;

		ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), cases[i].err);
	}
}
END_TEST

START_TEST(request_names_a_transaction_or_none)
{
	static const uint8_t types[] = {WIRE_REQ_READ, WIRE_REQ_WRITE, WIRE_FWD_READ, WIRE_FWD_WRITE};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		for (uint32_t len = 0; len < 7; len++) {
			struct wire_hdr hdr = header(types[i], 0, len), out;

			ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), len == 0 || len == 4 ? 0 : -EMSGSIZE);
		}
}
END_TEST

START_TEST(order_names_those_to_whom_it_goes_on_or_none)
{
	for (uint32_t len = 0; len < 10; len++) {
		struct wire_hdr hdr = header(WIRE_INV, 0, len), out;

		ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), len == 0 || len == 8 ? 0 : -EMSGSIZE);
	}
}
END_TEST

START_TEST(header_with_a_flag_of_another_type_is_refused)
{
	struct wire_hdr hdr = header(WIRE_REQ_READ, WIRE_F_ZERO, 0), out;

	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -EBADMSG);
	hdr = header(WIRE_GRANT, WIRE_F_WRITE, 0);
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -EBADMSG);
	hdr = header(WIRE_INV, WIRE_F_AHEAD, 0);
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -EBADMSG);
	hdr = header(WIRE_DONE, WIRE_F_ZERO, 0);
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -EBADMSG);
}
END_TEST

START_TEST(header_with_a_number_out_of_range_is_refused)
{
	struct wire_hdr hdr = header(WIRE_REQ_READ, 0, 0), out;

	hdr.node = NODES_MAX;
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -EBADMSG);
	hdr.node = NODES_MAX - 1;
	hdr.acks = NODES_MAX + 1;
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), -EBADMSG);
	hdr.acks = NODES_MAX;
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_DSM, &out), 0);
	hdr = header(WIRE_EOI, 0, 0);
	hdr.arg = 255;
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_CONTROL, &out), 0);
	hdr.arg = 256;
	ck_assert_int_eq(decode(&hdr, WIRE_LANE_CONTROL, &out), -EBADMSG);
}
END_TEST

START_TEST(each_refusal_has_its_words)
{
	static const int errs[] = {-ENOMSG, -EPROTOTYPE, -EMSGSIZE, -EBADMSG, -EPROTONOSUPPORT, -EIO};

	for (size_t i = 0; i < ARRAY_SIZE(errs); i++)
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(wire_error(errs[i]), wire_error(errs[j]));
}
END_TEST

START_TEST(ipi_comes_back_as_sent)
{
	struct wire_ipi ipi = {.vector = 0xfd, .mode = 1, .assert = 1}, back;

	ipi.vcpus[0] = 1;
	ipi.vcpus[15] = UINT64_C(1) << 63;
	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&ipi, sizeof(ipi), &back), 0);
	ck_assert_mem_eq(&back, &ipi, sizeof(ipi));
}
END_TEST

START_TEST(ipi_out_of_range_is_refused)
{
	struct wire_ipi good = {.vector = 32}, ipi, back;

	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&good, sizeof(good) - 1, &back), -EMSGSIZE);
	ipi = good;
	ipi.mode = 8;
	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&ipi, sizeof(ipi), &back), -EBADMSG);
	ipi.mode = 3; /* reserved, but a guest can ask for it */
	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&ipi, sizeof(ipi), &back), 0);
	ipi = good;
	ipi.level_trig = 2;
	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&ipi, sizeof(ipi), &back), -EBADMSG);
	ipi = good;
	ipi.assert = 2;
	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&ipi, sizeof(ipi), &back), -EBADMSG);
	ipi = good;
	ipi.reserved = 1;
	ck_assert_int_eq(wire_ipi_decode((uint8_t *)&ipi, sizeof(ipi), &back), -EBADMSG);
}
END_TEST

START_TEST(route_is_checked)
{
	struct wire_route good = {.vcpu = VCPUS_MAX - 1, .mode = 2, .sw_enabled = 1}, route, back;

	ck_assert_int_eq(wire_route_decode((uint8_t *)&good, sizeof(good), &back), 0);
	ck_assert_uint_eq(back.vcpu, VCPUS_MAX - 1);
	ck_assert_int_eq(wire_route_decode((uint8_t *)&good, 0, &back), -EMSGSIZE);
	route = good;
	route.vcpu = VCPUS_MAX;
	ck_assert_int_eq(wire_route_decode((uint8_t *)&route, sizeof(route), &back), -EBADMSG);
	route = good;
	route.mode = 3;
	ck_assert_int_eq(wire_route_decode((uint8_t *)&route, sizeof(route), &back), -EBADMSG);
	route = good;
	route.reserved2 = 1;
	ck_assert_int_eq(wire_route_decode((uint8_t *)&route, sizeof(route), &back), -EBADMSG);
}
END_TEST

START_TEST(io_access_is_one_that_a_guest_can_make)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint8_t mmio;
		int err;
	} cases[] = {
		{0x3f8, 1, 0, 0},
		{0xffff, 1, 0, 0},
		{0xfffe, 2, 0, 0},
		{0xfee00000, 8, 1, 0},
		{UINT64_MAX - 7, 8, 1, 0},
		{0xffff, 2, 0, 0},
		{0xfed00ffd, 3, 1, 0},
		{0xfed00000, 9, 1, -EBADMSG},
		{0xfed00000, 0, 1, -EBADMSG},
		{0x10000, 1, 0, -EBADMSG},
		{0x3f8, 8, 0, -EBADMSG},
		{0x3f8, 0, 0, -EBADMSG},
		{0x3f8, 3, 0, -EBADMSG},
		{UINT64_MAX - 6, 8, 1, -EBADMSG},
		{0, 1, 2, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wire_io io = {.addr = cases[i].addr, .len = cases[i].len, .mmio = cases[i].mmio, .write = 1}, back;

		ck_assert_int_eq(wire_io_decode((uint8_t *)&io, sizeof(io), &back), cases[i].err);
	}
}
END_TEST

START_TEST(stop_carries_its_text_cut_and_printable)
{
	char text[400];
	struct wire_stop stop, back;

	memset(text, 'x', sizeof(text));
	text[0] = '\033';
	text[399] = 0;
	wire_stop_make(WIRE_STOP_LOST, 63, text, &stop);
	ck_assert_int_eq(wire_stop_decode((uint8_t *)&stop, sizeof(stop), &back), 0);
	ck_assert_int_eq((int)strlen(back.text), WIRE_STOP_TEXT_BYTES - 1);
	ck_assert_int_eq(back.text[0], '?');
}
END_TEST

START_TEST(stop_with_text_that_would_harm_a_terminal_is_refused)
{
	struct wire_stop good, stop, back;

	wire_stop_make(WIRE_STOP_QUIT, 0, "bye", &good);
	stop = good;
	memset(stop.text, 'x', sizeof(stop.text)); /* no end */
	ck_assert_int_eq(wire_stop_decode((uint8_t *)&stop, sizeof(stop), &back), -EBADMSG);
	stop = good;
	stop.text[1] = '\033';
	ck_assert_int_eq(wire_stop_decode((uint8_t *)&stop, sizeof(stop), &back), -EBADMSG);
	stop = good;
	stop.text[100] = 'x'; /* after the NUL */
	ck_assert_int_eq(wire_stop_decode((uint8_t *)&stop, sizeof(stop), &back), -EBADMSG);
	stop = good;
	stop.reason = 0;
	ck_assert_int_eq(wire_stop_decode((uint8_t *)&stop, sizeof(stop), &back), -EBADMSG);
	stop = good;
	stop.node = NODES_MAX;
	ck_assert_int_eq(wire_stop_decode((uint8_t *)&stop, sizeof(stop), &back), -EBADMSG);
}
END_TEST

START_TEST(clock_request_is_checked)
{
	const struct wire_clock_req good = {
		.sent = UINT64_MAX, .ahead = -5, .bound = 7, .ppb = -WIRE_CLOCK_PPB_MAX, .flags = WIRE_CLOCK_SET};
	struct wire_clock_req req = good, back;

	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), 0);
	ck_assert_mem_eq(&back, &good, sizeof(good));
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req) - 1, &back), -EMSGSIZE);
	req.ahead = (int64_t)WIRE_CLOCK_SPAN_MAX + 1;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req.ahead = INT64_MIN;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req = good;
	req.bound = WIRE_CLOCK_SPAN_MAX + 1;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req = good;
	req.least = UINT64_MAX;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req = good;
	req.median = UINT64_MAX;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req = good;
	req.ppb = WIRE_CLOCK_PPB_MAX + 1;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req.ppb = INT32_MIN;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
	req = good;
	req.flags = 2;
	ck_assert_int_eq(wire_clock_req_decode((uint8_t *)&req, sizeof(req), &back), -EBADMSG);
}
END_TEST

START_TEST(clock_reply_is_checked)
{
	const struct wire_clock_reply good = {.sent = 1, .received = UINT64_MAX, .ppb = WIRE_CLOCK_PPB_MAX};
	struct wire_clock_reply reply = good, back;

	ck_assert_int_eq(wire_clock_reply_decode((uint8_t *)&reply, sizeof(reply), &back), 0);
	ck_assert_mem_eq(&back, &good, sizeof(good));
	ck_assert_int_eq(wire_clock_reply_decode((uint8_t *)&reply, sizeof(reply) + 1, &back), -EMSGSIZE);
	reply.ppb = WIRE_CLOCK_PPB_MAX + 1;
	ck_assert_int_eq(wire_clock_reply_decode((uint8_t *)&reply, sizeof(reply), &back), -EBADMSG);
	reply = good;
	reply.next_ppb = -1; /* the machine's clock is never slower than node 0's */
	ck_assert_int_eq(wire_clock_reply_decode((uint8_t *)&reply, sizeof(reply), &back), -EBADMSG);
}
END_TEST

START_TEST(entry_is_checked)
{
	struct wire_entry entry = {.mode = 1, .rip = 0x100000, .rbx = 0x6000}, back;

	ck_assert_int_eq(wire_entry_decode((uint8_t *)&entry, sizeof(entry), &back), 0);
	ck_assert_mem_eq(&back, &entry, sizeof(entry));
	ck_assert_int_eq(wire_entry_decode((uint8_t *)&entry, sizeof(entry) - 1, &back), -EMSGSIZE);
	entry.mode = 2;
	ck_assert_int_eq(wire_entry_decode((uint8_t *)&entry, sizeof(entry), &back), -EBADMSG);
	entry.mode = 0;
	entry.reserved = 1;
	ck_assert_int_eq(wire_entry_decode((uint8_t *)&entry, sizeof(entry), &back), -EBADMSG);
}
END_TEST

static struct wire_facts good_facts(uint32_t n_cpuid)
{
	struct wire_facts facts = {.version = WIRE_VERSION,
				   .n_cpuid = n_cpuid,
				   .mem_available_bytes = GIB,
				   .tsc_khz = 2000000,
				   .cpu_vendor = "AuthenticAMD",
				   .port = 7700};

	for (uint32_t i = 0; i < n_cpuid; i++)
		facts.cpuid[i].function = i;
	return facts;
}

START_TEST(facts_come_back_as_sent)
{
	static const uint32_t sizes[] = {0, 1, WIRE_CPUID_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct wire_facts facts = good_facts(sizes[i]), back;

		ck_assert_int_eq(wire_facts_decode((uint8_t *)&facts, wire_facts_bytes(&facts), &back), 0);
		ck_assert_mem_eq(&back, &facts, sizeof(facts));
	}
}
END_TEST

START_TEST(facts_whose_length_does_not_fit_their_count_are_refused)
{
	struct wire_facts facts = good_facts(4), back;
	size_t len = wire_facts_bytes(&facts);

	ck_assert_int_eq(wire_facts_decode((uint8_t *)&facts, len - 1, &back), -EMSGSIZE);
	ck_assert_int_eq(wire_facts_decode((uint8_t *)&facts, len + 28, &back), -EMSGSIZE);
	ck_assert_int_eq(wire_facts_decode((uint8_t *)&facts, 3, &back), -EMSGSIZE);
	facts.n_cpuid = UINT32_MAX;
	ck_assert_int_eq(wire_facts_decode((uint8_t *)&facts, len, &back), -EMSGSIZE);
}
END_TEST

START_TEST(facts_of_another_version_are_told_apart)
{
	struct wire_facts facts = good_facts(0), back;

	facts.version++;
	ck_assert_int_eq(wire_facts_decode((uint8_t *)&facts, wire_facts_bytes(&facts), &back), -EPROTONOSUPPORT);
}
END_TEST

static struct wire_machine good_machine(void)
{
	struct wire_machine machine = {
		.version = WIRE_VERSION, .n_nodes = 3, .self = 2, .shards = 4, .tsc_khz = 2000000, .n_cpuid = 5};

	for (node_t i = 0; i < 3; i++) {
		machine.node[i] = (struct wire_machine_node){
			.vcpus = i, .port = (uint16_t)(7700 + i), .mem_bytes = 512 * MIB, .budget_bytes = i * GIB};
		strcpy(machine.node[i].host, "host");
	}
	return machine;
}

static int machine_error(const struct wire_machine *machine)
{
	struct wire_machine back;

	return wire_machine_decode((const uint8_t *)machine, wire_machine_bytes(machine), &back);
}

START_TEST(machine_comes_back_as_sent)
{
	struct wire_machine machine = good_machine(), back;

	ck_assert_int_eq(wire_machine_decode((uint8_t *)&machine, wire_machine_bytes(&machine), &back), 0);
	ck_assert_mem_eq(&back, &machine, sizeof(machine));
}
END_TEST

START_TEST(machine_that_cannot_be_is_refused)
{
	struct wire_machine machine;

#define REFUSED(change)                                              \
	do {                                                         \
		machine = good_machine();                            \
		change;                                              \
		ck_assert_int_eq(machine_error(&machine), -EBADMSG); \
	} while (0)
	REFUSED(machine.n_nodes = 0);
	REFUSED(machine.n_nodes = 65);
	REFUSED(machine.n_nodes = 2); /* self is 2 */
	REFUSED((machine.n_nodes = 4, machine.self = 1));
	REFUSED(machine.shards = 0);
	REFUSED(machine.shards = WIRE_SHARDS_MAX + 1);
	REFUSED(machine.tsc_khz = 0);
	REFUSED(machine.node[1].port = 0);
	REFUSED(machine.node[1].reserved = 1);
	REFUSED(machine.node[1].mem_bytes++);
	REFUSED(machine.node[1].budget_bytes = 512 * MIB - 1);
	REFUSED(machine.node[1].mem_bytes = UINT64_MAX - 4095);
	REFUSED(machine.node[1].host[0] = 0);
	REFUSED(machine.node[1].host[10] = 'x');
	REFUSED(memset(machine.node[1].host, 'x', WIRE_HOST_BYTES));
	REFUSED(machine.node[3].vcpus = 1); /* there is no node 3 */
	REFUSED(machine.node[1].vcpus = machine.node[2].vcpus = 0);
	REFUSED(machine.node[1].vcpus = VCPUS_MAX);
	REFUSED(machine.node[1].vcpus = UINT32_MAX);
#undef REFUSED
}
END_TEST

START_TEST(stats_longer_than_known_are_cut_and_shorter_zeroed)
{
	uint64_t sent[3] = {1, 2, 3}, got[4] = {9, 9, 9, 9};
	size_t n;

	ck_assert_int_eq(wire_stats_decode((uint8_t *)sent, sizeof(sent), got, 2, &n), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert(got[0] == 1 && got[1] == 2 && got[2] == 9);
	ck_assert_int_eq(wire_stats_decode((uint8_t *)sent, 8, got, 4, &n), 0);
	ck_assert(n == 1 && got[0] == 1 && got[1] == 0 && got[3] == 0);
	ck_assert_int_eq(wire_stats_decode((uint8_t *)sent, 9, got, 4, &n), -EMSGSIZE);
}
END_TEST

START_TEST(rdma_offer_comes_back_as_sent)
{
	struct wire_rdma sent, got;

	wire_rdma_make(NULL, &sent);
	sent.addrs = 1;
	sent.port = 4711;
	memset(sent.addr[0], 0xfe, sizeof(sent.addr[0]));
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&sent, sizeof(sent), &got), 0);
	ck_assert_mem_eq(&got, &sent, sizeof(sent));
	wire_rdma_make("no\033 device", &sent);
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&sent, sizeof(sent), &got), 0);
	ck_assert_str_eq(got.why, "no? device");
	ck_assert_uint_eq(got.ok, 0);
}
END_TEST

START_TEST(rdma_offer_that_cannot_be_is_refused)
{
	struct wire_rdma good, bad, got;

	wire_rdma_make(NULL, &good);
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&good, sizeof(good) - 1, &got), -EMSGSIZE);
	bad = good;
	bad.ok = 2;
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&bad, sizeof(bad), &got), -EBADMSG);
	bad = good;
	bad.addrs = WIRE_RDMA_ADDRS_MAX + 1;
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&bad, sizeof(bad), &got), -EBADMSG);
	bad = good;
	bad.addr[3][5] = 1; /* one that does not count */
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&bad, sizeof(bad), &got), -EBADMSG);
	bad = good;
	bad.ok = 0; /* why? */
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&bad, sizeof(bad), &got), -EBADMSG);
	bad = good;
	memset(bad.why, 'x', sizeof(bad.why));
	bad.ok = 0;
	ck_assert_int_eq(wire_rdma_decode((uint8_t *)&bad, sizeof(bad), &got), -EBADMSG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wire");
	TCase *tc = tcase_create("wire");

	tcase_add_test(tc, header_is_little_endian_at_the_documented_offsets);
	tcase_add_test(tc, every_type_is_named_and_on_one_lane_only);
	tcase_add_test(tc, a_run_is_of_two_to_sixteen_pages_of_one_block);
	tcase_add_test(tc, header_of_unknown_type_is_refused);
	tcase_add_test(tc, a_replica_travels_whole_or_not_at_all);
	tcase_add_test(tc, header_on_the_wrong_lane_is_refused);
	tcase_add_test(tc, page_is_whole_or_announced_as_zero_or_as_a_difference);
	tcase_add_test(tc, request_names_a_transaction_or_none);
	tcase_add_test(tc, order_names_those_to_whom_it_goes_on_or_none);
	tcase_add_test(tc, header_with_a_flag_of_another_type_is_refused);
	tcase_add_test(tc, header_with_a_number_out_of_range_is_refused);
	tcase_add_test(tc, each_refusal_has_its_words);
	tcase_add_test(tc, ipi_comes_back_as_sent);
	tcase_add_test(tc, ipi_out_of_range_is_refused);
	tcase_add_test(tc, route_is_checked);
	tcase_add_test(tc, io_access_is_one_that_a_guest_can_make);
	tcase_add_test(tc, stop_carries_its_text_cut_and_printable);
	tcase_add_test(tc, stop_with_text_that_would_harm_a_terminal_is_refused);
	tcase_add_test(tc, entry_is_checked);
	tcase_add_test(tc, clock_request_is_checked);
	tcase_add_test(tc, clock_reply_is_checked);
	tcase_add_test(tc, facts_come_back_as_sent);
	tcase_add_test(tc, facts_whose_length_does_not_fit_their_count_are_refused);
	tcase_add_test(tc, facts_of_another_version_are_told_apart);
	tcase_add_test(tc, machine_comes_back_as_sent);
	tcase_add_test(tc, machine_that_cannot_be_is_refused);
	tcase_add_test(tc, rdma_offer_comes_back_as_sent);
	tcase_add_test(tc, rdma_offer_that_cannot_be_is_refused);
	tcase_add_test(tc, stats_longer_than_known_are_cut_and_shorter_zeroed);
	suite_add_tcase(s, tc);
	return check_main(s);
}
