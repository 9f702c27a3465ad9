/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: who answers where, what an unmapped access does; the timer thread; and the board as a whole under two threads. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "devices/table.h"
#include "tests/unit/check_main.h"

/* A device that remembers its last accesses. */
struct probe {
	struct device device;
	unsigned n;
	uint64_t offset[8];
	uint32_t len[8];
	uint8_t fill;
};

static void probe_note(struct probe *probe, uint64_t offset, uint32_t len)
{
	ck_assert_uint_lt(probe->n, 8);
	probe->offset[probe->n] = offset;
	probe->len[probe->n++] = len;
}

static void probe_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct probe *probe = container_of(dev, struct probe, device);

	probe_note(probe, offset, len);
	memset(data, probe->fill, len);
}

static void probe_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct probe *probe = container_of(dev, struct probe, device);

	probe_note(probe, offset, len);
	memcpy(&probe->fill, data, 1);
}

static const struct device_ops probe_ops = {.read = probe_read, .write = probe_write};
static const struct device_ops byte_ops = {.width = 1, .read = probe_read, .write = probe_write};
static const struct device_ops empty_ops = {0};

static struct bus *new_bus(void)
{
	struct bus *bus;

	ck_assert_int_eq(bus_new(&bus), 0);
	bus_quiet(bus);
	return bus;
}

static struct probe new_probe(const struct device_ops *ops, uint8_t fill)
{
	return (struct probe){.device = {.ops = ops, .name = "probe"}, .fill = fill};
}

START_TEST(read_reaches_the_device_at_its_offset)
{
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&probe_ops, 0x5a);
	uint16_t value = 0;

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x100, 16, 0x40, &probe.device), 0);
	bus_freeze(bus);
	ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x104, &value, 2), 0);
	ck_assert_uint_eq(value, 0x5a5a);
	ck_assert_uint_eq(probe.offset[0], 0x44);
	ck_assert_uint_eq(probe.len[0], 2);
	bus_free(bus);
}
END_TEST

START_TEST(spaces_are_separate)
{
	struct bus *bus = new_bus();
	struct probe pio = new_probe(&probe_ops, 1), mmio = new_probe(&probe_ops, 2);
	uint8_t value;

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x100, 4, 0, &pio.device), 0);
	ck_assert_int_eq(bus_add(bus, BUS_MMIO, 0x100, 4, 0, &mmio.device), 0);
	ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x100, &value, 1), 0);
	ck_assert_uint_eq(value, 1);
	ck_assert_int_eq(bus_read(bus, BUS_MMIO, 0x100, &value, 1), 0);
	ck_assert_uint_eq(value, 2);
	bus_free(bus);
}
END_TEST

START_TEST(every_range_of_many_is_found)
{
	struct bus *bus = new_bus();
	struct probe probe[32];
	uint8_t value;

	/* Added in an order that is neither up nor down. */
	for (unsigned i = 0; i < 32; i++) {
		unsigned at = i * 13 % 32;

		probe[at] = new_probe(&probe_ops, (uint8_t)at);
		ck_assert_int_eq(bus_add(bus, BUS_MMIO, 0x1000 + 8 * at, 8, 0, &probe[at].device), 0);
	}
	for (unsigned i = 0; i < 32; i++) {
		ck_assert_int_eq(bus_read(bus, BUS_MMIO, 0x1000 + 8 * i, &value, 1), 0);
		ck_assert_uint_eq(value, i);
		ck_assert_int_eq(bus_read(bus, BUS_MMIO, 0x1000 + 8 * i + 7, &value, 1), 0);
		ck_assert_uint_eq(value, i);
	}
	ck_assert(!bus_mapped(bus, BUS_MMIO, 0xfff, 1));
	ck_assert(!bus_mapped(bus, BUS_MMIO, 0x1100, 1));
	bus_free(bus);
}
END_TEST

START_TEST(unmapped_read_is_all_ones_and_counted)
{
	struct bus *bus = new_bus();
	struct bus_stats stats;
	uint32_t value = 0;

	ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x2f8, &value, 4), 0);
	ck_assert_uint_eq(value, UINT32_MAX);
	bus_stats(bus, &stats);
	ck_assert_uint_eq(stats.unmapped_reads, 1);
	ck_assert_uint_eq(stats.reads, 0);
	bus_free(bus);
}
END_TEST

START_TEST(unmapped_write_vanishes_and_is_counted)
{
	struct bus *bus = new_bus();
	struct bus_stats stats;

	ck_assert_int_eq(bus_write(bus, BUS_MMIO, UINT64_MAX, "x", 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_MMIO, UINT64_MAX, "xxxxxxxx", 8), 0); /* past the end of all addresses */
	bus_stats(bus, &stats);
	ck_assert_uint_eq(stats.unmapped_writes, 2);
	bus_free(bus);
}
END_TEST

