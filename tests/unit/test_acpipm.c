/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI's fixed hardware as Linux's ACPICA drives it, under a clock that the test turns by hand. */
#include <check.h>
#include <stdlib.h>

#include "devices/acpipm.h"
#include "tests/unit/check_main.h"

enum { STATUS = 0, ENABLE = 2, CONTROL = 4, TIMER = 8 };

struct fixture {
	struct device_clock clock;
	struct irq_sink irq;
	struct machine_sink machine;
	struct devtimers *timers;
	struct acpipm *pm;
	uint64_t mono_ns;
	bool line;
	unsigned edges, poweroffs;
};

static struct fixture fix;

static uint64_t mono(const struct device_clock *clock)
{
	return container_of(clock, struct fixture, clock)->mono_ns;
}

static void set_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct fixture *f = container_of(sink, struct fixture, irq);

	ck_assert_uint_eq(gsi, ACPIPM_GSI);
	ck_assert(level != f->line);
	f->line = level;
	f->edges += level;
}

static void request(struct machine_sink *sink, enum machine_request what, uint32_t code)
{
	struct fixture *f = container_of(sink, struct fixture, machine);
	uint8_t byte;

	ck_assert_int_eq(what, MACHINE_POWEROFF);
	ck_assert_uint_eq(code, 0);
	f->poweroffs++;
	/* No lock of the device is held here: this would hang. */
	acpipm_device(f->pm)->ops->read(acpipm_device(f->pm), STATUS, &byte, 1);
}

static void setup(void)
{
	fix = (struct fixture){.clock = {mono, mono}, .irq = {set_line}, .machine = {request}, .mono_ns = 5 * NS_PER_SEC};
	ck_assert_int_eq(devtimers_new(&fix.clock, &fix.timers), 0);
	ck_assert_int_eq(acpipm_new(&fix.irq, &fix.machine, fix.timers, &fix.pm), 0);
}

static void teardown(void)
{
	device_free(acpipm_device(fix.pm));
	devtimers_free(fix.timers);
}

static void pass_ns(uint64_t ns)
{
	fix.mono_ns += ns;
	devtimers_run(fix.timers);
}

static uint64_t in(unsigned offset, uint32_t len)
{
	struct device *dev = acpipm_device(fix.pm);
	uint64_t value = 0;

	dev->ops->read(dev, offset, &value, len);
	return value;
}

static void out(unsigned offset, uint32_t len, uint64_t value)
{
	struct device *dev = acpipm_device(fix.pm);

	dev->ops->write(dev, offset, &value, len);
}

START_TEST(acpi_mode_is_on)
{
	ck_assert_uint_eq(in(CONTROL, 2), 0x0001);
	out(CONTROL, 2, 0); /* and cannot be left */
	ck_assert_uint_eq(in(CONTROL, 2), 0x0001);
	ck_assert_uint_eq(in(STATUS, 2), 0);
	ck_assert_uint_eq(in(ENABLE, 2), 0);
}
END_TEST

START_TEST(linux_powers_off)
{
	/* acpi_hw_legacy_sleep(): the type first, then the type with SLP_EN. */
	out(CONTROL, 2, 5 << 10 | 1);
	ck_assert_uint_eq(fix.poweroffs, 0);
	ck_assert_uint_eq(in(CONTROL, 2), 5 << 10 | 1);
	out(CONTROL, 2, 1 << 13 | 5 << 10 | 1);
	ck_assert_uint_eq(fix.poweroffs, 1);
	ck_assert_uint_eq(in(CONTROL, 2) & 1 << 13, 0); /* SLP_EN reads 0 */
}
END_TEST

START_TEST(power_off_by_one_byte)
{
	out(CONTROL + 1, 1, (1 << 13 | 5 << 10) >> 8);
	ck_assert_uint_eq(fix.poweroffs, 1);
}
END_TEST

START_TEST(other_sleep_types_are_ignored)
{
	for (unsigned type = 0; type < 8; type++)
		if (type != ACPIPM_SLP_TYP_S5)
			out(CONTROL, 2, 1 << 13 | type << 10 | 1);
	ck_assert_uint_eq(fix.poweroffs, 0);
}
END_TEST

START_TEST(pm_timer_runs_at_its_rate)
{
	uint64_t first = in(TIMER, 4);

	pass_ns(NS_PER_SEC);
	ck_assert_uint_eq(in(TIMER, 4) - first, ACPIPM_TMR_HZ);
	pass_ns(NS_PER_SEC / 10);
	ck_assert_uint_eq(in(TIMER, 4) - first, ACPIPM_TMR_HZ + ACPIPM_TMR_HZ / 10);
	out(TIMER, 4, 0); /* read-only */
	ck_assert_uint_eq(in(TIMER, 4) - first, ACPIPM_TMR_HZ + ACPIPM_TMR_HZ / 10);
}
END_TEST

