/*
 * shard - one mutex around one store, one flight table and the counters that must add up.
 *
 * Threads    everything but init and finish wants the lock held. Counters change in the critical section that
 *            did what they count, so sums over shards hold at any moment.
 */
#ifndef HG_GROUP_SHARD_H
#define HG_GROUP_SHARD_H

#include "base/mutex.h"
#include "cache/flight.h"
#include "cache/rates.h"
#include "cache/store.h"
#include "group/group.h"
#include "group/history.h"

#define HG_CACHE_LINE 64

struct hg_shard {
    _Alignas(HG_CACHE_LINE) struct hg_mutex lock;
    struct hg_store store; /* what a look-up writes to is in the lock's line */
    struct hg_flights flights;
    struct hg_rates rates; /* of gets */
    struct hg_history history;
    /* evictions, expirations and gauges are filled in by hg_group_stats */
    struct hg_group_stats counters;
    uint64_t waiter_count;
    uint64_t flush_number;  /* newest flush that has been here */
    uint64_t load_time_x16; /* moving average of a getter run, in 1/16 ms */
};

/* `seed` is for policies that draw lots. */
int hg_shard_init(struct hg_shard *shard, struct hg_budget *budget,
                  const struct hg_policy_ops *policy, uint64_t seed, size_t history_bytes,
                  hg_evict_fn on_evict, void *ctx);
void hg_shard_finish(struct hg_shard *shard); /* no flight may be left; zeroed memory is fine */

/* The shard of a hash; count is a power of two. */
static inline struct hg_shard *hg_shard_of(struct hg_shard *shards, unsigned count, uint64_t hash)
{
    return &shards[hash >> 48 & (count - 1)];
}

static inline void hg_shard_lock(struct hg_shard *shard)
{
    hg_mutex_lock(&shard->lock);
}

static inline bool hg_shard_trylock(struct hg_shard *shard)
{
    return hg_mutex_trylock(&shard->lock);
}

static inline void hg_shard_unlock(struct hg_shard *shard)
{
    hg_mutex_unlock(&shard->lock);
}

/*
 * hg_store_put that may evict in the group's other shards (trylock, a bounded number of tries) when this one
 * has nothing left to evict. Errors as hg_store_put.
 */
int hg_shard_put(struct hg_shard *shard, struct hg_shard *all, unsigned count,
                 struct hg_value *value, enum hg_tier tier, uint64_t created_ms,
                 uint64_t expires_ms);
void hg_shard_note_load_time(struct hg_shard *shard, uint64_t load_ms);

#endif
