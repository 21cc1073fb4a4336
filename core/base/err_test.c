#include "base/testing.h"

#include <string.h>

static void test_every_error_has_its_name_and_text(void **state)
{
    (void)state;
#define X(name, value, text)                                                                       \
    assert_int_equal(HG_##name, value);                                                            \
    assert_string_equal(hg_err_name(HG_##name), #name);                                            \
    assert_string_equal(hg_err_text(HG_##name), text);
    HG_ERRORS(X)
#undef X
    assert_string_equal(hg_err_name(HG_OK), "OK");
    assert_string_equal(hg_err_name(HG_PENDING), "PENDING");
}

static void test_errors_are_distinct_and_negative(void **state)
{
    static const int all[] = {
#define X(name, value, text) value,
        HG_ERRORS(X)
#undef X
    };
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_true(all[i] < 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(all[i], all[j]);
            assert_string_not_equal(hg_err_text(all[i]), hg_err_text(all[j]));
        }
    }
}

static void test_foreign_numbers_are_unknown(void **state)
{
    static const int foreign[] = {-18, -1000, 2, 1000, INT32_MIN, INT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_string_equal(hg_err_name(foreign[i]), "EUNKNOWN");
        assert_non_null(hg_err_text(foreign[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_its_name_and_text),
        cmocka_unit_test(test_errors_are_distinct_and_negative),
        cmocka_unit_test(test_foreign_numbers_are_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
