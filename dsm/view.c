/* SPDX-License-Identifier: Apache-2.0 */
#include "dsm/view_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/log.h"

/* Debian 12's headers have these; an older C library may lack the wrappers for fsopen(2). */
#ifndef FSCONFIG_SET_STRING
#define FSCONFIG_SET_STRING 1
#endif
#ifndef FSCONFIG_CMD_CREATE
#define FSCONFIG_CMD_CREATE 6
#endif

#define WANTED_FEATURES \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP)

#define SEEN_AHEAD 32u /* pages a call of the kernel */

static uint64_t view_len(const struct view *view)
{
	return view->pages << PAGE_SHIFT;
}

/* A file in a tmpfs that is mounted nowhere, so that huge pages are ours alone to ask for and the host's
 * setting of shmem_enabled stays as it is. -errno where the kernel or our privileges do not allow it. */
static int open_huge_file(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", 1 /* FSOPEN_CLOEXEC */);
	int mnt = -1, fd = -1;

	if (fs < 0)
		return -errno;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "huge", "always", 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "100%", 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mnt = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	if (mnt >= 0)
		fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int err = fd < 0 ? -errno : fd;
	if (mnt >= 0)
		close(mnt); /* the open file keeps the file system */
	close(fs);
	return err;
}

/* *huge: all that is in it is huge pages or small ones. A memfd may get others, by the host's settings. */
static int open_file(uint64_t len, bool *huge)
{
	int fd = open_huge_file();

	*huge = fd >= 0;
	if (fd < 0)
		fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (fd < 0) {
		log_error("cannot create memory for guest RAM: %s", strerror(errno));
		return -errno;
	}
	if (ftruncate(fd, (off_t)len) < 0) {
		int err = -errno;

		log_error("cannot size guest RAM to %llu bytes: %s", (unsigned long long)len, strerror(-err));
		close(fd);
		return err;
	}
	return fd;
}

static int open_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && (errno == EPERM || errno == ENOSYS)) {
		int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

		if (dev >= 0) {
			fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
			close(dev);
		}
	}
	if (fd < 0) {
		int err = -errno;

		log_error("userfaultfd is not available: %s; run as root, or allow it: sysctl vm.unprivileged_userfaultfd=1",
			  strerror(-err));
		return err;
	}
	struct uffdio_api api = {.api = UFFD_API, .features = WANTED_FEATURES};
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		log_error("this kernel's userfaultfd cannot write-protect shared memory; Linux 6.1 or newer is needed");
		close(fd);
		return -ENOTSUP;
	}
	return fd;
}

