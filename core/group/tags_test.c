#include "group/fake_source.h"

static struct hg_value *with_tags(const struct hg_bytes *tags, size_t count)
{
    struct hg_value_spec spec = spec_of(HG_BYTES("k"), "v");
    spec.tags = tags;
    spec.tag_count = count;
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static uint64_t after(struct hg_tags *tags, const char *tag, uint64_t start)
{
    struct hg_bytes one = hg_bytes_str(tag);
    struct hg_value *value = with_tags(&one, 1);
    uint64_t number = hg_tags_oldest_after(tags, value, start);
    hg_value_unref(value);
    return number;
}

static void test_oldest_number_after_the_start_counts(void **state)
{
    struct hg_tags tags;
    static const struct hg_bytes both[] = {{"a", 1}, {"b", 1}};
    struct hg_value *value = with_tags(both, 2), *plain = with_tags(NULL, 0);

    (void)state;
    hg_tags_init(&tags);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 0), 0);
    hg_tags_note(&tags, HG_BYTES("a"), 3);
    hg_tags_note(&tags, HG_BYTES("c"), 9);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 0), 3);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 3), 0);
    hg_tags_note(&tags, HG_BYTES("b"), 5);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 0), 3);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 3), 5);
    assert_int_equal(hg_tags_oldest_after(&tags, plain, 0), 0);

    hg_tags_note(&tags, HG_BYTES("a"), 7);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 5), 7);
    hg_tags_note(&tags, HG_BYTES("a"), 8);
    assert_int_equal(hg_tags_oldest_after(&tags, value, 5), 6); /* 7 or older: not known */
    assert_int_equal(hg_tags_oldest_after(&tags, value, 7), 8);
    hg_tags_note(&tags, HG_BYTES("b"), 4); /* noted late by another thread */
    assert_int_equal(after(&tags, "b", 3), 4);
    assert_int_equal(after(&tags, "b", 4), 5);
    hg_tags_finish(&tags);
    hg_value_unref(value);
    hg_value_unref(plain);
}

static void test_full_table_raises_the_floor(void **state)
{
    struct hg_tags tags;
    size_t live = hg_alloc_live_bytes();
    char tag[16];

    (void)state;
    hg_tags_init(&tags);
    for (uint64_t i = 1; i <= HG_TAGS_KNOWN_MAX; i++) {
        snprintf(tag, sizeof(tag), "t%u", (unsigned)i);
        hg_tags_note(&tags, hg_bytes_str(tag), i);
    }
    assert_int_equal(after(&tags, "never", 0), 0);
    assert_int_equal(after(&tags, "t7", 0), 7);
    assert_int_equal(after(&tags, tag, 5), HG_TAGS_KNOWN_MAX);
    hg_tags_note(&tags, HG_BYTES("t7"), 5000); /* known: takes no room */
    assert_int_equal(after(&tags, "never", 0), 0);
    hg_tags_note(&tags, HG_BYTES("one more"), 4999);
    assert_int_equal(after(&tags, "never", 4999), 5000); /* nothing that was known is forgotten */
    assert_int_equal(after(&tags, "never", 100), 101);
    assert_int_equal(after(&tags, "never", 5000), 0);
    assert_int_equal(tags.count, 0);
    hg_tags_note(&tags, HG_BYTES("x"), 6000);
    assert_int_equal(after(&tags, "x", 5500), 6000);
    assert_int_equal(after(&tags, "never", 5500), 0);
    hg_tags_finish(&tags);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void test_no_memory_raises_the_floor(void **state)
{
    struct hg_tags tags;

    (void)state;
    hg_tags_init(&tags);
    hg_alloc_fail_at(0, true);
    hg_tags_note(&tags, HG_BYTES("a"), 3);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(after(&tags, "never", 2), 3);
    assert_int_equal(after(&tags, "never", 3), 0);
    hg_tags_note(&tags, HG_BYTES("a"), 4);
    assert_int_equal(after(&tags, "a", 3), 4);
    hg_tags_finish(&tags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oldest_number_after_the_start_counts),
        cmocka_unit_test(test_full_table_raises_the_floor),
        cmocka_unit_test(test_no_memory_raises_the_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
