/*
 * exchange - from a reply to bytes, in the order of the requests.
 *
 *   answered in the handler, nothing before it -> straight into the connection's out
 *   anything else                              -> a node on the queue until its turn
 *   of HTTP/2                                  -> conn_http2.c, which needs no turns
 */
#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/conn.h"
#include "wire/reply.h"

/* "Date: ...", "Content-Length: ..." or "Transfer-Encoding: chunked", "Connection: keep-alive", the empty line. */
#define OWN_HEADERS_MAX 128
#define CHUNK_HEAD_MAX  20

static char *put(char *at, const char *data, size_t len)
{
    memcpy(at, data, len);
    return at + len;
}
#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_number(char *at, size_t number)
{
    char digits[20];
    size_t first = sizeof(digits);
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return put(at, digits + first, sizeof(digits) - first);
}

/* How a reply goes out. */
struct plan {
    struct hg_bytes status_line, body; /* body: what is copied behind the head */
    struct hg_value *value;            /* what is sent from place, or NULL */
    size_t content_length;
    bool close, is_http10, is_chunked;
};

static struct plan plan_reply(const struct hg_reply *reply, bool is_http10, bool close)
{
    struct plan plan = {
        .status_line = hg_status_line(reply->status),
        .body = reply->value != NULL ? hg_value_data(reply->value) : reply->body,
        .close = close,
        .is_http10 = is_http10,
    };
    plan.content_length = plan.body.len;
    if (reply->is_head || reply->no_length)
        plan.body = HG_BYTES_NONE;
    else if (reply->value != NULL && !hg_value_is_private(reply->value) &&
             plan.body.len > HG_SMALL_MAX)
        plan.value = reply->value;
    if (plan.value != NULL)
        plan.body = HG_BYTES_NONE;
    return plan;
}

static size_t plan_size(const struct plan *plan, const struct hg_reply *reply)
{
    return plan->status_line.len + reply->headers.len + OWN_HEADERS_MAX + plan->body.len;
}

/* Writes head and small body; returns the end. */
static char *plan_write(const struct plan *plan, const struct hg_reply *reply, struct hg_loop *loop,
                        char *at)
{
    struct hg_bytes date = hg_loop_date(loop);

    at = put(at, plan->status_line.data, plan->status_line.len);
    at = PUT(at, "Date: ");
    at = put(at, date.data, date.len);
    at = PUT(at, "\r\n");
    if (reply->headers.len > 0)
        at = put(at, reply->headers.data, reply->headers.len);
    if (plan->is_chunked) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    } else if (!reply->no_length) {
        at = PUT(at, "Content-Length: ");
        at = put_number(at, plan->content_length);
        at = PUT(at, "\r\n");
    }
    if (plan->close)
        at = PUT(at, "Connection: close\r\n");
    else if (plan->is_http10)
        at = PUT(at, "Connection: keep-alive\r\n");
    at = PUT(at, "\r\n");
    if (plan->body.len > 0)
        at = put(at, plan->body.data, plan->body.len);
    return at;
}

void hg_reply_release(const struct hg_reply *reply)
{
    if (reply->value != NULL && !hg_value_is_private(reply->value))
        hg_value_unref(reply->value);
}

/* The last answer is in out: whatever was to come behind it will not. */
static void conn_end_with_this(struct hg_conn *conn)
{
    conn->state = HG_CONN_LAST;
    conn->is_last_request = true;
    hg_conn_queue_drop(conn);
}

static void answer_now(struct hg_conn *conn, const struct hg_reply *reply, const struct plan *plan)
{
    struct hg_out_pool *pool = &conn->server->pool;
    char *at = hg_out_reserve(&conn->out, pool, plan_size(plan, reply));
    if (at == NULL)
        goto fail;
    hg_out_commit(&conn->out, (size_t)(plan_write(plan, reply, conn->server->loop, at) - at));
    if (plan->value == NULL)
        hg_reply_release(reply);
    else if (hg_out_append_value(&conn->out, pool, plan->value) < 0)
        goto fail;
    if (plan->close)
        conn_end_with_this(conn);
    return;

fail: /* out of memory: an answer that is cut short must not look whole */
    hg_reply_release(reply);
    hg_conn_close(conn);
}

