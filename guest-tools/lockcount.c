/* SPDX-License-Identifier: Apache-2.0 */
/* lockcount: threads on every CPU take one lock and add to one counter; the sum must be right.
 * Options: rounds (a thread, of each kind), seconds (of each kind), limit. */
#include "locks.h"

int main(int argc, char **argv)
{
	uint64_t rounds = 1000, seconds = 20, limit = 300;
	const struct option_def defs[] = {{"rounds", &rounds, NULL}, {"seconds", &seconds, NULL}, {"limit", &limit, NULL}};
	bool ok = true;

	PARSE_OPTIONS(argc, argv, "lockcount", defs);
	set_limit(limit);
	const struct topo *topo = topo_read();
	for (int kind = 0; kind < LOCK_KINDS; kind++) {
		struct lock_result r = lock_test_run(topo, (enum lock_kind)kind, rounds, seconds);
		bool good = r.actual == r.expected && !r.mismatches && r.expected;
		printf("lockcount %s threads=%d nodes=%d expected=%" PRIu64 " actual=%" PRIu64 " mismatches=%" PRIu64 " ms=%" PRIu64
		       " %s\n",
		       lock_name((enum lock_kind)kind), r.threads, topo->cpu_node_count, r.expected, r.actual, r.mismatches,
		       r.ns / 1000000, good ? "ok" : "WRONG");
		ok = ok && good;
	}
	finish(ok ? 0 : 1, "lockcount: %s", ok ? "every sum is right" : "a sum is wrong: a lock or a page lost a write");
}
