#include "script/script_world.h"

/* A group whose getter is the chunk's table `k` at the key. */
#define CHUNK(body)                                                                                \
    "local k = {}\n" body                                                                          \
    "\nreturn { groups = { test = { getter = function(key, ctx) return k[key](key, ctx) end } } }"

static void run_one(const char *text, const char *key, const char *expected)
{
    struct world world;
    world_init(&world);
    world_start(&world, text);
    struct answer answer = get(&world, key);
    assert_value(&answer, expected);
    WAIT_UNTIL(stats(&world).running == 0);
    world_finish(&world);
}

static void test_sleep_inside_user_coroutines_waits_for_the_whole_task(void **state)
{
    (void)state;
    run_one(CHUNK("k.a = function()\n"
                  " local co = coroutine.create(function(a)\n"
                  "   hg.sleep(0.005) local b = coroutine.yield(a + 1) hg.sleep(0.005)\n"
                  "   local inner = coroutine.wrap(function() hg.sleep(0.005) "
                  "coroutine.yield('deep') hg.sleep(0.001) return 'end' end)\n"
                  "   local d = inner() hg.sleep(0.001) return b .. d .. inner() end)\n"
                  " local ok, x = coroutine.resume(co, 1) assert(ok and x == 2)\n"
                  " local ok2, y = coroutine.resume(co, 'b') assert(ok2, y)\n"
                  " assert(coroutine.status(co) == 'dead')\n"
                  " return x .. y end"),
            "a", "2bdeepend");
}

static void test_wait_passes_through_pcall_metamethods_and_iterators(void **state)
{
    (void)state;
    run_one(
        CHUNK("k.a = function()\n"
              " local ok, e = pcall(function() hg.sleep(0.001) error('inner', 0) end) assert(not "
              "ok and e == 'inner')\n"
              " local ok2 = xpcall(function() hg.sleep(0.001) return true end, print) assert(ok2)\n"
              " local t = setmetatable({}, { __index = function(_, n) hg.sleep(0.001) return n .. "
              "'!' end })\n"
              " local function iter(_, i) hg.sleep(0.001) if i < 3 then return i + 1 end end\n"
              " local sum = 0 for i in iter, nil, 0 do sum = sum + i end\n"
              " return t.x .. sum end"),
        "a", "x!6");
}

static void test_wait_that_cannot_pass_is_an_error_and_the_task_goes_on(void **state)
{
    (void)state;
    run_one(
        CHUNK(
            "k.a = function()\n"
            " local out = {}\n"
            " local function try(name, f) local ok, e = pcall(f) out[#out + 1] = name .. ':' .. "
            "tostring(ok) .. ':' .. tostring((tostring(e):match('cannot wait here'))) end\n"
            " try('gsub', function() return ('x'):gsub('x', function() hg.sleep(0.001) end) end)\n"
            " try('sort', function() table.sort({ 2, 1 }, function() hg.sleep(0.001) end) end)\n"
            " local inner\n"
            " ;('x'):gsub('x', function() inner = coroutine.create(function() hg.sleep(0.001) "
            "end)\n"
            "   local ok, e = coroutine.resume(inner) out[#out + 1] = 'co:' .. tostring(ok) .. ':' "
            ".. tostring((tostring(e):match('cannot wait here'))) end)\n"
            " hg.sleep(0.001)\n"
            " return table.concat(out, ' ') end"),
        "a", "gsub:false:cannot wait here sort:false:cannot wait here co:false:cannot wait here");
}

static void test_task_coroutine_cannot_be_resumed_by_scripts(void **state)
{
    (void)state;
    run_one(CHUNK("local victim, waiting\n"
                  "k.a = function()\n"
                  " victim = coroutine.running()\n"
                  " waiting = coroutine.create(function() hg.sleep(0.05) return 'own' end)\n"
                  " hg.spawn(function()\n"
                  "   local a, b = coroutine.resume(victim, 'forged')\n"
                  "   local c, d = coroutine.resume(waiting, 'forged')\n"
                  "   said = tostring(a) .. b:sub(1, 13) .. tostring(c) .. d:sub(1, 13) end)\n"
                  " local ok, v = coroutine.resume(waiting)\n"
                  " return v .. ' ' .. said end"),
            "a", "own falsecannot resumefalsecannot resume");
}

static void test_lost_coroutine_does_not_disturb_the_next_wait(void **state)
{
    (void)state;
    run_one(CHUNK("k.a = function()\n"
                  " local co = coroutine.wrap(function() for i = 1, 5 do hg.sleep(0.001) "
                  "coroutine.yield(i) end end)\n"
                  " local sum = co() + co() co = nil collectgarbage() collectgarbage()\n"
                  " hg.sleep(0.01) return sum end"),
            "a", "3");
}

static void test_spawned_tasks_run_and_are_bounded(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world,
                CHUNK("local count = 0\n"
                      "k.many = function() local ok, e\n for i = 1, 2000 do ok, e = "
                      "pcall(hg.spawn, function() hg.sleep(0.01) count = count + 1 end)\n"
                      "   if not ok then return i .. ' ' .. e end end end\n"
                      "k.count = function() return count, { ttl = 0 } end\n"
                      "k.bad = function() hg.spawn(function() error('lost') end) return 'x' end\n"
                      "k.arg = function() return select(2, pcall(hg.spawn, 'x')) end"));
    struct answer answer = get(&world, "many");
    assert_non_null(strstr(answer.data, "1001 "));
    assert_non_null(strstr(answer.data, "more than 1000 tasks"));
    WAIT_UNTIL((answer = get(&world, "count"), strcmp(answer.data, "1000") == 0));
    answer = get(&world, "bad");
    assert_value(&answer, "x");
    answer = get(&world, "arg");
    assert_non_null(strstr(answer.data, "function expected"));
    WAIT_UNTIL(stats(&world).errors == 1);
    world_finish(&world);
}

