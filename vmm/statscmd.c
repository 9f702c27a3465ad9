/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/statscmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "vmm/exitcode.h"
#include "vmm/statsock.h"

#define NODE_PATIENCE_NS (6 * NS_PER_SEC) /* a node may have to look for its guest's symbols first */
#define NODES_ASKED      64u
#define WATCH_SEC        1u

struct asking {
	struct statsock_visitor visitor;
	const struct stats_options *options;
	json_t *nodes;
	unsigned silent;
};

/* ---- one node ---- */

static int read_answer(int fd, char **out, size_t *out_len)
{
	uint64_t until = clock_ns() + NODE_PATIENCE_NS;
	char *buf = malloc(STATSOCK_ANSWER_MAX);
	size_t len = 0;
	int rc = buf ? 0 : -ENOMEM;

	while (!rc) {
		ssize_t n = recv(fd, buf + len, STATSOCK_ANSWER_MAX - len, 0);

		if (n == 0)
			break;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			rc = -errno;
		else if (clock_ns() > until)
			rc = -ETIMEDOUT;
		len += n > 0 ? (size_t)n : 0;
		if (len == STATSOCK_ANSWER_MAX)
			rc = -EMSGSIZE;
	}
	if (rc) {
		free(buf);
		return rc;
	}
	*out = buf;
	*out_len = len;
	return 0;
}

/* NULL: it does not answer, or not in JSON. *gone: its process is no more. */
static json_t *ask(const char *dir, const char *name, const char *request, bool *gone)
{
	char *text = NULL;
	size_t len = 0;
	int fd, rc = statsock_connect(dir, name, &fd);

	*gone = rc == -ECONNREFUSED || rc == -ENOENT;
	if (rc)
		return NULL;
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
		rc = -EIO;
	if (!rc)
		rc = read_answer(fd, &text, &len);
	close(fd);
	json_t *json = rc ? NULL : json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	return json;
}

static bool is_wanted(const struct stats_options *options, const json_t *node)
{
	const char *machine = json_string_value(json_object_get(node, "machine"));

	if (options->node != NODE_NONE && json_integer_value(json_object_get(node, "node")) != (json_int_t)options->node)
		return false;
	return !options->machine || (machine && strcmp(machine, options->machine) == 0);
}

static int on_socket(struct statsock_visitor *visitor, const char *dir, const char *name)
{
	struct asking *a = container_of(visitor, struct asking, visitor);
	char path[STATSOCK_PATH];
	bool gone;
	json_t *node = ask(dir, name, "stats\n", &gone);

	if (gone && snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		unlink(path); /* left by a process that was killed */
	if (!node || !json_is_object(node) || !json_is_object(json_object_get(node, "stats"))) {
		a->silent += !gone;
		json_decref(node);
		return 0;
	}
	json_object_set_new(node, "socket", json_string(name));
	json_array_append_new(a->nodes, node); /* also those not wanted: they may know the symbols */
	return json_array_size(a->nodes) >= NODES_ASKED;
}

/* ---- names from the node that knows them ---- */

/* "pages 12 34t ...\n". */
static void write_request(const json_t *hottest, char *buf, size_t len)
{
	size_t used = (size_t)snprintf(buf, len, "pages");
	size_t i;
	const json_t *e;

	json_array_foreach(hottest, i, e)
	{
		long long page = (long long)(json_integer_value(json_object_get(e, "page")) & 0xffffffffffff);

		if (i == DSM_HOTTEST || used >= len - 32)
			break;
		used += (size_t)snprintf(buf + used, len - used, " %lld%s", page,
					 json_is_true(json_object_get(e, "page_table")) ? "t" : "");
	}
	snprintf(buf + used, len - used, "\n");
}

/* The entries of `named` in place of those of the same pages. */
static void take_names(json_t *hottest, const json_t *named)
{
	static const char *const fields[] = {"kind", "cpu", "symbols", "text"};
	size_t i;
	json_t *e;

	json_array_foreach(hottest, i, e)
	{
		const json_t *n = json_array_get(named, i);

		if (json_integer_value(json_object_get(n, "page")) != json_integer_value(json_object_get(e, "page")))
			return;
		for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
			if (json_object_get(n, fields[k]))
				json_object_set(e, fields[k], json_object_get(n, fields[k]));
	}
}

/* A node without symbols has its pages named by one of its machine, on this host, that has them. */
static void name_pages(json_t *nodes, const char *dir)
{
	char request[STATSOCK_REQUEST];
	size_t i, k;
	json_t *node;
	const json_t *other;

	json_array_foreach(nodes, i, node)
	{
		json_t *hottest = json_object_get(json_object_get(node, "stats"), "hottest");

		if (json_is_true(json_object_get(node, "has_symbols")) || !json_array_size(hottest))
			continue;
		json_array_foreach(nodes, k, other)
		{
			const char *name = json_string_value(json_object_get(other, "socket"));
			bool gone;

			if (!json_is_true(json_object_get(other, "has_symbols")) || !name ||
			    !json_equal(json_object_get(node, "machine"), json_object_get(other, "machine")))
				continue;
			write_request(hottest, request, sizeof(request));
			json_t *named = ask(dir, name, request, &gone);
			take_names(hottest, named);
			if (named)
				json_object_set(node, "symbols", json_object_get(other, "symbols"));
			json_decref(named);
			break;
		}
	}
}

/* ---- the whole ---- */

static int by_node(const void *x, const void *y)
{
	const json_t *a = *(const json_t *const *)x, *b = *(const json_t *const *)y;
	const char *m = json_string_value(json_object_get(a, "machine")), *n = json_string_value(json_object_get(b, "machine"));
	int machines = strcmp(m ? m : "", n ? n : "");
	json_int_t d = json_integer_value(json_object_get(a, "node")) - json_integer_value(json_object_get(b, "node"));

	return machines ? machines : (d > 0) - (d < 0);
}

static json_t *sorted_and_wanted(const struct stats_options *options, json_t *nodes)
{
	json_t *list[NODES_ASKED] = {0}, *out = json_array();
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(nodes) && n < NODES_ASKED; i++)
		if (is_wanted(options, json_array_get(nodes, i)))
			list[n++] = json_array_get(nodes, i);
	qsort(list, n, sizeof(list[0]), by_node);
	for (size_t i = 0; i < n; i++) {
		json_object_del(list[i], "socket");
		json_array_append(out, list[i]);
	}
	json_decref(nodes);
	return out;
}

