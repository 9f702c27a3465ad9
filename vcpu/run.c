/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "vcpu/vcpu.h"

/* A HLT polls at most this long before it sleeps; halved while polling does not pay, doubled when it would have. */
#define POLL_MAX_NS (50 * NS_PER_US)
#define POLL_MIN_NS (2 * NS_PER_US)

/* MSRs whose accesses come to us: TSC deadline. x2APIC's come anyway, there is no APIC in KVM. */
#define MSR_TSC_DEADLINE 0x6e0u

#define ROOT_EXITS 32u
#define CR0_PG     (1ull << 31)
#define CR4_LA57   (1ull << 12)
#define EFER_LMA   (1ull << 10)

static struct lapic_now now_of(const struct vcpu *vcpu)
{
	uint64_t tsc = clock_tsc();

	return (struct lapic_now){.ns = clock_ns(), .tsc = tsc_guest(&vcpu->tsc, tsc)};
}

/*
 * Runs in the vCPU's thread: the timer's signal carries the vCPU. A kick sets immediate_exit itself. The timer is spent now,
 * whatever the LAPIC says: the host's clock and its counter part by some millionths, so that it may have come a moment too early.
 */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_code == SI_TIMER) {
		struct vcpu *vcpu = info->si_value.sival_ptr;

		atomic_store_explicit(&vcpu->timer_armed_ns, 0, memory_order_relaxed);
		vcpu->run->immediate_exit = 1;
	}
}

void vcpu_kick_locked(struct vcpu *vcpu)
{
	atomic_store_explicit(&vcpu->poke, true, memory_order_release);
	if (vcpu->in_guest) {
		vcpu->run->immediate_exit = 1;
		pthread_kill(vcpu->thread, KICK_SIGNAL);
		atomic_fetch_add_explicit(&vcpu->set->counters.kicks, 1, memory_order_relaxed);
	}
	pthread_cond_broadcast(&vcpu->cond); /* a thread that pauses us may wait there too */
}

/* Something that a halted vCPU wakes for, or that one waiting for SIPI takes. */
static bool has_event(const struct vcpu *vcpu)
{
	return vcpu->quit || vcpu->pause || vcpu->dump || lapic_has_event(&vcpu->lapic);
}

/* Waits under the lock until there is an event or the LAPIC's timer is due. */
static void sleep_locked(struct vcpu *vcpu)
{
	uint64_t wait_ns;
	struct lapic_now now = now_of(vcpu);

	if (lapic_waits_for_sipi(&vcpu->lapic) || !lapic_timer_next(&vcpu->lapic, &now, vcpu->tsc.guest_khz, &wait_ns)) {
		pthread_cond_wait(&vcpu->cond, &vcpu->lock);
		return;
	}
	uint64_t end = clock_ns() + wait_ns;
	struct timespec ts = clock_timespec(end);
	pthread_cond_timedwait(&vcpu->cond, &vcpu->lock, &ts);
}

/* A short look before sleeping: an interrupt that comes at once is then had without two switches. */
static void poll_halted(struct vcpu *vcpu)
{
	uint64_t start = clock_ns();

	atomic_store_explicit(&vcpu->poke, false, memory_order_relaxed);
	pthread_mutex_unlock(&vcpu->lock);
	bool poked = false;
	while (!poked && clock_ns() - start < vcpu->poll_ns) {
		__builtin_ia32_pause();
		poked = atomic_load_explicit(&vcpu->poke, memory_order_acquire);
	}
	pthread_mutex_lock(&vcpu->lock);
	vcpu->poll_ns = poked ? MIN(vcpu->poll_ns * 2, POLL_MAX_NS) : MAX(vcpu->poll_ns / 2, POLL_MIN_NS);
}

static int take_init_and_sipi(struct vcpu *vcpu)
{
	uint8_t vector;

	if (lapic_take_init(&vcpu->lapic)) {
		int rc = vcpu_state_init(vcpu);

		if (rc)
			return rc;
		vcpu->halted = false;
		vcpu->route_stale = true;
	}
	return lapic_take_sipi(&vcpu->lapic, &vector) ? vcpu_state_sipi(vcpu, vector) : 0;
}

