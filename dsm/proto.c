/* SPDX-License-Identifier: Apache-2.0 */
/* The coherence protocol of one page. Read dsm/PROTOCOL.md first: the row numbers (H.., C..) here are those of its tables. */
#undef NDEBUG /* our own bugs stop the node in release builds too */
#include <assert.h>

#include "dsm/proto.h"

static uint64_t bit(node_t node)
{
	return (uint64_t)1 << node;
}

static unsigned count(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

/* The first member of a set that is not empty, looking from `after` + 1 up and then round. */
static node_t next_member(uint64_t set, node_t after)
{
	uint64_t above = after < NODES_MAX - 1 ? set & ~(uint64_t)0 << (after + 1) : 0;

	assert(set);
	return (node_t)__builtin_ctzll(above ? above : set);
}

/* Serial number arithmetic: a was assigned before b. */
static bool seq_before(uint32_t a, uint32_t b)
{
	return ((a - b) & PROTO_SEQ_MASK) > PROTO_SEQ_MASK / 2;
}

static struct proto_action *add(struct proto_actions *out, enum proto_action_type type)
{
	assert(out->n < PROTO_ACTIONS_MAX);
	out->action[out->n] = (struct proto_action){.type = (uint8_t)type};
	return &out->action[out->n++];
}

static struct proto_action *add_send(struct proto_actions *out, uint64_t to, const struct proto_msg *msg, enum proto_msg_type type)
{
	struct proto_action *action = add(out, PROTO_SEND);

	assert(to);
	action->to = to;
	action->msg = *msg;
	action->msg.type = (uint8_t)type;
	return action;
}

node_t proto_supplier(uint64_t holders, node_t home, node_t requester)
{
	assert(holders && !(holders & bit(requester)));
	return holders & bit(home) ? home : next_member(holders, requester);
}

bool proto_msg_for_dir(uint8_t type)
{
	return type == PROTO_REQ_READ || type == PROTO_REQ_WRITE || type == PROTO_OFFER || type == PROTO_DONE;
}

/* A peer cannot make us index past a bitmap, nor set a field that its message type does not have. */
static bool msg_well_formed(const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	bool has_acks =
		msg->type == PROTO_FWD_WRITE || msg->type == PROTO_FWD_GRANT || msg->type == PROTO_DATA || msg->type == PROTO_GRANT;

	if (msg->type == 0 || msg->type >= PROTO_MSG_END || msg->requester >= ctx->nodes || msg->seq > PROTO_SEQ_MASK)
		return false;
	if (has_acks ? msg->acks >= ctx->nodes : msg->acks != 0)
		return false;
	if (msg->type != PROTO_DATA)
		return !msg->flags && !msg->right;
	if (msg->flags != PROTO_ZERO && msg->flags != PROTO_HAS_DATA)
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
	case PROTO_FWD_READ:
	case PROTO_FWD_WRITE:
	case PROTO_INV:
		return by_home && !for_us;
	case PROTO_GRANT:
	case PROTO_DROP:
		return by_home && for_us;
	case PROTO_LOST:
		return by_home;
	default: /* ACK, DATA */
		return for_us && msg->from != ctx->self;
	}
}

/* Rows M1..M3. D7: PROTO_OK if the message is of this epoch; an INV of an old one is answered, so that nobody waits for us. */
static enum proto_verdict msg_check(const struct proto_ctx *ctx, const struct proto_msg *msg, struct proto_actions *out)
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
		add_send(out, bit(msg->requester), msg, PROTO_ACK);
	return PROTO_STALE;
}

/* ---- The directory machine ---- */

