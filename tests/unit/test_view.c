/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are split into pages while they are used (view.h), on real userfaultfd. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "dsm/view.h"
#include "tests/unit/check_main.h"

#define BLOCKS 24u
#define PAGES  (BLOCKS * BLOCK_PAGES)
#define FIRST  BLOCK_PAGES /* of the blocks that are split */

struct user {
	const uint8_t *guest;
	bool writes;
	_Atomic bool stop;
	_Atomic unsigned block; /* for touch */
	_Atomic uint64_t rounds, wrong;
	uint64_t written[BLOCKS][2];
};

static uint64_t value_of(rpn_t page)
{
	return page % 5 == 3 ? 0 : page + 1; /* some are zero */
}

static volatile uint64_t *word_at(const uint8_t *guest, rpn_t page)
{
	return (volatile uint64_t *)(uintptr_t)(guest + page * PAGE_BYTES) + 7;
}

/* As a vCPU of the blocks' home: what was written is there, whatever is done about a block. */
static void *use(void *arg)
{
	struct user *u = arg;

	while (!atomic_load(&u->stop)) {
		for (unsigned b = 0; b < BLOCKS; b++)
			for (unsigned i = 0; i < 2; i++) {
				rpn_t p = b * BLOCK_PAGES + i * 4; /* neither is one of the zero ones */
				p += value_of(p) ? 0 : 1;
				volatile uint64_t *counter = word_at(u->guest, p) + 2;

				atomic_fetch_add(&u->wrong, *word_at(u->guest, p) != value_of(p));
				if (!u->writes) /* who writes waits, while the block is protected */
					continue;
				atomic_fetch_add(&u->wrong, *counter != u->written[b][i]);
				*counter = ++u->written[b][i];
			}
		atomic_fetch_add(&u->rounds, 1);
	}
	return NULL;
}

/* Writes zeros all over a block. */
static void *touch(void *arg)
{
	struct user *u = arg;

	for (rpn_t p = 0; !atomic_load(&u->stop); p = (p + 77) % BLOCK_PAGES) {
		*word_at(u->guest, atomic_load(&u->block) * BLOCK_PAGES + p) = 0;
		atomic_fetch_add(&u->rounds, 1);
	}
	return NULL;
}

/* The faults of who met the block while it was split: its pages are this node's. */
static void serve(struct view *view)
{
	struct view_fault fault[VIEW_FAULTS];
	unsigned n = view_faults(view, 0, fault);

	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(view_map(view, fault[i].page, true, fault[i].protected_page), 0);
}

/* Until the user has come round twice. */
static void await_rounds(struct user *u, struct view *view)
{
	uint64_t seen = atomic_load(&u->rounds), end = clock_ns() + 5 * NS_PER_SEC;

	while (atomic_load(&u->rounds) < seen + 2 && clock_ns() < end)
		serve(view);
	ck_assert_uint_ge(atomic_load(&u->rounds), seen + 2);
}

/* A page that somebody else has a hold of keeps its huge page from being split: one in a pipe. */
static void hold(const uint8_t *guest, rpn_t page, int fd[2])
{
	struct iovec piece = {.iov_base = (void *)(uintptr_t)(guest + page * PAGE_BYTES), .iov_len = PAGE_BYTES};

	ck_assert_int_eq(pipe2(fd, O_CLOEXEC), 0);
	ck_assert_int_eq(vmsplice(fd[1], &piece, 1, 0), PAGE_BYTES);
}

static void check_block(struct view *view, rpn_t first)
{
	for (rpn_t p = first; p < first + BLOCK_PAGES; p++) {
		uint8_t bytes[PAGE_BYTES];
		uint64_t got;
		uint32_t zero;

		ck_assert_int_eq(view_load(view, p, 1, bytes, &zero), 0);
		memcpy(&got, bytes + 7 * sizeof(got), sizeof(got));
		ck_assert_uint_eq(got, value_of(p));
		ck_assert_uint_eq(zero, value_of(p) == 0);
		if (!value_of(p))
			ck_assert(view_is_hole(view, p));
	}
	/* Each can be given up alone, in any order. */
	for (rpn_t i = 0; i < BLOCK_PAGES; i++) {
		rpn_t p = first + i * 77 % BLOCK_PAGES;

		ck_assert_int_eq(view_drop(view, p), 0);
		ck_assert(view_is_hole(view, p));
	}
}

/* 0: as it comes; 1: the block's first page is held, 2: another one is. */
START_TEST(a_block_is_split_under_who_uses_it)
{
	static struct user user[2] = {{.writes = true}};
	struct view *view;
	int fd[BLOCKS][2];
	pthread_t thread[2];

	ck_assert_int_eq(view_new(PAGES, 1, &view), 0);
	uint8_t *guest = view_guest(view);
	for (rpn_t p = 0; p < PAGES; p++)
		*word_at(guest, p) = value_of(p);
	for (unsigned b = 1; _i && b < BLOCKS; b++)
		hold(guest, b * BLOCK_PAGES + (_i == 1 ? 0 : 77), fd[b]);
	for (unsigned i = 0; i < 2; i++) {
		user[i].guest = guest;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, use, &user[i]), 0);
	}
	for (unsigned b = 1; b < BLOCKS; b++) {
		bool empty = true;

		for (unsigned i = 0; i < 2; i++)
			await_rounds(&user[i], view);
		ck_assert_int_eq(view_split(view, b * BLOCK_PAGES, &empty), 0);
		ck_assert(!empty);
	}
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&user[i].stop, true);
	for (uint64_t end = clock_ns() + NS_PER_SEC / 5; clock_ns() < end;) /* it may wait in one */
		serve(view);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_uint_eq(atomic_load(&user[i].wrong), 0);
	}
	for (unsigned b = 1; b < BLOCKS; b++)
		check_block(view, b * BLOCK_PAGES);
	for (rpn_t p = 0; p < BLOCK_PAGES; p++)
		ck_assert_uint_eq(*word_at(guest, p), value_of(p));
	for (unsigned b = 1; _i && b < BLOCKS; b++) {
		close(fd[b][0]);
		close(fd[b][1]);
	}
	view_free(view);
}
END_TEST

