/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every byte that one node sends to another once they have authenticated (auth.h has the frames before that).
 *
 * A message is a header of WIRE_HDR_BYTES and `len` bytes of payload. All integers are little-endian and of fixed
 * width; the structs below *are* the layout (sizes and offsets are asserted), so encoding is a copy. Decoding copies
 * in first, then checks everything: a type that is not in the table, a length or flag that the type does not allow, a
 * reserved field that is not zero, text without its end: all refused. What is accepted is well-formed, no more: whether
 * a vCPU or a page exists is for the receiver to check.
 *
 * Pure: no I/O, no clock, no allocation, no state. Any thread. Errors: the -errno values of wire_error().
 *
 * Lanes: lane 0 is the control lane (interrupts, forwarded I/O, bring-up, heartbeat); the others are one a dsm shard.
 * A message on the wrong lane is refused. The table in wire.c is the only list of types, lengths, flags and lanes.
 *
 *   leader                         follower (a node that has accepted a JOIN, auth.h)
 *     |  <------------ FACTS           |   what this host has
 *     |  MACHINE ---------->           |   what the machine is; then every node connects to the nodes below it
 *     |  RDMA_OFFER, RDMA_RESULT <->   |   every pair of nodes, unless the machine's options say TCP (vmm/fabric.h)
 *     |  <------------ MESH_READY      |   all lanes to all nodes are up
 *     |  <------- CLOCK_REQ ...        |   many, each answered by CLOCK_REPLY, until its clock is that of the machine, and
 *     |  START ------------>           |   on for ever: vCPUs run
 *     |  PAUSE/RESET -> <- ..._ACK     |   a guest reboot: all paused, all reset, START again
 *     |  STOP ------------->           |   either way, whoever knows first; the receiver stops too
 */
#ifndef NET_WIRE_H
#define NET_WIRE_H

#include <assert.h>

#include "base/types.h"

#define WIRE_VERSION          9 /* raised by any change to this file that an older node would misread */
#define WIRE_HDR_BYTES        24
#define WIRE_PAYLOAD_MAX      65536u                          /* of a control message */
#define WIRE_DSM_PAYLOAD_MAX  4096u                           /* of a message on a dsm lane: a page; but of a run: */
#define WIRE_RUN_PAGES        16u                             /* of RUN_REQ, RUN_DATA */
#define WIRE_RUN_PAYLOAD_MAX  (WIRE_RUN_PAGES * (4096u + 4u)) /* TCP's only: net_payload_max */
#define WIRE_DELTA_MAX        1024u /* of DATA with a difference: what RDMA carries without a slot of staging memory */
#define WIRE_HOST_BYTES       64    /* a host's name or address with its terminating NUL */
#define WIRE_CPUID_MAX        256u
#define WIRE_SHARDS_MAX       16u
#define WIRE_SESSION_BYTES    16
#define WIRE_STOP_TEXT_BYTES  200
#define WIRE_RDMA_ADDRS_MAX   8u
#define WIRE_RDMA_TOKEN_BYTES 24
#define WIRE_RDMA_WHY_BYTES   200

/* 0 is no type, so that a zeroed header is refused. */
enum wire_type {
	/* dsm lanes; arg = rpn, node = the requester whose request this serves, seq and epoch as dsm/PROTOCOL.md says */
	/* REQ_*, FWD_*: payload: none, or a u32, the transaction whose bytes the requester has kept (dsm/kept.h) */
	WIRE_REQ_READ = 1,
	WIRE_REQ_WRITE,
	WIRE_FWD_READ,
	WIRE_FWD_WRITE,
	WIRE_INV, /* payload: none, or a u64, the nodes to whom the receiver passes it on: bit n is node n */
	WIRE_ACK,
	WIRE_DATA, /* payload: the page; none with WIRE_F_ZERO; with WIRE_F_DELTA a u32, the transaction, and the difference to its
		      bytes */
	WIRE_GRANT,
	WIRE_DONE,
	/* replicas (dsm/replica.h); seq = the number of the lending */
	WIRE_LEND,      /* payload: the page */
	WIRE_RECALL,    /* */
	WIRE_GIVE_BACK, /* payload: the page if it was written, or none */
	WIRE_RELEASED,  /* */
	/* eviction */
	WIRE_OFFER, /* */
	WIRE_DROP,  /* */
	/* pushes */
	WIRE_VOID,  /* */
	WIRE_BLOCK, /* every page of the block of `arg` but that one is given to the receiver, zero, right WRITE (dsm/blocks.h) */
	/* runs of `acks` pages, from 2 to WIRE_RUN_PAGES, from `arg` on, all of one block (dsm/run.h) */
	WIRE_RUN_REQ,  /* a REQ_READ of each, with AHEAD */
	WIRE_RUN_DATA, /* a DATA of each, with the right READ; payload: a u32 each, its seq, then the pages */

