/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqread: how fast a CPU of one node reads memory of another in sequence.
 *
 * The memory is node A's, whose CPU wrote it; no CPU of another node has touched it. A CPU of node B then reads every word of it,
 * ascending, a part after the other. Printed: kB/s (10^3), the median over parts, of all, and of the best. The bytes are checked.
 * Options: bytes (of a part; at least 2M, the first 2 MiB block of a part may be shared with its neighbour), parts, home (index of
 * node A), from (of node B; among the nodes that have CPUs), limit.
 */
#include "topo.h"

#define PARTS_MAX 1000u

static void fill(uint64_t *to, size_t words, uint64_t tag)
{
	for (size_t i = 0; i < words; i++)
		to[i] = tag + i;
}

static uint64_t add_up(const uint64_t *from, size_t words)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < words; i += 8) {
		const uint64_t *p = from + i;
		__asm__ volatile("add (%1), %0\n\tadd 8(%1), %0\n\tadd 16(%1), %0\n\tadd 24(%1), %0\n\t"
				 "add 32(%1), %0\n\tadd 40(%1), %0\n\tadd 48(%1), %0\n\tadd 56(%1), %0"
				 : "+&r"(sum)
				 : "r"(p)
				 : "memory", "cc");
	}
	return sum;
}

int main(int argc, char **argv)
{
	uint64_t bytes = 4 * MIB, parts = 8, home = 0, from = UINT64_MAX, limit = 300;
	const struct option_def defs[] = {{"bytes", &bytes, NULL},
					  {"parts", &parts, NULL},
					  {"home", &home, NULL},
					  {"from", &from, NULL},
					  {"limit", &limit, NULL}};
	uint64_t rate[PARTS_MAX], all_ns = 0, wrong = 0;

	PARSE_OPTIONS(argc, argv, "seqread", defs);
	if (!parts || parts > PARTS_MAX || bytes < 2 * MIB || bytes % PAGE_BYTES || bytes > 1024 * MIB / parts)
		finish(2, "seqread: parts from 1 to %u, bytes in pages from 2M, all of them at most 1G", PARTS_MAX);
	set_limit(limit);
	const struct topo *topo = topo_read();
	uint64_t nodes = (uint64_t)topo->cpu_node_count, words = bytes / sizeof(uint64_t);
	if (from == UINT64_MAX)
		from = nodes > 1 ? 1 : 0;
	if (home >= nodes || from >= nodes)
		finish(2, "seqread: only %" PRIu64 " nodes have CPUs", nodes);
	const struct topo_node *a = &topo->node[topo->cpu_node[home]], *b = &topo->node[topo->cpu_node[from]];
	pin_to_cpu(a->cpu[0]);
	uint64_t *memory = alloc_on_node(parts * bytes, a->id);
	fill(memory, parts * words, 1);
	pin_to_cpu(b->cpu[0]);
	for (uint64_t i = 0; i < parts; i++) {
		uint64_t begin = now_ns(), sum = add_up(memory + i * words, words), ns = now_ns() - begin;
		/* The sum of tag .. tag + words - 1. */
		uint64_t first = 1 + i * words;
		wrong += sum != words * first + words / 2 * (words - 1);
		rate[i] = ns ? bytes * 1000000 / ns : 0;
		all_ns += ns;
	}
	sort_u64(rate, parts);
	finish(wrong ? 1 : 0,
	       "seqread home=%d from=%d bytes=%" PRIu64 " parts=%" PRIu64 " read=%" PRIu64 " all=%" PRIu64 " best=%" PRIu64
	       " kB/s%s%s",
	       a->id, b->id, bytes, parts, percentile(rate, parts, 50), all_ns ? parts * bytes * 1000000 / all_ns : 0,
	       rate[parts - 1], wrong ? " WRONG DATA" : "", a == b ? " (one node: nothing is remote)" : "");
}
