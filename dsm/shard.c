/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define CHECK_EVERY_NS NS_PER_SEC

/* Relaxed: a reader wants a recent value, nothing is ordered by it. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The event that is being worked on: a fault, or a message with its payload. */
struct work {
	rpn_t page;
	const uint8_t *payload; /* DATA with bytes, or NULL */
	bool protected_page;    /* fault: it met a protection */
};

static void fail(struct shard *shard, const char *why)
{
	struct dsm_sink *sink = shard->dsm->config.sink;

	if (shard->failed)
		return;
	shard->failed = true;
	sink->failed(sink, why);
}

static node_t home_of(const struct dsm *dsm, rpn_t page)
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

static struct proto_ctx ctx_of(const struct dsm *dsm, rpn_t page)
{
	return (struct proto_ctx){
		.self = dsm->config.self,
		.home = home_of(dsm, page),
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
	{PROTO_DONE, WIRE_DONE},
};

static uint8_t to_wire(uint8_t proto)
{
	for (size_t i = 0; i < ARRAY_SIZE(wire_names); i++)
		if (wire_names[i].proto == proto)
			return wire_names[i].wire;
	return 0;
}

static uint8_t from_wire(uint8_t wire)
{
	for (size_t i = 0; i < ARRAY_SIZE(wire_names); i++)
		if (wire_names[i].wire == wire)
			return wire_names[i].proto;
	return 0;
}

static void send_to_self(struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	assert(shard->self_count < SHARD_LOOPBACK);
	struct shard_self *slot = &shard->self[(shard->self_first + shard->self_count++) % SHARD_LOOPBACK];
	slot->page = page;
	slot->msg = *msg;
	slot->msg.from = shard->dsm->config.self;
}

/* `bytes`: the page, if the message carries one; NULL with PROTO_ZERO. */
static void send_to(struct shard *shard, node_t to, rpn_t page, const struct proto_msg *msg, const uint8_t *bytes)
{
	struct wire_hdr hdr = {
		.type = to_wire(msg->type),
		.epoch = (uint16_t)msg->epoch,
		.len = bytes ? PAGE_BYTES : 0,
		.arg = page,
		.seq = msg->seq,
		.acks = msg->acks,
		.node = (uint16_t)msg->requester,
	};

	if (msg->type == PROTO_DATA) {
		hdr.flags = (uint8_t)((bytes ? 0 : WIRE_F_ZERO) | (msg->right == PROTO_WRITE ? WIRE_F_WRITE : 0));
		count(bytes ? &shard->stats.pages_out : &shard->stats.pages_out_zero, 1);
	}
	count(&shard->stats.messages_out, 1);
	count(&shard->stats.bytes_out, WIRE_HDR_BYTES + hdr.len);
	net_post(shard->lane, to, &hdr, bytes);
}

static void send_action(struct shard *shard, rpn_t page, const struct proto_action *action)
{
	const uint8_t *bytes = NULL;

	if (action->msg.type == PROTO_REQ_READ || action->msg.type == PROTO_REQ_WRITE)
		count(&shard->stats.requests, 1);
	if (action->with_data && !shard->loaded_zero)
		bytes = shard->loaded;
	for (uint64_t to = action->to; to; to &= to - 1) {
		node_t n = (node_t)__builtin_ctzll(to);

		if (n == shard->dsm->config.self)
			send_to_self(shard, page, &action->msg);
		else
			send_to(shard, n, page, &action->msg, bytes);
	}
}

/* ---- actions ---- */

static int execute(struct shard *shard, const struct proto_actions *actions, const struct work *work)
{
	struct view *view = shard->dsm->view;
	rpn_t page = work->page;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < actions->n; i++) {
		const struct proto_action *a = &actions->action[i];

		switch ((enum proto_action_type)a->type) {
		case PROTO_PROTECT:
			damping_lost(&shard->damping, page, clock_ns());
			rc = view_protect(view, page);
			break;
		case PROTO_LOAD: /* UNMAP may come before the SEND (D1), and takes the bytes */
			shard->loaded_zero = view_is_zero(view, page);
			if (!shard->loaded_zero)
				memcpy(shard->loaded, view_bytes(view, page), PAGE_BYTES);
			break;
		case PROTO_UNMAP:
			damping_lost(&shard->damping, page, clock_ns());
			count(&shard->stats.invalidations, 1);
			rc = view_drop(view, page);
			break;
		case PROTO_SEND:
			send_action(shard, page, a);
			break;
		case PROTO_INSTALL:
			count(a->zero ? &shard->stats.pages_in_zero : &shard->stats.pages_in, 1);
			rc = view_install(view, page, a->zero ? NULL : work->payload, a->right == PROTO_WRITE, a->wake);
			break;
		case PROTO_UPGRADE:
			rc = view_unprotect(view, page);
			break;
		case PROTO_MAP:
			count(&shard->stats.faults_local, 1);
			rc = view_map(view, page, a->right == PROTO_WRITE, work->protected_page);
			break;
		case PROTO_WAKE:
			rc = view_wake(view, page);
			break;
		case PROTO_FAIL:
			fail(shard, "a page of guest RAM was lost with its node");
			break;
		}
	}
	return rc;
}

