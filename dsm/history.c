/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/history.h"

/* Bits 0..5: who read last. Bit 6: that node is known. Bit 7: the page migrates. */
#define READER   0x3fu
#define KNOWN    0x40u
#define MIGRATES 0x80u

_Static_assert(NODES_MAX <= READER + 1, "a node has to fit");

bool history_migrates(uint8_t history)
{
	return history & MIGRATES;
}

bool history_request(uint8_t *history, node_t from, bool write, uint64_t copyset, uint32_t seq)
{
	bool was_last = (*history & KNOWN) && (*history & READER) == from;
	bool sharer = copyset >> from & 1;

	if (!write) {
		/* A probe starts from nothing: the upgrade that follows, or does not, decides. */
		uint8_t keep = seq % HISTORY_PROBE ? *history & MIGRATES : 0;

		*history = (uint8_t)(keep | KNOWN | from);
		return keep;
	}
	if (sharer) {
		bool evidence = was_last && __builtin_popcountll(copyset) == 2;

		*history = (uint8_t)((*history & (READER | KNOWN)) | (evidence ? MIGRATES : 0));
	}
	return *history & MIGRATES;
}
