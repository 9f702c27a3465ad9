/* SPDX-License-Identifier: Apache-2.0 */
/* The tables are found from the RSDP as a kernel finds them, checked field by field, and read back by iasl. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/check_main.h"
#include "vmm/acpi.h"
#include "vmm/acpi_tables.h"

#define RAM_BYTES (2 * MIB)

/* A machine of any size; only its first 2 MiB exist here, which is where the tables go. */
struct machine {
	struct memmap map;
	struct guestmem mem;
	uint8_t *ram;
	gpa_t rsdp;
};

static struct machine machine(const struct memmap_spec *spec, size_t nodes)
{
	struct machine m;
	struct acpi_config config = acpi_config_default();

	ck_assert_int_eq(memmap_build(spec, nodes, &m.map), 0);
	m.ram = malloc(RAM_BYTES);
	ck_assert_ptr_nonnull(m.ram);
	memset(m.ram, 0xa5, RAM_BYTES); /* as a guest before a reset may have left it */
	m.mem = (struct guestmem){.n = 1, .range = {{.gpa = 0, .len = RAM_BYTES, .host = m.ram}}};
	ck_assert_int_eq(acpi_build(&m.map, &m.mem, &config, &m.rsdp), 0);
	return m;
}

#define MACHINE(...) machine((const struct memmap_spec[]){__VA_ARGS__}, ARRAY_SIZE(((const struct memmap_spec[]){__VA_ARGS__})))

static void machine_free(struct machine *m)
{
	free(m->ram);
}

static uint8_t sum(const void *p, size_t len)
{
	uint8_t s = 0;

	for (size_t i = 0; i < len; i++)
		s = (uint8_t)(s + ((const uint8_t *)p)[i]);
	return s;
}

static const void *at(const struct machine *m, gpa_t gpa, size_t len)
{
	ck_assert_uint_ge(gpa, ACPI_AREA);
	ck_assert_uint_le(gpa + len, ACPI_AREA_END);
	return m->ram + gpa;
}

static const struct acpi_xsdt *xsdt(const struct machine *m)
{
	const struct acpi_rsdp *r = at(m, m->rsdp, sizeof(*r));

	return at(m, r->xsdt, sizeof(struct acpi_xsdt));
}

static const void *table(const struct machine *m, const char *signature)
{
	const struct acpi_xsdt *x = xsdt(m);

	for (size_t i = 0; i < ACPI_XSDT_TABLES; i++) {
		const struct acpi_header *h = at(m, x->table[i], sizeof(*h));

		if (memcmp(h->signature, signature, 4) == 0)
			return at(m, x->table[i], h->length);
	}
	ck_abort_msg("no %s", signature);
	return NULL;
}

