/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/serial.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* The order of the registers. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RDA  0x01u /* received data available, and the timeout */
#define IER_THRE 0x02u /* transmitter holding register empty */
#define IER_RLS  0x04u /* receiver line status */
#define IER_MS   0x08u /* modem status */
#define IER_MASK 0x0fu

/* Interrupt Identification Register, from the highest priority down. */
#define IIR_RLS     0x06u
#define IIR_RDA     0x04u
#define IIR_TIMEOUT 0x0cu
#define IIR_THRE    0x02u
#define IIR_MS      0x00u
#define IIR_NONE    0x01u
#define IIR_FIFOS   0xc0u

#define FCR_ENABLE       0x01u
#define FCR_CLEAR_RX     0x02u
#define FCR_TRIGGER(fcr) ((fcr) >> 6)

#define LCR_BREAK 0x40u
#define LCR_DLAB  0x80u

#define MCR_DTR  0x01u
#define MCR_RTS  0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u /* on a PC: connects the interrupt line */
#define MCR_LOOP 0x10u
#define MCR_MASK 0x1fu

#define LSR_DR     0x01u
#define LSR_OE     0x02u
#define LSR_BI     0x10u
#define LSR_ERRORS 0x1eu /* overrun, parity, framing, break */
#define LSR_THRE   0x20u
#define LSR_TEMT   0x40u
#define LSR_FIFO   0x80u /* an error somewhere in the FIFO */

#define MSR_CTS   0x10u
#define MSR_DSR   0x20u
#define MSR_RI    0x40u
#define MSR_DCD   0x80u
#define MSR_LINES 0xf0u

#define FIFO_BYTES 16u

struct character {
	uint8_t byte;
	uint8_t errors; /* LSR_BI or 0 */
};

/* A byte from outside passes through here; from the loop it goes to the FIFO directly:
 *
 *   serial_input -> backlog [4096] -> rx [16 with FIFOs on, else 1] -> RBR
 *                        (not in loopback)   ^-- THR in loopback, overruns
 */
struct serial {
	struct device device;
	struct irq_sink *irq;
	struct serial_sink *sink;
	pthread_mutex_t lock;
	/* Under the lock. */
	uint8_t ier, fcr, lcr, mcr, msr_delta, scr, dll, dlm;
	uint8_t lsr_errors; /* of the character at the top of rx, and overrun; until LSR is read */
	bool thre_pending;  /* THRE interrupt not yet acknowledged by reading IIR or writing THR */
	bool line;          /* level of the interrupt line */
	uint32_t rx_n, rx_first, backlog_n, backlog_first;
	struct character rx[FIFO_BYTES];
	struct character backlog[SERIAL_BACKLOG];
};

static bool fifos_on(const struct serial *serial)
{
	return serial->fcr & FCR_ENABLE;
}

static bool looped(const struct serial *serial)
{
	return serial->mcr & MCR_LOOP;
}

/* Errors of a character show in LSR once it is at the top of the FIFO (Line Status Register, bits 2 to 4). */
static void rx_show_top(struct serial *serial)
{
	struct character *top = &serial->rx[serial->rx_first];

	if (serial->rx_n == 0)
		return;
	serial->lsr_errors |= top->errors;
	top->errors = 0;
}

static void rx_push(struct serial *serial, struct character c)
{
	uint32_t room = fifos_on(serial) ? FIFO_BYTES : 1;

	if (serial->rx_n >= room) {
		serial->lsr_errors |= LSR_OE;
		if (fifos_on(serial))
			return;   /* the FIFO keeps what it has, the shift register is overwritten */
		serial->rx_n = 0; /* the new character replaces the one in RBR */
	}
	serial->rx[(serial->rx_first + serial->rx_n) % FIFO_BYTES] = c;
	serial->rx_n++;
	if (serial->rx_n == 1)
		rx_show_top(serial);
}

/* Takes from the backlog what the FIFO has room for. */
static void rx_fill(struct serial *serial)
{
	uint32_t room = fifos_on(serial) ? FIFO_BYTES : 1;

	while (!looped(serial) && serial->backlog_n && serial->rx_n < room) {
		rx_push(serial, serial->backlog[serial->backlog_first]);
		serial->backlog_first = (serial->backlog_first + 1) % SERIAL_BACKLOG;
		serial->backlog_n--;
	}
}

