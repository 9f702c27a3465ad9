/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of the local APIC as the guest sees them: the xAPIC page (SDM vol. 3A Table 10-1) and the x2APIC MSRs (Table 10-6).
 * Register n is at offset n * 16 of the page and is MSR 0x800 + n.
 */
#include "vcpu/lapic_private.h"

#include <errno.h>

enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_REMOTE_READ = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10, /* 8 of each */
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_CMCI = 0x2f,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT_TIMER = 0x32,
	REG_LVT_THERMAL = 0x33,
	REG_LVT_PERF = 0x34,
	REG_LVT_LINT0 = 0x35,
	REG_LVT_LINT1 = 0x36,
	REG_LVT_ERROR = 0x37,
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

/* 10.4.8: an integrated APIC, seven LVT entries, can suppress EOI broadcasts. Offered because the IOAPIC has the EOI register that
 * a guest needs then, and a directed EOI is no dearer than a broadcast. */
#define VERSION (0x14u | (LVT_COUNT - 1) << 16 | 1u << 24)

#define SVR_WRITABLE    (SVR_VECTOR | SVR_ENABLE | SVR_FOCUS | SVR_SUPPRESS_EOI)
#define DIVIDE_WRITABLE 0xbu

/* Interrupt command register, 10.6.1 and 10.12.9 */
#define ICR_VECTOR          0xffu
#define ICR_MODE_SHIFT      8
#define ICR_LOGICAL         (1u << 11)
#define ICR_STATUS          (1u << 12)
#define ICR_ASSERT          (1u << 14)
#define ICR_LEVEL           (1u << 15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_WRITABLE        0x000ccfffu

#define MSR_FIRST 0x800u
#define PAGE_END  0x400u /* last register ends here */

/* What software may write in each LVT entry (figure 10-8); delivery status and remote IRR are read-only. */
static const struct {
	uint8_t reg;
	uint32_t writable;
} lvts[LVT_COUNT] = {
	[LVT_CMCI] = {REG_CMCI, LVT_VECTOR | LVT_MODE | LVT_MASKED},
	[LVT_TIMER] = {REG_LVT_TIMER, LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE},
	[LVT_THERMAL] = {REG_LVT_THERMAL, LVT_VECTOR | LVT_MODE | LVT_MASKED},
	[LVT_PERF] = {REG_LVT_PERF, LVT_VECTOR | LVT_MODE | LVT_MASKED},
	[LVT_LINT0] = {REG_LVT_LINT0, LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED},
	[LVT_LINT1] = {REG_LVT_LINT1, LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED},
	[LVT_ERROR] = {REG_LVT_ERROR, LVT_VECTOR | LVT_MASKED},
};
#define LVT_READ_ONLY (LVT_STATUS | LVT_REMOTE_IRR)

/* The entry that register `reg` is, or LVT_COUNT. */
static enum lapic_lvt lvt_of(unsigned int reg)
{
	for (unsigned int i = 0; i < LVT_COUNT; i++)
		if (lvts[i].reg == reg)
			return (enum lapic_lvt)i;
	return LVT_COUNT;
}

/* --- Reads
 * --------------------------------------------------------------------------------------------------------------------------- */

/* False: no such register, or one that only writes. */
static bool read_reg(const struct lapic *l, unsigned int reg, const struct lapic_now *now, uint32_t *value)
{
	enum lapic_lvt lvt = lvt_of(reg);

	if (lvt != LVT_COUNT) {
		*value = l->lvt[lvt];
		return true;
	}
	switch (reg) {
	case REG_ID:
		*value = lapic_mode(l) == APIC_X2APIC ? l->id : l->id << 24;
		return true;
	case REG_VERSION:
		*value = VERSION;
		return true;
	case REG_TPR:
		*value = l->tpr;
		return true;
	case REG_PPR:
		*value = lapic_ppr(l);
		return true;
	case REG_LDR:
		*value = lapic_ldr(l);
		return true;
	case REG_SVR:
		*value = l->svr;
		return true;
	case REG_ISR ... REG_ISR + 7:
		*value = l->isr[reg - REG_ISR];
		return true;
	case REG_TMR ... REG_TMR + 7:
		*value = l->tmr[reg - REG_TMR];
		return true;
	case REG_IRR ... REG_IRR + 7:
		*value = l->irr[reg - REG_IRR];
		return true;
	case REG_ESR:
		*value = l->esr;
		return true;
	case REG_ICR:
		*value = l->icr_low;
		return true;
	case REG_TIMER_INITIAL:
		*value = l->timer_initial;
		return true;
	case REG_TIMER_CURRENT:
		*value = lapic_timer_current(l, now);
		return true;
	case REG_TIMER_DIVIDE:
		*value = l->timer_divide;
		return true;
	default:
		return false;
	}
}

