/* SPDX-License-Identifier: Apache-2.0 */
/* The directory machine of a page. Read dsm/PROTOCOL.md first: the row numbers (H..) here are those of its table. */
#undef NDEBUG /* our own bugs stop the node in release builds too */
#include <assert.h>

#include "dsm/proto_priv.h"

void proto_dir_init(struct proto_dir *dir, const struct proto_ctx *ctx)
{
	*dir = (struct proto_dir){.copyset = node_bit(ctx->home), .mode = PROTO_EXCL};
}

bool proto_dir_idle(const struct proto_dir *dir)
{
	return !dir->busy;
}

static void dir_close(struct proto_dir *dir)
{
	dir->busy = false;
	dir->requester = 0;
	dir->involved = 0;
	dir->reading = 0;
}

/*
 * Rows H1, H6, H9, H18: the running READ serves these nodes too; who is in `push` has not asked. Suppliers are those who had the
 * page before: neither whom it still serves, who may not have the bytes yet, nor the home, which would end it by itself.
 */
static void dir_read(struct proto_dir *dir, const struct proto_ctx *ctx, uint64_t requesters, uint64_t push,
		     struct proto_actions *out)
{
	uint64_t holders = dir->copyset & ~dir->reading & ~node_bit(ctx->home);

	assert(!(dir->copyset & requesters)); /* a holder's REQ_READ was answered when it came */
	push &= ~(dir->copyset | requesters);
	requesters |= push;
	for (uint64_t left = requesters; left; left &= left - 1) {
		node_t requester = (node_t)__builtin_ctzll(left), supplier = proto_supplier(holders, ctx->home, requester);
		struct proto_msg msg = {
			.epoch = ctx->epoch,
			.seq = dir->seq,
			.requester = requester,
			.flags = push & node_bit(requester) ? PROTO_PUSH : 0,
		};

		proto_add_send(out, node_bit(supplier), &msg, PROTO_FWD_READ);
		dir->involved |= node_bit(requester) | node_bit(supplier);
	}
	dir->reading |= requesters;
	dir->copyset |= requesters;
	dir->mode = PROTO_SHARED;
}

/*
 * Rows H3, H4, H21: every other copy goes. With `relay`, r sharers pass the order on (C27) to r others each, the largest r for
 * which these r + r * r are about two thirds of all. They are told first; the home tells the rest meanwhile, which takes it about
 * as long as the hop more that the way through them is.
 */
static void dir_invalidate(uint64_t to, const struct proto_msg *msg, bool relay, struct proto_actions *out)
{
	unsigned n = count(to), relays = 0;

	while (relay && 3 * (relays + 1) * (relays + 2) <= 2 * n + 3)
		relays++;
	for (unsigned i = 0; i < relays; i++) {
		uint64_t relay_bit = to & -to;
		struct proto_action *action = proto_add_send(out, relay_bit, msg, PROTO_INV);

		to &= ~relay_bit;
		for (unsigned j = 0; j < relays && to; j++) {
			uint64_t last = (uint64_t)1 << (63 - __builtin_clzll(to));

			action->msg.pass |= last;
			to &= ~last;
		}
	}
	if (to)
		proto_add_send(out, to, msg, PROTO_INV);
}

