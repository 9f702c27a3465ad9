/* SPDX-License-Identifier: Apache-2.0 */
/* cpuhotplug: takes each CPU but 0 offline and brings it back, so INIT and SIPI are used again on a machine
 * that runs. After each step the CPU list must say so, and a thread must run there. Options: rounds, limit. */
#include "topo.h"

static bool is_online(int cpu)
{
	char text[4096];
	int list[MAX_CPUS];

	if (!read_text("/sys/devices/system/cpu/online", text, sizeof(text)))
		return false;
	int n = parse_list(text, list, MAX_CPUS);
	for (int i = 0; i < n; i++)
		if (list[i] == cpu)
			return true;
	return false;
}

static void set_online(int cpu, bool online)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	if (!write_text(path, online ? "1" : "0"))
		finish(1, "cpuhotplug: CPU %d does not go %s: %s", cpu, online ? "online" : "offline", strerror(errno));
	if (is_online(cpu) != online)
		finish(1, "cpuhotplug: CPU %d should be %s and is not", cpu, online ? "online" : "offline");
}

int main(int argc, char **argv)
{
	uint64_t rounds = 1, limit = 300, cycles = 0;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"limit", &limit, NULL}};

	PARSE_OPTIONS(argc, argv, "cpuhotplug", defs);
	set_limit(limit);
	const struct topo *t = topo_read();
	if (t->cpu_count < 2)
		finish(EXIT_SKIP, "cpuhotplug: one CPU");
	uint64_t start = now_ns();
	for (uint64_t round = 0; round < rounds; round++)
		for (int i = 0; i < t->cpu_count; i++) {
			int cpu = t->cpu[i];
			if (cpu == 0)
				continue;
			pin_to_cpu(0);
			set_online(cpu, false);
			set_online(cpu, true);
			pin_to_cpu(cpu);
			if (sched_getcpu() != cpu)
				finish(1, "cpuhotplug: CPU %d is back but runs nothing", cpu);
			cycles++;
		}
	finish(0, "cpuhotplug: cpus=%d cycles=%" PRIu64 " ms-per-cycle=%" PRIu64 " ok", t->cpu_count, cycles,
	       cycles ? (now_ns() - start) / cycles / 1000000 : 0);
}
