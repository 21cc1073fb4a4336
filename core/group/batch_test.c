#include "group/batch.h"

#include "group/fake_source.h"

static void start(struct fake *fake, unsigned max, bool has_guard)
{
    fake_init(fake);
    fake->config.batch_max = max;
    fake->config.error_ttl_ms = 1000;
    fake->has_guard = has_guard;
    fake->guard_config.concurrency = 1;
    fake_start(fake);
}

static struct hg_load *take_leader(struct fake *fake)
{
    assert_false(hg_list_is_empty(&fake->loads));
    return hg_container_of(hg_list_pop_front(&fake->loads), struct hg_load, link);
}

/* "v-KEY" for each; a NULL stays one. */
static void finish_all(struct fake *fake, struct hg_load *leader)
{
    struct hg_value *results[16];
    size_t count = hg_load_gather(leader, fake->now_ms), index = 0;
    struct hg_list *it = NULL;

    assert_true(count <= HG_COUNT(results));
    for (struct hg_load *load = leader; index < count; index++) {
        char data[64];
        snprintf(data, sizeof(data), "v-%.*s", (int)load->flight.key.len, load->flight.key.data);
        struct hg_value_spec spec = spec_of(load->flight.key, data);
        results[index] = hg_value_create(&spec);
        it = it == NULL ? leader->followers.next : it->next;
        load = hg_container_of(it, struct hg_load, link);
    }
    hg_load_finish_many(leader, results, count, fake->now_ms, &fake->loop);
}

static void test_what_comes_before_it_is_gathered_joins(void **state)
{
    struct fake fake;
    struct asker a, b, c, late;
    (void)state;
    start(&fake, 10, true);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    assert_int_equal(ask(&fake, &c, "b"), HG_PENDING); /* single flight as ever */
    assert_int_equal(fake.loads_started, 1);
    assert_int_equal(fake.guard.running, 1);
    struct hg_load *leader = take_leader(&fake);
    assert_int_equal(hg_load_gather(leader, fake.now_ms), 2);
    assert_int_equal(hg_load_gather(leader, fake.now_ms), 2); /* a retry sees the same */
    assert_int_equal(ask(&fake, &late, "late"), HG_PENDING);
    finish_all(&fake, leader);
    assert_string_equal(a.data, "v-a");
    assert_string_equal(b.data, "v-b");
    assert_string_equal(c.data, "v-b");
    assert_int_equal(late.answers, 0);
    assert_int_equal(fake.guard.running, 1); /* the next one's: one slot a batch */
    finish_all(&fake, take_leader(&fake));
    assert_string_equal(late.data, "v-late");
    assert_int_equal(fake.guard.running, 0);
    assert_int_equal(ask(&fake, &a, "b"), HG_OK);
    fake_finish(&fake);
}

static void test_a_full_batch_takes_no_more(void **state)
{
    struct fake fake;
    struct asker askers[5];
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    (void)state;
    start(&fake, 2, false);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(ask(&fake, &askers[i], keys[i]), HG_PENDING);
    assert_int_equal(fake.loads_started, 3);
    size_t sizes[3];
    for (size_t i = 0; i < 3; i++) {
        struct hg_load *leader = take_leader(&fake);
        sizes[i] = hg_load_gather(leader, fake.now_ms);
        finish_all(&fake, leader);
    }
    assert_true(sizes[0] == 2 && sizes[1] == 2 && sizes[2] == 1);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(askers[i].answers, 1);
    fake_finish(&fake);
}

static void test_a_batch_of_one_is_a_batch(void **state)
{
    struct fake fake;
    struct asker a, b;
    (void)state;
    start(&fake, 1, false);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    assert_int_equal(fake.loads_started, 2);
    finish_all(&fake, take_leader(&fake));
    finish_all(&fake, take_leader(&fake));
    assert_string_equal(b.data, "v-b");
    fake_finish(&fake);
}

static void test_while_it_queues_it_is_open(void **state)
{
    struct fake fake;
    struct asker first, a, b;
    (void)state;
    start(&fake, 10, true);
    assert_int_equal(ask(&fake, &first, "first"), HG_PENDING);
    struct hg_load *running = take_leader(&fake);
    assert_int_equal(hg_load_gather(running, fake.now_ms), 1);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    assert_int_equal(fake.guard.queued, 1);
    finish_all(&fake, running);
    struct hg_load *leader = take_leader(&fake);
    assert_int_equal(hg_load_gather(leader, fake.now_ms), 2);
    finish_all(&fake, leader);
    assert_string_equal(a.data, "v-a");
    assert_string_equal(b.data, "v-b");
    fake_finish(&fake);
}

static void test_an_error_is_everybodys_gathered_or_not(void **state)
{
    (void)state;
    for (int is_gathered = 0; is_gathered < 2; is_gathered++) {
        struct fake fake;
        struct asker a, b, again;
        struct hg_group_stats stats;
        start(&fake, 10, true);
        assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
        assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
        struct hg_load *leader = take_leader(&fake);
        if (is_gathered)
            assert_int_equal(hg_load_gather(leader, fake.now_ms), 2);
        hg_load_fail(leader, HG_CLASS_DENIED, HG_BYTES("no"), fake.now_ms, &fake.loop);
        assert_int_equal(a.klass, HG_CLASS_DENIED);
        assert_int_equal(b.klass, HG_CLASS_DENIED);
        assert_string_equal(b.data, "no");
        assert_int_equal(fake.guard.running, 0);
        hg_group_stats(fake.group, &stats);
        assert_int_equal(stats.local_loads, is_gathered ? 2 : 1);
        assert_int_equal(stats.local_load_errors, stats.local_loads);
        /* What ran is remembered for error_ttl. */
        assert_int_equal(ask(&fake, &again, "b"), is_gathered ? HG_OK : HG_PENDING);
        if (!is_gathered)
            finish_all(&fake, take_leader(&fake));
        fake_finish(&fake);
    }
}

