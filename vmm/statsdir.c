/* SPDX-License-Identifier: Apache-2.0 */
/* Where the sockets of the running nodes are: what `pangea stats` and the nodes themselves share. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "vmm/statsock.h"

int statsock_dir(char dir[STATSOCK_PATH])
{
	const char *own = getenv("PANGEA_RUNTIME_DIR"), *user = getenv("XDG_RUNTIME_DIR");
	int n;

	if (own && *own)
		n = snprintf(dir, STATSOCK_PATH, "%s", own);
	else if (geteuid() == 0)
		n = snprintf(dir, STATSOCK_PATH, "/run/pangea");
	else if (user && *user)
		n = snprintf(dir, STATSOCK_PATH, "%s/pangea", user);
	else
		return -ENOENT;
	return n < 0 || (size_t)n >= STATSOCK_PATH - 32 ? -ENAMETOOLONG : 0; /* room for a name and its forerunner */
}

int statsock_connect(const char *dir, const char *name, int *out)
{
	struct timeval patience = {.tv_sec = (time_t)(STATSOCK_PATIENCE_NS / NS_PER_SEC)};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);

	if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

int statsock_visit(const char *dir, struct statsock_visitor *visitor)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!rc && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len > 5 && strcmp(e->d_name + len - 5, ".sock") == 0)
			rc = visitor->each(visitor, dir, e->d_name);
	}
	closedir(d);
	return rc;
}
