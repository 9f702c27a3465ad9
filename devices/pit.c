/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define CHANNELS 3u

/* Control word. */
#define CW_BCD           0x01u
#define CW_MODE(cw)      ((cw) >> 1 & 7)
#define CW_ACCESS(cw)    ((cw) >> 4 & 3)
#define CW_CHANNEL(cw)   ((cw) >> 6)
#define CW_READ_BACK     3u    /* as a channel */
#define READ_BACK_NCOUNT 0x20u /* 0: latch the count */
#define READ_BACK_NSTAT  0x10u /* 0: latch the status */

#define STATUS_OUT  0x80u
#define STATUS_NULL 0x40u /* a count was written, or is about to be, and is not loaded yet */

/* Port 0x61. */
#define B_GATE     0x01u
#define B_MASK     0x0fu /* gate, speaker, and two enables that are only kept */
#define B_REFRESH  0x10u
#define B_OUT      0x20u
#define REFRESH_NS 15085u

enum access { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

/* The life of a count: control word (stopped, null) -> count written (loaded) -> started at start_ns. Modes 1 and 5 start
 * with the gate's rising edge, the others when loaded. A gate that is low holds modes 0, 2, 3 and 4 at `held` clocks. */
struct channel {
	uint8_t mode;    /* 0 to 5 */
	uint8_t control; /* bits 0 to 5 of the control word, for the status */
	bool bcd;
	enum access access;
	bool gate;
	bool loaded;    /* a whole count is there */
	bool started;   /* it counts, or is held by the gate */
	bool holding;   /* by the gate */
	uint32_t count; /* clocks, 1 to 65536 (10000 in BCD) */
	uint64_t start_ns;
	uint64_t held; /* clocks done when the gate went low */
	uint8_t write_low;
	bool write_high_next, read_high_next;
	uint8_t latched_n, latched[2], latched_at; /* a latched count, bytes still to be read from latched_at */
	bool status_latched;
	uint8_t status;
};

struct pit {
	struct device device;
	struct irq_sink *irq;
	const struct device_clock *clock;
	struct devtimer timer;
	pthread_mutex_t lock;
	/* Under the lock. */
	struct channel channel[CHANNELS];
	uint8_t port_b;
	bool line;           /* channel 0's output as the IOAPIC sees it */
	uint64_t edges_seen; /* edges of channel 0 already delivered, since start_ns */
};

static uint64_t ns_to_clocks(uint64_t ns)
{
	return ns / NS_PER_SEC * PIT_HZ + ns % NS_PER_SEC * PIT_HZ / NS_PER_SEC;
}

/* The first nanosecond at which so many clocks are over. */
static uint64_t clocks_to_ns(uint64_t clocks)
{
	return clocks / PIT_HZ * NS_PER_SEC + (clocks % PIT_HZ * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ;
}

/* Clocks counted so far. */
static uint64_t elapsed(const struct channel *ch, uint64_t now)
{
	if (!ch->started)
		return 0;
	return ch->holding ? ch->held : ns_to_clocks(now - ch->start_ns);
}

static uint16_t to_bcd(uint32_t n)
{
	return (uint16_t)(n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

static uint32_t from_bcd(uint16_t n)
{
	return (n >> 12) * 1000u + (n >> 8 & 15) * 100u + (n >> 4 & 15) * 10u + (n & 15);
}

/* The counting element as it is read. Modes 2 and 3 reload; the others wrap round after the terminal count. */
static uint16_t count_now(const struct channel *ch, uint64_t now)
{
	uint32_t modulus = ch->bcd ? 10000 : 0x10000, value;
	uint64_t done = elapsed(ch, now);

	if (ch->mode == 2) {
		value = ch->count - (uint32_t)(done % ch->count);
	} else if (ch->mode ==
		   3) { /* down by two, twice a period; an odd count starts at one less, its high half is a clock longer */
		uint32_t phase = (uint32_t)(done % ch->count), high = (ch->count + 1) / 2;

		value = (ch->count & ~1u) - 2 * (phase < high ? phase : phase - high);
	} else {
		value = (ch->count + modulus - (uint32_t)(done % modulus)) % modulus;
	}
	return ch->bcd ? to_bcd(value) : (uint16_t)value;
}

static bool out_now(const struct channel *ch, uint64_t now)
{
	uint64_t done = elapsed(ch, now);

	switch (ch->mode) {
	case 0:
		return ch->started && done >= ch->count;
	case 1:
		return !ch->started || done >= ch->count;
	case 2:
		return !ch->started || ch->holding || done % ch->count != ch->count - 1;
	case 3:
		return !ch->started || ch->holding || done % ch->count < (ch->count + 1) / 2;
	default: /* 4 and 5: one clock low at the terminal count */
		return !ch->started || done != ch->count;
	}
}

static void start(struct channel *ch, uint64_t now)
{
	ch->started = true;
	ch->start_ns = now;
	ch->held = 0;
	ch->holding = !ch->gate && ch->mode != 1 && ch->mode != 5;
}

static void gate_set(struct channel *ch, bool gate, uint64_t now)
{
	bool rises = gate && !ch->gate, falls = !gate && ch->gate;

	ch->gate = gate;
	if (!ch->loaded)
		return;
	if (ch->mode == 1 || ch->mode == 5) {
		if (rises)
			start(ch, now);
		return;
	}
	if (falls) {
		ch->held = elapsed(ch, now);
		ch->holding = true;
	} else if (rises) {
		ch->holding = false;
		/* Modes 2 and 3 begin a new period, 0 and 4 go on where they were. */
		ch->start_ns = ch->mode == 2 || ch->mode == 3 ? now : now - MIN(clocks_to_ns(ch->held), now);
	}
}

static void latch_count(struct channel *ch, uint64_t now)
{
	uint16_t value = count_now(ch, now);

	if (ch->latched_n) /* the first latch counts until it is read */
		return;
	ch->latched_at = 0;
	ch->latched_n = ch->access == ACCESS_BOTH ? 2 : 1;
	ch->latched[0] = (uint8_t)(ch->access == ACCESS_HIGH ? value >> 8 : value);
	ch->latched[1] = (uint8_t)(value >> 8);
}

static void latch_status(struct channel *ch, uint64_t now)
{
	if (ch->status_latched)
		return;
	ch->status_latched = true;
	ch->status = ch->control | (out_now(ch, now) ? STATUS_OUT : 0) | (ch->loaded ? 0 : STATUS_NULL);
}

static void control_write(struct pit *pit, uint8_t cw, uint64_t now)
{
	struct channel *ch;

	if (CW_CHANNEL(cw) == CW_READ_BACK) {
		for (unsigned i = 0; i < CHANNELS; i++) {
			if (!(cw & 2u << i))
				continue;
			if (!(cw & READ_BACK_NCOUNT))
				latch_count(&pit->channel[i], now);
			if (!(cw & READ_BACK_NSTAT))
				latch_status(&pit->channel[i], now);
		}
		return;
	}
	ch = &pit->channel[CW_CHANNEL(cw)];
	if (CW_ACCESS(cw) == ACCESS_LATCH) {
		latch_count(ch, now);
		return;
	}
	*ch = (struct channel){
		.mode = CW_MODE(cw) > 5 ? CW_MODE(cw) - 4 : CW_MODE(cw), /* bit 2 does not count in modes 2 and 3 */
		.control = cw & 0x3f,
		.bcd = cw & CW_BCD,
		.access = (enum access)CW_ACCESS(cw),
		.gate = ch->gate,
		.count = ch->count,
	};
}

static void count_load(struct channel *ch, uint16_t value, uint64_t now)
{
	uint32_t count = ch->bcd ? from_bcd(value) : value;

	if (count == 0)
		count = ch->bcd ? 10000 : 0x10000;
	if (count == 1 && (ch->mode == 2 || ch->mode == 3)) /* illegal there: 2 is the least */
		count = 2;
	ch->count = count;
	ch->loaded = true;
	if (ch->mode != 1 && ch->mode != 5)
		start(ch, now);
}

static void count_write(struct channel *ch, uint8_t value, uint64_t now)
{
	switch (ch->access) {
	case ACCESS_LOW:
		count_load(ch, value, now);
		break;
	case ACCESS_HIGH:
		count_load(ch, (uint16_t)(value << 8), now);
		break;
	case ACCESS_BOTH:
	case ACCESS_LATCH: /* before any control word */
		if (ch->write_high_next) {
			count_load(ch, (uint16_t)(value << 8 | ch->write_low), now);
		} else {
			ch->write_low = value;
			if (ch->mode == 0) { /* the first byte of two stops the count and lowers the output */
				ch->started = false;
				ch->loaded = false;
			}
		}
		ch->write_high_next = !ch->write_high_next;
		break;
	}
}

static uint8_t count_read(struct channel *ch, uint64_t now)
{
	uint16_t value;
	bool high;

	if (ch->status_latched) {
		ch->status_latched = false;
		return ch->status;
	}
	if (ch->latched_n) {
		ch->latched_n--;
		return ch->latched[ch->latched_at++];
	}
	value = count_now(ch, now);
	high = ch->access == ACCESS_HIGH || (ch->access == ACCESS_BOTH && ch->read_high_next);
	if (ch->access == ACCESS_BOTH)
		ch->read_high_next = !ch->read_high_next;
	return (uint8_t)(high ? value >> 8 : value);
}

static void line_set(struct pit *pit, bool line)
{
	if (line == pit->line)
		return;
	pit->line = line;
	pit->irq->set(pit->irq, PIT_GSI, line);
}

/* Rising edges of channel 0's output since its count started. Its gate is always high. */
static uint64_t edges_now(const struct channel *ch, uint64_t now)
{
	uint64_t done = elapsed(ch, now);

	if (!ch->started)
		return 0;
	switch (ch->mode) {
	case 0:
		return done >= ch->count;
	case 2:
	case 3:
		return done / ch->count;
	default: /* 4: low for the clock of the terminal count */
		return done > ch->count;
	}
}

/* When edge number n (from 1) comes, in clocks since the start; 0: never. */
static uint64_t edge_clock(const struct channel *ch, uint64_t n)
{
	if (!ch->started)
		return 0;
	switch (ch->mode) {
	case 0:
		return n == 1 ? ch->count : 0;
	case 2:
	case 3:
		return n * ch->count;
	default:
		return n == 1 ? ch->count + 1 : 0;
	}
}

/* Brings the line of GSI 2 up to date and arms the timer for the next edge. Edges that passed together are one. */
static void line_update_locked(struct pit *pit, uint64_t now)
{
	struct channel *ch = &pit->channel[0];
	uint64_t edges = edges_now(ch, now), next, due;

	if (edges > pit->edges_seen) {
		line_set(pit, false);
		line_set(pit, true);
		pit->edges_seen = edges;
	} else if (ch->mode == 0 && !edges) {
		line_set(pit, false);
	}
	next = edge_clock(ch, edges + 1);
	if (!next) {
		devtimer_disarm(&pit->timer);
		return;
	}
	due = ch->start_ns + clocks_to_ns(next);
	if (ch->mode == 2 || ch->mode == 3) /* a one-shot costs the guest an exit each time anyway */
		due = MAX(due, now + NS_PER_SEC / PIT_INTERRUPTS_HZ);
	devtimer_arm(&pit->timer, due);
}

static void pit_expire(struct devtimer *timer)
{
	struct pit *pit = container_of(timer, struct pit, timer);

	pthread_mutex_lock(&pit->lock);
	line_update_locked(pit, pit->clock->mono_ns(pit->clock));
	pthread_mutex_unlock(&pit->lock);
}

static void pit_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct pit *pit = container_of(dev, struct pit, device);
	uint8_t value = 0xff; /* the control word cannot be read */
	uint64_t now;

	pthread_mutex_lock(&pit->lock);
	now = pit->clock->mono_ns(pit->clock);
	if (offset < CHANNELS)
		value = count_read(&pit->channel[offset], now);
	else if (offset == PIT_OFFSET_B)
		value = pit->port_b | (now / REFRESH_NS & 1 ? B_REFRESH : 0) | (out_now(&pit->channel[2], now) ? B_OUT : 0);
	pthread_mutex_unlock(&pit->lock);
	device_store(data, len, value);
}

static void pit_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct pit *pit = container_of(dev, struct pit, device);
	uint8_t value = (uint8_t)device_load(data, len);
	uint64_t now, started;
	bool was_started;

	pthread_mutex_lock(&pit->lock);
	now = pit->clock->mono_ns(pit->clock);
	was_started = pit->channel[0].started;
	started = pit->channel[0].start_ns;
	if (offset < CHANNELS) {
		count_write(&pit->channel[offset], value, now);
	} else if (offset == PIT_OFFSET_B) {
		pit->port_b = value & B_MASK;
		gate_set(&pit->channel[2], value & B_GATE, now);
	} else {
		control_write(pit, value, now);
	}
	if (pit->channel[0].started != was_started || pit->channel[0].start_ns != started)
		pit->edges_seen = 0;
	line_update_locked(pit, now);
	pthread_mutex_unlock(&pit->lock);
}

/* The datasheet leaves the state after power-on open; here nothing counts until it is programmed. */
static void pit_reset(struct device *dev)
{
	struct pit *pit = container_of(dev, struct pit, device);

	pthread_mutex_lock(&pit->lock);
	for (unsigned i = 0; i < CHANNELS; i++)
		pit->channel[i] = (struct channel){.access = ACCESS_BOTH, .count = 0x10000, .gate = i != 2};
	pit->port_b = 0;
	pit->edges_seen = 0;
	line_set(pit, false);
	devtimer_disarm(&pit->timer);
	pthread_mutex_unlock(&pit->lock);
}

static void pit_free(struct device *dev)
{
	struct pit *pit = container_of(dev, struct pit, device);

	devtimer_cancel(&pit->timer);
	pthread_mutex_destroy(&pit->lock);
	free(pit);
}

static const struct device_ops pit_ops = {
	.width = 1,
	.read = pit_read,
	.write = pit_write,
	.reset = pit_reset,
	.free = pit_free,
};

int pit_new(struct irq_sink *irq, struct devtimers *timers, struct pit **out)
{
	struct pit *pit = calloc(1, sizeof(*pit));

	if (!pit)
		return -ENOMEM;
	pit->device = (struct device){.ops = &pit_ops, .name = "pit"};
	pit->irq = irq;
	pit->clock = devtimers_clock(timers);
	devtimer_init(&pit->timer, timers, pit_expire);
	pthread_mutex_init(&pit->lock, NULL);
	pit_reset(&pit->device);
	*out = pit;
	return 0;
}

struct device *pit_device(struct pit *pit)
{
	return &pit->device;
}
