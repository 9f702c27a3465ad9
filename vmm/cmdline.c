/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cmdline.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "vmm/suggest.h"

/* Above any character, so that an unknown short option is told from a known long one. */
enum option_id {
	OPT_HELP = 'h',
	OPT_FIRST = 256,
	OPT_NODE = OPT_FIRST,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_APPEND,
	OPT_CONFIG,
	OPT_KEY,
	OPT_SHARDS,
	OPT_WITHOUT,
	OPT_POLL_US,
	OPT_BIND,
	OPT_SERIAL,
	OPT_NO_GUEST_DEFAULTS,
	OPT_TRIPLE_FAULT,
	OPT_NO_REBOOT,
	OPT_STATS,
	OPT_STATS_JSON,
	OPT_SYMBOLS,
	OPT_READY_TIMEOUT,
	OPT_TRANSPORT,
	OPT_QUIET,
	OPT_LISTEN,
	OPT_ONCE,
	OPT_READY_FD,
	OPT_KEY_FD,
	OPT_FORCE,
	OPT_JSON,
	OPT_WATCH,
	OPT_MACHINE,
};

static const struct option run_options[] = {
	{"node", required_argument, NULL, OPT_NODE},
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"append", required_argument, NULL, OPT_APPEND},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"key", required_argument, NULL, OPT_KEY},
	{"shards", required_argument, NULL, OPT_SHARDS},
	{"without", required_argument, NULL, OPT_WITHOUT},
	{"poll-us", required_argument, NULL, OPT_POLL_US},
	{"bind", required_argument, NULL, OPT_BIND},
	{"serial", required_argument, NULL, OPT_SERIAL},
	{"no-guest-defaults", no_argument, NULL, OPT_NO_GUEST_DEFAULTS},
	{"triple-fault", required_argument, NULL, OPT_TRIPLE_FAULT},
	{"no-reboot", no_argument, NULL, OPT_NO_REBOOT},
	{"stats", no_argument, NULL, OPT_STATS},
	{"stats-json", required_argument, NULL, OPT_STATS_JSON},
	{"symbols", required_argument, NULL, OPT_SYMBOLS},
	{"ready-timeout", required_argument, NULL, OPT_READY_TIMEOUT},
	{"transport", required_argument, NULL, OPT_TRANSPORT},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const struct option node_options[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"key", required_argument, NULL, OPT_KEY},
	{"once", no_argument, NULL, OPT_ONCE},
	{"ready-fd", required_argument, NULL, OPT_READY_FD},
	{"key-fd", required_argument, NULL, OPT_KEY_FD},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const struct option keygen_options[] = {
	{"force", no_argument, NULL, OPT_FORCE},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const struct option json_options[] = {
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const struct option stats_options[] = {
	{"json", no_argument, NULL, OPT_JSON},       {"watch", no_argument, NULL, OPT_WATCH},
	{"node", required_argument, NULL, OPT_NODE}, {"machine", required_argument, NULL, OPT_MACHINE},
	{"help", no_argument, NULL, OPT_HELP},       {NULL, 0, NULL, 0},
};

static int set_run(struct cmdline *cl, int opt, const char *arg);
static int set_node(struct cmdline *cl, int opt, const char *arg);
static int set_flag(struct cmdline *cl, int opt, const char *arg);
static int set_stats(struct cmdline *cl, int opt, const char *arg);
static int word_keygen(struct cmdline *cl, const char *arg);

/* The commands, and how each takes an option and a word that is no option (unset: it takes none). */
struct command_def {
	const char *name;
	const struct option *options;
	int (*set)(struct cmdline *cl, int opt, const char *arg);
	int (*word)(struct cmdline *cl, const char *arg);
};

static const struct command_def commands[] = {
	[COMMAND_RUN] = {"run", run_options, set_run, NULL},
	[COMMAND_NODE] = {"node", node_options, set_node, NULL},
	[COMMAND_KEYGEN] = {"keygen", keygen_options, set_flag, word_keygen},
	[COMMAND_CHECK] = {"check", json_options, set_flag, NULL},
	[COMMAND_STATS] = {"stats", stats_options, set_stats, NULL},
};

static int set_run(struct cmdline *cl, int opt, const char *arg)
{
	struct config *config = &cl->config;

	switch (opt) {
	case OPT_CONFIG: /* taken by read_config() */
		return 0;
	case OPT_NODE:
		return config_add_node(config, "--node", arg);
	case OPT_KERNEL:
		return config_set_text(&config->kernel, "--kernel", arg);
	case OPT_INITRD:
		return config_set_text(&config->initrd, "--initrd", arg);
	case OPT_APPEND:
		return config_set_append(config, "--append", arg);
	case OPT_KEY:
		return config_set_text(&config->key_file, "--key", arg);
	case OPT_BIND:
		return config_set_bind(config, "--bind", arg);
	case OPT_STATS_JSON:
		return config_set_text(&config->stats_json, "--stats-json", arg);
	case OPT_SYMBOLS:
		return config_set_text(&config->symbols, "--symbols", arg);
	case OPT_SHARDS:
		return config_set_shards(config, "--shards", arg);
	case OPT_POLL_US:
		return config_set_poll_us(config, "--poll-us", arg);
	case OPT_WITHOUT:
		return config_set_without(config, "--without", arg);
	case OPT_SERIAL:
		return config_set_serial(config, "--serial", arg);
	case OPT_TRIPLE_FAULT:
		return config_set_triple_fault(config, "--triple-fault", arg);
	case OPT_READY_TIMEOUT:
		return config_set_ready_timeout(config, "--ready-timeout", arg);
	case OPT_TRANSPORT:
		return config_set_transport(config, "--transport", arg);
	case OPT_NO_GUEST_DEFAULTS:
		config->no_guest_defaults = true;
		return 0;
	case OPT_NO_REBOOT:
		config->no_reboot = true;
		return 0;
	case OPT_STATS:
		config->stats = true;
		return 0;
	default: /* OPT_QUIET */
		config->quiet = true;
		return 0;
	}
}

static int parse_fd(const char *where, const char *arg, int *fd)
{
	uint32_t value;

	if (units_parse_u32(arg, INT_MAX, &value)) {
		log_error("%s: '%.64s' is not a file descriptor: give the number of an open one", where, arg);
		return -EINVAL;
	}
	*fd = (int)value;
	return 0;
}

static int set_node(struct cmdline *cl, int opt, const char *arg)
{
	switch (opt) {
	case OPT_LISTEN:
		return endpoint_parse("--listen", arg, true, &cl->node.listen);
	case OPT_KEY:
		return config_set_text(&cl->node.key_file, "--key", arg);
	case OPT_READY_FD:
		return parse_fd("--ready-fd", arg, &cl->node.ready_fd);
	case OPT_KEY_FD:
		return parse_fd("--key-fd", arg, &cl->node.key_fd);
	default: /* OPT_ONCE */
		cl->node.once = true;
		return 0;
	}
}

static int set_flag(struct cmdline *cl, int opt, const char *arg)
{
	(void)arg;
	if (opt == OPT_FORCE)
		cl->keygen.force = true;
	else /* OPT_JSON */
		cl->check.json = true;
	return 0;
}

static int set_stats(struct cmdline *cl, int opt, const char *arg)
{
	switch (opt) {
	case OPT_NODE:
		if (!units_parse_u32(arg, NODES_MAX - 1, &cl->stats.node))
			return 0;
		log_error("--node: '%.64s' is not the number of a node: give 0 to %u", arg, NODES_MAX - 1);
		return -EINVAL;
	case OPT_MACHINE:
		return config_set_text(&cl->stats.machine, "--machine", arg);
	case OPT_WATCH:
		cl->stats.watch = true;
		return 0;
	default: /* OPT_JSON */
		cl->stats.json = true;
		return 0;
	}
}

static int word_keygen(struct cmdline *cl, const char *arg)
{
	if (cl->keygen.file) {
		log_error("pangea keygen: '%.64s' is a second file: give one", arg);
		return -EINVAL;
	}
	return config_set_text(&cl->keygen.file, "pangea keygen: FILE", arg);
}

static const char *option_name(const struct option *options, int id)
{
	while (options->name && options->val != id)
		options++;
	return options->name ? options->name : "";
}

/* There is no such option: say so, and which may have been meant. */
static void no_option(const struct command_def *def, const char *word)
{
	char name[SUGGEST_MAX + 1] = "";
	struct suggest s = {.word = name};
	size_t len = strcspn(word, "=");

	if (strncmp(word, "--", 2) == 0 && len - 2 < sizeof(name))
		memcpy(name, word + 2, len - 2);
	for (const struct option *option = def->options; option->name; option++)
		suggest_try(&s, option->name);
	if (s.best)
		log_error("pangea %s: there is no option '%.64s', did you mean --%s? See 'pangea %s --help'", def->name, word,
			  s.best, def->name);
	else
		log_error("pangea %s: there is no option '%.64s', or it is short for several: see 'pangea %s --help'", def->name,
			  word, def->name);
}

/* getopt_long refused something: say what. */
static int bad_option(const struct command_def *def, char **argv, bool missing)
{
	if (missing)
		log_error("pangea %s: --%s needs a value: see 'pangea %s --help'", def->name, option_name(def->options, optopt),
			  def->name);
	else if (optopt >= OPT_FIRST)
		log_error("pangea %s: --%s takes no value: see 'pangea %s --help'", def->name, option_name(def->options, optopt),
			  def->name);
	else if (optopt)
		log_error("pangea %s: there is no option -%c: see 'pangea %s --help'", def->name, optopt, def->name);
	else
		no_option(def, argv[optind - 1]);
	return -EINVAL;
}

/* "-" first: words come in their place, as option 1. ":": a missing value is told from an unknown option. */
#define SHORT_OPTIONS "-:h"

static int next_option(const struct command_def *def, int argc, char **argv)
{
	return getopt_long(argc, argv, SHORT_OPTIONS, def->options, NULL);
}

/* The --config that run was given, laid under the other options. A mistake elsewhere waits for parse_options(). */
static int read_config(struct cmdline *cl, const struct command_def *def, int argc, char **argv)
{
	const char *path = NULL;
	int opt;

	optind = 0; /* GNU: start anew */
	while ((opt = next_option(def, argc, argv)) != -1 && opt != '?' && opt != ':') {
		if (opt == OPT_HELP)
			return 0;
		if (opt != OPT_CONFIG)
			continue;
		if (path) {
			log_error("--config is given twice: put everything into one file");
			return -EINVAL;
		}
		path = optarg;
	}
	return path ? config_read_file(&cl->config, path) : 0;
}

static int take_word(struct cmdline *cl, const struct command_def *def, const char *word)
{
	if (def->word)
		return def->word(cl, word);
	log_error("pangea %s: '%.64s' is one word too many: see 'pangea %s --help'", def->name, word, def->name);
	return -EINVAL;
}

/* argv[0] is the command. */
static int parse_options(struct cmdline *cl, const struct command_def *def, int argc, char **argv)
{
	bool first_node = true;
	int rc = 0;
	int opt;

	optind = 0;
	while (!rc && (opt = next_option(def, argc, argv)) != -1) {
		if (opt == '?' || opt == ':')
			return bad_option(def, argv, opt == ':');
		if (opt == OPT_HELP) {
			cl->help_about = cl->command;
			cl->command = COMMAND_HELP;
			return 0;
		}
		if (opt == OPT_NODE && first_node) {
			cl->config.nodes = 0; /* those of the file */
			first_node = false;
		}
		rc = opt == 1 ? take_word(cl, def, optarg) : def->set(cl, opt, optarg);
	}
	for (; !rc && optind < argc; optind++) /* after "--" */
		rc = take_word(cl, def, argv[optind]);
	return rc;
}

static int check_whole(const struct cmdline *cl)
{
	switch (cl->command) {
	case COMMAND_RUN:
		return config_validate(&cl->config);
	case COMMAND_NODE:
		if (!cl->node.key_file || cl->node.key_fd < 0)
			return 0;
		log_error("pangea node: --key and --key-fd exclude each other: keep one");
		return -EINVAL;
	default:
		return 0;
	}
}

static enum command command_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].name && strcmp(name, commands[i].name) == 0)
			return (enum command)i;
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return COMMAND_HELP;
	if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0)
		return COMMAND_VERSION;
	return COMMAND_NONE;
}

