/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction: a shard keeps its part of the node's frames within a budget. dsm/PROTOCOL.md, "Eviction", has the messages.
 *
 *      frames  |<---- pages of this home ---->|<--------------- room ---------------->|
 *              |                              |            | headroom | reserve      |
 *                                                          ^ offers   ^ faults wait
 *                                                            begin      here; only pages that come home pass
 *
 * A frame is taken by a page that is here or on its way here. A home's own pages all have one set aside; one that is elsewhere
 * leaves it free for others'. Copies are dropped and owned pages go home by OFFER, ahead of need: so a fault seldom waits. One that
 * finds no frame waits in order of arrival, and the shard fails if it waits as long as a request may.
 *
 * Why it ends: a home with a frame to spare takes what is offered, and its own faults leave it the reserve for that. Nodes that all
 * wait for each other would have pages of each other only; copies are dropped in any case; and then they have as many pages as they
 * are home to at most, but more frames.
 *
 * Second chance: a hand goes round over others' pages. One whose page-table entry is there is unmapped, its bytes stay; one whose
 * entry has not come back when the hand comes again was not used meanwhile and is offered. Replicas (replica.h) are passed over and
 * not counted: they are bounded, and set aside with what the program itself needs.
 *
 * Threads: the shard's. Nothing is allocated after evict_init. Without a budget frames are counted, nothing else.
 */
#ifndef DSM_EVICT_H
#define DSM_EVICT_H

#include "dsm/proto.h"
#include "dsm/view.h"

#define EVICT_ROOM_MIN 1024u /* frames of a shard beside its home's pages: the least that makes sense */
#define EVICT_WAITING  1024u /* faults; the threads of a node that can fault are fewer */

struct evict_waiting {
	struct view_fault fault;
	uint64_t since_ns;
};

struct evict {
	uint64_t home;    /* frames of the pages of this home */
	uint64_t limit;   /* of frames; UINT64_MAX: no budget */
	uint64_t soft;    /* a fault waits from here on */
	uint64_t high;    /* pages are offered from here on */
	uint64_t taken;   /* frames */
	uint64_t offered; /* pages offered in this round, not taken yet */
	uint64_t looked;  /* pages that the hand has passed since it last offered one */
	uint64_t barren;  /* blocks that it has passed without a page to look at */
	uint64_t progress_ns, trim_ns;
	uint64_t sleep_ns; /* how long the shard may sleep at most */
	rpn_t hand;
	bool lap_over;   /* it has been round, */
	uint64_t lap_ns; /* since then; 0: not looked at yet */
	uint8_t round;   /* 1..255: offers of another round may have been ignored */
	uint8_t *mark;   /* [pages] the round in which it was offered; 0: it was not */
	uint64_t mark_bytes;
	struct evict_waiting *waiting; /* [EVICT_WAITING] ring */
	uint32_t first, count;
};

struct shard;

/* `home` pages of this home, `room` frames more (0: no budget), in a machine of `pages`. -ENOMEM */
CHECKED int evict_init(struct evict *evict, uint64_t home, uint64_t room, uint64_t pages);
void evict_destroy(struct evict *evict);
void evict_reset(struct evict *evict);

/* A page took or left a frame; `ev`: by what. */
void evict_changed(struct shard *shard, rpn_t page, bool held, const struct proto_event *ev);
/* A page that was asked for came as a replica: it is not counted from now on. */
void evict_lent(struct shard *shard);
/* True: the fault needs a frame, there is none, and the fault waits. */
bool evict_holds_back(struct shard *shard, const struct view_fault *fault);
/* Whether there are frames for pages that nobody waits for yet. */
bool evict_has_room(const struct evict *evict);
/* Whether there are frames for a block of pages for each of `requests` under way and the one that is made now. */
bool evict_has_block(const struct evict *evict, uint32_t requests);
/* Whether the home may take an offered page of its own: there is a frame. */
bool evict_may_adopt(const struct evict *evict);
/* After each round of the shard's loop: serves faults that wait, offers pages. Sets sleep_ns. -errno, logged. */
CHECKED int evict_look(struct shard *shard, uint64_t now);
/* The oldest fault that waits for a frame is older than `ns`. */
bool evict_overdue(const struct evict *evict, uint64_t now, uint64_t ns);

#endif
