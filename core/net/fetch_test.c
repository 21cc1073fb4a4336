#include "net/fetch.h"
#include "net/fetch_impl.h"
#include "net/test_world.h"

struct result {
    unsigned calls;
    int err, status;
    bool is_connect_error;
    char body[256], header[64], text[256];
    size_t body_len;
};

static void on_done(void *ctx, const struct hg_fetch_response *response)
{
    struct result *result = ctx;
    struct hg_bytes header = hg_fetch_header(response, "x-test");
    result->calls++;
    result->err = response->err;
    result->status = response->status;
    result->is_connect_error = response->is_connect_error;
    result->body_len = response->body.len;
    snprintf(result->body, sizeof(result->body), "%.*s", (int)response->body.len,
             response->body.data);
    snprintf(result->header, sizeof(result->header), "%.*s", (int)header.len, header.data);
    snprintf(result->text, sizeof(result->text), "%s", response->err_text);
}

struct setting {
    struct world *world; /* our own server is the other side */
    struct hg_fetcher *fetcher;
    char url[256];
    bool is_closed;
};

static const char *url_of(struct setting *setting, const char *target)
{
    snprintf(setting->url, sizeof(setting->url), "http://127.0.0.1:%u%s",
             (unsigned)setting->world->port, target);
    return setting->url;
}

static void open_setting(struct setting *setting)
{
    *setting = (struct setting){.world = world_open(&usual_limits)};
    assert_int_equal(hg_fetcher_create(&setting->world->loop, &setting->fetcher), HG_OK);
}

static void on_fetcher_closed(void *ctx)
{
    ((struct setting *)ctx)->is_closed = true;
}

static void close_setting(struct setting *setting)
{
    if (!setting->is_closed) {
        hg_fetcher_close(setting->fetcher, on_fetcher_closed, setting);
        test_wait(&setting->world->loop, setting->is_closed);
    }
    world_close(setting->world);
}

static void fetch(struct setting *setting, const struct hg_fetch_options *options,
                  struct result *result)
{
    *result = (struct result){.calls = 0};
    assert_int_equal(hg_fetch_start(setting->fetcher, options, on_done, result, NULL), HG_OK);
    assert_int_equal(result->calls, 0); /* never before start returned */
    test_wait(&setting->world->loop, result->calls > 0);
    assert_int_equal(result->calls, 1);
}

static void test_answers_come_with_status_headers_and_body(void **state)
{
    (void)state;
    struct setting setting;
    struct result result;
    open_setting(&setting);
    fetch(&setting, &(struct hg_fetch_options){.url = url_of(&setting, "/x?hello")}, &result);
    assert_int_equal(result.err, HG_OK);
    assert_int_equal(result.status, 200);
    assert_string_equal(result.body, "hello");
    assert_string_equal(result.header, "yes");

    fetch(&setting, &(struct hg_fetch_options){.url = url_of(&setting, "/none")}, &result);
    assert_int_equal(result.status, 204);
    assert_int_equal(result.body_len, 0);

    fetch(&setting,
          &(struct hg_fetch_options){
              .url = url_of(&setting, "/x"), .method = "PUT", .body = HG_BYTES("a\0b")},
          &result);
    assert_int_equal(result.body_len, 3);
    assert_memory_equal(result.body, "a", 2);

    struct hg_server_stats stats;
    hg_server_stats(setting.world->server, &stats);
    assert_int_equal(stats.connections, 1); /* kept and used again */
    fetch(&setting,
          &(struct hg_fetch_options){.url = url_of(&setting, "/x"), .fresh_connection = true},
          &result);
    hg_server_stats(setting.world->server, &stats);
    assert_int_equal(stats.connections, 2);
    close_setting(&setting);
}

/* Takes whole words, each ended by a space. */
struct words {
    struct result result;
    struct setting *setting;
    struct hg_fetch *fetch;
    char all[64];
    unsigned count, calls;
    bool cancels, closes;
};

static size_t on_words(void *ctx, struct hg_bytes bytes)
{
    struct words *words = hg_container_of(ctx, struct words, result);
    size_t used = 0;
    words->calls++;
    assert_int_equal(words->result.calls, 0); /* never after done */
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] != ' ')
            continue;
        strncat(words->all, bytes.data + used, i + 1 - used);
        used = i + 1;
        words->count++;
    }
    if (words->cancels)
        hg_fetch_cancel(words->fetch, HG_ECANCELED);
    if (words->closes)
        hg_fetcher_close(words->setting->fetcher, on_fetcher_closed, words->setting);
    return used;
}

