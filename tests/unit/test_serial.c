/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port, driven register by register as Linux's 8250 driver does. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "devices/serial.h"
#include "tests/unit/check_main.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

struct fixture {
	struct irq_sink irq;
	struct serial_sink sink;
	struct serial *serial;
	bool line;
	unsigned edges;
	char out[256];
	size_t out_n;
};

static void set_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct fixture *f = container_of(sink, struct fixture, irq);

	ck_assert_uint_eq(gsi, SERIAL_GSI);
	ck_assert(level != f->line); /* only changes are told */
	f->line = level;
	f->edges += level;
}

static void take(struct serial_sink *sink, const uint8_t *bytes, size_t n)
{
	struct fixture *f = container_of(sink, struct fixture, sink);

	for (size_t i = 0; i < n && f->out_n < sizeof(f->out) - 1; i++)
		f->out[f->out_n++] = (char)bytes[i];
}

static struct fixture fix;

static void setup(void)
{
	fix = (struct fixture){.irq = {set_line}, .sink = {take}};
	ck_assert_int_eq(serial_new(&fix.irq, &fix.sink, &fix.serial), 0);
}

static void teardown(void)
{
	device_free(serial_device(fix.serial));
}

static uint8_t in(unsigned reg)
{
	struct device *dev = serial_device(fix.serial);
	uint8_t value;

	dev->ops->read(dev, reg, &value, 1);
	return value;
}

static void out(unsigned reg, unsigned value)
{
	struct device *dev = serial_device(fix.serial);
	uint8_t byte = (uint8_t)value;

	dev->ops->write(dev, reg, &byte, 1);
}

static size_t type(const char *text)
{
	return serial_input(fix.serial, (const uint8_t *)text, strlen(text));
}

START_TEST(registers_after_reset)
{
	out(IER, 0x0f);
	out(LCR, 0x03);
	out(MCR, 0x0b);
	out(SCR, 0x77);
	device_reset(serial_device(fix.serial));
	ck_assert_uint_eq(in(IER), 0);
	ck_assert_uint_eq(in(IIR), 0x01);
	ck_assert_uint_eq(in(LCR), 0);
	ck_assert_uint_eq(in(MCR), 0);
	ck_assert_uint_eq(in(LSR), 0x60);
	ck_assert_uint_eq(in(MSR), 0xb0);
	ck_assert_uint_eq(in(SCR), 0x77);
	ck_assert(!fix.line);
}
END_TEST

START_TEST(linux_autoconfig_finds_a_16550a)
{
	uint8_t status;

	/* autoconfig(): IER holds 4 bits. */
	out(IER, 0);
	ck_assert_uint_eq(0x0f & in(IER), 0);
	out(IER, 0x0f);
	ck_assert_uint_eq(0x0f & in(IER), 0x0f);
	out(IER, 0);
	/* Loopback: OUT2 and RTS come back as DCD and CTS. */
	out(MCR, 0x10 | 0x08 | 0x02);
	ck_assert_uint_eq(0xf0 & in(MSR), 0x80 | 0x10);
	out(MCR, 0);
	/* No EFR at 0xbf, FIFOs work. */
	out(LCR, 0xbf);
	out(FCR, 0);
	out(LCR, 0);
	out(FCR, 0x01);
	ck_assert_uint_eq(in(IIR) >> 6, 3);
	/* autoconfig_16550a(): no EFR behind DLAB, no bank 2 of a National Super I/O ... */
	out(LCR, 0x80);
	ck_assert_uint_ne(in(FCR), 0);
	out(LCR, 0);
	status = in(MCR);
	out(LCR, 0xe0);
	ck_assert(!((in(IIR) ^ status) & 0x10));
	out(LCR, 0);
	out(MCR, status ^ 0x10);
	out(LCR, 0xe0);
	ck_assert(!((in(IIR) ^ status) & 0x10));
	out(LCR, 0);
	out(MCR, status);
	/* ... no 64-byte FIFO of a TI16750 ... */
	out(FCR, 0x01 | 0x20);
	ck_assert_uint_eq(in(IIR) >> 5, 6);
	out(FCR, 0x01);
	out(LCR, 0x80);
	out(FCR, 0x01 | 0x20);
	ck_assert_uint_eq(in(IIR) >> 5, 6);
	out(LCR, 0);
	/* ... and no UUE bit of an XScale. */
	out(IER, 0x40);
	ck_assert(!(0x40 & in(IER)));
}
END_TEST

