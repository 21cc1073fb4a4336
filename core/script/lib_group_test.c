#include "script/script_world.h"

#define CHUNK(body)                                                                                \
    "local k, g = {}, hg.group('test')\n" body                                                     \
    "\nlocal function getter(key, ctx) return (k[key] or k.any)(key, ctx) end\n"                   \
    "return { groups = { test = { getter = getter }, other = { getter = getter } } }"

static void start(struct world *world, const char *text)
{
    world_init(world);
    world->groups[1] = "other";
    world_start(world, text);
}

static void test_getter_gets_other_keys(void **state)
{
    struct world world;
    (void)state;
    start(&world,
          CHUNK("k.sum = function() local a, b = g:get('a'), hg.group('other'):get('b') return a "
                ".. b .. g:get('a') end\n"
                "k.gone = function() return nil end\n"
                "k.bad = function() return hg.fail{ class = 'denied', message = 'no' } end\n"
                "k.kinds = function() local a, b, c = g:get('gone') local d, e, f = g:get('bad')\n"
                "  return table.concat({ tostring(a), b, c, tostring(d), e, f }, '|') end\n"
                "k.meta = function() g:get('rich') local v, m = g:get('rich')\n"
                "  return table.concat({ v, m.type, m.etag, m.meta, m.how, tostring(m.stale), "
                "tostring(m.age >= 0), tostring(m.ttl > 8 and m.ttl <= 10) }, '|') end\n"
                "k.rich = function() return 'r', { type = 'text/x', etag = 'e', meta = 'm', ttl = "
                "10 } end\n"
                "k.any = function(key) hg.sleep(0.001) return key end"));
    struct answer answer = get(&world, "sum");
    assert_value(&answer, "aba");
    answer = get(&world, "kinds");
    assert_value(&answer, "nil|not found|not_found|nil|no|denied");
    answer = get(&world, "meta");
    assert_value(&answer, "r|text/x|e|m|hit|false|true|true");
    world_finish(&world);
}

static void test_recursive_loads_are_errors(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("k.self = function() local v, m, c = g:get('self') return tostring(v) .. "
                        "'|' .. m .. '|' .. c end\n"
                        "k.a = function() local v, m = g:get('b') return v or nil, m end\n"
                        "k.b = function() local v, m = g:get('c') return v or nil, m end\n"
                        "k.c = function() local v, m, c = g:get('a') return v or nil, m end"));
    struct answer answer = get(&world, "self");
    assert_value(&answer, "nil|recursive load|recursive");
    answer = get(&world, "a");
    assert_error(&answer, HG_CLASS_INTERNAL, "recursive load");
    world_finish(&world);
}

static void test_depth_is_bounded(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("k.any = function(key) local v, m = g:get(tostring(tonumber(key) + 1)) if "
                        "not v then return nil, m end return v end"));
    struct answer answer = get(&world, "0");
    assert_int_equal(answer.status, HG_STATUS_ERROR);
    assert_true(stats(&world).tasks < 20);
    world_finish(&world);
}

/* It may be freed while this configuration serves, which does not hold it. */
static void test_a_group_of_another_configuration_is_none(void **state)
{
    struct world world;
    struct hg_group *other;
    (void)state;
    start(&world, CHUNK("k.any = function() return select(2, pcall(hg.group('third').peek, "
                        "hg.group('third'), 'k')) end"));
    struct hg_group_config config = world.group_config;
    config.name = "third";
    assert_int_equal(hg_groups_add(world.groups_all, &config, &other), HG_OK);
    struct answer answer = get(&world, "there");
    assert_non_null(strstr(answer.data, "no such group 'third'"));
    hg_groups_drop(world.groups_all, other);
    hg_group_destroy(other);
    answer = get(&world, "gone");
    assert_non_null(strstr(answer.data, "no such group 'third'"));
    world_finish(&world);
}

