/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake between two threads over a socket pair, with every kind of peer that is not one; and key files. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/auth.h"
#include "tests/unit/check_main.h"

/* What is said of a peer of WIRE_VERSION + 1. */
#define NEXT_VERSION "10, this is 9"
static_assert(WIRE_VERSION == 9, "say the new one above");

static const uint8_t key_a[KEY_BYTES] = {1, 2, 3}, key_b[KEY_BYTES] = {1, 2, 4};

#define SHORT_MS 300

static struct auth_request mesh_request(void)
{
	return (struct auth_request){.purpose = AUTH_MESH, .from = 3, .lane = 2, .session = {9, 8, 7}};
}

struct server {
	pthread_t thread;
	int fd, err;
	const uint8_t *key;
	enum auth_status status;
	struct auth_client client;
	struct net_why why;
};

static void *server_main(void *arg)
{
	struct server *s = arg;

	s->err = auth_server(s->fd, s->key, "10.0.0.2:4711", SHORT_MS, &s->client, &s->why);
	if (!s->err)
		s->err = auth_verdict(s->fd, s->key, &s->client, s->status);
	close(s->fd);
	return NULL;
}

/* Starts a server; returns the client's end. */
static int start(struct server *s, const uint8_t *key, enum auth_status status)
{
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	*s = (struct server){.fd = fd[1], .key = key, .status = status};
	ck_assert_int_eq(pthread_create(&s->thread, NULL, server_main, s), 0);
	return fd[0];
}

static int connect_as(int fd, const uint8_t *key, struct net_why *why)
{
	struct auth_request request = mesh_request();

	return auth_client(fd, key, &request, "host2:7700", SHORT_MS, why);
}

static struct auth_hello good_hello(void)
{
	struct auth_hello hello = {.version = WIRE_VERSION, .purpose = AUTH_JOIN, .from = 0};

	memcpy(hello.magic, "PANGEA01", 8);
	return hello;
}

START_TEST(two_ends_with_one_key_accept_each_other)
{
	struct auth_request request = mesh_request();
	struct net_why why;
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	ck_assert_int_eq(connect_as(fd, key_a, &why), 0);
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, 0);
	ck_assert_int_eq(s.client.request.purpose, request.purpose);
	ck_assert_uint_eq(s.client.request.from, request.from);
	ck_assert_uint_eq(s.client.request.lane, request.lane);
	ck_assert_mem_eq(s.client.request.session, request.session, WIRE_SESSION_BYTES);
	close(fd);
}
END_TEST

START_TEST(another_key_is_refused_by_both_ends)
{
	struct net_why why;
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	ck_assert_int_eq(connect_as(fd, key_b, &why), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(why.text, "host2:7700 holds another cluster key"));
	close(fd);
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, -ECONNRESET);
	ck_assert_ptr_nonnull(strstr(s.why.text, "10.0.0.2:4711 hung up before it proved"));
}
END_TEST

START_TEST(a_client_without_the_key_that_goes_on_all_the_same_is_refused)
{
	struct auth_hello hello = good_hello();
	uint8_t reply[AUTH_REPLY_BYTES], proof[AUTH_MAC_BYTES] = {0}, more;
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	ck_assert_int_eq((int)send(fd, &hello, sizeof(hello), 0), (int)sizeof(hello));
	ck_assert_int_eq((int)recv(fd, reply, sizeof(reply), MSG_WAITALL), (int)sizeof(reply));
	ck_assert_int_eq((int)send(fd, proof, sizeof(proof), 0), (int)sizeof(proof));
	ck_assert_int_le((int)recv(fd, &more, 1, 0), 0); /* not even a verdict */
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, -EKEYREJECTED);
	close(fd);
}
END_TEST

