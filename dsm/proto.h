/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coherence protocol of one page of guest RAM: two pure machines which talk only by messages.
 *
 * The directory machine runs at the page's home and puts transactions in order; a cache machine runs
 * at every node (the home too) and holds that node's right. dsm/PROTOCOL.md defines both: words,
 * invariants D1..D8, diagrams, and a table of transitions with the function that makes each.
 *
 * A step is (state, event) -> (state, actions, verdict). It does no I/O, takes no lock, allocates
 * nothing, reads no clock and keeps no pointer. The caller owns all structs, lets one thread at a
 * time work on a page, and executes the actions in their order, all of them, before the page's next
 * event at this node. Messages from one node to another arrive in the order in which they were sent (P3),
 * and none is lost or doubled as long as both nodes live; beyond that any order is fine.
 *
 * Errors: what a peer does wrong is a verdict and leaves the state as it was, without an action;
 * what we do wrong is an assert, in release builds too. A step never fails otherwise.
 */
#ifndef DSM_PROTO_H
#define DSM_PROTO_H

#include "base/types.h"

/* What a node may do with a page. Each right includes the lower ones. */
enum proto_right { PROTO_NONE, PROTO_READ, PROTO_WRITE };

/* EXCL: one owner, the single bit of the copyset. SHARED: the copyset holds read-only copies. */
enum proto_mode { PROTO_EXCL, PROTO_SHARED };

enum proto_msg_type {
	PROTO_REQ_READ = 1, /* requester -> home */
	PROTO_REQ_WRITE,    /* requester -> home */
	PROTO_FWD_READ,     /* home -> supplier: keep a read-only copy, send DATA to the requester */
	PROTO_FWD_WRITE,    /* home -> supplier: drop the page, send DATA to the requester; acks */
	PROTO_INV,          /* home -> sharer: drop the page, send ACK to the requester; pass: and INV to those sharers */
	PROTO_ACK,          /* sharer -> requester */
	PROTO_DATA,         /* supplier -> requester: right, acks, ZERO or HAS_DATA */
	PROTO_GRANT,        /* home -> requester: your read-only copy becomes writable; acks */
	PROTO_DONE,         /* requester -> home, or the home's cache -> home: the transaction is over */
	PROTO_LOST,         /* home -> requester: a node that had the page is gone, there will be no answer */
	PROTO_FWD_GRANT,    /* home -> itself: drop your read-only copy, send GRANT to the requester; acks */
	PROTO_OFFER,        /* holder -> home: I would rather not hold the page. A hint: the home may ignore it */
	PROTO_DROP,         /* home -> sharer who offered (the requester): drop the page, send DONE */
	PROTO_VOID,         /* home -> requester: you have it, it was pushed to you before your request came */
	PROTO_MSG_END
};

/* Flags of DATA: exactly one. Whoever reads the bytes for a SEND with_data chooses. */
#define PROTO_ZERO     0x01u /* the page is all zero, no payload */
#define PROTO_HAS_DATA 0x02u /* the payload is the page */
/* Of DATA, FWD_READ and FWD_WRITE: the requester has not asked. */
#define PROTO_PUSH 0x04u

/* Transactions of a page are numbered modulo 2^30 by its home. */
#define PROTO_SEQ_MASK 0x3fffffffu

/* A message about a page; which page it is about is implied. Fields a type does not use are zero. */
struct proto_msg {
	uint8_t type;
	uint8_t flags;
	uint8_t right;    /* DATA: enum proto_right granted */
	uint8_t acks;     /* FWD_WRITE, FWD_GRANT, DATA, GRANT: ACKs the requester must have before it may write */
	uint32_t epoch;   /* of the sender's view of who is home to what */
	uint32_t seq;     /* the transaction's; 0 in REQ_* and OFFER, which come before it, and in VOID */
	node_t from;      /* filled in by the receiver from the connection, never from the wire */
	node_t requester; /* whom the transaction serves */
	uint64_t pass;    /* INV of the home: sharers to whom the receiver sends it on */
};

