#include "net/test_support.h"
#include "base/units.h"
#include "net/timer.h"

struct rung {
    struct hg_timer timer;
    char letter;
    struct rung *again; /* started when this one rings */
    uint64_t after_ms;
};

static char order[16];
static size_t order_len;
static unsigned closed;
static struct hg_loop loop;

static void on_ring(struct hg_timer *timer)
{
    struct rung *rung = hg_container_of(timer, struct rung, timer);
    assert_ptr_equal(hg_loop_current(), &loop);
    order[order_len++] = rung->letter;
    order[order_len] = '\0';
    if (rung->again != NULL)
        hg_timer_start(&rung->again->timer, on_ring, rung->after_ms);
}

static void on_closed(struct hg_timer *timer)
{
    (void)timer;
    closed++;
}

static int setup(void **state)
{
    (void)state;
    order_len = 0;
    order[0] = '\0';
    closed = 0;
    return hg_loop_init(&loop, "timers");
}

static int teardown(void **state)
{
    (void)state;
    hg_clock_release();
    assert_int_equal(hg_loop_finish(&loop), 0);
    return 0;
}

static void finish(struct rung *rungs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hg_timer_close(&rungs[i].timer, on_closed);
    test_wait(&loop, closed == count);
}

static void init(struct rung *rungs, size_t count)
{
    memset(rungs, 0, count * sizeof(*rungs));
    for (size_t i = 0; i < count; i++) {
        hg_timer_init(&rungs[i].timer, &loop);
        rungs[i].letter = (char)('a' + i);
    }
}

static void test_rings_in_libuvs_time(void **state)
{
    (void)state;
    struct rung rungs[2];
    init(rungs, 2);
    hg_timer_start(&rungs[0].timer, on_ring, 1);
    hg_timer_start(&rungs[1].timer, on_ring, 1);
    hg_timer_stop(&rungs[1].timer);
    struct hg_loop *outer = hg_loop_enter(&loop);
    assert_null(outer);
    test_wait(&loop, order_len == 1);
    hg_loop_enter(outer);
    assert_string_equal(order, "a");
    assert_int_equal(hg_loop_due(&loop), HG_FOREVER);
    finish(rungs, 2);
}

static void test_held_timers_ring_in_order_when_they_are_told_to(void **state)
{
    (void)state;
    struct rung rungs[5];
    hg_clock_hold(1000, 0);
    init(rungs, 5);
    hg_timer_start(&rungs[0].timer, on_ring, 30);
    hg_timer_start(&rungs[1].timer, on_ring, 10);
    hg_timer_start(&rungs[2].timer, on_ring, 30);
    hg_timer_start(&rungs[3].timer, on_ring, 20);
    hg_timer_start(&rungs[4].timer, on_ring, 5);
    hg_timer_start(&rungs[4].timer, on_ring, HG_FOREVER); /* anew */
    assert_int_equal(hg_loop_due(&loop), 1010);
    assert_int_equal(hg_loop_due_count(&loop), 0);
    assert_false(hg_loop_ring(&loop));
    hg_clock_hold(1029, 0);
    assert_int_equal(hg_loop_due_count(&loop), 2);
    hg_clock_hold(1030, 0);
    hg_timer_stop(&rungs[3].timer);
    assert_int_equal(hg_loop_due_count(&loop), 3);
    while (hg_loop_ring(&loop))
        ;
    assert_string_equal(order, "bac");
    assert_int_equal(hg_loop_due(&loop), HG_FOREVER);
    finish(rungs, 5);
}

static void test_what_a_held_timer_starts_is_due_from_now_on(void **state)
{
    (void)state;
    struct rung rungs[2];
    hg_clock_hold(1000, 0);
    init(rungs, 2);
    rungs[0].again = &rungs[1];
    rungs[0].after_ms = 7;
    hg_timer_start(&rungs[0].timer, on_ring, 0);
    hg_clock_hold(1003, 0);
    assert_true(hg_loop_ring(&loop));
    assert_false(hg_loop_ring(&loop));
    assert_int_equal(hg_loop_due(&loop), 1010);
    assert_int_equal(hg_loop_now(&loop), 1003);
    finish(rungs, 2); /* one of them is on */
    assert_int_equal(hg_loop_due(&loop), HG_FOREVER);
}

static void on_mail(struct hg_mail *mail)
{
    (void)mail;
    order[order_len++] = 'm';
    order[order_len] = '\0';
}

static void test_a_loop_turned_by_hand_says_when_it_has_work(void **state)
{
    (void)state;
    struct hg_mail mail = {.deliver = on_mail};
    hg_loop_turn(&loop); /* what libuv has to set up */
    hg_loop_turn(&loop);
    assert_false(hg_loop_has_work(&loop));
    hg_loop_post(&loop, &mail);
    assert_true(hg_loop_has_work(&loop));
    hg_loop_turn(&loop);
    assert_string_equal(order, "m");
    assert_false(hg_loop_has_work(&loop));
    assert_null(hg_loop_current());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rings_in_libuvs_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held_timers_ring_in_order_when_they_are_told_to, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_a_held_timer_starts_is_due_from_now_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_loop_turned_by_hand_says_when_it_has_work, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
