/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpl3: measures page faults from guest user mode (CPL 3, long mode), without a kernel.
 *
 * For hosts whose KVM runs guest user mode natively and emulates guest kernel mode. Options, on the kernel command line:
 *   first=ADDR   guest-physical address of the first page to touch (16M); below 8G, above 2M
 *   pages=N      how many (256, at most 65536)     stride=BYTES  from one to the next (4096)
 *   order=seq|random (random)                      mode=read|write (read): without ap, the first touch
 *   ap=ID        APIC id of a second CPU, which writes the pages before each measurement (none)
 *   turns=N      with ap: turns of the ping-pong (1000)
 *   khz=N        the TSC's rate: results in ns; without it in cycles. pangea run gives it to every guest as tsc_early_khz
 * Sizes take K, M, G.
 *
 * Prints, one line each:  cpl3 NAME p50=.. p99=.. min=.. max=.. n=.. cycles|ns
 *   loop           cycles of 1000 rounds of an empty loop: tells whether CPL 3 is native
 *   without ap     fault-read: first read of each page, by a CPU that never had it; fault-upgrade: then a write.
 *                  mode=write: fault-write, the first touch is a write
 *   with ap        fault-read: pages that the other CPU wrote last; fault-upgrade: then a write; fault-write: the other CPU
 *                  wrote them again. Read data is checked. `cpl3 pingpong per-turn=.. n=..`: one page written in turn
 *   hit-read       the same touches on pages that are there: the floor
 * then "cpl3 done" and EXIT_OK; else a line that says why, and EXIT_USAGE, EXIT_DATA, EXIT_NO_CPU or EXIT_EXCEPTION.
 */
#include "guest64.h"

#define MAX_PAGES     65536u
#define TOP           (UINT64_C(8) << 30)
#define TRAMPOLINE    0x2000u
#define LAPIC         UINT64_C(0xfee00000)
#define START_TIMEOUT (UINT64_C(1) << 34) /* cycles: some 5 s */
#define TURN_TIMEOUT  (UINT64_C(1) << 37) /* some 40 s */

enum command { IDLE, WRITE_ALL, PINGPONG };

struct descriptor_table_entry {
	uint64_t low, high;
};

struct tss {
	uint32_t reserved;
	uint64_t rsp0;
	uint8_t rest[92];
} __attribute__((packed));

/* Each on a page of its own: a CPU that waits reads its copy and moves nothing. */
struct mailbox {
	_Alignas(4096) volatile uint64_t command; /* enum command; bsp writes */
	volatile uint64_t tag;
	_Alignas(4096) volatile uint64_t done; /* how many commands the second CPU has finished, plus 1 when it is up */
	_Alignas(4096) volatile uint64_t turn;
	_Alignas(4096) uint8_t end;
};

extern uint64_t gdt[];
extern uint8_t exception_stubs[], kernel_stack0_top[], kernel_stack1_top[], trampoline[], trampoline_end[];
struct descriptor_table_entry idt[32];

void guest_main(uint32_t info, uint32_t magic);
void user_main(uint32_t cpu);
void exception(const uint64_t *frame, uint64_t cr2);

static struct tss tss[2];
static struct mailbox mailbox;
static uint32_t order[MAX_PAGES];
static uint64_t samples[MAX_PAGES];
static uint64_t first = 16 << 20, pages = 256, stride = 4096, ap = UINT64_MAX, turns = 1000, khz;
static bool in_order, write_first;
static const char *usage; /* the option that is wrong */

void exception(const uint64_t *frame, uint64_t cr2)
{
	put("cpl3: exception ");
	put_number(frame[0], 10);
	put(", frame 0x");
	put_number(frame[1], 16);
	put(" 0x");
	put_number(frame[2], 16);
	put(" 0x");
	put_number(frame[3], 16);
	put(", cr2 0x");
	put_number(cr2, 16);
	put("\n");
	quit(EXIT_EXCEPTION);
}

/* At CPL 0, before anything else. */

static bool is_word(const char *s, const char *word)
{
	while (*word)
		if (*s++ != *word++)
			return false;
	return !*s || *s == ' ';
}

