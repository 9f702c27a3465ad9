/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the difference to a page: refused, and the page untouched, or applied; then the difference between the two pages
 * makes the same page of the old one again, and is no longer than what came. And any two pages come back.
 */
#include <stdlib.h>
#include <string.h>

#include "dsm/delta.h"
#include "fuzz.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t old[PAGE_BYTES], new[PAGE_BYTES], page[PAGE_BYTES], out[2 * PAGE_BYTES];
	struct fuzz_input in = {data, size};
	size_t len;

	memset(old, fuzz_u8(&in), sizeof(old));
	memcpy(new, old, sizeof(new));
	if (delta_apply(in.data, in.left, new)) {
		REQUIRE(memcmp(old, new, sizeof(new)) == 0);
		for (size_t i = 0; i + 3 <= in.left; i += 3)
			new[(in.data[i] | in.data[i + 1] << 8) % PAGE_BYTES] ^= in.data[i + 2];
		REQUIRE(delta_encode(old, new, out, sizeof(out), &len));
	} else {
		REQUIRE(delta_encode(old, new, out, in.left + PAGE_BYTES / 4, &len)); /* a run may have words that are as before */
	}
	memcpy(page, old, sizeof(page));
	REQUIRE(delta_apply(out, len, page) == 0 && memcmp(page, new, sizeof(page)) == 0);
	return 0;
}
