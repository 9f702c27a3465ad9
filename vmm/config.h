/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user asked for: one virtual machine, as `pangea run` was told by its command line and
 * its configuration file.
 *
 * struct config is plain data: it owns its strings and nothing else, knows no file descriptors, and
 * is not changed once the VM starts, so any thread may read it without a lock. config.c holds the
 * struct and its rules, config_file.c reads the JSON file, cmdline.c the options; the last two only
 * fill it in and config_validate() judges the whole, so that the same sentence comes from both.
 *
 * Errors: -EINVAL is what the user wrote, -ENOMEM and the errno of a file are the host's. The
 * function that returns one has logged one sentence that says what to do.
 * Nothing here looks at the host: whether a file exists or there is enough RAM is found out by who
 * opens the file and who maps the RAM.
 */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "base/types.h"

/* What `run` puts before the user's --append unless --no-guest-defaults: the serial console, and trust
 * in the TSC, which Linux would otherwise drop for a clock whose every read is an exit to node 0. */
#define CONFIG_GUEST_DEFAULTS                                                                   \
	"console=ttyS0 tsc=reliable clocksource=tsc nokaslr numa_balancing=disable nowatchdog " \
	"relax_domain_level=3 psi=0"

#define CONFIG_SHARDS_MAX            16u
#define CONFIG_POLL_US_MAX           10000u
#define CONFIG_WITHOUT_CLOCK         (1u << 31)    /* clocks are compared and not corrected */
#define CONFIG_MEM_MIN_BYTES         (2 * MIB)     /* of any node: one block */
#define CONFIG_MEM_LEADER_MIN_BYTES  (64 * MIB)    /* of node 0: the kernel, its initrd and the tables go there */
#define CONFIG_MEM_MAX_BYTES         (64ull << 40) /* in all: 46 physical address bits */
#define CONFIG_FILE_MAX_BYTES        (1 * MIB)
#define CONFIG_READY_TIMEOUT_SEC     30u
#define CONFIG_READY_TIMEOUT_MAX_SEC 86400u

/* "HOST:PORT" or "[IPV6]:PORT"; the host is a name or an address, without brackets, not resolved yet. */
#define ENDPOINT_HOST_BYTES 254 /* a DNS name (RFC 1035, 2.3.4) and its end */
#define ENDPOINT_TEXT_BYTES (ENDPOINT_HOST_BYTES + 8)
struct endpoint {
	char host[ENDPOINT_HOST_BYTES];
	uint16_t port;
};

struct node_config {
	bool local;            /* started by this process; `at` is empty then */
	struct endpoint at;    /* the `pangea node` to ask */
	uint32_t cpus;         /* 0: a memory-only node */
	uint64_t mem_bytes;    /* a multiple of BLOCK_BYTES */
	uint64_t budget_bytes; /* what its process may have resident; 0: no bound */
};

enum serial_kind {
	SERIAL_STDIO, /* standard input and output, raw when it is a terminal */
	SERIAL_FILE,  /* output to serial_path, no input */
	SERIAL_NULL,  /* output dropped, no input */
};

enum triple_fault_action {
	TRIPLE_FAULT_STOP,   /* the VM ends with EXIT_GUEST_CRASHED */
	TRIPLE_FAULT_REBOOT, /* the VM is reset, as a PC would be */
};

enum transport {
	TRANSPORT_AUTO, /* RDMA between nodes that can, TCP between others */
	TRANSPORT_RDMA, /* or no machine */
	TRANSPORT_TCP,
	TRANSPORT_TCP_URING, /* TCP, and through io_uring on nodes that have it */
};

/* A string that is NULL was not given. */
struct config {
	uint32_t nodes;
	struct node_config node[NODES_MAX];

	char *kernel;
	char *initrd;
	char *append; /* without CONFIG_GUEST_DEFAULTS: config_append() joins them */
	bool no_guest_defaults;

	char *key_file; /* NULL: the default place of net/key.h */
	char *bind;     /* where local nodes listen for remote ones; NULL: loopback if every node is local, otherwise
			 * the address from which this host reaches the first remote node */
	uint32_t shards;
	uint32_t without; /* DSM_WITHOUT bits (dsm.h), CONFIG_WITHOUT_CLOCK */
	uint32_t poll_us; /* how long a shard polls before it sleeps */
	enum transport transport;
	uint32_t ready_timeout_sec; /* for all nodes to have joined */

	enum serial_kind serial;
	char *serial_path; /* for SERIAL_FILE */
	enum triple_fault_action triple_fault;
	bool no_reboot;

	bool stats;
	char *stats_json;
	char *symbols; /* of the guest's kernel: a System.map or /proc/kallsyms */
	bool quiet;
};

/* Every field at its default. config_free() frees what the struct owns and leaves the defaults. */
void config_default(struct config *config);
void config_free(struct config *config);

/* Judges the whole: nodes, their order and sums, and what must be given. Pure but for the one line it logs.
 * -EINVAL. */
CHECKED int config_validate(const struct config *config);

/* One field from its text, as the command line and the file both write it. -EINVAL, -ENOMEM; logged, with `where`
 * ("--node" or "vm.json:7: node") in front. On an error the config is as before. */
CHECKED int config_add_node(struct config *config, const char *where, const char *text); /* "local,cpus=2,mem=512M" */
CHECKED int config_set_bind(struct config *config, const char *where, const char *text); /* an IP address, no port */
CHECKED int config_set_serial(struct config *config, const char *where, const char *text);
CHECKED int config_set_triple_fault(struct config *config, const char *where, const char *text);
CHECKED int config_set_shards(struct config *config, const char *where, const char *text);
/* Adds to what is off already: names with commas between. */
CHECKED int config_set_without(struct config *config, const char *where, const char *text);
CHECKED int config_set_transport(struct config *config, const char *where, const char *text);
CHECKED int config_set_poll_us(struct config *config, const char *where, const char *text);
CHECKED int config_set_ready_timeout(struct config *config, const char *where, const char *text);
/* A string field: `field` is one of the struct's; it is replaced by a copy. An empty text is -EINVAL. */
CHECKED int config_set_text(char **field, const char *where, const char *text);
/* The same, but empty is allowed: a kernel command line. */
CHECKED int config_set_append(struct config *config, const char *where, const char *text);

/* The file named; its settings are laid over what config holds. -EINVAL, -ENOMEM, or the errno of open or read. */
CHECKED int config_read_file(struct config *config, const char *path);
/* The same from [text, text+len), bytes not trusted to be anything; `name` stands for the file in messages. Pure
 * but for the log. On an error config may hold some of the settings, and is still to be freed. */
CHECKED int config_parse_json(struct config *config, const char *name, const char *text, size_t len);

/* The guest's whole command line: defaults, then --append. The caller frees it. -ENOMEM. */
CHECKED int config_append(const struct config *config, char **line);

uint32_t config_cpus(const struct config *config);      /* of all nodes */
uint64_t config_mem_bytes(const struct config *config); /* of all nodes */
bool config_all_local(const struct config *config);

/* Logged with `where` as above. `zero_port`: port 0, "any free one", is allowed. -EINVAL. */
CHECKED int endpoint_parse(const char *where, const char *text, bool zero_port, struct endpoint *out);
/* As people write it, brackets and all. buf of ENDPOINT_TEXT_BYTES; returns buf. */
char *endpoint_format(const struct endpoint *at, char *buf);

#endif
