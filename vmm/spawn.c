/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 10000

static void child(const char *addr, int ready_fd, int key_fd, pid_t parent)
{
	char listen[80], ready[16], key[16];
	char *argv[] = {(char *)"pangea",     (char *)"node", (char *)"--listen", listen, (char *)"--once",
			(char *)"--ready-fd", ready,          (char *)"--key-fd", key,    NULL};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	snprintf(listen, sizeof(listen), strchr(addr, ':') ? "[%s]:0" : "%s:0", addr);
	snprintf(ready, sizeof(ready), "%d", ready_fd);
	snprintf(key, sizeof(key), "%d", key_fd);
	fcntl(ready_fd, F_SETFD, 0);
	fcntl(key_fd, F_SETFD, 0);
	int null = open("/dev/null", O_RDWR); /* the console is the leader's */
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	execv("/proc/self/exe", argv);
	_exit(127);
}

static int read_port(int fd, uint16_t *port)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[16] = "";

	if (poll(&p, 1, READY_TIMEOUT_MS) <= 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -EIO;
	long value = strtol(text, NULL, 10);
	if (value <= 0 || value > UINT16_MAX)
		return -EIO;
	*port = (uint16_t)value;
	return 0;
}

int spawn_node(const char *addr, const uint8_t key[KEY_BYTES], pid_t *pid, uint16_t *port, struct net_why *why)
{
	int ready[2] = {-1, -1}, secret[2] = {-1, -1}, rc = 0;
	pid_t parent = getpid();

	if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(secret, O_CLOEXEC) < 0 || write(secret[1], key, KEY_BYTES) != KEY_BYTES)
		rc = net_fail(why, -errno, "cannot make a pipe to a local node: %s", strerror(errno));
	if (!rc) {
		*pid = fork();
		if (*pid == 0)
			child(addr, ready[1], secret[0], parent);
		if (*pid < 0)
			rc = net_fail(why, -errno, "cannot start a local node: %s", strerror(errno));
	}
	close(ready[1]);
	close(secret[0]);
	close(secret[1]);
	if (!rc && read_port(ready[0], port)) {
		rc = net_fail(why, -EIO, "a local node did not start; the line above says why");
		spawn_end(*pid);
	}
	close(ready[0]);
	return rc;
}

void spawn_end(pid_t pid)
{
	for (int tries = 0; tries < 60; tries++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		if (tries == 40)
			kill(pid, SIGKILL);
		usleep(tries < 40 ? 50000 : 10000);
	}
}
