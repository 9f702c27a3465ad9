/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and numbers as people write them: "512M", "1G", "4096". Pure. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/types.h"

/* Bytes from a decimal number with an optional suffix K, M, G or T (powers of 1024, either case).
 * Without a suffix: bytes. -EINVAL: not a number, trailing text; -ERANGE: over 2^63 - 1. */
CHECKED int units_parse_bytes(const char *text, uint64_t *bytes);

/* A decimal number in [0, max]. -EINVAL, -ERANGE. */
CHECKED int units_parse_u32(const char *text, uint32_t max, uint32_t *value);

/* "512 MiB", "1.5 GiB": for people. buf of UNITS_TEXT bytes; returns buf. */
#define UNITS_TEXT 24
char *units_format_bytes(uint64_t bytes, char *buf);

#endif
