/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How two nodes that have proved themselves to each other over TCP come to RDMA connections: all events of librdmacm go through one
 * channel, and every wait has a deadline. A connection request has to present the token that the listener sent over TCP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "net/rdma_priv.h"

#define RESOLVE_MS    1500
#define CONNECT_NS    (3 * NS_PER_SEC) /* to one address */
#define BACKLOG       128
#define ACK_TIMEOUT   17 /* 4.096 us * 2^17 = 0.54 s; with RETRIES, silence of some 4 s is a lost peer, as over TCP */
#define RETRIES       7
#define RNR_RETRIES   0 /* F1: a receiver is always ready */
#define ADDRESS_BYTES INET6_ADDRSTRLEN

/* An event, copied, so that it could be acknowledged. */
struct event {
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	int status;
	uint8_t data[RDMA_HELLO_BYTES];
	size_t len;
};

static struct rdma_conn *conn_of(const struct rdma_links *links, unsigned lane, node_t peer)
{
	return &links->conn[lane][peer];
}

static void to_sockaddr(const uint8_t bytes[16], uint16_t port, struct sockaddr_storage *out)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	memset(out, 0, sizeof(*out));
	if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

		memcpy(&in.sin_addr, bytes + 12, 4);
		memcpy(out, &in, sizeof(in));
	} else {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

		memcpy(&in6.sin6_addr, bytes, 16);
		memcpy(out, &in6, sizeof(in6));
	}
}

static const char *address_text(const struct sockaddr *addr, char buf[ADDRESS_BYTES])
{
	const void *bytes = addr->sa_family == AF_INET
				    ? (const void *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr
				    : (const void *)&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;

	if (!inet_ntop(addr->sa_family, bytes, buf, ADDRESS_BYTES))
		snprintf(buf, ADDRESS_BYTES, "?");
	return buf;
}

/* ---- events ---- */

/* The next event. -ETIMEDOUT; -ECANCELED: there is none, and `fd` (-1: none) is readable; -errno. */
static int next_event(struct rdma_links *links, int fd, uint64_t deadline_ns, struct event *out)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = links->channel->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
		struct rdma_cm_event *ev;
		int ms = clock_ms_left(deadline_ns), n;

		if (rdma_get_cm_event(links->channel, &ev) == 0) {
			*out = (struct event){.type = ev->event, .id = ev->id, .status = ev->status};
			if (ev->event == RDMA_CM_EVENT_CONNECT_REQUEST || ev->event == RDMA_CM_EVENT_ESTABLISHED) {
				out->len = MIN((size_t)ev->param.conn.private_data_len, sizeof(out->data));
				if (ev->param.conn.private_data)
					memcpy(out->data, ev->param.conn.private_data, out->len);
				else
					out->len = 0;
			}
			rdma_ack_cm_event(ev);
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		n = poll(p, 2, ms);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && !p[0].revents && p[1].revents)
			return -ECANCELED;
		if (n == 0 && ms == 0)
			return -ETIMEDOUT;
	}
}

static void turn_away(struct rdma_links *links, struct rdma_cm_id *id, const char *what)
{
	char from[ADDRESS_BYTES];

	if (log_allowed(&links->turned_away))
		log_warn("turned away an RDMA connection from %s: it %s", address_text(rdma_get_peer_addr(id), from), what);
	rdma_reject(id, NULL, 0);
	rdma_destroy_id(id);
}

/* What is not waited for: connections that end, or that nobody should have made now. */
static void stray(struct rdma_links *links, const struct event *ev)
{
	struct rdma_conn *conn = ev->id ? ev->id->context : NULL;

	if (ev->type == RDMA_CM_EVENT_CONNECT_REQUEST)
		turn_away(links, ev->id, "was not expected now");
	else if (conn && (ev->type == RDMA_CM_EVENT_DISCONNECTED || ev->type == RDMA_CM_EVENT_DEVICE_REMOVAL))
		conn->up = false;
}

