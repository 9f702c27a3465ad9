/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/acpi.h"
#include "vmm/control.h"
#include "vmm/hostcheck.h"

/* Where KVM on Intel puts three pages and a page of its own for real mode: in the hole below 4 GiB, where no RAM is. */
#define TSS_GPA          0xfffbd000u
#define IDENTITY_MAP_GPA 0xfffbc000u

struct vm_step {
	const char *name;
	int (*start)(struct vm *vm);
	void (*stop)(struct vm *vm);
};

/* ---- KVM ---- */

static int kvm_start(struct vm *vm)
{
	uint64_t identity = IDENTITY_MAP_GPA;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0) {
		int err = -errno;

		log_error("cannot open /dev/kvm: %s; `pangea check` says what this host lacks", strerror(-err));
		return err;
	}
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0) {
		int err = -errno;

		log_error("KVM cannot create a virtual machine: %s", strerror(-err));
		return err;
	}
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_GPA) < 0) {
		log_error("KVM cannot place its real-mode pages: %s", strerror(errno));
		return -EIO;
	}
	return 0;
}

static void kvm_stop(struct vm *vm)
{
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
}

/* ---- memory ---- */

static void on_dsm_failed(struct dsm_sink *sink, const char *why)
{
	struct vm *vm = container_of(sink, struct vm, dsm_sink);

	vm->blocked = true;
	vm_stop(vm, WIRE_STOP_ERROR, vm->config.self, 0, "%s", why);
}

static void on_dsm_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	struct vm *vm = container_of(sink, struct vm, dsm_sink);

	vm->blocked = true;
	vm_stop(vm, WIRE_STOP_LOST, peer, 0, "%s", why);
}

static int memory_start(struct vm *vm)
{
	const struct memmap *map = &vm->config.map;
	rpn_t first[NODES_MAX + 1];
	struct dsm_config config = {
		.self = vm->config.self,
		.nodes = map->nodes,
		.node_first = first,
		.shards = vm->config.shards,
		.lane = vm->config.lane ? vm->config.lane + 1 : NULL,
		.low_pages = MEMMAP_HOLE >> PAGE_SHIFT,
		.high_gpa = MEMMAP_HOLE_END,
		.without = vm->config.options >> VM_OPTION_WITHOUT_SHIFT & 0xffffff,
		.budget_bytes = vm->config.budget_bytes,
		.files_bytes = vm->config.files_bytes,
		.poll_ns = (vm->config.options >> VM_OPTION_POLL_US_SHIFT & 0xffff) * NS_PER_US,
		.activity = &vm->activity,
		.sink = &vm->dsm_sink,
	};

	char remedy[CHECK_REMEDY_BYTES];

	if (map->nodes > 1 && hostcheck_shadow_paging(remedy, sizeof(remedy))) {
		log_error("this host's KVM runs without nested paging, which machines of several nodes need; %s", remedy);
		return -ENOTSUP;
	}
	size_t bytes = MAX(map->node[vm->config.self].vcpus, 1u) * sizeof(*vm->activity.vcpu);
	vm->activity.n = map->node[vm->config.self].vcpus;
	vm->activity.vcpu = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (!vm->activity.vcpu)
		return -ENOMEM;
	memset(vm->activity.vcpu, 0, bytes);
	for (node_t n = 0; n < map->nodes; n++)
		first[n] = map->node[n].first;
	first[map->nodes] = map->pages;
	vm->dsm_sink = (struct dsm_sink){.failed = on_dsm_failed, .lost = on_dsm_lost};
	int rc = dsm_new(&config, &vm->dsm);
	for (unsigned i = 0; vm->config.lane && i < vm->config.shards; i++)
		vm->config.lane[1 + i] = NULL; /* dsm's now */
	if (rc)
		return rc;
	memmap_guestmem(map, dsm_ram(vm->dsm), &vm->mem);
	for (uint32_t i = 0; i < vm->mem.n; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = vm->mem.range[i].gpa,
			.memory_size = vm->mem.range[i].len,
			.userspace_addr = (uint64_t)(uintptr_t)vm->mem.range[i].host,
		};

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0) {
			rc = -errno;
			log_error("KVM does not take %llu MiB of guest RAM: %s", (unsigned long long)(slot.memory_size / MIB),
				  strerror(-rc));
			return rc;
		}
	}
	return dsm_start(vm->dsm);
}

static void memory_stop(struct vm *vm)
{
	dsm_free(vm->dsm);
	free(vm->activity.vcpu);
}

/* ---- devices: node 0 ---- */

static void on_machine_request(struct machine_sink *sink, enum machine_request what, uint32_t code)
{
	struct vm *vm = container_of(sink, struct vm, machine_sink);

	switch (what) {
	case MACHINE_RESET:
		vm_post(vm, VM_ORDER_REBOOT);
		break;
	case MACHINE_POWEROFF:
		vm_stop(vm, WIRE_STOP_POWEROFF, vm->config.self, 0, "the guest powered off");
		break;
	case MACHINE_EXIT:
		vm_stop(vm, WIRE_STOP_DEBUG_EXIT, vm->config.self, code >> 1, "the guest wrote %u to its debug exit port",
			code >> 1);
		break;
	}
}

static int devices_start(struct vm *vm)
{
	const struct memmap *map = &vm->config.map;
	int rc;

	if (vm->config.self != 0)
		return 0;
	vm->machine_sink.request = on_machine_request;
	rc = bus_new(&vm->bus);
	if (rc)
		return rc;
	bus_quiet(vm->bus);
	rc = irqchip_init(&vm->irq, vm->bus);
	if (rc)
		return rc;
	struct board_config config = {
		.irq = &vm->irq.sink,
		.machine = &vm->machine_sink,
		.serial = console_sink(vm->config.console),
		.ram_below_4g_bytes = memmap_low_end(map),
		.ram_above_4g_bytes = memmap_end(map) > MEMMAP_HOLE_END ? memmap_end(map) - MEMMAP_HOLE_END : 0,
	};
	rc = board_new(&config, vm->bus, &vm->board);
	if (!rc)
		bus_freeze(vm->bus);
	return rc;
}

static void devices_stop(struct vm *vm)
{
	board_free(vm->board);
	bus_free(vm->bus);
}

/* ---- vCPUs ---- */

static void on_vcpu_crashed(struct vcpu_sink *sink, vcpu_t vcpu, bool triple_fault, const char *why)
{
	struct vm *vm = container_of(sink, struct vm, vcpu_sink);

	(void)triple_fault;
	vm_stop(vm, WIRE_STOP_CRASH, vm->config.self, 0, "vCPU %u: %s", vcpu, why);
}

static void on_vcpu_failed(struct vcpu_sink *sink, vcpu_t vcpu, const char *why)
{
	struct vm *vm = container_of(sink, struct vm, vcpu_sink);

	vm_stop(vm, WIRE_STOP_ERROR, vm->config.self, 0, "vCPU %u: %s", vcpu, why);
}

static void on_eoi(struct vcpu_sink *sink, uint8_t vector)
{
	struct vm *vm = container_of(sink, struct vm, vcpu_sink);

	irqchip_eoi(&vm->irq, vector);
}

static int on_release(struct vcpu_sink *sink)
{
	return dsm_release(container_of(sink, struct vm, vcpu_sink)->dsm);
}

static void on_root(struct vcpu_sink *sink, uint64_t cr3, bool five_levels)
{
	dsm_root(container_of(sink, struct vm, vcpu_sink)->dsm, cr3, five_levels);
}

static int vcpus_start(struct vm *vm)
{
	const struct memmap *map = &vm->config.map;
	vcpu_t first[NODES_MAX + 1];
	struct vcpus_config config = {
		.kvm_fd = vm->kvm_fd,
		.vm_fd = vm->vm_fd,
		.self = vm->config.self,
		.nodes = map->nodes,
		.node_first = first,
		.cpuid = &vm->config.cpuid,
		.tsc = vm->config.tsc,
		.bus = vm->bus,
		.control = vm->config.lane ? vm->config.lane[0] : NULL,
		.activity = &vm->activity,
		.sink = &vm->vcpu_sink,
		.triple_fault_resets = vm->config.options & VM_OPTION_TRIPLE_FAULT_REBOOTS,
	};

	for (node_t n = 0; n < map->nodes; n++)
		first[n] = map->node[n].first_vcpu;
	first[map->nodes] = map->vcpus;
	vm->vcpu_sink = (struct vcpu_sink){
		.crashed = on_vcpu_crashed, .failed = on_vcpu_failed, .release = on_release, .root = on_root, .eoi = on_eoi};
	int rc = vcpus_new(&config, &vm->vcpus);
	if (!rc && vm->config.self == 0)
		irqchip_attach(&vm->irq, vm->vcpus);
	return rc;
}

static void vcpus_stop(struct vm *vm)
{
	if (vm->config.self == 0)
		irqchip_attach(&vm->irq, NULL);
	vcpus_free(vm->vcpus);
}

/* ---- the control lane ---- */

static int lane_start(struct vm *vm)
{
	return vm->config.lane ? control_start(vm, vm->config.lane[0], &vm->control) : 0;
}

static void lane_stop(struct vm *vm)
{
	control_stop(vm->control);
	clocksync_free(vm->clock);
}

static const struct vm_step vm_steps[] = {
	{"KVM", kvm_start, kvm_stop},       {"guest RAM", memory_start, memory_stop}, {"devices", devices_start, devices_stop},
	{"vCPUs", vcpus_start, vcpus_stop}, {"control lane", lane_start, lane_stop},
};

