/*
 * Each policy behind the store: against a model where it is exact, in bytes, with everything that can happen to an
 * entry, and without memory.
 */
#include "cache/store.h"
#include "base/hash.h"
#include "base/testing.h"
#include "cache/test_policy_models.h"

#include <stdio.h>

static const struct {
    const char *name;
    model_fn look_up;
} exact[] = {
    {"lru", model_lru},     {"fifo", model_fifo},       {"clock", model_clock}, {"lfu", model_lfu},
    {"sieve", model_sieve}, {"s3-fifo", model_s3_fifo}, {"arc", model_arc},
};

static size_t cost_one(const struct hg_value *value, size_t share_bytes)
{
    (void)value;
    (void)share_bytes;
    return 1;
}

static struct hg_value *make(size_t number, size_t data_len)
{
    static const char data[4000];
    char key[16];
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE,
        .key = hg_bytes(key, (size_t)snprintf(key, sizeof(key), "k%zu", number)),
        .data = hg_bytes(data, data_len)};
    return hg_value_create(&spec);
}

static struct hg_value *get(struct hg_store *store, size_t number)
{
    char key[16];
    struct hg_bytes bytes = hg_bytes(key, (size_t)snprintf(key, sizeof(key), "k%zu", number));
    return hg_store_get(store, hg_hash(bytes), bytes);
}

static bool erase(struct hg_store *store, size_t number)
{
    char key[16];
    struct hg_bytes bytes = hg_bytes(key, (size_t)snprintf(key, sizeof(key), "k%zu", number));
    return hg_store_remove(store, hg_hash(bytes), bytes, HG_EVICT_REMOVED);
}

static int put(struct hg_store *store, size_t number, size_t data_len, enum hg_tier tier)
{
    struct hg_value *value = make(number, data_len);
    if (value == NULL)
        return HG_ENOMEM;
    int err = hg_store_put(store, value, tier, 0, HG_FOREVER);
    hg_value_unref(value);
    return err;
}

/* Some keys often, some seldom, now and then a scan, and what is popular moves on. */
static size_t next_key(struct hg_test_random *random, size_t keys, size_t step)
{
    if (step / 97 % 5 == 4)
        return step % (keys * 3);
    size_t a = hg_test_below(random, keys), b = hg_test_below(random, keys);
    size_t c = hg_test_below(random, keys);
    a = a < b ? a : b;
    return (a < c ? a : c) + step / 2000 * (keys / 5);
}

static void run_exact(size_t index, size_t capacity, size_t keys, uint64_t seed)
{
    static struct policy_model model;
    struct hg_test_random random = {seed};
    struct hg_budget budget;
    struct hg_store store;
    model = (struct policy_model){.capacity = capacity};
    hg_budget_init(&budget, capacity, 0, 0);
    budget.cost = cost_one;
    assert_int_equal(hg_store_init_policy(&store, &budget,
                                          hg_policy_find(hg_bytes_str(exact[index].name)), seed,
                                          NULL, NULL),
                     HG_OK);
    for (size_t step = 0; step < 6000; step++) {
        size_t key = next_key(&random, keys, step);
        bool is_hit = get(&store, key) != NULL;
        if (is_hit != exact[index].look_up(&model, key))
            fail_msg("%s, capacity %zu, seed %d: step %zu, key %zu", exact[index].name, capacity,
                     (int)seed, step, key);
        if (!is_hit)
            assert_int_equal(put(&store, key, 0, HG_TIER_MAIN), HG_OK);
        assert_int_equal(store.table.count, model.a.count + model.b.count);
        if (step % 50 == 0)
            assert_true(hg_store_validate(&store));
    }
    hg_store_finish(&store);
}

static void test_exact_policies_agree_with_models(void **state)
{
    static const size_t capacities[] = {1, 2, 5, 10, 33, 100};
    (void)state;
    for (size_t index = 0; index < HG_COUNT(exact); index++) {
        for (size_t i = 0; i < HG_COUNT(capacities); i++) {
            for (uint64_t seed = 1; seed <= 2; seed++)
                run_exact(index, capacities[i], 20 + capacities[i] * 3, seed);
        }
    }
}

/* Hits of 20000 look-ups at 100 entries. */
static size_t hits_of(const char *name, uint64_t seed, size_t *out_scan_survivors)
{
    struct hg_test_random random = {42};
    struct hg_budget budget;
    struct hg_store store;
    size_t hits = 0;
    hg_budget_init(&budget, 100, 0, 0);
    budget.cost = cost_one;
    assert_int_equal(
        hg_store_init_policy(&store, &budget, hg_policy_find(hg_bytes_str(name)), seed, NULL, NULL),
        HG_OK);
    for (size_t step = 0; step < 20000; step++) {
        size_t key = hg_test_below(&random, 100) * hg_test_below(&random, 100) / 10;
        if (get(&store, key) != NULL)
            hits++;
        else
            assert_int_equal(put(&store, key, 0, HG_TIER_MAIN), HG_OK);
    }
    *out_scan_survivors = 0;
    for (size_t key = 0; key < 1000; key++) {
        assert_int_equal(put(&store, 100000 + key, 0, HG_TIER_MAIN), HG_OK);
        assert_int_equal(store.table.count, 100);
    }
    for (size_t key = 0; key < 1000; key++)
        *out_scan_survivors += get(&store, key) != NULL;
    assert_true(hg_store_validate(&store));
    hg_store_finish(&store);
    return hits;
}

