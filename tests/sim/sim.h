/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: dsm as it ships, 2 to 64 nodes in one thread, over a modelled network and a virtual clock.
 *
 * Linked from the product: all of dsm (proto.c, steps.c, shard.c, replica.c, damping.c ...) but view.c, and wire.c. Replaced: the
 * view (view.c here: a table of what each node may do with each page, and its bytes), the transport (net.c: latency, bandwidth, the
 * processor's time a message) and clock_gettime (the linker's --wrap), so that nothing in dsm knows. vCPUs are programs of
 * accesses (pattern.c) which sleep in a fault as threads do.
 *
 *      vCPU --access--> view --fault--> shard_serve_...() --net_queue-> LAND at the other's port --> ARRIVE --> shard_serve_...()
 *                         ^--install, unprotect, wake--'
 *
 * What a shard does for one fault or message happens at the moment when it begins; its time is what it spends on it, and so is when
 * its messages leave, its vCPUs go on and its next event begins. Events of one time are in the order in which they were made, so a
 * run is determined by its options. One thread; the one global, sim_now, is what clock_gettime and view_new have no argument for.
 *
 * Checked all the time: a read returns what the last writer wrote (D2), nothing is installed over a page that is there (D3). At the
 * end: nobody waits, every directory entry says who has the page (P2), every copy has the last bytes. A failure is one line on
 * stderr and exit 1.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "dsm/shard.h"

#define SIM_HOME_PAGES BLOCK_PAGES /* each node is home of one block */
#define SIM_WORDS      4u          /* of a page are used */
#define SIM_FRAME      66u         /* bytes of Ethernet, IP and TCP headers a message */

/* What things cost, ns. */
struct sim_costs {
	uint64_t latency; /* one way, between the network ports of two hosts */
	uint64_t jitter;  /* [0, jitter] is added to it */
	uint64_t mbit;    /* of a port; 0: without limit */
	uint64_t flush;   /* of the shard's thread: that there is something to send, */
	uint64_t send;    /* a peer to whom it is sent, */
	uint64_t poll;    /* that something has come, */
	uint64_t recv;    /* a peer from whom it has come, */
	uint64_t more;    /* and each further message to or from the same peer at once */
	uint64_t asleep;  /* a shard that slept begins to run */
	uint64_t fault;   /* from the access to the event that the shard can read */
	uint64_t wake;    /* from the wake to the next try of the access */
	uint64_t protect; /* userfaultfd write protection, on or off */
	uint64_t drop;    /* a page is punched out */
	uint64_t install; /* a page is copied in */
	uint64_t read;    /* a page is read: copied aside, looked through */
	uint64_t split;   /* a private block becomes pages */
	uint64_t local;   /* an access that does not fault */
};

/* How the model can be broken, so that a test sees that a broken run is found. */
enum sim_break { SIM_BREAK_NOTHING, SIM_BREAK_KEEP_COPY, SIM_BREAK_OLD_BYTES };

struct sim_options {
	node_t nodes;
	unsigned shards, vcpus; /* of each node */
	uint64_t seed;
	unsigned without; /* as in struct dsm_config */
	uint32_t pages;   /* of each node that a pattern uses */
	uint32_t rounds;  /* how often */
	uint32_t sharers; /* pattern "invalidate": how many copies; 0: all other nodes */
	uint32_t relays;  /* dsm_config.relays_from */
	bool one_by_one;  /* a shard takes one message at a time, between which vCPUs run, and not all that are there */
	struct sim_costs costs;
	enum sim_break broken;
};

struct sim;
struct vcpu;

struct access {
	rpn_t page;
	unsigned word;
	bool write; /* a new value */
	bool walk;  /* a writer that changes nothing, as a processor that walks page tables */
	bool raw;   /* write `value` as it is */
	uint64_t value;
};

/* THINK: it goes on at v->until_ns. */
enum next { NEXT_ACCESS, NEXT_WAIT, NEXT_THINK, NEXT_END };

/* A way to use memory. It has phases; all vCPUs end one before the next begins, and the last is measured. */
struct pattern {
	const char *name, *what;
	unsigned phases;
	/* The vCPU's next access, of its `step`; WAIT: asked again after each access of another. */
	enum next (*next)(struct sim *sim, struct vcpu *vcpu, struct access *access);
};

struct vcpu {
	node_t node;
	unsigned index;    /* of its node */
	uint64_t step;     /* accesses made in this phase */
	uint64_t thought;  /* before which step it has thought, + 1 */
	uint64_t until_ns; /* it thinks */
	bool ended, waiting, asleep, has_access;
	struct access access;
	uint64_t fault_number; /* of the last fault: an older one in the queue is void */
	uint64_t fault_ns;     /* when the access first faulted; 0: it has not */
};

