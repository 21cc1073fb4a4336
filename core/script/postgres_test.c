#include "script/script_world.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include "net/test_pg.h"
#include "script/postgres.h"

#define CLIENTS_MAX 64

/*
 * A server on a thread of its own, which allocates nothing. A statement with "hang" in it is never answered, at "drop" the connection
 * ends, "bad" is an error, and what else there is has two rows.
 */
struct server {
    pthread_t thread;
    int listener;
    uint16_t port;
    atomic_bool is_over;
    atomic_uint open, asked, cancelled;
    atomic_uint refuse_from; /* so many connections may there be at a time */
    struct {
        char data[1024];
        size_t len;
    } welcome, rows, error, full;
    struct client {
        int fd; /* 0: none */
        bool has_begun;
        char in[4096];
        size_t len;
        char sql[256];
    } clients[CLIENTS_MAX];
};

static void prepare(void *reply, size_t *out_len, struct hg_buf *words)
{
    memcpy(reply, words->data, words->len);
    *out_len = words->len;
    hg_buf_clear(words);
}

static void server_close(struct server *server, struct client *client)
{
    close(client->fd);
    client->fd = 0;
    atomic_fetch_sub(&server->open, 1);
}

static uint32_t number_at(const char *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof(number));
    return ntohl(number);
}

static void reply(struct server *server, struct client *client)
{
    atomic_fetch_add(&server->asked, 1);
    if (strstr(client->sql, "hang") != NULL)
        return;
    if (strstr(client->sql, "drop") != NULL)
        shutdown(client->fd, SHUT_RDWR);
    else if (strstr(client->sql, "bad") != NULL)
        send(client->fd, server->error.data, server->error.len, MSG_NOSIGNAL);
    else
        send(client->fd, server->rows.data, server->rows.len, MSG_NOSIGNAL);
}

/* The first message has no type. */
static void begin(struct server *server, struct client *client)
{
    client->has_begun = true;
    if (number_at(client->in + 4) == 80877102) {
        atomic_fetch_add(&server->cancelled, 1);
        shutdown(client->fd, SHUT_RDWR);
    } else if (atomic_load(&server->open) > atomic_load(&server->refuse_from)) {
        send(client->fd, server->full.data, server->full.len, MSG_NOSIGNAL);
        shutdown(client->fd, SHUT_RDWR);
    } else {
        send(client->fd, server->welcome.data, server->welcome.len, MSG_NOSIGNAL);
    }
}

static void hear(struct server *server, struct client *client)
{
    ssize_t count =
        recv(client->fd, client->in + client->len, sizeof(client->in) - client->len, MSG_DONTWAIT);
    if (count <= 0) {
        server_close(server, client);
        return;
    }
    client->len += (size_t)count;
    for (;;) {
        size_t head = client->has_begun ? 1 : 0;
        if (client->len < head + (client->has_begun ? 4 : 8))
            return;
        size_t size = head + number_at(client->in + head);
        if (client->len < size)
            return;
        if (!client->has_begun)
            begin(server, client);
        else if (client->in[0] == 'P')
            snprintf(client->sql, sizeof(client->sql), "%s", client->in + 6);
        else if (client->in[0] == 'S')
            reply(server, client);
        if (client->in[0] == 'X') { /* a server reads it once the statement has ended, which here is at once */
            server_close(server, client);
            return;
        }
        client->len -= size;
        memmove(client->in, client->in + size, client->len);
    }
}

