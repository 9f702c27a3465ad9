/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world of the walk over replicas: dsm as it ships on two or three nodes in one thread, of which two pages matter, and how its
 * whole state becomes a short key and comes back from it. For model_replica.c alone.
 *
 * The pages: TABLE, a page table of node 0 in a tree of four levels, in which each node has an entry of its own to write; FLAG, an
 * ordinary page, by which nodes tell each other what they know. Linked with tests/sim/view.c in place of dsm's.
 *
 * Transaction numbers are counted back from the directory's, numbers of lendings from the home's last, so that worlds that behave
 * the same have the same key; after decoding these two are SEQ_BASE and GEN_BASE. Messages in flight are sorted by pair of
 * nodes. Times are left out: nothing here waits for one.
 */
#ifndef TESTS_MODEL_REPLICA_WORLD_H
#define TESTS_MODEL_REPLICA_WORLD_H

#include <assert.h>

#include "dsm/steps.h"
#include "tests/model/seen.h"
#include "tests/sim/sim.h"

#define NODES       3u
#define FLIGHTS     40u
#define TABLE       4u /* pages 1 to 3 lead to it */
#define ENTRIES_AT  8u /* the nodes' entries in it, and their words in FLAG */
#define TABLE_ENTRY 0x63u
#define SEQ_BASE    1000u /* above REPLICA_MIN_SEQ: the page has gone round */
#define GEN_BASE    1000u
#define INTERRUPT   0u /* a type that the wire has not: it goes by another lane */

enum { PAGE_TABLE, PAGE_FLAG, PAGES };

/* What each node's entry, or word, is: how many writes of that node's it has. */
struct words {
	uint8_t of[NODES];
};

struct flight {
	node_t from, to;
	struct wire_hdr hdr;
	struct words words; /* with a payload, or of an interrupt */
};

struct rig {
	struct sim sim; /* for view.c */
	node_t nodes;
	rpn_t page[PAGES];
	uint8_t *base[PAGES]; /* the page's bytes without the nodes' words */
	struct rig_lane {
		struct net_lane lane;
		struct rig *rig;
	} lane[NODES];
	struct dsm *dsm[NODES];

	uint32_t flights;
	struct flight flight[FLIGHTS];
	uint8_t asleep[NODES][PAGES]; /* enum proto_right that threads wait for */
	struct words known[NODES];    /* what the node has learnt of each one's writes, of its own: all */
	uint8_t open[NODES];          /* events in the round that is not over, if what it sends waits for its end */
	uint8_t faults;               /* so far, if the run bounds them */
	struct words flag;            /* FLAG as it was written last */
	uint8_t interrupts[NODES];    /* to this node + 1 when what was written is known to all (dsm_release); 0: none */
	struct words told[NODES];     /* by that interrupt: what the node knew when it wanted to send it */

	bool has_fault; /* what shard_serve shall find */
	struct view_fault fault;
	const struct flight *incoming;
	uint32_t drop; /* mutation: a wire type that is lost */
	bool old_bytes;
	char broken[300];
	char moves[600]; /* since the state that was loaded */
};

static inline rpn_t page_number(const struct rig *rig, unsigned page)
{
	return rig->page[page];
}

static inline struct shard *shard_at(const struct rig *rig, node_t n)
{
	return &rig->dsm[n]->shard[0];
}

/* ---- the nodes' words in a page ---- */

static inline uint64_t *word_at(uint8_t *bytes, node_t n)
{
	return (uint64_t *)(void *)bytes + ENTRIES_AT + n;
}

static inline struct words words_of(const struct rig *rig, unsigned page, const uint8_t *bytes)
{
	struct words words = {{0}};

	for (node_t n = 0; n < rig->nodes; n++) {
		uint64_t word;

		memcpy(&word, word_at((uint8_t *)(uintptr_t)bytes, n), sizeof(word));
		words.of[n] = (uint8_t)(page == PAGE_TABLE ? (word >> PAGE_SHIFT) - 1 : word);
	}
	return words;
}

static inline void set_words(const struct rig *rig, unsigned page, uint8_t *bytes, const struct words *words)
{
	for (node_t n = 0; n < rig->nodes; n++)
		*word_at(bytes, n) = page == PAGE_TABLE ? (uint64_t)(words->of[n] + 1u) << PAGE_SHIFT | TABLE_ENTRY : words->of[n];
}

