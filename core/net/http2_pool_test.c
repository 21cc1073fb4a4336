/* The pool against our own server over a socket, and against servers that behave badly: raw sockets play them. */
#include "net/http2_pool_impl.h"
#include "wire/http2_client_impl.h"

#include "net/listener.h"
#include "net/server.h"
#include "net/test_dns.h"

#define STREAMS 10

struct world {
    struct hg_loop loop;
    struct hg_server *server;
    struct hg_listener *listener;
    struct hg_http2_pool *pool;
    struct hg_stream_budget budget;
    struct hg_exchange *late[512];
    unsigned late_count, asked, heard, found, found_other;
    bool server_closed, pool_closed, is_listener_closed;
    char url[64];
};

struct told {
    unsigned calls;
    int err, status;
    bool is_unprocessed, is_connect_error;
    char body[64];
    struct world *world;
    bool closes;
};

static void answer(struct hg_exchange *exchange, const char *text)
{
    struct hg_reply reply = {.status = 200, .body = hg_bytes_str(text)};
    hg_exchange_answer(exchange, &reply);
}

static void on_request(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    assert_true(exchange->is_http2);
    world->asked++;
    if (hg_bytes_eq(exchange->request->path, HG_BYTES("/late")))
        world->late[world->late_count++] = hg_exchange_keep(exchange);
    else if (exchange->request->body.len > 0)
        answer(exchange, "with a body");
    else
        answer(exchange, "at once");
}

static void on_gone(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    for (unsigned i = 0; i < world->late_count; i++) {
        if (world->late[i] == exchange)
            world->late[i] = NULL;
    }
    hg_exchange_drop(exchange);
}

static void on_accept(void *ctx, int fd, unsigned roles)
{
    hg_server_adopt(((struct world *)ctx)->server, fd, roles);
}

static void on_heard(void *ctx)
{
    ((struct world *)ctx)->heard++;
}

static void on_found(void *ctx, bool is_http2)
{
    struct world *world = ctx;
    if (is_http2)
        world->found++;
    else
        world->found_other++;
}

static void on_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static const struct hg_http2_pool_ops pool_ops = {.heard = on_heard, .found = on_found};

static struct world *world_open_at(const char *host, unsigned connections_max)
{
    static const struct hg_server_limits limits = {
        .http1 =
            {.line = 8192, .head = 16384, .fields = 100, .body = 1 << 20, .chunk_extension = 1024},
        .pipeline = 16,
        .streams = STREAMS,
    };
    static const struct hg_server_ops ops = {.request = on_request, .gone = on_gone};
    struct world *world = calloc(1, sizeof(*world));
    uint16_t port;
    assert_int_equal(hg_loop_init(&world->loop, "test"), HG_OK);
    assert_int_equal(hg_server_create(&world->loop, &limits, &ops, world, &world->server), HG_OK);
    int fd = test_listen(&port);
    assert_int_equal(hg_listener_open(&world->loop, fd, 0, on_accept, world, &world->listener),
                     HG_OK);
    snprintf(world->url, sizeof(world->url), "http://%s:%u", host, (unsigned)port);
    world->budget.max_bytes = 1 << 24;
    struct hg_http2_pool_config config = {
        .url = world->url,
        .timeout_ms = 400,
        .connections_max = connections_max,
        .budget = &world->budget,
        .ops = &pool_ops,
        .ctx = world,
    };
    assert_int_equal(hg_http2_pool_create(&world->loop, &config, &world->pool), HG_OK);
    return world;
}

static struct world *world_open(unsigned connections_max)
{
    return world_open_at("localhost", connections_max);
}

static void listener_close(struct world *world)
{
    if (!world->is_listener_closed)
        hg_listener_close(world->listener, on_flag, &world->is_listener_closed);
    test_wait(&world->loop, world->is_listener_closed);
}

static void pool_close(struct world *world)
{
    if (!world->pool_closed)
        hg_http2_pool_close(world->pool, on_flag, &world->pool_closed);
    test_wait(&world->loop, world->pool_closed);
    assert_int_equal(world->budget.used_bytes, 0);
}

