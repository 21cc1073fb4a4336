#include "base/units.h"
#include "base/testing.h"

#include <math.h>

struct good {
    struct hg_bytes text;
    uint64_t value;
};

static void test_sizes_as_people_write_them(void **state)
{
    static const struct good table[] = {
        {HG_BYTES("0"), 0},
        {HG_BYTES("1"), 1},
        {HG_BYTES("64MiB"), 67108864},
        {HG_BYTES("1GB"), 1000000000},
        {HG_BYTES("1GiB"), 1073741824},
        {HG_BYTES("10B"), 10},
        {HG_BYTES("2kB"), 2000},
        {HG_BYTES("2KB"), 2000},
        {HG_BYTES("2KiB"), 2048},
        {HG_BYTES("3MB"), 3000000},
        {HG_BYTES("4TB"), 4000000000000},
        {HG_BYTES("4TiB"), 4398046511104},
        {HG_BYTES("0TiB"), 0},
        {HG_BYTES("18446744073709551615"), UINT64_MAX},
        {HG_BYTES("16777215TiB"), UINT64_MAX - (1ull << 40) + 1},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        uint64_t bytes = 1;
        assert_int_equal(hg_size_parse(table[i].text, &bytes), HG_OK);
        assert_true(bytes == table[i].value);
    }
}

static void test_bad_sizes_are_refused_and_leave_out_alone(void **state)
{
    static const char *const table[] = {
        "",
        " ",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1 MiB",
        "MiB",
        "1mib",
        "1Mib",
        "1M",
        "1k",
        "1kb",
        "1kiB",
        "1MiBs",
        "1,5MB",
        "1.5MB",
        "1.",
        ".5",
        "1e3",
        "0x10",
        "nan",
        "inf",
        "1PB",
        "1BB",
        "1b",
        "--1",
        "1\n",
        "1GiB ",
        "18446744073709551616",
        "16777216TiB",
        "18446744073709552kB",
        "99999999999999999999999",
    };
    uint64_t bytes = 77;
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++)
        assert_int_equal(hg_size_parse(hg_bytes_str(table[i]), &bytes), HG_EINVAL);
    assert_int_equal(hg_size_parse(HG_BYTES("1\0"), &bytes), HG_EINVAL);
    assert_int_equal(hg_size_parse(HG_BYTES("1B\0"), &bytes), HG_EINVAL);
    assert_int_equal(hg_size_parse(HG_BYTES_NONE, &bytes), HG_EINVAL);
    assert_int_equal(bytes, 77);
}

static void test_durations_as_people_write_them(void **state)
{
    static const struct good table[] = {
        {HG_BYTES("0"), 0},
        {HG_BYTES("10"), 10000},
        {HG_BYTES("250ms"), 250},
        {HG_BYTES("10s"), 10000},
        {HG_BYTES("1.5s"), 1500},
        {HG_BYTES("0.25"), 250},
        {HG_BYTES("5m"), 300000},
        {HG_BYTES("0.5m"), 30000},
        {HG_BYTES("1h"), 3600000},
        {HG_BYTES("1.5h"), 5400000},
        {HG_BYTES("2d"), 172800000},
        {HG_BYTES("0.0s"), 0},
        {HG_BYTES("0.1ms"), 1},
        {HG_BYTES("0.0001s"), 1},
        {HG_BYTES("1.0001s"), 1001},
        {HG_BYTES("0.001"), 1},
        {HG_BYTES("0.07"), 70},
        {HG_BYTES("1.001s"), 1001},
        {HG_BYTES("0.00000000000000000000000000001d"), 1},
        {HG_BYTES("2.99999999999999999999999999999ms"), 3},
        {HG_BYTES("2.00000000000000000000000000000ms"), 2},
        {HG_BYTES("18446744073709551614ms"), HG_FOREVER - 1},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        uint64_t ms = 123456;
        assert_int_equal(hg_duration_parse(table[i].text, &ms), HG_OK);
        assert_true(ms == table[i].value);
    }
}

