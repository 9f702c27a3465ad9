/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/check_main.h"
#include "vmm/hostcheck.h"
#include "vmm/kvmprobe.h"

static struct check_report report;

static void setup(void)
{
	memset(&report, 0, sizeof(report));
}

static char *printed(int (*print)(FILE *out, const struct check_report *report))
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	ck_assert_int_eq(print(f, &report), 0);
	fclose(f);
	return text;
}

START_TEST(report_passes_with_a_warning_and_not_with_a_failure)
{
	check_add(&report, CHECK_OK, "a", "", "1");
	check_add(&report, CHECK_WARN, "b", "do", "2");
	ck_assert(check_passes(&report));
	check_add(&report, CHECK_FAIL, "c", "do", "3");
	ck_assert(!check_passes(&report));
}
END_TEST

START_TEST(rows_are_printed_with_their_remedies_and_the_answer)
{
	char *text;

	check_add(&report, CHECK_OK, "a", "", "%d of %d", 1, 2);
	check_add(&report, CHECK_FAIL, "c", "do this", "none");
	text = printed(check_print);
	ck_assert_ptr_nonnull(strstr(text, "ok    a "));
	ck_assert_ptr_nonnull(strstr(text, "1 of 2\n"));
	ck_assert_ptr_nonnull(strstr(text, "FAIL  c "));
	ck_assert_ptr_nonnull(strstr(text, "-> do this\n"));
	ck_assert_ptr_nonnull(strstr(text, "This host cannot be a node: 1 of 2 checks failed.\n"));
	free(text);
}
END_TEST

START_TEST(json_says_the_same)
{
	char *text;
	json_t *root;

	check_add(&report, CHECK_WARN, "a \"b\"", "do", "v");
	text = printed(check_print_json);
	root = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(root);
	ck_assert(json_is_true(json_object_get(root, "node")));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(root, "checks"), 0), "what")), "a \"b\"");
	json_decref(root);
	free(text);
}
END_TEST

START_TEST(value_that_is_not_utf8_is_an_error_of_the_json)
{
	FILE *f = fopen("/dev/null", "w");

	check_add(&report, CHECK_OK, "a", "", "\xff");
	ck_assert_int_eq(check_print_json(f, &report), -EIO);
	fclose(f);
}
END_TEST

START_TEST(full_disk_is_an_error)
{
	FILE *f = fopen("/dev/full", "w");

	check_add(&report, CHECK_OK, "a", "", "1");
	ck_assert_int_eq(check_print(f, &report), -EIO);
	fclose(f);
}
END_TEST

START_TEST(full_report_drops_rows_and_long_text_is_cut)
{
	char text[1000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < CHECK_ROWS_MAX + 5; i++)
		check_add(&report, CHECK_OK, text, text, "%s", text);
	ck_assert_uint_eq(report.n, CHECK_ROWS_MAX);
	ck_assert_uint_eq(strlen(report.row[0].value), sizeof(report.row[0].value) - 1);
}
END_TEST

START_TEST(every_row_about_this_host_that_is_not_ok_has_a_remedy)
{
	check_collect(&report);
	ck_assert_uint_gt(report.n, 5);
	for (size_t i = 0; i < report.n; i++)
		ck_assert_msg(report.row[i].state == CHECK_OK || *report.row[i].remedy, "%s has no remedy", report.row[i].what);
}
END_TEST

/* A /sys/module with one parameter of one module, "" for none; the caller removes it with sys_free(). */
static void sys_new(char *dir, const char *module, const char *parameter, const char *value)
{
	char path[256];
	FILE *f;

	strcpy(dir, "/tmp/test-check-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	if (!*module)
		return;
	snprintf(path, sizeof(path), "%s/%s", dir, module);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/parameters", dir, module);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/parameters/%s", dir, module, parameter);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%s\n", value);
	fclose(f);
}

static void sys_free(const char *dir, const char *module, const char *parameter)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/parameters/%s", dir, module, parameter);
	unlink(path);
	snprintf(path, sizeof(path), "%s/%s/parameters", dir, module);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/%s", dir, module);
	rmdir(path);
	rmdir(dir);
}

