/* SPDX-License-Identifier: Apache-2.0 */
/* What processor the guest sees. Leaves and bits after Intel SDM vol. 2A, CPUID, and AMD APM vol. 3, appendix E. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "capture.h"
#include "tests/unit/check_main.h"
#include "vcpu/cpuid.h"

#define BIT(n) (1u << (n))

static struct cpuid_set a, b, out;

static struct kvm_cpuid_entry2 *add(struct cpuid_set *set, struct kvm_cpuid_entry2 entry)
{
	ck_assert_uint_lt(set->n, CPUID_MAX);
	set->entry[set->n] = entry;
	return &set->entry[set->n++];
}

/* The leaf, or NULL; whether a sub-leaf or not. */
static const struct kvm_cpuid_entry2 *leaf(const struct cpuid_set *set, uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (uint32_t i = 0; i < set->n; i++)
		if (set->entry[i].function == function && set->entry[i].index == index) {
			ck_assert_msg(!found, "leaf 0x%x, %u is there twice", function, index);
			found = &set->entry[i];
		}
	return found;
}

/* "AuthenticAMD" or "GenuineIntel", with a highest leaf. */
static void add_vendor(struct cpuid_set *set, const char *vendor, uint32_t highest)
{
	struct kvm_cpuid_entry2 e = {.function = 0, .eax = highest};

	memcpy(&e.ebx, vendor, 4);
	memcpy(&e.edx, vendor + 4, 4);
	memcpy(&e.ecx, vendor + 8, 4);
	add(set, e);
}

static void setup(void)
{
	a.n = b.n = out.n = 0;
	add_vendor(&a, "AuthenticAMD", 0x10);
	add_vendor(&b, "AuthenticAMD", 0xd);
}

START_TEST(vendor_is_twelve_letters)
{
	char vendor[13];

	cpuid_vendor(&a, vendor);
	ck_assert_str_eq(vendor, "AuthenticAMD");
}
END_TEST

START_TEST(vendor_of_a_set_without_leaf_0_is_empty)
{
	char vendor[13] = "x";

	a.n = 0;
	cpuid_vendor(&a, vendor);
	ck_assert_str_eq(vendor, "");
}
END_TEST

/* ---- the intersection ---- */

START_TEST(features_that_one_node_lacks_are_gone)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 1, .eax = 0x1111, .ecx = 0xff0, .edx = 0xf});
	add(&b, (struct kvm_cpuid_entry2){.function = 1, .eax = 0x2222, .ecx = 0x0ff, .edx = 0x6});
	ck_assert_int_eq(cpuid_intersect(&a, &b), 0);
	ck_assert_uint_eq(leaf(&a, 1, 0)->ecx, 0x0f0);
	ck_assert_uint_eq(leaf(&a, 1, 0)->edx, 0x6);
	ck_assert_uint_eq(leaf(&a, 1, 0)->eax, 0x1111); /* family and model: the leader's */
}
END_TEST

START_TEST(leaf_that_one_node_lacks_is_gone)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 6, .eax = 4});
	add(&b, (struct kvm_cpuid_entry2){.function = 5, .eax = 4});
	ck_assert_int_eq(cpuid_intersect(&a, &b), 0);
	ck_assert_ptr_null(leaf(&a, 6, 0));
	ck_assert_ptr_null(leaf(&a, 5, 0));
	ck_assert_uint_eq(a.n, 1);
}
END_TEST

START_TEST(highest_leaf_is_the_lower_one)
{
	ck_assert_int_eq(cpuid_intersect(&a, &b), 0);
	ck_assert_uint_eq(leaf(&a, 0, 0)->eax, 0xd);
}
END_TEST

START_TEST(sub_leaves_are_combined_each_with_its_own)
{
	const uint32_t sub = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

	add(&a, (struct kvm_cpuid_entry2){.function = 7, .index = 0, .flags = sub, .eax = 2, .ebx = 0xff});
	add(&a, (struct kvm_cpuid_entry2){.function = 7, .index = 1, .flags = sub, .eax = 0x30});
	add(&a, (struct kvm_cpuid_entry2){.function = 7, .index = 2, .flags = sub, .edx = 0x30});
	add(&b, (struct kvm_cpuid_entry2){.function = 7, .index = 1, .flags = sub, .eax = 0x10});
	add(&b, (struct kvm_cpuid_entry2){.function = 7, .index = 0, .flags = sub, .eax = 1, .ebx = 0x0f});
	ck_assert_int_eq(cpuid_intersect(&a, &b), 0);
	ck_assert_uint_eq(leaf(&a, 7, 0)->eax, 1); /* how many sub-leaves */
	ck_assert_uint_eq(leaf(&a, 7, 0)->ebx, 0x0f);
	ck_assert_uint_eq(leaf(&a, 7, 1)->eax, 0x10);
	ck_assert_ptr_null(leaf(&a, 7, 2));
}
END_TEST

