/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/replica.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "dsm/shard.h"
#include "dsm/tables.h"

#define NOT_UP_TO_DATE     "page tables that this node has changed cannot be brought up to date on the others; see the line above"
#define RELEASE_TIMEOUT_NS (10 * NS_PER_SEC)
#define RELEASE_SLICE_NS   (100 * NS_PER_MS)

static void *lazy(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int replicas_init(struct replicas *r, node_t nodes)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->cond, &attr);
	pthread_condattr_destroy(&attr);
	r->home_max = REPLICAS_MAX / MAX(nodes, 1u);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->replica = calloc(REPLICAS_MAX, sizeof(*r->replica));
	r->twins = lazy(REPLICAS_MAX * PAGE_BYTES);
	r->waiting = lazy(REPLICAS_WAITING * sizeof(*r->waiting));
	r->runs = lazy(REPLICA_RUNS * WIRE_RUN_PAYLOAD_MAX);
	if (r->wake_fd < 0)
		return -errno;
	if (!r->replica || !r->twins || !r->waiting || !r->runs)
		return -ENOMEM;
	for (size_t i = 0; i < REPLICAS_MAX; i++)
		r->replica[i].twin = r->twins + i * PAGE_BYTES;
	return 0;
}

void replicas_destroy(struct replicas *r)
{
	if (r->wake_fd > 0)
		close(r->wake_fd);
	free(r->replica);
	if (r->twins)
		munmap(r->twins, REPLICAS_MAX * PAGE_BYTES);
	if (r->waiting)
		munmap(r->waiting, REPLICAS_WAITING * sizeof(*r->waiting));
	if (r->runs)
		munmap(r->runs, REPLICA_RUNS * WIRE_RUN_PAYLOAD_MAX);
}

/* All nodes are paused, nothing is on its way that will still be obeyed. */
void replicas_reset(struct replicas *r)
{
	pthread_mutex_lock(&r->lock);
	atomic_store_explicit(&r->n, 0, memory_order_relaxed);
	r->under_way = r->lent = 0;
	r->first = r->count = r->checked = 0;
	r->first_run = r->run_count = 0;
	r->quiet = false;
	r->done = r->seen = r->wanted;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; i < REPLICA_ROOTS; i++)
		atomic_store_explicit(&r->root[i], 0, memory_order_relaxed);
}

void replicas_root(struct replicas *r, uint64_t cr3, bool five_levels)
{
	uint64_t root = (cr3 & UINT64_C(0x000ffffffffff000)) | five_levels;

	for (size_t i = 0; i < REPLICA_ROOTS; i++)
		if (atomic_load_explicit(&r->root[i], memory_order_relaxed) == root)
			return;
	uint32_t i = atomic_fetch_add_explicit(&r->next_root, 1, memory_order_relaxed) % REPLICA_ROOTS;
	atomic_store_explicit(&r->root[i], root, memory_order_relaxed);
}

/* ---- the table: changed by the shard's thread under the lock ---- */

static struct replica *find(struct replicas *r, rpn_t page, bool home)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if (r->replica[i].page == page && (r->replica[i].state <= REPLICA_RECALLING) == home)
			return &r->replica[i];
	return NULL;
}

static struct replica *find_gen(struct replicas *r, rpn_t page, enum replica_state state, uint32_t gen)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if (r->replica[i].page == page && r->replica[i].state == state && r->replica[i].gen == gen)
			return &r->replica[i];
	return NULL;
}

static struct replica *add_locked(struct replicas *r, rpn_t page, enum replica_state state, uint32_t gen, const uint8_t *bytes)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);
	struct replica *e = &r->replica[n];

	assert(n < REPLICAS_MAX);
	*e = (struct replica){.page = page, .state = state, .gen = gen, .twin = e->twin};
	memcpy(e->twin, bytes, PAGE_BYTES);
	r->quiet = false; /* the page may have been written since the bytes were taken */
	atomic_store_explicit(&r->n, n + 1, memory_order_relaxed);
	return e;
}