/* What the nodes asked for say now; an empty list: none runs. NULL: an error, logged. */
static json_t *gather(const struct stats_options *options, const char *dir)
{
	struct asking a = {.visitor = {.each = on_socket}, .options = options, .nodes = json_array()};
	int rc = statsock_visit(dir, &a.visitor);

	if (rc < 0) {
		log_error("cannot look for running nodes in %s: %s", dir, strerror(-rc));
		json_decref(a.nodes);
		return NULL;
	}
	if (a.silent)
		log_warn("%u node%s of this host did not answer", a.silent, a.silent == 1 ? "" : "s");
	name_pages(a.nodes, dir);
	return sorted_and_wanted(options, a.nodes);
}

static void show(const struct stats_options *options, json_t *nodes, const json_t *before)
{
	if (options->json) {
		json_t *root = json_pack("{s:O}", "nodes", nodes);

		json_dumpf(root, stdout, options->watch ? JSON_COMPACT : JSON_INDENT(2));
		fputc('\n', stdout);
		json_decref(root);
	} else {
		if (options->watch && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		statscmd_print(stdout, nodes, before);
		if (options->watch && !isatty(STDOUT_FILENO))
			fputc('\n', stdout);
	}
	fflush(stdout);
}

int statscmd_run(const struct stats_options *options)
{
	json_t *nodes, *before = NULL;
	char dir[STATSOCK_PATH];
	int rc = statsock_dir(dir);

	if (rc) {
		log_error("where the sockets of running nodes are is not known: %s",
			  rc == -ENOENT ? "XDG_RUNTIME_DIR is not set; be the user who started them, or root"
					: "the directory's name is too long");
		return EXIT_USAGE;
	}
	nodes = gather(options, dir);
	if (nodes && !json_array_size(nodes)) {
		log_error("no node of Pangea %sruns on this host that this user may ask: there is none in %s",
			  options->node != NODE_NONE || options->machine ? "with that number or machine " : "", dir);
		json_decref(nodes);
		return EXIT_USAGE;
	}
	if (!nodes)
		return EXIT_USAGE;
	while (nodes && json_array_size(nodes)) {
		show(options, nodes, before);
		json_decref(before);
		before = nodes;
		nodes = NULL;
		if (!options->watch || ferror(stdout))
			break;
		sleep(WATCH_SEC);
		nodes = gather(options, dir);
	}
	json_decref(before);
	json_decref(nodes);
	return 0;
}
