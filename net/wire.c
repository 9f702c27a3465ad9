/* SPDX-License-Identifier: Apache-2.0 */
#include "net/wire.h"

#include <errno.h>
#include <string.h>

#define ANY    UINT64_MAX
#define LEN(t) (uint32_t)sizeof(struct t)

/* The single list of what may be sent where. */
static const struct rule {
	const char *name;
	uint32_t min_len, max_len;
	uint64_t arg_max;
	uint8_t flags; /* those allowed */
	enum wire_lane lane;
} rules[] = {
	[WIRE_REQ_READ] = {"REQ_READ", 0, sizeof(uint32_t), ANY, WIRE_F_ROOM | WIRE_F_AHEAD, WIRE_LANE_DSM},
	[WIRE_REQ_WRITE] = {"REQ_WRITE", 0, sizeof(uint32_t), ANY, WIRE_F_ROOM | WIRE_F_AHEAD, WIRE_LANE_DSM},
	[WIRE_FWD_READ] = {"FWD_READ", 0, sizeof(uint32_t), ANY, WIRE_F_PUSH | WIRE_F_AHEAD, WIRE_LANE_DSM},
	[WIRE_FWD_WRITE] = {"FWD_WRITE", 0, sizeof(uint32_t), ANY, WIRE_F_AHEAD, WIRE_LANE_DSM},
	[WIRE_INV] = {"INV", 0, sizeof(uint64_t), ANY, 0, WIRE_LANE_DSM},
	[WIRE_ACK] = {"ACK", 0, 0, ANY, 0, WIRE_LANE_DSM},
	/* and see hdr_check */
	[WIRE_DATA] = {"DATA", 0, PAGE_BYTES, ANY, WIRE_F_ZERO | WIRE_F_WRITE | WIRE_F_PUSH | WIRE_F_DELTA | WIRE_F_AHEAD,
		       WIRE_LANE_DSM},
	[WIRE_GRANT] = {"GRANT", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_DONE] = {"DONE", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_LEND] = {"LEND", PAGE_BYTES, PAGE_BYTES, ANY, 0, WIRE_LANE_DSM},
	[WIRE_RECALL] = {"RECALL", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_GIVE_BACK] = {"GIVE_BACK", 0, PAGE_BYTES, ANY, 0, WIRE_LANE_DSM}, /* and see hdr_check */
	[WIRE_RELEASED] = {"RELEASED", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_OFFER] = {"OFFER", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_DROP] = {"DROP", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_VOID] = {"VOID", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_BLOCK] = {"BLOCK", 0, 0, ANY, 0, WIRE_LANE_DSM},
	[WIRE_RUN_REQ] = {"RUN_REQ", 0, 0, ANY, WIRE_F_ROOM | WIRE_F_AHEAD, WIRE_LANE_DSM},
	[WIRE_RUN_DATA] = {"RUN_DATA", 0, WIRE_RUN_PAYLOAD_MAX, ANY, WIRE_F_AHEAD, WIRE_LANE_DSM}, /* and see run_ok */

	[WIRE_IPI] = {"IPI", LEN(wire_ipi), LEN(wire_ipi), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_EOI] = {"EOI", 0, 0, 255, 0, WIRE_LANE_CONTROL},
	[WIRE_ROUTE] = {"ROUTE", LEN(wire_route), LEN(wire_route), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_ROUTE_ACK] = {"ROUTE_ACK", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_IO] = {"IO", LEN(wire_io), LEN(wire_io), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_IO_REPLY] = {"IO_REPLY", LEN(wire_io), LEN(wire_io), 0, 0, WIRE_LANE_CONTROL},

	[WIRE_FACTS] = {"FACTS", offsetof(struct wire_facts, cpuid), LEN(wire_facts), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_MACHINE] = {"MACHINE", offsetof(struct wire_machine, cpuid), LEN(wire_machine), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_MESH_READY] = {"MESH_READY", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_CLOCK_REQ] = {"CLOCK_REQ", LEN(wire_clock_req), LEN(wire_clock_req), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_CLOCK_REPLY] = {"CLOCK_REPLY", LEN(wire_clock_reply), LEN(wire_clock_reply), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_START] = {"START", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_PAUSE] = {"PAUSE", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_PAUSE_ACK] = {"PAUSE_ACK", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_RESET] = {"RESET", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_RESET_ACK] = {"RESET_ACK", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_STOP] = {"STOP", LEN(wire_stop), LEN(wire_stop), 255, 0, WIRE_LANE_CONTROL},
	[WIRE_PING] = {"PING", 0, 0, ANY, 0, WIRE_LANE_CONTROL},
	[WIRE_PONG] = {"PONG", 0, 0, ANY, 0, WIRE_LANE_CONTROL},
	[WIRE_STATS_REQ] = {"STATS_REQ", 0, 0, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_STATS] = {"STATS", 0, WIRE_PAYLOAD_MAX, 0, 0, WIRE_LANE_CONTROL},
	[WIRE_ENTRY] = {"ENTRY", LEN(wire_entry), LEN(wire_entry), 0, 0, WIRE_LANE_CONTROL},

	[WIRE_RDMA_OFFER] = {"RDMA_OFFER", LEN(wire_rdma), LEN(wire_rdma), 0, 0, WIRE_LANE_CONTROL},
	[WIRE_RDMA_RESULT] = {"RDMA_RESULT", LEN(wire_rdma), LEN(wire_rdma), 0, 0, WIRE_LANE_CONTROL},
};

