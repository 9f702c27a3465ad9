/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "vcpu/tsc.h"

static uint64_t mem_available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

static bool clocksource_is_tsc(void)
{
	FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	char name[32] = "";

	if (f && !fgets(name, sizeof(name), f))
		name[0] = 0;
	if (f)
		fclose(f);
	return strcmp(name, "tsc\n") == 0;
}

static bool tsc_invariant(const struct cpuid_set *set)
{
	for (uint32_t i = 0; i < set->n; i++)
		if (set->entry[i].function == 0x80000007)
			return set->entry[i].edx & 1u << 8;
	return false;
}

/* KVM tells the counter's rate by a vCPU. */
static int probe_tsc(int kvm, struct wire_facts *facts)
{
	struct tsc tsc = {0};
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	int vcpu = vm >= 0 ? ioctl(vm, KVM_CREATE_VCPU, 0ul) : -1;
	int rc = vcpu >= 0 ? tsc_probe(vcpu, &tsc) : -errno;

	if (vcpu < 0)
		log_error("KVM cannot create a virtual machine: %s", strerror(-rc));
	if (rc == 0)
		facts->tsc_khz = tsc.host_khz;
	if (vcpu >= 0)
		close(vcpu);
	if (vm >= 0)
		close(vm);
	return rc;
}

int facts_collect(struct wire_facts *facts)
{
	struct cpuid_set set;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int rc;

	if (kvm < 0) {
		rc = -errno;
		log_error("cannot open /dev/kvm: %s; `pangea check` says what this host lacks", strerror(-rc));
		return rc;
	}
	memset(facts, 0, sizeof(*facts));
	facts->version = WIRE_VERSION;
	facts->mem_available_bytes = mem_available();
	facts->vcpus_max = (uint32_t)MAX(0, ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS));
	rc = cpuid_supported(kvm, &set);
	if (!rc)
		rc = probe_tsc(kvm, facts);
	close(kvm);
	if (rc)
		return rc;
	cpuid_vendor(&set, facts->cpu_vendor);
	facts->kvm_features = tsc_invariant(&set) || clocksource_is_tsc() ? FACT_TSC_STABLE : 0;
	facts_from_cpuid(&set, facts->cpuid, &facts->n_cpuid);
	return 0;
}

void facts_from_cpuid(const struct cpuid_set *set, struct wire_cpuid *out, uint32_t *n)
{
	for (uint32_t i = 0; i < set->n; i++) {
		const struct kvm_cpuid_entry2 *e = &set->entry[i];

		out[i] = (struct wire_cpuid){e->function, e->index, e->flags, e->eax, e->ebx, e->ecx, e->edx};
	}
	*n = set->n;
}

void facts_to_cpuid(const struct wire_cpuid *in, uint32_t n, struct cpuid_set *set)
{
	set->n = MIN(n, CPUID_MAX);
	for (uint32_t i = 0; i < set->n; i++)
		set->entry[i] = (struct kvm_cpuid_entry2){
			.function = in[i].function,
			.index = in[i].index,
			.flags = in[i].flags,
			.eax = in[i].eax,
			.ebx = in[i].ebx,
			.ecx = in[i].ecx,
			.edx = in[i].edx,
		};
}

void facts_cpuid(const struct wire_facts *facts, struct cpuid_set *set)
{
	facts_to_cpuid(facts->cpuid, facts->n_cpuid, set);
}
