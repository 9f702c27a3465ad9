/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "vcpu/vcpu.h"

#define MSR_IA32_TSC 0x10u

static int vcpu_error(const struct vcpu *vcpu, const char *what)
{
	int err = errno ? errno : EIO;

	log_error("vCPU %u: %s failed: %s", vcpu->id, what, strerror(err));
	return -err;
}

/* One MSR, as KVM_GET_MSRS and KVM_SET_MSRS take it. */
union one_msr {
	struct kvm_msrs head;
	uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

/* False: this vCPU does not have it. */
static bool get_msr(const struct vcpu *vcpu, uint32_t index, struct kvm_msr_entry *out)
{
	union one_msr one = {.head.nmsrs = 1};

	one.head.entries[0].index = index;
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &one) != 1)
		return false;
	*out = one.head.entries[0];
	return true;
}

static void set_msr(const struct vcpu *vcpu, const struct kvm_msr_entry *entry)
{
	union one_msr one = {.head.nmsrs = 1};

	one.head.entries[0] = *entry;
	(void)ioctl(vcpu->fd, KVM_SET_MSRS, &one);
}

/* The MSRs that KVM would save for migration, as they are now. The counter itself is not among them: it runs on. */
static int capture_msrs(struct vcpu *vcpu)
{
	struct kvm_msr_list probe = {0};
	int kvm = vcpu->set->config.kvm_fd;

	(void)ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &probe); /* E2BIG: tells how many */
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
	struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + probe.nmsrs * sizeof(msrs->entries[0]));
	int rc = -ENOMEM;

	if (!list || !msrs)
		goto out;
	list->nmsrs = probe.nmsrs;
	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, list) < 0) {
		rc = vcpu_error(vcpu, "KVM_GET_MSR_INDEX_LIST");
		goto out;
	}
	/* KVM stops at the first one that this vCPU does not have: ask for each alone. */
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		if (list->indices[i] == MSR_IA32_TSC || (list->indices[i] >= 0x4b564d00 && list->indices[i] <= 0x4b564dff))
			continue;
		if (get_msr(vcpu, list->indices[i], &msrs->entries[msrs->nmsrs]))
			msrs->nmsrs++;
	}
	vcpu->power_on.msrs = msrs;
	msrs = NULL;
	rc = 0;
out:
	free(list);
	free(msrs);
	return rc;
}

int vcpu_state_capture(struct vcpu *vcpu)
{
	struct vcpu_power_on *s = &vcpu->power_on;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s->sregs) < 0 || ioctl(vcpu->fd, KVM_GET_REGS, &s->regs) < 0 ||
	    ioctl(vcpu->fd, KVM_GET_FPU, &s->fpu) < 0 || ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &s->debugregs) < 0 ||
	    ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &s->events) < 0)
		return vcpu_error(vcpu, "reading the power-on state");
	/* Without XSAVE KVM tells an XCR0 that it does not take back. */
	s->has_xcrs = ioctl(vcpu->fd, KVM_GET_XCRS, &s->xcrs) == 0 && ioctl(vcpu->fd, KVM_SET_XCRS, &s->xcrs) == 0;
	s->sregs.apic_base = lapic_base(&vcpu->lapic);
	return capture_msrs(vcpu);
}

void vcpu_state_release(struct vcpu *vcpu)
{
	free(vcpu->power_on.msrs);
	vcpu->power_on.msrs = NULL;
}

/* Registers with the guest's hands on them: not MSRs, FPU and XCR0, which INIT leaves alone. */
static int set_registers(struct vcpu *vcpu, const struct kvm_sregs *sregs, const struct kvm_regs *regs)
{
	struct kvm_sregs s = *sregs;

	s.apic_base = lapic_base(&vcpu->lapic);
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0)
		return vcpu_error(vcpu, "KVM_SET_SREGS");
	if (ioctl(vcpu->fd, KVM_SET_REGS, regs) < 0)
		return vcpu_error(vcpu, "KVM_SET_REGS");
	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &vcpu->power_on.events) < 0)
		return vcpu_error(vcpu, "KVM_SET_VCPU_EVENTS");
	if (ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &vcpu->power_on.debugregs) < 0)
		return vcpu_error(vcpu, "KVM_SET_DEBUGREGS");
	vcpu->run->cr8 = 0;
	return 0;
}

int vcpu_state_power_on(struct vcpu *vcpu, const struct kvm_sregs *sregs, const struct kvm_regs *regs)
{
	struct vcpu_power_on *s = &vcpu->power_on;
	int rc = set_registers(vcpu, sregs ? sregs : &s->sregs, regs ? regs : &s->regs);

	if (rc)
		return rc;
	if (ioctl(vcpu->fd, KVM_SET_FPU, &s->fpu) < 0 || (s->has_xcrs && ioctl(vcpu->fd, KVM_SET_XCRS, &s->xcrs) < 0))
		return vcpu_error(vcpu, "resetting the FPU");
	/* One at a time: some that can be read cannot be written back, and those do not change either. */
	for (uint32_t i = 0; i < s->msrs->nmsrs; i++)
		if (s->msrs->entries[i].index != 0xc0000080) /* EFER: KVM_SET_SREGS did it, in step with CR0 and CR4 */
			set_msr(vcpu, &s->msrs->entries[i]);
	return 0;
}

int vcpu_state_init(struct vcpu *vcpu)
{
	return set_registers(vcpu, &vcpu->power_on.sregs, &vcpu->power_on.regs);
}

int vcpu_state_sipi(struct vcpu *vcpu, uint8_t vector)
{
	struct kvm_sregs sregs = vcpu->power_on.sregs;
	struct kvm_regs regs = vcpu->power_on.regs;

	sregs.cs.selector = (uint16_t)(vector << 8);
	sregs.cs.base = (uint64_t)vector << 12;
	regs.rip = 0;
	return set_registers(vcpu, &sregs, &regs);
}
