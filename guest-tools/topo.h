/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and NUMA nodes as the guest kernel shows them, pinning, and memory on a chosen node.
 *
 * Source: /sys/devices/system/node (cpulist, meminfo) and /sys/devices/system/cpu/online. The
 * system calls are made directly, since libnuma is not there. Memory that is bound with MPOL_BIND
 * is also left alone by the kernel's NUMA balancing, which would else move the pages that a test
 * wants to stay where they are. Failures end the program: it cannot test anything without them.
 */
#ifndef GUEST_TOOLS_TOPO_H
#define GUEST_TOOLS_TOPO_H

#include "common.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MAX_NODES 64
#define MAX_CPUS  1024

struct topo_node {
	int id;
	int cpu_count;
	int cpu[MAX_CPUS]; /* online ones, ascending */
	uint64_t total_bytes;
	uint64_t free_bytes;
};

struct topo {
	int cpu_count;
	int cpu[MAX_CPUS]; /* online ones, ascending */
	int node_count;
	struct topo_node node[MAX_NODES];
	int cpu_node_count;      /* nodes that have CPUs */
	int cpu_node[MAX_NODES]; /* their indices in node[] */
};

/* The file's first `size - 1` bytes as a string; false if it cannot be read. */
static inline bool read_text(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	size_t n = fread(out, 1, size - 1, f);
	out[n] = 0;
	fclose(f);
	return true;
}

static inline bool write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return false;
	bool ok = fputs(text, f) >= 0;
	return fclose(f) == 0 && ok;
}

/* "0-3,8" to numbers; returns how many. */
static inline int parse_list(const char *s, int *out, int max)
{
	int n = 0;

	while (*s >= '0' && *s <= '9') {
		char *end;
		long a = strtol(s, &end, 10), b = a;
		if (*end == '-')
			b = strtol(end + 1, &end, 10);
		for (long i = a; i <= b && n < max; i++)
			out[n++] = (int)i;
		s = *end == ',' ? end + 1 : end;
	}
	return n;
}

static inline uint64_t meminfo_bytes(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) * KIB : 0;
}

static inline struct topo *topo_read(void)
{
	struct topo *t = calloc(1, sizeof(*t));
	int ids[MAX_NODES];
	char path[96], text[8192];

	if (!t || !read_text("/sys/devices/system/cpu/online", text, sizeof(text)))
		finish(1, "guest-tools: cannot read /sys/devices/system/cpu/online; is sysfs mounted?");
	t->cpu_count = parse_list(text, t->cpu, MAX_CPUS);
	if (read_text("/sys/devices/system/node/online", text, sizeof(text)))
		t->node_count = parse_list(text, ids, MAX_NODES);
	for (int i = 0; i < t->node_count; i++) {
		struct topo_node *n = &t->node[i];
		n->id = ids[i];
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", ids[i]);
		if (read_text(path, text, sizeof(text)))
			n->cpu_count = parse_list(text, n->cpu, MAX_CPUS);
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", ids[i]);
		if (read_text(path, text, sizeof(text))) {
			n->total_bytes = meminfo_bytes(text, "MemTotal:");
			n->free_bytes = meminfo_bytes(text, "MemFree:");
		}
		if (n->cpu_count)
			t->cpu_node[t->cpu_node_count++] = i;
	}
	if (!t->cpu_count || !t->cpu_node_count)
		finish(1, "guest-tools: the kernel shows no CPU or no NUMA node with a CPU");
	return t;
}

/* The i-th CPU when they are dealt out a node at a time: neighbours in i are on different nodes.
 * Wraps around when there are fewer CPUs than asked for. */
static inline int topo_spread_cpu(const struct topo *t, int i)
{
	i %= t->cpu_count;
	for (int level = 0; level < MAX_CPUS; level++)
		for (int k = 0; k < t->cpu_node_count; k++) {
			const struct topo_node *n = &t->node[t->cpu_node[k]];
			if (level < n->cpu_count && i-- == 0)
				return n->cpu[level];
		}
	return t->cpu[0];
}

/* The id of the node that the CPU is on. */
static inline int topo_node_of(const struct topo *t, int cpu)
{
	for (int i = 0; i < t->node_count; i++)
		for (int j = 0; j < t->node[i].cpu_count; j++)
			if (t->node[i].cpu[j] == cpu)
				return t->node[i].id;
	return -1;
}

/* Two CPUs that a latency test compares: of two nodes if there are two, of one node else. */
struct cpu_pair {
	int a, b;
	bool remote;
};

/* Every pair of nodes by their first CPUs (remote), then one pair inside a node as a reference.
 * Returns how many, at most max; 0 when the guest has one CPU. */
static inline int topo_pairs(const struct topo *t, struct cpu_pair *out, int max)
{
	int n = 0;

	for (int i = 0; i < t->cpu_node_count; i++)
		for (int j = i + 1; j < t->cpu_node_count && n < max; j++)
			out[n++] = (struct cpu_pair){t->node[t->cpu_node[i]].cpu[0], t->node[t->cpu_node[j]].cpu[0], true};
	for (int i = 0; i < t->cpu_node_count && n < max; i++)
		if (t->node[t->cpu_node[i]].cpu_count > 1) {
			const struct topo_node *node = &t->node[t->cpu_node[i]];
			out[n++] = (struct cpu_pair){node->cpu[0], node->cpu[1], false};
			break;
		}
	return n;
}

static inline void pin_to_cpu(int cpu)
{
	cpu_set_t set[MAX_CPUS / CPU_SETSIZE];

	memset(set, 0, sizeof(set));
	CPU_SET_S((size_t)cpu, sizeof(set), set);
	if (sched_setaffinity(0, sizeof(set), set))
		finish(1, "guest-tools: cannot run on CPU %d: %s", cpu, strerror(errno));
}

/* Page-aligned zero memory in 4 KiB pages whose frames come from that node (any node for -1).
 * Not touched yet: the first to touch a page has the kernel clear it there. */
static inline void *alloc_on_node(size_t bytes, int node)
{
	unsigned long mask[MAX_NODES / 64 + 1] = {0};
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		finish(1, "guest-tools: cannot map %zu bytes: %s", bytes, strerror(errno));
	(void)madvise(p, bytes, MADV_NOHUGEPAGE); /* EINVAL where the kernel has no huge pages: the same result */
	if (node < 0)
		return p;
	mask[node / 64] = 1ul << (node % 64);
	if (syscall(SYS_mbind, p, bytes, 2 /* MPOL_BIND */, mask, (unsigned long)(MAX_NODES + 1), 0ul))
		finish(1, "guest-tools: cannot bind memory to node %d: %s", node, strerror(errno));
	return p;
}

#endif
