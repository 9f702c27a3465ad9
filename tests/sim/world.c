/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "dsm/steps.h"
#include "tests/sim/sim.h"

#define RUNAWAY_NS (3600 * NS_PER_SEC) /* a pattern that takes as long in virtual time is one that does not end */
#define LOOK_NS    (150 * NS_PER_MS)   /* after it a shard looks for replicas that were written */

struct sim *sim_now;

/* In the place of the C library's, for clock_ns() in dsm: -Wl,--wrap=clock_gettime. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = (time_t)(sim_now->now / NS_PER_SEC);
	ts->tv_nsec = (long)(sim_now->now % NS_PER_SEC);
	return 0;
}

void sim_fail(const struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "sim: pattern %s, %u nodes, seed %llu, phase %u, at %llu ns: ", sim->pattern->name, sim->options.nodes,
		(unsigned long long)sim->options.seed, sim->phase, (unsigned long long)sim->now);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void *sim_alloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p) {
		fputs("sim: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

uint8_t *sim_lazy(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		fputs("sim: out of address space\n", stderr);
		exit(1);
	}
	return p;
}

void sim_lazy_free(uint8_t *zeroes, size_t bytes)
{
	munmap(zeroes, bytes);
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t sim_random(struct sim *sim, uint64_t below)
{
	uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

/* ---- events: a binary heap ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_push(struct sim *sim, struct sim_event event)
{
	size_t i = sim->events++;

	if (i == sim->events_room) {
		sim->events_room = MAX(1024, 2 * sim->events_room);
		sim->heap = realloc(sim->heap, sim->events_room * sizeof(*sim->heap));
		if (!sim->heap)
			sim_fail(sim, "out of memory");
	}
	event.order = ++sim->order;
	for (; i && before(&event, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = event;
}

static struct sim_event pop(struct sim *sim)
{
	struct sim_event first = sim->heap[0], last = sim->heap[--sim->events];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < sim->events) {
		if (child + 1 < sim->events && before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!before(&sim->heap[child], &last))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return first;
}

/* ---- vCPUs ---- */

static void run_at(struct sim *sim, const struct vcpu *vcpu, uint64_t at)
{
	sim_push(sim, (struct sim_event){.at = at, .type = EV_RUN, .who = (uint32_t)(vcpu - sim->vcpu)});
}

void sim_wake(struct sim *sim, node_t node, rpn_t page)
{
	for (unsigned i = 0; i < sim->options.vcpus; i++) {
		struct vcpu *vcpu = &sim->vcpu[node * sim->options.vcpus + i];

		if (!vcpu->asleep || vcpu->access.page != page)
			continue;
		vcpu->asleep = false;
		run_at(sim, vcpu, sim->now + sim->options.costs.wake);
	}
}

/* The access happens now: what is read must be what was written last. */
static void perform(struct sim *sim, const struct vcpu *vcpu)
{
	const struct access *a = &vcpu->access;
	size_t at = a->word * sizeof(uint64_t);
	uint64_t seen, last;

	memcpy(&seen, simview_at(sim->view[vcpu->node], a->page) + at, sizeof(seen));
	memcpy(&last, sim->truth + (a->page << PAGE_SHIFT) + at, sizeof(last));
	if (seen != last)
		sim_fail(sim, "D2: vCPU %u of node %u reads %llx in word %u of page %llu, the last writer wrote %llx", vcpu->index,
			 vcpu->node, (unsigned long long)seen, a->word, (unsigned long long)a->page, (unsigned long long)last);
	if (!a->write)
		return;
	uint64_t value = a->raw ? a->value : ++sim->values;
	memcpy(simview_at(sim->view[vcpu->node], a->page) + at, &value, sizeof(value));
	memcpy(sim->truth + (a->page << PAGE_SHIFT) + at, &value, sizeof(value));
}

static void count_fault(struct sim *sim, uint64_t ns)
{
	if (!sim->measuring)
		return;
	if (sim->faults == sim->faults_room) {
		sim->faults_room = MAX(1024, 2 * sim->faults_room);
		sim->fault_ns = realloc(sim->fault_ns, sim->faults_room * sizeof(*sim->fault_ns));
		if (!sim->fault_ns)
			sim_fail(sim, "out of memory");
	}
	sim->fault_ns[sim->faults++] = ns;
}

