/*
 * budget - a group's bytes, shared by the stores of its shards.
 *
 * used <= capacity at any moment, and each tier's part <= its limit, whatever threads reserve: by compare-exchange, so that
 * no thread ever sees a sum above its limit. Who is refused evicts and tries again (store.h).
 *
 * What main uses is what the others leave of `used`, so it has no counter of its own.
 *
 * Threads    any, by atomics.
 */
#ifndef HG_CACHE_BUDGET_H
#define HG_CACHE_BUDGET_H

#include "cache/policy.h"

struct hg_budget {
    atomic_size_t capacity, hot_limit, negative_limit; /* hg_budget_resize */
    atomic_size_t used, tier_used[HG_TIER_COUNT]; /* not of main: hg_budget_used */
    /* What an entry costs, where that is not its memory (replay); NULL in a node. Set before stores are made. */
    hg_cost_fn cost;
};

void hg_budget_init(struct hg_budget *budget, size_t capacity_bytes, size_t hot_limit, size_t negative_limit);
/* Other limits from now on. Where they are lower `used` stays above until somebody has evicted (hg_budget_excess). */
void hg_budget_resize(struct hg_budget *budget, size_t capacity_bytes, size_t hot_limit, size_t negative_limit);
/* More is used than there is: it has been made smaller. */
static inline bool hg_budget_is_over(const struct hg_budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed) >
           atomic_load_explicit(&budget->capacity, memory_order_relaxed);
}
/* Bytes of the tier that are too many: by its own limit, or by what all use together; 0: none. */
size_t hg_budget_excess(const struct hg_budget *budget, enum hg_tier tier);
/* Where others reserve at the time, main is off by what they have half done. */
size_t hg_budget_used(const struct hg_budget *budget, enum hg_tier tier);
size_t hg_budget_limit(const struct hg_budget *budget, enum hg_tier tier);

enum hg_budget_verdict { HG_FITS, HG_TIER_IS_FULL, HG_ALL_IS_FULL };
enum hg_budget_verdict hg_budget_reserve(struct hg_budget *budget, enum hg_tier tier, size_t bytes);
void hg_budget_release(struct hg_budget *budget, enum hg_tier tier, size_t bytes);

#endif
