/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exhaustive walk of the coherence protocol: the functions of dsm/proto_*.c themselves, every order of everything.
 *
 * A state is one or two pages on two or three nodes: directory, caches, what the guest view shows, whose bytes are the last
 * writer's, actions still to execute, and the messages in flight (any order of delivery, but for two from one node to another).
 * Moves: a fault at any node at any time, a guest write where the view is writable, an OFFER of a page that a node has, in the runs
 * named "pushes" also a PUSH or GIVE by the home to any node and pushes along with a READ, one message
 * delivered, ONE action executed (another node's moves and guest writes come between any two), in the runs named "loss" also the
 * death of any one node at any moment.
 *
 * Bounded by construction: a node has one request a page in flight, and what is absolute is made relative: transaction numbers
 * to the directory's (which sits at 2^30 - 1, so that each transaction wraps), bytes to "the last writer's or older".
 *
 * Checked in each state: D1, D2, D3, D4, D6, D7, the right and the view agree, a directory at rest knows who holds what, three
 * hops, nobody honest is called a peer fault, whoever is no longer pending was woken or failed. Progress: each delivery and
 * action lowers a rank (so all of them end, no livelock), and where none is left nothing waits (no deadlock).
 *
 * Then the walk proves that it can fail: mutations break the rules here, in the harness, and each must be found.
 * With the argument "more" it also walks 4 nodes and a fault more on 2 pages: three minutes instead of half a one.
 * Exit 0: all as expected. 1: a state that breaks an invariant (its trace is printed), or a mutation not found.
 */
#include "base/clock.h"
#include "tests/model/proto_checks.h"

/* ---- Moves ---- */

static void settle(struct walk *walk, const struct world *before, struct world *after, bool progress)
{
	walk->transitions++;
	for (uint32_t i = 0; i < walk->run->pages; i++) {
		/* P1: one transaction at a time: but for requests and the last word of the home, all in flight is of the one that
		 * runs. */
		const struct page *page = &after->page[i];

		for (uint32_t f = 0; f < page->flights; f++) {
			const struct proto_msg *msg = &page->flight[f].msg;

			if (numbered(msg->type) && msg->seq != page->dir.seq && !is_last_word(msg, i))
				broken(walk, "a message of an old transaction is still in flight");
		}
	}
	if (progress && walk->run->mutation != MUT_DATA_TWICE && rank(walk, after) >= rank(walk, before))
		broken(walk, "livelock: a step that does not lower the rank");
	check_world(walk, after);
	seen_add(&walk->seen, after, walk->run->nodes, walk->run->pages, walk->now);
}

static void fly(struct walk *walk, const struct world *world, struct page *page, const struct proto_action *action, node_t from,
		uint8_t bytes)
{
	enum mutation mutation = walk->run->mutation;
	uint32_t home = (uint32_t)(page - world->page);
	uint32_t copies = mutation == MUT_DATA_TWICE && action->msg.type == PROTO_DATA ? 2 : 1;

	if ((mutation == MUT_DROP_INV && action->msg.type == PROTO_INV) ||
	    (mutation == MUT_DROP_DONE && action->msg.type == PROTO_DONE) ||
	    (mutation == MUT_DROP_DROP && action->msg.type == PROTO_DROP) ||
	    (mutation == MUT_DROP_VOID && action->msg.type == PROTO_VOID) ||
	    (mutation == MUT_RELAY_FORGETS && action->msg.type == PROTO_INV && from != home))
		return;
	for (node_t to = 0; to < walk->run->nodes; to++) {
		if (!(action->to >> to & 1) || world->dead == to + 1)
			continue;
		for (uint32_t i = 0; i < copies; i++) {
			struct flight *f = &page->flight[page->flights];

			if (page->flights + 1 >= FLIGHT) {
				broken(walk, "more messages in flight than a page can have");
				return;
			}
			page->flights++;
			*f = (struct flight){.msg = action->msg, .to = to};
			f->msg.from = from;
			if (action->with_data) {
				f->msg.flags |= PROTO_HAS_DATA;
				f->bytes = mutation == MUT_OLD_BYTES ? BYTES_OLD : bytes;
			}
			if (mutation == MUT_ACKS_SHORT && f->msg.acks && f->msg.type != PROTO_FWD_WRITE &&
			    f->msg.type != PROTO_FWD_GRANT)
				f->msg.acks--;
			if (f->msg.epoch != EPOCH)
				broken(walk, "D7: a message without the epoch");
		}
	}
}

static void cache_event(struct walk *walk, struct world *world, uint32_t i, node_t n, const struct proto_event *ev, uint8_t bytes)
{
	struct proto_ctx ctx = ctx_of(walk, i, n);
	struct place *p = &world->page[i].at[n];
	bool was_pending = p->cache.pending;
	struct proto_actions out;
	enum proto_verdict verdict = proto_cache_step(&p->cache, &ctx, ev, &out);
	struct proto_action swap;

	if (verdict != PROTO_OK && !(verdict == PROTO_GONE && world->dead))
		broken(walk, "honest %s from %u is called %s by the cache", proto_msg_name(ev->msg.type), ev->msg.from,
		       proto_verdict_name(verdict));
	check_hops(walk, ev, &out);
	if (ev->type == PROTO_EV_MSG && ev->msg.type == PROTO_INV && verdict == PROTO_OK &&
	    (p->cache.right != PROTO_NONE || !out.n || out.action[out.n - 1].msg.type != PROTO_ACK ||
	     out.action[out.n - 1].to != 1u << ev->msg.requester))
		broken(walk, "D6: an INV is not obeyed and answered at once");
	if (walk->run->mutation == MUT_NO_WAKE)
		for (uint32_t a = 0; a < out.n; a++)
			out.action[a].wake = false;
	if (was_pending && !p->cache.pending && !wakes(&out))
		broken(walk, "the threads of node %u sleep for ever", n);
	for (uint32_t a = 0; a + 1 < out.n; a++) {
		if ((walk->run->mutation == MUT_LOAD_FIRST && out.action[a + 1].type == PROTO_LOAD) ||
		    (walk->run->mutation == MUT_SEND_FIRST && out.action[a].type == PROTO_UNMAP)) {
			swap = out.action[a];
			out.action[a] = out.action[a + 1];
			out.action[a + 1] = swap;
			break;
		}
	}
	assert(p->todos + out.n <= TODOS);
	for (uint32_t a = 0; a < out.n; a++)
		p->todo[p->todos++] =
			(struct todo){.action = out.action[a], .bytes = out.action[a].type == PROTO_INSTALL ? bytes : 0};
}

/* The home's own cache machine asks for the page, as if a thread there had faulted. */
static void adopt(struct walk *walk, struct world *world, uint32_t i, node_t holder, const struct proto_event *fault)
{
	struct page *page = &world->page[i];

	if (walk->run->mutation == MUT_LAST_DROPPED && page->at[holder].cache.right == PROTO_READ) {
		page->at[holder].cache.right = page->at[holder].view = PROTO_NONE;
		page->at[holder].bytes = BYTES_NONE;
		return;
	}
	cache_event(walk, world, i, i, fault, BYTES_NONE);
}

static void dir_event(struct walk *walk, struct world *world, uint32_t i, const struct proto_event *ev)
{
	struct proto_ctx ctx = ctx_of(walk, i, i);
	struct page *page = &world->page[i];
	struct proto_actions out;
	enum proto_verdict verdict = proto_dir_step(&page->dir, &ctx, ev, &out);

	if (verdict != PROTO_OK && !(verdict == PROTO_GONE && world->dead))
		broken(walk, "honest %s from %u is called %s by the directory", proto_msg_name(ev->msg.type), ev->msg.from,
		       proto_verdict_name(verdict));
	check_hops(walk, ev, &out);
	for (uint32_t a = 0; a < out.n; a++) {
		struct proto_event fault = {.type = PROTO_EV_FAULT_WRITE};

		if (out.action[a].type == PROTO_ADOPT) {
			adopt(walk, world, i, ev->msg.from, &fault);
			continue;
		}
		if (out.action[a].type != PROTO_SEND)
			broken(walk, "the directory touches the page");
		fly(walk, world, page, &out.action[a], i, BYTES_NONE);
	}
}

static void execute(struct walk *walk, struct world *world, uint32_t i, node_t n)
{
	struct page *page = &world->page[i];
	struct place *p = &page->at[n];
	struct todo todo = p->todo[0];
	enum mutation mutation = walk->run->mutation;

	memmove(&p->todo[0], &p->todo[1], --p->todos * sizeof(p->todo[0]));
	switch (todo.action.type) {
	case PROTO_PROTECT:
		if (mutation != MUT_SKIP_PROTECT)
			p->view = PROTO_READ;
		break;
	case PROTO_LOAD:
		if (p->view == PROTO_WRITE)
			broken(walk, "D4: node %u reads bytes to send while its guest can write", n);
		if (p->bytes == BYTES_NONE)
			broken(walk, "D2: node %u sends a page it has not", n);
		p->staged = p->bytes;
		break;
	case PROTO_UNMAP:
		if (mutation == MUT_SKIP_UNMAP)
			break;
		p->view = PROTO_NONE;
		p->bytes = BYTES_NONE;
		break;
	case PROTO_SEND:
		fly(walk, world, page, &todo.action, n, p->staged);
		p->staged = BYTES_NONE;
		break;
	case PROTO_INSTALL:
		if (p->view != PROTO_NONE || p->bytes != BYTES_NONE)
			broken(walk, "D3: node %u installs over a page that it has", n);
		p->view = mutation == MUT_WRITE_EARLY ? p->cache.pending : todo.action.right;
		if (mutation == MUT_WRITE_EARLY && !p->cache.pending)
			p->view = todo.action.right;
		p->bytes = todo.bytes;
		break;
	case PROTO_UPGRADE:
		if (p->view != PROTO_READ)
			broken(walk, "D1: node %u upgrades what is not a read-only page", n);
		p->view = PROTO_WRITE;
		break;
	case PROTO_MAP:
		if (p->view != todo.action.right)
			broken(walk, "MAP at node %u for another right than it has", n);
		break;
	default: /* WAKE, FAIL: threads are not part of the state, any thread may fault at any time */
		break;
	}
}

static void guest_write(struct world *world, uint32_t i, node_t n)
{
	struct page *page = &world->page[i];

	for (node_t other = 0; other < NODES; other++) {
		struct place *p = &page->at[other];

		p->bytes = p->bytes ? BYTES_OLD : BYTES_NONE;
		p->staged = p->staged ? BYTES_OLD : BYTES_NONE;
		for (uint32_t t = 0; t < p->todos; t++)
			p->todo[t].bytes = p->todo[t].bytes ? BYTES_OLD : BYTES_NONE;
	}
	for (uint32_t f = 0; f < page->flights; f++)
		page->flight[f].bytes = page->flight[f].bytes ? BYTES_OLD : BYTES_NONE;
	page->at[n].bytes = BYTES_LAST;
}

static struct flight take(struct page *page, uint32_t f)
{
	struct flight flight = page->flight[f];

	page->flights--;
	memmove(&page->flight[f], &page->flight[f + 1], (page->flights - f) * sizeof(page->flight[0]));
	return flight;
}

/* Nobody pushes to a node that is known to be gone. */
static uint64_t may_push_to(const struct walk *walk, const struct world *world, uint32_t home)
{
	uint64_t all = (1u << walk->run->nodes) - 1;

	return world->dead && world->told >> home & 1 ? all & ~(1u << (world->dead - 1)) : all;
}

/* Whether it waits for its copy, and what comes after it need not. */
static bool is_early(const struct walk *walk, const struct page *page, uint32_t home, const struct flight *flight)
{
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = flight->msg};
	struct proto_ctx ctx = ctx_of(walk, home, flight->to);
	struct proto_cache cache = page->at[flight->to].cache;
	struct proto_actions out;

	return flight->msg.type == PROTO_INV && proto_cache_step(&cache, &ctx, &ev, &out) == PROTO_EARLY;
}

