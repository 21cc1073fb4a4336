#include "net/test_dns.h"

#include "net/pg.h"
#include "net/pq_library.h"
#include "net/test_pg.h"

/* A server that says what the test wants, and the connection to it, on one loop. */
struct setting {
    struct hg_loop loop;
    struct hg_pg_config *config;
    struct hg_pg pg;
    int listener, peer;
    size_t live_bytes;
    unsigned connected, done, lost, closed;
    int connect_err, done_err;
};

static struct setting *setting_of(struct hg_pg *pg)
{
    return hg_container_of(pg, struct setting, pg);
}

static void on_connected(struct hg_pg *pg, int err)
{
    setting_of(pg)->connected++;
    setting_of(pg)->connect_err = err;
}

static void on_done(struct hg_pg *pg, int err)
{
    setting_of(pg)->done++;
    setting_of(pg)->done_err = err;
}

static void on_lost(struct hg_pg *pg)
{
    setting_of(pg)->lost++;
}

static void on_closed(struct hg_pg *pg)
{
    setting_of(pg)->closed++;
}

static const struct hg_pg_calls calls = {
    .connected = on_connected, .done = on_done, .lost = on_lost, .closed = on_closed};

static void open_setting(struct setting *setting, const char *host)
{
    char conninfo[128], error[256];
    uint16_t port;

    memset(setting, 0, sizeof(*setting));
    setting->live_bytes = hg_alloc_live_bytes();
    assert_int_equal(hg_loop_init(&setting->loop, "test"), HG_OK);
    setting->listener = test_listen(&port);
    setting->peer = -1;
    snprintf(conninfo, sizeof(conninfo), "host=%s port=%d user=me password=x sslmode=disable", host,
             port);
    if (hg_pg_config_create(conninfo, NULL, 0, &setting->config, error, sizeof(error)) < 0)
        fail_msg("%s", error);
    hg_pg_init(&setting->pg, &setting->loop, setting->config, &calls);
}

static void close_setting(struct setting *setting)
{
    hg_pg_close(&setting->pg);
    test_wait(&setting->loop, setting->closed == 1);
    if (setting->peer >= 0)
        close(setting->peer);
    close(setting->listener);
    hg_pg_config_unref(setting->config);
    assert_int_equal(hg_loop_finish(&setting->loop), 0);
    assert_int_equal(hg_alloc_live_bytes(), setting->live_bytes);
}

