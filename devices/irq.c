/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/irq.h"

#include "vcpu/vcpu.h"

/* SDM vol. 3A 10.11.1 and .2; bits 11:5 of the address are destination bits 14:8 (KVM_FEATURE_MSI_EXT_DEST_ID). */
static void send_msi(struct msi_sink *sink, uint64_t addr, uint32_t data)
{
	struct irqchip *irq = container_of(sink, struct irqchip, msi);
	struct apic_ipi ipi = {
		.dest = (uint32_t)((addr >> 12 & 0xff) | (addr >> 5 & 0x7f) << 8),
		.vector = (uint8_t)data,
		.mode = (enum apic_delivery)(data >> 8 & 7),
		.logical = addr >> 2 & 1,
		.level_trig = data >> 15 & 1,
		.assert = true,
	};

	if (!irq->vcpus)
		return;
	pthread_rwlock_rdlock(&irq->vcpus->route_lock);
	ipi.x2apic = irq->vcpus->route[0].mode == APIC_X2APIC;
	pthread_rwlock_unlock(&irq->vcpus->route_lock);
	ipi_send(irq->vcpus, VCPU_NONE, &ipi);
}

static void set_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct irqchip *irq = container_of(sink, struct irqchip, sink);

	pthread_mutex_lock(&irq->lock);
	ioapic_set_line(&irq->ioapic, gsi, level);
	pthread_mutex_unlock(&irq->lock);
}

static void mmio_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct irqchip *irq = container_of(dev, struct irqchip, dev);
	uint32_t value;

	memset(data, 0xff, len);
	pthread_mutex_lock(&irq->lock);
	if (len >= 4 && ioapic_read(&irq->ioapic, (uint32_t)offset, &value) == 0)
		memcpy(data, &value, sizeof(value));
	pthread_mutex_unlock(&irq->lock);
}

static void mmio_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct irqchip *irq = container_of(dev, struct irqchip, dev);
	uint32_t value = (uint32_t)device_load(data, len);

	/* IOREGSEL is a byte that drivers write as a word of any width; the others are taken as they are. */
	pthread_mutex_lock(&irq->lock);
	(void)ioapic_write(&irq->ioapic, (uint32_t)offset, value); /* no register there: the write is lost */
	pthread_mutex_unlock(&irq->lock);
}

static const struct device_ops ioapic_ops = {.read = mmio_read, .write = mmio_write};

int irqchip_init(struct irqchip *irq, struct bus *bus)
{
	irq->sink.set = set_line;
	irq->msi.send = send_msi;
	irq->dev = (struct device){.ops = &ioapic_ops, .name = "ioapic"};
	irq->vcpus = NULL;
	pthread_mutex_init(&irq->lock, NULL);
	ioapic_init(&irq->ioapic, 0, &irq->msi);
	return bus_add(bus, BUS_MMIO, IOAPIC_BASE_GPA, IOAPIC_BYTES, 0, &irq->dev);
}

void irqchip_attach(struct irqchip *irq, struct vcpus *vcpus)
{
	pthread_mutex_lock(&irq->lock);
	irq->vcpus = vcpus;
	pthread_mutex_unlock(&irq->lock);
}

void irqchip_eoi(struct irqchip *irq, uint8_t vector)
{
	pthread_mutex_lock(&irq->lock);
	ioapic_eoi(&irq->ioapic, vector);
	pthread_mutex_unlock(&irq->lock);
}

void irqchip_reset(struct irqchip *irq)
{
	pthread_mutex_lock(&irq->lock);
	ioapic_reset(&irq->ioapic);
	pthread_mutex_unlock(&irq->lock);
}
