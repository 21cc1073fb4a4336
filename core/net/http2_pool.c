#include "net/http2_pool.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/units.h"
#include "net/http2_pool_impl.h"
#include "net/url.h"

#define BODY_MAX_DEFAULT ((size_t)64 << 20)
#define OUT_MAX          ((size_t)1 << 20)

/* --- requests --- */

static void fetch_free(struct hg_http2_fetch *fetch)
{
    if (fetch->call != NULL)
        hg_http2_call_free(fetch->call);
    hg_list_remove(&fetch->link);
    hg_list_remove(&fetch->all);
    hg_free(fetch);
}

static void pool_shut_if_done(struct hg_http2_pool *pool);

/* The one place where done is called. */
static void fetch_end(struct hg_http2_fetch *fetch, int err, const char *text)
{
    struct hg_http2_pool *pool = fetch->pool;
    const struct hg_http2_call *call = fetch->call;
    struct hg_fetch_response response = {
        .err = err,
        .err_text = text,
        .is_http2 = true,
        .is_connect_error = fetch->is_connect_error,
        .is_unprocessed = fetch->is_unprocessed,
        .is_reset = call != NULL && call->is_reset,
    };
    if (err == HG_OK) {
        response.err_text = "ok";
        response.status = call->status;
        response.headers = hg_buf_bytes(&call->headers);
        response.trailers = hg_buf_bytes(&call->trailers);
        response.body = hg_buf_bytes(&call->body);
    }
    hg_list_remove(&fetch->all);
    fetch->done(fetch->ctx, &response);
    fetch_free(fetch);
    pool_shut_if_done(pool);
}

static void wait(struct hg_http2_fetch *fetch)
{
    hg_list_push_back(&fetch->pool->waiting, &fetch->link);
    fetch->is_waiting = true;
    fetch->pool->waiting_count++;
}

static void wait_no_more(struct hg_http2_fetch *fetch)
{
    if (!fetch->is_waiting)
        return;
    fetch->is_waiting = false;
    fetch->pool->waiting_count--;
    hg_list_remove(&fetch->link);
}

static void on_canceled(struct hg_mail *mail)
{
    struct hg_http2_fetch *fetch = hg_container_of(mail, struct hg_http2_fetch, mail);
    fetch->is_connect_error = fetch->is_unprocessed = false;
    fetch_end(fetch, fetch->cancel_err, hg_err_text(fetch->cancel_err));
}

void hg_http2_fetch_cancel(struct hg_http2_fetch *fetch, int err)
{
    struct hg_http2_link *link = fetch->on;

    if (fetch->cancel_err != HG_OK)
        return;
    fetch->cancel_err = err;
    wait_no_more(fetch);
    hg_list_remove(&fetch->link);
    if (fetch->call != NULL) {
        struct hg_http2_call *call = fetch->call;
        fetch->call = NULL;
        fetch->on = NULL;
        if (hg_http2_call_cancel(call) < 0 && link != NULL)
            hg_http2_link_close(link, HG_ENOMEM, hg_err_text(HG_ENOMEM));
    }
    fetch->mail.deliver = on_canceled;
    hg_loop_post(fetch->pool->loop, &fetch->mail);
    hg_http2_pool_schedule(fetch->pool); /* there is a reset to send, and room */
}

bool hg_http2_fetch_is_sent(const struct hg_http2_fetch *fetch)
{
    return fetch->call != NULL;
}

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    at[len] = '\0';
    return at + len + 1;
}

/* With its own copy of what is lent: it may have to wait, and to be sent twice. NULL: out of memory. */
static struct hg_http2_fetch *fetch_create(const struct hg_http2_pool *pool,
                                           const struct hg_fetch_options *options)
{
    const char *method = options->method != NULL ? options->method : "GET";
    const char *path = options->url + strlen(pool->config.url);
    size_t count = 0, size = strlen(method) + strlen(path) + options->body.len + 3;
    for (; options->headers != NULL && options->headers[count] != NULL; count++)
        size += strlen(options->headers[count]) + 1;
    assert(count <= HG_HTTP2_REQUEST_FIELDS);
    struct hg_http2_fetch *fetch = hg_malloc(sizeof(*fetch) + size);
    if (fetch == NULL)
        return NULL;
    *fetch = (struct hg_http2_fetch){
        .body_max = options->body_max != 0 ? options->body_max : BODY_MAX_DEFAULT,
        .data = options->data,
        .due_ms = options->timeout_ms == 0
                      ? HG_FOREVER
                      : hg_time_add(hg_loop_now(pool->loop), options->timeout_ms),
    };
    char *at = fetch->text;
    fetch->method = at;
    at = put(at, method, strlen(method));
    fetch->path = at;
    at = put(at, path, strlen(path));
    for (size_t i = 0; i < count; i++) {
        fetch->headers[i] = at;
        at = put(at, options->headers[i], strlen(options->headers[i]));
    }
    fetch->body = hg_bytes(at, options->body.len);
    if (options->body.len > 0)
        put(at, options->body.data, options->body.len);
    hg_list_init(&fetch->link);
    return fetch;
}