static void *server_main(void *arg)
{
    struct server *server = arg;

    while (!atomic_load(&server->is_over)) {
        struct pollfd fds[CLIENTS_MAX + 1] = {{.fd = server->listener, .events = POLLIN}};
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            fds[i + 1] = (struct pollfd){
                .fd = server->clients[i].fd > 0 ? server->clients[i].fd : -1, .events = POLLIN};
        poll(fds, CLIENTS_MAX + 1, 5);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            if (fds[i + 1].revents != 0)
                hear(server, &server->clients[i]);
        for (size_t i = 0; fds[0].revents != 0 && i < CLIENTS_MAX; i++) {
            struct client *client = &server->clients[i];
            if (client->fd > 0)
                continue;
            *client = (struct client){.fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC)};
            atomic_fetch_add(&server->open, client->fd > 0);
            break;
        }
    }
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (server->clients[i].fd > 0)
            server_close(server, &server->clients[i]);
    close(server->listener);
    return NULL;
}

static void server_start(struct server *server)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(in);
    struct hg_buf words;

    memset(server, 0, sizeof(*server));
    atomic_store(&server->refuse_from, CLIENTS_MAX);
    hg_buf_init(&words, sizeof(server->rows.data));
    pg_welcome(&words);
    prepare(server->welcome.data, &server->welcome.len, &words);
    pg_begin_rows(&words);
    pg_columns(&words);
    pg_row(&words, "Tom", "\\x00");
    pg_row(&words, "Jack", NULL);
    pg_end_rows(&words);
    prepare(server->rows.data, &server->rows.len, &words);
    pg_error(&words, "ERROR", "42601", "syntax error");
    pg_ready(&words);
    prepare(server->error.data, &server->error.len, &words);
    pg_error(&words, "FATAL", "53300", "too many clients");
    prepare(server->full.data, &server->full.len, &words);
    hg_buf_finish(&words);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(server->listener, 100), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&in, &len), 0);
    server->port = ntohs(in.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

struct setting {
    struct world world;
    struct server server;
};

/* body: getters k.KEY, which know `db` with a pool of two. */
static void open_setting(struct setting *setting, const char *body)
{
    char text[4096];

    server_start(&setting->server);
    int len = snprintf(text, sizeof(text),
                       "local function connect(more) local o = { port = %d, user = 'me', password "
                       "= 'x', sslmode = 'disable', "
                       "pool = 2, timeout = 30 } for k, v in pairs(more or {}) do o[k] = v end "
                       "return hg.postgres(o) end\n"
                       "local db = connect()\nlocal k = {}\n%s\nreturn { groups = { test = { "
                       "getter = function(key, ctx) return "
                       "(k[key] or k.any)(key, ctx) end } } }",
                       setting->server.port, body);
    assert_true(len > 0 && (size_t)len < sizeof(text));
    world_start(&setting->world, text);
}

static void close_setting(struct setting *setting)
{
    world_finish(&setting->world);
    WAIT_UNTIL(atomic_load(&setting->server.open) == 0); /* nothing of ours is left there */
    atomic_store(&setting->server.is_over, true);
    pthread_join(setting->server.thread, NULL);
}

static void test_many_tasks_share_few_connections(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker askers[40];
    char keys[40][8];
    (void)state;
    world_init(world);
    open_setting(&setting, "k.any = function() return assert(db:query('x'))[1].k end");
    for (size_t i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%zu", i);
        asker_get(&askers[i], world, "test", hg_bytes_str(keys[i]));
    }
    for (size_t i = 0; i < 40; i++)
        assert_value(asker_wait(&askers[i]), "Tom");
    assert_int_equal(stats(world).postgres_queries, 40);
    assert_int_equal(stats(world).postgres_opened, 2);
    assert_true(stats(world).postgres_waits >= 2);
    assert_int_equal(stats(world).postgres_connections, 2);
    close_setting(&setting);
}

static void test_statement_that_takes_too_long_is_cancelled(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    open_setting(&setting,
                 "local quick = connect { timeout = 0.1 }\n"
                 "k.own = function() local _, m, c = quick:query('hang') return m .. ' ' .. c end\n"
                 "k.any = function() return db:query('hang') end");
    struct answer answer = get(world, "own"); /* its own time-out */
    assert_value(&answer, "no answer in time timeout");
    WAIT_UNTIL(atomic_load(&setting.server.cancelled) == 1);
    assert_int_equal(stats(world).postgres_connections, 0);
    world->guard.config.timeout_ms = 50; /* the load's */
    answer = get(world, "load");
    assert_error(&answer, HG_CLASS_TIMEOUT, "getter timed out");
    WAIT_UNTIL(atomic_load(&setting.server.cancelled) == 2);
    assert_int_equal(stats(world).postgres_connections, 0);
    assert_int_equal(stats(world).postgres_cancelled, 2);
    close_setting(&setting);
}

static void test_connections_that_are_lost_are_replaced(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    open_setting(&setting,
                 "k.drop = function() local _, m, c = db:query('drop') return c end\n"
                 "k.bad = function() local _, m, c, s = db:query('bad') return m .. c .. s end\n"
                 "k.any = function() return assert(db:query('x'))[1].k end");
    struct answer answer = get(world, "drop");
    assert_value(&answer, "unavailable");
    answer = get(world, "a");
    assert_value(&answer, "Tom");
    answer = get(world, "bad"); /* which spoils nothing */
    assert_value(&answer, "syntax errorinternal42601");
    answer = get(world, "b");
    assert_value(&answer, "Tom");
    assert_int_equal(stats(world).postgres_opened, 2);
    assert_int_equal(stats(world).postgres_failures, 2);
    close_setting(&setting);
}

static void test_where_no_more_can_be_made_the_others_are_waited_for(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker askers[10];
    char keys[10][8];
    (void)state;
    world_init(world);
    open_setting(&setting, "k.any = function() return assert(db:query('x'))[1].k end");
    struct answer answer = get(world, "first");
    assert_value(&answer, "Tom");
    atomic_store(&setting.server.refuse_from, 1);
    for (size_t i = 0; i < 10; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%zu", i);
        asker_get(&askers[i], world, "test", hg_bytes_str(keys[i]));
    }
    for (size_t i = 0; i < 10; i++)
        assert_value(asker_wait(&askers[i]), "Tom");
    assert_int_equal(stats(world).postgres_opened, 1);
    close_setting(&setting);
}

static void test_where_none_can_be_made_all_are_told(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker askers[10];
    char keys[10][8];
    (void)state;
    world_init(world);
    open_setting(&setting, "k.any = function() local _, m = db:query('x') return m end");
    atomic_store(&setting.server.refuse_from, 0);
    for (size_t i = 0; i < 10; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%zu", i);
        asker_get(&askers[i], world, "test", hg_bytes_str(keys[i]));
    }
    for (size_t i = 0; i < 10; i++) {
        const struct answer *answer = asker_wait(&askers[i]);
        assert_non_null(strstr(answer->data, "too many clients"));
    }
    assert_int_equal(stats(world).postgres_connections, 0);
    assert_int_equal(stats(world).postgres_failures, 10);
    assert_true(stats(world).postgres_connect_failures >= 1);
    close_setting(&setting);
}

static void test_coroutine_that_is_lost_gives_its_connection_back(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    open_setting(
        &setting,
        "local core = require('hgcache.core').postgres\n"
        "k.lost = function() for _ = 1, 10 do core.acquire(db.handle) end\n" /* never asks */
        " return assert(db:query('x'))[1].k end\n"
        "k.any = function() return assert(db:query('x'))[1].k end");
    struct answer answer = get(world, "lost");
    assert_value(&answer, "Tom");
    for (unsigned i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof(key), "%u", i);
        answer = get(world, key);
        assert_value(&answer, "Tom");
    }
    assert_int_equal(stats(world).postgres_opened, 1);
    close_setting(&setting);
}