	/* control lane; arg = 0 where nothing is said */
	WIRE_IPI = 24,  /* wire_ipi */
	WIRE_EOI,       /* arg = vector */
	WIRE_ROUTE,     /* wire_route; answered by WIRE_ROUTE_ACK with its seq */
	WIRE_ROUTE_ACK, /* */
	WIRE_IO,        /* wire_io; answered by WIRE_IO_REPLY with its seq */
	WIRE_IO_REPLY,  /* wire_io, `data` filled in for a read */

	WIRE_FACTS = 32,  /* wire_facts up to the last CPUID entry used */
	WIRE_MACHINE,     /* wire_machine up to the last CPUID entry used */
	WIRE_MESH_READY,  /* */
	WIRE_CLOCK_REQ,   /* wire_clock_req, follower to node 0; answered by WIRE_CLOCK_REPLY with its seq */
	WIRE_CLOCK_REPLY, /* wire_clock_reply */
	WIRE_START,       /* */
	WIRE_PAUSE,       /* answered by WIRE_PAUSE_ACK with its seq */
	WIRE_PAUSE_ACK,   /* */
	WIRE_RESET,       /* answered by WIRE_RESET_ACK with its seq */
	WIRE_RESET_ACK,   /* */
	WIRE_STOP,        /* wire_stop; arg = exit status for WIRE_STOP_DEBUG_EXIT, else 0 */
	WIRE_PING,        /* heartbeat: arg = the sender's clock, ns; answered by WIRE_PONG with its arg and seq */
	WIRE_PONG,        /* */
	WIRE_STATS_REQ,   /* answered by WIRE_STATS with its seq */
	WIRE_STATS,       /* little-endian u64 counters, whose meaning both ends know by WIRE_VERSION */
	WIRE_ENTRY,       /* wire_entry: leader to the node of vCPU 0, before START, if it is not its own */

	/* between two nodes, before there are lanes (net/rdma.h) */
	WIRE_RDMA_OFFER = 56, /* wire_rdma */
	WIRE_RDMA_RESULT,     /* wire_rdma: whether it worked; addresses, port and token are zero */
};

/* Flags; each type allows its own (the table). */
#define WIRE_F_ZERO  0x01 /* DATA: the page is all zero and not sent */
#define WIRE_F_WRITE 0x02 /* DATA: the right to write comes with it */
#define WIRE_F_ROOM  0x04 /* REQ_READ, REQ_WRITE: the sender has frames to spare: it may be given a block, and copies pushed */
#define WIRE_F_PUSH  0x08 /* FWD_READ, DATA: the requester has not asked */
#define WIRE_F_DELTA 0x10 /* DATA: a difference (dsm/delta.h), not with WIRE_F_ZERO or WIRE_F_PUSH */
#define WIRE_F_AHEAD 0x20 /* REQ, FWD, DATA: nobody waited for the page when it was asked for; a hint for net/outq.h */

enum wire_lane {
	WIRE_LANE_CONTROL,
	WIRE_LANE_DSM,
};

/*
 * Offset: 0     1      2..3   4..7  8..15  16..19  20..21  22..23
 *         type  flags  epoch  len   arg    seq     acks    node
 */
struct wire_hdr {
	uint8_t type;  /* enum wire_type */
	uint8_t flags; /* WIRE_F_... */
	uint16_t epoch;
	uint32_t len; /* bytes of payload after the header */
	uint64_t arg; /* dsm lanes: rpn; else as the type says */
	uint32_t seq;
	uint16_t acks; /* dsm lanes: acknowledgements that the requester must await; [0, NODES_MAX]; of a run: its pages */
	uint16_t node; /* the requester; [0, NODES_MAX) */
};

/* How an interrupt is delivered: the encoding of the ICR (Intel SDM Vol. 3A, 10.6.1). The guest chooses the mode, also the
 * reserved 3 by way of the IOAPIC: that is the receiving LAPIC's to ignore, not a reason to lose the peer. */