static inline void fill(const struct rig *rig, unsigned page, uint8_t *bytes, const struct words *words)
{
	memcpy(bytes, rig->base[page], PAGE_BYTES);
	set_words(rig, page, bytes, words);
}

static inline struct words words_here(const struct rig *rig, node_t n, unsigned page)
{
	return words_of(rig, page, view_bytes(rig->sim.view[n], rig->page[page]));
}

/* ---- keys ---- */

struct codec {
	uint8_t *at;
	bool writing;
};

static inline uint8_t code8(struct codec *codec, uint64_t v)
{
	if (!codec->writing)
		return *codec->at++;
	assert(v <= UINT8_MAX);
	*codec->at++ = (uint8_t)v;
	return (uint8_t)v;
}

#define CODE(codec, field) ((field) = (__typeof__(field))code8(codec, (uint64_t)(field)))

static inline void code_words(struct codec *codec, const struct rig *rig, struct words *words)
{
	for (node_t n = 0; n < rig->nodes; n++)
		CODE(codec, words->of[n]);
}

struct numbers { /* the newest of each kind */
	uint32_t seq[PAGES];
	uint32_t gen;
};

static inline node_t home_of(const struct rig *rig, unsigned page)
{
	return (node_t)(rig->page[page] / SIM_HOME_PAGES);
}

static inline struct proto_dir_packed *packed_dir(const struct rig *rig, unsigned page)
{
	return &rig->dsm[home_of(rig, page)]->dir[rig->page[page] % SIM_HOME_PAGES];
}

static inline struct numbers newest(const struct rig *rig, bool writing)
{
	struct numbers numbers = {{SEQ_BASE, SEQ_BASE}, GEN_BASE};

	if (!writing)
		return numbers;
	for (unsigned p = 0; p < PAGES; p++) {
		const struct shard *home = shard_at(rig, home_of(rig, p));
		uint32_t slot = pagetab_find(&home->busy_tab, rig->page[p]);

		numbers.seq[p] = slot == PAGETAB_NONE ? packed_dir(rig, p)->word >> 2 : home->busy[slot].seq;
	}
	numbers.gen = shard_at(rig, 0)->replicas.gen;
	return numbers;
}

static inline void code_back(struct codec *codec, uint32_t *number, uint32_t base)
{
	uint8_t back = code8(codec, codec->writing ? base - *number : 0);

	*number = base - back;
}

/* 0 stays 0 */
static inline void code_gen(struct codec *codec, uint32_t *gen, const struct numbers *numbers)
{
	uint8_t back = code8(codec, codec->writing && *gen ? numbers->gen - *gen + 1 : 0);

	*gen = back ? numbers->gen - back + 1 : 0;
}

static inline void code_hdr(struct codec *codec, const struct rig *rig, struct wire_hdr *hdr, const struct numbers *numbers)
{
	uint8_t page = hdr->arg == rig->page[PAGE_FLAG] ? PAGE_FLAG : PAGE_TABLE;

	CODE(codec, hdr->type);
	CODE(codec, page);
	if (!codec->writing) {
		hdr->arg = rig->page[page];
		hdr->epoch = 1;
	}
	if (hdr->type == INTERRUPT)
		return;
	CODE(codec, hdr->flags);
	CODE(codec, hdr->acks);
	CODE(codec, hdr->node);
	hdr->len = code8(codec, hdr->len != 0) ? PAGE_BYTES : 0;
	if (hdr->type >= WIRE_LEND)
		code_gen(codec, &hdr->seq, numbers);
	else if (hdr->type > WIRE_REQ_WRITE)
		code_back(codec, &hdr->seq, numbers->seq[page]);
}

static inline void code_flight(struct codec *codec, const struct rig *rig, struct flight *f, const struct numbers *numbers)
{
	CODE(codec, f->from);
	CODE(codec, f->to);
	code_hdr(codec, rig, &f->hdr, numbers);
	if (f->hdr.len || f->hdr.type == INTERRUPT)
		code_words(codec, rig, &f->words);
}

