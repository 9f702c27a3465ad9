/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPUs of this node: a thread each, which runs KVM_RUN, and the local APIC beside it.
 *
 *      wait for SIPI --SIPI--> running <--interrupt-- halted
 *            ^                   |  ^ |                 ^
 *            +------INIT---------+  | +------HLT--------+
 *                           resume  | pause (from any state; a reboot, the end)
 *
 * KVM has no interrupt controller here: the LAPIC is ours (lapic.h), an interrupt is injected with KVM_INTERRUPT when the
 * guest can take it, and an exit is asked for (interrupt window) when it cannot yet. Who delivers to a vCPU takes its lock,
 * changes its LAPIC and kicks it: a signal and immediate_exit if it is in the guest, its condition if it sleeps.
 *
 * Threads: any may deliver; pause, resume and reset belong to the thread that controls the machine. Lock order:
 * device -> ioapic -> vcpu.lock; a vCPU's lock is a leaf, two are never held together. A thread that waits for a reply
 * of another node holds none. No wait is without an end: IO_TIMEOUT_NS, then the machine stops with a sentence.
 */
#ifndef VCPU_VCPU_H
#define VCPU_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/activity.h"
#include "base/vcpuset.h"
#include "net/net.h"
#include "vcpu/cpuid.h"
#include "vcpu/lapic.h"
#include "vcpu/tsc.h"

#define IO_TIMEOUT_NS    (20 * NS_PER_SEC)
#define PAUSE_TIMEOUT_NS (10 * NS_PER_SEC)
#define KICK_SIGNAL      SIGUSR1

struct bus;
struct vcpus;

/* What the machine must know of. Any thread; called without a vCPU's lock; returns at once. */
struct vcpu_sink {
	/* The guest cannot go on: a triple fault, or KVM gave up. */
	void (*crashed)(struct vcpu_sink *sink, vcpu_t vcpu, bool triple_fault, const char *why);
	/* This host or another node failed us. */
	void (*failed)(struct vcpu_sink *sink, vcpu_t vcpu, const char *why);
	/* Machines of several nodes. What this vCPU has written to page tables is known to all nodes when this returns; -errno. */
	int (*release)(struct vcpu_sink *sink);
	/* The vCPU walks the page tables at this CR3; told from time to time. */
	void (*root)(struct vcpu_sink *sink, uint64_t cr3, bool five_levels);
	/* Node 0: the end of a level-triggered interrupt, for the IOAPIC. */
	void (*eoi)(struct vcpu_sink *sink, uint8_t vector);
};

struct vcpu_counters {
	_Atomic uint64_t exits, pio, mmio, msr, hlt, irq_window, kicks, injected, ipis_sent, ipi_messages, ipi_received, remote_io;
};

/* What KVM keeps of a vCPU beside its general registers, as it was at power-on. */
struct vcpu_power_on {
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	bool has_xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_msrs *msrs;
};

struct vcpu {
	struct vcpus *set;
	vcpu_t id;
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool started;
	timer_t timer;
	bool has_timer;
	_Atomic uint64_t timer_armed_ns; /* deadline the timer is set to, 0: none; the vCPU's thread and its signal handler */
	struct vcpu_power_on power_on;

	pthread_mutex_t lock;
	pthread_cond_t cond; /* CLOCK_MONOTONIC */
	/* under lock */
	struct lapic lapic;
	bool halted;
	bool pause, paused;
	bool dump; /* say where it is, at the next entry */
	bool quit;
	bool in_guest;
	bool io_waiting;
	uint32_t io_seq;
	uint64_t io_data;
	bool route_stale;
	bool route_waiting;
	uint32_t route_acks, route_seq;
	bool tsc_hold;         /* stays out of the guest until all of this node's vCPUs are, */
	bool tsc_held;         /* and does */
	uint64_t tsc_step_due; /* what its counter is to be stepped forward before it enters the guest again */

	struct tsc tsc;            /* the vCPU's thread; others while it is paused, under lock */
	uint32_t exits_since_root; /* the vCPU's thread only */
	_Atomic bool poke;         /* something changed: a halted vCPU that polls looks at this without the lock */
	uint64_t poll_ns;          /* how long the next HLT polls before it sleeps */
};

struct vcpus_config {
	int kvm_fd, vm_fd;
	node_t self, nodes;
	const vcpu_t *node_first;      /* node n has [node_first[n], node_first[n+1]): nodes + 1 entries, copied */
	const struct cpuid_set *cpuid; /* the machine's */
	struct tsc tsc;
	struct bus *bus;                       /* node 0: the devices; NULL elsewhere */
	struct net_lane *control;              /* NULL: one node */
	const struct guest_activity *activity; /* its counters are counted here */
	struct vcpu_sink *sink;
	bool triple_fault_resets; /* as a PC does; otherwise it is a crash */
};

