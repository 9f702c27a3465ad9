/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reqreply: the reference of the fault rows: a bare request and its reply between two processes over TCP loopback.
 *
 *      reqreply REQUEST-BYTES REPLY-BYTES ROUNDS SECONDS [CLIENT-CPU SERVER-CPU]
 *
 * Both ends sleep in epoll_wait until something is there, then read and answer, with TCP_NODELAY: what a remote fault would cost
 * if memory, protocol and userfaultfd cost nothing. Prints `reqreply p50=.. p99=.. n=..`, in ns, of ROUNDS round trips or as many
 * as SECONDS allow, after a tenth as many that are not counted. Each process stays on its CPU if CPUs are given.
 * Exit: 0; 1 something failed, in one line on stderr; 2 usage. Stands alone, so that it can be linked statically.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BYTES_MAX  65536
#define ROUNDS_MAX 1000000

struct end {
	int fd, epoll_fd;
	char buffer[BYTES_MAX];
};

static void fail(const char *what)
{
	fprintf(stderr, "reqreply: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("cannot run on that CPU");
}

static void end_open(struct end *e, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int on = 1;

	e->fd = fd;
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll_fd < 0 || epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		fail("epoll");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		fail("TCP_NODELAY");
}

/* Waits for `bytes` bytes. False: the other end is gone. */
static bool take(struct end *e, size_t bytes)
{
	for (size_t have = 0; have < bytes;) {
		struct epoll_event event;
		if (epoll_wait(e->epoll_fd, &event, 1, -1) < 0 && errno != EINTR)
			fail("epoll_wait");
		ssize_t n = recv(e->fd, e->buffer + have, bytes - have, MSG_DONTWAIT);
		if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		have += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool give(struct end *e, size_t bytes)
{
	for (size_t sent = 0; sent < bytes;) {
		ssize_t n = send(e->fd, e->buffer + sent, bytes - sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return false;
		sent += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The p-th percentile of sorted values, nearest rank, as the guest's programs have it. */
static uint64_t percentile(const uint64_t *v, size_t n, size_t p)
{
	size_t rank = (n * p + 99) / 100;

	return v[rank ? rank - 1 : 0];
}

static void client(struct end *e, size_t request, size_t reply, size_t rounds, uint64_t seconds)
{
	uint64_t *ns = calloc(rounds, sizeof(*ns));
	uint64_t deadline = now_ns() + seconds * 1000000000u;
	size_t n = 0;

	if (!ns)
		fail("memory");
	memset(ns, 1, rounds * sizeof(*ns));
	for (size_t warm = rounds / 10 + 1; n < rounds && (n == 0 || now_ns() < deadline); warm -= warm > 0) {
		uint64_t begin = now_ns();
		if (!give(e, request) || !take(e, reply))
			fail("the connection ended");
		if (!warm)
			ns[n++] = now_ns() - begin;
	}
	qsort(ns, n, sizeof(*ns), compare);
	printf("reqreply p50=%" PRIu64 " p99=%" PRIu64 " n=%zu\n", percentile(ns, n, 50), percentile(ns, n, 99), n);
	free(ns);
}

static long number(const char *text, long max)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (end == text || *end || v < 0 || v > max) {
		fprintf(stderr, "reqreply: '%s' is not a number from 0 to %ld\n", text, max);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	static struct end end;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int status = 0;

	if (argc != 5 && argc != 7) {
		fprintf(stderr, "Usage: reqreply REQUEST-BYTES REPLY-BYTES ROUNDS SECONDS [CLIENT-CPU SERVER-CPU]\n");
		return 2;
	}
	size_t request = (size_t)number(argv[1], BYTES_MAX), reply = (size_t)number(argv[2], BYTES_MAX);
	size_t rounds = (size_t)number(argv[3], ROUNDS_MAX);
	uint64_t seconds = (uint64_t)number(argv[4], 3600);
	int client_cpu = argc == 7 ? (int)number(argv[5], CPU_SETSIZE - 1) : -1;
	int server_cpu = argc == 7 ? (int)number(argv[6], CPU_SETSIZE - 1) : -1;
	if (!request || !reply || !rounds) {
		fprintf(stderr, "reqreply: sizes and rounds are at least 1\n");
		return 2;
	}
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &len))
		fail("cannot listen on loopback");
	pid_t server = fork();
	if (server < 0)
		fail("fork");
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(server_cpu);
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			fail("accept");
		end_open(&end, fd);
		while (take(&end, request) && give(&end, reply))
			;
		_exit(0);
	}
	pin(client_cpu);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)))
		fail("connect");
	end_open(&end, fd);
	client(&end, request, reply, rounds, seconds);
	close(fd);
	if (waitpid(server, &status, 0) != server || status)
		fail("the server");
	return 0;
}
