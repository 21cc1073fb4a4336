#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "wire/query.h"

static void test_rfc_4648_vectors(void **state)
{
    static const struct {
        struct hg_bytes plain, text;
    } rows[] = {
        {HG_BYTES(""), HG_BYTES("")},
        {HG_BYTES("f"), HG_BYTES("Zg==")},
        {HG_BYTES("fo"), HG_BYTES("Zm8=")},
        {HG_BYTES("foo"), HG_BYTES("Zm9v")},
        {HG_BYTES("foob"), HG_BYTES("Zm9vYg==")},
        {HG_BYTES("fooba"), HG_BYTES("Zm9vYmE=")},
        {HG_BYTES("foobar"), HG_BYTES("Zm9vYmFy")},
        {HG_BYTES("\xfb\xff\xbf"), HG_BYTES("+/+/")},
        {HG_BYTES("\0\0"), HG_BYTES("AAA=")},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_buf buf;
        char out[64];
        size_t len;
        hg_buf_init(&buf, 64);
        assert_int_equal(hg_base64_encode(&buf, rows[i].plain), HG_OK);
        assert_true(hg_bytes_eq(hg_buf_bytes(&buf), rows[i].text));
        assert_int_equal(hg_base64_decode(rows[i].text, out, &len), HG_OK);
        assert_true(hg_bytes_eq(hg_bytes(out, len), rows[i].plain));
        hg_buf_finish(&buf);
    }
}

static void test_other_spellings_are_refused(void **state)
{
    static const char *const rows[] = {
        "Z",     "Zg",   "Zg=",  "Zg==Zg==", "=",    "====", "Z===", "Zm9v\n",
        " Zm9v", "Zh==", "Zm9=", "Zm-v",     "Zm_v", "Zm=v", "Zg=a", "Zm9vZm9"};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[64];
        size_t len = 77;
        if (hg_base64_decode(hg_bytes_str(rows[i]), out, &len) != HG_EPROTO)
            fail_msg("accepted: %s", rows[i]);
        assert_int_equal(len, 77);
    }
}

static void test_random_bytes_come_back(void **state)
{
    (void)state;
    uint64_t random = 42;
    for (int round = 0; round < 2000; round++) {
        char plain[64], out[96];
        struct hg_buf buf;
        size_t len = (size_t)round % sizeof(plain), back;
        for (size_t i = 0; i < len; i++)
            plain[i] =
                (char)((random = random * 6364136223846793005u + 1442695040888963407u) >> 56);
        hg_buf_init(&buf, 128);
        assert_int_equal(hg_base64_encode(&buf, hg_bytes(plain, len)), HG_OK);
        assert_int_equal(hg_base64_decode(hg_buf_bytes(&buf), out, &back), HG_OK);
        assert_true(hg_bytes_eq(hg_bytes(out, back), hg_bytes(plain, len)));
        hg_buf_finish(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_4648_vectors),
        cmocka_unit_test(test_other_spellings_are_refused),
        cmocka_unit_test(test_random_bytes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
