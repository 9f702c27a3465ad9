/* SPDX-License-Identifier: Apache-2.0 */
/* Which engine a benchmark's TCP lanes have: $ENGINE, epoll or uring. */
#ifndef TESTS_BENCH_ENGINE_H
#define TESTS_BENCH_ENGINE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp.h"

static inline enum tcp_engine engine_wanted(void)
{
	const char *text = getenv("ENGINE");

	if (!text || !strcmp(text, "epoll"))
		return TCP_EPOLL;
	if (!strcmp(text, "uring"))
		return TCP_URING;
	fprintf(stderr, "ENGINE is epoll or uring, not '%s'\n", text);
	exit(2);
}

#endif
