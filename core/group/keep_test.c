/* hg.keep: the getter says that the old value still holds. */
#include "group/fake_source.h"

static void test_keep_extends_the_old_value(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fill(&fake, "k", "same");
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_load_keep(next_load(&fake), 500, fake.now_ms, &fake.loop);
    assert_string_equal(asker.data, "same");
    assert_int_equal(asker.expires_ms, fake.now_ms + 500);
    fake.now_ms += 499;
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "same");
    fake.now_ms += 1;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_load_keep(next_load(&fake), HG_TTL_OF_GROUP, fake.now_ms, &fake.loop);
    assert_int_equal(asker.expires_ms, fake.now_ms + 60000);
    assert_int_equal(stats_of(&fake).entries, 1);
    fake_finish(&fake);
}

static void test_keep_puts_an_evicted_value_back(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fill(&fake, "k", "same");
    fake.now_ms += 60000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    assert_int_equal(hg_group_expire_step(fake.group, fake.now_ms, 1000), 1);
    hg_load_keep(next_load(&fake), 500, fake.now_ms, &fake.loop);
    assert_string_equal(asker.data, "same");
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    fake_finish(&fake);
}

/* Found by hgsim: it stayed among the copies, for the whole life of a value and without its windows. */
static void test_keep_of_a_copy_by_its_new_owner_makes_it_a_value(void **state)
{
    (void)state;
    for (int is_evicted = 0; is_evicted < 2; is_evicted++) {
        struct fake fake;
        struct asker asker;

        fake_init(&fake);
        fake.config.stale_while_revalidate_ms = 3000;
        fake_start(&fake);
        fake_view(&fake, 2, 0);
        const char *key = key_of(&fake, 1, -1);
        assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
        struct hg_load *load = next_ask(&fake);
        end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "same"), 60000);
        assert_int_equal(ask(&fake, &asker, key), HG_OK);
        assert_int_equal(asker.how, HG_HOW_HOT);

        fake_view(&fake, 1, 0);
        fake.now_ms += 2000;
        assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
        if (is_evicted)
            assert_int_equal(hg_group_expire_step(fake.group, fake.now_ms, 1000), 1);
        load = next_load(&fake);
        assert_non_null(load->old);
        hg_load_keep(load, 500, fake.now_ms, &fake.loop);
        assert_string_equal(asker.data, "same");
        assert_int_equal(asker.expires_ms, fake.now_ms + 500);
        assert_int_equal(ask(&fake, &asker, key), HG_OK);
        assert_int_equal(asker.how, HG_HOW_HIT);
        fake.now_ms += 500;
        assert_int_equal(ask(&fake, &asker, key), HG_OK);
        assert_int_equal(asker.how, HG_HOW_STALE);
        assert_string_equal(asker.data, "same");
        end_next(&fake, "next");
        assert_int_equal(stats_of(&fake).entries, 1);
        fake_finish(&fake);
    }
}

/* And the other way round: what is kept for an owner that does not answer is a copy, with no windows. */
static void test_keep_by_a_fallback_makes_it_a_copy(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 3000;
    fake_start(&fake);
    fake_view(&fake, 1, 0);
    fill(&fake, "k1", "same");
    fake_view(&fake, 2, 0);
    const char *key = key_of(&fake, 1, -1);
    fake_view(&fake, 1, 0);
    fill(&fake, key, "same");
    fake_view(&fake, 2, 0);
    fake.is_down[1] = true;
    fake.now_ms += 63000;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_load(&fake);
    assert_true(load->is_fallback);
    hg_load_keep(load, HG_TTL_OF_GROUP, fake.now_ms, &fake.loop);
    assert_int_equal(asker.expires_ms, fake.now_ms + 10000);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HOT);
    fake.now_ms += 10000;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    end_next(&fake, "next");
    fake_finish(&fake);
}

static void test_keep_without_an_old_value_is_an_error(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    hg_load_keep(next_load(&fake), 500, fake.now_ms, &fake.loop);
    assert_int_equal(asker.status, HG_STATUS_ERROR);
    assert_int_equal(asker.klass, HG_CLASS_INTERNAL);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_extends_the_old_value),
        cmocka_unit_test(test_keep_puts_an_evicted_value_back),
        cmocka_unit_test(test_keep_of_a_copy_by_its_new_owner_makes_it_a_value),
        cmocka_unit_test(test_keep_by_a_fallback_makes_it_a_copy),
        cmocka_unit_test(test_keep_without_an_old_value_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
