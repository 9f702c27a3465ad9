/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/rtc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum {
	REG_SECOND,
	REG_SECOND_ALARM,
	REG_MINUTE,
	REG_MINUTE_ALARM,
	REG_HOUR,
	REG_HOUR_ALARM,
	REG_WEEKDAY,
	REG_DAY,
	REG_MONTH,
	REG_YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
	REG_CENTURY = 0x32,
	CMOS_BYTES = 128,
};

#define A_RATE          0x0fu
#define A_DIVIDER       0x70u
#define A_DIVIDER_RUN   0x20u /* 32.768 kHz time base */
#define A_DIVIDER_RESET 0x60u /* both bits: the divider chain is held */
#define A_UIP           0x80u

#define B_24H  0x02u
#define B_DM   0x04u /* binary, not BCD */
#define B_SQWE 0x08u
#define B_UIE  0x10u
#define B_AIE  0x20u
#define B_PIE  0x40u
#define B_SET  0x80u

#define C_UF   0x10u
#define C_AF   0x20u
#define C_PF   0x40u
#define C_IRQF 0x80u

#define D_VALID 0x80u

#define HOUR_PM   0x80u
#define ALARM_ANY 0xc0u
#define NEVER     INT64_MAX
#define UIP_NS    244000
#define SEC_NS    ((int64_t)NS_PER_SEC)
#define DAY_SEC   86400
#define TICKS_SEC 32768 /* of the time base */

struct rtc {
	struct device device;
	struct irq_sink *irq;
	const struct device_clock *clock;
	struct devtimer timer;
	pthread_mutex_t lock;
	/* Under the lock. */
	uint8_t index;
	bool line;
	int64_t offset_ns; /* guest's time minus the host's */
	int64_t seen_ns;   /* guest's time up to which flags are in register C */
	/* Time registers are stale while the clock runs and are the truth while it is halted (time_show, time_take). */
	uint8_t cmos[CMOS_BYTES];
};

