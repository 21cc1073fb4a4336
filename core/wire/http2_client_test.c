/* The client against our own server, in memory. */
#include "wire/http2_client_impl.h"

#include "base/testing.h"
#include "wire/grpc.h"
#include "wire/test_http2_pair.h"

#define TIMEOUT_MS 1000

struct ends {
    struct hg_http2 *server;
    struct hg_http2_client *client;
    struct pair pair; /* the server's part of it */
    uint64_t now_ms;
    size_t cut; /* bytes at a time; 0: all */
    int err;
};

static void ends_open(struct ends *ends, unsigned streams)
{
    struct hg_http2_limits limits = usual_limits();
    *ends = (struct ends){.now_ms = START_MS};
    limits.streams = streams;
    ends->pair.big = big_value;
    ends->err = hg_http2_create(&limits, &ops, &ends->pair, START_MS, &ends->server);
    if (ends->err == HG_OK)
        ends->err = hg_http2_client_create(TIMEOUT_MS, START_MS, &ends->client);
}

static void ends_close(struct ends *ends)
{
    hg_http2_destroy(ends->server);
    hg_http2_client_destroy(ends->client);
}

static struct hg_bytes cut_off(struct ends *ends, struct hg_bytes *bytes)
{
    size_t len = ends->cut > 0 && ends->cut < bytes->len ? ends->cut : bytes->len;
    struct hg_bytes part = hg_bytes(bytes->data, len);
    *bytes = hg_bytes(bytes->data + len, bytes->len - len);
    return part;
}

static bool to_server(struct ends *ends)
{
    struct hg_bytes bytes;
    ends->err = hg_http2_client_pull(ends->client, &bytes);
    bool moved = bytes.len > 0;
    while (ends->err == HG_OK && bytes.len > 0)
        ends->err = hg_http2_feed(ends->server, cut_off(ends, &bytes), ends->now_ms);
    return moved;
}

static bool to_client(struct ends *ends)
{
    struct hg_bytes bytes;
    ends->err = hg_http2_pull(ends->server, ends->now_ms, &bytes);
    bool moved = bytes.len > 0;
    while (ends->err == HG_OK && bytes.len > 0)
        ends->err = hg_http2_client_feed(ends->client, cut_off(ends, &bytes), ends->now_ms);
    return moved;
}

static void turn(struct ends *ends)
{
    for (bool moved = ends->err == HG_OK; moved && ends->err == HG_OK;) {
        moved = to_server(ends);
        if (ends->err == HG_OK)
            moved |= to_client(ends);
    }
}

static int start(struct ends *ends, const char *path, struct hg_bytes body, size_t body_max,
                 bool is_grpc, struct hg_http2_call **out_call)
{
    const char *headers[] = {"Content-Type: application/grpc", "TE: trailers", NULL};
    struct hg_http2_request request = {
        .method = body.len > 0 ? HG_BYTES("POST") : HG_BYTES("GET"),
        .authority = HG_BYTES("a:1"),
        .path = hg_bytes_str(path),
        .headers = is_grpc ? headers : NULL,
        .body = body,
        .body_max = body_max,
        .is_grpc = is_grpc,
    };
    return hg_http2_client_start(ends->client, &request, NULL, ends->now_ms, out_call);
}

static struct hg_http2_call *must_start(struct ends *ends, const char *path)
{
    struct hg_http2_call *call = NULL;
    assert_int_equal(start(ends, path, HG_BYTES_NONE, BIG_BYTES, false, &call), HG_OK);
    return call;
}

static void must_end(struct ends *ends, struct hg_http2_call *call, int err, int status)
{
    assert_ptr_equal(hg_http2_client_pop_ended(ends->client), call);
    assert_int_equal(call->err, err);
    if (err == HG_OK)
        assert_int_equal(call->status, status);
    else
        assert_non_null(call->err_text);
}

static void test_request_is_answered_however_the_bytes_come(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 3; cut++) {
        struct ends ends;
        struct hg_http2_call *call;
        ends_open(&ends, 128);
        ends.cut = cut;
        assert_false(hg_http2_client_is_ready(ends.client));
        assert_int_equal(hg_http2_client_room(ends.client), 0);
        turn(&ends);
        assert_true(hg_http2_client_is_ready(ends.client));
        assert_int_equal(hg_http2_client_room(ends.client), 128);
        assert_int_equal(start(&ends, "/trailers", HG_BYTES("\0\0\0\0\2hi"), 2, true, &call),
                         HG_OK);
        turn(&ends);
        must_end(&ends, call, HG_OK, 200);
        assert_memory_equal(call->body.data, "\0\0\0\0\2hi", 7);
        assert_int_equal(call->trailers.len, strlen("grpc-status: 0\r\n"));
        assert_memory_equal(call->trailers.data, "grpc-status: 0\r\n", call->trailers.len);
        assert_string_equal(ends.pair.seen, "POST /trailers||a:1|7|");
        hg_http2_call_free(call);
        assert_int_equal(hg_http2_client_room(ends.client), 128);
        ends_close(&ends);
    }
}