static void test_nested_get_has_its_own_timeout(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("k.slow = function() hg.sleep(1) return 'slow' end\n"
                        "k.a = function() local v, m, c = g:get('slow', { timeout = '20ms' }) "
                        "return tostring(v) .. '|' .. m .. '|' .. c end\n"));
    uint64_t begun = now_ms();
    struct answer answer = get(&world, "a");
    assert_value(&answer, "nil|deadline passed|timeout");
    assert_true(now_ms() - begun < 900);
    WAIT_UNTIL(hg_groups_flight_count(world.groups_all) == 0);
    world_finish(&world);
}

static void test_task_that_dies_leaves_the_flight_it_waited_on(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.groups[1] = "other";
    world.guard_config.timeout_ms = 60;
    world_start(&world,
                CHUNK("k.slow = function() hg.sleep(0.05) hg.sleep(0.002) return 'slow' end\n"
                      "k.a = function() hg.sleep(0.03) g:get('slow') hg.sleep(9) end\n"));
    for (int i = 0; i < 20; i++) {
        struct hg_group *group = hg_groups_at(world.groups_all, 0);
        struct answer answer = get(&world, "a");
        assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
        hg_group_remove(group, HG_BYTES("slow"), now_ms());
    }
    WAIT_UNTIL(hg_groups_flight_count(world.groups_all) == 0);
    world_finish(&world);
}

static void test_misuse_raises_at_the_callers_line(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("k.a = function() local out = {}\n"
                        " local function try(...) local ok, e = pcall(...) out[#out + 1] = "
                        "tostring(e):gsub('^.*config.lua:%d+: ', 'L:') end\n"
                        " try(function() g:get('') end)\n"
                        " try(function() g:get() end)\n"
                        " try(function() g.get('x') end)\n"
                        " try(function() hg.group('nope'):get('x') end)\n"
                        " try(function() hg.group('test\\0x'):get('x') end)\n"
                        " try(function() g:set('x', {}) end)\n"
                        " try(function() g:set('x', 'v', { ttl = -1 }) end)\n"
                        " try(function() hg.group() end)\n"
                        " try(function() g:get('x', { timeout = 'soon' }) end)\n"
                        " return table.concat(out, '\\n') end"));
    struct answer answer = get(&world, "a");
    static const char *const parts[] = {
        "the key is empty",       "string expected",
        "hgcache.group expected", "L:no such group 'nope'",
        "L:no such group 'test'", "expected a string or a number, found table",
        "option 'ttl'",           "string expected",
        "timeout: expected"};
    for (size_t i = 0; i < HG_COUNT(parts); i++)
        if (strstr(answer.data, parts[i]) == NULL)
            fail_msg("no '%s' in: %s", parts[i], answer.data);
    world_finish(&world);
}

static const char writes[] =
    CHUNK("k.set = function() assert(g:set('x', 'one', { ttl = 10, tags = { 't' } })) return "
          "g:get('x') .. tostring(g:set('n', 42)) .. g:get('n') end\n"
          "k.peek = function() local a, b, c = g:peek('cold') return tostring(a) .. c .. "
          "g:peek('x') end\n"
          "k.remove = function() return tostring(g:remove('x')) .. tostring(g:remove('x')) .. "
          "tostring((g:peek('x'))) end\n"
          "k.expire = function() g:set('y', 'v') return tostring(g:expire('y')) end\n"
          "k.any = function(key) return 'loaded ' .. key end");

static void check_writes(struct world *world)
{
    struct answer answer = get(world, "set");
    assert_value(&answer, "onetrue42");
    answer = get(world, "peek");
    assert_value(&answer, "nilnot_foundone");
    answer = get(world, "remove");
    assert_value(&answer, "truefalsenil");
    answer = get(world, "expire");
    assert_value(&answer, "true");
    answer = get(world, "x");
    assert_value(&answer, "loaded x");
}

static void test_writes_without_a_node_are_local(void **state)
{
    struct world world;
    (void)state;
    start(&world, writes);
    check_writes(&world);
    world_finish(&world);
}

struct carried {
    struct hg_mail mail;
    struct hg_change *change;
};

