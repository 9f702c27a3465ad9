/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kallsyms.h"

#include <errno.h>
#include <string.h>

#define TOKENS         256u
#define SYMBOLS_FEWEST 64u /* below that it is no kernel */
#define CANDIDATES_MAX 32u /* places that look like num_syms and are walked from */
#define KERNEL_HALF    (UINT64_C(1) << 63)

/* Where the parts are; [at, end) each. */
struct layout {
	const uint8_t *bytes;
	size_t len;
	size_t tokens, index; /* token_table, token_index */
	size_t names, names_end;
	size_t offsets, base;
	uint32_t n;
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static size_t align8(size_t at)
{
	return (at + 7) & ~(size_t)7;
}

/* ---- the tokens ---- */

/* 256 strings from `at`, and behind them the index that agrees with them. *index: where that is. */
static bool is_token_table(const uint8_t *bytes, size_t len, size_t at, size_t *index)
{
	uint16_t start[TOKENS];
	size_t p = at;

	for (unsigned i = 0; i < TOKENS; i++) {
		const uint8_t *end = p < len ? memchr(bytes + p, 0, MIN(len - p, (size_t)SYMBOL_NAME_MAX)) : NULL;

		if (!end || p - at > UINT16_MAX)
			return false;
		start[i] = (uint16_t)(p - at);
		p = (size_t)(end - bytes) + 1;
	}
	p = align8(p);
	if (p > len || len - p < sizeof(start))
		return false;
	for (unsigned i = 0; i < TOKENS; i++)
		if (get16(bytes + p + 2 * i) != start[i])
			return false;
	*index = p;
	return true;
}

/* The tokens of the ten digits are themselves, since names have all of them: a sequence that hardly anything else is. */
bool kallsyms_find(const uint8_t *bytes, size_t len, size_t from, size_t *token_table)
{
	static const char digits[] = "\0000\0001\0002\0003\0004\0005\0006\0007\0008\0009";

	for (size_t look = from; look < len;) {
		const uint8_t *hit = memmem(bytes + look, len - look, digits, sizeof(digits));
		size_t at, index;

		if (!hit)
			return false;
		at = (size_t)(hit - bytes); /* the end of the 48th string, as "0" is the 49th */
		look = at + 1;
		for (unsigned i = 1; i < '0' && at; i++)
			do
				at--;
			while (at && bytes[at]);
		/* The end of the first, which begins at a multiple of 8 before it. */
		for (size_t back = at & 7; back <= at && back < SYMBOL_NAME_MAX; back += 8) {
			if (back && memchr(bytes + at - back, 0, back))
				break;
			if (at - back >= from && is_token_table(bytes, len, at - back, &index)) {
				*token_table = at - back;
				return true;
			}
		}
	}
	return false;
}

/* ---- the names ---- */

/* The length that begins at `at`, and where the tokens do. False: the end of the bytes. */
static bool name_at(const uint8_t *bytes, size_t end, size_t at, size_t *tokens, size_t *n)
{
	if (at >= end)
		return false;
	size_t len = bytes[at++];
	if (len & 0x80) {
		if (at >= end)
			return false;
		len = (len & 0x7f) | (size_t)bytes[at++] << 7;
	}
	if (len == 0 || len > end - at)
		return false;
	*tokens = at;
	*n = len;
	return true;
}

/* num_syms at `at`: do names and markers follow that end where the token table begins? */
static bool names_from(struct layout *l, size_t at)
{
	uint32_t n = get32(l->bytes + at);
	size_t marks = ((size_t)n + 255) / 256, p = at + 8, tokens, len;

	if (marks * 4 > l->tokens - p)
		return false;
	size_t end = l->tokens - marks * 4; /* names end at or before that */
	for (uint32_t i = 0; i < n; i++) {
		if (!name_at(l->bytes, end, p, &tokens, &len))
			return false;
		p = tokens + len;
	}
	size_t markers = align8(p), after = align8(markers + marks * 4);
	if (after != l->tokens && align8(after + 3 * (size_t)n) != l->tokens)
		return false;
	l->n = n;
	l->names = at + 8;
	l->names_end = p;
	p = l->names;
	for (uint32_t i = 0; i < n; i++) { /* in bounds: walked above */
		if (i % 256 == 0 && get32(l->bytes + markers + i / 256 * 4) != p - l->names)
			return false;
		if (!name_at(l->bytes, l->names_end, p, &tokens, &len))
			return false;
		p = tokens + len;
	}
	return true;
}

/* Backwards from the token table: N is a number of symbols that fits between. */
static bool find_names(struct layout *l)
{
	unsigned tried = 0;

	for (size_t at = l->tokens & ~(size_t)7; at >= 8 && tried < CANDIDATES_MAX;) {
		at -= 8;
		uint64_t n = get64(l->bytes + at);
		size_t room = l->tokens - at;

		/* A name and its length take 2 bytes at least, and 64 on average are more than any kernel's. */
		if (n < SYMBOLS_FEWEST || n > SYMBOLS_MAX || n * 2 > room || n * 64 < room)
			continue;
		tried++;
		if (names_from(l, at))
			return true;
	}
	return false;
}

/* ---- the addresses ---- */

static bool is_kernel_base(uint64_t base)
{
	return base >= KERNEL_HALF && !(base & (PAGE_BYTES - 1));
}

static bool find_offsets(struct layout *l)
{
	size_t bytes = align8((size_t)l->n * 4), num_syms = l->names - 8;

	l->offsets = align8(l->index + TOKENS * 2);
	if (l->len > l->offsets && l->len - l->offsets >= bytes + 8 && is_kernel_base(get64(l->bytes + l->offsets + bytes))) {
		l->base = l->offsets + bytes;
		return true;
	}
	if (num_syms < bytes + 8 || !is_kernel_base(get64(l->bytes + num_syms - 8)))
		return false;
	l->base = num_syms - 8;
	l->offsets = l->base - bytes;
	return true;
}

/* ---- the whole ---- */

/* The text of a name, its type first. False: longer than any. */
static bool expand(const struct layout *l, size_t at, size_t n, char text[SYMBOL_NAME_MAX + 1], size_t *len)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		const char *token = (const char *)l->bytes + l->tokens + get16(l->bytes + l->index + 2u * l->bytes[at + i]);

