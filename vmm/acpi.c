/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vmm/acpi_tables.h"

#define AREA_BYTES   (ACPI_AREA_END - ACPI_AREA)
#define OEM_ID       "PANGEA"
#define OEM_TABLE_ID "PANGEA  "
#define CREATOR_ID   "PNGA"

/* What the largest machine takes, alignment of every table included. */
#define PIECES_MAX (NODES_MAX + 1) /* one node at most straddles the hole */
#define TABLES_MAX                                                                                                   \
	(sizeof(struct acpi_rsdp) + sizeof(struct acpi_facs) + sizeof(struct acpi_fadt) + sizeof(struct acpi_xsdt) + \
	 sizeof(struct acpi_madt) + 256 + VCPUS_MAX * sizeof(struct acpi_madt_x2apic) + sizeof(struct acpi_srat) +   \
	 (VCPUS_MAX + NODES_MAX) * sizeof(struct acpi_srat_x2apic) + PIECES_MAX * sizeof(struct acpi_srat_memory) +  \
	 sizeof(struct acpi_slit) + NODES_MAX * NODES_MAX + 8 * 64)

/* clang-format off */
/* iasl declares a plain array, "unsigned char dsdt_aml_code[]"; the two words before make it private and constant. */
static const
#include "dsdt.hex"
static_assert(TABLES_MAX + sizeof(dsdt_aml_code) <= AREA_BYTES, "the ACPI area has room for VCPUS_MAX and NODES_MAX");
/* clang-format on */

/* The tables are laid out in a buffer that is the image of the area, then written to the guest in one go. */
struct area {
	uint8_t *image;
	size_t used;
};

/* The next `len` zeroed bytes. */
static void *take(struct area *area, size_t len, size_t align)
{
	size_t at = (area->used + align - 1) & ~(align - 1);

	assert(len <= AREA_BYTES - at);
	area->used = at + len;
	return area->image + at;
}

static gpa_t gpa_of(const struct area *area, const void *p)
{
	return ACPI_AREA + (gpa_t)((const uint8_t *)p - area->image);
}

static uint8_t checksum(const void *table, size_t len)
{
	const uint8_t *p = table;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)(0u - sum);
}

static void *begin(struct area *area, size_t len, const char signature[static 4], uint8_t revision)
{
	struct acpi_header *h = take(area, len, 8);

	memcpy(h->signature, signature, sizeof(h->signature));
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
	memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
	h->oem_revision = 1;
	memcpy(h->creator_id, CREATOR_ID, sizeof(h->creator_id));
	h->creator_revision = 1;
	return h;
}

/* Another entry of the table that was begun last. */
static void *append(struct area *area, size_t len)
{
	return take(area, len, 1);
}

/* A table is everything from its header to what was taken last. */
static gpa_t end(struct area *area, struct acpi_header *h)
{
	gpa_t gpa = gpa_of(area, h);

	h->length = (uint32_t)(ACPI_AREA + area->used - gpa);
	h->checksum = checksum(h, h->length);
	return gpa;
}

static struct acpi_gas io(uint16_t port, uint8_t bits, uint8_t access)
{
	return (struct acpi_gas){.space = ACPI_GAS_IO, .bits = bits, .access = access, .address = port};
}

static gpa_t build_facs(struct area *area)
{
	struct acpi_facs *facs = take(area, sizeof(*facs), 64);

	memcpy(facs->signature, "FACS", sizeof(facs->signature));
	facs->length = sizeof(*facs);
	facs->version = 2;
	return gpa_of(area, facs);
}

static gpa_t build_dsdt(struct area *area)
{
	void *dsdt = take(area, sizeof(dsdt_aml_code), 8);

	memcpy(dsdt, dsdt_aml_code, sizeof(dsdt_aml_code)); /* iasl has set its length and checksum */
	return gpa_of(area, dsdt);
}

/* Revision 6.3. The 32-bit addresses of the PM block and their X_ twins say the same; of the FACS only the 32-bit one is set
 * (5.2.9: one of the two), of the DSDT both. */
