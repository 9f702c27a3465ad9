/* SPDX-License-Identifier: Apache-2.0 */
/* The IOAPIC against the 82093AA datasheet and SDM vol. 3A 10.11. */
#include <check.h>
#include <errno.h>

#include "devices/ioapic.h"
#include "tests/unit/check_main.h"

struct fixture {
	struct msi_sink sink;
	struct ioapic io;
	unsigned int sent;
	uint64_t addr;
	uint32_t data;
};

static void record(struct msi_sink *sink, uint64_t addr, uint32_t data)
{
	struct fixture *f = container_of(sink, struct fixture, sink);

	f->sent++;
	f->addr = addr;
	f->data = data;
}

static void setup(struct fixture *f)
{
	*f = (struct fixture){.sink.send = record};
	ioapic_init(&f->io, 2, &f->sink);
}

static void put(struct fixture *f, uint8_t reg, uint32_t value)
{
	ck_assert_int_eq(ioapic_write(&f->io, 0x00, reg), 0);
	ck_assert_int_eq(ioapic_write(&f->io, 0x10, value), 0);
}

static uint32_t get(struct fixture *f, uint8_t reg)
{
	uint32_t v = 0xdeadbeef;

	ck_assert_int_eq(ioapic_write(&f->io, 0x00, reg), 0);
	ck_assert_int_eq(ioapic_read(&f->io, 0x10, &v), 0);
	return v;
}

static void entry(struct fixture *f, unsigned int pin, uint64_t value)
{
	put(f, (uint8_t)(0x11 + 2 * pin), (uint32_t)(value >> 32));
	put(f, (uint8_t)(0x10 + 2 * pin), (uint32_t)value);
}

static uint32_t entry_low(struct fixture *f, unsigned int pin)
{
	return get(f, (uint8_t)(0x10 + 2 * pin));
}

enum { LOGICAL = 1 << 11, STATUS = 1 << 12, LOW = 1 << 13, REMOTE_IRR = 1 << 14, LEVEL = 1 << 15, MASKED = 1 << 16 };

START_TEST(power_up_state)
{
	struct fixture f;

	setup(&f);
	ck_assert_uint_eq(get(&f, 0), 2u << 24);
	ck_assert_uint_eq(get(&f, 1), 0x00170020);
	ck_assert_uint_eq(get(&f, 2), 2u << 24);
	for (unsigned int pin = 0; pin < 24; pin++) {
		ck_assert_uint_eq(entry_low(&f, pin), MASKED);
		ck_assert_uint_eq(get(&f, (uint8_t)(0x11 + 2 * pin)), 0);
	}
}
END_TEST

START_TEST(id_is_four_bits_and_version_is_read_only)
{
	struct fixture f;

	setup(&f);
	put(&f, 0, UINT32_MAX);
	ck_assert_uint_eq(get(&f, 0), 0x0f000000);
	put(&f, 1, 0);
	ck_assert_uint_eq(get(&f, 1), 0x00170020);
}
END_TEST

START_TEST(ioregsel_reads_back_eight_bits)
{
	struct fixture f;
	uint32_t v;

	setup(&f);
	ck_assert_int_eq(ioapic_write(&f.io, 0, 0x112), 0);
	ck_assert_int_eq(ioapic_read(&f.io, 0, &v), 0);
	ck_assert_uint_eq(v, 0x12);
}
END_TEST

START_TEST(unknown_registers_read_zero_and_unknown_offsets_are_refused)
{
	struct fixture f;
	uint32_t v = 77;

	setup(&f);
	put(&f, 0x40, UINT32_MAX);
	ck_assert_uint_eq(get(&f, 0x40), 0);
	ck_assert_uint_eq(get(&f, 0x03), 0);
	ck_assert_uint_eq(get(&f, 0xff), 0);
	ck_assert_int_eq(ioapic_read(&f.io, 0x20, &v), -EINVAL);
	ck_assert_int_eq(ioapic_read(&f.io, 0x40, &v), -EINVAL);
	ck_assert_int_eq(ioapic_read(&f.io, 0x11, &v), -EINVAL);
	ck_assert_int_eq(ioapic_write(&f.io, 0xffc, v), -EINVAL);
	ck_assert_uint_eq(v, 77);
}
END_TEST

