#include "group/fake_source.h"

static void test_empty_turn_does_nothing(void **state)
{
    struct fake fake;
    struct hg_turn turn;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    hg_turn_init(&turn, fake.groups, 1, &fake.loop);
    hg_turn_run(&turn);
    assert_int_equal(fake.loop.wakes, 0);
    fake_finish(&fake);
}

static void test_each_loop_is_woken_once_in_order(void **state)
{
    struct fake fake;
    struct asker askers[30];
    struct hg_loop loops[3];
    struct hg_turn turn;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    memset(askers, 0, sizeof(askers));
    memset(loops, 0, sizeof(loops));
    hg_turn_init(&turn, fake.groups, 1, &loops[1]);
    for (int i = 0; i < 3; i++)
        hg_list_init(&loops[i].mail);
    for (int i = 0; i < 30; i++) {
        askers[i].waiter.loop = &loops[i % 3];
        askers[i].waiter.answer = on_answer;
        askers[i].waiter.state = HG_WAITER_MAILED;
        hg_list_push_back(&turn.waiters, &askers[i].waiter.link);
    }
    hg_turn_run(&turn);
    for (int i = 0; i < 30; i++)
        assert_int_equal(askers[i].answers, i % 3 == 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loops[i].wakes, i != 1);
        int expected = i;
        hg_list_for_each(it, &loops[i].mail)
        {
            assert_ptr_equal(it, &askers[expected].waiter.link);
            expected += 3;
        }
        assert_int_equal(deliver(&loops[i]), i == 1 ? 0 : 10);
    }
    fake_finish(&fake);
}

static void test_a_thousand_failing_starts_do_not_recurse(void **state)
{
    struct fake fake;
    static struct asker askers[1001];

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake.guard_config.queue = 1000;
    fake.limits.flights_max = 2000;
    fake_start(&fake);
    for (int i = 0; i < 1001; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(ask(&fake, &askers[i], key), HG_PENDING);
    }
    fake.load_fails = 1000;
    end_next(&fake, "v"); /* its slot goes from hand to hand; every start fails */
    for (int i = 0; i < 1001; i++) {
        assert_int_equal(askers[i].answers, 1);
        assert_int_equal(askers[i].status, i == 0 ? HG_STATUS_VALUE : HG_STATUS_ERROR);
    }
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_turn_does_nothing),
        cmocka_unit_test(test_each_loop_is_woken_once_in_order),
        cmocka_unit_test(test_a_thousand_failing_starts_do_not_recurse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