/* Whether another message between the same two nodes was sent before (or after) it. */
static bool has_before(const struct walk *walk, const struct page *page, uint32_t home, uint32_t f)
{
	for (uint32_t i = 0; i < f; i++)
		if (flight_pair(&page->flight[i]) == flight_pair(&page->flight[f]) && !is_early(walk, page, home, &page->flight[i]))
			return true;
	return false;
}

static bool has_after(const struct page *page, uint32_t f)
{
	for (uint32_t i = f + 1; i < page->flights; i++)
		if (flight_pair(&page->flight[i]) == flight_pair(&page->flight[f]))
			return true;
	return false;
}

/* It stays in flight, which is no move, but in a mutation. */
static bool early(struct walk *walk, const struct world *world, uint32_t i, uint32_t f)
{
	struct world next = *world;
	struct flight flight = take(&next.page[i], f);
	const struct proto_action ack = {
		.type = PROTO_SEND,
		.to = (uint64_t)1 << flight.msg.requester,
		.msg = {.type = PROTO_ACK, .epoch = EPOCH, .seq = flight.msg.seq, .requester = flight.msg.requester}};

	if (walk->run->mutation != MUT_EARLY_OBEYED && walk->run->mutation != MUT_EARLY_DROPPED)
		return false;
	if (walk->run->mutation == MUT_EARLY_OBEYED)
		fly(walk, &next, &next.page[i], &ack, flight.to, BYTES_NONE);
	settle(walk, world, &next, true);
	return true;
}

