#include "script/script_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* A port that takes connections and says nothing; `send(body)` and `open()` in the chunk. */
struct setting {
    struct world world;
    int listener;
};

static void open_setting(struct setting *setting, const char *body)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(in);
    char text[4096];

    setting->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(setting->listener, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(setting->listener, 1000), 0);
    assert_int_equal(getsockname(setting->listener, (struct sockaddr *)&in, &len), 0);
    int count = snprintf(text, sizeof(text),
                         "local k, url = {}, 'http://127.0.0.1:%d/'\n"
                         "local function send(body, more) local opts = { url = url, method = "
                         "'PUT', stream = true, body = body, "
                         "timeout = 0.05 }\n"
                         " for name, value in pairs(more or {}) do opts[name] = value end return "
                         "hg.http.request(opts) end\n"
                         "%s\nreturn { groups = { test = { getter = function(key, ctx) return "
                         "(k[key] or k.any)(key, ctx) end } } }",
                         ntohs(in.sin_port), body);
    assert_true(count > 0 && (size_t)count < sizeof(text));
    world_start(&setting->world, text);
}

static void close_setting(struct setting *setting)
{
    assert_int_equal(stats(&setting->world).fetch.running, 0);
    world_finish(&setting->world);
    close(setting->listener);
}

static void test_each_allocation_may_fail_and_nothing_is_left(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    bool was_refused = true;
    unsigned failures = 0;
    (void)state;
    world_init(world);
    world->budget_ms = 5000;
    open_setting(&setting,
                 "k.any = function()\n"
                 " local n, _, message, code = 0\n"
                 " _, message, code = send(function() n = n + 1\n"
                 "  return n < 4 and ('x'):rep(70000) or nil end, { timeout = 0.02 })\n"
                 " if code ~= 'timeout' then return nil, message end return 'timeout' end");
    for (unsigned n = 0; was_refused; n++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "%u", n);
        hg_alloc_fail_at(n, false);
        struct answer answer = get_bytes(world, "test", hg_bytes(key, (size_t)len));
        WAIT_UNTIL(stats(world).running == 0);
        was_refused = hg_alloc_fail_clear();
        if (answer.err != HG_OK || answer.status == HG_STATUS_ERROR)
            failures++;
        else if (!was_refused)
            assert_value(&answer, "timeout");
        assert_true(n < 1000);
    }
    assert_true(failures > 0);
    WAIT_UNTIL(atomic_load(&world->runtime->pools[0].threads[0]->task_count) == 0);
    WAIT_UNTIL(stats(world).fetch.running == 0);
    close_setting(&setting);
}

static void test_load_that_is_over_gives_its_place_back(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    world->guard_config.timeout_ms = 50;
    open_setting(
        &setting,
        "k.wait = function() return send(nil, { timeout = 100 }) end\n"
        "k.give = function() return send(function() hg.sleep(100) end, { timeout = 100 }) end\n"
        "k.fail = function() send(function() error('on purpose') end, { timeout = 100 }) end\n");
    struct answer answer = get(world, "wait");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    WAIT_UNTIL(stats(world).fetch.running == 0);
    answer = get(world, "give");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    WAIT_UNTIL(stats(world).fetch.running == 0);
    answer = get(world, "fail");
    assert_int_equal(answer.klass, HG_CLASS_INTERNAL);
    WAIT_UNTIL(stats(world).fetch.running == 0);
    assert_int_equal(stats(world).fetch.requests, 3);
    assert_int_equal(stats(world).fetch.failures, 3);
    close_setting(&setting);
}

static void test_stop_while_one_is_under_way(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker askers[2];
    (void)state;
    world_init(world);
    open_setting(
        &setting,
        "k.wait = function() return send(nil, { timeout = 100 }) end\n"
        "k.give = function() return send(function() hg.sleep(100) end, { timeout = 100 }) end\n");
    asker_get(&askers[0], world, "test", HG_BYTES("wait"));
    asker_get(&askers[1], world, "test", HG_BYTES("give"));
    WAIT_UNTIL(stats(world).fetch.running == 2);
    hg_runtime_destroy(world->runtime);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(asker_wait(&askers[i])->status, HG_STATUS_ERROR);
    world->runtime = NULL;
    world_finish(world);
    close(setting.listener);
}

static void test_abandoned_thread_gives_its_place_back(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker beside;
    (void)state;
    if (UNDER_TSAN) {
        print_message("skipped: signals are not delivered to a running script under TSan\n");
        return;
    }
    world_init(world);
    world->budget_ms = 50;
    /* A few seconds of C, whatever the machine: measured on a small one, each step doubles it. */
    open_setting(
        &setting,
        "local function find(n) return (('a'):rep(n)):find(('a?'):rep(n) .. ('a'):rep(n)) end\n"
        "k.beside = function() return send(nil, { timeout = 100 }) end\n"
        "k.long = function() return send(function() local n, took = 12, 0\n"
        " while took < 0.004 do n = n + 1 local at = os.clock() find(n) took = os.clock() - at "
        "end\n"
        " while took < 2 do n = n + 1 took = took * 2 end find(n) return 'x' end, { timeout = 100 "
        "}) end\n"
        "k.any = function(key) return key end");
    asker_get(&beside, world, "test", HG_BYTES("beside"));
    WAIT_UNTIL(stats(world).fetch.running == 1);
    struct answer answer = get(world, "long");
    assert_int_equal(answer.klass, HG_CLASS_TIMEOUT);
    assert_int_equal(asker_wait(&beside)->klass, HG_CLASS_TIMEOUT);
    assert_int_equal(stats(world).abandoned, 1);
    assert_int_equal(stats(world).fetch.running, 0);
    answer = get(world, "fresh");
    assert_value(&answer, "fresh");
    WAIT_UNTIL(hg_list_is_empty(&world->runtime->abandoned));
    close_setting(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_may_fail_and_nothing_is_left),
        cmocka_unit_test(test_load_that_is_over_gives_its_place_back),
        cmocka_unit_test(test_stop_while_one_is_under_way),
        cmocka_unit_test(test_abandoned_thread_gives_its_place_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
