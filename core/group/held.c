#include "group/held.h"

#include "group/chain.h"
#include "group/group_impl.h"

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
        if (group == NULL || hg_config_of(group)->guard == NULL)
            continue;
        const struct hg_guard *guard = hg_config_of(group)->guard;
        bool is_known = false;
        for (unsigned i = 0; i < count; i++)
            is_known |= out_held[i] == guard;
        if (!is_known)
            out_held[count++] = guard;
    }
    return count;
}
