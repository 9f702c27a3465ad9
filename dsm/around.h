/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading here and there: blocks of another node of which this one reads ever more pages, in no order that a stream would see, and
 * of which nobody takes its copies away again: the text and tables of a kernel, programs, files in the page cache.
 *
 * Of such a block a read fault asks for its neighbours too, the aligned AROUND_PAGES that it lies in, as far as they are not here.
 * The evidence is a count a block: each read that had to be asked for adds one, each copy that was taken away subtracts
 * AROUND_LOST. From AROUND_READS on neighbours come along, unless a budget has no frame to spare for them.
 *
 * A hint: what comes along is an ordinary copy that nobody waits for. Private to dsm; the shard's thread only.
 */
#ifndef DSM_AROUND_H
#define DSM_AROUND_H

#include "dsm/shard.h"

#define AROUND_PAGES 16u
#define AROUND_READS 48u
#define AROUND_LOST  8u

/* A read fault that was asked for, and belongs to no stream. Asks for the neighbours, if that seems good. */
void around_read(struct shard *shard, rpn_t page);
/* A copy of this node's was taken away. */
void around_lost(struct shard *shard, rpn_t page);

#endif
