#include "cache/test_policy_letters.h"

static void test_the_least_recently_used_goes(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "lru", 3, 1);
    letters_ask(&letters, "abc");
    letters_expect(&letters, "abc");
    letters_ask(&letters, "ad");
    letters_expect(&letters, "acd");
    letters_ask(&letters, "ce");
    letters_expect(&letters, "cde");
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_recently_used_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
