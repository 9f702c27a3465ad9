/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which node has which vCPUs and which RAM, and where the guest sees that RAM.
 *
 * RAM pages are numbered without gaps (rpn), node 0's first, then node 1's and so on. The guest
 * physical address of a page is rpn << 12 below MEMMAP_HOLE; what does not fit there continues at
 * MEMMAP_HOLE_END. At most one node's range straddles the hole.
 *
 *      rpn   0                                      0xc0000
 *            | node 0 | node 1 ...        | node k     :   node k    | ... node n-1 |
 *      gpa   0                                 3 GiB   hole    4 GiB
 *
 * vCPUs are numbered likewise, node 0's first; the number is the APIC id. Built once by
 * memmap_build and read-only from then on: any thread may use it without a lock. Pure but for one
 * line of log on an error; owns nothing, allocates nothing, never touches guest RAM.
 */
#ifndef VMM_MEMMAP_H
#define VMM_MEMMAP_H

#include "base/guestmem.h"
#include "base/types.h"

#define MEMMAP_HOLE      (3 * GIB)           /* [3 GiB, 4 GiB): IOAPIC, LAPIC and PCI windows, never RAM */
#define MEMMAP_HOLE_END  (4 * GIB)           /* where RAM goes on */
#define MEMMAP_BYTES_MAX ((uint64_t)1 << 45) /* of all nodes: 32 TiB, inside the 46 bits of any server's address bus */
#define MEMMAP_BASE_END  0x9fc00u            /* end of the usable base memory, 639 KiB */

/* What a node brings, as configured. */
struct memmap_spec {
	vcpu_t vcpus;   /* 0: a memory-only node */
	uint64_t bytes; /* a multiple of BLOCK_BYTES; 0: a node of CPUs only */
};

struct memmap_node {
	uint64_t bytes;
	rpn_t first; /* its pages are [first, first + bytes >> PAGE_SHIFT) */
	vcpu_t first_vcpu, vcpus;
};

/*
 * M1 node[0].first == 0, node[i + 1].first == node[i].first + node[i].bytes / PAGE_BYTES; the last one ends at `pages`.
 * M2 the same for first_vcpu, vcpus and the total.
 * M3 every `first` is a multiple of BLOCK_PAGES: a 2 MiB block has one home.
 */
struct memmap {
	node_t nodes;
	vcpu_t vcpus;
	rpn_t pages;
	struct memmap_node node[NODES_MAX];
};

/*
 * -EINVAL: no node, a size that is not a multiple of 2 MiB (the config refuses it before, by the node's name; it is never
 * rounded, so that what was asked for is what the guest gets), a node with neither vCPU nor RAM, no vCPU in all, no RAM in all;
 * -ERANGE: over NODES_MAX, VCPUS_MAX or MEMMAP_BYTES_MAX. Logs the reason. *map is written only on success.
 */
CHECKED int memmap_build(const struct memmap_spec *spec, size_t nodes, struct memmap *map);

/* The node whose range has the page, or NODE_NONE. */
node_t memmap_home(const struct memmap *map, rpn_t page);
/* The node that runs the vCPU, or NODE_NONE. */
node_t memmap_vcpu_node(const struct memmap *map, vcpu_t vcpu);

/* The address of a page; of no meaning when page >= map->pages. */
gpa_t memmap_gpa(rpn_t page);
/* The page that holds the byte at gpa; false if it is not RAM. */
bool memmap_rpn(const struct memmap *map, gpa_t gpa, rpn_t *page);

/* The end of RAM below the hole, and the end of all RAM (4 GiB or below if nothing is above the hole). The caller checks the
 * latter against what the nodes' CPUs can address. */
gpa_t memmap_low_end(const struct memmap *map);
gpa_t memmap_end(const struct memmap *map);

/* A node's RAM as the guest addresses it: 0, 1 or 2 pieces, ascending. Returns the count. */
struct memmap_piece {
	gpa_t gpa;
	uint64_t len;
	node_t node;
};
#define MEMMAP_NODE_PIECES_MAX 2u
size_t memmap_node_pieces(const struct memmap *map, node_t node, struct memmap_piece piece[MEMMAP_NODE_PIECES_MAX]);

/* The map of the guest's address space by kind, ascending, disjoint; adjacent RAM of several nodes is one entry. The kinds are
 * ACPI's (6.3, chapter 15, "Address Range Types"), which e820, PVH and multiboot share. */
enum memmap_kind { MEMMAP_RAM = 1, MEMMAP_RESERVED = 2 };
struct memmap_e820 {
	gpa_t gpa;
	uint64_t len;
	enum memmap_kind kind;
};
#define MEMMAP_E820_MAX 5u
size_t memmap_e820(const struct memmap *map, struct memmap_e820 entry[MEMMAP_E820_MAX]);

/* guestmem over a mapping of all RAM pages in rpn order, page 0 at `host`. */
void memmap_guestmem(const struct memmap *map, uint8_t *host, struct guestmem *mem);

#endif
