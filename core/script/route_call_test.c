#include "script/script_world.h"

#include "wire/http1.h"

/* A request and what it was answered. */
struct caller {
    struct hg_route_call call;
    struct hg_http1_request request;
    struct hg_field fields[4];
    sem_t done;
};

static void on_done(struct hg_route_call *call)
{
    struct caller *caller = hg_container_of(call, struct caller, call);
    sem_post(&caller->done);
}

static int begin_call(struct caller *caller, struct world *world, const char *route,
                      const char *path, const char *query, const char *body)
{
    memset(caller, 0, sizeof(*caller));
    sem_init(&caller->done, 0, 0);
    caller->fields[0] = (struct hg_field){HG_BYTES("X-One"), HG_BYTES("1")};
    caller->fields[1] = (struct hg_field){HG_BYTES("x-one"), HG_BYTES("2")};
    caller->fields[2] = (struct hg_field){HG_BYTES("Cookie"), HG_BYTES("a=b")};
    caller->request = (struct hg_http1_request){
        .method = HG_POST,
        .path = hg_bytes_str(path),
        .query = hg_bytes_str(query),
        .fields = caller->fields,
        .field_count = 3,
        .body = hg_bytes_str(body),
    };
    caller->call = (struct hg_route_call){
        .route = route,
        .request = &caller->request,
        .remote = "127.0.0.1:5",
        .timeout_ms = 5000,
        .home = &world->loop,
        .done = on_done,
    };
    caller->call.params.count = 1;
    caller->call.params.names[0] = HG_BYTES("id");
    caller->call.params.values[0] = HG_BYTES("a%2Fb");
    return hg_runtime_call(world->runtime, &caller->call);
}

static void wait_call(struct caller *caller)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    if (sem_timedwait(&caller->done, &until) != 0)
        fail_msg("no answer");
    sem_destroy(&caller->done);
}

static void expect(struct world *world, const char *route, const char *query, int status,
                   const char *headers, const char *body)
{
    struct caller caller;
    assert_int_equal(begin_call(&caller, world, route, "/p%20q", query, "the body"), HG_OK);
    wait_call(&caller);
    if (caller.call.status != status ||
        !hg_bytes_eq(hg_buf_bytes(&caller.call.headers), hg_bytes_str(headers)) ||
        !hg_bytes_eq(hg_buf_bytes(&caller.call.body), hg_bytes_str(body)))
        fail_msg("%s: found %d [%.*s] '%.*s'", route, caller.call.status,
                 (int)caller.call.headers.len, caller.call.headers.data, (int)caller.call.body.len,
                 caller.call.body.data);
    assert_int_equal(caller.call.has_type, strstr(headers, "ontent-") != NULL);
    assert_int_equal(caller.call.has_cache_control, strstr(headers, "ache-") != NULL);
    hg_route_call_finish(&caller.call);
}

#define CHUNK(body)                                                                                \
    "local r = {}\n" body "\nreturn { groups = { test = { getter = function(key) hg.sleep(0.001) " \
    "return 'v' .. key end } }, routes = r }"

static void test_request_reaches_the_function(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(
        &world,
        CHUNK("r['POST /a'] = function(req) return table.concat({ req.method, req.path, "
              "req.query.x, req.query['y z'], req.query_all.x[2],\n"
              "  req.headers['x-one'], req.headers.cookie, req.body, req.params.id, req.remote, "
              "tostring(req.query.n) }, '|') end\n"
              "r['POST /h'] = { handler = function(req) return hg.group('test'):get('k') end }"));
    expect(&world, "POST /a", "x=1+2&x=3&y%20z=%41&&e", 200, "",
           "POST|/p q|1 2|A|3|1, 2|a=b|the body|a/b|127.0.0.1:5|nil");
    expect(&world, "POST /h", NULL, 200, "", "vk");
    world_finish(&world);
}

