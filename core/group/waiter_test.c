#include "group/fake_source.h"

static void test_cancelled_waiter_is_never_called_and_the_load_goes_on(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    assert_true(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
    assert_false(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
    assert_int_equal(stats_of(&fake).waiters, 0);
    assert_int_equal(stats_of(&fake).waiter_timeouts, 0);
    end_next(&fake, "v");
    assert_int_equal(asker.answers, 0);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    fake_finish(&fake);
}

static void test_mailed_waiter_cannot_be_cancelled(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    hg_load_finish(load, value_of(load, "v"), fake.now_ms, NULL);
    assert_false(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
    assert_int_equal(deliver(&fake.loop), 1);
    assert_int_equal(asker.answers, 1);
    assert_int_equal(asker.waiter.state, HG_WAITER_DONE);
    assert_false(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
    fake_finish(&fake);
}

static void test_timeout_is_counted_and_gives_what_is_stale(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct fake fake;
        struct asker asker;
        struct hg_hold stale;

        fake_init(&fake);
        fake.config.stale_if_error_ms = 60000;
        fake.config.stale_on_timeout = with;
        fake_start(&fake);
        fill(&fake, "k", "old");
        fake.now_ms += 60000;
        assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
        assert_true(hg_waiter_cancel(&asker.waiter, fake.now_ms + 10000, &stale));
        if (with)
            assert_true(hg_bytes_eq(hg_value_data(stale.value), HG_BYTES("old")));
        else
            assert_null(stale.value);
        hg_hold_release(&stale);
        assert_int_equal(stats_of(&fake).waiter_timeouts, 1);
        end_next(&fake, "new");
        fake_finish(&fake);
    }
}

static void test_queued_load_that_nobody_awaits_is_dropped(void **state)
{
    struct fake fake;
    struct asker first, second, third;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &first, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &second, "b"), HG_PENDING);
    assert_int_equal(ask(&fake, &third, "b"), HG_PENDING);
    assert_true(hg_waiter_cancel(&second.waiter, fake.now_ms, NULL));
    assert_int_equal(fake.guard.queued, 1);
    assert_true(hg_waiter_cancel(&third.waiter, fake.now_ms, NULL));
    assert_int_equal(fake.guard.queued, 0);
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    assert_true(hg_waiter_cancel(&first.waiter, fake.now_ms, NULL)); /* running: goes on */
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    end_next(&fake, "A");
    assert_int_equal(fake.loads_started, 1);
    fake_finish(&fake);
}

static void test_cancelled_nested_waiter_leaves_no_edge(void **state)
{
    struct fake fake;
    struct asker a, b, nested;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    struct hg_load *load_a = next_load(&fake), *load_b = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &nested, "b", load_a), HG_PENDING);
    assert_true(hg_waiter_cancel(&nested.waiter, fake.now_ms, NULL));
    assert_int_equal(ask_nested(&fake, fake.group, &nested, "a", load_b), HG_PENDING);
    end(&fake, load_a, value_of(load_a, "A"));
    assert_string_equal(nested.data, "A");
    end(&fake, load_b, value_of(load_b, "B"));
    fake_finish(&fake);
}

static void test_getter_may_end_while_it_still_waits(void **state)
{
    struct fake fake;
    struct asker a, nested;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    struct hg_load *load_a = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &nested, "b", load_a), HG_PENDING);
    end(&fake, load_a, value_of(load_a, "A")); /* timed out, say */
    end_next(&fake, "B");
    assert_string_equal(nested.data, "B");
    fake_finish(&fake);
}

static void on_answer_free(struct hg_waiter *waiter, const struct hg_result *result)
{
    assert_int_equal(result->err, HG_OK);
    hg_free(waiter);
}

static void test_waiter_may_be_freed_in_its_answer(void **state)
{
    struct fake fake;
    struct hg_result result;
    struct hg_hold hold;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_get get = get_of(&fake, "k");
    for (int i = 0; i < 3; i++) {
        struct hg_waiter *waiter = hg_calloc(1, sizeof(*waiter));
        waiter->loop = &fake.loop;
        waiter->answer = on_answer_free;
        assert_int_equal(hg_group_get(fake.group, &get, waiter, &result, &hold), HG_PENDING);
    }
    end_next(&fake, "v");
    fake_finish(&fake);
}

static void test_queued_refresh_stays_when_its_only_waiter_leaves(void **state)
{
    struct fake fake;
    struct asker other, asker;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake.config.stale_while_revalidate_ms = 100;
    fake_start(&fake);
    fill(&fake, "k", "old");
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &other, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK); /* stale: a refresh queues */
    assert_int_equal(fake.guard.queued, 1);
    fake.now_ms += 100;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    assert_true(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
    assert_int_equal(fake.guard.queued, 1);
    end_next(&fake, "A");
    end_next(&fake, "new");
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "new");
    fake_finish(&fake);
}

static void test_load_that_lost_its_waiters_on_the_way_to_its_slot_is_dropped(void **state)
{
    struct fake fake;
    struct asker first, second;
    struct hg_turn turn;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &first, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &second, "b"), HG_PENDING);
    struct hg_load *a = next_load(&fake);
    /* Another thread gives a's slot to b; before it runs b, b's only waiter leaves. */
    hg_turn_init(&turn, fake.groups, fake.now_ms, NULL);
    a->has_slot = false;
    hg_guard_leave(&fake.guard, false, fake.now_ms, &turn.ready, &turn.refused);
    assert_int_equal(fake.guard.queued, 0);
    assert_true(hg_waiter_cancel(&second.waiter, fake.now_ms, NULL));
    hg_turn_run(&turn);
    assert_int_equal(fake.loads_started, 1);
    assert_int_equal(fake.guard.running, 0);
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    end(&fake, a, value_of(a, "A"));
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancelled_waiter_is_never_called_and_the_load_goes_on),
        cmocka_unit_test(test_mailed_waiter_cannot_be_cancelled),
        cmocka_unit_test(test_timeout_is_counted_and_gives_what_is_stale),
        cmocka_unit_test(test_queued_load_that_nobody_awaits_is_dropped),
        cmocka_unit_test(test_cancelled_nested_waiter_leaves_no_edge),
        cmocka_unit_test(test_getter_may_end_while_it_still_waits),
        cmocka_unit_test(test_waiter_may_be_freed_in_its_answer),
        cmocka_unit_test(test_queued_refresh_stays_when_its_only_waiter_leaves),
        cmocka_unit_test(test_load_that_lost_its_waiters_on_the_way_to_its_slot_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
