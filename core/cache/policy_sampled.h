/*
 * policy_sampled - eviction by a score that somebody else computes (hg.policy.sampled): this policy only knows what a score may
 * be made of, and draws samples. Who scores works on copies, outside the lock, and comes back with its choice; that entry
 * goes if nothing has happened to it meanwhile. Where room is needed at once, the least recently used of five samples
 * goes, as for sampled-lru, and is counted.
 *
 * Ownership  samples hold a reference on their value; hg_samples_release drops it.
 * Threads    as every policy: under the shard's lock, but for release.
 * Time       of hg_policy.now_ms, which the shard sets.
 */
#ifndef HG_CACHE_POLICY_SAMPLED_H
#define HG_CACHE_POLICY_SAMPLED_H

#include "cache/policy.h"

#define HG_SAMPLES_MAX 64

struct hg_sample {
    struct hg_value *value;
    uint64_t used; /* proof that it has not been used since */
    size_t size_bytes;
    uint64_t age_ms, idle_ms, hits, cost_ms; /* cost: how long its load took */
    uint64_t ttl_ms;                         /* life left; HG_FOREVER */
};

/* At most `wanted` (HG_SAMPLES_MAX), with replacement; fewer only where there are no entries. */
size_t hg_policy_sampled_take(struct hg_policy *policy, size_t wanted, struct hg_sample *out_samples);
/* Whether it is stored and has not been used since it was taken. */
bool hg_policy_sampled_is_unchanged(const struct hg_policy *policy, const struct hg_sample *sample);
/* Entries that went unscored. */
uint64_t hg_policy_sampled_unscored(const struct hg_policy *policy);
void hg_samples_release(struct hg_sample *samples, size_t count);

#endif
