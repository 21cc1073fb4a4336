/*
 * Several shards on one budget.
 */
#include "cache/store.h"
#include "base/testing.h"

#include <pthread.h>
#include <stdio.h>

static struct hg_value *make(const char *key, size_t data_len)
{
    static const char data[1000];
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = hg_bytes_str(key), .data = hg_bytes(data, data_len)};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static size_t cost(size_t data_len)
{
    struct hg_value *value = make("a", data_len);
    size_t bytes = hg_store_cost(value);
    hg_value_unref(value);
    return bytes;
}

static void test_a_neighbour_with_the_room_is_asked_for_it(void **state)
{
    struct hg_budget budget;
    struct hg_store mine, theirs;
    (void)state;
    hg_budget_init(&budget, 2 * cost(10), 0, 0);
    assert_int_equal(hg_store_init(&mine, &budget, NULL, NULL), HG_OK);
    assert_int_equal(hg_store_init(&theirs, &budget, NULL, NULL), HG_OK);
    struct hg_value *a = make("a", 10), *b = make("b", 10), *c = make("c", 10);
    assert_int_equal(hg_store_put(&theirs, a, HG_TIER_MAIN, 0, 1), HG_OK);
    assert_int_equal(hg_store_put(&theirs, b, HG_TIER_MAIN, 0, 1), HG_OK);
    assert_int_equal(hg_store_put(&mine, c, HG_TIER_MAIN, 0, 1), HG_ELIMIT);
    assert_false(c->stored);
    assert_int_equal(mine.table.count, 0);
    assert_int_equal(hg_store_evict(&theirs, HG_TIER_MAIN, 1), cost(10));
    assert_false(a->stored);
    assert_int_equal(hg_store_put(&mine, c, HG_TIER_MAIN, 0, 1), HG_OK);
    assert_int_equal(atomic_load(&budget.used), budget.capacity);
    assert_true(hg_store_validate(&mine));
    assert_true(hg_store_validate(&theirs));
    hg_store_finish(&theirs);
    assert_int_equal(atomic_load(&budget.used), cost(10));
    hg_store_finish(&mine);
    hg_value_unref(a);
    hg_value_unref(b);
    hg_value_unref(c);
}

#define SHARDS 4

static struct {
    struct hg_budget budget;
    atomic_uint running;
} shared;

static void *fill_shard(void *arg)
{
    struct hg_test_random random = {(uint64_t)(uintptr_t)arg};
    struct hg_store store;
    if (hg_store_init(&store, &shared.budget, NULL, NULL) < 0)
        return "init";
    const char *fault = NULL;
    for (int i = 0; i < 20000; i++) {
        static char data[600];
        char key[16];
        snprintf(key, sizeof(key), "%zu", hg_test_below(&random, 500));
        struct hg_value_spec spec = {.key = hg_bytes_str(key),
                                     .data = hg_bytes(data, hg_test_below(&random, sizeof(data)))};
        struct hg_value *value = hg_value_create(&spec);
        int err = hg_store_put(&store, value, (enum hg_tier)(i % HG_TIER_COUNT), 0, 1);
        hg_value_unref(value);
        if (err != HG_OK && err != HG_ELIMIT)
            fault = "put";
    }
    if (!hg_store_validate(&store))
        fault = "validate";
    hg_store_finish(&store);
    atomic_fetch_sub(&shared.running, 1);
    return (void *)(uintptr_t)fault;
}

static void test_shards_never_pass_the_budget_they_share(void **state)
{
    pthread_t threads[SHARDS];
    (void)state;
    hg_budget_init(&shared.budget, 200000, 40000, 10000);
    atomic_store(&shared.running, SHARDS);
    for (uintptr_t i = 0; i < SHARDS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fill_shard, (void *)(i + 1)), 0);
    size_t peak = 0;
    while (atomic_load(&shared.running) > 0) {
        size_t used = atomic_load(&shared.budget.used);
        peak = used > peak ? used : peak;
        assert_true(used <= 200000);
        assert_true(atomic_load(&shared.budget.tier_used[HG_TIER_HOT]) <= 40000);
        assert_true(atomic_load(&shared.budget.tier_used[HG_TIER_NEGATIVE]) <= 10000);
    }
    for (size_t i = 0; i < SHARDS; i++) {
        void *fault;
        pthread_join(threads[i], &fault);
        assert_null(fault);
    }
    assert_true(peak > 100000); /* it was tight */
    assert_int_equal(atomic_load(&shared.budget.used), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_neighbour_with_the_room_is_asked_for_it),
        cmocka_unit_test(test_shards_never_pass_the_budget_they_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