/* To RECALLING or RETURNING. */
static void set_state_locked(struct replicas *r, struct replica *e, enum replica_state state)
{
	e->state = state;
	e->since_ns = clock_ns();
	r->under_way++;
}

static void drop_locked(struct replicas *r, struct replica *e)
{
	uint32_t last = atomic_load_explicit(&r->n, memory_order_relaxed) - 1;
	uint8_t *twin = e->twin;

	if (e->state == REPLICA_RECALLING || e->state == REPLICA_RETURNING)
		r->under_way--;
	*e = r->replica[last]; /* with its twin; ours goes to the free place */
	r->replica[last].twin = twin;
	atomic_store_explicit(&r->n, last, memory_order_relaxed);
}

static void drop(struct replicas *r, struct replica *e)
{
	pthread_mutex_lock(&r->lock);
	drop_locked(r, e);
	pthread_mutex_unlock(&r->lock);
}

/* By the shard's thread, or under the lock: a page whose state says that it is here is in the file. */
static bool is_dirty(const struct shard *shard, const struct replica *e)
{
	return (e->state == REPLICA_LENT || e->state == REPLICA_BORROWED) &&
	       memcmp(view_bytes(shard->dsm->view, e->page), e->twin, PAGE_BYTES) != 0;
}

bool replicas_has(struct replicas *r, rpn_t page)
{
	bool has = false;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < atomic_load_explicit(&r->n, memory_order_relaxed) && !has; i++)
		has = r->replica[i].page == page;
	pthread_mutex_unlock(&r->lock);
	return has;
}

/* ---- messages ---- */

static void tell(struct shard *shard, node_t to, uint8_t type, const struct replica *e, const uint8_t *payload)
{
	struct wire_hdr hdr = {
		.type = type,
		.epoch = shard->dsm->epoch,
		.len = payload ? PAGE_BYTES : 0,
		.arg = e->page,
		.seq = e->gen,
	};

	shard_post(shard, to, &hdr, payload);
}

/* When nothing is under way any more: what R1 held back goes out, in order, and who waits in replicas_release goes on. What was
 * not compared yet stays: there may be writes before it that nobody has seen. */
static void release_if_done(struct shard *shard)
{
	struct replicas *r = &shard->replicas;

	if (r->under_way)
		return;
	for (; r->checked; r->checked--) {
		struct replica_message *m = &r->waiting[r->first];
		const uint8_t *payload = m->payload;

		if (m->hdr.len > PAGE_BYTES) {
			payload = r->runs + r->first_run * WIRE_RUN_PAYLOAD_MAX;
			r->first_run = (r->first_run + 1) % REPLICA_RUNS;
			r->run_count--;
		}
		shard_post_now(shard, m->to, &m->hdr, m->hdr.len ? payload : NULL);
		r->first = (r->first + 1) % REPLICAS_WAITING;
		r->count--;
	}
	pthread_mutex_lock(&r->lock);
	if (r->done != r->seen) {
		r->done = r->seen;
		pthread_cond_broadcast(&r->cond);
	}
	pthread_mutex_unlock(&r->lock);
}

/* Home: the last answer is there. An ordinary page of ours again; what asked for it meanwhile begins. */
static int finish_recall(struct shard *shard, struct replica *e)
{
	struct replica was = *e;
	int rc = 0;

	for (uint64_t to = was.owed; to; to &= to - 1)
		tell(shard, (node_t)__builtin_ctzll(to), WIRE_RELEASED, &was, NULL);
	shard->replicas.lent--;
	drop(&shard->replicas, e);
	for (uint64_t from = was.wait_read | was.wait_write; from && !rc; from &= from - 1) {
		node_t n = (node_t)__builtin_ctzll(from);

		rc = shard_request(shard, n, was.page, was.wait_write & node_bit(n));
	}
	release_if_done(shard);
	return rc;
}

