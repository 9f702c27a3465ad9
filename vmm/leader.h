/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pangea run`: node 0. Gathers the other nodes, builds the machine out of what they all have, loads the guest, and drives it to
 * its end. join.c gathers; leader.c drives. Return values are exit codes (exitcode.h).
 */
#ifndef VMM_LEADER_H
#define VMM_LEADER_H

#include <sys/types.h>

#include "net/key.h"
#include "vmm/config.h"
#include "vmm/facts.h"
#include "vmm/mesh.h"
#include "vmm/vm.h"

int leader_run(const struct config *config);

/* The nodes as they are gathered: sockets, processes, facts. */
struct cluster {
	const struct config *config;
	uint8_t key[KEY_BYTES];
	pid_t pid[NODES_MAX]; /* local nodes; 0: none */
	int fd[NODES_MAX];    /* joined sockets; -1: none, or the lanes' by now */
	char host[NODES_MAX][WIRE_HOST_BYTES];
	struct wire_facts *facts; /* [nodes] */
	struct wire_machine machine;
	struct mesh mesh;
};

/* Connects to every node, learns what it has, tells it what the machine is, and builds the lanes. An exit code; logged. */
CHECKED int cluster_join(struct cluster *cluster, struct vm_config *out);
/* Ends local nodes and closes what is left. NULL is fine. */
void cluster_free(struct cluster *cluster);

#endif
