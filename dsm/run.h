/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: neighbouring pages of a block that a stream asks for (stream.h) go in one request, and those that the home gives out as
 * ordinary copies come in one reply. Private to dsm; the shard's thread only.
 *
 *   requester                                        home
 *     look ahead: REQ_READ p, p+1, ..   RUN_REQ ->     of each page: the directory, then the home's own cache machine
 *                                     <- RUN_DATA      DATA of each that it lets the requester read, read by one call
 *                                     <- DATA, LEND    the others, as ever: zero, owned elsewhere, for good, often changed, lent
 *     of each page: the cache machine;
 *     filled in by one call (UFFDIO_COPY)
 *
 * The machines of proto.h know nothing of it: a run is as many messages. What is put off is put off to the end of the message that
 * is worked on: a reply's bytes, which are those of when they are read, as their pages were protected before (D4) and nothing
 * happens to them meanwhile; and the pages to fill in, of which no event comes meanwhile.
 */
#ifndef DSM_RUN_H
#define DSM_RUN_H

#include "dsm/proto.h"
#include "net/wire.h"

struct run_asked { /* requests */
	bool open;
	struct wire_hdr hdr; /* of the run so far; acks 0: none */
	node_t home;
};

struct run_reply {
	bool open;
	bool put_off; /* the LOAD of the page that is worked on, its SEND is to come */
	node_t to;
	rpn_t first;
	uint32_t n;
	struct proto_msg msg[WIRE_RUN_PAGES];
	uint8_t *buffer; /* WIRE_RUN_PAYLOAD_MAX; in it or where they are sent from: */
};

struct run_taken { /* pages to fill in */
	bool open, wake;
	rpn_t first;
	uint32_t n;
	const uint8_t *bytes;
};

struct shard_runs {
	struct run_asked asked;
	struct run_reply reply;
	struct run_taken taken;
};

struct shard;

CHECKED int run_init(struct shard_runs *runs); /* -ENOMEM */
void run_destroy(struct shard_runs *runs);

/* Between these two requests are gathered that run_gathers is shown before they are sent. True: it goes with a run. */
void run_asks(struct shard *shard);
bool run_gathers(struct shard *shard, node_t home, const struct wire_hdr *hdr);
void run_asked(struct shard *shard);

/* RUN_REQ, RUN_DATA, whose pages are the shard's. */
void run_serve(struct shard *shard, node_t from, const struct wire_hdr *hdr);
void run_take(struct shard *shard, node_t from, const struct wire_hdr *hdr, const uint8_t *payload);

/* At its LOAD: whether the bytes of this DATA will be read and sent with a run. Then run_has_put_off is true once: at its SEND. */
bool run_has_put_off(struct shard_runs *runs);
bool run_sends(struct shard *shard, rpn_t page, uint64_t to, const struct proto_msg *msg);
/* view_install, but perhaps at the end of the run. */
CHECKED int run_install(struct shard *shard, rpn_t page, const uint8_t *bytes, bool writable, bool wake);

#endif
