/*
 * The C library's resolver may wait for ever. Here it does, for some names: who asked is told in time, and other look-ups go on.
 */
#include "script/script_world.h"

#include <dlfcn.h>
#include <netdb.h>

static atomic_bool is_hung;
static atomic_uint hung_count, hung_inside;

/* In place of the C library's. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found);

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    if (name != NULL && strncmp(name, "hung", 4) == 0) {
        atomic_fetch_add(&hung_count, 1);
        atomic_fetch_add(&hung_inside, 1);
        while (atomic_load(&is_hung))
            usleep(1000);
        atomic_fetch_sub(&hung_inside, 1);
        return EAI_AGAIN;
    }
    void *next = dlsym(RTLD_NEXT, "getaddrinfo");
    int (*call)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    memcpy(&call, &next, sizeof(call));
    return call(name, service, hints, found);
}

static void begin(struct world *world)
{
    atomic_store(&is_hung, true);
    atomic_store(&hung_count, 0);
    world_init(world);
    world_start(world, "local core = require 'hgcache.core'\n"
                       "local db = hg.postgres { host = 'hung.test', user = 'me', timeout = 0.1 }\n"
                       "local k = {}\n"
                       "function k.socket() local s = hg.socket.tcp() s:settimeouts(50)\n"
                       " local ok, why = s:connect('hung.test', 1) return why end\n"
                       "function k.postgres() local rows, why = db:query('select 1') return why end\n"
                       "function k.resolve() return core.resolve('localhost', 4)[1] end\n"
                       "return { groups = { test = { getter = function(key)"
                       " return k[key:match('%a+')]() end } } }");
}

static void end(struct world *world)
{
    atomic_store(&is_hung, false);
    world_stop(world);
    WAIT_UNTIL(atomic_load(&hung_inside) == 0);
}

static void test_a_connect_ends_at_its_time_out_while_its_name_is_looked_up(void **state)
{
    struct world world;
    char key[32];
    (void)state;
    begin(&world);
    for (int i = 0; i < 10; i++) { /* more than there are threads for it */
        snprintf(key, sizeof(key), "socket%d", i);
        struct answer answer = get(&world, key);
        assert_value(&answer, "timeout");
    }
    assert_true(atomic_load(&hung_count) > 0);
    WAIT_UNTIL(stats(&world).sockets == 0);
    struct answer answer = get(&world, "resolve");
    assert_value(&answer, "127.0.0.1");
    end(&world);
}

static void test_a_query_ends_at_its_time_out_while_the_name_is_looked_up(void **state)
{
    struct world world;
    char key[32];
    (void)state;
    begin(&world);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "postgres%d", i);
        struct answer answer = get(&world, key);
        assert_value(&answer, "no connection in time"); /* the query's end or the connect's, which are one moment */
    }
    assert_true(atomic_load(&hung_count) > 0);
    struct answer answer = get(&world, "resolve");
    assert_value(&answer, "127.0.0.1");
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connect_ends_at_its_time_out_while_its_name_is_looked_up),
        cmocka_unit_test(test_a_query_ends_at_its_time_out_while_the_name_is_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