/* The server takes the connection, ... */
static bool has_peer(struct setting *setting)
{
    if (setting->peer < 0)
        setting->peer = accept4(setting->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return setting->peer >= 0;
}

/* ... and reads what comes. */
static bool has_heard(struct setting *setting)
{
    char scratch[4096];
    return recv(setting->peer, scratch, sizeof(scratch), 0) > 0;
}

static void say(struct setting *setting, struct hg_buf *words)
{
    for (size_t at = 0; at < words->len;) {
        ssize_t count = send(setting->peer, words->data + at, words->len - at, MSG_NOSIGNAL);
        if (count > 0)
            at += (size_t)count;
        else if (errno != EAGAIN)
            break;
        uv_run(&setting->loop.uv, UV_RUN_NOWAIT);
    }
    hg_buf_finish(words);
}

static void log_in(struct setting *setting)
{
    struct hg_buf words;

    assert_int_equal(hg_pg_connect(&setting->pg), HG_PENDING);
    test_wait(&setting->loop, has_peer(setting));
    test_wait(&setting->loop, has_heard(setting));
    hg_buf_init(&words, SIZE_MAX);
    pg_welcome(&words);
    say(setting, &words);
    test_wait(&setting->loop, setting->connected == 1);
    assert_int_equal(setting->connect_err, HG_OK);
    assert_true(hg_pg_is_idle(&setting->pg));
}

static void ask(struct setting *setting, size_t max_bytes)
{
    const struct hg_pg_parameter parameters[] = {{.data = "Tom", .len = 3}, {.data = NULL}};
    assert_int_equal(hg_pg_query(&setting->pg, "select k, v from t", parameters, 2, max_bytes),
                     HG_PENDING);
    test_wait(&setting->loop, has_heard(setting));
}

static void answer_rows(struct hg_buf *words)
{
    hg_buf_init(words, SIZE_MAX);
    pg_begin_rows(words);
    pg_columns(words);
    pg_row(words, "Tom", "\\x00ff27");
    pg_row(words, "", NULL);
    pg_end_rows(words);
}

static void assert_rows(const struct hg_pg_answer *answer)
{
    struct hg_bytes rest = hg_buf_bytes(&answer->cells), cell;

    assert_int_equal(answer->row_count, 2);
    assert_int_equal(answer->column_count, 2);
    assert_string_equal(answer->columns[1].name, "v");
    assert_int_equal(answer->columns[1].type, HG_PG_BYTEA);
    assert_true(hg_pg_next_cell(&rest, &cell) && hg_bytes_eq(cell, HG_BYTES("Tom")));
    assert_true(hg_pg_next_cell(&rest, &cell) && hg_bytes_eq(cell, HG_BYTES("\0\xff'")));
    assert_true(hg_pg_next_cell(&rest, &cell) && cell.len == 0 && cell.data != NULL);
    assert_true(hg_pg_next_cell(&rest, &cell) && cell.data == NULL);
    assert_false(hg_pg_next_cell(&rest, &cell));
}

static void test_rows_arrive(void **state)
{
    struct setting setting;
    struct hg_buf words;
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    for (unsigned i = 1; i <= 3; i++) {
        ask(&setting, 1000);
        answer_rows(&words);
        say(&setting, &words);
        test_wait(&setting.loop, setting.done == i);
        assert_int_equal(setting.done_err, HG_OK);
        assert_rows(&setting.pg.answer);
        assert_true(hg_pg_is_alive(&setting.pg));
    }
    close_setting(&setting);
}

static void test_rows_arrive_byte_by_byte(void **state)
{
    struct setting setting;
    struct hg_buf words;
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    ask(&setting, 1000);
    answer_rows(&words);
    for (size_t i = 0; i < words.len; i++) {
        assert_int_equal(setting.done, 0);
        assert_int_equal(send(setting.peer, words.data + i, 1, MSG_NOSIGNAL), 1);
        for (int turn = 0; turn < 3; turn++)
            uv_run(&setting.loop.uv, UV_RUN_NOWAIT);
    }
    hg_buf_finish(&words);
    test_wait(&setting.loop, setting.done == 1);
    assert_rows(&setting.pg.answer);
    close_setting(&setting);
}

static void test_answer_that_is_cut_off_anywhere_is_a_lost_connection(void **state)
{
    struct hg_buf words;
    (void)state;
    answer_rows(&words);
    size_t whole = words.len;
    hg_buf_finish(&words);
    for (size_t len = 0; len < whole; len++) {
        struct setting setting;
        open_setting(&setting, "127.0.0.1");
        log_in(&setting);
        ask(&setting, 1000);
        answer_rows(&words);
        words.len = len;
        say(&setting, &words);
        close(setting.peer);
        setting.peer = -1;
        test_wait(&setting.loop, setting.done == 1);
        assert_int_equal(setting.done_err, HG_EPEER);
        assert_true(setting.pg.error[0] != '\0');
        assert_int_equal(setting.pg.answer.row_count, 0);
        close_setting(&setting);
    }
}

static void test_greeting_that_is_cut_off_anywhere_is_no_connection(void **state)
{
    struct hg_buf words;
    (void)state;
    hg_buf_init(&words, SIZE_MAX);
    pg_welcome(&words);
    size_t whole = words.len;
    hg_buf_finish(&words);
    for (size_t len = 0; len < whole; len++) {
        struct setting setting;
        open_setting(&setting, "127.0.0.1");
        assert_int_equal(hg_pg_connect(&setting.pg), HG_PENDING);
        test_wait(&setting.loop, has_peer(&setting));
        test_wait(&setting.loop, has_heard(&setting));
        hg_buf_init(&words, SIZE_MAX);
        pg_welcome(&words);
        words.len = len;
        say(&setting, &words);
        close(setting.peer);
        setting.peer = -1;
        test_wait(&setting.loop, setting.connected == 1);
        assert_int_equal(setting.connect_err, HG_EPEER);
        close_setting(&setting);
    }
}

static void test_errors_of_the_server(void **state)
{
    struct setting setting;
    struct hg_buf words;
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    ask(&setting, 1000);
    hg_buf_init(&words, SIZE_MAX);
    pg_error(&words, "ERROR", "42P01", "no such table\nand more");
    pg_ready(&words);
    say(&setting, &words);
    test_wait(&setting.loop, setting.done == 1);
    assert_int_equal(setting.done_err, HG_EINVAL);
    assert_string_equal(setting.pg.error, "no such table");
    assert_string_equal(setting.pg.sqlstate, "42P01");
    assert_true(hg_pg_is_idle(&setting.pg));

    ask(&setting, 1000); /* in the middle of rows, and the server goes */
    hg_buf_init(&words, SIZE_MAX);
    pg_begin_rows(&words);
    pg_columns(&words);
    pg_row(&words, "Tom", "1");
    pg_error(&words, "FATAL", "57P01", "going down");
    say(&setting, &words);
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, setting.done == 2);
    assert_int_equal(setting.done_err, HG_EPEER);
    assert_string_equal(setting.pg.error, "going down");
    assert_string_equal(setting.pg.sqlstate, "57P01");
    assert_false(hg_pg_is_idle(&setting.pg));
    assert_int_equal(setting.lost, 0);
    close_setting(&setting);
}

