/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/readers.h"

static struct readers_page *slot_of(struct readers *r, rpn_t page)
{
	return &r->slot[(page * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
}

_Static_assert(READERS_PAGES == 1u << (64 - 54), "the shift above");

static int count(uint64_t set)
{
	return __builtin_popcountll(set);
}

void readers_written(struct readers *r, rpn_t page, uint64_t nodes)
{
	struct readers_page *s = slot_of(r, page);

	if (s->nodes && s->page == page) {
		bool same = count(nodes) >= 2 && 2 * count(nodes & s->nodes) > count(nodes | s->nodes);

		s->score = same ? (uint8_t)MIN(s->score + 1u, READERS_SURE) : 0;
		s->nodes = nodes;
	} else if (count(nodes) < 2) {
		return;
	} else if (s->nodes && s->score) {
		s->score--;
	} else {
		*s = (struct readers_page){.page = page, .nodes = nodes};
	}
}

uint64_t readers_push(struct readers *r, rpn_t page)
{
	struct readers_page *s = slot_of(r, page);

	if (!s->nodes || s->page != page || !s->score || ++s->turn % READERS_PROBE == 0)
		return 0;
	return s->nodes;
}
