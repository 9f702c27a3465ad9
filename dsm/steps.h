/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shard does with one event of one page: the two machines of proto.h step, their actions are executed, messages to this node
 * itself come back as events. Private to dsm; the shard's thread only. Errors: -errno of the view, logged there, or -EPROTO after
 * the machine was told which peer broke the protocol; steps_settle makes the end of the shard of them.
 */
#ifndef DSM_STEPS_H
#define DSM_STEPS_H

#include "dsm/shard.h"

/* The event that is being worked on: a fault, or a message with its payload. */
struct work {
	rpn_t page;
	node_t from;
	const struct wire_hdr *hdr; /* of a message from another node, or NULL */
	const uint8_t *payload;     /* DATA with bytes, or NULL */
	bool protected_page;        /* fault: it met a protection */
	bool ahead;                 /* fault: nobody waits, it is to come; message: so it was when the page was asked for */
};

CHECKED int steps_cache(struct shard *shard, const struct proto_event *ev, const struct work *work);
/* The home pushes a copy of a page, if that fits. */
CHECKED int steps_push(struct shard *shard, rpn_t page, node_t to);
/* Whether a page would have to be asked for, and is not yet. */
bool steps_lacks(const struct shard *shard, rpn_t page, bool write);
CHECKED int steps_dir(struct shard *shard, struct proto_event *ev, const struct work *work);
/* A message of the protocol to another node. `bytes`: the page, if it carries one; NULL with PROTO_ZERO. */
void steps_send(struct shard *shard, node_t to, rpn_t page, const struct proto_msg *msg, const uint8_t *bytes, bool ahead);
/* After each event: the messages to this node itself, or the end. */
void steps_settle(struct shard *shard, int rc);

/* For blocks.c, which makes the steps of a whole block at once. */
struct proto_ctx steps_ctx(const struct dsm *dsm, rpn_t page);
struct proto_dir_packed *steps_packed(struct dsm *dsm, rpn_t page);
void steps_pack(struct proto_dir_packed *packed, const struct proto_dir *dir); /* at rest only */

/* This node has the page or has asked for it. */
bool steps_holds(const struct shard *shard, rpn_t page);
node_t steps_home(const struct dsm *dsm, rpn_t page);
uint8_t steps_from_wire(uint8_t wire); /* 0: not a message of the protocol */

#endif
