/* SPDX-License-Identifier: Apache-2.0 */
/* What view.c and view_block.c share. Each function is for the shard's thread whose the pages are. */
#ifndef DSM_VIEW_PRIV_H
#define DSM_VIEW_PRIV_H

#include <linux/userfaultfd.h>

#include "dsm/view.h"

#define REGISTERED (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP)

/* Neighbours of which a shard knows something. */
struct run {
	rpn_t first, end;
};

struct view {
	uint64_t pages;
	unsigned shards;
	int fd;
	uint8_t *guest;
	uint8_t *service;
	uint8_t *scratch; /* one block, for view_split; a slot a shard */
	int pagemap;      /* /proc/self/pagemap, or -1 */
	bool huge_again;  /* what is merged may become a huge page */
	bool splits;      /* a huge page that loses a page becomes pages */
	int uffd[SHARDS_MAX];
	struct run protected[SHARDS_MAX]; /* last, and nothing has been done about them since */
	struct run filled[SHARDS_MAX];    /* in the file */
};

/* For `splits`, before anything is registered. Uses the first block, which is a hole again afterwards. */
bool view_finds_split(struct view *view);
uint64_t view_guest_addr(const struct view *view, rpn_t page);
/* Logs; -err. */
CHECKED int view_error(const char *what, rpn_t page, int err);
/* With this UFFDIO_REGISTER_MODE_. As the kernel has it a mode can be added to a range, but not taken away. */
CHECKED int view_register_range(struct view *view, rpn_t first, uint64_t len, uint64_t mode);
/* A page or block, wherever its bytes lie: those of a message follow its header, aligned to 4. */
bool view_all_zero(const uint8_t *bytes, size_t len);
/* Something is done about these pages that may leave them writable. */
void view_not_protected(struct view *view, rpn_t page, uint64_t len);
CHECKED int view_write_protect(struct view *view, rpn_t page, uint64_t len, bool on);
CHECKED int view_punch(struct view *view, rpn_t page, uint64_t len);
/* Fills [page, page + len) of holes. -EEXIST is not logged. */
CHECKED int view_copy_in(struct view *view, rpn_t page, const uint8_t *bytes, uint64_t len, bool writable, bool wake);

#endif