START_TEST(straddling_access_reaches_no_device)
{
	struct bus *bus = new_bus();
	struct probe a = new_probe(&probe_ops, 1), b = new_probe(&probe_ops, 2);
	uint32_t value = 0;

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x10, 2, 0, &a.device), 0);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x12, 2, 0, &b.device), 0);
	ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x10, &value, 4), 0);
	ck_assert_uint_eq(value, UINT32_MAX);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x11, &value, 2), 0);
	ck_assert_uint_eq(a.n + b.n, 0);
	bus_free(bus);
}
END_TEST

START_TEST(wide_access_to_a_byte_device_is_split)
{
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&byte_ops, 0x33);
	uint32_t value = 0;

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x10, 4, 0, &probe.device), 0);
	ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x10, &value, 4), 0);
	ck_assert_uint_eq(value, 0x33333333);
	ck_assert_uint_eq(probe.n, 4);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(probe.offset[i], i);
		ck_assert_uint_eq(probe.len[i], 1);
	}
	bus_free(bus);
}
END_TEST

START_TEST(unset_operations_have_their_defaults)
{
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&empty_ops, 0);
	uint8_t value = 0;

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x10, 4, 0, &probe.device), 0);
	ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x10, &value, 1), 0);
	ck_assert_uint_eq(value, 0xff);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x10, &value, 1), 0);
	device_reset(&probe.device);
	device_free(&probe.device);
	bus_free(bus);
}
END_TEST

START_TEST(odd_lengths_are_refused)
{
	struct bus *bus = new_bus();
	uint8_t data[16] = {0};

	for (uint32_t len = 0; len <= 16; len++) {
		int pio = len == 1 || len == 2 || len == 4 ? 0 : -EINVAL;
		int mmio = len == 8 ? 0 : pio;

		ck_assert_int_eq(bus_read(bus, BUS_PIO, 0, data, len), pio);
		ck_assert_int_eq(bus_write(bus, BUS_PIO, 0, data, len), pio);
		ck_assert_int_eq(bus_read(bus, BUS_MMIO, 0, data, len), mmio);
		ck_assert_int_eq(bus_write(bus, BUS_MMIO, 0, data, len), mmio);
	}
	ck_assert_int_eq(bus_read(bus, BUS_MMIO, 0, data, UINT32_MAX), -EINVAL);
	bus_free(bus);
}
END_TEST

START_TEST(overlapping_ranges_are_refused)
{
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&probe_ops, 0);

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x100, 8, 0, &probe.device), 0);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x100, 8, 0, &probe.device), -EEXIST);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x107, 1, 0, &probe.device), -EEXIST);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0xff, 2, 0, &probe.device), -EEXIST);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0, 0x10000, 0, &probe.device), -EEXIST);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x108, 1, 0, &probe.device), 0);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0xff, 1, 0, &probe.device), 0);
	bus_free(bus);
}
END_TEST

START_TEST(ranges_outside_the_space_are_refused)
{
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&probe_ops, 0);

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0, 0, 0, &probe.device), -EINVAL);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0xffff, 2, 0, &probe.device), -EINVAL);
	ck_assert_int_eq(bus_add(bus, BUS_MMIO, UINT64_MAX, 2, 0, &probe.device), -EINVAL);
	ck_assert_int_eq(bus_add(bus, BUS_MMIO, UINT64_MAX, 1, 0, &probe.device), 0);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0xffff, 1, 0, &probe.device), 0);
	bus_free(bus);
}
END_TEST

START_TEST(frozen_and_full_buses_take_no_more)
{
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&probe_ops, 0);

	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		ck_assert_int_eq(bus_add(bus, BUS_MMIO, i, 1, 0, &probe.device), 0);
	ck_assert_int_eq(bus_add(bus, BUS_MMIO, BUS_RANGES_MAX, 1, 0, &probe.device), -ENOSPC);
	bus_freeze(bus);
	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0, 1, 0, &probe.device), -EBUSY);
	bus_free(bus);
}
END_TEST

/* Timers. */

struct tick {
	struct devtimer timer;
	atomic_uint fired;
	uint64_t again_ns; /* 0: once */
};

static void tick_expire(struct devtimer *timer)
{
	struct tick *tick = container_of(timer, struct tick, timer);

	atomic_fetch_add(&tick->fired, 1);
	if (tick->again_ns)
		devtimer_arm(timer, clock_ns() + tick->again_ns);
}

static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

static void wait_for(struct tick *tick, unsigned n)
{
	for (unsigned i = 0; i < 5000 && atomic_load(&tick->fired) < n; i++)
		sleep_ms(1);
	ck_assert_uint_ge(atomic_load(&tick->fired), n);
}

