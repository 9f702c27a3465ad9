/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA lanes over a real device, without guests: two nodes in one process, joined over this host's own address. `rdmalane TEST`
 * runs one test and exits 0, or 1 with what is wrong; without arguments it prints the names. tests/cluster/suite-rdma.sh runs them.
 * `rdmalane latency` prints what a request for a page and its answer take, in ns.
 */
#include "tests/cluster/rdma_world.h"

/* ---- tests ---- */

static void flood(unsigned l, uint32_t messages)
{
	struct world w;
	uint32_t sent[2] = {0, 0};
	uint64_t deadline;

	set_up(&w);
	deadline = clock_ns() + 60 * NS_PER_SEC;
	while (w.in[l][0].due < messages || w.in[l][1].due < messages) {
		REQUIRE(clock_ns() < deadline);
		for (node_t n = 0; n < 2; n++) {
			/* Bursts, so that all kinds of waiting happen: more than there are receives, slots, buffers. */
			for (int burst = rand() % 90; burst > 0 && sent[n] < messages && sent[n] - w.in[l][!n].due < 200; burst--)
				REQUIRE(send_one(&w, l, n, sent[n]++) == 0);
			poll_end(&w, l, n);
		}
	}
	REQUIRE(!w.in[l][0].lost && !w.in[l][1].lost);
	tear_down(&w);
}

static void test_messages_of_the_dsm_lane(void)
{
	flood(1, 6000);
}

static void test_messages_of_the_control_lane(void)
{
	flood(0, 1500);
}

/* A request and its answer, each end asleep until its descriptor says that there is something. */
static void test_descriptors_wake_their_owners(void)
{
	struct world w;

	set_up(&w);
	for (uint32_t i = 0; i < 300; i++) {
		node_t to = i % 2;

		REQUIRE(send_one(&w, 1, !to, i / 2) == 0);
		while (w.in[1][to].due == i / 2) {
			struct pollfd p = {.fd = net_fd(w.lane[1][to]), .events = POLLIN};

			REQUIRE(poll(&p, 1, 5000) == 1);
			poll_end(&w, 1, to);
		}
	}
	tear_down(&w);
}

/* Likewise, but the owner looks before it sleeps, as a shard does: what it has seen so takes nothing from what wakes it. */
static void test_who_looks_is_woken_all_the_same(void)
{
	unsigned looked = 0;
	struct world w;

	set_up(&w);
	for (uint32_t i = 0; i < 600; i++) {
		node_t to = i % 2;

		REQUIRE(send_one(&w, 1, !to, i / 2) == 0);
		for (int looks = rand() % 3; looks; looks--)
			REQUIRE(net_look(w.lane[1][to], &w.in[1][to].sink) >= 0);
		looked += w.in[1][to].due != i / 2;
		while (w.in[1][to].due == i / 2) {
			struct pollfd p = {.fd = net_fd(w.lane[1][to]), .events = POLLIN};

			REQUIRE(poll(&p, 1, 5000) == 1);
			poll_end(&w, 1, to);
		}
	}
	REQUIRE(looked > 50 && looked < 550);
	REQUIRE(net_can_look(w.lane[1][0]));
	tear_down(&w);
}

static struct wire_hdr answer_to(const struct wire_hdr *req)
{
	return (struct wire_hdr){.type = WIRE_DATA,
				 .epoch = req->epoch,
				 .len = PAGE_BYTES,
				 .arg = req->arg,
				 .seq = (uint32_t)req->arg,
				 .node = req->node};
}

/* Answers each request with a page: node 1's. */
struct server {
	struct inbox in;
	struct net_lane *lane;
};

static void serve_page(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	struct server *s = container_of(container_of(sink, struct inbox, sink), struct server, in);
	struct wire_hdr hdr_out = answer_to(hdr);
	uint8_t page[PAGE_BYTES];

	(void)payload;
	s->in.due++;
	for (uint32_t i = 0; i < sizeof(page); i++)
		page[i] = byte_of(hdr_out.seq, i);
	REQUIRE(net_send(s->lane, from, &hdr_out, page) == 0);
}

