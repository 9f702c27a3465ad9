/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/leader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "vmm/acpi.h"
#include "vmm/boot.h"
#include "vmm/control.h"
#include "vmm/exitcode.h"
#include "vmm/hotpages.h"
#include "vmm/kvmprobe.h"
#include "vmm/report.h"
#include "vmm/signals.h"
#include "vmm/statsock.h"

#define ANSWER_TIMEOUT_NS   (20 * NS_PER_SEC)
#define FAREWELL_TIMEOUT_NS (3 * NS_PER_SEC)
#define BOOT_FILE_BYTES     (4 * GIB) /* more is no kernel and no initrd */

struct leader {
	const struct config *config;
	struct console_events events;
	struct console *console;
	struct cluster *cluster;
	struct signals signals;
	struct vm_config vm_config;
	struct vm *vm;
	struct boot_file kernel, initrd;
	char *cmdline;
	struct symbols *symbols; /* of --symbols */
	uint64_t started_ns;
	uint32_t seq;
	bool usage_error; /* the guest's files are at fault */
};

/* ---- files ---- */

/* The whole file into memory of ours: a mapped one could be truncated under us. */
static int read_file(const char *what, const char *path, struct boot_file *out)
{
	uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = file_read(path, BOOT_FILE_BYTES, &bytes, &len);

	if (rc) {
		log_error("cannot read the %s %s: %s", what, path, file_error(rc));
		return EXIT_USAGE;
	}
	*out = (struct boot_file){.name = path, .bytes = bytes, .len = len};
	return 0;
}

/* The guest's command line: the defaults, the rate of its clock, the user's. The rate, because a guest without kvmclock would
 * measure it against the PIT, which takes long and fails where an exit is slow. */
static char *guest_cmdline(const struct config *config, uint32_t tsc_khz)
{
	char *line, *with_rate;

	if (config_append(config, &line))
		return NULL;
	if (config->no_guest_defaults)
		return line;
	if (asprintf(&with_rate, "tsc_early_khz=%u %s", tsc_khz, line) < 0)
		with_rate = NULL;
	free(line);
	return with_rate;
}

/* ---- the other nodes' answers ---- */

static uint64_t all_others(const struct vm *vm)
{
	node_t n = vm->config.map.nodes;

	return (n == 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1) & ~(uint64_t)1;
}

/* Waits until every other node is in *set. Returns false on a stop or when time is over, which stops the machine. */
static bool await_all(struct vm *vm, const uint64_t *set, const char *what)
{
	uint64_t deadline = clock_ns() + ANSWER_TIMEOUT_NS;

	for (;;) {
		pthread_mutex_lock(&vm->lock);
		uint64_t missing = all_others(vm) & ~*set;
		pthread_mutex_unlock(&vm->lock);
		if (!missing)
			return true;
		unsigned came = vm_wait(vm, VM_ORDER_ANSWER, deadline);
		if (came & VM_ORDER_STOP)
			return false;
		if (!came) {
			vm_stop(vm, WIRE_STOP_LOST, (node_t)__builtin_ctzll(missing), 0, "it did not %s within %llu s", what,
				ANSWER_TIMEOUT_NS / NS_PER_SEC);
			return false;
		}
	}
}

static void tell_all(struct leader *l, uint8_t type, uint16_t epoch)
{
	struct wire_hdr hdr = {.type = type, .epoch = epoch, .seq = ++l->seq};

	if (l->vm->control)
		control_broadcast(l->vm->control, &hdr, NULL);
}

/* ---- the guest ---- */

/* vCPU 0 of a machine whose node 0 gives no CPU is another's: it sets the registers. */
static void send_entry(struct leader *l, node_t to, const struct boot_entry *entry)
{
	struct wire_entry msg = {
		.mode = entry->mode == BOOT_PROT32,
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rax = entry->rax,
		.rbx = entry->rbx,
		.rsi = entry->rsi,
		.gdt = entry->gdt,
		.cr3 = entry->cr3,
	};
	struct wire_hdr hdr = {.type = WIRE_ENTRY, .len = sizeof(msg), .seq = ++l->seq};

	net_post(l->vm->config.lane[0], to, &hdr, &msg);
}

static int load_guest(struct leader *l, bool say)
{
	struct vm *vm = l->vm;
	struct acpi_config acpi = acpi_config_default();
	struct boot_request request = {.kernel = l->kernel, .initrd = l->initrd, .cmdline = l->cmdline};
	node_t first = memmap_vcpu_node(&vm->config.map, 0);
	struct boot_entry entry;
	int rc = acpi_build(&vm->config.map, &vm->mem, &acpi, &request.rsdp);

	if (!rc)
		rc = boot_load(&request, &vm->config.map, &vm->mem, &entry);
	if (rc)
		return rc;
	if (say && !l->config->quiet)
		log_info("booting %s (%s) with %u vCPUs on %u nodes", l->config->kernel, entry.format, vm->config.map.vcpus,
			 vm->config.map.nodes);
	if (first != vm->config.self)
		send_entry(l, first, &entry);
	return first == vm->config.self ? vm_enter(vm, &entry) : vcpus_reset(vm->vcpus, NULL, NULL);
}

