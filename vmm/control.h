/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control lane's thread: interrupts and device accesses of other nodes, the machine's states, the heartbeat.
 *
 * It never blocks: what takes long (pausing, resetting) is an order to the driver. A node is lost when its connection ends or
 * when nothing was heard of it for CONTROL_SILENCE_NS, while it is asked every CONTROL_PING_NS; then the machine stops.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "vmm/vm.h"

#define CONTROL_PING_NS    (500 * NS_PER_MS)
#define CONTROL_SILENCE_NS (3 * NS_PER_SEC)

struct control;

/* The lane stays the machine's, and outlives the thread: vCPUs send on it. -errno, logged. */
CHECKED int control_start(struct vm *vm, struct net_lane *lane, struct control **out);
void control_stop(struct control *control);

/* To every other node. Any thread. */
void control_broadcast(struct control *control, const struct wire_hdr *hdr, const void *payload);

#endif
