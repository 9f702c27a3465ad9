/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies for who has not asked: when, for a page that many read (readers.h).
 *
 * The first read of such a page after it was written begins a round. Who reads at the same time asks by itself, so the others get
 * their copies one fault's time later, if the home has the bytes then: it supplied the first reader, or has a copy pushed to itself
 * along with it. Nodes that said with their last request that they have no frames to spare are left out.
 *
 * Threads: the shard's. No allocation.
 */
#ifndef DSM_PUSH_H
#define DSM_PUSH_H

#include "dsm/proto.h"
#include "dsm/readers.h"

#define PUSH_DUE    64u /* rounds that wait for their time; one more is not pushed */
#define PUSH_MIN_NS (20 * NS_PER_US)
#define PUSH_MAX_NS (2 * NS_PER_MS)

struct push_due {
	rpn_t page;
	uint64_t nodes, due_ns;
};

struct pushes {
	struct readers readers;
	struct push_due due[PUSH_DUE];
	uint32_t n;
};

struct shard;

/* Before the directory's step with REQ_READ or DONE: sets ev->push. */
void push_before(struct shard *shard, rpn_t page, const struct proto_dir *dir, struct proto_event *ev);
/* After it: what the entry was before and is now. */
void push_after(struct shard *shard, rpn_t page, const struct proto_dir *before, const struct proto_dir *now);
/* Pushes what is due. Returns when the next is, or 0. */
uint64_t push_release(struct shard *shard, uint64_t now);

#endif
