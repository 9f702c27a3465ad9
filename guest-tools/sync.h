/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads, a spinning barrier, a ticket lock and a futex, for programs that measure or stress memory.
 *
 * A spinning wait gives up the CPU now and then, so that more threads than CPUs still make progress.
 * Each object that threads share lives on a page of its own (alloc_on_node), so that the traffic
 * that a test sees is the traffic it asked for.
 */
#ifndef GUEST_TOOLS_SYNC_H
#define GUEST_TOOLS_SYNC_H

#include "topo.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>

static inline void spin_wait(unsigned *spins)
{
	cpu_relax();
	if (++*spins % 2048 == 0)
		sched_yield();
}

struct spin_barrier {
	_Atomic uint32_t arrived;
	_Atomic uint32_t generation;
	uint32_t parties;
};

/* All that a party wrote before is seen by every party after (release by each, acquire by all). */
static inline void spin_barrier_wait(struct spin_barrier *b)
{
	uint32_t generation = atomic_load_explicit(&b->generation, memory_order_acquire);
	unsigned spins = 0;

	if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == b->parties) {
		atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
		atomic_store_explicit(&b->generation, generation + 1, memory_order_release);
		return;
	}
	while (atomic_load_explicit(&b->generation, memory_order_acquire) == generation)
		spin_wait(&spins);
}

static inline struct spin_barrier *spin_barrier_new(uint32_t parties)
{
	struct spin_barrier *b = alloc_on_node(PAGE_BYTES, -1);

	b->parties = parties;
	return b;
}

struct ticket_lock {
	_Atomic uint32_t next;
	_Atomic uint32_t serving;
};

static inline void ticket_lock_take(struct ticket_lock *l)
{
	uint32_t mine = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
	unsigned spins = 0;

	while (atomic_load_explicit(&l->serving, memory_order_acquire) != mine)
		spin_wait(&spins);
}

static inline void ticket_lock_drop(struct ticket_lock *l)
{
	uint32_t mine = atomic_load_explicit(&l->serving, memory_order_relaxed);

	atomic_store_explicit(&l->serving, mine + 1, memory_order_release);
}

/* Sleeps while *word == value, at most 10 s. False if that time went by: a wake-up was lost. */
static inline bool futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	struct timespec timeout = {.tv_sec = 10};

	return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0) == 0 || errno != ETIMEDOUT;
}

static inline void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static inline pthread_t start_thread(void *(*main_fn)(void *), void *arg)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, main_fn, arg);

	if (err)
		finish(1, "guest-tools: cannot start a thread: %s", strerror(err));
	return thread;
}

/* Likewise, begun from the CPU on which it is to stay, where the caller stays, too: the kernel takes a thread's task_struct from
 * the node on which its parent runs. If that is another node, it may lie in one page with the task_struct of a thread that runs
 * there, and each return from an interrupt writes to both. */
static inline pthread_t start_thread_on(int cpu, void *(*main_fn)(void *), void *arg)
{
	pin_to_cpu(cpu);
	return start_thread(main_fn, arg);
}

#endif