/* Who runs the step. epoch: bumped by the runtime when homes change. */
struct proto_ctx {
	node_t self;
	node_t home;  /* < nodes */
	node_t nodes; /* <= NODES_MAX */
	uint32_t epoch;
};

enum proto_event_type {
	PROTO_EV_FAULT_READ,  /* cache: a local thread could not read; it may be stale, the mapping is unknown */
	PROTO_EV_FAULT_WRITE, /* cache: a local thread could not write; the same */
	PROTO_EV_MSG,         /* msg has come; for which machine, proto_msg_for_dir() tells */
	PROTO_EV_PEER_LOST,   /* both: peer is gone; nothing more from it will be delivered to this node */
	PROTO_EV_TIMEOUT,     /* both: what was begun here is older than the runtime's bound */
	PROTO_EV_PUSH,        /* directory: peer had better have a copy. Policy: ignored where it does not fit */
	PROTO_EV_GIVE,        /* directory: peer had better own the page, which only the home has. The same */
};

struct proto_event {
	uint8_t type;
	bool relay;     /* REQ_WRITE, DONE at the home: sharers had better pass INVs on. Policy: any value is right */
	bool exclusive; /* REQ_READ, DONE at the home: an owned page goes to who wants to read it for writing. Policy: any value is
			   right */
	uint64_t push; /* REQ_READ, DONE at the home: who had better have a copy too, of a READ that others supply. Policy, as above
			*/
	node_t peer;   /* PEER_LOST, PUSH, GIVE: not self */
	struct proto_msg msg;
};

enum proto_action_type {
	PROTO_PROTECT, /* make the guest view read-only */
	PROTO_LOAD,    /* take the bytes for the SEND that follows; the guest view is not writable now (D4) */
	PROTO_UNMAP,   /* drop the page from the guest view, and its bytes */
	PROTO_SEND,    /* send msg to every node of the set `to`; with_data: with the bytes of LOAD as ZERO or HAS_DATA */
	PROTO_INSTALL, /* fill the hole from the event's message, or with zero; right; wake: only then wake the threads */
	PROTO_UPGRADE, /* make the read-only page writable, wake */
	PROTO_MAP,     /* see that the guest view shows the page with `right`: a hole in a page of ours is filled with zero */
	PROTO_WAKE,    /* wake every thread asleep on this page; each tries again and may fault again */
	PROTO_FAIL,    /* the threads asleep on this page can never go on: the VM stops */
	PROTO_ADOPT,   /* directory: give FAULT_WRITE to the cache machine of the page here, so that it comes home */
};

struct proto_action {
	uint8_t type;
	uint8_t right;        /* INSTALL, MAP */
	bool zero;            /* INSTALL: zero instead of the payload */
	bool wake;            /* INSTALL */
	bool with_data;       /* SEND */
	uint64_t to;          /* SEND: bit n is node n; self is a legal member: loop it back */
	struct proto_msg msg; /* SEND: complete but for ZERO/HAS_DATA */
};

#define PROTO_ACTIONS_MAX 64 /* a FWD_READ for each of the others; other steps have at most 5 */
struct proto_actions {
	uint32_t n;
	struct proto_action action[PROTO_ACTIONS_MAX];
};

enum proto_verdict {
	PROTO_OK,
	PROTO_STALE,      /* the message is of an old epoch or transaction: dropped, an INV answered; state untouched */
	PROTO_PEER_FAULT, /* msg.from broke the protocol: fence it; state untouched, no actions */
	PROTO_TIMED_OUT,  /* TIMEOUT was right: something is still outstanding; state untouched */
	PROTO_GONE,       /* the page is lost with a peer; actions as always */
	PROTO_EARLY, /* INV by another sharer before the copy that it is about: give it again after the page's next message; state
			untouched, no actions */
};

