/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message is in one of two lists: `flight` of the fabric (step mode, before loop_step) or the inbox of its lane,
 * sorted by the time it is due. A lane's descriptor is a timerfd set to its first message's time, which is also what
 * makes it readable at once (a time in the past). All of it is under the fabric's mutex.
 */
#include "net/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

struct message {
	struct message *next;
	uint64_t due_ns;
	node_t from, to;
	unsigned lane;
	uint8_t bytes[]; /* as on the wire */
};

struct endpoint {
	struct net_lane lane;
	struct loop_net *net;
	int timer;
	bool closed;
	uint64_t gone;                    /* bit n: no connection to node n any more */
	uint64_t untold;                  /* bit n: gone, but sink->lost was not called yet */
	struct message *inbox;            /* ascending by due_ns */
	struct message *kept, **kept_end; /* by net_queue; the polling thread's */
	uint64_t last_due[NODES_MAX];     /* fifo: of the messages of each peer */
	uint8_t reserved[WIRE_RUN_PAYLOAD_MAX];
	uint32_t reserved_bytes;
};

struct loop_net {
	struct loop_options options;
	pthread_mutex_t mutex;
	node_t nodes;
	unsigned lanes;
	uint64_t random;
	size_t in_flight;       /* in both lists */
	struct message *flight; /* in the order sent */
	struct endpoint at[];   /* node * lanes + lane */
};

/* SplitMix64 (Steele, Lea, Flood 2014): a full-period sequence from any seed. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static struct endpoint *endpoint_of(struct net_lane *lane)
{
	return container_of(lane, struct endpoint, lane);
}

static struct endpoint *endpoint_at(struct loop_net *net, node_t node, unsigned lane)
{
	return &net->at[node * net->lanes + lane];
}

/* Sets the descriptor's time to that of the first thing to do; disarms it if there is none. */
static void rearm_locked(struct endpoint *e)
{
	struct itimerspec at = {0};
	uint64_t due = 0;

	if (e->untold)
		due = 1;
	else if (e->inbox)
		due = MAX(e->inbox->due_ns, 1);
	at.it_value = clock_timespec(due);
	if (timerfd_settime(e->timer, TFD_TIMER_ABSTIME, &at, NULL))
		abort(); /* a valid descriptor and time */
}

static void insert_locked(struct endpoint *e, struct message *m)
{
	struct message **at = &e->inbox;

	while (*at && (*at)->due_ns <= m->due_ns)
		at = &(*at)->next;
	m->next = *at;
	*at = m;
	if (e->inbox == m)
		rearm_locked(e);
}

/* Frees what is in a list and goes to or comes from `node` on lane `lane`. */
static void purge_locked(struct loop_net *net, struct message **at, node_t node, unsigned lane)
{
	while (*at) {
		struct message *m = *at;

		if ((m->from == node || m->to == node) && m->lane == lane) {
			*at = m->next;
			free(m);
			net->in_flight--;
		} else {
			at = &m->next;
		}
	}
}

/* Ends the connections of node `node` on one lane. */
static void close_locked(struct loop_net *net, node_t node, unsigned lane)
{
	struct endpoint *self = endpoint_at(net, node, lane);

	if (self->closed)
		return;
	self->closed = true;
	purge_locked(net, &net->flight, node, lane);
	for (node_t i = 0; i < net->nodes; i++) {
		struct endpoint *e = endpoint_at(net, i, lane);

		purge_locked(net, &e->inbox, node, lane);
		if (i != node && !(e->gone >> node & 1)) {
			e->gone |= UINT64_C(1) << node;
			e->untold |= UINT64_C(1) << node;
		}
		rearm_locked(e);
	}
}

static struct message *make_message(const struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct message *m = malloc(sizeof(*m) + WIRE_HDR_BYTES + hdr->len);

	if (!m)
		abort();
	m->from = lane->self;
	m->to = to;
	m->lane = lane->lane;
	m->next = NULL;
	wire_hdr_encode(hdr, m->bytes);
	if (hdr->len)
		memcpy(m->bytes + WIRE_HDR_BYTES, payload, hdr->len);
	return m;
}

