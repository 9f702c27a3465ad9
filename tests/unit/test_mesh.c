/* SPDX-License-Identifier: Apache-2.0 */
/* Messages before there are lanes, with every kind of peer that does not send them; and the mesh of three nodes, each a thread. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/auth.h"
#include "net/tcp.h"
#include "tests/unit/check_main.h"
#include "vmm/mesh.h"

#define SHORT_NS (50 * NS_PER_MS)
#define LONG_NS  (10 * NS_PER_SEC)

static const uint8_t key[KEY_BYTES] = "the key of the cluster, 32 bytes";

/* ---- messages: ours is fd[0], the peer's fd[1] ---- */

static int fd[2];
static uint8_t buf[WIRE_PAYLOAD_MAX];
static size_t len;
static struct net_why why;

static void pair(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	len = 4711;
	*why.text = 0;
}

static void unpair(void)
{
	close(fd[0]);
	if (fd[1] >= 0)
		close(fd[1]);
}

static void hang_up(void)
{
	close(fd[1]);
	fd[1] = -1;
}

static int receive(uint8_t type, uint64_t within_ns)
{
	return mesh_recv(fd[0], type, clock_ns() + within_ns, buf, &len, &why);
}

/* Refused with this error and a sentence that says `text`; *len is untouched. */
static void refused(uint8_t type, int err, const char *text)
{
	ck_assert_int_eq(receive(type, SHORT_NS), err);
	ck_assert_msg(strstr(why.text, text), "'%s' lacks '%s'", why.text, text);
	ck_assert_uint_eq(len, 4711);
}

static void peer_sends(const void *bytes, size_t n)
{
	ck_assert_int_eq(write(fd[1], bytes, n), (ssize_t)n);
}

static void peer_sends_header(uint8_t type, uint32_t bytes)
{
	struct wire_hdr hdr = {.type = type, .len = bytes};
	uint8_t raw[WIRE_HDR_BYTES];

	wire_hdr_encode(&hdr, raw);
	peer_sends(raw, sizeof(raw));
}

START_TEST(message_arrives_with_its_payload)
{
	struct wire_clock_reply sent = {.sent = UINT64_MAX, .at = 3000000, .ppb = 5}, got;

	ck_assert_int_eq(mesh_send(fd[1], WIRE_CLOCK_REPLY, &sent, sizeof(sent), &why), 0);
	ck_assert_int_eq(receive(WIRE_CLOCK_REPLY, LONG_NS), 0);
	ck_assert_int_eq(wire_clock_reply_decode(buf, len, &got), 0);
	ck_assert_mem_eq(&got, &sent, sizeof(got));
}
END_TEST

START_TEST(message_without_a_payload_arrives)
{
	ck_assert_int_eq(mesh_send(fd[1], WIRE_MESH_READY, NULL, 0, &why), 0);
	ck_assert_int_eq(receive(WIRE_MESH_READY, LONG_NS), 0);
	ck_assert_uint_eq(len, 0);
}
END_TEST

static void *drip(void *arg)
{
	const uint8_t *bytes = arg;

	for (size_t i = 0; i < WIRE_HDR_BYTES + sizeof(struct wire_clock_reply); i++) {
		peer_sends(bytes + i, 1);
		usleep(1000);
	}
	return NULL;
}

