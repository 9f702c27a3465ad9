/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC against SDM vol. 3A, chapter "APIC": priorities, EOI, software disable, errors, local vector table. */
#include "lapic_help.h"
#include "tests/unit/check_main.h"

/* --- Priorities, 10.8.3.1 --- */

START_TEST(only_a_class_above_tpr_is_delivered)
{
	struct lapic l = xapic(0);

	fixed(&l, 0x4f);
	put(&l, TPR, 0x40);
	ck_assert_int_eq(lapic_pending(&l), -1);
	put(&l, TPR, 0x3f);
	ck_assert_int_eq(lapic_pending(&l), 0x4f);
}
END_TEST

START_TEST(the_highest_vector_comes_first_and_nests_by_class)
{
	struct lapic l = xapic(0);

	fixed(&l, 0x31);
	fixed(&l, 0x35);
	ck_assert_int_eq(lapic_pending(&l), 0x35);
	lapic_ack(&l, 0x35);
	ck_assert_int_eq(lapic_pending(&l), -1); /* 0x31 is of the same class */
	fixed(&l, 0x41);
	ck_assert_int_eq(lapic_pending(&l), 0x41);
	lapic_ack(&l, 0x41);
	put(&l, EOI, 0);
	ck_assert_int_eq(lapic_pending(&l), -1);
	put(&l, EOI, 0);
	ck_assert_int_eq(lapic_pending(&l), 0x31);
}
END_TEST

START_TEST(ppr_is_the_higher_of_task_and_service)
{
	struct lapic l = xapic(0);

	put(&l, TPR, 0x23);
	ck_assert_uint_eq(get(&l, PPR), 0x23);
	fixed(&l, 0x45);
	lapic_ack(&l, 0x45);
	ck_assert_uint_eq(get(&l, PPR), 0x40); /* sub-class 0 */
	put(&l, TPR, 0x47);
	ck_assert_uint_eq(get(&l, PPR), 0x47);
	put(&l, TPR, 0x61);
	ck_assert_uint_eq(get(&l, PPR), 0x61);
}
END_TEST

START_TEST(apr_follows_its_formula)
{
	struct lapic l = xapic(0);

	put(&l, TPR, 0x23);
	ck_assert_uint_eq(get(&l, APR), 0x23);
	fixed(&l, 0x45);
	ck_assert_uint_eq(get(&l, APR), 0x40);
	lapic_ack(&l, 0x45);
	ck_assert_uint_eq(get(&l, APR), 0x40);
	put(&l, TPR, 0x51);
	ck_assert_uint_eq(get(&l, APR), 0x51);
}
END_TEST

START_TEST(cr8_is_the_class_of_tpr_and_keeps_the_sub_class)
{
	struct lapic l = xapic(0);

	put(&l, TPR, 0x57);
	ck_assert_uint_eq(lapic_cr8(&l), 5);
	lapic_set_cr8(&l, 5);
	ck_assert_uint_eq(lapic_tpr(&l), 0x57);
	lapic_set_cr8(&l, 6);
	ck_assert_uint_eq(get(&l, TPR), 0x60);
	lapic_set_tpr(&l, 0x12);
	ck_assert_uint_eq(lapic_cr8(&l), 1);
}
END_TEST

START_TEST(ack_moves_the_vector_from_irr_to_isr)
{
	struct lapic l = xapic(0);

	ck_assert(fixed(&l, 0xf3));
	ck_assert_uint_eq(get(&l, IRR + 0x70), 1u << 19);
	lapic_ack(&l, 0xf3);
	ck_assert_uint_eq(get(&l, IRR + 0x70), 0);
	ck_assert_uint_eq(get(&l, ISR + 0x70), 1u << 19);
	put(&l, EOI, 0);
	ck_assert_uint_eq(get(&l, ISR + 0x70), 0);
}
END_TEST

