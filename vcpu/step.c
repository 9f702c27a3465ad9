/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "vcpu/vcpu.h"

int vcpus_set_tsc(struct vcpus *vcpus, const struct tsc *tsc)
{
	int rc = 0;

	vcpus->config.tsc = *tsc;
	for (vcpu_t i = 0; !rc && i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		vcpu->tsc = *tsc;
		rc = tsc_apply(tsc, vcpus->config.vm_fd, vcpu->fd);
		pthread_mutex_unlock(&vcpu->lock);
	}
	return rc;
}

int vcpus_step_init(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
		return 0;
	int rc = -errno;
	log_error("this kernel has no membarrier: %s; the clock cannot be corrected without: allow that system call",
		  strerror(-rc));
	return rc;
}

/*
 * A signal that is pending keeps a vCPU out of the guest: KVM looks for one with interrupts off, just before it enters. membarrier
 * sends an interrupt to every CPU that runs a thread of ours, which ends guest mode there, and returns when all were taken. So
 * after both, no vCPU is in the guest, and none goes there without having been in before_entry, where it is held. One that waits
 * for a page inside KVM_RUN is as good as out, and is not waited for.
 */
static void bring_out(struct vcpus *vcpus)
{
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		vcpu->tsc_hold = true;
		if (vcpu->in_guest) {
			vcpu->run->immediate_exit = 1;
			pthread_kill(vcpu->thread, KICK_SIGNAL);
		}
		pthread_mutex_unlock(&vcpu->lock);
	}
	if (vcpus->count > 1) /* registered: it cannot fail */
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void vcpus_step_tsc(struct vcpus *vcpus, uint64_t cycles)
{
	bring_out(vcpus);
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		vcpu->tsc_hold = false;
		vcpu->tsc_step_due += cycles;
		if (vcpu->tsc_held)
			pthread_cond_broadcast(&vcpu->cond);
		pthread_mutex_unlock(&vcpu->lock);
	}
}

bool vcpu_hold_locked(struct vcpu *vcpu)
{
	if (!vcpu->tsc_hold)
		return false;
	vcpu->tsc_held = true;
	while (vcpu->tsc_hold && !vcpu->quit)
		pthread_cond_wait(&vcpu->cond, &vcpu->lock);
	vcpu->tsc_held = false;
	return true;
}

int vcpu_step_locked(struct vcpu *vcpu)
{
	if (!vcpu->tsc_step_due)
		return 0;
	int rc = tsc_step(vcpu->fd, vcpu->tsc_step_due);

	if (!rc) {
		vcpu->tsc.offset += vcpu->tsc_step_due;
		vcpu->tsc_step_due = 0;
	}
	return rc;
}