static int verdict_of(struct shard *shard, const struct proto_msg *msg, enum proto_verdict verdict, rpn_t page)
{
	char why[160];

	if (verdict == PROTO_STALE)
		count(&shard->stats.stale, 1);
	if (verdict != PROTO_PEER_FAULT)
		return 0;
	snprintf(why, sizeof(why), "it broke the coherence protocol: %s for page %llu, which the state of that page does not allow",
		 proto_msg_name(msg->type), (unsigned long long)page);
	shard->failed = true;
	shard->dsm->config.sink->lost(shard->dsm->config.sink, msg->from, why);
	return -EPROTO;
}

/* ---- the two machines of a page ---- */

static void finished(struct shard *shard, rpn_t page, const struct shard_pending *p)
{
	uint64_t now = clock_ns();
	uint64_t ns = now - p->since_ns;
	unsigned bucket = ns ? 63u - (unsigned)__builtin_clzll(ns) : 0;

	damping_gained(&shard->damping, page, now, ns);
	count(&(p->write ? shard->stats.write_ns : shard->stats.read_ns)[MIN(bucket, DSM_HISTOGRAM - 1u)], 1);
}

static int cache_event(struct shard *shard, const struct proto_event *ev, const struct work *work)
{
	struct dsm *dsm = shard->dsm;
	struct proto_ctx ctx = ctx_of(dsm, work->page);
	uint32_t slot = pagetab_find(&shard->pending_tab, work->page);
	struct proto_actions actions;
	struct proto_cache idle;
	struct proto_cache *cache = &idle;

	if (slot != PAGETAB_NONE)
		cache = &shard->pending[slot].cache;
	else
		proto_cache_unpack(dsm->cache[work->page], &idle);
	enum proto_verdict verdict = proto_cache_step(cache, &ctx, ev, &actions);
	if (slot == PAGETAB_NONE && !proto_cache_idle(cache)) {
		slot = pagetab_add(&shard->pending_tab, work->page);
		if (slot == PAGETAB_NONE) {
			fail(shard, "more page faults under way than this node has room for");
			return -ENOBUFS;
		}
		shard->pending[slot] = (struct shard_pending){
			.cache = idle,
			.since_ns = clock_ns(),
			.write = ev->type == PROTO_EV_FAULT_WRITE,
		};
	}
	int rc = execute(shard, &actions, work);
	if (proto_cache_idle(cache)) {
		dsm->cache[work->page] = proto_cache_pack(cache);
		if (slot != PAGETAB_NONE) {
			finished(shard, work->page, &shard->pending[slot]);
			pagetab_remove(&shard->pending_tab, work->page);
		}
	}
	if (!rc && ev->type == PROTO_EV_MSG)
		rc = verdict_of(shard, &ev->msg, verdict, work->page);
	return rc;
}

/* The first request from another node for a page of a private block makes the block shared. */
static int split_once(struct shard *shard, rpn_t page)
{
	struct dsm *dsm = shard->dsm;
	rpn_t first = page & ~(rpn_t)(BLOCK_PAGES - 1);
	uint64_t block = (first - dsm->node_first[dsm->config.self]) / BLOCK_PAGES;

	if (dsm->split[block])
		return 0;
	__atomic_store_n(&dsm->split[block], 1, __ATOMIC_RELAXED); /* dsm_stats looks at it from another thread */
	count(&shard->stats.splits, 1);
	count(&shard->stats.metadata_bytes, BLOCK_PAGES * (sizeof(struct proto_dir_packed) + 1));
	for (rpn_t p = first; p < first + BLOCK_PAGES; p++) {
		struct proto_cache cache = {.right = PROTO_WRITE};

		dsm->cache[p] = proto_cache_pack(&cache);
	}
	return view_split(dsm->view, first);
}

