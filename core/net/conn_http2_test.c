/* HTTP/2 on a real connection: what wire/http2_test.c cannot see. */
#include "net/test_world.h"
#include "wire/http2_meter.h"
#include "wire/test_http2.h"

struct h2_socket {
    struct test_client socket;
    struct h2_client client;
};

static void h2_open(struct world *world, struct h2_socket *h2)
{
    test_client_open(&h2->socket, world->port);
    h2_client_init(&h2->client, 1 << 20);
}

static void h2_close(struct h2_socket *h2)
{
    test_client_finish(&h2->socket);
    h2_client_finish(&h2->client);
}

/* Sends and receives what there is. True, so that it can stand in a condition. */
static bool h2_turn(struct world *world, struct h2_socket *h2)
{
    struct hg_bytes bytes;
    while ((bytes = h2_client_pull(&h2->client)).len > 0)
        test_client_send(&world->loop, &h2->socket, bytes.data, bytes.len);
    test_client_poll(&h2->socket);
    h2_client_feed(&h2->client, hg_buf_bytes(&h2->socket.in));
    hg_buf_clear(&h2->socket.in);
    return true;
}

#define h2_wait(world, h2, condition)                                                              \
    test_wait(&(world)->loop, h2_turn((world), (h2)) && (condition))

static struct hg_server_stats stats_of(const struct world *world)
{
    struct hg_server_stats stats;
    hg_server_stats(world->server, &stats);
    return stats;
}

static void test_handlers_answer_both_protocols_alike(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    struct test_client one;
    struct test_answer answer;
    world->big = make_value(BIG_BYTES);
    h2_open(world, &h2);
    test_client_open(&one, world->port);
    struct h2_reply *get = h2_ask(&h2.client, "GET", "/x?q", NULL, NULL, HG_BYTES_NONE);
    struct h2_reply *post = h2_ask(&h2.client, "POST", "/x", NULL, NULL, HG_BYTES("hello"));
    struct h2_reply *big = h2_ask(&h2.client, "GET", "/big", NULL, NULL, HG_BYTES_NONE);
    struct h2_reply *none = h2_ask(&h2.client, "GET", "/none", NULL, NULL, HG_BYTES_NONE);
    struct h2_reply *remote = h2_ask(&h2.client, "GET", "/remote", NULL, NULL, HG_BYTES_NONE);
    test_client_say(&world->loop, &one, GET("/x?q"));
    h2_wait(world, &h2, h2.client.closed == 5);
    test_wait(&world->loop, test_answer_take(&one, false, &answer));
    assert_true(hg_bytes_eq(hg_buf_bytes(&answer.body), hg_buf_bytes(&get->body)));
    test_answer_finish(&answer);
    assert_true(h2_has_field(get, "x-test: yes\n"));
    assert_true(h2_has_field(get, "date: "));
    assert_true(hg_bytes_eq(hg_buf_bytes(&post->body), HG_BYTES("hello")));
    assert_true(hg_bytes_eq(hg_buf_bytes(&big->body), hg_value_data(world->big)));
    assert_int_equal(none->status, 204);
    assert_false(h2_has_field(none, "content-length"));
    assert_memory_equal(remote->body.data, "127.0.0.1:", 10);
    assert_int_equal(stats_of(world).http2_connections, 1);
    assert_int_equal(hg_server_busy_count(world->server), 0);
    h2_close(&h2);
    test_client_finish(&one);
    world_close(world);
}

static void test_preface_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    h2_open(world, &h2);
    h2_ask(&h2.client, "GET", "/x?q", NULL, NULL, HG_BYTES_NONE);
    struct hg_bytes bytes;
    while ((bytes = h2_client_pull(&h2.client)).len > 0) {
        for (size_t i = 0; i < bytes.len; i++) {
            test_client_send(&world->loop, &h2.socket, bytes.data + i, 1);
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        }
    }
    h2_wait(world, &h2, h2.client.closed == 1);
    h2_close(&h2);
    world_close(world);
}

/* F9 */
static void test_what_only_begins_like_a_preface_is_http1(void **state)
{
    (void)state;
    static const struct {
        const char *first, *rest;
        int status;
    } rows[] = {
        {"P", "OST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\na", 200},
        {"PR", "OPFIND / HTTP/1.1\r\nHost: t\r\n\r\n", 501},
        {"PRI * HTTP/2.0\r\n\r\nS", "X", 505},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        struct test_answer answer;
        test_client_open(&client, world->port);
        test_client_say(&world->loop, &client, rows[i].first);
        for (unsigned turn = 0; turn < 10; turn++)
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_client_say(&world->loop, &client, rows[i].rest);
        test_wait(&world->loop, test_answer_take(&client, false, &answer));
        assert_int_equal(answer.status, rows[i].status);
        test_answer_finish(&answer);
        assert_int_equal(stats_of(world).http2_connections, 0);
        test_client_finish(&client);
        world_close(world);
    }
}

