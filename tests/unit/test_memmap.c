/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <unistd.h>

#include "tests/unit/check_main.h"
#include "vmm/memmap.h"

static struct memmap build(const struct memmap_spec *spec, size_t n)
{
	struct memmap map;

	ck_assert_int_eq(memmap_build(spec, n, &map), 0);
	return map;
}

#define BUILD(...) build((const struct memmap_spec[]){__VA_ARGS__}, ARRAY_SIZE(((const struct memmap_spec[]){__VA_ARGS__})))
#define REFUSE(...)                                                                                                      \
	memmap_build((const struct memmap_spec[]){__VA_ARGS__}, ARRAY_SIZE(((const struct memmap_spec[]){__VA_ARGS__})), \
		     &(struct memmap){0})

START_TEST(ranges_and_vcpus_are_contiguous)
{
	struct memmap map = BUILD({2, 512 * MIB}, {0, 1 * GIB}, {3, 256 * MIB});

	ck_assert_uint_eq(map.nodes, 3);
	ck_assert_uint_eq(map.vcpus, 5);
	ck_assert_uint_eq(map.pages, (512 + 1024 + 256) * MIB / PAGE_BYTES);
	ck_assert_uint_eq(map.node[0].first, 0);
	ck_assert_uint_eq(map.node[1].first, 512 * MIB / PAGE_BYTES);
	ck_assert_uint_eq(map.node[2].first, (512 + 1024) * MIB / PAGE_BYTES);
	ck_assert_uint_eq(map.node[1].vcpus, 0);
	ck_assert_uint_eq(map.node[2].first_vcpu, 2);
}
END_TEST

START_TEST(no_node_is_refused)
{
	struct memmap map = {.nodes = 77};

	ck_assert_int_eq(memmap_build(NULL, 0, &map), -EINVAL);
	ck_assert_uint_eq(map.nodes, 77); /* written only on success */
}
END_TEST

START_TEST(a_size_that_is_not_whole_blocks_is_refused)
{
	ck_assert_int_eq(REFUSE({1, 64 * MIB + PAGE_BYTES}), -EINVAL);
	ck_assert_int_eq(REFUSE({1, 1 * MIB}), -EINVAL);
}
END_TEST

START_TEST(no_vcpu_in_all_is_refused)
{
	ck_assert_int_eq(REFUSE({0, 64 * MIB}, {0, 64 * MIB}), -EINVAL);
}
END_TEST

START_TEST(no_ram_in_all_is_refused)
{
	ck_assert_int_eq(REFUSE({1, 0}, {2, 0}), -EINVAL);
}
END_TEST

START_TEST(an_empty_node_is_refused)
{
	ck_assert_int_eq(REFUSE({1, 64 * MIB}, {0, 0}), -EINVAL);
}
END_TEST

START_TEST(sixty_four_nodes_are_taken_and_sixty_five_refused)
{
	struct memmap_spec spec[NODES_MAX + 1];
	struct memmap map;

	for (size_t i = 0; i < ARRAY_SIZE(spec); i++)
		spec[i] = (struct memmap_spec){1, 2 * MIB};
	ck_assert_int_eq(memmap_build(spec, NODES_MAX, &map), 0);
	for (node_t i = 0; i < NODES_MAX; i++)
		ck_assert_uint_eq(memmap_home(&map, map.node[i].first + BLOCK_PAGES - 1), i);
	ck_assert_int_eq(memmap_build(spec, NODES_MAX + 1, &map), -ERANGE);
}
END_TEST

START_TEST(too_many_vcpus_are_refused)
{
	ck_assert_int_eq(REFUSE({VCPUS_MAX, 2 * MIB}), 0);
	ck_assert_int_eq(REFUSE({VCPUS_MAX, 2 * MIB}, {1, 0}), -ERANGE);
	ck_assert_int_eq(REFUSE({1, 2 * MIB}, {UINT32_MAX, 0}), -ERANGE); /* no wrap */
}
END_TEST

START_TEST(too_much_ram_is_refused)
{
	ck_assert_int_eq(REFUSE({1, MEMMAP_BYTES_MAX}), 0);
	ck_assert_int_eq(REFUSE({1, MEMMAP_BYTES_MAX}, {1, 2 * MIB}), -ERANGE);
	ck_assert_int_eq(REFUSE({1, 2 * MIB}, {1, UINT64_MAX - 2 * MIB + 1}), -ERANGE); /* no wrap */
}
END_TEST

