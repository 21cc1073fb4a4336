#include "script/script_world.h"

#include <netinet/in.h>

/* The node above, as far as discovery sees it. */
static atomic_uint proposed, refused, failed, ignored_seen;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the two below */
static char last[256], last_failure[256];

static void assert_last(const char *text, const char *expected)
{
    char copy[256];
    pthread_mutex_lock(&lock);
    memcpy(copy, text, sizeof(copy));
    pthread_mutex_unlock(&lock);
    assert_string_equal(copy, expected);
}

static int on_propose(void *ctx, const struct hg_bytes *items, size_t count, size_t ignored,
                      char *error, size_t error_size)
{
    char text[256] = "";
    (void)ctx;
    for (size_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s ", (int)items[i].len,
                 items[i].data);
    atomic_store(&ignored_seen, (unsigned)ignored);
    if (count == 0) {
        snprintf(error, error_size, "the list is empty");
        atomic_fetch_add(&refused, 1);
        return HG_EINVAL;
    }
    pthread_mutex_lock(&lock);
    bool is_new = strcmp(text, last) != 0;
    memcpy(last, text, sizeof(last));
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&proposed, 1);
    return is_new ? HG_PENDING : HG_OK;
}

static void on_failed(void *ctx, const char *why)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    snprintf(last_failure, sizeof(last_failure), "%s", why);
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&failed, 1);
}

static uint64_t on_identity(void *ctx)
{
    (void)ctx;
    return 0xabc;
}

static void on_give_up(void *ctx, const char *why)
{
    on_failed(ctx, why); /* the real one does not come back */
}

static const struct hg_members_ops ops = {
    .propose = on_propose, .failed = on_failed, .identity = on_identity, .give_up = on_give_up};

/* n counts the runs over all states, in hg.shared. */
#define CHUNK(body)                                                                                \
    "local s = hg.shared('s')\n"                                                                   \
    "local A, B = 'http://127.0.0.1:1', 'http://127.0.0.1:2'\n"                                    \
    "return { cluster = { self = A, refresh = '5ms', peers = function() local n = "                \
    "s:incr('n')\n" body                                                                           \
    "\nend }, groups = { test = { getter = function(key) return key end } } }"

static void start(struct world *world, const char *text)
{
    atomic_store(&proposed, 0);
    atomic_store(&refused, 0);
    atomic_store(&failed, 0);
    last[0] = last_failure[0] = '\0';
    world_init(world);
    world->members = &ops;
    world->discovery_every_ms = 5;
    world_start(world, text);
}

static void test_a_function_is_asked_again_and_again_once_the_node_serves(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("return n < 3 and { A } or { A, B }"));
    struct answer answer = get(&world, "k");
    assert_value(&answer, "k");
    assert_int_equal(proposed, 0);
    assert_true(hg_runtime_has_left(world.runtime) == false);
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(proposed >= 5);
    assert_last(last, "http://127.0.0.1:1 http://127.0.0.1:2 ");
    assert_int_equal(failed, 0);
    world_stop(&world);
}

#define MEMBER "expected a member such as \"http://127.0.0.1:8001\" or \"127.0.0.1:8001\""

static void test_what_is_no_list_is_a_failure_that_says_why(void **state)
{
    static const struct {
        const char *body, *why;
    } table[] = {
        {"return nil, 'the registry is away'", "the registry is away"},
        {"return nil", "the function returned nil"},
        {"error('broken', 0)", "broken"},
        {"return 'A'", "the function's list: expected a list of members, found a string"},
        {"return { A, false }", "the function's list: [2]: " MEMBER ", found a boolean"},
        {"return { A, x = B }",
         "the function's list: expected a list of members without holes and names"},
        {"return { 'http://a b:1' }",
         "the function's list: [1]: " MEMBER ", found \"http://a b:1\""},
        {"return { 'https://a:1' }", "the function's list: [1]: " MEMBER
                                     " (there is no TLS between nodes), found \"https://a:1\""},
        {"local l = {} for i = 1, 1001 do l[i] = A end return l",
         "the function's list: 1001 members, at most 1000 are possible"},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct world world;
        char text[1024];
        snprintf(text, sizeof(text), CHUNK("%s"), table[i].body);
        start(&world, text);
        hg_runtime_serve(world.runtime);
        WAIT_UNTIL(failed >= 2);
        assert_last(last_failure, table[i].why);
        assert_int_equal(proposed + refused, 0);
        world_stop(&world);
    }
}

