#include "cache/budget.h"

#include <assert.h>

void hg_budget_init(struct hg_budget *budget, size_t capacity_bytes, size_t hot_limit,
                    size_t negative_limit)
{
    budget->cost = NULL;
    hg_budget_resize(budget, capacity_bytes, hot_limit, negative_limit);
    atomic_init(&budget->used, 0);
    for (size_t tier = 0; tier < HG_TIER_COUNT; tier++)
        atomic_init(&budget->tier_used[tier], 0);
}

void hg_budget_resize(struct hg_budget *budget, size_t capacity_bytes, size_t hot_limit,
                      size_t negative_limit)
{
    atomic_store_explicit(&budget->capacity, capacity_bytes, memory_order_relaxed);
    atomic_store_explicit(&budget->hot_limit,
                          hot_limit < capacity_bytes ? hot_limit : capacity_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&budget->negative_limit,
                          negative_limit < capacity_bytes ? negative_limit : capacity_bytes,
                          memory_order_relaxed);
}

size_t hg_budget_excess(const struct hg_budget *budget, enum hg_tier tier)
{
    size_t own = hg_budget_used(budget, tier), own_limit = hg_budget_limit(budget, tier);
    size_t all = atomic_load(&budget->used), capacity = atomic_load(&budget->capacity);
    size_t excess = own > own_limit ? own - own_limit : 0;
    if (all > capacity && all - capacity > excess)
        excess = all - capacity;
    return excess < own ? excess : own;
}

size_t hg_budget_used(const struct hg_budget *budget, enum hg_tier tier)
{
    if (tier != HG_TIER_MAIN)
        return atomic_load(&budget->tier_used[tier]);
    size_t others = atomic_load(&budget->tier_used[HG_TIER_HOT]) +
                    atomic_load(&budget->tier_used[HG_TIER_NEGATIVE]);
    size_t used = atomic_load(&budget->used);
    return used > others ? used - others : 0;
}

size_t hg_budget_limit(const struct hg_budget *budget, enum hg_tier tier)
{
    switch (tier) {
    case HG_TIER_HOT:
        return budget->hot_limit;
    case HG_TIER_NEGATIVE:
        return budget->negative_limit;
    default:
        return budget->capacity;
    }
}

/* By compare-exchange, so that no thread ever sees the sum above its limit. */
static bool reserve(atomic_size_t *used, size_t bytes, size_t limit)
{
    size_t before = atomic_load_explicit(used, memory_order_relaxed);
    do {
        if (bytes > limit || before > limit - bytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(used, &before, before + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void release(atomic_size_t *used, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(used, bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)before;
}

enum hg_budget_verdict hg_budget_reserve(struct hg_budget *budget, enum hg_tier tier, size_t bytes)
{
    bool is_main = tier == HG_TIER_MAIN;
    if (!is_main && !reserve(&budget->tier_used[tier], bytes, hg_budget_limit(budget, tier)))
        return HG_TIER_IS_FULL;
    if (reserve(&budget->used, bytes, budget->capacity))
        return HG_FITS;
    if (!is_main)
        release(&budget->tier_used[tier], bytes);
    return HG_ALL_IS_FULL;
}

void hg_budget_release(struct hg_budget *budget, enum hg_tier tier, size_t bytes)
{
    release(&budget->used, bytes);
    if (tier != HG_TIER_MAIN)
        release(&budget->tier_used[tier], bytes);
}
