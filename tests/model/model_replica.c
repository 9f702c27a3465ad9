/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exhaustive walk of replicas (dsm/replica.h, PROTOCOL.md): not a model of them but shard.c, steps.c, proto.c and replica.c as they
 * ship, of two or three nodes, in every order of events.
 *
 * A move: a message in flight is delivered, of each pair of nodes and page the first (P3); a node's thread faults on the table (to
 * read it, or as a processor that walks as a writer) or on the ordinary page; a node writes its entry in the table, where its view
 * is writable; a node writes to the ordinary page all that it knows; a node wants to send an interrupt to another (dsm_release); a
 * node looks whether a replica was written. What a node does with one event is one move, so other nodes come between any two
 * events, not into the middle of one. In runs with rounds the end of a round, when R1 lets messages go, is a move of its own:
 * another event of the node may come before it, and writes. Writes to the table are bounded, and so is everything else by that.
 *
 * What a node knows: its own writes to the table, and what it has read: in the ordinary page, in the table, or got by an interrupt.
 *
 * Checked in each state: R1, a table that a node can read has every write that the node knows of; D2 of the ordinary page; no
 * honest message is refused. From each state on, delivery alone leads to an end (R3) at which nobody waits, and where no replica
 * differs every copy has every write: none is lost.
 *
 * Then the walk proves that it can fail: mutations of the harness must be found. With the argument "more" it walks more writes.
 * Exit 0: all as expected; 1: a state that breaks an invariant (its trace is printed), or a mutation not found.
 */
#include <stdio.h>

#include "tests/model/replica_rig.h"

enum mutation {
	MUT_NONE,
	MUT_NO_R1,
	MUT_AHEAD_NO_R1,
	MUT_TWIN_FOLLOWS,
	MUT_LOSE_RECALL,
	MUT_LOSE_RELEASED,
	MUT_OLD_GIVE_BACK,
	MUT_END
};

static const char *const mutation_names[MUT_END] = {
	[MUT_NO_R1] = "messages do not wait for a release", [MUT_AHEAD_NO_R1] = "what is asked ahead does not wait",
	[MUT_TWIN_FOLLOWS] = "the twin follows the page",   [MUT_LOSE_RECALL] = "a RECALL vanishes",
	[MUT_LOSE_RELEASED] = "a RELEASED vanishes",        [MUT_OLD_GIVE_BACK] = "GIVE_BACK carries old bytes",
};

struct run {
	const char *name;
	node_t nodes;
	uint32_t writes; /* of all nodes to the table */
	uint32_t faults; /* 0: any number */
	node_t flag_home;
	bool interrupts; /* nodes tell each other by interrupts, too */
	bool rounds;     /* the end of a round is a move of its own */
	bool reads;      /* software reads the table; otherwise only walks fault on it */
	bool aheads;     /* the ordinary page is asked for ahead, too: the reply waits for the end of a round, others do not */
	enum mutation mutation;
};

struct walk {
	const struct run *run;
	struct rig *rig;
	struct seen seen;
	uint64_t transitions;
	uint32_t now; /* the state being expanded */
	bool ending;  /* a state is followed to its end */
};

static void save(struct walk *walk)
{
	uint8_t key[KEY_BYTES];
	struct codec codec = {.at = key + 2, .writing = true};

	code_rig(&codec, walk->rig);
	uint16_t len = (uint16_t)(codec.at - key - 2);
	assert(len <= KEY_BYTES - 2);
	memcpy(key, &len, 2);
	seen_put(&walk->seen, key, walk->now);
}

static void load(struct walk *walk, uint32_t index)
{
	struct codec codec = {.at = (uint8_t *)(uintptr_t)seen_key(&walk->seen, index) + 2};

	code_rig(&codec, walk->rig);
	walk->rig->moves[0] = 0;
}

/* ---- what is checked ---- */

static bool readable(const struct rig *rig, node_t n, unsigned page)
{
	return simview_right(rig->sim.view[n], rig->page[page]) != PROTO_NONE;
}

