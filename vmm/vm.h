/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This node's part of the machine: memory, vCPUs, on node 0 the devices, and the control lane to the other nodes.
 *
 * vm_start runs the table `vm_steps` (vm.c) downwards, vm_free backwards from the step reached. Then the leader or the follower
 * drives the machine through its states from one thread, the driver:
 *
 *      built --START--> running --PAUSE--> paused --RESET--> built      (a guest reboot)
 *        (the node of vCPU 0, unless it is the leader's own, gets ENTRY before each START)
 *                          |
 *                          +--STOP, whoever knows first--> stopped      (the end; the first reason counts)
 *
 * Threads: the driver; `control`, which serves the control lane (control.c) and never blocks; vCPU, shard, console and timer
 * threads. Any thread may call vm_stop and vm_post. What asks the driver for something goes through `struct vm_orders`.
 * Lock order: vm.lock is a leaf.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <pthread.h>

#include "base/guestmem.h"
#include "devices/irq.h"
#include "devices/table.h"
#include "dsm/dsm.h"
#include "net/net.h"
#include "vcpu/vcpu.h"
#include "vmm/boot.h"
#include "vmm/clocksync.h"
#include "vmm/console.h"
#include "vmm/memmap.h"

/* wire_machine.options */
#define VM_OPTION_TRIPLE_FAULT_REBOOTS 1u
#define VM_OPTION_NO_CLOCK             2u
#define VM_OPTION_TRANSPORT_RDMA       4u /* these two: fabric.h; both: TCP through io_uring */
#define VM_OPTION_TRANSPORT_TCP        8u
#define VM_OPTION_WITHOUT_SHIFT        8  /* from here on 24 bits: DSM_WITHOUT */
#define VM_OPTION_POLL_US_SHIFT        40 /* from here on 16 bits: how long a shard polls, us */

#define VM_MACHINE_TEXT 9u /* 8 hex digits of the session */

/* What the driver is asked to do; a set of bits, so that none is lost and none can pile up. */
enum vm_order {
	VM_ORDER_STOP = 1,
	VM_ORDER_REBOOT = 2, /* leader: the guest asked for a reset */
	VM_ORDER_PAUSE = 4,  /* follower: as the leader says, in this order */
	VM_ORDER_RESET = 8,
	VM_ORDER_START = 16,
	VM_ORDER_ANSWER = 64, /* leader: an acknowledgement or statistics came */
	VM_ORDER_ENTRY = 256, /* follower: vCPU 0 is here, and begins as told */
};

/* The leader's view of what the others have answered. */
struct vm_answers {
	uint64_t ready, clocks, paused, reset, stats; /* sets of nodes */
	struct dsm_stats *node_stats;                 /* [nodes] */
};

struct vm_config {
	node_t self;
	struct memmap map;
	struct cpuid_set cpuid; /* the machine's */
	struct tsc tsc;
	uint64_t options;
	unsigned shards;
	uint64_t budget_bytes;                      /* of this node; 0: no bound */
	uint64_t files_bytes;                       /* of it: the guest's files, which stay in memory; node 0 */
	struct net_lane **lane;                     /* [1 + shards], control first; taken over; NULL with one node */
	struct console *console;                    /* node 0 */
	char machine[VM_MACHINE_TEXT];              /* tells machines apart, the same on all nodes: for `pangea stats` */
	char names[NODES_MAX][WIRE_HOST_BYTES + 8]; /* for messages: "local", "host2:7700" */
};

struct vm {
	struct vm_config config;
	unsigned steps_done;
	int kvm_fd, vm_fd;
	struct dsm *dsm;
	struct guestmem mem;
	struct vcpus *vcpus;
	struct bus *bus;     /* node 0 */
	struct board *board; /* node 0 */
	struct irqchip irq;  /* node 0 */

	struct guest_activity activity; /* vcpu -> dsm */
	struct vcpu_sink vcpu_sink;
	struct dsm_sink dsm_sink;
	struct machine_sink machine_sink;

	struct control *control; /* NULL with one node */
	struct clocksync *clock; /* NULL with one node; made by control_start, and freed after the thread has ended */

	pthread_mutex_t lock;
	pthread_cond_t cond; /* CLOCK_MONOTONIC: an order came */
	unsigned orders;
	bool stopping;
	_Atomic bool blocked;     /* memory is no longer served: vCPUs may sleep in a fault for good, and cannot be joined */
	_Atomic bool leader_gone; /* follower: the leader has hung up */
	struct wire_stop stop;
	uint64_t stop_code; /* isa-debug-exit */
	bool rebooted;      /* leader: ended by a reset that --no-reboot forbids */
	uint16_t epoch;
	uint16_t reset_epoch;      /* follower: the epoch of the RESET under way */
	uint32_t order_seq;        /* follower: of the PAUSE or RESET under way */
	struct wire_entry entry;   /* follower with vCPU 0 */
	struct vm_answers answers; /* leader */
};

/* Builds this node; vCPUs exist and are paused, shards and the control thread run. -errno, logged; the lanes are gone either
 * way. */
CHECKED int vm_start(const struct vm_config *config, struct vm **out);
void vm_free(struct vm *vm);

/* The first digits of a session, as people see them. */
void vm_machine_text(const uint8_t session[WIRE_SESSION_BYTES], char text[VM_MACHINE_TEXT]);

/* Ends the machine, here and everywhere. Only the first call counts. `code`: for WIRE_STOP_DEBUG_EXIT. Never blocks. */
void vm_stop(struct vm *vm, enum wire_stop_reason reason, node_t node, uint64_t code, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* The same, told by another node: not told on. */
void vm_stopped(struct vm *vm, const struct wire_stop *stop, uint64_t code);

void vm_post(struct vm *vm, enum vm_order order);
/* Waits for one of the orders in `wanted` (STOP always is) until the deadline (clock_ns; 0: none). Returns those that came and
 * clears them, but STOP, which stays; 0: the deadline. */
unsigned vm_wait(struct vm *vm, unsigned wanted, uint64_t deadline_ns);

/* The node as a person knows it: "node 1 (host2:7700)". buf of VM_NODE_TEXT bytes; returns buf. */
#define VM_NODE_TEXT 96
const char *vm_node_name(const struct vm *vm, node_t node, char *buf);

/* Reset of this node's part, all nodes being paused: RAM zero, devices and vCPUs at power-on. -errno, logged. */
CHECKED int vm_reset_local(struct vm *vm, uint16_t epoch);

/* vCPU 0, which is this node's and paused, will begin thus; all vCPUs here are at power-on otherwise. -errno, logged. */
CHECKED int vm_enter(struct vm *vm, const struct boot_entry *entry);

#endif
