/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person who mistyped a word may have meant: "--nodes" is near "--node". Pure; any thread.
 */
#ifndef VMM_SUGGEST_H
#define VMM_SUGGEST_H

#include <stddef.h>

/* How many letters differ: the least number of letters to insert, remove or replace, or of neighbours to swap, that makes `b` of
 * `a`. Words longer than SUGGEST_MAX are at SUGGEST_FAR from everything. */
#define SUGGEST_MAX 32u
#define SUGGEST_FAR 1000u
unsigned suggest_distance(const char *a, const char *b);

/* Takes the candidates one after the other, and keeps the nearest that is near enough: at most 2 letters away, and at most half of
 * the word's letters. Begin with {.word = what was typed}. */
struct suggest {
	const char *word;
	const char *best; /* of the candidates given, which stay the caller's; NULL: none is near */
	unsigned distance;
};
void suggest_try(struct suggest *s, const char *candidate);

#endif
