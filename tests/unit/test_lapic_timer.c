/* SPDX-License-Identifier: Apache-2.0 */
/* The timer of the local APIC against SDM vol. 3A 10.5.4. */
#include <check.h>
#include <errno.h>

#include "tests/unit/check_main.h"
#include "vcpu/lapic.h"

enum { SVR = 0xf0, EOI = 0xb0, ESR = 0x280, TIMER = 0x320, TMICT = 0x380, TMCCT = 0x390, TDCR = 0x3e0 };
enum { ONE_SHOT = 0, PERIODIC = 1 << 17, DEADLINE = 2 << 17, MASKED = 1 << 16, VECTOR = 0xec };
#define KHZ 2000000ull /* a TSC of 2 GHz */

static struct lapic_now ns(uint64_t t)
{
	return (struct lapic_now){.ns = t, .tsc = 2 * t};
}

static struct lapic_effects put(struct lapic *l, uint32_t offset, uint32_t value, uint64_t at)
{
	struct lapic_now now = ns(at);
	struct lapic_effects e;

	ck_assert_int_eq(lapic_mmio_write(l, offset, value, &now, &e), 0);
	return e;
}

static uint32_t get(struct lapic *l, uint32_t offset, uint64_t at)
{
	struct lapic_now now = ns(at);
	uint32_t v;

	ck_assert_int_eq(lapic_mmio_read(l, offset, &now, &v), 0);
	return v;
}

static bool tick(struct lapic *l, uint64_t at)
{
	struct lapic_now now = ns(at);

	return lapic_timer_tick(l, &now);
}

/* Nanoseconds to the next wake-up, or -1. */
static int64_t next(const struct lapic *l, uint64_t at)
{
	struct lapic_now now = ns(at);
	uint64_t wait;

	return lapic_timer_next(l, &now, KHZ, &wait) ? (int64_t)wait : -1;
}

static void deadline(struct lapic *l, uint64_t tsc, uint64_t at)
{
	struct lapic_now now = ns(at);
	struct lapic_effects e;

	lapic_set_tsc_deadline(l, tsc, &now, &e);
}

static uint64_t read_deadline(const struct lapic *l, uint64_t at)
{
	struct lapic_now now = ns(at);

	return lapic_tsc_deadline(l, &now);
}

static void handled(struct lapic *l)
{
	ck_assert_int_eq(lapic_pending(l), VECTOR);
	lapic_ack(l, VECTOR);
	put(l, EOI, 0, 0);
	ck_assert_int_eq(lapic_pending(l), -1);
}

/* Divider 1, the given LVT entry. */
static struct lapic timer(uint32_t lvt)
{
	struct lapic l;

	lapic_init(&l, 0, true);
	put(&l, SVR, 0x1ff, 0);
	put(&l, TDCR, 0xb, 0);
	put(&l, TIMER, lvt, 0);
	return l;
}

START_TEST(one_shot_counts_down_once)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	ck_assert_int_eq(next(&l, 0), -1);
	ck_assert(put(&l, TMICT, 1000, 100).timer_changed);
	ck_assert_uint_eq(get(&l, TMICT, 100), 1000);
	ck_assert_uint_eq(get(&l, TMCCT, 100), 1000);
	ck_assert_uint_eq(get(&l, TMCCT, 600), 500);
	ck_assert_int_eq(next(&l, 600), 500);
	ck_assert(!tick(&l, 1099));
	ck_assert_int_eq(lapic_pending(&l), -1);
	ck_assert_int_eq(next(&l, 1100), 0);
	ck_assert(tick(&l, 1100));
	handled(&l);
	ck_assert_uint_eq(get(&l, TMCCT, 1100), 0);
	ck_assert_int_eq(next(&l, 5000), -1);
	ck_assert(!tick(&l, 5000));
}
END_TEST

START_TEST(periodic_goes_on_from_the_grid)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1000000, 0);
	ck_assert(tick(&l, 1000010));
	handled(&l);
	ck_assert_int_eq(next(&l, 1000010), 999990);
	ck_assert_uint_eq(get(&l, TMCCT, 1000010), 999990);
	ck_assert(tick(&l, 2000000));
	handled(&l);
}
END_TEST

