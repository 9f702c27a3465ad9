/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `pangea` exits with. Documented for users in pangea(1); a script may rely on each value, so
 * none is ever given another meaning.
 *
 * The codes from EXIT_GUEST_BASE on belong to test guests: port 0xf4 (isa-debug-exit) ends the VM
 * and the byte, word or dword written there says how it went. Unlike QEMU's device, where no value
 * can mean success, 0 is success. 126 and above are left alone: shells use them.
 */
#ifndef VMM_EXITCODE_H
#define VMM_EXITCODE_H

#include <stdint.h>

enum exit_code {
	EXIT_POWERED_OFF = 0,    /* the guest powered off; for the other commands: done */
	EXIT_USAGE = 1,          /* command line, configuration or an input file; `pangea check`: cannot be a node */
	EXIT_HOST = 2,           /* this host cannot run it: no KVM, too little memory, ... */
	EXIT_JOIN = 3,           /* a node could not be reached, refused us, or did not start in time */
	EXIT_NODE_LOST = 4,      /* a node went away while the guest ran */
	EXIT_GUEST_CRASHED = 5,  /* triple fault, or KVM could not go on */
	EXIT_INTERRUPTED = 6,    /* SIGINT, SIGTERM, SIGHUP or Ctrl-a x */
	EXIT_GUEST_REBOOTED = 7, /* the guest asked for a reset and --no-reboot says to stop then */
	EXIT_GUEST_BASE = 64,    /* 64 + value: the guest wrote value to port 0xf4 */
	EXIT_GUEST_LAST = 125,
};

/* The exit code for what a guest wrote to port 0xf4: 0 for 0, 64 + value, at most 125. */
static inline int exit_from_guest(uint32_t value)
{
	const uint32_t most = EXIT_GUEST_LAST - EXIT_GUEST_BASE;

	if (value == 0)
		return EXIT_POWERED_OFF;
	return EXIT_GUEST_BASE + (int)(value < most ? value : most);
}

#endif