int vm_start(const struct vm_config *config, struct vm **out)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t attr;
	int rc = 0;

	if (!vm)
		return -ENOMEM;
	vm->config = *config;
	vm->answers.node_stats =
		calloc(config->map.nodes, sizeof(*vm->answers.node_stats)); /* before the thread that fills it in */
	if (!vm->answers.node_stats) {
		free(vm);
		return -ENOMEM;
	}
	vm->kvm_fd = vm->vm_fd = -1;
	vm->epoch = 1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->cond, &attr);
	pthread_condattr_destroy(&attr);
	for (size_t i = 0; i < ARRAY_SIZE(vm_steps); i++) {
		vm->steps_done = (unsigned)i + 1; /* stop functions take what a start left half-way */
		rc = vm_steps[i].start(vm);
		if (rc) {
			log_error("node %u cannot start: %s", config->self, vm_steps[i].name);
			vm_free(vm);
			return rc;
		}
	}
	*out = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	while (vm->steps_done)
		vm_steps[--vm->steps_done].stop(vm);
	for (unsigned i = 0; vm->config.lane && i < 1 + vm->config.shards; i++)
		net_free(vm->config.lane[i]);
	free(vm->answers.node_stats);
	free(vm);
}

/* ---- orders ---- */

void vm_post(struct vm *vm, enum vm_order order)
{
	pthread_mutex_lock(&vm->lock);
	vm->orders |= order;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
}

unsigned vm_wait(struct vm *vm, unsigned wanted, uint64_t deadline_ns)
{
	struct timespec ts = clock_timespec(deadline_ns);
	int rc = 0;

	wanted |= VM_ORDER_STOP;
	pthread_mutex_lock(&vm->lock);
	while (!(vm->orders & wanted) && rc == 0)
		rc = deadline_ns ? pthread_cond_timedwait(&vm->cond, &vm->lock, &ts) : pthread_cond_wait(&vm->cond, &vm->lock);
	unsigned came = vm->orders & wanted;
	vm->orders &= ~(came & ~(unsigned)VM_ORDER_STOP);
	pthread_mutex_unlock(&vm->lock);
	return came;
}

static bool note_stop(struct vm *vm, const struct wire_stop *stop, uint64_t code)
{
	pthread_mutex_lock(&vm->lock);
	bool first = !vm->stopping;
	if (first) {
		vm->stopping = true;
		vm->stop = *stop;
		vm->stop_code = code;
	}
	vm->orders |= VM_ORDER_STOP;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
	return first;
}

void vm_stop(struct vm *vm, enum wire_stop_reason reason, node_t node, uint64_t code, const char *fmt, ...)
{
	char text[WIRE_STOP_TEXT_BYTES];
	struct wire_stop stop;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	wire_stop_make(reason, node, text, &stop);
	if (note_stop(vm, &stop, code) && vm->control) {
		struct wire_hdr hdr = {
			.type = WIRE_STOP,
			.len = sizeof(stop),
			.arg = reason == WIRE_STOP_DEBUG_EXIT ? code : 0,
		};

		control_broadcast(vm->control, &hdr, &stop);
	}
}

void vm_stopped(struct vm *vm, const struct wire_stop *stop, uint64_t code)
{
	note_stop(vm, stop, code);
}

void vm_machine_text(const uint8_t session[WIRE_SESSION_BYTES], char text[VM_MACHINE_TEXT])
{
	snprintf(text, VM_MACHINE_TEXT, "%02x%02x%02x%02x", session[0], session[1], session[2], session[3]);
}

const char *vm_node_name(const struct vm *vm, node_t node, char *buf)
{
	const char *name = node < NODES_MAX ? vm->config.names[node] : "";

	if (name[0])
		snprintf(buf, VM_NODE_TEXT, "node %u (%s)", node, name);
	else
		snprintf(buf, VM_NODE_TEXT, "node %u", node);
	return buf;
}

int vm_reset_local(struct vm *vm, uint16_t epoch)
{
	int rc;

	dsm_stop(vm->dsm);
	rc = dsm_reset(vm->dsm, epoch);
	if (rc)
		return rc;
	vm->epoch = epoch;
	rc = dsm_start(vm->dsm);
	if (rc)
		return rc;
	if (vm->board) {
		board_reset(vm->board);
		irqchip_reset(&vm->irq);
	}
	return vcpus_reset(vm->vcpus, NULL, NULL);
}

int vm_enter(struct vm *vm, const struct boot_entry *entry)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	vcpus_power_on(vm->vcpus, &sregs, &regs);
	boot_regs(entry, &sregs, &regs);
	return vcpus_reset(vm->vcpus, &sregs, &regs);
}
