/* SPDX-License-Identifier: Apache-2.0 */
/* Random guest and device actions on one local APIC and one IOAPIC that are wired together; after each, the invariants of lapic.h
 * and ioapic.h, with PPR computed here a second time. */
#include <stdlib.h>

#include "devices/ioapic.h"
#include "fuzz.h"
#include "vcpu/lapic.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

struct machine {
	struct msi_sink sink;
	struct ioapic io;
	struct lapic l;
	struct lapic_now now;
};

/* As irq.c and ipi.c do together. */
static void arrive(struct msi_sink *sink, uint64_t addr, uint32_t data)
{
	struct machine *m = container_of(sink, struct machine, sink);
	struct apic_route route;
	uint32_t dest = (uint32_t)((addr >> 12 & 0xff) | (addr >> 5 & 0x7f) << 8);

	REQUIRE(addr >> 20 == 0xfee && !(addr & 0xb));
	lapic_route(&m->l, &route);
	if (apic_match(&route, dest, addr & 4, route.mode == APIC_X2APIC))
		lapic_deliver(&m->l, (enum apic_delivery)(data >> 8 & 7), data & 0xff, data >> 15 & 1);
}

static int highest(const uint32_t bits[8])
{
	for (int v = 255; v >= 0; v--)
		if (bits[v / 32] >> (v % 32) & 1)
			return v;
	return -1;
}

static void check(const struct machine *m)
{
	const struct lapic *l = &m->l;
	int isrv = highest(l->isr), irrv = highest(l->irr), pending = lapic_pending(l);
	int isrc = isrv < 0 ? 0 : isrv & 0xf0;
	int ppr = (l->tpr & 0xf0) >= isrc ? l->tpr : isrc;
	uint64_t wait;

	REQUIRE(!((l->irr[0] | l->isr[0] | l->tmr[0]) & 0xffff)); /* L1 */
	REQUIRE(lapic_ppr(l) == ppr);
	if (pending >= 0)
		REQUIRE(pending >= 16 && pending == irrv && (pending & 0xf0) > (ppr & 0xf0)); /* L2 */
	else
		REQUIRE(irrv < 0 || (irrv & 0xf0) <= (ppr & 0xf0));
	for (int i = 0; i < LVT_COUNT; i++)
		REQUIRE((l->svr & 0x100) || (l->lvt[i] & 0x10000)); /* L3 */
	REQUIRE(!(l->base & 0x400) || (l->base & 0x800));           /* L4 */
	REQUIRE(!l->timer_armed || l->timer_initial);
	if (lapic_timer_next(l, &m->now, 2000000, &wait))
		REQUIRE(!(l->lvt[LVT_TIMER] & 0x10000));
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t e = m->io.entry[pin];
		bool level = (e & 0x8000) && (e >> 8 & 7) <= 1;

		REQUIRE(!(e & 0x4000) || level); /* O1 */
		if (level && (m->io.lines >> pin & 1))
			REQUIRE(e & (0x4000 | 0x10000)); /* asserted: in service or masked */
	}
}

static void apply(struct machine *m, const struct lapic_effects *e)
{
	REQUIRE(e->eoi_vector == -1 || (e->eoi_vector >= 16 && e->eoi_vector <= 255));
	if (e->eoi_vector >= 0)
		ioapic_eoi(&m->io, (uint8_t)e->eoi_vector);
	if (e->ipi) {
		const struct apic_ipi *ipi = &e->ipi_msg;
		struct apic_route route;
		struct vcpuset out;

		REQUIRE(ipi->assert && ipi->shorthand != APIC_SELF);
		REQUIRE(ipi->mode > APIC_LOWEST || ipi->vector >= 16);
		lapic_route(&m->l, &route);
		vcpuset_clear(&out);
		apic_resolve(&route, 1, 0, ipi, &out);
		if (vcpuset_has(&out, 0))
			lapic_deliver(&m->l, ipi->mode, ipi->vector, ipi->level_trig);
	}
}

