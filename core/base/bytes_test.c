#include "base/bytes.h"
#include "base/testing.h"

static void test_equality_looks_at_length_and_bytes(void **state)
{
    (void)state;
    assert_true(hg_bytes_eq(HG_BYTES("ab"), HG_BYTES("ab")));
    assert_false(hg_bytes_eq(HG_BYTES("ab"), HG_BYTES("abc")));
    assert_false(hg_bytes_eq(HG_BYTES("a\0b"), HG_BYTES("a\0c")));
    assert_true(hg_bytes_eq(HG_BYTES_NONE, HG_BYTES("")));
    assert_true(hg_bytes_eq(hg_bytes_str(NULL), hg_bytes_str("")));
}

static void test_nocase_folds_ascii_only(void **state)
{
    (void)state;
    assert_true(hg_bytes_eq_nocase(HG_BYTES("Content-TYPE"), HG_BYTES("content-type")));
    assert_true(hg_bytes_eq_nocase(HG_BYTES("AZaz09"), HG_BYTES("azAZ09")));
    assert_false(hg_bytes_eq_nocase(HG_BYTES("@"), HG_BYTES("`")));
    assert_false(hg_bytes_eq_nocase(HG_BYTES("["), HG_BYTES("{")));
    assert_false(hg_bytes_eq_nocase(HG_BYTES("\xc4"), HG_BYTES("\xe4")));
    assert_false(hg_bytes_eq_nocase(HG_BYTES("a"), HG_BYTES("ab")));
    assert_true(hg_bytes_eq_nocase(HG_BYTES_NONE, HG_BYTES_NONE));
}

static void test_order_is_unsigned_and_shorter_first(void **state)
{
    static const struct hg_bytes sorted[] = {
        HG_BYTES(""),   HG_BYTES("\0"), HG_BYTES("\0a"),  HG_BYTES("a"),    HG_BYTES("a\0"),
        HG_BYTES("aa"), HG_BYTES("b"),  HG_BYTES("\x7f"), HG_BYTES("\x80"), HG_BYTES("\xff"),
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(sorted); i++) {
        for (size_t j = 0; j < HG_COUNT(sorted); j++) {
            int order = hg_bytes_cmp(sorted[i], sorted[j]);
            assert_int_equal(order < 0, i < j);
            assert_int_equal(order > 0, i > j);
        }
    }
    assert_int_equal(hg_bytes_cmp(HG_BYTES_NONE, HG_BYTES("")), 0);
}

static void test_prefix(void **state)
{
    (void)state;
    assert_true(hg_bytes_has_prefix(HG_BYTES("/api/x"), HG_BYTES("/api")));
    assert_true(hg_bytes_has_prefix(HG_BYTES("a"), HG_BYTES("a")));
    assert_true(hg_bytes_has_prefix(HG_BYTES_NONE, HG_BYTES_NONE));
    assert_false(hg_bytes_has_prefix(HG_BYTES("/ap"), HG_BYTES("/api")));
    assert_false(hg_bytes_has_prefix(HG_BYTES("/xpi"), HG_BYTES("/api")));
}

static void test_trim_takes_spaces_and_tabs_only(void **state)
{
    static const struct {
        struct hg_bytes in, out;
    } table[] = {
        {HG_BYTES(" \t a b\t "), HG_BYTES("a b")}, {HG_BYTES("a"), HG_BYTES("a")},
        {HG_BYTES(" \t\t "), HG_BYTES("")},        {HG_BYTES(""), HG_BYTES("")},
        {HG_BYTES("\r\n"), HG_BYTES("\r\n")},      {HG_BYTES("\0 "), HG_BYTES("\0")},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++)
        assert_true(hg_bytes_eq(hg_bytes_trim(table[i].in), table[i].out));
    assert_int_equal(hg_bytes_trim(HG_BYTES_NONE).len, 0);
}

