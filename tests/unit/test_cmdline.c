/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/dsm.h"
#include "tests/unit/capture.h"
#include "tests/unit/check_main.h"
#include "vmm/cmdline.h"

#define ARGS_MAX 160

static struct cmdline cl;
static struct capture capture;
static char file_path[] = "/tmp/pangea-test-XXXXXX";

static void teardown(void)
{
	cmdline_free(&cl);
}

/* Parses "pangea " and the words of `line`, which single spaces part; getopt may reorder argv, so it is a copy. */
static int parse(const char *line)
{
	char *argv[ARGS_MAX] = {NULL};
	char *copy = strdup(line);
	char *rest = copy;
	char *word;
	char name[] = "pangea";
	int argc = 1;
	int rc;

	argv[0] = name;
	while (*line && (word = strsep(&rest, " ")) && argc < ARGS_MAX - 1)
		argv[argc++] = word;
	rc = cmdline_parse(argc, argv, &cl);
	free(copy);
	return rc;
}

static void refuse(const char *line, const char *sentence)
{
	const char *text;
	int rc;

	capture_start(&capture);
	rc = parse(line);
	text = capture_end(&capture);
	ck_assert_int_eq(rc, -EINVAL);
	ck_assert_msg(strstr(text, sentence), "'%s': expected '%s' in: %s", line, sentence, text);
	ck_assert_msg(strchr(text, '\n') == text + strlen(text) - 1, "'%s': more than one line: %s", line, text);
}

/* A configuration file for `run --config`; unlinked by its test. */
static void write_file(const char *json)
{
	int fd;

	strcpy(file_path + sizeof(file_path) - 7, "XXXXXX");
	fd = mkstemp(file_path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, json, strlen(json)), (ssize_t)strlen(json));
	close(fd);
}

static int parse_with_file(const char *json, const char *options)
{
	char line[512];
	int rc;

	write_file(json);
	snprintf(line, sizeof(line), "run --config %s%s%s", file_path, *options ? " " : "", options);
	rc = parse(line);
	unlink(file_path);
	return rc;
}

#define GOOD "run --node local,cpus=1,mem=64M --kernel k"

/* ---- commands ---- */

START_TEST(no_command_is_refused)
{
	refuse("", "no command: try 'pangea run'");
}
END_TEST

START_TEST(unknown_command_is_refused)
{
	refuse("rum", "there is no command 'rum'");
	refuse("--quiet", "there is no command '--quiet'");
}
END_TEST

START_TEST(help_and_version_are_understood)
{
	ck_assert_int_eq(parse("--help"), 0);
	ck_assert_int_eq(cl.command, COMMAND_HELP);
	ck_assert_int_eq(cl.help_about, COMMAND_NONE);
	ck_assert_int_eq(parse("-h"), 0);
	ck_assert_int_eq(cl.command, COMMAND_HELP);
	ck_assert_int_eq(parse("--version"), 0);
	ck_assert_int_eq(cl.command, COMMAND_VERSION);
}
END_TEST

START_TEST(help_about_each_command_is_understood)
{
	static const struct {
		const char *name;
		enum command command;
	} all[] = {{"run", COMMAND_RUN},
		   {"node", COMMAND_NODE},
		   {"keygen", COMMAND_KEYGEN},
		   {"check", COMMAND_CHECK},
		   {"stats", COMMAND_STATS}};
	char line[64];

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		snprintf(line, sizeof(line), "%s --help", all[i].name);
		ck_assert_int_eq(parse(line), 0);
		ck_assert_int_eq(cl.command, COMMAND_HELP);
		ck_assert_int_eq(cl.help_about, all[i].command);
		snprintf(line, sizeof(line), "help %s", all[i].name);
		ck_assert_int_eq(parse(line), 0);
		ck_assert_int_eq(cl.help_about, all[i].command);
	}
}
END_TEST