static bool answer_later(struct hg_kept *kept, const struct hg_reply *reply,
                         const struct plan *plan)
{
    if (hg_buf_reserve(&kept->answer, plan_size(plan, reply)) < 0) {
        hg_reply_release(reply);
        return false;
    }
    char *end = plan_write(plan, reply, kept->exchange.server->loop, kept->answer.data);
    kept->answer.len = (size_t)(end - kept->answer.data);
    kept->value = plan->value;
    kept->close_after = plan->close;
    if (plan->value == NULL)
        hg_reply_release(reply);
    return true;
}

void hg_kept_free(struct hg_kept *kept)
{
    hg_list_remove(&kept->exchange.link);
    hg_value_unref(kept->value);
    hg_buf_finish(&kept->answer);
    hg_free(kept->request);
    hg_free(kept);
}

void hg_kept_leave(struct hg_kept *kept)
{
    struct hg_conn *conn = kept->exchange.conn;
    hg_list_remove(&kept->exchange.link);
    conn->work_count--;
    conn->server->kept_count--;
}

void hg_kept_join(struct hg_kept *kept)
{
    struct hg_conn *conn = kept->exchange.conn;
    hg_list_push_back(&conn->queue, &kept->exchange.link);
    conn->work_count++;
    conn->server->kept_count++;
}

/*
 * While draining, only the answer behind which nothing is known to come says so: no request is
 * thrown away.
 */
static bool wants_close(const struct hg_exchange *exchange, const struct hg_reply *reply)
{
    const struct hg_conn *conn = exchange->conn;
    if (reply->close || exchange->request == NULL || !exchange->request->keep_alive)
        return true;
    if (!exchange->server->is_draining)
        return false;
    if (exchange->is_kept)
        return conn->queue.prev == &exchange->link && conn->kept == NULL && conn->head_ms == 0;
    return !conn->has_more_input;
}

static void answer_in_handler(struct hg_exchange *exchange, const struct hg_reply *reply)
{
    struct hg_conn *conn = exchange->conn;
    bool is_http10 = exchange->request != NULL && exchange->request->is_http10;
    struct plan plan = plan_reply(reply, is_http10, wants_close(exchange, reply));

    if (conn->state != HG_CONN_OPEN) { /* closed by the handler */
        hg_reply_release(reply);
        return;
    }
    if (hg_list_is_empty(&conn->queue)) {
        answer_now(conn, reply, &plan);
        return;
    }
    struct hg_kept *kept = hg_calloc(1, sizeof(*kept));
    if (kept == NULL) {
        hg_reply_release(reply);
        hg_conn_close(conn);
        return;
    }
    kept->exchange = *exchange;
    kept->exchange.request = NULL; /* nobody asks again */
    kept->exchange.is_kept = true;
    hg_buf_init(&kept->answer, SIZE_MAX);
    hg_list_init(&kept->exchange.link);
    if (!answer_later(kept, reply, &plan)) {
        hg_free(kept);
        hg_conn_close(conn);
        return;
    }
    hg_kept_join(kept);
    if (plan.close)
        conn->is_last_request = true;
}

void hg_exchange_answer(struct hg_exchange *exchange, const struct hg_reply *reply)
{
    assert(!exchange->is_answered);
    exchange->is_answered = true;
    if (exchange->is_http2) {
        hg_conn_http2_answer(exchange, reply);
        return;
    }
    assert(reply->trailers.len == 0);
    if (!exchange->is_kept) {
        answer_in_handler(exchange, reply);
        return;
    }

    struct hg_kept *kept = hg_container_of(exchange, struct hg_kept, exchange);
    struct hg_conn *conn = exchange->conn;
    if (conn == NULL) {
        hg_reply_release(reply);
        hg_kept_free(kept);
        return;
    }
    struct plan plan =
        plan_reply(reply, exchange->request->is_http10, wants_close(exchange, reply));
    if (conn->queue.next == &exchange->link) {
        hg_kept_leave(kept);
        answer_now(conn, reply, &plan);
        hg_kept_free(kept);
        hg_conn_queue_advance(conn);
    } else if (!answer_later(kept, reply, &plan)) {
        hg_conn_close(conn);
        return;
    } else if (plan.close) {
        conn->is_last_request = true;
    }
    hg_conn_mark_dirty(conn);
}

