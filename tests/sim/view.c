/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of dsm/view.c: a table instead of page tables. dsm/view.h is the contract. */
#include "dsm/view.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define DROPPED 0xdd /* what a dropped page reads as: nobody may read it */

enum state {
	PRIVATE, /* not registered: only the home uses the block */
	HOLE,
	READ,
	WRITE,
};

struct view {
	struct sim *sim;
	node_t node;
	rpn_t pages;
	unsigned shards;
	uint8_t *state; /* [pages] enum state */
	uint8_t *bytes;
	int fd[SHARDS_MAX];
};

int view_new(uint64_t pages, unsigned shards, struct view **out)
{
	struct view *view = sim_alloc(1, sizeof(*view));

	*view = (struct view){.sim = sim_now, .node = sim_now->made, .pages = pages, .shards = shards};
	view->state = sim_lazy(pages);
	view->bytes = sim_lazy(pages << PAGE_SHIFT);
	for (unsigned i = 0; i < shards; i++)
		view->fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sim_now->view[view->node] = view;
	*out = view;
	return 0;
}

void view_free(struct view *view)
{
	if (!view)
		return;
	for (unsigned i = 0; i < view->shards; i++)
		close(view->fd[i]);
	sim_lazy_free(view->state, view->pages);
	sim_lazy_free(view->bytes, view->pages << PAGE_SHIFT);
	free(view);
}

uint8_t *view_guest(const struct view *view)
{
	return view->bytes;
}

uint8_t *simview_at(struct view *view, rpn_t page)
{
	return view->bytes + (page << PAGE_SHIFT);
}

const uint8_t *view_bytes(const struct view *view, rpn_t page)
{
	return view->bytes + (page << PAGE_SHIFT);
}

int view_peek(const struct view *view, uint64_t at, void *buf, size_t len)
{
	memcpy(buf, view->bytes + at, len);
	return 0;
}

rpn_t view_next(const struct view *view, rpn_t page)
{
	while (page < view->pages && view->state[page] == HOLE)
		page++;
	return page < view->pages ? page : RPN_NONE;
}

/* The simulator measures no memory. */
uint64_t view_resident_bytes(const struct view *view)
{
	(void)view;
	return 0;
}

unsigned view_shard(const struct view *view, rpn_t page)
{
	return (unsigned)(page / BLOCK_PAGES % view->shards);
}

int view_fd(const struct view *view, unsigned shard)
{
	return view->fd[shard];
}

int view_register(struct view *view, rpn_t first, uint64_t pages)
{
	memset(view->state + first, HOLE, pages);
	return 0;
}

static bool is_zero(const struct view *view, rpn_t page)
{
	const uint64_t *word = (const uint64_t *)(const void *)view_bytes(view, page);

	for (size_t i = 0; i < PAGE_BYTES / sizeof(*word); i++)
		if (word[i])
			return false;
	return true;
}

int view_split(struct view *view, rpn_t first, bool *empty)
{
	*empty = true;
	sim_spend(view->sim, view->sim->options.costs.split);
	for (rpn_t p = first; p < first + BLOCK_PAGES; p++) {
		if (view->state[p] != PRIVATE)
			sim_fail(view->sim, "node %u splits a block twice: page %llu", view->node, (unsigned long long)p);
		view->state[p] = is_zero(view, p) ? HOLE : WRITE;
		*empty = *empty && view->state[p] == HOLE;
	}
	return 0;
}

int view_merge(struct view *view, rpn_t first)
{
	sim_spend(view->sim, view->sim->options.costs.split);
	for (rpn_t p = first; p < first + BLOCK_PAGES; p++) {
		if (view->state[p] != HOLE && view->state[p] != WRITE)
			sim_fail(view->sim, "node %u merges a block of which page %llu is not its own", view->node,
				 (unsigned long long)p);
		if (view->state[p] == HOLE)
			memset(simview_at(view, p), 0, PAGE_BYTES);
		view->state[p] = PRIVATE;
		sim_wake(view->sim, view->node, p);
	}
	return 0;
}

static int install(struct view *view, rpn_t page, const uint8_t *bytes, bool writable, bool wake)
{
	sim_spend(view->sim, view->sim->options.costs.install);
	if (view->state[page] != HOLE)
		sim_fail(view->sim, "D3: node %u installs page %llu over one that it has", view->node, (unsigned long long)page);
	if (bytes)
		memcpy(simview_at(view, page), bytes, PAGE_BYTES);
	else
		memset(simview_at(view, page), 0, PAGE_BYTES);
	view->state[page] = writable ? WRITE : READ;
	if (wake)
		sim_wake(view->sim, view->node, page);
	return 0;
}

int view_install(struct view *view, rpn_t page, unsigned n, const uint8_t *bytes, bool writable, bool wake)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < n; i++)
		rc = install(view, page + i, bytes ? bytes + i * PAGE_BYTES : NULL, writable, wake);
	return rc;
}

