/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsckhz: the rate of this machine's time stamp counter in kHz.
 *
 * QEMU's emulated CPUs show the host's counter as it is, so this is a lab host's rate too. A lab host is told it (tsc_early_khz=):
 * its own calibration against the emulated timer is wrong by a factor when the emulator loses its CPU in the middle, and then its
 * clock races or crawls for as long as it lives. Takes 50 ms.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct sample {
	uint64_t ns;
	uint64_t tsc;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Both clocks at one moment: of some tries, the one with the least time around the counter's read. */
static struct sample sample(void)
{
	struct sample best = {0, 0};
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 100; i++) {
		uint64_t before = now_ns();
		uint64_t tsc = __rdtsc();
		uint64_t after = now_ns();

		if (after - before < least) {
			least = after - before;
			best = (struct sample){before + (after - before) / 2, tsc};
		}
	}
	return best;
}

int main(void)
{
	struct sample begin = sample();

	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	struct sample end = sample();
	printf("%" PRIu64 "\n", (end.tsc - begin.tsc) * 1000000 / (end.ns - begin.ns));
	return 0;
}
