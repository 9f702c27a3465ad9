/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/push.h"

#include "base/clock.h"
#include "dsm/steps.h"

void push_before(struct shard *shard, rpn_t page, const struct proto_dir *dir, struct proto_event *ev)
{
	struct dsm *dsm = shard->dsm;
	struct pushes *p = &shard->pushes;
	node_t self = dsm->config.self;
	bool begins = ev->msg.type == PROTO_REQ_READ ? !dir->busy : ev->msg.type == PROTO_DONE && dir->wait_read;

	if (!begins || dir->mode != PROTO_EXCL || dir->lost || ev->exclusive || !dsm_with(dsm, DSM_WITHOUT(PUSHES)))
		return;
	uint64_t nodes =
		readers_push(&p->readers, page) & (shard->with_room | node_bit(self)) & ~(dir->copyset | node_bit(ev->msg.from));
	if (!nodes || p->n == PUSH_DUE)
		return;
	ev->push = dir->copyset & node_bit(self) ? 0 : node_bit(self);
	uint64_t delay = MIN(MAX(shard->damping.fault_ns, PUSH_MIN_NS), PUSH_MAX_NS);
	p->due[p->n++] = (struct push_due){.page = page, .nodes = nodes & ~node_bit(self), .due_ns = clock_ns() + delay};
}

void push_after(struct shard *shard, rpn_t page, const struct proto_dir *before, const struct proto_dir *now)
{
	if (before->mode == PROTO_SHARED && now->mode == PROTO_EXCL)
		readers_written(&shard->pushes.readers, page, before->copyset & ~now->copyset);
}

uint64_t push_release(struct shard *shard, uint64_t now)
{
	struct pushes *p = &shard->pushes;
	uint64_t next = 0;

	for (uint32_t i = 0; i < p->n && !shard->failed;) {
		struct push_due due = p->due[i];

		if (due.due_ns > now) {
			next = next ? MIN(next, due.due_ns) : due.due_ns;
			i++;
			continue;
		}
		p->due[i] = p->due[--p->n];
		for (; due.nodes; due.nodes &= due.nodes - 1)
			steps_settle(shard, steps_push(shard, due.page, (node_t)__builtin_ctzll(due.nodes)));
	}
	return next;
}
