#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster/answer.h"
#include "wire/grpc.h"
#include "wire/query.h"

#define BODY_MAX (1 << 20)
#define NOW      1000000

static struct hg_value *make_value(struct hg_value_spec spec)
{
    if (spec.key.data == NULL)
        spec.key = HG_BYTES("key");
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

/* One result over the wire and back. */
static void send(const struct hg_result *result, bool expose, int *out_status,
                 struct hg_ask_answer *out_answer)
{
    struct hg_buf body;
    hg_buf_init(&body, BODY_MAX);
    assert_int_equal(
        hg_answer_to_http(result, HG_BYTES("key"), NOW, expose, 12.5, out_status, &body), HG_OK);
    assert_int_equal(
        hg_answer_from_http(*out_status, hg_buf_bytes(&body), HG_BYTES("key"), 0, out_answer),
        HG_OK);
    hg_buf_finish(&body);
}

static void test_values_survive_the_way(void **state)
{
    (void)state;
    struct hg_bytes tags[2] = {HG_BYTES("red"), HG_BYTES("blue")};
    struct hg_value *value = make_value((struct hg_value_spec){.status = HG_STATUS_VALUE,
                                                               .data = HG_BYTES("a\0b"),
                                                               .type = HG_BYTES("text/plain"),
                                                               .etag = HG_BYTES("\"x\""),
                                                               .meta = HG_BYTES("m"),
                                                               .tags = tags,
                                                               .tag_count = 2});
    struct hg_result result = {.value = value, .created_ms = NOW - 300, .expires_ms = NOW + 700};
    struct hg_ask_answer answer;
    int status;
    send(&result, false, &status, &answer);
    assert_int_equal(status, 200);
    assert_int_equal(answer.outcome, HG_ASK_TYPED);
    assert_int_equal(answer.ttl_ms, 700);
    assert_int_equal(answer.age_ms, 300);
    assert_true(answer.minute_qps == 12.5);
    assert_int_equal(hg_value_status(answer.result), HG_STATUS_VALUE);
    assert_true(hg_bytes_eq(hg_value_data(answer.result), HG_BYTES("a\0b")));
    assert_true(hg_bytes_eq(hg_value_type(answer.result), HG_BYTES("text/plain")));
    assert_true(hg_bytes_eq(hg_value_etag(answer.result), HG_BYTES("\"x\"")));
    assert_true(hg_bytes_eq(hg_value_meta(answer.result), HG_BYTES("m")));
    assert_int_equal(hg_value_more(answer.result).tag_count, 2);
    assert_true(hg_value_has_tag(answer.result, HG_BYTES("blue")));
    hg_value_unref(answer.result);
    hg_value_unref(value);
}

static void test_life_is_what_remains(void **state)
{
    (void)state;
    static const struct {
        uint64_t expires_ms, ttl_ms;
    } cases[] = {
        {HG_FOREVER, HG_FOREVER}, {NOW + 1, 1}, {NOW, 0}, {NOW - 5, 0}, {0, 0},
    };
    struct hg_value *value =
        make_value((struct hg_value_spec){.status = HG_STATUS_VALUE, .data = HG_BYTES("v")});
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_result result = {
            .value = value, .created_ms = NOW, .expires_ms = cases[i].expires_ms};
        struct hg_ask_answer answer;
        int status;
        send(&result, false, &status, &answer);
        assert_true(answer.ttl_ms ==
                    cases[i].ttl_ms); /* 0 never becomes without end, nor the other way round */
        hg_value_unref(answer.result);
    }
    hg_value_unref(value);
}

