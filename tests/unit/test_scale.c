/* SPDX-License-Identifier: Apache-2.0 */
/* The largest machine, 64 nodes with 1024 vCPUs and 32 TiB: its map, its messages, its APIC ids. Its ACPI tables: test_acpi.c. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "net/wire.h"
#include "tests/unit/check_main.h"
#include "vcpu/cpuid.h"
#include "vcpu/vcpu.h"
#include "vmm/memmap.h"

#define NODE_VCPUS (VCPUS_MAX / NODES_MAX)
#define NODE_BYTES (MEMMAP_BYTES_MAX / NODES_MAX)

static struct memmap largest(void)
{
	struct memmap_spec spec[NODES_MAX];
	struct memmap map;

	for (size_t n = 0; n < NODES_MAX; n++)
		spec[n] = (struct memmap_spec){.vcpus = NODE_VCPUS, .bytes = NODE_BYTES};
	ck_assert_int_eq(memmap_build(spec, NODES_MAX, &map), 0);
	return map;
}

/* ---- where things are ---- */

START_TEST(every_vcpu_and_page_has_its_node)
{
	struct memmap map = largest();

	ck_assert_uint_eq(map.vcpus, VCPUS_MAX);
	for (vcpu_t v = 0; v < VCPUS_MAX; v++)
		ck_assert_uint_eq(memmap_vcpu_node(&map, v), v / NODE_VCPUS);
	ck_assert_uint_eq(memmap_vcpu_node(&map, VCPUS_MAX), NODE_NONE);
	for (node_t n = 0; n < NODES_MAX; n++) {
		rpn_t first = n * (NODE_BYTES >> PAGE_SHIFT), last = first + (NODE_BYTES >> PAGE_SHIFT) - 1, back;

		ck_assert_uint_eq(memmap_home(&map, first), n);
		ck_assert_uint_eq(memmap_home(&map, last), n);
		ck_assert(memmap_rpn(&map, memmap_gpa(last), &back) && back == last);
	}
	ck_assert_uint_le(memmap_end(&map), UINT64_C(1) << 46);
}
END_TEST

/* ---- messages ---- */

static struct wire_machine machine_of(uint32_t nodes)
{
	struct wire_machine machine = {.version = WIRE_VERSION,
				       .n_nodes = nodes,
				       .self = 1,
				       .shards = WIRE_SHARDS_MAX,
				       .tsc_khz = 2000000,
				       .n_cpuid = WIRE_CPUID_MAX};

	for (node_t n = 0; n < MIN(nodes, NODES_MAX); n++) {
		machine.node[n] =
			(struct wire_machine_node){.vcpus = NODE_VCPUS, .port = (uint16_t)(n + 1), .mem_bytes = NODE_BYTES};
		memset(machine.node[n].host, 'h', WIRE_HOST_BYTES - 1);
	}
	return machine;
}

START_TEST(the_largest_machine_fits_a_message)
{
	struct wire_machine machine = machine_of(NODES_MAX), back;
	struct wire_hdr hdr = {.type = WIRE_MACHINE, .len = (uint32_t)wire_machine_bytes(&machine)};

	ck_assert_int_eq(wire_hdr_check(&hdr, WIRE_LANE_CONTROL), 0);
	ck_assert_int_eq(wire_machine_decode((const uint8_t *)&machine, hdr.len, &back), 0);
	ck_assert_mem_eq(&back, &machine, sizeof(machine));
}
END_TEST

START_TEST(a_machine_of_65_nodes_is_refused)
{
	struct wire_machine machine = machine_of(NODES_MAX + 1), back;

	ck_assert_int_eq(wire_machine_decode((const uint8_t *)&machine, wire_machine_bytes(&machine), &back), -EBADMSG);
}
END_TEST

START_TEST(messages_name_the_last_node_and_all_its_sharers)
{
	struct wire_hdr hdr = {.type = WIRE_GRANT, .acks = NODES_MAX - 1, .node = NODES_MAX - 1};

	ck_assert_int_eq(wire_hdr_check(&hdr, WIRE_LANE_DSM), 0);
	hdr.node = NODES_MAX;
	ck_assert_int_eq(wire_hdr_check(&hdr, WIRE_LANE_DSM), -EBADMSG);
}
END_TEST

START_TEST(an_interrupt_reaches_all_1024)
{
	struct wire_ipi ipi = {.vector = 0x40}, back;
	struct wire_route route = {.vcpu = VCPUS_MAX - 1, .id = VCPUS_MAX - 1, .mode = 2}, to;

	memset(ipi.vcpus, 0xff, sizeof(ipi.vcpus));
	ck_assert_uint_eq(sizeof(ipi.vcpus) * 8, VCPUS_MAX);
	ck_assert_int_eq(wire_ipi_decode((const uint8_t *)&ipi, sizeof(ipi), &back), 0);
	ck_assert_mem_eq(&back, &ipi, sizeof(ipi));
	ck_assert_int_eq(wire_route_decode((const uint8_t *)&route, sizeof(route), &to), 0);
	route.vcpu = VCPUS_MAX;
	ck_assert_int_eq(wire_route_decode((const uint8_t *)&route, sizeof(route), &to), -EBADMSG);
}
END_TEST

