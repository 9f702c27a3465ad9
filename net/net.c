/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/trace.h"

/* One place for the probe: perf cannot take a name that has two. */
__attribute__((noinline)) static void trace_sent(node_t to, const struct wire_hdr *hdr)
{
	TRACE_MESSAGE_SENT(to, hdr->type, hdr->arg, WIRE_HDR_BYTES + hdr->len);
}

int net_send(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	assert(to < lane->nodes && to != lane->self);
	assert(wire_hdr_check(hdr, wire_lane_kind(lane->lane)) == 0);
	trace_sent(to, hdr);
	return lane->ops->send(lane, to, hdr, payload);
}

int net_queue(struct net_lane *lane, node_t to, const struct wire_hdr *hdr, const void *payload)
{
	if (!lane->ops->queue)
		return net_send(lane, to, hdr, payload);
	assert(to < lane->nodes && to != lane->self);
	assert(wire_hdr_check(hdr, wire_lane_kind(lane->lane)) == 0);
	trace_sent(to, hdr);
	return lane->ops->queue(lane, to, hdr, payload);
}

void *net_reserve(struct net_lane *lane, node_t to, const struct wire_hdr *hdr)
{
	assert(to < lane->nodes && to != lane->self);
	return lane->ops->reserve ? lane->ops->reserve(lane, to, hdr) : NULL;
}

uint32_t net_payload_max(const struct net_lane *lane)
{
	return MAX(lane->ops->payload_max, WIRE_DSM_PAYLOAD_MAX);
}

void net_flush(struct net_lane *lane)
{
	if (lane->ops->flush)
		lane->ops->flush(lane);
}

int net_poll(struct net_lane *lane, struct net_sink *sink)
{
	return lane->ops->poll(lane, sink);
}

int net_look(struct net_lane *lane, struct net_sink *sink)
{
	return lane->ops->look(lane, sink);
}

bool net_can_look(const struct net_lane *lane)
{
	return lane->ops->look != NULL;
}

void net_trace_received(node_t from, const struct wire_hdr *hdr)
{
	TRACE_MESSAGE_RECEIVED(from, hdr->type, hdr->arg, WIRE_HDR_BYTES + hdr->len);
}

int net_fd(struct net_lane *lane)
{
	return lane->ops->fd(lane);
}

void net_free(struct net_lane *lane)
{
	if (lane)
		lane->ops->free(lane);
}

int net_fail(struct net_why *why, int err, const char *fmt, ...)
{
	va_list ap;

	if (!why)
		return err;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return err;
}
