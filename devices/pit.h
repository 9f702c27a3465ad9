/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PC's interval timer, Intel 8254 (datasheet 231164, September 1993) at ports 0x40 to 0x43, and the half of
 * port 0x61 that belongs to it. Channel 0 drives GSI 2, to which the MADT moves ISA interrupt 0; channel 2 is
 * gated by bit 0 of port 0x61 and shows its output in bit 5, which is how Linux measures the TSC.
 *
 * Counters do not count: what is read is computed from the clock at 1193182 Hz. All six modes, BCD, latch and
 * read-back. Two simplifications: a new count in modes 2 and 3 takes effect at once and not at the end of
 * the period, and a count is loaded without the one clock of delay.
 *
 * In its periodic modes channel 0 interrupts at most PIT_INTERRUPTS_HZ times a second, so that a guest cannot
 * keep a host CPU busy with it; the counter itself still reads right.
 *
 * Threads: any. The line is set with the lock held. One period of modes 2 and 3 is one pulse, low then high.
 */
#ifndef DEVICES_PIT_H
#define DEVICES_PIT_H

#include "devices/devtimer.h"

#define PIT_HZ            1193182u
#define PIT_GSI           2u
#define PIT_INTERRUPTS_HZ 20000u

/* Offsets of the device, for the bus. */
#define PIT_PORT     0x40u /* offsets 0 to 3 */
#define PIT_PORTS    4u
#define PIT_PORT_B   0x61u /* offset 4 */
#define PIT_OFFSET_B 4u

struct pit;

/* -ENOMEM. The sink and the timers must outlive the device. */
CHECKED int pit_new(struct irq_sink *irq, struct devtimers *timers, struct pit **out);
struct device *pit_device(struct pit *pit);

#endif
