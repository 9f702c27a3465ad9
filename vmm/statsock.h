/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running node answers what it has counted, on a socket of this host: for `pangea stats`.
 *
 *      DIR/PID.sock     AF_UNIX stream, mode 0600, in a directory of mode 0700. DIR is $PANGEA_RUNTIME_DIR, or /run/pangea for
 * root, or $XDG_RUNTIME_DIR/pangea. It takes its name when it listens already: one that refuses is a dead process's, and goes when
 * the next node starts or the next `pangea stats` meets it.
 *
 *      client:  "stats\n"                      node:  a JSON object (report_node in report.h, and who it is), end of stream
 *      client:  "pages 5 1234t ...\n"          node:  a JSON list: what these pages are, in hotpages.h's words. Numbers of pages
 *                                                     (rpn), 't': it is lent as a page table. For the other nodes of the machine,
 *                                                     which have not the guest's symbols.
 *
 * One thread, "stats", does it: never a thread that a fault waits for; what it reads of dsm are relaxed counters and dsm_peek. A
 * client has STATSOCK_PATIENCE_NS for everything, may send STATSOCK_REQUEST bytes and shares the socket with STATSOCK_CLIENTS; one
 * that hangs is dropped. Without a directory there is no socket, and the machine runs all the same.
 */
#ifndef VMM_STATSOCK_H
#define VMM_STATSOCK_H

#include <sys/un.h>

#include "vmm/hotpages.h"

#define STATSOCK_CLIENTS     8u
#define STATSOCK_REQUEST     1024u
#define STATSOCK_PATIENCE_NS (2 * NS_PER_SEC)
#define STATSOCK_ANSWER_MAX  (256 * 1024u) /* more is refused by the client */
#define STATSOCK_PATH        (sizeof(((struct sockaddr_un *)0)->sun_path))

struct statsock;

/* `symbols`: as for hotpages_init. NULL: there is none, and a warning said why, unless nobody could expect one. */
struct statsock *statsock_start(const struct vm *vm, const struct symbols *symbols);
/* Ends the thread, removes the socket. Before the machine's memory goes. NULL is fine. */
void statsock_stop(struct statsock *sock);

/* A request, as it came up to its newline. Pure. -EBADMSG. */
enum statsock_what { STATSOCK_STATS, STATSOCK_PAGES };
struct statsock_request {
	enum statsock_what what;
	uint32_t n;
	struct dsm_hot page[DSM_HOTTEST]; /* page and marks */
};
CHECKED int statsock_parse(const char *line, size_t len, struct statsock_request *out);

/* ---- for both ends ---- */

/* -ENOENT: there is no such place for this user; -ENAMETOOLONG. */
CHECKED int statsock_dir(char dir[STATSOCK_PATH]);
/* A stream to DIR/name, whose reads and writes end after STATSOCK_PATIENCE_NS each. -ECONNREFUSED: nobody is there any more. */
CHECKED int statsock_connect(const char *dir, const char *name, int *fd);
/* Calls `each` for every *.sock in DIR, in no order, until one returns non-zero, which is returned. 0 if there is no DIR. */
struct statsock_visitor {
	int (*each)(struct statsock_visitor *visitor, const char *dir, const char *name);
};
CHECKED int statsock_visit(const char *dir, struct statsock_visitor *visitor);

#endif