/* ---- ids ---- */

static struct vcpus set_of(vcpu_t total, node_t nodes)
{
	struct vcpus vcpus = {.total = total};

	vcpus.config.nodes = nodes;
	return vcpus;
}

START_TEST(ids_above_254_start_in_x2apic_mode_and_others_do_not)
{
	struct vcpus small = set_of(253, 2), large = set_of(254, 2), largest_set = set_of(VCPUS_MAX, NODES_MAX);
	struct lapic l;

	ipi_power_on_lapic(&small, &l, 252);
	ck_assert_int_eq(lapic_mode(&l), APIC_XAPIC);
	ipi_power_on_lapic(&large, &l, 0);
	ck_assert_int_eq(lapic_mode(&l), APIC_X2APIC);
	ipi_power_on_lapic(&largest_set, &l, VCPUS_MAX - 1);
	ck_assert_int_eq(lapic_mode(&l), APIC_X2APIC);
	ck_assert(l.wait_sipi);
	lapic_reset(&l); /* INIT keeps it */
	ck_assert_int_eq(lapic_mode(&l), APIC_X2APIC);
}
END_TEST

static unsigned reached(const struct apic_route *routes, struct apic_ipi ipi, vcpu_t self, vcpu_t *lowest)
{
	struct vcpuset out;
	unsigned n = 0;

	ipi.x2apic = true;
	ipi.vector = 0x40;
	vcpuset_clear(&out);
	apic_resolve(routes, VCPUS_MAX, self, &ipi, &out);
	*lowest = vcpuset_next(&out, 0);
	for (vcpu_t v = *lowest; v != VCPU_NONE; v = vcpuset_next(&out, v + 1))
		n++;
	return n;
}

START_TEST(each_of_1024_vcpus_is_reached_alone_in_its_cluster_and_with_all)
{
	static struct apic_route routes[VCPUS_MAX];
	struct vcpus vcpus = set_of(VCPUS_MAX, NODES_MAX);
	vcpu_t lowest;

	for (vcpu_t v = 0; v < VCPUS_MAX; v++) {
		struct lapic l;

		ipi_power_on_lapic(&vcpus, &l, v);
		lapic_route(&l, &routes[v]);
	}
	for (vcpu_t v = 0; v < VCPUS_MAX; v++) {
		struct apic_ipi alone = {.dest = v}, cluster = {.dest = v / 16 << 16 | 0xffff, .logical = true};

		ck_assert_uint_eq(reached(routes, alone, 0, &lowest), 1);
		ck_assert_uint_eq(lowest, v);
		ck_assert_uint_eq(reached(routes, cluster, 0, &lowest), 16);
		ck_assert_uint_eq(lowest, v / 16 * 16);
	}
	ck_assert_uint_eq(reached(routes, (struct apic_ipi){.shorthand = APIC_ALL_BUT_SELF}, 1023, &lowest), VCPUS_MAX - 1);
	ck_assert_uint_eq(reached(routes, (struct apic_ipi){.dest = UINT32_MAX}, 0, &lowest), VCPUS_MAX);
}
END_TEST

START_TEST(cpuid_tells_the_last_vcpu_its_whole_id)
{
	static struct cpuid_set machine, out;
	unsigned levels = 0;

	machine.n = 2;
	machine.entry[0] = (struct kvm_cpuid_entry2){.function = 0, .eax = 0x1f};
	machine.entry[1] = (struct kvm_cpuid_entry2){.function = 1};
	cpuid_for_vcpu(&machine, VCPUS_MAX - 1, &out);
	for (uint32_t i = 0; i < out.n; i++) {
		ck_assert_uint_ne(out.entry[i].function, 0x1f); /* none: the guest reads 0 there and takes 0xb */
		if (out.entry[i].function != 0xb)
			continue;
		ck_assert_uint_eq(out.entry[i].edx, VCPUS_MAX - 1);
		levels++;
	}
	ck_assert_uint_eq(levels, 3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scale");
	TCase *t = tcase_create("scale");

	suite_add_tcase(s, t);
	tcase_add_test(t, every_vcpu_and_page_has_its_node);
	tcase_add_test(t, the_largest_machine_fits_a_message);
	tcase_add_test(t, a_machine_of_65_nodes_is_refused);
	tcase_add_test(t, messages_name_the_last_node_and_all_its_sharers);
	tcase_add_test(t, an_interrupt_reaches_all_1024);
	tcase_add_test(t, ids_above_254_start_in_x2apic_mode_and_others_do_not);
	tcase_add_test(t, each_of_1024_vcpus_is_reached_alone_in_its_cluster_and_with_all);
	tcase_add_test(t, cpuid_tells_the_last_vcpu_its_whole_id);
	return check_main(s);
}
