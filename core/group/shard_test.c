#include "group/fake_source.h"

/* Fills a group of two shards through one of them only. */
static void test_any_value_up_to_the_limit_fits_at_any_shard_count(void **state)
{
    struct hg_budget budget;
    struct hg_shard *shards;
    char block[3 * sizeof(struct hg_shard)];
    char data[500];

    (void)state;
    shards = (void *)(((uintptr_t)block + HG_CACHE_LINE - 1) / HG_CACHE_LINE * HG_CACHE_LINE);
    memset(data, 'x', sizeof(data));
    hg_budget_init(&budget, 8192, 0, 512);
    for (int i = 0; i < 2; i++)
        assert_int_equal(hg_shard_init(&shards[i], &budget, &hg_policy_lru, 0, 0, NULL, NULL),
                         HG_OK);
    for (int i = 0; i < 30; i++) { /* shard 0 takes it all */
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        struct hg_value_spec spec = {
            .status = HG_STATUS_VALUE, .key = hg_bytes_str(key), .data = {data, 500}};
        struct hg_value *value = hg_value_create(&spec);
        assert_int_equal(hg_shard_put(&shards[0], shards, 2, value, HG_TIER_MAIN, 0, 100), HG_OK);
        hg_value_unref(value);
    }
    size_t before = shards[0].store.table.count;
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("other"), .data = {data, 500}};
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_store_put(&shards[1].store, value, HG_TIER_MAIN, 0, 100), HG_ELIMIT);

    hg_shard_lock(&shards[0]); /* the neighbour is busy: not waited for */
    assert_int_equal(hg_shard_put(&shards[1], shards, 2, value, HG_TIER_MAIN, 0, 100), HG_ELIMIT);
    hg_shard_unlock(&shards[0]);

    assert_int_equal(hg_shard_put(&shards[1], shards, 2, value, HG_TIER_MAIN, 0, 100), HG_OK);
    assert_true(shards[0].store.table.count < before);
    assert_true(atomic_load(&budget.used) <= budget.capacity);
    hg_value_unref(value);

    /* The negative tier has its own limit, in the neighbour too. */
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "n%d", i);
        struct hg_value_spec missing = {.status = HG_STATUS_NOT_FOUND, .key = hg_bytes_str(key)};
        value = hg_value_create(&missing);
        size_t main_count =
            shards[0].store.tier_count[HG_TIER_MAIN] + shards[1].store.tier_count[HG_TIER_MAIN];
        assert_int_equal(hg_shard_put(&shards[i % 2], shards, 2, value, HG_TIER_NEGATIVE, 0, 100),
                         HG_OK);
        if (i > 10) /* no main entry has to go for what only its own tier has no room for */
            assert_int_equal(main_count, shards[0].store.tier_count[HG_TIER_MAIN] +
                                             shards[1].store.tier_count[HG_TIER_MAIN]);
        hg_value_unref(value);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(hg_store_validate(&shards[i].store));
        hg_shard_finish(&shards[i]);
        hg_shard_finish(&shards[i]); /* finished memory is fine */
    }
}

static void test_load_time_is_a_moving_average(void **state)
{
    struct hg_shard shard;

    (void)state;
    memset(&shard, 0, sizeof(shard));
    hg_shard_note_load_time(&shard, 100);
    assert_int_equal(shard.load_time_x16 / 16, 100);
    for (int i = 0; i < 100; i++)
        hg_shard_note_load_time(&shard, 20);
    assert_in_range(shard.load_time_x16 / 16, 19, 21);
    hg_shard_note_load_time(&shard, UINT64_MAX);
    assert_true(shard.load_time_x16 / 16 < UINT32_MAX);
}

static void test_init_out_of_memory_leaves_nothing(void **state)
{
    static struct hg_shard shard;
    struct hg_budget budget;
    size_t live = hg_alloc_live_bytes();

    (void)state;
    hg_budget_init(&budget, 8192, 0, 512);
    for (size_t n = 0;; n++) {
        hg_alloc_fail_at(n, true);
        int err = hg_shard_init(&shard, &budget, &hg_policy_lru, 0, 0, NULL, NULL);
        if (!hg_alloc_fail_clear()) {
            assert_int_equal(err, HG_OK);
            assert_true(n > 1);
            break;
        }
        assert_int_equal(err, HG_ENOMEM);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
    hg_shard_finish(&shard);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_value_up_to_the_limit_fits_at_any_shard_count),
        cmocka_unit_test(test_load_time_is_a_moving_average),
        cmocka_unit_test(test_init_out_of_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