static void test_empty_value_not_found_error_and_no_group_stay_apart(void **state)
{
    (void)state;
    struct hg_ask_answer answer;
    int status;
    struct hg_value *empty = make_value((struct hg_value_spec){.status = HG_STATUS_VALUE});
    send(&(struct hg_result){.value = empty}, false, &status, &answer);
    assert_int_equal(status, 200);
    assert_int_equal(hg_value_status(answer.result), HG_STATUS_VALUE);
    assert_int_equal(hg_value_data_len(answer.result), 0);
    hg_value_unref(answer.result);
    hg_value_unref(empty);

    struct hg_value *none = make_value((struct hg_value_spec){.status = HG_STATUS_NOT_FOUND});
    send(&(struct hg_result){.value = none, .expires_ms = NOW + 10}, false, &status, &answer);
    assert_int_equal(status, 404);
    assert_int_equal(answer.outcome, HG_ASK_TYPED);
    assert_int_equal(hg_value_status(answer.result), HG_STATUS_NOT_FOUND);
    assert_int_equal(answer.ttl_ms, 10);
    hg_value_unref(answer.result);
    hg_value_unref(none);

    struct hg_buf body;
    hg_buf_init(&body, BODY_MAX);
    assert_int_equal(hg_answer_no_group(&status, &body), HG_OK);
    assert_int_equal(status, 404);
    assert_int_equal(hg_answer_from_http(status, hg_buf_bytes(&body), HG_BYTES("key"), 0, &answer),
                     HG_OK);
    assert_int_equal(answer.outcome, HG_ASK_TYPED);
    assert_int_equal(hg_value_status(answer.result), HG_STATUS_NO_GROUP);
    hg_value_unref(answer.result);
    hg_buf_finish(&body);
}

static void test_error_keeps_class_and_hides_its_words_unless_told(void **state)
{
    (void)state;
    for (int expose = 0; expose < 2; expose++) {
        for (int klass = HG_CLASS_INTERNAL; klass <= HG_CLASS_TOO_LARGE; klass++) {
            struct hg_value *error =
                make_value((struct hg_value_spec){.status = HG_STATUS_ERROR,
                                                  .klass = (enum hg_class)klass,
                                                  .data = HG_BYTES("secret: 42"),
                                                  .retry_after_ms = 1500});
            struct hg_ask_answer answer;
            int status;
            send(&(struct hg_result){.value = error}, expose == 1, &status, &answer);
            assert_int_equal(status, hg_class_http_status((enum hg_class)klass));
            assert_int_equal(answer.outcome, HG_ASK_TYPED);
            assert_int_equal(hg_value_status(answer.result), HG_STATUS_ERROR);
            assert_int_equal(hg_value_class(answer.result), klass);
            assert_true(hg_bytes_eq(hg_value_data(answer.result), HG_BYTES("secret: 42")) ==
                        (expose == 1));
            assert_true(hg_value_data_len(answer.result) > 0);
            assert_int_equal(hg_value_more(answer.result).retry_after_ms,
                             2000); /* whole seconds, never sooner */
            hg_value_unref(answer.result);
            hg_value_unref(error);
        }
    }
}

static void test_failures_of_the_node_have_a_status_and_a_class(void **state)
{
    (void)state;
    static const struct {
        int err, status;
        enum hg_class klass;
        uint64_t retry_after_s;
    } cases[] = {
        {HG_ETOOBIG, 414, HG_CLASS_TOO_LARGE, 0},   {HG_EINVAL, 400, HG_CLASS_INTERNAL, 0},
        {HG_ELIMIT, 503, HG_CLASS_UNAVAILABLE, 1},  {HG_ETIMEDOUT, 504, HG_CLASS_TIMEOUT, 0},
        {HG_ENOMEM, 503, HG_CLASS_UNAVAILABLE, 1},  {HG_ECANCELED, 503, HG_CLASS_UNAVAILABLE, 1},
        {HG_ERECURSIVE, 502, HG_CLASS_INTERNAL, 0}, {HG_EDRAINING, 503, HG_CLASS_UNAVAILABLE, 1},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_result result = {.err = cases[i].err};
        struct hg_ask_answer answer;
        int status;
        assert_int_equal(hg_result_http_status(&result), cases[i].status);
        assert_int_equal(hg_result_retry_after_s(&result), cases[i].retry_after_s);
        send(&result, false, &status, &answer);
        assert_int_equal(status, cases[i].status);
        assert_int_equal(answer.outcome, HG_ASK_TYPED);
        assert_int_equal(hg_value_status(answer.result), HG_STATUS_ERROR);
        assert_int_equal(hg_value_class(answer.result), cases[i].klass);
        assert_int_equal(hg_value_more(answer.result).retry_after_ms,
                         cases[i].retry_after_s * 1000);
        hg_value_unref(answer.result);
    }
}

