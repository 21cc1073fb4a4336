#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/reply.h"

#define BAD "\xef\xbf\xbd"

static void test_strings_are_escaped_and_made_valid(void **state)
{
    static const struct {
        struct hg_bytes text;
        const char *expected;
    } rows[] = {
        {HG_BYTES("630"), "\"630\""},
        {HG_BYTES(""), "\"\""},
        {HG_BYTES("a\"b\\c/"), "\"a\\\"b\\\\c/\""},
        {HG_BYTES("\b\t\n\f\r"), "\"\\b\\t\\n\\f\\r\""},
        {HG_BYTES("\0\x1f\x7f"), "\"\\u0000\\u001f\x7f\""},
        {HG_BYTES("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
         "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {HG_BYTES("a\xff"
                  "b"),
         "\"a" BAD "b\""},
        {HG_BYTES("\xc0\xaf"), "\"" BAD BAD "\""},
        {HG_BYTES("\xed\xa0\x80"), "\"" BAD BAD BAD "\""},
        {HG_BYTES("\xc3"), "\"" BAD "\""},
        {HG_BYTES("\xe2\x82"), "\"" BAD BAD "\""},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_buf buf;
        hg_buf_init(&buf, 200);
        assert_int_equal(hg_json_string(&buf, rows[i].text), HG_OK);
        if (!hg_bytes_eq(hg_buf_bytes(&buf), hg_bytes_str(rows[i].expected)))
            fail_msg("row %zu: %.*s", i, (int)buf.len, buf.data);
        hg_buf_finish(&buf);
    }
}

static void check_error(int status, const char *expected)
{
    struct hg_buf buf;
    hg_buf_init(&buf, 200);
    assert_int_equal(hg_envelope_error(&buf, status), HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), hg_bytes_str(expected)));
    hg_buf_finish(&buf);
}

static void test_envelopes_are_those_of_hgcache_v2(void **state)
{
    (void)state;
    struct hg_buf buf;
    hg_buf_init(&buf, 200);
    assert_int_equal(hg_envelope_data(&buf, HG_BYTES("630")), HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("{\"data\":\"630\"}")));
    hg_buf_finish(&buf);
    check_error(404, "{\"code\":100004,\"message\":\"Page not found\"}");
    check_error(400, "{\"code\":100003,\"message\":\"Validation failed\"}");
    check_error(502, "{\"code\":100002,\"message\":\"Internal server error\"}");
    check_error(503, "{\"code\":100002,\"message\":\"Internal server error\"}");
    check_error(504, "{\"code\":100002,\"message\":\"Internal server error\"}");
}

static void test_a_failed_envelope_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct hg_bytes data = HG_BYTES("a\nb\xff"
                                    "ccccccccccccccccccccccccccccccccccccccccc");
    for (size_t max = 1; max < 80; max++) {
        struct hg_buf buf;
        hg_buf_init(&buf, max);
        assert_int_equal(hg_buf_append_str(&buf, "#"), HG_OK);
        int err = hg_envelope_data(&buf, data);
        assert_true(err == HG_OK || (err == HG_ETOOBIG && buf.len == 1));
        hg_buf_finish(&buf);
    }
    static char big[5000];
    size_t live = hg_alloc_live_bytes();
    int err = HG_ENOMEM;
    for (size_t nth = 0; err != HG_OK; nth++) {
        struct hg_buf buf;
        hg_buf_init(&buf, 1 << 20);
        assert_true(nth < 50);
        hg_alloc_fail_at(nth, false);
        err = hg_envelope_data(&buf, hg_bytes(big, sizeof(big)));
        assert_int_equal(err, hg_alloc_fail_clear() ? HG_ENOMEM : HG_OK);
        assert_int_equal(buf.len, err == HG_OK ? 6 * sizeof(big) + 11 : 0);
        hg_buf_finish(&buf);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

static void test_bytes_that_are_no_text_are_base64(void **state)
{
    struct hg_buf buf;
    (void)state;
    hg_buf_init(&buf, 200);
    assert_int_equal(hg_json_bytes(&buf, "key", HG_BYTES("T\"m\0")), HG_OK);
    assert_int_equal(hg_buf_append_char(&buf, ','), HG_OK);
    assert_int_equal(hg_json_bytes(&buf, "key", HG_BYTES("\xff\x01")), HG_OK);
    assert_int_equal(hg_json_bytes(&buf, "key", HG_BYTES_NONE), HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("\"key\":\"T\\\"m\\u0000\",\"key64\":"
                                                         "\"/wE=\"\"key\":\"\"")));
    size_t before = buf.len;
    static char big[200];
    memset(big, 0xff, sizeof(big));
    assert_int_equal(hg_json_bytes(&buf, "key", hg_bytes(big, sizeof(big))), HG_ETOOBIG);
    assert_int_equal(buf.len, before);
    hg_buf_finish(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings_are_escaped_and_made_valid),
        cmocka_unit_test(test_envelopes_are_those_of_hgcache_v2),
        cmocka_unit_test(test_a_failed_envelope_leaves_the_buffer_as_it_was),
        cmocka_unit_test(test_bytes_that_are_no_text_are_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