START_TEST(missed_periods_count_as_one)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1000000, 0);
	ck_assert(tick(&l, 5300000));
	handled(&l);
	ck_assert(!tick(&l, 5300000));
	ck_assert_int_eq(next(&l, 5300000), 700000);
}
END_TEST

START_TEST(periodic_count_wraps_to_the_initial_count_unticked)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1000, 0);
	ck_assert_uint_eq(get(&l, TMCCT, 999), 1);
	ck_assert_uint_eq(get(&l, TMCCT, 1000), 1000);
	ck_assert_uint_eq(get(&l, TMCCT, 2250), 750);
}
END_TEST

START_TEST(a_tiny_period_wakes_at_most_every_50_us)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1, 0);
	ck_assert(tick(&l, 1));
	ck_assert_int_ge(next(&l, 1), 50000);
	ck_assert_uint_eq(get(&l, TMCCT, 1), 1);
}
END_TEST

START_TEST(every_divider)
{
	static const struct {
		uint32_t code, divisor;
	} table[] = {{0x0, 2}, {0x1, 4}, {0x2, 8}, {0x3, 16}, {0x8, 32}, {0x9, 64}, {0xa, 128}, {0xb, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct lapic l = timer(ONE_SHOT | VECTOR);

		put(&l, TDCR, table[i].code, 0);
		put(&l, TMICT, 1000, 0);
		ck_assert_int_eq(next(&l, 0), 1000 * table[i].divisor);
		ck_assert_uint_eq(get(&l, TMCCT, table[i].divisor - 1), 1000);
		ck_assert_uint_eq(get(&l, TMCCT, table[i].divisor), 999);
	}
}
END_TEST

START_TEST(the_longest_count_does_not_overflow)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TDCR, 0xa, 0);
	put(&l, TMICT, UINT32_MAX, 0);
	ck_assert_int_eq(next(&l, 0), (int64_t)UINT32_MAX * 128);
	ck_assert_uint_eq(get(&l, TMCCT, 128), UINT32_MAX - 1);
}
END_TEST

START_TEST(a_new_divider_keeps_the_count)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, TDCR, 0x3, 400);
	ck_assert_uint_eq(get(&l, TMCCT, 400), 600);
	ck_assert_int_eq(next(&l, 400), 600 * 16);
}
END_TEST

START_TEST(initial_count_zero_stops)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, TMICT, 0, 10);
	ck_assert_int_eq(next(&l, 10), -1);
	ck_assert_uint_eq(get(&l, TMCCT, 20), 0);
	ck_assert(!tick(&l, 1000000));
}
END_TEST

START_TEST(a_rewrite_restarts_the_count)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, TMICT, 1000, 600);
	ck_assert(!tick(&l, 1500));
	ck_assert(tick(&l, 1600));
}
END_TEST

START_TEST(an_expiry_before_a_rewrite_is_not_lost)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, TMICT, 1000, 1200);
	handled(&l);
	ck_assert_int_eq(next(&l, 1200), 1000);
}
END_TEST

START_TEST(a_masked_timer_counts_but_wakes_and_interrupts_nobody)
{
	struct lapic l = timer(PERIODIC | MASKED | VECTOR);

	put(&l, TMICT, 1000, 0);
	ck_assert_int_eq(next(&l, 0), -1);
	ck_assert_uint_eq(get(&l, TMCCT, 400), 600);
	ck_assert(!tick(&l, 1500));
	ck_assert_int_eq(lapic_pending(&l), -1);
}
END_TEST

START_TEST(what_ran_out_while_masked_does_not_fire_when_unmasked)
{
	struct lapic l = timer(ONE_SHOT | MASKED | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, TIMER, ONE_SHOT | VECTOR, 2000);
	ck_assert_int_eq(next(&l, 2000), -1);
	ck_assert(!tick(&l, 2000));
	ck_assert_int_eq(lapic_pending(&l), -1);
}
END_TEST

START_TEST(software_disable_silences_the_timer)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1000, 0);
	ck_assert(put(&l, SVR, 0xff, 10).timer_changed);
	ck_assert_int_eq(next(&l, 10), -1);
	ck_assert(!tick(&l, 5000));
}
END_TEST

START_TEST(what_ran_out_before_a_software_disable_still_counts)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, SVR, 0xff, 1500);
	ck_assert_int_eq(lapic_pending(&l), VECTOR);
}
END_TEST

