/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmprobe: does /dev/kvm of this machine run guest kernels natively?
 *
 * Runs a 64-bit loop of 300 000 rounds at CPL 0 in a VM of one vCPU and 16 KiB, and times it. A CPU takes about one nanosecond a
 * round, an emulated one (as QEMU's) a few, and a KVM that interprets guest kernel mode (kvm_pvm) about a microsecond: above 50 ns
 * a round nobody can wait for a kernel. Prints one line: "native N ns", "emulated: reason" or "absent: reason"; exit 0, 1, 2. A
 * timer ends it after 10 s whatever KVM does, as KVM_RUN ends at a signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 300000, RUNS = 5, LIMIT_NS = 50, TIMEOUT_S = 10, MEM = 0x4000, PML4 = 0x1000, PDPT = 0x2000, CODE = 0x3000 };

/* mov ecx, ROUNDS; again: dec ecx; jnz again; hlt. The count is patched in. */
static const uint8_t code[] = {0xb9, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4};

static void on_alarm(int sig)
{
	static const char say[] = "emulated: a guest kernel loop did not end within 10 s\n";

	(void)sig;
	if (write(1, say, sizeof(say) - 1) < 0)
		_exit(2);
	_exit(1);
}

static int absent(const char *what)
{
	printf("absent: %s: %s\n", what, strerror(errno));
	return 2;
}

static int emulated(const char *why, unsigned value)
{
	printf("emulated: %s %u\n", why, value);
	return 1;
}

/* A flat segment for 64-bit kernel mode (SDM volume 3, 3.4.5): selector, type (11 code, 3 data) and the L bit differ. */
static struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t l)
{
	return (struct kvm_segment){
		.selector = selector, .type = type, .limit = 0xffffffff, .present = 1, .s = 1, .l = l, .db = !l, .g = 1};
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A vCPU that was not told that it has long mode takes none from Linux 6.12 on. */
static bool set_cpuid(int kvm, int vcpu)
{
	enum { ENTRIES = 256 };
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return false;
	cpuid->nent = ENTRIES;
	bool ok = ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) == 0 && ioctl(vcpu, KVM_SET_CPUID2, cpuid) == 0;
	free(cpuid);
	return ok;
}

int main(void)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
	struct kvm_run *run;
	uint8_t *mem;
	uint32_t rounds = ROUNDS;
	uint64_t entry, begin, ns = UINT64_MAX;
	int kvm, vm, vcpu, size;

	signal(SIGALRM, on_alarm);
	alarm(TIMEOUT_S);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return absent("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return absent("/dev/kvm makes no VM");
	mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return absent("mmap");
	/* Virtual = physical for 2 MiB; the page directory is page 0. */
	entry = PDPT | 3;
	memcpy(mem + PML4, &entry, sizeof(entry));
	entry = 0 | 3;
	memcpy(mem + PDPT, &entry, sizeof(entry));
	entry = 0 | 0x83;
	memcpy(mem, &entry, sizeof(entry));
	memcpy(mem + CODE, code, sizeof(code));
	memcpy(mem + CODE + 1, &rounds, sizeof(rounds));
	struct kvm_userspace_memory_region region = {.memory_size = MEM, .userspace_addr = (uintptr_t)mem};
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return absent("/dev/kvm takes no memory");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < (int)sizeof(*run))
		return absent("/dev/kvm makes no vCPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || !set_cpuid(kvm, vcpu) || ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return absent("the vCPU's state");
	sregs.cs = segment(8, 11, 1);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(16, 3, 0);
	sregs.cr3 = PML4;
	sregs.cr4 = 0x20;       /* PAE */
	sregs.cr0 = 0x80000033; /* PG, NE, ET, MP, PE */
	sregs.efer = 0x500;     /* LMA, LME */
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		return absent("the vCPU takes no 64-bit state");
	/* The best of some runs: the first one pays for the VM's page tables, and any may lose its CPU to another process. */
	for (int i = 0; i < RUNS && (i == 0 || ns < 10 * LIMIT_NS); i++) {
		if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
			return absent("the vCPU's registers");
		begin = now_ns();
		while (ioctl(vcpu, KVM_RUN, 0) < 0)
			if (errno != EINTR && errno != EAGAIN)
				return emulated("KVM_RUN fails on a guest kernel loop, errno", (unsigned)errno);
		if (run->exit_reason != KVM_EXIT_HLT)
			return emulated("a guest kernel loop ends with KVM exit", run->exit_reason);
		if ((now_ns() - begin) / ROUNDS < ns)
			ns = (now_ns() - begin) / ROUNDS;
	}
	if (ns > LIMIT_NS) {
		printf("emulated: /dev/kvm interprets guest kernels, %u ns for a loop round that takes a CPU one\n", (unsigned)ns);
		return 1;
	}
	printf("native: %u ns a loop round in guest kernel mode\n", (unsigned)ns);
	return 0;
}
