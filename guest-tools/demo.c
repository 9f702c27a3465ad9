/* SPDX-License-Identifier: Apache-2.0 */
/* demo: what the guest sees, for a person: lines that begin with "DEMO ". A process on each node,
 * then threads on every CPU that take one lock and add to one counter. Options: rounds, seconds, limit. */
#include "locks.h"
#include <sys/utsname.h>
#include <sys/wait.h>

static void show_nodes(const struct topo *t)
{
	char path[96], cpus[512];

	for (int i = 0; i < t->node_count; i++) {
		const struct topo_node *n = &t->node[i];
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", n->id);
		if (!read_text(path, cpus, sizeof(cpus)))
			cpus[0] = 0;
		cpus[strcspn(cpus, "\n")] = 0;
		printf("DEMO NUMA node %d: CPUs %s, %" PRIu64 " MiB of RAM\n", n->id, cpus[0] ? cpus : "none",
		       n->total_bytes / MIB);
	}
}

/* The child reports where it runs; the parent prints, so that lines keep their order. */
static bool process_on_node(const struct topo_node *n)
{
	unsigned where[2] = {0, 0};
	int fds[2], status;

	if (pipe(fds))
		return false;
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0) {
		pin_to_cpu(n->cpu[0]);
		if (syscall(SYS_getcpu, &where[0], &where[1], NULL) || write(fds[1], where, sizeof(where)) != sizeof(where))
			_exit(1);
		_exit(0);
	}
	close(fds[1]);
	bool ok = read(fds[0], where, sizeof(where)) == sizeof(where);
	close(fds[0]);
	ok = waitpid(pid, &status, 0) == pid && status == 0 && ok && where[1] == (unsigned)n->id;
	printf("DEMO process %d runs on CPU %u of node %u%s\n", (int)pid, where[0], where[1], ok ? "" : " WRONG");
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t rounds = 500, seconds = 20, limit = 180;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"limit", &limit, NULL}};
	struct utsname name;
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "demo", defs);
	set_limit(limit);
	const struct topo *topo = topo_read();
	uname(&name);
	printf("DEMO kernel %s %s\n", name.release, name.version);
	printf("DEMO nproc %d\n", topo->cpu_count);
	show_nodes(topo);
	for (int i = 0; i < topo->cpu_node_count; i++)
		ok = process_on_node(&topo->node[topo->cpu_node[i]]) && ok;
	printf("DEMO %d threads on %d nodes take one lock and add to one counter ...\n", topo->cpu_count, topo->cpu_node_count);
	fflush(stdout);
	struct lock_result r = lock_test_run(topo, LOCK_MUTEX, rounds, seconds);
	bool right = r.expected && r.actual == r.expected && !r.mismatches;
	printf("DEMO counter: expected %" PRIu64 ", actual %" PRIu64 ", %s, in %" PRIu64 ".%03" PRIu64 " s\n", r.expected, r.actual,
	       right ? "right" : "WRONG", r.ns / 1000000000, r.ns / 1000000 % 1000);
	finish(ok && right ? 0 : 1, "DEMO done");
}
