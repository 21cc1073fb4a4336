/*
 * Whether an origin may ask, of cors.origin: one call for each origin and CORS on a loop, for all who came meanwhile.
 *
 *   hg_call_origin -> script -> remembered -> `next` of each
 *
 * At most CALLS_MAX are under way, for whoever makes origins up; beyond that nobody is asked.
 */
#include "base/alloc.h"
#include "node/node_impl.h"

#define CALLS_MAX  16
#define TIMEOUT_MS 5000
/* How long a function's word about an origin holds, and its failure. */
#define WORD_MS    60000
#define FAILURE_MS 1000

struct waiting {
    struct hg_pending pending;
    struct hg_list link;
    struct hg_exchange *exchange;
    hg_called_fn next;
};

struct asking {
    struct hg_list link; /* front->askings */
    struct hg_list waiting;
    struct hg_front *front;
    struct hg_generation *generation; /* held: the CORS and the script are of it */
    const struct hg_cors *cors;
    struct hg_route_call call;
    char *name, *origin;
};

static void asking_free(struct asking *asking)
{
    hg_list_remove(&asking->link);
    hg_route_call_finish(&asking->call);
    hg_free(asking->name);
    hg_free(asking->origin);
    hg_generation_release(asking->generation);
    hg_free(asking);
}

static void on_done(struct hg_route_call *call)
{
    struct asking *asking = hg_container_of(call, struct asking, call);
    struct hg_front *front = asking->front;
    enum hg_origin_word word = call->is_failed    ? HG_ORIGIN_UNKNOWN
                               : call->is_allowed ? HG_ORIGIN_APPROVED
                                                  : HG_ORIGIN_DENIED;
    struct hg_list *link;

    if (asking->generation == front->generation)
        hg_origins_note(front->origins, asking->cors, call->origin, word,
                        hg_loop_now(front->loop) + (call->is_failed ? FAILURE_MS : WORD_MS));
    hg_list_remove(&asking->link); /* who comes from here on finds the word */
    while ((link = hg_list_pop_front(&asking->waiting)) != NULL) {
        struct waiting *waiting = hg_container_of(link, struct waiting, link);
        struct hg_exchange *exchange = waiting->exchange;
        hg_called_fn next = waiting->next;
        hg_free(waiting);
        exchange->user = NULL;
        next(front, exchange, word);
    }
    asking_free(asking);
}

static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    /* It stays in its list, and `next` finds it without a client. */
    (void)pending;
    (void)exchange;
}

static struct asking *find(const struct hg_front *front, const struct hg_cors *cors,
                           struct hg_bytes origin, unsigned *out_count)
{
    *out_count = 0;
    hg_list_for_each(link, &front->askings)
    {
        struct asking *asking = hg_container_of(link, struct asking, link);
        if (asking->cors == cors && hg_bytes_eq(asking->call.origin, origin))
            return asking;
        ++*out_count;
    }
    return NULL;
}

/* As lua/hgcache/handlers.lua finds it. NULL: out of memory. */
static char *make_name(const struct hg_node_route *route)
{
    struct hg_buf name;
    size_t len;
    hg_buf_init(&name, SIZE_MAX);
    int err = hg_buf_append_str(&name, "origin");
    if (err == HG_OK && route != NULL && route->owns_cors) {
        err = hg_buf_append_char(&name, ' ');
        if (err == HG_OK)
            err = hg_buf_append_str(&name, route->config->route);
    }
    if (err == HG_OK)
        err = hg_buf_append_char(&name, '\0');
    if (err == HG_OK)
        return hg_buf_take(&name, &len);
    hg_buf_finish(&name);
    return NULL;
}

/* NULL: out of memory, or the script threads take nothing more. */
static struct asking *begin(struct hg_front *front, const struct hg_node_route *route,
                            const struct hg_cors *cors, struct hg_bytes origin)
{
    struct asking *asking = hg_calloc(1, sizeof(*asking));
    if (asking == NULL)
        return NULL;
    hg_list_init(&asking->link);
    hg_list_init(&asking->waiting);
    asking->front = front;
    asking->generation = front->generation;
    hg_generation_hold(asking->generation); /* it is there: the front holds it */
    asking->cors = cors;
    asking->name = make_name(route);
    asking->origin = hg_strndup(origin.data, origin.len);
    asking->call = (struct hg_route_call){
        .kind = HG_CALL_ORIGIN,
        .route = asking->name,
        .origin = hg_bytes(asking->origin, origin.len),
        .timeout_ms = TIMEOUT_MS,
        .home = front->loop,
        .done = on_done,
    };
    if (asking->name == NULL || asking->origin == NULL ||
        hg_runtime_call(asking->generation->runtime, &asking->call) < 0) {
        asking_free(asking);
        return NULL;
    }
    hg_list_push_back(&front->askings, &asking->link);
    return asking;
}

struct hg_exchange *hg_call_origin(struct hg_front *front, struct hg_exchange *exchange,
                                   struct hg_node_route *route, const struct hg_cors *cors,
                                   hg_called_fn next)
{
    unsigned count;
    struct asking *asking = find(front, cors, exchange->request->origin, &count);
    struct waiting *waiting = NULL;
    struct hg_exchange *kept = NULL;
    if (asking != NULL || count < CALLS_MAX) {
        waiting = hg_calloc(1, sizeof(*waiting));
        kept = waiting != NULL ? hg_exchange_keep(exchange) : NULL;
    }
    if (kept != NULL) {
        exchange = kept;
        if (asking == NULL)
            asking = begin(front, route, cors, exchange->request->origin);
        if (asking != NULL) {
            waiting->pending.gone = on_gone;
            waiting->exchange = exchange;
            waiting->next = next;
            exchange->user = &waiting->pending;
            hg_list_push_back(&asking->waiting, &waiting->link);
            return NULL;
        }
    }
    hg_free(waiting);
    HG_COUNT_UP(front->node->counters.origins_unasked);
    return exchange;
}
