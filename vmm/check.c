/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/hostcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/units.h"
#include "vmm/exitcode.h"

#define MEM_LEAST_BYTES (128 * MIB) /* node 0's 64 MiB, and what the node itself takes */
#define FILES_LEAST     256         /* vCPUs, and a connection to each peer a shard */
#define FILES_GOOD      4096
#define MAPS_LEAST      4096

static const char *const state_text[] = {[CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_FAIL] = "FAIL"};

void check_add(struct check_report *report, enum check_state state, const char *what, const char *remedy, const char *value, ...)
{
	struct check_row *row;
	va_list ap;

	if (report->n == CHECK_ROWS_MAX)
		return;
	row = &report->row[report->n++];
	row->state = state;
	snprintf(row->what, sizeof(row->what), "%s", what);
	snprintf(row->remedy, sizeof(row->remedy), "%s", remedy);
	va_start(ap, value);
	vsnprintf(row->value, sizeof(row->value), value, ap);
	va_end(ap);
}

bool check_read_line(const char *path, char *buf, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, bytes - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

/* ---- userfaultfd ---- */

#define UFFD_REMEDY "run as root, or sysctl vm.unprivileged_userfaultfd=1, or give this user /dev/userfaultfd"

/* One that also takes faults from the kernel, as KVM's are: without UFFD_USER_MODE_ONLY. -errno of the system call. */
static int uffd_open(const char **how)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int rc = fd < 0 ? -errno : 0;
	int dev;

	*how = "by system call";
	if (!rc)
		return fd;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return rc;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	close(dev);
	*how = "by /dev/userfaultfd";
	return fd < 0 ? rc : fd;
}

static void check_uffd_features(struct check_report *report, int fd)
{
	static const struct {
		uint64_t bit;
		const char *what;
		enum check_state missing;
		const char *why;
	} features[] = {
		{UFFD_FEATURE_MISSING_SHMEM, "uffd MISSING_SHMEM", CHECK_FAIL, "pages come from other nodes"},
		{UFFD_FEATURE_PAGEFAULT_FLAG_WP, "uffd PAGEFAULT_FLAG_WP", CHECK_FAIL, "read-only copies"},
		{UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "uffd WP_HUGETLBFS_SHMEM", CHECK_FAIL, "read-only copies in shared memory"},
		{UFFD_FEATURE_MINOR_SHMEM, "uffd MINOR_SHMEM", CHECK_WARN, "an old frame is used again"},
	};
	struct uffdio_api api = {.api = UFFD_API};

	if (ioctl(fd, UFFDIO_API, &api)) {
		check_add(report, CHECK_FAIL, "uffd API", "use Linux 6.1 or newer on this host", "%s", strerror(errno));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		bool have = api.features & features[i].bit;

		check_add(report, have ? CHECK_OK : features[i].missing, features[i].what,
			  have ? "" : "use Linux 6.1 or newer on this host", "%s (%s)", have ? "yes" : "missing", features[i].why);
	}
}

static void check_uffd(struct check_report *report)
{
	char sysctl[16];
	const char *how;
	int fd = uffd_open(&how);

	if (fd >= 0) {
		check_add(report, CHECK_OK, "userfaultfd", "", "%s, with faults of the kernel", how);
		check_uffd_features(report, fd);
		close(fd);
	} else if (fd == -ENOSYS) {
		check_add(report, CHECK_FAIL, "userfaultfd", "use a kernel built with CONFIG_USERFAULTFD, as distributions' are",
			  "this kernel has none");
	} else {
		if (!check_read_line("/proc/sys/vm/unprivileged_userfaultfd", sysctl, sizeof(sysctl)))
			snprintf(sysctl, sizeof(sysctl), "?");
		check_add(report, CHECK_FAIL, "userfaultfd", UFFD_REMEDY, "not allowed: %s (vm.unprivileged_userfaultfd is %s)",
			  strerror(-fd), sysctl);
	}
}

/* ---- memory and limits ---- */

static void check_memory(struct check_report *report)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];
	char text[UNITS_TEXT];
	char most[UNITS_TEXT];
	enum check_state state;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kib = strtoull(line + 13, NULL, 10);
	if (f)
		fclose(f);
	units_format_bytes(kib << 10, text);
	units_format_bytes(MEM_LEAST_BYTES, most);
	state = kib << 10 < MEM_LEAST_BYTES ? CHECK_FAIL : CHECK_OK;
	check_add(report, state, "memory", state ? "free at least 128 MiB, or add memory to this host" : "",
		  "%s available (a node needs %s)", text, most);
}

static void format_limit(rlim_t limit, char *buf, size_t bytes)
{
	if (limit == RLIM_INFINITY)
		snprintf(buf, bytes, "unlimited");
	else
		snprintf(buf, bytes, "%llu", (unsigned long long)limit);
}

