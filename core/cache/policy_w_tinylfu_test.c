#include "cache/test_policy_letters.h"

static void test_a_scan_does_not_push_out_what_is_popular(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "w-tinylfu", 10, 1);
    for (int i = 0; i < 10; i++)
        letters_ask(&letters, "abcde");
    letters_ask(&letters, "fghijklmnopqrstuvwxyz");
    assert_int_equal(letters_ask(&letters, "abcde"), 0);
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_scan_does_not_push_out_what_is_popular),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