int hg_http2_fetch_start(struct hg_http2_pool *pool, const struct hg_fetch_options *options,
                         bool is_grpc, hg_fetch_fn done, void *ctx,
                         struct hg_http2_fetch **out_fetch)
{
    if (pool->is_closing)
        return HG_ECANCELED;
    if (pool->waiting_count >= HG_HTTP2_WAITING_MAX)
        return HG_ELIMIT;
    struct hg_http2_fetch *fetch = fetch_create(pool, options);
    if (fetch == NULL)
        return HG_ENOMEM;
    fetch->pool = pool;
    fetch->is_grpc = is_grpc;
    fetch->done = done;
    fetch->ctx = ctx;
    hg_list_push_back(&pool->fetches, &fetch->all);
    wait(fetch);
    hg_http2_pool_wake(pool, fetch->due_ms);
    hg_http2_pool_schedule(pool);
    if (out_fetch != NULL)
        *out_fetch = fetch;
    return HG_OK;
}

/* --- a turn --- */

static struct hg_http2_link *link_with_room(struct hg_http2_pool *pool)
{
    hg_list_for_each(it, &pool->links)
    {
        struct hg_http2_link *link = hg_container_of(it, struct hg_http2_link, link);
        if (hg_http2_link_room(link) > 0)
            return link;
    }
    return NULL;
}

static void fail_first(struct hg_http2_pool *pool, int err, const char *text, bool is_connect_error,
                       bool is_unprocessed)
{
    struct hg_http2_fetch *fetch = hg_container_of(pool->waiting.next, struct hg_http2_fetch, link);
    wait_no_more(fetch);
    fetch->err = err;
    fetch->err_text = text;
    fetch->is_connect_error = is_connect_error;
    fetch->is_unprocessed = is_unprocessed;
    fetch->is_again = true; /* the caller may try */
    hg_list_push_back(&pool->ended, &fetch->link);
    hg_http2_pool_schedule(pool);
}

void hg_http2_pool_give_up_waiting(struct hg_http2_pool *pool, int err, const char *text,
                                   bool is_connect_error, bool is_unprocessed)
{
    hg_list_for_each(it, &pool->links)
    {
        if (hg_http2_link_has_hope(hg_container_of(it, struct hg_http2_link, link)))
            return;
    }
    while (!hg_list_is_empty(&pool->waiting))
        fail_first(pool, err, text, is_connect_error, is_unprocessed);
}

struct links {
    unsigned all, hopes, new; /* new: what they are good for is not known yet */
};

static struct links count_links(const struct hg_http2_pool *pool)
{
    struct links links = {0};
    hg_list_for_each(it, &pool->links)
    {
        struct hg_http2_link *link = hg_container_of(it, struct hg_http2_link, link);
        links.all++;
        links.hopes += hg_http2_link_has_hope(link);
        links.new += link->state < HG_HTTP2_READY;
    }
    return links;
}

/* One at a time: a thousand requests to a dead server are one attempt. */
static void open_another(struct hg_http2_pool *pool)
{
    struct links links = count_links(pool);
    if (links.new > 0 || links.hopes >= pool->config.connections_max)
        return;
    if (links.all >= 2 * pool->config.connections_max) { /* one that always leaves gets no more */
        hg_http2_pool_give_up_waiting(pool, HG_EPROTO, "the server leaves too often", false, true);
        return;
    }
    int err = hg_http2_link_open(pool);
    if (err < 0)
        hg_http2_pool_give_up_waiting(pool, err, hg_err_text(err), err == HG_EPEER, false);
}

