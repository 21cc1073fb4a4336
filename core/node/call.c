/*
 * What a script thread is asked for a client: the function of a route, a page for an error. The exchange waits here; the
 * script's answer comes back to this loop.
 *
 *   route:  hg_call_request -> script -> its answer, or the value of a key (hg.reply{ group =, key = }), or hg.serve goes on
 *   error:  hg_call_page    -> script -> its answer, with the headers that the error had
 */
#include <stdio.h>
#include "base/alloc.h"
#include "net/fetch.h"
#include "net/log.h"
#include "node/node_impl.h"
#include "wire/reply.h"

struct call {
    struct hg_pending pending;
    struct hg_route_call call;
    struct hg_front *front;
    struct hg_generation *generation; /* held: route and script are of it, and so is the answer */
    struct hg_exchange *exchange; /* outlives its client: the script reads the request */
    struct hg_node_route *route;  /* of a route's function; else NULL */
    struct hg_buf headers;        /* whole lines that an error had */
    char remote[HG_PEER_TEXT_MAX];
    /* From here on not zeroed: most calls need nothing of it. */
    char name[24], message[600]; /* of an error */
    /* For a stored value: what hg.serve would say, with the script's headers. */
    struct hg_node_route stored;
    struct hg_config_route stored_config;
};

#define ROUTE_TIMEOUT_MS 10000 /* where neither the route nor a group says otherwise */
#define PAGE_TIMEOUT_MS  5000

static void call_free(struct call *call)
{
    hg_route_call_finish(&call->call);
    hg_buf_finish(&call->headers);
    hg_generation_release(call->generation);
    hg_free(call);
}

static void release(void *target)
{
    call_free(hg_container_of(target, struct call, stored));
}

/* Whether lines have a field of that name. */
static bool has_field(struct hg_bytes lines, struct hg_bytes name)
{
    struct hg_bytes found, value;
    while (hg_fetch_next_header(&lines, &found, &value))
        if (hg_bytes_eq_nocase(found, name))
            return true;
    return false;
}

/* The fields that an error had, but for those that its page gives itself. Vary is a list to which both add. */
static void append_kept(struct call *call, struct hg_buf *headers)
{
    struct hg_bytes own = hg_buf_bytes(&call->call.headers), rest = hg_buf_bytes(&call->headers);
    struct hg_bytes name, value;
    while (hg_fetch_next_header(&rest, &name, &value))
        if (hg_bytes_eq_nocase(name, HG_BYTES("vary")) || !has_field(own, name))
            hg_field_append(headers, name, value);
}

static void answer(struct call *call)
{
    struct hg_front *front = call->front;
    struct hg_exchange *exchange = call->exchange;
    struct hg_buf *headers = &front->headers;
    const struct hg_route_call *result = &call->call;

    hg_buf_clear(headers);
    append_kept(call, headers);
    hg_buf_append_bytes(headers, hg_buf_bytes(&result->headers));
    if (!result->has_type)
        hg_buf_append_str(headers, "Content-Type: text/plain; charset=utf-8\r\n");
    if (result->kind == HG_CALL_ROUTE)
        hg_front_cors(front, exchange, call->route->cors);
    else
        hg_front_no_store(front, exchange);
    struct hg_reply reply = {
        .status = result->status,
        .headers = hg_buf_bytes(headers),
        .body = hg_buf_bytes(&result->body),
        .is_head = exchange->request->method == HG_HEAD,
        .no_length = result->status == 204 || result->status == 304,
    };
    hg_exchange_answer(exchange, &reply);
    call_free(call);
}

/* The bytes go from the store to the socket. */
static void answer_stored(struct call *call)
{
    struct hg_front *front = call->front;
    const char *name = call->call.stored_group;
    struct hg_group *group = hg_groups_find(front->node->groups, hg_bytes_str(name));

    if (group == NULL) {
        hg_log(HG_LOG_WARN, "route failed route=\"%s\" err=hg.reply: no such group",
               call->call.route);
        hg_front_error(front, call->exchange, call->route, 502, "the script failed");
        call_free(call);
        return;
    }
    call->stored_config = (struct hg_config_route){
        .route = call->call.route, .as = HG_AS_RAW, .cache_control = !call->call.has_cache_control};
    call->stored = (struct hg_node_route){.config = &call->stored_config,
                                          .group = group,
                                          .cors = call->route->cors,
                                          .headers = call->call.headers,
                                          .has_type = call->call.has_type};
    struct hg_get get = {.key = hg_buf_bytes(&call->call.stored_key)};
    hg_serve_get(front, call->exchange, group, &get, call->call.timeout_ms, &call->stored, release);
}

