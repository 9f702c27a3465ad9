/* SPDX-License-Identifier: Apache-2.0 */
/* The interval timer under a clock that the test turns by hand, driven as Linux does: TSC calibration and the tick. */
#include <check.h>
#include <stdlib.h>

#include "devices/pit.h"
#include "tests/unit/check_main.h"

#define MODE_0_CH2 0xb0 /* low byte, high byte */

struct fixture {
	struct device_clock clock;
	struct irq_sink irq;
	struct devtimers *timers;
	struct pit *pit;
	uint64_t mono_ns;
	uint64_t access_ns; /* what each port access takes */
	bool line;
	unsigned edges;
};

static struct fixture fix;

static uint64_t mono(const struct device_clock *clock)
{
	return container_of(clock, struct fixture, clock)->mono_ns;
}

static void set_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct fixture *f = container_of(sink, struct fixture, irq);

	ck_assert_uint_eq(gsi, PIT_GSI);
	ck_assert(level != f->line);
	f->line = level;
	f->edges += level;
}

static void setup(void)
{
	fix = (struct fixture){.clock = {mono, mono}, .irq = {set_line}, .mono_ns = 12345678901};
	ck_assert_int_eq(devtimers_new(&fix.clock, &fix.timers), 0);
	ck_assert_int_eq(pit_new(&fix.irq, fix.timers, &fix.pit), 0);
}

static void teardown(void)
{
	device_free(pit_device(fix.pit));
	devtimers_free(fix.timers);
}

static void pass_ns(uint64_t ns)
{
	fix.mono_ns += ns;
	devtimers_run(fix.timers);
}

/* Time until so many clocks are surely over since a count that was just written, and the next is not. */
static void pass_clocks(uint64_t clocks)
{
	pass_ns((clocks * 2 + 1) * NS_PER_SEC / (2ull * PIT_HZ));
}

static uint8_t in(unsigned port)
{
	struct device *dev = pit_device(fix.pit);
	uint8_t value;

	dev->ops->read(dev, port == PIT_PORT_B ? PIT_OFFSET_B : port - PIT_PORT, &value, 1);
	pass_ns(fix.access_ns);
	return value;
}

static void out(unsigned port, unsigned value)
{
	struct device *dev = pit_device(fix.pit);
	uint8_t byte = (uint8_t)value;

	dev->ops->write(dev, port == PIT_PORT_B ? PIT_OFFSET_B : port - PIT_PORT, &byte, 1);
	pass_ns(fix.access_ns);
}

static unsigned in16(unsigned port)
{
	unsigned low = in(port);

	return low | (unsigned)in(port) << 8;
}

static void out16(unsigned port, unsigned value)
{
	out(port, value & 0xff);
	out(port, value >> 8);
}

/* quick_pit_calibrate(): channel 2 counts down from 0xffff, each value of its high byte must be seen often enough. */
START_TEST(linux_quick_calibration)
{
	uint64_t first = 0, last = 0;

	fix.access_ns = 3000;
	out(0x61, (in(0x61) & ~0x02u) | 0x01);
	out(0x43, MODE_0_CH2);
	out(0x42, 0xff);
	out(0x42, 0xff);
	in(0x42);
	ck_assert_uint_eq(in(0x42), 0xff);
	for (unsigned msb = 0xff; msb > 0xff - 50; msb--) {
		unsigned count = 0;

		for (; count < 50000; count++) {
			in(0x42);
			if (in(0x42) != msb)
				break;
			last = fix.mono_ns;
		}
		ck_assert_uint_gt(count, 5);
		if (msb == 0xff)
			first = last;
	}
	/* 49 steps of 256 clocks took what they should, within two reads. */
	ck_assert_uint_ge(last - first, 49ull * 256 * NS_PER_SEC / PIT_HZ - 13000);
	ck_assert_uint_le(last - first, 49ull * 256 * NS_PER_SEC / PIT_HZ + 13000);
}
END_TEST

/* pit_calibrate_tsc(): wait for channel 2's output, 10 ms. */
START_TEST(linux_slow_calibration)
{
	unsigned latch = PIT_HZ / 100, polls = 0;
	uint64_t start;

	fix.access_ns = 2000;
	out(0x61, (in(0x61) & ~0x02u) | 0x01);
	out(0x43, MODE_0_CH2);
	out(0x42, latch & 0xff);
	out(0x42, latch >> 8);
	start = fix.mono_ns;
	while (!(in(0x61) & 0x20))
		polls++;
	ck_assert_uint_gt(polls, 1000);
	ck_assert_uint_ge(fix.mono_ns - start, 9990000);
	ck_assert_uint_le(fix.mono_ns - start, 10010000);
}
END_TEST

