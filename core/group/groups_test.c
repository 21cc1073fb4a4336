#include "group/fake_source.h"

static void test_groups_are_found_by_name_and_index(void **state)
{
    struct fake fake;
    struct hg_group *other;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_group_config config = fake.config;
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_EINVAL); /* taken */
    config.name = "";
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_EINVAL);
    char name[] = "other";
    config.name = name;
    config.policy = "lruu";
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_EINVAL);
    config.policy = "s3-fifo";
    config.shards = 5;
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_OK);
    name[0] = 'x'; /* names are copied */
    assert_string_equal(hg_group_name(other), "other");
    assert_int_equal(hg_group_config(other)->shards, 8);
    assert_string_equal(hg_group_config(other)->policy, "s3-fifo");
    assert_string_equal(hg_group_config(fake.group)->policy, "lru");
    assert_int_equal(hg_groups_count(fake.groups), 2);
    assert_int_equal(hg_group_index(other), 1);
    assert_ptr_equal(hg_groups_at(fake.groups, 1), other);
    assert_ptr_equal(hg_groups_find(fake.groups, HG_BYTES("other")), other);
    assert_ptr_equal(hg_groups_find(fake.groups, HG_BYTES("test")), fake.group);
    assert_null(hg_groups_find(fake.groups, HG_BYTES("tes")));
    assert_null(hg_groups_find(fake.groups, HG_BYTES_NONE));
    fake_finish(&fake);
}

static void test_groups_share_nothing_but_the_limits(void **state)
{
    struct fake fake;
    struct hg_group *other;
    struct asker askers[2];

    (void)state;
    fake_init(&fake);
    fake.limits.flights_max = 2;
    fake_start(&fake);
    struct hg_group_config config = fake.config;
    config.name = "other";
    assert_int_equal(hg_groups_add(fake.groups, &config, &other), HG_OK);
    struct hg_get get = get_of(&fake, "k");
    assert_int_equal(get_with(&fake, fake.group, &askers[0], &get), HG_PENDING);
    assert_int_equal(get_with(&fake, other, &askers[1], &get), HG_PENDING);
    struct asker third;
    assert_int_equal(ask(&fake, &third, "l"), HG_ELIMIT);
    struct hg_load *load = next_load(&fake);
    assert_ptr_equal(load->group, fake.group);
    end(&fake, load, value_of(load, "1"));
    end_next(&fake, "2");
    assert_string_equal(askers[0].data, "1");
    assert_string_equal(askers[1].data, "2");
    fake_finish(&fake);
}

static void test_a_small_group_has_fewer_shards(void **state)
{
    static const struct {
        size_t capacity_bytes;
        unsigned asked, expected;
    } cases[] = {{100, 0, 1},  {1000, 0, 1},  {2000, 0, 2}, {7999, 0, 4},
                 {8000, 0, 8}, {80000, 0, 8}, {100, 4, 4}};
    struct fake fake;
    struct hg_group *group;

    (void)state;
    fake_init(&fake);
    fake.limits.shards = 8;
    fake.limits.shard_bytes_min = 1000;
    fake_start(&fake);
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        char name[] = {(char)('a' + i), '\0'};
        struct hg_group_config config = fake.config;
        config.name = name;
        config.capacity_bytes = cases[i].capacity_bytes;
        config.shards = cases[i].asked;
        assert_int_equal(hg_groups_add(fake.groups, &config, &group), HG_OK);
        assert_int_equal(hg_group_config(group)->shards, cases[i].expected);
    }
    fake_finish(&fake);
}

static void test_keys_spread_over_the_shards(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.config.shards = 8;
    fake_start(&fake);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        fill(&fake, key, "v");
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_in_range(fake.group->shards[i].store.table.count, 80, 170);
        assert_int_equal((uintptr_t)&fake.group->shards[i] % HG_CACHE_LINE, 0);
    }
    fake_finish(&fake);
}

static void test_error_without_memory_is_the_spare_one(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    hg_alloc_fail_at(0, true);
    struct hg_value *error =
        hg_groups_error(fake.groups, HG_CLASS_DENIED, HG_BYTES("k"), HG_BYTES("why"), 5);
    hg_alloc_fail_clear();
    assert_int_equal(hg_value_class(error), HG_CLASS_DENIED);
    assert_int_equal(hg_value_status(error), HG_STATUS_ERROR);
    hg_value_unref(error);
    fake_finish(&fake);
}

static void test_creating_out_of_memory_leaves_nothing(void **state)
{
    struct fake fake;
    struct hg_groups *groups = NULL;
    struct hg_group *group = NULL;
    size_t live = hg_alloc_live_bytes();

    (void)state;
    fake_init(&fake);
    fake.config.shards = 4;
    for (size_t n = 0;; n++) {
        hg_alloc_fail_at(n, true);
        int err = hg_groups_create(&fake.limits, &fake.source, &groups);
        bool is_created = err == HG_OK;
        if (is_created)
            err = hg_groups_add(groups, &fake.config, &group);
        bool was_refused = hg_alloc_fail_clear();
        assert_int_equal(err, was_refused ? HG_ENOMEM : HG_OK);
        if (is_created) {
            assert_int_equal(hg_groups_count(groups), was_refused ? 0 : 1);
            hg_groups_destroy(groups);
        }
        assert_int_equal(hg_alloc_live_bytes(), live);
        if (!was_refused)
            break;
    }
    hg_groups_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_are_found_by_name_and_index),
        cmocka_unit_test(test_groups_share_nothing_but_the_limits),
        cmocka_unit_test(test_a_small_group_has_fewer_shards),
        cmocka_unit_test(test_keys_spread_over_the_shards),
        cmocka_unit_test(test_error_without_memory_is_the_spare_one),
        cmocka_unit_test(test_creating_out_of_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