static void learn(const struct rig *rig, struct words *known, const struct words *more)
{
	for (node_t n = 0; n < rig->nodes; n++)
		known->of[n] = MAX(known->of[n], more->of[n]);
}

/* A program may read whatever is readable at any time: so it has. */
static void check_state(struct rig *rig)
{
	for (node_t n = 0; n < rig->nodes; n++) {
		struct words here;

		if (readable(rig, n, PAGE_FLAG)) {
			here = words_here(rig, n, PAGE_FLAG);
			if (memcmp(&here, &rig->flag, sizeof(here)) != 0)
				broken(rig, "D2: node %u has an old ordinary page", n);
			learn(rig, &rig->known[n], &here);
		}
		if (!readable(rig, n, PAGE_TABLE))
			continue;
		here = words_here(rig, n, PAGE_TABLE);
		for (node_t m = 0; m < rig->nodes; m++)
			if (here.of[m] < rig->known[n].of[m])
				broken(rig, "R1: node %u knows %u writes of node %u and sees %u in the table", n,
				       rig->known[n].of[m], m, here.of[m]);
		learn(rig, &rig->known[n], &here);
	}
}

static bool differs(const struct rig *rig, node_t n)
{
	const struct replicas *r = &shard_at(rig, n)->replicas;

	for (uint32_t i = 0; i < r->n; i++)
		if ((r->replica[i].state == REPLICA_LENT || r->replica[i].state == REPLICA_BORROWED) &&
		    memcmp(r->replica[i].twin, view_bytes(rig->sim.view[n], TABLE), PAGE_BYTES) != 0)
			return true;
	return false;
}

/* Nothing is in flight. */
static void check_end(struct rig *rig)
{
	bool clean = true;

	for (node_t n = 0; n < rig->nodes; n++) {
		const struct shard *shard = shard_at(rig, n);

		if (shard->pending_tab.used || shard->busy_tab.used || rig->asleep[n][PAGE_TABLE] || rig->asleep[n][PAGE_FLAG])
			broken(rig, "deadlock: node %u waits, and nothing is in flight", n);
		if (shard->replicas.under_way || shard->replicas.count || rig->interrupts[n])
			broken(rig, "R3: a recall does not end at node %u", n);
		clean &= !differs(rig, n);
	}
	for (node_t n = 0; clean && n < rig->nodes; n++) {
		struct words here = words_here(rig, n, PAGE_TABLE);

		for (node_t m = 0; readable(rig, n, PAGE_TABLE) && m < rig->nodes; m++)
			if (here.of[m] != rig->known[m].of[m])
				broken(rig, "a write of node %u is lost: node %u sees %u of %u", m, n, here.of[m],
				       rig->known[m].of[m]);
	}
}

/* ---- moves ---- */

static void mutate(struct walk *walk)
{
	struct rig *rig = walk->rig;

	for (node_t n = 0; n < rig->nodes; n++) {
		struct replicas *r = &shard_at(rig, n)->replicas;

		for (uint32_t i = 0; walk->run->mutation == MUT_TWIN_FOLLOWS && i < r->n; i++)
			if (r->replica[i].state == REPLICA_LENT || r->replica[i].state == REPLICA_BORROWED)
				memcpy(r->replica[i].twin, view_bytes(rig->sim.view[n], TABLE), PAGE_BYTES);
		for (; (walk->run->mutation == MUT_NO_R1 || walk->run->mutation == MUT_AHEAD_NO_R1) && r->count;
		     r->count--, r->first = (r->first + 1) % REPLICAS_WAITING) {
			const struct replica_message *m = &r->waiting[r->first];

			if (walk->run->mutation == MUT_AHEAD_NO_R1 && !(m->hdr.flags & WIRE_F_AHEAD))
				break;
			(void)lane_send(&rig->lane[n].lane, m->to, &m->hdr, m->payload);
			r->checked = 0;
		}
	}
}

