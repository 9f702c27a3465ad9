/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/lapic_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static bool bit_get(const uint32_t bits[8], unsigned int n)
{
	return bits[n / 32] >> (n % 32) & 1;
}

static void bit_set(uint32_t bits[8], unsigned int n)
{
	bits[n / 32] |= 1u << (n % 32);
}

static void bit_clear(uint32_t bits[8], unsigned int n)
{
	bits[n / 32] &= ~(1u << (n % 32));
}

int lapic_highest(const uint32_t bits[8])
{
	for (int i = 7; i >= 0; i--)
		if (bits[i])
			return i * 32 + 31 - __builtin_clz(bits[i]);
	return -1;
}

void lapic_no_effects(struct lapic_effects *e)
{
	*e = (struct lapic_effects){.eoi_vector = -1};
}

/* --- States
 * ------------------------------------------------------------------------------------------------------------------------- */

void lapic_init(struct lapic *l, uint32_t apic_id, bool bsp)
{
	assert(apic_id != UINT32_MAX);
	memset(l, 0, sizeof(*l));
	l->id = apic_id;
	l->base = 0xfee00000u | BASE_ENABLE | (bsp ? BASE_BSP : 0);
	lapic_reset(l);
}

void lapic_init_x2apic(struct lapic *l, uint32_t apic_id, bool bsp)
{
	lapic_init(l, apic_id, bsp);
	l->base |= BASE_X2APIC;
}

