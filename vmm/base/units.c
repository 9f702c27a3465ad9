/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

/* Digits only: strtoull would take signs, blanks and wrap around. */
static int digits(const char **text, uint64_t *value)
{
	uint64_t v = 0;

	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	for (; isdigit((unsigned char)**text); (*text)++) {
		uint64_t d = (uint64_t)(**text - '0');

		if (v > (INT64_MAX - d) / 10)
			return -ERANGE;
		v = v * 10 + d;
	}
	*value = v;
	return 0;
}

int units_parse_bytes(const char *text, uint64_t *bytes)
{
	uint64_t v;
	int shift = 0;
	int rc = digits(&text, &v);

	if (rc)
		return rc;
	switch (toupper((unsigned char)*text)) {
	case 'T':
		shift = 40;
		break;
	case 'G':
		shift = 30;
		break;
	case 'M':
		shift = 20;
		break;
	case 'K':
		shift = 10;
		break;
	default:
		break;
	}
	if (shift)
		text++;
	if (*text)
		return -EINVAL;
	if (v > ((uint64_t)INT64_MAX >> shift))
		return -ERANGE;
	*bytes = v << shift;
	return 0;
}

int units_parse_u32(const char *text, uint32_t max, uint32_t *value)
{
	uint64_t v;
	int rc = digits(&text, &v);

	if (rc)
		return rc;
	if (*text)
		return -EINVAL;
	if (v > max)
		return -ERANGE;
	*value = (uint32_t)v;
	return 0;
}

char *units_format_bytes(uint64_t bytes, char *buf)
{
	static const char *const suffix[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t i = 0;

	for (; v >= 1024 && i + 1 < ARRAY_SIZE(suffix); i++)
		v /= 1024;
	snprintf(buf, UNITS_TEXT, v == (double)(uint64_t)v ? "%.0f %s" : "%.1f %s", v, suffix[i]);
	return buf;
}
