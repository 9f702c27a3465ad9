/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's console on this terminal, in a file, or nowhere.
 *
 *      serial port --> ring --> writer thread --> stdout or file
 *      stdin --> reader thread --> serial port       Ctrl-a x quits, Ctrl-a h helps, Ctrl-a Ctrl-a is Ctrl-a
 *
 * A terminal is put into raw mode while the guest runs and restored at the end, also by console_restore from a signal's path.
 * The serial port never waits for the terminal: what a stopped terminal does not take within the ring's room is dropped and
 * counted in one line. Both threads end when console_stop says so.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "devices/serial.h"
#include "vmm/config.h"

struct console;

/* What the user asked for with Ctrl-a x. Called by the reader thread; returns at once. */
struct console_events {
	void (*quit)(struct console_events *events);
};

CHECKED int console_new(enum serial_kind kind, const char *path, struct console **out);
struct serial_sink *console_sink(struct console *console);
/* Input goes to this port from now on; `events` may be NULL. Starts the reader. */
CHECKED int console_attach(struct console *console, struct serial *serial, struct console_events *events);
/* Input ends: before the port is freed. What the guest has written is written out first, for at most a second. */
void console_detach(struct console *console);
void console_free(struct console *console); /* restores the terminal */

#endif
