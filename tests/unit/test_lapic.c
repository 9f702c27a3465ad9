/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC against SDM vol. 3A, chapter "APIC": states, modes and registers. */
#include "lapic_help.h"
#include "tests/unit/check_main.h"

/* --- States, 10.4.7 --- */

START_TEST(power_up_state_is_the_manuals)
{
	struct lapic l = fresh(5, false);

	ck_assert_uint_eq(get(&l, ID), 5u << 24);
	ck_assert_uint_eq(get(&l, VERSION), 0x01060014); /* integrated, 7 LVT entries, EOI broadcast suppression */
	ck_assert_uint_eq(get(&l, TPR), 0);
	ck_assert_uint_eq(get(&l, LDR), 0);
	ck_assert_uint_eq(get(&l, DFR), UINT32_MAX);
	ck_assert_uint_eq(get(&l, SVR), 0xff);
	ck_assert_uint_eq(get(&l, ICR), 0);
	ck_assert_uint_eq(get(&l, TMICT), 0);
	ck_assert_uint_eq(get(&l, TMCCT), 0);
	ck_assert_uint_eq(get(&l, TDCR), 0);
	for (uint32_t lvt = TIMER; lvt <= ERROR; lvt += 16)
		ck_assert_uint_eq(get(&l, lvt), 0x10000);
	ck_assert_uint_eq(get(&l, CMCI), 0x10000);
	for (uint32_t r = ISR; r < ESR; r += 16)
		ck_assert_uint_eq(get(&l, r), 0);
	ck_assert_uint_eq(lapic_base(&l), 0xfee00800);
	ck_assert(lapic_waits_for_sipi(&l));
}
END_TEST

START_TEST(the_bsp_has_its_flag_and_waits_for_nobody)
{
	struct lapic l = fresh(0, true);

	ck_assert_uint_eq(lapic_base(&l), 0xfee00900);
	ck_assert(!lapic_waits_for_sipi(&l));
}
END_TEST

START_TEST(init_keeps_id_base_and_x2apic_mode)
{
	struct lapic l = x2apic(0x123);

	wrmsr(&l, TPR, 0x30);
	wrmsr(&l, LINT1, 0x400);
	fixed(&l, 0x50);
	lapic_reset(&l);
	ck_assert_int_eq(lapic_mode(&l), APIC_X2APIC);
	ck_assert_uint_eq(rdmsr(&l, ID), 0x123);
	ck_assert_uint_eq(rdmsr(&l, LDR), 0x12u << 16 | 1 << 3);
	ck_assert_uint_eq(rdmsr(&l, TPR), 0);
	ck_assert_uint_eq(rdmsr(&l, SVR), 0xff);
	ck_assert_uint_eq(rdmsr(&l, LINT1), 0x10000);
	ck_assert_int_eq(lapic_pending(&l), -1);
}
END_TEST

START_TEST(a_copy_of_the_struct_is_the_same_apic)
{
	struct lapic l = x2apic(7), moved;

	fixed(&l, 0x61);
	memcpy(&moved, &l, sizeof(l));
	ck_assert_int_eq(lapic_pending(&moved), 0x61);
	ck_assert_uint_eq(rdmsr(&moved, ID), 7);
}
END_TEST

/* --- Modes, 10.12.5 --- */

START_TEST(disabled_xapic_x2apic_disabled_is_the_legal_circle)
{
	struct lapic l = fresh(1, false);

	ck_assert_int_eq(lapic_mode(&l), APIC_XAPIC);
	ck_assert_int_eq(set_base(&l, 0xfee00000), 0);
	ck_assert_int_eq(lapic_mode(&l), APIC_DISABLED);
	ck_assert_int_eq(set_base(&l, 0xfee00800), 0);
	ck_assert_int_eq(lapic_mode(&l), APIC_XAPIC);
	ck_assert_int_eq(set_base(&l, X2APIC_ON), 0);
	ck_assert_int_eq(lapic_mode(&l), APIC_X2APIC);
	ck_assert_int_eq(set_base(&l, 0xfee00000), 0);
	ck_assert_int_eq(lapic_mode(&l), APIC_DISABLED);
}
END_TEST

START_TEST(disabled_to_x2apic_faults)
{
	struct lapic l = fresh(1, false);

	ck_assert_int_eq(set_base(&l, 0xfee00000), 0);
	ck_assert_int_eq(set_base(&l, X2APIC_ON), -EINVAL);
	ck_assert_int_eq(lapic_mode(&l), APIC_DISABLED);
}
END_TEST