static void send_waiting(struct hg_http2_pool *pool)
{
    while (!hg_list_is_empty(&pool->waiting)) {
        struct hg_http2_link *link = link_with_room(pool);
        if (link == NULL) {
            open_another(pool);
            return;
        }
        struct hg_http2_fetch *fetch =
            hg_container_of(pool->waiting.next, struct hg_http2_fetch, link);
        int err = hg_http2_link_begin(link, fetch);
        if (err == HG_OK)
            wait_no_more(fetch);
        else
            fail_first(pool, err, hg_err_text(err), false, false);
    }
}

static void tell_ended(struct hg_http2_pool *pool)
{
    struct hg_list ended = HG_LIST_INIT(ended), *it;

    hg_list_splice_back(&ended, &pool->ended);
    while ((it = hg_list_pop_front(&ended)) != NULL) {
        struct hg_http2_fetch *fetch = hg_container_of(it, struct hg_http2_fetch, link);
        if (fetch->is_unprocessed && !fetch->is_again && !pool->is_closing) {
            hg_http2_call_free(fetch->call);
            fetch->call = NULL;
            fetch->is_again = true;
            fetch->is_unprocessed = false;
            wait(fetch);
            hg_http2_pool_schedule(pool);
            continue;
        }
        fetch_end(fetch, fetch->err, fetch->err_text);
    }
}

void hg_http2_pool_turn(struct hg_http2_pool *pool)
{
    pool->open_parts++; /* whoever is told may close the pool */
    uv_idle_stop(&pool->turn);
    tell_ended(pool); /* first: who hears of a dead server takes back what waits for it */
    if (!pool->is_closing)
        send_waiting(pool);
    hg_list_for_each_safe(it, &pool->links)
        hg_http2_link_flush(hg_container_of(it, struct hg_http2_link, link));
    hg_http2_pool_part_closed(pool);
}

static void on_turn(uv_idle_t *turn)
{
    hg_http2_pool_turn(turn->data);
}

void hg_http2_pool_schedule(struct hg_http2_pool *pool)
{
    if (!uv_is_closing((uv_handle_t *)&pool->turn))
        uv_idle_start(&pool->turn, on_turn);
}

/* --- time --- */

static void on_due(struct hg_timer *timer)
{
    struct hg_http2_pool *pool = hg_container_of(timer, struct hg_http2_pool, timer);
    uint64_t now_ms = hg_loop_now(pool->loop), next_ms = HG_FOREVER;

    pool->due_ms = HG_FOREVER;
    hg_list_for_each(it, &pool->fetches)
    {
        struct hg_http2_fetch *fetch = hg_container_of(it, struct hg_http2_fetch, all);
        if (fetch->cancel_err != HG_OK)
            continue;
        if (now_ms >= fetch->due_ms)
            hg_http2_fetch_cancel(fetch, HG_ETIMEDOUT);
        else if (fetch->due_ms < next_ms)
            next_ms = fetch->due_ms;
    }
    hg_list_for_each_safe(it, &pool->links)
    {
        struct hg_http2_link *link = hg_container_of(it, struct hg_http2_link, link);
        if (link->due_ms <= now_ms)
            hg_http2_link_check(link, now_ms);
        else if (link->state != HG_HTTP2_CLOSING && link->due_ms < next_ms)
            next_ms = link->due_ms;
    }
    hg_http2_pool_wake(pool, next_ms);
    hg_http2_pool_schedule(pool); /* PINGs */
}

void hg_http2_pool_wake(struct hg_http2_pool *pool, uint64_t due_ms)
{
    if (due_ms >= pool->due_ms || pool->is_closing)
        return;
    uint64_t now_ms = hg_loop_now(pool->loop);
    pool->due_ms = due_ms;
    hg_timer_start(&pool->timer, on_due, due_ms > now_ms ? due_ms - now_ms : 0);
}

void hg_http2_pool_ping(struct hg_http2_pool *pool)
{
    uint64_t now_ms = hg_loop_now(pool->loop);
    hg_list_for_each(it, &pool->links)
    {
        struct hg_http2_link *link = hg_container_of(it, struct hg_http2_link, link);
        if (link->state == HG_HTTP2_READY)
            hg_http2_client_ping(link->client, now_ms); /* without memory it has no answer */
    }
    hg_http2_pool_schedule(pool);
}

