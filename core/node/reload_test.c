#include "node/test_node.h"

#define WAIT_MS 10000 /* reload.c's */

struct asked {
    struct hg_reload_ask ask;
    unsigned calls;
};

static void on_done(struct hg_reload_ask *ask)
{
    hg_container_of(ask, struct asked, ask)->calls++;
}

static void ask(struct hg_node *node, struct asked *asked)
{
    *asked = (struct asked){.ask = {.node = node, .done = on_done}};
    struct hg_loop *outer = hg_loop_enter(&node->control);
    hg_reload_ask(&asked->ask);
    hg_loop_enter(outer);
}

/* The answer: its status, and whether the text is in it. */
static void must_be_answered(struct hg_node *node, struct asked *asked, int status,
                             const char *text)
{
    turn_until(node, asked->calls == 1);
    hg_buf_append_char(&asked->ask.body, '\0');
    if (asked->ask.status != status || strstr(asked->ask.body.data, text) == NULL)
        fail_msg("%d %s", asked->ask.status, asked->ask.body.data);
    hg_buf_finish(&asked->ask.body);
}

static struct hg_reload_stats stats_of(struct hg_node *node)
{
    struct hg_reload_stats stats;
    hg_reload_stats(node, &stats);
    return stats;
}

static void test_groups_come_change_and_go_and_what_was_before_ends(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m") "," GROUP("b", "10m"));
    struct hg_group *a = hg_groups_find(node->groups, HG_BYTES("a"));
    struct hg_runtime_stats before, after;
    struct asked asked;

    (void)state;
    hg_node_scripts_stats(node, &before);
    write_file(GROUP("a", "5m") "," GROUP("c", "10m"));
    ask(node, &asked);
    must_be_answered(node, &asked, 200, "\"groups.b: dropped\"");
    struct hg_generation *now = atomic_load(&node->generation);
    assert_int_equal(now->number, 2);
    assert_ptr_equal(hg_groups_find(node->groups, HG_BYTES("a")), a); /* its store is kept */
    assert_int_equal(hg_group_config(a)->ttl_ms, 5 * 60 * 1000);
    assert_non_null(hg_groups_find(node->groups, HG_BYTES("c")));
    turn_until(node, hg_groups_find(node->groups, HG_BYTES("b")) == NULL);
    turn_until(node, stats_of(node).generations == 1);
    assert_int_equal(stats_of(node).generation, 2);
    assert_int_equal(stats_of(node).done, 1);
    /* Threads are those of one generation again, and nothing that was counted is gone. */
    hg_node_scripts_stats(node, &after);
    assert_int_equal(after.threads, before.threads);
    stop(node);
}

static void test_a_broken_file_changes_nothing(void **state)
{
    static const char *const broken[][2] = {
        {"a = ", "unexpected symbol"},
        {"a = { getter = function() end, tttl = 1 }", "ttl"},
        {"a = { getter = function() end, policy = 'lfu' }", "restart the node"},
    };
    struct hg_node *node = start(GROUP("a", "10m"));
    struct hg_generation *before = atomic_load(&node->generation);
    struct asked asked;

    (void)state;
    for (size_t i = 0; i < HG_COUNT(broken); i++) {
        write_file(broken[i][0]);
        ask(node, &asked);
        must_be_answered(node, &asked, 422, broken[i][1]);
    }
    assert_ptr_equal(atomic_load(&node->generation), before);
    turn_until(node, stats_of(node).generations == 1); /* what came of it has its place back */
    assert_int_equal(stats_of(node).refused, HG_COUNT(broken));
    write_file(GROUP("a", "10m"));
    atomic_store(&node->phase, HG_NODE_DRAINING);
    ask(node, &asked);
    must_be_answered(node, &asked, 503, "draining");
    stop(node);
}

static void test_one_at_a_time_and_a_signal_meanwhile_is_done_afterwards(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m"));
    struct asked first, second;

    (void)state;
    ask(node, &first);
    ask(node, &second);
    must_be_answered(node, &second, 409, "under way");
    hg_reload_by_signal(node);
    must_be_answered(node, &first, 200, "\"generation\":2");
    turn_until(node, stats_of(node).generation == 3);
    stop(node);
}

/* The clocks are held, and a worker answers with the first generation. -> the time at which they stand */
static uint64_t stand_still(struct hg_node *node)
{
    uint64_t now_ms = hg_clock_boot_ms();
    hg_clock_hold(now_ms, now_ms);
    atomic_fetch_add(&node->generations[0].holders, 1);
    atomic_fetch_add(&node->generations[0].fronts, 1);
    return now_ms;
}

/* The worker's loop turns again. */
static void go_on(struct hg_node *node)
{
    atomic_fetch_sub(&node->generations[0].fronts, 1);
    atomic_fetch_sub(&node->generations[0].holders, 1);
}

/* A worker whose loop does not turn goes on answering with what it had, and its groups cannot go. */
static void test_a_reload_does_not_wait_for_ever_for_who_answers_with_another(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m") "," GROUP("b", "10m"));
    struct asked asked;

    (void)state;
    uint64_t now_ms = stand_still(node);
    write_file(GROUP("a", "10m"));
    ask(node, &asked);
    must_be_answered(node, &asked, 200, "groups.b: dropped");
    write_file(GROUP("a", "5m"));
    ask(node, &asked);
    for (int i = 0; i < 100; i++)
        turn(node);
    hg_clock_hold(now_ms + WAIT_MS - 1, now_ms);
    turn(node);
    assert_int_equal(asked.calls, 0);
    hg_clock_hold(now_ms + WAIT_MS, now_ms);
    must_be_answered(node, &asked, 503, "a worker still answers with an earlier configuration");
    assert_int_equal(stats_of(node).refused, 1);
    assert_non_null(hg_groups_find(node->groups, HG_BYTES("b")));
    go_on(node);
    ask(node, &asked);
    must_be_answered(node, &asked, 200, "\"generation\":3");
    assert_null(hg_groups_find(node->groups, HG_BYTES("b")));
    hg_clock_release();
    stop(node);
}

/* The time that a build took is none that a signal meanwhile has waited for a place. */
static void test_a_signal_during_a_long_build_has_its_whole_wait(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m") "," GROUP("b", "10m"));
    struct asked asked;

    (void)state;
    uint64_t now_ms = stand_still(node);
    write_file(GROUP("a", "10m"));
    ask(node, &asked);
    turn(node);
    hg_reload_by_signal(node);
    hg_clock_hold(now_ms + WAIT_MS, now_ms);
    must_be_answered(node, &asked, 200, "groups.b: dropped");
    for (int i = 0; i < 10; i++)
        turn(node);
    assert_int_equal(stats_of(node).refused, 0);
    go_on(node);
    turn_until(node, stats_of(node).generation == 3);
    hg_clock_release();
    stop(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_come_change_and_go_and_what_was_before_ends),
        cmocka_unit_test(test_a_broken_file_changes_nothing),
        cmocka_unit_test(test_one_at_a_time_and_a_signal_meanwhile_is_done_afterwards),
        cmocka_unit_test(test_a_reload_does_not_wait_for_ever_for_who_answers_with_another),
        cmocka_unit_test(test_a_signal_during_a_long_build_has_its_whole_wait),
    };
    return cmocka_run_group_tests(tests, test_node_begin, test_node_end);
}
