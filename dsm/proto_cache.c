/* SPDX-License-Identifier: Apache-2.0 */
/* The cache machine of a page. Read dsm/PROTOCOL.md first: the row numbers (C..) here are those of its table. */
#undef NDEBUG /* our own bugs stop the node in release builds too */
#include <assert.h>

#include "dsm/proto_priv.h"

void proto_cache_init(struct proto_cache *cache, const struct proto_ctx *ctx)
{
	*cache = (struct proto_cache){.right = ctx->self == ctx->home ? PROTO_WRITE : PROTO_NONE};
}

bool proto_cache_idle(const struct proto_cache *cache)
{
	return cache->pending == PROTO_NONE;
}

/* Back to rest: the right and the loss stay. */
static void cache_rest(struct proto_cache *cache)
{
	*cache = (struct proto_cache){.right = cache->right, .lost = cache->lost};
}

/* Rows C15, C16: no answer will come. */
static enum proto_verdict cache_lose(struct proto_cache *cache, struct proto_actions *out)
{
	if (cache->pending)
		proto_add(out, PROTO_FAIL);
	cache->lost = true;
	cache_rest(cache);
	return PROTO_GONE;
}

/* Rows C1..C4. */
static enum proto_verdict cache_fault(struct proto_cache *cache, const struct proto_ctx *ctx, enum proto_right want,
				      struct proto_actions *out)
{
	struct proto_msg msg = {.epoch = ctx->epoch, .requester = ctx->self};

	if (cache->right >= want) {
		/* The page came while the fault was on its way here, or is ours and was never touched. */
		proto_add(out, PROTO_MAP)->right = cache->right;
		proto_add(out, PROTO_WAKE);
		return PROTO_OK;
	}
	if (cache->lost) {
		proto_add(out, PROTO_FAIL);
		return PROTO_GONE;
	}
	if (cache->pending) /* its end wakes everyone; who then lacks a right faults again */
		return PROTO_OK;
	cache->pending = (uint8_t)want;
	proto_add_send(out, node_bit(ctx->home), &msg, want == PROTO_READ ? PROTO_REQ_READ : PROTO_REQ_WRITE);
	return PROTO_OK;
}

/* The home's copy went to the requester and nobody else has to be waited for: the home itself knows that it is over. What the home
 * sends the requester from now on comes after it (P3). */
static bool closed_by_home(const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	return msg->from == ctx->home && msg->type != PROTO_ACK && !msg->acks;
}

static void cache_close(const struct proto_ctx *ctx, const struct proto_msg *msg, struct proto_actions *out)
{
	struct proto_msg done = {.epoch = ctx->epoch, .seq = msg->seq, .requester = msg->requester};

	if (ctx->self == ctx->home && !msg->acks)
		proto_add_send(out, node_bit(ctx->home), &done, PROTO_DONE);
}

/*
 * Rows C5..C9, C17, C18, C22, C24: FWD_READ, FWD_WRITE, FWD_GRANT, INV, DROP. Done at once whatever we wait for ourselves (D6): our
 * own request is at the home, which has not begun it, since it serves one transaction at a time. If ours has begun, this message is
 * an old one or a lie.
 */
static enum proto_verdict cache_yield(struct proto_cache *cache, const struct proto_ctx *ctx, const struct proto_msg *msg,
				      struct proto_actions *out)
{
	struct proto_msg answer = {.epoch = msg->epoch, .seq = msg->seq, .acks = msg->acks, .requester = msg->requester};
	uint64_t to = node_bit(msg->requester);
	bool write = msg->type == PROTO_FWD_WRITE;