static int start_guest(struct leader *l, bool first)
{
	int rc = load_guest(l, first);

	if (rc)
		return rc;
	tell_all(l, WIRE_START, l->vm->epoch);
	vcpus_resume(l->vm->vcpus);
	return 0;
}

/* Everyone stands still, everyone forgets, then the guest is loaded anew. */
static void reboot(struct leader *l)
{
	struct vm *vm = l->vm;

	if (l->config->no_reboot) {
		l->vm->rebooted = true;
		vm_stop(vm, WIRE_STOP_POWEROFF, 0, 0, "the guest asked for a reset");
		return;
	}
	pthread_mutex_lock(&vm->lock);
	vm->answers.paused = vm->answers.reset = 0;
	pthread_mutex_unlock(&vm->lock);
	tell_all(l, WIRE_PAUSE, 0);
	if (vcpus_pause(vm->vcpus)) {
		vm_stop(vm, WIRE_STOP_ERROR, 0, 0, "its vCPUs cannot be paused for a reboot");
		return;
	}
	if (!await_all(vm, &vm->answers.paused, "pause for a reboot"))
		return;
	tell_all(l, WIRE_RESET, (uint16_t)(vm->epoch + 1));
	int rc = vm_reset_local(vm, (uint16_t)(vm->epoch + 1));
	if (!rc && !await_all(vm, &vm->answers.reset, "reset for a reboot"))
		return;
	/* A device may have asked again while the vCPUs came to a halt. */
	vm_wait(vm, VM_ORDER_REBOOT, 1);
	if (!rc)
		rc = start_guest(l, false);
	if (rc)
		vm_stop(vm, WIRE_STOP_ERROR, 0, 0, "the guest cannot be loaded again: %s", strerror(-rc));
}

static void on_quit(struct console_events *events)
{
	struct leader *l = container_of(events, struct leader, events);

	vm_stop(l->vm, WIRE_STOP_QUIT, 0, 0, "Ctrl-a x");
}

static void drive(struct leader *l)
{
	struct vm *vm = l->vm;
	int rc;

	if (!await_all(vm, &vm->answers.ready, "get ready") || !await_all(vm, &vm->answers.clocks, "set its clock"))
		return;
	rc = start_guest(l, true);
	if (rc) {
		l->usage_error = rc == -ENOEXEC || rc == -ENOSPC || rc == -E2BIG;
		vm_stop(vm, WIRE_STOP_ERROR, 0, 0, "the guest cannot be loaded");
		return;
	}
	l->started_ns = clock_ns();
	if (console_attach(l->console, vm->board->serial, &l->events))
		log_warn("the console has no input: its thread cannot be started");
	for (;;) {
		unsigned orders = vm_wait(vm, VM_ORDER_REBOOT, 0);

		if (orders & VM_ORDER_STOP)
			return;
		if (orders & VM_ORDER_REBOOT)
			reboot(l);
	}
}

/* ---- the end ---- */

static void gather_stats(struct leader *l)
{
	struct vm *vm = l->vm;
	uint64_t deadline = clock_ns() + FAREWELL_TIMEOUT_NS;

	dsm_stats(vm->dsm, &vm->answers.node_stats[0]);
	while (vm->config.map.nodes > 1 && vm->stop.reason != WIRE_STOP_LOST && clock_ns() < deadline) {
		pthread_mutex_lock(&vm->lock);
		bool all = !(all_others(vm) & ~vm->answers.stats);
		pthread_mutex_unlock(&vm->lock);
		if (all)
			break;
		usleep(5000);
	}
}

static int report(struct leader *l, double seconds)
{
	const struct config *config = l->config;
	struct dsm_stats *stats = l->vm->answers.node_stats;
	struct hotpages hot;
	int rc = 0;

	if (!config->stats && !config->stats_json)
		return 0;
	hotpages_init(&hot, l->vm, l->symbols);
	if (l->started_ns && l->vm->config.map.nodes > 1)
		hotpages_look(&hot);
	if (config->stats && l->started_ns)
		report_print(stderr, l->vm, stats, seconds, &hot);
	if (config->stats_json)
		rc = report_json(config->stats_json, l->vm, stats, seconds, &hot);
	hotpages_destroy(&hot);
	return rc;
}