static void test_each_kind_of_answer_has_its_meaning(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_start(
        &world,
        CHUNK("r['POST /s'] = function() return 'text' end\n"
              "r['POST /t'] = function() return 201, 'made', { ['Content-Type'] = 'text/x' } end\n"
              "r['POST /c'] = function() return 200, '', { ['cache-Control'] = 'private' } end\n"
              "r['POST /e'] = function() return 204 end\n"
              "r['POST /n'] = function() return 200, 42 end\n"
              "r['POST /r'] = function() return hg.reply{ status = 404, body = 'gone', headers = { "
              "['x-a'] = { '1', '2' } } } end\n"
              "r['POST /rd'] = function() return hg.reply{ body = 'x' } end"));
    expect(&world, "POST /s", "", 200, "", "text");
    expect(&world, "POST /t", "", 201, "Content-Type: text/x\r\n", "made");
    expect(&world, "POST /c", "", 200, "cache-Control: private\r\n", "");
    expect(&world, "POST /e", "", 204, "", "");
    expect(&world, "POST /n", "", 200, "", "42");
    expect(&world, "POST /r", "", 404, "x-a: 1\r\nx-a: 2\r\n", "gone");
    expect(&world, "POST /rd", "", 200, "", "x");
    world_finish(&world);
}

/* Of a kind; the caller is to be finished. */
static void call_kind(struct caller *caller, struct world *world, enum hg_call_kind kind,
                      const char *name)
{
    memset(caller, 0, sizeof(*caller));
    sem_init(&caller->done, 0, 0);
    caller->request = (struct hg_http1_request){.method = HG_GET, .path = HG_BYTES("/p")};
    caller->call = (struct hg_route_call){
        .kind = kind,
        .route = name,
        .request = &caller->request,
        .error_status = 404,
        .error_message = "why",
        .origin = HG_BYTES("https://a.example"),
        .may_serve = kind == HG_CALL_ROUTE,
        .timeout_ms = 5000,
        .home = &world->loop,
        .done = on_done,
    };
    assert_int_equal(hg_runtime_call(world->runtime, &caller->call), HG_OK);
    wait_call(caller);
}

static const char hooked[] =
    "local r = {}\n"
    "r['GET /s'] = function() return hg.reply{ group = 'test', key = 'a\\0b', headers = { X = 'y' "
    "} } end\n"
    "r['GET /n'] = hg.serve('test', { before = function(req) end })\n"
    "r['GET /o'] = { handler = print, cors = { origin = function() return 'yes' end } }\n"
    "r['GET /b'] = hg.serve('test', { before = function(req) return 401, 'no' end })\n"
    "return { groups = { test = { getter = function() return 'v' end } }, routes = r,\n"
    " cors = { origin = function(o) return o == 'https://a.example' end },\n"
    " http = { errors = { [404] = function(req, status, message) return req.path .. status .. "
    "message end,\n"
    "  [500] = function() error 'on purpose' end,\n"
    "  [501] = function() return hg.reply{ group = 'test', key = 'a' } end,\n"
    "  [502] = function() return { __hgcache = 'native' } end } } }";

static void test_pages_origins_and_stored_values(void **state)
{
    struct world world;
    struct caller caller;
    (void)state;
    world_init(&world);
    world_start(&world, hooked);
    call_kind(&caller, &world, HG_CALL_ERROR, "error 404");
    assert_false(caller.call.is_failed);
    assert_int_equal(caller.call.status, 404);
    assert_true(hg_bytes_eq(hg_buf_bytes(&caller.call.body), HG_BYTES("/p404why")));
    hg_route_call_finish(&caller.call);
    static const char *const failing[] = {"error 500", "error 501", "error 502"};
    for (size_t i = 0; i < HG_COUNT(failing); i++) {
        call_kind(&caller, &world, HG_CALL_ERROR, failing[i]);
        assert_true(caller.call.is_failed);
        hg_route_call_finish(&caller.call);
    }
    call_kind(&caller, &world, HG_CALL_ORIGIN, "origin GET /o");
    assert_true(caller.call.is_failed);
    hg_route_call_finish(&caller.call);
    call_kind(&caller, &world, HG_CALL_ORIGIN, "origin");
    assert_true(caller.call.is_allowed);
    hg_route_call_finish(&caller.call);
    call_kind(&caller, &world, HG_CALL_ROUTE, "GET /n");
    assert_true(caller.call.is_native);
    hg_route_call_finish(&caller.call);
    call_kind(&caller, &world, HG_CALL_ROUTE, "GET /b");
    assert_false(caller.call.is_native);
    assert_int_equal(caller.call.status, 401);
    hg_route_call_finish(&caller.call);
    call_kind(&caller, &world, HG_CALL_ROUTE, "GET /s");
    assert_string_equal(caller.call.stored_group, "test");
    assert_true(hg_bytes_eq(hg_buf_bytes(&caller.call.stored_key), hg_bytes("a\0b", 3)));
    assert_true(hg_bytes_eq(hg_buf_bytes(&caller.call.headers), HG_BYTES("X: y\r\n")));
    hg_route_call_finish(&caller.call);
    call_kind(&caller, &world, HG_CALL_ROUTE, "GET /none");
    assert_true(caller.call.is_failed);
    assert_int_equal(caller.call.status, 502);
    hg_route_call_finish(&caller.call);
    world_finish(&world);
}

