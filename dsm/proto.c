/* SPDX-License-Identifier: Apache-2.0 */
/* The coherence protocol of one page. Read dsm/PROTOCOL.md first: the row numbers (H.., C..) here are those of its tables. */
#undef NDEBUG /* our own bugs stop the node in release builds too */
#include <assert.h>

#include "dsm/proto_priv.h"

node_t proto_next_member(uint64_t set, node_t after)
{
	uint64_t above = after < NODES_MAX - 1 ? set & ~(uint64_t)0 << (after + 1) : 0;

	assert(set);
	return (node_t)__builtin_ctzll(above ? above : set);
}

struct proto_action *proto_add(struct proto_actions *out, enum proto_action_type type)
{
	assert(out->n < PROTO_ACTIONS_MAX);
	out->action[out->n] = (struct proto_action){.type = (uint8_t)type};
	return &out->action[out->n++];
}

struct proto_action *proto_add_send(struct proto_actions *out, uint64_t to, const struct proto_msg *msg, enum proto_msg_type type)
{
	struct proto_action *action = proto_add(out, PROTO_SEND);

	assert(to);
	action->to = to;
	action->msg = *msg;
	action->msg.type = (uint8_t)type;
	return action;
}

node_t proto_supplier(uint64_t holders, node_t home, node_t requester)
{
	assert(holders && !(holders & node_bit(requester)));
	return holders & node_bit(home) ? home : proto_next_member(holders, requester);
}

bool proto_msg_for_dir(uint8_t type)
{
	return type == PROTO_REQ_READ || type == PROTO_REQ_WRITE || type == PROTO_OFFER || type == PROTO_DONE;
}

static bool can_push(uint8_t type)
{
	return type == PROTO_FWD_READ || type == PROTO_FWD_WRITE || type == PROTO_DATA;
}

/* To other sharers, which neither the home nor the requester is; and once. */
static bool pass_well_formed(const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	uint64_t all = ~(uint64_t)0 >> (NODES_MAX - ctx->nodes);
	uint64_t others = all & ~(node_bit(ctx->self) | node_bit(ctx->home) | node_bit(msg->requester));

	return !msg->pass || (msg->type == PROTO_INV && msg->from == ctx->home && !(msg->pass & ~others));
}

/* A peer cannot make us index past a bitmap, nor set a field that its message type does not have. */
static bool msg_well_formed(const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	bool has_acks =
		msg->type == PROTO_FWD_WRITE || msg->type == PROTO_FWD_GRANT || msg->type == PROTO_DATA || msg->type == PROTO_GRANT;

	if (msg->type == 0 || msg->type >= PROTO_MSG_END || msg->requester >= ctx->nodes || msg->seq > PROTO_SEQ_MASK)
		return false;
	if (!pass_well_formed(ctx, msg))
		return false;
	if (has_acks ? msg->acks >= ctx->nodes : msg->acks != 0)
		return false;
	uint8_t push = msg->flags & PROTO_PUSH, flags = msg->flags & ~PROTO_PUSH & 0xff;
	if (push && (msg->acks || !can_push(msg->type)))
		return false;
	if (msg->type != PROTO_DATA)
		return !flags && !msg->right;
	if (flags != PROTO_ZERO && flags != PROTO_HAS_DATA)
		return false;
	return msg->right == PROTO_WRITE || (msg->right == PROTO_READ && !msg->acks);
}

/* Only the right node can send this, and only to us. */
static bool msg_role_right(const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	bool by_home = msg->from == ctx->home;
	bool for_us = msg->requester == ctx->self;

	switch (msg->type) {
	case PROTO_REQ_READ:
	case PROTO_REQ_WRITE:
		return ctx->self == ctx->home && msg->requester == msg->from && msg->seq == 0;
	case PROTO_DONE: /* the home's own cache closes what it supplies itself */
		return ctx->self == ctx->home && (msg->requester == msg->from || by_home);
	case PROTO_FWD_GRANT:
		return by_home && !for_us && ctx->self == ctx->home;
	case PROTO_OFFER:
		return ctx->self == ctx->home && msg->requester == msg->from && msg->seq == 0 && !by_home;
	case PROTO_FWD_WRITE: /* only the home itself gives away what nobody asked for */
		return by_home && !for_us && (!(msg->flags & PROTO_PUSH) || ctx->self == ctx->home);
	case PROTO_FWD_READ:
		return by_home && !for_us;
	case PROTO_INV: /* or passed on by a sharer, who was told to by the home */
		return !for_us && ctx->self != ctx->home;
	case PROTO_VOID:
		return by_home && for_us && msg->seq == 0;
	case PROTO_GRANT:
	case PROTO_DROP:
		return by_home && for_us;
	case PROTO_LOST:
		return by_home;
	default: /* ACK, DATA */
		return for_us && msg->from != ctx->self;
	}
}

void proto_add_ack(struct proto_actions *out, const struct proto_msg *inv)
{
	struct proto_msg msg = {.epoch = inv->epoch, .seq = inv->seq, .requester = inv->requester};

	if (inv->pass)
		proto_add_send(out, inv->pass, &msg, PROTO_INV);
	proto_add_send(out, node_bit(msg.requester), &msg, PROTO_ACK);
}

enum proto_verdict proto_msg_check(const struct proto_ctx *ctx, const struct proto_msg *msg, struct proto_actions *out)
{
	assert(msg->from < ctx->nodes); /* the runtime knows whose connection it was */
	if (!msg_well_formed(ctx, msg))
		return PROTO_PEER_FAULT;
	if (msg->epoch == ctx->epoch)
		return msg_role_right(ctx, msg) ? PROTO_OK : PROTO_PEER_FAULT;
	/* The runtime lets the fabric run dry before it bumps the epoch, so nobody is ahead of us. */
	if (msg->epoch - ctx->epoch <= UINT32_MAX / 2)
		return PROTO_PEER_FAULT;
	if (msg->type == PROTO_INV)
		proto_add_ack(out, msg);
	return PROTO_STALE;
}

/* ---- Names ---- */

const char *proto_msg_name(uint8_t type)
{
	static const char *const names[PROTO_MSG_END] = {
		[PROTO_REQ_READ] = "REQ_READ",
		[PROTO_REQ_WRITE] = "REQ_WRITE",
		[PROTO_FWD_READ] = "FWD_READ",
		[PROTO_FWD_WRITE] = "FWD_WRITE",
		[PROTO_INV] = "INV",
		[PROTO_ACK] = "ACK",
		[PROTO_DATA] = "DATA",
		[PROTO_GRANT] = "GRANT",
		[PROTO_DONE] = "DONE",
		[PROTO_LOST] = "LOST",
		[PROTO_FWD_GRANT] = "FWD_GRANT",
		[PROTO_OFFER] = "OFFER",
		[PROTO_DROP] = "DROP",
		[PROTO_VOID] = "VOID",
	};

	return type < PROTO_MSG_END && names[type] ? names[type] : "?";
}

const char *proto_verdict_name(enum proto_verdict verdict)
{
	switch (verdict) {
	case PROTO_OK:
		return "ok";
	case PROTO_STALE:
		return "stale";
	case PROTO_PEER_FAULT:
		return "peer fault";
	case PROTO_TIMED_OUT:
		return "timed out";
	case PROTO_GONE:
		return "gone";
	case PROTO_EARLY:
		return "early";
	}
	return "?";
}