static uint8_t rx_pop(struct serial *serial)
{
	uint8_t byte;

	if (serial->rx_n == 0)
		return 0;
	byte = serial->rx[serial->rx_first].byte;
	serial->rx_first = (serial->rx_first + 1) % FIFO_BYTES;
	serial->rx_n--;
	rx_show_top(serial);
	rx_fill(serial);
	return byte;
}

static void rx_clear(struct serial *serial)
{
	serial->rx_n = 0;
	rx_fill(serial);
}

/* In loopback the modem inputs are our own outputs (Modem Control Register, bit 4). Outside, a terminal is there and ready. */
static uint8_t msr_lines(const struct serial *serial)
{
	uint8_t lines = 0;

	if (!looped(serial))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	if (serial->mcr & MCR_RTS)
		lines |= MSR_CTS;
	if (serial->mcr & MCR_DTR)
		lines |= MSR_DSR;
	if (serial->mcr & MCR_OUT1)
		lines |= MSR_RI;
	if (serial->mcr & MCR_OUT2)
		lines |= MSR_DCD;
	return lines;
}

static uint8_t lsr_value(const struct serial *serial)
{
	uint8_t lsr = LSR_THRE | LSR_TEMT | serial->lsr_errors;

	if (serial->rx_n)
		lsr |= LSR_DR;
	if (fifos_on(serial)) {
		if (serial->lsr_errors & LSR_BI)
			lsr |= LSR_FIFO;
		for (uint32_t i = 0; i < serial->rx_n; i++)
			if (serial->rx[(serial->rx_first + i) % FIFO_BYTES].errors)
				lsr |= LSR_FIFO;
	}
	return lsr;
}

/* The Interrupt Identification Register without the bits that say that FIFOs are on. */
static uint8_t iir_value(const struct serial *serial)
{
	static const uint8_t trigger[4] = {1, 4, 8, 14};

	if ((serial->ier & IER_RLS) && serial->lsr_errors)
		return IIR_RLS;
	if ((serial->ier & IER_RDA) && serial->rx_n) {
		if (!fifos_on(serial) || serial->rx_n >= trigger[FCR_TRIGGER(serial->fcr)])
			return IIR_RDA;
		return IIR_TIMEOUT;
	}
	if ((serial->ier & IER_THRE) && serial->thre_pending)
		return IIR_THRE;
	if ((serial->ier & IER_MS) && serial->msr_delta)
		return IIR_MS;
	return IIR_NONE;
}

/* The line follows the pending interrupt. OUT2 gates it on a PC, and in loopback the pin OUT2 is inactive. */
static void line_update_locked(struct serial *serial)
{
	bool line = iir_value(serial) != IIR_NONE && (serial->mcr & MCR_OUT2) && !looped(serial);

	if (line == serial->line)
		return;
	serial->line = line;
	serial->irq->set(serial->irq, SERIAL_GSI, line);
}

static void serial_read(struct device *dev, uint64_t offset, void *data, uint32_t len)
{
	struct serial *serial = container_of(dev, struct serial, device);
	uint8_t value = 0;

	pthread_mutex_lock(&serial->lock);
	switch (offset) {
	case REG_DATA:
		value = serial->lcr & LCR_DLAB ? serial->dll : rx_pop(serial);
		break;
	case REG_IER:
		value = serial->lcr & LCR_DLAB ? serial->dlm : serial->ier;
		break;
	case REG_IIR_FCR:
		value = iir_value(serial);
		if (value == IIR_THRE) /* reading it as the source acknowledges it */
			serial->thre_pending = false;
		if (fifos_on(serial))
			value |= IIR_FIFOS;
		break;
	case REG_LCR:
		value = serial->lcr;
		break;
	case REG_MCR:
		value = serial->mcr;
		break;
	case REG_LSR:
		value = lsr_value(serial);
		serial->lsr_errors = 0;
		break;
	case REG_MSR:
		value = msr_lines(serial) | serial->msr_delta;
		serial->msr_delta = 0;
		break;
	case REG_SCR:
		value = serial->scr;
		break;
	default: /* the bus gives offsets below 8 */
		break;
	}
	line_update_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	device_store(data, len, value);
}

/* FIFO Control Register. */
static void fcr_write(struct serial *serial, uint8_t value)
{
	bool toggled = (value ^ serial->fcr) & FCR_ENABLE;

	serial->fcr =
		value & FCR_ENABLE ? value & 0xc9 : 0; /* the other bits count only together with bit 0; 1 and 2 clear themselves */
	if (toggled || (serial->fcr & FCR_ENABLE && value & FCR_CLEAR_RX))
		rx_clear(serial);
}

