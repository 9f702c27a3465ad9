/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pangea check`: can this host be a node? A report is a list of rows, each a thing looked at, what
 * was found, how that is judged, and what to do if it is not good. check.c has the host's side
 * (userfaultfd, memory, limits, clock) and the printing, check_rdma.c RDMA devices, check_kvm.c what KVM offers.
 *
 * Everything is looked at read-only, or on objects made for it that are gone on return. One thread;
 * blocks for about two seconds at most (kvmprobe.h). A failure to look is a row, not an error.
 * (Not named check.h, so that it is never taken for the test library's header.)
 */
#ifndef VMM_HOSTCHECK_H
#define VMM_HOSTCHECK_H

#include <stdio.h>

#include "base/types.h"

#define CHECK_ROWS_MAX     64
#define CHECK_REMEDY_BYTES 160

enum check_state {
	CHECK_OK,
	CHECK_WARN, /* a node works here, but less well, or some machines do not fit */
	CHECK_FAIL, /* no node works here */
};

struct check_row {
	enum check_state state;
	char what[32];
	char value[160];
	char remedy[CHECK_REMEDY_BYTES]; /* "" if there is nothing to do */
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
void check_rdma(struct check_report *report); /* a part of check_host */

/*
 * Whether KVM here keeps shadow page tables, as without nested paging (kvm_amd npt=0, kvm_intel ept=0), and then what to do about
 * it. KVM makes them from the guest's page tables and write-protects those, to learn of changes. It does not learn of what another
 * node writes to them: a machine of several nodes then reads and writes wrong pages. Without such a module there is nothing to
 * tell: false, and the remedy untouched. remedy: CHECK_REMEDY_BYTES are enough.
 */
bool hostcheck_shadow_paging(char *remedy, size_t bytes);
/* The same, and the row of the report about it, with another directory than SYS_MODULE: for tests. */
bool hostcheck_shadow_paging_at(const char *sys_module, char *remedy, size_t bytes);
void check_nested_paging(struct check_report *report, const char *sys_module);
#define SYS_MODULE "/sys/module"

/* The first line of a small file of /proc or /sys, without its newline; false if there is none. */
bool check_read_line(const char *path, char *buf, size_t bytes);

/* No row has failed. */
bool check_passes(const struct check_report *report);

/* For people, a row a line and a last line with the answer; for programs, JSON. -EIO: out does not take it. */
CHECKED int check_print(FILE *out, const struct check_report *report);
CHECKED int check_print_json(FILE *out, const struct check_report *report);

/* The command: collects and prints to standard output. Returns the exit code: 0 it can be a node, 1 not. */
int check_run(bool json);

#endif