/* Deliveries and actions: what the protocol does by itself. Returns whether there was any. */
static bool expand_progress(struct walk *walk, const struct world *world)
{
	struct world next;
	bool any = false;

	for (uint32_t i = 0; i < walk->run->pages; i++) {
		for (node_t n = 0; n < walk->run->nodes; n++) {
			if (!world->page[i].at[n].todos)
				continue;
			any = true;
			next = *world;
			execute(walk, &next, i, n);
			settle(walk, world, &next, true);
		}
		for (uint32_t f = 0; f < world->page[i].flights; f++) {
			struct flight flight = world->page[i].flight[f];
			struct proto_event ev = {.type = PROTO_EV_MSG, .msg = flight.msg};

			if (world->dead == flight.msg.from + 1 &&
			    !has_after(&world->page[i], f)) { /* the last of what a dead node sent may be lost with it */
				any = true;
				next = *world;
				take(&next.page[i], f);
				settle(walk, world, &next, true);
			}
			if (world->page[i].at[flight.to].todos)
				continue;
			if (walk->run->mutation != MUT_OVERTAKE && has_before(walk, &world->page[i], i, f))
				continue;
			if (is_early(walk, &world->page[i], i, &flight)) {
				any |= early(walk, world, i, f);
				continue;
			}
			bool hinted = flight.msg.type == PROTO_REQ_READ || flight.msg.type == PROTO_DONE;
			uint32_t hints = hinted ? (walk->run->push ? 3 : 2) : 1;
			uint32_t relays =
				walk->run->relay && (flight.msg.type == PROTO_REQ_WRITE || flight.msg.type == PROTO_DONE) ? 2 : 1;
			any = true;
			for (uint32_t hint = 0; hint < hints * relays; hint++) {
				next = *world;
				take(&next.page[i], f);
				ev.exclusive = hint % hints == 1;
				ev.push = hint % hints == 2 ? may_push_to(walk, world, i) : 0;
				ev.relay = hint >= hints;
				if (proto_msg_for_dir(flight.msg.type))
					dir_event(walk, &next, i, &ev);
				else
					cache_event(walk, &next, i, flight.to, &ev, flight.bytes);
				settle(walk, world, &next, true);
			}
		}
	}
	return any;
}

