/* SPDX-License-Identifier: Apache-2.0 */
/* triple: says so, loads an empty IDT and executes an undefined instruction: #UD, no handler: #GP, none: #DF, none: shutdown
 * (Intel SDM vol. 3A section 6.15, "Interrupt 8"). The machine must end with a clear line, not hang. */
#include "guest.inc"
	.text
	.code32
	.global start
start:
	mov $stack_top, %esp
	cld
	print text
	lidt empty
	ud2
	/* Not reached. */
	print survived
	exit EXIT_EXCEPTION
	print_string_body

	.section .rodata
text:	.asciz "triple fault now\n"
survived: .asciz "no triple fault happened\n"
	.balign 4
empty:	.word 0
	.long 0

	.bss
	.balign 16
	.skip 1024
stack_top:
