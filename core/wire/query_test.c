#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/query.h"

static void test_escapes_are_decoded_once(void **state)
{
    static const struct {
        struct hg_bytes text;
        bool plus_is_space;
        int err;
        struct hg_bytes plain;
    } rows[] = {
        {HG_BYTES("Tom"), true, HG_OK, HG_BYTES("Tom")},
        {HG_BYTES(""), true, HG_OK, HG_BYTES("")},
        {HG_BYTES("a%2Fb"), true, HG_OK, HG_BYTES("a/b")},
        {HG_BYTES("a%2fb"), true, HG_OK, HG_BYTES("a/b")},
        {HG_BYTES("%252e"), true, HG_OK, HG_BYTES("%2e")},
        {HG_BYTES("%2e%2e%2f"), true, HG_OK, HG_BYTES("../")},
        {HG_BYTES("%00"), true, HG_OK, HG_BYTES("\0")},
        {HG_BYTES("%c0%ae"), true, HG_OK, HG_BYTES("\xc0\xae")},
        {HG_BYTES("%FF"), true, HG_OK, HG_BYTES("\xff")},
        {HG_BYTES("a+b"), true, HG_OK, HG_BYTES("a b")},
        {HG_BYTES("a+b"), false, HG_OK, HG_BYTES("a+b")},
        {HG_BYTES("a%2Bb"), true, HG_OK, HG_BYTES("a+b")},
        {HG_BYTES("a;b"), true, HG_OK, HG_BYTES("a;b")},
        {HG_BYTES("%"), true, HG_EPROTO, {0}},
        {HG_BYTES("%2"), true, HG_EPROTO, {0}},
        {HG_BYTES("a%"), true, HG_EPROTO, {0}},
        {HG_BYTES("%zz"), true, HG_EPROTO, {0}},
        {HG_BYTES("%2g"), true, HG_EPROTO, {0}},
        {HG_BYTES("%+1"), true, HG_EPROTO, {0}},
        {HG_BYTES("%%41"), true, HG_EPROTO, {0}},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[32];
        size_t len = 99;
        int err = hg_percent_decode(rows[i].text, rows[i].plus_is_space, out, &len);
        if (err != rows[i].err)
            fail_msg("row %zu: %d", i, err);
        assert_int_equal(hg_percent_is_valid(rows[i].text), err == HG_OK);
        if (err < 0) {
            assert_int_equal(len, 99);
            assert_false(hg_percent_equals(rows[i].text, rows[i].plus_is_space, HG_BYTES("")));
            continue;
        }
        assert_true(hg_bytes_eq(hg_bytes(out, len), rows[i].plain));
        assert_true(hg_percent_equals(rows[i].text, rows[i].plus_is_space, rows[i].plain));
        assert_false(hg_percent_equals(rows[i].text, rows[i].plus_is_space, HG_BYTES("other")));
        if (len > 0) {
            assert_false(
                hg_percent_equals(rows[i].text, rows[i].plus_is_space, hg_bytes(out, len - 1)));
            assert_int_equal(
                hg_percent_decode_into(rows[i].text, rows[i].plus_is_space, out, len - 1, &len),
                HG_ETOOBIG);
        }
        assert_int_equal(
            hg_percent_decode_into(rows[i].text, rows[i].plus_is_space, out, len, &len), HG_OK);
    }
}

static void test_every_byte_survives_encoding_and_decoding(void **state)
{
    (void)state;
    char all[256], decoded[768];
    size_t len;
    struct hg_buf buf;
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    hg_buf_init(&buf, 1024);
    assert_int_equal(hg_percent_encode(&buf, hg_bytes(all, 256)), HG_OK);
    for (size_t i = 0; i < buf.len; i++)
        assert_true(buf.data[i] > ' ' && buf.data[i] < 0x7f &&
                    strchr("+/?#&=", buf.data[i]) == NULL);
    assert_int_equal(hg_percent_decode(hg_buf_bytes(&buf), true, decoded, &len), HG_OK);
    assert_true(hg_bytes_eq(hg_bytes(decoded, len), hg_bytes(all, 256)));
    hg_buf_clear(&buf);
    assert_int_equal(hg_percent_encode(&buf, HG_BYTES("a b+c/d~\xc3\xa4")), HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("a%20b%2Bc%2Fd~%C3%A4")));
    hg_buf_finish(&buf);
}

