/* SPDX-License-Identifier: Apache-2.0 */
/* `pangea stats` and the socket it asks: a node's real memory behind it, good and bad clients, sockets of the dead. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "capture.h"
#include "tests/unit/check_main.h"
#include "vmm/exitcode.h"
#include "vmm/statscmd.h"
#include "vmm/statsock.h"

static char dir[64], path[128];
static struct vm *vm;
static struct statsock *sock;

static void setup(void)
{
	struct memmap_spec spec = {.vcpus = 1, .bytes = 64 * MIB};
	rpn_t first[2] = {0, 64 * MIB / PAGE_BYTES};
	struct dsm_config config = {.nodes = 1, .node_first = first, .low_pages = 3 * GIB / PAGE_BYTES, .high_gpa = 4 * GIB};

	snprintf(dir, sizeof(dir), "/tmp/pangea-test-%d", getpid());
	snprintf(path, sizeof(path), "%s/%d.sock", dir, getpid());
	setenv("PANGEA_RUNTIME_DIR", dir, 1);
	vm = calloc(1, sizeof(*vm));
	ck_assert_int_eq(memmap_build(&spec, 1, &vm->config.map), 0);
	snprintf(vm->config.machine, sizeof(vm->config.machine), "0badcafe");
	ck_assert_int_eq(dsm_new(&config, &vm->dsm), 0);
	sock = statsock_start(vm, NULL);
}

static void teardown(void)
{
	statsock_stop(sock);
	dsm_free(vm->dsm);
	free(vm);
	ck_assert_int_ne(access(path, F_OK), 0); /* removed */
	rmdir(dir);
}

static int dial(void)
{
	char name[32];
	int fd = -1;

	snprintf(name, sizeof(name), "%d.sock", getpid());
	ck_assert_int_eq(statsock_connect(dir, name, &fd), 0);
	return fd;
}

/* All that comes until the end of the stream, at most ms; the caller frees it. NULL: no end. */
static char *hear(int fd, int ms)
{
	uint64_t until = clock_ns() + (uint64_t)ms * NS_PER_MS;
	char *buf = calloc(1, STATSOCK_ANSWER_MAX);
	size_t len = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_ns();

		if (now > until || poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1) <= 0) {
			free(buf);
			return NULL;
		}
		ssize_t n = recv(fd, buf + len, STATSOCK_ANSWER_MAX - 1 - len, 0);
		if (n <= 0)
			return buf;
		len += (size_t)n;
	}
}

static char *exchange(const char *request)
{
	int fd = dial();

	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	char *answer = hear(fd, 5000);
	close(fd);
	ck_assert_ptr_nonnull(answer);
	return answer;
}

START_TEST(a_node_answers_what_it_counted)
{
	memset(dsm_ram(vm->dsm), 1, 2 * MIB);
	char *text = exchange("stats\n");
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	ck_assert_ptr_nonnull(o);
	ck_assert_str_eq(json_string_value(json_object_get(o, "machine")), "0badcafe");
	ck_assert_int_eq(json_integer_value(json_object_get(o, "pid")), getpid());
	const json_t *stats = json_object_get(o, "stats");
	ck_assert_int_eq(json_integer_value(json_object_get(stats, "ram_bytes")), 64 * MIB);
	ck_assert_int_ge(json_integer_value(json_object_get(stats, "resident_bytes")), 2 * MIB);
	ck_assert_int_lt(json_integer_value(json_object_get(stats, "resident_bytes")), 64 * MIB);
	ck_assert(json_is_array(json_object_get(stats, "hottest")));
	json_decref(o);
	free(text);
}
END_TEST

START_TEST(pages_are_described)
{
	char *text = exchange("pages 3 100t 999999999\n");
	json_t *list = json_loads(text, 0, NULL);

	ck_assert_uint_eq(json_array_size(list), 2); /* the third is no page of this machine */
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(list, 0), "gpa")), 3 * PAGE_BYTES);
	ck_assert(json_is_false(json_object_get(json_array_get(list, 0), "page_table")));
	ck_assert(json_is_true(json_object_get(json_array_get(list, 1), "page_table")));
	json_decref(list);
	free(text);
}
END_TEST

