#include "group/fake_source.h"
#include "group/chain.h"

static void test_miss_begins_a_load_and_the_next_get_hits(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "Tom"), HG_PENDING);
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    end_next(&fake, "630");
    assert_int_equal(asker.answers, 1);
    assert_string_equal(asker.data, "630");
    assert_int_equal(asker.how, HG_HOW_MISS);
    assert_int_equal(asker.expires_ms, fake.now_ms + 60000);
    assert_int_equal(asker.created_ms, fake.now_ms);

    fake.now_ms += 59999;
    assert_int_equal(ask(&fake, &asker, "Tom"), HG_OK);
    assert_string_equal(asker.data, "630");
    assert_int_equal(asker.how, HG_HOW_HIT);
    assert_int_equal(fake.loads_started, 1);

    struct hg_group_stats stats = stats_of(&fake);
    assert_int_equal(stats.gets, 2);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.loads, 1);
    assert_int_equal(stats.local_loads, 1);
    fake_finish(&fake);
}

static void test_entry_ends_at_its_deadline(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fill(&fake, "k", "1");
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_non_null(load->old); /* for a conditional load */
    end(&fake, load, value_of(load, "2"));
    assert_string_equal(asker.data, "2");
    fake_finish(&fake);
}

static void test_gets_of_one_key_share_one_load(void **state)
{
    struct fake fake;
    struct asker askers[5];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    for (size_t i = 0; i < HG_COUNT(askers); i++)
        assert_int_equal(ask(&fake, &askers[i], "k"), HG_PENDING);
    assert_int_equal(fake.loads_started, 1);
    assert_int_equal(stats_of(&fake).waiters, 5);
    end_next(&fake, "v");
    for (size_t i = 0; i < HG_COUNT(askers); i++) {
        assert_int_equal(askers[i].answers, 1);
        assert_string_equal(askers[i].data, "v");
        assert_int_equal(askers[i].how, i == 0 ? HG_HOW_MISS : HG_HOW_COLLAPSED);
    }
    assert_int_equal(stats_of(&fake).loads_deduped, 4);
    fake_finish(&fake);
}

static void test_bad_keys_are_errors_at_once_and_count_as_nothing(void **state)
{
    struct fake fake;
    struct asker asker;
    char big[1026];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    memset(big, 'x', sizeof(big));
    big[1025] = '\0';
    assert_int_equal(ask(&fake, &asker, ""), HG_EINVAL);
    assert_int_equal(ask(&fake, &asker, big), HG_ETOOBIG);
    big[1024] = '\0';
    assert_int_equal(stats_of(&fake).gets, 0);
    assert_int_equal(ask(&fake, &asker, big), HG_PENDING);
    end_next(&fake, "v");
    assert_int_equal(asker.answers, 1);
    struct hg_get get = get_of(&fake, "k");
    struct hg_result result;
    struct hg_hold hold;
    assert_int_equal(hg_group_get(fake.group, &get, NULL, &result, &hold), HG_EINVAL);
    get.chain = HG_BYTES("\0\5abc");
    assert_int_equal(get_with(&fake, fake.group, &asker, &get), HG_EINVAL);
    fake_finish(&fake);
}

static void test_peek_looks_only_and_is_not_counted(void **state)
{
    struct fake fake;
    struct hg_result result;
    struct hg_hold hold;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_get get = get_of(&fake, "k");
    get.is_peek = true;
    assert_int_equal(hg_group_get(fake.group, &get, NULL, &result, &hold), HG_ENOENT);
    assert_int_equal(result.err, HG_ENOENT);
    assert_int_equal(fake.loads_started, 0);
    fill(&fake, "k", "v");
    assert_int_equal(hg_group_get(fake.group, &get, NULL, &result, &hold), HG_OK);
    assert_true(hg_bytes_eq(hg_value_data(hold.value), HG_BYTES("v")));
    hg_hold_release(&hold);
    assert_int_equal(stats_of(&fake).gets, 1);
    fake_finish(&fake);
}

