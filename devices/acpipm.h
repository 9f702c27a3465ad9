/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed hardware of ACPI: power management event and control registers and the PM timer (ACPI specification 6.5,
 * section 4.8, "ACPI Register Model"). What the FADT must say of it:
 *
 *   PM1a_EVT_BLK  0x600, 4 bytes: status, enable        SCI_INT    9 (level, active high in the MADT)
 *   PM1a_CNT_BLK  0x604, 2 bytes                        PM_TMR_BLK 0x608, 4 bytes, 32 bits (TMR_VAL_EXT)
 *   no SMI_CMD, no PM1b, no GPEs; a fixed power button (PWR_BUTTON clear), no fixed sleep button, no fixed RTC wake
 *
 * The machine is always in ACPI mode: SCI_EN reads 1. In the DSDT \_S5 is ACPIPM_SLP_TYP_S5; SLP_EN with this type
 * powers the machine off, any other type is ignored with a line in the log.
 *
 * Threads: any. The line of GSI 9 is set with the lock held, the machine is asked without it. The PM timer is
 * computed from the clock; a timer runs only while the guest has enabled its carry interrupt.
 */
#ifndef DEVICES_ACPIPM_H
#define DEVICES_ACPIPM_H

#include "devices/devtimer.h"

#define ACPIPM_PORT       0x600u
#define ACPIPM_PORTS      12u
#define ACPIPM_EVT_PORT   0x600u
#define ACPIPM_CNT_PORT   0x604u
#define ACPIPM_TMR_PORT   0x608u
#define ACPIPM_GSI        9u
#define ACPIPM_TMR_HZ     3579545u
#define ACPIPM_SLP_TYP_S5 5u

struct acpipm;

/* -ENOMEM. The sinks and the timers must outlive the device. */
CHECKED int acpipm_new(struct irq_sink *irq, struct machine_sink *machine, struct devtimers *timers, struct acpipm **out);
struct device *acpipm_device(struct acpipm *pm);

/* Somebody presses the power button: the guest is asked to shut down, if it listens. Any thread. */
void acpipm_power_button(struct acpipm *pm);

#endif
