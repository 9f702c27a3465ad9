/* SPDX-License-Identifier: Apache-2.0 */
/* The guest kernel's symbol tables: of every layout, of the real kernel where the lab has fetched one, and of hostile guests. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "kallsyms_help.h"
#include "tests/unit/check_main.h"

#define N 700u /* more than two markers */

static struct made m;
static struct made_symbol list[N];
static char names[N][32];
static struct symbols *s;

static void setup(void)
{
	made_list(list, names, N);
	s = NULL;
}

static void teardown(void)
{
	symbols_free(s);
}

static int parse(void)
{
	size_t at;

	if (!kallsyms_find(m.bytes, m.len, 0, &at))
		return -ENOENT;
	ck_assert_uint_eq(at, m.tokens);
	return kallsyms_parse(m.bytes, m.len, at, &s);
}

START_TEST(every_layout_is_read)
{
	made_tables(&m, (enum made_layout)_i, list, N, 4096);
	ck_assert_int_eq(parse(), 0);
	ck_assert_uint_eq(s->n, N);
	for (uint32_t i = 0; i < N; i++) {
		ck_assert_uint_eq(s->symbol[i].addr, list[i].addr);
		ck_assert_int_eq(s->symbol[i].type, list[i].type);
		ck_assert_str_eq(symbols_name(s, i), list[i].name);
	}
}
END_TEST

START_TEST(percpu_symbols_are_absolute)
{
	list[0] = (struct made_symbol){.addr = 0x31980, .type = 'A', .name = "runqueues"};
	made_tables(&m, (enum made_layout)_i, list, N, 8);
	ck_assert_int_eq(parse(), 0);
	uint64_t addr;
	ck_assert(symbols_find(s, "runqueues", &addr));
	ck_assert_uint_eq(addr, 0x31980);
	ck_assert(symbols_find(s, "thing_1", &addr));
	ck_assert_uint_eq(addr, MADE_BASE + 64);
}
END_TEST

START_TEST(long_names_have_two_bytes_of_length)
{
	static char text[201];

	memset(text, 'x', 200);
	list[300].name = text;
	made_tables(&m, (enum made_layout)_i, list, N, 0);
	ck_assert_int_eq(parse(), 0);
	ck_assert_str_eq(symbols_name(s, 300), text);
}
END_TEST

START_TEST(bytes_without_tables_have_none)
{
	size_t at;

	memset(&m, 0, sizeof(m));
	ck_assert(!kallsyms_find(m.bytes, sizeof(m.bytes), 0, &at));
	memset(m.bytes, '0', sizeof(m.bytes));
	ck_assert(!kallsyms_find(m.bytes, sizeof(m.bytes), 0, &at));
	ck_assert(!kallsyms_find(m.bytes, 0, 0, &at));
}
END_TEST

START_TEST(search_goes_on_behind_a_table)
{
	size_t at;

	made_tables(&m, MADE_61, list, N, 64);
	ck_assert(kallsyms_find(m.bytes, m.len, m.tokens, &at));
	ck_assert_uint_eq(at, m.tokens);
	ck_assert(!kallsyms_find(m.bytes, m.len, m.tokens + 1, &at));
}
END_TEST

START_TEST(token_table_that_its_index_belies_is_none)
{
	size_t at;

	made_tables(&m, MADE_61, list, N, 64);
	for (size_t i = m.tokens; i < m.tokens + 40; i++)
		if (m.bytes[i] == 'a') { /* one string in two */
			m.bytes[i] = 0;
			break;
		}
	ck_assert(!kallsyms_find(m.bytes, m.len, 0, &at));
}
END_TEST

/* Every length at which the memory may end, for each layout: refused or read, never beyond the end (AddressSanitizer's to see). */
START_TEST(tables_cut_anywhere_are_refused)
{
	made_tables(&m, (enum made_layout)_i, list, 100, 0);
	size_t needed = m.tokens;

	for (size_t len = 0; len < m.len; len += 3) {
		uint8_t *copy = malloc(len ? len : 1);
		struct symbols *some = NULL;

		memcpy(copy, m.bytes, len);
		if (kallsyms_parse(copy, len, MIN(m.tokens, len), &some) == 0) {
			ck_assert_uint_gt(len, needed);
			ck_assert_uint_eq(some->n, 100);
			symbols_free(some);
		}
		free(copy);
	}
}
END_TEST

static void refused_after(size_t at, uint8_t value)
{
	uint8_t was = m.bytes[at];

	m.bytes[at] = value;
	ck_assert_int_eq(kallsyms_parse(m.bytes, m.len, m.tokens, &s), -EBADMSG);
	m.bytes[at] = was;
}

START_TEST(parts_that_disagree_are_refused)
{
	made_tables(&m, MADE_64, list, N, 0);
	refused_after(0, 0xff);            /* num_syms */
	refused_after(2, 0xff);            /* far more than there is room for */
	refused_after(8, 0);               /* a name of no length */
	refused_after(8, 0xff);            /* a name of two bytes of length */
	refused_after(m.tokens - 8, 0xee); /* a marker */
}
END_TEST

START_TEST(name_that_is_not_printable_is_refused)
{
	list[3].name = "evil[2J";
	made_tables(&m, MADE_64, list, N, 0);
	uint8_t *token = memmem(m.bytes + m.tokens, m.len - m.tokens, "u\0v\0w", 6);
	ck_assert_ptr_nonnull(token);
	token[2] = 0x1b; /* what stood for v is now an escape */
	ck_assert_int_eq(kallsyms_parse(m.bytes, m.len, m.tokens, &s), -EBADMSG);
}
END_TEST

