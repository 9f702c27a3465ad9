/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses of this host belong to an RDMA device with an active port: librdmacm itself is asked, address by address. */
#include "net/rdma.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <infiniband/verbs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CM_DEVICE "/dev/infiniband/rdma_cm"

/* What is wrong with the devices there are, if none has an address that can be used. */
static int blame(struct ibv_device *const *list, int n, struct net_why *why)
{
	const char *name = ibv_get_device_name(*list);
	bool active = false, opened = false;

	for (int i = 0; i < n; i++) {
		struct ibv_context *verbs = ibv_open_device(list[i]);
		struct ibv_device_attr device;
		struct ibv_port_attr port;

		if (!verbs)
			continue;
		opened = true;
		if (ibv_query_device(verbs, &device) == 0)
			for (int p = 1; p <= device.phys_port_cnt; p++)
				active |= ibv_query_port(verbs, (uint8_t)p, &port) == 0 && port.state == IBV_PORT_ACTIVE;
		ibv_close_device(verbs);
	}
	if (!opened)
		return net_fail(why, -EACCES,
				"the RDMA device %s of this host cannot be opened (may this user open /dev/infiniband/*?)", name);
	if (!active)
		return net_fail(
			why, -ENETDOWN,
			"no port of the RDMA device %s of this host is active (bring its network interface up: ip link set ... up)",
			name);
	return net_fail(why, -EADDRNOTAVAIL,
			"the RDMA device %s of this host has no IP address (give its network interface one: ip address add ...)",
			name);
}

/* Whether an address can be bound to a device with an active port; then its name. */
static bool usable(struct rdma_event_channel *channel, struct sockaddr *addr, char *device)
{
	struct ibv_port_attr port;
	struct rdma_cm_id *id;
	bool ok = false;

	if (rdma_create_id(channel, &id, NULL, RDMA_PS_TCP))
		return false;
	if (rdma_bind_addr(id, addr) == 0 && id->verbs && ibv_query_port(id->verbs, id->port_num, &port) == 0 &&
	    port.state == IBV_PORT_ACTIVE) {
		snprintf(device, RDMA_NAME_BYTES, "%s", ibv_get_device_name(id->verbs->device));
		ok = true;
	}
	rdma_destroy_id(id);
	return ok;
}

/* The address in the form of the wire, and with port 0 in *out; false if it is of no use. */
static bool take_address(const struct sockaddr *addr, uint8_t bytes[16], struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	memset(bytes, 0, 16);
	if (addr->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, addr, sizeof(in));
		in.sin_port = 0;
		bytes[10] = bytes[11] = 0xff;
		memcpy(bytes + 12, &in.sin_addr, 4);
		memcpy(out, &in, sizeof(in));
		return true;
	}
	if (addr->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, addr, sizeof(in6));
		if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr)) /* means nothing to another host without its interface */
			return false;
		in6.sin6_port = 0;
		memcpy(bytes, &in6.sin6_addr, 16);
		memcpy(out, &in6, sizeof(in6));
		return true;
	}
	return false;
}

static int find_addresses(struct rdma_here *here, struct net_why *why)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct ifaddrs *list = NULL;
	int rc = 0;

	if (!channel)
		return net_fail(why, -errno,
				"rdma_cm cannot be used here: %s (load the module rdma_ucm, or give this user " CM_DEVICE ")",
				strerror(errno));
	if (getifaddrs(&list))
		rc = net_fail(why, -errno, "the addresses of this host cannot be listed: %s", strerror(errno));
	/* v4 first: the listener is of the first one's family (rdma_cm.c). */
	for (int family = 0; family < 2 && !rc; family++)
		for (const struct ifaddrs *i = list; i && here->n < WIRE_RDMA_ADDRS_MAX; i = i->ifa_next) {
			struct sockaddr_storage addr;

			if (!i->ifa_addr || i->ifa_flags & IFF_LOOPBACK || i->ifa_addr->sa_family != (family ? AF_INET6 : AF_INET))
				continue;
			if (take_address(i->ifa_addr, here->at[here->n].addr, &addr) &&
			    usable(channel, (struct sockaddr *)&addr, here->at[here->n].device))
				here->n++;
			else
				memset(&here->at[here->n], 0, sizeof(here->at[0]));
		}
	freeifaddrs(list);
	rdma_destroy_event_channel(channel);
	return rc;
}

int rdma_probe(struct rdma_here *here, struct net_why *why)
{
	struct ibv_device **list;
	int n = 0, rc = 0;

	memset(here, 0, sizeof(*here));
	list = ibv_get_device_list(&n);
	if (!list || n == 0)
		rc = net_fail(why, -ENODEV, "this host has no RDMA device");
	else if (access(CM_DEVICE, R_OK | W_OK)) /* without it librdmacm complains on its own */
		rc = net_fail(why, -errno, "rdma_cm cannot be used here: " CM_DEVICE ": %s (load the module rdma_ucm)",
			      strerror(errno));
	else
		rc = find_addresses(here, why);
	if (!rc && list && here->n == 0)
		rc = blame(list, n, why);
	if (list)
		ibv_free_device_list(list);
	return rc;
}
