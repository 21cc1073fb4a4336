#include "cache/test_store.h"

static void test_flushed_entries_are_gone_and_freed_before_others(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 4 * cost(10), cost(10), 0);
    put(&f, "a", 10, HG_TIER_MAIN);
    put(&f, "b", 10, HG_TIER_MAIN);
    put(&f, "h", 10, HG_TIER_HOT);
    hg_store_flush(&f.store);
    assert_null(get(&f, "a"));
    assert_null(peek(&f, "h"));
    assert_null(hg_store_peek_hash(&f.store, hg_hash(HG_BYTES("b"))));
    assert_false(erase(&f, "a")); /* freed, but it was not there */
    assert_log(&f.log, 0, "a", HG_EVICT_REMOVED);
    put(&f, "b", 10, HG_TIER_MAIN);
    assert_log(&f.log, 1, "b", HG_EVICT_REMOVED); /* not replaced */
    assert_non_null(get(&f, "b"));
    put(&f, "c", 10, HG_TIER_MAIN);
    put(&f, "d", 10, HG_TIER_MAIN);
    assert_int_equal(f.log.count, 2);
    put(&f, "e", 10, HG_TIER_MAIN); /* no room: what was flushed goes, of whatever tier */
    assert_log(&f.log, 2, "h", HG_EVICT_REMOVED);
    assert_int_equal(f.log.count, 3);
    assert_int_equal(f.store.counters.evictions, 0);
    assert_int_equal(f.store.flushed_count, 0);
    fixture_finish(&f);
}

static void test_what_is_put_after_a_flush_keeps_its_times(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    put_until(&f, "a", 10, HG_TIER_MAIN, 5000);
    hg_store_flush(&f.store);
    struct hg_value *value = make("a", 5);
    assert_int_equal(hg_store_put(&f.store, value, HG_TIER_MAIN, 11, 22), HG_OK);
    assert_ptr_equal(get(&f, "a"), value);
    assert_int_equal(hg_value_created_ms(value), 11);
    hg_value_unref(value);
    fixture_finish(&f);
}

/* The number of a flush begins anew after 256 of them: what is left of the one that has it goes first. */
static void test_any_number_of_flushes_hides_all_that_was_before(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1 << 20, 0, 0);
    for (int i = 0; i < 600; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        put(&f, key, 10, HG_TIER_MAIN);
        assert_non_null(get(&f, key));
        hg_store_flush(&f.store);
        for (int j = i; j >= 0 && j > i - 300; j -= 37) {
            snprintf(key, sizeof(key), "k%d", j);
            assert_null(get(&f, key));
        }
        f.log.count = 0;
    }
    assert_true(f.store.table.count <= 256);
    hg_store_expire_step(&f.store, 0, SIZE_MAX);
    assert_int_equal(f.store.table.count, 0);
    fixture_finish(&f);
}

/* Also what was put last before the number began anew, while nothing else was left to be freed. */
static void test_no_entry_comes_back_when_the_number_does(void **state)
{
    (void)state;
    for (int puts_at = 250; puts_at < 260; puts_at++) {
        struct fixture f;
        fixture_init(&f, 1 << 20, 0, 0);
        for (int i = 0; i < puts_at; i++)
            hg_store_flush(&f.store);
        put(&f, "a", 10, HG_TIER_MAIN);
        assert_non_null(get(&f, "a"));
        for (int i = 0; i < 600; i++) {
            hg_store_flush(&f.store);
            if (get(&f, "a") != NULL)
                fail_msg("put after %d flushes, back after %d more", puts_at, i + 1);
        }
        fixture_finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flushed_entries_are_gone_and_freed_before_others),
        cmocka_unit_test(test_what_is_put_after_a_flush_keeps_its_times),
        cmocka_unit_test(test_any_number_of_flushes_hides_all_that_was_before),
        cmocka_unit_test(test_no_entry_comes_back_when_the_number_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
