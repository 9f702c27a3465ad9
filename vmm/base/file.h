/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files that a user names, into memory. Any thread; never waits for a writer. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/types.h"

/* Reads the regular file `path` to its end, also one of /proc, which does not say how long it is. *bytes is the caller's to free,
 * and not NULL also if *len is 0. -errno of the system; -ENOTSUP: not a regular file (a FIFO or a terminal might keep us waiting);
 * -EFBIG: more than `most` bytes. Logs nothing: file_error() is the reason, for a sentence that names the file. */
CHECKED int file_read(const char *path, size_t most, uint8_t **bytes, size_t *len);

/* "it is not a regular file", "it is too large", or what the system says. Of a thread, until its next call. */
const char *file_error(int err);

#endif
