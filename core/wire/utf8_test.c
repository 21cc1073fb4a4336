#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/utf8.h"

/* Length of the shortest form of a code point, or 0 where there is none. */
static size_t encode(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)((0xf00 >> len) | point);
    return len;
}

static void test_every_code_point_is_a_character_and_surrogates_are_none(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x110100; point++) {
        char text[4];
        size_t len = encode(point, text);
        bool is_valid = point < 0x110000 && (point < 0xd800 || point > 0xdfff);
        if (hg_utf8_char(hg_bytes(text, len)) != (is_valid ? len : 0))
            fail_msg("U+%04X", (unsigned)point);
        if (len > 1 && hg_utf8_char(hg_bytes(text, len - 1)) != 0)
            fail_msg("cut U+%04X", (unsigned)point);
    }
    assert_int_equal(hg_utf8_char(HG_BYTES_NONE), 0);
}

static void test_malformed_bytes_are_no_character(void **state)
{
    static const char *const rows[] = {"\x80",
                                       "\xbf",
                                       "\xc0\x80",
                                       "\xc1\xbf",
                                       "\xe0\x80\x80",
                                       "\xe0\x9f\xbf",
                                       "\xf0\x80\x80\x80",
                                       "\xf0\x8f\xbf\xbf",
                                       "\xf4\x90\x80\x80",
                                       "\xf5\x80\x80\x80",
                                       "\xff",
                                       "\xc3(",
                                       "\xe2\x82(",
                                       "\xf0\x9f\x98("};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++)
        assert_int_equal(hg_utf8_char(hg_bytes_str(rows[i])), 0);
}

static void test_cleaning_replaces_each_bad_byte_and_nul(void **state)
{
    (void)state;
    char out[64];
    struct hg_bytes text = HG_BYTES("a\0\xff\xc3\xa4\xe2\x82");
    size_t len = hg_utf8_clean(text, out);
    assert_string_equal(out, "a\xef\xbf\xbd\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd");
    assert_int_equal(len, strlen(out));
    assert_int_equal(hg_utf8_clean(HG_BYTES_NONE, out), 0);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point_is_a_character_and_surrogates_are_none),
        cmocka_unit_test(test_malformed_bytes_are_no_character),
        cmocka_unit_test(test_cleaning_replaces_each_bad_byte_and_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
