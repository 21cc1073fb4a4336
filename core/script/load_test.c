#include "script/script_world.h"

static void test_getter_runs_end_to_end(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world, "local db = { Tom = '630' }\n"
                        "return { groups = { test = { getter = function(key, ctx) return db[key] end } } }");
    struct answer answer = get(&world, "Tom");
    assert_value(&answer, "630");
    assert_int_equal(answer.how, HG_HOW_MISS);
    answer = get(&world, "Tom");
    assert_int_equal(answer.how, HG_HOW_HIT);
    answer = get(&world, "Nobody");
    assert_int_equal(answer.status, HG_STATUS_NOT_FOUND);
    world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getter_runs_end_to_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
