/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world of the protocol walker: pages, nodes, messages in flight; and the set of worlds already seen.
 *
 * A world becomes a short key, and comes back from it, through one function that names each field with its width and refuses a
 * value that does not fit. Worlds that behave the same have the same key: messages are sorted by their two ends (and stay in order
 * between them), transaction numbers are counted back from the directory's, which after decoding is SEQ_BASE. For model_proto.c
 * alone; one thread.
 */
#ifndef TESTS_MODEL_PROTO_WORLD_H
#define TESTS_MODEL_PROTO_WORLD_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/proto.h"
#include "tests/model/seen.h"

#define NODES    4
#define PAGES    2
#define FLIGHT   16
#define TODOS    5 /* a cache's step has no more actions */
#define EPOCH    7u
#define SEQ_BASE PROTO_SEQ_MASK /* so each transaction wraps */

enum bytes { BYTES_NONE, BYTES_OLD, BYTES_LAST }; /* LAST: of the last writer */

struct flight {
	struct proto_msg msg;
	node_t to;
	uint8_t bytes; /* DATA */
};

struct todo {
	struct proto_action action;
	uint8_t bytes; /* INSTALL: of the message it came with */
};

struct place { /* one page at one node */
	struct proto_cache cache;
	uint8_t view;   /* enum proto_right: the page-table entry */
	uint8_t bytes;  /* behind it */
	uint8_t staged; /* LOADed, not sent yet */
	uint32_t todos;
	struct todo todo[TODOS];
};

struct page {
	struct proto_dir dir;
	struct place at[NODES];
	uint32_t flights;
	struct flight flight[FLIGHT];
};

struct world {
	uint32_t faults; /* left to happen, if the run bounds them */
	uint8_t dead;    /* node + 1 */
	uint8_t told;    /* survivors that know */
	struct page page[PAGES];
};

/* ---- Keys ---- */

struct codec {
	uint8_t *at;
	bool writing;
	uint64_t word;
	uint32_t bits;
};

static inline uint64_t code(struct codec *codec, uint64_t v, uint32_t width)
{
	if (codec->writing) {
		assert(!(v >> width));
		codec->word |= v << codec->bits;
		codec->bits += width;
		for (; codec->bits >= 8; codec->bits -= 8, codec->word >>= 8)
			*codec->at++ = (uint8_t)codec->word;
		return v;
	}
	for (; codec->bits < width; codec->bits += 8)
		codec->word |= (uint64_t)*codec->at++ << codec->bits;
	v = codec->word & ((1u << width) - 1);
	codec->word >>= width;
	codec->bits -= width;
	return v;
}

#define CODE(codec, field, width) ((field) = (__typeof__(field))code(codec, (uint64_t)(field), width))

/* seq counts back from the directory's. Only a last word of the home can be older than the transaction before, and then nothing
 * compares how much. */
static inline void code_seq(struct codec *codec, uint32_t *seq, uint32_t newest)
{
	uint32_t back = (newest - *seq) & PROTO_SEQ_MASK;

	back = MIN(back, 3u);
	CODE(codec, back, 2);
	*seq = (newest - back) & PROTO_SEQ_MASK;
}

/* Part of a transaction. VOID is the answer to a request that made none. */
static inline bool numbered(uint8_t type)
{
	return type > PROTO_REQ_WRITE && type != PROTO_OFFER && type != PROTO_VOID;
}

static inline void code_msg(struct codec *codec, struct proto_msg *msg, uint32_t newest)
{
	CODE(codec, msg->type, 4);
	CODE(codec, msg->flags, 3);
	CODE(codec, msg->right, 2);
	CODE(codec, msg->acks, 2);
	CODE(codec, msg->from, 2);
	CODE(codec, msg->requester, 2);
	if (msg->type == PROTO_INV)
		CODE(codec, msg->pass, NODES);
	msg->epoch = EPOCH;
	if (numbered(msg->type))
		code_seq(codec, &msg->seq, newest);
}

static inline void code_place(struct codec *codec, struct place *place, uint32_t newest)
{
	struct proto_cache *cache = &place->cache;

	CODE(codec, cache->right, 2);
	CODE(codec, cache->lost, 1);
	CODE(codec, cache->pending, 2);
	if (cache->pending) {
		CODE(codec, cache->acked, NODES);
		CODE(codec, cache->acks, 2);
		CODE(codec, cache->reply, 1);
		CODE(codec, cache->started, 1);
		if (cache->started)
			code_seq(codec, &cache->seq, newest);
	}
	CODE(codec, place->view, 2);
	CODE(codec, place->bytes, 2);
	CODE(codec, place->staged, 2);
	CODE(codec, place->todos, 3);
	for (uint32_t i = 0; i < place->todos; i++) {
		struct proto_action *action = &place->todo[i].action;

		CODE(codec, action->type, 4);
		if (action->type == PROTO_SEND) {
			CODE(codec, action->with_data, 1);
			CODE(codec, action->to, NODES);
			code_msg(codec, &action->msg, newest);
		}
		if (action->type == PROTO_INSTALL || action->type == PROTO_MAP) {
			CODE(codec, action->right, 2);
			CODE(codec, action->zero, 1);
			CODE(codec, action->wake, 1);
			CODE(codec, place->todo[i].bytes, 2);
		}
	}
}

