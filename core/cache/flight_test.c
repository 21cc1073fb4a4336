#include "cache/flight.h"
#include "base/hash.h"
#include "base/testing.h"

#include <stdio.h>

static void test_flights_are_told_apart_by_key_and_kind(void **state)
{
    struct hg_flights flights;
    struct hg_flight local, remote, other;
    (void)state;
    assert_int_equal(hg_flights_init(&flights), HG_OK);
    hg_flight_init(&local, HG_FLIGHT_LOCAL, 7, HG_BYTES("k"));
    hg_flight_init(&remote, HG_FLIGHT_REMOTE, 7, HG_BYTES("k"));
    hg_flight_init(&other, HG_FLIGHT_LOCAL, 7, HG_BYTES("k2")); /* equal hash */
    hg_flight_begin(&flights, &local);
    assert_null(hg_flight_find(&flights, HG_FLIGHT_REMOTE, 7, HG_BYTES("k")));
    assert_null(hg_flight_find(&flights, HG_FLIGHT_LOCAL, 7, HG_BYTES("k2")));
    assert_null(hg_flight_find(&flights, HG_FLIGHT_LOCAL, 8, HG_BYTES("k")));
    hg_flight_begin(&flights, &remote);
    hg_flight_begin(&flights, &other);
    assert_ptr_equal(hg_flight_find(&flights, HG_FLIGHT_LOCAL, 7, HG_BYTES("k")), &local);
    assert_ptr_equal(hg_flight_find(&flights, HG_FLIGHT_REMOTE, 7, HG_BYTES("k")), &remote);
    assert_ptr_equal(hg_flight_find(&flights, HG_FLIGHT_LOCAL, 7, HG_BYTES("k2")), &other);
    assert_true(hg_flights_validate(&flights));
    hg_flight_end(&flights, &local);
    assert_false(local.listed);
    assert_null(hg_flight_find(&flights, HG_FLIGHT_LOCAL, 7, HG_BYTES("k")));
    hg_flight_end(&flights, &other);
    hg_flight_end(&flights, &remote);
    assert_int_equal(flights.count, 0);
    hg_flights_finish(&flights);
    hg_flights_finish(&flights); /* zeroed memory is fine */
    hg_flights_finish(NULL);
}

static void assert_waiters(struct hg_flight *flight, struct hg_list **waiters, size_t count)
{
    size_t i = 0;
    assert_int_equal(flight->waiter_count, count);
    hg_list_for_each(waiter, &flight->waiters)
    {
        assert_true(i < count);
        assert_ptr_equal(waiter, waiters[i++]);
    }
    assert_int_equal(i, count);
}

static void test_waiters_stay_in_order_of_joining(void **state)
{
    struct hg_flight flight;
    struct hg_list a, b, c;
    (void)state;
    hg_flight_init(&flight, HG_FLIGHT_LOCAL, 1, HG_BYTES("k"));
    assert_waiters(&flight, NULL, 0);
    hg_flight_join(&flight, &a);
    hg_flight_join(&flight, &b);
    hg_flight_join(&flight, &c);
    assert_waiters(&flight, (struct hg_list *[]){&a, &b, &c}, 3);
    hg_flight_leave(&flight, &b);
    assert_true(hg_list_is_empty(&b));
    assert_waiters(&flight, (struct hg_list *[]){&a, &c}, 2);
}

static void test_splice_puts_waiters_behind_and_empties_the_source(void **state)
{
    struct hg_flight to, from;
    struct hg_list waiters[6];
    struct hg_list *all[6];
    (void)state;
    for (size_t left = 0; left <= 3; left++) {
        for (size_t right = 0; right <= 3; right++) {
            hg_flight_init(&to, HG_FLIGHT_LOCAL, 1, HG_BYTES("k"));
            hg_flight_init(&from, HG_FLIGHT_REMOTE, 1, HG_BYTES("k"));
            for (size_t i = 0; i < left + right; i++) {
                all[i] = &waiters[i];
                hg_flight_join(i < left ? &to : &from, &waiters[i]);
            }
            hg_flight_splice(&to, &from);
            assert_waiters(&to, all, left + right);
            assert_waiters(&from, NULL, 0);
        }
    }
}

static void test_waiters_stay_on_a_flight_that_ended(void **state)
{
    struct hg_flights flights;
    struct hg_flight flight;
    struct hg_list waiter;
    (void)state;
    assert_int_equal(hg_flights_init(&flights), HG_OK);
    hg_flight_init(&flight, HG_FLIGHT_LOCAL, 1, HG_BYTES("k"));
    hg_flight_begin(&flights, &flight);
    hg_flight_join(&flight, &waiter);
    hg_flight_end(&flights, &flight);
    assert_waiters(&flight, (struct hg_list *[]){&waiter}, 1);
    hg_flights_finish(&flights);
}

/* ---- against a stupid model: an array that says who is in the air and who waits where ---- */

#define KEYS    300
#define WAITERS 400

struct model {
    struct hg_flights flights;
    struct hg_flight all[2][KEYS];
    char names[KEYS][8];
    struct hg_list waiters[WAITERS];
    int at[WAITERS]; /* kind * KEYS + key, or -1 */
};

static struct hg_flight *flight_at(struct model *model, int place)
{
    return &model->all[place / KEYS][place % KEYS];
}

static uint64_t hash_of(const struct model *model, size_t key, bool collide)
{
    return collide ? key % 3 : hg_hash(hg_bytes_str(model->names[key]));
}

static void model_compare(struct model *model, bool collide)
{
    size_t listed = 0, waiting[2][KEYS] = {0};
    for (size_t i = 0; i < WAITERS; i++) {
        if (model->at[i] >= 0)
            waiting[model->at[i] / KEYS][model->at[i] % KEYS]++;
    }
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t key = 0; key < KEYS; key++) {
            struct hg_flight *flight = &model->all[kind][key];
            struct hg_flight *found =
                hg_flight_find(&model->flights, (enum hg_flight_kind)kind,
                               hash_of(model, key, collide), hg_bytes_str(model->names[key]));
            assert_ptr_equal(found, flight->listed ? flight : NULL);
            assert_int_equal(flight->waiter_count, waiting[kind][key]);
            listed += flight->listed;
        }
    }
    assert_int_equal(model->flights.count, listed);
    assert_true(hg_flights_validate(&model->flights));
}

static void model_step(struct model *model, struct hg_test_random *random)
{
    int place = (int)hg_test_below(random, 2 * KEYS);
    struct hg_flight *flight = flight_at(model, place);
    size_t waiter = hg_test_below(random, WAITERS);
    switch (hg_test_below(random, 4)) {
    case 0:
    case 1:
        if (!flight->listed)
            hg_flight_begin(&model->flights, flight);
        if (model->at[waiter] < 0) {
            hg_flight_join(flight, &model->waiters[waiter]);
            model->at[waiter] = place;
        }
        break;
    case 2:
        if (model->at[waiter] >= 0) {
            hg_flight_leave(flight_at(model, model->at[waiter]), &model->waiters[waiter]);
            model->at[waiter] = -1;
        }
        break;
    default: {
        struct hg_flight *to = flight_at(model, (place + KEYS) % (2 * KEYS)); /* its other kind */
        if (!flight->listed)
            break;
        if (to->listed) {
            hg_flight_splice(to, flight);
            for (size_t i = 0; i < WAITERS; i++) {
                if (model->at[i] == place)
                    model->at[i] = (place + KEYS) % (2 * KEYS);
            }
        }
        hg_flight_end(&model->flights, flight);
        while (hg_list_pop_front(&flight->waiters) != NULL)
            flight->waiter_count--;
        for (size_t i = 0; i < WAITERS; i++) {
            if (model->at[i] == place)
                model->at[i] = -1;
        }
    }
    }
}

static void run_random_steps(uint64_t seed, bool collide, bool without_memory)
{
    static struct model model;
    struct hg_test_random random = {seed};
    assert_int_equal(hg_flights_init(&model.flights), HG_OK);
    for (size_t key = 0; key < KEYS; key++) {
        snprintf(model.names[key], sizeof(model.names[key]), "k%zu", key);
        for (int kind = 0; kind < 2; kind++)
            hg_flight_init(&model.all[kind][key], (enum hg_flight_kind)kind,
                           hash_of(&model, key, collide), hg_bytes_str(model.names[key]));
    }
    for (size_t i = 0; i < WAITERS; i++)
        model.at[i] = -1;
    if (without_memory)
        hg_alloc_fail_at(0, true);
    for (int step = 0; step < 4000; step++) {
        model_step(&model, &random);
        if (step % 100 == 0)
            model_compare(&model, collide);
    }
    model_compare(&model, collide);
    assert_int_equal(hg_alloc_fail_clear(), without_memory); /* it wanted to grow, and could not */
    assert_int_equal(model.flights.mask + 1 > 64, !without_memory);
    for (int place = 0; place < 2 * KEYS; place++) {
        if (flight_at(&model, place)->listed)
            hg_flight_end(&model.flights, flight_at(&model, place));
    }
    hg_flights_finish(&model.flights);
}

static void test_random_steps_agree_with_a_model(void **state)
{
    (void)state;
    size_t live_bytes = hg_alloc_live_bytes();
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %d\n", (int)seed);
        run_random_steps(seed, seed % 4 == 0, false);
    }
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

static void test_without_memory_chains_get_longer_and_nothing_else(void **state)
{
    (void)state;
    run_random_steps(99, false, true);
}

static int init_and_finish(void *ctx)
{
    struct hg_flights flights;
    (void)ctx;
    int err = hg_flights_init(&flights);
    if (err == HG_OK)
        hg_flights_finish(&flights);
    return err;
}

static void test_a_table_that_cannot_be_had_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(hg_test_sweep(init_and_finish, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flights_are_told_apart_by_key_and_kind),
        cmocka_unit_test(test_waiters_stay_in_order_of_joining),
        cmocka_unit_test(test_splice_puts_waiters_behind_and_empties_the_source),
        cmocka_unit_test(test_waiters_stay_on_a_flight_that_ended),
        cmocka_unit_test(test_random_steps_agree_with_a_model),
        cmocka_unit_test(test_without_memory_chains_get_longer_and_nothing_else),
        cmocka_unit_test(test_a_table_that_cannot_be_had_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
