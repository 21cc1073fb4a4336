#include "group/fake_source.h"

static void test_not_found_is_remembered(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    end(&fake, load, missing_of(load));
    assert_int_equal(asker.status, HG_STATUS_NOT_FOUND);
    fake.now_ms += 4999;
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_int_equal(asker.how, HG_HOW_NEGATIVE);
    assert_int_equal(stats_of(&fake).negative_hits, 1);
    fake.now_ms += 1;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, "v");
    assert_string_equal(asker.data, "v");
    fake_finish(&fake);
}

static void test_failed_refresh_leaves_the_good_value(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_if_error_ms = 5000;
    fake.config.error_ttl_ms = 1000;
    fake_start(&fake);
    fill(&fake, "k", "good");
    fake.now_ms += 60000;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
        struct hg_load *load = next_load(&fake);
        end(&fake, load, error_of(load, HG_CLASS_INTERNAL, "down"));
        assert_string_equal(asker.data, "good");
        assert_int_equal(asker.how, HG_HOW_STALE);
        assert_int_equal(asker.expires_ms, 160000);
    }
    /* Past the window the error is the answer, and is remembered. */
    fake.now_ms += 5000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    end(&fake, load, error_of(load, HG_CLASS_INTERNAL, "down"));
    assert_string_equal(asker.data, "down");
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_int_equal(asker.how, HG_HOW_ERROR);
    fake_finish(&fake);
}

static void test_getters_windows_win_over_the_groups(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_if_error_ms = 5000;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    struct hg_value_spec spec = spec_of(load->flight.key, "v");
    spec.has_ttl = true;
    spec.ttl_ms = 10;
    spec.has_sie = true; /* none */
    spec.has_swr = true;
    spec.stale_while_revalidate_ms = 100;
    end(&fake, load, hg_value_create(&spec));
    assert_int_equal(asker.expires_ms, fake.now_ms + 10);
    fake.now_ms += 109;
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_int_equal(asker.how, HG_HOW_STALE);
    load = next_load(&fake);
    fake.now_ms += 1;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    assert_int_equal(asker.answers, 0);
    end(&fake, load, error_of(load, HG_CLASS_INTERNAL, "down"));
    assert_string_equal(asker.data, "down");
    fake_finish(&fake);
}

static void test_uncacheable_and_lifeless_values_are_served_and_not_stored(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct fake fake;
        struct asker askers[2];

        fake_init(&fake);
        fake_start(&fake);
        assert_int_equal(ask(&fake, &askers[0], "k"), HG_PENDING);
        assert_int_equal(ask(&fake, &askers[1], "k"), HG_PENDING);
        struct hg_load *load = next_load(&fake);
        struct hg_value_spec spec = spec_of(load->flight.key, "v");
        spec.uncacheable = which == 0;
        spec.has_ttl = which == 1; /* of 0 */
        end(&fake, load, hg_value_create(&spec));
        for (int i = 0; i < 2; i++) {
            assert_string_equal(askers[i].data, "v");
            assert_int_equal(askers[i].expires_ms, 0);
        }
        assert_int_equal(stats_of(&fake).entries, 0);
        fake_finish(&fake);
    }
}

static void test_value_over_the_limit_is_an_error(void **state)
{
    struct fake fake;
    struct asker asker;
    char big[4098];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    memset(big, 'x', sizeof(big));
    big[4097] = '\0';
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, big);
    assert_int_equal(asker.status, HG_STATUS_ERROR);
    assert_int_equal(asker.klass, HG_CLASS_TOO_LARGE);
    assert_int_equal(stats_of(&fake).too_large, 1);
    assert_int_equal(stats_of(&fake).entries, 0);
    big[4096] = '\0'; /* limits are inclusive */
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, big);
    assert_int_equal(asker.status, HG_STATUS_VALUE);
    assert_int_equal(stats_of(&fake).entries, 1);
    fake_finish(&fake);
}

