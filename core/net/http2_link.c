/*
 * http2_link - one connection of a pool: net/stream below, wire/http2_client above.
 */
#include "base/alloc.h"
#include "base/units.h"
#include "net/http2_pool_impl.h"

#define CONNECT_TIMEOUT_MS 250
#define IN_MAX             ((size_t)1 << 20)
#define FILL_BYTES         ((size_t)256 << 10) /* lie ready for the socket; the rest waits in its calls */

static struct hg_http2_link *link_of(struct hg_stream *stream)
{
    return hg_container_of(stream, struct hg_http2_link, stream);
}

static void on_closed(struct hg_stream *stream)
{
    struct hg_http2_link *link = link_of(stream);
    struct hg_http2_pool *pool = link->pool;
    hg_list_remove(&link->link);
    hg_http2_client_destroy(link->client);
    hg_free(link);
    hg_http2_pool_part_closed(pool);
}

/* What has ended on it goes to the pool, which tells in its turn. */
static void collect(struct hg_http2_link *link)
{
    struct hg_http2_call *call;
    while ((call = hg_http2_client_pop_ended(link->client)) != NULL) {
        struct hg_http2_fetch *fetch = call->user;
        fetch->on = NULL;
        fetch->err = call->err;
        fetch->err_text = call->err_text;
        fetch->is_unprocessed = call->is_unprocessed;
        hg_list_push_back(&link->pool->ended, &fetch->link);
        hg_http2_pool_schedule(link->pool);
    }
}

void hg_http2_link_close(struct hg_http2_link *link, int err, const char *text)
{
    if (link->state == HG_HTTP2_CLOSING)
        return;
    link->state = HG_HTTP2_CLOSING;
    hg_http2_client_lost(link->client, err, text);
    collect(link);
    hg_http2_pool_schedule(link->pool); /* for those that wait */
    hg_stream_close(&link->stream);     /* `closed` may have been called */
}

/* It came to nothing. */
static void fail_new(struct hg_http2_link *link, int err, const char *text, bool is_connect_error)
{
    struct hg_http2_pool *pool = link->pool;
    bool is_answer = link->state == HG_HTTP2_GREETING &&
                     (err == HG_EPROTO || err == HG_EPEER || err == HG_ETIMEDOUT);
    hg_http2_link_close(link, err, text);
    hg_http2_pool_give_up_waiting(pool, err, text, is_connect_error, is_answer);
    if (is_answer)
        pool->config.ops->found(pool->config.ctx, false);
}

static void fail(struct hg_http2_link *link, int err, const char *text)
{
    if (link->state == HG_HTTP2_GREETING)
        fail_new(link, err, text, false);
    else
        hg_http2_link_close(link, err, text);
}

void hg_http2_link_flush(struct hg_http2_link *link)
{
    struct hg_buf *out = &link->pool->out;
    struct hg_bytes bytes;

    while (link->state >= HG_HTTP2_GREETING && link->state != HG_HTTP2_CLOSING &&
           !link->is_writing) {
        int err = HG_OK;
        hg_buf_clear(out);
        do {
            err = hg_http2_client_pull(link->client, &bytes);
            if (err == HG_OK)
                err = hg_buf_append_bytes(out, bytes);
        } while (err == HG_OK && bytes.len > 0 && out->len < FILL_BYTES);
        if (err == HG_OK && out->len == 0)
            break;
        if (err < 0) {
            fail(link, err, hg_err_text(err));
            return;
        }
        err = hg_stream_write(&link->stream, hg_buf_bytes(out));
        link->is_writing = err == HG_PENDING;
        if (err < 0) {
            fail(link, HG_EPEER, link->stream.error);
            return;
        }
    }
    collect(link); /* a reset that leaves ends its call */
    if (link->state != HG_HTTP2_CLOSING && link->state != HG_HTTP2_CONNECTING &&
        !link->is_writing && hg_http2_client_is_over(link->client))
        fail(link, HG_EPROTO, "HTTP/2 ended");
}

static void on_written(struct hg_stream *stream, int err)
{
    struct hg_http2_link *link = link_of(stream);
    link->is_writing = false;
    if (err < 0)
        fail(link, HG_EPEER, stream->error);
    else
        hg_http2_link_flush(link);
}

/* Pieces of bodies go out as they come. */
static void hand_out(struct hg_http2_link *link)
{
    struct hg_http2_call *call;
    while (link->state != HG_HTTP2_CLOSING &&
           (call = hg_http2_client_pop_arrived(link->client)) != NULL) {
        struct hg_http2_fetch *fetch = call->user;
        struct hg_buf body = call->body; /* the call may be canceled meanwhile */
        hg_buf_init(&call->body, SIZE_MAX);
        size_t used = fetch->data(fetch->ctx, hg_buf_bytes(&body));
        if (fetch->call != call) {
            hg_buf_finish(&body);
            continue;
        }
        hg_buf_consume(&body, used);
        call->body = body;
    }
}

static void on_greeting(struct hg_http2_link *link)
{
    struct hg_http2_pool *pool = link->pool;
    link->state = HG_HTTP2_READY;
    link->due_ms = HG_FOREVER;
    hg_http2_pool_schedule(pool);
    pool->config.ops->found(pool->config.ctx, true);
}