/* The directory entry. Everything but copyset, mode, seq and lost is zero unless busy. */
struct proto_dir {
	uint64_t copyset;    /* who will hold the page when the running transaction is over; never empty */
	uint64_t wait_read;  /* queued requesters; disjoint */
	uint64_t wait_write; /* ... */
	uint64_t involved;   /* busy: the nodes whose loss would stop the transaction */
	uint64_t reading;    /* busy with a READ that others than the home supply: whom it still serves, asked or not */
	uint32_t seq;        /* of the last transaction begun */
	uint8_t mode;        /* enum proto_mode */
	uint8_t requester;   /* busy: whom it serves; of a READ, for whom it was begun */
	bool busy;
	bool lost;
};

/* One node's side. Everything but right and lost is zero unless pending. */
struct proto_cache {
	uint64_t acked;  /* who has sent ACK */
	uint32_t seq;    /* started: of our transaction */
	uint8_t right;   /* enum proto_right: what the guest view may show */
	uint8_t pending; /* enum proto_right: what was requested from the home; NONE: nothing */
	uint8_t acks;    /* reply: ACKs to wait for */
	bool started;    /* a message of our transaction has come, seq is known */
	bool reply;      /* DATA or GRANT has come */
	bool lost;       /* the home said LOST, or is gone: no request will be answered */
};

/* The page as the VM starts: the home owns it. */
void proto_dir_init(struct proto_dir *dir, const struct proto_ctx *ctx);
void proto_cache_init(struct proto_cache *cache, const struct proto_ctx *ctx);

/* True: REQ_*, OFFER and DONE, for the directory machine. False: for the cache machine, which also refuses unknown types. */
bool proto_msg_for_dir(uint8_t type);

/* One step. `out` is overwritten always. The event must be one the machine knows; messages may be anything. */
CHECKED enum proto_verdict proto_dir_step(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev,
					  struct proto_actions *out);
CHECKED enum proto_verdict proto_cache_step(struct proto_cache *cache, const struct proto_ctx *ctx, const struct proto_event *ev,
					    struct proto_actions *out);

/* Who supplies the page: the home if it has a copy (two hops), otherwise the first holder after the requester, so that
 * requesters spread over holders. holders is not empty and without the requester. */
node_t proto_supplier(uint64_t holders, node_t home, node_t requester);

/* A machine at rest needs few bytes. An entry of zeroes is a page that never left its home. */
struct proto_dir_packed {
	uint32_t copyset[2]; /* low, high: keeps the alignment 4 and the size 12 */
	uint32_t word;       /* bit 0 mode, bit 1 lost, bits 2..31 seq */
};
bool proto_dir_idle(const struct proto_dir *dir);
bool proto_cache_idle(const struct proto_cache *cache);
struct proto_dir_packed proto_dir_pack(const struct proto_dir *dir); /* idle only */
void proto_dir_unpack(struct proto_dir_packed packed, const struct proto_ctx *ctx, struct proto_dir *dir);
/* Takes the requests that wait at the home out of its queues, so that they can be given to it anew. */
void proto_dir_take_waiters(struct proto_dir *dir, uint64_t *wait_read, uint64_t *wait_write);
/* The page that was asked for came as a replica (replica.h), which the directory knows nothing of: the right is WRITE, nothing is
 * pending. False, and nothing changed: it was not asked for, or its transaction runs. */
CHECKED bool proto_cache_borrow(struct proto_cache *cache);
uint8_t proto_cache_pack(const struct proto_cache *cache); /* idle only; bits 0-1 right, bit 2 lost */
void proto_cache_unpack(uint8_t packed, struct proto_cache *cache);

/* For people: "REQ_READ", "peer fault"; "?" for a number without a name. */
const char *proto_msg_name(uint8_t type);
const char *proto_verdict_name(enum proto_verdict verdict);

_Static_assert(sizeof(struct proto_msg) == 32, "a message is copied about: keep it small");
_Static_assert(sizeof(struct proto_dir) == 48, "pool of busy entries");
_Static_assert(sizeof(struct proto_cache) == 24, "pool of pending pages");
_Static_assert(sizeof(struct proto_dir_packed) == 12, "12 bytes a shared page: 0.3 % of it");

#endif
