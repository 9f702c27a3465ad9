/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/devtimer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/log.h"

struct devtimers {
	const struct device_clock *clock;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	/* Under the lock. */
	pthread_cond_t changed; /* the first timer is another one, or stop */
	pthread_cond_t idle;    /* running has become NULL */
	struct devtimer *first;
	struct devtimer *running; /* its expire is being called */
	pthread_t runner;         /* by this thread */
	bool stop;
};

static uint64_t host_mono_ns(const struct device_clock *clock)
{
	(void)clock;
	return clock_ns();
}

static uint64_t host_utc_ns(const struct device_clock *clock)
{
	struct timespec now;

	(void)clock;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

const struct device_clock device_clock_host = {.mono_ns = host_mono_ns, .utc_ns = host_utc_ns};

static void unlink_locked(struct devtimer *timer)
{
	struct devtimer **at = &timer->owner->first;

	if (!timer->armed)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->armed = false;
}

/* Runs the first timer if it is due; drops the lock around expire. */
static bool run_one_locked(struct devtimers *timers)
{
	struct devtimer *timer = timers->first;

	if (!timer || timer->due_ns > timers->clock->mono_ns(timers->clock))
		return false;
	unlink_locked(timer);
	timers->running = timer;
	timers->runner = pthread_self();
	pthread_mutex_unlock(&timers->lock);
	timer->expire(timer);
	pthread_mutex_lock(&timers->lock);
	timers->running = NULL;
	pthread_cond_broadcast(&timers->idle);
	return true;
}

static void *timer_thread(void *arg)
{
	struct devtimers *timers = arg;

	pthread_setname_np(pthread_self(), "devtimer");
	prctl(PR_SET_TIMERSLACK, 1); /* the default 50 us would be a twentieth of a 1 kHz tick */
	pthread_mutex_lock(&timers->lock);
	while (!timers->stop) {
		if (run_one_locked(timers))
			continue;
		if (timers->first) {
			uint64_t due = timers->first->due_ns;
			struct timespec until = clock_timespec(due);

			pthread_cond_timedwait(&timers->changed, &timers->lock, &until);
		} else {
			pthread_cond_wait(&timers->changed, &timers->lock);
		}
	}
	pthread_mutex_unlock(&timers->lock);
	return NULL;
}

int devtimers_new(const struct device_clock *clock, struct devtimers **out)
{
	struct devtimers *timers = calloc(1, sizeof(*timers));
	pthread_condattr_t attr;
	int err;

	if (!timers)
		return -ENOMEM;
	timers->clock = clock;
	pthread_mutex_init(&timers->lock, NULL);
	pthread_cond_init(&timers->idle, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&timers->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (clock == &device_clock_host) {
		err = pthread_create(&timers->thread, NULL, timer_thread, timers);
		if (err) {
			log_error("no thread for the devices' timers: %s; raise the limit of processes (ulimit -u)", strerror(err));
			devtimers_free(timers);
			return -err;
		}
		timers->has_thread = true;
	}
	*out = timers;
	return 0;
}

void devtimers_free(struct devtimers *timers)
{
	if (!timers)
		return;
	if (timers->has_thread) {
		pthread_mutex_lock(&timers->lock);
		timers->stop = true;
		pthread_cond_signal(&timers->changed);
		pthread_mutex_unlock(&timers->lock);
		pthread_join(timers->thread, NULL);
	}
	pthread_cond_destroy(&timers->changed);
	pthread_cond_destroy(&timers->idle);
	pthread_mutex_destroy(&timers->lock);
	free(timers);
}

const struct device_clock *devtimers_clock(const struct devtimers *timers)
{
	return timers->clock;
}

void devtimer_init(struct devtimer *timer, struct devtimers *owner, void (*expire)(struct devtimer *timer))
{
	*timer = (struct devtimer){.expire = expire, .owner = owner};
}

void devtimer_arm(struct devtimer *timer, uint64_t due_ns)
{
	struct devtimers *timers = timer->owner;
	struct devtimer **at = &timers->first;

	pthread_mutex_lock(&timers->lock);
	unlink_locked(timer);
	while (*at && (*at)->due_ns <= due_ns)
		at = &(*at)->next;
	timer->next = *at;
	timer->due_ns = due_ns;
	timer->armed = true;
	*at = timer;
	if (timers->first == timer)
		pthread_cond_signal(&timers->changed);
	pthread_mutex_unlock(&timers->lock);
}

void devtimer_disarm(struct devtimer *timer)
{
	pthread_mutex_lock(&timer->owner->lock);
	unlink_locked(timer);
	pthread_mutex_unlock(&timer->owner->lock);
}

void devtimer_cancel(struct devtimer *timer)
{
	struct devtimers *timers = timer->owner;

	pthread_mutex_lock(&timers->lock);
	unlink_locked(timer);
	while (timers->running == timer) {
		assert(!pthread_equal(timers->runner, pthread_self())); /* it would wait for itself */
		pthread_cond_wait(&timers->idle, &timers->lock);
		unlink_locked(timer); /* the expire that was running may have armed it */
	}
	pthread_mutex_unlock(&timers->lock);
}

void devtimers_run(struct devtimers *timers)
{
	assert(!timers->has_thread);
	pthread_mutex_lock(&timers->lock);
	while (run_one_locked(timers))
		;
	pthread_mutex_unlock(&timers->lock);
}