struct wire_ipi {
	uint8_t vector;
	uint8_t mode;       /* delivery mode [0, 7] */
	uint8_t level_trig; /* 0 or 1 */
	uint8_t assert;     /* 0 or 1 */
	uint32_t reserved;
	uint64_t vcpus[VCPUS_MAX / 64]; /* the destinations: bit v%64 of word v/64 */
};

/* What a remote sender must know of a vCPU's LAPIC to match destinations. */
struct wire_route {
	uint32_t vcpu; /* [0, VCPUS_MAX) */
	uint32_t id;
	uint32_t ldr;
	uint32_t dfr;
	uint8_t mode;       /* 0 disabled, 1 xAPIC, 2 x2APIC */
	uint8_t sw_enabled; /* 0 or 1: bit 8 of the spurious-interrupt vector register */
	uint16_t reserved;
	uint32_t reserved2;
};

/* A port or MMIO exit sent to the device's node. */
struct wire_io {
	uint64_t addr; /* port, or gpa if mmio */
	uint64_t data; /* the low `len` bytes count */
	uint32_t len;  /* bytes: 1, 2 or 4; with mmio [1, 8] */
	uint8_t write; /* 0 or 1 */
	uint8_t mmio;  /* 0 or 1 */
	uint16_t reserved;
};

struct wire_cpuid {
	uint32_t function, index, flags; /* flags: KVM_CPUID_FLAG_... */
	uint32_t eax, ebx, ecx, edx;
};

/* What a host can give: follower to leader. The bytes on the wire end with cpuid[n_cpuid - 1]. */
struct wire_facts {
	uint32_t version; /* WIRE_VERSION */
	uint32_t n_cpuid; /* [0, WIRE_CPUID_MAX] */
	uint64_t mem_available_bytes;
	uint64_t kvm_features; /* bits that vmm defines */
	uint32_t tsc_khz;
	uint32_t vcpus_max;
	char cpu_vendor[16]; /* CPUID leaf 0: 12 letters, NUL */
	uint16_t port;       /* where this node listens for mesh lanes; not 0 */
	uint16_t reserved;
	uint32_t reserved2;
	struct wire_cpuid cpuid[WIRE_CPUID_MAX];
};

struct wire_machine_node {
	uint32_t vcpus;
	uint16_t port; /* where it listens for mesh lanes; not 0 unless this is node 0, who may not listen */
	uint16_t reserved;
	uint64_t mem_bytes;    /* a multiple of PAGE_BYTES */
	uint64_t budget_bytes; /* what its process may have resident; 0: no bound; else no less than mem_bytes */
	char host[WIRE_HOST_BYTES];
};

/* The whole machine: leader to each follower. The bytes on the wire end with cpuid[n_cpuid - 1]. */
struct wire_machine {
	uint32_t version; /* WIRE_VERSION */
	uint32_t n_nodes; /* [1, NODES_MAX] */
	uint32_t self;    /* which of them the receiver is */
	uint32_t shards;  /* dsm shards, thus lanes - 1: [1, WIRE_SHARDS_MAX] */
	uint8_t session[WIRE_SESSION_BYTES];
	uint32_t tsc_khz;                         /* the guest's */
	uint32_t n_cpuid;                         /* [0, WIRE_CPUID_MAX] */
	uint64_t options;                         /* bits that vmm defines */
	struct wire_machine_node node[NODES_MAX]; /* entries from n_nodes on are all zero */
	struct wire_cpuid cpuid[WIRE_CPUID_MAX];  /* the intersection, as every vCPU shall have it */
};

/* vcpu/oneclock.h has what these are for. Counters and spans of time are in cycles of the guest's counter; a counter may wrap. */
#define WIRE_CLOCK_PPB_MAX  2000000 /* no two clocks differ more: 0.2 percent */
#define WIRE_CLOCK_SPAN_MAX (UINT64_C(1) << 56)
#define WIRE_CLOCK_SET      1u /* flags: the follower's guest counter is set, vCPUs may run */