START_TEST(a_vector_can_be_pending_while_in_service_and_coalesces_while_pending)
{
	struct lapic l = xapic(0);

	ck_assert(fixed(&l, 0x40));
	ck_assert(!fixed(&l, 0x40));
	lapic_ack(&l, 0x40);
	ck_assert(fixed(&l, 0x40));
	put(&l, EOI, 0);
	ck_assert_int_eq(lapic_pending(&l), 0x40);
	lapic_ack(&l, 0x40);
	put(&l, EOI, 0);
	ck_assert_int_eq(lapic_pending(&l), -1);
}
END_TEST

/* --- EOI, 10.8.5 --- */

START_TEST(eoi_of_a_level_vector_is_broadcast_and_of_an_edge_one_not)
{
	struct lapic l = xapic(0);

	lapic_deliver(&l, APIC_FIXED, 0x51, true);
	fixed(&l, 0x62);
	ck_assert_uint_eq(get(&l, TMR + 0x20), 1u << 17);
	lapic_ack(&l, 0x62);
	ck_assert_int_eq(put(&l, EOI, 0).eoi_vector, -1);
	lapic_ack(&l, 0x51);
	ck_assert_int_eq(put(&l, EOI, 0).eoi_vector, 0x51);
}
END_TEST

START_TEST(tmr_is_that_of_the_last_arrival)
{
	struct lapic l = xapic(0);

	lapic_deliver(&l, APIC_FIXED, 0x51, true);
	lapic_ack(&l, 0x51);
	put(&l, EOI, 0);
	fixed(&l, 0x51);
	ck_assert_uint_eq(get(&l, TMR + 0x20), 0);
	lapic_ack(&l, 0x51);
	ck_assert_int_eq(put(&l, EOI, 0).eoi_vector, -1);
}
END_TEST

START_TEST(svr_bit_12_suppresses_the_broadcast)
{
	struct lapic l = x2apic(0);

	wrmsr(&l, SVR, 0x11ff);
	lapic_deliver(&l, APIC_LOWEST, 0x51, true);
	lapic_ack(&l, 0x51);
	ck_assert_int_eq(wrmsr(&l, EOI, 0).eoi_vector, -1);
	ck_assert_uint_eq(rdmsr(&l, ISR + 0x20), 0);
}
END_TEST

START_TEST(eoi_with_nothing_in_service_does_nothing)
{
	struct lapic l = xapic(0);

	lapic_deliver(&l, APIC_FIXED, 0x51, true);
	ck_assert_int_eq(put(&l, EOI, 0).eoi_vector, -1);
	ck_assert_int_eq(lapic_pending(&l), 0x51);
}
END_TEST

/* --- Software disable, 10.4.7.2 --- */

START_TEST(software_disabled_rejects_fixed_but_takes_nmi_init_and_sipi)
{
	struct lapic l = fresh(1, true);
	uint8_t vector;

	ck_assert(!fixed(&l, 0x40));
	ck_assert(!lapic_deliver(&l, APIC_LOWEST, 0x40, false));
	ck_assert_int_eq(lapic_pending(&l), -1);
	ck_assert(lapic_deliver(&l, APIC_NMI, 0, false));
	ck_assert(lapic_take_nmi(&l));
	ck_assert(lapic_deliver(&l, APIC_INIT, 0, false));

	l = fresh(1, false);
	ck_assert(lapic_deliver(&l, APIC_SIPI, 0x9a, false));
	ck_assert(lapic_take_sipi(&l, &vector));
	ck_assert_uint_eq(vector, 0x9a);
}
END_TEST

START_TEST(software_disable_masks_lvt_and_they_stay_masked)
{
	struct lapic l = xapic(0);

	put(&l, LINT0, 0x700);
	put(&l, TIMER, 0x40);
	ck_assert(put(&l, SVR, 0xff).dest_changed);
	ck_assert_uint_eq(get(&l, LINT0), 0x10700);
	put(&l, LINT0, 0x700);
	ck_assert_uint_eq(get(&l, LINT0), 0x10700);
	put(&l, SVR, 0x1ff);
	ck_assert_uint_eq(get(&l, TIMER), 0x10040);
	put(&l, TIMER, 0x40);
	ck_assert_uint_eq(get(&l, TIMER), 0x40);
}
END_TEST

