/* SPDX-License-Identifier: Apache-2.0 */
/* Between lapic.c, lapic_regs.c and lapic_timer.c only. Same rules as lapic.h. */
#ifndef VCPU_LAPIC_PRIVATE_H
#define VCPU_LAPIC_PRIVATE_H

#include "vcpu/lapic.h"

/* IA32_APIC_BASE, 10.4.4 and 10.12.1 */
#define BASE_BSP     (1u << 8)
#define BASE_X2APIC  (1u << 10)
#define BASE_ENABLE  (1u << 11)
#define BASE_ADDRESS 0x000ffffffffff000ull /* MAXPHYADDR at most 52 */

/* Error status register, 10.5.3 */
#define ESR_SEND_ILLEGAL_VECTOR    (1u << 5)
#define ESR_RECEIVE_ILLEGAL_VECTOR (1u << 6)
#define ESR_ILLEGAL_REGISTER       (1u << 7)

/* Spurious-interrupt vector register, 10.9 */
#define SVR_VECTOR       0xffu
#define SVR_ENABLE       (1u << 8)
#define SVR_FOCUS        (1u << 9)
#define SVR_SUPPRESS_EOI (1u << 12)

/* Local vector table, 10.5.1 */
#define LVT_VECTOR     0xffu
#define LVT_MODE_SHIFT 8
#define LVT_MODE       (7u << LVT_MODE_SHIFT)
#define LVT_STATUS     (1u << 12)
#define LVT_POLARITY   (1u << 13)
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL      (1u << 15)
#define LVT_MASKED     (1u << 16)
#define LVT_TIMER_MODE (3u << 17)
#define TIMER_ONE_SHOT (0u << 17)
#define TIMER_PERIODIC (1u << 17)
#define TIMER_DEADLINE (2u << 17)

#define FIRST_VECTOR 16 /* 10.5.2: 0 to 15 are illegal */

/* *e: nothing to do. */
void lapic_no_effects(struct lapic_effects *e);

/* Records ESR bits and, once until ESR is written, raises the error interrupt (10.5.3). */
void lapic_error(struct lapic *l, uint32_t esr_bits);

/* Puts `vector` into IRR; true if it was not there. */
bool lapic_accept(struct lapic *l, uint8_t vector, bool level_trig);

/* EOI register written: 10.8.5. The vector to broadcast, or -1. */
int lapic_eoi(struct lapic *l);

uint8_t lapic_apr(const struct lapic *l); /* 10.6.2.4 */
uint32_t lapic_ldr(const struct lapic *l);

/* Timer registers, 10.5.4. */
void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt, const struct lapic_now *now);
void lapic_timer_set_initial(struct lapic *l, uint32_t count, const struct lapic_now *now);
void lapic_timer_set_divide(struct lapic *l, uint32_t divide, const struct lapic_now *now);
uint32_t lapic_timer_current(const struct lapic *l, const struct lapic_now *now);

#endif