int lapic_mmio_read(struct lapic *l, uint32_t offset, const struct lapic_now *now, uint32_t *value)
{
	uint32_t v = 0;

	if (lapic_mode(l) != APIC_XAPIC)
		return -ENODEV;
	if (offset % 16 || offset >= PAGE_END) {
		lapic_error(l, ESR_ILLEGAL_REGISTER);
		*value = 0;
		return 0;
	}
	switch (offset / 16) { /* those that x2APIC mode has not */
	case REG_APR:
		v = lapic_apr(l);
		break;
	case REG_DFR:
		v = l->dfr;
		break;
	case REG_ICR_HIGH:
		v = l->icr_high;
		break;
	case REG_EOI:         /* write only */
	case REG_REMOTE_READ: /* nothing was ever read remotely */
		break;
	default:
		if (!read_reg(l, offset / 16, now, &v))
			lapic_error(l, ESR_ILLEGAL_REGISTER);
	}
	*value = v;
	return 0;
}

int lapic_msr_read(struct lapic *l, uint32_t msr, const struct lapic_now *now, uint64_t *value)
{
	uint32_t v;

	if (lapic_mode(l) != APIC_X2APIC || msr < MSR_FIRST)
		return -EINVAL;
	if (!read_reg(l, msr - MSR_FIRST, now, &v))
		return -EINVAL;
	*value = v;
	if (msr == MSR_FIRST + REG_ICR)
		*value |= (uint64_t)l->icr_high << 32;
	return 0;
}

/* --- Writes
 * -------------------------------------------------------------------------------------------------------------------------- */

static void send_illegal_vector(struct lapic *l, bool self)
{
	lapic_error(l, ESR_SEND_ILLEGAL_VECTOR | (self ? ESR_RECEIVE_ILLEGAL_VECTOR : 0));
}

static void send_self(struct lapic *l, enum apic_delivery mode, uint8_t vector)
{
	if (mode <= APIC_LOWEST && vector < FIRST_VECTOR)
		send_illegal_vector(l, true);
	else
		lapic_deliver(l, mode, vector, false);
}

/* The low half of ICR was written: 10.6.1. Delivery status is always idle: the caller has sent before the guest goes on. Pairings
 * of shorthand and mode which Table 10-3 calls invalid do what their bits say. */
