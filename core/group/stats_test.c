#include "group/fake_source.h"

static void test_counters_add_up_and_gauges_follow(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.shards = 4;
    fake.config.capacity_bytes = 100000;
    fake_start(&fake);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        fill(&fake, key, "v");
        assert_int_equal(ask(&fake, &asker, key), HG_OK);
    }
    assert_int_equal(ask(&fake, &asker, "open"), HG_PENDING);
    struct hg_group_stats stats = stats_of(&fake);
    assert_int_equal(stats.gets, 101);
    assert_int_equal(stats.hits, 50);
    assert_int_equal(stats.misses, 51);
    assert_int_equal(stats.loads, 51);
    assert_int_equal(stats.entries, 50);
    assert_int_equal(stats.flights, 1);
    assert_int_equal(stats.waiters, 1);
    assert_int_equal(stats.capacity, 100000);
    assert_in_range(stats.bytes, 50 * sizeof(struct hg_value), 100000);
    assert_int_equal(stats.evictions, 0);
    end_next(&fake, "v");
    fake_finish(&fake);
}

static void test_expired_entries_are_swept(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.config.stale_if_error_ms = 1000;
    fake_start(&fake);
    fill(&fake, "a", "v");
    fill(&fake, "b", "v");
    fake.now_ms += 60999;
    assert_int_equal(hg_group_expire_step(fake.group, fake.now_ms, 1000),
                     0); /* still in its window */
    fake.now_ms += 1;
    assert_int_equal(hg_group_expire_step(fake.group, fake.now_ms, 1000), 2);
    assert_int_equal(stats_of(&fake).expirations, 2);
    assert_int_equal(stats_of(&fake).bytes, 0);
    fake_finish(&fake);
}

/* What a step looks at does not grow with the number of shards; the next one goes on where it ended. */
static void test_shards_share_the_rows_of_a_step(void **state)
{
    struct fake fake;
    char key[16];

    (void)state;
    fake_init(&fake);
    fake.config.shards = 16;
    fake.config.capacity_bytes = 1 << 20;
    fake_start(&fake);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        fill(&fake, key, "v");
    }
    fake.now_ms += 60000;
    size_t freed = hg_group_expire_step(fake.group, fake.now_ms, 16);
    assert_in_range(freed, 16, 400);
    for (int i = 0; i < 100 && freed < 2000; i++)
        freed += hg_group_expire_step(fake.group, fake.now_ms, 16);
    assert_int_equal(freed, 2000);
    fill(&fake, "late", "v");
    fake.now_ms += 60000;
    for (int i = 0; i < 100 && freed < 2001; i++)
        freed += hg_group_expire_step(fake.group, fake.now_ms, 1); /* each has a row at least */
    assert_int_equal(freed, 2001);
    fake_finish(&fake);
}

static void test_evictions_are_counted(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.config.capacity_bytes = 4096;
    fake_start(&fake);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        fill(&fake, key, "v");
    }
    struct hg_group_stats stats = stats_of(&fake);
    assert_int_equal(stats.evictions + stats.entries, 100);
    assert_true(stats.evictions > 0);
    assert_true(stats.bytes <= stats.capacity);
    fake_finish(&fake);
}

