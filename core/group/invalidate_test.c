#include "group/fake_source.h"

static struct hg_value *tagged(const char *key, const char *data, const char *tag)
{
    struct hg_bytes tags[1] = {hg_bytes_str(tag)};
    struct hg_value_spec spec = spec_of(hg_bytes_str(key), data);

    spec.tags = tags;
    spec.tag_count = tag == NULL ? 0 : 1;
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static int set_tagged(struct fake *fake, const char *key, const char *tag)
{
    struct hg_value *value = tagged(key, "v", tag);
    int rc = hg_group_set(fake->group, value, fake->now_ms);
    hg_value_unref(value);
    return rc;
}

static int set(struct fake *fake, const char *key, const char *data)
{
    struct hg_value *value = tagged(key, data, NULL);
    int rc = hg_group_set(fake->group, value, fake->now_ms);
    hg_value_unref(value);
    return rc;
}

static void test_set_is_seen_by_the_next_get(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(set(&fake, "k", "1"), HG_OK);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "1");
    assert_int_equal(asker.expires_ms, fake.now_ms + 60000);
    assert_int_equal(set(&fake, "k", "2"), HG_OK);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "2");
    fake_finish(&fake);
}

static void test_set_fences_the_load_under_way(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    assert_int_equal(set(&fake, "k", "newer"), HG_OK);
    end_next(&fake, "older");
    assert_string_equal(asker.data, "older");
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "newer");
    fake_finish(&fake);
}

static void test_set_of_a_borrowed_value_copies_it_when_others_hold_it(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 777;
    fake_start(&fake);
    struct hg_value *value = tagged("k", "v", "tag"); /* it has room for windows */
    hg_value_ref(value);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_OK);
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 0);
    assert_false(value->stored);
    hg_value_unref(value);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_OK);
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 777);
    assert_true(value->stored);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms),
                     HG_OK); /* again: a copy takes its place */
    assert_false(value->stored);
    hg_value_unref(value);
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    fake_finish(&fake);
}

static void test_set_of_anothers_key_is_a_copy_for_the_lease(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 5000;
    fake_start(&fake);
    fake_view(&fake, 3, 0);
    const char *key = key_of(&fake, 1, -1);
    assert_int_equal(set(&fake, key, "v"), HG_OK);
    assert_int_equal(ask(&fake, &asker, key), HG_OK);
    assert_int_equal(asker.how, HG_HOW_HOT);
    assert_int_equal(asker.expires_ms, fake.now_ms + 2000);
    fake.now_ms += 2000;
    assert_int_equal(ask(&fake, &asker, key), HG_PENDING);
    struct hg_load *load = next_ask(&fake);
    end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "w"), 0);
    fake_finish(&fake);
}

static void test_set_that_is_not_stored_still_drops_the_old(void **state)
{
    struct fake fake;
    struct asker asker;
    char big[4098];

    (void)state;
    fake_init(&fake);
    fake.config.capacity_bytes = 2048;
    fake_start(&fake);
    assert_int_equal(set(&fake, "k", "1"), HG_OK);
    memset(big, 'x', sizeof(big));
    big[4097] = '\0';
    assert_int_equal(set(&fake, "k", big), HG_ETOOBIG); /* over the limit: nothing happens */
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    big[4000] = '\0';
    assert_int_equal(set(&fake, "k", big), HG_ETOOBIG); /* does not fit: it is known to be newer */
    assert_int_equal(stats_of(&fake).entries, 0);

    assert_int_equal(set(&fake, "k", "2"), HG_OK);
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("k"), .uncacheable = true};
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_OK);
    hg_value_unref(value);
    assert_int_equal(stats_of(&fake).entries, 0);
    spec = (struct hg_value_spec){.status = HG_STATUS_NOT_FOUND, .key = HG_BYTES("k")};
    value = hg_value_create(&spec);
    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_EINVAL);
    hg_value_unref(value);
    fake_finish(&fake);
}

static void test_remove_says_whether_there_was_one(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(set(&fake, "k", "1"), HG_OK);
    assert_true(hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms));
    assert_false(hg_group_remove(fake.group, HG_BYTES("k"), fake.now_ms));
    assert_int_equal(ask(&fake, &asker, "k"), HG_PENDING);
    end_next(&fake, "2");
    assert_int_equal(fake.evicted, 1);
    fake_finish(&fake);
}

