/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/debugexit.h"

#include <errno.h>
#include <stdlib.h>

struct debugexit {
	struct device device;
	struct machine_sink *machine;
};

static void debugexit_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	(void)dev;
	(void)offset;
	device_store(data, len, 0);
}

static void debugexit_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct debugexit *debugexit = container_of(dev, struct debugexit, device);

	(void)offset;
	debugexit->machine->request(debugexit->machine, MACHINE_EXIT, (uint32_t)device_load(data, len) << 1 | 1);
}

static void debugexit_free(struct device *dev)
{
	free(container_of(dev, struct debugexit, device));
}

static const struct device_ops debugexit_ops = {
	.read = debugexit_read,
	.write = debugexit_write,
	.free = debugexit_free,
};

int debugexit_new(struct machine_sink *machine, struct debugexit **out)
{
	struct debugexit *debugexit = calloc(1, sizeof(*debugexit));

	if (!debugexit)
		return -ENOMEM;
	debugexit->device = (struct device){.ops = &debugexit_ops, .name = "debugexit"};
	debugexit->machine = machine;
	*out = debugexit;
	return 0;
}

struct device *debugexit_device(struct debugexit *debugexit)
{
	return &debugexit->device;
}
