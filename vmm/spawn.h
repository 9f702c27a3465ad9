/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local nodes but node 0: processes of this program, `pangea node`, that serve one machine and die with their parent.
 * The key goes to them through a pipe. They get a process group of their own: Ctrl-C is the leader's.
 */
#ifndef VMM_SPAWN_H
#define VMM_SPAWN_H

#include <sys/types.h>

#include "net/key.h"
#include "net/net.h"

/* Starts a node that listens on `addr` (an address of this host, without port) and waits until it says where. */
CHECKED int spawn_node(const char *addr, const uint8_t key[KEY_BYTES], pid_t *pid, uint16_t *port, struct net_why *why);
/* Waits a moment for it to end by itself, then ends it. */
void spawn_end(pid_t pid);

#endif
