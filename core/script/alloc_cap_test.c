#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "script/alloc_cap.h"

static size_t used(struct hg_alloc_cap *cap)
{
    return atomic_load(&cap->used_bytes);
}

static void test_every_byte_up_to_the_cap_is_given_and_none_past_it(void **state)
{
    struct hg_alloc_cap cap = {.limit_bytes = 1000};
    (void)state;
    void *a = hg_alloc_cap(&cap, NULL, 0, 600);
    assert_non_null(a);
    assert_null(hg_alloc_cap(&cap, NULL, 0, 401));
    assert_int_equal(cap.refused, 1);
    void *b = hg_alloc_cap(&cap, NULL, 0, 400);
    assert_non_null(b);
    assert_int_equal(used(&cap), 1000);
    assert_null(hg_alloc_cap(&cap, b, 400, 401));
    assert_int_equal(used(&cap), 1000);
    b = hg_alloc_cap(&cap, b, 400, 100);
    assert_int_equal(used(&cap), 700);
    a = hg_alloc_cap(&cap, a, 600, 900);
    assert_int_equal(used(&cap), 1000);
    assert_null(hg_alloc_cap(&cap, a, 900, 0));
    assert_null(hg_alloc_cap(&cap, b, 100, 0));
    assert_int_equal(used(&cap), 0);
}

static void test_blocks_shrink_even_above_the_cap(void **state)
{
    struct hg_alloc_cap cap = {.limit_bytes = 1000};
    (void)state;
    void *a = hg_alloc_cap(&cap, NULL, 0, 1000);
    cap.limit_bytes = 10;
    a = hg_alloc_cap(&cap, a, 1000, 999);
    assert_non_null(a);
    assert_null(hg_alloc_cap(&cap, NULL, 0, 1));
    hg_alloc_cap(&cap, a, 999, 0);
    assert_int_equal(used(&cap), 0);
}

static void test_sizes_near_the_maximum_do_not_overflow(void **state)
{
    struct hg_alloc_cap cap = {.limit_bytes = 1000};
    (void)state;
    void *a = hg_alloc_cap(&cap, NULL, 0, 500);
    assert_null(hg_alloc_cap(&cap, NULL, 0, SIZE_MAX));
    assert_null(hg_alloc_cap(&cap, a, 500, SIZE_MAX - 499));
    /* The old size of a new block is no size but a kind of object in some versions of Lua. */
    void *b = hg_alloc_cap(&cap, NULL, 5, 100);
    assert_int_equal(used(&cap), 600);
    hg_alloc_cap(&cap, a, 500, 0);
    hg_alloc_cap(&cap, b, 100, 0);
    assert_int_equal(used(&cap), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_up_to_the_cap_is_given_and_none_past_it),
        cmocka_unit_test(test_blocks_shrink_even_above_the_cap),
        cmocka_unit_test(test_sizes_near_the_maximum_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
