/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "dsm/dsm.h"
#include "tests/unit/capture.h"
#include "tests/unit/check_main.h"
#include "vmm/config.h"
#include "vmm/exitcode.h"

static struct config config;
static struct capture capture;

static void setup(void)
{
	config_default(&config);
}

static void teardown(void)
{
	config_free(&config);
}

/* rc must be -EINVAL and exactly one line logged that holds `sentence`. Between them: capture_start(). */
static void refused(int rc, const char *sentence)
{
	const char *text = capture_end(&capture);

	ck_assert_int_eq(rc, -EINVAL);
	ck_assert_msg(strstr(text, sentence), "expected '%s' in: %s", sentence, text);
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}

static void add(const char *text)
{
	ck_assert_int_eq(config_add_node(&config, "--node", text), 0);
}

static void refuse_node(const char *text, const char *sentence)
{
	uint32_t before = config.nodes;

	capture_start(&capture);
	refused(config_add_node(&config, "--node", text), sentence);
	ck_assert_uint_eq(config.nodes, before);
}

static void refuse_whole(const char *sentence)
{
	capture_start(&capture);
	refused(config_validate(&config), sentence);
}

static int parse(const char *json)
{
	return config_parse_json(&config, "vm.json", json, strlen(json));
}

static void refuse_json(const char *json, const char *sentence)
{
	capture_start(&capture);
	refused(parse(json), sentence);
	config_free(&config);
}

static void kernel(void)
{
	ck_assert_int_eq(config_set_text(&config.kernel, "--kernel", "vmlinuz"), 0);
}

/* ---- nodes ---- */

START_TEST(local_node_is_taken)
{
	add("local,cpus=2,mem=512M");
	ck_assert_uint_eq(config.nodes, 1);
	ck_assert(config.node[0].local);
	ck_assert_uint_eq(config.node[0].cpus, 2);
	ck_assert_uint_eq(config.node[0].mem_bytes, 512 * MIB);
}
END_TEST

START_TEST(remote_node_is_taken_and_settings_come_in_any_order)
{
	add("host2:7700,mem=1G,cpus=1");
	ck_assert(!config.node[0].local);
	ck_assert_str_eq(config.node[0].at.host, "host2");
	ck_assert_uint_eq(config.node[0].at.port, 7700);
	ck_assert_uint_eq(config.node[0].mem_bytes, GIB);
}
END_TEST

START_TEST(budget_of_a_node_is_taken)
{
	add("local,cpus=1,mem=64M,mem-budget=128M");
	add("host2:7700,mem-budget=1G,cpus=1,mem=512M");
	add("local,cpus=1,mem=64M");
	kernel();
	ck_assert_uint_eq(config.node[0].budget_bytes, 128 * MIB);
	ck_assert_uint_eq(config.node[1].budget_bytes, GIB);
	ck_assert_uint_eq(config.node[2].budget_bytes, 0);
	ck_assert_int_eq(config_validate(&config), 0);
}
END_TEST

START_TEST(budget_that_is_no_size_is_refused)
{
	refuse_node("local,cpus=1,mem=64M,mem-budget=much", "mem-budget=much: give a size such as 1G");
	refuse_node("local,cpus=1,mem=64M,mem-budget=0", "mem-budget=0: give a size such as 1G, or leave it out");
	refuse_node("local,cpus=1,mem=64M,mem-budget=1G,mem-budget=1G", "mem-budget= is given twice");
	refuse_node("local,cpus=1,mem-budget=1G", "lacks mem=SIZE");
}
END_TEST

START_TEST(budget_below_the_minimum_is_refused_with_what_it_takes)
{
	uint64_t least = dsm_budget_min(64 * MIB / PAGE_BYTES, 576 * MIB / PAGE_BYTES, 1);

	add("local,cpus=1,mem=512M,mem-budget=128M");
	add("local,cpus=1,mem=64M");
	kernel();
	refuse_whole("node 0: mem-budget=128M is too little: a node with mem=512M in this machine needs 5");
	config.node[0].budget_bytes = 0;
	config.node[1].budget_bytes = least;
	ck_assert_int_eq(config_validate(&config), 0);
	config.node[1].budget_bytes--;
	refuse_whole("node 1: mem-budget=");
}
END_TEST

