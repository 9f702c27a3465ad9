/* SPDX-License-Identifier: Apache-2.0 */
#include "vcpu/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"

#define BIT(n) (1u << (n))

/* Leaf 1 */
#define ECX1_MONITOR      BIT(3)
#define ECX1_VMX          BIT(5)
#define ECX1_X2APIC       BIT(21)
#define ECX1_TSC_DEADLINE BIT(24)
#define ECX1_HYPERVISOR   BIT(31)
#define EDX1_APIC         BIT(9)
#define EDX1_HTT          BIT(28)
/* Leaf 6 */
#define EAX6_ARAT BIT(2)
/* Leaf 7 */
#define EBX7_TSC_ADJUST BIT(1)
#define ECX7_WAITPKG    BIT(5)
/* Leaf 0x80000001 */
#define ECX8_SVM      BIT(2)
#define ECX8_EXTAPIC  BIT(3)
#define ECX8_TOPOEXT  BIT(22)
#define ECX8_PERFCORE BIT(23)
#define ECX8_MWAITX   BIT(29)
/* Leaf 0x80000007 */
#define EDX87_TSC_INVARIANT BIT(8)
/* KVM's own, leaf 0x40000001: port 0x80 need not be written to wait, and MSIs carry 15 bits of destination. */
#define KVM_NOP_IO_DELAY    BIT(1)
#define KVM_MSI_EXT_DEST_ID BIT(15)

int cpuid_supported(int kvm_fd, struct cpuid_set *out)
{
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + CPUID_MAX * sizeof(list->entries[0]));

	if (!list)
		return -ENOMEM;
	list->nent = CPUID_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, list) < 0) {
		int err = -errno;

		log_error("KVM does not tell which processor features it supports: %s", strerror(-err));
		free(list);
		return err;
	}
	out->n = list->nent;
	memcpy(out->entry, list->entries, list->nent * sizeof(list->entries[0]));
	free(list);
	return 0;
}

static struct kvm_cpuid_entry2 *find(struct cpuid_set *set, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < set->n; i++) {
		struct kvm_cpuid_entry2 *e = &set->entry[i];

