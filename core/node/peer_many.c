/*
 * A peer asks for many keys in one message: POST <base_path>?many, an Asks (wire/peer_many.h). Each key is a get of its own
 * here, as if it had been asked for alone, and its answer is sent when it is there:
 *
 *   hg_peer_many_request -> begin -> hit at once ---------> answer -> a piece
 *                                 '-> waits -> on_answer ---^
 *                                           '-> on_deadline ^
 *
 * A key that cannot be answered here (too long, no memory, more than may lie unsent) is left out: the peer asks for it alone.
 */
#include "base/alloc.h"
#include "cluster/answer.h"
#include "node/node_impl.h"
#include "wire/peer_many.h"

#define CHAIN_MAX ((size_t)64 << 10)
#define PART_KEPT ((size_t)1 << 20) /* scratch that is not given back between two answers */

struct many;

struct one {
    struct hg_waiter waiter;
    struct many *many;
    struct hg_group *group; /* NULL: no such group */
    struct hg_bytes key;    /* in many->keys */
    uint64_t timeout_ms;    /* as told; 0: none */
    uint64_t deadline_ms;
    bool is_waiting, is_peek, takes_over;
};

struct many {
    struct hg_pending pending;
    struct hg_front *front;
    struct hg_exchange *exchange; /* NULL once the client has gone */
    uv_timer_t timer;
    struct hg_buf chain, part;
    char *keys;
    size_t count;
    size_t holds; /* keys that wait, and those who work on it; at 0 it ends */
    struct one ones[];
};

bool hg_peer_many_is_asked(const struct hg_http1_request *request)
{
    return hg_bytes_eq(request->query, HG_BYTES("many"));
}

static void on_timer_closed(uv_handle_t *handle)
{
    hg_free(hg_container_of(handle, struct many, timer));
}

static void destroy(struct many *many)
{
    hg_buf_finish(&many->chain);
    hg_buf_finish(&many->part);
    hg_free(many->keys);
    uv_close((uv_handle_t *)&many->timer, on_timer_closed);
}

static void release(struct many *many)
{
    if (--many->holds > 0)
        return;
    if (many->exchange != NULL) {
        many->exchange->user = NULL;
        hg_exchange_end(many->exchange);
    }
    destroy(many);
}

/* --- answers --- */

static void leave_out(struct many *many)
{
    HG_COUNT_UP(many->front->node->counters.peer_many_left_out);
}

/* The Response is in front->body, or could not be made. May end with many->exchange gone. */
static void send_part(struct many *many, const struct one *one, int err)
{
    struct hg_front *front = many->front;
    uint32_t number = (uint32_t)(one - many->ones) + 1;

    hg_buf_clear(&many->part);
    if (err == HG_OK)
        err = hg_peer_answers_append(hg_buf_bytes(&front->body), number, &many->part);
    hg_front_trim(front);
    if (err < 0) {
        HG_COUNT_UP(front->node->counters.no_memory);
        leave_out(many);
        return;
    }
    hg_exchange_piece(many->exchange, hg_buf_bytes(&many->part));
    if (many->part.capacity > PART_KEPT)
        hg_buf_finish(&many->part);
}

/* Whether it is here now as our own; the one who leaves has the value. */
static void answer_takeover(struct one *one, const struct hg_result *result)
{
    bool is_here = result->err == HG_OK && result->value != NULL &&
                   hg_value_status(result->value) == HG_STATUS_VALUE &&
                   hg_value_tier(result->value) == HG_TIER_MAIN;
    struct hg_peer_response response = {
        .status = is_here ? HG_STATUS_VALUE : HG_STATUS_NOT_FOUND,
        .has_ttl = true,
    };
    send_part(one->many, one, hg_peer_response_encode(&response, &one->many->front->body));
}

static void answer(struct one *one, const struct hg_result *result)
{
    struct many *many = one->many;
    struct hg_front *front = many->front;
    uint64_t now_ms = hg_loop_now(front->loop);
    int status;

    if (many->exchange == NULL)
        return;
    if (hg_exchange_unsent(many->exchange) > front->node->config->limits.peer_message) {
        leave_out(many);
        return;
    }
    hg_buf_clear(&front->body);
    if (one->takes_over) {
        answer_takeover(one, result);
        return;
    }
    double minute_qps = (double)hg_group_minute(one->group, one->key, now_ms);
    send_part(many, one,
              hg_answer_to_http(result, one->key, now_ms,
                                hg_group_config(one->group)->expose_errors, minute_qps, &status,
                                &front->body));
}