static bool expand_told(struct walk *walk, const struct world *world)
{
	struct world next;
	bool any = false;

	for (node_t n = 0; world->dead && n < walk->run->nodes; n++) {
		struct proto_event ev = {.type = PROTO_EV_PEER_LOST, .peer = world->dead - 1u};

		if (world->dead == n + 1 || world->told >> n & 1)
			continue;
		if (walk->run->mutation == MUT_HOME_NOT_TOLD && n == 0)
			continue;
		if (world->page[0].at[n].todos)
			continue;
		any = true;
		next = *world;
		next.told |= (uint8_t)(1u << n);
		for (uint32_t f = next.page[0].flights; f-- > 0;)
			if (next.page[0].flight[f].to == n && next.page[0].flight[f].msg.from == ev.peer)
				take(&next.page[0], f);
		if (n == 0)
			dir_event(walk, &next, 0, &ev);
		cache_event(walk, &next, 0, n, &ev, BYTES_NONE);
		settle(walk, world, &next, true);
	}
	return any;
}

static void expand_death(struct walk *walk, const struct world *world)
{
	for (node_t n = 0; n < walk->run->nodes; n++) {
		struct world next = *world;
		struct page *page = &next.page[0];

		next.dead = (uint8_t)(n + 1);
		page->at[n] = (struct place){0};
		if (n == 0)
			page->dir = (struct proto_dir){.copyset = 1, .seq = SEQ_BASE};
		for (uint32_t f = page->flights; f-- > 0;)
			if (page->flight[f].to == n)
				take(page, f);
		settle(walk, world, &next, false);
	}
}

