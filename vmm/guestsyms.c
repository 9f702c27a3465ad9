/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/guestsyms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/kallsyms.h"

/* Linux Documentation/arch/x86/x86_64/mm.rst: where the image is mapped, and all memory without KASLR (4 levels). */
#define START_KERNEL_MAP UINT64_C(0xffffffff80000000)
#define PAGE_OFFSET_BASE UINT64_C(0xffff888000000000)
#define IMAGE_BYTES_MAX  GIB
#define KERNEL_USUAL     (16 * MIB) /* where a kernel without KASLR is */
#define CHUNK_BYTES      MIB
#define SEARCH_END       (16 * GIB)
#define PERCPU_MAX       (64 * MIB) /* of one CPU */

static const char banner_start[] = "Linux version ";

struct guestsyms {
	const struct guestsyms_ram *ram;
	const struct symbols *symbols;
	struct symbols *found; /* the guest's own, ours to free */
	uint64_t deadline_ns;
	uint64_t delta; /* physical = virtual - START_KERNEL_MAP + delta, modulo 2^64 */
	char kernel[96];
	uint64_t text, end, init, init_end; /* of the image */
	uint64_t percpu, percpu_bytes;      /* the per-CPU symbols' addresses */
	uint64_t unit_bytes;                /* with what is allocated later */
	vcpu_t cpus;
	gpa_t *unit; /* [cpus] where a CPU's copy of [percpu, ...) is; UINT64_MAX: not known */
};

/* ---- reading ---- */

/* Any length; what is not RAM becomes zero. */
static void read_range(const struct guestsyms_ram *ram, gpa_t gpa, uint8_t *buf, size_t len)
{
	while (len) {
		size_t n = MIN(len, BLOCK_BYTES - (gpa & (BLOCK_BYTES - 1)));

		if (!ram->read(ram, gpa, buf, n))
			memset(buf, 0, n);
		gpa += n;
		buf += n;
		len -= n;
	}
}

static gpa_t image_gpa(const struct guestsyms *gs, uint64_t virtual)
{
	return virtual - START_KERNEL_MAP + gs->delta;
}

/* `len` bytes, not across a block, of the image. */
static bool read_virtual(const struct guestsyms *gs, uint64_t virtual, void *buf, size_t len)
{
	if (virtual < START_KERNEL_MAP)
		return false;
	gpa_t gpa = image_gpa(gs, virtual);
	return (gpa & (BLOCK_BYTES - 1)) + len <= BLOCK_BYTES && gs->ram->read(gs->ram, gpa, buf, len);
}

static bool read_object(const struct guestsyms *gs, const char *name, void *buf, size_t len)
{
	uint64_t virtual;

	return symbols_find(gs->symbols, name, &virtual) && read_virtual(gs, virtual, buf, len);
}

/* ---- finding the tables ---- */

static int parse_around(struct guestsyms *gs, gpa_t tokens)
{
	gpa_t from = tokens > KALLSYMS_BEFORE_BYTES ? (tokens - KALLSYMS_BEFORE_BYTES) & ~(gpa_t)(PAGE_BYTES - 1) : 0;
	size_t len = KALLSYMS_BEFORE_BYTES + KALLSYMS_AFTER_BYTES;
	uint8_t *bytes = malloc(len);
	int rc = -ENOMEM;

	if (!bytes)
		return rc;
	read_range(gs->ram, from, bytes, len);
	rc = kallsyms_parse(bytes, len, tokens - from, &gs->found);
	free(bytes);
	return rc;
}

/* The first tables in [from, to) that hold together. */
static int find_tables(struct guestsyms *gs, gpa_t from, gpa_t to, gpa_t *tokens)
{
	size_t len = CHUNK_BYTES + KALLSYMS_FIND_BYTES;
	uint8_t *bytes = malloc(len);
	int rc = bytes ? -ENOENT : -ENOMEM;

	for (; rc == -ENOENT && from < to && clock_ns() < gs->deadline_ns; from += CHUNK_BYTES) {
		size_t at = 0;
		gpa_t next = gs->ram->next(gs->ram, from);

		if (next >= to)
			break;
		if (next - from >= len) { /* most of a young guest's memory is not there */
			from += ((next - from) / CHUNK_BYTES - 1) * CHUNK_BYTES;
			continue;
		}
		read_range(gs->ram, from, bytes, len);
		while (rc == -ENOENT && kallsyms_find(bytes, len, at, &at)) {
			rc = parse_around(gs, from + at);
			*tokens = from + at;
			if (rc == -EBADMSG)
				rc = clock_ns() < gs->deadline_ns ? -ENOENT : -ESRCH;
			at += 8;
		}
	}
	free(bytes);
	return rc;
}