static void test_numbers_are_decimal_digits_within_64_bits(void **state)
{
    static const struct {
        struct hg_bytes in;
        unsigned long long out;
    } good[] = {
        {HG_BYTES("0"), 0},
        {HG_BYTES("007"), 7},
        {HG_BYTES("18446744073709551615"), 18446744073709551615ull},
        {HG_BYTES("000000000000000000000000000042"), 42},
    };
    static const struct hg_bytes bad[] = {
        HG_BYTES(""),
        HG_BYTES("+1"),
        HG_BYTES("-1"),
        HG_BYTES(" 1"),
        HG_BYTES("1 "),
        HG_BYTES("0x3"),
        HG_BYTES("1e3"),
        HG_BYTES("1\0"),
        HG_BYTES("18446744073709551616"),
        HG_BYTES("18446744073709551620"),
        HG_BYTES("99999999999999999999"),
        HG_BYTES("184467440737095516150"),
    };
    (void)state;
    unsigned long long out;
    for (size_t i = 0; i < HG_COUNT(good); i++) {
        assert_true(hg_bytes_to_u64(good[i].in, &out));
        assert_true(out == good[i].out);
    }
    out = 77;
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        assert_false(hg_bytes_to_u64(bad[i], &out));
        assert_int_equal(out, 77);
    }
}

static void test_secret_comparison_sees_each_bit(void **state)
{
    char a[16], b[16];
    (void)state;
    memset(a, 0x5a, sizeof(a));
    memset(b, 0x5a, sizeof(b));
    assert_true(hg_bytes_eq_secret(hg_bytes(a, 16), hg_bytes(b, 16)));
    for (size_t bit = 0; bit < 128; bit++) {
        b[bit / 8] = (char)(0x5a ^ 1 << bit % 8);
        assert_false(hg_bytes_eq_secret(hg_bytes(a, 16), hg_bytes(b, 16)));
        b[bit / 8] = 0x5a;
    }
    assert_false(hg_bytes_eq_secret(hg_bytes(a, 16), hg_bytes(b, 15)));
    assert_true(hg_bytes_eq_secret(HG_BYTES_NONE, HG_BYTES_NONE));
}

static void test_escape_shows_what_does_not_print(void **state)
{
    char buf[64];
    (void)state;
    assert_string_equal(hg_bytes_escape(HG_BYTES("a b~\\"), buf, sizeof(buf)), "a b~\\");
    assert_string_equal(hg_bytes_escape(HG_BYTES("\0\n\x7f\xff"), buf, sizeof(buf)),
                        "\\x00\\x0a\\x7f\\xff");
    assert_string_equal(hg_bytes_escape(HG_BYTES_NONE, buf, sizeof(buf)), "");
}

static void test_escape_cuts_whole_units_at_each_size(void **state)
{
    static const struct hg_bytes input = HG_BYTES("ab\ncd\xff"
                                                  "efgh");
    static const size_t units[] = {0, 1, 2, 6, 7, 8, 12, 13, 14, 15}; /* where one begins */
    static const char full[] = "ab\\x0acd\\xffefgh";
    (void)state;
    for (size_t size = 1; size < sizeof(full) + 4; size++) {
        char buf[64];
        memset(buf, '#', sizeof(buf));
        assert_ptr_equal(hg_bytes_escape(input, buf, size), buf);
        assert_int_equal(buf[size], '#'); /* never past its end */
        size_t len = strlen(buf);
        assert_true(len < size);
        if (size >= sizeof(full)) {
            assert_string_equal(buf, full);
        } else if (size < 4) {
            assert_memory_equal(buf, "...", len);
            assert_int_equal(len, size - 1);
        } else {
            assert_string_equal(buf + len - 3, "...");
            assert_memory_equal(buf, full, len - 3);
            size_t kept = 0; /* as many whole units as leave room for the dots */
            for (size_t i = 0; i < HG_COUNT(units); i++) {
                if (units[i] + 3 < size)
                    kept = units[i];
            }
            assert_int_equal(len, kept + 3);
        }
    }
    char untouched = '#';
    hg_bytes_escape(input, &untouched, 0);
    assert_int_equal(untouched, '#');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equality_looks_at_length_and_bytes),
        cmocka_unit_test(test_nocase_folds_ascii_only),
        cmocka_unit_test(test_order_is_unsigned_and_shorter_first),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_trim_takes_spaces_and_tabs_only),
        cmocka_unit_test(test_numbers_are_decimal_digits_within_64_bits),
        cmocka_unit_test(test_secret_comparison_sees_each_bit),
        cmocka_unit_test(test_escape_shows_what_does_not_print),
        cmocka_unit_test(test_escape_cuts_whole_units_at_each_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