static void test_each_allocation_of_a_call_may_fail(void **state)
{
    struct world world;
    struct caller caller;
    bool was_refused = true;
    unsigned failures = 0;
    (void)state;
    world_init(&world);
    world_start(&world, hooked);
    call_kind(&caller, &world, HG_CALL_ROUTE, "GET /s"); /* its function has been looked up */
    hg_route_call_finish(&caller.call);
    for (size_t n = 2; was_refused; n++) { /* the first ones are the task's and the test's */
        hg_alloc_fail_at(n, false);
        call_kind(&caller, &world, HG_CALL_ROUTE, "GET /s");
        was_refused = hg_alloc_fail_clear();
        failures += caller.call.is_failed;
        if (!caller.call.is_failed)
            assert_string_equal(caller.call.stored_group, "test");
        hg_route_call_finish(&caller.call);
        assert_true(n < 100);
    }
    assert_true(failures >= 2);
    world_finish(&world);
}

static void test_wrong_answers_are_502_with_a_safe_text(void **state)
{
    static const char *const bodies[] = {
        "return nil",
        "return {}",
        "return true",
        "return 99",
        "return 600",
        "return 200.5",
        "return 0/0",
        "return 200, {}",
        "return 200, print",
        "return 200, 'x', 'y'",
        "return 200, 'x', { a = 'b\\r\\nc: d' }",
        "return 200, 'x', { a = 'b\\nc' }",
        "return 200, 'x', { a = 'b\\0c' }",
        "return 200, 'x', { a = 'b\\1c' }",
        "return 200, 'x', { a = '\\127' }",
        "return { __hgcache = 'native' }",
        "return hg.reply{ group = 'test\\0', key = 'a' }",
        "return 200, 'x', { ['a b'] = 'c' }",
        "return 200, 'x', { ['a\\r\\nb'] = 'c' }",
        "return 200, 'x', { 'c' }",
        "return 200, 'x', { a = {} , b = print }",
        "return 200, 'x', { ['Content-Length'] = '1' }",
        "return 200, 'x', { ['transfer-encoding'] = 'chunked' }",
        "return 200, 'x', { a = ('y'):rep(20000) }",
        "return ('z'):rep(2e6)",
        "error('secret')",
        "error(nil)",
        "return hg.not_found{}",
        "coroutine.yield() return 'x'",
    };
    struct world world;
    static char text[16384];
    size_t len = (size_t)snprintf(text, sizeof(text), "local r = {}\n");
    (void)state;

    for (size_t i = 0; i < HG_COUNT(bodies); i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "r['POST /%zu'] = function(req) %s end\n", i, bodies[i]);
    snprintf(text + len, sizeof(text) - len,
             "return { groups = { test = { getter = print } }, routes = r }");
    world_init(&world);
    world_start(&world, text);
    for (size_t i = 0; i < HG_COUNT(bodies); i++) {
        char route[32];
        snprintf(route, sizeof(route), "POST /%zu", i);
        expect(&world, route, "", 502, "", "the script failed\n");
    }
    expect(&world, "POST /nowhere", "", 502, "", "the script failed\n");
    world_finish(&world);
}

