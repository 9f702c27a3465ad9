/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a guest's memory with symbol tables, as the text of --symbols; and tables that hold together but for a few bytes,
 * which get farther. Whatever is read must be fit to be shown, sorted and inside its pool. The first byte chooses.
 */
#include <stdlib.h>

#include "../unit/kallsyms_help.h"
#include "fuzz.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

#define N 300u

static void judge(struct symbols *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const char *name = symbols_name(s, i);

		REQUIRE(name >= s->pool && name < s->pool + s->pool_len && name[0] && strlen(name) < SYMBOL_NAME_MAX);
		for (const char *p = name; *p; p++)
			REQUIRE(*p > ' ' && *p <= '~');
		REQUIRE(i == 0 || s->symbol[i - 1].addr <= s->symbol[i].addr);
	}
	if (s->n) {
		size_t k = symbols_upto(s, s->symbol[s->n / 2].addr);

		REQUIRE(k > s->n / 2 && s->symbol[k - 1].addr == s->symbol[s->n / 2].addr);
	}
	symbols_free(s);
}

static void memory(const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	while (kallsyms_find(bytes, len, at, &at)) {
		struct symbols *s;

		REQUIRE(at < len);
		if (kallsyms_parse(bytes, len, at, &s) == 0)
			judge(s);
		at += 8;
	}
}

static void tables(struct fuzz_input *in)
{
	struct made *m = malloc(sizeof(*m));
	struct made_symbol list[N];
	char names[N][32];
	uint8_t *copy;

	REQUIRE(m);
	made_list(list, names, N);
	made_tables(m, (enum made_layout)(fuzz_u8(in) % MADE_LAYOUTS), list, N, fuzz_u8(in) * 8u);
	while (in->left) {
		uint32_t at = fuzz_u32(in);

		m->bytes[at % m->len] = fuzz_u8(in);
	}
	copy = malloc(m->len); /* as long as it is, so that a byte too far is seen */
	REQUIRE(copy);
	memcpy(copy, m->bytes, m->len);
	struct symbols *s;
	if (kallsyms_parse(copy, m->len, m->tokens, &s) == 0)
		judge(s);
	memory(copy, m->len);
	free(copy);
	free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct symbols *s;

	switch (fuzz_u8(&in) % 3) {
	case 0:
		tables(&in);
		break;
	case 1:
		memory(in.data, in.left);
		break;
	case 2:
		if (symbols_parse((const char *)in.data, in.left, &s) == 0)
			judge(s);
		break;
	}
	return 0;
}
