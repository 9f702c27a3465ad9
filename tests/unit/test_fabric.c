/* SPDX-License-Identifier: Apache-2.0 */
/* How a pair of nodes agrees on a transport, over real sockets; with every kind of peer that does not play. Devices are for
 * tests/cluster/suite-rdma.sh: here a node may have one or not, and what is tested does not depend on it. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tcp.h"
#include "tests/unit/check_main.h"
#include "vmm/fabric.h"
#include "vmm/vm.h"

#define SOON_NS (10 * NS_PER_SEC)

static void make_sockets(int fd[2])
{
	char peer[TCP_ADDR_BYTES];
	uint16_t port;
	int listener;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listener, &port, NULL), 0);
	ck_assert_int_eq(tcp_connect("127.0.0.1", port, 5000, &fd[0], NULL), 0);
	ck_assert_int_eq(tcp_accept(listener, 5000, &fd[1], peer, NULL), 0);
	close(listener);
}

/* A node of two with `lanes` lanes, in a thread of its own. */
struct node {
	struct wire_machine machine;
	struct mesh mesh;
	enum transport wanted;
	uint64_t within_ns;
	int rc;
	struct fabric fabric;
	struct net_lane **lane;
	struct net_why why;
	pthread_t thread;
};

static void *join(void *arg)
{
	struct node *n = arg;

	n->rc = fabric_lanes(&n->mesh, &n->machine, n->wanted, clock_ns() + n->within_ns, &n->fabric, &n->lane, &n->why);
	return NULL;
}

static struct node *node(node_t self, enum transport wanted)
{
	struct node *n = calloc(1, sizeof(*n));

	ck_assert_ptr_nonnull(n);
	n->machine.self = self;
	n->machine.n_nodes = 2;
	n->machine.shards = 1;
	n->wanted = wanted;
	n->within_ns = SOON_NS;
	mesh_init(&n->mesh, 2);
	return n;
}

static void begin(struct node *n)
{
	ck_assert_int_eq(pthread_create(&n->thread, NULL, join, n), 0);
}

static void end(struct node *n)
{
	pthread_join(n->thread, NULL);
}

static void discard(struct node *n)
{
	for (unsigned l = 0; !n->rc && l < 2; l++)
		net_free(n->lane[l]);
	if (!n->rc)
		free(n->lane);
	mesh_close(&n->mesh);
	free(n);
}

static void both(enum transport wanted, struct node **a, struct node **b)
{
	*a = node(0, wanted);
	*b = node(1, wanted);
	for (unsigned l = 0; l < 2; l++) {
		int fd[2];

		make_sockets(fd);
		(*a)->mesh.fd[l][1] = fd[0];
		(*b)->mesh.fd[l][0] = fd[1];
	}
	begin(*a);
	begin(*b);
	end(*a);
	end(*b);
}

START_TEST(both_ends_come_to_the_same)
{
	char text[FABRIC_TEXT_BYTES];
	struct node *a, *b;

	both(TRANSPORT_AUTO, &a, &b);
	ck_assert_int_eq(a->rc, 0);
	ck_assert_int_eq(b->rc, 0);
	ck_assert_uint_eq(a->fabric.by_rdma, b->fabric.by_rdma);
	ck_assert_uint_eq(a->fabric.by_rdma + a->fabric.by_tcp, 1);
	ck_assert_str_eq(a->lane[0]->ops->name, b->lane[0]->ops->name);
	ck_assert_str_eq(a->lane[1]->ops->name, a->fabric.by_rdma ? "rdma" : "tcp");
	fabric_text(&a->fabric, text);
	ck_assert_msg(strstr(text, a->fabric.by_rdma ? "joined by RDMA" : "joined by TCP, not RDMA: node 1: "), "%s", text);
	discard(a);
	discard(b);
}
END_TEST

START_TEST(tcp_is_not_discussed)
{
	char text[FABRIC_TEXT_BYTES];
	struct node *a, *b;

	both(TRANSPORT_TCP, &a, &b);
	ck_assert_int_eq(a->rc, 0);
	ck_assert_str_eq(a->lane[0]->ops->name, "tcp");
	ck_assert_msg(strstr(fabric_text(&a->fabric, text), "--transport tcp"), "%s", text);
	discard(a);
	discard(b);
}
END_TEST

/* Node 0 or 1 against a peer that this test plays: its control socket is *fd. */
static struct node *against(node_t self, enum transport wanted, int *fd)
{
	struct node *n = node(self, wanted);

	for (unsigned l = 0; l < 2; l++) {
		int pair[2];

		make_sockets(pair);
		n->mesh.fd[l][!self] = pair[0];
		if (l == 0)
			*fd = pair[1];
	}
	return n;
}

static void offer_nothing(int fd)
{
	struct wire_rdma none;

	wire_rdma_make("the device is on fire", &none);
	ck_assert_int_eq(mesh_send(fd, WIRE_RDMA_OFFER, &none, sizeof(none), NULL), 0);
}

