/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/tables.h"

#define ENTRY_PRESENT  UINT64_C(0x001)
#define ENTRY_WRITABLE UINT64_C(0x002)
#define ENTRY_ACCESSED UINT64_C(0x020)
#define ENTRY_DIRTY    UINT64_C(0x040)
#define ENTRY_LARGE    UINT64_C(0x080)
#define ENTRY_NX       (UINT64_C(1) << 63)
#define ENTRY_ADDRESS  UINT64_C(0x000ffffffffff000)

bool table_maps(const uint8_t *bytes)
{
	const uint64_t *entry = (const uint64_t *)(const void *)bytes;

	for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
		uint64_t e = __atomic_load_n(&entry[i], __ATOMIC_RELAXED);

		if (e & ENTRY_PRESENT && e & ENTRY_ADDRESS)
			return true;
	}
	return false;
}

/* As a kernel makes an entry that leads to a table. */
static bool leads(uint64_t e, unsigned level)
{
	const uint64_t must = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_ACCESSED;

	return (e & (must | ENTRY_NX)) == must && !(level <= 3 && e & ENTRY_LARGE);
}

bool table_settled(const uint8_t *bytes)
{
	const uint64_t *entry = (const uint64_t *)(const void *)bytes;
	unsigned present = 0;

	for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
		uint64_t e = __atomic_load_n(&entry[i], __ATOMIC_RELAXED);

		if (!e)
			continue;
		if (!(e & ENTRY_PRESENT) || !(e & ENTRY_ACCESSED) || ((e & ENTRY_WRITABLE) && !(e & ENTRY_DIRTY)))
			return false;
		present++;
	}
	return present > 0;
}

/* Searches the subtree of the table at `at`, whose entries are of level `level` (1: they map pages of 4 KiB). */
static bool search(const struct tables *tables, gpa_t at, unsigned level, gpa_t gpa, unsigned *visited)
{
	const uint64_t *entry;

	if (at == gpa)
		return true;
	if (level == 1 || ++*visited > TABLES_VISITED_MAX)
		return false;
	entry = (const uint64_t *)(const void *)tables->bytes(tables, at);
	for (unsigned i = 0; entry && i < TABLE_ENTRIES; i++) {
		uint64_t e = __atomic_load_n(&entry[i], __ATOMIC_RELAXED);

		if (leads(e, level) && search(tables, e & ENTRY_ADDRESS, level - 1, gpa, visited))
			return true;
	}
	return false;
}

bool table_is_in(const struct tables *tables, gpa_t root, unsigned levels, gpa_t gpa)
{
	unsigned visited = 0;

	return search(tables, root & ENTRY_ADDRESS, levels, gpa, &visited);
}
