/*
 * What peers ask of this node: GET <base_path><group>/<key>[?explain] is answered here (law 4: never forwarded). Asks for many
 * keys are in peer_many.c, other nodes' writes in peer_changes.c.
 */
#include "cluster/answer.h"
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/query.h"

static const char GO_BASE_PATH[] = "/_groupcache/"; /* golang/groupcache's */

bool hg_peer_side_is_path(const struct hg_node *node, struct hg_bytes path,
                          struct hg_bytes *out_rest)
{
    const struct hg_bytes bases[] = {hg_bytes_str(node->config->base_path), HG_BYTES(GO_BASE_PATH)};
    for (size_t i = 0; i < HG_COUNT(bases); i++) {
        if (hg_bytes_has_prefix(path, bases[i])) {
            *out_rest = hg_bytes(path.data + bases[i].len, path.len - bases[i].len);
            return true;
        }
    }
    return false;
}

void hg_peer_side_answer(struct hg_front *front, struct hg_exchange *exchange, int status,
                         const struct hg_buf *body, uint64_t retry_after_s)
{
    hg_buf_clear(&front->headers);
    hg_buf_append_str(&front->headers, "Content-Type: application/x-protobuf\r\n");
    if (retry_after_s > 0)
        hg_buf_printf(&front->headers, "Retry-After: %llu\r\n", (unsigned long long)retry_after_s);
    struct hg_reply reply = {.status = status,
                             .headers = hg_buf_bytes(&front->headers),
                             .body = hg_buf_bytes(body),
                             .is_head = exchange->request->method == HG_HEAD};
    hg_exchange_answer(exchange, &reply);
    hg_front_trim(front);
}

void hg_peer_side_no_memory(struct hg_front *front, struct hg_exchange *exchange)
{
    HG_COUNT_UP(front->node->counters.no_memory);
    hg_front_error(front, exchange, NULL, 503, "out of memory");
}

static void reply(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                  struct hg_bytes key, void *target, const struct hg_result *result)
{
    (void)target;
    int status;
    uint64_t now_ms = hg_loop_now(front->loop);
    double minute_qps = (double)hg_group_minute(group, key, now_ms);
    hg_buf_clear(&front->body);
    int err = hg_answer_to_http(result, key, now_ms, hg_group_config(group)->expose_errors,
                                minute_qps, &status, &front->body);
    if (err < 0)
        hg_peer_side_no_memory(front, exchange);
    else
        hg_peer_side_answer(front, exchange, status, &front->body, hg_result_retry_after_s(result));
}

static void answer_no_group(struct hg_front *front, struct hg_exchange *exchange)
{
    int status;
    hg_buf_clear(&front->body);
    if (hg_answer_no_group(&status, &front->body) < 0)
        hg_peer_side_no_memory(front, exchange);
    else
        hg_peer_side_answer(front, exchange, status, &front->body, 0);
}

/* The keys whose getters wait, as hg_load.chain has them. */
static int encode_chain(struct hg_buf *chain, const struct hg_peer_request *peer)
{
    for (size_t i = 0; i < peer->chain_count; i++) {
        struct hg_bytes link = peer->chain[i];
        if (link.len > UINT16_MAX)
            return HG_EPROTO;
        int err = hg_buf_append_char(chain, (char)(link.len >> 8));
        if (err == HG_OK)
            err = hg_buf_append_char(chain, (char)(link.len & 255));
        if (err == HG_OK)
            err = hg_buf_append_bytes(chain, link);
        if (err < 0)
            return err;
    }
    return HG_OK;
}

void hg_peer_side_refuse(struct hg_front *front, struct hg_exchange *exchange, int status,
                         const char *why)
{
    HG_COUNT_UP(front->node->counters.peer_bad_requests);
    hg_front_error(front, exchange, NULL, status, why);
}

