#include "cache/test_store.h"

static void test_what_is_put_is_found_until_removed(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    assert_null(get(&f, "a"));
    assert_null(peek(&f, "a"));
    assert_false(erase(&f, "a"));
    struct hg_value *value = make("a", 5);
    assert_int_equal(hg_store_put(&f.store, value, HG_TIER_MAIN, 11, 22), HG_OK);
    assert_ptr_equal(get(&f, "a"), value);
    assert_ptr_equal(peek(&f, "a"), value);
    assert_int_equal(hg_value_created_ms(value), 11);
    assert_int_equal(hg_value_expires_ms(value), 22);
    assert_int_equal(hg_value_refs(value), 2);
    assert_int_equal(hg_store_cost(value), cost(5));
    assert_int_equal(atomic_load(&f.budget.used), cost(5));
    assert_true(erase(&f, "a"));
    assert_null(get(&f, "a"));
    assert_int_equal(hg_value_refs(value), 1);
    assert_int_equal(atomic_load(&f.budget.used), 0);
    assert_log(&f.log, 0, "a", HG_EVICT_REMOVED);
    hg_value_unref(value);
    fixture_finish(&f);
}

static void test_a_full_store_evicts_the_least_recently_used(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 3 * cost(10), 0, 0);
    put(&f, "a", 10, HG_TIER_MAIN);
    put(&f, "b", 10, HG_TIER_MAIN);
    put(&f, "c", 10, HG_TIER_MAIN);
    assert_int_equal(f.log.count, 0);
    assert_non_null(get(&f, "a"));
    assert_non_null(get(&f, "a"));  /* the front entry again */
    assert_non_null(peek(&f, "b")); /* not a use */
    assert_int_equal(put(&f, "d", 10, HG_TIER_MAIN), HG_OK);
    assert_log(&f.log, 0, "b", HG_EVICT_CAPACITY);
    assert_int_equal(put(&f, "e", 10, HG_TIER_MAIN), HG_OK);
    assert_log(&f.log, 1, "c", HG_EVICT_CAPACITY);
    assert_int_equal(put(&f, "f", 10, HG_TIER_MAIN), HG_OK);
    assert_log(&f.log, 2, "a", HG_EVICT_CAPACITY);
    assert_int_equal(f.log.count, 3);
    assert_int_equal(f.store.counters.evictions, 3);
    fixture_finish(&f);
}

static void test_replacing_tells_and_frees_the_older_entry(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 2 * cost(1000), 0, 0);
    put(&f, "a", 1000, HG_TIER_MAIN);
    put(&f, "b", 1000, HG_TIER_MAIN);
    assert_int_equal(put(&f, "a", 900, HG_TIER_MAIN), HG_OK);
    assert_int_equal(f.log.count, 1); /* room came from the older one: b stays */
    assert_log(&f.log, 0, "a", HG_EVICT_REPLACED);
    assert_int_equal(hg_value_data_len(get(&f, "a")), 900);
    assert_non_null(peek(&f, "b"));
    assert_int_equal(f.store.counters.evictions, 0);
    fixture_finish(&f);
}

static void test_too_big_evicts_nothing_but_its_own_older_entry(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 2 * cost(1000), cost(100), cost(100));
    put(&f, "a", 1000, HG_TIER_MAIN);
    put(&f, "b", 1000, HG_TIER_MAIN);
    assert_int_equal(put(&f, "c", 5000, HG_TIER_MAIN), HG_ETOOBIG);
    assert_int_equal(put(&f, "c", 1000, HG_TIER_HOT), HG_ETOOBIG);
    assert_int_equal(put(&f, "c", 1000, HG_TIER_NEGATIVE), HG_ETOOBIG);
    assert_int_equal(f.log.count, 0);
    assert_int_equal(put(&f, "a", 5000, HG_TIER_MAIN), HG_ETOOBIG);
    assert_int_equal(f.log.count, 1);
    assert_log(&f.log, 0, "a", HG_EVICT_REPLACED);
    assert_null(peek(&f, "a"));
    assert_non_null(peek(&f, "b"));
    assert_int_equal(f.store.counters.rejected, 4);
    fixture_finish(&f);
}

