/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts from any vCPU or device to any vCPU: resolved to a set of vCPUs at the sender, delivered at once to those that
 * are here, and by one message to each other node that has some of them.
 *
 * Each node keeps a table of how every LAPIC can be addressed. It changes when a guest switches a LAPIC's mode or writes its
 * logical id, a few times a boot; the vCPU that does so waits until every node has the change, so that no program that learns of
 * it through memory can send by the old table.
 *
 * I1: an IPI never overtakes the writes made before it. The sender's writes were made with the right WRITE, for which every other
 * copy had been dropped first; so whatever the receiver reads after the interrupt is fetched anew. Page tables that several nodes
 * have writable (dsm/replica.h) are brought up to date first: `release`. Not for a device's interrupt, which no write of a vCPU
 * here comes before but by way of an exit of its own.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vcpu/vcpu.h"

#define ROUTE_TIMEOUT_NS (10 * NS_PER_SEC)
#define XAPIC_IDS        255u /* 0 to 254; 255 is the broadcast */

static void deliver(struct vcpu *vcpu, enum apic_delivery mode, uint8_t vector, bool level)
{
	pthread_mutex_lock(&vcpu->lock);
	if (lapic_deliver(&vcpu->lapic, mode, vector, level))
		vcpu_kick_locked(vcpu);
	pthread_mutex_unlock(&vcpu->lock);
}

/* The members of `set` in [first, end), as one message. Returns false if there are none. */
static bool part_of(const struct vcpuset *set, vcpu_t first, vcpu_t end, struct wire_ipi *msg)
{
	bool any = false;

	for (vcpu_t v = vcpuset_next(set, first); v < end; v = vcpuset_next(set, v + 1)) {
		msg->vcpus[v / 64] |= (uint64_t)1 << (v % 64);
		any = true;
	}
	return any;
}

/* Is one of them on another node? */
static bool leaves(const struct vcpus *vcpus, const struct vcpuset *set)
{
	vcpu_t first = vcpuset_next(set, 0), end = vcpus->first + vcpus->count;

	return first < vcpus->first || (end < VCPUS_MAX && vcpuset_next(set, end) != VCPU_NONE);
}

void ipi_send(struct vcpus *vcpus, vcpu_t from, const struct apic_ipi *ipi)
{
	struct vcpuset set;

	vcpuset_clear(&set);
	pthread_rwlock_rdlock(&vcpus->route_lock);
	apic_resolve(vcpus->route, vcpus->total, from, ipi, &set);
	pthread_rwlock_unlock(&vcpus->route_lock);
	atomic_fetch_add_explicit(&vcpus->counters.ipis_sent, 1, memory_order_relaxed);

	vcpu_t end = vcpus->first + vcpus->count;
	if (from != VCPU_NONE && leaves(vcpus, &set) && vcpus->config.sink->release(vcpus->config.sink)) {
		vcpus->config.sink->failed(vcpus->config.sink, from, "page tables could not be brought up to date on all nodes");
		return;
	}
	for (vcpu_t v = vcpuset_next(&set, vcpus->first); v < end; v = vcpuset_next(&set, v + 1))
		deliver(&vcpus->vcpu[v - vcpus->first], ipi->mode, ipi->vector, ipi->level_trig);
	for (node_t n = 0; n < vcpus->config.nodes; n++) {
		struct wire_ipi msg = {
			.vector = ipi->vector,
			.mode = (uint8_t)ipi->mode,
			.level_trig = ipi->level_trig,
			.assert = ipi->assert,
		};
		struct wire_hdr hdr = {.type = WIRE_IPI, .len = sizeof(msg)};

		if (n == vcpus->config.self || !part_of(&set, vcpus->node_first[n], vcpus->node_first[n + 1], &msg))
			continue;
		atomic_fetch_add_explicit(&vcpus->counters.ipi_messages, 1, memory_order_relaxed);
		net_post(vcpus->config.control, n, &hdr, &msg); /* a lost peer is told by its lane, and ends the machine */
	}
}

