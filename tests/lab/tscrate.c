/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tscrate: a lab host whose time stamp counter runs at another rate. Preloaded into its QEMU with TSCRATE_PPM=200 (or -35.5).
 *
 * QEMU's emulated CPUs show this machine's counter. Here rdtsc traps (prctl PR_SET_TSC, a flag that threads inherit) and the
 * handler gives what a faster or slower counter would show. So it is the whole host that has another rate: its kernel's clock, the
 * KVM in it, the guests of that. Only the vDSO, QEMU's own clock and timers, is given the true one.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#define VDSO_BYTES 0x4000u

static uint64_t base;
static int64_t ppb;
static uintptr_t vdso;

static uint64_t true_tsc(unsigned *aux)
{
	uint64_t v;

	syscall(SYS_prctl, PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0);
	v = aux ? __rdtscp(aux) : __rdtsc();
	syscall(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
	return v;
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *code = (const uint8_t *)(uintptr_t)r[REG_RIP];
	int rdtsc = info->si_code == SI_KERNEL && code[0] == 0x0f && code[1] == 0x31;
	int rdtscp = info->si_code == SI_KERNEL && code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9;
	unsigned aux = 0;

	if (!rdtsc && !rdtscp) { /* a fault of QEMU's own: it comes again, and ends it */
		signal(sig, SIG_DFL);
		return;
	}
	uint64_t v = true_tsc(rdtscp ? &aux : NULL);
	if ((uintptr_t)r[REG_RIP] - vdso >= VDSO_BYTES)
		v += (uint64_t)(int64_t)((__int128)(v - base) * ppb / 1000000000);
	r[REG_RAX] = (greg_t)(v & 0xffffffff);
	r[REG_RDX] = (greg_t)(v >> 32);
	if (rdtscp)
		r[REG_RCX] = aux;
	r[REG_RIP] += rdtscp ? 3 : 2;
}

__attribute__((constructor)) static void start(void)
{
	struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};
	const char *ppm = getenv("TSCRATE_PPM");

	if (!ppm)
		return;
	ppb = (int64_t)(strtod(ppm, NULL) * 1000);
	base = __rdtsc();
	vdso = getauxval(AT_SYSINFO_EHDR);
	if (sigaction(SIGSEGV, &act, NULL) || prctl(PR_SET_TSC, PR_TSC_SIGSEGV))
		abort();
}
