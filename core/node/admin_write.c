/*
 * Changes from the admin listener: PUT and DELETE /keys, POST /flush, DELETE /tags. Answered when every node has
 * acknowledged or its lease was waited out, with who did what.
 */
#include <stdio.h>
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/query.h"

/* A change waiting for the cluster. */
struct write {
    struct hg_pending pending;
    struct hg_change change;
    struct hg_front *front;
    struct hg_exchange *exchange;
    char name[]; /* key or tag */
};

static void on_write_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    (void)pending; /* the change goes on; the exchange is answered into the void */
    (void)exchange;
}

static void on_written(struct hg_change *change)
{
    struct write *write = hg_container_of(change, struct write, change);
    struct hg_front *front = write->front;
    struct hg_exchange *exchange = write->exchange;
    exchange->user = NULL;
    if (change->err == HG_EPEER) {
        hg_admin_text(front, exchange, 503, "the key's owner did not acknowledge");
    } else if (change->err < 0) {
        hg_admin_text(front, exchange, change->err == HG_ETOOBIG ? 413 : 503,
                      hg_err_text(change->err));
    } else {
        hg_buf_clear(&front->body);
        hg_buf_append_str(&front->body, "{\"acknowledged\":");
        hg_buf_append_bytes(&front->body, hg_buf_bytes(&change->acknowledged));
        hg_buf_append_str(&front->body, ",\"lease_waited\":");
        hg_buf_append_bytes(&front->body, hg_buf_bytes(&change->lease_waited));
        hg_buf_printf(&front->body, ",\"bound_ms\":%llu}\n", (unsigned long long)change->bound_ms);
        hg_admin_answer(front, exchange, 200, "application/json", &front->body);
    }
    hg_value_unref(change->value);
    hg_change_finish(change);
    hg_free(write);
}

/* Answers when the cluster knows. Takes over value (may be NULL); name is copied. */
static void begin(struct hg_front *front, struct hg_exchange *exchange, enum hg_change_op op,
                  struct hg_group *group, struct hg_bytes name, struct hg_value *value)
{
    struct write *write = hg_calloc(1, sizeof(*write) + name.len);
    struct hg_exchange *kept = write == NULL ? NULL : hg_exchange_keep(exchange);
    if (kept == NULL) {
        hg_value_unref(value);
        hg_free(write);
        hg_admin_text(front, exchange, 503, "out of memory");
        return;
    }
    if (name.len > 0)
        memcpy(write->name, name.data, name.len);
    write->pending.gone = on_write_gone;
    write->front = front;
    write->exchange = kept;
    kept->user = &write->pending;
    write->change = (struct hg_change){
        .op = op,
        .group = group,
        .value = value,
        .key = hg_bytes(write->name, name.len),
        .home = front->loop,
        .done = on_written,
    };
    hg_node_change(front->node, &write->change);
}

void hg_admin_write_key(struct hg_front *front, struct hg_exchange *exchange,
                        struct hg_group *group, struct hg_bytes key)
{
    const struct hg_http1_request *request = exchange->request;
    struct hg_value *value = NULL;
    if (request->method == HG_PUT) {
        struct hg_value_spec spec = {.status = HG_STATUS_VALUE, .key = key, .data = request->body};
        char ttl[64];
        size_t len = 0;
        int err = hg_admin_parameter(request, "ttl", ttl, sizeof(ttl), &len);
        if (err == HG_OK) {
            err = hg_duration_parse(hg_bytes(ttl, len), &spec.ttl_ms);
            spec.has_ttl = true;
        }
        if (err != HG_OK && err != HG_ENOENT) {
            hg_admin_text(front, exchange, 400, "ttl: expected a duration such as 30 or \"10m\"");
            return;
        }
        if (request->body.len > front->node->config->limits.value) {
            hg_admin_text(front, exchange, 413, "the value is larger than limits.value");
            return;
        }
        spec.type = hg_http1_field(request, "content-type");
        if (spec.type.len > HG_TYPE_MAX ||
            hg_bytes_eq(spec.type, HG_BYTES("application/x-www-form-urlencoded")))
            spec.type = HG_BYTES_NONE; /* what curl says of --data is not what the bytes are */
        value = hg_value_create(&spec);
        if (value == NULL) {
            hg_admin_text(front, exchange, 503, "out of memory");
            return;
        }
    }
    begin(front, exchange, value != NULL ? HG_CHANGE_SET : HG_CHANGE_REMOVE, group, key, value);
}

void hg_admin_flush(struct hg_front *front, struct hg_exchange *exchange)
{
    struct hg_group *group = hg_admin_group(front, exchange);
    if (group != NULL)
        begin(front, exchange, HG_CHANGE_FLUSH, group, HG_BYTES_NONE, NULL);
}

/* DELETE /tags?group=&tag=[&soft=1] */
void hg_admin_untag(struct hg_front *front, struct hg_exchange *exchange)
{
    struct hg_bytes soft;
    char tag[HG_TAG_MAX];
    size_t len = 0;
    struct hg_group *group = hg_admin_group(front, exchange);
    if (group == NULL)
        return;
    int err = hg_admin_parameter(exchange->request, "tag", tag, sizeof(tag), &len);
    bool is_soft = hg_query_find(exchange->request->query, HG_BYTES("soft"), &soft) == HG_OK;
    if (err == HG_ENOMEM)
        hg_admin_text(front, exchange, 503, "out of memory");
    else if (err == HG_ETOOBIG)
        hg_admin_text(front, exchange, 414, "the tag is longer than 255 bytes");
    else if (err < 0 || len == 0)
        hg_admin_text(front, exchange, 400,
                      "tag: missing, empty, given twice or badly percent-encoded");
    else if (is_soft && !hg_bytes_eq(soft, HG_BYTES("1")) && !hg_bytes_eq(soft, HG_BYTES("0")))
        hg_admin_text(front, exchange, 400, "soft: expected 1 or 0");
    else
        begin(front, exchange,
              is_soft && hg_bytes_eq(soft, HG_BYTES("1")) ? HG_CHANGE_EXPIRE_TAG
                                                          : HG_CHANGE_REMOVE_TAG,
              group, hg_bytes(tag, len), NULL);
}
