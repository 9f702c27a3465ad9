/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of devices: one thread runs what has come due for all of them.
 *
 * `struct devtimers` owns the thread; a `struct devtimer` is embedded in a device and owned by it.
 * expire runs on that thread with no lock held, so it may take its device's lock and arm the timer
 * again. It must be short and must not block on another node.
 *
 * Locks: devtimers' own lock is inside every device's. devtimer_arm and devtimer_disarm may be called
 * with the device's lock held, devtimer_cancel must not be (T1): it waits for a running expire, which
 * may want that lock. After disarm an expire that had already begun may still run, so expire always
 * looks at the device's state and the clock again instead of trusting that it was called (T2).
 *
 * Time is the mono_ns of the clock given; with a clock of a test there is no thread and the test calls
 * devtimers_run itself.
 */
#ifndef DEVICES_DEVTIMER_H
#define DEVICES_DEVTIMER_H

#include "devices/device.h"

struct devtimers;

struct devtimer {
	void (*expire)(struct devtimer *timer);
	struct devtimers *owner;
	/* Under the owner's lock. */
	struct devtimer *next; /* ascending due_ns */
	uint64_t due_ns;
	bool armed;
};

/* Starts the thread if clock is &device_clock_host; with any other clock there is none. -ENOMEM, or why no thread could be
 * created (logged). */
CHECKED int devtimers_new(const struct device_clock *clock, struct devtimers **out);
/* Ends the thread after the expire that is running. Timers still armed never fire. NULL is allowed. */
void devtimers_free(struct devtimers *timers);

const struct device_clock *devtimers_clock(const struct devtimers *timers);

void devtimer_init(struct devtimer *timer, struct devtimers *owner, void (*expire)(struct devtimer *timer));

/* Fires once, at due_ns or soon after; a due_ns in the past fires at once. Replaces the time of a timer already armed. */
void devtimer_arm(struct devtimer *timer, uint64_t due_ns);

/* No expire begins after this returns, unless armed again; one may be running (T2). */
void devtimer_disarm(struct devtimer *timer);

/* As disarm, and waits until a running expire has returned (T1). Not from an expire. The timer may be freed afterwards if
 * nothing arms it any more. */
void devtimer_cancel(struct devtimer *timer);

/* Without a thread: runs every timer due by the clock's now, in order of their times, and those they arm that are due as well. */
void devtimers_run(struct devtimers *timers);

#endif
