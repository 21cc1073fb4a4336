#include "wire/http2_head.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/testing.h"

static struct hg_http1_limits limits;
static struct hg_field fields[HG_FIELDS_MAX];

struct outcome {
    struct hg_http2_head head; /* the request's spans point into it */
    struct hg_http1_request request;
    bool is_request;
    int status;
    const char *text;
};

/* Pairs of name and value, up to a NULL. */
static struct outcome *read_pairs(const char *const *pairs)
{
    struct outcome *out = calloc(1, sizeof(*out));
    hg_http2_head_init(&out->head, &limits);
    for (size_t i = 0; pairs[i] != NULL; i += 2)
        assert_int_equal(
            hg_http2_head_add(&out->head, hg_bytes_str(pairs[i]), hg_bytes_str(pairs[i + 1])),
            HG_OK);
    out->is_request = hg_http2_head_request(&out->head, HG_BYTES("body"), fields, &out->request,
                                            &out->status, &out->text);
    return out;
}

static void outcome_free(struct outcome *out)
{
    hg_http2_head_finish(&out->head);
    free(out);
}

#define READ(...)          read_pairs((const char *const[]){__VA_ARGS__, NULL})
#define LINE(method, path) ":method", method, ":scheme", "http", ":path", path
#define GET                ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h"

static void must_be(struct hg_bytes found, const char *wanted)
{
    assert_true(hg_bytes_eq(found, hg_bytes_str(wanted)));
}

static void test_a_request_is_what_its_fields_say(void **state)
{
    (void)state;
    struct outcome *out =
        READ(LINE("POST", "/a/%20b?x=1"), ":authority", "example:80", "origin", "http://o", "x-a",
             "  spaces ", "if-none-match", "\"v\"", "authorization", "Bearer t");
    assert_true(out->is_request);
    assert_int_equal(out->request.method, HG_POST);
    must_be(out->request.target, "/a/%20b?x=1");
    must_be(out->request.path, "/a/%20b");
    must_be(out->request.query, "x=1");
    must_be(out->request.host, "example:80");
    must_be(out->request.body, "body");
    must_be(out->request.origin, "http://o");
    must_be(out->request.if_none_match, "\"v\"");
    must_be(out->request.authorization, "Bearer t");
    must_be(hg_http1_field(&out->request, "x-a"), "spaces");
    assert_int_equal(out->request.field_count, 4);
    assert_true(out->request.keep_alive);
    assert_false(out->request.is_http10);
    outcome_free(out);
}

static void test_crumbs_of_a_cookie_are_one_field(void **state)
{
    (void)state;
    struct outcome *out = READ(GET, "cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3");
    assert_true(out->is_request);
    assert_int_equal(out->request.field_count, 2);
    must_be(hg_http1_field(&out->request, "cookie"), "a=1; b=2; c=3");
    outcome_free(out);
}

/* Python's client with "ipv4:a,b" names all its addresses; nothing is decided by the host of a call. */
static void test_a_call_of_grpc_may_name_several_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *authority, *type;
        bool is_fine;
    } cases[] = {
        {"10.0.0.1:80,10.0.0.2:80", "application/grpc", true},
        {"[::1]:80,[::2]:80,h", "application/grpc+proto", true},
        {"10.0.0.1:80,10.0.0.2:80", "application/json", false},
        {"10.0.0.1:80,", "application/grpc", false},
        {",10.0.0.1:80", "application/grpc", false},
        {"a,,b", "application/grpc", false},
        {"a,b c", "application/grpc", false},
        {"a/b,c", "application/grpc", false},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct outcome *out = READ(LINE("POST", "/s/m"), ":authority", cases[i].authority,
                                   "content-type", cases[i].type);
        if (out->is_request != cases[i].is_fine)
            fail_msg("%s as %s", cases[i].authority, cases[i].type);
        if (cases[i].is_fine)
            must_be(out->request.host, cases[i].authority);
        else
            assert_string_equal(out->text, "malformed :authority");
        outcome_free(out);
    }
}

static void test_the_host_is_the_authority(void **state)
{
    (void)state;
    struct outcome *out = READ(LINE("GET", "/"), "host", "h:1");
    assert_true(out->is_request);
    must_be(out->request.host, "h:1");
    outcome_free(out);
    out = READ(LINE("GET", "/"), ":authority", "H:1", "host", "h:1");
    assert_true(out->is_request);
    must_be(out->request.host, "H:1");
    outcome_free(out);
    static const char *const bad[][9] = {
        {LINE("GET", "/"), ":authority", "a b"},
        {LINE("GET", "/"), "host", "u@h"},
    };
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        out = read_pairs(bad[i]);
        assert_false(out->is_request);
        assert_int_equal(out->status, 400);
        assert_string_equal(out->text, "malformed :authority");
        outcome_free(out);
    }
    out = READ(GET, "host", "other");
    assert_false(out->is_request);
    assert_string_equal(out->text, "Host is not :authority");
    outcome_free(out);
    out = READ(GET, "host", "h", "host", "h");
    assert_false(out->is_request);
    assert_string_equal(out->text, "more than one Host");
    outcome_free(out);
}