START_TEST(ipv6_node_is_taken_without_its_brackets)
{
	add("[2001:db8::2]:7700,cpus=1,mem=1G");
	ck_assert_str_eq(config.node[0].at.host, "2001:db8::2");
}
END_TEST

START_TEST(node_without_a_place_is_refused)
{
	refuse_node("cpus=2,mem=512M", "begin with local or HOST:PORT");
	refuse_node("", "begin with local or HOST:PORT");
}
END_TEST

START_TEST(node_with_bad_endpoint_is_refused)
{
	refuse_node("host2,cpus=1,mem=1G", "has no port");
	refuse_node("host2:,cpus=1,mem=1G", "is not a port");
	refuse_node("host2:0,cpus=1,mem=1G", "from 1 to 65535");
	refuse_node("host2:65536,cpus=1,mem=1G", "is not a port");
	refuse_node(":7700,cpus=1,mem=1G", "is not a host name");
	refuse_node("::1:7700,cpus=1,mem=1G", "put it in brackets");
	refuse_node("[::1],cpus=1,mem=1G", "has no port");
	refuse_node("[::1:7700,cpus=1,mem=1G", "has no port");
	refuse_node("[host2]:7700,cpus=1,mem=1G", "is not a host name or address");
	refuse_node("ho st:7700,cpus=1,mem=1G", "is not a host name");
}
END_TEST

START_TEST(host_name_longer_than_dns_allows_is_refused)
{
	char text[400];

	memset(text, 'a', 300);
	strcpy(text + 300, ":7700,cpus=1,mem=1G");
	refuse_node(text, "longer than the 253 characters");
}
END_TEST

START_TEST(node_without_cpus_is_refused)
{
	refuse_node("local,mem=512M", "lacks cpus=N");
	refuse_node("local", "lacks cpus=N");
}
END_TEST

START_TEST(node_without_mem_is_refused)
{
	refuse_node("local,cpus=1", "lacks mem=SIZE");
}
END_TEST

START_TEST(node_with_bad_cpus_is_refused)
{
	refuse_node("local,cpus=,mem=512M", "give a number of CPUs");
	refuse_node("local,cpus=two,mem=512M", "give a number of CPUs");
	refuse_node("local,cpus=-1,mem=512M", "give a number of CPUs");
	refuse_node("local,cpus=1025,mem=512M", "from 0 to 1024");
}
END_TEST

START_TEST(node_with_bad_mem_is_refused)
{
	refuse_node("local,cpus=1,mem=", "give a size such as 512M");
	refuse_node("local,cpus=1,mem=512MB", "give a size such as 512M");
	refuse_node("local,cpus=1,mem=99999999999999999999", "give a size such as 512M");
}
END_TEST

START_TEST(node_with_unknown_or_double_setting_is_refused)
{
	refuse_node("local,cpus=1,mem=512M,disk=1", "'disk=1' is not a setting of a node");
	refuse_node("local,cpus=1,mem=512M,", "'' is not a setting of a node");
	refuse_node("local,cpus=1,cpus=2,mem=512M", "cpus= is given twice");
	refuse_node("local,cpus=1,mem=2M,mem=2M", "mem= is given twice");
}
END_TEST

START_TEST(sixty_four_nodes_are_taken_and_one_more_is_refused)
{
	for (unsigned i = 0; i < NODES_MAX; i++)
		add("local,cpus=1,mem=64M");
	kernel();
	ck_assert_int_eq(config_validate(&config), 0);
	refuse_node("local,cpus=1,mem=64M", "more than 64 nodes");
}
END_TEST

/* ---- the whole ---- */

START_TEST(good_machine_is_accepted)
{
	add("local,cpus=2,mem=512M");
	add("host2:7700,cpus=0,mem=2M");
	kernel();
	ck_assert_int_eq(config_validate(&config), 0);
	ck_assert_uint_eq(config_cpus(&config), 2);
	ck_assert_uint_eq(config_mem_bytes(&config), 514 * MIB);
	ck_assert(!config_all_local(&config));
}
END_TEST

