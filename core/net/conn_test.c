#include "net/test_world.h"

static void test_pipeline_limit_pauses_and_goes_on(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.pipeline = 4;
    struct world *world = world_open(&limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    for (int i = 0; i < 12; i++)
        test_client_say(&world->loop, &client, GET("/late"));
    test_wait(&world->loop, world->late_count == 4);
    for (int i = 0; i < 20; i++)
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(world->late_count, 4);
    for (unsigned i = 0; i < 12; i++) {
        char text[16];
        snprintf(text, sizeof(text), "n%u", i);
        test_wait(&world->loop, world->late_count > i);
        answer_text(world->late[i], 200, text);
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        test_assert_body(answer, text);
        test_answer_finish(&answer);
    }
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_true(stats.pauses >= 1);
    test_client_finish(&client);
    world_close(world);
}

/* E3 */
static void test_hundred_thousand_pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct hg_buf out;
    hg_buf_init(&out, (size_t)64 << 20);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(hg_buf_printf(&out, "GET /x?%d HTTP/1.1\r\nHost: t\r\n\r\n", i), HG_OK);
    test_client_open(&client, world->port);
    size_t sent = 0;
    int answered = 0;
    uint64_t until = hg_clock_boot_ms() + 60000;
    while (answered < COUNT) {
        ssize_t rc =
            sent == out.len ? 0 : send(client.fd, out.data + sent, out.len - sent, MSG_NOSIGNAL);
        if (rc > 0)
            sent += (size_t)rc;
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        assert_false(test_client_poll(&client));
        /* Taken apart here: test_answer_take moves the buffer each time. */
        size_t at = 0;
        for (;;) {
            char *end = client.in.len == at
                            ? NULL
                            : memmem(client.in.data + at, client.in.len - at, "\r\n\r\n", 4);
            char expected[16];
            size_t expected_len = (size_t)snprintf(expected, sizeof(expected), "%d", answered);
            if (end == NULL || (size_t)(end - client.in.data) + 4 + expected_len > client.in.len)
                break;
            assert_memory_equal(end + 4, expected, expected_len);
            at = (size_t)(end - client.in.data) + 4 + expected_len;
            answered++;
        }
        hg_buf_consume(&client.in, at);
        assert_true(hg_clock_boot_ms() < until);
    }
    assert_int_equal(client.in.len, 0);
    hg_buf_finish(&out);
    test_client_finish(&client);
    world_close(world);
}

/* E15 */
static void test_requests_byte_by_byte_are_answered_alike(void **state)
{
    (void)state;
    static const char input[] =
        "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello" GET("/x?q");
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    int yes = 1;
    test_client_open(&client, world->port);
    setsockopt(client.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &yes, sizeof(yes));
    for (size_t i = 0; i < sizeof(input) - 1; i++) {
        test_client_send(&world->loop, &client, input + i, 1);
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    }
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "hello");
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "q");
    test_answer_finish(&answer);
    test_client_finish(&client);
    world_close(world);
}

static void test_protocol_error_is_answered_and_then_closed(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n", 400},
        {"TRACE / HTTP/1.1\r\nHost: t\r\n\r\n", 405},
        {"BREW / HTTP/1.1\r\nHost: t\r\n\r\n", 501},
        {"GET / HTTP/1.7\r\nHost: t\r\n\r\n", 505},
        {"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n", 413},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        struct test_answer answer;
        test_client_open(&client, world->port);
        test_client_say(&world->loop, &client, GET("/late"));
        test_client_say(&world->loop, &client, cases[i].input);
        char junk[5000];
        memset(junk, 'x',
               sizeof(junk)); /* what still comes must not turn the answer into a reset */
        test_client_send(&world->loop, &client, junk, sizeof(junk));
        test_wait(&world->loop, world->late_count == 1);
        answer_text(world->late[0], 200, "good");
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        assert_int_equal(answer.status, 200);
        test_answer_finish(&answer);
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        assert_int_equal(answer.status, cases[i].status);
        assert_non_null(strstr(answer.head, "\r\nConnection: close\r\n"));
        assert_int_equal(answer.body.data[answer.body.len - 1], '\n');
        bool is_page = answer.status == 405; /* of test_world.h */
        assert_int_equal(strstr(answer.head, "\r\nContent-Type: text/x-page\r\n") != NULL, is_page);
        assert_int_equal(strstr(answer.head, "\r\nAllow: ") != NULL, is_page);
        assert_int_equal(hg_bytes_eq(hg_buf_bytes(&answer.body), HG_BYTES("a page\n")), is_page);
        test_answer_finish(&answer);
        test_wait(&world->loop, test_client_poll(&client));
        assert_true(client.has_eof);
        assert_int_equal(client.in.len, 0);
        test_client_finish(&client);
        test_wait(&world->loop, world->closed == 1);
        assert_int_equal(world->asked, 1);
        world_close(world);
    }
}

static void test_close_is_honoured_and_what_follows_ignored(void **state)
{
    (void)state;
    static const char *inputs[] = {
        "GET /x?a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" GET("/x?b"),
        "GET /x?a HTTP/1.0\r\n\r\n" GET("/x?b"),
        GET("/close") GET("/x?b"),
    };
    for (size_t i = 0; i < HG_COUNT(inputs); i++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        struct test_answer answer;
        test_client_open(&client, world->port);
        test_client_say(&world->loop, &client, inputs[i]);
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        assert_non_null(strstr(answer.head, "\r\nConnection: close\r\n"));
        test_answer_finish(&answer);
        test_wait(&world->loop, test_client_poll(&client));
        assert_true(client.has_eof);
        assert_int_equal(client.in.len, 0);
        assert_int_equal(world->asked, 1);
        test_client_finish(&client);
        world_close(world);
    }
}

