#include "net/test_world.h"

static void test_request_is_answered_with_our_headers(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/x?hello"));
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    assert_int_equal(answer.status, 200);
    test_assert_body(answer, "hello");
    assert_non_null(strstr(answer.head, "\r\nDate: "));
    assert_non_null(strstr(answer.head, " GMT\r\n"));
    assert_non_null(strstr(answer.head, "\r\nX-Test: yes\r\n"));
    assert_non_null(strstr(answer.head, "\r\nContent-Length: 5\r\n"));
    assert_null(strstr(answer.head, "Connection:"));
    test_answer_finish(&answer);

    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_int_equal(stats.requests, 1);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.open, 1);
    assert_int_equal(stats.bytes_in, strlen(GET("/x?hello")));
    test_client_finish(&client);
    test_wait(&world->loop, world->closed == 1);
    assert_int_equal(hg_server_conn_count(world->server), 0);
    world_close(world);
}

static void test_warm_connection_answers_without_allocating(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    for (int i = 0; i < 2; i++) {
        test_client_say(&world->loop, &client, GET("/x?warm"));
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        test_answer_finish(&answer);
    }
    test_client_say(&world->loop, &client, GET("/x?a") GET("/x?b") GET("/x?c"));
    hg_alloc_fail_at(0, true); /* any allocation now would cost the connection */
    for (int turn = 0; turn < 100 && world->asked < 5; turn++) {
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_doze();
    }
    assert_false(hg_alloc_fail_clear());
    assert_int_equal(world->asked, 5);
    for (int i = 0; i < 3; i++) {
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        char expected[2] = {(char)('a' + i), '\0'};
        test_assert_body(answer, expected);
        test_answer_finish(&answer);
    }
    test_client_finish(&client);
    world_close(world);
}

static void test_late_answers_go_out_in_the_order_of_requests(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client,
                    GET("/late") GET("/x?second") GET("/late") GET("/x?fourth"));
    test_wait(&world->loop, world->asked == 4);
    assert_int_equal(hg_server_busy_count(world->server), 4);
    answer_text(world->late[1], 200, "third");
    for (int i = 0; i < 10; i++)
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    assert_false(test_answer_take(&client, false, &answer));
    answer_text(world->late[0], 200, "first");
    static const char *expected[] = {"first", "second", "third", "fourth"};
    for (int i = 0; i < 4; i++) {
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        test_assert_body(answer, expected[i]);
        test_answer_finish(&answer);
    }
    assert_int_equal(hg_server_busy_count(world->server), 0);
    test_client_finish(&client);
    world_close(world);
}

static void test_late_big_value_waits_for_its_turn(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    world->big = make_value(100000);
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late") GET("/big") GET("/x?end"));
    test_wait(&world->loop, world->asked == 3);
    answer_text(world->late[0], 200, "first");
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "first");
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    assert_int_equal(answer.body.len, 100000);
    assert_memory_equal(answer.body.data, hg_value_data(world->big).data, 100000);
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "end");
    test_answer_finish(&answer);
    assert_int_equal(hg_value_refs(world->big), 1);
    test_client_finish(&client);
    world_close(world);
}

/* E17 */
static void test_bodies_of_two_connections_are_never_mixed(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client clients[2];
    struct test_answer answer;
    for (int i = 0; i < 2; i++)
        test_client_open(&clients[i], world->port);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 2; i++) {
            char head[128];
            snprintf(head, sizeof(head),
                     "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\n%c%c", 'a' + i,
                     'a' + i);
            test_client_say(&world->loop, &clients[i], head);
        }
        for (int i = 0; i < 3; i++)
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        for (int i = 1; i >= 0; i--)
            test_client_say(&world->loop, &clients[i], i == 0 ? "aaaaaa" : "bbbbbb");
        for (int i = 0; i < 2; i++) {
            test_wait(&world->loop, test_answer_take(&clients[i], false, &answer));
            test_assert_body(answer, i == 0 ? "aaaaaaaa" : "bbbbbbbb");
            test_answer_finish(&answer);
        }
    }
    for (int i = 0; i < 2; i++)
        test_client_finish(&clients[i]);
    world_close(world);
}

static void test_expectation_is_met_before_the_body(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client,
                    GET("/late") "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n"
                                 "Expect: 100-continue\r\n\r\n");
    test_wait(&world->loop, world->late_count == 1);
    for (int i = 0; i < 10; i++)
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    test_client_poll(&client);
    assert_int_equal(client.in.len, 0); /* an interim answer must not overtake the first one */
    answer_text(world->late[0], 200, "one");
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "one");
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    assert_int_equal(answer.status, 100);
    test_answer_finish(&answer);
    test_client_say(&world->loop, &client, "ok");
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "ok");
    test_answer_finish(&answer);
    test_client_finish(&client);
    world_close(world);
}

