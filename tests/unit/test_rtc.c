/* SPDX-License-Identifier: Apache-2.0 */
/* The clock chip under a clock that the test turns by hand. */
#include <check.h>
#include <stdlib.h>

#include "devices/rtc.h"
#include "tests/unit/check_main.h"

/* 2024-02-29 23:59:50 UTC, a Thursday. */
#define START_SEC 1709251190ull

struct fixture {
	struct device_clock clock;
	struct irq_sink irq;
	struct devtimers *timers;
	struct rtc *rtc;
	uint64_t mono_ns, utc_ns;
	bool line;
	unsigned edges;
};

static struct fixture fix;

static uint64_t mono(const struct device_clock *clock)
{
	return container_of(clock, struct fixture, clock)->mono_ns;
}

static uint64_t utc(const struct device_clock *clock)
{
	return container_of(clock, struct fixture, clock)->utc_ns;
}

static void set_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct fixture *f = container_of(sink, struct fixture, irq);

	ck_assert_uint_eq(gsi, RTC_GSI);
	ck_assert(level != f->line);
	f->line = level;
	f->edges += level;
}

static void setup(void)
{
	fix = (struct fixture){
		.clock = {mono, utc},
		.irq = {set_line},
		.mono_ns = 77 * NS_PER_SEC,
		.utc_ns = START_SEC * NS_PER_SEC,
	};
	ck_assert_int_eq(devtimers_new(&fix.clock, &fix.timers), 0);
	ck_assert_int_eq(rtc_new(&fix.irq, fix.timers, &fix.rtc), 0);
}

static void teardown(void)
{
	device_free(rtc_device(fix.rtc));
	devtimers_free(fix.timers);
}

static void pass_ns(uint64_t ns)
{
	fix.mono_ns += ns;
	fix.utc_ns += ns;
	devtimers_run(fix.timers);
}

static void pass_sec(uint64_t sec)
{
	pass_ns(sec * NS_PER_SEC);
}

static uint8_t in(unsigned index)
{
	struct device *dev = rtc_device(fix.rtc);
	uint8_t byte = (uint8_t)index;

	dev->ops->write(dev, 0, &byte, 1);
	dev->ops->read(dev, 1, &byte, 1);
	return byte;
}

static void out(unsigned index, unsigned value)
{
	struct device *dev = rtc_device(fix.rtc);
	uint8_t byte = (uint8_t)index;

	dev->ops->write(dev, 0, &byte, 1);
	byte = (uint8_t)value;
	dev->ops->write(dev, 1, &byte, 1);
}

static void expect_time(unsigned century, unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute,
			unsigned second)
{
	ck_assert_uint_eq(in(0x32), century);
	ck_assert_uint_eq(in(9), year);
	ck_assert_uint_eq(in(8), month);
	ck_assert_uint_eq(in(7), day);
	ck_assert_uint_eq(in(4), hour);
	ck_assert_uint_eq(in(2), minute);
	ck_assert_uint_eq(in(0), second);
}

START_TEST(registers_after_power_on)
{
	ck_assert_uint_eq(in(0x0a), 0x26);
	ck_assert_uint_eq(in(0x0b), 0x02);
	ck_assert_uint_eq(in(0x0c), 0);
	ck_assert_uint_eq(in(0x0d), 0x80);
}
END_TEST

START_TEST(time_in_bcd)
{
	expect_time(0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x50);
	ck_assert_uint_eq(in(6), 5); /* Thursday, Sunday is 1 */
	pass_sec(10);
	expect_time(0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00);
}
END_TEST

START_TEST(time_in_binary)
{
	out(0x0b, 0x06);
	expect_time(20, 24, 2, 29, 23, 59, 50);
}
END_TEST

START_TEST(time_in_12_hours)
{
	out(0x0b, 0x00);
	ck_assert_uint_eq(in(4), 0x91); /* 11 pm */
	pass_sec(10);
	ck_assert_uint_eq(in(4), 0x12); /* midnight is 12 am */
	pass_sec(12 * 3600);
	ck_assert_uint_eq(in(4), 0x92); /* noon is 12 pm */
	pass_sec(3600);
	ck_assert_uint_eq(in(4), 0x81);
}
END_TEST

