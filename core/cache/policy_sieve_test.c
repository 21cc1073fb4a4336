#include "cache/test_policy_letters.h"

/* abc with a used: the hand clears a and evicts b, and goes on from c, so that c goes next and not the cleared a. */
static void test_the_hand_stays_where_it_evicted(void **state)
{
    struct letters letters;
    (void)state;
    letters_open(&letters, "sieve", 3, 1);
    letters_ask(&letters, "abca");
    letters_expect(&letters, "abc");
    letters_ask(&letters, "d");
    letters_expect(&letters, "acd");
    letters_ask(&letters, "e");
    letters_expect(&letters, "ade");
    letters_close(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_hand_stays_where_it_evicted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
