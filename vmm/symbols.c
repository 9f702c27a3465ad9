/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/symbols.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POOL_BYTES_MAX (UINT32_C(1) << 30)

int symbols_new(size_t max, struct symbols **out)
{
	struct symbols *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->max = MAX(MIN(max, (size_t)SYMBOLS_MAX), 16u);
	s->pool_max = s->max * 16;
	s->symbol = malloc(s->max * sizeof(*s->symbol));
	s->pool = malloc(s->pool_max);
	if (!s->symbol || !s->pool) {
		symbols_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	free(s->symbol);
	free(s->pool);
	free(s);
}

static int grow(struct symbols *s, size_t len)
{
	if (s->n == s->max) {
		if (s->max >= SYMBOLS_MAX)
			return -EMSGSIZE;
		struct symbol *symbol = realloc(s->symbol, 2 * s->max * sizeof(*symbol));
		if (!symbol)
			return -ENOMEM;
		s->symbol = symbol;
		s->max *= 2;
	}
	if (s->pool_max - s->pool_len < len + 1) {
		size_t max = 2 * s->pool_max + len + 1;
		if (max > POOL_BYTES_MAX)
			return -EMSGSIZE;
		char *pool = realloc(s->pool, max);
		if (!pool)
			return -ENOMEM;
		s->pool = pool;
		s->pool_max = max;
	}
	return 0;
}

int symbols_add(struct symbols *s, uint64_t addr, char type, const char *name, size_t len)
{
	if (len == 0 || len >= SYMBOL_NAME_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return -EBADMSG;
	int rc = grow(s, len);
	if (rc)
		return rc;
	s->symbol[s->n++] = (struct symbol){.addr = addr, .name = (uint32_t)s->pool_len, .type = type};
	memcpy(s->pool + s->pool_len, name, len);
	s->pool[s->pool_len + len] = 0;
	s->pool_len += len + 1;
	return 0;
}

/* The pool is filled in order, so a name's place there tells which came first. */
static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

void symbols_sort(struct symbols *s)
{
	qsort(s->symbol, s->n, sizeof(*s->symbol), by_address);
}

/* ---- text ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* One line without its newline. */
static int parse_line(struct symbols *s, const char *line, size_t len)
{
	uint64_t addr = 0;
	size_t at = 0;

	for (; at < len && hex_digit(line[at]) >= 0; at++)
		addr = addr << 4 | (uint64_t)hex_digit(line[at]);
	if (at == 0) { /* nm writes an undefined name behind blanks */
		while (at < len && line[at] == ' ')
			at++;
		return at > 0 && at < len && (line[at] == 'U' || line[at] == 'w') ? 0 : -EBADMSG;
	}
	if (at > 16 || len - at < 4 || line[at] != ' ' || line[at + 2] != ' ')
		return -EBADMSG;
	char type = line[at + 1];
	const char *name = line + at + 3;
	size_t name_len = 0;

	while (at + 3 + name_len < len && name[name_len] != '\t' && name[name_len] != ' ')
		name_len++;
	if (at + 3 + name_len < len) /* "\t[module]" */
		return 0;
	return symbols_add(s, addr, type, name, name_len);
}

int symbols_parse(const char *text, size_t len, struct symbols **out)
{
	struct symbols *s;
	bool any = false;
	int rc = symbols_new(len / 40, &s);

	if (rc)
		return rc;
	while (len && !rc) {
		const char *end = memchr(text, '\n', len);
		size_t line = end ? (size_t)(end - text) : len;

		rc = line ? parse_line(s, text, line) : 0;
		len -= line + (end ? 1 : 0);
		text += line + (end ? 1 : 0);
	}
	for (size_t i = 0; i < s->n && !any; i++)
		any = s->symbol[i].addr != 0;
	if (!rc && !any)
		rc = -EBADMSG;
	if (rc) {
		symbols_free(s);
		return rc;
	}
	symbols_sort(s);
	*out = s;
	return 0;
}

/* ---- look-ups ---- */

bool symbols_find(const struct symbols *s, const char *name, uint64_t *addr)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(symbols_name(s, i), name) == 0) {
			*addr = s->symbol[i].addr;
			return true;
		}
	return false;
}

size_t symbols_upto(const struct symbols *s, uint64_t addr)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->symbol[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}
