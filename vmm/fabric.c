/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/fabric.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/rdma.h"
#include "net/tcp.h"
#include "vmm/vm.h"

#define LATE_NS   (2 * NS_PER_SEC) /* for connections that the other end calls established */
#define DIAL_NS   (6 * NS_PER_SEC) /* for all of them; before the other end gives up waiting for them, */
#define ANSWER_NS (8 * NS_PER_SEC) /* and this before the pair's time is over, so that the reason gets through */
static_assert(DIAL_NS < ANSWER_NS && ANSWER_NS < FABRIC_PAIR_TIMEOUT_NS, "in this order");

static_assert(sizeof(((struct fabric *)0)->route) == RDMA_ROUTE_BYTES, "route");

struct joining {
	struct mesh *mesh;
	const struct wire_machine *machine;
	struct fabric *fabric;
	struct rdma_links *links; /* NULL: not by RDMA, */
	struct net_why cannot;    /* and why */
	uint8_t *buf;             /* WIRE_PAYLOAD_MAX */
};

uint64_t fabric_options(enum transport wanted)
{
	switch (wanted) {
	case TRANSPORT_RDMA:
		return VM_OPTION_TRANSPORT_RDMA;
	case TRANSPORT_TCP:
		return VM_OPTION_TRANSPORT_TCP;
	case TRANSPORT_TCP_URING:
		return VM_OPTION_TRANSPORT_TCP | VM_OPTION_TRANSPORT_RDMA;
	case TRANSPORT_AUTO:
		break;
	}
	return 0;
}

enum transport fabric_wanted(uint64_t options)
{
	bool rdma = options & VM_OPTION_TRANSPORT_RDMA, tcp = options & VM_OPTION_TRANSPORT_TCP;

	return tcp ? (rdma ? TRANSPORT_TCP_URING : TRANSPORT_TCP) : rdma ? TRANSPORT_RDMA : TRANSPORT_AUTO;
}

static int tell(struct joining *j, node_t peer, uint8_t type, const struct wire_rdma *rdma, struct net_why *why)
{
	struct net_why text;
	int rc = mesh_send(j->mesh->fd[0][peer], type, rdma, sizeof(*rdma), &text);

	return rc ? net_fail(why, rc, "node %u: %.280s", peer, text.text) : 0;
}

static int hear(struct joining *j, node_t peer, uint8_t type, uint64_t deadline_ns, struct wire_rdma *rdma, struct net_why *why)
{
	struct net_why text;
	size_t len;
	int rc = mesh_recv(j->mesh->fd[0][peer], type, deadline_ns, j->buf, &len, &text);

	if (rc)
		return net_fail(why, rc, "node %u: %.280s", peer, text.text);
	rc = wire_rdma_decode(j->buf, len, rdma);
	return rc ? net_fail(why, rc, "node %u sent %s", peer, wire_error(rc)) : 0;
}

static int make_offer(struct joining *j, struct wire_rdma *offer, struct net_why *why)
{
	if (j->links)
		return rdma_links_offer(j->links, offer, why);
	wire_rdma_make(j->cannot.text, offer);
	return 0;
}

/* One of the two says why it cannot. */
static void note_refusal(const struct wire_rdma *ours, const struct wire_rdma *theirs, struct net_why *reason)
{
	if (!ours->ok)
		net_fail(reason, 0, "%.200s", ours->why);
	else
		net_fail(reason, 0, "it says: %.200s", theirs->why);
}

/* The pair's time runs from when both are there: before, the other may be busy with another pair. */
static uint64_t pair_ends(uint64_t deadline_ns)
{
	return MIN(deadline_ns, clock_ns() + FABRIC_PAIR_TIMEOUT_NS);
}

/* This end's result: `rc` of the attempt, with its reason. */
static void make_result(int rc, const struct net_why *reason, struct wire_rdma *result)
{
	wire_rdma_make(rc ? reason->text : NULL, result);
}