int view_map(struct view *view, rpn_t page, bool writable, bool protected_page)
{
	if (protected_page)
		return writable ? view_unprotect(view, page) : view_wake(view, page);
	return view->state[page] == HOLE ? install(view, page, NULL, writable, true) : view_wake(view, page);
}

int view_map_around(struct view *view, rpn_t page, unsigned n)
{
	int rc = view_map(view, page, true, false);

	for (unsigned i = 1; !rc && i < n && view->state[page + i] == HOLE; i++)
		rc = install(view, page + i, NULL, true, true);
	return rc;
}

int view_load(const struct view *view, rpn_t page, unsigned n, uint8_t *bytes, uint32_t *zero)
{
	*zero = 0;
	for (unsigned i = 0; i < n; i++) {
		sim_spend(view->sim, view->sim->options.costs.read);
		if (view->state[page + i] == HOLE || is_zero(view, page + i)) {
			*zero |= UINT32_C(1) << i;
			memset(bytes + i * PAGE_BYTES, 0, PAGE_BYTES);
		} else {
			memcpy(bytes + i * PAGE_BYTES, view_bytes(view, page + i), PAGE_BYTES);
		}
	}
	return 0;
}

/* No node here has a budget. */
int view_rest(struct view *view, rpn_t first, uint64_t pages)
{
	sim_fail(view->sim, "node %u unmaps %llu pages from %llu on", view->node, (unsigned long long)pages,
		 (unsigned long long)first);
}

int view_used(const struct view *view, rpn_t first, uint64_t used[BLOCK_PAGES / 64])
{
	(void)view;
	(void)first;
	memset(used, 0, BLOCK_PAGES / 8);
	return 0;
}

void view_trim(struct view *view)
{
	(void)view;
}

bool view_is_hole(const struct view *view, rpn_t page)
{
	return view->state[page] == HOLE;
}

bool view_seems_hole(struct view *view, rpn_t page)
{
	return view_is_hole(view, page);
}

void view_exchange(struct view *view, rpn_t page, size_t at, uint64_t old, uint64_t new)
{
	uint64_t *word = (uint64_t *)(void *)(simview_at(view, page) + at);

	if (*word == old)
		*word = new;
}

/* A hole as well: what is read then to be sent makes it a page, and its protection is kept (a marker in the page table). */
int view_protect(struct view *view, rpn_t page, unsigned n)
{
	sim_spend(view->sim, view->sim->options.costs.protect);
	view->state[page] = READ;
	for (rpn_t p = page + 1; p < page + n; p++)
		if (view->state[p] == WRITE)
			view->state[p] = READ;
	return 0;
}

bool view_is_protected(const struct view *view, rpn_t page)
{
	return view->state[page] == READ; /* together with one before it */
}

int view_unprotect(struct view *view, rpn_t page)
{
	sim_spend(view->sim, view->sim->options.costs.protect);
	if (view->state[page] == READ)
		view->state[page] = WRITE;
	sim_wake(view->sim, view->node, page);
	return 0;
}

int view_drop(struct view *view, rpn_t page)
{
	sim_spend(view->sim, view->sim->options.costs.drop);
	if (view->sim->options.broken == SIM_BREAK_KEEP_COPY && ++view->sim->drops % 50 == 0)
		return 0;
	view->state[page] = HOLE;
	memset(simview_at(view, page), DROPPED, PAGE_BYTES);
	return 0;
}

int view_wake(struct view *view, rpn_t page)
{
	sim_wake(view->sim, view->node, page);
	return 0;
}

unsigned view_faults(struct view *view, unsigned shard, struct view_fault fault[VIEW_FAULTS])
{
	unsigned n = 0;

	while (n < VIEW_FAULTS && sim_next_fault(view->sim, view->node, shard, &fault[n]))
		n++;
	return n;
}

/* The simulator has no guest that reboots. */
int view_reset(struct view *view)
{
	sim_fail(view->sim, "node %u is reset", view->node);
}

bool simview_allows(const struct view *view, rpn_t page, bool write, struct view_fault *fault)
{
	enum state state = view->state[page];

	if (state == PRIVATE || state == WRITE || (state == READ && !write))
		return true;
	*fault = (struct view_fault){.page = page, .write = write, .protected_page = state == READ};
	return false;
}

enum proto_right simview_right(const struct view *view, rpn_t page)
{
	switch ((enum state)view->state[page]) {
	case HOLE:
		return PROTO_NONE;
	case READ:
		return PROTO_READ;
	default:
		return PROTO_WRITE;
	}
}

void simview_set(struct view *view, rpn_t page, enum proto_right right, const uint8_t *bytes)
{
	view->state[page] = right == PROTO_NONE ? HOLE : right == PROTO_READ ? READ : WRITE;
	if (bytes)
		memcpy(simview_at(view, page), bytes, PAGE_BYTES);
}

bool simview_is_private(const struct view *view, rpn_t page)
{
	return view->state[page] == PRIVATE;
}
