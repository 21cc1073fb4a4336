#include "cache/test_policy_letters.h"

static void test_random_evicts_any_entry_the_newest_included(void **state)
{
    struct letters letters;
    (void)state;
    unsigned gone[4] = {0};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        letters_open(&letters, "random", 4, seed);
        letters_ask(&letters, "abcde");
        for (int i = 0; i < 4; i++)
            gone[i] += !letters_has(&letters, (char)('a' + i));
        letters_close(&letters);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(gone[i], 60, 140);
}

/* Five draws of four: the oldest is missed by all of them in (3/4)^5 = 24 % of the runs. */
static void test_sampled_lru_prefers_the_least_recently_used(void **state)
{
    struct letters letters;
    (void)state;
    unsigned oldest = 0, newest = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        letters_open(&letters, "sampled-lru", 4, seed);
        letters_ask(&letters, "abcde");
        oldest += !letters_has(&letters, 'a');
        newest += !letters_has(&letters, 'd');
        letters_close(&letters);
    }
    assert_in_range(oldest, 265, 345);
    assert_in_range(newest, 0, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_evicts_any_entry_the_newest_included),
        cmocka_unit_test(test_sampled_lru_prefers_the_least_recently_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