static const struct rule *rule_of(uint8_t type)
{
	if (type >= ARRAY_SIZE(rules) || !rules[type].name)
		return NULL;
	return &rules[type];
}

/* A page is sent whole, if it is zero not at all, or as the difference to another that both ends have. */
static bool data_len_ok(const struct wire_hdr *hdr)
{
	switch (hdr->flags & (WIRE_F_ZERO | WIRE_F_DELTA)) {
	case 0:
		return hdr->len == PAGE_BYTES;
	case WIRE_F_ZERO:
		return hdr->len == 0;
	case WIRE_F_DELTA:
		return hdr->len >= sizeof(uint32_t) && hdr->len <= WIRE_DELTA_MAX;
	default:
		return false;
	}
}

static bool run_ok(const struct wire_hdr *hdr)
{
	uint32_t bytes = hdr->type == WIRE_RUN_DATA ? hdr->acks * (uint32_t)(PAGE_BYTES + sizeof(uint32_t)) : 0;

	return hdr->acks >= 2 && hdr->acks <= WIRE_RUN_PAGES && hdr->arg % BLOCK_PAGES + hdr->acks <= BLOCK_PAGES &&
	       hdr->len == bytes;
}

int wire_hdr_check(const struct wire_hdr *hdr, enum wire_lane lane)
{
	const struct rule *rule = rule_of(hdr->type);

	if (!rule)
		return -ENOMSG;
	if (rule->lane != lane)
		return -EPROTOTYPE;
	if (hdr->len < rule->min_len || hdr->len > rule->max_len)
		return -EMSGSIZE;
	if (hdr->type == WIRE_DATA && !data_len_ok(hdr))
		return -EMSGSIZE;
	if ((hdr->type == WIRE_RUN_REQ || hdr->type == WIRE_RUN_DATA) && !run_ok(hdr))
		return -EMSGSIZE;
	if (hdr->flags & WIRE_F_DELTA && hdr->flags & WIRE_F_PUSH) /* who has not asked has named nothing */
		return -EBADMSG;
	/* The number of a transaction, or none. */
	if (rule->lane == WIRE_LANE_DSM && rule->max_len <= sizeof(uint64_t) && hdr->len != 0 && hdr->len != rule->max_len)
		return -EMSGSIZE;
	if (hdr->type == WIRE_GIVE_BACK && hdr->len != 0 && hdr->len != PAGE_BYTES)
		return -EMSGSIZE;
	if (hdr->type == WIRE_STATS && hdr->len % sizeof(uint64_t) != 0)
		return -EMSGSIZE;
	if ((hdr->flags & ~rule->flags) != 0 || hdr->arg > rule->arg_max || hdr->acks > NODES_MAX || hdr->node >= NODES_MAX)
		return -EBADMSG;
	return 0;
}

void wire_hdr_encode(const struct wire_hdr *hdr, uint8_t *bytes)
{
	memcpy(bytes, hdr, WIRE_HDR_BYTES);
}

int wire_hdr_decode(const uint8_t *bytes, enum wire_lane lane, struct wire_hdr *hdr)
{
	struct wire_hdr copy;
	int err;

	memcpy(&copy, bytes, WIRE_HDR_BYTES);
	err = wire_hdr_check(&copy, lane);
	if (err)
		return err;
	*hdr = copy;
	return 0;
}

const char *wire_type_name(uint8_t type)
{
	const struct rule *rule = rule_of(type);

	return rule ? rule->name : "?";
}

const char *wire_error(int err)
{
	switch (err) {
	case -ENOMSG:
		return "a message of unknown type";
	case -EPROTOTYPE:
		return "a message on a lane where it does not belong";
	case -EMSGSIZE:
		return "a message with a length that its type cannot have";
	case -EBADMSG:
		return "a message with a field out of its range";
	case -EPROTONOSUPPORT:
		return "a message of another protocol version";
	default:
		return "a message that does not decode";
	}
}

