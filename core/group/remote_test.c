#include "group/fake_source.h"

/* Three nodes; we are a. */
static void three(struct fake *fake)
{
    fake_start(fake);
    fake_view(fake, 3, 0);
}

static struct hg_explain explain(struct fake *fake, const char *key)
{
    struct hg_explain explain;
    struct hg_hold hold;

    hg_group_explain(fake->group, hg_bytes_str(key), fake->now_ms, &explain, &hold);
    hg_hold_release(&hold);
    return explain;
}

static void test_owners_answer_is_kept_for_the_lease(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 60000;
    fake.config.stale_if_error_ms = 60000;
    three(&fake);
    const char *key = key_of(&fake, 1, -1);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    assert_int_equal(load->member, 1);
    assert_ptr_equal(load->view, &fake.view);
    uint64_t sent_ms = fake.now_ms;
    fake.now_ms += 300;
    struct hg_ask_answer answer = {.outcome = HG_ASK_TYPED,
                                   .result = value_of(load, "630"),
                                   .sent_ms = sent_ms,
                                   .ttl_ms = 50000,
                                   .age_ms = 1000};
    hg_load_asked(load, &answer, fake.now_ms, &fake.loop);
    assert_string_equal(asker.data, "630");
    assert_int_equal(asker.expires_ms, sent_ms + 2000); /* from when it was sent */
    assert_int_equal(asker.created_ms, sent_ms - 1000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HOT);
    assert_int_equal(stats_of(&fake).hot_hits, 1);

    /* An expired copy asks the owner, whatever windows the group has. */
    fake.now_ms = sent_ms + 2000;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "631"), 500);
    assert_int_equal(asker.expires_ms, fake.now_ms + 500); /* not longer than at the owner */
    assert_int_equal(stats_of(&fake).peer_loads, 2);
    assert_int_equal(stats_of(&fake).peer_errors, 0);
    assert_int_equal(stats_of(&fake).local_loads, 0);
    fake_finish(&fake);
}

static void test_answers_without_life_are_not_kept(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    const char *key = key_of(&fake, 1, -1);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 0);
    assert_string_equal(asker.data, "v");
    assert_false(explain(&fake, key).is_stored);
    fake_finish(&fake);
}

static void test_without_a_hot_share_no_copies_are_kept(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.hot = 0;
    three(&fake);
    const char *key = key_of(&fake, 1, -1);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 1000);
    assert_string_equal(asker.data, "v");
    assert_false(explain(&fake, key).is_stored);
    fake_finish(&fake);
}

static void test_typed_results_are_final(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.error_ttl_ms = 1000;
    three(&fake);
    const char *key = key_of(&fake, 1, -1);

    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, error_of(load, HG_CLASS_DENIED, "no"), 1000);
    assert_int_equal(asker.klass, HG_CLASS_DENIED);
    assert_false(explain(&fake, key).is_stored);

    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    load = next_ask(&fake);
    struct hg_value_spec spec = {.status = HG_STATUS_NO_GROUP};
    end_ask(&fake, load, HG_ASK_TYPED, hg_value_create(&spec), 0);
    assert_int_equal(asker.klass, HG_CLASS_INTERNAL);
    assert_string_equal(asker.data, "no such group at owner");
    assert_int_equal(stats_of(&fake).peer_errors, 1);

    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, missing_of(load), 9000);
    assert_int_equal(asker.status, HG_STATUS_NOT_FOUND);
    assert_int_equal(asker.expires_ms, fake.now_ms + 2000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_NEGATIVE);
    assert_int_equal(fake.loads_started, 0);
    fake_finish(&fake);
}

static void test_untyped_answer_is_loaded_here_once(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    const char *key = key_of(&fake, 1, 2);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_UNTYPED, NULL, 0);
    struct hg_load *load = next_load(&fake);
    assert_true(load->is_fallback);
    end(&fake, load, value_of(load, "v"));
    assert_string_equal(asker.data, "v");
    assert_int_equal(asker.expires_ms, fake.now_ms + 10000);
    assert_int_equal(explain(&fake, key).tier, HG_TIER_HOT);
    assert_int_equal(stats_of(&fake).fallbacks, 1);
    assert_int_equal(stats_of(&fake).peer_errors, 1);
    assert_int_equal(stats_of(&fake).loads, 1);
    fake_finish(&fake);
}

