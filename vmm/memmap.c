/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/memmap.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"

#define HOLE_PAGE     (MEMMAP_HOLE >> PAGE_SHIFT)
#define HOLE_BYTES    (MEMMAP_HOLE_END - MEMMAP_HOLE)
#define BASE_TOP      (1 * MIB)
#define CHIPSET_START 0xfec00000u /* IOAPIC; LAPIC at 0xfee00000; what KVM on Intel needs for itself is above */

static_assert(MEMMAP_HOLE % BLOCK_BYTES == 0 && MEMMAP_HOLE_END % BLOCK_BYTES == 0, "a block is on one side of the hole");

int memmap_build(const struct memmap_spec *spec, size_t nodes, struct memmap *map)
{
	struct memmap m;
	uint64_t bytes = 0;

	memset(&m, 0, sizeof(m));
	if (nodes == 0) {
		log_error("the machine has no node: give at least one --node");
		return -EINVAL;
	}
	if (nodes > NODES_MAX) {
		log_error("the machine has %zu nodes, at most %u are possible: give fewer, larger nodes", nodes, NODES_MAX);
		return -ERANGE;
	}
	for (size_t i = 0; i < nodes; i++) {
		if (spec[i].bytes % BLOCK_BYTES) {
			log_error("node %zu: %" PRIu64 " bytes of RAM are not a multiple of 2 MiB: round mem= up to one", i,
				  spec[i].bytes);
			return -EINVAL;
		}
		if (spec[i].bytes == 0 && spec[i].vcpus == 0) {
			log_error("node %zu has neither vCPU nor RAM: give it cpus= or mem=, or leave it out", i);
			return -EINVAL;
		}
		if (spec[i].bytes > MEMMAP_BYTES_MAX - bytes) {
			log_error("the RAM of nodes 0 to %zu is over %" PRIu64 " GiB, the most that is possible: give less", i,
				  MEMMAP_BYTES_MAX / GIB);
			return -ERANGE;
		}
		if (spec[i].vcpus > VCPUS_MAX - m.vcpus) {
			log_error("nodes 0 to %zu have more than %u vCPUs, the most that is possible: give fewer", i, VCPUS_MAX);
			return -ERANGE;
		}
		m.node[i] = (struct memmap_node){
			.bytes = spec[i].bytes,
			.first = bytes >> PAGE_SHIFT,
			.first_vcpu = m.vcpus,
			.vcpus = spec[i].vcpus,
		};
		bytes += spec[i].bytes;
		m.vcpus += spec[i].vcpus;
	}
	if (m.vcpus == 0) {
		log_error("the machine has 0 vCPUs in all: give at least one node cpus=1");
		return -EINVAL;
	}
	if (bytes == 0) {
		log_error("the machine has no RAM in all: give at least one node mem=");
		return -EINVAL;
	}
	m.nodes = (node_t)nodes;
	m.pages = bytes >> PAGE_SHIFT;
	*map = m;
	return 0;
}

node_t memmap_home(const struct memmap *map, rpn_t page)
{
	node_t low = 0, high = map->nodes;

	if (page >= map->pages)
		return NODE_NONE;
	/* The last node whose range begins at or below the page; of several that begin there all but the last are empty (M1). */
	while (high - low > 1) {
		node_t mid = low + (high - low) / 2;

		if (map->node[mid].first <= page)
			low = mid;
		else
			high = mid;
	}
	return low;
}

node_t memmap_vcpu_node(const struct memmap *map, vcpu_t vcpu)
{
	for (node_t i = 0; i < map->nodes; i++)
		if (vcpu >= map->node[i].first_vcpu && vcpu - map->node[i].first_vcpu < map->node[i].vcpus)
			return i;
	return NODE_NONE;
}

gpa_t memmap_gpa(rpn_t page)
{
	return (page << PAGE_SHIFT) + (page < HOLE_PAGE ? 0 : HOLE_BYTES);
}

bool memmap_rpn(const struct memmap *map, gpa_t gpa, rpn_t *page)
{
	rpn_t p;

	if (gpa >= MEMMAP_HOLE && gpa < MEMMAP_HOLE_END)
		return false;
	p = (gpa < MEMMAP_HOLE ? gpa : gpa - HOLE_BYTES) >> PAGE_SHIFT;
	if (p >= map->pages)
		return false;
	*page = p;
	return true;
}

gpa_t memmap_low_end(const struct memmap *map)
{
	return MIN(map->pages << PAGE_SHIFT, MEMMAP_HOLE);
}

gpa_t memmap_end(const struct memmap *map)
{
	return map->pages <= HOLE_PAGE ? map->pages << PAGE_SHIFT : (map->pages << PAGE_SHIFT) + HOLE_BYTES;
}

size_t memmap_node_pieces(const struct memmap *map, node_t node, struct memmap_piece piece[MEMMAP_NODE_PIECES_MAX])
{
	const struct memmap_node *n = &map->node[node];
	rpn_t end = n->first + (n->bytes >> PAGE_SHIFT);
	rpn_t low_end = MIN(end, HOLE_PAGE);
	rpn_t high = MAX(n->first, HOLE_PAGE);
	size_t count = 0;

	if (n->first < low_end)
		piece[count++] = (struct memmap_piece){memmap_gpa(n->first), (low_end - n->first) << PAGE_SHIFT, node};
	if (high < end)
		piece[count++] = (struct memmap_piece){memmap_gpa(high), (end - high) << PAGE_SHIFT, node};
	return count;
}

size_t memmap_e820(const struct memmap *map, struct memmap_e820 entry[MEMMAP_E820_MAX])
{
	gpa_t low = memmap_low_end(map), end = memmap_end(map);
	size_t n = 0;

	entry[n++] = (struct memmap_e820){0, MEMMAP_BASE_END, MEMMAP_RAM};
	/* The end of base memory, the old video window and the firmware area with the ACPI tables: RAM, but not to be given out. */
	entry[n++] = (struct memmap_e820){MEMMAP_BASE_END, BASE_TOP - MEMMAP_BASE_END, MEMMAP_RESERVED};
	entry[n++] = (struct memmap_e820){BASE_TOP, low - BASE_TOP, MEMMAP_RAM}; /* not empty: RAM is at least one block */
	entry[n++] = (struct memmap_e820){CHIPSET_START, MEMMAP_HOLE_END - CHIPSET_START, MEMMAP_RESERVED};
	if (end > MEMMAP_HOLE_END)
		entry[n++] = (struct memmap_e820){MEMMAP_HOLE_END, end - MEMMAP_HOLE_END, MEMMAP_RAM};
	return n;
}

void memmap_guestmem(const struct memmap *map, uint8_t *host, struct guestmem *mem)
{
	gpa_t low = memmap_low_end(map), end = memmap_end(map);

	memset(mem, 0, sizeof(*mem));
	mem->range[mem->n++] = (struct guestmem_range){.gpa = 0, .len = low, .host = host, .first = 0};
	if (end > MEMMAP_HOLE_END)
		mem->range[mem->n++] = (struct guestmem_range){
			.gpa = MEMMAP_HOLE_END, .len = end - MEMMAP_HOLE_END, .host = host + low, .first = HOLE_PAGE};
}