static void test_bad_durations_are_refused_and_leave_out_alone(void **state)
{
    static const char *const table[] = {
        "",
        " ",
        "-1",
        "-0",
        "+1",
        " 1s",
        "1s ",
        "1 s",
        "s",
        "ms",
        "1S",
        "1M",
        "1H",
        "1min",
        "1sec",
        "1ms1",
        "1h30m",
        "1.",
        "1.s",
        ".5s",
        "1..5",
        "1.5.2s",
        "1,5s",
        "1e3",
        "1e3s",
        "0x1s",
        "nan",
        "NaN",
        "inf",
        "infinity",
        "1us",
        "1ns",
        "1w",
        "1y",
        "18446744073709551615ms",
        "18446744073709551614.5ms",
        "18446744073709551616ms",
        "18446744073709552",
        "99999999999999999999d",
    };
    uint64_t ms = 77;
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++)
        assert_int_equal(hg_duration_parse(hg_bytes_str(table[i]), &ms), HG_EINVAL);
    assert_int_equal(hg_duration_parse(HG_BYTES("1s\0"), &ms), HG_EINVAL);
    assert_int_equal(hg_duration_parse(HG_BYTES_NONE, &ms), HG_EINVAL);
    assert_int_equal(ms, 77);
}

static void test_seconds_round_up_to_whole_milliseconds(void **state)
{
    static const struct {
        double seconds;
        uint64_t ms;
    } table[] = {
        {0, 0},
        {-0.0, 0},
        {1, 1000},
        {0.25, 250},
        {0.07, 70},
        {1.001, 1001},
        {2.3, 2300},
        {1e-9, 1},
        {0.0001, 1},
        {1.0001, 1001},
        {5e-324, 1},
        {600, 600000},
        {1e9, 1000000000000},
        {0.0015, 2},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        uint64_t ms = 123456;
        assert_int_equal(hg_duration_from_seconds(table[i].seconds, &ms), HG_OK);
        assert_true(ms == table[i].ms);
    }
    /* Every whole millisecond that a script can write comes out as itself. */
    for (unsigned n = 0; n < 200000; n++) {
        uint64_t ms;
        assert_int_equal(hg_duration_from_seconds(n / 1000.0, &ms), HG_OK);
        assert_int_equal(ms, n);
    }
}

static void test_bad_seconds_are_refused(void **state)
{
    static const double table[] = {-1, -1e-300, -INFINITY, INFINITY, NAN, 1e300, 1.9e16};
    uint64_t ms = 77;
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++)
        assert_int_equal(hg_duration_from_seconds(table[i], &ms), HG_EINVAL);
    assert_int_equal(ms, 77);
}

static void test_times_add_up_to_forever_at_most(void **state)
{
    (void)state;
    assert_int_equal(hg_time_add(1, 2), 3);
    assert_true(hg_time_add(HG_FOREVER, 0) == HG_FOREVER);
    assert_true(hg_time_add(0, HG_FOREVER) == HG_FOREVER);
    assert_true(hg_time_add(HG_FOREVER, HG_FOREVER) == HG_FOREVER);
    assert_true(hg_time_add(HG_FOREVER - 1, 1) == HG_FOREVER);
    assert_true(hg_time_add(HG_FOREVER - 2, 1) == HG_FOREVER - 1);
    assert_true(hg_time_add(HG_FOREVER - 1, HG_FOREVER - 1) == HG_FOREVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_as_people_write_them),
        cmocka_unit_test(test_bad_sizes_are_refused_and_leave_out_alone),
        cmocka_unit_test(test_durations_as_people_write_them),
        cmocka_unit_test(test_bad_durations_are_refused_and_leave_out_alone),
        cmocka_unit_test(test_seconds_round_up_to_whole_milliseconds),
        cmocka_unit_test(test_bad_seconds_are_refused),
        cmocka_unit_test(test_times_add_up_to_forever_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
