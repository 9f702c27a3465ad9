/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the freestanding guests, assembler (which includes guest.inc) and C: ports and exit codes.
 *
 * They print to the 16550 at 0x3f8 without setting it up (its reset state will do, for QEMU and for us), and end by
 * writing one of EXIT_* to port 0xf4.
 */
#ifndef TESTS_GUESTS_GUEST_H
#define TESTS_GUESTS_GUEST_H

#define PORT_SERIAL 0x3f8
#define PORT_EXIT   0xf4

#define EXIT_OK        0 /* the guest saw what it should */
#define EXIT_BAD_PORT  1 /* unmapped: a port did not read as all ones */
#define EXIT_BAD_MEM   2 /* unmapped: an address did not */
#define EXIT_EXCEPTION 3 /* an exception that was not expected */
#define EXIT_USAGE     4 /* an option on the command line that makes no sense */
#define EXIT_DATA      5 /* memory did not hold what was written */
#define EXIT_NO_CPU    6 /* the second CPU did not start */

#endif
