/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in a page of a Linux guest's memory: the names of the objects, found from the guest's own tables.
 *
 *      kallsyms in guest RAM (kallsyms.h), or a file     -->  names and virtual addresses
 *      where the kernel's banner is in guest RAM         -->  how virtual addresses of its image become physical
 *      __per_cpu_offset[], page_offset_base              -->  where each CPU has its copy of the per-CPU objects
 *
 * Reads the guest's memory only as `struct guestsyms_ram` lets it, takes nothing found there on trust, and is bounded in time
 * (GUESTSYMS_SEARCH_NS) and memory. Nothing in it is logged: no symbols is not an error, and guestsyms_missing says why.
 * One thread makes it; afterwards it is read only.
 */
#ifndef VMM_GUESTSYMS_H
#define VMM_GUESTSYMS_H

#include "base/types.h"
#include "vmm/symbols.h"

#define GUESTSYMS_SEARCH_NS (3 * NS_PER_SEC)
#define GUESTSYMS_NAMES     8u
#define GUESTSYMS_NAME      96u /* of one object, with its aliases and its end */
#define GUESTSYMS_TEXT      640u

struct guestsyms_ram {
	/* Copies [gpa, gpa+len), within one 2 MiB block, as it is here now; zeros for what is not. False: not RAM. */
	bool (*read)(const struct guestsyms_ram *ram, gpa_t gpa, void *buf, size_t len);
	/* The first address at or after `gpa` where something may be that is not zero; `end` or more: nothing is. */
	gpa_t (*next)(const struct guestsyms_ram *ram, gpa_t gpa);
	gpa_t end; /* of all RAM */
};

struct guestsyms;

/* `symbols`: of a file, borrowed for as long as *out lives; NULL: look for the guest's own. `cpus` of the guest.
 * -ENOENT: no symbols in this RAM; -ESRCH: symbols, but not of the kernel in this RAM; -ENOMEM. */
CHECKED int guestsyms_new(const struct guestsyms_ram *ram, vcpu_t cpus, const struct symbols *symbols, struct guestsyms **out);
void guestsyms_free(struct guestsyms *gs);
/* For a person: why there are none. */
const char *guestsyms_missing(int err);
/* "Linux version 6.1.0-...": up to the second blank of the guest's banner. */
const char *guestsyms_kernel(const struct guestsyms *gs);

/* False: more may be found later, as the kernel has not placed its per-CPU memory yet. */
bool guestsyms_complete(const struct guestsyms *gs);

enum guestsyms_kind {
	GUESTSYMS_UNKNOWN, /* no symbols to tell */
	GUESTSYMS_OBJECTS, /* of the kernel's image, or per-CPU: `name` */
	GUESTSYMS_PERCPU,  /* per-CPU memory of `cpu` that was allocated while the kernel ran */
	GUESTSYMS_FREED,   /* the image's part for the start: given back, dynamic memory by now */
	GUESTSYMS_LOW,     /* below 1 MiB: real-mode code, tables of the firmware */
	GUESTSYMS_DYNAMIC, /* no symbol: allocated while the kernel runs */
};

struct guestsyms_page {
	enum guestsyms_kind kind;
	vcpu_t cpu;     /* of a per-CPU page, else VCPU_NONE */
	uint32_t n;     /* names, the largest objects of the page in the order of their addresses */
	uint32_t total; /* objects in the page */
	char name[GUESTSYMS_NAMES][GUESTSYMS_NAME];
};

/* What the page at `gpa` is. gs NULL: UNKNOWN. */
void guestsyms_page(const struct guestsyms *gs, gpa_t gpa, struct guestsyms_page *page);
/* "jiffies=jiffies_64, tk_core and 7 more (CPU 1)". buf of GUESTSYMS_TEXT bytes; returns buf. */
const char *guestsyms_text(const struct guestsyms_page *page, char *buf);

#endif
