/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/steps.h"

int run_init(struct shard_runs *runs)
{
	runs->reply.buffer = malloc(WIRE_RUN_PAYLOAD_MAX);
	return runs->reply.buffer ? 0 : -ENOMEM;
}

void run_destroy(struct shard_runs *runs)
{
	free(runs->reply.buffer);
}

/* ---- the requester asks ---- */

static void post_request(struct shard *shard)
{
	struct run_asked *asked = &shard->runs.asked;
	struct wire_hdr hdr = asked->hdr;

	if (!hdr.acks)
		return;
	asked->hdr.acks = 0;
	hdr.type = hdr.acks > 1 ? WIRE_RUN_REQ : WIRE_REQ_READ;
	hdr.acks = hdr.acks > 1 ? hdr.acks : 0;
	shard_post(shard, asked->home, &hdr, NULL);
}

void run_asks(struct shard *shard)
{
	shard->runs.asked.open = dsm_with(shard->dsm, DSM_WITHOUT(RUNS));
}

bool run_gathers(struct shard *shard, node_t home, const struct wire_hdr *hdr)
{
	struct run_asked *asked = &shard->runs.asked;
	rpn_t next = asked->hdr.arg + asked->hdr.acks;

	if (!asked->open || hdr->type != WIRE_REQ_READ || !(hdr->flags & WIRE_F_AHEAD) || hdr->len)
		return false;
	if (hdr->arg != next || home != asked->home || asked->hdr.acks == WIRE_RUN_PAGES || next % BLOCK_PAGES == 0) {
		post_request(shard);
		asked->hdr = *hdr;
		asked->home = home;
	}
	asked->hdr.acks++;
	asked->hdr.flags = hdr->flags; /* ROOM: of now */
	return true;
}

void run_asked(struct shard *shard)
{
	shard->runs.asked.open = false;
	post_request(shard);
}

/* ---- the home answers ---- */

bool run_sends(struct shard *shard, rpn_t page, uint64_t to, const struct proto_msg *msg)
{
	struct run_reply *reply = &shard->runs.reply;

	if (!reply->open || to != node_bit(reply->to) || msg->type != PROTO_DATA || msg->right != PROTO_READ || msg->acks ||
	    msg->flags & PROTO_PUSH || msg->seq >= KEPT_MIN_SEQ)
		return false;
	if (reply->n == 0)
		reply->first = page;
	else if (page != reply->first + reply->n || page % BLOCK_PAGES == 0 || reply->n == WIRE_RUN_PAGES)
		return false;
	reply->msg[reply->n++] = *msg;
	reply->put_off = true;
	return true;
}

bool run_has_put_off(struct shard_runs *runs)
{
	bool was = runs->reply.put_off;

	runs->reply.put_off = false;
	return was;
}

/* Some of the pages are zero, or there is no room for all in one message: each by itself. */
static void post_singly(struct shard *shard, const uint8_t *pages, uint32_t zero)
{
	struct run_reply *reply = &shard->runs.reply;

	for (uint32_t i = 0; i < reply->n && !shard->failed; i++)
		steps_send(shard, reply->to, reply->first + i, &reply->msg[i], zero >> i & 1 ? NULL : pages + i * PAGE_BYTES, true);
}