static void test_retry_after_is_whole_seconds_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(
        hg_result_retry_after_s(&(struct hg_result){.err = HG_ELIMIT, .retry_after_ms = 1}), 1);
    assert_int_equal(
        hg_result_retry_after_s(&(struct hg_result){.err = HG_ELIMIT, .retry_after_ms = 1000}), 1);
    assert_int_equal(
        hg_result_retry_after_s(&(struct hg_result){.err = HG_ELIMIT, .retry_after_ms = 1001}), 2);
    assert_true(hg_result_retry_after_s(&(struct hg_result){.retry_after_ms = UINT64_MAX}) > 1);
    assert_int_equal(hg_result_retry_after_s(&(struct hg_result){.err = HG_OK}), 0);
}

static int from(int status, struct hg_bytes body, struct hg_ask_answer *out_answer)
{
    return hg_answer_from_http(status, body, HG_BYTES("key"), 5000000000u, out_answer);
}

static void test_go_nodes_are_understood(void **state)
{
    (void)state;
    struct hg_ask_answer answer;
    /* HgCache v1: value only. */
    assert_int_equal(from(200, HG_BYTES("\n\003630"), &answer), HG_OK);
    assert_int_equal(answer.outcome, HG_ASK_TYPED);
    assert_true(hg_bytes_eq(hg_value_data(answer.result), HG_BYTES("630")));
    assert_int_equal(hg_value_status(answer.result), HG_STATUS_VALUE);
    assert_true(answer.ttl_ms == HG_FOREVER);
    hg_value_unref(answer.result);
    /* An empty value is an empty message. */
    assert_int_equal(from(200, HG_BYTES_NONE, &answer), HG_OK);
    assert_int_equal(answer.outcome, HG_ASK_TYPED);
    assert_int_equal(hg_value_data_len(answer.result), 0);
    hg_value_unref(answer.result);
    /* A bare 500 in plain text. */
    static const char *plain[] = {"no such group: test\n", "Tom not exist", "", "\n\003630"};
    for (size_t i = 0; i < HG_COUNT(plain); i++) {
        assert_int_equal(from(500, hg_bytes_str(plain[i]), &answer), HG_OK);
        assert_int_equal(answer.outcome, HG_ASK_UNTYPED);
        assert_null(answer.result);
    }
    /* groupcache-go's moment of expiry counts only where no ttl is told. */
    static const struct {
        int64_t expire;
        bool has_ttl;
        uint64_t ttl_ms;
    } cases[] = {
        {5250000000, false, 250}, {5000000000, false, 0}, {1, false, 0},
        {-1, false, 0},           {0, false, HG_FOREVER}, {5250000000, true, 7},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_buf body;
        struct hg_peer_response response = {.value = HG_BYTES("v"),
                                            .expire_unix_ns = cases[i].expire,
                                            .has_ttl = cases[i].has_ttl,
                                            .ttl_ms = 7};
        hg_buf_init(&body, BODY_MAX);
        assert_int_equal(hg_peer_response_encode(&response, &body), HG_OK);
        assert_int_equal(from(200, hg_buf_bytes(&body), &answer), HG_OK);
        assert_true(answer.ttl_ms == cases[i].ttl_ms);
        hg_value_unref(answer.result);
        hg_buf_finish(&body);
    }
}

