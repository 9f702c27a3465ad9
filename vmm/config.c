/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "dsm/dsm.h"

void config_default(struct config *config)
{
	memset(config, 0, sizeof(*config));
	config->shards = 1;
	config->ready_timeout_sec = CONFIG_READY_TIMEOUT_SEC;
	config->serial = SERIAL_STDIO;
	config->triple_fault = TRIPLE_FAULT_STOP;
}

void config_free(struct config *config)
{
	free(config->kernel);
	free(config->initrd);
	free(config->append);
	free(config->key_file);
	free(config->bind);
	free(config->serial_path);
	free(config->stats_json);
	free(config->symbols);
	config_default(config);
}

uint32_t config_cpus(const struct config *config)
{
	uint32_t cpus = 0;

	for (uint32_t i = 0; i < config->nodes; i++)
		cpus += config->node[i].cpus; /* each at most VCPUS_MAX, so no overflow */
	return cpus;
}

uint64_t config_mem_bytes(const struct config *config)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < config->nodes; i++)
		bytes += config->node[i].mem_bytes; /* each at most CONFIG_MEM_MAX_BYTES */
	return bytes;
}

bool config_all_local(const struct config *config)
{
	for (uint32_t i = 0; i < config->nodes; i++)
		if (!config->node[i].local)
			return false;
	return true;
}

/* ---- endpoints ---- */

/* Whether all of host is letters, digits and `others`: nothing that a terminal or a log could trip over. */
static bool host_chars_ok(const char *host, const char *others)
{
	for (const char *c = host; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr(others, *c))
			return false;
	return *host;
}

static bool ipv6_ok(const char *host)
{
	struct in6_addr in6;
	char addr[ENDPOINT_HOST_BYTES];

	snprintf(addr, sizeof(addr), "%s", host);
	addr[strcspn(addr, "%")] = '\0'; /* a zone ("%eth0") is for getaddrinfo to judge */
	return host_chars_ok(host, ":.%-_") && inet_pton(AF_INET6, addr, &in6) == 1;
}

int endpoint_parse(const char *where, const char *text, bool zero_port, struct endpoint *out)
{
	struct endpoint at = {0};
	bool brackets = text[0] == '[';
	const char *host = brackets ? text + 1 : text;
	const char *end = brackets ? strchr(host, ']') : strrchr(host, ':');
	const char *colon = brackets && end ? end + 1 : end;
	uint32_t port;

	if (!end || !colon || *colon != ':') {
		log_error("%s: '%.300s' has no port: write HOST:PORT, or [ADDRESS]:PORT for IPv6", where, text);
		return -EINVAL;
	}
	if (!brackets && memchr(host, ':', (size_t)(end - host))) {
		log_error("%s: '%.300s' reads as an IPv6 address: put it in brackets, [ADDRESS]:PORT", where, text);
		return -EINVAL;
	}
	if ((size_t)(end - host) >= sizeof(at.host)) {
		log_error("%s: the host name is longer than the %d characters that DNS allows", where, ENDPOINT_HOST_BYTES - 1);
		return -EINVAL;
	}
	memcpy(at.host, host, (size_t)(end - host));
	if (!(brackets ? ipv6_ok(at.host) : host_chars_ok(at.host, ".-_"))) {
		log_error("%s: '%s' is not a host name or address: write HOST:PORT, or [ADDRESS]:PORT for IPv6", where, at.host);
		return -EINVAL;
	}
	if (units_parse_u32(colon + 1, UINT16_MAX, &port) || (port == 0 && !zero_port)) {
		log_error("%s: '%.64s' is not a port: give a number from %d to 65535", where, colon + 1, zero_port ? 0 : 1);
		return -EINVAL;
	}
	at.port = (uint16_t)port;
	*out = at;
	return 0;
}

char *endpoint_format(const struct endpoint *at, char *buf)
{
	bool v6 = strchr(at->host, ':');

	snprintf(buf, ENDPOINT_TEXT_BYTES, "%s%s%s:%u", v6 ? "[" : "", at->host, v6 ? "]" : "", (unsigned)at->port);
	return buf;
}

/* ---- one field from its text ---- */

int config_set_append(struct config *config, const char *where, const char *text)
{
	char *copy = strdup(text);

	if (!copy) {
		log_error("%s: out of memory", where);
		return -ENOMEM;
	}
	free(config->append);
	config->append = copy;
	return 0;
}

