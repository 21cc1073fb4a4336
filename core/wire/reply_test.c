#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/reply.h"

static void test_status_lines(void **state)
{
    (void)state;
    assert_true(hg_bytes_eq(hg_status_line(200), HG_BYTES("HTTP/1.1 200 OK\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(404), HG_BYTES("HTTP/1.1 404 Not Found\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(431),
                            HG_BYTES("HTTP/1.1 431 Request Header Fields Too Large\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(299), HG_BYTES("HTTP/1.1 299 Success\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(499), HG_BYTES("HTTP/1.1 499 Client Error\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(599), HG_BYTES("HTTP/1.1 599 Server Error\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(100), HG_BYTES("HTTP/1.1 100 Continue\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(600), HG_BYTES("HTTP/1.1 500 Server Error\r\n")));
    assert_true(hg_bytes_eq(hg_status_line(-1), HG_BYTES("HTTP/1.1 500 Server Error\r\n")));
    for (int status = 100; status < 600; status++) {
        struct hg_bytes line = hg_status_line(status);
        unsigned long long number;
        assert_true(hg_bytes_to_u64(hg_bytes(line.data + 9, 3), &number));
        assert_int_equal(number, status);
        assert_true(line.len > 15 && line.data[line.len - 1] == '\n' &&
                    line.data[line.len - 2] == '\r');
        assert_memory_equal(line.data + 13, hg_status_text(status), line.len - 15);
    }
}

static struct hg_value *value_of(struct hg_bytes etag)
{
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("k"), .data = HG_BYTES("630"), .etag = etag};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static void test_etags_are_the_version_or_the_getters_own(void **state)
{
    static const struct {
        struct hg_bytes own;
        const char *expected; /* NULL: from the version */
    } rows[] = {
        {HG_BYTES("v1"), "\"v1\""},
        {HG_BYTES("\"v1\""), "\"v1\""},
        {HG_BYTES("W/\"v1\""), "W/\"v1\""},
        {HG_BYTES("W/v1"), "\"W/v1\""},
        {HG_BYTES("\"\""), "\"\""},
        {HG_BYTES(""), NULL},
        {HG_BYTES("a\"b"), NULL},
        {HG_BYTES("\"a"), NULL},
        {HG_BYTES("a\r\nX: y"), NULL},
        {HG_BYTES("a b"), NULL},
        {HG_BYTES("a\0b"), NULL},
        {HG_BYTES("\""), NULL},
        {HG_BYTES("\xc3\xa4"), "\"\xc3\xa4\""},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[HG_ETAG_SPACE], version[32];
        struct hg_value *value = value_of(rows[i].own);
        snprintf(version, sizeof(version), "\"%016llx\"",
                 (unsigned long long)hg_value_version(value));
        const char *expected = rows[i].expected == NULL ? version : rows[i].expected;
        size_t len = hg_etag_format(value, out);
        if (!hg_bytes_eq(hg_bytes(out, len), hg_bytes_str(expected)))
            fail_msg("row %zu: %.*s", i, (int)len, out);
        assert_true(hg_etag_matches(hg_bytes(out, len), hg_bytes(out, len)));
        hg_value_unref(value);
    }
    char longest[HG_TYPE_MAX], out[HG_ETAG_SPACE];
    memset(longest, 'x', sizeof(longest));
    struct hg_value *value = value_of(hg_bytes(longest, sizeof(longest)));
    assert_int_equal(hg_etag_format(value, out), HG_TYPE_MAX + 2);
    hg_value_unref(value);
    /* Big enough for its version to stand in it: a small one, to see its zeros. */
    char big[HG_VERSION_INLINE + 1] = "";
    uint64_t small_version = 0xab;
    struct hg_value_spec spec = {.key = HG_BYTES("k"), .data = hg_bytes(big, sizeof(big))};
    value = hg_value_create(&spec);
    memcpy(value->bytes, &small_version, sizeof(small_version));
    assert_int_equal(hg_etag_format(value, out), 18);
    assert_memory_equal(out, "\"00000000000000ab\"", 18);
    hg_value_unref(value);
}

static void test_if_none_match_compares_weakly(void **state)
{
    static const struct {
        const char *field;
        bool matches;
    } rows[] = {
        {"\"a\"", true},
        {"W/\"a\"", true},
        {"*", true},
        {" * ", true},
        {"\"b\", \"a\"", true},
        {"\"b\",W/\"a\"", true},
        {"\"b\" ,\t\"a\" ,", true},
        {"\"x,\",\"a\"", true},
        {",,\"a\"", true},
        {"", false},
        {"\"b\"", false},
        {"a", false},
        {"\"A\"", false},
        {"\"a", false},
        {"\"aa\"", false},
        {"\"b,\"a\"", false},
        {"W/", false},
        {"W/*", false},
        {"w/\"a\"", false},
        {"\"", false},
        {"**", false},
        {"\"b\" x \"a\"", false},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        if (hg_etag_matches(hg_bytes_str(rows[i].field), HG_BYTES("\"a\"")) != rows[i].matches)
            fail_msg("%s", rows[i].field);
        if (hg_etag_matches(hg_bytes_str(rows[i].field), HG_BYTES("W/\"a\"")) != rows[i].matches)
            fail_msg("weak: %s", rows[i].field);
    }
    assert_false(hg_etag_matches(HG_BYTES_NONE, HG_BYTES("\"a\"")));
}

static void test_cache_status(void **state)
{
    static const struct {
        const char *name;
        enum hg_cache_status how;
        bool has_ttl;
        int64_t ttl_ms;
        const char *expected;
    } rows[] = {
        {"hgcache", HG_CS_HIT, true, 5999, "hgcache; hit; ttl=5"},
        {"n1", HG_CS_HIT, true, 0, "n1; hit; ttl=0"},
        {"n1", HG_CS_HIT, false, 0, "n1; hit"},
        {"n1", HG_CS_STALE, true, -1, "n1; hit; ttl=-1"},
        {"n1", HG_CS_STALE, true, -1000, "n1; hit; ttl=-1"},
        {"n1", HG_CS_STALE, true, -1001, "n1; hit; ttl=-2"},
        {"n1", HG_CS_STALE, true, INT64_MIN, "n1; hit; ttl=-9223372036854776"},
        {"n1", HG_CS_HIT, true, INT64_MAX, "n1; hit; ttl=9223372036854775"},
        {"n1", HG_CS_MISS, true, 5000, "n1; fwd=miss"},
        {"n1", HG_CS_COLLAPSED, true, 5000, "n1; fwd=miss; collapsed"},
        {"a.b-c:8/d", HG_CS_MISS, false, 0, "a.b-c:8/d; fwd=miss"},
        {"*", HG_CS_MISS, false, 0, "*; fwd=miss"},
        {"1n", HG_CS_MISS, false, 0, "\"1n\"; fwd=miss"},
        {"my node", HG_CS_MISS, false, 0, "\"my node\"; fwd=miss"},
        {"a\"b\\c", HG_CS_MISS, false, 0, "\"a\\\"b\\\\c\"; fwd=miss"},
        {"a\r\nb\xff", HG_CS_MISS, false, 0, "\"a__b_\"; fwd=miss"},
        {"", HG_CS_MISS, false, 0, "\"\"; fwd=miss"},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[256];
        size_t len = hg_cache_status_format(hg_bytes_str(rows[i].name), rows[i].how,
                                            rows[i].has_ttl, rows[i].ttl_ms, out);
        if (!hg_bytes_eq(hg_bytes(out, len), hg_bytes_str(rows[i].expected)))
            fail_msg("row %zu: %.*s", i, (int)len, out);
    }
    char quotes[200], out[200 + 160];
    memset(quotes, '"', sizeof(quotes));
    assert_true(hg_cache_status_format(hg_bytes(quotes, sizeof(quotes)), HG_CS_STALE, true,
                                       INT64_MIN, out) <= sizeof(out));
}

static void test_e16_fields_that_would_split_an_answer_are_refused(void **state)
{
    static const struct {
        struct hg_bytes name, value;
        int err;
    } rows[] = {
        {HG_BYTES("X-A"), HG_BYTES("b"), HG_OK},
        {HG_BYTES("X-A"), HG_BYTES(""), HG_OK},
        {HG_BYTES("X-A"), HG_BYTES("b\tc \xc3\xa4"), HG_OK},
        {HG_BYTES("X-A"), HG_BYTES("b\r\nSet-Cookie: x"), HG_EINVAL},
        {HG_BYTES("X-A"), HG_BYTES("b\nc"), HG_EINVAL},
        {HG_BYTES("X-A"), HG_BYTES("b\rc"), HG_EINVAL},
        {HG_BYTES("X-A"), HG_BYTES("b\0c"), HG_EINVAL},
        {HG_BYTES("X-A"), HG_BYTES("\x7f"), HG_EINVAL},
        {HG_BYTES("X-A"), HG_BYTES("\x01"), HG_EINVAL},
        {HG_BYTES(""), HG_BYTES("b"), HG_EINVAL},
        {HG_BYTES("X A"), HG_BYTES("b"), HG_EINVAL},
        {HG_BYTES("X-A:"), HG_BYTES("b"), HG_EINVAL},
        {HG_BYTES("X\r\nA"), HG_BYTES("b"), HG_EINVAL},
        {HG_BYTES("X\0"), HG_BYTES("b"), HG_EINVAL},
        {HG_BYTES("\xc3\xa4"), HG_BYTES("b"), HG_EINVAL},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_buf buf;
        hg_buf_init(&buf, 100);
        assert_int_equal(hg_buf_append_str(&buf, "#"), HG_OK);
        if (hg_field_append(&buf, rows[i].name, rows[i].value) != rows[i].err)
            fail_msg("row %zu", i);
        assert_int_equal(buf.len,
                         rows[i].err == HG_OK ? 1 + rows[i].name.len + rows[i].value.len + 4 : 1);
        hg_buf_finish(&buf);
    }
    struct hg_buf buf;
    hg_buf_init(&buf, 8);
    assert_int_equal(hg_field_append(&buf, HG_BYTES("A"), HG_BYTES("bcd")), HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("A: bcd\r\n")));
    assert_int_equal(hg_field_append(&buf, HG_BYTES("A"), HG_BYTES("b")), HG_ETOOBIG);
    assert_int_equal(buf.len, 8);
    hg_buf_finish(&buf);
    hg_buf_init(&buf, 80);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_field_append(&buf, HG_BYTES("A"), HG_BYTES("b")), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(buf.len, 0);
    hg_buf_finish(&buf);
}

static void test_dates_are_fixed_in_form(void **state)
{
    static const struct {
        int64_t unix_s;
        const char *expected;
    } rows[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"}, {4102444799, "Thu, 31 Dec 2099 23:59:59 GMT"},
        {-5, "Thu, 01 Jan 1970 00:00:00 GMT"},        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[30];
        hg_http_date(rows[i].unix_s, out);
        assert_string_equal(out, rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_lines),
        cmocka_unit_test(test_etags_are_the_version_or_the_getters_own),
        cmocka_unit_test(test_if_none_match_compares_weakly),
        cmocka_unit_test(test_cache_status),
        cmocka_unit_test(test_e16_fields_that_would_split_an_answer_are_refused),
        cmocka_unit_test(test_dates_are_fixed_in_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
