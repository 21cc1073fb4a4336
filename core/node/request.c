/*
 * A client's request, from the server's hands to an answer:
 *
 *   hg_node_request -> gRPC?       hg_peer_grpc_request
 *                   -> peer path?  hg_peer_side_request
 *                   -> admin path? hg_admin_request
 *                   -> a route     hg_serve_request (native) or hg_call_request (a function)
 *
 * hg_request_get is the one way from here into the read path: a hit is answered on the spot without an
 * allocation; a miss keeps the exchange and answers when the waiter is called, the deadline passes or the client leaves.
 */
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/reply.h"

/*
 * Clients of gRPC do not look at /ready. Before the members are known every key would be ours, and be loaded once more.
 */
static bool takes_http2(void *ctx)
{
    const struct hg_front *front = ctx;
    return hg_node_members_are_known(front->node);
}

const struct hg_server_ops hg_node_server_ops = {
    .request = hg_node_request,
    .gone = hg_node_gone,
    .page = hg_front_page,
    .takes_http2 = takes_http2,
    .closed = hg_node_closed,
};

static struct hg_node_route *route_for_preflight(const struct hg_generation *generation,
                                                 const struct hg_http1_request *request)
{
    struct hg_route_match match;
    enum hg_method method =
        hg_method_from_name(hg_http1_field(request, "access-control-request-method"));
    if (method != HG_METHOD_COUNT &&
        hg_routes_match(generation->routes, method, request->path, &match) == HG_OK &&
        match.target != NULL)
        return match.target;
    for (int any = 0; any < HG_METHOD_COUNT; any++) {
        if (hg_routes_match(generation->routes, (enum hg_method)any, request->path, &match) == HG_OK &&
            match.target != NULL)
            return match.target;
    }
    return NULL;
}

/* OPTIONS that no route asked for: a preflight, or a question for the methods. */
static void answer_options(struct hg_front *front, struct hg_exchange *exchange, unsigned methods)
{
    const struct hg_generation *generation = front->generation;
    const struct hg_http1_request *request = exchange->request;
    hg_buf_clear(&front->headers);
    if (hg_cors_is_preflight(request)) {
        struct hg_node_route *route = route_for_preflight(generation, request);
        hg_cors_preflight(route != NULL ? route->cors : generation->cors, request,
                          exchange->marks & HG_MARK_APPROVED, &front->headers);
    } else {
        char allow[96];
        hg_methods_format(methods, allow, sizeof(allow));
        hg_field_append(&front->headers, HG_BYTES("Allow"), hg_bytes_str(allow));
    }
    struct hg_reply reply = {
        .status = 204, .headers = hg_buf_bytes(&front->headers), .no_length = true};
    hg_exchange_answer(exchange, &reply);
}

static void answer_match(struct hg_front *front, struct hg_exchange *exchange,
                         const struct hg_route_match *match)
{
    struct hg_node_route *route = match->target;

    if (route != NULL) {
        if (route->config->is_function || route->config->has_before)
            hg_call_request(front, exchange, route, &match->params);
        else
            hg_serve_request(front, exchange, route, &match->params);
    } else if (match->allowed_methods == 0) {
        hg_front_error(front, exchange, NULL, 404, "no such route");
    } else if (exchange->request->method == HG_OPTIONS) {
        answer_options(front, exchange, match->allowed_methods);
    } else {
        char allow[96];
        hg_methods_format(match->allowed_methods, allow, sizeof(allow));
        hg_buf_clear(&front->headers);
        hg_field_append(&front->headers, HG_BYTES("Allow"), hg_bytes_str(allow));
        hg_front_cors(front, exchange, front->generation->cors);
        hg_front_error_more(front, exchange, NULL, 405, "method not allowed");
    }
}

/* Whose CORS the answer will have. */
static struct hg_node_route *route_of_cors(const struct hg_generation *generation,
                                           const struct hg_http1_request *request,
                                           const struct hg_route_match *match)
{
    if (match->target == NULL && request->method == HG_OPTIONS && hg_cors_is_preflight(request))
        return route_for_preflight(generation, request);
    return match->target;
}

static void mark(struct hg_exchange *exchange, enum hg_origin_word word)
{
    if (word == HG_ORIGIN_APPROVED)
        exchange->marks |= HG_MARK_APPROVED;
    else if (word == HG_ORIGIN_UNKNOWN)
        exchange->marks |= HG_MARK_UNKNOWN;
}

/* With the exchange again once cors.origin has said whether its origin may. */
static void answer_said(struct hg_front *front, struct hg_exchange *exchange,
                        enum hg_origin_word word)
{
    struct hg_route_match match;
    mark(exchange, word);
    if (exchange->conn == NULL)
        hg_exchange_drop(exchange);
    else if (hg_routes_match(front->generation->routes, exchange->request->method,
                             exchange->request->path, &match) == HG_OK)
        answer_match(front, exchange, &match);
    else
        hg_front_error(front, exchange, NULL, 400, "badly percent-encoded path");
}