static void test_garbage_and_wrong_keys_are_transport_failures(void **state)
{
    (void)state;
    struct hg_ask_answer answer;
    static const struct hg_bytes bodies[] = {
        {"<html>it works</html>", 21},
        {"\n\x7fshort", 7},
        {"\x00\x01", 2},
        {"\xff\xff\xff\xff\xff\xff", 6},
    };
    for (size_t i = 0; i < HG_COUNT(bodies); i++) {
        assert_int_equal(from(200, bodies[i], &answer), HG_OK);
        assert_int_equal(answer.outcome, HG_ASK_TRANSPORT);
        assert_null(answer.result);
    }
    struct hg_buf body;
    struct hg_peer_response response = {.status = HG_STATUS_VALUE,
                                        .value = HG_BYTES("v"),
                                        .has_key_hash = true,
                                        .key_hash = hg_xxh64(HG_BYTES("another key"))};
    hg_buf_init(&body, BODY_MAX);
    assert_int_equal(hg_peer_response_encode(&response, &body), HG_OK);
    assert_int_equal(from(200, hg_buf_bytes(&body), &answer), HG_OK);
    assert_int_equal(answer.outcome, HG_ASK_TRANSPORT); /* A7 */
    assert_null(answer.result);
    hg_buf_finish(&body);
}

static void test_grpc_answers_are_typed_or_sorted(void **state)
{
    (void)state;
    struct hg_peer_response value = {.status = HG_STATUS_VALUE, .value = HG_BYTES("v")};
    struct hg_peer_response denied = {.status = HG_STATUS_ERROR,
                                      .error_class = HG_BYTES("denied"),
                                      .error_message = HG_BYTES("no")};
    struct hg_buf body, details, response;
    hg_buf_init(&body, BODY_MAX);
    hg_buf_init(&details, BODY_MAX);
    hg_buf_init(&response, BODY_MAX);
    hg_buf_append(&body, "\0\0\0\0\0", 5);
    assert_int_equal(hg_peer_response_encode(&value, &body), HG_OK);
    hg_grpc_prefix_write(body.len - 5, body.data);
    assert_int_equal(hg_peer_response_encode(&denied, &response), HG_OK);
    assert_int_equal(hg_base64_encode(&details, hg_buf_bytes(&response)), HG_OK);
    struct hg_bytes whole = hg_buf_bytes(&body), none = HG_BYTES_NONE;
    struct hg_bytes typed = hg_buf_bytes(&details);
    const struct {
        int http, code;
        struct hg_bytes details, body;
        enum hg_ask_outcome outcome;
        enum hg_status status;
    } cases[] = {
        {200, HG_GRPC_OK, none, whole, HG_ASK_TYPED, HG_STATUS_VALUE},
        {200, HG_GRPC_PERMISSION_DENIED, typed, none, HG_ASK_TYPED, HG_STATUS_ERROR},
        {200, HG_GRPC_UNKNOWN, none, none, HG_ASK_UNTYPED, 0},
        {200, HG_GRPC_NOT_FOUND, HG_BYTES("%%%"), none, HG_ASK_UNTYPED, 0},
        {200, HG_GRPC_NOT_FOUND, HG_BYTES("/////w=="), none, HG_ASK_UNTYPED, 0},
        {503, -1, none, HG_BYTES("<html>"), HG_ASK_UNTYPED, 0},
        /* A8 */
        {200, -1, none, whole, HG_ASK_TRANSPORT, 0},
        {200, HG_GRPC_OK, none, none, HG_ASK_TRANSPORT, 0},
        {200, HG_GRPC_OK, none, hg_bytes(whole.data, whole.len - 1), HG_ASK_TRANSPORT, 0},
        {200, HG_GRPC_OK, none, HG_BYTES("\1\0\0\0\1x"), HG_ASK_TRANSPORT, 0},
        {200, HG_GRPC_OK, none, HG_BYTES("\0\0\0\0\1\xff"), HG_ASK_TRANSPORT, 0},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_ask_answer answer;
        assert_int_equal(hg_answer_from_grpc(cases[i].http, cases[i].code, cases[i].details,
                                             cases[i].body, HG_BYTES("key"), 0, &answer),
                         HG_OK);
        assert_int_equal(answer.outcome, cases[i].outcome);
        assert_true((answer.outcome == HG_ASK_TYPED) == (answer.result != NULL));
        if (answer.result != NULL)
            assert_int_equal(hg_value_status(answer.result), cases[i].status);
        hg_value_unref(answer.result);
    }
    hg_buf_finish(&body);
    hg_buf_finish(&details);
    hg_buf_finish(&response);
}