static void test_value_that_cannot_fit_evicts_nothing(void **state)
{
    struct fake fake;
    struct asker asker;
    char big[4000];

    (void)state;
    fake_init(&fake);
    fake.config.capacity_bytes = 2048;
    fake_start(&fake);
    fill(&fake, "small", "v");
    memset(big, 'x', sizeof(big));
    big[3999] = '\0';
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, big);
    assert_int_equal(asker.status, HG_STATUS_VALUE);
    assert_int_equal(asker.expires_ms, 0);
    assert_int_equal(stats_of(&fake).entries, 1);
    assert_int_equal(ask(&fake, &asker, "small"), HG_OK);
    fake_finish(&fake);
}

static void test_life_is_shortened_at_random(void **state)
{
    struct fake fake;
    struct asker asker;
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    fake_init(&fake);
    fake.config.ttl_jitter = 0.5;
    fake_start(&fake);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
        end_next(&fake, "v");
        uint64_t life_ms = asker.expires_ms - fake.now_ms;
        assert_in_range(life_ms, 30000, 60000);
        least = life_ms < least ? life_ms : least;
        most = life_ms > most ? life_ms : most;
    }
    assert_true(least < 33000);
    assert_true(most > 57000);
    fake_finish(&fake);
}

static void test_load_that_cannot_start_is_mailed_as_an_error(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake_start(&fake);
    for (int i = 0; i < 10; i++) { /* no mark on the source's health */
        fake.load_fails = 1;
        assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
        assert_int_equal(asker.answers, 0);
        assert_int_equal(deliver(&fake.loop), 1);
        assert_int_equal(asker.answers, 1);
        assert_int_equal(asker.status, HG_STATUS_ERROR);
        assert_int_equal(asker.klass, HG_CLASS_UNAVAILABLE);
    }
    assert_int_equal(fake.guard.running, 0);
    assert_int_equal(fake.guard.breaker, HG_BREAKER_CLOSED);
    fake_finish(&fake);
}

static void test_guard_queues_then_refuses(void **state)
{
    struct fake fake;
    struct asker askers[5];
    static const char *const keys[] = {"a", "b", "c", "d", "e"};

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake_start(&fake);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&fake, &askers[i], keys[i]), HG_PENDING);
    assert_int_equal(fake.loads_started, 2);
    assert_int_equal(fake.guard.queued, 2);
    assert_int_equal(deliver(&fake.loop), 1);
    assert_int_equal(askers[4].klass, HG_CLASS_UNAVAILABLE);
    assert_string_equal(askers[4].data, "guard full");
    assert_int_equal(askers[4].retry_after_ms, 1000);
    assert_int_equal(stats_of(&fake).guard_refused, 1);
    assert_int_equal(stats_of(&fake).loads, 5);
    assert_int_equal(stats_of(&fake).local_loads, 2);
    for (int i = 0; i < 4; i++) {
        end_next(&fake, keys[i]);
        assert_string_equal(askers[i].data, keys[i]);
    }
    assert_int_equal(stats_of(&fake).local_loads, 4);
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

static void test_refused_load_answers_stale_where_it_can(void **state)
{
    struct fake fake;
    struct asker askers[3], asker;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.queue = 0;
    fake.config.stale_if_error_ms = 1000;
    fake_start(&fake);
    fill(&fake, "k", "old");
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &askers[0], "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &askers[1], "b"), HG_PENDING);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    assert_int_equal(deliver(&fake.loop), 1);
    assert_string_equal(asker.data, "old");
    assert_int_equal(asker.how, HG_HOW_STALE);
    end_next(&fake, "A");
    end_next(&fake, "B");
    fake_finish(&fake);
}

