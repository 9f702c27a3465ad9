/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the other rdma*.c where there is no librdmacm to build with: rdma_probe says so, and nothing else is called. */
#include "net/rdma.h"

#include <errno.h>

int rdma_probe(struct rdma_here *here, struct net_why *why)
{
	here->n = 0;
	return net_fail(why, -EOPNOTSUPP,
			"this pangea was built without RDMA (install librdmacm-dev and libibverbs-dev, build again)");
}

int rdma_links_new(node_t self, node_t nodes, unsigned lanes, const struct rdma_here *here, struct rdma_links **out,
		   struct net_why *why)
{
	(void)self, (void)nodes, (void)lanes, (void)here, (void)out;
	return net_fail(why, -EOPNOTSUPP, "this pangea was built without RDMA");
}

void rdma_links_free(struct rdma_links *links)
{
	(void)links;
}

int rdma_links_offer(const struct rdma_links *links, struct wire_rdma *offer, struct net_why *why)
{
	(void)links, (void)offer, (void)why;
	return -EOPNOTSUPP;
}

int rdma_links_dial(struct rdma_links *links, node_t peer, const struct wire_rdma *offer, uint64_t deadline_ns, struct net_why *why)
{
	(void)links, (void)peer, (void)offer, (void)deadline_ns, (void)why;
	return -EOPNOTSUPP;
}

int rdma_links_answer(struct rdma_links *links, node_t peer, const struct wire_rdma *offer, int fd, uint64_t deadline_ns,
		      struct net_why *why)
{
	(void)links, (void)peer, (void)offer, (void)fd, (void)deadline_ns, (void)why;
	return -EOPNOTSUPP;
}

void rdma_links_drop(struct rdma_links *links, node_t peer)
{
	(void)links, (void)peer;
}

const char *rdma_links_route(const struct rdma_links *links, char *buf)
{
	(void)links;
	buf[0] = '\0';
	return buf;
}

int rdma_lane_new(struct rdma_links *links, unsigned lane, const int *fds, struct net_lane **out)
{
	(void)links, (void)lane, (void)fds, (void)out;
	return -EOPNOTSUPP;
}
