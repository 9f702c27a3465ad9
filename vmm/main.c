/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

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

/* A socket a peer and lane: 64 nodes with 16 shards have more than the 1024 that a process may have unless it asks. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_warn("the limit of open files stays as it is: %s", strerror(errno));
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
		raise_file_limit();
		code = config_validate(&cl.config) ? EXIT_USAGE : leader_run(&cl.config);
		break;
	case COMMAND_NODE:
		signals_block();
		raise_file_limit();
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
