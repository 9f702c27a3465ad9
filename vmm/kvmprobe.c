/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvmprobe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* The guest's memory: three levels of page table that map [0, 2 MiB) to itself, and the code.
 *
 *   0x1000 PML4 -> 0x2000 PDPT -> 0x3000 PD -> one 2 MiB page;   0x4000 code
 */
#define GUEST_BYTES 0x10000
#define PML4_GPA    0x1000
#define PDPT_GPA    0x2000
#define PD_GPA      0x3000
#define CODE_GPA    0x4000
#define STACK_GPA   0x8000

#define PTE_PRESENT 0x01ull
#define PTE_WRITE   0x02ull
#define PTE_LARGE   0x80ull

#define CR0_PE   (1ull << 0)
#define CR0_NE   (1ull << 5)
#define CR0_PG   (1ull << 31)
#define CR4_PAE  (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

#define CPUID_ENTRIES 256u /* of KVM_GET_SUPPORTED_CPUID: newer processors have some sixty */
#define TRIES         3
/* Ends KVM_RUN when the guest does not. Blocked in this thread outside KVM_RUN, so no handler is ever called. */
#define LIMIT_SIGNAL SIGRTMAX

/* 1: dec %ecx; jnz 1b; hlt */
static const uint8_t code[] = {0xff, 0xc9, 0x75, 0xfc, 0xf4};

struct probe {
	int kvm;
	int vm;
	int vcpu;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_bytes;
	const char *step; /* what was tried last */
};

PRINTF_LIKE(2, 3)
static void say(char *buf, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, KVMPROBE_TEXT_BYTES, fmt, ap);
	va_end(ap);
}

static void put64(uint8_t *mem, uint64_t gpa, uint64_t value)
{
	memcpy(mem + gpa, &value, sizeof(value));
}

static int fail(struct probe *p, const char *step)
{
	int err = errno;

	p->step = step;
	return err ? -err : -EIO;
}

/* What the host has. Linux 6.12 takes no long mode from a vCPU that was not told that it has it; 6.1 does. */
static int set_cpuid(struct probe *p)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	int rc = 0;

	if (!cpuid) {
		errno = ENOMEM;
		return fail(p, "memory for the probe");
	}
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(p->kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		rc = fail(p, "KVM_GET_SUPPORTED_CPUID");
	else if (ioctl(p->vcpu, KVM_SET_CPUID2, cpuid))
		rc = fail(p, "KVM_SET_CPUID2");
	free(cpuid);
	return rc;
}

static int open_vm(struct probe *p)
{
	struct kvm_userspace_memory_region region = {.memory_size = GUEST_BYTES};
	int bytes;

	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
	if (p->vm < 0)
		return fail(p, "KVM_CREATE_VM");
	p->mem = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED)
		return fail(p, "memory for the probe");
	region.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return fail(p, "KVM_SET_USER_MEMORY_REGION");
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->vcpu < 0)
		return fail(p, "KVM_CREATE_VCPU");
	bytes = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(*p->run))
		return fail(p, "KVM_GET_VCPU_MMAP_SIZE");
	p->run_bytes = (size_t)bytes;
	p->run = mmap(NULL, p->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	if (p->run == MAP_FAILED)
		return fail(p, "the vCPU's shared page");
	put64(p->mem, PML4_GPA, PDPT_GPA | PTE_PRESENT | PTE_WRITE);
	put64(p->mem, PDPT_GPA, PD_GPA | PTE_PRESENT | PTE_WRITE);
	put64(p->mem, PD_GPA, PTE_PRESENT | PTE_WRITE | PTE_LARGE);
	memcpy(p->mem + CODE_GPA, code, sizeof(code));
	return set_cpuid(p);
}

/* 64-bit mode at CPL 0, as a kernel runs (AMD64 manual volume 2, section 14.6; Intel SDM volume 3, section 9.8.5). */
static int set_long_mode(struct probe *p)
{
	const struct kvm_segment cs = {.limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	const struct kvm_segment ds = {.limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_sregs sregs;

	if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs))
		return fail(p, "KVM_GET_SREGS");
	sregs.cs = cs;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = ds;
	sregs.cr3 = PML4_GPA;
	sregs.cr4 = CR4_PAE;
	sregs.cr0 = CR0_PE | CR0_NE | CR0_PG;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs))
		return fail(p, "KVM_SET_SREGS");
	return 0;
}

/* The loop once. -ETIME: the limit's signal came. */
static int run_loop(struct probe *p, uint32_t rounds, uint64_t *ns)
{
	struct kvm_regs regs = {.rip = CODE_GPA, .rsp = STACK_GPA, .rcx = rounds, .rflags = 2};
	uint64_t start;

	if (ioctl(p->vcpu, KVM_SET_REGS, &regs))
		return fail(p, "KVM_SET_REGS");
	start = clock_ns();
	if (ioctl(p->vcpu, KVM_RUN, 0)) {
		if (errno == EINTR)
			return -ETIME;
		return fail(p, "KVM_RUN");
	}
	*ns = clock_ns() - start;
	if (p->run->exit_reason != KVM_EXIT_HLT) {
		errno = EIO;
		return fail(p, "a loop at CPL 0 (it ended with another exit)");
	}
	return 0;
}