START_TEST(no_nodes_are_refused)
{
	kernel();
	refuse_whole("give at least one, for example --node local");
}
END_TEST

START_TEST(first_node_that_is_remote_is_refused)
{
	add("host2:7700,cpus=1,mem=64M");
	add("local,cpus=1,mem=64M");
	kernel();
	refuse_whole("put a --node local,... first, because node 0 leads");
}
END_TEST

START_TEST(no_cpus_in_all_are_refused)
{
	add("local,cpus=0,mem=64M");
	add("local,cpus=0,mem=64M");
	kernel();
	refuse_whole("no node has a CPU");
}
END_TEST

START_TEST(too_many_cpus_in_all_are_refused)
{
	add("local,cpus=1024,mem=64M");
	kernel();
	ck_assert_int_eq(config_validate(&config), 0);
	add("local,cpus=1,mem=64M");
	refuse_whole("1025 CPUs in all are more than the 1024");
}
END_TEST

START_TEST(memory_that_is_no_multiple_of_2_mib_is_refused_with_the_next_that_is)
{
	add("local,cpus=1,mem=65M");
	kernel();
	refuse_whole("node 0: mem=68157440 is not a multiple of 2 MiB: give for example mem=66M");
}
END_TEST

START_TEST(too_little_memory_on_node_0_is_refused)
{
	add("local,cpus=1,mem=62M");
	kernel();
	refuse_whole("node 0: 62 MiB of memory is too little");
}
END_TEST

START_TEST(too_little_memory_on_another_node_is_refused)
{
	add("local,cpus=1,mem=64M");
	add("local,cpus=1,mem=0");
	kernel();
	refuse_whole("node 1: 0 B of memory is too little: give it at least 2 MiB");
}
END_TEST

START_TEST(more_memory_than_can_be_addressed_is_refused)
{
	add("local,cpus=1,mem=32T");
	add("local,cpus=1,mem=32T");
	kernel();
	ck_assert_int_eq(config_validate(&config), 0);
	add("local,cpus=1,mem=2M");
	refuse_whole("in all is more than the 64 TiB");
	config.nodes = 1;
	config.node[0].mem_bytes = 65ull << 40;
	refuse_whole("node 0: 65 TiB of memory is more than");
}
END_TEST

START_TEST(no_kernel_is_refused)
{
	add("local,cpus=1,mem=64M");
	refuse_whole("no kernel: give one with --kernel FILE");
}
END_TEST

/* ---- single fields ---- */

START_TEST(serial_kinds_are_taken)
{
	ck_assert_int_eq(config_set_serial(&config, "--serial", "file:/tmp/log"), 0);
	ck_assert_int_eq(config.serial, SERIAL_FILE);
	ck_assert_str_eq(config.serial_path, "/tmp/log");
	ck_assert_int_eq(config_set_serial(&config, "--serial", "null"), 0);
	ck_assert_int_eq(config.serial, SERIAL_NULL);
	ck_assert_ptr_null(config.serial_path);
	ck_assert_int_eq(config_set_serial(&config, "--serial", "stdio"), 0);
	ck_assert_int_eq(config.serial, SERIAL_STDIO);
}
END_TEST

START_TEST(unknown_serial_is_refused)
{
	capture_start(&capture);
	refused(config_set_serial(&config, "--serial", "tcp:1"), "use stdio, file:PATH or null");
	capture_start(&capture);
	refused(config_set_serial(&config, "--serial", "file:"), "is empty");
	ck_assert_int_eq(config.serial, SERIAL_STDIO);
}
END_TEST