/* Places its sender keys as we do? Nobody is refused for it. */
static void compare_rings(struct hg_front *front, const struct hg_peer_request *peer)
{
    static struct hg_log_limit limit;
    struct hg_node *node = front->node;
    const struct hg_view *view = hg_node_view(node);
    char name[HG_MISMATCH_NAME_MAX];
    bool is_news;
    uint64_t ours = view == NULL ? 0 : hg_ring_fingerprint(view->ring);

    if (view == NULL || !hg_mismatches_note(&node->mismatches, peer->origin, peer->ring, ours,
                                            hg_loop_now(front->loop), &is_news))
        return;
    HG_COUNT_UP(node->counters.peer_ring_mismatches);
    if (is_news)
        hg_log_limited(&limit, 1, HG_LOG_WARN,
                       "peer has another ring name=%s theirs=%016llx ours=%016llx",
                       hg_bytes_escape(peer->origin, name, sizeof(name)),
                       (unsigned long long)peer->ring, (unsigned long long)ours);
}

/* Its sender loads the key itself: two nodes that may mean different things by one message share nothing. */
static int refuse_version(struct hg_front *front, const struct hg_peer_request *peer)
{
    static struct hg_log_limit limit;
    char name[HG_MISMATCH_NAME_MAX];

    HG_COUNT_UP(front->node->counters.peer_other_versions);
    hg_log_limited(
        &limit, 1, HG_LOG_WARN, "peer has another wire version name=%s theirs=%u ours=%u",
        hg_bytes_escape(peer->origin, name, sizeof(name)), peer->wire_version, HG_WIRE_VERSION);
    return HG_EACCES;
}

int hg_peer_side_take(struct hg_front *front, const struct hg_peer_request *peer,
                      struct hg_buf *chain)
{
    static struct hg_log_limit limit;
    struct hg_node *node = front->node;
    const struct hg_config *config = node->config;

    if (!hg_peer_request_is_ours(peer))
        return refuse_version(front, peer);
    if (!config->has_cluster || peer->origin.len == 0 ||
        !hg_bytes_eq(peer->origin, hg_bytes_str(config->self))) {
        compare_rings(front, peer);
        return encode_chain(chain, peer);
    }
    HG_COUNT_UP(node->counters.peer_self_requests);
    hg_log_limited(&limit, 1, HG_LOG_ERROR,
                   "peer request from ourselves self=%s: two nodes have one name, or the "
                   "ring does not know this node",
                   config->self);
    return HG_ECANCELED;
}

bool hg_peer_side_is_client(const struct hg_node *node, struct hg_bytes origin)
{
    return node->config->has_cluster && node->config->ring.hash == HG_RING_XXH64 && origin.len == 0;
}

bool hg_peer_side_header(struct hg_front *front, struct hg_exchange *exchange, struct hg_buf *chain,
                         uint64_t *out_timeout_ms, struct hg_get *out_get)
{
    struct hg_bytes header = exchange->request->peer_request;
    struct hg_peer_request peer;
    void *owner = NULL;
    size_t len = 0;

    *out_timeout_ms = 0;
    out_get->from_peer = !hg_peer_side_is_client(front->node, HG_BYTES_NONE);
    hg_buf_clear(chain);
    if (header.data == NULL)
        return true;
    char *message = hg_malloc(header.len + 3);
    int err = message == NULL ? HG_ENOMEM : hg_base64_decode(header, message, &len);
    if (err == HG_OK)
        err = hg_peer_request_decode(hg_bytes(message, len), &peer, &owner);
    if (err == HG_OK)
        err = hg_peer_side_take(front, &peer, chain);
    if (err == HG_OK) {
        *out_timeout_ms = peer.deadline_ms;
        out_get->from_peer = !hg_peer_side_is_client(front->node, peer.origin);
        out_get->is_peek = peer.is_peek;
    }
    hg_peer_message_free(owner);
    hg_free(message);
    if (err == HG_ENOMEM)
        hg_peer_side_no_memory(front, exchange);
    else if (err == HG_ECANCELED)
        hg_front_error(front, exchange, NULL, 400, HG_PEER_IS_MYSELF);
    else if (err == HG_EACCES)
        hg_front_error(front, exchange, NULL, 400, HG_PEER_IS_OTHER);
    else if (err < 0)
        hg_peer_side_refuse(front, exchange, 400, "Hgcache-Request is malformed");
    return err == HG_OK;
}