/* The lower node of a pair. 0; *reason is empty if the pair is joined by RDMA. -errno: the pair's sockets failed. */
static int with_higher(struct joining *j, node_t peer, uint64_t deadline_ns, struct net_why *reason, struct net_why *why)
{
	struct wire_rdma ours = {0}, theirs = {0}, result = {0};
	struct net_why text;
	int rc = make_offer(j, &ours, why);

	memset(ours.token, 0, sizeof(ours.token)); /* it is the other end's that counts */
	if (!rc)
		rc = tell(j, peer, WIRE_RDMA_OFFER, &ours, why);
	if (!rc)
		rc = hear(j, peer, WIRE_RDMA_OFFER, deadline_ns, &theirs, why);
	if (rc)
		return rc;
	deadline_ns = pair_ends(deadline_ns);
	if (!ours.ok || !theirs.ok) {
		note_refusal(&ours, &theirs, reason);
		return 0;
	}
	make_result(rdma_links_dial(j->links, peer, &theirs, MIN(deadline_ns, clock_ns() + DIAL_NS), &text), &text, &ours);
	rc = tell(j, peer, WIRE_RDMA_RESULT, &ours, why);
	if (!rc)
		rc = hear(j, peer, WIRE_RDMA_RESULT, deadline_ns, &result, why);
	if (rc)
		return rc;
	reason->text[0] = '\0';
	if (!result.ok) /* it knows both ends' reasons */
		net_fail(reason, 0, "%.200s", result.why);
	return 0;
}

/* The higher one. */
static int with_lower(struct joining *j, node_t peer, uint64_t deadline_ns, struct net_why *reason, struct net_why *why)
{
	struct wire_rdma ours = {0}, theirs = {0}, result = {0};
	struct net_why text = {"it gave up"};
	int fd = j->mesh->fd[0][peer];
	int rc = hear(j, peer, WIRE_RDMA_OFFER, deadline_ns, &theirs, why);

	if (!rc)
		rc = make_offer(j, &ours, why);
	if (!rc)
		rc = tell(j, peer, WIRE_RDMA_OFFER, &ours, why);
	if (rc)
		return rc;
	deadline_ns = pair_ends(deadline_ns);
	if (!ours.ok || !theirs.ok) {
		note_refusal(&ours, &theirs, reason);
		return 0;
	}
	int done = rdma_links_answer(j->links, peer, &ours, fd, MIN(deadline_ns, clock_ns() + ANSWER_NS), &text);
	rc = hear(j, peer, WIRE_RDMA_RESULT, deadline_ns, &result, why);
	if (rc)
		return rc;
	if (done == -ECANCELED && result.ok)
		done = rdma_links_answer(j->links, peer, &ours, -1, MIN(deadline_ns, clock_ns() + LATE_NS), &text);
	reason->text[0] = '\0';
	if (done && done != -ECANCELED)
		net_fail(reason, 0, "node %u says: %.200s", j->machine->self, text.text);
	else if (!result.ok)
		net_fail(reason, 0, "node %u says of node %u: %.200s", peer, j->machine->self, result.why);
	make_result(reason->text[0] != '\0', reason, &result);
	return tell(j, peer, WIRE_RDMA_RESULT, &result, why);
}

/* One pair. 0, or -errno with *why. */
static int agree(struct joining *j, node_t peer, uint64_t deadline_ns, struct net_why *why)
{
	struct fabric *fabric = j->fabric;
	struct net_why reason = {""};
	int rc = peer > j->machine->self ? with_higher(j, peer, deadline_ns, &reason, why)
					 : with_lower(j, peer, deadline_ns, &reason, why);

	if (rc)
		return rc;
	if (!reason.text[0]) {
		fabric->by_rdma++;
		return 0;
	}
	if (j->links)
		rdma_links_drop(j->links, peer);
	if (fabric->wanted == TRANSPORT_RDMA)
		return net_fail(why, -EHOSTUNREACH,
				"no RDMA between node %u and node %u: %.200s; --transport auto falls back on TCP", j->machine->self,
				peer, reason.text);
	if (!fabric->by_tcp++) {
		fabric->first_tcp = peer;
		fabric->why_tcp = reason;
	}
	return 0;
}

/* In round r node i meets the one of r - i, all modulo an odd number: a tournament in which every pair meets once, each node has at
 * most one partner a round, and all go through the rounds in the same order. */
static int agree_with_all(struct joining *j, uint64_t deadline_ns, struct net_why *why)
{
	node_t self = j->machine->self, nodes = j->machine->n_nodes, odd = nodes | 1;
	int rc = 0;

	for (node_t round = 0; round < odd && !rc; round++) {
		node_t other = (round + odd - self) % odd;

		if (other != self && other < nodes)
			rc = agree(j, other, deadline_ns, why);
	}
	return rc;
}

