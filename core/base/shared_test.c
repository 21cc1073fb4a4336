#include "base/shared.h"

#include <pthread.h>
#include <stdio.h>
#include "base/testing.h"
#include "base/units.h"

#define KEYS 64

static struct hg_shared *create(size_t capacity_bytes, size_t entries_max,
                                struct hg_shared_table **out_table)
{
    struct hg_shared_config config = {capacity_bytes, entries_max};
    struct hg_shared *shared;
    assert_int_equal(hg_shared_create(&config, &shared), HG_OK);
    assert_int_equal(hg_shared_open(shared, "t", out_table), HG_OK);
    return shared;
}

static struct hg_shared_value text(const char *bytes)
{
    return (struct hg_shared_value){.kind = HG_SHARED_STRING, .bytes = hg_bytes_str(bytes)};
}

static struct hg_shared_value number(double value)
{
    return (struct hg_shared_value){.kind = HG_SHARED_NUMBER, .number = value};
}

static int set(struct hg_shared_table *table, const char *key, struct hg_shared_value value,
               uint64_t expires_ms, uint64_t now_ms)
{
    return hg_shared_set(table, hg_bytes_str(key), &value, expires_ms, now_ms);
}

static void assert_text(struct hg_shared_table *table, const char *key, uint64_t now_ms,
                        const char *wanted)
{
    struct hg_shared_value value;
    uint64_t expires_ms;
    char buf[256];
    int err =
        hg_shared_get(table, hg_bytes_str(key), now_ms, buf, sizeof(buf), &value, &expires_ms);
    assert_int_equal(err, wanted == NULL ? HG_ENOENT : HG_OK);
    if (wanted == NULL)
        return;
    assert_int_equal(value.kind, HG_SHARED_STRING);
    assert_true(hg_bytes_eq(value.bytes, hg_bytes_str(wanted)));
}

static void test_a_value_is_what_was_set_last(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(1 << 20, 1000, &table);
    struct hg_shared_value value;
    uint64_t expires_ms;
    char buf[4];

    assert_text(table, "k", 0, NULL);
    assert_int_equal(set(table, "k", text("one"), HG_FOREVER, 0), HG_OK);
    assert_text(table, "k", 0, "one");
    assert_int_equal(set(table, "k", text("two"), HG_FOREVER, 0), HG_OK);
    assert_text(table, "k", 0, "two");
    assert_int_equal(set(table, "k", text("longer"), 10, 0), HG_OK);
    assert_text(table, "k", 9, "longer");
    assert_int_equal(set(table, "k", text(""), HG_FOREVER, 9), HG_OK);
    assert_text(table, "k", 100, "");
    assert_int_equal(set(table, "k", number(-1.5), 200, 100), HG_OK);
    assert_int_equal(
        hg_shared_get(table, HG_BYTES("k"), 100, buf, sizeof(buf), &value, &expires_ms), HG_OK);
    assert_int_equal(value.kind, HG_SHARED_NUMBER);
    assert_true(value.number == -1.5);
    assert_int_equal(expires_ms, 200);

    /* A buffer that is too small learns what is wanted. */
    assert_int_equal(set(table, "k", text("12345"), HG_FOREVER, 100), HG_OK);
    assert_int_equal(
        hg_shared_get(table, HG_BYTES("k"), 100, buf, sizeof(buf), &value, &expires_ms), HG_OK);
    assert_null(value.bytes.data);
    assert_int_equal(value.bytes.len, 5);

    assert_true(hg_shared_delete(table, HG_BYTES("k"), 100));
    assert_false(hg_shared_delete(table, HG_BYTES("k"), 100));
    assert_text(table, "k", 100, NULL);
    hg_shared_validate(table);
    hg_shared_destroy(shared);
}

static void test_a_replacement_costs_what_it_is(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(1 << 20, 1000, &table);
    struct hg_shared_stats small, large, again;

    assert_int_equal(set(table, "k", number(1), HG_FOREVER, 0), HG_OK);
    hg_shared_stats(table, &small);
    char bytes[200] = {0};
    memset(bytes, 'x', sizeof(bytes) - 1);
    assert_int_equal(set(table, "k", text(bytes), HG_FOREVER, 0), HG_OK);
    hg_shared_stats(table, &large);
    assert_in_range(large.bytes - small.bytes, 150, 250);
    assert_int_equal(set(table, "k", number(1), HG_FOREVER, 0), HG_OK);
    hg_shared_stats(table, &again);
    assert_int_equal(again.bytes, small.bytes);
    assert_int_equal(again.entries, 1);
    hg_shared_validate(table);
    hg_shared_destroy(shared);
}

