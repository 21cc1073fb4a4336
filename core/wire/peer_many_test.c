#include "base/testing.h"

#include <stdlib.h>
#include <string.h>

#include "hgcache.pb-c.h"
#include "wire/peer_many.h"

#define MAX ((size_t)1 << 20)

static void assert_bytes(struct hg_bytes a, struct hg_bytes b)
{
    assert_true(hg_bytes_eq(a, b));
}

static struct hg_peer_request request_of(const char *key)
{
    return (struct hg_peer_request){
        .group = HG_BYTES("te\0st"), .key = hg_bytes_str(key), .deadline_ms = 1234};
}

static struct hg_bytes encode_response(struct hg_buf *buf, size_t value_len)
{
    char *data = calloc(1, value_len + 1);
    struct hg_peer_response response = {.status = HG_STATUS_VALUE,
                                        .value = hg_bytes(data, value_len),
                                        .has_key_hash = true,
                                        .key_hash = 77};
    hg_buf_clear(buf);
    assert_int_equal(hg_peer_response_encode(&response, buf), HG_OK);
    free(data);
    return hg_buf_bytes(buf);
}

static void test_asks_come_back_in_order(void **state)
{
    (void)state;
    static const char *const keys[] = {"Tom", "Jack", "x"};
    struct hg_buf buf;
    struct hg_bytes rest, part;
    size_t count = 0;
    hg_buf_init(&buf, MAX);
    for (size_t i = 0; i < HG_COUNT(keys); i++) {
        struct hg_peer_request request = request_of(keys[i]);
        assert_int_equal(hg_peer_asks_append(&request, &buf), HG_OK);
    }
    rest = hg_buf_bytes(&buf);
    assert_int_equal(hg_peer_many_count(rest, 3, &count), HG_OK);
    assert_int_equal(count, 3);
    assert_int_equal(hg_peer_many_count(rest, 2, &count), HG_ELIMIT);
    for (size_t i = 0; i < HG_COUNT(keys); i++) {
        struct hg_peer_request request;
        void *owner = NULL;
        assert_int_equal(hg_peer_many_next(&rest, &part), HG_OK);
        assert_int_equal(hg_peer_request_decode(part, &request, &owner), HG_OK);
        assert_bytes(request.group, HG_BYTES("te\0st"));
        assert_bytes(request.key, hg_bytes_str(keys[i]));
        assert_int_equal(request.deadline_ms, 1234);
        hg_peer_message_free(owner);
    }
    assert_int_equal(hg_peer_many_next(&rest, &part), HG_ENOENT);
    hg_buf_finish(&buf);
}

/* Lengths whose head has one to four bytes. */
static void test_answers_come_back_with_their_numbers(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint32_t number;
    } cases[] = {{0, 1}, {100, 127}, {128, 128}, {20000, 512}, {3000000, 4000000000u}};
    struct hg_buf buf, one;
    hg_buf_init(&buf, 16 * MAX);
    hg_buf_init(&one, 16 * MAX);
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_bytes response = encode_response(&one, cases[i].len);
        assert_int_equal(hg_peer_answers_append(response, cases[i].number, &buf), HG_OK);
    }
    struct hg_bytes rest = hg_buf_bytes(&buf), part;
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_peer_response response;
        void *owner = NULL;
        assert_int_equal(hg_peer_many_next(&rest, &part), HG_OK);
        assert_int_equal(hg_peer_response_decode(part, &response, &owner), HG_OK);
        assert_int_equal(response.number, cases[i].number);
        assert_int_equal(response.value.len, cases[i].len);
        assert_int_equal(response.key_hash, 77);
        hg_peer_message_free(owner);
    }
    assert_int_equal(rest.len, 0);
    hg_buf_finish(&one);
    hg_buf_finish(&buf);
}

/* What we write part by part is the message that the description says. */
static void test_parts_are_one_message_of_protobuf(void **state)
{
    (void)state;
    struct hg_buf buf, one;
    hg_buf_init(&buf, MAX);
    hg_buf_init(&one, MAX);
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(hg_peer_answers_append(encode_response(&one, i), i, &buf), HG_OK);
    Hgcache__Cache__Answers *answers =
        hgcache__cache__answers__unpack(NULL, buf.len, (const uint8_t *)buf.data);
    assert_non_null(answers);
    assert_int_equal(answers->n_answers, 3);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(answers->answers[i - 1]->number, i);
        assert_int_equal(answers->answers[i - 1]->value.len, i);
    }
    hgcache__cache__answers__free_unpacked(answers, NULL);

    hg_buf_clear(&buf);
    struct hg_peer_request request = request_of("Tom");
    assert_int_equal(hg_peer_asks_append(&request, &buf), HG_OK);
    Hgcache__Cache__Asks *asks =
        hgcache__cache__asks__unpack(NULL, buf.len, (const uint8_t *)buf.data);
    assert_non_null(asks);
    assert_int_equal(asks->n_asks, 1);
    assert_int_equal(asks->asks[0]->key.len, 3);
    hgcache__cache__asks__free_unpacked(asks, NULL);
    hg_buf_finish(&one);
    hg_buf_finish(&buf);
}

