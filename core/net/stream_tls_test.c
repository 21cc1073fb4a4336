#include "net/test_tls.h"

#include "net/stream.h"

struct client {
    struct hg_stream stream;
    unsigned connected, secured, arrived, written, closed;
    int secure_err, read_err, write_err;
    bool pauses;
};

static struct client *client_of(struct hg_stream *stream)
{
    return hg_container_of(stream, struct client, stream);
}

static void on_connected(struct hg_stream *stream, int err)
{
    assert_int_equal(err, HG_OK);
    client_of(stream)->connected++;
}

static void on_secured(struct hg_stream *stream, int err)
{
    client_of(stream)->secured++;
    client_of(stream)->secure_err = err;
}

static void on_arrived(struct hg_stream *stream, int err)
{
    struct client *client = client_of(stream);
    client->arrived++;
    if (err < 0)
        client->read_err = err;
    if (client->pauses)
        hg_stream_pause(stream);
}

static void on_written(struct hg_stream *stream, int err)
{
    client_of(stream)->written++;
    client_of(stream)->write_err = err;
}

static void on_closed(struct hg_stream *stream)
{
    client_of(stream)->closed++;
}

static const struct hg_stream_calls calls = {.connected = on_connected,
                                             .secured = on_secured,
                                             .arrived = on_arrived,
                                             .written = on_written,
                                             .closed = on_closed};

struct setting {
    struct test_tls_server server;
    struct hg_tls_context *context;
    struct test_end end;
    struct hg_loop loop;
    struct client client;
    struct hg_stream_budget budget;
    int listener, peer;
    uint16_t port;
    size_t live_bytes;
};

static struct test_pki pki;

static int make_pki(void **state)
{
    (void)state;
    test_pki_make(&pki);
    return 0;
}

static int remove_pki(void **state)
{
    (void)state;
    test_pki_remove(&pki);
    return 0;
}

