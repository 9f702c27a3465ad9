/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/bus.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"

#define PIO_BYTES 0x10000u

struct bus_range {
	uint64_t base, len;
	uint64_t offset; /* the device's offset at base */
	struct device *dev;
};

struct bus_map {
	size_t n;
	struct bus_range range[BUS_RANGES_MAX]; /* ascending, disjoint */
};

struct bus {
	struct bus_map map[BUS_SPACES];
	bool frozen, quiet;
	/* Statistics only: nothing is ordered by them. */
	_Atomic uint64_t reads, writes, unmapped_reads, unmapped_writes;
	struct log_limit read_limit, write_limit;
};

static const char *const space_name[BUS_SPACES] = {[BUS_PIO] = "port", [BUS_MMIO] = "address"};

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

int bus_new(struct bus **out)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	*out = bus;
	return 0;
}

void bus_free(struct bus *bus)
{
	free(bus);
}

int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t len, uint64_t offset, struct device *dev)
{
	struct bus_map *map = &bus->map[space];
	uint64_t last = base + (len - 1);
	size_t at = 0;

	if (bus->frozen) /* B1 */
		return -EBUSY;
	if (len == 0 || last < base || (space == BUS_PIO && last >= PIO_BYTES))
		return -EINVAL;
	while (at < map->n && map->range[at].base <= last)
		at++;
	if (at > 0 && base - map->range[at - 1].base < map->range[at - 1].len)
		return -EEXIST;
	if (at > 0 && map->range[at - 1].base > base) /* the range before begins inside the new one */
		return -EEXIST;
	if (map->n == BUS_RANGES_MAX)
		return -ENOSPC;
	memmove(&map->range[at + 1], &map->range[at], (map->n - at) * sizeof(map->range[0]));
	map->range[at] = (struct bus_range){.base = base, .len = len, .offset = offset, .dev = dev};
	map->n++;
	return 0;
}

void bus_freeze(struct bus *bus)
{
	bus->frozen = true;
}

void bus_quiet(struct bus *bus)
{
	assert(!bus->frozen);
	bus->quiet = true;
}

/* The range that holds all of [addr, addr+len), or NULL. Binary search for the last range at or below addr. */
static const struct bus_range *bus_find(const struct bus *bus, enum bus_space space, uint64_t addr, uint64_t len)
{
	const struct bus_map *map = &bus->map[space];
	const struct bus_range *range;
	size_t low = 0, high = map->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->range[middle].base <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	range = &map->range[low - 1];
	if (addr - range->base >= range->len || range->len - (addr - range->base) < len)
		return NULL;
	return range;
}

bool bus_mapped(const struct bus *bus, enum bus_space space, uint64_t addr, uint64_t len)
{
	return bus_find(bus, space, addr, len) != NULL;
}

static bool len_valid(enum bus_space space, uint32_t len)
{
	return len == 1 || len == 2 || len == 4 || (len == 8 && space == BUS_MMIO);
}

/* The bytes a single operation of this device takes out of an access of len bytes. */
static uint32_t step_of(const struct device *dev, uint32_t len)
{
	return dev->ops->width && dev->ops->width < len ? dev->ops->width : len;
}

int bus_read(struct bus *bus, enum bus_space space, uint64_t addr, void *data, uint32_t len)
{
	const struct bus_range *range;
	struct device *dev;
	uint32_t step;

	if (!len_valid(space, len))
		return -EINVAL;
	memset(data, 0xff, len);
	range = bus_find(bus, space, addr, len);
	if (!range) {
		count(&bus->unmapped_reads);
		if (!bus->quiet && log_allowed(&bus->read_limit))
			log_warn("the guest reads %" PRIu32 " bytes of unmapped %s 0x%" PRIx64 "; it sees all ones", len,
				 space_name[space], addr);
		return 0;
	}
	count(&bus->reads);
	dev = range->dev;
	if (!dev->ops->read)
		return 0;
	step = step_of(dev, len);
	for (uint32_t at = 0; at < len; at += step)
		dev->ops->read(dev, range->offset + (addr - range->base) + at, (uint8_t *)data + at, step);
	return 0;
}

int bus_write(struct bus *bus, enum bus_space space, uint64_t addr, const void *data, uint32_t len)
{
	const struct bus_range *range;
	struct device *dev;
	uint32_t step;

	if (!len_valid(space, len))
		return -EINVAL;
	range = bus_find(bus, space, addr, len);
	if (!range) {
		count(&bus->unmapped_writes);
		if (!bus->quiet && log_allowed(&bus->write_limit))
			log_warn("the guest writes 0x%" PRIx64 " (%" PRIu32 " bytes) to unmapped %s 0x%" PRIx64 "; ignored",
				 device_load(data, len), len, space_name[space], addr);
		return 0;
	}
	count(&bus->writes);
	dev = range->dev;
	if (!dev->ops->write)
		return 0;
	step = step_of(dev, len);
	for (uint32_t at = 0; at < len; at += step)
		dev->ops->write(dev, range->offset + (addr - range->base) + at, (const uint8_t *)data + at, step);
	return 0;
}

void bus_stats(struct bus *bus, struct bus_stats *out)
{
	out->reads = atomic_load_explicit(&bus->reads, memory_order_relaxed);
	out->writes = atomic_load_explicit(&bus->writes, memory_order_relaxed);
	out->unmapped_reads = atomic_load_explicit(&bus->unmapped_reads, memory_order_relaxed);
	out->unmapped_writes = atomic_load_explicit(&bus->unmapped_writes, memory_order_relaxed);
}
