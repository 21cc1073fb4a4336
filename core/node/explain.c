/*
 * /explain: all that the cluster knows of a key, in one answer.
 *
 *   admin listener --mail--> a worker --GET <base_path><group>/<key>?explain--> every other member
 *        ^---------------------mail---------'   each answers for itself, nobody asks further
 *
 * Who does not answer within cluster.timeout is named as such. The exchange is answered once, by its own loop.
 */
#include <jansson.h>
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/peer_message.h"
#include "wire/reply.h"

#define PART_MAX       ((size_t)256 << 10) /* of one member's answer */
#define PATH_MAX_BYTES ((size_t)64 << 10)

/* ---- what this node knows ---- */

static int append_number(struct hg_buf *buf, const char *before, uint64_t number)
{
    return hg_buf_printf(buf, "%s%llu", before, (unsigned long long)number);
}

static const char *bool_name(bool is)
{
    return is ? "true" : "false";
}

static const char *kind_name(enum hg_flight_kind kind)
{
    return kind == HG_FLIGHT_LOCAL ? "local" : "remote";
}

static const char *status_name(enum hg_status status)
{
    return status == HG_STATUS_VALUE       ? "value"
           : status == HG_STATUS_NOT_FOUND ? "not_found"
                                           : "error";
}

static int entry(const struct hg_explain *explain, const struct hg_value *value, struct hg_buf *buf)
{
    int err = hg_buf_printf(buf, ",\"tier\":\"%s\",\"status\":\"%s\",\"age_ms\":%llu,\"ttl_ms\":",
                            hg_tier_name(explain->tier), status_name(explain->status),
                            (unsigned long long)explain->age_ms);
    if (err == HG_OK && explain->ttl_ms == INT64_MAX)
        err = hg_buf_append_str(buf, "null");
    else if (err == HG_OK)
        err = hg_buf_printf(buf, "%lld", (long long)explain->ttl_ms);
    if (err == HG_OK)
        err = hg_buf_printf(buf,
                            ",\"stale_while_revalidate_ms\":%llu,\"stale_if_error_ms\":%llu,\"size_"
                            "bytes\":%zu,\"cost_bytes\":%zu,\"version\":\"%016llx\",\"tags\":[",
                            (unsigned long long)explain->stale_while_revalidate_ms,
                            (unsigned long long)explain->stale_if_error_ms, explain->size_bytes,
                            explain->cost_bytes, (unsigned long long)hg_value_version(value));
    for (size_t i = 0; err == HG_OK && i < hg_value_more(value).tag_count; i++) {
        if (i > 0)
            err = hg_buf_append_char(buf, ',');
        if (err == HG_OK)
            err = hg_json_string(buf, hg_value_tag(value, i));
    }
    return err == HG_OK ? hg_buf_printf(buf, "],\"trusted\":%s", bool_name(explain->is_trusted))
                        : err;
}

static int past(const struct hg_explain *explain, struct hg_buf *buf)
{
    int err = HG_OK;
    if (explain->has_load)
        err = hg_buf_printf(
            buf, ",\"load\":{\"kind\":\"%s\",\"status\":\"%s\",\"age_ms\":%llu,\"took_ms\":%llu}",
            kind_name(explain->load_kind), status_name(explain->load_status),
            (unsigned long long)explain->load_age_ms, (unsigned long long)explain->load_took_ms);
    if (err == HG_OK && explain->has_error) {
        err = hg_buf_printf(
            buf, ",\"error\":{\"class\":\"%s\",\"message\":", hg_class_name(explain->error_class));
        if (err == HG_OK)
            err = hg_json_string(buf, hg_bytes(explain->error_message, explain->error_message_len));
        if (err == HG_OK)
            err = append_number(buf, ",\"age_ms\":", explain->error_age_ms);
        if (err == HG_OK)
            err = hg_buf_append_char(buf, '}');
    }
    if (err == HG_OK && explain->has_eviction)
        err = hg_buf_printf(buf, ",\"eviction\":{\"reason\":\"%s\",\"age_ms\":%llu}",
                            hg_evict_reason_name(explain->eviction_reason),
                            (unsigned long long)explain->eviction_age_ms);
    return err;
}

/* The members of an object, without its braces. */
static int fields(const struct hg_explain *explain, const struct hg_value *value,
                  struct hg_buf *buf)
{
    int err = hg_buf_printf(buf, "\"mine\":%s,\"stored\":%s", bool_name(explain->is_mine),
                            bool_name(explain->is_stored));
    if (err == HG_OK && explain->is_stored)
        err = entry(explain, value, buf);
    if (err == HG_OK && explain->is_flying)
        err = hg_buf_printf(buf,
                            ",\"flight\":{\"kind\":\"%s\",\"reason\":\"%s\",\"age_ms\":%llu,"
                            "\"waiters\":%llu}",
                            kind_name(explain->flight_kind),
                            hg_load_reason_name(explain->flight_reason),
                            (unsigned long long)explain->flight_age_ms,
                            (unsigned long long)explain->flight_waiters);
    if (err == HG_OK)
        err = append_number(buf, ",\"rate\":", explain->minute);
    return err == HG_OK ? past(explain, buf) : err;
}