static void test_an_entry_ends_at_its_moment(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(1 << 20, 1000, &table);
    struct hg_shared_stats stats;

    assert_int_equal(set(table, "k", text("v"), 1000, 0), HG_OK);
    assert_text(table, "k", 999, "v");
    assert_text(table, "k", 1000, NULL);
    assert_int_equal(set(table, "k", text("v"), 1000, 0), HG_OK);
    assert_false(hg_shared_delete(table, HG_BYTES("k"), 1000));
    hg_shared_stats(table, &stats);
    assert_int_equal(stats.expired, 2);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    hg_shared_destroy(shared);
}

static void test_add_is_refused_where_there_is_one(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(1 << 20, 1000, &table);
    struct hg_shared_value a = text("a"), b = text("b");

    assert_int_equal(hg_shared_add(table, HG_BYTES("lock"), &a, 1000, 0), HG_OK);
    assert_int_equal(hg_shared_add(table, HG_BYTES("lock"), &b, 1000, 999), HG_PENDING);
    assert_text(table, "lock", 999, "a");
    assert_int_equal(hg_shared_add(table, HG_BYTES("lock"), &b, 2000, 1000), HG_OK);
    assert_text(table, "lock", 1000, "b");
    hg_shared_destroy(shared);
}

static void test_incr_begins_with_init_and_keeps_the_first_end(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(1 << 20, 1000, &table);
    double now = 0;
    uint64_t ends_ms = 0;

    assert_int_equal(hg_shared_incr(table, HG_BYTES("n"), 1, 10, 1000, 0, &now, &ends_ms), HG_OK);
    assert_true(now == 11);
    assert_int_equal(ends_ms, 1000);
    assert_int_equal(hg_shared_incr(table, HG_BYTES("n"), -0.5, 0, 5000, 500, &now, &ends_ms),
                     HG_OK);
    assert_true(now == 10.5);
    assert_int_equal(ends_ms, 1000);
    assert_int_equal(hg_shared_incr(table, HG_BYTES("n"), 1, 0, HG_FOREVER, 1000, &now, &ends_ms),
                     HG_OK);
    assert_true(now == 1);
    assert_true(ends_ms == HG_FOREVER);

    assert_int_equal(set(table, "s", text("7"), HG_FOREVER, 0), HG_OK);
    assert_int_equal(hg_shared_incr(table, HG_BYTES("s"), 1, 0, HG_FOREVER, 0, &now, &ends_ms),
                     HG_EINVAL);
    assert_text(table, "s", 0, "7");
    hg_shared_destroy(shared);
}

static void test_a_full_table_refuses_and_loses_nothing(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(4096, 1000, &table);
    struct hg_shared_stats stats;
    char key[16];
    unsigned count = 0;

    for (;; count++) {
        snprintf(key, sizeof(key), "k%u", count);
        int err = set(table, key, text("v"), count % 2 == 0 ? HG_FOREVER : 1000, 0);
        if (err != HG_OK) {
            assert_int_equal(err, HG_ELIMIT);
            break;
        }
    }
    assert_in_range(count, 10, 60);
    hg_shared_stats(table, &stats);
    assert_int_equal(stats.full, 1);
    assert_int_equal(stats.entries, count);
    assert_in_range(stats.bytes, 1, 4096);
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_text(table, key, 999, "v");
    }
    /* A replacement that needs more is refused as well, and the old one stays. */
    char large[600];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    assert_int_equal(set(table, "k0", text(large), HG_FOREVER, 999), HG_ELIMIT);
    assert_text(table, "k0", 999, "v");
    /* What has expired makes room, wherever it lies. */
    assert_int_equal(set(table, "k0", text(large), HG_FOREVER, 1000), HG_OK);
    hg_shared_stats(table, &stats);
    assert_int_equal(stats.expired, count / 2);
    hg_shared_validate(table);
    hg_shared_destroy(shared);
}

static void test_entries_are_bounded_by_number(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(1 << 20, 3, &table);
    struct hg_shared_stats stats;

    assert_int_equal(set(table, "a", number(1), HG_FOREVER, 0), HG_OK);
    assert_int_equal(set(table, "b", number(1), HG_FOREVER, 0), HG_OK);
    assert_int_equal(set(table, "c", number(1), 10, 0), HG_OK);
    assert_int_equal(set(table, "d", number(1), HG_FOREVER, 0), HG_ELIMIT);
    assert_int_equal(set(table, "a", number(2), HG_FOREVER, 0), HG_OK);
    assert_int_equal(set(table, "d", number(1), HG_FOREVER, 10), HG_OK);
    hg_shared_stats(table, &stats);
    assert_int_equal(stats.entries, 3);
    assert_int_equal(stats.full, 1);
    hg_shared_destroy(shared);
}

