/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/shard.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "dsm/blocks.h"
#include "dsm/hold.h"
#include "dsm/steps.h"

#define CANNOT_READ "the connections to the other nodes cannot be read"

#define CHECK_EVERY_NS NS_PER_SEC
#define POLL_MAX_NS    (200 * NS_PER_US) /* without --poll-us; a thread that a host of today wakes is late by a tenth of that */
#define TICK_MAX_NS    (250 * NS_PER_MS)
#define LOOKS          16u /* of which one is at everything there is */

/* ---- events in ---- */

/* What a stream of faults will want next goes out with what it wants now. */
static void look_ahead(struct shard *shard, rpn_t page, bool write, bool late)
{
	struct dsm *dsm = shard->dsm;
	struct stream_ahead ahead = late ? stream_late(&shard->streams, page, write) : stream_fault(&shard->streams, page, write);

	shard_count(&shard->stats.ahead_used, ahead.used);
	shard_count(&shard->stats.ahead_wasted, ahead.wasted);
	if (!ahead.n)
		return;
	run_asks(shard);
	for (uint32_t i = 0; i < ahead.n && !shard->failed; i++) {
		struct proto_event ev = {.type = write ? PROTO_EV_FAULT_WRITE : PROTO_EV_FAULT_READ};
		struct work work = {.page = ahead.first + (rpn_t)(ahead.stride * (int64_t)i), .ahead = true};

		if (work.page >= dsm->node_first[dsm->config.nodes] || view_shard(dsm->view, work.page) != shard->index)
			break; /* also below 0, as a page is unsigned */
		if (!steps_lacks(shard, work.page, write))
			continue;
		if (shard->pending_tab.used > SHARD_PENDING / 2 || !evict_has_room(&shard->evict))
			break;
		shard_count(&shard->stats.ahead, 1);
		steps_settle(shard, steps_cache(shard, &ev, &work));
	}
	run_asked(shard);
}

void shard_fault(struct shard *shard, const struct view_fault *fault)
{
	struct proto_event ev = {.type = fault->write ? PROTO_EV_FAULT_WRITE : PROTO_EV_FAULT_READ};
	struct work work = {.page = fault->page, .protected_page = fault->protected_page};
	bool asks = steps_lacks(shard, fault->page, fault->write);
	bool late = !asks && !fault->protected_page; /* to come, or come meanwhile; or a hole of its own, in no window */

	steps_settle(shard, steps_cache(shard, &ev, &work));
	if ((asks || late) && dsm_with(shard->dsm, DSM_WITHOUT(AHEAD)))
		look_ahead(shard, fault->page, fault->write, late);
}

static void on_fault(struct shard *shard, const struct view_fault *fault)
{
	TRACE_FAULT_BEGIN(fault->page, fault->protected_page ? TRACE_UPGRADE : (fault->write ? TRACE_WRITE : TRACE_READ));
	shard_count(fault->protected_page ? &shard->stats.faults_upgrade
					  : (fault->write ? &shard->stats.faults_write : &shard->stats.faults_read),
		    1);
	if (!evict_holds_back(shard, fault))
		shard_fault(shard, fault);
}

/* What is not one message of the protocol of one page. */
static void on_other_message(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	char why[96];

	if (hdr->epoch != (uint16_t)shard->dsm->epoch) { /* of before a reset */
		shard_count(&shard->stats.stale, 1);
		return;
	}
	int rc = hdr->type == WIRE_BLOCK ? block_take(shard, from, hdr) : replica_message(shard, from, hdr, payload);
	if (rc != -EPROTO) {
		steps_settle(shard, rc);
		return;
	}
	snprintf(why, sizeof(why), "it sent a %s for page %llu that it may not send now", wire_type_name(hdr->type),
		 (unsigned long long)hdr->arg);
	__atomic_store_n(&shard->failed, true, __ATOMIC_RELAXED);
	shard->dsm->config.sink->lost(shard->dsm->config.sink, from, why);
}

