/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What dsm counts on one node: plain numbers, summed over its shards, and how they travel to the leader (little-endian
 * u64 in this order, then the hottest pages as page, count and marks; WIRE_STATS).
 *
 * Latencies are counted in whole microseconds, 4 steps an octave, so that a percentile is right within a quarter; what a person
 * sees is the histogram of powers of two made of them: bucket 0 is below 1 us, bucket i from 2^(i-1) to below 2^i us, the last has
 * all above.
 */
#ifndef DSM_STATS_H
#define DSM_STATS_H

#include "base/types.h"

#define DSM_HISTOGRAM 25 /* the last bucket: 8.4 s and more; a request may take 10 s */
#define DSM_LATENCY   92 /* steps: 0, 1, 2, 3 us, then 4 for each octave from 4 us on */
#define DSM_HOTTEST   32
#define DSM_HOT_TABLE 1u /* a page table of the guest, lent to other nodes now (replica.h) */

/* name, what a person reads. The order is the wire's. */
#define DSM_COUNTERS(X)                                       \
	X(faults_read, "read faults")                         \
	X(faults_write, "write faults")                       \
	X(faults_upgrade, "write faults on a read-only copy") \
	X(faults_local, "faults settled here")                \
	X(requests, "requests to a home")                     \
	X(served, "requests served as home")                  \
	X(ahead, "pages asked for ahead of a fault")          \
	X(ahead_used, "of them in windows that were used")    \
	X(ahead_wasted, "of them in windows that were not")   \
	X(ahead_late, "of them still under way at the fault") \
	X(pages_in, "pages received")                         \
	X(pages_in_zero, "zero pages received, without data") \
	X(pages_out, "pages sent")                            \
	X(pages_out_zero, "zero pages sent, without data")    \
	X(pages_out_run, "of the sent ones, many a message")  \
	X(delta_sent, "of the sent ones, as a difference")    \
	X(delta_bytes_saved, "bytes saved by that")           \
	X(upgrades, "upgrades without data")                  \
	X(invalidations, "copies invalidated")                \
	X(relayed, "orders passed on to other copies")        \
	X(early, "orders that came before their copy")        \
	X(held, "contended pages held for a moment")          \
	X(migrated, "reads answered with the page for good")  \
	X(pushed, "copies sent that nobody asked for")        \
	X(pushed_in, "copies received unasked")               \
	X(crossed, "requests that crossed with one")          \
	X(replicas_lent, "page tables lent as replicas")      \
	X(replicas_recalled, "replicas recalled")             \
	X(replicas_written, "replicas given back changed")    \
	X(replicas_deferred, "messages that waited for one")  \
	X(replica_checks, "comparisons of all replicas")      \
	X(messages_out, "messages sent")                      \
	X(messages_in, "messages received")                   \
	X(bytes_out, "bytes sent")                            \
	X(offers, "pages offered to their homes")             \
	X(evicted_copies, "copies given up for the budget")   \
	X(evicted_home, "pages sent home for the budget")     \
	X(frame_waits, "faults that waited for a frame")      \
	X(frames, "frames taken or set aside")                \
	X(splits, "private blocks split")                     \
	X(merges, "blocks merged again")                      \
	X(blocks_given, "untouched blocks given whole")       \
	X(blocks_taken, "untouched blocks received whole")    \
	X(stale, "stale messages")                            \
	X(metadata_bytes, "bytes of bookkeeping")             \
	X(ram_bytes, "bytes of guest RAM here")               \
	X(resident_bytes, "bytes of guest RAM resident")

struct dsm_stats {
#define FIELD(name, text) uint64_t name;
	DSM_COUNTERS(FIELD)
#undef FIELD
	uint64_t read_us[DSM_LATENCY];  /* fault to page, read */
	uint64_t write_us[DSM_LATENCY]; /* fault to page, write and upgrade */
	struct dsm_hot {
		uint64_t page; /* rpn */
		uint64_t transactions;
		uint64_t marks; /* DSM_HOT_... */
	} hot[DSM_HOTTEST];     /* of the pages whose home this is, most first; transactions 0: no more */
};

_Static_assert(sizeof(struct dsm_stats) % sizeof(uint64_t) == 0, "travels as u64s");

_Static_assert(DSM_LATENCY == 4 * (DSM_HISTOGRAM - 2), "both end at 2^24 us");

/* The step of a latency, for what counts it. */
unsigned dsm_latency_step(uint64_t ns);
/* Microseconds below which `percent` of the samples lie: the upper end of a step; 0 without samples. */
uint64_t dsm_percentile(const uint64_t latency[DSM_LATENCY], double percent);
void dsm_histogram(const uint64_t latency[DSM_LATENCY], uint64_t histogram[DSM_HISTOGRAM]);
/* Adds b's counters and histograms to a's. The hottest pages of both are merged. */
void dsm_stats_add(struct dsm_stats *a, const struct dsm_stats *b);
/* Enters a page into the list if it belongs there. */
void dsm_stats_hot(struct dsm_stats *stats, uint64_t page, uint64_t transactions);

#endif
