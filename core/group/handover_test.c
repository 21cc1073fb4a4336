#include "group/fake_source.h"

/* Three nodes; we are a, and new until now + 60 s. */
static void new_node(struct fake *fake)
{
    fake_init(fake);
    fake->limits.peek_until_ms = fake->now_ms + 60000;
    fake_start(fake);
    fake_view(fake, 3, 0);
}

static int take_over(struct fake *fake, struct asker *asker, const char *key)
{
    struct hg_get get = get_of(fake, key);
    get.takes_over = true;
    return get_with(fake, fake->group, asker, &get);
}

static void test_newcomer_asks_the_second_point_first(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    new_node(&fake);
    const char *key = key_of(&fake, 0, 2);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    assert_true(load->is_peek);
    assert_int_equal(load->member, 2);
    assert_int_equal(load->deadline_ms, fake.now_ms + 200);
    struct hg_ask_answer answer = {.outcome = HG_ASK_TYPED,
                                   .result = value_of(load, "630"),
                                   .sent_ms = fake.now_ms,
                                   .ttl_ms = 50000,
                                   .age_ms = 1000};
    fake.now_ms += 5;
    hg_load_asked(load, &answer, fake.now_ms, &fake.loop);
    assert_string_equal(asker.data, "630");
    assert_int_equal(asker.expires_ms, fake.now_ms - 5 + 50000); /* longer than a lease: it is ours */
    assert_int_equal(asker.created_ms, fake.now_ms - 5 - 1000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HIT);
    assert_int_equal(stats_of(&fake).peeks, 1);
    assert_int_equal(stats_of(&fake).peek_hits, 1);
    assert_int_equal(stats_of(&fake).local_loads, 0);
    assert_int_equal(stats_of(&fake).peer_loads, 0);
    fake_finish(&fake);
}

static void test_what_is_no_value_runs_the_getter(void **state)
{
    static const enum hg_ask_outcome outcomes[] = {HG_ASK_TYPED, HG_ASK_UNTYPED, HG_ASK_TRANSPORT,
                                                   HG_ASK_DEADLINE};
    struct fake fake;
    struct asker asker;

    (void)state;
    new_node(&fake);
    for (size_t i = 0; i < HG_COUNT(outcomes); i++) {
        const char *key = key_of(&fake, 0, 1);
        assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
        struct hg_load *load = next_ask(&fake);
        end_ask(&fake, load, outcomes[i], outcomes[i] == HG_ASK_TYPED ? missing_of(load) : NULL, 0);
        assert_int_equal(asker.answers, 0);
        load = next_load(&fake);
        assert_int_equal(load->deadline_ms, fake.now_ms + fake.config.deadline_ms);
        end(&fake, load, value_of(load, "own"));
        assert_string_equal(asker.data, "own");
        hg_group_flush(fake.group, fake.now_ms);
        fake.now_ms += 4000; /* two leases */
    }
    assert_int_equal(stats_of(&fake).peeks, 4);
    assert_int_equal(stats_of(&fake).peek_hits, 0);
    assert_int_equal(stats_of(&fake).peer_errors, 0);

    /* Stale there: without life it is none. One that cannot be started is none either. */
    const char *key = key_of(&fake, 0, 1);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "stale"), 0);
    end_next(&fake, "fresh");
    assert_string_equal(asker.data, "fresh");
    hg_group_flush(fake.group, fake.now_ms);
    fake.now_ms += 4000;
    fake.ask_fails = 1;
    fill(&fake, key, "own");
    fake_finish(&fake);
}

static void test_a_peek_without_waiters_ends_without_the_getter(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    new_node(&fake);
    assert_int_equal(ask(&fake, &asker, key_of(&fake, 0, 1)), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    assert_true(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
    end_ask(&fake, load, HG_ASK_TRANSPORT, NULL, 0);
    assert_int_equal(stats_of(&fake).local_loads, 0);
    fake_finish(&fake);
}

static void test_nobody_is_asked_who_may_not_know(void **state)
{
    struct fake fake;

    (void)state;
    new_node(&fake);
    const char *key = key_of(&fake, 0, 1);

    /* For two leases after a change another node may not have heard of it. */
    hg_group_remove(fake.group, HG_BYTES("other"), fake.now_ms);
    fill(&fake, key, "own");
    fake.now_ms += 3999;
    assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("red"), false, fake.now_ms), HG_OK);
    fake.now_ms += 3999;
    hg_group_expire(fake.group, HG_BYTES("other"), fake.now_ms);
    fake.now_ms += 3999;
    struct hg_value_spec spec = spec_of(hg_bytes_str(key), "set");
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_OK);
    hg_value_unref(value);
    fake.now_ms += 3999;
    fill(&fake, key_of(&fake, 0, 2), "own");
    assert_int_equal(stats_of(&fake).peeks, 0);

    /* Nor when we are new no more. */
    fake.now_ms += 60000;
    hg_group_flush(fake.group, fake.now_ms - 10000);
    fill(&fake, key, "own");
    assert_int_equal(stats_of(&fake).peeks, 0);
    fake_finish(&fake);
}