static void no_command(const char *word)
{
	struct suggest s = {.word = word};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].name)
			suggest_try(&s, commands[i].name);
	if (s.best)
		log_error("there is no command '%.64s', did you mean 'pangea %s'? See 'pangea --help'", word, s.best);
	else
		log_error("there is no command '%.64s': see 'pangea --help'", word);
}

static int parse_command(struct cmdline *cl, int argc, char **argv)
{
	const struct command_def *def;
	int rc = 0;

	if (argc < 2) {
		log_error("no command: try 'pangea run', or 'pangea --help' for all of them");
		return -EINVAL;
	}
	cl->command = command_by_name(argv[1]);
	switch (cl->command) {
	case COMMAND_NONE:
		no_command(argv[1]);
		return -EINVAL;
	case COMMAND_HELP: /* "pangea help run" as well */
		if (argc > 2)
			cl->help_about = command_by_name(argv[2]);
		if (argc > 3 || (argc > 2 && (cl->help_about == COMMAND_NONE || cl->help_about >= COMMAND_HELP))) {
			log_error("there is no help about '%.64s': see 'pangea --help'", argv[argc > 3 ? 3 : 2]);
			return -EINVAL;
		}
		return 0;
	case COMMAND_VERSION:
		return 0;
	default:
		break;
	}
	def = &commands[cl->command];
	opterr = 0; /* the messages are ours */
	if (cl->command == COMMAND_RUN)
		rc = read_config(cl, def, argc - 1, argv + 1);
	if (!rc)
		rc = parse_options(cl, def, argc - 1, argv + 1);
	if (!rc)
		rc = check_whole(cl);
	return rc;
}

int cmdline_parse(int argc, char **argv, struct cmdline *out)
{
	struct cmdline cl = {
		.node = {.listen = {.host = NODE_DEFAULT_HOST, .port = NODE_DEFAULT_PORT}, .ready_fd = -1, .key_fd = -1},
		.stats = {.node = NODE_NONE}};
	int rc;

	config_default(&cl.config);
	rc = parse_command(&cl, argc, argv);
	if (rc) {
		cmdline_free(&cl);
		return rc;
	}
	*out = cl;
	return 0;
}

void cmdline_free(struct cmdline *cl)
{
	config_free(&cl->config);
	free(cl->node.key_file);
	free(cl->keygen.file);
	free(cl->stats.machine);
	cl->stats.machine = NULL;
	cl->node.key_file = NULL;
	cl->keygen.file = NULL;
}
