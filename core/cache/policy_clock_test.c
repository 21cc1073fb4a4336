#include "cache/test_policy_letters.h"

static void test_a_used_entry_gets_one_more_round(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "clock", 3, 1);
    letters_ask(&letters, "abc");
    letters_expect(&letters, "abc");
    letters_ask(&letters, "ad");
    letters_expect(&letters, "acd");
    letters_ask(&letters, "e");
    letters_expect(&letters, "ade");
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_used_entry_gets_one_more_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
