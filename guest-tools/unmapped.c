/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmapped: the machine survives accesses to ports and addresses where nothing is, and reads all ones.
 *
 * Ports by iopl and in/out of 1, 2 and 4 bytes; addresses by mapping /dev/mem, which a kernel with STRICT_DEVMEM still
 * allows outside RAM, with loads and stores of 1, 2, 4 and 8 bytes. The addresses: one in the hole below 4 GiB and one
 * a GiB-aligned step above the highest range that /proc/iomem names.
 * Options: mmio=ones|any (any: only survive; QEMU's PC reads zeros there), port (one more to try), limit.
 */
#include "ports.h"
#include "topo.h"
#include <fcntl.h>

static uint64_t wrong;

static void expect(const char *what, uint64_t at, unsigned bytes, uint64_t have, bool any)
{
	uint64_t ones = bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1;

	if (have == ones || any)
		return;
	printf("unmapped: %s %#" PRIx64 ", %u bytes: read %#" PRIx64 ", not all ones\n", what, at, bytes, have);
	wrong++;
}

static void try_port(uint16_t port)
{
	outb(0x5a, port);
	outw(0x5a5a, port);
	outl(0x5a5a5a5a, port);
	expect("port", port, 1, inb(port), false);
	expect("port", port, 2, inw(port), false);
	expect("port", port, 4, inl(port), false);
}

static void try_address(int fd, uint64_t at, bool any)
{
	volatile uint8_t *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);

	if (p == MAP_FAILED)
		finish(1, "unmapped: cannot map %#" PRIx64 " of /dev/mem: %s", at, strerror(errno));
	*(volatile uint8_t *)p = 0x5a;
	*(volatile uint16_t *)(p + 8) = 0x5a5a;
	*(volatile uint32_t *)(p + 16) = 0x5a5a5a5a;
	*(volatile uint64_t *)(p + 24) = 0x5a5a5a5a5a5a5a5a;
	expect("address", at, 1, *(volatile uint8_t *)p, any);
	expect("address", at + 8, 2, *(volatile uint16_t *)(p + 8), any);
	expect("address", at + 16, 4, *(volatile uint32_t *)(p + 16), any);
	expect("address", at + 24, 8, *(volatile uint64_t *)(p + 24), any);
	munmap((void *)p, PAGE_BYTES);
}

/* A GiB boundary, at least 1 GiB above everything that the kernel knows of below 1 TiB. */
static uint64_t above_all(void)
{
	char line[256];
	uint64_t top = UINT64_C(4) << 30;
	FILE *f = fopen("/proc/iomem", "re");

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long first, last;
		if (sscanf(line, "%llx-%llx", &first, &last) == 2 && last < UINT64_C(1) << 38 && last > top)
			top = last;
	}
	if (f)
		fclose(f);
	return ((top >> 30) + 2) << 30;
}

int main(int argc, char **argv)
{
	/* None of these is a PC device of QEMU's or of ours. */
	static const uint16_t ports[] = {0x240, 0x310, 0x9f0, 0xe00, 0xfff0};
	uint64_t port = UINT64_MAX, limit = 60;
	const char *mmio = "ones";
	const struct option_def defs[] = {{"mmio", NULL, &mmio}, {"port", &port, NULL}, {"limit", &limit, NULL}};

	PARSE_OPTIONS(argc, argv, "unmapped", defs);
	if (strcmp(mmio, "ones") != 0 && strcmp(mmio, "any") != 0)
		finish(2, "unmapped: mmio is ones or any, not '%s'", mmio);
	set_limit(limit);
	open_ports("unmapped");
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		try_port(ports[i]);
	if (port <= UINT16_MAX)
		try_port((uint16_t)port);
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		finish(1, "unmapped: cannot open /dev/mem: %s", strerror(errno));
	uint64_t high = above_all();
	try_address(fd, 0xd0000000, !strcmp(mmio, "any"));
	try_address(fd, high, !strcmp(mmio, "any"));
	close(fd);
	finish(wrong ? 1 : 0, "unmapped: ports=%zu addresses=0xd0000000,%#" PRIx64 " wrong=%" PRIu64,
	       sizeof(ports) / sizeof(ports[0]), high, wrong);
}
