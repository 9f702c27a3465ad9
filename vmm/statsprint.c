/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of `pangea stats`. */
#include <stdlib.h>
#include <string.h>

#include "vmm/statscmd.h"
#include "vmm/statsock.h"

#define LABEL       44
#define HOT_LINES   16u
#define TEXT_BYTES  1024u
#define NODES_SHOWN 64u

struct row {
	const char *name, *text;
};

#define ENTRY(name, text) {#name, text},
static const struct row counters[] = {DSM_COUNTERS(ENTRY)};
#undef ENTRY

/* What an optimisation saved, of what: counters whose sums are divided. A new one is a line here. */
struct rate {
	const char *text;
	const char *hits[3], *of[4];
	double scale;
};

static const struct rate rates[] = {
	{"zero pages, of all pages received", {"pages_in_zero"}, {"pages_in", "pages_in_zero"}, 1},
	{"upgrades without data, of writes to a copy", {"upgrades"}, {"faults_upgrade"}, 1},
	{"faults settled here, of all", {"faults_local"}, {"faults_read", "faults_write", "faults_upgrade"}, 1},
	{"pages asked for ahead and used, of all such", {"ahead_used"}, {"ahead"}, 1},
	{"pages sent as a difference, of those with data", {"delta_sent"}, {"pages_out"}, 1},
	{"pages given for good, of requests served", {"migrated"}, {"served"}, 1},
	{"copies pushed, of all pages received", {"pushed_in"}, {"pages_in", "pages_in_zero"}, 1},
	{"page tables lent, of requests served", {"replicas_lent"}, {"served"}, 1},
	{"orders to give a page up that waited, of all", {"held"}, {"invalidations"}, 1},
	{"orders passed on to other copies, of all", {"relayed"}, {"invalidations"}, 1},
	{"blocks that were split, of all here", {"splits"}, {"ram_bytes"}, (double)BLOCK_BYTES},
	{"blocks that became whole again, of those", {"merges"}, {"splits"}, 1},
	{"blocks given whole, of those", {"blocks_given"}, {"splits"}, 1},
};

struct table {
	FILE *out;
	size_t n;
	const json_t *node[NODES_SHOWN];
	const json_t *before[NODES_SHOWN]; /* of the same process, or NULL */
};

static json_int_t int_of(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

/* A string of the answer, fit for a terminal. */
static const char *text_of(const json_t *o, const char *name, char buf[TEXT_BYTES])
{
	const char *s = json_string_value(json_object_get(o, name));
	size_t n = 0;

	for (; s && s[n] && n < TEXT_BYTES - 1; n++)
		buf[n] = s[n] < ' ' || s[n] > '~' ? '?' : s[n];
	buf[n] = 0;
	return buf;
}

static double value_of(const json_t *node, const char *name)
{
	return json_number_value(json_object_get(json_object_get(node, "stats"), name));
}

static double seconds_between(const json_t *before, const json_t *now)
{
	double s = json_number_value(json_object_get(now, "seconds")) - json_number_value(json_object_get(before, "seconds"));

	return s > 0 ? s : 0;
}

/* ---- parts ---- */

static void print_heads(const struct table *t)
{
	char text[TEXT_BYTES], version[TEXT_BYTES];

	for (size_t i = 0; i < t->n; i++)
		fprintf(t->out, "machine %s, node %lld of %lld, process %lld, pangea %s, up %.0f s\n",
			text_of(t->node[i], "machine", text), int_of(t->node[i], "node"), int_of(t->node[i], "nodes"),
			int_of(t->node[i], "pid"), text_of(t->node[i], "version", version),
			json_number_value(json_object_get(t->node[i], "seconds")));
}

static void print_columns(const struct table *t, bool rate)
{
	fprintf(t->out, "\n%-*s", LABEL, "");
	for (size_t i = 0; i < t->n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "node %lld", int_of(t->node[i], "node"));
		fprintf(t->out, "%14s", name);
		if (rate)
			fprintf(t->out, "%11s", t->before[i] ? "a second" : "");
	}
	fputc('\n', t->out);
}

static void print_counters(const struct table *t, bool rate)
{
	print_columns(t, rate);
	for (size_t k = 0; k < ARRAY_SIZE(counters); k++) {
		fprintf(t->out, "%-*s", LABEL, counters[k].text);
		for (size_t i = 0; i < t->n; i++) {
			double now = value_of(t->node[i], counters[k].name);
			double s = t->before[i] ? seconds_between(t->before[i], t->node[i]) : 0;

			fprintf(t->out, "%14.0f", now);
			if (rate && s > 0)
				fprintf(t->out, "%11.1f", (now - value_of(t->before[i], counters[k].name)) / s);
			else if (rate)
				fprintf(t->out, "%11s", "");
		}
		fputc('\n', t->out);
	}
}

