/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of the machine: addresses, numbers of nodes and vCPUs, limits.
 *
 * Every module includes this and nothing here has state. An address or a number
 * that crosses a function boundary has one of these types, or its unit in its name.
 */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t;  /* guest physical address, bytes */
typedef uint64_t gfn_t;  /* guest frame number: gpa >> PAGE_SHIFT */
typedef uint64_t rpn_t;  /* RAM page number: the n-th 4 KiB page of guest RAM, without the holes of the gpa space */
typedef uint32_t node_t; /* [0, NODES_MAX) */
typedef uint32_t vcpu_t; /* [0, VCPUS_MAX); also the vCPU's APIC id */

#define PAGE_SHIFT  12
#define PAGE_BYTES  ((size_t)1 << PAGE_SHIFT)
#define BLOCK_SHIFT 21 /* a block is what a huge page maps: 2 MiB */
#define BLOCK_BYTES ((size_t)1 << BLOCK_SHIFT)
#define BLOCK_PAGES (BLOCK_BYTES / PAGE_BYTES)

#define NODES_MAX 64u
#define VCPUS_MAX 1024u
#define NODE_NONE UINT32_MAX
#define VCPU_NONE UINT32_MAX

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

#define NS_PER_US  1000ull
#define NS_PER_MS  1000000ull
#define NS_PER_SEC 1000000000ull

/* A node as a member of a set of nodes. */
static inline uint64_t node_bit(node_t node)
{
	return (uint64_t)1 << node;
}

/* container_of with the member's type checked. The versions of clang-format part over its minus. */
/* clang-format off */
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member) + 0 * sizeof((ptr) == &((type *)0)->member)))
/* clang-format on */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

/* A result that must not be dropped: 0 or -errno. */
#define CHECKED           __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

#endif