static void test_a_value_of_exactly_the_capacity_fits(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, cost(1000), 0, 0);
    assert_int_equal(put(&f, "a", 1000, HG_TIER_MAIN), HG_OK);
    assert_int_equal(atomic_load(&f.budget.used), f.budget.capacity);
    assert_int_equal(put(&f, "b", 1000, HG_TIER_MAIN), HG_OK);
    assert_int_equal(atomic_load(&f.budget.used), f.budget.capacity);
    fixture_finish(&f);
    fixture_init(&f, cost(1000) - 1, 0, 0);
    assert_int_equal(put(&f, "a", 1000, HG_TIER_MAIN), HG_ETOOBIG);
    fixture_finish(&f);
    fixture_init(&f, 0, 0, 0);
    assert_int_equal(put(&f, "a", 0, HG_TIER_MAIN), HG_ETOOBIG);
    fixture_finish(&f);
}

static void test_each_tier_keeps_to_its_limit_and_evicts_its_own(void **state)
{
    static const enum hg_tier tiers[] = {HG_TIER_HOT, HG_TIER_NEGATIVE};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(tiers); i++) {
        struct fixture f;
        fixture_init(&f, 100 * cost(10), 2 * cost(10), 2 * cost(10));
        put(&f, "m", 10, HG_TIER_MAIN);
        put(&f, "a", 10, tiers[i]);
        put(&f, "b", 10, tiers[i]);
        assert_non_null(get(&f, "a"));
        assert_int_equal(put(&f, "c", 10, tiers[i]), HG_OK);
        assert_int_equal(f.log.count, 1);
        assert_log(&f.log, 0, "b", HG_EVICT_CAPACITY);
        assert_int_equal(hg_budget_used(&f.budget, (enum hg_tier)tiers[i]), 2 * cost(10));
        assert_int_equal(f.store.tier_count[tiers[i]], 2);
        fixture_finish(&f);
    }
}

static void test_main_uses_what_others_leave_and_gives_it_back(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 4 * cost(10), 2 * cost(10), cost(10));
    put(&f, "a", 10, HG_TIER_MAIN);
    put(&f, "b", 10, HG_TIER_MAIN);
    put(&f, "c", 10, HG_TIER_MAIN);
    put(&f, "d", 10, HG_TIER_MAIN);
    assert_int_equal(f.log.count, 0); /* all of it */
    put(&f, "h", 10, HG_TIER_HOT);
    put(&f, "i", 10, HG_TIER_HOT);
    assert_log(&f.log, 0, "a", HG_EVICT_CAPACITY);
    assert_log(&f.log, 1, "b", HG_EVICT_CAPACITY);
    put(&f, "e", 10, HG_TIER_MAIN); /* does not take from hot */
    assert_log(&f.log, 2, "c", HG_EVICT_CAPACITY);
    assert_int_equal(f.log.count, 3);
    assert_non_null(peek(&f, "h"));
    assert_non_null(peek(&f, "i"));
    /* A big one takes main's first, and then theirs. */
    size_t len = 10;
    while (cost(len + 1) <= f.budget.capacity)
        len++;
    assert_true(cost(len) > 3 * cost(10));
    assert_int_equal(put(&f, "g", len, HG_TIER_MAIN), HG_OK);
    assert_log(&f.log, 3, "d", HG_EVICT_CAPACITY);
    assert_log(&f.log, 4, "e", HG_EVICT_CAPACITY);
    assert_log(&f.log, 5, "h", HG_EVICT_CAPACITY);
    assert_log(&f.log, 6, "i", HG_EVICT_CAPACITY);
    fixture_finish(&f);
}

static void test_evict_frees_at_least_what_was_asked_or_all(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 1 << 20, 1 << 20);
    put(&f, "a", 10, HG_TIER_HOT);
    put(&f, "b", 10, HG_TIER_HOT);
    put(&f, "c", 10, HG_TIER_HOT);
    put(&f, "m", 10, HG_TIER_MAIN);
    assert_int_equal(hg_store_evict(&f.store, HG_TIER_HOT, 0), 0);
    assert_int_equal(hg_store_evict(&f.store, HG_TIER_HOT, cost(10) + 1), 2 * cost(10));
    assert_non_null(peek(&f, "c"));
    assert_int_equal(hg_store_evict(&f.store, HG_TIER_HOT, SIZE_MAX), cost(10));
    assert_int_equal(hg_store_evict(&f.store, HG_TIER_HOT, SIZE_MAX), 0);
    assert_non_null(peek(&f, "m"));
    fixture_finish(&f);
}