static void test_getter_times_out_inside_a_user_coroutine(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.guard_config.timeout_ms = 50;
    world_start(&world, CHUNK("k.a = function() coroutine.wrap(function() while true do "
                              "hg.sleep(0.01) end end)() end\n"
                              "k.b = function() return 'next' end"));
    struct answer answer = get(&world, "a");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    answer = get(&world, "b");
    assert_value(&answer, "next");
    world_finish(&world);
}

static void test_deep_nesting_of_coroutines_is_an_error(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.budget_ms = 5000;
    world_start(
        &world,
        CHUNK("k.a = function() local function f() return coroutine.wrap(f)() end return f() end\n"
              "k.b = function() local function f(s) return coroutine.wrap(function() return "
              "(s:gsub('.', f)) end)() end return f('x') end\n"
              "k.ok = function() return 'alive' end"));
    struct answer answer = get(&world, "a");
    assert_int_equal(answer.status, HG_STATUS_ERROR);
    answer = get(&world, "b");
    assert_int_equal(answer.status, HG_STATUS_ERROR);
    answer = get(&world, "ok");
    assert_value(&answer, "alive");
    world_finish(&world);
}

static int count_anchors(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    int count = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->anchors_ref);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        count++;
    *(int *)lua_touserdata(L, 1) = count;
    return 0;
}

static int count_registry(lua_State *L)
{
    int count = 0;
    for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX); lua_pop(L, 1))
        count++;
    *(int *)lua_touserdata(L, 1) = count;
    return 0;
}

/* What is counted in a state, on its own thread. */
struct census {
    struct hg_mail mail;
    struct hg_thread *thread;
    int anchors, spares, registry;
    sem_t done;
};

static void on_census(struct hg_mail *mail)
{
    struct census *census = hg_container_of(mail, struct census, mail);
    hg_vm_enter(census->thread->vm, count_anchors, &census->anchors);
    census->spares = (int)census->thread->vm->spare_count;
    hg_vm_enter(census->thread->vm, count_registry, &census->registry);
    sem_post(&census->done);
}

static struct census take_census(struct hg_thread *thread)
{
    struct census census = {.mail.deliver = on_census, .thread = thread, .anchors = -1};
    sem_init(&census.done, 0, 0);
    hg_loop_post(&thread->loop, &census.mail);
    sem_wait(&census.done);
    sem_destroy(&census.done);
    return census;
}

static void test_no_coroutine_stays_anchored(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.guard_config.timeout_ms = 50;
    world_start(&world, "return { groups = { test = { getter = function(key)\n"
                        " if key:find('s') then hg.sleep(key:find('x') and 9 or 0.001) end if "
                        "key:find('e') then error(key) end\n"
                        " hg.spawn(function() hg.sleep(0.001) end) return key end } } }");
    static const char *const keys[] = {"a", "s", "e", "se", "sx", "b", "s2", "e2"};
    struct answer answer = get(&world, "warm-s");
    struct hg_thread *thread = world.runtime->pools[0].threads[0];
    WAIT_UNTIL(atomic_load(&thread->task_count) == 0);
    struct census before = take_census(thread);
    assert_int_equal(before.anchors, before.spares);
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        answer = get(&world, keys[i]);
    (void)answer;
    WAIT_UNTIL(atomic_load(&thread->task_count) == 0);
    struct census after = take_census(thread);
    assert_int_equal(after.registry, before.registry);
    assert_int_equal(after.anchors, after.spares);
    assert_in_range(after.spares, 1, HG_SPARES_MAX);
    world_finish(&world);
}

/* A coroutine whose function has returned runs the next one, which finds nothing of the one before. */
static void test_a_coroutine_is_used_again(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world, "local seen, count = {}, 0 return { groups = { test = { getter = function(key)\n"
                        " local co = coroutine.running() if not seen[co] then seen[co] = true count = count + 1 end\n"
                        " local left = rawget(getfenv(0), 'left') setfenv(0, { left = key })\n"
                        " if key == 'e' then error(key) end\n"
                        " return count .. tostring(left) end } } }");
    char key[16];
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_string_equal(get(&world, key).data, "1nil");
    }
    /* One that has failed is not used again. */
    get(&world, "e");
    assert_string_equal(get(&world, "f").data, "2nil");
    world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sleep_inside_user_coroutines_waits_for_the_whole_task),
        cmocka_unit_test(test_wait_passes_through_pcall_metamethods_and_iterators),
        cmocka_unit_test(test_wait_that_cannot_pass_is_an_error_and_the_task_goes_on),
        cmocka_unit_test(test_task_coroutine_cannot_be_resumed_by_scripts),
        cmocka_unit_test(test_lost_coroutine_does_not_disturb_the_next_wait),
        cmocka_unit_test(test_spawned_tasks_run_and_are_bounded),
        cmocka_unit_test(test_getter_times_out_inside_a_user_coroutine),
        cmocka_unit_test(test_deep_nesting_of_coroutines_is_an_error),
        cmocka_unit_test(test_no_coroutine_stays_anchored),
        cmocka_unit_test(test_a_coroutine_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