	if (cache->started) {
		if (!seq_before(msg->seq, cache->seq))
			return PROTO_PEER_FAULT;
		if (msg->type == PROTO_INV)
			proto_add_ack(out, msg);
		return PROTO_STALE;
	}
	if (cache->right == PROTO_NONE && msg->type == PROTO_INV &&
	    msg->from != ctx->home) /* the copy is under way from the home */
		return cache->lost ? PROTO_GONE : PROTO_EARLY;
	if (cache->right == PROTO_NONE)
		return PROTO_PEER_FAULT;
	if (msg->type == PROTO_INV || msg->type == PROTO_DROP) {
		if (cache->right == PROTO_WRITE) /* there is no other copy: obeying would lose the bytes */
			return PROTO_PEER_FAULT;
		proto_add(out, PROTO_UNMAP);
		if (msg->type == PROTO_INV)
			proto_add_ack(out, msg);
		else
			proto_add_send(out, node_bit(ctx->home), &answer, PROTO_DONE);
		cache->right = PROTO_NONE;
		return PROTO_OK;
	}
	if (msg->type == PROTO_FWD_GRANT) {
		if (cache->right == PROTO_WRITE)
			return PROTO_PEER_FAULT;
		proto_add(out, PROTO_UNMAP);
		proto_add_send(out, to, &answer, PROTO_GRANT);
		cache->right = PROTO_NONE;
		cache_close(ctx, msg, out);
		return PROTO_OK;
	}
	/* D4: no longer writable, then read. D1: gone from here before the requester can have it. */
	if (cache->right == PROTO_WRITE)
		proto_add(out, PROTO_PROTECT);
	proto_add(out, PROTO_LOAD);
	if (write)
		proto_add(out, PROTO_UNMAP);
	answer.right = write ? PROTO_WRITE : PROTO_READ;
	answer.flags = msg->flags & PROTO_PUSH;
	proto_add_send(out, to, &answer, PROTO_DATA)->with_data = true;
	cache->right = write ? PROTO_NONE : PROTO_READ;
	cache_close(ctx, msg, out);
	return PROTO_OK;
}

/* The right is complete: the home may go on, unless it has already. */
static void cache_finish(struct proto_cache *cache, const struct proto_ctx *ctx, bool closed, struct proto_actions *out)
{
	struct proto_msg msg = {.epoch = ctx->epoch, .seq = cache->seq, .requester = ctx->self};

	if (!closed)
		proto_add_send(out, node_bit(ctx->home), &msg, PROTO_DONE);
	cache_rest(cache);
}

/*
 * Row C25: a page that was not asked for. A request of ours may be on its way, or answered in part: the home pushed before that
 * request came, but ACKs of others for it may have been quicker. It goes on as before, and is answered by VOID if there is no more
 * to it.
 */
static enum proto_verdict cache_pushed(struct proto_cache *cache, const struct proto_ctx *ctx, const struct proto_msg *msg,
				       struct proto_actions *out)
{
	struct proto_msg done = {.epoch = ctx->epoch, .seq = msg->seq, .requester = ctx->self};
	bool write = msg->right == PROTO_WRITE;

	if (cache->lost)
		return PROTO_GONE;
	if (cache->right != PROTO_NONE || (write && (msg->from != ctx->home || cache->started)))
		return PROTO_PEER_FAULT;
	struct proto_action *install = proto_add(out, PROTO_INSTALL);
	install->right = msg->right;
	install->zero = msg->flags & PROTO_ZERO;
	install->wake = true;
	cache->right = msg->right;
	if (msg->from != ctx->home)
		proto_add_send(out, node_bit(ctx->home), &done, PROTO_DONE);
	return PROTO_OK;
}

/*
 * Row C26. It comes after what was pushed: from the home by P3, from others because their transaction was over before. A copy may
 * be gone again, by an INV that was passed on and was quicker: who wanted to read it asks anew.
 */
static enum proto_verdict cache_void(struct proto_cache *cache, struct proto_actions *out)
{
	if (cache->lost)
		return PROTO_GONE;
	if (!cache->pending || cache->started || (cache->pending == PROTO_WRITE && cache->right != PROTO_WRITE))
		return PROTO_PEER_FAULT;
	proto_add(out, PROTO_WAKE);
	cache_rest(cache);
	return PROTO_OK;
}

/* Rows C10..C14, C17..C19: DATA, GRANT, ACK: in any order, DATA or GRANT once, as many ACKs as that says. */
static enum proto_verdict cache_receive(struct proto_cache *cache, const struct proto_ctx *ctx, const struct proto_msg *msg,
					struct proto_actions *out)
{
	uint64_t acked = cache->acked;
	bool complete;

