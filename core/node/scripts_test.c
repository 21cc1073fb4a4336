#include "node/test_node.h"

static struct hg_runtime_stats stats_of(struct hg_node *node)
{
    struct hg_runtime_stats stats;
    hg_node_scripts_stats(node, &stats);
    return stats;
}

static void test_what_is_held_is_not_closed_nor_counted_twice(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m"));
    struct hg_generation *first = atomic_load(&node->generation);

    (void)state;
    turn_until(node, stats_of(node).tasks == 1); /* hg.at_start */
    assert_true(hg_generation_hold(first));
    for (int i = 0; i < 3; i++)
        assert_false(hg_node_scripts_close(node, first));
    assert_int_equal(stats_of(node).tasks, 1);
    assert_int_equal(node->past.tasks, 0);
    hg_generation_release(first);
    stop(node);
}

static void test_counters_go_on_when_a_generation_ends(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m"));
    unsigned threads = stats_of(node).threads;
    uint64_t tasks = 0;

    (void)state;
    for (uint64_t generation = 2; generation <= 4; generation++) {
        turn_until(node, stats_of(node).tasks == generation - 1);
        hg_reload_by_signal(node);
        struct hg_reload_stats reload;
        do { /* at no moment do they fall */
            turn(node);
            uint64_t now = stats_of(node).tasks;
            assert_true(now >= tasks);
            tasks = now;
            hg_reload_stats(node, &reload);
        } while (reload.generation < generation || reload.generations > 1);
    }
    turn_until(node, stats_of(node).tasks == 4);
    assert_int_equal(stats_of(node).threads, threads); /* gauges are of what there is */
    stop(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_held_is_not_closed_nor_counted_twice),
        cmocka_unit_test(test_counters_go_on_when_a_generation_ends),
    };
    return cmocka_run_group_tests(tests, test_node_begin, test_node_end);
}