static void send_ipi(struct lapic *l, struct lapic_effects *effects)
{
	bool x2apic = lapic_mode(l) == APIC_X2APIC;
	struct apic_ipi ipi = {
		.dest = x2apic ? l->icr_high : l->icr_high >> 24,
		.vector = l->icr_low & ICR_VECTOR,
		.mode = (enum apic_delivery)(l->icr_low >> ICR_MODE_SHIFT & 7),
		.logical = l->icr_low & ICR_LOGICAL,
		.assert = true,
		.x2apic = x2apic,
		.shorthand = (uint8_t)(l->icr_low >> ICR_SHORTHAND_SHIFT & 3),
	};

	switch (ipi.mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (ipi.vector < FIRST_VECTOR) {
			send_illegal_vector(l, ipi.shorthand == APIC_SELF);
			return;
		}
		break;
	case APIC_INIT:
		/* The de-assert that ends the old INIT sequence: newer processors ignore it. */
		if ((l->icr_low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
			return;
		break;
	case APIC_NMI:
	case APIC_SIPI:
		break;
	default: /* SMI, and the codes that are reserved in an ICR */
		return;
	}
	if (ipi.shorthand == APIC_SELF) {
		send_self(l, ipi.mode, ipi.vector);
		return;
	}
	effects->ipi = true;
	effects->ipi_msg = ipi;
}

static void write_svr(struct lapic *l, uint32_t value, const struct lapic_now *now, struct lapic_effects *effects)
{
	lapic_timer_tick(l, now); /* what ran out before the mask comes down still counts */
	effects->dest_changed = (l->svr ^ value) & SVR_ENABLE;
	l->svr = value;
	if (!(value & SVR_ENABLE)) { /* L3; 10.4.7.2 */
		for (int i = 0; i < LVT_COUNT; i++)
			l->lvt[i] |= LVT_MASKED;
		effects->timer_changed = true;
	}
}

static void write_lvt(struct lapic *l, enum lapic_lvt lvt, uint32_t value, const struct lapic_now *now,
		      struct lapic_effects *effects)
{
	if (!(l->svr & SVR_ENABLE))
		value |= LVT_MASKED; /* L3 */
	if (lvt == LVT_TIMER) {
		lapic_timer_set_lvt(l, value, now);
		effects->timer_changed = true;
	} else {
		l->lvt[lvt] = value;
	}
}

/* What software may write in register `reg`, the same in both modes but for ICR. -1 (as 64 bits): not writable. Bits in *ignored
 * are not writable, yet no fault in x2APIC mode. */
static bool writable_bits(unsigned int reg, uint32_t *bits, uint32_t *ignored)
{
	enum lapic_lvt lvt = lvt_of(reg);

	*ignored = 0;
	if (lvt != LVT_COUNT) {
		*bits = lvts[lvt].writable;
		*ignored = LVT_READ_ONLY;
		return true;
	}
	switch (reg) {
	case REG_TPR:
		*bits = 0xff;
		return true;
	case REG_EOI: /* 10.12.1.2: only 0 may be written */
	case REG_ESR:
		*bits = 0;
		return true;
	case REG_SVR:
		*bits = SVR_WRITABLE;
		return true;
	case REG_ICR:
		*bits = ICR_WRITABLE;
		*ignored = ICR_STATUS;
		return true;
	case REG_TIMER_INITIAL:
		*bits = UINT32_MAX;
		return true;
	case REG_TIMER_DIVIDE:
		*bits = DIVIDE_WRITABLE;
		return true;
	default:
		return false;
	}
}

/* `reg` is one that writable_bits knows, `value` has none but those bits. */
static void write_reg(struct lapic *l, unsigned int reg, uint32_t value, const struct lapic_now *now, struct lapic_effects *effects)
{
	switch (reg) {
	case REG_TPR:
		l->tpr = (uint8_t)value;
		break;
	case REG_EOI:
		effects->eoi_vector = lapic_eoi(l);
		break;
	case REG_SVR:
		write_svr(l, value, now, effects);
		break;
	case REG_ESR: /* 10.5.3: a write latches, and lets the next error interrupt through */
		l->esr = l->esr_new;
		l->esr_new = 0;
		l->error_sent = false;
		break;
	case REG_ICR:
		l->icr_low = value;
		send_ipi(l, effects);
		break;
	case REG_TIMER_INITIAL:
		lapic_timer_set_initial(l, value, now);
		effects->timer_changed = true;
		break;
	case REG_TIMER_DIVIDE:
		lapic_timer_set_divide(l, value, now);
		effects->timer_changed = true;
		break;
	default:
		write_lvt(l, lvt_of(reg), value, now, effects);
	}
}

int lapic_mmio_write(struct lapic *l, uint32_t offset, uint32_t value, const struct lapic_now *now, struct lapic_effects *effects)
{
	unsigned int reg = offset / 16;
	uint32_t bits, ignored, unused;

	if (lapic_mode(l) != APIC_XAPIC)
		return -ENODEV;
	lapic_no_effects(effects);
	if (offset % 16 || offset >= PAGE_END) {
		lapic_error(l, ESR_ILLEGAL_REGISTER);
		return 0;
	}
	if (writable_bits(reg, &bits, &ignored)) {
		write_reg(l, reg, value & bits, now, effects);
		return 0;
	}
	switch (reg) { /* those that only xAPIC mode can write */
	case REG_LDR:
		l->ldr = value & 0xff000000u;
		effects->dest_changed = true;
		break;
	case REG_DFR:
		l->dfr = value | 0x0fffffffu;
		effects->dest_changed = true;
		break;
	case REG_ICR_HIGH:
		l->icr_high = value & 0xff000000u;
		break;
	case REG_APR: /* read only, as are the ones that read_reg knows */
	case REG_REMOTE_READ:
		break;
	default:
		if (!read_reg(l, reg, now, &unused))
			lapic_error(l, ESR_ILLEGAL_REGISTER);
	}
	return 0;
}

int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value, const struct lapic_now *now, struct lapic_effects *effects)
{
	unsigned int reg = msr - MSR_FIRST;
	uint32_t bits, ignored, low = (uint32_t)value;

	if (lapic_mode(l) != APIC_X2APIC || msr < MSR_FIRST)
		return -EINVAL;
	if (reg == REG_SELF_IPI) { /* 10.12.11 */
		if (value > 0xff)
			return -EINVAL;
		lapic_no_effects(effects);
		send_self(l, APIC_FIXED, (uint8_t)value);
		return 0;
	}
	if (!writable_bits(reg, &bits, &ignored) || (low & ~(bits | ignored)))
		return -EINVAL;
	if (reg == REG_ICR)
		l->icr_high = (uint32_t)(value >> 32);
	else if (value >> 32)
		return -EINVAL;
	lapic_no_effects(effects);
	write_reg(l, reg, low & bits, now, effects);
	return 0;
}