START_TEST(stats_takes_every_option)
{
	ck_assert_int_eq(parse("stats"), 0);
	ck_assert_int_eq(cl.command, COMMAND_STATS);
	ck_assert(!cl.stats.json && !cl.stats.watch && cl.stats.node == NODE_NONE && !cl.stats.machine);
	ck_assert_int_eq(parse("stats --json --watch --node 3 --machine 0badcafe"), 0);
	ck_assert(cl.stats.json && cl.stats.watch && cl.stats.node == 3);
	ck_assert_str_eq(cl.stats.machine, "0badcafe");
	refuse("stats --node 64", "--node: '64' is not the number of a node");
	refuse("stats --node x", "--node: 'x' is not the number of a node");
	refuse("stats now", "'now' is one word too many");
}
END_TEST

START_TEST(help_about_nothing_known_is_refused)
{
	refuse("help rum", "there is no help about 'rum'");
	refuse("--help version", "there is no help about 'version'");
	refuse("help run node", "there is no help about 'node'");
}
END_TEST

START_TEST(help_names_every_option_of_run)
{
	static const char *const options[] = {
		"--node",         "--kernel",    "--initrd",    "--append",     "--config",        "--key",
		"--shards",       "--without",   "--transport", "--bind",       "--serial",        "--no-guest-defaults",
		"--triple-fault", "--no-reboot", "--stats",     "--stats-json", "--ready-timeout", "--quiet",
		"--symbols",
	};
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	help_print(f, COMMAND_RUN);
	fclose(f);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		ck_assert_msg(strstr(text, options[i]), "%s is not in the help", options[i]);
	ck_assert_ptr_nonnull(strstr(text, "Exit code:"));
	free(text);
}
END_TEST

START_TEST(every_help_and_the_version_print_something)
{
	for (int about = COMMAND_NONE; about <= COMMAND_VERSION; about++) {
		char *text = NULL;
		size_t len = 0;
		FILE *f = open_memstream(&text, &len);

		if (about == COMMAND_VERSION)
			version_print(f);
		else
			help_print(f, (enum command)about);
		fclose(f);
		ck_assert_ptr_nonnull(strstr(text, "pangea"));
		ck_assert_int_eq(text[len - 1], '\n');
		free(text);
	}
}
END_TEST

/* ---- run ---- */

START_TEST(run_has_its_defaults)
{
	ck_assert_int_eq(parse(GOOD), 0);
	ck_assert_int_eq(cl.command, COMMAND_RUN);
	ck_assert_uint_eq(cl.config.nodes, 1);
	ck_assert_uint_eq(cl.config.shards, 1);
	ck_assert_int_eq(cl.config.serial, SERIAL_STDIO);
	ck_assert_int_eq(cl.config.triple_fault, TRIPLE_FAULT_STOP);
	ck_assert_uint_eq(cl.config.ready_timeout_sec, CONFIG_READY_TIMEOUT_SEC);
	ck_assert(!cl.config.no_reboot && !cl.config.stats && !cl.config.quiet && !cl.config.no_guest_defaults);
	ck_assert_ptr_null(cl.config.bind);
}
END_TEST

START_TEST(run_takes_every_option)
{
	ck_assert_int_eq(
		parse("run --node local,cpus=2,mem=512M --node=host2:7700,cpus=1,mem=1G --kernel k --initrd i --append quiet"
		      " --key f --shards 2 --without damping,migration,clock --poll-us 50 --bind 10.0.0.1 --serial file:s "
		      "--no-guest-defaults "
		      "--triple-fault reboot --no-reboot"
		      " --stats --stats-json j --symbols m --ready-timeout 5 --quiet"),
		0);
	ck_assert_uint_eq(cl.config.nodes, 2);
	ck_assert_str_eq(cl.config.kernel, "k");
	ck_assert_str_eq(cl.config.initrd, "i");
	ck_assert_str_eq(cl.config.append, "quiet");
	ck_assert_str_eq(cl.config.key_file, "f");
	ck_assert_uint_eq(cl.config.shards, 2);
	ck_assert_uint_eq(cl.config.without, DSM_WITHOUT(DAMPING) | DSM_WITHOUT(MIGRATION) | CONFIG_WITHOUT_CLOCK);
	ck_assert_uint_eq(cl.config.poll_us, 50);
	ck_assert_str_eq(cl.config.bind, "10.0.0.1");
	ck_assert_str_eq(cl.config.serial_path, "s");
	ck_assert_int_eq(cl.config.triple_fault, TRIPLE_FAULT_REBOOT);
	ck_assert_str_eq(cl.config.stats_json, "j");
	ck_assert_str_eq(cl.config.symbols, "m");
	ck_assert_uint_eq(cl.config.ready_timeout_sec, 5);
	ck_assert(cl.config.no_reboot && cl.config.stats && cl.config.quiet && cl.config.no_guest_defaults);
}
END_TEST

