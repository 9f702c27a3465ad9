/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipi: the round trip of an interrupt between two CPUs, without a kernel and without memory that both write.
 *
 * CPU 0 sends an IPI to CPU `ap`, whose handler sends one back, and halts until that comes; the other is halted when no interrupt
 * is there. So nobody spins, and both can share one processor of a host. x2APIC mode. Options, on the kernel command line:
 *   ap=ID    APIC id of the second CPU (1)       rounds=N   (1000, at most 65536)
 *   khz=N    the TSC's rate: results in ns; without it in cycles. pangea run gives it to every guest as tsc_early_khz
 *
 * Prints `ipi round-trip p50=.. p99=.. min=.. max=.. n=.. ns|cycles`, and ends with EXIT_OK; else a line that says why, and
 * EXIT_USAGE, EXIT_NO_CPU or EXIT_EXCEPTION. An interrupt that is lost hangs it: the caller has a time limit.
 */
#include "guest64.h"

#define MOST_ROUNDS   65536u
#define TRAMPOLINE    0x2000u
#define START_TIMEOUT (UINT64_C(1) << 34) /* cycles: some 5 s */
#define VECTOR        0x41u

#define MSR_APIC_BASE 0x1bu
#define APIC_ENABLE   (1u << 11)
#define APIC_X2APIC   (1u << 10)
#define X2APIC_EOI    0x80bu
#define X2APIC_SVR    0x80fu
#define X2APIC_ICR    0x830u
#define ICR_ASSERT    0x4000u
#define ICR_INIT      0x500u
#define ICR_SIPI      0x600u

struct gate {
	uint64_t low, high;
};
struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

extern uint8_t exception_stubs[], trampoline[], trampoline_end[];
struct gate idt[32]; /* boot64.S names it; this guest loads its own */

void guest_main(uint32_t info, uint32_t magic);
void kernel_cpu1(void);
void user_main(uint32_t cpu);
void exception(const uint64_t *frame, uint64_t cr2);

/* Each CPU writes on a page of its own. */
static struct {
	_Alignas(4096) volatile uint64_t answered; /* CPU 0's handler */
	_Alignas(4096) volatile uint64_t up;       /* CPU 1, once */
	_Alignas(4096) uint8_t end;
} shared;
_Alignas(4096) static struct gate gates[256];
static uint64_t samples[MOST_ROUNDS];
static uint64_t ap = 1, rounds = 1000, khz;

/* What an interrupt handler calls keeps every register. */
#define KEEPS __attribute__((no_caller_saved_registers))

KEEPS static void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

KEEPS static void send(uint64_t to, uint32_t command)
{
	wrmsr(X2APIC_ICR, to << 32 | command);
}

void exception(const uint64_t *frame, uint64_t cr2)
{
	(void)cr2;
	put("ipi: exception ");
	put_number(frame[0], 10);
	put("\n");
	quit(EXIT_EXCEPTION);
}

void user_main(uint32_t cpu) /* boot64.S wants it; never reached */
{
	(void)cpu;
	quit(EXIT_EXCEPTION);
}

/*
 * An interrupt between `sti` and `hlt`, which a processor holds back until `hlt` waits for it: QEMU's emulated one forgets that
 * when the guest is left and entered just there. What was to be waited for has then come already.
 */
KEEPS static void step_over_halt(struct frame *frame)
{
	if (*(const uint8_t *)(uintptr_t)frame->rip == 0xf4)
		frame->rip++;
}

__attribute__((interrupt)) static void on_answer(struct frame *frame)
{
	step_over_halt(frame);
	shared.answered++;
	wrmsr(X2APIC_EOI, 0);
}

__attribute__((interrupt)) static void on_question(struct frame *frame)
{
	step_over_halt(frame);
	wrmsr(X2APIC_EOI, 0);
	send(0, ICR_ASSERT | VECTOR);
}

static void set_gate(unsigned vector, uint64_t at)
{
	/* 64-bit interrupt gate, selector 8, DPL 0 */
	gates[vector].low = (at & 0xffff) | 0x08 << 16 | UINT64_C(0x8e00) << 32 | (at >> 16 & 0xffff) << 48;
	gates[vector].high = at >> 32;
}

/* This CPU takes interrupts by `gates`, when they are enabled. */
static void apic_on(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) table = {sizeof(gates) - 1, (uint64_t)(uintptr_t)gates};

	__asm__ volatile("lidt %0" : : "m"(table));
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_ENABLE | APIC_X2APIC);
	wrmsr(X2APIC_SVR, 0x1ff);
}

void kernel_cpu1(void)
{
	apic_on();
	shared.up = 1;
	for (;;)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void parse(const char *s)
{
	static const struct {
		char name[16];
		uint64_t *value;
	} numbers[] = {{"ap", &ap}, {"rounds", &rounds}, {"khz", &khz}, {"tsc_early_khz", &khz}};

	while (*s) {
		const char *v;

		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			if ((v = value_of(s, numbers[i].name)) && !read_size(v, numbers[i].value))
				rounds = 0;
		while (*s && *s != ' ')
			s++;
		while (*s == ' ')
			s++;
	}
	if (rounds && rounds <= MOST_ROUNDS && ap && ap < 255)
		return;
	put("ipi: bad option: ap is an APIC id from 1 to 254, rounds from 1 to 65536\n");
	quit(EXIT_USAGE);
}

static void wait_cycles(uint64_t n)
{
	for (uint64_t end = tsc() + n; tsc() < end;)
		__asm__ volatile("pause");
}

/* INIT, SIPI, SIPI (Intel SDM vol. 3A section 8.4.4.1); the waits are generous, the TSC's rate unknown. */
static void start_cpu(void)
{
	for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
		((volatile uint8_t *)(uintptr_t)TRAMPOLINE)[i] = trampoline[i];
	send(ap, ICR_ASSERT | ICR_INIT);
	wait_cycles(50000000);
	for (int i = 0; i < 2 && !shared.up; i++) {
		send(ap, ICR_ASSERT | ICR_SIPI | TRAMPOLINE >> 12);
		wait_cycles(10000000);
	}
	for (uint64_t end = tsc() + START_TIMEOUT; !shared.up;)
		if (tsc() > end) {
			put("ipi: the second CPU did not start\n");
			quit(EXIT_NO_CPU);
		}
}

void guest_main(uint32_t info, uint32_t magic)
{
	const char *words = command_line(info, magic);

	if (words)
		parse(words);
	for (unsigned i = 0; i < 32; i++)
		set_gate(i, (uint64_t)(uintptr_t)exception_stubs + 16 * i);
	/* Questions and answers have a vector each, so one table does for both CPUs. */
	set_gate(VECTOR, (uint64_t)(uintptr_t)on_answer);
	set_gate(VECTOR + 1, (uint64_t)(uintptr_t)on_question);
	for (uint64_t i = 0; i < rounds; i++)
		samples[i] = 1; /* faults these pages in */
	apic_on();
	start_cpu();
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t begin = tsc();

		send(ap, ICR_ASSERT | (VECTOR + 1));
		while (shared.answered == i)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		samples[i] = tsc() - begin;
	}
	put("ipi round-trip");
	put_samples(samples, rounds, khz);
	quit(EXIT_OK);
}
