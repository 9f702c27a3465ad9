/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

struct control {
	struct net_sink sink;
	struct vm *vm;
	struct net_lane *lane;
	pthread_t thread;
	int epoll_fd, stop_fd;
	uint64_t next_ping_ns;
	uint64_t now_ns; /* when this round of the thread began */
	uint64_t heard_ns[NODES_MAX];
	uint64_t looked_ns; /* when this thread last ran */
	uint64_t clocks;    /* node 0: the nodes whose clock is set */
	struct log_limit limit;
};

/* ---- messages ---- */

static void refuse(struct control *c, node_t from, const struct wire_hdr *hdr)
{
	vm_stop(c->vm, WIRE_STOP_LOST, from, 0, "it sent a %s that this node cannot take", wire_type_name(hdr->type));
}

static void answer(struct control *c, node_t to, uint8_t type, const struct wire_hdr *question, const void *payload, uint32_t len)
{
	struct wire_hdr hdr = {.type = type, .len = len, .seq = question->seq};

	net_post(c->lane, to, &hdr, payload);
}

static void on_io(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	enum bus_space space;
	struct wire_io io;
	int rc;

	if (!c->vm->bus || wire_io_decode(payload, hdr->len, &io)) {
		refuse(c, from, hdr);
		return;
	}
	space = io.mmio ? BUS_MMIO : BUS_PIO;
	rc = io.write ? bus_write(c->vm->bus, space, io.addr, &io.data, io.len)
		      : bus_read(c->vm->bus, space, io.addr, &io.data, io.len);
	if (rc && !io.write)
		io.data = UINT64_MAX;
	answer(c, from, WIRE_IO_REPLY, hdr, &io, sizeof(io));
}

/* The leader: node `from` has answered. */
static void mark(struct control *c, uint64_t *set, node_t from)
{
	pthread_mutex_lock(&c->vm->lock);
	*set |= (uint64_t)1 << from;
	pthread_mutex_unlock(&c->vm->lock);
	vm_post(c->vm, VM_ORDER_ANSWER);
}

static void on_stats(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct dsm_stats *all = c->vm->answers.node_stats;
	struct dsm_stats one;
	size_t n;

	if (!all || wire_stats_decode(payload, hdr->len, (uint64_t *)&one, sizeof(one) / sizeof(uint64_t), &n)) {
		refuse(c, from, hdr);
		return;
	}
	pthread_mutex_lock(&c->vm->lock);
	all[from] = one;
	pthread_mutex_unlock(&c->vm->lock);
	mark(c, &c->vm->answers.stats, from);
}

static void on_stats_request(struct control *c, node_t from, const struct wire_hdr *hdr)
{
	struct dsm_stats stats;

	dsm_stats(c->vm->dsm, &stats);
	answer(c, from, WIRE_STATS, hdr, &stats, sizeof(stats));
}

/* An order of the leader, for the driver. One is under way at a time. */
static void on_order(struct control *c, node_t from, const struct wire_hdr *hdr, enum vm_order order)
{
	if (from != 0) {
		refuse(c, from, hdr);
		return;
	}
	pthread_mutex_lock(&c->vm->lock);
	c->vm->order_seq = hdr->seq;
	if (order == VM_ORDER_RESET)
		c->vm->reset_epoch = hdr->epoch;
	pthread_mutex_unlock(&c->vm->lock);
	vm_post(c->vm, order);
}

static void on_clock_request(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	bool set = false;

	if (clocksync_request(c->vm->clock, from, hdr, payload, &set))
		refuse(c, from, hdr);
	else if (set && !(c->clocks & (uint64_t)1 << from)) {
		c->clocks |= (uint64_t)1 << from;
		mark(c, &c->vm->answers.clocks, from);
	}
}

static void on_clock_reply(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	int rc = clocksync_reply(c->vm->clock, from, hdr, payload);

	if (rc == -EBADMSG)
		refuse(c, from, hdr);
	else if (rc)
		vm_stop(c->vm, WIRE_STOP_ERROR, c->vm->config.self, 0, "its clock cannot be set: %s", strerror(-rc));
}

