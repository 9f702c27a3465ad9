/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two views of guest RAM, and the only file that maps it or talks to userfaultfd about it.
 *
 *      guest view    given to KVM and to guestmem; its page-table entries say what this node may do
 *      service view  the same file mapped again, never registered; bytes are read here to be sent
 *
 * The file is a tmpfs file of this process alone: with huge pages where the kernel lets us mount a
 * detached tmpfs with huge=always (CAP_SYS_ADMIN), a memfd otherwise. A page's right is kept thus:
 *
 *      NONE   a hole in the file: any access is a MISSING fault
 *      READ   in the file, write-protected by userfaultfd: a write is a WP fault
 *      WRITE  in the file or a hole; a hole is filled with zeros by a MISSING fault
 *
 * Ranges that are not registered (blocks that only their home uses) fault like ordinary memory and
 * cost nothing. Every 2 MiB block belongs to one shard, and a shard has its own userfaultfd; calls
 * that name a page are made by the thread of that shard only. Errors are -errno, logged here.
 * Nothing here ever touches the guest view (D5). Sources: userfaultfd(2), ioctl_userfaultfd(2),
 * fallocate(2), Documentation/admin-guide/mm/userfaultfd.rst.
 */
#ifndef DSM_VIEW_H
#define DSM_VIEW_H

#include "base/types.h"

#define SHARDS_MAX 16u

struct view;

struct view_fault {
	rpn_t page;
	bool write;          /* the access was a write */
	bool protected_page; /* the page is there, write-protected (WP); otherwise it is missing */
};

/* Maps `pages` pages of guest RAM. `shards` userfaultfds, or 0: memory of one node alone, never registered. */
CHECKED int view_new(uint64_t pages, unsigned shards, struct view **out);
void view_free(struct view *view);

/* Start of the guest view: page p is at view_guest() + p * PAGE_BYTES. */
uint8_t *view_guest(const struct view *view);
/* The bytes of a page in the service view. Only for a page that is in the file or whose right is not NONE. */
const uint8_t *view_bytes(const struct view *view, rpn_t page);
/* Copies [at, at+len) of the file, pages one after the other, as they are now; holes are zeros and stay holes. Any thread. */
CHECKED int view_peek(const struct view *view, uint64_t at, void *buf, size_t len);
/* The first page at or after `page` that is in the file, RPN_NONE if none is. Any thread. */
#define RPN_NONE UINT64_MAX
rpn_t view_next(const struct view *view, rpn_t page);
/* What the file takes of this host's memory, guest RAM of any home. 0 if the kernel does not say. Any thread. */
uint64_t view_resident_bytes(const struct view *view);

unsigned view_shard(const struct view *view, rpn_t page);
int view_fd(const struct view *view, unsigned shard);

/* Registers [first, first+pages) of other nodes' RAM, before a vCPU runs. Whole blocks. */
CHECKED int view_register(struct view *view, rpn_t first, uint64_t pages);
/* Splits the private block that begins at `first`: registers it and lays its bytes anew as 4 KiB pages, so that a page
 * can be punched out alone. vCPUs may run meanwhile; what they touch waits. Afterwards every page has the right WRITE. *empty: the
 * whole block is zero, and holes now. */
CHECKED int view_split(struct view *view, rpn_t first, bool *empty);

/* The reverse, of a block every page of which has the right WRITE and about which nothing goes on: no longer registered, and a huge
 * page again if most of it is in the file (Linux 6.4). Who waits is woken. */
CHECKED int view_merge(struct view *view, rpn_t first);

/* Fills n holes of one block with what is at `bytes` (NULL: zeros, of one page). `wake`: who waits for one of the pages tries
 * again. */
CHECKED int view_install(struct view *view, rpn_t page, unsigned n, const uint8_t *bytes, bool writable, bool wake);
/* Answers a fault on a page whose right suffices already: fills a hole with zeros, or takes a protection off that the fault
 * met (`protected_page`), or only wakes if it is settled by now. */
CHECKED int view_map(struct view *view, rpn_t page, bool writable, bool protected_page);
/* Answers a fault on a hole whose right is WRITE, and fills the holes after it too: up to n <= VIEW_AROUND pages from `page` on, of
 * one block, as far as none is in the file. All have the right WRITE. */
#define VIEW_AROUND 16u
CHECKED int view_map_around(struct view *view, rpn_t page, unsigned n);
/* Copies n <= 32 pages, of which a hole is zeros, to `bytes`; bit i of *zero: page + i is all zero. As view_bytes, but maps
 * nothing. */
CHECKED int view_load(const struct view *view, rpn_t page, unsigned n, uint8_t *bytes, uint32_t *zero);
/* True if nothing was ever written to the page: it is not in the file. */
bool view_is_hole(const struct view *view, rpn_t page);
/* Likewise, cheaper for neighbours one after the other. */
bool view_seems_hole(struct view *view, rpn_t page);
/* The 8 bytes at `at` of a page that is here become `new` if they are `old`. Atomic with the guest's own writes. */
void view_exchange(struct view *view, rpn_t page, size_t at, uint64_t old, uint64_t new);
/* WRITE -> READ; returns when no vCPU can write any more. One call of the kernel for n pages of one block, n - 1 of which keep
 * their right WRITE: to write one faults (view_map), and view_is_protected says for a while that it need not be protected. */
CHECKED int view_protect(struct view *view, rpn_t page, unsigned n);
bool view_is_protected(const struct view *view, rpn_t page);
CHECKED int view_unprotect(struct view *view, rpn_t page); /* READ -> WRITE, wakes */
CHECKED int view_drop(struct view *view, rpn_t page);      /* -> NONE: returns when no vCPU can read any more */
CHECKED int view_wake(struct view *view, rpn_t page);      /* who waits tries again */

/* What eviction needs of registered pages. view_rest unmaps [first, first+pages), whose bytes and rights stay: the next access maps
 * a page again by itself, without a fault for us. view_used tells which pages of the block at `first` are mapped: bit n%64 of word
 * n/64 is page first+n. Where the kernel does not tell (no /proc), none is. */
CHECKED int view_rest(struct view *view, rpn_t first, uint64_t pages);
CHECKED int view_used(const struct view *view, rpn_t first, uint64_t used[BLOCK_PAGES / 64]);
/* Unmaps the service view, where a page counts as resident memory a second time. */
void view_trim(struct view *view);

/* The faults of a shard that are there now, at most VIEW_FAULTS: how many. */
#define VIEW_FAULTS 16u
unsigned view_faults(struct view *view, unsigned shard, struct view_fault fault[VIEW_FAULTS]);

/* Everything back to a hole, nothing registered. No vCPU may run. */
CHECKED int view_reset(struct view *view);

#endif
