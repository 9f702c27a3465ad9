/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim [OPTION...]: what faults cost on 2 to 64 nodes; sim.h says what is simulated.
 *
 *      --pattern P[,P...]  --nodes N[,N...]      which; all patterns, 2,4,8,16,32,64 nodes
 *      --net tcp|rdma                            costs of a network, see below
 *      --seed N  --vcpus N  --shards N  --pages N  --rounds N  --sharers N
 *      --relays N                                of how many copies some pass the order to give them up on (DSM_RELAYS_FROM)
 *      --without NAME                            an optimisation that is switched off, as in pangea run
 *      --set NAME=NS                             one cost: latency, jitter, flush, send, poll, recv ...; or mbit=N
 *      --ahead                                   with streams (dsm/stream.h), which are off: a row is about single faults
 *      --json                                    a list instead of a table
 *      --invalidate N                            how long a write of a page with N copies takes against one with 1 copy; 64 nodes
 *      --break keep-copy|old-bytes               breaks the model: must end with exit 1
 *
 * A row: accesses and faults of the measured phase; messages and bytes a fault, of all nodes; hops, how many one-way latencies a
 * fault waits for (measured by a second run in which nothing but latency costs time, without damping), mean and worst; us, the time
 * a fault takes, mean, p50, p99; held, orders to give up a page that were held back (damping.h). Exit: 0; 1 an invariant is broken;
 * 2 usage.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "tests/sim/sim.h"

#define RUNS_MAX 16u
#define PURE_NS  NS_PER_MS /* the latency of the run that counts hops */

/*
 * flush to more, and asleep, were measured: tests/bench/peers at the priority of a real-time thread, an AMD EPYC in a virtual
 * machine, Linux 6.18, the engine epoll. Of 3.95 us that a message in a batch of 63 took to send and 11.6 us alone, perf saw 56 %
 * and 74 % in what the loopback device does for the receiver (net_rx_action), which is another host's: there it is work of
 * interrupts, and part of the latency. Of 1.13 us to receive one in a batch, half was waiting. Through io_uring, which sends and
 * receives in one call, the two are 0.2 us less together. The others are orders of magnitude of hosts of some years ago; a page of
 * 4 KiB at 25 Gbit/s takes 1.3 us.
 */
static const struct sim_costs tcp_costs = {
	.latency = 12000,
	.jitter = 500,
	.mbit = 25000,
	.flush = 1300,
	.send = 1750,
	.poll = 500,
	.recv = 600,
	.more = 100,
	.asleep = 5500,
	.fault = 3000,
	.wake = 3000,
	.protect = 1000,
	.drop = 1500,
	.install = 1500,
	.read = 300,
	.split = 400000,
	.local = 100,
};
static const struct sim_costs rdma_costs = {
	.latency = 1500,
	.jitter = 100,
	.mbit = 100000,
	.send = 200,
	.recv = 200,
	.more = 200,
	.asleep = 0,
	.fault = 3000,
	.wake = 3000,
	.protect = 1000,
	.drop = 1500,
	.install = 1500,
	.read = 300,
	.split = 400000,
	.local = 100,
};

static const struct {
	const char *name;
	size_t at;
} cost_names[] = {
	{"latency", offsetof(struct sim_costs, latency)}, {"jitter", offsetof(struct sim_costs, jitter)},
	{"mbit", offsetof(struct sim_costs, mbit)},       {"send", offsetof(struct sim_costs, send)},
	{"flush", offsetof(struct sim_costs, flush)},     {"poll", offsetof(struct sim_costs, poll)},
	{"more", offsetof(struct sim_costs, more)},       {"recv", offsetof(struct sim_costs, recv)},
	{"asleep", offsetof(struct sim_costs, asleep)},   {"fault", offsetof(struct sim_costs, fault)},
	{"wake", offsetof(struct sim_costs, wake)},       {"protect", offsetof(struct sim_costs, protect)},
	{"drop", offsetof(struct sim_costs, drop)},       {"install", offsetof(struct sim_costs, install)},
	{"read", offsetof(struct sim_costs, read)},       {"split", offsetof(struct sim_costs, split)},
	{"local", offsetof(struct sim_costs, local)},
};

struct runs {
	struct sim_options options;
	const struct pattern *pattern[RUNS_MAX];
	node_t nodes[RUNS_MAX];
	unsigned patterns, sizes;
	uint32_t invalidate;
	bool json;
};

__attribute__((noreturn)) static void usage(const char *what)
{
	fprintf(stderr, "sim: %s; the head of tests/sim/sim.c has the options. Patterns:\n", what);
	for (size_t i = 0; i < sim_patterns_n; i++)
		fprintf(stderr, "  %-18s %s\n", sim_patterns[i].name, sim_patterns[i].what);
	exit(2);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	char *end;

	errno = 0;
	unsigned long long v = text ? strtoull(text, &end, 0) : 0;
	if (!text || errno || end == text || *end || *text == '-' || v < min || v > max)
		usage(text ? "a number is wrong or out of range" : "an option lacks its value");
	return v;
}