START_TEST(message_in_pieces_is_put_together)
{
	uint8_t raw[WIRE_HDR_BYTES + sizeof(struct wire_clock_reply)] = {0};
	struct wire_hdr hdr = {.type = WIRE_CLOCK_REPLY, .len = sizeof(struct wire_clock_reply)};
	pthread_t thread;

	wire_hdr_encode(&hdr, raw);
	ck_assert_int_eq(pthread_create(&thread, NULL, drip, raw), 0);
	ck_assert_int_eq(receive(WIRE_CLOCK_REPLY, LONG_NS), 0);
	ck_assert_uint_eq(len, sizeof(struct wire_clock_reply));
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(garbage_is_refused)
{
	peer_sends("GET / HTTP/1.1\r\nHost: node2\r\n\r\n", 30);
	refused(WIRE_FACTS, -ENOMSG, "it sent a message of unknown type");
}
END_TEST

START_TEST(message_that_is_too_long_is_refused_before_it_is_read)
{
	peer_sends_header(WIRE_STATS, WIRE_PAYLOAD_MAX + 8);
	refused(WIRE_STATS, -EMSGSIZE, "a length that its type cannot have");
}
END_TEST

START_TEST(message_of_another_kind_of_lane_is_refused)
{
	peer_sends_header(WIRE_REQ_READ, 0);
	refused(WIRE_FACTS, -EPROTOTYPE, "does not belong");
}
END_TEST

START_TEST(message_out_of_turn_is_refused_with_both_names)
{
	ck_assert_int_eq(mesh_send(fd[1], WIRE_START, NULL, 0, &why), 0);
	refused(WIRE_FACTS, -EPROTO, "it sent START where FACTS was due");
}
END_TEST

START_TEST(stop_instead_of_the_message_says_why)
{
	struct wire_stop stop;

	wire_stop_make(WIRE_STOP_ERROR, 1, "node 1 has no memory left", &stop);
	ck_assert_int_eq(mesh_send(fd[1], WIRE_STOP, &stop, sizeof(stop), &why), 0);
	refused(WIRE_FACTS, -ECANCELED, "node 1 has no memory left");
}
END_TEST

START_TEST(stop_that_does_not_decode_is_a_message_out_of_turn)
{
	struct wire_stop stop;

	wire_stop_make(WIRE_STOP_ERROR, 1, "text", &stop);
	stop.text[1] = '\n'; /* would break the line that is logged */
	ck_assert_int_eq(mesh_send(fd[1], WIRE_STOP, &stop, sizeof(stop), &why), 0);
	refused(WIRE_FACTS, -EPROTO, "it sent STOP where FACTS was due");
}
END_TEST

START_TEST(silent_peer_is_given_up_at_the_deadline)
{
	uint64_t start = clock_ns();

	refused(WIRE_FACTS, -ETIMEDOUT, "--ready-timeout");
	ck_assert_uint_ge(clock_ns() - start, SHORT_NS);
	ck_assert_uint_lt(clock_ns() - start, 5 * NS_PER_SEC);
}
END_TEST

START_TEST(peer_silent_in_the_middle_is_given_up_too)
{
	peer_sends_header(WIRE_CLOCK_REPLY, sizeof(struct wire_clock_reply));
	peer_sends("abc", 3);
	refused(WIRE_CLOCK_REPLY, -ETIMEDOUT, "in the middle of a message");
}
END_TEST

START_TEST(peer_that_hangs_up_is_told_from_a_silent_one)
{
	hang_up();
	refused(WIRE_FACTS, -ECONNRESET, "its own log says why");
}
END_TEST

START_TEST(peer_that_hangs_up_in_the_middle_is_an_error)
{
	peer_sends_header(WIRE_CLOCK_REPLY, sizeof(struct wire_clock_reply));
	hang_up();
	refused(WIRE_CLOCK_REPLY, -ECONNRESET, "in the middle of a message");
}
END_TEST

START_TEST(send_to_a_peer_that_hung_up_is_an_error_and_no_signal)
{
	hang_up();
	ck_assert_int_eq(mesh_send(fd[0], WIRE_START, NULL, 0, &why), -EPIPE);
	ck_assert_ptr_nonnull(strstr(why.text, "the connection ended"));
}
END_TEST

/* ---- the mesh ---- */

#define NODES 3
#define LANES 3

struct node {
	pthread_t thread;
	struct wire_machine machine;
	struct mesh mesh;
	struct net_why why;
	uint64_t deadline;
	int listen_fd, rc;
};

static struct node node[NODES];

static void *build(void *arg)
{
	struct node *n = arg;

	n->rc = mesh_build(&n->mesh, &n->machine, n->listen_fd, key, n->deadline, &n->why);
	return NULL;
}

/* A connected pair over TCP: what joining leaves of node 0's control lane. */
static void joined(int *mine, int *theirs)
{
	char peer[TCP_ADDR_BYTES];
	uint16_t port;
	int listen_fd;

	ck_assert_int_eq(tcp_listen("127.0.0.1:0", &listen_fd, &port, &why), 0);
	ck_assert_int_eq(tcp_connect("127.0.0.1", port, 5000, mine, &why), 0);
	ck_assert_int_eq(tcp_accept(listen_fd, 5000, theirs, peer, &why), 0);
	close(listen_fd);
}

static void nodes_new(uint64_t within_ns)
{
	struct wire_machine m = {.version = WIRE_VERSION, .n_nodes = NODES, .shards = LANES - 1, .session = "session of today"};

	for (node_t i = 0; i < NODES; i++) {
		node[i].listen_fd = -1;
		if (i)
			ck_assert_int_eq(tcp_listen("127.0.0.1:0", &node[i].listen_fd, &m.node[i].port, &why), 0);
		strcpy(m.node[i].host, "127.0.0.1");
		mesh_init(&node[i].mesh, LANES);
	}
	for (node_t i = 0; i < NODES; i++) {
		node[i].machine = m;
		node[i].machine.self = i;
		node[i].deadline = clock_ns() + within_ns;
		if (i)
			joined(&node[0].mesh.fd[0][i], &node[i].mesh.fd[0][0]);
	}
}

static void nodes_free(void)
{
	for (node_t i = 0; i < NODES; i++) {
		mesh_close(&node[i].mesh);
		if (node[i].listen_fd >= 0)
			close(node[i].listen_fd);
	}
}

static void start_all(void)
{
	for (node_t i = 0; i < NODES; i++)
		ck_assert_int_eq(pthread_create(&node[i].thread, NULL, build, &node[i]), 0);
}

static void all_built(void)
{
	for (node_t i = 0; i < NODES; i++)
		pthread_join(node[i].thread, NULL);
	for (node_t i = 0; i < NODES; i++)
		ck_assert_msg(node[i].rc == 0, "node %u: %s", i, node[i].why.text);
}

START_TEST(three_nodes_have_each_lane_to_each_other)
{
	nodes_new(LONG_NS);
	start_all();
	all_built();
	for (unsigned l = 0; l < LANES; l++)
		for (node_t i = 0; i < NODES; i++)
			for (node_t j = 0; j < NODES; j++) {
				uint8_t sent = (uint8_t)(l << 4 | i << 2 | j), got = 0xff;

				if (i == j) {
					ck_assert_int_eq(node[i].mesh.fd[l][j], -1);
					continue;
				}
				ck_assert_int_eq(send(node[i].mesh.fd[l][j], &sent, 1, 0), 1);
				ck_assert_int_eq(recv(node[j].mesh.fd[l][i], &got, 1, 0), 1);
				ck_assert_uint_eq(got, sent);
			}
	nodes_free();
}
END_TEST

struct inbox {
	struct net_sink sink;
	unsigned from_0, lost;
};

static void take(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	(void)payload;
	in->from_0 += from == 0 && hdr->type == WIRE_START;
}

static void take_loss(struct net_sink *sink, node_t peer, int err, const char *text)
{
	struct inbox *in = container_of(sink, struct inbox, sink);

	(void)peer;
	(void)err;
	(void)text;
	in->lost++;
}

START_TEST(lanes_of_the_mesh_carry_messages)
{
	struct wire_hdr hdr = {.type = WIRE_START};
	struct inbox in = {.sink = {take, take_loss}};
	struct net_lane **lanes[NODES];

	nodes_new(LONG_NS);
	start_all();
	all_built();
	for (node_t i = 0; i < NODES; i++) {
		ck_assert_int_eq(mesh_lanes(&node[i].mesh, i, NODES, TCP_EPOLL, &lanes[i]), 0);
		ck_assert_int_eq(node[i].mesh.fd[0][(i + 1) % NODES], -1); /* the lanes' now */
	}
	ck_assert_int_eq(net_send(lanes[0][0], 2, &hdr, NULL), 0);
	for (int tries = 0; tries < 100 && !in.from_0; tries++) {
		struct pollfd p = {.fd = net_fd(lanes[2][0]), .events = POLLIN};

		poll(&p, 1, 100);
		ck_assert_int_ge(net_poll(lanes[2][0], &in.sink), 0);
	}
	ck_assert_uint_eq(in.from_0, 1);
	ck_assert_uint_eq(in.lost, 0);
	for (node_t i = 0; i < NODES; i++) {
		for (unsigned l = 0; l < LANES; l++)
			net_free(lanes[i][l]);
		free(lanes[i]);
	}
	nodes_free();
}
END_TEST

static int connect_to_node(node_t to)
{
	int sock;

	ck_assert_int_eq(tcp_connect("127.0.0.1", node[0].machine.node[to].port, 5000, &sock, &why), 0);
	return sock;
}

START_TEST(strangers_do_not_keep_the_nodes_apart)
{
	int garbage, silent;

	nodes_new(LONG_NS);
	garbage = connect_to_node(2);
	ck_assert_int_eq(send(garbage,
			      "\x16\x03\x01\x02\x00 a TLS hello, which is none of ours, filled up to the size of a hello ....", 72,
			      0),
			 72);
	silent = connect_to_node(1);
	close(silent);
	start_all();
	all_built();
	close(garbage);
	nodes_free();
}
END_TEST

static const struct {
	const char *session;
	node_t from;
	unsigned lane;
} wrong[] = {
	{"another session", 0, 1},
	{"session of today", 2, 1},     /* the node itself */
	{"session of today", 0, LANES}, /* no such lane */
	{"session of today", 0, 0},     /* a lane that is there */
};

START_TEST(connection_that_is_not_of_this_machine_is_turned_away)
{
	struct auth_request request = {.purpose = AUTH_MESH, .from = wrong[_i].from, .lane = wrong[_i].lane};
	int sock;

	nodes_new(LONG_NS);
	memcpy(request.session, wrong[_i].session, strlen(wrong[_i].session));
	ck_assert_int_eq(pthread_create(&node[2].thread, NULL, build, &node[2]), 0);
	sock = connect_to_node(2);
	ck_assert_int_eq(auth_client(sock, key, &request, "node 2", 5000, &why), -ESRCH);
	close(sock);
	for (node_t i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&node[i].thread, NULL, build, &node[i]), 0);
	all_built();
	nodes_free();
}
END_TEST