void proto_dir_init(struct proto_dir *dir, const struct proto_ctx *ctx)
{
	*dir = (struct proto_dir){.copyset = bit(ctx->home), .mode = PROTO_EXCL};
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
 * Rows H1, H6, H9: the running READ serves these nodes too. Suppliers are those who had the page before: neither whom it still
 * serves, who may not have the bytes yet, nor the home, which would end it by itself.
 */
static void dir_read(struct proto_dir *dir, const struct proto_ctx *ctx, uint64_t requesters, struct proto_actions *out)
{
	uint64_t holders = dir->copyset & ~dir->reading & ~bit(ctx->home);

	assert(!(dir->copyset & requesters)); /* a holder's REQ_READ was refused when it came */
	for (uint64_t left = requesters; left; left &= left - 1) {
		node_t requester = (node_t)__builtin_ctzll(left), supplier = proto_supplier(holders, ctx->home, requester);
		struct proto_msg msg = {.epoch = ctx->epoch, .seq = dir->seq, .requester = requester};

		add_send(out, bit(supplier), &msg, PROTO_FWD_READ);
		dir->involved |= bit(requester) | bit(supplier);
	}
	dir->reading |= requesters;
	dir->copyset |= requesters;
	dir->mode = PROTO_SHARED;
}

/* Rows H1..H4, H14: begins a transaction. From here on copyset and mode are what will hold when it is over. */
static void dir_start(struct proto_dir *dir, const struct proto_ctx *ctx, node_t requester, enum proto_right kind,
		      struct proto_actions *out)
{
	uint64_t me = bit(requester), holders = dir->copyset & ~me, invalid = 0;
	struct proto_msg msg = {.epoch = ctx->epoch, .requester = requester};

	assert(!dir->busy && !dir->lost && dir->copyset);
	assert(dir->mode == PROTO_SHARED || count(dir->copyset) == 1); /* D1 */
	dir->seq = (dir->seq + 1) & PROTO_SEQ_MASK;
	msg.seq = dir->seq;
	dir->busy = true;
	dir->requester = (uint8_t)requester;
	if (kind == PROTO_READ && !(holders & bit(ctx->home))) { /* readers do not hinder each other: all who wait are served */
		dir_read(dir, ctx, me | dir->wait_read, out);
		dir->wait_read = 0;
		return;
	}
	if (kind == PROTO_READ) {                /* over when the home has sent its copy: nobody needs to join */
		assert(holders == dir->copyset); /* a holder's REQ_READ was refused when it came */
		add_send(out, bit(ctx->home), &msg, PROTO_FWD_READ);
		dir->involved = me | bit(ctx->home);
		dir->copyset |= me;
		dir->mode = PROTO_SHARED;
		return;
	}
	dir->involved = me | dir->copyset;
	if (dir->copyset & me) {
		assert(dir->mode == PROTO_SHARED); /* the owner's REQ_WRITE was refused when it came */
		invalid = holders & ~bit(ctx->home);
		msg.acks = (uint8_t)count(invalid);
		if (holders & bit(ctx->home))
			add_send(out, bit(ctx->home), &msg, PROTO_FWD_GRANT);
		else
			add_send(out, me, &msg, PROTO_GRANT);
	} else {
		node_t supplier = proto_supplier(holders, ctx->home, requester);

		invalid = holders & ~bit(supplier);
		msg.acks = (uint8_t)count(invalid);
		add_send(out, bit(supplier), &msg, PROTO_FWD_WRITE);
	}
	msg.acks = 0;
	if (invalid)
		add_send(out, invalid, &msg, PROTO_INV);
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

/*
 * Rows H1..H7. A node asks for what it has not: one that asks for more than that, or twice, is broken. The copyset is already
 * that of the running transaction, so the test is right while busy too. A requester's next REQ may come before
 * a DONE that is another's to send (the home's own cache, other readers'), and a sharer's REQ_WRITE may have crossed with a DROP.
 */
static enum proto_verdict dir_request(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev,
				      struct proto_actions *out)
{
	const struct proto_msg *msg = &ev->msg;
	uint64_t from = bit(msg->from);
	bool write = msg->type == PROTO_REQ_WRITE;

	if (dir->lost) {
		struct proto_msg lost = {.epoch = ctx->epoch, .seq = dir->seq};

		add_send(out, from, &lost, PROTO_LOST);
		return PROTO_GONE;
	}
	if ((dir->wait_read | dir->wait_write) & from)
		return PROTO_PEER_FAULT;
	if (dir->copyset & from && (!write || dir->mode == PROTO_EXCL))
		return PROTO_PEER_FAULT;
	if (dir->busy) {
		if (write)
			dir->wait_write |= from;
		else if (!dir->reading || dir->wait_write) /* no reader overtakes a writer who waits */
			dir->wait_read |= from;
		else
			dir_read(dir, ctx, from, out);
		return PROTO_OK;
	}
	dir_start(dir, ctx, msg->from, dir_kind(dir, ev, write), out);
	return PROTO_OK;
}

/*
 * Rows H15..H17. The offer is no request: nobody waits for an answer, and it may have crossed with one that took the page away. So
 * what does not fit is ignored, and whatever is done is what a home may do to a holder at any time.
 */
static void dir_offer(struct proto_dir *dir, const struct proto_ctx *ctx, node_t holder, struct proto_actions *out)
{
	uint64_t from = bit(holder);
	struct proto_msg msg = {.epoch = ctx->epoch, .requester = holder};

	if (dir->busy || dir->lost || !(dir->copyset & from))
		return;
	if (dir->copyset == from) { /* the only bytes: they come home by an ordinary transaction of the home's own */
		add(out, PROTO_ADOPT);
		return;
	}
	assert(dir->mode == PROTO_SHARED); /* D1 */
	dir->seq = (dir->seq + 1) & PROTO_SEQ_MASK;
	msg.seq = dir->seq;
	dir->busy = true;
	dir->requester = (uint8_t)holder;
	/* With the holder gone, the rest are the only bytes. Without the home: the holder closes it (dir_closer). */
	dir->involved = dir->copyset & ~bit(ctx->home);
	dir->copyset &= ~from;
	add_send(out, from, &msg, PROTO_DROP);
}

/* Who says that the running transaction is over: the home's cache if it alone had to give something up, else the requester. */
static node_t dir_closer(const struct proto_dir *dir, const struct proto_ctx *ctx)
{
	return dir->involved == (bit(dir->requester) | bit(ctx->home)) ? ctx->home : dir->requester;
}

/* May this DONE come now? Each whom a READ serves sends one. */
static bool dir_may_end(const struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_msg *msg)
{
	if (!dir->busy || msg->seq != dir->seq)
		return false;
	if (dir->reading)
		return msg->from == msg->requester && dir->reading & bit(msg->from);
	return msg->requester == dir->requester && msg->from == dir_closer(dir, ctx);
}

/* Rows H8..H10. Round robin from the requester just served: a waiter waits for at most nodes - 1 transactions. */
static enum proto_verdict dir_done(struct proto_dir *dir, const struct proto_ctx *ctx, const struct proto_event *ev,
				   struct proto_actions *out)
{
	const struct proto_msg *msg = &ev->msg;
	uint64_t waiting = dir->wait_read | dir->wait_write;
	node_t served = dir->requester, next;
	bool write;

	if (dir->lost)
		return PROTO_GONE;
	if (seq_before(msg->seq, dir->seq))
		return PROTO_STALE;
	if (!dir_may_end(dir, ctx, msg))
		return PROTO_PEER_FAULT;
	dir->reading &= ~bit(msg->requester);
	if (dir->reading)
		return PROTO_OK;
	dir_close(dir);
	while (waiting && !dir->busy) { /* a start may close at once [H14] */
		next = next_member(waiting, served);
		write = dir->wait_write & bit(next);
		waiting &= ~bit(next);
		dir->wait_read &= ~bit(next);
		dir->wait_write &= ~bit(next);
		dir_start(dir, ctx, next, dir_kind(dir, ev, write), out);
		served = next;
	}
	return PROTO_OK;
}

/*
 * Rows H11, H12. Who decides that a page is lost is its home alone; requesters wait for its word. A transaction that needs the
 * lost node may never end, and the bytes may have been on their way to it: both are the end of the page.
 */
static enum proto_verdict dir_peer_lost(struct proto_dir *dir, const struct proto_ctx *ctx, node_t peer, struct proto_actions *out)
{
	uint64_t gone = bit(peer), tell = dir->wait_read | dir->wait_write;
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
		tell |= dir->reading ? dir->reading : bit(dir->requester);
	tell &= ~gone;
	*dir = (struct proto_dir){.copyset = dir->copyset, .mode = dir->mode, .seq = dir->seq, .lost = true};
	if (tell)
		add_send(out, tell, &msg, PROTO_LOST);
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
	default:
		assert(ev->type == PROTO_EV_MSG);
	}
	verdict = msg_check(ctx, &ev->msg, out);
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

/* ---- The cache machine ---- */

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
		add(out, PROTO_FAIL);
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
		add(out, PROTO_MAP)->right = cache->right;
		add(out, PROTO_WAKE);
		return PROTO_OK;
	}
	if (cache->lost) {
		add(out, PROTO_FAIL);
		return PROTO_GONE;
	}
	if (cache->pending) /* its end wakes everyone; who then lacks a right faults again */
		return PROTO_OK;
	cache->pending = (uint8_t)want;
	add_send(out, bit(ctx->home), &msg, want == PROTO_READ ? PROTO_REQ_READ : PROTO_REQ_WRITE);
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
		add_send(out, bit(ctx->home), &done, PROTO_DONE);
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
	uint64_t to = bit(msg->requester);
	bool write = msg->type == PROTO_FWD_WRITE;

	if (cache->started) {
		if (!seq_before(msg->seq, cache->seq))
			return PROTO_PEER_FAULT;
		if (msg->type == PROTO_INV)
			add_send(out, to, &answer, PROTO_ACK);
		return PROTO_STALE;
	}
	if (cache->right == PROTO_NONE)
		return PROTO_PEER_FAULT;
	if (msg->type == PROTO_INV || msg->type == PROTO_DROP) {
		if (cache->right == PROTO_WRITE) /* there is no other copy: obeying would lose the bytes */
			return PROTO_PEER_FAULT;
		add(out, PROTO_UNMAP);
		if (msg->type == PROTO_INV)
			add_send(out, to, &answer, PROTO_ACK);
		else
			add_send(out, bit(ctx->home), &answer, PROTO_DONE);
		cache->right = PROTO_NONE;
		return PROTO_OK;
	}
	if (msg->type == PROTO_FWD_GRANT) {
		if (cache->right == PROTO_WRITE)
			return PROTO_PEER_FAULT;
		add(out, PROTO_UNMAP);
		add_send(out, to, &answer, PROTO_GRANT);
		cache->right = PROTO_NONE;
		cache_close(ctx, msg, out);
		return PROTO_OK;
	}
	/* D4: no longer writable, then read. D1: gone from here before the requester can have it. */
	if (cache->right == PROTO_WRITE)
		add(out, PROTO_PROTECT);
	add(out, PROTO_LOAD);
	if (write)
		add(out, PROTO_UNMAP);
	answer.right = write ? PROTO_WRITE : PROTO_READ;
	add_send(out, to, &answer, PROTO_DATA)->with_data = true;
	cache->right = write ? PROTO_NONE : PROTO_READ;
	cache_close(ctx, msg, out);
	return PROTO_OK;
}