/* What a follower asks with, and what it knows of its clock, for node 0 to steer by and to report. */
struct wire_clock_req {
	uint64_t sent;   /* its counter when it sent this; comes back in the reply */
	int64_t ahead;   /* its guest counter against the machine's clock; [-SPAN_MAX, SPAN_MAX] */
	uint64_t bound;  /* the most that its guest counter can be off the machine's clock; [0, SPAN_MAX] */
	uint64_t least;  /* half of the shortest round trip; [0, SPAN_MAX] */
	uint64_t median; /* half of the median round trip; [0, SPAN_MAX] */
	uint64_t offset; /* what is added to its host's counter */
	uint64_t steps;  /* corrections so far */
	uint64_t moved;  /* their sum */
	int32_t ppb;     /* its host's counter against node 0's, billionths; [-PPB_MAX, PPB_MAX] */
	uint32_t flags;  /* WIRE_CLOCK_SET or 0 */
};

/* The machine's clock as a line over node 0's counter, oneclock.h: `at` at `from`, `ppb` faster than that counter until
 * `next_from`, `next_ppb` faster from then on. */
struct wire_clock_reply {
	uint64_t sent;              /* of the request */
	uint64_t received, replied; /* node 0's counter: request, reply */
	uint64_t from, at, next_from;
	int32_t ppb, next_ppb; /* [0, PPB_MAX] */
};

/* How vCPU 0 begins: boot.h, struct boot_entry. */
struct wire_entry {
	uint32_t mode; /* 0: long mode, 1: protected mode */
	uint32_t reserved;
	uint64_t rip, rsp, rax, rbx, rsi;
	uint64_t gdt, cr3; /* guest physical */
};

enum wire_stop_reason {
	WIRE_STOP_POWEROFF = 1, /* the guest powered off */
	WIRE_STOP_DEBUG_EXIT,   /* the guest wrote to isa-debug-exit */
	WIRE_STOP_QUIT,         /* the user: Ctrl-a x, SIGINT, SIGTERM */
	WIRE_STOP_LOST,         /* node `node` was lost */
	WIRE_STOP_CRASH,        /* the guest crashed: triple fault */
	WIRE_STOP_ERROR,        /* node `node` cannot go on */
};

struct wire_stop {
	uint32_t reason;                 /* enum wire_stop_reason */
	uint32_t node;                   /* [0, NODES_MAX) */
	char text[WIRE_STOP_TEXT_BYTES]; /* printable, NUL-terminated, zero after it */
};

