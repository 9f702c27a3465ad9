/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/delta.h"

#include <errno.h>
#include <string.h>

#define WORD       sizeof(uint64_t)
#define PAGE_WORDS (PAGE_BYTES / WORD)
#define STRIDE     8u /* words that are compared at once */

struct run {
	uint16_t first, words;
};

static bool differs(const uint8_t *old, const uint8_t *new, size_t word)
{
	return memcmp(old + word * WORD, new + word *WORD, WORD) != 0;
}

bool delta_encode(const uint8_t *old, const uint8_t *new, uint8_t *out, size_t max, size_t *len)
{
	size_t used = 0;

	for (size_t at = 0; at < PAGE_WORDS;) {
		if (at % STRIDE == 0 && memcmp(old + at * WORD, new + at *WORD, STRIDE * WORD) == 0) {
			at += STRIDE;
			continue;
		}
		if (!differs(old, new, at)) {
			at++;
			continue;
		}
		struct run run = {.first = (uint16_t)at};
		while (at < PAGE_WORDS && differs(old, new, at))
			at++;
		run.words = (uint16_t)(at - run.first);
		if (sizeof(run) + run.words * WORD > max - used)
			return false;
		memcpy(out + used, &run, sizeof(run));
		memcpy(out + used + sizeof(run), new + run.first *WORD, run.words * WORD);
		used += sizeof(run) + run.words * WORD;
	}
	*len = used;
	return true;
}

/* The run at `at`, which lies in [bytes, bytes+len). */
static struct run run_at(const uint8_t *bytes, size_t at)
{
	struct run run;

	memcpy(&run, bytes + at, sizeof(run));
	return run;
}

static int check(const uint8_t *bytes, size_t len)
{
	size_t at = 0, word = 0;

	while (at < len) {
		if (len - at < sizeof(struct run))
			return -EMSGSIZE;
		struct run run = run_at(bytes, at);
		if (run.words == 0 || run.first < word || run.first >= PAGE_WORDS || run.words > PAGE_WORDS - run.first)
			return -EBADMSG;
		at += sizeof(run);
		if (len - at < run.words * WORD)
			return -EMSGSIZE;
		at += run.words * WORD;
		word = (size_t)run.first + run.words;
	}
	return 0;
}

int delta_apply(const uint8_t *bytes, size_t len, uint8_t *page)
{
	int err = check(bytes, len);

	for (size_t at = 0; !err && at < len;) {
		struct run run = run_at(bytes, at);

		at += sizeof(run);
		memcpy(page + run.first * WORD, bytes + at, run.words * WORD);
		at += run.words * WORD;
	}
	return err;
}
