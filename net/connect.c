/* SPDX-License-Identifier: Apache-2.0 */
/* The way to a connected socket: addresses, listening, connecting, accepting, each failure with its sentence. */
#include "net/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

int tcp_set_options(int fd)
{
	int err = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);

	/* Data in flight, or a window that stays shut, counts towards the first; the rest are for an idle connection. */
	if (!err)
		err = set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_TIMEOUT_MS);
	if (!err)
		err = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (!err)
		err = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	if (!err)
		err = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	if (!err)
		err = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, TCP_TIMEOUT_MS / 1000);
	return err;
}

int tcp_parse_address(const char *text, char *host, uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	const char *begin = text, *end = colon;
	uint32_t number;
	int err;

	if (!colon)
		return -EINVAL;
	if (*begin == '[') {
		begin++;
		end--;
		if (end < begin || *end != ']')
			return -EINVAL;
	} else if (memchr(begin, ':', (size_t)(end - begin))) {
		return -EINVAL; /* a v6 address needs its brackets: where would the port begin? */
	}
	if (end <= begin || (size_t)(end - begin) >= WIRE_HOST_BYTES)
		return -EINVAL;
	err = units_parse_u32(colon + 1, UINT16_MAX, &number);
	if (err)
		return -EINVAL;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = 0;
	*port = (uint16_t)number;
	return 0;
}

static int look_up(const char *host, uint16_t port, int flags, struct addrinfo **list, struct net_why *why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
	char service[8];
	int err;

	snprintf(service, sizeof(service), "%u", port);
	err = getaddrinfo(host, service, &hints, list);
	if (err == EAI_MEMORY)
		return net_fail(why, -ENOMEM, "looking up %s: out of memory", host);
	if (err)
		return net_fail(
			why, -ENOENT,
			"the host name %s cannot be looked up: %s; check its spelling, /etc/hosts and DNS, or give its address",
			host, gai_strerror(err));
	return 0;
}

static int port_of(const struct sockaddr_storage *addr)
{
	struct sockaddr_in in;

	/* The port of a v6 address is at the same place. */
	static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "ports");
	memcpy(&in, addr, sizeof(in));
	return ntohs(in.sin_port);
}

static int listen_on(const struct addrinfo *ai, int *out)
{
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
	int err;

	if (fd < 0)
		return -errno;
	err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* connections in TIME_WAIT of a run before do not matter */
	if (!err && (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 128)))
		err = -errno;
	if (err)
		close(fd);
	else
		*out = fd;
	return err;
}

int tcp_listen(const char *addr_port, int *fd, uint16_t *bound_port, struct net_why *why)
{
	char host[WIRE_HOST_BYTES], text[64];
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	struct addrinfo *list;
	uint16_t port;
	int err, sock = -1;

	err = tcp_parse_address(addr_port, host, &port);
	if (err)
		return net_fail(why, err, "\"%s\" is not ADDRESS:PORT: write for example 127.0.0.1:7700 or [::1]:7700", addr_port);
	err = look_up(host, port, AI_PASSIVE, &list, why);
	if (err)
		return err;
	err = listen_on(list, &sock);
	freeaddrinfo(list);
	if (!err && getsockname(sock, (struct sockaddr *)&addr, &len)) {
		err = -errno;
		close(sock);
	}
	switch (err) {
	case 0:
		*fd = sock;
		*bound_port = (uint16_t)port_of(&addr);
		return 0;
	case -EADDRINUSE:
		return net_fail(
			why, err,
			"port %u of %s is in use by another program: stop it (`ss -ltnp` shows which) or choose another port", port,
			host);
	case -EADDRNOTAVAIL:
		return net_fail(why, err, "%s is not an address of this host: `ip address` lists them", host);
	case -EACCES:
		return net_fail(why, err, "port %u of %s needs root: choose a port from 1024 on", port, host);
	default:
		return net_fail(why, err, "cannot listen on %s: %s", addr_port, strerror_r(-err, text, sizeof(text)));
	}
}

