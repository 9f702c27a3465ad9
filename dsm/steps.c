/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/steps.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "dsm/blocks.h"
#include "dsm/history.h"
#include "dsm/hold.h"

#define PROTECT_AHEAD 32u /* pages a call of the kernel */

/* Relaxed: a reader wants a recent value, nothing is ordered by it. */
void shard_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void shard_fail(struct shard *shard, const char *why)
{
	struct dsm_sink *sink = shard->dsm->config.sink;

	if (shard->failed)
		return;
	__atomic_store_n(&shard->failed, true, __ATOMIC_RELAXED);
	sink->failed(sink, why);
}

node_t steps_home(const struct dsm *dsm, rpn_t page)
{
	node_t lo = 0, hi = dsm->config.nodes - 1;

	while (lo < hi) { /* the last node whose range begins at or below the page */
		node_t mid = (lo + hi + 1) / 2;

		if (dsm->node_first[mid] <= page)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

node_t shard_home(const struct shard *shard, rpn_t page)
{
	return steps_home(shard->dsm, page);
}

struct proto_ctx steps_ctx(const struct dsm *dsm, rpn_t page)
{
	return (struct proto_ctx){
		.self = dsm->config.self,
		.home = steps_home(dsm, page),
		.nodes = dsm->config.nodes,
		.epoch = dsm->epoch,
	};
}

/* ---- messages out ---- */

struct wire_name {
	uint8_t proto, wire;
};

static const struct wire_name wire_names[] = {
	{PROTO_REQ_READ, WIRE_REQ_READ}, {PROTO_REQ_WRITE, WIRE_REQ_WRITE},
	{PROTO_FWD_READ, WIRE_FWD_READ}, {PROTO_FWD_WRITE, WIRE_FWD_WRITE},
	{PROTO_INV, WIRE_INV},           {PROTO_ACK, WIRE_ACK},
	{PROTO_DATA, WIRE_DATA},         {PROTO_GRANT, WIRE_GRANT},
	{PROTO_DONE, WIRE_DONE},         {PROTO_OFFER, WIRE_OFFER},
	{PROTO_DROP, WIRE_DROP},         {PROTO_VOID, WIRE_VOID},
};

static uint8_t to_wire(uint8_t proto)
{
	for (size_t i = 0; i < ARRAY_SIZE(wire_names); i++)
		if (wire_names[i].proto == proto)
			return wire_names[i].wire;
	return 0;
}

uint8_t steps_from_wire(uint8_t wire)
{
	for (size_t i = 0; i < ARRAY_SIZE(wire_names); i++)
		if (wire_names[i].wire == wire)
			return wire_names[i].proto;
	return 0;
}

static void send_to_self(struct shard *shard, rpn_t page, const struct proto_msg *msg, bool ahead)
{
	assert(shard->self_count < SHARD_LOOPBACK);
	struct shard_self *slot = &shard->self[(shard->self_first + shard->self_count++) % SHARD_LOOPBACK];
	slot->page = page;
	slot->ahead = ahead;
	slot->msg = *msg;
	slot->msg.from = shard->dsm->config.self;
}

void shard_post_now(struct shard *shard, node_t to, const struct wire_hdr *hdr, const uint8_t *payload)
{
	shard_count(&shard->stats.messages_out, 1);
	shard_count(&shard->stats.bytes_out, WIRE_HDR_BYTES + hdr->len);
	loading_before(&shard->loading, payload);
	if (net_queue(shard->lane, to, hdr, payload))
		return; /* the lane tells it by sink->lost */
}

void shard_post(struct shard *shard, node_t to, const struct wire_hdr *hdr, const uint8_t *payload)
{
	if (!replica_defers(shard, to, hdr, payload))
		shard_post_now(shard, to, hdr, loading_at(&shard->loading, payload));
}

static bool is_request(const struct proto_msg *msg)
{
	return msg->type == PROTO_REQ_READ || msg->type == PROTO_REQ_WRITE;
}

/* Of a message to another node, but for ROOM, which is said of the moment. */
static struct wire_hdr header_of(rpn_t page, const struct proto_msg *msg, bool with_bytes, bool ahead)
{
	bool data = msg->type == PROTO_DATA, forward = msg->type == PROTO_FWD_READ || msg->type == PROTO_FWD_WRITE;

	return (struct wire_hdr){
		.type = to_wire(msg->type),
		.flags = (uint8_t)((msg->flags & PROTO_PUSH ? WIRE_F_PUSH : 0) | (data && !with_bytes ? WIRE_F_ZERO : 0) |
				   (data && msg->right == PROTO_WRITE ? WIRE_F_WRITE : 0) |
				   (ahead && (data || forward || is_request(msg)) ? WIRE_F_AHEAD : 0)),
		.epoch = (uint16_t)msg->epoch,
		.len = with_bytes ? PAGE_BYTES : 0,
		.arg = page,
		.seq = msg->seq,
		.acks = msg->acks,
		.node = (uint16_t)msg->requester,
	};
}

void steps_send(struct shard *shard, node_t to, rpn_t page, const struct proto_msg *msg, const uint8_t *bytes, bool ahead)
{
	struct wire_hdr hdr = header_of(page, msg, bytes != NULL, ahead);
	uint8_t small[WIRE_DELTA_MAX];

	if (msg->type == PROTO_DATA) {
		shard_count(&shard->stats.pushed, msg->flags & PROTO_PUSH ? 1 : 0);
		shard_count(bytes ? &shard->stats.pages_out : &shard->stats.pages_out_zero, 1);
	}
	if (msg->type == PROTO_INV)
		shard_count(&shard->stats.relayed, steps_home(shard->dsm, page) != shard->dsm->config.self);
	if (is_request(msg) && evict_has_block(&shard->evict, shard->pending_tab.used))
		hdr.flags |= WIRE_F_ROOM;
	bytes = kept_outgoing(shard, &hdr, bytes, small);
	if (msg->pass) {
		memcpy(small, &msg->pass, sizeof(msg->pass));
		hdr.len = sizeof(msg->pass);
		bytes = small;
	}
	if (run_gathers(shard, to, &hdr))
		return;
	if (bytes != shard->loading.place)
		loading_end(&shard->loading);
	shard_post(shard, to, &hdr, bytes);
	loading_end(&shard->loading);
}

static void send_action(struct shard *shard, const struct work *work, const struct proto_action *action)
{
	const struct loading *loading = &shard->loading;
	const uint8_t *bytes = NULL;

	if (is_request(&action->msg)) {
		shard_count(&shard->stats.requests, 1);
		if (action->to >> shard->dsm->config.self & 1)
			kept_own_request(shard, work->page);
	}
	if (action->with_data && run_has_put_off(&shard->runs))
		return;
	if (action->with_data && !loading->zero)
		bytes = loading->place ? loading->place : loading->buffer;
	for (uint64_t to = action->to; to; to &= to - 1) {
		node_t n = (node_t)__builtin_ctzll(to);

		if (n == shard->dsm->config.self)
			send_to_self(shard, work->page, &action->msg, work->ahead);
		else
			steps_send(shard, n, work->page, &action->msg, bytes, work->ahead);
	}
}

/* ---- actions ---- */

/* This node has the right WRITE and asks for nothing. Also of pages that are lent or borrowed. */
static bool owns(const struct shard *shard, rpn_t page)
{
	return shard->dsm->cache[page] == PROTO_WRITE && pagetab_find(&shard->pending_tab, page) == PAGETAB_NONE;
}

/* A hole in a page of ours is filled; in its own memory a home fills those after it too, as they will be wanted next. */
static int map(struct shard *shard, const struct work *work, enum proto_right right)
{
	const struct dsm *dsm = shard->dsm;
	rpn_t page = work->page, first = dsm->node_first[dsm->config.self], after = dsm->node_first[dsm->config.self + 1];
	rpn_t end = MIN((page | (BLOCK_PAGES - 1)) + 1, page + VIEW_AROUND);
	unsigned n = 1;

	if (block_is_whole(dsm, page)) /* a fault of before */
		return 0;
	if (work->protected_page || right != PROTO_WRITE || page < first || page >= after)
		return view_map(dsm->view, page, right == PROTO_WRITE, work->protected_page);
	while (page + n < end && owns(shard, page + n))
		n++;
	return view_map_around(dsm->view, page, n);
}

/* A page that a stream asks for is protected together with those after it, which it will ask for next. */
static int protect(struct shard *shard, const struct work *work)
{
	rpn_t page = work->page, end = MIN((page | (BLOCK_PAGES - 1)) + 1, page + PROTECT_AHEAD);
	unsigned n = 1;

	damping_lost(&shard->damping, page, clock_ns());
	if (view_is_protected(shard->dsm->view, page))
		return 0;
	while (work->ahead && page + n < end && owns(shard, page + n))
		n++;
	if (n > 1 && replica_within(&shard->replicas, page, n))
		n = 1;
	return view_protect(shard->dsm->view, page, n);
}

/* The LOAD among actions: into the queue of who gets the bytes, if one does. */
static int load(struct shard *shard, const struct proto_action *action, const struct proto_action *end, const struct work *work)
{
	node_t to = shard->dsm->config.self;
	struct wire_hdr hdr = {0};

	while (action < end && !(action->type == PROTO_SEND && action->with_data))
		action++;
	if (action < end && !(action->to & (action->to - 1))) {
		to = (node_t)__builtin_ctzll(action->to);
		hdr = header_of(work->page, &action->msg, true, work->ahead);
	}
	if (to != shard->dsm->config.self && run_sends(shard, work->page, action->to, &action->msg))
		return 0;
	uint8_t *bytes = loading_begin(&shard->loading, shard->lane, to, &hdr, replica_slot(shard, hdr.len));
	uint32_t zero = 0;
	int rc = view_load(shard->dsm->view, work->page, 1, bytes, &zero);
	shard->loading.zero = zero;
	return rc;
}

/*
 * `quiet`: as far as is known no thread waits. Then a page that comes wakes none: on the reader's own CPU each wake would be a
 * switch to it, and at once another, as the reader runs into the next page that is still to come. Who waits after all has a fault
 * that is not read yet, and it is answered by a wake [C1].
 */
static int execute(struct shard *shard, const struct proto_actions *actions, const struct work *work, bool quiet)
{
	struct view *view = shard->dsm->view;
	const uint8_t *bytes = NULL;
	rpn_t page = work->page;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < actions->n; i++) {
		const struct proto_action *a = &actions->action[i];

		switch ((enum proto_action_type)a->type) {
		case PROTO_PROTECT:
			rc = protect(shard, work);
			break;
		case PROTO_LOAD: /* UNMAP may come before the SEND (D1), and takes the bytes */
			rc = load(shard, a, actions->action + actions->n, work);
			break;
		case PROTO_UNMAP:
			damping_lost(&shard->damping, page, clock_ns());
			shard_count(&shard->stats.invalidations, 1);
			rc = view_drop(view, page);
			break;
		case PROTO_SEND:
			send_action(shard, work, a);
			break;
		case PROTO_INSTALL:
			shard_count(a->zero ? &shard->stats.pages_in_zero : &shard->stats.pages_in, 1);
			rc = a->zero ? 0 : kept_received(shard, work->from, work->hdr, work->payload, &bytes);
			if (!rc)
				rc = run_install(shard, page, bytes, a->right == PROTO_WRITE, a->wake && !quiet);
			break;
		case PROTO_UPGRADE:
			rc = view_unprotect(view, page);
			break;
		case PROTO_MAP:
			shard_count(&shard->stats.faults_local, 1);
			rc = map(shard, work, a->right);
			break;
		case PROTO_WAKE:
			rc = view_wake(view, page);
			break;
		case PROTO_FAIL:
			shard_fail(shard, "a page of guest RAM was lost with its node");
			break;
		case PROTO_ADOPT:
			if (evict_may_adopt(&shard->evict)) /* no thread waits for it */
				rc = steps_cache(shard, &(struct proto_event){.type = PROTO_EV_FAULT_WRITE},
						 &(struct work){.page = page, .ahead = true});
			break;
		}
	}
	return rc;
}

static int verdict_of(struct shard *shard, const struct proto_msg *msg, enum proto_verdict verdict, rpn_t page)
{
	char why[160];

	if (verdict == PROTO_STALE)
		shard_count(&shard->stats.stale, 1);
	if (verdict != PROTO_PEER_FAULT)
		return 0;
	snprintf(why, sizeof(why), "it broke the coherence protocol: %s for page %llu, which the state of that page does not allow",
		 proto_msg_name(msg->type), (unsigned long long)page);
	__atomic_store_n(&shard->failed, true, __ATOMIC_RELAXED);
	shard->dsm->config.sink->lost(shard->dsm->config.sink, msg->from, why);
	return -EPROTO;
}

/* ---- the two machines of a page ---- */

/* One place for the probe: perf cannot take a name that has two. */
__attribute__((noinline)) static void trace_fault_end(rpn_t page, bool write, uint64_t ns)
{
	TRACE_FAULT_END(page, write, ns);
}

/* `remote`: by the word of another node. */
static void finished(struct shard *shard, rpn_t page, const struct shard_pending *p, bool remote)
{
	uint64_t now = clock_ns();
	uint64_t ns = now - p->since_ns;

	damping_gained(&shard->damping, page, now, remote ? now - p->asked_ns : 0);
	if (p->ahead)
		return;
	trace_fault_end(page, p->write, ns);
	shard_count(&(p->write ? shard->stats.write_us : shard->stats.read_us)[dsm_latency_step(ns)], 1);
}

int steps_cache(struct shard *shard, const struct proto_event *ev, const struct work *work)
{
	struct dsm *dsm = shard->dsm;
	struct proto_ctx ctx = steps_ctx(dsm, work->page);
	int rc = ev->type == PROTO_EV_MSG ? block_split(shard, work->page) : 0;
	if (rc)
		return rc;
	uint32_t slot = pagetab_find(&shard->pending_tab, work->page);
	struct proto_actions actions;
	struct proto_cache idle;
	struct proto_cache *cache = &idle;

	if (slot != PAGETAB_NONE)
		cache = &shard->pending[slot].cache;
	else
		proto_cache_unpack(dsm->cache[work->page], &idle);
	if (slot != PAGETAB_NONE && shard->pending[slot].ahead && ev->type != PROTO_EV_MSG && !work->ahead) {
		shard->pending[slot].ahead = false;
		shard->pending[slot].since_ns = clock_ns();
		shard_count(&shard->stats.ahead_late, 1);
	}
	bool held = cache->right != PROTO_NONE || !proto_cache_idle(cache);
	enum proto_verdict verdict = proto_cache_step(cache, &ctx, ev, &actions);
	bool holds = cache->right != PROTO_NONE || !proto_cache_idle(cache);
	if (held != holds)
		evict_changed(shard, work->page, holds, ev);
	if (slot == PAGETAB_NONE && !proto_cache_idle(cache)) {
		slot = pagetab_add(&shard->pending_tab, work->page);
		if (slot == PAGETAB_NONE) {
			shard_fail(shard, "more page faults under way than this node has room for");
			return -ENOBUFS;
		}
		uint64_t now = clock_ns();
		shard->pending[slot] = (struct shard_pending){
			.cache = idle,
			.asked_ns = now,
			.since_ns = now,
			.write = ev->type == PROTO_EV_FAULT_WRITE,
			.ahead = work->ahead,
		};
	}
	rc = execute(shard, &actions, work, slot == PAGETAB_NONE || shard->pending[slot].ahead);
	if (proto_cache_idle(cache)) {
		dsm->cache[work->page] = proto_cache_pack(cache);
		if (slot != PAGETAB_NONE) {
			finished(shard, work->page, &shard->pending[slot], ev->msg.from != dsm->config.self);
			pagetab_remove(&shard->pending_tab, work->page);
			block_settled(shard, work->page);
		} else if ((ev->type == PROTO_EV_FAULT_READ || ev->type == PROTO_EV_FAULT_WRITE) && !work->ahead) {
			trace_fault_end(work->page, ev->type == PROTO_EV_FAULT_WRITE, 0);
		}
	}
	if (!rc && verdict == PROTO_EARLY)
		rc = hold_early(shard, work->page, &ev->msg);
	else if (!rc && ev->type == PROTO_EV_MSG)
		hold_arrived(shard, work->page);
	if (!rc && ev->type == PROTO_EV_MSG)
		rc = verdict_of(shard, &ev->msg, verdict, work->page);
	return rc;
}

bool steps_lacks(const struct shard *shard, rpn_t page, bool write)
{
	const struct dsm *dsm = shard->dsm;
	struct proto_cache cache;

	if (block_is_whole(dsm, page))
		return false;
	proto_cache_unpack(dsm->cache[page], &cache);
	return cache.right < (write ? PROTO_WRITE : PROTO_READ) && !cache.lost &&
	       pagetab_find(&shard->pending_tab, page) == PAGETAB_NONE;
}

bool steps_holds(const struct shard *shard, rpn_t page)
{
	return (shard->dsm->cache[page] & 3) != PROTO_NONE || pagetab_find(&shard->pending_tab, page) != PAGETAB_NONE;
}

struct proto_dir_packed *steps_packed(struct dsm *dsm, rpn_t page)
{
	return &dsm->dir[page - dsm->node_first[dsm->config.self]];
}

void steps_pack(struct proto_dir_packed *packed, const struct proto_dir *dir)
{
	struct proto_dir_packed now = proto_dir_pack(dir);

	packed->copyset[0] = now.copyset[0];
	packed->copyset[1] = now.copyset[1];
	__atomic_store_n(&packed->word, now.word, __ATOMIC_RELAXED); /* read by dsm_stats, too */
}

/* Only this home has it, nobody here waits for it, and it has changed hands often. */
static bool lendable(const struct shard *shard, rpn_t page, const struct proto_dir *dir)
{
	const struct dsm *dsm = shard->dsm;

	return dir->mode == PROTO_EXCL && dir->copyset == (uint64_t)1 << dsm->config.self && !dir->lost &&
	       dir->seq >= REPLICA_MIN_SEQ && pagetab_find(&shard->pending_tab, page) == PAGETAB_NONE;
}

/* Whether a reader had better own the page (H2). */
static bool better_owned(struct shard *shard, rpn_t page, const struct proto_msg *msg, const struct proto_dir *dir)
{
	struct dsm *dsm = shard->dsm;
	uint8_t *history = &dsm->history[page - dsm->node_first[dsm->config.self]];
	bool migrates = false;

	if (dsm_with(dsm, DSM_WITHOUT(MIGRATION)))
		migrates = msg->type == PROTO_DONE
				   ? history_migrates(*history)
				   : history_request(history, msg->from, msg->type == PROTO_REQ_WRITE, dir->copyset, dir->seq);
	if (migrates || msg->type != PROTO_REQ_READ)
		return migrates;
	/* Never shared, never written, ours: whoever reads it first will write it, and gets it for good. */
	return !dir->busy && dir->seq == 0 && view_seems_hole(dsm->view, page);
}

/* Counts what went for good to one of those who only wanted to read. */
static void count_migration(struct shard *shard, rpn_t page, uint64_t readers, const struct proto_actions *actions)
{
	const struct dsm *dsm = shard->dsm;

	for (uint32_t i = 0; i < actions->n; i++) {
		const struct proto_action *a = &actions->action[i];

		if (a->type != PROTO_SEND || a->msg.type != PROTO_FWD_WRITE || !(readers >> a->msg.requester & 1) ||
		    !history_migrates(dsm->history[page - dsm->node_first[dsm->config.self]]))
			continue;
		TRACE_MIGRATION(page, __builtin_ctzll(a->to), a->msg.requester);
		shard_count(&shard->stats.migrated, 1);
	}
}

int steps_push(struct shard *shard, rpn_t page, node_t to)
{
	struct proto_ctx ctx = steps_ctx(shard->dsm, page);
	struct proto_event ev = {.type = PROTO_EV_PUSH, .peer = to};
	struct proto_actions actions;
	struct proto_dir dir;

	/* The directory knows nothing of a page that is lent. */
	if (block_is_whole(shard->dsm, page) || replica_within(&shard->replicas, page, 1))
		return 0;
	uint32_t slot = pagetab_find(&shard->busy_tab, page);
	bool busy = slot != PAGETAB_NONE;
	if (busy)
		dir = shard->busy[slot];
	else
		proto_dir_unpack(*steps_packed(shard->dsm, page), &ctx, &dir);
	if (proto_dir_step(&dir, &ctx, &ev, &actions) != PROTO_OK || proto_dir_idle(&dir))
		return 0;
	if (!busy)
		slot = pagetab_add(&shard->busy_tab, page);
	if (slot == PAGETAB_NONE)
		return 0; /* the directory entry is as it was */
	shard->busy[slot] = dir;
	return execute(shard, &actions, &(struct work){.page = page}, true);
}

/* Offers are made anew after a while, also where the answers are only slow. They may be ignored (H17), and are, so that what is
 * under way for them leaves room for what somebody waits for. */
static bool is_crowded(const struct shard *shard)
{
	return shard->pending_tab.used > SHARD_PENDING / 2 || shard->busy_tab.used > shard->busy_tab.slots / 2;
}

int steps_dir(struct shard *shard, struct proto_event *ev, const struct work *work)
{
	struct dsm *dsm = shard->dsm;
	struct proto_ctx ctx = steps_ctx(dsm, work->page);
	struct proto_actions actions;
	struct proto_dir idle;
	struct proto_dir *dir = &idle;

	if (ctx.home != dsm->config.self) { /* no directory here: the machine itself refuses it, with a state to look at */
		proto_dir_init(&idle, &ctx);
		return verdict_of(shard, &ev->msg, proto_dir_step(&idle, &ctx, ev, &actions), work->page);
	}
	if (ev->msg.type == PROTO_OFFER && is_crowded(shard))
		return 0;
	bool request = (ev->msg.type == PROTO_REQ_READ || ev->msg.type == PROTO_REQ_WRITE) && ev->msg.epoch == ctx.epoch;
	int rc = request ? block_asked(shard, ev->msg.from, work->page) : block_split(shard, work->page);
	if (rc)
		return rc;
	struct proto_dir_packed *packed = steps_packed(dsm, work->page);
	uint32_t slot = pagetab_find(&shard->busy_tab, work->page);
	if (slot != PAGETAB_NONE)
		dir = &shard->busy[slot];
	else
		proto_dir_unpack(*packed, &ctx, &idle);
	if (dsm_with(dsm, DSM_WITHOUT(REPLICAS)) && slot == PAGETAB_NONE && request &&
	    replica_request(shard, ev->msg.from, work->page, ev->msg.type == PROTO_REQ_WRITE, lendable(shard, work->page, &idle)))
		return 0;
	if (request)
		shard_count(&shard->stats.served, 1);
	ev->exclusive = ev->msg.type != PROTO_OFFER && better_owned(shard, work->page, &ev->msg, dir);
	ev->relay = dsm_with(dsm, DSM_WITHOUT(RELAYS)) && (unsigned)__builtin_popcountll(dir->copyset) > dsm->config.relays_from;
	uint64_t wait_read = 0, wait_write = 0;
	if (dsm_with(dsm, DSM_WITHOUT(REPLICAS)) && ev->msg.type == PROTO_DONE && ev->msg.requester == dsm->config.self &&
	    dir->seq >= REPLICA_MIN_SEQ)
		proto_dir_take_waiters(dir, &wait_read, &wait_write);
	uint64_t readers = dir->wait_read | (ev->msg.type == PROTO_REQ_READ ? (uint64_t)1 << ev->msg.from : 0);
	struct proto_dir before = *dir;
	push_before(shard, work->page, dir, ev);
	enum proto_verdict verdict = proto_dir_step(dir, &ctx, ev, &actions);
	push_after(shard, work->page, &before, dir);
	count_migration(shard, work->page, readers, &actions);
	if (slot == PAGETAB_NONE && !proto_dir_idle(dir)) {
		slot = pagetab_add(&shard->busy_tab, work->page);
		if (slot == PAGETAB_NONE) {
			shard_fail(shard, "more pages of this home in motion than this node has room for");
			return -ENOBUFS;
		}
		shard->busy[slot] = idle;
	}
	rc = execute(shard, &actions, work, true);
	if (proto_dir_idle(dir)) {
		steps_pack(packed, dir);
		if (slot != PAGETAB_NONE)
			pagetab_remove(&shard->busy_tab, work->page);
	}
	if (!rc)
		rc = verdict_of(shard, &ev->msg, verdict, work->page);
	/* Those who waited while the page was on its way to its home ask anew: it may be a table to lend now. */
	for (uint64_t from = wait_read | wait_write; from && !rc; from &= from - 1) {
		node_t n = (node_t)__builtin_ctzll(from);

		rc = shard_request(shard, n, work->page, wait_write >> n & 1);
	}
	return rc;
}

/* ---- what replica.c needs ---- */

gpa_t shard_gpa(const struct shard *shard, rpn_t page)
{
	const struct dsm_config *config = &shard->dsm->config;

	return page < config->low_pages ? page << PAGE_SHIFT : config->high_gpa + ((page - config->low_pages) << PAGE_SHIFT);
}

bool shard_readable(const struct shard *shard, gpa_t gpa, rpn_t *page)
{
	const struct dsm *dsm = shard->dsm;
	rpn_t p = gpa >> PAGE_SHIFT;

	if (p >= dsm->config.low_pages) {
		if (gpa < dsm->config.high_gpa)
			return false;
		p = ((gpa - dsm->config.high_gpa) >> PAGE_SHIFT) + dsm->config.low_pages;
	}
	if (p >= dsm->node_first[dsm->config.nodes])
		return false;
	*page = p;
	struct proto_cache cache;
	if (block_is_whole(dsm, p))
		return true;
	proto_cache_unpack(dsm->cache[p], &cache);
	return cache.right != PROTO_NONE && !view_is_hole(dsm->view, p);
}

int shard_request(struct shard *shard, node_t from, rpn_t page, bool write)
{
	struct proto_event ev = {
		.type = PROTO_EV_MSG,
		.msg = {.type = write ? PROTO_REQ_WRITE : PROTO_REQ_READ,
			.epoch = shard->dsm->epoch,
			.from = from,
			.requester = from},
	};
	struct work work = {.page = page};

	return steps_dir(shard, &ev, &work);
}

int shard_borrow(struct shard *shard, rpn_t page, const uint8_t *bytes)
{
	uint32_t slot = pagetab_find(&shard->pending_tab, page);

	if (slot == PAGETAB_NONE || !proto_cache_borrow(&shard->pending[slot].cache))
		return -EPROTO;
	shard->dsm->cache[page] = proto_cache_pack(&shard->pending[slot].cache);
	finished(shard, page, &shard->pending[slot], true);
	pagetab_remove(&shard->pending_tab, page);
	evict_lent(shard);
	shard_count(&shard->stats.pages_in, 1);
	return view_install(shard->dsm->view, page, 1, bytes, true, true);
}

void shard_returned(struct shard *shard, rpn_t page)
{
	struct proto_cache cache = {.right = PROTO_NONE};

	damping_lost(&shard->damping, page, clock_ns());
	shard->dsm->cache[page] = proto_cache_pack(&cache);
}

/* Messages of this node to itself come before anything else. */
static int drain_self(struct shard *shard)
{
	int rc = 0;

	while (!rc && shard->self_count) {
		struct shard_self s = shard->self[shard->self_first];
		struct proto_event ev = {.type = PROTO_EV_MSG, .msg = s.msg};
		struct work work = {.page = s.page, .ahead = s.ahead};

		shard->self_first = (shard->self_first + 1) % SHARD_LOOPBACK;
		shard->self_count--;
		if (proto_msg_for_dir(s.msg.type))
			rc = steps_dir(shard, &ev, &work);
		else if (!hold_message(shard, s.page, &s.msg))
			rc = steps_cache(shard, &ev, &work);
	}
	return rc;
}

void steps_settle(struct shard *shard, int rc)
{
	if (!rc)
		rc = drain_self(shard);
	if (rc && !shard->failed)
		shard_fail(shard, "guest RAM cannot be served any more; see the line above");
}
