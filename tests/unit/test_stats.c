/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>

#include "dsm/stats.h"
#include "tests/unit/check_main.h"

static struct dsm_stats stats, other;

START_TEST(percentile_without_samples_is_zero)
{
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 50), 0);
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 100), 0);
}
END_TEST

/* The one sample is below its percentile, by a quarter of it at most, or a microsecond. */
START_TEST(percentile_is_the_upper_end_of_its_step)
{
	for (uint64_t us = 0; us < 1u << 24; us += 1 + us / 50) {
		uint64_t latency[DSM_LATENCY] = {0}, end;

		latency[dsm_latency_step(us * NS_PER_US + 999)]++;
		end = dsm_percentile(latency, 50);
		ck_assert_uint_gt(end, us);
		ck_assert_uint_le(end, MAX(us + us / 4, us + 1));
		ck_assert_uint_eq(dsm_percentile(latency, 1), end);
		ck_assert_uint_eq(dsm_percentile(latency, 100), end);
		ck_assert_uint_ge(dsm_latency_step((us + 1) * NS_PER_US), dsm_latency_step(us * NS_PER_US));
	}
}
END_TEST

START_TEST(percentiles_divide_the_samples)
{
	stats.read_us[dsm_latency_step(15 * NS_PER_US)] = 50;
	stats.read_us[dsm_latency_step(63 * NS_PER_US)] = 49;
	stats.read_us[dsm_latency_step(1700 * NS_PER_US)] = 1;
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 50), 16);
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 51), 64);
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 99), 64);
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 99.9), 1792);
}
END_TEST

START_TEST(first_and_last_step_count)
{
	ck_assert_uint_eq(dsm_latency_step(0), 0);
	ck_assert_uint_eq(dsm_latency_step(NS_PER_US - 1), 0);
	ck_assert_uint_eq(dsm_latency_step(UINT64_MAX), DSM_LATENCY - 1);
	stats.read_us[0] = 1;
	stats.read_us[DSM_LATENCY - 1] = 1;
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 50), 1);
	ck_assert_uint_eq(dsm_percentile(stats.read_us, 100), 1u << 24);
}
END_TEST

START_TEST(histogram_is_of_powers_of_two_microseconds)
{
	for (uint64_t us = 0; us < UINT64_C(1) << 25; us += 1 + us / 50) {
		uint64_t latency[DSM_LATENCY] = {0}, histogram[DSM_HISTOGRAM];
		unsigned bucket = 0;

		while (us >> bucket)
			bucket++;
		latency[dsm_latency_step(us * NS_PER_US)] = 3;
		dsm_histogram(latency, histogram);
		for (unsigned i = 0; i < DSM_HISTOGRAM; i++)
			ck_assert_uint_eq(histogram[i], i == MIN(bucket, DSM_HISTOGRAM - 1u) ? 3 : 0);
	}
}
END_TEST

START_TEST(hot_pages_are_kept_in_order)
{
	dsm_stats_hot(&stats, 1, 10);
	dsm_stats_hot(&stats, 2, 30);
	dsm_stats_hot(&stats, 3, 20);
	ck_assert_uint_eq(stats.hot[0].page, 2);
	ck_assert_uint_eq(stats.hot[1].page, 3);
	ck_assert_uint_eq(stats.hot[2].page, 1);
	ck_assert_uint_eq(stats.hot[3].transactions, 0);
}
END_TEST

START_TEST(hot_list_keeps_the_hottest_of_many)
{
	for (uint64_t i = 1; i <= 3 * DSM_HOTTEST; i++)
		dsm_stats_hot(&stats, 1000 + i, i * 7 % 97); /* 97 is prime: all counts differ */
	for (unsigned i = 1; i < DSM_HOTTEST; i++)
		ck_assert_uint_lt(stats.hot[i].transactions, stats.hot[i - 1].transactions);
	ck_assert_uint_eq(stats.hot[0].transactions, 96);
	ck_assert_uint_eq(stats.hot[DSM_HOTTEST - 1].transactions, 97 - DSM_HOTTEST);
}
END_TEST

START_TEST(page_without_transactions_is_not_hot)
{
	dsm_stats_hot(&stats, 5, 0);
	ck_assert_uint_eq(stats.hot[0].page, 0);
}
END_TEST

START_TEST(page_colder_than_a_full_list_is_dropped)
{
	for (uint64_t i = 0; i < DSM_HOTTEST; i++)
		dsm_stats_hot(&stats, i, 100);
	dsm_stats_hot(&stats, 99, 100); /* as hot: who came first stays */
	dsm_stats_hot(&stats, 98, 1);
	for (unsigned i = 0; i < DSM_HOTTEST; i++)
		ck_assert_uint_eq(stats.hot[i].page, i);
}
END_TEST

START_TEST(sum_has_every_counter_and_both_histograms)
{
	const uint64_t *words = (const uint64_t *)&stats;
	uint64_t *more = (uint64_t *)&other;
	size_t counters = offsetof(struct dsm_stats, hot) / sizeof(uint64_t);

	for (size_t i = 0; i < counters; i++)
		more[i] = i + 1;
	dsm_stats_add(&stats, &other);
	dsm_stats_add(&stats, &other);
	for (size_t i = 0; i < counters; i++)
		ck_assert_msg(words[i] == 2 * (i + 1), "word %zu is %llu", i, (unsigned long long)words[i]);
}
END_TEST

START_TEST(sum_merges_the_hot_lists)
{
	for (uint64_t i = 0; i < DSM_HOTTEST; i++) {
		dsm_stats_hot(&stats, i, 1000 - 2 * i);
		dsm_stats_hot(&other, 100 + i, 999 - 2 * i);
	}
	dsm_stats_add(&stats, &other);
	for (unsigned i = 0; i < DSM_HOTTEST; i++) {
		ck_assert_uint_eq(stats.hot[i].transactions, 1000 - i);
		ck_assert_uint_eq(stats.hot[i].page, i % 2 ? 100 + i / 2 : i / 2);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stats");
	TCase *t = tcase_create("stats");

	suite_add_tcase(s, t);
	tcase_add_test(t, percentile_without_samples_is_zero);
	tcase_add_test(t, percentile_is_the_upper_end_of_its_step);
	tcase_add_test(t, percentiles_divide_the_samples);
	tcase_add_test(t, first_and_last_step_count);
	tcase_add_test(t, histogram_is_of_powers_of_two_microseconds);
	tcase_add_test(t, hot_pages_are_kept_in_order);
	tcase_add_test(t, hot_list_keeps_the_hottest_of_many);
	tcase_add_test(t, page_without_transactions_is_not_hot);
	tcase_add_test(t, page_colder_than_a_full_list_is_dropped);
	tcase_add_test(t, sum_has_every_counter_and_both_histograms);
	tcase_add_test(t, sum_merges_the_hot_lists);
	return check_main(s);
}