/* Calls `each` with the entries of a MADT or SRAT; all lengths must add up exactly. */
#define FOR_ENTRIES(e, h, fixed)                                                                               \
	for (const uint8_t *e = (const uint8_t *)(h) + (fixed), *end_##e = (const uint8_t *)(h) + (h)->length; \
	     entry_in(e, end_##e); e += (e)[1])

static bool entry_in(const uint8_t *e, const uint8_t *end)
{
	if (e == end)
		return false;
	ck_assert_uint_ge((size_t)(end - e), 2);
	ck_assert_uint_ge(e[1], 2);
	ck_assert_uint_le(e[1], (size_t)(end - e));
	return true;
}

START_TEST(rsdp_is_where_a_scan_finds_it)
{
	struct machine m = MACHINE({1, 64 * MIB});
	const struct acpi_rsdp *r = at(&m, m.rsdp, sizeof(*r));

	ck_assert_uint_eq(m.rsdp % 16, 0);
	ck_assert_mem_eq(r->signature, "RSD PTR ", 8);
	ck_assert_uint_eq(r->revision, 2);
	ck_assert_uint_eq(sum(r, 20), 0);
	ck_assert_uint_eq(sum(r, r->length), 0);
	ck_assert_uint_eq(r->rsdt, 0);
	machine_free(&m);
}
END_TEST

static void check_sums(const struct machine *m)
{
	const struct acpi_xsdt *x = xsdt(m);
	const struct acpi_fadt *f = table(m, "FACP");
	const struct acpi_header *dsdt = at(m, f->x_dsdt, sizeof(*dsdt));

	ck_assert_mem_eq(x->header.signature, "XSDT", 4);
	ck_assert_uint_eq(sum(x, x->header.length), 0);
	for (size_t i = 0; i < ACPI_XSDT_TABLES; i++) {
		const struct acpi_header *h = at(m, x->table[i], sizeof(*h));

		ck_assert_uint_eq(sum(at(m, x->table[i], h->length), h->length), 0);
		ck_assert_mem_eq(h->oem_id, "PANGEA", 6);
	}
	ck_assert_mem_eq(dsdt->signature, "DSDT", 4);
	ck_assert_uint_eq(sum(at(m, f->x_dsdt, dsdt->length), dsdt->length), 0);
}

START_TEST(every_checksum_is_right)
{
	struct machine m = MACHINE({2, 64 * MIB}, {0, 1 * GIB}, {3, 4 * GIB});

	check_sums(&m);
	machine_free(&m);
}
END_TEST

START_TEST(nothing_of_the_area_before_is_left)
{
	struct machine m = MACHINE({1, 64 * MIB});

	ck_assert_uint_eq(m.ram[ACPI_AREA_END - 1], 0);
	ck_assert_uint_eq(m.ram[ACPI_AREA - 1], 0xa5);
	ck_assert_uint_eq(m.ram[ACPI_AREA_END], 0xa5);
	machine_free(&m);
}
END_TEST

START_TEST(fadt_has_the_pm_block_and_the_reset_register)
{
	struct machine m = MACHINE({1, 64 * MIB});
	const struct acpi_fadt *f = table(&m, "FACP");

	ck_assert_uint_eq(f->header.length, 276);
	ck_assert_uint_ge(f->header.revision, 5);
	ck_assert(f->pm1a_evt_blk == 0x600 && f->pm1_evt_len == 4 && f->x_pm1a_evt_blk.address == 0x600);
	ck_assert(f->pm1a_cnt_blk == 0x604 && f->pm1_cnt_len == 2 && f->x_pm1a_cnt_blk.address == 0x604);
	ck_assert(f->pm_tmr_blk == 0x608 && f->pm_tmr_len == 4 && f->x_pm_tmr_blk.address == 0x608);
	ck_assert(f->flags & ACPI_FADT_TMR_VAL_EXT);
	ck_assert(f->flags & ACPI_FADT_RESET_REG_SUP);
	ck_assert(!(f->flags & 1u << 20)); /* HW_REDUCED_ACPI */
	ck_assert(f->reset_reg.space == ACPI_GAS_IO && f->reset_reg.address == 0xcf9 && f->reset_reg.bits == 8);
	ck_assert_uint_eq(f->reset_value, 6);
	ck_assert_uint_eq(f->sci_int, 9);
	ck_assert_uint_eq(f->smi_cmd, 0);
	ck_assert_uint_eq(f->century, 0x32);
	ck_assert(!(f->iapc_boot_arch & ACPI_IAPC_8042));
	ck_assert(!(f->iapc_boot_arch & ACPI_IAPC_RTC_ABSENT));
	machine_free(&m);
}
END_TEST

START_TEST(facs_is_aligned)
{
	struct machine m = MACHINE({1, 64 * MIB});
	const struct acpi_fadt *f = table(&m, "FACP");
	const struct acpi_facs *facs = at(&m, f->firmware_ctrl, sizeof(*facs));

	ck_assert_uint_eq(f->firmware_ctrl % 64, 0);
	ck_assert_mem_eq(facs->signature, "FACS", 4);
	ck_assert_uint_eq(facs->length, 64);
	machine_free(&m);
}
END_TEST

static void check_madt(const struct machine *m)
{
	const struct acpi_header *h = table(m, "APIC");
	const struct acpi_madt *madt = (const struct acpi_madt *)h;
	vcpu_t cpus = 0;
	unsigned ioapics = 0, overrides = 0, nmis = 0;

	ck_assert_uint_eq(madt->lapic_address, 0xfee00000);
	ck_assert_uint_eq(madt->flags & 1, 0); /* PCAT_COMPAT */
	FOR_ENTRIES(e, h, sizeof(*madt))
	{
		const struct acpi_madt_x2apic *cpu = (const void *)e;
		const struct acpi_madt_ioapic *io = (const void *)e;
		const struct acpi_madt_override *o = (const void *)e;
		const struct acpi_madt_x2apic_nmi *nmi = (const void *)e;

		switch (e[0]) {
		case ACPI_MADT_X2APIC:
			ck_assert_uint_eq(e[1], sizeof(*cpu));
			ck_assert_uint_eq(cpu->apic_id, cpus);
			ck_assert_uint_eq(cpu->uid, cpus);
			ck_assert_uint_eq(cpu->flags, ACPI_ENABLED);
			cpus++;
			break;
		case ACPI_MADT_IOAPIC:
			ck_assert(io->address == 0xfec00000 && io->gsi_base == 0);
			ioapics++;
			break;
		case ACPI_MADT_OVERRIDE:
			overrides++;
			if (o->source == 0)
				ck_assert_uint_eq(o->gsi, 2);
			else
				ck_assert(o->source == 9 && o->gsi == 9 && o->flags == 0xd);
			break;
		case ACPI_MADT_X2APIC_NMI:
			ck_assert(nmi->uid == UINT32_MAX && nmi->lint == 1);
			nmis++;
			break;
		default:
			ck_abort_msg("entry of type %u", e[0]);
		}
	}
	ck_assert_uint_eq(cpus, m->map.vcpus);
	ck_assert(ioapics == 1 && overrides == 2 && nmis == 1);
}

START_TEST(madt_has_each_vcpu_the_ioapic_and_the_overrides)
{
	struct machine m = MACHINE({2, 64 * MIB}, {0, 64 * MIB}, {3, 64 * MIB});

	check_madt(&m);
	machine_free(&m);
}
END_TEST

/* Each vCPU and each byte of RAM is in exactly one domain, that of its node. */
static void check_srat(const struct machine *m)
{
	const struct acpi_header *h = table(m, "SRAT");
	uint64_t bytes = 0;
	vcpu_t cpus = 0;
	node_t domain = 0;

	ck_assert_uint_eq(((const struct acpi_srat *)h)->reserved_one, 1);
	FOR_ENTRIES(e, h, sizeof(struct acpi_srat))
	{
		const struct acpi_srat_x2apic *cpu = (const void *)e;
		const struct acpi_srat_memory *ram = (const void *)e;

		if (e[0] == ACPI_SRAT_X2APIC) {
			ck_assert_uint_eq(e[1], sizeof(*cpu));
			ck_assert_uint_eq(cpu->flags, ACPI_ENABLED);
			ck_assert_uint_ge(cpu->domain, domain); /* Linux numbers nodes in this order */
			ck_assert_uint_le(cpu->domain, domain + 1);
			domain = cpu->domain;
			if (cpu->apic_id >= m->map.vcpus) { /* the empty socket of a memory-only node */
				ck_assert_uint_eq(m->map.node[domain].vcpus, 0);
				continue;
			}
			ck_assert_uint_eq(cpu->apic_id, cpus);
			ck_assert_uint_eq(cpu->domain, memmap_vcpu_node(&m->map, cpus));
			cpus++;
		} else {
			rpn_t first, last;

			ck_assert_uint_eq(e[0], ACPI_SRAT_MEMORY);
			ck_assert_uint_eq(e[1], sizeof(*ram));
			ck_assert_uint_eq(ram->flags, ACPI_ENABLED);
			ck_assert(memmap_rpn(&m->map, ram->base, &first));
			ck_assert(memmap_rpn(&m->map, ram->base + ram->bytes - 1, &last));
			ck_assert_uint_eq(first << PAGE_SHIFT, bytes); /* in order, without a gap */
			ck_assert_uint_eq((last - first + 1) << PAGE_SHIFT, ram->bytes);
			ck_assert_uint_eq(memmap_home(&m->map, first), ram->domain);
			ck_assert_uint_eq(memmap_home(&m->map, last), ram->domain);
			bytes += ram->bytes;
		}
	}
	ck_assert_uint_eq(cpus, m->map.vcpus);
	ck_assert_uint_eq(domain, m->map.nodes - 1);
	ck_assert_uint_eq(bytes, m->map.pages << PAGE_SHIFT);
}

START_TEST(srat_has_a_domain_a_node)
{
	struct machine m = MACHINE({2, 512 * MIB}, {1, 1 * GIB});

	check_srat(&m);
	machine_free(&m);
}
END_TEST

START_TEST(srat_splits_a_node_at_the_hole)
{
	struct machine m = MACHINE({2, 2 * GIB}, {1, 2 * GIB}, {1, 2 * GIB});
	const struct acpi_header *h = table(&m, "SRAT");

	check_srat(&m);
	ck_assert_uint_eq(h->length,
			  sizeof(struct acpi_srat) + 4 * sizeof(struct acpi_srat_x2apic) + 4 * sizeof(struct acpi_srat_memory));
	machine_free(&m);
}
END_TEST

START_TEST(srat_has_memory_only_and_cpu_only_nodes)
{
	struct machine m = MACHINE({1, 64 * MIB}, {0, 64 * MIB}, {2, 0}, {0, 64 * MIB});

	check_srat(&m);
	machine_free(&m);
}
END_TEST

static void check_slit(const struct machine *m)
{
	const struct acpi_header *h = table(m, "SLIT");
	const struct acpi_slit *s = (const void *)h;
	const uint8_t *distance = (const uint8_t *)(s + 1);

	ck_assert_uint_eq(s->localities, m->map.nodes);
	ck_assert_uint_eq(h->length, sizeof(*s) + s->localities * s->localities);
	for (node_t i = 0; i < m->map.nodes; i++)
		for (node_t j = 0; j < m->map.nodes; j++)
			ck_assert_uint_eq(distance[i * m->map.nodes + j], i == j ? 10 : 100);
}

START_TEST(slit_is_10_and_100)
{
	struct machine m = MACHINE({1, 64 * MIB}, {1, 64 * MIB}, {1, 64 * MIB});

	check_slit(&m);
	machine_free(&m);
}
END_TEST

START_TEST(the_largest_machine_fits)
{
	struct memmap_spec spec[NODES_MAX];
	struct machine m;

	for (size_t i = 0; i < NODES_MAX; i++)
		spec[i] = (struct memmap_spec){VCPUS_MAX / NODES_MAX, 128 * MIB}; /* one straddles the hole */
	spec[0].bytes = 130 * MIB;
	m = machine(spec, NODES_MAX);
	check_sums(&m);
	check_madt(&m);
	check_srat(&m);
	check_slit(&m);
	machine_free(&m);
}
END_TEST

START_TEST(ram_that_ends_below_the_area_is_an_error)
{
	struct machine m = MACHINE({1, 64 * MIB});
	struct acpi_config config = acpi_config_default();
	gpa_t rsdp = 42;

	m.mem.range[0].len = ACPI_AREA_END - PAGE_BYTES;
	ck_assert_int_eq(acpi_build(&m.map, &m.mem, &config, &rsdp), -EFAULT);
	ck_assert_uint_eq(rsdp, 42);
	machine_free(&m);
}
END_TEST

START_TEST(the_configuration_is_what_the_tables_say)
{
	struct machine m = MACHINE({1, 64 * MIB});
	struct acpi_config config = acpi_config_default();
	const struct acpi_fadt *f;

	config.pm1_evt_port = 0x1600;
	config.sci_gsi = 10;
	ck_assert_int_eq(acpi_build(&m.map, &m.mem, &config, &m.rsdp), 0);
	f = table(&m, "FACP");
	ck_assert(f->pm1a_evt_blk == 0x1600 && f->x_pm1a_evt_blk.address == 0x1600);
	ck_assert_uint_eq(f->sci_int, 10);
	machine_free(&m);
}
END_TEST

static void dump(const struct machine *m, const char *dir, const char *name, gpa_t gpa, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	file = fopen(path, "wb");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(at(m, gpa, len), 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);
}

/* iasl reads each table (it has no reader for a bare RSDP) and finds nothing to complain about; the listing has what the guest
 * should get. */
static void check_iasl(const struct machine *m, const char *in_srat)
{
	const struct acpi_xsdt *x = xsdt(m);
	const struct acpi_fadt *f = table(m, "FACP");
	const struct acpi_rsdp *r = at(m, m->rsdp, sizeof(*r));
	char dir[] = "/tmp/pangea-test-acpi.XXXXXX", command[1024];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	dump(m, dir, "xsdt", r->xsdt, x->header.length);
	dump(m, dir, "facs", f->firmware_ctrl, sizeof(struct acpi_facs));
	dump(m, dir, "dsdt", f->x_dsdt, ((const struct acpi_header *)at(m, f->x_dsdt, sizeof(struct acpi_header)))->length);
	for (size_t i = 0; i < ACPI_XSDT_TABLES; i++) {
		const struct acpi_header *h = at(m, x->table[i], sizeof(*h));
		char name[5] = {0};

		memcpy(name, h->signature, 4);
		dump(m, dir, name, x->table[i], h->length);
	}
	snprintf(command, sizeof(command),
		 "cd %s && for t in *.dat; do iasl -d $t >$t.log 2>&1 || { cat $t.log; exit 1; }; done;"
		 "if grep -iE 'error|invalid|unknown|incorrect|warning' *.log *.dsl; then exit 1; fi;"
		 "test $(ls *.dsl | wc -l) = 7 && grep -q PNP0501 dsdt.dsl && grep -q _S5 dsdt.dsl && grep -q 'Processor x2Apic ID "
		 ": %08X' APIC.dsl && grep -q '%s' SRAT.dsl",
		 dir, m->map.vcpus - 1, in_srat);
	ck_assert_int_eq(system(command), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(iasl_disassembles_every_table)
{
	struct machine m = MACHINE({2, 64 * MIB}, {0, 4 * GIB}, {1, 0});

	check_iasl(&m, "Proximity Domain : 00000002");
	machine_free(&m);
}
END_TEST

/* 64 nodes, every second one without a vCPU, 1024 vCPUs, 32 TiB. */
START_TEST(iasl_disassembles_the_largest_machine)
{
	struct memmap_spec spec[NODES_MAX];
	struct machine m;

	for (size_t i = 0; i < NODES_MAX; i++)
		spec[i] = (struct memmap_spec){i % 2 ? 0 : 2 * VCPUS_MAX / NODES_MAX, MEMMAP_BYTES_MAX / NODES_MAX};
	m = machine(spec, NODES_MAX);
	check_iasl(&m, "Proximity Domain : 0000003F");
	machine_free(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acpi");
	TCase *t = tcase_create("acpi");

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, rsdp_is_where_a_scan_finds_it);
	tcase_add_test(t, every_checksum_is_right);
	tcase_add_test(t, nothing_of_the_area_before_is_left);
	tcase_add_test(t, fadt_has_the_pm_block_and_the_reset_register);
	tcase_add_test(t, facs_is_aligned);
	tcase_add_test(t, madt_has_each_vcpu_the_ioapic_and_the_overrides);
	tcase_add_test(t, srat_has_a_domain_a_node);
	tcase_add_test(t, srat_splits_a_node_at_the_hole);
	tcase_add_test(t, srat_has_memory_only_and_cpu_only_nodes);
	tcase_add_test(t, slit_is_10_and_100);
	tcase_add_test(t, the_largest_machine_fits);
	tcase_add_test(t, ram_that_ends_below_the_area_is_an_error);
	tcase_add_test(t, the_configuration_is_what_the_tables_say);
	tcase_add_test(t, iasl_disassembles_every_table);
	tcase_add_test(t, iasl_disassembles_the_largest_machine);
	return check_main(s);
}
