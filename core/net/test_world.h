/*
 * test_world - for the tests of server, conn and exchange: a server whose handler does what the path says.
 */
#ifndef HG_NET_TEST_WORLD_H
#define HG_NET_TEST_WORLD_H

#include "net/conn.h"
#include "net/listener.h"
#include "net/server.h"
#include "net/test_support.h"

#define BIG_BYTES ((size_t)8 << 20)

/* A server on the test's thread whose handler does what the path says. */
struct world {
    struct hg_loop loop;
    struct hg_server *server;
    struct hg_listener *listener;
    uint16_t port;
    struct hg_exchange *late[64]; /* kept, in the order of asking */
    unsigned late_count, asked, gone, closed;
    struct hg_value *big;
    bool is_closed, answers_in_gone, is_unready;
    char remote[HG_PEER_TEXT_MAX];
};

static inline void answer_text(struct hg_exchange *exchange, int status, const char *text)
{
    struct hg_reply reply = {.status = status, .body = hg_bytes_str(text)};
    hg_exchange_answer(exchange, &reply);
}

static inline void on_server_closed(void *ctx)
{
    ((struct world *)ctx)->is_closed = true;
}

static inline void on_request(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    const struct hg_http1_request *request = exchange->request;
    struct hg_reply reply = {.status = 200};

    world->asked++;
    if (hg_bytes_eq(request->path, HG_BYTES("/late"))) {
        struct hg_exchange *kept = hg_exchange_keep(exchange);
        assert_non_null(kept);
        world->late[world->late_count++ % 64] = kept;
        return;
    }
    if (hg_bytes_eq(request->path, HG_BYTES("/big"))) {
        reply.value = hg_value_ref(world->big);
        reply.is_head = request->method == HG_HEAD;
    } else if (hg_bytes_eq(request->path, HG_BYTES("/none"))) {
        reply.status = 204;
        reply.no_length = true;
    } else if (hg_bytes_eq(request->path, HG_BYTES("/close"))) {
        reply.close = true;
    } else if (hg_bytes_eq(request->path, HG_BYTES("/remote"))) {
        hg_exchange_remote(exchange, world->remote);
        reply.body = hg_bytes_str(world->remote);
    } else if (hg_bytes_eq(request->path, HG_BYTES("/shutdown"))) {
        hg_server_close(world->server, on_server_closed, world);
        reply.body = request->query; /* still valid, though nobody will get it */
    } else if (request->body.len > 0) {
        reply.body = request->body;
    } else {
        reply.headers = HG_BYTES("X-Test: yes\r\n");
        reply.body = request->query;
    }
    hg_exchange_answer(exchange, &reply);
}

static inline void on_gone(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    assert_null(exchange->conn);
    world->gone++;
    if (!world->answers_in_gone)
        return;
    for (unsigned i = 0; i < world->late_count; i++) {
        if (world->late[i] == exchange)
            world->late[i] = NULL;
    }
    answer_text(exchange, 200, "nobody hears this");
}

static inline const char *on_page(void *ctx, unsigned roles, int status, const char **out_type)
{
    (void)ctx;
    assert_int_equal(roles, 7);
    if (status == 405)
        *out_type = "Content-Type: text/x-page\r\n";
    return status == 405 ? "a page\n" : NULL;
}

static inline void on_conn_closed(void *ctx, unsigned roles)
{
    struct world *world = ctx;
    assert_int_equal(roles, 7);
    world->closed++;
}

static inline bool takes_http2(void *ctx)
{
    return !((struct world *)ctx)->is_unready;
}

static inline void on_accept(void *ctx, int fd, unsigned roles)
{
    struct world *world = ctx;
    assert_int_equal(hg_server_adopt(world->server, fd, roles), HG_OK);
}

static const struct hg_server_limits usual_limits = {
    .http1 = {.line = 8192,
              .head = 16384,
              .fields = 100,
              .body = (size_t)8 << 20,
              .chunk_extension = 1024},
    .header_timeout_ms = 10000,
    .idle_timeout_ms = 60000,
    .write_timeout_ms = 30000,
};

static inline struct world *world_open(const struct hg_server_limits *limits)
{
    static const struct hg_server_ops ops = {
        .request = on_request, .gone = on_gone, .page = on_page, .takes_http2 = takes_http2,
        .closed = on_conn_closed};
    struct world *world = calloc(1, sizeof(*world));
    assert_int_equal(hg_loop_init(&world->loop, "test"), HG_OK);
    assert_int_equal(hg_server_create(&world->loop, limits, &ops, world, &world->server), HG_OK);
    int fd = test_listen(&world->port);
    assert_int_equal(hg_listener_open(&world->loop, fd, 7, on_accept, world, &world->listener),
                     HG_OK);
    return world;
}

static inline void world_close(struct world *world)
{
    if (world->listener != NULL)
        hg_listener_close(world->listener, NULL, NULL);
    hg_server_close(world->server, on_server_closed, world);
    test_wait(&world->loop, world->is_closed);
    hg_value_unref(world->big);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
}

static inline struct hg_value *make_value(size_t len)
{
    char *data = malloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + i % 23);
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("big"), .data = hg_bytes(data, len)};
    struct hg_value *value = hg_value_create(&spec);
    free(data);
    assert_non_null(value);
    return value;
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: t\r\n\r\n"

/* A client that cannot take much before it reads. */
static inline void test_client_open_small(struct test_client *client, uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int size = 4096;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    test_client_init(client, fd);
}

/* Leaves with a reset. */
static inline void test_client_reset(struct test_client *client)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    test_client_finish(client);
}

#endif