static void test_big_bodies_of_many_streams_pass_the_windows(void **state)
{
    (void)state;
    struct ends ends;
    static char body[40000];
    struct hg_http2_call *calls[12];
    ends_open(&ends, 128);
    turn(&ends);
    for (size_t i = 0; i < HG_COUNT(calls); i++) {
        if (i % 2 == 0)
            calls[i] = must_start(&ends, "/big");
        else
            assert_int_equal(
                start(&ends, "/echo", hg_bytes(body, sizeof(body)), sizeof(body), false, &calls[i]),
                HG_OK);
    }
    turn(&ends);
    struct hg_http2_call *call;
    size_t count = 0;
    while ((call = hg_http2_client_pop_ended(ends.client)) != NULL) {
        assert_int_equal(call->err, HG_OK);
        assert_true(call->body.len == BIG_BYTES || call->body.len == sizeof(body));
        hg_http2_call_free(call);
        count++;
    }
    assert_int_equal(count, HG_COUNT(calls));
    ends_close(&ends);
}

static void test_no_more_streams_than_the_server_allows(void **state)
{
    (void)state;
    struct ends ends;
    struct hg_http2_call *call, *calls[3];
    ends_open(&ends, 3);
    turn(&ends);
    for (size_t i = 0; i < 3; i++)
        calls[i] = must_start(&ends, "/late");
    assert_int_equal(hg_http2_client_room(ends.client), 0);
    assert_int_equal(start(&ends, "/late", HG_BYTES_NONE, 1, false, &call), HG_ELIMIT);
    turn(&ends);
    answer_text(ends.pair.late[1], 200, HG_BYTES("two"));
    turn(&ends);
    must_end(&ends, calls[1], HG_OK, 200);
    hg_http2_call_free(calls[1]);
    assert_int_equal(hg_http2_client_room(ends.client), 1);
    ends_close(&ends);
}

static void test_canceled_calls_are_reset_and_never_end(void **state)
{
    (void)state;
    struct ends ends;
    ends_open(&ends, 128);
    turn(&ends);
    struct hg_http2_call *unsent = must_start(&ends, "/late");
    assert_int_equal(hg_http2_call_cancel(unsent), HG_OK);
    turn(&ends);
    assert_int_equal(ends.pair.asked, 0);
    struct hg_http2_call *sent = must_start(&ends, "/late");
    turn(&ends);
    assert_int_equal(ends.pair.asked, 1);
    assert_int_equal(hg_http2_call_cancel(sent), HG_OK);
    turn(&ends);
    assert_int_equal(ends.pair.gone, 1);
    struct hg_http2_call *ended = must_start(&ends, "/x?y");
    turn(&ends);
    must_end(&ends, ended, HG_OK, 200);
    assert_int_equal(hg_http2_call_cancel(ended), HG_OK);
    assert_null(hg_http2_client_pop_ended(ends.client));
    assert_int_equal(hg_http2_client_call_count(ends.client), 0);
    ends_close(&ends);
}

static void test_answers_over_a_limit_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t len, max;
        int err;
    } messages[] = {
        {"\0\0\0\0\2hi", 7, 1, HG_ETOOBIG},
        {"\0\xff\xff\xff\xffhi", 7, 1 << 20, HG_ETOOBIG},
        {"\1\0\0\0\2hi", 7, 100, HG_EPROTO},
        {"\0\0\0\0\1hi", 7, 100, HG_EPROTO},
        {"\0\0\0\0\2hi\0\0\0", 10, 100, HG_EPROTO},
        {"\7\0\0\0\2hi", 7, 100, HG_EPROTO},
    };
    struct ends ends;
    struct hg_http2_call *call;
    ends_open(&ends, 128);
    turn(&ends);
    assert_int_equal(start(&ends, "/big", HG_BYTES_NONE, BIG_BYTES - 1, false, &call), HG_OK);
    turn(&ends);
    must_end(&ends, call, HG_ETOOBIG, 0);
    hg_http2_call_free(call);
    for (size_t i = 0; i < HG_COUNT(messages); i++) {
        /* The server of this test looks at requests as the client does at answers: so not as gRPC. */
        struct hg_http2_request request = {
            .method = HG_BYTES("POST"),
            .authority = HG_BYTES("a:1"),
            .path = HG_BYTES("/trailers"),
            .body = hg_bytes(messages[i].body, messages[i].len),
            .body_max = messages[i].max,
            .is_grpc = true,
        };
        assert_int_equal(hg_http2_client_start(ends.client, &request, NULL, ends.now_ms, &call),
                         HG_OK);
        turn(&ends);
        must_end(&ends, call, messages[i].err, 0);
        assert_false(call->is_unprocessed);
        hg_http2_call_free(call);
    }
    assert_int_equal(ends.err, HG_OK);
    ends_close(&ends);
}

