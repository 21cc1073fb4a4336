#include "group/held.h"

#include "base/hash.h"
#include "group/chain.h"
#include "group/group_impl.h"

/* The guard whose slot this key's load holds now, or NULL. */
static const struct hg_guard *guard_of(struct hg_group *group, struct hg_bytes key)
{
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);
    const struct hg_guard *guard = NULL;

    hg_shard_lock(shard);
    const struct hg_load *load =
        hg_load_of(hg_flight_find(&shard->flights, HG_FLIGHT_LOCAL, hash, key));
    if (load != NULL && load->state == HG_LOAD_STARTED && load->has_slot)
        guard = group->config.guard;
    hg_shard_unlock(shard);
    return guard;
}

unsigned hg_held_by_chain(struct hg_groups *groups, struct hg_bytes chain,
                          const struct hg_guard *out_held[HG_DEPTH_MAX])
{
    struct hg_bytes entry;
    unsigned count = 0;
    bool is_bad = false;

    while (count < HG_DEPTH_MAX && hg_chain_next(&chain, &entry, &is_bad)) {
        const char *nul = entry.len == 0 ? NULL : memchr(entry.data, '\0', entry.len);
        if (nul == NULL)
            continue;
        size_t name_len = (size_t)(nul - entry.data);
        struct hg_group *group = hg_groups_find(groups, hg_bytes(entry.data, name_len));
        if (group == NULL || group->config.guard == NULL)
            continue;
        const struct hg_guard *guard = guard_of(group, hg_bytes(nul + 1, entry.len - name_len - 1));
        bool is_known = guard == NULL;
        for (unsigned i = 0; i < count; i++)
            is_known |= out_held[i] == guard;
        if (!is_known)
            out_held[count++] = guard;
    }
    return count;
}