/* A short run first takes the faults of the first touch; then the best of a few, for the host may be busy. */
static int time_loop(struct probe *p, double *round_ns)
{
	uint64_t best = UINT64_MAX;
	uint64_t ns = 0;
	int rc = run_loop(p, 100, &ns);

	for (int i = 0; !rc && i < TRIES; i++) {
		rc = run_loop(p, KVMPROBE_ROUNDS, &ns);
		if (!rc && ns < best)
			best = ns;
		if (best <= KVMPROBE_ROUNDS)
			break; /* a nanosecond a round: no doubt is left */
	}
	if (best != UINT64_MAX) {
		*round_ns = (double)best / KVMPROBE_ROUNDS;
		return 0; /* one run that ended is an answer, though slow */
	}
	return rc;
}

_Static_assert(offsetof(struct kvm_signal_mask, sigset) == sizeof(uint32_t), "the set follows its length");

/* Let KVM_RUN, and only it, see the signal, and have the signal sent to this thread at the limit. */
static int arm_limit(struct probe *p, timer_t *timer)
{
	/* struct kvm_signal_mask, whose tail is the kernel's sigset: 8 bytes, not libc's 128. */
	struct {
		uint32_t len;
		uint8_t set[sizeof(uint64_t)];
	} mask = {.len = sizeof(mask.set)};
	uint64_t blocked = 0;
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = LIMIT_SIGNAL};
	const struct itimerspec at = {
		.it_value = {.tv_sec = KVMPROBE_LIMIT_NS / NS_PER_SEC, .tv_nsec = KVMPROBE_LIMIT_NS % NS_PER_SEC}};
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	for (int sig = 1; sig <= 64; sig++)
		if (sig != LIMIT_SIGNAL && sigismember(&now, sig) == 1)
			blocked |= 1ull << (sig - 1);
	memcpy(mask.set, &blocked, sizeof(blocked));
	if (ioctl(p->vcpu, KVM_SET_SIGNAL_MASK, &mask))
		return fail(p, "KVM_SET_SIGNAL_MASK");
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, timer))
		return fail(p, "timer_create");
	if (timer_settime(*timer, 0, &at, NULL)) {
		int rc = fail(p, "timer_settime");

		timer_delete(*timer);
		return rc;
	}
	return 0;
}

/* With the signal blocked for the time, and taken from the queue if it came, so that the caller never sees it. */
static int time_with_limit(struct probe *p, double *round_ns)
{
	const struct timespec none = {0};
	sigset_t limit;
	sigset_t before;
	timer_t timer;
	int rc;

	sigemptyset(&limit);
	sigaddset(&limit, LIMIT_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &limit, &before);
	rc = arm_limit(p, &timer);
	if (!rc) {
		rc = time_loop(p, round_ns);
		timer_delete(timer);
		while (sigtimedwait(&limit, NULL, &none) > 0)
			;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void close_all(struct probe *p)
{
	if (p->run != MAP_FAILED)
		munmap(p->run, p->run_bytes);
	if (p->vcpu >= 0)
		close(p->vcpu);
	if (p->vm >= 0)
		close(p->vm);
	if (p->mem != MAP_FAILED)
		munmap(p->mem, GUEST_BYTES);
	close(p->kvm);
}

static int no_open(struct kvmprobe *out, int err)
{
	out->err = err;
	if (err == EACCES || err == EPERM) {
		out->verdict = KVMPROBE_NO_ACCESS;
		say(out->what, "/dev/kvm is there, but this user may not open it");
		say(out->remedy, "run as root, or join the group that owns it: sudo usermod -aG kvm $USER, then log in again");
		return -err;
	}
	out->verdict = KVMPROBE_NO_DEVICE;
	if (err == ENOENT || err == ENODEV || err == ENXIO) {
		say(out->what, "there is no KVM here (/dev/kvm: %s)", strerror(err));
		say(out->remedy,
		    "modprobe kvm_intel or kvm_amd, turn virtualisation on in the firmware, or in a VM nested virtualisation");
	} else {
		say(out->what, "/dev/kvm cannot be opened: %s", strerror(err));
		say(out->remedy, "see dmesg for what KVM says");
	}
	return -err;
}

int kvmprobe(struct kvmprobe *out)
{
	struct probe p = {.vm = -1, .vcpu = -1, .mem = MAP_FAILED, .run = MAP_FAILED, .step = ""};
	int rc;

	memset(out, 0, sizeof(*out));
	p.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (p.kvm < 0)
		return no_open(out, errno);
	rc = open_vm(&p);
	if (!rc)
		rc = set_long_mode(&p);
	if (!rc)
		rc = time_with_limit(&p, &out->round_ns);
	close_all(&p);

	if (!rc && out->round_ns <= KVMPROBE_NATIVE_NS) {
		out->verdict = KVMPROBE_NATIVE;
		say(out->what, "this KVM runs guest kernels natively (%.1f ns a round)", out->round_ns);
		return 0;
	}
	if (!rc || rc == -ETIME) {
		out->verdict = KVMPROBE_EMULATED;
		if (rc)
			say(out->what, "this KVM emulates guest kernels: a loop of %u rounds did not end in %llu s",
			    KVMPROBE_ROUNDS, KVMPROBE_LIMIT_NS / NS_PER_SEC);
		else
			say(out->what, "this KVM emulates guest kernels (%.0f ns a round; natively below %u)", out->round_ns,
			    KVMPROBE_NATIVE_NS);
		say(out->remedy, "use a host whose KVM has VMX or SVM to itself, or the lab in QEMU: make demo");
		return -EOPNOTSUPP;
	}
	out->verdict = KVMPROBE_BROKEN;
	out->err = -rc;
	say(out->what, "KVM cannot run a guest: %s: %s", p.step, strerror(-rc));
	say(out->remedy, "see dmesg for what KVM says; is another hypervisor using VMX or SVM?");
	return rc;
}
