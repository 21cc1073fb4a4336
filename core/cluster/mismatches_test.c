#include "base/testing.h"
#include "cluster/mismatches.h"

#include <stdio.h>
#include <unistd.h>

#define OURS 7

static struct hg_mismatches mismatches;

static int start(void **state)
{
    (void)state;
    hg_mismatches_init(&mismatches);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    hg_mismatches_finish(&mismatches);
    return 0;
}

static bool note(const char *name, uint64_t theirs, uint64_t now_ms)
{
    bool is_news;
    bool differs =
        hg_mismatches_note(&mismatches, hg_bytes_str(name), theirs, OURS, now_ms, &is_news);
    assert_true(differs == (theirs != OURS && theirs != 0));
    assert_true(differs || !is_news);
    return is_news;
}

static size_t list(uint64_t ours, uint64_t now_ms, struct hg_mismatch *items)
{
    return hg_mismatches_list(&mismatches, ours, now_ms, items);
}

static void test_equal_rings_and_nodes_that_say_nothing_are_no_mismatch(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    (void)state;
    note("a", OURS, 1);
    note("go", 0, 1);
    assert_int_equal(list(OURS, 1, items), 0);
}

static void test_who_says_no_name_is_none(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    bool is_news;
    (void)state;
    assert_false(hg_mismatches_note(&mismatches, HG_BYTES_NONE, 8, OURS, 1, &is_news));
    assert_int_equal(list(OURS, 1, items), 0);
}

static void test_who_differs_is_named_with_what_it_sent_last(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    (void)state;
    assert_true(note("a", 8, 10));
    assert_false(note("a", 8, 11)); /* known */
    assert_true(note("a", 9, 12));  /* in another way */
    assert_int_equal(list(OURS, 12, items), 1);
    assert_int_equal(items[0].name_len, 1);
    assert_memory_equal(items[0].name, "a", 1);
    assert_int_equal(items[0].fingerprint, 9);
    assert_int_equal(items[0].count, 3);
    assert_int_equal(items[0].last_ms, 12);
}

static void test_who_sends_our_ring_again_is_forgotten(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    (void)state;
    note("a", 8, 10);
    note("b", 8, 10);
    note("a", 0, 11); /* says nothing */
    assert_int_equal(list(OURS, 11, items), 2);
    note("a", OURS, 12);
    assert_int_equal(list(OURS, 12, items), 1);
    assert_memory_equal(items[0].name, "b", 1);
    assert_true(note("a", 8, 13));
}

static void test_who_is_as_we_have_become_differs_no_more(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    (void)state;
    note("a", 8, 10);
    assert_int_equal(list(8, 10, items), 0);
}

static void test_who_is_silent_for_long_is_forgotten(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    (void)state;
    note("a", 8, 10);
    note("b", 8, 20);
    assert_int_equal(list(OURS, 10 + HG_MISMATCH_KEPT_MS, items), 2);
    assert_int_equal(list(OURS, 11 + HG_MISMATCH_KEPT_MS, items), 1);
    assert_memory_equal(items[0].name, "b", 1);
}

static void test_the_longest_silent_one_makes_room(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    char name[16], long_name[HG_MISMATCH_NAME_MAX + 10];
    (void)state;
    for (unsigned i = 0; i < HG_MISMATCHES_MAX; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        note(name, 8, 100 + i);
    }
    note("n0", 8, 200);
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_true(note(long_name, 8, 201));
    assert_false(note(long_name, 8, 202)); /* found again, though it was cut */
    assert_int_equal(list(OURS, 202, items), HG_MISMATCHES_MAX);
    for (unsigned i = 0; i < HG_MISMATCHES_MAX; i++) {
        assert_false(items[i].name_len == 2 && memcmp(items[i].name, "n1", 2) == 0);
        assert_true(items[i].name_len <= HG_MISMATCH_NAME_MAX);
    }
}

/* Each request between nodes whose rings differ is noted: they are not to wait for each other. */
static void test_what_is_known_takes_no_lock(void **state)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    (void)state;
    note("a", 8, 10);
    pthread_mutex_lock(&mismatches.lock);
    alarm(30); /* it would wait for ever */
    assert_false(note("a", 8, 11));
    note("b", OURS, 12);
    note("a", 0, 13);
    note("c", 0, 14);
    alarm(0);
    pthread_mutex_unlock(&mismatches.lock);
    assert_int_equal(list(OURS, 14, items), 1);
    assert_int_equal(items[0].count, 2);
    assert_int_equal(items[0].last_ms, 11);
}

#define ROUNDS 20000

static void *note_often(void *ctx)
{
    const char *name = ctx;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        note("same", 8, i);
        note(name, i % 100 == 0 ? OURS : 8 + i % 2, i);
        if (i % 500 == 0) {
            struct hg_mismatch items[HG_MISMATCHES_MAX];
            list(OURS, i, items);
        }
    }
    return NULL;
}

static void test_nothing_is_lost_between_threads(void **state)
{
    static char names[][4] = {"a", "b", "c"};
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    pthread_t threads[HG_COUNT(names)];
    (void)state;
    for (size_t i = 0; i < HG_COUNT(names); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, note_often, names[i]), 0);
    for (size_t i = 0; i < HG_COUNT(names); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(list(OURS, ROUNDS, items), 1); /* the others sent our ring at last */
    assert_memory_equal(items[0].name, "same", 4);
    assert_int_equal(items[0].count, HG_COUNT(names) * ROUNDS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_rings_and_nodes_that_say_nothing_are_no_mismatch),
        TEST(test_who_says_no_name_is_none),
        TEST(test_who_differs_is_named_with_what_it_sent_last),
        TEST(test_who_sends_our_ring_again_is_forgotten),
        TEST(test_who_is_as_we_have_become_differs_no_more),
        TEST(test_who_is_silent_for_long_is_forgotten),
        TEST(test_the_longest_silent_one_makes_room),
        TEST(test_what_is_known_takes_no_lock),
        TEST(test_nothing_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
