/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that ask this node to give a page up, and that wait a moment, as damping.h says, so that its vCPUs get something done
 * with the page; or for the copy that they are about, which is on its way from the home (PROTO_EARLY). Private to dsm; the shard's
 * thread only; shard.held has them.
 */
#ifndef DSM_HOLD_H
#define DSM_HOLD_H

#include "dsm/shard.h"

#define HOLD_EARLY UINT64_MAX /* due_ns of an order that waits for its copy */

/* Takes such a message; false: it is to be obeyed now. */
bool hold_message(struct shard *shard, rpn_t page, const struct proto_msg *msg);
/* Keeps an order that came before its copy. -ENOBUFS, after the machine was told: there is no room. */
CHECKED int hold_early(struct shard *shard, rpn_t page, const struct proto_msg *msg);
/* A message of the page has come: what waited for it is due. */
void hold_arrived(struct shard *shard, rpn_t page);
/* Whether one about these pages waits. */
bool hold_has(const struct shard *shard, rpn_t first, uint64_t pages);
/* Obeys what is due. Returns when the next is, or 0. */
uint64_t hold_release(struct shard *shard);

#endif
