#include "cache/order.h"
#include "base/testing.h"

#define VALUES 6

static void test_links_agree_whatever_moves(void **state)
{
    struct hg_test_random random = {7};
    struct hg_order order = {0};
    struct hg_value *values[VALUES], *model[VALUES]; /* first to last */
    size_t count = 0;
    (void)state;
    for (size_t i = 0; i < VALUES; i++) {
        struct hg_value_spec spec = {.key = HG_BYTES("k")};
        values[i] = hg_value_create(&spec);
        assert_non_null(values[i]);
        values[i]->stored = true; /* as if a store had it */
    }
    for (int step = 0; step < 3000; step++) {
        struct hg_value *value = values[hg_test_below(&random, VALUES)];
        size_t at = 0;
        while (at < count && model[at] != value)
            at++;
        bool is_in = at < count;
        bool goes = is_in && hg_test_below(&random, 2) == 0;
        if (is_in)
            memmove(&model[at], &model[at + 1], (--count - at) * sizeof(*model));
        if (goes) {
            hg_order_remove(&order, value);
        } else {
            size_t to = is_in ? 0 : hg_test_below(&random, count + 1);
            if (is_in)
                hg_order_to_front(&order, value);
            else
                hg_order_insert(&order, value, to == 0 ? NULL : model[to - 1],
                                to == count ? NULL : model[to]);
            memmove(&model[to + 1], &model[to], (count++ - to) * sizeof(*model));
            model[to] = value;
        }
        assert_true(hg_order_validate(&order, count));
        assert_false(hg_order_validate(&order, count + 1));
        const struct hg_value *next = order.first;
        for (size_t i = 0; i < count; i++, next = hg_order_next(next))
            assert_ptr_equal(next, model[i]);
    }
    for (size_t i = 0; i < VALUES; i++)
        hg_value_unref(values[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_agree_whatever_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
