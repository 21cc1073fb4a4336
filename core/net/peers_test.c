#include "net/peers.h"

#include "base/hash.h"
#include "net/listener.h"
#include "net/server.h"
#include "net/test_support.h"
#include "wire/peer_message.h"
#include "wire/query.h"

#define TIMEOUT_MS 400

/* What the read path would be told; this test stands in for it. */
struct told {
    unsigned calls;
    enum hg_ask_outcome outcome;
    struct hg_ask_answer answer;
    uint64_t at_ms;
    char data[256];
};
struct hg_load_in_test {
    struct told told;
    struct hg_load load;
};

void hg_load_asked(struct hg_load *load, const struct hg_ask_answer *answer, uint64_t now_ms,
                   struct hg_loop *here)
{
    struct told *told = &hg_container_of(load, struct hg_load_in_test, load)->told;
    assert_non_null(here);
    told->calls++;
    told->outcome = answer->outcome;
    told->answer = *answer;
    told->at_ms = now_ms;
    assert_true((answer->outcome == HG_ASK_TYPED) == (answer->result != NULL));
    if (answer->result != NULL) {
        struct hg_bytes data = hg_value_data(answer->result);
        snprintf(told->data, sizeof(told->data), "%.*s", (int)data.len, data.data);
        assert_true(hg_bytes_eq(hg_value_key(answer->result), load->flight.key));
        hg_value_unref(answer->result);
    }
}

/* The other node: our server with a handler that plays it. */
struct world {
    struct hg_loop loop;
    struct hg_server *server;
    struct hg_listener *listener;
    struct hg_peers_config config;
    struct hg_peer_client *client;
    struct hg_peer *peer;
    struct hg_exchange *slow[256];
    unsigned slow_count, asks, probes;
    bool server_closed, client_closed;
    bool answers_probes;
    struct hg_peer_request last; /* of an ask; spans are dead, counts and numbers are not */
    char last_origin[64], last_authorization[64], last_path[4096];
    size_t last_chain_len[HG_CHAIN_MAX];
};

static void answer_bytes(struct hg_exchange *exchange, int status, struct hg_bytes body)
{
    struct hg_reply reply = {.status = status, .body = body};
    hg_exchange_answer(exchange, &reply);
}

static void answer_value(struct hg_exchange *exchange, const char *key, const char *data)
{
    struct hg_buf body;
    struct hg_peer_response response = {
        .status = HG_STATUS_VALUE,
        .value = hg_bytes_str(data),
        .has_ttl = true,
        .ttl_ms = 1500,
        .age_ms = 20,
        .has_key_hash = true,
        .key_hash = hg_xxh64(hg_bytes_str(key)),
        .minute_qps = 3,
    };
    hg_buf_init(&body, 1 << 20);
    assert_int_equal(hg_peer_response_encode(&response, &body), HG_OK);
    answer_bytes(exchange, 200, hg_buf_bytes(&body));
    hg_buf_finish(&body);
}

static void note_request(struct world *world, const struct hg_http1_request *request)
{
    char decoded[4096];
    size_t len;
    void *owner;
    snprintf(world->last_path, sizeof(world->last_path), "%.*s", (int)request->path.len,
             request->path.data);
    snprintf(world->last_authorization, sizeof(world->last_authorization), "%.*s",
             (int)request->authorization.len, request->authorization.data);
    assert_non_null(request->peer_request.data);
    assert_int_equal(hg_base64_decode(request->peer_request, decoded, &len), HG_OK);
    assert_int_equal(hg_peer_request_decode(hg_bytes(decoded, len), &world->last, &owner), HG_OK);
    snprintf(world->last_origin, sizeof(world->last_origin), "%.*s", (int)world->last.origin.len,
             world->last.origin.data);
    for (size_t i = 0; i < world->last.chain_count; i++)
        world->last_chain_len[i] = world->last.chain[i].len;
    hg_peer_message_free(owner);
}

