/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one connection to the leader to a lane to every node: how nodes find each other.
 *
 * Before there are lanes, leader and follower exchange whole messages over the joined socket (mesh_send, mesh_recv: blocking, with
 * a deadline). Then, for each lane, node i connects to every node above it and node j accepts from every node below; node 0's
 * control lane is the joined socket itself. So the leader never has to be reachable. Every connection authenticates (auth.h) and
 * names the session, so that two machines on one host cannot be mixed up.
 */
#ifndef VMM_MESH_H
#define VMM_MESH_H

#include "net/key.h"
#include "net/tcp.h"
#include "net/wire.h"

#define MESH_LANES_MAX (1 + WIRE_SHARDS_MAX)

CHECKED int mesh_send(int fd, uint8_t type, const void *payload, size_t len, struct net_why *why);
/* Waits for a message of the given type. A STOP instead of it is -ECANCELED with its text in *why; another type -EPROTO.
 * buf has WIRE_PAYLOAD_MAX bytes. */
CHECKED int mesh_recv(int fd, uint8_t type, uint64_t deadline_ns, uint8_t *buf, size_t *len, struct net_why *why);

/* Sockets of all lanes: fd[lane][node], -1 where there is none. */
struct mesh {
	unsigned lanes;
	int fd[MESH_LANES_MAX][NODES_MAX];
};

void mesh_init(struct mesh *mesh, unsigned lanes);
void mesh_close(struct mesh *mesh);
/* Connects to the nodes above self, then accepts from those below. `listen_fd` -1 for node 0. */
CHECKED int mesh_build(struct mesh *mesh, const struct wire_machine *machine, int listen_fd, const uint8_t key[KEY_BYTES],
		       uint64_t deadline_ns, struct net_why *why);
/* Makes lanes of the sockets, which are theirs from then on: *lanes is an array of mesh->lanes, to be freed. */
CHECKED int mesh_lanes(struct mesh *mesh, node_t self, node_t nodes, enum tcp_engine engine, struct net_lane ***lanes);

#endif
