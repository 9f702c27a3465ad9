/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC of one vCPU, in user space: registers, priorities, timer, and how a destination matches.
 *
 * Source: Intel SDM vol. 3A, chapter "Advanced Programmable Interrupt Controller (APIC)". The sections are cited as 10.x, as in
 * editions up to 2022; later editions print the same section as 11.x. "Table 10-6" is the x2APIC MSR table.
 *
 * Pure: no I/O, no clock, no lock, no allocation, no pointer inside. `struct lapic` can be copied to another node with memcpy.
 * The caller holds the lock of the LAPIC around every call; time comes in as an argument. What a call asks of the rest of the
 * machine (send an IPI, tell the IOAPICs of an EOI, wake up at another time, look at the destination again) comes out in `struct
 * lapic_effects`; the caller acts on it after it has dropped the lock.
 *
 * Errors: -EINVAL from an MSR function means that the instruction gets #GP(0) and that nothing changed; -ENODEV from an MMIO
 * function means that there is no register page now (APIC disabled, or in x2APIC mode). A guest cannot make an assert fail.
 *
 *   other vCPU, IOAPIC, MSI --lapic_deliver--> IRR --lapic_pending, lapic_ack--> ISR --EOI write--> effects.eoi_vector
 *
 * Invariants: L1 no bit below 16 is ever set in IRR, ISR or TMR. L2 a vector that lapic_pending returns has a higher class than
 * PPR. L3 a software-disabled APIC has every LVT entry masked. L4 the x2APIC bit of the base is never set without the enable bit.
 */
#ifndef VCPU_LAPIC_H
#define VCPU_LAPIC_H

#include "base/types.h"
#include "base/vcpuset.h"

enum apic_mode { APIC_DISABLED, APIC_XAPIC, APIC_X2APIC };

/* 10.6.1, ICR bits 10:8; the same code in an MSI's data and in an IOAPIC's entry. 3 is reserved. */
enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_SIPI = 6,
	APIC_EXTINT = 7,
};

enum apic_shorthand { APIC_NO_SHORTHAND, APIC_SELF, APIC_ALL, APIC_ALL_BUT_SELF }; /* 10.6.1, ICR bits 19:18 */

/* A message to other APICs: an IPI, or an MSI that was translated. */
struct apic_ipi {
	uint32_t dest; /* 8 bits from an xAPIC sender, 32 from an x2APIC one, 15 from an MSI with extended destination */
	uint8_t vector;
	enum apic_delivery mode;
	bool logical;
	bool level_trig;   /* sets TMR at the receiver; never from the ICR of an APIC of this version (10.6.1, "Trigger Mode") */
	bool assert;       /* always true from lapic_*_write: a de-asserted INIT has no effect and is dropped (10.6.1, "Level") */
	bool x2apic;       /* the sender was in x2APIC mode: decides what is a broadcast, see apic_match */
	uint8_t shorthand; /* enum apic_shorthand; never APIC_SELF, which lapic_*_write delivers itself */
};

/* What the caller has to do after a write. Written only on success. */
struct lapic_effects {
	bool ipi; /* send ipi_msg */
	struct apic_ipi ipi_msg;
	int eoi_vector;     /* tell every IOAPIC of the EOI of this level-triggered vector; -1: none */
	bool timer_changed; /* ask lapic_timer_next again */
	bool dest_changed;  /* lapic_route gives something else: the routing table must be told */
};

/* The time at an access. `ns` is the timer's bus clock, 1 GHz; `tsc` is the guest's TSC. Both never run backwards for one LAPIC. */
struct lapic_now {
	uint64_t ns;
	uint64_t tsc;
};

