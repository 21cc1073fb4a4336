#include "base/value.h"
#include "base/hash.h"
#include "base/testing.h"

static bool has_more(const struct hg_value *value)
{
    return (hg_value_head(value) & HG_VALUE_MORE) != 0;
}

static void assert_bytes(struct hg_bytes actual, struct hg_bytes expected)
{
    assert_int_equal(actual.len, expected.len);
    assert_true(hg_bytes_eq(actual, expected));
}

static const struct hg_bytes sample_tags[] = {HG_BYTES("user:1"), HG_BYTES(""), HG_BYTES("b\0c")};

static struct hg_value_spec sample_spec(void)
{
    return (struct hg_value_spec){
        .status = HG_STATUS_VALUE,
        .key = HG_BYTES("key\0x"),
        .data = HG_BYTES("some data"),
        .type = HG_BYTES("text/plain"),
        .etag = HG_BYTES("W/1"),
        .meta = HG_BYTES("\xff meta"),
        .tags = sample_tags,
        .tag_count = HG_COUNT(sample_tags),
        .ttl_ms = 1000,
        .stale_while_revalidate_ms = 20,
        .stale_if_error_ms = 30,
        .retry_after_ms = 40,
        .has_ttl = true,
        .has_sie = true,
        .uncacheable = true,
    };
}

static void assert_sample(const struct hg_value *value)
{
    assert_int_equal(hg_value_status(value), HG_STATUS_VALUE);
    assert_bytes(hg_value_key(value), HG_BYTES("key\0x"));
    assert_bytes(hg_value_data(value), HG_BYTES("some data"));
    assert_bytes(hg_value_type(value), HG_BYTES("text/plain"));
    assert_bytes(hg_value_etag(value), HG_BYTES("W/1"));
    assert_bytes(hg_value_meta(value), HG_BYTES("\xff meta"));
    assert_int_equal(hg_value_more(value).tag_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_bytes(hg_value_tag(value, i), sample_tags[i]);
    assert_true(hg_value_has_tag(value, HG_BYTES("b\0c")));
    assert_true(hg_value_has_tag(value, HG_BYTES("")));
    assert_false(hg_value_has_tag(value, HG_BYTES("user")));
    assert_false(hg_value_has_tag(value, HG_BYTES("user:12")));
    assert_true(hg_hash(hg_value_key(value)) == hg_hash(HG_BYTES("key\0x")));
    assert_true(hg_value_version(value) == hg_xxh64(HG_BYTES("some data")));
    assert_int_equal(hg_value_more(value).ttl_ms, 1000);
    assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 20);
    assert_int_equal(hg_value_more(value).stale_if_error_ms, 30);
    assert_int_equal(hg_value_more(value).retry_after_ms, 40);
    assert_true(hg_value_more(value).has_ttl && !hg_value_more(value).has_swr &&
                hg_value_more(value).has_sie && hg_value_more(value).uncacheable);
    assert_false(value->stored);
}

static void test_attributes_come_back_as_given(void **state)
{
    (void)state;
    struct hg_value_spec spec = sample_spec();
    struct hg_value *value = hg_value_create(&spec);
    assert_sample(value);
    assert_false(hg_value_is_private(value));
    hg_value_unref(value);
}

static void test_spec_from_a_value_makes_its_equal(void **state)
{
    struct hg_bytes tags[HG_TAGS_MAX];
    struct hg_value_spec spec = sample_spec(), again;
    (void)state;
    struct hg_value *value = hg_value_create(&spec);
    hg_value_spec_from(value, &again, tags);
    struct hg_value *twin = hg_value_create(&again);
    hg_value_unref(value);
    assert_sample(twin);
    hg_value_unref(twin);
}

static void test_smallest_value_is_a_whole_object(void **state)
{
    struct hg_value_spec spec = {.status = HG_STATUS_NOT_FOUND};
    (void)state;
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(hg_value_size(value), sizeof(struct hg_value));
    assert_int_equal(hg_value_key(value).len, 0);
    assert_int_equal(hg_value_data(value).len, 0);
    assert_false(hg_value_has_tag(value, HG_BYTES("")));
    assert_true(hg_hash(hg_value_key(value)) == hg_hash(HG_BYTES_NONE));
    hg_value_unref(value);
}

