#include "group/fake_source.h"

static struct hg_guard_config config(unsigned concurrency, unsigned queue, unsigned failures)
{
    return (struct hg_guard_config){.concurrency = concurrency,
                                    .queue = queue,
                                    .breaker_failures = failures,
                                    .breaker_cooldown_ms = 1000};
}

static size_t list_count(const struct hg_list *list)
{
    size_t count = 0;
    hg_list_for_each(it, list) count++;
    return count;
}

static void test_slots_then_queue_then_full(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(2, 1, 0);
    struct hg_load loads[4];
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms = 0;

    (void)state;
    memset(loads, 0, sizeof(loads));
    hg_guard_init(&guard, &limits);
    assert_int_equal(hg_guard_enter(&guard, &loads[0], 0, &retry_ms), HG_GUARD_RUN);
    assert_int_equal(hg_guard_enter(&guard, &loads[1], 0, &retry_ms), HG_GUARD_RUN);
    assert_int_equal(hg_guard_enter(&guard, &loads[2], 0, &retry_ms), HG_GUARD_QUEUED);
    assert_false(loads[2].has_slot);
    assert_int_equal(hg_guard_enter(&guard, &loads[3], 0, &retry_ms), HG_GUARD_FULL);
    assert_int_equal(retry_ms, 1000);
    assert_int_equal(guard.refused, 1);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    assert_int_equal(list_count(&ready), 1);
    assert_true(loads[2].has_slot);
    assert_int_equal(guard.running, 2);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    assert_int_equal(guard.running, 0);
    hg_guard_finish(&guard);
}

static void test_unqueued_load_is_not_returned(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(1, 5, 0);
    struct hg_load loads[3];
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms;

    (void)state;
    memset(loads, 0, sizeof(loads));
    hg_guard_init(&guard, &limits);
    for (int i = 0; i < 3; i++)
        hg_guard_enter(&guard, &loads[i], 0, &retry_ms);
    assert_false(hg_guard_unqueue(&guard, &loads[0]));
    assert_true(hg_guard_unqueue(&guard, &loads[1]));
    assert_false(hg_guard_unqueue(&guard, &loads[1]));
    hg_guard_leave(&guard, false, 0, &ready, &refused);
    assert_int_equal(list_count(&ready), 1);
    assert_ptr_equal(ready.next, &loads[2].link);
    hg_guard_leave(&guard, false, 0, &ready, &refused);
    hg_guard_finish(&guard);
}

static void test_breaker_counts_failures_in_a_row_only(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(1, 0, 3);
    struct hg_load load;
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms;

    (void)state;
    memset(&load, 0, sizeof(load));
    hg_guard_init(&guard, &limits);
    static const bool failed[] = {true, true, false, true, true, true};
    static const unsigned in_a_row[] = {1, 2, 0, 1, 2, 3};
    struct hg_guard_state told;
    for (size_t i = 0; i < HG_COUNT(failed); i++) {
        assert_int_equal(guard.breaker, HG_BREAKER_CLOSED);
        assert_int_equal(hg_guard_enter(&guard, &load, 0, &retry_ms), HG_GUARD_RUN);
        hg_guard_leave(&guard, failed[i], 0, &ready, &refused);
        hg_guard_state(&guard, &told);
        assert_int_equal(told.failures_in_a_row, in_a_row[i]);
    }
    assert_int_equal(guard.breaker, HG_BREAKER_OPEN);
    assert_int_equal(guard.opened, 1);
    assert_int_equal(hg_guard_enter(&guard, &load, 400, &retry_ms), HG_GUARD_OPEN);
    assert_int_equal(retry_ms, 600);
    hg_guard_finish(&guard);
}

