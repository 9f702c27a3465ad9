/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk: the reference of sequential-read-tcp: as many bytes as one TCP connection carries from one process to another of this host.
 *
 *      bulk MIB SECONDS [RECEIVER-CPU SENDER-CPU]
 *
 * The sender writes 64 KiB at a time, the receiver reads as much: no request, no page to be put anywhere. Prints `bulk rate=..
 * bytes=..`, kB/s (10^3), of MIB mebibytes or as many as SECONDS allow, after an eighth as many that are not counted. Each process
 * stays on its CPU if CPUs are given. Exit: 0; 1 something failed, in one line on stderr; 2 usage. Stands alone, so that it can be
 * linked statically.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define CHUNK 65536u

/* Until the receiver has gone. */
__attribute__((noreturn)) static void send_all(int listener, char *buffer)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		fail("accept", errno);
	memset(buffer, 1, CHUNK);
	while (send(fd, buffer, CHUNK, MSG_NOSIGNAL) > 0)
		;
	_exit(0);
}

/* So many bytes, or until that time. */
static uint64_t take(int fd, char *buffer, uint64_t bytes, uint64_t deadline)
{
	uint64_t have = 0;

	while (have < bytes && now_ns() < deadline) {
		ssize_t n = recv(fd, buffer, CHUNK, 0);
		if (n <= 0)
			fail("the connection ended", 0);
		have += (uint64_t)n;
	}
	return have;
}

int main(int argc, char **argv)
{
	static char buffer[CHUNK];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	if (argc != 3 && argc != 5) {
		fprintf(stderr, "Usage: bulk MIB SECONDS [RECEIVER-CPU SENDER-CPU]\n");
		return 2;
	}
	uint64_t bytes = number(argv[1], 1, 1ul << 20) << 20, seconds = number(argv[2], 1, 3600);
	int receiver_cpu = argc == 5 ? (int)number(argv[3], 0, CPU_SETSIZE - 1) : -1;
	int sender_cpu = argc == 5 ? (int)number(argv[4], 0, CPU_SETSIZE - 1) : -1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &len))
		fail("cannot listen", errno);
	pid_t sender = fork();
	if (sender < 0)
		fail("fork", errno);
	if (!sender) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(sender_cpu);
		send_all(listener, buffer);
	}
	pin(receiver_cpu);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)))
		fail("connect", errno);
	take(fd, buffer, bytes / 8, UINT64_MAX);
	uint64_t begin = now_ns(), have = take(fd, buffer, bytes, begin + seconds * 1000000000u), ns = now_ns() - begin;
	close(fd);
	waitpid(sender, NULL, 0);
	printf("bulk rate=%llu bytes=%llu\n", (unsigned long long)(have * 1000000 / (ns ? ns : 1)), (unsigned long long)have);
	return 0;
}
