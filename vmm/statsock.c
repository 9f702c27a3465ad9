/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/statsock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "vmm/report.h"

/* The guest boots, so what is not there now may be soon: each time that it is not, the next look comes twice as late. And the
 * guest may reboot as another kernel, or elsewhere. */
#define LOOK_FIRST_NS (5 * NS_PER_SEC)
#define LOOK_LAST_NS  (60 * NS_PER_SEC)
#define THREAD_NICE   10 /* behind whoever serves the guest */

struct client {
	int fd; /* -1: free */
	uint64_t until_ns;
	char in[STATSOCK_REQUEST];
	size_t in_len;
	char *out; /* once the request is there */
	size_t out_len, out_sent;
};

struct statsock {
	const struct vm *vm;
	struct hotpages hot;
	uint64_t started_ns;
	uint64_t look_ns, wait_ns; /* when to look for symbols again; 0: at once */
	int listen_fd, stop_fd;
	pthread_t thread;
	char dir[STATSOCK_PATH], path[STATSOCK_PATH];
	struct client client[STATSOCK_CLIENTS];
};

/* ---- requests ---- */

static int parse_page(const char *word, size_t len, struct dsm_hot *out)
{
	uint64_t page = 0;
	size_t i = 0;

	for (; i < len && word[i] >= '0' && word[i] <= '9' && i < 15; i++)
		page = page * 10 + (uint64_t)(word[i] - '0');
	bool table = i < len && word[i] == 't';
	if (i == 0 || i + table != len)
		return -EBADMSG;
	*out = (struct dsm_hot){.page = page, .marks = table ? DSM_HOT_TABLE : 0};
	return 0;
}

int statsock_parse(const char *line, size_t len, struct statsock_request *out)
{
	struct statsock_request r = {.what = STATSOCK_STATS};
	size_t at = 5;

	if (len == 5 && memcmp(line, "stats", 5) == 0) {
		*out = r;
		return 0;
	}
	if (len < 5 || memcmp(line, "pages", 5) != 0)
		return -EBADMSG;
	r.what = STATSOCK_PAGES;
	while (at < len) {
		const char *word = line + at + 1, *end = memchr(word, ' ', len - at - 1);
		size_t word_len = end ? (size_t)(end - word) : len - at - 1;

		if (line[at] != ' ' || r.n == DSM_HOTTEST || parse_page(word, word_len, &r.page[r.n++]))
			return -EBADMSG;
		at += 1 + word_len;
	}
	*out = r;
	return 0;
}

/* ---- answers ---- */

static json_t *stats_answer(struct statsock *s)
{
	const struct vm_config *config = &s->vm->config;
	json_t *o = json_object();
	struct dsm_stats stats;

	dsm_stats(s->vm->dsm, &stats);
	json_object_set_new(o, "version", json_string(PANGEA_VERSION));
	json_object_set_new(o, "machine", json_string(config->machine));
	json_object_set_new(o, "node", json_integer(config->self));
	json_object_set_new(o, "nodes", json_integer(config->map.nodes));
	json_object_set_new(o, "pid", json_integer(getpid()));
	json_object_set_new(o, "seconds", json_real((double)(clock_ns() - s->started_ns) / 1e9));
	json_object_set_new(o, "symbols", json_string(hotpages_source(&s->hot)));
	json_object_set_new(o, "has_symbols", json_boolean(s->hot.gs != NULL));
	json_object_set_new(o, "stats", report_node(&stats, &s->hot));
	return o;
}

static json_t *pages_answer(const struct statsock *s, const struct statsock_request *request)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < request->n; i++)
		if (request->page[i].page < s->vm->config.map.pages)
			json_array_append_new(list, hotpages_json(&s->hot, &request->page[i]));
	return list;
}

static void look_if_due(struct statsock *s)
{
	if (s->look_ns && clock_ns() < s->look_ns)
		return;
	hotpages_look(&s->hot);
	s->wait_ns = s->wait_ns ? MIN(s->wait_ns * 2, LOOK_LAST_NS) : LOOK_FIRST_NS;
	if (s->hot.gs && guestsyms_complete(s->hot.gs))
		s->wait_ns = LOOK_LAST_NS;
	s->look_ns = clock_ns() + s->wait_ns;
}

static int answer(struct statsock *s, struct client *c, size_t line)
{
	struct statsock_request request;
	int rc = statsock_parse(c->in, line, &request);

	if (rc)
		return rc;
	look_if_due(s);
	json_t *json = request.what == STATSOCK_STATS ? stats_answer(s) : pages_answer(s, &request);
	c->out = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (!c->out)
		return -ENOMEM;
	c->out_len = strlen(c->out);
	c->until_ns = clock_ns() + STATSOCK_PATIENCE_NS;
	return 0;
}

/* ---- clients ---- */

static void drop(struct client *c)
{
	close(c->fd);
	free(c->out);
	*c = (struct client){.fd = -1};
}

