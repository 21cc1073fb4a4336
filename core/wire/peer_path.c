/* The path of a peer request; declared in peer_message.h. */
#include "base/err.h"
#include "wire/peer_message.h"
#include "wire/query.h"

int hg_peer_path_encode(struct hg_buf *buf, struct hg_bytes base_path, struct hg_bytes group,
                        struct hg_bytes key)
{
    size_t before = buf->len;
    int err = hg_buf_append_bytes(buf, base_path);
    if (err == HG_OK)
        err = hg_percent_encode(buf, group);
    if (err == HG_OK)
        err = hg_buf_append_char(buf, '/');
    if (err == HG_OK)
        err = hg_percent_encode(buf, key);
    if (err < 0)
        buf->len = before;
    return err;
}

int hg_peer_path_decode(struct hg_bytes rest, char *out, struct hg_bytes *out_group,
                        struct hg_bytes *out_key)
{
    const char *slash = rest.len == 0 ? NULL : memchr(rest.data, '/', rest.len);
    if (slash == NULL || slash == rest.data)
        return HG_EPROTO;
    struct hg_bytes group = hg_bytes(rest.data, (size_t)(slash - rest.data));
    struct hg_bytes key = hg_bytes(slash + 1, rest.len - group.len - 1);
    size_t group_len, key_len;
    if (hg_percent_decode(group, true, out, &group_len) < 0 ||
        hg_percent_decode(key, true, out + group_len, &key_len) < 0)
        return HG_EPROTO;
    *out_group = hg_bytes(out, group_len);
    *out_key = hg_bytes(out + group_len, key_len);
    return HG_OK;
}