START_TEST(address_widths_are_the_narrower_ones)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 57 << 8 | 46});
	add(&b, (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 48 << 8 | 52});
	ck_assert_int_eq(cpuid_intersect(&a, &b), 0);
	ck_assert_uint_eq(leaf(&a, 0x80000008, 0)->eax, 48 << 8 | 46);
}
END_TEST

START_TEST(intersection_of_two_vendors_is_refused_and_changes_nothing)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 1, .ecx = 0xff});
	b.n = 0;
	add_vendor(&b, "GenuineIntel", 0x10);
	ck_assert_int_eq(cpuid_intersect(&a, &b), -EXDEV);
	ck_assert_uint_eq(a.n, 2);
	ck_assert_uint_eq(leaf(&a, 1, 0)->ecx, 0xff);
}
END_TEST

START_TEST(intersection_with_an_empty_set_is_refused)
{
	b.n = 0;
	ck_assert_int_eq(cpuid_intersect(&a, &b), -EXDEV);
}
END_TEST

START_TEST(intersection_with_itself_changes_no_feature)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 1, .ebx = 0x800, .ecx = 0xabcd, .edx = 0x1234});
	b = a;
	ck_assert_int_eq(cpuid_intersect(&a, &b), 0);
	ck_assert_mem_eq(&a, &b, offsetof(struct cpuid_set, entry) + b.n * sizeof(b.entry[0]));
}
END_TEST

/* ---- the machine's ---- */

START_TEST(machine_has_what_is_ours_and_not_what_cannot_cross_nodes)
{
	const struct kvm_cpuid_entry2 *e;

	add(&a,
	    (struct kvm_cpuid_entry2){.function = 1, .ebx = 0x00100800, .ecx = BIT(0) | BIT(3) | BIT(5), .edx = BIT(0) | BIT(28)});
	add(&a, (struct kvm_cpuid_entry2){.function = 7, .ebx = BIT(1) | BIT(5), .ecx = BIT(5) | BIT(2)});
	add(&a, (struct kvm_cpuid_entry2){.function = 0x80000001, .ecx = BIT(0) | BIT(2) | BIT(22)});
	cpuid_machine(&a, true);
	e = leaf(&a, 1, 0);
	ck_assert_uint_eq(e->ecx, BIT(0) | BIT(21) | BIT(24) | BIT(31)); /* x2APIC, TSC deadline, hypervisor; no MONITOR, no VMX */
	ck_assert_uint_eq(e->edx, BIT(0) | BIT(9));                      /* APIC; no HTT */
	ck_assert_uint_eq(leaf(&a, 7, 0)->ebx, BIT(5));                  /* no TSC_ADJUST */
	ck_assert_uint_eq(leaf(&a, 7, 0)->ecx, BIT(2));                  /* no WAITPKG */
	ck_assert_uint_eq(leaf(&a, 0x80000001, 0)->ecx, BIT(0));         /* no SVM, no topology extensions */
}
END_TEST

START_TEST(machine_has_kvm_leaves_without_shared_pages)
{
	const struct kvm_cpuid_entry2 *e;

	/* As KVM offers them: kvmclock, async page faults, steal time, PV EOI and the rest. */
	add(&a, (struct kvm_cpuid_entry2){.function = 0x40000000, .eax = 0x40000001});
	add(&a, (struct kvm_cpuid_entry2){.function = 0x40000001, .eax = 0x0100ffff, .edx = 1});
	cpuid_machine(&a, true);
	e = leaf(&a, 0x40000000, 0);
	ck_assert_mem_eq(&e->ebx, "KVMK", 4);
	ck_assert_mem_eq(&e->ecx, "VMKV", 4);
	ck_assert_mem_eq(&e->edx, "M\0\0\0", 4);
	ck_assert_uint_eq(leaf(&a, 0x40000001, 0)->eax, BIT(1) | BIT(15)); /* no I/O delay, 15 bits of destination in an MSI */
	ck_assert_uint_eq(leaf(&a, 0x40000001, 0)->edx, 0);
}
END_TEST

START_TEST(machine_has_no_counters_no_nesting_and_no_topology_of_a_host)
{
	static const uint32_t gone[] = {0xa, 0xb, 0x12, 0x14, 0x1f, 0x8000000a, 0x8000001d, 0x8000001e, 0x8000001f, 0x80000022};

	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		add(&a, (struct kvm_cpuid_entry2){.function = gone[i], .eax = 1});
	add(&a, (struct kvm_cpuid_entry2){.function = 0xd, .eax = 7});
	cpuid_machine(&a, true);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		ck_assert_msg(!leaf(&a, gone[i], 0), "leaf 0x%x is there", gone[i]);
	ck_assert_uint_eq(leaf(&a, 0xd, 0)->eax, 7);
}
END_TEST