START_TEST(software_disable_keeps_what_is_pending)
{
	struct lapic l = xapic(0);

	fixed(&l, 0x40);
	put(&l, SVR, 0xff);
	ck_assert_int_eq(lapic_pending(&l), 0x40);
}
END_TEST

START_TEST(software_disabled_can_still_send)
{
	struct lapic l = fresh(0, true);

	put(&l, ICR2, 1u << 24);
	ck_assert(put(&l, ICR, 0x4500).ipi);
}
END_TEST

/* --- Errors, 10.5.3 --- */

START_TEST(esr_shows_errors_only_after_a_write)
{
	struct lapic l = xapic(0);

	ck_assert(!fixed(&l, 0x0f));
	ck_assert_uint_eq(get(&l, ESR), 0);
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0x40);
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0);
}
END_TEST

START_TEST(vectors_below_16_are_never_requested)
{
	struct lapic l = xapic(0);

	for (uint8_t v = 0; v < 16; v++)
		ck_assert(!fixed(&l, v));
	ck_assert_uint_eq(get(&l, IRR), 0);
	ck_assert(fixed(&l, 16));
	ck_assert_uint_eq(get(&l, IRR), 1u << 16);
}
END_TEST

START_TEST(sending_an_illegal_vector_sets_esr_and_sends_nothing)
{
	struct lapic l = xapic(0), x2 = x2apic(0);

	ck_assert(!put(&l, ICR, 0x4005).ipi);
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0x20);
	ck_assert(!wrmsr(&x2, ICR, 0x10000000f).ipi);
	wrmsr(&x2, ESR, 0);
	ck_assert_uint_eq(rdmsr(&x2, ESR), 0x20);
	ck_assert(put(&l, ICR, 0x4000 | APIC_NMI << 8).ipi); /* a vector that nobody looks at may be 0 */
}
END_TEST

START_TEST(an_error_interrupts_once_until_esr_is_written)
{
	struct lapic l = xapic(0);

	put(&l, ERROR, 0xfe);
	ck_assert(fixed(&l, 3));
	ck_assert_int_eq(lapic_pending(&l), 0xfe);
	lapic_ack(&l, 0xfe);
	put(&l, EOI, 0);
	ck_assert(!fixed(&l, 3));
	ck_assert_int_eq(lapic_pending(&l), -1);
	put(&l, ESR, 0);
	get(&l, 0x40);
	ck_assert_int_eq(lapic_pending(&l), 0xfe);
}
END_TEST

START_TEST(a_masked_error_entry_only_collects)
{
	struct lapic l = xapic(0);

	put(&l, ERROR, 0x100fe);
	ck_assert(!fixed(&l, 3));
	ck_assert_int_eq(lapic_pending(&l), -1);
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0x40);
}
END_TEST

START_TEST(an_error_entry_with_an_illegal_vector_is_an_error_itself)
{
	struct lapic l = xapic(0);

	put(&l, ERROR, 0x02);
	get(&l, 0x40);
	ck_assert_int_eq(lapic_pending(&l), -1);
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0xc0);
}
END_TEST

/* --- LVT --- */

START_TEST(lint1_as_nmi)
{
	struct lapic l = xapic(0);

	ck_assert(!lapic_local(&l, LVT_LINT1)); /* masked */
	put(&l, LINT1, 0x400);
	ck_assert(lapic_local(&l, LVT_LINT1));
	ck_assert(lapic_take_nmi(&l));
	ck_assert(!lapic_take_nmi(&l));
}
END_TEST

START_TEST(lint0_extint_is_not_delivered_without_an_8259)
{
	struct lapic l = xapic(0);

	put(&l, LINT0, 0x700);
	ck_assert(!lapic_local(&l, LVT_LINT0));
	ck_assert(!lapic_has_event(&l));
}
END_TEST

