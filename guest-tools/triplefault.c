/* SPDX-License-Identifier: Apache-2.0 */
/*
 * triplefault: makes the guest kernel triple-fault, on purpose.
 *
 * User mode cannot do it itself; but the kernel can be told to reset the machine that way: type "triple" in
 * /sys/kernel/reboot/type (Linux >= 5.11; `reboot=triple` on an older one's command line), then reboot(2): Linux loads an
 * empty IDT and executes int3. The last line printed is "TRIPLEFAULT". If the machine goes on after it, the kernel
 * tries the keyboard controller next, which resets it too: so whether it was a triple fault is for
 * the hypervisor's log to say.
 */
#include "topo.h"
#include <sys/reboot.h>

int main(void)
{
	char text[64];

	if (!write_text("/sys/kernel/reboot/type", "triple") || !read_text("/sys/kernel/reboot/type", text, sizeof(text)))
		finish(1, "triplefault: cannot set /sys/kernel/reboot/type: %s", strerror(errno));
	if (!strstr(text, "triple"))
		finish(1, "triplefault: the kernel says its reboot type is '%s'", text);
	printf("TRIPLEFAULT\n");
	drain_output();
	sync();
	reboot(RB_AUTOBOOT);
	finish(1, "triplefault: reboot: %s", strerror(errno));
}
