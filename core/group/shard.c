#include "group/shard.h"

#include <assert.h>
#include "base/err.h"

int hg_shard_init(struct hg_shard *shard, struct hg_budget *budget,
                  const struct hg_policy_ops *policy, uint64_t seed, size_t history_bytes,
                  hg_evict_fn on_evict, void *ctx)
{
    memset(shard, 0, sizeof(*shard));
    int err = hg_store_init_policy(&shard->store, budget, policy, seed, on_evict, ctx);
    if (err < 0)
        return err;
    err = hg_flights_init(&shard->flights);
    if (err < 0)
        goto finish_store;
    err = hg_history_init(&shard->history, history_bytes);
    if (err < 0)
        goto finish_flights;
    return HG_OK;

finish_flights:
    hg_flights_finish(&shard->flights);
finish_store:
    hg_store_finish(&shard->store);
    memset(shard, 0, sizeof(*shard));
    return err;
}

void hg_shard_finish(struct hg_shard *shard)
{
    if (shard->store.budget == NULL)
        return;
    assert(shard->flights.count == 0);
    assert(shard->waiter_count == 0);
    hg_flights_finish(&shard->flights);
    hg_store_finish(&shard->store);
    hg_history_finish(&shard->history);
    shard->store.budget = NULL;
}

/* Which tier has to give for `tier`: its own when that is at its limit, else the biggest there is: main. */
static size_t evict_from(struct hg_store *store, enum hg_tier tier, size_t bytes)
{
    static const enum hg_tier order[HG_TIER_COUNT] = {HG_TIER_MAIN, HG_TIER_HOT, HG_TIER_NEGATIVE};
    size_t used = hg_budget_used(store->budget, tier);

    if (tier == HG_TIER_HOT && bytes + used > store->budget->hot_limit)
        return hg_store_evict(store, tier, bytes);
    if (tier == HG_TIER_NEGATIVE && bytes + used > store->budget->negative_limit)
        return hg_store_evict(store, tier, bytes);

    for (size_t i = 0; i < HG_TIER_COUNT; i++) {
        size_t freed = hg_store_evict(store, order[i], bytes);
        if (freed > 0)
            return freed;
    }
    return 0;
}

int hg_shard_put(struct hg_shard *shard, struct hg_shard *all, unsigned count,
                 struct hg_value *value, enum hg_tier tier, uint64_t created_ms,
                 uint64_t expires_ms)
{
    unsigned index = (unsigned)(shard - all);
    unsigned tries = count * 2;
    int rc = hg_store_put(&shard->store, value, tier, created_ms, expires_ms);

    /* Trylock only: two shards that evict in each other must not wait for each other. */
    for (unsigned i = 1; rc == HG_ELIMIT && i <= tries; i++) {
        struct hg_shard *other = &all[(index + i) % count];
        if (other == shard || !hg_shard_trylock(other))
            continue;
        size_t freed = evict_from(&other->store, tier, hg_store_entry_cost(&shard->store, value));
        hg_shard_unlock(other);
        if (freed > 0)
            rc = hg_store_put(&shard->store, value, tier, created_ms, expires_ms);
    }
    return rc;
}

void hg_shard_note_load_time(struct hg_shard *shard, uint64_t load_ms)
{
    uint64_t sample = load_ms > UINT32_MAX ? (uint64_t)UINT32_MAX * 16 : load_ms * 16;

    if (shard->load_time_x16 == 0)
        shard->load_time_x16 = sample;
    else
        shard->load_time_x16 = shard->load_time_x16 - shard->load_time_x16 / 8 + sample / 8;
}