static void test_drawn_policies_depend_on_their_seed_alone(void **state)
{
    size_t survivors, again;
    (void)state;
    size_t random_hits = hits_of("random", 1, &survivors);
    size_t lru_hits = hits_of("lru", 1, &again), sampled_hits = hits_of("sampled-lru", 1, &again);
    assert_int_equal(again, 0); /* nothing old outlives a scan of ten times the cache */
    assert_int_equal(hits_of("random", 1, &again), random_hits);
    assert_int_equal(again, survivors);
    assert_int_not_equal(hits_of("random", 2, &again), random_hits);
    assert_true(random_hits < sampled_hits);
    assert_true(sampled_hits < lru_hits + lru_hits / 50 && sampled_hits > lru_hits - lru_hits / 50);
}

static void test_w_tinylfu_keeps_what_is_popular_through_a_scan(void **state)
{
    size_t survivors;
    (void)state;
    size_t hits = hits_of("w-tinylfu", 1, &survivors);
    assert_true(survivors > 70);
    assert_true(hits > hits_of("lru", 1, &survivors));
    assert_int_equal(survivors, 0);
}

/* Everything that can happen to an entry, in bytes, in all tiers. */
static void run_bytes(const struct hg_policy_ops *policy, size_t capacity, uint64_t seed)
{
    struct hg_test_random random = {seed};
    struct hg_budget budget;
    struct hg_store store;
    size_t live_bytes = hg_alloc_live_bytes();
    hg_budget_init(&budget, capacity, capacity / 4, capacity / 8);
    assert_int_equal(hg_store_init_policy(&store, &budget, policy, seed, NULL, NULL), HG_OK);
    for (size_t step = 0; step < 8000; step++) {
        size_t key = hg_test_below(&random, 40) * hg_test_below(&random, 40) / 8;
        size_t choice = hg_test_below(&random, 100);
        if (choice < 50) {
            size_t before = store.table.count;
            struct hg_value *value = get(&store, key);
            assert_true(value == NULL || value->stored);
            assert_int_equal(store.table.count, before);
        } else if (choice < 85) {
            bool is_big = hg_test_below(&random, 40) == 0;
            enum hg_tier tier = choice < 77   ? HG_TIER_MAIN
                                : choice < 81 ? HG_TIER_HOT
                                              : HG_TIER_NEGATIVE;
            int err = put(&store, key, hg_test_below(&random, is_big ? 4000 : 300), tier);
            assert_true(err == HG_OK || err == HG_ETOOBIG);
            assert_int_equal(get(&store, key) != NULL, err == HG_OK);
        } else if (choice < 93) {
            erase(&store, key);
        } else if (choice < 96) {
            hg_store_evict(&store, HG_TIER_MAIN, hg_test_below(&random, 2000));
        } else if (hg_test_below(&random, 60) == 0) {
            hg_store_clear(&store);
            assert_int_equal(atomic_load(&budget.used), 0);
        }
        assert_true(atomic_load(&budget.used) <= capacity);
        if (step % 10 == 0 && !hg_store_validate(&store))
            fail_msg("%s, capacity %zu, seed %d: step %zu", policy->name, capacity, (int)seed,
                     step);
    }
    assert_true(store.counters.evictions > 100);
    hg_store_finish(&store);
    assert_int_equal(atomic_load(&budget.used), 0);
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

static void test_any_policy_keeps_to_its_bytes_whatever_happens(void **state)
{
    (void)state;
    for (size_t i = 0; hg_policy_at(i) != NULL; i++) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            run_bytes(hg_policy_at(i), 3000, seed);
            run_bytes(hg_policy_at(i), 20000, seed);
        }
    }
}

/* What ghosts, sketches and arrays really take is no more than the entries are charged with. */
static void test_what_policies_remember_is_in_the_budget(void **state)
{
    enum { CAPACITY = 2 << 20 };
    (void)state;
    for (size_t i = 0; hg_policy_at(i) != NULL; i++) {
        struct hg_test_random random = {5};
        struct hg_budget budget;
        struct hg_store store;
        size_t live_bytes = hg_alloc_live_bytes();
        hg_budget_init(&budget, CAPACITY, 0, 0);
        assert_int_equal(hg_store_init_policy(&store, &budget, hg_policy_at(i), 1, NULL, NULL),
                         HG_OK);
        for (size_t step = 0; step < 60000; step++) {
            size_t key = hg_test_below(&random, 300) * hg_test_below(&random, 300);
            if (get(&store, key) == NULL)
                assert_int_equal(put(&store, key, hg_test_below(&random, 200), HG_TIER_MAIN),
                                 HG_OK);
        }
        assert_true(store.counters.evictions > 1000);
        assert_true(atomic_load(&budget.used) > CAPACITY - 4000);
        size_t live = hg_alloc_live_bytes() - live_bytes;
        if (live > CAPACITY)
            fail_msg("%s: %zu bytes", hg_policy_at(i)->name, live);
        hg_store_finish(&store);
    }
}

