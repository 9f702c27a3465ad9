/* SPDX-License-Identifier: Apache-2.0 */
/* Symbol tables as a kernel of each layout has them (vmm/kallsyms.h), made from a list: for tests and the fuzz target. */
#ifndef KALLSYMS_HELP_H
#define KALLSYMS_HELP_H

#include <stdio.h>
#include <string.h>

#include "vmm/kallsyms.h"

enum made_layout { MADE_61, MADE_62, MADE_64, MADE_615, MADE_LAYOUTS };

#define MADE_BASE  UINT64_C(0xffffffff81000000)
#define MADE_BYTES (64 * 1024)

struct made_symbol {
	uint64_t addr; /* below 2^31: per-CPU, absolute before 6.15 */
	char type;
	const char *name;
};

struct made {
	uint8_t bytes[MADE_BYTES];
	size_t len, tokens;
};

static inline void made_put(struct made *m, const void *bytes, size_t len)
{
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

static inline void made_align(struct made *m)
{
	m->len = (m->len + 7) & ~(size_t)7;
}

/* The text with its type, "queue" as the token 0x80 and the rest letter by letter. Returns its length. */
static inline size_t made_name(const struct made_symbol *s, uint8_t *out)
{
	char text[SYMBOL_NAME_MAX + 8];
	size_t n = 0;

	snprintf(text, sizeof(text), "%c%s", s->type, s->name);
	for (const char *p = text; *p; n++) {
		bool token = strncmp(p, "queue", 5) == 0;

		out[n] = token ? 0x80 : (uint8_t)*p;
		p += token ? 5 : 1;
	}
	return n;
}

static inline void made_offsets(struct made *m, enum made_layout layout, const struct made_symbol *s, uint32_t n)
{
	uint64_t base = MADE_BASE;

	made_align(m);
	for (uint32_t i = 0; i < n; i++) {
		int32_t offset = (int32_t)(s[i].addr - MADE_BASE);

		if (layout != MADE_615)
			offset = s[i].addr >> 31 ? -1 - offset : (int32_t)s[i].addr;
		made_put(m, &offset, 4);
	}
	made_align(m);
	made_put(m, &base, 8);
}

static inline void made_seqs(struct made *m, uint32_t n)
{
	made_align(m);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t seq[3] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};

		made_put(m, seq, 3);
	}
}

static inline void made_tokens(struct made *m)
{
	uint16_t index[256];

	made_align(m);
	m->tokens = m->len;
	for (unsigned i = 0; i < 256; i++) {
		char text[3] = {(char)i, 0, 0};

		index[i] = (uint16_t)(m->len - m->tokens);
		if (i <= ' ' || i > '~')
			snprintf(text, sizeof(text), i % 3 ? "ab" : ""); /* some slots are never used */
		made_put(m, i == 0x80 ? "queue" : text, strlen(i == 0x80 ? "queue" : text) + 1);
	}
	made_align(m);
	made_put(m, index, sizeof(index));
}

/* `before`: bytes of something else that come first, a multiple of 8. */
static inline void made_tables(struct made *m, enum made_layout layout, const struct made_symbol *s, uint32_t n, size_t before)
{
	uint32_t marker[64] = {0};

	memset(m, 0, sizeof(*m));
	memset(m->bytes, 0xa5, before);
	m->len = before;
	if (layout <= MADE_62)
		made_offsets(m, layout, s, n);
	made_put(m, &n, 4);
	made_align(m);
	size_t names = m->len;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t name[SYMBOL_NAME_MAX + 8];
		size_t len = made_name(&s[i], name);
		uint8_t head[2] = {(uint8_t)(len > 0x7f ? (len & 0x7f) | 0x80 : len), (uint8_t)(len >> 7)};

		if (i % 256 == 0)
			marker[i / 256] = (uint32_t)(m->len - names);
		made_put(m, head, len > 0x7f ? 2 : 1);
		made_put(m, name, len);
	}
	made_align(m);
	made_put(m, marker, (n + 255) / 256 * 4);
	if (layout == MADE_62)
		made_seqs(m, n);
	made_tokens(m);
	if (layout >= MADE_64) {
		made_offsets(m, layout, s, n);
		made_seqs(m, n);
	}
	made_align(m);
}

/* A list of `n` symbols with names of their own, ascending, some per-CPU ones first; names[] holds the texts. */
static inline void made_list(struct made_symbol *s, char (*names)[32], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%s_%u", i % 5 ? "thing" : "workqueue", i);
		s[i] = (struct made_symbol){.addr = MADE_BASE + 64ull * i, .type = "TDbr"[i % 4], .name = names[i]};
	}
}

#endif