static const char *event_reason(enum rdma_cm_event_type type)
{
	switch (type) {
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return "no RDMA device of this host reaches it";
	case RDMA_CM_EVENT_UNREACHABLE:
		return "it does not answer RDMA connections";
	case RDMA_CM_EVENT_REJECTED:
		return "it refused the RDMA connection";
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		return "the RDMA device was removed";
	case RDMA_CM_EVENT_DISCONNECTED:
		return "it ended the RDMA connection";
	default:
		return "the RDMA connection failed";
	}
}

/* Waits for the event that the connection is due. */
static int await(struct rdma_links *links, const struct rdma_conn *conn, enum rdma_cm_event_type type, uint64_t deadline_ns,
		 struct event *ev, struct net_why *why)
{
	for (;;) {
		int rc = next_event(links, -1, deadline_ns, ev);

		if (rc == -ETIMEDOUT)
			return net_fail(why, rc, "it does not answer RDMA connections");
		if (rc)
			return net_fail(why, rc, "rdma_cm failed: %s", strerror(-rc));
		if (ev->id != conn->id)
			stray(links, ev);
		else if (ev->type == type)
			return 0;
		else
			return net_fail(why, -EHOSTUNREACH, "%s", event_reason(ev->type));
	}
}

/* ---- connecting ---- */

static struct rdma_conn_param parameters(const struct rdma_hello *hello)
{
	return (struct rdma_conn_param){
		.private_data = hello,
		.private_data_len = sizeof(*hello),
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = RETRIES,
		.rnr_retry_count = RNR_RETRIES,
	};
}

static void set_timeout(struct rdma_cm_id *id)
{
	uint8_t timeout = ACK_TIMEOUT;

	if (rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof(timeout)))
		return; /* the device keeps its own */
}

static int take_answer(struct rdma_conn *conn, const struct event *ev, unsigned lane, unsigned lanes, node_t peer,
		       struct net_why *why)
{
	int rc = rdma_hello_parse(ev->data, ev->len, lanes, &conn->theirs);

	if (!rc && (conn->theirs.lane != lane || conn->theirs.from != peer))
		rc = -EBADMSG;
	if (rc)
		return net_fail(why, rc, "it accepted an RDMA connection with data that make no sense");
	conn->up = true;
	return 0;
}

static int failed(struct net_why *why, const char *what)
{
	return net_fail(why, -errno, "%s: %s", what, strerror(errno));
}

static int dial_lane(struct rdma_links *links, unsigned lane, node_t peer, const struct wire_rdma *offer, struct sockaddr *addr,
		     uint64_t deadline_ns, struct net_why *why)
{
	struct rdma_conn *conn = conn_of(links, lane, peer);
	struct rdma_hello hello;
	struct event ev;
	int rc;

	if (rdma_create_id(links->channel, &conn->id, conn, RDMA_PS_TCP)) {
		conn->id = NULL;
		return failed(why, "rdma_cm gives no connection");
	}
	if (rdma_resolve_addr(conn->id, NULL, addr, RESOLVE_MS))
		return net_fail(why, -errno, "no RDMA device of this host reaches it");
	rc = await(links, conn, RDMA_CM_EVENT_ADDR_RESOLVED, deadline_ns, &ev, why);
	if (rc)
		return rc;
	if (rdma_resolve_route(conn->id, RESOLVE_MS))
		return failed(why, "there is no RDMA route to it");
	rc = await(links, conn, RDMA_CM_EVENT_ROUTE_RESOLVED, deadline_ns, &ev, why);
	if (!rc)
		rc = rdma_conn_prepare(conn, &links->ports[lane], links->self, peer, links->nodes, lane, why);
	if (rc)
		return rc;
	set_timeout(conn->id);
	hello = conn->ours;
	memcpy(hello.token, offer->token, sizeof(hello.token));
	struct rdma_conn_param param = parameters(&hello);
	if (rdma_connect(conn->id, &param))
		return failed(why, "the RDMA connection cannot be asked for");
	rc = await(links, conn, RDMA_CM_EVENT_ESTABLISHED, deadline_ns, &ev, why);
	return rc ? rc : take_answer(conn, &ev, lane, links->lanes, peer, why);
}

