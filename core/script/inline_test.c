/* A runtime without threads: its loops are turned here, in time that is held. */
#include "script/script_world.h"

#define LOOPS_MAX 8

static struct world world;
static struct hg_loop *loops[LOOPS_MAX];
static size_t loop_count;
static unsigned runs, next_runs;

static int on_fake(struct hg_vm_fakes *fakes, lua_State *L)
{
    (void)fakes;
    if (strcmp(luaL_checkstring(L, 1), "has") == 0)
        return 0;
    lua_pushfstring(L, "asked %s", lua_tostring(L, 1));
    return lua_error(L);
}

static void on_runs(struct hg_vm_fakes *fakes, const char *group, struct hg_bytes key, bool is_next)
{
    (void)fakes;
    assert_string_equal(group, "test");
    assert_true(key.len > 0);
    runs += is_next ? 0 : 1;
    next_runs += is_next ? 1 : 0;
}

static struct hg_vm_fakes fakes = {.call = on_fake, .runs = on_runs};

static void prepare(void)
{
    hg_clock_hold(HG_CLOCK_START_MS, 0);
    runs = next_runs = 0;
    world_init(&world);
    world.is_inline = true;
    world.fakes = &fakes;
}

static void begin(const char *text)
{
    world_start(&world, text);
    loops[0] = &world.loop;
    loop_count = 1 + hg_runtime_loops(world.runtime, loops + 1, LOOPS_MAX - 1);
    assert_int_equal(loop_count, 3);
}

static void start(const char *text)
{
    prepare();
    begin(text);
}

static void finish(void)
{
    world_finish(&world);
    hg_clock_release();
}

/* Until nothing moves at this moment. */
static void settle(void)
{
    for (unsigned quiet = 0; quiet < 2;) {
        bool is_busy = hg_runtime_dispatch(world.runtime);
        for (size_t i = 0; i < loop_count; i++) {
            is_busy |= hg_loop_has_work(loops[i]) || hg_loop_ring(loops[i]);
            hg_loop_turn(loops[i]);
        }
        quiet = is_busy ? 0 : quiet + 1;
    }
}

static uint64_t next_due(void)
{
    uint64_t due_ms = HG_FOREVER;
    for (size_t i = 0; i < loop_count; i++)
        due_ms = hg_loop_due(loops[i]) < due_ms ? hg_loop_due(loops[i]) : due_ms;
    return due_ms;
}

static void test_a_load_goes_as_far_as_it_can_without_time(void **state)
{
    (void)state;
    struct asker asker;
    start("return { groups = { test = { getter = function(key) hg.sleep(3) return key .. "
          "hg.monotonic() end } } }");
    asker_get(&asker, &world, "test", HG_BYTES("k"));
    settle();
    assert_int_equal(world.answered, 0);
    assert_int_equal(runs, 1);
    assert_int_equal(next_due(), HG_CLOCK_START_MS + 3000);
    hg_clock_hold(HG_CLOCK_START_MS + 3000, 0);
    settle();
    assert_int_equal(world.answered, 1);
    assert_value(asker_wait(&asker), "k86403");
    finish();
}

static void test_waiting_in_a_loop_needs_no_memory(void **state)
{
    (void)state;
    struct asker asker;
    start("return { groups = { test = { getter = function() local before = "
          "collectgarbage('count') for i = 1, 2000 do hg.sleep(0) end "
          "return tostring(collectgarbage('count') - before < 8) end } } }");
    asker_get(&asker, &world, "test", HG_BYTES("k"));
    settle();
    assert_value(asker_wait(&asker), "true");
    finish();
}

static void test_what_comes_together_is_one_run(void **state)
{
    (void)state;
    struct asker askers[3];
    static const char *const keys[] = {"a", "b", "c"};
    prepare();
    world.group_config.batch_max = 10;
    world.group_config.batch_window_ms = 5;
    begin("return { groups = { test = { get_many = function(keys) local out = {} "
          "for _, key in ipairs(keys) do out[key] = #keys end return out end } } }");
    for (int i = 0; i < 3; i++)
        asker_get(&askers[i], &world, "test", hg_bytes_str(keys[i]));
    settle();
    hg_clock_hold(HG_CLOCK_START_MS + 5, 0);
    settle();
    for (int i = 0; i < 3; i++)
        assert_value(asker_wait(&askers[i]), "3");
    assert_int_equal(runs, 1);
    assert_int_equal(next_runs, 2);
    finish();
}

static void test_a_run_ends_at_ten_times_the_budget(void **state)
{
    (void)state;
    struct asker asker;
    start("return { groups = { test = { getter = function() while true do pcall(string.rep, 'x') "
          "end end } } }");
    world.runtime->budget_ms = 5;
    asker_get(&asker, &world, "test", HG_BYTES("k"));
    settle();
    assert_error(asker_wait(&asker), HG_CLASS_TIMEOUT, "budget");
    asker_get(&asker, &world, "test", HG_BYTES("other")); /* the hook is gone */
    settle();
    assert_error(asker_wait(&asker), HG_CLASS_TIMEOUT, "budget");
    finish();
}

static void test_the_world_is_the_fakes(void **state)
{
    (void)state;
    struct asker asker;
    start("return { groups = { test = { getter = function(key) "
          "if key == 'http' then hg.http.get('https://origin/') else hg.socket.connect('h', 1) end "
          "end } } }");
    asker_get(&asker, &world, "test", HG_BYTES("http"));
    settle();
    assert_error(asker_wait(&asker), HG_CLASS_INTERNAL, "asked http");
    asker_get(&asker, &world, "test", HG_BYTES("socket"));
    settle();
    assert_error(asker_wait(&asker), HG_CLASS_INTERNAL, "asked connect");
    finish();
}

static void test_destroy_fails_what_still_waits(void **state)
{
    (void)state;
    struct asker asker;
    start("return { groups = { test = { getter = function(key) hg.sleep(3) return key end } } }");
    asker_get(&asker, &world, "test", HG_BYTES("k"));
    settle();
    hg_runtime_destroy(world.runtime);
    world.runtime = NULL;
    loop_count = 1;
    for (int i = 0; i < 3; i++)
        hg_loop_turn(&world.loop);
    assert_error(asker_wait(&asker), HG_CLASS_UNAVAILABLE, "draining");
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_load_goes_as_far_as_it_can_without_time),
        cmocka_unit_test(test_waiting_in_a_loop_needs_no_memory),
        cmocka_unit_test(test_what_comes_together_is_one_run),
        cmocka_unit_test(test_a_run_ends_at_ten_times_the_budget),
        cmocka_unit_test(test_the_world_is_the_fakes),
        cmocka_unit_test(test_destroy_fails_what_still_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
