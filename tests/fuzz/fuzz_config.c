/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file: they are refused or become a config that can be judged and freed. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "vmm/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	char *line;

	config_default(&config);
	if (config_parse_json(&config, "fuzz.json", (const char *)data, size) == 0) {
		int rc = config_validate(&config);

		(void)rc;
		if (config_append(&config, &line) == 0)
			free(line);
	}
	config_free(&config);
	return 0;
}
