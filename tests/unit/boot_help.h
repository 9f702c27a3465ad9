/* SPDX-License-Identifier: Apache-2.0 */
/* A bench for the boot loaders: two nodes' RAM, dirty as after a reset, a synthetic kernel file, and what loading it gives. */
#ifndef UNIT_BOOT_HELP_H
#define UNIT_BOOT_HELP_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/boot.h"

#define FILE_MAX (64 * 1024)

struct bench {
	struct memmap map;
	struct guestmem mem;
	uint8_t *ram;
	uint8_t file[FILE_MAX];
	struct boot_request request;
	struct boot_entry entry;
	struct boot_why why;
};

/* Two nodes, RAM dirty as after a reset. */
static inline struct bench *bench_new(uint64_t node0, uint64_t node1)
{
	struct bench *b = calloc(1, sizeof(*b));

	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(memmap_build((struct memmap_spec[]){{1, node0}, {1, node1}}, 2, &b->map), 0);
	b->ram = malloc(node0 + node1);
	ck_assert_ptr_nonnull(b->ram);
	memset(b->ram, 0xa5, node0 + node1);
	memmap_guestmem(&b->map, b->ram, &b->mem);
	b->request = (struct boot_request){
		.kernel = {.name = "kernel", .bytes = b->file, .len = FILE_MAX}, .cmdline = "console=ttyS0", .rsdp = 0xe0000};
	return b;
}

static inline void bench_free(struct bench *b)
{
	free(b->ram);
	free(b);
}

static inline int load(struct bench *b)
{
	return boot_try(&b->request, &b->map, &b->mem, &b->entry, &b->why);
}

/* Refused with this error and a reason that says `text`; the entry is untouched. */
static inline void refused(struct bench *b, int error, const char *text)
{
	b->entry.rip = 42;
	ck_assert_int_eq(load(b), -error);
	ck_assert_msg(strstr(b->why.text, text), "\"%s\" lacks \"%s\"", b->why.text, text);
	ck_assert_uint_eq(b->entry.rip, 42);
}

#endif