static void say_words(struct words *words, struct setting *setting, int status)
{
    struct hg_fetch_options options = {
        .url = url_of(setting, "/late"), .data = on_words, .body_max = 16};
    struct hg_reply reply = {.status = status};
    words->setting = setting;
    assert_int_equal(
        hg_fetch_start(setting->fetcher, &options, on_done, &words->result, &words->fetch), HG_OK);
    test_wait(&setting->world->loop, setting->world->late_count == 1);
    hg_exchange_begin(setting->world->late[0], &reply);
    hg_exchange_piece(setting->world->late[0], HG_BYTES("one t"));
}

static void test_a_body_in_pieces_is_handed_out_as_it_comes(void **state)
{
    (void)state;
    struct setting setting;
    struct words words = {.count = 0};
    open_setting(&setting);
    say_words(&words, &setting, 200);
    test_wait(&setting.world->loop, words.count == 1);
    assert_string_equal(words.all, "one ");
    hg_exchange_piece(setting.world->late[0], HG_BYTES("wo three "));
    test_wait(&setting.world->loop, words.count == 3);
    hg_exchange_piece(setting.world->late[0], HG_BYTES("four end"));
    hg_exchange_end(setting.world->late[0]);
    test_wait(&setting.world->loop, words.result.calls == 1);
    assert_string_equal(words.all, "one two three four ");
    assert_int_equal(words.result.err, HG_OK);
    assert_string_equal(words.result.body, "end");
    close_setting(&setting);
}

static void test_only_a_200_is_handed_out(void **state)
{
    (void)state;
    struct setting setting;
    struct words words = {.count = 0};
    open_setting(&setting);
    say_words(&words, &setting, 404);
    hg_exchange_end(setting.world->late[0]);
    test_wait(&setting.world->loop, words.result.calls == 1);
    assert_int_equal(words.calls, 0);
    assert_int_equal(words.result.status, 404);
    assert_string_equal(words.result.body, "one t");
    close_setting(&setting);
}

static void test_what_is_not_used_has_a_maximum(void **state)
{
    (void)state;
    struct setting setting;
    struct words words = {.count = 0};
    open_setting(&setting);
    say_words(&words, &setting, 200);
    test_wait(&setting.world->loop, words.count == 1);
    hg_exchange_piece(setting.world->late[0], HG_BYTES("oooooooooooooooooo"));
    hg_exchange_end(setting.world->late[0]);
    test_wait(&setting.world->loop, words.result.calls == 1);
    assert_int_equal(words.result.err, HG_ETOOBIG);
    close_setting(&setting);
}

static void test_data_may_cancel_and_close(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct setting setting;
        struct words words = {.cancels = i == 0, .closes = i == 1};
        open_setting(&setting);
        say_words(&words, &setting, 200);
        test_wait(&setting.world->loop, words.result.calls == 1);
        assert_int_equal(words.result.err, HG_ECANCELED);
        assert_int_equal(words.calls, 1);
        hg_exchange_end(setting.world->late[0]);
        if (i == 1)
            test_wait(&setting.world->loop, setting.is_closed);
        close_setting(&setting);
    }
}

static void test_head_of_something_big_has_no_body(void **state)
{
    (void)state;
    struct setting setting;
    struct result result;
    open_setting(&setting);
    setting.world->big = make_value(100000);
    fetch(&setting,
          &(struct hg_fetch_options){
              .url = url_of(&setting, "/big"), .method = "HEAD", .body_max = 10},
          &result);
    assert_int_equal(result.err, HG_OK);
    assert_int_equal(result.status, 200);
    assert_int_equal(result.body_len, 0);
    close_setting(&setting);
}

static void test_error_statuses_are_answers(void **state)
{
    (void)state;
    struct setting setting;
    struct result result = {0};
    open_setting(&setting);
    assert_int_equal(hg_fetch_start(setting.fetcher,
                                    &(struct hg_fetch_options){.url = url_of(&setting, "/late")},
                                    on_done, &result, NULL),
                     HG_OK);
    test_wait(&setting.world->loop, setting.world->late_count == 1);
    answer_text(setting.world->late[0], 404, "not here");
    test_wait(&setting.world->loop, result.calls == 1);
    assert_int_equal(result.err, HG_OK);
    assert_int_equal(result.status, 404);
    assert_string_equal(result.body, "not here");
    close_setting(&setting);
}

