/*
 * What other nodes tell and ask of changes, on the base path:
 *
 *   POST ?changes         a Change, applied here (a write: it wants a token, or to come from this machine)
 *   GET ?changes=PLACE    what our log has beyond that place: a Changes
 */
#include "node/node_impl.h"
#include "wire/peer_changes.h"
#include "wire/peer_message.h"

#define ANSWER_BYTES ((size_t)256 << 10) /* of changes; more come with the next ask */

static const char QUERY[] = "changes";

bool hg_peer_changes_is_asked(const struct hg_http1_request *request)
{
    return hg_bytes_has_prefix(request->query, hg_bytes_str(QUERY));
}

static void tell_place(struct hg_front *front, struct hg_exchange *exchange)
{
    struct hg_bytes query = exchange->request->query;
    size_t skip = sizeof(QUERY); /* and '=' */
    struct hg_changes_place place;
    int err = HG_EPROTO;
    if (query.len > skip && query.data[skip - 1] == '=')
        err = hg_changes_place_parse(hg_bytes(query.data + skip, query.len - skip), &place);
    hg_buf_clear(&front->body);
    if (err == HG_OK)
        err = hg_changes_answer(front->node->changes, &place, ANSWER_BYTES, &front->body);
    if (err == HG_EPROTO)
        hg_peer_side_refuse(front, exchange, 400, "changes: expected BOOT.NUMBER or now");
    else if (err < 0)
        hg_peer_side_no_memory(front, exchange);
    else
        hg_peer_side_answer(front, exchange, 200, &front->body, 0);
}

static void take_change(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_node *node = front->node;
    struct hg_peer_change change;
    void *owner = NULL;
    bool was_there = true;
    int err = hg_peer_change_decode(exchange->request->body, &change, &owner);
    if (err == HG_OK && change.op <= HG_CHANGE_EXPIRE && change.name.len > node->config->limits.key)
        err = HG_ETOOBIG;
    if (err == HG_OK)
        err = hg_changes_apply(node->changes, &change, false, hg_loop_now(front->loop), &was_there);
    hg_peer_message_free(owner);
    if (err == HG_ENOMEM) {
        hg_peer_side_no_memory(front, exchange);
    } else if (err == HG_OK || err == HG_ELIMIT) { /* what does not fit: the older entry is gone */
        struct hg_reply done = {.status = was_there ? HG_CHANGE_WAS_THERE : HG_CHANGE_NOT_THERE,
                                .no_length = was_there};
        hg_exchange_answer(exchange, &done);
    } else {
        hg_peer_side_refuse(front, exchange, err == HG_ETOOBIG ? 413 : 400,
                            err == HG_ETOOBIG ? "the key, tag or value is over a limit"
                                              : "the body is not a Change");
    }
}

void hg_peer_changes_request(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_http1_request *request = exchange->request;
    if (request->method == HG_GET) {
        tell_place(front, exchange);
    } else if (request->method != HG_POST) {
        struct hg_reply no = {.status = 405, .headers = HG_BYTES("Allow: GET, POST\r\n")};
        HG_COUNT_UP(front->node->counters.peer_bad_requests);
        hg_exchange_answer(exchange, &no);
    } else if (front->node->config->peer_tokens.count == 0 && !hg_auth_is_local(exchange)) {
        HG_COUNT_UP(front->node->counters.unauthorized);
        hg_front_error(front, exchange, NULL, 403, "writes between nodes need cluster.tokens");
    } else {
        take_change(front, exchange);
    }
}