static void test_pairs_are_split_at_ampersands_only(void **state)
{
    (void)state;
    struct hg_bytes rest = HG_BYTES("&a=1&&b&=c&d=e=f&g;h=2&");
    struct hg_query_pair pair;
    const struct {
        const char *name, *value;
    } expected[] = {{"a", "1"}, {"b", NULL}, {"", "c"}, {"d", "e=f"}, {"g;h", "2"}};
    for (size_t i = 0; i < HG_COUNT(expected); i++) {
        assert_true(hg_query_next(&rest, &pair));
        assert_true(hg_bytes_eq(pair.name, hg_bytes_str(expected[i].name)));
        assert_true(hg_bytes_eq(pair.value, hg_bytes_str(expected[i].value)));
        assert_int_equal(pair.value.data == NULL, expected[i].value == NULL);
    }
    assert_false(hg_query_next(&rest, &pair));
    rest = HG_BYTES_NONE;
    assert_false(hg_query_next(&rest, &pair));
}

static void test_a_parameter_is_found_by_its_decoded_name(void **state)
{
    static const struct {
        struct hg_bytes query;
        int err;
        const char *value;
    } rows[] = {
        {HG_BYTES("key=Tom"), HG_OK, "Tom"},
        {HG_BYTES("a=b&key=%41&c"), HG_OK, "%41"},
        {HG_BYTES("k%65y=Tom"), HG_OK, "Tom"},
        {HG_BYTES("key="), HG_OK, ""},
        {HG_BYTES("key"), HG_OK, NULL},
        {HG_BYTES("keys=1&ke=2&KEY=3"), HG_ENOENT, NULL},
        {HG_BYTES(""), HG_ENOENT, NULL},
        {HG_BYTES("key=1&key=2"), HG_EINVAL, NULL},
        {HG_BYTES("key=1&k%65y=1"), HG_EINVAL, NULL},
        {HG_BYTES("%zz=1&key=2"), HG_EPROTO, NULL},
        {HG_BYTES("key=2&%"), HG_EPROTO, NULL},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_bytes value = HG_BYTES("untouched");
        int err = hg_query_find(rows[i].query, HG_BYTES("key"), &value);
        if (err != rows[i].err)
            fail_msg("row %zu: %d", i, err);
        if (err == HG_OK)
            assert_true(hg_bytes_eq(value, hg_bytes_str(rows[i].value)));
        else
            assert_true(hg_bytes_eq(value, HG_BYTES("untouched")));
    }
}

static void test_encoding_leaves_the_buffer_alone_when_it_fails(void **state)
{
    (void)state;
    struct hg_buf buf;
    hg_buf_init(&buf, 4);
    assert_int_equal(hg_buf_append_str(&buf, "ab"), HG_OK);
    assert_int_equal(hg_percent_encode(&buf, HG_BYTES("/")), HG_ETOOBIG);
    assert_int_equal(hg_base64_encode(&buf, HG_BYTES("x")), HG_ETOOBIG);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("ab")));
    hg_buf_finish(&buf);
    hg_buf_init(&buf, 4);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_percent_encode(&buf, HG_BYTES("/")), HG_ENOMEM);
    assert_int_equal(hg_base64_encode(&buf, HG_BYTES("x")), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(buf.len, 0);
    hg_buf_finish(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes_are_decoded_once),
        cmocka_unit_test(test_every_byte_survives_encoding_and_decoding),
        cmocka_unit_test(test_pairs_are_split_at_ampersands_only),
        cmocka_unit_test(test_a_parameter_is_found_by_its_decoded_name),
        cmocka_unit_test(test_encoding_leaves_the_buffer_alone_when_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
