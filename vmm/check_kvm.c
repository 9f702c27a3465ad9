/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/hostcheck.h"
#include "vmm/kvmprobe.h"

#define OLD_KERNEL "use Linux 6.1 or newer on this host"

/* What a node asks of KVM. x2APIC, an in-kernel interrupt controller and kvmclock are not among it: they are ours. */
struct need {
	int cap;
	int least; /* KVM_CHECK_EXTENSION must return at least this */
	enum check_state missing;
	const char *name;
	const char *why;
	const char *remedy;
};

static const struct need needs[] = {
	{KVM_CAP_USER_MEMORY, 1, CHECK_FAIL, "USER_MEMORY", "guest RAM is memory of ours", OLD_KERNEL},
	{KVM_CAP_SYNC_MMU, 1, CHECK_FAIL, "SYNC_MMU", "the guest follows what userfaultfd does", OLD_KERNEL},
	{KVM_CAP_IMMEDIATE_EXIT, 1, CHECK_FAIL, "IMMEDIATE_EXIT", "a kick of a vCPU is never lost", OLD_KERNEL},
	{KVM_CAP_X86_USER_SPACE_MSR, 1, CHECK_FAIL, "X86_USER_SPACE_MSR", "x2APIC registers are served by us", OLD_KERNEL},
	{KVM_CAP_X86_MSR_FILTER, 1, CHECK_FAIL, "X86_MSR_FILTER", "TSC_DEADLINE is served by us", OLD_KERNEL},
	{KVM_CAP_EXT_CPUID, 1, CHECK_FAIL, "EXT_CPUID", "all nodes show the same CPU", OLD_KERNEL},
	{KVM_CAP_USER_NMI, 1, CHECK_FAIL, "USER_NMI", "NMIs cross nodes", OLD_KERNEL},
	{KVM_CAP_VCPU_EVENTS, 1, CHECK_FAIL, "VCPU_EVENTS", "pending events of a vCPU", OLD_KERNEL},
	{KVM_CAP_XSAVE, 1, CHECK_FAIL, "XSAVE", "state of a vCPU", OLD_KERNEL},
	{KVM_CAP_XCRS, 1, CHECK_WARN, "XCRS", "state of a vCPU with XSAVE", "guests get no XSAVE here: use a CPU that has it"},
	{KVM_CAP_NR_MEMSLOTS, 8, CHECK_FAIL, "NR_MEMSLOTS", "ranges of guest RAM", OLD_KERNEL},
	{KVM_CAP_GET_TSC_KHZ, 1, CHECK_WARN, "GET_TSC_KHZ", "the TSC's rate", "the rate is measured instead; " OLD_KERNEL},
	{KVM_CAP_TSC_CONTROL, 1, CHECK_WARN, "TSC_CONTROL", "hosts of other clock rates",
	 "join only hosts whose TSC has the same rate, or use CPUs with TSC scaling"},
};

static void check_caps(struct check_report *report, int kvm)
{
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		const struct need *need = &needs[i];
		int have = ioctl(kvm, KVM_CHECK_EXTENSION, need->cap);
		char what[sizeof(report->row[0].what)];

		snprintf(what, sizeof(what), "kvm %s", need->name);
		if (have >= need->least)
			check_add(report, CHECK_OK, what, "", "%d (%s)", have, need->why);
		else
			check_add(report, need->missing, what, need->remedy, "%s (%s)", have > 0 ? "too few" : "missing",
				  need->why);
	}
}

static void check_vcpus(struct check_report *report, int kvm)
{
	int most = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	int ids = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID);
	bool few = most < (int)VCPUS_MAX || ids < (int)VCPUS_MAX;

	check_add(report, few ? CHECK_WARN : CHECK_OK, "kvm vCPUs", few ? "machines with more vCPUs in all do not run here" : "",
		  "%d, numbers below %d", most, ids);
}

/* Parameters of KVM's modules without which it keeps shadow page tables, and the file system says which is loaded. */
static const struct {
	const char *module, *parameter;
} nested_parameters[] = {{"kvm_amd", "npt"}, {"kvm_intel", "ept"}};

bool hostcheck_shadow_paging_at(const char *sys_module, char *remedy, size_t bytes)
{
	for (size_t i = 0; i < ARRAY_SIZE(nested_parameters); i++) {
		const char *module = nested_parameters[i].module, *parameter = nested_parameters[i].parameter;
		char path[256], value[8];

		snprintf(path, sizeof(path), "%s/%s/parameters/%s", sys_module, module, parameter);
		if (!check_read_line(path, value, sizeof(value)) || (*value != 'N' && *value != '0'))
			continue;
		snprintf(remedy, bytes,
			 "with no VM running: modprobe -r %s; modprobe %s %s=1; and take '%s=0' out of /etc/modprobe.d and the "
			 "kernel's command line",
			 module, module, parameter, parameter);
		return true;
	}
	return false;
}

bool hostcheck_shadow_paging(char *remedy, size_t bytes)
{
	return hostcheck_shadow_paging_at(SYS_MODULE, remedy, bytes);
}

void check_nested_paging(struct check_report *report, const char *sys_module)
{
	char remedy[CHECK_REMEDY_BYTES];
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(nested_parameters); i++) {
		char path[256], value[8];

		snprintf(path, sizeof(path), "%s/%s/parameters/%s", sys_module, nested_parameters[i].module,
			 nested_parameters[i].parameter);
		known = known || (check_read_line(path, value, sizeof(value)) && *value);
	}
	if (hostcheck_shadow_paging_at(sys_module, remedy, sizeof(remedy)))
		check_add(report, CHECK_FAIL, "kvm nested paging", remedy,
			  "is off: KVM's shadow page tables miss what other nodes write to the guest's page tables");
	else if (known)
		check_add(report, CHECK_OK, "kvm nested paging", "", "is on");
	else
		check_add(report, CHECK_WARN, "kvm nested paging", "use a host with kvm_amd or kvm_intel",
			  "is not known: neither kvm_amd nor kvm_intel is loaded");
}

void check_kvm(struct check_report *report)
{
	struct kvmprobe probe;
	int rc = kvmprobe(&probe);
	int version;
	int kvm;

	if (rc && (probe.verdict == KVMPROBE_NO_DEVICE || probe.verdict == KVMPROBE_NO_ACCESS)) {
		check_add(report, CHECK_FAIL, "/dev/kvm", probe.remedy, "%s", probe.what);
		return;
	}
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0) {
		check_add(report, CHECK_FAIL, "/dev/kvm", "run pangea check again", "cannot be opened any more");
		return;
	}
	check_add(report, CHECK_OK, "/dev/kvm", "", "can be opened");
	version = ioctl(kvm, KVM_GET_API_VERSION, 0);
	check_add(report, version == KVM_API_VERSION ? CHECK_OK : CHECK_FAIL, "kvm API version",
		  version == KVM_API_VERSION ? "" : OLD_KERNEL, "%d", version);
	check_add(report, rc ? CHECK_FAIL : CHECK_OK, "kvm runs kernels", probe.remedy, "%s", probe.what);
	check_caps(report, kvm);
	check_vcpus(report, kvm);
	check_nested_paging(report, SYS_MODULE);
	close(kvm);
}