static void test_stale_hit_is_answered_and_refreshed_once(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 1000;
    fake_start(&fake);
    fill(&fake, "k", "old");
    fake.now_ms += 60000;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
        assert_string_equal(asker.data, "old");
        assert_int_equal(asker.how, HG_HOW_STALE);
    }
    assert_int_equal(fake.loads_started, 2);
    struct hg_load *load = next_load(&fake);
    assert_int_equal(load->reason, HG_LOAD_REFRESH);
    assert_true(hg_bytes_eq(hg_value_data(load->old), HG_BYTES("old")));
    end(&fake, load, value_of(load, "new"));
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "new");
    assert_int_equal(asker.how, HG_HOW_HIT);
    assert_int_equal(stats_of(&fake).refreshes, 1);
    assert_int_equal(stats_of(&fake).stale_hits, 3);

    /* Past the window it is a miss. */
    fake.now_ms += 61000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, "newer");
    assert_string_equal(asker.data, "newer");
    fake_finish(&fake);
}

/* Tried again after as long as the value was stale when it failed: at 0, 100, 200, 400 ms, and so on. */
static void test_a_refresh_that_failed_is_tried_again_later_and_later(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 100000;
    fake.guard_config.breaker_failures = 100;
    fake_start(&fake);
    fill(&fake, "k", "old");
    fake.now_ms += 60100;
    for (uint64_t stale_ms = 100; stale_ms < 10000; stale_ms *= 2) {
        assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
        struct hg_load *load = next_load(&fake);
        end(&fake, load, error_of(load, HG_CLASS_UNAVAILABLE, "down"));
        uint64_t started = fake.loads_started;
        fake.now_ms += stale_ms - 1;
        assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
        assert_string_equal(asker.data, "old");
        assert_int_equal(asker.how, HG_HOW_STALE);
        assert_int_equal(fake.loads_started, started);
        fake.now_ms++;
    }
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    end_next(&fake, "new");
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "new");
    fake_finish(&fake);
}

static void test_refresh_that_cannot_start_is_silent(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 1000;
    fake_start(&fake);
    fill(&fake, "k", "old");
    fake.now_ms += 60000;
    fake.load_fails = 1;
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_int_equal(asker.how, HG_HOW_STALE);
    assert_int_equal(hg_groups_flight_count(fake.groups), 0);
    fake.now_ms += 50;
    /* The old value is still there, and tried again. */
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    end_next(&fake, "new");
    fake_finish(&fake);
}

static void test_limits_of_flights_and_waiters_refuse(void **state)
{
    struct fake fake;
    struct asker askers[4];

    (void)state;
    fake_init(&fake);
    fake.limits.flights_max = 1;
    fake.limits.waiters_max = 2;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &askers[0], "k"), HG_PENDING);
    assert_int_equal(ask(&fake, &askers[1], "k"), HG_PENDING);
    assert_int_equal(ask(&fake, &askers[2], "k"), HG_ELIMIT);
    assert_int_equal(askers[2].retry_after_ms, 1000);
    assert_int_equal(ask(&fake, &askers[3], "other"), HG_ELIMIT);
    assert_int_equal(stats_of(&fake).refused, 2);
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    end_next(&fake, "v");
    assert_int_equal(askers[0].answers + askers[1].answers, 2);
    fake_finish(&fake);
}

static void test_peers_requests_use_local_flights_only(void **state)
{
    struct fake fake;
    struct asker mine, peers;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fake_view(&fake, 3, 0);
    const char *key = key_of(&fake, 1, -1); /* b owns it; somebody thinks that we do */
    assert_int_equal(ask(&fake, &mine, key), HG_PENDING);
    assert_int_equal(ask_as_peer(&fake, &peers, key), HG_PENDING);
    assert_int_equal(fake.asks_sent, 1);
    assert_int_equal(fake.loads_started, 1);
    struct hg_load *load = next_load(&fake);
    assert_true(load->is_fallback);
    end(&fake, load, value_of(load, "here"));
    assert_int_equal(peers.answers, 1);
    assert_int_equal(peers.expires_ms, fake.now_ms + 10000); /* hot tier, at most 10 s */
    assert_int_equal(mine.answers, 0);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "there"), 0);
    assert_string_equal(mine.data, "there");
    assert_int_equal(stats_of(&fake).peer_requests, 1);
    struct hg_explain explain;
    struct hg_hold hold;
    hg_group_explain(fake.group, hg_bytes_str(key), fake.now_ms, &explain, &hold);
    assert_int_equal(explain.tier, HG_TIER_HOT);
    hg_hold_release(&hold);
    fake_finish(&fake);
}