static const struct pattern *pattern_named(const char *name)
{
	for (size_t i = 0; i < sim_patterns_n; i++)
		if (!strcmp(sim_patterns[i].name, name))
			return &sim_patterns[i];
	usage("there is no such pattern");
}

static unsigned optimisation(const char *name)
{
	for (unsigned bit = 0; bit < DSM_OPTIMISATION_END; bit++)
		if (!strcmp(dsm_optimisation_name(bit), name))
			return 1u << bit;
	usage("there is no such optimisation");
}

static void set_cost(struct sim_costs *costs, char *text)
{
	char *value = text ? strchr(text, '=') : NULL;

	for (size_t i = 0; value && i < ARRAY_SIZE(cost_names); i++)
		if (!strncmp(text, cost_names[i].name, (size_t)(value - text)) && !cost_names[i].name[value - text]) {
			*(uint64_t *)(void *)((char *)costs + cost_names[i].at) = number(value + 1, 0, NS_PER_SEC);
			return;
		}
	usage("--set wants NAME=NUMBER");
}

static void parse(struct runs *runs, int argc, char **argv)
{
	struct sim_options *o = &runs->options;
	char *part;

	for (int i = 1; i < argc; i++) {
		const char *opt = argv[i];
		char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(opt, "--json")) {
			runs->json = true;
			continue;
		}
		if (!strcmp(opt, "--ahead")) {
			o->without &= ~DSM_WITHOUT(AHEAD);
			continue;
		}
		i++;
		if (!value)
			usage("an unknown option, or one that lacks its value");
		if (!strcmp(opt, "--pattern")) {
			for (part = strtok(value, ","); part && runs->patterns < RUNS_MAX; part = strtok(NULL, ","))
				runs->pattern[runs->patterns++] = pattern_named(part);
		} else if (!strcmp(opt, "--nodes")) {
			for (part = strtok(value, ","); part && runs->sizes < RUNS_MAX; part = strtok(NULL, ","))
				runs->nodes[runs->sizes++] = (node_t)number(part, 2, NODES_MAX);
		} else if (!strcmp(opt, "--net")) {
			if (strcmp(value, "tcp") != 0 && strcmp(value, "rdma") != 0)
				usage("--net wants tcp or rdma");
			o->costs = *value == 't' ? tcp_costs : rdma_costs;
		} else if (!strcmp(opt, "--without")) {
			o->without |= optimisation(value);
		} else if (!strcmp(opt, "--set")) {
			set_cost(&o->costs, value);
		} else if (!strcmp(opt, "--seed")) {
			o->seed = number(value, 0, UINT64_MAX);
		} else if (!strcmp(opt, "--vcpus")) {
			o->vcpus = (unsigned)number(value, 1, 16);
		} else if (!strcmp(opt, "--shards")) {
			o->shards = (unsigned)number(value, 1, SHARDS_MAX);
		} else if (!strcmp(opt, "--pages")) {
			o->pages = (uint32_t)number(value, 1, SIM_HOME_PAGES - 1);
		} else if (!strcmp(opt, "--rounds")) {
			o->rounds = (uint32_t)number(value, 1, 10000);
		} else if (!strcmp(opt, "--relays")) {
			o->relays = (uint32_t)number(value, 1, NODES_MAX);
		} else if (!strcmp(opt, "--sharers")) {
			o->sharers = (uint32_t)number(value, 1, NODES_MAX - 1);
		} else if (!strcmp(opt, "--invalidate")) {
			runs->invalidate = (uint32_t)number(value, 1, NODES_MAX - 1);
		} else if (!strcmp(opt, "--break") && !strcmp(value, "keep-copy")) {
			o->broken = SIM_BREAK_KEEP_COPY;
		} else if (!strcmp(opt, "--break") && !strcmp(value, "old-bytes")) {
			o->broken = SIM_BREAK_OLD_BYTES;
		} else {
			usage("an unknown option or value");
		}
	}
}

/* What a row says. */
struct row {
	uint64_t accesses, faults, held;
	double messages, bytes, hops, hops_max, us, us_p50, us_p99; /* a fault */
};

static double mean(const struct sim_result *r)
{
	double sum = 0;

	for (uint64_t i = 0; i < r->faults; i++)
		sum += (double)r->fault_ns[i];
	return r->faults ? sum / (double)r->faults : 0;
}

static double percentile(const struct sim_result *r, unsigned percent)
{
	return r->faults ? (double)r->fault_ns[(r->faults * percent + 99) / 100 - 1] : 0;
}

