/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of 2 MiB, each of which a node has in pages or whole. dsm/PROTOCOL.md, "Pushes", has what this means for the protocol.
 *
 *   whole      this node owns every page, nothing is registered, huge pages: the memory of one node costs nothing
 *   in pages   registered; each page has its right
 *
 *      home: whole  --another node asks for a page-->  in pages  --all are its own again, for a while-->  whole
 *      home: whole, never touched  --the same-->  given: in pages here, whole at the node that asked
 *
 * A block is given where its home has no byte of it: the node that asks for one page gets all, by one message without data. One
 * that was merged and had to be split again waits twice as long for the next time, up to BLOCK_QUIET_MAX.
 *
 * Threads: the shard's whose block it is. The entries of struct block are read by dsm_stats as well.
 */
#ifndef DSM_BLOCKS_H
#define DSM_BLOCKS_H

#include "dsm/shard.h"

#define BLOCK_QUIET_MAX 64u /* ticks (dsm_config.tick_ns) */

/* Whether the block of `page` is whole here. */
static inline bool block_is_whole(const struct dsm *dsm, rpn_t page)
{
	return dsm->block[page / BLOCK_PAGES].whole;
}

/* Before a message about a page of a whole block is worked on. -errno, logged. */
CHECKED int block_split(struct shard *shard, rpn_t page);
/* Home, before an event of the page's directory: splits the block; a request for a page of one that was never touched gets the rest
 * of it given. -errno, logged. */
CHECKED int block_asked(struct shard *shard, node_t from, rpn_t page);
/* A request for the page is over: the last one for a page of a block that was given makes it whole. */
void block_settled(struct shard *shard, rpn_t page);
/* WIRE_BLOCK. -EPROTO: the peer may not send it now; -errno, logged. */
CHECKED int block_take(struct shard *shard, node_t from, const struct wire_hdr *hdr);
/* Now and then: merges blocks that are quiet. -errno, logged. */
CHECKED int block_look(struct shard *shard, uint64_t now);

#endif
