#include "script/script_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include "base/testing.h"

/*
 * Threads share the numbers of descriptors: a fetcher that stops watching one which another thread has by now does no harm, but
 * looks like a race.
 */
#if UNDER_TSAN
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:epoll_ctl\n";
}
#endif

#define CHUNK(body)                                                                                \
    "local k, origin = {}, 'http://127.0.0.1:%u'\n"                                                \
    "local function told(a, m, c) return a and a.status .. '|' .. a.body or tostring(a) .. '|' "   \
    ".. "                                                                                          \
    "m .. '|' .. c end\n" body "\nreturn { groups = { test = { getter = function(key, ctx) "       \
    "return (k[key] or k.any)(key, ctx) "                                                          \
    "end } } }"

/* An origin on a thread of its own: what it answers is in the path. */
#define CLIENTS_MAX 64
struct origin {
    pthread_t thread;
    int fd;
    unsigned port;
    atomic_uint connections, requests, hanging,
        left; /* left: closed by the other side while hanging */
    atomic_bool is_ending;
    struct client {
        int fd;
        bool is_hanging;
        char data[2048];
        size_t len;
    } clients[CLIENTS_MAX];
    size_t count;
};

static void reply(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void serve(struct origin *origin, struct client *client)
{
    char path[256] = "";

    client->data[client->len] = '\0';
    if (strstr(client->data, "\r\n\r\n") == NULL)
        return;
    sscanf(client->data, "%*s %255s", path);
    client->len = 0;
    atomic_fetch_add(&origin->requests, 1);
    if (strcmp(path, "/hang") == 0) {
        client->is_hanging = true;
        atomic_fetch_add(&origin->hanging, 1);
    } else if (strcmp(path, "/fields") == 0) {
        reply(client->fd,
              "HTTP/1.1 418 Teapot\r\nX-A: 1\r\nx-a:  2 \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
              "X-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Late: no\r\n\r\n");
    } else if (strcmp(path, "/folded") == 0) {
        reply(client->fd, "HTTP/1.1 200 OK\r\nX-A: 1\r\n X-B: 2\r\n\tX-C: 3\r\n: none\r\nX-D:4\r\n"
                          "Content-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/no-colon") == 0) {
        reply(client->fd, "HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/nul") == 0) {
        static const char text[] = "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n";
        assert_int_equal(send(client->fd, text, sizeof(text) - 1, MSG_NOSIGNAL), sizeof(text) - 1);
    } else if (strcmp(path, "/junk") == 0) {
        reply(client->fd, "junk junk junk\r\n\r\n");
    } else if (strcmp(path, "/big") == 0) {
        reply(client->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
    } else {
        reply(client->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

/* False: the client is gone. */
static bool take(struct origin *origin, struct client *client)
{
    ssize_t n =
        recv(client->fd, client->data + client->len, sizeof(client->data) - 1 - client->len, 0);
    if (n <= 0) {
        atomic_fetch_add(&origin->left, client->is_hanging ? 1 : 0);
        close(client->fd);
        return false;
    }
    client->len += (size_t)n;
    serve(origin, client);
    return true;
}

static void *origin_main(void *arg)
{
    struct origin *origin = arg;

    while (!atomic_load(&origin->is_ending)) {
        struct pollfd fds[CLIENTS_MAX + 1] = {{.fd = origin->fd, .events = POLLIN}};
        for (size_t i = 0; i < origin->count; i++)
            fds[i + 1] = (struct pollfd){.fd = origin->clients[i].fd, .events = POLLIN};
        size_t count = origin->count;
        poll(fds, count + 1, 20);
        for (size_t i = count; i-- > 0;)
            if (fds[i + 1].revents != 0 && !take(origin, &origin->clients[i]))
                origin->clients[i] = origin->clients[--origin->count];
        if (fds[0].revents != 0 && origin->count < CLIENTS_MAX) {
            struct client *client = &origin->clients[origin->count++];
            *client = (struct client){.fd = accept(origin->fd, NULL, NULL)};
            atomic_fetch_add(&origin->connections, 1);
        }
    }
    for (size_t i = 0; i < origin->count; i++)
        close(origin->clients[i].fd);
    close(origin->fd);
    return NULL;
}

static void origin_open(struct origin *origin)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(in);

    memset(origin, 0, sizeof(*origin));
    origin->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(origin->fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(origin->fd, 64), 0);
    assert_int_equal(getsockname(origin->fd, (struct sockaddr *)&in, &len), 0);
    origin->port = ntohs(in.sin_port);
    assert_int_equal(pthread_create(&origin->thread, NULL, origin_main, origin), 0);
}

static void origin_close(struct origin *origin)
{
    atomic_store(&origin->is_ending, true);
    pthread_join(origin->thread, NULL);
}

/* The chunk's one %u is the origin's port. */
static void start(struct world *world, struct origin *origin, const char *text)
{
    char chunk[6000];
    int len = snprintf(chunk, sizeof(chunk), text, origin->port);
    assert_in_range(len, 1, sizeof(chunk) - 1);
    world_start(world, chunk);
}

static void test_answers_have_status_headers_and_body(void **state)
{
    struct world world;
    struct origin origin;
    (void)state;
    world_init(&world);
    origin_open(&origin);
    start(
        &world, &origin,
        CHUNK(
            "k.fields = function() local a = hg.http.get(origin .. '/fields') local h = a.headers\n"
            "  return table.concat({ a.status, a.body, h['x-a'], h['set-cookie'][1], "
            "h['set-cookie'][2],\n"
            "    #h['set-cookie'], h['x-empty'], tostring(h['x-late']), a.url == origin .. "
            "'/fields' and 'url' }, "
            "'|') end\n"
            "k.post = function() return told(hg.http.post(origin .. '/x', 'body')) end\n"
            "k.head = function() return told(hg.http.request{ method = 'HEAD', url = origin .. "
            "'/big' }) end\n"));
    struct answer answer = get(&world, "fields");
    assert_value(&answer, "418|abc|1, 2|a=1|b=2|2||nil|url");
    answer = get(&world, "post");
    assert_value(&answer, "200|ok");
    answer = get(&world, "head");
    assert_value(&answer, "200|");
    assert_int_equal(atomic_load(&origin.connections), 1); /* kept and used again */
    struct hg_runtime_stats now = stats(&world);
    assert_int_equal(now.fetch.requests, 3);
    assert_int_equal(now.fetch.failures, 0);
    assert_int_equal(now.fetch.received_bytes, 5);
    assert_int_equal(now.fetch.running, 0);
    world_finish(&world);
    origin_close(&origin);
}

static void test_trouble_is_returned(void **state)
{
    struct world world;
    struct origin origin;
    (void)state;
    world_init(&world);
    origin_open(&origin);
    start(
        &world, &origin,
        CHUNK(
            "k.refused = function() local a, m, c = hg.http.get('http://127.0.0.1:1/') return "
            "tostring(a) .. c end\n"
            "k.hang = function() return told(hg.http.get(origin .. '/hang', { timeout = '30ms' })) "
            "end\n"
            "k.junk = function() local a, m, c = hg.http.get(origin .. '/junk') return tostring(a) "
            ".. c end\n"
            "k.big = function() return told(hg.http.get(origin .. '/big', { max_body = 9 })) end\n"
            "k.fits = function() return told(hg.http.get(origin .. '/big', { max_body = 10 })) "
            "end\n"));
    struct answer answer = get(&world, "refused");
    assert_value(&answer, "nilunavailable");
    answer = get(&world, "hang");
    assert_value(&answer, "nil|the origin did not answer in time|timeout");
    answer = get(&world, "junk");
    assert_value(&answer, "nilinternal");
    answer = get(&world, "big");
    assert_value(&answer, "nil|the answer is larger than 9 bytes|too_large");
    answer = get(&world, "fits");
    assert_value(&answer, "200|0123456789");
    struct hg_runtime_stats now = stats(&world);
    assert_int_equal(now.fetch.requests, 5);
    assert_int_equal(now.fetch.failures, 4);
    assert_int_equal(now.fetch.too_large, 1);
    assert_int_equal(now.fetch.running, 0);
    world_finish(&world);
    origin_close(&origin);
}

static void test_headers_that_are_none_harm_nobody(void **state)
{
    struct world world;
    struct origin origin;
    (void)state;
    world_init(&world);
    origin_open(&origin);
    start(&world, &origin,
          CHUNK("k.folded = function() local h = hg.http.get(origin .. '/folded').headers\n"
                "  return table.concat({ h['x-a'], tostring(h['x-b']), tostring(h['x-c']), "
                "h['x-d'] }, '|') end\n"
                "k.any = function(key) local a, m, c = hg.http.get(origin .. '/' .. key) return a "
                "and 'taken' or c end\n"));
    struct answer answer = get(&world, "folded");
    assert_value(&answer, "1|nil|nil|4");
    answer = get(&world, "no-colon");
    assert_value(&answer, "internal");
    answer = get(&world, "nul");
    assert_value(&answer, "internal");
    world_finish(&world);
    origin_close(&origin);
}

/* Whatever ends a request, and when: nothing is left, and the counters add up. */
static void run_random_requests(uint64_t seed)
{
    static const char *const paths[] = {"x",    "x",    "fields",  "big",
                                        "junk", "hang", "refused", "spawn"};
    enum { ROUNDS = 15, TOGETHER = 16 };
    struct world world;
    struct origin origin;
    struct asker askers[TOGETHER];
    struct hg_test_random random = {seed};

    world_init(&world);
    world.budget_ms = 5000;
    world.guard_config.timeout_ms = 40;
    world.guard_config.retries = 1;
    world.getter_threads = 2;
    world.fetch.concurrency = 12;
    origin_open(&origin);
    start(&world, &origin,
          CHUNK("k.any = function(key) local what, ms = key:match('^(%%a+)-(%%d+)')\n"
                "  local opts = { timeout = ms .. 'ms', max_body = 5 }\n"
                "  if what == 'refused' then return told(hg.http.get('http://127.0.0.1:1/', opts)) "
                "end\n"
                "  if what == 'spawn' then hg.spawn(function() hg.http.get(origin .. '/hang', "
                "opts) end) return 's' end\n"
                "  return told(hg.http.get(origin .. '/' .. what, opts)) end\n"));
    for (unsigned round = 0; round < ROUNDS; round++) {
        char keys[TOGETHER][64];
        for (unsigned i = 0; i < TOGETHER; i++) {
            snprintf(keys[i], sizeof(keys[i]), "%s-%u-%u-%u",
                     paths[hg_test_below(&random, HG_COUNT(paths))],
                     1 + (unsigned)hg_test_below(&random, 80), round, i);
            asker_get(&askers[i], &world, "test", hg_bytes_str(keys[i]));
        }
        for (unsigned i = 0; i < TOGETHER; i++) {
            struct answer *answer = asker_wait(&askers[i]);
            if (answer->status == HG_STATUS_ERROR && answer->klass != HG_CLASS_TIMEOUT)
                fail_msg("seed %llu: %s: %s", (unsigned long long)seed, keys[i], answer->data);
        }
    }
    WAIT_UNTIL(stats(&world).fetch.running == 0);
    struct hg_runtime_stats now = stats(&world);
    assert_true(now.fetch.requests >= now.fetch.failures);
    assert_true(now.fetch.requests >=
                atomic_load(&origin.requests)); /* those not sent, and refused */
    WAIT_UNTIL(atomic_load(&origin.left) == atomic_load(&origin.hanging));
    world_finish(&world);
    origin_close(&origin);
}

static void test_random_requests_leave_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        run_random_requests(seed);
}

static void test_misuse_raises_at_the_callers_line(void **state)
{
    static const struct {
        const char *call, *error;
    } rows[] = {
        {"hg.http.get()", "hg.http.get: url: expected a text, found a nil"},
        {"hg.http.get('ftp://a/')", "hg.http.get: url: only http and https"},
        {"hg.http.get('/x')", "hg.http.get: url: expected a URL"},
        {"hg.http.get('http://a/ b')", "hg.http.get: url: expected a URL"},
        {"hg.http.get('http://a/\\0b')", "hg.http.get: url: expected a URL without NUL"},
        {"hg.http.get('http://u:p@a/')", "without a name and a password"},
        {"hg.http.get('http://a/', 1)", "hg.http.get: expected a table of options, found 1"},
        {"hg.http.get('http://a/', { body = 'x' })", "hg.http.get: unknown option 'body'"},
        {"hg.http.get('http://a/', { time = 1 })", "hg.http.get: unknown option 'time'"},
        {"hg.http.get('http://a/', { timeout = 0 })",
         "hg.http.get: timeout: expected a duration above 0"},
        {"hg.http.get('http://a/', { redirects = 11 })",
         "redirects: expected a whole number from 0 to 10"},
        {"hg.http.get('http://a/', { retries = 0.5 })",
         "retries: expected a whole number from 0 to 10"},
        {"hg.http.get('http://a/', { max_body = 0 })", "max_body: expected a size"},
        {"hg.http.get('http://a/', { compression = 'gzip' })",
         "compression: expected true or false"},
        {"hg.http.get('http://a/', { headers = 'x' })", "headers: expected a table"},
        {"hg.http.get('http://a/', { headers = { ['a b'] = 'x' } })",
         "headers: expected header names"},
        {"hg.http.get('http://a/', { headers = { a = 'x\\r\\nb: c' } })",
         "headers.a: expected a text without control"},
        {"hg.http.get('http://a/', { headers = { a = { 'x', true } } })",
         "headers.a: expected a text without control"},
        {"hg.http.get('http://a/', { headers = { Host = 'x' } })",
         "headers.Host: this header is the request's own"},
        {"hg.http.post('http://a/', 1)",
         "hg.http.post: body: expected a string, or a function that gives one "
         "piece after the other, found 1"},
        {"hg.http.request('http://a/')", "hg.http.request: expected a table of options"},
        {"hg.http.request{ url = 'http://a/', method = 'CONNECT' }", "method: expected GET, HEAD"},
        {"hg.http.request{ url = 'http://a/', body = 'x' }", "hg.http.request: body: GET has none"},
        {"table.sort({ 2, 1 }, function() hg.http.get('http://a/') end)",
         "hg.http.get cannot wait here"},
    };
    struct world world;
    struct origin origin;
    char chunk[6000] = "", wanted[256];
    (void)state;
    size_t at = 0;
    for (size_t i = 0; i < HG_COUNT(rows); i++)
        at += (size_t)snprintf(chunk + at, sizeof(chunk) - at,
                               "k['%zu'] = function() local a = %s end\n", i, rows[i].call);
    assert_true(at < sizeof(chunk));
    world_init(&world);
    origin_open(&origin);
    char whole[8000];
    snprintf(whole, sizeof(whole), "%s%s%s", "local k = {}\n", chunk,
             "return { groups = { test = { getter = function(key) k[key]() return 'raised nothing' "
             "end } } }");
    world_start(&world, whole);
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char key[16];
        snprintf(key, sizeof(key), "%zu", i);
        struct answer answer = get(&world, key);
        assert_error(&answer, HG_CLASS_INTERNAL, rows[i].error);
        snprintf(wanted, sizeof(wanted), "config.lua:%zu: ", i + 2);
        assert_error(&answer, HG_CLASS_INTERNAL, wanted);
    }
    assert_int_equal(stats(&world).fetch.requests, 0);
    world_finish(&world);
    origin_close(&origin);
}

static void test_a_load_that_ends_first_leaves_no_transfer(void **state)
{
    struct world world;
    struct origin origin;
    (void)state;
    world_init(&world);
    world.guard_config.timeout_ms = 100;
    origin_open(&origin);
    start(&world, &origin,
          CHUNK("k.hang = function() return told(hg.http.get(origin .. '/hang', { timeout = '1h' "
                "})) end\n"
                "k.lost = function() local co = coroutine.create(function() hg.http.get(origin .. "
                "'/hang', { timeout = '1h' }) end)\n"
                "  coroutine.resume(co) return 'not reached' end\n"
                "k.next = function() return told(hg.http.get(origin .. '/x')) end\n"));
    struct answer answer = get(&world, "hang");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    answer = get(&world, "lost");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    WAIT_UNTIL(atomic_load(&origin.left) == 2);
    answer = get(&world, "next");
    assert_value(&answer, "200|ok");
    struct hg_runtime_stats now = stats(&world);
    assert_int_equal(now.fetch.running, 0);
    assert_int_equal(now.fetch.failures, 2);
    assert_int_equal(now.late_answers, 0);
    world_finish(&world);
    origin_close(&origin);
}

static void test_shutdown_ends_requests(void **state)
{
    struct world world;
    struct origin origin;
    struct asker asker;
    (void)state;
    world_init(&world);
    origin_open(&origin);
    start(&world, &origin,
          CHUNK("k.any = function() hg.spawn(function() hg.http.get(origin .. '/hang', { timeout = "
                "'1h' }) end)\n"
                "  return told(hg.http.get(origin .. '/hang', { timeout = '1h' })) end\n"));
    asker_get(&asker, &world, "test", HG_BYTES("a"));
    WAIT_UNTIL(atomic_load(&origin.hanging) == 2);
    assert_int_equal(stats(&world).fetch.running, 2);
    hg_runtime_drain(world.runtime);
    world_stop(&world);
    assert_error(asker_wait(&asker), HG_CLASS_UNAVAILABLE, "draining");
    assert_int_equal(hg_alloc_live_bytes(), world.live_bytes);
    WAIT_UNTIL(atomic_load(&origin.left) == 2);
    origin_close(&origin);
}

static void test_requests_of_an_abandoned_thread_are_given_up(void **state)
{
    struct world world;
    struct origin origin;
    struct asker beside, held;
    (void)state;
    if (UNDER_TSAN)
        skip();
    world_init(&world);
    world.budget_ms = 50;
    origin_open(&origin);
    /* A few seconds of C, as in watchdog_test. */
    start(
        &world, &origin,
        CHUNK(
            "local function find(n) return (('a'):rep(n)):find(('a?'):rep(n) .. ('a'):rep(n)) end\n"
            "k.beside = function() return told(hg.http.get(origin .. '/hang', { timeout = '1h' })) "
            "end\n"
            "k.held = function() local n, took = 12, 0\n"
            " while took < 0.004 do n = n + 1 local at = os.clock() find(n) took = os.clock() - at "
            "end\n"
            " while took < 2 do n = n + 1 took = took * 2 end find(n) return 'back' end\n"
            "k.any = function() return told(hg.http.get(origin .. '/x')) end\n"));
    asker_get(&beside, &world, "test", HG_BYTES("beside"));
    WAIT_UNTIL(atomic_load(&origin.hanging) == 1);
    asker_get(&held, &world, "test", HG_BYTES("held"));
    assert_error(asker_wait(&held), HG_CLASS_TIMEOUT, "script thread abandoned");
    assert_error(asker_wait(&beside), HG_CLASS_TIMEOUT, "script thread abandoned");
    assert_int_equal(stats(&world).fetch.running, 0);
    struct answer answer = get(&world, "x"); /* the fresh thread has connections of its own */
    assert_value(&answer, "200|ok");
    WAIT_UNTIL(hg_list_is_empty(&world.runtime->abandoned)); /* it came back, and was freed */
    WAIT_UNTIL(atomic_load(&origin.left) == 1);
    world_finish(&world);
    origin_close(&origin);
}

static void test_requests_are_bounded(void **state)
{
    struct world world;
    struct origin origin;
    (void)state;
    world_init(&world);
    world.budget_ms = 10000;
    world.fetch.per_load = 3;
    world.fetch.concurrency = 2;
    origin_open(&origin);
    start(&world, &origin,
          CHUNK("k.many = function() local n, m, c = 0 for _ = 1, 10000 do local a\n"
                "  a, m, c = hg.http.get(origin .. '/x') n = n + (a and 1 or 0) end return n .. "
                "'|' .. m .. '|' .. c end\n"
                "k.wide = function() for _ = 1, 2 do hg.spawn(function() hg.http.get(origin .. "
                "'/hang', { timeout = '1h' }) end) end\n"
                "  hg.sleep(0.05) return told(hg.http.get(origin .. '/x')) end\n"
                "k.spawned = function() local n = 0 hg.spawn(function() for _ = 1, 5 do\n"
                "    n = n + (hg.http.get(origin .. '/x') and 1 or 0) end end)\n"
                "  while n < 5 do hg.sleep(0.005) end return n end\n"));
    struct answer answer = get(&world, "many");
    assert_value(&answer, "3|more requests than node.http.per_load|unavailable");
    assert_int_equal(stats(&world).fetch.refused_limit, 9997);
    answer = get(&world, "spawned");
    assert_value(&answer, "5");
    answer = get(&world, "wide");
    assert_value(&answer, "nil|more requests at a time than node.http.concurrency|unavailable");
    assert_int_equal(stats(&world).fetch.refused_limit, 9998);
    assert_int_equal(atomic_load(&origin.requests), 3 + 5 + 2);
    world_finish(&world);
    origin_close(&origin);
}

static void test_only_listed_origins_are_asked(void **state)
{
    struct world world;
    struct origin origin, other;
    char text[64];
    const char *list[] = {text};
    (void)state;
    world_init(&world);
    origin_open(&origin);
    origin_open(&other);
    snprintf(text, sizeof(text), "http://127.0.0.1:%u", origin.port);
    world.fetch.has_origins = true;
    world.fetch.origins = list;
    world.fetch.origin_count = 1;
    start(&world, &origin,
          CHUNK("k.ok = function() return told(hg.http.get(origin .. '/x')) end\n"
                "k.any = function(key) return told(hg.http.get(key)) end\n"));
    struct answer answer = get(&world, "ok");
    assert_value(&answer, "200|ok");
    char keys[3][64];
    snprintf(keys[0], sizeof(keys[0]), "http://127.0.0.1:%u/x", other.port);
    snprintf(keys[1], sizeof(keys[1]), "http://localhost:%u/x", origin.port); /* as it is written */
    snprintf(keys[2], sizeof(keys[2]), "https://127.0.0.1:%u/x", origin.port);
    for (size_t i = 0; i < HG_COUNT(keys); i++) {
        answer = get(&world, keys[i]);
        assert_value(&answer, "nil|the origin is not in node.http.origins|denied");
    }
    assert_int_equal(stats(&world).fetch.refused_origin, 3);
    assert_int_equal(atomic_load(&other.connections), 0);
    assert_int_equal(atomic_load(&origin.connections), 1);
    world_finish(&world);
    origin_close(&origin);
    origin_close(&other);
}

static void test_each_allocation_may_fail(void **state)
{
    struct world world;
    struct origin origin;
    unsigned good = 0;
    (void)state;
    world_init(&world);
    origin_open(&origin);
    start(&world, &origin,
          CHUNK("k.any = function() local a, m, c = hg.http.post(origin .. '/fields', 'b', { "
                "headers = { A = 'b' } })\n"
                "  if not a then return nil, m, c end return a.body end\n"));
    get(&world, "warm");
    for (size_t n = 0; n < 200 && good < 3; n++) {
        char key[32];
        snprintf(key, sizeof(key), "k%zu", n);
        hg_alloc_fail_at(n, false);
        struct answer answer = get(&world, key);
        WAIT_UNTIL(stats(&world).fetch.running == 0 && stats(&world).running == 0);
        bool has_failed = hg_alloc_fail_clear();
        if (!has_failed) {
            assert_value(&answer, "abc");
            good++;
        }
    }
    assert_int_equal(good, 3);
    world_finish(&world);
    origin_close(&origin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_have_status_headers_and_body),
        cmocka_unit_test(test_trouble_is_returned),
        cmocka_unit_test(test_headers_that_are_none_harm_nobody),
        cmocka_unit_test(test_random_requests_leave_nothing),
        cmocka_unit_test(test_misuse_raises_at_the_callers_line),
        cmocka_unit_test(test_a_load_that_ends_first_leaves_no_transfer),
        cmocka_unit_test(test_shutdown_ends_requests),
        cmocka_unit_test(test_requests_of_an_abandoned_thread_are_given_up),
        cmocka_unit_test(test_requests_are_bounded),
        cmocka_unit_test(test_only_listed_origins_are_asked),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
