/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four nodes of which all but one lie as they like: any message in any state. No assert of the protocol may fire, a peer's
 * fault changes nothing, actions stay in their bounds, and both machines keep what their structs promise.
 */
#include <assert.h>

#include "dsm/proto.h"
#include "tests/fuzz/fuzz.h"

static void check_dir(const struct proto_dir *dir, node_t nodes)
{
	uint64_t all = nodes == 64 ? UINT64_MAX : ((uint64_t)1 << nodes) - 1;

	assert(dir->copyset && !(dir->copyset & ~all));
	assert(dir->mode == PROTO_SHARED || __builtin_popcountll(dir->copyset) == 1);
	assert(!(dir->wait_read & dir->wait_write));
	assert(dir->busy || (!dir->wait_read && !dir->wait_write && !dir->involved && !dir->requester && !dir->reading));
	assert(!dir->reading || (dir->mode == PROTO_SHARED && !(dir->reading & ~dir->copyset & ~dir->involved)));
	assert(!dir->lost || !dir->busy);
	if (proto_dir_idle(dir)) {
		struct proto_ctx ctx = {.nodes = nodes};
		struct proto_dir back;

		proto_dir_unpack(proto_dir_pack(dir), &ctx, &back);
		assert(!memcmp(dir, &back, sizeof(back)));
	}
}

static void check_cache(const struct proto_cache *cache)
{
	assert(cache->right <= PROTO_WRITE && cache->pending <= PROTO_WRITE);
	assert(cache->right < cache->pending || !cache->pending || !cache->started); /* or it was pushed */
	assert(!cache->pending || !cache->lost);
	assert(cache->pending || (!cache->acked && !cache->seq && !cache->acks && !cache->started && !cache->reply));
}

static void check_actions(const struct proto_actions *out, const struct proto_ctx *ctx)
{
	uint64_t all = ctx->nodes == 64 ? UINT64_MAX : ((uint64_t)1 << ctx->nodes) - 1;

	assert(out->n <= PROTO_ACTIONS_MAX);
	for (uint32_t i = 0; i < out->n; i++) {
		const struct proto_action *action = &out->action[i];

		if (action->type != PROTO_SEND)
			continue;
		assert(action->to && !(action->to & ~all));
		assert(action->msg.requester < ctx->nodes && action->msg.seq <= PROTO_SEQ_MASK);
		assert(action->with_data == (action->msg.type == PROTO_DATA));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct proto_ctx ctx = {.epoch = fuzz_u8(&in) & 1 ? 0 : UINT32_MAX};
	struct proto_dir dir = {0};
	struct proto_cache cache;

	ctx.nodes = fuzz_u8(&in) & 1 ? 64 : 4;
	ctx.self = fuzz_u8(&in) % 4;
	ctx.home = fuzz_u8(&in) & 1 ? ctx.self : 3;
	proto_dir_init(&dir, &ctx);
	dir.seq = fuzz_u32(&in) & PROTO_SEQ_MASK;
	proto_cache_init(&cache, &ctx);
	while (in.left) {
		struct proto_event ev = {.type = fuzz_u8(&in) % (PROTO_EV_GIVE + 1)};
		struct proto_dir dir_before = dir;
		struct proto_cache cache_before = cache;
		struct proto_actions out;
		enum proto_verdict verdict;
		uint8_t shape = fuzz_u8(&in);
		bool to_dir;

		ev.exclusive = shape & 1;
		ev.push = fuzz_u8(&in) & 0xf;
		ev.peer = fuzz_u8(&in) % ctx.nodes;
		ev.msg.type = fuzz_u8(&in) % (PROTO_MSG_END + 1);
		ev.msg.from = fuzz_u8(&in) % ctx.nodes;
		/* Mostly what a message of this type looks like, so that the input gets past the first checks. */
		ev.msg.requester = shape & 2 ? fuzz_u8(&in) : proto_msg_for_dir(ev.msg.type) ? ev.msg.from : fuzz_u8(&in) % 4;
		ev.msg.epoch = ctx.epoch + (shape & 4 ? fuzz_u32(&in) : 0);
		ev.msg.seq = shape & 8 ? fuzz_u32(&in) : ev.msg.type <= PROTO_REQ_WRITE ? 0 : dir.seq + (fuzz_u8(&in) & 3) - 1;
		ev.msg.flags = shape & 16 ? fuzz_u8(&in) & 7 : ev.msg.type == PROTO_DATA ? PROTO_ZERO : 0;
		ev.msg.right = shape & 32 ? fuzz_u8(&in) : ev.msg.type == PROTO_DATA ? PROTO_READ + (shape & 1) : 0;
		ev.relay = shape & 2;
		ev.msg.pass = ev.msg.type == PROTO_INV && shape & 1 ? fuzz_u8(&in) : shape & 8 ? fuzz_u32(&in) : 0;
		ev.msg.acks = shape & 64 ? fuzz_u8(&in) & 3 : 0;
		if (ev.type == PROTO_EV_PEER_LOST && (ev.peer == ctx.self))
			continue;
		to_dir = ev.type == PROTO_EV_MSG ? proto_msg_for_dir(ev.msg.type) || shape & 128 : shape & 128;
		if (ev.type == PROTO_EV_FAULT_READ || ev.type == PROTO_EV_FAULT_WRITE)
			to_dir = false;
		if (ev.type == PROTO_EV_PEER_LOST && ctx.self != ctx.home)
			to_dir = false;
		if (ev.type == PROTO_EV_PUSH || ev.type == PROTO_EV_GIVE) {
			if (ctx.self != ctx.home || ev.peer == ctx.self)
				continue;
			to_dir = true;
		}
		if (to_dir)
			verdict = proto_dir_step(&dir, &ctx, &ev, &out);
		else
			verdict = proto_cache_step(&cache, &ctx, &ev, &out);
		check_dir(&dir, ctx.nodes);
		check_cache(&cache);
		check_actions(&out, &ctx);
		if (verdict == PROTO_PEER_FAULT || verdict == PROTO_STALE || verdict == PROTO_TIMED_OUT || verdict == PROTO_EARLY) {
			assert(!memcmp(&dir, &dir_before, sizeof(dir)) && !memcmp(&cache, &cache_before, sizeof(cache)));
			assert(out.n == 0 || (verdict == PROTO_STALE && out.n <= 2 && out.action[out.n - 1].msg.type == PROTO_ACK));
		}
	}
	return 0;
}
