/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that become pages, and the reverse. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dsm/view_priv.h"

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

/* *hole: the page could be taken out of the file while somebody, a pipe, had a hold of its neighbour. */
static int punch_beside_a_hold(struct view *view, rpn_t held, bool *hole)
{
	off_t at = (off_t)(held << PAGE_SHIFT);
	int fd[2], rc = 0;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	if (splice(view->fd, &at, fd[1], NULL, PAGE_BYTES, SPLICE_F_NONBLOCK) != PAGE_BYTES)
		rc = -EIO;
	if (!rc)
		rc = view_punch(view, held + 1, PAGE_BYTES);
	*hole = !rc && view_is_hole(view, held + 1);
	close(fd[0]);
	close(fd[1]);
	return rc;
}

/*
 * Of a huge page nothing can be taken out while somebody has a hold of a part. If that is so, and after its first page was taken
 * out it is so no more, that made pages of it. From Linux 6.15 on it makes pieces, each as large as can be. Only a try tells, as
 * distributions put newer kernels' parts in older ones.
 */
bool view_finds_split(struct view *view)
{
	bool piece = false, split = false, hole = true;

	if (pwrite(view->fd, view->scratch, BLOCK_BYTES, 0) == (ssize_t)BLOCK_BYTES)
		split = !punch_beside_a_hold(view, 1, &hole) && !hole && !view_punch(view, 0, PAGE_BYTES) &&
			view_is_hole(view, 0) && !punch_beside_a_hold(view, BLOCK_PAGES / 2, &piece) && piece;
	return !view_punch(view, 0, BLOCK_BYTES) && split;
}

/* n pages from `i` on are all zero, or (false) none is. */
static bool kind_of_pages(const uint8_t *block, size_t i, size_t *n)
{
	bool zero = view_all_zero(block + i * PAGE_BYTES, PAGE_BYTES);

	for (*n = 1; i + *n < BLOCK_PAGES && view_all_zero(block + (i + *n) * PAGE_BYTES, PAGE_BYTES) == zero;)
		++*n;
	return zero;
}

/*
 * Takes one page out of the block, by which the kernel splits a huge page into small ones. If it cannot at that moment, it zeroes
 * the page and leaves it, and *split is false. Nobody reads it then: it is unmapped first, and an access waits as for a page that
 * is missing (UFFDIO_REGISTER_MODE_MINOR).
 */
static int take_one_out(struct view *view, rpn_t page, bool *split)
{
	int rc = view_punch(view, page, PAGE_BYTES);

	*split = !rc && view_is_hole(view, page);
	return rc;
}

/* What is not zero goes back where it was. */
static int put_back(struct view *view, rpn_t first, const uint8_t *aside)
{
	int rc = 0;

	for (size_t i = 0, n; !rc && i < BLOCK_PAGES; i += n)
		if (!kind_of_pages(aside, i, &n))
			rc = view_copy_in(view, first + i, aside + i * PAGE_BYTES, n * PAGE_BYTES, true, true);
	return rc;
}

/* What is zero becomes holes. */
static int punch_zeros(struct view *view, rpn_t first, const uint8_t *aside)
{
	int rc = 0;

	for (size_t i = 0, n; !rc && i < BLOCK_PAGES; i += n)
		if (kind_of_pages(aside, i, &n))
			rc = view_punch(view, first + i, n * PAGE_BYTES);
	return rc;
}

/* Any block, write-protected. Who reads it meanwhile waits, as for a page that is missing. */
static int lay_anew(struct view *view, rpn_t first, const uint8_t *aside)
{
	int rc = view_punch(view, first, BLOCK_BYTES);

	if (!rc)
		rc = view_write_protect(view, first, BLOCK_BYTES, false); /* takes the protection off the holes */
	return rc ? rc : put_back(view, first, aside);
}

/*
 * A huge page cannot be relied on to lose one of its 4 KiB pages (take_one_out). With a kernel that makes 4 KiB pages of it if it
 * has lost one (view_finds_split), the others can be punched out alone from then on.
 */
