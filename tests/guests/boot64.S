/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From 32-bit protected mode to long mode and on to CPL 3, for vCPU 0 and for a second CPU by INIT and SIPI.
 *
 * Where KVM emulates the guest's kernel mode, that is slow and knows few instructions, so as little as possible happens
 * at CPL 0, once: page tables, the command line, iretq. All memory is user-accessible, so CPL 3 reaches RAM and MMIO by itself. Ports
 * it does not (such a KVM drops IOPL): `out %al, (%dx)` and `out %eax, (%dx)` fault there, always, and are made good by the #GP
 * handler here. That is the one way back to CPL 0, and no measured code takes it.
 *
 * A guest that stays at CPL 0 does not return from guest_main, and has a kernel_cpu1 that does not return either.
 *
 * Memory: the first 8 GiB one to one in 2 MiB pages. Each CPU has tables of its own: with nested paging a processor walks them as a
 * writer, so that two nodes would take them from each other at each miss of the TLB, and that would be what is measured. The second CPU's real-mode code is copied to 0x2000.
 */
#include "guest.inc"
#define KERNEL_CS   0x08
#define KERNEL_DS   0x10
#define USER_CS	    (0x28 | 3)
#define USER_SS	    (0x30 | 3)
#define TSS_CPU0    0x38
#define TSS_CPU1    0x48
#define USER_RFLAGS 2 /* IOPL 0, interrupts off */
#define CR0_PE	    1
#define CR0_PG	    0x80000000
#define CR4_PAE	    0x20
#define MSR_EFER    0xc0000080
#define EFER_LME    0x100
#define PD_COUNT    8

/* A PML4 with one entry and a PDPT with PD_COUNT. */
	.macro tables pml4, pdpt, dirs
	mov $\pdpt + 7, %eax
	mov %eax, \pml4
	mov $\pdpt, %edi
	mov $\dirs + 7, %eax
	mov $PD_COUNT, %ecx
1:	mov %eax, (%edi)
	add $8, %edi
	add $0x1000, %eax
	loop 1b
	.endm

	.text
	.code32
	.global start
start:
	cld
	mov %ebx, boot_info
	mov %eax, boot_magic

	tables pml4, pdpt, page_dirs
	tables pml4_1, pdpt_1, page_dirs_1

	/* eax, edx: the entry; 0x87: present, writable, user, 2 MiB */
	mov $page_dirs, %edi
	mov $0x87, %eax
	xor %edx, %edx
	mov $PD_COUNT * 512, %ecx
2:	mov %eax, (%edi)
	mov %edx, 4(%edi)
	add $8, %edi
	add $0x200000, %eax
	adc $0, %edx
	loop 2b
	mov $page_dirs, %esi
	mov $page_dirs_1, %edi
	mov $PD_COUNT * 1024, %ecx
	rep movsl

	mov %cr4, %eax
	or $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PG, %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $KERNEL_CS, $long_cpu0

	.code64
long_cpu0:
	mov $KERNEL_DS, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	lea kernel_stack0_top, %rsp
	mov boot_info, %edi
	mov boot_magic, %esi
	call guest_main /* parses the command line, fills the IDT and the TSSs */
	mov $TSS_CPU0, %ecx
	xor %edi, %edi
	lea user_stack0_top - 8, %r8
	jmp to_user

long_cpu1:
	mov $KERNEL_DS, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	lea kernel_stack1_top, %rsp
	.weak kernel_cpu1
	mov $kernel_cpu1, %rax
	test %rax, %rax
	jz 1f
	call *%rax
1:	mov $TSS_CPU1, %ecx
	mov $1, %edi
	lea user_stack1_top - 8, %r8

/* edi: CPU 0 or 1, cx: its TSS, r8: its stack. Does not return. */
to_user:
	lidt idt_pointer
	ltr %cx
	pushq $USER_SS
	push %r8
	pushq $USER_RFLAGS
	pushq $USER_CS
	pushq $user_main
	iretq

/* Exceptions: 32 stubs of 16 bytes each, which leave the vector on top of the CPU's frame. */
	.balign 16
	.global exception_stubs
exception_stubs:
	vector = 0
	.rept 32
	.balign 16
	pushq $vector
	jmp exception_common
	vector = vector + 1
	.endr
exception_common:
	cmpl $13, (%rsp)
	jne 4f
	/* #GP. Here: rbx, vector, error code, rip. A port output by CPL 3? Then make it, step over it, go back. */
	push %rbx
	mov 24(%rsp), %rbx
	cmpb $0xee, (%rbx)
	je 1f
	cmpb $0xef, (%rbx)
	je 2f
	pop %rbx
	jmp 4f
1:	out %al, (%dx)
	jmp 5f
2:	out %eax, (%dx)
5:	incq 24(%rsp)
	pop %rbx
	add $16, %rsp
	iretq
4:	mov %rsp, %rdi
	mov %cr2, %rsi
	and $-16, %rsp
	call exception
3:	hlt
	jmp 3b

/* The second CPU begins here in real mode, at 0x2000 after the copy; it goes to long mode in one step. */
	.code16
	.global trampoline, trampoline_end
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl 0x2000 + (trampoline_gdt - trampoline)
	mov %cr4, %eax
	or $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4_1, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PG | CR0_PE, %eax
	mov %eax, %cr0
	ljmpl $KERNEL_CS, $long_cpu1
	.balign 4
trampoline_gdt:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:

	.data
	.balign 16
	.global gdt
gdt:	.quad 0
	.quad 0x00af9b000000ffff /* KERNEL_CS: 64-bit code */
	.quad 0x00cf93000000ffff /* KERNEL_DS */
	.quad 0
	.quad 0
	.quad 0x00affb000000ffff /* USER_CS: 64-bit code, DPL 3 */
	.quad 0x00cff3000000ffff /* USER_SS */
	.quad 0, 0		 /* TSS_CPU0, filled by guest_main */
	.quad 0, 0		 /* TSS_CPU1 */
gdt_end:
	.balign 8
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
	.balign 8
idt_pointer:
	.word 32 * 16 - 1
	.quad idt
boot_info: .long 0
boot_magic: .long 0

	.bss
	.balign 4096
	.global pml4, kernel_stack0_top, kernel_stack1_top
pml4:	.skip 4096
pdpt:	.skip 4096
page_dirs: .skip 4096 * PD_COUNT
pml4_1:	.skip 4096
pdpt_1:	.skip 4096
page_dirs_1: .skip 4096 * PD_COUNT
	.skip 4096
kernel_stack0_top:
	.skip 4096
kernel_stack1_top:
	.skip 16384
user_stack0_top:
	.skip 16384
user_stack1_top:

