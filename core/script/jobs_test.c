#include "script/script_world.h"

/* A chunk whose jobs count in hg.shared("s"); any key is its own value. */
#define CHUNK(jobs)                                                                                \
    "local s, g = hg.shared('s'), hg.group('test')\n" jobs                                         \
    "\nreturn { groups = { test = { getter = function(key) s:incr('loads') return key end } } }"

static void start(struct world *world, const char *text)
{
    world_init(world);
    world->getter_threads = 3;
    world_start(world, text);
}

static void test_at_start_runs_once_and_may_warm_the_cache(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("hg.at_start(function() s:incr('first') hg.sleep(0.01) g:get('warm') "
                        "s:incr('done') end)\n"
                        "hg.at_start(function() s:set('order', s:get('first') * 10) end)"));
    /* Nothing before the node serves, whatever else runs. */
    struct answer answer = get(&world, "other");
    assert_value(&answer, "other");
    assert_true(shared_number(&world, "first") == 0);
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "done") == 1);
    assert_true(shared_number(&world, "order") == 10);
    answer = get(&world, "warm");
    assert_int_equal(answer.how, HG_HOW_HIT);
    hg_runtime_serve(world.runtime); /* told twice */
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        get(&world, key);
    }
    assert_true(shared_number(&world, "first") == 1);
    assert_int_equal(stats(&world).job_runs, 2);
    assert_int_equal(stats(&world).job_errors, 0);
    world_finish(&world);
}

