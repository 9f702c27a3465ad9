/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tracepoints for bpftrace, perf and gdb: USDT probes of provider `pangea` (docs/tracing.md). Each is one nop until a tracer takes
 * it, and nothing at all where sys/sdt.h is absent or PANGEA_NO_TRACE is defined; then the arguments are not evaluated.
 *
 * Arguments are numbers at hand: nothing is computed or looked up for a probe. `page` is the number of the RAM page (rpn): its
 * guest physical address is page * 4096 below 3 GiB of RAM, and 1 GiB more from there on.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#if !defined(PANGEA_NO_TRACE) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define BASE_TRACE_PROBES 1
#endif
#endif

/* What a fault was. */
#define TRACE_READ    0 /* the page is not here, and was read */
#define TRACE_WRITE   1 /* ... and was written */
#define TRACE_UPGRADE 2 /* a read-only copy is here, and was written */

#ifdef BASE_TRACE_PROBES
/* A thread of this node met a page that it may not use so; `kind` as above. A shard's thread, when it takes the fault up. */
#define TRACE_FAULT_BEGIN(page, kind) DTRACE_PROBE2(pangea, fault_begin, page, kind)
/* The page is there, after `ns` (0: it was settled without another node). Faults that meet one under way for the same page end with
 * it. */
#define TRACE_FAULT_END(page, write, ns) DTRACE_PROBE3(pangea, fault_end, page, write, ns)
/* A message (enum wire_type; `page` on the lanes of memory, as `arg` says on the control lane), with its bytes, header and all. */
#define TRACE_MESSAGE_SENT(to, type, page, bytes)       DTRACE_PROBE4(pangea, message_sent, to, type, page, bytes)
#define TRACE_MESSAGE_RECEIVED(from, type, page, bytes) DTRACE_PROBE4(pangea, message_received, from, type, page, bytes)
/* A page leaves this node to make room: `home` 1: it was owned and goes home, 0: a copy that is dropped. */
#define TRACE_EVICTION(page, home) DTRACE_PROBE2(pangea, eviction, page, home)
/* The home of a page that wanders sees it go from its owner to another node for good, though that only read it. */
#define TRACE_MIGRATION(page, from, to) DTRACE_PROBE3(pangea, migration, page, from, to)
#else
#define TRACE_NOTHING(x)                 ((void)sizeof(x))
#define TRACE_FAULT_BEGIN(page, kind)    (TRACE_NOTHING(page), TRACE_NOTHING(kind))
#define TRACE_FAULT_END(page, write, ns) (TRACE_NOTHING(page), TRACE_NOTHING(write), TRACE_NOTHING(ns))
#define TRACE_MESSAGE_SENT(to, type, page, bytes) \
	(TRACE_NOTHING(to), TRACE_NOTHING(type), TRACE_NOTHING(page), TRACE_NOTHING(bytes))
#define TRACE_MESSAGE_RECEIVED(from, type, page, bytes) TRACE_MESSAGE_SENT(from, type, page, bytes)
#define TRACE_EVICTION(page, home)                      (TRACE_NOTHING(page), TRACE_NOTHING(home))
#define TRACE_MIGRATION(page, from, to)                 (TRACE_NOTHING(page), TRACE_NOTHING(from), TRACE_NOTHING(to))
#endif

#endif