static void take_clients(struct statsock *s)
{
	int fd;

	while ((fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		size_t i = 0;

		while (i < STATSOCK_CLIENTS && s->client[i].fd >= 0)
			i++;
		if (i == STATSOCK_CLIENTS) {
			close(fd);
			continue;
		}
		s->client[i] = (struct client){.fd = fd, .until_ns = clock_ns() + STATSOCK_PATIENCE_NS};
	}
	if (errno != EAGAIN && errno != EINTR)
		usleep(100000); /* no descriptor, say: whoever waits stays in the queue */
}

/* False: it is to go. */
static bool receive(struct statsock *s, struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->in_len += (size_t)n;
	const char *end = memchr(c->in, '\n', c->in_len);
	if (!end)
		return c->in_len < sizeof(c->in);
	return answer(s, c, (size_t)(end - c->in)) == 0;
}

static bool transmit(struct client *c)
{
	ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->out_sent += (size_t)n;
	return c->out_sent < c->out_len;
}

static void *statsock_main(void *arg)
{
	struct statsock *s = arg;

	pthread_setname_np(pthread_self(), "stats");
	setpriority(PRIO_PROCESS, (id_t)gettid(), THREAD_NICE); /* of this thread; if it fails, so be it */
	for (;;) {
		struct pollfd p[2 + STATSOCK_CLIENTS] = {
			{.fd = s->stop_fd, .events = POLLIN},
			{.fd = s->listen_fd, .events = POLLIN},
		};
		bool any = false;

		for (size_t i = 0; i < STATSOCK_CLIENTS; i++) {
			p[2 + i] = (struct pollfd){.fd = s->client[i].fd, .events = s->client[i].out ? POLLOUT : POLLIN};
			any |= s->client[i].fd >= 0;
		}
		if (poll(p, ARRAY_SIZE(p), any ? 100 : -1) < 0 && errno != EINTR)
			usleep(100000); /* no memory in the kernel: it passes */
		if (p[0].revents)
			return NULL;
		uint64_t now = clock_ns(); /* before answers, which may take seconds, for what the clients waited */
		for (size_t i = 0; i < STATSOCK_CLIENTS; i++) {
			struct client *c = &s->client[i];
			bool stays = true;

			if (c->fd < 0)
				continue;
			if (p[2 + i].revents)
				stays = c->out ? transmit(c) : receive(s, c);
			if (!stays || now > c->until_ns)
				drop(c);
		}
		if (p[1].revents)
			take_clients(s);
	}
}

/* ---- life ---- */

/* A dead process's socket. */
static int sweep(struct statsock_visitor *visitor, const char *dir, const char *name)
{
	char path[STATSOCK_PATH];
	int fd, rc = statsock_connect(dir, name, &fd);

	(void)visitor;
	if (rc == 0)
		close(fd);
	else if (rc == -ECONNREFUSED && snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		unlink(path);
	return 0;
}

/* A directory that others can write to would let them put their sockets in our place. */
static int make_dir(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(dir, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EACCES;
}

static int listen_at(struct statsock *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	/* Lengths: statsock_dir left the room. */
	if (snprintf(s->path, sizeof(s->path), "%s/%d.sock", s->dir, getpid()) >= (int)sizeof(s->path) ||
	    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%d.new", s->dir, getpid()) >= (int)sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	unlink(addr.sun_path);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->listen_fd < 0)
		return -errno;
	if (fchmod(s->listen_fd, 0600) < 0 || bind(s->listen_fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	if (listen(s->listen_fd, (int)STATSOCK_CLIENTS) < 0 || rename(addr.sun_path, s->path) < 0) {
		int err = -errno;

		unlink(addr.sun_path);
		return err;
	}
	return 0;
}

struct statsock *statsock_start(const struct vm *vm, const struct symbols *symbols)
{
	struct statsock_visitor visitor = {.each = sweep};
	struct statsock *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return NULL;
	s->vm = vm;
	s->started_ns = clock_ns();
	s->listen_fd = s->stop_fd = -1;
	for (size_t i = 0; i < STATSOCK_CLIENTS; i++)
		s->client[i].fd = -1;
	hotpages_init(&s->hot, vm, symbols);
	rc = statsock_dir(s->dir);
	if (rc == -ENOENT)
		goto fail;
	if (!rc)
		rc = make_dir(s->dir);
	if (!rc)
		rc = statsock_visit(s->dir, &visitor);
	if (!rc)
		rc = listen_at(s);
	if (rc) {
		log_warn("`pangea stats` will not see this node: no socket in %s: %s", s->dir,
			 rc == -EACCES ? "it is not a directory of this user alone" : strerror(-rc));
		goto fail;
	}
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	rc = s->stop_fd < 0 ? -errno : -pthread_create(&s->thread, NULL, statsock_main, s);
	if (rc) {
		log_warn("`pangea stats` will not see this node: %s", strerror(-rc));
		unlink(s->path);
		goto fail;
	}
	return s;

fail:
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	free(s);
	return NULL;
}

void statsock_stop(struct statsock *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	unlink(s->path);
	s->hot.give_up = true;
	ssize_t n = write(s->stop_fd, &one, sizeof(one));
	(void)n; /* an eventfd takes it unless it is about to overflow */
	pthread_join(s->thread, NULL);
	for (size_t i = 0; i < STATSOCK_CLIENTS; i++)
		if (s->client[i].fd >= 0)
			drop(&s->client[i]);
	close(s->listen_fd);
	close(s->stop_fd);
	hotpages_destroy(&s->hot);
	free(s);
}