static inline void code_pending(struct codec *codec, const struct rig *rig, node_t n, unsigned page, const struct numbers *numbers)
{
	struct shard *shard = shard_at(rig, n);
	uint32_t slot = codec->writing ? pagetab_find(&shard->pending_tab, rig->page[page]) : PAGETAB_NONE;

	if (!code8(codec, slot != PAGETAB_NONE))
		return;
	if (!codec->writing) {
		slot = pagetab_add(&shard->pending_tab, rig->page[page]);
		shard->pending[slot] = (struct shard_pending){0};
	}
	struct shard_pending *p = &shard->pending[slot];
	CODE(codec, p->ahead);
	CODE(codec, p->cache.acked);
	CODE(codec, p->cache.right);
	CODE(codec, p->cache.pending);
	CODE(codec, p->cache.acks);
	CODE(codec, p->cache.reply);
	CODE(codec, p->cache.started);
	if (p->cache.started)
		code_back(codec, &p->cache.seq, numbers->seq[page]);
}

static inline void code_view(struct codec *codec, const struct rig *rig, node_t n, unsigned page)
{
	enum proto_right right = simview_right(rig->sim.view[n], rig->page[page]);
	struct words words = words_here(rig, n, page);
	uint8_t bytes[PAGE_BYTES];

	CODE(codec, right);
	if (right != PROTO_NONE)
		code_words(codec, rig, &words);
	if (codec->writing)
		return;
	if (right != PROTO_NONE)
		fill(rig, page, bytes, &words);
	simview_set(rig->sim.view[n], rig->page[page], right, right ? bytes : NULL);
}

static inline void code_dir(struct codec *codec, const struct rig *rig, unsigned page)
{
	struct shard *home = shard_at(rig, home_of(rig, page));
	struct proto_ctx ctx = {.self = home_of(rig, page), .home = home_of(rig, page), .nodes = rig->nodes, .epoch = 1};
	uint32_t slot = codec->writing ? pagetab_find(&home->busy_tab, rig->page[page]) : PAGETAB_NONE;
	struct proto_dir dir = {0};

	if (slot != PAGETAB_NONE)
		dir = home->busy[slot];
	else if (codec->writing)
		proto_dir_unpack(*packed_dir(rig, page), &ctx, &dir);
	CODE(codec, dir.copyset);
	CODE(codec, dir.mode);
	CODE(codec, rig->dsm[ctx.home]->history[rig->page[page] % SIM_HOME_PAGES]);
	CODE(codec, dir.busy);
	if (dir.busy) {
		CODE(codec, dir.wait_read);
		CODE(codec, dir.wait_write);
		CODE(codec, dir.involved);
		CODE(codec, dir.reading);
		CODE(codec, dir.requester);
	}
	if (codec->writing)
		return;
	dir.seq = SEQ_BASE;
	if (dir.busy)
		home->busy[pagetab_add(&home->busy_tab, rig->page[page])] = dir;
	else
		*packed_dir(rig, page) = proto_dir_pack(&dir);
}

static inline void code_replicas(struct codec *codec, const struct rig *rig, node_t n, const struct numbers *numbers)
{
	struct replicas *r = &shard_at(rig, n)->replicas;
	uint8_t entries = code8(codec, r->n);

	for (uint32_t i = 0; i < entries; i++) {
		struct replica *e = &r->replica[i];
		struct words twin = words_of(rig, PAGE_TABLE, e->twin);

		e->page = TABLE;
		CODE(codec, e->state);
		code_gen(codec, &e->gen, numbers);
		CODE(codec, e->borrowers);
		CODE(codec, e->owed);
		CODE(codec, e->wait_read);
		CODE(codec, e->wait_write);
		code_words(codec, rig, &twin);
		if (!codec->writing)
			fill(rig, PAGE_TABLE, e->twin, &twin);
	}
	r->n = entries;
	CODE(codec, r->under_way);
	CODE(codec, r->lent);
	CODE(codec, r->count);
	CODE(codec, r->checked);
	for (uint32_t i = 0; i < r->count; i++) {
		struct replica_message *m = &r->waiting[(r->first + i) % REPLICAS_WAITING];
		struct flight f = {0};
		unsigned page = m->hdr.arg == rig->page[PAGE_FLAG] ? PAGE_FLAG : PAGE_TABLE;

		if (codec->writing)
			f = (struct flight){.to = m->to, .hdr = m->hdr};
		if (codec->writing && m->hdr.len)
			f.words = words_of(rig, page, m->payload);
		code_flight(codec, rig, &f, numbers);
		if (codec->writing)
			continue;
		m->to = f.to;
		m->hdr = f.hdr;
		page = f.hdr.arg == rig->page[PAGE_FLAG] ? PAGE_FLAG : PAGE_TABLE;
		if (m->hdr.len)
			fill(rig, page, m->payload, &f.words);
	}
}

