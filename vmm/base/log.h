/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for people, on standard error. Any thread; a line is one write(2), so lines never mix.
 *
 * A message says what failed, where, why, and what to do next. The function that first decides
 * that something is an error logs it, once; its callers pass the code on.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2); /* "pangea: error: ..." */
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);  /* "pangea: warning: ..." */
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);  /* "pangea: ..." */

/* At most one line a second from one place, for what a guest or a peer can cause at will.
 * The struct belongs to the object that logs; zero-initialised is ready. */
struct log_limit {
	_Atomic uint64_t next_ns;
};
bool log_allowed(struct log_limit *limit);

#endif