static void world_close(struct world *world)
{
    pool_close(world);
    listener_close(world);
    hg_server_close(world->server, on_flag, &world->server_closed);
    test_wait(&world->loop, world->server_closed);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
}

static void on_done(void *ctx, const struct hg_fetch_response *response)
{
    struct told *told = ctx;
    told->calls++;
    told->err = response->err;
    told->status = response->status;
    told->is_unprocessed = response->is_unprocessed;
    told->is_connect_error = response->is_connect_error;
    assert_true(response->is_http2);
    assert_non_null(response->err_text);
    snprintf(told->body, sizeof(told->body), "%.*s", (int)response->body.len,
             response->body.data == NULL ? "" : response->body.data);
    if (told->closes)
        hg_http2_pool_close(told->world->pool, on_flag, &told->world->pool_closed);
}

static struct hg_http2_fetch *start(struct world *world, const char *path, uint64_t timeout_ms,
                                    struct told *told)
{
    char url[128];
    struct hg_http2_fetch *fetch;
    snprintf(url, sizeof(url), "%s%s", world->url, path);
    struct hg_fetch_options options = {.url = url, .timeout_ms = timeout_ms, .body_max = 1000};
    assert_int_equal(hg_http2_fetch_start(world->pool, &options, false, on_done, told, &fetch),
                     HG_OK);
    assert_int_equal(told->calls, 0);
    return fetch;
}

static void test_requests_share_a_connection(void **state)
{
    (void)state;
    struct world *world = world_open(4);
    struct told told[STREAMS] = {{0}};
    assert_false(hg_http2_pool_is_ready(world->pool));
    for (int i = 0; i < STREAMS; i++)
        start(world, "/x", 5000, &told[i]);
    for (int i = 0; i < STREAMS; i++) {
        test_wait(&world->loop, told[i].calls == 1);
        assert_int_equal(told[i].err, HG_OK);
        assert_int_equal(told[i].status, 200);
        assert_string_equal(told[i].body, "at once");
    }
    assert_int_equal(world->found, 1);
    assert_true(world->heard > 0);
    assert_true(hg_http2_pool_is_ready(world->pool));
    assert_int_equal(hg_http2_pool_stats(world->pool).connections, 1);
    world_close(world);
}

static void test_more_than_the_streams_there_are_wait(void **state)
{
    (void)state;
    enum { COUNT = 3 * STREAMS };
    struct world *world = world_open(2);
    struct told told[COUNT] = {{0}};
    for (int i = 0; i < COUNT; i++)
        start(world, "/late", 5000, &told[i]);
    test_wait(&world->loop, world->late_count == 2 * STREAMS);
    struct hg_http2_pool_stats stats = hg_http2_pool_stats(world->pool);
    assert_int_equal(stats.connections, 2);
    assert_int_equal(stats.streams, 2 * STREAMS);
    assert_int_equal(stats.waiting, STREAMS);
    for (unsigned i = 0; i < COUNT; i++) {
        test_wait(&world->loop, world->late_count > i);
        answer(world->late[i], "late");
    }
    for (int i = 0; i < COUNT; i++) {
        test_wait(&world->loop, told[i].calls == 1);
        assert_string_equal(told[i].body, "late");
    }
    assert_int_equal(world->found, 2);
    world_close(world);
}

static void test_too_many_that_wait_are_refused(void **state)
{
    (void)state;
    struct world *world = world_open(1);
    struct told told = {0};
    char url[128];
    snprintf(url, sizeof(url), "%s/late", world->url);
    struct hg_fetch_options options = {.url = url};
    for (int i = 0; i < HG_HTTP2_WAITING_MAX; i++)
        assert_int_equal(hg_http2_fetch_start(world->pool, &options, false, on_done, &told, NULL),
                         HG_OK);
    assert_int_equal(hg_http2_fetch_start(world->pool, &options, false, on_done, &told, NULL),
                     HG_ELIMIT);
    pool_close(world);
    assert_int_equal(told.calls, HG_HTTP2_WAITING_MAX);
    assert_int_equal(told.err, HG_ECANCELED);
    world_close(world);
}