static void put_windows(struct fixture *f, const char *key, uint64_t expires_ms, uint64_t swr_ms,
                        uint64_t sie_ms)
{
    struct hg_value_spec spec = {.status = HG_STATUS_VALUE,
                                 .key = hg_bytes_str(key),
                                 .stale_while_revalidate_ms = swr_ms,
                                 .stale_if_error_ms = sie_ms};
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_store_put(&f->store, value, HG_TIER_MAIN, 0, expires_ms), HG_OK);
    hg_value_unref(value);
}

static void test_entries_are_freed_after_expiry_and_every_stale_window(void **state)
{
    static const struct {
        uint64_t expires_ms, swr_ms, sie_ms, end_ms;
    } table[] = {
        {1000, 0, 0, 1000},
        {1000, 50, 20, 1050},
        {1000, 50, 200, 1200},
        {0, 0, 0, 0},
        {HG_FOREVER, 0, 0, HG_FOREVER},
        {1000, HG_FOREVER, 0, HG_FOREVER},
        {HG_VALUE_TIME_MAX - 5, 3, 0, HG_VALUE_TIME_MAX - 2},
        {HG_VALUE_TIME_MAX, 0, 0, HG_FOREVER},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct fixture f;
        fixture_init(&f, 1 << 20, 0, 0);
        put_windows(&f, "a", table[i].expires_ms, table[i].swr_ms, table[i].sie_ms);
        if (table[i].end_ms > 0) {
            assert_int_equal(hg_store_expire_step(&f.store, table[i].end_ms - 1, SIZE_MAX), 0);
            assert_non_null(get(&f, "a")); /* stale, but there */
        }
        size_t expected = table[i].end_ms != HG_FOREVER;
        assert_int_equal(hg_store_expire_step(&f.store, table[i].end_ms, SIZE_MAX), expected);
        assert_int_equal(get(&f, "a") == NULL, expected);
        assert_int_equal(f.store.counters.expirations, expected);
        if (expected)
            assert_log(&f.log, 0, "a", HG_EVICT_EXPIRED);
        fixture_finish(&f);
    }
}

static void test_set_expiry_moves_the_end(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    put_until(&f, "a", 10, HG_TIER_MAIN, 1000);
    hg_store_set_expiry(&f.store, peek(&f, "a"), 500);
    assert_int_equal(hg_store_expire_step(&f.store, 499, SIZE_MAX), 0);
    assert_int_equal(hg_store_expire_step(&f.store, 500, SIZE_MAX), 1);
    fixture_finish(&f);
}

static void test_hand_goes_round_in_small_steps(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        put_until(&f, key, 10, HG_TIER_MAIN, i % 2 == 0 ? 100 : 200);
    }
    assert_int_equal(hg_store_expire_step(&f.store, 100, 0), 0);
    size_t freed = 0, rounds = hg_table_row_count(&f.store.table);
    for (size_t i = 0; i < 2 * rounds; i++)
        freed += hg_store_expire_step(&f.store, 100, 1);
    assert_int_equal(freed, 100);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(peek(&f, key) != NULL, i % 2 == 1);
    }
    assert_true(hg_store_validate(&f.store));
    fixture_finish(&f);
}

static uint64_t always_7(struct hg_bytes key)
{
    (void)key;
    return 7;
}

