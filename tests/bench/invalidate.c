/* SPDX-License-Identifier: Apache-2.0 */
/*
 * invalidate: how long a write takes of a page of which other nodes have copies, with real threads and userfaultfd.
 *
 *      invalidate COPIES PAGES DELAY_US SECONDS
 *
 * COPIES + 2 nodes in this process over the loop transport, whose every message waits DELAY_US: the network. Node 0 is home, node 1
 * writes, nodes 2 and up have the copies. Page after page: node 1 writes it, one or all of the others read it, and the time of node
 * 1's next write is taken, which is an upgrade: request, order to drop the copy, acknowledgement. Pages with one copy and with all
 * take turns, so that a slow moment hits both.
 *
 * All nodes share the processors of this host, which a real machine's do not: the smaller the delay, the more that shows.
 * Prints `invalidate-loop copies=N us=.. one=.. ratio=..`, medians. Exit: 0; 1 something failed, in one line on stderr; 2 usage.
 * Ended by SIGALRM after SECONDS.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bench/nodes.h"

#define PAGES_MAX 511ul /* of node 0's block, whose last page is touched first, so that the block is split already */
#define WORD      7u    /* the one that is written */

/* Node 1's write of a page that nodes [2, 2 + copies) have read. */
static uint64_t measure(struct nodes *b, rpn_t page, node_t copies)
{
	*nodes_word(b, 1, page, WORD) = page + 1;
	for (node_t n = 2; n < 2 + copies; n++)
		if (*nodes_word(b, n, page, WORD) != page + 1)
			fail("a copy has other bytes than were written", 0);
	usleep(1000); /* the last DONE is at its home */
	uint64_t begin = clock_ns();
	*nodes_word(b, 1, page, WORD) = page + 2;
	uint64_t ns = clock_ns() - begin;
	if (*nodes_word(b, 1 + copies, page, WORD) != page + 2)
		fail("a copy was not invalidated", 0);
	return ns;
}

static double median_us(uint64_t *ns, size_t n)
{
	sort_ns(ns, n);
	return (double)percentile(ns, n, 50) / NS_PER_US;
}

int main(int argc, char **argv)
{
	static struct nodes b;
	static uint64_t many[PAGES_MAX], one[PAGES_MAX];
	size_t n = 0;

	if (argc != 5) {
		fprintf(stderr, "Usage: invalidate COPIES PAGES DELAY_US SECONDS\n");
		return 2;
	}
	node_t copies = (node_t)number(argv[1], 1, NODES_MAX - 2);
	rpn_t pages = number(argv[2], 2, PAGES_MAX);
	uint64_t delay_ns = number(argv[3], 0, 1000000) * NS_PER_US;
	alarm((unsigned)number(argv[4], 1, 3600));
	const struct loop_options options = {.seed = 1, .min_delay_ns = delay_ns, .max_delay_ns = delay_ns, .fifo = true};
	nodes_start(&b, copies + 2, BLOCK_PAGES, &options, DSM_WITHOUT(AHEAD));
	*nodes_word(&b, 1, BLOCK_PAGES - 1, WORD) = 1;
	for (rpn_t p = 0; p + 1 < pages; p += 2, n++) {
		one[n] = measure(&b, p, 1);
		many[n] = measure(&b, p + 1, copies);
	}
	double us = median_us(many, n), reference = median_us(one, n);
	printf("invalidate-loop copies=%u us=%.2f one=%.2f ratio=%.2f\n", copies, us, reference, us / reference);
	fflush(stdout);
	_exit(0); /* the shards serve to the end */
}
