/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/suggest.h"

#include <string.h>

#include "base/types.h"

#define NEAR 2u

/* Optimal string alignment: row i, column j has the distance of the first i letters of a and the first j of b. */
unsigned suggest_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned d[SUGGEST_MAX + 1][SUGGEST_MAX + 1];

	if (n > SUGGEST_MAX || m > SUGGEST_MAX)
		return SUGGEST_FAR;
	for (unsigned i = 0; i <= n; i++) {
		for (unsigned j = 0; j <= m; j++) {
			if (!i || !j) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = MIN(MIN(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[n][m];
}

void suggest_try(struct suggest *s, const char *candidate)
{
	unsigned distance = suggest_distance(s->word, candidate);

	if (distance > NEAR || 2 * distance > strlen(s->word) || (s->best && distance >= s->distance))
		return;
	s->best = candidate;
	s->distance = distance;
}
