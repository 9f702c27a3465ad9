/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC against SDM vol. 3A, chapter "APIC": sending, INIT and SIPI, destinations. */
#include "lapic_help.h"
#include "tests/unit/check_main.h"

/* --- Sending, 10.6.1 and 10.12.9 --- */

START_TEST(xapic_icr_becomes_a_message)
{
	struct lapic l = xapic(0);
	struct lapic_effects e;

	put(&l, ICR2, 0x07000000);
	e = put(&l, ICR, 0x000008fd); /* logical, fixed; the level bit need not be set */
	ck_assert(e.ipi && e.ipi_msg.assert &&e.ipi_msg.logical && !e.ipi_msg.level_trig && !e.ipi_msg.x2apic);
	ck_assert_uint_eq(e.ipi_msg.dest, 7);
	ck_assert_uint_eq(e.ipi_msg.vector, 0xfd);
	ck_assert_int_eq(e.ipi_msg.mode, APIC_FIXED);
	ck_assert_uint_eq(e.ipi_msg.shorthand, APIC_NO_SHORTHAND);
	ck_assert_uint_eq(get(&l, ICR), 0x8fd);
	ck_assert(!put(&l, ICR2, 0x01000000).ipi);
}
END_TEST

START_TEST(x2apic_icr_has_a_32_bit_destination)
{
	struct lapic l = x2apic(0);
	struct lapic_effects e = wrmsr(&l, ICR, 0x0012ffff00000140);

	ck_assert(e.ipi && e.ipi_msg.x2apic && !e.ipi_msg.logical);
	ck_assert_uint_eq(e.ipi_msg.dest, 0x0012ffff);
	ck_assert_int_eq(e.ipi_msg.mode, APIC_LOWEST);
}
END_TEST

START_TEST(every_sendable_mode_and_shorthand_goes_out)
{
	static const enum apic_delivery modes[] = {APIC_FIXED, APIC_LOWEST, APIC_NMI, APIC_INIT, APIC_SIPI};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		for (uint32_t shorthand = APIC_ALL; shorthand <= APIC_ALL_BUT_SELF; shorthand++) {
			struct lapic l = xapic(0);
			struct lapic_effects e = put(&l, ICR, 0x4040 | (uint32_t)modes[i] << 8 | shorthand << 18);

			ck_assert(e.ipi);
			ck_assert_int_eq(e.ipi_msg.mode, modes[i]);
			ck_assert_uint_eq(e.ipi_msg.shorthand, shorthand);
		}
}
END_TEST

START_TEST(smi_and_reserved_modes_are_not_sent)
{
	struct lapic l = xapic(0);

	ck_assert(!put(&l, ICR, 0x4240).ipi);
	ck_assert(!put(&l, ICR, 0x4340).ipi);
	ck_assert(!put(&l, ICR, 0x4740).ipi);
}
END_TEST

START_TEST(init_de_assert_is_ignored)
{
	struct lapic l = xapic(0);

	ck_assert(put(&l, ICR, 0xc500).ipi);
	ck_assert(!put(&l, ICR, 0x8500).ipi);
}
END_TEST

START_TEST(self_shorthand_stays_here)
{
	struct lapic l = xapic(0);

	ck_assert(!put(&l, ICR, 0x44041).ipi);
	ck_assert_int_eq(lapic_pending(&l), 0x41);
	ck_assert(!put(&l, ICR, 0x44400).ipi);
	ck_assert(lapic_take_nmi(&l));
}
END_TEST

START_TEST(self_ipi_register_is_an_edge_interrupt_to_itself)
{
	struct lapic l = x2apic(0);

	ck_assert(!wrmsr(&l, SELF, 0xf7).ipi);
	ck_assert_int_eq(lapic_pending(&l), 0xf7);
	ck_assert_uint_eq(rdmsr(&l, TMR + 0x70), 0);
}
END_TEST