START_TEST(socket_is_for_this_user_alone)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(stat(dir, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
}
END_TEST

START_TEST(requests_that_are_none_are_dropped)
{
	static const char *const bad[] = {"\n", "stat\n", "stats \n", "GET / HTTP/1.1\r\n", "pages 1,2\n", "pages -1\n"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *answer = exchange(bad[i]);

		ck_assert_str_eq(answer, "");
		free(answer);
	}
	char longest[STATSOCK_REQUEST + 1];
	memset(longest, 'x', STATSOCK_REQUEST);
	longest[STATSOCK_REQUEST] = 0;
	char *answer = exchange(longest);
	ck_assert_str_eq(answer, "");
	free(answer);
}
END_TEST

START_TEST(requests_are_parsed)
{
	static const char *const bad[] = {"",         "stat",     "stats\n",   "statsx",  "page",
					  "pages  1", "pages 1 ", "pages 1tt", "pages t", "pages 1234567890123456",
					  "pagesx"};
	struct statsock_request r;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(statsock_parse(bad[i], strlen(bad[i]), &r) == -EBADMSG, "taken: '%s'", bad[i]);
	ck_assert_int_eq(statsock_parse("stats", 5, &r), 0);
	ck_assert_int_eq(r.what, STATSOCK_STATS);
	ck_assert_int_eq(statsock_parse("pages", 5, &r), 0);
	ck_assert_uint_eq(r.n, 0);
	ck_assert_int_eq(statsock_parse("pages 7 8t", 10, &r), 0);
	ck_assert_int_eq(r.what, STATSOCK_PAGES);
	ck_assert_uint_eq(r.n, 2);
	ck_assert(r.page[0].page == 7 && !r.page[0].marks && r.page[1].page == 8 && r.page[1].marks == DSM_HOT_TABLE);
	char many[6 + 2 * DSM_HOTTEST + 3] = "pages";
	for (unsigned i = 0; i < DSM_HOTTEST; i++)
		strcat(many, " 1");
	ck_assert_int_eq(statsock_parse(many, strlen(many), &r), 0);
	strcat(many, " 1");
	ck_assert_int_eq(statsock_parse(many, strlen(many), &r), -EBADMSG);
}
END_TEST

/* As many as there is room for say nothing: they are dropped, and the next is served. */
START_TEST(clients_that_hang_are_dropped)
{
	uint64_t start = clock_ns();
	int fd[STATSOCK_CLIENTS];

	for (size_t i = 0; i < STATSOCK_CLIENTS; i++) {
		fd[i] = dial();
		ck_assert_int_eq(send(fd[i], "sta", 3, MSG_NOSIGNAL), 3);
	}
	for (size_t i = 0; i < STATSOCK_CLIENTS; i++) {
		char *nothing = hear(fd[i], 5000);

		ck_assert_ptr_nonnull(nothing);
		ck_assert_str_eq(nothing, "");
		free(nothing);
	}
	ck_assert_uint_lt(clock_ns() - start, 2 * STATSOCK_PATIENCE_NS);
	char *answer = exchange("stats\n");
	ck_assert_int_eq(answer[0], '{');
	free(answer);
	for (size_t i = 0; i < STATSOCK_CLIENTS; i++)
		close(fd[i]);
}
END_TEST

/* Neither a client that waits nor one that asks and does not read keeps the thread from its end. */
START_TEST(the_end_does_not_wait_for_clients)
{
	int quiet = dial(), deaf = dial();
	uint64_t start = clock_ns();

	ck_assert_int_eq(send(deaf, "stats\n", 6, MSG_NOSIGNAL), 6);
	statsock_stop(sock);
	sock = NULL;
	ck_assert_uint_lt(clock_ns() - start, STATSOCK_PATIENCE_NS / 2);
	close(quiet);
	close(deaf);
}
END_TEST

static void leave_dead_socket(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
}

static bool is_there(const char *name)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/%s", dir, name);
	return access(file, F_OK) == 0;
}