static int begin_recall(struct shard *shard, struct replica *e)
{
	shard_count(&shard->stats.replicas_recalled, 1);
	pthread_mutex_lock(&shard->replicas.lock);
	set_state_locked(&shard->replicas, e, REPLICA_RECALLING);
	pthread_mutex_unlock(&shard->replicas.lock);
	for (uint64_t to = e->borrowers; to; to &= to - 1)
		tell(shard, (node_t)__builtin_ctzll(to), WIRE_RECALL, e, NULL);
	return e->borrowers ? 0 : finish_recall(shard, e);
}

/* Under the lock, as another thread that looks for changes must not meet the hole. */
static int take_out_locked(struct shard *shard, struct replica *e, bool *dirty)
{
	struct view *view = shard->dsm->view;
	int rc = view_protect(view, e->page, 1);

	if (rc)
		return rc;
	*dirty = is_dirty(shard, e);
	if (*dirty)
		memcpy(shard->replica_bytes, view_bytes(view, e->page), PAGE_BYTES);
	shard_returned(shard, e->page);
	return view_drop(view, e->page);
}

/* Borrower: out of the guest view, with the bytes if software has written. */
static int give_back(struct shard *shard, struct replica *e)
{
	struct replicas *r = &shard->replicas;
	struct replica was = *e;
	bool dirty = false;

	pthread_mutex_lock(&r->lock);
	int rc = take_out_locked(shard, e, &dirty);
	if (!rc && dirty)
		set_state_locked(r, e, REPLICA_RETURNING);
	else if (!rc)
		drop_locked(r, e);
	pthread_mutex_unlock(&r->lock);
	if (rc)
		return rc;
	shard_count(&shard->stats.replicas_written, dirty);
	tell(shard, shard_home(shard, was.page), WIRE_GIVE_BACK, &was, dirty ? shard->replica_bytes : NULL);
	return 0;
}

/* All were compared, and no vCPU of this node has been in the guest since. */
static bool is_quiet(const struct shard *shard, bool *outside, uint64_t *passes)
{
	const struct replicas *r = &shard->replicas;

	*outside = activity_quiet(shard->dsm->config.activity, passes);
	return *outside && r->quiet && *passes == r->quiet_passes;
}

/* A message that is made now tells nothing that R1 is about. */
static bool none_to_await(const struct shard *shard)
{
	uint64_t passes;
	bool outside;

	return !shard->replicas.count && (!atomic_load_explicit(&shard->replicas.n, memory_order_relaxed) ||
					  (!shard->replicas.under_way && is_quiet(shard, &outside, &passes)));
}

/* Begins what R1 asks for; the table may move under the loop, so it starts anew after each change, and its last pass has compared
 * all after any message that is there at its end was made. */
static int begin_release(struct shard *shard)
{
	struct replicas *r = &shard->replicas;
	uint64_t passes;
	bool outside;
	int rc = 0;

	if (is_quiet(shard, &outside, &passes)) {
		r->checked = r->count;
		return 0;
	}
	shard_count(&shard->stats.replica_checks, 1);
	for (uint32_t i = 0; !rc && i < atomic_load_explicit(&r->n, memory_order_relaxed); i++) {
		struct replica *e = &r->replica[i];

		if (!is_dirty(shard, e))
			continue;
		rc = e->state == REPLICA_LENT ? begin_recall(shard, e) : give_back(shard, e);
		i = UINT32_MAX;
	}
	if (!rc) {
		r->checked = r->count;
		r->quiet = outside;
		r->quiet_passes = passes;
	}
	return rc;
}

void replica_round(struct shard *shard)
{
	struct replicas *r = &shard->replicas;

	uint32_t fresh = r->count - r->checked;

	/* While something is under way the next ones are not compared yet: those before them would wait for what they find. */
	if (!r->count || r->under_way || shard->failed)
		return;
	if (fresh && begin_release(shard)) {
		shard_fail(shard, NOT_UP_TO_DATE);
		return;
	}
	shard_count(&shard->stats.replicas_deferred, r->under_way ? fresh : 0);
	release_if_done(shard);
}

