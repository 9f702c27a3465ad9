/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file: one JSON object whose keys are the options of `pangea run` without their dashes.
 *
 *   { "node": ["local,cpus=2,mem=512M", { "at": "host2:7700", "cpus": 1, "mem": "1G" }],
 *     "kernel": "/boot/vmlinuz", "append": "root=/dev/vda1", "shards": 2, "no-reboot": true }
 *
 * jansson accepts or refuses the syntax (duplicate keys and NUL bytes too) but forgets where a key stood. So a refusal
 * looks the key up in the text again, which by then is known to be JSON: locate() needs no error paths.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "vmm/config.h"
#include "vmm/suggest.h"

struct source {
	const char *name;
	const char *text;
	size_t len;
};

/* How far a key is from the top: a key of the object itself, or of the n-th object in the array "node". */
#define NOT_IN_NODE SIZE_MAX

/* Whether the string token [from, to), quotes included, spells `key` (it may use escapes). */
static bool token_is(const char *from, const char *to, const char *key)
{
	json_t *value = json_loadb(from, (size_t)(to - from), JSON_DECODE_ANY, NULL);
	bool same = value && strcmp(json_string_value(value), key) == 0;

	json_decref(value);
	return same;
}

/*
 * The line, from 1, of a key. A string at the right depth that a colon follows is a key:
 *
 *     {"kernel": "k", "node": [{"cpus": 1}, {"mem": "1G"}]}
 *     1                       23           3          depth; `index` counts the commas at depth 2
 */
static unsigned locate(const struct source *src, size_t node, const char *key)
{
	const char *end = src->text + src->len;
	unsigned line = 1;
	unsigned depth = 0;
	size_t index = 0;
	bool in_node = false;

	for (const char *c = src->text; c < end; c++) {
		if (*c == '\n') {
			line++;
		} else if (*c == '{' || *c == '[') {
			depth++;
		} else if (*c == '}' || *c == ']') {
			depth--;
		} else if (*c == ',' && depth == 2) {
			index++;
		} else if (*c == '"') {
			const char *from = c;

			for (c++; c < end && *c != '"'; c++)
				if (*c == '\\')
					c++;
			const char *after = c + 1; /* white space between a key and its colon may hold newlines */

			while (after < end && strchr(" \t\r\n", *after))
				after++;
			if (after >= end || *after != ':')
				continue;
			if (depth == 1) {
				in_node = token_is(from, c + 1, "node");
				index = 0;
			}
			if (depth == 1 ? node == NOT_IN_NODE : depth == 3 && in_node && index == node)
				if (token_is(from, c + 1, key))
					return line;
		}
	}
	return 1;
}

/* "vm.json:7: cpus", the `where` of config.h's setters. */
#define WHERE_BYTES 320
static const char *where(const struct source *src, size_t node, const char *key, char *buf)
{
	snprintf(buf, WHERE_BYTES, "%.200s:%u: %.64s", src->name, locate(src, node, key), key);
	return buf;
}

static int wrong_type(const struct source *src, size_t node, const char *key, const char *want)
{
	char buf[WHERE_BYTES];

	log_error("%s: the value must be %s", where(src, node, key, buf), want);
	return -EINVAL;
}

/* ---- nodes ---- */

#define NODE_TEXT_BYTES (ENDPOINT_TEXT_BYTES + 96)

/* A value of a node's object as text: a string without a comma, or a whole number. False: neither. */
static bool node_value(const json_t *value, char *buf, size_t bytes)
{
	if (json_is_integer(value))
		return snprintf(buf, bytes, "%lld", (long long)json_integer_value(value)) < (int)bytes;
	if (!json_is_string(value) || strchr(json_string_value(value), ','))
		return false;
	return snprintf(buf, bytes, "%s", json_string_value(value)) < (int)bytes;
}

/* { "at": "local", "cpus": 2, "mem": "512M" } becomes "local,cpus=2,mem=512M", so that one place judges both. */
static int add_node_object(struct config *config, const struct source *src, size_t index, json_t *object)
{
	char at[ENDPOINT_TEXT_BYTES] = "";
	char cpus[24] = "";
	char mem[24] = "";
	char budget[24] = "";
	char text[NODE_TEXT_BYTES];
	char buf[WHERE_BYTES];

	for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
		const char *key = json_object_iter_key(it);
		json_t *value = json_object_iter_value(it);

		if (strcmp(key, "at") == 0) {
			if (!json_is_string(value) || !node_value(value, at, sizeof(at)))
				return wrong_type(src, index, key, "\"local\" or \"HOST:PORT\"");
		} else if (strcmp(key, "cpus") == 0) {
			if (!node_value(value, cpus, sizeof(cpus)))
				return wrong_type(src, index, key, "a number of CPUs");
		} else if (strcmp(key, "mem") == 0) {
			if (!node_value(value, mem, sizeof(mem)))
				return wrong_type(src, index, key, "a size such as \"512M\"");
		} else if (strcmp(key, "mem-budget") == 0) {
			if (!node_value(value, budget, sizeof(budget)))
				return wrong_type(src, index, key, "a size such as \"1G\"");
		} else {
			log_error("%s: a node has no such key: use at, cpus, mem and mem-budget", where(src, index, key, buf));
			return -EINVAL;
		}
	}
	if (!*at || !*cpus || !*mem) {
		log_error("%s: entry %zu lacks \"%s\": a node needs at, cpus and mem", where(src, NOT_IN_NODE, "node", buf),
			  index + 1,
			  !*at     ? "at"
			  : !*cpus ? "cpus"
				   : "mem");
		return -EINVAL;
	}
	snprintf(text, sizeof(text), "%s,cpus=%s,mem=%s%s%s", at, cpus, mem, *budget ? ",mem-budget=" : "", budget);
	return config_add_node(config, where(src, index, "at", buf), text);
}

