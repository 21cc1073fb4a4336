#include "base/testing.h"
#include "base/histogram.h"

static void test_a_bound_belongs_to_its_bucket(void **state)
{
    struct hg_histogram histogram = {0};
    (void)state;

    hg_histogram_note(&histogram, 0);
    hg_histogram_note(&histogram, 1);
    hg_histogram_note(&histogram, 2);
    hg_histogram_note(&histogram, 3);
    hg_histogram_note(&histogram, 10000);
    hg_histogram_note(&histogram, 10001);
    assert_int_equal(histogram.buckets[0], 2);
    assert_int_equal(histogram.buckets[1], 1);
    assert_int_equal(histogram.buckets[2], 1);
    assert_int_equal(histogram.buckets[12], 1);
    assert_int_equal(histogram.buckets[13], 1);
    assert_int_equal(histogram.sum_ms, 20007);
}

static void test_sums_add_up(void **state)
{
    struct hg_histogram a = {0}, b = {0};
    (void)state;

    hg_histogram_note(&a, 7);
    hg_histogram_note(&b, 7);
    hg_histogram_note(&b, UINT32_MAX);
    hg_histogram_add(&a, &b);
    assert_int_equal(a.buckets[3], 2);
    assert_int_equal(a.buckets[13], 1);
    assert_int_equal(a.sum_ms, 14 + (uint64_t)UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bound_belongs_to_its_bucket),
        cmocka_unit_test(test_sums_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