/* The flags of a struct that are a byte each. */
static bool is_bool(uint8_t byte)
{
	return byte <= 1;
}

/* Printable ASCII, a NUL within the array, nothing but NULs after it. */
static bool text_ok(const char *text, size_t size)
{
	size_t len = 0;

	while (len < size && text[len]) {
		if (text[len] < ' ' || text[len] > '~')
			return false;
		len++;
	}
	if (len == size)
		return false;
	while (len < size)
		if (text[len++])
			return false;
	return true;
}

int wire_ipi_decode(const uint8_t *bytes, size_t len, struct wire_ipi *ipi)
{
	struct wire_ipi in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.mode > 7 || !is_bool(in.level_trig) || !is_bool(in.assert) || in.reserved)
		return -EBADMSG;
	*ipi = in;
	return 0;
}

int wire_route_decode(const uint8_t *bytes, size_t len, struct wire_route *route)
{
	struct wire_route in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.vcpu >= VCPUS_MAX || in.mode > 2 || !is_bool(in.sw_enabled) || in.reserved || in.reserved2)
		return -EBADMSG;
	*route = in;
	return 0;
}

int wire_io_decode(const uint8_t *bytes, size_t len, struct wire_io *io)
{
	struct wire_io in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (!is_bool(in.write) || !is_bool(in.mmio) || in.reserved)
		return -EBADMSG;
	/* All that a guest can cause: a port access may reach over the last port, and of an MMIO access that crosses a page
	 * each part comes alone, with any length. Addresses do not wrap. */
	if (in.mmio ? in.len < 1 || in.len > 8 : in.len != 1 && in.len != 2 && in.len != 4)
		return -EBADMSG;
	if (in.addr > (in.mmio ? UINT64_MAX - (in.len - 1) : UINT64_C(0xffff)))
		return -EBADMSG;
	*io = in;
	return 0;
}

int wire_clock_req_decode(const uint8_t *bytes, size_t len, struct wire_clock_req *req)
{
	const int64_t span = (int64_t)WIRE_CLOCK_SPAN_MAX;
	struct wire_clock_req in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.ahead < -span || in.ahead > span || in.bound > WIRE_CLOCK_SPAN_MAX || in.least > WIRE_CLOCK_SPAN_MAX ||
	    in.median > WIRE_CLOCK_SPAN_MAX || in.ppb < -WIRE_CLOCK_PPB_MAX || in.ppb > WIRE_CLOCK_PPB_MAX ||
	    in.flags & ~WIRE_CLOCK_SET)
		return -EBADMSG;
	*req = in;
	return 0;
}

int wire_clock_reply_decode(const uint8_t *bytes, size_t len, struct wire_clock_reply *reply)
{
	struct wire_clock_reply in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.ppb < 0 || in.ppb > WIRE_CLOCK_PPB_MAX || in.next_ppb < 0 || in.next_ppb > WIRE_CLOCK_PPB_MAX)
		return -EBADMSG;
	*reply = in;
	return 0;
}

int wire_entry_decode(const uint8_t *bytes, size_t len, struct wire_entry *entry)
{
	struct wire_entry in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.mode > 1 || in.reserved)
		return -EBADMSG;
	*entry = in;
	return 0;
}

int wire_stop_decode(const uint8_t *bytes, size_t len, struct wire_stop *stop)
{
	struct wire_stop in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.reason < WIRE_STOP_POWEROFF || in.reason > WIRE_STOP_ERROR || in.node >= NODES_MAX ||
	    !text_ok(in.text, sizeof(in.text)))
		return -EBADMSG;
	*stop = in;
	return 0;
}

/* Whether `len` is that of a struct whose array cpuid, at `offset`, has n entries. */
static bool cpuid_len_ok(size_t len, size_t offset, uint32_t n)
{
	return n <= WIRE_CPUID_MAX && len == offset + n * sizeof(struct wire_cpuid);
}

