/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What processor the guest sees: the intersection of what KVM offers on every node, less what would break or slow
 * a machine made of several hosts. Pure but for cpuid_supported. Sources: Intel SDM vol. 2A CPUID; AMD APM vol. 3
 * appendix E; Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef VCPU_CPUID_H
#define VCPU_CPUID_H

#include <linux/kvm.h>

#include "base/types.h"

#define CPUID_MAX 256u

struct cpuid_set {
	uint32_t n;
	struct kvm_cpuid_entry2 entry[CPUID_MAX];
};

/* What KVM supports on this host. -errno, logged. */
CHECKED int cpuid_supported(int kvm_fd, struct cpuid_set *out);

/* Keeps of `set` what `other` has too. -EXDEV: the vendors differ, nothing changed. */
CHECKED int cpuid_intersect(struct cpuid_set *set, const struct cpuid_set *other);

/* Makes the machine's set out of the intersection: adds x2APIC, TSC deadline, the hypervisor leaves; takes away nested
 * virtualisation, MONITOR, TSC_ADJUST and every KVM feature that shares a page between vCPUs. */
void cpuid_machine(struct cpuid_set *set, bool tsc_invariant);

/* One vCPU's copy: its APIC id, a package of its own. */
void cpuid_for_vcpu(const struct cpuid_set *machine, vcpu_t vcpu, struct cpuid_set *out);

/* Twelve letters and a NUL. */
void cpuid_vendor(const struct cpuid_set *set, char vendor[13]);

#endif
