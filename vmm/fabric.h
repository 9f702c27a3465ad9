/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which transport joins the nodes: agreed on by each pair over the sockets of the mesh (mesh.h), after which there are lanes.
 *
 *   lower node                                   higher node
 *     RDMA_OFFER: its addresses, or why none  ->
 *                                             <- RDMA_OFFER: addresses, port, token, or why none
 *     (both can) connects all lanes by RDMA  ==>  takes those that present the token
 *     RDMA_RESULT                             ->
 *                                             <- RDMA_RESULT
 *
 * A pair that both call a success is joined by RDMA, another by the TCP that it has. The nodes meet in rounds, as in a tournament,
 * many pairs at a time, and nobody waits for one who waits for him.
 */
#ifndef VMM_FABRIC_H
#define VMM_FABRIC_H

#include "vmm/config.h"
#include "vmm/mesh.h"

#define FABRIC_PAIR_TIMEOUT_NS (10 * NS_PER_SEC) /* for a pair to agree: RDMA that takes longer is given up before, for TCP */

/* How this node is joined to the others, for one line to the user. */
struct fabric {
	enum transport wanted;
	node_t by_rdma, by_tcp; /* how many others */
	node_t first_tcp;       /* the first of these, and */
	struct net_why why_tcp; /* why it is not by RDMA */
	bool uring;             /* TCP goes through io_uring, or if that was wanted: */
	struct net_why why_not_uring;
	char route[96]; /* the RDMA device and address */
};

/* Makes lanes of the mesh, whose sockets they take over once the nodes have agreed, also on failure; *lanes as mesh_lanes. With
 * TRANSPORT_RDMA a pair that cannot is -EHOSTUNREACH with *why naming it; other errors are of the sockets or this host. */
CHECKED int fabric_lanes(struct mesh *mesh, const struct wire_machine *machine, enum transport wanted, uint64_t deadline_ns,
			 struct fabric *fabric, struct net_lane ***lanes, struct net_why *why);

/* The line: "the nodes are joined by RDMA (rxe0, 10.77.0.1); ..." */
#define FABRIC_TEXT_BYTES 512
const char *fabric_text(const struct fabric *fabric, char *buf);

/* --transport as the other nodes are told of it, bits of wire_machine.options, and back. */
uint64_t fabric_options(enum transport wanted);
enum transport fabric_wanted(uint64_t options);

#endif