static void check_limits(struct check_report *report)
{
	struct rlimit files = {0};
	struct rlimit lock = {0};
	char soft[UNITS_TEXT];
	char hard[UNITS_TEXT];
	char maps[32];
	enum check_state state;

	getrlimit(RLIMIT_NOFILE, &files);
	format_limit(files.rlim_cur, soft, sizeof(soft));
	format_limit(files.rlim_max, hard, sizeof(hard));
	state = files.rlim_max < FILES_LEAST ? CHECK_FAIL : files.rlim_max < FILES_GOOD ? CHECK_WARN : CHECK_OK;
	check_add(report, state, "open files", state ? "raise it: ulimit -n 4096, for good in /etc/security/limits.conf" : "",
		  "%s, may be raised to %s", soft, hard);

	getrlimit(RLIMIT_MEMLOCK, &lock);
	if (lock.rlim_max == RLIM_INFINITY)
		snprintf(hard, sizeof(hard), "unlimited");
	else
		units_format_bytes(lock.rlim_max, hard);
	state = lock.rlim_max < 64 * MIB && geteuid() != 0 ? CHECK_WARN : CHECK_OK;
	check_add(report, state, "locked memory",
		  state ? "for RDMA raise it: ulimit -l unlimited, for good in /etc/security/limits.conf" : "", "%s%s", hard,
		  geteuid() == 0 ? " (does not bind root)" : "");

	if (!check_read_line("/proc/sys/vm/max_map_count", maps, sizeof(maps))) {
		check_add(report, CHECK_WARN, "vm.max_map_count", "mount /proc", "unknown");
		return;
	}
	state = strtoull(maps, NULL, 10) < MAPS_LEAST ? CHECK_WARN : CHECK_OK;
	check_add(report, state, "vm.max_map_count", state ? "sysctl vm.max_map_count=65530" : "", "%s", maps);
}

/* ---- clock ---- */

/* Whether the first CPU of /proc/cpuinfo has a flag. */
static bool cpu_flag(const char *flags, const char *flag)
{
	size_t len = strlen(flag);

	for (const char *p = flags; (p = strstr(p, flag)); p += len)
		if (p > flags && p[-1] == ' ' && (p[len] == ' ' || p[len] == '\n' || !p[len]))
			return true;
	return false;
}

static void check_clock(struct check_report *report)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	bool constant = false;
	bool nonstop = false;
	char source[32];
	char *line = NULL;
	size_t bytes = 0;

	while (f && getline(&line, &bytes, f) > 0)
		if (strncmp(line, "flags", 5) == 0) {
			constant = cpu_flag(line, "constant_tsc");
			nonstop = cpu_flag(line, "nonstop_tsc");
			break;
		}
	free(line);
	if (f)
		fclose(f);
	check_add(report, constant && nonstop ? CHECK_OK : CHECK_WARN, "TSC",
		  constant && nonstop ? "" : "time in the guest may drift: use a CPU, or a VM type, with an invariant TSC",
		  "%sconstant, %snonstop", constant ? "" : "not ", nonstop ? "" : "not ");
	if (!check_read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof(source)))
		snprintf(source, sizeof(source), "unknown");
	bool tsc = strcmp(source, "tsc") == 0;
	check_add(report, tsc ? CHECK_OK : CHECK_WARN, "clock source",
		  tsc ? "" : "this host does not trust its TSC: see dmesg | grep -i tsc; the guest's clock may be off", "%s",
		  source);
}

void check_host(struct check_report *report)
{
	check_uffd(report);
	check_memory(report);
	check_limits(report);
	check_rdma(report);
	check_clock(report);
}

void check_collect(struct check_report *report)
{
	report->n = 0;
	check_kvm(report);
	check_host(report);
}

/* ---- printing ---- */

bool check_passes(const struct check_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		if (report->row[i].state == CHECK_FAIL)
			return false;
	return true;
}

static int done(FILE *out)
{
	return fflush(out) || ferror(out) ? -EIO : 0;
}

int check_print(FILE *out, const struct check_report *report)
{
	size_t failed = 0;
	size_t warned = 0;

	for (size_t i = 0; i < report->n; i++) {
		const struct check_row *row = &report->row[i];

		fprintf(out, "%-5s %-26s %s\n", state_text[row->state], row->what, row->value);
		if (*row->remedy) /* its own line, under the value: it is the longest of the four */
			fprintf(out, "%-5s %-26s -> %s\n", "", "", row->remedy);
		failed += row->state == CHECK_FAIL;
		warned += row->state == CHECK_WARN;
	}
	if (failed)
		fprintf(out, "This host cannot be a node: %zu of %zu checks failed.\n", failed, report->n);
	else if (warned)
		fprintf(out, "This host can be a node; %zu of %zu checks have a warning.\n", warned, report->n);
	else
		fprintf(out, "This host can be a node: all %zu checks are ok.\n", report->n);
	return done(out);
}

int check_print_json(FILE *out, const struct check_report *report)
{
	json_t *rows = json_array();
	json_t *root;
	int rc = 0;

	for (size_t i = 0; i < report->n; i++) {
		const struct check_row *row = &report->row[i];

		json_t *object = json_pack("{s:s, s:s, s:s, s:s}", "state", state_text[row->state], "what", row->what, "value",
					   row->value, "remedy", row->remedy);

		if (json_array_append_new(rows, object))
			rc = -EIO; /* out of memory, or /sys gave text that is not UTF-8 */
	}
	root = json_pack("{s:b, s:o}", "node", check_passes(report), "checks", rows);
	if (!root || json_dumpf(root, out, JSON_INDENT(2)))
		rc = -EIO;
	json_decref(root);
	fputc('\n', out);
	return rc ? rc : done(out);
}

int check_run(bool json)
{
	struct check_report report;
	int rc;

	check_collect(&report);
	rc = json ? check_print_json(stdout, &report) : check_print(stdout, &report);
	return rc || !check_passes(&report) ? EXIT_USAGE : EXIT_POWERED_OFF;
}
