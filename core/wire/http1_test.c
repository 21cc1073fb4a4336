#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/http1.h"
#include "wire/http1_feed.h"

static void test_e15_pipelined_requests_come_one_by_one_however_they_are_cut(void **state)
{
    static struct http1_story story;
    (void)state;
    struct hg_bytes input =
        B("GET /1 HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"a\"\r\nOrigin: https://x\r\n\r\n"
          "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
          "\r\nPUT /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n"
          "DELETE /4?q HTTP/1.0\r\nAuthorization: Bearer t\r\nHgcache-Request: Zm9v\r\n\r\n");
    tell_all_ways(input, &story);
    assert_int_equal(story.requests, 4);
    assert_int_equal(story.status, 0);

    for (size_t cut = 0; cut < input.len; cut++) { /* and two cuts at every third pair of places */
        for (size_t other = cut; other < input.len; other += 3) {
            static struct http1_story twice;
            tell(input, (size_t[]){cut, other}, 2, true, &twice);
            assert_same_story(&story, &twice, "in three pieces");
        }
    }
}

static void test_a_whole_request_is_parsed_in_place_without_allocation(void **state)
{
    (void)state;
    struct hg_bytes input = B("GET /api?key=Tom HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n"
                              "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET");
    struct hg_http1 parser;
    size_t first, second, third, live = hg_alloc_live_count();
    hg_http1_init(&parser, &limits);
    hg_http1_share(&parser, shared);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_http1_feed(&parser, input, &first), HG_HTTP1_REQUEST);
    assert_ptr_equal(parser.request.target.data, input.data + 4);
    assert_ptr_equal(parser.request.fields[1].value.data, input.data + 44);
    assert_false(parser.has_partial);
    hg_http1_next(&parser);
    struct hg_bytes rest = hg_bytes(input.data + first, input.len - first);
    assert_int_equal(hg_http1_feed(&parser, rest, &second), HG_HTTP1_REQUEST);
    assert_ptr_equal(parser.request.body.data, input.data + input.len - 6);
    assert_false(hg_alloc_fail_clear());
    hg_http1_next(&parser);
    assert_int_equal(first + second + 3, input.len);
    assert_int_equal(hg_alloc_live_count(), live);

    assert_int_equal(hg_http1_feed(&parser, HG_BYTES("GET"), &third), HG_HTTP1_MORE);
    assert_true(parser.has_partial);
    assert_true(hg_alloc_live_count() > live);
    hg_http1_finish(&parser);
    assert_int_equal(hg_alloc_live_count(), live);
}

static void test_an_idle_parser_holds_no_memory(void **state)
{
    (void)state;
    struct hg_http1 parser;
    size_t consumed, live = hg_alloc_live_count();
    hg_http1_init(&parser, &limits);
    const char *pieces[] = {"PO", "ST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n", "a",
                            "bcd"};
    for (size_t i = 0; i < HG_COUNT(pieces); i++) {
        enum hg_http1_event event = hg_http1_feed(&parser, hg_bytes_str(pieces[i]), &consumed);
        assert_int_equal(event, i == 3 ? HG_HTTP1_REQUEST : HG_HTTP1_MORE);
        assert_int_equal(parser.has_partial, i < 3);
        assert_int_equal(parser.in_body, i == 1 || i == 2);
    }
    assert_true(hg_bytes_eq(parser.request.body, HG_BYTES("abcd")));
    hg_http1_next(&parser);
    assert_int_equal(hg_alloc_live_count(), live);
    assert_int_equal(hg_http1_feed(&parser, HG_BYTES("\r\n"), &consumed), HG_HTTP1_MORE);
    assert_false(parser.has_partial);
    assert_int_equal(hg_alloc_live_count(), live);
    hg_http1_finish(&parser);
}