/* An interrupt leaves when all that was written before it is known: what a thread that waits in replicas_release does then. */
static void send_interrupts(struct rig *rig)
{
	for (node_t n = 0; n < rig->nodes; n++) {
		struct replicas *r = &shard_at(rig, n)->replicas;

		if (!rig->interrupts[n] || r->done < r->wanted)
			continue;
		if (rig->flights == FLIGHTS) {
			broken(rig, "more messages in flight than there can be");
			return;
		}
		rig->flight[rig->flights++] = (struct flight){.from = n, .to = rig->interrupts[n] - 1u, .words = rig->told[n]};
		rig->interrupts[n] = 0;
	}
}

#define ROUND 2u /* events in a round of which one sends something that waits for its end */

/* A node has done what an event asks for; `last`: and its round is over. */
static void settle(struct walk *walk, node_t n, bool last)
{
	struct rig *rig = walk->rig;
	const struct replicas *r = &shard_at(rig, n)->replicas;

	mutate(walk);
	if (walk->run->rounds && !walk->ending && !last && r->count != r->checked) {
		rig->open[n]++;
	} else {
		shard_flush(shard_at(rig, n));
		rig->open[n] = 0;
	}
	send_interrupts(rig);
	check_state(rig);
}

static void note(struct rig *rig, const char *what, node_t from, node_t to)
{
	size_t used = strlen(rig->moves);

	snprintf(rig->moves + used, sizeof(rig->moves) - used, "; %s %u->%u", what, from, to);
}

static const char *flight_name(const struct flight *f)
{
	return f->hdr.type == INTERRUPT ? "interrupt" : wire_type_name(f->hdr.type);
}

static void deliver(struct walk *walk, uint32_t index)
{
	struct rig *rig = walk->rig;
	struct flight f = rig->flight[index];

	note(rig, flight_name(&f), f.from, f.to);
	memmove(&rig->flight[index], &rig->flight[index + 1], (--rig->flights - index) * sizeof(f));
	if (f.hdr.type == INTERRUPT) {
		learn(rig, &rig->known[f.to], &f.words);
		check_state(rig);
		return;
	}
	rig->incoming = &f;
	(void)shard_serve_messages(shard_at(rig, f.to));
	settle(walk, f.to, false);
}

static void fault(struct walk *walk, node_t n, unsigned page, enum proto_right want)
{
	struct rig *rig = walk->rig;

	note(rig, want == PROTO_READ ? "read fault on page" : "write fault on page", n, page);
	rig->asleep[n][page] = want;
	rig->has_fault = true;
	(void)shard_serve_faults(shard_at(rig, n));
	settle(walk, n, false);
}

/* What look_ahead (shard.c) does for each page. */
static void ask_ahead(struct walk *walk, node_t n)
{
	struct rig *rig = walk->rig;
	struct proto_event ev = {.type = PROTO_EV_FAULT_READ};
	struct work work = {.page = rig->page[PAGE_FLAG], .ahead = true};

	note(rig, "asks ahead for page", n, PAGE_FLAG);
	steps_settle(shard_at(rig, n), steps_cache(shard_at(rig, n), &ev, &work));
	settle(walk, n, false);
}

/* The first lines of replicas_release, then what it wakes. */
static void want_interrupt(struct walk *walk, node_t n, node_t to)
{
	struct rig *rig = walk->rig;
	struct replicas *r = &shard_at(rig, n)->replicas;

	rig->interrupts[n] = (uint8_t)(to + 1);
	rig->told[n] = rig->known[n];
	if (r->under_way || differs(rig, n)) {
		r->wanted++;
		steps_settle(shard_at(rig, n), replica_wake(shard_at(rig, n)));
	}
	settle(walk, n, false);
}

/* A state that was reached: kept, and followed to its end by delivery alone. False: something is broken. */
static bool reached(struct walk *walk)
{
	struct rig *rig = walk->rig;
	uint32_t before = walk->seen.n;

	walk->transitions++;
	if (rig->broken[0])
		return false;
	save(walk);
	if (walk->seen.n == before)
		return true;
	walk->ending = true;
	for (node_t n = 0; n < rig->nodes; n++)
		if (rig->open[n])
			settle(walk, n, true);
	for (unsigned i = 0; i < 300 && rig->flights && !rig->broken[0]; i++)
		deliver(walk, 0);
	walk->ending = false;
	if (rig->flights)
		broken(rig, "R3: delivery alone does not come to an end");
	check_end(rig);
	return !rig->broken[0];
}