/* A kernel may split a huge page into larger pieces than pages (Linux 6.15), of which none can be dropped while one has a hold of
 * its neighbour: what is left in the file is zero then, and nobody faults on it. */
START_TEST(a_page_is_dropped_while_its_neighbour_is_held)
{
	struct view *view;
	int fd[BLOCK_PAGES / 2][2];
	bool empty;

	ck_assert_int_eq(view_new(PAGES, 1, &view), 0);
	for (rpn_t p = FIRST; p < FIRST + BLOCK_PAGES; p++)
		*word_at(view_guest(view), p) = p;
	ck_assert_int_eq(view_split(view, FIRST, &empty), 0);
	for (rpn_t i = 0; i < BLOCK_PAGES / 2; i++)
		hold(view_guest(view), FIRST + 2 * i, fd[i]);
	for (rpn_t i = 0; i < BLOCK_PAGES / 2; i++) {
		ck_assert_int_eq(view_drop(view, FIRST + 2 * i + 1), 0);
		ck_assert(view_is_hole(view, FIRST + 2 * i + 1));
		ck_assert(!view_is_hole(view, FIRST + 2 * i));
		close(fd[i][0]);
		close(fd[i][1]);
	}
	view_free(view);
}
END_TEST

START_TEST(an_empty_block_is_said_to_be_empty)
{
	struct view *view;
	bool empty = false;

	ck_assert_int_eq(view_new(PAGES, 1, &view), 0);
	if (_i)
		*word_at(view_guest(view), FIRST + 9) = 0; /* touched, and zero as before */
	ck_assert_int_eq(view_split(view, FIRST, &empty), 0);
	ck_assert(empty);
	for (rpn_t p = FIRST; p < FIRST + BLOCK_PAGES; p++)
		ck_assert(view_is_hole(view, p));
	view_free(view);
}
END_TEST

/* Who gives such a block away believes that nobody has put a page into it since. */
START_TEST(an_empty_block_stays_empty_until_its_faults_are_answered)
{
	static struct user user;
	struct view *view;
	pthread_t thread[4];

	ck_assert_int_eq(view_new(PAGES, 1, &view), 0);
	user = (struct user){.guest = view_guest(view)};
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, touch, &user), 0);
	for (unsigned b = 1; b < BLOCKS; b++) {
		bool empty = false;

		atomic_store(&user.block, b);
		await_rounds(&user, view);
		ck_assert_int_eq(view_split(view, b * BLOCK_PAGES, &empty), 0);
		ck_assert(empty);
		usleep(1000); /* it is in a fault now, or touches the block */
		for (rpn_t p = b * BLOCK_PAGES; p < (b + 1) * BLOCK_PAGES; p++)
			ck_assert(view_is_hole(view, p));
	}
	atomic_store(&user.stop, true);
	for (uint64_t end = clock_ns() + NS_PER_SEC / 5; clock_ns() < end;)
		serve(view);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	view_free(view);
}
END_TEST

/* Neighbours that are known to be in the file, until one is given up. */
START_TEST(a_page_that_was_given_up_seems_a_hole)
{
	struct view *view;
	bool empty;

	ck_assert_int_eq(view_new(PAGES, 1, &view), 0);
	for (rpn_t p = FIRST; p < FIRST + 40; p++)
		*word_at(view_guest(view), p) = 1;
	ck_assert_int_eq(view_split(view, FIRST, &empty), 0);
	for (rpn_t p = FIRST; p < FIRST + 64; p++)
		ck_assert_int_eq(view_seems_hole(view, p), p >= FIRST + 40);
	ck_assert(!view_seems_hole(view, FIRST + 4));
	ck_assert_int_eq(view_drop(view, FIRST + 5), 0);
	for (rpn_t p = FIRST; p < FIRST + 40; p++)
		ck_assert_int_eq(view_seems_hole(view, p), p == FIRST + 5);
	view_free(view);
}
END_TEST

/* As a machine of one node has it: nothing is ever registered. */
START_TEST(a_view_without_shards_is_reset)
{
	struct view *view;

	ck_assert_int_eq(view_new(PAGES, 0, &view), 0);
	*word_at(view_guest(view), FIRST) = 1;
	ck_assert_int_eq(view_reset(view), 0);
	ck_assert_uint_eq(*word_at(view_guest(view), FIRST), 0);
	view_free(view);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("view");
	TCase *tc = tcase_create("view");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, a_block_is_split_under_who_uses_it, 0, 3);
	tcase_add_test(tc, a_page_is_dropped_while_its_neighbour_is_held);
	tcase_add_loop_test(tc, an_empty_block_is_said_to_be_empty, 0, 2);
	tcase_add_test(tc, an_empty_block_stays_empty_until_its_faults_are_answered);
	tcase_add_test(tc, a_page_that_was_given_up_seems_a_hole);
	tcase_add_test(tc, a_view_without_shards_is_reset);
	suite_add_tcase(s, tc);
	return check_main(s);
}