static gpa_t build_fadt(struct area *area, const struct acpi_config *c, gpa_t facs, gpa_t dsdt)
{
	struct acpi_fadt *f = begin(area, sizeof(*f), "FACP", 6);

	f->minor_version = 3;
	f->firmware_ctrl = (uint32_t)facs;
	f->dsdt = (uint32_t)dsdt;
	f->x_dsdt = dsdt;
	f->sci_int = c->sci_gsi;
	f->pm1a_evt_blk = c->pm1_evt_port;
	f->pm1_evt_len = 4;
	f->x_pm1a_evt_blk = io(c->pm1_evt_port, 32, ACPI_GAS_WORD);
	f->pm1a_cnt_blk = c->pm1_cnt_port;
	f->pm1_cnt_len = 2;
	f->x_pm1a_cnt_blk = io(c->pm1_cnt_port, 16, ACPI_GAS_WORD);
	f->pm_tmr_blk = c->pm_tmr_port;
	f->pm_tmr_len = 4;
	f->x_pm_tmr_blk = io(c->pm_tmr_port, 32, ACPI_GAS_DWORD);
	f->p_lvl2_lat = 101;  /* over 100 us: no C2 */
	f->p_lvl3_lat = 1001; /* over 1000 us: no C3 */
	f->century = c->century;
	/* No 8042: port 0x64 only takes the reset command, and a driver that probed for a keyboard would wait for one. */
	f->iapc_boot_arch = ACPI_IAPC_LEGACY_DEVICES | ACPI_IAPC_VGA_ABSENT;
	f->flags = ACPI_FADT_WBINVD | ACPI_FADT_PROC_C1 | ACPI_FADT_SLP_BUTTON | ACPI_FADT_FIX_RTC | ACPI_FADT_TMR_VAL_EXT |
		   ACPI_FADT_RESET_REG_SUP;
	f->reset_reg = io(c->reset_port, 8, ACPI_GAS_BYTE);
	f->reset_value = c->reset_value;
	memcpy(&f->hypervisor_id, OEM_ID, sizeof(OEM_ID));
	return end(area, &f->header);
}

static gpa_t build_madt(struct area *area, const struct memmap *map, const struct acpi_config *c)
{
	struct acpi_madt *madt = begin(area, sizeof(*madt), "APIC", 5);
	struct acpi_madt_ioapic *ioapic;
	struct acpi_madt_override *pit, *sci;
	struct acpi_madt_x2apic_nmi *nmi;

	madt->lapic_address = c->lapic;
	madt->flags = 0; /* no 8259 */
	for (vcpu_t v = 0; v < map->vcpus; v++) {
		struct acpi_madt_x2apic *cpu = append(area, sizeof(*cpu));

		*cpu = (struct acpi_madt_x2apic){
			.type = ACPI_MADT_X2APIC, .length = sizeof(*cpu), .apic_id = v, .flags = ACPI_ENABLED, .uid = v};
	}
	ioapic = append(area, sizeof(*ioapic));
	*ioapic = (struct acpi_madt_ioapic){
		.type = ACPI_MADT_IOAPIC, .length = sizeof(*ioapic), .id = c->ioapic_id, .address = c->ioapic, .gsi_base = 0};
	pit = append(area, sizeof(*pit));
	*pit = (struct acpi_madt_override){
		.type = ACPI_MADT_OVERRIDE, .length = sizeof(*pit), .source = 0, .gsi = c->pit_gsi, .flags = ACPI_MPS_CONFORMS};
	sci = append(area, sizeof(*sci));
	*sci = (struct acpi_madt_override){.type = ACPI_MADT_OVERRIDE,
					   .length = sizeof(*sci),
					   .source = c->sci_gsi,
					   .gsi = c->sci_gsi,
					   .flags = ACPI_MPS_LEVEL_HIGH};
	nmi = append(area, sizeof(*nmi));
	*nmi = (struct acpi_madt_x2apic_nmi){
		.type = ACPI_MADT_X2APIC_NMI, .length = sizeof(*nmi), .flags = ACPI_MPS_CONFORMS, .uid = ACPI_UID_ALL, .lint = 1};
	return end(area, &madt->header);
}

