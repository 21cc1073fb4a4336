#include "net/test_peers.h"

#define KEYS 5

static const char *const names[KEYS] = {"k1", "k2", "k3", "k4", "k5"};

static void ask_all(struct world *world, struct hg_load_in_test **loads, uint64_t deadline_in_ms)
{
    for (int i = 0; i < KEYS; i++)
        loads[i] = ask(world, world->peer, names[i], deadline_in_ms);
}

static void free_all(struct hg_load_in_test **loads)
{
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(loads[i]->told.calls, 1);
        free(loads[i]);
    }
}

/* One answer of the message that came last. */
static void say(struct world *world, uint32_t number, const char *data)
{
    struct hg_buf body, part;
    encode_value(&body, names[number - 1], data);
    hg_buf_init(&part, 1 << 20);
    assert_int_equal(hg_peer_answers_append(hg_buf_bytes(&body), number, &part), HG_OK);
    hg_exchange_piece(world->many[(world->many_count - 1) % 4], hg_buf_bytes(&part));
    hg_buf_finish(&part);
    hg_buf_finish(&body);
}

static struct hg_peer_stats stats_of(struct world *world)
{
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.asks + stats.asks_again, stats.many_keys + stats.messages - stats.many);
    return stats;
}

static void test_asks_of_one_turn_travel_in_one_message(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    ask_all(world, loads, 5000);
    test_wait(&world->loop, world->many_count == 1);
    assert_string_equal(world->many_last, "k1 k2 k3 k4 k5 ");
    assert_string_equal(world->last_path, "/_hgcache/");
    assert_string_equal(world->last_authorization, "Bearer s3cret");
    assert_string_equal(world->last_origin, "http://127.0.0.1:1");
    assert_int_equal(world->last.ring, 77);
    assert_int_equal(world->last.deadline_ms, 0); /* each ask has its own */

    /* Each lands when it comes; who is slow holds up nobody. */
    say(world, 3, "three");
    test_wait(&world->loop, loads[2]->told.calls == 1);
    assert_int_equal(loads[2]->told.outcome, HG_ASK_TYPED);
    assert_string_equal(loads[2]->told.data, "three");
    assert_int_equal(loads[2]->told.answer.ttl_ms, 1500);
    assert_int_equal(loads[2]->told.answer.age_ms, 20);
    assert_true(loads[2]->told.answer.minute_qps == 3);
    assert_true(loads[2]->told.answer.sent_ms <= loads[2]->told.at_ms);
    assert_int_equal(loads[0]->told.calls, 0);
    for (uint32_t number = 1; number <= KEYS; number++) {
        if (number != 3)
            say(world, number, names[number - 1]);
    }
    hg_exchange_end(world->many[0]);
    for (int i = 0; i < KEYS; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_TYPED);
    }
    struct hg_peer_stats stats = stats_of(world);
    assert_int_equal(stats.asks, KEYS);
    assert_int_equal(stats.messages, 1);
    assert_int_equal(stats.many, 1);
    assert_int_equal(stats.many_keys, KEYS);
    assert_int_equal(stats.errors, 0);
    assert_int_equal(world->asks, 0);
    free_all(loads);

    /* One alone goes as ever. */
    struct hg_load_in_test *load = ask(world, world->peer, "typed", 5000);
    test_wait(&world->loop, load->told.calls == 1);
    assert_string_equal(load->told.data, "the value");
    assert_int_equal(stats_of(world).many, 1);
    free(load);
    world_close(world);
}

static void test_other_chains_travel_in_other_messages(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    char chain[] = "\0\3g\0a";
    for (int i = 0; i < KEYS; i++) {
        loads[i] = make_load(world, names[i], 5000);
        if (i % 2 == 1) {
            loads[i]->load.chain = hg_bytes(chain, sizeof(chain) - 1);
            loads[i]->load.depth = 1;
        }
        assert_int_equal(hg_peer_client_ask(world->client, world->peer, &loads[i]->load, "g", 77),
                         HG_OK);
    }
    test_wait(&world->loop, world->many_count == 2);
    assert_int_equal(world->many_keys, KEYS);
    world_close_client(world);
    free_all(loads);
    world_close(world);
}

