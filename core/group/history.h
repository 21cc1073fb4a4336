/*
 * history - what became of keys lately: the last load of each, its last error, why it was last evicted.
 *
 * For `hgcache explain`, and for how soon a stale value is refreshed again (group/freshness.h). Two tables of fixed size, in sets of four by the key's hash; where a set is full the
 * record that was touched longest ago goes. So it knows much about few keys, or what happened a moment ago.
 *
 * Cost       written when a load ends and when an entry leaves; never on a hit, never allocates after init.
 * Memory     at most HG_HISTORY_BYTES_MAX a shard, and no more than it was given, down to a floor of four loads and
 *            sixteen evictions. Not charged against the capacity: it is constant.
 * Threads    none of its own: the caller holds the shard's lock.
 * Errors     HG_ENOMEM.
 */
#ifndef HG_GROUP_HISTORY_H
#define HG_GROUP_HISTORY_H

#include "base/value.h"
#include "cache/store.h"

#define HG_HISTORY_BYTES_MAX (32 << 10)
#define HG_HISTORY_MESSAGE   80 /* of an error, cut */

struct hg_past {
    uint64_t hash; /* 0: free; a key of that hash, of 2^64 one, is not remembered */
    uint64_t touched_ms;
};

struct hg_past_load {
    struct hg_past past;
    uint64_t ended_ms;
    uint32_t took_ms;
    uint8_t kind, status; /* enum hg_flight_kind, enum hg_status */
    bool has_failed;      /* the rest is known */
    uint8_t klass;        /* enum hg_class */
    uint8_t message_len;
    uint64_t failed_ms;
    char message[HG_HISTORY_MESSAGE];
};

struct hg_past_eviction {
    struct hg_past past; /* touched_ms: when it left */
    uint8_t reason;      /* enum hg_evict_reason */
};

struct hg_history {
    struct hg_past_load *loads;
    struct hg_past_eviction *evictions; /* in the same block */
    size_t load_count, eviction_count;  /* powers of two */
};

int hg_history_init(struct hg_history *history, size_t bytes);
void hg_history_finish(struct hg_history *history); /* zeroed memory is fine */

/* `result`: what the load ended with. */
void hg_history_loaded(struct hg_history *history, uint64_t hash, int kind,
                       const struct hg_value *result, uint64_t took_ms, uint64_t now_ms);
void hg_history_evicted(struct hg_history *history, uint64_t hash, enum hg_evict_reason reason,
                        uint64_t now_ms);
/* NULL: not known (any more). */
const struct hg_past_load *hg_history_load(const struct hg_history *history, uint64_t hash);
const struct hg_past_eviction *hg_history_eviction(const struct hg_history *history, uint64_t hash);

#endif