static void test_what_is_noted_on_the_way(void **state)
{
    (void)state;
    struct outcome *out = READ(GET, "content-type", "application/grpc+proto", "expect",
                               "100-Continue", "content-length", "12345");
    assert_true(out->head.is_grpc);
    assert_true(out->head.is_expecting);
    assert_int_equal(out->head.content_length, 12345);
    outcome_free(out);
    out = READ(GET, "content-type", "application/grpcx", "expect", "later");
    assert_false(out->head.is_grpc);
    assert_false(out->head.is_expecting);
    assert_int_equal(out->head.content_length, 0);
    outcome_free(out);
}

/* Adds fields of a letter each until the head's size is that. */
static struct outcome *read_sized(size_t list_bytes)
{
    static char value[32 << 10];
    size_t had = 0;
    static const char *const pairs[] = {GET};
    memset(value, 'v', sizeof(value));
    for (size_t i = 0; i < HG_COUNT(pairs); i++)
        had += strlen(pairs[i]) + HG_HTTP2_FIELD_COST / 2;
    value[list_bytes - had - HG_HTTP2_FIELD_COST - 1] = '\0';
    return READ(GET, "n", value);
}

static void test_limits_hold_to_the_byte(void **state)
{
    (void)state;
    struct outcome *out = read_sized(limits.head);
    assert_true(out->is_request);
    assert_int_equal(out->head.list_bytes, limits.head);
    outcome_free(out);
    out = read_sized(limits.head + 1);
    assert_false(out->is_request);
    assert_int_equal(out->status, 431);
    outcome_free(out);

    for (unsigned over = 0; over < 2; over++) {
        const char *pairs[2 * HG_FIELDS_MAX] = {GET};
        for (unsigned i = 0; i < 2 * (limits.fields + over); i++)
            pairs[8 + i] = "f";
        out = read_pairs(pairs);
        assert_int_equal(out->is_request, over == 0);
        assert_int_equal(out->status, over == 0 ? 0 : 431);
        outcome_free(out);
    }

    static char path[16 << 10];
    memset(path, '/', sizeof(path));
    path[limits.line - 3] = '\0';
    out = READ(LINE("GET", path), ":authority", "h");
    assert_true(out->is_request);
    outcome_free(out);
    path[limits.line - 3] = '/';
    path[limits.line - 2] = '\0';
    out = READ(LINE("GET", path), ":authority", "h");
    assert_false(out->is_request);
    assert_int_equal(out->status, 414);
    outcome_free(out);
}

/* Whatever the configuration says. */
static void test_there_are_no_more_fields_than_there_is_room_for(void **state)
{
    static const char *pairs[2 * (HG_FIELDS_MAX + 10)] = {GET};
    unsigned usual = limits.fields;
    (void)state;
    limits.fields = 100000;
    for (unsigned over = 0; over < 2; over++) {
        for (unsigned i = 0; i < 2 * (HG_FIELDS_MAX + over); i++)
            pairs[8 + i] = "f";
        struct outcome *out = read_pairs(pairs);
        assert_int_equal(out->is_request, over == 0);
        assert_int_equal(over == 0 ? out->request.field_count : (size_t)out->status,
                         over == 0 ? HG_FIELDS_MAX : 431);
        outcome_free(out);
    }
    limits.fields = usual;
}

static void test_past_a_limit_nothing_more_is_kept(void **state)
{
    (void)state;
    struct hg_http2_head head;
    hg_http2_head_init(&head, &limits);
    size_t live = 0;
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(hg_http2_head_add(&head, HG_BYTES("name"), HG_BYTES("value")), HG_OK);
        assert_int_equal(hg_http2_head_add(&head, HG_BYTES("cookie"), HG_BYTES("value")), HG_OK);
        if (i == 1000)
            live = hg_alloc_live_bytes();
    }
    assert_int_equal(head.status, 431);
    assert_int_equal(hg_alloc_live_bytes(), live);
    hg_http2_head_finish(&head);
}

/*
 * Against HTTP/1.1 that says the same: both make the same request of it, or refuse it with one status. What only one of the two
 * can say is not drawn: a Host beside :authority, and what ends or folds a line.
 */
