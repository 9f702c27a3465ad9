/* SPDX-License-Identifier: Apache-2.0 */
#include "net/auth.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "base/clock.h"

static const char magic[8] = {'P', 'A', 'N', 'G', 'E', 'A', '0', '1'};

/* A1: one a direction and step. */
static const char label_server[16] = "pangea server";
static const char label_client[16] = "pangea client";
static const char label_verdict[16] = "pangea verdict";

/* Magic and version, which open hello and reply in every version. */
static int parse_opening(const uint8_t *bytes, uint16_t *version)
{
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return -EPROTO;
	memcpy(version, bytes + sizeof(magic), sizeof(*version));
	return *version == WIRE_VERSION ? 0 : -EPROTONOSUPPORT;
}

int auth_hello_parse(const uint8_t bytes[AUTH_HELLO_BYTES], struct auth_hello *hello)
{
	struct auth_hello in;
	uint16_t version;
	int err = parse_opening(bytes, &version);

	if (err)
		return err;
	memcpy(&in, bytes, sizeof(in));
	if ((in.purpose != AUTH_JOIN && in.purpose != AUTH_MESH) || in.from >= NODES_MAX || in.lane > WIRE_SHARDS_MAX ||
	    (in.purpose == AUTH_JOIN && in.lane != 0) || in.reserved)
		return -EBADMSG;
	*hello = in;
	return 0;
}

int auth_reply_parse(const uint8_t bytes[AUTH_REPLY_BYTES], struct auth_reply *reply)
{
	struct auth_reply in;
	uint16_t version;
	int err = parse_opening(bytes, &version);

	if (err)
		return err;
	memcpy(&in, bytes, sizeof(in));
	if (in.reserved[0] || in.reserved[1] || in.reserved[2])
		return -EBADMSG;
	*reply = in;
	return 0;
}

int auth_verdict_parse(const uint8_t bytes[AUTH_VERDICT_BYTES], struct auth_verdict *verdict)
{
	struct auth_verdict in;

	memcpy(&in, bytes, sizeof(in));
	if (in.status > AUTH_FAILED || in.reserved)
		return -EBADMSG;
	*verdict = in;
	return 0;
}

/* HMAC-SHA256 over label, hello, the server's nonce and the status (0 but for a verdict). -EIO: GnuTLS failed. */
static int make_mac(const uint8_t key[KEY_BYTES], const char label[16], const struct auth_hello *hello, const uint8_t *nonce,
		    uint32_t status, uint8_t mac[AUTH_MAC_BYTES])
{
	uint8_t text[16 + AUTH_HELLO_BYTES + AUTH_NONCE_BYTES + 4];
	uint8_t *at = text;

	memcpy(at, label, 16);
	memcpy(at += 16, hello, AUTH_HELLO_BYTES);
	memcpy(at += AUTH_HELLO_BYTES, nonce, AUTH_NONCE_BYTES);
	memcpy(at + AUTH_NONCE_BYTES, &status, sizeof(status));
	return gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, KEY_BYTES, text, sizeof(text), mac) ? -EIO : 0;
}

/* 0, or -EKEYREJECTED if it is not the MAC that make_mac makes. */
static int check_mac(const uint8_t key[KEY_BYTES], const char label[16], const struct auth_hello *hello, const uint8_t *nonce,
		     uint32_t status, const uint8_t mac[AUTH_MAC_BYTES])
{
	uint8_t right[AUTH_MAC_BYTES];
	int err = make_mac(key, label, hello, nonce, status, right);

	if (!err && gnutls_memcmp(right, mac, sizeof(right)) != 0) /* A3 */
		err = -EKEYREJECTED;
	explicit_bzero(right, sizeof(right));
	return err;
}

