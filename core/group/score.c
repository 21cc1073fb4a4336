#include "group/score.h"

#include "base/hash.h"
#include "group/group_impl.h"

bool hg_group_is_crowded(const struct hg_group *group)
{
    size_t used = atomic_load_explicit(&group->budget.used, memory_order_relaxed);
    return hg_config_of(group)->samples > 0 && used / 19 > group->budget.capacity / 20; /* over 95 % */
}

size_t hg_group_sample(struct hg_group *group, uint64_t now_ms, unsigned *out_shard,
                       struct hg_sample out_samples[HG_SAMPLES_MAX])
{
    const struct hg_source *source = group->groups->source;
    unsigned first = (unsigned)(source->random(source->ctx) % group->shard_count);
    size_t count = 0;

    for (unsigned i = 0; i < group->shard_count && count == 0; i++) {
        struct hg_shard *shard = &group->shards[(first + i) % group->shard_count];
        hg_shard_lock(shard);
        hg_policy_set_time(shard->store.policy, now_ms, 0);
        count = hg_policy_sampled_take(shard->store.policy, hg_config_of(group)->samples, out_samples);
        hg_shard_unlock(shard);
        *out_shard = (first + i) % group->shard_count;
    }
    return count;
}

bool hg_group_evict_sample(struct hg_group *group, unsigned shard_index,
                           const struct hg_sample *sample)
{
    struct hg_shard *shard = &group->shards[shard_index];
    struct hg_value *value = sample->value;

    hg_shard_lock(shard);
    bool is_unchanged = hg_policy_sampled_is_unchanged(shard->store.policy, sample);
    if (is_unchanged) {
        hg_store_remove(&shard->store, hg_hash(hg_value_key(value)), hg_value_key(value),
                        HG_EVICT_CAPACITY);
        shard->counters.scored_evictions++;
    }
    hg_shard_unlock(shard);
    return is_unchanged;
}