static void test_half_a_preface_does_not_stay(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.header_timeout_ms = 200;
    struct world *world = world_open(&limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, "PRI * HT");
    test_wait(&world->loop, test_client_poll(&client));
    assert_int_equal(stats_of(world).header_timeouts, 1);
    test_client_finish(&client);
    world_close(world);
}

static void test_who_is_not_ready_takes_http1_only(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    struct test_client one;
    struct test_answer answer;
    world->is_unready = true;
    h2_open(world, &h2);
    h2_ask(&h2.client, "GET", "/x", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &h2, h2.socket.has_eof || h2.socket.has_reset);
    test_client_open(&one, world->port);
    test_client_say(&world->loop, &one, GET("/x"));
    test_wait(&world->loop, test_answer_take(&one, false, &answer));
    assert_int_equal(answer.status, 200);
    test_answer_finish(&answer);
    assert_int_equal(stats_of(world).http2_connections, 0);
    assert_int_equal(stats_of(world).http2_unready, 1);
    test_client_finish(&one);
    h2_close(&h2);
    world_close(world);
}

static void test_garbage_behind_the_preface_is_closed(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client,
                    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x16\x03\x01garbage garbage garbage");
    test_wait(&world->loop, test_client_poll(&client));
    assert_int_equal(world->asked, 0);
    test_client_finish(&client);
    test_wait(&world->loop, world->closed == 1);
    world_close(world);
}

static void test_late_answers_come_in_any_order(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    h2_open(world, &h2);
    for (unsigned i = 0; i < 40; i++)
        h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &h2, world->late_count == 40);
    assert_int_equal(hg_server_busy_count(world->server), 40);
    for (unsigned i = 40; i-- > 0;) {
        char text[16];
        snprintf(text, sizeof(text), "n%u", i);
        answer_text(world->late[i], 200, text);
        h2_wait(world, &h2, h2.client.closed == 40 - i);
        assert_true(hg_bytes_eq(hg_buf_bytes(&h2.client.replies[i].body), hg_bytes_str(text)));
    }
    assert_int_equal(hg_server_busy_count(world->server), 0);
    h2_close(&h2);
    world_close(world);
}

static void test_answers_in_pieces(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    struct hg_reply head = {.status = 200, .headers = HG_BYTES("X-Test: yes\r\n")};
    h2_open(world, &h2);
    struct h2_reply *reply = h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &h2, world->late_count == 1);
    hg_exchange_begin(world->late[0], &head);
    for (unsigned i = 1; i <= 10; i++) {
        hg_exchange_piece(world->late[0], HG_BYTES("piece"));
        h2_wait(world, &h2, reply->body.len == i * 5);
        assert_int_equal(hg_exchange_unsent(world->late[0]), 0);
    }
    hg_exchange_end(world->late[0]);
    h2_wait(world, &h2, reply->is_closed);
    assert_int_equal(reply->code, 0);
    h2_close(&h2);
    world_close(world);
}

static void test_clients_that_go_leave_orphans(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct world *world = world_open(&usual_limits);
        struct h2_socket h2;
        world->answers_in_gone = how == 2;
        h2_open(world, &h2);
        struct h2_reply *reply = h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
        h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
        h2_wait(world, &h2, world->late_count == 2);
        if (how == 0) {
            nghttp2_submit_rst_stream(h2.client.session, 0, reply->id, NGHTTP2_CANCEL);
            h2_wait(world, &h2, world->gone == 1);
            hg_exchange_drop(world->late[0]);
            answer_text(world->late[1], 200, "still here");
            h2_wait(world, &h2, h2.client.replies[1].is_closed);
            h2_close(&h2);
        } else {
            test_client_reset(&h2.socket);
            h2_client_finish(&h2.client);
            test_wait(&world->loop, world->gone == 2);
            for (unsigned i = 0; i < 2 && how == 1; i++)
                answer_text(world->late[i], 200, "nobody hears this");
        }
        world_close(world);
    }
}

static void test_server_closed_by_a_handler(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    h2_open(world, &h2);
    hg_listener_close(world->listener, NULL, NULL);
    world->listener = NULL;
    h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &h2, world->late_count == 1);
    world->answers_in_gone = true;
    h2_ask(&h2.client, "GET", "/shutdown?x", NULL, NULL, HG_BYTES_NONE);
    h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    h2_turn(world, &h2);
    test_wait(&world->loop, world->is_closed);
    assert_int_equal(world->gone, 1);
    h2_close(&h2);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
}

/* F13 */
static void test_drain_lets_streams_end(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket busy, idle;
    h2_open(world, &busy);
    h2_open(world, &idle);
    h2_ask(&idle.client, "GET", "/x", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &idle, idle.client.closed == 1);
    for (unsigned i = 0; i < 60; i++)
        h2_ask(&busy.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &busy, world->late_count == 60);
    hg_server_drain(world->server);
    h2_wait(world, &busy, busy.client.goaways == 2);
    assert_int_equal(busy.client.goaway_last, 119);
    h2_wait(world, &idle, idle.socket.has_eof);
    assert_int_equal(idle.client.goaways, 2);
    for (unsigned i = 0; i < 60; i++)
        answer_text(world->late[i], 200, "x");
    h2_wait(world, &busy, busy.socket.has_eof);
    assert_int_equal(busy.client.closed, 60);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(busy.client.replies[i].status, 200);
    h2_close(&busy);
    h2_close(&idle);
    world_close(world);
}

