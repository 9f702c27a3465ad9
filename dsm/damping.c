/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/damping.h"

#include <errno.h>
#include <stdlib.h>

int damping_init(struct damping *damping)
{
	damping->fault_ns = 0;
	damping->page = calloc(DAMPING_PAGES, sizeof(*damping->page));
	return damping->page ? 0 : -ENOMEM;
}

void damping_destroy(struct damping *damping)
{
	free(damping->page);
	damping->page = NULL;
}

static struct damping_page *page_of(struct damping *damping, rpn_t page)
{
	struct damping_page *p = &damping->page[page & (DAMPING_PAGES - 1)];

	if (p->page != page)
		*p = (struct damping_page){.page = page};
	return p;
}

void damping_gained(struct damping *damping, rpn_t page, uint64_t now, uint64_t fault_ns)
{
	if (fault_ns && (!damping->fault_ns || fault_ns < damping->fault_ns))
		damping->fault_ns = fault_ns;
	else if (fault_ns)
		damping->fault_ns += damping->fault_ns / 256 + 1;
	page_of(damping, page)->gained_ns = now;
}

void damping_lost(struct damping *damping, rpn_t page, uint64_t now)
{
	page_of(damping, page)->lost_ns = now;
}

uint64_t damping_until(struct damping *damping, rpn_t page, uint64_t now)
{
	const struct damping_page *p = page_of(damping, page);
	uint64_t hold = MIN(MAX(DAMPING_FAULTS * damping->fault_ns, HOLD_MIN_NS), HOLD_MAX_NS);

	if (!p->gained_ns || !p->lost_ns || p->gained_ns < p->lost_ns)
		return 0;
	if (p->gained_ns - p->lost_ns > 4 * HOLD_MAX_NS || now - p->gained_ns >= hold)
		return 0;
	return p->gained_ns + hold;
}