START_TEST(x2apic_to_xapic_faults)
{
	struct lapic l = x2apic(1);

	ck_assert_int_eq(set_base(&l, 0xfee00800), -EINVAL);
	ck_assert_int_eq(lapic_mode(&l), APIC_X2APIC);
}
END_TEST

START_TEST(x2apic_bit_without_enable_faults_from_every_mode)
{
	struct lapic x = fresh(1, true), x2 = x2apic(1), off = fresh(1, true);

	ck_assert_int_eq(set_base(&off, 0xfee00000), 0);
	ck_assert_int_eq(set_base(&x, 0xfee00400), -EINVAL);
	ck_assert_int_eq(set_base(&x2, 0xfee00400), -EINVAL);
	ck_assert_int_eq(set_base(&off, 0xfee00400), -EINVAL);
}
END_TEST

START_TEST(reserved_base_bits_fault)
{
	struct lapic l = fresh(1, true);

	for (int bit = 0; bit < 64; bit++) {
		bool reserved = bit < 8 || bit == 9 || bit >= 52;

		if (reserved)
			ck_assert_int_eq(set_base(&l, lapic_base(&l) | 1ull << bit), -EINVAL);
	}
	ck_assert_uint_eq(lapic_base(&l), 0xfee00900);
}
END_TEST

START_TEST(base_address_moves_and_says_nothing_about_destinations)
{
	struct lapic l = fresh(1, true);
	struct lapic_effects e;

	ck_assert_int_eq(lapic_set_base(&l, 0xfed00900, &e), 0);
	ck_assert_uint_eq(lapic_mmio_base(&l), 0xfed00000);
	ck_assert(!e.dest_changed && !e.ipi && e.eoi_vector == -1);
}
END_TEST

START_TEST(mode_changes_are_told_to_the_routing_table)
{
	struct lapic l = fresh(1, true);
	struct lapic_effects e;

	ck_assert_int_eq(lapic_set_base(&l, X2APIC_ON, &e), 0);
	ck_assert(e.dest_changed);
	ck_assert_int_eq(lapic_set_base(&l, X2APIC_ON, &e), 0);
	ck_assert(!e.dest_changed);
}
END_TEST

START_TEST(to_x2apic_keeps_registers_but_not_the_icr_destination)
{
	struct lapic l = xapic(0x21);

	put(&l, TPR, 0x40);
	put(&l, LDR, 0x08000000);
	put(&l, LINT0, 0x700);
	put(&l, ICR2, 0x05000000);
	ck_assert_int_eq(set_base(&l, X2APIC_ON), 0);
	ck_assert_uint_eq(rdmsr(&l, TPR), 0x40);
	ck_assert_uint_eq(rdmsr(&l, LINT0), 0x700);
	ck_assert_uint_eq(rdmsr(&l, ICR), 0);
	ck_assert_uint_eq(rdmsr(&l, LDR), 2u << 16 | 1 << 1);
}
END_TEST

START_TEST(disabling_loses_the_state)
{
	struct lapic l = xapic(1);

	fixed(&l, 0x40);
	ck_assert_int_eq(set_base(&l, 0xfee00100), 0);
	ck_assert_int_eq(lapic_pending(&l), -1);
	ck_assert_int_eq(set_base(&l, 0xfee00900), 0);
	ck_assert_uint_eq(get(&l, SVR), 0xff);
}
END_TEST

START_TEST(a_disabled_apic_accepts_nothing_and_has_no_registers)
{
	struct lapic l = fresh(1, false);
	struct lapic_effects e;
	uint32_t v;

	ck_assert_int_eq(set_base(&l, 0xfee00000), 0);
	for (int mode = 0; mode < 8; mode++)
		ck_assert(!lapic_deliver(&l, (enum apic_delivery)mode, 0x40, false));
	ck_assert(!lapic_has_event(&l));
	ck_assert_int_eq(lapic_mmio_read(&l, ID, &at0, &v), -ENODEV);
	ck_assert_int_eq(lapic_mmio_write(&l, TPR, 0, &at0, &e), -ENODEV);
	rdmsr_faults(&l, MSR(ID));
}
END_TEST