static void test_fault_of_the_script_is_no_mark_on_the_breaker(void **state)
{
    struct fake fake;
    struct asker first, second;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake.guard_config.breaker_failures = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &first, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &second, "b"), HG_PENDING); /* queues */
    struct hg_load *load = next_load(&fake);
    load->is_own_fault = true;
    end(&fake, load, error_of(load, HG_CLASS_TIMEOUT, "script budget exceeded"));
    assert_string_equal(first.data, "script budget exceeded");
    assert_int_equal(fake.guard.breaker, HG_BREAKER_CLOSED);
    end_next(&fake, "B");
    assert_string_equal(second.data, "B");
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

static void test_breaker_opens_and_ends_what_queues(void **state)
{
    struct fake fake;
    struct asker askers[4], asker;
    static const char *const keys[] = {"a", "b", "c", "d"};

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake.guard_config.breaker_failures = 1;
    fake_start(&fake);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&fake, &askers[i], keys[i]), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    end(&fake, load, error_of(load, HG_CLASS_TIMEOUT, "slow"));
    for (int i = 0; i < 3; i++)
        assert_int_equal(askers[i].answers, 1);
    assert_string_equal(askers[0].data, "slow");
    assert_string_equal(askers[1].data, "breaker open");
    assert_int_equal(askers[1].retry_after_ms, 5000);

    fake.now_ms += 2000;
    assert_int_equal(ask(&fake, &asker, "a"), HG_PENDING);
    assert_int_equal(deliver(&fake.loop), 1);
    assert_string_equal(asker.data, "breaker open");
    assert_int_equal(asker.retry_after_ms, 3000);

    fake.now_ms += 3000; /* one trial */
    assert_int_equal(ask(&fake, &asker, "a"), HG_PENDING);
    end_next(&fake, "A");
    assert_string_equal(asker.data, "A");
    assert_int_equal(fake.guard.breaker, HG_BREAKER_CLOSED);
    fake_finish(&fake);
}

static void test_denied_and_not_found_are_not_the_sources_health(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.breaker_failures = 1;
    fake.config.negative_ttl_ms = 0;
    fake_start(&fake);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
        struct hg_load *load = next_load(&fake);
        end(&fake, load, i % 2 == 0 ? error_of(load, HG_CLASS_DENIED, "no") : missing_of(load));
    }
    assert_int_equal(fake.guard.breaker, HG_BREAKER_CLOSED);
    fake_finish(&fake);
}

static void test_nested_load_takes_no_second_slot(void **state)
{
    struct fake fake;
    struct asker outer, inner, innermost;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &outer, "a"), HG_PENDING);
    struct hg_load *a = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &inner, "b", a), HG_PENDING);
    struct hg_load *b = next_load(&fake); /* runs, although the only slot is taken */
    assert_int_equal(ask_nested(&fake, fake.group, &innermost, "c", b), HG_PENDING);
    end_next(&fake, "C");
    end(&fake, b, value_of(b, "B"));
    end(&fake, a, value_of(a, "A"));
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

static void test_queued_load_runs_when_its_slots_holder_joins_it(void **state)
{
    struct fake fake;
    struct asker outer, other, inner;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &outer, "a"), HG_PENDING);
    struct hg_load *a = next_load(&fake);
    assert_int_equal(ask(&fake, &other, "b"), HG_PENDING);
    assert_true(hg_list_is_empty(&fake.loads)); /* queued behind a */
    assert_int_equal(ask_nested(&fake, fake.group, &inner, "b", a), HG_PENDING);
    end_next(&fake, "B"); /* else a would wait for b, and b for a's slot */
    assert_string_equal(inner.data, "B");
    assert_string_equal(other.data, "B");
    end(&fake, a, value_of(a, "A"));
    assert_int_equal(fake.guard.running, 0);
    assert_int_equal(fake.guard.queued, 0);
    fake_finish(&fake);
}

