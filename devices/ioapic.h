/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An I/O APIC with 24 pins: an Intel 82093AA (datasheet 290566, chapter 3) with the EOI register of its successors (version 0x20;
 * ICH9 datasheet, "APIC Memory-Mapped Registers"), so that a guest may suppress EOI broadcasts and do directed EOI.
 *
 * Pure: no lock, no I/O, no clock. The caller locks, and holds its lock while `sink->send` is called: the sink must not call back
 * into the same IOAPIC. It owns nothing; the sink outlives it. A guest can write what it likes: no call fails for it.
 *
 * A redirection entry that fires becomes an MSI (SDM vol. 3A 10.11, "Message Signalled Interrupts"):
 *
 *   address  31:20 0xfee | 19:12 destination 7:0 | 11:5 destination 14:8 | 3 hint, 0 | 2 logical
 *   data     15 level-triggered | 14 asserted | 10:8 delivery mode | 7:0 vector
 *
 * Destination bits 14:8 come from bits 55:49 of the entry, as KVM_FEATURE_MSI_EXT_DEST_ID promises the guest.
 *
 * Pins: `level` is true when the device asserts the line, whatever the voltage: the polarity bit is kept for the guest to read and
 * has no effect. Edges on a masked pin are lost (datasheet 3.2.4, bit 16). Delivery status reads 0, since a message leaves at once.
 * NMI, SMI, INIT and ExtINT are edges even if the entry says level (3.2.4, bits 10:8).
 *
 * Invariant O1: a pin with remote IRR set is level-triggered, and sends nothing until an EOI of its vector.
 */
#ifndef DEVICES_IOAPIC_H
#define DEVICES_IOAPIC_H

#include "base/types.h"

#define IOAPIC_PINS     24u
#define IOAPIC_BASE_GPA 0xfec00000ull
#define IOAPIC_BYTES    0x1000u

/* Where messages go. */
struct msi_sink {
	void (*send)(struct msi_sink *sink, uint64_t addr, uint32_t data);
};

struct ioapic {
	struct msi_sink *sink;
	uint64_t entry[IOAPIC_PINS]; /* redirection table; remote IRR is bit 14 */
	uint32_t lines;              /* pin n is asserted: bit n */
	uint8_t select;              /* IOREGSEL */
	uint8_t id;                  /* 4 bits */
	uint8_t reset_id;
};

/* Power-up: every entry masked, every line low. `id` in [0, 16); the MADT's, which the guest may change. */
void ioapic_init(struct ioapic *io, uint8_t id, struct msi_sink *sink);

/* Machine reset: registers as at power-up. The lines belong to the devices and stay. */
void ioapic_reset(struct ioapic *io);

/* A 4-byte access at `offset` of the register page: 0x00 IOREGSEL, 0x10 IOWIN, 0x40 EOI (write only). -EINVAL: no register there;
 * for the guest such a read gives all ones and such a write is lost. An unknown IOREGSEL reads 0 and ignores writes. */
int ioapic_read(const struct ioapic *io, uint32_t offset, uint32_t *value);
int ioapic_write(struct ioapic *io, uint32_t offset, uint32_t value);

/* A device drives pin `pin` < IOAPIC_PINS. Idempotent: only changes count. */
void ioapic_set_line(struct ioapic *io, unsigned int pin, bool level);

/* A local APIC broadcasts the EOI of `vector`: clears remote IRR of the pins with this vector; sends again where the line is still
 * asserted and the pin not masked. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

#endif
