/* What http2 refuses, resets and ends: limits, floods, time. */
#include "base/testing.h"
#include "wire/grpc.h"
#include "wire/test_http2_pair.h"

/* --- limits --- */

static void test_bodies_over_the_maximum_are_refused(void **state)
{
    (void)state;
    static char body[200000];
    struct pair *pair = pair_open(0);
    struct h2_reply *fits = h2_ask(&pair->client, "POST", "/x", NULL, NULL, hg_bytes(body, 100000));
    struct h2_reply *over = h2_ask(&pair->client, "POST", "/x", NULL, NULL, hg_bytes(body, 100001));
    struct h2_reply *said =
        h2_ask(&pair->client, "POST", "/x", "content-length", "200000", hg_bytes(body, 200000));
    run(pair);
    assert_int_equal(fits->status, 200);
    assert_int_equal(over->status, 413);
    assert_int_equal(said->status, 413);
    assert_true(said->request.len > 100000); /* the rest was not sent any more */
    assert_int_equal(pair->asked, 1);
    assert_int_equal(pair->events[HG_HTTP2_BAD_REQUEST], 2);
    pair_close(pair);
}

/* A6 */
static void test_grpc_message_is_refused_at_its_prefix(void **state)
{
    (void)state;
    static char body[200000];
    static const char huge[] = "\0\xff\xff\xff\xff", packed[] = "\1\0\0\0\4abcd";
    struct pair *pair = pair_open(0);
    size_t live = hg_alloc_live_bytes();
    memcpy(body, huge, 5);
    h2_ask(&pair->client, "POST", "/x", "content-type", "application/grpc",
           hg_bytes(body, sizeof(body)));
    run(pair);
    assert_int_equal(pair->asked, 1);
    assert_true(pair->client.replies[0].request.len > 0);
    assert_true(hg_alloc_live_bytes() < live + 100000);
    h2_ask(&pair->client, "POST", "/x", "content-type", "application/grpc", hg_bytes(packed, 9));
    run(pair);
    assert_int_equal(pair->asked, 2);
    memset(body, 0, 5);
    hg_grpc_prefix_write(50000, body);
    struct h2_reply *fits = h2_ask(&pair->client, "POST", "/x", "content-type", "application/grpc",
                                   hg_bytes(body, 50005));
    run(pair);
    assert_int_equal(fits->body.len, 50005);
    pair_close(pair);
}

static void test_bodies_under_way_are_bounded_together(void **state)
{
    (void)state;
    static char body[90000];
    struct pair *pair = pair_open(0);
    for (size_t i = 0; i < 5; i++)
        h2_ask(&pair->client, "POST", "/x", NULL, NULL, hg_bytes(body, sizeof(body)))->never_ends =
            true;
    run(pair);
    assert_int_equal(pair->events[HG_HTTP2_REFUSED], 2); /* three of them are 270,000 bytes */
    assert_int_equal(pair->client.closed, 2);
    assert_int_equal(hg_http2_stream_count(pair->http2), 3);
    pair_close(pair);
}

