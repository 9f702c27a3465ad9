/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's time-stamp counter on this node: guest = host * guest_khz / host_khz + offset.
 *
 * Node 0's counter and rate are the machine's. Each other node is told the offset that makes its guest counter
 * agree with node 0's, measured over the control lane at start. Where the rates differ by more than KVM tolerates,
 * KVM scales in hardware; a host that would have to and cannot is refused. Written before a vCPU runs, then read-only.
 */
#ifndef VCPU_TSC_H
#define VCPU_TSC_H

#include "base/clock.h"
#include "base/types.h"

struct tsc {
	uint32_t host_khz;
	uint32_t guest_khz;
	bool scaled;
	uint64_t offset; /* modulo 2^64 */
};

/* Guest counter at a given host counter. */
static inline uint64_t tsc_guest(const struct tsc *tsc, uint64_t host)
{
	if (tsc->scaled)
		host = (uint64_t)((unsigned __int128)host * tsc->guest_khz / tsc->host_khz);
	return host + tsc->offset;
}

static inline uint64_t tsc_now(const struct tsc *tsc)
{
	return tsc_guest(tsc, clock_tsc());
}

/* True if KVM must scale between these rates: they differ by more than it tolerates. */
bool tsc_needs_scaling(uint32_t host_khz, uint32_t guest_khz);
/* Fills host_khz from KVM. -errno. */
CHECKED int tsc_probe(int vcpu_fd, struct tsc *tsc);
/* Gives a vCPU this rate and offset. -ENOTSUP: the rates differ and this host cannot scale. Logged. */
CHECKED int tsc_apply(const struct tsc *tsc, int vm_fd, int vcpu_fd);

#endif
