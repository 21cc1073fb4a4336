#include "cache/test_policy_letters.h"

static void test_a_scan_does_not_push_out_what_was_asked_for_twice(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "arc", 4, 1);
    letters_ask(&letters, "abab");
    letters_ask(&letters, "cdefghijklmnopqrstuvwxyz");
    assert_true(letters_has(&letters, 'a'));
    assert_true(letters_has(&letters, 'b'));
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_scan_does_not_push_out_what_was_asked_for_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
