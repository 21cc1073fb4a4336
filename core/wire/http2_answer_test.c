#include "wire/http2.h"

#include "base/testing.h"
#include "wire/test_http2_pair.h"

static struct hg_http2_stream *late_stream(struct pair *pair, struct h2_reply **out_reply)
{
    *out_reply = h2_ask(&pair->client, "GET", "/late", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    struct hg_http2_stream *stream = pair->late[pair->late_count - 1];
    assert_non_null(stream);
    stream->user = NULL;
    return stream;
}

static void test_fields_of_a_connection_and_spaces_are_left_out(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    struct h2_reply *reply;
    struct hg_http2_stream *stream = late_stream(pair, &reply);
    struct hg_http2_answer answer = {
        .status = 404,
        .headers = HG_BYTES("Connection: close\r\nKEEP-ALIVE: 5\r\nTransfer-Encoding: chunked\r\n"
                            "Upgrade: h2c\r\nProxy-Connection: x\r\nX-A:  b: c \r\nX-Empty:\r\n"),
        .date = HG_BYTES("today"),
        .body = HG_BYTES("none"),
    };
    assert_int_equal(hg_http2_answer(stream, &answer), HG_OK);
    run(pair);
    assert_int_equal(reply->status, 404);
    assert_true(hg_bytes_eq(hg_buf_bytes(&reply->fields),
                            HG_BYTES("date: today\nx-a: b: c\nx-empty: \ncontent-length: 4\n")));
    assert_true(hg_bytes_eq(hg_buf_bytes(&reply->body), HG_BYTES("none")));
    pair_close(pair);
}

static void test_no_body_where_none_is_to_be(void **state)
{
    static const struct {
        bool is_head, no_length;
        const char *fields;
    } cases[] = {{true, false, "content-length: 4\n"}, {false, true, ""}, {true, true, ""}};
    (void)state;
    struct pair *pair = pair_open(0);
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct h2_reply *reply;
        struct hg_http2_answer answer = {.status = 200,
                                         .body = HG_BYTES("body"),
                                         .is_head = cases[i].is_head,
                                         .no_length = cases[i].no_length};
        assert_int_equal(hg_http2_answer(late_stream(pair, &reply), &answer), HG_OK);
        assert_int_equal(hg_http2_held(pair->http2), 0);
        run(pair);
        assert_true(reply->is_closed);
        assert_int_equal(reply->body.len, 0);
        assert_true(hg_bytes_eq(hg_buf_bytes(&reply->fields), hg_bytes_str(cases[i].fields)));
    }
    pair_close(pair);
}

/* The reference of a value passes over only on success; what is unsent of it is held and counted. */
static void test_a_value_is_held_until_its_client_has_it(void **state)
{
    (void)state;
    struct pair *pair = pair_open(1000);
    struct h2_reply *reply;
    struct hg_http2_stream *stream = late_stream(pair, &reply);
    unsigned refs = hg_value_refs(pair->big);
    struct hg_http2_answer answer = {.status = 200, .value = hg_value_ref(pair->big)};
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_http2_answer(stream, &answer), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(hg_value_refs(pair->big), refs + 1);
    assert_int_equal(hg_http2_answer(stream, &answer), HG_OK);
    assert_int_equal(hg_http2_unsent(stream), BIG_BYTES);
    assert_int_equal(hg_http2_held(pair->http2), BIG_BYTES);
    pull_server(pair, SIZE_MAX); /* the client says nothing, so its window is all it gets */
    assert_int_equal(hg_http2_unsent(stream), BIG_BYTES - 1000);
    assert_int_equal(hg_value_refs(pair->big), refs + 1);
    run(pair);
    assert_int_equal(reply->body.len, BIG_BYTES);
    assert_int_equal(hg_http2_held(pair->http2), 0);
    assert_int_equal(hg_value_refs(pair->big), refs);
    stream = late_stream(pair, &reply);
    answer = (struct hg_http2_answer){
        .status = 200, .value = hg_value_ref(pair->big), .is_head = true};
    assert_int_equal(hg_http2_answer(stream, &answer), HG_OK);
    assert_int_equal(hg_value_refs(pair->big), refs);
    pair_close(pair);
}