START_TEST(self_ipi_with_an_illegal_vector_is_two_errors)
{
	struct lapic l = x2apic(0);

	wrmsr(&l, SELF, 0x0f);
	ck_assert_int_eq(lapic_pending(&l), -1);
	wrmsr(&l, ESR, 0);
	ck_assert_uint_eq(rdmsr(&l, ESR), 0x60);
}
END_TEST

/* --- INIT, SIPI, NMI, 8.4.1 --- */

START_TEST(init_then_sipi_starts_a_processor_once)
{
	struct lapic l = xapic(1);
	uint8_t vector = 0;

	ck_assert_int_eq(set_base(&l, 0xfee00800), 0); /* not the BSP */
	ck_assert(!lapic_deliver(&l, APIC_SIPI, 0x10, false));
	ck_assert(lapic_deliver(&l, APIC_INIT, 0, false));
	ck_assert(lapic_take_init(&l));
	ck_assert(lapic_waits_for_sipi(&l));
	ck_assert(!lapic_take_sipi(&l, &vector));
	ck_assert(lapic_deliver(&l, APIC_SIPI, 0x10, false));
	ck_assert(lapic_take_sipi(&l, &vector));
	ck_assert_uint_eq(vector, 0x10);
	ck_assert(!lapic_waits_for_sipi(&l));
	ck_assert(!lapic_deliver(&l, APIC_SIPI, 0x20, false)); /* the second SIPI of the usual sequence */
}
END_TEST

START_TEST(a_sipi_right_behind_init_is_kept_and_one_before_it_is_not)
{
	struct lapic l = fresh(1, false);
	uint8_t vector = 0;

	ck_assert(lapic_deliver(&l, APIC_SIPI, 0x11, false));
	ck_assert(lapic_deliver(&l, APIC_INIT, 0, false));
	ck_assert(!lapic_take_sipi(&l, &vector));
	ck_assert(lapic_deliver(&l, APIC_SIPI, 0x22, false));
	ck_assert(!lapic_take_sipi(&l, &vector)); /* INIT first */
	ck_assert(lapic_take_init(&l));
	ck_assert(lapic_take_sipi(&l, &vector));
	ck_assert_uint_eq(vector, 0x22);
}
END_TEST

START_TEST(the_bsp_needs_no_sipi_after_init)
{
	struct lapic l = xapic(0);
	uint8_t vector;

	ck_assert(lapic_deliver(&l, APIC_INIT, 0, false));
	ck_assert(!lapic_deliver(&l, APIC_SIPI, 0x22, false));
	ck_assert(lapic_take_init(&l));
	ck_assert(!lapic_waits_for_sipi(&l));
	ck_assert(!lapic_take_sipi(&l, &vector));
}
END_TEST

START_TEST(nothing_pending_is_nothing_to_take)
{
	struct lapic l = xapic(0), before = l;
	uint8_t vector = 0x77;

	ck_assert(!lapic_take_init(&l));
	ck_assert(!lapic_take_sipi(&l, &vector));
	ck_assert(!lapic_take_nmi(&l));
	ck_assert_mem_eq(&l, &before, sizeof(l));
	ck_assert_uint_eq(vector, 0x77);
}
END_TEST

START_TEST(one_nmi_is_remembered)
{
	struct lapic l = xapic(0);

	ck_assert(lapic_deliver(&l, APIC_NMI, 0, false));
	ck_assert(!lapic_deliver(&l, APIC_NMI, 0, false));
	ck_assert(lapic_has_event(&l));
	ck_assert(lapic_take_nmi(&l));
	ck_assert(!lapic_has_event(&l));
}
END_TEST

START_TEST(an_nmi_to_a_processor_that_waits_for_sipi_is_lost)
{
	struct lapic l = fresh(1, false);

	ck_assert(!lapic_deliver(&l, APIC_NMI, 0, false));
	ck_assert(!lapic_has_event(&l));
}
END_TEST

START_TEST(smi_extint_and_reserved_are_not_accepted)
{
	struct lapic l = xapic(0);

	ck_assert(!lapic_deliver(&l, APIC_SMI, 0x40, false));
	ck_assert(!lapic_deliver(&l, APIC_EXTINT, 0x40, false));
	ck_assert(!lapic_deliver(&l, (enum apic_delivery)3, 0x40, false));
	ck_assert(!lapic_has_event(&l));
}
END_TEST