int config_set_text(char **field, const char *where, const char *text)
{
	char *copy;

	if (!*text) {
		log_error("%s: is empty: give it a value or leave it out", where);
		return -EINVAL;
	}
	copy = strdup(text);
	if (!copy) {
		log_error("%s: out of memory", where);
		return -ENOMEM;
	}
	free(*field);
	*field = copy;
	return 0;
}

int config_set_bind(struct config *config, const char *where, const char *text)
{
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) != 1 && (strlen(text) >= ENDPOINT_HOST_BYTES || !ipv6_ok(text))) {
		log_error("%s: '%.64s' is not an IP address: give one of this host's, without brackets and port", where, text);
		return -EINVAL;
	}
	return config_set_text(&config->bind, where, text);
}

int config_set_serial(struct config *config, const char *where, const char *text)
{
	if (strncmp(text, "file:", 5) == 0) {
		int rc = config_set_text(&config->serial_path, where, text + 5);

		if (!rc)
			config->serial = SERIAL_FILE;
		return rc;
	}
	if (strcmp(text, "stdio") == 0) {
		config->serial = SERIAL_STDIO;
	} else if (strcmp(text, "null") == 0) {
		config->serial = SERIAL_NULL;
	} else {
		log_error("%s: '%.64s' is not a console: use stdio, file:PATH or null", where, text);
		return -EINVAL;
	}
	free(config->serial_path);
	config->serial_path = NULL;
	return 0;
}

int config_set_triple_fault(struct config *config, const char *where, const char *text)
{
	if (strcmp(text, "stop") == 0) {
		config->triple_fault = TRIPLE_FAULT_STOP;
	} else if (strcmp(text, "reboot") == 0) {
		config->triple_fault = TRIPLE_FAULT_REBOOT;
	} else {
		log_error("%s: '%.64s' is not a choice: use stop or reboot", where, text);
		return -EINVAL;
	}
	return 0;
}

int config_set_shards(struct config *config, const char *where, const char *text)
{
	uint32_t shards;

	if (units_parse_u32(text, CONFIG_SHARDS_MAX, &shards) || shards == 0) {
		log_error("%s: '%.64s' is not a number of shards: give one from 1 to %u", where, text, CONFIG_SHARDS_MAX);
		return -EINVAL;
	}
	config->shards = shards;
	return 0;
}

/* The names of --without: dsm's, then the clock. NULL behind them. */
static const char *without_name(unsigned i)
{
	return i < DSM_OPTIMISATION_END ? dsm_optimisation_name(i) : i == DSM_OPTIMISATION_END ? "clock" : NULL;
}

/* Which one [name, name+len) is, as its bit; 0 if none. */
static uint32_t without_bit(const char *name, size_t len)
{
	for (unsigned i = 0; without_name(i); i++)
		if (strlen(without_name(i)) == len && !memcmp(without_name(i), name, len))
			return i < DSM_OPTIMISATION_END ? 1u << i : CONFIG_WITHOUT_CLOCK;
	return 0;
}

int config_set_without(struct config *config, const char *where, const char *text)
{
	uint32_t without = config->without;

	for (const char *p = text;;) {
		size_t len = strcspn(p, ",");
		uint32_t bit = without_bit(p, len);

		if (!bit) {
			char all[256] = "";

			for (unsigned i = 0; without_name(i); i++)
				snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", without_name(i));
			log_error("%s: '%.*s' is not a thing to leave out: give one of %s, or several with commas between", where,
				  (int)MIN(len, 64u), p, all);
			return -EINVAL;
		}
		without |= bit;
		if (!p[len])
			break;
		p += len + 1;
	}
	config->without = without;
	return 0;
}

int config_set_transport(struct config *config, const char *where, const char *text)
{
	if (strcmp(text, "auto") == 0) {
		config->transport = TRANSPORT_AUTO;
	} else if (strcmp(text, "rdma") == 0) {
		config->transport = TRANSPORT_RDMA;
	} else if (strcmp(text, "tcp") == 0) {
		config->transport = TRANSPORT_TCP;
	} else if (strcmp(text, "tcp-uring") == 0) {
		config->transport = TRANSPORT_TCP_URING;
	} else {
		log_error("%s: '%.64s' is not a transport: use auto, rdma, tcp or tcp-uring", where, text);
		return -EINVAL;
	}
	return 0;
}

