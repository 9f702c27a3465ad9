/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultbench: the time of a remote fault on this machine itself, without a guest kernel: for hosts whose KVM emulates those.
 *
 *      faultbench host|rdma|seq|cpl3 PAGES SECONDS [CPU0 CPU1]  cpl3: GUEST (build/guests/cpl3-pvh) in $CPL3_GUEST
 *
 * Two nodes in two processes, dsm and lane as they ship: node 0 faults, node 1 is home and owner of the pages. CPU0 and CPU1
 * are where the processes stay. Who faults:
 *
 *      host   a thread of node 0 touches the guest view; the lane is TCP's
 *      rdma   likewise, over RDMA by this host's first device
 *      seq    likewise, over TCP; it reads all of it in sequence, which asks ahead
 *      cpl3   a vCPU of node 0 in guest user mode does (tests/guests/cpl3.c), in KVM; TCP
 *
 * The measured part of a fault is one request to node 1 and one reply with the page. Before each kind node 1 writes all the pages
 * again, and node 0 touches the first page of each 2 MiB block, so that the block is split already.
 *
 * Prints `faultbench fault-read p50=.. p99=.. n=..` and the same for fault-write, in ns; seq: `faultbench sequential-read rate=..`,
 * kB/s (10^3). What was read is checked (host, rdma, seq).
 * Exit: 0; 1 something failed, in one line on stderr; 2 usage; 77 KVM is not there. Ended by SIGALRM after SECONDS.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "net/rdma.h"
#include "tests/bench/bench.h"
#include "tests/bench/engine.h"
#include "vmm/boot.h"
#include "vmm/memmap.h"

#define NODE0_BYTES (32 * MIB)
#define PAGES_MAX   65536ul
#define PORT_SERIAL 0x3f8
#define PORT_EXIT   0xf4
#define FILE_MAX    (1 << 20)
#define CPUID_MAX   256
#define CONNECT_NS  (10 * NS_PER_SEC)
#define TEXT_MAX    4096

struct bench {
	struct dsm_sink sink;
	struct memmap map;
	struct dsm *dsm;
	uint64_t pages, seconds;
	bool rdma;
	rpn_t first;
	int command, done; /* pipes to and from node 1 */
	pid_t peer;
	volatile bool over; /* from here on a lost peer is no news */
};

static void must(int rc, const char *what)
{
	if (rc < 0)
		fail(what, rc == -1 ? errno : rc);
}

static void on_failed(struct dsm_sink *sink, const char *why)
{
	(void)sink;
	fail(why, 0);
}

static void on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	(void)peer;
	if (!container_of(sink, struct bench, sink)->over)
		fail(why, 0);
}

static volatile uint64_t *word(const struct bench *b, uint64_t page)
{
	return (volatile uint64_t *)(uintptr_t)(dsm_ram(b->dsm) + (b->first + page) * PAGE_BYTES) + 128;
}

/* The lane of the pages over RDMA; how to be reached goes over `fd`, which stays the lane's socket. */
static void rdma_lane(node_t self, const int *fds, int fd, struct net_lane **lane)
{
	uint64_t deadline = clock_ns() + CONNECT_NS;
	struct wire_rdma offer;
	struct rdma_links *links;
	struct rdma_here here;
	struct net_why why;

	if (rdma_probe(&here, &why) || rdma_links_new(self, 2, 2, &here, &links, &why))
		fail(why.text, 0);
	if (self == 1 && (rdma_links_offer(links, &offer, &why) || send(fd, &offer, sizeof(offer), 0) != sizeof(offer) ||
			  rdma_links_answer(links, 0, &offer, -1, deadline, &why)))
		fail(why.text, 0);
	if (self == 0 &&
	    (recv(fd, &offer, sizeof(offer), MSG_WAITALL) != sizeof(offer) || rdma_links_dial(links, 1, &offer, deadline, &why)))
		fail(why.text, 0);
	must(rdma_lane_new(links, 1, fds, lane), "RDMA lane");
	rdma_links_free(links);
}