static void test_size_grows_by_each_byte(void **state)
{
    static const char data[5000];
    (void)state;
    for (size_t len = 0; len < sizeof(data); len += 13) {
        struct hg_value_spec spec = {.key = HG_BYTES("0123456789"), .data = hg_bytes(data, len)};
        struct hg_value *value = hg_value_create(&spec);
        size_t expected = sizeof(struct hg_value) + 10 + len;
        if (len > HG_VERSION_INLINE)
            expected += sizeof(uint64_t);
        if (has_more(value))
            expected += sizeof(struct hg_value_more);
        assert_int_equal(has_more(value), len >= HG_VALUE_LONG);
        assert_int_equal(hg_value_size(value), expected);
        assert_true(hg_value_version(value) == hg_xxh64(hg_bytes(data, len)));
        hg_value_unref(value);
    }
}

/* Each member alone, so that none is forgotten where `more` is left out. */
static void test_any_rare_member_makes_room_for_them_all(void **state)
{
    static const struct hg_bytes tag = {"t", 1};
    const struct hg_value_spec specs[] = {
        {.type = HG_BYTES("t")},
        {.etag = HG_BYTES("e")},
        {.meta = HG_BYTES("m")},
        {.tags = &tag, .tag_count = 1},
        {.ttl_ms = 1},
        {.stale_while_revalidate_ms = 1},
        {.stale_if_error_ms = 1},
        {.retry_after_ms = 1},
        {.has_ttl = true},
        {.has_swr = true},
        {.has_sie = true},
        {.uncacheable = true},
    };
    struct hg_bytes tags[HG_TAGS_MAX];
    struct hg_value_spec back;
    (void)state;
    for (size_t i = 0; i < HG_COUNT(specs); i++) {
        struct hg_value_spec spec = specs[i];
        spec.key = HG_BYTES("k");
        spec.data = HG_BYTES("data");
        struct hg_value *value = hg_value_create(&spec);
        assert_true(has_more(value));
        hg_value_spec_from(value, &back, tags);
        assert_true(hg_bytes_eq(back.type, spec.type) && hg_bytes_eq(back.etag, spec.etag));
        assert_true(hg_bytes_eq(back.meta, spec.meta) && hg_bytes_eq(back.data, spec.data));
        assert_int_equal(back.tag_count, spec.tag_count);
        assert_true(back.ttl_ms == spec.ttl_ms && back.has_ttl == spec.has_ttl);
        assert_true(back.stale_while_revalidate_ms == spec.stale_while_revalidate_ms);
        assert_true(back.stale_if_error_ms == spec.stale_if_error_ms);
        assert_true(back.has_swr == spec.has_swr && back.has_sie == spec.has_sie);
        assert_true(back.retry_after_ms == spec.retry_after_ms);
        assert_true(back.uncacheable == spec.uncacheable);
        assert_true(hg_value_set_windows(value, 8, 9));
        assert_int_equal(hg_value_more(value).stale_while_revalidate_ms, 8);
        assert_int_equal(hg_value_more(value).stale_if_error_ms, 9);
        assert_true(hg_bytes_eq(hg_value_data(value), spec.data));
        hg_value_unref(value);
    }
    struct hg_value_spec plain = {.key = HG_BYTES("k"), .data = HG_BYTES("data")};
    struct hg_value *value = hg_value_create(&plain);
    assert_false(has_more(value));
    assert_true(hg_value_set_windows(value, 0, 0));
    assert_false(hg_value_set_windows(value, 0, 1));
    assert_false(hg_value_set_windows(value, 1, 0));
    hg_value_unref(value);
}

static void expect_limit(struct hg_value_spec spec, bool fits)
{
    struct hg_value *value = hg_value_create(&spec);
    assert_int_equal(value != NULL, fits);
    hg_value_unref(value);
}