static void on_entry(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct wire_entry entry;

	if (wire_entry_decode(payload, hdr->len, &entry) || memmap_vcpu_node(&c->vm->config.map, 0) != c->vm->config.self) {
		refuse(c, from, hdr);
		return;
	}
	pthread_mutex_lock(&c->vm->lock);
	c->vm->entry = entry;
	pthread_mutex_unlock(&c->vm->lock);
	on_order(c, from, hdr, VM_ORDER_ENTRY);
}

static void on_stop(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct wire_stop stop;

	if (wire_stop_decode(payload, hdr->len, &stop)) {
		refuse(c, from, hdr);
		return;
	}
	vm_stopped(c->vm, &stop, hdr->arg);
}

static void on_ipi(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct wire_ipi ipi;

	if (wire_ipi_decode(payload, hdr->len, &ipi) || ipi_receive(c->vm->vcpus, &ipi))
		refuse(c, from, hdr);
}

static void on_route(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct wire_route route;

	if (wire_route_decode(payload, hdr->len, &route) || memmap_vcpu_node(&c->vm->config.map, route.vcpu) != from ||
	    ipi_route_receive(c->vm->vcpus, &route))
		refuse(c, from, hdr);
	else
		answer(c, from, WIRE_ROUTE_ACK, hdr, NULL, 0);
}

static void on_io_reply(struct control *c, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct wire_io io;

	if (from != 0 || wire_io_decode(payload, hdr->len, &io))
		refuse(c, from, hdr);
	else
		vcpu_io_reply(c->vm->vcpus, hdr->seq, &io);
}

static void on_eoi(struct control *c, node_t from, const struct wire_hdr *hdr)
{
	if (!c->vm->bus || hdr->arg > 255)
		refuse(c, from, hdr);
	else
		irqchip_eoi(&c->vm->irq, (uint8_t)hdr->arg);
}

static void on_message(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct control *c = container_of(sink, struct control, sink);

	net_trace_received(from, hdr);
	c->heard_ns[from] = c->now_ns;
	switch ((enum wire_type)hdr->type) {
	case WIRE_IPI:
		on_ipi(c, from, hdr, payload);
		break;
	case WIRE_EOI:
		on_eoi(c, from, hdr);
		break;
	case WIRE_ROUTE:
		on_route(c, from, hdr, payload);
		break;
	case WIRE_ROUTE_ACK:
		ipi_route_ack(c->vm->vcpus, hdr->seq);
		break;
	case WIRE_IO:
		on_io(c, from, hdr, payload);
		break;
	case WIRE_IO_REPLY:
		on_io_reply(c, from, hdr, payload);
		break;
	case WIRE_PING: {
		struct wire_hdr pong = {.type = WIRE_PONG, .arg = hdr->arg, .seq = hdr->seq};

		net_post(c->lane, from, &pong, NULL);
		break;
	}
	case WIRE_PONG: /* that it came is all it says */
		break;
	case WIRE_CLOCK_REQ:
		on_clock_request(c, from, hdr, payload);
		break;
	case WIRE_CLOCK_REPLY:
		on_clock_reply(c, from, hdr, payload);
		break;
	case WIRE_ENTRY:
		on_entry(c, from, hdr, payload);
		break;
	case WIRE_START:
		on_order(c, from, hdr, VM_ORDER_START);
		break;
	case WIRE_PAUSE:
		on_order(c, from, hdr, VM_ORDER_PAUSE);
		break;
	case WIRE_RESET:
		on_order(c, from, hdr, VM_ORDER_RESET);
		break;
	case WIRE_MESH_READY:
		mark(c, &c->vm->answers.ready, from);
		break;
	case WIRE_PAUSE_ACK:
		mark(c, &c->vm->answers.paused, from);
		break;
	case WIRE_RESET_ACK:
		mark(c, &c->vm->answers.reset, from);
		break;
	case WIRE_STATS_REQ:
		on_stats_request(c, from, hdr);
		break;
	case WIRE_STATS:
		on_stats(c, from, hdr, payload);
		break;
	case WIRE_STOP:
		on_stop(c, from, hdr, payload);
		break;
	default: /* the bring-up is over */
		refuse(c, from, hdr);
		break;
	}
}