		for (; *token; token++) { /* it has an end: is_token_table */
			if (used > SYMBOL_NAME_MAX)
				return false;
			text[used++] = *token;
		}
	}
	*len = used;
	return used >= 2;
}

static int collect(const struct layout *l, struct symbols *s)
{
	uint64_t base = get64(l->bytes + l->base);
	char text[SYMBOL_NAME_MAX + 1];
	bool negative = false;
	size_t p = l->names, at, n, len;
	int rc = 0;

	for (uint32_t i = 0; i < l->n && !negative; i++)
		negative = get32(l->bytes + l->offsets + 4 * (size_t)i) >> 31;
	for (uint32_t i = 0; i < l->n && !rc; i++) {
		uint32_t offset = get32(l->bytes + l->offsets + 4 * (size_t)i);
		uint64_t addr = negative ? offset : base + offset;

		if (offset >> 31)
			addr = base + ~offset; /* base - 1 - (int)offset */
		if (!name_at(l->bytes, l->names_end, p, &at, &n) || !expand(l, at, n, text, &len))
			return -EBADMSG;
		p = at + n;
		rc = symbols_add(s, addr, text[0], text + 1, len - 1);
	}
	return rc;
}

int kallsyms_parse(const uint8_t *bytes, size_t len, size_t token_table, struct symbols **out)
{
	struct layout l = {.bytes = bytes, .len = len, .tokens = token_table};
	struct symbols *s;

	if (token_table > len || !is_token_table(bytes, len, token_table, &l.index) || !find_names(&l) || !find_offsets(&l))
		return -EBADMSG;
	int rc = symbols_new(l.n, &s);
	if (rc)
		return rc;
	rc = collect(&l, s);
	if (rc) {
		symbols_free(s);
		return rc == -ENOMEM ? rc : -EBADMSG;
	}
	symbols_sort(s);
	*out = s;
	return 0;
}