static void test_explain_tells_entry_flight_and_owner(void **state)
{
    struct fake fake;
    struct asker asker;
    struct hg_explain explain;
    struct hg_hold hold;

    (void)state;
    fake_init(&fake);
    fake.config.stale_if_error_ms = 777;
    fake_start(&fake);
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms, &explain, &hold);
    assert_false(explain.is_stored);
    assert_false(explain.is_flying);
    assert_true(explain.is_mine);
    assert_int_equal(explain.owner.len, 0);
    assert_null(hold.value);

    fill(&fake, "k", "value");
    fake.now_ms += 100;
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms, &explain, &hold);
    assert_true(explain.is_stored);
    assert_int_equal(explain.tier, HG_TIER_MAIN);
    assert_int_equal(explain.status, HG_STATUS_VALUE);
    assert_int_equal(explain.age_ms, 100);
    assert_int_equal(explain.ttl_ms, 59900);
    assert_int_equal(explain.stale_if_error_ms, 777);
    assert_true(explain.is_trusted);
    assert_int_equal(explain.size_bytes, 5);
    assert_true(explain.cost_bytes > 5);
    assert_true(hg_bytes_eq(hg_value_data(hold.value), HG_BYTES("value")));
    hg_hold_release(&hold);
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms + 60000, &explain, &hold);
    assert_int_equal(explain.ttl_ms, -100);
    hg_hold_release(&hold);

    fake_view(&fake, 3, 0);
    const char *key = key_of(&fake, 2, -1);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    hg_group_explain(fake.group, hg_bytes_str(key), fake.now_ms + 30, &explain, &hold);
    assert_true(explain.is_flying);
    assert_false(explain.is_mine);
    assert_int_equal(explain.flight_kind, HG_FLIGHT_REMOTE);
    assert_int_equal(explain.flight_age_ms, 30);
    assert_int_equal(explain.flight_waiters, 1);
    assert_true(hg_bytes_eq(explain.owner, HG_BYTES("c")));
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 0);
    assert_int_equal(stats_of(&fake).gets, 2); /* explaining is not counted */
    fake_finish(&fake);
}

static void test_explain_tells_what_became_of_a_key(void **state)
{
    struct fake fake;
    struct asker asker;
    struct hg_explain explain;
    struct hg_hold hold;

    (void)state;
    fake_init(&fake);
    fake.config.error_ttl_ms = 0;
    fake_start(&fake);
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms, &explain, &hold);
    assert_false(explain.has_load || explain.has_error || explain.has_eviction);

    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    fake.now_ms += 40;
    end(&fake, load, error_of(load, HG_CLASS_UNAVAILABLE, "db is away"));
    fake.now_ms += 1000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms, &explain, &hold);
    assert_true(explain.is_flying);
    assert_int_equal(explain.flight_reason, HG_LOAD_MISS);
    fake.now_ms += 7;
    end_next(&fake, "v");
    fake.now_ms += 100;
    assert_true(hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms));
    fake.now_ms += 5;
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms, &explain, &hold);
    assert_false(explain.is_stored);
    assert_true(explain.has_load && explain.has_error && explain.has_eviction);
    assert_int_equal(explain.load_age_ms, 105);
    assert_int_equal(explain.load_took_ms, 7);
    assert_int_equal(explain.load_kind, HG_FLIGHT_LOCAL);
    assert_int_equal(explain.load_status, HG_STATUS_VALUE);
    assert_int_equal(explain.error_age_ms, 1112);
    assert_int_equal(explain.error_class, HG_CLASS_UNAVAILABLE);
    assert_int_equal(explain.error_message_len, 10);
    assert_memory_equal(explain.error_message, "db is away", 10);
    assert_int_equal(explain.eviction_age_ms, 5);
    assert_int_equal(explain.eviction_reason, HG_EVICT_REMOVED);

    /* A new value in an old one's place is no eviction. */
    fill(&fake, "r", "1");
    struct hg_value_spec spec = spec_of(HG_BYTES("r"), "2");
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_OK);
    hg_value_unref(value);
    hg_group_explain(fake.group, HG_BYTES("r"), fake.now_ms, &explain, &hold);
    assert_false(explain.has_eviction);
    hg_hold_release(&hold);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_add_up_and_gauges_follow),
        cmocka_unit_test(test_expired_entries_are_swept),
        cmocka_unit_test(test_shards_share_the_rows_of_a_step),
        cmocka_unit_test(test_evictions_are_counted),
        cmocka_unit_test(test_explain_tells_entry_flight_and_owner),
        cmocka_unit_test(test_explain_tells_what_became_of_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