START_TEST(local_sources_deliver_their_vector)
{
	static const struct {
		enum lapic_lvt lvt;
		uint32_t reg;
	} source[] = {{LVT_CMCI, CMCI},   {LVT_THERMAL, THERMAL}, {LVT_PERF, PERF},
		      {LVT_LINT0, LINT0}, {LVT_LINT1, LINT1},     {LVT_ERROR, ERROR}};

	for (size_t i = 0; i < ARRAY_SIZE(source); i++) {
		struct lapic l = xapic(0);

		put(&l, source[i].reg, 0x60 + (uint32_t)i);
		ck_assert(lapic_local(&l, source[i].lvt));
		ck_assert_int_eq(lapic_pending(&l), 0x60 + (int)i);
	}
}
END_TEST

START_TEST(a_counter_overflow_masks_its_entry)
{
	struct lapic l = xapic(0);

	put(&l, PERF, 0x400);
	ck_assert(lapic_local(&l, LVT_PERF));
	ck_assert_uint_eq(get(&l, PERF), 0x10400);
}
END_TEST

START_TEST(a_local_source_with_an_illegal_vector_or_mode_delivers_nothing)
{
	struct lapic l = xapic(0);

	put(&l, LINT0, 0x05);
	ck_assert(!lapic_local(&l, LVT_LINT0));
	put(&l, ESR, 0);
	ck_assert_uint_eq(get(&l, ESR), 0x40);
	put(&l, LINT0, 0x140); /* lowest priority */
	ck_assert(!lapic_local(&l, LVT_LINT0));
	put(&l, LINT0, 0x640); /* start-up */
	ck_assert(!lapic_local(&l, LVT_LINT0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lapic_delivery");
	TCase *t = tcase_create("lapic_delivery");

	tcase_add_test(t, only_a_class_above_tpr_is_delivered);
	tcase_add_test(t, the_highest_vector_comes_first_and_nests_by_class);
	tcase_add_test(t, ppr_is_the_higher_of_task_and_service);
	tcase_add_test(t, apr_follows_its_formula);
	tcase_add_test(t, cr8_is_the_class_of_tpr_and_keeps_the_sub_class);
	tcase_add_test(t, ack_moves_the_vector_from_irr_to_isr);
	tcase_add_test(t, a_vector_can_be_pending_while_in_service_and_coalesces_while_pending);
	tcase_add_test(t, eoi_of_a_level_vector_is_broadcast_and_of_an_edge_one_not);
	tcase_add_test(t, tmr_is_that_of_the_last_arrival);
	tcase_add_test(t, svr_bit_12_suppresses_the_broadcast);
	tcase_add_test(t, eoi_with_nothing_in_service_does_nothing);
	tcase_add_test(t, software_disabled_rejects_fixed_but_takes_nmi_init_and_sipi);
	tcase_add_test(t, software_disable_masks_lvt_and_they_stay_masked);
	tcase_add_test(t, software_disable_keeps_what_is_pending);
	tcase_add_test(t, software_disabled_can_still_send);
	tcase_add_test(t, esr_shows_errors_only_after_a_write);
	tcase_add_test(t, vectors_below_16_are_never_requested);
	tcase_add_test(t, sending_an_illegal_vector_sets_esr_and_sends_nothing);
	tcase_add_test(t, an_error_interrupts_once_until_esr_is_written);
	tcase_add_test(t, a_masked_error_entry_only_collects);
	tcase_add_test(t, an_error_entry_with_an_illegal_vector_is_an_error_itself);
	tcase_add_test(t, lint1_as_nmi);
	tcase_add_test(t, lint0_extint_is_not_delivered_without_an_8259);
	tcase_add_test(t, local_sources_deliver_their_vector);
	tcase_add_test(t, a_counter_overflow_masks_its_entry);
	tcase_add_test(t, a_local_source_with_an_illegal_vector_or_mode_delivers_nothing);
	suite_add_tcase(s, t);
	return check_main(s);
}
