#include "cache/budget.h"
#include "base/testing.h"

#include <pthread.h>

static void test_limits_hold_and_a_refusal_reserves_nothing(void **state)
{
    struct hg_budget budget;

    (void)state;
    hg_budget_init(&budget, 100, 30, 200);
    assert_int_equal(hg_budget_limit(&budget, HG_TIER_MAIN), 100);
    assert_int_equal(hg_budget_limit(&budget, HG_TIER_HOT), 30);
    assert_int_equal(hg_budget_limit(&budget, HG_TIER_NEGATIVE), 100); /* not more than all */
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_HOT, 31), HG_TIER_IS_FULL);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_HOT, 30), HG_FITS);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_MAIN, 71), HG_ALL_IS_FULL);
    assert_int_equal(hg_budget_used(&budget, HG_TIER_MAIN), 0);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_MAIN, 70), HG_FITS);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_NEGATIVE, 1), HG_ALL_IS_FULL);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_MAIN, SIZE_MAX), HG_ALL_IS_FULL);
    hg_budget_release(&budget, HG_TIER_HOT, 30);
    assert_int_equal(atomic_load(&budget.used), 70);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_NEGATIVE, 30), HG_FITS);
}

static void *reserve_and_release(void *arg)
{
    struct hg_budget *budget = arg;
    for (int i = 0; i < 50000; i++) {
        enum hg_tier tier = i % 2 == 0 ? HG_TIER_MAIN : HG_TIER_HOT;
        if (hg_budget_reserve(budget, tier, 10) != HG_FITS)
            continue;
        assert_true(atomic_load(&budget->used) <= budget->capacity);
        hg_budget_release(budget, tier, 10);
    }
    return NULL;
}

static void test_threads_together_never_pass_it(void **state)
{
    struct hg_budget budget;
    pthread_t threads[4];

    (void)state;
    hg_budget_init(&budget, 25, 15, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reserve_and_release, &budget), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&budget.used), 0);
    for (size_t tier = 0; tier < HG_TIER_COUNT; tier++)
        assert_int_equal(hg_budget_used(&budget, (enum hg_tier)tier), 0);
}

static void test_lower_limits_say_what_is_too_much(void **state)
{
    struct hg_budget budget;

    (void)state;
    hg_budget_init(&budget, 100, 50, 10);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_MAIN, 50), HG_FITS);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_HOT, 40), HG_FITS);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_MAIN), 0);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_HOT), 0);
    hg_budget_resize(&budget, 80, 15, 5);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_MAIN), 10);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_HOT), 25);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_NEGATIVE), 0);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_MAIN, 1), HG_ALL_IS_FULL);
    hg_budget_release(&budget, HG_TIER_HOT, 25);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_MAIN), 0);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_HOT), 0);
    assert_int_equal(hg_budget_reserve(&budget, HG_TIER_MAIN, 15), HG_FITS);
    hg_budget_resize(&budget, 0, 0, 0);
    assert_int_equal(hg_budget_excess(&budget, HG_TIER_MAIN), 65);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_hold_and_a_refusal_reserves_nothing),
        cmocka_unit_test(test_threads_together_never_pass_it),
        cmocka_unit_test(test_lower_limits_say_what_is_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
