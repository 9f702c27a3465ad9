/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bandwidth: memory that one CPU uses alone, on its own node: read, write and copy in MB/s (10^6), median.
 *
 * The loops are our own (string instructions and plain 64-bit loads), not the C library's, which
 * chooses by CPUID: two hypervisors with other CPUID bits must run the same code to be compared.
 * Options: bytes (of each of the two buffers), rounds, node (the CPU's and the buffers'), limit.
 */
#include "topo.h"

static void fill_words(uint64_t *to, uint64_t value, size_t words)
{
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(value) : "memory");
}

static void copy_words(uint64_t *to, const uint64_t *from, size_t words)
{
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

static uint64_t read_words(const uint64_t *from, size_t words)
{
	uint64_t a = 0;

	for (size_t i = 0; i + 8 <= words; i += 8) {
		const uint64_t *p = from + i;
		__asm__ volatile("add (%1), %0\n\tadd 8(%1), %0\n\tadd 16(%1), %0\n\tadd 24(%1), %0\n\t"
				 "add 32(%1), %0\n\tadd 40(%1), %0\n\tadd 48(%1), %0\n\tadd 56(%1), %0"
				 : "+&r"(a)
				 : "r"(p)
				 : "memory", "cc");
	}
	return a;
}

static uint64_t mb_per_s(uint64_t bytes, uint64_t ns)
{
	return ns ? bytes * 1000 / ns : 0;
}

int main(int argc, char **argv)
{
	enum { MAX_ROUNDS = 1000 };
	uint64_t bytes = 32 * MIB, rounds = 7, node = 0, limit = 300;
	const struct option_def defs[] = {
		{"bytes", &bytes, NULL}, {"rounds", &rounds, NULL}, {"node", &node, NULL}, {"limit", &limit, NULL}};
	static uint64_t rate[3][MAX_ROUNDS];
	uint64_t sum = 0;

	PARSE_OPTIONS(argc, argv, "bandwidth", defs);
	if (!rounds || rounds > MAX_ROUNDS || bytes < PAGE_BYTES)
		finish(2, "bandwidth: rounds from 1 to %d, bytes at least %u", MAX_ROUNDS, PAGE_BYTES);
	set_limit(limit);
	const struct topo *t = topo_read();
	if (node >= (uint64_t)t->cpu_node_count)
		finish(2, "bandwidth: there is no node %" PRIu64 " with a CPU", node);
	const struct topo_node *n = &t->node[t->cpu_node[node]];
	bytes &= ~(uint64_t)(PAGE_BYTES - 1);
	size_t words = bytes / sizeof(uint64_t);
	pin_to_cpu(n->cpu[0]);
	uint64_t *a = alloc_on_node(bytes, n->id), *b = alloc_on_node(bytes, n->id);
	fill_words(a, 1, words);
	fill_words(b, 2, words);
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t t0 = now_ns();
		sum += read_words(a, words);
		uint64_t t1 = now_ns();
		fill_words(b, i, words);
		uint64_t t2 = now_ns();
		copy_words(b, a, words);
		uint64_t t3 = now_ns();
		rate[0][i] = mb_per_s(bytes, t1 - t0);
		rate[1][i] = mb_per_s(bytes, t2 - t1);
		rate[2][i] = mb_per_s(bytes, t3 - t2);
	}
	bool ok = sum == rounds * words && b[0] == 1 && b[words - 1] == 1;
	for (int i = 0; i < 3; i++)
		sort_u64(rate[i], rounds);
	finish(ok ? 0 : 1,
	       "bandwidth node=%d bytes=%" PRIu64 " rounds=%" PRIu64 " read=%" PRIu64 " write=%" PRIu64 " copy=%" PRIu64 " MB/s%s",
	       n->id, bytes, rounds, percentile(rate[0], rounds, 50), percentile(rate[1], rounds, 50),
	       percentile(rate[2], rounds, 50), ok ? "" : " WRONG DATA");
}