/* What is left until `deadline` (clock_ns), as poll(2) wants it: rounded up, 0 if it has passed. */
static int left_ms(uint64_t deadline)
{
	uint64_t now = clock_ns();

	return now >= deadline ? 0 : (int)((deadline - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* Waits for a connection under way. 0 or -errno. */
static int await_connect(int fd, uint64_t deadline)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	int err = 0, n;
	socklen_t len = sizeof(err);

	do
		n = poll(&pfd, 1, left_ms(deadline));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? -errno : -err;
}

static int connect_to(const struct addrinfo *ai, uint64_t deadline, int *out)
{
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen))
		err = errno == EINPROGRESS ? await_connect(fd, deadline) : -errno;
	int off = 0;
	if (!err && ioctl(fd, FIONBIO, &off))
		err = -errno;
	if (!err)
		err = tcp_set_options(fd);
	if (err)
		close(fd);
	else
		*out = fd;
	return err;
}

int tcp_connect(const char *host, uint16_t port, int timeout_ms, int *fd, struct net_why *why)
{
	struct addrinfo *list;
	uint64_t deadline;
	char text[64];
	int err;

	err = look_up(host, port, 0, &list, why);
	if (err)
		return err;
	deadline = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		err = connect_to(ai, deadline, fd);
		if (!err)
			break;
	}
	freeaddrinfo(list);
	switch (err) {
	case 0:
		return 0;
	case -ECONNREFUSED:
		return net_fail(why, err,
				"%s is up but nothing listens on its port %u: start `pangea node --listen ADDRESS:%u` there, or "
				"correct the port",
				host, port, port);
	case -ETIMEDOUT:
		return net_fail(why, err,
				"%s, port %u, does not answer within %d s: the host is down, its address is wrong, or a firewall "
				"drops the port",
				host, port, (timeout_ms + 999) / 1000);
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return net_fail(why, err,
				"%s, port %u, cannot be reached: %s; check its address and this host's routes (`ip route get`)",
				host, port, strerror_r(-err, text, sizeof(text)));
	default:
		return net_fail(why, err, "cannot connect to %s, port %u: %s", host, port, strerror_r(-err, text, sizeof(text)));
	}
}

/* A numeric address, with its port unless that is 0. A v4 address on a v6 socket is written as v4. */
static int format_address(const struct sockaddr_storage *addr, socklen_t len, bool with_port, char *buf, size_t size)
{
	char host[WIRE_HOST_BYTES];
	const char *text = host;

	if (getnameinfo((const struct sockaddr *)addr, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST))
		return -EINVAL;
	if (strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.'))
		text += 7;
	if (with_port)
		snprintf(buf, size, strchr(text, ':') ? "[%s]:%d" : "%s:%d", text, port_of(addr));
	else
		snprintf(buf, size, "%s", text);
	return 0;
}

int tcp_accept(int listen_fd, int timeout_ms, int *fd, char *peer, struct net_why *why)
{
	struct pollfd pfd = {.fd = listen_fd, .events = POLLIN};
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	char text[64];
	int sock, err, n;

	n = poll(&pfd, 1, timeout_ms);
	if (n == 0)
		return net_fail(why, -ETIMEDOUT, "nobody connected within %d s", (timeout_ms + 999) / 1000);
	sock = n < 0 ? -1 : accept4(listen_fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC);
	if (sock < 0) {
		err = -errno;
		return net_fail(why, err, "waiting for a connection: %s", strerror_r(-err, text, sizeof(text)));
	}
	err = tcp_set_options(sock);
	if (!err)
		err = format_address(&addr, len, true, peer, TCP_ADDR_BYTES);
	if (err) {
		close(sock);
		return net_fail(why, err, "a connection just accepted: %s", strerror_r(-err, text, sizeof(text)));
	}
	*fd = sock;
	return 0;
}

int tcp_local_address(int fd, char *buf)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		return -errno;
	return format_address(&addr, len, false, buf, WIRE_HOST_BYTES);
}

int tcp_peer_address(int fd, char *buf)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getpeername(fd, (struct sockaddr *)&addr, &len))
		return -errno;
	return format_address(&addr, len, false, buf, WIRE_HOST_BYTES);
}