static void on_request(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    const struct hg_http1_request *request = exchange->request;
    if (hg_bytes_eq(request->path, HG_BYTES("/_hgcache/"))) {
        world->probes++;
        if (world->answers_probes)
            answer_bytes(exchange, 404, HG_BYTES("no such group\n"));
        else
            hg_exchange_keep(exchange); /* dropped by gone */
        return;
    }
    if (request->method != HG_GET) {
        answer_bytes(exchange, 200, hg_http1_field(request, "Hgcache-Origin"));
        return;
    }
    world->asks++;
    note_request(world, request);
    struct hg_bytes key = hg_bytes(request->path.data + 12, request->path.len - 12);
    if (hg_bytes_eq(key, HG_BYTES("typed")))
        answer_value(exchange, "typed", "the value");
    else if (hg_bytes_eq(key, HG_BYTES("bare")))
        answer_bytes(exchange, 500, HG_BYTES("getter failed\n"));
    else if (hg_bytes_eq(key, HG_BYTES("garbage")))
        answer_bytes(exchange, 200, HG_BYTES("\xff\xff\xff\xff\xff"));
    else if (hg_bytes_eq(key, HG_BYTES("wrong")))
        answer_value(exchange, "another", "not yours");
    else
        world->slow[world->slow_count++] = hg_exchange_keep(exchange);
}

static void on_gone(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    for (unsigned i = 0; i < world->slow_count; i++) {
        if (world->slow[i] == exchange)
            world->slow[i] = NULL;
    }
    hg_exchange_drop(exchange);
}

static void on_accept(void *ctx, int fd, unsigned roles)
{
    hg_server_adopt(((struct world *)ctx)->server, fd, roles);
}

static struct hg_peer *make_peer(struct world *world, uint16_t port)
{
    char name[64], error[128];
    struct hg_peer *peer;
    snprintf(name, sizeof(name), "http://127.0.0.1:%u", (unsigned)port);
    assert_int_equal(
        hg_peer_create(hg_bytes_str(name), &world->config, &peer, error, sizeof(error)), HG_OK);
    assert_string_equal(hg_peer_name(peer), name);
    return peer;
}

static struct world *world_open(void)
{
    static const struct hg_server_limits limits = {
        .http1 =
            {.line = 8192, .head = 16384, .fields = 100, .body = 1 << 20, .chunk_extension = 1024},
        .pipeline = 16,
    };
    static const struct hg_server_ops ops = {.request = on_request, .gone = on_gone};
    struct world *world = calloc(1, sizeof(*world));
    uint16_t port;
    world->answers_probes = true;
    world->config = (struct hg_peers_config){
        .self = "http://127.0.0.1:1",
        .base_path = "/_hgcache/",
        .timeout_ms = TIMEOUT_MS,
        .message_max = 1 << 20,
        .token = "s3cret",
    };
    assert_int_equal(hg_loop_init(&world->loop, "test"), HG_OK);
    assert_int_equal(hg_server_create(&world->loop, &limits, &ops, world, &world->server), HG_OK);
    int fd = test_listen(&port);
    assert_int_equal(hg_listener_open(&world->loop, fd, 0, on_accept, world, &world->listener),
                     HG_OK);
    assert_int_equal(hg_peer_client_create(&world->loop, &world->config, &world->client), HG_OK);
    world->peer = make_peer(world, port);
    return world;
}

static void on_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static void world_close_client(struct world *world)
{
    hg_peer_client_close(world->client, on_flag, &world->client_closed);
    test_wait(&world->loop, world->client_closed);
}

static void world_close(struct world *world)
{
    if (!world->client_closed)
        world_close_client(world);
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.outstanding, 0);
    hg_listener_close(world->listener, NULL, NULL);
    hg_server_close(world->server, on_flag, &world->server_closed);
    test_wait(&world->loop, world->server_closed);
    hg_peer_destroy(world->peer);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
}

static struct hg_load_in_test *make_load(struct world *world, const char *key,
                                         uint64_t deadline_in_ms)
{
    struct hg_load_in_test *load = calloc(1, sizeof(*load));
    load->load.flight.key = hg_bytes_str(key);
    load->load.deadline_ms = hg_clock_boot_ms() + deadline_in_ms;
    uv_update_time(&world->loop.uv);
    return load;
}

static struct hg_load_in_test *ask(struct world *world, struct hg_peer *peer, const char *key,
                                   uint64_t deadline_in_ms)
{
    struct hg_load_in_test *load = make_load(world, key, deadline_in_ms);
    assert_int_equal(hg_peer_client_ask(world->client, peer, &load->load, "g", 77), HG_OK);
    assert_int_equal(load->told.calls, 0);
    return load;
}