/* Where nobody has anything it ends, unless there is something now and then. */
static void test_peeks_that_find_nothing_end(void **state)
{
    struct fake fake;
    struct asker asker;
    char key[16];
    unsigned peeks = 0;

    (void)state;
    new_node(&fake);
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "p%u", i);
        if (hg_ring_owner(fake.ring, hg_bytes_str(key)) != 0)
            continue;
        assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
        if (!hg_list_is_empty(&fake.asks)) {
            struct hg_load *load = next_ask(&fake);
            bool is_hit = peeks++ == 100;
            end_ask(&fake, load, HG_ASK_TYPED, is_hit ? value_of(load, "v") : missing_of(load), 9000);
            if (is_hit)
                continue;
        }
        end_next(&fake, "own");
    }
    assert_int_equal(peeks, 256 + 16);
    assert_int_equal(stats_of(&fake).peeks, 256 + 16);
    fake_finish(&fake);
}

/* What came in while it was asked: of this key, or of another. */
static void test_a_change_meanwhile_is_not_undone(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    for (int of_this = 0; of_this < 2; of_this++) {
        new_node(&fake);
        const char *key = key_of(&fake, 0, 1);
        assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
        struct hg_load *load = next_ask(&fake);
        hg_group_remove(fake.group, of_this ? hg_bytes_str(key) : HG_BYTES("other"), fake.now_ms);
        end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "old"), 50000);
        end_next(&fake, "new");
        assert_string_equal(asker.data, "new");
        assert_int_equal(ask(&fake, &asker, key), HG_OK);
        assert_string_equal(asker.data, "new");
        fake_finish(&fake);
    }
}

static void test_a_key_of_one_who_leaves_becomes_ours(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    new_node(&fake);
    const char *key = key_of(&fake, 1, 0);
    assert_int_equal(take_over(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    assert_false(load->is_peek);
    assert_int_equal(load->member, 1);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 50000);
    assert_string_equal(asker.data, "v");
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HIT);
    assert_int_equal(asker.expires_ms, fake.now_ms + 50000);
    assert_int_equal(take_over(&fake, &asker, key), HG_OK); /* it is here */
    assert_int_equal(stats_of(&fake).takeovers, 1);

    /* A copy that is here already, and one that is under way. */
    key = key_of(&fake, 2, 0);
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 50000);
    struct asker other;
    assert_int_equal(take_over(&fake, &asker, key), HG_PENDING);
    assert_int_equal(take_over(&fake, &other, key), HG_PENDING);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 50000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HIT);
    assert_int_equal(stats_of(&fake).takeovers, 2);

    /* Right after a change it is an ordinary copy. */
    hg_group_flush(fake.group, fake.now_ms);
    assert_int_equal(take_over(&fake, &asker, key), HG_PENDING);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 50000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HOT);
    fake_finish(&fake);
}

