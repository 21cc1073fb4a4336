/*
 * conn_http2 - a connection that speaks HTTP/2: wire/http2 between its bytes and the exchanges.
 *
 *   conn_parse -> hg_conn_http2_input -> on_request -> handler -> hg_conn_http2_answer
 *   conn_flush -> hg_conn_http2_fill -> conn->out
 *
 * Kept exchanges lie on the connection's queue like those of HTTP/1.1, in no order that matters.
 */
#include <assert.h>

#include "base/alloc.h"
#include "net/conn.h"
#include "net/log.h"

#define FILL_BYTES ((size_t)256 << 10) /* lie ready for the socket; the rest waits in its streams */
#define RECEIVED_EXTRA                                                                             \
    ((size_t)8 << 20) /* bodies under way on one connection, beside the largest */

static void on_request(void *ctx, struct hg_http2_stream *stream,
                       const struct hg_http1_request *request)
{
    struct hg_conn *conn = ctx;
    struct hg_server *server = conn->server;
    struct hg_exchange exchange = {
        .request = request,
        .conn = conn,
        .server = server,
        .roles = conn->roles,
        .stream = stream,
        .is_http2 = true,
    };

    if (conn->state == HG_CONN_CLOSING) /* an earlier request of this input has closed it */
        return;
    hg_list_init(&exchange.link);
    hg_counter_add(&server->counters.requests, 1);
    server->ops.request(server->ctx, &exchange);
    assert(exchange.is_answered || exchange.is_kept);
}

static void on_closed(void *ctx, struct hg_http2_stream *stream)
{
    struct hg_kept *kept = stream->user;
    (void)ctx;
    hg_kept_leave(kept);
    hg_kept_orphan(kept);
}

static void on_event(void *ctx, enum hg_http2_event event)
{
    static struct hg_log_limit limit;
    struct hg_conn *conn = ctx;
    struct hg_server_counters *counters = &conn->server->counters;

    switch (event) {
    case HG_HTTP2_BAD_REQUEST:
        hg_counter_add(&counters->bad_requests, 1);
        break;
    case HG_HTTP2_FLOODED:
        hg_counter_add(&counters->http2_floods, 1);
        hg_log_limited(&limit, 1, HG_LOG_WARN, "connection closed reason=\"HTTP/2 flood\"");
        break;
    case HG_HTTP2_REFUSED:
        hg_counter_add(&counters->http2_refused, 1);
        break;
    case HG_HTTP2_RECEIVE_TIMEOUT:
        hg_counter_add(&counters->header_timeouts, 1);
        break;
    case HG_HTTP2_SEND_TIMEOUT:
        hg_counter_add(&counters->http2_stalled, 1);
        break;
    }
}

static const struct hg_http2_ops ops = {
    .request = on_request,
    .closed = on_closed,
    .event = on_event,
};

int hg_conn_http2_begin(struct hg_conn *conn)
{
    const struct hg_server_limits *limits = &conn->server->limits;
    size_t largest = limits->http1.body > limits->message ? limits->http1.body : limits->message;
    const struct hg_http2_limits http2_limits = {
        .http1 = &limits->http1,
        .streams = limits->streams,
        .message = limits->message,
        .received = largest + RECEIVED_EXTRA,
        .receive_timeout_ms = limits->header_timeout_ms,
        .send_timeout_ms = limits->write_timeout_ms,
    };
    int err =
        hg_http2_create(&http2_limits, &ops, conn, hg_loop_now(conn->server->loop), &conn->http2);
    if (err == HG_OK && conn->server->is_draining)
        err = hg_http2_leave(conn->http2);
    return err;
}

/* For results of http2: without memory nothing can be said, not even that. */
static void check(struct hg_conn *conn, int err)
{
    if (err == HG_EPROTO)
        hg_counter_add(&conn->server->counters.bad_requests, 1);
    if (err < 0)
        hg_conn_close(conn);
}

void hg_conn_http2_input(struct hg_conn *conn, struct hg_bytes input)
{
    check(conn, hg_http2_feed(conn->http2, input, hg_loop_now(conn->server->loop)));
}

void hg_conn_http2_fill(struct hg_conn *conn)
{
    uint64_t now_ms = hg_loop_now(conn->server->loop);
    struct hg_bytes bytes;

    while (conn->out.bytes < FILL_BYTES) {
        int err = hg_http2_pull(conn->http2, now_ms, &bytes);
        if (err == HG_OK && bytes.len == 0)
            return;
        if (err == HG_OK)
            err = hg_out_append(&conn->out, &conn->server->pool, bytes.data, bytes.len);
        check(conn, err);
        if (err < 0)
            return;
    }
}

void hg_conn_http2_leave(struct hg_conn *conn)
{
    check(conn, hg_http2_leave(conn->http2));
    hg_conn_mark_dirty(conn);
}

void hg_conn_http2_stop(struct hg_conn *conn)
{
    check(conn, hg_http2_stop(conn->http2));
}

/* --- answers --- */

/* Its stream goes on without it. */
static void let_go(struct hg_exchange *exchange)
{
    struct hg_kept *kept = hg_kept_of(exchange);
    if (exchange->stream != NULL)
        exchange->stream->user = NULL;
    if (exchange->conn != NULL)
        hg_kept_leave(kept);
    hg_kept_free(kept);
}

static struct hg_http2_answer answer_of(const struct hg_conn *conn, const struct hg_reply *reply)
{
    return (struct hg_http2_answer){
        .status = reply->status,
        .headers = reply->headers,
        .trailers = reply->trailers,
        .date = hg_loop_date(conn->server->loop),
        .body = reply->body,
        .is_head = reply->is_head,
        .no_length = reply->no_length,
    };
}

void hg_conn_http2_answer(struct hg_exchange *exchange, const struct hg_reply *reply)
{
    struct hg_conn *conn = exchange->conn;
    bool is_open = conn != NULL && conn->state != HG_CONN_CLOSING, is_kept = exchange->is_kept;

    if (is_open) {
        struct hg_http2_answer answer = answer_of(conn, reply);
        bool is_shared = reply->value != NULL && !hg_value_is_private(reply->value);
        if (is_shared)
            answer.value = reply->value;
        else if (reply->value != NULL)
            answer.body = hg_value_data(reply->value);
        int err = hg_http2_answer(exchange->stream, &answer);
        if (err < 0 && is_shared)
            hg_value_unref(reply->value);
        check(conn, err);
    } else {
        hg_reply_release(reply);
    }
    if (is_kept && (!is_open || conn->state != HG_CONN_CLOSING)) /* else the close has freed it */
        let_go(exchange);
    if (is_open)
        hg_conn_mark_dirty(conn);
}

void hg_conn_http2_start(struct hg_exchange *exchange, const struct hg_reply *reply)
{
    struct hg_conn *conn = exchange->conn;
    struct hg_http2_answer answer = answer_of(conn, reply);
    answer.is_streamed = true;
    check(conn, hg_http2_answer(exchange->stream, &answer));
    hg_conn_mark_dirty(conn);
}

void hg_conn_http2_piece(struct hg_exchange *exchange, struct hg_bytes piece)
{
    struct hg_conn *conn = exchange->conn;
    check(conn, hg_http2_piece(exchange->stream, piece));
    hg_conn_mark_dirty(conn);
}

void hg_conn_http2_end(struct hg_exchange *exchange)
{
    struct hg_conn *conn = exchange->conn;
    int err = hg_http2_end(exchange->stream);
    let_go(exchange);
    check(conn, err);
    hg_conn_mark_dirty(conn);
}
