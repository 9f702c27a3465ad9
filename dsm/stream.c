/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/stream.h"

/* The page whose fault says that the window was used. */
static rpn_t next_of(const struct stream *t)
{
	return t->last + (rpn_t)(t->stride * (int64_t)(t->window + 1));
}

static uint32_t limit_of(const struct streams *s)
{
	return s->limit ? s->limit : STREAM_WINDOW;
}

static struct stream *find_next(struct streams *s, rpn_t page, bool write)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *t = &s->stream[i];

		if (t->live && t->stride && t->write == write && next_of(t) == page)
			return t;
	}
	return NULL;
}

/* In whose window the page is: it was not there yet, or is gone again. */
static struct stream *find_inside(struct streams *s, rpn_t page, bool write)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *t = &s->stream[i];
		int64_t d = (int64_t)(page - t->last);

		if (t->live && t->window && t->write == write && d % t->stride == 0 && d / t->stride >= 0 &&
		    d / t->stride <= (int64_t)t->window)
			return t;
	}
	return NULL;
}

/* A stream that begins, and may have this page as its next. */
static struct stream *find_near(struct streams *s, rpn_t page, bool write)
{
	struct stream *best = NULL;

	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *t = &s->stream[i];
		int64_t d = (int64_t)(page - t->last);

		if (t->live && !t->window && t->write == write && d && d <= STREAM_STRIDE && d >= -STREAM_STRIDE &&
		    (!best || t->used > best->used))
			best = t;
	}
	return best;
}

static void replace(struct streams *s, rpn_t page, bool write, struct stream_ahead *out)
{
	struct stream *oldest = &s->stream[0];

	for (unsigned i = 0; i < STREAMS && oldest->live; i++)
		if (!s->stream[i].live || s->stream[i].used < oldest->used)
			oldest = &s->stream[i];
	if (oldest->live && oldest->window) {
		out->wasted = oldest->window;
		s->limit = MAX(limit_of(s) / 2, 1u);
	}
	*oldest = (struct stream){.last = page, .write = write, .live = true, .used = s->faults};
}

struct stream_ahead stream_fault(struct streams *s, rpn_t page, bool write)
{
	struct stream_ahead out = {0};
	struct stream *t = find_next(s, page, write);

	s->faults++;
	if (t && t->window) {
		out.used = t->window;
		s->limit = MIN(limit_of(s) * 2, STREAM_WINDOW);
		t->window = MIN(t->window * 2, limit_of(s));
	} else if (t) {
		t->window = MIN(STREAM_FIRST, limit_of(s));
	} else if (find_inside(s, page, write)) {
		return out;
	} else {
		t = find_near(s, page, write);
		if (!t) {
			replace(s, page, write, &out);
			return out;
		}
		t->stride = (int64_t)(page - t->last);
		/* Neighbours are enough, unless windows have been wasted of late. */
		if (t->stride * t->stride == 1 && limit_of(s) >= STREAM_FIRST)
			t->window = STREAM_FIRST;
	}
	t->last = page;
	t->used = s->faults;
	out.first = page + (rpn_t)t->stride;
	out.stride = t->stride;
	out.n = t->window;
	return out;
}

struct stream_ahead stream_late(struct streams *s, rpn_t page, bool write)
{
	struct stream_ahead out = {0};
	struct stream *t = find_inside(s, page, write);

	if (!t || t->window < STREAM_LATE)
		return out;
	uint32_t used = (uint32_t)((int64_t)(page - t->last) / t->stride), left = t->window - used;
	if (left > used)
		return out;
	s->faults++;
	s->limit = MIN(limit_of(s) * 2, STREAM_WINDOW);
	out.used = used;
	out.first = next_of(t);
	out.stride = t->stride;
	t->last = page;
	t->used = s->faults;
	t->window = MAX(MIN(t->window * 2, limit_of(s)), left);
	out.n = t->window - left;
	return out;
}