static void measure(const struct sim_options *options, const struct pattern *pattern, struct row *row)
{
	struct sim_options pure = *options;
	struct sim_result real, hops;

	pure.costs = (struct sim_costs){.latency = PURE_NS};
	pure.without |= DSM_WITHOUT(DAMPING);
	pure.one_by_one =
		true; /* or who gets a page with an order to give it up would never use it, without damping and all in step */
	sim_run(options, pattern, &real);
	sim_run(&pure, pattern, &hops);
	double faults = real.faults ? (double)real.faults : 1;
	*row = (struct row){
		.accesses = real.accesses,
		.faults = real.faults,
		.held = real.held,
		.messages = (double)real.messages / faults,
		.bytes = (double)real.bytes / faults,
		.hops = mean(&hops) / PURE_NS,
		.hops_max = percentile(&hops, 100) / PURE_NS,
		.us = mean(&real) / NS_PER_US,
		.us_p50 = percentile(&real, 50) / NS_PER_US,
		.us_p99 = percentile(&real, 99) / NS_PER_US,
	};
	free(real.fault_ns);
	free(hops.fault_ns);
}

static void print_row(const struct runs *runs, const struct sim_options *o, const struct pattern *pattern, bool first)
{
	struct row r;

	measure(o, pattern, &r);
	if (runs->json)
		printf("%s  {\"pattern\": \"%s\", \"nodes\": %u, \"accesses\": %llu, \"faults\": %llu, \"messages\": %.3f, "
		       "\"bytes\": %.1f, "
		       "\"hops\": %.3f, \"hops_max\": %.3f, \"us\": %.2f, \"us_p50\": %.2f, \"us_p99\": %.2f, \"held\": %llu}",
		       first ? "[\n" : ",\n", pattern->name, o->nodes, (unsigned long long)r.accesses, (unsigned long long)r.faults,
		       r.messages, r.bytes, r.hops, r.hops_max, r.us, r.us_p50, r.us_p99, (unsigned long long)r.held);
	else
		printf("%-18s %5u %9llu %8llu %8.2f %8.0f %6.2f %6.2f %9.1f %9.1f %9.1f %7llu\n", pattern->name, o->nodes,
		       (unsigned long long)r.accesses, (unsigned long long)r.faults, r.messages, r.bytes, r.hops, r.hops_max, r.us,
		       r.us_p50, r.us_p99, (unsigned long long)r.held);
	fflush(stdout);
}

/* The rows invalidate-N of the benchmark: a line `NAME copies=N us=.. one=.. ratio=..`, NAME a pattern: who writes. */
static void print_invalidate(const struct runs *runs, const char *name)
{
	struct sim_options o = runs->options;
	struct sim_result many, one;

	o.nodes = NODES_MAX;
	o.sharers = runs->invalidate;
	sim_run(&o, pattern_named(name), &many);
	o.sharers = 1;
	sim_run(&o, pattern_named(name), &one);
	printf("%s copies=%u us=%.2f one=%.2f ratio=%.2f\n", name, runs->invalidate, mean(&many) / NS_PER_US,
	       mean(&one) / NS_PER_US, mean(&many) / mean(&one));
	free(many.fault_ns);
	free(one.fault_ns);
}

/* 64 nodes are some hundred descriptors. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)!setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	static const node_t sizes[] = {2, 4, 8, 16, 32, 64};
	struct runs runs = {.options = {.shards = 1,
					.vcpus = 1,
					.without = DSM_WITHOUT(AHEAD),
					.seed = 1,
					.pages = 16,
					.rounds = 8,
					.costs = tcp_costs}};
	bool first = true;

	raise_limits();
	parse(&runs, argc, argv);
	if (runs.invalidate) {
		print_invalidate(&runs, "invalidate");
		print_invalidate(&runs, "invalidate-home");
		return 0;
	}
	if (!runs.patterns)
		for (size_t i = 0; i < sim_patterns_n; i++)
			runs.pattern[runs.patterns++] = &sim_patterns[i];
	if (!runs.sizes)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			runs.nodes[runs.sizes++] = sizes[i];
	if (!runs.json)
		printf("%-18s %5s %9s %8s %8s %8s %6s %6s %9s %9s %9s %7s\n", "pattern", "nodes", "accesses", "faults", "messages",
		       "bytes", "hops", "worst", "us", "p50", "p99", "held");
	for (unsigned p = 0; p < runs.patterns; p++)
		for (unsigned s = 0; s < runs.sizes; s++) {
			runs.options.nodes = runs.nodes[s];
			print_row(&runs, &runs.options, runs.pattern[p], first);
			first = false;
		}
	if (runs.json)
		printf("\n]\n");
	return 0;
}
