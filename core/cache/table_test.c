/*
 * The table against an array: seeded steps, with hashes that are real, few, or all equal; then without memory.
 */
#include "cache/table.h"
#include "base/hash.h"
#include "base/testing.h"

#include <stdio.h>

#define KEYS 400

static uint64_t hash_limit; /* hashes are below it: they collide; 0 = real ones */

static uint64_t hash_of(struct hg_bytes key)
{
    return hash_limit > 0 ? hg_hash(key) % hash_limit : hg_hash(key);
}

static struct hg_value *values[KEYS];
static bool is_in[KEYS];

static void values_make(void)
{
    for (size_t i = 0; i < KEYS; i++) {
        char text[16];
        struct hg_value_spec spec = {
            .key = hg_bytes(text, (size_t)snprintf(text, sizeof(text), "k%zu", i))};
        values[i] = hg_value_create(&spec);
        assert_non_null(values[i]);
        is_in[i] = false;
    }
}

static void values_free(void)
{
    for (size_t i = 0; i < KEYS; i++)
        hg_value_unref(values[i]);
}

static uint64_t hash_at(size_t i)
{
    return hash_of(hg_value_key(values[i]));
}

static void table_open(struct hg_table *table)
{
    assert_int_equal(hg_table_init(table), HG_OK);
    table->hash = hash_of;
}

static void compare_all(const struct hg_table *table)
{
    size_t count = 0, walked = 0;
    assert_true(hg_table_validate(table));
    for (size_t i = 0; i < KEYS; i++) {
        struct hg_value *found = hg_table_find(table, hash_at(i), hg_value_key(values[i]));
        assert_ptr_equal(found, is_in[i] ? values[i] : NULL);
        count += is_in[i];
    }
    assert_int_equal(table->count, count);
    for (size_t row = 0; row < hg_table_row_count(table); row++) {
        const struct hg_value *value;
        for (size_t n = 0; (value = hg_table_nth(table, row, n)) != NULL; n++)
            walked++;
    }
    assert_int_equal(walked, count); /* each once, whatever a resize has moved */
}

static void step(struct hg_table *table, struct hg_test_random *random, bool is_filling)
{
    size_t i = hg_test_below(random, KEYS);
    size_t choice = hg_test_below(random, 10);
    if (choice < (is_filling ? 6 : 2)) {
        if (!is_in[i])
            assert_int_equal(hg_table_add(table, hash_at(i), values[i]), HG_OK);
        is_in[i] = true;
    } else if (choice < 8) {
        if (is_in[i])
            hg_table_remove(table, hash_at(i), values[i]);
        is_in[i] = false;
    } else {
        struct hg_value *used = hg_table_use(table, hash_at(i), hg_value_key(values[i]));
        assert_ptr_equal(used, is_in[i] ? values[i] : NULL);
        struct hg_value *like = hg_table_find_hash(table, hash_at(i));
        assert_true(!is_in[i] || hash_of(hg_value_key(like)) == hash_at(i));
    }
    if (hg_test_below(random, 3) == 0)
        hg_table_move(table);
    else
        hg_table_tend(table);
}

static void run(uint64_t seed, uint64_t limit)
{
    struct hg_test_random random = {seed};
    struct hg_table table;
    size_t live_bytes = hg_alloc_live_bytes(), most_rows = 0;
    hash_limit = limit;
    values_make();
    table_open(&table);
    for (int n = 0; n < 8000; n++) {
        step(&table, &random, n / 1000 % 2 == 0);
        size_t rows = hg_table_row_count(&table);
        most_rows = rows > most_rows ? rows : most_rows;
        if (n % 20 == 0)
            compare_all(&table);
    }
    compare_all(&table);
    assert_true(most_rows >= 16); /* it grew, and shrank between */
    for (size_t i = 0; i < KEYS; i++) {
        if (is_in[i])
            hg_table_remove(&table, hash_at(i), values[i]);
    }
    hg_table_finish(&table);
    values_free();
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

static void test_random_steps_agree_with_an_array(void **state)
{
    static const uint64_t limits[] = {0, 1, 3, 50};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(limits); i++) {
        for (uint64_t seed = 1; seed <= 3; seed++)
            run(seed, limits[i]);
    }
}

static void test_what_is_used_comes_to_the_first_line(void **state)
{
    struct hg_table table;
    (void)state;
    hash_limit = 1; /* all in one bucket */
    values_make();
    table_open(&table);
    for (size_t i = 0; i < 3 * HG_BUCKET_SLOTS; i++)
        assert_int_equal(hg_table_add(&table, 0, values[i]), HG_OK);
    const struct hg_value *last = values[3 * HG_BUCKET_SLOTS - 1];
    assert_ptr_equal(hg_table_nth(&table, 0, 3 * HG_BUCKET_SLOTS - 1), last);
    assert_ptr_equal(hg_table_use(&table, 0, hg_value_key(last)), last);
    bool is_first = false;
    for (size_t n = 0; n < HG_BUCKET_SLOTS; n++)
        is_first = is_first || hg_table_nth(&table, 0, n) == last;
    assert_true(is_first);
    assert_true(hg_table_validate(&table));
    for (size_t i = 0; i < 3 * HG_BUCKET_SLOTS; i++)
        hg_table_remove(&table, 0, values[i]);
    hg_table_finish(&table);
    values_free();
}

/* Whatever is refused: an entry is in or not, none is lost, and a resize that could not go on does so later. */
static void test_without_memory_a_resize_waits(void **state)
{
    (void)state;
    hash_limit = 40; /* full buckets, so that halving wants lines that are not there */
    values_make();
    bool refused = true;
    for (size_t nth = 0; refused; nth++) {
        struct hg_table table;
        size_t live_bytes = hg_alloc_live_bytes();
        table_open(&table);
        hg_alloc_fail_at(nth / 2, nth % 2 == 1);
        for (size_t i = 0; i < KEYS; i++) {
            is_in[i] = hg_table_add(&table, hash_at(i), values[i]) == HG_OK;
            hg_table_tend(&table);
        }
        compare_all(&table);
        for (size_t i = 0; i < KEYS; i++) {
            if (is_in[i] && i % 8 != 0) {
                hg_table_remove(&table, hash_at(i), values[i]);
                is_in[i] = false;
            }
            hg_table_tend(&table);
        }
        compare_all(&table);
        refused = hg_alloc_fail_clear();
        for (size_t n = 0; n < 100; n++)
            hg_table_tend(&table);
        assert_null(table.old_buckets);
        compare_all(&table);
        for (size_t i = 0; i < KEYS; i++) {
            if (is_in[i])
                hg_table_remove(&table, hash_at(i), values[i]);
        }
        hg_table_finish(&table);
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
        assert_true(refused || nth > 20);
    }
    values_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_steps_agree_with_an_array),
        cmocka_unit_test(test_what_is_used_comes_to_the_first_line),
        cmocka_unit_test(test_without_memory_a_resize_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
