/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a Check program's main(). CK_FORK=no runs its tests without a process each, CK_VERBOSITY=verbose names those that
 * passed. */
#ifndef UNIT_CHECK_MAIN_H
#define UNIT_CHECK_MAIN_H

#include <check.h>

/* Runs the suite, prints which tests failed, frees it. What main() returns: 0, or 1 if one failed. */
static inline int check_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