static void test_big_answers_pass_through_small_windows(void **state)
{
    (void)state;
    static const uint32_t windows[] = {0, 1, 1000, 65535, 1 << 24};
    for (size_t i = 0; i < HG_COUNT(windows); i++) {
        struct pair *pair = pair_open(windows[i]);
        const char *path = windows[i] == 1 ? "/x?tiny" : "/big";
        struct h2_reply *replies[4];
        for (size_t k = 0; k < 4; k++)
            replies[k] = h2_ask(&pair->client, "GET", path, NULL, NULL, HG_BYTES_NONE);
        run(pair);
        for (size_t k = 0; k < 4; k++) {
            assert_true(replies[k]->is_closed);
            if (windows[i] != 1)
                assert_true(hg_bytes_eq(hg_buf_bytes(&replies[k]->body), hg_value_data(pair->big)));
        }
        assert_int_equal(hg_http2_held(pair->http2), 0);
        assert_int_equal(pair->events[HG_HTTP2_FLOODED], 0);
        pair_close(pair);
    }
}

static void test_nothing_is_framed_before_it_is_pulled(void **state)
{
    (void)state;
    struct pair *pair = pair_open(1 << 24);
    h2_ask(&pair->client, "GET", "/big", NULL, NULL, HG_BYTES_NONE);
    pull_client(pair);
    size_t live = hg_alloc_live_bytes();
    pull_server(pair, 50000);
    assert_true(hg_alloc_live_bytes() < live + 65536);
    assert_int_equal(hg_http2_held(pair->http2), BIG_BYTES);
    pair_close(pair);
}

static void test_trailers_follow_the_body_or_stand_alone(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    struct h2_reply *with =
        h2_ask(&pair->client, "POST", "/trailers", NULL, NULL, HG_BYTES("body"));
    struct h2_reply *without =
        h2_ask(&pair->client, "POST", "/trailers", NULL, NULL, HG_BYTES_NONE);
    run(pair);
    assert_true(with->is_closed);
    assert_true(without->is_closed);
    assert_true(h2_has_field(with, "grpc-status: 0\n"));
    assert_true(h2_has_field(without, "grpc-status: 0\n"));
    assert_false(h2_has_field(with, "content-length"));
    assert_true(hg_bytes_eq(hg_buf_bytes(&with->body), HG_BYTES("body")));
    pair_close(pair);
}

static void test_pieces_leave_as_they_come(void **state)
{
    (void)state;
    struct pair *pair = pair_open(0);
    struct h2_reply *reply = h2_ask(&pair->client, "GET", "/streamed", NULL, NULL, HG_BYTES_NONE);
    static char piece[10000];
    run(pair);
    assert_int_equal(reply->status, 200);
    for (size_t i = 0; i < 100; i++) {
        memset(piece, 'a' + (int)(i % 26), sizeof(piece));
        assert_int_equal(hg_http2_piece(pair->late[0], hg_bytes(piece, sizeof(piece))), HG_OK);
        run(pair);
        assert_int_equal(reply->body.len, (i + 1) * sizeof(piece));
        assert_int_equal(hg_http2_unsent(pair->late[0]), 0);
        assert_int_equal(hg_http2_held(pair->http2), 0);
    }
    assert_false(reply->is_closed);
    pair->late[0]->user = NULL;
    assert_int_equal(hg_http2_end(pair->late[0]), HG_OK);
    run(pair);
    assert_true(reply->is_closed);
    assert_int_equal(reply->code, 0);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(reply->body.data[i * sizeof(piece) + 77], 'a' + i % 26);
    assert_int_equal(hg_http2_held(pair->http2), 0);
    pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_of_a_connection_and_spaces_are_left_out),
        cmocka_unit_test(test_no_body_where_none_is_to_be),
        cmocka_unit_test(test_a_value_is_held_until_its_client_has_it),
        cmocka_unit_test(test_big_answers_pass_through_small_windows),
        cmocka_unit_test(test_nothing_is_framed_before_it_is_pulled),
        cmocka_unit_test(test_trailers_follow_the_body_or_stand_alone),
        cmocka_unit_test(test_pieces_leave_as_they_come),
    };
    return cmocka_run_group_tests(tests, make_big_value, free_big_value);
}
