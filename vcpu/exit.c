/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a vCPU left the guest, and what is done about it. The only file that goes from vcpu to devices: node 0 has the
 * devices, any other node sends the access there and waits for the answer.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "devices/bus.h"
#include "vcpu/vcpu.h"

#define DEVICE_NODE      0u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x8ffu
#define SERIAL_DATA_PORT 0x3f8u
#define RESET_PORT       0xcf9u
#define RESET_VALUE      6

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* What a LAPIC access asked of the rest of the machine. The lock is not held. */
static void apply(struct vcpu *vcpu, const struct lapic_effects *effects)
{
	struct vcpus *vcpus = vcpu->set;

	if (effects->ipi)
		ipi_send(vcpus, vcpu->id, &effects->ipi_msg);
	if (effects->dest_changed)
		ipi_route_changed(vcpu);
	if (effects->eoi_vector >= 0) {
		if (vcpus->config.self == DEVICE_NODE) {
			vcpus->config.sink->eoi(vcpus->config.sink, (uint8_t)effects->eoi_vector);
		} else {
			struct wire_hdr hdr = {.type = WIRE_EOI, .arg = (uint64_t)effects->eoi_vector};

			net_post(vcpus->config.control, DEVICE_NODE, &hdr, NULL);
		}
	}
}

static struct lapic_now now_of(const struct vcpu *vcpu)
{
	uint64_t tsc = clock_tsc();

	return (struct lapic_now){.ns = clock_ns(), .tsc = tsc_guest(&vcpu->tsc, tsc)};
}

static bool give_up(struct vcpu *vcpu, const char *why)
{
	vcpu->set->config.sink->failed(vcpu->set->config.sink, vcpu->id, why);
	return false;
}

/* An access to a device of another node. A write to the serial port's data register is posted: the console's speed would
 * otherwise be that of a round trip a character, and whatever this vCPU does next there comes behind it on the same lane. */
static int remote_access(struct vcpu *vcpu, bool mmio, uint64_t addr, void *data, uint32_t len, bool write)
{
	struct vcpus *vcpus = vcpu->set;
	struct wire_io io = {.addr = addr, .len = len, .write = write, .mmio = mmio};
	struct wire_hdr hdr = {.type = WIRE_IO, .len = sizeof(io)};
	bool posted = write && !mmio && addr == SERIAL_DATA_PORT && len == 1;
	uint64_t end_ns = clock_ns() + IO_TIMEOUT_NS;
	struct timespec end = clock_timespec(end_ns);
	int rc = 0;

	if (write)
		memcpy(&io.data, data, len);
	if (vcpus->config.sink->release(vcpus->config.sink))
		return -ETIMEDOUT;
	hdr.seq = atomic_fetch_add_explicit(&vcpus->next_seq, 1, memory_order_relaxed);
	count(&vcpus->counters.remote_io);
	if (!posted) {
		pthread_mutex_lock(&vcpu->lock);
		vcpu->io_waiting = true;
		vcpu->io_seq = hdr.seq;
		pthread_mutex_unlock(&vcpu->lock);
	}
	net_post(vcpus->config.control, DEVICE_NODE, &hdr, &io);
	if (posted)
		return 0;
	pthread_mutex_lock(&vcpu->lock);
	while (vcpu->io_waiting && !vcpu->quit && rc == 0)
		rc = pthread_cond_timedwait(&vcpu->cond, &vcpu->lock, &end);
	bool answered = !vcpu->io_waiting;
	uint64_t value = vcpu->io_data;
	vcpu->io_waiting = false;
	bool quit = vcpu->quit;
	pthread_mutex_unlock(&vcpu->lock);
	if (!answered)
		return quit ? -ECANCELED : -ETIMEDOUT;
	if (!write)
		memcpy(data, &value, len);
	return 0;
}

void vcpu_io_reply(struct vcpus *vcpus, uint32_t seq, const struct wire_io *io)
{
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		if (vcpu->io_waiting && vcpu->io_seq == seq) {
			vcpu->io_waiting = false;
			vcpu->io_data = io->data;
			pthread_cond_broadcast(&vcpu->cond);
		}
		pthread_mutex_unlock(&vcpu->lock);
	}
}

static bool access_device(struct vcpu *vcpu, bool mmio, uint64_t addr, void *data, uint32_t len, bool write)
{
	struct bus *bus = vcpu->set->config.bus;
	int rc;

	if (!bus)
		rc = remote_access(vcpu, mmio, addr, data, len, write);
	else if (write)
		rc = bus_write(bus, mmio ? BUS_MMIO : BUS_PIO, addr, data, len);
	else
		rc = bus_read(bus, mmio ? BUS_MMIO : BUS_PIO, addr, data, len);
	if (rc == -EINVAL) { /* a length no device takes: as if nothing were there */
		if (!write)
			memset(data, 0xff, len);
		return true;
	}
	if (rc == -ECANCELED)
		return true;
	return rc == 0 || give_up(vcpu, "node 0 did not answer an access to a device within 20 s");
}

static bool on_pio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool ok = true;

	count(&vcpu->set->counters.pio);
	for (uint32_t i = 0; ok && i < run->io.count; i++)
		ok = access_device(vcpu, false, run->io.port, data + i * run->io.size, run->io.size,
				   run->io.direction == KVM_EXIT_IO_OUT);
	return ok;
}

