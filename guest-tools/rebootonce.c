/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rebootonce: reboots the machine `times` times (1), prints "REBOOT n" before each, and ends well on the boot after.
 *
 * There is no disk to remember the count on, so it lives in CMOS RAM, which a reset keeps: byte 0x60 is a
 * mark, 0x61 the count, 0x62 its complement. The last boot clears them. Bytes that do not survive show as an endless reboot:
 * the caller bounds that. `type` (optional) is written to /sys/kernel/reboot/type first: acpi, kbd,
 * triple, pci, ..., so each way to reset can be tried.
 */
#include "ports.h"
#include "topo.h"
#include <sys/reboot.h>

enum { CMOS_MARK = 0x60, CMOS_COUNT = 0x61, CMOS_CHECK = 0x62, MARK = 0x5a };

int main(int argc, char **argv)
{
	uint64_t times = 1;
	const char *type = NULL;
	const struct option_def defs[] = {{"times", &times, NULL}, {"type", NULL, &type}};
	uint8_t count = 0;

	PARSE_OPTIONS(argc, argv, "rebootonce", defs);
	if (!times || times > 200)
		finish(2, "rebootonce: times from 1 to 200");
	open_ports("rebootonce");
	if (cmos_read(CMOS_MARK) == MARK && (cmos_read(CMOS_COUNT) ^ cmos_read(CMOS_CHECK)) == 0xff)
		count = cmos_read(CMOS_COUNT);
	if (count >= times) {
		cmos_write(CMOS_MARK, 0);
		cmos_write(CMOS_COUNT, 0);
		cmos_write(CMOS_CHECK, 0);
		finish(0, "rebootonce: reboots=%u ok", count);
	}
	count++;
	cmos_write(CMOS_MARK, MARK);
	cmos_write(CMOS_COUNT, count);
	cmos_write(CMOS_CHECK, (uint8_t)~count);
	if (cmos_read(CMOS_MARK) != MARK || cmos_read(CMOS_COUNT) != count)
		finish(1, "rebootonce: CMOS RAM does not keep what is written: not rebooting, it would never end");
	if (type && !write_text("/sys/kernel/reboot/type", type))
		finish(1, "rebootonce: the kernel does not take reboot type '%s'", type);
	printf("REBOOT %u\n", count);
	drain_output();
	sync();
	reboot(RB_AUTOBOOT);
	finish(1, "rebootonce: reboot: %s", strerror(errno));
}