static void test_each_part_fits_up_to_its_maximum(void **state)
{
    static char text[70000];
    struct hg_bytes tags[HG_TAGS_MAX + 1];
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        bool fits = over == 0;
        expect_limit((struct hg_value_spec){.key = hg_bytes(text, 65535 + over)}, fits);
        expect_limit((struct hg_value_spec){.type = hg_bytes(text, HG_TYPE_MAX + over)}, fits);
        expect_limit((struct hg_value_spec){.etag = hg_bytes(text, HG_TYPE_MAX + over)}, fits);
        expect_limit((struct hg_value_spec){.meta = hg_bytes(text, HG_META_MAX + over)}, fits);
        tags[0] = hg_bytes(text, HG_TAG_MAX + over);
        expect_limit((struct hg_value_spec){.tags = tags, .tag_count = 1}, fits);
        for (size_t i = 0; i <= HG_TAGS_MAX; i++)
            tags[i] = hg_bytes(text, HG_TAG_MAX);
        expect_limit((struct hg_value_spec){.tags = tags, .tag_count = HG_TAGS_MAX + over}, fits);
        /* Its length alone decides: nothing is read. */
        if (!fits)
            expect_limit((struct hg_value_spec){.data = hg_bytes(text, (size_t)UINT32_MAX + 1)},
                         false);
    }
}

static void test_all_tags_of_greatest_length_come_back(void **state)
{
    static char text[HG_TAGS_MAX][HG_TAG_MAX];
    struct hg_bytes tags[HG_TAGS_MAX];
    (void)state;
    for (size_t i = 0; i < HG_TAGS_MAX; i++) {
        memset(text[i], (int)('0' + i), HG_TAG_MAX);
        tags[i] = hg_bytes(text[i], HG_TAG_MAX);
    }
    struct hg_value_spec spec = {.data = HG_BYTES("x"), .tags = tags, .tag_count = HG_TAGS_MAX};
    struct hg_value *value = hg_value_create(&spec);
    for (size_t i = 0; i < HG_TAGS_MAX; i++) {
        assert_bytes(hg_value_tag(value, i), tags[i]);
        assert_true(hg_value_has_tag(value, tags[i]));
    }
    assert_bytes(hg_value_data(value), HG_BYTES("x"));
    hg_value_unref(value);
}

static void test_last_reference_frees(void **state)
{
    (void)state;
    size_t count = hg_alloc_live_count();
    struct hg_value_spec spec = sample_spec();
    struct hg_value *value = hg_value_create(&spec);
    assert_ptr_equal(hg_value_ref(value), value);
    hg_value_unref(value);
    assert_int_equal(hg_alloc_live_count(), count + 1);
    hg_value_unref(value);
    assert_int_equal(hg_alloc_live_count(), count);
    assert_null(hg_value_ref(NULL));
    hg_value_unref(NULL);
}

