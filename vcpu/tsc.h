/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's time-stamp counter on this node: guest = host, scaled from host_khz to guest_khz, + offset.
 *
 * Node 0's counter and rate are the machine's. Where the rates differ by more than KVM tolerates, KVM scales in hardware; a host
 * that would have to and cannot is refused. Each other node gives its offset the value that makes its guest counter agree with node
 * 0's before a vCPU runs, and corrects it from then on (oneclock.h, vmm/clocksync.h). Each vCPU has a copy, its thread's: what the
 * guest on it sees.
 */
#ifndef VCPU_TSC_H
#define VCPU_TSC_H

#include "base/clock.h"
#include "base/types.h"

struct tsc {
	uint32_t host_khz;
	uint32_t guest_khz;
	bool scaled;
	uint8_t ratio_bits; /* scaled: guest = host * ratio >> ratio_bits */
	uint64_t ratio;
	uint64_t offset; /* modulo 2^64 */
};

/* The raw counter: at the guest's rate, without the offset. */
static inline uint64_t tsc_raw(const struct tsc *tsc, uint64_t host)
{
	return tsc->scaled ? (uint64_t)((unsigned __int128)host * tsc->ratio >> tsc->ratio_bits) : host;
}

/* Guest counter at a given host counter. */
static inline uint64_t tsc_guest(const struct tsc *tsc, uint64_t host)
{
	return tsc_raw(tsc, host) + tsc->offset;
}

static inline uint64_t tsc_now(const struct tsc *tsc)
{
	return tsc_guest(tsc, clock_tsc());
}

/* True if KVM must scale between these rates: they differ by more than it tolerates. */
bool tsc_needs_scaling(uint32_t host_khz, uint32_t guest_khz);
/* Scales if the rates want it, exactly as the processor will: with the ratio that KVM computes, which has 48 fractional bits on
 * Intel's and 32 on AMD's. A quotient of the rates is not the same: times a counter of days, the difference is many microseconds.
 */
void tsc_set_rates(struct tsc *tsc, uint32_t host_khz, uint32_t guest_khz, bool intel);
/* Fills host_khz from KVM. -errno. */
CHECKED int tsc_probe(int vcpu_fd, struct tsc *tsc);
/* Gives a vCPU this rate and offset. -ENOTSUP: the rates differ and this host cannot scale. Logged. */
CHECKED int tsc_apply(const struct tsc *tsc, int vm_fd, int vcpu_fd);
/* Adds to the vCPU's offset, also to one that the guest has chosen itself by writing its counter. The vCPU is not in KVM_RUN.
 * -errno, logged. */
CHECKED int tsc_step(int vcpu_fd, uint64_t cycles);

#endif
