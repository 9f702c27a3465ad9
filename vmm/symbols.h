/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of a guest kernel, by address: what kallsyms.h finds in its memory, or the text of a System.map or of /proc/kallsyms.
 *
 * Filled in by one thread, then sorted, then read only: by any thread without a lock. Names are checked when they come in
 * (printable, no space), so that they can be shown. Errors: -ENOMEM, -EBADMSG (not such bytes), -EMSGSIZE (more than any kernel
 * has). Nothing is logged here. Pure but for malloc.
 */
#ifndef VMM_SYMBOLS_H
#define VMM_SYMBOLS_H

#include "base/types.h"

#define SYMBOLS_MAX        (UINT32_C(1) << 21) /* a distribution's kernel has 100 000 to 250 000 */
#define SYMBOL_NAME_MAX    512u                /* with its end: KSYM_NAME_LEN of Linux 6.1 and later */
#define SYMBOLS_FILE_BYTES (64 * MIB)

struct symbol {
	uint64_t addr;
	uint32_t name; /* offset in the pool */
	char type;     /* nm(1)'s letter */
};

struct symbols {
	size_t n, max;
	struct symbol *symbol; /* after symbols_sort: ascending by address, aliases in the order in which they came */
	char *pool;
	size_t pool_len, pool_max;
};

/* Room for `max` symbols, which is only a guess: it grows. */
CHECKED int symbols_new(size_t max, struct symbols **out);
void symbols_free(struct symbols *symbols);
/* A name of `len` bytes, not ended. -EBADMSG: empty, too long, not printable. */
CHECKED int symbols_add(struct symbols *symbols, uint64_t addr, char type, const char *name, size_t len);
void symbols_sort(struct symbols *symbols);

/* "ADDRESS TYPE NAME [MODULE]" a line, as nm, System.map and /proc/kallsyms have it; undefined names and modules' are left out.
 * Sorted. -EBADMSG: a line that is not so, or no name with an address (/proc/kallsyms shows zeros to who may not see them). */
CHECKED int symbols_parse(const char *text, size_t len, struct symbols **out);

static inline const char *symbols_name(const struct symbols *symbols, size_t i)
{
	return symbols->pool + symbols->symbol[i].name;
}
/* The address of a name; false if there is none. */
bool symbols_find(const struct symbols *symbols, const char *name, uint64_t *addr);
/* How many symbols lie at or below the address: entry [result - 1] is the last of them. */
size_t symbols_upto(const struct symbols *symbols, uint64_t addr);

#endif