static void test_time_out_budget_and_drain_are_answered(void **state)
{
    struct world world;
    struct caller slow, loop, left, refused;
    (void)state;
    world_init(&world);
    world.route_threads = 2;
    world_start(&world, CHUNK("r['POST /slow'] = function() hg.sleep(3600) return 'x' end\nr['POST "
                              "/loop'] = function() while true do end end"));
    assert_int_equal(begin_call(&slow, &world, "POST /slow", "/", "", ""), HG_OK);
    wait_call(&slow);
    assert_int_equal(slow.call.status, 504);
    hg_route_call_finish(&slow.call);
    if (!UNDER_TSAN) {
        assert_int_equal(begin_call(&loop, &world, "POST /loop", "/", "", ""), HG_OK);
        wait_call(&loop);
        assert_int_equal(loop.call.status, 504);
        hg_route_call_finish(&loop.call);
    }
    assert_int_equal(begin_call(&left, &world, "POST /slow", "/", "", ""), HG_OK);
    WAIT_UNTIL(stats(&world).tasks >= (UNDER_TSAN ? 2 : 3));
    assert_false(hg_runtime_drain(world.runtime));
    assert_int_equal(begin_call(&refused, &world, "POST /slow", "/", "", ""), HG_EDRAINING);
    hg_runtime_destroy(world.runtime);
    world.runtime = NULL;
    wait_call(&left);
    assert_int_equal(left.call.status, 503);
    hg_route_call_finish(&left.call);
    world_finish(&world);
}

static void test_route_stuck_in_c_is_answered_and_its_thread_replaced(void **state)
{
    struct world world;
    struct caller stuck;
    (void)state;
    if (UNDER_TSAN) {
        print_message("skipped: signals are not delivered to a running script under TSan\n");
        return;
    }
    world_init(&world);
    world.budget_ms = 50;
    world_start(
        &world,
        CHUNK("r['POST /bomb'] = function()\n"
              "  return tostring((('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(30))) end\n"
              "r['POST /fine'] = function() return 'fine' end"));
    assert_int_equal(begin_call(&stuck, &world, "POST /bomb", "/", "", ""), HG_OK);
    wait_call(&stuck);
    assert_int_equal(stuck.call.status, 504);
    hg_route_call_finish(&stuck.call);
    expect(&world, "POST /fine", "", 200, "", "fine");
    assert_int_equal(stats(&world).abandoned, 1);
    assert_int_equal(stats(&world).quarantined, 0);
    struct answer answer = get(&world, "k");
    assert_value(&answer, "vk");
    world_stop(&world);
}

static void test_calls_past_the_limit_are_refused(void **state)
{
    struct world world;
    static struct caller callers[HG_PENDING_CALLS_MAX + 100];
    unsigned taken = 0;
    (void)state;
    world_init(&world);
    world_start(&world, CHUNK("r['POST /b'] = function() os.execute('sleep 0.5') return 'x' "
                              "end\nr['POST /q'] = function() return 'q' end"));
    assert_int_equal(begin_call(&callers[taken++], &world, "POST /b", "/", "", ""), HG_OK);
    WAIT_UNTIL(stats(&world).tasks == 1);
    int err = HG_OK;
    while (taken < HG_COUNT(callers) &&
           (err = begin_call(&callers[taken], &world, "POST /q", "/", "", "")) == HG_OK)
        taken++;
    assert_int_equal(err, HG_ELIMIT);
    assert_int_equal(taken, HG_PENDING_CALLS_MAX + 1);
    for (unsigned i = 0; i < taken; i++) {
        wait_call(&callers[i]);
        assert_int_equal(callers[i].call.status, 200);
        hg_route_call_finish(&callers[i].call);
    }
    world_finish(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_reaches_the_function),
        cmocka_unit_test(test_each_kind_of_answer_has_its_meaning),
        cmocka_unit_test(test_pages_origins_and_stored_values),
        cmocka_unit_test(test_each_allocation_of_a_call_may_fail),
        cmocka_unit_test(test_wrong_answers_are_502_with_a_safe_text),
        cmocka_unit_test(test_time_out_budget_and_drain_are_answered),
        cmocka_unit_test(test_calls_past_the_limit_are_refused),
        cmocka_unit_test(test_route_stuck_in_c_is_answered_and_its_thread_replaced),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fflush(NULL);
    _exit(failed != 0); /* the thread left behind is still in its bomb */
}