static void parse_option(const char *s)
{
	static const struct {
		char name[16];
		uint64_t *value;
	} numbers[] = {{"first", &first}, {"pages", &pages}, {"stride", &stride},    {"ap", &ap},
		       {"turns", &turns}, {"khz", &khz},     {"tsc_early_khz", &khz}};
	const char *v;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if ((v = value_of(s, numbers[i].name))) {
			if (!read_size(v, numbers[i].value))
				usage = s;
			return;
		}
	if ((v = value_of(s, "order")) && (is_word(v, "seq") || is_word(v, "random")))
		in_order = is_word(v, "seq");
	else if ((v = value_of(s, "mode")) && (is_word(v, "read") || is_word(v, "write")))
		write_first = is_word(v, "write");
	else if (value_of(s, "order") || value_of(s, "mode"))
		usage = s;
	/* A word that is none of ours is the loader's (QEMU puts the file's name first). */
}

static void parse(const char *s)
{
	while (*s) {
		while (*s == ' ')
			s++;
		parse_option(s);
		while (*s && *s != ' ')
			s++;
	}
	if (!usage && (!pages || pages > MAX_PAGES))
		usage = "pages: 1 to 65536";
	if (!usage && (first < 2 << 20 || first >= TOP || stride < 8 || stride > TOP || first + stride * pages > TOP))
		usage = "first, pages, stride: must stay in [2M, 8G)";
	if (!usage && ap != UINT64_MAX && ap > 254)
		usage = "ap: an APIC id below 255";
}

static void set_tss(unsigned cpu, const uint8_t *stack)
{
	uint64_t at = (uint64_t)(uintptr_t)&tss[cpu], *d = &gdt[7 + 2 * cpu];

	tss[cpu].rsp0 = (uint64_t)(uintptr_t)stack;
	d[0] = (sizeof(struct tss) - 1) | (at & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (at >> 24 & 0xff) << 56;
	d[1] = at >> 32;
}

void guest_main(uint32_t info, uint32_t magic)
{
	const char *cmdline = command_line(info, magic);

	for (unsigned i = 0; i < 32; i++) {
		uint64_t at = (uint64_t)(uintptr_t)exception_stubs + 16 * i;
		/* 64-bit interrupt gate, selector 8, DPL 0 */
		idt[i].low = (at & 0xffff) | 0x08 << 16 | UINT64_C(0x8e00) << 32 | (at >> 16 & 0xffff) << 48;
		idt[i].high = at >> 32;
	}
	set_tss(0, kernel_stack0_top);
	set_tss(1, kernel_stack1_top);
	if (cmdline)
		parse(cmdline);
	if (ap != UINT64_MAX)
		for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
			((volatile uint8_t *)(uintptr_t)TRAMPOLINE)[i] = trampoline[i];
}

/* From here on at CPL 3. */

static volatile uint64_t *word_of(uint64_t page)
{
	return (volatile uint64_t *)(uintptr_t)(first + page * stride);
}

static void lapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)(LAPIC + reg) = value;
}

static void wait_cycles(uint64_t n)
{
	uint64_t end = tsc() + n;

	while (tsc() < end)
		__asm__ volatile("pause");
}

/* INIT, SIPI, SIPI (Intel SDM vol. 3A section 8.4.4.1); the waits are generous, the TSC's rate unknown. */
static void start_cpu(void)
{
	lapic_write(0xf0, 0x1ff);
	lapic_write(0x310, (uint32_t)ap << 24);
	lapic_write(0x300, 0x4500);
	wait_cycles(50000000);
	for (int i = 0; i < 2 && !mailbox.done; i++) {
		lapic_write(0x310, (uint32_t)ap << 24);
		lapic_write(0x300, 0x4600 | TRAMPOLINE >> 12);
		wait_cycles(10000000);
	}
	for (uint64_t end = tsc() + START_TIMEOUT; !mailbox.done;)
		if (tsc() > end) {
			put("cpl3: the second CPU did not start\n");
			quit(EXIT_NO_CPU);
		}
}

