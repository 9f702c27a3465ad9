/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O from a root process: iopl(2) first, since the Debian cloud kernel has no /dev/port.
 * The kernel's own drivers may use the same ports at the same time: nothing here locks against them.
 */
#ifndef GUEST_TOOLS_PORTS_H
#define GUEST_TOOLS_PORTS_H

#include "common.h"
#include <sys/io.h>

static inline void open_ports(const char *program)
{
	if (iopl(3))
		finish(1, "%s: no port I/O: %s; it must run as root", program, strerror(errno));
}

/* RTC CMOS RAM: index port 0x70 (bit 7 would disable NMI), data port 0x71. Bytes from 0x0e on are free for
 * firmware and survive a reset. */
static inline uint8_t cmos_read(uint8_t index)
{
	outb(index & 0x7f, 0x70);
	return inb(0x71);
}

static inline void cmos_write(uint8_t index, uint8_t value)
{
	outb(index & 0x7f, 0x70);
	outb(value, 0x71);
}

#endif