static void answer_route(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_http1_request *request = exchange->request;
    const struct hg_generation *generation = front->generation;
    struct hg_route_match match;
    enum hg_origin_word word;
    if (request->method == HG_OPTIONS && request->path.len == 1 && request->path.data[0] == '*') {
        answer_options(front, exchange, (1u << HG_GET) | (1u << HG_OPTIONS));
        return;
    }
    if (hg_routes_match(generation->routes, request->method, request->path, &match) != HG_OK) {
        hg_front_error(front, exchange, NULL, 400, "badly percent-encoded path");
        return;
    }
    if (!generation->asks_origins || request->origin_count == 0) {
        answer_match(front, exchange, &match);
        return;
    }
    struct hg_node_route *route = route_of_cors(generation, request, &match);
    const struct hg_cors *cors = route != NULL ? route->cors : generation->cors;
    if (!hg_cors_is_asking(cors, request)) {
        answer_match(front, exchange, &match);
    } else if (hg_origins_find(front->origins, cors, request->origin, hg_loop_now(front->loop),
                               &word)) {
        mark(exchange, word);
        answer_match(front, exchange, &match);
    } else if ((exchange = hg_call_origin(front, exchange, route, cors, answer_said)) != NULL) {
        answer_said(front, exchange, HG_ORIGIN_UNKNOWN);
    }
}

static void log_access(struct hg_exchange *exchange)
{
    char remote[HG_PEER_TEXT_MAX], target[512];
    hg_exchange_remote(exchange, remote);
    hg_bytes_escape(exchange->request->target, target, sizeof(target));
    hg_log(HG_LOG_INFO, "access remote=%s method=%s target=%s", remote,
           hg_method_name(exchange->request->method), target);
}

void hg_node_request(void *ctx, struct hg_exchange *exchange)
{
    struct hg_front *front = ctx;
    struct hg_bytes rest;
    if (front->generation->config->log_access)
        log_access(exchange);
    if (hg_peer_grpc_is_asked(exchange)) {
        hg_peer_grpc_request(front, exchange);
        return;
    }
    if ((exchange->roles & HG_ROLE_PEER) &&
        hg_peer_side_is_path(front->node, exchange->request->path, &rest)) {
        hg_peer_side_request(front, exchange, rest);
        return;
    }
    if (exchange->roles & HG_ROLE_API)
        exchange->marks |= HG_MARK_PAGES;
    if (exchange->request->body.len > front->node->config->limits.body)
        hg_front_error(front, exchange, NULL, 413, "the body is larger than limits.body");
    else if ((exchange->roles & HG_ROLE_ADMIN) && hg_admin_request(front, exchange))
        return;
    else if (exchange->roles & HG_ROLE_API)
        answer_route(front, exchange);
    else
        hg_front_error(front, exchange, NULL, 404, "no such path");
}

void hg_node_closed(void *ctx, unsigned roles)
{
    struct hg_front *front = ctx;
    (void)roles;
    atomic_fetch_sub_explicit(&front->node->connections, 1, memory_order_relaxed);
}

static struct hg_request *request_create(struct hg_front *front)
{
    struct hg_request *request =
        hg_calloc(1, sizeof(*request) + front->node->config->limits.key + 1);
    if (request != NULL)
        request->front = front;
    return request;
}

static void on_timer_closed(struct hg_timer *timer)
{
    hg_free(hg_container_of(timer, struct hg_request, timer));
}

static void request_destroy(struct hg_request *request)
{
    if (request->release != NULL)
        request->release(request->target);
    hg_generation_release(request->generation);
    request->generation = NULL;
    if (request->timer_open)
        hg_timer_close(&request->timer, on_timer_closed);
    else
        hg_free(request);
}

static void on_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct hg_request *request = hg_container_of(waiter, struct hg_request, waiter);
    struct hg_exchange *exchange = request->exchange;
    request->is_waiting = false;
    if (exchange != NULL) {
        exchange->user = NULL;
        request->reply(request->front, exchange, request->group, request->key, request->target,
                       result);
    }
    request_destroy(request);
}

bool hg_request_give_up(struct hg_front *front, struct hg_waiter *waiter,
                        struct hg_result *out_result, struct hg_hold *out_stale)
{
    hg_hold_init(out_stale);
    if (!hg_waiter_cancel(waiter, hg_loop_now(front->loop), out_stale))
        return false;
    *out_result = (struct hg_result){.err = HG_ETIMEDOUT, .how = HG_HOW_MISS};
    if (out_stale->value != NULL) {
        *out_result = (struct hg_result){.err = HG_OK,
                                         .how = HG_HOW_STALE,
                                         .value = out_stale->value,
                                         .created_ms = hg_value_created_ms(out_stale->value),
                                         .expires_ms = hg_value_expires_ms(out_stale->value)};
    } else {
        HG_COUNT_UP(front->node->counters.client_timeouts);
    }
    return true;
}