/* ---- where the kernel is ---- */

static bool is_banner(const struct guestsyms *gs, gpa_t gpa, char text[96])
{
	size_t len = 95, blanks = 0;

	if ((gpa & (BLOCK_BYTES - 1)) + len > BLOCK_BYTES || !gs->ram->read(gs->ram, gpa, text, len) ||
	    memcmp(text, banner_start, sizeof(banner_start) - 1) != 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		blanks += text[i] == ' ';
		if (blanks == 3 || text[i] < ' ' || text[i] > '~')
			len = i;
	}
	text[len] = 0;
	return true;
}

/* The image moves in steps of 2 MiB. It is where its banner is; no table of it is farther than the image is long. */
static int place(struct guestsyms *gs, gpa_t tokens)
{
	uint64_t banner;

	if (!symbols_find(gs->symbols, "linux_banner", &banner) || banner < START_KERNEL_MAP)
		return -ESRCH;
	gpa_t from = (banner - START_KERNEL_MAP) & (BLOCK_BYTES - 1), to = MIN(gs->ram->end, SEARCH_END);

	gs->delta = 0; /* the usual place first */
	if (is_banner(gs, image_gpa(gs, banner), gs->kernel))
		return 0;
	if (tokens) {
		from += tokens > IMAGE_BYTES_MAX ? (tokens - IMAGE_BYTES_MAX) & ~(gpa_t)(BLOCK_BYTES - 1) : 0;
		to = MIN(gs->ram->end, tokens + IMAGE_BYTES_MAX);
	}
	for (gpa_t at = from; at < to && clock_ns() < gs->deadline_ns; at += BLOCK_BYTES)
		if (is_banner(gs, at, gs->kernel)) {
			gs->delta = at - (banner - START_KERNEL_MAP);
			return 0;
		}
	return -ESRCH;
}

static uint64_t address_of(const struct guestsyms *gs, const char *name)
{
	uint64_t addr = 0;

	symbols_find(gs->symbols, name, &addr);
	return addr;
}

static void find_percpu(struct guestsyms *gs)
{
	uint64_t base = 0, end = address_of(gs, "__per_cpu_end");
	uint32_t unit = 0;

	gs->percpu = address_of(gs, "__per_cpu_start");
	if (end <= gs->percpu || end - gs->percpu > PERCPU_MAX)
		return;
	gs->percpu_bytes = end - gs->percpu;
	gs->unit_bytes = gs->percpu_bytes;
	if (read_object(gs, "pcpu_unit_size", &unit, sizeof(unit)) && unit > gs->percpu_bytes && unit <= PERCPU_MAX)
		gs->unit_bytes = unit;
	if (!read_object(gs, "page_offset_base", &base, sizeof(base)) || base < UINT64_C(0xff00000000000000) ||
	    base & (PAGE_BYTES - 1))
		base = PAGE_OFFSET_BASE;
	uint64_t offsets = address_of(gs, "__per_cpu_offset"); /* once: it is a walk over all symbols */
	for (vcpu_t cpu = 0; cpu < gs->cpus; cpu++) {
		uint64_t offset;

		gs->unit[cpu] = UINT64_MAX;
		if (!read_virtual(gs, offsets + 8ull * cpu, &offset, sizeof(offset)))
			continue;
		uint64_t gpa = offset + gs->percpu - base; /* a CPU that never started has another kind of address there */
		if (gpa < gs->ram->end && gs->ram->end - gpa >= gs->unit_bytes)
			gs->unit[cpu] = gpa;
	}
}