static void answer_no_group(struct one *one)
{
    struct hg_front *front = one->many->front;
    int status;
    hg_buf_clear(&front->body);
    send_part(one->many, one, hg_answer_no_group(&status, &front->body));
}

static void on_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct one *one = hg_container_of(waiter, struct one, waiter);
    one->is_waiting = false;
    answer(one, result);
    release(one->many);
}

/* --- time, and clients that go --- */

static void on_deadline(uv_timer_t *timer);

/* For the next deadline of those that wait. */
static void set_timer(struct many *many)
{
    uint64_t now_ms = hg_loop_now(many->front->loop), next_ms = HG_FOREVER;
    for (size_t i = 0; i < many->count; i++) {
        const struct one *one = &many->ones[i];
        /* One that is past it has its answer in this loop's mailbox. */
        if (one->is_waiting && one->deadline_ms > now_ms && one->deadline_ms < next_ms)
            next_ms = one->deadline_ms;
    }
    if (next_ms == HG_FOREVER)
        uv_timer_stop(&many->timer);
    else
        uv_timer_start(&many->timer, on_deadline, next_ms - now_ms, 0);
}

static void on_deadline(uv_timer_t *timer)
{
    struct many *many = hg_container_of(timer, struct many, timer);
    uint64_t now_ms = hg_loop_now(many->front->loop);

    many->holds++;
    for (size_t i = 0; i < many->count; i++) {
        struct one *one = &many->ones[i];
        struct hg_result result;
        struct hg_hold stale;
        if (!one->is_waiting || now_ms < one->deadline_ms ||
            !hg_request_give_up(many->front, &one->waiter, &result, &stale))
            continue;
        one->is_waiting = false;
        answer(one, &result);
        hg_hold_release(&stale);
        many->holds--;
    }
    set_timer(many);
    release(many);
}

/* The loads go on without this client. */
static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    struct many *many = hg_container_of(pending, struct many, pending);
    uint64_t now_ms = hg_loop_now(many->front->loop);

    many->exchange = NULL;
    hg_exchange_drop(exchange);
    many->holds++;
    for (size_t i = 0; i < many->count; i++) {
        struct one *one = &many->ones[i];
        if (!one->is_waiting || !hg_waiter_cancel(&one->waiter, now_ms, NULL))
            continue;
        one->is_waiting = false;
        many->holds--;
    }
    release(many);
}

/* --- the message --- */

static int read_asks(struct many *many, struct hg_bytes message)
{
    struct hg_bytes part;
    char *keys_at = many->keys;
    int err;

    for (struct one *one = many->ones; (err = hg_peer_many_next(&message, &part)) == HG_OK; one++) {
        struct hg_peer_request request;
        void *owner = NULL;
        err = hg_peer_request_decode(part, &request, &owner);
        if (err < 0)
            return err;
        one->many = many;
        one->group = hg_groups_find(many->front->node->groups, request.group);
        one->key = hg_bytes(keys_at, request.key.len);
        one->timeout_ms = request.deadline_ms;
        one->is_peek = request.is_peek;
        one->takes_over = request.takes_over;
        if (request.key.len > 0)
            memcpy(keys_at, request.key.data, request.key.len);
        keys_at += request.key.len;
        hg_peer_message_free(owner);
    }
    return err == HG_ENOENT ? HG_OK : err;
}

/* NULL with *out_err. */
static struct many *many_create(struct hg_front *front, struct hg_bytes message, size_t count,
                                int *out_err)
{
    struct many *many = hg_calloc(1, sizeof(*many) + count * sizeof(struct one));
    *out_err = HG_ENOMEM;
    if (many == NULL)
        return NULL;
    many->front = front;
    many->count = count;
    many->holds = 1;
    many->pending.gone = on_gone;
    hg_buf_init(&many->chain, CHAIN_MAX);
    hg_buf_init(&many->part, SIZE_MAX);
    uv_timer_init(&front->loop->uv, &many->timer);
    many->keys = hg_malloc(message.len); /* no key is longer than what it came in */
    *out_err = many->keys == NULL ? HG_ENOMEM : read_asks(many, message);
    if (*out_err == HG_OK)
        return many;
    destroy(many);
    return NULL;
}