START_TEST(gate_stops_and_continues_mode_0)
{
	out(0x61, 0x01);
	out(0x43, MODE_0_CH2);
	out16(0x42, 1000);
	pass_clocks(100);
	out(0x61, 0x00);
	pass_clocks(5000);
	ck_assert_uint_eq(in16(0x42), 900);
	ck_assert(!(in(0x61) & 0x20));
	out(0x61, 0x01);
	pass_clocks(899);
	ck_assert(!(in(0x61) & 0x20));
	pass_clocks(1);
	ck_assert(in(0x61) & 0x20);
}
END_TEST

START_TEST(count_written_with_the_gate_low_waits)
{
	out(0x43, MODE_0_CH2);
	out16(0x42, 500);
	pass_clocks(10000);
	ck_assert_uint_eq(in16(0x42), 500);
	out(0x61, 0x01);
	pass_clocks(10);
	ck_assert_uint_eq(in16(0x42), 490);
}
END_TEST

START_TEST(gate_retriggers_mode_1)
{
	out(0x43, 0xb2);
	out16(0x42, 100);
	ck_assert(in(0x61) & 0x20);
	out(0x61, 0x01);
	ck_assert(!(in(0x61) & 0x20));
	pass_clocks(60);
	out(0x61, 0x00);
	out(0x61, 0x01);
	pass_clocks(60);
	ck_assert(!(in(0x61) & 0x20));
	pass_clocks(40);
	ck_assert(in(0x61) & 0x20);
}
END_TEST

START_TEST(port_61_keeps_its_bits_and_toggles_refresh)
{
	unsigned toggles = 0;
	uint8_t last;

	out(0x61, 0xff);
	ck_assert_uint_eq(in(0x61) & 0xcf, 0x0f);
	last = in(0x61);
	for (unsigned us = 0; us < 1000; us++) {
		pass_ns(NS_PER_US);
		toggles += (in(0x61) ^ last) >> 4 & 1;
		last = in(0x61);
	}
	ck_assert_uint_ge(toggles, 65);
	ck_assert_uint_le(toggles, 67);
}
END_TEST

START_TEST(latch_holds_the_count)
{
	out(0x43, 0x34);
	out16(0x40, 1000);
	pass_clocks(10);
	out(0x43, 0x00); /* latch channel 0 */
	pass_clocks(100);
	out(0x43, 0x00); /* ignored: the first one is not read yet */
	ck_assert_uint_eq(in16(0x40), 990);
	ck_assert_uint_lt(in16(0x40), 891);
}
END_TEST

START_TEST(read_back_latches_status_and_count)
{
	uint8_t status;

	out(0x43, 0x34);
	out(0x43, 0xe2); /* status of channel 0 */
	status = in(0x40);
	ck_assert_uint_eq(status, 0x80 | 0x40 | 0x34); /* output high, no count yet */
	out16(0x40, 500);
	pass_clocks(20);
	out(0x43, 0xc2); /* both: status first, then the count */
	ck_assert_uint_eq(in(0x40), 0x80 | 0x34);
	ck_assert_uint_eq(in16(0x40), 480);
	out(0x43, 0xd0); /* the count of no channel */
}
END_TEST

START_TEST(single_byte_access)
{
	out(0x43, 0x14); /* channel 0, low byte only, mode 2 */
	out(0x40, 200);
	pass_clocks(50);
	ck_assert_uint_eq(in(0x40), 150);
	out(0x43, 0x24); /* high byte only */
	out(0x40, 0x10);
	pass_clocks(0x100);
	ck_assert_uint_eq(in(0x40), 0x0f);
	ck_assert_uint_eq(in(0x40), 0x0f);
}
END_TEST

START_TEST(bcd_counts_in_decimal)
{
	out(0x43, 0xb1);
	out(0x61, 0x01);
	out16(0x42, 0x1000);
	pass_clocks(1);
	ck_assert_uint_eq(in16(0x42), 0x0999);
	out16(0x42, 0); /* 10000 */
	pass_clocks(2);
	ck_assert_uint_eq(in16(0x42), 0x9998);
}
END_TEST

START_TEST(mode_3_is_high_for_half_a_period)
{
	out(0x61, 0x01);
	out(0x43, 0xb6);
	out16(0x42, 100);
	pass_clocks(49);
	ck_assert(in(0x61) & 0x20);
	ck_assert_uint_eq(in16(0x42), 2);
	pass_clocks(1);
	ck_assert(!(in(0x61) & 0x20));
	pass_clocks(50);
	ck_assert(in(0x61) & 0x20);
}
END_TEST

