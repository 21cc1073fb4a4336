/*
 * A million keys in and out again: no operation moves more than a row of the table, and no entry
 * is lost while the table is between two sizes.
 */
#include "cache/store.h"
#include "base/hash.h"
#include "base/testing.h"

#include <stdio.h>

#define KEYS       1000000
#define ROWS_MOVED 1  /* what an operation may move */
#define PROBES_MAX 64 /* FAULTS: probe length under flooding */
#define FIRST_ROWS 2

static struct hg_budget budget;
static struct hg_store store;

static struct hg_bytes key_make(char buf[24], size_t number)
{
    return hg_bytes(buf, (size_t)snprintf(buf, 24, "user:%zu", number));
}

struct moment {
    struct hg_table table;
    size_t row_count;
};

static struct moment now(void)
{
    return (struct moment){store.table, hg_table_row_count(&store.table)};
}

/* Rows moved between two moments that are one operation apart. */
static size_t moved_since(struct moment before)
{
    if (before.table.old_buckets == NULL)
        return store.table.old_buckets == NULL ? 0 : store.table.move_index;
    if (store.table.old_buckets == NULL)
        return before.row_count - before.table.move_index;
    /* One resize ends before the next begins. */
    assert_ptr_equal(store.table.buckets, before.table.buckets);
    return store.table.move_index - before.table.move_index;
}

static struct {
    size_t most_moved, resizes;
} seen;

static void count_moves(struct moment before)
{
    size_t moved = moved_since(before);
    seen.most_moved = moved > seen.most_moved ? moved : seen.most_moved;
    seen.resizes += before.table.buckets != store.table.buckets;
    assert_true(moved <= ROWS_MOVED);
}

static bool look_up(size_t number)
{
    char buf[24];
    struct hg_bytes key = key_make(buf, number);
    struct moment before = now();
    struct hg_value *value = hg_store_get(&store, hg_hash(key), key);
    count_moves(before);
    assert_true(value == NULL || hg_bytes_eq(hg_value_key(value), key));
    return value != NULL;
}

static size_t fullest_row(void)
{
    size_t fullest = 0;
    assert_null(store.table.old_buckets);
    for (size_t row = 0; row < hg_table_row_count(&store.table); row++) {
        size_t count = 0;
        while (hg_table_nth(&store.table, row, count) != NULL)
            count++;
        fullest = count > fullest ? count : fullest;
    }
    return fullest;
}

static void put(size_t number)
{
    char buf[24];
    struct hg_value_spec spec = {.key = key_make(buf, number)};
    struct hg_value *value = hg_value_create(&spec);
    struct moment before = now();
    assert_int_equal(hg_store_put(&store, value, HG_TIER_MAIN, 0, number % 2 == 0 ? 10 : 20),
                     HG_OK);
    count_moves(before);
    hg_value_unref(value);
}

static bool erase(size_t number)
{
    char buf[24];
    struct hg_bytes key = key_make(buf, number);
    struct moment before = now();
    bool found = hg_store_remove(&store, hg_hash(key), key, HG_EVICT_REMOVED);
    count_moves(before);
    return found;
}

static void begin(void)
{
    memset(&seen, 0, sizeof(seen));
    hg_budget_init(&budget, SIZE_MAX / 2, 0, 0);
    assert_int_equal(hg_store_init(&store, &budget, NULL, NULL), HG_OK);
}

static void fill(struct hg_test_random *random, size_t keys)
{
    for (size_t i = 0; i < keys; i++) {
        put(i);
        size_t number = hg_test_below(random, keys);
        if (i % 4 == 0)
            assert_int_equal(look_up(number), number <= i);
    }
}

