/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest cannot find by itself: how to power off, the serial port and the clock.
 *
 * There is no 8259. An interrupt reaches the guest only as a global system interrupt of the IOAPIC, so each
 * is an extended Interrupt() descriptor: its number is a GSI, it is not looked up among the MADT's overrides,
 * and it says trigger and polarity itself. Ports of the PM block (0x600) and of the reset register (0xcf9)
 * are in the FADT. The PIT has no device here: an operating system that wants it knows its ports, and its
 * interrupt is the MADT's override IRQ 0 -> GSI 2.
 *
 * CPUs have no Processor devices: the MADT lists them all as enabled and none can be added.
 */
DefinitionBlock ("", "DSDT", 2, "PANGEA", "PANGEA  ", 1)
{
	/* Soft off (ACPI 6.3, 7.4.2.6): SLP_TYP 5 into PM1a_CNT; the second number is PM1b's, which does not exist.
	   devices' PM block takes SLP_EN with SLP_TYP 5 as power off. No other sleeping state. */
	Name (\_S5, Package (4) { 5, 5, 0, 0 })

	Scope (\_SB)
	{
		/* 16550, GSI 4. */
		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
			})
		}

		/* MC146818 clock and CMOS, GSI 8. */
		Device (RTC)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 8 }
			})
		}
	}
}
