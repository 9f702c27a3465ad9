/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "net/auth.h"
#include "net/rdma.h"
#include "net/tcp.h"
#include "vmm/exitcode.h"
#include "vmm/fabric.h"
#include "vmm/leader.h"
#include "vmm/spawn.h"

static const char *name_of(const struct config *config, node_t n, char *buf)
{
	return config->node[n].local ? "local" : endpoint_format(&config->node[n].at, buf);
}

static int join_error(const struct cluster *c, node_t n, const struct net_why *why)
{
	char at[ENDPOINT_TEXT_BYTES];

	log_error("node %u (%s) did not join: %s", n, name_of(c->config, n, at), why->text);
	return EXIT_JOIN;
}

/* Machines of local nodes alone need no key of a cluster: one is made for this run. */
static int get_key(struct cluster *c)
{
	char path[KEY_PATH_BYTES];
	struct net_why why;

	if (config_all_local(c->config) && !c->config->key_file)
		return gnutls_rnd(GNUTLS_RND_KEY, c->key, sizeof(c->key)) ? EXIT_HOST : 0;
	if (c->config->key_file)
		snprintf(path, sizeof(path), "%s", c->config->key_file);
	else if (key_default_path(path))
		return EXIT_USAGE;
	if (key_load(path, c->key, &why)) {
		log_error("%s", why.text);
		return EXIT_USAGE;
	}
	return 0;
}

static int join_node(struct cluster *c, node_t n, const char *host, uint16_t port, uint64_t deadline)
{
	struct auth_request request = {.purpose = AUTH_JOIN};
	struct net_why why;
	char peer[ENDPOINT_TEXT_BYTES];
	struct endpoint at = {.port = port};

	snprintf(at.host, sizeof(at.host), "%s", host);
	endpoint_format(&at, peer);
	int ms = MAX(clock_ms_left(deadline), 1);
	if (tcp_connect(host, port, MIN(ms, 10000), &c->fd[n], &why))
		return join_error(c, n, &why);
	if (auth_client(c->fd[n], c->key, &request, peer, MIN(ms, AUTH_TIMEOUT_MS), &why))
		return join_error(c, n, &why);
	if (tcp_peer_address(c->fd[n], c->host[n])) {
		net_fail(&why, -EIO, "the connection ended");
		return join_error(c, n, &why);
	}
	return 0;
}

/* Remote nodes first: the way to them tells under which address they can reach the local ones. */
static int join_all(struct cluster *c, uint64_t deadline)
{
	char local[WIRE_HOST_BYTES] = "127.0.0.1";
	struct net_why why;
	int rc = 0;

	for (node_t n = 1; n < c->config->nodes && !rc; n++)
		if (!c->config->node[n].local) {
			rc = join_node(c, n, c->config->node[n].at.host, c->config->node[n].at.port, deadline);
			if (!rc && tcp_local_address(c->fd[n], local))
				rc = EXIT_JOIN;
		}
	if (c->config->bind)
		snprintf(local, sizeof(local), "%s", c->config->bind);
	for (node_t n = 1; n < c->config->nodes && !rc; n++) {
		uint16_t port;

		if (!c->config->node[n].local)
			continue;
		if (spawn_node(local, c->key, &c->pid[n], &port, &why)) {
			c->pid[n] = 0;
			return join_error(c, n, &why);
		}
		rc = join_node(c, n, local, port, deadline);
	}
	return rc;
}

static int gather_facts(struct cluster *c, uint64_t deadline)
{
	uint8_t *buf = malloc(WIRE_PAYLOAD_MAX);
	struct net_why why;
	size_t len;
	int code = buf ? 0 : EXIT_HOST;

	if (!code && facts_collect(&c->facts[0]))
		code = EXIT_HOST;
	for (node_t n = 1; n < c->config->nodes && !code; n++) {
		int rc = mesh_recv(c->fd[n], WIRE_FACTS, deadline, buf, &len, &why);

		if (!rc) {
			rc = wire_facts_decode(buf, len, &c->facts[n]);
			if (rc)
				net_fail(&why, rc, "it sent facts with %s", wire_error(rc));
		}
		if (rc)
			code = join_error(c, n, &why);
	}
	free(buf);
	return code;
}

