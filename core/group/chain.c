#include "group/chain.h"

#include "base/err.h"
#include "group/group.h"

bool hg_chain_next(struct hg_bytes *chain, struct hg_bytes *out_entry, bool *out_is_bad)
{
    if (chain->len == 0)
        return false;
    if (chain->len < 2) {
        *out_is_bad = true;
        return false;
    }

    const unsigned char *bytes = (const unsigned char *)chain->data;
    size_t len = (size_t)bytes[0] << 8 | bytes[1];
    if (len > chain->len - 2) {
        *out_is_bad = true;
        return false;
    }
    *out_entry = hg_bytes(chain->data + 2, len);
    *chain = hg_bytes(chain->data + 2 + len, chain->len - 2 - len);
    return true;
}

int hg_chain_depth(struct hg_bytes chain)
{
    struct hg_bytes entry;
    bool bad = false;
    int depth = 0;

    while (hg_chain_next(&chain, &entry, &bad))
        depth++;
    return bad ? HG_EINVAL : depth;
}

static bool entry_is(struct hg_bytes entry, struct hg_bytes group, struct hg_bytes key)
{
    return entry.len == group.len + 1 + key.len && memcmp(entry.data, group.data, group.len) == 0 &&
           entry.data[group.len] == '\0' &&
           (key.len == 0 || memcmp(entry.data + group.len + 1, key.data, key.len) == 0);
}

bool hg_chain_has(struct hg_bytes chain, struct hg_bytes group, struct hg_bytes key)
{
    struct hg_bytes entry;
    bool bad = false;

    while (hg_chain_next(&chain, &entry, &bad))
        if (entry_is(entry, group, key))
            return true;
    return false;
}

size_t hg_chain_entry_size(struct hg_bytes group, struct hg_bytes key)
{
    return 2 + group.len + 1 + key.len;
}

void hg_chain_write(char *out, struct hg_bytes group, struct hg_bytes key)
{
    size_t len = group.len + 1 + key.len;

    out[0] = (char)(len >> 8 & 0xff);
    out[1] = (char)(len & 0xff);
    memcpy(out + 2, group.data, group.len);
    out[2 + group.len] = '\0';
    if (key.len > 0)
        memcpy(out + 2 + group.len + 1, key.data, key.len);
}

bool hg_chain_has_load(struct hg_bytes chain, const struct hg_load *load)
{
    if (chain.len == 0)
        return false;
    return hg_chain_has(chain, hg_bytes_str(hg_group_name(load->group)), load->flight.key);
}
