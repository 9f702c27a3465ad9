/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/hotpages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"

/* ---- the file ---- */

int hotpages_read_symbols(const char *path, struct symbols **out)
{
	uint8_t *text = NULL;
	size_t len = 0;
	int rc = file_read(path, SYMBOLS_FILE_BYTES, &text, &len);

	if (rc) {
		log_error("cannot read the symbols %s: %s", path, file_error(rc));
		return rc;
	}
	rc = symbols_parse((const char *)text, len, out);
	free(text);
	if (rc == -EBADMSG)
		log_error("--symbols %s: these are not lines of address, type and name with addresses that are not all zero; give "
			  "the "
			  "System.map of the guest's kernel, or a copy of its /proc/kallsyms made by root",
			  path);
	else if (rc)
		log_error("--symbols %s: %s", path, rc == -EMSGSIZE ? "more symbols than any kernel has" : strerror(-rc));
	return rc;
}

/* ---- guest RAM ---- */

static bool read_ram(const struct guestsyms_ram *ram, gpa_t gpa, void *buf, size_t len)
{
	const struct hotpages *hot = container_of(ram, const struct hotpages, ram);
	const struct vm *vm = hot->vm;
	rpn_t page;

	return !hot->give_up && memmap_rpn(&vm->config.map, gpa, &page) &&
	       dsm_peek(vm->dsm, (page << PAGE_SHIFT) + (gpa & (PAGE_BYTES - 1)), buf, len) == 0;
}

static gpa_t next_ram(const struct guestsyms_ram *ram, gpa_t gpa)
{
	const struct hotpages *hot = container_of(ram, const struct hotpages, ram);
	const struct vm *vm = hot->vm;
	rpn_t page;

	if (hot->give_up)
		return ram->end;
	if (!memmap_rpn(&vm->config.map, gpa, &page)) /* in the hole, or behind the end */
		return gpa < MEMMAP_HOLE_END ? MIN(MEMMAP_HOLE_END, ram->end) : ram->end;
	page = dsm_next(vm->dsm, page);
	return page < vm->config.map.pages ? MAX(memmap_gpa(page), gpa) : ram->end;
}

void hotpages_init(struct hotpages *hot, const struct vm *vm, const struct symbols *symbols)
{
	*hot = (struct hotpages){
		.ram = {.read = read_ram, .next = next_ram, .end = memmap_end(&vm->config.map)},
		.vm = vm,
		.symbols = symbols,
	};
}

void hotpages_destroy(struct hotpages *hot)
{
	guestsyms_free(hot->gs);
	hot->gs = NULL;
}

void hotpages_look(struct hotpages *hot)
{
	hotpages_destroy(hot);
	hot->err = guestsyms_new(&hot->ram, hot->vm->config.map.vcpus, hot->symbols, &hot->gs);
}

/* ---- words ---- */

const char *hotpages_source(const struct hotpages *hot)
{
	if (hot->gs)
		return guestsyms_kernel(hot->gs);
	return hot->err ? guestsyms_missing(hot->err) : "no symbols were looked for";
}

const char *hotpages_text(const struct hotpages *hot, const struct dsm_hot *page, char *buf)
{
	gpa_t gpa = memmap_gpa(page->page);
	int used = snprintf(buf, HOTPAGES_TEXT, "gpa 0x%llx, home node %u", (unsigned long long)gpa,
			    memmap_home(&hot->vm->config.map, page->page));
	struct guestsyms_page what;
	char text[GUESTSYMS_TEXT];

	guestsyms_page(hot->gs, gpa, &what);
	guestsyms_text(&what, text);
	if (page->marks & DSM_HOT_TABLE && what.kind != GUESTSYMS_OBJECTS)
		snprintf(text, sizeof(text), "a page table, which all nodes have now");
	else if (page->marks & DSM_HOT_TABLE)
		strncat(text, "; a page table, which all nodes have now", sizeof(text) - strlen(text) - 1);
	if (text[0])
		snprintf(buf + used, HOTPAGES_TEXT - (size_t)used, ": %s", text);
	return buf;
}

json_t *hotpages_json(const struct hotpages *hot, const struct dsm_hot *page)
{
	static const char *const kinds[] = {
		[GUESTSYMS_UNKNOWN] = "unknown", [GUESTSYMS_OBJECTS] = "objects", [GUESTSYMS_PERCPU] = "per-cpu",
		[GUESTSYMS_FREED] = "freed",     [GUESTSYMS_LOW] = "low",         [GUESTSYMS_DYNAMIC] = "dynamic",
	};
	gpa_t gpa = memmap_gpa(page->page);
	struct guestsyms_page what;
	char text[HOTPAGES_TEXT];
	json_t *o = json_object(), *names = json_array();

	guestsyms_page(hot->gs, gpa, &what);
	json_object_set_new(o, "page", json_integer((json_int_t)page->page));
	json_object_set_new(o, "gpa", json_integer((json_int_t)gpa));
	json_object_set_new(o, "transactions", json_integer((json_int_t)page->transactions));
	json_object_set_new(o, "home", json_integer(memmap_home(&hot->vm->config.map, page->page)));
	json_object_set_new(o, "kind", json_string(kinds[what.kind]));
	json_object_set_new(o, "page_table", json_boolean(page->marks & DSM_HOT_TABLE));
	if (what.cpu != VCPU_NONE)
		json_object_set_new(o, "cpu", json_integer(what.cpu));
	for (uint32_t i = 0; i < what.n; i++)
		json_array_append_new(names, json_string(what.name[i]));
	json_object_set_new(o, "symbols", names);
	json_object_set_new(o, "text", json_string(hotpages_text(hot, page, text)));
	return o;
}
