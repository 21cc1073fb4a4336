#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/http1.h"
#include "wire/http1_feed.h"

static void test_e4_content_lengths_that_are_no_number_are_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"plain", POST("Content-Length: 3\r\n\r\nabc"), 0},
        {"zero", POST("Content-Length: 0\r\n\r\n"), 0},
        {"leading zeros", POST("Content-Length: 003\r\n\r\nabc"), 0},
        {"spaces around", POST("Content-Length:   3\r\n\r\nabc"), 0},
        {"twice the same", POST("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400},
        {"differing", POST("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400},
        {"differing in case", POST("content-length: 3\r\nCONTENT-LENGTH: 4\r\n\r\nabcd"), 400},
        {"list", POST("Content-Length: 3, 3\r\n\r\nabc"), 400},
        {"list without space", POST("Content-Length: 3,3\r\n\r\nabc"), 400},
        {"plus", POST("Content-Length: +3\r\n\r\nabc"), 400},
        {"hex", POST("Content-Length: 0x3\r\n\r\nabc"), 400},
        {"negative", POST("Content-Length: -1\r\n\r\n"), 400},
        {"2^64", POST("Content-Length: 18446744073709551616\r\n\r\n"), 400},
        {"2^64+3", POST("Content-Length: 18446744073709551619\r\n\r\nabc"), 400},
        {"2^64-1", POST("Content-Length: 18446744073709551615\r\n\r\n"), 413},
        {"empty", POST("Content-Length:\r\n\r\n"), 400},
        {"blank", POST("Content-Length:  \r\n\r\n"), 400},
        {"tab behind", POST("Content-Length: 3\t\r\n\r\nabc"), 400},
        {"letters behind", POST("Content-Length: 3a\r\n\r\nabc"), 400},
        {"two numbers", POST("Content-Length: 3 4\r\n\r\nabc"), 400},
        {"vertical tab",
         POST("Content-Length: \x0b"
              "3\r\n\r\nabc"),
         400},
        {"quoted", POST("Content-Length: \"3\"\r\n\r\nabc"), 400},
        {"one over the limit", POST("Content-Length: 8388609\r\n\r\n"), 413},
    };
    check_refusals(rows, HG_COUNT(rows));
}

static void test_e6_malformed_lines_and_fields_are_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"plain", GET("X-A: b\r\n"), 0},
        {"obs-fold", GET("X-A: b\r\n c\r\n"), 400},
        {"obs-fold with a tab", GET("X-A: b\r\n\tc\r\n"), 400},
        {"space before colon", GET("X-A : b\r\n"), 400},
        {"tab before colon", GET("X-A\t: b\r\n"), 400},
        {"Host with space before colon", B("GET / HTTP/1.1\r\nHost : h\r\n\r\n"), 400},
        {"known name with space before colon", GET("Connection : close\r\n"), 400},
        {"length with space before colon", GET("Content-Length : 0\r\n"), 400},
        {"upgrade with space before colon", GET("Upgrade : h2c\r\n"), 400},
        {"two spaces before colon", GET("Expect  : 100-continue\r\n"), 400},
        {"leading space", GET(" X-A: b\r\n"), 400},
        {"space before the first field", B("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), 400},
        {"bare CR in a value", GET("X-A: b\rc\r\n"), 400},
        {"bare CR ends a line", GET("X-A: b\rX-B: c\r\n"), 400},
        {"CR CR LF", GET("X-A: b\r\r\n"), 400},
        {"bare LF ends a line", GET("X-A: b\nX-B: c\r\n"), 400},
        {"bare LF ends the request line", B("GET / HTTP/1.1\nHost: h\r\n\r\n"), 400},
        {"bare LF ends the head", B("GET / HTTP/1.1\r\nHost: h\r\n\n"), 400},
        {"bare CR in the request line", B("GET /\r HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
        {"NUL in a value", GET("X-A: b\0c\r\n"), 400},
        {"NUL in a name", GET("X\0A: b\r\n"), 400},
        {"NUL in the target", B("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
        {"control byte in a value", GET("X-A: b\x01\r\n"), 400},
        {"DEL in a value", GET("X-A: b\x7f\r\n"), 400},
        {"empty name", GET(": b\r\n"), 400},
        {"no colon", GET("X-A\r\n"), 400},
        {"non-ASCII name", GET("X-\xc3\xa4: b\r\n"), 400},
        {"name with slash", GET("X/A: b\r\n"), 400},
        {"name with brackets", GET("X[A]: b\r\n"), 400},
        {"name with quote", GET("X\"A: b\r\n"), 400},
        {"0x85 in a value",
         GET("X-A: \x85"
             "b\x85\r\n"),
         0},
        {"0xa0 in a value",
         GET("X-A: \xa0"
             "b\xa0\r\n"),
         0},
        {"tab in a value", GET("X-A: b\tc\r\n"), 0},
        {"empty value", GET("X-A:\r\n"), 0},
        {"0xa0 before the length",
         POST("Content-Length: \xa0"
              "3\r\n\r\nabc"),
         400},
        {"0x85 before chunked",
         POST("Transfer-Encoding: \x85"
              "chunked\r\n\r\n0\r\n\r\n"),
         400},
        {"two spaces in the request line", B("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
        {"space at its end", B("GET / HTTP/1.1 \r\nHost: h\r\n\r\n"), 400},
        {"space at its start", B(" GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
        {"tab for space", B("GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n"), 400},
    };
    check_refusals(rows, HG_COUNT(rows));
}

static void test_values_pass_high_bytes_unchanged_and_lose_blanks_around(void **state)
{
    static struct http1_story story;
    (void)state;
    struct hg_bytes input = GET("X-A: \t \x85\xa0 \xff \t\r\nX-B:  \r\n");
    tell_all_ways(input, &story);
    struct hg_bytes expected = HG_BYTES("Host=h;X-A=\x85\xa0 \xff;X-B=;]<idle>");
    assert_true(story.len > expected.len);
    assert_memory_equal(story.text + story.len - expected.len, expected.data, expected.len);
}

static void test_e2_header_bombs_end_at_their_limits(void **state)
{
    (void)state;
    size_t frame = sizeof(HEAD_GET "X: \r\n\r\n") - 1;
    check_repeated("head of exactly the limit", HEAD_GET "X: ", "a", limits.head - frame,
                   "\r\n\r\n", 0);
    check_repeated("head of one more", HEAD_GET "X: ", "a", limits.head - frame + 1, "\r\n\r\n",
                   431);
    check_repeated("1 MiB of headers", HEAD_GET,
                   "X-Filler: 0123456789012345678901234567890123456789\r\n", 20000, "\r\n", 431);
    check_repeated("10,000 fields", HEAD_GET, "a:\r\n", 10000, "\r\n", 431);
    check_repeated("as many fields as allowed", HEAD_GET, "a:\r\n", limits.fields - 1, "\r\n", 0);
    check_repeated("one field more", HEAD_GET, "a:\r\n", limits.fields, "\r\n", 431);
    limits.fields = 1000; /* what is configured cannot pass what there is room for */
    check_repeated("as many fields as there is room for", HEAD_GET, "a:\r\n", HG_FIELDS_MAX - 1,
                   "\r\n", 0);
    check_repeated("one field more than that", HEAD_GET, "a:\r\n", HG_FIELDS_MAX, "\r\n", 431);
    limits.fields = 100;
    check_repeated("one field of 100 KiB", HEAD_GET "X: ", "a", 100 << 10, "\r\n\r\n", 431);
    check_repeated("endless field name", HEAD_GET, "a", 100 << 10, "", 431);
    check_repeated("endless field name, short of the limit", HEAD_GET, "a", 200, " x\r\n\r\n", 400);
}

static void test_e9_long_request_lines_end_at_their_limit(void **state)
{
    (void)state;
    size_t frame = sizeof("GET / HTTP/1.1") - 1;
    check_repeated("line of exactly the limit", "GET /", "a", limits.line - frame,
                   " HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    check_repeated("line of one more", "GET /", "a", limits.line - frame + 1,
                   " HTTP/1.1\r\nHost: h\r\n\r\n", 414);
    check_repeated("9 KiB URL", "GET /", "a", 9 << 10, " HTTP/1.1\r\nHost: h\r\n\r\n", 414);
    check_repeated("endless URL", "GET /", "a", 1 << 20, "", 414);
    check_repeated("endless method", "G", "G", 1 << 20, "", 414);
}

#define HOST(value) B("GET / HTTP/1.1\r\nHost: " value "\r\n\r\n")

static void test_e8_hosts_that_name_no_host_are_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"name", HOST("example.com"), 0},
        {"name and port", HOST("example.com:8080"), 0},
        {"address", HOST("127.0.0.1:1"), 0},
        {"IPv6", HOST("[::1]:80"), 0},
        {"IPv6 without port", HOST("[2001:db8::1.2.3.4]"), 0},
        {"underscore", HOST("my_host"), 0},
        {"missing", B("GET / HTTP/1.1\r\n\r\n"), 400},
        {"missing with others", B("GET / HTTP/1.1\r\nA: b\r\n\r\n"), 400},
        {"missing in HTTP/1.0", B("GET / HTTP/1.0\r\n\r\n"), 0},
        {"two", B("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400},
        {"two in HTTP/1.0", B("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400},
        {"two, other case", B("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n"), 400},
        {"empty", HOST(""), 400},
        {"path", HOST("h/p"), 400},
        {"query", HOST("h?p"), 400},
        {"fragment", HOST("h#p"), 400},
        {"user information", HOST("u@h"), 400},
        {"user and password", HOST("u:p@h"), 400},
        {"NUL", HOST("h\0x"), 400},
        {"list", HOST("a,b"), 400},
        {"list with space", HOST("a, b"), 400},
        {"space", HOST("a b"), 400},
        {"scheme", HOST("http://h"), 400},
        {"letters as port", HOST("h:http"), 400},
        {"two ports", HOST("h:1:2"), 400},
        {"long port", HOST("h:123456"), 400},
        {"port alone", HOST(":80"), 400},
        {"open bracket", HOST("[::1"), 400},
        {"empty brackets", HOST("[]"), 400},
        {"zone in brackets", HOST("[fe80::1%25eth0]"), 400},
        {"behind the bracket", HOST("[::1]x"), 400},
        {"backslash", HOST("a\\b"), 400},
        {"high byte", HOST("h\xc3\xa4"), 400},
    };
    check_refusals(rows, HG_COUNT(rows));
}

#define TARGET(text) B("GET " text " HTTP/1.1\r\nHost: h\r\n\r\n")

static void test_e9_forms_of_the_target(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"origin form", TARGET("/a/b?c=d"), 0},
        {"empty query", TARGET("/a?"), 0},
        {"percent tricks are the router's business", TARGET("/%2e%2e%2f%zz"), 0},
        {"absolute form", TARGET("http://h/a"), 0},
        {"absolute form with port", TARGET("http://h:1/a?b"), 0},
        {"absolute form without path", TARGET("http://h"), 0},
        {"absolute form, query only", TARGET("HTTP://h?b"), 0},
        {"https", TARGET("https://h/a"), 0},
        {"absolute form without authority", TARGET("http:///a"), 400},
        {"absolute form with user", TARGET("http://u@h/a"), 400},
        {"other scheme", TARGET("ftp://h/a"), 400},
        {"file", TARGET("file:///etc/passwd"), 400},
        {"authority form", TARGET("h:80"), 400},
        {"relative", TARGET("a"), 400},
        {"query alone", TARGET("?a"), 400},
        {"empty", TARGET(""), 400},
        {"asterisk", TARGET("*"), 400},
        {"asterisk and more", B("OPTIONS *a HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
        {"OPTIONS asterisk", B("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), 0},
        {"fragment", TARGET("/a#b"), 400},
        {"fragment in a query", TARGET("/a?b#c"), 400},
        {"raw UTF-8", TARGET("/\xc3\xa4"), 400},
        {"control byte", TARGET("/\x01"), 400},
        {"DEL", TARGET("/\x7f"), 400},
        {"tab", TARGET("/\t"), 400},
        {"space", TARGET("/a b"), 400},
    };
    check_refusals(rows, HG_COUNT(rows));
}

static void test_target_is_split_into_host_path_and_query(void **state)
{
    (void)state;
    static const struct {
        struct hg_bytes input;
        const char *path, *query, *host;
    } rows[] = {
        {TARGET("/a/b?c=d?e"), "/a/b", "c=d?e", "h"},
        {TARGET("/a?"), "/a", "", "h"},
        {TARGET("/"), "/", NULL, "h"},
        {TARGET("//h/x"), "//h/x", NULL, "h"},
        {TARGET("http://other:1/a?b"), "/a", "b", "other:1"},
        {TARGET("http://other"), "/", NULL, "other"},
        {TARGET("http://other?b"), "/", "b", "other"},
        {B("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), "*", NULL, "h"},
        {B("GET /x HTTP/1.0\r\n\r\n"), "/x", NULL, NULL},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_http1 parser;
        size_t consumed;
        hg_http1_init(&parser, &limits);
        hg_http1_share(&parser, shared);
        assert_int_equal(hg_http1_feed(&parser, rows[i].input, &consumed), HG_HTTP1_REQUEST);
        assert_int_equal(consumed, rows[i].input.len);
        const struct hg_http1_request *request = &parser.request;
        assert_true(hg_bytes_eq(request->path, hg_bytes_str(rows[i].path)));
        assert_true(hg_bytes_eq(request->query, hg_bytes_str(rows[i].query)));
        assert_true((request->query.data == NULL) == (rows[i].query == NULL));
        assert_true(hg_bytes_eq(request->host, hg_bytes_str(rows[i].host)));
        hg_http1_next(&parser);
        hg_http1_finish(&parser);
    }
}

static void test_e13_methods_and_versions(void **state)
{
    (void)state;
#define LINE(line) B(line "\r\nHost: h\r\n\r\n")
    static const struct refusal rows[] = {
        {"GET", LINE("GET / HTTP/1.1"), 0},
        {"HEAD", LINE("HEAD / HTTP/1.1"), 0},
        {"POST", LINE("POST / HTTP/1.1"), 0},
        {"PUT", LINE("PUT / HTTP/1.1"), 0},
        {"DELETE", LINE("DELETE / HTTP/1.1"), 0},
        {"OPTIONS", LINE("OPTIONS / HTTP/1.1"), 0},
        {"PATCH", LINE("PATCH / HTTP/1.1"), 0},
        {"HTTP/1.0", LINE("GET / HTTP/1.0"), 0},
        {"lower case", LINE("get / HTTP/1.1"), 501},
        {"mixed case", LINE("Get / HTTP/1.1"), 501},
        {"unknown", LINE("BREW / HTTP/1.1"), 501},
        {"known to others", LINE("PROPFIND / HTTP/1.1"), 501},
        {"CONNECT", LINE("CONNECT h:443 HTTP/1.1"), 405},
        {"TRACE", LINE("TRACE / HTTP/1.1"), 405},
        {"no token", LINE("G(T / HTTP/1.1"), 400},
        {"no method", LINE("/ HTTP/1.1"), 400},
        {"HTTP/0.9", B("GET /\r\n"), 400},
        {"HTTP/0.9 named", LINE("GET / HTTP/0.9"), 400},
        {"HTTP/1.10", LINE("GET / HTTP/1.10"), 505},
        {"HTTP/1.2", LINE("GET / HTTP/1.2"), 505},
        {"HTTP/2.0", LINE("GET / HTTP/2.0"), 505},
        {"HTTP/11.1", LINE("GET / HTTP/11.1"), 505},
        {"HTTP/1", LINE("GET / HTTP/1"), 400},
        {"HTTP/1.", LINE("GET / HTTP/1."), 400},
        {"HTTP/.1", LINE("GET / HTTP/.1"), 400},
        {"HTTP/1.1.1", LINE("GET / HTTP/1.1.1"), 400},
        {"http/1.1", LINE("GET / http/1.1"), 400},
        {"HTTPS/1.1", LINE("GET / HTTPS/1.1"), 400},
        {"HTTP/1.1 and more", LINE("GET / HTTP/1.1x"), 400},
        {"the HTTP/2 preface", B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
        {"a TLS hello", B("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"), 400},
        {"one blank line", B("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 0},
        {"two blank lines", B("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
        {"a bare LF first", B("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400},
    };
    check_refusals(rows, HG_COUNT(rows));
    check_repeated("1 M blank lines", "", "\r\n", 1000000, "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                   400);
}

static void test_keep_alive_follows_version_and_connection(void **state)
{
    (void)state;
    static const struct {
        struct hg_bytes input;
        bool keep_alive;
    } rows[] = {
        {GET(""), true},
        {GET("Connection: close\r\n"), false},
        {GET("Connection: Close\r\n"), false},
        {GET("Connection: keep-alive\r\n"), true},
        {GET("Connection: keep-alive, close\r\n"), false},
        {GET("Connection: foo ,close,\r\n"), false},
        {GET("Connection: foo\r\nConnection: close\r\n"), false},
        {GET("Connection: closed\r\n"), true},
        {B("GET / HTTP/1.0\r\n\r\n"), false},
        {B("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), true},
        {B("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"), false},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_http1 parser;
        size_t consumed;
        hg_http1_init(&parser, &limits);
        assert_int_equal(hg_http1_feed(&parser, rows[i].input, &consumed), HG_HTTP1_REQUEST);
        if (parser.request.keep_alive != rows[i].keep_alive)
            fail_msg("row %zu", i);
        hg_http1_finish(&parser);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e4_content_lengths_that_are_no_number_are_refused),
        cmocka_unit_test(test_e6_malformed_lines_and_fields_are_refused),
        cmocka_unit_test(test_values_pass_high_bytes_unchanged_and_lose_blanks_around),
        cmocka_unit_test(test_e2_header_bombs_end_at_their_limits),
        cmocka_unit_test(test_e9_long_request_lines_end_at_their_limit),
        cmocka_unit_test(test_e8_hosts_that_name_no_host_are_refused),
        cmocka_unit_test(test_e9_forms_of_the_target),
        cmocka_unit_test(test_target_is_split_into_host_path_and_query),
        cmocka_unit_test(test_e13_methods_and_versions),
        cmocka_unit_test(test_keep_alive_follows_version_and_connection),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