/* Rows H1..H4, H14, H18, H19: begins a transaction. From here on copyset and mode are what will hold when it is over. */
static void dir_start(struct proto_dir *dir, const struct proto_ctx *ctx, node_t requester, enum proto_right kind,
		      const struct proto_event *ev, struct proto_actions *out)
{
	uint64_t me = node_bit(requester), holders = dir->copyset & ~me, invalid = 0;
	struct proto_msg msg = {.epoch = ctx->epoch, .requester = requester};

	assert(!dir->busy && !dir->lost && dir->copyset);
	assert(dir->mode == PROTO_SHARED || count(dir->copyset) == 1); /* D1 */
	dir->seq = (dir->seq + 1) & PROTO_SEQ_MASK;
	msg.seq = dir->seq;
	dir->busy = true;
	dir->requester = (uint8_t)requester;
	if (kind == PROTO_READ &&
	    !(holders & node_bit(ctx->home))) { /* readers do not hinder each other: all who wait are served */
		dir_read(dir, ctx, me | dir->wait_read, ev->push & ~dir->wait_write, out);
		dir->wait_read = 0;
		return;
	}
	if (kind == PROTO_READ) {                /* over when the home has sent its copy: nobody needs to join */
		assert(holders == dir->copyset); /* a holder's REQ_READ was answered when it came */
		msg.flags = ev->type == PROTO_EV_PUSH ? PROTO_PUSH : 0;
		proto_add_send(out, node_bit(ctx->home), &msg, PROTO_FWD_READ);
		dir->involved = me | node_bit(ctx->home);
		dir->copyset |= me;
		dir->mode = PROTO_SHARED;
		return;
	}
	dir->involved = me | dir->copyset;
	if (dir->copyset & me) {
		assert(dir->mode == PROTO_SHARED); /* the owner's REQ_WRITE was answered when it came */
		invalid = holders & ~node_bit(ctx->home);
		msg.acks = (uint8_t)count(invalid);
		if (holders & node_bit(ctx->home))
			proto_add_send(out, node_bit(ctx->home), &msg, PROTO_FWD_GRANT);
		else
			proto_add_send(out, me, &msg, PROTO_GRANT);
	} else {
		node_t supplier = proto_supplier(holders, ctx->home, requester);

		invalid = holders & ~node_bit(supplier);
		msg.acks = (uint8_t)count(invalid);
		msg.flags = ev->type == PROTO_EV_GIVE ? PROTO_PUSH : 0;
		proto_add_send(out, node_bit(supplier), &msg, PROTO_FWD_WRITE);
	}
	msg.acks = msg.flags = 0;
	if (invalid)
		dir_invalidate(invalid, &msg, ev->relay, out);
	dir->copyset = me;
	dir->mode = PROTO_EXCL;
	if (!holders) /* the last sharer: its GRANT is all there is to do */
		dir_close(dir);
}

/* Who wants to read gets more only from an owner: then there is no ACK to wait for, which a reader could not. */
static enum proto_right dir_kind(const struct proto_dir *dir, const struct proto_event *ev, bool write)
{
	return write || (ev->exclusive && dir->mode == PROTO_EXCL) ? PROTO_WRITE : PROTO_READ;
}

/* Who has what it asks for: the page was pushed to it meanwhile. The copyset is already that of the running transaction. */
static bool dir_has(const struct proto_dir *dir, uint64_t node, bool write)
{
	return dir->copyset & node && (!write || dir->mode == PROTO_EXCL);
}

/* Row H20. Only at rest: what was pushed must come first. */
static void dir_void(const struct proto_ctx *ctx, uint64_t to, struct proto_actions *out)
{
	for (; to; to &= to - 1) {
		struct proto_msg msg = {.epoch = ctx->epoch, .requester = (node_t)__builtin_ctzll(to)};

		proto_add_send(out, node_bit(msg.requester), &msg, PROTO_VOID);
	}
}

/*
 * Rows H1..H7, H20. A node asks once, and for what it has not, as far as it knows. A requester's next REQ may come before
 * a DONE that is another's to send (the home's own cache, other readers'), and a sharer's REQ_WRITE may have crossed with a DROP.
 */
static enum proto_verdict dir_request(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev,
				      struct proto_actions *out)
{
	const struct proto_msg *msg = &ev->msg;
	uint64_t from = node_bit(msg->from);
	bool write = msg->type == PROTO_REQ_WRITE;

	if (dir->lost) {
		struct proto_msg lost = {.epoch = ctx->epoch, .seq = dir->seq};

		proto_add_send(out, from, &lost, PROTO_LOST);
		return PROTO_GONE;
	}
	if ((dir->wait_read | dir->wait_write) & from)
		return PROTO_PEER_FAULT;
	if (dir->busy) {
		if (write)
			dir->wait_write |= from;
		else if (!dir->reading || dir->wait_write || dir_has(dir, from, false)) /* no reader overtakes a writer who waits */
			dir->wait_read |= from;
		else
			dir_read(dir, ctx, from, 0, out);
		return PROTO_OK;
	}
	if (dir_has(dir, from, write))
		dir_void(ctx, from, out);
	else
		dir_start(dir, ctx, msg->from, dir_kind(dir, ev, write), ev, out);
	return PROTO_OK;
}