START_TEST(the_servers_own_proof_sent_back_is_refused)
{
	struct auth_hello hello = good_hello();
	struct auth_reply reply;
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	ck_assert_int_eq((int)send(fd, &hello, sizeof(hello), 0), (int)sizeof(hello));
	ck_assert_int_eq((int)recv(fd, &reply, sizeof(reply), MSG_WAITALL), (int)sizeof(reply));
	ck_assert_int_eq((int)send(fd, reply.mac, sizeof(reply.mac), 0), AUTH_MAC_BYTES);
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, -EKEYREJECTED);
	close(fd);
}
END_TEST

START_TEST(a_replayed_hello_meets_another_challenge)
{
	struct auth_hello hello = good_hello();
	struct auth_reply reply[2];

	for (int i = 0; i < 2; i++) {
		struct server s;
		int fd = start(&s, key_a, AUTH_OK);

		ck_assert_int_eq((int)send(fd, &hello, sizeof(hello), 0), (int)sizeof(hello));
		ck_assert_int_eq((int)recv(fd, &reply[i], sizeof(reply[i]), MSG_WAITALL), (int)sizeof(reply[i]));
		close(fd);
		pthread_join(s.thread, NULL);
	}
	ck_assert_mem_ne(reply[0].nonce, reply[1].nonce, AUTH_NONCE_BYTES);
	ck_assert_mem_ne(reply[0].mac, reply[1].mac, AUTH_MAC_BYTES);
}
END_TEST

START_TEST(a_client_of_another_version_learns_ours_and_nothing_else)
{
	static const uint8_t zero[AUTH_REPLY_BYTES];
	struct auth_hello hello = good_hello();
	uint8_t reply[AUTH_REPLY_BYTES];
	uint16_t version;
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	hello.version = WIRE_VERSION + 1;
	ck_assert_int_eq((int)send(fd, &hello, sizeof(hello), 0), (int)sizeof(hello));
	ck_assert_int_eq((int)recv(fd, reply, sizeof(reply), MSG_WAITALL), (int)sizeof(reply));
	memcpy(&version, reply + 8, sizeof(version));
	ck_assert_uint_eq(version, WIRE_VERSION);
	ck_assert_mem_eq(reply + 10, zero, sizeof(reply) - 10);
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, -EPROTONOSUPPORT);
	ck_assert_str_eq(s.why.text, "10.0.0.2:4711 runs pangea protocol " NEXT_VERSION ": install the same version on both hosts");
	close(fd);
}
END_TEST

/* A server that answers a hello with the given bytes. */
struct parrot {
	pthread_t thread;
	int fd;
	const void *answer;
	size_t len;
};

static void *parrot_main(void *arg)
{
	struct parrot *p = arg;
	uint8_t hello[AUTH_HELLO_BYTES];

	if (recv(p->fd, hello, sizeof(hello), MSG_WAITALL) == (ssize_t)sizeof(hello) && p->len)
		send(p->fd, p->answer, p->len, MSG_NOSIGNAL);
	return NULL;
}

/* What a client says to such a server; hang_up: it closes after its answer. */
static int client_against(const void *answer, size_t len, bool hang_up, struct net_why *why)
{
	struct parrot p = {.answer = answer, .len = len};
	int fd[2], err;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	p.fd = fd[1];
	ck_assert_int_eq(pthread_create(&p.thread, NULL, parrot_main, &p), 0);
	if (hang_up) {
		struct auth_hello hello = good_hello();

		ck_assert_int_eq((int)send(fd[0], &hello, sizeof(hello), 0), (int)sizeof(hello));
		pthread_join(p.thread, NULL);
		shutdown(fd[1], SHUT_WR);
		err = connect_as(fd[0], key_a, why);
	} else {
		err = connect_as(fd[0], key_a, why);
		pthread_join(p.thread, NULL);
	}
	close(fd[0]);
	close(fd[1]);
	return err;
}