START_TEST(gate_low_raises_the_output_of_mode_2)
{
	out(0x61, 0x01);
	out(0x43, 0xb4);
	out16(0x42, 100);
	pass_clocks(99);
	ck_assert(!(in(0x61) & 0x20));
	out(0x61, 0x00);
	ck_assert(in(0x61) & 0x20);
	out(0x61, 0x01); /* and begins again */
	pass_clocks(10);
	ck_assert_uint_eq(in16(0x42), 90);
}
END_TEST

START_TEST(periodic_tick_interrupts_at_its_rate)
{
	/* pit_set_periodic(): HZ = 250. */
	out(0x43, 0x34);
	out16(0x40, (PIT_HZ + 125) / 250);
	for (unsigned i = 0; i < 10000; i++)
		pass_ns(100 * NS_PER_US);
	ck_assert_uint_ge(fix.edges, 249);
	ck_assert_uint_le(fix.edges, 250);
}
END_TEST

START_TEST(one_shot_interrupts_once)
{
	/* pit_set_oneshot(), pit_next_event(). */
	out(0x43, 0x38);
	out16(0x40, 11932);
	pass_clocks(11930);
	ck_assert_uint_eq(fix.edges, 0);
	pass_clocks(3);
	ck_assert_uint_eq(fix.edges, 1);
	pass_ns(NS_PER_SEC);
	ck_assert_uint_eq(fix.edges, 1);
	out16(0x40, 100);
	pass_ns(NS_PER_MS);
	ck_assert_uint_eq(fix.edges, 2);
}
END_TEST

START_TEST(mode_0_raises_the_line_and_a_control_word_lowers_it)
{
	out(0x43, 0x30);
	out16(0x40, 1193);
	ck_assert(!fix.line);
	pass_ns(2 * NS_PER_MS);
	ck_assert(fix.line);
	out(0x43, 0x30);
	ck_assert(!fix.line);
	pass_ns(NS_PER_SEC);
	ck_assert_uint_eq(fix.edges, 1);
}
END_TEST

START_TEST(fastest_period_cannot_flood)
{
	out(0x43, 0x14);
	out(0x40, 1); /* illegal in mode 2: taken as 2 */
	for (unsigned i = 0; i < 100000; i++)
		pass_ns(NS_PER_US);
	ck_assert_uint_gt(fix.edges, 1000);
	ck_assert_uint_le(fix.edges, PIT_INTERRUPTS_HZ / 10 + 1);
}
END_TEST

START_TEST(nothing_programmed_counts_or_interrupts)
{
	pass_ns(10 * NS_PER_SEC);
	ck_assert_uint_eq(fix.edges, 0);
	ck_assert_uint_eq(in(0x43), 0xff);
	ck_assert(!(in(0x61) & 0x20));
	for (unsigned i = 0; i < 3; i++)
		in(0x40 + i);
}
END_TEST

START_TEST(reset_stops_everything)
{
	out(0x43, 0x34);
	out16(0x40, 1193);
	pass_ns(10 * NS_PER_MS);
	ck_assert(fix.line);
	device_reset(pit_device(fix.pit));
	ck_assert(!fix.line);
	fix.edges = 0;
	pass_ns(NS_PER_SEC);
	ck_assert_uint_eq(fix.edges, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pit");
	TCase *tc = tcase_create("pit");

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, linux_quick_calibration);
	tcase_add_test(tc, linux_slow_calibration);
	tcase_add_test(tc, gate_stops_and_continues_mode_0);
	tcase_add_test(tc, count_written_with_the_gate_low_waits);
	tcase_add_test(tc, gate_retriggers_mode_1);
	tcase_add_test(tc, port_61_keeps_its_bits_and_toggles_refresh);
	tcase_add_test(tc, latch_holds_the_count);
	tcase_add_test(tc, read_back_latches_status_and_count);
	tcase_add_test(tc, single_byte_access);
	tcase_add_test(tc, bcd_counts_in_decimal);
	tcase_add_test(tc, mode_3_is_high_for_half_a_period);
	tcase_add_test(tc, gate_low_raises_the_output_of_mode_2);
	tcase_add_test(tc, periodic_tick_interrupts_at_its_rate);
	tcase_add_test(tc, one_shot_interrupts_once);
	tcase_add_test(tc, mode_0_raises_the_line_and_a_control_word_lowers_it);
	tcase_add_test(tc, fastest_period_cannot_flood);
	tcase_add_test(tc, nothing_programmed_counts_or_interrupts);
	tcase_add_test(tc, reset_stops_everything);
	return check_main(suite);
}
