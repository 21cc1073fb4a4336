#include "group/fake_source.h"
#include "group/hot.h"

#define LEASE 2000

static unsigned told;
static uint64_t told_minute;

static void fake_hot(void *ctx, struct hg_group *group, struct hg_value *value, uint64_t minute)
{
    (void)ctx;
    assert_string_equal(hg_group_name(group), "test");
    assert_true(hg_bytes_eq(hg_value_key(value), HG_BYTES("k")));
    told++;
    told_minute = minute;
}

/* Three nodes; we are a. */
static void three(struct fake *fake)
{
    fake_init(fake);
    fake_start(fake);
    fake_view(fake, 3, 0);
}

/* Ends the next ask as an owner does that reports this rate. */
static void answer(struct fake *fake, const char *data, uint64_t ttl_ms, double minute)
{
    struct hg_load *load = next_ask(fake);
    struct hg_ask_answer answer = {.outcome = HG_ASK_TYPED,
                                   .result = value_of(load, data),
                                   .sent_ms = load->run_ms,
                                   .ttl_ms = ttl_ms,
                                   .minute_qps = minute};
    hg_load_asked(load, &answer, fake->now_ms, &fake->loop);
}

/* A copy of another's key, asked for now. */
static const char *copied(struct fake *fake, uint64_t ttl_ms, double minute)
{
    struct asker asker;
    const char *key = key_of(fake, 1, -1);
    assert_int_equal(ask(fake, &asker, key), HG_PENDING);
    answer(fake, "630", ttl_ms, minute);
    assert_int_equal(asker.answers, 1);
    return key;
}

static void must_hit(struct fake *fake, const char *key, const char *data)
{
    struct asker asker;
    assert_int_equal(ask(fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HOT);
    assert_true(asker.expires_ms > fake->now_ms);
    assert_string_equal(asker.data, data);
}

static void test_life_is_four_leases_and_never_longer_than_the_owners(void **state)
{
    (void)state;
    assert_int_equal(hg_copy_life(60000, LEASE, false), LEASE);
    assert_int_equal(hg_copy_life(60000, LEASE, true), 4 * LEASE);
    assert_int_equal(hg_copy_life(5000, LEASE, true), 5000);
    assert_int_equal(hg_copy_life(500, LEASE, true), 500);
    assert_int_equal(hg_copy_life(HG_FOREVER, HG_HOT_LEASE_MAX, true), HG_VALUE_SLOT_MAX - 3);
    assert_int_equal(hg_copy_life(HG_FOREVER, 0, true), 0);
}

static void test_a_copy_is_trusted_for_a_lease_from_the_last_contact(void **state)
{
    struct hg_value_spec spec = spec_of(HG_BYTES("k"), "v");
    struct hg_value *copy = hg_value_create(&spec);

    (void)state;
    copy->slot = 4 * LEASE; /* sent at 10,000 */
    hg_value_set_times(copy, 0, 10000 + 4 * LEASE);
    assert_int_equal(hg_copy_until(copy, LEASE, 0), 12000);
    assert_int_equal(hg_copy_until(copy, LEASE, 9000), 12000);
    assert_int_equal(hg_copy_until(copy, LEASE, 11000), 13000);
    assert_int_equal(hg_copy_until(copy, LEASE, 17000), 18000); /* its own end */
    copy->slot = 500;
    hg_value_set_times(copy, 0, 10500);
    assert_int_equal(hg_copy_until(copy, LEASE, 0), 10500);
    assert_int_equal(hg_copy_until(copy, LEASE, 17000), 10500);
    hg_value_unref(copy);
}

static void test_without_contact_a_hot_copy_lives_one_lease(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE);
    fake.now_ms += LEASE;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "631", 60000, 0);
    fake_finish(&fake);
}