/* How a node can be reached by RDMA, or why not. */
struct wire_rdma {
	uint32_t ok;                           /* 0: not, and `why` says so; 1: yes */
	uint16_t port;                         /* RDMA_PS_TCP; not 0 in an offer to be connected to */
	uint16_t addrs;                        /* [0, WIRE_RDMA_ADDRS_MAX] */
	uint8_t addr[WIRE_RDMA_ADDRS_MAX][16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d; those from `addrs` on are zero */
	uint8_t token[WIRE_RDMA_TOKEN_BYTES];  /* what the connections of this pair have to present */
	char why[WIRE_RDMA_WHY_BYTES];         /* printable, NUL-terminated, zero after it; empty if ok */
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the structs are the wire layout");
static_assert(sizeof(struct wire_hdr) == WIRE_HDR_BYTES && offsetof(struct wire_hdr, len) == 4 &&
		      offsetof(struct wire_hdr, arg) == 8 && offsetof(struct wire_hdr, seq) == 16 &&
		      offsetof(struct wire_hdr, acks) == 20 && offsetof(struct wire_hdr, node) == 22,
	      "wire_hdr");
static_assert(sizeof(struct wire_ipi) == 136 && offsetof(struct wire_ipi, vcpus) == 8, "wire_ipi");
static_assert(sizeof(struct wire_route) == 24 && offsetof(struct wire_route, mode) == 16, "wire_route");
static_assert(sizeof(struct wire_io) == 24 && offsetof(struct wire_io, len) == 16 && offsetof(struct wire_io, mmio) == 21,
	      "wire_io");
static_assert(sizeof(struct wire_cpuid) == 28, "wire_cpuid");
static_assert(offsetof(struct wire_facts, tsc_khz) == 24 && offsetof(struct wire_facts, port) == 48 &&
		      offsetof(struct wire_facts, cpuid) == 56 && sizeof(struct wire_facts) == 56 + 28 * 256,
	      "wire_facts");
static_assert(sizeof(struct wire_machine_node) == 88 && offsetof(struct wire_machine_node, mem_bytes) == 8, "wire_machine_node");
static_assert(offsetof(struct wire_machine, session) == 16 && offsetof(struct wire_machine, tsc_khz) == 32 &&
		      offsetof(struct wire_machine, node) == 48 && offsetof(struct wire_machine, cpuid) == 48 + 88 * 64 &&
		      sizeof(struct wire_machine) == 48 + 88 * 64 + 28 * 256,
	      "wire_machine");
static_assert(sizeof(struct wire_entry) == 64 && offsetof(struct wire_entry, rip) == 8, "wire_entry");
static_assert(sizeof(struct wire_clock_req) == 72 && offsetof(struct wire_clock_req, ppb) == 64, "wire_clock_req");
static_assert(sizeof(struct wire_clock_reply) == 56 && offsetof(struct wire_clock_reply, ppb) == 48, "wire_clock_reply");
static_assert(sizeof(struct wire_rdma) == 360 && offsetof(struct wire_rdma, addr) == 8 &&
		      offsetof(struct wire_rdma, token) == 136 && offsetof(struct wire_rdma, why) == 160,
	      "wire_rdma");
static_assert(sizeof(struct wire_stop) == 208 && offsetof(struct wire_stop, text) == 8, "wire_stop");

/* Writes the WIRE_HDR_BYTES of a header. */
void wire_hdr_encode(const struct wire_hdr *hdr, uint8_t *bytes);

/* Reads and checks the WIRE_HDR_BYTES at `bytes` of a message that came on a lane of kind `lane`.
 * -ENOMSG: no such type; -EPROTOTYPE: not on this lane; -EMSGSIZE: a length the type cannot have;
 * -EBADMSG: a flag, arg, acks or node out of range. */
CHECKED int wire_hdr_decode(const uint8_t *bytes, enum wire_lane lane, struct wire_hdr *hdr);

/* The same checks of a header that this node is about to send: for asserts. */
CHECKED int wire_hdr_check(const struct wire_hdr *hdr, enum wire_lane lane);

/* The kind of lane number `lane`. */
static inline enum wire_lane wire_lane_kind(unsigned lane)
{
	return lane == 0 ? WIRE_LANE_CONTROL : WIRE_LANE_DSM;
}

/* "REQ_READ"; "?" if there is no such type. */
const char *wire_type_name(uint8_t type);

/* Why bytes were refused, for a sentence "node 2 sent ...": e.g. "a message of unknown type". */
const char *wire_error(int err);

/* Payloads: [bytes, bytes+len) as the header said. -EMSGSIZE: not this length; -EBADMSG: a field out of its range. */
CHECKED int wire_ipi_decode(const uint8_t *bytes, size_t len, struct wire_ipi *ipi);
CHECKED int wire_route_decode(const uint8_t *bytes, size_t len, struct wire_route *route);
CHECKED int wire_io_decode(const uint8_t *bytes, size_t len, struct wire_io *io);
CHECKED int wire_entry_decode(const uint8_t *bytes, size_t len, struct wire_entry *entry);
CHECKED int wire_clock_req_decode(const uint8_t *bytes, size_t len, struct wire_clock_req *req);
CHECKED int wire_clock_reply_decode(const uint8_t *bytes, size_t len, struct wire_clock_reply *reply);
CHECKED int wire_stop_decode(const uint8_t *bytes, size_t len, struct wire_stop *stop);
CHECKED int wire_rdma_decode(const uint8_t *bytes, size_t len, struct wire_rdma *rdma);
/* These two leave the unused entries of *facts, *machine zero. -EPROTONOSUPPORT: another version. */
CHECKED int wire_facts_decode(const uint8_t *bytes, size_t len, struct wire_facts *facts);
CHECKED int wire_machine_decode(const uint8_t *bytes, size_t len, struct wire_machine *machine);
/* Copies at most `max` counters, zeroes the rest of [counters, counters+max); *n is how many came. */
CHECKED int wire_stats_decode(const uint8_t *bytes, size_t len, uint64_t *counters, size_t max, size_t *n);

/* How many bytes of the struct go out: up to the last CPUID entry. */
size_t wire_facts_bytes(const struct wire_facts *facts);
size_t wire_machine_bytes(const struct wire_machine *machine);

/* Fills in a STOP: text cut to what fits, unprintable bytes replaced. */
void wire_stop_make(enum wire_stop_reason reason, node_t node, const char *text, struct wire_stop *stop);
/* ok, or with the reason why not, made to fit likewise. The rest is zero. */
void wire_rdma_make(const char *why, struct wire_rdma *rdma);

#endif