/* Who leaves has it no more, or has left: for that alone nothing is loaded anywhere. */
static void test_what_is_not_there_to_be_taken_causes_no_load(void **state)
{
    static const enum hg_ask_outcome outcomes[] = {HG_ASK_TYPED, HG_ASK_UNTYPED, HG_ASK_TRANSPORT};
    struct fake fake;
    struct asker asker, other;

    (void)state;
    new_node(&fake);
    const char *key = key_of(&fake, 1, 0);
    for (size_t i = 0; i < HG_COUNT(outcomes); i++) {
        assert_int_equal(take_over(&fake, &asker, key), HG_PENDING);
        struct hg_load *load = next_ask(&fake);
        assert_true(hg_load_asks_store(load));
        end_ask(&fake, load, outcomes[i], outcomes[i] == HG_ASK_TYPED ? missing_of(load) : NULL, 0);
        assert_int_equal(asker.err, HG_ENOENT);

        /* Somebody asks for it besides: the owner is asked for a value then. */
        assert_int_equal(take_over(&fake, &asker, key), HG_PENDING);
        assert_int_equal(ask(&fake, &other, key), HG_PENDING);
        load = next_ask(&fake);
        end_ask(&fake, load, outcomes[i], outcomes[i] == HG_ASK_TYPED ? missing_of(load) : NULL, 0);
        assert_int_equal(other.answers, 0);
        load = next_ask(&fake);
        assert_false(hg_load_asks_store(load));
        end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 0);
        assert_string_equal(other.data, "v");
        assert_int_equal(asker.err, HG_ENOENT);

        /* The one who was to take it leaves, and somebody asks for it: that is no less wanted. */
        assert_int_equal(take_over(&fake, &asker, key), HG_PENDING);
        assert_int_equal(ask(&fake, &other, key), HG_PENDING);
        assert_true(hg_waiter_cancel(&asker.waiter, fake.now_ms, NULL));
        load = next_ask(&fake);
        end_ask(&fake, load, outcomes[i], outcomes[i] == HG_ASK_TYPED ? missing_of(load) : NULL, 0);
        load = next_ask(&fake);
        end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 0);
        assert_string_equal(other.data, "v");
    }
    assert_int_equal(stats_of(&fake).local_loads, 0);
    assert_int_equal(stats_of(&fake).takeovers, 0);
    fake_finish(&fake);
}

/* The one who leaves has it from before we came. */
static void test_a_key_of_ours_is_taken_back(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    new_node(&fake);
    fake.now_ms += 100000; /* not new any more */
    const char *key = key_of(&fake, 0, 1);
    assert_int_equal(take_over(&fake, &asker, key), HG_ENOENT);
    assert_int_equal(take_over(&fake, &asker, key), HG_ENOENT); /* it is under way */
    struct hg_load *load = next_ask(&fake);
    assert_true(load->is_peek);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), 50000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HIT);
    assert_int_equal(take_over(&fake, &asker, key), HG_ENOENT);

    /* It has it no more: no getter runs for that. */
    hg_group_remove(fake.group, hg_bytes_str(key), fake.now_ms);
    fake.now_ms += 4000;
    assert_int_equal(take_over(&fake, &asker, key), HG_ENOENT);
    load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, missing_of(load), 0);
    assert_int_equal(stats_of(&fake).local_loads, 0);
    fake_finish(&fake);
}

struct told {
    char keys[64];
};

static void note_key(void *ctx, struct hg_bytes key)
{
    struct told *told = ctx;
    strncat(told->keys, key.data, key.len);
    strcat(told->keys, " ");
}

static void fill_three(struct fake *fake)
{
    fill(fake, "a", "1");
    fake->now_ms += 58500;
    fill(fake, "b", "2");
    fill(fake, "c", "3");
}

static void test_the_hottest_are_told_first(void **state)
{
    static const char *const policies[] = {"lru", "sieve"};
    struct fake fake;
    struct asker asker;

    (void)state;
    for (size_t i = 0; i < HG_COUNT(policies); i++) {
        struct told told = {""};
        fake_init(&fake);
        fake.config.policy = policies[i];
        fake_start(&fake);
        fill_three(&fake);
        assert_int_equal(ask(&fake, &asker, "b"), HG_OK);
        assert_int_equal(hg_group_shard_count(fake.group), 1);
        assert_int_equal(hg_group_hottest(fake.group, 0, 1, fake.now_ms, note_key, &told), 1);
        assert_string_equal(told.keys, "b ");
        /* a has less than a lease to live. */
        assert_int_equal(hg_group_hottest(fake.group, 0, 9, fake.now_ms, note_key, &told), 2);
        assert_string_equal(told.keys, "b b c ");
        fake_finish(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newcomer_asks_the_second_point_first),
        cmocka_unit_test(test_what_is_no_value_runs_the_getter),
        cmocka_unit_test(test_a_peek_without_waiters_ends_without_the_getter),
        cmocka_unit_test(test_nobody_is_asked_who_may_not_know),
        cmocka_unit_test(test_peeks_that_find_nothing_end),
        cmocka_unit_test(test_a_change_meanwhile_is_not_undone),
        cmocka_unit_test(test_a_key_of_one_who_leaves_becomes_ours),
        cmocka_unit_test(test_what_is_not_there_to_be_taken_causes_no_load),
        cmocka_unit_test(test_a_key_of_ours_is_taken_back),
        cmocka_unit_test(test_the_hottest_are_told_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
