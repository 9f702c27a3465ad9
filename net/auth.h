/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake of every new connection between nodes: both ends prove, by challenge and response, that they hold the
 * cluster's key, before either takes a message of wire.h from the other.
 *
 *   client (connects)                                     server (listens)
 *     hello: magic, version, purpose, nonce  ----------->   magic, version
 *     its MAC?  <-----------  reply: magic, version, nonce, HMAC("server", hello, nonce)
 *     proof: HMAC("client", hello, nonce)    ----------->   its MAC? only then is the hello believed
 *     its MAC?  <-----------  verdict: status, HMAC("verdict", hello, nonce, status)
 *
 * HMAC is HMAC-SHA256 with the key over a label of 16 bytes and the frames as sent. Labels differ, so no proof can be
 * sent back to its maker (A1); both nonces are fresh, so none can be replayed (A2); MACs are compared in constant time
 * (A3). A peer that cannot prove itself learns the magic, the version and that this end has some key: no more (A4).
 * A frame is of fixed size and read whole or not at all, and the whole handshake has one deadline (A5).
 *
 * What this is not: encryption, or integrity of what follows. Who can alter packets between the hosts can take over a
 * connection after the handshake; until there is TLS, that network has to be trusted.
 *
 * The first 12 bytes of hello and reply (magic, version) and the sizes of both never change, so that two versions can
 * tell each other apart. Functions are blocking, have no state and may run in any thread; a listener runs the server
 * side in a thread of its own a connection, or a silent peer would hold up the others for AUTH_TIMEOUT_MS. Failures are
 * 0/-errno and a sentence (net.h) naming `peer`, which is what the caller calls it, such as "host2:7700".
 */
#ifndef NET_AUTH_H
#define NET_AUTH_H

#include "net/key.h"
#include "net/net.h"

#define AUTH_TIMEOUT_MS    5000
#define AUTH_NONCE_BYTES   32
#define AUTH_MAC_BYTES     32
#define AUTH_HELLO_BYTES   72
#define AUTH_REPLY_BYTES   80
#define AUTH_VERDICT_BYTES 40

enum auth_purpose {
	AUTH_JOIN = 1, /* the leader takes this host as a node: the socket becomes its control lane */
	AUTH_MESH,     /* lane `lane` from node `from` in session `session` */
};

enum auth_status {
	AUTH_OK,
	AUTH_BUSY,       /* this host is a node of another machine */
	AUTH_NO_SESSION, /* no such session, or not this node or lane of it */
	AUTH_FAILED,     /* this host cannot serve now; its log says why */
};

/* Client to server. Offsets: magic 0, version 8, purpose 10, from 12, lane 16, reserved 20, session 24, nonce 40. */
struct auth_hello {
	char magic[8];    /* "PANGEA01", no NUL */
	uint16_t version; /* WIRE_VERSION */
	uint16_t purpose; /* enum auth_purpose */
	uint32_t from;    /* the client's node [0, NODES_MAX) */
	uint32_t lane;    /* [0, WIRE_SHARDS_MAX]; 0 for AUTH_JOIN */
	uint32_t reserved;
	uint8_t session[WIRE_SESSION_BYTES];
	uint8_t nonce[AUTH_NONCE_BYTES];
};

/* Server to client. To a client of another version: nonce and mac are zero, then the connection ends. */
struct auth_reply {
	char magic[8];
	uint16_t version;
	uint16_t reserved[3];
	uint8_t nonce[AUTH_NONCE_BYTES];
	uint8_t mac[AUTH_MAC_BYTES];
};

struct auth_verdict {
	uint32_t status; /* enum auth_status */
	uint32_t reserved;
	uint8_t mac[AUTH_MAC_BYTES];
};

static_assert(sizeof(struct auth_hello) == AUTH_HELLO_BYTES && offsetof(struct auth_hello, version) == 8 &&
		      offsetof(struct auth_hello, from) == 12 && offsetof(struct auth_hello, session) == 24 &&
		      offsetof(struct auth_hello, nonce) == 40,
	      "auth_hello");
static_assert(sizeof(struct auth_reply) == AUTH_REPLY_BYTES && offsetof(struct auth_reply, nonce) == 16 &&
		      offsetof(struct auth_reply, mac) == 48,
	      "auth_reply");
static_assert(sizeof(struct auth_verdict) == AUTH_VERDICT_BYTES && offsetof(struct auth_verdict, mac) == 8, "auth_verdict");

/* Frames from bytes. Pure. -EPROTO: not the magic; -EPROTONOSUPPORT: another version; -EBADMSG: a field out of range,
 * reserved not zero. */
CHECKED int auth_hello_parse(const uint8_t bytes[AUTH_HELLO_BYTES], struct auth_hello *hello);
CHECKED int auth_reply_parse(const uint8_t bytes[AUTH_REPLY_BYTES], struct auth_reply *reply);
CHECKED int auth_verdict_parse(const uint8_t bytes[AUTH_VERDICT_BYTES], struct auth_verdict *verdict);

/* What a client wants. */
struct auth_request {
	enum auth_purpose purpose;
	node_t from;
	unsigned lane;
	uint8_t session[WIRE_SESSION_BYTES];
};

/* The client's side on a fresh blocking socket; 0: both have proved themselves and the server accepts.
 * -EPROTO: no pangea node, or garbage; -EPROTONOSUPPORT: another version; -EKEYREJECTED: another key;
 * -ETIMEDOUT; -ECONNRESET: hung up; -EBUSY, -ESRCH, -ECONNABORTED: the verdict (AUTH_BUSY, _NO_SESSION, _FAILED).
 * The socket stays the caller's. */
CHECKED int auth_client(int fd, const uint8_t key[KEY_BYTES], const struct auth_request *request, const char *peer, int timeout_ms,
			struct net_why *why);

/* What the server knows of a client that has proved itself; auth_verdict needs it. */
struct auth_client {
	struct auth_request request;
	struct auth_hello hello;
	uint8_t nonce[AUTH_NONCE_BYTES];
};

/* The server's side up to the client's proof; 0: *client is who it says, and waits for auth_verdict. Errors as
 * auth_client's. Anyone can cause them: log them through a log_limit. */
CHECKED int auth_server(int fd, const uint8_t key[KEY_BYTES], const char *peer, int timeout_ms, struct auth_client *client,
			struct net_why *why);

/* The server's answer, after it has looked at client->request. After AUTH_OK the connection carries messages. -errno. */
CHECKED int auth_verdict(int fd, const uint8_t key[KEY_BYTES], const struct auth_client *client, enum auth_status status);

#endif
