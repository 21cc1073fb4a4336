#include "group/fake_source.h"
#include "group/score.h"

static unsigned crowded;

static void on_crowded(void *ctx, struct hg_group *group)
{
    (void)ctx;
    (void)group;
    crowded++;
}

static void start(struct fake *fake, size_t capacity)
{
    crowded = 0;
    fake_init(fake);
    fake->source.crowded = on_crowded;
    fake->config.capacity_bytes = capacity;
    fake->config.policy = "sampled";
    fake->config.samples = 5;
    fake->config.hot = 0;
    fake_start(fake);
}

static void load(struct fake *fake, const char *key)
{
    struct asker asker;
    assert_int_equal(ask(fake, &asker, key), HG_PENDING);
    fake->now_ms += 7;
    end_next(fake, "v");
    assert_string_equal(asker.data, "v");
}

static void test_it_is_told_when_it_is_crowded(void **state)
{
    struct fake fake;
    char key[16];
    (void)state;
    start(&fake, 20 << 10);
    for (int i = 0; !hg_group_is_crowded(fake.group); i++) {
        assert_int_equal(crowded, 0);
        snprintf(key, sizeof(key), "k%d", i);
        load(&fake, key);
    }
    assert_int_equal(crowded, 1);
    assert_true(atomic_load(&fake.group->budget.used) > fake.group->budget.capacity / 100 * 95);
    fake_finish(&fake);
}

static void test_the_one_that_is_named_goes_unless_it_was_used(void **state)
{
    struct fake fake;
    struct asker asker;
    struct hg_sample samples[HG_SAMPLES_MAX];
    struct hg_group_stats stats;
    unsigned shard;
    (void)state;
    start(&fake, 1 << 20);
    assert_int_equal(hg_group_sample(fake.group, fake.now_ms, &shard, samples), 0);
    load(&fake, "k");
    fake.now_ms += 100;
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    fake.now_ms += 10;
    assert_int_equal(hg_group_sample(fake.group, fake.now_ms, &shard, samples), 5);
    assert_int_equal(samples[0].age_ms, 110);
    assert_int_equal(samples[0].idle_ms, 10);
    assert_int_equal(samples[0].hits, 1);
    assert_int_equal(samples[0].cost_ms, 7);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK); /* in between */
    assert_false(hg_group_evict_sample(fake.group, shard, &samples[0]));
    hg_samples_release(samples, 5);
    assert_int_equal(hg_group_sample(fake.group, fake.now_ms, &shard, samples), 5);
    assert_true(hg_group_evict_sample(fake.group, shard, &samples[0]));
    assert_false(hg_group_evict_sample(fake.group, shard, &samples[1])); /* it is gone */
    hg_samples_release(samples, 5);
    hg_group_stats(fake.group, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.evictions, 1);
    assert_int_equal(stats.scored_evictions, 1);
    assert_int_equal(stats.unscored_evictions, 0);
    fake_finish(&fake);
}

static void test_without_a_score_the_old_go(void **state)
{
    struct fake fake;
    struct hg_group_stats stats;
    char key[16];
    (void)state;
    start(&fake, 20 << 10);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        load(&fake, key);
    }
    hg_group_stats(fake.group, &stats);
    assert_true(stats.bytes <= stats.capacity);
    assert_true(stats.evictions > 500);
    assert_int_equal(stats.unscored_evictions, stats.evictions);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_told_when_it_is_crowded),
        cmocka_unit_test(test_the_one_that_is_named_goes_unless_it_was_used),
        cmocka_unit_test(test_without_a_score_the_old_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