START_TEST(a_node_that_starts_removes_sockets_of_dead_ones)
{
	leave_dead_socket("1.sock");
	statsock_stop(sock);
	sock = statsock_start(vm, NULL);
	ck_assert_ptr_nonnull(sock);
	ck_assert(!is_there("1.sock"));
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_directory_that_others_write_to_is_not_used)
{
	struct capture c;

	statsock_stop(sock);
	ck_assert_int_eq(chmod(dir, 0777), 0);
	capture_start(&c);
	sock = statsock_start(vm, NULL);
	ck_assert_ptr_null(sock);
	ck_assert_ptr_nonnull(strstr(capture_end(&c), "not a directory of this user alone"));
	ck_assert_int_eq(chmod(dir, 0700), 0);
}
END_TEST

/* ---- the command ---- */

/* What it prints; the exit code in *code. */
static char *run(const struct stats_options *options, int *code)
{
	int out = dup(STDOUT_FILENO);
	FILE *f = tmpfile();
	char *text;

	fflush(stdout);
	dup2(fileno(f), STDOUT_FILENO);
	*code = statscmd_run(options);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	long len = ftell(f) < 0 ? 0 : lseek(fileno(f), 0, SEEK_END);
	text = calloc(1, (size_t)len + 1);
	ck_assert_int_eq(pread(fileno(f), text, (size_t)len, 0), len);
	fclose(f);
	return text;
}

START_TEST(command_shows_this_node)
{
	struct stats_options options = {.node = NODE_NONE};
	int code;

	leave_dead_socket("1.sock");
	char *text = run(&options, &code);
	ck_assert_int_eq(code, 0);
	ck_assert_ptr_nonnull(strstr(text, "machine 0badcafe, node 0 of 1, process "));
	ck_assert_ptr_nonnull(strstr(text, "\nbytes of guest RAM resident "));
	ck_assert_ptr_nonnull(strstr(text, "zero pages, of all pages received"));
	ck_assert(!is_there("1.sock"));
	free(text);
	options.json = true;
	text = run(&options, &code);
	ck_assert_int_eq(code, 0);
	json_t *o = json_loads(text, 0, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "nodes")), 1);
	json_decref(o);
	free(text);
}
END_TEST

START_TEST(command_says_that_no_such_node_runs)
{
	char other[] = "ffffffff";
	struct stats_options options[] = {{.node = 5}, {.node = NODE_NONE, .machine = other}};
	struct capture c;
	int code;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		capture_start(&c);
		free(run(&options[i], &code));
		ck_assert_ptr_nonnull(strstr(capture_end(&c), "no node of Pangea with that number or machine runs on this host"));
		ck_assert_int_eq(code, EXIT_USAGE);
	}
}
END_TEST

START_TEST(command_survives_any_answer)
{
	static const char *const answers[] = {
		"[]",
		"[1, null, \"x\"]",
		"[{}]",
		"[{\"machine\": 5, \"node\": \"a\", \"stats\": []}]",
		"[{\"stats\": {\"hottest\": [{\"transactions\": 1, \"text\": \"evil\\u001b[2J\"}], \"read_us\": 4}}]",
		"[{\"stats\": {\"read_us_log2\": {\"a\": 1}, \"write_us_log2\": [\"x\", 1e300, -5]}}]",
		"[{\"seconds\": 1e308, \"stats\": {\"faults_read\": -1e308, \"ram_bytes\": 1e-300, \"splits\": 9}}]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		json_t *nodes = json_loads(answers[i], 0, NULL);
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		ck_assert_ptr_nonnull(nodes);
		statscmd_print(f, nodes, nodes);
		fclose(f);
		ck_assert_ptr_null(strchr(text, 033));
		free(text);
		json_decref(nodes);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("statsock");
	TCase *t = tcase_create("statsock");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_node_answers_what_it_counted);
	tcase_add_test(t, pages_are_described);
	tcase_add_test(t, socket_is_for_this_user_alone);
	tcase_add_test(t, requests_that_are_none_are_dropped);
	tcase_add_test(t, requests_are_parsed);
	tcase_add_test(t, clients_that_hang_are_dropped);
	tcase_add_test(t, the_end_does_not_wait_for_clients);
	tcase_add_test(t, a_node_that_starts_removes_sockets_of_dead_ones);
	tcase_add_test(t, a_directory_that_others_write_to_is_not_used);
	tcase_add_test(t, command_shows_this_node);
	tcase_add_test(t, command_says_that_no_such_node_runs);
	tcase_add_test(t, command_survives_any_answer);
	suite_add_tcase(suite, t);
	return check_main(suite);
}
