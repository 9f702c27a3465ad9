/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request to the statistics socket, and as the answer that `pangea stats` shows. The first byte chooses. */
#include <stdlib.h>

#include "fuzz.h"
#include "vmm/statscmd.h"
#include "vmm/statsock.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

static void request(struct fuzz_input *in)
{
	struct statsock_request r;

	if (statsock_parse((const char *)in->data, in->left, &r) == 0)
		REQUIRE(r.n <= DSM_HOTTEST && (r.what == STATSOCK_PAGES || r.n == 0));
}

static void shown(struct fuzz_input *in)
{
	json_t *nodes = json_loadb((const char *)in->data, in->left, JSON_REJECT_DUPLICATES, NULL);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	REQUIRE(out);
	statscmd_print(out, nodes, in->left % 2 ? nodes : NULL);
	fclose(out);
	for (size_t i = 0; i < len; i++)
		REQUIRE(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
	free(text);
	json_decref(nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	if (fuzz_u8(&in) % 2)
		request(&in);
	else
		shown(&in);
	return 0;
}