/* F13, A9 */
static void test_goaway_lets_finish_what_was_begun(void **state)
{
    (void)state;
    struct ends ends;
    struct hg_http2_call *begun[100];
    ends_open(&ends, 128);
    turn(&ends);
    for (size_t i = 0; i < HG_COUNT(begun); i++)
        begun[i] = must_start(&ends, "/late");
    turn(&ends);
    struct hg_http2_call *crossing = must_start(&ends, "/late");
    struct hg_bytes bytes;
    assert_int_equal(hg_http2_client_pull(ends.client, &bytes), HG_OK); /* on its way */
    assert_int_equal(hg_http2_leave(ends.server), HG_OK);
    assert_int_equal(hg_http2_leave(ends.server), HG_OK);
    while (to_client(&ends))
        continue;
    assert_true(hg_http2_client_is_spent(ends.client));
    assert_int_equal(hg_http2_client_room(ends.client), 0);
    must_end(&ends, crossing, HG_EPROTO, 0);
    assert_true(crossing->is_unprocessed);
    hg_http2_call_free(crossing);
    assert_null(hg_http2_client_pop_ended(ends.client));
    for (size_t i = 0; i < HG_COUNT(begun); i++) {
        answer_text(ends.pair.late[i], 200, HG_BYTES("done"));
        while (to_client(&ends))
            continue;
        must_end(&ends, begun[i], HG_OK, 200);
        hg_http2_call_free(begun[i]);
    }
    turn(&ends);
    assert_true(hg_http2_client_is_over(ends.client));
    ends_close(&ends);
}

static void test_connection_without_stream_ids_is_spent(void **state)
{
    (void)state;
    struct ends ends;
    struct hg_http2_call *call;
    ends_open(&ends, 128);
    turn(&ends);
    assert_int_equal(nghttp2_session_set_next_stream_id(ends.client->session, INT32_MAX), 0);
    assert_false(hg_http2_client_is_spent(ends.client));
    struct hg_http2_call *last = must_start(&ends, "/late");
    assert_true(hg_http2_client_is_spent(ends.client));
    assert_int_equal(hg_http2_client_room(ends.client), 0);
    assert_int_equal(start(&ends, "/late", HG_BYTES_NONE, 1, false, &call), HG_ELIMIT);
    turn(&ends);
    assert_false(hg_http2_client_is_over(ends.client)); /* the last one finishes */
    answer_text(ends.pair.late[0], 200, HG_BYTES("done"));
    turn(&ends);
    must_end(&ends, last, HG_OK, 200);
    hg_http2_call_free(last);
    assert_true(hg_http2_client_is_over(ends.client));
    ends_close(&ends);
}

static int feed_streams_max(struct ends *ends, char max)
{
    char settings[] = "\0\0\6\4\0\0\0\0\0" /* SETTINGS */
                      "\0\3\0\0\0";        /* MAX_CONCURRENT_STREAMS */
    settings[sizeof(settings) - 1] = max;
    int err = hg_http2_client_feed(ends->client, hg_bytes(settings, sizeof(settings)), START_MS);
    struct hg_bytes bytes;
    while (hg_http2_client_pull(ends->client, &bytes) == HG_OK && bytes.len > 0)
        continue; /* the server knows nothing of it */
    return err;
}

static void test_server_that_takes_no_streams_is_of_no_use(void **state)
{
    (void)state;
    struct ends ends;
    ends_open(&ends, 128);
    turn(&ends);
    struct hg_http2_call *call = must_start(&ends, "/late");
    turn(&ends);
    assert_int_equal(feed_streams_max(&ends, 0), HG_OK);
    assert_int_equal(hg_http2_client_calls_max(ends.client), 0);
    assert_true(hg_http2_client_is_spent(ends.client));
    assert_false(hg_http2_client_is_over(ends.client)); /* what was begun finishes */
    assert_int_equal(feed_streams_max(&ends, 2), HG_OK);
    assert_false(hg_http2_client_is_spent(ends.client));
    assert_int_equal(hg_http2_client_room(ends.client), 1);
    assert_int_equal(feed_streams_max(&ends, 0), HG_OK);
    answer_text(ends.pair.late[0], 200, HG_BYTES("done"));
    while (to_client(&ends))
        continue;
    must_end(&ends, call, HG_OK, 200);
    hg_http2_call_free(call);
    assert_true(hg_http2_client_is_over(ends.client));
    ends_close(&ends);
}

