/* SPDX-License-Identifier: Apache-2.0 */
/* What a function logs, for tests that check the sentence: standard error goes to a memfd in between. */
#ifndef UNIT_CAPTURE_H
#define UNIT_CAPTURE_H

#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct capture {
	int saved;
	int file;
	char text[4096];
};

static inline void capture_start(struct capture *c)
{
	fflush(stderr);
	c->saved = dup(STDERR_FILENO);
	c->file = memfd_create("capture", 0);
	ck_assert_int_ge(c->saved, 0);
	ck_assert_int_ge(dup2(c->file, STDERR_FILENO), 0);
}

/* What was written since capture_start(), as text; valid as long as c. */
static inline const char *capture_end(struct capture *c)
{
	ssize_t n = pread(c->file, c->text, sizeof(c->text) - 1, 0);

	dup2(c->saved, STDERR_FILENO);
	close(c->saved);
	close(c->file);
	c->text[n > 0 ? n : 0] = '\0';
	return c->text;
}

#endif