static void test_every_ticks_on_one_thread(void **state)
{
    struct world world;
    (void)state;
    /* An upvalue is of one state: it counts all ticks only where all are of one thread. */
    start(&world, CHUNK("local own = 0\n"
                        "hg.every('3ms', function() own = own + 1\n"
                        " if s:incr('all') ~= own then s:incr('wrong') end end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "all") >= 20);
    assert_true(shared_number(&world, "wrong") == 0);
    world_stop(&world);
}

static void test_an_error_is_counted_and_the_next_tick_comes(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("hg.every(0.002, function() local n = s:incr('n')\n"
                        " if n == 1 then error('first') elseif n == 2 then error({}) end\n"
                        " s:incr('well') end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "well") >= 3);
    assert_int_equal(stats(&world).job_errors, 2);
    world_finish(&world);
}

static void test_a_run_over_its_budget_ends_and_the_next_tick_comes(void **state)
{
    struct world world;
    (void)state;
    SKIP_UNDER_TSAN();
    start(&world, CHUNK("hg.every(0.002, function()\n"
                        " if s:incr('n') == 1 then while true do end end\n"
                        " s:incr('well') end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "well") >= 3);
    assert_int_equal(stats(&world).job_errors, 1);
    assert_int_equal(stats(&world).abandoned, 0);
    world_finish(&world);
}

static void test_a_long_run_does_not_pile_up(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("local running = 0\n"
                        "hg.every('2ms', function() running = running + 1\n"
                        " if running > 1 then s:incr('overlap') end\n"
                        " hg.sleep(0.03) running = running - 1 s:incr('runs') end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "runs") >= 5);
    assert_true(shared_number(&world, "overlap") == 0);
    assert_true(stats(&world).job_ticks_skipped >= 5 * 10);
    assert_int_equal(stats(&world).job_errors, 0);
    world_stop(&world);
}

static void test_it_ends_at_once(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("hg.at_start(function() s:incr('n') hg.sleep(1000) end)\n"
                        "hg.every('1h', function() end)\n"
                        "hg.every('1ms', function() s:incr('n') hg.sleep(1000) end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "n") == 2);
    assert_true(hg_runtime_drain(world.runtime)); /* nobody waits for a job */
    uint64_t begun_ms = now_ms();
    world_finish(&world);
    assert_true(now_ms() - begun_ms < 2500); /* less than the time that a thread gets to stop */
}

static void test_a_state_that_is_replaced_goes_on_ticking(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.memory_bytes = 8 << 20;
    world.budget_ms = 5000;
    world_start(&world, CHUNK("hg.at_start(function() s:incr('starts') end)\n"
                              "hg.every('2ms', function() local n = s:incr('n')\n"
                              " if n == 3 then kept = {} for i = 1, 1e9 do kept[i] = { i } end end "
                              "end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(shared_number(&world, "n") >= 10);
    assert_int_equal(stats(&world).states_discarded, 1);
    assert_int_equal(stats(&world).job_errors, 1);
    assert_true(shared_number(&world, "starts") == 1);
    world_stop(&world);
}

static void test_a_job_that_hangs_its_thread_is_not_run_again(void **state)
{
    struct world world;
    (void)state;
    SKIP_UNDER_TSAN();
    world_init(&world);
    world.budget_ms = 50;
    world_start(&world,
                CHUNK("hg.at_start(function() s:incr('starts') end)\n"
                      "hg.every('5ms', function() s:incr('hung') ; (('a'):rep(40)):find(('a?'):rep("
                      "40) .. ('a'):rep(40)) end)\n"
                      "hg.every('5ms', function() s:incr('well') end)"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(stats(&world).abandoned == 1);
    double before = shared_number(&world, "well");
    WAIT_UNTIL(shared_number(&world, "well") >= before + 10);
    struct answer answer = get(&world, "k");
    assert_value(&answer, "k");
    assert_true(shared_number(&world, "hung") == 1);
    assert_true(shared_number(&world, "starts") == 1);
    assert_int_equal(stats(&world).job_errors, 1);
    world_stop(&world); /* the lost thread is left behind */
}

static void test_misuse_raises_at_the_callers_line(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world, "local out = {}\n"
                        "local function try(...) local ok, e = pcall(...)\n"
                        " out[#out + 1] = ok and 'fine' or e:gsub('^.*lua:', 'L') end\n"
                        "try(function()\n hg.every(0, print) end)\n"
                        "try(function()\n hg.every('soon', print) end)\n"
                        "try(function()\n hg.every(false, print) end)\n"
                        "try(function()\n hg.every('1s') end)\n"
                        "try(function()\n hg.at_start('x') end)\n"
                        "for i = 1, 64 do hg.at_start(function() end) end\n"
                        "try(function()\n hg.every('1s', print) end)\n"
                        "local function getter(key)\n"
                        " if key == 'every' then hg.every(1, print) elseif key == 'start' then "
                        "hg.at_start(print) end\n"
                        " return table.concat(out, '\\n') end\n"
                        "return { groups = { test = { getter = getter } } }");
    struct answer answer = get(&world, "all");
    const char *at = answer.data;
    static const char *const wanted[] = {
        "L5: bad argument #1 to 'every' (expected seconds above 0",
        "L7: bad argument #1 to 'every' (expected seconds above 0",
        "L9: bad argument #1 to 'every' (expected seconds above 0",
        "L11: bad argument #2 to 'every' (function expected",
        "L13: bad argument #1 to 'at_start' (function expected",
        "L16: hg.every: more than 64 jobs",
    };
    for (size_t i = 0; i < HG_COUNT(wanted); i++) {
        const char *found = strstr(at, wanted[i]);
        if (found == NULL)
            fail_msg("no '%s' in %s", wanted[i], at);
        at = found + 1;
    }
    answer = get(&world, "every");
    assert_error(&answer, HG_CLASS_INTERNAL,
                 "config.lua:18: hg.every can be used only while the configuration is loading");
    answer = get(&world, "start");
    assert_error(&answer, HG_CLASS_INTERNAL,
                 "config.lua:18: hg.at_start can be used only while the configuration is loading");
    world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_start_runs_once_and_may_warm_the_cache),
        cmocka_unit_test(test_every_ticks_on_one_thread),
        cmocka_unit_test(test_an_error_is_counted_and_the_next_tick_comes),
        cmocka_unit_test(test_a_run_over_its_budget_ends_and_the_next_tick_comes),
        cmocka_unit_test(test_a_long_run_does_not_pile_up),
        cmocka_unit_test(test_it_ends_at_once),
        cmocka_unit_test(test_a_state_that_is_replaced_goes_on_ticking),
        cmocka_unit_test(test_misuse_raises_at_the_callers_line),
        cmocka_unit_test(test_a_job_that_hangs_its_thread_is_not_run_again),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fflush(NULL);
    _exit(failed != 0); /* the thread left behind is still in its bomb */
}