static void open_setting(struct setting *setting, size_t in_max)
{
    memset(setting, 0, sizeof(*setting));
    setting->live_bytes = hg_alloc_live_bytes();
    test_tls_server_open(&setting->server, &pki, TLS1_3_VERSION);
    assert_int_equal(hg_tls_context_create(pki.ca, &setting->context), HG_OK);
    test_end_open(&setting->end, &setting->server);
    assert_int_equal(hg_loop_init(&setting->loop, "test"), HG_OK);
    setting->listener = test_listen(&setting->port);
    setting->budget.max_bytes = SIZE_MAX;
    hg_stream_init(&setting->client.stream, &setting->loop, in_max, &setting->budget, &calls);
    assert_int_equal(hg_stream_connect(&setting->client.stream, "127.0.0.1", setting->port),
                     HG_PENDING);
    test_wait(&setting->loop, setting->client.connected == 1);
    setting->peer = accept(setting->listener, NULL, NULL);
    assert_true(setting->peer >= 0);
    assert_int_equal(fcntl(setting->peer, F_SETFL, O_NONBLOCK), 0);
    int size = 65536; /* what the kernel takes is no more than some of these */
    assert_int_equal(setsockopt(setting->peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    assert_int_equal(uv_send_buffer_size(&setting->client.stream.uv.handle, &size), 0);
}

static void close_setting(struct setting *setting)
{
    hg_stream_close(&setting->client.stream);
    test_wait(&setting->loop, setting->client.closed == 1);
    if (setting->peer >= 0)
        close(setting->peer);
    close(setting->listener);
    assert_int_equal(hg_loop_finish(&setting->loop), 0);
    test_end_finish(&setting->end);
    hg_tls_context_destroy(setting->context);
    test_tls_server_close(&setting->server);
    assert_int_equal(setting->budget.used_bytes, 0);
    assert_int_equal(hg_alloc_live_bytes(), setting->live_bytes);
}

/* The server reads and writes what it can. True: the other side has ended. */
static bool serve(struct setting *setting)
{
    char bytes[16384];
    ssize_t got = recv(setting->peer, bytes, sizeof(bytes), 0);
    test_end_feed(&setting->end, hg_bytes(bytes, got > 0 ? (size_t)got : 0));
    size_t len;
    while ((len = test_end_output(&setting->end, bytes, sizeof(bytes))) > 0)
        assert_int_equal(send(setting->peer, bytes, len, MSG_NOSIGNAL), len);
    return got == 0;
}

static int secure(struct setting *setting, const char *name)
{
    struct hg_tls_options options = {.server_name = name, .verify = true};
    struct hg_tls *tls;
    int err = hg_tls_create(setting->context, &options, &tls);
    return err < 0 ? err : hg_stream_secure(&setting->client.stream, tls);
}

static void meet(struct setting *setting)
{
    assert_int_equal(secure(setting, "localhost"), HG_PENDING);
    assert_int_equal(setting->client.secured, 0); /* never before it returned */
    test_wait(&setting->loop, (serve(setting), setting->client.secured == 1));
    assert_int_equal(setting->client.secure_err, HG_OK);
    test_wait(&setting->loop, (serve(setting), setting->end.is_done));
}

static size_t waiting(struct setting *setting)
{
    return hg_stream_bytes(&setting->client.stream).len;
}

static void test_bytes_go_both_ways(void **state)
{
    struct setting setting;
    struct hg_stream *stream = &setting.client.stream;
    char heard[16];
    size_t len = 0;
    (void)state;
    open_setting(&setting, 100000);
    meet(&setting);
    assert_int_equal(setting.client.arrived, 0);
    assert_int_equal(hg_stream_write(stream, HG_BYTES("hello")), HG_OK);
    test_wait(&setting.loop,
              (serve(&setting), (len = test_end_hear(&setting.end, heard, sizeof(heard))) > 0));
    assert_int_equal(len, 5);
    test_end_say(&setting.end, "one two");
    serve(&setting);
    assert_int_equal(hg_stream_want(stream), HG_OK);
    test_wait(&setting.loop, waiting(&setting) == 7);
    hg_stream_take(stream, 4);
    test_end_say(&setting.end, " three");
    serve(&setting);
    test_wait(&setting.loop, waiting(&setting) == 9);
    assert_memory_equal(hg_stream_bytes(stream).data, "two three", 9);
    hg_ssl->SSL_shutdown(setting.end.ssl);
    serve(&setting);
    test_wait(&setting.loop, setting.client.read_err == HG_ECLOSED);
    assert_int_equal(hg_stream_want(stream), HG_ECLOSED); /* and it stays so */
    close_setting(&setting);
}

static void test_end_that_comes_with_the_last_bytes_is_told_when_wanted(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, 100000);
    meet(&setting);
    setting.client.pauses = true;
    test_end_say(&setting.end, "last");
    hg_ssl->SSL_shutdown(setting.end.ssl);
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    test_wait(&setting.loop, (serve(&setting), waiting(&setting) == 4));
    assert_int_equal(setting.client.read_err, HG_OK);
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_ECLOSED);
    assert_string_equal(setting.client.stream.error, "closed");
    close_setting(&setting);
}

static void test_cut_is_not_an_end(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, 100000);
    meet(&setting);
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, setting.client.read_err != HG_OK);
    assert_int_equal(setting.client.read_err, HG_EPEER);
    assert_string_equal(setting.client.stream.error, "closed");
    close_setting(&setting);
}

static void test_closing_tells_the_other_side(void **state)
{
    struct setting setting;
    char byte;
    (void)state;
    open_setting(&setting, 1000);
    meet(&setting);
    hg_stream_close(&setting.client.stream);
    test_wait(&setting.loop, serve(&setting));
    int rc = hg_ssl->SSL_read(setting.end.ssl, &byte, 1);
    assert_int_equal(hg_ssl->SSL_get_error(setting.end.ssl, rc), SSL_ERROR_ZERO_RETURN);
    close_setting(&setting);
}

