#include "group/fake_source.h"

#include "base/alloc.h"

static void load_one(struct fake *fake, struct asker *asker, const char *key, const char *value)
{
    assert_int_equal(ask(fake, asker, key), HG_PENDING);
    end_next(fake, value);
    assert_string_equal(asker->data, value);
}

static uint64_t bytes_of(struct hg_group *group)
{
    struct hg_group_stats stats;
    hg_group_stats(group, &stats);
    return stats.bytes;
}

static void test_a_made_group_is_found_once_it_is_listed(void **state)
{
    struct fake fake;
    struct hg_group *other;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_ptr_equal(hg_groups_only(fake.groups), fake.group);
    struct hg_group_config config = fake.config;
    config.name = "other";
    assert_int_equal(hg_group_create(fake.groups, &config, &other), HG_OK);
    assert_null(hg_groups_find(fake.groups, HG_BYTES("other")));
    assert_ptr_equal(hg_groups_only(fake.groups), fake.group);
    hg_groups_list(fake.groups, other);
    assert_ptr_equal(hg_groups_find(fake.groups, HG_BYTES("other")), other);
    assert_null(hg_groups_only(fake.groups));
    fake_finish(&fake);
}

static void test_a_dropped_group_frees_what_it_stored_and_its_index(void **state)
{
    struct fake fake;
    struct asker asker;
    struct hg_group *other, *again;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_group_config config = fake.config;
    config.name = "other";
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_OK);
    load_one(&fake, &asker, "k", "value");
    assert_true(bytes_of(fake.group) > 0);

    hg_groups_drop(fake.groups, fake.group);
    assert_int_equal(bytes_of(fake.group), 0);
    assert_null(hg_groups_find(fake.groups, HG_BYTES("test")));
    assert_null(hg_groups_at(fake.groups, 0));
    assert_ptr_equal(hg_groups_only(fake.groups), other);
    assert_int_equal(hg_groups_count(fake.groups), 2);
    /* Another one of that name beside it, at another index. */
    config.name = "test";
    assert_int_equal(hg_groups_add(fake.groups, &config, &again), HG_OK);
    assert_int_equal(hg_group_index(again), 2);
    assert_ptr_equal(hg_groups_find(fake.groups, HG_BYTES("test")), again);

    assert_true(hg_group_is_idle(fake.group));
    hg_group_destroy(fake.group);
    fake.group = again;
    config.name = "third";
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_OK);
    assert_int_equal(hg_group_index(other), 0);
    hg_groups_drop(fake.groups, again);
    assert_int_equal(hg_groups_count(fake.groups), 2);
    fake_finish(&fake);
}

static void test_a_dropped_group_may_be_listed_again(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    hg_groups_drop(fake.groups, fake.group);
    assert_int_equal(hg_groups_count(fake.groups), 0);
    hg_groups_list(fake.groups, fake.group);
    assert_ptr_equal(hg_groups_only(fake.groups), fake.group);
    load_one(&fake, &asker, "k", "value");
    fake_finish(&fake);
}

static void test_who_holds_waits_or_loads_keeps_it_from_being_idle(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_true(hg_group_is_idle(fake.group));
    hg_group_hold(fake.group);
    assert_false(hg_group_is_idle(fake.group));
    hg_group_release(fake.group);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_groups_drop(fake.groups, fake.group);
    assert_false(hg_group_is_idle(fake.group));
    end_next(&fake, "value");
    assert_string_equal(asker.data, "value");
    assert_true(hg_group_is_idle(fake.group));
    hg_group_hold(NULL);
    hg_group_release(NULL);
    fake_finish(&fake);
}

static void test_another_configuration_holds_for_what_comes(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_group_config config = fake.config;
    config.name = "never";
    config.policy = "fifo";
    config.shards = 64;
    config.ttl_ms = 1000;
    config.capacity_bytes = 2 << 20;
    struct hg_group_config *prepared = hg_group_prepare(fake.group, &config);
    assert_non_null(prepared);
    hg_free(hg_group_set_config(fake.group, prepared));
    assert_string_equal(hg_group_config(fake.group)->name, "test");
    assert_string_equal(hg_group_config(fake.group)->policy, "lru");
    assert_int_equal(hg_group_config(fake.group)->shards, 1);
    assert_int_equal(hg_group_config(fake.group)->ttl_ms, 1000);
    struct hg_group_stats stats;
    hg_group_stats(fake.group, &stats);
    assert_int_equal(stats.capacity, 2 << 20);
    load_one(&fake, &asker, "k", "value");
    fake.now_ms += 1001;
    load_one(&fake, &asker, "k", "newer"); /* with the ttl before it would still be fresh */
    fake_finish(&fake);
}

