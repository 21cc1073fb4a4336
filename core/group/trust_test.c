#include "group/fake_source.h"

#define LEASE_MS 2000

static int set(struct fake *fake, const char *key)
{
    struct hg_value_spec spec = spec_of(hg_bytes_str(key), "old");
    struct hg_value *value = hg_value_create(&spec);
    int rc = hg_group_set(fake->group, value, fake->now_ms);
    hg_value_unref(value);
    return rc;
}

static void start(struct fake *fake)
{
    fake_init(fake);
    fake->limits.lease_ms = LEASE_MS;
    fake->config.stale_if_error_ms = 60000;
    fake_start(fake);
    assert_int_equal(hg_groups_alive(fake->groups, fake->now_ms), 0);
}

static void test_who_runs_is_trusted(void **state)
{
    struct fake fake;
    struct asker asker;
    (void)state;
    start(&fake);
    assert_int_equal(set(&fake, "k"), HG_OK);
    for (int i = 0; i < 10; i++) {
        fake.now_ms += LEASE_MS / 4 * 3; /* inclusive */
        assert_int_equal(hg_groups_alive(fake.groups, fake.now_ms), 0);
        assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    }
    assert_int_equal(hg_groups_standstills(fake.groups), 0);
    fake_finish(&fake);
}

static void test_nobody_watches_a_node_alone(void **state)
{
    struct fake fake;
    struct asker asker;
    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(set(&fake, "k"), HG_OK);
    fake.now_ms += 30000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    fake_finish(&fake);
}

static void test_after_a_standstill_a_get_loads_anew(void **state)
{
    struct fake fake;
    struct asker asker;
    (void)state;
    start(&fake);
    assert_int_equal(set(&fake, "k"), HG_OK);
    fake.now_ms += LEASE_MS / 4 * 3 + 1;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING); /* noticed by the get itself */
    assert_true(hg_groups_is_behind(fake.groups));
    assert_int_equal(hg_groups_standstills(fake.groups), 1);
    end_next(&fake, "new");
    assert_string_equal(asker.data, "new");
    /* What was loaded since is good. */
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "new");
    fake_finish(&fake);
}

static void test_nothing_old_is_served_when_the_source_fails(void **state)
{
    struct fake fake;
    struct asker asker;
    (void)state;
    start(&fake);
    assert_int_equal(set(&fake, "k"), HG_OK);
    fake.now_ms += LEASE_MS;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = hg_container_of(hg_list_pop_front(&fake.loads), struct hg_load, link);
    assert_null(load->old);
    hg_load_fail(load, HG_CLASS_INTERNAL, HG_BYTES("away"), fake.now_ms, &fake.loop);
    assert_int_equal(asker.status, HG_STATUS_ERROR);
    fake_finish(&fake);
}

static void test_caught_up_it_answers_from_its_store_again(void **state)
{
    struct fake fake;
    struct asker asker;
    (void)state;
    start(&fake);
    assert_int_equal(set(&fake, "k"), HG_OK);
    fake.now_ms += LEASE_MS;
    uint64_t distrust = hg_groups_alive(fake.groups, fake.now_ms);
    assert_true(distrust != 0);
    hg_groups_caught_up(fake.groups, 0); /* of an ask that left before */
    assert_true(hg_groups_is_behind(fake.groups));
    hg_groups_caught_up(fake.groups, distrust);
    assert_false(hg_groups_is_behind(fake.groups));
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "old");
    fake_finish(&fake);
}

static void test_a_second_standstill_voids_the_first_ones_mark(void **state)
{
    struct fake fake;
    (void)state;
    start(&fake);
    fake.now_ms += LEASE_MS;
    uint64_t first = hg_groups_alive(fake.groups, fake.now_ms);
    fake.now_ms += LEASE_MS;
    uint64_t second = hg_groups_alive(fake.groups, fake.now_ms);
    assert_true(second > first);
    hg_groups_caught_up(fake.groups, first);
    assert_true(hg_groups_is_behind(fake.groups));
    hg_groups_caught_up(fake.groups, second);
    assert_false(hg_groups_is_behind(fake.groups));
    fake_finish(&fake);
}

static void test_a_load_begun_before_is_not_stored(void **state)
{
    struct fake fake;
    struct asker first, second;
    (void)state;
    start(&fake);
    assert_int_equal(ask(&fake, &first, "k"), HG_PENDING);
    fake.now_ms += LEASE_MS;
    /* The report is the first to come after it. */
    end_next(&fake, "read before");
    assert_string_equal(first.data, "read before");
    assert_int_equal(ask(&fake, &second, "k"), HG_PENDING);
    end_next(&fake, "read after");
    assert_string_equal(second.data, "read after");
    fake_finish(&fake);
}

static void test_who_joins_after_it_gets_what_is_loaded_after_it(void **state)
{
    struct fake fake;
    struct asker first, second;
    (void)state;
    start(&fake);
    assert_int_equal(ask(&fake, &first, "k"), HG_PENDING);
    fake.now_ms += LEASE_MS;
    assert_int_equal(ask(&fake, &second, "k"), HG_PENDING);
    end_next(&fake, "read before");
    assert_int_equal(first.answers, 1);
    assert_int_equal(second.answers, 0);
    end_next(&fake, "read after");
    assert_string_equal(second.data, "read after");
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_runs_is_trusted),
        cmocka_unit_test(test_nobody_watches_a_node_alone),
        cmocka_unit_test(test_after_a_standstill_a_get_loads_anew),
        cmocka_unit_test(test_nothing_old_is_served_when_the_source_fails),
        cmocka_unit_test(test_caught_up_it_answers_from_its_store_again),
        cmocka_unit_test(test_a_second_standstill_voids_the_first_ones_mark),
        cmocka_unit_test(test_a_load_begun_before_is_not_stored),
        cmocka_unit_test(test_who_joins_after_it_gets_what_is_loaded_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