static void test_bodies_over_the_maximum_are_refused(void **state)
{
    (void)state;
    struct setting setting;
    struct result result;
    open_setting(&setting);
    setting.world->big = make_value(100000);
    fetch(&setting, &(struct hg_fetch_options){.url = url_of(&setting, "/big"), .body_max = 99999},
          &result);
    assert_int_equal(result.err, HG_ETOOBIG);
    fetch(&setting, &(struct hg_fetch_options){.url = url_of(&setting, "/big"), .body_max = 100000},
          &result);
    assert_int_equal(result.err, HG_OK);
    assert_int_equal(result.body_len, 100000);
    close_setting(&setting);
}

static void test_refused_connections_are_told_from_other_failures(void **state)
{
    (void)state;
    struct setting setting;
    struct result result;
    uint16_t port;
    char url[64];
    open_setting(&setting);
    close(test_listen(&port)); /* nobody listens there now */
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)port);
    fetch(&setting, &(struct hg_fetch_options){.url = url}, &result);
    assert_int_equal(result.err, HG_EPEER);
    assert_true(result.is_connect_error);
    assert_int_equal(result.status, 0);
    close_setting(&setting);
}

/* A listener whose connections we handle by hand. */
struct raw {
    int listen_fd, fd;
    uint16_t port;
    char url[64];
};

static void raw_open(struct raw *raw)
{
    raw->listen_fd = test_listen(&raw->port);
    raw->fd = -1;
    snprintf(raw->url, sizeof(raw->url), "http://127.0.0.1:%u/", (unsigned)raw->port);
}