START_TEST(run_takes_an_empty_append)
{
	ck_assert_int_eq(parse(GOOD " --append="), 0);
	ck_assert_str_eq(cl.config.append, "");
}
END_TEST

START_TEST(last_of_an_option_given_twice_counts)
{
	ck_assert_int_eq(parse(GOOD " --kernel k2 --shards 2 --shards 3"), 0);
	ck_assert_str_eq(cl.config.kernel, "k2");
	ck_assert_uint_eq(cl.config.shards, 3);
}
END_TEST

START_TEST(unknown_option_is_refused)
{
	refuse(GOOD " --memory 1G", "there is no option '--memory'");
	refuse(GOOD " --nodes local,cpus=1,mem=64M", "there is no option '--nodes', did you mean --node?");
	refuse(GOOD " --kernal=k2", "there is no option '--kernal=k2', did you mean --kernel?");
	refuse(GOOD " --=x", "there is no option '--=x'");
	refuse("rum --kernel k", "there is no command 'rum', did you mean 'pangea run'?");
	refuse(GOOD " -m 1G", "there is no option -m");
	refuse(GOOD " --no", "there is no option '--no', or it is short for several");
	refuse(GOOD " --listen 127.0.0.1:7700", "there is no option '--listen'");
}
END_TEST

START_TEST(option_without_its_value_is_refused)
{
	refuse("run --kernel", "--kernel needs a value");
}
END_TEST

START_TEST(option_with_a_value_it_does_not_take_is_refused)
{
	refuse(GOOD " --quiet=5", "--quiet takes no value");
}
END_TEST

START_TEST(word_too_many_is_refused)
{
	refuse(GOOD " vmlinuz", "'vmlinuz' is one word too many");
	refuse(GOOD " -- vmlinuz", "'vmlinuz' is one word too many");
	refuse("check all", "'all' is one word too many");
	refuse("node host2:7700", "'host2:7700' is one word too many");
}
END_TEST

START_TEST(bad_values_are_refused_with_the_option_named)
{
	refuse(GOOD " --node local", "--node: 'local' lacks cpus=N");
	refuse(GOOD " --shards 0", "--shards: '0' is not a number of shards");
	refuse(GOOD " --without damping,speed", "--without: 'speed' is not a thing to leave out: give one of replicas, damping");
	refuse(GOOD " --poll-us 10001", "--poll-us: '10001' is not a time to poll: give microseconds, 0 to 10000");
	refuse(GOOD " --poll-us -1", "--poll-us: '-1' is not a time to poll");
	refuse(GOOD " --without damping,", "--without: '' is not a thing to leave out");
	refuse(GOOD " --serial tty", "--serial: 'tty' is not a console");
	refuse(GOOD " --transport x", "--transport: 'x' is not a transport");
	refuse(GOOD " --triple-fault x", "--triple-fault: 'x' is not a choice");
	refuse(GOOD " --ready-timeout x", "--ready-timeout: 'x' is not a time");
	refuse(GOOD " --bind x", "--bind: 'x' is not an IP address");
	refuse(GOOD " --kernel=", "--kernel: is empty");
	refuse(GOOD " --initrd=", "--initrd: is empty");
	refuse(GOOD " --key=", "--key: is empty");
	refuse(GOOD " --stats-json=", "--stats-json: is empty");
}
END_TEST

START_TEST(machine_that_cannot_be_is_refused)
{
	refuse("run --kernel k", "no nodes");
	refuse("run --node local,cpus=1,mem=64M", "no kernel");
	refuse("run --kernel k --node local,cpus=0,mem=64M", "no node has a CPU");
	refuse("run --kernel k --node host2:7700,cpus=1,mem=64M", "the first node is not local");
}
END_TEST