START_TEST(a_server_of_another_version_is_named)
{
	struct auth_reply reply = {.version = WIRE_VERSION + 1};
	struct net_why why;

	memcpy(reply.magic, "PANGEA01", 8);
	ck_assert_int_eq(client_against(&reply, sizeof(reply), false, &why), -EPROTONOSUPPORT);
	ck_assert_str_eq(why.text, "host2:7700 runs pangea protocol " NEXT_VERSION ": install the same version on both hosts");
}
END_TEST

START_TEST(a_server_that_sends_garbage_is_no_node)
{
	uint8_t garbage[200];
	struct net_why why;

	memset(garbage, 'x', sizeof(garbage));
	ck_assert_int_eq(client_against(garbage, sizeof(garbage), false, &why), -EPROTO);
	ck_assert_ptr_nonnull(strstr(why.text, "is not a pangea node"));
}
END_TEST

START_TEST(a_server_that_sends_nothing_ends_by_the_deadline)
{
	uint64_t begin = clock_ns();
	struct net_why why;

	ck_assert_int_eq(client_against(NULL, 0, false, &why), -ETIMEDOUT);
	ck_assert_uint_ge(clock_ns() - begin, SHORT_MS * NS_PER_MS);
	ck_assert_uint_lt(clock_ns() - begin, 10 * SHORT_MS * NS_PER_MS);
	ck_assert_ptr_nonnull(strstr(why.text, "sent no reply within 1 s"));
}
END_TEST

START_TEST(a_server_that_hangs_up_is_named)
{
	struct net_why why;

	ck_assert_int_eq(client_against("PANGEA", 6, true, &why), -ECONNRESET);
	ck_assert_ptr_nonnull(strstr(why.text, "host2:7700 hung up"));
}
END_TEST

START_TEST(a_client_that_sends_garbage_gets_no_answer)
{
	uint8_t garbage[AUTH_HELLO_BYTES], more;
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	memset(garbage, 'x', sizeof(garbage));
	ck_assert_int_eq((int)send(fd, garbage, sizeof(garbage), 0), (int)sizeof(garbage));
	ck_assert_int_le((int)recv(fd, &more, 1, 0), 0);
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, -EPROTO);
	ck_assert_ptr_nonnull(strstr(s.why.text, "something other than a pangea hello"));
	close(fd);
}
END_TEST

START_TEST(a_client_that_trickles_ends_by_the_deadline_all_the_same)
{
	struct auth_hello hello = good_hello();
	uint64_t begin = clock_ns();
	struct server s;
	int fd = start(&s, key_a, AUTH_OK);

	for (size_t i = 0; i < sizeof(hello) - 1; i++) {
		if (send(fd, (uint8_t *)&hello + i, 1, MSG_NOSIGNAL) < 0)
			break;
		usleep(10000); /* 72 bytes: 0.7 s */
	}
	pthread_join(s.thread, NULL);
	ck_assert_int_eq(s.err, -ETIMEDOUT);
	ck_assert_uint_lt(clock_ns() - begin, 10 * NS_PER_SEC);
	close(fd);
}
END_TEST

