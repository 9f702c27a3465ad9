/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept copies: of a page that goes round, a node keeps the bytes that it sent or received last, so that the next time only the
 * difference (delta.h) has to travel.
 *
 *   requester  --REQ(S)-->  home  --FWD(S)-->  supplier        S: the transaction whose bytes the requester has kept
 *   requester  <--------DATA(difference to the bytes of S)---  if the supplier has kept those of S too; else the page as ever
 *
 * This rides along with the messages and is nothing to the protocol (proto.h): a node that keeps nothing says no S and gets pages.
 *
 * K1 The number of a transaction names its bytes. A page's DATA of transaction S, be it one for a writer or several for readers,
 * all carry the same bytes: those of a write from its only copy, those of a read from copies that D1 and D2 keep equal and
 * unwritten while it runs. An entry here holds the bytes that a DATA of its number carried, sent or received, and both ends of a
 * DATA have the same. Whether the page has changed since, was lent (replica.h) or dropped is nothing to it. K2 No number comes
 * twice while it can be meant: numbers are those of one epoch (kept_reset), and wrap after 2^30. An entry is named and used for
 * KEPT_NS only; for a second meaning within that time and a request's ten seconds a transaction would have to take less than 70 ns.
 * K3 What was promised is there. A REQ names S once, and its entry is neither replaced nor given up until the request has ended;
 *    the home and the supplier remember S with the request that said it, and forget it with the next request of that node. A page
 *    that was not asked for (a push) is sent whole, and does not replace what a request that crosses with it has named.
 * So a difference that an honest node gets is always one to bytes that it has. Any other is refused as a peer's fault.
 *
 * Only pages that have changed hands KEPT_MIN_SEQ times are kept, KEPT_PAGES at most. Threads: the shard's. Nothing is allocated
 * after kept_init.
 */
#ifndef DSM_KEPT_H
#define DSM_KEPT_H

#include "dsm/pagetab.h"
#include "net/wire.h"

#define KEPT_PAGES   256u  /* a power of two */
#define KEPT_HINTS   1024u /* a power of two */
#define KEPT_MIN_SEQ 8u
#define KEPT_NS      (60 * NS_PER_SEC)

struct kept_page {
	uint64_t since_ns;
	uint32_t seq;
	bool promised; /* if a request of the page is under way, its REQ named this entry */
	bool used;     /* since the hand came by */
};

/* What the last request of a node for a page said. */
struct kept_hint {
	rpn_t page;
	uint32_t seq;
	node_t node;
	bool set;
};

struct kept {
	struct pagetab tab;
	struct kept_page *page; /* [KEPT_PAGES] */
	uint8_t *bytes;         /* [KEPT_PAGES] pages, which cost memory when they are first used */
	uint32_t touched;       /* of them */
	uint32_t hand;
	struct kept_hint *hint; /* [KEPT_HINTS]; two of one place forget each other */
};

struct shard;

CHECKED int kept_init(struct kept *kept); /* -ENOMEM */
void kept_destroy(struct kept *kept);
void kept_reset(struct kept *kept);

/* A message of the protocol leaves, with the page at `bytes` or without (NULL): what it carries, in `small` or at `bytes`; hdr's
 * len and flags say so. */
CHECKED const uint8_t *kept_outgoing(struct shard *shard, struct wire_hdr *hdr, const uint8_t *bytes,
				     uint8_t small[WIRE_DELTA_MAX]);
/* This node, which is the page's home, asks itself for it. */
void kept_own_request(struct shard *shard, rpn_t page);
/* REQ_* and FWD_* have come. */
void kept_incoming(struct shard *shard, const struct wire_hdr *hdr, const uint8_t *payload);
/* DATA has come and was obeyed: the page that it brings, in *bytes until the next call. -EPROTO: a difference to what this node did
 * not name, or none that decodes; the machine has been told who sent it. */
CHECKED int kept_received(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload,
			  const uint8_t **bytes);

#endif