static void test_retries_begin_without_the_statement_of_the_run_before(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    (void)state;
    world_init(world);
    world->guard_config.retries = 2;
    open_setting(&setting,
                 "k.any = function(_, ctx) if ctx.attempt < 3 then\n"
                 " require('hgcache.core').postgres.acquire(db.handle) error('again', 0) end\n"
                 " return assert(db:query('x'))[1].k end");
    struct answer answer = get(world, "a");
    assert_value(&answer, "Tom");
    assert_int_equal(stats(world).postgres_opened, 1);
    close_setting(&setting);
}

static void test_state_that_is_discarded_loses_its_connections(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker beside;
    (void)state;
    world_init(world);
    world->memory_bytes = 8 << 20;
    world->budget_ms = 5000;
    open_setting(&setting, "k.beside = function() return db:query('hang') end\n"
                           "k.fill = function() db:query('x') keep = {} local n = 1\n"
                           " while true do n = n + 1 keep[n] = ('x'):rep(1000) .. n end end\n"
                           "k.any = function() return assert(db:query('x'))[1].k end");
    asker_get(&beside, world, "test", HG_BYTES("beside"));
    WAIT_UNTIL(atomic_load(&setting.server.asked) == 1);
    struct answer answer = get(world, "fill");
    assert_error(&answer, HG_CLASS_INTERNAL, "script memory limit reached");
    assert_error(asker_wait(&beside), HG_CLASS_INTERNAL, "script memory limit reached");
    WAIT_UNTIL(stats(world).postgres_connections == 0);
    answer = get(world, "after");
    assert_value(&answer, "Tom");
    close_setting(&setting);
}