int guestsyms_new(const struct guestsyms_ram *ram, vcpu_t cpus, const struct symbols *symbols, struct guestsyms **out)
{
	struct guestsyms *gs = calloc(1, sizeof(*gs));
	gpa_t tokens = 0, usual = MIN(KERNEL_USUAL, ram->end);
	int rc = 0;

	if (!gs)
		return -ENOMEM;
	gs->ram = ram;
	gs->symbols = symbols;
	gs->cpus = cpus;
	gs->unit = calloc(cpus, sizeof(*gs->unit));
	gs->deadline_ns = clock_ns() + GUESTSYMS_SEARCH_NS;
	if (!gs->unit)
		rc = -ENOMEM;
	if (!rc && !symbols) {
		rc = find_tables(gs, usual, MIN(ram->end, SEARCH_END), &tokens);
		if (rc == -ENOENT)
			rc = find_tables(gs, 0, usual, &tokens);
		gs->symbols = gs->found;
	}
	if (!rc)
		rc = place(gs, tokens);
	if (rc) {
		guestsyms_free(gs);
		return rc;
	}
	gs->text = address_of(gs, "_text");
	gs->end = address_of(gs, "_end");
	gs->init = address_of(gs, "__init_begin");
	gs->init_end = address_of(gs, "__init_end");
	find_percpu(gs);
	*out = gs;
	return 0;
}

void guestsyms_free(struct guestsyms *gs)
{
	if (!gs)
		return;
	symbols_free(gs->found);
	free(gs->unit);
	free(gs);
}

const char *guestsyms_missing(int err)
{
	switch (err) {
	case -ENOENT:
		return "the guest's memory here holds no symbol tables of a Linux kernel; --symbols FILE gives some";
	case -ESRCH:
		return "the symbols are not those of the kernel in the guest's memory here";
	default:
		return "there is not enough memory to read the guest's symbols";
	}
}

const char *guestsyms_kernel(const struct guestsyms *gs)
{
	return gs->kernel;
}

bool guestsyms_complete(const struct guestsyms *gs)
{
	for (vcpu_t cpu = 0; cpu < gs->cpus && gs->unit_bytes; cpu++)
		if (gs->unit[cpu] == UINT64_MAX)
			return false;
	return true;
}

/* ---- pages ---- */

/* A name that ends a part of the image, and not an object that lies there. */
static bool ends_part(const char *name)
{
	size_t len = strlen(name);

	return strncmp(name, "__end_", 6) == 0 || strncmp(name, "__stop_", 7) == 0 || strcmp(name, "_etext") == 0 ||
	       strcmp(name, "_edata") == 0 || (len > 4 && strcmp(name + len - 4, "_end") == 0) ||
	       (len > 5 && strcmp(name + len - 5, "_stop") == 0);
}

struct object {
	size_t first, last; /* symbols, all of one address */
	uint64_t bytes;     /* in the page */
};

/* The object that begins with symbol `i`: its aliases, and how much of [start, start+PAGE_BYTES) it has. */
static struct object object_at(const struct symbols *s, size_t i, uint64_t start)
{
	struct object o = {.first = i, .last = i};
	uint64_t addr = s->symbol[i].addr;

	while (o.last + 1 < s->n && s->symbol[o.last + 1].addr == addr)
		o.last++;
	uint64_t next = o.last + 1 < s->n ? s->symbol[o.last + 1].addr : addr + 1;
	uint64_t from = MAX(addr, start), to = MIN(next, start + PAGE_BYTES);
	o.bytes = to > from ? to - from : 0;
	return o;
}

static void write_name(const struct symbols *s, const struct object *o, char *name)
{
	size_t used = 0;

	name[0] = 0;
	for (size_t i = o->first; i <= o->last && i < o->first + 3; i++) {
		const char *text = symbols_name(s, i);
		size_t room = GUESTSYMS_NAME - used, len = strlen(text);

		if (used && len + 2 > room)
			break;
		used += (size_t)snprintf(name + used, room, "%s%s", used ? "=" : "", text);
		used = MIN(used, GUESTSYMS_NAME - 1u);
	}
}

