/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migrating pages: what who reads next writes, one node after the other, as data under a lock goes. Such a page is better given
 * away at once, writable, than read first and upgraded then: one fault and one request instead of two.
 *
 * A byte a page of this home tells whether it migrates and who read it last. It is a hint for the protocol (PROTOCOL.md, H2), so a
 * wrong one costs time only. Evidence is a node that upgrades the copy that it was the last to read, with only one other holder.
 * The other holder's upgrade, or a third sharer, is evidence of the contrary. A page that migrates is probed every HISTORY_PROBE
 * transactions: one reader gets a mere copy, and has to show that it writes.
 *
 * Pure; the shard whose page it is calls.
 */
#ifndef DSM_HISTORY_H
#define DSM_HISTORY_H

#include "base/types.h"

#define HISTORY_PROBE 4u

/* A request of `from` has come; copyset and seq are the directory entry's, before it is served. Returns whether a reader of this
 * page, if it is one node's alone, had better own it. */
bool history_request(uint8_t *history, node_t from, bool write, uint64_t copyset, uint32_t seq);

/* The same for a reader that waited. */
bool history_migrates(uint8_t history);

#endif