START_TEST(linux_size_fifo_counts_16)
{
	unsigned count;

	out(LCR, 0);
	out(FCR, 0x07);
	out(MCR, 0x10);
	out(LCR, 0x80);
	out(DATA, 1);
	out(IER, 0);
	out(LCR, 0x03);
	for (unsigned i = 0; i < 256; i++)
		out(DATA, i);
	for (count = 0; 0x01 & in(LSR) && count < 256; count++)
		ck_assert_uint_eq(in(DATA), count);
	ck_assert_uint_eq(count, 16);
	ck_assert_uint_eq(fix.out_n, 0);
}
END_TEST

START_TEST(linux_startup_finds_no_thre_and_no_txen_bug)
{
	uint8_t first, second;

	out(LCR, 0x03);
	out(MCR, 0x08);
	out(IER, 0x02);
	first = in(IIR);
	out(IER, 0);
	out(IER, 0x02);
	second = in(IIR);
	out(IER, 0);
	ck_assert(!(first & 1));
	ck_assert(!(second & 1)); /* reasserted: no UART_BUG_THRE */
	out(IER, 0x02);
	ck_assert(0x40 & in(LSR));
	ck_assert(!(1 & in(IIR))); /* no UART_BUG_TXEN */
	out(IER, 0);
	ck_assert(!fix.line);
}
END_TEST

START_TEST(written_bytes_come_out)
{
	for (const char *c = "Linux"; *c; c++) {
		ck_assert_uint_eq(0x60 & in(LSR), 0x60);
		out(DATA, (unsigned)*c);
	}
	ck_assert_str_eq(fix.out, "Linux");
}
END_TEST

START_TEST(divisor_latch_does_not_print)
{
	out(LCR, 0x80);
	out(DATA, 0x34);
	out(IER, 0x12);
	ck_assert_uint_eq(in(DATA), 0x34);
	ck_assert_uint_eq(in(IER), 0x12);
	out(LCR, 0x03);
	ck_assert_uint_eq(in(IER), 0);
	ck_assert_uint_eq(fix.out_n, 0);
}
END_TEST

START_TEST(transmit_interrupt_is_acknowledged_by_reading_iir)
{
	out(MCR, 0x08);
	out(IER, 0x02);
	ck_assert(fix.line);
	ck_assert_uint_eq(in(IIR), 0x02);
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(IIR), 0x01);
	out(DATA, 'x'); /* leaves at once: empty again */
	ck_assert(fix.line);
	out(IER, 0);
	ck_assert(!fix.line);
}
END_TEST

START_TEST(reading_iir_for_another_source_keeps_the_transmit_interrupt)
{
	out(MCR, 0x08);
	out(IER, 0x03);
	type("a");
	ck_assert_uint_eq(in(IIR), 0x04);
	ck_assert_uint_eq(in(DATA), 'a');
	ck_assert_uint_eq(in(IIR), 0x02);
	ck_assert_uint_eq(in(IIR), 0x01);
}
END_TEST

START_TEST(received_byte_interrupts_and_reading_ends_it)
{
	out(MCR, 0x08);
	out(IER, 0x01);
	ck_assert_uint_eq(type("k"), 1);
	ck_assert(fix.line);
	ck_assert(0x01 & in(LSR));
	ck_assert_uint_eq(in(DATA), 'k');
	ck_assert(!fix.line);
	ck_assert(!(0x01 & in(LSR)));
	ck_assert_uint_eq(in(DATA), 0); /* nothing there */
}
END_TEST