void shard_message(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct proto_event ev = {
		.type = PROTO_EV_MSG,
		.msg =
			{
				.type = steps_from_wire(hdr->type),
				.acks = (uint8_t)hdr->acks,
				/* The wire has 16 bits of the epoch, and epochs are few. */
				.epoch = hdr->epoch,
				.seq = hdr->seq,
				.from = from,
				.requester = hdr->node,
			},
	};
	struct work work = {.page = hdr->arg,
			    .from = from,
			    .hdr = hdr,
			    .payload = hdr->len ? payload : NULL,
			    .ahead = hdr->flags & WIRE_F_AHEAD};

	if (ev.msg.type == PROTO_REQ_READ || ev.msg.type == PROTO_REQ_WRITE)
		shard->with_room = (shard->with_room & ~((uint64_t)1 << from)) | (uint64_t) !!(hdr->flags & WIRE_F_ROOM) << from;
	ev.msg.flags = hdr->flags & WIRE_F_PUSH ? PROTO_PUSH : 0;
	if (ev.msg.type == PROTO_DATA) {
		ev.msg.flags |= hdr->len ? PROTO_HAS_DATA : PROTO_ZERO;
		ev.msg.right = hdr->flags & WIRE_F_WRITE ? PROTO_WRITE : PROTO_READ;
		shard_count(&shard->stats.pushed_in, hdr->flags & WIRE_F_PUSH ? 1 : 0);
	} else if (ev.msg.type == PROTO_GRANT) {
		shard_count(&shard->stats.upgrades, 1);
	} else if (ev.msg.type == PROTO_VOID) {
		shard_count(&shard->stats.crossed, 1);
	}
	if (ev.msg.type == PROTO_INV && hdr->len)
		memcpy(&ev.msg.pass, payload, sizeof(ev.msg.pass));
	kept_incoming(shard, hdr, payload);
	if (proto_msg_for_dir(ev.msg.type))
		steps_settle(shard, steps_dir(shard, &ev, &work));
	else if (!hold_message(shard, work.page, &ev.msg))
		steps_settle(shard, steps_cache(shard, &ev, &work));
}

static void on_message(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct shard *shard = container_of(sink, struct shard, sink);
	struct dsm *dsm = shard->dsm;

	net_trace_received(from, hdr);
	if (shard->failed)
		return;
	shard_count(&shard->stats.messages_in, 1);
	/* Blocks are whole in a node and a shard, so this is true of all pages of a run. */
	if (hdr->arg >= dsm->node_first[dsm->config.nodes] || view_shard(dsm->view, hdr->arg) != shard->index) {
		char why[96];

		snprintf(why, sizeof(why), "it named page %llu, which is not one of this shard's", (unsigned long long)hdr->arg);
		__atomic_store_n(&shard->failed, true, __ATOMIC_RELAXED);
		dsm->config.sink->lost(dsm->config.sink, from, why);
		return;
	}
	switch (hdr->type) {
	case WIRE_LEND:
	case WIRE_RECALL:
	case WIRE_GIVE_BACK:
	case WIRE_RELEASED:
	case WIRE_BLOCK:
		on_other_message(shard, from, hdr, hdr->len ? payload : NULL);
		break;
	case WIRE_RUN_REQ:
		run_serve(shard, from, hdr);
		break;
	case WIRE_RUN_DATA:
		run_take(shard, from, hdr, payload);
		break;
	default:
		shard_message(shard, from, hdr, payload);
	}
}

static void on_lost(struct net_sink *sink, node_t peer, int err, const char *why)
{
	struct shard *shard = container_of(sink, struct shard, sink);

	(void)err;
	__atomic_store_n(&shard->failed, true, __ATOMIC_RELAXED);
	shard->dsm->config.sink->lost(shard->dsm->config.sink, peer, why);
}

/* Once a second: is something waiting that should long have come? */
static void check_ages(struct shard *shard, uint64_t now)
{
	uint32_t cursor = 0, slot;
	rpn_t page;
	char why[160];

	shard->next_check_ns = now + CHECK_EVERY_NS;
	if (replica_overdue(&shard->replicas, now, DSM_REQUEST_TIMEOUT_NS)) {
		shard_fail(shard, "a page table lent to other nodes did not come back");
		return;
	}
	if (evict_overdue(&shard->evict, now, DSM_REQUEST_TIMEOUT_NS)) {
		shard_fail(shard,
			   "no page of another node could be given up for one that is needed; give this node a larger mem-budget");
		return;
	}
	while ((slot = pagetab_next(&shard->pending_tab, &cursor, &page)) != PAGETAB_NONE) {
		if (now - shard->pending[slot].since_ns < DSM_REQUEST_TIMEOUT_NS)
			continue;
		snprintf(why, sizeof(why), "no answer for page %llu within %llu s; its home is node %u", (unsigned long long)page,
			 DSM_REQUEST_TIMEOUT_NS / NS_PER_SEC, steps_home(shard->dsm, page));
		shard_fail(shard, why);
		return;
	}
}