static void note_route(struct rdma_links *links, const struct rdma_conn *conn)
{
	char addr[ADDRESS_BYTES];

	if (!links->route[0] && conn->id)
		snprintf(links->route, sizeof(links->route), "%s, %s", ibv_get_device_name(conn->id->verbs->device),
			 address_text(rdma_get_local_addr(conn->id), addr));
}

int rdma_links_dial(struct rdma_links *links, node_t peer, const struct wire_rdma *offer, uint64_t deadline_ns, struct net_why *why)
{
	int rc = net_fail(why, -EHOSTUNREACH, "it has no RDMA address");

	for (unsigned i = 0; i < offer->addrs && rc; i++) {
		uint64_t until = MIN(deadline_ns, clock_ns() + CONNECT_NS);
		struct sockaddr_storage addr;

		to_sockaddr(offer->addr[i], offer->port, &addr);
		rc = 0;
		for (unsigned lane = 0; lane < links->lanes && !rc; lane++)
			rc = dial_lane(links, lane, peer, offer, (struct sockaddr *)&addr, until, why);
		if (rc)
			rdma_links_drop(links, peer);
	}
	if (!rc)
		note_route(links, conn_of(links, 0, peer));
	return rc;
}

/* ---- being connected to ---- */

static int accept_request(struct rdma_links *links, const struct event *ev, node_t peer, const struct wire_rdma *offer,
			  struct net_why *why)
{
	struct rdma_hello theirs;
	struct rdma_conn *conn;
	int rc;

	if (rdma_hello_parse(ev->data, ev->len, links->lanes, &theirs)) {
		turn_away(links, ev->id, "sent data that make no sense");
		return 0;
	}
	if (!rdma_token_equal(theirs.token, offer->token) || theirs.from != peer) {
		turn_away(links, ev->id, "does not present the token of this machine");
		return 0;
	}
	conn = conn_of(links, theirs.lane, peer);
	rdma_conn_close(conn); /* of an attempt over another address */
	conn->id = ev->id;
	conn->id->context = conn;
	conn->theirs = theirs;
	rc = rdma_conn_prepare(conn, &links->ports[theirs.lane], links->self, peer, links->nodes, theirs.lane, why);
	if (rc) {
		rdma_reject(conn->id, NULL, 0);
		return rc;
	}
	set_timeout(conn->id);
	struct rdma_conn_param param = parameters(&conn->ours);
	return rdma_accept(conn->id, &param) ? failed(why, "the RDMA connection cannot be accepted") : 0;
}

static bool all_up(const struct rdma_links *links, node_t peer)
{
	for (unsigned lane = 0; lane < links->lanes; lane++)
		if (!conn_of(links, lane, peer)->up)
			return false;
	return true;
}

int rdma_links_answer(struct rdma_links *links, node_t peer, const struct wire_rdma *offer, int fd, uint64_t deadline_ns,
		      struct net_why *why)
{
	struct event ev = {0};
	int rc = 0;

	while (!rc && !all_up(links, peer)) {
		rc = next_event(links, fd, deadline_ns, &ev);
		if (rc == -ETIMEDOUT)
			net_fail(why, rc, "its RDMA connections did not come");
		else if (rc && rc != -ECANCELED)
			net_fail(why, rc, "rdma_cm failed: %s", strerror(-rc));
		if (rc)
			return rc;
		if (ev.type == RDMA_CM_EVENT_CONNECT_REQUEST)
			rc = accept_request(links, &ev, peer, offer, why);
		else if (ev.type == RDMA_CM_EVENT_ESTABLISHED && ev.id->context)
			((struct rdma_conn *)ev.id->context)->up = true;
		else
			stray(links, &ev);
	}
	if (!rc)
		note_route(links, conn_of(links, 0, peer));
	return rc;
}

void rdma_links_drop(struct rdma_links *links, node_t peer)
{
	for (unsigned lane = 0; lane < links->lanes; lane++)
		rdma_conn_close(conn_of(links, lane, peer));
}

