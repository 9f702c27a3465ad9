/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole board under any sequence of port accesses, input, resets and passing time. The clock is the input's, so a
 * run repeats. Beyond what the sanitizers find: a line is only told when it changes, and time runs out for no operation.
 */
#include <stdlib.h>

#include "devices/table.h"
#include "fuzz.h"

struct world {
	struct device_clock clock;
	struct irq_sink irq;
	struct machine_sink machine;
	struct serial_sink serial;
	uint64_t mono_ns, utc_ns;
	uint32_t lines;
};

static uint64_t world_mono(const struct device_clock *clock)
{
	return container_of(clock, struct world, clock)->mono_ns;
}

static uint64_t world_utc(const struct device_clock *clock)
{
	return container_of(clock, struct world, clock)->utc_ns;
}

static void world_line(struct irq_sink *sink, unsigned gsi, bool level)
{
	struct world *world = container_of(sink, struct world, irq);

	if (gsi >= 24 || (world->lines >> gsi & 1) == level)
		abort();
	world->lines ^= 1u << gsi;
}

static void world_request(struct machine_sink *sink, enum machine_request what, uint32_t code)
{
	(void)sink;
	if (what > MACHINE_EXIT || (what != MACHINE_EXIT && code))
		abort();
}

static void world_out(struct serial_sink *sink, const uint8_t *bytes, size_t n)
{
	(void)sink;
	if (!bytes || n == 0)
		abort();
}

/* Mostly a port of the board, sometimes any. */
static uint16_t pick_port(struct fuzz_input *in)
{
	const struct device_entry *entry = &device_table[fuzz_u8(in) % BOARD_DEVICES];
	const struct device_ports *ports = &entry->ports[fuzz_u8(in) % DEVICE_PORTS_MAX];
	uint8_t at = fuzz_u8(in);

	if (ports->len == 0)
		ports = &entry->ports[0];
	if (at == 0xff)
		return (uint16_t)(fuzz_u8(in) << 8 | fuzz_u8(in));
	return (uint16_t)(ports->base + at % ports->len);
}

static void pass(struct world *world, struct board *board, uint64_t ns)
{
	world->mono_ns += ns;
	world->utc_ns += ns;
	devtimers_run(board->timers);
}

static void step(struct world *world, struct bus *bus, struct board *board, struct fuzz_input *in)
{
	static const uint32_t len[4] = {1, 1, 2, 4};
	uint8_t what = fuzz_u8(in), data[8];
	uint16_t port;

	switch (what % 16) {
	case 0:
		pass(world, board, (uint64_t)fuzz_u8(in) << fuzz_u8(in) % 44); /* up to 26 days */
		break;
	case 1:
		fuzz_take(in, data, sizeof(data));
		if (serial_input(board->serial, data, sizeof(data)) > sizeof(data) ||
		    serial_input_room(board->serial) > SERIAL_BACKLOG)
			abort();
		break;
	case 2:
		(void)serial_input_break(board->serial);
		break;
	case 3:
		acpipm_power_button(board->acpipm);
		break;
	case 4:
		if (fuzz_u8(in) < 16)
			board_reset(board);
		break;
	case 5: /* the host's clock is set */
		world->utc_ns = world->utc_ns / 2 + ((uint64_t)fuzz_u8(in) << 50);
		break;
	default:
		port = pick_port(in);
		fuzz_take(in, data, 4);
		if (what & 16 ? bus_read(bus, BUS_PIO, port, data, len[what >> 5 & 3])
			      : bus_write(bus, BUS_PIO, port, data, len[what >> 5 & 3]))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = {
		.clock = {world_mono, world_utc},
		.irq = {world_line},
		.machine = {world_request},
		.serial = {world_out},
		.mono_ns = NS_PER_SEC,
		.utc_ns = 1700000000 * NS_PER_SEC,
	};
	struct board_config config = {.irq = &world.irq, .machine = &world.machine, .serial = &world.serial, .clock = &world.clock};
	struct fuzz_input in = {.data = data, .left = size};
	struct board *board;
	struct bus *bus;

	if (bus_new(&bus))
		return 0;
	bus_quiet(bus);
	if (board_new(&config, bus, &board)) {
		bus_free(bus);
		return 0;
	}
	bus_freeze(bus);
	while (in.left)
		step(&world, bus, board, &in);
	board_free(board);
	bus_free(bus);
	return 0;
}