void shard_flush(struct shard *shard)
{
	replica_round(shard);
	net_flush(shard->lane);
}

bool shard_serve_faults(struct shard *shard)
{
	struct view_fault fault[VIEW_FAULTS];
	unsigned n = view_faults(shard->dsm->view, shard->index, fault);

	for (unsigned i = 0; i < n && !shard->failed; i++)
		on_fault(shard, &fault[i]);
	return n > 0;
}

bool shard_serve_messages(struct shard *shard)
{
	int rc = shard->failed ? 0 : net_poll(shard->lane, &shard->sink);

	if (rc < 0)
		shard_fail(shard, CANNOT_READ);
	return rc > 0;
}

uint64_t shard_release(struct shard *shard)
{
	uint64_t held = hold_release(shard), pushes = push_release(shard, clock_ns());

	return held && pushes ? MIN(held, pushes) : held | pushes;
}

/* While it polls: what costs little to look at, but for each LOOKS-th time. False: all is to be looked at. */
static bool look(struct shard *shard, uint64_t now)
{
	if (shard->failed || !net_can_look(shard->lane) || ++shard->looks % LOOKS == 0)
		return false;
	int rc = net_look(shard->lane, &shard->sink);
	if (rc < 0)
		shard_fail(shard, CANNOT_READ);
	shard_flush(shard);
	bool faults = !shard->failed && shard_serve_faults(shard);
	shard_flush(shard);
	if (rc > 0 || faults)
		polling_worked(&shard->polling, now, clock_ns());
	else
		__builtin_ia32_pause();
	return true;
}

/* An eventfd or a timerfd that says nothing any more. */
static void drain(int fd)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));
	(void)n; /* nothing to take is fine */
}

static void *shard_main(void *arg)
{
	struct shard *shard = arg;
	struct epoll_event ev[5];
	char name[16];
	bool stop = false;

	snprintf(name, sizeof(name), "dsm-%u", shard->index);
	pthread_setname_np(pthread_self(), name);
	while (!stop) {
		uint64_t due = shard_release(shard);
		shard_flush(shard);
		uint64_t now = clock_ns();
		bool polls = polling_goes_on(&shard->polling, now);
		uint64_t sleep_ns = polls ? 0 : UINT64_MAX; /* to the next tick */

		if (polls && look(shard, now))
			continue;
		if (!polls)
			polling_sleeps(&shard->polling, now);
		sleep_ns = MIN(sleep_ns, shard->evict.sleep_ns);
		if (due)
			sleep_ns = MIN(sleep_ns, due > now ? due - now : 0);
		struct timespec ts = {.tv_nsec = (long)MIN(sleep_ns, TICK_MAX_NS)};
		int n = epoll_pwait2(shard->epoll_fd, ev, ARRAY_SIZE(ev), sleep_ns < shard->tick_fd_ns ? &ts : NULL, NULL);

		uint64_t woke = clock_ns();
		bool faults = false, messages = false;

		for (int i = 0; i < n; i++) {
			stop |= ev[i].data.fd == shard->stop_fd;
			if (ev[i].data.fd == shard->tick_fd)
				drain(shard->tick_fd);
			faults |= ev[i].data.fd == view_fd(shard->dsm->view, shard->index);
			messages |= ev[i].data.fd == net_fd(shard->lane);
			if (ev[i].data.fd == shard->replicas.wake_fd && !shard->failed) {
				steps_settle(shard, replica_wake(shard));
				shard_flush(shard); /* a vCPU sleeps until it is answered */
			}
		}
		if (shard->failed) { /* only the order to stop matters now, and the descriptors stay readable */
			usleep(10000);
			continue;
		}
		messages = messages && shard_serve_messages(shard);
		shard_flush(shard);
		faults = faults && shard_serve_faults(shard);
		shard_flush(shard);
		now = clock_ns(); /* it slept meanwhile */
		if (messages || faults)
			polling_worked(&shard->polling, woke, now);
		if (!shard->failed)
			steps_settle(shard, replica_look(shard, now));
		if (!shard->failed)
			steps_settle(shard, evict_look(shard, now));
		if (!shard->failed)
			steps_settle(shard, block_look(shard, now));
		if (now >= shard->next_check_ns)
			check_ages(shard, clock_ns()); /* not `now`: requests were made since */
	}
	shard_flush(shard); /* what this round queued is of this epoch */
	return NULL;
}

/* ---- life ---- */