int ipi_receive(struct vcpus *vcpus, const struct wire_ipi *msg)
{
	vcpu_t end = vcpus->first + vcpus->count;
	struct vcpuset set;

	atomic_fetch_add_explicit(&vcpus->counters.ipi_received, 1, memory_order_relaxed);
	memcpy(set.word, msg->vcpus, sizeof(set.word));
	vcpu_t lowest = vcpuset_next(&set, 0);
	if (lowest < vcpus->first || (end < VCPUS_MAX && vcpuset_next(&set, end) != VCPU_NONE))
		return -EINVAL;
	for (vcpu_t v = lowest; v < end; v = vcpuset_next(&set, v + 1))
		deliver(&vcpus->vcpu[v - vcpus->first], (enum apic_delivery)msg->mode, msg->vector, msg->level_trig);
	return 0;
}

/* The tables also name an id for each node, behind those of the vCPUs (vmm/acpi.c, build_srat). */
void ipi_power_on_lapic(const struct vcpus *vcpus, struct lapic *lapic, vcpu_t id)
{
	if (vcpus->total + vcpus->config.nodes > XAPIC_IDS)
		lapic_init_x2apic(lapic, id, id == 0);
	else
		lapic_init(lapic, id, id == 0);
}

void ipi_routes_reset(struct vcpus *vcpus)
{
	struct lapic l;

	pthread_rwlock_wrlock(&vcpus->route_lock);
	for (vcpu_t v = 0; v < vcpus->total; v++) {
		ipi_power_on_lapic(vcpus, &l, v);
		lapic_route(&l, &vcpus->route[v]);
	}
	pthread_rwlock_unlock(&vcpus->route_lock);
}

void ipi_route_changed(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->set;
	struct apic_route route;
	uint64_t end_ns = clock_ns() + ROUTE_TIMEOUT_NS;
	struct timespec end = clock_timespec(end_ns);
	int rc = 0;

	pthread_mutex_lock(&vcpu->lock);
	lapic_route(&vcpu->lapic, &route);
	pthread_mutex_unlock(&vcpu->lock);
	pthread_rwlock_wrlock(&vcpus->route_lock);
	vcpus->route[vcpu->id] = route;
	pthread_rwlock_unlock(&vcpus->route_lock);
	if (vcpus->config.nodes == 1)
		return;

	struct wire_route msg = {
		.vcpu = vcpu->id,
		.id = route.id,
		.ldr = route.ldr,
		.dfr = route.dfr,
		.mode = (uint8_t)route.mode,
		.sw_enabled = route.sw_enabled,
	};
	struct wire_hdr hdr = {
		.type = WIRE_ROUTE,
		.len = sizeof(msg),
		.seq = atomic_fetch_add_explicit(&vcpus->next_seq, 1, memory_order_relaxed),
	};
	pthread_mutex_lock(&vcpu->lock);
	vcpu->route_waiting = true;
	vcpu->route_seq = hdr.seq;
	vcpu->route_acks = vcpus->config.nodes - 1;
	pthread_mutex_unlock(&vcpu->lock);
	for (node_t n = 0; n < vcpus->config.nodes; n++)
		if (n != vcpus->config.self)
			net_post(vcpus->config.control, n, &hdr, &msg);
	pthread_mutex_lock(&vcpu->lock);
	while (vcpu->route_acks && !vcpu->quit && rc == 0)
		rc = pthread_cond_timedwait(&vcpu->cond, &vcpu->lock, &end);
	vcpu->route_waiting = false;
	bool failed = vcpu->route_acks && !vcpu->quit;
	pthread_mutex_unlock(&vcpu->lock);
	if (failed)
		vcpus->config.sink->failed(vcpus->config.sink, vcpu->id,
					   "the other nodes did not take a new interrupt route within 10 s");
}

int ipi_route_receive(struct vcpus *vcpus, const struct wire_route *msg)
{
	if (msg->vcpu >= vcpus->total || vcpus_local(vcpus, msg->vcpu))
		return -EINVAL;
	pthread_rwlock_wrlock(&vcpus->route_lock);
	vcpus->route[msg->vcpu] = (struct apic_route){
		.mode = (enum apic_mode)msg->mode,
		.id = msg->id,
		.ldr = msg->ldr,
		.dfr = msg->dfr,
		.sw_enabled = msg->sw_enabled,
	};
	pthread_rwlock_unlock(&vcpus->route_lock);
	return 0;
}

void ipi_route_ack(struct vcpus *vcpus, uint32_t seq)
{
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		if (vcpu->route_waiting && vcpu->route_seq == seq && vcpu->route_acks) {
			vcpu->route_acks--;
			if (!vcpu->route_acks)
				pthread_cond_broadcast(&vcpu->cond);
		}
		pthread_mutex_unlock(&vcpu->lock);
	}
}
