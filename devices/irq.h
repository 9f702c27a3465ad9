/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a device's interrupt line to a vCPU of any node: the IOAPIC on the bus, and MSIs.
 *
 *      irq_sink.set --> ioapic --> MSI (address, data) --> ipi_send --> vCPU here, or a message to its node
 *
 * The only file that goes from devices to vcpu. One mutex around the IOAPIC; lock order device -> ioapic -> vcpu. Any
 * thread may set a line or report an EOI. Lives on node 0.
 */
#ifndef DEVICES_IRQ_H
#define DEVICES_IRQ_H

#include <pthread.h>

#include "devices/bus.h"
#include "devices/device.h"
#include "devices/ioapic.h"

struct vcpus;

struct irqchip {
	struct irq_sink sink; /* what devices are given */
	struct msi_sink msi;
	struct device dev;
	pthread_mutex_t lock;
	struct ioapic ioapic;
	struct vcpus *vcpus; /* NULL until attached: interrupts are dropped */
};

/* Puts the IOAPIC on the bus. -errno of bus_add. */
CHECKED int irqchip_init(struct irqchip *irq, struct bus *bus);
/* Before a vCPU runs. */
void irqchip_attach(struct irqchip *irq, struct vcpus *vcpus);
/* A LAPIC broadcasts the end of a level-triggered interrupt. */
void irqchip_eoi(struct irqchip *irq, uint8_t vector);
void irqchip_reset(struct irqchip *irq);

#endif