static int watch(struct shard *shard, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(shard->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* What is looked at now and then needs no time limit of each sleep: a timer that is set and cancelled twice in every fault. */
static int make_tick(struct shard *shard)
{
	uint64_t ns = MIN(shard->dsm->config.tick_ns / 4, REPLICA_LOOK_NS / 2);

	shard->tick_fd_ns = MIN(MAX(ns, NS_PER_MS), TICK_MAX_NS);
	struct itimerspec every = {.it_interval = {.tv_nsec = (long)shard->tick_fd_ns},
				   .it_value = {.tv_nsec = (long)shard->tick_fd_ns}};

	shard->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (shard->tick_fd < 0 || timerfd_settime(shard->tick_fd, 0, &every, NULL))
		return -errno;
	return watch(shard, shard->tick_fd);
}

/* Blocks go round the shards, so each has the same part of the room, and as many home pages as it has blocks of the home. */
static int init_budget(struct shard *shard)
{
	const struct dsm *dsm = shard->dsm;
	rpn_t first = dsm->node_first[dsm->config.self], after = dsm->node_first[dsm->config.self + 1];
	uint64_t home = 0;

	for (rpn_t p = first; p < after; p += BLOCK_PAGES)
		home += view_shard(dsm->view, p) == shard->index ? BLOCK_PAGES : 0;
	return evict_init(&shard->evict, home, dsm->room / dsm->config.shards, dsm->node_first[dsm->config.nodes]);
}

/* Who polls on the only CPU keeps off it who is to be waited for. */
static bool has_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}

int shard_init(struct shard *shard, struct dsm *dsm, unsigned index, struct net_lane *lane)
{
	uint32_t busy = shard_busy(dsm->config.nodes);
	int rc;

	shard->dsm = dsm;
	shard->index = index;
	shard->lane = lane;
	shard->sink = (struct net_sink){.recv = on_message, .lost = on_lost};
	polling_init(&shard->polling, dsm->config.poll_ns, net_can_look(lane) && has_cpus() ? POLL_MAX_NS : 0);
	shard->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	shard->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	shard->pending = calloc(SHARD_PENDING, sizeof(*shard->pending));
	shard->busy = calloc(busy, sizeof(*shard->busy));
	shard->loading.buffer = calloc(1, PAGE_BYTES);
	shard->replica_bytes = calloc(1, PAGE_BYTES);
	if (!shard->loading.buffer || !shard->replica_bytes || damping_init(&shard->damping) ||
	    replicas_init(&shard->replicas, dsm->config.nodes) || kept_init(&shard->kept) || run_init(&shard->runs) ||
	    init_budget(shard) || shard->epoll_fd < 0 || shard->stop_fd < 0 || !shard->pending || !shard->busy) {
		rc = -ENOMEM;
		goto fail;
	}
	rc = pagetab_init(&shard->pending_tab, SHARD_PENDING);
	if (!rc)
		rc = pagetab_init(&shard->busy_tab, busy);
	if (!rc)
		rc = watch(shard, view_fd(dsm->view, index));
	if (!rc)
		rc = watch(shard, net_fd(lane));
	if (!rc)
		rc = watch(shard, shard->stop_fd);
	if (!rc)
		rc = make_tick(shard);
	if (!rc)
		rc = watch(shard, shard->replicas.wake_fd);
	shard->stats.metadata_bytes = SHARD_PENDING * sizeof(*shard->pending) + busy * sizeof(*shard->busy) +
				      DAMPING_PAGES * sizeof(struct damping_page) +
				      (SHARD_PENDING + busy) * (2 * sizeof(uint32_t) + sizeof(rpn_t) + sizeof(uint32_t));
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
	free(shard->loading.buffer);
	free(shard->replica_bytes);
	replicas_destroy(&shard->replicas);
	damping_destroy(&shard->damping);
	kept_destroy(&shard->kept);
	run_destroy(&shard->runs);
	evict_destroy(&shard->evict);
	if (shard->epoll_fd > 0)
		close(shard->epoll_fd);
	if (shard->stop_fd > 0)
		close(shard->stop_fd);
	if (shard->tick_fd > 0)
		close(shard->tick_fd);
}

int shard_start(struct shard *shard)
{
	drain(shard->stop_fd); /* of the last time */
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
	shard->held_count = shard->held_early = 0;
	shard->pushes.n = 0;
	replicas_reset(&shard->replicas);
	evict_reset(&shard->evict);
	kept_reset(&shard->kept);
}
