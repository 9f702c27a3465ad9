/* SPDX-License-Identifier: Apache-2.0 */
/* boot.rst "64-bit Boot Protocol"; pvh.pandoc; Multiboot 0.6.96, 3.2 "Machine state". Bits: Intel SDM vol. 3A, 2.5 and 3.4.5. */
#include <string.h>

#include "vmm/boot.h"

#define CR0_PE     (1ull << 0)
#define CR0_ET     (1ull << 4)
#define CR0_PG     (1ull << 31)
#define CR4_PAE    (1ull << 5)
#define EFER_LME   (1ull << 8)
#define EFER_LMA   (1ull << 10)
#define RFLAGS_ONE (1ull << 1) /* always 1; IF, TF and VM clear */

enum { TYPE_CODE = 0xb, TYPE_DATA = 0x3, TYPE_TSS_BUSY = 0xb };

void boot_regs(const struct boot_entry *entry, struct kvm_sregs *sregs, struct kvm_regs *regs)
{
	const bool long64 = entry->mode == BOOT_LONG64;
	const struct kvm_segment code = {.selector = BOOT_CS,
					 .limit = UINT32_MAX,
					 .type = TYPE_CODE,
					 .present = 1,
					 .s = 1,
					 .g = 1,
					 .l = long64,
					 .db = !long64};
	const struct kvm_segment data = {
		.selector = BOOT_DS, .limit = UINT32_MAX, .type = TYPE_DATA, .present = 1, .s = 1, .g = 1, .db = 1};

	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = (struct kvm_segment){.selector = BOOT_TSS, .limit = 0x67, .type = TYPE_TSS_BUSY, .present = 1};
	sregs->gdt.base = entry->gdt;
	sregs->gdt.limit = BOOT_GDT_ENTRIES * 8 - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0; /* no handler: a fault before the kernel has its own is a triple fault, which is reported */
	sregs->cr0 = CR0_PE | CR0_ET | (long64 ? CR0_PG : 0);
	sregs->cr2 = 0;
	sregs->cr3 = long64 ? entry->cr3 : 0;
	sregs->cr4 = long64 ? CR4_PAE : 0;
	sregs->efer = long64 ? EFER_LME | EFER_LMA : 0;
	memset(regs, 0, sizeof(*regs));
	regs->rip = entry->rip;
	regs->rsp = entry->rsp;
	regs->rax = entry->rax;
	regs->rbx = entry->rbx;
	regs->rsi = entry->rsi;
	regs->rflags = RFLAGS_ONE;
}