static void test_a_new_value_of_a_key_keeps_its_rank(void **state)
{
    static const char *const names[] = {"clock", "sieve", "lfu", "s3-fifo", "arc", "w-tinylfu"};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        struct hg_budget budget;
        struct hg_store store;
        hg_budget_init(&budget, 20, 0, 0);
        budget.cost = cost_one;
        assert_int_equal(hg_store_init_policy(&store, &budget,
                                              hg_policy_find(hg_bytes_str(names[i])), 1, NULL,
                                              NULL),
                         HG_OK);
        for (size_t key = 0; key < 20; key++)
            assert_int_equal(put(&store, key, 0, HG_TIER_MAIN), HG_OK);
        for (int n = 0; n < 5; n++)
            assert_non_null(get(&store, 7));
        for (size_t key = 0; key < 60;
             key++) { /* a scan, while the key is refreshed again and again */
            assert_int_equal(put(&store, 1000 + key, 0, HG_TIER_MAIN), HG_OK);
            if (key % 10 == 9) {
                assert_int_equal(put(&store, 7, 1, HG_TIER_MAIN), HG_OK);
                assert_non_null(get(&store, 7));
            }
        }
        for (size_t key = 0; key < 15; key++)
            assert_int_equal(put(&store, 2000 + key, 0, HG_TIER_MAIN), HG_OK);
        if (get(&store, 7) == NULL)
            fail_msg("%s", names[i]);
        assert_true(hg_store_validate(&store));
        hg_store_finish(&store);
    }
}

static const struct hg_policy_ops *swept;

static int fill(void *ctx)
{
    struct hg_budget budget;
    struct hg_store store;
    (void)ctx;
    hg_budget_init(&budget, 40, 0, 0);
    budget.cost = cost_one;
    int err = hg_store_init_policy(&store, &budget, swept, 1, NULL, NULL);
    if (err < 0)
        return err;
    bool was_refused = false;
    for (size_t step = 0; step < 200 && err == HG_OK; step++) {
        size_t key = step % 3 == 0 ? step / 3 % 9 : step * 37 % 61;
        if (get(&store, key) == NULL)
            err = put(&store, key, 0, HG_TIER_MAIN);
        was_refused = was_refused || err == HG_ENOMEM;
        assert_true(hg_store_validate(&store));
        assert_true(err == HG_OK || err == HG_ENOMEM);
        assert_int_equal(get(&store, key) != NULL, err == HG_OK);
    }
    hg_store_finish(&store);
    return was_refused ? HG_ENOMEM : HG_OK;
}

/* Tables, ghosts, sketches and runs do without; entries, arrays and the store itself do not. */
static void test_no_memory_costs_an_entry_at_most(void **state)
{
    (void)state;
    for (size_t i = 0; hg_policy_at(i) != NULL; i++) {
        swept = hg_policy_at(i);
        for (size_t nth = 0;; nth++) {
            size_t live_bytes = hg_alloc_live_bytes();
            hg_alloc_fail_at(nth, false);
            int err = fill(NULL);
            bool refused = hg_alloc_fail_clear();
            assert_int_equal(hg_alloc_live_bytes(), live_bytes);
            if (!refused) {
                assert_int_equal(err, HG_OK);
                assert_true(nth > 40);
                break;
            }
        }
    }
}

static void test_policies_are_known_by_name(void **state)
{
    static const char *const names[] = {"lru", "fifo",  "random",  "clock",     "sampled-lru",
                                        "lfu", "sieve", "s3-fifo", "w-tinylfu", "arc"};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        assert_string_equal(hg_policy_at(i)->name, names[i]);
        assert_ptr_equal(hg_policy_find(hg_bytes_str(names[i])), hg_policy_at(i));
    }
    assert_null(hg_policy_at(HG_COUNT(names)));
    assert_null(hg_policy_find(HG_BYTES("LRU")));
    assert_null(hg_policy_find(HG_BYTES_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_policies_agree_with_models),
        cmocka_unit_test(test_drawn_policies_depend_on_their_seed_alone),
        cmocka_unit_test(test_w_tinylfu_keeps_what_is_popular_through_a_scan),
        cmocka_unit_test(test_any_policy_keeps_to_its_bytes_whatever_happens),
        cmocka_unit_test(test_what_policies_remember_is_in_the_budget),
        cmocka_unit_test(test_a_new_value_of_a_key_keeps_its_rank),
        cmocka_unit_test(test_no_memory_costs_an_entry_at_most),
        cmocka_unit_test(test_policies_are_known_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