static void test_head_and_no_content_have_no_body(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    world->big = make_value(5000);
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client,
                    "HEAD /big HTTP/1.1\r\nHost: t\r\n\r\n" GET("/none") GET("/x?z"));
    test_wait(&world->loop, test_answer_take(&client, true, &answer));
    assert_non_null(strstr(answer.head, "Content-Length: 5000\r\n"));
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    assert_int_equal(answer.status, 204);
    assert_null(strstr(answer.head, "Content-Length"));
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "z");
    test_answer_finish(&answer);
    assert_int_equal(hg_value_refs(world->big), 1);
    test_client_finish(&client);
    world_close(world);
}

static void test_values_of_all_sizes_arrive_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1023, 1024, 1025, 16384, 70000, 3000000};
    for (size_t i = 0; i < HG_COUNT(sizes); i++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        struct test_answer answer;
        world->big = make_value(sizes[i]);
        test_client_open(&client, world->port);
        for (int j = 0; j < 40; j++)
            test_client_say(&world->loop, &client, GET("/big"));
        for (int j = 0; j < 40; j++) {
            test_wait(&world->loop, test_answer_take(&client, false, &answer));
            assert_int_equal(answer.body.len, sizes[i]);
            if (sizes[i] > 0)
                assert_memory_equal(answer.body.data, hg_value_data(world->big).data, sizes[i]);
            test_answer_finish(&answer);
        }
        test_wait(&world->loop, hg_value_refs(world->big) == 1);
        test_client_finish(&client);
        world_close(world);
    }
}

static void test_http10_keep_alive_is_confirmed(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    for (int i = 0; i < 2; i++) {
        test_client_say(&world->loop, &client,
                        "GET /x?a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        assert_non_null(strstr(answer.head, "\r\nConnection: keep-alive\r\n"));
        test_answer_finish(&answer);
    }
    test_client_finish(&client);
    world_close(world);
}

static void test_reset_detaches_kept_exchanges(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        world->answers_in_gone = way == 0;
        test_client_open(&client, world->port);
        test_client_say(&world->loop, &client, GET("/late") GET("/late") GET("/x?buffered"));
        test_wait(&world->loop, world->asked == 3);
        test_client_reset(&client);
        test_wait(&world->loop, world->closed == 1);
        assert_int_equal(world->gone, 2);
        assert_int_equal(hg_server_busy_count(world->server), 0);
        if (way == 1) {
            answer_text(world->late[0], 200, "to nobody");
            hg_exchange_drop(world->late[1]);
        }
        struct hg_exchange *left[2] = {world->late[0], world->late[1]};
        world_close(world);
        if (way == 2) { /* they may come back after the server itself */
            assert_null(left[0]->server);
            answer_text(left[0], 200, "to nobody");
            hg_exchange_drop(left[1]);
        }
    }
}

static void test_close_with_kept_exchanges_tells_gone(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    world->answers_in_gone = true;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late"));
    test_wait(&world->loop, world->asked == 1);
    unsigned *gone = &world->gone;
    hg_server_close(world->server, on_server_closed, world);
    test_wait(&world->loop, world->is_closed);
    assert_int_equal(*gone, 1);
    hg_listener_close(world->listener, NULL, NULL);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
    test_client_finish(&client);
}

static void test_remote_is_the_clients_address(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    char expected[64];
    test_client_open(&client, world->port);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned)test_port_of(client.fd));
    test_client_say(&world->loop, &client, GET("/remote"));
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, expected);
    test_answer_finish(&answer);
    test_client_finish(&client);
    world_close(world);
}

/*
 * Seeded: requests of all kinds in random pieces, late answers in random order, a reader that stops
 * and goes. What comes back must be the answers, whole and in order.
 */