static void test_continue_is_asked_for_once_and_only_without_body_bytes(void **state)
{
    (void)state;
    struct hg_http1 parser;
    size_t consumed;
    struct hg_bytes head =
        B("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    hg_http1_init(&parser, &limits);
    assert_int_equal(hg_http1_feed(&parser, head, &consumed), HG_HTTP1_CONTINUE);
    assert_int_equal(hg_http1_feed(&parser, HG_BYTES("ab"), &consumed), HG_HTTP1_MORE);
    assert_int_equal(hg_http1_feed(&parser, HG_BYTES("cdX"), &consumed), HG_HTTP1_REQUEST);
    assert_int_equal(consumed, 2);
    hg_http1_next(&parser);
    struct hg_bytes both =
        B("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\na");
    assert_int_equal(hg_http1_feed(&parser, both, &consumed), HG_HTTP1_MORE);
    hg_http1_finish(&parser);

    hg_http1_init(&parser, &limits);
    struct hg_bytes none =
        B("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(hg_http1_feed(&parser, none, &consumed), HG_HTTP1_REQUEST);
    hg_http1_finish(&parser);
}

static void test_e17_parsers_of_one_scratch_keep_their_own_bodies(void **state)
{
    (void)state;
    struct hg_http1 one, two;
    size_t consumed;
    hg_http1_init(&one, &limits);
    hg_http1_init(&two, &limits);
    hg_http1_share(&one, shared);
    hg_http1_share(&two, shared);
    assert_int_equal(
        hg_http1_feed(
            &one, HG_BYTES("PUT /one HTTP/1.1\r\nHost: one\r\nA: 1\r\nContent-Length: 4\r\n\r\n"),
            &consumed),
        HG_HTTP1_MORE);
    assert_int_equal(
        hg_http1_feed(&two,
                      HG_BYTES("PUT /two HTTP/1.1\r\nHost: two\r\nContent-Length: 4\r\n\r\nTWO"),
                      &consumed),
        HG_HTTP1_MORE);
    assert_int_equal(hg_http1_feed(&one, HG_BYTES("One!"), &consumed), HG_HTTP1_REQUEST);
    struct hg_http1_request *copy = hg_http1_request_copy(&one.request);
    assert_non_null(copy);
    hg_http1_next(&one);
    assert_int_equal(hg_http1_feed(&two, HG_BYTES("!"), &consumed), HG_HTTP1_REQUEST);
    assert_true(hg_bytes_eq(two.request.body, HG_BYTES("TWO!")));
    assert_true(hg_bytes_eq(two.request.host, HG_BYTES("two")));
    assert_int_equal(two.request.field_count, 2);
    assert_true(hg_bytes_eq(copy->body, HG_BYTES("One!")));
    assert_true(hg_bytes_eq(copy->path, HG_BYTES("/one")));
    assert_true(hg_bytes_eq(hg_http1_field(copy, "a"), HG_BYTES("1")));
    assert_true(hg_bytes_eq(hg_http1_field(copy, "HOST"), HG_BYTES("one")));
    assert_null(hg_http1_field(copy, "b").data);
    hg_free(copy);
    hg_http1_finish(&one);
    hg_http1_finish(&two);
}

static void test_an_error_is_final(void **state)
{
    (void)state;
    struct hg_http1 parser;
    size_t consumed;
    hg_http1_init(&parser, &limits);
    assert_int_equal(hg_http1_feed(&parser, HG_BYTES("GET /\r\n"), &consumed), HG_HTTP1_ERROR);
    assert_int_equal(
        hg_http1_feed(&parser, HG_BYTES("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), &consumed),
        HG_HTTP1_ERROR);
    assert_int_equal(parser.error_status, 400);
    hg_http1_finish(&parser);
    hg_http1_finish(&(struct hg_http1){0});
    hg_http1_finish(NULL);
}

static void test_methods_have_names(void **state)
{
    (void)state;
    for (enum hg_method method = HG_GET; method < HG_METHOD_COUNT; method++)
        assert_int_equal(hg_method_from_name(hg_bytes_str(hg_method_name(method))), method);
    assert_int_equal(hg_method_from_name(HG_BYTES("get")), HG_METHOD_COUNT);
    assert_int_equal(hg_method_from_name(HG_BYTES("")), HG_METHOD_COUNT);
}

static void test_allocation_failures_are_answered_with_503(void **state)
{
    (void)state;
    const char *pieces[] = {"PUT / HTTP/1.1\r\n", "Host: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                            "3\r\nabc\r\n0\r", "\n\r\n"};
    size_t live = hg_alloc_live_bytes();
    bool was_refused = true;
    for (size_t nth = 0; was_refused; nth++) {
        assert_true(nth < 100);
        struct hg_http1 parser;
        struct hg_http1_request *copy = NULL;
        enum hg_http1_event event = HG_HTTP1_MORE;
        size_t consumed;
        hg_http1_init(&parser, &limits);
        hg_alloc_fail_at(nth, false);
        for (size_t i = 0; i < HG_COUNT(pieces) && event == HG_HTTP1_MORE; i++)
            event = hg_http1_feed(&parser, hg_bytes_str(pieces[i]), &consumed);
        if (event == HG_HTTP1_REQUEST)
            copy = hg_http1_request_copy(&parser.request);
        was_refused = hg_alloc_fail_clear();
        if (event == HG_HTTP1_ERROR)
            assert_int_equal(parser.error_status, 503);
        else
            assert_int_equal(event, HG_HTTP1_REQUEST);
        assert_true(was_refused == (copy == NULL));
        hg_free(copy);
        hg_http1_finish(&parser);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* One to three random changes: a byte, a pair cut out, a piece doubled, a piece of meaning put in.
 */
static size_t mutate(char *data, size_t len, size_t capacity)
{
    static const char *const pieces[] = {
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        ",",
        ";",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "\r\n\r\n",
        "Host: h\r\n",
        "HTTP/1.0",
        "ffff",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\xff",
    };
    for (size_t changes = 1 + random_next() % 3; changes > 0; changes--) {
        size_t at = len == 0 ? 0 : random_next() % len;
        size_t size = 1 + random_next() % 8;
        switch (random_next() % 4) {
        case 0:
            if (len > 0)
                data[at] = (char)random_next();
            break;
        case 1:
            if (at + size <= len) {
                memmove(data + at, data + at + size, len - at - size);
                len -= size;
            }
            break;
        case 2:
            if (at + size <= len && len + size <= capacity) {
                memmove(data + at + size, data + at, len - at);
                len += size;
            }
            break;
        default: {
            const char *piece = pieces[random_next() % HG_COUNT(pieces)];
            size = strlen(piece) + (*piece == '\0');
            if (len + size <= capacity) {
                memmove(data + at + size, data + at, len - at);
                memcpy(data + at, piece, size);
                len += size;
            }
        }
        }
    }
    return len;
}

static int compare_sizes(const void *a, const void *b)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    return left < right ? -1 : left > right;
}

static void test_mutated_streams_have_one_outcome_however_they_are_cut(void **state)
{
    static const char *const streams[] = {
        "GET /api?key=Tom HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nIf-None-Match: \"a\"\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: "
        "h\r\n\r\n",
        "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
        "chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nExpect: x\r\nOrigin: a\r\nOrigin: "
        "b\r\n\r\n",
        "\r\nGET http://h/a?b HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    };
    static struct http1_story whole, parts;
    static unsigned accepted, refused;
    (void)state;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        char data[1024];
        size_t cuts[8], cut_count = 1 + seed % HG_COUNT(cuts);
        random_state = seed * 0x9e3779b97f4a7c15u | 1;
        const char *stream = streams[seed % HG_COUNT(streams)];
        size_t len = strlen(stream);
        memcpy(data, stream, len);
        len = mutate(data, len, sizeof(data));
        for (size_t i = 0; i < cut_count; i++)
            cuts[i] = len == 0 ? 0 : random_next() % (len + 1);
        qsort(cuts, cut_count, sizeof(cuts[0]), compare_sizes);

        limits.line = seed % 13 == 0 ? 24 : 8 << 10; /* small limits meet in the same places */
        limits.head = seed % 11 == 0 ? 64 : 16 << 10;
        limits.body = seed % 5 == 0 ? 4 : 8 << 20;
        limits.fields = seed % 7 == 0 ? 2 : 100;
        limits.chunk_extension = seed % 2 == 0 ? 3 : 1 << 10;
        tell(hg_bytes(data, len), NULL, 0, true, &whole);
        tell(hg_bytes(data, len), cuts, cut_count, seed % 2 == 0, &parts);
        if (whole.len != parts.len || memcmp(whole.text, parts.text, whole.len) != 0)
            print_message("seed %llu\n", (unsigned long long)seed);
        assert_same_story(&whole, &parts, "in pieces");
        accepted += whole.requests > 0;
        refused += whole.status > 0;
    }
    hg_http1_limits_default(&limits);
    print_message("%u streams with a request, %u refused\n", accepted, refused);
    assert_true(accepted > 2000); /* else the mutations are too wild to test anything */
    assert_true(refused > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e15_pipelined_requests_come_one_by_one_however_they_are_cut),
        cmocka_unit_test(test_a_whole_request_is_parsed_in_place_without_allocation),
        cmocka_unit_test(test_an_idle_parser_holds_no_memory),
        cmocka_unit_test(test_continue_is_asked_for_once_and_only_without_body_bytes),
        cmocka_unit_test(test_e17_parsers_of_one_scratch_keep_their_own_bodies),
        cmocka_unit_test(test_an_error_is_final),
        cmocka_unit_test(test_methods_have_names),
        cmocka_unit_test(test_allocation_failures_are_answered_with_503),
        cmocka_unit_test(test_mutated_streams_have_one_outcome_however_they_are_cut),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