/* Requests and the pages that answer them, which go without a frame of their own: many times round all rings. */
static void test_pages_that_answer_requests(void)
{
	struct server server = {.in.sink = {serve_page, take_loss}};
	uint32_t asked = 0, n = 3000;
	struct world w;

	set_up(&w);
	server.lane = w.lane[1][1];
	uint64_t deadline = clock_ns() + 60 * NS_PER_SEC;
	while (w.in[1][0].due < n) {
		REQUIRE(clock_ns() < deadline);
		for (int burst = rand() % 100; burst > 0 && asked < n && asked - w.in[1][0].due < 150; burst--) {
			struct wire_hdr req = {.type = WIRE_REQ_WRITE, .arg = asked, .seq = asked / 2, .epoch = 1};

			REQUIRE(net_send(w.lane[1][0], 1, &req, NULL) == 0);
			asked++;
		}
		REQUIRE(net_poll(w.lane[1][1], &server.in.sink) >= 0);
		poll_end(&w, 1, 0);
	}
	REQUIRE(server.in.due == n && !server.in.lost && !w.in[1][0].lost);
	REQUIRE(peer_of(&w, 1)->flow.asked_us.n > 0 && peer_of(&w, 1)->flow.asked_us.n == peer_of(&w, 0)->flow.asked.n);
	tear_down(&w);
}

static void *send_many(void *arg)
{
	struct net_lane *lane = arg;
	struct wire_hdr hdr = {.type = WIRE_STATS};

	for (int i = 0; i < 2000; i++)
		REQUIRE(net_send(lane, 1, &hdr, NULL) == 0);
	return NULL;
}

static void count(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	(void)from, (void)hdr, (void)payload;
	container_of(sink, struct inbox, sink)->due++;
}