static int dir_event(struct shard *shard, struct proto_event *ev, const struct work *work)
{
	struct dsm *dsm = shard->dsm;
	struct proto_ctx ctx = ctx_of(dsm, work->page);
	struct proto_actions actions;
	struct proto_dir idle;
	struct proto_dir *dir = &idle;

	if (ctx.home != dsm->config.self) { /* no directory here: the machine itself refuses it, with a state to look at */
		proto_dir_init(&idle, &ctx);
		return verdict_of(shard, &ev->msg, proto_dir_step(&idle, &ctx, ev, &actions), work->page);
	}
	int rc = split_once(shard, work->page);
	if (rc)
		return rc;
	struct proto_dir_packed *packed = &dsm->dir[work->page - dsm->node_first[dsm->config.self]];
	uint32_t slot = pagetab_find(&shard->busy_tab, work->page);
	if (slot != PAGETAB_NONE)
		dir = &shard->busy[slot].dir;
	else
		proto_dir_unpack(*packed, &ctx, &idle);
	if (ev->msg.type != PROTO_DONE)
		count(&shard->stats.served, 1);
	/* Never shared, all zero, ours: whoever reads it first will write it, and gets it for good. */
	if (ev->msg.type == PROTO_REQ_READ && slot == PAGETAB_NONE && idle.seq == 0)
		ev->untouched = view_is_zero(dsm->view, work->page);
	enum proto_verdict verdict = proto_dir_step(dir, &ctx, ev, &actions);
	if (slot == PAGETAB_NONE && !proto_dir_idle(dir)) {
		slot = pagetab_add(&shard->busy_tab, work->page);
		if (slot == PAGETAB_NONE) {
			fail(shard, "more pages of this home in motion than this node has room for");
			return -ENOBUFS;
		}
		shard->busy[slot] = (struct shard_busy){.dir = idle, .since_ns = clock_ns()};
	}
	rc = execute(shard, &actions, work);
	if (proto_dir_idle(dir)) {
		struct proto_dir_packed now = proto_dir_pack(dir);

		packed->copyset[0] = now.copyset[0];
		packed->copyset[1] = now.copyset[1];
		__atomic_store_n(&packed->word, now.word, __ATOMIC_RELAXED); /* read by dsm_stats, too */
		if (slot != PAGETAB_NONE)
			pagetab_remove(&shard->busy_tab, work->page);
	} else if (!rc && slot != PAGETAB_NONE && ev->msg.type == PROTO_DONE) {
		shard->busy[slot].since_ns = clock_ns();
	}
	return rc ? rc : verdict_of(shard, &ev->msg, verdict, work->page);
}

static bool hold(struct shard *shard, rpn_t page, const struct proto_msg *msg);

/* Messages of this node to itself come before anything else. */
static int drain_self(struct shard *shard)
{
	int rc = 0;

	while (!rc && shard->self_count) {
		struct shard_self s = shard->self[shard->self_first];
		struct proto_event ev = {.type = PROTO_EV_MSG, .msg = s.msg};
		struct work work = {.page = s.page};

		shard->self_first = (shard->self_first + 1) % SHARD_LOOPBACK;
		shard->self_count--;
		if (proto_msg_for_dir(s.msg.type))
			rc = dir_event(shard, &ev, &work);
		else if (!hold(shard, s.page, &s.msg))
			rc = cache_event(shard, &ev, &work);
	}
	return rc;
}

static void settle(struct shard *shard, int rc);

static void obey(struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = *msg};
	struct work work = {.page = page};

	settle(shard, cache_event(shard, &ev, &work));
}

/* Takes a message that asks this node to give a page up; true if it waits in `held` now. */
static bool hold(struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	bool gives_up = msg->type == PROTO_FWD_READ || msg->type == PROTO_FWD_WRITE || msg->type == PROTO_INV;
	uint64_t due = 0;

	if (gives_up && shard->dsm->config.damping && shard->held_count < SHARD_HELD)
		due = damping_until(&shard->damping, page, clock_ns());
	if (!due)
		return false;
	shard->held[shard->held_count++] = (struct shard_held){.due_ns = due, .page = page, .msg = *msg};
	count(&shard->stats.held, 1);
	return true;
}

