/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of connections that may not end: the kernel gives a queue pair back only when the network card has let go of its last
 * packet, and for soft-RoCE over an interface that was taken down that is when the interface is up again (Linux 6.1, virtio_net:
 * __rxe_cleanup waits, and no signal ends it). Whoever destroys it, or ends as the last who has its file, waits that long.
 *
 * So another process does: it has the files of the RDMA devices and nothing else, and ends after this one.
 */
#include <errno.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/rdma_priv.h"

#define FDS_MAX (3 * RDMA_PORTS_MAX + 1)

/* Only calls that are safe after fork in a process of several threads. `fd`: [n], ascending. */
__attribute__((noreturn)) static void hold(int parent, const int *fd, unsigned n)
{
	struct pollfd p = {.fd = parent, .events = POLLIN};
	unsigned next = 0;

	setsid();
	prctl(PR_SET_NAME, "rdma-hold");
	for (unsigned i = 0; i < n; i++) {
		if ((unsigned)fd[i] > next)
			close_range(next, (unsigned)fd[i] - 1, 0);
		next = (unsigned)fd[i] + 1;
	}
	close_range(next, ~0u, 0);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static void insert(int *fd, unsigned *n, int one)
{
	unsigned i = *n;

	for (unsigned k = 0; k < *n; k++)
		if (fd[k] == one)
			return;
	for (; i > 0 && fd[i - 1] > one; i--)
		fd[i] = fd[i - 1];
	fd[i] = one;
	++*n;
}

void rdma_hold(const struct rdma_ports *ports, const struct rdma_event_channel *cm)
{
	int fd[FDS_MAX + 1], status;
	unsigned n = 0;
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (self < 0)
		return;
	insert(fd, &n, self);
	insert(fd, &n, cm->fd);
	for (unsigned i = 0; i < ports->n; i++) {
		insert(fd, &n, ports->port[i].verbs->cmd_fd);
		insert(fd, &n, ports->port[i].verbs->async_fd);
		insert(fd, &n, ports->port[i].channel->fd);
	}
	pid_t child = fork();
	if (child == 0) { /* it has a child and ends, so that nobody has to wait for that one */
		if (fork() == 0)
			hold(self, fd, n);
		_exit(0);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	close(self);
}
