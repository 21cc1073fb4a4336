#include "script/script_world.h"

static void test_getter_runs_end_to_end(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(
        &world,
        "local db = { Tom = '630' }\n"
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

/* A getter that is looked up by its key: each key's function is one kind of result. */
#define KINDS_BEGIN "local k = {}\n"
#define KINDS_END                                                                                  \
    "\nreturn { groups = { test = { getter = function(key, ctx) return k[key](key, ctx) end } } }"

struct kind {
    const char *key, *body;
    enum hg_status status;
    enum hg_class klass;
    const char *data; /* a value: all of it; an error: a part */
};

static const struct kind kinds[] = {
    {"text", "return 'hello'", HG_STATUS_VALUE, 0, "hello"},
    {"empty", "return ''", HG_STATUS_VALUE, 0, ""},
    {"int", "return 42", HG_STATUS_VALUE, 0, "42"},
    {"negative", "return -7", HG_STATUS_VALUE, 0, "-7"},
    {"zero", "return -0", HG_STATUS_VALUE, 0, "0"},
    {"big", "return 2^53", HG_STATUS_VALUE, 0, "9007199254740992"},
    {"float", "return 0.1", HG_STATUS_VALUE, 0, "0.1"},
    {"huge", "return 1e300", HG_STATUS_VALUE, 0, "1e+300"},
    {"nan", "return 0/0", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "found NaN"},
    {"inf", "return 1/0", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "infinite"},
    {"true", "return true", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "expected a string or a number, found boolean"},
    {"false", "return false", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "found boolean"},
    {"table", "return {}", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "found table (encode it"},
    {"function", "return print", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "found function"},
    {"thread", "return coroutine.create(print)", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "found thread"},
    {"serve", "return hg.serve('test')", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "hg.serve"},
    {"nothing", "return", HG_STATUS_NOT_FOUND, 0, ""},
    {"nil", "return nil", HG_STATUS_NOT_FOUND, 0, ""},
    {"null", "return hg.null", HG_STATUS_NOT_FOUND, 0, ""},
    {"jsonnull", "return hg.json.null", HG_STATUS_NOT_FOUND, 0, ""},
    {"notfound", "return hg.not_found{ ttl = 1 }", HG_STATUS_NOT_FOUND, 0, ""},
    {"why", "return nil, 'why not'", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "why not"},
    {"whynumber", "return nil, 12", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "12"},
    {"whyfail", "return nil, hg.fail{ class = 'denied', message = 'no' }", HG_STATUS_ERROR,
     HG_CLASS_DENIED, "no"},
    {"nilopts", "return nil, { ttl = 1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "hg.not_found"},
    {"nilspoken", "return nil, setmetatable({}, { __tostring = function() return 'spoken' end })",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "spoken"},
    {"nilcode", "return nil, 'not found', 'not_found'", HG_STATUS_NOT_FOUND, 0, ""},
    {"nilclass", "return nil, 'slow', 'timeout'", HG_STATUS_ERROR, HG_CLASS_TIMEOUT, "slow"},
    {"nilothercode", "return nil, 'who knows', 42", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "who knows"},
    {"passedon", "return 'x', { how = 'hit', stale = false, age = 1, ttl = 5 }", HG_STATUS_VALUE, 0,
     "x"},
    {"error", "error('boom')", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "boom"},
    {"errornil", "error(nil)", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "error object is a nil value"},
    {"errorfalse", "error(false)", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "error object is a boolean value"},
    {"errortable", "error({})", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "error object is a table value"},
    {"errorudata", "error(newproxy())", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "error object is a userdata value"},
    {"errorfn", "error(print)", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "error object is a function value"},
    {"errormeta", "error(setmetatable({}, { __tostring = function() return 'spoken' end }))",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "spoken"},
    {"errorbad", "error(setmetatable({}, { __tostring = function() error('again') end }))",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "__tostring failed"},
    {"errorodd", "error(setmetatable({}, { __tostring = function() return {} end }))",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "__tostring failed"},
    {"errorfail", "error(hg.fail{ class = 'unavailable', message = 'later', retry_after = 3 })",
     HG_STATUS_ERROR, HG_CLASS_UNAVAILABLE, "later"},
    {"fail", "return hg.fail{ class = 'timeout', message = 'slow' }", HG_STATUS_ERROR,
     HG_CLASS_TIMEOUT, "slow"},
    {"failtext", "return hg.fail('plain')", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "plain"},
    {"failbare", "return hg.fail()", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "the getter failed"},
    {"failclass", "return hg.fail{ class = 'x' }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "expected class"},
    {"failretry", "return hg.fail{ retry = 1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "hg.fail: retry"},
    {"failoption", "return hg.fail{ clas = 'x' }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "unknown option 'clas'"},
    {"keep", "return hg.keep{}", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "no old value"},
    {"ttl0", "return 'x', { ttl = 0 }", HG_STATUS_VALUE, 0, "x"},
    {"ttlever", "return 'x', { ttl = false }", HG_STATUS_VALUE, 0, "x"},
    {"ttlunit", "return 'x', { ttl = '10s' }", HG_STATUS_VALUE, 0, "x"},
    {"ttlminus", "return 'x', { ttl = -1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"ttlnan", "return 'x', { ttl = 0/0 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"ttlinf", "return 'x', { ttl = 1/0 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"ttlhuge", "return 'x', { ttl = 1e300 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"ttltext", "return 'x', { ttl = 'soon' }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"ttltrue", "return 'x', { ttl = true }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"ttltable", "return 'x', { ttl = {} }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'ttl'"},
    {"nfttl", "return hg.not_found{ ttl = -1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "hg.not_found: ttl"},
    {"keepttl", "return hg.keep{ ttl = {} }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "hg.keep: ttl"},
    {"option", "return 'x', { tll = 1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "option 'tll': is not an option"},
    {"optnumber", "return 'x', { 1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "is not an option"},
    {"options", "return 'x', 'y'", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "expected a table, found string"},
    {"tagone", "return 'x', { tags = 'a' }", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "option 'tags'"},
    {"tagnum", "return 'x', { tags = { 1 } }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "expected a string, found number"},
    {"tagempty", "return 'x', { tags = { '' } }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "option 'tags'"},
    {"taglong", "return 'x', { tags = { ('x'):rep(256) } }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "at most 255 bytes"},
    {"tagmany", "local t = {} for i = 1, 65 do t[i] = 't' .. i end return 'x', { tags = t }",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "at most 64 tags"},
    {"typecrlf", "return 'x', { type = 'text/plain\\r\\nX: y' }", HG_STATUS_ERROR,
     HG_CLASS_INTERNAL, "control characters"},
    {"etagquote", "return 'x', { etag = 'a\"b' }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "without quotes"},
    {"metalong", "return 'x', { meta = ('m'):rep(257) }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "at most 256 bytes"},
    {"uncacheable", "return 'x', { uncacheable = 1 }", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "expected true or false"},
    {"value", "return hg.value('inside', { type = 'text/x' })", HG_STATUS_VALUE, 0, "inside"},
    {"yield", "coroutine.yield('?') return 'x'", HG_STATUS_ERROR, HG_CLASS_INTERNAL,
     "coroutine.yield was called outside"},
    {"recursion", "local function f() return 1 + f() end return f()", HG_STATUS_ERROR,
     HG_CLASS_INTERNAL, "stack overflow"},
    {"pcallnest",
     "local function f(n) local ok, e = pcall(f, n + 1) if not ok then error(e, 0) end end f(1) "
     "return 'x'",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "overflow"},
    {"gsubnest", "local function f(s) return (s:gsub('.', f)) end return f('x')", HG_STATUS_ERROR,
     HG_CLASS_INTERNAL, ""},
    {"badsort",
     "local t = {} for i = 1, 100 do t[i] = i % 7 end table.sort(t, function() return true end) "
     "return 'x'",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "invalid order function"},
    {"sleepsort",
     "local t = { 3, 2, 1 } table.sort(t, function(a, b) hg.sleep(0) return a < b end) return 'x'",
     HG_STATUS_ERROR, HG_CLASS_INTERNAL, "hg.sleep cannot wait here"},
    {"sleepbad", "hg.sleep(-1)", HG_STATUS_ERROR, HG_CLASS_INTERNAL, "bad argument #1 to 'sleep'"},
    {"group", "return ctx.group .. ctx.reason .. ctx.attempt", HG_STATUS_VALUE, 0, "testmiss1"},
    {"remaining", "return ctx.remaining() > 4 and ctx.remaining() <= 5 and 'ok'", HG_STATUS_VALUE,
     0, "ok"},
    {"noold", "return tostring(ctx.old) .. tostring(ctx.age)", HG_STATUS_VALUE, 0, "nilnil"},
};

static void test_each_kind_of_result_has_its_meaning(void **state)
{
    struct world world;
    static char text[32768];
    size_t len = (size_t)snprintf(text, sizeof(text), KINDS_BEGIN);
    (void)state;

    for (size_t i = 0; i < HG_COUNT(kinds); i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "k[%s%s%s] = function(key, ctx) %s end\n", "'", kinds[i].key, "'",
                                kinds[i].body);
    snprintf(text + len, sizeof(text) - len, KINDS_END);
    world_init(&world);
    world_start(&world, text);
    for (size_t i = 0; i < HG_COUNT(kinds); i++) {
        struct answer answer = get(&world, kinds[i].key);
        if (answer.status != kinds[i].status ||
            (answer.status == HG_STATUS_ERROR && answer.klass != kinds[i].klass) ||
            (answer.status == HG_STATUS_VALUE && strcmp(answer.data, kinds[i].data) != 0) ||
            (answer.status == HG_STATUS_ERROR && strstr(answer.data, kinds[i].data) == NULL))
            fail_msg("%s: found err=%s status=%d class=%s '%s'", kinds[i].key,
                     hg_err_name(answer.err), (int)answer.status, hg_class_name(answer.klass),
                     answer.data);
    }
    struct answer answer = get(&world, "errorfail");
    assert_int_equal(answer.retry_after_ms, 3000);
    world_finish(&world);
}

static void test_options_reach_the_value(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world, "return { groups = { test = { getter = function(key)\n"
                        "  if key == 'u' then return 'x', { uncacheable = true } end\n"
                        "  if key == 'z' then return 'x', { ttl = 0 } end\n"
                        "  return 'a\\0b', { ttl = 5, tags = { 't1', 't2' }, type = 'text/x', etag "
                        "= 'e', meta = 'm' } end } } }");
    struct answer answer = get(&world, "k");
    assert_int_equal(answer.len, 3);
    assert_memory_equal(answer.data, "a\0b", 3);
    assert_int_equal(answer.ttl_ms, 5000);
    assert_string_equal(answer.type, "text/x");
    assert_string_equal(answer.etag, "e");
    assert_string_equal(answer.meta, "m");
    assert_int_equal(answer.tag_count, 2);
    answer = get(&world, "u");
    assert_true(answer.uncacheable);
    answer = get(&world, "z");
    assert_int_equal(answer.how, HG_HOW_MISS);
    answer = get(&world, "z");
    assert_int_equal(answer.how, HG_HOW_MISS);
    world_finish(&world);
}

static void test_values_up_to_the_limit_arrive_whole_and_larger_are_too_large(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world, "return { groups = { test = { getter = function(key) return "
                        "('v'):rep(tonumber(key)) end } } }");
    struct answer answer = get(&world, "0");
    assert_int_equal(answer.status, HG_STATUS_VALUE);
    assert_int_equal(answer.len, 0);
    answer = get(&world, "8388608");
    assert_int_equal(answer.status, HG_STATUS_VALUE);
    assert_int_equal(answer.len, 8388608);
    answer = get(&world, "8388609");
    assert_error(&answer, HG_CLASS_TOO_LARGE, "over the size limit");
    world_finish(&world);
}

static void test_keys_are_bytes(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(&world, "return { groups = { test = { getter = function(key) return #key .. ':' .. "
                        "key:byte(2) end } } }");
    struct answer answer = get_bytes(&world, "test", HG_BYTES("a\0\xff"));
    assert_value(&answer, "3:0");
    world_finish(&world);
}

static void test_old_value_is_seen_by_a_refresh_and_can_be_kept(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.group_config.stale_while_revalidate_ms = 60000;
    world_start(
        &world,
        "local n = 0\nreturn { groups = { test = { getter = function(key, ctx)\n n = n + 1\n"
        " if n == 1 then return 'first', { ttl = '1ms', meta = 'mm', etag = 'ee' } end\n"
        " if n == 2 then seen = table.concat({ ctx.reason, ctx.old, ctx.etag, ctx.meta, "
        "tostring(ctx.age >= 0), ctx.old }, ' ')\n"
        "   return hg.keep{ ttl = '1ms' } end\n"
        " return seen, { ttl = false } end } } }");
    struct answer answer = get(&world, "k");
    assert_value(&answer, "first");
    WAIT_UNTIL((answer = get(&world, "k"), strcmp(answer.data, "first") != 0));
    assert_value(&answer, "refresh first ee mm true first");
    world_finish(&world);
}

static void test_failed_runs_are_tried_again_with_their_number(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.guard_config.retries = 2;
    world_start(
        &world,
        "local runs = {}\nreturn { groups = { test = { getter = function(key, ctx)\n"
        " runs[key] = (runs[key] or 0) + 1\n"
        " if key == 'denied' then return hg.fail{ class = 'denied', message = "
        "tostring(runs[key]) } end\n"
        " if key == 'final' then return hg.fail{ message = 'f' .. runs[key], retry = false } end\n"
        " if key == 'shape' then if runs[key] > 1 then return 'again' end return {} end\n"
        " if key == 'never' then error('run ' .. runs[key], 0) end\n"
        " if key == 'loose' then if ctx.attempt < 3 then hg.sleep(0.001) error('x') end "
        "return 'at ' .. ctx.attempt end\n"
        " if ctx.attempt < 3 then return nil, 'not yet' end\n return 'attempt ' .. "
        "ctx.attempt end } } }");
    struct answer answer = get(&world, "k");
    assert_value(&answer, "attempt 3");
    answer = get(&world, "loose");
    assert_value(&answer, "at 3");
    answer = get(&world, "denied");
    assert_error(&answer, HG_CLASS_DENIED, "1");
    answer = get(&world, "final");
    assert_error(&answer, HG_CLASS_INTERNAL, "f1");
    answer = get(&world, "shape");
    assert_error(&answer, HG_CLASS_INTERNAL, "found table");
    answer = get(&world, "never");
    assert_error(&answer, HG_CLASS_INTERNAL, "run 3");
    world_finish(&world);
}

static void test_retries_end_at_the_deadline(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.guard_config.retries = 1000000;
    world.guard_config.backoff_ms = 20;
    world.group_config.deadline_ms = 300;
    world_start(&world,
                "return { groups = { test = { getter = function() return nil, 'down' end } } }");
    uint64_t begun = now_ms();
    struct answer answer = get(&world, "k");
    assert_error(&answer, HG_CLASS_INTERNAL, "down");
    assert_true(now_ms() - begun < 5000);
    world_finish(&world);
}

static void test_getter_that_waits_too_long_times_out_and_answers_late_for_nobody(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.guard_config.timeout_ms = 100;
    world_start(&world, "return { groups = { test = { getter = function(key)\n"
                        " if key == 'slow' then hg.sleep(3600) end\n return 'fine' end } } }");
    struct answer answer = get(&world, "slow");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    answer = get(&world, "quick");
    assert_value(&answer, "fine");
    assert_int_equal(stats(&world).running, 0);
    world_finish(&world);
}

static void test_hundred_sleepers_share_one_thread(void **state)
{
    struct world world;
    static struct asker askers[100];
    (void)state;
    world_init(&world);
    world_start(
        &world,
        "return { groups = { test = { getter = function(key) hg.sleep(0.1) return key end } } }");
    uint64_t begun = now_ms();
    for (int i = 0; i < 100; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "k%d", i);
        asker_get(&askers[i], &world, "test", hg_bytes(key, (size_t)len));
    }
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_value(asker_wait(&askers[i]), key);
    }
    assert_true(now_ms() - begun >= 100);
    assert_true(now_ms() - begun < 5000); /* one after the other would be 10 s */
    assert_int_equal(stats(&world).tasks, 100);
    world_finish(&world);
}

static void test_one_load_answers_all_waiters(void **state)
{
    struct world world;
    static struct asker askers[500];
    (void)state;
    world_init(&world);
    world_start(&world, "local n = 0\nreturn { groups = { test = { getter = function() n = n + 1 "
                        "hg.sleep(0.05) return n end } } }");
    for (int i = 0; i < 500; i++)
        asker_get(&askers[i], &world, "test", HG_BYTES("one"));
    for (int i = 0; i < 500; i++)
        assert_value(asker_wait(&askers[i]), "1");
    world_finish(&world);
}

static void test_loads_left_at_destroy_are_answered(void **state)
{
    struct world world;
    struct asker sleeping, queued[20];
    (void)state;
    world_init(&world);
    world_start(&world,
                "return { groups = { test = { getter = function() hg.sleep(3600) end } } }");
    asker_get(&sleeping, &world, "test", HG_BYTES("s"));
    WAIT_UNTIL(stats(&world).tasks == 1);
    assert_false(hg_runtime_drain(world.runtime));
    for (int i = 0; i < 20; i++) {
        asker_get(&queued[i], &world, "test", hg_bytes(&"ABCDEFGHIJKLMNOPQRST"[i], 1));
        assert_error(asker_wait(&queued[i]), HG_CLASS_UNAVAILABLE, "could not be started");
    }
    hg_runtime_destroy(world.runtime);
    assert_error(asker_wait(&sleeping), HG_CLASS_UNAVAILABLE, "draining");
    world.runtime = NULL;
    world_finish(&world);
}

static void test_evicted_values_reach_on_evict(void **state)
{
    struct world world;
    struct answer answer;
    (void)state;
    world_init(&world);
    world_start(&world, "gone = {}\nreturn { groups = { test = { getter = function(key)\n"
                        " if key == 'gone' then return table.concat(gone, ' '), { uncacheable = "
                        "true } end return 'v' .. key end,\n"
                        " on_evict = function(key, value, reason) hg.sleep(0) gone[#gone + 1] = "
                        "key .. '=' .. value .. ':' .. reason end } } }");
    struct hg_group *group = hg_groups_at(world.groups_all, 0);
    answer = get(&world, "a");
    assert_value(&answer, "va");
    assert_true(hg_group_remove(group, HG_BYTES("a"), now_ms()));
    WAIT_UNTIL((answer = get(&world, "gone"), strcmp(answer.data, "a=va:removed") == 0));
    world_finish(&world);
}

static void test_hot_keys_reach_on_hot(void **state)
{
    struct world world;
    struct answer answer;
    (void)state;
    world_init(&world);
    world_start(&world, "told = 'nobody'\nreturn { groups = { test = { getter = function(key)\n"
                        " if key == 'told' then return told, { uncacheable = true } end return 'v' "
                        ".. key end,\n"
                        " on_hot = function(key, rate) hg.sleep(0) told = key .. '=' .. "
                        "tostring(rate) end } } }");
    struct hg_group *group = hg_groups_at(world.groups_all, 0);
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("a"), .data = HG_BYTES("v")};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    hg_runtime_hot(world.runtime, group, value, 0); /* no rate: nothing to tell */
    hg_runtime_hot(world.runtime, group, value, 1234);
    hg_runtime_evicted(world.runtime, group, value, 0); /* nobody wants it */
    hg_value_unref(value);
    WAIT_UNTIL((answer = get(&world, "told"), strcmp(answer.data, "a=1234") == 0));
    world_finish(&world);
}

static void test_each_allocation_may_fail_and_the_load_is_answered(void **state)
{
    struct world world;
    bool was_refused = true;
    unsigned failures = 0;
    (void)state;
    world_init(&world);
    world_start(&world,
                "local g = hg.group('test')\nreturn { groups = { test = { getter = function(key)\n"
                " if key:sub(1, 1) == 'n' then return 'leaf' end local v, m = g:get('n' .. key) if "
                "not v then return nil, m end\n"
                " hg.spawn(function() end) g:set('s' .. key, v) return v .. (g:peek('s' .. key) or "
                "'') end } } }");
    for (unsigned n = 0; was_refused; n++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "%u", n);
        hg_alloc_fail_at(n, false);
        struct answer answer = get_bytes(&world, "test", hg_bytes(key, (size_t)len));
        WAIT_UNTIL(stats(&world).running == 0);
        was_refused = hg_alloc_fail_clear();
        if (answer.err != HG_OK || answer.status == HG_STATUS_ERROR)
            failures++;
        assert_true(n < 1000);
    }
    assert_true(failures > 0);
    WAIT_UNTIL(atomic_load(&world.runtime->pools[0].threads[0]->task_count) == 0);
    world_finish(&world);
}

static void test_data_that_differs_between_states_is_refused(void **state)
{
    struct world world;
    char *error = NULL;
    struct hg_runtime *runtime;
    (void)state;
    world_init(&world);
    world_start(&world, "return { groups = { test = { getter = function() end, ttl = 5 } } }");
    FILE *out = fopen(world.file, "w");
    fprintf(out, "return { groups = { test = { getter = function() end, ttl = 6 } } }");
    fclose(out);
    const char *pools[] = {"getters"};
    struct hg_pool_config pool_config = {"getters", 1};
    struct hg_runtime_config config = {
        .vm = {.file = world.file, .memory_bytes = 64 << 20},
        .pools = &pool_config,
        .pool_count = 1,
        .group_list = (struct hg_group *[]){hg_groups_at(world.groups_all, 0)},
        .group_pools = pools,
        .group_count = 1,
        .control = world.control,
    };
    assert_int_equal(hg_runtime_create(&config, &runtime, &error), HG_EINVAL);
    assert_non_null(strstr(error, "ttl = 6000"));
    hg_free(error);
    pools[0] = "nowhere";
    assert_int_equal(hg_runtime_create(&config, &runtime, &error), HG_EINVAL);
    assert_non_null(strstr(error, "no pool 'nowhere'"));
    hg_free(error);
    world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getter_runs_end_to_end),
        cmocka_unit_test(test_each_kind_of_result_has_its_meaning),
        cmocka_unit_test(test_options_reach_the_value),
        cmocka_unit_test(test_values_up_to_the_limit_arrive_whole_and_larger_are_too_large),
        cmocka_unit_test(test_keys_are_bytes),
        cmocka_unit_test(test_old_value_is_seen_by_a_refresh_and_can_be_kept),
        cmocka_unit_test(test_failed_runs_are_tried_again_with_their_number),
        cmocka_unit_test(test_retries_end_at_the_deadline),
        cmocka_unit_test(test_getter_that_waits_too_long_times_out_and_answers_late_for_nobody),
        cmocka_unit_test(test_hundred_sleepers_share_one_thread),
        cmocka_unit_test(test_one_load_answers_all_waiters),
        cmocka_unit_test(test_loads_left_at_destroy_are_answered),
        cmocka_unit_test(test_evicted_values_reach_on_evict),
        cmocka_unit_test(test_hot_keys_reach_on_hot),
        cmocka_unit_test(test_each_allocation_may_fail_and_the_load_is_answered),
        cmocka_unit_test(test_data_that_differs_between_states_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