int config_set_poll_us(struct config *config, const char *where, const char *text)
{
	uint32_t us;

	if (units_parse_u32(text, CONFIG_POLL_US_MAX, &us)) {
		log_error("%s: '%.64s' is not a time to poll: give microseconds, 0 to %u", where, text, CONFIG_POLL_US_MAX);
		return -EINVAL;
	}
	config->poll_us = us;
	return 0;
}

int config_set_ready_timeout(struct config *config, const char *where, const char *text)
{
	uint32_t sec;

	if (units_parse_u32(text, CONFIG_READY_TIMEOUT_MAX_SEC, &sec) || sec == 0) {
		log_error("%s: '%.64s' is not a time: give whole seconds from 1 to %u", where, text, CONFIG_READY_TIMEOUT_MAX_SEC);
		return -EINVAL;
	}
	config->ready_timeout_sec = sec;
	return 0;
}

/* ---- nodes ---- */

/* One "cpus=N", "mem=SIZE" or "mem-budget=SIZE". `seen` has a bit for each that was given. */
static int node_setting(struct node_config *node, const char *where, const char *item, unsigned *seen)
{
	const char *value = strchr(item, '=');
	unsigned bit;

	if (value && strncmp(item, "cpus=", 5) == 0) {
		bit = 1;
		if (units_parse_u32(value + 1, VCPUS_MAX, &node->cpus)) {
			log_error("%s: cpus=%.64s: give a number of CPUs from 0 to %u", where, value + 1, VCPUS_MAX);
			return -EINVAL;
		}
	} else if (value && strncmp(item, "mem=", 4) == 0) {
		bit = 2;
		if (units_parse_bytes(value + 1, &node->mem_bytes)) {
			log_error("%s: mem=%.64s: give a size such as 512M or 4G", where, value + 1);
			return -EINVAL;
		}
	} else if (value && strncmp(item, "mem-budget=", 11) == 0) {
		bit = 4;
		if (units_parse_bytes(value + 1, &node->budget_bytes) || !node->budget_bytes) {
			log_error("%s: mem-budget=%.64s: give a size such as 1G, or leave it out", where, value + 1);
			return -EINVAL;
		}
	} else {
		log_error("%s: '%.64s' is not a setting of a node: use cpus=N, mem=SIZE and mem-budget=SIZE", where, item);
		return -EINVAL;
	}
	if (*seen & bit) {
		log_error("%s: %s is given twice: keep one", where, bit == 1 ? "cpus=" : bit == 2 ? "mem=" : "mem-budget=");
		return -EINVAL;
	}
	*seen |= bit;
	return 0;
}

int config_add_node(struct config *config, const char *where, const char *text)
{
	struct node_config node = {0};
	unsigned seen = 0;
	char *copy;
	char *rest;
	char *item;
	int rc;

	if (config->nodes == NODES_MAX) {
		log_error("%s: there are more than %u nodes: leave some out", where, NODES_MAX);
		return -EINVAL;
	}
	copy = strdup(text);
	if (!copy) {
		log_error("%s: out of memory", where);
		return -ENOMEM;
	}
	rest = copy;
	item = strsep(&rest, ",");
	if (strcmp(item, "local") == 0) {
		node.local = true;
		rc = 0;
	} else if (!*item || strchr(item, '=')) {
		log_error("%s: '%.300s' does not say where the node is: begin with local or HOST:PORT", where, text);
		rc = -EINVAL;
	} else {
		rc = endpoint_parse(where, item, false, &node.at);
	}
	while (!rc && (item = strsep(&rest, ",")))
		rc = node_setting(&node, where, item, &seen);
	if (!rc && (seen & 3) != 3) {
		log_error("%s: '%.300s' lacks %s: write for example local,cpus=2,mem=512M", where, text,
			  seen & 1 ? "mem=SIZE" : "cpus=N");
		rc = -EINVAL;
	}
	free(copy);
	if (!rc)
		config->node[config->nodes++] = node;
	return rc;
}

/* ---- the whole ---- */