/* Gives the guest what its LAPIC has for it, or asks for an exit as soon as it can take it. */
static int inject_locked(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (lapic_take_nmi(&vcpu->lapic)) {
		if (ioctl(vcpu->fd, KVM_NMI) < 0)
			return -errno;
		vcpu->halted = false;
	}
	int vector = lapic_pending(&vcpu->lapic);
	run->request_interrupt_window = 0;
	if (vector < 0)
		return 0;
	vcpu->halted = false;
	if (run->ready_for_interrupt_injection && run->if_flag) {
		struct kvm_interrupt irq = {.irq = (uint32_t)vector};

		if (ioctl(vcpu->fd, KVM_INTERRUPT, &irq) < 0)
			return -errno;
		lapic_ack(&vcpu->lapic, vector);
		atomic_fetch_add_explicit(&vcpu->set->counters.injected, 1, memory_order_relaxed);
		run->ready_for_interrupt_injection = 0;
		vector = lapic_pending(&vcpu->lapic);
	}
	run->request_interrupt_window = vector >= 0;
	return 0;
}

/* The next time the LAPIC's timer is due while the guest runs: a signal to this thread. */
static void arm_timer(struct vcpu *vcpu)
{
	struct lapic_now now = now_of(vcpu);
	uint64_t wait_ns, deadline = 0;

	if (lapic_timer_next(&vcpu->lapic, &now, vcpu->tsc.guest_khz, &wait_ns))
		deadline = now.ns + MAX(wait_ns, 1);
	/* The same deadline, computed again, differs by the rounding of two clocks. */
	uint64_t armed = atomic_load_explicit(&vcpu->timer_armed_ns, memory_order_relaxed);
	uint64_t diff = deadline > armed ? deadline - armed : armed - deadline;
	if (deadline == armed || (deadline && armed && diff < 2 * NS_PER_US))
		return;
	struct itimerspec at = {.it_value = clock_timespec(deadline)};
	/* First the note, then the timer: it may fire before this function returns, and on_signal's word is the later one. */
	atomic_store_explicit(&vcpu->timer_armed_ns, deadline, memory_order_relaxed);
	timer_settime(vcpu->timer, TIMER_ABSTIME, &at, NULL);
}

static void dump_locked(struct vcpu *vcpu)
{
	struct lapic_now now = now_of(vcpu);
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};
	uint64_t wait_ns;
	char timer[40] = "off";

	vcpu->dump = false;
	(void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	(void)ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
	if (lapic_timer_next(&vcpu->lapic, &now, vcpu->tsc.guest_khz, &wait_ns))
		snprintf(timer, sizeof(timer), "in %llu us", (unsigned long long)(wait_ns / NS_PER_US));
	log_info(
		"vCPU %u: rip 0x%llx rsp 0x%llx rflags 0x%llx cr3 0x%llx, %s, pending vector %d, in service %d, tpr 0x%x, timer %s",
		vcpu->id, (unsigned long long)regs.rip, (unsigned long long)regs.rsp, (unsigned long long)regs.rflags,
		(unsigned long long)sregs.cr3,
		lapic_waits_for_sipi(&vcpu->lapic) ? "waits for SIPI" : (vcpu->halted ? "halted" : "runs"),
		lapic_highest(vcpu->lapic.irr), lapic_highest(vcpu->lapic.isr), vcpu->lapic.tpr, timer);
}

/* Under the lock: everything between two stays in the guest. Returns true to enter, false to look again. -errno: broken. */
static int before_entry(struct vcpu *vcpu)
{
	struct lapic_now now;

	if (vcpu->pause) {
		vcpu->paused = true;
		pthread_cond_broadcast(&vcpu->cond);
		while (vcpu->pause && !vcpu->quit)
			pthread_cond_wait(&vcpu->cond, &vcpu->lock);
		vcpu->paused = false;
		return 0;
	}
	int rc = 0;
	if (vcpu->tsc_hold || vcpu->tsc_step_due) { /* seldom */
		if (vcpu_hold_locked(vcpu))
			return 0;
		rc = vcpu_step_locked(vcpu);
		if (rc)
			return rc;
	}
	if (vcpu->dump)
		dump_locked(vcpu);
	rc = take_init_and_sipi(vcpu);
	if (rc)
		return rc;
	if (vcpu->route_stale) { /* INIT took its logical id away */
		vcpu->route_stale = false;
		pthread_mutex_unlock(&vcpu->lock);
		ipi_route_changed(vcpu);
		pthread_mutex_lock(&vcpu->lock);
		return 0;
	}
	if (lapic_waits_for_sipi(&vcpu->lapic)) {
		if (!has_event(vcpu))
			sleep_locked(vcpu);
		return 0;
	}
	now = now_of(vcpu);
	lapic_timer_tick(&vcpu->lapic, &now);
	if (vcpu->halted && !has_event(vcpu)) {
		poll_halted(vcpu);
		now = now_of(vcpu);
		lapic_timer_tick(&vcpu->lapic, &now);
		if (!has_event(vcpu))
			sleep_locked(vcpu);
		return 0;
	}
	rc = inject_locked(vcpu);
	if (rc) {
		log_error("vCPU %u: KVM refuses an interrupt: %s", vcpu->id, strerror(-rc));
		return rc;
	}
	if (vcpu->halted)
		return 0;
	vcpu->run->cr8 = lapic_cr8(&vcpu->lapic);
	vcpu->in_guest = true;
	return 1;
}

