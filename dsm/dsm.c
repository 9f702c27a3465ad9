/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/dsm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "dsm/shard.h"

#define PINNED_BYTES       (24 * MIB)
#define PINNED_SHARD_BYTES (7 * MIB)

/* Zeroes that cost memory only where they are written. */
static void *lazy_array(uint64_t bytes)
{
	void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

const char *dsm_optimisation_name(unsigned bit)
{
	static const char *const names[] = {
#define NAME(id, name, text) name,
		DSM_OPTIMISATIONS(NAME)
#undef NAME
	};

	return bit < ARRAY_SIZE(names) ? names[bit] : NULL;
}

static uint64_t home_pages(const struct dsm *dsm)
{
	return dsm->node_first[dsm->config.self + 1] - dsm->node_first[dsm->config.self];
}

/* What belongs to other homes is watched from the start; our own blocks are private until someone asks. */
static int register_others(struct dsm *dsm)
{
	rpn_t mine = dsm->node_first[dsm->config.self], after = dsm->node_first[dsm->config.self + 1];
	int rc = mine ? view_register(dsm->view, 0, mine) : 0;

	for (uint64_t i = 0; i < dsm->node_first[dsm->config.nodes] / BLOCK_PAGES; i++)
		dsm->block[i] = (struct block){.whole = i >= mine / BLOCK_PAGES && i < after / BLOCK_PAGES};

	if (!rc && after < dsm->node_first[dsm->config.nodes])
		rc = view_register(dsm->view, after, dsm->node_first[dsm->config.nodes] - after);
	return rc;
}

/* Resident in any case: program and libraries, staging, replicas and what waits for them; a byte and a mark a page, and the
 * directory. */
static uint64_t pinned_bytes(uint64_t home, uint64_t pages, unsigned shards)
{
	return PINNED_BYTES + shards * PINNED_SHARD_BYTES + home * (sizeof(struct proto_dir_packed) + 1) + 2 * pages;
}

uint64_t dsm_budget_min(uint64_t home, uint64_t pages, unsigned shards)
{
	return pinned_bytes(home, pages, shards) + ((home + (uint64_t)shards * EVICT_ROOM_MIN) << PAGE_SHIFT);
}

static int set_room(struct dsm *dsm)
{
	uint64_t home = home_pages(dsm), pages = dsm->node_first[dsm->config.nodes], budget = dsm->config.budget_bytes,
		 files = dsm->config.files_bytes;
	uint64_t least = files + dsm_budget_min(home, pages, dsm->config.shards);

	if (!budget)
		return 0;
	if (budget < least) {
		log_error("a budget of %llu MiB is too little for this node, which needs %llu MiB for its own part of guest RAM "
			  "and itself",
			  (unsigned long long)(budget / MIB), (unsigned long long)((least + MIB - 1) / MIB));
		return -EINVAL;
	}
	dsm->room = ((budget - files - pinned_bytes(home, pages, dsm->config.shards)) >> PAGE_SHIFT) - home;
	return 0;
}

int dsm_new(const struct dsm_config *config, struct dsm **out)
{
	struct dsm *dsm = calloc(1, sizeof(*dsm));
	uint64_t pages = config->node_first[config->nodes];
	unsigned wanted = config->nodes > 1 ? config->shards : 0;
	int rc = -ENOMEM;

	if (!dsm)
		goto fail;
	dsm->config = *config;
	if (!dsm->config.tick_ns)
		dsm->config.tick_ns = DSM_TICK_NS;
	if (!dsm->config.relays_from)
		dsm->config.relays_from = DSM_RELAYS_FROM;
	memcpy(dsm->node_first, config->node_first, (config->nodes + 1) * sizeof(dsm->node_first[0]));
	dsm->epoch = 1;
	if (wanted != 1)
		dsm->config.without |= DSM_WITHOUT(REPLICAS);
	rc = wanted ? set_room(dsm) : 0;
	if (rc)
		goto fail;
	rc = view_new(pages, wanted, &dsm->view);
	if (rc || !wanted) {
		if (rc)
			goto fail;
		*out = dsm;
		return 0;
	}
	rc = -ENOMEM;
	dsm->cache_bytes = pages;
	dsm->dir_bytes = home_pages(dsm) * sizeof(*dsm->dir);
	dsm->cache = lazy_array(dsm->cache_bytes);
	dsm->dir = lazy_array(dsm->dir_bytes);
	dsm->history = lazy_array(home_pages(dsm));
	dsm->block = calloc(pages / BLOCK_PAGES + 1, sizeof(*dsm->block));
	dsm->shard = calloc(wanted, sizeof(*dsm->shard));
	if (!dsm->cache || !dsm->dir || !dsm->history || !dsm->block || !dsm->shard)
		goto fail;
	rc = register_others(dsm);
	for (unsigned i = 0; i < wanted && !rc; i++) {
		rc = shard_init(&dsm->shard[i], dsm, i, config->lane[i]);
		dsm->shards = i + 1;
	}
	if (rc)
		goto fail;
	*out = dsm;
	return 0;

fail:
	for (unsigned i = dsm ? dsm->shards : 0; i < wanted; i++)
		net_free(config->lane[i]);
	dsm_free(dsm);
	return rc;
}

void dsm_free(struct dsm *dsm)
{
	if (!dsm)
		return;
	dsm_stop(dsm);
	for (unsigned i = 0; i < dsm->shards; i++)
		shard_destroy(&dsm->shard[i]);
	free(dsm->shard);
	free(dsm->block);
	if (dsm->cache)
		munmap(dsm->cache, dsm->cache_bytes);
	if (dsm->dir)
		munmap(dsm->dir, dsm->dir_bytes ? dsm->dir_bytes : 1);
	if (dsm->history)
		munmap(dsm->history, home_pages(dsm) ? home_pages(dsm) : 1);
	view_free(dsm->view);
	free(dsm);
}

int dsm_start(struct dsm *dsm)
{
	int rc = 0;

	for (unsigned i = 0; i < dsm->shards && !rc; i++)
		rc = shard_start(&dsm->shard[i]);
	return rc;
}

void dsm_stop(struct dsm *dsm)
{
	for (unsigned i = 0; i < dsm->shards; i++)
		shard_stop(&dsm->shard[i]);
}

int dsm_reset(struct dsm *dsm, uint16_t epoch)
{
	int rc = view_reset(dsm->view);

	if (rc || !dsm->shards)
		return rc;
	dsm->epoch = epoch;
	for (unsigned i = 0; i < dsm->shards; i++)
		shard_reset(&dsm->shard[i]);
	/* Fresh zero pages, and the memory given back. */
	if (madvise(dsm->cache, dsm->cache_bytes, MADV_DONTNEED) < 0 ||
	    (dsm->dir_bytes &&
	     (madvise(dsm->dir, dsm->dir_bytes, MADV_DONTNEED) < 0 || madvise(dsm->history, home_pages(dsm), MADV_DONTNEED) < 0)))
		return -errno;
	return register_others(dsm);
}

uint8_t *dsm_ram(const struct dsm *dsm)
{
	return view_guest(dsm->view);
}

void dsm_root(struct dsm *dsm, uint64_t cr3, bool five_levels)
{
	if (dsm->shards && dsm_with(dsm, DSM_WITHOUT(REPLICAS)))
		replicas_root(&dsm->shard[0].replicas, cr3, five_levels);
}

int dsm_release(struct dsm *dsm)
{
	return dsm->shards && dsm_with(dsm, DSM_WITHOUT(REPLICAS)) ? replicas_release(&dsm->shard[0]) : 0;
}

int dsm_peek(const struct dsm *dsm, uint64_t at, void *buf, size_t len)
{
	uint64_t end = dsm->node_first[dsm->config.nodes] << PAGE_SHIFT;

	if (at > end || len > end - at)
		return -ERANGE;
	return view_peek(dsm->view, at, buf, len);
}

rpn_t dsm_next(const struct dsm *dsm, rpn_t page)
{
	rpn_t pages = dsm->node_first[dsm->config.nodes];

	return page < pages ? MIN(view_next(dsm->view, page), pages) : pages;
}

/* The transactions of a page are numbered, so its directory entry tells how hot it is. */
static void find_hottest(const struct dsm *dsm, struct dsm_stats *out)
{
	rpn_t first = dsm->node_first[dsm->config.self];

	for (uint64_t block = 0; block < home_pages(dsm) / BLOCK_PAGES; block++) {
		if (!__atomic_load_n(&dsm->block[first / BLOCK_PAGES + block].shared, __ATOMIC_RELAXED))
			continue;
		for (uint64_t i = block * BLOCK_PAGES; i < (block + 1) * BLOCK_PAGES; i++)
			dsm_stats_hot(out, first + i, __atomic_load_n(&dsm->dir[i].word, __ATOMIC_RELAXED) >> 2);
	}
	for (unsigned i = 0; dsm_with(dsm, DSM_WITHOUT(REPLICAS)) && i < DSM_HOTTEST && out->hot[i].transactions; i++)
		if (replicas_has(&dsm->shard[0].replicas, out->hot[i].page))
			out->hot[i].marks |= DSM_HOT_TABLE;
}

void dsm_stats(const struct dsm *dsm, struct dsm_stats *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < dsm->shards; i++) {
		const uint64_t *from = (const uint64_t *)&dsm->shard[i].stats;
		struct dsm_stats one;

		for (size_t k = 0; k < sizeof(one) / sizeof(uint64_t); k++)
			((uint64_t *)&one)[k] = __atomic_load_n(&from[k], __ATOMIC_RELAXED);
		dsm_stats_add(out, &one);
	}
	out->ram_bytes = home_pages(dsm) << PAGE_SHIFT;
	out->resident_bytes = view_resident_bytes(dsm->view);
	if (dsm->shards)
		find_hottest(dsm, out);
}
