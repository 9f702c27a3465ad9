/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PC's clock and CMOS memory: Motorola MC146818 (datasheet MC146818A, 1984) at ports 0x70 (index) and
 * 0x71 (data), 128 bytes, with the century at 0x32 as the FADT says.
 *
 * It shows the host's CLOCK_REALTIME in UTC plus an offset, which changes when the guest sets the time and
 * lives as long as the machine, resets included. BCD or binary, 12 or 24 hours, as register B says. The
 * weekday follows from the date; daylight saving does not exist.
 *
 * Update in progress (UIP) is set for the last 244 us of each second, and the update itself takes no time: a guest
 * that sees UIP clear has 244 us to read, as the datasheet promises. The interrupt flags of register C are
 * computed when somebody looks, so the timer runs only while an interrupt is enabled and not yet pending.
 *
 * Threads: any. The line of GSI 8 is set with the lock held. Invalid times and dates are normalised, never refused.
 */
#ifndef DEVICES_RTC_H
#define DEVICES_RTC_H

#include "devices/devtimer.h"

#define RTC_PORT  0x70u
#define RTC_PORTS 2u
#define RTC_GSI   8u

struct rtc;

/* -ENOMEM. The sink and the timers must outlive the device. */
CHECKED int rtc_new(struct irq_sink *irq, struct devtimers *timers, struct rtc **out);
struct device *rtc_device(struct rtc *rtc);

/* Puts the amount of RAM below and above 4 GiB where a PC's firmware leaves it in CMOS. Before any vCPU runs. */
void rtc_set_memory(struct rtc *rtc, uint64_t below_4g_bytes, uint64_t above_4g_bytes);

#endif
