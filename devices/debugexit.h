/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port by which a test guest ends its machine, as QEMU's isa-debug-exit: a write of v ends the VM
 * with exit code (v << 1) | 1, never 0. No state, no lock; any thread. Reads give 0.
 */
#ifndef DEVICES_DEBUGEXIT_H
#define DEVICES_DEBUGEXIT_H

#include "devices/device.h"

#define DEBUGEXIT_PORT  0xf4u
#define DEBUGEXIT_PORTS 4u

struct debugexit;

/* -ENOMEM. The sink must outlive the device. */
CHECKED int debugexit_new(struct machine_sink *machine, struct debugexit **out);
struct device *debugexit_device(struct debugexit *debugexit);

#endif