/* A5: whatever is cut or changed, the answer is whole or none. */
static void test_mangled_messages_never_crash(void **state)
{
    (void)state;
    struct hg_value *value =
        make_value((struct hg_value_spec){.status = HG_STATUS_VALUE,
                                          .data = HG_BYTES("some data that is long enough"),
                                          .type = HG_BYTES("a/b")});
    struct hg_result result = {.value = value, .created_ms = NOW, .expires_ms = NOW + 10};
    struct hg_ask_answer answer;
    struct hg_buf body;
    int status;
    hg_buf_init(&body, BODY_MAX);
    assert_int_equal(hg_answer_to_http(&result, HG_BYTES("key"), NOW, false, 0, &status, &body),
                     HG_OK);
    for (size_t len = 0; len < body.len; len++) {
        assert_int_equal(from(200, hg_bytes(body.data, len), &answer), HG_OK);
        hg_value_unref(answer.result);
    }
    srand(7);
    for (int i = 0; i < 20000; i++) {
        size_t at = (size_t)rand() % body.len;
        char was = body.data[at];
        body.data[at] = (char)rand();
        assert_int_equal(from(i % 2 == 0 ? 200 : 502, hg_buf_bytes(&body), &answer), HG_OK);
        assert_true((answer.outcome == HG_ASK_TYPED) == (answer.result != NULL));
        hg_value_unref(answer.result);
        body.data[at] = was;
    }
    hg_buf_finish(&body);
    hg_value_unref(value);
}

static void test_each_failing_allocation_is_survived(void **state)
{
    (void)state;
    struct hg_value *error =
        make_value((struct hg_value_spec){.status = HG_STATUS_ERROR, .data = HG_BYTES("why")});
    struct hg_result result = {.value = error};
    struct hg_ask_answer answer;
    struct hg_buf body;
    int status = -1;
    size_t live = hg_alloc_live_bytes();
    for (size_t nth = 0;; nth++) {
        hg_buf_init(&body, BODY_MAX);
        hg_alloc_fail_at(nth, false);
        int err = hg_answer_to_http(&result, HG_BYTES("key"), NOW, true, 0, &status, &body);
        if (!hg_alloc_fail_clear()) {
            assert_int_equal(err, HG_OK);
            assert_true(nth > 0);
            break;
        }
        assert_int_equal(err, HG_ENOMEM);
        assert_int_equal(status, -1);
        hg_buf_finish(&body);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
    size_t with_body = hg_alloc_live_bytes();
    for (size_t nth = 0;; nth++) {
        answer.result = NULL;
        hg_alloc_fail_at(nth, false);
        int err = hg_answer_from_http(status, hg_buf_bytes(&body), HG_BYTES("key"), 0, &answer);
        if (!hg_alloc_fail_clear()) {
            assert_int_equal(err, HG_OK);
            assert_true(nth > 1);
            hg_value_unref(answer.result);
            break;
        }
        assert_int_equal(err, HG_ENOMEM);
        assert_null(answer.result);
        assert_int_equal(hg_alloc_live_bytes(), with_body);
    }
    hg_buf_finish(&body);
    hg_value_unref(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_survive_the_way),
        cmocka_unit_test(test_life_is_what_remains),
        cmocka_unit_test(test_empty_value_not_found_error_and_no_group_stay_apart),
        cmocka_unit_test(test_error_keeps_class_and_hides_its_words_unless_told),
        cmocka_unit_test(test_failures_of_the_node_have_a_status_and_a_class),
        cmocka_unit_test(test_retry_after_is_whole_seconds_rounded_up),
        cmocka_unit_test(test_go_nodes_are_understood),
        cmocka_unit_test(test_garbage_and_wrong_keys_are_transport_failures),
        cmocka_unit_test(test_grpc_answers_are_typed_or_sorted),
        cmocka_unit_test(test_mangled_messages_never_crash),
        cmocka_unit_test(test_each_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