static void test_rows_have_a_limit(void **state)
{
    struct setting setting;
    struct hg_buf words;
    (void)state;
    /* Each row of answer_rows: two lengths, 3 + 3 bytes and 0. */
    for (size_t max = 21; max <= 22; max++) {
        open_setting(&setting, "127.0.0.1");
        log_in(&setting);
        ask(&setting, max);
        answer_rows(&words);
        say(&setting, &words);
        test_wait(&setting.loop, setting.done == 1);
        assert_int_equal(setting.done_err, max == 21 ? HG_ETOOBIG : HG_OK);
        assert_int_equal(hg_pg_is_idle(&setting.pg), max == 22);
        close_setting(&setting);
    }
}

static void test_rows_without_columns_have_a_limit(void **state)
{
    struct setting setting;
    struct hg_buf words;
    (void)state;
    for (size_t max = 399; max <= 400; max++) {
        open_setting(&setting, "127.0.0.1");
        log_in(&setting);
        ask(&setting, max);
        hg_buf_init(&words, SIZE_MAX);
        pg_begin_rows(&words);
        pg_message(&words, 'T', "\0\0", 2);
        for (int row = 0; row < 100; row++)
            pg_message(&words, 'D', "\0\0", 2);
        pg_end_rows(&words);
        say(&setting, &words);
        test_wait(&setting.loop, setting.done == 1);
        assert_int_equal(setting.done_err, max == 399 ? HG_ETOOBIG : HG_OK);
        assert_int_equal(setting.pg.answer.row_count, max == 399 ? 0 : 100);
        close_setting(&setting);
    }
}

static void test_row_that_is_too_large_is_noticed_before_it_is_whole(void **state)
{
    static char piece[65536];
    struct setting setting;
    struct hg_buf words;
    uint32_t length = htonl(900 << 20);
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    ask(&setting, 100000);
    hg_buf_init(&words, SIZE_MAX);
    pg_begin_rows(&words);
    pg_columns(&words);
    hg_buf_append_char(&words, 'D');
    hg_buf_append(&words, &length, sizeof(length));
    say(&setting, &words);
    for (unsigned i = 0; i < 100 && setting.done == 0; i++) {
        send(setting.peer, piece, sizeof(piece), MSG_NOSIGNAL);
        uv_run(&setting.loop.uv, UV_RUN_NOWAIT);
    }
    assert_int_equal(setting.done, 1);
    assert_int_equal(setting.done_err, HG_ETOOBIG);
    close_setting(&setting);
}

static void test_idle_one_notices_its_end_and_reads_what_nobody_asked_for(void **state)
{
    struct setting setting;
    struct hg_buf words;
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    hg_buf_init(&words, SIZE_MAX);
    pg_message(&words, 'S', "TimeZone\0UTC", 13);
    pg_message(&words, 'A', "\0\0\0\7channel\0hello", 18);
    say(&setting, &words);
    for (int turn = 0; turn < 10; turn++)
        uv_run(&setting.loop.uv, UV_RUN_NOWAIT);
    assert_true(hg_pg_is_alive(&setting.pg));
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, setting.lost == 1);
    assert_false(hg_pg_is_alive(&setting.pg));
    close_setting(&setting);
}