static int lanes_of_links(struct joining *j, struct net_lane ***out, struct net_why *why)
{
	struct mesh *mesh = j->mesh;
	struct net_lane **lanes = calloc(mesh->lanes, sizeof(*lanes));
	int rc = lanes ? 0 : -ENOMEM;

	for (unsigned l = 0; l < mesh->lanes && !rc; l++) {
		rc = rdma_lane_new(j->links, l, mesh->fd[l], &lanes[l]);
		for (node_t n = 0; n < NODES_MAX; n++)
			mesh->fd[l][n] = -1;
	}
	if (!rc) {
		*out = lanes;
		return 0;
	}
	for (unsigned l = 0; lanes && l < mesh->lanes; l++)
		net_free(lanes[l]);
	free(lanes);
	return net_fail(why, rc, "cannot make lanes of the RDMA connections: %s", strerror(-rc));
}

static int start(struct joining *j)
{
	struct rdma_here here;
	int rc = rdma_probe(&here, &j->cannot);

	if (rc)
		return rc;
	return rdma_links_new(j->machine->self, j->machine->n_nodes, j->mesh->lanes, &here, &j->links, &j->cannot);
}

int fabric_lanes(struct mesh *mesh, const struct wire_machine *machine, enum transport wanted, uint64_t deadline_ns,
		 struct fabric *fabric, struct net_lane ***lanes, struct net_why *why)
{
	struct joining j = {.mesh = mesh, .machine = machine, .fabric = fabric};
	int rc = 0;

	*fabric = (struct fabric){.wanted = wanted};
	if (wanted == TRANSPORT_TCP_URING)
		fabric->uring = tcp_uring_probe(&fabric->why_not_uring) == 0;
	if (wanted == TRANSPORT_AUTO || wanted == TRANSPORT_RDMA) {
		j.buf = malloc(WIRE_PAYLOAD_MAX);
		if (!j.buf)
			return net_fail(why, -ENOMEM, "out of memory");
		if (start(&j))
			j.links = NULL; /* the others are told why */
		rc = agree_with_all(&j, deadline_ns, why);
		free(j.buf);
	}
	if (!rc && fabric->by_rdma) {
		rdma_links_route(j.links, fabric->route);
		rc = lanes_of_links(&j, lanes, why);
	} else if (!rc) {
		rc = mesh_lanes(mesh, machine->self, machine->n_nodes, fabric->uring ? TCP_URING : TCP_EPOLL, lanes);
		if (rc)
			net_fail(why, rc, "cannot make lanes of the connections: %s", strerror(-rc));
	}
	if (j.links)
		rdma_links_free(j.links);
	return rc;
}

const char *fabric_text(const struct fabric *fabric, char *buf)
{
	if (fabric->wanted == TRANSPORT_TCP_URING && fabric->uring)
		snprintf(buf, FABRIC_TEXT_BYTES,
			 "the nodes are joined by TCP, through io_uring, not RDMA: --transport tcp-uring says so");
	else if (fabric->wanted == TRANSPORT_TCP_URING)
		snprintf(buf, FABRIC_TEXT_BYTES, "the nodes are joined by TCP, through epoll: %.300s", fabric->why_not_uring.text);
	else if (fabric->wanted == TRANSPORT_TCP)
		snprintf(buf, FABRIC_TEXT_BYTES, "the nodes are joined by TCP, not RDMA: --transport tcp says so");
	else if (fabric->by_tcp == 0)
		snprintf(buf, FABRIC_TEXT_BYTES, "the nodes are joined by RDMA (%s); TCP only watches over them", fabric->route);
	else if (fabric->by_rdma == 0)
		snprintf(buf, FABRIC_TEXT_BYTES, "the nodes are joined by TCP, not RDMA: node %u: %s", fabric->first_tcp,
			 fabric->why_tcp.text);
	else
		snprintf(buf, FABRIC_TEXT_BYTES, "%u other nodes are joined by RDMA (%s), %u by TCP: node %u: %s", fabric->by_rdma,
			 fabric->route, fabric->by_tcp, fabric->first_tcp, fabric->why_tcp.text);
	return buf;
}
