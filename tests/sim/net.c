/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The modelled network: a port a node, full duplex, each message on its own (SIM_FRAME bytes of headers). It leaves when the port
 * is free, its first bit lands a latency later, its last when the receiver's port has taken it. Messages of a pair of shards stay
 * in order, as on one TCP connection.
 *
 * The processor's part is as net/tcp.c's: net_flush sends to one peer after the other, all that is queued for it at once; net_poll
 * takes all that has arrived, of one peer after the other.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/sim/sim.h"

static uint64_t on_the_wire(const struct sim *sim, uint32_t bytes)
{
	return sim->options.costs.mbit ? (uint64_t)(bytes + SIM_FRAME) * 8000 / sim->options.costs.mbit : 0;
}

static int keep(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct actor *actor = container_of(lane, struct actor, lane);
	struct sim *sim = actor->sim;
	struct sim_message *m = sim_alloc(1, sizeof(*m) + WIRE_HDR_BYTES + hdr->len);

	m->from = lane->self;
	m->len = WIRE_HDR_BYTES + hdr->len;
	wire_hdr_encode(hdr, m->bytes);
	if (hdr->len)
		memcpy(m->bytes + WIRE_HDR_BYTES, payload, hdr->len);
	if (sim->options.broken == SIM_BREAK_OLD_BYTES && hdr->type == WIRE_DATA && hdr->len && ++sim->drops % 50 == 0)
		m->bytes[WIRE_HDR_BYTES + 8]++;
	if (!(actor->kept_for >> to & 1)) {
		actor->kept_for |= (uint64_t)1 << to;
		actor->kept_end[to] = &actor->kept[to];
	}
	*actor->kept_end[to] = m;
	actor->kept_end[to] = &m->next;
	return 0;
}

static void launch(struct actor *actor, node_t to, struct sim_message *m)
{
	struct sim *sim = actor->sim;
	const struct sim_costs *costs = &sim->options.costs;
	node_t self = actor->lane.self;
	uint64_t *last = &sim->last_land[(size_t)(actor - sim->actor) * sim->options.nodes + to];
	uint64_t start = MAX(sim->now, sim->out_free[self]);

	sim->out_free[self] = start + on_the_wire(sim, m->len);
	uint64_t land = start + costs->latency + (costs->jitter ? sim_random(sim, costs->jitter + 1) : 0);
	*last = MAX(*last, land);
	sim_push(sim, (struct sim_event){
			      .at = *last, .type = EV_LAND, .who = to * sim->options.shards + actor->lane.lane - 1, .message = m});
}

static void flush(struct net_lane *lane)
{
	struct actor *actor = container_of(lane, struct actor, lane);
	struct sim *sim = actor->sim;
	const struct sim_costs *costs = &sim->options.costs;

	if (actor->kept_for)
		sim_spend(sim, costs->flush);
	for (; actor->kept_for; actor->kept_for &= actor->kept_for - 1) {
		node_t to = (node_t)__builtin_ctzll(actor->kept_for);
		struct sim_message *m = actor->kept[to], *next;

		*actor->kept_end[to] = NULL;
		for (const struct sim_message *i = m; i; i = i->next)
			sim_spend(sim, i == m ? costs->send : costs->more);
		for (; m; m = next) {
			next = m->next;
			m->next = NULL;
			launch(actor, to, m);
		}
	}
}

static int send_one(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	int rc = keep(lane, to, hdr, payload);

	flush(lane);
	return rc;
}

void simnet_land(struct sim *sim, struct sim_event *event)
{
	uint64_t *port = &sim->in_free[event->who / sim->options.shards];

	*port = MAX(event->at, *port) + on_the_wire(sim, event->message->len);
	sim_push(sim, (struct sim_event){.at = *port, .type = EV_ARRIVE, .who = event->who, .message = event->message});
}

struct sim_message *simnet_take(struct actor *actor)
{
	struct sim_message *m = actor->inbox;

	if (!m)
		return NULL;
	actor->inbox = m->next;
	if (!m->next)
		actor->inbox_end = &actor->inbox;
	return m;
}

static int poll_all(struct net_lane *lane, struct net_sink *sink)
{
	struct actor *actor = container_of(lane, struct actor, lane);
	const struct sim_costs *costs = &actor->sim->options.costs;
	struct sim_message *m;
	uint64_t heard = 0;
	int n = 0;

	for (; !(n && actor->sim->options.one_by_one) && (m = simnet_take(actor)); n++) {
		struct wire_hdr hdr;

		sim_spend(actor->sim, (n ? 0 : costs->poll) + (heard >> m->from & 1 ? costs->more : costs->recv));
		heard |= (uint64_t)1 << m->from;
		if (wire_hdr_decode(m->bytes, WIRE_LANE_DSM, &hdr))
			sim_fail(actor->sim, "node %u sent bytes that do not decode", m->from);
		sink->recv(sink, m->from, &hdr, m->bytes + WIRE_HDR_BYTES);
		free(m);
	}
	return n;
}

static int fd_of(struct net_lane *lane)
{
	return container_of(lane, struct actor, lane)->fd;
}

static void close_lane(struct net_lane *lane)
{
	close(fd_of(lane));
}

static const struct net_ops ops = {.name = "sim",
				   .send = send_one,
				   .queue = keep,
				   .flush = flush,
				   .payload_max = WIRE_RUN_PAYLOAD_MAX,
				   .poll = poll_all,
				   .fd = fd_of,
				   .free = close_lane};

void simnet_init(struct actor *actor, node_t self, unsigned lane)
{
	actor->lane = (struct net_lane){.ops = &ops, .self = self, .nodes = actor->sim->options.nodes, .lane = lane};
	actor->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	actor->inbox_end = &actor->inbox;
	if (actor->fd < 0)
		sim_fail(actor->sim, "no descriptor: raise ulimit -n");
}