START_TEST(machine_promises_an_invariant_counter_only_if_told)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 0x80000007, .edx = 0xffffffff});
	b = a;
	cpuid_machine(&a, true);
	cpuid_machine(&b, false);
	ck_assert_uint_eq(leaf(&a, 0x80000007, 0)->edx, BIT(8));
	ck_assert_uint_eq(leaf(&b, 0x80000007, 0)->edx, 0);
}
END_TEST

START_TEST(full_set_is_not_overrun)
{
	while (a.n < CPUID_MAX)
		add(&a, (struct kvm_cpuid_entry2){.function = 0x80860000 + a.n});
	cpuid_machine(&a, true);
	ck_assert_uint_eq(a.n, CPUID_MAX);
	cpuid_for_vcpu(&a, 1, &out);
	ck_assert_uint_eq(out.n, CPUID_MAX);
}
END_TEST

/* ---- one vCPU's ---- */

START_TEST(vcpu_has_its_apic_id_and_a_package_of_its_own)
{
	add(&a, (struct kvm_cpuid_entry2){.function = 1, .ebx = 0x00000800});
	add(&a, (struct kvm_cpuid_entry2){.function = 4, .index = 0, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = 0xfc03c121});
	b = a;
	cpuid_for_vcpu(&a, 0x123, &out);
	ck_assert_uint_eq(leaf(&out, 1, 0)->ebx, 0x23000800);    /* 8 bits of it */
	ck_assert_uint_eq(leaf(&out, 4, 0)->eax & ~0x3fffu, 0);  /* shares its caches with nobody */
	ck_assert_uint_eq(leaf(&out, 4, 0)->eax & 0x1ff, 0x121); /* type and level are kept */
	for (uint32_t level = 0; level < 3; level++) {
		const struct kvm_cpuid_entry2 *e = leaf(&out, 0xb, level);

		ck_assert_uint_eq(e->edx, 0x123); /* all of it */
		ck_assert_uint_eq(e->eax, 0);
		ck_assert_uint_eq(e->ecx, level | (level < 2 ? level + 1 : 0) << 8); /* thread, core, end */
		ck_assert_uint_eq(e->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	}
	ck_assert_mem_eq(&a, &b, offsetof(struct cpuid_set, entry) + b.n * sizeof(b.entry[0])); /* the machine's is as it was */
}
END_TEST

START_TEST(vcpu_of_an_old_processor_has_no_leaf_above_its_highest)
{
	a.n = 0;
	add_vendor(&a, "AuthenticAMD", 7);
	cpuid_for_vcpu(&a, 3, &out);
	ck_assert_ptr_null(leaf(&out, 0xb, 0));
}
END_TEST

START_TEST(descriptor_that_is_not_kvm_is_an_error)
{
	struct capture c;
	int fd = open("/dev/null", O_RDWR);

	capture_start(&c);
	int rc = cpuid_supported(fd, &out);
	ck_assert_ptr_nonnull(strstr(capture_end(&c), "KVM does not tell"));
	ck_assert_int_eq(rc, -ENOTTY);
	ck_assert_uint_eq(out.n, 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cpuid");
	TCase *t = tcase_create("cpuid");

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, vendor_is_twelve_letters);
	tcase_add_test(t, vendor_of_a_set_without_leaf_0_is_empty);
	tcase_add_test(t, features_that_one_node_lacks_are_gone);
	tcase_add_test(t, leaf_that_one_node_lacks_is_gone);
	tcase_add_test(t, highest_leaf_is_the_lower_one);
	tcase_add_test(t, sub_leaves_are_combined_each_with_its_own);
	tcase_add_test(t, address_widths_are_the_narrower_ones);
	tcase_add_test(t, intersection_of_two_vendors_is_refused_and_changes_nothing);
	tcase_add_test(t, intersection_with_an_empty_set_is_refused);
	tcase_add_test(t, intersection_with_itself_changes_no_feature);
	tcase_add_test(t, machine_has_what_is_ours_and_not_what_cannot_cross_nodes);
	tcase_add_test(t, machine_has_kvm_leaves_without_shared_pages);
	tcase_add_test(t, machine_has_no_counters_no_nesting_and_no_topology_of_a_host);
	tcase_add_test(t, machine_promises_an_invariant_counter_only_if_told);
	tcase_add_test(t, full_set_is_not_overrun);
	tcase_add_test(t, vcpu_has_its_apic_id_and_a_package_of_its_own);
	tcase_add_test(t, vcpu_of_an_old_processor_has_no_leaf_above_its_highest);
	tcase_add_test(t, descriptor_that_is_not_kvm_is_an_error);
	return check_main(s);
}
