/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology: what machine the guest sees, and whether it is the one that was asked for.
 *
 * Options: expect-cpus N, expect-nodes M, expect-mem A,B,... (or A:B:...; RAM a NUMA node, in node order;
 * node-cpus A,B,... the same for CPUs), tolerance (bytes that a node's RAM may fall short, 4M).
 * RAM is compared with the pages that /proc/zoneinfo calls present: all that the firmware's map gave
 * the node, whatever the kernel keeps for itself. MemTotal would hide a lost range in that.
 */
#include "topo.h"
#include <sys/utsname.h>

static void read_present(uint64_t *present)
{
	char line[256];
	int node = -1;
	unsigned long long pages;
	FILE *f = fopen("/proc/zoneinfo", "re");

	if (!f)
		finish(1, "topology: cannot read /proc/zoneinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "Node %d, zone", &node);
		if (node >= 0 && node < MAX_NODES && sscanf(line, " present %llu", &pages) == 1)
			present[node] += pages * PAGE_BYTES;
	}
	fclose(f);
}

/* Lists are separated by ',' or, since the kernel command line uses ',' too, by ':'. */
static int parse_sizes(const char *text, uint64_t *out)
{
	char copy[1024], *save = NULL;
	int n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *s = strtok_r(copy, ",:", &save); s; s = strtok_r(NULL, ",:", &save)) {
		if (n == MAX_NODES || !parse_size(s, &out[n]))
			finish(2, "topology: '%s' is not a list of at most %d sizes", text, MAX_NODES);
		n++;
	}
	return n;
}

static bool check_nodes(const struct topo *t, const uint64_t *present, const char *want_mem, const char *want_cpus,
			uint64_t tolerance)
{
	uint64_t want[MAX_NODES];
	bool ok = true;

	if (want_mem) {
		int n = parse_sizes(want_mem, want);
		if (n != t->node_count) {
			printf("topology: %d NUMA nodes, but RAM was expected on %d\n", t->node_count, n);
			ok = false;
		}
		for (int i = 0; i < n && i < t->node_count; i++) {
			uint64_t have = present[t->node[i].id];
			if (have > want[i] || have + tolerance < want[i]) {
				printf("topology: node %d has %" PRIu64 " KiB of RAM, expected %" PRIu64 " KiB\n", t->node[i].id,
				       have / KIB, want[i] / KIB);
				ok = false;
			}
		}
	}
	if (want_cpus) {
		int n = parse_sizes(want_cpus, want);
		if (n != t->node_count) {
			printf("topology: %d NUMA nodes, but CPUs were expected on %d\n", t->node_count, n);
			ok = false;
		}
		for (int i = 0; i < n && i < t->node_count; i++)
			if ((uint64_t)t->node[i].cpu_count != want[i]) {
				printf("topology: node %d has %d CPUs, expected %" PRIu64 "\n", t->node[i].id, t->node[i].cpu_count,
				       want[i]);
				ok = false;
			}
	}
	return ok;
}

/* An online CPU must also run something. */
static void run_on_each(const struct topo *t)
{
	for (int i = 0; i < t->cpu_count; i++) {
		pin_to_cpu(t->cpu[i]);
		if (sched_getcpu() != t->cpu[i])
			finish(1, "topology: pinned to CPU %d but running on %d", t->cpu[i], sched_getcpu());
	}
}

int main(int argc, char **argv)
{
	uint64_t cpus = 0, nodes = 0, tolerance = 4 * MIB, limit = 120;
	const char *mem = NULL, *node_cpus = NULL;
	const struct option_def defs[] = {{"expect-cpus", &cpus, NULL},    {"expect-nodes", &nodes, NULL},
					  {"expect-mem", NULL, &mem},      {"node-cpus", NULL, &node_cpus},
					  {"tolerance", &tolerance, NULL}, {"limit", &limit, NULL}};
	uint64_t present[MAX_NODES] = {0};
	struct utsname name;
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "topology", defs);
	set_limit(limit);
	const struct topo *t = topo_read();
	read_present(present);
	uname(&name);
	printf("topology kernel=%s nproc=%d nodes=%d\n", name.release, t->cpu_count, t->node_count);
	for (int i = 0; i < t->node_count; i++) {
		printf("topology node=%d mem-total=%" PRIu64 "K present=%" PRIu64 "K cpus=", t->node[i].id,
		       t->node[i].total_bytes / KIB, present[t->node[i].id] / KIB);
		for (int j = 0; j < t->node[i].cpu_count; j++)
			printf("%s%d", j ? "," : "", t->node[i].cpu[j]);
		putchar('\n');
	}
	run_on_each(t);
	if (cpus && cpus != (uint64_t)t->cpu_count) {
		printf("topology: %d CPUs online, expected %" PRIu64 "\n", t->cpu_count, cpus);
		ok = false;
	}
	if (nodes && nodes != (uint64_t)t->node_count) {
		printf("topology: %d NUMA nodes, expected %" PRIu64 "\n", t->node_count, nodes);
		ok = false;
	}
	ok = check_nodes(t, present, mem, node_cpus, tolerance) && ok;
	finish(ok ? 0 : 1, "topology: %s", ok ? "as expected" : "not the machine that was asked for");
}