/* Nodes on one host share its memory: their sum must fit. Remote nodes are taken to be hosts of their own unless their address is
 * the same. */
static int check_memory(const struct cluster *c)
{
	const struct config *config = c->config;
	char need[UNITS_TEXT], have[UNITS_TEXT], at[ENDPOINT_TEXT_BYTES];

	for (node_t n = 0; n < config->nodes; n++) {
		uint64_t sum = 0;

		for (node_t m = 0; m < config->nodes; m++) {
			bool same = config->node[n].local ? config->node[m].local
							  : !config->node[m].local && !strcmp(c->host[n], c->host[m]);
			sum += same ? config->node[m].mem_bytes : 0;
		}
		if (sum <= c->facts[n].mem_available_bytes)
			continue;
		log_error("node %u (%s): its host has %s of memory available, and %s of guest RAM is asked of it; give it less "
			  "with mem=, or "
			  "another host some",
			  n, name_of(config, n, at), units_format_bytes(c->facts[n].mem_available_bytes, have),
			  units_format_bytes(sum, need));
		return EXIT_HOST;
	}
	return 0;
}

static int common_cpu(const struct cluster *c, struct cpuid_set *set)
{
	struct cpuid_set other;
	bool stable = true;

	facts_cpuid(&c->facts[0], set);
	for (node_t n = 0; n < c->config->nodes; n++) {
		stable = stable && (c->facts[n].kvm_features & FACT_TSC_STABLE);
		facts_cpuid(&c->facts[n], &other);
		if (n && cpuid_intersect(set, &other)) {
			log_error("node %u has a processor of %.12s, node 0 one of %.12s: a guest cannot run on both; use hosts of "
				  "one vendor",
				  n, c->facts[n].cpu_vendor, c->facts[0].cpu_vendor);
			return EXIT_HOST;
		}
	}
	cpuid_machine(set, stable);
	return 0;
}

static int describe(struct cluster *c, struct vm_config *out)
{
	struct wire_machine *m = &c->machine;
	const struct config *config = c->config;
	struct memmap_spec spec[NODES_MAX];

	m->version = WIRE_VERSION;
	m->n_nodes = config->nodes;
	m->shards = config->shards;
	m->tsc_khz = c->facts[0].tsc_khz;
	m->options = config->triple_fault == TRIPLE_FAULT_REBOOT ? VM_OPTION_TRIPLE_FAULT_REBOOTS : 0;
	m->options |= (uint64_t)(config->without & ~CONFIG_WITHOUT_CLOCK) << VM_OPTION_WITHOUT_SHIFT;
	m->options |= config->without & CONFIG_WITHOUT_CLOCK ? VM_OPTION_NO_CLOCK : 0;
	m->options |= (uint64_t)config->poll_us << VM_OPTION_POLL_US_SHIFT;
	m->options |= fabric_options(config->transport);
	if (gnutls_rnd(GNUTLS_RND_NONCE, m->session, sizeof(m->session)))
		return EXIT_HOST;
	for (node_t n = 0; n < config->nodes; n++) {
		spec[n] = (struct memmap_spec){.vcpus = config->node[n].cpus, .bytes = config->node[n].mem_bytes};
		m->node[n].vcpus = config->node[n].cpus;
		m->node[n].mem_bytes = config->node[n].mem_bytes;
		m->node[n].budget_bytes = config->node[n].budget_bytes;
		m->node[n].port = c->facts[n].port;
		snprintf(m->node[n].host, sizeof(m->node[n].host), "%s", n ? c->host[n] : "leader");
	}
	if (memmap_build(spec, config->nodes, &out->map))
		return EXIT_USAGE;
	int code = common_cpu(c, &out->cpuid);
	facts_from_cpuid(&out->cpuid, m->cpuid, &m->n_cpuid);
	return code;
}