/* Where the payload of the next that waits goes; NULL: no room. */
static uint8_t *next_payload(const struct replicas *r, uint32_t len)
{
	if (r->count == REPLICAS_WAITING)
		return NULL;
	if (len <= PAGE_BYTES)
		return r->waiting[(r->first + r->count) % REPLICAS_WAITING].payload;
	return r->run_count < REPLICA_RUNS ? r->runs + (r->first_run + r->run_count) % REPLICA_RUNS * WIRE_RUN_PAYLOAD_MAX : NULL;
}

uint8_t *replica_slot(const struct shard *shard, uint32_t len)
{
	return none_to_await(shard) ? NULL : next_payload(&shard->replicas, len);
}

bool replica_has_room(struct shard *shard, uint32_t len)
{
	if (!next_payload(&shard->replicas, len))
		replica_round(shard);
	return next_payload(&shard->replicas, len);
}

bool replica_defers(struct shard *shard, node_t to, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct replicas *r = &shard->replicas;
	bool tells = hdr->type == WIRE_DATA || hdr->type == WIRE_RUN_DATA || hdr->type == WIRE_ACK || hdr->type == WIRE_GRANT;

	if (hdr->type >= WIRE_LEND && hdr->type <= WIRE_RELEASED)
		return false;
	/* What comes after a message that waits must stay behind it (P3). */
	if (none_to_await(shard) || (!r->count && !tells))
		return false;
	if (!replica_has_room(shard, hdr->len)) {
		shard_fail(shard, "too many messages wait for a page table to be brought up to date");
		return true;
	}
	loading_before(&shard->loading, payload); /* the slot is this message's now */
	uint8_t *place = next_payload(r, hdr->len);
	struct replica_message *m = &r->waiting[(r->first + r->count++) % REPLICAS_WAITING];
	m->to = to;
	m->hdr = *hdr;
	if (hdr->len && payload != place) /* it was loaded there (replica_slot) */
		memcpy(place, loading_at(&shard->loading, payload), hdr->len);
	r->run_count += hdr->len > PAGE_BYTES;
	loading_end(&shard->loading);
	/* What somebody waits for is compared at once, or it would wait for what is found for those that are made after it. */
	if (!(hdr->flags & WIRE_F_AHEAD))
		replica_round(shard);
	return true;
}

/* ---- lending ---- */

struct home_tables {
	struct tables tables;
	const struct shard *shard;
};

static const uint8_t *readable_bytes(const struct tables *tables, gpa_t gpa)
{
	const struct shard *shard = container_of(tables, const struct home_tables, tables)->shard;
	rpn_t page;

	return shard_readable(shard, gpa, &page) ? view_bytes(shard->dsm->view, page) : NULL;
}

/* R2. Only settled pages that have gone round get here, so the search need not be quick. */
static bool is_table(const struct shard *shard, rpn_t page)
{
	struct home_tables home = {.tables = {.bytes = readable_bytes}, .shard = shard};
	gpa_t gpa = shard_gpa(shard, page);

	for (size_t i = 0; i < REPLICA_ROOTS; i++) {
		uint64_t root = atomic_load_explicit(&shard->replicas.root[i], memory_order_relaxed);

		if (root && table_is_in(&home.tables, root, root & 1 ? 5 : 4, gpa))
			return true;
	}
	return false;
}

/* Not behind R1: the twin is of the time when the page was lent first, and tells nothing that came later. A LEND that waited for
 * the recall of its own page would wait for ever. */
