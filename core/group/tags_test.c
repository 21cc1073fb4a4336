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

static uint64_t newest_of(struct hg_tags *tags, const char *tag)
{
    struct hg_bytes one = hg_bytes_str(tag);
    struct hg_value *value = with_tags(&one, 1);
    uint64_t number = hg_tags_newest(tags, value);
    hg_value_unref(value);
    return number;
}

static void test_newest_number_of_any_tag_counts(void **state)
{
    struct hg_tags tags;
    static const struct hg_bytes both[] = {{"a", 1}, {"b", 1}};
    struct hg_value *value = with_tags(both, 2), *plain = with_tags(NULL, 0);

    (void)state;
    hg_tags_init(&tags);
    assert_int_equal(hg_tags_newest(&tags, value), 0);
    hg_tags_note(&tags, HG_BYTES("a"), 3);
    hg_tags_note(&tags, HG_BYTES("c"), 9);
    assert_int_equal(hg_tags_newest(&tags, value), 3);
    hg_tags_note(&tags, HG_BYTES("b"), 5);
    hg_tags_note(&tags, HG_BYTES("a"), 4);
    assert_int_equal(hg_tags_newest(&tags, value), 5);
    hg_tags_note(&tags, HG_BYTES("b"), 2); /* noted late by another thread */
    assert_int_equal(hg_tags_newest(&tags, value), 5);
    assert_int_equal(hg_tags_newest(&tags, plain), 0);
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
    assert_int_equal(newest_of(&tags, "never"), 0);
    assert_int_equal(newest_of(&tags, "t7"), 7);
    assert_int_equal(newest_of(&tags, tag), HG_TAGS_KNOWN_MAX);
    hg_tags_note(&tags, HG_BYTES("t7"), 5000); /* known: takes no room */
    assert_int_equal(newest_of(&tags, "never"), 0);
    hg_tags_note(&tags, HG_BYTES("one more"), 4999);
    assert_int_equal(newest_of(&tags, "never"), 5000); /* nothing that was known is forgotten */
    assert_int_equal(tags.count, 0);
    hg_tags_note(&tags, HG_BYTES("x"), 6000);
    assert_int_equal(newest_of(&tags, "x"), 6000);
    assert_int_equal(newest_of(&tags, "never"), 5000);
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
    assert_int_equal(newest_of(&tags, "never"), 3);
    hg_tags_note(&tags, HG_BYTES("a"), 4);
    assert_int_equal(newest_of(&tags, "a"), 4);
    hg_tags_finish(&tags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest_number_of_any_tag_counts),
        cmocka_unit_test(test_full_table_raises_the_floor),
        cmocka_unit_test(test_no_memory_raises_the_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