static void test_big_write_goes_on_when_there_is_room(void **state)
{
    enum { BIG = 6000000 };
    struct setting setting;
    struct hg_stream *stream = &setting.client.stream;
    char *data = malloc(BIG), heard[16384];
    size_t got = 0;
    (void)state;
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i * 31 + i / 4096);
    open_setting(&setting, 1000);
    meet(&setting);
    assert_int_equal(hg_stream_write(stream, hg_bytes(data, BIG)), HG_PENDING);
    assert_true(setting.budget.used_bytes > 1000000);
    uint64_t until = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    while (got < BIG && hg_clock_boot_ms() < until) {
        size_t len;
        serve(&setting);
        uv_run(&setting.loop.uv, UV_RUN_NOWAIT);
        while ((len = test_end_hear(&setting.end, heard, sizeof(heard))) > 0) {
            assert_memory_equal(heard, data + got, len);
            got += len;
        }
    }
    assert_int_equal(got, BIG);
    test_wait(&setting.loop, setting.client.written == 1);
    assert_int_equal(setting.client.write_err, HG_OK);
    assert_int_equal(stream->rest_len, 0);
    free(data);
    close_setting(&setting);
}

static void test_buffer_and_budget_have_their_maximum(void **state)
{
    struct setting setting;
    char text[3001];
    (void)state;
    memset(text, 'x', 3000);
    text[3000] = '\0';
    open_setting(&setting, 5000);
    meet(&setting);
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    for (unsigned i = 0; i < 2; i++) {
        test_end_say(&setting.end, text);
        serve(&setting);
        test_wait(&setting.loop, waiting(&setting) == (i + 1) * 3000u);
    }
    test_end_say(&setting.end, text);
    serve(&setting);
    test_wait(&setting.loop, setting.client.read_err == HG_ETOOBIG);
    close_setting(&setting);

    open_setting(&setting, 100000);
    meet(&setting);
    setting.budget.max_bytes = 100;
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    for (unsigned i = 0; i < 30 && setting.client.read_err == HG_OK; i++) {
        unsigned arrived = setting.client.arrived;
        test_end_say(&setting.end, text);
        serve(&setting);
        test_wait(&setting.loop, setting.client.arrived > arrived);
    }
    assert_int_equal(setting.client.read_err, HG_ELIMIT);
    close_setting(&setting);
}

static void test_unread_bytes_are_not_made_protected_ones(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, 1000);
    assert_int_equal(send(setting.peer, "x", 1, 0), 1);
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    test_wait(&setting.loop, waiting(&setting) == 1);
    assert_int_equal(secure(&setting, "localhost"), HG_EINVAL);
    assert_string_equal(setting.client.stream.error, "unread data in buffer");
    close_setting(&setting);
}

static void test_handshakes_fail_once(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, 1000);
    assert_int_equal(secure(&setting, "other.example"), HG_PENDING);
    test_wait(&setting.loop, (serve(&setting), setting.client.secured == 1));
    assert_int_equal(setting.client.secure_err, HG_EPROTO);
    assert_string_equal(setting.client.stream.error, "62: hostname mismatch");
    close_setting(&setting);

    open_setting(&setting, 1000);
    assert_int_equal(secure(&setting, "localhost"), HG_PENDING);
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, setting.client.secured == 1);
    assert_true(setting.client.secure_err < 0);
    close_setting(&setting);
}

/* What is sealed goes out whole or the stream is over: a record that is half sent can have nothing behind it. */
static void test_handshake_that_cannot_be_sent_fails(void **state)
{
    struct setting setting;
    char bytes[16384] = {0};
    uv_os_fd_t fd;
    (void)state;
    open_setting(&setting, 100000);
    assert_int_equal(secure(&setting, "localhost"), HG_PENDING);
    ssize_t got = recv(setting.peer, bytes, sizeof(bytes), 0);
    assert_true(got > 0);
    test_end_feed(&setting.end, hg_bytes(bytes, (size_t)got));
    size_t len = test_end_output(&setting.end, bytes, 100); /* the buffer gets its room */
    assert_int_equal(send(setting.peer, bytes, len, MSG_NOSIGNAL), len);
    test_wait(&setting.loop, setting.client.stream.in.capacity > 0);
    len = test_end_output(&setting.end, bytes, sizeof(bytes));
    assert_int_equal(send(setting.peer, bytes, len, MSG_NOSIGNAL), len);

    assert_int_equal(uv_fileno(&setting.client.stream.uv.handle, &fd), 0);
    while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
    setting.budget.max_bytes = 0;
    test_wait(&setting.loop, setting.client.secured == 1);
    assert_int_equal(setting.client.secure_err, HG_ELIMIT);
    setting.budget.max_bytes = SIZE_MAX;
    assert_true(hg_stream_write(&setting.client.stream, HG_BYTES("more")) < 0);
    close_setting(&setting);
}