/* Entries of the local vector table, 10.5.1. */
enum lapic_lvt { LVT_CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct lapic {
	uint64_t base; /* IA32_APIC_BASE, 10.4.4 */
	uint32_t id;   /* 32-bit x2APIC id; xAPIC shows its low 8 bits */
	uint32_t ldr;  /* xAPIC's; x2APIC's is derived from the id */
	uint32_t dfr;
	uint32_t svr;
	uint32_t irr[8], isr[8], tmr[8];
	uint32_t lvt[LVT_COUNT];
	uint32_t icr_low, icr_high; /* icr_high: bits 31:24 in xAPIC mode, all in x2APIC mode */
	uint32_t esr;               /* what a read sees */
	uint32_t esr_new;           /* errors since the last write of ESR */
	uint8_t tpr;
	uint8_t sipi_vector;
	bool error_sent;      /* the error interrupt went out and ESR was not written since: 10.5.3 */
	bool nmi, init, sipi; /* pending */
	bool wait_sipi;       /* after INIT, on a processor that is not the BSP: 8.4.1 */
	/* timer, 10.5.4 */
	bool timer_armed;       /* one-shot or periodic: counts down to expires_ns */
	uint32_t timer_initial; /* initial-count register */
	uint32_t timer_divide;  /* divide configuration register, as written */
	uint64_t expires_ns;
	uint64_t deadline_tsc; /* IA32_TSC_DEADLINE; 0: not armed */
};

/* Power-up state, xAPIC mode at 0xfee00000 (10.4.7.1). `apic_id` < UINT32_MAX. Others than the BSP wait for a SIPI. */
void lapic_init(struct lapic *l, uint32_t apic_id, bool bsp);
/* The same in x2APIC mode already: as firmware hands over a machine with ids above 254, which only that mode can name. A kernel
 * ignores such ids in the ACPI tables if it finds its own APIC in xAPIC mode. */
void lapic_init_x2apic(struct lapic *l, uint32_t apic_id, bool bsp);

/* State after INIT (10.4.7.3, 10.12.5.1): id, base and mode stay; IPIs that were pending are dropped; others than the BSP wait
 * for a SIPI. lapic_take_init does this itself. The caller then looks at lapic_route and lapic_timer_next again. */
void lapic_reset(struct lapic *l);

/* IA32_APIC_BASE, MSR 0x1b. -EINVAL: a reserved bit, or a transition that 10.12.5 forbids (disabled to x2APIC, x2APIC to xAPIC).
 * Disabling loses all register state (10.4.3). */
CHECKED int lapic_set_base(struct lapic *l, uint64_t value, struct lapic_effects *effects);
uint64_t lapic_base(const struct lapic *l);
enum apic_mode lapic_mode(const struct lapic *l);
gpa_t lapic_mmio_base(const struct lapic *l); /* 4096 bytes from here, when the mode is APIC_XAPIC */

/* The xAPIC register page (Table 10-1). `offset` in [0, 4096), an access of 4 bytes. An offset that is no register reads 0, ignores
 * writes and sets "illegal register address" in ESR (10.5.3). Reserved bits are ignored. -ENODEV as above. */
CHECKED int lapic_mmio_read(struct lapic *l, uint32_t offset, const struct lapic_now *now, uint32_t *value);
CHECKED int lapic_mmio_write(struct lapic *l, uint32_t offset, uint32_t value, const struct lapic_now *now,
			     struct lapic_effects *effects);

/* The x2APIC registers (Table 10-6), `msr` in [0x800, 0x900). -EINVAL: not in x2APIC mode, no such register, read of a write-only
 * or write of a read-only one, or a reserved bit (10.12.1.3). Two reserved bits are let through: SVR bit 9 (focus checking, once
 * defined) and ICR bit 12 (delivery status; Intel's parts ignore it). */
CHECKED int lapic_msr_read(struct lapic *l, uint32_t msr, const struct lapic_now *now, uint64_t *value);
CHECKED int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value, const struct lapic_now *now,
			    struct lapic_effects *effects);

/* IA32_TSC_DEADLINE, MSR 0x6e0 (10.5.4.1). Outside the TSC-deadline mode a write is ignored and a read gives 0. A deadline in
 * the past fires at the next lapic_timer_tick; 0 disarms. */
void lapic_set_tsc_deadline(struct lapic *l, uint64_t value, const struct lapic_now *now, struct lapic_effects *effects);
uint64_t lapic_tsc_deadline(const struct lapic *l, const struct lapic_now *now);

/* When must lapic_timer_tick be called? False: not before something changes the timer. Else *ns_from_now is the time until then,
 * rounded up; 0 when it is due. A masked timer wakes nobody. `tsc_khz` is the guest TSC's rate, not 0. */
bool lapic_timer_next(const struct lapic *l, const struct lapic_now *now, uint64_t tsc_khz, uint64_t *ns_from_now);

/* Expires what is due: sets IRR of the timer's vector unless masked; a periodic timer goes on, and periods that were missed count
 * as one. Early or repeated calls are harmless. True: kick the vCPU. */
bool lapic_timer_tick(struct lapic *l, const struct lapic_now *now);

