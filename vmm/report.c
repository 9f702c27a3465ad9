/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"

#define HOT_LINES 16

struct counter_name {
	const char *name, *text;
	size_t offset;
};

#define ENTRY(name, text) {#name, text, offsetof(struct dsm_stats, name)},
static const struct counter_name counter_names[] = {DSM_COUNTERS(ENTRY)};
#undef ENTRY

static uint64_t value_of(const struct dsm_stats *stats, const struct counter_name *c)
{
	return *(const uint64_t *)((const char *)stats + c->offset);
}

static struct dsm_stats total_of(const struct vm *vm, const struct dsm_stats *all)
{
	struct dsm_stats total = {0};

	for (node_t n = 0; n < vm->config.map.nodes; n++)
		dsm_stats_add(&total, &all[n]);
	return total;
}

/* Cycles of the guest's counter as ns. */
static double cycles_ns(const struct vm *vm, uint64_t cycles)
{
	return (double)cycles * 1e6 / vm->config.tsc.guest_khz;
}

static const struct {
	const char *name;
	double percent;
} percentiles[] = {{"p50", 50}, {"p99", 99}, {"p999", 99.9}};

static void print_percentiles(FILE *out, const char *kind, const uint64_t *const *latency, node_t n)
{
	char text[64];

	for (size_t p = 0; p < ARRAY_SIZE(percentiles); p++) {
		snprintf(text, sizeof(text), "%s fault, %s, us, at most", kind, percentiles[p].name);
		fprintf(out, "%-40s", text);
		for (node_t i = 0; i < n; i++)
			fprintf(out, "%12llu", (unsigned long long)dsm_percentile(latency[i], percentiles[p].percent));
		fputc('\n', out);
	}
}

/* Of each node, then of all of them. */
static void print_latencies(FILE *out, const struct dsm_stats *all, const struct dsm_stats *total, node_t nodes)
{
	uint64_t read_us[NODES_MAX + 1][DSM_HISTOGRAM], write_us[NODES_MAX + 1][DSM_HISTOGRAM];
	const uint64_t *reads[NODES_MAX + 1], *writes[NODES_MAX + 1];

	for (node_t n = 0; n <= nodes; n++) {
		reads[n] = n < nodes ? all[n].read_us : total->read_us;
		writes[n] = n < nodes ? all[n].write_us : total->write_us;
		dsm_histogram(reads[n], read_us[n]);
		dsm_histogram(writes[n], write_us[n]);
	}
	print_percentiles(out, "read", reads, nodes + 1);
	print_percentiles(out, "write", writes, nodes + 1);
	for (unsigned i = 0; i < DSM_HISTOGRAM; i++) {
		char text[64] = "faults (read/write) that took longer";

		if (!read_us[nodes][i] && !write_us[nodes][i])
			continue;
		if (i < DSM_HISTOGRAM - 1)
			snprintf(text, sizeof(text), "faults (read/write) below %u us", 1u << i);
		fprintf(out, "%-40s", text);
		for (node_t n = 0; n <= nodes; n++)
			fprintf(out, "%6llu/%-5llu", (unsigned long long)read_us[n][i], (unsigned long long)write_us[n][i]);
		fputc('\n', out);
	}
}

static void print_clock(FILE *out, const struct vm *vm)
{
	struct clock_figures f;

	fprintf(out, "\n%-40s%12s%12s%12s%12s%12s%12s\n", "clock, against node 0's", "rate, ppm", "skew <=, us", "worst, us",
		"one-way, us", "median, us", "steps");
	for (node_t n = 0; n < vm->config.map.nodes; n++) {
		clocksync_figures(vm->clock, n, &f);
		fprintf(out, "node %-35u%12.3f%12.1f%12.1f%12.1f%12.1f%12llu\n", n, f.ppb / 1e3, (double)f.bound_ns / 1e3,
			(double)f.worst_ns / 1e3, (double)f.least_ns / 1e3, (double)f.median_ns / 1e3, (unsigned long long)f.steps);
	}
}

void report_print(FILE *out, const struct vm *vm, const struct dsm_stats *all, double seconds, const struct hotpages *hot)
{
	struct dsm_stats total = total_of(vm, all);
	node_t nodes = vm->config.map.nodes;
	char text[HOTPAGES_TEXT];

	fprintf(out, "\nthe guest ran %.1f s on %u node%s\n", seconds, nodes, nodes == 1 ? "" : "s");
	if (nodes == 1)
		return;
	fprintf(out, "%-40s", "");
	for (node_t n = 0; n < nodes; n++)
		fprintf(out, "%9s%-3u", "node ", n);
	fprintf(out, "%12s\n", "all");
	for (size_t i = 0; i < ARRAY_SIZE(counter_names); i++) {
		fprintf(out, "%-40s", counter_names[i].text);
		for (node_t n = 0; n < nodes; n++)
			fprintf(out, "%12llu", (unsigned long long)value_of(&all[n], &counter_names[i]));
		fprintf(out, "%12llu\n", (unsigned long long)value_of(&total, &counter_names[i]));
	}
	print_latencies(out, all, &total, nodes);
	print_clock(out, vm);
	fprintf(out, "\nhottest pages: transactions, and what is there (%s)\n", hotpages_source(hot));
	for (unsigned i = 0; i < HOT_LINES && total.hot[i].transactions; i++)
		fprintf(out, "%10llu  %s\n", (unsigned long long)total.hot[i].transactions,
			hotpages_text(hot, &total.hot[i], text));
}