/* Obeys what is due. Returns when the next is, or 0. */
static uint64_t release_held(struct shard *shard)
{
	uint64_t now = clock_ns(), next = 0;

	for (uint32_t i = 0; i < shard->held_count && !shard->failed;) {
		struct shard_held h = shard->held[i];

		if (h.due_ns > now) {
			next = next ? MIN(next, h.due_ns) : h.due_ns;
			i++;
			continue;
		}
		shard->held[i] = shard->held[--shard->held_count];
		obey(shard, h.page, &h.msg);
	}
	return next;
}

static void settle(struct shard *shard, int rc)
{
	if (!rc)
		rc = drain_self(shard);
	if (rc && !shard->failed)
		fail(shard, "guest RAM cannot be served any more; see the line above");
}

/* ---- events in ---- */

static void on_fault(struct shard *shard, const struct view_fault *fault)
{
	struct proto_event ev = {.type = fault->write ? PROTO_EV_FAULT_WRITE : PROTO_EV_FAULT_READ};
	struct work work = {.page = fault->page, .protected_page = fault->protected_page};

	count(fault->protected_page ? &shard->stats.faults_upgrade
				    : (fault->write ? &shard->stats.faults_write : &shard->stats.faults_read),
	      1);
	settle(shard, cache_event(shard, &ev, &work));
}

static void on_message(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct shard *shard = container_of(sink, struct shard, sink);
	struct dsm *dsm = shard->dsm;
	struct proto_event ev = {
		.type = PROTO_EV_MSG,
		.msg =
			{
				.type = from_wire(hdr->type),
				.acks = (uint8_t)hdr->acks,
				/* The wire has 16 bits of the epoch, and epochs are few. */
				.epoch = hdr->epoch,
				.seq = hdr->seq,
				.from = from,
				.requester = hdr->node,
			},
	};
	struct work work = {.page = hdr->arg, .payload = hdr->len ? payload : NULL};

	if (shard->failed)
		return;
	count(&shard->stats.messages_in, 1);
	if (work.page >= dsm->node_first[dsm->config.nodes] || view_shard(dsm->view, work.page) != shard->index) {
		char why[96];

		snprintf(why, sizeof(why), "it named page %llu, which is not one of this shard's", (unsigned long long)work.page);
		shard->failed = true;
		dsm->config.sink->lost(dsm->config.sink, from, why);
		return;
	}
	if (ev.msg.type == PROTO_DATA) {
		ev.msg.flags = hdr->len ? PROTO_HAS_DATA : PROTO_ZERO;
		ev.msg.right = hdr->flags & WIRE_F_WRITE ? PROTO_WRITE : PROTO_READ;
	} else if (ev.msg.type == PROTO_GRANT) {
		count(&shard->stats.upgrades, 1);
	}
	if (proto_msg_for_dir(ev.msg.type))
		settle(shard, dir_event(shard, &ev, &work));
	else if (!hold(shard, work.page, &ev.msg))
		settle(shard, cache_event(shard, &ev, &work));
}

static void on_lost(struct net_sink *sink, node_t peer, int err, const char *why)
{
	struct shard *shard = container_of(sink, struct shard, sink);

	(void)err;
	shard->failed = true;
	shard->dsm->config.sink->lost(shard->dsm->config.sink, peer, why);
}

/* Once a second: is something waiting that should long have come? */
static void check_ages(struct shard *shard, uint64_t now)
{
	uint32_t cursor = 0, slot;
	rpn_t page;
	char why[160];

	shard->next_check_ns = now + CHECK_EVERY_NS;
	while ((slot = pagetab_next(&shard->pending_tab, &cursor, &page)) != PAGETAB_NONE) {
		if (now - shard->pending[slot].since_ns < DSM_REQUEST_TIMEOUT_NS)
			continue;
		snprintf(why, sizeof(why), "no answer for page %llu within %llu s; its home is node %u", (unsigned long long)page,
			 DSM_REQUEST_TIMEOUT_NS / NS_PER_SEC, home_of(shard->dsm, page));
		fail(shard, why);
		return;
	}
}

static bool serve(struct shard *shard)
{
	struct view_fault fault;
	bool any = false;

	while (!shard->failed && view_next_fault(shard->dsm->view, shard->index, &fault) == 0) {
		on_fault(shard, &fault);
		any = true;
	}
	int rc = shard->failed ? 0 : net_poll(shard->lane, &shard->sink);
	if (rc < 0)
		fail(shard, "the connections to the other nodes cannot be read");
	return any || rc > 0;
}