/* The objects in [start, start+PAGE_BYTES): the largest are kept, in order. */
static void name_objects(const struct symbols *s, uint64_t start, struct guestsyms_page *page)
{
	struct object kept[GUESTSYMS_NAMES] = {0};
	size_t i = symbols_upto(s, start);

	i -= i > 0; /* the last that begins at or before, and the first of its aliases */
	while (i > 0 && s->symbol[i - 1].addr == s->symbol[i].addr)
		i--;
	while (i < s->n && s->symbol[i].addr < start + PAGE_BYTES) {
		struct object o = object_at(s, i, start);

		i = o.last + 1;
		if (!o.bytes || ends_part(symbols_name(s, o.first)))
			continue;
		page->total++;
		if (page->n == GUESTSYMS_NAMES) {
			uint32_t least = 0;

			for (uint32_t k = 1; k < page->n; k++)
				if (kept[k].bytes <= kept[least].bytes)
					least = k;
			if (kept[least].bytes >= o.bytes)
				continue;
			memmove(&kept[least], &kept[least + 1], (page->n - 1 - least) * sizeof(kept[0]));
			page->n--;
		}
		kept[page->n++] = o;
	}
	for (uint32_t k = 0; k < page->n; k++)
		write_name(s, &kept[k], page->name[k]);
}

static bool name_percpu(const struct guestsyms *gs, gpa_t gpa, struct guestsyms_page *page)
{
	for (vcpu_t cpu = 0; cpu < gs->cpus && gs->unit_bytes; cpu++) {
		if (gs->unit[cpu] == UINT64_MAX || gpa < gs->unit[cpu] || gpa - gs->unit[cpu] >= gs->unit_bytes)
			continue;
		uint64_t at = gpa - gs->unit[cpu];
		page->cpu = cpu;
		page->kind = GUESTSYMS_PERCPU;
		if (at < gs->percpu_bytes)
			name_objects(gs->symbols, gs->percpu + at, page);
		if (page->n)
			page->kind = GUESTSYMS_OBJECTS;
		return true;
	}
	return false;
}

void guestsyms_page(const struct guestsyms *gs, gpa_t gpa, struct guestsyms_page *page)
{
	memset(page, 0, sizeof(*page));
	page->cpu = VCPU_NONE;
	if (!gs)
		return;
	uint64_t virtual = gpa - gs->delta + START_KERNEL_MAP;
	page->kind = GUESTSYMS_DYNAMIC;
	if (virtual >= gs->init && virtual < gs->init_end) {
		page->kind = GUESTSYMS_FREED;
	} else if (virtual >= gs->text && virtual < gs->end) {
		name_objects(gs->symbols, virtual, page);
		if (page->n)
			page->kind = GUESTSYMS_OBJECTS;
	} else if (!name_percpu(gs, gpa, page) && gpa < MIB) {
		page->kind = GUESTSYMS_LOW;
	}
}

const char *guestsyms_text(const struct guestsyms_page *page, char *buf)
{
	size_t used = 0;

	buf[0] = 0;
	switch (page->kind) {
	case GUESTSYMS_UNKNOWN:
		break;
	case GUESTSYMS_OBJECTS:
		for (uint32_t i = 0; i < page->n && used < GUESTSYMS_TEXT - GUESTSYMS_NAME - 64; i++)
			used += (size_t)snprintf(buf + used, GUESTSYMS_TEXT - used, "%s%s", i ? ", " : "", page->name[i]);
		if (page->total > page->n)
			used += (size_t)snprintf(buf + used, GUESTSYMS_TEXT - used, " and %u more", page->total - page->n);
		if (page->cpu != VCPU_NONE)
			snprintf(buf + used, GUESTSYMS_TEXT - used, " (CPU %u)", page->cpu);
		break;
	case GUESTSYMS_PERCPU:
		snprintf(buf, GUESTSYMS_TEXT, "per-CPU memory allocated at run time (CPU %u)", page->cpu);
		break;
	case GUESTSYMS_FREED:
		snprintf(buf, GUESTSYMS_TEXT, "no symbol: dynamic memory, where the kernel's code for its start was");
		break;
	case GUESTSYMS_LOW:
		snprintf(buf, GUESTSYMS_TEXT, "no symbol: below 1 MiB, real-mode code and firmware tables");
		break;
	case GUESTSYMS_DYNAMIC:
		snprintf(buf, GUESTSYMS_TEXT, "no symbol: dynamic memory");
		break;
	}
	return buf;
}