/* E14 */
static void test_half_closed_client_gets_its_answers(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late") GET("/x?b"));
    shutdown(client.fd, SHUT_WR);
    test_wait(&world->loop, world->asked == 2);
    for (int i = 0; i < 10; i++)
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(world->gone, 0);
    answer_text(world->late[0], 200, "a");
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "a");
    test_answer_finish(&answer);
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "b");
    test_answer_finish(&answer);
    test_wait(&world->loop, test_client_poll(&client));
    assert_true(client.has_eof);
    test_client_finish(&client);
    world_close(world);
}

/* E1 */
static void test_slow_head_is_cut_at_the_header_timeout(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.header_timeout_ms = 300;
    struct world *world = world_open(&limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, "GET / HTTP/1.1\r\n");
    uint64_t begun = hg_clock_boot_ms();
    int lines = 0;
    while (!test_client_poll(&client)) { /* a byte each few ms does not help it */
        if (++lines % 50 == 0)
            (void)!send(client.fd, "X", 1, MSG_NOSIGNAL);
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_doze();
        assert_true(hg_clock_boot_ms() - begun < TEST_PATIENCE_MS);
    }
    assert_true(hg_clock_boot_ms() - begun >= 299);
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_int_equal(stats.header_timeouts, 1);
    test_client_finish(&client);
    world_close(world);
}

static void test_slow_body_is_cut_too(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.header_timeout_ms = 200;
    struct world *world = world_open(&limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client,
                    "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nab");
    test_wait(&world->loop, test_client_poll(&client));
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_int_equal(stats.header_timeouts, 1);
    test_client_finish(&client);
    world_close(world);
}

static void test_idle_connection_is_closed_in_time(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.idle_timeout_ms = 200;
    struct world *world = world_open(&limits);
    struct test_client silent, once;
    struct test_answer answer;
    test_client_open(&silent, world->port);
    test_client_open(&once, world->port);
    test_client_say(&world->loop, &once, GET("/x?a"));
    test_wait(&world->loop, test_answer_take(&once, false, &answer));
    test_answer_finish(&answer);
    test_wait(&world->loop, test_client_poll(&silent) && test_client_poll(&once));
    assert_true(once.has_eof);
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_int_equal(stats.idle_timeouts, 2);
    test_client_finish(&silent);
    test_client_finish(&once);
    world_close(world);
}

static void test_slow_reader_pauses_reading_and_loses_nothing(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    world->big = make_value(BIG_BYTES);
    test_client_open_small(&client, world->port);
    for (int i = 0; i < 6; i++)
        test_client_say(&world->loop, &client, GET("/big"));
    for (int i = 0; i < 200; i++) {
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_doze();
    }
    assert_true(world->asked >= 1);
    assert_true(world->asked <= 2); /* the rest is not even parsed */
    assert_true(hg_server_busy_count(world->server) >= 1);
    for (int i = 0; i < 6; i++) {
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        assert_int_equal(answer.body.len, BIG_BYTES);
        assert_memory_equal(answer.body.data, hg_value_data(world->big).data, BIG_BYTES);
        test_answer_finish(&answer);
    }
    assert_int_equal(world->asked, 6);
    test_wait(&world->loop, hg_value_refs(world->big) == 1);
    test_client_finish(&client);
    world_close(world);
}

static void test_stalled_reader_is_cut_at_the_write_timeout(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.write_timeout_ms = 400;
    struct world *world = world_open(&limits);
    struct test_client client;
    world->big = make_value(BIG_BYTES);
    test_client_open_small(&client, world->port);
    test_client_say(&world->loop, &client, GET("/big"));
    test_wait(&world->loop, world->closed == 1);
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    assert_int_equal(stats.write_timeouts, 1);
    assert_int_equal(stats.aborted, 1);
    assert_int_equal(hg_value_refs(world->big), 1);
    test_client_finish(&client);
    world_close(world);
}

/*
 * Nothing is read while the pipeline is full, so nothing tells of the reset but a look now and
 * then.
 */
static void test_reset_of_a_paused_connection_is_noticed(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.pipeline = 1;
    struct world *world = world_open(&limits);
    struct test_client client;
    world->answers_in_gone = true;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late") GET("/x?a"));
    test_wait(&world->loop, world->late_count == 1);
    test_client_reset(&client);
    test_wait(&world->loop, world->closed == 1);
    assert_int_equal(world->gone, 1);
    assert_int_equal(world->asked, 1);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline_limit_pauses_and_goes_on),
        cmocka_unit_test(test_hundred_thousand_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_requests_byte_by_byte_are_answered_alike),
        cmocka_unit_test(test_protocol_error_is_answered_and_then_closed),
        cmocka_unit_test(test_close_is_honoured_and_what_follows_ignored),
        cmocka_unit_test(test_half_closed_client_gets_its_answers),
        cmocka_unit_test(test_slow_head_is_cut_at_the_header_timeout),
        cmocka_unit_test(test_slow_body_is_cut_too),
        cmocka_unit_test(test_idle_connection_is_closed_in_time),
        cmocka_unit_test(test_slow_reader_pauses_reading_and_loses_nothing),
        cmocka_unit_test(test_stalled_reader_is_cut_at_the_write_timeout),
        cmocka_unit_test(test_reset_of_a_paused_connection_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
