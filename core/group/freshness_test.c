#include "group/fake_source.h"
#include "group/freshness.h"

static void test_jittered_life_is_uniform_between_its_ends(void **state)
{
    uint64_t seed = 7, sum = 0, least = UINT64_MAX, most = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t life_ms = hg_life_jittered(1000, 0.1, fake_next(&seed));
        assert_in_range(life_ms, 900, 1000);
        sum += life_ms;
        least = life_ms < least ? life_ms : least;
        most = life_ms > most ? life_ms : most;
    }
    assert_in_range(sum / 100000, 948, 952);
    assert_true(least <= 902);
    assert_int_equal(most, 1000);
}

static void test_lives_without_jitter_or_end_stay(void **state)
{
    (void)state;
    assert_int_equal(hg_life_jittered(1000, 0, UINT64_MAX), 1000);
    assert_int_equal(hg_life_jittered(0, 0.5, UINT64_MAX), 0);
    assert_true(hg_life_jittered(HG_FOREVER, 0.5, UINT64_MAX) == HG_FOREVER);
    assert_int_equal(hg_life_jittered(1, 1, UINT64_MAX), 1);
    assert_int_equal(hg_life_jittered(1000, 5, UINT64_MAX), 1); /* more than all of it */
    assert_true(hg_life_jittered(HG_FOREVER - 2, 1, UINT64_MAX) >= 1);
}

static void test_first_errors_live_for_error_ttl(void **state)
{
    (void)state;
    assert_int_equal(hg_error_life(1000, 60000, 0, UINT64_MAX), 1000);
    assert_int_equal(hg_error_life(1000, 1000, 1000, UINT64_MAX), 1000);
    assert_int_equal(hg_error_life(1000, 0, 1000, UINT64_MAX), 1000);
    assert_int_equal(hg_error_life(0, 60000, 1000, UINT64_MAX), 0);
    assert_true(hg_error_life(HG_FOREVER, HG_FOREVER, 1000, 0) == HG_FOREVER);
}

static void test_errors_in_a_row_live_twice_as_long_each_time(void **state)
{
    uint64_t seed = 5, sum = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t life_ms = hg_error_life(1000, 60000, 2000, fake_next(&seed));
        assert_in_range(life_ms, 2000, 6000);
        sum += life_ms;
    }
    assert_in_range(sum / 100000, 3980, 4020);
    /* Not shorter than error_ttl, whatever the last was cut to. */
    assert_in_range(hg_error_life(1000, 60000, 400, 0), 1000, 1200);
    assert_int_equal(hg_error_life(1000, 60000, 100, UINT64_MAX), 1000);
    /* The bound leaves room for chance. */
    sum = 0;
    for (int i = 0; i < 100000; i++) {
        uint64_t life_ms = hg_error_life(1000, 60000, 60000, fake_next(&seed));
        assert_in_range(life_ms, 30000, 60000);
        sum += life_ms;
    }
    assert_in_range(sum / 100000, 44900, 45100);
    assert_in_range(hg_error_life(1000, 1500, 1000, UINT64_MAX), 1000, 1500);
    assert_in_range(hg_error_life(1000, HG_FOREVER, 1000, 0), 1000, 3000);
}

static void test_rows_of_errors_stay_between_error_ttl_and_its_bound(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (int row = 0; row < 2000; row++) {
        uint64_t ttl_ms = 1 + fake_next(&seed) % 5000;
        uint64_t max_ms = ttl_ms + fake_next(&seed) % 100000;
        uint64_t life_ms = hg_error_life(ttl_ms, max_ms, 0, fake_next(&seed));
        assert_int_equal(life_ms, ttl_ms);
        for (int i = 0; i < 30; i++) {
            uint64_t last_ms = life_ms;
            life_ms = hg_error_life(ttl_ms, max_ms, last_ms, fake_next(&seed));
            assert_in_range(life_ms, ttl_ms, max_ms);
            assert_true(life_ms >= last_ms || life_ms >= max_ms / 2);
        }
        assert_true(life_ms >= max_ms / 2);
    }
}

static void test_an_error_notes_its_life(void **state)
{
    struct hg_value_spec spec = spec_of(HG_BYTES("k"), "why");
    size_t live = hg_alloc_live_bytes();

    (void)state;
    spec.status = HG_STATUS_ERROR;
    spec.retry_after_ms = 7;
    struct hg_value *error = hg_error_note_life(hg_value_create(&spec), 300);
    hg_value_set_times(error, 0, 1000);
    assert_int_equal(hg_value_more(error).retry_after_ms, 7);
    assert_int_equal(hg_error_last_life(error, 1299), 300);
    assert_int_equal(hg_error_last_life(error, 1300), 0);
    assert_int_equal(hg_error_last_life(NULL, 0), 0);
    assert_false(hg_value_is_good_on_error(error, 1000, 1100));

    spec.retry_after_ms = 0; /* no room for it: a copy is made, or not */
    struct hg_value *plain = hg_value_create(&spec);
    hg_alloc_fail_at(0, true);
    assert_null(hg_error_note_life(plain, 300));
    hg_alloc_fail_clear();
    plain = hg_error_note_life(plain, 300);
    assert_int_equal(hg_error_last_life(plain, 0), 300);
    spec.status = HG_STATUS_VALUE;
    spec.stale_if_error_ms = 300;
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_error_last_life(value, 0), 0);
    hg_value_unref(value);
    hg_value_unref(plain);
    hg_value_unref(error);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void test_windows_end_exactly(void **state)
{
    (void)state;
    assert_true(hg_is_within(100, 50, 149));
    assert_false(hg_is_within(100, 50, 150));
    assert_false(hg_is_within(100, 0, 100));
    assert_true(hg_is_within(100, HG_FOREVER, HG_FOREVER - 1));

    struct hg_value_spec spec = spec_of(HG_BYTES("k"), "v");
    spec.stale_while_revalidate_ms = 10;
    spec.stale_if_error_ms = 20;
    struct hg_value *value = hg_value_create(&spec);
    hg_value_set_times(value, 0, 100);
    assert_true(hg_is_fresh(hg_value_expires_ms(value), 99));
    assert_false(hg_is_fresh(hg_value_expires_ms(value), 100));
    assert_true(hg_value_is_good_on_error(value, 100, 119));
    assert_false(hg_value_is_good_on_error(value, 100, 120));
    assert_true(hg_value_is_good_on_timeout(value, 100, 119));
    assert_false(hg_value_is_good_on_timeout(value, 100, 120));
    hg_value_unref(value);
    spec.status = HG_STATUS_ERROR;
    value = hg_value_create(&spec);
    hg_value_set_times(value, 0, 100);
    assert_false(hg_value_is_good_on_error(value, 100, 99));
    hg_value_unref(value);
}