START_TEST(home_is_the_node_of_the_range)
{
	struct memmap map = BUILD({1, 4 * MIB}, {1, 0}, {1, 2 * MIB});

	ck_assert_uint_eq(memmap_home(&map, 0), 0);
	ck_assert_uint_eq(memmap_home(&map, 1023), 0);
	ck_assert_uint_eq(memmap_home(&map, 1024), 2); /* node 1 has none */
	ck_assert_uint_eq(memmap_home(&map, 1535), 2);
}
END_TEST

START_TEST(home_of_no_page_is_none)
{
	struct memmap map = BUILD({1, 4 * MIB});

	ck_assert_uint_eq(memmap_home(&map, 1024), NODE_NONE);
	ck_assert_uint_eq(memmap_home(&map, UINT64_MAX), NODE_NONE);
}
END_TEST

START_TEST(vcpu_node)
{
	struct memmap map = BUILD({2, 4 * MIB}, {0, 2 * MIB}, {1, 2 * MIB});

	ck_assert_uint_eq(memmap_vcpu_node(&map, 1), 0);
	ck_assert_uint_eq(memmap_vcpu_node(&map, 2), 2);
	ck_assert_uint_eq(memmap_vcpu_node(&map, 3), NODE_NONE);
}
END_TEST

START_TEST(addresses_jump_over_the_hole_and_back)
{
	struct memmap map = BUILD({1, 4 * GIB});
	rpn_t page;

	ck_assert_uint_eq(memmap_gpa(0xbffff), 0xbffff000);
	ck_assert_uint_eq(memmap_gpa(0xc0000), 4 * GIB);
	ck_assert(memmap_rpn(&map, 0xbfffffff, &page) && page == 0xbffff);
	ck_assert(memmap_rpn(&map, 4 * GIB + 1, &page) && page == 0xc0000);
	ck_assert(memmap_rpn(&map, 5 * GIB - 1, &page) && page == 0xfffff);
	ck_assert_uint_eq(memmap_low_end(&map), 3 * GIB);
	ck_assert_uint_eq(memmap_end(&map), 5 * GIB);
}
END_TEST

START_TEST(an_address_that_is_not_ram_has_no_page)
{
	struct memmap map = BUILD({1, 4 * GIB});
	rpn_t page = 42;

	ck_assert(!memmap_rpn(&map, 3 * GIB, &page));
	ck_assert(!memmap_rpn(&map, 0xfee00000, &page));
	ck_assert(!memmap_rpn(&map, 5 * GIB, &page));
	ck_assert(!memmap_rpn(&map, UINT64_MAX, &page));
	ck_assert_uint_eq(page, 42);
}
END_TEST

START_TEST(a_node_across_the_hole_has_two_pieces)
{
	struct memmap map = BUILD({1, 2 * GIB}, {1, 2 * GIB}, {1, 1 * GIB}, {1, 0});
	struct memmap_piece p[MEMMAP_NODE_PIECES_MAX];

	ck_assert_uint_eq(memmap_node_pieces(&map, 0, p), 1);
	ck_assert(p[0].gpa == 0 && p[0].len == 2 * GIB && p[0].node == 0);
	ck_assert_uint_eq(memmap_node_pieces(&map, 1, p), 2);
	ck_assert(p[0].gpa == 2 * GIB && p[0].len == 1 * GIB && p[0].node == 1);
	ck_assert(p[1].gpa == 4 * GIB && p[1].len == 1 * GIB && p[1].node == 1);
	ck_assert_uint_eq(memmap_node_pieces(&map, 2, p), 1);
	ck_assert(p[0].gpa == 5 * GIB && p[0].len == 1 * GIB && p[0].node == 2);
	ck_assert_uint_eq(memmap_node_pieces(&map, 3, p), 0);
}
END_TEST

START_TEST(a_node_that_ends_at_the_hole_has_one_piece)
{
	struct memmap map = BUILD({1, 3 * GIB}, {1, 2 * MIB});
	struct memmap_piece p[MEMMAP_NODE_PIECES_MAX];

	ck_assert_uint_eq(memmap_node_pieces(&map, 0, p), 1);
	ck_assert(p[0].gpa == 0 && p[0].len == 3 * GIB);
	ck_assert_uint_eq(memmap_node_pieces(&map, 1, p), 1);
	ck_assert(p[0].gpa == 4 * GIB && p[0].len == 2 * MIB);
}
END_TEST