START_TEST(pm_timer_has_32_bits)
{
	pass_ns(1199 * NS_PER_SEC);
	ck_assert_uint_eq(in(TIMER, 4), 1199ull * ACPIPM_TMR_HZ);
	pass_ns(NS_PER_SEC);
	ck_assert_uint_eq(in(TIMER, 4), 1200ull * ACPIPM_TMR_HZ - (1ull << 32));
	ck_assert_uint_eq(in(TIMER + 1, 2), (uint32_t)(1200ull * ACPIPM_TMR_HZ) >> 8 & 0xffff);
}
END_TEST

START_TEST(power_button_interrupts_when_enabled)
{
	acpipm_power_button(fix.pm);
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(STATUS, 2), 0x100);
	out(ENABLE, 2, 0x100);
	ck_assert(fix.line);
	out(STATUS, 2, 0x100); /* one clears */
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(STATUS, 2), 0);
	acpipm_power_button(fix.pm);
	ck_assert(fix.line);
	ck_assert_uint_eq(fix.edges, 2);
}
END_TEST

START_TEST(writing_zeros_clears_no_status)
{
	acpipm_power_button(fix.pm);
	out(STATUS, 2, 0);
	out(STATUS, 1, 0xff); /* the other byte */
	ck_assert_uint_eq(in(STATUS, 2), 0x100);
}
END_TEST

START_TEST(status_and_enable_in_one_access)
{
	acpipm_power_button(fix.pm);
	out(STATUS, 4, 0x100u << 16 | 0x100);
	ck_assert_uint_eq(in(STATUS, 4), 0x100u << 16);
	ck_assert(!fix.line);
}
END_TEST

START_TEST(enable_keeps_only_what_exists)
{
	out(ENABLE, 2, 0xffff);
	ck_assert_uint_eq(in(ENABLE, 2), 0x0121);
	out(ENABLE + 1, 1, 0);
	ck_assert_uint_eq(in(ENABLE, 2), 0x0021);
}
END_TEST

START_TEST(timer_carry_interrupts_when_enabled)
{
	out(ENABLE, 2, 0x0001);
	pass_ns(599 * NS_PER_SEC); /* 2^31 ticks are 599.93 s */
	ck_assert(!fix.line);
	pass_ns(NS_PER_SEC);
	ck_assert(fix.line);
	ck_assert_uint_eq(in(STATUS, 2), 1);
	out(STATUS, 2, 1);
	ck_assert(!fix.line);
	pass_ns(600 * NS_PER_SEC);
	ck_assert_uint_eq(fix.edges, 2);
}
END_TEST

START_TEST(timer_carry_without_enable_only_shows)
{
	pass_ns(600 * NS_PER_SEC);
	ck_assert_uint_eq(in(STATUS, 2), 1);
	ck_assert_uint_eq(fix.edges, 0);
}
END_TEST

START_TEST(reset_clears_events)
{
	out(ENABLE, 2, 0x101);
	acpipm_power_button(fix.pm);
	device_reset(acpipm_device(fix.pm));
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(STATUS, 4), 0);
	ck_assert_uint_eq(in(CONTROL, 2), 1);
}
END_TEST

START_TEST(gaps_read_zero)
{
	out(6, 2, 0xffff);
	ck_assert_uint_eq(in(6, 2), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("acpipm");
	TCase *tc = tcase_create("acpipm");

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, acpi_mode_is_on);
	tcase_add_test(tc, linux_powers_off);
	tcase_add_test(tc, power_off_by_one_byte);
	tcase_add_test(tc, other_sleep_types_are_ignored);
	tcase_add_test(tc, pm_timer_runs_at_its_rate);
	tcase_add_test(tc, pm_timer_has_32_bits);
	tcase_add_test(tc, power_button_interrupts_when_enabled);
	tcase_add_test(tc, writing_zeros_clears_no_status);
	tcase_add_test(tc, status_and_enable_in_one_access);
	tcase_add_test(tc, enable_keeps_only_what_exists);
	tcase_add_test(tc, timer_carry_interrupts_when_enabled);
	tcase_add_test(tc, timer_carry_without_enable_only_shows);
	tcase_add_test(tc, reset_clears_events);
	tcase_add_test(tc, gaps_read_zero);
	return check_main(suite);
}