static void test_load_past_its_deadline_in_the_queue_is_not_run(void **state)
{
    struct fake fake;
    struct asker first, second;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &first, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &second, "b"), HG_PENDING);
    fake.now_ms += 10000;
    end_next(&fake, "A");
    assert_int_equal(second.answers, 1);
    assert_int_equal(second.klass, HG_CLASS_TIMEOUT);
    assert_int_equal(fake.loads_started, 1);
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

static void test_result_of_no_memory_is_still_an_answer(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    hg_alloc_fail_at(0, true);
    hg_load_fail(load, HG_CLASS_TIMEOUT, HG_BYTES("why"), fake.now_ms, &fake.loop);
    hg_alloc_fail_clear();
    assert_int_equal(asker.answers, 1);
    assert_int_equal(asker.klass, HG_CLASS_TIMEOUT);

    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_load_finish(next_load(&fake), NULL, fake.now_ms, &fake.loop);
    assert_int_equal(asker.status, HG_STATUS_ERROR);
    fake_finish(&fake);
}

static void test_long_message_is_cut(void **state)
{
    struct fake fake;
    struct asker asker;
    char message[600];

    (void)state;
    fake_init(&fake);
    fake.config.error_ttl_ms = 1000;
    fake_start(&fake);
    memset(message, 'm', sizeof(message));
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_load_fail(next_load(&fake), HG_CLASS_INTERNAL, hg_bytes(message, sizeof(message)),
                 fake.now_ms, &fake.loop);
    struct hg_get get = get_of(&fake, "k");
    struct hg_result result;
    struct hg_hold hold;
    get.is_peek = true;
    assert_int_equal(hg_group_get(fake.group, &get, NULL, &result, &hold), HG_OK);
    assert_int_equal(hg_value_data(hold.value).len, 512);
    hg_hold_release(&hold);
    fake_finish(&fake);
}

static void test_foreign_or_shared_results_never_corrupt_the_store(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    struct hg_value_spec spec = spec_of(HG_BYTES("other key"), "v");
    end(&fake, load, hg_value_create(&spec));
    assert_string_equal(asker.data, "v");
    assert_int_equal(stats_of(&fake).entries, 0);

    /* A source that gives the same object twice gets copies stored. */
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    load = next_load(&fake);
    struct hg_value *value = value_of(load, "w");
    end(&fake, load, hg_value_ref(value));
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end(&fake, next_load(&fake), hg_value_ref(value));
    assert_string_equal(asker.data, "w");
    assert_int_equal(stats_of(&fake).entries, 1);
    hg_value_unref(value);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_found_is_remembered),
        cmocka_unit_test(test_failed_refresh_leaves_the_good_value),
        cmocka_unit_test(test_getters_windows_win_over_the_groups),
        cmocka_unit_test(test_uncacheable_and_lifeless_values_are_served_and_not_stored),
        cmocka_unit_test(test_value_over_the_limit_is_an_error),
        cmocka_unit_test(test_value_that_cannot_fit_evicts_nothing),
        cmocka_unit_test(test_life_is_shortened_at_random),
        cmocka_unit_test(test_load_that_cannot_start_is_mailed_as_an_error),
        cmocka_unit_test(test_guard_queues_then_refuses),
        cmocka_unit_test(test_refused_load_answers_stale_where_it_can),
        cmocka_unit_test(test_fault_of_the_script_is_no_mark_on_the_breaker),
        cmocka_unit_test(test_breaker_opens_and_ends_what_queues),
        cmocka_unit_test(test_denied_and_not_found_are_not_the_sources_health),
        cmocka_unit_test(test_nested_load_takes_no_second_slot),
        cmocka_unit_test(test_queued_load_runs_when_its_slots_holder_joins_it),
        cmocka_unit_test(test_load_past_its_deadline_in_the_queue_is_not_run),
        cmocka_unit_test(test_result_of_no_memory_is_still_an_answer),
        cmocka_unit_test(test_long_message_is_cut),
        cmocka_unit_test(test_foreign_or_shared_results_never_corrupt_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