static void test_dead_owner_second_point_then_here(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    const char *key = key_of(&fake, 1, 2);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    struct hg_load *load = next_ask(&fake);
    assert_int_equal(load->member, 2);
    assert_true(load->is_second);
    end_ask(&fake, load, HG_ASK_TRANSPORT, NULL, 0);
    assert_int_equal(asker.answers, 0);
    load = next_load(&fake);
    assert_true(load->is_fallback);
    end(&fake, load, value_of(load, "v"));
    assert_string_equal(asker.data, "v");
    assert_int_equal(stats_of(&fake).peer_loads, 2);
    assert_int_equal(stats_of(&fake).peer_errors, 2);
    assert_int_equal(stats_of(&fake).fallbacks, 1);
    fake_finish(&fake);
}

static void test_second_point_that_is_us_loads_here(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 0)), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    end_next(&fake, "v");
    assert_string_equal(asker.data, "v");
    assert_int_equal(stats_of(&fake).peer_loads, 1);
    fake_finish(&fake);
}

static void test_members_marked_down_are_not_asked(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    fake.is_down[1] = true;
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 2)), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    assert_int_equal(load->member, 2);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 0);
    assert_string_equal(asker.data, "v");

    fake.is_down[2] = true;
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 2, 1)), HG_PENDING);
    assert_int_equal(asker.answers, 0);
    end_next(&fake, "w");
    assert_string_equal(asker.data, "w");
    assert_int_equal(stats_of(&fake).peer_errors, 0);
    fake_finish(&fake);
}

static void test_ask_that_cannot_start_falls_back(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    fake.ask_fails = 2;
    fake.load_fails = 1;
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 2)), HG_PENDING);
    assert_int_equal(asker.answers, 0);
    assert_int_equal(deliver(&fake.loop), 1);
    assert_int_equal(asker.klass, HG_CLASS_UNAVAILABLE);
    assert_int_equal(stats_of(&fake).peer_errors, 2);
    fake_finish(&fake);
}

static void test_stale_entry_of_our_own_goes_before_the_second_point(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_if_error_ms = 1000;
    fake_start(&fake);
    fake_view(&fake, 3, 0);
    const char *key = key_of(&fake, 1, 2);
    hg_groups_set_view(fake.groups, NULL); /* it was ours once */
    fill(&fake, key, "old");
    hg_groups_set_view(fake.groups, &fake.view);
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    assert_string_equal(asker.data, "old");
    assert_int_equal(asker.how, HG_HOW_STALE);
    assert_int_equal(fake.asks_sent, 1);
    fake_finish(&fake);
}

static void test_deadline_is_no_fallback(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 2)), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_DEADLINE, NULL, 0);
    assert_int_equal(asker.klass, HG_CLASS_TIMEOUT);
    assert_int_equal(asker.status, HG_STATUS_ERROR);

    /* Nor is a failure that comes too late. */
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 2)), HG_PENDING);
    fake.now_ms += 10000;
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    assert_int_equal(asker.klass, HG_CLASS_TIMEOUT);
    assert_int_equal(fake.loads_started, 0);
    assert_int_equal(stats_of(&fake).fallbacks, 0);
    fake_finish(&fake);
}

static void test_waiters_are_spliced_into_the_local_flight(void **state)
{
    struct fake fake;
    struct asker mine[3], peers;

    (void)state;
    fake_init(&fake);
    three(&fake);
    const char *key = key_of(&fake, 1, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&fake, &mine[i], key), HG_PENDING);
    assert_int_equal(ask_as_peer(&fake, &peers, key), HG_PENDING);
    assert_int_equal(hg_groups_flight_count(fake.groups), 2);
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    assert_int_equal(explain(&fake, key).flight_waiters, 4);
    assert_true(hg_waiter_cancel(&mine[1].waiter, fake.now_ms, NULL));
    end_next(&fake, "v");
    assert_int_equal(fake.loads_started, 1);
    assert_string_equal(peers.data, "v");
    assert_string_equal(mine[0].data, "v");
    assert_string_equal(mine[2].data, "v");
    assert_int_equal(mine[1].answers, 0);
    fake_finish(&fake);
}

static void test_splicing_never_closes_a_circle(void **state)
{
    struct fake fake;
    struct asker outer, remote, peers, nested;

    (void)state;
    fake_init(&fake);
    three(&fake);
    const char *ours = key_of(&fake, 0, -1);
    const char *theirs = key_of(&fake, 1, 0);
    /* Our getter waits for their key; a peer made us load their key, and that getter waits for ours. */
    assert_int_equal(ask(&fake, &outer, ours), HG_PENDING);
    struct hg_load *load_ours = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &remote, theirs, load_ours), HG_PENDING);
    assert_int_equal(ask_as_peer(&fake, &peers, theirs), HG_PENDING);
    struct hg_load *load_theirs = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &nested, ours, load_theirs), HG_PENDING);

    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    assert_int_equal(remote.answers, 1);
    assert_int_equal(remote.err, HG_ERECURSIVE);
    end(&fake, load_ours, value_of(load_ours, "O"));
    assert_string_equal(nested.data, "O");
    end(&fake, load_theirs, value_of(load_theirs, "T"));
    assert_string_equal(peers.data, "T");
    fake_finish(&fake);
}

