#include "base/testing.h"

#include <pthread.h>
#include <string.h>

static void test_live_bytes_follow_every_block(void **state)
{
    (void)state;
    size_t bytes = hg_alloc_live_bytes(), count = hg_alloc_live_count();
    for (size_t size = 0; size < 5000; size += 7) {
        char *block = hg_malloc(size);
        assert_non_null(block);
        assert_true(hg_alloc_live_bytes() >= bytes + size);
#ifdef HG_HAVE_JEMALLOC
        assert_int_equal(hg_alloc_live_bytes(), bytes + hg_alloc_size(size));
#endif
        assert_int_equal(hg_alloc_live_count(), count + 1);
        block = hg_realloc(block, size * 3);
        assert_non_null(block);
        assert_true(hg_alloc_live_bytes() >= bytes + size * 3);
        assert_int_equal(hg_alloc_live_count(), count + 1);
        hg_free(block);
        assert_int_equal(hg_alloc_live_bytes(), bytes);
        assert_int_equal(hg_alloc_live_count(), count);
    }
}

static void test_realloc_keeps_contents_and_starts_from_null(void **state)
{
    (void)state;
    char *block = hg_realloc(NULL, 4);
    memcpy(block, "abcd", 4);
    block = hg_realloc(block, 100000);
    assert_memory_equal(block, "abcd", 4);
    block = hg_realloc(block, 2);
    assert_memory_equal(block, "ab", 2);
    hg_free(block);
    hg_free(NULL);
}

static void test_calloc_clears_and_refuses_overflow(void **state)
{
    (void)state;
    unsigned char *block = hg_calloc(100, 10);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(block[i], 0);
    hg_free(block);
    assert_null(hg_calloc(SIZE_MAX / 2, 3));
    assert_null(hg_calloc(SIZE_MAX, SIZE_MAX));
    assert_null(hg_malloc(SIZE_MAX));
    block = hg_calloc(0, 8);
    assert_non_null(block);
    hg_free(block);
}

static void test_strndup_ends_with_nul(void **state)
{
    (void)state;
    char *copy = hg_strndup("a\0bc", 3);
    assert_memory_equal(copy, "a\0b", 4);
    hg_free(copy);
    copy = hg_strndup(NULL, 0);
    assert_string_equal(copy, "");
    hg_free(copy);
    assert_null(hg_strndup("x", SIZE_MAX));
}

static void test_alloc_size_rounds_up_and_never_down(void **state)
{
    (void)state;
    size_t last = 0;
    for (size_t size = 0; size < 100000; size++) {
        size_t rounded = hg_alloc_size(size);
        assert_true(rounded >= size && rounded >= 8);
        assert_true(rounded >= last);
        assert_true(rounded <= size + size / 4 + 32);
        last = rounded;
    }
    assert_int_equal(hg_alloc_size(SIZE_MAX), SIZE_MAX);
}

static void test_size_sums_refuse_overflow_and_leave_out_alone(void **state)
{
    (void)state;
    size_t out = 7;
    assert_false(hg_size_add(SIZE_MAX, 1, &out));
    assert_false(hg_size_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_int_equal(out, 7);
    assert_true(hg_size_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(hg_size_mul(SIZE_MAX, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(hg_size_mul(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
}

static void test_hook_refuses_the_nth_only(void **state)
{
    (void)state;
    hg_alloc_fail_at(2, false);
    for (int i = 0; i < 5; i++) {
        void *block = hg_malloc(8);
        assert_int_equal(block == NULL, i == 2);
        hg_free(block);
    }
    assert_true(hg_alloc_fail_clear());
    assert_false(hg_alloc_fail_clear());
}

static void test_sticky_hook_refuses_all_behind(void **state)
{
    (void)state;
    hg_alloc_fail_at(1, true);
    void *first = hg_malloc(8);
    assert_non_null(first);
    assert_null(hg_malloc(8));
    assert_null(hg_calloc(1, 8));
    assert_null(hg_strndup("a", 1));
    assert_null(hg_realloc(first, 4000)); /* the old block stays */
    memset(first, 1, 8);
    assert_true(hg_alloc_fail_clear());
    hg_free(first);
}

static void test_hook_that_never_struck_says_so(void **state)
{
    (void)state;
    hg_alloc_fail_at(1, false);
    hg_free(hg_malloc(1));
    assert_false(hg_alloc_fail_clear());
}

#define THREADS 20 /* more than stripes */
#define BLOCKS  500

static void *allocate_blocks(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = hg_malloc(i + 1);
    return NULL;
}

static void *free_blocks(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < BLOCKS; i++)
        hg_free(blocks[i]);
    return NULL;
}

static void run_on_threads(void *(*body)(void *), void *blocks[THREADS][BLOCKS], size_t shift)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, blocks[(i + shift) % THREADS]), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void test_counts_agree_when_other_threads_free(void **state)
{
    static void *blocks[THREADS][BLOCKS];
    (void)state;
    size_t bytes = hg_alloc_live_bytes(), count = hg_alloc_live_count();
    run_on_threads(allocate_blocks, blocks, 0);
    assert_int_equal(hg_alloc_live_count(), count + THREADS * BLOCKS);
    assert_true(hg_alloc_live_bytes() >= bytes + THREADS * BLOCKS * (BLOCKS + 1) / 2);
    run_on_threads(free_blocks, blocks, 7);
    assert_int_equal(hg_alloc_live_count(), count);
    assert_int_equal(hg_alloc_live_bytes(), bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live_bytes_follow_every_block),
        cmocka_unit_test(test_realloc_keeps_contents_and_starts_from_null),
        cmocka_unit_test(test_calloc_clears_and_refuses_overflow),
        cmocka_unit_test(test_strndup_ends_with_nul),
        cmocka_unit_test(test_alloc_size_rounds_up_and_never_down),
        cmocka_unit_test(test_size_sums_refuse_overflow_and_leave_out_alone),
        cmocka_unit_test(test_hook_refuses_the_nth_only),
        cmocka_unit_test(test_sticky_hook_refuses_all_behind),
        cmocka_unit_test(test_hook_that_never_struck_says_so),
        cmocka_unit_test(test_counts_agree_when_other_threads_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
