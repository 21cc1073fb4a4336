/* /hot: the keys that this node is asked for most. */
#include <stdlib.h>
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/reply.h"

#define KEYS_MAX 100 /* of one page */

struct row {
    struct hg_group *group;
    struct hg_hot_key key;
};

static int by_rate(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->key.minute != y->key.minute)
        return x->key.minute > y->key.minute ? -1 : 1;
    return hg_bytes_cmp(hg_value_key(x->key.value), hg_value_key(y->key.value));
}

static int collect(struct hg_node *node, uint64_t now_ms, struct row **out_rows, size_t *out_count)
{
    size_t most = 1, count = 0, largest = 1;
    for (size_t i = 0; i < hg_groups_count(node->groups); i++) {
        struct hg_group *group = hg_groups_at(node->groups, i);
        size_t max = group == NULL ? 0 : hg_group_hot_max(group);
        most += max;
        largest = max > largest ? max : largest;
    }
    struct row *rows = hg_calloc(most, sizeof(*rows));
    struct hg_hot_key *keys = hg_calloc(largest, sizeof(*keys));
    if (rows == NULL || keys == NULL) {
        hg_free(rows);
        hg_free(keys);
        return HG_ENOMEM;
    }
    for (size_t i = 0; i < hg_groups_count(node->groups); i++) {
        struct hg_group *group = hg_groups_at(node->groups, i);
        size_t found = group == NULL ? 0 : hg_group_hot(group, now_ms, keys);
        for (size_t k = 0; k < found; k++)
            rows[count++] = (struct row){group, keys[k]};
    }
    hg_free(keys);
    qsort(rows, count, sizeof(*rows), by_rate);
    *out_rows = rows;
    *out_count = count;
    return HG_OK;
}

static int format_row(struct hg_node *node, const struct row *row, struct hg_buf *buf)
{
    struct hg_bytes key = hg_value_key(row->key.value);
    const struct hg_view *view = hg_node_view(node);
    struct hg_bytes owner =
        view == NULL ? node->name : hg_ring_member(view->ring, hg_ring_owner(view->ring, key));
    int err = hg_buf_append_str(buf, "{\"group\":");
    if (err == HG_OK)
        err = hg_json_string(buf, hg_bytes_str(hg_group_name(row->group)));
    if (err == HG_OK)
        err = hg_buf_append_char(buf, ',');
    if (err == HG_OK)
        err = hg_json_bytes(buf, "key", key);
    if (err == HG_OK)
        err = hg_buf_printf(buf, ",\"rate\":%llu,\"hot\":%s,\"tier\":\"%s\",\"owner\":",
                            (unsigned long long)row->key.minute, row->key.is_hot ? "true" : "false",
                            hg_tier_name(row->key.tier));
    if (err == HG_OK)
        err = hg_json_string(buf, owner);
    return err == HG_OK ? hg_buf_append_char(buf, '}') : err;
}

int hg_hot_format(struct hg_node *node, uint64_t now_ms, struct hg_buf *buf)
{
    struct row *rows;
    size_t count;
    int err = collect(node, now_ms, &rows, &count);
    if (err < 0)
        return err;
    err = hg_buf_append_str(buf, "{\"node\":");
    if (err == HG_OK)
        err = hg_json_string(buf, node->name);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"keys\":[");
    for (size_t i = 0; i < count && i < KEYS_MAX && err == HG_OK; i++) {
        if (i > 0)
            err = hg_buf_append_char(buf, ',');
        if (err == HG_OK)
            err = format_row(node, &rows[i], buf);
    }
    for (size_t i = 0; i < count; i++)
        hg_value_unref(rows[i].key.value);
    hg_free(rows);
    return err == HG_OK ? hg_buf_append_str(buf, "]}\n") : err;
}