static void test_contact_lets_a_hot_copy_live_on(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE);
    for (int i = 0; i < 14; i++) {
        fake.now_ms += LEASE / 4;
        hg_groups_contact(fake.groups, fake.now_ms);
        must_hit(&fake, key, "630");
    }
    assert_int_equal(fake.asks_sent, 1);
    hg_groups_contact(fake.groups, 5); /* goes back: nothing */
    must_hit(&fake, key, "630");

    /* The last quarter of its last lease: one ask, and hits go on. */
    fake.now_ms += LEASE / 4;
    hg_groups_contact(fake.groups, fake.now_ms);
    for (int i = 0; i < 100; i++)
        must_hit(&fake, key, "630");
    assert_int_equal(fake.asks_sent, 2);
    answer(&fake, "631", 60000, HG_HOT_MINUTE);
    must_hit(&fake, key, "631");
    struct hg_group_stats stats = stats_of(&fake);
    assert_int_equal(stats.hot_refreshes, 1);
    assert_int_equal(stats.refreshes, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.peer_loads, 2);

    /* Contact is lost: it ends a lease after the last. */
    fake.now_ms += LEASE;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "632", 60000, 0);
    fake_finish(&fake);
}

static void test_an_ordinary_copy_is_not_prolonged_nor_renewed(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE - 1);
    fake.now_ms += LEASE - 1;
    hg_groups_contact(fake.groups, fake.now_ms);
    must_hit(&fake, key, "630");
    assert_int_equal(fake.asks_sent, 1);
    fake.now_ms += 1;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "631", 60000, 0);
    fake_finish(&fake);
}

static void test_a_hot_copy_never_outlives_the_owners_value(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 3000, HG_HOT_MINUTE);
    fake.now_ms += 2999;
    hg_groups_contact(fake.groups, fake.now_ms);
    must_hit(&fake, key, "630"); /* renews */
    struct hg_load *load = next_ask(&fake);
    fake.now_ms += 1;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING); /* joins it */
    assert_int_equal(stats_of(&fake).loads_deduped, 1);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "631"), 1000);
    assert_string_equal(asker.data, "631");
    assert_int_equal(asker.expires_ms, fake.now_ms + 1000);
    fake_finish(&fake);
}

static void test_a_renewal_that_fails_harms_nothing_and_is_not_tried_again(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE);
    fake.now_ms += LEASE - 10;
    must_hit(&fake, key, "630");
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    for (int i = 0; i < 10; i++)
        must_hit(&fake, key, "630");
    assert_int_equal(fake.asks_sent, 2);
    /* An ordinary copy now: contact does not prolong it. */
    fake.now_ms += 10;
    hg_groups_contact(fake.groups, fake.now_ms);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "631", 60000, 0);
    fake_finish(&fake);
}

static void test_a_copy_without_contact_is_no_stale_answer_either(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_if_error_ms = 60000;
    fake.config.stale_while_revalidate_ms = 60000;
    fake_start(&fake);
    fake_view(&fake, 3, 0);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE);
    fake.now_ms += LEASE;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_UNTYPED, NULL, 0);
    assert_int_equal(asker.answers, 0); /* loads here */
    end_next(&fake, "632");
    assert_string_equal(asker.data, "632");
    fake_finish(&fake);
}

static void test_a_remove_takes_a_hot_copy_away_and_fences_its_renewal(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE);
    fake.now_ms += LEASE - 10;
    must_hit(&fake, key, "630");
    struct hg_load *load = next_ask(&fake);
    assert_true(hg_group_remove(fake.group, hg_bytes_str(key), fake.now_ms));
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "630"), 60000);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "631", 60000, 0);
    assert_string_equal(asker.data, "631");
    fake_finish(&fake);
}

