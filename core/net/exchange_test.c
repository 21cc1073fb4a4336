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
    test_client_say(&world->loop, &client, GET("/late") GET("/x?second") GET("/late") GET("/x?fourth"));
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
    assert_int_equal(atomic_load(&world->big->refs), 1);
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
            snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\n%c%c",
                     'a' + i, 'a' + i);
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
    test_client_say(&world->loop, &client, "HEAD /big HTTP/1.1\r\nHost: t\r\n\r\n" GET("/none") GET("/x?z"));
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
    assert_int_equal(atomic_load(&world->big->refs), 1);
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
        test_wait(&world->loop, atomic_load(&world->big->refs) == 1);
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
        test_client_say(&world->loop, &client, "GET /x?a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