static void begin_one(struct one *one)
{
    struct many *many = one->many;
    struct hg_front *front = many->front;

    if (one->group == NULL) {
        answer_no_group(one);
        return;
    }
    if (one->key.len == 0 || one->key.len > front->node->config->limits.key) {
        leave_out(many);
        return;
    }
    uint64_t limit_ms = hg_group_config(one->group)->deadline_ms;
    bool is_told = one->timeout_ms > 0 && one->timeout_ms < limit_ms;
    struct hg_get get = {
        .key = one->key,
        .now_ms = hg_loop_now(front->loop),
        .from_peer = !one->takes_over,
        .is_peek = one->is_peek,
        .takes_over = one->takes_over,
        .chain = hg_buf_bytes(&many->chain),
        .loop = front->loop,
    };
    get.deadline_ms = one->deadline_ms =
        hg_time_add(get.now_ms, is_told ? one->timeout_ms : limit_ms);
    one->waiter.loop = front->loop;
    one->waiter.answer = on_answer;
    struct hg_result result;
    if (hg_group_get(one->group, &get, &one->waiter, &result, &front->hold) == HG_PENDING) {
        one->is_waiting = true;
        many->holds++;
        return;
    }
    answer(one, &result);
    hg_hold_release(&front->hold);
}

static void refuse(struct hg_front *front, struct hg_exchange *exchange, int status,
                   const char *why)
{
    HG_COUNT_UP(front->node->counters.peer_many_refused);
    hg_peer_side_refuse(front, exchange, status, why);
}

static void begin(struct many *many, struct hg_exchange *exchange)
{
    struct hg_node *node = many->front->node;
    struct hg_reply head = {.status = 200,
                            .headers = HG_BYTES("Content-Type: application/x-protobuf\r\n")};

    many->exchange = exchange;
    exchange->user = &many->pending;
    atomic_fetch_add_explicit(&node->counters.peer_many_keys, many->count, memory_order_relaxed);
    HG_COUNT_UP(node->counters.peer_many_requests);
    hg_exchange_begin(exchange, &head);
    for (size_t i = 0; i < many->count && many->exchange != NULL; i++)
        begin_one(&many->ones[i]);
    set_timer(many);
    release(many);
}

void hg_peer_many_request(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_http1_request *request = exchange->request;
    uint64_t unused_ms;
    struct hg_get unused;
    size_t count = 0;

    if (request->method != HG_POST || request->is_http10) {
        struct hg_reply no = {.status = 405, .headers = HG_BYTES("Allow: POST\r\n")};
        HG_COUNT_UP(front->node->counters.peer_many_refused);
        HG_COUNT_UP(front->node->counters.peer_bad_requests);
        hg_exchange_answer(exchange, &no);
        return;
    }
    int err = request->body.len > HG_MANY_BYTES_MAX
                  ? HG_ETOOBIG
                  : hg_peer_many_count(request->body, HG_MANY_KEYS_MAX, &count);
    struct many *many = NULL;
    if (err == HG_OK && count > 0)
        many = many_create(front, request->body, count, &err);
    if (err == HG_ETOOBIG || err == HG_ELIMIT) {
        refuse(front, exchange, 413, "more keys or bytes than one message may have");
    } else if (err == HG_ENOMEM) {
        hg_peer_side_no_memory(front, exchange);
    } else if (many == NULL) {
        refuse(front, exchange, 400, "the body is not an Asks");
    } else if (!hg_peer_side_header(front, exchange, &many->chain, &unused_ms, &unused)) {
        destroy(many);
    } else {
        struct hg_exchange *kept = hg_exchange_keep(exchange);
        if (kept != NULL) {
            begin(many, kept);
            return;
        }
        destroy(many);
        hg_peer_side_no_memory(front, exchange);
    }
}