static void append_cpu(struct area *area, node_t domain, uint32_t apic_id)
{
	struct acpi_srat_x2apic *cpu = append(area, sizeof(*cpu));

	*cpu = (struct acpi_srat_x2apic){
		.type = ACPI_SRAT_X2APIC, .length = sizeof(*cpu), .domain = domain, .apic_id = apic_id, .flags = ACPI_ENABLED};
}

/*
 * Linux numbers its nodes in the order in which it meets domains, all processor entries before any memory entry, so a
 * memory-only node would get a number behind all nodes with processors (seen with 6.1: nodes 1 and 2 swapped). A processor
 * entry for an APIC id that the MADT does not have, as firmware writes one for an empty socket, keeps node n node n. Ids above 254
 * are only taken by a guest that starts in x2APIC mode: ipi_power_on_lapic counts these ids, too.
 */
static gpa_t build_srat(struct area *area, const struct memmap *map)
{
	struct acpi_srat *srat = begin(area, sizeof(*srat), "SRAT", 3);

	srat->reserved_one = 1;
	for (node_t n = 0; n < map->nodes; n++) {
		struct memmap_piece piece[MEMMAP_NODE_PIECES_MAX];
		size_t pieces = memmap_node_pieces(map, n, piece);

		for (vcpu_t i = 0; i < map->node[n].vcpus; i++)
			append_cpu(area, n, map->node[n].first_vcpu + i);
		if (map->node[n].vcpus == 0)
			append_cpu(area, n, map->vcpus + n);
		for (size_t i = 0; i < pieces; i++) {
			struct acpi_srat_memory *m = append(area, sizeof(*m));

			*m = (struct acpi_srat_memory){.type = ACPI_SRAT_MEMORY,
						       .length = sizeof(*m),
						       .domain = n,
						       .base = piece[i].gpa,
						       .bytes = piece[i].len,
						       .flags = ACPI_ENABLED};
		}
	}
	return end(area, &srat->header);
}

static gpa_t build_slit(struct area *area, const struct memmap *map)
{
	struct acpi_slit *slit = begin(area, sizeof(*slit), "SLIT", 1);

	slit->localities = map->nodes;
	for (node_t from = 0; from < map->nodes; from++) {
		uint8_t *row = append(area, map->nodes);

		for (node_t to = 0; to < map->nodes; to++)
			row[to] = from == to ? ACPI_SLIT_LOCAL : ACPI_SLIT_REMOTE;
	}
	return end(area, &slit->header);
}

int acpi_build(const struct memmap *map, const struct guestmem *mem, const struct acpi_config *config, gpa_t *rsdp)
{
	struct area area = {.image = calloc(1, AREA_BYTES)};
	struct acpi_rsdp *root;
	struct acpi_xsdt *xsdt;
	gpa_t facs, dsdt, fadt, madt, srat, slit;
	int rc;

	if (!area.image)
		return -ENOMEM;
	root = take(&area, sizeof(*root), 16); /* on a 16-byte boundary (5.2.5.1) */
	facs = build_facs(&area);
	dsdt = build_dsdt(&area);
	fadt = build_fadt(&area, config, facs, dsdt);
	madt = build_madt(&area, map, config);
	srat = build_srat(&area, map);
	slit = build_slit(&area, map);
	xsdt = begin(&area, sizeof(*xsdt), "XSDT", 1);
	memcpy(xsdt->table, (uint64_t[ACPI_XSDT_TABLES]){fadt, madt, srat, slit}, sizeof(xsdt->table));

	memcpy(root->signature, "RSD PTR ", sizeof(root->signature));
	memcpy(root->oem_id, OEM_ID, sizeof(root->oem_id));
	root->revision = 2;
	root->length = sizeof(*root);
	root->xsdt = end(&area, &xsdt->header);
	root->checksum = checksum(root, offsetof(struct acpi_rsdp, length));
	root->extended_checksum = checksum(root, sizeof(*root));

	/* All of the area, so that after a guest reset nothing of the guest's is left in it. */
	rc = guestmem_write(mem, ACPI_AREA, area.image, AREA_BYTES);
	if (rc)
		log_error("ACPI tables: guest memory [%#x, %#x) is not RAM", ACPI_AREA, ACPI_AREA_END);
	else
		*rsdp = ACPI_AREA;
	free(area.image);
	return rc;
}
