#include "group/fake_source.h"

static void test_removed_meanwhile_old_waiters_get_it_and_young_ones_a_new_load(void **state)
{
    struct fake fake;
    struct asker old[2], young[2];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ask(&fake, &old[i], "k"), HG_PENDING);
    assert_false(hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms));
    for (int i = 0; i < 2; i++)
        assert_int_equal(ask(&fake, &young[i], "k"), HG_PENDING);
    fake.now_ms += 100;
    end_next(&fake, "before");
    for (int i = 0; i < 2; i++) {
        assert_string_equal(old[i].data, "before");
        assert_int_equal(old[i].expires_ms, 0);
        assert_int_equal(young[i].answers, 0);
    }
    assert_int_equal(stats_of(&fake).entries, 0);
    assert_int_equal(stats_of(&fake).refreshes, 1);
    assert_int_equal(stats_of(&fake).fenced, 1);
    assert_int_equal(hg_groups_flight_count(fake.groups), 1);
    struct hg_load *load = next_load(&fake); /* one for both */
    assert_int_equal(load->reason, HG_LOAD_REFRESH);
    assert_null(load->old);
    assert_int_equal(load->deadline_ms, fake.now_ms + 10000);
    end(&fake, load, value_of(load, "after"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(young[i].answers, 1);
        assert_string_equal(young[i].data, "after");
    }
    assert_int_equal(stats_of(&fake).entries, 1);
    fake_finish(&fake);
}

/* It is the first invalidation since the start that divides old from young, not the last. */
static void test_second_invalidation_does_not_make_young_waiters_old(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct fake fake;
        struct asker oldest, middle, young;
        static const struct hg_bytes tags[] = {{"t", 1}};

        fake_init(&fake);
        fake_start(&fake);
        assert_int_equal(ask(&fake, &oldest, "k"), HG_PENDING);
        for (int times = 0; times < 2; times++) {
            if (how == 0)
                hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms);
            else if (how == 1)
                hg_group_flush(fake.group, fake.now_ms);
            else
                hg_group_remove_tag(fake.group, HG_BYTES("t"), false, fake.now_ms);
            assert_int_equal(ask(&fake, times == 0 ? &middle : &young, "k"), HG_PENDING);
        }
        struct hg_load *load = next_load(&fake);
        struct hg_value_spec spec = spec_of(load->flight.key, "before");
        spec.tags = tags;
        spec.tag_count = 1;
        end(&fake, load, hg_value_create(&spec));
        assert_string_equal(oldest.data, "before");
        assert_int_equal(middle.answers, 0);
        assert_int_equal(young.answers, 0);
        load = next_load(&fake);
        spec.data = HG_BYTES("after");
        spec.key = load->flight.key;
        end(&fake, load, hg_value_create(&spec));
        assert_string_equal(middle.data, "after");
        assert_string_equal(young.data, "after");
        assert_int_equal(stats_of(&fake).entries, 1);
        fake_finish(&fake);
    }
}

static void test_fenced_without_young_waiters_just_ends(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_group_flush(fake.group, fake.now_ms);
    end_next(&fake, "v");
    assert_string_equal(asker.data, "v");
    assert_int_equal(stats_of(&fake).entries, 0);
    assert_int_equal(stats_of(&fake).refreshes, 0);
    fake_finish(&fake);
}

static void test_invalidations_of_other_keys_and_tags_do_not_fence(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_group_remove(fake.group, HG_BYTES("other"), fake.now_ms);
    assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("t"), false, fake.now_ms), HG_OK);
    end_next(&fake, "v");
    assert_int_equal(stats_of(&fake).entries, 1);
    fake_finish(&fake);
}

static void test_tag_of_the_result_fences_it(void **state)
{
    struct fake fake;
    struct asker old, young;
    static const struct hg_bytes tags[] = {{"s", 1}, {"t", 1}};

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &old, "k"), HG_PENDING);
    assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("t"), false, fake.now_ms), HG_OK);
    assert_int_equal(ask(&fake, &young, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    struct hg_value_spec spec = spec_of(load->flight.key, "v");
    spec.tags = tags;
    spec.tag_count = 2;
    end(&fake, load, hg_value_create(&spec));
    assert_string_equal(old.data, "v");
    assert_int_equal(young.answers, 0);
    load = next_load(&fake);
    end(&fake, load, hg_value_create(&spec)); /* begun after it */
    assert_string_equal(young.data, "v");
    assert_int_equal(stats_of(&fake).entries, 1);
    fake_finish(&fake);
}

static void test_fence_while_it_queues_means_nothing(void **state)
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
    hg_group_remove(fake.group, HG_BYTES("b"), fake.now_ms);
    end_next(&fake, "A");
    end_next(&fake, "B"); /* began to read after the removal */
    assert_int_equal(stats_of(&fake).entries, 2);
    fake_finish(&fake);
}