static void test_node_ends_while_statements_and_connections_are_under_way(void **state)
{
    struct setting setting;
    struct world *world = &setting.world;
    struct asker askers[6];
    (void)state;
    world_init(world);
    open_setting(&setting, "local far = connect { url = 'host=nowhere.invalid' }\n"
                           "k.far = function() return far:query('x') end\n"
                           "k.any = function() return db:query('hang') end");
    static const char *const keys[] = {"a", "b", "c", "d", "far", "e"};
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        asker_get(&askers[i], world, "test", hg_bytes_str(keys[i]));
    WAIT_UNTIL(atomic_load(&setting.server.asked) == 2);
    hg_runtime_drain(world->runtime);
    world_stop(world);
    for (size_t i = 0; i < HG_COUNT(keys); i++)
        asker_wait(&askers[i]);
    assert_int_equal(hg_alloc_live_bytes(), world->live_bytes);
    WAIT_UNTIL(atomic_load(&setting.server.open) == 0);
    atomic_store(&setting.server.is_over, true);
    pthread_join(setting.server.thread, NULL);
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
    open_setting(&setting, "k.any = function() local own = connect()\n"
                           " local a, m = own:query('x', 1, 'two', nil, hg.postgres.bytes('b'))\n"
                           " local b = a and own:query('y') own = nil collectgarbage()\n"
                           " if not b then return nil, m or 'second' end\n"
                           " return a[1].k .. b[2].k end");
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
            assert_value(&answer, "TomJack");
        assert_true(n < 5000);
    }
    assert_true(failures > 0);
    WAIT_UNTIL(atomic_load(&world->runtime->pools[0].threads[0]->task_count) == 0);
    close_setting(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_tasks_share_few_connections),
        cmocka_unit_test(test_statement_that_takes_too_long_is_cancelled),
        cmocka_unit_test(test_connections_that_are_lost_are_replaced),
        cmocka_unit_test(test_where_no_more_can_be_made_the_others_are_waited_for),
        cmocka_unit_test(test_where_none_can_be_made_all_are_told),
        cmocka_unit_test(test_coroutine_that_is_lost_gives_its_connection_back),
        cmocka_unit_test(test_retries_begin_without_the_statement_of_the_run_before),
        cmocka_unit_test(test_state_that_is_discarded_loses_its_connections),
        cmocka_unit_test(test_node_ends_while_statements_and_connections_are_under_way),
        cmocka_unit_test(test_each_allocation_may_fail_and_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
