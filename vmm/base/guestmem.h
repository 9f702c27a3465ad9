/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM as the monitor may touch it: by guest physical address, with a length that is checked.
 *
 * The map is built once before any vCPU runs and is then read-only: any thread may use it without a
 * lock. It does not own the memory. The pointers are into the guest view, so an access can sleep
 * until a remote page has come; a thread that a fault needs in order to finish (the threads of
 * dsm) must therefore never call these (invariant D5).
 */
#ifndef BASE_GUESTMEM_H
#define BASE_GUESTMEM_H

#include "base/types.h"

#define GUESTMEM_RANGES_MAX 4

/* [gpa, gpa+len) of guest RAM is the host bytes [host, host+len), which are the RAM pages from `first` on. */
struct guestmem_range {
	gpa_t gpa;
	uint64_t len;
	uint8_t *host;
	rpn_t first;
};

struct guestmem {
	size_t n;
	struct guestmem_range range[GUESTMEM_RANGES_MAX]; /* ascending, disjoint */
};

/* The host address of [gpa, gpa+len), or NULL if a byte of it is not RAM or it spans two ranges. */
uint8_t *guestmem_ptr(const struct guestmem *mem, gpa_t gpa, uint64_t len);

/* Copies between guest RAM and a buffer. -EFAULT, nothing copied: as guestmem_ptr's NULL. */
CHECKED int guestmem_read(const struct guestmem *mem, gpa_t gpa, void *buf, size_t len);
CHECKED int guestmem_write(const struct guestmem *mem, gpa_t gpa, const void *buf, size_t len);

/* The guest physical address of a RAM page; false if there is no such page. */
bool guestmem_gpa(const struct guestmem *mem, rpn_t page, gpa_t *gpa);

#endif