static void test_a_load_leaves_the_guard_that_it_began_with(void **state)
{
    struct fake fake;
    struct asker askers[2];
    struct hg_guard other;
    struct hg_guard_state guard_state;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake_start(&fake);
    hg_guard_init(&other, &fake.guard_config);
    assert_false(hg_guard_is_idle(&fake.guard)); /* the group has it */
    assert_int_equal(ask(&fake, &askers[0], "a"), HG_PENDING);
    struct hg_group_config config = fake.config;
    config.guard = &other;
    hg_free(hg_group_set_config(fake.group, hg_group_prepare(fake.group, &config)));
    assert_int_equal(ask(&fake, &askers[1], "b"), HG_PENDING);
    hg_guard_state(&fake.guard, &guard_state);
    assert_int_equal(guard_state.running, 1);
    assert_false(hg_guard_is_idle(&fake.guard));
    hg_guard_state(&other, &guard_state);
    assert_int_equal(guard_state.running, 1);
    end_next(&fake, "1");
    assert_true(hg_guard_is_idle(&fake.guard));
    end_next(&fake, "2");
    assert_string_equal(askers[1].data, "2");
    assert_false(hg_guard_is_idle(&other));
    fake_finish(&fake);
    assert_true(hg_guard_is_idle(&other));
    hg_guard_finish(&other);
}

static void test_a_lower_capacity_is_trimmed_to(void **state)
{
    struct fake fake;
    struct asker asker;
    char key[16];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        load_one(&fake, &asker, key, "0123456789012345678901234567890123456789");
    }
    uint64_t before = bytes_of(fake.group);
    assert_false(hg_group_trim(fake.group, fake.now_ms));
    assert_int_equal(bytes_of(fake.group), before);
    struct hg_group_config config = fake.config;
    config.capacity_bytes = before / 2;
    hg_free(hg_group_set_config(fake.group, hg_group_prepare(fake.group, &config)));
    while (hg_group_trim(fake.group, fake.now_ms))
        ;
    assert_true(bytes_of(fake.group) <= before / 2);
    assert_true(bytes_of(fake.group) > before / 4);
    load_one(&fake, &asker, "k0", "new"); /* the oldest went */
    fake_finish(&fake);
}

static void test_no_memory_changes_nothing(void **state)
{
    struct fake fake;
    struct hg_group *other;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_group_config config = fake.config;
    config.name = "other";
    int err = HG_ENOMEM;
    for (unsigned n = 0; err == HG_ENOMEM; n++) {
        size_t before = hg_alloc_live_bytes();
        hg_alloc_fail_at(n, false);
        err = hg_group_create(fake.groups, &config, &other);
        hg_alloc_fail_clear();
        if (err == HG_ENOMEM)
            assert_int_equal(hg_alloc_live_bytes(), before);
    }
    assert_int_equal(err, HG_OK);
    assert_int_equal(hg_group_index(other), 1);
    hg_group_destroy(other);
    hg_alloc_fail_at(0, false);
    assert_null(hg_group_prepare(fake.group, &config));
    hg_alloc_fail_clear();
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_made_group_is_found_once_it_is_listed),
        cmocka_unit_test(test_a_dropped_group_frees_what_it_stored_and_its_index),
        cmocka_unit_test(test_a_dropped_group_may_be_listed_again),
        cmocka_unit_test(test_who_holds_waits_or_loads_keeps_it_from_being_idle),
        cmocka_unit_test(test_another_configuration_holds_for_what_comes),
        cmocka_unit_test(test_a_load_leaves_the_guard_that_it_began_with),
        cmocka_unit_test(test_a_lower_capacity_is_trimmed_to),
        cmocka_unit_test(test_no_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