/* --- an answer in pieces --- */

/* To the socket, or behind what came before its turn. */
static int pieces_append(struct hg_kept *kept, const char *data, size_t len)
{
    struct hg_conn *conn = kept->exchange.conn;
    if (conn->queue.next == &kept->exchange.link)
        return hg_out_append(&conn->out, &conn->server->pool, data, len);
    return hg_buf_append(&kept->answer, data, len);
}

void hg_exchange_begin(struct hg_exchange *exchange, const struct hg_reply *reply)
{
    struct hg_kept *kept = hg_kept_of(exchange);
    struct hg_conn *conn = exchange->conn;

    assert(!kept->is_begun);
    kept->is_begun = true;
    if (conn == NULL)
        return;
    if (exchange->is_http2) {
        hg_conn_http2_start(exchange, reply);
        return;
    }
    assert(!exchange->request->is_http10);
    kept->close_after = wants_close(exchange, reply);
    struct plan plan = plan_reply(reply, false, kept->close_after);
    plan.is_chunked = true;
    plan.body = HG_BYTES_NONE;
    if (!answer_later(kept, reply, &plan)) {
        hg_conn_close(conn);
        return;
    }
    if (kept->close_after)
        conn->is_last_request = true;
    hg_conn_queue_advance(conn);
    hg_conn_mark_dirty(conn);
}

void hg_exchange_piece(struct hg_exchange *exchange, struct hg_bytes piece)
{
    struct hg_kept *kept = hg_kept_of(exchange);
    struct hg_conn *conn = exchange->conn;
    char head[CHUNK_HEAD_MAX];

    assert(kept->is_begun);
    assert(piece.len > 0); /* an empty chunk is the end */
    if (conn == NULL)
        return;
    if (exchange->is_http2) {
        hg_conn_http2_piece(exchange, piece);
        return;
    }
    int head_len = snprintf(head, sizeof(head), "%zx\r\n", piece.len);
    int err = pieces_append(kept, head, (size_t)head_len);
    if (err == HG_OK)
        err = pieces_append(kept, piece.data, piece.len);
    if (err == HG_OK)
        err = pieces_append(kept, "\r\n", 2);
    if (err < 0)
        hg_conn_close(conn);
    else
        hg_conn_mark_dirty(conn);
}

void hg_exchange_end(struct hg_exchange *exchange)
{
    struct hg_kept *kept = hg_kept_of(exchange);
    struct hg_conn *conn = exchange->conn;
    static const char last[] = "0\r\n\r\n";

    assert(kept->is_begun);
    exchange->is_answered = true;
    if (conn == NULL) {
        hg_kept_free(kept);
        return;
    }
    if (exchange->is_http2) {
        hg_conn_http2_end(exchange);
        return;
    }
    if (pieces_append(kept, last, sizeof(last) - 1) < 0) {
        hg_conn_close(conn);
        return;
    }
    hg_conn_queue_advance(conn);
    hg_conn_mark_dirty(conn);
}

size_t hg_exchange_unsent(const struct hg_exchange *exchange)
{
    const struct hg_conn *conn = exchange->conn;
    if (conn == NULL)
        return 0;
    return conn->out.bytes + (exchange->is_http2 ? hg_http2_unsent(exchange->stream)
                                                 : hg_kept_of(exchange)->answer.len);
}

void hg_conn_queue_advance(struct hg_conn *conn)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct hg_out_pool *pool = &conn->server->pool;

    while (conn->state == HG_CONN_OPEN && !hg_list_is_empty(&conn->queue)) {
        struct hg_kept *kept = hg_container_of(conn->queue.next, struct hg_kept, exchange.link);
        bool close_after = kept->close_after;
        int err = HG_OK;
        if (kept->answer.len > 0)
            err = hg_out_append(&conn->out, pool, kept->answer.data, kept->answer.len);
        if (!kept->exchange.is_answered) { /* the pieces so far; the next ones go straight on */
            hg_buf_finish(&kept->answer);
            if (err < 0)
                hg_conn_close(conn);
            return;
        }
        hg_kept_leave(kept);
        if (err == HG_OK && kept->value != NULL) {
            err = hg_out_append_value(&conn->out, pool, kept->value);
            if (err == HG_OK)
                kept->value = NULL;
        }
        hg_kept_free(kept);
        if (err < 0)
            hg_conn_close(conn);
        else if (close_after)
            conn_end_with_this(conn);
    }
    if (conn->state == HG_CONN_OPEN && conn->owes_continue) {
        conn->owes_continue = false;
        if (hg_out_append(&conn->out, pool, interim, sizeof(interim) - 1) < 0)
            hg_conn_close(conn);
    }
}