/* Messages from one node to another keep their order. */
static inline uint32_t flight_pair(const struct flight *f)
{
	return f->msg.from << 2 | f->to;
}

static inline void code_page(struct codec *codec, struct page *page, node_t nodes)
{
	struct proto_dir *dir = &page->dir;
	uint32_t newest = codec->writing ? dir->seq : SEQ_BASE;

	dir->seq = newest;
	CODE(codec, dir->copyset, NODES);
	CODE(codec, dir->mode, 1);
	CODE(codec, dir->lost, 1);
	CODE(codec, dir->busy, 1);
	if (dir->busy) {
		CODE(codec, dir->wait_read, NODES);
		CODE(codec, dir->wait_write, NODES);
		CODE(codec, dir->involved, NODES);
		CODE(codec, dir->reading, NODES);
		CODE(codec, dir->requester, 2);
	}
	for (node_t n = 0; n < nodes; n++)
		code_place(codec, &page->at[n], newest);
	for (uint32_t i = 1; codec->writing && i < page->flights; i++) {
		struct flight f = page->flight[i];
		uint32_t j = i;

		for (; j > 0 && flight_pair(&page->flight[j - 1]) > flight_pair(&f); j--)
			page->flight[j] = page->flight[j - 1];
		page->flight[j] = f;
	}
	CODE(codec, page->flights, 5);
	for (uint32_t i = 0; i < page->flights; i++) {
		CODE(codec, page->flight[i].to, 2);
		CODE(codec, page->flight[i].bytes, 2);
		code_msg(codec, &page->flight[i].msg, newest);
	}
}

static inline void code_world(struct codec *codec, struct world *world, node_t nodes, uint32_t pages)
{
	CODE(codec, world->faults, 4);
	CODE(codec, world->dead, 3);
	CODE(codec, world->told, NODES);
	for (uint32_t p = 0; p < pages; p++)
		code_page(codec, &world->page[p], nodes);
	if (codec->writing && codec->bits)
		code(codec, 0, 8 - codec->bits);
}

/* ---- Worlds seen ---- */

/* Adds the world unless it is there. world is sorted by it, but otherwise unchanged. */
static inline void seen_add(struct seen *seen, struct world *world, node_t nodes, uint32_t pages, uint32_t parent)
{
	uint8_t key[KEY_BYTES];
	struct codec codec = {.at = key + 2, .writing = true};
	uint16_t len;

	code_world(&codec, world, nodes, pages);
	len = (uint16_t)(codec.at - key - 2);
	assert(len <= KEY_BYTES - 2);
	memcpy(key, &len, 2);
	seen_put(seen, key, parent);
}

static inline void seen_get(const struct seen *seen, uint32_t index, node_t nodes, uint32_t pages, struct world *world)
{
	struct codec codec = {.at = (uint8_t *)(uintptr_t)seen_key(seen, index) + 2};

	memset(world, 0, sizeof(*world));
	code_world(&codec, world, nodes, pages);
}

/* ---- For people ---- */

static inline void world_print(const struct world *world, node_t nodes, uint32_t pages)
{
	static const char rights[] = "-RW";
	static const char *const contents[] = {"none", "old", "last"};
	static const char *const actions[] = {"PROTECT", "LOAD", "UNMAP", "SEND", "INSTALL",
					      "UPGRADE", "MAP",  "WAKE",  "FAIL", "ADOPT"};

	if (world->dead)
		printf("    node %d is dead, told %x\n", world->dead - 1, world->told);
	for (uint32_t i = 0; i < pages; i++) {
		const struct page *page = &world->page[i];
		const struct proto_dir *dir = &page->dir;

		printf("    page %u: %s copyset %x waiting r%x w%x%s%s\n", i, dir->mode == PROTO_EXCL ? "EXCL" : "SHARED",
		       (unsigned)dir->copyset, (unsigned)dir->wait_read, (unsigned)dir->wait_write, dir->busy ? " busy" : "",
		       dir->lost ? " lost" : "");
		for (node_t n = 0; n < nodes; n++) {
			const struct place *p = &page->at[n];

			printf("      node %u: right %c pending %c view %c bytes %s; to do:", n, rights[p->cache.right],
			       rights[p->cache.pending], rights[p->view], contents[p->bytes]);
			for (uint32_t t = 0; t < p->todos; t++)
				printf(" %s %s", actions[p->todo[t].action.type],
				       p->todo[t].action.type == PROTO_SEND ? proto_msg_name(p->todo[t].action.msg.type) : "");
			printf("\n");
		}
		printf("      in flight:");
		for (uint32_t f = 0; f < page->flights; f++)
			printf(" %s %u->%u", proto_msg_name(page->flight[f].msg.type), page->flight[f].msg.from,
			       page->flight[f].to);
		printf("\n");
	}
}

#endif
