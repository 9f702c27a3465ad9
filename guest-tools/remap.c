/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remap: a program changes its page tables on one node's CPU and uses them on another's.
 *
 * Each round: on CPU a a region is filled and read, so that a has walked its page tables; then the program moves to CPU b, which
 * swaps the region's pages for others (mremap: the same page tables, other frames) and writes them; back on a, each page must show
 * what b wrote. A node that keeps translations of page tables which another node has changed reads the old frames.
 * Options: pages, rounds, seconds, limit.
 */
#include <sys/mman.h>

#include "common.h"
#include "topo.h"

static uint64_t mark(uint64_t round, uint64_t page, int side)
{
	return round << 32 | page << 8 | (uint64_t)side | 1u << 7;
}

int main(int argc, char **argv)
{
	uint64_t pages = 16, rounds = 20, seconds = 20, limit = 300, wrong = 0, done = 0;
	const struct option_def defs[] = {
		{"pages", &pages, NULL}, {"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"limit", &limit, NULL}};
	struct cpu_pair pairs[MAX_NODES];

	PARSE_OPTIONS(argc, argv, "remap", defs);
	set_limit(limit);
	const struct topo *t = topo_read();
	if (!topo_pairs(t, pairs, MAX_NODES))
		finish(EXIT_SKIP, "remap: one CPU");
	size_t bytes = pages * PAGE_BYTES;
	uint8_t *region = alloc_on_node(bytes, -1), *other = alloc_on_node(bytes, -1);
	uint64_t end = now_ns() + seconds * 1000000000u;

	for (uint64_t r = 1; r <= rounds && now_ns() < end; r++, done++) {
		pin_to_cpu(pairs[0].a);
		for (uint64_t p = 0; p < pages; p++)
			*(volatile uint64_t *)(region + p * PAGE_BYTES) = mark(r, p, 0);
		pin_to_cpu(pairs[0].b);
		for (uint64_t p = 0; p < pages; p++)
			*(volatile uint64_t *)(other + p * PAGE_BYTES) = mark(r, p, 1);
		/* The other region's frames come to these addresses; the frames that were there go back to the kernel. */
		if (mremap(other, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, region) != region)
			finish(1, "remap: mremap failed");
		other = alloc_on_node(bytes, -1);
		pin_to_cpu(pairs[0].a);
		for (uint64_t p = 0; p < pages; p++)
			wrong += *(volatile uint64_t *)(region + p * PAGE_BYTES) != mark(r, p, 1);
	}
	finish(wrong || !done ? 1 : 0, "remap: cpus=%d,%d %s rounds=%" PRIu64 " pages=%" PRIu64 " wrong=%" PRIu64, pairs[0].a,
	       pairs[0].b, pairs[0].remote ? "remote" : "local", done, pages, wrong);
}