/*
 * Rows H15..H17. The offer is no request: nobody waits for an answer, and it may have crossed with one that took the page away. So
 * what does not fit is ignored, and whatever is done is what a home may do to a holder at any time.
 */
static void dir_offer(struct proto_dir *dir, const struct proto_ctx *ctx, node_t holder, struct proto_actions *out)
{
	uint64_t from = node_bit(holder);
	struct proto_msg msg = {.epoch = ctx->epoch, .requester = holder};

	if (dir->busy || dir->lost || !(dir->copyset & from))
		return;
	if (dir->copyset == from) { /* the only bytes: they come home by an ordinary transaction of the home's own */
		proto_add(out, PROTO_ADOPT);
		return;
	}
	assert(dir->mode == PROTO_SHARED); /* D1 */
	dir->seq = (dir->seq + 1) & PROTO_SEQ_MASK;
	msg.seq = dir->seq;
	dir->busy = true;
	dir->requester = (uint8_t)holder;
	/* With the holder gone, the rest are the only bytes. Without the home: the holder closes it (dir_closer). */
	dir->involved = dir->copyset & ~node_bit(ctx->home);
	dir->copyset &= ~from;
	proto_add_send(out, from, &msg, PROTO_DROP);
}

/* Who says that the running transaction is over: the home's cache if it alone had to give something up, else the requester. */
static node_t dir_closer(const struct proto_dir *dir, const struct proto_ctx *ctx)
{
	return dir->involved == (node_bit(dir->requester) | node_bit(ctx->home)) ? ctx->home : dir->requester;
}

/* May this DONE come now? Each whom a READ serves sends one. */
static bool dir_may_end(const struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	if (!dir->busy || msg->seq != dir->seq)
		return false;
	if (dir->reading)
		return msg->from == msg->requester && dir->reading & node_bit(msg->from);
	return msg->requester == dir->requester && msg->from == dir_closer(dir, ctx);
}

/* Rows H8..H10. Round robin from the requester just served: a waiter waits for at most nodes - 1 transactions. */
static enum proto_verdict dir_done(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev,
				   struct proto_actions *out)
{
	const struct proto_msg *msg = &ev->msg;
	node_t served = dir->requester, next;
	uint64_t waiting, have;
	bool write;

	if (dir->lost)
		return PROTO_GONE;
	if (seq_before(msg->seq, dir->seq))
		return PROTO_STALE;
	if (!dir_may_end(dir, ctx, msg))
		return PROTO_PEER_FAULT;
	dir->reading &= ~node_bit(msg->requester);
	if (dir->reading)
		return PROTO_OK;
	dir_close(dir);
	have = dir->copyset & (dir->wait_read | (dir->mode == PROTO_EXCL ? dir->wait_write : 0));
	dir_void(ctx, have, out);
	dir->wait_read &= ~have;
	dir->wait_write &= ~have;
	waiting = dir->wait_read | dir->wait_write;
	while (waiting && !dir->busy) { /* a start may close at once [H14] */
		next = proto_next_member(waiting, served);
		write = dir->wait_write & node_bit(next);
		waiting &= ~node_bit(next);
		dir->wait_read &= ~node_bit(next);
		dir->wait_write &= ~node_bit(next);
		dir_start(dir, ctx, next, dir_kind(dir, ev, write), ev, out);
		served = next;
	}
	return PROTO_OK;
}

/* Rows H18, H19: the runtime would have a node have a page before it asks. A hint, so what does not fit is ignored. */
static void dir_push(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev, struct proto_actions *out)
{
	bool give = ev->type == PROTO_EV_GIVE;

	if (dir->lost || dir->copyset & node_bit(ev->peer))
		return;
	if (dir->busy) {
		if (!give && dir->reading && !dir->wait_write && !(dir->wait_read & node_bit(ev->peer)))
			dir_read(dir, ctx, 0, node_bit(ev->peer), out);
		return;
	}
	if (!(dir->copyset & node_bit(ctx->home)) || (give && dir->mode != PROTO_EXCL))
		return;
	dir_start(dir, ctx, ev->peer, give ? PROTO_WRITE : PROTO_READ, ev, out);
}

