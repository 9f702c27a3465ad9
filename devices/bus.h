/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two address spaces of the machine's devices, ports and memory-mapped registers: which device
 * answers at an address.
 *
 * Built by one thread while the machine is put together, then frozen before the first vCPU runs.
 * From then on the ranges never change, so any thread may call bus_read and bus_write and a lookup
 * takes no lock (invariant B1: no bus_add after bus_freeze). What orders the two is the creation of
 * the threads that use the bus.
 *
 * An access that no single range holds completely is unmapped as a whole, also one that only straddles
 * the end of a range: no device sees a part of it. (So the dword at 0xcf8 never reaches the reset
 * register at 0xcf9.) An unmapped read gives all ones, an unmapped write vanishes, both are counted,
 * and one line a second is logged of each. The bus owns no device.
 */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include "devices/device.h"

enum bus_space {
	BUS_PIO,  /* ports, [0, 64 KiB) */
	BUS_MMIO, /* guest physical addresses */
	BUS_SPACES,
};

#define BUS_RANGES_MAX 128 /* a space */

struct bus;

struct bus_stats {
	uint64_t reads, writes; /* accesses that reached a device */
	uint64_t unmapped_reads, unmapped_writes;
};

/* -ENOMEM. */
CHECKED int bus_new(struct bus **out);
void bus_free(struct bus *bus); /* NULL is allowed */

/* [base, base+len) of the space is the device's offsets [offset, offset+len). The device must outlive the bus's use.
 * -EINVAL: len is 0, or the range leaves the space; -EEXIST: it overlaps another; -ENOSPC: BUS_RANGES_MAX reached;
 * -EBUSY: frozen. */
CHECKED int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t len, uint64_t offset, struct device *dev);

/* Ends the building. Call before any other thread has the bus. */
void bus_freeze(struct bus *bus);

/* No lines for unmapped accesses: an ordinary kernel probes many ports. They are counted all the same. Before bus_freeze. */
void bus_quiet(struct bus *bus);

/* One access of a vCPU, here or on another node: len 1, 2 or 4, and 8 in BUS_MMIO. Runs the device's operation in the
 * calling thread. -EINVAL: another len; nothing is done. 0 also for an unmapped access. */
CHECKED int bus_read(struct bus *bus, enum bus_space space, uint64_t addr, void *data, uint32_t len);
CHECKED int bus_write(struct bus *bus, enum bus_space space, uint64_t addr, const void *data, uint32_t len);

/* True if one range holds [addr, addr+len). */
bool bus_mapped(const struct bus *bus, enum bus_space space, uint64_t addr, uint64_t len);

/* Any thread; the counts are not one instant's. */
void bus_stats(struct bus *bus, struct bus_stats *out);

#endif
