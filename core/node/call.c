/*
 * Function routes: the request goes to a script thread of pool "routes" and its answer comes back to this loop.
 */
#include "base/alloc.h"
#include "node/node_impl.h"

struct call {
    struct hg_pending pending;
    struct hg_route_call call;
    struct hg_front *front;
    struct hg_exchange *exchange; /* outlives its client: the script reads the request */
    struct hg_node_route *route;
    char remote[80];
};

#define ROUTE_TIMEOUT_MS 10000 /* where neither the route nor a group says otherwise */

static void answer(struct call *call, struct hg_exchange *exchange)
{
    struct hg_front *front = call->front;
    struct hg_buf *headers = &front->headers;
    hg_buf_clear(headers);
    hg_buf_append_bytes(headers, hg_buf_bytes(&call->call.headers));
    if (!call->call.has_type)
        hg_buf_append_str(headers, "Content-Type: text/plain; charset=utf-8\r\n");
    if (call->route->cors != NULL)
        hg_cors_answer(call->route->cors, exchange->request, headers);
    struct hg_reply reply = {
        .status = call->call.status,
        .headers = hg_buf_bytes(headers),
        .body = hg_buf_bytes(&call->call.body),
        .is_head = exchange->request->method == HG_HEAD,
        .no_length = call->call.status == 204 || call->call.status == 304,
    };
    hg_exchange_answer(exchange, &reply);
}

static void on_done(struct hg_route_call *route_call)
{
    struct call *call = hg_container_of(route_call, struct call, call);
    call->exchange->user = NULL;
    answer(call, call->exchange);
    hg_route_call_finish(&call->call);
    hg_free(call);
}

static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    /* The script may still read the request: the exchange stays until it is done, and is then answered into the void. */
    (void)pending;
    (void)exchange;
}

void hg_call_request(struct hg_front *front, struct hg_exchange *exchange,
                     struct hg_node_route *route, const struct hg_path_params *params)
{
    struct call *call = hg_calloc(1, sizeof(*call));
    ptrdiff_t offset[16];
    for (size_t i = 0; i < params->count; i++)
        offset[i] = params->values[i].data - exchange->request->path.data;
    struct hg_exchange *kept = call == NULL ? NULL : hg_exchange_keep(exchange);
    if (kept == NULL) {
        hg_free(call);
        HG_COUNT_UP(front->node->counters.no_memory);
        hg_front_error(front, exchange, route, 503, "out of memory");
        return;
    }
    call->pending.gone = on_gone;
    call->front = front;
    call->exchange = kept;
    call->route = route;
    hg_exchange_remote(kept, call->remote, sizeof(call->remote));
    call->call = (struct hg_route_call){
        .route = route->config->route,
        .request = kept->request,
        .params = *params,
        .remote = call->remote,
        .timeout_ms = route->config->timeout_ms != 0 ? route->config->timeout_ms : ROUTE_TIMEOUT_MS,
        .home = front->loop,
        .done = on_done,
    };
    /* The captures point into the request that was copied. */
    for (size_t i = 0; i < params->count; i++)
        call->call.params.values[i].data = kept->request->path.data + offset[i];
    kept->user = &call->pending;
    int err = hg_runtime_call(front->node->runtime, &call->call);
    if (err == HG_OK)
        return;
    kept->user = NULL;
    hg_buf_clear(&front->headers);
    hg_buf_append_str(&front->headers,
                      "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n");
    if (route->cors != NULL)
        hg_cors_answer(route->cors, kept->request, &front->headers);
    struct hg_reply reply = {.status = 503,
                             .headers = hg_buf_bytes(&front->headers),
                             .body = HG_BYTES("too many script calls in progress\n"),
                             .is_head = kept->request->method == HG_HEAD};
    hg_exchange_answer(kept, &reply);
    hg_free(call);
}