static const struct {
	const char *module, *parameter, *value, *remedy; /* remedy: "" if paging is nested, or nothing says whether */
	bool unknown;
} paging[] = {
	{"kvm_amd", "npt", "N", "modprobe kvm_amd npt=1", false},
	{"kvm_amd", "npt", "0", "modprobe kvm_amd npt=1", false},
	{"kvm_amd", "npt", "Y", "", false},
	{"kvm_amd", "npt", "1", "", false},
	{"kvm_amd", "npt", "", "", true},
	{"kvm_intel", "ept", "N", "modprobe kvm_intel ept=1", false},
	{"kvm_intel", "ept", "Y", "", false},
	{"kvm_intel", "eptad", "N", "", true}, /* accessed and dirty flags are not needed */
	{"kvm_pvm", "npt", "N", "", true},
	{"", "", "", "", true},
};

START_TEST(shadow_paging_is_a_failure_with_the_module_parameter)
{
	char dir[64], remedy[CHECK_REMEDY_BYTES] = "untouched";
	bool bad = *paging[_i].remedy;

	sys_new(dir, paging[_i].module, paging[_i].parameter, paging[_i].value);
	ck_assert_int_eq(hostcheck_shadow_paging_at(dir, remedy, sizeof(remedy)), bad);
	if (bad)
		ck_assert_msg(strstr(remedy, paging[_i].remedy), "'%s' lacks '%s'", remedy, paging[_i].remedy);
	else
		ck_assert_str_eq(remedy, "untouched");
	ck_assert_uint_lt(strlen(remedy), sizeof(remedy) - 1); /* whole */
	check_nested_paging(&report, dir);
	ck_assert_int_eq(report.row[0].state, bad ? CHECK_FAIL : paging[_i].unknown ? CHECK_WARN : CHECK_OK);
	ck_assert_int_eq(*report.row[0].remedy != 0, bad || paging[_i].unknown);
	ck_assert_int_eq(check_passes(&report), !bad);
	sys_free(dir, paging[_i].module, paging[_i].parameter);
}
END_TEST

START_TEST(paging_without_sysfs_is_taken_to_be_nested)
{
	char remedy[CHECK_REMEDY_BYTES];

	ck_assert(!hostcheck_shadow_paging_at("/nonexistent", remedy, sizeof(remedy)));
}
END_TEST

START_TEST(probe_has_a_verdict_and_leaves_the_signal_mask)
{
	struct kvmprobe probe;
	sigset_t before;
	sigset_t after;
	int rc;

	sigprocmask(SIG_SETMASK, NULL, &before);
	rc = kvmprobe(&probe);
	sigprocmask(SIG_SETMASK, NULL, &after);
	ck_assert_int_eq(rc == 0, probe.verdict == KVMPROBE_NATIVE);
	ck_assert(*probe.what);
	ck_assert_int_eq(rc == 0, !*probe.remedy);
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		ck_assert_int_eq(sigismember(&before, sig), sigismember(&after, sig));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("check");
	TCase *tc = tcase_create("check");

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 30); /* the probe takes up to 2 s of its own on a KVM that emulates */
	tcase_add_test(tc, report_passes_with_a_warning_and_not_with_a_failure);
	tcase_add_test(tc, rows_are_printed_with_their_remedies_and_the_answer);
	tcase_add_test(tc, json_says_the_same);
	tcase_add_test(tc, value_that_is_not_utf8_is_an_error_of_the_json);
	tcase_add_test(tc, full_disk_is_an_error);
	tcase_add_test(tc, full_report_drops_rows_and_long_text_is_cut);
	tcase_add_test(tc, every_row_about_this_host_that_is_not_ok_has_a_remedy);
	tcase_add_loop_test(tc, shadow_paging_is_a_failure_with_the_module_parameter, 0, ARRAY_SIZE(paging));
	tcase_add_test(tc, paging_without_sysfs_is_taken_to_be_nested);
	tcase_add_test(tc, probe_has_a_verdict_and_leaves_the_signal_mask);
	return check_main(s);
}
