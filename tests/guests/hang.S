/* SPDX-License-Identifier: Apache-2.0 */
/* hang: says so and halts for good with interrupts off. The machine idles (no CPU time) until somebody ends it. */
#include "guest.inc"
	.text
	.code32
	.global start
start:
	mov $stack_top, %esp
	cld
	print text
1:	cli
	hlt
	jmp 1b
	print_string_body

	.section .rodata
text:	.asciz "hanging\n"

	.bss
	.balign 16
	.skip 1024
stack_top:
