#include "cache/seats.h"
#include "base/testing.h"

#include <stdio.h>

#define VALUES 100

struct seat {
    struct hg_seat base;
    size_t number; /* goes with the value */
};

static struct hg_value *make(size_t number)
{
    char text[16];
    struct hg_value_spec spec = {
        .key = hg_bytes(text, (size_t)snprintf(text, sizeof(text), "k%zu", number))};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    value->stored = true; /* as if a store had it */
    return value;
}

static void test_a_value_keeps_what_is_at_its_seat(void **state)
{
    struct hg_test_random random = {3};
    struct hg_value *values[VALUES];
    bool has_seat[VALUES] = {false};
    struct hg_seats seats;
    size_t count = 0;
    (void)state;
    hg_seats_init(&seats, sizeof(struct seat));
    for (size_t i = 0; i < VALUES; i++)
        values[i] = make(i);
    for (int step = 0; step < 5000; step++) {
        size_t i = hg_test_below(&random, VALUES);
        bool is_filling = step / 700 % 2 == 0;
        if (!has_seat[i] && hg_test_below(&random, 4) < (is_filling ? 4 : 1)) {
            struct seat *seat = hg_seats_add(&seats, values[i]);
            seat->number = i;
            has_seat[i] = true;
            count++;
        } else if (has_seat[i] && hg_test_below(&random, 4) >= (is_filling ? 3 : 0)) {
            hg_seats_remove(&seats, values[i]);
            has_seat[i] = false;
            count--;
        }
        assert_true(hg_seats_validate(&seats, count));
        const struct seat *seat = hg_seats_of(&seats, values[i]);
        assert_int_equal(seat != NULL, has_seat[i]);
        assert_true(seat == NULL || (seat->number == i && seat->base.value == values[i]));
    }
    hg_seats_finish(&seats);
    for (size_t i = 0; i < VALUES; i++)
        hg_value_unref(values[i]);
}

static void test_without_memory_there_is_no_seat(void **state)
{
    struct hg_seats seats;
    (void)state;
    struct hg_value *value = make(1);
    hg_seats_init(&seats, sizeof(struct seat));
    hg_alloc_fail_at(0, false);
    assert_null(hg_seats_add(&seats, value));
    assert_true(hg_alloc_fail_clear());
    assert_true(hg_seats_validate(&seats, 0));
    assert_non_null(hg_seats_add(&seats, value));
    hg_seats_finish(&seats);
    hg_value_unref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_value_keeps_what_is_at_its_seat),
        cmocka_unit_test(test_without_memory_there_is_no_seat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