static int wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int n;

	do {
		int ms = clock_ms_left(deadline);

		if (ms == 0)
			return -ETIMEDOUT;
		n = poll(&pfd, 1, ms);
	} while (n == 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

/* A5: a frame whole, by the deadline. -ECONNRESET also for the end of the stream. */
static int read_frame(int fd, void *frame, size_t len, uint64_t deadline)
{
	for (size_t done = 0; done < len;) {
		int err = wait_for(fd, POLLIN, deadline);
		ssize_t n;

		if (err)
			return err;
		n = recv(fd, (uint8_t *)frame + done, len - done, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

static int write_frame(int fd, const void *frame, size_t len, uint64_t deadline)
{
	for (size_t done = 0; done < len;) {
		int err = wait_for(fd, POLLOUT, deadline);
		ssize_t n;

		if (err)
			return err;
		n = send(fd, (const uint8_t *)frame + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return errno == EPIPE ? -ECONNRESET : -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

/* The sentence for what can go wrong on the socket, at whatever step. */
static int fail_io(int err, const char *peer, const char *step, int timeout_ms, struct net_why *why)
{
	switch (err) {
	case -ETIMEDOUT:
		return net_fail(why, err,
				"%s accepted the connection but sent no %s within %d s: it hangs, or is not a pangea node", peer,
				step, (timeout_ms + 999) / 1000);
	case -ECONNRESET:
		return net_fail(why, err, "%s hung up before its %s: its log says why", peer, step);
	default:
		return net_fail(why, err, "the handshake with %s failed at its %s: %s", peer, step, strerrordesc_np(-err));
	}
}

static int fail_version(const uint8_t *bytes, const char *peer, struct net_why *why)
{
	uint16_t version;

	memcpy(&version, bytes + sizeof(magic), sizeof(version));
	return net_fail(why, -EPROTONOSUPPORT, "%s runs pangea protocol %u, this is %d: install the same version on both hosts",
			peer, version, WIRE_VERSION);
}

static int fail_key(const char *peer, struct net_why *why)
{
	return net_fail(why, -EKEYREJECTED,
			"%s holds another cluster key than this host: copy the key file of one to the other (`pangea keygen "
			"--help` says where it is)",
			peer);
}

static int fail_here(int err, const char *peer, struct net_why *why)
{
	return net_fail(why, err, "the handshake with %s failed on this host: GnuTLS cannot make random bytes or HMAC-SHA256",
			peer);
}

static int fail_status(uint32_t status, const char *peer, struct net_why *why)
{
	switch (status) {
	case AUTH_BUSY:
		return net_fail(why, -EBUSY, "%s is already a node of another machine: wait until that has ended, or stop it",
				peer);
	case AUTH_NO_SESSION:
		return net_fail(
			why, -ESRCH,
			"%s does not know this session: it has stopped or restarted in the meantime; start the machine again",
			peer);
	default:
		return net_fail(why, -ECONNABORTED, "%s cannot be a node now: its log says why", peer);
	}
}

static int make_hello(const struct auth_request *request, struct auth_hello *hello)
{
	memset(hello, 0, sizeof(*hello));
	memcpy(hello->magic, magic, sizeof(magic));
	hello->version = WIRE_VERSION;
	hello->purpose = (uint16_t)request->purpose;
	hello->from = request->from;
	hello->lane = request->lane;
	memcpy(hello->session, request->session, sizeof(hello->session));
	return gnutls_rnd(GNUTLS_RND_NONCE, hello->nonce, sizeof(hello->nonce)) < 0 ? -EIO : 0; /* A2 */
}

/* The client's first half: hello out, the server's proof in. */
static int challenge_server(int fd, const uint8_t key[KEY_BYTES], const struct auth_hello *hello, const char *peer,
			    uint64_t deadline, int timeout_ms, struct auth_reply *reply, struct net_why *why)
{
	uint8_t bytes[AUTH_REPLY_BYTES];
	int err = write_frame(fd, hello, sizeof(*hello), deadline);

	if (!err)
		err = read_frame(fd, bytes, sizeof(bytes), deadline);
	if (err)
		return fail_io(err, peer, "reply", timeout_ms, why);
	err = auth_reply_parse(bytes, reply);
	if (err == -EPROTONOSUPPORT)
		return fail_version(bytes, peer, why);
	if (err)
		return net_fail(why, -EPROTO, "%s is not a pangea node: it answered with other bytes; check the port", peer);
	err = check_mac(key, label_server, hello, reply->nonce, 0, reply->mac);
	if (err == -EKEYREJECTED)
		return fail_key(peer, why);
	return err ? fail_here(err, peer, why) : 0;
}

int auth_client(int fd, const uint8_t key[KEY_BYTES], const struct auth_request *request, const char *peer, int timeout_ms,
		struct net_why *why)
{
	uint64_t deadline = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	uint8_t proof[AUTH_MAC_BYTES], bytes[AUTH_VERDICT_BYTES];
	struct auth_verdict verdict;
	struct auth_hello hello;
	struct auth_reply reply;
	int err;

	err = make_hello(request, &hello);
	if (err)
		return fail_here(err, peer, why);
	err = challenge_server(fd, key, &hello, peer, deadline, timeout_ms, &reply, why);
	if (err)
		return err;
	err = make_mac(key, label_client, &hello, reply.nonce, 0, proof);
	if (err)
		return fail_here(err, peer, why);
	err = write_frame(fd, proof, sizeof(proof), deadline);
	if (!err)
		err = read_frame(fd, bytes, sizeof(bytes), deadline);
	if (err)
		return fail_io(err, peer, "verdict", timeout_ms, why);
	if (auth_verdict_parse(bytes, &verdict))
		return net_fail(why, -EPROTO, "%s sent a verdict that does not decode: install the same version on both hosts",
				peer);
	err = check_mac(key, label_verdict, &hello, reply.nonce, verdict.status, verdict.mac);
	if (err == -EKEYREJECTED)
		return net_fail(why, err, "the verdict of %s was altered on its way: look for who is in between", peer);
	if (err)
		return fail_here(err, peer, why);
	return verdict.status == AUTH_OK ? 0 : fail_status(verdict.status, peer, why);
}

/* Tells a client of another version which one this is, and nothing else (A4). */
static void reply_version(int fd, uint64_t deadline)
{
	struct auth_reply reply = {.version = WIRE_VERSION};

	memcpy(reply.magic, magic, sizeof(magic));
	int err = write_frame(fd, &reply, sizeof(reply), deadline);
	(void)err; /* a courtesy: the connection ends either way */
}

static int read_hello(int fd, const char *peer, uint64_t deadline, int timeout_ms, struct auth_hello *hello, struct net_why *why)
{
	uint8_t bytes[AUTH_HELLO_BYTES];
	int err = read_frame(fd, bytes, sizeof(bytes), deadline);

	if (err)
		return fail_io(err, peer, "hello", timeout_ms, why);
	err = auth_hello_parse(bytes, hello);
	if (err == -EPROTONOSUPPORT) {
		reply_version(fd, deadline);
		return fail_version(bytes, peer, why);
	}
	if (err)
		return net_fail(why, -EPROTO, "%s sent something other than a pangea hello: it is not a pangea node", peer);
	return 0;
}

int auth_server(int fd, const uint8_t key[KEY_BYTES], const char *peer, int timeout_ms, struct auth_client *client,
		struct net_why *why)
{
	uint64_t deadline = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	uint8_t proof[AUTH_MAC_BYTES];
	struct auth_reply reply = {.version = WIRE_VERSION};
	struct auth_hello hello;
	int err;

	err = read_hello(fd, peer, deadline, timeout_ms, &hello, why);
	if (err)
		return err;
	memcpy(reply.magic, magic, sizeof(magic));
	if (gnutls_rnd(GNUTLS_RND_NONCE, reply.nonce, sizeof(reply.nonce)) < 0) /* A2 */
		return fail_here(-EIO, peer, why);
	err = make_mac(key, label_server, &hello, reply.nonce, 0, reply.mac);
	if (err)
		return fail_here(err, peer, why);
	err = write_frame(fd, &reply, sizeof(reply), deadline);
	if (!err)
		err = read_frame(fd, proof, sizeof(proof), deadline);
	if (err == -ECONNRESET)
		return net_fail(why, err, "%s hung up before it proved that it holds the cluster's key: it probably holds another",
				peer);
	if (err)
		return fail_io(err, peer, "proof", timeout_ms, why);
	err = check_mac(key, label_client, &hello, reply.nonce, 0, proof);
	if (err == -EKEYREJECTED)
		return fail_key(peer, why);
	if (err)
		return fail_here(err, peer, why);
	client->request = (struct auth_request){.purpose = hello.purpose, .from = hello.from, .lane = hello.lane};
	memcpy(client->request.session, hello.session, sizeof(hello.session));
	client->hello = hello;
	memcpy(client->nonce, reply.nonce, sizeof(reply.nonce));
	return 0;
}

int auth_verdict(int fd, const uint8_t key[KEY_BYTES], const struct auth_client *client, enum auth_status status)
{
	struct auth_verdict verdict = {.status = status};
	int err = make_mac(key, label_verdict, &client->hello, client->nonce, status, verdict.mac);

	if (err)
		return err;
	return write_frame(fd, &verdict, sizeof(verdict), clock_ns() + (uint64_t)AUTH_TIMEOUT_MS * NS_PER_MS);
}
