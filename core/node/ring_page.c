/* /ring: the members and the ring as this node sees them, and who sees another. */
#include "node/node_impl.h"
#include "wire/reply.h"

static double seconds_since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? (double)(now_ms - then_ms) / 1000 : 0.0;
}

static int member(const struct hg_view *view, size_t index, uint64_t now_ms, struct hg_buf *buf)
{
    bool is_self = index == (size_t)view->self;
    struct hg_peer_stats stats = {.is_up = true};
    if (!is_self)
        hg_peer_stats(view->peers[index], &stats);
    int err = hg_buf_append_str(buf, index == 0 ? "{\"name\":" : ",{\"name\":");
    if (err == HG_OK)
        err = hg_json_string(buf, hg_ring_member(view->ring, index));
    if (err == HG_OK)
        err =
            hg_buf_printf(buf, ",\"self\":%s,\"up\":%s,\"share\":%.6f", is_self ? "true" : "false",
                          stats.is_up ? "true" : "false", hg_ring_share(view->ring, index));
    if (err == HG_OK && !is_self)
        err = hg_buf_printf(buf, ",\"heard_seconds\":%.3f,\"transport\":\"%s\"",
                            seconds_since(stats.last_heard_ms, now_ms), stats.transport);
    return err == HG_OK ? hg_buf_append_char(buf, '}') : err;
}

static int differing(struct hg_node *node, uint64_t ours, uint64_t now_ms, struct hg_buf *buf)
{
    struct hg_mismatch items[HG_MISMATCHES_MAX];
    size_t count = hg_mismatches_list(&node->mismatches, ours, now_ms, items);
    int err = hg_buf_append_str(buf, ",\"mismatches\":[");
    for (size_t i = 0; i < count && err == HG_OK; i++) {
        err = hg_buf_append_str(buf, i == 0 ? "{\"name\":" : ",{\"name\":");
        if (err == HG_OK)
            err = hg_json_string(buf, hg_bytes(items[i].name, items[i].name_len));
        if (err == HG_OK)
            err = hg_buf_printf(
                buf, ",\"fingerprint\":\"%016llx\",\"count\":%llu,\"age_seconds\":%.3f}",
                (unsigned long long)items[i].fingerprint, (unsigned long long)items[i].count,
                seconds_since(items[i].last_ms, now_ms));
    }
    return err == HG_OK ? hg_buf_append_char(buf, ']') : err;
}

static int alone(const struct hg_node *node, struct hg_buf *buf)
{
    int err = hg_buf_append_str(buf, "{\"ring\":null,\"fingerprint\":null,\"members\":[{\"name\":");
    if (err == HG_OK)
        err = hg_json_string(buf, node->name);
    return err == HG_OK ? hg_buf_append_str(buf, ",\"self\":true,\"up\":true,\"share\":1}]}\n")
                        : err;
}

int hg_ring_format(struct hg_node *node, uint64_t now_ms, struct hg_buf *buf)
{
    const struct hg_view *view = hg_node_view(node);
    if (view == NULL)
        return alone(node, buf);
    const struct hg_ring_preset *preset = hg_ring_preset_of(view->ring);
    uint64_t fingerprint = hg_ring_fingerprint(view->ring);
    struct hg_node_members_stats stats = hg_node_members_stats(node);
    int err = hg_buf_printf(
        buf,
        "{\"ring\":\"%s\",\"hash\":\"%s\",\"points\":%u,\"fingerprint\":\"%016llx\",\"members\":[",
        preset->name, preset->hash == HG_RING_CRC32 ? "crc32" : "xxh64", preset->points,
        (unsigned long long)fingerprint);
    for (size_t i = 0; i < hg_ring_member_count(view->ring) && err == HG_OK; i++)
        err = member(view, i, now_ms, buf);
    if (err == HG_OK)
        err = hg_buf_append_char(buf, ']');
    if (err == HG_OK)
        err = differing(node, fingerprint, now_ms, buf);
    if (err == HG_OK)
        err = hg_buf_printf(
            buf, ",\"source\":\"%s\",\"known\":%s,\"changed_seconds\":%.3f,\"age_seconds\":",
            stats.source, hg_node_members_are_known(node) ? "true" : "false",
            (double)stats.changed_ms / 1000);
    if (err == HG_OK)
        err = node->config->discovery == NULL
                  ? hg_buf_append_str(buf, "null")
                  : hg_buf_printf(buf, "%.3f", (double)stats.age_ms / 1000);
    return err == HG_OK ? hg_buf_append_str(buf, "}\n") : err;
}