static void print_rates(const struct table *t)
{
	print_columns(t, false);
	for (size_t k = 0; k < ARRAY_SIZE(rates); k++) {
		const struct rate *r = &rates[k];

		fprintf(t->out, "%-*s", LABEL, r->text);
		for (size_t i = 0; i < t->n; i++) {
			double hits = 0, of = 0;

			for (size_t j = 0; j < ARRAY_SIZE(r->hits) && r->hits[j]; j++)
				hits += value_of(t->node[i], r->hits[j]);
			for (size_t j = 0; j < ARRAY_SIZE(r->of) && r->of[j]; j++)
				of += value_of(t->node[i], r->of[j]);
			if (of > 0)
				fprintf(t->out, "%12.1f %%", 100 * hits * r->scale / of);
			else
				fprintf(t->out, "%14s", "-");
		}
		fputc('\n', t->out);
	}
}

static void print_percentiles(const struct table *t)
{
	static const char *const kinds[] = {"read_us", "write_us"};
	static const char *const percentiles[] = {"p50", "p99", "p999"};

	print_columns(t, false);
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (size_t p = 0; p < ARRAY_SIZE(percentiles); p++) {
			fprintf(t->out, "%s fault, %-*s", k ? "write" : "read", LABEL - (k ? 13 : 12), percentiles[p]);
			for (size_t i = 0; i < t->n; i++)
				fprintf(t->out, "%11lld us",
					int_of(json_object_get(json_object_get(t->node[i], "stats"), kinds[k]), percentiles[p]));
			fputc('\n', t->out);
		}
}

static json_int_t bucket_of(const json_t *node, const char *histogram, size_t bucket)
{
	return json_integer_value(json_array_get(json_object_get(json_object_get(node, "stats"), histogram), bucket));
}

static void print_histogram(const struct table *t)
{
	fprintf(t->out, "\n%-*s", LABEL, "faults (read / write) that took less than");
	for (size_t i = 0; i < t->n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "node %lld", int_of(t->node[i], "node"));
		fprintf(t->out, "%22s", name);
	}
	fputc('\n', t->out);
	for (size_t b = 0; b < DSM_HISTOGRAM; b++) {
		bool any = false;

		for (size_t i = 0; i < t->n; i++)
			any |= bucket_of(t->node[i], "read_us_log2", b) || bucket_of(t->node[i], "write_us_log2", b);
		if (!any)
			continue;
		if (b < DSM_HISTOGRAM - 1)
			fprintf(t->out, "%*llu us", LABEL - 3, 1ull << b);
		else
			fprintf(t->out, "%*s", LABEL, "more");
		for (size_t i = 0; i < t->n; i++)
			fprintf(t->out, "%11lld/%-10lld", bucket_of(t->node[i], "read_us_log2", b),
				bucket_of(t->node[i], "write_us_log2", b));
		fputc('\n', t->out);
	}
}

/* Of all nodes here, the hottest first: what is left of each list is taken from its head. */
static void print_hottest(const struct table *t)
{
	size_t at[NODES_SHOWN] = {0};
	char text[TEXT_BYTES];

	fprintf(t->out, "\nhottest pages: transactions%s, and what is there (%s)\n", t->before[0] ? " since the start" : "",
		t->n ? text_of(t->node[0], "symbols", text) : "");
	for (unsigned line = 0; line < HOT_LINES; line++) {
		const json_t *best = NULL;
		size_t of = 0;

		for (size_t i = 0; i < t->n; i++) {
			const json_t *e = json_array_get(json_object_get(json_object_get(t->node[i], "stats"), "hottest"), at[i]);

			if (e && (!best || int_of(e, "transactions") > int_of(best, "transactions"))) {
				best = e;
				of = i;
			}
		}
		if (!best)
			return;
		at[of]++;
		fprintf(t->out, "%10lld  %s\n", int_of(best, "transactions"), text_of(best, "text", text));
	}
}

void statscmd_print(FILE *out, const json_t *nodes, const json_t *before)
{
	struct table t = {.out = out};

	while (t.n < NODES_SHOWN && t.n < json_array_size(nodes)) {
		const json_t *node = json_array_get(nodes, t.n);

		for (size_t i = 0; i < json_array_size(before); i++)
			if (int_of(json_array_get(before, i), "pid") == int_of(node, "pid"))
				t.before[t.n] = json_array_get(before, i);
		t.node[t.n++] = node;
	}
	if (!t.n)
		return;
	print_heads(&t);
	print_counters(&t, before != NULL);
	print_rates(&t);
	print_percentiles(&t);
	print_histogram(&t);
	print_hottest(&t);
}
