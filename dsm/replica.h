/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replicas: page tables of the guest that several nodes have writable at once. dsm/PROTOCOL.md, "Replicas", has the argument.
 *
 * With nested paging the processor walks the guest's page tables as a writer. A table that all nodes use would be taken away from
 * all others by each miss of a TLB, although nothing is written. So a home lends a settled table (tables.h) that goes round: every
 * borrower gets the bytes, writable, and keeps a copy of them beside, the twin. A twin that differs means that software has
 * written.
 *
 *      home                                       borrower
 *      lent  ---LEND(bytes)------------------->   borrowed      page = twin
 *        | its page differs, or                     | its page differs, or RECALL
 *        |<--GIVE_BACK(bytes or nothing)------------+---> returning, if it had written
 *      recalling ---RECALL to the others------>     |
 *        | all have answered: merge, an ordinary    |
 *        | page again                               v
 *        +----RELEASED to those who wrote------>  none
 *
 * R1 Release: no message by which another node could learn of what this node has written later (DATA, ACK, GRANT, a first LEND, an
 *    interrupt, an access to a device) leaves while a write to a replica here is not known to all: when one is made, all replicas
 *    are compared with their twins; those that differ go home, and it waits until that is over.
 *
 * R2 Only a table in a live tree of page tables, found from a CR3, that has settled is lent: no walk changes it.
 *
 * R3 A recall asks nothing of a vCPU and waits for nothing but answers that are given at once: it ends (D6).
 *
 * Threads: the shard's; replicas_release is any thread's. `lock` orders the table with that: a leaf. Only with one shard: a message
 * of one shard would have to wait for another's.
 */
#ifndef DSM_REPLICA_H
#define DSM_REPLICA_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/types.h"
#include "net/wire.h"

#define REPLICAS_MAX     1024u             /* a node has at once, its own and others' */
#define REPLICAS_WAITING 1024u             /* messages that may wait for a release */
#define REPLICA_RUNS     16u               /* of them with more than a page */
#define REPLICA_ROOTS    16u               /* CR3 values that are remembered */
#define REPLICA_LOOK_NS  (100 * NS_PER_MS) /* a write is found within this and half of it, also if nothing is sent */
#define REPLICA_MIN_SEQ  16u               /* a page that has changed hands as often may be a table that goes round */

enum replica_state {
	REPLICA_LENT,
	REPLICA_RECALLING,
	REPLICA_BORROWED,
	REPLICA_RETURNING,
};

struct replica {
	rpn_t page;
	enum replica_state state;
	uint32_t gen;        /* numbers the lendings of a home */
	uint64_t borrowers;  /* home: who has it and has not given it back */
	uint64_t owed;       /* home: who waits for RELEASED */
	uint64_t wait_read;  /* home: requests that wait for the end of a recall */
	uint64_t wait_write; /* ... */
	uint64_t since_ns;   /* of the recall or return */
	uint8_t *twin;       /* PAGE_BYTES */
};

struct replica_message {
	node_t to;
	struct wire_hdr hdr;
	uint8_t payload[PAGE_BYTES];
};

struct replicas {
	pthread_mutex_t lock;
	pthread_cond_t cond;     /* CLOCK_MONOTONIC: a release is over */
	_Atomic uint32_t n;      /* in use */
	struct replica *replica; /* [REPLICAS_MAX], the first n in use */
	uint8_t *twins;          /* [REPLICAS_MAX] pages, a slot each, moved with it */
	uint32_t under_way;      /* recalling or returning */
	uint32_t gen;
	uint32_t home_max; /* how many a home may lend, so that a borrower has room for all */
	uint32_t lent;
	uint64_t next_look_ns;
	int wake_fd;                     /* eventfd: replicas_release wants the shard's thread */
	uint64_t wanted, seen, done;     /* under lock: tickets of replicas_release */
	struct replica_message *waiting; /* [REPLICAS_WAITING] ring */
	uint32_t first, count;
	uint8_t *runs; /* [REPLICA_RUNS] payloads of those of waiting that are a run, in a ring */
	uint32_t first_run, run_count;
	uint32_t checked;                     /* of them, the first: since they were made all replicas were compared */
	bool quiet;                           /* no vCPU was in the guest when they were compared last, */
	uint64_t quiet_passes;                /* and the number was this (base/activity.h) */
	_Atomic uint64_t root[REPLICA_ROOTS]; /* CR3 of vCPUs here; bit 0: five levels; 0: none */
	_Atomic uint32_t next_root;
};

struct shard;

CHECKED int replicas_init(struct replicas *replicas, node_t nodes); /* -errno */
void replicas_destroy(struct replicas *replicas);
void replicas_reset(struct replicas *replicas);
/* A vCPU here uses this root of page tables. Any thread, lock-free. */
void replicas_root(struct replicas *replicas, uint64_t cr3, bool five_levels);

/* ---- the shard's thread ---- */

/* A request for a page of this home: true if a replica answers it or lets it wait, so that the directory must not see it.
 * `lendable`: the directory says that this home alone has the page and that it has changed hands often enough. */
bool replica_request(struct shard *shard, node_t from, rpn_t page, bool write, bool lendable);
/* LEND, RECALL, GIVE_BACK, RELEASED. -EPROTO: it is not one that the peer may send now; other: logged. */
CHECKED int replica_message(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload);
/* R1. True: the message was taken and goes out later. While one waits all that follow are taken, as they must stay behind it (P3),
 * but for the replicas' own messages, which end the waiting. */
bool replica_defers(struct shard *shard, node_t to, const struct wire_hdr *hdr, const uint8_t *payload);
/* R1. The round is over: what was taken in it and need not wait is sent. Before each net_flush. */
void replica_round(struct shard *shard);
/* Where the payload of a DATA or RUN_DATA belongs that replica_defers would take now; NULL: it would not, or has no room. Until it
 * takes one.
 */
uint8_t *replica_slot(const struct shard *shard, uint32_t len);
/* Whether replica_defers could take a message of this length now: a run needs not be made one. */
bool replica_has_room(struct shard *shard, uint32_t len);
/* Called now and then: a write to a replica is known to all in a while, also if nothing else is sent. */
CHECKED int replica_look(struct shard *shard, uint64_t now);
/* wake_fd is readable. */
CHECKED int replica_wake(struct shard *shard);
/* The page is here as a replica of another home's. */
bool replica_borrows(const struct replicas *replicas, rpn_t page);
/* One of these pages is lent or borrowed here. */
bool replica_within(const struct replicas *replicas, rpn_t first, uint64_t pages);
/* The oldest recall or return is older than `ns`. */
bool replica_overdue(const struct replicas *replicas, uint64_t now, uint64_t ns);

/* ---- any other thread ---- */

/* True if the page is lent or borrowed now. */
bool replicas_has(struct replicas *replicas, rpn_t page);

/* R1 for what other lanes carry: returns when no write to a replica here is unknown to another node. -ETIMEDOUT after 10 s. */
CHECKED int replicas_release(struct shard *shard);

#endif