static void test_what_this_node_counts_makes_a_copy_hot_too(void **state)
{
    struct fake fake;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, 0);
    for (int i = 0; i < 20000; i++)
        must_hit(&fake, key, "630");
    assert_int_equal(fake.asks_sent, 1);
    assert_int_equal(hg_group_minute(fake.group, hg_bytes_str(key), fake.now_ms), 0); /* not ours */
    fake.now_ms += LEASE;
    struct asker asker;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "630", 60000, 0);
    fake.now_ms += LEASE;
    hg_groups_contact(fake.groups, fake.now_ms);
    must_hit(&fake, key, "630");

    hg_group_expire_step(fake.group, fake.now_ms, 1);
    assert_int_equal(stats_of(&fake).hot_keys, 1);
    struct hg_hot_key hot[HG_RATES_KEYS];
    assert_int_equal(hg_group_hot_max(fake.group), HG_RATES_KEYS);
    assert_int_equal(hg_group_hot(fake.group, fake.now_ms, hot), 1);
    assert_true(hg_bytes_eq(hg_value_key(hot[0].value), hg_bytes_str(key)));
    assert_int_equal(hot[0].tier, HG_TIER_HOT);
    assert_true(hot[0].is_hot && hot[0].minute > HG_HOT_MINUTE);
    hg_value_unref(hot[0].value);
    fake.now_ms += 600000;
    hg_group_expire_step(fake.group, fake.now_ms, 1);
    assert_int_equal(stats_of(&fake).hot_keys, 0);
    fake_finish(&fake);
}

static void test_an_owner_tells_its_rate_and_on_hot_is_called_once_a_minute(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    told = 0;
    fake_init(&fake);
    fake.config.ttl_ms = HG_FOREVER;
    fake.source.hot = fake_hot;
    fake_start(&fake);
    fill(&fake, "k", "v");
    assert_int_equal(hg_group_minute(fake.group, HG_BYTES("k"), fake.now_ms), 0);
    for (int i = 0; i < 6000; i++) { /* 100 a second, half of them peers */
        fake.now_ms += 10;
        int rc = i % 2 == 0 ? ask(&fake, &asker, "k") : ask_as_peer(&fake, &asker, "k");
        assert_int_equal(rc, HG_OK);
    }
    assert_in_range(hg_group_minute(fake.group, HG_BYTES("k"), fake.now_ms), 4500, 7500);
    assert_int_equal(told, 1);
    assert_true(told_minute >= HG_HOT_MINUTE);
    fake.now_ms += HG_RATES_TELL_MS;
    for (int i = 0; i < 2000; i++)
        ask(&fake, &asker, "k");
    assert_int_equal(told, 2);
    fake_finish(&fake);
}

/* A renewal is a favour: without memory for it the hit is answered all the same, and the copy ends as others do. */
static void test_without_memory_a_hot_copy_is_served_and_not_renewed(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    three(&fake);
    const char *key = copied(&fake, 60000, HG_HOT_MINUTE);
    fake.now_ms += LEASE - 10;
    hg_alloc_fail_at(0, false);
    must_hit(&fake, key, "630");
    assert_true(hg_alloc_fail_clear());
    must_hit(&fake, key, "630");
    assert_int_equal(fake.asks_sent, 1);
    assert_int_equal(stats_of(&fake).hot_refreshes, 0);
    fake.now_ms += 10;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    answer(&fake, "631", 60000, 0);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_is_four_leases_and_never_longer_than_the_owners),
        cmocka_unit_test(test_a_copy_is_trusted_for_a_lease_from_the_last_contact),
        cmocka_unit_test(test_without_contact_a_hot_copy_lives_one_lease),
        cmocka_unit_test(test_contact_lets_a_hot_copy_live_on),
        cmocka_unit_test(test_an_ordinary_copy_is_not_prolonged_nor_renewed),
        cmocka_unit_test(test_a_hot_copy_never_outlives_the_owners_value),
        cmocka_unit_test(test_a_renewal_that_fails_harms_nothing_and_is_not_tried_again),
        cmocka_unit_test(test_without_memory_a_hot_copy_is_served_and_not_renewed),
        cmocka_unit_test(test_a_copy_without_contact_is_no_stale_answer_either),
        cmocka_unit_test(test_a_remove_takes_a_hot_copy_away_and_fences_its_renewal),
        cmocka_unit_test(test_what_this_node_counts_makes_a_copy_hot_too),
        cmocka_unit_test(test_an_owner_tells_its_rate_and_on_hot_is_called_once_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