int rdma_links_offer(const struct rdma_links *links, struct wire_rdma *offer, struct net_why *why)
{
	wire_rdma_make(NULL, offer);
	if (gnutls_rnd(GNUTLS_RND_NONCE, offer->token, sizeof(offer->token)))
		return net_fail(why, -EIO, "there are no random numbers for a token");
	offer->port = ntohs(rdma_get_src_port(links->listener));
	offer->addrs = (uint16_t)links->here.n;
	for (unsigned i = 0; i < links->here.n; i++)
		memcpy(offer->addr[i], links->here.at[i].addr, sizeof(offer->addr[i]));
	return 0;
}

const char *rdma_links_route(const struct rdma_links *links, char *buf)
{
	snprintf(buf, RDMA_ROUTE_BYTES, "%s", links->route);
	return buf;
}

/* ---- life ---- */

/* On any address of the family of the first one, as a listener of both families is not to be had everywhere. */
static int start_listening(struct rdma_links *links, struct net_why *why)
{
	struct sockaddr_storage addr, any = {0};
	unsigned kept = 0;

	to_sockaddr(links->here.at[0].addr, 0, &addr);
	any.ss_family = addr.ss_family;
	for (unsigned i = 0; i < links->here.n; i++) {
		struct sockaddr_storage other;

		to_sockaddr(links->here.at[i].addr, 0, &other);
		if (other.ss_family == any.ss_family)
			links->here.at[kept++] = links->here.at[i];
	}
	links->here.n = kept;
	if (rdma_create_id(links->channel, &links->listener, NULL, RDMA_PS_TCP)) {
		links->listener = NULL;
		return failed(why, "rdma_cm gives no listener");
	}
	if (rdma_bind_addr(links->listener, (struct sockaddr *)&any) || rdma_listen(links->listener, BACKLOG))
		return failed(why, "rdma_cm cannot listen");
	return 0;
}

int rdma_links_new(node_t self, node_t nodes, unsigned lanes, const struct rdma_here *here, struct rdma_links **out,
		   struct net_why *why)
{
	struct rdma_links *links;
	struct rlimit lock;
	int rc = 0;

	if (self >= nodes || nodes < 2 || nodes > NODES_MAX || lanes == 0 || lanes > RDMA_LANES_MAX || here->n == 0)
		return net_fail(why, -EINVAL, "there is nothing to connect");
	if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur < lock.rlim_max) {
		lock.rlim_cur = lock.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &lock); /* if not, registering memory says what is missing */
	}
	links = calloc(1, sizeof(*links));
	if (!links)
		return net_fail(why, -ENOMEM, "out of memory");
	*links = (struct rdma_links){.self = self, .nodes = nodes, .lanes = lanes, .here = *here};
	for (unsigned lane = 0; lane < lanes && !rc; lane++) {
		links->conn[lane] = calloc(nodes, sizeof(struct rdma_conn));
		if (!links->conn[lane])
			rc = net_fail(why, -ENOMEM, "out of memory");
	}
	if (!rc) {
		links->channel = rdma_create_event_channel();
		if (!links->channel || fcntl(links->channel->fd, F_SETFL, O_NONBLOCK))
			rc = failed(why, "rdma_cm gives no events");
	}
	if (!rc)
		rc = start_listening(links, why);
	if (rc)
		rdma_links_free(links);
	else
		*out = links;
	return rc;
}

void rdma_links_free(struct rdma_links *links)
{
	if (!links)
		return;
	for (unsigned lane = 0; lane < links->lanes; lane++) {
		for (node_t n = 0; links->conn[lane] && n < links->nodes; n++)
			rdma_conn_close(&links->conn[lane][n]);
		free(links->conn[lane]);
		rdma_ports_close(&links->ports[lane]);
	}
	if (links->listener)
		rdma_destroy_id(links->listener);
	if (links->channel)
		rdma_destroy_event_channel(links->channel);
	free(links);
}
