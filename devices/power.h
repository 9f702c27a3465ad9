/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three old ways in which software resets a PC, and the ports around them that every kernel touches.
 *
 *   0x0cf9  reset control register (Intel PCH datasheet, "RST_CNT"): bit 2 going from 0 to 1 resets. Named as the
 *           reset register in the FADT: Linux's first choice (reboot=acpi).
 *   0x0064  command port of the i8042 keyboard controller: command 0xfe pulses the reset line (IBM PC AT Technical
 *           Reference, "Keyboard controller commands"); other commands are ignored. There is no keyboard: the status
 *           says "output full" for ever, with 0xff as data, so that a driver that probes gives up after its first
 *           few reads, and "input empty", so that who waits before a command does not wait.
 *   0x0092  system control port A: bit 0 going from 0 to 1 resets, bit 1 is the A20 gate and reads 1.
 *   0x0080  POST code: keeps the last byte. Kernels write it for a short delay, often.
 *
 * Any thread; the request is made with no lock held. Resets only ask (struct machine_sink), they do nothing themselves.
 */
#ifndef DEVICES_POWER_H
#define DEVICES_POWER_H

#include "devices/device.h"

/* Offsets of the device, for the bus. */
enum power_offset {
	POWER_RESET_CONTROL, /* port 0xcf9 */
	POWER_KBD_DATA,      /* 0x60 */
	POWER_KBD_COMMAND,   /* 0x64 */
	POWER_PORT_A,        /* 0x92 */
	POWER_POST,          /* 0x80 */
	POWER_OFFSETS,
};

struct power;

/* -ENOMEM. The sink must outlive the device. */
CHECKED int power_new(struct machine_sink *machine, struct power **out);
struct device *power_device(struct power *power);

#endif