static void test_heads_over_the_maximum_are_refused(void **state)
{
    (void)state;
    static char value[70000];
    struct pair *pair = pair_open(0);
    memset(value, 'v', 20000);
    struct h2_reply *over = h2_ask(&pair->client, "GET", "/x", "x-long", value, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(over->status, 431);
    memset(value, 'v', 9000);
    value[0] = '/';
    value[9000] = '\0';
    struct h2_reply *line = h2_ask(&pair->client, "GET", value, NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(line->status, 414);
    struct h2_reply *grpc =
        h2_ask(&pair->client, "GET", value, "content-type", "application/grpc", HG_BYTES_NONE);
    run(pair);
    assert_int_equal(grpc->status, 200);
    assert_true(h2_has_field(grpc, "grpc-status: 3\n"));
    assert_int_equal(pair->asked, 0);
    pair_close(pair);
}

/* F8: what reaches the handler is what HTTP/1.1 would have let through. */
static void test_odd_requests_never_reach_the_handler(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *name, *value;
    } rows[] = {
        {"GET", "/a b", NULL, NULL},
        {"GET", "x", NULL, NULL},
        {"GET", "", NULL, NULL},
        {"GET", "/a HTTP/1.0", NULL, NULL},
        {"GET", "/\r\nX: y", NULL, NULL},
        {"GET", "/#f", NULL, NULL},
        {"GET", "/\xc3\xa9", NULL, NULL},
        {"BREW", "/", NULL, NULL},
        {"TRACE", "/", NULL, NULL},
        {"GET", "/", "host", "other"},
        {"GET", "/", "connection", "close"},
        {"GET", "/", "te", "gzip"},
        {"GET", "/", "X-Upper", "v"},
        {"GET", "/", "x-y", "a\r\nb: c"},
        {"GET", "/", "transfer-encoding", "chunked"},
        {"GET", "/", ":path", "/twice"},
        {"GET", "/", ":unknown", "v"},
        {"GET", "/", "content-length", "5"},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct pair *pair = pair_open(0);
        struct hg_bytes frame;
        char bytes[512];
        size_t len = 9;
        const char *fields[][2] = {{":method", rows[i].method},
                                   {":scheme", "http"},
                                   {":path", rows[i].path},
                                   {":authority", "test"},
                                   {rows[i].name, rows[i].value}};
        run(pair);
        /* By hand, literal and unindexed: nghttp2 would refuse to send some of these. */
        for (size_t k = 0; k < (rows[i].name == NULL ? 4u : 5u); k++) {
            bytes[len++] = 0;
            for (size_t part = 0; part < 2; part++) {
                size_t size = strlen(fields[k][part]);
                bytes[len++] = (char)size;
                memcpy(bytes + len, fields[k][part], size);
                len += size;
            }
        }
        memcpy(bytes, (char[9]){0, (char)((len - 9) >> 8), (char)(len - 9), 1, 5, 0, 0, 0, 1}, 9);
        frame = hg_bytes(bytes, len);
        assert_int_equal(hg_http2_feed(pair->http2, frame, START_MS), HG_OK);
        if (pair->asked != 0)
            fail_msg("row %zu: %s", i, pair->seen);
        pair_close(pair);
    }
}

/* --- floods --- */

static size_t flood(struct pair *pair, const char *frame, size_t len, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (hg_http2_feed(pair->http2, hg_bytes(frame, len), START_MS) < 0)
            return i;
        pull_server(pair, SIZE_MAX);
        if (pair->events[HG_HTTP2_FLOODED] > 0)
            return i;
    }
    return count;
}

