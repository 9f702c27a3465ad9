/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One clock: the questions between the nodes, and the steps of the guest's counter here. vcpu/oneclock.h has the reasoning.
 *
 * A follower asks node 0 every CLOCKSYNC_..._NS, less often as time passes, sets its counter before a vCPU runs, and steps its
 * vCPUs' counter when it has fallen behind the machine's clock. Node 0 answers, steers the machine's clock, steps its own counter,
 * and keeps each node's figures for the report.
 *
 * Threads: clocksync_new and _free are of who starts and stops the control thread, clocksync_figures any one's, the rest the
 * control thread's. One mutex inside, a leaf: the figures.
 */
#ifndef VMM_CLOCKSYNC_H
#define VMM_CLOCKSYNC_H

#include "net/net.h"
#include "vcpu/vcpu.h"

#define CLOCKSYNC_SET_EXCHANGES 40                /* before a vCPU may run */
#define CLOCKSYNC_SET_NS        (300 * NS_PER_MS) /* and so long, for the rate to be known */
#define CLOCKSYNC_FAST_NS       (10 * NS_PER_MS)  /* for 2 s */
#define CLOCKSYNC_USUAL_NS      (50 * NS_PER_MS)  /* for 10 s */
#define CLOCKSYNC_SLOW_NS       (200 * NS_PER_MS)

/* Of one node against node 0. Times in ns, the counters in cycles of the guest's. */
struct clock_figures {
	bool set;
	uint64_t offset;    /* guest's counter - host's */
	int32_t ppb;        /* rate of the host's counter against node 0's */
	uint64_t bound_ns;  /* the guest's counters of the two are off by at most that; since the last question */
	uint64_t worst_ns;  /* the largest bound since the clock was set */
	uint64_t least_ns;  /* one-way latency: half of the shortest round trip of the last half minute */
	uint64_t median_ns; /* half of the median round trip */
	uint64_t steps, moved_cycles;
};

struct clocksync;

/* `correct` false: rates and offsets are measured and not corrected once vCPUs run, to show what that does. -ENOMEM. */
CHECKED int clocksync_new(struct vcpus *vcpus, struct net_lane *lane, bool correct, struct clocksync **out);
void clocksync_free(struct clocksync *sync);

/* What is due now. Returns the time until it wants to be called again, ns; sooner does no harm. */
uint64_t clocksync_tick(struct clocksync *sync);
/* Node 0: answers. -EBADMSG: the peer's fault. *set: that node's clock is set. */
CHECKED int clocksync_request(struct clocksync *sync, node_t from, const struct wire_hdr *hdr, const uint8_t *payload, bool *set);
/* A follower: -EBADMSG: the peer's fault. Another -errno: KVM refuses. */
CHECKED int clocksync_reply(struct clocksync *sync, node_t from, const struct wire_hdr *hdr, const uint8_t *payload);

/* Node 0's view of a node. Any thread. */
void clocksync_figures(struct clocksync *sync, node_t node, struct clock_figures *out);

#endif
