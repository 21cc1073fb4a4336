/* Groups that come, change and go while the node runs. */
#include <assert.h>
#include "base/alloc.h"
#include "base/err.h"
#include "group/group_impl.h"

#define TRIM_BYTES ((size_t)256 << 10) /* of a shard, each time */

void hg_groups_list(struct hg_groups *groups, struct hg_group *group)
{
    assert(groups->taken[group->index] == group);
    atomic_store_explicit(&groups->listed[group->index], group, memory_order_release);
    if (hg_groups_count(groups) <= group->index)
        atomic_store_explicit(&groups->count, group->index + 1, memory_order_release);
}

static void clear(struct hg_group *group)
{
    for (unsigned i = 0; i < group->shard_count; i++) {
        hg_shard_lock(&group->shards[i]);
        hg_store_clear(&group->shards[i].store);
        hg_shard_unlock(&group->shards[i]);
    }
}

void hg_groups_drop(struct hg_groups *groups, struct hg_group *group)
{
    size_t count = hg_groups_count(groups);

    atomic_store_explicit(&groups->listed[group->index], NULL, memory_order_release);
    while (count > 0 && hg_groups_at(groups, count - 1) == NULL)
        count--;
    atomic_store_explicit(&groups->count, count, memory_order_release);
    clear(group);
}

void hg_group_hold(struct hg_group *group)
{
    if (group != NULL)
        atomic_fetch_add_explicit(&group->holders, 1, memory_order_relaxed);
}

void hg_group_release(struct hg_group *group)
{
    if (group != NULL)
        atomic_fetch_sub_explicit(&group->holders, 1, memory_order_release);
}

bool hg_group_is_idle(struct hg_group *group)
{
    bool is_idle = atomic_load_explicit(&group->holders, memory_order_acquire) == 0;

    for (unsigned i = 0; i < group->shard_count && is_idle; i++) {
        hg_shard_lock(&group->shards[i]);
        is_idle = group->shards[i].flights.count == 0 && group->shards[i].waiter_count == 0;
        hg_shard_unlock(&group->shards[i]);
    }
    return is_idle;
}

struct hg_group_config *hg_group_prepare(const struct hg_group *group,
                                         const struct hg_group_config *config)
{
    const struct hg_group_config *now = hg_config_of(group);
    struct hg_group_config *own = hg_malloc(sizeof(*own));

    if (own == NULL)
        return NULL;
    *own = *config;
    own->name = now->name;
    own->policy = now->policy;
    own->samples = now->samples;
    own->shards = now->shards;
    return own;
}

void *hg_group_set_config(struct hg_group *group, struct hg_group_config *prepared)
{
    const struct hg_group_config *old = hg_config_of(group);
    size_t hot, negative;

    hg_group_limits(prepared, &hot, &negative);
    hg_budget_resize(&group->budget, prepared->capacity_bytes, hot, negative);
    hg_guard_hold(prepared->guard);
    atomic_store_explicit(&group->config, prepared, memory_order_release);
    hg_guard_release(old->guard);
    return (void *)(uintptr_t)old;
}

bool hg_group_trim(struct hg_group *group, uint64_t now_ms)
{
    bool is_over = false;

    hg_group_saw(group, now_ms);
    for (int tier = 0; tier < HG_TIER_COUNT; tier++) {
        for (unsigned i = 0; i < group->shard_count; i++) {
            size_t excess = hg_budget_excess(&group->budget, (enum hg_tier)tier);
            if (excess == 0)
                break;
            hg_shard_lock(&group->shards[i]);
            hg_store_evict(&group->shards[i].store, (enum hg_tier)tier,
                           excess < TRIM_BYTES ? excess : TRIM_BYTES);
            hg_shard_unlock(&group->shards[i]);
        }
        is_over |= hg_budget_excess(&group->budget, (enum hg_tier)tier) > 0;
    }
    return is_over;
}
