/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The difference between two pages, as bytes: runs of words that changed, in ascending order.
 *
 *      +-------+-------+------------------+-------+-------+---------
 *      | first | words | 8 * words bytes  | first | words | ...            all little-endian
 *      +-------+-------+------------------+-------+-------+---------
 *        u16     u16     the new bytes
 *
 * A word is 8 bytes, word n of a page its bytes [8n, 8n+8). Two pages that are equal differ by no bytes at all.
 *
 * Pure: no state, no allocation; the bytes of delta_apply are a peer's, and hostile. Any thread.
 */
#ifndef DSM_DELTA_H
#define DSM_DELTA_H

#include "base/types.h"

/* Writes what turns the page at `old` into that at `new` to [out, out+max). True: *len of its bytes are written. False: it is
 * longer than `max`, and what is at `out` means nothing. */
CHECKED bool delta_encode(const uint8_t *old, const uint8_t *new, uint8_t *out, size_t max, size_t *len);

/* Changes `page` by the [bytes, bytes+len) of a delta. -EMSGSIZE: it ends within a run; -EBADMSG: a run that is empty, does not lie
 * after the one before it, or leaves the page. The page is untouched then. */
CHECKED int delta_apply(const uint8_t *bytes, size_t len, uint8_t *page);

#endif