static int set_nodes(struct config *config, const struct source *src, json_t *value)
{
	char buf[WHERE_BYTES];

	if (!json_is_array(value))
		return wrong_type(src, NOT_IN_NODE, "node", "a list of nodes, [\"local,cpus=2,mem=512M\", ...]");
	config->nodes = 0;
	for (size_t i = 0; i < json_array_size(value); i++) {
		json_t *entry = json_array_get(value, i);
		int rc;

		if (json_is_object(entry))
			rc = add_node_object(config, src, i, entry);
		else if (json_is_string(entry))
			rc = config_add_node(config, where(src, NOT_IN_NODE, "node", buf), json_string_value(entry));
		else
			rc = wrong_type(src, NOT_IN_NODE, "node", "a list of nodes, [\"local,cpus=2,mem=512M\", ...]");
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- the other keys ---- */

/* Exactly one of the three says how a key's value is taken. */
struct key {
	const char *name;
	int (*set)(struct config *config, const char *where, const char *text); /* a string or a whole number */
	size_t text;                                                            /* offset of a string field */
	size_t flag;                                                            /* offset of a bool */
};

static const struct key keys[] = {
	{.name = "kernel", .text = offsetof(struct config, kernel)},
	{.name = "initrd", .text = offsetof(struct config, initrd)},
	{.name = "append", .set = config_set_append},
	{.name = "key", .text = offsetof(struct config, key_file)},
	{.name = "bind", .set = config_set_bind},
	{.name = "shards", .set = config_set_shards},
	{.name = "without", .set = config_set_without},
	{.name = "poll-us", .set = config_set_poll_us},
	{.name = "ready-timeout", .set = config_set_ready_timeout},
	{.name = "transport", .set = config_set_transport},
	{.name = "serial", .set = config_set_serial},
	{.name = "triple-fault", .set = config_set_triple_fault},
	{.name = "stats-json", .text = offsetof(struct config, stats_json)},
	{.name = "symbols", .text = offsetof(struct config, symbols)},
	{.name = "no-guest-defaults", .flag = offsetof(struct config, no_guest_defaults)},
	{.name = "no-reboot", .flag = offsetof(struct config, no_reboot)},
	{.name = "stats", .flag = offsetof(struct config, stats)},
	{.name = "quiet", .flag = offsetof(struct config, quiet)},
};
/* An offset of 0 means "not this kind", so no key's field may be the struct's first. */
_Static_assert(offsetof(struct config, nodes) == 0, "the first field of struct config is no key's");

static int set_key(struct config *config, const struct source *src, const struct key *key, json_t *value)
{
	char buf[WHERE_BYTES];
	char number[24];

	if (key->flag) {
		if (!json_is_boolean(value))
			return wrong_type(src, NOT_IN_NODE, key->name, "true or false");
		*(bool *)((char *)config + key->flag) = json_is_true(value);
		return 0;
	}
	if (key->text) {
		if (!json_is_string(value))
			return wrong_type(src, NOT_IN_NODE, key->name, "a string");
		return config_set_text((char **)((char *)config + key->text), where(src, NOT_IN_NODE, key->name, buf),
				       json_string_value(value));
	}
	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return key->set(config, where(src, NOT_IN_NODE, key->name, buf), number);
	}
	if (!json_is_string(value))
		return wrong_type(src, NOT_IN_NODE, key->name, "a string or a whole number");
	return key->set(config, where(src, NOT_IN_NODE, key->name, buf), json_string_value(value));
}

static int set_any(struct config *config, const struct source *src, const char *name, json_t *value)
{
	char buf[WHERE_BYTES];

	if (strcmp(name, "node") == 0)
		return set_nodes(config, src, value);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(name, keys[i].name) == 0)
			return set_key(config, src, &keys[i], value);
	struct suggest s = {.word = name};
	suggest_try(&s, "node");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		suggest_try(&s, keys[i].name);
	if (s.best) {
		log_error("%s: there is no such key, did you mean \"%s\"?", where(src, NOT_IN_NODE, name, buf), s.best);
		return -EINVAL;
	}
	log_error("%s: there is no such key: see 'pangea run --help' for the options, each of which is a key without its dashes",
		  where(src, NOT_IN_NODE, name, buf));
	return -EINVAL;
}

int config_parse_json(struct config *config, const char *name, const char *text, size_t len)
{
	const struct source src = {.name = name, .text = text, .len = len};
	json_error_t error;
	json_t *root;
	int rc = 0;

	if (len > CONFIG_FILE_MAX_BYTES) {
		log_error("%s: is larger than 1 MiB: this is not a configuration file", name);
		return -EINVAL;
	}
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		log_error("%s:%d: %s: the file must be one JSON object", name, error.line > 0 ? error.line : 1, error.text);
		return -EINVAL;
	}
	if (!json_is_object(root)) {
		log_error("%s:1: the file must be one JSON object, { \"kernel\": ... }", name);
		rc = -EINVAL;
	} else {
		for (void *it = json_object_iter(root); it && !rc; it = json_object_iter_next(root, it))
			rc = set_any(config, &src, json_object_iter_key(it), json_object_iter_value(it));
	}
	json_decref(root);
	return rc;
}

int config_read_file(struct config *config, const char *path)
{
	uint8_t *text = NULL;
	size_t len = 0;
	int rc = file_read(path, CONFIG_FILE_MAX_BYTES, &text, &len);

	if (rc) {
		log_error("--config %s: cannot read it: %s: check the path", path, file_error(rc));
		return rc;
	}
	rc = config_parse_json(config, path, (const char *)text, len);
	free(text);
	return rc;
}