static void *shard_main(void *arg)
{
	struct shard *shard = arg;
	uint64_t last_work = clock_ns();
	struct epoll_event ev[4];
	char name[16];
	bool stop = false;

	snprintf(name, sizeof(name), "dsm-%u", shard->index);
	pthread_setname_np(pthread_self(), name);
	while (!stop) {
		uint64_t due = release_held(shard);
		uint64_t now = clock_ns();
		uint64_t sleep_ns = now - last_work < shard->dsm->config.poll_ns ? 0 : 250 * NS_PER_MS;

		if (due)
			sleep_ns = MIN(sleep_ns, due > now ? due - now : 0);
		struct timespec ts = {.tv_nsec = (long)sleep_ns};
		int n = epoll_pwait2(shard->epoll_fd, ev, ARRAY_SIZE(ev), &ts, NULL);

		for (int i = 0; i < n; i++)
			stop |= ev[i].data.fd == shard->stop_fd;
		if (shard->failed) { /* only the order to stop matters now, and the descriptors stay readable */
			usleep(10000);
			continue;
		}
		if (n > 0 && serve(shard))
			last_work = clock_ns();
		if (now >= shard->next_check_ns)
			check_ages(shard, clock_ns()); /* not `now`: requests were made since */
	}
	return NULL;
}

/* ---- life ---- */

static int watch(struct shard *shard, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(shard->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int shard_init(struct shard *shard, struct dsm *dsm, unsigned index, struct net_lane *lane)
{
	int rc;

	shard->dsm = dsm;
	shard->index = index;
	shard->lane = lane;
	shard->sink = (struct net_sink){.recv = on_message, .lost = on_lost};
	shard->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	shard->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	shard->pending = calloc(SHARD_PENDING, sizeof(*shard->pending));
	shard->busy = calloc(SHARD_BUSY, sizeof(*shard->busy));
	shard->loaded = calloc(1, PAGE_BYTES);
	if (!shard->loaded || damping_init(&shard->damping) || shard->epoll_fd < 0 || shard->stop_fd < 0 || !shard->pending || !shard->busy) {
		rc = -ENOMEM;
		goto fail;
	}
	rc = pagetab_init(&shard->pending_tab, SHARD_PENDING);
	if (!rc)
		rc = pagetab_init(&shard->busy_tab, SHARD_BUSY);
	if (!rc)
		rc = watch(shard, view_fd(dsm->view, index));
	if (!rc)
		rc = watch(shard, net_fd(lane));
	if (!rc)
		rc = watch(shard, shard->stop_fd);
	shard->stats.metadata_bytes = SHARD_PENDING * sizeof(*shard->pending) + SHARD_BUSY * sizeof(*shard->busy) +
				      DAMPING_PAGES * sizeof(struct damping_page) +
				      (SHARD_PENDING + SHARD_BUSY) * (2 * sizeof(uint32_t) + sizeof(rpn_t) + sizeof(uint32_t));
fail:
	if (rc)
		log_error("cannot set up shard %u of guest RAM: %s", index, strerror(-rc));
	return rc;
}

void shard_destroy(struct shard *shard)
{
	net_free(shard->lane);
	pagetab_destroy(&shard->pending_tab);
	pagetab_destroy(&shard->busy_tab);
	free(shard->pending);
	free(shard->busy);
	free(shard->loaded);
	damping_destroy(&shard->damping);
	if (shard->epoll_fd > 0)
		close(shard->epoll_fd);
	if (shard->stop_fd > 0)
		close(shard->stop_fd);
}

int shard_start(struct shard *shard)
{
	uint64_t drop;
	ssize_t n = read(shard->stop_fd, &drop, sizeof(drop));
	(void)n; /* nothing to drop the first time */

	int rc = -pthread_create(&shard->thread, NULL, shard_main, shard);
	if (rc)
		log_error("cannot start the thread of shard %u: %s", shard->index, strerror(-rc));
	shard->running = rc == 0;
	return rc;
}

void shard_stop(struct shard *shard)
{
	uint64_t one = 1;

	if (!shard->running)
		return;
	ssize_t n = write(shard->stop_fd, &one, sizeof(one));
	(void)n; /* an eventfd takes it unless it is about to overflow */
	pthread_join(shard->thread, NULL);
	shard->running = false;
}

void shard_reset(struct shard *shard)
{
	pagetab_clear(&shard->pending_tab);
	pagetab_clear(&shard->busy_tab);
	shard->self_count = 0;
	shard->held_count = 0;
}