void hg_kept_orphan(struct hg_kept *kept)
{
    struct hg_exchange *exchange = &kept->exchange;
    struct hg_server *server = exchange->server;

    if (exchange->stream != NULL)
        exchange->stream->user = NULL;
    exchange->stream = NULL;
    exchange->conn = NULL;
    if (exchange->is_answered) {
        hg_kept_free(kept);
        return;
    }
    hg_list_push_back(&server->orphans, &exchange->link);
    if (server->ops.gone != NULL)
        server->ops.gone(server->ctx, exchange); /* may answer or drop it at once */
}

void hg_conn_queue_drop(struct hg_conn *conn)
{
    struct hg_list *link;

    while ((link = conn->queue.next) != &conn->queue) {
        struct hg_kept *kept = hg_container_of(link, struct hg_kept, exchange.link);
        hg_kept_leave(kept);
        hg_kept_orphan(kept);
    }
}

void hg_conn_answer_error(struct hg_conn *conn, int status, const char *text)
{
    const struct hg_server_ops *ops = &conn->server->ops;
    char line[160], headers[160];
    const char *type = "Content-Type: text/plain; charset=utf-8\r\n";
    struct hg_exchange exchange = {.conn = conn, .server = conn->server, .roles = conn->roles};
    const char *page =
        ops->page != NULL ? ops->page(conn->server->ctx, conn->roles, status, &type) : NULL;

    snprintf(line, sizeof(line), "%s\n", text);
    snprintf(headers, sizeof(headers), "%s%s", type,
             status == 405 ? "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n" : "");
    struct hg_reply reply = {
        .status = status,
        .headers = hg_bytes_str(headers),
        .body = hg_bytes_str(page != NULL ? page : line),
        .close = true,
    };
    hg_list_init(&exchange.link);
    hg_exchange_answer(&exchange, &reply);
}

struct hg_exchange *hg_exchange_keep(struct hg_exchange *exchange)
{
    assert(!exchange->is_answered);
    if (exchange->is_kept)
        return exchange;
    struct hg_kept *kept = hg_calloc(1, sizeof(*kept));
    if (kept == NULL)
        return NULL;
    kept->request = hg_http1_request_copy(exchange->request);
    if (kept->request == NULL) {
        hg_free(kept);
        return NULL;
    }
    kept->exchange = *exchange;
    kept->exchange.request = kept->request;
    kept->exchange.is_kept = exchange->is_kept = true;
    hg_buf_init(&kept->answer, SIZE_MAX);
    hg_list_init(&kept->exchange.link);
    if (exchange->conn->state == HG_CONN_OPEN) {
        hg_kept_join(kept);
        if (kept->exchange.stream != NULL)
            kept->exchange.stream->user = kept;
    } else {
        kept->exchange.conn = NULL;
        kept->exchange.stream = NULL;
        hg_list_push_back(&exchange->server->orphans, &kept->exchange.link);
    }
    return &kept->exchange;
}

void hg_exchange_drop(struct hg_exchange *exchange)
{
    assert(exchange->is_kept);
    assert(exchange->conn == NULL);
    hg_kept_free(hg_container_of(exchange, struct hg_kept, exchange));
}

void hg_exchange_remote(const struct hg_exchange *exchange, char buf[static HG_PEER_TEXT_MAX])
{
    struct hg_conn *conn = exchange->conn;
    uv_os_fd_t fd;

    if (conn == NULL) {
        memcpy(buf, "gone", sizeof "gone");
        return;
    }
    if (conn->remote[0] == '\0' && conn->is_unix)
        memcpy(conn->remote, "unix", sizeof "unix");
    else if (conn->remote[0] == '\0')
        hg_address_peer_text(uv_fileno(&conn->uv.handle, &fd) == 0 ? fd : -1, conn->remote);
    memcpy(buf, conn->remote, sizeof conn->remote);
}
