/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board: every port device of the PC, made from one table (device_table in table.c) in its order, put on
 * a bus, reset together and freed in the opposite order. It lives on node 0. A new port device is one line
 * in the table.
 *
 * board_new and board_free belong to the thread that builds the machine; the devices themselves may be used
 * by any thread. The board owns the devices and their timer thread, not the bus, the sinks or the clock.
 */
#ifndef DEVICES_TABLE_H
#define DEVICES_TABLE_H

#include "devices/acpipm.h"
#include "devices/bus.h"
#include "devices/debugexit.h"
#include "devices/devtimer.h"
#include "devices/pit.h"
#include "devices/power.h"
#include "devices/rtc.h"
#include "devices/serial.h"

#define BOARD_DEVICES 6u

struct board_config {
	struct irq_sink *irq;
	struct machine_sink *machine;
	struct serial_sink *serial;
	const struct device_clock *clock;                /* NULL: device_clock_host */
	uint64_t ram_below_4g_bytes, ram_above_4g_bytes; /* for CMOS */
};

struct board {
	struct devtimers *timers;
	/* The devices that others need by their type. */
	struct serial *serial;
	struct rtc *rtc;
	struct acpipm *acpipm;
	struct device *device[BOARD_DEVICES]; /* in the order of the table; NULL: not created */
};

/* A device's ports are the offsets [offset, offset+len) of the device. */
struct device_ports {
	uint16_t base, len; /* len 0 ends the list */
	uint64_t offset;
};

#define DEVICE_PORTS_MAX 6u

struct device_entry {
	const char *name;
	/* 0 or -errno; *out is then to be freed with device_free. */
	int (*create)(struct board *board, const struct board_config *config, struct device **out);
	struct device_ports ports[DEVICE_PORTS_MAX];
};

extern const struct device_entry device_table[BOARD_DEVICES];

/* Creates all devices and adds them to the bus, which is not frozen yet. On failure nothing is left, but the bus may hold
 * ranges of devices that are gone: throw it away. -ENOMEM, and what bus_add and devtimers_new say. Logged. */
CHECKED int board_new(const struct board_config *config, struct bus *bus, struct board **out);
/* NULL is allowed. No thread may use the bus any more. */
void board_free(struct board *board);

/* All devices to power-on, in the order of the table. The vCPUs stand still. */
void board_reset(struct board *board);

#endif
