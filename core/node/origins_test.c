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
    bool is_approved = false;
    (void)state;
    assert_int_equal(hg_origins_create(&origins), 0);
    struct hg_bytes a = HG_BYTES("https://a.example"), b = HG_BYTES("https://b.example");
    assert_false(hg_origins_find(origins, cors_of(1), a, 0, &is_approved));
    hg_origins_note(origins, cors_of(1), a, true, 100);
    hg_origins_note(origins, cors_of(1), b, false, 200);
    assert_true(hg_origins_find(origins, cors_of(1), a, 99, &is_approved));
    assert_true(is_approved);
    assert_false(hg_origins_find(origins, cors_of(1), a, 100, &is_approved));
    assert_false(hg_origins_find(origins, cors_of(2), a, 99, &is_approved));
    assert_true(hg_origins_find(origins, cors_of(1), b, 199, &is_approved));
    assert_false(is_approved);
    hg_origins_destroy(origins);
}

static void test_many_take_no_more_room_than_there_is(void **state)
{
    struct hg_origins *origins;
    char text[400];
    bool is_approved;
    unsigned known = 0;
    size_t before = hg_alloc_live_bytes();
    (void)state;
    assert_int_equal(hg_origins_create(&origins), 0);
    for (unsigned i = 0; i < 10000; i++) {
        int len = snprintf(text, sizeof(text), "https://%u.example", i);
        hg_origins_note(origins, cors_of(1), hg_bytes(text, (size_t)len), i % 2 == 0, 100);
    }
    for (unsigned i = 0; i < 10000; i++) {
        int len = snprintf(text, sizeof(text), "https://%u.example", i);
        if (!hg_origins_find(origins, cors_of(1), hg_bytes(text, (size_t)len), 0, &is_approved))
            continue;
        assert_int_equal(is_approved, i % 2 == 0);
        known++;
    }
    assert_true(known > 900 && known <= HG_ORIGINS_SLOTS);
    assert_true(hg_alloc_live_bytes() - before < HG_ORIGINS_SLOTS * 400);
    memset(text, 'x', sizeof(text));
    hg_origins_note(origins, cors_of(1), hg_bytes(text, 256), true, 100);
    assert_false(hg_origins_find(origins, cors_of(1), hg_bytes(text, 256), 0, &is_approved));
    hg_origins_note(origins, cors_of(1), hg_bytes(text, 255), true, 100);
    assert_true(hg_origins_find(origins, cors_of(1), hg_bytes(text, 255), 0, &is_approved));
    hg_origins_destroy(origins);
    assert_int_equal(hg_alloc_live_bytes(), before);
}

static void test_no_memory_only_forgets(void **state)
{
    struct hg_origins *origins = NULL;
    bool is_approved;
    (void)state;
    hg_alloc_fail_at(0, false);
    assert_true(hg_origins_create(&origins) < 0);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(hg_origins_create(&origins), 0);
    hg_alloc_fail_at(0, false);
    hg_origins_note(origins, cors_of(1), HG_BYTES("https://a.example"), true, 100);
    assert_true(hg_alloc_fail_clear());
    assert_false(
        hg_origins_find(origins, cors_of(1), HG_BYTES("https://a.example"), 0, &is_approved));
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