START_TEST(update_in_progress_announces_the_next_second)
{
	ck_assert(!(in(0x0a) & 0x80));
	pass_ns(NS_PER_SEC - 244001);
	ck_assert(!(in(0x0a) & 0x80));
	pass_ns(1);
	ck_assert(in(0x0a) & 0x80);
	ck_assert_uint_eq(in(0), 0x50);
	pass_ns(244000);
	ck_assert(!(in(0x0a) & 0x80));
	ck_assert_uint_eq(in(0), 0x51);
}
END_TEST

START_TEST(linux_sets_the_time)
{
	/* mc146818_set_time(): SET, divider reset, registers, then both back. */
	out(0x0b, 0x82);
	out(0x0a, 0x76);
	out(9, 0x31);
	out(8, 0x12);
	out(7, 0x31);
	out(4, 0x23);
	out(2, 0x59);
	out(0, 0x58);
	out(0x32, 0x20);
	pass_sec(100); /* frozen */
	expect_time(0x20, 0x31, 0x12, 0x31, 0x23, 0x59, 0x58);
	out(0x0b, 0x02);
	out(0x0a, 0x26);
	pass_ns(NS_PER_SEC / 2 - 1); /* the first update is half a second after the divider starts */
	ck_assert_uint_eq(in(0), 0x58);
	pass_ns(1);
	ck_assert_uint_eq(in(0), 0x59);
	pass_sec(1);
	expect_time(0x20, 0x32, 0x01, 0x01, 0x00, 0x00, 0x00);
	device_reset(rtc_device(fix.rtc)); /* the battery keeps it */
	expect_time(0x20, 0x32, 0x01, 0x01, 0x00, 0x00, 0x00);
}
END_TEST

START_TEST(setting_without_set_takes_effect_at_once)
{
	pass_ns(300 * NS_PER_MS);
	out(4, 0x07);
	expect_time(0x20, 0x24, 0x02, 0x29, 0x07, 0x59, 0x50);
	pass_ns(700 * NS_PER_MS); /* the phase of the second stays */
	ck_assert_uint_eq(in(0), 0x51);
}
END_TEST

START_TEST(nonsense_in_the_registers_is_normalised)
{
	out(0x0b, 0x86);
	for (unsigned i = 0; i < 10; i++)
		out(i, 0xff);
	out(0x32, 0xff);
	out(0x0b, 0x06);
	ck_assert_uint_lt(in(0), 60);
	ck_assert_uint_lt(in(4), 24);
	ck_assert_uint_le(in(8), 12);
	out(0x0b, 0x86);
	for (unsigned i = 0; i < 10; i++)
		out(i, 0);
	out(0x32, 0);
	out(0x0b, 0x06);
	ck_assert_uint_le(in(7), 31);
}
END_TEST

START_TEST(update_interrupt_every_second)
{
	out(0x0b, 0x12);
	ck_assert(!fix.line);
	pass_sec(1);
	ck_assert(fix.line);
	pass_sec(1); /* not acknowledged: no second edge */
	ck_assert_uint_eq(fix.edges, 1);
	ck_assert_uint_eq(in(0x0c) & 0x90, 0x90);
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(0x0c), 0);
	pass_sec(1);
	ck_assert_uint_eq(fix.edges, 2);
}
END_TEST

START_TEST(flags_rise_without_interrupts)
{
	pass_sec(1);
	ck_assert_uint_eq(in(0x0c), 0x50); /* update and periodic, no IRQF */
	ck_assert_uint_eq(in(0x0c), 0);
	ck_assert_uint_eq(fix.edges, 0);
}
END_TEST

START_TEST(periodic_interrupt_keeps_its_rate)
{
	unsigned n = 0;

	out(0x0a, 0x2a); /* 64 Hz */
	in(0x0c);
	out(0x0b, 0x42);
	for (unsigned us = 0; us < 1000000; us += 100) {
		pass_ns(100 * NS_PER_US);
		if (fix.line) {
			ck_assert(in(0x0c) & 0x40);
			n++;
		}
	}
	ck_assert_uint_eq(n, 64);
	out(0x0b, 0x02);
	pass_sec(1);
	ck_assert_uint_eq(fix.edges, 64);
}
END_TEST

START_TEST(rate_0_is_no_rate)
{
	out(0x0a, 0x20);
	in(0x0c);
	out(0x0b, 0x42);
	pass_sec(10);
	ck_assert_uint_eq(fix.edges, 0);
}
END_TEST