static void after_exit(struct vcpu *vcpu)
{
	struct lapic_effects effects = {.eoi_vector = -1};

	pthread_mutex_lock(&vcpu->lock);
	vcpu->in_guest = false;
	vcpu->run->immediate_exit = 0;
	lapic_set_cr8(&vcpu->lapic, (uint8_t)vcpu->run->cr8);
	/* KVM keeps the base MSR and lets only legal changes pass. */
	bool moved = vcpu->run->apic_base != lapic_base(&vcpu->lapic) &&
		     lapic_set_base(&vcpu->lapic, vcpu->run->apic_base, &effects) == 0;
	pthread_mutex_unlock(&vcpu->lock);
	if (moved && effects.dest_changed)
		ipi_route_changed(vcpu);
}

/* Tells dsm which page tables are in use here, every ROOT_EXITS exits: a hint that need not be complete. */
static void tell_root(struct vcpu *vcpu)
{
	struct vcpu_sink *sink = vcpu->set->config.sink;
	struct kvm_sregs sregs;

	if (vcpu->set->config.nodes == 1 || ++vcpu->exits_since_root < ROOT_EXITS)
		return;
	vcpu->exits_since_root = 0;
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0 || !(sregs.cr0 & CR0_PG) || !(sregs.efer & EFER_LMA))
		return;
	sink->root(sink, sregs.cr3, sregs.cr4 & CR4_LA57);
}

static bool run_once(struct vcpu *vcpu)
{
	struct activity_count *count = &vcpu->set->config.activity->vcpu[vcpu - vcpu->set->vcpu];

	activity_enter(count);
	int rc = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	activity_leave(count);

	after_exit(vcpu);
	tell_root(vcpu);
	if (rc == EINTR || rc == EAGAIN)
		return true;
	if (rc) {
		char why[128];

		snprintf(why, sizeof(why), "KVM_RUN failed: %s", strerror(rc));
		vcpu->set->config.sink->failed(vcpu->set->config.sink, vcpu->id, why);
		return false;
	}
	atomic_fetch_add_explicit(&vcpu->set->counters.exits, 1, memory_order_relaxed);
	return vcpu_exit(vcpu);
}

static int make_timer(struct vcpu *vcpu)
{
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KICK_SIGNAL};

	ev.sigev_value.sival_ptr = vcpu;
	ev._sigev_un._tid = gettid();
	return timer_create(CLOCK_MONOTONIC, &ev, &vcpu->timer) < 0 ? -errno : 0;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;
	char name[16];
	bool broken = false;
	int rc = make_timer(vcpu);

	snprintf(name, sizeof(name), "vcpu-%u", vcpu->id);
	pthread_setname_np(pthread_self(), name);
	if (rc) {
		vcpu->set->config.sink->failed(vcpu->set->config.sink, vcpu->id, "cannot create its timer");
		broken = true;
	} else {
		vcpu->has_timer = true;
	}
	pthread_mutex_lock(&vcpu->lock);
	while (!vcpu->quit) {
		if (broken && !vcpu->pause) { /* told to the sink: the machine is about to stop */
			pthread_cond_wait(&vcpu->cond, &vcpu->lock);
			continue;
		}
		rc = before_entry(vcpu);
		if (rc == 0)
			continue;
		pthread_mutex_unlock(&vcpu->lock);
		if (rc > 0) {
			arm_timer(vcpu);
			broken = !run_once(vcpu);
		} else {
			broken = true;
			vcpu->set->config.sink->failed(vcpu->set->config.sink, vcpu->id, "its state cannot be set");
		}
		pthread_mutex_lock(&vcpu->lock);
	}
	pthread_mutex_unlock(&vcpu->lock);
	if (vcpu->has_timer)
		timer_delete(vcpu->timer);
	return NULL;
}