static void on_done(struct hg_mail *mail)
{
    struct carried *carried = hg_container_of(mail, struct carried, mail);
    struct hg_change *change = carried->change;
    hg_free(carried);
    change->done(change);
}

/* As the node does it: on another loop, later, with results that were allocated. */
static void on_carry(struct hg_mail *mail)
{
    struct carried *carried = hg_container_of(mail, struct carried, mail);
    struct hg_change *change = carried->change;
    if (change->op == HG_CHANGE_SET)
        change->err = hg_group_set(change->group, change->value, now_ms());
    else if (change->op == HG_CHANGE_REMOVE)
        change->was_there = hg_group_remove(change->group, change->key, now_ms());
    else
        change->was_there = hg_group_expire(change->group, change->key, now_ms());
    hg_buf_init(&change->acknowledged, 100);
    hg_buf_append_str(&change->acknowledged, "[]");
    mail->deliver = on_done;
    hg_loop_post(change->home, mail);
}

static void carry_out(void *ctx, struct hg_change *change)
{
    struct world *world = ctx;
    struct carried *carried = hg_calloc(1, sizeof(*carried));
    carried->change = change;
    carried->mail.deliver = on_carry;
    hg_loop_post(&world->loop, &carried->mail);
}

static void test_writes_go_through_the_node_and_wait(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.groups[1] = "other";
    world.change = carry_out;
    world_start(&world, writes);
    check_writes(&world);
    world_finish(&world);
}

static void test_stale_value_answers_a_nested_timeout(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world.groups[1] = "other";
    world.group_config.stale_on_timeout = true;
    world.group_config.stale_if_error_ms = 60000;
    world_start(&world,
                CHUNK("local n = 0\nk.s = function() n = n + 1 if n > 1 then hg.sleep(0.3) end "
                      "return 'first', { ttl = '1ms' } end\n"
                      "k.a = function() g:get('s') hg.sleep(0.01) local v, m = g:get('s', { "
                      "timeout = 0.02 }) return tostring(v) .. '|' .. tostring(m.how) end"));
    struct answer answer = get(&world, "a");
    assert_value(&answer, "first|stale");
    WAIT_UNTIL(hg_groups_flight_count(world.groups_all) == 0);
    world_finish(&world);
}

static void test_many_loads_share_nested_keys_over_threads(void **state)
{
    struct world world;
    static struct asker askers[400];
    (void)state;
    world_init(&world);
    world.groups[1] = "other";
    world.getter_threads = 3;
    world_start(&world, CHUNK("k.any = function(key, ctx)\n"
                              " if #key == 1 then hg.sleep(0.002) return key end\n"
                              " local a, b = g:get(key:sub(1, 1)), "
                              "hg.group('other'):get(key:sub(2, 2)) return a .. b end"));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 400; i++) {
            char key[2] = {(char)('a' + i % 20), (char)('a' + i / 20)};
            asker_get(&askers[i], &world, "test", hg_bytes(key, 2));
        }
        for (int i = 0; i < 400; i++) {
            char key[3] = {(char)('a' + i % 20), (char)('a' + i / 20), 0};
            assert_value(asker_wait(&askers[i]), key);
        }
        hg_group_flush(hg_groups_at(world.groups_all, 0), now_ms());
        hg_group_flush(hg_groups_at(world.groups_all, 1), now_ms());
    }
    world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getter_gets_other_keys),
        cmocka_unit_test(test_recursive_loads_are_errors),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_a_group_of_another_configuration_is_none),
        cmocka_unit_test(test_nested_get_has_its_own_timeout),
        cmocka_unit_test(test_task_that_dies_leaves_the_flight_it_waited_on),
        cmocka_unit_test(test_misuse_raises_at_the_callers_line),
        cmocka_unit_test(test_writes_without_a_node_are_local),
        cmocka_unit_test(test_writes_go_through_the_node_and_wait),
        cmocka_unit_test(test_stale_value_answers_a_nested_timeout),
        cmocka_unit_test(test_many_loads_share_nested_keys_over_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