/* Before decoding: nothing under way at this node. */
static inline void forget(const struct rig *rig, node_t n)
{
	struct shard *shard = shard_at(rig, n);
	struct replicas *r = &shard->replicas;

	for (unsigned p = 0; p < PAGES; p++) { /* pagetab_clear() takes its time for the whole pool */
		if (pagetab_find(&shard->pending_tab, rig->page[p]) != PAGETAB_NONE)
			pagetab_remove(&shard->pending_tab, rig->page[p]);
		if (pagetab_find(&shard->busy_tab, rig->page[p]) != PAGETAB_NONE)
			pagetab_remove(&shard->busy_tab, rig->page[p]);
	}
	shard->failed = false;
	shard->self_count = 0;
	shard->evict.taken = BLOCK_PAGES; /* without a budget any number is right that does not run below 0 */
	r->first = 0;
	r->gen = GEN_BASE;
	r->next_look_ns = 0;
}

static inline void code_node(struct codec *codec, struct rig *rig, node_t n, const struct numbers *numbers)
{
	struct replicas *r = &shard_at(rig, n)->replicas;

	if (!codec->writing)
		forget(rig, n);
	for (unsigned p = 0; p < PAGES; p++) {
		CODE(codec, rig->dsm[n]->cache[rig->page[p]]);
		code_view(codec, rig, n, p);
		code_pending(codec, rig, n, p, numbers);
		CODE(codec, rig->asleep[n][p]);
	}
	code_replicas(codec, rig, n, numbers);
	code_words(codec, rig, &rig->known[n]);
	CODE(codec, rig->open[n]);
	CODE(codec, rig->interrupts[n]);
	if (rig->interrupts[n])
		code_words(codec, rig, &rig->told[n]);
	if (!codec->writing) {
		r->wanted = r->seen = 1;
		r->done = rig->interrupts[n] ? 0 : 1;
	}
}

#define FLIGHT_BYTES 32
#define FLIGHT_AT    (FLIGHT_BYTES - 1) /* its place among all */

/* By sender and receiver; those of one pair stay in order. */
static inline int compare_flights(const void *a, const void *b)
{
	const uint8_t *x = a, *y = b;
	int pair = memcmp(x, y, 2);

	return pair ? pair : x[FLIGHT_AT] - y[FLIGHT_AT];
}

static inline void code_flights(struct codec *codec, struct rig *rig, const struct numbers *numbers)
{
	uint8_t sorted[FLIGHTS][FLIGHT_BYTES];

	CODE(codec, rig->flights);
	if (!codec->writing) {
		for (uint32_t i = 0; i < rig->flights; i++) {
			rig->flight[i] = (struct flight){0};
			code_flight(codec, rig, &rig->flight[i], numbers);
		}
		return;
	}
	memset(sorted, 0, sizeof(sorted));
	for (uint32_t i = 0; i < rig->flights; i++) {
		struct codec one = {.at = sorted[i], .writing = true};

		code_flight(&one, rig, &rig->flight[i], numbers);
		assert(one.at - sorted[i] < FLIGHT_AT);
		sorted[i][FLIGHT_AT] = (uint8_t)i;
	}
	qsort(sorted, rig->flights, sizeof(sorted[0]), compare_flights);
	for (uint32_t i = 0; i < rig->flights; i++) {
		struct codec one = {.at = sorted[i]};
		struct flight f = {0};

		code_flight(&one, rig, &f, numbers); /* to know its length */
		memcpy(codec->at, sorted[i], (size_t)(one.at - sorted[i]));
		codec->at += one.at - sorted[i];
	}
}

static inline void code_rig(struct codec *codec, struct rig *rig)
{
	struct numbers numbers = newest(rig, codec->writing);

	for (node_t n = 0; n < rig->nodes; n++)
		code_node(codec, rig, n, &numbers);
	for (unsigned p = 0; p < PAGES; p++)
		code_dir(codec, rig, p);
	CODE(codec, rig->faults);
	code_words(codec, rig, &rig->flag);
	code_flights(codec, rig, &numbers);
}

#endif
