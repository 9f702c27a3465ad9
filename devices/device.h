/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every emulated device is to the rest of the machine: four operations behind `struct device`,
 * and the three things it may call outward: interrupt lines, the machine, and the clock.
 *
 * A device's own struct embeds `struct device` and finds itself with container_of. Whoever created
 * the device owns it and frees it with device_free; a bus only points at it.
 *
 * Threads: read and write are called by vCPU threads and, for accesses forwarded from other nodes,
 * by message threads, many at a time: each device has its own mutex. reset is called by the thread
 * that resets the machine, free when no other thread can reach the device any more.
 *
 * Locks: device -> devtimers and device -> irq_sink (and what that takes: ioapic, then the lapic of
 * a vCPU) are the only orders. So irq_sink.set may be called with the device's lock held;
 * machine_sink and serial_sink are always called without it. No operation waits for another node.
 *
 * Offsets and data come from the guest: any offset of the ranges registered, any bytes. A device
 * never fails, aborts or logs without a limit because of them.
 */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H

#include <string.h>

#include "base/types.h"

struct device;

struct device_ops {
	/* The widest access the device decodes: 1, 2, 4, or 0 for any. The bus splits a wider one into accesses of this width
	 * at ascending offsets, as an 8-bit ISA card sees an outw. */
	uint32_t width;
	/* [offset, offset+len) lies in one range given to bus_add; len is 1, 2, 4 or 8; data is little-endian, as in the guest.
	 * Unset read: all ones. Unset write: ignored. */
	void (*read)(struct device *dev, uint64_t offset, void *data, uint32_t len);
	void (*write)(struct device *dev, uint64_t offset, const void *data, uint32_t len);
	void (*reset)(struct device *dev); /* back to power-on, interrupt lines low. Unset: nothing to reset */
	void (*free)(struct device *dev);  /* waits for the device's timers. Unset: nothing to free */
};

struct device {
	const struct device_ops *ops;
	const char *name; /* for messages; static storage */
};

static inline void device_reset(struct device *dev)
{
	if (dev->ops->reset)
		dev->ops->reset(dev);
}

static inline void device_free(struct device *dev)
{
	if (dev && dev->ops->free)
		dev->ops->free(dev);
}

/* Interrupt lines into the IOAPIC. set: the line of this GSI is now high or low; a device calls it when the level changes. Any
 * thread, with or without a device's lock; does not block and does not call a device. */
struct irq_sink {
	void (*set)(struct irq_sink *sink, unsigned gsi, bool level);
};

/* What a guest can ask of the machine as a whole. The request is noted and carried out by the machine's own thread: the call
 * returns at once, and the vCPU that caused it may run on for a few instructions. Any thread, no device lock held. */
enum machine_request {
	MACHINE_RESET,    /* code 0 */
	MACHINE_POWEROFF, /* code 0 */
	MACHINE_EXIT,     /* end the VM with this exit code */
};

struct machine_sink {
	void (*request)(struct machine_sink *sink, enum machine_request what, uint32_t code);
};

/* The two clocks devices live by, in nanoseconds. Tests put their own here. Any thread. */
struct device_clock {
	uint64_t (*mono_ns)(const struct device_clock *clock); /* never goes back */
	uint64_t (*utc_ns)(const struct device_clock *clock);  /* since 1970-01-01 00:00 UTC; may step */
};

/* CLOCK_MONOTONIC and CLOCK_REALTIME of this host. */
extern const struct device_clock device_clock_host;

/* Little-endian bytes of an access to a number and back; len <= 8. */
static inline uint64_t device_load(const void *data, uint32_t len)
{
	uint64_t value = 0;

	memcpy(&value, data, len);
	return value;
}

static inline void device_store(void *data, uint32_t len, uint64_t value)
{
	memcpy(data, &value, len);
}

#endif