START_TEST(x2apic_mode_has_no_page_and_xapic_mode_no_msrs)
{
	struct lapic x2 = x2apic(1), x = xapic(1);
	struct lapic_effects e;
	uint32_t v;

	ck_assert_int_eq(lapic_mmio_read(&x2, ID, &at0, &v), -ENODEV);
	ck_assert_int_eq(lapic_mmio_write(&x2, TPR, 0, &at0, &e), -ENODEV);
	rdmsr_faults(&x, MSR(ID));
	wrmsr_faults(&x, MSR(TPR), 0);
}
END_TEST

/* --- Registers --- */

START_TEST(xapic_id_shows_eight_bits_and_x2apic_id_all)
{
	struct lapic x = fresh(0x123, true), x2 = x2apic(0x12345);

	ck_assert_uint_eq(get(&x, ID), 0x23000000);
	ck_assert_uint_eq(rdmsr(&x2, ID), 0x12345);
}
END_TEST

START_TEST(xapic_read_only_registers_ignore_writes_without_error)
{
	struct lapic l = xapic(3);
	const uint32_t ro[] = {ID, VERSION, APR, PPR, RRD, ISR, ISR + 0x70, TMR, IRR, TMCCT};

	for (size_t i = 0; i < ARRAY_SIZE(ro); i++) {
		uint32_t before = get(&l, ro[i]);

		put(&l, ro[i], UINT32_MAX);
		ck_assert_uint_eq(get(&l, ro[i]), before);
	}
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0);
}
END_TEST

START_TEST(xapic_reserved_bits_are_ignored)
{
	struct lapic l = xapic(3);

	put(&l, TPR, UINT32_MAX);
	ck_assert_uint_eq(get(&l, TPR), 0xff);
	put(&l, LDR, UINT32_MAX);
	ck_assert_uint_eq(get(&l, LDR), 0xff000000);
	put(&l, DFR, 0);
	ck_assert_uint_eq(get(&l, DFR), 0x0fffffff);
	put(&l, ICR2, UINT32_MAX);
	ck_assert_uint_eq(get(&l, ICR2), 0xff000000);
	put(&l, TDCR, UINT32_MAX);
	ck_assert_uint_eq(get(&l, TDCR), 0xb);
	put(&l, LINT0, UINT32_MAX);
	ck_assert_uint_eq(get(&l, LINT0), 0x1a7ff);
	put(&l, ERROR, UINT32_MAX);
	ck_assert_uint_eq(get(&l, ERROR), 0x100ff);
	put(&l, PERF, UINT32_MAX);
	ck_assert_uint_eq(get(&l, PERF), 0x107ff);
	put(&l, TIMER, UINT32_MAX);
	ck_assert_uint_eq(get(&l, TIMER), 0x700ff);
	put(&l, SVR, UINT32_MAX);
	ck_assert_uint_eq(get(&l, SVR), 0x13ff);
}
END_TEST

START_TEST(an_illegal_xapic_register_sets_esr_and_reads_zero)
{
	struct lapic l = xapic(3);
	const uint32_t bad[] = {0x00, 0x10, 0x40, 0x70, 0x290, 0x2e0, 0x3a0, 0x3d0, SELF, 0x400, 0xff0, TPR + 4, TPR + 1};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(&l, ESR, 0);
		put(&l, ESR, 0);
		ck_assert_uint_eq(get(&l, ESR), 0);
		ck_assert_uint_eq(get(&l, bad[i]), 0);
		put(&l, ESR, 0);
		ck_assert_msg(get(&l, ESR) == 0x80, "read of %#x", bad[i]);
		put(&l, bad[i], 1);
		put(&l, ESR, 0);
		ck_assert_msg(get(&l, ESR) == 0x80, "write of %#x", bad[i]);
	}
}
END_TEST

START_TEST(x2apic_registers_are_those_of_table_10_6)
{
	struct lapic l = x2apic(3);

	for (uint32_t msr = 0x800; msr < 0x900; msr++) {
		uint32_t r = (msr - 0x800) * 16;
		bool known = r == ID || r == VERSION || r == TPR || r == PPR || r == LDR || r == SVR || (r >= ISR && r <= ESR) ||
			     (r >= CMCI && r <= ICR) || (r >= TIMER && r <= TMCCT) || r == TDCR;
		uint64_t v;

		if (known)
			ck_assert_msg(lapic_msr_read(&l, msr, &at0, &v) == 0, "msr %#x", msr);
		else
			rdmsr_faults(&l, msr);
	}
	rdmsr_faults(&l, 0x7ff);
	rdmsr_faults(&l, UINT32_MAX);
}
END_TEST

