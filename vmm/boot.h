/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a kernel, its command line and its initrd into guest RAM and says how vCPU 0 begins.
 *
 * Three formats, told apart by content: a Linux bzImage, entered in 64-bit mode (Linux Documentation/arch/x86/boot.rst, "64-bit
 * Boot Protocol"); an ELF with a PVH note, such as a vmlinux (Xen docs/misc/pvh.pandoc, entered in 32-bit protected mode); a
 * multiboot 1 kernel (Multiboot Specification 0.6.96, likewise). No firmware runs: what it would have left in memory is here.
 *
 *      0x00000  left zero: real-mode vectors and the BIOS data area, which kernels look at
 *      0x05000  GDT
 *      0x06000  PVH start info or multiboot information, with its module list and memory map
 *      0x07000  zero page (struct boot_params)
 *      0x08000  a page of stack, its top at 0x9000
 *      0x09000  page tables: PML4, PDPT, 4 page directories of 2 MiB pages, the first 4 GiB one to one
 *      0x20000  command line, up to 64 KiB
 *      0x9fc00  reserved in the memory map from here to 1 MiB
 *      0xe0000  ACPI tables (acpi.h)
 *     0x100000  kernel, from here or where it wants to be
 *               initrd, as high as kernel and RAM allow; in node 0's own RAM if it fits there, so that it is near
 *
 * The file is the user's, its bytes are not trusted: everything is checked, a bad file is an error and never an overrun.
 * A file that is mapped must not be truncated meanwhile, so read it or seal it. Called before any vCPU runs, and again after
 * a guest reset; writes through the guest view, so the caller may sleep for a remote page (D5). Allocates nothing.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <linux/kvm.h>

#include "base/guestmem.h"
#include "base/types.h"
#include "vmm/memmap.h"

/* A file's bytes; they stay the caller's. */
struct boot_file {
	const char *name; /* for messages */
	const uint8_t *bytes;
	size_t len;
};

struct boot_request {
	struct boot_file kernel;
	struct boot_file initrd; /* name NULL: none */
	const char *cmdline;     /* never NULL */
	gpa_t rsdp;              /* of acpi_build; 0: no ACPI */
};

enum boot_mode {
	BOOT_LONG64, /* long mode, paging on, CS a 64-bit segment */
	BOOT_PROT32, /* protected mode, paging off, flat 32-bit segments */
};

/* How vCPU 0 begins. Registers that are not here are 0. */
struct boot_entry {
	enum boot_mode mode;
	const char *format; /* "bzImage", "PVH", "multiboot": for the log */
	gpa_t rip, rsp;
	uint64_t rax, rbx, rsi;
	gpa_t gdt; /* BOOT_GDT_ENTRIES descriptors; selectors BOOT_CS, BOOT_DS, BOOT_TSS */
	gpa_t cr3; /* BOOT_LONG64 only */
	/* Where things lie, for the log: [kernel, kernel_end) is all the kernel needs before it knows its memory. */
	gpa_t kernel, kernel_end, initrd, initrd_end;
};

#define BOOT_GDT_ENTRIES 6u
#define BOOT_CS          0x10u /* __BOOT_CS and __BOOT_DS of the 64-bit boot protocol */
#define BOOT_DS          0x18u
#define BOOT_TSS         0x20u

/*
 * Loads. *entry is written only on success; what was written to guest RAM before an error stays there.
 * -ENOEXEC: the kernel or initrd file is empty, truncated, no kernel, or of a kind that cannot boot here; -E2BIG: the command
 * line is longer than the kernel takes; -ENOSPC: the kernel or the initrd does not fit the RAM. Logs the reason.
 */
CHECKED int boot_load(const struct boot_request *request, const struct memmap *map, const struct guestmem *mem,
		      struct boot_entry *entry);

/* The same, but the reason goes to *why instead of the log. */
struct boot_why {
	char text[512];
};
CHECKED int boot_try(const struct boot_request *request, const struct memmap *map, const struct guestmem *mem,
		     struct boot_entry *entry, struct boot_why *why);

/* The registers of vCPU 0. *sregs is the state that KVM_GET_SREGS gave (its APIC base and TSC stay); *regs is set. Pure. */
void boot_regs(const struct boot_entry *entry, struct kvm_sregs *sregs, struct kvm_regs *regs);

#endif
