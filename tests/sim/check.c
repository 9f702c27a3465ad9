/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a run: nothing is under way, so the directory must be right about everything. */
#include <string.h>

#include "tests/sim/sim.h"

/* A page of page tables that its home has lent (replica.h): several nodes have it writable, and the directory does not know. */
static uint64_t borrowers_of(const struct sim *sim, node_t home, rpn_t page)
{
	const struct replicas *r = &sim->dsm[home]->shard[0].replicas;

	for (uint32_t i = 0; i < r->n; i++)
		if (r->replica[i].page == page && r->replica[i].state <= REPLICA_RECALLING)
			return r->replica[i].borrowers;
	return 0;
}

static void check_page(struct sim *sim, node_t home, rpn_t page)
{
	struct proto_ctx ctx = {.self = home, .home = home, .nodes = sim->options.nodes, .epoch = sim->dsm[home]->epoch};
	uint64_t lent = borrowers_of(sim, home, page);
	struct proto_dir dir;

	proto_dir_unpack(sim->dsm[home]->dir[page - home * SIM_HOME_PAGES], &ctx, &dir);
	for (node_t n = 0; n < sim->options.nodes; n++) {
		bool holds = dir.copyset >> n & 1;
		enum proto_right said = !holds ? PROTO_NONE : dir.mode == PROTO_EXCL ? PROTO_WRITE : PROTO_READ;
		enum proto_right shown = simview_right(sim->view[n], page);
		struct proto_cache cache;

		if (lent >> n & 1)
			said = PROTO_WRITE;
		if (simview_is_private(sim->view[n], page)) {
			if (n != home || said != PROTO_WRITE)
				sim_fail(sim, "page %llu is private at node %u, which is not its only holder",
					 (unsigned long long)page, n);
			cache.right = PROTO_WRITE;
		} else {
			proto_cache_unpack(sim->dsm[n]->cache[page], &cache);
		}
		if (cache.right != said)
			sim_fail(sim, "P2: the directory gives node %u the right %u to page %llu, and it has %u", n, said,
				 (unsigned long long)page, cache.right);
		/* A page of ours that was never touched is a hole, and one may be protected ahead of who asks for it. */
		if (shown != said && said != PROTO_WRITE)
			sim_fail(sim, "node %u has the right %u to page %llu, its view shows %u", n, said, (unsigned long long)page,
				 shown);
		if (shown != PROTO_NONE &&
		    memcmp(view_bytes(sim->view[n], page), sim->truth + (page << PAGE_SHIFT), PAGE_BYTES) != 0)
			sim_fail(sim, "D2: node %u has old bytes in page %llu", n, (unsigned long long)page);
	}
}

void sim_check_rest(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->options.nodes * sim->options.shards; i++) {
		const struct shard *shard = sim->actor[i].shard;

		if (shard->pending_tab.used || shard->busy_tab.used || shard->held_count || shard->self_count ||
		    shard->replicas.under_way || shard->replicas.count)
			sim_fail(sim,
				 "shard %u of node %u is not at rest: %u requests, %u transactions, %u held, %u replicas under way",
				 i % sim->options.shards, i / sim->options.shards, shard->pending_tab.used, shard->busy_tab.used,
				 shard->held_count, shard->replicas.under_way);
	}
	for (node_t home = 0; home < sim->options.nodes; home++)
		for (rpn_t p = home * SIM_HOME_PAGES; p < (home + 1) * SIM_HOME_PAGES; p++)
			check_page(sim, home, p);
}