/* The deadline passed: answer now; an answer that is already under way frees the request when it comes. */
static void on_deadline(struct hg_timer *timer)
{
    struct hg_request *request = hg_container_of(timer, struct hg_request, timer);
    struct hg_front *front = request->front;
    struct hg_result result;
    struct hg_hold stale;
    if (request->exchange == NULL)
        return;
    if (!hg_request_give_up(front, &request->waiter, &result, &stale))
        return; /* its answer is in this loop's mailbox */
    struct hg_exchange *exchange = request->exchange;
    request->exchange = NULL;
    exchange->user = NULL;
    request->is_waiting = false;
    request->reply(front, exchange, request->group, request->key, request->target, &result);
    hg_hold_release(&stale);
    request_destroy(request);
}

void hg_node_gone(void *ctx, struct hg_exchange *exchange)
{
    struct hg_pending *pending = exchange->user;
    (void)ctx;
    if (pending == NULL)
        hg_exchange_drop(exchange);
    else
        pending->gone(pending, exchange);
}

/* The load goes on without this client (DESIGN, read path 9). */
static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    struct hg_request *request = hg_container_of(pending, struct hg_request, pending);
    request->exchange = NULL;
    hg_exchange_drop(exchange);
    if (request->is_waiting &&
        hg_waiter_cancel(&request->waiter, hg_loop_now(request->front->loop), NULL))
        request_destroy(request);
}

static void reply_no_memory(struct hg_front *front, struct hg_exchange *exchange,
                            struct hg_group *group, struct hg_bytes key, hg_request_reply_fn reply,
                            void *target)
{
    struct hg_result result = {.err = HG_ENOMEM, .how = HG_HOW_MISS, .retry_after_ms = 1000};
    HG_COUNT_UP(front->node->counters.no_memory);
    reply(front, exchange, group, key, target, &result);
}

void hg_request_get(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                    struct hg_get *get, uint64_t timeout_ms, hg_request_reply_fn reply,
                    void *target)
{
    hg_request_get_owned(front, exchange, group, get, timeout_ms, reply, target, NULL);
}

void hg_request_get_owned(struct hg_front *front, struct hg_exchange *exchange,
                          struct hg_group *group, struct hg_get *get, uint64_t timeout_ms,
                          hg_request_reply_fn reply, void *target, void (*release)(void *target))
{
    struct hg_request *request = front->spare;
    if (request == NULL && (request = front->spare = request_create(front)) == NULL) {
        reply_no_memory(front, exchange, group, get->key, reply, target);
        if (release != NULL)
            release(target);
        return;
    }
    uint64_t limit_ms = hg_group_config(group)->deadline_ms;
    if (timeout_ms == 0 || timeout_ms > limit_ms)
        timeout_ms = limit_ms;
    get->now_ms = hg_loop_now(front->loop);
    get->deadline_ms = hg_time_add(get->now_ms, timeout_ms);
    get->loop = front->loop;
    request->waiter.loop = front->loop;
    request->waiter.answer = on_answer;

    struct hg_result result;
    int rc = hg_group_get(group, get, &request->waiter, &result, &front->hold);
    if (rc != HG_PENDING) {
        reply(front, exchange, group, get->key, target, &result);
        hg_hold_release(&front->hold);
        if (release != NULL)
            release(target);
        return;
    }

    front->spare = NULL;
    request->generation = front->generation;
    hg_generation_hold(request->generation); /* it is there: the front holds it */
    request->release = release;
    request->reply = reply;
    request->group = group;
    request->target = target;
    request->is_waiting = true;
    struct hg_exchange *kept = hg_exchange_keep(exchange);
    if (kept == NULL) {
        reply_no_memory(front, exchange, group, get->key, reply, target);
        if (hg_waiter_cancel(&request->waiter, get->now_ms, NULL))
            request_destroy(request);
        return;
    }
    request->pending.gone = on_gone;
    kept->user = &request->pending;
    request->exchange = kept;
    if (get->key.len <= front->node->config->limits.key) {
        memcpy(request->storage, get->key.data, get->key.len);
        request->key = hg_bytes(request->storage, get->key.len);
    }
    hg_timer_init(&request->timer, front->loop);
    request->timer_open = true;
    if (timeout_ms < UINT64_MAX / 2)
        hg_timer_start(&request->timer, on_deadline, timeout_ms == 0 ? 1 : timeout_ms);
}
