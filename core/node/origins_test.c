#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "node/origins.h"

static const struct hg_cors *cors_of(uintptr_t number)
{
    return (const struct hg_cors *)(number << 8); /* only its address counts */
}

static void test_words_hold_for_their_origin_and_time(void **state)
{
    struct hg_origins *origins;
    enum hg_origin_word word = HG_ORIGIN_DENIED;
    (void)state;
    assert_int_equal(hg_origins_create(&origins), 0);
    struct hg_bytes a = HG_BYTES("https://a.example"), b = HG_BYTES("https://b.example");
    assert_false(hg_origins_find(origins, cors_of(1), a, 0, &word));
    hg_origins_note(origins, cors_of(1), a, HG_ORIGIN_APPROVED, 100);
    hg_origins_note(origins, cors_of(1), b, HG_ORIGIN_UNKNOWN, 200);
    assert_true(hg_origins_find(origins, cors_of(1), a, 99, &word));
    assert_int_equal(word, HG_ORIGIN_APPROVED);
    assert_false(hg_origins_find(origins, cors_of(1), a, 100, &word));
    assert_false(hg_origins_find(origins, cors_of(2), a, 99, &word));
    assert_true(hg_origins_find(origins, cors_of(1), b, 199, &word));
    assert_int_equal(word, HG_ORIGIN_UNKNOWN);
    hg_origins_destroy(origins);
}

static void test_many_take_no_more_room_than_there_is(void **state)
{
    struct hg_origins *origins;
    char text[400];
    enum hg_origin_word word;
    unsigned known = 0;
    size_t before = hg_alloc_live_bytes();
    (void)state;
    assert_int_equal(hg_origins_create(&origins), 0);
    for (unsigned i = 0; i < 10000; i++) {
        int len = snprintf(text, sizeof(text), "https://%u.example", i);
        hg_origins_note(origins, cors_of(1), hg_bytes(text, (size_t)len),
                        (enum hg_origin_word)(i % 3), 100);
    }
    for (unsigned i = 0; i < 10000; i++) {
        int len = snprintf(text, sizeof(text), "https://%u.example", i);
        if (!hg_origins_find(origins, cors_of(1), hg_bytes(text, (size_t)len), 0, &word))
            continue;
        assert_int_equal(word, i % 3);
        known++;
    }
    assert_true(known > 900 && known <= HG_ORIGINS_SLOTS);
    assert_true(hg_alloc_live_bytes() - before < HG_ORIGINS_SLOTS * 400);
    memset(text, 'x', sizeof(text));
    hg_origins_note(origins, cors_of(1), hg_bytes(text, 256), HG_ORIGIN_APPROVED, 100);
    assert_false(hg_origins_find(origins, cors_of(1), hg_bytes(text, 256), 0, &word));
    hg_origins_note(origins, cors_of(1), hg_bytes(text, 255), HG_ORIGIN_APPROVED, 100);
    assert_true(hg_origins_find(origins, cors_of(1), hg_bytes(text, 255), 0, &word));
    hg_origins_destroy(origins);
    assert_int_equal(hg_alloc_live_bytes(), before);
}

static void test_no_memory_only_forgets(void **state)
{
    struct hg_origins *origins = NULL;
    enum hg_origin_word word;
    (void)state;
    hg_alloc_fail_at(0, false);
    assert_true(hg_origins_create(&origins) < 0);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(hg_origins_create(&origins), 0);
    hg_alloc_fail_at(0, false);
    hg_origins_note(origins, cors_of(1), HG_BYTES("https://a.example"), HG_ORIGIN_APPROVED, 100);
    assert_true(hg_alloc_fail_clear());
    assert_false(hg_origins_find(origins, cors_of(1), HG_BYTES("https://a.example"), 0, &word));
    hg_origins_destroy(origins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_hold_for_their_origin_and_time),
        cmocka_unit_test(test_many_take_no_more_room_than_there_is),
        cmocka_unit_test(test_no_memory_only_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
