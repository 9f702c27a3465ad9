/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fabric within one process, for tests: every lane of every node of a machine, with delays and reordering drawn
 * from a seed. What is sent passes through the wire format, both ways, as over a real transport.
 *
 * Two modes. Timed (step = false): each message waits a random time in [min_delay_ns, max_delay_ns] and its lane's fd becomes
 * readable then; any number of threads; the seed decides the delays, the scheduler the rest. Step: nothing moves until
 * loop_step, which hands one message, chosen by the seed, to its lane: with one thread a run is determined by its seed.
 *
 * Order: with `fifo` messages of one node to another on one lane arrive in the order sent, as TCP's do; without, any
 * message may overtake any other.
 *
 * Threads and locks: net_send from any thread on any lane; a lane is polled by one thread. One mutex, a leaf. Owns its
 * lanes: net_free on one only closes it, which its peers see as a loss, and loop_free frees all. Allocates in net_send
 * and aborts if it cannot: this is for tests. Never full: no -ENOBUFS.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "net/net.h"

struct loop_net;

struct loop_options {
	uint64_t seed;
	uint64_t min_delay_ns; /* timed mode; not above max_delay_ns */
	uint64_t max_delay_ns; /* 0: at once */
	bool step;
	bool fifo;
	bool look; /* lanes have net_look */
};

/* A fabric of `nodes` nodes with `lanes` lanes each, lane 0 being the control lane. -EINVAL, -ENOMEM, -EMFILE. */
CHECKED int loop_new(node_t nodes, unsigned lanes, const struct loop_options *options, struct loop_net **out);

/* NULL is fine. No thread may be using a lane. */
void loop_free(struct loop_net *net);

/* The endpoint of `node` on lane `lane`; the fabric's. */
struct net_lane *loop_lane(struct loop_net *net, node_t node, unsigned lane);

/* Step mode: moves one message in flight to the lane it is for, which net_poll then finds, and says which lane that
 * is. False, outputs untouched, if nothing is in flight. */
bool loop_step(struct loop_net *net, node_t *node, unsigned *lane);

/* Messages sent and not yet handled by a net_poll. */
size_t loop_in_flight(struct loop_net *net);

/* `node` dies: what it sent and has not arrived is gone, every other node's lanes report it lost. */
void loop_lose(struct loop_net *net, node_t node);

#endif