static void test_getter_that_gets_its_own_key_is_recursive(void **state)
{
    struct fake fake;
    struct asker outer, inner;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &outer, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &inner, "k", load), HG_ERECURSIVE);
    assert_int_equal(stats_of(&fake).recursive, 1);
    assert_int_equal(stats_of(&fake).refused, 1);
    end(&fake, load, value_of(load, "v"));
    fake_finish(&fake);
}

static void test_circle_of_three_getters_ends_with_an_error(void **state)
{
    struct fake fake;
    struct asker outer[3], inner[3];
    struct hg_load *loads[3];
    static const char *const keys[] = {"a", "b", "c"};

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&fake, &outer[i], keys[i]), HG_PENDING);
        loads[i] = next_load(&fake);
    }
    assert_int_equal(ask_nested(&fake, fake.group, &inner[0], "b", loads[0]), HG_PENDING);
    assert_int_equal(ask_nested(&fake, fake.group, &inner[1], "c", loads[1]), HG_PENDING);
    assert_int_equal(ask_nested(&fake, fake.group, &inner[2], "a", loads[2]), HG_ERECURSIVE);
    end(&fake, loads[2], value_of(loads[2], "C"));
    assert_string_equal(inner[1].data, "C");
    end(&fake, loads[1], value_of(loads[1], "B"));
    assert_string_equal(inner[0].data, "B");
    end(&fake, loads[0], value_of(loads[0], "A"));
    fake_finish(&fake);
}

static void test_nested_load_carries_chain_depth_and_deadline(void **state)
{
    struct fake fake;
    struct asker outer, inner[HG_DEPTH_MAX + 1];
    struct hg_load *loads[HG_DEPTH_MAX + 1];
    char key[16];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &outer, "k0"), HG_PENDING);
    loads[0] = next_load(&fake);
    uint64_t deadline_ms = loads[0]->deadline_ms;
    assert_int_equal(deadline_ms, fake.now_ms + 10000);
    fake.now_ms += 5;
    for (int i = 1; i <= HG_DEPTH_MAX; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(ask_nested(&fake, fake.group, &inner[i - 1], key, loads[i - 1]),
                         HG_PENDING);
        loads[i] = next_load(&fake);
        assert_int_equal(loads[i]->depth, i);
        assert_int_equal(hg_chain_depth(loads[i]->chain), i);
        assert_int_equal(loads[i]->deadline_ms, deadline_ms);
    }
    assert_true(hg_chain_has(loads[8]->chain, HG_BYTES("test"), HG_BYTES("k0")));
    assert_true(hg_chain_has(loads[8]->chain, HG_BYTES("test"), HG_BYTES("k7")));
    assert_int_equal(ask_nested(&fake, fake.group, &inner[8], "k9", loads[8]), HG_ERECURSIVE);
    for (int i = HG_DEPTH_MAX; i >= 0; i--)
        end(&fake, loads[i], value_of(loads[i], "v"));
    assert_int_equal(outer.answers, 1);
    fake_finish(&fake);
}

