/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fabric over TCP: lanes over connected, authenticated sockets, and the helpers that make such sockets.
 *
 * Lane: one socket a peer. Nagle is off: a message leaves when it is sent. Input is read in large pieces and parsed in place. What
 * is queued, or not taken by the socket, waits in two queues of TCP_OUT_BYTES a peer, of which the one of what somebody waits for
 * goes first (outq.h), and the kernel is given little before it can be sent (TCP_NOTSENT_LOWAT).
 *
 * Engines: epoll, a call of the kernel for each socket; and on dsm lanes, if wanted, io_uring, one call for all (tcp_uring.c).
 *
 * A peer is lost (net.h) on end of stream, on an error, on bytes that do not decode, when a queue is full, and when it acknowledged
 * nothing for TCP_TIMEOUT_MS (which includes a peer that does not read although its host is alive, and a host that is gone without
 * a word).
 *
 * Threads: as net.h. On lane 0 any thread may call net_send; its mutex also orders closing a socket with sending on it.
 *
 * Helpers (connect.c): blocking with a deadline, for the way to a machine only. They return 0 or -errno and on failure write one
 * sentence that names the address and says what to do.
 */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "net/net.h"

#define TCP_OUT_BYTES  ((size_t)8 << 20)
#define TCP_TIMEOUT_MS 4000
#define TCP_ADDR_BYTES 72 /* "[v6 address%interface]:port" with its NUL */

enum tcp_engine {
	TCP_EPOLL,
	TCP_URING, /* of lanes but 0 */
};

/* 0: a lane can have TCP_URING here. -EOPNOTSUPP: not built in; -EPERM: forbidden; -ENOSYS, -EINVAL: not in this kernel; others.
 * *why is a half sentence. */
CHECKED int tcp_uring_probe(struct net_why *why);

/* A lane over fds[n], the connection to node n, a blocking socket; -1 for self and for nodes there is no connection to (a send to
 * them is -ENOTCONN). On success the sockets are the lane's to close. -EINVAL, -ENOMEM, -EOPNOTSUPP, -errno of epoll or setsockopt.
 */
CHECKED int tcp_lane_new(node_t self, node_t nodes, unsigned lane, const int *fds, enum tcp_engine engine, struct net_lane **out);

/* What every connection between nodes has, from the handshake on: no Nagle, TCP_TIMEOUT_MS, keepalive. -errno. */
CHECKED int tcp_set_options(int fd);

/* "host:port", "1.2.3.4:port" or "[v6]:port" into its parts; `host` has WIRE_HOST_BYTES. Pure.
 * -EINVAL: no host, no port, or a port not in [0, 65535]. */
CHECKED int tcp_parse_address(const char *text, char *host, uint16_t *port);

/* Listens on "addr:port"; port 0: the kernel chooses. *fd and the port it is bound to. -EINVAL, -EADDRINUSE, ... */
CHECKED int tcp_listen(const char *addr_port, int *fd, uint16_t *bound_port, struct net_why *why);

/* Connects; *fd is a blocking socket with the options of a lane. Each address of the host is tried until timeout_ms
 * from the call; looking up the name is not counted (resolv.conf bounds it).
 * -ENOENT: the name has no address; -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -ENETUNREACH, ... */
CHECKED int tcp_connect(const char *host, uint16_t port, int timeout_ms, int *fd, struct net_why *why);

/* Waits for a connection, timeout_ms < 0: for ever. *fd as tcp_connect's; `peer`, of TCP_ADDR_BYTES, is its numeric
 * address and port. -ETIMEDOUT; -EINTR: a signal came (so that a listener can be asked to end). */
CHECKED int tcp_accept(int listen_fd, int timeout_ms, int *fd, char *peer, struct net_why *why);

/* This end's numeric address, without the port, as the other host could use it. buf: WIRE_HOST_BYTES. -errno. */
CHECKED int tcp_local_address(int fd, char *buf);
/* The same of the other end. */
CHECKED int tcp_peer_address(int fd, char *buf);

#endif
