/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guestmem.h"

#include <errno.h>
#include <string.h>

uint8_t *guestmem_ptr(const struct guestmem *mem, gpa_t gpa, uint64_t len)
{
	for (size_t i = 0; i < mem->n; i++) {
		const struct guestmem_range *r = &mem->range[i];

		if (gpa < r->gpa || gpa - r->gpa >= r->len)
			continue;
		return len <= r->len - (gpa - r->gpa) ? r->host + (gpa - r->gpa) : NULL;
	}
	return NULL;
}

int guestmem_read(const struct guestmem *mem, gpa_t gpa, void *buf, size_t len)
{
	const uint8_t *p = guestmem_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(buf, p, len);
	return 0;
}

int guestmem_write(const struct guestmem *mem, gpa_t gpa, const void *buf, size_t len)
{
	uint8_t *p = guestmem_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(p, buf, len);
	return 0;
}

bool guestmem_gpa(const struct guestmem *mem, rpn_t page, gpa_t *gpa)
{
	for (size_t i = 0; i < mem->n; i++) {
		const struct guestmem_range *r = &mem->range[i];

		if (page >= r->first && page - r->first < r->len >> PAGE_SHIFT) {
			*gpa = r->gpa + ((page - r->first) << PAGE_SHIFT);
			return true;
		}
	}
	return false;
}
