/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/acpipm.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"

/* Bytes of the block. */
enum { REG_STATUS = 0, REG_ENABLE = 2, REG_CONTROL = 4, REG_TIMER = 8 };

/* PM1 status and enable, 4.8.3.1: the same bits in both. */
#define PM1_TMR    0x0001u
#define PM1_GBL    0x0020u
#define PM1_PWRBTN 0x0100u
#define PM1_ENABLE (PM1_TMR | PM1_GBL | PM1_PWRBTN)

/* PM1 control, 4.8.3.2. */
#define CNT_SCI_EN     0x0001u
#define CNT_KEPT       0x1c03u /* SLP_TYP, BM_RLD, SCI_EN; GBL_RLS and SLP_EN read 0 */
#define CNT_SLP_TYP(c) ((c) >> 10 & 7)
#define CNT_SLP_EN     0x2000u

struct acpipm {
	struct device device;
	struct irq_sink *irq;
	struct machine_sink *machine;
	const struct device_clock *clock;
	struct devtimer timer;
	struct log_limit limit;
	uint64_t start_ns; /* the PM timer was 0 */
	pthread_mutex_t lock;
	/* Under the lock. */
	uint16_t status; /* without TMR_STS, which is computed */
	uint16_t enable, control;
	uint64_t carries; /* changes of the PM timer's top bit that the guest has acknowledged */
	bool line;
};

static uint64_t ticks_now(const struct acpipm *pm)
{
	uint64_t ns = pm->clock->mono_ns(pm->clock) - pm->start_ns;

	return ns / NS_PER_SEC * ACPIPM_TMR_HZ + ns % NS_PER_SEC * ACPIPM_TMR_HZ / NS_PER_SEC;
}

/* TMR_STS is set when the top bit of the timer changes (4.8.3.1.1), every 2^31 ticks, ten minutes. */
static uint16_t status_now(const struct acpipm *pm)
{
	return pm->status | (ticks_now(pm) >> 31 != pm->carries ? PM1_TMR : 0);
}

static void line_update_locked(struct acpipm *pm)
{
	bool line = status_now(pm) & pm->enable;

	if (line != pm->line) {
		pm->line = line;
		pm->irq->set(pm->irq, ACPIPM_GSI, line);
	}
	if (pm->enable & PM1_TMR && !line) {
		uint64_t carry = (pm->carries + 1) << 31;

		devtimer_arm(&pm->timer, pm->start_ns + carry / ACPIPM_TMR_HZ * NS_PER_SEC +
						 (carry % ACPIPM_TMR_HZ * NS_PER_SEC + ACPIPM_TMR_HZ - 1) / ACPIPM_TMR_HZ);
	} else {
		devtimer_disarm(&pm->timer);
	}
}

static void acpipm_expire(struct devtimer *timer)
{
	struct acpipm *pm = container_of(timer, struct acpipm, timer);

	pthread_mutex_lock(&pm->lock);
	line_update_locked(pm);
	pthread_mutex_unlock(&pm->lock);
}

/* All registers are laid out as the guest sees them and the access takes its part, so any width at any offset is right and
 * the bytes of the timer are of one instant. */
static void acpipm_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct acpipm *pm = container_of(dev, struct acpipm, device);
	uint8_t block[ACPIPM_PORTS] = {0};

	pthread_mutex_lock(&pm->lock);
	device_store(block + REG_STATUS, 2, status_now(pm));
	device_store(block + REG_ENABLE, 2, pm->enable);
	device_store(block + REG_CONTROL, 2, pm->control);
	device_store(block + REG_TIMER, 4, ticks_now(pm));
	pthread_mutex_unlock(&pm->lock);
	memcpy(data, block + offset, len);
}

/* The 16 bits at reg of a write; mask: which of them were written. */
static uint16_t written(unsigned reg, uint64_t offset, const uint8_t *data, uint32_t len, uint16_t *mask)
{
	uint16_t value = 0;

	*mask = 0;
	for (unsigned i = 0; i < 2; i++) {
		if (reg + i < offset || reg + i >= offset + len)
			continue;
		value |= (uint16_t)(data[reg + i - offset] << 8 * i);
		*mask |= (uint16_t)(0xff << 8 * i);
	}
	return value;
}

static void acpipm_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct acpipm *pm = container_of(dev, struct acpipm, device);
	uint16_t value, mask;
	bool sleep = false;

	pthread_mutex_lock(&pm->lock);
	value = written(REG_STATUS, offset, data, len, &mask); /* ones clear */
	pm->status &= (uint16_t)~value;
	if (value & PM1_TMR)
		pm->carries = ticks_now(pm) >> 31;
	value = written(REG_ENABLE, offset, data, len, &mask);
	pm->enable = (uint16_t)((pm->enable & ~mask) | (value & PM1_ENABLE));
	value = written(REG_CONTROL, offset, data, len, &mask);
	if (mask) {
		sleep = value & CNT_SLP_EN;
		pm->control = (uint16_t)((pm->control & ~mask) | (value & CNT_KEPT) | CNT_SCI_EN);
		value = pm->control;
	}
	line_update_locked(pm);
	pthread_mutex_unlock(&pm->lock);
	if (!sleep)
		return;
	if (CNT_SLP_TYP(value) == ACPIPM_SLP_TYP_S5)
		pm->machine->request(pm->machine, MACHINE_POWEROFF, 0);
	else if (log_allowed(&pm->limit))
		log_warn("acpi: the guest asks for sleep type %u, which this machine does not have; ignored (power-off is type %u)",
			 CNT_SLP_TYP(value), ACPIPM_SLP_TYP_S5);
}

static void acpipm_reset(struct device *dev)
{
	struct acpipm *pm = container_of(dev, struct acpipm, device);

	pthread_mutex_lock(&pm->lock);
	pm->status = pm->enable = 0;
	pm->control = CNT_SCI_EN;
	pm->carries = ticks_now(pm) >> 31;
	line_update_locked(pm);
	pthread_mutex_unlock(&pm->lock);
}

static void acpipm_free(struct device *dev)
{
	struct acpipm *pm = container_of(dev, struct acpipm, device);

	devtimer_cancel(&pm->timer);
	pthread_mutex_destroy(&pm->lock);
	free(pm);
}

static const struct device_ops acpipm_ops = {
	.read = acpipm_read,
	.write = acpipm_write,
	.reset = acpipm_reset,
	.free = acpipm_free,
};

int acpipm_new(struct irq_sink *irq, struct machine_sink *machine, struct devtimers *timers, struct acpipm **out)
{
	struct acpipm *pm = calloc(1, sizeof(*pm));

	if (!pm)
		return -ENOMEM;
	pm->device = (struct device){.ops = &acpipm_ops, .name = "acpipm"};
	pm->irq = irq;
	pm->machine = machine;
	pm->clock = devtimers_clock(timers);
	pm->start_ns = pm->clock->mono_ns(pm->clock);
	pm->control = CNT_SCI_EN;
	devtimer_init(&pm->timer, timers, acpipm_expire);
	pthread_mutex_init(&pm->lock, NULL);
	*out = pm;
	return 0;
}

struct device *acpipm_device(struct acpipm *pm)
{
	return &pm->device;
}

void acpipm_power_button(struct acpipm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= PM1_PWRBTN;
	line_update_locked(pm);
	pthread_mutex_unlock(&pm->lock);
}