static bool raw_accept(struct raw *raw)
{
    if (raw->fd < 0)
        raw->fd = accept4(raw->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return raw->fd >= 0;
}

static bool raw_has_request(struct raw *raw)
{
    char byte;
    return raw_accept(raw) && recv(raw->fd, &byte, 1, MSG_PEEK) == 1;
}

static void raw_close(struct raw *raw)
{
    if (raw->fd >= 0)
        close(raw->fd);
    close(raw->listen_fd);
}

static void test_broken_answers_are_failures_of_the_peer(void **state)
{
    (void)state;
    static const struct {
        const char *answer; /* NULL: reset */
        int err;
    } cases[] = {
        {NULL, HG_EPEER},
        {"", HG_EPEER},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", HG_EPEER},
        {"HTTP/1.1 200 OK\r\nContent-Le", HG_EPEER},
        {"\x00\x00\x12\x04garbage", HG_EPROTO},
        {"SSH-2.0-OpenSSH\r\n\r\n", HG_EPROTO},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct setting setting;
        struct result result = {0};
        struct raw raw;
        open_setting(&setting);
        raw_open(&raw);
        assert_int_equal(hg_fetch_start(setting.fetcher, &(struct hg_fetch_options){.url = raw.url},
                                        on_done, &result, NULL),
                         HG_OK);
        test_wait(&setting.world->loop, raw_has_request(&raw));
        if (cases[i].answer == NULL) {
            struct linger linger = {.l_onoff = 1};
            setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        } else {
            char drain[4096];
            while (recv(raw.fd, drain, sizeof(drain), 0) > 0)
                continue;
            size_t len = cases[i].err == HG_EPROTO && cases[i].answer[0] == '\0'
                             ? 11
                             : strlen(cases[i].answer);
            (void)!write(raw.fd, cases[i].answer, len);
        }
        close(raw.fd);
        raw.fd = -1;
        test_wait(&setting.world->loop, result.calls == 1);
        if (result.err != cases[i].err)
            fail_msg("case %zu: %d, %s", i, result.err, result.text);
        assert_false(result.is_connect_error);
        raw_close(&raw);
        close_setting(&setting);
    }
}

static void test_silence_ends_at_the_timeout(void **state)
{
    (void)state;
    struct setting setting;
    struct result result;
    struct raw raw;
    open_setting(&setting);
    raw_open(&raw);
    uint64_t begun = hg_clock_boot_ms();
    fetch(&setting, &(struct hg_fetch_options){.url = raw.url, .timeout_ms = 300}, &result);
    assert_int_equal(result.err, HG_ETIMEDOUT);
    assert_false(result.is_connect_error);
    assert_true(hg_clock_boot_ms() - begun >= 295);
    raw_close(&raw);
    close_setting(&setting);
}

/* More to one host than there may be connections: those that wait for one end in time as well. */
static void test_queued_fetches_end_at_their_timeout_too(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct setting setting;
    static struct result results[COUNT];
    struct raw raw;
    open_setting(&setting);
    raw_open(&raw);
    memset(results, 0, sizeof(results));
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(
            hg_fetch_start(setting.fetcher,
                           &(struct hg_fetch_options){.url = raw.url, .timeout_ms = 400}, on_done,
                           &results[i], NULL),
            HG_OK);
    uint64_t begun = hg_clock_boot_ms();
    for (int i = 0; i < COUNT; i++) {
        test_wait(&setting.world->loop, results[i].calls == 1);
        assert_int_equal(results[i].err, HG_ETIMEDOUT);
    }
    assert_true(hg_clock_boot_ms() - begun < 3000);
    raw_close(&raw);
    close_setting(&setting);
}

/* Waiting for a connection is not failing to connect, however long it takes. */
static void test_queued_fetches_outlast_the_connect_timeout(void **state)
{
    (void)state;
    enum { COUNT = 100, AT_ONCE = 64 };
    for (int closes = 0; closes < 2; closes++) {
        struct setting setting;
        static struct result results[COUNT];
        open_setting(&setting);
        hg_fetcher_limit_host(setting.fetcher, AT_ONCE);
        memset(results, 0, sizeof(results));
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(
                hg_fetch_start(setting.fetcher,
                               &(struct hg_fetch_options){.url = url_of(&setting, "/late"),
                                                          .timeout_ms = 20000,
                                                          .connect_timeout_ms = 250},
                               on_done, &results[i], NULL),
                HG_OK);
        test_wait(&setting.world->loop, setting.world->late_count == AT_ONCE);
        uint64_t until = hg_clock_boot_ms() + 400;
        test_wait(&setting.world->loop, hg_clock_boot_ms() > until);
        assert_int_equal(setting.world->late_count, AT_ONCE);
        for (int i = 0; i < COUNT; i++) {
            test_wait(&setting.world->loop, setting.world->late_count > (unsigned)i);
            struct hg_reply reply = {.status = 200, .close = closes == 1};
            hg_exchange_answer(setting.world->late[i % 64], &reply);
        }
        for (int i = 0; i < COUNT; i++) {
            test_wait(&setting.world->loop, results[i].calls == 1);
            if (results[i].err != HG_OK)
                fail_msg("closes=%d i=%d: %d %s", closes, i, results[i].err, results[i].text);
        }
        close_setting(&setting);
    }
}

static void test_cancel_reports_once_and_later(void **state)
{
    (void)state;
    struct setting setting;
    struct result result = {0};
    struct raw raw;
    struct hg_fetch *fetch;
    open_setting(&setting);
    raw_open(&raw);
    assert_int_equal(hg_fetch_start(setting.fetcher, &(struct hg_fetch_options){.url = raw.url},
                                    on_done, &result, &fetch),
                     HG_OK);
    test_wait(&setting.world->loop, raw_has_request(&raw));
    hg_fetch_cancel(fetch, HG_ETIMEDOUT);
    hg_fetch_cancel(fetch, HG_ECANCELED); /* the first word counts */
    assert_int_equal(result.calls, 0);
    test_wait(&setting.world->loop, result.calls == 1);
    assert_int_equal(result.err, HG_ETIMEDOUT);
    raw_close(&raw);
    close_setting(&setting);
    assert_int_equal(result.calls, 1);
}

static void test_close_cancels_what_runs(void **state)
{
    (void)state;
    struct setting setting;
    struct result results[3] = {{0}, {0}, {0}};
    struct raw raw;
    open_setting(&setting);
    raw_open(&raw);
    for (int i = 0; i < 3; i++)
        assert_int_equal(hg_fetch_start(setting.fetcher, &(struct hg_fetch_options){.url = raw.url},
                                        on_done, &results[i], NULL),
                         HG_OK);
    hg_fetcher_close(setting.fetcher, on_fetcher_closed, &setting);
    struct hg_fetch_options refused = {.url = raw.url};
    assert_int_equal(hg_fetch_start(setting.fetcher, &refused, on_done, &results[0], NULL),
                     HG_ECANCELED);
    test_wait(&setting.world->loop, setting.is_closed);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i].calls, 1);
        assert_int_equal(results[i].err, HG_ECANCELED);
    }
    raw_close(&raw);
    close_setting(&setting);
}