static void test_idle_connection_is_told_goaway(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.idle_timeout_ms = 300;
    struct world *world = world_open(&limits);
    struct h2_socket h2;
    h2_open(world, &h2);
    h2_ask(&h2.client, "GET", "/x", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &h2, h2.socket.has_eof);
    assert_int_equal(h2.client.goaways, 1);
    assert_int_equal(h2.client.goaway_code, 0);
    assert_int_equal(h2.client.closed, 1);
    assert_int_equal(stats_of(world).idle_timeouts, 1);
    h2_close(&h2);
    world_close(world);
}

static void test_streams_that_stall_are_reset_and_the_rest_goes_on(void **state)
{
    (void)state;
    struct hg_server_limits limits = usual_limits;
    limits.write_timeout_ms = limits.header_timeout_ms = 400;
    struct world *world = world_open(&limits);
    struct h2_socket h2;
    nghttp2_settings_entry none = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
    world->big = make_value(BIG_BYTES);
    h2_open(world, &h2);
    nghttp2_submit_settings(h2.client.session, 0, &none, 1);
    struct h2_reply *stalled = h2_ask(&h2.client, "GET", "/big", NULL, NULL, HG_BYTES_NONE);
    struct h2_reply *partial = h2_ask(&h2.client, "POST", "/x", NULL, NULL, HG_BYTES("half"));
    partial->never_ends = true;
    h2_ask(&h2.client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    h2_wait(world, &h2, h2.client.closed == 2);
    assert_int_equal(stalled->code, NGHTTP2_CANCEL);
    assert_int_equal(partial->code, NGHTTP2_CANCEL);
    assert_int_equal(stats_of(world).http2_stalled, 1);
    assert_int_equal(stats_of(world).header_timeouts, 1);
    answer_text(world->late[0], 204, "");
    h2_wait(world, &h2, h2.client.closed == 3);
    assert_int_equal(h2.client.replies[2].status, 204);
    h2_close(&h2);
    world_close(world);
}

static void test_reader_that_does_not_read_costs_no_more_than_its_answers(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    world->big = make_value(BIG_BYTES);
    test_client_open_small(&h2.socket, world->port);
    h2_client_init(&h2.client, 1 << 30);
    size_t live = hg_alloc_live_bytes();
    for (unsigned i = 0; i < 64; i++)
        h2_ask(&h2.client, "GET", "/big", NULL, NULL, HG_BYTES_NONE);
    struct hg_bytes bytes;
    while ((bytes = h2_client_pull(&h2.client)).len > 0)
        test_client_send(&world->loop, &h2.socket, bytes.data, bytes.len);
    test_wait(&world->loop, world->asked == 64);
    for (unsigned i = 0; i < 100; i++)
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    assert_true(hg_alloc_live_bytes() < live + ((size_t)1 << 20));
    h2_close(&h2);
    world_close(world);
}

static void test_floods_are_counted_and_closed(void **state)
{
    (void)state;
    static const char ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    struct world *world = world_open(&usual_limits);
    struct h2_socket h2;
    h2_open(world, &h2);
    h2_wait(world, &h2, true);
    for (unsigned i = 0; i < 2000; i++)
        test_client_send(&world->loop, &h2.socket, ping, sizeof(ping));
    h2_wait(world, &h2, h2.client.goaways == 1);
    assert_int_equal(h2.client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(stats_of(world).http2_floods, 1);
    h2_close(&h2);
    test_wait(&world->loop, world->closed == 1);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handlers_answer_both_protocols_alike),
        cmocka_unit_test(test_preface_may_come_byte_by_byte),
        cmocka_unit_test(test_what_only_begins_like_a_preface_is_http1),
        cmocka_unit_test(test_half_a_preface_does_not_stay),
        cmocka_unit_test(test_who_is_not_ready_takes_http1_only),
        cmocka_unit_test(test_garbage_behind_the_preface_is_closed),
        cmocka_unit_test(test_late_answers_come_in_any_order),
        cmocka_unit_test(test_answers_in_pieces),
        cmocka_unit_test(test_clients_that_go_leave_orphans),
        cmocka_unit_test(test_server_closed_by_a_handler),
        cmocka_unit_test(test_drain_lets_streams_end),
        cmocka_unit_test(test_idle_connection_is_told_goaway),
        cmocka_unit_test(test_streams_that_stall_are_reset_and_the_rest_goes_on),
        cmocka_unit_test(test_reader_that_does_not_read_costs_no_more_than_its_answers),
        cmocka_unit_test(test_floods_are_counted_and_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