static void test_names_and_closed_ports(void **state)
{
    struct setting setting;
    struct dns_server server;
    (void)state;
    dns_start(&server);
    atomic_store(&server.mood, MOOD_HERE);
    atomic_store(&dns_of_system, &server);
    open_setting(&setting, "name.x"); /* at 127.0.0.2, where nobody listens, and at 127.0.0.1 */
    log_in(&setting);
    assert_string_equal(setting.pg.hosts.data, "name.x,name.x");
    assert_string_equal(setting.pg.addresses.data, "127.0.0.2,127.0.0.1");
    close_setting(&setting);

    open_setting(&setting, "localhost");
    log_in(&setting);
    close_setting(&setting);

    atomic_store(&server.mood, MOOD_RCODE + ns_r_nxdomain);
    open_setting(&setting, "nowhere.invalid");
    assert_int_equal(hg_pg_connect(&setting.pg), HG_PENDING);
    test_wait(&setting.loop, setting.connected == 1);
    assert_int_equal(setting.connect_err, HG_EADDR);
    assert_string_equal(setting.pg.error,
                        "host \"nowhere.invalid\" could not be resolved: Domain name not found");
    close_setting(&setting);

    open_setting(&setting, "hung.invalid"); /* closed meanwhile */
    assert_int_equal(hg_pg_connect(&setting.pg), HG_PENDING);
    close_setting(&setting);
    assert_int_equal(setting.connected, 0);
    atomic_store(&dns_of_system, NULL);
    dns_stop(&server);

    open_setting(&setting, "127.0.0.1");
    close(setting.listener);
    setting.listener = -1;
    int err = hg_pg_connect(&setting.pg);
    test_wait(&setting.loop, err < 0 || setting.connected == 1);
    assert_non_null(strstr(setting.pg.error, "Connection refused"));
    close_setting(&setting);
}

/* Whether somebody has come to cancel, and asked for the statement's process. */
static bool is_cancelled(const struct setting *setting)
{
    char request[17];
    int canceller = accept4(setting->listener, NULL, NULL, SOCK_CLOEXEC);
    if (canceller < 0)
        return false;
    /* Length 16, the code for it, process 1, secret 2. */
    assert_int_equal(recv(canceller, request, sizeof(request), 0), 16);
    assert_memory_equal(request, "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2", 16);
    close(canceller);
    return true;
}

/* Whether the client has gone; what it said before is read. */
static bool is_left(const struct setting *setting)
{
    char scratch[4096];
    ssize_t count;
    while ((count = recv(setting->peer, scratch, sizeof(scratch), 0)) > 0)
        ;
    return count == 0;
}

static void test_statement_under_way_is_cancelled(void **state)
{
    struct setting setting;
    uint64_t again = hg_pg_cancels_again();
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    ask(&setting, 1000);
    assert_int_equal(hg_pg_close(&setting.pg), HG_PG_CANCELLED);
    shutdown(setting.peer, SHUT_WR); /* it has ended, and with it the connection */
    test_wait(&setting.loop, is_cancelled(&setting));
    test_wait(&setting.loop, is_left(&setting));
    assert_false(is_cancelled(&setting));
    assert_int_equal(hg_pg_cancels_again(), again);
    close_setting(&setting);

    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    ask(&setting, 1000);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_pg_close(&setting.pg), HG_PG_NOT_CANCELLED);
    hg_alloc_fail_clear();
    test_wait(&setting.loop, is_left(&setting));
    close_setting(&setting);
}

static void test_statement_that_came_after_its_cancelling_is_cancelled_again(void **state)
{
    struct setting setting;
    uint64_t again = hg_pg_cancels_again();
    (void)state;
    open_setting(&setting, "127.0.0.1"); /* the second one hits */
    log_in(&setting);
    ask(&setting, 1000);
    assert_int_equal(hg_pg_close(&setting.pg), HG_PG_CANCELLED);
    test_wait(&setting.loop, is_cancelled(&setting));
    test_wait(&setting.loop, is_cancelled(&setting));
    assert_int_equal(hg_pg_cancels_again(), again + 1);
    shutdown(setting.peer, SHUT_WR);
    test_wait(&setting.loop, is_left(&setting));
    assert_false(is_cancelled(&setting));
    close_setting(&setting);

    open_setting(&setting, "127.0.0.1"); /* none does: it is left to itself */
    log_in(&setting);
    ask(&setting, 1000);
    assert_int_equal(hg_pg_close(&setting.pg), HG_PG_CANCELLED);
    for (int i = 0; i < 3; i++)
        test_wait(&setting.loop, is_cancelled(&setting));
    test_wait(&setting.loop, is_left(&setting));
    assert_false(is_cancelled(&setting));
    assert_int_equal(hg_pg_cancels_again(), again + 3);
    close_setting(&setting);
}

