/* SPDX-License-Identifier: Apache-2.0 */
/* In place of tcp_uring.c where there is no liburing to build with: tcp_uring_probe says so, and no lane has that engine. */
#include <errno.h>

#include "net/tcp_priv.h"

const struct net_ops tcp_uring_ops = {.name = "tcp-uring"};

int tcp_uring_probe(struct net_why *why)
{
	return net_fail(why, -EOPNOTSUPP, "this pangea was built without io_uring (install liburing-dev, build again)");
}

int tcp_uring_start(struct tcp_lane *t)
{
	(void)t;
	return -EOPNOTSUPP;
}

void tcp_uring_stop(struct tcp_lane *t)
{
	(void)t;
}