/*
 * Rows H11, H12. Who decides that a page is lost is its home alone; requesters wait for its word. A transaction that needs the
 * lost node may never end, and the bytes may have been on their way to it: both are the end of the page.
 */
static enum proto_verdict dir_peer_lost(struct proto_dir *dir, const struct proto_ctx *ctx, node_t peer, struct proto_actions *out)
{
	uint64_t gone = node_bit(peer), tell = dir->wait_read | dir->wait_write;
	struct proto_msg msg = {.epoch = ctx->epoch, .seq = dir->seq};

	if (dir->lost)
		return PROTO_OK;
	dir->wait_read &= ~gone;
	dir->wait_write &= ~gone;
	if (dir->busy ? !(dir->involved & gone) : dir->copyset != gone) {
		dir->copyset &= ~gone; /* at most a read-only copy like the others */
		return PROTO_OK;
	}
	if (dir->busy)
		tell |= dir->reading ? dir->reading : node_bit(dir->requester);
	tell &= ~gone;
	*dir = (struct proto_dir){.copyset = dir->copyset, .mode = dir->mode, .seq = dir->seq, .lost = true};
	if (tell)
		proto_add_send(out, tell, &msg, PROTO_LOST);
	return PROTO_GONE;
}

enum proto_verdict proto_dir_step(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev,
				  struct proto_actions *out)
{
	enum proto_verdict verdict;

	assert(ctx->nodes <= NODES_MAX && ctx->home < ctx->nodes && ctx->self < ctx->nodes);
	out->n = 0;
	switch (ev->type) {
	case PROTO_EV_PEER_LOST:
		assert(ev->peer < ctx->nodes && ev->peer != ctx->self && ctx->self == ctx->home);
		return dir_peer_lost(dir, ctx, ev->peer, out);
	case PROTO_EV_TIMEOUT:
		return dir->busy ? PROTO_TIMED_OUT : PROTO_OK;
	case PROTO_EV_PUSH:
	case PROTO_EV_GIVE:
		assert(ev->peer < ctx->nodes && ev->peer != ctx->self && ctx->self == ctx->home);
		dir_push(dir, ctx, ev, out);
		return PROTO_OK;
	default:
		assert(ev->type == PROTO_EV_MSG);
	}
	verdict = proto_msg_check(ctx, &ev->msg, out);
	if (verdict != PROTO_OK)
		return verdict;
	if (!proto_msg_for_dir(ev->msg.type))
		return PROTO_PEER_FAULT;
	if (ev->msg.type == PROTO_DONE)
		return dir_done(dir, ctx, ev, out);
	if (ev->msg.type == PROTO_OFFER) {
		dir_offer(dir, ctx, ev->msg.from, out);
		return PROTO_OK;
	}
	return dir_request(dir, ctx, ev, out);
}

struct proto_dir_packed proto_dir_pack(const struct proto_dir *dir)
{
	assert(proto_dir_idle(dir) && !dir->wait_read && !dir->wait_write && dir->copyset);
	return (struct proto_dir_packed){
		.copyset = {(uint32_t)dir->copyset, (uint32_t)(dir->copyset >> 32)},
		.word = dir->seq << 2 | (dir->lost ? 2u : 0u) | dir->mode,
	};
}

void proto_dir_unpack(struct proto_dir_packed packed, const struct proto_ctx *ctx, struct proto_dir *dir)
{
	uint64_t copyset = packed.copyset[0] | (uint64_t)packed.copyset[1] << 32;

	if (!copyset) {
		assert(!packed.word);
		proto_dir_init(dir, ctx);
		return;
	}
	*dir = (struct proto_dir){.copyset = copyset, .mode = packed.word & 1, .lost = packed.word & 2, .seq = packed.word >> 2};
}

void proto_dir_take_waiters(struct proto_dir *dir, uint64_t *wait_read, uint64_t *wait_write)
{
	*wait_read = dir->wait_read;
	*wait_write = dir->wait_write;
	dir->wait_read = dir->wait_write = 0;
}