/* Thousands of small ones whose time is over make room for one that takes it all. */
static void test_whatever_has_expired_makes_room(void **state)
{
    static char big[1000000];
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(sizeof(big) + 4096, 20000, &table);
    struct hg_shared_value value = {.kind = HG_SHARED_STRING, .bytes = {big, sizeof(big)}};
    struct hg_shared_stats stats;
    int count = 0;
    for (; count < 20000; count++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", count);
        if (set(table, key, number(1), 100, 0) != HG_OK)
            break;
    }
    assert_true(count > 5000);
    assert_int_equal(hg_shared_set(table, HG_BYTES("big"), &value, HG_FOREVER, 100), HG_OK);
    hg_shared_stats(table, &stats);
    assert_true(stats.expired > 4000);
    assert_int_equal(stats.expired + stats.entries, (uint64_t)count + 1);
    hg_shared_validate(table);
    hg_shared_destroy(shared);
}

static void test_what_can_never_fit_is_too_big(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(4096, 1000, &table);
    struct hg_shared_stats stats;
    static char large[5000];
    memset(large, 'x', sizeof(large) - 1);

    assert_int_equal(set(table, "k", text(large), HG_FOREVER, 0), HG_ETOOBIG);
    large[HG_SHARED_KEY_MAX + 1] = '\0';
    assert_int_equal(set(table, large, number(1), HG_FOREVER, 0), HG_ETOOBIG);
    large[HG_SHARED_KEY_MAX] = '\0';
    assert_int_equal(set(table, large, number(1), HG_FOREVER, 0), HG_OK);
    hg_shared_stats(table, &stats);
    assert_int_equal(stats.too_big, 2);
    assert_int_equal(stats.full, 0);
    hg_shared_destroy(shared);
}

static void test_tables_have_names_and_a_limit(void **state)
{
    (void)state;
    struct hg_shared_table *first, *again;
    struct hg_shared *shared = create(4096, 10, &first);
    char name[HG_SHARED_NAME_MAX + 2];

    assert_int_equal(hg_shared_open(shared, "t", &again), HG_OK);
    assert_ptr_equal(first, again);
    assert_int_equal(hg_shared_open(shared, "", &again), HG_EINVAL);
    assert_int_equal(hg_shared_open(shared, "a\"b", &again), HG_EINVAL);
    memset(name, 'n', sizeof(name));
    name[HG_SHARED_NAME_MAX + 1] = '\0';
    assert_int_equal(hg_shared_open(shared, name, &again), HG_EINVAL);
    for (unsigned i = 1; i < HG_SHARED_TABLES_MAX; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        assert_int_equal(hg_shared_open(shared, name, &again), HG_OK);
    }
    assert_int_equal(hg_shared_open(shared, "more", &again), HG_ELIMIT);
    assert_int_equal(hg_shared_open(shared, "t1", &again), HG_OK);
    assert_ptr_equal(hg_shared_at(shared, 0), first);
    assert_string_equal(hg_shared_table_name(hg_shared_at(shared, 1)), "t1");
    assert_null(hg_shared_at(shared, HG_SHARED_TABLES_MAX));
    hg_shared_destroy(shared);
    hg_shared_destroy(NULL);
}

/* The stupid model: a list of keys. */
struct model {
    bool is_there;
    double number;
    uint64_t expires_ms;
};

static void test_random_steps_agree_with_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct hg_test_random random = {seed};
        struct hg_shared_table *table;
        struct hg_shared *shared = create(1 << 20, 1000, &table);
        struct model model[KEYS] = {0};
        uint64_t now_ms = 1;

        for (unsigned step = 0; step < 3000; step++) {
            size_t index = hg_test_below(&random, KEYS);
            struct model *entry = &model[index];
            char name[16];
            snprintf(name, sizeof(name), "key %zu", index);
            struct hg_bytes key = hg_bytes_str(name);
            uint64_t expires_ms =
                hg_test_below(&random, 3) == 0 ? HG_FOREVER : now_ms + hg_test_below(&random, 100);
            double by = (double)hg_test_below(&random, 10), got;
            struct hg_shared_value value = number(by), found;
            uint64_t ends_ms;

            now_ms += hg_test_below(&random, 5);
            if (expires_ms <= now_ms)
                expires_ms = now_ms + 1;
            bool was_there = entry->is_there && entry->expires_ms > now_ms;
            switch (hg_test_below(&random, 5)) {
            case 0:
                assert_int_equal(hg_shared_set(table, key, &value, expires_ms, now_ms), HG_OK);
                *entry = (struct model){true, by, expires_ms};
                break;
            case 1:
                assert_int_equal(hg_shared_add(table, key, &value, expires_ms, now_ms),
                                 was_there ? HG_PENDING : HG_OK);
                if (!was_there)
                    *entry = (struct model){true, by, expires_ms};
                break;
            case 2:
                assert_int_equal(
                    hg_shared_incr(table, key, by, 100, expires_ms, now_ms, &got, &ends_ms), HG_OK);
                if (!was_there)
                    *entry = (struct model){true, 100, expires_ms};
                entry->number += by;
                assert_true(got == entry->number);
                assert_true(ends_ms == entry->expires_ms);
                break;
            case 3:
                assert_int_equal(hg_shared_delete(table, key, now_ms), was_there);
                entry->is_there = false;
                break;
            default:
                assert_int_equal(hg_shared_get(table, key, now_ms, NULL, 0, &found, &ends_ms),
                                 was_there ? HG_OK : HG_ENOENT);
                if (was_there)
                    assert_true(found.number == entry->number);
            }
            hg_shared_validate(table);
        }
        hg_shared_destroy(shared);
    }
}

