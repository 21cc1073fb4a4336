#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/peer_message.h"

static void test_paths_are_encoded_as_go_decodes_them(void **state)
{
    (void)state;
    struct hg_buf buf;
    hg_buf_init(&buf, 200);
    assert_int_equal(hg_peer_path_encode(&buf, HG_BYTES("/_hgcache/"), HG_BYTES("my group"),
                                         HG_BYTES("a b+c/d%\0")),
                     HG_OK);
    assert_true(
        hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("/_hgcache/my%20group/a%20b%2Bc%2Fd%25%00")));
    hg_buf_finish(&buf);
}

static void test_paths_are_decoded_once(void **state)
{
    static const struct {
        struct hg_bytes rest;
        int err;
        struct hg_bytes group, key;
    } rows[] = {
        {HG_BYTES("test/Tom"), HG_OK, HG_BYTES("test"), HG_BYTES("Tom")},
        {HG_BYTES("test/a+b"), HG_OK, HG_BYTES("test"), HG_BYTES("a b")},
        {HG_BYTES("te+st/a%2Bb"), HG_OK, HG_BYTES("te st"), HG_BYTES("a+b")},
        {HG_BYTES("test/a%2Fb"), HG_OK, HG_BYTES("test"), HG_BYTES("a/b")},
        {HG_BYTES("test/a/b"), HG_OK, HG_BYTES("test"), HG_BYTES("a/b")},
        {HG_BYTES("test//"), HG_OK, HG_BYTES("test"), HG_BYTES("/")},
        {HG_BYTES("test/"), HG_OK, HG_BYTES("test"), HG_BYTES("")},
        {HG_BYTES("a%2Fb/c"), HG_OK, HG_BYTES("a/b"), HG_BYTES("c")},
        {HG_BYTES("%2e%2e/%252e%00%ff"), HG_OK, HG_BYTES(".."), HG_BYTES("%2e\0\xff")},
        {HG_BYTES("test"), HG_EPROTO, {0}, {0}},
        {HG_BYTES(""), HG_EPROTO, {0}, {0}},
        {HG_BYTES("/Tom"), HG_EPROTO, {0}, {0}},
        {HG_BYTES("test/%"), HG_EPROTO, {0}, {0}},
        {HG_BYTES("%zz/a"), HG_EPROTO, {0}, {0}},
        {HG_BYTES("%2/a"), HG_EPROTO, {0}, {0}},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[32];
        struct hg_bytes group, key;
        int err = hg_peer_path_decode(rows[i].rest, out, &group, &key);
        if (err != rows[i].err)
            fail_msg("row %zu: %d", i, err);
        if (err == HG_OK && (!hg_bytes_eq(group, rows[i].group) || !hg_bytes_eq(key, rows[i].key)))
            fail_msg("row %zu: %.*s, %.*s", i, (int)group.len, group.data, (int)key.len, key.data);
    }
}

static void test_any_group_and_key_come_back(void **state)
{
    (void)state;
    uint64_t random = 3;
    for (int round = 0; round < 2000; round++) {
        char bytes[32], out[200];
        struct hg_bytes group, key;
        struct hg_buf buf;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] =
                (char)((random = random * 6364136223846793005u + 1442695040888963407u) >> 56);
        size_t group_len = 1 + (size_t)(random >> 33) % 16, key_len = (size_t)(random >> 40) % 16;
        hg_buf_init(&buf, 300);
        assert_int_equal(hg_peer_path_encode(&buf, HG_BYTES("/"), hg_bytes(bytes, group_len),
                                             hg_bytes(bytes + 16, key_len)),
                         HG_OK);
        assert_int_equal(
            hg_peer_path_decode(hg_bytes(buf.data + 1, buf.len - 1), out, &group, &key), HG_OK);
        assert_true(hg_bytes_eq(group, hg_bytes(bytes, group_len)));
        assert_true(hg_bytes_eq(key, hg_bytes(bytes + 16, key_len)));
        hg_buf_finish(&buf);
    }
}

static void test_a_failed_path_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    for (size_t max = 1; max < 12; max++) {
        struct hg_buf buf;
        hg_buf_init(&buf, max);
        assert_int_equal(hg_buf_append_str(&buf, "#"), HG_OK);
        assert_int_equal(
            hg_peer_path_encode(&buf, HG_BYTES("/b/"), HG_BYTES("test"), HG_BYTES("Tom!")),
            HG_ETOOBIG);
        assert_int_equal(buf.len, 1);
        hg_buf_finish(&buf);
    }
    struct hg_buf buf;
    hg_buf_init(&buf, 100);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_peer_path_encode(&buf, HG_BYTES("/b/"), HG_BYTES("test"), HG_BYTES("Tom")),
                     HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    hg_buf_finish(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_are_encoded_as_go_decodes_them),
        cmocka_unit_test(test_paths_are_decoded_once),
        cmocka_unit_test(test_any_group_and_key_come_back),
        cmocka_unit_test(test_a_failed_path_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
