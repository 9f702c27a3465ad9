/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/around.h"

#include "dsm/steps.h"

void around_read(struct shard *shard, rpn_t page)
{
	struct dsm *dsm = shard->dsm;
	struct block *block = &dsm->block[page / BLOCK_PAGES];
	rpn_t first = page & ~(rpn_t)(AROUND_PAGES - 1), end = MIN(first + AROUND_PAGES, dsm->node_first[dsm->config.nodes]);

	block->reads += block->reads < UINT8_MAX;
	if (block->reads < AROUND_READS || !dsm_with(dsm, DSM_WITHOUT(AROUND)))
		return;
	run_asks(shard);
	for (rpn_t p = first; p < end && !shard->failed; p++) {
		struct proto_event ev = {.type = PROTO_EV_FAULT_READ};

		if (!steps_lacks(shard, p, false))
			continue;
		if (!steps_may_ask_ahead(shard))
			break;
		shard_count(&shard->stats.around, 1);
		steps_settle(shard, steps_cache(shard, &ev, &(struct work){.page = p, .ahead = true}));
	}
	run_asked(shard);
}

void around_lost(struct shard *shard, rpn_t page)
{
	struct block *block = &shard->dsm->block[page / BLOCK_PAGES];

	block->reads -= MIN(block->reads, AROUND_LOST);
}