/* Takes m over. */
static int dispatch(struct endpoint *e, struct message *m)
{
	struct loop_net *net = e->net;
	struct endpoint *dest = endpoint_at(net, m->to, e->lane.lane);

	pthread_mutex_lock(&net->mutex);
	if (e->closed || e->gone >> m->to & 1) {
		pthread_mutex_unlock(&net->mutex);
		free(m);
		return -ENOTCONN;
	}
	net->in_flight++;
	if (net->options.step) {
		struct message **at = &net->flight;

		while (*at)
			at = &(*at)->next;
		*at = m;
	} else {
		uint64_t spread = net->options.max_delay_ns - net->options.min_delay_ns;

		m->due_ns = clock_ns() + net->options.min_delay_ns + next_random(&net->random) % (spread + 1);
		if (net->options.fifo)
			m->due_ns = dest->last_due[m->from] = MAX(m->due_ns, dest->last_due[m->from]);
		insert_locked(dest, m);
	}
	pthread_mutex_unlock(&net->mutex);
	return 0;
}

/* Messages of net_queue stay with the sender until net_flush, so that a flush that is missing shows. */
static void loop_flush(struct net_lane *lane)
{
	struct endpoint *e = endpoint_of(lane);

	while (e->kept) {
		struct message *m = e->kept;

		e->kept = m->next;
		m->next = NULL;
		if (dispatch(e, m))
			continue; /* the loss is told by poll */
	}
	e->kept_end = &e->kept;
}

static int loop_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct endpoint *e = endpoint_of(lane);

	if (e->kept) /* then this is the polling thread */
		loop_flush(lane);
	return dispatch(e, make_message(lane, to, hdr, payload));
}

/* What was reserved is void once anything has been queued, so that its use shows. */
static int loop_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	struct endpoint *e = endpoint_of(lane);

	*e->kept_end = make_message(lane, to, hdr, payload);
	e->kept_end = &(*e->kept_end)->next;
	memset(e->reserved, 0xa5, e->reserved_bytes);
	return 0;
}

static void *loop_reserve(struct net_lane *lane, node_t to, const struct wire_hdr *hdr)
{
	struct endpoint *e = endpoint_of(lane);

	(void)to;
	if (!lane->lane || hdr->len > sizeof(e->reserved))
		return NULL;
	e->reserved_bytes = hdr->len;
	return e->reserved;
}

/* The next message due, taken out of the inbox; NULL if there is none. */
static struct message *take_locked(struct endpoint *e, uint64_t now)
{
	struct message *m = e->inbox;

	if (!m || m->due_ns > now)
		return NULL;
	e->inbox = m->next;
	e->net->in_flight--;
	return m;
}

static void hand_over(struct endpoint *e, struct net_sink *sink, const struct message *m)
{
	struct wire_hdr hdr;
	int err = wire_hdr_decode(m->bytes, wire_lane_kind(e->lane.lane), &hdr);

	if (err)
		abort(); /* net_send has checked it */
	sink->recv(sink, m->from, &hdr, m->bytes + WIRE_HDR_BYTES);
}

static void tell_lost(struct net_sink *sink, uint64_t *untold)
{
	node_t node = (node_t)__builtin_ctzll(*untold);
	char why[64];

	*untold &= *untold - 1;
	snprintf(why, sizeof(why), "node %u closed the connection", node);
	sink->lost(sink, node, -ECONNRESET, why);
}

static int loop_poll(struct net_lane *lane, struct net_sink *sink)
{
	struct endpoint *e = endpoint_of(lane);
	struct loop_net *net = e->net;
	uint64_t now = clock_ns();
	int handled = 0;

	for (;; handled++) {
		struct message *m;
		uint64_t untold;

		pthread_mutex_lock(&net->mutex);
		m = take_locked(e, now);
		untold = m ? 0 : e->untold;
		e->untold &= ~(untold & -untold); /* the one that tell_lost tells */
		if (!m && !untold)
			rearm_locked(e);
		pthread_mutex_unlock(&net->mutex);

		if (m)
			hand_over(e, sink, m);
		else if (untold)
			tell_lost(sink, &untold);
		else
			return handled;
		free(m);
	}
}

static int loop_fd(struct net_lane *lane)
{
	return endpoint_of(lane)->timer;
}

static void loop_close(struct net_lane *lane)
{
	struct loop_net *net = endpoint_of(lane)->net;

	pthread_mutex_lock(&net->mutex);
	close_locked(net, lane->self, lane->lane);
	pthread_mutex_unlock(&net->mutex);
}