/* --- Destinations, 10.6.2 and 10.12.10 --- */

static struct apic_route route_xapic(uint32_t id, uint32_t ldr, uint32_t dfr)
{
	return (struct apic_route){.mode = APIC_XAPIC, .id = id, .ldr = ldr, .dfr = dfr, .sw_enabled = true};
}

static struct apic_route route_x2apic(uint32_t id)
{
	struct lapic l = x2apic(id);
	struct apic_route r;

	lapic_route(&l, &r);
	return r;
}

START_TEST(route_follows_the_registers)
{
	struct lapic l = fresh(9, true);
	struct apic_route r;

	lapic_route(&l, &r);
	ck_assert(r.mode == APIC_XAPIC && r.id == 9 && r.ldr == 0 && r.dfr == UINT32_MAX && !r.sw_enabled);
	ck_assert(put(&l, LDR, 0x02000000).dest_changed);
	ck_assert(put(&l, DFR, 0x0fffffff).dest_changed);
	ck_assert(put(&l, SVR, 0x1ff).dest_changed);
	ck_assert(!put(&l, SVR, 0x1fe).dest_changed);
	lapic_route(&l, &r);
	ck_assert(r.ldr == 0x02000000 && r.dfr == 0x0fffffff && r.sw_enabled);
}
END_TEST

START_TEST(physical_destination_is_the_id)
{
	struct apic_route x = route_xapic(5, 0, UINT32_MAX), x2 = route_x2apic(0x105);

	ck_assert(apic_match(&x, 5, false, false));
	ck_assert(apic_match(&x, 5, false, true));
	ck_assert(!apic_match(&x, 6, false, false));
	ck_assert(!apic_match(&x, 0x105, false, true));
	ck_assert(apic_match(&x2, 0x105, false, true));
	ck_assert(!apic_match(&x2, 5, false, true));
}
END_TEST

START_TEST(an_id_above_254_in_xapic_mode_aliases_nobody)
{
	struct apic_route r = route_xapic(0x100, 0, UINT32_MAX);

	ck_assert(!apic_match(&r, 0, false, false));
	ck_assert(!apic_match(&r, 0, false, true));
	ck_assert(apic_match(&r, 0x100, false, true)); /* how the 257th vCPU is started */
}
END_TEST

START_TEST(broadcast_depends_on_the_sender)
{
	struct apic_route x = route_xapic(5, 0, UINT32_MAX), x2 = route_x2apic(0x105), id255 = route_x2apic(255);

	for (int logical = 0; logical < 2; logical++) {
		ck_assert(apic_match(&x, 0xff, logical, false));
		ck_assert(apic_match(&x2, 0xff, logical, false));
		ck_assert(apic_match(&x, UINT32_MAX, logical, true));
		ck_assert(apic_match(&x2, UINT32_MAX, logical, true));
	}
	ck_assert(!apic_match(&x2, 0xff, false, true));
	ck_assert(apic_match(&id255, 0xff, false, true));
	ck_assert(!apic_match(&x2, UINT32_MAX, false, false));
}
END_TEST

START_TEST(logical_flat_is_a_mask_of_eight)
{
	struct apic_route r = route_xapic(2, 0x04000000, UINT32_MAX);

	ck_assert(apic_match(&r, 0x04, true, false));
	ck_assert(apic_match(&r, 0x0f, true, false));
	ck_assert(!apic_match(&r, 0x0b, true, false));
	ck_assert(!apic_match(&r, 0, true, false));
	ck_assert(!apic_match(&r, 0x104, true, true));
}
END_TEST

START_TEST(logical_cluster_is_a_cluster_and_a_mask_of_four)
{
	struct apic_route r = route_xapic(2, 0x24000000, 0x0fffffff);

	ck_assert(apic_match(&r, 0x24, true, false));
	ck_assert(apic_match(&r, 0x2f, true, false));
	ck_assert(!apic_match(&r, 0x2b, true, false));
	ck_assert(!apic_match(&r, 0x14, true, false));
	ck_assert(!apic_match(&r, 0x34, true, false));
	ck_assert(!apic_match(&r, 0x20, true, false));
}
END_TEST

