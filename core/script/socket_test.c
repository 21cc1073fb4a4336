#include "script/script_world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include "net/test_dns.h"

/* A port that takes connections and says nothing; `p` in the chunk. */
static int listen_quietly(char *prelude, size_t size)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(fd, 1000), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    snprintf(prelude, size,
             "local function connected(...) local s = hg.socket.tcp()\n"
             " local ok, why = s:connect('127.0.0.1', %d, ...) if not ok then error(why, 0) end\n"
             " return s end\n",
             ntohs(in.sin_port));
    return fd;
}

struct setting {
    struct world world;
    int listener;
};

static void open_setting(struct setting *setting, const char *body)
{
    char prelude[512], text[4096];

    setting->listener = listen_quietly(prelude, sizeof(prelude));
    int len = snprintf(
        text, sizeof(text),
        "%slocal k = {}\n%s\nreturn { groups = { test = { getter = function(key, ctx) return "
        "(k[key] or k.any)(key, ctx) end } } }",
        prelude, body);
    assert_true(len > 0 && (size_t)len < sizeof(text));
    world_start(&setting->world, text);
}

static void close_setting(struct setting *setting)
{
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
                 " local s = connected() s:settimeouts(1000, 1, 1)\n"
                 " local _, a = s:send { 'x', ('y'):rep(6000000) }\n"
                 " s = connected { pool = 'a' } s:settimeouts(1000, 1, 1)\n"
                 " local _, b = s:receiveuntil('--')(4)\n"
                 " s:setkeepalive(1000) s = connected { pool = 'a' } s:setkeepalive(1000)\n"
                 " s = connected() s:settimeouts(1)\n"
                 " local _, c = s:sslhandshake(nil, 'localhost', false)\n"
                 " return a .. b .. c end");
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
            assert_value(&answer, "timeouttimeouttimeout");
        assert_true(n < 2000);
    }
    assert_true(failures > 0);
    WAIT_UNTIL(atomic_load(&world->runtime->pools[0].threads[0]->task_count) == 0);
    close_setting(&setting);
}

static void test_load_that_is_over_closes_what_it_waits_in(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    world->guard_config.timeout_ms = 50;
    open_setting(&setting, "k.any = function() return connected():receive() end");
    struct answer answer = get(world, "a");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    WAIT_UNTIL(stats(world).sockets == 0);
    assert_int_equal(stats(world).sockets_opened, 1);
    close_setting(&setting);
}

static void test_retries_begin_without_the_sockets_of_the_run_before(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    world->guard_config.retries = 2;
    open_setting(&setting, "local kept\n"
                           "k.any = function() local was = kept and select(2, kept:send('x'))\n"
                           " kept = connected() return nil, tostring(was) end");
    struct answer answer = get(world, "a");
    assert_error(&answer, HG_CLASS_INTERNAL, "closed: the task that connected it has ended");
    assert_int_equal(stats(world).sockets_opened, 3);
    WAIT_UNTIL(stats(world).sockets == 0);
    close_setting(&setting);
}

static void test_state_that_is_discarded_loses_its_sockets(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker beside;
    (void)state;
    world_init(world);
    world->memory_bytes = 8 << 20;
    world->budget_ms = 5000;
    open_setting(&setting, "k.beside = function() return connected():receive() end\n"
                           "k.idle = function() connected():setkeepalive() return 'idle' end\n"
                           "k.fill = function() keep = { connected() } local n = 1\n"
                           " while true do n = n + 1 keep[n] = ('x'):rep(1000) .. n end end\n"
                           "k.any = function(key) return key end");
    struct answer answer = get(world, "idle");
    assert_value(&answer, "idle");
    asker_get(&beside, world, "test", HG_BYTES("beside"));
    WAIT_UNTIL(stats(world).sockets == 1); /* it took the idle one */
    answer = get(world, "fill");
    assert_error(&answer, HG_CLASS_INTERNAL, "script memory limit reached");
    assert_error(asker_wait(&beside), HG_CLASS_INTERNAL, "script memory limit reached");
    assert_int_equal(stats(world).states_discarded, 1);
    WAIT_UNTIL(stats(world).sockets == 0);
    answer = get(world, "fresh");
    assert_value(&answer, "fresh");
    close_setting(&setting);
}

/* A DNS server that never answers for the name "hung". */
static void hang_names(struct dns_server *server)
{
    dns_start(server);
    atomic_store(&dns_of_system, server);
}

