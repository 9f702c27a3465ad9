/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/power.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define RESET_CONTROL_MASK 0x0eu /* the bits that exist: system reset, reset CPU, full reset */
#define RESET_CONTROL_CPU  0x04u
#define KBD_STATUS         0x1du /* output full, self test passed, last write was a command, not inhibited; input empty */
#define KBD_PULSE_RESET    0xfeu
#define PORT_A_RESET       0x01u
#define PORT_A_A20         0x02u

struct power {
	struct device device;
	struct machine_sink *machine;
	pthread_mutex_t lock;
	/* Under the lock. */
	uint8_t control, port_a, post;
};

static void power_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct power *power = container_of(dev, struct power, device);
	uint8_t value = 0xff;

	pthread_mutex_lock(&power->lock);
	switch ((enum power_offset)offset) {
	case POWER_RESET_CONTROL:
		value = power->control;
		break;
	case POWER_KBD_COMMAND:
		value = KBD_STATUS;
		break;
	case POWER_PORT_A:
		value = power->port_a;
		break;
	case POWER_POST:
		value = power->post;
		break;
	case POWER_KBD_DATA:
	case POWER_OFFSETS:
		break;
	}
	pthread_mutex_unlock(&power->lock);
	device_store(data, len, value);
}

static void power_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct power *power = container_of(dev, struct power, device);
	uint8_t value = (uint8_t)device_load(data, len);
	bool request = false;

	pthread_mutex_lock(&power->lock);
	switch ((enum power_offset)offset) {
	case POWER_RESET_CONTROL:
		request = value & ~power->control & RESET_CONTROL_CPU;
		power->control = value & RESET_CONTROL_MASK;
		break;
	case POWER_KBD_COMMAND:
		request = value == KBD_PULSE_RESET;
		break;
	case POWER_PORT_A:
		request = value & ~power->port_a & PORT_A_RESET;
		power->port_a = value | PORT_A_A20;
		break;
	case POWER_POST:
		power->post = value;
		break;
	case POWER_KBD_DATA:
	case POWER_OFFSETS:
		break;
	}
	pthread_mutex_unlock(&power->lock);
	if (request)
		power->machine->request(power->machine, MACHINE_RESET, 0);
}

static void power_reset(struct device *dev)
{
	struct power *power = container_of(dev, struct power, device);

	pthread_mutex_lock(&power->lock);
	power->control = 0;
	power->port_a = PORT_A_A20;
	power->post = 0;
	pthread_mutex_unlock(&power->lock);
}

static void power_free(struct device *dev)
{
	struct power *power = container_of(dev, struct power, device);

	pthread_mutex_destroy(&power->lock);
	free(power);
}

static const struct device_ops power_ops = {
	.width = 1,
	.read = power_read,
	.write = power_write,
	.reset = power_reset,
	.free = power_free,
};

int power_new(struct machine_sink *machine, struct power **out)
{
	struct power *power = calloc(1, sizeof(*power));

	if (!power)
		return -ENOMEM;
	power->device = (struct device){.ops = &power_ops, .name = "power"};
	power->machine = machine;
	pthread_mutex_init(&power->lock, NULL);
	power_reset(&power->device);
	*out = power;
	return 0;
}

struct device *power_device(struct power *power)
{
	return &power->device;
}
