/* SPDX-License-Identifier: Apache-2.0 */
/* What a mistyped word may have meant. */
#include <check.h>

#include "tests/unit/check_main.h"
#include "vmm/suggest.h"

START_TEST(distance_counts_letters)
{
	ck_assert_uint_eq(suggest_distance("node", "node"), 0);
	ck_assert_uint_eq(suggest_distance("nodes", "node"), 1);
	ck_assert_uint_eq(suggest_distance("nod", "node"), 1);
	ck_assert_uint_eq(suggest_distance("mode", "node"), 1);
	ck_assert_uint_eq(suggest_distance("ndoe", "node"), 1); /* neighbours swapped */
	ck_assert_uint_eq(suggest_distance("", "node"), 4);
	ck_assert_uint_eq(suggest_distance("kernel", "initrd"), suggest_distance("initrd", "kernel"));
}
END_TEST

START_TEST(a_long_word_is_far)
{
	char word[200];

	for (size_t i = 0; i + 1 < sizeof(word); i++)
		word[i] = 'x';
	word[sizeof(word) - 1] = '\0';
	ck_assert_uint_eq(suggest_distance(word, word), SUGGEST_FAR);
	word[SUGGEST_MAX] = '\0';
	ck_assert_uint_eq(suggest_distance(word, word), 0);
	ck_assert_uint_eq(suggest_distance(word, ""), SUGGEST_MAX);
}
END_TEST

static const char *of(const char *word)
{
	struct suggest s = {.word = word};

	suggest_try(&s, "kernel");
	suggest_try(&s, "node");
	suggest_try(&s, "no-reboot");
	suggest_try(&s, "key");
	return s.best;
}

START_TEST(the_nearest_is_suggested_and_nothing_far)
{
	ck_assert_str_eq(of("nodes"), "node");
	ck_assert_str_eq(of("kernal"), "kernel");
	ck_assert_str_eq(of("noreboot"), "no-reboot");
	ck_assert_str_eq(of("keys"), "key");
	ck_assert_ptr_null(of("memory"));
	ck_assert_ptr_null(of("x"));
	ck_assert_ptr_null(of("ab")); /* two letters away from nothing that has anything of it */
	ck_assert_ptr_null(of(""));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("suggest");
	TCase *tc = tcase_create("suggest");

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, distance_counts_letters);
	tcase_add_test(tc, a_long_word_is_far);
	tcase_add_test(tc, the_nearest_is_suggested_and_nothing_far);
	return check_main(suite);
}
