#include "base/testing.h"
#include "base/bytes.h"
#include "cli/duration.h"

static void test_durations_have_two_units_at_most(void **state)
{
    static const struct {
        long long ms;
        const char *text;
    } cases[] = {
        {0, "0ms"},         {999, "999ms"},        {1000, "1.0s"},    {59999, "59.9s"},
        {60000, "1m0s"},    {125000, "2m5s"},      {3600000, "1h0m"}, {12000000, "3h20m"},
        {86400000, "1d0h"}, {1051200000, "12d4h"},
    };
    char text[32];
    (void)state;
    for (size_t i = 0; i < HG_COUNT(cases); i++)
        assert_string_equal(hg_duration_show(cases[i].ms, text, sizeof(text)), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_have_two_units_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
