/* SPDX-License-Identifier: Apache-2.0 */
/* The old reset ports and the debug exit, on a bus at their real addresses. */
#include <check.h>
#include <stdlib.h>

#include "devices/table.h"
#include "tests/unit/check_main.h"

struct fixture {
	struct device_clock clock;
	struct irq_sink irq;
	struct machine_sink machine;
	struct serial_sink serial;
	struct bus *bus;
	struct board *board;
	unsigned requests;
	enum machine_request what;
	uint32_t code;
};

static struct fixture fix;

static uint64_t stopped(const struct device_clock *clock)
{
	(void)clock;
	return NS_PER_SEC;
}

static void ignore_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	(void)sink;
	(void)gsi;
	(void)level;
}

static void ignore_bytes(struct serial_sink *sink, const uint8_t *bytes, size_t n)
{
	(void)sink;
	(void)bytes;
	(void)n;
}

static uint32_t in(unsigned port, uint32_t len)
{
	uint32_t value = 0;

	ck_assert_int_eq(bus_read(fix.bus, BUS_PIO, port, &value, len), 0);
	return value;
}

static void out(unsigned port, uint32_t len, uint32_t value)
{
	ck_assert_int_eq(bus_write(fix.bus, BUS_PIO, port, &value, len), 0);
}

static void request(struct machine_sink *sink, enum machine_request what, uint32_t code)
{
	struct fixture *f = container_of(sink, struct fixture, machine);

	f->requests++;
	f->what = what;
	f->code = code;
	in(0xcf9, 1); /* no lock of the device is held: this would hang */
}

static void setup(void)
{
	struct board_config config = {.irq = &fix.irq,
				      .machine = &fix.machine,
				      .serial = &fix.serial,
				      .clock = &fix.clock,
				      .ram_below_4g_bytes = 64 * MIB};

	fix = (struct fixture){.clock = {stopped, stopped}, .irq = {ignore_line}, .machine = {request}, .serial = {ignore_bytes}};
	ck_assert_int_eq(bus_new(&fix.bus), 0);
	bus_quiet(fix.bus);
	ck_assert_int_eq(board_new(&config, fix.bus, &fix.board), 0);
	bus_freeze(fix.bus);
}

static void teardown(void)
{
	board_free(fix.board);
	bus_free(fix.bus);
}

static void expect(unsigned requests, enum machine_request what)
{
	ck_assert_uint_eq(fix.requests, requests);
	ck_assert_int_eq(fix.what, what);
}

START_TEST(linux_resets_by_cf9)
{
	uint32_t cf9 = in(0xcf9, 1) & ~0x0eu;

	out(0xcf9, 1, cf9 | 0x02);
	ck_assert_uint_eq(fix.requests, 0);
	out(0xcf9, 1, cf9 | 0x0e);
	expect(1, MACHINE_RESET);
}
END_TEST

START_TEST(acpi_reset_register_in_one_write)
{
	out(0xcf9, 1, 0x06);
	expect(1, MACHINE_RESET);
	out(0xcf9, 1, 0x06); /* no change of bit 2 */
	ck_assert_uint_eq(fix.requests, 1);
	board_reset(fix.board);
	ck_assert_uint_eq(in(0xcf9, 1), 0);
	out(0xcf9, 1, 0x0f);
	ck_assert_uint_eq(fix.requests, 2);
}
END_TEST

START_TEST(pci_address_is_no_reset)
{
	out(0xcf8, 4, 0x80000600); /* its second byte would be one */
	out(0xcf9, 1, 0x02);
	ck_assert_uint_eq(fix.requests, 0);
}
END_TEST

START_TEST(keyboard_controller_resets_at_once)
{
	ck_assert(!(in(0x64, 1) & 0x02)); /* Linux's kb_wait() does not wait */
	out(0x64, 1, 0xfe);
	expect(1, MACHINE_RESET);
}
END_TEST

START_TEST(other_keyboard_commands_do_nothing)
{
	for (unsigned command = 0; command < 0xfe; command++)
		out(0x64, 1, command);
	out(0x60, 1, 0xfe);
	ck_assert_uint_eq(fix.requests, 0);
}
END_TEST

START_TEST(linux_finds_no_keyboard_controller_quickly)
{
	unsigned reads = 0;

	/* i8042_flush(): more than 16 bytes that never end mean that there is no controller. */
	while (in(0x64, 1) & 0x01 && reads++ < 16)
		ck_assert_uint_eq(in(0x60, 1), 0xff);
	ck_assert_uint_gt(reads, 16);
}
END_TEST

START_TEST(port_92_resets_on_its_rising_bit)
{
	ck_assert_uint_eq(in(0x92, 1), 0x02);
	out(0x92, 1, 0x02); /* A20, as boot loaders do */
	ck_assert_uint_eq(fix.requests, 0);
	out(0x92, 1, 0x01);
	expect(1, MACHINE_RESET);
	ck_assert_uint_eq(in(0x92, 1), 0x03);
	out(0x92, 1, 0x03);
	ck_assert_uint_eq(fix.requests, 1);
}
END_TEST

START_TEST(post_port_keeps_its_byte)
{
	struct bus_stats stats;

	out(0x80, 1, 0xa5);
	ck_assert_uint_eq(in(0x80, 1), 0xa5);
	bus_stats(fix.bus, &stats);
	ck_assert_uint_eq(stats.unmapped_writes, 0);
}
END_TEST

START_TEST(debug_exit_code_is_odd)
{
	out(0xf4, 4, 0x21);
	expect(1, MACHINE_EXIT);
	ck_assert_uint_eq(fix.code, 0x43);
	out(0xf4, 1, 0);
	ck_assert_uint_eq(fix.code, 1);
	out(0xf5, 1, 0x7f);
	ck_assert_uint_eq(fix.code, 0xff);
	out(0xf4, 4, UINT32_MAX);
	ck_assert_uint_eq(fix.code, UINT32_MAX);
	ck_assert_uint_eq(fix.requests, 4);
}
END_TEST

START_TEST(reading_the_debug_exit_does_nothing)
{
	ck_assert_uint_eq(in(0xf4, 4), 0);
	out(0xf6, 4, 1); /* leaves the range */
	ck_assert_uint_eq(fix.requests, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("power");
	TCase *tc = tcase_create("power");

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, linux_resets_by_cf9);
	tcase_add_test(tc, acpi_reset_register_in_one_write);
	tcase_add_test(tc, pci_address_is_no_reset);
	tcase_add_test(tc, keyboard_controller_resets_at_once);
	tcase_add_test(tc, other_keyboard_commands_do_nothing);
	tcase_add_test(tc, linux_finds_no_keyboard_controller_quickly);
	tcase_add_test(tc, port_92_resets_on_its_rising_bit);
	tcase_add_test(tc, post_port_keeps_its_byte);
	tcase_add_test(tc, debug_exit_code_is_odd);
	tcase_add_test(tc, reading_the_debug_exit_does_nothing);
	return check_main(suite);
}
