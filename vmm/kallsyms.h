/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The symbol tables that a Linux kernel has of itself in its memory, as bytes become `struct symbols`: pure, and the bytes are the
 * guest's, which may put anything there.
 *
 * CONFIG_KALLSYMS, x86-64, Linux 6.1 and later. All parts lie in .rodata, each aligned to 8; the program that writes them is
 * scripts/kallsyms.c of the kernel:
 *
 *      6.1         offsets  relative_base  num_syms  names  markers              token_table  token_index
 *      6.2, 6.3    offsets  relative_base  num_syms  names  markers  seqs        token_table  token_index
 *      since 6.4   num_syms  names  markers  token_table  token_index  offsets  relative_base  seqs
 *
 *      num_syms       u32 N, then 4 bytes of padding
 *      names          N times: length (one byte, two if bit 7 is set: ULEB128), that many token numbers; the text's first letter
 *                     is the type
 *      markers        u32 for each 256 symbols: where in names they begin
 *      seqs           N times 3 bytes (the order of the names)
 *      token_table    256 strings, each with its end; those of the digits and letters are themselves
 *      token_index    256 times u16: where in token_table each begins
 *      offsets        N times i32. Negative: the address is relative_base - 1 - offset; otherwise it is the offset itself (per-CPU
 *                     symbols). If none is negative: relative_base + offset (since 6.15).
 *
 * A table that does not hold together in every part is refused: no part of it is shown.
 */
#ifndef VMM_KALLSYMS_H
#define VMM_KALLSYMS_H

#include "vmm/symbols.h"

/* How far the parts may lie from the token table: what a caller should have of the bytes before and after it.
 * Enough for twice the symbols of a distribution's kernel. */
#define KALLSYMS_BEFORE_BYTES (8 * MIB)
#define KALLSYMS_AFTER_BYTES  (4 * MIB)
/* What kallsyms_find looks at beyond the place that it returns. */
#define KALLSYMS_FIND_BYTES 8192u

/* The first place at or after `from` where a token table with its index begins; false: there is none wholly in [bytes, bytes+len).
 */
bool kallsyms_find(const uint8_t *bytes, size_t len, size_t from, size_t *token_table);

/* The whole, from the bytes around the token table at [bytes + token_table]; `bytes` is aligned to 8 in the guest. Sorted.
 * -EBADMSG: what is around it is not of such a kernel; -ENOMEM. */
CHECKED int kallsyms_parse(const uint8_t *bytes, size_t len, size_t token_table, struct symbols **out);

#endif
