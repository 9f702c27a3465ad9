/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of the ACPI tables, as ACPI 6.3 lays them out (section numbers beside each). Nothing but layout:
 * little-endian, packed, sizes asserted. Only acpi.c and its test include this. Fields that nothing here sets
 * are zero, which each table defines as "absent".
 */
#ifndef VMM_ACPI_TABLES_H
#define VMM_ACPI_TABLES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_PACKED __attribute__((packed))

/* 5.2.5.3 Root System Description Pointer, revision 2. */
struct acpi_rsdp {
	char signature[8]; /* "RSD PTR " */
	uint8_t checksum;  /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt; /* 0: there is only the XSDT */
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} ACPI_PACKED;
static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");

/* 5.2.6 System Description Table Header. */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum; /* the sum of all bytes of the table is 0 */
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_header) == 36, "header");

/* 5.2.8 Extended System Description Table. */
#define ACPI_XSDT_TABLES 4 /* FADT, MADT, SRAT, SLIT */
struct acpi_xsdt {
	struct acpi_header header;
	uint64_t table[ACPI_XSDT_TABLES];
} ACPI_PACKED;

/* 5.2.3.2 Generic Address Structure. */
enum { ACPI_GAS_IO = 1 };
enum { ACPI_GAS_BYTE = 1, ACPI_GAS_WORD = 2, ACPI_GAS_DWORD = 3 };
struct acpi_gas {
	uint8_t space, bits, offset, access;
	uint64_t address;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_gas) == 12, "GAS");

/* 5.2.9 Fixed ACPI Description Table. */
enum acpi_fadt_flag {
	ACPI_FADT_WBINVD = 1u << 0,
	ACPI_FADT_PROC_C1 = 1u << 2,
	ACPI_FADT_SLP_BUTTON = 1u << 5, /* set: there is no fixed sleep button. PWR_BUTTON, bit 4, clear: there is a power button */
	ACPI_FADT_FIX_RTC = 1u << 6,    /* set: RTC wake status is not in the PM1 block */
	ACPI_FADT_TMR_VAL_EXT = 1u << 8,
	ACPI_FADT_RESET_REG_SUP = 1u << 10,
};
enum acpi_iapc_boot_arch { /* 5.2.9.3 */
			   ACPI_IAPC_LEGACY_DEVICES = 1u << 0,
			   ACPI_IAPC_8042 = 1u << 1,
			   ACPI_IAPC_VGA_ABSENT = 1u << 2,
			   ACPI_IAPC_RTC_ABSENT = 1u << 5,
};
struct acpi_fadt {
	struct acpi_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk, x_pm_tmr_blk;
	struct acpi_gas x_gpe0_blk, x_gpe1_blk, sleep_control_reg, sleep_status_reg;
	uint64_t hypervisor_id;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_fadt) == 276, "FADT");
static_assert(offsetof(struct acpi_fadt, flags) == 112 && offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT");

/* 5.2.10 Firmware ACPI Control Structure: 64-byte aligned, without the common header and checksum. */
struct acpi_facs {
	char signature[4];
	uint32_t length, hardware_signature, firmware_waking_vector, global_lock, flags;
	uint64_t x_firmware_waking_vector;
	uint8_t version, reserved0[3];
	uint32_t ospm_flags;
	uint8_t reserved1[24];
} ACPI_PACKED;
static_assert(sizeof(struct acpi_facs) == 64, "FACS");

/* 5.2.12 Multiple APIC Description Table; the entries follow. */
struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic_address;
	uint32_t flags; /* bit 0, PCAT_COMPAT: there is an 8259 pair */
} ACPI_PACKED;
static_assert(sizeof(struct acpi_madt) == 44, "MADT");

enum acpi_madt_type { ACPI_MADT_IOAPIC = 1, ACPI_MADT_OVERRIDE = 2, ACPI_MADT_X2APIC = 9, ACPI_MADT_X2APIC_NMI = 10 };
enum { ACPI_ENABLED = 1u << 0 }; /* of an x2APIC entry's and of every affinity structure's flags */

/* 5.2.12.3 I/O APIC. */
struct acpi_madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_madt_ioapic) == 12, "MADT I/O APIC");

/* 5.2.12.5 Interrupt Source Override; the flags are table 5-50's. */
enum { ACPI_MPS_CONFORMS = 0, ACPI_MPS_LEVEL_HIGH = 3u << 2 | 1u };
struct acpi_madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_madt_override) == 10, "MADT override");

/* 5.2.12.12 Processor Local x2APIC. */
struct acpi_madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id, flags, uid;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_madt_x2apic) == 16, "MADT x2APIC");

/* 5.2.12.13 Local x2APIC NMI. */
#define ACPI_UID_ALL UINT32_MAX
struct acpi_madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint, reserved[3];
} ACPI_PACKED;
static_assert(sizeof(struct acpi_madt_x2apic_nmi) == 12, "MADT x2APIC NMI");

/* 5.2.16 System Resource Affinity Table; the entries follow. */
struct acpi_srat {
	struct acpi_header header;
	uint32_t reserved_one; /* 1 */
	uint64_t reserved;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_srat) == 48, "SRAT");

enum acpi_srat_type { ACPI_SRAT_MEMORY = 1, ACPI_SRAT_X2APIC = 2 };

/* 5.2.16.2 Memory Affinity. */
struct acpi_srat_memory {
	uint8_t type, length;
	uint32_t domain;
	uint16_t reserved0;
	uint64_t base, bytes;
	uint32_t reserved1, flags;
	uint64_t reserved2;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_srat_memory) == 40, "SRAT memory");

/* 5.2.16.3 Processor Local x2APIC Affinity. */
struct acpi_srat_x2apic {
	uint8_t type, length;
	uint16_t reserved0;
	uint32_t domain, apic_id, flags, clock_domain, reserved1;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_srat_x2apic) == 24, "SRAT x2APIC");

/* 5.2.17 System Locality Distance Information Table; localities * localities bytes follow, by row. A remote access is a page
 * fault over the network: Linux neither forks nor wakes over nodes this far apart where it can help it. */
enum { ACPI_SLIT_LOCAL = 10, ACPI_SLIT_REMOTE = 100 };
struct acpi_slit {
	struct acpi_header header;
	uint64_t localities;
} ACPI_PACKED;
static_assert(sizeof(struct acpi_slit) == 44, "SLIT");

#endif
