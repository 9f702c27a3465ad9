/* SPDX-License-Identifier: Apache-2.0 */
/* The console between a serial port and pipes or a pseudo-terminal, which stand for this process's own input and output. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "capture.h"
#include "tests/unit/check_main.h"
#include "vmm/console.h"

#define WAIT_MS 5000

static struct {
	struct irq_sink irq;
	struct console_events events;
	struct console *console;
	struct serial *serial;
	_Atomic unsigned quits;
	int saved_in, saved_out;
	int type;   /* what is written here is our standard input */
	int screen; /* what we wrote to standard output is read here */
} fix;

static void set_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	(void)sink;
	(void)gsi;
	(void)level;
}

static void quit(struct console_events *events)
{
	(void)events;
	fix.quits++;
}

static void in_place_of(int fd, int number)
{
	ck_assert_int_eq(dup2(fd, number), number);
	close(fd);
}

static void setup(void)
{
	int in[2], out[2];

	fflush(NULL);
	signal(SIGPIPE, SIG_IGN); /* as main does: a screen that is closed is an error code */
	fix.irq.set = set_line;
	fix.events.quit = quit;
	fix.saved_in = dup(STDIN_FILENO);
	fix.saved_out = dup(STDOUT_FILENO);
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fix.type = in[1];
	fix.screen = out[0];
	in_place_of(in[0], STDIN_FILENO);
	in_place_of(out[1], STDOUT_FILENO);
}

static void teardown(void)
{
	console_free(fix.console);
	if (fix.serial)
		device_free(serial_device(fix.serial));
	if (fix.type >= 0)
		close(fix.type);
	in_place_of(fix.saved_in, STDIN_FILENO);
	in_place_of(fix.saved_out, STDOUT_FILENO);
	close(fix.screen);
}

static void console_on(enum serial_kind kind, const char *path)
{
	ck_assert_int_eq(console_new(kind, path, &fix.console), 0);
	ck_assert_int_eq(serial_new(&fix.irq, console_sink(fix.console), &fix.serial), 0);
	ck_assert_int_eq(console_attach(fix.console, fix.serial, &fix.events), 0);
}

/* Standard input is a terminal from now on, of which fix.type is the other end. */
static void use_terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master), 0);
	ck_assert_int_eq(unlockpt(master), 0);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	in_place_of(slave, STDIN_FILENO);
	close(fix.type);
	fix.type = master;
}

static void guest_writes(const char *text)
{
	const struct device *dev = serial_device(fix.serial);

	for (; *text; text++)
		dev->ops->write(serial_device(fix.serial), 0, text, 1);
}

static void user_types(const char *text)
{
	ck_assert_int_eq(write(fix.type, text, strlen(text)), (ssize_t)strlen(text));
}

/* The next byte for the guest; fails if none comes. */
static uint8_t guest_reads(void)
{
	struct device *dev = serial_device(fix.serial);
	uint8_t status = 0, byte = 0;

	for (int ms = 0; ms < WAIT_MS && !(status & 1); ms++) {
		dev->ops->read(dev, 5, &status, 1); /* LSR, data ready */
		if (!(status & 1))
			usleep(1000);
	}
	ck_assert_msg(status & 1, "no input for the guest");
	dev->ops->read(dev, 0, &byte, 1);
	return byte;
}

/* Reads what was written to standard output until it holds `text`. */
static void screen_shows(const char *text)
{
	char buf[4096];
	size_t n = 0;

	for (;;) {
		struct pollfd p = {.fd = fix.screen, .events = POLLIN};
		ssize_t got;

		ck_assert_msg(poll(&p, 1, WAIT_MS) == 1, "the screen does not show '%s'", text);
		got = read(fix.screen, buf + n, sizeof(buf) - 1 - n);
		ck_assert_int_gt(got, 0);
		n += (size_t)got;
		buf[n] = 0;
		if (strstr(buf, text))
			return;
	}
}

START_TEST(output_goes_to_the_screen)
{
	console_on(SERIAL_STDIO, NULL);
	guest_writes("Linux version");
	screen_shows("Linux version");
}
END_TEST

START_TEST(output_before_the_end_is_not_lost)
{
	console_on(SERIAL_STDIO, NULL);
	guest_writes("last words");
	console_detach(fix.console);
	screen_shows("last words");
}
END_TEST

START_TEST(output_goes_to_a_file)
{
	char path[] = "/tmp/test-console-XXXXXX", text[64] = "";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "of a run before", 15), 15);
	console_on(SERIAL_FILE, path);
	guest_writes("to the file");
	console_detach(fix.console);
	ck_assert_int_eq(pread(fd, text, sizeof(text) - 1, 0), 11);
	ck_assert_str_eq(text, "to the file");
	close(fd);
	unlink(path);
}
END_TEST

START_TEST(file_that_cannot_be_written_is_an_error_with_its_name)
{
	struct capture c;

	capture_start(&c);
	int rc = console_new(SERIAL_FILE, "/nonexistent/console", &fix.console);
	ck_assert_ptr_nonnull(strstr(capture_end(&c), "/nonexistent/console"));
	ck_assert_int_eq(rc, -ENOENT);
	ck_assert_ptr_null(fix.console);
}
END_TEST

START_TEST(output_to_nowhere_is_dropped)
{
	struct pollfd p = {.fd = fix.screen, .events = POLLIN};

	console_on(SERIAL_NULL, NULL);
	guest_writes("unseen");
	console_detach(fix.console);
	ck_assert_int_eq(poll(&p, 1, 50), 0);
}
END_TEST

