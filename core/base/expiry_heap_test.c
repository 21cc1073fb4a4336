#include "base/expiry_heap.h"

#include "base/testing.h"

#define ITEMS 200

static void test_first_due_is_the_earliest_of_a_model(void **state)
{
    (void)state;
    struct hg_test_random random = {0x5eed};
    struct hg_expiry_heap heap = {0};
    struct hg_expiry_item items[ITEMS];

    for (size_t i = 0; i < ITEMS; i++)
        items[i] = (struct hg_expiry_item){.index = HG_EXPIRY_NONE};
    for (unsigned step = 0; step < 20000; step++) {
        struct hg_expiry_item *item = &items[hg_test_below(&random, ITEMS)];
        if (item->index == HG_EXPIRY_NONE) {
            item->expires_ms = hg_test_below(&random, 50);
            assert_int_equal(hg_expiry_heap_reserve(&heap), HG_OK);
            hg_expiry_heap_add(&heap, item);
        } else {
            hg_expiry_heap_remove(&heap, item);
            hg_expiry_heap_remove(&heap, item); /* in no heap: nothing */
        }
        hg_expiry_heap_validate(&heap);

        uint64_t first_ms = UINT64_MAX;
        for (size_t i = 0; i < ITEMS; i++)
            if (items[i].index != HG_EXPIRY_NONE && items[i].expires_ms < first_ms)
                first_ms = items[i].expires_ms;
        struct hg_expiry_item *due = hg_expiry_heap_due(&heap, 49);
        if (first_ms == UINT64_MAX) {
            assert_null(due);
            continue;
        }
        assert_int_equal(due->expires_ms, first_ms);
        if (first_ms > 0)
            assert_null(hg_expiry_heap_due(&heap, first_ms - 1));
    }
    hg_expiry_heap_finish(&heap);
}

static int fill(void *ctx)
{
    struct hg_expiry_item *items = ctx;
    struct hg_expiry_heap heap = {0};
    int err = HG_OK;
    for (size_t i = 0; i < ITEMS && err == HG_OK; i++) {
        items[i].expires_ms = ITEMS - i;
        err = hg_expiry_heap_reserve(&heap);
        if (err == HG_OK)
            hg_expiry_heap_add(&heap, &items[i]);
    }
    hg_expiry_heap_validate(&heap);
    hg_expiry_heap_finish(&heap);
    return err;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct hg_expiry_item items[ITEMS];
    assert_true(hg_test_sweep(fill, items) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_due_is_the_earliest_of_a_model),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
