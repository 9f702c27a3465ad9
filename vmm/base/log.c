/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

PRINTF_LIKE(2, 0)
static void line(const char *label, const char *fmt, va_list ap)
{
	char buf[1024];
	int n = snprintf(buf, sizeof(buf), "pangea: %s", label);
	int m = vsnprintf(buf + n, sizeof(buf) - (size_t)n - 1, fmt, ap);
	size_t len = (size_t)n + (size_t)(m < 0 ? 0 : m);

	if (len > sizeof(buf) - 2)
		len = sizeof(buf) - 2;
	buf[len++] = '\n';
	ssize_t done = write(STDERR_FILENO, buf, len);
	(void)done; /* nowhere left to say it */
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("error: ", fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("warning: ", fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

bool log_allowed(struct log_limit *limit)
{
	uint64_t now = clock_ns();
	uint64_t next = atomic_load_explicit(&limit->next_ns, memory_order_relaxed);

	if (now < next)
		return false;
	return atomic_compare_exchange_strong_explicit(&limit->next_ns, &next, now + NS_PER_SEC, memory_order_relaxed,
						       memory_order_relaxed);
}
