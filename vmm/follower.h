/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pangea node`: a host offers itself as a node of other hosts' machines.
 *
 * The agent listens, and makes a process of its own for each leader that connects; that process (the follower) proves itself,
 * says what the host has, becomes the node and lives as long as the machine. So a host can serve several machines, and a bad one
 * takes nothing with it. Return values are exit codes (exitcode.h).
 */
#ifndef VMM_FOLLOWER_H
#define VMM_FOLLOWER_H

#include "net/key.h"
#include "vmm/cmdline.h"

int agent_run(const struct node_options *options);
/* The node behind an authenticated AUTH_JOIN socket, which it takes over. */
int follower_run(int fd, const uint8_t key[KEY_BYTES], const char *leader);

#endif