static void test_tickets_do_not_make_it_loud(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, 1000);
    meet(&setting);
    test_wait(&setting.loop, setting.end.is_done);
    serve(&setting); /* the tickets are under way */
    assert_true(hg_stream_is_quiet(&setting.client.stream));
    test_end_say(&setting.end, "x");
    serve(&setting);
    test_wait(&setting.loop, !hg_stream_is_quiet(&setting.client.stream));
    assert_int_equal(waiting(&setting), 1); /* it is not lost */
    close_setting(&setting);

    open_setting(&setting, 1000);
    meet(&setting);
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, !hg_stream_is_quiet(&setting.client.stream));
    close_setting(&setting);
}

static void test_closing_at_any_moment(void **state)
{
    struct setting setting;
    (void)state;
    for (unsigned turns = 0; turns < 12; turns++) {
        open_setting(&setting, 1000);
        assert_int_equal(secure(&setting, "localhost"), HG_PENDING);
        for (unsigned i = 0; i < turns; i++) {
            if (i % 2 == 0)
                serve(&setting);
            uv_run(&setting.loop.uv, UV_RUN_NOWAIT);
        }
        close_setting(&setting);
        assert_true(setting.client.secured <= 1);
    }
}

static void test_no_memory_is_an_error(void **state)
{
    struct setting setting;
    bool was_refused = true;
    char *data = malloc(3000000);
    unsigned failures = 0;
    (void)state;
    memset(data, 'x', 3000000);
    for (size_t n = 0; was_refused; n++) {
        open_setting(&setting, 100000);
        hg_alloc_fail_at(n, false);
        int err = secure(&setting, "localhost");
        if (err == HG_PENDING) {
            test_wait(&setting.loop, (serve(&setting), setting.client.secured == 1));
            err = setting.client.secure_err;
        }
        if (err == HG_OK) {
            test_end_say(&setting.end, "x");
            serve(&setting);
            err = hg_stream_want(&setting.client.stream);
        }
        if (err == HG_OK) {
            test_wait(&setting.loop, waiting(&setting) == 1 || setting.client.read_err < 0);
            err = setting.client.read_err;
        }
        if (err == HG_OK)
            err = hg_stream_write(&setting.client.stream, hg_bytes(data, 3000000));
        was_refused = hg_alloc_fail_clear();
        if (was_refused && err == HG_ENOMEM)
            failures++;
        else
            assert_int_equal(err, HG_PENDING);
        close_setting(&setting);
    }
    assert_true(failures >= 4);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_go_both_ways),
        cmocka_unit_test(test_end_that_comes_with_the_last_bytes_is_told_when_wanted),
        cmocka_unit_test(test_cut_is_not_an_end),
        cmocka_unit_test(test_closing_tells_the_other_side),
        cmocka_unit_test(test_big_write_goes_on_when_there_is_room),
        cmocka_unit_test(test_buffer_and_budget_have_their_maximum),
        cmocka_unit_test(test_unread_bytes_are_not_made_protected_ones),
        cmocka_unit_test(test_handshakes_fail_once),
        cmocka_unit_test(test_handshake_that_cannot_be_sent_fails),
        cmocka_unit_test(test_tickets_do_not_make_it_loud),
        cmocka_unit_test(test_closing_at_any_moment),
        cmocka_unit_test(test_no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_pki, remove_pki);
}