static void test_half_open_lets_one_trial_through(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(4, 4, 1);
    struct hg_load load;
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms;

    (void)state;
    memset(&load, 0, sizeof(load));
    hg_guard_init(&guard, &limits);
    hg_guard_enter(&guard, &load, 0, &retry_ms);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    assert_int_equal(hg_guard_enter(&guard, &load, 1000, &retry_ms), HG_GUARD_RUN);
    assert_int_equal(guard.breaker, HG_BREAKER_HALF_OPEN);
    assert_int_equal(hg_guard_enter(&guard, &load, 1000, &retry_ms), HG_GUARD_OPEN);
    hg_guard_leave(&guard, true, 1100, &ready, &refused); /* still bad: another cooldown */
    assert_int_equal(guard.failures_in_a_row, 2);
    assert_int_equal(hg_guard_enter(&guard, &load, 2099, &retry_ms), HG_GUARD_OPEN);
    assert_int_equal(hg_guard_enter(&guard, &load, 2100, &retry_ms), HG_GUARD_RUN);
    hg_guard_drop(&guard, 2100, &ready); /* never took place: the next is the trial */
    assert_int_equal(hg_guard_enter(&guard, &load, 2100, &retry_ms), HG_GUARD_RUN);
    hg_guard_leave(&guard, false, 2200, &ready, &refused);
    assert_int_equal(guard.breaker, HG_BREAKER_CLOSED);
    assert_int_equal(guard.failures_in_a_row, 0);
    assert_int_equal(hg_guard_enter(&guard, &load, 2200, &retry_ms), HG_GUARD_RUN);
    hg_guard_leave(&guard, false, 2200, &ready, &refused);
    hg_guard_finish(&guard);
}

static void test_opening_ends_the_queue_and_late_leaves_say_nothing(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(2, 5, 1);
    struct hg_load loads[5];
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms;

    (void)state;
    memset(loads, 0, sizeof(loads));
    hg_guard_init(&guard, &limits);
    for (int i = 0; i < 5; i++)
        hg_guard_enter(&guard, &loads[i], 0, &retry_ms);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    assert_int_equal(list_count(&refused), 3);
    assert_int_equal(list_count(&ready), 0);
    assert_int_equal(guard.queued, 0);
    hg_guard_leave(&guard, false, 1, &ready, &refused); /* began before it opened */
    assert_int_equal(guard.breaker, HG_BREAKER_OPEN);
    hg_guard_finish(&guard);
}

static void test_no_slot_for_a_trial_means_open(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(2, 5, 1);
    struct hg_load loads[3];
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms;

    (void)state;
    memset(loads, 0, sizeof(loads));
    limits.concurrency = 1;
    hg_guard_init(&guard, &limits);
    hg_guard_enter(&guard, &loads[0], 0, &retry_ms);
    guard.breaker = HG_BREAKER_OPEN; /* opened by a run of another time */
    guard.open_until_ms = 100;
    assert_int_equal(hg_guard_enter(&guard, &loads[1], 200, &retry_ms), HG_GUARD_OPEN);
    hg_guard_leave(&guard, true, 200, &ready, &refused);
    assert_int_equal(hg_guard_enter(&guard, &loads[1], 200, &retry_ms), HG_GUARD_RUN);
    hg_guard_leave(&guard, false, 200, &ready, &refused);
    hg_guard_finish(&guard);
}

static void test_held_guard_is_known(void **state)
{
    static struct hg_guard one, two;
    struct hg_load load;

    (void)state;
    memset(&load, 0, sizeof(load));
    load.held[0] = &one;
    load.held_count = 1;
    assert_true(hg_guard_is_held(&one, &load));
    assert_false(hg_guard_is_held(&two, &load));
}