static int validate_mem(const struct config *config, uint32_t i)
{
	const struct node_config *node = &config->node[i];
	const uint64_t least = i == 0 ? CONFIG_MEM_LEADER_MIN_BYTES : CONFIG_MEM_MIN_BYTES;
	char text[UNITS_TEXT];
	char want[UNITS_TEXT];

	if (node->mem_bytes > CONFIG_MEM_MAX_BYTES) {
		log_error("node %u: %s of memory is more than the %s a machine can have: give less", i,
			  units_format_bytes(node->mem_bytes, text), units_format_bytes(CONFIG_MEM_MAX_BYTES, want));
		return -EINVAL;
	}
	if (node->mem_bytes < least) {
		log_error("node %u: %s of memory is too little: give %s at least %s", i, units_format_bytes(node->mem_bytes, text),
			  i == 0 ? "node 0, which holds the kernel," : "it", units_format_bytes(least, want));
		return -EINVAL;
	}
	if (node->mem_bytes % BLOCK_BYTES) {
		log_error("node %u: mem=%llu is not a multiple of 2 MiB: give for example mem=%lluM", i,
			  (unsigned long long)node->mem_bytes,
			  (unsigned long long)((node->mem_bytes / BLOCK_BYTES + 1) * (BLOCK_BYTES / MIB)));
		return -EINVAL;
	}
	return 0;
}

static int validate_budget(const struct config *config, uint32_t i)
{
	const struct node_config *node = &config->node[i];
	uint64_t least = dsm_budget_min(node->mem_bytes >> PAGE_SHIFT, config_mem_bytes(config) >> PAGE_SHIFT, config->shards);

	if (!node->budget_bytes || node->budget_bytes >= least)
		return 0;
	log_error("node %u: mem-budget=%lluM is too little: a node with mem=%lluM in this machine needs %lluM, for its own memory, "
		  "what "
		  "the program itself uses, and some pages of others",
		  i, (unsigned long long)(node->budget_bytes / MIB), (unsigned long long)(node->mem_bytes / MIB),
		  (unsigned long long)((least + MIB - 1) / MIB));
	return -EINVAL;
}

static int validate_nodes(const struct config *config)
{
	char text[UNITS_TEXT];
	char most[UNITS_TEXT];

	if (config->nodes == 0) {
		log_error("no nodes: give at least one, for example --node local,cpus=2,mem=512M");
		return -EINVAL;
	}
	if (config->nodes > NODES_MAX) {
		log_error("%u nodes are more than the %u a machine can have: leave some out", config->nodes, NODES_MAX);
		return -EINVAL;
	}
	if (!config->node[0].local) {
		log_error("the first node is not local: put a --node local,... first, because node 0 leads and has the console");
		return -EINVAL;
	}
	for (uint32_t i = 0; i < config->nodes; i++) {
		int rc = validate_mem(config, i);

		if (rc)
			return rc;
		if (config->node[i].cpus > VCPUS_MAX) {
			log_error("node %u: %u CPUs are more than the %u a machine can have: give fewer", i, config->node[i].cpus,
				  VCPUS_MAX);
			return -EINVAL;
		}
	}
	if (config_cpus(config) == 0) {
		log_error("no node has a CPU: give at least one of them cpus=1 or more");
		return -EINVAL;
	}
	if (config_cpus(config) > VCPUS_MAX) {
		log_error("%u CPUs in all are more than the %u a machine can have: give fewer", config_cpus(config), VCPUS_MAX);
		return -EINVAL;
	}
	if (config_mem_bytes(config) > CONFIG_MEM_MAX_BYTES) {
		log_error("%s of memory in all is more than the %s a machine can have: give less",
			  units_format_bytes(config_mem_bytes(config), text), units_format_bytes(CONFIG_MEM_MAX_BYTES, most));
		return -EINVAL;
	}
	return 0;
}

int config_validate(const struct config *config)
{
	int rc = validate_nodes(config);

	if (rc)
		return rc;
	if (!config->kernel) {
		log_error("no kernel: give one with --kernel FILE, for example --kernel /boot/vmlinuz-$(uname -r)");
		return -EINVAL;
	}
	if (config->shards == 0 || config->shards > CONFIG_SHARDS_MAX) {
		log_error("%u shards: give a number from 1 to %u", config->shards, CONFIG_SHARDS_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < config->nodes && !rc; i++)
		rc = validate_budget(config, i);
	return rc;
}

int config_append(const struct config *config, char **line)
{
	const char *defaults = config->no_guest_defaults ? "" : CONFIG_GUEST_DEFAULTS;
	const char *append = config->append ? config->append : "";
	char *text;

	if (asprintf(&text, "%s%s%s", defaults, *defaults && *append ? " " : "", append) < 0) {
		log_error("the guest's command line: out of memory");
		return -ENOMEM;
	}
	*line = text;
	return 0;
}
