/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memfill: fills the free RAM from a CPU of one node, checks it from a CPU of another, then the
 * reverse with another pattern. Every word depends on its position and the pass, so a page that was
 * lost, stale, or delivered to the wrong place shows.
 *
 * Options: margin (bytes of MemAvailable left alone, 64M), max (at most so many bytes; 0: no bound),
 * passes (2), limit (seconds). With one CPU node the same node writes and checks.
 */
#include "topo.h"

#define WORDS_PER_PAGE (PAGE_BYTES / sizeof(uint64_t))
#define PROGRESS_BYTES (256 * MIB)

/* Splitmix's finaliser: cheap, and no two positions of one pass agree. */
static uint64_t pattern(uint64_t word, uint64_t pass)
{
	uint64_t x = word + (pass << 56) + 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void progress(const char *what, size_t done, size_t bytes)
{
	if (done && done % PROGRESS_BYTES == 0) {
		printf("memfill: %s %" PRIu64 " of %" PRIu64 " MiB\n", what, (uint64_t)done / MIB, (uint64_t)bytes / MIB);
		fflush(stdout);
	}
}

static void fill(uint64_t *p, size_t bytes, uint64_t pass)
{
	for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
		size_t first = at / sizeof(*p);
		progress("filled", at, bytes);
		for (size_t i = 0; i < WORDS_PER_PAGE; i++)
			p[first + i] = pattern(first + i, pass);
	}
}

/* How many words are wrong; the first few are printed, as (offset, found, expected). */
static uint64_t check(const uint64_t *p, size_t bytes, uint64_t pass)
{
	uint64_t errors = 0;

	for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
		size_t first = at / sizeof(*p);
		progress("checked", at, bytes);
		for (size_t i = 0; i < WORDS_PER_PAGE; i++) {
			uint64_t want = pattern(first + i, pass), have = p[first + i];
			if (have == want)
				continue;
			if (errors++ < 8)
				printf("memfill: at offset %#zx found %#" PRIx64 ", expected %#" PRIx64 "\n", (first + i) * 8, have,
				       want);
		}
	}
	return errors;
}

static uint64_t available(void)
{
	char text[4096];

	if (!read_text("/proc/meminfo", text, sizeof(text)))
		finish(1, "memfill: cannot read /proc/meminfo");
	return meminfo_bytes(text, "MemAvailable:");
}

int main(int argc, char **argv)
{
	uint64_t margin = 64 * MIB, max = 0, passes = 2, limit = 1800;
	const struct option_def defs[] = {
		{"margin", &margin, NULL}, {"max", &max, NULL}, {"passes", &passes, NULL}, {"limit", &limit, NULL}};
	uint64_t errors = 0, start = now_ns(), free_bytes;

	PARSE_OPTIONS(argc, argv, "memfill", defs);
	set_limit(limit);
	const struct topo *t = topo_read();
	free_bytes = available();
	if (free_bytes <= margin + MIB)
		finish(1, "memfill: only %" PRIu64 " MiB available, with a margin of %" PRIu64 " MiB", free_bytes / MIB,
		       margin / MIB);
	uint64_t bytes = (free_bytes - margin) & ~(MIB - 1);
	if (max && bytes > max)
		bytes = max & ~(uint64_t)(PAGE_BYTES - 1);
	/* No node is named and huge pages are allowed: take what there is, everywhere. */
	uint64_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		finish(1, "memfill: cannot map %" PRIu64 " MiB: %s", bytes / MIB, strerror(errno));
	int cpu[2] = {topo_spread_cpu(t, 0), topo_spread_cpu(t, 1)};
	for (uint64_t pass = 0; pass < passes; pass++) {
		int writer = cpu[pass % 2], reader = cpu[(pass + 1) % 2];
		pin_to_cpu(writer);
		fill(p, bytes, pass);
		pin_to_cpu(reader);
		uint64_t wrong = check(p, bytes, pass);
		errors += wrong;
		printf("memfill pass=%" PRIu64 " MiB=%" PRIu64
		       " written by CPU %d of node %d, checked by CPU %d of node %d, errors=%" PRIu64 "\n",
		       pass, bytes / MIB, writer, topo_node_of(t, writer), reader, topo_node_of(t, reader), wrong);
		fflush(stdout);
	}
	finish(errors ? 1 : 0, "memfill: MiB=%" PRIu64 " passes=%" PRIu64 " errors=%" PRIu64 " seconds=%" PRIu64, bytes / MIB,
	       passes, errors, (now_ns() - start) / 1000000000);
}