static void lend(struct shard *shard, struct replica *e, node_t to)
{
	struct wire_hdr hdr = {.type = WIRE_LEND, .epoch = shard->dsm->epoch, .len = PAGE_BYTES, .arg = e->page, .seq = e->gen};

	e->borrowers |= node_bit(to);
	shard_count(&shard->stats.replicas_lent, 1);
	shard_post_now(shard, to, &hdr, e->twin);
}

/* The first lending shows the page as it is now: what was written before to other replicas must be known (R1), or it is not lent.
 * So the bytes are taken first and the replicas compared then: a vCPU of this node may write to both meanwhile. */
static struct replica *lend_first(struct shard *shard, rpn_t page)
{
	struct replicas *r = &shard->replicas;
	uint8_t shown[PAGE_BYTES] __attribute__((aligned(8)));
	struct replica *e;

	if (r->lent == r->home_max || atomic_load_explicit(&r->n, memory_order_relaxed) == REPLICAS_MAX)
		return NULL;
	memcpy(shown, view_bytes(shard->dsm->view, page), PAGE_BYTES);
	if (!table_settled(shown) || !table_maps(shown) || !is_table(shard, page))
		return NULL;
	if (begin_release(shard)) {
		shard_fail(shard, NOT_UP_TO_DATE);
		return NULL;
	}
	if (r->under_way)
		return NULL;
	r->lent++;
	pthread_mutex_lock(&r->lock);
	e = add_locked(r, page, REPLICA_LENT, ++r->gen, shown);
	pthread_mutex_unlock(&r->lock);
	return e;
}

bool replica_request(struct shard *shard, node_t from, rpn_t page, bool write, bool lendable)
{
	struct replicas *r = &shard->replicas;
	struct replica *e = find(r, page, true);

	if (!e && lendable)
		e = lend_first(shard, page);
	if (!e)
		return false;
	/* Who has it does not ask; a broken peer that does waits with those who ask during a recall. */
	if (e->state == REPLICA_RECALLING || e->borrowers & node_bit(from)) {
		*(write ? &e->wait_write : &e->wait_read) |= node_bit(from);
		return true;
	}
	lend(shard, e, from);
	return true;
}

/* ---- messages in ---- */

/* What a borrower wrote goes into our page, word by word, as our own software may be writing other words of it. If both wrote one
 * word without waiting for each other, the guest said that it does not care which is first: ours stays. */
static void merge(struct shard *shard, const struct replica *e, const uint8_t *bytes)
{
	for (size_t at = 0; at < PAGE_BYTES; at += sizeof(uint64_t)) {
		uint64_t old, new;

		memcpy(&old, e->twin + at, sizeof(old));
		memcpy(&new, bytes + at, sizeof(new));
		if (old != new)
			view_exchange(shard->dsm->view, e->page, at, old, new);
	}
}

static int on_give_back(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct replica *e = find(&shard->replicas, hdr->arg, true);

	if (!e || e->gen != hdr->seq || !(e->borrowers & node_bit(from)))
		return -EPROTO;
	e->borrowers &= ~node_bit(from);
	if (payload) {
		merge(shard, e, payload);
		e->owed |= node_bit(from);
	}
	if (e->state == REPLICA_LENT)
		return begin_recall(shard, e);
	return e->borrowers ? 0 : finish_recall(shard, e);
}