static bool in_order(const struct walk *walk, uint32_t index)
{
	const struct flight *f = walk->rig->flight;

	for (uint32_t i = 0; i < index; i++)
		if (f[i].from == f[index].from && f[i].to == f[index].to && f[i].hdr.arg == f[index].hdr.arg &&
		    (f[i].hdr.type == INTERRUPT) == (f[index].hdr.type == INTERRUPT))
			return false;
	return true;
}

static bool expand_deliveries(struct walk *walk)
{
	uint32_t flights = walk->rig->flights;

	for (uint32_t i = 0; i < flights; i++) {
		load(walk, walk->now);
		if (!in_order(walk, i) ||
		    (walk->rig->open[walk->rig->flight[i].to] == ROUND && walk->rig->flight[i].hdr.type != INTERRUPT))
			continue;
		deliver(walk, i);
		if (!reached(walk))
			return false;
	}
	return true;
}

static bool expand_faults(struct walk *walk, node_t n)
{
	struct rig *rig = walk->rig;

	for (unsigned page = 0; page < PAGES; page++)
		for (enum proto_right want = PROTO_READ; want <= PROTO_WRITE; want++) {
			if (page == PAGE_TABLE && want == PROTO_READ && !walk->run->reads)
				continue;
			load(walk, walk->now);
			if (rig->open[n] == ROUND ||
			    simview_allows(rig->sim.view[n], rig->page[page], want == PROTO_WRITE, &rig->fault) ||
			    rig->asleep[n][page] >= want)
				continue;
			if (walk->run->faults && rig->faults == walk->run->faults)
				continue;
			rig->faults += walk->run->faults ? 1 : 0;
			fault(walk, n, page, want);
			if (!reached(walk))
				return false;
		}
	return true;
}

static bool expand_aheads(struct walk *walk, node_t n)
{
	struct rig *rig = walk->rig;

	load(walk, walk->now);
	if (!walk->run->aheads || rig->open[n] == ROUND || !steps_lacks(shard_at(rig, n), rig->page[PAGE_FLAG], false) ||
	    (walk->run->faults && rig->faults == walk->run->faults))
		return true;
	rig->faults += walk->run->faults ? 1 : 0;
	ask_ahead(walk, n);
	return reached(walk);
}

static uint32_t writes_so_far(const struct rig *rig)
{
	uint32_t sum = 0;

	for (node_t n = 0; n < rig->nodes; n++)
		sum += rig->known[n].of[n];
	return sum;
}

static bool expand_writes(struct walk *walk, node_t n)
{
	struct rig *rig = walk->rig;
	struct words words;

	load(walk, walk->now);
	if (simview_right(rig->sim.view[n], TABLE) == PROTO_WRITE && writes_so_far(rig) < walk->run->writes) {
		words = words_here(rig, n, PAGE_TABLE);
		words.of[n] = ++rig->known[n].of[n];
		set_words(rig, PAGE_TABLE, simview_at(rig->sim.view[n], TABLE), &words);
		mutate(walk);
		check_state(rig);
		if (!reached(walk))
			return false;
	}
	load(walk, walk->now);
	if (simview_right(rig->sim.view[n], rig->page[PAGE_FLAG]) == PROTO_WRITE &&
	    memcmp(&rig->flag, &rig->known[n], sizeof(rig->flag)) != 0) {
		rig->flag = rig->known[n];
		set_words(rig, PAGE_FLAG, simview_at(rig->sim.view[n], rig->page[PAGE_FLAG]), &rig->flag);
		check_state(rig);
		if (!reached(walk))
			return false;
	}
	return true;
}

