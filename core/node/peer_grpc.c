/*
 * What peers ask of this node over gRPC: hgcache.cache.GroupCache/Get, answered like GET <base_path><group>/<key>. Whatever is not
 * a value is a status in the trailers, with our own Response in hgcache-response-bin, so that a node of ours knows a typed result.
 */
#include <stdio.h>

#include "cluster/answer.h"
#include "node/node_impl.h"
#include "wire/grpc.h"
#include "wire/query.h"

#define TEXT_MAX     1024 /* bytes of an error's message; clients take some 8 KiB of trailers */
#define RESPONSE_MAX 3072 /* bytes of a Response in the trailers */

static const char SERVICE[] = "/hgcache.cache.GroupCache/";
static const char GET[] = "/hgcache.cache.GroupCache/Get";

static bool is_grpc(const struct hg_exchange *exchange)
{
    return hg_grpc_is_content_type(hg_http1_field(exchange->request, "content-type"));
}

bool hg_peer_grpc_is_asked(const struct hg_exchange *exchange)
{
    return exchange->is_http2 &&
           (hg_bytes_has_prefix(exchange->request->path, hg_bytes_str(SERVICE)) ||
            is_grpc(exchange));
}

/* --- answers --- */

static void answer(struct hg_front *front, struct hg_exchange *exchange, struct hg_bytes body)
{
    struct hg_reply reply = {.status = 200,
                             .headers = HG_BYTES("content-type: application/grpc\r\n"),
                             .trailers = hg_buf_bytes(&front->headers),
                             .body = body,
                             .no_length = body.len == 0};
    hg_exchange_answer(exchange, &reply);
    hg_front_trim(front);
}

/* response: an encoded Response, or nothing. */
static void fail(struct hg_front *front, struct hg_exchange *exchange, enum hg_grpc_code code,
                 struct hg_bytes text, struct hg_bytes response)
{
    struct hg_buf *trailers = &front->headers;
    hg_buf_clear(trailers);
    int err = hg_buf_printf(trailers, "grpc-status: %d\r\ngrpc-message: ", code);
    if (err == HG_OK)
        err = hg_grpc_text_encode(trailers, text, TEXT_MAX);
    if (err == HG_OK)
        err = hg_buf_append(trailers, "\r\n", 2);
    if (err == HG_OK && response.len > 0) {
        err = hg_buf_append_str(trailers, "hgcache-response-bin: ");
        if (err == HG_OK)
            err = hg_base64_encode(trailers, response);
        if (err == HG_OK)
            err = hg_buf_append(trailers, "\r\n", 2);
    }
    if (err < 0) {
        struct hg_reply reply = {.status = 503, .no_length = true};
        HG_COUNT_UP(front->node->counters.no_memory);
        hg_exchange_answer(exchange, &reply);
        return;
    }
    answer(front, exchange, HG_BYTES_NONE);
}

static void no_memory(struct hg_front *front, struct hg_exchange *exchange)
{
    HG_COUNT_UP(front->node->counters.no_memory);
    fail(front, exchange, HG_GRPC_UNAVAILABLE, HG_BYTES("out of memory"), HG_BYTES_NONE);
}

/* The answer could not be made. */
static void fail_err(struct hg_front *front, struct hg_exchange *exchange, int err)
{
    if (err == HG_ENOMEM)
        no_memory(front, exchange);
    else
        fail(front, exchange, HG_GRPC_INTERNAL, hg_bytes_str(hg_err_text(err)), HG_BYTES_NONE);
}

static void refuse(struct hg_front *front, struct hg_exchange *exchange, enum hg_grpc_code code,
                   const char *why)
{
    HG_COUNT_UP(front->node->counters.peer_bad_requests);
    fail(front, exchange, code, hg_bytes_str(why), HG_BYTES_NONE);
}

/* front->body has the Response of something that is no value. */
static void fail_with_response(struct hg_front *front, struct hg_exchange *exchange,
                               int http_status)
{
    struct hg_peer_response response;
    void *owner = NULL;
    int err = hg_peer_response_decode(hg_buf_bytes(&front->body), &response, &owner);
    struct hg_bytes text = response.error_message;
    struct hg_buf message;

    if (err < 0) {
        fail_err(front, exchange, err);
        return;
    }
    if (text.len > TEXT_MAX)
        text.len = TEXT_MAX;
    response.error_message = text;
    if (text.len == 0 && response.status == HG_STATUS_NOT_FOUND)
        text = HG_BYTES("no such key");
    hg_buf_init(&message, RESPONSE_MAX);
    if (hg_peer_response_encode(&response, &message) < 0) /* too many tags: it goes without */
        hg_buf_clear(&message);
    fail(front, exchange, hg_grpc_code_from_http(http_status), text, hg_buf_bytes(&message));
    hg_buf_finish(&message);
    hg_peer_message_free(owner);
}

static void reply(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                  struct hg_bytes key, void *target, const struct hg_result *result)
{
    (void)target;
    int status;
    uint64_t now_ms = hg_loop_now(front->loop);
    double minute_qps = (double)hg_group_minute(group, key, now_ms);
    bool is_value = result->err == HG_OK && hg_result_http_status(result) == 200;

    hg_buf_clear(&front->body);
    int err = is_value ? hg_buf_append(&front->body, "\0\0\0\0\0", HG_GRPC_PREFIX) : HG_OK;
    if (err == HG_OK)
        err = hg_answer_to_http(result, key, now_ms, hg_group_config(group)->expose_errors,
                                minute_qps, &status, &front->body);
    if (err < 0) {
        fail_err(front, exchange, err);
    } else if (!is_value) {
        fail_with_response(front, exchange, status);
    } else {
        hg_grpc_prefix_write(front->body.len - HG_GRPC_PREFIX, front->body.data);
        hg_buf_clear(&front->headers);
        if (hg_buf_append_str(&front->headers, "grpc-status: 0\r\n") < 0)
            no_memory(front, exchange);
        else
            answer(front, exchange, hg_buf_bytes(&front->body));
    }
}