static void test_spliced_getters_slot_is_enough_for_the_local_load(void **state)
{
    struct fake fake;
    struct asker outer, inner;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    three(&fake);
    const char *ours = key_of(&fake, 0, -1);
    const char *theirs = key_of(&fake, 1, 0);
    assert_int_equal(ask(&fake, &outer, ours), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &inner, theirs, load), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    end_next(&fake, "T"); /* runs, although our own load holds the only slot */
    assert_string_equal(inner.data, "T");
    end(&fake, load, value_of(load, "O"));
    fake_finish(&fake);
}

static void test_garbage_is_a_transport_failure(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    three(&fake);
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 0)), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_TYPED, NULL, 0);
    end_next(&fake, "v");
    assert_string_equal(asker.data, "v");
    fake_finish(&fake);
}

static void test_remote_value_over_the_limit_is_an_error(void **state)
{
    struct fake fake;
    struct asker asker;
    char big[4098];

    (void)state;
    fake_init(&fake);
    three(&fake);
    memset(big, 'x', sizeof(big));
    big[4097] = '\0';
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 1, 0)), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, big), 1000);
    assert_int_equal(asker.klass, HG_CLASS_TOO_LARGE);
    fake_finish(&fake);
}

static void test_slot_of_who_joined_the_ask_is_enough_too(void **state)
{
    struct fake fake;
    struct asker first, outer, inner;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    three(&fake);
    const char *ours = key_of(&fake, 0, -1);
    const char *theirs = key_of(&fake, 1, 0);
    assert_int_equal(ask(&fake, &first, theirs), HG_PENDING); /* begun by no getter */
    assert_int_equal(ask(&fake, &outer, ours), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &inner, theirs, load), HG_PENDING);
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    end_next(&fake, "T");
    assert_string_equal(first.data, "T");
    assert_string_equal(inner.data, "T");
    end(&fake, load, value_of(load, "O"));
    fake_finish(&fake);
}

static void test_queued_load_runs_when_a_slots_holder_is_spliced_into_it(void **state)
{
    struct fake fake;
    struct asker outer, inner, peers;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    three(&fake);
    const char *ours = key_of(&fake, 0, -1);
    const char *theirs = key_of(&fake, 1, 0);
    assert_int_equal(ask(&fake, &outer, ours), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &inner, theirs, load), HG_PENDING);
    assert_int_equal(ask_as_peer(&fake, &peers, theirs), HG_PENDING);
    assert_true(
        hg_list_is_empty(&fake.loads)); /* queued behind ours, which is about to wait for it */
    end_ask(&fake, next_ask(&fake), HG_ASK_TRANSPORT, NULL, 0);
    end_next(&fake, "T");
    assert_string_equal(inner.data, "T");
    assert_string_equal(peers.data, "T");
    end(&fake, load, value_of(load, "O"));
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owners_answer_is_kept_for_the_lease),
        cmocka_unit_test(test_answers_without_life_are_not_kept),
        cmocka_unit_test(test_without_a_hot_share_no_copies_are_kept),
        cmocka_unit_test(test_typed_results_are_final),
        cmocka_unit_test(test_untyped_answer_is_loaded_here_once),
        cmocka_unit_test(test_dead_owner_second_point_then_here),
        cmocka_unit_test(test_second_point_that_is_us_loads_here),
        cmocka_unit_test(test_members_marked_down_are_not_asked),
        cmocka_unit_test(test_ask_that_cannot_start_falls_back),
        cmocka_unit_test(test_stale_entry_of_our_own_goes_before_the_second_point),
        cmocka_unit_test(test_deadline_is_no_fallback),
        cmocka_unit_test(test_waiters_are_spliced_into_the_local_flight),
        cmocka_unit_test(test_splicing_never_closes_a_circle),
        cmocka_unit_test(test_spliced_getters_slot_is_enough_for_the_local_load),
        cmocka_unit_test(test_garbage_is_a_transport_failure),
        cmocka_unit_test(test_remote_value_over_the_limit_is_an_error),
        cmocka_unit_test(test_slot_of_who_joined_the_ask_is_enough_too),
        cmocka_unit_test(test_queued_load_runs_when_a_slots_holder_is_spliced_into_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
