/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways to use memory. Each node n is home of `pages` pages that a pattern uses, page_of(n, 0) and up. Every first phase writes
 * what is read later, so that pages have bytes, and touches each home's block from elsewhere, so that it is split already.
 */
#include "tests/sim/sim.h"

#define SPLIT_PAGE  (SIM_HOME_PAGES - 1)
#define TABLE_ENTRY 0x63u /* present, writable, accessed, dirty */

static rpn_t page_of(const struct sim *sim, node_t home, uint64_t i)
{
	return home % sim->options.nodes * SIM_HOME_PAGES + i % sim->options.pages;
}

static enum next read_page(struct sim *sim, struct access *access, rpn_t page)
{
	*access = (struct access){.page = page, .word = (unsigned)sim_random(sim, SIM_WORDS)};
	return NEXT_ACCESS;
}

static enum next write_page(struct sim *sim, struct access *access, rpn_t page)
{
	*access = (struct access){.page = page, .word = (unsigned)sim_random(sim, SIM_WORDS), .write = true};
	return NEXT_ACCESS;
}

/* The first phase of most: vCPU 0 of each node writes its own pages. */
static enum next fill_own(struct sim *sim, const struct vcpu *v, struct access *access)
{
	if (v->index || v->step >= sim->options.pages)
		return NEXT_END;
	return write_page(sim, access, page_of(sim, v->node, v->step));
}

/* The second: a page of the next node is touched, which splits its block. */
static enum next split_next(struct sim *sim, const struct vcpu *v, struct access *access)
{
	if (v->index || v->step)
		return NEXT_END;
	return read_page(sim, access, (v->node + 1) % sim->options.nodes * SIM_HOME_PAGES + SPLIT_PAGE);
}

static enum next prepare(struct sim *sim, const struct vcpu *v, struct access *access)
{
	return sim->phase == 0 ? fill_own(sim, v, access) : split_next(sim, v, access);
}

/* ---- private: nobody else uses the pages ---- */

static enum next private_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	if (v->step >= (uint64_t)sim->options.rounds * sim->options.pages)
		return NEXT_END;
	rpn_t page = page_of(sim, v->node, v->step);
	return v->step & 1 ? read_page(sim, access, page) : write_page(sim, access, page);
}

/* The pages have another home, as those of a node that gives memory only. They fault once. */
static enum next away_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->index || v->step >= (uint64_t)sim->options.rounds * sim->options.pages)
		return NEXT_END;
	return write_page(sim, access, page_of(sim, v->node + 1, v->step));
}

/* ---- read-shared: everybody reads what the homes wrote ---- */

static enum next shared_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	uint64_t pages = sim->options.pages, others = sim->options.nodes - 1;

	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->step >= pages * others * sim->options.rounds)
		return NEXT_END;
	/* Each begins with another home, so that no home is asked by all at a time. */
	return read_page(sim, access, page_of(sim, v->node + 1 + (node_t)(v->step / pages % others), v->step + v->index));
}

/* All read the same page of node 0 at the same time, then the next. */
static enum next burst_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	uint64_t page = v->step;

	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->index || v->step >= sim->options.pages)
		return NEXT_END;
	/* turn: who has read it; the next page is begun together */
	if (page && sim->turn[page - 1] < sim->options.nodes)
		return NEXT_WAIT;
	sim->turn[page]++;
	return read_page(sim, access, page_of(sim, 0, page));
}

/* ---- migratory: a page goes from node to node, each reads and then writes it ---- */

static enum next migratory_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	node_t nodes = sim->options.nodes;
	uint64_t visit = v->step / 2; /* of this vCPU: a read, then a write */

	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->index || visit >= (uint64_t)sim->options.rounds * nodes)
		return NEXT_END;
	/* In visit k node n has the page that began at node n - k; it must have been at n - 1 before. */
	node_t home = (node_t)((v->node + nodes - visit % nodes) % nodes);
	rpn_t page = page_of(sim, home, 0);
	if (v->step % 2) {
		sim->turn[page]++; /* after the access: nobody looks at it before, as the write is tried first */
		return write_page(sim, access, page);
	}
	if (sim->turn[page] < visit)
		return NEXT_WAIT;
	return read_page(sim, access, page);
}

/* ---- producer-consumer: node n writes for node n + 1 ---- */

static enum next pair_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	uint64_t pages = sim->options.pages, rounds = sim->options.rounds;

	if (sim->phase < 2)
		return prepare(sim, v, access);
	/* vCPU 0 of a node produces its page i, then consumes page i of the node before it. */
	if (v->index || v->step >= 2 * pages * rounds)
		return NEXT_END;
	uint64_t item = v->step / 2;
	rpn_t mine = page_of(sim, v->node, item), theirs = page_of(sim, v->node + sim->options.nodes - 1, item);
	if (v->step % 2 == 0) {
		/* turn: twice the items produced, and one more when the last was consumed */
		if (sim->turn[mine] < 2 * (item / pages))
			return NEXT_WAIT;
		sim->turn[mine]++;
		return write_page(sim, access, mine);
	}
	if (sim->turn[theirs] < 2 * (item / pages) + 1)
		return NEXT_WAIT;
	sim->turn[theirs]++;
	return read_page(sim, access, theirs);
}

