/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When messages leave that wait for page tables to be known to all (R1 in replica.h): dsm as it ships against a peer that the test
 * plays, which is the home of two tables and two ordinary pages. The node borrows the tables and owns the pages.
 */
#include <check.h>
#include <errno.h>

#include "tests/unit/check_main.h"
#include "tests/unit/dsm_peer.h"

#define TABLE(n) (PEER_PAGES + 10 + (n))
#define PAGE(n)  (PEER_PAGES + 20 + (n))
#define SEQ      5u

struct touch {
	struct cluster *c;
	rpn_t page;
};

static void *touch(void *arg)
{
	struct touch *t = arg;

	*word(t->c, 0, t->page, 0) = 1;
	return NULL;
}

/* The node asks for a page, and gets it by this message. */
static void give(struct peer *p, rpn_t page, struct wire_hdr hdr)
{
	struct touch t = {.c = &p->c, .page = page};
	uint64_t bytes[PAGE_BYTES / 8] = {1};
	struct peer_got got;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, touch, &t), 0);
	peer_expect(p, WIRE_REQ_WRITE, &got);
	hdr.len = PAGE_BYTES;
	peer_tell(p, page, hdr, bytes);
	pthread_join(thread, NULL);
}

static void set_up(struct peer *p)
{
	*p = (struct peer){.n = 0};
	peer_start(&p->c, 1, 0);
	for (unsigned n = 0; n < 2; n++) {
		give(p, TABLE(n), (struct wire_hdr){.type = WIRE_LEND, .seq = n + 1});
		give(p, PAGE(n), (struct wire_hdr){.type = WIRE_DATA, .flags = WIRE_F_WRITE, .seq = SEQ});
	}
}

static void ask_for(struct peer *p, rpn_t page)
{
	peer_tell(p, page, (struct wire_hdr){.type = WIRE_FWD_WRITE, .seq = SEQ + 1, .node = 1}, NULL);
}

static void released(struct peer *p, unsigned n)
{
	peer_tell(p, TABLE(n), (struct wire_hdr){.type = WIRE_RELEASED, .seq = n + 1}, NULL);
}

static void comes(struct peer *p, uint8_t type, rpn_t page)
{
	struct peer_got got;

	peer_expect(p, type, &got);
	ck_assert_uint_eq(got.hdr.arg, page);
}

/* Nothing comes for longer than it takes to look for changes by itself. */
static void nothing_comes(struct peer *p)
{
	ck_assert_uint_eq(peer_wait(p, 300 * NS_PER_MS), 0);
}

START_TEST(a_page_leaves_when_a_table_written_before_is_known)
{
	struct peer p;

	set_up(&p);
	*word(&p.c, 0, TABLE(0), 3) = 7;
	*word(&p.c, 0, PAGE(0), 0) = 2;
	ask_for(&p, PAGE(0));
	comes(&p, WIRE_GIVE_BACK, TABLE(0));
	nothing_comes(&p);
	released(&p, 0);
	comes(&p, WIRE_DATA, PAGE(0));
}
END_TEST

START_TEST(a_page_leaves_at_once_when_no_table_was_written)
{
	struct peer p;

	set_up(&p);
	*word(&p.c, 0, PAGE(0), 0) = 2;
	ask_for(&p, PAGE(0));
	comes(&p, WIRE_DATA, PAGE(0));
}
END_TEST

/* The second page was written after the second table: that must be known too, though the first table is all that was waited for
 * when the page was asked for. */
START_TEST(a_page_asked_for_while_others_wait_waits_for_its_own_tables)
{
	struct peer p;
	struct peer_got got;

	set_up(&p);
	*word(&p.c, 0, TABLE(0), 3) = 7;
	*word(&p.c, 0, PAGE(0), 0) = 2;
	ask_for(&p, PAGE(0));
	comes(&p, WIRE_GIVE_BACK, TABLE(0));
	*word(&p.c, 0, TABLE(1), 3) = 8;
	*word(&p.c, 0, PAGE(1), 0) = 2;
	ask_for(&p, PAGE(1));
	usleep(20000); /* it has been obeyed: the page waits */
	released(&p, 0);
	/* The first page may go now, the second table comes, in either order. */
	for (unsigned i = 0; i < 2; i++) {
		peer_next(&p, &got);
		ck_assert(got.hdr.type == WIRE_GIVE_BACK ? got.hdr.arg == TABLE(1)
							 : got.hdr.type == WIRE_DATA && got.hdr.arg == PAGE(0));
	}
	nothing_comes(&p);
	released(&p, 1);
	comes(&p, WIRE_DATA, PAGE(1));
}
END_TEST

/* The home of two tables that it has lent; it has written one, and the pages that the borrower then asks for at once. */
START_TEST(a_run_leaves_when_a_table_written_before_is_known)
{
	struct peer p;
	struct peer_got got;
	uint32_t seq;

	set_up(&p);
	for (rpn_t page = 0; page < 2; page++)
		*word(&p.c, 0, page, 0) = page + 1; /* of node 0's own memory */
	*word(&p.c, 0, TABLE(0), 3) = 7;
	peer_tell(&p, 0, (struct wire_hdr){.type = WIRE_RUN_REQ, .flags = WIRE_F_AHEAD, .acks = 2, .node = 1}, NULL);
	comes(&p, WIRE_GIVE_BACK, TABLE(0));
	nothing_comes(&p);
	*word(&p.c, 0, TABLE(1), 3) = 8; /* after the run was made: of no account for it */
	released(&p, 0);
	do
		peer_next(&p, &got);
	while (got.hdr.type == WIRE_GIVE_BACK);
	ck_assert_str_eq(wire_type_name(got.hdr.type), "RUN_DATA");
	ck_assert_uint_eq(got.hdr.acks, 2);
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t bytes;

		memcpy(&seq, got.payload + i * sizeof(seq), sizeof(seq));
		memcpy(&bytes, got.payload + 2 * sizeof(seq) + i * PAGE_BYTES, sizeof(bytes));
		ck_assert_uint_eq(seq, 1);
		ck_assert_uint_eq(bytes, i + 1);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("release");
	TCase *tc = tcase_create("release");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_page_leaves_when_a_table_written_before_is_known);
	tcase_add_test(tc, a_page_leaves_at_once_when_no_table_was_written);
	tcase_add_test(tc, a_page_asked_for_while_others_wait_waits_for_its_own_tables);
	tcase_add_test(tc, a_run_leaves_when_a_table_written_before_is_known);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
