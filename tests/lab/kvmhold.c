/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmhold: keeps a virtual machine with one vCPU open for as long as it lives, and does nothing with it.
 *
 * The kernel patches its own code when the first machine is made and when the last one goes: the scheduler gets its calls for vCPU
 * threads, kvm those for vCPUs without an APIC in the kernel. The emulator now and then runs the old translation of a patched
 * instruction, an int3, for ever after; all CPUs then spin in __schedule, and the lab host is gone. (Seen by the emulator's
 * monitor.) A lab host that starts this first never patches again. It goes into the background when the machine is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	int vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);

	if (vcpu < 0) {
		fprintf(stderr, "kvmhold: cannot make a virtual machine: %s\n", strerror(errno));
		return 1;
	}
	if (daemon(0, 0) < 0)
		return 1;
	for (;;)
		pause();
}