/* The register page of the vCPU's own LAPIC: only whole, aligned registers are defined (SDM vol. 3A, 10.4.1). */
static bool on_lapic_page(struct vcpu *vcpu, uint32_t offset, uint8_t *data, uint32_t len, bool write)
{
	struct lapic_effects effects = {.eoi_vector = -1};
	struct lapic_now now = now_of(vcpu);
	uint32_t value = 0;
	int rc;

	pthread_mutex_lock(&vcpu->lock);
	if (write) {
		memcpy(&value, data, MIN(len, 4));
		rc = len == 4 ? lapic_mmio_write(&vcpu->lapic, offset, value, &now, &effects) : 0;
	} else {
		rc = lapic_mmio_read(&vcpu->lapic, offset & ~3u, &now, &value);
		value >>= 8 * (offset & 3);
		memset(data, 0, len);
		memcpy(data, &value, MIN(len, 4));
	}
	pthread_mutex_unlock(&vcpu->lock);
	if (rc == 0)
		apply(vcpu, &effects);
	return rc == 0;
}

static bool on_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	gpa_t gpa = run->mmio.phys_addr;

	count(&vcpu->set->counters.mmio);
	pthread_mutex_lock(&vcpu->lock);
	bool own = lapic_mode(&vcpu->lapic) == APIC_XAPIC && gpa >= lapic_mmio_base(&vcpu->lapic) &&
		   gpa - lapic_mmio_base(&vcpu->lapic) < 4096;
	uint32_t offset = (uint32_t)(gpa - lapic_mmio_base(&vcpu->lapic));
	pthread_mutex_unlock(&vcpu->lock);
	if (own && on_lapic_page(vcpu, offset, run->mmio.data, run->mmio.len, run->mmio.is_write))
		return true;
	return access_device(vcpu, true, gpa, run->mmio.data, run->mmio.len, run->mmio.is_write);
}

static bool on_msr(struct vcpu *vcpu, bool write)
{
	struct kvm_run *run = vcpu->run;
	struct lapic_effects effects = {.eoi_vector = -1};
	struct lapic_now now = now_of(vcpu);
	uint32_t msr = run->msr.index;
	int rc = -EINVAL;

	count(&vcpu->set->counters.msr);
	pthread_mutex_lock(&vcpu->lock);
	if (msr == MSR_TSC_DEADLINE) {
		rc = 0;
		if (write)
			lapic_set_tsc_deadline(&vcpu->lapic, run->msr.data, &now, &effects);
		else
			run->msr.data = lapic_tsc_deadline(&vcpu->lapic, &now);
	} else if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) {
		uint64_t value = 0;

		rc = write ? lapic_msr_write(&vcpu->lapic, msr, run->msr.data, &now, &effects)
			   : lapic_msr_read(&vcpu->lapic, msr, &now, &value);
		if (!write && rc == 0)
			run->msr.data = value;
	}
	pthread_mutex_unlock(&vcpu->lock);
	run->msr.error = rc != 0; /* #GP(0) in the guest */
	if (rc == 0)
		apply(vcpu, &effects);
	return true;
}

static bool crashed(struct vcpu *vcpu, bool triple_fault, const char *what)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};
	char why[160];

	(void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	(void)ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
	snprintf(why, sizeof(why), "%s at rip 0x%llx (cs 0x%x, cr0 0x%llx, cr3 0x%llx)", what, (unsigned long long)regs.rip,
		 sregs.cs.selector, (unsigned long long)sregs.cr0, (unsigned long long)sregs.cr3);
	vcpu->set->config.sink->crashed(vcpu->set->config.sink, vcpu->id, triple_fault, why);
	return false;
}

/* A PC's chipset answers a triple fault with a reset, which is a write to the reset register like any other. */
static bool triple_fault(struct vcpu *vcpu)
{
	uint8_t value = RESET_VALUE;

	if (!vcpu->set->config.triple_fault_resets)
		return crashed(vcpu, true, "triple fault");
	if (!access_device(vcpu, false, RESET_PORT, &value, 1, true))
		return false;
	pthread_mutex_lock(&vcpu->lock);
	vcpu->halted = true; /* until the reset comes */
	pthread_mutex_unlock(&vcpu->lock);
	return true;
}

bool vcpu_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char what[96];

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return on_pio(vcpu);
	case KVM_EXIT_MMIO:
		return on_mmio(vcpu);
	case KVM_EXIT_X86_RDMSR:
		return on_msr(vcpu, false);
	case KVM_EXIT_X86_WRMSR:
		return on_msr(vcpu, true);
	case KVM_EXIT_HLT:
		count(&vcpu->set->counters.hlt);
		pthread_mutex_lock(&vcpu->lock);
		vcpu->halted = true;
		pthread_mutex_unlock(&vcpu->lock);
		return true;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		count(&vcpu->set->counters.irq_window);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_SET_TPR: /* taken over from run->cr8 already */
		return true;
	case KVM_EXIT_SHUTDOWN:
		return triple_fault(vcpu);
	case KVM_EXIT_INTERNAL_ERROR:
		snprintf(what, sizeof(what), "KVM internal error (suberror %u)", run->internal.suberror);
		return crashed(vcpu, false, what);
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "the processor refuses the guest's state (reason 0x%llx)",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return crashed(vcpu, false, what);
	default:
		snprintf(what, sizeof(what), "unexpected KVM exit %u", run->exit_reason);
		return crashed(vcpu, false, what);
	}
}