START_TEST(one_shot_to_periodic_keeps_the_count)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 100000, 0);
	put(&l, TIMER, PERIODIC | VECTOR, 40000);
	ck_assert_uint_eq(get(&l, TMCCT, 40000), 60000);
	ck_assert(tick(&l, 100000));
	ck_assert_int_eq(next(&l, 100000), 100000);
}
END_TEST

START_TEST(a_count_that_ended_stays_ended_in_periodic_mode)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 1000, 0);
	tick(&l, 1000);
	put(&l, TIMER, PERIODIC | VECTOR, 2000);
	ck_assert_uint_eq(get(&l, TMCCT, 2000), 0);
	ck_assert_int_eq(next(&l, 2000), -1);
}
END_TEST

START_TEST(an_illegal_timer_vector_is_an_error_not_an_interrupt)
{
	struct lapic l = timer(ONE_SHOT | 5);

	put(&l, TMICT, 10, 0);
	ck_assert(!tick(&l, 10));
	put(&l, ESR, 0, 10);
	ck_assert_uint_eq(get(&l, ESR, 10), 0x40);
}
END_TEST

START_TEST(deadline_fires_once_and_reads_zero_after)
{
	struct lapic l = timer(DEADLINE | VECTOR);

	deadline(&l, 5000, 0);
	ck_assert_uint_eq(read_deadline(&l, 0), 5000);
	ck_assert_int_eq(next(&l, 0), 2500);
	ck_assert(!tick(&l, 2499));
	ck_assert(tick(&l, 2500));
	handled(&l);
	ck_assert_uint_eq(read_deadline(&l, 2500), 0);
	ck_assert(!tick(&l, 9000));
}
END_TEST

START_TEST(deadline_in_the_past_is_due_at_once)
{
	struct lapic l = timer(DEADLINE | VECTOR);

	deadline(&l, 1, 1000);
	ck_assert_int_eq(next(&l, 1000), 0);
	ck_assert(tick(&l, 1000));
}
END_TEST

START_TEST(a_deadline_that_passed_before_it_is_replaced_is_not_lost)
{
	struct lapic l = timer(DEADLINE | VECTOR);

	deadline(&l, 2000, 0);
	deadline(&l, 9000, 1500);
	handled(&l);
	ck_assert_uint_eq(read_deadline(&l, 1500), 9000);
}
END_TEST

START_TEST(deadline_zero_disarms)
{
	struct lapic l = timer(DEADLINE | VECTOR);

	deadline(&l, 5000, 0);
	deadline(&l, 0, 10);
	ck_assert_int_eq(next(&l, 10), -1);
	ck_assert(!tick(&l, 9000));
}
END_TEST

START_TEST(deadline_outside_its_mode_is_ignored)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	deadline(&l, 5000, 0);
	ck_assert_uint_eq(read_deadline(&l, 0), 0);
	put(&l, TIMER, DEADLINE | VECTOR, 0);
	ck_assert_int_eq(next(&l, 0), -1);
}
END_TEST

START_TEST(initial_count_is_ignored_in_deadline_mode)
{
	struct lapic l = timer(DEADLINE | VECTOR);

	put(&l, TMICT, 1000, 0);
	ck_assert_uint_eq(get(&l, TMICT, 0), 0);
	ck_assert_uint_eq(get(&l, TMCCT, 0), 0);
	ck_assert_int_eq(next(&l, 0), -1);
}
END_TEST

START_TEST(to_and_from_deadline_mode_disarms)
{
	struct lapic l = timer(PERIODIC | VECTOR);

	put(&l, TMICT, 1000, 0);
	put(&l, TIMER, DEADLINE | VECTOR, 10);
	ck_assert_int_eq(next(&l, 10), -1);
	deadline(&l, 5000, 10);
	put(&l, TIMER, ONE_SHOT | VECTOR, 20);
	ck_assert_int_eq(next(&l, 20), -1);
	put(&l, TIMER, DEADLINE | VECTOR, 30);
	ck_assert_int_eq(next(&l, 30), -1);
}
END_TEST