/* For a LAPIC that moves to a node whose `ns` clock is ahead by `delta_ns` of the one left. */
void lapic_timer_rebase(struct lapic *l, int64_t delta_ns);

/* An interrupt arrives (10.8.4). True: something is newly pending, kick the vCPU. Accepted or not:
 *   fixed, lowest: not when software-disabled (10.4.7.2); a vector below 16 sets "receive illegal vector" in ESR;
 *   NMI: except while waiting for a SIPI, when it is lost; one is remembered;
 *   INIT: always; undoes a SIPI that was not taken. SIPI: only when waiting for one, or behind a pending INIT (8.4.1);
 *   SMI, ExtINT, reserved: never; the machine has neither SMM nor an 8259.
 * A globally disabled APIC accepts nothing. */
bool lapic_deliver(struct lapic *l, enum apic_delivery mode, uint8_t vector, bool level_trig);

/* A local source fires: LINT pins (always as a pulse), performance counter (whose entry is masked by it), thermal, CMCI, error.
 * Not for LVT_TIMER. True: kick the vCPU. */
bool lapic_local(struct lapic *l, enum lapic_lvt source);

/* The highest vector among the 256 bits of irr, isr or tmr, or -1. */
int lapic_highest(const uint32_t bits[8]);

/* The vector to inject now: the highest in IRR whose class is above PPR's (10.8.3.1), or -1. */
int lapic_pending(const struct lapic *l);

/* The vCPU takes `vector`, which lapic_pending returned under the same lock: IRR to ISR. As both happen at once, the spurious
 * vector (10.9) is never needed. */
void lapic_ack(struct lapic *l, int vector);

/* Takes the pending event; false if none. Ask in this order. lapic_take_init also does lapic_reset, keeping a SIPI which came after
 * the INIT; *vector gets the SIPI's: the vCPU starts at real-mode vector << 12. */
bool lapic_take_init(struct lapic *l);
bool lapic_take_sipi(struct lapic *l, uint8_t *vector);
bool lapic_take_nmi(struct lapic *l);

/* Should a halted vCPU wake? INIT, SIPI or NMI pending, or a vector to inject. (Fixed ones still need RFLAGS.IF.) */
bool lapic_has_event(const struct lapic *l);
bool lapic_waits_for_sipi(const struct lapic *l);

/* Task and processor priority, 10.8.3.1 and 10.8.6. CR8 is TPR's class; setting CR8 to the class TPR already has keeps the
 * sub-class, so that run->cr8 can be written back after each exit. */
uint8_t lapic_tpr(const struct lapic *l);
void lapic_set_tpr(struct lapic *l, uint8_t tpr);
uint8_t lapic_cr8(const struct lapic *l);
void lapic_set_cr8(struct lapic *l, uint8_t cr8);
uint8_t lapic_ppr(const struct lapic *l);

/* Who a LAPIC is, as far as senders need to know: small, copied into the routing table of every node. */
struct apic_route {
	enum apic_mode mode;
	uint32_t id, ldr, dfr; /* dfr only in xAPIC mode */
	bool sw_enabled;       /* fixed and lowest-priority interrupts are accepted */
};
void lapic_route(const struct lapic *l, struct apic_route *route);

/* Does a message to `dest` reach this APIC? 10.6.2 (xAPIC), 10.12.9 (x2APIC logical: cluster in 31:16, members in 15:0).
 * Broadcast: 0xff of an xAPIC sender, 0xffffffff of an x2APIC sender, both physical and logical. A physical destination is compared
 * with the whole 32-bit id, also when the receiver is in xAPIC mode: ids above 254 alias nobody, and can be started by an x2APIC
 * sender. For an MSI, pass whether the vCPUs run in x2APIC mode: then 0xff is the vCPU with id 255. */
bool apic_match(const struct apic_route *route, uint32_t dest, bool logical, bool sender_x2apic);

/* Adds to *out (not cleared here) the index of each of the `count` routes that the message reaches; `self` is the sender's index,
 * or VCPU_NONE. Lowest priority reaches one of those that are software-enabled: the vector picks which, since priorities of other
 * nodes are not known here and the manual leaves arbitration to the platform (10.6.2.4). */
void apic_resolve(const struct apic_route *routes, vcpu_t count, vcpu_t self, const struct apic_ipi *ipi, struct vcpuset *out);

#endif