static void test_an_empty_list_reaches_the_node_which_refuses_it(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("return {}"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(refused >= 2);
    assert_int_equal(failed, 0);
    world_stop(&world);
}

static void test_a_function_that_runs_away_holds_up_neither_loads_nor_the_next_run(void **state)
{
    struct world world;
    (void)state;
    SKIP_UNDER_TSAN();
    start(&world, CHUNK("if n == 1 then while true do end end return { A }"));
    hg_runtime_serve(world.runtime);
    struct answer answer = get(&world, "k");
    assert_value(&answer, "k");
    WAIT_UNTIL(proposed >= 2);
    assert_true(stats(&world).budget_exceeded >= 1);
    world_stop(&world);
}

static void test_only_the_thread_of_discovery_says_who_the_members_are(void **state)
{
    struct world world;
    (void)state;
    start(&world,
          "local core = require 'hgcache.core'\n"
          "return { cluster = { self = 'http://127.0.0.1:1', peers = function() return {} end },"
          " groups = { test = { getter = function(key)"
          " return select(2, pcall(core.members.propose, {})) end } } }");
    struct answer answer = get(&world, "k");
    assert_value(&answer, "propose is of the thread of discovery");
    world_stop(&world);
}

static void test_a_name_is_looked_up_and_may_be_left_behind(void **state)
{
    struct world world;
    (void)state;
    start(&world, "local core = require 'hgcache.core'\n"
                  "return { groups = { test = { getter = function(key)"
                  " if key == 'bad' then return (select(2, pcall(core.resolve, '', 4))) end"
                  " local family = key == 'six' and 6 or 4"
                  " local list, why = core.resolve(key == 'six' and '::1' or key, family)"
                  " return list and list[1] or 'none: ' .. why end } } }");
    struct answer answer = get(&world, "localhost");
    assert_value(&answer, "127.0.0.1");
    answer = get(&world, "six");
    assert_value(&answer, "::1");
    answer = get(&world, "no such name");
    assert_true(strncmp(answer.data, "none: ", 6) == 0);
    answer = get(&world, "bad");
    assert_non_null(strstr(answer.data, "expected a name"));
    struct asker askers[4];
    for (int i = 0; i < 4; i++) { /* under way when all ends */
        char key[32];
        snprintf(key, sizeof(key), "n%d.invalid", i);
        asker_get(&askers[i], &world, "test", hg_bytes_str(key));
    }
    world_stop(&world);
}

static void test_records_are_asked_for_beside_and_may_be_left_behind(void **state)
{
    struct world world;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    struct asker askers[4];
    char text[1024], byte;
    (void)state;
    int fd = socket(AF_INET, SOCK_DGRAM, 0); /* a server that says nothing */
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    snprintf(text, sizeof(text),
             "local core = require 'hgcache.core'\n"
             "local server = '127.0.0.1:%u'\n"
             "return { groups = { test = { getter = function(key)"
             " if key == 'name' then return (select(2, pcall(core.records, '', 'A'))) end"
             " if key == 'type' then return (select(2, pcall(core.records, 'a', 'MX'))) end"
             " if key == 'server' then return table.concat({ select(2, core.records('a', 'A', "
             "'x')) }, ' ') end"
             " local ok, why = core.records(key, 'SRV', server)"
             " return 'none: ' .. why end } } }",
             ntohs(in.sin_port));
    start(&world, text);
    struct answer answer = get(&world, "name");
    assert_non_null(strstr(answer.data, "expected a name"));
    answer = get(&world, "type");
    assert_non_null(strstr(answer.data, "invalid option 'MX'"));
    answer = get(&world, "server");
    assert_value(&answer, "x is no address of a DNS server failed");
    uint64_t from_ms = now_ms();
    for (int i = 0; i < 4; i++) { /* under way when all ends */
        char key[32];
        snprintf(key, sizeof(key), "n%d.invalid", i);
        asker_get(&askers[i], &world, "test", hg_bytes_str(key));
    }
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    world_stop(&world);
    assert_true(now_ms() - from_ms < 5000); /* nobody waited for the time-outs */
    close(fd);
}

static void test_who_we_are_and_that_we_may_not_be(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("local members = require('hgcache.core').members\n"
                        "members.give_up(members.identity()) return { A }"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(proposed >= 1);
    assert_last(last_failure, "0000000000000abc");
    world_stop(&world);
}

static void test_leaving_is_over_once_it_was_tried(void **state)
{
    struct world world;
    (void)state;
    start(&world, CHUNK("return { A }"));
    hg_runtime_serve(world.runtime);
    WAIT_UNTIL(proposed >= 1);
    assert_false(hg_runtime_has_left(world.runtime));
    hg_runtime_leave(world.runtime);
    WAIT_UNTIL(hg_runtime_has_left(world.runtime));
    world_stop(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_function_is_asked_again_and_again_once_the_node_serves),
        cmocka_unit_test(test_what_is_no_list_is_a_failure_that_says_why),
        cmocka_unit_test(test_an_empty_list_reaches_the_node_which_refuses_it),
        cmocka_unit_test(test_a_function_that_runs_away_holds_up_neither_loads_nor_the_next_run),
        cmocka_unit_test(test_only_the_thread_of_discovery_says_who_the_members_are),
        cmocka_unit_test(test_a_name_is_looked_up_and_may_be_left_behind),
        cmocka_unit_test(test_records_are_asked_for_beside_and_may_be_left_behind),
        cmocka_unit_test(test_who_we_are_and_that_we_may_not_be),
        cmocka_unit_test(test_leaving_is_over_once_it_was_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