START_TEST(sixty_five_nodes_are_refused)
{
	char line[4096] = "run --kernel k";

	for (int i = 0; i < 65; i++)
		strcat(line, " --node=local,cpus=1,mem=64M");
	refuse(line, "more than 64 nodes");
}
END_TEST

/* ---- run --config ---- */

START_TEST(file_alone_is_enough)
{
	ck_assert_int_eq(parse_with_file("{\"node\": [\"local,cpus=1,mem=64M\"], \"kernel\": \"k\"}", ""), 0);
	ck_assert_str_eq(cl.config.kernel, "k");
}
END_TEST

START_TEST(command_line_wins_over_the_file)
{
	ck_assert_int_eq(
		parse_with_file("{\"node\": [\"local,cpus=1,mem=64M\"], \"kernel\": \"k\", \"shards\": 4, \"initrd\": \"i\"}",
				"--kernel other --shards 2"),
		0);
	ck_assert_str_eq(cl.config.kernel, "other");
	ck_assert_str_eq(cl.config.initrd, "i");
	ck_assert_uint_eq(cl.config.shards, 2);
}
END_TEST

START_TEST(nodes_of_the_command_line_replace_those_of_the_file)
{
	ck_assert_int_eq(parse_with_file("{\"node\": [\"local,cpus=1,mem=64M\", \"local,cpus=1,mem=64M\"], \"kernel\": \"k\"}",
					 "--node local,cpus=8,mem=64M"),
			 0);
	ck_assert_uint_eq(cl.config.nodes, 1);
	ck_assert_uint_eq(cl.config.node[0].cpus, 8);
}
END_TEST

START_TEST(command_line_before_config_wins_as_well)
{
	char line[256];

	write_file("{\"node\": [\"local,cpus=1,mem=64M\"], \"kernel\": \"k\"}");
	snprintf(line, sizeof(line), "run --kernel other --config %s", file_path);
	ck_assert_int_eq(parse(line), 0);
	unlink(file_path);
	ck_assert_str_eq(cl.config.kernel, "other");
}
END_TEST

START_TEST(config_given_twice_is_refused)
{
	refuse("run --config a --config b", "--config is given twice");
}
END_TEST