START_TEST(timer_fires_once_and_again_when_rearmed)
{
	struct devtimers *timers;
	struct tick once = {0}, often = {.again_ns = NS_PER_MS};

	ck_assert_int_eq(devtimers_new(&device_clock_host, &timers), 0);
	devtimer_init(&once.timer, timers, tick_expire);
	devtimer_init(&often.timer, timers, tick_expire);
	devtimer_arm(&once.timer, 0); /* long past */
	devtimer_arm(&often.timer, clock_ns() + NS_PER_MS);
	wait_for(&often, 5);
	ck_assert_uint_eq(atomic_load(&once.fired), 1);
	devtimer_cancel(&often.timer);
	devtimer_cancel(&once.timer);
	devtimers_free(timers);
}
END_TEST

START_TEST(cancelled_timer_does_not_fire)
{
	struct devtimers *timers;
	struct tick tick = {.again_ns = 1};
	unsigned fired;

	ck_assert_int_eq(devtimers_new(&device_clock_host, &timers), 0);
	devtimer_init(&tick.timer, timers, tick_expire);
	devtimer_arm(&tick.timer, clock_ns());
	wait_for(&tick, 1);
	devtimer_cancel(&tick.timer); /* while it fires and arms itself all the time */
	fired = atomic_load(&tick.fired);
	sleep_ms(5);
	ck_assert_uint_eq(atomic_load(&tick.fired), fired);
	devtimers_free(timers);
}
END_TEST

START_TEST(an_earlier_timer_overtakes_a_later_one)
{
	struct devtimers *timers;
	struct tick late = {0}, early = {0};

	ck_assert_int_eq(devtimers_new(&device_clock_host, &timers), 0);
	devtimer_init(&late.timer, timers, tick_expire);
	devtimer_init(&early.timer, timers, tick_expire);
	devtimer_arm(&late.timer, clock_ns() + 3600 * NS_PER_SEC);
	devtimer_arm(&early.timer, clock_ns() + NS_PER_MS);
	wait_for(&early, 1);
	ck_assert_uint_eq(atomic_load(&late.fired), 0);
	devtimers_free(timers); /* with a timer still armed */
}
END_TEST

/* The board. */

struct outside {
	struct irq_sink irq;
	struct machine_sink machine;
	struct serial_sink serial;
	atomic_uint edges, requests, bytes;
};

static void outside_irq(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct outside *outside = container_of(sink, struct outside, irq);

	ck_assert_uint_lt(gsi, 24);
	atomic_fetch_add(&outside->edges, level);
}

static void outside_request(struct machine_sink *sink, enum machine_request what, uint32_t code)
{
	struct outside *outside = container_of(sink, struct outside, machine);

	(void)what;
	(void)code;
	atomic_fetch_add(&outside->requests, 1);
}

static void outside_out(struct serial_sink *sink, const uint8_t *bytes, size_t n)
{
	struct outside *outside = container_of(sink, struct outside, serial);

	(void)bytes;
	atomic_fetch_add(&outside->bytes, (unsigned)n);
}

static struct board *new_board(struct outside *outside, struct bus *bus)
{
	struct board_config config = {.irq = &outside->irq, .machine = &outside->machine, .serial = &outside->serial};
	struct board *board;

	*outside = (struct outside){.irq = {outside_irq}, .machine = {outside_request}, .serial = {outside_out}};
	ck_assert_int_eq(board_new(&config, bus, &board), 0);
	return board;
}

START_TEST(every_port_of_the_table_is_mapped)
{
	struct outside outside;
	struct bus *bus = new_bus();
	struct board *board = new_board(&outside, bus);
	static const uint16_t port[] = {0x3f8, 0x3ff, 0x70, 0x71, 0x40, 0x43, 0x61, 0x600,
					0x608, 0xcf9, 0x60, 0x64, 0x92, 0x80, 0xf4};

	for (size_t i = 0; i < ARRAY_SIZE(port); i++)
		ck_assert_msg(bus_mapped(bus, BUS_PIO, port[i], 1), "port 0x%x", port[i]);
	ck_assert(bus_mapped(bus, BUS_PIO, 0x608, 4));
	ck_assert(!bus_mapped(bus, BUS_PIO, 0xcf8, 4)); /* the PCI address is no reset */
	ck_assert(!bus_mapped(bus, BUS_PIO, 0x2f8, 1));
	for (size_t i = 0; i < BOARD_DEVICES; i++)
		ck_assert_str_eq(board->device[i]->name, device_table[i].name);
	board_reset(board);
	board_free(board);
	bus_free(bus);
}
END_TEST