static void test_time_and_cancel_end_a_stream(void **state)
{
    (void)state;
    struct world *world = world_open(1);
    struct told late = {0}, canceled = {0}, at_once = {0}, after = {0};
    start(world, "/late", 50, &late);
    struct hg_http2_fetch *fetch = start(world, "/late", 5000, &canceled);
    hg_http2_fetch_cancel(start(world, "/late", 5000, &at_once), HG_EPEER);
    test_wait(&world->loop, world->late_count == 2);
    assert_true(hg_http2_fetch_is_sent(fetch));
    hg_http2_fetch_cancel(fetch, HG_ECANCELED);
    assert_int_equal(canceled.calls, 0);
    test_wait(&world->loop, late.calls == 1 && canceled.calls == 1 && at_once.calls == 1);
    assert_int_equal(late.err, HG_ETIMEDOUT);
    assert_int_equal(canceled.err, HG_ECANCELED);
    assert_int_equal(at_once.err, HG_EPEER);
    test_wait(&world->loop, world->late[0] == NULL && world->late[1] == NULL); /* reset */
    start(world, "/x", 5000, &after);
    test_wait(&world->loop, after.calls == 1);
    assert_int_equal(after.err, HG_OK);
    assert_int_equal(world->found, 1);
    world_close(world);
}

/* F13, A9 */
static void test_server_that_drains_finishes_what_was_begun(void **state)
{
    (void)state;
    struct world *world = world_open(4);
    struct told begun[STREAMS] = {{0}}, after = {0};
    for (int i = 0; i < STREAMS; i++)
        start(world, "/late", 5000, &begun[i]);
    test_wait(&world->loop, world->late_count == STREAMS);
    hg_server_drain(world->server);
    start(world, "/late", 5000, &after);
    test_wait(&world->loop, after.calls == 1); /* wherever it goes, it is told */
    assert_true(after.err != HG_OK && after.is_unprocessed);
    for (int i = 0; i < STREAMS; i++) {
        assert_int_equal(begun[i].calls, 0);
        answer(world->late[i], "done");
    }
    for (int i = 0; i < STREAMS; i++) {
        test_wait(&world->loop, begun[i].calls == 1);
        assert_int_equal(begun[i].err, HG_OK);
    }
    test_wait(&world->loop, hg_http2_pool_stats(world->pool).connections == 0);
    world_close(world);
}

static void test_dead_server_is_told_to_all_at_once(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct world *world = world_open(4);
    struct told told[COUNT] = {{0}};
    listener_close(world); /* whoever connects from now on is refused */
    for (int i = 0; i < COUNT; i++)
        start(world, "/x", 5000, &told[i]);
    for (int i = 0; i < COUNT; i++) {
        test_wait(&world->loop, told[i].calls == 1);
        assert_int_equal(told[i].err, HG_EPEER);
        assert_true(told[i].is_connect_error);
        assert_false(told[i].is_unprocessed);
    }
    assert_int_equal(world->found + world->found_other, 0);
    world_close(world);
}

static void test_name_that_leads_nowhere_is_a_dead_server(void **state)
{
    static const int moods[] = {MOOD_RCODE + ns_r_nxdomain, MOOD_RCODE + ns_r_servfail, MOOD_SHORT};
    struct dns_server server;
    (void)state;
    dns_start(&server);
    atomic_store(&dns_of_system, &server);
    for (size_t i = 0; i < HG_COUNT(moods); i++) {
        struct world *world = world_open_at("name.x", 4);
        struct told told = {0};
        atomic_store(&server.mood, moods[i]);
        start(world, "/x", 5000, &told);
        test_wait(&world->loop, told.calls == 1);
        assert_int_equal(told.err, HG_EPEER);
        assert_true(told.is_connect_error);
        assert_int_equal(world->heard, 0);
        world_close(world);
    }
    atomic_store(&dns_of_system, NULL);
    dns_stop(&server);
}

static void test_whoever_is_told_may_close_the_pool(void **state)
{
    (void)state;
    struct world *world = world_open(4);
    struct told first = {.world = world, .closes = true}, other = {0};
    start(world, "/x", 5000, &first);
    start(world, "/late", 5000, &other);
    test_wait(&world->loop, first.calls == 1 && other.calls == 1);
    assert_int_equal(first.err, HG_OK);
    assert_int_equal(other.err, HG_ECANCELED);
    test_wait(&world->loop, world->pool_closed);
    world_close(world);
}