static void test_expire_makes_stale_and_the_windows_count_from_now(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.stale_while_revalidate_ms = 1000;
    fake_start(&fake);
    assert_false(hg_group_expire(fake.group, HG_BYTES("k"), fake.now_ms));
    assert_int_equal(set(&fake, "k", "1"), HG_OK);
    fake.now_ms += 10;
    assert_true(hg_group_expire(fake.group, HG_BYTES("k"), fake.now_ms));
    fake.now_ms += 999;
    assert_true(
        hg_group_expire(fake.group, HG_BYTES("k"), fake.now_ms)); /* does not prolong the window */
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_int_equal(asker.how, HG_HOW_STALE);
    end_next(&fake, "2");
    assert_int_equal(ask(&fake, &asker, "k"), HG_OK);
    assert_string_equal(asker.data, "2");
    fake_finish(&fake);
}

static void test_remove_tag_finds_every_tagged_entry(void **state)
{
    (void)state;
    for (int shards = 1; shards <= 4; shards *= 4)
        for (int soft = 0; soft < 2; soft++)
            for (int count = 10; count <= 10000; count *= 10) {
                struct fake fake;
                struct hg_result result;
                struct hg_hold hold;

                fake_init(&fake);
                fake.config.shards = (unsigned)shards;
                fake.config.capacity_bytes = 64 << 20;
                fake.config.stale_while_revalidate_ms = 1000;
                fake_start(&fake);
                for (int i = 0; i < count; i++) {
                    char key[16];
                    snprintf(key, sizeof(key), "k%d", i);
                    struct hg_value *value = tagged(key, "v", i % 3 == 0 ? "t" : "other");
                    assert_int_equal(hg_group_set(fake.group, value, fake.now_ms), HG_OK);
                    hg_value_unref(value);
                }
                assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("t"), soft, fake.now_ms),
                                 HG_OK);
                for (int i = 0; i < count; i++) {
                    char key[16];
                    snprintf(key, sizeof(key), "k%d", i);
                    struct hg_get get = get_of(&fake, key);
                    get.is_peek = true;
                    int rc = hg_group_get(fake.group, &get, NULL, &result, &hold);
                    hg_hold_release(&hold);
                    if (i % 3 != 0)
                        assert_int_equal(result.how, HG_HOW_HIT);
                    else if (soft)
                        assert_int_equal(result.how, HG_HOW_STALE);
                    assert_int_equal(rc, i % 3 == 0 && !soft ? HG_ENOENT : HG_OK);
                }
                fake_finish(&fake);
            }
}

/* A policy may keep its entries on lists of its own, and a table may be on its way into another. */
static void test_remove_tag_finds_them_whatever_the_policy_and_the_size(void **state)
{
    (void)state;
    for (size_t index = 0; hg_policy_at(index) != NULL; index++) {
        bool has_resized = false;
        for (int count = 1; count < 150; count += count < 40 ? 1 : 7) {
            struct fake fake;
            fake_init(&fake);
            fake.config.policy = hg_policy_at(index)->name;
            fake_start(&fake);
            for (int i = 0; i < count; i++) {
                char key[16];
                snprintf(key, sizeof(key), "k%d", i);
                assert_int_equal(set_tagged(&fake, key, i % 8 == 0 ? "other" : "t"), HG_OK);
            }
            has_resized |= fake.group->shards[0].store.table.old_buckets != NULL;
            assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("t"), true, fake.now_ms),
                             HG_OK);
            assert_int_equal(stats_of(&fake).entries, count);
            assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("t"), false, fake.now_ms),
                             HG_OK);
            assert_int_equal(stats_of(&fake).entries, (count + 7) / 8);
            assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES("other"), false, fake.now_ms),
                             HG_OK);
            assert_int_equal(stats_of(&fake).entries, 0);
            fake_finish(&fake);
        }
        assert_true(has_resized);
    }
}