		if (e->function == function && (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

static const struct kvm_cpuid_entry2 *find_const(const struct cpuid_set *set, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < set->n; i++) {
		const struct kvm_cpuid_entry2 *e = &set->entry[i];

		if (e->function == function && (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

static void drop(struct cpuid_set *set, uint32_t first, uint32_t last)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < set->n; i++)
		if (set->entry[i].function < first || set->entry[i].function > last)
			set->entry[n++] = set->entry[i];
	set->n = n;
}

static void put(struct cpuid_set *set, struct kvm_cpuid_entry2 entry)
{
	if (set->n < CPUID_MAX)
		set->entry[set->n++] = entry;
}

void cpuid_vendor(const struct cpuid_set *set, char vendor[13])
{
	const struct kvm_cpuid_entry2 *e = find_const(set, 0, 0);

	memset(vendor, 0, 13);
	if (!e)
		return;
	memcpy(vendor, &e->ebx, 4);
	memcpy(vendor + 4, &e->edx, 4);
	memcpy(vendor + 8, &e->ecx, 4);
}

/* How the registers of a leaf combine: each a mask of features, a smaller-is-safe number, or the first node's word. */
static void combine(struct kvm_cpuid_entry2 *a, const struct kvm_cpuid_entry2 *b)
{
	switch (a->function) {
	case 0:
	case 0x80000000:
		a->eax = MIN(a->eax, b->eax);
		break;
	case 1:
	case 0x80000001:
		a->ecx &= b->ecx;
		a->edx &= b->edx;
		break;
	case 6:
	case 0x80000021:
		a->eax &= b->eax;
		break;
	case 7:
		if (a->index == 0)
			a->eax = MIN(a->eax, b->eax);
		else
			a->eax &= b->eax;
		a->ebx &= b->ebx;
		a->ecx &= b->ecx;
		a->edx &= b->edx;
		break;
	case 0xd: /* sub-leaf 0: XCR0; 1: XSAVE features, IA32_XSS; others: sizes, equal wherever the feature exists */
		if (a->index > 1)
			break;
		a->eax &= b->eax;
		if (a->index == 1)
			a->ecx &= b->ecx;
		a->edx &= b->edx;
		break;
	case 0x80000007:
		a->edx &= b->edx;
		break;
	case 0x80000008: /* address widths, one a byte */
		a->eax = MIN(a->eax & 0xff, b->eax & 0xff) | MIN(a->eax & 0xff00, b->eax & 0xff00);
		a->ebx &= b->ebx;
		break;
	default:
		break;
	}
}

int cpuid_intersect(struct cpuid_set *set, const struct cpuid_set *other)
{
	char mine[13], theirs[13];
	uint32_t n = 0;

	cpuid_vendor(set, mine);
	cpuid_vendor(other, theirs);
	if (memcmp(mine, theirs, sizeof(mine)))
		return -EXDEV;
	for (uint32_t i = 0; i < set->n; i++) {
		struct kvm_cpuid_entry2 e = set->entry[i];
		const struct kvm_cpuid_entry2 *o = find_const(other, e.function, e.index);

		if (!o)
			continue;
		combine(&e, o);
		set->entry[n++] = e;
	}
	set->n = n;
	return 0;
}

void cpuid_machine(struct cpuid_set *set, bool tsc_invariant)
{
	struct kvm_cpuid_entry2 *e;

	/* Performance counters, tracing, SGX, TDX: not carried between nodes. Topology: laid anew for each vCPU. */
	drop(set, 0xa, 0xb);
	drop(set, 0x12, 0x12);
	drop(set, 0x14, 0x14);
	drop(set, 0x1f, 0x1f);
	drop(set, 0x40000000, 0x4fffffff);
	drop(set, 0x8000000a, 0x8000000a);
	drop(set, 0x8000001d, 0x8000001f);
	drop(set, 0x80000022, 0x80000022);

	e = find(set, 1, 0);
	if (e) {
		e->ecx |= ECX1_X2APIC | ECX1_TSC_DEADLINE | ECX1_HYPERVISOR;
		e->ecx &= ~(ECX1_MONITOR | ECX1_VMX);
		e->edx |= EDX1_APIC;
		e->edx &= ~EDX1_HTT;
		e->ebx &= ~0x00ff0000u;
	}
	e = find(set, 6, 0);
	if (e)
		*e = (struct kvm_cpuid_entry2){.function = 6, .eax = EAX6_ARAT};
	e = find(set, 7, 0);
	if (e) {
		e->ebx &= ~EBX7_TSC_ADJUST; /* a guest that writes it would part the nodes' clocks */
		e->ecx &= ~ECX7_WAITPKG;
	}
	e = find(set, 0x80000001, 0);
	if (e)
		e->ecx &= ~(ECX8_SVM | ECX8_EXTAPIC | ECX8_TOPOEXT | ECX8_PERFCORE | ECX8_MWAITX);
	e = find(set, 0x80000007, 0);
	if (e)
		e->edx = tsc_invariant ? EDX87_TSC_INVARIANT : 0;
	e = find(set, 0x80000008, 0);
	if (e)
		e->ecx = 0;
	put(set, (struct kvm_cpuid_entry2){.function = 0x40000000,
					   .eax = 0x40000001,
					   .ebx = 0x4b4d564b, /* "KVMKVMKVM\0\0\0" */
					   .ecx = 0x564b4d56,
					   .edx = 0x4d});
	put(set, (struct kvm_cpuid_entry2){.function = 0x40000001, .eax = KVM_NOP_IO_DELAY | KVM_MSI_EXT_DEST_ID});
}

void cpuid_for_vcpu(const struct cpuid_set *machine, vcpu_t vcpu, struct cpuid_set *out)
{
	*out = *machine;
	for (uint32_t i = 0; i < out->n; i++) {
		struct kvm_cpuid_entry2 *e = &out->entry[i];

		if (e->function == 1) /* the old, 8-bit id; the true one is in leaf 0xb */
			e->ebx = (e->ebx & 0x00ffffff) | (vcpu & 0xff) << 24;
		if (e->function == 4)
			e->eax &= 0x3ff; /* caches and cores are shared with nobody */
	}
	/* Leaf 0xb, extended topology: one thread, one core, so every vCPU is a package; its node comes from the SRAT. */
	const struct kvm_cpuid_entry2 *top = find_const(out, 0, 0);
	if (!top || top->eax < 0xb)
		return;
	for (uint32_t level = 0; level < 3; level++)
		put(out, (struct kvm_cpuid_entry2){
				 .function = 0xb,
				 .index = level,
				 .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				 .ebx = level < 2,
				 .ecx = level | (level < 2 ? (level + 1) << 8 : 0),
				 .edx = vcpu,
			 });
}