static struct hg_http2_link *last_link(struct world *world)
{
    assert_false(hg_list_is_empty(&world->pool->links));
    return hg_container_of(world->pool->links.prev, struct hg_http2_link, link);
}

static void test_connection_without_stream_ids_is_replaced(void **state)
{
    (void)state;
    struct world *world = world_open(1);
    struct told first = {0}, last = {0}, next = {0};
    start(world, "/x", 5000, &first);
    test_wait(&world->loop, first.calls == 1);
    assert_int_equal(
        nghttp2_session_set_next_stream_id(last_link(world)->client->session, INT32_MAX), 0);
    start(world, "/late", 5000, &last);
    test_wait(&world->loop, world->late_count == 1);
    start(world, "/x", 5000, &next);
    test_wait(&world->loop, next.calls == 1);
    assert_int_equal(next.err, HG_OK);
    assert_int_equal(world->found, 2);
    answer(world->late[0], "the last one");
    test_wait(&world->loop, last.calls == 1);
    assert_string_equal(last.body, "the last one");
    test_wait(&world->loop, hg_http2_pool_stats(world->pool).connections == 1); /* it has gone */
    world_close(world);
}

/* --- servers that behave badly --- */

static const char SETTINGS[] = "\0\0\0\4\0\0\0\0\0";
static const char NO_STREAMS[] = "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0"; /* MAX_CONCURRENT_STREAMS 0 */
static const char GOAWAY[] = "\0\0\x08\7\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0";
#define SAY(fd, frame) assert_int_equal(write(fd, frame, sizeof(frame) - 1), sizeof(frame) - 1)

/* A world whose pool has to do with a raw socket. */
static struct world *raw_open(unsigned connections_max, int *out_fd)
{
    struct world *world = world_open(connections_max);
    uint16_t port;
    pool_close(world);
    world->pool_closed = false;
    *out_fd = test_listen(&port);
    snprintf(world->url, sizeof(world->url), "http://127.0.0.1:%u", (unsigned)port);
    struct hg_http2_pool_config config = {
        .url = world->url,
        .timeout_ms = 20000,
        .connections_max = connections_max,
        .budget = &world->budget,
        .ops = &pool_ops,
        .ctx = world,
    };
    assert_int_equal(hg_http2_pool_create(&world->loop, &config, &world->pool), HG_OK);
    return world;
}