/* Left out of a whole answer: asked for alone. */
static void test_what_is_left_out_is_asked_for_alone(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    ask_all(world, loads, 5000);
    test_wait(&world->loop, world->many_count == 1);
    say(world, 1, "one");
    say(world, 4, "four");
    hg_exchange_end(world->many[0]);
    test_wait(&world->loop, world->slow_count == 3);
    assert_int_equal(loads[0]->told.calls, 1);
    static const unsigned left_out[] = {1, 2, 4};
    for (unsigned i = 0; i < 3; i++)
        answer_value(world->slow[i], names[left_out[i]], "alone");
    for (unsigned i = 0; i < 3; i++) {
        test_wait(&world->loop, loads[left_out[i]]->told.calls == 1);
        assert_string_equal(loads[left_out[i]]->told.data, "alone");
    }
    struct hg_peer_stats stats = stats_of(world);
    assert_int_equal(stats.asks, KEYS);
    assert_int_equal(stats.asks_again, 3);
    assert_int_equal(stats.messages, 4);
    assert_int_equal(stats.errors, 0);
    free_all(loads);
    world_close(world);
}

/* An older node, a Go node: key by key, remembered, and no mark on its health. */
static void test_a_peer_without_the_message_is_asked_key_by_key(void **state)
{
    (void)state;
    static const int statuses[] = {204, 400, 404, 405, 500};
    for (unsigned s = 0; s < HG_COUNT(statuses); s++) {
        struct world *world = world_open();
        struct hg_load_in_test *loads[KEYS];
        world->many_status = statuses[s];
        for (unsigned round = 1; round <= 2; round++) {
            ask_all(world, loads, 5000);
            test_wait(&world->loop, world->slow_count == round * KEYS);
            for (unsigned i = 0; i < KEYS; i++)
                answer_value(world->slow[(round - 1) * KEYS + i], names[i], "alone");
            for (int i = 0; i < KEYS; i++) {
                test_wait(&world->loop, loads[i]->told.calls == 1);
                assert_string_equal(loads[i]->told.data, "alone");
            }
            free_all(loads);
        }
        assert_int_equal(world->many_count, 1);
        assert_true(hg_peer_is_up(world->peer));
        struct hg_peer_stats stats = stats_of(world);
        assert_int_equal(stats.errors, 0);
        assert_int_equal(stats.downs, 0);
        assert_int_equal(stats.asks, 2 * KEYS);
        assert_int_equal(stats.asks_again, KEYS);
        world_close(world);
    }
}

/* Cut in the middle: what landed stays, the others fail. */
static void test_a_cut_message_fails_what_is_missing(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    ask_all(world, loads, 5000);
    test_wait(&world->loop, world->many_count == 1);
    say(world, 2, "two");
    test_wait(&world->loop, loads[1]->told.calls == 1);
    hg_server_close(world->server, on_flag, &world->server_closed);
    for (int i = 0; i < KEYS; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, i == 1 ? HG_ASK_TYPED : HG_ASK_TRANSPORT);
    }
    assert_int_equal(stats_of(world).errors, KEYS - 1);
    assert_false(hg_peer_is_up(world->peer));
    free_all(loads);
    world_close(world);
}

static void test_garbage_fails_what_is_missing(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    ask_all(world, loads, 5000);
    test_wait(&world->loop, world->many_count == 1);
    say(world, 2, "two");
    hg_exchange_piece(world->many[0], HG_BYTES("garbage"));
    say(world, 3, "three");
    hg_exchange_end(world->many[0]);
    for (int i = 0; i < KEYS; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, i == 1 ? HG_ASK_TYPED : HG_ASK_TRANSPORT);
    }
    assert_true(hg_peer_is_up(world->peer)); /* it speaks: it lives */
    free_all(loads);
    world_close(world);
}

/* The owner does not say so itself: each key ends by its own deadline, the others go on. */
static void test_each_key_has_its_own_deadline(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    for (int i = 0; i < KEYS; i++)
        loads[i] = ask(world, world->peer, names[i], i == 2 ? 100 : 20000);
    test_wait(&world->loop, loads[2]->told.calls == 1);
    assert_int_equal(loads[2]->told.outcome, HG_ASK_DEADLINE);
    assert_true(loads[2]->told.at_ms >= loads[2]->load.deadline_ms);
    assert_int_equal(loads[0]->told.calls, 0);
    say(world, 3, "too late");
    for (uint32_t number = 1; number <= KEYS; number++) {
        if (number != 3)
            say(world, number, "in time");
    }
    hg_exchange_end(world->many[0]);
    for (int i = 0; i < KEYS; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_string_equal(loads[i]->told.data, i == 2 ? "" : "in time");
    }
    assert_true(hg_peer_is_up(world->peer));
    free_all(loads);
    world_close(world);
}

