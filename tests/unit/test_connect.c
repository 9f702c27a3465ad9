/* SPDX-License-Identifier: Apache-2.0 */
/* The helpers that make sockets for lanes: addresses, listening, connecting, and what is said where one of them fails. */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tcp.h"
#include "tests/unit/check_main.h"

START_TEST(addresses_parse)
{
	char host[WIRE_HOST_BYTES];
	uint16_t port;

	ck_assert_int_eq(tcp_parse_address("host2:7700", host, &port), 0);
	ck_assert_str_eq(host, "host2");
	ck_assert_uint_eq(port, 7700);
	ck_assert_int_eq(tcp_parse_address("[::1]:65535", host, &port), 0);
	ck_assert_str_eq(host, "::1");
	ck_assert_uint_eq(port, 65535);
}
END_TEST

START_TEST(addresses_that_are_none_are_refused)
{
	static const char *const bad[] = {"",           "host",
					  ":7700",      "host:",
					  "host:65536", "host:-1",
					  "host:x",     "::1:5",
					  "[::1]",      "[]:1",
					  "[::1:1",     "[:1",
					  "a:b:1",      "a23456789012345678901234567890123456789012345678901234567890abcdefgh:1"};
	char host[WIRE_HOST_BYTES];
	uint16_t port;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(tcp_parse_address(bad[i], host, &port) == -EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(a_port_in_use_is_named)
{
	char again[32];
	struct net_why why;
	uint16_t port, other;
	int fd, second;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &fd, &port, &why), 0);
	snprintf(again, sizeof(again), "127.0.0.1:%u", port);
	ck_assert_int_eq(tcp_listen(again, &second, &other, &why), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why.text, again + 10));
	ck_assert_ptr_nonnull(strstr(why.text, "is in use by another program"));
	close(fd);
}
END_TEST

START_TEST(an_address_of_another_host_cannot_be_listened_on)
{
	struct net_why why;
	uint16_t port;
	int fd;

	ck_assert_int_eq(tcp_listen("192.0.2.1:0", &fd, &port, &why), -EADDRNOTAVAIL); /* TEST-NET-1, RFC 5737 */
	ck_assert_ptr_nonnull(strstr(why.text, "is not an address of this host"));
	ck_assert_int_eq(tcp_listen("7700", &fd, &port, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "is not ADDRESS:PORT"));
}
END_TEST

START_TEST(a_wrong_port_is_told_from_a_host_that_is_down)
{
	struct net_why why;
	uint16_t port;
	int fd, closed;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &closed, &port, &why), 0);
	close(closed);
	ck_assert_int_eq(tcp_connect("127.0.0.1", port, 1000, &fd, &why), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(why.text, "nothing listens on its port"));
}
END_TEST

START_TEST(a_host_that_does_not_answer_is_given_up_in_time)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	struct net_why why;
	int filler[8], fd, err = 0, listener = socket(AF_INET, SOCK_STREAM, 0);

	/* A listener whose queue is full drops what comes: silence without leaving this host. */
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	uint64_t start = clock_ns();
	size_t n = 0;
	while (!err && n < ARRAY_SIZE(filler)) {
		err = tcp_connect("127.0.0.1", ntohs(addr.sin_port), 300, &fd, &why);
		if (!err)
			filler[n++] = fd;
	}
	ck_assert_int_eq(err, -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(why.text, "does not answer within 1 s"));
	ck_assert_uint_lt(clock_ns() - start, 3 * NS_PER_SEC);
	while (n)
		close(filler[--n]);
	close(listener);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_named)
{
	struct net_why why;
	int fd;

	ck_assert_int_eq(tcp_connect("no-such-host.invalid", 7700, 1000, &fd, &why), -ENOENT); /* RFC 6761 */
	ck_assert_ptr_nonnull(strstr(why.text, "no-such-host.invalid cannot be looked up"));
}
END_TEST

START_TEST(accept_gives_up_in_time)
{
	char peer[TCP_ADDR_BYTES];
	struct net_why why;
	uint16_t port;
	int listener, fd;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listener, &port, &why), 0);
	ck_assert_int_eq(tcp_accept(listener, 50, &fd, peer, &why), -ETIMEDOUT);
	close(listener);
}
END_TEST

START_TEST(addresses_of_both_ends_are_numeric_without_port)
{
	char buf[WIRE_HOST_BYTES], peer[TCP_ADDR_BYTES];
	int fd[2], listener;
	struct net_why why;
	uint16_t port;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listener, &port, &why), 0);
	ck_assert_int_eq(tcp_connect("127.0.0.1", port, 2000, &fd[0], &why), 0);
	ck_assert_int_eq(tcp_accept(listener, 2000, &fd[1], peer, &why), 0);
	ck_assert_int_eq(strncmp(peer, "127.0.0.1:", 10), 0);
	close(listener);
	ck_assert_int_eq(tcp_local_address(fd[0], buf), 0);
	ck_assert_str_eq(buf, "127.0.0.1");
	ck_assert_int_eq(tcp_peer_address(fd[1], buf), 0);
	ck_assert_str_eq(buf, "127.0.0.1");
	close(fd[0]);
	ck_assert_int_eq(tcp_local_address(fd[0], buf), -EBADF);
	close(fd[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("connect");
	TCase *tc = tcase_create("connect");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, addresses_parse);
	tcase_add_test(tc, addresses_that_are_none_are_refused);
	tcase_add_test(tc, a_port_in_use_is_named);
	tcase_add_test(tc, an_address_of_another_host_cannot_be_listened_on);
	tcase_add_test(tc, a_wrong_port_is_told_from_a_host_that_is_down);
	tcase_add_test(tc, a_host_that_does_not_answer_is_given_up_in_time);
	tcase_add_test(tc, a_name_that_does_not_exist_is_named);
	tcase_add_test(tc, accept_gives_up_in_time);
	tcase_add_test(tc, addresses_of_both_ends_are_numeric_without_port);
	suite_add_tcase(s, tc);
	return check_main(s);
}