START_TEST(transports_are_taken_and_others_refused)
{
	ck_assert_int_eq(config.transport, TRANSPORT_AUTO);
	ck_assert_int_eq(config_set_transport(&config, "--transport", "rdma"), 0);
	ck_assert_int_eq(config.transport, TRANSPORT_RDMA);
	ck_assert_int_eq(config_set_transport(&config, "--transport", "tcp"), 0);
	ck_assert_int_eq(config.transport, TRANSPORT_TCP);
	ck_assert_int_eq(config_set_transport(&config, "--transport", "tcp-uring"), 0);
	ck_assert_int_eq(config.transport, TRANSPORT_TCP_URING);
	ck_assert_int_eq(config_set_transport(&config, "--transport", "auto"), 0);
	ck_assert_int_eq(config.transport, TRANSPORT_AUTO);
	capture_start(&capture);
	refused(config_set_transport(&config, "--transport", "RDMA"), "use auto, rdma, tcp or tcp-uring");
	ck_assert_int_eq(config.transport, TRANSPORT_AUTO);
}
END_TEST

START_TEST(triple_fault_actions_are_taken_and_others_refused)
{
	ck_assert_int_eq(config_set_triple_fault(&config, "--triple-fault", "reboot"), 0);
	ck_assert_int_eq(config.triple_fault, TRIPLE_FAULT_REBOOT);
	ck_assert_int_eq(config_set_triple_fault(&config, "--triple-fault", "stop"), 0);
	ck_assert_int_eq(config.triple_fault, TRIPLE_FAULT_STOP);
	capture_start(&capture);
	refused(config_set_triple_fault(&config, "--triple-fault", "halt"), "use stop or reboot");
}
END_TEST