static int split_in_place(struct view *view, rpn_t first, const uint8_t *aside)
{
	struct uffdio_range block = {.start = view_guest_addr(view, first), .len = BLOCK_BYTES};
	bool split = false;
	int rc = view_register_range(view, first, BLOCK_BYTES, REGISTERED | UFFDIO_REGISTER_MODE_MINOR);

	if (!rc)
		rc = take_one_out(view, first, &split);
	if (!rc && !split)
		rc = lay_anew(view, first, aside);
	else if (!rc) {
		rc = punch_zeros(view, first, aside);
		if (!rc)
			rc = view_write_protect(view, first, BLOCK_BYTES, false);
		if (!rc && !view_all_zero(aside, PAGE_BYTES))
			rc = view_copy_in(view, first, aside, PAGE_BYTES, true, true);
	}
	/* A mode cannot be taken back but so, which wakes all. For a moment nothing is registered, and who is in a fault may fill a
	 * hole: every page is this node's yet, and stays so (an empty block, which may be given away, is not split here). */
	if (!rc && ioctl(view->uffd[view_shard(view, first)], UFFDIO_UNREGISTER, &block) < 0)
		rc = view_error("unregistering", first, errno);
	return rc ? rc : view_register_range(view, first, BLOCK_BYTES, REGISTERED);
}

/*
 *      register, protect all -> nobody writes | copy aside | take one out --> punch the zeros, put the one back   (split_in_place)
 *                                                       \--> punch all -> nobody reads | put all back            (lay_anew)
 */
int view_split(struct view *view, rpn_t first, bool *empty)
{
	uint8_t *aside = view->scratch + view_shard(view, first) * BLOCK_BYTES;
	size_t n = 0;
	int rc = view_register_range(view, first, BLOCK_BYTES, REGISTERED);

	if (!rc)
		rc = view_write_protect(view, first, BLOCK_BYTES, true);
	/* Read, not mapped: that fills no hole. Nor is SEEK_DATA asked, which before Linux 6.4 takes a page for a hole while
	 * khugepaged has it in its hands; a read waits for it. */
	if (!rc)
		rc = view_peek(view, first << PAGE_SHIFT, aside, BLOCK_BYTES);
	*empty = !rc && kind_of_pages(aside, 0, &n) && n == BLOCK_PAGES;
	if (!rc)
		rc = view->splits && !*empty ? split_in_place(view, first, aside) : lay_anew(view, first, aside);
	return rc == -EEXIST ? view_error("splitting", first, EEXIST) : rc; /* the only one that is not logged yet */
}

/* Pages of the block that are in the file. */
static uint64_t count_pages(const struct view *view, rpn_t first)
{
	off_t at = (off_t)(first << PAGE_SHIFT), end = at + (off_t)BLOCK_BYTES;
	uint64_t bytes = 0;

	while ((at = lseek(view->fd, at, SEEK_DATA)) >= 0 && at < end) {
		off_t hole = lseek(view->fd, at, SEEK_HOLE);

		if (hole < 0)
			break;
		bytes += (uint64_t)(MIN(hole, end) - at);
		at = hole;
	}
	return bytes >> PAGE_SHIFT;
}

int view_merge(struct view *view, rpn_t first)
{
	struct uffdio_range range = {.start = view_guest_addr(view, first), .len = BLOCK_BYTES};

	view_not_protected(view, first, BLOCK_BYTES);
	if (ioctl(view->uffd[view_shard(view, first)], UFFDIO_UNREGISTER, &range) < 0)
		return view_error("unregistering", first, errno);
	/* Both make it quicker, no more: a kernel may have no huge pages, or none to spare now. Before Linux 6.4 khugepaged, once
	 * it has begun with a block, would fill the holes that a split makes meanwhile: there the block keeps its small pages. */
	if (!view->huge_again)
		return 0;
	madvise(view->guest + (first << PAGE_SHIFT), BLOCK_BYTES, MADV_HUGEPAGE);
	if (count_pages(view, first) > BLOCK_PAGES / 2)
		madvise(view->guest + (first << PAGE_SHIFT), BLOCK_BYTES, MADV_COLLAPSE);
	return 0;
}
