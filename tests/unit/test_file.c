/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a user names. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/check_main.h"

static char dir[64], path[96];
static uint8_t *bytes;
static size_t len;

static void set_up(void)
{
	strcpy(dir, "/tmp/pangea-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
}

static void tear_down(void)
{
	free(bytes);
	unlink(path);
	rmdir(dir);
}

static void make(size_t size)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	for (size_t i = 0; i < size; i++)
		fputc((int)(i * 7 % 251), f);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(all_of_a_file_is_read)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 65536, 65537, 300000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make(sizes[i]);
		ck_assert_int_eq(file_read(path, 300000, &bytes, &len), 0);
		ck_assert_uint_eq(len, sizes[i]);
		ck_assert_ptr_nonnull(bytes);
		size_t wrong = 0;
		for (size_t k = 0; k < len; k++)
			wrong += bytes[k] != k * 7 % 251;
		ck_assert_uint_eq(wrong, 0);
		free(bytes);
		bytes = NULL;
	}
}
END_TEST

START_TEST(a_file_that_does_not_say_its_length_is_read)
{
	ck_assert_int_eq(file_read("/proc/self/status", MIB, &bytes, &len), 0);
	ck_assert_uint_gt(len, 100);
	ck_assert_int_eq(memcmp(bytes, "Name:", 5), 0);
	ck_assert_int_eq(file_read("/proc/self/status", 100, &bytes, &len), -EFBIG);
}
END_TEST

START_TEST(a_file_that_is_too_large_is_refused)
{
	make(1000);
	ck_assert_int_eq(file_read(path, 1000, &bytes, &len), 0);
	len = 77;
	ck_assert_int_eq(file_read(path, 999, &bytes, &len), -EFBIG);
	ck_assert_uint_eq(len, 77);
}
END_TEST

START_TEST(what_is_no_file_is_refused_at_once)
{
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(file_read(path, MIB, &bytes, &len), -ENOTSUP);
	ck_assert_int_eq(file_read("/", MIB, &bytes, &len), -ENOTSUP);
	ck_assert_int_eq(file_read("/dev/zero", MIB, &bytes, &len), -ENOTSUP);
	ck_assert_int_eq(file_read("/nonexistent/file", MIB, &bytes, &len), -ENOENT);
	ck_assert_str_eq(file_error(-ENOTSUP), "it is not a regular file");
	ck_assert_str_eq(file_error(-ENOENT), "No such file or directory");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("file");
	TCase *tc = tcase_create("file");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 20);
	tcase_add_test(tc, all_of_a_file_is_read);
	tcase_add_test(tc, a_file_that_does_not_say_its_length_is_read);
	tcase_add_test(tc, a_file_that_is_too_large_is_refused);
	tcase_add_test(tc, what_is_no_file_is_refused_at_once);
	suite_add_tcase(suite, tc);
	return check_main(suite);
}