#define THREADS 8
#define EACH    25000

static void *count_up(void *arg)
{
    struct hg_shared_table *table = arg;
    struct hg_shared_value found;
    double now;
    uint64_t ends_ms;
    char key[16];

    for (unsigned i = 0; i < EACH; i++) {
        int err = hg_shared_incr(table, HG_BYTES("n"), 1, 0, HG_FOREVER, i, &now, &ends_ms);
        if (err != HG_OK)
            return arg;
        /* And others come and go beside it. */
        snprintf(key, sizeof(key), "k%u", i % 200);
        hg_shared_incr(table, hg_bytes_str(key), 1, 0, i + 3, i, &now, &ends_ms);
        hg_shared_get(table, hg_bytes_str(key), i + 1, NULL, 0, &found, &ends_ms);
        if (i % 7 == 0)
            hg_shared_delete(table, hg_bytes_str(key), i);
    }
    return NULL;
}

static void test_threads_count_exactly(void **state)
{
    (void)state;
    struct hg_shared_table *table;
    struct hg_shared *shared = create(64 << 10, 100, &table); /* full now and then */
    pthread_t threads[THREADS];
    struct hg_shared_value found;
    uint64_t ends_ms;
    struct hg_shared_value first = number(0);

    assert_int_equal(hg_shared_set(table, HG_BYTES("n"), &first, HG_FOREVER, 0), HG_OK);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, table), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(hg_shared_get(table, HG_BYTES("n"), 0, NULL, 0, &found, &ends_ms), HG_OK);
    assert_true(found.number == THREADS * EACH);
    hg_shared_validate(table);
    hg_shared_destroy(shared);
}

/* Memory may run out at any allocation; a bucket array that cannot grow is no error. */
static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    for (size_t nth = 0;; nth++) {
        struct hg_shared_config config = {1 << 20, 1000};
        struct hg_shared *shared = NULL;
        struct hg_shared_table *table = NULL;
        size_t live_bytes = hg_alloc_live_bytes();
        hg_alloc_fail_at(nth, false);
        int err = hg_shared_create(&config, &shared);
        if (err == HG_OK)
            err = hg_shared_open(shared, "t", &table);
        for (unsigned i = 0; err == HG_OK && i < 200; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%u", i);
            err = set(table, key, text(i % 2 == 0 ? "v" : "other"), 1000 + i, 0);
            if (err == HG_OK)
                err = set(table, key, text("another"), 1000, 0);
            else
                assert_text(table, key, 0, NULL);
        }
        bool refused = hg_alloc_fail_clear();
        if (err != HG_OK) {
            assert_true(refused);
            assert_int_equal(err, HG_ENOMEM);
        }
        if (table != NULL)
            hg_shared_validate(table);
        hg_shared_destroy(shared);
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
        if (!refused)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_value_is_what_was_set_last),
        cmocka_unit_test(test_a_replacement_costs_what_it_is),
        cmocka_unit_test(test_an_entry_ends_at_its_moment),
        cmocka_unit_test(test_add_is_refused_where_there_is_one),
        cmocka_unit_test(test_incr_begins_with_init_and_keeps_the_first_end),
        cmocka_unit_test(test_a_full_table_refuses_and_loses_nothing),
        cmocka_unit_test(test_entries_are_bounded_by_number),
        cmocka_unit_test(test_whatever_has_expired_makes_room),
        cmocka_unit_test(test_what_can_never_fit_is_too_big),
        cmocka_unit_test(test_tables_have_names_and_a_limit),
        cmocka_unit_test(test_random_steps_agree_with_a_model),
        cmocka_unit_test(test_threads_count_exactly),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