static void test_bad_tags_are_refused(void **state)
{
    struct fake fake;
    char tag[HG_TAG_MAX + 1];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    memset(tag, 't', sizeof(tag));
    assert_int_equal(hg_group_remove_tag(fake.group, HG_BYTES_NONE, false, 0), HG_EINVAL);
    assert_int_equal(hg_group_remove_tag(fake.group, hg_bytes(tag, sizeof(tag)), false, 0),
                     HG_ETOOBIG);
    assert_int_equal(hg_group_remove_tag(fake.group, hg_bytes(tag, HG_TAG_MAX), false, 0), HG_OK);
    fake_finish(&fake);
}

static void test_more_tags_than_the_table_holds_fence_every_tagged_load(void **state)
{
    struct fake fake;
    struct asker tagged_one, plain;
    static const struct hg_bytes never[] = {{"never removed", 13}};

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(ask(&fake, &tagged_one, "k"), HG_PENDING);
    assert_int_equal(ask(&fake, &plain, "l"), HG_PENDING);
    for (int i = 0; i <= HG_TAGS_KNOWN_MAX; i++) {
        char tag[16];
        snprintf(tag, sizeof(tag), "t%d", i);
        assert_int_equal(hg_group_remove_tag(fake.group, hg_bytes_str(tag), false, fake.now_ms),
                         HG_OK);
    }
    struct hg_load *load = next_load(&fake);
    struct hg_value_spec spec = spec_of(load->flight.key, "v");
    spec.tags = never;
    spec.tag_count = 1;
    end(&fake, load, hg_value_create(&spec));
    assert_string_equal(tagged_one.data, "v");
    assert_int_equal(tagged_one.expires_ms, 0);
    end_next(&fake, "w");
    assert_true(plain.expires_ms > 0);
    fake_finish(&fake);
}

static void test_flush_hides_all_at_once_and_sweeps_free_it(void **state)
{
    struct fake fake;
    struct asker asker;

    (void)state;
    fake_init(&fake);
    fake.config.shards = 4;
    fake.config.capacity_bytes = 64 << 20;
    fake_start(&fake);
    for (int i = 0; i < 10000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(set(&fake, key, "v"), HG_OK);
    }
    hg_group_flush(fake.group, fake.now_ms - 1); /* by a loop whose clock is behind */
    assert_int_equal(fake.evicted, 0);
    assert_int_equal(set(&fake, "k7", "new"), HG_OK); /* in the same millisecond */
    for (int i = 0; i < 10000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        struct hg_get get = {.key = hg_bytes_str(key), .now_ms = fake.now_ms, .is_peek = true};
        assert_int_equal(get_with(&fake, fake.group, &asker, &get), i == 7 ? HG_OK : HG_ENOENT);
    }
    assert_false(hg_group_remove(fake.group, HG_BYTES("k8"), fake.now_ms));
    /* Bounded steps, as housekeeping takes them. */
    for (int i = 0; i < 100; i++)
        hg_group_expire_step(fake.group, fake.now_ms, 100);
    assert_int_equal(stats_of(&fake).entries, 1);
    assert_int_equal(stats_of(&fake).evictions, 0);
    assert_int_equal(stats_of(&fake).expirations, 0);
    assert_int_equal(fake.evicted, 10000);
    assert_int_equal(ask(&fake, &asker, "k7"), HG_OK);
    assert_string_equal(asker.data, "new");
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_is_seen_by_the_next_get),
        cmocka_unit_test(test_set_fences_the_load_under_way),
        cmocka_unit_test(test_set_of_a_borrowed_value_copies_it_when_others_hold_it),
        cmocka_unit_test(test_set_of_anothers_key_is_a_copy_for_the_lease),
        cmocka_unit_test(test_set_that_is_not_stored_still_drops_the_old),
        cmocka_unit_test(test_remove_says_whether_there_was_one),
        cmocka_unit_test(test_expire_makes_stale_and_the_windows_count_from_now),
        cmocka_unit_test(test_remove_tag_finds_every_tagged_entry),
        cmocka_unit_test(test_remove_tag_finds_them_whatever_the_policy_and_the_size),
        cmocka_unit_test(test_bad_tags_are_refused),
        cmocka_unit_test(test_more_tags_than_the_table_holds_fence_every_tagged_load),
        cmocka_unit_test(test_flush_hides_all_at_once_and_sweeps_free_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