static void test_a_retry_waits_as_long_as_it_was_stale_within_bounds(void **state)
{
    (void)state;
    assert_false(hg_is_retry_due(1000, 1000, 1049));
    assert_true(hg_is_retry_due(1000, 1000, 1050));
    assert_true(hg_is_retry_due(1000, 900, 950)); /* failed before its end: an early refresh */
    assert_false(hg_is_retry_due(1000, 1500, 1999));
    assert_true(hg_is_retry_due(1000, 1500, 2000));
    assert_false(hg_is_retry_due(1000, 100000, 109999));
    assert_true(hg_is_retry_due(1000, 100000, 110000));
    assert_false(hg_is_retry_due(0, HG_FOREVER - 1, HG_FOREVER - 1));
}

static void test_early_refresh_has_the_papers_odds(void **state)
{
    uint64_t seed = 3;
    int early = 0;

    (void)state;
    /* P(early) = P(-ln u >= gap / (delta x beta)) = e^-1 at one load time, e^-2 at two. */
    for (int i = 0; i < 100000; i++)
        early += hg_is_early(1, 100 * 16, 1100, 1000, fake_next(&seed));
    assert_in_range(early, 36000, 37600); /* 36788 */
    early = 0;
    for (int i = 0; i < 100000; i++)
        early += hg_is_early(0.5, 100 * 16, 1100, 1000, fake_next(&seed));
    assert_in_range(early, 12900, 14200); /* 13534 */

    assert_false(hg_is_early(0, 100 * 16, 1100, 1099, 1));
    assert_false(hg_is_early(1, 100 * 16, HG_FOREVER, 1000, 1));
    assert_false(hg_is_early(1, 0, 1100, 1000, 1));
    assert_false(hg_is_early(1, 100 * 16, 1000, 1000, 0)); /* it is stale already */
    assert_true(hg_is_early(1, 100 * 16, 1100, 1000, 0));
    assert_false(hg_is_early(1, 100 * 16, 1100, 1000, UINT64_MAX));
}

static void test_windows_are_filled_from_the_group(void **state)
{
    struct hg_group_config config = {.stale_while_revalidate_ms = 10, .stale_if_error_ms = 20};
    struct hg_value_spec spec = spec_of(HG_BYTES("k"), "v");
    size_t live = hg_alloc_live_bytes();

    (void)state;
    /* A plain value has no room for them: it is made anew. */
    struct hg_value *value = hg_value_create(&spec);
    assert_false(hg_value_fill_windows(value, &config, false));
    value = hg_value_with_windows(value, &config, false);
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 10);
    assert_int_equal(hg_value_more(value).stale_if_error_ms, 20);
    assert_ptr_equal(hg_value_with_windows(value, &config, false), value);
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 10);
    assert_int_equal(hg_value_more(value).stale_if_error_ms, 20);
    assert_true(hg_value_fill_windows(value, &config, true));
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 0);
    assert_int_equal(hg_value_more(value).stale_if_error_ms, 0);

    hg_value_ref(value);
    assert_false(hg_value_fill_windows(value, &config, false));
    hg_alloc_fail_at(0, true);
    assert_null(hg_value_with_windows(value, &config, false));
    hg_alloc_fail_clear();
    struct hg_value *copy = hg_value_with_windows(value, &config, false);
    assert_ptr_not_equal(copy, value);
    assert_int_equal(hg_value_more(copy).stale_if_error_ms, 20);
    assert_int_equal(hg_value_more(value).stale_if_error_ms, 0);
    hg_value_unref(copy);
    hg_value_unref(value);

    spec.has_swr = true;
    spec.stale_while_revalidate_ms = 3;
    value = hg_value_create(&spec);
    assert_true(hg_value_fill_windows(value, &config, false));
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 3);
    assert_int_equal(hg_value_more(value).stale_if_error_ms, 20);
    hg_value_unref(value);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jittered_life_is_uniform_between_its_ends),
        cmocka_unit_test(test_lives_without_jitter_or_end_stay),
        cmocka_unit_test(test_first_errors_live_for_error_ttl),
        cmocka_unit_test(test_errors_in_a_row_live_twice_as_long_each_time),
        cmocka_unit_test(test_rows_of_errors_stay_between_error_ttl_and_its_bound),
        cmocka_unit_test(test_an_error_notes_its_life),
        cmocka_unit_test(test_windows_end_exactly),
        cmocka_unit_test(test_a_retry_waits_as_long_as_it_was_stale_within_bounds),
        cmocka_unit_test(test_early_refresh_has_the_papers_odds),
        cmocka_unit_test(test_windows_are_filled_from_the_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