/* --- requests --- */

/* NULL: answered. */
static struct hg_group *find_group(struct hg_front *front, struct hg_exchange *exchange,
                                   struct hg_bytes name)
{
    struct hg_node *node = front->node;
    int status;

    /* HgCache v2 names none. */
    if (name.len == 0 && node->config->default_group != NULL)
        name = hg_bytes_str(node->config->default_group);
    struct hg_group *only = name.len == 0 ? hg_groups_only(node->groups) : NULL;
    if (only != NULL)
        return only;
    struct hg_group *group = hg_groups_find(node->groups, name);
    if (group != NULL)
        return group;
    hg_buf_clear(&front->body);
    if (name.len == 0)
        refuse(front, exchange, HG_GRPC_INVALID_ARGUMENT,
               "group needed: there are several, and no cluster.default_group");
    else if (hg_answer_no_group(&status, &front->body) < 0)
        no_memory(front, exchange);
    else
        fail_with_response(front, exchange, status);
    return NULL;
}

static void get(struct hg_front *front, struct hg_exchange *exchange,
                const struct hg_peer_request *peer, uint64_t timeout_ms)
{
    struct hg_get get = {.key = peer->key,
                         .from_peer = !hg_peer_side_is_client(front->node, peer->origin),
                         .is_peek = peer->is_peek};
    struct hg_group *group = find_group(front, exchange, peer->group);

    if (group == NULL)
        return;
    if (peer->key.len == 0 || peer->key.len > front->node->config->limits.key) {
        refuse(front, exchange, HG_GRPC_INVALID_ARGUMENT,
               peer->key.len == 0 ? "the key is empty" : "the key is too long");
        return;
    }
    if (peer->deadline_ms > 0 && (timeout_ms == 0 || peer->deadline_ms < timeout_ms))
        timeout_ms = peer->deadline_ms;
    hg_buf_clear(&front->body);
    int err = hg_peer_side_take(front, peer, &front->body);
    get.chain = hg_buf_bytes(&front->body);
    if (err == HG_OK)
        hg_request_get(front, exchange, group, &get, timeout_ms, reply, NULL);
    else if (err == HG_ECANCELED)
        fail(front, exchange, HG_GRPC_INVALID_ARGUMENT, HG_BYTES(HG_PEER_IS_MYSELF), HG_BYTES_NONE);
    else if (err == HG_EACCES)
        fail(front, exchange, HG_GRPC_INVALID_ARGUMENT, HG_BYTES(HG_PEER_IS_OTHER), HG_BYTES_NONE);
    else if (err == HG_ENOMEM)
        no_memory(front, exchange);
    else
        refuse(front, exchange, HG_GRPC_INVALID_ARGUMENT, "a link of the chain is too long");
}

static void get_message(struct hg_front *front, struct hg_exchange *exchange, uint64_t timeout_ms)
{
    struct hg_peer_request peer;
    struct hg_bytes message;
    void *owner = NULL;
    int err = hg_grpc_message_read(exchange->request->body,
                                   front->node->config->limits.peer_message, &message);
    if (err == HG_ETOOBIG) {
        refuse(front, exchange, HG_GRPC_RESOURCE_EXHAUSTED,
               "the message is larger than limits.peer_message");
    } else if (err == HG_EINVAL) {
        refuse(front, exchange, HG_GRPC_UNIMPLEMENTED, "compressed messages are not taken");
    } else if (err < 0) {
        refuse(front, exchange, HG_GRPC_INTERNAL, "the body is not one message");
    } else if ((err = hg_peer_request_decode(message, &peer, &owner)) == HG_ENOMEM) {
        no_memory(front, exchange);
    } else if (err < 0) {
        refuse(front, exchange, HG_GRPC_INVALID_ARGUMENT, "the message is not a Request");
    } else {
        get(front, exchange, &peer, timeout_ms);
        hg_peer_message_free(owner);
    }
}

void hg_peer_grpc_request(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_http1_request *request = exchange->request;
    struct hg_bytes timeout = hg_http1_field(request, "grpc-timeout");
    uint64_t timeout_ms = 0;

    if (!is_grpc(exchange)) {
        HG_COUNT_UP(front->node->counters.peer_bad_requests);
        hg_front_error(front, exchange, NULL, 415, "the content type is not application/grpc");
        return;
    }
    HG_COUNT_UP(front->node->counters.peer_grpc_requests);
    if ((exchange->roles & HG_ROLE_PEER) == 0 || request->method != HG_POST ||
        !hg_bytes_eq(request->path, hg_bytes_str(GET))) {
        refuse(front, exchange, HG_GRPC_UNIMPLEMENTED, "no such method here");
    } else if (!hg_auth_is_allowed(request, &front->node->config->peer_tokens)) {
        HG_COUNT_UP(front->node->counters.unauthorized);
        fail(front, exchange, HG_GRPC_PERMISSION_DENIED, HG_BYTES("a peer's token is needed"),
             HG_BYTES_NONE);
    } else if (timeout.data != NULL && hg_grpc_timeout_read(timeout, &timeout_ms) < 0) {
        refuse(front, exchange, HG_GRPC_INVALID_ARGUMENT, "grpc-timeout is malformed");
    } else if (timeout.data != NULL && timeout_ms == 0) {
        fail(front, exchange, HG_GRPC_DEADLINE_EXCEEDED, HG_BYTES("deadline passed"),
             HG_BYTES_NONE);
    } else {
        get_message(front, exchange, timeout_ms);
    }
}
