/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables: what the guest learns about its processors, nodes, interrupt controller and power.
 *
 * One proximity domain a node, its number the node's. A vCPU is an x2APIC entry whose APIC id and UID are its
 * number, also below 255: Linux takes these as long as no local APIC (type 0) entry is there besides. From 255
 * on only if vCPU 0 starts with x2APIC mode already on (IA32_APIC_BASE.EXTD), as firmware hands it over: so a machine of so many
 * does (vcpu/ipi.c, ipi_power_on_lapic). All tables are written once, before the guest runs, into the area below 1 MiB that
 * memmap_e820 reserves:
 *
 *      ACPI_AREA        RSDP   at its start, where a kernel that was not told the address scans for it (5.2.5.1)
 *                       FACS   64-byte aligned
 *                       DSDT, FADT, MADT, SRAT, SLIT, XSDT   8-byte aligned, the largest machine takes about 50 KiB
 *      ACPI_AREA_END
 *
 * Not hardware-reduced. SMI_CMD is 0, so the guest is in ACPI mode from the start (4.8.2.5 and 5.2.9) and expects
 * SCI_EN to read 1. Guest bytes are never read. Called by the thread that starts the VM, before any vCPU runs
 * and again at a guest reset; writes through the guest view, so that thread may sleep for a remote page (D5).
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include "base/guestmem.h"
#include "base/types.h"
#include "vmm/memmap.h"

#define ACPI_AREA     0xe0000u
#define ACPI_AREA_END 0x100000u
#define ACPI_SLP_TYP  5u /* \_S5 of dsdt.asl: SLP_TYP in PM1a_CNT that powers off */

/* Where the devices are. acpi_config_default() has this machine's; the DSDT names COM1 and the RTC by itself. */
struct acpi_config {
	uint32_t lapic, ioapic; /* addresses */
	uint8_t ioapic_id;
	uint8_t sci_gsi;       /* < 16, level, active high: also the SCI's override */
	uint8_t pit_gsi;       /* IRQ 0's */
	uint16_t pm1_evt_port; /* PM1a_STS and PM1a_EN, 2 bytes each */
	uint16_t pm1_cnt_port; /* 2 bytes */
	uint16_t pm_tmr_port;  /* 4 bytes, a 32-bit counter */
	uint16_t reset_port;   /* 1 byte */
	uint8_t reset_value;
	uint8_t century; /* index of the century in CMOS */
};

static inline struct acpi_config acpi_config_default(void)
{
	return (struct acpi_config){
		.lapic = 0xfee00000,
		.ioapic = 0xfec00000,
		.ioapic_id = 0,
		.sci_gsi = 9,
		.pit_gsi = 2,
		.pm1_evt_port = 0x600,
		.pm1_cnt_port = 0x604,
		.pm_tmr_port = 0x608,
		.reset_port = 0xcf9,
		.reset_value = 6,
		.century = 0x32,
	};
}

/* Writes all tables and gives the address of the RSDP. -ENOMEM; -EFAULT, logged: [ACPI_AREA, ACPI_AREA_END) is not RAM. */
CHECKED int acpi_build(const struct memmap *map, const struct guestmem *mem, const struct acpi_config *config, gpa_t *rsdp);

#endif