START_TEST(shards_from_1_to_16_are_taken_and_others_refused)
{
	static const char *const bad[] = {"0", "17", "", "x", "-1", "1x"};

	ck_assert_int_eq(config_set_shards(&config, "--shards", "16"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		capture_start(&capture);
		refused(config_set_shards(&config, "--shards", bad[i]), "give one from 1 to 16");
	}
	ck_assert_uint_eq(config.shards, 16);
}
END_TEST

START_TEST(ready_timeout_is_taken_and_0_refused)
{
	ck_assert_int_eq(config_set_ready_timeout(&config, "--ready-timeout", "5"), 0);
	ck_assert_uint_eq(config.ready_timeout_sec, 5);
	capture_start(&capture);
	refused(config_set_ready_timeout(&config, "--ready-timeout", "0"), "whole seconds from 1");
	capture_start(&capture);
	refused(config_set_ready_timeout(&config, "--ready-timeout", "1.5"), "whole seconds from 1");
}
END_TEST

START_TEST(bind_takes_addresses_and_refuses_the_rest)
{
	static const char *const bad[] = {"", "host2", "10.0.0.1:7700", "[::1]", "10.0.0"};

	ck_assert_int_eq(config_set_bind(&config, "--bind", "10.0.0.1"), 0);
	ck_assert_int_eq(config_set_bind(&config, "--bind", "fe80::1%eth0"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		capture_start(&capture);
		refused(config_set_bind(&config, "--bind", bad[i]), "is not an IP address");
	}
	ck_assert_str_eq(config.bind, "fe80::1%eth0");
}
END_TEST

START_TEST(empty_text_is_refused_and_the_old_one_stays)
{
	kernel();
	capture_start(&capture);
	refused(config_set_text(&config.kernel, "--kernel", ""), "--kernel: is empty");
	ck_assert_str_eq(config.kernel, "vmlinuz");
}
END_TEST

START_TEST(guest_command_line_joins_defaults_and_append)
{
	char *line;

	ck_assert_int_eq(config_append(&config, &line), 0);
	ck_assert_str_eq(line, CONFIG_GUEST_DEFAULTS);
	free(line);
	ck_assert_int_eq(config_set_append(&config, "--append", "quiet"), 0);
	ck_assert_int_eq(config_append(&config, &line), 0);
	ck_assert_str_eq(line, CONFIG_GUEST_DEFAULTS " quiet");
	free(line);
	config.no_guest_defaults = true;
	ck_assert_int_eq(config_append(&config, &line), 0);
	ck_assert_str_eq(line, "quiet");
	free(line);
}
END_TEST

START_TEST(endpoint_is_formatted_as_it_is_written)
{
	static const char *const good[] = {"host2:7700", "10.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:7700"};
	struct endpoint at;
	char buf[ENDPOINT_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_int_eq(endpoint_parse("--listen", good[i], false, &at), 0);
		ck_assert_str_eq(endpoint_format(&at, buf), good[i]);
	}
	ck_assert_int_eq(endpoint_parse("--listen", "127.0.0.1:0", true, &at), 0);
}
END_TEST

/* ---- the file ---- */

START_TEST(file_sets_every_key)
{
	ck_assert_int_eq(parse("{\"node\": [\"local,cpus=2,mem=512M\", {\"at\": \"host2:7700\", \"cpus\": 1, \"mem\": \"1G\"},"
			       " {\"at\": \"local\", \"cpus\": \"0\", \"mem\": 4194304, \"mem-budget\": \"1G\"}],"
			       "\"kernel\": \"k\", \"initrd\": \"i\", \"append\": \"a b\", \"key\": \"f\", \"bind\": \"10.0.0.1\","
			       "\"shards\": 4, \"transport\": \"tcp\", \"ready-timeout\": 7, \"serial\": \"null\", "
			       "\"triple-fault\": \"reboot\","
			       "\"stats-json\": \"s\", \"symbols\": \"m\", \"no-guest-defaults\": true, \"no-reboot\": true, "
			       "\"stats\": true, "
			       "\"quiet\": false}"),
			 0);
	ck_assert_int_eq(config_validate(&config), 0);
	ck_assert_uint_eq(config.nodes, 3);
	ck_assert_str_eq(config.node[1].at.host, "host2");
	ck_assert_uint_eq(config.node[1].mem_bytes, GIB);
	ck_assert_uint_eq(config.node[2].mem_bytes, 4 * MIB);
	ck_assert_uint_eq(config.node[1].budget_bytes, 0);
	ck_assert_uint_eq(config.node[2].budget_bytes, GIB);
	ck_assert_str_eq(config.kernel, "k");
	ck_assert_str_eq(config.initrd, "i");
	ck_assert_str_eq(config.append, "a b");
	ck_assert_str_eq(config.key_file, "f");
	ck_assert_str_eq(config.bind, "10.0.0.1");
	ck_assert_str_eq(config.stats_json, "s");
	ck_assert_str_eq(config.symbols, "m");
	ck_assert_uint_eq(config.shards, 4);
	ck_assert_uint_eq(config.ready_timeout_sec, 7);
	ck_assert_int_eq(config.serial, SERIAL_NULL);
	ck_assert_int_eq(config.triple_fault, TRIPLE_FAULT_REBOOT);
	ck_assert_int_eq(config.transport, TRANSPORT_TCP);
	ck_assert(config.no_guest_defaults && config.no_reboot && config.stats && !config.quiet);
}
END_TEST

START_TEST(unknown_key_is_refused_with_its_line)
{
	refuse_json("{\n  \"kernel\": \"k\",\n  \"kernal\": \"k\"\n}", "vm.json:3: kernal: there is no such key");
}
END_TEST

START_TEST(unknown_key_is_found_past_values_that_look_like_it)
{
	refuse_json("{\"append\": \"\\\"x\\\": 1\",\n\"kernel\": \"x\",\n\n\"x\"\n: 1}", "vm.json:4: x: there is no such key");
	refuse_json("{\n\"\\u0078y\": 1}", "vm.json:2: xy: there is no such key");
}
END_TEST

START_TEST(unknown_key_of_a_node_is_refused_with_its_line)
{
	refuse_json("{\"node\": [\n{\"at\": \"local\", \"cpus\": 1, \"mem\": \"64M\"},\n{\"at\": \"local\",\n\"cpu\": 1}]}",
		    "vm.json:4: cpu: a node has no such key");
}
END_TEST

START_TEST(value_of_the_wrong_type_is_refused_with_its_line)
{
	refuse_json("{\n\"kernel\": 1}", "vm.json:2: kernel: the value must be a string");
	refuse_json("{\"quiet\": \"yes\"}", "vm.json:1: quiet: the value must be true or false");
	refuse_json("{\"shards\": 1.5}", "vm.json:1: shards: the value must be a string or a whole number");
	refuse_json("{\"node\": \"local\"}", "node: the value must be a list of nodes");
	refuse_json("{\"node\": [1]}", "node: the value must be a list of nodes");
	refuse_json("{\"node\": [{\"at\": 1}]}", "at: the value must be \"local\" or \"HOST:PORT\"");
	refuse_json("{\"node\": [{\"at\": \"local,cpus=1\"}]}", "at: the value must be \"local\" or \"HOST:PORT\"");
	refuse_json("{\"node\": [{\"cpus\": 1.5}]}", "cpus: the value must be a number of CPUs");
	refuse_json("{\"node\": [{\"mem\": null}]}", "mem: the value must be a size");
}
END_TEST

START_TEST(bad_value_is_refused_as_on_the_command_line)
{
	refuse_json("{\n\"shards\": 99}", "vm.json:2: shards: '99' is not a number of shards");
	refuse_json("{\"node\": [\"local,cpus=1\"]}", "vm.json:1: node: 'local,cpus=1' lacks mem=SIZE");
	refuse_json("{\"node\": [\n{\"at\": \"host2\", \"cpus\": 1, \"mem\": 0}]}", "vm.json:2: at: 'host2' has no port");
}
END_TEST

START_TEST(node_of_the_file_that_lacks_something_is_refused)
{
	refuse_json("{\"node\": [{\"at\": \"local\", \"cpus\": 1}]}", "entry 1 lacks \"mem\"");
}
END_TEST

START_TEST(text_that_is_no_json_object_is_refused)
{
	refuse_json("", "vm.json:1: ");
	refuse_json("{\n\"kernel\": }", "vm.json:2: ");
	refuse_json("{\"kernel\": \"k\"", "vm.json:1: ");
	refuse_json("[]", "must be one JSON object");
	refuse_json("{} {}", "vm.json:1: ");
	refuse_json("{\"kernel\": \"a\\u0000b\"}", "vm.json:1: ");
}
END_TEST

START_TEST(key_given_twice_is_refused)
{
	refuse_json("{\"kernel\": \"a\",\n\"kernel\": \"b\"}", "vm.json:2: duplicate object key");
}
END_TEST

START_TEST(sixty_five_nodes_in_a_file_are_refused)
{
	char json[4096] = "{\"node\": [\"local,cpus=1,mem=64M\"";

	for (int i = 1; i < 65; i++)
		strcat(json, ", \"local,cpus=1,mem=64M\"");
	strcat(json, "]}");
	refuse_json(json, "more than 64 nodes");
}
END_TEST

START_TEST(huge_file_is_refused)
{
	size_t len = CONFIG_FILE_MAX_BYTES + 1;
	char *text = malloc(len);

	ck_assert_ptr_nonnull(text);
	memset(text, ' ', len);
	capture_start(&capture);
	refused(config_parse_json(&config, "vm.json", text, len), "larger than 1 MiB");
	free(text);
}
END_TEST

START_TEST(file_is_read)
{
	char path[] = "/tmp/pangea-test-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "{\"kernel\": \"k\"}", 15), 15);
	close(fd);
	ck_assert_int_eq(config_read_file(&config, path), 0);
	ck_assert_str_eq(config.kernel, "k");
	unlink(path);
}
END_TEST

START_TEST(file_that_is_missing_or_a_folder_is_refused)
{
	capture_start(&capture);
	ck_assert_int_eq(config_read_file(&config, "/nonexistent/vm.json"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(capture_end(&capture), "--config /nonexistent/vm.json: cannot read it: No such file"));
	capture_start(&capture);
	ck_assert_int_eq(config_read_file(&config, "/"), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(capture_end(&capture), "--config /: cannot read it: it is not a regular file"));
}
END_TEST

START_TEST(guest_values_become_exit_codes_that_mean_nothing_else)
{
	ck_assert_int_eq(exit_from_guest(0), EXIT_POWERED_OFF);
	ck_assert_int_eq(exit_from_guest(1), 65);
	ck_assert_int_eq(exit_from_guest(61), 125);
	ck_assert_int_eq(exit_from_guest(UINT32_MAX), 125);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *nodes = tcase_create("nodes");
	TCase *whole = tcase_create("whole");
	TCase *fields = tcase_create("fields");
	TCase *file = tcase_create("file");

	tcase_add_checked_fixture(nodes, setup, teardown);
	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_add_checked_fixture(fields, setup, teardown);
	tcase_add_checked_fixture(file, setup, teardown);
	suite_add_tcase(s, nodes);
	suite_add_tcase(s, whole);
	suite_add_tcase(s, fields);
	suite_add_tcase(s, file);

	tcase_add_test(nodes, local_node_is_taken);
	tcase_add_test(nodes, remote_node_is_taken_and_settings_come_in_any_order);
	tcase_add_test(nodes, budget_of_a_node_is_taken);
	tcase_add_test(nodes, budget_that_is_no_size_is_refused);
	tcase_add_test(nodes, budget_below_the_minimum_is_refused_with_what_it_takes);
	tcase_add_test(nodes, ipv6_node_is_taken_without_its_brackets);
	tcase_add_test(nodes, node_without_a_place_is_refused);
	tcase_add_test(nodes, node_with_bad_endpoint_is_refused);
	tcase_add_test(nodes, host_name_longer_than_dns_allows_is_refused);
	tcase_add_test(nodes, node_without_cpus_is_refused);
	tcase_add_test(nodes, node_without_mem_is_refused);
	tcase_add_test(nodes, node_with_bad_cpus_is_refused);
	tcase_add_test(nodes, node_with_bad_mem_is_refused);
	tcase_add_test(nodes, node_with_unknown_or_double_setting_is_refused);
	tcase_add_test(nodes, sixty_four_nodes_are_taken_and_one_more_is_refused);

	tcase_add_test(whole, good_machine_is_accepted);
	tcase_add_test(whole, no_nodes_are_refused);
	tcase_add_test(whole, first_node_that_is_remote_is_refused);
	tcase_add_test(whole, no_cpus_in_all_are_refused);
	tcase_add_test(whole, too_many_cpus_in_all_are_refused);
	tcase_add_test(whole, memory_that_is_no_multiple_of_2_mib_is_refused_with_the_next_that_is);
	tcase_add_test(whole, too_little_memory_on_node_0_is_refused);
	tcase_add_test(whole, too_little_memory_on_another_node_is_refused);
	tcase_add_test(whole, more_memory_than_can_be_addressed_is_refused);
	tcase_add_test(whole, no_kernel_is_refused);

	tcase_add_test(fields, serial_kinds_are_taken);
	tcase_add_test(fields, unknown_serial_is_refused);
	tcase_add_test(fields, transports_are_taken_and_others_refused);
	tcase_add_test(fields, triple_fault_actions_are_taken_and_others_refused);
	tcase_add_test(fields, shards_from_1_to_16_are_taken_and_others_refused);
	tcase_add_test(fields, ready_timeout_is_taken_and_0_refused);
	tcase_add_test(fields, bind_takes_addresses_and_refuses_the_rest);
	tcase_add_test(fields, empty_text_is_refused_and_the_old_one_stays);
	tcase_add_test(fields, guest_command_line_joins_defaults_and_append);
	tcase_add_test(fields, endpoint_is_formatted_as_it_is_written);
	tcase_add_test(fields, guest_values_become_exit_codes_that_mean_nothing_else);

	tcase_add_test(file, file_sets_every_key);
	tcase_add_test(file, unknown_key_is_refused_with_its_line);
	tcase_add_test(file, unknown_key_is_found_past_values_that_look_like_it);
	tcase_add_test(file, unknown_key_of_a_node_is_refused_with_its_line);
	tcase_add_test(file, value_of_the_wrong_type_is_refused_with_its_line);
	tcase_add_test(file, bad_value_is_refused_as_on_the_command_line);
	tcase_add_test(file, node_of_the_file_that_lacks_something_is_refused);
	tcase_add_test(file, text_that_is_no_json_object_is_refused);
	tcase_add_test(file, key_given_twice_is_refused);
	tcase_add_test(file, sixty_five_nodes_in_a_file_are_refused);
	tcase_add_test(file, huge_file_is_refused);
	tcase_add_test(file, file_is_read);
	tcase_add_test(file, file_that_is_missing_or_a_folder_is_refused);
	return check_main(s);
}
