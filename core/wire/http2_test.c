#include "wire/http2.h"

#include "base/testing.h"
#include "wire/test_http2_pair.h"

static void test_requests_are_answered(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    struct h2_reply *get = h2_ask(&pair->client, "GET", "/x?a=b", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_true(get->is_closed);
    assert_int_equal(get->code, 0);
    assert_int_equal(get->status, 200);
    assert_true(hg_bytes_eq(hg_buf_bytes(&get->body), HG_BYTES("a=b")));
    assert_true(h2_has_field(get, "x-test: yes\n"));
    assert_true(h2_has_field(get, "content-length: 3\n"));
    assert_false(h2_has_field(get, "connection"));
    assert_string_equal(pair->seen, "GET /x|a=b|test|0|");
    struct h2_reply *post = h2_ask(&pair->client, "POST", "/y", "cookie", "a=1", HG_BYTES("hello"));
    run(pair);
    assert_int_equal(post->status, 200);
    assert_true(hg_bytes_eq(hg_buf_bytes(&post->body), HG_BYTES("hello")));
    assert_string_equal(pair->seen, "POST /y||test|5|a=1");
    struct h2_reply *head = h2_ask(&pair->client, "HEAD", "/big", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_true(h2_has_field(head, "content-length: 3145728\n"));
    assert_int_equal(head->body.len, 0);
    assert_int_equal(hg_http2_stream_count(pair->http2), 0);
    pair_close(pair);
}

static void test_client_that_resets_is_gone(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    struct h2_reply *reply = h2_ask(&pair->client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(pair->late_count, 1);
    nghttp2_submit_rst_stream(pair->client.session, 0, reply->id, NGHTTP2_CANCEL);
    run(pair);
    assert_int_equal(pair->gone, 1);
    assert_int_equal(hg_http2_stream_count(pair->http2), 0);
    pair_close(pair);
}

static void test_more_streams_than_allowed_wait(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    run(pair); /* the settings */
    for (size_t i = 0; i < 200; i++)
        h2_ask(&pair->client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_int_equal(pair->late_count, 128);
    for (size_t i = 0; i < 128; i++) {
        pair->late[i]->user = NULL;
        answer_text(pair->late[i], 200, HG_BYTES("x"));
    }
    run(pair);
    assert_int_equal(pair->late_count, 200);
    assert_int_equal(pair->client.closed, 128);
    pair_close(pair);
}

static void test_thousands_of_requests_on_one_connection(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    run(pair);
    for (size_t i = 0; i < 5000; i++)
        h2_ask(&pair->client, "POST", "/x", NULL, NULL, HG_BYTES("hello"));
    run(pair);
    assert_int_equal(pair->client.closed, 5000);
    assert_int_equal(pair->events[HG_HTTP2_FLOODED], 0);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(pair->client.replies[i].status, 200);
    pair_close(pair);
}

/* --- any bytes --- */

static void test_garbage_never_reaches_the_handler(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct hg_test_random random = {seed};
        struct pair *pair = pair_open(0);
        char bytes[600];
        run(pair);
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)hg_test_below(&random, hg_test_below(&random, 4) == 0 ? 256 : 10);
        for (size_t at = 0; at < sizeof(bytes);) {
            size_t len = 1 + hg_test_below(&random, 100);
            if (len > sizeof(bytes) - at)
                len = sizeof(bytes) - at;
            struct hg_bytes out;
            if (hg_http2_feed(pair->http2, hg_bytes(bytes + at, len), START_MS) < 0 ||
                hg_http2_pull(pair->http2, START_MS, &out) < 0)
                break;
            at += len;
        }
        assert_int_equal(pair->asked, 0);
        pair_close(pair);
    }
}

/* Every split of one conversation says the same. */
static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    struct hg_buf stream;
    hg_buf_init(&stream, 1 << 20);
    struct h2_client client;
    h2_client_init(&client, 0);
    h2_ask(&client, "POST", "/x", "cookie", "a", HG_BYTES("hello"));
    h2_ask(&client, "GET", "/x?q", NULL, NULL, HG_BYTES_NONE);
    struct hg_bytes bytes;
    while ((bytes = h2_client_pull(&client)).len > 0)
        assert_int_equal(hg_buf_append_bytes(&stream, bytes), HG_OK);
    for (size_t cut = 0; cut <= stream.len; cut++) {
        struct pair *pair = pair_open(0);
        assert_int_equal(hg_http2_feed(pair->http2, hg_bytes(stream.data, cut), START_MS), HG_OK);
        assert_int_equal(
            hg_http2_feed(pair->http2, hg_bytes(stream.data + cut, stream.len - cut), START_MS),
            HG_OK);
        assert_int_equal(pair->asked, 2);
        assert_string_equal(pair->seen, "POST /x||test|5|a");
        pair_close(pair);
    }
    h2_client_finish(&client);
    hg_buf_finish(&stream);
}

/* Allocations of the session and all that is made for a request and its answer; whatever fails, nothing is left behind. */
static void test_refused_allocations_leave_nothing_behind(void **state)
{
    (void)state;
    size_t before = hg_alloc_live_count();
    for (size_t nth = 0;; nth++) {
        struct pair *pair = calloc(1, sizeof(*pair));
        struct hg_http2_limits limits = usual_limits();
        pair->now_ms = START_MS;
        h2_client_init(&pair->client, 0);
        h2_ask(&pair->client, "POST", "/trailers", "cookie", "a", HG_BYTES("hello"));
        h2_ask(&pair->client, "GET", "/x?q", NULL, NULL, HG_BYTES_NONE);
        struct hg_bytes bytes;
        struct hg_buf stream;
        hg_buf_init(&stream, 1 << 20);
        while ((bytes = h2_client_pull(&pair->client)).len > 0)
            assert_int_equal(hg_buf_append_bytes(&stream, bytes), HG_OK);
        hg_alloc_fail_at(nth, false);
        int err = hg_http2_create(&limits, &ops, pair, START_MS, &pair->http2);
        if (err == HG_OK)
            err = hg_http2_feed(pair->http2, hg_buf_bytes(&stream), START_MS);
        while (err == HG_OK && (err = hg_http2_pull(pair->http2, START_MS, &bytes)) == HG_OK &&
               bytes.len > 0)
            continue;
        bool refused = hg_alloc_fail_clear();
        assert_true(err == HG_OK || refused);
        hg_http2_destroy(pair->http2);
        hg_buf_finish(&stream);
        h2_client_finish(&pair->client);
        free(pair);
        assert_int_equal(hg_alloc_live_count(), before);
        if (!refused)
            break;
        assert_true(nth < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_answered),
        cmocka_unit_test(test_client_that_resets_is_gone),
        cmocka_unit_test(test_more_streams_than_allowed_wait),
        cmocka_unit_test(test_thousands_of_requests_on_one_connection),
        cmocka_unit_test(test_garbage_never_reaches_the_handler),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_refused_allocations_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, make_big_value, free_big_value);
}