static int raw_accept(struct world *world, int listener)
{
    int fd = -1;
    test_wait(&world->loop, (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    return fd;
}

/* It lets everything finish and finishes nothing. */
static void test_server_that_always_leaves_gets_no_more_connections(void **state)
{
    enum { MAX = 2, COUNT = 2 * MAX };
    struct told told[COUNT + 1] = {{0}};
    int fds[COUNT], listener;
    struct world *world = raw_open(MAX, &listener);
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        struct hg_http2_fetch *fetch = start(world, "/x", 20000, &told[i]);
        fds[i] = raw_accept(world, listener);
        SAY(fds[i], SETTINGS);
        test_wait(&world->loop, hg_http2_fetch_is_sent(fetch));
        SAY(fds[i], GOAWAY);
        test_wait(&world->loop, !hg_http2_link_has_hope(last_link(world)));
    }
    start(world, "/x", 20000, &told[COUNT]);
    test_wait(&world->loop, told[COUNT].calls == 1);
    assert_true(told[COUNT].err == HG_EPROTO && told[COUNT].is_unprocessed);
    assert_int_equal(hg_http2_pool_stats(world->pool).connections, COUNT);
    assert_int_equal(world->found, COUNT);
    close(fds[0]); /* one has gone, another may come */
    test_wait(&world->loop, told[0].calls == 1);
    struct told again = {0};
    start(world, "/x", 20000, &again);
    close(raw_accept(world, listener));
    test_wait(&world->loop, again.calls == 1);
    world_close(world);
    for (int i = 1; i < COUNT; i++)
        close(fds[i]);
    close(listener);
}

static void test_server_that_takes_no_streams_speaks_no_http2(void **state)
{
    struct told told[3] = {{0}};
    int listener;
    struct world *world = raw_open(4, &listener);
    (void)state;
    for (size_t i = 0; i < HG_COUNT(told); i++)
        start(world, "/x", 20000, &told[i]);
    int fd = raw_accept(world, listener);
    SAY(fd, NO_STREAMS);
    for (size_t i = 0; i < HG_COUNT(told); i++) {
        test_wait(&world->loop, told[i].calls == 1);
        assert_true(told[i].err == HG_EPROTO && told[i].is_unprocessed);
    }
    assert_int_equal(world->found, 0);
    assert_int_equal(world->found_other, 1);
    world_close(world);
    close(fd);
    close(listener);
}

/* Who is to find out what it speaks is told what is known, or finds out. */
static void test_try_looks_at_what_there_is(void **state)
{
    int listener;
    struct told told = {0};
    struct world *world = raw_open(4, &listener);
    (void)state;
    assert_false(hg_http2_pool_try(world->pool)); /* opens one */
    int fd = raw_accept(world, listener);
    assert_false(hg_http2_pool_try(world->pool)); /* one is at it */
    SAY(fd, SETTINGS);
    test_wait(&world->loop, world->found == 1);
    assert_true(hg_http2_pool_try(world->pool));
    struct hg_http2_fetch *fetch = start(world, "/x", 20000, &told);
    test_wait(&world->loop, hg_http2_fetch_is_sent(fetch));
    SAY(fd, GOAWAY);
    test_wait(&world->loop, !hg_http2_link_has_hope(last_link(world)));
    assert_false(hg_http2_pool_try(world->pool)); /* that one is of no use any more */
    int next = raw_accept(world, listener);
    SAY(next, SETTINGS);
    test_wait(&world->loop, world->found == 2);
    world_close(world);
    close(fd);
    close(next);
    close(listener);
}

static void test_urls_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        uint16_t port;
        int err;
    } cases[] = {
        {"http://a:8001", "a", 8001, HG_OK}, {"http://a", "a", 80, HG_OK},
        {"http://[::1]:7", "::1", 7, HG_OK}, {"http://[::1]", "::1", 80, HG_OK},
        {"http://a:x", NULL, 0, HG_EINVAL},  {"http://a:65536", NULL, 0, HG_EINVAL},
        {"a:1", NULL, 0, HG_EINVAL},
    };
    struct hg_loop loop;
    bool closed = false;
    assert_int_equal(hg_loop_init(&loop, "test"), HG_OK);
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_http2_pool *pool;
        struct hg_http2_pool_config config = {.url = cases[i].url, .timeout_ms = 1};
        assert_int_equal(hg_http2_pool_create(&loop, &config, &pool), cases[i].err);
        if (cases[i].err != HG_OK)
            continue;
        assert_string_equal(pool->host, cases[i].host);
        assert_int_equal(pool->port, cases[i].port);
        closed = false;
        hg_http2_pool_close(pool, on_flag, &closed);
        test_wait(&loop, closed);
    }
    assert_int_equal(hg_loop_finish(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_share_a_connection),
        cmocka_unit_test(test_more_than_the_streams_there_are_wait),
        cmocka_unit_test(test_too_many_that_wait_are_refused),
        cmocka_unit_test(test_time_and_cancel_end_a_stream),
        cmocka_unit_test(test_server_that_drains_finishes_what_was_begun),
        cmocka_unit_test(test_dead_server_is_told_to_all_at_once),
        cmocka_unit_test(test_name_that_leads_nowhere_is_a_dead_server),
        cmocka_unit_test(test_whoever_is_told_may_close_the_pool),
        cmocka_unit_test(test_connection_without_stream_ids_is_replaced),
        cmocka_unit_test(test_server_that_always_leaves_gets_no_more_connections),
        cmocka_unit_test(test_server_that_takes_no_streams_speaks_no_http2),
        cmocka_unit_test(test_try_looks_at_what_there_is),
        cmocka_unit_test(test_urls_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