static struct hg_bytes self_name(const struct hg_node *node)
{
    const struct hg_view *view = hg_node_view(node);
    return view == NULL || view->self < 0 ? node->name
                                          : hg_ring_member(view->ring, (size_t)view->self);
}

static int part_of(struct hg_node *node, const struct hg_explain *explain,
                   const struct hg_value *value, struct hg_buf *buf)
{
    int err = hg_buf_append_str(buf, "{\"member\":");
    if (err == HG_OK)
        err = hg_json_string(buf, self_name(node));
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"node\":");
    if (err == HG_OK)
        err = hg_json_string(buf, node->name);
    if (err == HG_OK)
        err = hg_buf_append_char(buf, ',');
    if (err == HG_OK)
        err = fields(explain, value, buf);
    return err == HG_OK ? hg_buf_append_char(buf, '}') : err;
}

int hg_explain_format_part(struct hg_node *node, struct hg_group *group, struct hg_bytes key,
                           uint64_t now_ms, struct hg_buf *buf)
{
    struct hg_explain explain;
    struct hg_hold hold;
    hg_group_explain(group, key, now_ms, &explain, &hold);
    int err = part_of(node, &explain, hold.value, buf);
    hg_hold_release(&hold);
    return err;
}

/* ---- what the others know ---- */

struct part {
    struct gather *gather;
    size_t member;
    char why[64]; /* it did not answer; empty: it did, or is ourselves */
    struct hg_buf json;
};

struct gather {
    struct hg_pending pending;
    struct hg_mail mail;
    struct hg_node *node;
    struct hg_front *front;
    struct hg_exchange *exchange; /* ours; answered into the void where the client has gone */
    struct hg_worker *worker;
    const struct hg_view *view; /* held; NULL in a cluster of one */
    struct hg_group *group;
    struct hg_bytes key;
    size_t outstanding, part_count;
    struct part *parts; /* one a member; NULL in a cluster of one */
    hg_explained_fn done;
    char storage[];
};

static void gather_free(struct gather *gather)
{
    for (size_t i = 0; i < gather->part_count; i++)
        hg_buf_finish(&gather->parts[i].json);
    hg_view_release(gather->view);
    hg_free(gather->parts);
    hg_free(gather);
}

static int append_part(const struct gather *gather, const struct part *part,
                       const struct hg_explain *explain, const struct hg_value *value,
                       struct hg_buf *buf)
{
    const struct hg_view *view = gather->view;
    if (part->member == (size_t)view->self)
        return part_of(gather->node, explain, value, buf);
    if (part->why[0] == 0)
        return hg_buf_append_bytes(buf, hg_buf_bytes(&part->json));
    int err = hg_buf_append_str(buf, "{\"member\":");
    if (err == HG_OK)
        err = hg_json_string(buf, hg_ring_member(view->ring, part->member));
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"unreachable\":");
    if (err == HG_OK)
        err = hg_json_string(buf, hg_bytes_str(part->why));
    return err == HG_OK ? hg_buf_append_char(buf, '}') : err;
}

static int format(const struct gather *gather, uint64_t now_ms, struct hg_buf *buf)
{
    struct hg_node *node = gather->node;
    struct hg_explain explain;
    struct hg_hold hold;
    hg_group_explain(gather->group, gather->key, now_ms, &explain, &hold);
    int err = hg_buf_append_str(buf, "{\"group\":");
    if (err == HG_OK)
        err = hg_json_string(buf, hg_bytes_str(hg_group_name(gather->group)));
    if (err == HG_OK)
        err = hg_buf_append_char(buf, ',');
    if (err == HG_OK)
        err = hg_json_bytes(buf, "key", gather->key);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"node\":");
    if (err == HG_OK)
        err = hg_json_string(buf, node->name);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"owner\":");
    if (err == HG_OK)
        err = hg_json_string(buf, explain.owner.len > 0 ? explain.owner : node->name);
    if (err == HG_OK)
        err = hg_buf_append_char(buf, ',');
    if (err == HG_OK)
        err = fields(&explain, hold.value, buf);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"nodes\":[");
    if (err == HG_OK && gather->part_count == 0)
        err = part_of(node, &explain, hold.value, buf);
    for (size_t i = 0; i < gather->part_count && err == HG_OK; i++) {
        if (i > 0)
            err = hg_buf_append_char(buf, ',');
        if (err == HG_OK)
            err = append_part(gather, &gather->parts[i], &explain, hold.value, buf);
    }
    hg_hold_release(&hold);
    return err == HG_OK ? hg_buf_append_str(buf, "]}\n") : err;
}

static void on_home(struct hg_mail *mail)
{
    struct gather *gather = hg_container_of(mail, struct gather, mail);
    struct hg_front *front = gather->front;
    hg_buf_clear(&front->body);
    gather->exchange->user = NULL;
    gather->done(front, gather->exchange, format(gather, hg_loop_now(front->loop), &front->body));
    atomic_fetch_sub(&gather->node->changes_running, 1);
    gather_free(gather);
}

