#include "net/test_world.h"

static const struct hg_reply pieces_reply = {.status = 200, .headers = HG_BYTES("X-Test: yes\r\n")};

/* Everything that has come, up to `text`, which is taken off. */
static bool take_text(struct test_client *client, const char *text)
{
    test_client_poll(client);
    char *at =
        client->in.len == 0 ? NULL : memmem(client->in.data, client->in.len, text, strlen(text));
    if (at != NULL)
        hg_buf_consume(&client->in, (size_t)(at - client->in.data) + strlen(text));
    return at != NULL;
}

static void test_pieces_leave_one_by_one(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    struct test_answer answer;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late") GET("/x?next"));
    test_wait(&world->loop, world->asked == 2);
    hg_exchange_begin(world->late[0], &pieces_reply);
    test_wait(&world->loop,
              take_text(&client, "X-Test: yes\r\nTransfer-Encoding: chunked\r\n\r\n"));
    hg_exchange_piece(world->late[0], HG_BYTES("first"));
    test_wait(&world->loop, take_text(&client, "5\r\nfirst\r\n"));
    hg_exchange_piece(world->late[0], HG_BYTES("and the second"));
    test_wait(&world->loop, take_text(&client, "e\r\nand the second\r\n"));
    assert_int_equal(hg_exchange_unsent(world->late[0]), 0);
    assert_int_equal(hg_server_busy_count(world->server), 2);
    hg_exchange_end(world->late[0]);
    test_wait(&world->loop, take_text(&client, "0\r\n\r\n"));
    test_wait(&world->loop, test_answer_take(&client, false, &answer));
    test_assert_body(answer, "next");
    test_answer_finish(&answer);
    test_client_finish(&client);
    world_close(world);
}

static void test_pieces_before_their_turn_wait(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late") GET("/late") GET("/late"));
    test_wait(&world->loop, world->late_count == 3);
    hg_exchange_begin(world->late[1], &pieces_reply);
    hg_exchange_piece(world->late[1], HG_BYTES("early"));
    hg_exchange_begin(world->late[2], &pieces_reply);
    hg_exchange_piece(world->late[2], HG_BYTES("whole"));
    hg_exchange_end(world->late[2]);
    assert_true(hg_exchange_unsent(world->late[1]) > 5);
    for (int i = 0; i < 10; i++)
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    test_client_poll(&client);
    assert_int_equal(client.in.len, 0);
    answer_text(world->late[0], 200, "one");
    test_wait(&world->loop, take_text(&client, "\r\n\r\none"));
    test_wait(&world->loop, take_text(&client, "5\r\nearly\r\n"));
    hg_exchange_piece(world->late[1], HG_BYTES("late"));
    test_wait(&world->loop, take_text(&client, "4\r\nlate\r\n"));
    hg_exchange_end(world->late[1]);
    test_wait(&world->loop, take_text(&client, "0\r\n\r\nHTTP/1.1 200"));
    test_wait(&world->loop, take_text(&client, "5\r\nwhole\r\n0\r\n\r\n"));
    test_client_finish(&client);
    world_close(world);
}

static void test_pieces_of_the_last_answer_end_with_the_connection(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client,
                    "GET /late HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    test_wait(&world->loop, world->late_count == 1);
    hg_exchange_begin(world->late[0], &pieces_reply);
    test_wait(&world->loop, take_text(&client, "Connection: close\r\n"));
    hg_exchange_piece(world->late[0], HG_BYTES("all"));
    hg_exchange_end(world->late[0]);
    test_wait(&world->loop, take_text(&client, "3\r\nall\r\n0\r\n\r\n"));
    test_wait(&world->loop, test_client_poll(&client));
    test_client_finish(&client);
    world_close(world);
}

static void test_pieces_for_who_has_gone_go_nowhere(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct test_client client;
    test_client_open(&client, world->port);
    test_client_say(&world->loop, &client, GET("/late") GET("/late"));
    test_wait(&world->loop, world->late_count == 2);
    hg_exchange_begin(world->late[0], &pieces_reply);
    hg_exchange_piece(world->late[0], HG_BYTES("heard"));
    test_wait(&world->loop, take_text(&client, "heard"));
    test_client_reset(&client);
    test_wait(&world->loop, world->gone == 2);
    hg_exchange_piece(world->late[0], HG_BYTES("unheard"));
    hg_exchange_end(world->late[0]);
    hg_exchange_begin(world->late[1], &pieces_reply);
    hg_exchange_end(world->late[1]);
    world_close(world);
}

/* Whatever cannot be written closes the client; the exchange comes back by gone, or is over. */
static void test_pieces_without_memory_close_the_client(void **state)
{
    (void)state;
    for (size_t nth = 0;; nth++) {
        struct world *world = world_open(&usual_limits);
        struct test_client client;
        char big[100000];
        memset(big, 'x', sizeof(big));
        test_client_open(&client, world->port);
        test_client_say(&world->loop, &client, GET("/late") GET("/late"));
        test_wait(&world->loop, world->late_count == 2);
        hg_alloc_fail_at(nth, false);
        for (unsigned i = 2; i-- > 0;) {
            hg_exchange_begin(world->late[i], &pieces_reply);
            hg_exchange_piece(world->late[i], hg_bytes(big, sizeof(big)));
            hg_exchange_piece(world->late[i], HG_BYTES("x"));
            hg_exchange_end(world->late[i]);
        }
        bool refused = hg_alloc_fail_clear();
        if (refused)
            test_wait(&world->loop, hg_server_conn_count(world->server) == 0);
        test_client_finish(&client);
        world_close(world);
        if (!refused)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_leave_one_by_one),
        cmocka_unit_test(test_pieces_before_their_turn_wait),
        cmocka_unit_test(test_pieces_of_the_last_answer_end_with_the_connection),
        cmocka_unit_test(test_pieces_for_who_has_gone_go_nowhere),
        cmocka_unit_test(test_pieces_without_memory_close_the_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
