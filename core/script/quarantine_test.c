#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "script/quarantine.h"

static struct hg_quarantine quarantine;

static void test_key_is_let_in_again_after_its_time(void **state)
{
    (void)state;
    hg_quarantine_init(&quarantine);
    assert_int_equal(hg_quarantine_left(&quarantine, 0, HG_BYTES("k"), 1000), 0);
    assert_int_equal(hg_quarantine_add(&quarantine, 0, HG_BYTES("k"), 1000), 60000);
    assert_int_equal(hg_quarantine_left(&quarantine, 0, HG_BYTES("k"), 1000), 60000);
    assert_int_equal(hg_quarantine_left(&quarantine, 0, HG_BYTES("k"), 60999), 1);
    assert_int_equal(hg_quarantine_left(&quarantine, 0, HG_BYTES("k"), 61000), 0);
    assert_int_equal(hg_quarantine_left(&quarantine, 1, HG_BYTES("k"), 1000), 0);
    assert_int_equal(hg_quarantine_left(&quarantine, 0, HG_BYTES("k2"), 1000), 0);
    hg_quarantine_finish(&quarantine);
}

static void test_time_doubles_up_to_an_hour_and_is_forgotten(void **state)
{
    uint64_t now_ms = 1000, expected = 60000;
    (void)state;
    hg_quarantine_init(&quarantine);
    for (int i = 0; i < 12; i++) {
        uint64_t length = hg_quarantine_add(&quarantine, 0, HG_BYTES("k"), now_ms);
        assert_int_equal(length, expected);
        now_ms += length;
        expected = expected * 2 > 3600000 ? 3600000 : expected * 2;
    }
    assert_int_equal(hg_quarantine_add(&quarantine, 0, HG_BYTES("k"), now_ms + 3600000 * 4), 60000);
    hg_quarantine_finish(&quarantine);
}

static void test_table_is_bounded_and_the_newest_stay(void **state)
{
    size_t before = hg_alloc_live_bytes();
    (void)state;
    hg_quarantine_init(&quarantine);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(hg_quarantine_add(&quarantine, 0, hg_bytes(&i, sizeof(i)), 1000 + i) > 0);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(hg_quarantine_left(&quarantine, 0, hg_bytes(&i, sizeof(i)), 2000) > 0,
                         i >= 1000 - HG_QUARANTINE_MAX);
    hg_quarantine_finish(&quarantine);
    assert_int_equal(hg_alloc_live_bytes(), before);
}

static void test_out_of_memory_adds_nothing(void **state)
{
    (void)state;
    hg_quarantine_init(&quarantine);
    hg_alloc_fail_at(0, false);
    assert_int_equal(hg_quarantine_add(&quarantine, 0, HG_BYTES("k"), 1000), 0);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(hg_quarantine_left(&quarantine, 0, HG_BYTES("k"), 1000), 0);
    hg_quarantine_finish(&quarantine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_is_let_in_again_after_its_time),
        cmocka_unit_test(test_time_doubles_up_to_an_hour_and_is_forgotten),
        cmocka_unit_test(test_table_is_bounded_and_the_newest_stay),
        cmocka_unit_test(test_out_of_memory_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
