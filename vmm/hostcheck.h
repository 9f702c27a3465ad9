/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pangea check`: can this host be a node? A report is a list of rows, each a thing looked at, what
 * was found, how that is judged, and what to do if it is not good. check.c has the host's side
 * (userfaultfd, memory, limits, RDMA, clock) and the printing, check_kvm.c what KVM offers.
 *
 * Everything is looked at read-only, or on objects made for it that are gone on return. One thread;
 * blocks for about two seconds at most (kvmprobe.h). A failure to look is a row, not an error.
 * (Not named check.h, so that it is never taken for the test library's header.)
 */
#ifndef VMM_HOSTCHECK_H
#define VMM_HOSTCHECK_H

#include <stdio.h>

#include "base/types.h"

#define CHECK_ROWS_MAX 64

enum check_state {
	CHECK_OK,
	CHECK_WARN, /* a node works here, but less well, or some machines do not fit */
	CHECK_FAIL, /* no node works here */
};

struct check_row {
	enum check_state state;
	char what[32];
	char value[160];
	char remedy[160]; /* "" if there is nothing to do */
};

struct check_report {
	size_t n;
	struct check_row row[CHECK_ROWS_MAX];
};

/* Appends a row; the value is a format, the remedy is not. A full report drops it. */
void check_add(struct check_report *report, enum check_state state, const char *what, const char *remedy, const char *value, ...)
	PRINTF_LIKE(5, 6);

/* All rows; check_kvm() and check_host() are its two parts. */
void check_collect(struct check_report *report);
void check_kvm(struct check_report *report);
void check_host(struct check_report *report);

/* No row has failed. */
bool check_passes(const struct check_report *report);

/* For people, a row a line and a last line with the answer; for programs, JSON. -EIO: out does not take it. */
CHECKED int check_print(FILE *out, const struct check_report *report);
CHECKED int check_print_json(FILE *out, const struct check_report *report);

/* The command: collects and prints to standard output. Returns the exit code: 0 it can be a node, 1 not. */
int check_run(bool json);

#endif
