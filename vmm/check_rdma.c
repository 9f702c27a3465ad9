/* SPDX-License-Identifier: Apache-2.0 */
/* Each RDMA device of this host: the state of its ports, and the addresses by which nodes could be joined over it. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "net/rdma.h"
#include "vmm/hostcheck.h"

#define SYS_RDMA  "/sys/class/infiniband"
#define PORTS_MAX 8

/* Ports of one device: "port 1 ACTIVE, port 2 DOWN". Returns whether one is active. */
static bool ports_of(const char *device, char *text, size_t bytes)
{
	char path[512];
	char state[64];
	bool active = false;
	size_t done = 0;

	text[0] = '\0';
	for (int port = 1; port <= PORTS_MAX; port++) {
		const char *name;

		snprintf(path, sizeof(path), SYS_RDMA "/%.200s/ports/%d/state", device, port);
		if (!check_read_line(path, state, sizeof(state)))
			break;
		name = strchr(state, ':') ? strchr(state, ':') + 1 : state; /* "4: ACTIVE" */
		active = active || strstr(name, "ACTIVE");
		if (done < bytes)
			done += (size_t)snprintf(text + done, bytes - done, "%sport %d%s%.20s", done ? ", " : "", port,
						 *name == ' ' ? "" : " ", name);
	}
	return active;
}

/* The addresses that librdmacm finds on a device: ", 10.77.0.1, 2001:db8::1". Returns how many. */
static unsigned addresses_of(const char *device, const struct rdma_here *here, char *text, size_t bytes)
{
	char addr[INET6_ADDRSTRLEN];
	size_t done = 0;
	unsigned n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < here->n; i++) {
		const char *shown;

		if (strcmp(here->at[i].device, device) != 0 || !inet_ntop(AF_INET6, here->at[i].addr, addr, sizeof(addr)))
			continue;
		shown = strncmp(addr, "::ffff:", 7) == 0 ? addr + 7 : addr; /* of IPv4 */
		n++;
		if (done < bytes)
			done += (size_t)snprintf(text + done, bytes - done, ", %s", shown);
	}
	return n;
}

static void check_device(struct check_report *report, const char *device, int rc, const struct rdma_here *here)
{
	char ports[96], addresses[96];
	char what[32];
	bool active = ports_of(device, ports, sizeof(ports));
	unsigned n = addresses_of(device, here, addresses, sizeof(addresses));
	const char *lacks = "", *remedy = "";

	if (!active) {
		remedy = "bring its network interface up (ip link set ... up), or leave it: nodes use TCP then";
	} else if (rc == -EOPNOTSUPP) {
		lacks = ", but this pangea was built without RDMA";
		remedy = "install librdmacm-dev and libibverbs-dev and build again, or leave it: nodes use TCP then";
	} else if (n == 0 && (rc == 0 || rc == -EADDRNOTAVAIL || rc == -ENETDOWN)) {
		lacks = ", no IP address";
		remedy = "give its network interface an address (ip address add ...), or leave it: nodes use TCP then";
	} else if (n == 0) {
		lacks = ", but it cannot be used";
		remedy = "load the module rdma_ucm and give this user /dev/infiniband/*, or leave it: nodes use TCP then";
	}
	snprintf(what, sizeof(what), "rdma %.24s", device);
	check_add(report, *remedy ? CHECK_WARN : CHECK_OK, what, remedy, "%s%s%s", *ports ? ports : "no port", addresses, lacks);
}

void check_rdma(struct check_report *report)
{
	DIR *dir = opendir(SYS_RDMA);
	const struct dirent *entry;
	struct rdma_here here = {0};
	struct net_why why;
	size_t devices = 0;
	int rc = 0;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (!devices++)
			rc = rdma_probe(&here, &why);
		check_device(report, entry->d_name, rc, &here);
	}
	if (dir)
		closedir(dir);
	if (!devices)
		check_add(report, CHECK_OK, "rdma", "", "no device: nodes are joined by TCP");
}