static int create_vcpu(struct vcpus *vcpus, struct vcpu *vcpu, vcpu_t id)
{
	pthread_condattr_t attr;
	struct kvm_cpuid2 *cpuid = NULL;
	struct cpuid_set *mine = NULL;
	int rc = -ENOMEM;

	vcpu->set = vcpus;
	vcpu->id = id;
	vcpu->poll_ns = POLL_MIN_NS;
	vcpu->pause = true;
	pthread_mutex_init(&vcpu->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vcpu->cond, &attr);
	pthread_condattr_destroy(&attr);
	ipi_power_on_lapic(vcpus, &vcpu->lapic, id);
	vcpu->fd = ioctl(vcpus->config.vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (vcpu->fd < 0) {
		rc = -errno;
		log_error("KVM cannot create vCPU %u: %s", id, strerror(-rc));
		return rc;
	}
	vcpu->run_bytes = (size_t)ioctl(vcpus->config.kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu->run = mmap(NULL, vcpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		rc = -errno;
		log_error("cannot map the run page of vCPU %u: %s", id, strerror(-rc));
		return rc;
	}
	cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));
	mine = calloc(1, sizeof(*mine));
	if (!cpuid || !mine)
		goto out;
	cpuid_for_vcpu(vcpus->config.cpuid, id, mine);
	cpuid->nent = mine->n;
	memcpy(cpuid->entries, mine->entry, mine->n * sizeof(mine->entry[0]));
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0) {
		rc = -errno;
		log_error("KVM refuses the processor features of vCPU %u: %s", id, strerror(-rc));
		goto out;
	}
	vcpu->tsc = vcpus->config.tsc;
	rc = tsc_apply(&vcpu->tsc, vcpus->config.vm_fd, vcpu->fd);
	if (!rc)
		rc = vcpu_state_capture(vcpu);
	if (!rc)
		rc = vcpu_state_power_on(vcpu, NULL, NULL);
	if (rc)
		goto out;
	rc = -pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
	if (rc)
		log_error("cannot start the thread of vCPU %u: %s", id, strerror(-rc));
	else
		vcpu->started = true;
out:
	free(cpuid);
	free(mine);
	return rc;
}

static int set_up_vm(const struct vcpus_config *config)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_FILTER},
	};
	uint8_t deny = 0; /* a clear bit is an access that exits */
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges = {{.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			    .base = MSR_TSC_DEADLINE,
			    .nmsrs = 1,
			    .bitmap = &deny}},
	};

	if (ioctl(config->vm_fd, KVM_ENABLE_CAP, &cap) < 0 || ioctl(config->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0) {
		int err = -errno;

		log_error("KVM cannot hand MSR accesses to us (KVM_CAP_X86_USER_SPACE_MSR): %s; Linux 6.1 or newer is needed",
			  strerror(-err));
		return err;
	}
	return 0;
}

int vcpus_new(const struct vcpus_config *config, struct vcpus **out)
{
	struct vcpus *vcpus = calloc(1, sizeof(*vcpus));
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	int rc;

	if (!vcpus)
		return -ENOMEM;
	vcpus->config = *config;
	memcpy(vcpus->node_first, config->node_first, (config->nodes + 1) * sizeof(vcpus->node_first[0]));
	vcpus->config.node_first = vcpus->node_first;
	vcpus->first = vcpus->node_first[config->self];
	vcpus->count = vcpus->node_first[config->self + 1] - vcpus->first;
	vcpus->total = vcpus->node_first[config->nodes];
	pthread_rwlock_init(&vcpus->route_lock, NULL);
	vcpus->vcpu = calloc(vcpus->count ? vcpus->count : 1, sizeof(*vcpus->vcpu));
	vcpus->route = calloc(vcpus->total, sizeof(*vcpus->route));
	rc = -ENOMEM;
	if (!vcpus->vcpu || !vcpus->route)
		goto fail;
	for (vcpu_t i = 0; i < vcpus->count; i++)
		vcpus->vcpu[i].fd = -1;
	ipi_routes_reset(vcpus);
	sigaction(KICK_SIGNAL, &sa, NULL);
	rc = set_up_vm(config);
	if (!rc && config->nodes > 1 && vcpus->count > 1)
		rc = vcpus_step_init();
	for (vcpu_t i = 0; !rc && i < vcpus->count; i++)
		rc = create_vcpu(vcpus, &vcpus->vcpu[i], vcpus->first + i);
	if (rc)
		goto fail;
	*out = vcpus;
	return 0;

fail:
	vcpus_free(vcpus);
	return rc;
}