static bool expand_looks(struct walk *walk, node_t n)
{
	struct rig *rig = walk->rig;

	load(walk, walk->now);
	if (!differs(rig, n) || rig->open[n] == ROUND)
		return true;
	steps_settle(shard_at(rig, n), replica_look(shard_at(rig, n), 1));
	settle(walk, n, false);
	return reached(walk);
}

static bool expand_rounds(struct walk *walk, node_t n)
{
	load(walk, walk->now);
	if (!walk->rig->open[n])
		return true;
	note(walk->rig, "end of a round", n, n);
	settle(walk, n, true);
	return reached(walk);
}

static bool expand_interrupts(struct walk *walk, node_t n)
{
	struct rig *rig = walk->rig;

	for (node_t to = 0; walk->run->interrupts && to < rig->nodes; to++) {
		bool news = false;

		load(walk, walk->now);
		for (node_t m = 0; m < rig->nodes; m++)
			news |= rig->known[n].of[m] > rig->known[to].of[m];
		for (uint32_t i = 0; i < rig->flights; i++) /* one at a time between two nodes */
			news &= rig->flight[i].hdr.type != INTERRUPT || rig->flight[i].from != n || rig->flight[i].to != to;
		if (to == n || rig->interrupts[n] || !news || rig->open[n] == ROUND)
			continue;
		want_interrupt(walk, n, to);
		if (!reached(walk))
			return false;
	}
	return true;
}

static bool walk_all(struct walk *walk, const struct run *run)
{
	static const uint8_t lost[MUT_END] = {[MUT_LOSE_RECALL] = WIRE_RECALL, [MUT_LOSE_RELEASED] = WIRE_RELEASED};
	bool good;

	*walk = (struct walk){.run = run, .rig = rig_new(run->nodes, run->flag_home)};
	walk->rig->drop = lost[run->mutation];
	walk->rig->old_bytes = run->mutation == MUT_OLD_GIVE_BACK;
	good = reached(walk);
	for (; good && walk->now < walk->seen.n; walk->now++) {
		load(walk, walk->now);
		good = expand_deliveries(walk);
		for (node_t n = 0; good && n < run->nodes; n++)
			good = expand_faults(walk, n) && expand_aheads(walk, n) && expand_writes(walk, n) &&
			       expand_looks(walk, n) && expand_rounds(walk, n) && expand_interrupts(walk, n);
	}
	return good;
}

/* ---- for people ---- */

static void print_state(const struct rig *rig)
{
	static const char rights[] = "-RW";
	static const char *const states[] = {"lent", "recalling", "borrowed", "returning"};

	for (node_t n = 0; n < rig->nodes; n++) {
		const struct replicas *r = &shard_at(rig, n)->replicas;

		printf("    node %u:", n);
		for (unsigned p = 0; p < PAGES; p++) {
			struct words w = words_here(rig, n, p);
			bool pending = pagetab_find(&shard_at(rig, n)->pending_tab, rig->page[p]) != PAGETAB_NONE;

			printf(" %s %c", p == PAGE_TABLE ? "table" : "flag", rights[simview_right(rig->sim.view[n], rig->page[p])]);
			for (node_t m = 0; readable(rig, n, p) && m < rig->nodes; m++)
				printf("%s%u", m ? "," : " ", w.of[m]);
			printf("%s", pending ? " pending" : "");
		}
		printf(" knows");
		for (node_t m = 0; m < rig->nodes; m++)
			printf("%s%u", m ? "," : " ", rig->known[n].of[m]);
		for (uint32_t i = 0; i < r->n; i++)
			printf(" %s gen %u borrowers %x owed %x", states[r->replica[i].state], r->replica[i].gen - GEN_BASE,
			       (unsigned)r->replica[i].borrowers, (unsigned)r->replica[i].owed);
		printf("%s%s\n", r->count ? " messages wait" : "", rig->interrupts[n] ? " interrupt waits" : "");
	}
	printf("    in flight:");
	for (uint32_t i = 0; i < rig->flights; i++)
		printf(" %s(%s) %u->%u", flight_name(&rig->flight[i]), rig->flight[i].hdr.arg == TABLE ? "table" : "flag",
		       rig->flight[i].from, rig->flight[i].to);
	printf("\n");
}

