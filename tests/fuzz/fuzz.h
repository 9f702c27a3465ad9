/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fuzz target shares: the entry point's prototype, and a reader that turns the input
 * into numbers for targets that drive an interface rather than parse bytes.
 *
 * A target is one file, fuzz_NAME.c, linked with the whole library and libFuzzer, AddressSanitizer
 * and UBSan. It keeps no state between inputs and logs as it likes (tests/fuzz/run closes stderr for
 * it). `tests/fuzz/run build/tests/fuzz/fuzz_NAME` runs it for a fixed time; giving the binary a
 * file runs that one input again.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_input {
	const uint8_t *data;
	size_t left;
};

/* Copies up to len bytes of the input; the rest of buf becomes 0 when the input runs out. */
static inline void fuzz_take(struct fuzz_input *in, void *buf, size_t len)
{
	size_t n = in->left < len ? in->left : len;

	memset(buf, 0, len);
	if (n)
		memcpy(buf, in->data, n);
	in->data += n;
	in->left -= n;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	uint8_t v;

	fuzz_take(in, &v, sizeof(v));
	return v;
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t v;

	fuzz_take(in, &v, sizeof(v));
	return v;
}

static inline uint64_t fuzz_u64(struct fuzz_input *in)
{
	uint64_t v;

	fuzz_take(in, &v, sizeof(v));
	return v;
}

#endif
