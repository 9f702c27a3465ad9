/* SPDX-License-Identifier: Apache-2.0 */
/* hello: prints "hello" and ends with EXIT_OK. The smallest guest that shows that loading, port output and ending work. */
#include "guest.inc"
	.text
	.code32
	.global start
start:
	mov $stack_top, %esp
	cld
	print text
	exit EXIT_OK
	print_string_body

	.section .rodata
text:	.asciz "hello\n"

	.bss
	.balign 16
	.skip 1024
stack_top:
