/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reqreply: the reference of the fault rows: a bare request and its reply between two processes over TCP.
 *
 *      reqreply REQUEST-BYTES REPLY-BYTES ROUNDS SECONDS [CLIENT-CPU SERVER-CPU]
 *      reqreply serve PORT REQUEST-BYTES REPLY-BYTES                         between two hosts: this on one, without an end,
 *      reqreply to ADDRESS PORT REQUEST-BYTES REPLY-BYTES ROUNDS SECONDS     this on the other
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
#include <unistd.h>

#include "tests/bench/bench.h"

#define BYTES_MAX  65536
#define ROUNDS_MAX 1000000

struct end {
	int fd, epoll_fd;
	char buffer[BYTES_MAX];
};

static void end_open(struct end *e, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int on = 1;

	e->fd = fd;
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll_fd < 0 || epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		fail("epoll", errno);
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		fail("TCP_NODELAY", errno);
}

/* Waits for `bytes` bytes. False: the other end is gone. */
static bool take(struct end *e, size_t bytes)
{
	for (size_t have = 0; have < bytes;) {
		struct epoll_event event;
		if (epoll_wait(e->epoll_fd, &event, 1, -1) < 0 && errno != EINTR)
			fail("epoll_wait", errno);
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

static void client(struct end *e, size_t request, size_t reply, size_t rounds, uint64_t seconds)
{
	uint64_t *ns = calloc(rounds, sizeof(*ns));
	uint64_t deadline = now_ns() + seconds * 1000000000u;
	size_t n = 0;

	if (!ns)
		fail("memory", errno);
	memset(ns, 1, rounds * sizeof(*ns));
	for (size_t warm = rounds / 10 + 1; n < rounds && (n == 0 || now_ns() < deadline); warm -= warm > 0) {
		uint64_t begin = now_ns();
		if (!give(e, request) || !take(e, reply))
			fail("the connection ended", 0);
		if (!warm)
			ns[n++] = now_ns() - begin;
	}
	sort_ns(ns, n);
	printf("reqreply p50=%" PRIu64 " p99=%" PRIu64 " n=%zu\n", percentile(ns, n, 50), percentile(ns, n, 99), n);
	free(ns);
}

static int listen_at(uint32_t address, uint16_t port, struct sockaddr_in *at)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	socklen_t len = sizeof(*at);

	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(address), .sin_port = htons(port)};
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(listener, (struct sockaddr *)at, sizeof(*at)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)at, &len))
		fail("cannot listen", errno);
	return listener;
}

static void answer(struct end *e, int listener, size_t request, size_t reply)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		fail("accept", errno);
	end_open(e, fd);
	while (take(e, request) && give(e, reply))
		;
	close(e->epoll_fd);
	close(fd);
}

static void ask(struct end *e, const struct sockaddr_in *at, size_t request, size_t reply, size_t rounds, uint64_t seconds)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)at, sizeof(*at)))
		fail("connect", errno);
	end_open(e, fd);
	client(e, request, reply, rounds, seconds);
	close(fd);
}

static size_t positive(const char *text, unsigned long max)
{
	return number(text, 1, max);
}

static int here(struct end *e, int argc, char **argv)
{
	size_t request = positive(argv[1], BYTES_MAX), reply = positive(argv[2], BYTES_MAX), rounds = positive(argv[3], ROUNDS_MAX);
	uint64_t seconds = number(argv[4], 0, 3600);
	int client_cpu = argc == 7 ? (int)number(argv[5], 0, CPU_SETSIZE - 1) : -1;
	int server_cpu = argc == 7 ? (int)number(argv[6], 0, CPU_SETSIZE - 1) : -1;
	struct sockaddr_in at;
	int listener = listen_at(INADDR_LOOPBACK, 0, &at), status = 0;

	pid_t server = fork();
	if (server < 0)
		fail("fork", errno);
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(server_cpu);
		answer(e, listener, request, reply);
		_exit(0);
	}
	pin(client_cpu);
	ask(e, &at, request, reply, rounds, seconds);
	if (waitpid(server, &status, 0) != server || status)
		fail("the server", 0);
	return 0;
}

int main(int argc, char **argv)
{
	static struct end end;
	struct sockaddr_in at = {.sin_family = AF_INET};

	if (argc == 5 && !strcmp(argv[1], "serve")) {
		int listener = listen_at(INADDR_ANY, (uint16_t)positive(argv[2], UINT16_MAX), &at);

		for (;;)
			answer(&end, listener, positive(argv[3], BYTES_MAX), positive(argv[4], BYTES_MAX));
	}
	if (argc == 8 && !strcmp(argv[1], "to")) {
		at.sin_port = htons((uint16_t)positive(argv[3], UINT16_MAX));
		if (inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) {
			fprintf(stderr, "reqreply: '%s' is not an IPv4 address\n", argv[2]);
			return 2;
		}
		ask(&end, &at, positive(argv[4], BYTES_MAX), positive(argv[5], BYTES_MAX), positive(argv[6], ROUNDS_MAX),
		    number(argv[7], 0, 3600));
		return 0;
	}
	if (argc == 5 || argc == 7)
		return here(&end, argc, argv);
	fprintf(stderr, "Usage: reqreply REQUEST-BYTES REPLY-BYTES ROUNDS SECONDS [CLIENT-CPU SERVER-CPU]\n"
			"       reqreply serve PORT REQUEST-BYTES REPLY-BYTES\n"
			"       reqreply to ADDRESS PORT REQUEST-BYTES REPLY-BYTES ROUNDS SECONDS\n");
	return 2;
}