/* A node that has the page may offer it at any time, without end: the state space is bounded by one OFFER of each node in flight.
 */
static void expand_offer(struct walk *walk, const struct world *world, uint32_t i, node_t n)
{
	const struct page *page = &world->page[i];
	const struct proto_action offer = {
		.type = PROTO_SEND, .to = (uint64_t)1 << i, .msg = {.type = PROTO_OFFER, .epoch = EPOCH, .requester = n}};
	struct world next = *world;

	if (n == i || page->at[n].cache.right == PROTO_NONE || page->at[n].cache.pending || page->at[n].todos)
		return;
	for (uint32_t f = 0; f < page->flights; f++)
		if (page->flight[f].msg.type == PROTO_OFFER && page->flight[f].msg.from == n)
			return;
	next.faults -= walk->run->faults ? 1 : 0;
	if (walk->run->mutation == MUT_SILENT_DROP && page->at[n].cache.right == PROTO_READ) {
		next.page[i].at[n].cache.right = next.page[i].at[n].view = PROTO_NONE;
		next.page[i].at[n].bytes = BYTES_NONE;
	} else {
		fly(walk, &next, &next.page[i], &offer, n, BYTES_NONE);
	}
	settle(walk, world, &next, false);
}

/* The home pushes a copy to n, or gives it the page, whenever it likes. One last word of each node in flight bounds the states. */
static void expand_push(struct walk *walk, const struct world *world, uint32_t i, node_t n)
{
	const struct page *page = &world->page[i];

	if (n == i || (page->dir.busy && !page->dir.reading) || page->dir.copyset >> n & 1 ||
	    !(may_push_to(walk, world, i) >> n & 1))
		return;
	for (uint32_t f = 0; f < page->flights; f++)
		if (page->flight[f].to == n && is_last_word(&page->flight[f].msg, i))
			return;
	for (uint8_t type = PROTO_EV_PUSH; type <= PROTO_EV_GIVE; type++) {
		struct proto_event ev = {.type = type, .peer = n};
		struct world next = *world;

		next.faults -= walk->run->faults ? 1 : 0;
		if (walk->run->mutation == MUT_SILENT_PUSH) {
			const struct proto_action push = {.type = PROTO_SEND,
							  .to = (uint64_t)1 << n,
							  .with_data = true,
							  .msg = {.type = PROTO_DATA,
								  .flags = PROTO_PUSH,
								  .right = PROTO_READ,
								  .epoch = EPOCH,
								  .seq = page->dir.seq,
								  .requester = n}};

			if (page->at[i].view != PROTO_READ)
				continue;
			fly(walk, &next, &next.page[i], &push, i, page->at[i].bytes);
		} else {
			dir_event(walk, &next, i, &ev);
		}
		settle(walk, world, &next, false);
	}
}

static void expand_guest(struct walk *walk, const struct world *world)
{
	struct world next;

	for (uint32_t i = 0; i < walk->run->pages; i++) {
		for (node_t n = 0; n < walk->run->nodes; n++) {
			const struct place *p = &world->page[i].at[n];

			if (world->dead == n + 1)
				continue;
			if (p->view == PROTO_WRITE) {
				next = *world;
				guest_write(&next, i, n);
				settle(walk, world, &next, false);
			}
			if (p->todos || (walk->run->faults && !world->faults))
				continue;
			expand_offer(walk, world, i, n);
			if (walk->run->push && world->dead != i + 1)
				expand_push(walk, world, i, n);
			for (uint8_t type = PROTO_EV_FAULT_READ; type <= PROTO_EV_FAULT_WRITE; type++) {
				struct proto_event ev = {.type = type};

				next = *world;
				next.faults -= walk->run->faults ? 1 : 0;
				cache_event(walk, &next, i, n, &ev, BYTES_NONE);
				settle(walk, world, &next, false);
			}
		}
	}
}

