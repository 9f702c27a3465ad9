/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/mesh.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/auth.h"
#include "net/tcp.h"

static int send_bytes(int fd, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int recv_bytes(int fd, void *bytes, size_t len, uint64_t deadline_ns)
{
	uint8_t *p = bytes;

	while (len) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int ready = poll(&pfd, 1, clock_ms_left(deadline_ns));

		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready < 0)
			continue;
		ssize_t n = recv(fd, p, len, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int mesh_send(int fd, uint8_t type, const void *payload, size_t len, struct net_why *why)
{
	struct wire_hdr hdr = {.type = type, .len = (uint32_t)len};
	uint8_t bytes[WIRE_HDR_BYTES];
	int rc;

	wire_hdr_encode(&hdr, bytes);
	rc = send_bytes(fd, bytes, sizeof(bytes));
	if (!rc && len)
		rc = send_bytes(fd, payload, len);
	return rc ? net_fail(why, rc, "the connection ended: %s", strerror(-rc)) : 0;
}

int mesh_recv(int fd, uint8_t type, uint64_t deadline_ns, uint8_t *buf, size_t *len, struct net_why *why)
{
	uint8_t bytes[WIRE_HDR_BYTES];
	struct wire_stop stop;
	struct wire_hdr hdr;
	int rc = recv_bytes(fd, bytes, sizeof(bytes), deadline_ns);

	if (rc == -ETIMEDOUT)
		return net_fail(why, rc, "it did not answer in time; --ready-timeout allows more");
	if (rc == -ECONNRESET)
		return net_fail(why, rc, "it ended the connection; its own log says why");
	if (rc)
		return net_fail(why, rc, "the connection failed: %s", strerror(-rc));
	rc = wire_hdr_decode(bytes, WIRE_LANE_CONTROL, &hdr);
	if (rc)
		return net_fail(why, rc, "it sent %s", wire_error(rc));
	rc = recv_bytes(fd, buf, hdr.len, deadline_ns);
	if (rc)
		return net_fail(why, rc, "the connection failed in the middle of a message: %s", strerror(-rc));
	if (hdr.type == WIRE_STOP && wire_stop_decode(buf, hdr.len, &stop) == 0)
		return net_fail(why, -ECANCELED, "%s", stop.text);
	if (hdr.type != type)
		return net_fail(why, -EPROTO, "it sent %s where %s was due", wire_type_name(hdr.type), wire_type_name(type));
	*len = hdr.len;
	return 0;
}

void mesh_init(struct mesh *mesh, unsigned lanes)
{
	mesh->lanes = lanes;
	for (unsigned l = 0; l < MESH_LANES_MAX; l++)
		for (node_t n = 0; n < NODES_MAX; n++)
			mesh->fd[l][n] = -1;
}

void mesh_close(struct mesh *mesh)
{
	for (unsigned l = 0; l < mesh->lanes; l++)
		for (node_t n = 0; n < NODES_MAX; n++)
			if (mesh->fd[l][n] >= 0) {
				close(mesh->fd[l][n]);
				mesh->fd[l][n] = -1;
			}
}

static int connect_lane(struct mesh *mesh, const struct wire_machine *machine, unsigned lane, node_t to, const uint8_t *key,
			uint64_t deadline_ns, struct net_why *why)
{
	const struct wire_machine_node *node = &machine->node[to];
	struct auth_request request = {.purpose = AUTH_MESH, .from = machine->self, .lane = lane};
	int fd, rc = tcp_connect(node->host, node->port, clock_ms_left(deadline_ns), &fd, why);

	if (rc)
		return rc;
	memcpy(request.session, machine->session, sizeof(request.session));
	rc = auth_client(fd, key, &request, node->host, MIN(clock_ms_left(deadline_ns), AUTH_TIMEOUT_MS), why);
	if (rc) {
		close(fd);
		return rc;
	}
	mesh->fd[lane][to] = fd;
	return 0;
}

/* Strangers may connect too: they cost a handshake, and never take a place. */
static int accept_lane(struct mesh *mesh, const struct wire_machine *machine, int listen_fd, const uint8_t *key,
		       uint64_t deadline_ns, struct net_why *why)
{
	char peer[TCP_ADDR_BYTES];
	struct auth_client client;
	int fd, rc = tcp_accept(listen_fd, clock_ms_left(deadline_ns), &fd, peer, why);

	if (rc)
		return rc == -EINTR ? 0 : rc;
	rc = auth_server(fd, key, peer, AUTH_TIMEOUT_MS, &client, NULL);
	if (rc) {
		close(fd);
		return 0;
	}
	const struct auth_request *r = &client.request;
	bool ours = r->purpose == AUTH_MESH && !memcmp(r->session, machine->session, sizeof(r->session)) &&
		    r->from < machine->self && r->lane < mesh->lanes && mesh->fd[r->lane][r->from] < 0;
	rc = auth_verdict(fd, key, &client, ours ? AUTH_OK : AUTH_NO_SESSION);
	if (!ours || rc)
		close(fd);
	else
		mesh->fd[r->lane][r->from] = fd;
	return 0;
}

static bool has_all_below(const struct mesh *mesh, const struct wire_machine *machine)
{
	for (unsigned l = 0; l < mesh->lanes; l++)
		for (node_t n = 0; n < machine->self; n++)
			if (mesh->fd[l][n] < 0)
				return false;
	return true;
}

int mesh_build(struct mesh *mesh, const struct wire_machine *machine, int listen_fd, const uint8_t key[KEY_BYTES],
	       uint64_t deadline_ns, struct net_why *why)
{
	int rc = 0;

	for (node_t n = machine->self + 1; n < machine->n_nodes && !rc; n++)
		for (unsigned l = 0; l < mesh->lanes && !rc; l++)
			if (mesh->fd[l][n] < 0)
				rc = connect_lane(mesh, machine, l, n, key, deadline_ns, why);
	while (!rc && !has_all_below(mesh, machine)) {
		if (!clock_ms_left(deadline_ns))
			return net_fail(why, -ETIMEDOUT, "not every other node connected in time");
		rc = accept_lane(mesh, machine, listen_fd, key, deadline_ns, why);
	}
	return rc;
}

int mesh_lanes(struct mesh *mesh, node_t self, node_t nodes, enum tcp_engine engine, struct net_lane ***out)
{
	struct net_lane **lanes = calloc(mesh->lanes, sizeof(*lanes));
	int rc = lanes ? 0 : -ENOMEM;

	for (unsigned l = 0; l < mesh->lanes && !rc; l++) {
		rc = tcp_lane_new(self, nodes, l, mesh->fd[l], engine, &lanes[l]);
		if (!rc)
			for (node_t n = 0; n < NODES_MAX; n++)
				mesh->fd[l][n] = -1;
	}
	if (rc) {
		log_error("cannot make lanes of the connections: %s", strerror(-rc));
		for (unsigned l = 0; lanes && l < mesh->lanes; l++)
			net_free(lanes[l]);
		free(lanes);
		return rc;
	}
	*out = lanes;
	return 0;
}