static void test_one_failure_among_several_is_no_mark_on_the_breaker(void **state)
{
    struct fake fake;
    struct asker a, b;
    (void)state;
    start(&fake, 10, true);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
        assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
        struct hg_load *leader = take_leader(&fake);
        assert_int_equal(hg_load_gather(leader, fake.now_ms), 2);
        struct hg_value_spec good = spec_of(HG_BYTES("b"), "v");
        good.uncacheable = true;
        struct hg_value_spec bad = {
            .status = HG_STATUS_ERROR, .key = HG_BYTES("a"), .data = HG_BYTES("no")};
        struct hg_value *results[] = {hg_value_create(&bad), hg_value_create(&good)};
        hg_load_finish_many(leader, results, 2, fake.now_ms, &fake.loop);
        assert_int_equal(a.status, HG_STATUS_ERROR);
        assert_int_equal(b.status, HG_STATUS_VALUE);
        fake.now_ms += 2000;
    }
    assert_int_equal(fake.guard.opened, 0);
    fake_finish(&fake);
}

static void test_a_full_guard_refuses_all_of_it(void **state)
{
    struct fake fake;
    struct asker first, a, b;
    (void)state;
    fake_init(&fake);
    fake.config.batch_max = 2;
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake.guard_config.queue = 0;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &first, "first"), HG_PENDING);
    struct hg_load *running = take_leader(&fake);
    hg_load_gather(running, fake.now_ms);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    while (!hg_list_is_empty(&fake.loop.mail))
        hg_waiter_deliver(
            hg_container_of(hg_list_pop_front(&fake.loop.mail), struct hg_waiter, link));
    assert_int_equal(a.klass, HG_CLASS_UNAVAILABLE);
    assert_int_equal(b.klass, HG_CLASS_UNAVAILABLE);
    finish_all(&fake, running);
    fake_finish(&fake);
}

static void test_who_is_awaited_by_nobody_is_let_go(void **state)
{
    struct fake fake;
    struct asker a, b;
    (void)state;
    start(&fake, 10, true);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    assert_true(hg_waiter_cancel(&b.waiter, fake.now_ms, NULL));
    struct hg_load *leader = take_leader(&fake);
    assert_int_equal(hg_load_gather(leader, fake.now_ms), 1);
    finish_all(&fake, leader);
    assert_string_equal(a.data, "v-a");
    fake_finish(&fake);
}

static void test_a_getter_that_waits_for_its_own_batch_is_recursive(void **state)
{
    struct fake fake;
    struct asker a, b, nested;
    (void)state;
    start(&fake, 10, true);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    struct hg_load *leader = take_leader(&fake);
    assert_int_equal(hg_load_gather(leader, fake.now_ms), 2);
    struct hg_get get = {.key = HG_BYTES("b"),
                         .now_ms = fake.now_ms,
                         .deadline_ms = fake.now_ms + 1000,
                         .parent = leader,
                         .loop = &fake.loop};
    assert_int_equal(get_with(&fake, fake.group, &nested, &get), HG_ERECURSIVE);
    finish_all(&fake, leader);
    fake_finish(&fake);
}

static void test_what_was_invalidated_is_loaded_again(void **state)
{
    struct fake fake;
    struct asker a, b, young;
    (void)state;
    start(&fake, 10, true);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    struct hg_load *leader = take_leader(&fake);
    assert_int_equal(hg_load_gather(leader, fake.now_ms), 2);
    hg_group_remove(fake.group, HG_BYTES("b"), fake.now_ms);
    assert_int_equal(ask(&fake, &young, "b"), HG_PENDING);
    finish_all(&fake, leader);
    assert_string_equal(b.data, "v-b");
    assert_int_equal(young.answers, 0);
    finish_all(&fake, take_leader(&fake));
    assert_string_equal(young.data, "v-b");
    fake_finish(&fake);
}

static void test_a_source_that_does_not_start_fails_all(void **state)
{
    struct fake fake;
    struct asker first, a, b;
    (void)state;
    start(&fake, 10, true);
    assert_int_equal(ask(&fake, &first, "first"), HG_PENDING);
    struct hg_load *running = take_leader(&fake);
    hg_load_gather(running, fake.now_ms);
    assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &b, "b"), HG_PENDING);
    fake.load_fails = 1;
    finish_all(&fake, running); /* gives its slot to the batch that queues */
    assert_int_equal(a.status, HG_STATUS_ERROR);
    assert_int_equal(b.status, HG_STATUS_ERROR);
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_comes_before_it_is_gathered_joins),
        cmocka_unit_test(test_a_full_batch_takes_no_more),
        cmocka_unit_test(test_a_batch_of_one_is_a_batch),
        cmocka_unit_test(test_while_it_queues_it_is_open),
        cmocka_unit_test(test_an_error_is_everybodys_gathered_or_not),
        cmocka_unit_test(test_one_failure_among_several_is_no_mark_on_the_breaker),
        cmocka_unit_test(test_a_full_guard_refuses_all_of_it),
        cmocka_unit_test(test_who_is_awaited_by_nobody_is_let_go),
        cmocka_unit_test(test_a_getter_that_waits_for_its_own_batch_is_recursive),
        cmocka_unit_test(test_what_was_invalidated_is_loaded_again),
        cmocka_unit_test(test_a_source_that_does_not_start_fails_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