/* Walks everything reachable. True: nothing broken. */
static bool walk_all(struct walk *walk, const struct run *run)
{
	struct world world = {.faults = run->faults};

	*walk = (struct walk){.run = run};
	for (uint32_t i = 0; i < run->pages; i++) {
		for (node_t n = 0; n < run->nodes; n++) {
			struct proto_ctx ctx = ctx_of(walk, i, n);

			proto_cache_init(&world.page[i].at[n].cache, &ctx);
			if (n == i)
				proto_dir_init(&world.page[i].dir, &ctx);
		}
		world.page[i].dir.seq = SEQ_BASE;
		world.page[i].at[i].view = PROTO_WRITE;
		world.page[i].at[i].bytes = BYTES_LAST;
	}
	seen_add(&walk->seen, &world, run->nodes, run->pages, 0);
	for (walk->now = 0; walk->now < walk->seen.n && !walk->broken[0]; walk->now++) {
		bool any;

		seen_get(&walk->seen, walk->now, run->nodes, run->pages, &world);
		if (run->pages == 1 && !world.dead)
			check_stale(walk, &world);
		any = expand_progress(walk, &world);
		any |= expand_told(walk, &world);
		if (!any)
			check_end(walk, &world);
		if (run->loss && !world.dead)
			expand_death(walk, &world);
		expand_guest(walk, &world);
	}
	return !walk->broken[0];
}

static bool run_clean(const struct run *run)
{
	uint64_t start = clock_ns();
	struct walk walk;
	bool good = walk_all(&walk, run);

	printf("%-44s %9u states %10llu transitions depth %3u %6.1f s  %s\n", run->name, walk.seen.n,
	       (unsigned long long)walk.transitions, walk.seen.one[walk.seen.n - 1].depth,
	       (double)(clock_ns() - start) / (double)NS_PER_SEC, good ? "ok" : walk.broken);
	if (!good) {
		printf("how it comes to that (then one more move):\n");
		print_trace(&walk, walk.now - 1);
	}
	fflush(stdout);
	seen_free(&walk.seen);
	return good;
}

static bool run_mutated(enum mutation mutation)
{
	struct run run = {.name = mutation_names[mutation], .nodes = 3, .pages = 1, .loss = mutation == MUT_HOME_NOT_TOLD};

	run.push = mutation == MUT_DROP_VOID || mutation == MUT_SILENT_PUSH;
	run.relay = mutation == MUT_RELAY_FORGETS || mutation == MUT_EARLY_OBEYED || mutation == MUT_EARLY_DROPPED;
	struct walk walk;
	bool found;

	run.mutation = mutation;
	found = !walk_all(&walk, &run);
	printf("mutation: %-34s %s %s (after %u states)\n", run.name, found ? "found:" : "NOT FOUND", walk.broken, walk.seen.n);
	fflush(stdout);
	seen_free(&walk.seen);
	return found;
}

int main(int argc, char **argv)
{
	static const struct run runs[] = {
		{.name = "3 nodes, 1 page", .nodes = 3, .pages = 1},
		{.name = "3 nodes, 1 page, loss of any node", .nodes = 3, .pages = 1, .loss = true},
		{.name = "3 nodes, 1 page, pushes, loss of any", .nodes = 3, .pages = 1, .push = true, .loss = true},
		{.name = "3 nodes, 1 page, pushes", .nodes = 3, .pages = 1, .push = true},
		{.name = "3 nodes, 1 page, relays", .nodes = 3, .pages = 1, .relay = true},
		{.name = "3 nodes, 1 page, relays, loss of any", .nodes = 3, .pages = 1, .relay = true, .loss = true},
		{.name = "3 nodes, 1 page, relays, pushes, loss of any",
		 .nodes = 3,
		 .pages = 1,
		 .relay = true,
		 .push = true,
		 .loss = true},
		{.name = "3 nodes, 1 page, relays, pushes", .nodes = 3, .pages = 1, .relay = true, .push = true},
		{.name = "2 nodes, 2 pages of different homes", .nodes = 2, .pages = 2},
		{.name = "3 nodes, 2 pages, any 3 faults or offers", .nodes = 3, .pages = 2, .faults = 3},
	};
	static const struct run more[] = {
		{.name = "3 nodes, 2 pages, any 4 faults or offers", .nodes = 3, .pages = 2, .faults = 4},
		{.name = "4 nodes, 1 page", .nodes = 4, .pages = 1},
		{.name = "4 nodes, 1 page, relays", .nodes = 4, .pages = 1, .relay = true},
	};
	bool good = true;

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		good &= run_clean(&runs[i]);
	for (size_t i = 0; argc > 1 && !strcmp(argv[1], "more") && i < ARRAY_SIZE(more); i++)
		good &= run_clean(&more[i]);
	for (int mutation = MUT_NONE + 1; mutation < MUT_END; mutation++)
		good &= run_mutated((enum mutation)mutation);
	return good ? 0 : 1;
}