static void end_names(struct dns_server *server)
{
    assert_true(atomic_load(&server->udp_count) > 0);
    atomic_store(&dns_of_system, NULL);
    dns_stop(server);
}

static void test_stop_while_waiting_idle_and_resolving(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker askers[3];
    struct dns_server names;
    (void)state;
    world_init(world);
    hang_names(&names);
    open_setting(&setting,
                 "k.wait = function() return connected():receive() end\n"
                 "k.idle = function() connected():setkeepalive() hg.sleep(100) end\n"
                 "k.name = function() return hg.socket.tcp():connect('hung.test', 1) end");
    static const char *const keys[] = {"wait", "idle", "name"};
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        asker_get(&askers[i], world, "test", hg_bytes_str(keys[i]));
    WAIT_UNTIL(stats(world).tasks == 3);
    hg_runtime_destroy(world->runtime);
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        assert_int_equal(asker_wait(&askers[i])->status, HG_STATUS_ERROR);
    world->runtime = NULL;
    close_setting(&setting);
    end_names(&names);
}

static void test_abandoned_thread_that_comes_back_closes_its_sockets(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker beside;
    struct dns_server names;
    (void)state;
    if (UNDER_TSAN) {
        print_message("skipped: signals are not delivered to a running script under TSan\n");
        return;
    }
    world_init(world);
    hang_names(&names);
    world->budget_ms = 50;
    /* A few seconds of C, whatever the machine: measured on a small one, each step doubles it. */
    open_setting(
        &setting,
        "local function find(n) return (('a'):rep(n)):find(('a?'):rep(n) .. ('a'):rep(n)) end\n"
        "k.idle = function() local a, b = connected(), connected() a:setkeepalive() "
        "b:setkeepalive()"
        " return 'idle' end\n"
        "k.beside = function() return connected():receive() end\n"
        "k.long = function() local n, took, s = 12, 0, connected()\n"
        " hg.spawn(function() hg.socket.tcp():connect('hung.test', 1) end)\n"
        " hg.spawn(function() require('hgcache.core').resolve('hung.test', 6) end) hg.sleep(0)\n"
        " while took < 0.004 do n = n + 1 local at = os.clock() find(n) took = os.clock() - at "
        "end\n"
        " while took < 2 do n = n + 1 took = took * 2 end find(n)\n"
        " s:send('x') return hg.socket.tcp():connect('127.0.0.1', 1) end\n"
        "k.any = function(key) return key end");
    struct answer answer = get(world, "idle");
    assert_value(&answer, "idle");
    asker_get(&beside, world, "test", HG_BYTES("beside"));
    WAIT_UNTIL(stats(world).tasks == 2);
    answer = get(world, "long");
    assert_int_equal(answer.klass, HG_CLASS_TIMEOUT);
    assert_int_equal(asker_wait(&beside)->klass, HG_CLASS_TIMEOUT);
    answer = get(world, "fresh");
    assert_value(&answer, "fresh");
    assert_int_equal(stats(world).abandoned, 1);
    /* It comes back, and does not wait for the name that is still being looked up. */
    WAIT_UNTIL(hg_list_is_empty(&world->runtime->abandoned));
    close_setting(&setting);
    end_names(&names);
}

/* --- a server that does anything, and scripts that do --- */

struct chaos {
    int listener, wake[2];
    pthread_t thread;
    uint64_t seed;
};

static uint64_t draw(uint64_t *state, uint64_t limit)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % limit;
}

/* Says something, takes something, ends or resets. False: the connection is gone. */
static bool misbehave(int fd, uint64_t *random)
{
    static const char said[] = "a line\r\nanother\n--pattern--\n-\n--";
    struct linger reset = {.l_onoff = 1};
    char heard[4096];

    switch (draw(random, 12)) {
    case 0:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        return false;
    case 1:
        close(fd);
        return false;
    case 2:
        shutdown(fd, SHUT_WR);
        return true;
    case 3:
    case 4:
        return recv(fd, heard, sizeof(heard), MSG_DONTWAIT) != 0 || draw(random, 2) == 0 ||
               (close(fd), false);
    default:
        send(fd, said, 1 + draw(random, sizeof(said) - 1), MSG_DONTWAIT | MSG_NOSIGNAL);
        return true;
    }
}

