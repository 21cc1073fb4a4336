#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/http1.h"
#include "wire/http1_feed.h"

static void test_e5_transfer_codings_other_than_chunked_are_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"plain", CHUNKED("3\r\nabc\r\n0\r\n\r\n"), 0},
        {"upper case", POST("Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"), 0},
        {"CL + TE", POST("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
        {"TE + CL", POST("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), 400},
        {"TE twice",
         POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
        {"TE twice, identity",
         POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"), 400},
        {"xchunked", POST("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400},
        {"chunkedx", POST("Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"), 400},
        {"chunked, identity", POST("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400},
        {"identity, chunked", POST("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"), 400},
        {"gzip, chunked", POST("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400},
        {"identity", POST("Transfer-Encoding: identity\r\n\r\n"), 400},
        {",chunked", POST("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"), 400},
        {"chunked,", POST("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"), 400},
        {"chunked;q=1", POST("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), 400},
        {"\"chunked\"", POST("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 400},
        {"vertical tab",
         POST("Transfer-Encoding: \x0b"
              "chunked\r\n\r\n0\r\n\r\n"),
         400},
        {"empty", POST("Transfer-Encoding:\r\n\r\n"), 400},
        {"space before colon", POST("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400},
        {"HTTP/1.0",
         B("POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
        {"GET", GET("Transfer-Encoding: chunked\r\n"), 400},
        {"HEAD", B("HEAD /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
         400},
        {"folded", POST("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), 400},
    };
    check_refusals(rows, HG_COUNT(rows));
}

static void test_e7_chunk_tricks_are_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"two chunks", CHUNKED("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 0},
        {"upper and lower hex", CHUNKED("0A\r\n0123456789\r\n0\r\n\r\n"), 0},
        {"extension", CHUNKED("3;a=b\r\nabc\r\n0\r\n\r\n"), 0},
        {"trailer", CHUNKED("0\r\nX-A: b\r\n\r\n"), 0},
        {"0x1", CHUNKED("0x1\r\na\r\n0\r\n\r\n"), 400},
        {"+1", CHUNKED("+1\r\na\r\n0\r\n\r\n"), 400},
        {"-1", CHUNKED("-1\r\na\r\n0\r\n\r\n"), 400},
        {"space before", CHUNKED(" 1\r\na\r\n0\r\n\r\n"), 400},
        {"space behind", CHUNKED("1 \r\na\r\n0\r\n\r\n"), 400},
        {"1 ;a", CHUNKED("1 ;a\r\na\r\n0\r\n\r\n"), 400},
        {"1;", CHUNKED("1;\r\na\r\n0\r\n\r\n"), 400},
        {"2^64+1", CHUNKED("10000000000000001\r\na\r\n0\r\n\r\n"), 400},
        {"2^64-1", CHUNKED("ffffffffffffffff\r\na\r\n0\r\n\r\n"), 413},
        {"one over the limit", CHUNKED("800001\r\n"), 413},
        {"over the limit together", CHUNKED("1\r\na\r\n800000\r\n"), 413},
        {"empty size", CHUNKED("\r\n"), 400},
        {"letter", CHUNKED("g\r\n"), 400},
        {"bare LF behind the size", CHUNKED("1\na\r\n0\r\n\r\n"), 400},
        {"bare CR behind the size", CHUNKED("1\ra\r\n0\r\n\r\n"), 400},
        {"bare LF behind the data", CHUNKED("1\r\na\n0\r\n\r\n"), 400},
        {"missing CRLF behind the data", CHUNKED("1\r\na0\r\n\r\n"), 400},
        {"longer than it says", CHUNKED("1\r\nab\r\n0\r\n\r\n"), 400},
        {"bare LF in an extension", CHUNKED("1;a\na\r\n0\r\n\r\n"), 400},
        {"bare CR in an extension", CHUNKED("1;a\rb\r\na\r\n0\r\n\r\n"), 400},
        {"NUL in an extension", CHUNKED("1;a\0\r\na\r\n0\r\n\r\n"), 400},
        {"bare LF at the end", CHUNKED("0\r\n\n"), 400},
        {"bare CR at the end", CHUNKED("0\r\n\r\r\n"), 400},
        {"bare LF in a trailer", CHUNKED("0\r\nX-A: b\n\r\n"), 400},
        {"NUL in a trailer", CHUNKED("0\r\nX-A: \0\r\n\r\n"), 400},
        {"folded trailer", CHUNKED("0\r\nX-A: b\r\n c\r\n\r\n"), 400},
        {"trailer without a name", CHUNKED("0\r\n: b\r\n\r\n"), 400},
        {"trailer with a space", CHUNKED("0\r\nX-A : b\r\n\r\n"), 400},
        {"Content-Length as trailer", CHUNKED("0\r\nContent-Length: 3\r\n\r\n"), 400},
        {"Transfer-Encoding as trailer", CHUNKED("0\r\ntransfer-encoding: chunked\r\n\r\n"), 400},
        {"Host as trailer", CHUNKED("0\r\nHOST: evil\r\n\r\n"), 400},
        {"much like Host",
         CHUNKED("0\r\nHosts: fine\r\nX-Content-Length-And-More-Than-20: 1\r\n\r\n"), 0},
    };
    check_refusals(rows, HG_COUNT(rows));
}

static void test_e7_chunk_extensions_and_trailers_are_bounded(void **state)
{
    (void)state;
    check_repeated("extension of exactly the limit", HEAD_POST "1;", "a", limits.chunk_extension,
                   "\r\na\r\n0\r\n\r\n", 0);
    check_repeated("extension of one more", HEAD_POST "1;", "a", limits.chunk_extension + 1,
                   "\r\na\r\n0\r\n\r\n", 400);
    check_repeated("extension of 1 MiB", HEAD_POST "1;", "a", 1 << 20, "\r\na\r\n0\r\n\r\n", 400);
    check_repeated("many small extensions", HEAD_POST, "1;a\r\na\r\n", limits.chunk_extension + 1,
                   "0\r\n\r\n", 400);
    check_repeated("trailer of 100 KiB", HEAD_POST "0\r\nX: ", "a", 100 << 10, "\r\n\r\n", 431);
    check_repeated("too many trailers", HEAD_POST "0\r\n", "a:\r\n", limits.fields + 1, "\r\n",
                   431);
    check_repeated("as many trailers as allowed", HEAD_POST "0\r\n", "a:\r\n", limits.fields,
                   "\r\n", 0);
    check_repeated("endless zeros", HEAD_POST, "0", 1000, "\r\n\r\n", 400);
}

static void test_e12_bodies_are_never_parsed_as_requests(void **state)
{
    static struct http1_story story;
    (void)state;
#define INNER "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
    static const struct {
        struct hg_bytes input;
        unsigned requests;
        int status;
    } rows[] = {
        {B("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n" INNER), 1, 0},
        {B("HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n" INNER), 1, 0},
        {B("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n" INNER
           "\r\n0\r\n\r\n"),
         1, 0},
        {B("POST / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
           "HTTP2-Settings: AAMAAABk\r\nContent-Length: 31\r\n\r\n" INNER
           "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
         2, 0},
        {B("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" INNER),
         2, 0},
        {B("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 31\r\n\r\n" INNER
               INNER),
         2, 0},
        {B("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc"), 1,
         0},
        {B("POST / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 3\r\n\r\nabc"), 0, 417},
        {B("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nExpect: "
           "100-continue\r\nContent-Length: 3\r\n\r\nabc"),
         0, 417},
        {B("POST / HTTP/1.0\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 3\r\n\r\nabc"), 1, 0},
        {B("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n" INNER), 0, 405},
        {B("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n" INNER), 0, 405},
        {B("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc" INNER),
         2, 0},
    };
    assert_int_equal(sizeof(INNER) - 1, 31);
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        tell_all_ways(rows[i].input, &story);
        if (story.requests != rows[i].requests || story.status != rows[i].status)
            fail_msg("row %zu: %.*s", i, (int)story.len, story.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e5_transfer_codings_other_than_chunked_are_refused),
        cmocka_unit_test(test_e7_chunk_tricks_are_refused),
        cmocka_unit_test(test_e7_chunk_extensions_and_trailers_are_bounded),
        cmocka_unit_test(test_e12_bodies_are_never_parsed_as_requests),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