START_TEST(deadline_wait_is_rounded_up_and_saturates)
{
	struct lapic l = timer(DEADLINE | VECTOR);
	struct lapic_now now = ns(0);
	uint64_t wait;

	deadline(&l, 10, 0);
	ck_assert(lapic_timer_next(&l, &now, 3000000, &wait));
	ck_assert_uint_eq(wait, 4); /* 10 cycles at 3 GHz are 3.3 ns */
	deadline(&l, UINT64_MAX, 0);
	ck_assert(lapic_timer_next(&l, &now, 1000, &wait));
	ck_assert_uint_eq(wait, UINT64_MAX);
}
END_TEST

START_TEST(init_stops_the_timer)
{
	struct lapic l = timer(DEADLINE | VECTOR);

	deadline(&l, 5000, 0);
	lapic_reset(&l);
	ck_assert_int_eq(next(&l, 0), -1);
	ck_assert_uint_eq(read_deadline(&l, 0), 0);
}
END_TEST

START_TEST(x2apic_timer_registers)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);
	struct lapic_effects e;
	struct lapic_now t0 = ns(0), t1 = ns(300);
	uint64_t v;

	ck_assert_int_eq(lapic_set_base(&l, 0xfee00d00, &e), 0);
	ck_assert_int_eq(lapic_msr_write(&l, 0x838, 1000, &t0, &e), 0);
	ck_assert(e.timer_changed);
	ck_assert_int_eq(lapic_msr_read(&l, 0x839, &t1, &v), 0);
	ck_assert_uint_eq(v, 700);
	ck_assert_int_eq(lapic_msr_write(&l, 0x838, 1ull << 32, &t0, &e), -EINVAL);
}
END_TEST

START_TEST(a_moved_timer_keeps_its_time_left)
{
	struct lapic l = timer(ONE_SHOT | VECTOR);

	put(&l, TMICT, 1000, 5000);
	lapic_timer_rebase(&l, -4000);
	ck_assert_int_eq(next(&l, 1500), 500);
	lapic_timer_rebase(&l, 100000);
	ck_assert_int_eq(next(&l, 101500), 500);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lapic_timer");
	TCase *t = tcase_create("lapic_timer");

	tcase_add_test(t, one_shot_counts_down_once);
	tcase_add_test(t, periodic_goes_on_from_the_grid);
	tcase_add_test(t, missed_periods_count_as_one);
	tcase_add_test(t, periodic_count_wraps_to_the_initial_count_unticked);
	tcase_add_test(t, a_tiny_period_wakes_at_most_every_50_us);
	tcase_add_test(t, every_divider);
	tcase_add_test(t, the_longest_count_does_not_overflow);
	tcase_add_test(t, a_new_divider_keeps_the_count);
	tcase_add_test(t, initial_count_zero_stops);
	tcase_add_test(t, a_rewrite_restarts_the_count);
	tcase_add_test(t, an_expiry_before_a_rewrite_is_not_lost);
	tcase_add_test(t, a_masked_timer_counts_but_wakes_and_interrupts_nobody);
	tcase_add_test(t, what_ran_out_while_masked_does_not_fire_when_unmasked);
	tcase_add_test(t, software_disable_silences_the_timer);
	tcase_add_test(t, what_ran_out_before_a_software_disable_still_counts);
	tcase_add_test(t, one_shot_to_periodic_keeps_the_count);
	tcase_add_test(t, a_count_that_ended_stays_ended_in_periodic_mode);
	tcase_add_test(t, an_illegal_timer_vector_is_an_error_not_an_interrupt);
	tcase_add_test(t, deadline_fires_once_and_reads_zero_after);
	tcase_add_test(t, deadline_in_the_past_is_due_at_once);
	tcase_add_test(t, a_deadline_that_passed_before_it_is_replaced_is_not_lost);
	tcase_add_test(t, deadline_zero_disarms);
	tcase_add_test(t, deadline_outside_its_mode_is_ignored);
	tcase_add_test(t, initial_count_is_ignored_in_deadline_mode);
	tcase_add_test(t, to_and_from_deadline_mode_disarms);
	tcase_add_test(t, deadline_wait_is_rounded_up_and_saturates);
	tcase_add_test(t, init_stops_the_timer);
	tcase_add_test(t, x2apic_timer_registers);
	tcase_add_test(t, a_moved_timer_keeps_its_time_left);
	suite_add_tcase(s, t);
	return check_main(s);
}
