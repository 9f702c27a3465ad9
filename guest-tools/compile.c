/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile: a parallel compile, its jobs kept where they are: a worker a CPU compiles a small C program again and again, a process
 * each time. Prints how many were compiled in 1000 s, by the time of the slowest worker.
 *
 * Compiler, headers and sources are a tree of the initramfs, /cc (tests/bench/programs makes it; /cc/src/files lists the sources):
 * each worker has a copy on its node (ownroot.h) and has compiled all of it once before the clock runs. Every object must be the
 * same from each worker and each time. Options: rounds (of each worker), limit.
 */
#include "ownroot.h"

#define FILES_MAX 256
#define OBJECT    "/out/program.o"

struct report {
	uint64_t end, hash;
	uint64_t programs;
};

/* FNV-1a of a file's bytes; ends the program if there are none. */
static uint64_t hash_of(const char *path)
{
	uint64_t hash = 0xcbf29ce484222325u;
	FILE *f = fopen(path, "re");
	int c, n = 0;

	for (; f && (c = fgetc(f)) != EOF; n++)
		hash = (hash ^ (uint64_t)c) * 0x100000001b3u;
	if (!n)
		finish(1, "compile: the compiler left nothing in %s", path);
	fclose(f);
	return hash;
}

static size_t read_names(char **names)
{
	char line[256];
	size_t n = 0;
	FILE *f = fopen("/src/files", "re");

	while (f && n < FILES_MAX && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (*line && !(names[n++] = strdup(line)))
			finish(1, "compile: no memory");
	}
	if (!n)
		finish(1, "compile: /cc/src/files names no file");
	fclose(f);
	return n;
}

/* One process: every source, into one relocatable object. */
static void compile_all(char *const *names, size_t n)
{
	const char *argv[FILES_MAX + 9] = {"/bin/tcc", "-w", "-D_GNU_SOURCE", "-nostdinc", "-I/src", "-r", "-o", OBJECT};
	char text[512];

	for (size_t i = 0; i < n; i++)
		argv[8 + i] = names[i];
	argv[8 + n] = NULL;
	int code = run_program(argv, "/out/log");
	if (!code)
		return;
	read_log("/out/log", text, sizeof(text));
	finish(1, "compile: tcc: exit code %d: %s", code, text);
}

/* A worker says `ready` when it has compiled all once, begins when `go` ends, and tells `done` what it did. */
__attribute__((noreturn)) static void work(int cpu, int node, uint64_t rounds, int ready, int go, int done)
{
	static char *names[FILES_MAX];
	char name[32], byte = 0;

	snprintf(name, sizeof(name), "compile%d", cpu);
	enter_own_root("/cc", name, cpu, node);
	size_t n = read_names(names);
	if (mkdir("/out", 0700) || chdir("/src"))
		finish(1, "compile: /cc has no folder src, or one named out");
	compile_all(names, n);
	struct report r = {.hash = hash_of(OBJECT), .programs = rounds};
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 0)
		finish(1, "compile: the first process is gone");
	for (uint64_t i = 0; i < rounds; i++)
		compile_all(names, n);
	r.end = now_ns();
	if (hash_of(OBJECT) != r.hash)
		finish(1, "compile: CPU %d made another object than before", cpu);
	_exit(write(done, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 3, limit = 300, programs = 0, hash = 0, end = 0, bad = 0;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"limit", &limit, NULL}};
	int ready[2], go[2], done[2];

	PARSE_OPTIONS(argc, argv, "compile", defs);
	if (!rounds || rounds > 10000)
		finish(2, "compile: rounds from 1 to 10000");
	if (access("/cc", F_OK))
		finish(EXIT_SKIP, "compile: this initramfs has no compiler: /cc is not there");
	set_limit(limit);
	keep_objects_on_their_node();
	const struct topo *t = topo_read();
	if (pipe(ready) || pipe(go) || pipe(done))
		finish(1, "compile: pipe: %s", strerror(errno));
	for (int i = 0; i < t->cpu_count; i++) {
		pid_t pid = fork();
		if (pid < 0)
			finish(1, "compile: fork: %s", strerror(errno));
		if (pid)
			continue;
		set_limit(limit);
		close(go[1]);
		close(ready[0]);
		close(done[0]);
		work(t->cpu[i], topo_node_of(t, t->cpu[i]), rounds, ready[1], go[0], done[1]);
	}
	close(ready[1]); /* so that a worker's end is seen */
	close(done[1]);
	for (int i = 0; i < t->cpu_count; i++) {
		char byte;
		if (read(ready[0], &byte, 1) != 1)
			finish(1, "compile: a worker ended before it was ready");
	}
	uint64_t begin = now_ns();
	close(go[1]);
	for (int i = 0; i < t->cpu_count; i++) {
		struct report r;
		if (read(done[0], &r, sizeof(r)) != sizeof(r))
			finish(1, "compile: a worker ended before it was done");
		bad += i && r.hash != hash;
		hash = r.hash;
		programs += r.programs;
		end = r.end > end ? r.end : end;
	}
	finish(bad ? 1 : 0, "compile workers=%d nodes=%d programs=%" PRIu64 " ns=%" PRIu64 " per-1000s=%" PRIu64 " %s",
	       t->cpu_count, t->cpu_node_count, programs, end - begin, programs * 1000000000000u / (end - begin),
	       bad ? "WRONG: the objects differ" : "ok");
}
