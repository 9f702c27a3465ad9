/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BYTES ((size_t)64 << 10) /* where the file does not say its length */

/* To the end of the file, in *buf of *room bytes, which grow. */
static int read_to_end(int fd, size_t most, uint8_t **buf, size_t room, size_t *len)
{
	for (*len = 0;;) {
		if (*len > most)
			return -EFBIG;
		if (*len == room) {
			uint8_t *more = realloc(*buf, 2 * room);

			if (!more)
				return -ENOMEM;
			*buf = more;
			room *= 2;
		}
		ssize_t n = read(fd, *buf + *len, room - *len);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		*len += n > 0 ? (size_t)n : 0;
	}
}

int file_read(const char *path, size_t most, uint8_t **bytes, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer */
	uint8_t *buf = NULL;
	struct stat st;
	size_t got = 0;
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -ENOTSUP;
	else if ((uint64_t)st.st_size > most)
		rc = -EFBIG;
	if (!rc) {
		size_t room = st.st_size ? (size_t)st.st_size + 1 : FIRST_BYTES; /* a byte more, to see the end at once */

		buf = malloc(room);
		rc = buf ? read_to_end(fd, most, &buf, room, &got) : -ENOMEM;
	}
	close(fd);
	if (rc) {
		free(buf);
		return rc;
	}
	*bytes = buf;
	*len = got;
	return 0;
}

const char *file_error(int err)
{
	switch (err) {
	case -ENOTSUP:
		return "it is not a regular file";
	case -EFBIG:
		return "it is too large to be one";
	default:
		return strerror(-err);
	}
}
