/*
 * DNS servers may say nothing. Here they do, for some names: who asked is told in time, everything else goes on, and nobody waits
 * for such a name at the end.
 */
#include "script/script_world.h"

#include <netdb.h>
#include "net/test_dns.h"

static atomic_uint system_count;

/* In place of the C library's, which would wait, and with it a thread: libpq's calls for what is numeric are all that there are. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found);

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    if (hints == NULL || (hints->ai_flags & AI_NUMERICHOST) == 0)
        atomic_fetch_add(&system_count, 1);
    void *next = dlsym(RTLD_NEXT, "getaddrinfo");
    int (*call)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    memcpy(&call, &next, sizeof(call));
    return call(name, service, hints, found);
}

struct setting {
    struct world world;
    struct dns_server server;
    int listener;
};

static void begin(struct setting *setting)
{
    char text[2048];
    uint16_t port;

    memset(setting, 0, sizeof(*setting));
    atomic_store(&system_count, 0);
    dns_start(&setting->server);
    atomic_store(&setting->server.mood, MOOD_HERE);
    atomic_store(&dns_of_system, &setting->server);
    setting->listener = test_listen(&port);
    world_init(&setting->world);
    snprintf(text, sizeof(text),
             "local core = require 'hgcache.core'\n"
             "local hung = hg.postgres { host = 'hung.test', user = 'me', timeout = 0.1 }\n"
             "local slow = hg.postgres { host = 'hung.test', user = 'me', timeout = 100 }\n"
             "local k = {}\n"
             "function k.socket() local s = hg.socket.tcp() s:settimeouts(50)\n"
             " local ok, why = s:connect('hung.test', 1) return why end\n"
             "function k.postgres() local rows, why = hung:query('select 1') return why end\n"
             "function k.stay(key) local s = hg.socket.tcp() s:settimeouts(100000)\n"
             " return select(2, s:connect('hung' .. key, 1)) end\n"
             "function k.ask() return select(2, slow:query('select 1')) end\n"
             "function k.resolve(key) return core.resolve('hung' .. key, 4) end\n"
             "function k.name() return core.resolve('name.test', 4)[2] end\n"
             "function k.connect() return assert(hg.socket.tcp():connect('name.test', %u)) end\n"
             "function k.localhost() return core.resolve('localhost', 4)[1] end\n"
             "return { groups = { test = { getter = function(key)"
             " return tostring(k[key:match('%%a+')](key)) end } } }",
             port);
    world_start(&setting->world, text);
}

static void end(struct setting *setting)
{
    assert_int_equal(atomic_load(&system_count), 0);
    world_stop(&setting->world);
    atomic_store(&dns_of_system, NULL);
    dns_stop(&setting->server);
    close(setting->listener);
}

static void assert_others_go_on(struct setting *setting)
{
    struct answer answer = get(&setting->world, "name");
    assert_value(&answer, "127.0.0.1");
    answer = get(&setting->world, "connect");
    assert_value(&answer, "1");
    answer = get(&setting->world, "localhost");
    assert_value(&answer, "127.0.0.1");
}

static void test_a_connect_ends_at_its_time_out_while_its_name_is_looked_up(void **state)
{
    struct setting setting;
    char key[32];
    (void)state;
    begin(&setting);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "socket%d", i);
        struct answer answer = get(&setting.world, key);
        assert_value(&answer, "timeout");
    }
    assert_true(atomic_load(&setting.server.udp_count) > 0);
    WAIT_UNTIL(stats(&setting.world).sockets == 0);
    assert_others_go_on(&setting);
    end(&setting);
}

static void test_a_query_ends_at_its_time_out_while_the_name_is_looked_up(void **state)
{
    struct setting setting;
    char key[32];
    (void)state;
    begin(&setting);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "postgres%d", i);
        struct answer answer = get(&setting.world, key);
        assert_value(
            &answer,
            "no connection in time"); /* the query's end or the connect's, which are one moment */
    }
    assert_true(atomic_load(&setting.server.udp_count) > 0);
    assert_others_go_on(&setting);
    end(&setting);
}

static void test_everything_else_goes_on_while_names_hang_and_nobody_waits_for_them(void **state)
{
    static const char *const kinds[] = {"stay", "ask", "resolve"};
    struct setting setting;
    struct asker askers[30]; /* more than there are threads for anything */
    char key[32];
    (void)state;
    begin(&setting);
    for (size_t i = 0; i < HG_COUNT(askers); i++) {
        snprintf(key, sizeof(key), "%s%zu", kinds[i % HG_COUNT(kinds)], i);
        asker_get(&askers[i], &setting.world, "test", hg_bytes_str(key));
    }
    WAIT_UNTIL(stats(&setting.world).tasks == HG_COUNT(askers));
    WAIT_UNTIL(atomic_load(&setting.server.udp_count) >= 2 * 10 + 2 + 10);
    assert_others_go_on(&setting);
    uint64_t from_ms = hg_clock_boot_ms();
    end(&setting);
    assert_true(hg_clock_boot_ms() - from_ms < 5000); /* a look-up has twice as much */
    for (size_t i = 0; i < HG_COUNT(askers); i++)
        assert_int_equal(askers[i].answer.status, HG_STATUS_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connect_ends_at_its_time_out_while_its_name_is_looked_up),
        cmocka_unit_test(test_a_query_ends_at_its_time_out_while_the_name_is_looked_up),
        cmocka_unit_test(test_everything_else_goes_on_while_names_hang_and_nobody_waits_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