static void test_floods_end_the_connection(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        char frame[24];
        size_t len, most;
    } rows[] = {
        {"PING", {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 17, 1100},
        {"SETTINGS", {0, 0, 0, 4, 0, 0, 0, 0, 0}, 9, 1100},
        {"PRIORITY", {0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1}, 14, 1100},
        {"WINDOW_UPDATE", {0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 13, 1100},
        {"unknown", {0, 0, 1, 0x70, 0, 0, 0, 0, 0, 0}, 10, 1100},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct pair *pair = pair_open(0);
        run(pair);
        size_t passed = flood(pair, rows[i].frame, rows[i].len, 5000);
        if (passed < 900 || passed > rows[i].most)
            fail_msg("%s: %zu passed", rows[i].what, passed);
        assert_int_equal(pair->events[HG_HTTP2_FLOODED], 1);
        /* Settings that it never sent are acknowledged: this client has given up itself. */
        if (rows[i].frame[3] != NGHTTP2_SETTINGS)
            assert_int_equal(pair->client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
        assert_true(hg_http2_is_over(pair->http2));
        pair_close(pair);
    }
}

/* F1 */
static void test_rapid_resets_end_the_connection(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    run(pair);
    for (size_t i = 0; i < 1000 && pair->client.goaways == 0; i++) {
        struct h2_reply *reply = h2_ask(&pair->client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
        pull_client(pair);
        nghttp2_submit_rst_stream(pair->client.session, 0, reply->id, NGHTTP2_CANCEL);
        run(pair);
    }
    assert_int_equal(pair->client.goaways, 1);
    assert_int_equal(pair->client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_in_range(pair->asked, 190, 201);
    assert_int_equal(pair->gone, pair->asked - 1);
    pair_close(pair);
}

/* F2 */
static void test_made_resets_count_double(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    run(pair);
    for (size_t i = 0; i < 1000 && pair->client.goaways == 0; i++) {
        struct h2_reply *reply = h2_ask(&pair->client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
        char overflow[13] = {0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, (char)0xff, (char)0xff, (char)0xff};
        pull_client(pair);
        overflow[7] = (char)(reply->id >> 8);
        overflow[8] = (char)reply->id;
        hg_http2_feed(pair->http2, hg_bytes(overflow, 13), START_MS);
        run(pair);
    }
    assert_int_equal(pair->client.goaways, 1);
    assert_int_equal(pair->client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_in_range(pair->asked, 90, 102);
    pair_close(pair);
}

/* F3 */
static void test_endless_head_ends_the_connection(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    static char frame[9 + 16000] = {0, 0x3e, (char)0x80, 1, 0, 0, 0, 0, 1};
    size_t live = hg_alloc_live_bytes(), count = 0;
    run(pair);
    /* Small literals, 10 bytes each, in frames that never end the head. */
    for (size_t at = 9; at + 10 <= sizeof(frame); at += 10)
        memcpy(frame + at, "\0\2aa\5bbbbb", 10);
    while (count < 100 &&
           hg_http2_feed(pair->http2, hg_bytes(frame, sizeof(frame)), START_MS) == HG_OK &&
           pair->client.goaways == 0) {
        pull_server(pair, SIZE_MAX);
        frame[3] = 9;
        count++;
    }
    assert_true(count < 10);
    assert_int_equal(pair->asked, 0);
    assert_true(hg_alloc_live_bytes() < live + 262144);
    pair_close(pair);
}

/* --- time --- */

static void test_stream_that_does_not_become_whole_is_reset(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    static const char begun[] = "\0\0\x0e\1\4\0\0\0\1\x83\x86\x84\x41\x04test\0\1x\1y";
    run(pair);
    char frame[64];
    memcpy(frame, begun, sizeof(begun) - 1);
    frame[2] = (char)(sizeof(begun) - 1 - 9);
    assert_int_equal(hg_http2_feed(pair->http2, hg_bytes(frame, sizeof(begun) - 1), START_MS),
                     HG_OK);
    assert_int_equal(hg_http2_stream_count(pair->http2), 1);
    assert_int_equal(hg_http2_check(pair->http2, START_MS), START_MS + 10000);
    hg_http2_check(pair->http2, START_MS + 9999);
    assert_int_equal(pair->events[HG_HTTP2_RECEIVE_TIMEOUT], 0);
    assert_int_equal(hg_http2_check(pair->http2, START_MS + 10000), HG_FOREVER);
    assert_int_equal(pair->events[HG_HTTP2_RECEIVE_TIMEOUT], 1);
    struct hg_bytes bytes;
    assert_int_equal(hg_http2_pull(pair->http2, START_MS + 10000, &bytes), HG_OK);
    assert_int_equal(hg_http2_stream_count(pair->http2), 0);
    pair_close(pair);
}

/* F5 */
static void test_answer_that_is_not_taken_is_reset(void **state)
{
    (void)state;
    struct pair *pair = pair_open(1000);
    nghttp2_settings_entry none = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
    run(pair);
    nghttp2_submit_settings(pair->client.session, 0, &none, 1);
    run(pair);
    struct h2_reply *reply = h2_ask(&pair->client, "GET", "/big", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(hg_http2_held(pair->http2), BIG_BYTES);
    assert_int_equal(hg_http2_check(pair->http2, START_MS + 29999), START_MS + 30000);
    hg_http2_check(pair->http2, START_MS + 30000);
    assert_int_equal(pair->events[HG_HTTP2_SEND_TIMEOUT], 1);
    run(pair);
    assert_true(reply->is_closed);
    assert_int_equal(reply->code, NGHTTP2_CANCEL);
    assert_int_equal(hg_http2_held(pair->http2), 0);
    pair_close(pair);
}

static void test_end_that_is_not_taken_is_reset(void **state)
{
    (void)state;
    struct pair *pair = pair_open(1000);
    nghttp2_settings_entry none = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
    run(pair);
    nghttp2_submit_settings(pair->client.session, 0, &none, 1);
    run(pair);
    struct h2_reply *reply = h2_ask(&pair->client, "GET", "/streamed", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(hg_http2_check(pair->http2, START_MS + 100000), HG_FOREVER); /* waits for us */
    assert_int_equal(hg_http2_end(pair->late[0]), HG_OK);
    run(pair);
    if (!reply->is_closed) { /* some versions of nghttp2 send an empty frame whatever the window */
        assert_int_equal(hg_http2_check(pair->http2, START_MS + 129999), START_MS + 130000);
        hg_http2_check(pair->http2, START_MS + 130000);
        assert_int_equal(pair->events[HG_HTTP2_SEND_TIMEOUT], 1);
        run(pair);
        assert_int_equal(reply->code, NGHTTP2_CANCEL);
    }
    assert_true(reply->is_closed);
    assert_int_equal(hg_http2_stream_count(pair->http2), 0);
    pair_close(pair);
}

static void test_a_head_as_large_as_announced_is_no_flood(void **state)
{
    (void)state;
    static char value[40001]; /* nghttp2 has a maximum for one field */
    struct pair *pair = pair_open(0);
    run(pair);
    http1_limits.head = 150000;
    memset(value, 'v', sizeof(value) - 1);
    for (size_t count = 2; count <= 4; count++) {
        const nghttp2_nv fields[] = {H2_NV(":method", "GET"), H2_NV(":scheme", "http"),
                                     H2_NV(":path", "/x"),    H2_NV(":authority", "h"),
                                     H2_NV("x-a", value),     H2_NV("x-b", value),
                                     H2_NV("x-c", value),     H2_NV("x-d", value)};
        struct h2_reply *reply = h2_ask_fields(&pair->client, fields, 4 + count, HG_BYTES_NONE);
        run(pair);
        assert_int_equal(reply->status, count == 4 ? 431 : 200);
    }
    assert_int_equal(pair->events[HG_HTTP2_FLOODED], 0);
    pair_close(pair);
}

static void test_grpc_has_a_maximum_of_its_own(void **state)
{
    (void)state;
    static char body[40005];
    struct pair *pair = pair_open(0);
    http1_limits.body = 1000;
    hg_grpc_prefix_write(40000, body);
    struct h2_reply *reply = h2_ask(&pair->client, "POST", "/x", "content-length", "40005",
                                    hg_bytes(body, sizeof(body)));
    run(pair);
    assert_int_equal(reply->status, 413);
    const nghttp2_nv fields[] = {H2_NV(":method", "POST"),
                                 H2_NV(":scheme", "http"),
                                 H2_NV(":path", "/x"),
                                 H2_NV(":authority", "test"),
                                 H2_NV("content-type", "application/grpc"),
                                 H2_NV("content-length", "40005")};
    reply = h2_ask_fields(&pair->client, fields, HG_COUNT(fields), hg_bytes(body, sizeof(body)));
    run(pair);
    assert_int_equal(reply->status, 200);
    assert_int_equal(reply->body.len, sizeof(body));
    pair_close(pair);
}

/* F13 */
static void test_leaving_loses_no_request(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    run(pair);
    for (size_t i = 0; i < 128; i++)
        h2_ask(&pair->client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(hg_http2_leave(pair->http2), HG_OK);
    run(pair);
    assert_int_equal(pair->client.goaways, 1);
    assert_int_equal(pair->client.goaway_last, INT32_MAX);
    assert_int_equal(hg_http2_leave(pair->http2), HG_OK);
    run(pair);
    assert_int_equal(pair->client.goaways, 2);
    assert_int_equal(pair->client.goaway_last, 255);
    assert_false(hg_http2_is_over(pair->http2));
    for (size_t i = 0; i < 128; i++) {
        pair->late[i]->user = NULL;
        answer_text(pair->late[i], 200, HG_BYTES("x"));
    }
    run(pair);
    for (size_t i = 0; i < 128; i++)
        assert_int_equal(pair->client.replies[i].status, 200);
    assert_true(hg_http2_is_over(pair->http2));
    pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_over_the_maximum_are_refused),
        cmocka_unit_test(test_grpc_message_is_refused_at_its_prefix),
        cmocka_unit_test(test_bodies_under_way_are_bounded_together),
        cmocka_unit_test(test_heads_over_the_maximum_are_refused),
        cmocka_unit_test(test_odd_requests_never_reach_the_handler),
        cmocka_unit_test(test_floods_end_the_connection),
        cmocka_unit_test(test_rapid_resets_end_the_connection),
        cmocka_unit_test(test_made_resets_count_double),
        cmocka_unit_test(test_endless_head_ends_the_connection),
        cmocka_unit_test(test_stream_that_does_not_become_whole_is_reset),
        cmocka_unit_test(test_answer_that_is_not_taken_is_reset),
        cmocka_unit_test(test_end_that_is_not_taken_is_reset),
        cmocka_unit_test(test_a_head_as_large_as_announced_is_no_flood),
        cmocka_unit_test(test_grpc_has_a_maximum_of_its_own),
        cmocka_unit_test(test_leaving_loses_no_request),
    };
    return cmocka_run_group_tests(tests, make_big_value, free_big_value);
}
