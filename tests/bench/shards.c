/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shards: how many remote faults a second one node makes with some threads and some shards, without a guest kernel.
 *
 *      shards SHARDS THREADS PAGES SECONDS
 *
 * Two nodes in two processes, dsm and TCP lanes as they ship, a lane and a userfaultfd a shard. Node 1 is home of the pages and has
 * written them; THREADS threads of node 0 read them, each its part, in an order that nothing can foresee, as fast as they can. The
 * pages of a thread are of all blocks, so of all shards.
 *
 * Prints `shards shards=S threads=T faults=N per_s=..`. What was read is checked. Exit: 0; 1 something failed, in one line on
 * stderr; 2 usage. Ended by SIGALRM after SECONDS.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/dsm.h"
#include "tests/bench/bench.h"
#include "tests/bench/engine.h"

#define NODE0_PAGES BLOCK_PAGES
#define PAGES_MAX   262144ul
#define THREADS_MAX 64u

struct bench {
	struct dsm_sink sink;
	struct dsm *dsm;
	unsigned shards, threads;
	rpn_t pages; /* whole blocks */
	rpn_t *order;
	volatile bool over; /* from here on a lost peer is no news */
};

struct toucher {
	struct bench *b;
	unsigned index;
	uint64_t wrong;
	pthread_t thread;
};

static void on_failed(struct dsm_sink *sink, const char *why)
{
	(void)sink;
	fail(why, 0);
}

static void on_lost(struct dsm_sink *sink, node_t peer, const char *why)
{
	(void)peer;
	if (!container_of(sink, struct bench, sink)->over)
		fail(why, 0);
}

static volatile uint64_t *word(const struct bench *b, rpn_t page)
{
	return (volatile uint64_t *)(uintptr_t)(dsm_ram(b->dsm) + (NODE0_PAGES + page) * PAGE_BYTES) + 128;
}

static void open_node(struct bench *b, node_t self, const int *fd)
{
	rpn_t first[3] = {0, NODE0_PAGES, NODE0_PAGES + b->pages};
	struct net_lane *lane[SHARDS_MAX];
	struct dsm_config config = {.self = self,
				    .nodes = 2,
				    .node_first = first,
				    .shards = b->shards,
				    .lane = lane,
				    .without = DSM_WITHOUT(AHEAD),
				    .sink = &b->sink};
	int rc;

	for (unsigned i = 0; i < b->shards; i++) {
		int fds[2] = {self ? fd[i] : -1, self ? -1 : fd[i]};

		rc = tcp_lane_new(self, 2, i + 1, fds, engine_wanted(), &lane[i]);
		if (rc)
			fail("a TCP lane", rc);
	}
	rc = dsm_new(&config, &b->dsm);
	if (!rc)
		rc = dsm_start(b->dsm);
	if (rc)
		fail("dsm", rc);
}

/* Node 1: writes every page, says so, serves until it is killed. */
__attribute__((noreturn)) static void peer_main(struct bench *b, const int *fd, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	b->over = true;
	open_node(b, 1, fd);
	for (rpn_t p = 0; p < b->pages; p++)
		*word(b, p) = p + 1;
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static pid_t start(struct bench *b)
{
	int listener, fd[2][SHARDS_MAX], ready[2];
	char address[TCP_ADDR_BYTES], byte;
	struct net_why why;
	uint16_t port;

	if (tcp_listen("127.0.0.1:0", &listener, &port, &why))
		fail(why.text, 0);
	for (unsigned i = 0; i < b->shards; i++)
		if (tcp_connect("127.0.0.1", port, 1000, &fd[0][i], &why) || tcp_accept(listener, 1000, &fd[1][i], address, &why))
			fail(why.text, 0);
	if (pipe(ready))
		fail("pipe", errno);
	pid_t peer = fork();
	if (peer < 0)
		fail("fork", errno);
	if (!peer) {
		for (unsigned i = 0; i < b->shards; i++)
			close(fd[0][i]);
		close(ready[0]);
		peer_main(b, fd[1], ready[1]);
	}
	for (unsigned i = 0; i < b->shards; i++)
		close(fd[1][i]);
	close(ready[1]);
	open_node(b, 0, fd[0]);
	if (read(ready[0], &byte, 1) != 1)
		fail("node 1 ended", 0);
	return peer;
}

/* The first page of a block is not among them: it was touched before, so that the block is split. */
static rpn_t make_order(struct bench *b)
{
	rpn_t n = 0;

	b->order = calloc(b->pages, sizeof(*b->order));
	if (!b->order)
		fail("memory", ENOMEM);
	for (rpn_t p = 0; p < b->pages; p++)
		if (p % BLOCK_PAGES)
			b->order[n++] = p;
	shuffle(b->order, n);
	return n;
}

static void *touch(void *arg)
{
	struct toucher *t = arg;
	rpn_t n = t->b->pages - t->b->pages / BLOCK_PAGES;

	for (rpn_t i = t->index; i < n; i += t->b->threads)
		t->wrong += *word(t->b, t->b->order[i]) != t->b->order[i] + 1;
	return NULL;
}

int main(int argc, char **argv)
{
	static struct bench b = {.sink = {.failed = on_failed, .lost = on_lost}};
	static struct toucher toucher[THREADS_MAX];
	uint64_t wrong = 0;

	if (argc != 5) {
		fprintf(stderr, "Usage: shards SHARDS THREADS PAGES SECONDS\n");
		return 2;
	}
	b.shards = (unsigned)number(argv[1], 1, SHARDS_MAX);
	b.threads = (unsigned)number(argv[2], 1, THREADS_MAX);
	b.pages = (number(argv[3], 1, PAGES_MAX) + BLOCK_PAGES - 1) / BLOCK_PAGES * BLOCK_PAGES;
	alarm((unsigned)number(argv[4], 1, 3600));
	pid_t peer = start(&b);
	rpn_t n = make_order(&b);
	for (rpn_t p = 0; p < b.pages; p += BLOCK_PAGES)
		wrong += *word(&b, p) != p + 1;
	uint64_t begin = clock_ns();
	for (unsigned i = 0; i < b.threads; i++) {
		toucher[i] = (struct toucher){.b = &b, .index = i};
		if (pthread_create(&toucher[i].thread, NULL, touch, &toucher[i]))
			fail("a thread cannot be made", 0);
	}
	for (unsigned i = 0; i < b.threads; i++) {
		pthread_join(toucher[i].thread, NULL);
		wrong += toucher[i].wrong;
	}
	uint64_t ns = clock_ns() - begin;
	if (wrong)
		fail("a page was read with other bytes than node 1 wrote", 0);
	printf("shards shards=%u threads=%u faults=%llu per_s=%.0f\n", b.shards, b.threads, (unsigned long long)n,
	       (double)n * NS_PER_SEC / (double)ns);
	fflush(stdout);
	b.over = true;
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	_exit(0);
}
