#include "net/peers_impl.h"
#include "net/test_peers.h"

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
    if (test_transport == HG_TRANSPORT_HTTP)
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
    world->many_status = 405; /* one by one */
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
    assert_true(stats.probes >= (test_transport == HG_TRANSPORT_HTTP ? 2 : 1));
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
    test_wait(&world->loop, hg_list_is_empty(&world->client->members)); /* and forgets it then */
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
    world->many_status = 405; /* one by one */
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
    return run_over_transports(tests, HG_COUNT(tests));
}