static int64_t guest_ns(const struct rtc *rtc)
{
	return (int64_t)rtc->clock->utc_ns(rtc->clock) + rtc->offset_ns;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t subsecond(int64_t ns)
{
	return ns - floor_div(ns, SEC_NS) * SEC_NS;
}

static bool divider_held(const struct rtc *rtc)
{
	return (rtc->cmos[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

static bool halted(const struct rtc *rtc)
{
	return (rtc->cmos[REG_B] & B_SET) || divider_held(rtc);
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	return (uint8_t)(rtc->cmos[REG_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->cmos[REG_B] & B_DM ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & (uint8_t)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* The guest's time into the registers. */
static void time_show(struct rtc *rtc, int64_t ns)
{
	time_t sec = (time_t)floor_div(ns, SEC_NS);
	struct tm tm = {0};

	gmtime_r(&sec, &tm);
	rtc->cmos[REG_SECOND] = encode(rtc, tm.tm_sec);
	rtc->cmos[REG_MINUTE] = encode(rtc, tm.tm_min);
	rtc->cmos[REG_HOUR] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->cmos[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[REG_YEAR] = encode(rtc, (tm.tm_year + 1900) % 100);
	rtc->cmos[REG_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100 % 100);
}

/* The offset from the registers; subsecond_ns of the second have passed. */
static void time_take(struct rtc *rtc, int64_t subsecond_ns)
{
	int year = decode(rtc, rtc->cmos[REG_CENTURY]) * 100 + decode(rtc, rtc->cmos[REG_YEAR]);
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->cmos[REG_SECOND]),
		.tm_min = decode(rtc, rtc->cmos[REG_MINUTE]),
		.tm_hour = decode_hour(rtc, rtc->cmos[REG_HOUR]),
		.tm_mday = decode(rtc, rtc->cmos[REG_DAY]),
		.tm_mon = decode(rtc, rtc->cmos[REG_MONTH]) - 1,
		.tm_year = MIN(MAX(year, 1900), 2200) - 1900, /* what nanoseconds in 64 bits hold, with room for odd months */
	};
	int64_t ns = (int64_t)timegm(&tm) * SEC_NS + subsecond_ns;

	rtc->offset_ns = 0;
	rtc->offset_ns = ns - guest_ns(rtc);
	rtc->seen_ns = ns;
}

static bool alarm_is(uint8_t alarm, uint8_t value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

/* The first whole second after `after` (both seconds) at which the alarm matches. Skips whole hours and minutes, so it
 * takes at most 24 + 60 + 60 steps whatever the guest wrote. */
static int64_t alarm_next(const struct rtc *rtc, int64_t after)
{
	int64_t sec = after + 1;

	while (sec <= after + DAY_SEC) {
		int64_t of_day = sec - floor_div(sec, DAY_SEC) * DAY_SEC;

		if (!alarm_is(rtc->cmos[REG_HOUR_ALARM], encode_hour(rtc, (int)(of_day / 3600))))
			sec += 3600 - of_day % 3600;
		else if (!alarm_is(rtc->cmos[REG_MINUTE_ALARM], encode(rtc, (int)(of_day / 60 % 60))))
			sec += 60 - of_day % 60;
		else if (!alarm_is(rtc->cmos[REG_SECOND_ALARM], encode(rtc, (int)(of_day % 60))))
			sec++;
		else
			return sec;
	}
	return NEVER;
}

/* The shift of the time base that gives the periodic rate; 0: none (datasheet, table 5: rates 1 and 2 repeat 8 and 9). */
static int periodic_shift(const struct rtc *rtc)
{
	int rate = rtc->cmos[REG_A] & A_RATE;

	if (rate == 0 || divider_held(rtc))
		return 0;
	return rate < 3 ? rate + 6 : rate - 1;
}

static int64_t ns_to_ticks(int64_t ns)
{
	return floor_div(ns, SEC_NS) * TICKS_SEC + subsecond(ns) * TICKS_SEC / SEC_NS;
}

/* The first nanosecond of a tick of the time base: ns_to_ticks of it is tick. */
static int64_t ticks_to_ns(int64_t tick)
{
	int64_t sec = floor_div(tick, TICKS_SEC);

	return sec * SEC_NS + ((tick - sec * TICKS_SEC) * SEC_NS + TICKS_SEC - 1) / TICKS_SEC;
}

/* When each flag rises next after `after`, in the guest's time. */
static int64_t next_update(const struct rtc *rtc, int64_t after)
{
	return halted(rtc) ? NEVER : (floor_div(after, SEC_NS) + 1) * SEC_NS;
}

static int64_t next_alarm(const struct rtc *rtc, int64_t after)
{
	int64_t sec = halted(rtc) ? NEVER : alarm_next(rtc, floor_div(after, SEC_NS));

	return sec == NEVER ? NEVER : sec * SEC_NS;
}

static int64_t next_periodic(const struct rtc *rtc, int64_t after)
{
	int64_t period = (int64_t)1 << periodic_shift(rtc);

	return period > 1 ? ticks_to_ns((floor_div(ns_to_ticks(after), period) + 1) * period) : NEVER;
}

/* Raises the flags due by now, moves the line, and arms the timer for the next flag that would interrupt. Every entry into
 * the device goes through here before it changes what these depend on, and again after. */
static void flags_update_locked(struct rtc *rtc)
{
	uint8_t *b = &rtc->cmos[REG_B], *c = &rtc->cmos[REG_C];
	int64_t now = guest_ns(rtc), next = NEVER;
	bool line;

	if (now < rtc->seen_ns) /* the host's clock was set back */
		rtc->seen_ns = now;
	if (next_update(rtc, rtc->seen_ns) <= now)
		*c |= C_UF;
	if (next_alarm(rtc, rtc->seen_ns) <= now)
		*c |= C_AF;
	if (next_periodic(rtc, rtc->seen_ns) <= now)
		*c |= C_PF;
	rtc->seen_ns = now;
	*c &= (uint8_t)~C_IRQF;
	if (*b & *c & (C_UF | C_AF | C_PF)) /* flags and enables have the same bits */
		*c |= C_IRQF;
	line = *c & C_IRQF;
	if (line != rtc->line) {
		rtc->line = line;
		rtc->irq->set(rtc->irq, RTC_GSI, line);
	}
	if (!line && *b & B_UIE)
		next = MIN(next, next_update(rtc, now));
	if (!line && *b & B_AIE)
		next = MIN(next, next_alarm(rtc, now));
	if (!line && *b & B_PIE)
		next = MIN(next, next_periodic(rtc, now));
	if (next == NEVER)
		devtimer_disarm(&rtc->timer);
	else
		devtimer_arm(&rtc->timer, rtc->clock->mono_ns(rtc->clock) + (uint64_t)(next - now));
}

static void rtc_expire(struct devtimer *timer)
{
	struct rtc *rtc = container_of(timer, struct rtc, timer);

	pthread_mutex_lock(&rtc->lock);
	flags_update_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static bool is_time(uint8_t index)
{
	return index == REG_SECOND || index == REG_MINUTE || index == REG_HOUR || (index >= REG_WEEKDAY && index <= REG_YEAR) ||
	       index == REG_CENTURY;
}

static uint8_t cmos_read_locked(struct rtc *rtc)
{
	uint8_t index = rtc->index, value;
	int64_t now;

	flags_update_locked(rtc);
	now = guest_ns(rtc);
	if (is_time(index) && !halted(rtc))
		time_show(rtc, now);
	value = rtc->cmos[index];
	if (index == REG_A && !halted(rtc) && subsecond(now) >= SEC_NS - UIP_NS)
		value |= A_UIP;
	if (index == REG_C) { /* reading acknowledges all */
		rtc->cmos[REG_C] = 0;
		flags_update_locked(rtc);
	}
	return value;
}

/* Registers A and B may halt the clock, which freezes the time in the registers, or start it from them. */
static void control_write_locked(struct rtc *rtc, uint8_t value)
{
	bool was_halted = halted(rtc), was_held = divider_held(rtc);
	int64_t now = guest_ns(rtc);

	if (!was_halted)
		time_show(rtc, now);
	if (rtc->index == REG_A)
		rtc->cmos[REG_A] = value & (uint8_t)~A_UIP;
	else
		rtc->cmos[REG_B] = value & B_SET ? value & (uint8_t)~B_UIE : value;
	if (was_halted && !halted(rtc))
		/* "When the divider is changed from reset to an operating time base, the first update cycle is one-half
		 * second later"; SET alone leaves the divider running. */
		time_take(rtc, was_held ? SEC_NS / 2 : subsecond(now));
}

static void cmos_write_locked(struct rtc *rtc, uint8_t value)
{
	uint8_t index = rtc->index;

	flags_update_locked(rtc);
	if (index == REG_A || index == REG_B) {
		control_write_locked(rtc, value);
	} else if (is_time(index)) {
		int64_t now = guest_ns(rtc);

		if (!halted(rtc))
			time_show(rtc, now);
		rtc->cmos[index] = value;
		if (!halted(rtc))
			time_take(rtc, subsecond(now));
	} else if (index != REG_C && index != REG_D) {
		rtc->cmos[index] = value;
	}
	flags_update_locked(rtc);
}

static void rtc_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct rtc *rtc = container_of(dev, struct rtc, device);
	uint8_t value = 0xff; /* the index cannot be read */

	if (offset == 1) {
		pthread_mutex_lock(&rtc->lock);
		value = cmos_read_locked(rtc);
		pthread_mutex_unlock(&rtc->lock);
	}
	device_store(data, len, value);
}

static void rtc_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct rtc *rtc = container_of(dev, struct rtc, device);
	uint8_t value = (uint8_t)device_load(data, len);

	pthread_mutex_lock(&rtc->lock);
	if (offset == 0)
		rtc->index = value % CMOS_BYTES; /* bit 7 masks NMIs on a PC; there are none to mask */
	else
		cmos_write_locked(rtc, value);
	pthread_mutex_unlock(&rtc->lock);
}

/* The RESET pin: interrupts off, flags clear; time and memory stay, as the battery keeps them. */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc->cmos[REG_B] &= 0xff & ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	flags_update_locked(rtc);
	rtc->cmos[REG_C] = 0;
	flags_update_locked(rtc);
	rtc->index = 0;
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_free(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, device);

	devtimer_cancel(&rtc->timer);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}

static const struct device_ops rtc_ops = {
	.width = 1,
	.read = rtc_read,
	.write = rtc_write,
	.reset = rtc_reset,
	.free = rtc_free,
};

int rtc_new(struct irq_sink *irq, struct devtimers *timers, struct rtc **out)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));

	if (!rtc)
		return -ENOMEM;
	rtc->device = (struct device){.ops = &rtc_ops, .name = "rtc"};
	rtc->irq = irq;
	rtc->clock = devtimers_clock(timers);
	rtc->cmos[REG_A] = A_DIVIDER_RUN | 6; /* 1024 Hz, as a PC's firmware sets it */
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VALID;
	rtc->seen_ns = guest_ns(rtc);
	devtimer_init(&rtc->timer, timers, rtc_expire);
	pthread_mutex_init(&rtc->lock, NULL);
	*out = rtc;
	return 0;
}

struct device *rtc_device(struct rtc *rtc)
{
	return &rtc->device;
}

/* As a PC's firmware leaves them (RBIL, CMOS.LST): sizes in KiB at 0x15, 0x17, 0x30, in 64 KiB at 0x34 and 0x5b. */
void rtc_set_memory(struct rtc *rtc, uint64_t below_4g_bytes, uint64_t above_4g_bytes)
{
	uint64_t base_kib = MIN(below_4g_bytes / 1024, 640);
	uint64_t ext_kib = below_4g_bytes > MIB ? MIN((below_4g_bytes - MIB) / 1024, 0xffff) : 0;
	uint64_t ext_64k = below_4g_bytes > 16 * MIB ? MIN((below_4g_bytes - 16 * MIB) / 0x10000, 0xffff) : 0;
	uint64_t high_64k = MIN(above_4g_bytes / 0x10000, 0xffffff);

	pthread_mutex_lock(&rtc->lock);
	device_store(&rtc->cmos[0x15], 2, base_kib);
	device_store(&rtc->cmos[0x17], 2, ext_kib);
	device_store(&rtc->cmos[0x30], 2, ext_kib);
	device_store(&rtc->cmos[0x34], 2, ext_64k);
	device_store(&rtc->cmos[0x5b], 3, high_64k);
	pthread_mutex_unlock(&rtc->lock);
}
