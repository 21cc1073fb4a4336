#include "cache/test_policy_letters.h"

/* Small queue 1 of 10: a is asked for three times and moves to main; the rest pass through small. */
static void test_what_is_asked_for_once_does_not_push_out_what_is_asked_for_again(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "s3-fifo", 10, 1);
    letters_ask(&letters, "aaabcdefghijklmnopqrstuvwxyz");
    assert_true(letters_has(&letters, 'a'));
    assert_false(letters_has(&letters, 'b'));
    letters_close(&letters);
}

static void test_a_key_remembered_as_ghost_goes_straight_to_main(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "s3-fifo", 10, 1);
    letters_ask(&letters, "abcdefghijk");
    assert_false(letters_has(&letters, 'a'));
    letters_ask(&letters, "a");
    letters_ask(&letters, "lmnopqrs");
    assert_true(letters_has(&letters, 'a'));
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_asked_for_once_does_not_push_out_what_is_asked_for_again),
        cmocka_unit_test(test_a_key_remembered_as_ghost_goes_straight_to_main),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