void vcpus_free(struct vcpus *vcpus)
{
	if (!vcpus)
		return;
	for (vcpu_t i = 0; vcpus->vcpu && i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		if (vcpu->started) {
			pthread_mutex_lock(&vcpu->lock);
			vcpu->quit = true;
			vcpu_kick_locked(vcpu);
			pthread_mutex_unlock(&vcpu->lock);
		}
	}
	for (vcpu_t i = 0; vcpus->vcpu && i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		if (vcpu->started)
			pthread_join(vcpu->thread, NULL);
		vcpu_state_release(vcpu);
		if (vcpu->run)
			munmap(vcpu->run, vcpu->run_bytes);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
	}
	free(vcpus->vcpu);
	free(vcpus->route);
	free(vcpus);
}

void vcpus_dump(struct vcpus *vcpus)
{
	const struct vcpu_counters *c = &vcpus->counters;

	log_info("vCPUs of node %u: %llu exits, %llu interrupts given to them, %llu IPIs sent, %llu messages for that, %llu "
		 "received",
		 vcpus->config.self, (unsigned long long)atomic_load(&c->exits), (unsigned long long)atomic_load(&c->injected),
		 (unsigned long long)atomic_load(&c->ipis_sent), (unsigned long long)atomic_load(&c->ipi_messages),
		 (unsigned long long)atomic_load(&c->ipi_received));
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		vcpu->dump = true;
		vcpu_kick_locked(vcpu);
		pthread_mutex_unlock(&vcpu->lock);
	}
	usleep(200000);
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		if (vcpu->dump)
			log_info("vCPU %u: waits %s", vcpu->id,
				 vcpu->in_guest ? "for memory" : "for another node's answer to an access");
		pthread_mutex_unlock(&vcpu->lock);
	}
}

struct vcpu *vcpus_local(struct vcpus *vcpus, vcpu_t id)
{
	return id >= vcpus->first && id - vcpus->first < vcpus->count ? &vcpus->vcpu[id - vcpus->first] : NULL;
}

node_t vcpus_node(const struct vcpus *vcpus, vcpu_t id)
{
	node_t n = 0;

	while (n + 1 < vcpus->config.nodes && vcpus->node_first[n + 1] <= id)
		n++;
	return n;
}

void vcpus_power_on(const struct vcpus *vcpus, struct kvm_sregs *sregs, struct kvm_regs *regs)
{
	*sregs = vcpus->vcpu[0].power_on.sregs;
	*regs = vcpus->vcpu[0].power_on.regs;
}

int vcpus_reset(struct vcpus *vcpus, const struct kvm_sregs *sregs, const struct kvm_regs *regs)
{
	int rc = 0;

	for (vcpu_t i = 0; !rc && i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		ipi_power_on_lapic(vcpus, &vcpu->lapic, vcpu->id);
		vcpu->halted = false;
		rc = vcpu_state_power_on(vcpu, vcpu->id == 0 ? sregs : NULL, vcpu->id == 0 ? regs : NULL);
		pthread_mutex_unlock(&vcpu->lock);
	}
	ipi_routes_reset(vcpus);
	return rc;
}

int vcpus_pause(struct vcpus *vcpus)
{
	uint64_t end = clock_ns() + PAUSE_TIMEOUT_NS;
	struct timespec ts = clock_timespec(end);
	int rc = 0;

	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		vcpu->pause = true;
		vcpu_kick_locked(vcpu);
		pthread_mutex_unlock(&vcpu->lock);
	}
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];
		int wait = 0;

		pthread_mutex_lock(&vcpu->lock);
		while (!vcpu->paused && wait == 0)
			wait = pthread_cond_timedwait(&vcpu->cond, &vcpu->lock, &ts);
		if (!vcpu->paused) {
			log_error("vCPU %u did not pause within %llu s", vcpu->id, PAUSE_TIMEOUT_NS / NS_PER_SEC);
			rc = -ETIMEDOUT;
		}
		pthread_mutex_unlock(&vcpu->lock);
	}
	return rc;
}

void vcpus_resume(struct vcpus *vcpus)
{
	for (vcpu_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		pthread_mutex_lock(&vcpu->lock);
		vcpu->pause = false;
		pthread_cond_broadcast(&vcpu->cond);
		pthread_mutex_unlock(&vcpu->lock);
	}
}
