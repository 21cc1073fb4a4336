#include "group/hot.h"

#include "base/bug.h"
#include "base/hash.h"

uint64_t hg_copy_life(uint64_t ttl_ms, uint64_t lease_ms, bool is_hot)
{
    uint64_t most_ms = lease_ms;

    if (is_hot)
        most_ms = lease_ms * HG_HOT_LEASES;
    if (is_hot && hg_bug(HG_BUG_COPY_OUTLIVES))
        return most_ms;
    return ttl_ms < most_ms ? ttl_ms : most_ms;
}

uint64_t hg_copy_until(const struct hg_value *copy, uint64_t lease_ms, uint64_t contact_ms)
{
    uint64_t sent_ms = hg_value_expires_ms(copy) - copy->slot;
    uint64_t until_ms = hg_time_add(sent_ms, lease_ms);
    uint64_t known_ms = contact_ms == 0 ? 0 : hg_time_add(contact_ms, lease_ms);

    if (known_ms > until_ms || hg_bug(HG_BUG_CONTACT_UNCHECKED))
        until_ms = hg_bug(HG_BUG_CONTACT_UNCHECKED) ? HG_FOREVER : known_ms;
    return until_ms < hg_value_expires_ms(copy) ? until_ms : hg_value_expires_ms(copy);
}

bool hg_copy_is_due(const struct hg_value *copy, uint64_t until_ms, uint64_t lease_ms,
                    uint64_t now_ms)
{
    uint64_t ahead_ms = (copy->slot < lease_ms ? copy->slot : lease_ms) / 4;

    if (copy->tier != HG_TIER_HOT || copy->slot == 0)
        return false;
    return until_ms <= hg_time_add(now_ms, ahead_ms) || hg_bug(HG_BUG_RENEW_ALWAYS);
}

void hg_hot_note_locked(struct hg_group *group, struct hg_shard *shard, uint64_t hash,
                        struct hg_value *value, uint64_t now_ms)
{
    const struct hg_source *source = group->groups->source;
    uint64_t minute = hg_rates_note(&shard->rates, hash, now_ms);

    if (minute < group->groups->config.hot_minute || source->hot == NULL || value == NULL ||
        hg_value_status(value) != HG_STATUS_VALUE)
        return;
    if (hg_rates_tell(&shard->rates, hash, now_ms))
        source->hot(source->ctx, group, value, minute);
}

/* ---- for the floors above ---- */

void hg_groups_contact(struct hg_groups *groups, uint64_t now_ms)
{
    uint64_t before = atomic_load_explicit(&groups->contact_ms, memory_order_relaxed);

    while (before < now_ms &&
           !atomic_compare_exchange_weak_explicit(&groups->contact_ms, &before, now_ms,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

uint64_t hg_group_minute(struct hg_group *group, struct hg_bytes key, uint64_t now_ms)
{
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);

    if (!hg_view_is_mine(hg_groups_view(group->groups), key))
        return 0;
    hg_shard_lock(shard);
    uint64_t minute = hg_rates_minute(&shard->rates, hash, now_ms);
    hg_shard_unlock(shard);
    return minute;
}

size_t hg_group_hot_max(const struct hg_group *group)
{
    return (size_t)group->shard_count * HG_RATES_KEYS;
}

size_t hg_group_hot(struct hg_group *group, uint64_t now_ms, struct hg_hot_key *out_keys)
{
    size_t count = 0;

    for (unsigned s = 0; s < group->shard_count; s++) {
        struct hg_shard *shard = &group->shards[s];
        hg_shard_lock(shard);
        for (size_t i = 0; i < HG_RATES_KEYS; i++) {
            uint64_t hash, minute = hg_rates_at(&shard->rates, i, now_ms, &hash);
            struct hg_value *value = minute == 0 ? NULL : hg_store_peek_hash(&shard->store, hash);
            if (value == NULL)
                continue;
            out_keys[count++] = (struct hg_hot_key){
                .value = hg_value_ref(value),
                .tier = (enum hg_tier)value->tier,
                .minute = minute,
                .is_hot = minute >= group->groups->config.hot_minute,
            };
        }
        hg_shard_unlock(shard);
    }
    return count;
}
