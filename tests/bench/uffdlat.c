/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffdlat: what a page fault through userfaultfd costs here without any network: a thread touches page after page, another, asleep
 * in poll, reads the fault and answers with UFFDIO_COPY. A part of the reference of the fault rows, over TCP and RDMA.
 *
 *      uffdlat PAGES SECONDS
 *
 * Prints `uffdlat p50=.. p99=.. n=..`, in ns, of PAGES faults or as many as SECONDS allow. Exit: 0; 1 something failed, in one line
 * on stderr; 2 usage. Stands alone, so that it can be linked statically.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define PAGE_BYTES 4096u
#define PAGES_MAX  100000u

static void *serve(void *arg)
{
	static uint8_t page[PAGE_BYTES] __attribute__((aligned(4096)));
	int fd = *(const int *)arg;

	page[0] = 1;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		struct uffd_msg msg;

		if (poll(&p, 1, -1) < 0)
			fail("poll", errno);
		if (read(fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		struct uffdio_copy copy = {
			.dst = msg.arg.pagefault.address & ~(uint64_t)(PAGE_BYTES - 1), .src = (uintptr_t)page, .len = PAGE_BYTES};
		if (ioctl(fd, UFFDIO_COPY, &copy))
			fail("UFFDIO_COPY", errno);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = {.api = UFFD_API};
	pthread_t thread;
	size_t n = 0;

	if (argc != 3) {
		fprintf(stderr, "Usage: uffdlat PAGES SECONDS\n");
		return 2;
	}
	size_t pages = number(argv[1], 1, PAGES_MAX), seconds = number(argv[2], 1, 3600);
	uint64_t *took = calloc(pages, sizeof(*took));
	uint8_t *at = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (!took || at == MAP_FAILED)
		fail("memory", errno);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		fail("userfaultfd", errno);
	struct uffdio_register reg = {.range = {.start = (uintptr_t)at, .len = pages * PAGE_BYTES},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		fail("UFFDIO_REGISTER", errno);
	if (pthread_create(&thread, NULL, serve, &fd))
		fail("thread", errno);
	uint64_t end = now_ns() + seconds * 1000000000u;
	while (n < pages && (n == 0 || now_ns() < end)) {
		uint64_t start = now_ns();

		if (*(volatile uint8_t *)(at + n * PAGE_BYTES) != 1)
			fail("a page came without its bytes", 0);
		took[n++] = now_ns() - start;
	}
	sort_ns(took, n);
	printf("uffdlat p50=%" PRIu64 " p99=%" PRIu64 " n=%zu\n", percentile(took, n, 50), percentile(took, n, 99), n);
	return 0;
}