/* Both views begin at a block boundary, or huge pages could not be mapped. */
static uint8_t *map_aligned(int fd, uint64_t len)
{
	uint8_t *area = mmap(NULL, len + BLOCK_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return NULL;
	uintptr_t start = ((uintptr_t)area + BLOCK_BYTES - 1) & ~(uintptr_t)(BLOCK_BYTES - 1);
	if (start > (uintptr_t)area)
		munmap(area, start - (uintptr_t)area);
	uint8_t *tail = (uint8_t *)start + len;
	uint8_t *end = area + len + BLOCK_BYTES;
	if (end > tail)
		munmap(tail, (size_t)(end - tail));
	uint8_t *p = mmap((void *)start, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static bool kernel_at_least(unsigned major, unsigned minor)
{
	struct utsname name;
	unsigned has[2] = {0};

	if (uname(&name) || sscanf(name.release, "%u.%u", &has[0], &has[1]) != 2)
		return false;
	return has[0] > major || (has[0] == major && has[1] >= minor);
}

int view_new(uint64_t pages, unsigned shards, struct view **out)
{
	struct view *view = calloc(1, sizeof(*view));
	bool huge;
	int rc = -ENOMEM;

	if (!view)
		return -ENOMEM;
	view->pages = pages;
	view->shards = shards;
	for (unsigned i = 0; i < SHARDS_MAX; i++)
		view->uffd[i] = -1;
	view->pagemap = shards ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) : -1;
	view->huge_again = kernel_at_least(6, 4);
	view->fd = open_file(view_len(view), &huge);
	if (view->fd < 0) {
		rc = view->fd;
		goto free_view;
	}
	view->guest = map_aligned(view->fd, view_len(view));
	view->service = map_aligned(view->fd, view_len(view));
	if (shards)
		view->scratch = mmap(NULL, shards * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!view->guest || !view->service || view->scratch == MAP_FAILED) {
		rc = -ENOMEM;
		log_error("cannot map %llu MiB of guest RAM twice: %s; check ulimit -v", (unsigned long long)(view_len(view) / MIB),
			  strerror(errno));
		goto free_view;
	}
	/* khugepaged of Linux before 6.4 fills the holes of a registered file range with a huge page of zeros: it may look at
	 * this file through the service view never, and through the guest view only where nothing is registered. */
	madvise(view->service, view_len(view), MADV_NOHUGEPAGE);
	/* A forked helper must not keep guest RAM alive, nor a core dump hold it. */
	madvise(view->guest, view_len(view), MADV_DONTFORK);
	madvise(view->service, view_len(view), MADV_DONTFORK);
	madvise(view->guest, view_len(view), MADV_DONTDUMP);
	madvise(view->service, view_len(view), MADV_DONTDUMP);
	for (unsigned i = 0; i < shards; i++) {
		view->uffd[i] = open_uffd();
		if (view->uffd[i] < 0) {
			rc = view->uffd[i];
			goto free_view;
		}
	}
	view->splits = huge && shards && view_finds_split(view);
	*out = view;
	return 0;

free_view:
	view_free(view);
	return rc;
}

void view_free(struct view *view)
{
	if (!view)
		return;
	for (unsigned i = 0; i < view->shards; i++)
		if (view->uffd[i] >= 0)
			close(view->uffd[i]);
	if (view->guest)
		munmap(view->guest, view_len(view));
	if (view->service)
		munmap(view->service, view_len(view));
	if (view->scratch && view->scratch != MAP_FAILED)
		munmap(view->scratch, view->shards * BLOCK_BYTES);
	if (view->pagemap >= 0)
		close(view->pagemap);
	if (view->fd >= 0)
		close(view->fd);
	free(view);
}

uint8_t *view_guest(const struct view *view)
{
	return view->guest;
}

const uint8_t *view_bytes(const struct view *view, rpn_t page)
{
	return view->service + (page << PAGE_SHIFT);
}

int view_peek(const struct view *view, uint64_t at, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len) {
		ssize_t n = pread(view->fd, to, len, (off_t)at);

		if (n <= 0 && (n == 0 || errno != EINTR))
			return n == 0 ? -EIO : -errno;
		if (n > 0) {
			to += n;
			at += (uint64_t)n;
			len -= (size_t)n;
		}
	}
	return 0;
}

rpn_t view_next(const struct view *view, rpn_t page)
{
	off_t at = lseek(view->fd, (off_t)(page << PAGE_SHIFT), SEEK_DATA);

	return at < 0 ? RPN_NONE : (rpn_t)at >> PAGE_SHIFT;
}

uint64_t view_resident_bytes(const struct view *view)
{
	struct stat st;

	return fstat(view->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

unsigned view_shard(const struct view *view, rpn_t page)
{
	return (unsigned)(page / BLOCK_PAGES % view->shards);
}

int view_fd(const struct view *view, unsigned shard)
{
	return view->uffd[shard];
}

int view_error(const char *what, rpn_t page, int err)
{
	log_error("%s of guest RAM page %llu failed: %s", what, (unsigned long long)page, strerror(err));
	return -err;
}

uint64_t view_guest_addr(const struct view *view, rpn_t page)
{
	return (uint64_t)(uintptr_t)view->guest + (page << PAGE_SHIFT);
}

int view_register_range(struct view *view, rpn_t first, uint64_t len, uint64_t mode)
{
	struct uffdio_register reg = {.range = {.start = view_guest_addr(view, first), .len = len}, .mode = mode};

	if (madvise(view->guest + (first << PAGE_SHIFT), len, MADV_NOHUGEPAGE) < 0 && errno != EINVAL) /* EINVAL: built without */
		return view_error("keeping huge pages out", first, errno);
	if (ioctl(view->uffd[view_shard(view, first)], UFFDIO_REGISTER, &reg) == 0)
		return 0;
	int err = errno;
	if (err == ENOMEM)
		log_error("the kernel may allow no more memory areas to this process; raise them: sysctl -w "
			  "vm.max_map_count=1000000");
	return view_error("userfaultfd registration", first, err);
}

int view_register(struct view *view, rpn_t first, uint64_t pages)
{
	/* With one shard neighbouring blocks share a descriptor: one call, one memory area. */
	if (view->shards == 1 && pages)
		return view_register_range(view, first, pages << PAGE_SHIFT, REGISTERED);
	for (rpn_t p = first; p < first + pages; p += BLOCK_PAGES) {
		int rc = view_register_range(view, p, BLOCK_BYTES, REGISTERED);

		if (rc)
			return rc;
	}
	return 0;
}

bool view_all_zero(const uint8_t *bytes, size_t len)
{
	uint64_t w[8];

	for (size_t at = 0; at < len; at += sizeof(w)) {
		memcpy(w, bytes + at, sizeof(w)); /* loads, no call */
		if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
			return false;
	}
	return true;
}

static bool is_in(const struct run *run, rpn_t page)
{
	return run->first <= page && page < run->end;
}

/* What is known of these pages is true no more. */
static void cut(struct run *run, rpn_t page, uint64_t len)
{
	if (page < run->end && run->first < page + (len >> PAGE_SHIFT))
		run->end = run->first;
}

void view_not_protected(struct view *view, rpn_t page, uint64_t len)
{
	cut(&view->protected[view_shard(view, page)], page, len);
}

int view_write_protect(struct view *view, rpn_t page, uint64_t len, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = {.start = view_guest_addr(view, page), .len = len},
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	view_not_protected(view, page, len);
	/* EAGAIN: the address space is changing under us (a fork or munmap elsewhere in it); it passes. */
	for (int tries = 0; ioctl(view->uffd[view_shard(view, page)], UFFDIO_WRITEPROTECT, &wp) < 0; tries++)
		if (errno != EAGAIN || tries > 1000)
			return view_error(on ? "write-protecting" : "unprotecting", page, errno);
	return 0;
}

int view_punch(struct view *view, rpn_t page, uint64_t len)
{
	if (view->shards) /* else nothing is registered, and view_reset's is the only call */
		cut(&view->filled[view_shard(view, page)], page, len);
	while (fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page << PAGE_SHIFT), (off_t)len) < 0)
		if (errno != EINTR)
			return view_error("dropping", page, errno);
	return 0;
}

/* The kernel copies page by page and says how far it came. */
int view_copy_in(struct view *view, rpn_t page, const uint8_t *bytes, uint64_t len, bool writable, bool wake)
{
	struct uffdio_copy copy = {
		.dst = view_guest_addr(view, page),
		.src = (uint64_t)(uintptr_t)bytes,
		.len = len,
		.mode = (writable ? 0 : UFFDIO_COPY_MODE_WP) | (wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE),
	};

	view_not_protected(view, page, len);
	while (copy.len) {
		copy.copy = 0;
		if (ioctl(view->uffd[view_shard(view, page)], UFFDIO_COPY, &copy) == 0)
			return 0;
		if (errno != EAGAIN)
			return errno == EEXIST ? -EEXIST : view_error("installing", page, errno);
		if (copy.copy > 0) {
			copy.dst += (uint64_t)copy.copy;
			copy.src += (uint64_t)copy.copy;
			copy.len -= (uint64_t)copy.copy;
		}
	}
	return 0;
}

int view_install(struct view *view, rpn_t page, unsigned n, const uint8_t *bytes, bool writable, bool wake)
{
	static const uint8_t zeros[PAGE_BYTES];
	int rc = view_copy_in(view, page, bytes ? bytes : zeros, (uint64_t)n << PAGE_SHIFT, writable, wake);

	return rc == -EEXIST ? view_error("installing", page, EEXIST) : rc;
}

int view_map(struct view *view, rpn_t page, bool writable, bool protected_page)
{
	static const uint8_t zeros[PAGE_BYTES];

	if (protected_page)
		return writable ? view_unprotect(view, page) : view_wake(view, page);
	int rc = view_copy_in(view, page, zeros, PAGE_BYTES, writable, true);
	return rc == -EEXIST ? view_wake(view, page) : rc;
}

int view_map_around(struct view *view, rpn_t page, unsigned n)
{
	static const uint8_t zeros[VIEW_AROUND * PAGE_BYTES];
	int rc = view_copy_in(view, page, zeros, (uint64_t)n << PAGE_SHIFT, true, true);

	return rc == -EEXIST ? view_wake(view, page) : rc;
}

int view_load(const struct view *view, rpn_t page, unsigned n, uint8_t *bytes, uint32_t *zero)
{
	int rc = view_peek(view, page << PAGE_SHIFT, bytes, (size_t)n << PAGE_SHIFT);

	if (rc)
		return view_error("reading", page, -rc);
	*zero = 0;
	for (unsigned i = 0; i < n; i++)
		*zero |= (uint32_t)view_all_zero(bytes + i * PAGE_BYTES, PAGE_BYTES) << i;
	return 0;
}

bool view_is_hole(const struct view *view, rpn_t page)
{
	off_t at = (off_t)(page << PAGE_SHIFT);

	return lseek(view->fd, at, SEEK_DATA) != at;
}

bool view_seems_hole(struct view *view, rpn_t page)
{
	struct run *filled = &view->filled[view_shard(view, page)];
	unsigned char in_file[SEEN_AHEAD];
	rpn_t end = MIN((page | (BLOCK_PAGES - 1)) + 1, page + SEEN_AHEAD);

	if (is_in(filled, page))
		return false;
	/* Of a range that is not mapped the kernel says what is in the file. */
	if (mincore(view->service + (page << PAGE_SHIFT), (end - page) << PAGE_SHIFT, in_file) || !(in_file[0] & 1))
		return view_is_hole(view, page);
	*filled = (struct run){.first = page, .end = page + 1};
	while (filled->end < end && in_file[filled->end - page] & 1)
		filled->end++;
	return false;
}

void view_exchange(struct view *view, rpn_t page, size_t at, uint64_t old, uint64_t new)
{
	uint64_t *word = (uint64_t *)(void *)(view->service + (page << PAGE_SHIFT) + at);

	__atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

int view_protect(struct view *view, rpn_t page, unsigned n)
{
	int rc = view_write_protect(view, page, (uint64_t)n << PAGE_SHIFT, true);

	if (!rc)
		view->protected[view_shard(view, page)] = (struct run){.first = page, .end = page + n};
	return rc;
}

bool view_is_protected(const struct view *view, rpn_t page)
{
	return is_in(&view->protected[view_shard(view, page)], page);
}

int view_unprotect(struct view *view, rpn_t page)
{
	return view_write_protect(view, page, PAGE_BYTES, false);
}

int view_drop(struct view *view, rpn_t page)
{
	return view_punch(view, page, PAGE_BYTES);
}

int view_wake(struct view *view, rpn_t page)
{
	struct uffdio_range range = {.start = view_guest_addr(view, page), .len = PAGE_BYTES};

	return ioctl(view->uffd[view_shard(view, page)], UFFDIO_WAKE, &range) < 0 ? view_error("waking", page, errno) : 0;
}

int view_rest(struct view *view, rpn_t first, uint64_t pages)
{
	/* A write-protection stays, in a marker of the page table (Linux 5.19). */
	if (madvise(view->guest + (first << PAGE_SHIFT), pages << PAGE_SHIFT, MADV_DONTNEED) < 0)
		return view_error("unmapping", first, errno);
	return 0;
}

int view_used(const struct view *view, rpn_t first, uint64_t used[BLOCK_PAGES / 64])
{
	uint64_t entry[BLOCK_PAGES];
	off_t at = (off_t)(view_guest_addr(view, first) >> PAGE_SHIFT) * (off_t)sizeof(entry[0]);

	memset(used, 0, BLOCK_PAGES / 8);
	if (view->pagemap < 0)
		return 0;
	if (pread(view->pagemap, entry, sizeof(entry), at) != (ssize_t)sizeof(entry))
		return view_error("looking for accesses", first, errno);
	for (size_t i = 0; i < BLOCK_PAGES; i++)
		used[i / 64] |= (entry[i] >> 63) << i % 64; /* bit 63: present */
	return 0;
}

void view_trim(struct view *view)
{
	madvise(view->service, view_len(view), MADV_DONTNEED);
}

unsigned view_faults(struct view *view, unsigned shard, struct view_fault fault[VIEW_FAULTS])
{
	struct uffd_msg msg[VIEW_FAULTS];
	ssize_t bytes =
		read(view->uffd[shard], msg, sizeof(msg)); /* EAGAIN, EINTR: none now, or the next epoll_wait says so again */
	unsigned n = 0;

	for (size_t i = 0; bytes > 0 && i < (size_t)bytes / sizeof(msg[0]); i++) {
		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		fault[n].page = (msg[i].arg.pagefault.address - (uint64_t)(uintptr_t)view->guest) >> PAGE_SHIFT;
		fault[n].protected_page = msg[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP;
		fault[n].write = fault[n].protected_page || (msg[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE);
		n++;
	}
	return n;
}

int view_reset(struct view *view)
{
	struct uffdio_range all = {.start = (uint64_t)(uintptr_t)view->guest, .len = view_len(view)};

	/* A memory area belongs to one descriptor; those of another make the call fail half-way, so block by block. */
	for (unsigned i = 0; i < view->shards; i++) {
		if (view->shards == 1) {
			if (ioctl(view->uffd[0], UFFDIO_UNREGISTER, &all) < 0)
				return view_error("unregistering", 0, errno);
			break;
		}
		for (rpn_t p = (rpn_t)i * BLOCK_PAGES; p < view->pages; p += (rpn_t)view->shards * BLOCK_PAGES) {
			struct uffdio_range one = {.start = view_guest_addr(view, p), .len = BLOCK_BYTES};

			if (ioctl(view->uffd[i], UFFDIO_UNREGISTER, &one) < 0)
				return view_error("unregistering", p, errno);
		}
	}
	memset(view->protected, 0, sizeof(view->protected));
	memset(view->filled, 0, sizeof(view->filled));
	madvise(view->guest, view_len(view), MADV_HUGEPAGE);
	return view_punch(view, 0, view_len(view));
}