START_TEST(entries_keep_their_writable_bits)
{
	struct fixture f;

	setup(&f);
	entry(&f, 7, UINT64_MAX);
	ck_assert_uint_eq(entry_low(&f, 7), 0x1afff);
	ck_assert_uint_eq(get(&f, 0x11 + 14), 0xfffe0000);
	ck_assert_uint_eq(entry_low(&f, 6), MASKED);
	ck_assert_uint_eq(entry_low(&f, 8), MASKED);
}
END_TEST

START_TEST(an_edge_becomes_one_message)
{
	struct fixture f;

	setup(&f);
	entry(&f, 4, 5ull << 56 | 0x34);
	ioapic_set_line(&f.io, 4, true);
	ck_assert_uint_eq(f.sent, 1);
	ck_assert_uint_eq(f.addr, 0xfee05000);
	ck_assert_uint_eq(f.data, 0x4034);
	ioapic_set_line(&f.io, 4, true);
	ck_assert_uint_eq(f.sent, 1);
	ioapic_set_line(&f.io, 4, false);
	ck_assert_uint_eq(f.sent, 1);
	ioapic_set_line(&f.io, 4, true);
	ck_assert_uint_eq(f.sent, 2);
	ck_assert(!(entry_low(&f, 4) & (REMOTE_IRR | STATUS)));
}
END_TEST

START_TEST(extended_destination_goes_to_address_bits_11_5)
{
	struct fixture f;

	setup(&f);
	entry(&f, 4, 0xabull << 56 | 0x55ull << 49 | 0x34);
	ioapic_set_line(&f.io, 4, true);
	ck_assert_uint_eq(f.addr, 0xfee00000 | 0xab << 12 | 0x55 << 5);
}
END_TEST

START_TEST(destination_and_delivery_modes_go_through)
{
	for (uint32_t mode = 0; mode < 8; mode++) {
		struct fixture f;

		setup(&f);
		entry(&f, 1, 0xffull << 56 | LOGICAL | mode << 8 | 0x40);
		ioapic_set_line(&f.io, 1, true);
		ck_assert_uint_eq(f.addr, 0xfeeff004);
		ck_assert_uint_eq(f.data, 0x4040 | mode << 8);
	}
}
END_TEST

START_TEST(an_edge_on_a_masked_pin_is_lost)
{
	struct fixture f;

	setup(&f);
	entry(&f, 4, MASKED | 0x34);
	ioapic_set_line(&f.io, 4, true);
	entry(&f, 4, 0x34);
	ck_assert_uint_eq(f.sent, 0);
	ioapic_set_line(&f.io, 4, false);
	ioapic_set_line(&f.io, 4, true);
	ck_assert_uint_eq(f.sent, 1);
}
END_TEST

START_TEST(a_level_pin_sends_once_until_eoi_and_again_if_still_high)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ck_assert_uint_eq(f.sent, 1);
	ck_assert_uint_eq(f.data, 0xc059);
	ck_assert(entry_low(&f, 9) & REMOTE_IRR);
	ioapic_set_line(&f.io, 9, false);
	ioapic_set_line(&f.io, 9, true);
	ck_assert_uint_eq(f.sent, 1);
	ioapic_eoi(&f.io, 0x59);
	ck_assert_uint_eq(f.sent, 2);
	ck_assert(entry_low(&f, 9) & REMOTE_IRR);
	ioapic_set_line(&f.io, 9, false);
	ioapic_eoi(&f.io, 0x59);
	ck_assert_uint_eq(f.sent, 2);
	ck_assert(!(entry_low(&f, 9) & REMOTE_IRR));
}
END_TEST

START_TEST(eoi_of_another_vector_changes_nothing)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ioapic_eoi(&f.io, 0x58);
	ck_assert_uint_eq(f.sent, 1);
	ck_assert(entry_low(&f, 9) & REMOTE_IRR);
}
END_TEST

START_TEST(eoi_reaches_every_pin_with_the_vector)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 0x59);
	entry(&f, 23, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ioapic_set_line(&f.io, 23, true);
	ck_assert_uint_eq(f.sent, 2);
	ioapic_eoi(&f.io, 0x59);
	ck_assert_uint_eq(f.sent, 4);
}
END_TEST

START_TEST(the_eoi_register_does_a_directed_eoi)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ioapic_set_line(&f.io, 9, false);
	ck_assert_int_eq(ioapic_write(&f.io, 0x40, 0x59), 0);
	ck_assert(!(entry_low(&f, 9) & REMOTE_IRR));
}
END_TEST

