/* For how long errors are remembered. */
#include "group/fake_source.h"

static void test_errors_are_remembered_only_with_error_ttl(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct fake fake;
        struct asker asker;

        fake_init(&fake);
        fake.config.error_ttl_ms = with ? 1000 : 0;
        fake_start(&fake);
        assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
        struct hg_load *load = next_load(&fake);
        end(&fake, load, error_of(load, HG_CLASS_DENIED, "no"));
        assert_int_equal(asker.err, HG_OK);
        assert_int_equal(asker.status, HG_STATUS_ERROR);
        assert_int_equal(asker.klass, HG_CLASS_DENIED);
        assert_string_equal(asker.data, "no");
        assert_int_equal(stats_of(&fake).local_load_errors, 1);
        if (with) {
            assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
            assert_int_equal(asker.how, HG_HOW_ERROR);
            assert_int_equal(stats_of(&fake).error_hits, 1);
        } else {
            assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
            end_next(&fake, "v");
        }
        fake_finish(&fake);
    }
}

/* A miss whose load fails; answers for how long that is remembered. */
static uint64_t fail_once(struct fake *fake)
{
    struct asker asker;

    assert_int_equal(ask(fake, &asker, "k"), HG_PENDING);
    struct hg_load *load = next_load(fake);
    end(fake, load, error_of(load, HG_CLASS_INTERNAL, "down"));
    assert_int_equal(asker.status, HG_STATUS_ERROR);
    assert_int_equal(ask(fake, &asker, "k"), HG_OK);
    assert_int_equal(asker.how, HG_HOW_ERROR);
    return asker.expires_ms - fake->now_ms;
}

static void test_errors_in_a_row_are_remembered_longer(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.error_ttl_ms = 1000;
    fake.config.error_ttl_max_ms = 60000;
    fake_start(&fake);
    uint64_t life_ms = fail_once(&fake);
    assert_int_equal(life_ms, 1000);
    for (int i = 0; i < 20; i++) {
        fake.now_ms += life_ms;
        hg_group_expire_step(fake.group, fake.now_ms, SIZE_MAX); /* it stays for the next */
        uint64_t next_ms = fail_once(&fake);
        assert_true(next_ms >= life_ms || next_ms >= 30000);
        assert_true(next_ms <= 3 * life_ms && next_ms <= 60000);
        life_ms = next_ms;
    }
    assert_true(life_ms >= 30000);
    struct hg_explain explain;
    struct hg_hold hold;
    hg_group_explain(fake.group, HG_BYTES("k"), fake.now_ms, &explain, &hold);
    assert_int_equal(explain.stale_if_error_ms, 0); /* nobody is served it once it has ended */
    hg_hold_release(&hold);

    /* Who is not asked for as long again begins anew, and nothing of it stays. */
    fake.now_ms += 2 * life_ms;
    assert_int_equal(hg_group_expire_step(fake.group, fake.now_ms, SIZE_MAX), 1);
    assert_int_equal(fail_once(&fake), 1000);
    fake.now_ms += 1000;
    assert_true(fail_once(&fake) > 1000);
    assert_true(hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms));
    assert_int_equal(fail_once(&fake), 1000);
    fake.now_ms += 1000;
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, "v");
    fake.now_ms += 60000;
    assert_int_equal(fail_once(&fake), 1000);
    fake_finish(&fake);
}

static void test_what_is_no_error_and_not_stored_ends_a_row_too(void **state)
{
    (void)state;
    for (int is_value = 0; is_value < 2; is_value++) {
        struct fake fake;
        struct asker asker;

        fake_init(&fake);
        fake.config.error_ttl_ms = 1000;
        fake.config.error_ttl_max_ms = 60000;
        fake.config.negative_ttl_ms = 0;
        fake.config.ttl_ms = 0;
        fake_start(&fake);
        assert_int_equal(fail_once(&fake), 1000);
        fake.now_ms += 1000;
        assert_int_equal(stats_of(&fake).entries, 1);
        assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
        struct hg_load *load = next_load(&fake);
        end(&fake, load, is_value ? value_of(load, "v") : missing_of(load));
        assert_int_equal(stats_of(&fake).entries, 0);
        assert_int_equal(fail_once(&fake), 1000);
        fake_finish(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_remembered_only_with_error_ttl),
        cmocka_unit_test(test_errors_in_a_row_are_remembered_longer),
        cmocka_unit_test(test_what_is_no_error_and_not_stored_ends_a_row_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
