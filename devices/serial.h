/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART, COM1: the guest's console. After National Semiconductor's PC16550D datasheet
 * (June 1995), section 8 "Registers"; the code names its subsections by the register they describe.
 *
 * What it does not imitate: time. A byte written is sent at once, so the transmitter is always empty, and a
 * received byte that does not reach the FIFO's trigger level counts as four character times old at once.
 * Word length, parity and baud rate are kept and have no effect.
 *
 * Input goes through a backlog of SERIAL_BACKLOG bytes in front of the 16-byte FIFO, as a peer would hold
 * bytes back with flow control: input from outside never overruns. In loopback mode it waits there.
 *
 * Threads: any. The interrupt line (GSI 4) is set with the lock held; serial_sink.out is called without it, by
 * the thread that wrote, so the bytes of two vCPUs writing at the same time without a lock of their own may
 * come out in either order.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include "devices/device.h"

#define SERIAL_PORT    0x3f8u
#define SERIAL_PORTS   8u
#define SERIAL_GSI     4u
#define SERIAL_BACKLOG 4096u

/* Where the guest's output goes. out takes n >= 1 bytes, borrowed for the call; it may be slow (the vCPU waits) but must not
 * call the device. */
struct serial_sink {
	void (*out)(struct serial_sink *sink, const uint8_t *bytes, size_t n);
};

struct serial;

/* -ENOMEM. The sinks must outlive the device. */
CHECKED int serial_new(struct irq_sink *irq, struct serial_sink *sink, struct serial **out);
struct device *serial_device(struct serial *serial);

/* Types n bytes to the guest. Returns how many were taken, from the front; the rest is the caller's to give again later. */
size_t serial_input(struct serial *serial, const uint8_t *bytes, size_t n);
/* How many bytes serial_input would take now. */
size_t serial_input_room(struct serial *serial);
/* A break on the line, in order with the bytes (Linux: the next one is a SysRq key). False: no room. */
bool serial_input_break(struct serial *serial);

#endif