static void test_a_million_keys_move_a_row_at_a_time(void **state)
{
    struct hg_test_random random = {1};
    (void)state;
    begin();
    fill(&random, KEYS);
    assert_int_equal(seen.most_moved, ROWS_MOVED);
    assert_true(seen.resizes >= 15);
    assert_true(hg_store_validate(&store));
    while (store.table.old_buckets != NULL)
        look_up(0); /* a look-up moves its share, too */
    assert_true(hg_table_row_count(&store.table) >= KEYS / HG_BUCKET_LOAD / 2);
    assert_true(fullest_row() <= PROBES_MAX);
    for (size_t i = 0; i < KEYS; i++)
        assert_true(look_up(i));

    for (size_t i = 0; i < KEYS; i++) {
        assert_true(erase(i));
        size_t number = hg_test_below(&random, KEYS);
        if (i % 4 == 0)
            assert_int_equal(look_up(number), number > i);
        if (i == KEYS / 10 * 9)
            assert_true(hg_table_row_count(&store.table) <=
                        KEYS / HG_BUCKET_LOAD); /* shrinks while it empties */
    }
    for (size_t i = 0; i < KEYS / 8; i++)
        assert_false(erase(i));
    assert_int_equal(hg_table_row_count(&store.table), FIRST_ROWS);
    assert_int_equal(seen.most_moved, ROWS_MOVED);
    assert_true(hg_store_validate(&store));
    assert_int_equal(atomic_load(&budget.used), 0);
    hg_store_finish(&store);
}

/* The hand's work and what it moves are bounded, and two rounds free all that is dead, resizing or
 * not. */
static void test_hand_finds_all_in_two_rounds_while_the_table_resizes(void **state)
{
    enum { COUNT = 20000, ADDED = 50000 };
    struct hg_test_random random = {2};
    (void)state;
    begin();
    fill(&random, COUNT);
    size_t freed = 0, looked = 0, resizes = seen.resizes;
    for (size_t i = 0; i < ADDED; i++) {
        put(COUNT + 2 * i + 1); /* odd: fresh until 20 */
        struct moment before = now();
        freed += hg_store_expire_step(&store, 10, 3);
        count_moves(before);
        looked += 3;
        if (i % 1000 == 0)
            assert_true(hg_store_validate(&store));
    }
    assert_true(seen.resizes > resizes);
    assert_true(looked >= 2 * hg_table_row_count(&store.table)); /* so it has been round twice */
    assert_int_equal(freed, COUNT / 2);

    /* And while it shrinks. */
    freed = 0;
    for (size_t i = 0; freed < COUNT / 2 + ADDED; i++) {
        assert_true(i < 4 * (COUNT + ADDED));
        struct moment before = now();
        freed += hg_store_expire_step(&store, 20, 1);
        count_moves(before);
    }
    assert_int_equal(store.table.count, 0);
    assert_true(hg_store_validate(&store));
    hg_store_finish(&store);
}

static void test_look_ups_alone_end_a_resize(void **state)
{
    (void)state;
    begin();
    size_t count = 0;
    while (count < 5000 || store.table.old_buckets == NULL)
        put(count++);
    size_t row_count = hg_table_row_count(&store.table), needed = 0;
    for (; store.table.old_buckets != NULL && needed <= row_count; needed++)
        assert_true(look_up(needed % count));
    assert_null(store.table.old_buckets);
    assert_true(needed <= row_count / ROWS_MOVED + 1);
    hg_store_finish(&store);
}

static void test_clear_and_finish_in_the_middle_of_a_resize(void **state)
{
    (void)state;
    size_t live_bytes = hg_alloc_live_bytes();
    for (int round = 0; round < 2; round++) {
        begin();
        size_t count = 0;
        while (count < 5000 || store.table.old_buckets == NULL || store.table.move_index == 0)
            put(count++);
        if (round == 0) {
            hg_store_clear(&store);
            assert_true(hg_store_validate(&store));
            for (size_t i = 0; i < 5000; i++) {
                assert_false(look_up(i));
                put(i);
                assert_true(look_up(i));
            }
            assert_true(hg_store_validate(&store));
        }
        hg_store_finish(&store);
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_million_keys_move_a_row_at_a_time),
        cmocka_unit_test(test_hand_finds_all_in_two_rounds_while_the_table_resizes),
        cmocka_unit_test(test_look_ups_alone_end_a_resize),
        cmocka_unit_test(test_clear_and_finish_in_the_middle_of_a_resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
