/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/log.h"
#include "net/key.h"
#include "vmm/cmdline.h"
#include "vmm/exitcode.h"
#include "vmm/follower.h"
#include "vmm/hostcheck.h"
#include "vmm/leader.h"
#include "vmm/signals.h"
#include "vmm/statscmd.h"

static int keygen(const struct keygen_options *options)
{
	char path[KEY_PATH_BYTES];
	struct net_why why;

	if (options->file)
		snprintf(path, sizeof(path), "%s", options->file);
	else if (key_default_path(path))
		return EXIT_USAGE;
	if (key_generate(path, options->force, &why)) {
		log_error("%s", why.text);
		return EXIT_USAGE;
	}
	printf("%s\n", path);
	return 0;
}

int main(int argc, char **argv)
{
	struct cmdline cl;
	int code = EXIT_USAGE;

	if (cmdline_parse(argc, argv, &cl))
		return EXIT_USAGE;
	switch (cl.command) {
	case COMMAND_RUN:
		signals_block();
		code = config_validate(&cl.config) ? EXIT_USAGE : leader_run(&cl.config);
		break;
	case COMMAND_NODE:
		signals_block();
		code = agent_run(&cl.node);
		break;
	case COMMAND_KEYGEN:
		code = keygen(&cl.keygen);
		break;
	case COMMAND_CHECK:
		code = check_run(cl.check.json);
		break;
	case COMMAND_STATS:
		code = statscmd_run(&cl.stats);
		break;
	case COMMAND_HELP:
	case COMMAND_NONE:
		help_print(stdout, cl.help_about);
		code = 0;
		break;
	case COMMAND_VERSION:
		version_print(stdout);
		code = 0;
		break;
	}
	cmdline_free(&cl);
	return code;
}