/* The RAM entries and the firmware area below 1 MiB cover each RAM page once; the rest is in the hole. */
static void check_e820(const struct memmap *map)
{
	struct memmap_e820 e[MEMMAP_E820_MAX];
	size_t n = memmap_e820(map, e);
	uint64_t ram = 0;

	ck_assert_uint_le(n, MEMMAP_E820_MAX);
	for (size_t i = 0; i < n; i++) {
		ck_assert_uint_gt(e[i].len, 0);
		if (i)
			ck_assert_uint_ge(e[i].gpa, e[i - 1].gpa + e[i - 1].len);
		if (e[i].kind == MEMMAP_RAM)
			ram += e[i].len;
	}
	ck_assert_uint_eq(ram + (1 * MIB - MEMMAP_BASE_END), map->pages << PAGE_SHIFT);
}

START_TEST(e820_of_a_small_machine)
{
	struct memmap map = BUILD({1, 2 * MIB});

	check_e820(&map);
}
END_TEST

START_TEST(e820_of_a_machine_with_high_ram)
{
	struct memmap map = BUILD({1, 2 * GIB}, {1, 6 * GIB});
	struct memmap_e820 e[MEMMAP_E820_MAX];

	check_e820(&map);
	ck_assert_uint_eq(memmap_e820(&map, e), 5);
	ck_assert(e[4].gpa == 4 * GIB && e[4].len == 5 * GIB && e[4].kind == MEMMAP_RAM);
}
END_TEST

START_TEST(guestmem_has_a_range_on_each_side_of_the_hole)
{
	struct memmap map = BUILD({1, 4 * GIB});
	struct guestmem mem;
	uint8_t *host = (uint8_t *)(uintptr_t)0x100000000000; /* never touched */

	memmap_guestmem(&map, host, &mem);
	ck_assert_uint_eq(mem.n, 2);
	ck_assert_ptr_eq(guestmem_ptr(&mem, 4 * GIB, PAGE_BYTES), host + 3 * GIB);
	ck_assert_ptr_null(guestmem_ptr(&mem, 3 * GIB - 1, 2));
	for (rpn_t page = 0; page < map.pages; page += BLOCK_PAGES) {
		gpa_t gpa;

		ck_assert(guestmem_gpa(&mem, page, &gpa) && gpa == memmap_gpa(page));
	}
}
END_TEST

START_TEST(guestmem_of_a_small_machine_has_one_range)
{
	struct memmap map = BUILD({1, 3 * GIB});
	struct guestmem mem;

	memmap_guestmem(&map, NULL, &mem);
	ck_assert_uint_eq(mem.n, 1);
	ck_assert_uint_eq(mem.range[0].len, 3 * GIB);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("memmap");
	TCase *t = tcase_create("memmap");

	suite_add_tcase(s, t);
	tcase_add_test(t, ranges_and_vcpus_are_contiguous);
	tcase_add_test(t, no_node_is_refused);
	tcase_add_test(t, a_size_that_is_not_whole_blocks_is_refused);
	tcase_add_test(t, no_vcpu_in_all_is_refused);
	tcase_add_test(t, no_ram_in_all_is_refused);
	tcase_add_test(t, an_empty_node_is_refused);
	tcase_add_test(t, sixty_four_nodes_are_taken_and_sixty_five_refused);
	tcase_add_test(t, too_many_vcpus_are_refused);
	tcase_add_test(t, too_much_ram_is_refused);
	tcase_add_test(t, home_is_the_node_of_the_range);
	tcase_add_test(t, home_of_no_page_is_none);
	tcase_add_test(t, vcpu_node);
	tcase_add_test(t, addresses_jump_over_the_hole_and_back);
	tcase_add_test(t, an_address_that_is_not_ram_has_no_page);
	tcase_add_test(t, a_node_across_the_hole_has_two_pieces);
	tcase_add_test(t, a_node_that_ends_at_the_hole_has_one_piece);
	tcase_add_test(t, e820_of_a_small_machine);
	tcase_add_test(t, e820_of_a_machine_with_high_ram);
	tcase_add_test(t, guestmem_has_a_range_on_each_side_of_the_hole);
	tcase_add_test(t, guestmem_of_a_small_machine_has_one_range);
	return check_main(s);
}