static void test_typed_value_arrives_with_life_and_age(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *load = make_load(world, "typed", 5000);
    char chain[] = "\0\3g\0a\0\4g\0bc";
    load->load.chain = hg_bytes(chain, sizeof(chain) - 1);
    uint64_t before = hg_loop_now(&world->loop);
    assert_int_equal(hg_peer_client_ask(world->client, world->peer, &load->load, "g", 77), HG_OK);
    test_wait(&world->loop, load->told.calls == 1);
    assert_int_equal(load->told.outcome, HG_ASK_TYPED);
    assert_string_equal(load->told.data, "the value");
    assert_int_equal(load->told.answer.ttl_ms, 1500);
    assert_int_equal(load->told.answer.age_ms, 20);
    assert_true(load->told.answer.sent_ms >= before &&
                load->told.answer.sent_ms <= load->told.at_ms);
    assert_true(load->told.answer.minute_qps == 3);

    assert_string_equal(world->last_path, "/_hgcache/g/typed");
    assert_string_equal(world->last_authorization, "Bearer s3cret");
    assert_string_equal(world->last_origin, "http://127.0.0.1:1");
    assert_int_equal(world->last.ring, 77);
    assert_int_equal(world->last.wire_version, HG_WIRE_VERSION);
    assert_true(world->last.deadline_ms > 4000 && world->last.deadline_ms <= 5001);
    assert_int_equal(world->last.chain_count, 2);
    assert_int_equal(world->last_chain_len[0], 3);
    assert_int_equal(world->last_chain_len[1], 4);

    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.asks, 1);
    assert_int_equal(stats.errors, 0);
    assert_true(stats.is_up);
    free(load);
    world_close(world);
}

static void test_malformed_chain_is_refused_at_the_start(void **state)
{
    (void)state;
    static const struct hg_bytes chains[] = {{"\0", 1}, {"\0\5abc", 5}, {"\0\1a\0", 4}};
    struct world *world = world_open();
    for (size_t i = 0; i < HG_COUNT(chains); i++) {
        struct hg_load_in_test *load = make_load(world, "typed", 5000);
        load->load.chain = chains[i];
        assert_int_equal(hg_peer_client_ask(world->client, world->peer, &load->load, "g", 1),
                         HG_EINVAL);
        free(load);
    }
    world_close(world);
}

static void test_key_bytes_travel_encoded(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *load = make_load(world, "", 5000);
    load->load.flight.key = HG_BYTES("a/b +%\0\xff?");
    assert_int_equal(hg_peer_client_ask(world->client, world->peer, &load->load, "g&", 1), HG_OK);
    test_wait(&world->loop, world->slow_count == 1);
    assert_string_equal(world->last_path, "/_hgcache/g%26/a%2Fb%20%2B%25%00%FF%3F");
    answer_bytes(world->slow[0], 500, HG_BYTES("x"));
    test_wait(&world->loop, load->told.calls == 1);
    free(load);
    world_close(world);
}

static void test_other_words_than_ours_are_sorted(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        enum hg_ask_outcome outcome;
    } cases[] = {
        {"bare", HG_ASK_UNTYPED},
        {"garbage", HG_ASK_TRANSPORT},
        {"wrong", HG_ASK_TRANSPORT},
    };
    struct world *world = world_open();
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_load_in_test *load = ask(world, world->peer, cases[i].key, 5000);
        test_wait(&world->loop, load->told.calls == 1);
        assert_int_equal(load->told.outcome, cases[i].outcome);
        assert_true(hg_peer_is_up(world->peer)); /* it speaks: it lives */
        free(load);
    }
    world_close(world);
}

/* A3, second half */
static void test_slow_peer_is_waited_for_and_stays_up(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    uint64_t until = hg_clock_boot_ms() + 4 * TIMEOUT_MS;
    test_wait(&world->loop, hg_clock_boot_ms() > until);
    assert_int_equal(load->told.calls, 0);
    assert_true(hg_peer_is_up(world->peer));
    assert_true(world->probes >= 2);
    answer_value(world->slow[0], "slow", "at last");
    test_wait(&world->loop, load->told.calls == 1);
    assert_int_equal(load->told.outcome, HG_ASK_TYPED);
    assert_string_equal(load->told.data, "at last");
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.downs, 0);
    free(load);
    world_close(world);
}