static void test_fenced_ask_asks_again_for_young_waiters(void **state)
{
    struct fake fake;
    struct asker old, young;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fake_view(&fake, 3, 0);
    const char *key = key_of(&fake, 1, -1);
    assert_int_equal(ask(&fake, &old, key), HG_PENDING);
    hg_group_remove(fake.group, hg_bytes_str(key), fake.now_ms);
    assert_int_equal(ask(&fake, &young, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "before"), 2000);
    assert_string_equal(old.data, "before");
    assert_int_equal(young.answers, 0);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "after"), 2000);
    assert_string_equal(young.data, "after");
    fake_finish(&fake);
}

static void test_fenced_ask_becomes_a_load_where_the_key_is_ours_now(void **state)
{
    struct fake fake;
    struct asker old, young;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fake_view(&fake, 3, 0);
    const char *key = key_of(&fake, 1, -1);
    assert_int_equal(ask(&fake, &old, key), HG_PENDING);
    hg_group_remove(fake.group, hg_bytes_str(key), fake.now_ms);
    assert_int_equal(ask(&fake, &young, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    hg_groups_set_view(fake.groups, NULL);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "before"), 2000);
    load = next_load(&fake);
    assert_false(load->is_fallback);
    end(&fake, load, value_of(load, "after"));
    assert_string_equal(young.data, "after");
    assert_int_equal(young.expires_ms, fake.now_ms + 60000);
    fake_finish(&fake);
}

static void test_fenced_nested_load_needs_no_slot_the_second_time(void **state)
{
    struct fake fake;
    struct asker outer, old, nested;

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 2;
    fake.guard_config.queue = 8;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &outer, "a"), HG_PENDING);
    struct hg_load *a = next_load(&fake);
    assert_int_equal(ask(&fake, &old, "b"), HG_PENDING); /* with a slot of its own */
    hg_group_remove(fake.group, HG_BYTES("b"), fake.now_ms);
    assert_int_equal(ask_nested(&fake, fake.group, &nested, "b", a), HG_PENDING);
    struct asker more;
    assert_int_equal(ask(&fake, &more, "c"), HG_PENDING); /* waits for b's slot */
    struct hg_load *b = next_load(&fake);
    end(&fake, b, value_of(b, "before"));
    struct hg_load *one = next_load(&fake), *two = next_load(&fake);
    assert_true(hg_list_is_empty(&fake.loads));
    end(&fake, one, value_of(one, "1"));
    end(&fake, two, value_of(two, "2"));
    assert_int_equal(nested.answers, 1);
    assert_int_equal(more.answers, 1);
    end(&fake, a, value_of(a, "A"));
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

