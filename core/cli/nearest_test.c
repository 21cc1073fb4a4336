#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "cli/nearest.h"

static void test_distance_counts_edits(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t distance;
    } rows[] = {
        {"", "", 0},          {"get", "get", 0},   {"", "get", 3},      {"get", "set", 1},
        {"stat", "stats", 1}, {"gte", "get", 1},   {"rnig", "ring", 1}, {"explan", "explain", 1},
        {"run", "check", 5},  {"abcd", "badc", 2}, {"peek", "peek", 0},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        assert_int_equal(hg_edit_distance(rows[i].a, rows[i].b), rows[i].distance);
        assert_int_equal(hg_edit_distance(rows[i].b, rows[i].a), rows[i].distance);
    }
}

static void test_nearest_word_is_found(void **state)
{
    (void)state;
    const char *known[] = {"run", "check", "get", "set", "stats", "explain"};
    assert_string_equal(hg_nearest("chekc", known, HG_COUNT(known)), "check");
    assert_string_equal(hg_nearest("stat", known, HG_COUNT(known)), "stats");
    assert_string_equal(hg_nearest("expalin", known, HG_COUNT(known)), "explain");
    assert_string_equal(hg_nearest("gat", known, HG_COUNT(known)), "get");
    assert_string_equal(hg_nearest("bet", known, HG_COUNT(known)), "get"); /* of equals the first */
}

static void test_far_and_long_words_have_none(void **state)
{
    (void)state;
    const char *known[] = {"run", "check", "get"};
    assert_null(hg_nearest("frobnicate", known, HG_COUNT(known)));
    assert_null(hg_nearest("", known, HG_COUNT(known)));
    assert_null(hg_nearest("checkcheckcheckcheckcheckcheckcheck", known, HG_COUNT(known)));
    assert_null(hg_nearest("get", known, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance_counts_edits),
        cmocka_unit_test(test_nearest_word_is_found),
        cmocka_unit_test(test_far_and_long_words_have_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
