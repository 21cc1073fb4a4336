#include "cache/test_policy_letters.h"

static void test_the_least_used_goes_and_of_equals_the_first_to_get_there(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "lfu", 3, 1);
    letters_ask(&letters, "aabcc");
    letters_expect(&letters, "abc");
    letters_ask(&letters, "d");
    letters_expect(&letters, "acd");
    letters_ask(&letters, "e");
    letters_expect(&letters, "ace");
    letters_ask(&letters, "eeeaf");
    letters_expect(&letters, "aef");
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_used_goes_and_of_equals_the_first_to_get_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