/* An answer that has begun, and nonsense behind it in one read: nobody has taken what arrived when the connection goes. */
static void test_a_call_outlives_its_connection(void **state)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    static const char answer[] = "\0\0\1\1\4\0\0\0\1\x88" /* HEADERS: 200 */
                                 "\0\0\1\0\0\0\0\0\1Z"    /* DATA */
                                 "\0\0\1\7\0\0\0\0\1Z";   /* GOAWAY, malformed */
    struct hg_http2_request request = {.method = HG_BYTES("POST"),
                                       .authority = HG_BYTES("a"),
                                       .path = HG_BYTES("/"),
                                       .body = HG_BYTES("x"),
                                       .body_max = 100,
                                       .is_streamed = true};
    struct hg_http2_client *client;
    struct hg_http2_call *call;
    struct hg_bytes bytes;

    (void)state;
    assert_int_equal(hg_http2_client_create(TIMEOUT_MS, START_MS, &client), HG_OK);
    while (hg_http2_client_pull(client, &bytes) == HG_OK && bytes.len > 0)
        ;
    assert_int_equal(
        hg_http2_client_feed(client, hg_bytes(settings, sizeof(settings) - 1), START_MS), HG_OK);
    assert_int_equal(hg_http2_client_start(client, &request, NULL, START_MS, &call), HG_OK);
    while (hg_http2_client_pull(client, &bytes) == HG_OK && bytes.len > 0)
        ;
    hg_http2_client_feed(client, hg_bytes(answer, sizeof(answer) - 1), START_MS);
    hg_http2_client_lost(client, HG_EPROTO, "closed");
    assert_ptr_equal(hg_http2_client_pop_ended(client), call);
    hg_http2_client_destroy(client);
    hg_http2_call_free(call);
}

static void test_calls_of_a_lost_connection_end(void **state)
{
    (void)state;
    struct ends ends;
    ends_open(&ends, 128);
    turn(&ends);
    struct hg_http2_call *sent = must_start(&ends, "/late");
    turn(&ends);
    struct hg_http2_call *unsent = must_start(&ends, "/late");
    hg_http2_client_lost(ends.client, HG_EPEER, "closed");
    must_end(&ends, sent, HG_EPEER, 0);
    assert_false(sent->is_unprocessed);
    must_end(&ends, unsent, HG_EPEER, 0);
    assert_true(unsent->is_unprocessed);
    hg_http2_call_free(sent);
    hg_http2_call_free(unsent);
    ends_close(&ends);
}

static void test_servers_of_something_else_are_told_apart(void **state)
{
    (void)state;
    static const struct hg_bytes others[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28},
        {"220 mail\r\n", 10},
        {"\x15\x03\x01\x00\x02\x02\x16 and more", 16},
        {"\0\0\0\1\0\0\0\0\1", 9}, /* HEADERS before SETTINGS */
    };
    for (size_t i = 0; i < HG_COUNT(others); i++) {
        struct ends ends;
        struct hg_bytes bytes;
        ends_open(&ends, 128);
        int err = hg_http2_client_feed(ends.client, others[i], START_MS);
        while (err == HG_OK && (err = hg_http2_client_pull(ends.client, &bytes)) == HG_OK &&
               bytes.len > 0)
            continue;
        assert_true(err == HG_EPROTO || hg_http2_client_is_over(ends.client));
        assert_false(hg_http2_client_is_ready(ends.client));
        ends_close(&ends);
    }
}