START_TEST(trigger_level_tells_data_from_timeout)
{
	out(FCR, 0x81); /* 8 bytes */
	out(IER, 0x01);
	type("1234567");
	ck_assert_uint_eq(in(IIR), 0xcc);
	type("8");
	ck_assert_uint_eq(in(IIR), 0xc4);
	in(DATA);
	ck_assert_uint_eq(in(IIR), 0xcc);
}
END_TEST

START_TEST(out2_gates_the_line)
{
	out(IER, 0x01);
	type("a");
	ck_assert(!fix.line);
	ck_assert_uint_eq(in(IIR), 0x04);
	out(MCR, 0x08);
	ck_assert(fix.line);
	out(MCR, 0x18); /* loopback disconnects it */
	ck_assert(!fix.line);
}
END_TEST

START_TEST(long_input_never_overruns)
{
	uint8_t byte[300];

	for (unsigned i = 0; i < sizeof(byte); i++)
		byte[i] = (uint8_t)i;
	out(FCR, 0x01);
	ck_assert_uint_eq(serial_input(fix.serial, byte, sizeof(byte)), sizeof(byte));
	for (unsigned i = 0; i < sizeof(byte); i++) {
		ck_assert_uint_eq(in(LSR), 0x61);
		ck_assert_uint_eq(in(DATA), byte[i]);
	}
	ck_assert_uint_eq(in(LSR), 0x60);
}
END_TEST

START_TEST(full_backlog_takes_only_what_fits)
{
	static const uint8_t byte[SERIAL_BACKLOG + 100];
	size_t taken = serial_input(fix.serial, byte, sizeof(byte));

	ck_assert_uint_eq(taken, SERIAL_BACKLOG);
	ck_assert_uint_eq(serial_input_room(fix.serial), 1); /* one went on into the receiver */
	ck_assert_uint_eq(serial_input(fix.serial, byte, 2), 1);
	ck_assert_uint_eq(serial_input(fix.serial, byte, 1), 0);
	ck_assert(!serial_input_break(fix.serial));
	in(DATA);
	ck_assert_uint_eq(serial_input_room(fix.serial), 1);
}
END_TEST

START_TEST(break_shows_at_its_place)
{
	out(FCR, 0x01);
	out(MCR, 0x08);
	out(IER, 0x05);
	type("a");
	ck_assert(serial_input_break(fix.serial));
	type("s");
	ck_assert_uint_eq(in(LSR), 0xe1); /* an error in the FIFO, not at its top */
	ck_assert_uint_eq(in(DATA), 'a');
	ck_assert_uint_eq(in(IIR), 0xc6);
	ck_assert_uint_eq(in(LSR), 0xf1);
	ck_assert_uint_eq(in(LSR), 0x61); /* reading cleared it */
	ck_assert_uint_eq(in(DATA), 0);
	ck_assert_uint_eq(in(DATA), 's');
}
END_TEST

START_TEST(overrun_in_loopback)
{
	out(MCR, 0x10);
	out(IER, 0x04);
	out(DATA, 'a');
	out(DATA, 'b'); /* no FIFO: the second replaces the first */
	ck_assert_uint_eq(in(IIR), 0x06);
	ck_assert_uint_eq(in(LSR), 0x63);
	ck_assert_uint_eq(in(LSR), 0x61);
	ck_assert_uint_eq(in(DATA), 'b');
}
END_TEST

START_TEST(input_waits_while_looped)
{
	out(MCR, 0x10);
	type("x");
	ck_assert(!(0x01 & in(LSR)));
	out(MCR, 0x00);
	ck_assert_uint_eq(in(DATA), 'x');
}
END_TEST

