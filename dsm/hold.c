/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/hold.h"

#include <errno.h>

#include "base/clock.h"
#include "dsm/steps.h"

static void obey(struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	struct proto_event ev = {.type = PROTO_EV_MSG, .msg = *msg};
	struct work work = {.page = page};

	steps_settle(shard, steps_cache(shard, &ev, &work));
}

/* Whether the message takes something from this node, and from nobody else: of a copy another copy may be made at any time. */
static bool gives_up(const struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	uint32_t slot = pagetab_find(&shard->pending_tab, page);
	uint8_t right = slot == PAGETAB_NONE ? shard->dsm->cache[page] & 3 : shard->pending[slot].cache.right;

	return (msg->type == PROTO_FWD_READ && right != PROTO_READ) || msg->type == PROTO_FWD_WRITE ||
	       msg->type == PROTO_FWD_GRANT || (msg->type == PROTO_INV && !msg->pass);
}

bool hold_message(struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	uint64_t due = 0;

	if (dsm_with(shard->dsm, DSM_WITHOUT(DAMPING)) && shard->held_count < SHARD_DAMPED && gives_up(shard, page, msg))
		due = damping_until(&shard->damping, page, clock_ns());
	if (!due)
		return false;
	shard->held[shard->held_count++] = (struct shard_held){.due_ns = due, .page = page, .msg = *msg};
	shard_count(&shard->stats.held, 1);
	return true;
}

int hold_early(struct shard *shard, rpn_t page, const struct proto_msg *msg)
{
	if (shard->held_count == SHARD_HELD) {
		shard_fail(shard, "more orders to give up pages came before their pages than this node has room for");
		return -ENOBUFS;
	}
	shard->held[shard->held_count++] = (struct shard_held){.due_ns = HOLD_EARLY, .page = page, .msg = *msg};
	shard->held_early++;
	shard_count(&shard->stats.early, 1);
	return 0;
}

void hold_arrived(struct shard *shard, rpn_t page)
{
	for (uint32_t i = 0; shard->held_early && i < shard->held_count; i++) {
		if (shard->held[i].page != page || shard->held[i].due_ns != HOLD_EARLY)
			continue;
		shard->held[i].due_ns = 0;
		shard->held_early--;
	}
}

bool hold_has(const struct shard *shard, rpn_t first, uint64_t pages)
{
	for (uint32_t i = 0; i < shard->held_count; i++)
		if (shard->held[i].page - first < pages)
			return true;
	return false;
}

uint64_t hold_release(struct shard *shard)
{
	uint64_t now = clock_ns(), next = 0;

	for (uint32_t i = 0; i < shard->held_count && !shard->failed;) {
		struct shard_held h = shard->held[i];

		if (h.due_ns == HOLD_EARLY) {
			i++;
			continue;
		}
		if (h.due_ns > now) {
			next = next ? MIN(next, h.due_ns) : h.due_ns;
			i++;
			continue;
		}
		shard->held[i] = shard->held[--shard->held_count];
		obey(shard, h.page, &h.msg);
	}
	return next;
}
