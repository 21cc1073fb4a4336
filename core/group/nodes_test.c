/*
 * Three nodes in one thread: random gets, nested getters, asks that are slow, lost or untyped, views that cross,
 * invalidations, cancels and deadlines. What must hold whatever the seed:
 *
 *   every waiter is answered exactly once, or cancelled by who owns it
 *   a getter runs once at a time for a key and node
 *   nobody gets a value older than the last invalidation before his get
 *   when nothing is left to happen no flight is left, counters add up, and all memory is back
 */
#include "group/fake_world.h"

/* What the source holds changes; at this very moment every node is told, in one way or another. */
static void world_write(struct sim *sim)
{
    unsigned key = (unsigned)below(sim, KEYS);
    uint64_t how = below(sim, 10);
    char tag[8];

    if (how == 9 && chance(sim, 80))
        how = 0;
    if (how >= 7 && how <= 8 && key % 4 == 3)
        how = 0; /* has no tag */
    snprintf(tag, sizeof(tag), "t%u", key % 4);
    sim->version[key]++;
    for (int n = 0; n < NODES; n++) {
        struct node *node = &sim->nodes[n];
        if (how < 5) {
            hg_group_remove(node->group, hg_bytes_str(key_name(key)), sim->now_ms);
        } else if (how < 7) {
            struct hg_value *value = make_value(key, sim->version[key]);
            int rc = hg_group_set(node->group, value, sim->now_ms);
            assert_true(rc == HG_OK || rc == HG_ETOOBIG || rc == HG_ELIMIT);
            hg_value_unref(value);
        } else if (how < 9) {
            assert_int_equal(
                hg_group_remove_tag(node->group, hg_bytes_str(tag), false, sim->now_ms), HG_OK);
        } else {
            hg_group_flush(node->group, sim->now_ms);
        }
    }
}

static void check_sums(struct node *node)
{
    struct hg_group_stats stats;

    hg_group_stats(node->group, &stats);
    assert_int_equal(stats.gets, stats.hits + stats.hot_hits + stats.stale_hits +
                                     stats.negative_hits + stats.error_hits + stats.misses);
    assert_int_equal(stats.misses, stats.loads + stats.loads_deduped + stats.refused);
    assert_int_equal(stats.flights, hg_groups_flight_count(node->groups));
    assert_true(stats.flights <= 40);
    assert_true(stats.bytes <= stats.capacity);
    for (unsigned s = 0; s < node->group->shard_count; s++) {
        assert_true(hg_store_validate(&node->group->shards[s].store));
        assert_true(hg_flights_validate(&node->group->shards[s].flights));
    }
}

static void world_ticks(struct sim *sim, void *arg)
{
    unsigned *left = arg;
    struct node *node = &sim->nodes[below(sim, NODES)];
    struct hg_get get = {0};
    uint64_t dice = below(sim, 100);
    unsigned key = (unsigned)below(sim, KEYS);

    if (dice < 84)
        client_start(node, key, &get, chance(sim, 20) ? 1 + below(sim, 100) : 5000, NULL, NULL);
    else if (dice < 92)
        world_write(sim);
    else if (dice < 94)
        hg_group_expire(node->group, hg_bytes_str(key_name(key)), sim->now_ms);
    else if (dice < 96)
        hg_group_expire_step(node->group, sim->now_ms, 8);
    else if (dice < 98 && sim->rules->has_views)
        hg_groups_set_view(node->groups, chance(sim, 10) ? NULL : &node->views[below(sim, VIEWS)]);
    else
        check_sums(node);
    if (--*left > 0)
        after(sim, below(sim, 12), world_ticks, left);
}

static void run(uint64_t seed, const struct rules *rules, unsigned ticks, struct sim *sim)
{
    size_t live = hg_alloc_live_bytes();
    unsigned left = ticks;

    world_init(sim, seed, rules);
    after(sim, 0, world_ticks, &left);
    while (step(sim))
        ;
    assert_int_equal(left, 0);
    assert_int_equal(sim->open_clients, 0);
    for (int n = 0; n < NODES; n++) {
        struct node *node = &sim->nodes[n];
        check_sums(node);
        if (hg_groups_flight_count(node->groups) != 0)
            fail_msg("seed %llu: node %d still has flights", (unsigned long long)seed, n);
        assert_int_equal(node->guard.running, 0);
        assert_int_equal(node->guard.queued, 0);
        hg_groups_destroy(node->groups);
        hg_guard_finish(&node->guard);
    }
    for (int v = 0; v < VIEWS; v++)
        hg_ring_destroy(sim->rings[v]);
    free(sim->heap);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void run_seeds(const char *what, const struct rules *rules, unsigned seeds,
                      struct sim *out_sum)
{
    struct sim sim;

    memset(out_sum, 0, sizeof(*out_sum));
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        print_message("%s: seed %llu\r", what, (unsigned long long)seed);
        run(seed, rules, 1500, &sim);
        out_sum->answered += sim.answered;
        out_sum->cancelled += sim.cancelled;
        out_sum->values += sim.values;
        out_sum->recursions += sim.recursions;
        out_sum->keeps += sim.keeps;
        out_sum->timeouts += sim.timeouts;
        out_sum->nested_timeouts += sim.nested_timeouts;
        out_sum->asks += sim.asks;
    }
    print_message(
        "%s: %u answered, %u cancelled, %u values, %u asks, %u kept, %u recursive, %u ask and %u "
        "nested deadlines\n",
        what, out_sum->answered, out_sum->cancelled, out_sum->values, out_sum->asks, out_sum->keeps,
        out_sum->recursions, out_sum->timeouts, out_sum->nested_timeouts);
    assert_true(out_sum->values > 1000);
    assert_true(out_sum->asks > 1000);
}

static void test_calm_network(void **state)
{
    static const struct rules rules = {.hot = 20};
    struct sim sum;

    (void)state;
    run_seeds("calm", &rules, 150, &sum);
    assert_int_equal(sum.timeouts, 0);
}

static void test_lossy_network_and_crossing_views(void **state)
{
    static const struct rules rules = {.hot = 20, .has_views = true, .loses = true};
    struct sim sum;

    (void)state;
    run_seeds("lossy", &rules, 150, &sum);
    assert_int_equal(sum.timeouts, 0); /* law 4: crossing views do not wait for each other */
}

static void test_nested_getters_without_circles_never_hang(void **state)
{
    static const struct rules rules = {
        .hot = 20, .nests = true, .is_dag = true, .has_views = true, .loses = true};
    struct sim sum;

    (void)state;
    run_seeds("nested", &rules, 150, &sum);
    assert_int_equal(sum.nested_timeouts, 0);
}

static void test_circles_and_guards_end_by_error_or_deadline(void **state)
{
    static const struct rules rules = {
        .hot = 0, .nests = true, .has_guard = true, .has_views = true, .loses = true};
    struct sim sum;

    (void)state;
    run_seeds("circles", &rules, 150, &sum);
    assert_true(sum.recursions > 100);
}

static void test_guard_without_nesting_never_hangs(void **state)
{
    static const struct rules rules = {
        .hot = 20, .has_guard = true, .has_views = true, .loses = true};
    struct sim sum;

    (void)state;
    run_seeds("guarded", &rules, 150, &sum);
    assert_int_equal(sum.timeouts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calm_network),
        cmocka_unit_test(test_lossy_network_and_crossing_views),
        cmocka_unit_test(test_nested_getters_without_circles_never_hang),
        cmocka_unit_test(test_circles_and_guards_end_by_error_or_deadline),
        cmocka_unit_test(test_guard_without_nesting_never_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