static int send_machine(struct cluster *c)
{
	struct net_why why;

	for (node_t n = 1; n < c->config->nodes; n++) {
		c->machine.self = n;
		if (mesh_send(c->fd[n], WIRE_MACHINE, &c->machine, wire_machine_bytes(&c->machine), &why))
			return join_error(c, n, &why);
	}
	c->machine.self = 0;
	return 0;
}

/* Before anything is started for it. */
static int check_transport(const struct config *config)
{
	struct rdma_here here;
	struct net_why why;

	if (config->transport != TRANSPORT_RDMA || config->nodes == 1 || !rdma_probe(&here, &why))
		return 0;
	log_error("--transport rdma: %s; --transport auto falls back on TCP", why.text);
	return EXIT_HOST;
}

static int make_lanes(struct cluster *c, uint64_t deadline, struct vm_config *out)
{
	char text[FABRIC_TEXT_BYTES];
	struct fabric fabric;
	struct net_why why;

	if (fabric_lanes(&c->mesh, &c->machine, c->config->transport, deadline, &fabric, &out->lane, &why)) {
		log_error("the nodes cannot be joined: %s", why.text);
		return EXIT_JOIN;
	}
	if (!c->config->quiet)
		log_info("%s", fabric_text(&fabric, text));
	return 0;
}

int cluster_join(struct cluster *c, struct vm_config *out)
{
	const struct config *config = c->config;
	uint64_t deadline = clock_ns() + config->ready_timeout_sec * NS_PER_SEC;
	struct net_why why;
	int code;

	for (node_t n = 0; n < NODES_MAX; n++)
		c->fd[n] = -1;
	mesh_init(&c->mesh, 1 + config->shards);
	c->facts = calloc(config->nodes, sizeof(*c->facts));
	if (!c->facts)
		return EXIT_HOST;
	code = check_transport(config);
	if (!code)
		code = get_key(c);
	if (!code)
		code = join_all(c, deadline);
	if (!code)
		code = gather_facts(c, deadline);
	if (!code)
		code = check_memory(c);
	if (!code)
		code = describe(c, out);
	if (!code)
		code = send_machine(c);
	if (code)
		return code;
	out->self = 0;
	vm_machine_text(c->machine.session, out->machine);
	out->shards = config->shards;
	out->budget_bytes = config->node[0].budget_bytes;
	out->options = c->machine.options;
	out->tsc = (struct tsc){
		.host_khz = c->facts[0].tsc_khz,
		.guest_khz = c->facts[0].tsc_khz,
		.offset = 0 - clock_tsc(), /* the guest's counter starts at 0 */
	};
	for (node_t n = 0; n < config->nodes; n++) {
		char at[ENDPOINT_TEXT_BYTES];

		snprintf(out->names[n], sizeof(out->names[n]), "%.70s", name_of(config, n, at));
	}
	if (config->nodes == 1)
		return 0;
	for (node_t n = 1; n < config->nodes; n++) {
		c->mesh.fd[0][n] = c->fd[n];
		c->fd[n] = -1;
	}
	if (mesh_build(&c->mesh, &c->machine, -1, c->key, deadline, &why)) {
		log_error("the nodes cannot be connected with each other: %s", why.text);
		return EXIT_JOIN;
	}
	return make_lanes(c, deadline, out);
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	mesh_close(&c->mesh);
	for (node_t n = 0; n < NODES_MAX; n++)
		if (c->fd[n] >= 0)
			close(c->fd[n]);
	for (node_t n = 0; n < NODES_MAX; n++)
		if (c->pid[n] > 0)
			spawn_end(c->pid[n]);
	free(c->facts);
	free(c);
}