/* What the measured phase cost. */
struct sim_result {
	uint64_t accesses, faults, messages, bytes, held;
	uint64_t duration_ns;
	uint64_t *fault_ns; /* [faults], ascending; the caller frees it */
};

struct sim_event {
	uint64_t at, order;
	enum { EV_RUN, EV_FAULT, EV_LAND, EV_ARRIVE, EV_SERVE, EV_TICK } type;
	uint32_t who; /* vCPU or actor */
	uint64_t number;
	struct sim_message *message;
};

struct sim_message {
	struct sim_message *next;
	node_t from;
	uint32_t len;
	uint8_t bytes[]; /* as on the wire */
};

/* A shard of a node, as the network and the clock see it. */
struct actor {
	struct net_lane lane;
	struct sim *sim;
	struct shard *shard;
	uint64_t free_ns; /* its thread is busy until then */
	uint64_t tick_ns; /* an EV_TICK is set for then; 0: none */
	bool serving;     /* an EV_SERVE is set */
	int fd;
	struct sim_message *inbox, **inbox_end;
	uint64_t kept_for; /* nodes for which there is something in */
	struct sim_message *kept[NODES_MAX], **kept_end[NODES_MAX];
	uint32_t fault[256]; /* a ring of vCPUs */
	uint64_t fault_number[256];
	unsigned fault_first, faults;
};

struct view; /* of this program's view.c */

struct sim {
	struct sim_options options;
	const struct pattern *pattern;
	struct dsm_sink sink;
	uint64_t now; /* of what is being done */
	uint64_t order;
	uint64_t random;
	struct sim_event *heap;
	size_t events, events_room;

	rpn_t pages;
	struct dsm *dsm[NODES_MAX];
	struct view *view[NODES_MAX];
	node_t made;                  /* view_new: whose view it makes */
	struct actor *actor;          /* [nodes * shards] */
	uint64_t out_free[NODES_MAX]; /* port, out: free again */
	uint64_t in_free[NODES_MAX];  /* ... in */
	uint64_t *last_land;          /* [actor][node]: a pair's messages stay in order */
	struct vcpu *vcpu;            /* [nodes * vcpus] */
	uint8_t *truth;               /* every page as the last writer left it */
	uint64_t values;              /* written so far */
	uint64_t drops;

	unsigned phase;
	bool measuring;
	uint64_t accesses;
	uint64_t *fault_ns;
	size_t faults, faults_room;
	uint32_t *turn; /* for the pattern: a counter a page, 0 when a phase begins */
};

extern struct sim *sim_now;

/* Runs one pattern. Failures end the program. */
void sim_run(const struct sim_options *options, const struct pattern *pattern, struct sim_result *result);

__attribute__((noreturn)) PRINTF_LIKE(2, 3) void sim_fail(const struct sim *sim, const char *fmt, ...);
uint64_t sim_random(struct sim *sim, uint64_t below);
void *sim_alloc(size_t n, size_t size); /* zeroed; ends the program if it cannot */
uint8_t *sim_lazy(size_t bytes);        /* zeroes that cost memory where they are touched */
void sim_lazy_free(uint8_t *zeroes, size_t bytes);
static inline void sim_spend(struct sim *sim, uint64_t ns)
{
	sim->now += ns;
}
/* Wakes who sleeps on the page, as userfaultfd does. */
void sim_wake(struct sim *sim, node_t node, rpn_t page);
void sim_push(struct sim *sim, struct sim_event event);
/* The next fault of a shard; false: none now. */
bool sim_next_fault(struct sim *sim, node_t node, unsigned shard, struct view_fault *fault);

/* net.c */
void simnet_init(struct actor *actor, node_t self, unsigned lane);
void simnet_land(struct sim *sim, struct sim_event *event); /* its last bit comes later */
/* Takes the first message of the inbox; NULL: none. */
struct sim_message *simnet_take(struct actor *actor);

/* view.c: may this access go on now? Otherwise what fault it makes. */
bool simview_allows(const struct view *view, rpn_t page, bool write, struct view_fault *fault);
uint8_t *simview_at(struct view *view, rpn_t page);
/* What the guest of this node may do with the page. */
enum proto_right simview_right(const struct view *view, rpn_t page);
bool simview_is_private(const struct view *view, rpn_t page);
/* Makes it so, with these bytes (NULL with PROTO_NONE): for a walk of states (tests/model/model_replica.c). */
void simview_set(struct view *view, rpn_t page, enum proto_right right, const uint8_t *bytes);

/* pattern.c */
extern const struct pattern sim_patterns[];
extern const size_t sim_patterns_n;

/* check.c: the state when nothing goes on any more; ends the program if something is wrong. */
void sim_check_rest(struct sim *sim);

#endif