static void step(struct machine *m, struct fuzz_input *in)
{
	struct lapic_effects e = {.eoi_vector = -1};
	struct lapic before;
	uint32_t v32;
	uint64_t v64;
	uint8_t op = fuzz_u8(in) % 16, arg = fuzz_u8(in), vector;
	int pending;

	m->now.ns += fuzz_u8(in) * 1000;
	m->now.tsc = 2 * m->now.ns;
	switch (op) {
	case 0:
		(void)!lapic_mmio_read(&m->l, arg * 16u, &m->now, &v32);
		break;
	case 1:
		(void)!lapic_mmio_read(&m->l, fuzz_u32(in), &m->now, &v32);
		break;
	case 2:
		(void)!lapic_mmio_write(&m->l, (arg & 0x3f) * 16u, fuzz_u32(in), &m->now, &e);
		break;
	case 3:
		(void)!lapic_mmio_write(&m->l, fuzz_u32(in), fuzz_u32(in), &m->now, &e);
		break;
	case 4:
		(void)!lapic_msr_read(&m->l, 0x800u + arg, &m->now, &v64);
		break;
	case 5:
	case 6:
		before = m->l;
		v64 = op == 5 ? fuzz_u64(in) : fuzz_u32(in) & 0xcffff;
		if (lapic_msr_write(&m->l, 0x800u + (arg & 0x3f), v64, &m->now, &e))
			REQUIRE(!memcmp(&before, &m->l, sizeof(before)));
		break;
	case 7:
		before = m->l;
		v64 = arg & 1 ? fuzz_u64(in) : 0xfee00000 | (uint64_t)(arg & 0xf) << 8;
		if (lapic_set_base(&m->l, v64, &e))
			REQUIRE(!memcmp(&before, &m->l, sizeof(before)));
		break;
	case 8:
		lapic_set_tsc_deadline(&m->l, m->now.tsc + (arg & 1 ? fuzz_u64(in) : fuzz_u8(in)), &m->now, &e);
		break;
	case 9:
		lapic_timer_tick(&m->l, &m->now);
		REQUIRE(!lapic_timer_tick(&m->l, &m->now));
		break;
	case 10:
		vector = fuzz_u8(in);
		if (lapic_deliver(&m->l, (enum apic_delivery)(arg & 7), vector, arg & 8))
			REQUIRE(lapic_mode(&m->l) != APIC_DISABLED);
		break;
	case 11:
		if (arg % LVT_COUNT != LVT_TIMER)
			lapic_local(&m->l, (enum lapic_lvt)(arg % LVT_COUNT));
		break;
	case 12:
		pending = lapic_pending(&m->l);
		if (pending < 0)
			break;
		lapic_ack(&m->l, pending);
		REQUIRE(highest(m->l.isr) == pending && (lapic_ppr(&m->l) & 0xf0) == (pending & 0xf0));
		break;
	case 13:
		if (arg & 1)
			lapic_take_init(&m->l);
		if (arg & 2)
			lapic_take_sipi(&m->l, &vector);
		if (arg & 4)
			lapic_take_nmi(&m->l);
		if (arg & 8)
			lapic_set_cr8(&m->l, arg >> 4);
		break;
	case 14:
		ioapic_set_line(&m->io, arg % IOAPIC_PINS, arg & 0x80);
		break;
	default:
		v32 = fuzz_u32(in);
		if (arg & 0x80)
			ioapic_write(&m->io, 0, arg & 0x7f);
		ioapic_write(&m->io, arg & 3 ? 0x10 : arg, v32);
		ioapic_read(&m->io, arg & 0x50, &v32);
		break;
	}
	apply(m, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	struct machine m = {.sink.send = arrive};
	uint8_t start = fuzz_u8(&in);
	struct lapic_effects e;

	ioapic_init(&m.io, 0, &m.sink);
	lapic_init(&m.l, start >> 4, start & 1);
	if (start & 2)
		REQUIRE(!lapic_set_base(&m.l, lapic_base(&m.l) | 0x400, &e));
	if (start & 4) /* software-enabled from the start */
		REQUIRE(!(start & 2 ? lapic_msr_write(&m.l, 0x80f, 0x1ff, &m.now, &e)
				    : lapic_mmio_write(&m.l, 0xf0, 0x1ff, &m.now, &e)));
	while (in.left) {
		step(&m, &in);
		check(&m);
	}
	return 0;
}
