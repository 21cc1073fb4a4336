#include "cache/sketch.h"
#include "base/testing.h"

static uint64_t hash_of(uint64_t key)
{
    struct hg_test_random random = {key};
    return hg_test_u64(&random);
}

static void test_an_estimate_is_never_too_low_and_seldom_too_high(void **state)
{
    enum { KEYS = 1000, ADDS = 4000 };
    static unsigned counts[KEYS];
    struct hg_test_random random = {7};
    struct hg_sketch sketch = {0};
    (void)state;
    hg_sketch_fit(&sketch, KEYS);
    for (int i = 0; i < ADDS; i++) {
        size_t key = hg_test_below(&random, KEYS);
        counts[key]++;
        hg_sketch_add(&sketch, hash_of(key), KEYS);
    }
    size_t too_high = 0;
    for (size_t key = 0; key < KEYS; key++) {
        unsigned expected = counts[key] < HG_SKETCH_MAX ? counts[key] : HG_SKETCH_MAX;
        unsigned estimate = hg_sketch_estimate(&sketch, hash_of(key));
        assert_true(estimate >= expected);
        too_high += estimate > expected;
    }
    assert_true(too_high < KEYS / 20);
    hg_sketch_finish(&sketch);
}

static void test_counts_are_halved_so_that_old_fame_fades(void **state)
{
    enum { ENTRIES = 16 };
    struct hg_sketch sketch = {0};
    (void)state;
    hg_sketch_fit(&sketch, ENTRIES);
    for (int i = 0; i < 14; i++)
        hg_sketch_add(&sketch, hash_of(1), ENTRIES);
    assert_int_equal(hg_sketch_estimate(&sketch, hash_of(1)), 14);
    while (sketch.additions != 10 * ENTRIES - 1)
        hg_sketch_add(&sketch, hash_of(2), ENTRIES);
    hg_sketch_add(&sketch, hash_of(2), ENTRIES);
    assert_int_equal(sketch.additions, 5 * ENTRIES);
    assert_int_equal(hg_sketch_estimate(&sketch, hash_of(1)), 7);
    assert_int_equal(hg_sketch_estimate(&sketch, hash_of(2)), 7); /* from 15 */
    hg_sketch_finish(&sketch);
}

static void test_growing_keeps_what_is_known(void **state)
{
    struct hg_sketch sketch = {0};
    (void)state;
    assert_int_equal(hg_sketch_estimate(&sketch, 1), 0); /* of nothing */
    hg_sketch_add(&sketch, 1, 1);
    hg_sketch_fit(&sketch, 10);
    for (uint64_t key = 0; key < 5; key++)
        for (uint64_t n = 0; n <= key; n++)
            hg_sketch_add(&sketch, hash_of(key), 1000);
    for (size_t entries = 20; entries < 5000; entries *= 2) {
        hg_sketch_fit(&sketch, entries);
        assert_true(sketch.word_count >= entries);
        for (uint64_t key = 0; key < 5; key++)
            assert_int_equal(hg_sketch_estimate(&sketch, hash_of(key)), key + 1);
    }
    size_t word_count = sketch.word_count;
    hg_alloc_fail_at(0, true);
    hg_sketch_fit(&sketch, 100000);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(sketch.word_count, word_count);
    assert_int_equal(hg_sketch_estimate(&sketch, hash_of(4)), 5);
    hg_sketch_finish(&sketch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_estimate_is_never_too_low_and_seldom_too_high),
        cmocka_unit_test(test_counts_are_halved_so_that_old_fame_fades),
        cmocka_unit_test(test_growing_keeps_what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