static void open_node(struct bench *b, node_t self, int fd)
{
	rpn_t first[3] = {0, b->first, b->map.pages};
	int fds[2] = {self ? fd : -1, self ? -1 : fd};
	struct net_lane *lane;
	struct dsm_config config = {.self = self, .nodes = 2, .node_first = first, .shards = 1, .lane = &lane, .sink = &b->sink};

	if (b->rdma)
		rdma_lane(self, fds, fd, &lane);
	else
		must(tcp_lane_new(self, 2, 1, fds, engine_wanted(), &lane), "TCP lane");
	must(dsm_new(&config, &b->dsm), "dsm");
	must(dsm_start(b->dsm), "dsm");
}

/* Node 1: for each number it is given, writes that number plus the page's into every page, and gives the number back. */
__attribute__((noreturn)) static void peer_main(struct bench *b, int fd, int in, int out)
{
	uint64_t tag;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	b->over = true;
	open_node(b, 1, fd);
	while (read(in, &tag, sizeof(tag)) == sizeof(tag)) {
		for (uint64_t i = 0; i < b->pages; i++)
			*word(b, i) = tag + i;
		if (write(out, &tag, sizeof(tag)) != sizeof(tag))
			break;
	}
	_exit(0);
}

static void start(struct bench *b, const int cpu[2])
{
	uint64_t bytes = (b->pages * PAGE_BYTES + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	struct memmap_spec spec[2] = {{.vcpus = 1, .bytes = NODE0_BYTES}, {.vcpus = 0, .bytes = bytes}};
	int in[2], out[2], listener, fd[2];
	char address[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;

	must(memmap_build(spec, 2, &b->map), "memory map");
	b->first = b->map.node[1].first;
	if (tcp_listen("127.0.0.1:0", &listener, &port, &why) || tcp_connect("127.0.0.1", port, 1000, &fd[0], &why) ||
	    tcp_accept(listener, 1000, &fd[1], address, &why))
		fail(why.text, 0);
	must(pipe2(in, O_CLOEXEC), "pipe");
	must(pipe2(out, O_CLOEXEC), "pipe");
	fflush(stdout);
	b->peer = fork();
	must(b->peer, "fork");
	if (!b->peer) {
		pin(cpu[1]);
		close(fd[0]);
		close(in[1]);
		peer_main(b, fd[1], in[0], out[1]);
	}
	pin(cpu[0]);
	close(fd[1]);
	close(in[0]);
	b->command = in[1];
	b->done = out[0];
	open_node(b, 0, fd[0]);
}

/* All pages to node 1, with these bytes; then the first touch of each block. */
static void prepare(struct bench *b, uint64_t tag)
{
	uint64_t answer = 0;

	if (write(b->command, &tag, sizeof(tag)) != sizeof(tag) || read(b->done, &answer, sizeof(answer)) != sizeof(answer) ||
	    answer != tag)
		fail("node 1 ended", 0);
	for (uint64_t i = 0; i < b->pages; i += BLOCK_PAGES)
		*word(b, i) = *word(b, i) + 0;
}

/* ---- a thread faults ---- */

static void report(const char *name, uint64_t *ns, uint64_t n)
{
	sort_ns(ns, n);
	printf("faultbench %s p50=%llu p99=%llu n=%llu\n", name, (unsigned long long)percentile(ns, n, 50),
	       (unsigned long long)percentile(ns, n, 99), (unsigned long long)n);
}

/* In a random order, which nothing can foresee; the first page of a block is not measured, as it is there already. */
static void touch(struct bench *b, const char *name, bool write, uint64_t tag)
{
	uint64_t *ns = calloc(b->pages, sizeof(*ns)), *order = calloc(b->pages, sizeof(*order));
	uint64_t n = 0, wrong = 0;

	if (!ns || !order)
		fail("memory", ENOMEM);
	for (uint64_t i = 0; i < b->pages; i++)
		if (i % BLOCK_PAGES)
			order[n++] = i;
	shuffle(order, n);
	memset(ns, 1, n * sizeof(*ns));
	for (uint64_t i = 0; i < n; i++) {
		volatile uint64_t *w = word(b, order[i]);
		uint64_t begin = clock_ns(), seen = tag + order[i];
		if (write)
			*w = tag;
		else
			seen = *w;
		ns[i] = clock_ns() - begin;
		wrong += seen != tag + order[i];
	}
	report(name, ns, n);
	free(ns);
	free(order);
	if (wrong)
		fail("a page was read with other bytes than node 1 wrote", 0);
}

/* Every word of every page, ascending; the others than node 1 wrote are 0. */
static void read_in_sequence(struct bench *b, uint64_t tag)
{
	const volatile uint64_t *p = (const volatile uint64_t *)(uintptr_t)(dsm_ram(b->dsm) + b->first * PAGE_BYTES);
	uint64_t words = b->pages * PAGE_BYTES / sizeof(*p), sum = 0, begin = clock_ns();

	for (uint64_t i = 0; i < words; i++)
		sum += p[i];
	uint64_t ns = clock_ns() - begin;
	printf("faultbench sequential-read rate=%llu\n", (unsigned long long)(b->pages * PAGE_BYTES * 1000000 / (ns ? ns : 1)));
	if (sum != b->pages * tag + b->pages * (b->pages - 1) / 2)
		fail("other bytes were read than node 1 wrote", 0);
}

/* ---- a vCPU faults ---- */

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	struct guestmem mem;
	uint8_t *file;
	size_t file_bytes;
};

static void open_machine(struct bench *b, struct machine *m)
{
	struct kvm_userspace_memory_region region = {.memory_size = b->map.pages * PAGE_BYTES,
						     .userspace_addr = (uintptr_t)dsm_ram(b->dsm)};
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0) {
		fprintf(stderr, "faultbench: /dev/kvm: %s\n", strerror(errno));
		_exit(77);
	}
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	must(m->vm, "KVM_CREATE_VM");
	(void)!ioctl(m->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul); /* wanted by KVM on Intel only */
	must(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	must(m->vcpu, "KVM_CREATE_VCPU");
	int bytes = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	must(bytes, "KVM_GET_VCPU_MMAP_SIZE");
	m->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->run == MAP_FAILED || !cpuid)
		fail("the vCPU's shared page", errno);
	cpuid->nent = CPUID_MAX;
	must(ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
	must(ioctl(m->vcpu, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
	free(cpuid);
	memmap_guestmem(&b->map, dsm_ram(b->dsm), &m->mem);
}

static void read_guest(struct machine *m)
{
	const char *path = getenv("CPL3_GUEST");
	int fd = open(path ? path : "build/guests/cpl3-pvh", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	m->file = malloc(FILE_MAX);
	if (fd < 0 || !m->file)
		fail("the guest (tests/guests/build makes build/guests/cpl3-pvh)", errno);
	while ((n = read(fd, m->file + m->file_bytes, FILE_MAX - m->file_bytes)) > 0)
		m->file_bytes += (size_t)n;
	close(fd);
}

static uint64_t tsc_khz(void)
{
	uint64_t ns = clock_ns(), tsc = clock_tsc();

	usleep(50000);
	return (clock_tsc() - tsc) * 1000000 / (clock_ns() - ns);
}

/* Runs the guest to its end; what it prints is in `text`. */
static void run_guest(struct bench *b, struct machine *m, const char *mode, char text[TEXT_MAX])
{
	struct boot_request request = {.kernel = {"cpl3", m->file, m->file_bytes}};
	struct boot_entry entry;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	char cmdline[256];
	size_t len = 0;

	snprintf(cmdline, sizeof(cmdline), "first=0x%llx pages=%llu mode=%s khz=%llu", (unsigned long long)memmap_gpa(b->first),
		 (unsigned long long)b->pages, mode, (unsigned long long)tsc_khz());
	request.cmdline = cmdline;
	must(boot_load(&request, &b->map, &m->mem, &entry), "the guest cannot be loaded");
	must(ioctl(m->vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	boot_regs(&entry, &sregs, &regs);
	must(ioctl(m->vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(m->vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	text[0] = 0;
	for (;;) {
		if (ioctl(m->vcpu, KVM_RUN, 0)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			fail("KVM_RUN", errno);
		}
		const uint8_t *data = (const uint8_t *)m->run + m->run->io.data_offset;
		if (m->run->exit_reason != KVM_EXIT_IO || m->run->io.direction != KVM_EXIT_IO_OUT) {
			fprintf(stderr, "faultbench: the guest ended with KVM exit %u after \"%s\"\n", m->run->exit_reason, text);
			_exit(1);
		}
		if (m->run->io.port == PORT_SERIAL && len + 1 < TEXT_MAX) {
			text[len++] = (char)*data;
			text[len] = 0;
		}
		if (m->run->io.port == PORT_EXIT) {
			if (*data)
				fail(text, 0);
			return;
		}
	}
}

/* The guest's line `cpl3 NAME p50=.. p99=.. ... n=.. ns` as ours. */
static void print_line(const char *text, const char *name)
{
	char start[64];
	unsigned long long p50, p99;
	const char *line;

	snprintf(start, sizeof(start), "cpl3 %s p50=", name);
	line = strstr(text, start);
	if (!line || sscanf(line + strlen(start), "%llu p99=%llu", &p50, &p99) != 2)
		fail("the guest did not print the line wanted", 0);
	printf("faultbench %s p50=%llu p99=%llu\n", name, p50, p99);
}

/* A machine for each kind, so that nothing is mapped in KVM yet. */
static void with_guest(struct bench *b)
{
	struct machine read = {0}, write = {0};
	char text[TEXT_MAX];

	read_guest(&read);
	open_machine(b, &read);
	prepare(b, 1000);
	run_guest(b, &read, "read", text);
	print_line(text, "loop");
	print_line(text, "fault-read");
	read_guest(&write);
	open_machine(b, &write);
	prepare(b, 2000);
	run_guest(b, &write, "write", text);
	print_line(text, "fault-write");
	free(read.file);
	free(write.file);
}

int main(int argc, char **argv)
{
	static struct bench b = {.sink = {.failed = on_failed, .lost = on_lost}};
	int cpu[2] = {-1, -1};

	if ((argc != 4 && argc != 6) || (strcmp(argv[1], "host") != 0 && strcmp(argv[1], "rdma") != 0 &&
					 strcmp(argv[1], "seq") != 0 && strcmp(argv[1], "cpl3") != 0)) {
		fprintf(stderr, "Usage: faultbench host|rdma|seq|cpl3 PAGES SECONDS [CPU0 CPU1]\n");
		return 2;
	}
	b.rdma = !strcmp(argv[1], "rdma");
	b.pages = number(argv[2], 2, PAGES_MAX);
	b.seconds = number(argv[3], 1, 3600);
	for (int i = 0; argc == 6 && i < 2; i++)
		cpu[i] = (int)number(argv[4 + i], 0, CPU_SETSIZE - 1);
	alarm((unsigned)b.seconds);
	start(&b, cpu);
	if (!strcmp(argv[1], "cpl3")) {
		with_guest(&b);
	} else if (!strcmp(argv[1], "seq")) {
		prepare(&b, 1000);
		read_in_sequence(&b, 1000);
	} else {
		prepare(&b, 1000);
		touch(&b, "fault-read", false, 1000);
		prepare(&b, 2000);
		touch(&b, "fault-write", true, 2000);
	}
	fflush(stdout);
	b.over = true;
	kill(b.peer, SIGKILL);
	waitpid(b.peer, NULL, 0);
	_exit(0);
}