static void test_silence_is_told_by_a_ping_without_an_answer(void **state)
{
    (void)state;
    struct ends ends;
    uint64_t next_ms;
    ends_open(&ends, 128);
    turn(&ends);
    assert_int_equal(hg_http2_client_check(ends.client, 5000, &next_ms), HG_OK);
    assert_true(next_ms == HG_FOREVER); /* nothing is under way */

    ends.now_ms = 10000;
    must_start(&ends, "/late");
    turn(&ends);
    assert_int_equal(hg_http2_client_check(ends.client, 10000, &next_ms), HG_OK);
    assert_int_equal(next_ms, 10500);
    for (int i = 0; i < 8; i++) { /* slow, and no silence */
        ends.now_ms = next_ms;
        assert_int_equal(hg_http2_client_check(ends.client, ends.now_ms, &next_ms), HG_OK);
        turn(&ends);
    }
    ends.now_ms = next_ms;
    for (int i = 0; i < 3 && ends.err == HG_OK; i++) { /* nothing comes any more */
        ends.now_ms = next_ms;
        ends.err = hg_http2_client_check(ends.client, ends.now_ms, &next_ms);
    }
    assert_int_equal(ends.err, HG_ETIMEDOUT);
    ends_close(&ends);
}

static void test_check_that_comes_late_judges_nothing(void **state)
{
    (void)state;
    struct ends ends;
    uint64_t next_ms;
    ends_open(&ends, 128);
    turn(&ends);
    must_start(&ends, "/late");
    turn(&ends);
    assert_int_equal(hg_http2_client_check(ends.client, START_MS, &next_ms), HG_OK);
    assert_int_equal(hg_http2_client_check(ends.client, next_ms, &next_ms), HG_OK);
    assert_int_equal(hg_http2_client_check(ends.client, next_ms + 5000, &next_ms), HG_OK);
    assert_int_equal(hg_http2_client_check(ends.client, next_ms, &next_ms), HG_ETIMEDOUT);
    ends_close(&ends);
}

static void test_bad_headers_are_refused(void **state)
{
    (void)state;
    const char *no_colon[] = {"x", NULL};
    const char *many[HG_HTTP2_REQUEST_FIELDS + 2] = {NULL};
    struct ends ends;
    struct hg_http2_call *call;
    struct hg_http2_request request = {.method = HG_BYTES("GET"),
                                       .authority = HG_BYTES("a:1"),
                                       .path = HG_BYTES("/"),
                                       .headers = no_colon};
    ends_open(&ends, 128);
    turn(&ends);
    assert_int_equal(hg_http2_client_start(ends.client, &request, NULL, 1, &call), HG_EINVAL);
    for (size_t i = 0; i <= HG_HTTP2_REQUEST_FIELDS; i++)
        many[i] = "A: b";
    request.headers = many;
    assert_int_equal(hg_http2_client_start(ends.client, &request, NULL, 1, &call), HG_EINVAL);
    assert_int_equal(hg_http2_client_call_count(ends.client), 0);
    ends_close(&ends);
}

/* A server that has no memory closes the connection; here both sides share one allocator. */
static int talk(void *ctx)
{
    struct ends ends;
    struct hg_http2_call *call = NULL;
    (void)ctx;
    ends_open(&ends, 128);
    turn(&ends);
    if (ends.err == HG_OK)
        ends.err = start(&ends, "/trailers", HG_BYTES("\0\0\0\0\2hi"), 2, true, &call);
    turn(&ends);
    int err = ends.err;
    if (err == HG_OK && (call = hg_http2_client_pop_ended(ends.client)) == NULL)
        err = HG_ENOMEM;
    if (call != NULL && err == HG_OK) {
        err = call->err == HG_OK && call->trailers.len == 0 ? HG_ENOMEM : call->err;
        hg_http2_call_free(call);
    }
    ends_close(&ends);
    return err == HG_EPROTO ? HG_ENOMEM : err; /* the server's reset */
}

static void test_memory_may_fail_anywhere(void **state)
{
    (void)state;
    assert_true(hg_test_sweep(talk, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_answered_however_the_bytes_come),
        cmocka_unit_test(test_big_bodies_of_many_streams_pass_the_windows),
        cmocka_unit_test(test_no_more_streams_than_the_server_allows),
        cmocka_unit_test(test_canceled_calls_are_reset_and_never_end),
        cmocka_unit_test(test_answers_over_a_limit_are_errors),
        cmocka_unit_test(test_goaway_lets_finish_what_was_begun),
        cmocka_unit_test(test_connection_without_stream_ids_is_spent),
        cmocka_unit_test(test_server_that_takes_no_streams_is_of_no_use),
        cmocka_unit_test(test_a_call_outlives_its_connection),
        cmocka_unit_test(test_calls_of_a_lost_connection_end),
        cmocka_unit_test(test_servers_of_something_else_are_told_apart),
        cmocka_unit_test(test_silence_is_told_by_a_ping_without_an_answer),
        cmocka_unit_test(test_check_that_comes_late_judges_nothing),
        cmocka_unit_test(test_bad_headers_are_refused),
        cmocka_unit_test(test_memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, make_big_value, free_big_value);
}