START_TEST(node_that_nobody_connects_to_gives_up_at_the_deadline)
{
	nodes_new(2 * SHORT_NS);
	ck_assert_int_eq(mesh_build(&node[2].mesh, &node[2].machine, node[2].listen_fd, key, node[2].deadline, &why), -ETIMEDOUT);
	ck_assert_msg(strstr(why.text, "connected"), "'%s'", why.text);
	nodes_free();
}
END_TEST

START_TEST(node_that_does_not_listen_is_named)
{
	nodes_new(LONG_NS);
	close(node[1].listen_fd);
	node[1].listen_fd = -1;
	ck_assert_int_eq(mesh_build(&node[0].mesh, &node[0].machine, -1, key, node[0].deadline, &why), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(why.text, "127.0.0.1"));
	nodes_free();
}
END_TEST

START_TEST(node_with_another_key_is_refused)
{
	static const uint8_t other[KEY_BYTES] = "the key of another cluster";

	nodes_new(20 * SHORT_NS);
	ck_assert_int_eq(pthread_create(&node[2].thread, NULL, build, &node[2]), 0);
	ck_assert_int_eq(mesh_build(&node[1].mesh, &node[1].machine, -1, other, node[1].deadline, &why), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(why.text, "another cluster key"));
	pthread_join(node[2].thread, NULL); /* takes it for a stranger, and waits on for node 1 */
	ck_assert_int_eq(node[2].rc, -ETIMEDOUT);
	nodes_free();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mesh");
	TCase *messages = tcase_create("messages");
	TCase *mesh = tcase_create("mesh");

	suite_add_tcase(s, messages);
	tcase_add_checked_fixture(messages, pair, unpair);
	tcase_set_timeout(messages, 30);
	tcase_add_test(messages, message_arrives_with_its_payload);
	tcase_add_test(messages, message_without_a_payload_arrives);
	tcase_add_test(messages, message_in_pieces_is_put_together);
	tcase_add_test(messages, garbage_is_refused);
	tcase_add_test(messages, message_that_is_too_long_is_refused_before_it_is_read);
	tcase_add_test(messages, message_of_another_kind_of_lane_is_refused);
	tcase_add_test(messages, message_out_of_turn_is_refused_with_both_names);
	tcase_add_test(messages, stop_instead_of_the_message_says_why);
	tcase_add_test(messages, stop_that_does_not_decode_is_a_message_out_of_turn);
	tcase_add_test(messages, silent_peer_is_given_up_at_the_deadline);
	tcase_add_test(messages, peer_silent_in_the_middle_is_given_up_too);
	tcase_add_test(messages, peer_that_hangs_up_is_told_from_a_silent_one);
	tcase_add_test(messages, peer_that_hangs_up_in_the_middle_is_an_error);
	tcase_add_test(messages, send_to_a_peer_that_hung_up_is_an_error_and_no_signal);

	suite_add_tcase(s, mesh);
	tcase_set_timeout(mesh, 60);
	tcase_add_test(mesh, three_nodes_have_each_lane_to_each_other);
	tcase_add_test(mesh, lanes_of_the_mesh_carry_messages);
	tcase_add_test(mesh, strangers_do_not_keep_the_nodes_apart);
	tcase_add_loop_test(mesh, connection_that_is_not_of_this_machine_is_turned_away, 0, ARRAY_SIZE(wrong));
	tcase_add_test(mesh, node_that_nobody_connects_to_gives_up_at_the_deadline);
	tcase_add_test(mesh, node_that_does_not_listen_is_named);
	tcase_add_test(mesh, node_with_another_key_is_refused);
	return check_main(s);
}
