#include "net/test_world.h"

static void test_idle_connection_is_small(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client clients[32];
    struct test_answer answer;
    test_client_open(&clients[0], world->port);
    test_client_say(&world->loop, &clients[0], GET("/x?a"));
    test_wait(&world->loop, test_answer_take(&clients[0], false, &answer));
    test_answer_finish(&answer);
    test_client_finish(&clients[0]);
    test_wait(&world->loop, world->closed == 1);
    size_t before = hg_alloc_live_bytes();
    for (size_t i = 0; i < HG_COUNT(clients); i++) {
        test_client_open(&clients[i], world->port);
        test_client_say(&world->loop, &clients[i], GET("/x?a"));
    }
    test_wait(&world->loop, world->asked == 33);
    size_t grown = hg_alloc_live_bytes() - before;
    if (grown / HG_COUNT(clients) > 1024)
        fail_msg("an idle connection costs %zu bytes", grown / HG_COUNT(clients));
    for (size_t i = 0; i < HG_COUNT(clients); i++)
        test_client_finish(&clients[i]);
    world_close(world);
}

/* D12 */
static void test_pinned_bytes_of_slow_readers_are_bounded(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.pinned_max = 3 * BIG_BYTES;
    struct world *world = world_open(&limits);
    struct test_client clients[6];
    world->big = make_value(BIG_BYTES);
    for (int i = 0; i < 6; i++) {
        test_client_open_small(&clients[i], world->port);
        test_client_say(&world->loop, &clients[i], GET("/big"));
    }
    test_wait(&world->loop, world->closed == 3);
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_int_equal(stats.pinned_closed, 3);
    assert_int_equal(stats.open, 3);
    for (int i = 0; i < 6; i++)
        test_client_finish(&clients[i]);
    world_close(world);
}

static void test_drain_closes_idle_and_says_so_to_the_rest(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client idle, busy;
    struct test_answer answer;
    test_client_open(&idle, world->port);
    test_client_open(&busy, world->port);
    test_client_say(&world->loop, &busy, GET("/late") GET("/x?two"));
    test_wait(&world->loop, world->asked == 2 && hg_server_conn_count(world->server) == 2);
    hg_server_drain(world->server);
    test_wait(&world->loop, test_client_poll(&idle));
    assert_true(idle.has_eof);
    test_client_say(&world->loop, &busy, GET("/x?three"));
    test_wait(&world->loop, world->asked == 3);
    answer_text(world->late[0], 200, "one");
    static const char *expected[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        test_wait(&world->loop, test_answer_take(&busy, false, &answer));
        test_assert_body(answer, expected[i]);
        bool says_close = strstr(answer.head, "\r\nConnection: close\r\n") != NULL;
        assert_true(says_close == (i == 2));
        test_answer_finish(&answer);
    }
    test_wait(&world->loop, test_client_poll(&busy));
    assert_true(busy.has_eof);
    test_client_finish(&idle);
    test_client_finish(&busy);
    world_close(world);
}

static void test_unix_sockets_are_served(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(hg_server_adopt(world->server, pair[0], 7), HG_OK);
    test_client_init(&client, pair[1]);
    test_client_say(&world->loop, &client, GET("/remote"));
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "unix");
    test_answer_finish(&answer);
    test_client_finish(&client);
    world_close(world);
}

/*
 * D3: each allocation on the way of a connection fails once; it is closed or served, and nothing
 * leaks.
 */
static void test_failing_allocations_cost_their_own_connection_only(void **state)
{
    (void)state;
    for (size_t nth = 0; nth < 64; nth++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        struct test_answer answer;
        int pair[2];
        world->big = make_value(3000);
        size_t live = hg_alloc_live_count();
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                         0);
        test_client_init(&client, pair[1]);
        (void)!write(pair[1], GET("/big") GET("/x?a") GET("/x?b"),
                     strlen(GET("/big") GET("/x?a") GET("/x?b")));
        hg_alloc_fail_at(nth, false);
        int err = hg_server_adopt(world->server, pair[0], 7);
        for (int turn = 0; turn < 50 && err == HG_OK && world->asked < 3 && world->closed == 0;
             turn++)
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        bool was_refused = hg_alloc_fail_clear();
        if (err == HG_OK && !was_refused) {
            for (int i = 0; i < 3; i++) {
                test_wait(&world->loop, test_answer_take(&client, false, &answer));
                assert_int_equal(answer.status, 200);
                test_answer_finish(&answer);
            }
        }
        test_client_finish(&client);
        test_wait(&world->loop, world->closed == 1);
        assert_int_equal(hg_value_refs(world->big), 1);
        assert_true(hg_alloc_live_count() <= live + 2); /* pooled blocks */
        world_close(world);
        if (!was_refused) {
            assert_true(nth > 0);
            return;
        }
    }
    fail_msg("allocations never ended");
}

static void test_handler_may_close_the_server(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        world->answers_in_gone = true;
        test_client_open(&client, world->port);
        /* The second way the request lies in kept input when it is handled. */
        for (int i = 0; i < (way == 0 ? 0 : 16); i++)
            test_client_say(&world->loop, &client, GET("/late"));
        test_client_say(&world->loop, &client, GET("/shutdown?x") GET("/x?never"));
        if (way == 1) {
            test_wait(&world->loop, world->late_count == 16);
            hg_listener_close(world->listener, NULL, NULL);
            world->listener = NULL;
            struct hg_exchange *first = world->late[0];
            world->late[0] = NULL;
            answer_text(first, 200, "go on");
        }
        test_wait(&world->loop, world->is_closed);
        assert_int_equal(world->gone, way == 0 ? 0 : 15);
        assert_int_equal(world->asked, way == 0 ? 1 : 17);
        if (world->listener != NULL)
            hg_listener_close(world->listener, NULL, NULL);
        assert_int_equal(hg_loop_finish(&world->loop), 0);
        test_client_finish(&client);
        free(world);
    }
}

static void test_socket_that_comes_too_late_is_closed(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    int pair[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    hg_server_close(world->server, on_server_closed, world);
    assert_int_equal(hg_server_adopt(world->server, pair[0], 7), HG_ECLOSED);
    assert_int_equal(world->closed, 1); /* the connection cap is told */
    assert_int_equal(read(pair[1], &byte, 1), 0);
    close(pair[1]);
    test_wait(&world->loop, world->is_closed);
    hg_listener_close(world->listener, NULL, NULL);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
}

/* E14 */
static void test_clients_that_connect_and_leave_cost_nothing(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    size_t live = 0;
    for (unsigned i = 0; i < 2000; i++) {
        test_client_open(&client, world->port);
        if (i % 3 == 1)
            test_client_say(&world->loop, &client, "GET / HT");
        if (i % 2 == 0)
            test_client_reset(&client);
        else
            test_client_finish(&client);
        test_wait(&world->loop, world->closed == i + 1);
        if (i == 10)
            live = hg_alloc_live_bytes();
    }
    assert_int_equal(hg_alloc_live_bytes(), live);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_connection_is_small),
        cmocka_unit_test(test_pinned_bytes_of_slow_readers_are_bounded),
        cmocka_unit_test(test_drain_closes_idle_and_says_so_to_the_rest),
        cmocka_unit_test(test_unix_sockets_are_served),
        cmocka_unit_test(test_failing_allocations_cost_their_own_connection_only),
        cmocka_unit_test(test_handler_may_close_the_server),
        cmocka_unit_test(test_socket_that_comes_too_late_is_closed),
        cmocka_unit_test(test_clients_that_connect_and_leave_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