static void test_the_same_request_as_over_http_1(void **state)
{
    static const char *const methods[] = {"GET",    "HEAD",    "POST", "PUT",
                                          "DELETE", "OPTIONS", "BREW", "G(T"};
    static const char *const paths[] = {"/", "/a?b",  "/a?b?c", "*",          "",         "/%zz",
                                        "a", "/\x7f", "/a#b",   "http://h/x", "/\xc3\xa4"};
    static const char *const names[] = {"x-a", "origin", "if-none-match", "authorization",
                                        "hgcache-request"};
    static const char *const values[] = {"", "v", "two words", "\"t\"", "\xc3\xa4"};
    static const char *const hosts[] = {"h", "h:80", "[::1]:80", "h:x", "a b"};
    struct hg_test_random random = {1};
    unsigned accepted = 0, refused = 0;
    (void)state;
    for (int round = 0; round < 5000; round++) {
        const char *host =
            hosts[hg_test_below(&random, hg_test_below(&random, 4) == 0 ? HG_COUNT(hosts) : 3)];
        const char *method = methods[hg_test_below(&random, HG_COUNT(methods))];
        const char *path = paths[hg_test_below(&random, HG_COUNT(paths))];
        const char *pairs[32] = {LINE(method, path), ":authority", host};
        char text[1000];
        size_t count = hg_test_below(&random, 5), consumed;
        int len =
            snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host);
        for (size_t i = 0; i < count; i++) {
            pairs[8 + 2 * i] = names[hg_test_below(&random, HG_COUNT(names))];
            pairs[9 + 2 * i] = values[hg_test_below(&random, HG_COUNT(values))];
            len += snprintf(text + len, sizeof(text) - (size_t)len, "%s: %s\r\n", pairs[8 + 2 * i],
                            pairs[9 + 2 * i]);
        }
        len += snprintf(text + len, sizeof(text) - (size_t)len, "\r\n");

        struct hg_http1 parser;
        hg_http1_init(&parser, &limits);
        bool is_request =
            hg_http1_feed(&parser, hg_bytes(text, (size_t)len), &consumed) == HG_HTTP1_REQUEST;
        struct outcome *out = read_pairs(pairs);
        if (is_request != out->is_request)
            print_message("%s %s, host %s: %d %s, %d %s\n", method, path, host, is_request,
                          is_request ? "" : parser.error_text, out->is_request,
                          out->is_request ? "" : out->text);
        /* An absolute form belongs to HTTP/1.1; its host is another one. */
        if (strncmp(path, "http:", 5) != 0) {
            assert_int_equal(is_request, out->is_request);
            if (is_request) {
                const struct hg_http1_request *a = &parser.request, *b = &out->request;
                assert_int_equal(a->method, b->method);
#define X(span)                                                                                    \
    assert_true(hg_bytes_eq(a->span, b->span) && (a->span.data == NULL) == (b->span.data == NULL));
                X(target)
                X(path)
                X(query) X(host) X(if_none_match) X(origin) X(authorization) X(peer_request)
#undef X
                    assert_int_equal(a->origin_count, b->origin_count);
                assert_int_equal(a->field_count, b->field_count + 1); /* Host */
                for (size_t i = 0; i < b->field_count; i++)
                    assert_true(hg_bytes_eq(a->fields[i + 1].name, b->fields[i].name) &&
                                hg_bytes_eq(a->fields[i + 1].value, b->fields[i].value));
                accepted++;
            } else {
                assert_int_equal(parser.error_status, out->status);
                refused++;
            }
        }
        hg_http1_finish(&parser);
        outcome_free(out);
    }
    print_message("%u requests, %u refused\n", accepted, refused);
    assert_true(accepted > 1000);
    assert_true(refused > 1000);
}

static int attempt(void *ctx)
{
    static const char *const pairs[] = {GET, "x-a", "1", "cookie", "a", "cookie", "b"};
    struct hg_http2_head head;
    struct hg_http1_request request;
    const char *text = NULL;
    int err = HG_OK, status = 0;
    (void)ctx;
    hg_http2_head_init(&head, &limits);
    for (size_t i = 0; err == HG_OK && i < HG_COUNT(pairs); i += 2)
        err = hg_http2_head_add(&head, hg_bytes_str(pairs[i]), hg_bytes_str(pairs[i + 1]));
    if (err == HG_OK &&
        !hg_http2_head_request(&head, HG_BYTES_NONE, fields, &request, &status, &text)) {
        assert_int_equal(status, 503);
        err = HG_ENOMEM;
    }
    hg_http2_head_finish(&head);
    return err;
}

static void test_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    assert_true(hg_test_sweep(attempt, NULL) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_what_its_fields_say),
        cmocka_unit_test(test_crumbs_of_a_cookie_are_one_field),
        cmocka_unit_test(test_the_host_is_the_authority),
        cmocka_unit_test(test_a_call_of_grpc_may_name_several_hosts),
        cmocka_unit_test(test_what_is_noted_on_the_way),
        cmocka_unit_test(test_limits_hold_to_the_byte),
        cmocka_unit_test(test_there_are_no_more_fields_than_there_is_room_for),
        cmocka_unit_test(test_past_a_limit_nothing_more_is_kept),
        cmocka_unit_test(test_the_same_request_as_over_http_1),
        cmocka_unit_test(test_out_of_memory_leaves_nothing),
    };
    hg_http1_limits_default(&limits);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
