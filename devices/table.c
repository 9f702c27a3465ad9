/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/table.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

static int create_serial(struct board *board, const struct board_config *config, struct device **out)
{
	int err = serial_new(config->irq, config->serial, &board->serial);

	if (!err)
		*out = serial_device(board->serial);
	return err;
}

static int create_rtc(struct board *board, const struct board_config *config, struct device **out)
{
	int err = rtc_new(config->irq, board->timers, &board->rtc);

	if (err)
		return err;
	rtc_set_memory(board->rtc, config->ram_below_4g_bytes, config->ram_above_4g_bytes);
	*out = rtc_device(board->rtc);
	return 0;
}

static int create_pit(struct board *board, const struct board_config *config, struct device **out)
{
	struct pit *pit;
	int err = pit_new(config->irq, board->timers, &pit);

	if (!err)
		*out = pit_device(pit);
	return err;
}

static int create_acpipm(struct board *board, const struct board_config *config, struct device **out)
{
	int err = acpipm_new(config->irq, config->machine, board->timers, &board->acpipm);

	if (!err)
		*out = acpipm_device(board->acpipm);
	return err;
}

static int create_power(struct board *board, const struct board_config *config, struct device **out)
{
	struct power *power;
	int err = power_new(config->machine, &power);

	(void)board;
	if (!err)
		*out = power_device(power);
	return err;
}

static int create_debugexit(struct board *board, const struct board_config *config, struct device **out)
{
	struct debugexit *debugexit;
	int err = debugexit_new(config->machine, &debugexit);

	(void)board;
	if (!err)
		*out = debugexit_device(debugexit);
	return err;
}

/* clang-format off */
const struct device_entry device_table[BOARD_DEVICES] = {
	{"serial", create_serial, {{SERIAL_PORT, SERIAL_PORTS, 0}}},
	{"rtc", create_rtc, {{RTC_PORT, RTC_PORTS, 0}}},
	{"pit", create_pit, {{PIT_PORT, PIT_PORTS, 0}, {PIT_PORT_B, 1, PIT_OFFSET_B}}},
	{"acpipm", create_acpipm, {{ACPIPM_PORT, ACPIPM_PORTS, 0}}},
	{"power", create_power, {
		{0xcf9, 1, POWER_RESET_CONTROL},
		{0x60, 1, POWER_KBD_DATA},
		{0x64, 1, POWER_KBD_COMMAND},
		{0x92, 1, POWER_PORT_A},
		{0x80, 1, POWER_POST},
	}},
	{"debugexit", create_debugexit, {{DEBUGEXIT_PORT, DEBUGEXIT_PORTS, 0}}},
};
/* clang-format on */

static int device_start(struct board *board, const struct board_config *config, struct bus *bus, size_t i)
{
	const struct device_entry *entry = &device_table[i];
	int err = entry->create(board, config, &board->device[i]);

	for (size_t p = 0; !err && p < DEVICE_PORTS_MAX && entry->ports[p].len; p++)
		err = bus_add(bus, BUS_PIO, entry->ports[p].base, entry->ports[p].len, entry->ports[p].offset, board->device[i]);
	if (err)
		log_error("device %s cannot be created: %s", entry->name, strerror(-err));
	return err;
}

int board_new(const struct board_config *config, struct bus *bus, struct board **out)
{
	struct board *board = calloc(1, sizeof(*board));
	int err;

	if (!board)
		return -ENOMEM;
	err = devtimers_new(config->clock ? config->clock : &device_clock_host, &board->timers);
	for (size_t i = 0; !err && i < BOARD_DEVICES; i++)
		err = device_start(board, config, bus, i);
	if (err) {
		board_free(board);
		return err;
	}
	*out = board;
	return 0;
}

void board_free(struct board *board)
{
	if (!board)
		return;
	for (size_t i = BOARD_DEVICES; i-- > 0;)
		device_free(board->device[i]);
	devtimers_free(board->timers);
	free(board);
}

void board_reset(struct board *board)
{
	for (size_t i = 0; i < BOARD_DEVICES; i++)
		device_reset(board->device[i]);
}