static void on_lost(struct net_sink *sink, node_t peer, int err, const char *why)
{
	struct control *c = container_of(sink, struct control, sink);

	(void)err;
	c->vm->blocked = true;
	if (peer == 0)
		c->vm->leader_gone = true;
	vm_stop(c->vm, WIRE_STOP_LOST, peer, 0, "%s", why);
}

/* ---- the heartbeat ---- */

static void heartbeat(struct control *c)
{
	uint64_t now = clock_ns();
	struct wire_hdr ping = {.type = WIRE_PING, .arg = now};

	/* If it was this thread that did not run, the others' silence proves nothing. */
	if (now - c->looked_ns > CONTROL_SILENCE_NS / 2)
		for (node_t n = 0; n < c->vm->config.map.nodes; n++)
			c->heard_ns[n] = now;
	c->looked_ns = now;
	if (now < c->next_ping_ns)
		return;
	c->next_ping_ns = now + CONTROL_PING_NS;
	control_broadcast(c, &ping, NULL);
	for (node_t n = 0; n < c->vm->config.map.nodes; n++)
		if (n != c->vm->config.self && now - c->heard_ns[n] > CONTROL_SILENCE_NS) {
			c->vm->blocked = true;
			vm_stop(c->vm, WIRE_STOP_LOST, n, 0, "nothing was heard of it for %llu s", CONTROL_SILENCE_NS / NS_PER_SEC);
		}
}

static void *control_main(void *arg)
{
	struct control *c = arg;
	struct epoll_event ev[2];
	uint64_t wait_ns = 0;
	bool stop = false;

	pthread_setname_np(pthread_self(), "control");
	while (!stop) {
		int n = epoll_wait(c->epoll_fd, ev, ARRAY_SIZE(ev), (int)((wait_ns + NS_PER_MS - 1) / NS_PER_MS));

		for (int i = 0; i < n; i++)
			stop |= ev[i].data.fd == c->stop_fd;
		c->now_ns = clock_ns();
		int rc = net_poll(c->lane, &c->sink);
		if (rc < 0)
			vm_stop(c->vm, WIRE_STOP_ERROR, c->vm->config.self, 0, "the control lane cannot be read: %s",
				strerror(-rc));
		heartbeat(c);
		wait_ns = MIN(clocksync_tick(c->vm->clock), CONTROL_PING_NS);
	}
	return NULL;
}

void control_broadcast(struct control *c, const struct wire_hdr *hdr, const void *payload)
{
	for (node_t n = 0; n < c->vm->config.map.nodes; n++)
		if (n != c->vm->config.self)
			net_post(c->lane, n, hdr, payload);
}

int control_start(struct vm *vm, struct net_lane *lane, struct control **out)
{
	struct control *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN};
	int rc;

	if (!c)
		return -ENOMEM;
	c->vm = vm;
	c->lane = lane;
	c->sink = (struct net_sink){.recv = on_message, .lost = on_lost};
	c->looked_ns = clock_ns();
	for (node_t n = 0; n < NODES_MAX; n++)
		c->heard_ns[n] = c->looked_ns;
	rc = clocksync_new(vm->vcpus, lane, !(vm->config.options & VM_OPTION_NO_CLOCK), &vm->clock);
	if (rc) {
		free(c);
		return rc;
	}
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ev.data.fd = net_fd(lane);
	rc = epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev) < 0 ? -errno : 0;
	ev.data.fd = c->stop_fd;
	if (!rc && epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev) < 0)
		rc = -errno;
	*out = c; /* before the thread, which may be told to use it at once */
	if (!rc)
		rc = -pthread_create(&c->thread, NULL, control_main, c);
	if (rc) {
		log_error("cannot start the control lane: %s", strerror(-rc));
		*out = NULL;
		close(c->epoll_fd);
		close(c->stop_fd);
		free(c);
	}
	return rc;
}

void control_stop(struct control *c)
{
	uint64_t one = 1;

	if (!c)
		return;
	ssize_t n = write(c->stop_fd, &one, sizeof(one));
	(void)n; /* an eventfd takes it unless it is about to overflow */
	pthread_join(c->thread, NULL);
	close(c->epoll_fd);
	close(c->stop_fd);
	free(c);
}