static void mcr_write(struct serial *serial, uint8_t value)
{
	uint8_t before = msr_lines(serial), after, changed;

	serial->mcr = value & MCR_MASK;
	after = msr_lines(serial);
	changed = before ^ after;
	/* Modem Status Register: bits 0, 1 and 3 tell of any change, bit 2 of RI becoming inactive. */
	serial->msr_delta |= (changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4 | (changed & before & MSR_RI) >> 4;
	rx_fill(serial);
}

static void serial_write(struct device *dev, uint64_t offset, const void *data, uint32_t len)
{
	struct serial *serial = container_of(dev, struct serial, device);
	uint8_t value = (uint8_t)device_load(data, len);
	bool send = false;

	pthread_mutex_lock(&serial->lock);
	switch (offset) {
	case REG_DATA:
		if (serial->lcr & LCR_DLAB) {
			serial->dll = value;
			break;
		}
		serial->thre_pending = true; /* cleared by the write, set again as the byte leaves at once */
		if (looped(serial))
			rx_push(serial, (struct character){.byte = value});
		else
			send = true;
		break;
	case REG_IER:
		if (serial->lcr & LCR_DLAB) {
			serial->dlm = value;
			break;
		}
		/* Enabling it with the transmitter empty interrupts at once; Linux tests for UARTs that do not. */
		if (value & ~serial->ier & IER_THRE)
			serial->thre_pending = true;
		serial->ier = value & IER_MASK;
		break;
	case REG_IIR_FCR:
		fcr_write(serial, value);
		break;
	case REG_LCR:
		if (looped(serial) && value & ~serial->lcr & LCR_BREAK)
			rx_push(serial, (struct character){.errors = LSR_BI});
		serial->lcr = value;
		break;
	case REG_MCR:
		mcr_write(serial, value);
		break;
	case REG_SCR:
		serial->scr = value;
		break;
	default: /* LSR and MSR are read-only (writing LSR is for factory tests) */
		break;
	}
	line_update_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	if (send)
		serial->sink->out(serial->sink, &value, 1);
}

/* Master reset. The divisor, SCR and the input that waits in the backlog stay. */
static void serial_reset(struct device *dev)
{
	struct serial *serial = container_of(dev, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	serial->ier = serial->fcr = serial->lcr = serial->mcr = 0;
	serial->lsr_errors = serial->msr_delta = 0;
	serial->thre_pending = false;
	rx_clear(serial);
	line_update_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

static void serial_free(struct device *dev)
{
	struct serial *serial = container_of(dev, struct serial, device);

	pthread_mutex_destroy(&serial->lock);
	free(serial);
}

static const struct device_ops serial_ops = {
	.width = 1,
	.read = serial_read,
	.write = serial_write,
	.reset = serial_reset,
	.free = serial_free,
};

int serial_new(struct irq_sink *irq, struct serial_sink *sink, struct serial **out)
{
	struct serial *serial = calloc(1, sizeof(*serial));

	if (!serial)
		return -ENOMEM;
	serial->device = (struct device){.ops = &serial_ops, .name = "serial"};
	serial->irq = irq;
	serial->sink = sink;
	serial->dll = 0x0c; /* 9600 baud, as a BIOS leaves it */
	pthread_mutex_init(&serial->lock, NULL);
	*out = serial;
	return 0;
}

struct device *serial_device(struct serial *serial)
{
	return &serial->device;
}

static bool backlog_push(struct serial *serial, struct character c)
{
	if (serial->backlog_n == SERIAL_BACKLOG)
		return false;
	serial->backlog[(serial->backlog_first + serial->backlog_n++) % SERIAL_BACKLOG] = c;
	return true;
}

size_t serial_input(struct serial *serial, const uint8_t *bytes, size_t n)
{
	size_t taken = 0;

	pthread_mutex_lock(&serial->lock);
	while (taken < n && backlog_push(serial, (struct character){.byte = bytes[taken]}))
		taken++;
	rx_fill(serial);
	line_update_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

size_t serial_input_room(struct serial *serial)
{
	size_t room;

	pthread_mutex_lock(&serial->lock);
	room = SERIAL_BACKLOG - serial->backlog_n;
	pthread_mutex_unlock(&serial->lock);
	return room;
}

bool serial_input_break(struct serial *serial)
{
	bool taken;

	pthread_mutex_lock(&serial->lock);
	taken = backlog_push(serial, (struct character){.errors = LSR_BI});
	rx_fill(serial);
	line_update_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}