struct vcpus {
	struct vcpus_config config;
	vcpu_t node_first[NODES_MAX + 1];
	vcpu_t first, count, total;
	struct vcpu *vcpu; /* [count] */
	struct vcpu_counters counters;
	/* How each LAPIC of the machine may be addressed; written by ipi.c under its lock. */
	pthread_rwlock_t route_lock;
	struct apic_route *route; /* [total] */
	_Atomic uint32_t next_seq;
};

/* Creates the vCPUs of this node and their threads, all paused. -errno, logged. */
CHECKED int vcpus_new(const struct vcpus_config *config, struct vcpus **out);
/* Ends the threads. They must be able to leave the guest: memory still works or the process ends after. */
void vcpus_free(struct vcpus *vcpus);

/* Power-on state for all; vCPU 0, if here, starts with these registers. All must be paused. -errno, logged. */
CHECKED int vcpus_reset(struct vcpus *vcpus, const struct kvm_sregs *sregs, const struct kvm_regs *regs);
/* The registers of a vCPU at power-on, to be filled in for vcpus_reset. Only where vCPU 0 is. */
void vcpus_power_on(const struct vcpus *vcpus, struct kvm_sregs *sregs, struct kvm_regs *regs);

/* All leave the guest and stay out. -ETIMEDOUT: one did not within PAUSE_TIMEOUT_NS; logged. */
CHECKED int vcpus_pause(struct vcpus *vcpus);
void vcpus_resume(struct vcpus *vcpus);

/* Each vCPU here says in the log where it is and what it waits for; one that waits for memory cannot, and that is said. Any thread.
 */
void vcpus_dump(struct vcpus *vcpus);

struct vcpu *vcpus_local(struct vcpus *vcpus, vcpu_t id); /* NULL: another node's */
node_t vcpus_node(const struct vcpus *vcpus, vcpu_t id);

/* Wakes or interrupts a vCPU so that it looks at its LAPIC. Its lock is held. */
void vcpu_kick_locked(struct vcpu *vcpu);

/* --- ipi.c: interrupts between vCPUs of any node --- */

/* Delivers what an ICR write or an MSI asks for: here at once, elsewhere by one message a node. `from` VCPU_NONE: a device. */
void ipi_send(struct vcpus *vcpus, vcpu_t from, const struct apic_ipi *ipi);
/* A message IPI of another node. -EINVAL: it names a vCPU that is not here (the peer's fault). */
CHECKED int ipi_receive(struct vcpus *vcpus, const struct wire_ipi *msg);
/* A LAPIC here can be addressed otherwise from now on: every node learns it before this returns. The vCPU's lock is not held. */
void ipi_route_changed(struct vcpu *vcpu);
CHECKED int ipi_route_receive(struct vcpus *vcpus, const struct wire_route *msg);
void ipi_route_ack(struct vcpus *vcpus, uint32_t seq);
void ipi_routes_reset(struct vcpus *vcpus);
/* Power-up state of the vCPU's local APIC: in x2APIC mode if the machine has more ids than xAPIC mode can name. */
void ipi_power_on_lapic(const struct vcpus *vcpus, struct lapic *lapic, vcpu_t id);

/* --- exit.c: what made the vCPU leave the guest --- */

/* Handles run->exit_reason. The lock is not held. Returns false if the vCPU cannot go on (told to the sink). */
CHECKED bool vcpu_exit(struct vcpu *vcpu);
/* The answer of node 0 to an access that was forwarded. */
void vcpu_io_reply(struct vcpus *vcpus, uint32_t seq, const struct wire_io *io);

/* --- step.c: corrections of the guest's counter while the guest runs --- */

/* Before a vCPU runs. -errno, logged. */
CHECKED int vcpus_set_tsc(struct vcpus *vcpus, const struct tsc *tsc);
/* To be called once before vcpus_step_tsc. -errno, logged. */
CHECKED int vcpus_step_init(void);
/* Steps the guest counter of all vCPUs here forward while none of them is in the guest: none reads the new one and another after it
 * the old. Any one thread. Returns at once: a vCPU that waits for a page makes its step when it has that, before it runs guest
 * code. One that sleeps is not woken: its timer is late by what its host's
 * counter falls behind in one sleep, which is millionths of it. */
void vcpus_step_tsc(struct vcpus *vcpus, uint64_t cycles);
/* The vCPU's thread, lock held, before it enters the guest: waits while others are being brought out of it, makes the steps that
 * are due. True: it waited, look at everything again. */
bool vcpu_hold_locked(struct vcpu *vcpu);
CHECKED int vcpu_step_locked(struct vcpu *vcpu);

/* --- state.c --- */

CHECKED int vcpu_state_capture(struct vcpu *vcpu);
CHECKED int vcpu_state_power_on(struct vcpu *vcpu, const struct kvm_sregs *sregs, const struct kvm_regs *regs);
/* INIT: registers as at power-on, MSRs and FPU kept (SDM vol. 3A, table 9-1). */
CHECKED int vcpu_state_init(struct vcpu *vcpu);
/* SIPI: real mode at vector << 12. */
CHECKED int vcpu_state_sipi(struct vcpu *vcpu, uint8_t vector);
void vcpu_state_release(struct vcpu *vcpu);

#endif