static void *run_chaos(void *arg)
{
    enum { PEERS_MAX = 256 };
    struct chaos *chaos = arg;
    struct pollfd fds[2] = {{.fd = chaos->wake[0], .events = POLLIN},
                            {.fd = chaos->listener, .events = POLLIN}};
    int peers[PEERS_MAX];
    size_t count = 0;

    while (poll(fds, 2, 1) >= 0 && fds[0].revents == 0) {
        if (fds[1].revents != 0) {
            int fd = accept(chaos->listener, NULL, NULL);
            if (fd >= 0 && count == PEERS_MAX)
                close(peers[--count]);
            if (fd >= 0)
                peers[count++] = fd;
        }
        for (size_t i = 0; i < count;) {
            if (draw(&chaos->seed, 4) == 0 && !misbehave(peers[i], &chaos->seed))
                peers[i] = peers[--count];
            else
                i++;
        }
    }
    while (count > 0)
        close(peers[--count]);
    return NULL;
}

static void test_random_scripts_against_a_server_that_does_anything(void **state)
{
    enum { LOADS = 400 };
    struct setting setting;
    struct world *world = &setting.world;
    struct chaos chaos = {.seed = now_ms()};
    struct asker *askers = calloc(LOADS, sizeof(*askers));
    (void)state;
    print_message("seed %llu\n", (unsigned long long)chaos.seed);
    world_init(world);
    world->guard_config.timeout_ms = 300;
    world->guard_config.concurrency = 40;
    world->budget_ms = 20000;
    open_setting(
        &setting,
        "local acts = {\n"
        " function(s) return s:receive() end, function(s) return s:receive(7) end,\n"
        " function(s) return s:receiveany(5) end, function(s) return s:receiveuntil('--')() end,\n"
        " function(s) return s:receiveuntil('--', { inclusive = true })(3) end,\n"
        " function(s) return s:send { 'x', { 'y', 3 } } end, function(s) return "
        "s:send(('z'):rep(300000)) end,\n"
        " function(s) s:setkeepalive(5, 3) end, function(s) s:close() end,\n"
        " function(s) hg.spawn(function() hg.sleep(0.001) s:receive(1) end) hg.sleep(0.002) end,\n"
        " function(s) collectgarbage() end, function() hg.sleep(0.003) end,\n"
        " function(s) return s:receive('*a') end, function() error('on purpose', 0) end }\n"
        "k.any = function(key)\n"
        " local x = tonumber(key) * 7919 + 17\n"
        " local function random(n) x = (x * 16807) % 2147483647 return x % n + 1 end\n"
        " local list = {}\n"
        " for _ = 1, 20 do\n"
        "  local i = random(3)\n"
        "  if not list[i] then list[i] = connected({ pool_size = random(4) }) "
        "list[i]:settimeouts(500, random(20), "
        "random(20)) end\n"
        "  local act = acts[random(#acts)]\n"
        "  local ok, what = act(list[i])\n"
        "  if what == 'closed' or random(5) == 1 then list[i] = nil end\n"
        " end return 'done' end");
    chaos.listener = setting.listener;
    assert_int_equal(fcntl(chaos.listener, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(pipe(chaos.wake), 0);
    uint64_t seed = chaos.seed;
    assert_int_equal(pthread_create(&chaos.thread, NULL, run_chaos, &chaos), 0);
    for (size_t i = 0; i < LOADS; i++) {
        char key[32];
        int len = snprintf(key, sizeof(key), "%llu", (unsigned long long)draw(&seed, 1000000000));
        asker_get(&askers[i], world, "test", hg_bytes(key, (size_t)len));
    }
    for (size_t i = 0; i < LOADS; i++)
        asker_wait(&askers[i]);
    WAIT_UNTIL(atomic_load(&world->runtime->pools[0].threads[0]->task_count) == 0);
    assert_true(stats(world).sockets_opened > LOADS);
    /* What is left is idle, and not for long. */
    WAIT_UNTIL(stats(world).sockets == 0);
    assert_int_equal(write(chaos.wake[1], "x", 1), 1);
    pthread_join(chaos.thread, NULL);
    close(chaos.wake[0]);
    close(chaos.wake[1]);
    free(askers);
    close_setting(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_may_fail_and_nothing_is_left),
        cmocka_unit_test(test_load_that_is_over_closes_what_it_waits_in),
        cmocka_unit_test(test_retries_begin_without_the_sockets_of_the_run_before),
        cmocka_unit_test(test_state_that_is_discarded_loses_its_sockets),
        cmocka_unit_test(test_stop_while_waiting_idle_and_resolving),
        cmocka_unit_test(test_abandoned_thread_that_comes_back_closes_its_sockets),
        cmocka_unit_test(test_random_scripts_against_a_server_that_does_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