static void wake_waiting(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->options.nodes * sim->options.vcpus; i++)
		if (sim->vcpu[i].waiting) {
			sim->vcpu[i].waiting = false;
			run_at(sim, &sim->vcpu[i], sim->now);
		}
}

static void run_vcpu(struct sim *sim, struct vcpu *vcpu)
{
	const struct sim_costs *costs = &sim->options.costs;
	struct view_fault fault;

	if (!vcpu->has_access) {
		switch (sim->pattern->next(sim, vcpu, &vcpu->access)) {
		case NEXT_END:
			vcpu->ended = true;
			return;
		case NEXT_WAIT:
			vcpu->waiting = true;
			return;
		case NEXT_THINK:
			run_at(sim, vcpu, vcpu->until_ns);
			return;
		case NEXT_ACCESS:
			vcpu->has_access = true;
		}
	}
	if (!simview_allows(sim->view[vcpu->node], vcpu->access.page, vcpu->access.write || vcpu->access.walk, &fault)) {
		if (!vcpu->fault_ns)
			vcpu->fault_ns = sim->now;
		vcpu->asleep = true;
		sim_push(sim, (struct sim_event){.at = sim->now + costs->fault,
						 .type = EV_FAULT,
						 .who = (uint32_t)(vcpu - sim->vcpu),
						 .number = ++vcpu->fault_number});
		return;
	}
	perform(sim, vcpu);
	if (vcpu->fault_ns)
		count_fault(sim, sim->now - vcpu->fault_ns);
	vcpu->fault_ns = 0;
	vcpu->has_access = false;
	vcpu->step++;
	sim->accesses++;
	run_at(sim, vcpu, sim->now + costs->local);
	wake_waiting(sim);
}

/* ---- shards ---- */

static uint32_t actor_of(const struct sim *sim, node_t node, unsigned shard)
{
	return node * sim->options.shards + shard;
}

/* Its thread goes on with the next event as soon as it can; `asleep`: it may have to be woken for this one. */
static void serve_soon(struct sim *sim, struct actor *actor, bool asleep)
{
	uint64_t at = MAX(sim->now, actor->free_ns);

	if (actor->serving)
		return;
	actor->serving = true;
	if (asleep && actor->free_ns < sim->now)
		at += sim->options.costs.asleep;
	sim_push(sim, (struct sim_event){.at = at, .type = EV_SERVE, .who = (uint32_t)(actor - sim->actor)});
}

static void take_fault(struct sim *sim, const struct sim_event *event)
{
	struct vcpu *vcpu = &sim->vcpu[event->who];

	if (!vcpu->asleep || vcpu->fault_number != event->number) /* woken meanwhile: the kernel forgets it */
		return;
	struct actor *actor = &sim->actor[actor_of(sim, vcpu->node, view_shard(sim->view[vcpu->node], vcpu->access.page))];
	unsigned slot = (actor->fault_first + actor->faults++) % ARRAY_SIZE(actor->fault);

	if (actor->faults > ARRAY_SIZE(actor->fault))
		sim_fail(sim, "more vCPUs fault at a time than the simulator has room for");
	actor->fault[slot] = event->who;
	actor->fault_number[slot] = event->number;
	serve_soon(sim, actor, true);
}

bool sim_next_fault(struct sim *sim, node_t node, unsigned shard, struct view_fault *fault)
{
	struct actor *actor = &sim->actor[actor_of(sim, node, shard)];

	while (actor->faults) {
		unsigned slot = actor->fault_first++ % ARRAY_SIZE(actor->fault);
		struct vcpu *vcpu = &sim->vcpu[actor->fault[slot]];

		actor->faults--;
		if (!vcpu->asleep || vcpu->fault_number != actor->fault_number[slot])
			continue;
		if (!simview_allows(sim->view[node], vcpu->access.page, vcpu->access.write || vcpu->access.walk, fault))
			return true;
		/* The page came since: the kernel had told the fault already, so the shard answers it (C1). */
		*fault = (struct view_fault){.page = vcpu->access.page, .write = vcpu->access.write || vcpu->access.walk};
		return true;
	}
	return false;
}

/* One turn of the shard's thread: faults, a message, orders that are due, replicas. */
static void serve(struct sim *sim, struct actor *actor)
{
	struct shard *shard = actor->shard;

	actor->serving = false;
	if (actor->faults)
		(void)shard_serve_faults(shard);
	if (actor->inbox)
		(void)shard_serve_messages(shard);
	uint64_t due = shard_release(shard);
	if (dsm_with(shard->dsm, DSM_WITHOUT(REPLICAS)))
		steps_settle(shard, replica_look(shard, sim->now));
	shard_flush(shard);
	actor->free_ns = sim->now;
	if (due && (!actor->tick_ns || due < actor->tick_ns)) {
		actor->tick_ns = due;
		sim_push(sim, (struct sim_event){.at = due, .type = EV_TICK, .who = (uint32_t)(actor - sim->actor)});
	}
	if (actor->inbox || actor->faults)
		serve_soon(sim, actor, false);
}

static void arrive(struct sim *sim, struct sim_event *event)
{
	struct actor *actor = &sim->actor[event->who];

	*actor->inbox_end = event->message;
	actor->inbox_end = &event->message->next;
	serve_soon(sim, actor, true);
}

static void handle(struct sim *sim, struct sim_event *event)
{
	struct actor *actor = &sim->actor[event->who];

	switch (event->type) {
	case EV_RUN:
		run_vcpu(sim, &sim->vcpu[event->who]);
		break;
	case EV_FAULT:
		take_fault(sim, event);
		break;
	case EV_LAND:
		simnet_land(sim, event);
		break;
	case EV_ARRIVE:
		arrive(sim, event);
		break;
	case EV_SERVE:
		serve(sim, actor);
		break;
	case EV_TICK:
		if (actor->tick_ns == event->at)
			actor->tick_ns = 0;
		serve_soon(sim, actor, true);
		break;
	}
}

/* Until nothing happens any more. */
static void run_dry(struct sim *sim)
{
	while (sim->events) {
		struct sim_event event = pop(sim);

		sim->now = event.at;
		if (sim->now > RUNAWAY_NS)
			sim_fail(sim, "it does not end");
		handle(sim, &event);
	}
}

/* What was written to a replica is known to all a while later (replica_look). */
static void settle_replicas(struct sim *sim)
{
	uint64_t busy = sim->now;

	for (uint32_t i = 0; i < sim->options.nodes * sim->options.shards; i++)
		busy = MAX(busy, sim->actor[i].free_ns);
	sim->now = busy + LOOK_NS;
	for (uint32_t i = 0; i < sim->options.nodes * sim->options.shards; i++)
		serve_soon(sim, &sim->actor[i], false);
	run_dry(sim);
}

/* ---- life ---- */

static void on_failed(struct dsm_sink *sink, const char *why)
{
	sim_fail(container_of(sink, struct sim, sink), "dsm failed: %s", why);
}

static void on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	sim_fail(container_of(sink, struct sim, sink), "node %u is refused: %s", peer, why);
}

static void make_node(struct sim *sim, node_t node)
{
	const struct sim_options *o = &sim->options;
	struct net_lane *lane[SHARDS_MAX];
	rpn_t first[NODES_MAX + 1];
	struct dsm_config config = {
		.self = node,
		.nodes = o->nodes,
		.node_first = first,
		.shards = o->shards,
		.lane = lane,
		.low_pages = sim->pages,
		.without = o->without,
		.relays_from = o->relays,
		.sink = &sim->sink,
	};

	for (node_t n = 0; n <= o->nodes; n++)
		first[n] = n * SIM_HOME_PAGES;
	for (unsigned s = 0; s < o->shards; s++) {
		struct actor *actor = &sim->actor[actor_of(sim, node, s)];

		actor->sim = sim;
		simnet_init(actor, node, s + 1);
		lane[s] = &actor->lane;
	}
	sim->made = node;
	if (dsm_new(&config, &sim->dsm[node]))
		sim_fail(sim, "node %u cannot be made", node);
	for (unsigned s = 0; s < o->shards; s++)
		sim->actor[actor_of(sim, node, s)].shard = &sim->dsm[node]->shard[s];
}