static void on_arrived(struct hg_stream *stream, int err)
{
    struct hg_http2_link *link = link_of(stream);
    struct hg_http2_pool *pool = link->pool;

    if (err < 0) {
        bool is_theirs = err == HG_ECLOSED || err == HG_EPEER;
        fail(link, is_theirs ? HG_EPEER : err, stream->error);
        return;
    }
    struct hg_bytes bytes = hg_stream_bytes(stream);
    pool->config.ops->heard(pool->config.ctx);
    err = hg_http2_client_feed(link->client, bytes, hg_loop_now(pool->loop));
    hg_stream_take(stream, bytes.len);
    if (err < 0) {
        fail(link, err, err == HG_EPROTO ? "no HTTP/2" : hg_err_text(err));
        return;
    }
    if (link->state == HG_HTTP2_GREETING && hg_http2_client_is_ready(link->client)) {
        if (hg_http2_client_calls_max(link->client) == 0) {
            fail(link, HG_EPROTO, "the server takes no streams");
            return;
        }
        on_greeting(link);
    }
    hand_out(link);
    if (link->state == HG_HTTP2_CLOSING)
        return;
    if (hg_http2_client_is_spent(link->client) &&
        !link->is_used) /* nor would the next one take anything */
        hg_http2_pool_give_up_waiting(pool, HG_EPROTO, "the server takes no more", false, true);
    hg_http2_link_flush(link); /* windows, acknowledgements */
    hg_http2_pool_turn(pool);
}

static void on_connected(struct hg_stream *stream, int err)
{
    struct hg_http2_link *link = link_of(stream);
    struct hg_http2_pool *pool = link->pool;

    if (err == HG_OK)
        err = hg_stream_want(stream);
    if (stream->is_unknown && err != HG_ENOMEM)
        err = HG_EPEER; /* whatever DNS says: it is no answer of the peer's */
    if (err < 0) {
        fail_new(link, err, stream->error, true);
        return;
    }
    link->state = HG_HTTP2_GREETING;
    link->due_ms = hg_time_add(hg_loop_now(pool->loop), pool->config.timeout_ms);
    hg_http2_pool_wake(pool, link->due_ms);
    hg_http2_link_flush(link);
}

static void on_secured(struct hg_stream *stream, int err)
{
    (void)stream, (void)err;
}

int hg_http2_link_open(struct hg_http2_pool *pool)
{
    static const struct hg_stream_calls calls = {
        .connected = on_connected,
        .secured = on_secured,
        .arrived = on_arrived,
        .written = on_written,
        .closed = on_closed,
    };
    uint64_t now_ms = hg_loop_now(pool->loop);
    struct hg_http2_link *link = hg_calloc(1, sizeof(*link));
    if (link == NULL)
        return HG_ENOMEM;
    if (hg_http2_client_create(pool->config.timeout_ms, now_ms, &link->client) < 0) {
        hg_free(link);
        return HG_ENOMEM;
    }
    link->pool = pool;
    link->state = HG_HTTP2_CONNECTING;
    link->due_ms = now_ms + CONNECT_TIMEOUT_MS;
    hg_list_push_back(&pool->links, &link->link);
    pool->open_parts++;
    hg_stream_init(&link->stream, pool->loop, IN_MAX, pool->config.budget, &calls);
    int err = hg_stream_connect(&link->stream, pool->host, pool->port);
    if (err < 0) {
        hg_http2_link_close(link, err, link->stream.error);
        return err;
    }
    hg_http2_pool_wake(pool, link->due_ms);
    return HG_OK;
}

size_t hg_http2_link_room(const struct hg_http2_link *link)
{
    return link->state == HG_HTTP2_READY ? hg_http2_client_room(link->client) : 0;
}

bool hg_http2_link_has_hope(const struct hg_http2_link *link)
{
    return link->state < HG_HTTP2_READY ||
           (link->state == HG_HTTP2_READY && !hg_http2_client_is_spent(link->client));
}

int hg_http2_link_begin(struct hg_http2_link *link, struct hg_http2_fetch *fetch)
{
    uint64_t now_ms = hg_loop_now(link->pool->loop);
    struct hg_http2_request request = {
        .method = hg_bytes_str(fetch->method),
        .authority = hg_bytes_str(link->pool->authority),
        .path = hg_bytes_str(fetch->path),
        .headers = fetch->headers,
        .body = fetch->body,
        .body_max = fetch->body_max,
        .is_grpc = fetch->is_grpc,
        .is_streamed = fetch->data != NULL,
    };
    int err = hg_http2_client_start(link->client, &request, fetch, now_ms, &fetch->call);
    if (err < 0)
        return err;
    fetch->on = link;
    link->is_used = true;
    if (link->due_ms == HG_FOREVER)
        hg_http2_link_check(link, now_ms);
    return HG_OK;
}

void hg_http2_link_check(struct hg_http2_link *link, uint64_t now_ms)
{
    switch (link->state) {
    case HG_HTTP2_CONNECTING:
        if (now_ms >= link->due_ms)
            fail_new(link, HG_EPEER, "no connection in time", true);
        break;
    case HG_HTTP2_GREETING:
        if (now_ms >= link->due_ms)
            fail_new(link, HG_ETIMEDOUT, "no SETTINGS in time", false);
        break;
    case HG_HTTP2_READY: {
        int err = hg_http2_client_check(link->client, now_ms, &link->due_ms);
        if (err < 0)
            hg_http2_link_close(link, err, "silence");
        else
            hg_http2_pool_wake(link->pool, link->due_ms);
        break;
    }
    case HG_HTTP2_CLOSING:
        break;
    }
}