/* done may use the fetcher again, or close it. */
struct chain {
    struct setting *setting;
    unsigned left;
};

static void on_link(void *ctx, const struct hg_fetch_response *response)
{
    struct chain *chain = ctx;
    assert_int_equal(response->err, HG_OK);
    if (--chain->left == 0) {
        hg_fetcher_close(chain->setting->fetcher, on_fetcher_closed, chain->setting);
        return;
    }
    struct hg_fetch_options options = {.url = url_of(chain->setting, "/x?again")};
    assert_int_equal(hg_fetch_start(chain->setting->fetcher, &options, on_link, chain, NULL),
                     HG_OK);
}

static void test_done_may_start_another_and_close(void **state)
{
    (void)state;
    struct setting setting;
    struct chain chain = {&setting, 20};
    open_setting(&setting);
    struct hg_fetch_options options = {.url = url_of(&setting, "/x?first")};
    assert_int_equal(hg_fetch_start(setting.fetcher, &options, on_link, &chain, NULL), HG_OK);
    test_wait(&setting.world->loop, setting.is_closed);
    assert_int_equal(chain.left, 0);
    close_setting(&setting);
}

/* G15: nothing but http and https, no redirects, no split headers. */
static void test_other_protocols_and_split_headers_are_refused(void **state)
{
    (void)state;
    static const char *urls[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:1/",
                                 "no url at all:"};
    struct setting setting;
    struct result result;
    open_setting(&setting);
    for (size_t i = 0; i < HG_COUNT(urls); i++) {
        fetch(&setting, &(struct hg_fetch_options){.url = urls[i]}, &result);
        assert_int_equal(result.err, HG_EINVAL);
    }
    const char *headers[] = {"X-A: b\r\nX-Evil: c", NULL};
    struct hg_fetch_options split = {.url = url_of(&setting, "/x"), .headers = headers};
    assert_int_equal(hg_fetch_start(setting.fetcher, &split, on_done, &result, NULL), HG_EINVAL);
    assert_int_equal(setting.world->asked, 0);
    close_setting(&setting);
}

static void test_no_memory_is_said_at_the_start(void **state)
{
    (void)state;
    struct setting setting;
    struct result result = {0};
    open_setting(&setting);
    struct hg_fetch_options options = {
        .url = url_of(&setting, "/x?ok"), .method = "PUT", .body = HG_BYTES("b")};
    size_t live = hg_alloc_live_count();
    for (size_t nth = 0; nth < 2; nth++) {
        hg_alloc_fail_at(nth, false);
        assert_int_equal(hg_fetch_start(setting.fetcher, &options, on_done, &result, NULL),
                         HG_ENOMEM);
        assert_true(hg_alloc_fail_clear());
        assert_int_equal(hg_alloc_live_count(), live);
    }
    assert_int_equal(result.calls, 0);
    close_setting(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_come_with_status_headers_and_body),
        cmocka_unit_test(test_a_body_in_pieces_is_handed_out_as_it_comes),
        cmocka_unit_test(test_only_a_200_is_handed_out),
        cmocka_unit_test(test_what_is_not_used_has_a_maximum),
        cmocka_unit_test(test_data_may_cancel_and_close),
        cmocka_unit_test(test_head_of_something_big_has_no_body),
        cmocka_unit_test(test_error_statuses_are_answers),
        cmocka_unit_test(test_bodies_over_the_maximum_are_refused),
        cmocka_unit_test(test_refused_connections_are_told_from_other_failures),
        cmocka_unit_test(test_broken_answers_are_failures_of_the_peer),
        cmocka_unit_test(test_silence_ends_at_the_timeout),
        cmocka_unit_test(test_queued_fetches_end_at_their_timeout_too),
        cmocka_unit_test(test_queued_fetches_outlast_the_connect_timeout),
        cmocka_unit_test(test_cancel_reports_once_and_later),
        cmocka_unit_test(test_close_cancels_what_runs),
        cmocka_unit_test(test_done_may_start_another_and_close),
        cmocka_unit_test(test_other_protocols_and_split_headers_are_refused),
        cmocka_unit_test(test_no_memory_is_said_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