static void run_random(unsigned seed)
{
    enum { REQUESTS = 300 };
    struct hg_server_limits limits = usual_limits;
    limits.out_bytes = 100000;
    limits.pipeline = 1 + seed % 20;
    struct world *world = world_open(&limits);
    struct test_client client;
    struct hg_buf input, expected, got;
    struct hg_exchange *pending[64];
    unsigned pending_number[64], pending_count = 0, late_number = 0, late_seen = 0;
    unsigned late_total = 0;

    srand(seed);
    world->big = make_value(20000);
    hg_buf_init(&input, 1 << 24);
    hg_buf_init(&expected, 1 << 26);
    hg_buf_init(&got, 1 << 26);
    for (unsigned i = 0; i < REQUESTS; i++) {
        int kind = rand() % 8;
        if (kind == 0) {
            assert_int_equal(hg_buf_append_str(&input, GET("/big")), HG_OK);
            assert_int_equal(hg_buf_append_bytes(&expected, hg_value_data(world->big)), HG_OK);
        } else if (kind == 1) {
            size_t len = 1 + (size_t)rand() % 3000;
            hg_buf_printf(&input, "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n",
                          len);
            for (size_t j = 0; j < len; j++) {
                hg_buf_append_char(&input, (char)('A' + i % 26));
                hg_buf_append_char(&expected, (char)('A' + i % 26));
            }
        } else if (kind < 4) {
            hg_buf_append_str(&input, GET("/late"));
            hg_buf_printf(&expected, "<late %u>", late_total++);
        } else {
            hg_buf_printf(&input, "GET /x?%u HTTP/1.1\r\nHost: t\r\n\r\n", i);
            hg_buf_printf(&expected, "%u", i);
        }
    }

    test_client_open(&client, world->port);
    size_t sent = 0;
    unsigned answers = 0;
    uint64_t until = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    while (answers < REQUESTS) {
        if (sent < input.len && rand() % 3 != 0) {
            size_t piece = 1 + (size_t)rand() % (rand() % 4 == 0 ? 5 : 4000);
            if (piece > input.len - sent)
                piece = input.len - sent;
            ssize_t rc = send(client.fd, input.data + sent, piece, MSG_NOSIGNAL);
            if (rc > 0)
                sent += (size_t)rc;
        }
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        while (late_seen < world->late_count) {
            pending[pending_count] = world->late[late_seen++ % 64];
            pending_number[pending_count++] = late_number++;
        }
        assert_true(pending_count <= limits.pipeline);
        if (pending_count > 0 && rand() % 2 == 0) {
            unsigned pick = (unsigned)rand() % pending_count;
            char text[32];
            snprintf(text, sizeof(text), "<late %u>", pending_number[pick]);
            answer_text(pending[pick], 200, text);
            pending_count--;
            pending[pick] = pending[pending_count];
            pending_number[pick] = pending_number[pending_count];
        }
        struct test_answer answer;
        while (rand() % 4 == 0 && test_answer_take(&client, false, &answer)) {
            assert_int_equal(answer.status, 200);
            assert_int_equal(hg_buf_append_bytes(&got, hg_buf_bytes(&answer.body)), HG_OK);
            test_answer_finish(&answer);
            answers++;
        }
        if (hg_clock_boot_ms() > until)
            fail_msg("seed %u: %u of %u answers, %zu of %zu sent", seed, answers,
                     (unsigned)REQUESTS, sent, input.len);
    }
    if (got.len != expected.len || memcmp(got.data, expected.data, got.len) != 0)
        fail_msg("seed %u: other answers than expected", seed);
    assert_int_equal(hg_server_busy_count(world->server), 0);
    hg_buf_finish(&input);
    hg_buf_finish(&expected);
    hg_buf_finish(&got);
    test_client_finish(&client);
    world_close(world);
}

static void test_random_conversations_come_out_in_order(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 25; seed++)
        run_random(seed);
}

/* E14: a reset in any state of a conversation leaves nothing behind. */
static void test_reset_at_any_moment_leaves_nothing(void **state)
{
    (void)state;
    static const char input[] = GET("/late") GET("/big")
        GET("/x?a") "POST /x HTTP/1.1\r\nHost: t\r\n"
                    "Content-Length: 5\r\n\r\nhello" GET("/big")
                        GET("/late") "GET /x HTTP/1.1\r\n"
                                     "Host: t\r\nConnection: close\r\n\r\nrest";
    struct world *world = world_open(&usual_limits);
    world->big = make_value(3000000);
    world->answers_in_gone = true;
    for (size_t cut = 0; cut < sizeof(input); cut++) {
        struct test_client client;
        world->late_count = 0;
        unsigned closed = world->closed, turns = (unsigned)(cut * 7 % 4);
        test_client_open_small(&client, world->port);
        test_client_send(&world->loop, &client, input, cut);
        test_wait(&world->loop, hg_server_conn_count(world->server) == 1);
        for (unsigned i = 0; i < turns; i++)
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        if (cut % 2 == 0 && world->late_count > 0 && world->late[0] != NULL) {
            answer_text(world->late[0], 200, "first");
            world->late[0] = NULL;
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        }
        test_client_reset(&client);
        test_wait(&world->loop, world->closed == closed + 1);
        assert_int_equal(hg_value_refs(world->big), 1);
    }
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_answered_with_our_headers),
        cmocka_unit_test(test_warm_connection_answers_without_allocating),
        cmocka_unit_test(test_late_answers_go_out_in_the_order_of_requests),
        cmocka_unit_test(test_late_big_value_waits_for_its_turn),
        cmocka_unit_test(test_bodies_of_two_connections_are_never_mixed),
        cmocka_unit_test(test_expectation_is_met_before_the_body),
        cmocka_unit_test(test_head_and_no_content_have_no_body),
        cmocka_unit_test(test_values_of_all_sizes_arrive_whole),
        cmocka_unit_test(test_http10_keep_alive_is_confirmed),
        cmocka_unit_test(test_reset_detaches_kept_exchanges),
        cmocka_unit_test(test_close_with_kept_exchanges_tells_gone),
        cmocka_unit_test(test_remote_is_the_clients_address),
        cmocka_unit_test(test_random_conversations_come_out_in_order),
        cmocka_unit_test(test_reset_at_any_moment_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