START_TEST(board_on_a_bus_that_is_taken_fails_whole)
{
	struct outside outside = {.irq = {outside_irq}, .machine = {outside_request}, .serial = {outside_out}};
	struct board_config config = {.irq = &outside.irq, .machine = &outside.machine, .serial = &outside.serial};
	struct bus *bus = new_bus();
	struct probe probe = new_probe(&probe_ops, 0);
	struct board *board = NULL;

	ck_assert_int_eq(bus_add(bus, BUS_PIO, 0x64, 1, 0, &probe.device), 0);
	ck_assert_int_eq(board_new(&config, bus, &board), -EEXIST);
	ck_assert_ptr_null(board);
	bus_free(bus);
}
END_TEST

static void *hammer(void *arg)
{
	static const uint16_t port[] = {0x3f8, 0x3f9, 0x3fa, 0x3fd, 0x70, 0x71, 0x40, 0x43, 0x61, 0x600, 0x602, 0x608, 0x92, 0x80};
	struct bus *bus = arg;
	uint32_t value, random = 1;

	for (unsigned i = 0; i < 4000; i++) {
		uint16_t at;

		random = random * 1664525 + 1013904223;
		at = port[random >> 16 & 0xff ? (random >> 16) % ARRAY_SIZE(port) : 0];
		value = random >> 8 & 0xff;
		if (at == 0x43)
			value = 0x34; /* channel 0, mode 2: its timer runs */
		if (random >> 30 & 1)
			ck_assert_int_eq(bus_write(bus, BUS_PIO, at, &value, 1), 0);
		else
			ck_assert_int_eq(bus_read(bus, BUS_PIO, at, &value, 1), 0);
	}
	return NULL;
}

START_TEST(two_threads_use_the_board_while_its_timers_run)
{
	struct outside outside;
	struct bus *bus = new_bus();
	struct board *board = new_board(&outside, bus);
	pthread_t thread[2];
	uint8_t value;

	bus_freeze(bus);
	/* RTC: all interrupts on, 8192 Hz; PIT: as fast as it goes. */
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x70, &(uint8_t){0x0a}, 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x71, &(uint8_t){0x23}, 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x70, &(uint8_t){0x0b}, 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x71, &(uint8_t){0x72}, 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x43, &(uint8_t){0x14}, 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x40, &(uint8_t){2}, 1), 0);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, hammer, bus), 0);
	for (unsigned i = 0; i < 200; i++) {
		serial_input(board->serial, (const uint8_t *)"hello", 5);
		acpipm_power_button(board->acpipm);
		if (i % 50 == 0)
			board_reset(board);
		ck_assert_int_eq(bus_read(bus, BUS_PIO, 0x71, &value, 1), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	/* The resets may have stopped the timers before they fired even once: on a busy machine only now is there time. */
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x43, &(uint8_t){0x14}, 1), 0);
	ck_assert_int_eq(bus_write(bus, BUS_PIO, 0x40, &(uint8_t){2}, 1), 0);
	for (unsigned i = 0; i < 5000 && atomic_load(&outside.edges) == 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	board_free(board);
	bus_free(bus);
	ck_assert_uint_gt(atomic_load(&outside.edges), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bus");
	TCase *bus = tcase_create("bus"), *timer = tcase_create("devtimer"), *board = tcase_create("board");

	suite_add_tcase(suite, bus);
	tcase_add_test(bus, read_reaches_the_device_at_its_offset);
	tcase_add_test(bus, spaces_are_separate);
	tcase_add_test(bus, every_range_of_many_is_found);
	tcase_add_test(bus, unmapped_read_is_all_ones_and_counted);
	tcase_add_test(bus, unmapped_write_vanishes_and_is_counted);
	tcase_add_test(bus, straddling_access_reaches_no_device);
	tcase_add_test(bus, wide_access_to_a_byte_device_is_split);
	tcase_add_test(bus, unset_operations_have_their_defaults);
	tcase_add_test(bus, odd_lengths_are_refused);
	tcase_add_test(bus, overlapping_ranges_are_refused);
	tcase_add_test(bus, ranges_outside_the_space_are_refused);
	tcase_add_test(bus, frozen_and_full_buses_take_no_more);
	suite_add_tcase(suite, timer);
	tcase_set_timeout(timer, 30);
	tcase_add_test(timer, timer_fires_once_and_again_when_rearmed);
	tcase_add_test(timer, cancelled_timer_does_not_fire);
	tcase_add_test(timer, an_earlier_timer_overtakes_a_later_one);
	suite_add_tcase(suite, board);
	tcase_set_timeout(board, 60);
	tcase_add_test(board, every_port_of_the_table_is_mapped);
	tcase_add_test(board, board_on_a_bus_that_is_taken_fails_whole);
	tcase_add_test(board, two_threads_use_the_board_while_its_timers_run);
	return check_main(suite);
}
