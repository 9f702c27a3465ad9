/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the freestanding guests, assembler and C: how they are found by a loader, what they print to
 * and end with.
 *
 * Built twice: as a multiboot 1 kernel (ELF32) and, with GUEST_PVH, with a PVH note instead (ELF64; Xen docs/misc/pvh.pandoc).
 * Both are entered at `start` in 32-bit protected mode, paging off, flat segments, ebx pointing to the boot information.
 *
 * They print to the 16550 at 0x3f8 without setting it up (a loader that is no firmware leaves it in its reset state, and
 * neither QEMU nor we need a divisor), and end by writing one of EXIT_* to port 0xf4.
 */
#ifndef TESTS_GUESTS_GUEST_H
#define TESTS_GUESTS_GUEST_H

#define PORT_SERIAL	   0x3f8
#define PORT_SERIAL_STATUS 0x3fd
#define PORT_EXIT	   0xf4

#define EXIT_OK	       0 /* the guest saw what it should */
#define EXIT_BAD_PORT  1 /* unmapped: a port did not read as all ones */
#define EXIT_BAD_MEM   2 /* unmapped: an address did not */
#define EXIT_EXCEPTION 3 /* an exception that was not expected */
#define EXIT_USAGE     4 /* an option on the command line that makes no sense */
#define EXIT_DATA      5 /* memory did not hold what was written */
#define EXIT_NO_CPU    6 /* the second CPU did not start */

#ifdef __ASSEMBLER__

#ifdef GUEST_PVH
	/* ELF note: name "Xen", type 18 (XEN_ELFNOTE_PHYS32_ENTRY), the entry's physical address. */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4
	.long 8
	.long 18
	.asciz "Xen"
	.quad start
#else
	/* Multiboot 1: magic, flags (bit 1: memory information), checksum. */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002
	.long 2
	.long -(0x1badb002 + 2)
#endif

	/* Print a string, given by its label, in 32-bit code. Clobbers eax, edx, esi. */
	.macro print label
	mov $\label, %esi
	call print_string
	.endm

	/* End the machine with that code; a machine without the port stops here. */
	.macro exit code
	mov $\code, %eax
	mov $PORT_EXIT, %edx
	out %eax, (%dx)
99:	cli
	hlt
	jmp 99b
	.endm

	/* The body of print_string, wanted once in each 32-bit guest. */
	.macro print_string_body
print_string:
	mov $PORT_SERIAL, %edx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, (%dx)
	jmp 1b
2:	ret
	.endm

#endif
#endif