static void begin(struct sim *sim, const struct sim_options *options, const struct pattern *pattern)
{
	uint32_t actors = options->nodes * options->shards, vcpus = options->nodes * options->vcpus;

	*sim = (struct sim){.options = *options, .pattern = pattern, .random = options->seed};
	sim->sink = (struct dsm_sink){.failed = on_failed, .lost = on_lost};
	sim->now = 1; /* dsm takes 0 for "not yet" */
	sim->pages = options->nodes * SIM_HOME_PAGES;
	sim->actor = sim_alloc(actors, sizeof(*sim->actor));
	sim->last_land = sim_alloc((size_t)actors * options->nodes, sizeof(*sim->last_land));
	sim->vcpu = sim_alloc(vcpus, sizeof(*sim->vcpu));
	sim->turn = sim_alloc(sim->pages, sizeof(*sim->turn));
	sim->truth = sim_lazy(sim->pages << PAGE_SHIFT);
	for (node_t n = 0; n < options->nodes; n++)
		make_node(sim, n);
	for (uint32_t i = 0; i < vcpus; i++)
		sim->vcpu[i] = (struct vcpu){.node = i / options->vcpus, .index = i % options->vcpus};
}

static void run_phase(struct sim *sim)
{
	uint32_t vcpus = sim->options.nodes * sim->options.vcpus;

	memset(sim->turn, 0, sim->pages * sizeof(*sim->turn));
	for (uint32_t i = 0; i < vcpus; i++) {
		sim->vcpu[i].step = sim->vcpu[i].thought = 0;
		sim->vcpu[i].ended = false;
		run_at(sim, &sim->vcpu[i], sim->now);
	}
	run_dry(sim);
	for (uint32_t i = 0; i < vcpus; i++)
		if (!sim->vcpu[i].ended)
			sim_fail(sim, "vCPU %u of node %u waits for ever%s%llu", sim->vcpu[i].index, sim->vcpu[i].node,
				 sim->vcpu[i].asleep ? " for page " : " for its turn, after access ",
				 (unsigned long long)(sim->vcpu[i].asleep ? sim->vcpu[i].access.page : sim->vcpu[i].step));
}

static struct dsm_stats stats_of(const struct sim *sim)
{
	struct dsm_stats all = {0}, one;

	for (node_t n = 0; n < sim->options.nodes; n++) {
		dsm_stats(sim->dsm[n], &one);
		dsm_stats_add(&all, &one);
	}
	return all;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void end(struct sim *sim)
{
	for (node_t n = 0; n < sim->options.nodes; n++)
		dsm_free(sim->dsm[n]);
	sim_lazy_free(sim->truth, sim->pages << PAGE_SHIFT);
	free(sim->actor);
	free(sim->last_land);
	free(sim->vcpu);
	free(sim->turn);
	free(sim->heap);
}

void sim_run(const struct sim_options *options, const struct pattern *pattern, struct sim_result *result)
{
	struct dsm_stats before = {0}, after;
	struct sim sim;
	uint64_t began = 0, accesses = 0;

	sim_now = &sim;
	begin(&sim, options, pattern);
	for (sim.phase = 0; sim.phase < pattern->phases; sim.phase++) {
		sim.measuring = sim.phase == pattern->phases - 1;
		began = sim.now;
		accesses = sim.accesses;
		before = stats_of(&sim);
		run_phase(&sim);
	}
	after = stats_of(&sim);
	if (sim.faults)
		qsort(sim.fault_ns, sim.faults, sizeof(*sim.fault_ns), ascending);
	*result = (struct sim_result){
		.accesses = sim.accesses - accesses,
		.faults = sim.faults,
		.messages = after.messages_out - before.messages_out,
		.bytes = after.bytes_out - before.bytes_out,
		.held = after.held - before.held,
		.duration_ns = sim.now - began,
		.fault_ns = sim.fault_ns,
	};
	settle_replicas(&sim);
	sim_check_rest(&sim);
	end(&sim);
	sim_now = NULL;
}