/* The pages so far. Nothing of them has left, so their bytes may be read now as well as before. */
static int post_reply(struct shard *shard)
{
	struct run_reply *reply = &shard->runs.reply;
	uint32_t n = reply->n, seqs = n * (uint32_t)sizeof(uint32_t), zero;
	struct wire_hdr hdr = {
		.type = WIRE_RUN_DATA,
		.flags = WIRE_F_AHEAD,
		.epoch = shard->dsm->epoch,
		.len = seqs + n * (uint32_t)PAGE_BYTES,
		.arg = reply->first,
		.acks = (uint16_t)n,
		.node = (uint16_t)reply->to,
	};
	uint8_t *bytes = NULL;

	if (!n)
		return 0;
	bool together = n > 1 && hdr.len <= net_payload_max(shard->lane) && replica_has_room(shard, hdr.len);
	loading_end(&shard->loading);
	if (together)
		bytes = loading_begin(&shard->loading, shard->lane, reply->to, &hdr, replica_slot(shard, hdr.len));
	if (!bytes || bytes == shard->loading.buffer) /* which has room for one page */
		bytes = reply->buffer;
	int rc = view_load(shard->dsm->view, reply->first, n, bytes + seqs, &zero);
	if (rc)
		return rc;
	if (together && !zero) {
		for (uint32_t i = 0; i < n; i++)
			memcpy(bytes + i * sizeof(uint32_t), &reply->msg[i].seq, sizeof(uint32_t));
		shard_count(&shard->stats.pages_out, n);
		shard_count(&shard->stats.pages_out_run, n);
		shard_post(shard, reply->to, &hdr, bytes);
		loading_end(&shard->loading);
	} else {
		if (bytes != reply->buffer)
			memcpy(reply->buffer, bytes, hdr.len);
		loading_end(&shard->loading);
		post_singly(shard, reply->buffer + seqs, zero);
	}
	reply->n = 0;
	return 0;
}

void run_serve(struct shard *shard, node_t from, const struct wire_hdr *hdr)
{
	struct run_reply *reply = &shard->runs.reply;

	reply->to = from;
	for (uint32_t i = 0; i < hdr->acks && !shard->failed; i++) {
		struct wire_hdr one = {
			.type = WIRE_REQ_READ, .flags = hdr->flags, .epoch = hdr->epoch, .arg = hdr->arg + i, .node = hdr->node};

		/* A page that goes another way ends the run so far: the next one is no neighbour of it. */
		uint32_t before = reply->n;
		reply->open = true;
		shard_message(shard, from, &one, NULL);
		reply->open = false;
		if (reply->n == before && !shard->failed)
			steps_settle(shard, post_reply(shard));
	}
	if (!shard->failed)
		steps_settle(shard, post_reply(shard));
	reply->n = 0;
}

/* ---- the requester takes ---- */

static int fill_in(struct shard *shard)
{
	struct run_taken *taken = &shard->runs.taken;
	uint32_t n = taken->n;

	taken->n = 0;
	return n ? view_install(shard->dsm->view, taken->first, n, taken->bytes, false, taken->wake) : 0;
}

int run_install(struct shard *shard, rpn_t page, const uint8_t *bytes, bool writable, bool wake)
{
	struct run_taken *taken = &shard->runs.taken;
	int rc = 0;

	if (!taken->open || writable || !bytes)
		return view_install(shard->dsm->view, page, 1, bytes, writable, wake);
	if (taken->n && (page != taken->first + taken->n || bytes != taken->bytes + taken->n * PAGE_BYTES))
		rc = fill_in(shard);
	if (!taken->n) {
		taken->first = page;
		taken->bytes = bytes;
		taken->wake = false;
	}
	taken->n++;
	taken->wake |= wake;
	return rc;
}

void run_take(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	const uint8_t *pages = payload + hdr->acks * sizeof(uint32_t);

	shard->runs.taken.open = true;
	for (uint32_t i = 0; i < hdr->acks && !shard->failed; i++) {
		struct wire_hdr one = {.type = WIRE_DATA,
				       .flags = hdr->flags,
				       .epoch = hdr->epoch,
				       .len = PAGE_BYTES,
				       .arg = hdr->arg + i,
				       .node = hdr->node};

		memcpy(&one.seq, payload + i * sizeof(one.seq), sizeof(one.seq));
		shard_message(shard, from, &one, pages + i * PAGE_BYTES);
	}
	shard->runs.taken.open = false;
	if (!shard->failed)
		steps_settle(shard, fill_in(shard));
	shard->runs.taken.n = 0;
}