static int on_lend(struct shard *shard, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct replicas *r = &shard->replicas;

	if (!payload || atomic_load_explicit(&r->n, memory_order_relaxed) == REPLICAS_MAX)
		return -EPROTO;
	/* All under the lock: once the page is there a vCPU may write it and then ask for a release. */
	pthread_mutex_lock(&r->lock);
	struct replica *e = add_locked(r, hdr->arg, REPLICA_BORROWED, hdr->seq, payload);
	int rc = shard_borrow(shard, hdr->arg, payload);
	if (rc)
		drop_locked(r, e);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

int replica_message(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct replicas *r = &shard->replicas;
	node_t home = shard_home(shard, hdr->arg), self = shard->dsm->config.self;
	struct replica *e;

	if (!dsm_with(shard->dsm, DSM_WITHOUT(REPLICAS)) || (hdr->type == WIRE_GIVE_BACK ? home != self : home != from))
		return -EPROTO;
	switch (hdr->type) {
	case WIRE_LEND:
		return on_lend(shard, hdr, payload);
	case WIRE_RECALL:
		e = find_gen(r, hdr->arg, REPLICA_BORROWED, hdr->seq);
		return e ? give_back(shard, e) : 0; /* it crossed with our own GIVE_BACK */
	case WIRE_GIVE_BACK:
		return on_give_back(shard, from, hdr, payload);
	case WIRE_RELEASED:
		e = find_gen(r, hdr->arg, REPLICA_RETURNING, hdr->seq);
		if (!e)
			return -EPROTO;
		drop(r, e);
		release_if_done(shard);
		return 0;
	default:
		return -EPROTO;
	}
}

int replica_look(struct shard *shard, uint64_t now)
{
	struct replicas *r = &shard->replicas;

	if (!atomic_load_explicit(&r->n, memory_order_relaxed) || r->under_way || now < r->next_look_ns)
		return 0; /* under way: what waits for it need not wait for more */
	r->next_look_ns = now + REPLICA_LOOK_NS;
	return begin_release(shard);
}

bool replica_borrows(const struct replicas *r, rpn_t page)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if (r->replica[i].page == page && r->replica[i].state >= REPLICA_BORROWED)
			return true;
	return false;
}

bool replica_within(const struct replicas *r, rpn_t first, uint64_t pages)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if (r->replica[i].page - first < pages)
			return true;
	return false;
}

bool replica_overdue(const struct replicas *r, uint64_t now, uint64_t ns)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if ((r->replica[i].state == REPLICA_RECALLING || r->replica[i].state == REPLICA_RETURNING) &&
		    now - r->replica[i].since_ns > ns)
			return true;
	return false;
}

/* ---- other threads ---- */

int replica_wake(struct shard *shard)
{
	struct replicas *r = &shard->replicas;
	uint64_t drop_count;
	ssize_t n = read(r->wake_fd, &drop_count, sizeof(drop_count));
	int rc;

	(void)n; /* another wake may have taken it */
	pthread_mutex_lock(&r->lock);
	r->seen = r->wanted; /* before the look: what was written before those tickets is seen by it */
	pthread_mutex_unlock(&r->lock);
	rc = begin_release(shard);
	if (!rc)
		release_if_done(shard);
	return rc;
}

/* Under the lock. In slices, as a shard that has failed serves nobody any more. */
static int await_release_locked(struct shard *shard, uint64_t ticket)
{
	struct replicas *r = &shard->replicas;
	uint64_t end = clock_ns() + RELEASE_TIMEOUT_NS;

	while (r->done < ticket) {
		uint64_t now = clock_ns(), until = MIN(end, now + RELEASE_SLICE_NS);
		struct timespec ts = clock_timespec(until);

		if (now >= end || __atomic_load_n(&shard->failed, __ATOMIC_RELAXED))
			return -ETIMEDOUT;
		pthread_cond_timedwait(&r->cond, &r->lock, &ts);
	}
	return 0;
}

int replicas_release(struct shard *shard)
{
	struct replicas *r = &shard->replicas;
	uint64_t one = 1;
	int rc = 0;

	if (!atomic_load_explicit(&r->n, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&r->lock);
	bool clean = !r->under_way;
	for (uint32_t i = 0; clean && i < atomic_load_explicit(&r->n, memory_order_relaxed); i++)
		clean = !is_dirty(shard, &r->replica[i]);
	if (!clean) {
		uint64_t ticket = ++r->wanted;
		ssize_t n = write(r->wake_fd, &one, sizeof(one));

		(void)n; /* an eventfd takes it unless it is about to overflow */
		rc = await_release_locked(shard, ticket);
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}