static const struct net_ops loop_ops = {
	.name = "loop",
	.send = loop_send,
	.queue = loop_queue,
	.flush = loop_flush,
	.reserve = loop_reserve,
	.payload_max = WIRE_RUN_PAYLOAD_MAX,
	.poll = loop_poll,
	.fd = loop_fd,
	.free = loop_close,
};

static const struct net_ops looking_ops = {
	.name = "loop",
	.send = loop_send,
	.queue = loop_queue,
	.flush = loop_flush,
	.poll = loop_poll,
	.look = loop_poll,
	.fd = loop_fd,
	.free = loop_close,
};

int loop_new(node_t nodes, unsigned lanes, const struct loop_options *options, struct loop_net **out)
{
	struct loop_net *net;
	int err = 0;

	if (nodes == 0 || nodes > NODES_MAX || lanes == 0 || lanes > WIRE_SHARDS_MAX + 1 ||
	    options->min_delay_ns > options->max_delay_ns)
		return -EINVAL;
	net = calloc(1, sizeof(*net) + (size_t)nodes * lanes * sizeof(net->at[0]));
	if (!net)
		return -ENOMEM;
	net->options = *options;
	net->random = options->seed;
	net->nodes = nodes;
	net->lanes = lanes;
	pthread_mutex_init(&net->mutex, NULL);
	for (node_t i = 0; i < nodes; i++)
		for (unsigned j = 0; j < lanes; j++) {
			struct endpoint *e = endpoint_at(net, i, j);

			e->lane = (struct net_lane){
				.ops = options->look ? &looking_ops : &loop_ops, .self = i, .nodes = nodes, .lane = j};
			e->net = net;
			e->kept_end = &e->kept;
			e->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
			if (e->timer < 0)
				err = -errno;
		}
	if (err) {
		loop_free(net);
		return err;
	}
	*out = net;
	return 0;
}

static void free_list(struct message *m)
{
	while (m) {
		struct message *next = m->next;

		free(m);
		m = next;
	}
}

void loop_free(struct loop_net *net)
{
	if (!net)
		return;
	for (size_t i = 0; i < (size_t)net->nodes * net->lanes; i++) {
		free_list(net->at[i].inbox);
		free_list(net->at[i].kept);
		if (net->at[i].timer >= 0)
			close(net->at[i].timer);
	}
	free_list(net->flight);
	pthread_mutex_destroy(&net->mutex);
	free(net);
}

struct net_lane *loop_lane(struct loop_net *net, node_t node, unsigned lane)
{
	assert(node < net->nodes && lane < net->lanes);
	return &endpoint_at(net, node, lane)->lane;
}

/* The link to a message in flight, chosen by the seed; with fifo the oldest of those it may not overtake. */
static struct message **choose_locked(struct loop_net *net)
{
	struct message *m = net->flight;
	struct message **at = &net->flight;
	size_t n = 0;

	for (; m; m = m->next)
		n++;
	for (n = next_random(&net->random) % n; n; n--)
		at = &(*at)->next;
	if (!net->options.fifo)
		return at;
	m = *at;
	for (at = &net->flight; (*at)->from != m->from || (*at)->to != m->to || (*at)->lane != m->lane;)
		at = &(*at)->next;
	return at;
}

bool loop_step(struct loop_net *net, node_t *node, unsigned *lane)
{
	struct message *m = NULL;

	pthread_mutex_lock(&net->mutex);
	if (net->flight) {
		struct message **at = choose_locked(net);

		m = *at;
		*at = m->next;
		m->due_ns = 0;
		*node = m->to;
		*lane = m->lane;
		insert_locked(endpoint_at(net, m->to, m->lane), m);
	}
	pthread_mutex_unlock(&net->mutex);
	return m;
}

size_t loop_in_flight(struct loop_net *net)
{
	size_t n;

	pthread_mutex_lock(&net->mutex);
	n = net->in_flight;
	pthread_mutex_unlock(&net->mutex);
	return n;
}

void loop_lose(struct loop_net *net, node_t node)
{
	pthread_mutex_lock(&net->mutex);
	for (unsigned j = 0; j < net->lanes; j++)
		close_locked(net, node, j);
	pthread_mutex_unlock(&net->mutex);
}