/* ---- text ---- */

static int parse_text(const char *text)
{
	return symbols_parse(text, strlen(text), &s);
}

START_TEST(text_of_proc_kallsyms_is_read)
{
	ck_assert_int_eq(parse_text("0000000000000000 A fixed_percpu_data\n0000000000031980 A runqueues\n"
				    "ffffffff82a079c0 D jiffies\nffffffff82a079c0 D jiffies_64\nffffffff81000000 T _text\n"
				    "ffffffffc0001000 t init_module\t[loop]\n"),
			 0);
	ck_assert_uint_eq(s->n, 5); /* a module's is none of the image */
	ck_assert_str_eq(symbols_name(s, 2), "_text");
	ck_assert_str_eq(symbols_name(s, 3), "jiffies");
	ck_assert_uint_eq(symbols_upto(s, 0xffffffff82a079c0), 5);
	ck_assert_uint_eq(symbols_upto(s, 0xffffffff82a079bf), 3);
	ck_assert_uint_eq(symbols_upto(s, 0), 1);
}
END_TEST

START_TEST(text_of_nm_is_read)
{
	ck_assert_int_eq(parse_text("                 U undefined\nffffffff81000000 T _text"), 0);
	ck_assert_uint_eq(s->n, 1);
}
END_TEST

START_TEST(text_that_is_no_list_of_symbols_is_refused)
{
	static const char *const bad[] = {
		"",
		"\n",
		"hello\n",
		"ffffffff81000000\n",
		"ffffffff81000000 T\n",
		"ffffffff81000000 T \n",
		"ffffffff81000000  T x\n",
		"fffffffff81000000 T seventeen_digits\n",
		"FFFFFFFF81000000 T capitals\n",
		"ffffffff81000000 T bell\a\n",
		"0000000000000000 T hidden\n0000000000000000 T from_users\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(parse_text(bad[i]) == -EBADMSG, "taken: %s", bad[i]);
}
END_TEST

START_TEST(name_longer_than_any_is_refused)
{
	char text[SYMBOL_NAME_MAX + 32];

	memset(text, 'x', sizeof(text));
	memcpy(text, "ffffffff81000000 T ", 19);
	ck_assert_int_eq(symbols_parse(text, 19 + SYMBOL_NAME_MAX - 1, &s), 0);
	symbols_free(s);
	s = NULL;
	ck_assert_int_eq(symbols_parse(text, 19 + SYMBOL_NAME_MAX, &s), -EBADMSG);
}
END_TEST

/* ---- the real thing ---- */

static uint8_t *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "r");
	uint8_t *bytes = NULL;

	if (!f)
		return NULL;
	if (fseek(f, 0, SEEK_END) == 0) {
		*len = (size_t)ftell(f);
		rewind(f);
		bytes = malloc(*len);
		ck_assert_uint_eq(fread(bytes, 1, *len, f), *len);
	}
	fclose(f);
	return bytes;
}

/* Debian's kernels, where tests/lab/kernels has unpacked them: .rodata lies in the file as it will in memory. */
START_TEST(tables_of_the_real_kernel_are_read)
{
	static const char *const paths[] = {"build/lab/cloud/vmlinux", "build/lab/generic/vmlinux"};
	static const char *const known[] = {"_text", "_end", "linux_banner", "phys_base", "jiffies", "tk_core", "init_task"};
	size_t len = 0, at;
	uint8_t *bytes = read_file(paths[_i], &len);
	uint64_t addr;

	if (!bytes)
		return; /* nothing was fetched here */
	ck_assert(kallsyms_find(bytes, len, 0, &at));
	ck_assert_int_eq(kallsyms_parse(bytes, len, at, &s), 0);
	free(bytes);
	ck_assert_uint_gt(s->n, 50000);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		ck_assert_msg(symbols_find(s, known[i], &addr), "no %s", known[i]);
		ck_assert_uint_ge(addr, MADE_BASE);
		ck_assert_uint_lt(addr, MADE_BASE + GIB);
	}
	ck_assert(symbols_find(s, "runqueues", &addr));
	uint64_t start, end;
	ck_assert(symbols_find(s, "__per_cpu_start", &start) && symbols_find(s, "__per_cpu_end", &end));
	ck_assert(addr >= start && addr < end);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kallsyms");
	TCase *t = tcase_create("kallsyms");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, every_layout_is_read, MADE_61, MADE_LAYOUTS);
	tcase_add_loop_test(t, percpu_symbols_are_absolute, MADE_61, MADE_615);
	tcase_add_loop_test(t, long_names_have_two_bytes_of_length, MADE_61, MADE_LAYOUTS);
	tcase_add_test(t, bytes_without_tables_have_none);
	tcase_add_test(t, search_goes_on_behind_a_table);
	tcase_add_test(t, token_table_that_its_index_belies_is_none);
	tcase_add_loop_test(t, tables_cut_anywhere_are_refused, MADE_61, MADE_LAYOUTS);
	tcase_add_test(t, parts_that_disagree_are_refused);
	tcase_add_test(t, name_that_is_not_printable_is_refused);
	tcase_add_test(t, text_of_proc_kallsyms_is_read);
	tcase_add_test(t, text_of_nm_is_read);
	tcase_add_test(t, text_that_is_no_list_of_symbols_is_refused);
	tcase_add_test(t, name_longer_than_any_is_refused);
	tcase_add_loop_test(t, tables_of_the_real_kernel_are_read, 0, 2);
	suite_add_tcase(suite, t);
	return check_main(suite);
}
