/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel files as a user may give them: damaged, truncated, or made to break the loader.
 *
 * The first byte of the input chooses: the rest as it is, or a sound file of one format that the rest changes, as
 * pairs (offset, 32-bit value), so that the deep checks are reached at once.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <stdlib.h>

#include "fuzz.h"
#include "vmm/boot.h"

#define RAM_BYTES  (8 * MIB)
#define FILE_BYTES 8192u
#define CANARY     0xa5

static void make_bzimage(uint8_t *file)
{
	struct setup_header h = {.setup_sects = 1, .boot_flag = 0xaa55, .jump = 0x6aeb, .header = 0x53726448, .version = 0x20f};

	h.xloadflags = XLF_KERNEL_64;
	h.initrd_addr_max = 0x7fffffff;
	h.kernel_alignment = 1 * MIB;
	h.relocatable_kernel = 1;
	h.cmdline_size = 255;
	h.pref_address = 2 * MIB;
	h.init_size = 1 * MIB;
	h.syssize = (FILE_BYTES - 1024) / 16;
	memcpy(file + 0x1f1, &h, sizeof(h));
}

static void make_elf(uint8_t *file, uint32_t note)
{
	Elf64_Ehdr h = {.e_machine = EM_X86_64, .e_phoff = sizeof(h), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2};
	Elf64_Phdr p[2] = {
		{.p_type = PT_LOAD, .p_offset = 4096, .p_vaddr = 2 * MIB, .p_paddr = 2 * MIB, .p_filesz = 4096, .p_memsz = 8192},
		{.p_type = PT_NOTE, .p_offset = 512, .p_filesz = 24, .p_align = 4},
	};
	const uint32_t words[6] = {4, 4, note, 0x006e6558 /* "Xen" */, 2 * MIB, 0};

	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_entry = 2 * MIB;
	memcpy(file, &h, sizeof(h));
	memcpy(file + sizeof(h), p, sizeof(p));
	memcpy(file + 512, words, sizeof(words));
}

static void make_multiboot(uint8_t *file, uint32_t flags)
{
	const uint32_t words[8] = {0x1badb002, flags,          0u - 0x1badb002 - flags, 2 * MIB + 1024,
				   2 * MIB,    2 * MIB + 4096, 2 * MIB + 8192,          2 * MIB};

	memcpy(file + 1024, words, sizeof(words));
}

static size_t make(struct fuzz_input *in, uint8_t *file)
{
	uint8_t kind = fuzz_u8(in) % 5;
	size_t len = FILE_BYTES;

	memset(file, 0, FILE_BYTES);
	switch (kind) {
	case 0:
		len = MIN(in->left, FILE_BYTES);
		fuzz_take(in, file, len);
		return len;
	case 1:
		make_bzimage(file);
		break;
	case 2:
		make_elf(file, 18);
		break;
	case 3:
		make_elf(file, 0);
		make_multiboot(file, 3);
		break;
	default:
		make_multiboot(file, 1u << 16 | 3);
		break;
	}
	while (in->left > 2) {
		uint16_t at;
		uint32_t value;

		fuzz_take(in, &at, sizeof(at));
		value = fuzz_u32(in);
		if (at < FILE_BYTES - sizeof(value))
			memcpy(file + at, &value, sizeof(value));
		else
			len = value % (FILE_BYTES + 1); /* a truncated file */
	}
	return len;
}

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void require_untouched(const uint8_t *ram, gpa_t from, gpa_t to)
{
	require(ram[from] == CANARY && memcmp(ram + from, ram + from + 1, to - from - 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t ram[RAM_BYTES]; /* only room: what counts of it is set below */
	static const struct memmap_spec spec[] = {{1, 4 * MIB}, {1, RAM_BYTES - 4 * MIB}};
	struct fuzz_input in = {data, size};
	uint8_t file[FILE_BYTES], initrd[64] = {0};
	struct boot_request request = {.cmdline = "console=ttyS0", .rsdp = 0xe0000};
	uint8_t *kernel;
	struct boot_entry entry;
	struct boot_why why = {""};
	struct memmap map;
	struct guestmem mem;
	size_t len = make(&in, file);

	/* A block of its own length, so that a read past its end is seen. */
	kernel = malloc(len ? len : 1);
	if (!kernel || memmap_build(spec, ARRAY_SIZE(spec), &map))
		abort();
	memset(ram, CANARY, 1 * MIB);
	memcpy(kernel, file, len);
	memmap_guestmem(&map, ram, &mem);
	request.kernel = (struct boot_file){"kernel", kernel, len};
	if (size & 1)
		request.initrd = (struct boot_file){"initrd", initrd, sizeof(initrd)};
	if (boot_try(&request, &map, &mem, &entry, &why)) {
		require(why.text[0] != 0);
	} else {
		struct kvm_sregs sregs = {0};
		struct kvm_regs regs;

		require(entry.kernel >= 1 * MIB && entry.kernel < entry.kernel_end && entry.kernel_end <= RAM_BYTES);
		require(entry.rip >= entry.kernel && entry.rip < entry.kernel_end);
		require(entry.initrd == 0 || (entry.initrd >= entry.kernel_end && entry.initrd_end <= RAM_BYTES));
		boot_regs(&entry, &sregs, &regs);
	}
	/* Only the places of boot.h's layout are written below 1 MiB. */
	require_untouched(ram, 0, 0x5000);
	require_untouched(ram, 0xf000, 0x20000);
	require_untouched(ram, 0x30000, 1 * MIB);
	free(kernel);
	return 0;
}