START_TEST(modem_deltas_in_loopback)
{
	out(MCR, 0x10); /* the lines drop from CTS, DSR, DCD to none */
	ck_assert_uint_eq(in(MSR), 0x0b);
	out(IER, 0x08);
	out(MCR, 0x14); /* RI becomes active: no interrupt */
	ck_assert_uint_eq(in(IIR), 0x01);
	out(MCR, 0x10); /* its trailing edge is one */
	ck_assert_uint_eq(in(IIR), 0x00);
	ck_assert_uint_eq(in(MSR), 0x04);
	ck_assert_uint_eq(in(IIR), 0x01);
}
END_TEST

START_TEST(fifo_control_without_enable_changes_nothing)
{
	out(FCR, 0xc0); /* a trigger level, but FIFOs off */
	ck_assert_uint_eq(in(IIR), 0x01);
	out(IER, 0x01);
	type("a");
	ck_assert_uint_eq(in(IIR), 0x04);
}
END_TEST

START_TEST(clearing_the_fifo_drops_it)
{
	out(FCR, 0x01);
	out(MCR, 0x10);
	out(DATA, 'a');
	out(DATA, 'b');
	out(FCR, 0x03);
	ck_assert(!(0x01 & in(LSR)));
}
END_TEST

START_TEST(status_registers_ignore_writes)
{
	out(LSR, 0xff);
	out(MSR, 0xff);
	ck_assert_uint_eq(in(LSR), 0x60);
	ck_assert_uint_eq(in(MSR), 0xb0);
	out(MCR, 0xe0); /* bits that do not exist */
	ck_assert_uint_eq(in(MCR), 0);
}
END_TEST

static void *typist(void *arg)
{
	for (unsigned sent = 0; sent < 20000;) {
		uint8_t byte = (uint8_t)sent;

		sent += (unsigned)serial_input(arg, &byte, 1);
	}
	return NULL;
}

START_TEST(input_from_another_thread_keeps_its_order)
{
	pthread_t thread;

	out(FCR, 0xc1);
	out(MCR, 0x08);
	out(IER, 0x01);
	ck_assert_int_eq(pthread_create(&thread, NULL, typist, fix.serial), 0);
	for (unsigned got = 0; got < 20000;)
		if (0x01 & in(LSR))
			ck_assert_uint_eq(in(DATA), (uint8_t)got++);
	pthread_join(thread, NULL);
	ck_assert(!fix.line);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("serial");
	TCase *tc = tcase_create("serial");

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, registers_after_reset);
	tcase_add_test(tc, linux_autoconfig_finds_a_16550a);
	tcase_add_test(tc, linux_size_fifo_counts_16);
	tcase_add_test(tc, linux_startup_finds_no_thre_and_no_txen_bug);
	tcase_add_test(tc, written_bytes_come_out);
	tcase_add_test(tc, divisor_latch_does_not_print);
	tcase_add_test(tc, transmit_interrupt_is_acknowledged_by_reading_iir);
	tcase_add_test(tc, reading_iir_for_another_source_keeps_the_transmit_interrupt);
	tcase_add_test(tc, received_byte_interrupts_and_reading_ends_it);
	tcase_add_test(tc, trigger_level_tells_data_from_timeout);
	tcase_add_test(tc, out2_gates_the_line);
	tcase_add_test(tc, long_input_never_overruns);
	tcase_add_test(tc, full_backlog_takes_only_what_fits);
	tcase_add_test(tc, break_shows_at_its_place);
	tcase_add_test(tc, overrun_in_loopback);
	tcase_add_test(tc, input_waits_while_looped);
	tcase_add_test(tc, modem_deltas_in_loopback);
	tcase_add_test(tc, fifo_control_without_enable_changes_nothing);
	tcase_add_test(tc, clearing_the_fifo_drops_it);
	tcase_add_test(tc, status_registers_ignore_writes);
	tcase_add_test(tc, input_from_another_thread_keeps_its_order);
	return check_main(suite);
}