static void go_home(struct gather *gather)
{
    gather->mail.deliver = on_home;
    hg_loop_post(gather->front->loop, &gather->mail);
}

/* Foreign bytes go into our answer only as one JSON object. */
static bool is_object(struct hg_bytes body)
{
    json_error_t error;
    json_t *json = body.len == 0 ? NULL : json_loadb(body.data, body.len, JSON_ALLOW_NUL, &error);
    bool is = json_is_object(json);
    json_decref(json);
    return is;
}

static void take(struct part *part, const struct hg_fetch_response *response)
{
    if (response->err != HG_OK)
        snprintf(part->why, sizeof(part->why), "%s",
                 response->err == HG_EPEER && response->err_text != NULL
                     ? response->err_text
                     : hg_err_text(response->err));
    else if (response->status != 200)
        snprintf(part->why, sizeof(part->why), "it answered %d", response->status);
    else if (response->body.len > PART_MAX || !is_object(response->body))
        snprintf(part->why, sizeof(part->why), "its answer is no explanation");
    else if (hg_buf_append_bytes(&part->json, response->body) < 0)
        snprintf(part->why, sizeof(part->why), "%s", hg_err_text(HG_ENOMEM));
}

static void on_told(void *ctx, const struct hg_fetch_response *response)
{
    struct part *part = ctx;
    take(part, response);
    if (--part->gather->outstanding == 0)
        go_home(part->gather);
}

static void ask(struct gather *gather, struct part *part, const char *path)
{
    struct hg_node *node = gather->node;
    struct hg_peer_client *client = gather->worker->client;
    int err = client == NULL ? HG_EDRAINING
                             : hg_peer_client_send(client, gather->view->peers[part->member], "GET",
                                                   path, HG_BYTES_NONE,
                                                   node->config->peer_timeout_ms, on_told, part);
    if (err == HG_OK)
        gather->outstanding++;
    else
        snprintf(part->why, sizeof(part->why), "%s", hg_err_text(err));
}

static void on_start(struct hg_mail *mail)
{
    struct gather *gather = hg_container_of(mail, struct gather, mail);
    struct hg_node *node = gather->node;
    struct hg_buf path;
    hg_buf_init(&path, PATH_MAX_BYTES);
    int err = hg_peer_path_encode(&path, hg_bytes_str(node->config->base_path),
                                  hg_bytes_str(hg_group_name(gather->group)), gather->key);
    if (err == HG_OK)
        err = hg_buf_append(&path, "?explain", sizeof("?explain"));
    for (size_t i = 0; i < gather->part_count; i++) {
        struct part *part = &gather->parts[i];
        if (part->member == (size_t)gather->view->self)
            continue;
        if (err == HG_OK)
            ask(gather, part, path.data);
        else
            snprintf(part->why, sizeof(part->why), "%s", hg_err_text(err));
    }
    hg_buf_finish(&path);
    if (gather->outstanding == 0)
        go_home(gather);
}

static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    (void)pending; /* what was asked is still answered; into the void */
    (void)exchange;
}

static struct gather *gather_create(struct hg_front *front, struct hg_group *group,
                                    struct hg_bytes key)
{
    struct hg_node *node = front->node;
    const struct hg_view *view = hg_node_view(node);
    size_t count = view == NULL ? 0 : hg_ring_member_count(view->ring);
    struct gather *gather = hg_calloc(1, sizeof(*gather) + key.len);
    if (gather == NULL)
        return NULL;
    if (count > 0 && (gather->parts = hg_calloc(count, sizeof(*gather->parts))) == NULL) {
        hg_free(gather);
        return NULL;
    }
    memcpy(gather->storage, key.data, key.len);
    gather->key = hg_bytes(gather->storage, key.len);
    gather->node = node;
    gather->view = view;
    hg_view_hold(view);
    gather->front = front;
    gather->group = group;
    gather->part_count = count;
    gather->pending.gone = on_gone;
    for (size_t i = 0; i < count; i++) {
        gather->parts[i].gather = gather;
        gather->parts[i].member = i;
        hg_buf_init(&gather->parts[i].json, PART_MAX);
    }
    return gather;
}

void hg_explain_gather(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                       struct hg_bytes key, hg_explained_fn done)
{
    struct hg_node *node = front->node;
    struct gather *gather = gather_create(front, group, key);
    struct hg_exchange *kept = gather == NULL ? NULL : hg_exchange_keep(exchange);
    if (kept == NULL) {
        if (gather != NULL)
            gather_free(gather);
        done(front, exchange, HG_ENOMEM);
        return;
    }
    gather->exchange = kept;
    gather->done = done;
    kept->user = &gather->pending;
    atomic_fetch_add(&node->changes_running, 1);
    gather->worker = hg_node_any_worker(node);
    gather->mail.deliver = on_start;
    hg_loop_post(&gather->worker->loop, &gather->mail);
}