START_TEST(x2apic_write_of_a_read_only_or_missing_register_faults)
{
	struct lapic l = x2apic(3);
	const uint32_t bad[] = {0,          ID,  VERSION, APR,        PPR,  RRD,   LDR,   DFR,  ISR,
				ISR + 0x70, TMR, IRR,     IRR + 0x70, ICR2, TMCCT, 0x3a0, 0x400};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		wrmsr_faults(&l, MSR(bad[i]), 0);
	wrmsr_faults(&l, 0x7ff, 0);
}
END_TEST

START_TEST(x2apic_reserved_bits_fault_one_by_one)
{
	static const struct {
		uint32_t reg;
		uint64_t allowed; /* also bits that are read-only or let through */
	} table[] = {
		{TPR, 0xff},        {EOI, 0},         {SVR, 0x13ff},
		{ESR, 0},           {CMCI, 0x157ff},  {TIMER, 0x750ff},
		{THERMAL, 0x157ff}, {PERF, 0x157ff},  {LINT0, 0x1f7ff},
		{LINT1, 0x1f7ff},   {ERROR, 0x150ff}, {TMICT, UINT32_MAX},
		{TDCR, 0xb},        {SELF, 0xff},     {ICR, 0xffffffff000cdfff},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		for (int bit = 0; bit < 64; bit++) {
			struct lapic l = x2apic(3);
			struct lapic_effects e;

			if (!(table[i].allowed >> bit & 1))
				wrmsr_faults(&l, MSR(table[i].reg), 1ull << bit);
			else
				ck_assert_int_eq(lapic_msr_write(&l, MSR(table[i].reg), 1ull << bit, &at0, &e), 0);
		}
}
END_TEST

START_TEST(x2apic_eoi_and_self_ipi_cannot_be_read)
{
	struct lapic l = x2apic(3);

	rdmsr_faults(&l, MSR(EOI));
	rdmsr_faults(&l, MSR(SELF));
}
END_TEST

START_TEST(x2apic_icr_reads_back_64_bits_with_delivery_idle)
{
	struct lapic l = x2apic(3);

	wrmsr(&l, ICR, 0x0001000200001841);
	ck_assert_uint_eq(rdmsr(&l, ICR), 0x0001000200000841);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lapic");
	TCase *t = tcase_create("lapic");

	tcase_add_test(t, power_up_state_is_the_manuals);
	tcase_add_test(t, the_bsp_has_its_flag_and_waits_for_nobody);
	tcase_add_test(t, init_keeps_id_base_and_x2apic_mode);
	tcase_add_test(t, a_copy_of_the_struct_is_the_same_apic);
	tcase_add_test(t, disabled_xapic_x2apic_disabled_is_the_legal_circle);
	tcase_add_test(t, disabled_to_x2apic_faults);
	tcase_add_test(t, x2apic_to_xapic_faults);
	tcase_add_test(t, x2apic_bit_without_enable_faults_from_every_mode);
	tcase_add_test(t, reserved_base_bits_fault);
	tcase_add_test(t, base_address_moves_and_says_nothing_about_destinations);
	tcase_add_test(t, mode_changes_are_told_to_the_routing_table);
	tcase_add_test(t, to_x2apic_keeps_registers_but_not_the_icr_destination);
	tcase_add_test(t, disabling_loses_the_state);
	tcase_add_test(t, a_disabled_apic_accepts_nothing_and_has_no_registers);
	tcase_add_test(t, x2apic_mode_has_no_page_and_xapic_mode_no_msrs);
	tcase_add_test(t, xapic_id_shows_eight_bits_and_x2apic_id_all);
	tcase_add_test(t, xapic_read_only_registers_ignore_writes_without_error);
	tcase_add_test(t, xapic_reserved_bits_are_ignored);
	tcase_add_test(t, an_illegal_xapic_register_sets_esr_and_reads_zero);
	tcase_add_test(t, x2apic_registers_are_those_of_table_10_6);
	tcase_add_test(t, x2apic_write_of_a_read_only_or_missing_register_faults);
	tcase_add_test(t, x2apic_reserved_bits_fault_one_by_one);
	tcase_add_test(t, x2apic_eoi_and_self_ipi_cannot_be_read);
	tcase_add_test(t, x2apic_icr_reads_back_64_bits_with_delivery_idle);
	suite_add_tcase(s, t);
	return check_main(s);
}
