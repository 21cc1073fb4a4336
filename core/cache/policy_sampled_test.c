#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "cache/policy_sampled.h"
#include "cache/store.h"

struct bench {
    struct hg_budget budget;
    struct hg_store store;
};

static void open_store(struct bench *bench, size_t capacity)
{
    hg_budget_init(&bench->budget, capacity, 0, 0);
    assert_int_equal(
        hg_store_init_policy(&bench->store, &bench->budget, &hg_policy_sampled, 1, NULL, NULL),
        HG_OK);
}

static int put(struct bench *bench, const char *key, uint64_t expires_ms)
{
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = hg_bytes_str(key), .data = HG_BYTES("v")};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    int err =
        hg_store_put(&bench->store, value, HG_TIER_MAIN, bench->store.policy->now_ms, expires_ms);
    hg_value_unref(value);
    return err;
}

static bool touch(struct bench *bench, const char *key)
{
    return hg_store_get(&bench->store, hg_hash(hg_bytes_str(key)), hg_bytes_str(key)) != NULL;
}

static void test_samples_tell_what_a_score_is_made_of(void **state)
{
    (void)state;
    struct bench bench;
    struct hg_sample samples[HG_SAMPLES_MAX];
    open_store(&bench, 1 << 20);
    hg_policy_sampled_take(bench.store.policy, 5, samples); /* of nothing: none */
    hg_policy_set_time(bench.store.policy, 1000, 70);
    assert_int_equal(put(&bench, "k", 9000), HG_OK);
    hg_policy_set_time(bench.store.policy, 3000, 0);
    assert_true(touch(&bench, "k"));
    assert_true(touch(&bench, "k"));
    hg_policy_set_time(bench.store.policy, 3500, 0);
    assert_int_equal(hg_policy_sampled_take(bench.store.policy, 3, samples), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(samples[i].age_ms, 2500);
        assert_int_equal(samples[i].idle_ms, 500);
        assert_int_equal(samples[i].hits, 2);
        assert_int_equal(samples[i].cost_ms, 70);
        assert_int_equal(samples[i].ttl_ms, 5500);
        assert_int_equal(samples[i].size_bytes,
                         hg_store_entry_cost(&bench.store, samples[i].value));
    }
    hg_samples_release(samples, 3);
    /* A new value of the key has its hits, and its own cost. */
    hg_policy_set_time(bench.store.policy, 4000, 5);
    assert_int_equal(put(&bench, "k", HG_FOREVER), HG_OK);
    assert_int_equal(hg_policy_sampled_take(bench.store.policy, 1, samples), 1);
    assert_int_equal(samples[0].hits, 2);
    assert_int_equal(samples[0].cost_ms, 5);
    assert_true(samples[0].ttl_ms == HG_FOREVER);
    hg_samples_release(samples, 1);
    hg_store_finish(&bench.store);
}

static void test_a_sample_is_void_when_something_happened_to_it(void **state)
{
    (void)state;
    struct bench bench;
    struct hg_sample sample;
    struct hg_policy *policy;
    open_store(&bench, 1 << 20);
    policy = bench.store.policy;
    assert_int_equal(put(&bench, "k", HG_FOREVER), HG_OK);
    assert_int_equal(hg_policy_sampled_take(policy, 1, &sample), 1);
    assert_true(hg_policy_sampled_is_unchanged(policy, &sample));
    assert_int_equal(put(&bench, "other", HG_FOREVER), HG_OK);
    assert_true(hg_policy_sampled_is_unchanged(policy, &sample));
    assert_true(touch(&bench, "k"));
    assert_false(hg_policy_sampled_is_unchanged(policy, &sample));
    hg_samples_release(&sample, 1);

    while (hg_policy_sampled_take(policy, 1, &sample) == 1 && hg_value_key(sample.value).len != 1)
        hg_samples_release(&sample, 1);
    assert_int_equal(put(&bench, "k", HG_FOREVER), HG_OK); /* replaced */
    assert_false(hg_policy_sampled_is_unchanged(policy, &sample));
    hg_samples_release(&sample, 1);

    assert_int_equal(hg_policy_sampled_take(policy, 1, &sample), 1);
    hg_store_clear(&bench.store);
    assert_false(hg_policy_sampled_is_unchanged(policy, &sample));
    hg_samples_release(&sample, 1);
    hg_store_finish(&bench.store);
}

static void test_where_room_is_needed_at_once_the_old_go_and_are_counted(void **state)
{
    (void)state;
    struct bench bench;
    char key[16];
    size_t live_bytes = hg_alloc_live_bytes();
    open_store(&bench, 40 << 10);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(put(&bench, key, HG_FOREVER), HG_OK);
        assert_true(touch(&bench, key));
        touch(&bench, "k0"); /* in use all the time */
    }
    assert_true(hg_store_validate(&bench.store));
    assert_true(bench.store.counters.evictions > 1000);
    assert_int_equal(hg_policy_sampled_unscored(bench.store.policy),
                     bench.store.counters.evictions);
    assert_true(touch(&bench, "k0"));
    hg_store_finish(&bench.store);
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

static void test_without_memory_an_entry_is_not_in(void **state)
{
    (void)state;
    struct bench bench;
    open_store(&bench, 1 << 20);
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("k"), .data = HG_BYTES("v")};
    struct hg_value *value = hg_value_create(&spec);
    hg_alloc_fail_at(0, false);
    assert_int_equal(hg_store_put(&bench.store, value, HG_TIER_MAIN, 0, HG_FOREVER), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    assert_true(hg_store_validate(&bench.store));
    assert_int_equal(bench.store.table.count, 0);
    hg_value_unref(value);
    hg_store_finish(&bench.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_tell_what_a_score_is_made_of),
        cmocka_unit_test(test_a_sample_is_void_when_something_happened_to_it),
        cmocka_unit_test(test_where_room_is_needed_at_once_the_old_go_and_are_counted),
        cmocka_unit_test(test_without_memory_an_entry_is_not_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
