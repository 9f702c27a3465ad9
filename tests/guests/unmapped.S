/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmapped: writes and reads, 1, 2 and 4 bytes wide, ports and addresses where no device and no RAM is.
 * All must read as all ones. Prints "ports ok" and "memory ok", ends with EXIT_OK, EXIT_BAD_PORT or EXIT_BAD_MEM.
 * (QEMU's PC reads zeros from unmapped addresses: EXIT_BAD_MEM there is right.)
 */
#include "guest.inc"
	.text
	.code32
	.global start
start:
	mov $stack_top, %esp
	cld

	mov $ports, %esi
1:	movzwl (%esi), %edx
	test %edx, %edx
	jz 2f
	add $2, %esi
	mov $0x5a5a5a5a, %eax
	out %al, (%dx)
	out %ax, (%dx)
	out %eax, (%dx)
	xor %eax, %eax
	in (%dx), %al
	cmp $0xff, %eax
	jne bad_port
	xor %eax, %eax
	in (%dx), %ax
	cmp $0xffff, %eax
	jne bad_port
	xor %eax, %eax
	in (%dx), %eax
	cmp $-1, %eax
	jne bad_port
	jmp 1b
2:	print ports_ok

	mov $addresses, %ecx
3:	mov (%ecx), %edi
	test %edi, %edi
	jz 4f
	add $4, %ecx
	mov $0x5a5a5a5a, %eax
	mov %al, (%edi)
	mov %ax, 8(%edi)
	mov %eax, 16(%edi)
	movzbl (%edi), %eax
	cmp $0xff, %eax
	jne bad_memory
	movzwl 8(%edi), %eax
	cmp $0xffff, %eax
	jne bad_memory
	mov 16(%edi), %eax
	cmp $-1, %eax
	jne bad_memory
	jmp 3b
4:	print memory_ok
	exit EXIT_OK

bad_port:
	print port_wrong
	exit EXIT_BAD_PORT
bad_memory:
	print memory_wrong
	exit EXIT_BAD_MEM
	print_string_body

	.section .rodata
ports:	.word 0x240, 0x310, 0x9f0, 0xe00, 0xfff0, 0
	.balign 4
	/* In the hole below 4 GiB, clear of the IOAPIC, the LAPIC and QEMU's VGA. */
addresses: .long 0xd0000000, 0xe8000000, 0xfa000000, 0
ports_ok: .asciz "ports ok\n"
memory_ok: .asciz "memory ok\n"
port_wrong: .asciz "a port did not read as all ones\n"
memory_wrong: .asciz "an address did not read as all ones\n"

	.bss
	.balign 16
	.skip 1024
stack_top:
