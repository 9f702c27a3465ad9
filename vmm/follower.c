/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/follower.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/tcp.h"
#include "vmm/control.h"
#include "vmm/exitcode.h"
#include "vmm/fabric.h"
#include "vmm/facts.h"
#include "vmm/mesh.h"
#include "vmm/signals.h"
#include "vmm/statsock.h"
#include "vmm/vm.h"

#define JOIN_TIMEOUT_NS     (60 * NS_PER_SEC)
#define FAREWELL_TIMEOUT_NS (3 * NS_PER_SEC)

struct joining {
	int fd, listen_fd;
	const uint8_t *key;
	const char *leader;
	struct wire_facts facts;
	struct wire_machine machine;
	struct mesh mesh;
	uint8_t buf[WIRE_PAYLOAD_MAX];
};

/* Tells the leader why this host cannot be its node; it shows the text to the user. */
static void decline(struct joining *j, const char *text)
{
	struct wire_stop stop;

	wire_stop_make(WIRE_STOP_ERROR, j->machine.self, text, &stop);
	if (mesh_send(j->fd, WIRE_STOP, &stop, sizeof(stop), NULL))
		log_warn("%s does not hear why this node declines", j->leader);
}

static int listen_for_mesh(struct joining *j)
{
	char addr[WIRE_HOST_BYTES], addr_port[WIRE_HOST_BYTES + 8];
	struct net_why why;
	int rc = tcp_local_address(j->fd, addr);

	if (rc)
		return rc;
	snprintf(addr_port, sizeof(addr_port), strchr(addr, ':') ? "[%s]:0" : "%s:0", addr);
	rc = tcp_listen(addr_port, &j->listen_fd, &j->facts.port, &why);
	if (rc)
		log_error("%s", why.text);
	return rc;
}

static int exchange(struct joining *j)
{
	struct net_why why;
	size_t len;
	int rc = facts_collect(&j->facts);

	if (!rc)
		rc = listen_for_mesh(j);
	if (rc) {
		decline(j, "this host cannot be a node; run `pangea check` there");
		return rc;
	}
	rc = mesh_send(j->fd, WIRE_FACTS, &j->facts, wire_facts_bytes(&j->facts), &why);
	if (!rc)
		rc = mesh_recv(j->fd, WIRE_MACHINE, clock_ns() + JOIN_TIMEOUT_NS, j->buf, &len, &why);
	if (!rc) {
		rc = wire_machine_decode(j->buf, len, &j->machine);
		if (rc)
			net_fail(&why, rc, "it sent a machine with %s", wire_error(rc));
	}
	if (rc) {
		log_error("leader %s: %s", j->leader, why.text);
		return rc;
	}
	if (j->machine.self == 0 || j->machine.self >= j->machine.n_nodes) {
		log_error("leader %s: it gave this host a node number that is not free", j->leader);
		return -EPROTO;
	}
	return 0;
}

static int join_mesh(struct joining *j)
{
	struct net_why why;

	mesh_init(&j->mesh, 1 + j->machine.shards);
	j->mesh.fd[0][0] = j->fd;
	int rc = mesh_build(&j->mesh, &j->machine, j->listen_fd, j->key, clock_ns() + JOIN_TIMEOUT_NS, &why);
	close(j->listen_fd);
	j->listen_fd = -1;
	if (rc) {
		log_error("node %u cannot reach all other nodes: %s", j->machine.self, why.text);
		decline(j, why.text);
	}
	return rc;
}

static int make_lanes(struct joining *j, struct vm_config *config)
{
	char text[FABRIC_TEXT_BYTES];
	struct fabric fabric;
	struct net_why why;
	int rc = fabric_lanes(&j->mesh, &j->machine, fabric_wanted(j->machine.options), clock_ns() + JOIN_TIMEOUT_NS, &fabric,
			      &config->lane, &why);

	if (rc) {
		log_error("node %u cannot be joined to all others: %s", j->machine.self, why.text);
		if (j->mesh.fd[0][0] >= 0)
			decline(j, why.text);
	} else if (fabric.by_rdma && fabric.by_tcp) {
		log_info("node %u: %s", j->machine.self, fabric_text(&fabric, text));
	}
	return rc;
}

static int make_config(const struct joining *j, struct vm_config *config)
{
	const struct wire_machine *m = &j->machine;
	struct memmap_spec spec[NODES_MAX];

	for (node_t n = 0; n < m->n_nodes; n++) {
		spec[n] = (struct memmap_spec){.vcpus = m->node[n].vcpus, .bytes = m->node[n].mem_bytes};
		snprintf(config->names[n], sizeof(config->names[n]), "%s", m->node[n].host);
	}
	int rc = memmap_build(spec, m->n_nodes, &config->map);
	config->self = m->self;
	vm_machine_text(m->session, config->machine);
	facts_to_cpuid(m->cpuid, m->n_cpuid, &config->cpuid);
	tsc_set_rates(&config->tsc, j->facts.tsc_khz, m->tsc_khz, !strcmp(j->facts.cpu_vendor, "GenuineIntel"));
	config->options = m->options;
	config->shards = m->shards;
	config->budget_bytes = m->node[m->self].budget_bytes;
	return rc;
}

static void acknowledge(struct vm *vm, uint8_t type)
{
	struct wire_hdr hdr = {.type = type};

	pthread_mutex_lock(&vm->lock);
	hdr.seq = vm->order_seq;
	pthread_mutex_unlock(&vm->lock);
	net_post(vm->config.lane[0], 0, &hdr, NULL);
}

static int enter(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	struct wire_entry told = vm->entry;
	pthread_mutex_unlock(&vm->lock);
	struct boot_entry entry = {
		.mode = told.mode ? BOOT_PROT32 : BOOT_LONG64,
		.rip = told.rip,
		.rsp = told.rsp,
		.rax = told.rax,
		.rbx = told.rbx,
		.rsi = told.rsi,
		.gdt = told.gdt,
		.cr3 = told.cr3,
	};

	return vm_enter(vm, &entry);
}

static void obey(struct vm *vm, unsigned orders)
{
	int rc = 0;

	if (orders & VM_ORDER_PAUSE) {
		rc = vcpus_pause(vm->vcpus);
		if (!rc)
			acknowledge(vm, WIRE_PAUSE_ACK);
	}
	if (!rc && (orders & VM_ORDER_RESET)) {
		pthread_mutex_lock(&vm->lock);
		uint16_t epoch = vm->reset_epoch;
		pthread_mutex_unlock(&vm->lock);
		rc = vm_reset_local(vm, epoch);
		if (!rc)
			acknowledge(vm, WIRE_RESET_ACK);
	}
	if (!rc && (orders & VM_ORDER_ENTRY))
		rc = enter(vm);
	if (!rc && (orders & VM_ORDER_START))
		vcpus_resume(vm->vcpus);
	if (rc)
		vm_stop(vm, WIRE_STOP_ERROR, vm->config.self, 0, "it cannot follow an order of node 0: %s", strerror(-rc));
}

/* The machine has ended: the leader gets our figures, and hangs up when it has them. */
static void farewell(struct vm *vm)
{
	uint64_t end = clock_ns() + FAREWELL_TIMEOUT_NS;
	struct wire_hdr hdr = {.type = WIRE_STATS, .len = sizeof(struct dsm_stats)};
	struct dsm_stats stats;

	dsm_stats(vm->dsm, &stats);
	net_post(vm->config.lane[0], 0, &hdr, &stats);
	while (!vm->leader_gone && clock_ns() < end)
		usleep(10000);
}

static int serve(struct vm *vm)
{
	struct wire_hdr ready = {.type = WIRE_MESH_READY};
	unsigned wanted = VM_ORDER_PAUSE | VM_ORDER_RESET | VM_ORDER_START | VM_ORDER_ENTRY;

	net_post(vm->config.lane[0], 0, &ready, NULL);
	for (;;) {
		unsigned orders = vm_wait(vm, wanted, 0);

		if (orders & VM_ORDER_STOP)
			break;
		obey(vm, orders);
	}
	char name[VM_NODE_TEXT];
	bool ill = vm->stop.reason == WIRE_STOP_LOST || vm->stop.reason == WIRE_STOP_ERROR || vm->stop.reason == WIRE_STOP_CRASH;

	if (ill)
		log_error("the machine stops: %s: %s", vm_node_name(vm, vm->stop.node, name), vm->stop.text);
	if (!(vm->stop.reason == WIRE_STOP_LOST && vm->stop.node == 0))
		farewell(vm);
	return ill ? EXIT_NODE_LOST : EXIT_POWERED_OFF;
}

int follower_run(int fd, const uint8_t key[KEY_BYTES], const char *leader)
{
	struct joining *j = calloc(1, sizeof(*j));
	struct vm_config *config = calloc(1, sizeof(*config));
	struct signals *signals = calloc(1, sizeof(*signals));
	struct vm *vm = NULL;
	int code = EXIT_JOIN;

	signals_block();
	if (!j || !config || !signals || signals_start(signals)) {
		free(signals);
		goto out;
	}
	/* From here on the signal thread has `signals`: it lives as long as the process. */
	j->fd = fd;
	j->listen_fd = -1;
	j->key = key;
	j->leader = leader;
	if (exchange(j) || join_mesh(j))
		goto out;
	if (make_config(j, config)) {
		decline(j, "the machine's layout does not hold together");
		goto out;
	}
	if (j->facts.mem_available_bytes < config->map.node[config->self].bytes) {
		decline(j, "this host has less free memory by now than the node is to bring");
		goto out;
	}
	if (make_lanes(j, config))
		goto out;
	if (vm_start(config, &vm)) {
		code = EXIT_HOST;
		goto out;
	}
	signals_attach(signals, vm);
	struct statsock *stats = statsock_start(vm, NULL);
	code = serve(vm);
	statsock_stop(stats);
	/* Its memory is about to go, so its vCPUs would wait for pages for ever: the end of the process ends all at once. */
	fflush(NULL);
	_exit(code);
out:
	free(config);
	free(j);
	return code;
}