void lapic_reset(struct lapic *l)
{
	struct lapic kept = {.id = l->id, .base = l->base};

	*l = kept;
	l->dfr = UINT32_MAX;
	l->svr = 0xff;
	for (int i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	l->wait_sipi = !(l->base & BASE_BSP);
}

uint64_t lapic_base(const struct lapic *l)
{
	return l->base;
}

gpa_t lapic_mmio_base(const struct lapic *l)
{
	return l->base & BASE_ADDRESS;
}

enum apic_mode lapic_mode(const struct lapic *l)
{
	if (!(l->base & BASE_ENABLE))
		return APIC_DISABLED;
	return l->base & BASE_X2APIC ? APIC_X2APIC : APIC_XAPIC;
}

/*
 * Figure 10-27. Rows: from; - no change needed, y allowed, #GP forbidden.
 *
 *              disabled  xAPIC  x2APIC  (x2APIC bit without enable)
 *   disabled      -        y     #GP       #GP
 *   xAPIC         y        -      y        #GP
 *   x2APIC        y       #GP     -        #GP
 */
int lapic_set_base(struct lapic *l, uint64_t value, struct lapic_effects *effects)
{
	enum apic_mode from = lapic_mode(l);
	bool enable = value & BASE_ENABLE;
	bool x2apic = value & BASE_X2APIC;

	if (value & ~(BASE_ADDRESS | BASE_BSP | BASE_X2APIC | BASE_ENABLE))
		return -EINVAL;
	if (x2apic && (!enable || from == APIC_DISABLED)) /* L4 */
		return -EINVAL;
	if (from == APIC_X2APIC && enable && !x2apic)
		return -EINVAL;

	lapic_no_effects(effects);
	l->base = value;
	if (lapic_mode(l) == from)
		return 0;
	effects->dest_changed = true;
	if (!enable) {
		/* 10.4.3: state may be lost. What the processor itself waits for is not the APIC's. */
		bool wait_sipi = l->wait_sipi;

		lapic_reset(l);
		l->wait_sipi = wait_sipi;
		effects->timer_changed = true;
	} else if (x2apic) {
		l->icr_high = 0; /* 10.12.5.1: the destination field has another layout now */
	}
	return 0;
}

/* --- Priorities, 10.8.3.1
 * ----------------------------------------------------------------------------------------------------------- */

uint8_t lapic_tpr(const struct lapic *l)
{
	return l->tpr;
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
	l->tpr = tpr;
}

uint8_t lapic_cr8(const struct lapic *l)
{
	return l->tpr >> 4;
}

void lapic_set_cr8(struct lapic *l, uint8_t cr8)
{
	if (lapic_cr8(l) != (cr8 & 0xf))
		l->tpr = (uint8_t)(cr8 << 4);
}

uint8_t lapic_ppr(const struct lapic *l)
{
	int isrv = lapic_highest(l->isr);
	uint8_t in_service = isrv < 0 ? 0 : (uint8_t)isrv & 0xf0;

	return (l->tpr & 0xf0) >= in_service ? l->tpr : in_service;
}

uint8_t lapic_apr(const struct lapic *l)
{
	int irrv = lapic_highest(l->irr), isrv = lapic_highest(l->isr);
	uint8_t requested = irrv < 0 ? 0 : (uint8_t)irrv & 0xf0;
	uint8_t in_service = isrv < 0 ? 0 : (uint8_t)isrv & 0xf0;
	uint8_t task = l->tpr & 0xf0;

	if (task >= requested && task > in_service)
		return l->tpr;
	return MAX(task, MAX(requested, in_service));
}

/* --- From arrival to EOI, 10.8.4 and 10.8.5
 * ------------------------------------------------------------------------------------------ */

bool lapic_accept(struct lapic *l, uint8_t vector, bool level_trig)
{
	bool was = bit_get(l->irr, vector);

	assert(vector >= FIRST_VECTOR); /* L1 */
	bit_set(l->irr, vector);
	if (level_trig)
		bit_set(l->tmr, vector);
	else
		bit_clear(l->tmr, vector);
	return !was;
}

void lapic_error(struct lapic *l, uint32_t esr_bits)
{
	uint32_t lvt = l->lvt[LVT_ERROR];

	l->esr_new |= esr_bits;
	if (l->error_sent || (lvt & LVT_MASKED))
		return;
	l->error_sent = true;
	if ((lvt & LVT_VECTOR) < FIRST_VECTOR)
		l->esr_new |= ESR_RECEIVE_ILLEGAL_VECTOR; /* an error of the error interrupt raises no other */
	else
		lapic_accept(l, lvt & LVT_VECTOR, false);
}

bool lapic_deliver(struct lapic *l, enum apic_delivery mode, uint8_t vector, bool level_trig)
{
	if (lapic_mode(l) == APIC_DISABLED)
		return false;
	switch (mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (!(l->svr & SVR_ENABLE))
			return false;
		if (vector < FIRST_VECTOR) {
			lapic_error(l, ESR_RECEIVE_ILLEGAL_VECTOR);
			return lapic_pending(l) >= 0; /* perhaps the error interrupt */
		}
		return lapic_accept(l, vector, level_trig);
	case APIC_NMI:
		if (l->wait_sipi || l->nmi)
			return false;
		l->nmi = true;
		return true;
	case APIC_INIT:
		l->init = true;
		l->sipi = false;
		return true;
	case APIC_SIPI:
		if (l->init ? (l->base & BASE_BSP) != 0 : !l->wait_sipi)
			return false;
		l->sipi = true;
		l->sipi_vector = vector;
		return true;
	case APIC_SMI:
	case APIC_EXTINT:
	default:
		return false;
	}
}

bool lapic_local(struct lapic *l, enum lapic_lvt source)
{
	uint32_t lvt = l->lvt[source];
	enum apic_delivery mode = (enum apic_delivery)((lvt & LVT_MODE) >> LVT_MODE_SHIFT);

	assert(source != LVT_TIMER);
	if (lvt & LVT_MASKED)
		return false;
	if (source == LVT_ERROR)
		mode = APIC_FIXED; /* no delivery mode field */
	if (source == LVT_PERF)
		l->lvt[source] |= LVT_MASKED; /* 10.5.1, and vol. 3B "Generating an Interrupt on Overflow": software unmasks it */
	if (mode == APIC_LOWEST || mode == APIC_SIPI)
		return false; /* 10.5.1: not for local sources */
	return lapic_deliver(l, mode, lvt & LVT_VECTOR, false);
}

int lapic_pending(const struct lapic *l)
{
	int vector = lapic_highest(l->irr);

	if (vector < 0 || (vector & 0xf0) <= (lapic_ppr(l) & 0xf0))
		return -1;
	return vector;
}

void lapic_ack(struct lapic *l, int vector)
{
	assert(vector >= FIRST_VECTOR && vector <= 255 && vector == lapic_pending(l)); /* L2 */
	bit_clear(l->irr, (unsigned int)vector);
	bit_set(l->isr, (unsigned int)vector);
}

int lapic_eoi(struct lapic *l)
{
	int vector = lapic_highest(l->isr);

	if (vector < 0)
		return -1;
	bit_clear(l->isr, (unsigned int)vector);
	if (!bit_get(l->tmr, (unsigned int)vector) || (l->svr & SVR_SUPPRESS_EOI))
		return -1;
	return vector;
}

/* --- What the processor takes, 8.4.1
 * ------------------------------------------------------------------------------------------------- */

bool lapic_take_init(struct lapic *l)
{
	bool sipi = l->sipi;
	uint8_t vector = l->sipi_vector;

	if (!l->init)
		return false;
	lapic_reset(l);
	l->sipi = sipi && l->wait_sipi;
	l->sipi_vector = vector;
	return true;
}

bool lapic_take_sipi(struct lapic *l, uint8_t *vector)
{
	if (!l->sipi || l->init)
		return false;
	l->sipi = false;
	l->wait_sipi = false;
	*vector = l->sipi_vector;
	return true;
}

bool lapic_take_nmi(struct lapic *l)
{
	bool nmi = l->nmi;

	l->nmi = false;
	return nmi;
}

bool lapic_has_event(const struct lapic *l)
{
	return l->init || l->sipi || l->nmi || lapic_pending(l) >= 0;
}

bool lapic_waits_for_sipi(const struct lapic *l)
{
	return l->wait_sipi;
}

/* --- Destinations, 10.6.2 and 10.12.9
 * ------------------------------------------------------------------------------------------------ */

uint32_t lapic_ldr(const struct lapic *l)
{
	if (lapic_mode(l) == APIC_X2APIC) /* 10.12.10.2: derived from the id */
		return l->id >> 4 << 16 | 1u << (l->id & 0xf);
	return l->ldr;
}

void lapic_route(const struct lapic *l, struct apic_route *route)
{
	*route = (struct apic_route){
		.mode = lapic_mode(l), .id = l->id, .ldr = lapic_ldr(l), .dfr = l->dfr, .sw_enabled = (l->svr & SVR_ENABLE) != 0};
}

bool apic_match(const struct apic_route *route, uint32_t dest, bool logical, bool sender_x2apic)
{
	uint32_t members;

	if (route->mode == APIC_DISABLED)
		return false;
	if (dest == (sender_x2apic ? UINT32_MAX : 0xffu))
		return true;
	if (!logical)
		return dest == route->id;
	if (route->mode == APIC_X2APIC)
		return dest >> 16 == route->ldr >> 16 && (dest & route->ldr & 0xffff);

	/* xAPIC: eight bits, and the destination format says how to read them. */
	if (dest > 0xff)
		return false;
	members = route->ldr >> 24;
	switch (route->dfr >> 28) {
	case 0xf: /* flat */
		return dest & members;
	case 0x0: /* cluster in the high nibble */
		return dest >> 4 == members >> 4 && (dest & members & 0xf);
	default: /* reserved */
		return false;
	}
}

static bool reaches(const struct apic_route *routes, vcpu_t i, vcpu_t self, const struct apic_ipi *ipi)
{
	switch (ipi->shorthand) {
	case APIC_SELF:
		return i == self;
	case APIC_ALL:
		return routes[i].mode != APIC_DISABLED;
	case APIC_ALL_BUT_SELF:
		return i != self && routes[i].mode != APIC_DISABLED;
	default:
		return apic_match(&routes[i], ipi->dest, ipi->logical, ipi->x2apic);
	}
}

void apic_resolve(const struct apic_route *routes, vcpu_t count, vcpu_t self, const struct apic_ipi *ipi, struct vcpuset *out)
{
	bool lowest = ipi->mode == APIC_LOWEST;
	vcpu_t candidates = 0, nth;

	assert(count <= VCPUS_MAX);
	/* A route's index is most often its id: the common IPI then costs no walk. Ids are unique. */
	if (!lowest && ipi->shorthand == APIC_NO_SHORTHAND && !ipi->logical && ipi->dest < count &&
	    routes[ipi->dest].id == ipi->dest && (ipi->x2apic || ipi->dest != 0xff)) {
		if (routes[ipi->dest].mode != APIC_DISABLED)
			vcpuset_add(out, ipi->dest);
		return;
	}
	for (vcpu_t i = 0; i < count; i++) {
		if (!reaches(routes, i, self, ipi))
			continue;
		if (!lowest)
			vcpuset_add(out, i);
		else if (routes[i].sw_enabled)
			candidates++;
	}
	if (!candidates)
		return;
	nth = ipi->vector % candidates;
	for (vcpu_t i = 0; i < count; i++)
		if (routes[i].sw_enabled && reaches(routes, i, self, ipi) && nth-- == 0) {
			vcpuset_add(out, i);
			return;
		}
}