/* Node 0 writes a page of node 1, all others read it, at once or each when it gets to it, and again. */
static enum next publish_next(struct sim *sim, struct vcpu *v, struct access *access, uint64_t think_ns)
{
	uint32_t consumers = sim->options.nodes - 1;

	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->index || v->step >= (uint64_t)sim->options.rounds * sim->options.pages)
		return NEXT_END;
	rpn_t page = page_of(sim, 1, v->step);
	uint64_t round = v->step / sim->options.pages;
	/* turn: of a round, 1 when it was written, and who has read it */
	if (v->node == 0) {
		if (sim->turn[page] < round * (1 + consumers))
			return NEXT_WAIT;
		sim->turn[page]++;
		return write_page(sim, access, page);
	}
	if (sim->turn[page] < round * (1 + consumers) + 1)
		return NEXT_WAIT;
	if (think_ns && v->thought <= v->step) {
		v->thought = v->step + 1;
		v->until_ns = sim->now + sim_random(sim, think_ns);
		return NEXT_THINK;
	}
	sim->turn[page]++;
	return read_page(sim, access, page);
}

static enum next broadcast_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	return publish_next(sim, v, access, 0);
}

static enum next mostly_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	return publish_next(sim, v, access, NS_PER_MS);
}

/* ---- invalidate: only the write is measured, of a page of which there are copies ---- */

static uint32_t sharers_of(const struct sim *sim)
{
	uint32_t others = sim->options.nodes - 1;

	return sim->options.sharers && sim->options.sharers < others ? sim->options.sharers : others;
}

static enum next invalidate(struct sim *sim, const struct vcpu *v, struct access *access, node_t writer)
{
	node_t nodes = sim->options.nodes;
	/* Whoever is home has no copy unless all have. */
	uint32_t after = (v->node + nodes - (writer ? writer : 0)) % nodes;

	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->index || v->step >= sim->options.pages)
		return NEXT_END;
	rpn_t page = page_of(sim, 0, v->step);
	if (sim->phase == 2) /* the writer takes them from their home */
		return v->node == writer ? write_page(sim, access, page) : NEXT_END;
	if (sim->phase == 3)
		return v->node != writer && after <= sharers_of(sim) ? read_page(sim, access, page) : NEXT_END;
	return v->node == writer ? write_page(sim, access, page) : NEXT_END;
}

static enum next invalidate_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	return invalidate(sim, v, access, 1);
}

static enum next invalidate_home_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	return invalidate(sim, v, access, 0);
}

/* ---- mixed: anybody reads and writes anything ---- */

static enum next mixed_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	if (sim->phase < 2)
		return prepare(sim, v, access);
	if (v->step >= (uint64_t)sim->options.rounds * sim->options.pages)
		return NEXT_END;
	rpn_t page = page_of(sim, (node_t)sim_random(sim, sim->options.nodes), sim_random(sim, sim->options.pages));
	return sim_random(sim, 4) ? read_page(sim, access, page) : write_page(sim, access, page);
}

/* ---- tables: page tables that every node walks as a writer (replica.h) ---- */

#define TABLE_LEVELS 4u

static enum next tables_next(struct sim *sim, struct vcpu *v, struct access *access)
{
	unsigned level = (unsigned)v->step;

	if (sim->phase == 0) { /* node 0 makes a tree: pages 1 to 4, the last one maps page 5 */
		if (v->index || v->node || level == TABLE_LEVELS)
			return NEXT_END;
		*access = (struct access){
			.page = level + 1, .write = true, .raw = true, .value = (uint64_t)(level + 2) << PAGE_SHIFT | TABLE_ENTRY};
		return NEXT_ACCESS;
	}
	if (v->step == 0)
		dsm_root(sim->dsm[v->node], 1 << PAGE_SHIFT, false);
	if (v->step >= sim->options.rounds * 8ull)
		return NEXT_END;
	*access = (struct access){.page = TABLE_LEVELS, .walk = true};
	return NEXT_ACCESS;
}

const struct pattern sim_patterns[] = {
	{.name = "private", .what = "each node uses pages of its own", .phases = 1, .next = private_next},
	{.name = "private-away", .what = "each node alone uses pages whose home is another", .phases = 3, .next = away_next},
	{.name = "read-shared", .what = "every node reads the pages of every other", .phases = 3, .next = shared_next},
	{.name = "read-burst", .what = "all nodes read one page at the same time", .phases = 3, .next = burst_next},
	{.name = "migratory", .what = "a page goes round, each node reads and writes it", .phases = 3, .next = migratory_next},
	{.name = "producer-consumer", .what = "a node writes what the next one reads", .phases = 3, .next = pair_next},
	{.name = "broadcast", .what = "one node writes what all others read", .phases = 3, .next = broadcast_next},
	{.name = "read-mostly", .what = "the same, each of the others within a millisecond", .phases = 3, .next = mostly_next},
	{.name = "invalidate", .what = "a write of a page with a copy on every other node", .phases = 5, .next = invalidate_next},
	{.name = "invalidate-home", .what = "the same by the page's home", .phases = 5, .next = invalidate_home_next},
	{.name = "mixed",
	 .what = "every node reads and writes any page, one write in four accesses",
	 .phases = 3,
	 .next = mixed_next},
	{.name = "tables", .what = "all nodes walk page tables as writers", .phases = 3, .next = tables_next},
};
const size_t sim_patterns_n = ARRAY_SIZE(sim_patterns);