START_TEST(a_reserved_destination_format_matches_only_broadcast)
{
	struct apic_route r = route_xapic(2, 0xff000000, 0x5fffffff);

	ck_assert(!apic_match(&r, 0x01, true, false));
	ck_assert(apic_match(&r, 0xff, true, false));
}
END_TEST

START_TEST(x2apic_logical_is_a_cluster_of_sixteen)
{
	for (uint32_t id = 0; id < 64; id++) {
		struct apic_route r = route_x2apic(id);

		ck_assert_uint_eq(r.ldr, id / 16 << 16 | 1u << id % 16);
		ck_assert(apic_match(&r, id / 16 << 16 | 0xffff, true, true));
		ck_assert(apic_match(&r, r.ldr, true, true));
		ck_assert(!apic_match(&r, r.ldr ^ 0x10000, true, true));
		ck_assert(!apic_match(&r, r.ldr & 0xffff0000, true, true));
		ck_assert(!apic_match(&r, r.ldr ^ 0xffff, true, true));
	}
}
END_TEST

START_TEST(a_disabled_apic_matches_nothing)
{
	struct apic_route r = {.mode = APIC_DISABLED, .id = 1};

	ck_assert(!apic_match(&r, 1, false, false));
	ck_assert(!apic_match(&r, 0xff, false, false));
	ck_assert(!apic_match(&r, UINT32_MAX, true, true));
}
END_TEST

/* Four x2APICs, ids 0 to 3; number 2 is software-disabled. */
static uint64_t resolve(vcpu_t self, struct apic_ipi ipi)
{
	struct apic_route r[4];
	struct vcpuset out;

	for (uint32_t i = 0; i < 4; i++)
		r[i] = route_x2apic(i);
	r[2].sw_enabled = false;
	ipi.x2apic = true;
	vcpuset_clear(&out);
	apic_resolve(r, 4, self, &ipi, &out);
	return out.word[0];
}

START_TEST(shorthands_resolve)
{
	ck_assert_uint_eq(resolve(1, (struct apic_ipi){.vector = 0x40, .shorthand = APIC_ALL}), 0xf);
	ck_assert_uint_eq(resolve(1, (struct apic_ipi){.vector = 0x40, .shorthand = APIC_ALL_BUT_SELF}), 0xd);
	ck_assert_uint_eq(resolve(1, (struct apic_ipi){.vector = 0x40, .shorthand = APIC_SELF}), 0x2);
	ck_assert_uint_eq(resolve(VCPU_NONE, (struct apic_ipi){.vector = 0x40, .dest = 3}), 0x8);
	ck_assert_uint_eq(resolve(VCPU_NONE, (struct apic_ipi){.vector = 0x40, .dest = 4}), 0);
	ck_assert_uint_eq(resolve(0, (struct apic_ipi){.vector = 0x40, .dest = 0x5, .logical = true}), 0x5);
	ck_assert_uint_eq(resolve(0, (struct apic_ipi){.vector = 0x40, .dest = UINT32_MAX}), 0xf);
}
END_TEST

START_TEST(lowest_priority_reaches_one_enabled_apic_and_spreads_by_vector)
{
	uint64_t seen = 0;

	for (unsigned int v = 0x30; v < 0x60; v++) {
		struct apic_ipi ipi = {.vector = (uint8_t)v, .mode = APIC_LOWEST, .dest = 0xf, .logical = true};
		uint64_t to = resolve(VCPU_NONE, ipi);

		ck_assert_int_eq(__builtin_popcountll(to), 1);
		ck_assert_uint_eq(to, resolve(VCPU_NONE, ipi));
		seen |= to;
	}
	ck_assert_uint_eq(seen, 0xb);
	ck_assert_uint_eq(resolve(VCPU_NONE, (struct apic_ipi){.vector = 0x40, .mode = APIC_LOWEST, .dest = 2}), 0);
}
END_TEST

