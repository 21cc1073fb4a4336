#include "cache/rates.h"
#include "base/testing.h"

#include <string.h>

/* As many gets as it takes for `samples` of them to be noted. */
static uint64_t note(struct hg_rates *rates, uint64_t hash, unsigned samples, uint64_t now_ms)
{
    uint64_t minute = 0;
    for (unsigned i = 0; i < samples; i++)
        minute = hg_rates_note(rates, hash, now_ms);
    return minute;
}

static void test_one_get_in_sixteen_is_drawn(void **state)
{
    struct hg_rates rates = {0};
    unsigned drawn = 0, longest = 0, wait = 0;

    (void)state;
    for (int i = 0; i < 160000; i++) {
        wait++;
        if (!hg_rates_draw(&rates))
            continue;
        longest = wait > longest ? wait : longest;
        wait = 0;
        drawn++;
    }
    assert_in_range(drawn, 9700, 10300);
    assert_in_range(longest, 60, 400); /* no fixed stride */
}

static void test_a_steady_rate_is_found_within_its_sampling(void **state)
{
    struct hg_rates rates = {0};

    (void)state;
    /* One sample each 100 ms: 160 gets a second, 9600 a minute. */
    for (uint64_t now_ms = 0; now_ms < 120000; now_ms += 100) {
        uint64_t minute = hg_rates_note(&rates, 7, now_ms);
        if (now_ms > 60000)
            assert_in_range(minute, 9000, 10200);
    }
    assert_in_range(hg_rates_minute(&rates, 7, 120000), 9000, 10200);
    assert_int_equal(hg_rates_minute(&rates, 8, 120000), 0);
}

static void test_a_sudden_rate_is_seen_within_a_second(void **state)
{
    struct hg_rates rates = {0};

    (void)state;
    /* 50,000 a second, for one second. */
    assert_true(note(&rates, 7, 50000 / HG_RATES_SAMPLE, 1000) > 100000);
}

static void test_what_was_asked_for_long_ago_fades(void **state)
{
    struct hg_rates rates = {0};
    uint64_t before = note(&rates, 7, 1000, 5000);

    (void)state;
    for (uint64_t now_ms = 10000; now_ms < 200000; now_ms += 5000) {
        uint64_t minute = hg_rates_minute(&rates, 7, now_ms);
        assert_true(minute <= before);
        before = minute;
    }
    assert_int_equal(hg_rates_minute(&rates, 7, 200000), 0);
    hg_rates_note(&rates, 8, 200000);
    assert_int_equal(hg_rates_count(&rates, 1, 200000), 1); /* its place is free */
    assert_int_equal(hg_rates_minute(&rates, 8, UINT64_MAX), 0);
    assert_true(hg_rates_minute(&rates, 8, 1) > 0); /* a clock that goes back */
}

static void test_a_newcomer_does_not_inherit_a_rate(void **state)
{
    struct hg_rates rates = {0};

    (void)state;
    for (uint64_t hash = 1; hash <= HG_RATES_KEYS; hash++)
        note(&rates, hash, 100, 0);
    uint64_t minute = hg_rates_note(&rates, 99, 0);
    assert_int_equal(minute, HG_RATES_SAMPLE * 60000 / HG_RATES_HALF_MS);
    assert_int_equal(hg_rates_count(&rates, minute + 1, 0), HG_RATES_KEYS - 1);
    assert_int_equal(hg_rates_note(&rates, 0, 0), 0);
}

static void test_a_key_is_told_of_once_a_minute(void **state)
{
    struct hg_rates rates = {0};

    (void)state;
    assert_false(hg_rates_tell(&rates, 7, 0)); /* not in the table */
    hg_rates_note(&rates, 7, 0);
    assert_true(hg_rates_tell(&rates, 7, 0));
    assert_false(hg_rates_tell(&rates, 7, 100));
    assert_false(hg_rates_tell(&rates, 7, HG_RATES_TELL_MS));
    assert_true(hg_rates_tell(&rates, 7, HG_RATES_TELL_MS + 1));
}

/* Against exact counts without halving: never too much, and what is frequent enough is there (the paper's lemmas). */
static void test_random_streams_keep_the_bounds_of_the_paper(void **state)
{
    enum { KEYS = 400 };

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct hg_test_random random = {seed};
        struct hg_rates rates = {0};
        uint64_t exact[KEYS + 1] = {0}, total = 0;
        uint64_t skew = 1 + hg_test_below(&random, 4);
        for (int i = 0; i < 20000; i++) {
            uint64_t key = 1 + hg_test_below(&random, KEYS);
            for (uint64_t n = 0; n < skew; n++)
                key = 1 + hg_test_below(&random, key);
            hg_rates_note(&rates, key, 0);
            exact[key] += HG_RATES_SAMPLE;
            total += HG_RATES_SAMPLE;
        }
        for (uint64_t key = 1; key <= KEYS; key++) {
            uint64_t told = hg_rates_minute(&rates, key, 0) * HG_RATES_HALF_MS / 60000;
            if (told > exact[key])
                fail_msg("seed %d: key %d is told too often", (int)seed, (int)key);
            bool is_in = false;
            for (size_t i = 0; i < HG_RATES_KEYS; i++)
                is_in |= rates.keys[i].hash == key;
            if (!is_in && exact[key] > total / HG_RATES_KEYS)
                fail_msg("seed %d: key %d is missing", (int)seed, (int)key);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_get_in_sixteen_is_drawn),
        cmocka_unit_test(test_a_steady_rate_is_found_within_its_sampling),
        cmocka_unit_test(test_a_sudden_rate_is_seen_within_a_second),
        cmocka_unit_test(test_what_was_asked_for_long_ago_fades),
        cmocka_unit_test(test_a_newcomer_does_not_inherit_a_rate),
        cmocka_unit_test(test_a_key_is_told_of_once_a_minute),
        cmocka_unit_test(test_random_streams_keep_the_bounds_of_the_paper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