static void serve_get(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                      struct hg_bytes key)
{
    struct hg_get get = {.key = key};
    uint64_t timeout_ms;
    if (!hg_peer_side_header(front, exchange, &front->body, &timeout_ms, &get))
        return;
    get.chain = hg_buf_bytes(&front->body);
    hg_request_get(front, exchange, group, &get, timeout_ms, reply, NULL);
}

/* What this node has of a key, for another's `explain`: messages of errors and tags, so it is as guarded as writes. */
static void serve_explain(struct hg_front *front, struct hg_exchange *exchange,
                          struct hg_group *group, struct hg_bytes key)
{
    hg_buf_clear(&front->body);
    int err =
        hg_explain_format_part(front->node, group, key, hg_loop_now(front->loop), &front->body);
    if (err < 0) {
        hg_peer_side_no_memory(front, exchange);
        return;
    }
    struct hg_reply reply_it = {.status = 200,
                                .headers = HG_BYTES("Content-Type: application/json\r\n"),
                                .body = hg_buf_bytes(&front->body),
                                .is_head = exchange->request->method == HG_HEAD};
    hg_exchange_answer(exchange, &reply_it);
}

/* Which life of which node this is: discovery/etcd.lua asks its own address. */
static void answer_who(struct hg_front *front, struct hg_exchange *exchange)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%016llx",
                       (unsigned long long)hg_changes_boot(front->node->changes));
    struct hg_reply reply_it = {.status = 200,
                                .headers = HG_BYTES("Content-Type: text/plain\r\n"),
                                .body = hg_bytes(text, (size_t)len)};
    hg_exchange_answer(exchange, &reply_it);
}

void hg_peer_side_request(struct hg_front *front, struct hg_exchange *exchange,
                          struct hg_bytes rest)
{
    struct hg_node *node = front->node;
    const struct hg_http1_request *request = exchange->request;
    if (!hg_auth_is_allowed(request, &node->config->peer_tokens)) {
        HG_COUNT_UP(node->counters.unauthorized);
        hg_front_error(front, exchange, NULL, 401, "a peer's token is needed");
        return;
    }
    if (rest.len == 0 && hg_peer_changes_is_asked(request)) {
        hg_peer_changes_request(front, exchange);
        return;
    }
    if (rest.len == 0 && hg_peer_many_is_asked(request)) {
        hg_peer_many_request(front, exchange);
        return;
    }
    if (rest.len == 0 && hg_bytes_eq(request->query, HG_BYTES("who"))) {
        answer_who(front, exchange);
        return;
    }
    if (rest.len == 0) { /* a probe: any answer is a sign of life */
        struct hg_reply alive = {.status = 204, .no_length = true};
        hg_exchange_answer(exchange, &alive);
        return;
    }
    if (request->method != HG_GET && request->method != HG_HEAD) {
        struct hg_reply no = {.status = 405, .headers = HG_BYTES("Allow: GET, HEAD\r\n")};
        HG_COUNT_UP(node->counters.peer_bad_requests);
        hg_exchange_answer(exchange, &no);
        return;
    }
    bool is_explain = hg_bytes_eq(request->query, HG_BYTES("explain"));
    if (is_explain && node->config->peer_tokens.count == 0 && !hg_auth_is_local(exchange)) {
        HG_COUNT_UP(node->counters.unauthorized);
        hg_front_error(front, exchange, NULL, 403,
                       "explanations between nodes need cluster.tokens");
        return;
    }
    char *space = hg_malloc(rest.len + 1);
    if (space == NULL) {
        hg_peer_side_no_memory(front, exchange);
        return;
    }
    struct hg_bytes name, key;
    int err = hg_peer_path_decode(rest, space, &name, &key);
    if (err < 0) {
        hg_peer_side_refuse(front, exchange, 400, "the path is not <group>/<key>");
    } else {
        struct hg_group *group = hg_groups_find(node->groups, name);
        if (group == NULL)
            answer_no_group(front, exchange);
        else if (key.len == 0 || key.len > node->config->limits.key)
            hg_peer_side_refuse(front, exchange, key.len == 0 ? 400 : 414,
                                key.len == 0 ? "the key is empty" : "the key is too long");
        else if (is_explain)
            serve_explain(front, exchange, group, key);
        else
            serve_get(front, exchange, group, key);
    }
    hg_free(space);
}
