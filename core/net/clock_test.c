#include "net/test_support.h"

static void test_clocks_go_forward(void **state)
{
    (void)state;
    uint64_t boot = hg_clock_boot_ms();
    assert_in_range(boot, HG_CLOCK_START_MS, HG_CLOCK_START_MS + 600000); /* since we began */
    double monotonic = hg_clock_monotonic_s();
    for (int i = 0; i < 1000; i++) {
        assert_true(hg_clock_boot_ms() >= boot);
        assert_true(hg_clock_monotonic_s() >= monotonic);
        boot = hg_clock_boot_ms();
        monotonic = hg_clock_monotonic_s();
    }
    assert_true(hg_clock_wall_s() > 1.7e9);
}

static void *draw(void *arg)
{
    uint64_t *numbers = arg;
    for (int i = 0; i < 1000; i++)
        numbers[i] = hg_random_u64();
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_threads_draw_different_numbers(void **state)
{
    (void)state;
    static uint64_t numbers[4000];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw, numbers + 1000 * i), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    uint64_t ones = 0;
    for (int i = 0; i < 4000; i++)
        ones += (uint64_t)__builtin_popcountll(numbers[i]);
    assert_true(ones > 4000 * 31 && ones < 4000 * 33);
    qsort(numbers, 4000, sizeof(numbers[0]), compare);
    for (int i = 1; i < 4000; i++)
        assert_true(numbers[i] != numbers[i - 1]);
}

static void test_random_bytes_fill_all_of_it(void **state)
{
    (void)state;
    unsigned char bytes[4096], any[4096] = {0};
    for (int round = 0; round < 64; round++) {
        hg_random_bytes(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
            any[i] |= bytes[i];
    }
    for (size_t i = 0; i < sizeof(any); i++)
        assert_int_not_equal(any[i], 0);
}

static void test_held_clocks_stand_still(void **state)
{
    (void)state;
    assert_false(hg_clock_is_held());
    hg_clock_hold(5000, 1700000000250);
    assert_true(hg_clock_is_held());
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hg_clock_boot_ms(), 5000);
        assert_true(hg_clock_wall_s() == 1700000000.25);
        assert_int_equal(hg_clock_wall_second(), 1700000000);
        assert_true(hg_clock_monotonic_s() == 5.0);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    hg_clock_hold(5001, 1700000001000);
    assert_int_equal(hg_clock_boot_ms(), 5001);
    assert_int_equal(hg_clock_wall_second(), 1700000001);
    hg_clock_release();
    assert_true(hg_clock_boot_ms() >= HG_CLOCK_START_MS);
    assert_true(hg_clock_wall_second() > 1700000001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_go_forward),
        cmocka_unit_test(test_held_clocks_stand_still),
        cmocka_unit_test(test_threads_draw_different_numbers),
        cmocka_unit_test(test_random_bytes_fill_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
