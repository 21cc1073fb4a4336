#include "group/fake_source.h"

#define LOADS 12

/* Loads of keys "0", "1", ... that are in no flight table: edges look at names, parents and waiters only. */
struct bench {
    struct fake fake;
    struct hg_edges edges;
    struct hg_load *loads[LOADS];
};

static void bench_init(struct bench *bench)
{
    fake_init(&bench->fake);
    fake_start(&bench->fake);
    hg_edges_init(&bench->edges);
    for (unsigned i = 0; i < LOADS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%u", i);
        bench->loads[i] = hg_load_create(bench->fake.group, HG_FLIGHT_LOCAL, i + 1,
                                         hg_bytes_str(key), HG_BYTES_NONE, NULL);
        assert_non_null(bench->loads[i]);
    }
}

static void bench_finish(struct bench *bench)
{
    for (int i = 0; i < LOADS; i++) {
        hg_edges_clear(&bench->edges, bench->loads[i]);
        hg_load_destroy(bench->loads[i]);
    }
    hg_edges_finish(&bench->edges);
    fake_finish(&bench->fake);
}

static bool join(struct bench *bench, struct hg_waiter *waiter, int from, int to)
{
    memset(waiter, 0, sizeof(*waiter));
    hg_list_init(&waiter->link);
    hg_list_init(&waiter->edge);
    return hg_edges_join(&bench->edges, waiter, bench->loads[from], HG_BYTES_NONE,
                         bench->loads[to]);
}

static void test_circles_are_refused_and_diamonds_are_not(void **state)
{
    struct bench bench;
    struct hg_waiter waiters[8];

    (void)state;
    bench_init(&bench);
    assert_false(join(&bench, &waiters[0], 0, 1));
    assert_false(join(&bench, &waiters[1], 0, 2));
    assert_false(join(&bench, &waiters[2], 1, 3));
    assert_false(join(&bench, &waiters[3], 2, 3));
    assert_true(join(&bench, &waiters[4], 3, 0));
    assert_true(join(&bench, &waiters[4], 3, 1));
    assert_true(join(&bench, &waiters[4], 3, 3));
    assert_false(join(&bench, &waiters[4], 3, 4));
    hg_edges_leave(&bench.edges, &waiters[2]);
    hg_edges_leave(&bench.edges, &waiters[3]);
    assert_false(join(&bench, &waiters[5], 3, 0));
    bench_finish(&bench);
}

static void test_done_getter_waits_for_nobody(void **state)
{
    struct bench bench;
    struct hg_waiter waiters[2];

    (void)state;
    bench_init(&bench);
    assert_false(join(&bench, &waiters[0], 0, 1));
    hg_edges_clear(&bench.edges, bench.loads[0]);
    assert_null(waiters[0].parent);
    assert_false(join(&bench, &waiters[1], 1, 0));
    hg_edges_leave(&bench.edges, &waiters[0]); /* harmless */
    bench_finish(&bench);
}

static void test_moved_waiters_that_would_close_a_circle_are_told_apart(void **state)
{
    struct bench bench;
    struct hg_waiter waiters[4];
    struct hg_list list = HG_LIST_INIT(list), circles = HG_LIST_INIT(circles);

    (void)state;
    bench_init(&bench);
    assert_false(join(&bench, &waiters[0], 0, 1));
    assert_false(join(&bench, &waiters[1], 2, 1));
    assert_false(join(&bench, &waiters[2], 3, 0)); /* 3 waits for 0 */
    hg_list_push_back(&list, &waiters[0].link);
    hg_list_push_back(&list, &waiters[1].link);
    hg_edges_move(&bench.edges, &list, bench.loads[3], &circles); /* 0 for 3: a circle */
    assert_ptr_equal(circles.next, &waiters[0].link);
    assert_ptr_equal(list.next, &waiters[1].link);
    assert_ptr_equal(waiters[1].load, bench.loads[3]);
    assert_null(waiters[0].parent);
    bench_finish(&bench);
}

static void test_held_guards_come_from_all_who_wait(void **state)
{
    struct bench bench;
    struct hg_guard guards[2];
    struct hg_waiter waiters[2];
    struct hg_list list = HG_LIST_INIT(list);

    (void)state;
    bench_init(&bench);
    memset(guards, 0, sizeof(guards));
    bench.loads[0]->held[bench.loads[0]->held_count++] = &guards[0];
    bench.loads[1]->held[bench.loads[1]->held_count++] = &guards[0];
    bench.loads[1]->held[bench.loads[1]->held_count++] = &guards[1];
    for (int i = 0; i < 2; i++) {
        assert_false(join(&bench, &waiters[i], i, 5));
        hg_list_push_back(&list, &waiters[i].link);
    }
    hg_edges_held(&bench.edges, &list, bench.loads[5]);
    assert_int_equal(bench.loads[5]->held_count, 2);
    assert_true(hg_guard_is_held(&guards[0], bench.loads[5]));
    assert_true(hg_guard_is_held(&guards[1], bench.loads[5]));
    hg_list_init(&list);
    hg_edges_held(&bench.edges, &list, bench.loads[5]);
    assert_int_equal(bench.loads[5]->held_count, 0);
    bench_finish(&bench);
}

/* Model: an adjacency matrix of counts and Warshall's closure. */
static bool model_reaches(unsigned edges[LOADS][LOADS], int from, int to)
{
    bool seen[LOADS] = {false};
    int stack[LOADS * LOADS], top = 0;

    stack[top++] = from;
    while (top > 0) {
        int at = stack[--top];
        if (at == to)
            return true;
        if (seen[at])
            continue;
        seen[at] = true;
        for (int next = 0; next < LOADS; next++)
            if (edges[at][next] > 0 && !seen[next])
                stack[top++] = next;
    }
    return false;
}

static void test_random_edges_against_a_model(void **state)
{
    static struct hg_waiter waiters[40];
    struct bench bench;
    unsigned edges[LOADS][LOADS] = {{0}};
    int from[40], to[40];
    bool is_set[40] = {false};
    uint64_t seed = 2026;
    unsigned circles = 0;

    (void)state;
    bench_init(&bench);
    for (int step = 0; step < 100000; step++) {
        size_t i = fake_next(&seed) % 40;
        if (is_set[i]) {
            hg_edges_leave(&bench.edges, &waiters[i]);
            edges[from[i]][to[i]]--;
            is_set[i] = false;
            continue;
        }
        from[i] = (int)(fake_next(&seed) % LOADS);
        to[i] = (int)(fake_next(&seed) % LOADS);
        bool expected = model_reaches(edges, to[i], from[i]);
        assert_int_equal(join(&bench, &waiters[i], from[i], to[i]), expected);
        circles += expected;
        if (!expected) {
            edges[from[i]][to[i]]++;
            is_set[i] = true;
        }
    }
    assert_true(circles > 1000);
    bench_finish(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circles_are_refused_and_diamonds_are_not),
        cmocka_unit_test(test_done_getter_waits_for_nobody),
        cmocka_unit_test(test_moved_waiters_that_would_close_a_circle_are_told_apart),
        cmocka_unit_test(test_held_guards_come_from_all_who_wait),
        cmocka_unit_test(test_random_edges_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
