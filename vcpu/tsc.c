/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/tsc.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"

/* KVM itself treats rates this close as equal (its tsc_tolerance_ppm). */
#define TOLERANCE_PPM 250

bool tsc_needs_scaling(uint32_t host_khz, uint32_t guest_khz)
{
	uint64_t diff = host_khz > guest_khz ? host_khz - guest_khz : guest_khz - host_khz;

	return diff * 1000000 > (uint64_t)guest_khz * TOLERANCE_PPM;
}

void tsc_set_rates(struct tsc *tsc, uint32_t host_khz, uint32_t guest_khz, bool intel)
{
	tsc->host_khz = host_khz;
	tsc->guest_khz = guest_khz;
	tsc->scaled = tsc_needs_scaling(host_khz, guest_khz);
	tsc->ratio_bits = intel ? 48 : 32;
	tsc->ratio = (uint64_t)(((unsigned __int128)guest_khz << tsc->ratio_bits) / host_khz);
}

int tsc_probe(int vcpu_fd, struct tsc *tsc)
{
	int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ);

	if (khz <= 0) {
		log_error("KVM does not tell the rate of this host's time-stamp counter: %s", strerror(errno));
		return -ENOTSUP;
	}
	tsc->host_khz = (uint32_t)khz;
	return 0;
}

int tsc_apply(const struct tsc *tsc, int vm_fd, int vcpu_fd)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)&tsc->offset,
	};

	if (tsc->scaled) {
		if (ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0 ||
		    ioctl(vcpu_fd, KVM_SET_TSC_KHZ, tsc->guest_khz) < 0) {
			log_error("node 0's time-stamp counter runs at %u kHz, this host's at %u kHz, and this processor cannot "
				  "scale: "
				  "use hosts of the same rate",
				  tsc->guest_khz, tsc->host_khz);
			return -ENOTSUP;
		}
	}
	if (ioctl(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr) < 0) {
		log_error("cannot set the guest's time-stamp counter: %s; Linux 6.1 or newer is needed", strerror(errno));
		return -ENOTSUP;
	}
	return 0;
}

int tsc_step(int vcpu_fd, uint64_t cycles)
{
	uint64_t offset = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)&offset,
	};

	if (ioctl(vcpu_fd, KVM_GET_DEVICE_ATTR, &attr) == 0) {
		offset += cycles;
		if (ioctl(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr) == 0)
			return 0;
	}
	int rc = -errno;
	log_error("KVM does not let the guest's time-stamp counter be corrected: %s", strerror(-rc));
	return rc;
}