START_TEST(alarm_at_its_time)
{
	out(1, 0x05);
	out(3, 0x30);
	out(5, 0x01);
	out(0x0b, 0x22);
	pass_sec(10 + 3600 + 30 * 60 + 4); /* 01:30:04 */
	ck_assert(!fix.line);
	pass_sec(1);
	ck_assert(fix.line);
	ck_assert_uint_eq(in(0x0c) & 0xa0, 0xa0);
	pass_sec(86399);
	ck_assert(!fix.line);
	pass_sec(1);
	ck_assert(fix.line); /* every day */
}
END_TEST

START_TEST(alarm_fields_that_do_not_care)
{
	out(1, 0x00);
	out(3, 0xc0);
	out(5, 0xff);
	out(0x0b, 0x22);
	for (unsigned i = 0; i < 3; i++) {
		pass_sec(i ? 59 : 9);
		ck_assert(!fix.line);
		pass_sec(1);
		ck_assert(fix.line);
		in(0x0c);
	}
}
END_TEST

START_TEST(impossible_alarm_never_comes)
{
	out(1, 0x7a);
	out(3, 0xc0);
	out(5, 0xc0);
	out(0x0b, 0x22);
	pass_sec(3 * 86400);
	ck_assert_uint_eq(fix.edges, 0);
}
END_TEST

START_TEST(host_clock_set_back_is_followed)
{
	out(0x0b, 0x12);
	fix.utc_ns -= 3600 * NS_PER_SEC;
	expect_time(0x20, 0x24, 0x02, 0x29, 0x22, 0x59, 0x50);
	pass_sec(1);
	ck_assert(fix.line);
}
END_TEST

START_TEST(memory_is_kept_and_the_nmi_bit_ignored)
{
	out(0x40, 0xa5);
	out(0x7f, 0x5a);
	device_reset(rtc_device(fix.rtc));
	ck_assert_uint_eq(in(0x80 | 0x40), 0xa5);
	ck_assert_uint_eq(in(0xff), 0x5a);
}
END_TEST

START_TEST(status_registers_ignore_writes)
{
	out(0x0c, 0xff);
	out(0x0d, 0x00);
	ck_assert_uint_eq(in(0x0c), 0);
	ck_assert_uint_eq(in(0x0d), 0x80);
	out(0x0a, 0xa6); /* UIP cannot be written */
	ck_assert_uint_eq(in(0x0a), 0x26);
}
END_TEST

START_TEST(reset_ends_interrupts)
{
	out(0x0b, 0x12);
	pass_sec(1);
	ck_assert(fix.line);
	device_reset(rtc_device(fix.rtc));
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(0x0b), 0x02);
	pass_sec(5);
	ck_assert_uint_eq(fix.edges, 1);
}
END_TEST

START_TEST(memory_sizes_for_firmware)
{
	rtc_set_memory(fix.rtc, 512 * MIB, 1 * GIB);
	ck_assert_uint_eq(in(0x15) | in(0x16) << 8, 640);
	ck_assert_uint_eq(in(0x30) | in(0x31) << 8, 0xffff);
	ck_assert_uint_eq(in(0x34) | in(0x35) << 8, (512 - 16) * 16);
	ck_assert_uint_eq(in(0x5b) | in(0x5c) << 8 | in(0x5d) << 16, 1024 * 16);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rtc");
	TCase *tc = tcase_create("rtc");

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, registers_after_power_on);
	tcase_add_test(tc, time_in_bcd);
	tcase_add_test(tc, time_in_binary);
	tcase_add_test(tc, time_in_12_hours);
	tcase_add_test(tc, update_in_progress_announces_the_next_second);
	tcase_add_test(tc, linux_sets_the_time);
	tcase_add_test(tc, setting_without_set_takes_effect_at_once);
	tcase_add_test(tc, nonsense_in_the_registers_is_normalised);
	tcase_add_test(tc, update_interrupt_every_second);
	tcase_add_test(tc, flags_rise_without_interrupts);
	tcase_add_test(tc, periodic_interrupt_keeps_its_rate);
	tcase_add_test(tc, rate_0_is_no_rate);
	tcase_add_test(tc, alarm_at_its_time);
	tcase_add_test(tc, alarm_fields_that_do_not_care);
	tcase_add_test(tc, impossible_alarm_never_comes);
	tcase_add_test(tc, host_clock_set_back_is_followed);
	tcase_add_test(tc, memory_is_kept_and_the_nmi_bit_ignored);
	tcase_add_test(tc, status_registers_ignore_writes);
	tcase_add_test(tc, reset_ends_interrupts);
	tcase_add_test(tc, memory_sizes_for_firmware);
	return check_main(suite);
}