START_TEST(a_peer_without_a_device_is_joined_by_tcp)
{
	for (node_t self = 0; self < 2; self++) {
		int fd;
		struct node *n = against(self, TRANSPORT_AUTO, &fd);

		begin(n);
		offer_nothing(fd);
		end(n);
		ck_assert_int_eq(n->rc, 0);
		ck_assert_uint_eq(n->fabric.by_tcp, 1);
		ck_assert_str_eq(n->lane[1]->ops->name, "tcp");
		close(fd);
		discard(n);
	}
}
END_TEST

START_TEST(rdma_only_and_a_peer_without_a_device_is_refused)
{
	for (node_t self = 0; self < 2; self++) {
		int fd;
		struct node *n = against(self, TRANSPORT_RDMA, &fd);

		begin(n);
		offer_nothing(fd);
		end(n);
		ck_assert_int_eq(n->rc, -EHOSTUNREACH);
		ck_assert_msg(strstr(n->why.text, "no RDMA between node"), "%s", n->why.text);
		close(fd);
		discard(n);
	}
}
END_TEST

/* Whatever the peer does instead of an offer: an error that names it, and the sockets are still to be closed by the caller. */
static void spoilt(node_t self, void (*spoil)(int fd), uint64_t within_ns, const char *text)
{
	int fd;
	struct node *n = against(self, TRANSPORT_AUTO, &fd);

	n->within_ns = within_ns;
	begin(n);
	spoil(fd);
	end(n);
	ck_assert_int_lt(n->rc, 0);
	ck_assert_msg(strstr(n->why.text, text), "'%s' lacks '%s'", n->why.text, text);
	ck_assert_int_ge(n->mesh.fd[0][!self], 0);
	close(fd);
	discard(n);
}

static void nothing(int fd)
{
	(void)fd;
}
static void hang_up(int fd)
{
	shutdown(fd, SHUT_RDWR);
}
static void another_message(int fd)
{
	ck_assert_int_eq(mesh_send(fd, WIRE_MESH_READY, NULL, 0, NULL), 0);
}
static void wrong_length(int fd)
{
	uint8_t bytes[WIRE_HDR_BYTES];
	struct wire_hdr hdr = {.type = WIRE_RDMA_OFFER, .len = 12};

	wire_hdr_encode(&hdr, bytes);
	ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
}
static void nonsense(int fd)
{
	struct wire_rdma bad;

	wire_rdma_make(NULL, &bad);
	bad.addrs = 99;
	ck_assert_int_eq(mesh_send(fd, WIRE_RDMA_OFFER, &bad, sizeof(bad), NULL), 0);
}
static void decline(int fd)
{
	struct wire_stop stop;

	wire_stop_make(WIRE_STOP_ERROR, 1, "this host is being shut down", &stop);
	ck_assert_int_eq(mesh_send(fd, WIRE_STOP, &stop, sizeof(stop), NULL), 0);
}

START_TEST(a_peer_that_does_not_play_is_an_error)
{
	for (node_t self = 0; self < 2; self++) {
		spoilt(self, nothing, 300 * NS_PER_MS, "did not answer in time");
		spoilt(self, hang_up, SOON_NS, self ? "node 0: " : "node 1: ");
		spoilt(self, another_message, SOON_NS, "it sent MESH_READY where RDMA_OFFER was due");
		spoilt(self, wrong_length, SOON_NS, "a length that its type cannot have");
		spoilt(self, nonsense, SOON_NS, "a field out of its range");
		spoilt(self, decline, SOON_NS, "this host is being shut down");
	}
}
END_TEST

/* Where it is not there, TCP goes through epoll, and the line says why. */
START_TEST(io_uring_is_used_if_it_is_there)
{
	char text[FABRIC_TEXT_BYTES];
	struct node *a, *b;
	struct net_why why;
	bool here = !tcp_uring_probe(&why);

	both(TRANSPORT_TCP_URING, &a, &b);
	ck_assert_int_eq(a->rc, 0);
	ck_assert_str_eq(a->lane[0]->ops->name, "tcp"); /* many threads send on it */
	ck_assert_str_eq(a->lane[1]->ops->name, here ? "tcp-uring" : "tcp");
	ck_assert_msg(strstr(fabric_text(&a->fabric, text), here ? "io_uring" : why.text), "%s", text);
	discard(a);
	discard(b);
}
END_TEST

START_TEST(the_choice_travels_in_the_options)
{
	for (int t = TRANSPORT_AUTO; t <= TRANSPORT_TCP_URING; t++)
		ck_assert_int_eq(fabric_wanted(fabric_options((enum transport)t) | VM_OPTION_TRIPLE_FAULT_REBOOTS), t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fabric");
	TCase *tc = tcase_create("fabric");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, both_ends_come_to_the_same);
	tcase_add_test(tc, tcp_is_not_discussed);
	tcase_add_test(tc, io_uring_is_used_if_it_is_there);
	tcase_add_test(tc, a_peer_without_a_device_is_joined_by_tcp);
	tcase_add_test(tc, rdma_only_and_a_peer_without_a_device_is_refused);
	tcase_add_test(tc, a_peer_that_does_not_play_is_an_error);
	tcase_add_test(tc, the_choice_travels_in_the_options);
	suite_add_tcase(s, tc);
	return check_main(s);
}