START_TEST(unmasking_a_high_level_pin_sends)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, MASKED | LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ck_assert_uint_eq(f.sent, 0);
	entry(&f, 9, LEVEL | 0x59);
	ck_assert_uint_eq(f.sent, 1);
}
END_TEST

START_TEST(eoi_while_masked_sends_only_when_unmasked)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	entry(&f, 9, MASKED | LEVEL | 0x59);
	ck_assert(entry_low(&f, 9) & REMOTE_IRR);
	ioapic_eoi(&f.io, 0x59);
	ck_assert_uint_eq(f.sent, 1);
	entry(&f, 9, LEVEL | 0x59);
	ck_assert_uint_eq(f.sent, 2);
}
END_TEST

START_TEST(switching_to_edge_clears_remote_irr)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ioapic_set_line(&f.io, 9, false);
	entry(&f, 9, MASKED | 0x59);
	entry(&f, 9, LEVEL | 0x59);
	ck_assert(!(entry_low(&f, 9) & REMOTE_IRR));
	ck_assert_uint_eq(f.sent, 1);
}
END_TEST

START_TEST(software_cannot_set_remote_irr)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | REMOTE_IRR | STATUS | 0x59);
	ck_assert_uint_eq(entry_low(&f, 9), LEVEL | 0x59);
}
END_TEST

START_TEST(an_nmi_entry_is_an_edge_even_if_it_says_level)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | 4 << 8);
	ioapic_set_line(&f.io, 9, true);
	ioapic_set_line(&f.io, 9, false);
	ioapic_set_line(&f.io, 9, true);
	ck_assert_uint_eq(f.sent, 2);
	ck_assert_uint_eq(f.data, 0x4400);
}
END_TEST

START_TEST(polarity_has_no_effect)
{
	struct fixture f;

	setup(&f);
	entry(&f, 9, LEVEL | LOW | 0x59);
	ck_assert_uint_eq(f.sent, 0);
	ioapic_set_line(&f.io, 9, true);
	ck_assert_uint_eq(f.sent, 1);
	ck_assert(entry_low(&f, 9) & LOW);
}
END_TEST

START_TEST(reset_masks_everything_and_keeps_the_lines)
{
	struct fixture f;

	setup(&f);
	put(&f, 0, 9u << 24);
	entry(&f, 9, LEVEL | 0x59);
	ioapic_set_line(&f.io, 9, true);
	ioapic_reset(&f.io);
	ck_assert_uint_eq(get(&f, 0), 2u << 24);
	ck_assert_uint_eq(entry_low(&f, 9), MASKED);
	entry(&f, 9, LEVEL | 0x59);
	ck_assert_uint_eq(f.sent, 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ioapic");
	TCase *t = tcase_create("ioapic");

	tcase_add_test(t, power_up_state);
	tcase_add_test(t, id_is_four_bits_and_version_is_read_only);
	tcase_add_test(t, ioregsel_reads_back_eight_bits);
	tcase_add_test(t, unknown_registers_read_zero_and_unknown_offsets_are_refused);
	tcase_add_test(t, entries_keep_their_writable_bits);
	tcase_add_test(t, an_edge_becomes_one_message);
	tcase_add_test(t, extended_destination_goes_to_address_bits_11_5);
	tcase_add_test(t, destination_and_delivery_modes_go_through);
	tcase_add_test(t, an_edge_on_a_masked_pin_is_lost);
	tcase_add_test(t, a_level_pin_sends_once_until_eoi_and_again_if_still_high);
	tcase_add_test(t, eoi_of_another_vector_changes_nothing);
	tcase_add_test(t, eoi_reaches_every_pin_with_the_vector);
	tcase_add_test(t, the_eoi_register_does_a_directed_eoi);
	tcase_add_test(t, unmasking_a_high_level_pin_sends);
	tcase_add_test(t, eoi_while_masked_sends_only_when_unmasked);
	tcase_add_test(t, switching_to_edge_clears_remote_irr);
	tcase_add_test(t, software_cannot_set_remote_irr);
	tcase_add_test(t, an_nmi_entry_is_an_edge_even_if_it_says_level);
	tcase_add_test(t, polarity_has_no_effect);
	tcase_add_test(t, reset_masks_everything_and_keeps_the_lines);
	suite_add_tcase(s, t);
	return check_main(s);
}