static void test_waiters_are_answered_here_or_mailed_in_one_batch(void **state)
{
    struct fake fake;
    struct asker here[2], there[3];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_get get = get_of(&fake, "k");
    for (int i = 0; i < 2; i++)
        assert_int_equal(get_with(&fake, fake.group, &here[i], &get), HG_PENDING);
    get.loop = &fake.other;
    for (int i = 0; i < 3; i++)
        assert_int_equal(get_with(&fake, fake.group, &there[i], &get), HG_PENDING);
    end_next(&fake, "v");
    assert_int_equal(here[0].answers + here[1].answers, 2);
    assert_int_equal(there[0].answers, 0);
    assert_int_equal(fake.other.wakes, 1);
    assert_int_equal(there[0].waiter.state, HG_WAITER_MAILED);
    assert_int_equal(deliver(&fake.other), 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(there[i].data, "v");

    assert_int_equal(get_with(&fake, fake.group, &there[0],
                              &(struct hg_get){.key = HG_BYTES("l"),
                                               .now_ms = fake.now_ms,
                                               .deadline_ms = HG_FOREVER,
                                               .loop = &fake.loop}),
                     HG_PENDING);
    struct hg_load *load = next_load(&fake);
    hg_load_finish(load, value_of(load, "w"), fake.now_ms, NULL); /* on no loop: all are mailed */
    assert_int_equal(there[0].answers, 0);
    assert_int_equal(deliver(&fake.loop), 1);
    fake_finish(&fake);
}

struct chained {
    struct asker asker;
    struct fake *fake;
    struct asker next;
    int rc;
};

static void on_answer_get_again(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct chained *chained = hg_container_of(waiter, struct chained, asker.waiter);

    note_result(&chained->asker, result);
    chained->rc = ask(chained->fake, &chained->next, "k");
    hg_group_remove(chained->fake->group, HG_BYTES("k"), chained->fake->now_ms);
}

static void test_callee_may_come_back(void **state)
{
    struct fake fake;
    struct chained chained = {0};
    struct asker after;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct hg_get get = get_of(&fake, "k");
    struct hg_result result;
    struct hg_hold hold;
    chained.fake = &fake;
    chained.asker.waiter.loop = &fake.loop;
    chained.asker.waiter.answer = on_answer_get_again;
    assert_int_equal(hg_group_get(fake.group, &get, &chained.asker.waiter, &result, &hold),
                     HG_PENDING);
    assert_int_equal(ask(&fake, &after, "k"), HG_PENDING);
    end_next(&fake, "v");
    assert_string_equal(chained.asker.data, "v");
    assert_int_equal(chained.rc, HG_OK); /* it was put before anybody was told */
    assert_string_equal(after.data, "v");
    assert_int_equal(stats_of(&fake).entries, 0);
    fake_finish(&fake);
}

static void test_removed_value_is_not_offered_to_the_next_load(void **state)
{
    struct fake fake;
    struct asker old, young;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fill(&fake, "k", "removed");
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &old, "k"), HG_PENDING);
    assert_true(hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms));
    assert_int_equal(ask(&fake, &young, "k"), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_non_null(load->old);
    hg_load_keep(load, 1000, fake.now_ms, &fake.loop);
    assert_string_equal(old.data, "removed");
    assert_int_equal(stats_of(&fake).entries, 0);
    load = next_load(&fake);
    assert_null(load->old);
    end(&fake, load, value_of(load, "new"));
    assert_string_equal(young.data, "new");
    fake_finish(&fake);
}

static void test_flush_that_has_not_come_by_yet_fences_too(void **state)
{
    struct fake fake;
    struct asker old, young;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &old, "k"), HG_PENDING);
    /* Another thread is in hg_group_flush: it has its number, but not this shard's lock. */
    atomic_store(&fake.group->flush_number, atomic_fetch_add(&fake.groups->sequence, 1) + 1);
    assert_int_equal(ask(&fake, &young, "k"), HG_PENDING);
    end_next(&fake, "before");
    assert_string_equal(old.data, "before");
    assert_int_equal(young.answers, 0);
    assert_int_equal(stats_of(&fake).entries, 0);
    end_next(&fake, "after");
    assert_string_equal(young.data, "after");
    fake_finish(&fake);
}

static void test_ancestors_that_were_answered_are_none_of_the_next_load(void **state)
{
    struct fake fake;
    struct asker outer, old, young;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &outer, "a"), HG_PENDING);
    struct hg_load *a = next_load(&fake);
    assert_int_equal(ask_nested(&fake, fake.group, &old, "b", a), HG_PENDING);
    hg_group_remove(fake.group, HG_BYTES("b"), fake.now_ms);
    assert_int_equal(ask(&fake, &young, "b"), HG_PENDING);
    struct hg_load *b = next_load(&fake);
    assert_int_equal(b->depth, 1);
    end(&fake, b, value_of(b, "before"));
    assert_string_equal(old.data, "before");
    b = next_load(&fake);
    assert_int_equal(b->depth, 0);
    assert_int_equal(b->chain.len, 0);
    end(&fake, b, value_of(b, "after"));
    end(&fake, a, value_of(a, "A"));
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_removed_meanwhile_old_waiters_get_it_and_young_ones_a_new_load),
        cmocka_unit_test(test_second_invalidation_does_not_make_young_waiters_old),
        cmocka_unit_test(test_fenced_without_young_waiters_just_ends),
        cmocka_unit_test(test_invalidations_of_other_keys_and_tags_do_not_fence),
        cmocka_unit_test(test_tag_of_the_result_fences_it),
        cmocka_unit_test(test_fence_while_it_queues_means_nothing),
        cmocka_unit_test(test_fenced_ask_asks_again_for_young_waiters),
        cmocka_unit_test(test_fenced_ask_becomes_a_load_where_the_key_is_ours_now),
        cmocka_unit_test(test_fenced_nested_load_needs_no_slot_the_second_time),
        cmocka_unit_test(test_waiters_are_answered_here_or_mailed_in_one_batch),
        cmocka_unit_test(test_callee_may_come_back),
        cmocka_unit_test(test_removed_value_is_not_offered_to_the_next_load),
        cmocka_unit_test(test_flush_that_has_not_come_by_yet_fences_too),
        cmocka_unit_test(test_ancestors_that_were_answered_are_none_of_the_next_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
