/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of the local APIC: its registers by name, accesses that must succeed or fault, and APICs to start from. */
#ifndef LAPIC_HELP_H
#define LAPIC_HELP_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/lapic.h"

static const struct lapic_now at0;

/* xAPIC offsets; the x2APIC MSR is 0x800 + offset / 16. */
enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	APR = 0x90,
	PPR = 0xa0,
	EOI = 0xb0,
	RRD = 0xc0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	CMCI = 0x2f0,
	ICR = 0x300,
	ICR2 = 0x310,
	TIMER = 0x320,
	THERMAL = 0x330,
	PERF = 0x340,
	LINT0 = 0x350,
	LINT1 = 0x360,
	ERROR = 0x370,
	TMICT = 0x380,
	TMCCT = 0x390,
	TDCR = 0x3e0,
	SELF = 0x3f0,
};
#define MSR(offset) (0x800u + (offset) / 16)
#define X2APIC_ON   (0xfee00000ull | 1 << 11 | 1 << 10)

static inline struct lapic_effects put(struct lapic *l, uint32_t offset, uint32_t value)
{
	struct lapic_effects e;

	ck_assert_int_eq(lapic_mmio_write(l, offset, value, &at0, &e), 0);
	return e;
}

static inline uint32_t get(struct lapic *l, uint32_t offset)
{
	uint32_t v = 0xdeadbeef;

	ck_assert_int_eq(lapic_mmio_read(l, offset, &at0, &v), 0);
	return v;
}

static inline struct lapic_effects wrmsr(struct lapic *l, uint32_t offset, uint64_t value)
{
	struct lapic_effects e;

	ck_assert_int_eq(lapic_msr_write(l, MSR(offset), value, &at0, &e), 0);
	return e;
}

static inline uint64_t rdmsr(struct lapic *l, uint32_t offset)
{
	uint64_t v = 0xdeadbeef;

	ck_assert_int_eq(lapic_msr_read(l, MSR(offset), &at0, &v), 0);
	return v;
}

/* A write that must fault changes neither the LAPIC nor the effects. */
static inline void wrmsr_faults(struct lapic *l, uint32_t msr, uint64_t value)
{
	struct lapic before = *l;
	struct lapic_effects e;

	memset(&e, 0x5a, sizeof(e));
	ck_assert_msg(lapic_msr_write(l, msr, value, &at0, &e) == -EINVAL, "msr %#x value %#lx", msr, (unsigned long)value);
	ck_assert_mem_eq(l, &before, sizeof(before));
	for (size_t i = 0; i < sizeof(e); i++)
		ck_assert_uint_eq(((unsigned char *)&e)[i], 0x5a);
}

static inline void rdmsr_faults(struct lapic *l, uint32_t msr)
{
	uint64_t v = 77;

	ck_assert_msg(lapic_msr_read(l, msr, &at0, &v) == -EINVAL, "msr %#x", msr);
	ck_assert_uint_eq(v, 77);
}

static inline int set_base(struct lapic *l, uint64_t base)
{
	struct lapic_effects e;

	return lapic_set_base(l, base, &e);
}

/* As after power-up. */
static inline struct lapic fresh(uint32_t id, bool bsp)
{
	struct lapic l;

	lapic_init(&l, id, bsp);
	return l;
}

/* xAPIC mode, software-enabled. */
static inline struct lapic xapic(uint32_t id)
{
	struct lapic l = fresh(id, true);

	put(&l, SVR, 0x1ff);
	return l;
}

/* x2APIC mode, software-enabled. */
static inline struct lapic x2apic(uint32_t id)
{
	struct lapic l = fresh(id, true);

	ck_assert_int_eq(set_base(&l, X2APIC_ON | 1 << 8), 0);
	wrmsr(&l, SVR, 0x1ff);
	return l;
}

static inline bool fixed(struct lapic *l, uint8_t vector)
{
	return lapic_deliver(l, APIC_FIXED, vector, false);
}

#endif
