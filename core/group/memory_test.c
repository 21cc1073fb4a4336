/*
 * Out of memory at every single allocation of a scenario: each get still ends exactly once, and all is given back.
 */
#include "group/fake_source.h"

/* Ends whatever is under way, in whatever way it can be ended. */
static void end_all(struct fake *fake, uint64_t ttl_ms)
{
    struct hg_list *node;

    for (;;) {
        deliver(&fake->loop);
        if ((node = hg_list_pop_front(&fake->loads)) != NULL) {
            struct hg_load *load = hg_container_of(node, struct hg_load, link);
            struct hg_bytes tag = HG_BYTES("t");
            struct hg_value_spec spec = spec_of(load->flight.key, "v");
            spec.tags = &tag;
            spec.tag_count = 1;
            struct hg_value *value = hg_value_create(&spec);
            struct hg_value *shared =
                value == NULL ? NULL : hg_value_ref(value); /* makes the group copy it */
            hg_load_finish(load, value, fake->now_ms, &fake->loop);
            hg_value_unref(shared);
        } else if ((node = hg_list_pop_front(&fake->asks)) != NULL) {
            struct hg_load *load = hg_container_of(node, struct hg_load, link);
            struct hg_value_spec spec = spec_of(load->flight.key, "remote");
            struct hg_ask_answer answer = {
                .outcome = HG_ASK_TYPED, .sent_ms = fake->now_ms, .ttl_ms = ttl_ms};
            answer.result = hg_value_create(&spec);
            hg_load_asked(load, &answer, fake->now_ms, &fake->loop);
        } else {
            return;
        }
    }
}

/* A get must be answered at once or by the time all has ended. */
static void get_and_end(struct fake *fake, const char *key)
{
    struct asker asker, nested;
    int rc = ask(fake, &asker, key);

    if (rc != HG_PENDING) {
        assert_int_equal(asker.answers, 1);
        assert_true(rc == HG_OK || rc == HG_ENOMEM);
        return;
    }
    memset(&nested, 0, sizeof(nested));
    nested.answers = 1;
    if (!hg_list_is_empty(&fake->loads)) {
        struct hg_load *load = hg_container_of(fake->loads.next, struct hg_load, link);
        rc = ask_nested(fake, fake->group, &nested, "inner", load);
        assert_true(rc == HG_OK || rc == HG_ENOMEM || rc == HG_PENDING);
    }
    end_all(fake, 1000);
    assert_int_equal(asker.answers, 1);
    assert_int_equal(asker.err, HG_OK);
    assert_int_equal(nested.answers, 1);
}

static void scenario(struct fake *fake)
{
    struct hg_view *view = &fake->view;
    struct asker young, old;
    struct hg_value_spec spec = spec_of(HG_BYTES("set"), "s");

    hg_groups_set_view(fake->groups, NULL);
    get_and_end(fake, "a");
    get_and_end(fake, "a");
    fake->now_ms += 60000;
    get_and_end(fake, "a"); /* stale: a refresh begins, or not */
    end_all(fake, 0);

    int rc = ask(fake, &old, "b");
    hg_group_remove(fake->group, HG_BYTES("b"), fake->now_ms);
    int rc_young = ask(fake, &young, "b");
    hg_group_remove_tag(fake->group, HG_BYTES("t"), false, fake->now_ms);
    end_all(fake, 0);
    assert_int_equal(old.answers, 1);
    assert_int_equal(young.answers, 1);
    assert_true(rc == HG_PENDING || rc == HG_ENOMEM);
    assert_true(rc_young == HG_PENDING || rc_young == HG_ENOMEM || rc_young == HG_OK);

    struct hg_value *value = hg_value_create(&spec);
    if (value != NULL) {
        hg_value_ref(value); /* shared: it must copy */
        rc = hg_group_set(fake->group, value, fake->now_ms);
        assert_true(rc == HG_OK || rc == HG_ENOMEM);
        hg_value_unref(value);
        hg_value_unref(value);
    }
    hg_groups_set_view(fake->groups, view);
    get_and_end(fake, "k1");
    get_and_end(fake, "k2");
    get_and_end(fake, "k3");
    hg_group_flush(fake->group, fake->now_ms);
}

static void sweep(bool sticky)
{
    size_t n = 0;

    for (bool was_refused = true; was_refused; n++) {
        struct fake fake;

        fake_init(&fake);
        fake.has_guard = true;
        fake.guard_config.breaker_failures = 0;
        fake.config.stale_while_revalidate_ms = 1000;
        fake.config.stale_if_error_ms = 1000;
        fake_start(&fake);
        fake_view(&fake, 3, 0);
        hg_alloc_fail_at(n, sticky);
        scenario(&fake);
        was_refused = hg_alloc_fail_clear();
        fake_finish(&fake); /* counters, links and live bytes */
    }
    assert_true(n > 25);
}

static void test_every_allocation_may_fail_alone(void **state)
{
    (void)state;
    sweep(false);
}

static void test_every_allocation_may_fail_with_all_after_it(void **state)
{
    (void)state;
    sweep(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail_alone),
        cmocka_unit_test(test_every_allocation_may_fail_with_all_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