static void test_equal_hashes_are_told_apart_by_key(void **state)
{
    static const struct hg_bytes keys[] = {HG_BYTES("a"), HG_BYTES("b"), HG_BYTES("ab"),
                                           HG_BYTES("a\0"), HG_BYTES("")};
    struct hg_value *values[HG_COUNT(keys)];
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    f.store.table.hash = always_7;
    for (size_t i = 0; i < HG_COUNT(keys); i++) {
        struct hg_value_spec spec = {.key = keys[i]};
        values[i] = hg_value_create(&spec);
        assert_int_equal(hg_store_put(&f.store, values[i], HG_TIER_MAIN, 0, 1), HG_OK);
    }
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        assert_ptr_equal(hg_store_get(&f.store, 7, keys[i]), values[i]);
    assert_ptr_equal(hg_store_get(&f.store, 7, HG_BYTES_NONE), values[4]);
    assert_true(hg_store_remove(&f.store, 7, keys[2], HG_EVICT_EXPIRED));
    assert_null(hg_store_get(&f.store, 7, keys[2]));
    assert_null(hg_store_get(&f.store, 8, keys[1]));
    assert_ptr_equal(hg_store_get(&f.store, 7, keys[1]), values[1]);
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        hg_value_unref(values[i]);
    f.store.on_evict = NULL; /* "a\0" does not suit the log */
    fixture_finish(&f);
}

static void test_clear_tells_of_each(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 1 << 20, 1 << 20);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        put(&f, key, 10, (enum hg_tier)(i % HG_TIER_COUNT));
        hg_store_get(&f.store, 0, HG_BYTES("x"));
    }
    hg_store_clear(&f.store);
    assert_int_equal(f.log.count, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(f.log.lines[i].reason, HG_EVICT_REMOVED);
    assert_int_equal(f.store.table.count, 0);
    assert_int_equal(atomic_load(&f.budget.used), 0);
    assert_true(hg_store_validate(&f.store));
    assert_int_equal(put(&f, "a", 10, HG_TIER_MAIN), HG_OK); /* ready for reuse */
    fixture_finish(&f);
}

static void test_many_are_looked_up_as_one_by_one(void **state)
{
    enum { COUNT = 50 };
    struct fixture f;
    char texts[COUNT][16];
    struct hg_bytes keys[COUNT];
    uint64_t hashes[COUNT];
    struct hg_value *found[COUNT];
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof(texts[i]), "k%zu", i / 2); /* each twice */
        keys[i] = hg_bytes_str(texts[i]);
        hashes[i] = hg_hash(keys[i]);
        if (i % 4 == 0)
            put(&f, texts[i], 10, HG_TIER_MAIN);
    }
    hg_store_get_many(&f.store, hashes, keys, COUNT, found);
    for (size_t i = 0; i < COUNT; i++)
        assert_ptr_equal(found[i], i / 2 % 2 == 0 ? peek(&f, texts[i]) : NULL);
    assert_non_null(found[0]);
    assert_true(
        hg_bytes_eq(hg_value_key(hg_store_order(&f.store, HG_TIER_MAIN)->first), HG_BYTES("k24")));
    hg_store_get_many(&f.store, hashes, keys, 0, found);
    fixture_finish(&f);
}

static void keep(void *ctx, struct hg_value *value, enum hg_evict_reason reason)
{
    struct hg_value **kept = ctx;
    (void)reason;
    *kept = hg_value_ref(value);
}

static void test_callback_may_keep_the_value(void **state)
{
    struct hg_budget budget;
    struct hg_store store;
    struct hg_value *kept = NULL;
    (void)state;
    hg_budget_init(&budget, 1 << 20, 0, 0);
    assert_int_equal(hg_store_init(&store, &budget, keep, &kept), HG_OK);
    struct hg_value *value = make("a", 10);
    hg_store_put(&store, value, HG_TIER_MAIN, 0, 1);
    hg_value_unref(value);
    hg_store_remove(&store, hg_hash(HG_BYTES("a")), HG_BYTES("a"), HG_EVICT_REMOVED);
    assert_true(hg_bytes_eq(hg_value_key(kept), HG_BYTES("a")));
    /* It can be put again. */
    assert_int_equal(hg_store_put(&store, kept, HG_TIER_MAIN, 0, 1), HG_OK);
    hg_value_unref(kept);
    hg_store_finish(&store);
    hg_store_finish(&store); /* zeroed memory is fine */
    hg_store_finish(NULL);
}

static void test_reasons_have_names(void **state)
{
    (void)state;
    assert_string_equal(hg_evict_reason_name(HG_EVICT_CAPACITY), "capacity");
    assert_string_equal(hg_evict_reason_name(HG_EVICT_EXPIRED), "expired");
    assert_string_equal(hg_evict_reason_name(HG_EVICT_REMOVED), "removed");
    assert_string_equal(hg_evict_reason_name(HG_EVICT_REPLACED), "replaced");
}

