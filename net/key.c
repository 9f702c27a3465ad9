/* SPDX-License-Identifier: Apache-2.0 */
#include "net/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#define TEXT_BYTES (2 * KEY_BYTES + 1) /* with the newline */

int key_default_path(char *path)
{
	static const char system_path[] = "/etc/pangea/key";
	const char *given = getenv("PANGEA_KEY");
	const char *home = getenv("HOME");
	int n;

	if (given && *given)
		n = snprintf(path, KEY_PATH_BYTES, "%s", given);
	else if (home && *home)
		n = snprintf(path, KEY_PATH_BYTES, "%s/.config/pangea/key", home);
	else
		n = snprintf(path, KEY_PATH_BYTES, "%s", system_path);
	if (n < 0 || n >= KEY_PATH_BYTES)
		return -ENAMETOOLONG;
	if (!(given && *given) && access(path, F_OK) && access(system_path, F_OK) == 0)
		snprintf(path, KEY_PATH_BYTES, "%s", system_path);
	return 0;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int key_parse(const char *text, size_t len, uint8_t key[KEY_BYTES])
{
	uint8_t in[KEY_BYTES];

	/* The newline may be missing: an editor or a copy may have dropped it. */
	if (len == TEXT_BYTES && text[len - 1] == '\n')
		len--;
	if (len != TEXT_BYTES - 1)
		return -EINVAL;
	for (size_t i = 0; i < KEY_BYTES; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		in[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(key, in, sizeof(in));
	explicit_bzero(in, sizeof(in));
	return 0;
}

/* Makes the directories above a file, each 0700 if it was not there. */
static int make_parents(const char *path)
{
	char dir[KEY_PATH_BYTES];

	if ((size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir))
		return -ENAMETOOLONG;
	for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(dir, 0700) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

/* Creates a file, which must not be there, with the text and on the disk. */
static int write_new(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t done;
	int err = 0;

	if (fd < 0)
		return -errno;
	/* The umask can only take bits away from 0600; give back what it took. */
	done = write(fd, text, len);
	if (done < 0 || fchmod(fd, 0600) || fsync(fd))
		err = -errno;
	else if ((size_t)done != len)
		err = -ENOSPC;
	close(fd);
	if (err)
		unlink(path);
	return err;
}

static int replace(const char *path, const char *text, size_t len)
{
	char temporary[KEY_PATH_BYTES + 8];
	int err;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	unlink(temporary); /* of a run that was killed */
	err = write_new(temporary, text, len);
	if (err)
		return err;
	if (rename(temporary, path)) {
		err = -errno;
		unlink(temporary);
	}
	return err;
}

int key_generate(const char *path, bool force, struct net_why *why)
{
	uint8_t key[KEY_BYTES];
	char text[TEXT_BYTES + 1];
	int err;

	if (gnutls_rnd(GNUTLS_RND_KEY, key, sizeof(key)) < 0)
		return net_fail(why, -EIO, "no random bytes for a key: GnuTLS has no entropy source on this host");
	for (size_t i = 0; i < KEY_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	text[TEXT_BYTES - 1] = '\n';
	err = make_parents(path);
	if (!err)
		err = force ? replace(path, text, TEXT_BYTES) : write_new(path, text, TEXT_BYTES);
	explicit_bzero(key, sizeof(key));
	explicit_bzero(text, sizeof(text));
	if (err == -EEXIST)
		return net_fail(why, err,
				"%s exists and is kept: every node that has its key would be locked out by another; "
				"use it, or replace it with --force",
				path);
	if (err)
		return net_fail(why, err, "cannot write the key file %s: %s", path, strerrordesc_np(-err));
	return 0;
}

static int check_file(int fd, const char *path, struct net_why *why)
{
	struct stat st;

	if (fstat(fd, &st))
		return net_fail(why, -errno, "cannot look at the key file %s: %s", path, strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode))
		return net_fail(why, -EINVAL, "%s is not a file: a key file is made by `pangea keygen`", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return net_fail(why, -EPERM,
				"the key file %s belongs to another user (uid %u): `chown %u %s` if it is the cluster's", path,
				st.st_uid, geteuid(), path);
	if (st.st_mode & 077)
		return net_fail(why, -EPERM,
				"others can access the key file %s (mode %04o): `chmod 600 %s`, and make a new key if they may "
				"have read it",
				path, st.st_mode & 07777, path);
	return 0;
}

int key_load(const char *path, uint8_t key[KEY_BYTES], struct net_why *why)
{
	char text[TEXT_BYTES + 1]; /* a byte more, to see that there is more */
	/* Non-blocking: a FIFO must not hang. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len;
	int err;

	if (fd < 0 && errno == ENOENT)
		return net_fail(
			why, -ENOENT,
			"there is no cluster key at %s: make one with `pangea keygen` on one host and copy the file to the others",
			path);
	if (fd < 0)
		return net_fail(why, -errno, "cannot open the key file %s: %s", path, strerrordesc_np(errno));
	err = check_file(fd, path, why);
	if (err) {
		close(fd);
		return err;
	}
	len = read(fd, text, sizeof(text));
	if (len < 0)
		err = net_fail(why, -errno, "cannot read the key file %s: %s", path, strerrordesc_np(errno));
	close(fd);
	if (!err && key_parse(text, (size_t)len, key))
		err = net_fail(why, -EINVAL,
			       "%s is not a key file: it must hold %d hexadecimal digits; copy it again from a node that works, "
			       "or make a new one with `pangea keygen --force`",
			       path, 2 * KEY_BYTES);
	explicit_bzero(text, sizeof(text));
	return err;
}
