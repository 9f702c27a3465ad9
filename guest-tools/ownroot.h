/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process with programs of its own: what it runs lies in a file system whose pages are on one node, and nowhere else.
 *
 * Programs, libraries and their other files come out of the initramfs, whose pages are on whichever node unpacked it; two nodes
 * that run the same file would count its users in the same page of the kernel. So each has a copy. Failures end the program.
 */
#ifndef GUEST_TOOLS_OWNROOT_H
#define GUEST_TOOLS_OWNROOT_H

#include "topo.h"
#include <dirent.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

/* Runs a program to its end; its exit code, or 128 and more if a signal ended it. Output goes to `log` unless that is NULL. */
static inline int run_program(const char *const argv[], const char *log)
{
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	if (log)
		posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (log)
		posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
	int err = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ); /* which changes none of them */
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		finish(1, "guest-tools: cannot run %s: %s", argv[0], strerror(err));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			finish(1, "guest-tools: waitpid: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What it said, as much as fits; nothing if there is no such log. */
static inline void read_log(const char *log, char *text, size_t size)
{
	if (!read_text(log, text, size))
		*text = 0;
}

/* What this process and its children allocate is on that node from now on. */
static inline void bind_to_node(int node)
{
	unsigned long mask[MAX_NODES / 64 + 1] = {0};

	mask[node / 64] = 1ul << (node % 64);
	if (syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, mask, (unsigned long)(MAX_NODES + 1)))
		finish(1, "guest-tools: cannot bind to node %d: %s", node, strerror(errno));
}

/* By default the kernel's allocator of small objects fills what is left of another node's pages before it takes a page of its own
 * node. Where this can be set, it no longer does. A machine of one node is as it was. */
static inline void keep_objects_on_their_node(void)
{
	DIR *d = opendir("/sys/kernel/slab");
	char path[512];

	for (struct dirent *e; d && (e = readdir(d));) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/remote_node_defrag_ratio", e->d_name);
		if (*e->d_name != '.')
			(void)write_text(path, "0");
	}
	if (d)
		closedir(d);
}

/* This process runs on that CPU and takes memory of its node, and a copy of the tree `from`, which is there too, is its root;
 * `name` tells it from the copies of others. Exit 77 if the initramfs has no such tree. */
static inline void enter_own_root(const char *from, const char *name, int cpu, int node)
{
	char to[64], options[64], tree[64];

	if (access(from, F_OK))
		finish(EXIT_SKIP, "guest-tools: this initramfs has no %s", from);
	pin_to_cpu(cpu);
	bind_to_node(node);
	snprintf(to, sizeof(to), "/tmp/%s", name);
	snprintf(options, sizeof(options), "mpol=bind:%d", node);
	if (mkdir(to, 0700) && errno != EEXIST)
		finish(1, "guest-tools: cannot make %s: %s", to, strerror(errno));
	if (mount("own", to, "tmpfs", 0, options))
		finish(1, "guest-tools: cannot mount %s: %s", to, strerror(errno));
	snprintf(tree, sizeof(tree), "%s/.", from);
	const char *const copy[] = {"/bin/busybox", "cp", "-a", tree, to, NULL};
	if (run_program(copy, NULL) || chroot(to) || chdir("/"))
		finish(1, "guest-tools: cannot make %s the root of this process", to);
}

#endif