static void test_server_that_cannot_be_reached_is_not_asked_again(void **state)
{
    struct setting setting;
    uint64_t again = hg_pg_cancels_again();
    (void)state;
    open_setting(&setting, "127.0.0.1");
    log_in(&setting);
    ask(&setting, 1000);
    close(setting.listener);
    setting.listener = -1;
    assert_int_equal(hg_pg_close(&setting.pg), HG_PG_CANCELLED);
    test_wait(&setting.loop, is_left(&setting));
    assert_int_equal(hg_pg_cancels_again(), again);
    close_setting(&setting);
}

static void test_each_allocation_may_fail(void **state)
{
    bool was_refused = true;
    (void)state;
    for (unsigned n = 0; was_refused; n++) {
        struct setting setting;
        struct hg_buf words;
        open_setting(&setting, "localhost");
        hg_alloc_fail_at(n, false);
        int err = hg_pg_connect(&setting.pg);
        test_wait(&setting.loop, err < 0 || setting.connected == 1 || has_peer(&setting));
        if (err == HG_PENDING && setting.connected == 0) {
            test_wait(&setting.loop, setting.connected == 1 || has_heard(&setting));
            if (setting.connected == 0)
                send(setting.peer, "R\0\0\0\x8\0\0\0\0K\0\0\0\xc\0\0\0\1\0\0\0\2Z\0\0\0\5I", 28, 0);
            test_wait(&setting.loop, setting.connected == 1);
        }
        if (hg_pg_is_idle(&setting.pg) &&
            hg_pg_query(&setting.pg, "select", NULL, 0, 1000) == HG_PENDING) {
            test_wait(&setting.loop, has_heard(&setting));
            was_refused = hg_alloc_fail_clear();
            answer_rows(&words);
            say(&setting, &words);
            test_wait(&setting.loop, setting.done == 1);
            assert_int_equal(setting.done_err, HG_OK);
        } else {
            was_refused = hg_alloc_fail_clear();
            assert_true(was_refused);
        }
        close_setting(&setting);
    }
}

/* Those of an answer, which the test's own words must not meet. */
static void test_each_allocation_of_an_answer_may_fail(void **state)
{
    bool was_refused = true;
    (void)state;
    for (unsigned n = 0; was_refused; n++) {
        struct setting setting;
        struct hg_buf words;
        open_setting(&setting, "127.0.0.1");
        log_in(&setting);
        ask(&setting, 1000);
        answer_rows(&words);
        hg_alloc_fail_at(n, false);
        say(&setting, &words);
        test_wait(&setting.loop, setting.done == 1);
        was_refused = hg_alloc_fail_clear();
        assert_int_equal(setting.done_err, was_refused ? HG_ENOMEM : HG_OK);
        close_setting(&setting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_arrive),
        cmocka_unit_test(test_rows_arrive_byte_by_byte),
        cmocka_unit_test(test_answer_that_is_cut_off_anywhere_is_a_lost_connection),
        cmocka_unit_test(test_greeting_that_is_cut_off_anywhere_is_no_connection),
        cmocka_unit_test(test_errors_of_the_server),
        cmocka_unit_test(test_rows_have_a_limit),
        cmocka_unit_test(test_rows_without_columns_have_a_limit),
        cmocka_unit_test(test_row_that_is_too_large_is_noticed_before_it_is_whole),
        cmocka_unit_test(test_idle_one_notices_its_end_and_reads_what_nobody_asked_for),
        cmocka_unit_test(test_names_and_closed_ports),
        cmocka_unit_test(test_statement_under_way_is_cancelled),
        cmocka_unit_test(test_statement_that_came_after_its_cancelling_is_cancelled_again),
        cmocka_unit_test(test_server_that_cannot_be_reached_is_not_asked_again),
        cmocka_unit_test(test_each_allocation_may_fail),
        cmocka_unit_test(test_each_allocation_of_an_answer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