/* Far more slow asks than connections: probes must not wait behind them. */
static void test_many_slow_asks_do_not_hide_a_sign_of_life(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct world *world = world_open();
    struct hg_load_in_test *loads[COUNT];
    for (int i = 0; i < COUNT; i++)
        loads[i] = ask(world, world->peer, "slow", 20000);
    uint64_t until = hg_clock_boot_ms() + 3 * TIMEOUT_MS;
    test_wait(&world->loop, hg_clock_boot_ms() > until);
    assert_true(hg_peer_is_up(world->peer));
    for (unsigned i = 0; i < COUNT; i++) {
        test_wait(&world->loop, world->slow_count > i);
        answer_value(world->slow[i], "slow", "v");
    }
    for (int i = 0; i < COUNT; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_TYPED);
        free(loads[i]);
    }
    world_close(world);
}

/* A3, first half: the kernel accepts, the process never answers. */
static void test_silent_peer_fails_within_the_timeout_and_recovers(void **state)
{
    (void)state;
    struct world *world = world_open();
    uint16_t port;
    int silent = test_listen(&port);
    struct hg_peer *peer = make_peer(world, port);
    struct hg_load_in_test *loads[3];
    uint64_t begun = hg_clock_boot_ms();
    for (int i = 0; i < 3; i++)
        loads[i] = ask(world, peer, "k", 20000);
    for (int i = 0; i < 3; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_TRANSPORT);
        free(loads[i]);
    }
    uint64_t took = hg_clock_boot_ms() - begun;
    assert_true(took >= TIMEOUT_MS - 5);
    assert_true(took < 3 * TIMEOUT_MS);
    assert_false(hg_peer_is_up(peer));

    struct hg_load_in_test *refused = make_load(world, "k", 1000);
    assert_int_equal(hg_peer_client_ask(world->client, peer, &refused->load, "g", 1), HG_EPEER);
    free(refused);

    /* It wakes up: whoever connects is answered. A probe finds out, without any ask. */
    uint64_t until = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    while (!hg_peer_is_up(peer)) {
        int fd = accept4(silent, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            char request[4096];
            (void)!read(fd, request, sizeof(request));
            (void)!write(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 45);
            close(fd);
        }
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_doze();
        assert_true(hg_clock_boot_ms() < until);
    }
    struct hg_peer_stats stats;
    hg_peer_stats(peer, &stats);
    assert_int_equal(stats.downs, 1);
    assert_true(stats.probes >= 2);
    assert_int_equal(stats.outstanding, 0);
    close(silent);
    hg_peer_destroy(peer);
    world_close(world);
}

/* A1, A16 */
static void test_dead_peer_fails_all_asks_at_once(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct world *world = world_open();
    uint16_t port;
    close(test_listen(&port));
    struct hg_peer *peer = make_peer(world, port);
    struct hg_load_in_test *loads[COUNT];
    uint64_t begun = hg_clock_boot_ms();
    for (int i = 0; i < COUNT; i++)
        loads[i] = ask(world, peer, "k", 20000);
    for (int i = 0; i < COUNT; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_TRANSPORT);
        free(loads[i]);
    }
    assert_true(hg_clock_boot_ms() - begun < 2000);
    assert_false(hg_peer_is_up(peer));
    struct hg_peer_stats stats;
    hg_peer_stats(peer, &stats);
    assert_int_equal(stats.downs, 1);
    assert_int_equal(stats.outstanding, 0);
    hg_peer_destroy(peer); /* while the client still probes it */
    world_close(world);
}

/*
 * A host that swallows connection attempts: 250 ms, also for those that had to wait for a
 * connection.
 */
static void test_unreachable_peer_costs_one_connect_timeout(void **state)
{
    (void)state;
    enum { COUNT = 150, FILLERS = 8 };
    struct world *world = world_open();
    struct hg_load_in_test *loads[COUNT];
    int fillers[FILLERS];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int full = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(full, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(full, 0), 0); /* its queue fills up; then nobody gets an answer */
    in.sin_port = htons(test_port_of(full));
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&in, sizeof(in));
    }
    struct hg_peer *peer = make_peer(world, ntohs(in.sin_port));
    uint64_t begun = hg_clock_boot_ms();
    for (int i = 0; i < COUNT; i++)
        loads[i] = ask(world, peer, "k", 20000);
    for (int i = 0; i < COUNT; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_TRANSPORT);
        free(loads[i]);
    }
    uint64_t took = hg_clock_boot_ms() - begun;
    assert_true(took >= 200);
    assert_true(took < 2 * TIMEOUT_MS);
    assert_false(hg_peer_is_up(peer));
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(full);
    hg_peer_destroy(peer);
    world_close(world);
}