static void test_when_all_are_too_late_the_message_is_given_up(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    ask_all(world, loads, 100);
    test_wait(&world->loop, world->many_count == 1);
    for (int i = 0; i < KEYS; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_DEADLINE);
    }
    test_wait(&world->loop, stats_of(world).outstanding == 0);
    assert_true(hg_peer_is_up(world->peer));
    free_all(loads);
    world_close(world);
}

static void test_silence_fails_what_is_missing(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP) /* a server that answers no PING: peer_send_test.c */
        skip();
    struct world *world = world_open();
    struct hg_load_in_test *loads[KEYS];
    world->answers_probes = false;
    ask_all(world, loads, 20000);
    test_wait(&world->loop, world->many_count == 1);
    say(world, 5, "five");
    for (int i = 0; i < KEYS; i++) {
        test_wait(&world->loop, loads[i]->told.calls == 1);
        assert_int_equal(loads[i]->told.outcome, i == 4 ? HG_ASK_TYPED : HG_ASK_TRANSPORT);
    }
    assert_false(hg_peer_is_up(world->peer));
    free_all(loads);
    world_close(world);
}

/* Asks that have not left, and those of a message under way. */
static void test_close_reports_each_key_once(void **state)
{
    (void)state;
    for (int is_sent = 0; is_sent < 2; is_sent++) {
        struct world *world = world_open();
        struct hg_load_in_test *loads[KEYS];
        ask_all(world, loads, 20000);
        if (is_sent)
            test_wait(&world->loop, world->many_count == 1);
        world_close_client(world);
        for (int i = 0; i < KEYS; i++) {
            assert_int_equal(loads[i]->told.calls, 1);
            assert_int_equal(loads[i]->told.outcome, HG_ASK_DEADLINE);
        }
        free_all(loads);
        world_close(world);
    }
}

/* More than one message may have: several. */
static void test_a_message_has_a_maximum_of_keys(void **state)
{
    (void)state;
    enum { COUNT = HG_MANY_KEYS_MAX + 3 };
    struct world *world = world_open();
    struct hg_load_in_test *loads[COUNT];
    for (int i = 0; i < COUNT; i++)
        loads[i] = ask(world, world->peer, "k1", 20000);
    test_wait(&world->loop, world->many_count == 2);
    assert_string_equal(world->many_last, "k1 k1 k1 ");
    assert_int_equal(world->many_keys, COUNT);
    world_close_client(world);
    for (int i = 0; i < COUNT; i++)
        free(loads[i]);
    world_close(world);
}

static void test_no_memory_fails_each_ask_once(void **state)
{
    (void)state;
    for (size_t nth = 0;; nth++) {
        struct world *world = world_open();
        struct hg_load_in_test *warm = ask(world, world->peer, "typed", 5000);
        test_wait(&world->loop, warm->told.calls == 1);
        free(warm);
        struct hg_load_in_test *loads[KEYS];
        ask_all(world, loads, 5000);
        hg_alloc_fail_at(nth, false);
        /* The turn in which the message is made, and no more of the other side than need be. */
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        bool refused = hg_alloc_fail_clear();
        bool is_made = loads[0]->told.calls == 0;
        for (int i = 0; i < KEYS && !is_made; i++) {
            assert_int_equal(loads[i]->told.calls, 1);
            assert_int_equal(loads[i]->told.outcome, HG_ASK_TRANSPORT);
        }
        world_close_client(world);
        free_all(loads);
        world_close(world);
        if (!refused)
            break;
        assert_true(nth < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks_of_one_turn_travel_in_one_message),
        cmocka_unit_test(test_other_chains_travel_in_other_messages),
        cmocka_unit_test(test_what_is_left_out_is_asked_for_alone),
        cmocka_unit_test(test_a_peer_without_the_message_is_asked_key_by_key),
        cmocka_unit_test(test_a_cut_message_fails_what_is_missing),
        cmocka_unit_test(test_garbage_fails_what_is_missing),
        cmocka_unit_test(test_each_key_has_its_own_deadline),
        cmocka_unit_test(test_when_all_are_too_late_the_message_is_given_up),
        cmocka_unit_test(test_silence_fails_what_is_missing),
        cmocka_unit_test(test_close_reports_each_key_once),
        cmocka_unit_test(test_a_message_has_a_maximum_of_keys),
        cmocka_unit_test(test_no_memory_fails_each_ask_once),
    };
    return run_over_transports(tests, HG_COUNT(tests));
}