START_TEST(config_that_is_missing_is_an_error_of_the_file)
{
	capture_start(&capture);
	ck_assert_int_eq(parse("run --config /nonexistent/vm.json"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(capture_end(&capture), "/nonexistent/vm.json: cannot read it"));
}
END_TEST

START_TEST(help_beside_a_bad_config_is_still_help)
{
	ck_assert_int_eq(parse("run --help --config /nonexistent/vm.json"), 0);
	ck_assert_int_eq(cl.command, COMMAND_HELP);
}
END_TEST

/* ---- the other commands ---- */

START_TEST(node_listens_on_loopback_by_default)
{
	ck_assert_int_eq(parse("node"), 0);
	ck_assert_int_eq(cl.command, COMMAND_NODE);
	ck_assert_str_eq(cl.node.listen.host, "127.0.0.1");
	ck_assert_uint_eq(cl.node.listen.port, 7700);
	ck_assert_int_eq(cl.node.ready_fd, -1);
	ck_assert_int_eq(cl.node.key_fd, -1);
	ck_assert(!cl.node.once);
	ck_assert_ptr_null(cl.node.key_file);
}
END_TEST

START_TEST(node_takes_every_option)
{
	ck_assert_int_eq(parse("node --listen [::]:0 --key f --once --ready-fd 5"), 0);
	ck_assert_str_eq(cl.node.listen.host, "::");
	ck_assert_uint_eq(cl.node.listen.port, 0);
	ck_assert_str_eq(cl.node.key_file, "f");
	ck_assert_int_eq(cl.node.ready_fd, 5);
	ck_assert(cl.node.once);
	cmdline_free(&cl);
	ck_assert_int_eq(parse("node --key-fd 6"), 0);
	ck_assert_int_eq(cl.node.key_fd, 6);
}
END_TEST

START_TEST(node_with_bad_options_is_refused)
{
	refuse("node --listen 7700", "--listen: '7700' has no port");
	refuse("node --listen 127.0.0.1:x", "--listen: 'x' is not a port");
	refuse("node --ready-fd x", "--ready-fd: 'x' is not a file descriptor");
	refuse("node --key-fd -1", "--key-fd: '-1' is not a file descriptor");
	refuse("node --key=", "--key: is empty");
	refuse("node --key f --key-fd 5", "--key and --key-fd exclude each other");
}
END_TEST

START_TEST(keygen_takes_a_file_and_force)
{
	ck_assert_int_eq(parse("keygen"), 0);
	ck_assert_ptr_null(cl.keygen.file);
	ck_assert(!cl.keygen.force);
	ck_assert_int_eq(parse("keygen cluster.key --force"), 0);
	ck_assert_str_eq(cl.keygen.file, "cluster.key");
	ck_assert(cl.keygen.force);
	cmdline_free(&cl);
	ck_assert_int_eq(parse("keygen -- --odd"), 0);
	ck_assert_str_eq(cl.keygen.file, "--odd");
}
END_TEST

START_TEST(keygen_with_two_files_is_refused)
{
	refuse("keygen a b", "'b' is a second file");
}
END_TEST

START_TEST(check_takes_json)
{
	ck_assert_int_eq(parse("check"), 0);
	ck_assert_int_eq(cl.command, COMMAND_CHECK);
	ck_assert(!cl.check.json);
	ck_assert_int_eq(parse("check --json"), 0);
	ck_assert(cl.check.json);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cmdline");
	TCase *commands = tcase_create("commands");
	TCase *run = tcase_create("run");
	TCase *config = tcase_create("config");
	TCase *others = tcase_create("others");

	tcase_add_checked_fixture(commands, NULL, teardown);
	tcase_add_checked_fixture(run, NULL, teardown);
	tcase_add_checked_fixture(config, NULL, teardown);
	tcase_add_checked_fixture(others, NULL, teardown);
	suite_add_tcase(s, commands);
	suite_add_tcase(s, run);
	suite_add_tcase(s, config);
	suite_add_tcase(s, others);

	tcase_add_test(commands, no_command_is_refused);
	tcase_add_test(commands, unknown_command_is_refused);
	tcase_add_test(commands, help_and_version_are_understood);
	tcase_add_test(commands, help_about_each_command_is_understood);
	tcase_add_test(commands, help_about_nothing_known_is_refused);
	tcase_add_test(commands, help_names_every_option_of_run);
	tcase_add_test(commands, every_help_and_the_version_print_something);

	tcase_add_test(run, run_has_its_defaults);
	tcase_add_test(run, run_takes_every_option);
	tcase_add_test(run, run_takes_an_empty_append);
	tcase_add_test(run, last_of_an_option_given_twice_counts);
	tcase_add_test(run, unknown_option_is_refused);
	tcase_add_test(run, option_without_its_value_is_refused);
	tcase_add_test(run, option_with_a_value_it_does_not_take_is_refused);
	tcase_add_test(run, word_too_many_is_refused);
	tcase_add_test(run, bad_values_are_refused_with_the_option_named);
	tcase_add_test(run, machine_that_cannot_be_is_refused);
	tcase_add_test(run, sixty_five_nodes_are_refused);

	tcase_add_test(config, file_alone_is_enough);
	tcase_add_test(config, command_line_wins_over_the_file);
	tcase_add_test(config, nodes_of_the_command_line_replace_those_of_the_file);
	tcase_add_test(config, command_line_before_config_wins_as_well);
	tcase_add_test(config, config_given_twice_is_refused);
	tcase_add_test(config, config_that_is_missing_is_an_error_of_the_file);
	tcase_add_test(config, help_beside_a_bad_config_is_still_help);

	tcase_add_test(others, node_listens_on_loopback_by_default);
	tcase_add_test(others, node_takes_every_option);
	tcase_add_test(others, node_with_bad_options_is_refused);
	tcase_add_test(others, keygen_takes_a_file_and_force);
	tcase_add_test(others, keygen_with_two_files_is_refused);
	tcase_add_test(others, check_takes_json);
	tcase_add_test(others, stats_takes_every_option);
	return check_main(s);
}
