/* SPDX-License-Identifier: Apache-2.0 */
/* What the two machines of proto.h share. Private to proto*.c. */
#ifndef DSM_PROTO_PRIV_H
#define DSM_PROTO_PRIV_H

#include "dsm/proto.h"

static inline unsigned count(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

/* Serial number arithmetic: a was assigned before b. */
static inline bool seq_before(uint32_t a, uint32_t b)
{
	return ((a - b) & PROTO_SEQ_MASK) > PROTO_SEQ_MASK / 2;
}

/* The first member of a set that is not empty, looking from `after` + 1 up and then round. */
node_t proto_next_member(uint64_t set, node_t after);
struct proto_action *proto_add(struct proto_actions *out, enum proto_action_type type);
/* SEND of *msg, as `type`, to a set that is not empty. */
struct proto_action *proto_add_send(struct proto_actions *out, uint64_t to, const struct proto_msg *msg, enum proto_msg_type type);
/* Rows M1..M3. D7: PROTO_OK if the message is of this epoch; an INV of an old one is answered, so that nobody waits for us. */
enum proto_verdict proto_msg_check(const struct proto_ctx *ctx, const struct proto_msg *msg, struct proto_actions *out);
/* What an INV always makes, whatever becomes of this node's copy: it goes on to those whom it names, and is answered. */
void proto_add_ack(struct proto_actions *out, const struct proto_msg *inv);

#endif