static void test_chain_from_the_wire_is_checked_against_joined_loads(void **state)
{
    struct fake fake;
    struct asker x, z, nested, peer;
    char chain[32];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    /* z's getter waits for x; a peer's getter, asked for by x, wants z. */
    assert_int_equal(ask(&fake, &x, "x"), HG_PENDING);
    struct hg_load *load_x = next_load(&fake);
    assert_int_equal(ask(&fake, &z, "z"), HG_PENDING);
    struct hg_load *load_z = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &nested, "x", load_z), HG_PENDING);

    hg_chain_write(chain, HG_BYTES("test"), HG_BYTES("x"));
    struct hg_get get = get_of(&fake, "z");
    get.from_peer = true;
    get.chain = hg_bytes(chain, hg_chain_entry_size(HG_BYTES("test"), HG_BYTES("x")));
    assert_int_equal(get_with(&fake, fake.group, &peer, &get), HG_ERECURSIVE);
    get.key = HG_BYTES("x");
    assert_int_equal(get_with(&fake, fake.group, &peer, &get), HG_ERECURSIVE);
    get.key = HG_BYTES("y");
    assert_int_equal(get_with(&fake, fake.group, &peer, &get), HG_PENDING);
    struct hg_load *load_y = next_load(&fake);
    assert_int_equal(load_y->depth, 1);
    end(&fake, load_y, value_of(load_y, "Y"));
    end(&fake, load_x, value_of(load_x, "X"));
    assert_string_equal(nested.data, "X");
    end(&fake, load_z, value_of(load_z, "Z"));
    fake_finish(&fake);
}

static void test_early_refresh_starts_before_the_end(void **state)
{
    struct fake fake;
    struct asker asker;
    unsigned early = 0;

    (void)state;
    fake_init(&fake);
    fake.config.early_refresh = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    fake.now_ms += 1000; /* a load takes a second */
    end_next(&fake, "v");
    uint64_t end_ms = asker.expires_ms;

    fake.now_ms = end_ms - 30000; /* 30 load times before: e^-30 */
    for (int i = 0; i < 200; i++)
        assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_true(hg_list_is_empty(&fake.loads));

    fake.now_ms = end_ms - 500; /* e^-0.5: more likely than not */
    for (int i = 0; i < 200 && early == 0; i++) {
        assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
        assert_int_equal(asker.how, HG_HOW_HIT);
        early += !hg_list_is_empty(&fake.loads);
    }
    assert_int_equal(early, 1);
    struct hg_load *load = next_load(&fake);
    assert_int_equal(load->reason, HG_LOAD_EARLY);
    assert_string_equal(hg_load_reason_name(load->reason), "early");
    end(&fake, load, value_of(load, "w"));
    assert_int_equal(stats_of(&fake).refreshes, 1);
    fake_finish(&fake);
}

static void test_hit_allocates_nothing(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fill(&fake, "k", "v");
    size_t count = hg_alloc_live_count();
    hg_alloc_fail_at(0, true);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_false(hg_alloc_fail_clear());
    assert_int_equal(hg_alloc_live_count(), count);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_miss_begins_a_load_and_the_next_get_hits),
        cmocka_unit_test(test_entry_ends_at_its_deadline),
        cmocka_unit_test(test_gets_of_one_key_share_one_load),
        cmocka_unit_test(test_bad_keys_are_errors_at_once_and_count_as_nothing),
        cmocka_unit_test(test_peek_looks_only_and_is_not_counted),
        cmocka_unit_test(test_stale_hit_is_answered_and_refreshed_once),
        cmocka_unit_test(test_a_refresh_that_failed_is_tried_again_later_and_later),
        cmocka_unit_test(test_refresh_that_cannot_start_is_silent),
        cmocka_unit_test(test_limits_of_flights_and_waiters_refuse),
        cmocka_unit_test(test_peers_requests_use_local_flights_only),
        cmocka_unit_test(test_getter_that_gets_its_own_key_is_recursive),
        cmocka_unit_test(test_circle_of_three_getters_ends_with_an_error),
        cmocka_unit_test(test_nested_load_carries_chain_depth_and_deadline),
        cmocka_unit_test(test_chain_from_the_wire_is_checked_against_joined_loads),
        cmocka_unit_test(test_early_refresh_starts_before_the_end),
        cmocka_unit_test(test_hit_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