int wire_facts_decode(const uint8_t *bytes, size_t len, struct wire_facts *facts)
{
	const size_t fixed = offsetof(struct wire_facts, cpuid);
	struct wire_facts in;

	if (len < fixed || len > sizeof(in))
		return -EMSGSIZE;
	memset(&in, 0, sizeof(in));
	memcpy(&in, bytes, len);
	if (in.version != WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if (!cpuid_len_ok(len, fixed, in.n_cpuid))
		return -EMSGSIZE;
	if (in.reserved || in.reserved2 || in.port == 0 || in.tsc_khz == 0 || !text_ok(in.cpu_vendor, sizeof(in.cpu_vendor)))
		return -EBADMSG;
	*facts = in;
	return 0;
}

static bool machine_node_ok(const struct wire_machine_node *node, node_t number)
{
	return (node->port != 0 || number == 0) && node->reserved == 0 && node->mem_bytes % PAGE_BYTES == 0 &&
	       (node->budget_bytes == 0 || node->budget_bytes >= node->mem_bytes) && node->host[0] &&
	       text_ok(node->host, sizeof(node->host));
}

int wire_machine_decode(const uint8_t *bytes, size_t len, struct wire_machine *machine)
{
	static const struct wire_machine_node none;
	const size_t fixed = offsetof(struct wire_machine, cpuid);
	struct wire_machine in;
	uint64_t vcpus = 0, pages = 0;

	if (len < fixed || len > sizeof(in))
		return -EMSGSIZE;
	memset(&in, 0, sizeof(in));
	memcpy(&in, bytes, len);
	if (in.version != WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if (!cpuid_len_ok(len, fixed, in.n_cpuid))
		return -EMSGSIZE;
	if (in.n_nodes == 0 || in.n_nodes > NODES_MAX || in.self >= in.n_nodes || in.shards == 0 || in.shards > WIRE_SHARDS_MAX ||
	    in.tsc_khz == 0)
		return -EBADMSG;
	for (node_t i = 0; i < in.n_nodes; i++) {
		if (!machine_node_ok(&in.node[i], i))
			return -EBADMSG;
		vcpus += in.node[i].vcpus;
		pages += in.node[i].mem_bytes / PAGE_BYTES; /* 64 times less than 2^52: cannot wrap */
	}
	for (node_t i = in.n_nodes; i < NODES_MAX; i++)
		if (memcmp(&in.node[i], &none, sizeof(none)) != 0)
			return -EBADMSG;
	/* What sums of these are later cast to: vcpu_t, and bytes in 52 bits of physical address. */
	if (vcpus == 0 || vcpus > VCPUS_MAX || pages == 0 || pages > (UINT64_C(1) << (52 - PAGE_SHIFT)))
		return -EBADMSG;
	*machine = in;
	return 0;
}

int wire_rdma_decode(const uint8_t *bytes, size_t len, struct wire_rdma *rdma)
{
	static const uint8_t none[16];
	struct wire_rdma in;

	if (len != sizeof(in))
		return -EMSGSIZE;
	memcpy(&in, bytes, sizeof(in));
	if (in.ok > 1 || in.addrs > WIRE_RDMA_ADDRS_MAX || !text_ok(in.why, sizeof(in.why)) || (in.ok == 1) == (in.why[0] != 0))
		return -EBADMSG;
	for (size_t i = in.addrs; i < WIRE_RDMA_ADDRS_MAX; i++)
		if (memcmp(in.addr[i], none, sizeof(none)) != 0)
			return -EBADMSG;
	*rdma = in;
	return 0;
}

int wire_stats_decode(const uint8_t *bytes, size_t len, uint64_t *counters, size_t max, size_t *n)
{
	size_t there = len / sizeof(uint64_t);

	if (len > WIRE_PAYLOAD_MAX || len % sizeof(uint64_t) != 0)
		return -EMSGSIZE;
	memset(counters, 0, max * sizeof(*counters));
	if (there)
		memcpy(counters, bytes, MIN(there, max) * sizeof(*counters));
	*n = there;
	return 0;
}

size_t wire_facts_bytes(const struct wire_facts *facts)
{
	return offsetof(struct wire_facts, cpuid) + facts->n_cpuid * sizeof(struct wire_cpuid);
}

size_t wire_machine_bytes(const struct wire_machine *machine)
{
	return offsetof(struct wire_machine, cpuid) + machine->n_cpuid * sizeof(struct wire_cpuid);
}

/* Text cut to what fits into zeroed bytes, unprintable bytes replaced. */
static void copy_text(char *to, size_t size, const char *text)
{
	for (size_t i = 0; i < size - 1 && text[i]; i++)
		to[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
}

void wire_stop_make(enum wire_stop_reason reason, node_t node, const char *text, struct wire_stop *stop)
{
	memset(stop, 0, sizeof(*stop));
	stop->reason = reason;
	stop->node = node;
	copy_text(stop->text, sizeof(stop->text), text);
}

void wire_rdma_make(const char *why, struct wire_rdma *rdma)
{
	memset(rdma, 0, sizeof(*rdma));
	rdma->ok = !why;
	if (why)
		copy_text(rdma->why, sizeof(rdma->why), *why ? why : "?");
}