static void test_any_thread_may_send_on_the_control_lane(void)
{
	pthread_t thread[3];
	struct world w;

	set_up(&w);
	w.in[0][1].sink.recv = count;
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		REQUIRE(pthread_create(&thread[i], NULL, send_many, w.lane[0][0]) == 0);
	uint64_t deadline = clock_ns() + 60 * NS_PER_SEC;
	while (w.in[0][1].due < 2000 * ARRAY_SIZE(thread)) {
		REQUIRE(clock_ns() < deadline);
		poll_end(&w, 0, 0);
		poll_end(&w, 0, 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
	tear_down(&w);
}

static void test_a_peer_that_does_not_read_is_lost(void)
{
	struct world w;
	uint32_t seq = 0;
	int rc = 0;

	set_up(&w);
	while (!rc) {
		REQUIRE(seq < 100000);
		rc = send_one(&w, 1, 0, seq++);
	}
	REQUIRE(rc == -ENOBUFS);
	await_loss(&w, 1, 0);
	REQUIRE(w.in[1][0].lost == 1 && strstr(w.in[1][0].why, "does not read"));
	REQUIRE(send_one(&w, 1, 0, seq) == -ENOTCONN);
	await_loss(&w, 1, 1); /* and learns of it */
	tear_down(&w);
}

static void test_what_was_sent_before_the_end_is_delivered(void)
{
	struct world w;

	set_up(&w);
	for (uint32_t i = 0; i < 20; i++)
		REQUIRE(send_one(&w, 1, 0, i) == 0);
	net_free(w.lane[1][0]);
	w.lane[1][0] = NULL;
	await_loss(&w, 1, 1);
	REQUIRE(w.in[1][1].due == 20);
	tear_down(&w);
}

static void test_a_wrong_token_is_turned_away(void)
{
	struct answer a;
	struct wire_rdma wrong;
	struct net_why why;
	pthread_t thread;
	struct world w;

	open_links(&w);
	a = (struct answer){.w = &w};
	wrong = w.offer;
	wrong.token[5] ^= 1;
	REQUIRE(pthread_create(&thread, NULL, answer, &a) == 0);
	REQUIRE(rdma_links_dial(w.links[0], 1, &wrong, clock_ns() + WAIT_NS, &why) == -EHOSTUNREACH);
	REQUIRE(strstr(why.text, "refused"));
	/* Who has the right one is served all the same. */
	REQUIRE(rdma_links_dial(w.links[0], 1, &w.offer, clock_ns() + WAIT_NS, &why) == 0);
	pthread_join(thread, NULL);
	REQUIRE(a.rc == 0);
	make_lanes(&w);
	REQUIRE(send_one(&w, 1, 0, 0) == 0);
	tear_down(&w);
}

/* What a broken node 0 can do: a SEND of these bytes to node 1, or a WRITE of them to a slot, with a key and immediate data. */
struct misdeed {
	enum ibv_wr_opcode opcode;
	uint32_t slot, key_off, imm;
};

static void misbehave(struct world *w, const struct misdeed *m, const void *bytes, uint32_t len)
{
	struct rdma_conn *conn = &peer_of(w, 0)->conn;
	struct ibv_sge sge = {.addr = (uintptr_t)conn->frames, .length = len, .lkey = conn->rest_mr->lkey};
	struct ibv_send_wr *bad, wr = {.wr_id = rdma_wr_id(1, false, 1), .sg_list = &sge, .num_sge = 1, .opcode = m->opcode};

	if (m->opcode != IBV_WR_SEND) {
		wr.wr.rdma.remote_addr = conn->theirs.slots_addr + (size_t)m->slot * rdma_slot_stride(1);
		wr.wr.rdma.rkey = conn->theirs.slots_key + m->key_off;
		wr.imm_data = htobe32(m->imm);
	}
	memcpy(conn->frames, bytes, len);
	REQUIRE(ibv_post_send(conn->id->qp, &wr, &bad) == 0);
}

static void test_a_frame_of_garbage_loses_the_peer(void)
{
	uint8_t garbage[RDMA_FRAME_BYTES];
	struct world w;

	set_up(&w);
	memset(garbage, 0xa5, sizeof(garbage));
	misbehave(&w, &(struct misdeed){.opcode = IBV_WR_SEND}, garbage, sizeof(garbage));
	await_loss(&w, 1, 1);
	REQUIRE(w.in[1][1].lost == 1 && w.in[1][1].err == -EPROTO);
	REQUIRE(strstr(w.in[1][1].why, "node 0 sent a message with a length"));
	await_loss(&w, 1, 0);
	tear_down(&w);
}

static void test_an_empty_frame_loses_the_peer(void)
{
	struct world w;

	set_up(&w);
	misbehave(&w, &(struct misdeed){.opcode = IBV_WR_SEND}, "", 0);
	await_loss(&w, 1, 1);
	REQUIRE(w.in[1][1].err == -EPROTO);
	tear_down(&w);
}

/* The device itself refuses it, and both learn of it. */
static void refused_by_the_device(const struct misdeed *m)
{
	uint8_t page[RDMA_FRAME_BYTES] = {0};
	struct world w;

	set_up(&w);
	misbehave(&w, m, page, sizeof(page));
	REQUIRE(send_one(&w, 1, 0, 0) == 0);
	await_loss(&w, 1, 0);
	REQUIRE(strstr(w.in[1][0].why, "the RDMA connection to node 1 failed"));
	await_loss(&w, 1, 1);
	REQUIRE(w.in[1][1].due == 0);
	tear_down(&w);
}

/* Memory next to the slots is not the peer's. */
static void test_a_write_past_the_slots_is_refused_by_the_device(void)
{
	uint16_t depth, slots;

	rdma_sizes(2, 1, &depth, &slots);
	refused_by_the_device(&(struct misdeed){.opcode = IBV_WR_RDMA_WRITE, .slot = slots});
}

static void test_a_write_with_a_wrong_key_is_refused_by_the_device(void)
{
	refused_by_the_device(&(struct misdeed){.opcode = IBV_WR_RDMA_WRITE, .key_off = 1});
}

/* A frame in a slot: node 1 must not believe the immediate data, nor what they lead to. */
static void written(uint32_t imm, uint32_t len, uint8_t fill, const char *why)
{
	uint8_t bytes[PAGE_BYTES];
	struct world w;

	set_up(&w);
	memset(bytes, fill, sizeof(bytes));
	misbehave(&w, &(struct misdeed){.opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .imm = imm}, bytes, len);
	await_loss(&w, 1, 1);
	REQUIRE(w.in[1][1].lost == 1 && w.in[1][1].err == -EPROTO && w.in[1][1].due == 0);
	REQUIRE(strstr(w.in[1][1].why, why));
	await_loss(&w, 1, 0);
	tear_down(&w);
}

static void test_immediate_data_that_lie_lose_the_peer(void)
{
	written(rdma_imm_make(0x7fff, 64), RDMA_FRAME_BYTES, 0, "node 0 sent a message with a field"); /* no such slot */
	written(rdma_imm_make(0, 0xffff), RDMA_FRAME_BYTES, 0, "node 0 sent a message with a length");
	written(rdma_imm_make(0, 0), RDMA_FRAME_BYTES, 0, "node 0 sent a message with a length");
	written(rdma_imm_make(0, RDMA_FRAME_BYTES), RDMA_FRAME_BYTES, 0,
		"node 0 sent a message with a length");                                /* all was frame, none payload */
	written(1u << 31, RDMA_FRAME_BYTES, 0, "node 0 sent a message with a length"); /* a brief one is of a page, */
	written(1u << 31, PAGE_BYTES, 0, "node 0 sent a message with a field");        /* and answers what was asked for */
}

static void test_a_written_frame_of_garbage_loses_the_peer(void)
{
	written(rdma_imm_make(0, 64), RDMA_FRAME_BYTES, 0xa5, "node 0 sent a message with a length");
	written(rdma_imm_make(1, 64), RDMA_FRAME_BYTES, 0,
		"node 0 sent a message with a length"); /* and one that was not written at all */
}

/* More frames than node 1 has receives: node 0's device is told so, and node 1 keeps what it took. */
static void test_a_peer_that_sends_without_credit_is_lost(void)
{
	struct world w;

	set_up(&w);
	for (uint32_t i = 0; i <= peer_of(&w, 0)->flow.depth; i++) {
		struct wire_hdr hdr = message(1, 1);
		struct rdma_peer *p = peer_of(&w, 0);

		p->flow.sent_acked = p->flow.sent; /* as if node 1 had said that it has consumed them */
		hdr.seq = i;
		REQUIRE(net_send(w.lane[1][0], 1, &hdr, NULL) == 0 || w.in[1][0].lost);
	}
	await_loss(&w, 1, 0);
	REQUIRE(strstr(w.in[1][0].why, "the RDMA connection to node 1 failed: RNR"));
	await_loss(&w, 1, 1);
	tear_down(&w);
}

/* Both send all that they may before either looks at its completions: as many as there can be, and none is lost. */
static void test_a_full_completion_queue_loses_nothing(void)
{
	struct world w;
	uint32_t n = 100;

	set_up(&w);
	for (uint32_t i = 0; i < n; i++)
		for (node_t from = 0; from < 2; from++)
			REQUIRE(send_one(&w, 1, from, i) == 0);
	uint64_t deadline = clock_ns() + WAIT_NS;
	while (w.in[1][0].due < n || w.in[1][1].due < n) {
		REQUIRE(clock_ns() < deadline);
		poll_end(&w, 1, 0);
		poll_end(&w, 1, 1);
	}
	REQUIRE(!w.in[1][0].lost && !w.in[1][1].lost);
	tear_down(&w);
}

/* As a device does that fails: everything posted is completed with an error. */
static void test_a_completion_with_an_error_loses_the_peer(void)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct world w;

	set_up(&w);
	REQUIRE(ibv_modify_qp(peer_of(&w, 0)->conn.id->qp, &attr, IBV_QP_STATE) == 0);
	await_loss(&w, 1, 0);
	REQUIRE(w.in[1][0].lost == 1 && w.in[1][0].err == -EIO);
	REQUIRE(strstr(w.in[1][0].why, "the RDMA connection to node 1 failed: "));
	await_loss(&w, 1, 1);
	tear_down(&w);
}

static void test_a_message_over_tcp_loses_the_peer(void)
{
	struct wire_hdr hdr = {.type = WIRE_REQ_READ};
	uint8_t bytes[WIRE_HDR_BYTES];
	struct world w;

	set_up(&w);
	wire_hdr_encode(&hdr, bytes);
	REQUIRE(send(w.socket[1][0], bytes, sizeof(bytes), 0) == sizeof(bytes));
	await_loss(&w, 1, 1);
	REQUIRE(w.in[1][1].err == -EPROTO && strstr(w.in[1][1].why, "over TCP"));
	tear_down(&w);
}

/* ---- how long a request for a page and its answer take, each end a thread asleep until something comes: `rdmalane latency` ----
 */

#define ROUNDS 2000u

struct pinger {
	struct inbox in;
	struct net_lane *lane;
	node_t self;
};

static void reply(struct net_sink *sink, node_t from, const struct wire_hdr *hdr, const uint8_t *payload)
{
	static const uint8_t page[PAGE_BYTES];
	struct pinger *p = container_of(container_of(sink, struct inbox, sink), struct pinger, in);
	struct wire_hdr answer = answer_to(hdr);

	(void)payload;
	p->in.due++;
	if (p->self == 1)
		REQUIRE(net_send(p->lane, from, &answer, page) == 0);
}

static void serve_until(struct pinger *p, uint32_t due)
{
	while (p->in.due < due) {
		struct pollfd fd = {.fd = net_fd(p->lane), .events = POLLIN};

		REQUIRE(poll(&fd, 1, 5000) == 1);
		REQUIRE(net_poll(p->lane, &p->in.sink) >= 0);
	}
}

static void *serve_all(void *arg)
{
	serve_until(arg, ROUNDS);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void latency(void)
{
	static uint64_t took[ROUNDS];
	struct pinger p[2];
	pthread_t thread;
	struct world w;

	set_up(&w);
	for (node_t n = 0; n < 2; n++)
		p[n] = (struct pinger){.in.sink = {reply, take_loss}, .lane = w.lane[1][n], .self = n};
	REQUIRE(pthread_create(&thread, NULL, serve_all, &p[1]) == 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct wire_hdr hdr = {.type = WIRE_REQ_READ, .arg = i, .seq = i};
		uint64_t start = clock_ns();

		REQUIRE(net_send(w.lane[1][0], 1, &hdr, NULL) == 0);
		serve_until(&p[0], i + 1);
		took[i] = clock_ns() - start;
	}
	pthread_join(thread, NULL);
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	printf("rdmalane p50=%llu p99=%llu n=%u\n", (unsigned long long)took[ROUNDS / 2],
	       (unsigned long long)took[ROUNDS * 99 / 100], ROUNDS);
	tear_down(&w);
}

#define TEST(name)                 \
	{                          \
#name, test_##name \
	}
static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	TEST(messages_of_the_dsm_lane),
	TEST(messages_of_the_control_lane),
	TEST(descriptors_wake_their_owners),
	TEST(who_looks_is_woken_all_the_same),
	TEST(pages_that_answer_requests),
	TEST(any_thread_may_send_on_the_control_lane),
	TEST(a_peer_that_does_not_read_is_lost),
	TEST(what_was_sent_before_the_end_is_delivered),
	TEST(a_wrong_token_is_turned_away),
	TEST(a_frame_of_garbage_loses_the_peer),
	TEST(an_empty_frame_loses_the_peer),
	TEST(a_write_past_the_slots_is_refused_by_the_device),
	TEST(a_message_over_tcp_loses_the_peer),
	TEST(a_write_with_a_wrong_key_is_refused_by_the_device),
	TEST(immediate_data_that_lie_lose_the_peer),
	TEST(a_written_frame_of_garbage_loses_the_peer),
	TEST(a_peer_that_sends_without_credit_is_lost),
	TEST(a_full_completion_queue_loses_nothing),
	TEST(a_completion_with_an_error_loses_the_peer),
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "latency") == 0) {
		latency();
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		if (argc < 2)
			puts(tests[i].name);
		else if (strcmp(argv[1], tests[i].name) == 0) {
			tests[i].run();
			return 0;
		}
	}
	return argc >= 2;
}