static void test_a_message_cut_anywhere_is_malformed_or_has_fewer_parts(void **state)
{
    (void)state;
    struct hg_buf buf, one;
    size_t ends[3], count = 0;
    hg_buf_init(&buf, MAX);
    hg_buf_init(&one, MAX);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(hg_peer_answers_append(encode_response(&one, 150), i + 1, &buf), HG_OK);
        ends[i] = buf.len;
    }
    for (size_t len = 0; len < buf.len; len++) {
        char *copy = malloc(len == 0 ? 1 : len);
        if (len > 0)
            memcpy(copy, buf.data, len);
        int err = hg_peer_many_count(hg_bytes(copy, len), 9, &count);
        bool is_end = len == 0 || len == ends[0] || len == ends[1];
        assert_int_equal(err, is_end ? HG_OK : HG_EPROTO);
        free(copy);
    }
    hg_buf_finish(&one);
    hg_buf_finish(&buf);
}

static void test_heads_are_whole_pending_or_malformed(void **state)
{
    (void)state;
    static const struct {
        struct hg_bytes input;
        int err;
        size_t head_len, part_len;
    } cases[] = {
        {HG_BYTES(""), HG_PENDING, 0, 0},
        {HG_BYTES("\x0a"), HG_PENDING, 0, 0},
        {HG_BYTES("\x0a\x80"), HG_PENDING, 0, 0},
        {HG_BYTES("\x0a\xff\xff\xff\xff"), HG_PENDING, 0, 0},
        {HG_BYTES("\x0a\0"), HG_OK, 2, 0},
        {HG_BYTES("\x0a\x7f"), HG_OK, 2, 127},
        {HG_BYTES("\x0a\x80\x01"), HG_OK, 3, 128},
        {HG_BYTES("\x0a\x80\x80\x80\x80\x04"), HG_OK, 6, (size_t)1 << 30},
        {HG_BYTES("\x0a\x81\x80\x80\x80\x04"), HG_EPROTO, 0, 0},
        {HG_BYTES("\x0a\xff\xff\xff\xff\x7f"), HG_EPROTO, 0, 0},
        {HG_BYTES("\x0a\x80\x80\x80\x80\x80"), HG_EPROTO, 0, 0},
        {HG_BYTES("\x08\x01"), HG_EPROTO, 0, 0},
        {HG_BYTES("\x12\x01"), HG_EPROTO, 0, 0},
        {HG_BYTES("HTTP"), HG_EPROTO, 0, 0},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        size_t head_len = 0, part_len = 0;
        assert_int_equal(hg_peer_many_head(cases[i].input, &head_len, &part_len), cases[i].err);
        assert_int_equal(head_len, cases[i].head_len);
        assert_int_equal(part_len, cases[i].part_len);
    }
}

static void test_what_does_not_fit_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct hg_buf buf, one;
    struct hg_peer_request request = request_of("a key of some length");
    hg_buf_init(&one, MAX);
    for (size_t max = 0; max < 40; max++) {
        hg_buf_init(&buf, max);
        int err = hg_peer_asks_append(&request, &buf);
        assert_true(err == HG_ETOOBIG || err == HG_OK);
        assert_true(err == HG_OK || buf.len == 0);
        hg_buf_finish(&buf);
    }
    hg_buf_init(&buf, 10);
    assert_int_equal(hg_peer_answers_append(encode_response(&one, 50), 1, &buf), HG_ETOOBIG);
    assert_int_equal(buf.len, 0);
    hg_buf_finish(&buf);
    hg_buf_finish(&one);
}

static int append_all(void *ctx)
{
    struct hg_bytes *response = ctx;
    struct hg_peer_request request = request_of("Tom");
    struct hg_buf buf;
    hg_buf_init(&buf, MAX);
    int err = hg_peer_asks_append(&request, &buf);
    for (uint32_t i = 1; i < 4 && err == HG_OK; i++)
        err = hg_peer_answers_append(*response, i, &buf);
    hg_buf_finish(&buf);
    return err;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct hg_buf one;
    hg_buf_init(&one, MAX);
    struct hg_bytes response = encode_response(&one, 5000);
    assert_true(hg_test_sweep(append_all, &response) > 0);
    hg_buf_finish(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks_come_back_in_order),
        cmocka_unit_test(test_answers_come_back_with_their_numbers),
        cmocka_unit_test(test_parts_are_one_message_of_protobuf),
        cmocka_unit_test(test_a_message_cut_anywhere_is_malformed_or_has_fewer_parts),
        cmocka_unit_test(test_heads_are_whole_pending_or_malformed),
        cmocka_unit_test(test_what_does_not_fit_leaves_the_buffer_as_it_was),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