static void test_classes_have_names_and_statuses(void **state)
{
    (void)state;
#define X(name, text, http)                                                                        \
    assert_string_equal(hg_class_name(HG_CLASS_##name), text);                                     \
    assert_int_equal(hg_class_http_status(HG_CLASS_##name), http);                                 \
    assert_int_equal(hg_class_from_name(HG_BYTES(text)), HG_CLASS_##name);
    HG_CLASSES(X)
#undef X
    assert_int_equal(hg_class_from_name(HG_BYTES("nonsense")), HG_CLASS_INTERNAL);
    assert_int_equal(hg_class_from_name(HG_BYTES_NONE), HG_CLASS_INTERNAL);
    assert_string_equal(hg_class_name((enum hg_class)99), "internal");
    assert_int_equal(hg_class_http_status((enum hg_class)99), 502);
}

static void test_small_value_is_held_as_a_private_copy(void **state)
{
    struct hg_hold hold;
    (void)state;
    hg_hold_init(&hold);
    struct hg_value_spec spec = sample_spec();
    struct hg_value *value = hg_value_create(&spec);
    hg_value_set_times(value, 5, 6);
    value->stored = true; /* as if a store had it */
    hg_hold_set(&hold, value);
    assert_int_equal(hg_value_refs(value), 1);
    value->stored = false;
    hg_value_unref(value); /* the copy does not need it */
    assert_true(hg_value_is_private(hold.value));
    assert_ptr_equal(hold.value, hold.space);
    assert_sample(hold.value);
    assert_int_equal(hg_value_created_ms(hold.value), 5);
    assert_int_equal(hg_value_expires_ms(hold.value), 6);

    struct hg_hold second; /* a copy can be copied */
    hg_hold_init(&second);
    hg_hold_set(&second, hold.value);
    hg_hold_release(&hold);
    assert_null(hold.value);
    assert_sample(second.value);
    hg_hold_release(&second);
    hg_hold_release(&second);
}

static void test_big_value_is_held_by_reference(void **state)
{
    static const char data[4000];
    struct hg_hold hold;
    (void)state;
    hg_hold_init(&hold);
    struct hg_value_spec spec = {.key = HG_BYTES("k"), .data = hg_bytes(data, HG_SMALL_MAX + 1)};
    struct hg_value *value = hg_value_create(&spec);
    hg_hold_set(&hold, value);
    assert_ptr_equal(hold.value, value);
    assert_int_equal(hg_value_refs(value), 2);
    hg_hold_release(&hold);
    assert_int_equal(hg_value_refs(value), 1);
    hg_hold_take(&hold, value);
    assert_int_equal(hg_value_refs(value), 1);
    hg_hold_release(&hold);
}

/* Every mix of key and data length: what is held equals the value, and the copy never leaves its
 * space. */
static void test_hold_copies_up_to_its_limits_exactly(void **state)
{
    static char text[3000];
    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7);
    for (size_t key_len = 0; key_len < 2300; key_len += 23) {
        for (size_t data_len = 1000; data_len <= 1026; data_len++) {
            struct hg_value_spec spec = {.key = hg_bytes(text, key_len),
                                         .data = hg_bytes(text + 5, data_len)};
            struct hg_value *value = hg_value_create(&spec);
            struct hg_hold hold;
            hg_hold_init(&hold);
            hg_hold_set(&hold, value);
            bool fits = data_len <= HG_SMALL_MAX && hg_value_size(value) <= HG_HOLD_SPACE;
            assert_int_equal(hg_value_is_private(hold.value), fits);
            assert_bytes(hg_value_key(hold.value), spec.key);
            assert_bytes(hg_value_data(hold.value), spec.data);
            hg_hold_release(&hold);
            hg_value_unref(value);
        }
    }
}

static int create_sample(void *ctx)
{
    (void)ctx;
    struct hg_value_spec spec = sample_spec();
    struct hg_value *value = hg_value_create(&spec);
    hg_value_unref(value);
    return value == NULL ? HG_ENOMEM : HG_OK;
}

static void test_creation_makes_one_allocation(void **state)
{
    (void)state;
    assert_int_equal(hg_test_sweep(create_sample, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes_come_back_as_given),
        cmocka_unit_test(test_spec_from_a_value_makes_its_equal),
        cmocka_unit_test(test_smallest_value_is_a_whole_object),
        cmocka_unit_test(test_size_grows_by_each_byte),
        cmocka_unit_test(test_any_rare_member_makes_room_for_them_all),
        cmocka_unit_test(test_each_part_fits_up_to_its_maximum),
        cmocka_unit_test(test_all_tags_of_greatest_length_come_back),
        cmocka_unit_test(test_last_reference_frees),
        cmocka_unit_test(test_classes_have_names_and_statuses),
        cmocka_unit_test(test_small_value_is_held_as_a_private_copy),
        cmocka_unit_test(test_big_value_is_held_by_reference),
        cmocka_unit_test(test_hold_copies_up_to_its_limits_exactly),
        cmocka_unit_test(test_creation_makes_one_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
