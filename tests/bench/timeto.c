/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeto: how long a command takes until it prints something.
 *
 *      timeto TEXT SECONDS FILE COMMAND...
 *
 * Runs COMMAND with nothing to read, its stdout to FILE (its stderr stays), and prints `timeto NS`, from just before the fork to
 * the first time TEXT was in the output, or `timeto -` if it never was. Waits for the command's end. After SECONDS the command and
 * whatever it started are killed. Both machines that a row compares are timed by this one program, so by one clock.
 * Exit: 0 TEXT came and the command ended by itself; 1 it did not, with one line on stderr that says which; 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define BUFFER 65536

static void run(char **command, int out)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		fail("dup2", errno);
	execvp(command[0], command);
	fail(command[0], errno);
}

/* Copies fd to file until it ends or the deadline; returns when TEXT was first there, 0 if never. */
static uint64_t copy(int fd, int file, const char *text, uint64_t deadline)
{
	static char buffer[BUFFER];
	size_t kept = 0, len = strlen(text); /* the last len - 1 bytes stay: TEXT may come in two pieces */
	uint64_t seen = 0;

	for (uint64_t now; (now = now_ns()) < deadline;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int wait_ms = (int)((deadline - now) / 1000000u + 1);
		if (poll(&p, 1, wait_ms) <= 0)
			continue;
		ssize_t n = read(fd, buffer + kept, sizeof(buffer) - kept);
		if (n <= 0)
			break;
		if (!seen && memmem(buffer, kept + (size_t)n, text, len))
			seen = now_ns();
		if (write(file, buffer + kept, (size_t)n) != n)
			fail("cannot write the output", errno);
		size_t have = kept + (size_t)n;
		kept = have < len ? have : len - 1;
		memmove(buffer, buffer + have - kept, kept);
	}
	return seen;
}

int main(int argc, char **argv)
{
	int out[2], status = 0;

	if (argc < 5 || !argv[1][0] || strlen(argv[1]) > BUFFER / 2 || atoi(argv[2]) <= 0) {
		fprintf(stderr, "Usage: timeto TEXT SECONDS FILE COMMAND...\n");
		return 2;
	}
	int file = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file < 0 || pipe2(out, O_CLOEXEC))
		fail(argv[3], errno);
	uint64_t begin = now_ns(), deadline = begin + (uint64_t)atoi(argv[2]) * 1000000000u;
	pid_t child = fork();
	if (child < 0)
		fail("fork", errno);
	if (!child)
		run(argv + 4, out[1]);
	close(out[1]);
	uint64_t seen = copy(out[0], file, argv[1], deadline);
	pid_t ended = 0;
	while (!(ended = waitpid(child, &status, WNOHANG)) && now_ns() < deadline)
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	if (!ended) {
		kill(-child, SIGKILL);
		waitpid(child, &status, 0);
	}
	if (seen)
		printf("timeto %" PRIu64 "\n", seen - begin);
	else
		printf("timeto -\n");
	if (!ended)
		fprintf(stderr, "timeto: %s did not end within %s s and was killed\n", argv[4], argv[2]);
	else if (status)
		fprintf(stderr, "timeto: %s ended with %s %d\n", argv[4], WIFSIGNALED(status) ? "signal" : "exit code",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	else if (!seen)
		fprintf(stderr, "timeto: %s ended without printing %s\n", argv[4], argv[1]);
	return !seen || !ended || status;
}
