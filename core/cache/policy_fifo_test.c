#include "cache/test_policy_letters.h"

static void test_the_oldest_goes_however_often_it_is_used(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "fifo", 3, 1);
    letters_ask(&letters, "abc");
    letters_expect(&letters, "abc");
    letters_ask(&letters, "aaad");
    letters_expect(&letters, "bcd");
    letters_ask(&letters, "bbe");
    letters_expect(&letters, "cde");
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_oldest_goes_however_often_it_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