static int conclude(struct leader *l)
{
	struct vm *vm = l->vm;
	const struct wire_stop *stop = &vm->stop;
	double seconds = l->started_ns ? (double)(clock_ns() - l->started_ns) / 1e9 : 0;
	char name[VM_NODE_TEXT];
	int code = EXIT_POWERED_OFF;

	switch ((enum wire_stop_reason)stop->reason) {
	case WIRE_STOP_POWEROFF:
		code = vm->rebooted ? EXIT_GUEST_REBOOTED : EXIT_POWERED_OFF;
		break;
	case WIRE_STOP_DEBUG_EXIT:
		code = exit_from_guest((uint32_t)vm->stop_code);
		break;
	case WIRE_STOP_QUIT:
		log_info("stopped: %s", stop->text);
		code = EXIT_INTERRUPTED;
		break;
	case WIRE_STOP_LOST:
		log_error("%s was lost: %s; the machine is stopped, as its memory and vCPUs there are gone",
			  vm_node_name(vm, stop->node, name), stop->text);
		code = EXIT_NODE_LOST;
		break;
	case WIRE_STOP_CRASH:
		log_error("the guest crashed on %s: %s; look at the last lines of its console", vm_node_name(vm, stop->node, name),
			  stop->text);
		code = EXIT_GUEST_CRASHED;
		break;
	case WIRE_STOP_ERROR:
		log_error("%s cannot go on: %s", vm_node_name(vm, stop->node, name), stop->text);
		code = l->usage_error ? EXIT_USAGE : EXIT_HOST;
		break;
	}
	gather_stats(l);
	return report(l, seconds) && code == 0 ? EXIT_HOST : code;
}

/* The guest's files stay in memory, for its next boot: they count. */
static int check_budget(const struct leader *l)
{
	const struct config *config = l->config;
	uint64_t files = l->kernel.len + l->initrd.len, budget = config->node[0].budget_bytes;
	uint64_t least = files + dsm_budget_min(config->node[0].mem_bytes >> PAGE_SHIFT, config_mem_bytes(config) >> PAGE_SHIFT,
						config->shards);

	if (!budget || budget >= least)
		return 0;
	log_error("node 0: mem-budget=%lluM is too little: with %lluM of kernel and initrd in memory it needs %lluM",
		  (unsigned long long)(budget / MIB), (unsigned long long)((files + MIB - 1) / MIB),
		  (unsigned long long)((least + MIB - 1) / MIB));
	return EXIT_USAGE;
}

static int prepare(struct leader *l)
{
	const struct config *config = l->config;
	struct kvmprobe probe;
	int code = read_file("kernel", config->kernel, &l->kernel);

	if (!code && config->initrd)
		code = read_file("initrd", config->initrd, &l->initrd);
	if (!code && config->symbols && hotpages_read_symbols(config->symbols, &l->symbols))
		code = EXIT_USAGE;
	if (!code)
		code = check_budget(l);
	if (code)
		return code;
	if (kvmprobe(&probe)) {
		log_error("%s; %s", probe.what, probe.remedy);
		return EXIT_HOST;
	}
	return console_new(config->serial, config->serial_path, &l->console) ? EXIT_USAGE : 0;
}

int leader_run(const struct config *config)
{
	struct leader *l = calloc(1, sizeof(*l));
	int code = EXIT_HOST;

	if (!l)
		return EXIT_HOST;
	l->config = config;
	l->events.quit = on_quit;
	if (signals_start(&l->signals))
		goto out;
	code = prepare(l);
	if (code)
		goto out;
	code = EXIT_HOST;
	l->cluster = calloc(1, sizeof(*l->cluster));
	if (!l->cluster)
		goto out;
	l->cluster->config = config;
	code = cluster_join(l->cluster, &l->vm_config);
	if (code)
		goto out;
	l->vm_config.files_bytes = l->kernel.len + l->initrd.len;
	code = EXIT_HOST;
	l->vm_config.console = l->console;
	l->cmdline = guest_cmdline(config, l->vm_config.tsc.guest_khz);
	if (!l->cmdline || vm_start(&l->vm_config, &l->vm))
		goto out;
	signals_attach(&l->signals, l->vm);
	struct statsock *stats = statsock_start(l->vm, l->symbols);
	drive(l);
	statsock_stop(stats);
	console_detach(l->console);
	code = conclude(l);
	signals_attach(&l->signals, NULL);
	if (!l->vm->blocked && vcpus_pause(l->vm->vcpus) == 0) {
		vm_free(l->vm);
	} else {
		/* vCPUs that wait for a page of a lost node cannot be joined, and others still run and write to the console: the
		 * end of the process takes them, and until then what they use stays. */
		cluster_free(l->cluster);
		fflush(NULL);
		_exit(code);
	}
	l->vm = NULL;
out:
	console_free(l->console);
	cluster_free(l->cluster);
	free((void *)(uintptr_t)l->kernel.bytes);
	free((void *)(uintptr_t)l->initrd.bytes);
	free(l->cmdline);
	symbols_free(l->symbols);
	return code; /* the signal thread still has l->signals: l goes with the process */
}