START_TEST(screen_that_takes_nothing_stops_neither_guest_nor_end)
{
	static const uint8_t line[1024] = "a long line";
	uint64_t start = clock_ns();

	console_on(SERIAL_STDIO, NULL);
	for (int i = 0; i < 4096; i++) /* more than the pipe and the ring hold */
		console_sink(fix.console)->out(console_sink(fix.console), line, sizeof(line));
	console_detach(fix.console);
	ck_assert_uint_lt(clock_ns() - start, 4 * NS_PER_SEC);
}
END_TEST

START_TEST(input_reaches_the_guest)
{
	console_on(SERIAL_STDIO, NULL);
	user_types("ls\n");
	ck_assert_uint_eq(guest_reads(), 'l');
	ck_assert_uint_eq(guest_reads(), 's');
	ck_assert_uint_eq(guest_reads(), '\n');
}
END_TEST

START_TEST(input_that_is_no_terminal_has_no_escape)
{
	console_on(SERIAL_STDIO, NULL);
	user_types("\001x");
	ck_assert_uint_eq(guest_reads(), 1);
	ck_assert_uint_eq(guest_reads(), 'x');
	ck_assert_uint_eq(fix.quits, 0);
}
END_TEST

START_TEST(end_of_input_leaves_the_guest_running)
{
	console_on(SERIAL_STDIO, NULL);
	close(fix.type);
	fix.type = -1;
	usleep(20000);
	guest_writes("still here");
	screen_shows("still here");
	ck_assert_uint_eq(fix.quits, 0);
}
END_TEST

START_TEST(terminal_is_raw_in_between_and_as_before_afterwards)
{
	struct termios before, during, after;

	use_terminal();
	tcgetattr(STDIN_FILENO, &before);
	console_on(SERIAL_STDIO, NULL);
	tcgetattr(STDIN_FILENO, &during);
	ck_assert(!(during.c_lflag & (ICANON | ECHO | ISIG)));
	console_detach(fix.console);
	tcgetattr(STDIN_FILENO, &after);
	ck_assert_uint_eq(after.c_lflag, before.c_lflag);
	ck_assert_uint_eq(after.c_iflag, before.c_iflag);
	ck_assert_uint_eq(after.c_oflag, before.c_oflag);
}
END_TEST

START_TEST(ctrl_c_is_the_guests)
{
	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	user_types("\003");
	ck_assert_uint_eq(guest_reads(), 3);
}
END_TEST

START_TEST(ctrl_a_x_quits)
{
	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	user_types("\001x");
	for (int ms = 0; ms < WAIT_MS && !fix.quits; ms++)
		usleep(1000);
	ck_assert_uint_eq(fix.quits, 1);
}
END_TEST

START_TEST(ctrl_a_h_helps)
{
	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	user_types("\001h");
	screen_shows("Ctrl-a x  stop the machine and quit");
}
END_TEST

START_TEST(ctrl_a_twice_is_ctrl_a)
{
	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	user_types("\001\001x");
	ck_assert_uint_eq(guest_reads(), 1);
	ck_assert_uint_eq(guest_reads(), 'x');
	ck_assert_uint_eq(fix.quits, 0);
}
END_TEST

START_TEST(escape_in_two_pieces_is_one)
{
	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	user_types("\001");
	usleep(20000);
	user_types("x");
	for (int ms = 0; ms < WAIT_MS && !fix.quits; ms++)
		usleep(1000);
	ck_assert_uint_eq(fix.quits, 1);
}
END_TEST

START_TEST(key_that_is_no_command_is_the_guests)
{
	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	user_types("\001zy");
	ck_assert_uint_eq(guest_reads(), 'z');
	ck_assert_uint_eq(guest_reads(), 'y');
}
END_TEST

START_TEST(ctrl_a_b_is_a_break)
{
	struct device *dev;
	uint8_t status = 0;

	use_terminal();
	console_on(SERIAL_STDIO, NULL);
	dev = serial_device(fix.serial);
	user_types("\001b");
	for (int ms = 0; ms < WAIT_MS && !(status & 0x10); ms++) {
		dev->ops->read(dev, 5, &status, 1); /* LSR, break */
		usleep(1000);
	}
	ck_assert_uint_eq(status & 0x10, 0x10);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("console");
	TCase *t = tcase_create("console");

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, output_goes_to_the_screen);
	tcase_add_test(t, output_before_the_end_is_not_lost);
	tcase_add_test(t, output_goes_to_a_file);
	tcase_add_test(t, file_that_cannot_be_written_is_an_error_with_its_name);
	tcase_add_test(t, output_to_nowhere_is_dropped);
	tcase_add_test(t, screen_that_takes_nothing_stops_neither_guest_nor_end);
	tcase_add_test(t, input_reaches_the_guest);
	tcase_add_test(t, input_that_is_no_terminal_has_no_escape);
	tcase_add_test(t, end_of_input_leaves_the_guest_running);
	tcase_add_test(t, terminal_is_raw_in_between_and_as_before_afterwards);
	tcase_add_test(t, ctrl_c_is_the_guests);
	tcase_add_test(t, ctrl_a_x_quits);
	tcase_add_test(t, ctrl_a_h_helps);
	tcase_add_test(t, ctrl_a_twice_is_ctrl_a);
	tcase_add_test(t, escape_in_two_pieces_is_one);
	tcase_add_test(t, key_that_is_no_command_is_the_guests);
	tcase_add_test(t, ctrl_a_b_is_a_break);
	return check_main(s);
}