/* Its words for what went wrong, or a page for them. */
static void answer_failure(struct call *call)
{
    struct hg_front *front = call->front;
    struct hg_bytes body = hg_buf_bytes(&call->call.body);
    bool is_page = call->call.kind == HG_CALL_ERROR;
    int status = is_page ? call->call.error_status : call->call.status;
    char message[200];

    snprintf(message, sizeof(message), "%.*s", (int)(body.len > 0 ? body.len - 1 : 0),
             body.len > 0 ? body.data : "");
    hg_buf_clear(&front->headers);
    hg_buf_append_bytes(&front->headers, hg_buf_bytes(&call->headers));
    if (!is_page)
        hg_front_cors(front, call->exchange, call->route->cors);
    hg_front_error_more(front, call->exchange, call->route, status,
                        is_page ? call->message : message);
    call_free(call);
}

static void answer_any(struct call *call)
{
    struct hg_route_call *route_call = &call->call;
    if (route_call->is_failed) {
        answer_failure(call);
    } else if (route_call->is_native) {
        struct hg_path_params params = route_call->params;
        struct hg_exchange *exchange = call->exchange;
        struct hg_node_route *route = call->route;
        struct hg_front *front = call->front;
        call_free(call);
        hg_serve_request(front, exchange, route, &params);
    } else if (route_call->stored_group != NULL) {
        answer_stored(call);
    } else {
        answer(call);
    }
}

static void on_done(struct hg_route_call *route_call)
{
    struct call *call = hg_container_of(route_call, struct call, call);
    struct hg_front *front = call->front;
    struct hg_generation *generation = call->generation, *now = front->generation;

    call->exchange->user = NULL;
    /* Another one may serve by now; what began with this one ends with it. */
    hg_generation_hold(generation);
    front->generation = generation;
    answer_any(call);
    front->generation = now;
    hg_generation_release(generation);
}

static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    /* The script may still read the request: the exchange stays until it is done, and is then answered into the void. */
    (void)pending;
    (void)exchange;
}

/* NULL: out of memory, and nothing has happened. */
static struct call *call_create(struct hg_front *front, struct hg_exchange *exchange,
                                struct hg_node_route *route)
{
    struct call *call = hg_malloc(sizeof(*call));
    struct hg_exchange *kept = call == NULL ? NULL : hg_exchange_keep(exchange);
    if (kept == NULL) {
        hg_free(call);
        HG_COUNT_UP(front->node->counters.no_memory);
        return NULL;
    }
    memset(call, 0, offsetof(struct call, name));
    hg_buf_init(&call->headers, SIZE_MAX);
    call->pending.gone = on_gone;
    call->front = front;
    call->generation = front->generation;
    hg_generation_hold(call->generation); /* it is there: the front holds it */
    call->exchange = kept;
    call->route = route;
    hg_exchange_remote(kept, call->remote);
    call->call.request = kept->request;
    call->call.remote = call->remote;
    call->call.timeout_ms = PAGE_TIMEOUT_MS;
    call->call.home = front->loop;
    call->call.done = on_done;
    return call;
}

/* False: it is not begun, and the exchange is the caller's again. */
static bool begin(struct call *call)
{
    call->exchange->user = &call->pending;
    if (hg_runtime_call(call->generation->runtime, &call->call) == HG_OK)
        return true;
    call->exchange->user = NULL;
    return false;
}

void hg_call_request(struct hg_front *front, struct hg_exchange *exchange,
                     struct hg_node_route *route, const struct hg_path_params *params)
{
    ptrdiff_t offset[16];
    for (size_t i = 0; i < params->count; i++)
        offset[i] = params->values[i].data - exchange->request->path.data;
    struct call *call = call_create(front, exchange, route);
    if (call == NULL) {
        hg_front_error(front, exchange, route, 503, "out of memory");
        return;
    }
    call->call.kind = HG_CALL_ROUTE;
    call->call.route = route->config->route;
    call->call.params = *params;
    call->call.may_serve = !route->config->is_function;
    call->call.timeout_ms =
        route->config->timeout_ms != 0 ? route->config->timeout_ms : ROUTE_TIMEOUT_MS;
    /* The captures point into the request that was copied. */
    for (size_t i = 0; i < params->count; i++)
        call->call.params.values[i].data = call->exchange->request->path.data + offset[i];
    if (begin(call))
        return;
    exchange = call->exchange;
    call_free(call);
    hg_buf_clear(&front->headers);
    hg_buf_append_str(&front->headers, "Retry-After: 1\r\n");
    hg_front_cors(front, exchange, route->cors);
    hg_front_error_more(front, exchange, route, 503, "too many script calls in progress");
}

struct hg_exchange *hg_call_page(struct hg_front *front, struct hg_exchange *exchange, int status,
                                 const char *message)
{
    struct call *call = call_create(front, exchange, NULL);
    if (call == NULL)
        return exchange;
    exchange = call->exchange;
    snprintf(call->name, sizeof(call->name), "error %d", status);
    snprintf(call->message, sizeof(call->message), "%s", message);
    call->call.kind = HG_CALL_ERROR;
    call->call.route = call->name;
    call->call.error_status = status;
    call->call.error_message = call->message;
    if (hg_buf_append_bytes(&call->headers, hg_buf_bytes(&front->headers)) == HG_OK && begin(call))
        return NULL;
    call_free(call);
    return exchange;
}
