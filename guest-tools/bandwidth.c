/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bandwidth: memory that one CPU uses alone, on its own node: read, write and copy in MB/s (10^6).
 *
 *      read= write= copy=      median over pieces, each shorter than a timer tick: what memory gives
 *      read-all= ...           all bytes by all time: with the ticks, and whatever else took the CPU
 *
 * The loops are our own (string instructions and plain 64-bit loads), not the C library's, which
 * chooses by CPUID: two hypervisors with other CPUID bits must run the same code to be compared.
 * The second buffer lies `apart` bytes behind the end of the first: with a distance that is a power
 * of two, source and target of a copy fall on the same entry of an emulator's direct-mapped TLB, and
 * a copy is ten times slower, or is not, by the size that the TLB happens to have.
 * Options: bytes (of each of the two buffers), piece, rounds, node (the CPU's and the buffers'),
 * apart, limit.
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

/* What is measured of one kind: the rate of each piece, and the time of all of them. */
struct rates {
	uint64_t *rate;
	size_t n;
	uint64_t bytes, ns;
};

static void count(struct rates *r, uint64_t bytes, uint64_t ns)
{
	r->rate[r->n++] = mb_per_s(bytes, ns);
	r->bytes += bytes;
	r->ns += ns;
}

int main(int argc, char **argv)
{
	enum { READ, WRITE, COPY, KINDS, MOST_PIECES = 1000000 };
	uint64_t bytes = 32 * MIB, piece = MIB, rounds = 7, node = 0, apart = 37 * PAGE_BYTES + PAGE_BYTES / 2, limit = 300;
	const struct option_def defs[] = {{"bytes", &bytes, NULL}, {"piece", &piece, NULL}, {"rounds", &rounds, NULL},
					  {"node", &node, NULL},   {"apart", &apart, NULL}, {"limit", &limit, NULL}};
	struct rates r[KINDS] = {0};
	uint64_t sum = 0;

	PARSE_OPTIONS(argc, argv, "bandwidth", defs);
	if (!rounds || piece < 64 || piece > bytes || bytes > 1024 * MIB || rounds > MOST_PIECES / (bytes / piece) || apart % 64)
		finish(2, "bandwidth: rounds at least 1, bytes at most 1G, piece from 64 to bytes, apart a multiple of 64");
	set_limit(limit);
	const struct topo *t = topo_read();
	if (node >= (uint64_t)t->cpu_node_count)
		finish(2, "bandwidth: there is no node %" PRIu64 " with a CPU", node);
	const struct topo_node *n = &t->node[t->cpu_node[node]];
	piece &= ~(uint64_t)63;
	uint64_t pieces = bytes / piece, words = piece / sizeof(uint64_t);
	bytes = pieces * piece;
	pin_to_cpu(n->cpu[0]);
	uint64_t *a = alloc_on_node(2 * bytes + apart, n->id), *b = a + (bytes + apart) / sizeof(uint64_t);
	for (int k = 0; k < KINDS; k++) {
		r[k].rate = alloc_on_node(rounds * pieces * sizeof(uint64_t), n->id);
		memset(r[k].rate, 1, rounds * pieces * sizeof(uint64_t));
	}
	fill_words(a, 1, pieces * words);
	fill_words(b, 2, pieces * words);
	for (uint64_t i = 0; i < rounds; i++) {
		for (uint64_t j = 0; j < pieces; j++) {
			uint64_t t0 = now_ns();
			sum += read_words(a + j * words, words);
			count(&r[READ], piece, now_ns() - t0);
		}
		for (uint64_t j = 0; j < pieces; j++) {
			uint64_t t0 = now_ns();
			fill_words(b + j * words, i, words);
			count(&r[WRITE], piece, now_ns() - t0);
		}
		for (uint64_t j = 0; j < pieces; j++) {
			uint64_t t0 = now_ns();
			copy_words(b + j * words, a + j * words, words);
			count(&r[COPY], piece, now_ns() - t0);
		}
	}
	bool ok = sum == rounds * pieces * words && b[0] == 1 && b[pieces * words - 1] == 1;
	for (int k = 0; k < KINDS; k++)
		sort_u64(r[k].rate, r[k].n);
#define MEDIAN(k) percentile(r[k].rate, r[k].n, 50)
#define ALL(k)    mb_per_s(r[k].bytes, r[k].ns)
	finish(ok ? 0 : 1,
	       "bandwidth node=%d bytes=%" PRIu64 " rounds=%" PRIu64 " read=%" PRIu64 " write=%" PRIu64 " copy=%" PRIu64
	       " read-all=%" PRIu64 " write-all=%" PRIu64 " copy-all=%" PRIu64 " MB/s%s",
	       n->id, bytes, rounds, MEDIAN(READ), MEDIAN(WRITE), MEDIAN(COPY), ALL(READ), ALL(WRITE), ALL(COPY),
	       ok ? "" : " WRONG DATA");
}