START_TEST(destination_255_of_300_vcpus_is_a_broadcast_or_one_of_them)
{
	struct apic_route r[300];
	struct apic_ipi ipi = {.dest = 0xff, .vector = 0x40};
	struct vcpuset out;
	unsigned int reached = 0;

	for (uint32_t i = 0; i < ARRAY_SIZE(r); i++)
		r[i] = route_x2apic(i);
	vcpuset_clear(&out);
	apic_resolve(r, ARRAY_SIZE(r), VCPU_NONE, &ipi, &out);
	for (vcpu_t i = vcpuset_next(&out, 0); i != VCPU_NONE; i = vcpuset_next(&out, i + 1))
		reached++;
	ck_assert_uint_eq(reached, ARRAY_SIZE(r));

	ipi.x2apic = true;
	vcpuset_clear(&out);
	apic_resolve(r, ARRAY_SIZE(r), VCPU_NONE, &ipi, &out);
	ck_assert_uint_eq(vcpuset_next(&out, 0), 255);
	ck_assert_uint_eq(vcpuset_next(&out, 256), VCPU_NONE);
}
END_TEST

START_TEST(routes_need_not_be_in_the_order_of_ids)
{
	struct apic_route r[2] = {route_x2apic(1), route_x2apic(0)};
	struct apic_ipi ipi = {.dest = 0, .vector = 0x40, .x2apic = true};
	struct vcpuset out;

	vcpuset_clear(&out);
	apic_resolve(r, 2, VCPU_NONE, &ipi, &out);
	ck_assert_uint_eq(out.word[0], 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lapic_ipi");
	TCase *t = tcase_create("lapic_ipi");

	tcase_add_test(t, xapic_icr_becomes_a_message);
	tcase_add_test(t, x2apic_icr_has_a_32_bit_destination);
	tcase_add_test(t, every_sendable_mode_and_shorthand_goes_out);
	tcase_add_test(t, smi_and_reserved_modes_are_not_sent);
	tcase_add_test(t, init_de_assert_is_ignored);
	tcase_add_test(t, self_shorthand_stays_here);
	tcase_add_test(t, self_ipi_register_is_an_edge_interrupt_to_itself);
	tcase_add_test(t, self_ipi_with_an_illegal_vector_is_two_errors);
	tcase_add_test(t, init_then_sipi_starts_a_processor_once);
	tcase_add_test(t, a_sipi_right_behind_init_is_kept_and_one_before_it_is_not);
	tcase_add_test(t, the_bsp_needs_no_sipi_after_init);
	tcase_add_test(t, nothing_pending_is_nothing_to_take);
	tcase_add_test(t, one_nmi_is_remembered);
	tcase_add_test(t, an_nmi_to_a_processor_that_waits_for_sipi_is_lost);
	tcase_add_test(t, smi_extint_and_reserved_are_not_accepted);
	tcase_add_test(t, route_follows_the_registers);
	tcase_add_test(t, physical_destination_is_the_id);
	tcase_add_test(t, an_id_above_254_in_xapic_mode_aliases_nobody);
	tcase_add_test(t, broadcast_depends_on_the_sender);
	tcase_add_test(t, logical_flat_is_a_mask_of_eight);
	tcase_add_test(t, logical_cluster_is_a_cluster_and_a_mask_of_four);
	tcase_add_test(t, a_reserved_destination_format_matches_only_broadcast);
	tcase_add_test(t, x2apic_logical_is_a_cluster_of_sixteen);
	tcase_add_test(t, a_disabled_apic_matches_nothing);
	tcase_add_test(t, shorthands_resolve);
	tcase_add_test(t, lowest_priority_reaches_one_enabled_apic_and_spreads_by_vector);
	tcase_add_test(t, destination_255_of_300_vcpus_is_a_broadcast_or_one_of_them);
	tcase_add_test(t, routes_need_not_be_in_the_order_of_ids);
	suite_add_tcase(s, t);
	return check_main(s);
}