/* The right is complete: the home may go on, unless it has already. */
static void cache_finish(struct proto_cache *cache, const struct proto_ctx *ctx, bool closed, struct proto_actions *out)
{
	struct proto_msg msg = {.epoch = ctx->epoch, .seq = cache->seq, .requester = ctx->self};

	if (!closed)
		add_send(out, bit(ctx->home), &msg, PROTO_DONE);
	cache_rest(cache);
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
		if (cache->pending != PROTO_WRITE || acked & bit(msg->from))
			return PROTO_PEER_FAULT;
		acked |= bit(msg->from);
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
		struct proto_action *install = add(out, PROTO_INSTALL);

		cache->right = complete ? msg->right : PROTO_READ;
		install->right = cache->right;
		install->zero = msg->flags == PROTO_ZERO;
		install->wake = complete;
	} else if (complete) {
		add(out, PROTO_UPGRADE);
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
	verdict = msg_check(ctx, &ev->msg, out);
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
		return cache_receive(cache, ctx, &ev->msg, out);
	case PROTO_LOST:
		return cache_lose(cache, out);
	default:
		return PROTO_PEER_FAULT;
	}
}

void proto_dir_take_waiters(struct proto_dir *dir, uint64_t *wait_read, uint64_t *wait_write)
{
	*wait_read = dir->wait_read;
	*wait_write = dir->wait_write;
	dir->wait_read = dir->wait_write = 0;
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
	}
	return "?";
}
