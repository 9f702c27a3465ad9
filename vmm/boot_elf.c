/* SPDX-License-Identifier: Apache-2.0 */
/* ELF: System V ABI, chapters 4 and 5. PVH: Xen docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h. */
#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "vmm/boot_loader.h"

#define SEGMENTS_MAX 128u

/* Elf32_Phdr or Elf64_Phdr. */
struct segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

bool elf_probe(const struct boot_file *kernel)
{
	return kernel->len >= SELFMAG && memcmp(kernel->bytes, ELFMAG, SELFMAG) == 0;
}

/* [offset, offset + len) is inside the file. */
static bool inside(const struct boot_file *file, uint64_t offset, uint64_t len)
{
	return offset <= file->len && len <= file->len - offset;
}

int elf_open(const struct boot_loader *loader, struct elf_image *image)
{
	const struct boot_file *k = &loader->request->kernel;
	uint16_t machine, phentsize;
	struct elf_image e = {.file = k};

	if (k->len <= EI_DATA)
		return boot_fail(loader, k, ENOEXEC, "is an ELF, but truncated: it has %zu bytes; copy it again", k->len);
	e.is64 = k->bytes[EI_CLASS] == ELFCLASS64;
	if (k->len < (e.is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
		return boot_fail(loader, k, ENOEXEC, "is an ELF, but truncated: it has %zu bytes; copy it again", k->len);
	if (e.is64) {
		Elf64_Ehdr h;

		memcpy(&h, k->bytes, sizeof(h));
		machine = h.e_machine;
		phentsize = h.e_phentsize;
		e.phoff = h.e_phoff;
		e.phnum = h.e_phnum;
		e.entry = h.e_entry;
	} else {
		Elf32_Ehdr h;

		memcpy(&h, k->bytes, sizeof(h));
		machine = h.e_machine;
		phentsize = h.e_phentsize;
		e.phoff = h.e_phoff;
		e.phnum = h.e_phnum;
		e.entry = h.e_entry;
	}
	if (k->bytes[EI_DATA] != ELFDATA2LSB || (machine != EM_X86_64 && machine != EM_386))
		return boot_fail(loader, k, ENOEXEC, "is an ELF for another processor (machine %u), not for x86", machine);
	if (e.phnum == 0)
		return boot_fail(loader, k, ENOEXEC,
				 "is an ELF without program headers: give the linked kernel, not an object file");
	if (e.phnum > SEGMENTS_MAX || phentsize != (e.is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return boot_fail(loader, k, ENOEXEC, "is a damaged ELF: it says %u program headers of %u bytes", e.phnum,
				 phentsize);
	if (!inside(k, e.phoff, (uint64_t)e.phnum * phentsize))
		return boot_fail(loader, k, ENOEXEC,
				 "is an ELF, but truncated: its program headers are behind its end; copy it again");
	*image = e;
	return 0;
}

static struct segment segment(const struct elf_image *image, unsigned i)
{
	const uint8_t *at = image->file->bytes + image->phoff + i * (image->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));

	if (image->is64) {
		Elf64_Phdr p;

		memcpy(&p, at, sizeof(p));
		return (struct segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
	} else {
		Elf32_Phdr p;

		memcpy(&p, at, sizeof(p));
		return (struct segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
	}
}

int elf_load_segments(const struct boot_loader *loader, const struct elf_image *image)
{
	struct boot_entry *entry = loader->entry;
	uint64_t total = 0;

	entry->kernel = UINT64_MAX;
	entry->kernel_end = 0;
	for (unsigned i = 0; i < image->phnum; i++) {
		struct segment s = segment(image, i);
		int rc;

		if (s.type != PT_LOAD || s.memsz == 0)
			continue;
		if (s.filesz > s.memsz)
			return boot_fail(loader, image->file, ENOEXEC,
					 "is a damaged ELF: segment %u is larger in the file than in memory", i);
		if (!inside(image->file, s.offset, s.filesz))
			return boot_fail(loader, image->file, ENOEXEC,
					 "is an ELF, but truncated: segment %u is behind its end; copy it again", i);
		rc = boot_room(loader, "segments", s.paddr, s.memsz);
		if (rc)
			return rc;
		/* Segments that do not overlap cannot be more than the RAM; this bounds what a damaged file makes us write. */
		total += s.memsz;
		if (total > loader->low_end)
			return boot_fail(loader, image->file, ENOEXEC, "is a damaged ELF: its segments overlap");
		rc = boot_write(loader, s.paddr, image->file->bytes + s.offset, s.filesz);
		if (!rc)
			rc = boot_zero(loader, s.paddr + s.filesz, s.memsz - s.filesz);
		if (rc)
			return rc;
		entry->kernel = MIN(entry->kernel, s.paddr);
		entry->kernel_end = MAX(entry->kernel_end, s.paddr + s.memsz);
	}
	if (entry->kernel_end == 0)
		return boot_fail(loader, image->file, ENOEXEC, "is an ELF without anything to load");
	return 0;
}

uint64_t elf_physical(const struct elf_image *image, uint64_t address)
{
	for (unsigned i = 0; i < image->phnum; i++) {
		struct segment s = segment(image, i);

		if (s.type == PT_LOAD && address >= s.vaddr && address - s.vaddr < s.memsz)
			return address - s.vaddr + s.paddr;
	}
	return address;
}

#define NOTE_PHYS32_ENTRY 18u /* XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h */

static uint64_t round_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

/* A note is three words (name size, descriptor size, type), the name and the descriptor, each padded to the segment's alignment. */
static bool find_note(const struct elf_image *image, const struct segment *s, uint64_t *entry)
{
	const uint8_t *notes = image->file->bytes + s->offset;
	uint64_t align = s->align == 8 ? 8 : 4;
	Elf64_Nhdr n; /* the same as Elf32_Nhdr */

	for (uint64_t at = 0; at <= s->filesz && s->filesz - at >= sizeof(n);) {
		uint64_t name, desc;

		memcpy(&n, notes + at, sizeof(n));
		name = at + sizeof(n);
		desc = name + round_up(n.n_namesz, align); /* sizes are 32-bit: no sum here wraps */
		if (desc > s->filesz || n.n_descsz > s->filesz - desc)
			return false;
		if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == sizeof("Xen") &&
		    memcmp(notes + name, "Xen", sizeof("Xen")) == 0 && (n.n_descsz == 4 || n.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, notes + desc, n.n_descsz);
			return true;
		}
		at = desc + round_up(n.n_descsz, align);
	}
	return false;
}

bool pvh_entry(const struct elf_image *image, uint64_t *entry)
{
	for (unsigned i = 0; i < image->phnum; i++) {
		struct segment s = segment(image, i);

		if (s.type == PT_NOTE && inside(image->file, s.offset, s.filesz) && find_note(image, &s, entry))
			return true;
	}
	return false;
}

bool elf_cut_short(const struct elf_image *image, unsigned *which)
{
	for (unsigned i = 0; i < image->phnum; i++) {
		struct segment s = segment(image, i);

		if (!inside(image->file, s.offset, s.filesz)) {
			*which = i;
			return true;
		}
	}
	return false;
}

/* start_info.h, version 1. */
#define START_MAGIC 0x336ec578u
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp, memory_map;
	uint32_t memory_map_entries, reserved;
};
struct module {
	uint64_t address, bytes, cmdline, reserved;
};
struct memory_map_entry {
	uint64_t address, bytes;
	uint32_t type, reserved;
};
static_assert(sizeof(struct start_info) == 56 && sizeof(struct module) == 32 && sizeof(struct memory_map_entry) == 24,
	      "start_info.h");

int pvh_load(const struct boot_loader *loader, const struct elf_image *image, uint64_t at)
{
	struct {
		struct start_info start;
		struct module module;
		struct memory_map_entry map[MEMMAP_E820_MAX];
	} info;
	struct memmap_e820 e820[MEMMAP_E820_MAX];
	struct boot_entry *entry = loader->entry;
	size_t n = memmap_e820(loader->map, e820);
	int rc = elf_load_segments(loader, image);

	static_assert(sizeof(info) <= PAGE_BYTES, "BOOT_INFO is a page");
	if (rc)
		return rc;
	if (at < entry->kernel || at >= entry->kernel_end)
		return boot_fail(loader, image->file, ENOEXEC, "is a damaged ELF: its PVH entry %#llx is in no segment",
				 (unsigned long long)at);
	rc = boot_put_cmdline(loader, UINT64_MAX);
	if (!rc)
		rc = boot_put_initrd(loader, loader->low_end);
	if (rc)
		return rc;

	memset(&info, 0, sizeof(info));
	info.start.magic = START_MAGIC;
	info.start.version = 1;
	info.start.cmdline = BOOT_CMDLINE;
	info.start.rsdp = loader->request->rsdp;
	info.start.memory_map = BOOT_INFO + ((uint8_t *)info.map - (uint8_t *)&info);
	info.start.memory_map_entries = (uint32_t)n;
	for (size_t i = 0; i < n; i++)
		info.map[i] =
			(struct memory_map_entry){.address = e820[i].gpa, .bytes = e820[i].len, .type = (uint32_t)e820[i].kind};
	if (entry->initrd_end) {
		info.start.modules = 1;
		info.start.module_list = BOOT_INFO + ((uint8_t *)&info.module - (uint8_t *)&info);
		info.module = (struct module){.address = entry->initrd, .bytes = entry->initrd_end - entry->initrd};
	}
	entry->mode = BOOT_PROT32;
	entry->format = "PVH";
	entry->rip = at;
	entry->rbx = BOOT_INFO;
	return boot_write(loader, BOOT_INFO, &info, sizeof(info));
}