static void print_trace(struct walk *walk, uint32_t index)
{
	if (walk->seen.one[index].depth)
		print_trace(walk, walk->seen.one[index].parent);
	load(walk, index);
	printf("  %u:\n", walk->seen.one[index].depth);
	print_state(walk->rig);
}

static bool run_clean(const struct run *run)
{
	struct walk walk;
	bool good = walk_all(&walk, run);

	printf("%-62s %9u states %10llu transitions depth %3u  %s\n", run->name, walk.seen.n, (unsigned long long)walk.transitions,
	       walk.seen.one[walk.seen.n - 1].depth, good ? "ok" : walk.rig->broken);
	if (!good) {
		printf("how it comes to that; after the last of these states%s:\n", walk.rig->moves);
		print_trace(&walk, walk.now ? walk.now - 1 : 0); /* the loop had stepped on */
	}
	fflush(stdout);
	seen_free(&walk.seen);
	rig_free(walk.rig);
	return good;
}

/* Three nodes: of two, whose messages stay in order, the one gets all that is sent after a RECALL or GIVE_BACK after it anyway. */
static bool run_mutated(enum mutation mutation)
{
	bool ahead = mutation == MUT_AHEAD_NO_R1;
	struct run run = {.name = mutation_names[mutation],
			  .nodes = 3,
			  .writes = 1,
			  .faults = 4,
			  .rounds = ahead,
			  .aheads = ahead,
			  .mutation = mutation};
	struct walk walk;
	bool found = !walk_all(&walk, &run);

	printf("mutation: %-34s %s %s (after %u states)\n", run.name, found ? "found:" : "NOT FOUND", walk.rig->broken,
	       walk.seen.n);
	fflush(stdout);
	seen_free(&walk.seen);
	rig_free(walk.rig);
	return found;
}

int main(int argc, char **argv)
{
	static const struct run runs[] = {
		{.name = "2 nodes, 1 write, software reads the table", .nodes = 2, .writes = 1, .reads = true, .interrupts = true},
		{.name = "2 nodes, 2 writes", .nodes = 2, .writes = 2, .interrupts = true},
		{.name = "2 nodes, 2 writes, homes apart", .nodes = 2, .writes = 2, .flag_home = 1, .interrupts = true},
		{.name = "3 nodes, 1 write, any 4 faults", .nodes = 3, .writes = 1, .faults = 4},
		{.name = "2 nodes, 1 write, rounds", .nodes = 2, .writes = 1, .interrupts = true, .rounds = true},
		{.name = "2 nodes, 2 writes, rounds", .nodes = 2, .writes = 2, .interrupts = true, .rounds = true},
		{.name = "3 nodes, 1 write, any 4 faults, rounds", .nodes = 3, .writes = 1, .faults = 4, .rounds = true},
		{.name = "2 nodes, 1 write, rounds, ahead",
		 .nodes = 2,
		 .writes = 1,
		 .interrupts = true,
		 .rounds = true,
		 .aheads = true},
		{.name = "2 nodes, 2 writes, rounds, ahead, homes apart",
		 .nodes = 2,
		 .writes = 2,
		 .flag_home = 1,
		 .rounds = true,
		 .aheads = true},
		{.name = "3 nodes, 1 write, any 4 faults, rounds, ahead",
		 .nodes = 3,
		 .writes = 1,
		 .faults = 4,
		 .rounds = true,
		 .aheads = true},
	};
	static const struct run more[] = {
		{.name = "2 nodes, 2 writes, software reads the table", .nodes = 2, .writes = 2, .reads = true, .interrupts = true},
		{.name = "3 nodes, 1 write, any 5 faults", .nodes = 3, .writes = 1, .faults = 5},
		{.name = "3 nodes, 1 write, any 5 faults, homes apart", .nodes = 3, .writes = 1, .faults = 5, .flag_home = 2},
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