	if (cache->lost)
		return PROTO_GONE;
	if (cache->started && msg->seq != cache->seq)
		return seq_before(msg->seq, cache->seq) ? PROTO_STALE : PROTO_PEER_FAULT;
	if (!cache->pending)
		return PROTO_PEER_FAULT;
	switch (msg->type) {
	case PROTO_ACK:
		if (cache->pending != PROTO_WRITE || cache->right == PROTO_WRITE || acked & node_bit(msg->from))
			return PROTO_PEER_FAULT;
		acked |= node_bit(msg->from);
		break;
	case PROTO_GRANT:
		if (cache->pending != PROTO_WRITE || cache->right != PROTO_READ)
			return PROTO_PEER_FAULT;
		break;
	default:
		/* A READ may be granted as WRITE (the hint, H2), then without ACKs. */
		if (cache->right != PROTO_NONE || msg->right < cache->pending || (cache->pending == PROTO_READ && msg->acks))
			return PROTO_PEER_FAULT;
	}
	if (msg->type != PROTO_ACK && (cache->reply || count(acked) > msg->acks))
		return PROTO_PEER_FAULT;
	cache->started = true;
	cache->seq = msg->seq;
	cache->acked = acked;
	if (msg->type != PROTO_ACK) {
		cache->reply = true;
		cache->acks = msg->acks;
	}
	complete = cache->reply && count(acked) == cache->acks;
	if (msg->type == PROTO_DATA) {
		/* Sharers may still be there: until the last ACK we are one more, and need not keep the payload. */
		struct proto_action *install = proto_add(out, PROTO_INSTALL);

		cache->right = complete ? msg->right : PROTO_READ;
		install->right = cache->right;
		install->zero = msg->flags == PROTO_ZERO;
		install->wake = complete;
	} else if (complete) {
		proto_add(out, PROTO_UPGRADE);
		cache->right = PROTO_WRITE;
	}
	if (complete)
		cache_finish(cache, ctx, closed_by_home(ctx, msg), out);
	return PROTO_OK;
}

enum proto_verdict proto_cache_step(struct proto_cache *cache, const struct proto_ctx *ctx, const struct proto_event *ev,
				    struct proto_actions *out)
{
	enum proto_verdict verdict;

	assert(ctx->nodes <= NODES_MAX && ctx->home < ctx->nodes && ctx->self < ctx->nodes);
	out->n = 0;
	switch (ev->type) {
	case PROTO_EV_FAULT_READ:
		return cache_fault(cache, ctx, PROTO_READ, out);
	case PROTO_EV_FAULT_WRITE:
		return cache_fault(cache, ctx, PROTO_WRITE, out);
	case PROTO_EV_PEER_LOST:
		assert(ev->peer < ctx->nodes && ev->peer != ctx->self);
		return ev->peer == ctx->home ? cache_lose(cache, out) : PROTO_OK;
	case PROTO_EV_TIMEOUT:
		return cache->pending ? PROTO_TIMED_OUT : PROTO_OK;
	default:
		assert(ev->type == PROTO_EV_MSG);
	}
	verdict = proto_msg_check(ctx, &ev->msg, out);
	if (verdict != PROTO_OK)
		return verdict;
	switch (ev->msg.type) {
	case PROTO_FWD_READ:
	case PROTO_FWD_WRITE:
	case PROTO_FWD_GRANT:
	case PROTO_INV:
	case PROTO_DROP:
		return cache_yield(cache, ctx, &ev->msg, out);
	case PROTO_ACK:
	case PROTO_DATA:
	case PROTO_GRANT:
		return ev->msg.flags & PROTO_PUSH ? cache_pushed(cache, ctx, &ev->msg, out)
						  : cache_receive(cache, ctx, &ev->msg, out);
	case PROTO_VOID:
		return cache_void(cache, out);
	case PROTO_LOST:
		return cache_lose(cache, out);
	default:
		return PROTO_PEER_FAULT;
	}
}

bool proto_cache_borrow(struct proto_cache *cache)
{
	if (!cache->pending || cache->started || cache->lost || cache->right != PROTO_NONE)
		return false;
	cache->right = PROTO_WRITE;
	cache_rest(cache);
	return true;
}

uint8_t proto_cache_pack(const struct proto_cache *cache)
{
	assert(proto_cache_idle(cache));
	return (uint8_t)(cache->right | (cache->lost ? 4u : 0u));
}

void proto_cache_unpack(uint8_t packed, struct proto_cache *cache)
{
	assert((packed & 3) <= PROTO_WRITE && packed < 8);
	*cache = (struct proto_cache){.right = packed & 3, .lost = packed & 4};
}
