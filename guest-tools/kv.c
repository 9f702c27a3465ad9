/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv: a key-value store and its clients on one CPU: redis-server and redis-benchmark, over TCP of the loopback interface. Prints
 * operations a second of SET and of GET, with one process of the benchmark each, by the time from its start to its end.
 *
 * Both run on the last CPU, with memory of its node, out of a copy of the initramfs's /kv on that node (ownroot.h;
 * tests/bench/programs makes it). A short run of both comes first. Afterwards the store must have keys, and no more than there are.
 * Options: requests (of each kind), clients, keys, limit.
 */
#include "ownroot.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define PORT      6379
#define PORT_TEXT "6379"

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		finish(1, "kv: the loopback interface: %s", strerror(errno));
	close(fd);
}

/* Its number of keys, or -1 while it does not answer. */
static long keys_of_server(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static const char ask[] = "DBSIZE\r\n";
	char answer[64] = "";
	long keys = -1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof(at)) &&
	    send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) == sizeof(ask) - 1 && recv(fd, answer, sizeof(answer) - 1, 0) > 0 &&
	    *answer == ':')
		keys = strtol(answer + 1, NULL, 10);
	close(fd);
	return keys;
}

static pid_t start_server(void)
{
	pid_t pid = fork();

	if (pid < 0)
		finish(1, "kv: fork: %s", strerror(errno));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execl("/bin/redis-server", "redis-server", "--port", PORT_TEXT, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
	      "--logfile", "/log", NULL);
	_exit(127);
}

/* ns that so many requests of that kind take; it must give a line that begins with `name`. */
static uint64_t measure(const char *kind, const char *name, uint64_t requests, uint64_t clients, uint64_t keys)
{
	char n[32], c[32], r[32], text[4096];
	const char *const argv[] = {
		"/bin/redis-benchmark", "-h", "127.0.0.1", "-p", PORT_TEXT, "--csv", "-t", kind, "-n", n, "-c", c, "-r", r, NULL};

	snprintf(n, sizeof(n), "%" PRIu64, requests);
	snprintf(c, sizeof(c), "%" PRIu64, clients);
	snprintf(r, sizeof(r), "%" PRIu64, keys);
	uint64_t begin = now_ns();
	int code = run_program(argv, "/out");
	uint64_t ns = now_ns() - begin;
	read_log("/out", text, sizeof(text));
	if (code || !strstr(text, name))
		finish(1, "kv: redis-benchmark -t %s: exit code %d: %s", kind, code, text);
	return ns ? ns : 1;
}

int main(int argc, char **argv)
{
	uint64_t requests = 10000, clients = 8, keys = 1000, limit = 300;
	const struct option_def defs[] = {
		{"requests", &requests, NULL}, {"clients", &clients, NULL}, {"keys", &keys, NULL}, {"limit", &limit, NULL}};
	char text[512];

	PARSE_OPTIONS(argc, argv, "kv", defs);
	if (!requests || requests > 1000000000 || !clients || clients > 1000 || !keys || keys > 1000000)
		finish(2, "kv: requests up to 1000000000, clients up to 1000, keys up to 1000000, none of them 0");
	set_limit(limit);
	const struct topo *t = topo_read();
	const struct topo_node *n = &t->node[t->cpu_node[t->cpu_node_count - 1]];
	int cpu = n->cpu[n->cpu_count - 1], status;
	keep_objects_on_their_node();
	loopback_up();
	enter_own_root("/kv", "kv", cpu, n->id);
	pid_t server = start_server();
	while (keys_of_server() < 0) {
		if (waitpid(server, &status, WNOHANG)) {
			read_log("/log", text, sizeof(text));
			finish(1, "kv: redis-server ended: %s", text);
		}
		usleep(1000);
	}
	measure("set", "\"SET\"", requests / 10 + 1, clients, keys);
	measure("get", "\"GET\"", requests / 10 + 1, clients, keys);
	uint64_t set = measure("set", "\"SET\"", requests, clients, keys), get = measure("get", "\"GET\"", requests, clients, keys);
	long have = keys_of_server();
	bool ok = have > 0 && (uint64_t)have <= keys;
	kill(server, SIGKILL);
	waitpid(server, &status, 0);
	finish(ok ? 0 : 1,
	       "kv node=%d cpu=%d requests=%" PRIu64 " clients=%" PRIu64 " set=%" PRIu64 " get=%" PRIu64 " both=%" PRIu64
	       " ops/1000s keys=%ld %s",
	       n->id, cpu, requests, clients, requests * 1000000000000u / set, requests * 1000000000000u / get,
	       2 * requests * 1000000000000u / (set + get), have, ok ? "ok" : "WRONG: nothing was stored, or more than was sent");
}