static json_t *histogram_json(const uint64_t latency[DSM_LATENCY])
{
	uint64_t histogram[DSM_HISTOGRAM];
	json_t *list = json_array();

	dsm_histogram(latency, histogram);
	for (unsigned i = 0; i < DSM_HISTOGRAM; i++)
		json_array_append_new(list, json_integer((json_int_t)histogram[i]));
	return list;
}

/* At most, in microseconds. */
static json_t *latency_json(const uint64_t latency[DSM_LATENCY])
{
	json_t *o = json_object();
	uint64_t samples = 0;

	for (unsigned i = 0; i < DSM_LATENCY; i++)
		samples += latency[i];
	json_object_set_new(o, "samples", json_integer((json_int_t)samples));
	for (size_t p = 0; p < ARRAY_SIZE(percentiles); p++)
		json_object_set_new(o, percentiles[p].name,
				    json_integer((json_int_t)dsm_percentile(latency, percentiles[p].percent)));
	return o;
}

json_t *report_node(const struct dsm_stats *stats, const struct hotpages *pages)
{
	json_t *o = json_object();
	json_t *hot = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(counter_names); i++)
		json_object_set_new(o, counter_names[i].name, json_integer((json_int_t)value_of(stats, &counter_names[i])));
	json_object_set_new(o, "read_us", latency_json(stats->read_us));
	json_object_set_new(o, "write_us", latency_json(stats->write_us));
	json_object_set_new(o, "read_us_log2", histogram_json(stats->read_us));
	json_object_set_new(o, "write_us_log2", histogram_json(stats->write_us));
	for (unsigned i = 0; i < DSM_HOTTEST && stats->hot[i].transactions; i++)
		json_array_append_new(hot, hotpages_json(pages, &stats->hot[i]));
	json_object_set_new(o, "hottest", hot);
	return o;
}

/* The counters as text: JSON's numbers do not hold them. */
static json_t *clock_json(const struct vm *vm, node_t node)
{
	struct clock_figures f;
	char offset[24];

	clocksync_figures(vm->clock, node, &f);
	snprintf(offset, sizeof(offset), "%llu", (unsigned long long)f.offset);
	return json_pack("{s:s,s:f,s:I,s:I,s:I,s:I,s:I,s:f}", "offset_cycles", offset, "rate_ppm", f.ppb / 1e3, "skew_bound_ns",
			 (json_int_t)f.bound_ns, "skew_bound_worst_ns", (json_int_t)f.worst_ns, "one_way_ns",
			 (json_int_t)f.least_ns, "one_way_median_ns", (json_int_t)f.median_ns, "corrections", (json_int_t)f.steps,
			 "corrected_ns", cycles_ns(vm, f.moved_cycles));
}

int report_json(const char *path, const struct vm *vm, const struct dsm_stats *all, double seconds, const struct hotpages *hot)
{
	struct dsm_stats total = total_of(vm, all);
	struct vcpu_counters *c = &vm->vcpus->counters;
	json_t *root = json_object();
	json_t *list = json_array();

	for (node_t n = 0; n < vm->config.map.nodes; n++)
		json_array_append_new(list, report_node(&all[n], hot));
	json_object_set_new(root, "seconds", json_real(seconds));
	json_object_set_new(root, "symbols", json_string(hotpages_source(hot)));
	json_object_set_new(root, "nodes", list);
	json_object_set_new(root, "all", report_node(&total, hot));
	for (node_t n = 0; vm->clock && n < vm->config.map.nodes; n++)
		json_object_set_new(json_array_get(list, n), "clock", clock_json(vm, n));
	json_object_set_new(root, "node0_exits", json_integer((json_int_t)atomic_load(&c->exits)));
	json_object_set_new(root, "node0_ipis", json_integer((json_int_t)atomic_load(&c->ipis_sent)));
	int rc = json_dump_file(root, path, JSON_INDENT(2)) < 0 ? -EIO : 0;
	json_decref(root);
	if (rc)
		log_error("cannot write the statistics to %s: %s", path, strerror(errno));
	return rc;
}