/* Has the second CPU do it; returns without waiting. */
static uint64_t post(enum command command, uint64_t tag)
{
	uint64_t before = mailbox.done;

	mailbox.tag = tag;
	mailbox.command = (uint64_t)command | before << 8;
	return before + 1;
}

static void await(uint64_t done)
{
	for (uint64_t end = tsc() + TURN_TIMEOUT; mailbox.done < done;) {
		__asm__ volatile("pause");
		if (tsc() > end) {
			put("cpl3: the second CPU does not answer\n");
			quit(EXIT_NO_CPU);
		}
	}
}

static void play(uint64_t parity)
{
	for (uint64_t i = 0; i < turns; i++) {
		while (mailbox.turn != 2 * i + parity)
			__asm__ volatile("pause");
		mailbox.turn = 2 * i + parity + 1;
	}
}

__attribute__((noreturn)) static void second_cpu(void)
{
	uint64_t last = 0;

	for (uint64_t n = 1;; n++) {
		mailbox.done = n;
		while (mailbox.command == last)
			__asm__ volatile("pause");
		last = mailbox.command;
		if ((last & 0xff) == WRITE_ALL)
			for (uint64_t i = 0; i < pages; i++)
				*word_of(i) = mailbox.tag + i;
		else if ((last & 0xff) == PINGPONG)
			play(1);
	}
}

static void report(const char *name, uint64_t n)
{
	put("cpl3 ");
	put(name);
	put_samples(samples, n, khz);
}

/* Touches each page once and reports. Written values are tag + page; read ones are checked unless tag is 0. */
static void touch_all(const char *name, bool write, uint64_t tag)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = order[i], value = 0;
		volatile uint64_t *w = word_of(page);
		uint64_t begin = tsc();
		if (write)
			*w = tag + page;
		else
			value = *w;
		samples[i] = tsc() - begin;
		wrong += !write && tag && value != tag + page;
	}
	report(name, pages);
	if (wrong) {
		put("cpl3: pages with other data than was written: ");
		put_number(wrong, 10);
		put("\n");
		quit(EXIT_DATA);
	}
}

static void measure_loop(void)
{
	for (unsigned i = 0; i < 300; i++) {
		uint64_t begin = tsc();
		for (unsigned j = 0; j < 1000; j++)
			__asm__ volatile("");
		samples[i] = tsc() - begin;
	}
	report("loop", 300);
}

static void make_order(void)
{
	uint64_t seed = 88172645463325252u;

	for (uint64_t i = 0; i < pages; i++) {
		order[i] = (uint32_t)i;
		samples[i] = 1; /* faults these pages in, too */
	}
	for (uint64_t i = pages; !in_order && i > 1; i--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		uint64_t j = seed % i;
		uint32_t tmp = order[i - 1];
		order[i - 1] = order[j];
		order[j] = tmp;
	}
}

static void with_second_cpu(void)
{
	start_cpu();
	await(post(WRITE_ALL, 1000));
	touch_all("fault-read", false, 1000);
	touch_all("fault-upgrade", true, 2000000);
	await(post(WRITE_ALL, 3000000));
	touch_all("fault-write", true, 4000000);
	touch_all("hit-read", false, 4000000);
	if (!turns)
		return;
	mailbox.turn = 0;
	uint64_t done = post(PINGPONG, 0), begin = tsc();
	play(0);
	await(done);
	put("cpl3 pingpong");
	put_time(" per-turn=", (tsc() - begin) / (2 * turns), khz);
	put(" n=");
	put_number(2 * turns, 10);
	put(khz ? " ns\n" : " cycles\n");
}

void user_main(uint32_t cpu)
{
	if (cpu)
		second_cpu();
	if (usage) {
		put("cpl3: bad option: ");
		put(usage);
		put("\n");
		quit(EXIT_USAGE);
	}
	make_order();
	measure_loop();
	if (ap != UINT64_MAX) {
		with_second_cpu();
	} else if (write_first) {
		touch_all("fault-write", true, 1000);
		touch_all("hit-read", false, 1000);
	} else {
		touch_all("fault-read", false, 0);
		touch_all("fault-upgrade", true, 1000);
		touch_all("hit-read", false, 1000);
	}
	put("cpl3 done\n");
	quit(EXIT_OK);
}
