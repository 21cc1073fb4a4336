#include "net/server.h"

#include <unistd.h>

#include "base/alloc.h"
#include "net/conn.h"
#include "net/log.h"

#define PIPELINE_DEFAULT  16
#define STREAMS_DEFAULT   128
#define OUT_BYTES_DEFAULT ((size_t)1 << 20)
#define PINNED_DEFAULT    ((size_t)64 << 20)
#define SLOW_MS           2000 /* a reader is slow when its answer has not gone out for so long */

/*
 * The wheel: a connection lies in the slot of the tick behind its deadline, or as far ahead as the
 * wheel reaches, where it is looked at and moved on. Activity that only postpones a deadline moves
 * nothing.
 */
void hg_server_schedule(struct hg_conn *conn, uint64_t due_ms)
{
    struct hg_server *server = conn->server;
    uint64_t horizon_ms = hg_loop_now(server->loop) + (HG_WHEEL_SLOTS - 2) * HG_WHEEL_MS;

    if (due_ms > horizon_ms)
        due_ms = horizon_ms;
    if (!hg_list_is_empty(&conn->timer)) {
        if (conn->slot_due_ms <= due_ms)
            return;
        hg_list_remove(&conn->timer);
    }
    conn->slot_due_ms = due_ms;
    uint64_t tick = due_ms / HG_WHEEL_MS + 1;
    hg_list_push_back(&server->wheel[tick % HG_WHEEL_SLOTS], &conn->timer);
}

static void sweep_slot(struct hg_server *server, uint64_t tick, uint64_t now_ms)
{
    struct hg_list due, *link;

    hg_list_init(&due);
    hg_list_splice_back(&due, &server->wheel[tick % HG_WHEEL_SLOTS]);
    while ((link = hg_list_pop_front(&due)) != NULL) {
        struct hg_conn *conn = hg_container_of(link, struct hg_conn, timer);
        uint64_t again_ms = hg_conn_check(conn, now_ms);
        if (conn->state != HG_CONN_CLOSING)
            hg_server_schedule(conn, again_ms);
    }
}

static void on_sweep(uv_timer_t *sweep)
{
    struct hg_server *server = sweep->data;
    uint64_t now_ms = hg_loop_now(server->loop);
    uint64_t tick = now_ms / HG_WHEEL_MS;

    if (tick > server->swept_tick + HG_WHEEL_SLOTS)
        server->swept_tick = tick - HG_WHEEL_SLOTS;
    while (server->swept_tick < tick)
        sweep_slot(server, ++server->swept_tick, now_ms);
    hg_server_check_pinned(server, now_ms);
}

void hg_server_check_pinned(struct hg_server *server, uint64_t now_ms)
{
    static struct hg_log_limit limit;

    while (server->pinned > server->limits.pinned_max && !hg_list_is_empty(&server->blocked)) {
        struct hg_conn *slowest = hg_container_of(server->blocked.next, struct hg_conn, blocked);
        if (now_ms - slowest->blocked_ms < SLOW_MS)
            return; /* all are newer */
        hg_log_limited(&limit, 1, HG_LOG_WARN, "slow reader closed pinned_bytes=%zu",
                       server->pinned);
        hg_counter_add(&server->counters.pinned_closed, 1);
        hg_conn_close(slowest);
    }
}

static void on_turn_end(uv_prepare_t *turn_end)
{
    struct hg_server *server = turn_end->data;
    struct hg_list *link;

    server->turn++;
    while ((link = hg_list_pop_front(&server->dirty)) != NULL)
        hg_conn_pump(hg_container_of(link, struct hg_conn, dirty));
}

int hg_server_create(struct hg_loop *loop, const struct hg_server_limits *limits,
                     const struct hg_server_ops *ops, void *ctx, struct hg_server **out_server)
{
    struct hg_server *server = hg_calloc(1, sizeof(*server));
    if (server == NULL)
        return HG_ENOMEM;
    server->scratch = hg_http1_scratch_create();
    if (server->scratch == NULL) {
        hg_free(server);
        return HG_ENOMEM;
    }
    server->loop = loop;
    server->limits = *limits;
    server->ops = *ops;
    server->ctx = ctx;
    server->turn = 1;
    if (server->limits.pipeline == 0)
        server->limits.pipeline = PIPELINE_DEFAULT;
    if (server->limits.streams == 0)
        server->limits.streams = STREAMS_DEFAULT;
    if (server->limits.message == 0)
        server->limits.message = server->limits.http1.body;
    if (server->limits.out_bytes == 0)
        server->limits.out_bytes = OUT_BYTES_DEFAULT;
    if (server->limits.pinned_max == 0)
        server->limits.pinned_max = PINNED_DEFAULT;
    uint64_t *timeouts[] = {&server->limits.header_timeout_ms, &server->limits.idle_timeout_ms,
                            &server->limits.write_timeout_ms};
    for (size_t i = 0; i < HG_COUNT(timeouts); i++) {
        if (*timeouts[i] == 0)
            *timeouts[i] = HG_FOREVER;
    }
    hg_list_init(&server->conns);
    hg_list_init(&server->dirty);
    hg_list_init(&server->blocked);
    hg_list_init(&server->orphans);
    for (size_t i = 0; i < HG_WHEEL_SLOTS; i++)
        hg_list_init(&server->wheel[i]);

    uv_timer_init(&loop->uv, &server->sweep);
    uv_prepare_init(&loop->uv, &server->turn_end);
    server->sweep.data = server->turn_end.data = server;
    server->open_handles = 2;
    uv_prepare_start(&server->turn_end, on_turn_end);
    uv_unref((uv_handle_t *)&server->turn_end);
    *out_server = server;
    return HG_OK;
}