/* ---- memory ---- */

static int init_and_finish(void *ctx)
{
    struct hg_budget budget;
    struct hg_store store = {0};
    (void)ctx;
    hg_budget_init(&budget, 1 << 20, 0, 0);
    int err = hg_store_init(&store, &budget, NULL, NULL);
    hg_store_finish(&store);
    return err;
}

static void test_without_memory_for_a_table_there_is_no_store(void **state)
{
    (void)state;
    assert_int_equal(hg_test_sweep(init_and_finish, NULL), 2); /* table and policy */
}

/* Growing and shrinking are best effort: with any of their allocations refused, no entry is lost; what needs another line
 * in its bucket does not get in. */
static void test_a_failed_resize_costs_no_entry(void **state)
{
    enum { COUNT = 300 };
    static struct hg_value *values[COUNT];
    (void)state;
    size_t live_bytes = hg_alloc_live_bytes();
    for (size_t i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%zu", i);
        values[i] = make(key, 10);
    }
    bool refused = true;
    for (size_t nth = 0; refused; nth++) {
        struct hg_budget budget;
        struct hg_store store;
        bool is_sticky = nth % 2 == 1;
        size_t not_in = 0;
        hg_budget_init(&budget, 1 << 20, 0, 0);
        assert_int_equal(hg_store_init(&store, &budget, NULL, NULL), HG_OK);
        hg_alloc_fail_at(nth, is_sticky);
        for (size_t i = 0; i < COUNT; i++) {
            int err = hg_store_put(&store, values[i], HG_TIER_MAIN, 0, 1);
            assert_true(err == HG_OK || err == HG_ENOMEM);
            assert_int_equal(values[i]->stored, err == HG_OK);
            not_in += err < 0;
        }
        assert_true(is_sticky || not_in <= 1);
        assert_true(hg_store_validate(&store));
        for (size_t i = 0; i < COUNT; i++) {
            struct hg_bytes key = hg_value_key(values[i]);
            bool is_in = values[i]->stored;
            assert_ptr_equal(hg_store_get(&store, hg_hash(key), key), is_in ? values[i] : NULL);
        }
        for (size_t i = 0; i < COUNT; i++) {
            struct hg_bytes key = hg_value_key(values[i]);
            bool is_in = values[i]->stored;
            assert_int_equal(hg_store_remove(&store, hg_hash(key), key, HG_EVICT_REMOVED), is_in);
        }
        refused = hg_alloc_fail_clear();
        assert_true(hg_store_validate(&store));
        hg_store_finish(&store);
        assert_true(refused || nth > 4);
    }
    for (size_t i = 0; i < COUNT; i++)
        hg_value_unref(values[i]);
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_found_until_removed),
        cmocka_unit_test(test_a_full_store_evicts_the_least_recently_used),
        cmocka_unit_test(test_replacing_tells_and_frees_the_older_entry),
        cmocka_unit_test(test_too_big_evicts_nothing_but_its_own_older_entry),
        cmocka_unit_test(test_a_value_of_exactly_the_capacity_fits),
        cmocka_unit_test(test_each_tier_keeps_to_its_limit_and_evicts_its_own),
        cmocka_unit_test(test_main_uses_what_others_leave_and_gives_it_back),
        cmocka_unit_test(test_evict_frees_at_least_what_was_asked_or_all),
        cmocka_unit_test(test_entries_are_freed_after_expiry_and_every_stale_window),
        cmocka_unit_test(test_set_expiry_moves_the_end),
        cmocka_unit_test(test_hand_goes_round_in_small_steps),
        cmocka_unit_test(test_equal_hashes_are_told_apart_by_key),
        cmocka_unit_test(test_clear_tells_of_each),
        cmocka_unit_test(test_many_are_looked_up_as_one_by_one),
        cmocka_unit_test(test_callback_may_keep_the_value),
        cmocka_unit_test(test_reasons_have_names),
        cmocka_unit_test(test_without_memory_for_a_table_there_is_no_store),
        cmocka_unit_test(test_a_failed_resize_costs_no_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
