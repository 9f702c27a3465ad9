/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock-and-counter test, shared by lockcount and demo: one thread on every CPU takes one lock
 * and adds to one counter.
 *
 * Lock, counter and its shadow are on three pages. Under the lock a thread checks that counter and
 * shadow agree, then adds to both: a write that a lock failed to order, or a page that lost a
 * write, shows either there or in the sum. A thread stops at `rounds` or at the deadline, so the
 * test is bounded however slow pages are; the expected sum counts what was really done.
 */
#ifndef GUEST_TOOLS_LOCKS_H
#define GUEST_TOOLS_LOCKS_H

#include "sync.h"

enum lock_kind { LOCK_MUTEX, LOCK_TICKET, LOCK_XADD, LOCK_KINDS };

struct lock_test {
	enum lock_kind kind;
	uint64_t rounds;
	uint64_t deadline_ns;
	struct spin_barrier *start;
	pthread_mutex_t *mutex;
	struct ticket_lock *ticket;
	_Atomic uint64_t *counter; /* written without lock prefix under a lock */
	_Atomic uint64_t *shadow;
};

struct lock_result {
	uint64_t expected, actual, mismatches, ns;
	int threads;
};

struct lock_worker {
	struct lock_test *test;
	int cpu;
	pthread_t thread;
	uint64_t done, mismatches;
};

static inline const char *lock_name(enum lock_kind kind)
{
	static const char *const names[LOCK_KINDS] = {"mutex", "ticket", "xadd"};

	return names[kind];
}

/* A plain load, add and store: it is the lock that must make it atomic. */
static inline void add_plain(_Atomic uint64_t *p)
{
	atomic_store_explicit(p, atomic_load_explicit(p, memory_order_relaxed) + 1, memory_order_relaxed);
}

static inline void *lock_worker_main(void *arg)
{
	struct lock_worker *w = arg;
	struct lock_test *t = w->test;
	uint64_t done = 0, mismatches = 0;

	pin_to_cpu(w->cpu);
	spin_barrier_wait(t->start);
	while (done < t->rounds && (done % 16 || now_ns() < t->deadline_ns)) {
		if (t->kind == LOCK_XADD) {
			atomic_fetch_add_explicit(t->counter, 1, memory_order_relaxed);
			done++;
			continue;
		}
		if (t->kind == LOCK_MUTEX)
			pthread_mutex_lock(t->mutex);
		else
			ticket_lock_take(t->ticket);
		mismatches += atomic_load_explicit(t->counter, memory_order_relaxed) !=
			      atomic_load_explicit(t->shadow, memory_order_relaxed);
		add_plain(t->counter);
		add_plain(t->shadow);
		if (t->kind == LOCK_MUTEX)
			pthread_mutex_unlock(t->mutex);
		else
			ticket_lock_drop(t->ticket);
		done++;
	}
	w->done = done;
	w->mismatches = mismatches;
	return NULL;
}

/* Runs one kind on every CPU. The sum is right if actual == expected and mismatches == 0. */
static inline struct lock_result lock_test_run(const struct topo *topo, enum lock_kind kind, uint64_t rounds, uint64_t seconds)
{
	struct lock_test t = {.kind = kind, .rounds = rounds};
	struct lock_result r = {.threads = topo->cpu_count};
	struct lock_worker *workers = calloc((size_t)topo->cpu_count, sizeof(*workers));
	uint64_t start;

	if (!workers)
		finish(1, "guest-tools: out of memory");
	t.start = spin_barrier_new((uint32_t)topo->cpu_count);
	t.mutex = alloc_on_node(PAGE_BYTES, -1);
	pthread_mutex_init(t.mutex, NULL);
	t.ticket = alloc_on_node(PAGE_BYTES, -1);
	t.counter = alloc_on_node(PAGE_BYTES, -1);
	t.shadow = alloc_on_node(PAGE_BYTES, -1);
	start = now_ns();
	t.deadline_ns = start + seconds * 1000000000u;
	for (int i = 0; i < topo->cpu_count; i++) {
		workers[i].test = &t;
		workers[i].cpu = topo->cpu[i];
		workers[i].thread = start_thread(lock_worker_main, &workers[i]);
	}
	for (int i = 0; i < topo->cpu_count; i++) {
		pthread_join(workers[i].thread, NULL);
		r.expected += workers[i].done;
		r.mismatches += workers[i].mismatches;
	}
	r.ns = now_ns() - start;
	r.actual = atomic_load_explicit(t.counter, memory_order_relaxed);
	if (kind != LOCK_XADD)
		r.mismatches += atomic_load_explicit(t.shadow, memory_order_relaxed) != r.expected;
	free(workers);
	return r;
}

#endif
