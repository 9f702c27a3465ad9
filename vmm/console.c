/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define RING_BYTES ((size_t)1 << 20)
#define ESCAPE     0x01 /* Ctrl-a */

struct console {
	struct serial_sink sink;
	enum serial_kind kind;
	int out_fd;
	bool raw;
	struct termios cooked;

	pthread_mutex_t lock;
	pthread_cond_t cond; /* CLOCK_MONOTONIC: the ring got bytes, or was emptied */
	uint8_t *ring;
	size_t first, used;
	uint64_t dropped;
	bool stop;
	bool writing; /* the writer has bytes in its hands */
	pthread_t writer;
	bool has_writer;

	struct serial *serial;
	struct console_events *events;
	int stop_fd;
	pthread_t reader;
	bool has_reader;
};

static void out(struct serial_sink *sink, const uint8_t *bytes, size_t n)
{
	struct console *c = container_of(sink, struct console, sink);

	if (c->kind == SERIAL_NULL)
		return;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < n; i++) {
		if (c->used == RING_BYTES) {
			c->dropped += n - i;
			break;
		}
		c->ring[(c->first + c->used++) % RING_BYTES] = bytes[i];
	}
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void write_all(int fd, const uint8_t *bytes, size_t n)
{
	while (n) {
		ssize_t done = write(fd, bytes, n);

		if (done < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			poll(&p, 1, 100);
			continue;
		}
		if (done < 0 && errno != EINTR)
			return; /* nobody reads it any more */
		if (done > 0) {
			bytes += done;
			n -= (size_t)done;
		}
	}
}

static void *writer_main(void *arg)
{
	struct console *c = arg;
	uint8_t buf[4096];

	pthread_setname_np(pthread_self(), "console-out");
	pthread_mutex_lock(&c->lock);
	while (!c->stop || c->used) {
		if (!c->used) {
			pthread_cond_wait(&c->cond, &c->lock);
			continue;
		}
		size_t n = MIN(c->used, sizeof(buf));
		n = MIN(n, RING_BYTES - c->first);
		memcpy(buf, c->ring + c->first, n);
		c->first = (c->first + n) % RING_BYTES;
		c->used -= n;
		c->writing = true;
		uint64_t dropped = c->dropped;
		c->dropped = 0;
		pthread_mutex_unlock(&c->lock);
		write_all(c->out_fd, buf, n);
		if (dropped)
			log_warn("%llu bytes of console output were dropped: the terminal does not take them",
				 (unsigned long long)dropped);
		pthread_mutex_lock(&c->lock);
		c->writing = false;
		pthread_cond_broadcast(&c->cond);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void say(struct console *c, const char *text)
{
	out(&c->sink, (const uint8_t *)text, strlen(text));
}

/* Returns the byte to pass on, or -1. */
static int escaped(struct console *c, uint8_t byte)
{
	switch (byte) {
	case ESCAPE:
		return ESCAPE;
	case 'x':
		if (c->events)
			c->events->quit(c->events);
		return -1;
	case 'h':
	case '?':
		say(c, "\r\nCtrl-a h  this help\r\nCtrl-a x  stop the machine and quit\r\nCtrl-a b  send a break\r\nCtrl-a Ctrl-a  "
		       "send Ctrl-a\r\n");
		return -1;
	case 'b':
		serial_input_break(c->serial);
		return -1;
	default:
		return byte;
	}
}

static void give(struct console *c, const uint8_t *bytes, size_t n)
{
	/* A guest that does not read: wait a little, then the rest is lost as on any serial line. */
	for (int tries = 0; n && tries < 100; tries++) {
		size_t done = serial_input(c->serial, bytes, n);

		bytes += done;
		n -= done;
		if (n)
			usleep(10000);
	}
}

static void *reader_main(void *arg)
{
	struct console *c = arg;
	bool escape = false;

	pthread_setname_np(pthread_self(), "console-in");
	for (;;) {
		struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = c->stop_fd, .events = POLLIN}};
		uint8_t in[256], pass[256];
		size_t n = 0;

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			return NULL;
		ssize_t got = read(STDIN_FILENO, in, sizeof(in));
		if (got <= 0) {
			if (got < 0 && (errno == EINTR || errno == EAGAIN))
				continue;
			return NULL; /* end of input; the guest runs on */
		}
		for (ssize_t i = 0; i < got; i++) {
			int byte = in[i];

			if (escape) {
				escape = false;
				byte = escaped(c, in[i]);
			} else if (c->raw && in[i] == ESCAPE) {
				escape = true;
				continue;
			}
			if (byte >= 0)
				pass[n++] = (uint8_t)byte;
		}
		if (n)
			give(c, pass, n);
	}
}

static int open_output(struct console *c, const char *path)
{
	if (c->kind == SERIAL_STDIO) {
		c->out_fd = STDOUT_FILENO;
		return 0;
	}
	if (c->kind == SERIAL_NULL)
		return 0;
	c->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (c->out_fd < 0) {
		int err = -errno;

		log_error("cannot write the guest's console to %s: %s", path, strerror(-err));
		return err;
	}
	return 0;
}

int console_new(enum serial_kind kind, const char *path, struct console **out_console)
{
	struct console *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	int rc = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->kind = kind;
	c->sink.out = out;
	c->out_fd = -1;
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	c->ring = malloc(RING_BYTES);
	if (!c->ring)
		goto fail;
	rc = open_output(c, path);
	if (!rc && kind != SERIAL_NULL) {
		rc = -pthread_create(&c->writer, NULL, writer_main, c);
		c->has_writer = rc == 0;
	}
	if (rc)
		goto fail;
	*out_console = c;
	return 0;
fail:
	console_free(c);
	return rc;
}

struct serial_sink *console_sink(struct console *c)
{
	return &c->sink;
}

static void make_raw(struct console *c)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &c->cooked) < 0)
		return;
	t = c->cooked;
	cfmakeraw(&t);
	t.c_oflag |= OPOST; /* our own lines on stderr stay readable */
	c->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

int console_attach(struct console *c, struct serial *serial, struct console_events *events)
{
	c->serial = serial;
	c->events = events;
	if (c->kind != SERIAL_STDIO)
		return 0;
	make_raw(c);
	int rc = -pthread_create(&c->reader, NULL, reader_main, c);
	c->has_reader = rc == 0;
	return rc;
}

void console_detach(struct console *c)
{
	uint64_t one = 1;
	uint64_t end = clock_ns() + NS_PER_SEC;
	struct timespec ts = clock_timespec(end);

	if (c->has_reader) {
		ssize_t n = write(c->stop_fd, &one, sizeof(one));
		(void)n;
		pthread_join(c->reader, NULL);
		c->has_reader = false;
	}
	pthread_mutex_lock(&c->lock);
	while ((c->used || c->writing) && pthread_cond_timedwait(&c->cond, &c->lock, &ts) == 0)
		;
	pthread_mutex_unlock(&c->lock);
	if (c->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &c->cooked);
	c->raw = false;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	console_detach(c);
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	c->used = 0;
	pthread_cond_broadcast(&c->cond);
	bool stuck = c->writing;
	pthread_mutex_unlock(&c->lock);
	if (c->has_writer && stuck) {
		pthread_detach(c->writer); /* a stopped terminal holds it; the process is about to end, the memory stays its */
		return;
	}
	if (c->has_writer)
		pthread_join(c->writer, NULL);
	if (c->kind == SERIAL_FILE && c->out_fd >= 0)
		close(c->out_fd);
	close(c->stop_fd);
	free(c->ring);
	free(c);
}
