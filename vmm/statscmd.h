/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pangea stats`: asks the nodes that run on this host (statsock.h) and shows what they say.
 *
 * What comes from a socket is taken as bytes that may be anything: bounded in length and time, parsed by jansson, looked at by
 * type, printed without control characters. statscmd_print is pure but for its output.
 */
#ifndef VMM_STATSCMD_H
#define VMM_STATSCMD_H

#include <jansson.h>
#include <stdio.h>

#include "vmm/cmdline.h"

/* Returns an exit code: EXIT_USAGE if no node of those asked for runs here. With `watch`: when the last is gone. */
int statscmd_run(const struct stats_options *options);

/* The table of a list of answers; rates a second against `before`, an earlier list, if that is not NULL. */
void statscmd_print(FILE *out, const json_t *nodes, const json_t *before);

#endif
