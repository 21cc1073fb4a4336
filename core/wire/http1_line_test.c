#include "base/testing.h"
#include "wire/http1_internal.h"

static const struct {
    const char *line;
    enum hg_method method;
    const char *path, *query, *host; /* query and host NULL: none */
} good[] = {
    {"GET / HTTP/1.1", HG_GET, "/", NULL, NULL},
    {"HEAD /a/b?c=d HTTP/1.1", HG_HEAD, "/a/b", "c=d", NULL},
    {"PUT /a? HTTP/1.0", HG_PUT, "/a", "", NULL},
    {"OPTIONS * HTTP/1.1", HG_OPTIONS, "*", NULL, NULL},
    {"GET http://here:80/x?y HTTP/1.1", HG_GET, "/x", "y", "here:80"},
    {"DELETE /%2F%00 HTTP/1.1", HG_DELETE, "/%2F%00", NULL, NULL},
};

static void test_lines_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < HG_COUNT(good); i++) {
        struct hg_http1_request request = {0};
        struct hg_http1_fault fault = {0};
        if (!hg_http1_parse_line(hg_bytes_str(good[i].line), &request, &fault))
            fail_msg("%s: %d %s", good[i].line, fault.status, fault.text);
        assert_int_equal(request.method, good[i].method);
        assert_true(hg_bytes_eq(request.path, hg_bytes_str(good[i].path)));
        assert_int_equal(request.query.data == NULL, good[i].query == NULL);
        assert_true(hg_bytes_eq(request.query, hg_bytes_str(good[i].query)));
        assert_true(hg_bytes_eq(request.host, hg_bytes_str(good[i].host)));
    }
}

static const struct {
    const char *line;
    int status;
} bad[] = {
    {"", 400},
    {"GET", 400},
    {"GET /", 400},
    {" / HTTP/1.1", 400},
    {"G(T / HTTP/1.1", 400},
    {"GET / HTTP/1.1 ", 400},
    {"GET  / HTTP/1.1", 400},
    {"GET / http/1.1", 400},
    {"GET / HTTP/2.0", 505},
    {"GET / HTTP/1.10", 505},
    {"BREW / HTTP/1.1", 501},
    {"get / HTTP/1.1", 501},
    {"CONNECT here:80 HTTP/1.1", 405},
    {"TRACE / HTTP/1.1", 405},
    {"GET here:80 HTTP/1.1", 400},
    {"GET * HTTP/1.1", 400},
    {"GET /a#b HTTP/1.1", 400},
    {"GET /\xc3\xa9 HTTP/1.1", 400},
    {"GET http://user@here/ HTTP/1.1", 400},
};

static void test_bad_lines_are_refused_with_their_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        struct hg_http1_request request = {0};
        struct hg_http1_fault fault = {0};
        if (hg_http1_parse_line(hg_bytes_str(bad[i].line), &request, &fault))
            fail_msg("accepted: %s", bad[i].line);
        if (fault.status != bad[i].status)
            fail_msg("%s: %d, expected %d", bad[i].line, fault.status, bad[i].status);
        assert_non_null(fault.text);
    }
}

static void test_methods_have_their_exact_names(void **state)
{
    (void)state;
    for (int method = 0; method < HG_METHOD_COUNT; method++)
        assert_int_equal(hg_method_from_name(hg_bytes_str(hg_method_name((enum hg_method)method))),
                         method);
    assert_int_equal(hg_method_from_name(HG_BYTES("Get")), HG_METHOD_COUNT);
    assert_string_equal(hg_method_name(HG_METHOD_COUNT), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_taken_apart),
        cmocka_unit_test(test_bad_lines_are_refused_with_their_status),
        cmocka_unit_test(test_methods_have_their_exact_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