/* A2 */
static void test_answer_cut_short_is_never_a_value(void **state)
{
    (void)state;
    struct world *world = world_open();
    static const char *answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n\n\3abc", /* died mid-response */
        "HTTP/1.1 200 OK\r\n\r\n\n\3abc",                        /* an end that proves nothing */
    };
    for (size_t i = 0; i < HG_COUNT(answers); i++) {
        uint16_t port;
        int listener = test_listen(&port), fd = -1;
        struct hg_peer *peer = make_peer(world, port);
        struct hg_load_in_test *load = ask(world, peer, "k", 5000);
        test_wait(&world->loop, (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
        char request[4096];
        test_wait(&world->loop, read(fd, request, sizeof(request)) > 0);
        (void)!write(fd, answers[i], strlen(answers[i]));
        close(fd);
        test_wait(&world->loop, load->told.calls == 1);
        assert_int_equal(load->told.outcome, HG_ASK_TRANSPORT);
        free(load);
        close(listener);
        hg_peer_destroy(peer);
    }
    world_close(world);
}

static void test_own_deadline_is_no_mark_on_the_peer(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 300);
    test_wait(&world->loop, load->told.calls == 1);
    assert_int_equal(load->told.outcome, HG_ASK_DEADLINE);
    assert_true(load->told.at_ms >= load->load.deadline_ms);
    assert_true(hg_peer_is_up(world->peer));
    free(load);
    load = make_load(world, "late", 0);
    assert_int_equal(hg_peer_client_ask(world->client, world->peer, &load->load, "g", 1),
                     HG_ETIMEDOUT);
    free(load);
    world_close(world);
}

static void test_close_reports_every_ask_once(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[5];
    for (int i = 0; i < 5; i++)
        loads[i] = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 5);
    world_close_client(world);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(loads[i]->told.calls, 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_DEADLINE); /* no fallback when we close */
        free(loads[i]);
    }
    assert_true(hg_peer_is_up(world->peer));
    world_close(world);
}

struct sent {
    unsigned calls;
    int err, status;
    char body[64];
};

static void on_sent(void *ctx, const struct hg_fetch_response *response)
{
    struct sent *sent = ctx;
    sent->calls++;
    sent->err = response->err;
    sent->status = response->status;
    snprintf(sent->body, sizeof(sent->body), "%.*s", (int)response->body.len, response->body.data);
}

static void test_other_requests_carry_origin_and_token(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct sent sent = {0};
    assert_int_equal(hg_peer_client_send(world->client, world->peer, "POST",
                                         "/_hgcache-admin/remove", HG_BYTES("x"), 2000, on_sent,
                                         &sent),
                     HG_OK);
    test_wait(&world->loop, sent.calls == 1);
    assert_int_equal(sent.err, HG_OK);
    assert_int_equal(sent.status, 200);
    assert_string_equal(sent.body, "http://127.0.0.1:1");
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typed_value_arrives_with_life_and_age),
        cmocka_unit_test(test_malformed_chain_is_refused_at_the_start),
        cmocka_unit_test(test_key_bytes_travel_encoded),
        cmocka_unit_test(test_other_words_than_ours_are_sorted),
        cmocka_unit_test(test_slow_peer_is_waited_for_and_stays_up),
        cmocka_unit_test(test_many_slow_asks_do_not_hide_a_sign_of_life),
        cmocka_unit_test(test_silent_peer_fails_within_the_timeout_and_recovers),
        cmocka_unit_test(test_dead_peer_fails_all_asks_at_once),
        cmocka_unit_test(test_unreachable_peer_costs_one_connect_timeout),
        cmocka_unit_test(test_answer_cut_short_is_never_a_value),
        cmocka_unit_test(test_own_deadline_is_no_mark_on_the_peer),
        cmocka_unit_test(test_close_reports_every_ask_once),
        cmocka_unit_test(test_other_requests_carry_origin_and_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