START_TEST(each_verdict_has_its_sentence)
{
	static const struct {
		enum auth_status status;
		int err;
		const char *text;
	} cases[] = {
		{AUTH_BUSY, -EBUSY, "already a node of another machine"},
		{AUTH_NO_SESSION, -ESRCH, "does not know this session"},
		{AUTH_FAILED, -ECONNABORTED, "cannot be a node now"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct net_why why;
		struct server s;
		int fd = start(&s, key_a, cases[i].status);

		ck_assert_int_eq(connect_as(fd, key_a, &why), cases[i].err);
		ck_assert_ptr_nonnull(strstr(why.text, cases[i].text));
		pthread_join(s.thread, NULL);
		close(fd);
	}
}
END_TEST

START_TEST(hello_fields_out_of_range_are_refused)
{
	struct auth_hello hello = good_hello(), back;

	ck_assert_int_eq(auth_hello_parse((uint8_t *)&hello, &back), 0);
	ck_assert_mem_eq(&hello, &back, sizeof(hello));
#define REFUSED(change, error)                                                       \
	do {                                                                         \
		hello = good_hello();                                                \
		change;                                                              \
		ck_assert_int_eq(auth_hello_parse((uint8_t *)&hello, &back), error); \
	} while (0)
	REFUSED(hello.magic[7] = '2', -EPROTO);
	REFUSED(hello.version = 0, -EPROTONOSUPPORT);
	REFUSED(hello.purpose = 0, -EBADMSG);
	REFUSED(hello.purpose = 3, -EBADMSG);
	REFUSED(hello.from = NODES_MAX, -EBADMSG);
	REFUSED(hello.lane = 1, -EBADMSG); /* with JOIN */
	REFUSED((hello.purpose = AUTH_MESH, hello.lane = WIRE_SHARDS_MAX + 1), -EBADMSG);
	REFUSED(hello.reserved = 1, -EBADMSG);
#undef REFUSED
}
END_TEST

/* A directory of its own for a test; the path of a file in it. */
static void key_path(char path[KEY_PATH_BYTES])
{
	char dir[] = "/tmp/test_auth.XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, KEY_PATH_BYTES, "%s/conf/pangea/key", dir);
}

static void remove_key(char path[KEY_PATH_BYTES])
{
	unlink(path);
	for (int i = 0; i < 3; i++) {
		*strrchr(path, '/') = 0;
		rmdir(path);
	}
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(a_generated_key_loads_and_is_for_its_owner_only)
{
	uint8_t key[KEY_BYTES] = {0};
	char path[KEY_PATH_BYTES];
	struct net_why why;
	struct stat st;

	key_path(path);
	umask(0);
	ck_assert_int_eq(key_generate(path, false, &why), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 65);
	ck_assert_int_eq(key_load(path, key, &why), 0);
	ck_assert_mem_ne(key, ((uint8_t[KEY_BYTES]){0}), KEY_BYTES);
	remove_key(path);
}
END_TEST

START_TEST(a_key_is_not_overwritten_unless_forced)
{
	uint8_t first[KEY_BYTES], second[KEY_BYTES];
	char path[KEY_PATH_BYTES];
	struct net_why why;

	key_path(path);
	ck_assert_int_eq(key_generate(path, false, &why), 0);
	ck_assert_int_eq(key_load(path, first, &why), 0);
	ck_assert_int_eq(key_generate(path, false, &why), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why.text, "exists and is kept"));
	ck_assert_int_eq(key_load(path, second, &why), 0);
	ck_assert_mem_eq(first, second, KEY_BYTES);
	ck_assert_int_eq(key_generate(path, true, &why), 0);
	ck_assert_int_eq(key_load(path, second, &why), 0);
	ck_assert_mem_ne(first, second, KEY_BYTES);
	remove_key(path);
}
END_TEST

START_TEST(a_key_that_others_can_read_is_refused_with_the_remedy)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602};
	uint8_t key[KEY_BYTES];
	char path[KEY_PATH_BYTES], remedy[KEY_PATH_BYTES + 16];
	struct net_why why;

	key_path(path);
	ck_assert_int_eq(key_generate(path, false, &why), 0);
	snprintf(remedy, sizeof(remedy), "chmod 600 %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		ck_assert_int_eq(chmod(path, modes[i]), 0);
		ck_assert_int_eq(key_load(path, key, &why), -EPERM);
		ck_assert_ptr_nonnull(strstr(why.text, remedy));
	}
	remove_key(path);
}
END_TEST