bool hg_http2_pool_is_ready(const struct hg_http2_pool *pool)
{
    hg_list_for_each(it, &pool->links)
    {
        struct hg_http2_link *link = hg_container_of(it, struct hg_http2_link, link);
        if (link->state == HG_HTTP2_READY)
            return true;
    }
    return false;
}

void hg_http2_pool_drop(struct hg_http2_pool *pool, const char *why)
{
    hg_list_for_each_safe(it, &pool->links)
        hg_http2_link_close(hg_container_of(it, struct hg_http2_link, link), HG_ETIMEDOUT, why);
}

bool hg_http2_pool_try(struct hg_http2_pool *pool)
{
    struct links links = count_links(pool);
    if (links.hopes > links.new)
        return true;
    if (links.new == 0 && links.all < 2 * pool->config.connections_max && !pool->is_closing)
        hg_http2_link_open(pool);
    return false;
}

struct hg_http2_pool_stats hg_http2_pool_stats(const struct hg_http2_pool *pool)
{
    struct hg_http2_pool_stats stats = {.waiting = pool->waiting_count};
    hg_list_for_each(it, &pool->links)
    {
        struct hg_http2_link *link = hg_container_of(it, struct hg_http2_link, link);
        if (link->state != HG_HTTP2_READY)
            continue;
        stats.connections++;
        stats.streams += hg_http2_client_call_count(link->client);
    }
    return stats;
}

/* --- the pool --- */

static int read_url(struct hg_http2_pool *pool)
{
    const char *authority = strstr(pool->config.url, "://");
    if (authority == NULL)
        return HG_EINVAL;
    pool->authority = authority + 3;
    return hg_url_host(pool->config.url, &pool->host, &pool->port);
}

static void pool_free(struct hg_http2_pool *pool)
{
    hg_buf_finish(&pool->out);
    hg_free(pool->host);
    hg_free(pool);
}

int hg_http2_pool_create(struct hg_loop *loop, const struct hg_http2_pool_config *config,
                         struct hg_http2_pool **out_pool)
{
    struct hg_http2_pool *pool = hg_calloc(1, sizeof(*pool));
    if (pool == NULL)
        return HG_ENOMEM;
    pool->loop = loop;
    pool->config = *config;
    pool->due_ms = HG_FOREVER;
    hg_list_init(&pool->links);
    hg_list_init(&pool->fetches);
    hg_list_init(&pool->waiting);
    hg_list_init(&pool->ended);
    hg_buf_init(&pool->out, OUT_MAX);
    int err = read_url(pool);
    if (err < 0) {
        pool_free(pool);
        return err;
    }
    uv_idle_init(&loop->uv, &pool->turn);
    pool->turn.data = pool;
    hg_timer_init(&pool->timer, loop);
    pool->open_parts = 2;
    *out_pool = pool;
    return HG_OK;
}

static void on_turn_closed(uv_handle_t *handle)
{
    hg_http2_pool_part_closed(handle->data);
}

static void on_timer_closed(struct hg_timer *timer)
{
    hg_http2_pool_part_closed(hg_container_of(timer, struct hg_http2_pool, timer));
}

/* Everybody has been told: the handles go. */
static void pool_shut_if_done(struct hg_http2_pool *pool)
{
    if (!pool->is_closing || !hg_list_is_empty(&pool->fetches) ||
        uv_is_closing((uv_handle_t *)&pool->turn))
        return;
    uv_close((uv_handle_t *)&pool->turn, on_turn_closed);
    hg_timer_close(&pool->timer, on_timer_closed);
}

void hg_http2_pool_part_closed(struct hg_http2_pool *pool)
{
    if (--pool->open_parts > 0)
        return;
    void (*closed)(void *) = pool->closed;
    void *closed_ctx = pool->closed_ctx;
    pool_free(pool);
    if (closed != NULL)
        closed(closed_ctx);
}

void hg_http2_pool_close(struct hg_http2_pool *pool, void (*closed)(void *ctx), void *ctx)
{
    if (pool->is_closing)
        return;
    pool->is_closing = true;
    pool->closed = closed;
    pool->closed_ctx = ctx;
    hg_list_for_each(it, &pool->fetches)
        hg_http2_fetch_cancel(hg_container_of(it, struct hg_http2_fetch, all), HG_ECANCELED);
    hg_list_for_each_safe(it, &pool->links) hg_http2_link_close(
        hg_container_of(it, struct hg_http2_link, link), HG_ECANCELED, "closed");
    pool_shut_if_done(pool);
}
