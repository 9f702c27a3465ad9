/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/auth.h"
#include "net/tcp.h"
#include "vmm/exitcode.h"
#include "vmm/follower.h"

#define MACHINES_MAX 64 /* processes of leaders, also of strangers in their handshake */

struct agent {
	const struct node_options *options;
	uint8_t key[KEY_BYTES];
	int listen_fd, signal_fd;
	pid_t child[MACHINES_MAX];
};

static int load_key(const struct node_options *options, uint8_t key[KEY_BYTES])
{
	char path[KEY_PATH_BYTES];
	struct net_why why;
	int rc;

	if (options->key_fd >= 0) {
		ssize_t n = read(options->key_fd, key, KEY_BYTES);

		close(options->key_fd);
		return n == KEY_BYTES ? 0 : -EINVAL;
	}
	if (options->key_file)
		snprintf(path, sizeof(path), "%s", options->key_file);
	else if (key_default_path(path))
		return -ENAMETOOLONG;
	rc = key_load(path, key, &why);
	if (rc)
		log_error("%s", why.text);
	return rc;
}

static void say_ready(const struct node_options *options, uint16_t port)
{
	if (options->ready_fd >= 0) {
		dprintf(options->ready_fd, "%u\n", port);
		close(options->ready_fd);
		return;
	}
	struct endpoint at = options->listen;
	char text[ENDPOINT_TEXT_BYTES];

	at.port = port;
	log_info("listening on %s for leaders that hold this cluster's key", endpoint_format(&at, text));
}

/* Handshake, then the node. Returns an exit code, or -1: not a leader. */
static int serve(struct agent *agent, int fd, const char *peer)
{
	struct auth_client client;
	struct net_why why;
	int rc = auth_server(fd, agent->key, peer, AUTH_TIMEOUT_MS, &client, &why);

	if (rc) {
		log_warn("turned away: %s", why.text);
		return -1;
	}
	if (client.request.purpose != AUTH_JOIN) {
		rc = auth_verdict(fd, agent->key, &client, AUTH_NO_SESSION);
		log_warn("turned away %s: it named a machine that is not here", peer);
		return rc ? -1 : -1;
	}
	if (auth_verdict(fd, agent->key, &client, AUTH_OK))
		return -1;
	return follower_run(fd, agent->key, peer);
}

static void reap(struct agent *agent)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (size_t i = 0; i < MACHINES_MAX; i++)
			if (agent->child[i] == pid)
				agent->child[i] = 0;
}

static void take(struct agent *agent, int fd, const char *peer)
{
	pid_t parent = getpid();
	size_t i = 0;

	while (i < MACHINES_MAX && agent->child[i])
		i++;
	if (i == MACHINES_MAX) {
		log_warn("turned away %s: %u connections are being served already", peer, MACHINES_MAX);
		close(fd);
		return;
	}
	agent->child[i] = fork();
	if (agent->child[i] < 0) {
		log_error("cannot make a process for %s: %s", peer, strerror(errno));
		agent->child[i] = 0;
	} else if (agent->child[i] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* an agent that is killed leaves nothing behind */
		if (getppid() != parent)
			_exit(EXIT_INTERRUPTED);
		close(agent->listen_fd);
		close(agent->signal_fd);
		int code = serve(agent, fd, peer);
		_exit(code < 0 ? EXIT_JOIN : code);
	}
	close(fd);
}

/* Ends the nodes it runs, each of which tells its leader; what has not ended after a while is killed. */
static void end_children(struct agent *agent)
{
	for (int tries = 0; tries < 60; tries++) {
		bool any = false;

		reap(agent);
		for (size_t i = 0; i < MACHINES_MAX; i++)
			if (agent->child[i]) {
				any = true;
				kill(agent->child[i], tries == 0 ? SIGTERM : (tries == 50 ? SIGKILL : 0));
			}
		if (!any)
			return;
		usleep(100000);
	}
}

static int loop(struct agent *agent)
{
	char peer[TCP_ADDR_BYTES];

	for (;;) {
		struct pollfd p[2] = {{.fd = agent->listen_fd, .events = POLLIN}, {.fd = agent->signal_fd, .events = POLLIN}};
		struct signalfd_siginfo info;
		struct net_why why;
		int fd;

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && read(agent->signal_fd, &info, sizeof(info)) == sizeof(info)) {
			reap(agent);
			if (info.ssi_signo == SIGCHLD)
				continue;
			end_children(agent);
			return EXIT_INTERRUPTED;
		}
		if (!p[0].revents)
			continue;
		if (tcp_accept(agent->listen_fd, 0, &fd, peer, &why))
			continue;
		if (!agent->options->once) {
			take(agent, fd, peer);
			continue;
		}
		int code = serve(agent, fd, peer);
		if (code >= 0)
			return code;
		close(fd);
	}
}

int agent_run(const struct node_options *options)
{
	struct agent agent = {.options = options, .listen_fd = -1};
	char addr[ENDPOINT_TEXT_BYTES];
	struct net_why why;
	uint16_t port;
	sigset_t set;

	if (load_key(options, agent.key))
		return EXIT_USAGE;
	if (tcp_listen(endpoint_format(&options->listen, addr), &agent.listen_fd, &port, &why)) {
		log_error("%s", why.text);
		return EXIT_USAGE;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (!options->once) { /* one that serves a single machine leaves these to that machine's signal thread */
		sigaddset(&set, SIGINT);
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGHUP);
	} else {
		sigset_t usual;

		sigemptyset(&usual);
		sigaddset(&usual, SIGINT);
		sigaddset(&usual, SIGTERM);
		sigaddset(&usual, SIGHUP);
		pthread_sigmask(SIG_UNBLOCK, &usual, NULL);
	}
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	agent.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	say_ready(options, port);
	int code = loop(&agent);
	close(agent.listen_fd);
	close(agent.signal_fd);
	return code;
}
