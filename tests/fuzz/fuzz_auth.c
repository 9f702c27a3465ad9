/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a frame of the handshake, as a key file, as an address; and any bytes as the whole stream of a peer who
 * has not the key: neither side may ever be satisfied by it. The first byte chooses.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "net/auth.h"
#include "net/tcp.h"

#define REQUIRE(x)               \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

static void frames(struct fuzz_input *in)
{
	uint8_t bytes[AUTH_REPLY_BYTES];
	struct auth_hello hello;
	struct auth_reply reply;
	struct auth_verdict verdict;

	fuzz_take(in, bytes, sizeof(bytes));
	if (auth_hello_parse(bytes, &hello) == 0)
		REQUIRE(hello.from < NODES_MAX && hello.lane <= WIRE_SHARDS_MAX && memcmp(&hello, bytes, sizeof(hello)) == 0);
	if (auth_reply_parse(bytes, &reply) == 0)
		REQUIRE(reply.version == WIRE_VERSION && memcmp(&reply, bytes, sizeof(reply)) == 0);
	if (auth_verdict_parse(bytes, &verdict) == 0)
		REQUIRE(verdict.status <= AUTH_FAILED);
}

/* The peer has sent everything it will and listens no more. */
static void stream(struct fuzz_input *in, bool as_server)
{
	static const uint8_t key[KEY_BYTES] = {0x5a, 1, 2, 3};
	struct auth_request request = {.purpose = AUTH_JOIN};
	struct auth_client client;
	struct net_why why;
	int fd[2];

	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
	if (in->left && send(fd[1], in->data, in->left < 4096 ? in->left : 4096, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		abort();
	shutdown(fd[1], SHUT_WR);
	why.text[0] = 0;
	if (as_server)
		REQUIRE(auth_server(fd[0], key, "peer", 1000, &client, &why) < 0);
	else
		REQUIRE(auth_client(fd[0], key, &request, "peer", 1000, &why) < 0);
	REQUIRE(why.text[0]);
	close(fd[0]);
	close(fd[1]);
}

static void key_text(struct fuzz_input *in)
{
	uint8_t key[KEY_BYTES];

	if (key_parse((const char *)in->data, in->left, key) == 0)
		REQUIRE(in->left == 64 || in->left == 65);
}

static void address(struct fuzz_input *in)
{
	char copy[256], host[WIRE_HOST_BYTES];
	uint16_t port;

	fuzz_take(in, copy, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = 0;
	if (tcp_parse_address(copy, host, &port) == 0)
		REQUIRE(host[0] && memchr(host, 0, sizeof(host)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	switch (fuzz_u8(&in) % 5) {
	case 0:
		frames(&in);
		break;
	case 1:
		stream(&in, true);
		break;
	case 2:
		stream(&in, false);
		break;
	case 3:
		key_text(&in);
		break;
	case 4:
		address(&in);
		break;
	}
	return 0;
}