int hg_server_adopt(struct hg_server *server, int fd, unsigned roles)
{
    if (server->is_closing) { /* it was on its way here when the close began */
        close(fd);
        if (server->ops.closed != NULL)
            server->ops.closed(server->ctx, roles);
        return HG_ECLOSED;
    }
    hg_counter_add(&server->counters.connections, 1);
    if (server->conn_count == 0) {
        server->swept_tick = hg_loop_now(server->loop) / HG_WHEEL_MS;
        uv_timer_start(&server->sweep, on_sweep, HG_WHEEL_MS, HG_WHEEL_MS);
    }
    int err = hg_conn_open(server, fd, roles);
    if (err < 0 && server->conn_count == 0)
        uv_timer_stop(&server->sweep);
    atomic_store_explicit(&server->counters.open, server->conn_count, memory_order_relaxed);
    return err;
}

void hg_server_drain(struct hg_server *server)
{
    if (server->is_draining)
        return;
    server->is_draining = true;
    hg_list_for_each(link, &server->conns)
    {
        struct hg_conn *conn = hg_container_of(link, struct hg_conn, link);
        if (conn->state == HG_CONN_CLOSING)
            continue;
        hg_server_schedule(conn, hg_loop_now(server->loop) + HG_WHEEL_MS);
        if (conn->http2 != NULL)
            hg_conn_http2_leave(conn); /* without memory it is closed, and off the wheel */
    }
}

size_t hg_server_conn_count(const struct hg_server *server)
{
    return server->conn_count;
}

size_t hg_server_busy_count(const struct hg_server *server)
{
    size_t count = server->kept_count;
    hg_list_for_each(link, &server->conns)
    {
        const struct hg_conn *conn = hg_container_of(link, struct hg_conn, link);
        count += conn->out.bytes > 0 || (conn->http2 != NULL && hg_http2_held(conn->http2) > 0);
    }
    return count;
}

static void server_free(struct hg_server *server)
{
    struct hg_list *link;
    while ((link = hg_list_pop_front(&server->orphans)) != NULL)
        hg_container_of(link, struct hg_exchange, link)->server = NULL; /* freed by their owners */
    hg_out_pool_finish(&server->pool);
    hg_http1_scratch_destroy(server->scratch);
    void (*closed)(void *) = server->closed;
    void *closed_ctx = server->closed_ctx;
    hg_free(server);
    if (closed != NULL)
        closed(closed_ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct hg_server *server = handle->data;
    if (--server->open_handles == 0)
        server_free(server);
}

static void server_close_handles(struct hg_server *server)
{
    uv_close((uv_handle_t *)&server->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&server->turn_end, on_handle_closed);
}

void hg_server_conn_gone(struct hg_conn *conn)
{
    struct hg_server *server = conn->server;
    unsigned roles = conn->roles;

    hg_list_remove(&conn->link);
    hg_free(conn);
    server->conn_count--;
    atomic_store_explicit(&server->counters.open, server->conn_count, memory_order_relaxed);
    if (server->ops.closed != NULL)
        server->ops.closed(server->ctx, roles);
    if (server->conn_count > 0)
        return;
    if (server->is_closing)
        server_close_handles(server);
    else
        uv_timer_stop(&server->sweep);
}

void hg_server_close(struct hg_server *server, void (*closed)(void *ctx), void *closed_ctx)
{
    if (server->is_closing)
        return;
    server->is_closing = true;
    server->closed = closed;
    server->closed_ctx = closed_ctx;
    hg_list_for_each(link, &server->conns) hg_conn_close(
        hg_container_of(link, struct hg_conn, link)); /* unlinked later, when libuv is done */
    if (server->conn_count == 0)
        server_close_handles(server);
}

void hg_server_stats(const struct hg_server *server, struct hg_server_stats *out_stats)
{
#define X(name)                                                                                    \
    out_stats->name = atomic_load_explicit(&server->counters.name, memory_order_relaxed);
    HG_SERVER_COUNTERS(X)
#undef X
    out_stats->open = atomic_load_explicit(&server->counters.open, memory_order_relaxed);
}
