/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/ioapic.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Memory-mapped registers: datasheet 3.1, and ICH9's EOIR. */
#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40

/* Indirect registers: datasheet 3.2. */
#define REG_ID      0x00
#define REG_VERSION 0x01
#define REG_ARB     0x02
#define REG_ENTRIES 0x10

#define VERSION  (0x20u | (IOAPIC_PINS - 1) << 16)
#define ID_SHIFT 24

/* Redirection table entry: datasheet 3.2.4. */
#define ENTRY_VECTOR     0xffull
#define ENTRY_MODE_SHIFT 8
#define ENTRY_LOGICAL    (1ull << 11)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL      (1ull << 15)
#define ENTRY_MASKED     (1ull << 16)
/* What a guest may write: all but delivery status (12), remote IRR (14) and the reserved bits 48:17. */
#define ENTRY_WRITABLE       0xfffe00000001afffull
#define ENTRY_DEST_SHIFT     56
#define ENTRY_EXT_DEST_SHIFT 49

#define MODE_LOWEST 1

#define MSI_ADDRESS        0xfee00000ull
#define MSI_DEST_SHIFT     12
#define MSI_EXT_DEST_SHIFT 5
#define MSI_LOGICAL        (1u << 2)
#define MSI_MODE_SHIFT     8
#define MSI_ASSERT         (1u << 14)
#define MSI_LEVEL          (1u << 15)

static unsigned int entry_mode(uint64_t entry)
{
	return (unsigned int)(entry >> ENTRY_MODE_SHIFT) & 7;
}

/* Only fixed and lowest priority can be level-triggered: nobody would ever send the EOI of an NMI. */
static bool entry_level(uint64_t entry)
{
	return (entry & ENTRY_LEVEL) && entry_mode(entry) <= MODE_LOWEST;
}

static void send(struct ioapic *io, unsigned int pin)
{
	uint64_t entry = io->entry[pin];
	uint64_t dest = entry >> ENTRY_DEST_SHIFT & 0xff;
	uint64_t ext_dest = entry >> ENTRY_EXT_DEST_SHIFT & 0x7f;
	uint64_t addr = MSI_ADDRESS | dest << MSI_DEST_SHIFT | ext_dest << MSI_EXT_DEST_SHIFT;
	uint32_t data = (uint32_t)(entry & ENTRY_VECTOR) | entry_mode(entry) << MSI_MODE_SHIFT | MSI_ASSERT;

	if (entry & ENTRY_LOGICAL)
		addr |= MSI_LOGICAL;
	if (entry_level(entry)) {
		data |= MSI_LEVEL;
		io->entry[pin] |= ENTRY_REMOTE_IRR;
	}
	io->sink->send(io->sink, addr, data);
}

/* A level pin sends when asserted, not masked, and nobody is servicing it (O1). */
static void service_level(struct ioapic *io, unsigned int pin)
{
	uint64_t entry = io->entry[pin];

	if (entry_level(entry) && (io->lines >> pin & 1) && !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
		send(io, pin);
}

static void write_entry(struct ioapic *io, unsigned int pin, bool high, uint32_t value)
{
	uint64_t old = io->entry[pin];
	uint64_t entry = high ? (uint64_t)value << 32 | (uint32_t)old : (old >> 32 << 32) | value;

	entry = (entry & ENTRY_WRITABLE) | (old & ENTRY_REMOTE_IRR);
	/* An edge-triggered pin has no remote IRR. Guests use this to clear it where there is no EOI register. */
	if (!entry_level(entry))
		entry &= ~ENTRY_REMOTE_IRR;
	io->entry[pin] = entry;
	service_level(io, pin);
}

void ioapic_init(struct ioapic *io, uint8_t id, struct msi_sink *sink)
{
	assert(sink && sink->send && id < 16);
	memset(io, 0, sizeof(*io));
	io->sink = sink;
	io->reset_id = id;
	ioapic_reset(io);
}

void ioapic_reset(struct ioapic *io)
{
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		io->entry[pin] = ENTRY_MASKED;
	io->select = 0;
	io->id = io->reset_id;
}

static uint32_t read_selected(const struct ioapic *io)
{
	unsigned int index = io->select - (unsigned int)REG_ENTRIES;

	switch (io->select) {
	case REG_ID:
	case REG_ARB: /* loaded with the id, datasheet 3.2.3 */
		return (uint32_t)io->id << ID_SHIFT;
	case REG_VERSION:
		return VERSION;
	default:
		if (index >= 2 * IOAPIC_PINS)
			return 0;
		return (uint32_t)(io->entry[index / 2] >> (index % 2 ? 32 : 0));
	}
}

int ioapic_read(const struct ioapic *io, uint32_t offset, uint32_t *value)
{
	switch (offset) {
	case IOREGSEL:
		*value = io->select;
		return 0;
	case IOWIN:
		*value = read_selected(io);
		return 0;
	default:
		return -EINVAL;
	}
}

int ioapic_write(struct ioapic *io, uint32_t offset, uint32_t value)
{
	unsigned int index = io->select - (unsigned int)REG_ENTRIES;

	switch (offset) {
	case IOREGSEL:
		io->select = value & 0xff;
		return 0;
	case IOWIN:
		if (io->select == REG_ID)
			io->id = value >> ID_SHIFT & 0xf;
		else if (index < 2 * IOAPIC_PINS)
			write_entry(io, index / 2, index % 2, value);
		return 0;
	case IOEOI:
		ioapic_eoi(io, value & 0xff);
		return 0;
	default:
		return -EINVAL;
	}
}

void ioapic_set_line(struct ioapic *io, unsigned int pin, bool level)
{
	bool was;

	assert(pin < IOAPIC_PINS);
	was = io->lines >> pin & 1;
	if (level == was)
		return;
	io->lines ^= 1u << pin;
	if (!level)
		return;
	if (entry_level(io->entry[pin]))
		service_level(io, pin);
	else if (!(io->entry[pin] & ENTRY_MASKED))
		send(io, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		if (!(io->entry[pin] & ENTRY_REMOTE_IRR) || (io->entry[pin] & ENTRY_VECTOR) != vector)
			continue;
		io->entry[pin] &= ~ENTRY_REMOTE_IRR;
		service_level(io, pin);
	}
}