static void test_random_loads_never_pass_the_limits(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(3, 4, 4);
    struct hg_load loads[64];
    unsigned running = 0;
    uint64_t seed = 42, now_ms = 0, retry_ms;

    (void)state;
    memset(loads, 0, sizeof(loads));
    hg_guard_init(&guard, &limits);
    for (int step = 0; step < 200000; step++) {
        struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
        struct hg_load *load = &loads[fake_next(&seed) % HG_COUNT(loads)];
        now_ms += fake_next(&seed) % 50;
        if (!load->has_slot && !load->is_queued) {
            running += hg_guard_enter(&guard, load, now_ms, &retry_ms) == HG_GUARD_RUN;
        } else if (load->has_slot) {
            load->has_slot = false;
            running--;
            if (fake_next(&seed) % 8 == 0)
                hg_guard_drop(&guard, now_ms, &ready);
            else
                hg_guard_leave(&guard, fake_next(&seed) % 2 == 0, now_ms, &ready, &refused);
        } else {
            hg_guard_unqueue(&guard, load);
        }
        running += (unsigned)list_count(&ready);
        while (hg_list_pop_front(&ready) != NULL || hg_list_pop_front(&refused) != NULL)
            ;
        assert_int_equal(guard.running, running);
        assert_true(running <= 3);
        assert_int_equal(guard.queued, list_count(&guard.queue));
        assert_true(guard.queued <= 4);
        /* Nobody queues before a free slot. */
        assert_true(guard.queued == 0 || running == 3);
    }
    assert_true(guard.opened > 10);
    for (size_t i = 0; i < HG_COUNT(loads); i++)
        hg_guard_unqueue(&guard, &loads[i]);
    while (guard.running > 0) {
        struct hg_list ready = HG_LIST_INIT(ready);
        hg_guard_drop(&guard, now_ms, &ready);
    }
    hg_guard_finish(&guard);
}

static void test_its_state_is_told(void **state)
{
    (void)state;
    struct hg_guard guard;
    struct hg_guard_state told;
    const struct hg_guard_config config = {.concurrency = 3};
    hg_guard_init(&guard, &config);
    hg_guard_state(&guard, &told);
    assert_int_equal(told.running, 0);
    assert_string_equal(hg_breaker_name(told.breaker), "closed");
    guard.running = 2;
    guard.opened = 1;
    guard.breaker = HG_BREAKER_HALF_OPEN;
    hg_guard_state(&guard, &told);
    assert_int_equal(told.running, 2);
    assert_int_equal(told.opened, 1);
    assert_string_equal(hg_breaker_name(told.breaker), "half_open");
    assert_string_equal(hg_breaker_name(HG_BREAKER_OPEN), "open");
    guard.running = 0;
    hg_guard_finish(&guard);
}

static void test_what_is_forgiven_counts_no_more(void **state)
{
    struct hg_guard guard;
    struct hg_guard_config limits = config(4, 0, 2);
    struct hg_load loads[4];
    struct hg_list ready = HG_LIST_INIT(ready), refused = HG_LIST_INIT(refused);
    uint64_t retry_ms = 0;

    (void)state;
    memset(loads, 0, sizeof(loads));
    hg_guard_init(&guard, &limits);
    for (int i = 0; i < 3; i++)
        assert_int_equal(hg_guard_enter(&guard, &loads[i], 0, &retry_ms), HG_GUARD_RUN);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    assert_int_equal(hg_guard_enter(&guard, &loads[3], 0, &retry_ms), HG_GUARD_OPEN);
    hg_guard_forgive(&guard);
    assert_int_equal(hg_guard_enter(&guard, &loads[3], 0, &retry_ms), HG_GUARD_RUN);
    hg_guard_leave(&guard, true, 0, &ready, &refused); /* the first one since */
    assert_int_equal(guard.breaker, HG_BREAKER_CLOSED);
    hg_guard_leave(&guard, true, 0, &ready, &refused);
    assert_int_equal(guard.breaker, HG_BREAKER_OPEN);
    assert_true(hg_guard_is_idle(&guard));
    hg_guard_hold(&guard);
    assert_false(hg_guard_is_idle(&guard));
    hg_guard_release(&guard);
    hg_guard_finish(&guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_its_state_is_told),
        cmocka_unit_test(test_what_is_forgiven_counts_no_more),
        cmocka_unit_test(test_slots_then_queue_then_full),
        cmocka_unit_test(test_unqueued_load_is_not_returned),
        cmocka_unit_test(test_breaker_counts_failures_in_a_row_only),
        cmocka_unit_test(test_half_open_lets_one_trial_through),
        cmocka_unit_test(test_opening_ends_the_queue_and_late_leaves_say_nothing),
        cmocka_unit_test(test_no_slot_for_a_trial_means_open),
        cmocka_unit_test(test_held_guard_is_known),
        cmocka_unit_test(test_random_loads_never_pass_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