START_TEST(a_file_that_is_no_key_is_refused)
{
	static const char good[] = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
	uint8_t key[KEY_BYTES];
	char path[KEY_PATH_BYTES], text[128];
	struct net_why why;

	key_path(path);
	ck_assert_int_eq(key_generate(path, false, &why), 0);
	write_file(path, good, 0600); /* its newline lost: still a key */
	ck_assert_int_eq(key_load(path, key, &why), 0);
	ck_assert_uint_eq(key[31], 0xff);
	write_file(path, "", 0600);
	ck_assert_int_eq(key_load(path, key, &why), -EINVAL);
	write_file(path, good + 1, 0600);
	ck_assert_int_eq(key_load(path, key, &why), -EINVAL);
	snprintf(text, sizeof(text), "%s\n\n", good);
	write_file(path, text, 0600);
	ck_assert_int_eq(key_load(path, key, &why), -EINVAL);
	snprintf(text, sizeof(text), "g%s\n", good + 1);
	write_file(path, text, 0600);
	ck_assert_int_eq(key_load(path, key, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "must hold 64 hexadecimal digits"));
	remove_key(path);
}
END_TEST

START_TEST(a_missing_key_says_how_to_make_one)
{
	uint8_t key[KEY_BYTES];
	struct net_why why;

	ck_assert_int_eq(key_load("/nonexistent/key", key, &why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why.text, "pangea keygen"));
}
END_TEST

START_TEST(a_directory_or_pipe_as_key_is_refused_without_hanging)
{
	char dir[] = "/tmp/test_auth.XXXXXX", path[64];
	uint8_t key[KEY_BYTES];
	struct net_why why;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pipe", dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(key_load(dir, key, &why), -EINVAL);
	ck_assert_int_eq(key_load(path, key, &why), -EINVAL);
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(the_environment_names_the_key)
{
	char path[KEY_PATH_BYTES];

	setenv("PANGEA_KEY", "/somewhere/else", 1);
	ck_assert_int_eq(key_default_path(path), 0);
	ck_assert_str_eq(path, "/somewhere/else");
	unsetenv("PANGEA_KEY");
	setenv("HOME", "/nonexistent", 1);
	ck_assert_int_eq(key_default_path(path), 0);
	ck_assert_str_eq(path, access("/etc/pangea/key", F_OK) ? "/nonexistent/.config/pangea/key" : "/etc/pangea/key");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("auth");
	TCase *tc = tcase_create("auth");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, two_ends_with_one_key_accept_each_other);
	tcase_add_test(tc, another_key_is_refused_by_both_ends);
	tcase_add_test(tc, a_client_without_the_key_that_goes_on_all_the_same_is_refused);
	tcase_add_test(tc, the_servers_own_proof_sent_back_is_refused);
	tcase_add_test(tc, a_replayed_hello_meets_another_challenge);
	tcase_add_test(tc, a_client_of_another_version_learns_ours_and_nothing_else);
	tcase_add_test(tc, a_server_of_another_version_is_named);
	tcase_add_test(tc, a_server_that_sends_garbage_is_no_node);
	tcase_add_test(tc, a_server_that_sends_nothing_ends_by_the_deadline);
	tcase_add_test(tc, a_server_that_hangs_up_is_named);
	tcase_add_test(tc, a_client_that_sends_garbage_gets_no_answer);
	tcase_add_test(tc, a_client_that_trickles_ends_by_the_deadline_all_the_same);
	tcase_add_test(tc, each_verdict_has_its_sentence);
	tcase_add_test(tc, hello_fields_out_of_range_are_refused);
	tcase_add_test(tc, a_generated_key_loads_and_is_for_its_owner_only);
	tcase_add_test(tc, a_key_is_not_overwritten_unless_forced);
	tcase_add_test(tc, a_key_that_others_can_read_is_refused_with_the_remedy);
	tcase_add_test(tc, a_file_that_is_no_key_is_refused);
	tcase_add_test(tc, a_missing_key_says_how_to_make_one);
	tcase_add_test(tc, a_directory_or_pipe_as_key_is_refused_without_hanging);
	tcase_add_test(tc, the_environment_names_the_key);
	suite_add_tcase(s, tc);
	return check_main(s);
}
